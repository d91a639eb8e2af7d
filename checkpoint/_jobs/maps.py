"""A function over many items: each result made once, journaled in batches, given back in order.

Only this process writes.  Items go to an executor in chunks that take about a
twentieth of a second, a few at a time, so that a million small ones cost no
million messages.  A batch is journaled in columns: the runs of numbers that it
holds, the keys or None, 8 bytes that tell each item, the results.
"""

from __future__ import annotations

import os
import pickle
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import chain, islice
from time import monotonic
from typing import Any, Literal, NoReturn, Protocol

from attrs import evolve, field, frozen
from blake3 import blake3

from checkpoint._jobs import chance, steps
from checkpoint._jobs.identity import told
from checkpoint._jobs.journal import Call, Made, Slot
from checkpoint._jobs.places import Node
from checkpoint._jobs.steps import name_of, other_call, retold
from checkpoint._jobs.watch import Watch
from checkpoint.errors import ReplayError, SerializationError

OnError = Literal["raise", "collect", "skip"]

_CHUNK = 0.05  # seconds of work that are sent to an executor at once
_LARGEST = 10_000  # items in a chunk
_GROWTH = 4
_POLL = 0.1  # seconds after which a stop is seen while items are made
_SLOWER = 1.5  # times as long as any before a chunk may take
_WAITED = 0.8  # of the grace; the rest is for journaling what came in it
_TOLD = 8  # bytes
_COLUMN = re.compile(r"state\['maps'\]\[0\]\[3\]\[0\]\[([13])\]\[(\d+)\]")  # of a batch


@frozen
class Failed:
    """What stands for the result of an item that failed: its error, and the traceback as text."""

    __module__ = "checkpoint"

    item: Any
    error: BaseException
    traceback: str = field(repr=False)


@frozen
class Ways:
    """How a map is done."""

    executor: Executor | None = None
    key: Callable[[Any], Any] | None = None
    on_error: OnError = "raise"
    retry: int = 0

    def __attrs_post_init__(self) -> None:
        if self.on_error not in ("raise", "collect", "skip"):
            raise ValueError(f"on_error is 'raise', 'collect' or 'skip', not {self.on_error!r}")
        if not isinstance(self.retry, int) or self.retry < 0:
            raise ValueError(f"retry is a number of times, not {self.retry!r}")
        if self.executor is not None and not hasattr(self.executor, "submit"):
            raise TypeError(f"executor must have submit(), as {self.executor!r} has not")


class Host(steps.Host, Protocol):
    """What a map needs of its job."""

    grace: float

    @property
    def is_asked(self) -> bool: ...

    def batches(self) -> Watch: ...

    def reason(self, now: float, watch: Watch) -> str | None: ...


def mapped(
    host: Host, function: Callable[[Any], Any], items: Iterable[Any], ways: Ways
) -> list[Any]:
    """The results in the order of *items*, without what was skipped."""
    host.calls.begin()
    host.rest(host.calls)
    work = _Work(host, (host.here.key(), host.here.call()), function, ways)
    missing = work.missing(items)
    try:
        if ways.executor is None:
            with steps.part_of(host, f"map {work.number}:") as node:
                work.make_here(missing, node)
        else:
            work.make_by(ways.executor, missing)
    except Exception:
        work.commit()
        raise
    results = work.finish()
    host.rest(host.calls)
    return results


Task = tuple[int, Any]  # the number of an item, and the item
_MISSING = object()


