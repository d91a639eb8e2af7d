"""One process at a time works on a job, and one that should not can spoil nothing."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from jobs_at_work import Ended, Program, Running, program

import checkpoint
from checkpoint import ConflictError, LocalStore
from checkpoint._jobs.ledger import lease_key
from checkpoint._lines import Line

__all__ = ["program"]  # a fixture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")

# Holds in turn 10 of the attempt that is told to; HOST is where it seems to run.
COUNT = """
    class Plain:
        "A store that has no locks."

        def __init__(self, path):
            inner = checkpoint.LocalStore(path)
            self.put, self.get, self.fill = inner.put, inner.get, inner.fill
            self.keys, self.delete = inner.keys, inner.delete

    if "HOST" in os.environ:
        socket.gethostname = lambda: os.environ["HOST"]
    path = os.environ["CHECKPOINT_STORE"]
    options = {
        "store": Plain(path) if "PLAIN" in os.environ else path,
        "on_busy": os.environ.get("BUSY", "error"),
        "every": 3,
    }

    def twice(x):
        tell("twice", x, os.environ.get("AS", ""))
        return 2 * x

    @checkpoint.resumable(**options)
    def count(n, *, job):
        s = job.state(total=0)
        for x in job.loop(range(n)):
            tell("turn", x)
            if x == 10 and "FREE" not in os.environ:
                hold("in turn 10")
            s.total += x
        return s.total

    @checkpoint.resumable(**options)
    def late(n, *, job):
        s = job.state(total=0)
        for x in job.loop(range(n)):
            hold("at turn", x)
            s.total += job.step(twice, x)
        return s.total

    @checkpoint.resumable(**options)
    def only_steps(n, *, job):
        return sum([job.step(twice, x) for x in range(n) if hold("at step", x) is None])
    """


@pytest.fixture
def counting(program: Program) -> Program:
    return program.write(COUNT)


def run(counting: Program, call: str = "count(20)", **environment: str) -> Ended:
    return counting.run(call, environment={"FREE": "1"} | environment)


def start(counting: Program, call: str = "count(20)", **environment: str) -> Running:
    return counting.start(call, environment=environment)


def contents(counting: Program) -> dict[str, bytes]:
    """All that the store holds, without its leases."""
    return {
        str(path.relative_to(counting.store)): path.read_bytes()
        for path in counting.store.rglob("*")
        if path.is_file() and "leases" not in path.parts
    }


either = pytest.mark.parametrize("plain", [{}, {"PLAIN": "1"}], ids=["locks", "no locks"])


# --- somebody has it --------------------------------------------------------


@either
@pytest.mark.parametrize("busy", ["error", "steal-if-dead"])
def test_a_second_run_is_told_who_has_the_job(
    counting: Program, plain: dict[str, str], busy: str
) -> None:
    first = start(counting, **plain).until("in turn 10")
    before = contents(counting)
    second = run(counting, BUSY=busy, **plain)
    assert second.code == 1 and second.told("turn") == []
    assert f"program.count(n=20) is run by process {first.pid} on {socket.gethostname()}" in (
        second.text
    )
    assert "checkpoint.ConflictError" in second.text and "on_busy='wait'" in second.text
    assert contents(counting) == before
    assert first.go_on().ended().result() == "190"


@either
def test_who_waits_gets_the_result_of_the_other(counting: Program, plain: dict[str, str]) -> None:
    first = start(counting, **plain).until("in turn 10")
    second = start(counting, "[tell('waits'), count(20)][1]", BUSY="wait", **plain).until("waits")
    assert first.go_on().ended().result() == "190"
    ended = second.ended()
    assert ended.result() == "190" and ended.told("turn") == []


@either
def test_who_waits_goes_on_where_the_other_was_killed(
    counting: Program, plain: dict[str, str]
) -> None:
    first = start(counting, **plain).until("in turn 10")
    second = start(counting, "[tell('waits'), count(20)][1]", BUSY="wait", FREE="1", **plain)
    second.until("waits")
    first.send(signal.SIGKILL).ended()
    ended = second.ended()
    assert ended.result() == "190" and ended.told("turn")[0] == "10"


def test_jobs_of_other_arguments_do_not_exclude_each_other(counting: Program) -> None:
    first = start(counting).until("in turn 10")
    assert run(counting, "count(12)").result() == "66"
    assert first.go_on().ended().result() == "190"


def test_a_job_that_runs_is_not_reset(counting: Program) -> None:
    first = start(counting).until("in turn 10")
    with pytest.raises(ConflictError, match="is run by another process now"):
        counting.imported().count.reset(20)
    assert first.go_on().ended().result() == "190"
    counting.imported().count.reset(20)
    assert run(counting).told("turn")[0] == "0"


def test_a_result_is_given_while_another_process_holds_the_job(counting: Program) -> None:
    assert run(counting).result() == "190"
    with held(counting):
        assert run(counting).result() == "190"


# --- stealing ---------------------------------------------------------------


def held(counting: Program) -> Any:
    """The lock of the job, held by this process, which is not its owner."""
    lock = LocalStore(counting.store).lock(lease_key(counting.status().name), wait=False)
    assert lock is not None
    return lock


def test_a_job_whose_owner_is_dead_is_taken_over_though_its_lock_is_held(
    counting: Program,
) -> None:
    start(counting).until("in turn 10").send(signal.SIGKILL).ended()
    with held(counting):
        refused = run(counting)
        assert refused.code == 1 and "ConflictError" in refused.text
        ended = run(counting, BUSY="steal-if-dead")
    assert ended.result() == "190" and ended.told("turn")[0] == "10"


def test_a_glance_at_a_job_keeps_nobody_from_beginning_it(
    counting: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(counting).until("in turn 10").send(signal.SIGKILL).ended()
    lock = held(counting)
    glance = threading.Timer(0.02, lock.__exit__, (None, None, None))
    count = counting.imported().count
    glance.start()
    monkeypatch.setenv("FREE", "1")
    assert count(20) == 190


def test_a_store_without_locks_knows_a_dead_owner_by_itself(counting: Program) -> None:
    start(counting, PLAIN="1").until("in turn 10").send(signal.SIGKILL).ended()
    ended = run(counting, PLAIN="1")
    assert ended.result() == "190" and ended.told("turn")[0] == "10"


def test_without_locks_the_owner_on_another_machine_is_believed_to_live(
    counting: Program,
) -> None:
    start(counting, PLAIN="1", HOST="far").until("in turn 10").send(signal.SIGKILL).ended()
    refused = run(counting, PLAIN="1")
    assert refused.code == 1 and " on far now" in refused.text


def test_many_that_begin_at_once_give_one_result(counting: Program) -> None:
    together = [start(counting, FREE="1", PLAIN="1") for _ in range(3)]
    ended = [running.ended() for running in together]
    assert {each.code for each in ended} <= {0, 1}
    for each in ended:
        assert each.result() == "190" if each.code == 0 else "ConflictError" in each.text
    assert run(counting, PLAIN="1").result() == "190"
    assert counting.status().status == "done"


# --- zombies ----------------------------------------------------------------


def is_refused(ended: Ended) -> bool:
    """Whether it was told, and last of all, that it is a zombie."""
    return ended.code == 1 and ended.lines[-1].startswith(
        "checkpoint.ConflictError: a newer attempt of 'program.count/"
    )


def is_touched(counting: Program, before: dict[str, bytes]) -> bool:
    """Whether anything was changed, added or deleted since the store held *before*."""
    return contents(counting) != before


def test_a_zombie_can_save_nothing_once_a_newer_attempt_has_begun(counting: Program) -> None:
    zombie = start(counting, PLAIN="1", HOST="far").until("in turn 10")
    newer = start(counting, PLAIN="1", BUSY="steal-if-dead").until("in turn 10")
    before = contents(counting)
    ended = zombie.go_on().ended()
    assert is_refused(ended)
    assert not is_touched(counting, before)
    assert counting.status().attempt == 2
    assert newer.go_on().ended().result() == "190"
    assert counting.status().status == "done"


def test_a_stopped_process_that_lost_its_lock_can_save_nothing(counting: Program) -> None:
    zombie = start(counting, HOST="far").until("in turn 10").send(signal.SIGSTOP)
    lost = counting.store / lease_key(counting.status().name)
    lost.unlink()
    newer = start(counting).until("in turn 10")
    before = contents(counting)
    ended = zombie.send(signal.SIGCONT).go_on().ended()
    assert is_refused(ended)
    assert not is_touched(counting, before)
    assert newer.go_on().ended().result() == "190"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_zombie_that_is_asked_to_stop_says_nothing_of_the_newer_attempt(
    counting: Program, number: int
) -> None:
    zombie = start(counting, PLAIN="1", HOST="far").until("in turn 10")
    newer = start(counting, PLAIN="1", BUSY="steal-if-dead").until("in turn 10")
    before = contents(counting)
    ended = zombie.send(number).go_on().ended()
    assert is_refused(ended)
    assert not is_touched(counting, before)
    assert newer.go_on().ended().result() == "190"


@pytest.mark.parametrize("job", ["late", "only_steps"])
@pytest.mark.parametrize("turns", [0, 1], ids=["unopened", "open"])
def test_a_zombie_can_journal_nothing_once_a_newer_attempt_has_begun(
    counting: Program, job: str, turns: int
) -> None:
    word = "at turn" if job == "late" else "at step"
    zombie = start(counting, f"{job}(4)", PLAIN="1", HOST="far", AS="zombie").until(f"{word} 0")
    for turn in range(turns):
        zombie.go_on().until(f"{word} {turn + 1}")
    newer = start(counting, f"{job}(4)", PLAIN="1", BUSY="steal-if-dead", AS="newer")
    newer.until(word).go_on().until(word)
    ended = zombie.go_on().ended()
    assert ended.code == 1 and "ConflictError" in ended.text
    finished = newer.ended()
    assert finished.result() == "12"
    assert counting.status().status == "done"


def test_what_a_zombie_journals_is_not_believed_by_the_next_attempt(counting: Program) -> None:
    zombie = start(counting, "only_steps(4)", PLAIN="1", HOST="far").until("at step 0")
    newer = start(counting, "only_steps(4)", PLAIN="1", BUSY="steal-if-dead").until("at step 0")
    name = counting.status().name
    zombie.ended()  # It runs on to its end, or to an error.
    assert newer.go_on().until("at step 1").ended().result() == "12"
    assert Line(LocalStore(counting.store), f"{name}/journal").versions() == []


def test_an_error_of_a_zombie_is_not_noted_of_the_newer_attempt(counting: Program) -> None:
    counting.write(COUNT.replace("s.total += x\n", "s.total += x // (1 - x // 15)\n"))
    zombie = start(counting, PLAIN="1", HOST="far").until("turn 0")
    assert zombie.ended().code == 1
    assert counting.status().status == "failed"


# --- fork -------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_in_a_turn_disturbs_neither_lock_nor_handlers_nor_saves(program: Program) -> None:
    program.write("""
        @checkpoint.resumable(every=1)
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                if x == 3 and job.attempt == 1:
                    pid = os.fork()
                    if not pid:
                        tell("child", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
                        os._exit(0)
                    os.waitpid(pid, 0)
                    hold("after the fork")
                s.total += x
            return s.total
    """)
    first = program.start("count(20)").until("child True").until("after the fork")
    refused = program.run("count(20)")
    assert refused.code == 1 and f"is run by process {first.pid}" in refused.text
    ended = first.send(signal.SIGTERM).go_on().ended()
    assert ended.code == 75
    assert program.status().position == "turn 4 of 20"
    assert program.run("count(20)").result() == "190"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_of_fork_that_leaves_the_body_ends_nothing_of_the_job(program: Program) -> None:
    program.write("""
        @checkpoint.resumable(every=1)
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                if x == 3:
                    pid = os.fork()
                    if not pid:
                        sys.exit("child")
                    os.waitpid(pid, 0)
                    hold("after the fork")
                s.total += x
            return s.total
    """)
    first = program.start("count(20)").until("after the fork")
    assert program.status().status == "running"
    refused = program.run("count(20)")
    assert refused.code == 1 and f"is run by process {first.pid}" in refused.text
    assert first.go_on().ended().result() == "190"


def test_a_job_within_itself_is_told_that_it_has_itself(tmp_path: Path) -> None:
    def again(depth: int) -> Any:
        return checkpoint.job("etl", store=tmp_path).__enter__() if depth else None

    with (
        checkpoint.job("etl", store=tmp_path),
        pytest.raises(ConflictError, match=rf"is run by process {os.getpid()} on"),
    ):
        again(1)
