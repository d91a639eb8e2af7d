"""Steps: a call is made once, its result is kept, and a replay is the same or an error."""

from __future__ import annotations

import functools
import operator
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import checkpoint
from checkpoint import JobError, MemoryStore, ReplayError, SerializationError
from checkpoint._jobs.job import current_job

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


class KilledError(Exception):
    """The program ends here."""


@contextmanager
def killed() -> Iterator[None]:
    """The block is the last that an attempt does."""
    with pytest.raises(KilledError):
        yield


def noted(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    calls.append(args)
    return args


def other(*args: Any) -> tuple[Any, ...]:
    calls.append(("other", *args))
    return args


def drawn(count: int) -> list[float]:
    calls.append(count)
    return [random.random() for _ in range(count)]


def begun(store: MemoryStore, *steps: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
    """An attempt that makes *steps* and dies."""
    with killed(), checkpoint.job("j", store=store) as job:
        for function, args in steps:
            job.step(function, *args)
        raise KilledError


def test_a_step_runs_once_and_its_result_is_kept() -> None:
    store = MemoryStore()
    begun(store, (noted, (1,)), (noted, (2,)))
    with checkpoint.job("j", store=store) as job:
        assert [job.step(noted, n) for n in (1, 2, 3)] == [(1,), (2,), (3,)]
    assert calls == [(1,), (2,), (3,)]


def test_a_step_that_failed_runs_again() -> None:
    store = MemoryStore()

    def fails_once() -> int:
        calls.append("tried")
        if len(calls) == 1:
            raise KilledError
        return 7

    with killed(), checkpoint.job("j", store=store) as job:
        job.step(fails_once)
    with checkpoint.job("j", store=store) as job:
        assert job.step(fails_once) == 7


@pytest.mark.parametrize(
    ("function", "args", "told"),
    [
        (
            other,
            (1,),
            r"step 1: the journal has noted\(1\) of .*:noted, .* other\(1\) of .*:other;",
        ),
        (noted, (2,), r"step 1: the journal has noted\(1\), the program calls noted\(2\);"),
        (noted, (1, 1), r"has noted\(1\), the program calls noted\(1, 1\);"),
        (noted, (True,), r"calls noted\(True\);"),
        (functools.partial(noted, 1), (), r"calls noted\(\);"),
    ],
)
def test_a_replay_with_another_call_is_told_both(
    function: Callable[..., Any], args: tuple[Any, ...], told: str
) -> None:
    store = MemoryStore()
    begun(store, (noted, (1,)))
    with pytest.raises(ReplayError, match=told), checkpoint.job("j", store=store) as job:
        job.step(function, *args)
    assert calls == [(1,)]


def test_a_replay_in_another_order_is_an_error() -> None:
    store = MemoryStore()
    begun(store, (noted, (1,)), (other, (2,)))
    with pytest.raises(ReplayError, match="step 1"), checkpoint.job("j", store=store) as job:
        job.step(other, 2)


def test_a_difference_beyond_what_is_shown_is_told_by_its_argument() -> None:
    store = MemoryStore()
    begun(store, (noted, ("x" * 5000, 1)))
    with pytest.raises(ReplayError, match="calls it with another argument 1;"):
        begun(store, (noted, ("x" * 2500 + "y" + "x" * 2499, 1)))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (functools.partial(noted, 1), functools.partial(noted, 2)),
        ("a".upper, "b".upper),
        (functools.partial(noted, x=1), functools.partial(noted, y=1)),
    ],
)
def test_what_is_bound_to_a_function_is_an_argument(
    one: Callable[..., Any], two: Callable[..., Any]
) -> None:
    store = MemoryStore()
    begun(store, (one, ()))
    begun(store, (one, ()))
    with pytest.raises(ReplayError):
        begun(store, (two, ()))


def test_an_argument_that_cannot_be_identified_is_told_by_its_type() -> None:
    store = MemoryStore()
    begun(store, (noted_size, (threading.Lock(),)))
    begun(store, (noted_size, (threading.Lock(),)))
    assert len(calls) == 1
    with pytest.raises(ReplayError):
        begun(store, (noted_size, (threading.Event(),)))


def noted_size(*args: Any) -> int:
    calls.append(args)
    return len(args)


