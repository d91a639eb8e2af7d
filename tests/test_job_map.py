"""Maps: each result is made once, journaled in batches, and given back in order."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from concurrent.futures import ProcessPoolExecutor as Processes
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import checkpoint
from checkpoint import Failed, LocalStore, MemoryStore, ReplayError, SerializationError

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


def noted(item: Any) -> Any:
    calls.append(item)
    return item * 10


class Direct:
    """An executor with nothing but `submit`."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)
        return future


def processes(workers: int = 2) -> Processes:
    return Processes(workers, mp_context=multiprocessing.get_context("spawn"))


@contextmanager
def executor(kind: str) -> Iterator[Any]:
    with ExitStack() as stack:
        if kind == "threads":
            yield stack.enter_context(ThreadPoolExecutor(3))
        elif kind == "processes":
            yield stack.enter_context(processes())
        else:
            yield Direct() if kind == "direct" else None


KINDS = ["none", "threads", "direct"]


def mapped(
    store: MemoryStore | LocalStore,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    dies: bool = False,
    **ways: Any,
) -> list[Any]:
    """One attempt at a map; it dies when the map is done, or does not."""
    with checkpoint.job("j", store=store) as job:
        found = job.map(function, items, **ways)
        if dies:
            raise KilledError
        return found


class Fails:
    """A function that dies, or fails, of some items."""

    def __init__(self, *items: Any, error: type[Exception] = KilledError) -> None:
        self.items, self.error = items, error

    def __call__(self, item: Any) -> Any:
        calls.append(item)
        if item in self.items:
            raise self.error(item)
        return item * 10


# --- order and what is missing -----------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [list, iter, lambda items: (item for item in items), tuple])
def test_results_come_in_the_order_of_the_items(kind: str, make: Callable[[Any], Any]) -> None:
    with executor(kind) as pool:
        found = mapped(MemoryStore(), lambda x: x + 1, make(range(500)), executor=pool)
    assert found == [*range(1, 501)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_items_have_no_results(kind: str) -> None:
    store = MemoryStore()
    with executor(kind) as pool:
        with killed():
            mapped(store, noted, [], executor=pool, dies=True)
        assert mapped(store, noted, [], executor=pool) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fails_at", [0, 1, 57, 99])
def test_only_what_is_missing_is_made_again(kind: str, fails_at: int) -> None:
    store = MemoryStore()
    items = [*range(100)]
    with executor(kind) as pool:
        with killed():
            mapped(store, Fails(fails_at), items, executor=pool)
        before = [*calls]
        calls.clear()
        assert mapped(store, Fails(), items, executor=pool) == [n * 10 for n in items]
    assert sorted([*before, *calls]) == sorted([*items, fails_at])
    if kind == "none":
        assert before == [*range(fails_at + 1)]


def test_a_map_that_is_done_calls_nothing() -> None:
    store = MemoryStore()
    with killed():
        mapped(store, noted, range(50), dies=True)
    calls.clear()
    assert mapped(store, noted, range(50)) == [n * 10 for n in range(50)]
    assert calls == []


def test_results_are_journaled_in_batches_and_not_one_by_one() -> None:
    store = MemoryStore()
    with killed():
        mapped(store, noted, range(20_000), dies=True)
    assert len(store.keys("")) < 15


def test_results_are_journaled_while_the_map_goes_on() -> None:
    store = MemoryStore()
    seen = []

    def slow(item: int) -> int:
        time.sleep(0.01)
        seen.append(len(store.keys("snapshots/j/journal/")))
        return item

    with checkpoint.job("j", store=store, every="50ms") as job:
        job.map(slow, range(40))
    assert seen[-1] >= 5


def _append(path: Path) -> Callable[[int], int]:
    def made(item: int) -> int:
        line = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(line, b"%d\n" % item)
        os.close(line)
        return item * 10

    return made


@pytest.mark.parametrize("kind", ["none", "threads"])
def test_every_item_is_made_once_over_many_attempts(kind: str, tmp_path: Path) -> None:
    store, count = LocalStore(tmp_path / "store"), 400
    made = _append(tmp_path / "calls")
    chance = random.Random(5)

    def dies(item: int) -> int:
        if chance.random() < 0.01:
            raise KilledError
        return made(item)

    for _ in range(100):
        try:
            with executor(kind) as pool, checkpoint.job("j", store=store, max_attempts=200) as job:
                found = job.map(dies, range(count), executor=pool)
            break
        except KilledError:
            pass
    assert found == [n * 10 for n in range(count)]
    assert sorted(map(int, (tmp_path / "calls").read_text().split())) == [*range(count)]


# --- items are the same, or are told by key -----------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([0, 1, 5, 3], "item 2 of the map is 5, and the journal has a result for another one"),
        ([0, 1, 3, 2], "item 2"),
        ([0, 1, 2.0, 3], "item 2"),
        ([0, 1, 2], r"was done with 4 items, and there are 3 now"),
        ([0, 1, 2, 3, 4], r"was done with 4 items, and there is one more"),
    ],
)
def test_items_that_have_changed_are_an_error(kind: str, items: list[Any], told: str) -> None:
    store = MemoryStore()
    with executor(kind) as pool:
        with killed():
            mapped(store, noted, range(4), executor=pool, dies=True)
        with pytest.raises(ReplayError, match=told):
            mapped(store, noted, items, executor=pool)
    assert len(calls) == 4