class _Before:
    """What the journal has of a map: results in rows, by the number or the key of the item."""

    def __init__(self, made: Made | None, *, by_key: bool) -> None:
        last = made.last if made else {}
        self.chance, self.end = last.get("chance"), last.get("end")
        self._results: list[Any] = []
        self._told = bytearray()
        self._rows: dict[Any, int] | None = {} if by_key else None
        for runs, keys, digests, results in made.batches if made else ():
            # One that was told in the other way is of no use, and is made again.
            if by_key and keys is not None:
                self._add_rows(keys, digests, results)
            elif not by_key and keys is None:
                self._put(runs, digests, results)

    def _add_rows(self, keys: list[Any], digests: bytes, results: list[Any]) -> None:
        assert self._rows is not None
        self._rows.update(zip(keys, range(len(self._results), 2**63), strict=False))
        self._told += digests
        self._results += results

    def _put(self, runs: list[tuple[int, int]], digests: bytes, results: list[Any]) -> None:
        at = 0
        for start, stop in runs:
            lacking = stop - len(self._results)
            if lacking > 0:
                self._results += [_MISSING] * lacking
                self._told += bytes(_TOLD * lacking)
            end = at + stop - start
            self._results[start:stop] = results[at:end]
            self._told[_TOLD * start : _TOLD * stop] = digests[_TOLD * at : _TOLD * end]
            at = end

    def find(self, key: Any, digest: bytes) -> Any:
        """The result of an item, or _MISSING; ReplayError if it is that of another one."""
        row = key if self._rows is None else self._rows.get(key, -1)
        if not 0 <= row < len(self._results):
            return _MISSING
        result = self._results[row]
        if result is not _MISSING and self._told[_TOLD * row : _TOLD * (row + 1)] != digest:
            raise ReplayError("the journal has a result for another one")
        return result