def test_any_callable_is_a_step() -> None:
    store = MemoryStore()
    functions: list[tuple[Any, tuple[Any, ...], Any]] = [
        (len, ([1, 2],), 2),
        (lambda x: x + 1, (1,), 2),
        (functools.partial(operator.add, 1), (2,), 3),
        ("a-b".split, ("-",), ["a", "b"]),
        (int, ("7",), 7),
        (operator.itemgetter(1), ([5, 6],), 6),
        (dict.fromkeys, ("ab",), {"a": None, "b": None}),
    ]
    for _ in range(2):
        with killed(), checkpoint.job("j", store=store) as job:
            for function, args, expected in functions:
                assert job.step(function, *args) == expected
            raise KilledError


# --- a step changes nothing that it was given --------------------------------


class Counter:
    def __init__(self) -> None:
        self.count = 0
        self.lines = ["a"]

    def add(self) -> int:
        self.count += 1
        return self.count

    def __call__(self) -> int:
        return self.add()


def _with_array() -> tuple[Callable[..., Any], tuple[Any, ...], str]:
    numpy = pytest.importorskip("numpy")
    return operator.setitem, (numpy.zeros(100_000), 5, 1.0), "argument 1"


CHANGING: list[Callable[[], tuple[Callable[..., Any], tuple[Any, ...], str]]] = [
    lambda: (operator.setitem, ([1, 2], 0, 5), r"argument 1: ~ state\[0\]: 1, now 5"),
    lambda: (Counter().add, (), r"the object of the method: ~ state\.count: 0, now 1"),
    lambda: (Counter(), (), r"the object that is called: .*count"),
    lambda: ([1].append, (2,), "the object of the method"),
    lambda: (functools.partial(list.append, [1]), (2,), "argument 1 of partial"),
    lambda: (iter([1, 2]).__next__, (), "the object of the method"),
    _with_array,
]


@pytest.mark.parametrize("make", CHANGING)
def test_a_step_that_changes_what_it_was_given_is_refused_and_not_journaled(
    make: Callable[[], tuple[Callable[..., Any], tuple[Any, ...], str]],
) -> None:
    store = MemoryStore()
    for _ in range(2):  # The second time too: nothing was journaled.
        function, args, told = make()
        with (
            pytest.raises(JobError, match=f"step 1, .* has changed what it was given, {told}"),
            checkpoint.job("j", store=store) as job,
        ):
            job.step(function, *args)


def test_a_value_that_is_pickled_in_another_way_is_not_changed() -> None:
    text = "".join(["some ", "text"])
    value = [text, "".join(["some ", "text"])]

    def share(values: list[str]) -> int:
        values[1] = values[0]
        return 1

    with checkpoint.job("j", store=MemoryStore()) as job:
        assert job.step(share, value) == 1


def test_what_a_program_does_to_a_result_is_not_journaled() -> None:
    store = MemoryStore()
    for attempt in range(3):
        with killed(), checkpoint.job("j", store=store) as job:
            rows = job.step(list, "ab")
            assert rows == ["a", "b"]
            rows.append("c")
            for number in range(150 if attempt == 0 else 0):
                job.step(noted, number)
            raise KilledError


def test_a_result_that_cannot_be_kept_is_named_by_its_step() -> None:
    def bad() -> dict[str, Any]:
        return {"rows": [1, threading.Lock()]}

    with (
        pytest.raises(SerializationError, match=r"the result of step 2, .*bad\(\)") as caught,
        checkpoint.job("j", store=MemoryStore()) as job,
    ):
        job.step(noted, 1)
        job.step(bad)
    assert caught.value.path == "result['rows'][1]"
    assert "state['calls']" not in str(caught.value)


# --- random numbers ----------------------------------------------------------


def test_random_numbers_go_on_after_a_step_as_if_it_had_been_made() -> None:
    def attempt(store: MemoryStore, *, dies: bool) -> list[float]:
        random.seed(3)
        with checkpoint.job("j", store=store) as job:
            first = job.step(drawn, 2)
            between = random.random()
            job.step(noted)
            if dies:
                raise KilledError
            return [*first, between, random.random()]

    random.seed(3)
    expected = [random.random() for _ in range(4)]
    store = MemoryStore()
    with killed():
        attempt(store, dies=True)
    assert attempt(store, dies=False) == expected
    assert calls == [2, ()]


# --- places ------------------------------------------------------------------


@checkpoint.resumable(store=MemoryStore(), every=1, name="steps-in-loops")
def in_loops(dies_at: int, *, job: checkpoint.Job) -> list[Any]:
    s = job.state(rows=list)
    for outer in job.loop(range(3), name="outer"):
        for inner in job.loop(range(3), name="inner"):
            s.rows.append(job.step(noted, outer, inner))
            s.rows.append(job.step(noted, outer, inner, "second"))
            if len(calls) == dies_at:
                calls.append("died")
                raise KilledError
        s.rows.append(job.step(noted, outer))
    return list(s.rows)


