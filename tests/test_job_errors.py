"""What a job cannot do is said clearly and early, and the last good version stays."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jobs_at_work import Program, program

import checkpoint
from checkpoint import (
    Checkpointer,
    DamagedSnapshotWarning,
    JobError,
    JobWarning,
    LocalStore,
    MemoryStore,
    Preempted,
    ReplayError,
    SerializationError,
    StoreError,
    resumable,
)
from checkpoint._jobs.ledger import entry_of
from checkpoint._repository import Repository

__all__ = ["program"]  # a fixture


class Model:
    """A state of a class of its own."""

    def __init__(self) -> None:
        self.weights = [0.0]
        self.more: dict[str, Any] = {}


class Stop(Exception):
    """Ends a body where a test wants it to."""


decorating: Any = resumable  # as a caller that is not type-checked sees it
opening: Any = checkpoint.job


def made(body: Callable[..., Any], store: Any, name: str = "job", **options: Any) -> Any:
    """*body* as a job; two bodies of one name are one job whose code has changed."""
    options = {"every": 1, "on_code_change": "ignore"} | options
    return decorating(store=store, name=name, **options)(body)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def versions(store: Any) -> list[tuple[int, str]]:
    """The versions of the one job, and what each says of it."""
    (name,) = (name for name in Repository(store).names() if "/journal" not in name)
    found = Repository(store).snapshots(name)
    return [(each.version, entry_of(each).status) for each in found]


# --- state that cannot be saved ---------------------------------------------


def test_state_that_cannot_be_pickled_is_named_at_the_first_safe_point(store: MemoryStore) -> None:
    turns = []

    def body(*, job: Any) -> None:
        s = job.state(model=Model)
        for x in job.loop(range(10)):
            turns.append(x)
            s.model.more["door"] = threading.Lock()

    with pytest.raises(SerializationError, match=r"state\.model\.more\['door'\]") as caught:
        made(body, store, every="1h")()
    assert caught.value.path == "state.model.more['door']"
    assert turns == [0]
    assert [status for _, status in versions(store)] == ["running", "failed"]


def test_state_that_a_generator_yields_is_named_too(store: MemoryStore) -> None:
    def body(state: Any = None) -> Iterator[Any]:
        yield {"model": [1, threading.Lock()]}

    with pytest.raises(SerializationError, match=r"state\['model'\]\[1\]") as caught:
        made(body, store, every="1h")()
    assert caught.value.path == "state['model'][1]"


def test_state_that_cannot_be_pickled_later_leaves_the_last_good_version(
    store: MemoryStore,
) -> None:
    spoilt = [True]

    def body(*, job: Any) -> int:
        s = job.state(total=0)
        for x in job.loop(range(10)):
            s.total += x
            if x == 5 and spoilt:
                s.total, s.door = -1000, threading.Lock()
        return int(s.total)

    job = made(body, store)
    with pytest.raises(SerializationError, match=r"state\.door"):
        job()
    assert job.status().position == "turn 5 of 10"
    spoilt.clear()
    assert job() == 45


class Moving:
    """While it is pickled another thread changes the state around it."""

    def __init__(self, change: Callable[[], None]) -> None:
        self.change: Callable[[], None] | None = change

    def __reduce__(self) -> Any:
        if self.change is not None:
            thread = threading.Thread(target=self.change)
            thread.start()
            thread.join()
        return Moving, (None,)


def test_state_that_a_thread_changes_during_a_save_is_a_clear_error(store: MemoryStore) -> None:
    moves = [True]

    def body(*, job: Any) -> int:
        s = job.state(total=0, seen=dict)
        for x in job.loop(range(10)):
            s.total += x
            s.seen[x] = None
            if x == 5 and moves:
                s.seen[x] = Moving(lambda: s.seen.update({"more": 1}))
                s.seen[x + 1] = None
        return int(s.total)

    job = made(body, store)
    with pytest.raises(SerializationError, match="changed size during iteration"):
        job()
    assert job.status().position == "turn 5 of 10"
    moves.clear()
    assert job() == 45


def test_a_thread_that_changes_the_state_all_the_time_spoils_no_version(
    store: MemoryStore,
) -> None:
    ended = threading.Event()

    def body(*, job: Any) -> int:
        s = job.state(total=0, noise=dict)

        def shake() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                s.noise[number % 997] = [number]
                s.noise.pop((number * 7) % 997, None)

        thread = threading.Thread(target=shake)
        thread.start()
        try:
            for x in job.loop(range(60)):
                s.total += x
        finally:
            ended.set()
            thread.join()
        return int(s.total)

    job = made(body, store, max_attempts=1000)
    for _ in range(1000):
        ended.clear()
        try:
            result = job()
            break
        except SerializationError:
            assert job.status().status == "failed"
    assert result == sum(range(60))


def test_a_result_that_cannot_be_pickled_is_an_error_and_the_work_stays(
    store: MemoryStore,
) -> None:
    turns, bad = [], [True]

    def body(*, job: Any) -> Any:
        s = job.state(total=0)
        for x in job.loop(range(5)):
            turns.append(x)
            s.total += x
        return {"total": s.total, "door": threading.Lock()} if bad else s.total

    job = made(body, store)
    with pytest.raises(SerializationError, match=r"result\['door'\]"):
        job()
    bad.clear()
    assert job() == 10
    assert turns == [0, 1, 2, 3, 4]


# --- a stop that is swallowed -----------------------------------------------


def swallowing(call: Callable[[], None]) -> bool:
    """Where no look at the body can see it: whether anything was raised."""
    try:
        call()
    except BaseException:
        return True
    return False


def test_a_body_that_swallows_the_stop_is_told_and_resumes(store: MemoryStore) -> None:
    def turns(s: Any, job: Any) -> None:
        for x in job.loop(range(10)):
            s.total += x
            if x == 4 and job.attempt == 1:
                job.request_stop()

    def body(*, job: Any) -> int:
        s = job.state(total=0)
        if swallowing(lambda: turns(s, job)):
            s.total = -1000
        return int(s.total)

    job = made(body, store)
    with pytest.raises(JobError, match="swallowed the Preempted and went on"):
        job()
    assert job.status().position == "turn 5 of 10"
    assert job() == 45


def test_a_body_that_swallows_every_stop_gets_no_further(store: MemoryStore) -> None:
    turns = []

    def some(job: Any) -> None:
        for x in job.loop(range(3)):
            turns.append(x)
            job.request_stop()

    def body(*, job: Any) -> None:
        for _ in range(5):
            swallowing(lambda: some(job))

    with pytest.raises(JobError, match="swallowed the Preempted"):
        made(body, store)()
    assert turns == [0]


# --- what is decorated ------------------------------------------------------


async def nap(*, job: Any) -> None: ...


async def naps(state: Any = None) -> Any:
    yield state


def without_state(n: int) -> Iterator[int]:
    yield n


@pytest.mark.parametrize(
    ("thing", "match"),
    [
        (Model, "decorates a function, not <class"),
        (len, "decorates a function, not <built-in"),
        (partial(made), "decorates a function, not functools.partial"),
        (3, "decorates a function, not 3"),
        (nap, "nap is async"),
        (naps, "naps is async"),
        (without_state, r"no parameter to be given its last state: def f\(…, state=None\)"),
    ],
)
def test_what_cannot_be_a_job_is_refused_when_it_is_decorated(thing: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        resumable(thing)
    with pytest.raises(TypeError, match=match):
        resumable(every="60s", name="named")(thing)


def test_a_lambda_and_a_nested_function_must_be_given_a_name(store: MemoryStore) -> None:
    def nested(*, job: Any) -> int:
        return 3

    with pytest.raises(ValueError, match=r"nested cannot be found again by another process: .*"
                       "define it at the top of a module, or give name="):  # fmt: skip
        resumable(nested)
    with pytest.raises(ValueError, match="<lambda> cannot be found again"):
        resumable(lambda: 3)
    assert made(nested, store)() == 3


# --- loops ------------------------------------------------------------------


def test_two_loops_of_one_name_are_refused(store: MemoryStore) -> None:
    def body(*, job: Any) -> None:
        for _ in job.loop(range(2), name="rows"):
            pass
        for _ in job.loop(range(2), name="rows"):
            pass

    with pytest.raises(JobError, match=r"called twice with the name 'rows'; give each loop its"):
        made(body, store)()


@pytest.mark.parametrize("items", [{1, 2}, frozenset("ab")])
def test_a_set_is_no_sequence_of_turns(store: MemoryStore, items: Any) -> None:
    def body(*, job: Any) -> None:
        for _ in job.loop(items):
            pass

    with pytest.raises(TypeError, match=r"another order in the next process: job\.loop\(sorted"):
        made(body, store)()


def in_a_thread(job: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(list, job.loop(range(3))).result()


def by_a_generator(job: Any) -> None:
    def ahead(loop: Any) -> Iterator[Any]:
        for item in loop:
            yield [item]

    for _ in ahead(job.loop(range(3))):
        pass


def by_a_genexp(job: Any) -> None:
    for _ in (item for item in job.loop(range(3))):
        pass


def by_a_pool(job: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        for _ in pool.map(str, job.loop(range(3))):
            pass


@pytest.mark.parametrize("taken", [in_a_thread, by_a_generator, by_a_genexp, by_a_pool])
def test_who_takes_items_ahead_of_their_turns_is_refused(
    store: MemoryStore, taken: Callable[[Any], None]
) -> None:
    def body(*, job: Any) -> None:
        taken(job)

    with pytest.raises(JobError, match=r"job\.loop is (taken|given) .*; loop over it directly"):
        made(body, store)()


def test_a_loop_that_got_shorter_is_refused(store: MemoryStore) -> None:
    count = [10]

    def body(*, job: Any) -> None:
        for x in job.loop(range(count[0])):
            if x == 5 and job.attempt == 1:
                raise Stop

    job = made(body, store)
    with pytest.raises(Stop):
        job()
    count[0] = 4
    with pytest.raises(ReplayError, match="5 turns of this loop are done, and there are 4 items"):
        job()
    count[0] = 5
    job()


def fails_in_second(*, job: Any) -> None:
    for _ in job.loop(range(3), name="first"):
        pass
    for x in job.loop(range(3), name="second"):
        if x == 1:
            raise Stop


def other_first(*, job: Any) -> None:
    for _ in job.loop(range(3), name="other"):
        pass
    for _ in job.loop(range(3), name="second"):
        pass


def no_second(*, job: Any) -> None:
    for _ in job.loop(range(3), name="first"):
        pass


def nested_second(*, job: Any) -> None:
    for _ in job.loop(range(3), name="around"):
        for _ in job.loop(range(3), name="second"):
            pass


@pytest.mark.parametrize("other", [other_first, no_second, nested_second])
def test_a_program_that_does_not_come_to_the_loop_it_was_saved_in_is_refused(
    store: MemoryStore, other: Callable[..., None]
) -> None:
    with pytest.raises(Stop):
        made(fails_in_second, store)()
    before = versions(store)
    with pytest.raises(ReplayError, match=r"was saved in '?second"):
        made(other, store)()
    assert [status for _, status in (*before[-1:], *versions(store)[-1:])] == ["failed", "failed"]


def test_one_name_in_the_state_twice_is_refused(store: MemoryStore) -> None:
    def body(*, job: Any) -> None:
        job.state(total=0)
        job.state(total=1)

    with pytest.raises(ValueError, match=r"job\.state is given 'total' twice"):
        made(body, store)()


# --- options ----------------------------------------------------------------


def plain(n: int = 3, *, job: Any = None) -> int:
    return n


BAD: list[tuple[str, Any, str]] = [
    ("every", 0, "every is a number of turns from 1 on, or a time, not 0"),
    ("every", -1, "every is a number of turns from 1 on"),
    ("every", True, "every is a number of turns from 1 on, or a time, not True"),
    ("every", "fast", "every is a time such as '60s', '5m' or '2h', not 'fast'"),
    ("every", "0s", "every must be longer than '0s'"),
    ("every", 1.5, "every is a time such as '60s'"),
    ("every", [1], "every is a time such as '60s'"),
    ("deadline", "soon", "deadline is a time such as '60s', '5m' or '2h', not 'soon'"),
    ("deadline", 60, "deadline is a time such as"),
    ("max_attempts", 0, "max_attempts is a number from 1 on, not 0"),
    ("max_attempts", "many", "max_attempts is a number from 1 on, not 'many'"),
    ("max_attempts", 2.5, "max_attempts is a number from 1 on, not 2.5"),
    ("grace", 0, "grace is a number of seconds above 0, not 0"),
    ("grace", -3, "grace is a number of seconds above 0"),
    ("grace", "30s", "grace is a number of seconds above 0, not '30s'"),
    ("grace", float("nan"), "grace is a number of seconds above 0"),
    ("on_busy", "x", "on_busy is one of 'error', 'wait', 'steal-if-dead', not 'x'"),
    ("signals", "SIGTERM", r"signals are names such as \('SIGTERM', 'SIGINT'\), not 'SIGTERM'"),
    ("signals", (15,), "signals are names such as"),
    ("signals", ("TERM",), "signals are names such as"),
    ("signals", ("SIGNONSENSE",), "SIGNONSENSE"),
    ("signals", ("SIGKILL",), "SIGKILL is no signal that can ask a job to stop"),
    ("signals", ("SIG_IGN",), "SIG_IGN is no signal"),
    ("name", "a/../b", "name"),
    ("name", "a/journal", "'journal' is for what is in one"),
]
ONLY_DECORATED: list[tuple[str, Any, str]] = [
    ("on_code_change", "x", "on_code_change is one of 'warn', 'error', 'restart', 'ignore'"),
    ("ignore", ("nope",), "plain has no parameter 'nope' to ignore"),
    ("ignore", "n", "ignore is a collection of names"),
]


@pytest.mark.parametrize(("option", "value", "match"), BAD + ONLY_DECORATED)
def test_a_bad_value_is_refused_when_the_function_is_decorated(
    option: str, value: Any, match: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        decorating(**{option: value})(plain)


@pytest.mark.parametrize(("option", "value", "match"), BAD)
def test_a_bad_value_is_refused_when_the_block_is_written(
    option: str, value: Any, match: str
) -> None:
    options = {"name": "etl", option: value}
    with pytest.raises((TypeError, ValueError), match=match):
        opening(**options)


@pytest.mark.parametrize("option", ["evry", "deadlines", "rng"])
def test_an_option_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(TypeError, match=option):
        decorating(**{option: 1})
    with pytest.raises(TypeError, match=option):
        opening("etl", **{option: 1})


def test_an_argument_that_cannot_be_identified_is_named(store: MemoryStore) -> None:
    job = made(plain, store)
    with pytest.raises((TypeError, ValueError), match=r"\bn\b"):
        job(threading.Lock())
    with pytest.raises((TypeError, ValueError), match=r"n\[1\]\['door'\]"):
        job([1, {"door": threading.Lock()}])
    assert store.keys("") == []


@pytest.mark.parametrize(("args", "match"), [((1, 2), "positional"), ((), None)])
def test_a_call_that_does_not_fit_is_a_type_error_as_ever(
    store: MemoryStore, args: tuple[Any, ...], match: str | None
) -> None:
    def needs(a: int, *, job: Any) -> int:
        return a

    with pytest.raises(TypeError, match=match or "missing 1 required positional argument: 'a'"):
        made(needs, store)(*args)
    assert store.keys("") == []


# --- stores -----------------------------------------------------------------


def test_snapshots_that_are_no_jobs_are_left_alone(tmp_path: Path) -> None:
    Checkpointer(tmp_path, name="etl").save({"mine": 1})
    with (
        pytest.raises(JobError, match=r"version 1 of 'etl' was not saved by a job; give the job a"),
        checkpoint.job("etl", store=tmp_path),
    ):
        raise AssertionError("the block is not run")
    saves = Checkpointer(tmp_path, name="etl")
    assert saves.load() == {"mine": 1}
    assert [each.version for each in saves.snapshots()] == [1]


def test_a_store_that_is_a_file_is_found_out_before_anything_is_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    turns: list[int] = []

    def body(*, job: Any) -> None:
        turns.append(1)

    with pytest.raises(StoreError, match="file"):
        made(body, tmp_path / "file")()
    assert turns == [] and (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder that nobody can write")
def test_a_store_that_cannot_be_written_is_found_out_before_anything_is_run() -> None:
    turns: list[int] = []

    def body(*, job: Any) -> None:
        turns.append(1)

    with pytest.raises(StoreError, match="/proc/jobs"):
        made(body, "/proc/jobs")()
    assert turns == []


class Failing(MemoryStore):
    """Puts nothing while it is told to fail."""

    fails = False

    def put(self, key: str, pieces: Any) -> None:
        if self.fails:
            raise StoreError("the disk is full")
        super().put(key, pieces)


def test_a_save_that_fails_is_raised_and_what_was_saved_stays() -> None:
    store = Failing()

    def body(*, job: Any) -> int:
        s = job.state(total=0)
        for x in job.loop(range(10)):
            s.total += x
            store.fails = x == 5 and job.attempt == 1
        return int(s.total)

    job = made(body, store)
    with pytest.raises(StoreError, match="the disk is full") as caught:
        job()
    assert any("could not be noted: the disk is full" in note for note in caught.value.__notes__)
    store.fails = False
    assert job.status().position == "turn 5 of 10"
    assert job() == 45


@pytest.mark.parametrize("what", ["manifest", "pack"])
def test_a_damaged_newest_version_is_stepped_over_and_the_result_is_right(
    tmp_path: Path, what: str
) -> None:
    turns: list[int] = []

    def body(*, job: Any) -> int:
        s = job.state(total=0, bulk=lambda: os.urandom(20_000))
        for x in job.loop(range(10)):
            turns.append(x)
            s.total += x
            s.bulk = os.urandom(20_000)
            if x == 6 and job.attempt == 1:
                job.request_stop()
        return int(s.total)

    job = made(body, tmp_path, every=2)
    with pytest.raises(Preempted):
        job()
    newest = max(tmp_path.glob("snapshots/job/**/*.json"))
    if what == "pack":
        packs = re.findall(rb"[0-9a-f]{32}", newest.read_bytes())
        newest = next(
            path for path in tmp_path.glob("packs/**/*.pack") if path.stem.encode() in packs
        )
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    turns.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert job() == 45
    assert DamagedSnapshotWarning in {each.category for each in caught}
    assert turns[0] == 5


def test_a_damaged_result_is_made_once_more(tmp_path: Path) -> None:
    turns: list[int] = []

    def body(*, job: Any) -> int:
        s = job.state(total=0)
        for x in job.loop(range(10)):
            turns.append(x)
            s.total += x
        return int(s.total)

    job = made(body, tmp_path)
    assert job() == 45
    (result,) = tmp_path.glob("snapshots/job/**/*.json")
    content = bytearray(result.read_bytes())
    content[len(content) // 2] ^= 1
    result.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert job() == 45
    assert DamagedSnapshotWarning in {each.category for each in caught}
    assert turns == [*range(10), *range(10)]


# --- the code has changed ---------------------------------------------------

CODE = """
    @checkpoint.resumable(every=1, on_code_change={rule!r})
    def total(n, *, job):
        s = job.state(total=0)
        for x in job.loop(range(n)):
            tell("turn", x)
            if x == 5 and job.attempt == 1 and {dies}:
                raise LookupError(x)
            s.total += {term}
        return s.total
    """


@pytest.fixture
def edited(program: Program) -> Callable[..., Any]:
    """The function after an edit: with this rule, and this term in its sum."""

    def edit(rule: str, term: str = "x", *, dies: bool = False) -> Any:
        program.write(CODE.format(rule=rule, term=term, dies=dies))
        return program.imported().total

    return edit


def dies(edited: Callable[..., Any]) -> None:
    with pytest.raises(LookupError):
        edited("error", dies=True)(10)


def turns_of(out: str) -> list[int]:
    return [int(line.split()[1]) for line in out.splitlines() if line.startswith("turn ")]


def test_a_running_job_goes_on_with_changed_code_and_a_warning_that_shows_it(
    edited: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    dies(edited)
    capsys.readouterr()
    with pytest.warns(JobWarning, match="has changed since .* it goes on") as caught:
        assert edited("warn", "10 * x")(10) == 0 + 1 + 2 + 3 + 4 + 350
    assert "-        s.total += x" in str(caught[0].message)
    assert "+        s.total += 10 * x" in str(caught[0].message)
    assert turns_of(capsys.readouterr().out) == [5, 6, 7, 8, 9]


def test_a_finished_job_gives_its_result_with_a_warning(edited: Callable[..., Any]) -> None:
    assert edited("warn")(10) == 45
    with pytest.warns(JobWarning, match="its result is the one from before"):
        assert edited("warn", "10 * x")(10) == 45


@pytest.mark.parametrize("finished", [True, False])
def test_changed_code_can_be_an_error_and_nothing_is_touched(
    edited: Callable[..., Any], program: Program, finished: bool
) -> None:
    if finished:
        edited("error")(10)
    else:
        dies(edited)
    before = program.history()
    with pytest.raises(JobError, match="go on with on_code_change='warn', or begin anew with"):
        edited("error", "10 * x")(10)
    assert program.history() == before
    if finished:
        assert edited("error", "x  # the same code")(10) == 45


def test_changed_code_can_be_ignored(edited: Callable[..., Any]) -> None:
    dies(edited)
    assert edited("ignore", "10 * x")(10) == 360
    assert edited("ignore", "20 * x")(10) == 360


@pytest.mark.parametrize("finished", [True, False])
def test_changed_code_can_begin_anew_and_what_was_saved_is_archived(
    edited: Callable[..., Any],
    program: Program,
    finished: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if finished:
        edited("restart")(10)
    else:
        dies(edited)
    old = program.history()[-1]
    capsys.readouterr()
    job = edited("restart", "10 * x")
    assert job(10) == 450
    shown = capsys.readouterr()
    assert turns_of(shown.out) == list(range(10))
    assert "it begins anew, and what was saved is archived" in shown.err
    assert job(10) == 450
    archived = [each for each in job.history(10) if each.archived]
    assert [each.version for each in archived] == [old.version]
    record = Checkpointer(program.store, name=old.name).load(version=old.version)
    assert (record["result"] == 45) if finished else (record["state"]["total"] == 10)


def test_reset_begins_anew_and_archives(edited: Callable[..., Any], program: Program) -> None:
    dies(edited)
    old = program.history()[-1]
    job = edited("ignore")
    job.reset(10)
    job.reset(10)
    assert job.status(10).status == "reset"
    assert job(10) == 45
    assert [each.version for each in job.history(10) if each.archived] == [old.version]
    assert (
        Checkpointer(program.store, name=old.name).load(version=old.version)["state"]["total"] == 10
    )
    assert LocalStore(program.store).keys("snapshots/") != []