class _Work:
    """One map at work: what is done, what is to be journaled, what failed."""

    def __init__(self, host: Host, slot: Slot, function: Callable[[Any], Any], ways: Ways) -> None:
        self._host, self._slot, self._function, self._ways = host, slot, function, ways
        self.number = slot[1]
        self._name = name_of(function)
        self._watch = host.batches()
        self._ends, self._longest = self._watch.ends, 0.0
        self._before = _Before(self._taken(), by_key=ways.key is not None)
        # Of each item that was seen, by its number:
        self._results: list[Any] = []
        self._told = bytearray()
        self._keys: dict[Any, None] = {}
        self._runs: list[tuple[int, int]] = []  # of numbers whose results are not journaled
        self._failed: dict[int, Failed] = {}
        self._has_new_failures = False

    def _taken(self) -> Made | None:
        """What the journal has; ReplayError if it is of something else."""
        found = self._host.journal.take(self._slot)
        if found is None or (isinstance(found, Made) and found.function == self._name):
            return found
        was = found.shown if isinstance(found, Call) else f"a map of {found.function}"
        raise other_call(f"step {self.number}", was, f"a map of {self._name}")

    # --- what is to be made -------------------------------------------------

    def missing(self, items: Iterable[Any]) -> Iterator[Task]:
        """The items without a result, in their order; the others are checked and done."""
        key_of, results, digests, before = self._ways.key, self._results, self._told, self._before
        find = before.find
        for number, item in enumerate(items):
            key = number if key_of is None else self._key(key_of(item))
            digest = _digest(item)
            try:
                result = find(key, digest)
            except ReplayError as error:
                raise ReplayError(
                    f"item {number:,} of the map is {item!r:.80}, and {error}; "
                    "if the list may change, tell items by key="
                ) from None
            digests += digest
            results.append(result)
            if result is _MISSING and not self._has_failed(number, key, item):
                yield number, item

    def _key(self, key: Any) -> Any:
        if key in self._keys:
            raise ValueError(f"two items have the key {key!r}; keys must differ")
        self._keys[key] = None
        return key

    def _has_failed(self, number: int, key: Any, item: Any) -> bool:
        """Whether an item failed, of a map that was done: it is not tried again."""
        end = self._before.end
        if end is None:
            return False
        if self._ways.key is None and number >= end["count"]:
            raise ReplayError(
                f"the map was done with {end['count']:,} items, and there is one more now; "
                "begin anew with reset(), or tell items by key="
            )
        if key not in end["failed"] or self._ways.on_error == "raise":
            return False
        self._results[number] = self._failed[number] = Failed(item, *end["failed"][key])
        return True

    # --- in this thread -----------------------------------------------------

    def make_here(self, missing: Iterator[Task], node: Node) -> None:
        """Make what is missing, one after the other, each as a turn of *node*.

        Random numbers go on where they stopped.
        """
        first = next(missing, None)
        if first is None or first[0] != node.position:
            self._host.leave(node)
        if self._before.chance is not None:
            chance.restore(self._before.chance)
        function, retry = self._function, self._ways.retry
        host, watch = self._host, self._watch
        for number, item in chain([] if first is None else [first], missing):
            node.position = number
            outcome = _made(function, item, retry)
            if type(outcome) is Failed:
                self._fail(number, outcome)
            else:
                self._keep(number, outcome)
            if monotonic() >= watch.due or host.is_asked:
                if self._is_to_stop():
                    self.commit()
                    self._stop()
                self._look_again()

    # --- by an executor -----------------------------------------------------

    def make_by(self, executor: Executor, missing: Iterator[Task]) -> None:
        """Make what is missing in chunks; a stop or an error lets those that have begun end."""
        workers = getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        flying: dict[Future[Any], list[Task]] = {}
        size = 1
        try:
            while True:
                while len(flying) < 2 * workers and (chunk := [*islice(missing, size)]):
                    flying[self._submit(executor, chunk)] = chunk
                if not flying:
                    return
                for future in wait(flying, _POLL, FIRST_COMPLETED).done:
                    chunk = flying.pop(future)
                    size = _next_size(len(chunk), self._land(future, chunk))
                if self._is_to_stop():
                    self._settle(flying)
                    self._stop()
                self._look_again()
        except Exception:
            self._settle(flying)
            raise
        finally:
            for future in flying:
                future.cancel()

    def _submit(self, executor: Executor, chunk: list[Task]) -> Future[Any]:
        items = [item for _, item in chunk]
        return executor.submit(_chunk, self._function, items, self._ways.retry, os.getpid())

    def _land(self, future: Future[Any], chunk: list[Task]) -> float:
        """Take the results of a chunk; the seconds that it took."""
        try:
            took, outcomes = future.result()
            if isinstance(outcomes, bytes):
                outcomes = pickle.loads(outcomes)
        except Exception as error:
            error.add_note(f"checkpoint: {_items(chunk)} of the map were at work")
            raise
        failures = []
        for (number, item), outcome in zip(chunk, outcomes, strict=True):
            if type(outcome) is not Failed:
                self._keep(number, outcome)
            else:
                failures.append((number, evolve(outcome, item=item)))
        for number, failure in failures:
            self._fail(number, failure)
        # Those that have begun must have ended by the deadline.
        self._longest = max(self._longest, took)
        self._watch.ends = self._ends - _SLOWER * self._longest
        return float(took)

    def _settle(self, flying: dict[Future[Any], list[Task]]) -> None:
        """Before it stops: what has not begun is dropped, what has is waited for and kept."""
        running = {future: chunk for future, chunk in flying.items() if not future.cancel()}
        flying.clear()
        self.commit()
        for future in wait(running, self._host.grace * _WAITED).done:
            if future.exception() is None:
                outcomes = future.result()[1]
                if isinstance(outcomes, bytes):
                    outcomes = pickle.loads(outcomes)
                for (number, _), outcome in zip(running[future], outcomes, strict=True):
                    if type(outcome) is not Failed:
                        self._keep(number, outcome)
        self.commit()

    # --- results ------------------------------------------------------------

    def _keep(self, number: int, result: Any) -> None:
        self._results[number] = result
        runs = self._runs
        if runs and runs[-1][1] == number:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))

    def _fail(self, number: int, failed: Failed) -> None:
        if self._ways.on_error == "raise":
            error = failed.error
            error.add_note(f"checkpoint: of item {number:,} of the map, {failed.item!r:.80}")
            if error.__traceback__ is None:  # It comes from another process.
                error.add_note(failed.traceback)
            raise error
        failed = evolve(failed, error=_portable(failed.error))
        self._results[number] = self._failed[number] = failed
        self._has_new_failures = True

    def _is_to_stop(self) -> bool:
        return self._host.reason(monotonic(), self._watch) is not None

    def _stop(self) -> NoReturn:
        self._host.rest(self._watch)
        raise AssertionError("a job that is to stop has gone on")

    def _look_again(self) -> None:
        if self._watch.is_save_due(monotonic()):
            self.commit()
        self._watch.look_again()

    def commit(self, end: dict[str, Any] | None = None) -> None:
        """Journal what is new."""
        runs, self._runs = self._runs, []
        if not runs and end is None:
            return
        begun = monotonic()
        here = self._ways.executor is None
        last = {
            "chance": chance.captured() if here else None,
            "end": self._before.end if end is None else end,
        }
        try:
            self._host.journal.add_batch(self._slot, self._name, self._batch(runs), last)
        except SerializationError as error:
            self._refuse(error, runs, last)
        self._watch.saved(begun)

    def _batch(self, runs: list[tuple[int, int]]) -> tuple[Any, ...]:
        keys = None if self._ways.key is None else _cut([*self._keys], runs)
        digests = b"".join(self._told[_TOLD * start : _TOLD * stop] for start, stop in runs)
        return runs, keys, digests, _cut(self._results, runs)

    def _refuse(self, error: SerializationError, runs: list[tuple[int, int]], last: Any) -> None:
        """Journal the results before the one that cannot be; say which that is."""
        found = _COLUMN.match(error.path or "")
        if found is None:
            raise error
        by = "key" if found[1] == "1" else "result"
        numbers = [number for start, stop in runs for number in range(start, stop)]
        number = numbers[int(found[2])]
        whole = [(each, each + 1) for each in numbers[: int(found[2])]]
        if whole:
            self._host.journal.add_batch(self._slot, self._name, self._batch(whole), last)
        what = f"the {by} of item {number:,} of the map cannot be kept"
        raise retold(error, _COLUMN, by, what) from error

    def finish(self) -> list[Any]:
        """Journal the rest, and that the map is done; all results."""
        end, count = self._before.end, len(self._results)
        if end is not None and end["count"] > count and self._ways.key is None:
            raise ReplayError(
                f"the map was done with {end['count']:,} items, and there are {count:,} now; "
                "begin anew with reset(), or tell items by key="
            )
        if end is None or self._runs or self._has_new_failures:
            keys: Sequence[Any] = range(count) if self._ways.key is None else [*self._keys]
            failed = {keys[n]: (each.error, each.traceback) for n, each in self._failed.items()}
            self.commit({"count": count, "failed": failed})
        if self._ways.on_error == "skip":
            return [result for result in self._results if type(result) is not Failed]
        return self._results