def test_a_map_of_another_function_is_an_error() -> None:
    store = MemoryStore()
    with killed():
        mapped(store, noted, range(4), dies=True)
    with pytest.raises(ReplayError, match=r"the journal has a map of .*:noted, the program calls"):
        mapped(store, math.factorial, range(4))
    with (
        pytest.raises(ReplayError, match=r"step 1: the journal has a map of .*:noted"),
        checkpoint.job("j", store=store) as job,
    ):
        job.step(noted, 1)


def test_a_step_in_the_place_of_a_map_is_an_error() -> None:
    store = MemoryStore()
    with killed(), checkpoint.job("j", store=store) as job:
        job.step(noted, 4)
        raise KilledError
    with pytest.raises(ReplayError, match=r"step 1: the journal has noted\(4\), the program"):
        mapped(store, noted, range(4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("items", [[3, 2, 1, 0], [1, 3], [0, 1, 2, 3, 4, 5], [9, 0, 8]])
def test_with_a_key_a_list_may_change(kind: str, items: list[int]) -> None:
    store = MemoryStore()
    with executor(kind) as pool:
        ways: dict[str, Any] = {"executor": pool, "key": str}
        with killed():
            mapped(store, noted, range(4), dies=True, **ways)
        calls.clear()
        for _ in range(2):
            with killed():
                mapped(store, noted, items, dies=True, **ways)
        assert mapped(store, noted, items, **ways) == [n * 10 for n in items]
    assert sorted(calls) == sorted(n for n in items if n > 3)


def test_an_item_that_has_changed_under_its_key_is_an_error() -> None:
    store = MemoryStore()
    with killed():
        mapped(store, noted, ["a1", "b1"], key=lambda item: item[0], dies=True)
    with pytest.raises(ReplayError, match="item 0 of the map is 'b2'"):
        mapped(store, noted, ["b2", "a1"], key=lambda item: item[0])


def test_two_items_of_one_key_are_an_error() -> None:
    with pytest.raises(ValueError, match="two items have the key 1; keys must differ"):
        mapped(MemoryStore(), noted, [3, 1, 2], key=lambda item: item % 2)


def test_what_was_told_by_number_is_made_again_by_key() -> None:
    store = MemoryStore()
    with killed():
        mapped(store, noted, [1, 2], dies=True)
    assert mapped(store, noted, [1, 2], key=str) == [10, 20]
    assert calls == [1, 2, 1, 2]


# --- errors ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_raised_as_it_was_with_its_item(kind: str) -> None:
    class OwnError(Exception):
        """Of a kind that cannot be pickled."""

    error = OwnError("why")

    def fails(item: int) -> int:
        if item == 7:
            raise error
        return item

    with executor(kind) as pool, pytest.raises(OwnError) as caught:
        mapped(MemoryStore(), fails, range(20), executor=pool)
    assert caught.value is error
    assert "checkpoint: of item 7 of the map, 7" in caught.value.__notes__


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_is_tried_again(kind: str) -> None:
    tries: list[int] = []

    def fails(item: int) -> int:
        tries.append(item)
        if item == 3 and tries.count(3) < 3:
            raise KilledError
        return item

    with executor(kind) as pool:
        assert mapped(MemoryStore(), fails, range(5), retry=2, executor=pool) == [*range(5)]
        tries.clear()
        with killed():
            mapped(MemoryStore(), fails, range(5), retry=1, executor=pool)
    assert tries.count(3) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_failures_are_collected_in_their_places(kind: str) -> None:
    with executor(kind) as pool:
        found = mapped(MemoryStore(), Fails(1, 3), range(4), on_error="collect", executor=pool)
    assert (found[0], found[2]) == (0, 20)
    failed = found[3]
    assert isinstance(failed, Failed)
    assert failed.item == 3
    assert isinstance(failed.error, KilledError)
    assert failed.error.args == (3,)
    assert "raise self.error(item)" in failed.traceback


@pytest.mark.parametrize("kind", KINDS)
def test_failures_are_skipped(kind: str) -> None:
    with executor(kind) as pool:
        found = mapped(MemoryStore(), Fails(0, 3), range(4), on_error="skip", executor=pool)
    assert found == [10, 20]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", [None, str])
def test_failures_of_a_map_that_was_done_are_given_back(kind: str, key: Any) -> None:
    store = MemoryStore()
    with executor(kind) as pool:
        ways: dict[str, Any] = {"on_error": "collect", "executor": pool, "key": key}
        with killed():
            mapped(store, Fails(1), range(4), dies=True, **ways)
        calls.clear()
        with killed():
            mapped(store, Fails(), range(4), dies=True, **ways)
        found = mapped(store, Fails(), range(4), **ways)
        assert calls == []
        assert [type(each) for each in found] == [int, Failed, int, int]
        assert found[1].item == 1
        assert isinstance(found[1].error, KilledError)


def test_failures_of_a_map_that_was_not_done_are_tried_again() -> None:
    store = MemoryStore()

    def items() -> Iterator[int]:
        yield from range(4)
        raise KilledError

    with killed():
        mapped(store, Fails(1), items(), on_error="collect")
    calls.clear()
    assert mapped(store, Fails(), range(4), on_error="collect") == [0, 10, 20, 30]
    assert calls == [1]


def test_failures_are_tried_again_where_they_are_to_be_raised() -> None:
    store = MemoryStore()
    with killed():
        mapped(store, Fails(1), range(4), on_error="collect", dies=True)
    calls.clear()
    assert mapped(store, Fails(), range(4)) == [0, 10, 20, 30]
    assert calls == [1]


def test_a_failure_that_cannot_be_kept_is_told_in_words() -> None:
    class OwnError(Exception):
        """Of a kind that cannot be pickled."""

    def fails(item: Any) -> Any:
        raise OwnError("why")

    lock = threading.Lock()
    store = MemoryStore()
    for _ in range(2):  # made, and given back
        with killed(), checkpoint.job("j", store=store) as job:
            found = job.map(fails, [lock], on_error="collect")
            assert isinstance(found[0], Failed)
            assert found[0].item is lock
            assert isinstance(found[0].error, RuntimeError)
            assert "OwnError: why" in str(found[0].error)
            raise KilledError


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_that_cannot_be_kept_is_named_and_those_before_it_are(kind: str) -> None:
    store = MemoryStore()

    def bad(item: int) -> Any:
        calls.append(item)
        return {"row": threading.Lock()} if item == 5 else item

    with (
        executor(kind) as pool,
        pytest.raises(SerializationError, match="the result of item 5 of the map cannot") as caught,
    ):
        mapped(store, bad, range(8), executor=pool)
    assert caught.value.path == "result['row']"
    assert "state[" not in str(caught.value)
    if kind != "threads":
        calls.clear()
        with pytest.raises(SerializationError):
            mapped(store, bad, range(8))
        assert calls[0] == 5


def test_an_error_of_the_items_themselves_keeps_what_is_done() -> None:
    store = MemoryStore()

    def items() -> Iterator[int]:
        yield from range(5)
        raise KilledError

    with killed():
        mapped(store, noted, items())
    calls.clear()
    assert mapped(store, noted, range(6)) == [n * 10 for n in range(6)]
    assert calls == [5]


@pytest.mark.parametrize(
    ("ways", "told"),
    [
        ({"on_error": "ignore"}, "on_error is 'raise', 'collect' or 'skip', not 'ignore'"),
        ({"retry": -1}, "retry is a number of times, not -1"),
        ({"retry": 0.5}, "retry is a number of times, not 0.5"),
        ({"executor": 4}, r"executor must have submit\(\)"),
    ],
)
def test_a_way_that_is_none_is_an_error(ways: dict[str, Any], told: str) -> None:
    with pytest.raises((ValueError, TypeError), match=told):
        mapped(MemoryStore(), noted, [], **ways)


# --- processes ---------------------------------------------------------------


def test_processes_make_the_results(tmp_path: Path) -> None:
    store = MemoryStore()
    with processes() as pool:
        assert mapped(store, math.isqrt, range(3000), executor=pool) == [
            math.isqrt(n) for n in range(3000)
        ]


def test_what_cannot_be_sent_from_a_process_has_failed_alone() -> None:
    # A generator cannot be pickled, an error with such an argument neither.
    with processes() as pool:
        found = mapped(
            MemoryStore(), eval, ["1", "(x for x in ())", "3", "1 / 0", "exit_('no')"],
            executor=pool, on_error="collect",
        )  # fmt: skip
    assert [type(each) for each in found] == [int, Failed, int, Failed, Failed]
    assert "generator" in str(found[1].error)
    assert isinstance(found[3].error, ZeroDivisionError)
    assert [each.item for each in found[3:]] == ["1 / 0", "exit_('no')"]


def test_an_error_in_a_process_tells_where_it_was() -> None:
    with processes() as pool, pytest.raises(ZeroDivisionError) as caught:
        mapped(MemoryStore(), eval, ["1", "1 / 0"], executor=pool)
    notes = "\n".join(caught.value.__notes__)
    assert "checkpoint: of item 1 of the map, '1 / 0'" in notes
    assert "Traceback" in notes


def test_a_pool_that_breaks_keeps_what_is_done() -> None:
    store = MemoryStore()
    items = ["1", "2", "3", "__import__('os')._exit(3)", "5"]
    with processes(1) as pool, pytest.raises(BrokenExecutor) as caught:
        mapped(store, eval, items, executor=pool)
    assert any("item" in note and "at work" in note for note in caught.value.__notes__)
    with pytest.raises(ReplayError, match="item 0"):
        mapped(store, eval, ["9", *items[1:3]])


# --- stops -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "direct"])
def test_a_stop_keeps_what_is_done(kind: str) -> None:
    store = MemoryStore()

    def attempt(stops_at: int) -> list[int]:
        with executor(kind) as pool, checkpoint.job("j", store=store) as job:

            def asks(item: int) -> int:
                calls.append(item)
                if item == stops_at:
                    job.request_stop()
                return item

            found: list[Any] = job.map(asks, range(100), executor=pool)
            return found

    with pytest.raises(checkpoint.Preempted):
        attempt(30)
    assert calls[-1] < 99
    if kind == "none":
        assert calls == [*range(31)]
    assert attempt(-1) == [*range(100)]
    assert calls == [*range(100)]


@pytest.mark.parametrize("error", [None, KilledError])
def test_a_stop_or_an_error_waits_for_what_has_begun_and_drops_the_rest(
    error: type[Exception] | None,
) -> None:
    store = MemoryStore()
    begun = threading.Barrier(3, timeout=30)

    def attempt(pool: Executor, *, ends: bool) -> list[int]:
        with checkpoint.job("j", store=store) as job:

            def slow(item: int) -> int:
                calls.append(item)
                if ends and item < 3:
                    begun.wait()
                    if item == 0:
                        if error is not None:
                            raise error
                        job.request_stop()
                    else:
                        time.sleep(0.5)
                return item

            found: list[Any] = job.map(slow, range(50), executor=pool)
            return found

    with ThreadPoolExecutor(3) as pool:
        with pytest.raises((checkpoint.Preempted, KilledError)):
            attempt(pool, ends=True)
        first = [*calls]
        assert {0, 1, 2} <= {*first}
        assert len(first) < 20
        assert attempt(pool, ends=False) == [*range(50)]
    again = calls[len(first) :]
    assert sorted(again) == [n for n in range(50) if n not in first or (error and n == 0)]


def test_what_does_not_end_in_the_grace_is_not_waited_for() -> None:
    let_go = threading.Event()

    def stuck(item: int) -> int:
        if item == 0:
            job.request_stop()
            let_go.wait(30)
        return item

    begun = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        with (
            pytest.raises(checkpoint.Preempted),
            checkpoint.job("j", store=MemoryStore(), grace=0.3) as job,
        ):
            job.map(stuck, range(10), executor=pool)
        assert time.monotonic() - begun < 10
        let_go.set()


@pytest.mark.parametrize("kind", ["none", "threads"])
@pytest.mark.parametrize("seconds", [0.02, 0.3])
def test_a_map_ends_before_the_deadline_and_goes_on_later(kind: str, seconds: float) -> None:
    store = MemoryStore()

    def slow(item: int) -> int:
        calls.append(item)
        time.sleep(seconds)
        return item

    begun = time.monotonic()
    with (
        executor(kind) as pool,
        pytest.raises(checkpoint.Preempted, match="its deadline"),
        checkpoint.job("j", store=store, deadline="1s") as job,
    ):
        job.map(slow, range(1000), executor=pool)
    assert 0.5 < time.monotonic() - begun < 1.05
    done = len(calls)
    assert mapped(store, slow, range(done + 3)) == [*range(done + 3)]
    assert len(calls) == done + 3


def test_a_row_of_steps_ends_before_the_deadline_and_not_long_before() -> None:
    begun = time.monotonic()
    with (
        pytest.raises(checkpoint.Preempted, match="its deadline"),
        checkpoint.job("j", store=MemoryStore(), deadline="1s") as job,
    ):
        for number in range(100):
            job.step(lambda _: time.sleep(0.1), number)
    assert 0.65 < time.monotonic() - begun < 1


# --- with the rest of a job --------------------------------------------------


def drawn(item: int) -> float:
    calls.append(item)
    if item == 5 and calls.count(5) == 1:
        raise KilledError
    return random.random()


def test_random_numbers_go_on_in_a_map() -> None:
    def attempt(store: MemoryStore) -> tuple[list[Any], float]:
        random.seed(4)
        with checkpoint.job("j", store=store) as job:
            return job.map(drawn, range(9)), random.random()

    random.seed(4)
    expected = [random.random() for _ in range(10)]
    store = MemoryStore()
    with killed():
        attempt(store)
    assert attempt(store) == (expected[:9], expected[9])
    assert attempt(store) == (expected[:9], expected[9])
    assert calls == [*range(6), *range(5, 9)]


@checkpoint.resumable(store=MemoryStore(), every=1, name="maps-in-loops")
def in_loops(dies_at: int, *, job: checkpoint.Job) -> list[Any]:
    s = job.state(rows=list)

    def dies(item: int) -> int:
        calls.append(item)
        if len(calls) == dies_at:
            raise KilledError
        return item

    for turn in job.loop(range(4)):
        s.rows.append(job.map(dies, range(turn * 10, turn * 10 + 5)))
        s.rows.append(job.map(dies, range(turn * 10 + 5, turn * 10 + 10)))
    s.rows.append(job.map(dies, range(40, 45)))
    return list(s.rows)


@pytest.mark.parametrize("dies_at", [1, 3, 7, 11, 38, 43])
def test_maps_in_and_after_a_loop_make_each_item_once(dies_at: int) -> None:
    in_loops.reset(dies_at)
    with killed():
        in_loops(dies_at)
    assert in_loops(dies_at) == [[*range(n, n + 5)] for n in range(0, 45, 5)]
    assert sorted(calls) == sorted([*range(45), calls[dies_at - 1]])


# --- many --------------------------------------------------------------------


def _half(item: int) -> int:
    calls.append(0)
    if len(calls) == _half_at[0]:
        raise KilledError
    return item * 3


_half_at = [0]


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["none", "threads"])
def test_many_small_items_are_no_problem(kind: str, count: int, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    _half_at[0] = count // 2
    with executor(kind) as pool:
        with killed():
            mapped(store, _half, range(count), executor=pool)
        assert mapped(store, _half, range(count), executor=pool) == [n * 3 for n in range(count)]
    assert len(calls) == count + 1
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) < 40
    assert sum(path.stat().st_size for path in files) < count * 16 + 100_000


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_many_small_items_are_no_problem_for_processes(count: int, tmp_path: Path) -> None:
    with processes() as pool:
        found = mapped(LocalStore(tmp_path), math.isqrt, range(count), executor=pool)
    assert found == [math.isqrt(n) for n in range(count)]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) < 40