@pytest.mark.parametrize("dies_at", [2, 6, 9, 13, 16])
def test_steps_in_nested_loops_run_once_in_each_turn(dies_at: int) -> None:
    in_loops.reset(dies_at)
    expected = [
        row
        for outer in range(3)
        for row in [
            *(r for inner in range(3) for r in ((outer, inner), (outer, inner, "second"))),
            (outer,),
        ]
    ]
    with killed():
        in_loops(dies_at)
    assert in_loops(dies_at) == expected
    assert [call for call in calls if call != "died"] == expected


def test_after_a_reset_every_step_is_made_again() -> None:
    store = MemoryStore()

    @checkpoint.resumable(store=store, name="reset")
    def work(*, job: checkpoint.Job) -> Any:
        found = job.step(noted, 1)
        if len(calls) < 2:
            raise KilledError
        return found

    with killed():
        work()
    work.reset()
    assert work() == (1,)
    assert calls == [(1,), (1,)]


def test_two_jobs_at_one_place_have_their_own_steps() -> None:
    store = MemoryStore()
    for key in ("a", "b"):
        with killed(), checkpoint.job("j", key=key, store=store) as job:
            job.step(noted, key)
            raise KilledError
    for key in ("a", "b"):
        with checkpoint.job("j", key=key, store=store) as job:
            assert job.step(noted, key) == (key,)
    assert calls == [("a",), ("b",)]


def test_a_stop_between_steps_keeps_the_journal() -> None:
    store = MemoryStore()

    def attempt(*, stops: bool) -> Any:
        with checkpoint.job("j", store=store) as job:

            def asks() -> int:
                calls.append("asks")
                if stops:
                    job.request_stop()
                return 5

            first = job.step(asks)
            calls.append("after")
            return first, job.step(noted, 2)

    with pytest.raises(checkpoint.Preempted):
        attempt(stops=True)
    assert calls == ["asks"]
    assert attempt(stops=False) == (5, (2,))
    assert calls == ["asks", "after", (2,)]


# --- jobs in jobs ------------------------------------------------------------

inside_store = MemoryStore()


@checkpoint.resumable(name="child")
def child(number: int, *, job: checkpoint.Job) -> Any:
    return job.step(noted, "child", number)


@checkpoint.resumable(store=inside_store, name="parent")
def parent(*, job: checkpoint.Job) -> Any:
    both = [child(1), child(1), child(2)]
    if not any(call == ("end",) for call in calls):
        noted("end")
        raise KilledError
    return both


def test_a_job_in_a_job_is_called_once_and_deleted_when_the_outer_is_done() -> None:
    made = [("child", 1), ("child", 1), ("child", 2)]
    with killed():
        parent()
    assert any("/inside/" in key for key in inside_store.keys("snapshots/"))
    assert parent() == made
    assert calls == [*made, ("end",)]
    assert not [
        key for key in inside_store.keys("snapshots/") if "/inside/" in key and "/@/" in key
    ]
    parent.reset()
    assert parent() == made
    assert calls == [*made, ("end",), *made]


# --- calls in calls ----------------------------------------------------------

dying = [0]


def made(*args: Any) -> Any:
    calls.append(args)
    if len(calls) == dying[0]:
        raise KilledError
    return args


def outer(number: int) -> Any:
    """Steps, a job and a loop inside of a step or a map."""
    job = current_job()
    s = job.state()
    found = [job.step(made, number, "a"), below(number)]
    for turn in job.loop(range(2)):
        found.append(job.step(made, number, turn))
        s.turns += 1
    return [len(found), job.step(made, number, "b")]


@checkpoint.resumable(name="below")
def below(number: int, *, job: checkpoint.Job) -> Any:
    return [job.step(made, number, "below"), job.step(made, number, "below too")]


@pytest.mark.parametrize("dies_at", range(1, 21))
def test_what_a_call_calls_has_a_place_of_its_own(dies_at: int) -> None:
    @checkpoint.resumable(store=MemoryStore(), every=1, name="steps-in-steps")
    def work(*, job: checkpoint.Job) -> Any:
        s = job.state(turns=0)
        rows = [job.step(outer, 1), job.step(made, 2), job.map(outer, [3, 4]), job.step(made, 5)]
        return rows, s.turns

    dying[0] = dies_at
    with killed():
        work()
    rows, turns = work()
    assert rows[1::2] == [(2,), (5,)]
    assert turns == 6
    assert len(calls) == 21  # The one that died is made twice, and no other.
    assert work() == (rows, 6)