def _digest(item: Any) -> bytes:
    text = told(item)
    if text.startswith("type "):
        return blake3(text.encode()).digest(length=_TOLD)
    return bytes.fromhex(text)


def _cut(column: list[Any], runs: list[tuple[int, int]]) -> list[Any]:
    values = []
    for start, stop in runs:
        values += column[start:stop]
    return values


def _items(chunk: list[Task]) -> str:
    first, last = chunk[0][0], chunk[-1][0]
    return f"item {first:,}" if first == last else f"some of the items {first:,} to {last:,}"


# --- in a worker ------------------------------------------------------------


def _chunk(
    function: Callable[[Any], Any], items: list[Any], retry: int, asker: int
) -> tuple[float, list[Any] | bytes]:
    """What a worker makes of a few items, and the seconds that it took."""
    begun = monotonic()
    outcomes = [_made(function, item, retry) for item in items]
    took = monotonic() - begun
    return took, outcomes if os.getpid() == asker else _sent(outcomes)


def _sent(outcomes: list[Any]) -> bytes:
    """*outcomes* as the asking process can read them: one that cannot be sent has failed."""
    for number, outcome in enumerate(outcomes):
        if type(outcome) is Failed:
            outcomes[number] = evolve(outcome, error=_portable(outcome.error), item=None)
    try:
        return pickle.dumps(outcomes, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return pickle.dumps([_sendable(outcome) for outcome in outcomes], pickle.HIGHEST_PROTOCOL)


def _sendable(outcome: Any) -> Any:
    try:
        pickle.dumps(outcome)
    except Exception as error:
        return Failed(None, _portable(error), traceback.format_exc())
    return outcome


def _made(function: Callable[[Any], Any], item: Any, retry: int) -> Any:
    for tries_left in range(retry, -1, -1):
        try:
            return function(item)
        except Exception as error:
            if not tries_left:
                return Failed(item, error, traceback.format_exc())
    raise AssertionError("a range of at least one number is empty")


def _portable(error: BaseException) -> BaseException:
    """*error* without its frames, or what tells of it where it cannot be pickled."""
    try:
        return pickle.loads(pickle.dumps(error))  # type: ignore[no-any-return]
    except Exception:
        return RuntimeError("".join(traceback.format_exception_only(error)).strip())


def _next_size(size: int, took: float) -> int:
    """How many items make a good chunk, after *size* of them took so many seconds."""
    wanted = int(_CHUNK / max(took / size, 1e-9))
    return max(1, min(wanted, size * _GROWTH, _LARGEST))
