"""What is done with a job that nobody runs: it begins anew, or goes back a turn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import checkpoint
from checkpoint import Job, JobError, MemoryStore, NotFoundError, ReplayError


class Killed(BaseException):
    """Ends an attempt where it is, as a kill would."""


def grow(s: Any) -> None:
    s.seen.append("begin")


def test_a_job_that_cannot_go_on_within_a_turn_goes_back_to_its_begin() -> None:
    store, kills = MemoryStore(), [(1, 2)]

    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        for n in job.loop(range(3), name="outer"):
            grow(s)  # which a resume in the inner loop would do once more
            for k in job.loop(range(4), name="inner"):
                if (n, k) in kills:
                    raise Killed
                s.seen.append((n, k))
        return list(s.seen)

    expected = checkpoint.resumable(run, store=MemoryStore(), name="alone", every=1)
    going = checkpoint.resumable(run, store=store, name="job", every=1)
    with pytest.raises(Killed):
        going()
    kills.clear()
    with pytest.raises(ReplayError, match=r"state\.seen\[8\].*step_back\(\)"):
        going()
    going.step_back()
    found = going.status()
    assert found is not None
    assert (found.status, found.position) == ("interrupted", "outer 1 of 3")
    assert going() == expected()


def test_a_job_without_a_whole_turn_cannot_go_back() -> None:
    going = checkpoint.job("never", store=MemoryStore())
    with pytest.raises(NotFoundError, match=r"reset\(\) begins it anew"):
        going.step_back()


def test_a_block_that_is_run_again_ends_as_it_did_and_begins_anew_after_a_reset() -> None:
    store, made = MemoryStore(), []

    def run() -> int:
        with checkpoint.job("block", store=store) as job:
            s = job.state(n=0)
            for x in job.loop(range(3)):
                made.append(x)
                s.n += x
            s.n *= 10
        return int(s.n)

    assert [run(), run(), run()] == [30, 30, 30]
    assert made == [0, 1, 2]
    block = checkpoint.job("block", store=store)
    status = block.status()
    assert status is not None
    assert status.status == "done"
    block.reset()
    assert [one.status for one in block.history()][-1] == "reset"
    assert any(one.archived for one in block.history())
    assert run() == 30
    assert made == [0, 1, 2, 0, 1, 2]


def test_another_thread_has_no_steps_in_a_job() -> None:
    block = checkpoint.job("threads", store=MemoryStore())
    with pytest.raises(checkpoint.Preempted), block as job, ThreadPoolExecutor(1) as pool:
        for call in (lambda: job.step(abs, -1), lambda: job.map(abs, [-1]), lambda: job.loop([])):
            with pytest.raises(JobError, match="called by another thread"):
                pool.submit(call).result()
        pool.submit(job.request_stop).result()
        job.step(abs, -1)
