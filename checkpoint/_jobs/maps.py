"""A function over many items: each result made once, journaled in batches, given back in order.

Only this process writes.  Items go to an executor in chunks that take about a
twentieth of a second, a few at a time, so that a million small ones cost no
million messages.
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice
from time import monotonic
from typing import Any, Literal, Protocol

from attrs import define, field, frozen

from checkpoint._jobs import chance
from checkpoint._jobs.identity import told
from checkpoint._jobs.journal import Journal, Slot
from checkpoint._jobs.places import Node
from checkpoint._jobs.watch import Watch
from checkpoint.errors import ReplayError

OnError = Literal["raise", "collect", "skip"]

_CHUNK = 0.05  # seconds of work that are sent to an executor at once
_LARGEST = 10_000  # items in a chunk
_GROWTH = 4
_POLL = 0.1  # seconds after which a stop is seen while items are made
_CHANCE, _END = None, "end"  # keys beside those of items, which are numbers and tuples


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


class Host(Protocol):
    """What a map needs of its job."""

    journal: Journal
    grace: float

    @property
    def here(self) -> Node: ...

    @property
    def is_asked(self) -> bool: ...

    def batches(self) -> Watch: ...

    def reason(self, now: float) -> str | None: ...

    def rest(self) -> None: ...


def mapped(
    host: Host, function: Callable[[Any], Any], items: Iterable[Any], ways: Ways
) -> list[Any]:
    """The results in the order of *items*, without what was skipped."""
    host.rest()
    slot = host.here.key(), host.here.call()
    work = _Work(host, slot, function, ways, host.batches())
    missing = work.missing(items)
    if ways.executor is None:
        work.resume_chance()
        work.make_here(missing)
    else:
        work.make_by(ways.executor, missing)
    results = work.finish()
    host.rest()
    return results


@define
class _Task:
    """An item whose result is not there yet."""

    number: int
    key: Any
    told: str
    item: Any


_MISSING = object()


class _Work:
    """One map at work: what is done, what is to be journaled, what failed."""

    def __init__(
        self, host: Host, slot: Slot, function: Callable[[Any], Any], ways: Ways, watch: Watch
    ) -> None:
        self._host, self._slot, self._function, self._ways = host, slot, function, ways
        self._watch = watch
        self._done = host.journal.items(slot)
        self._end: dict[str, Any] | None = self._done.get(_END)
        self._results: list[Any] = []
        self._batch: list[tuple[Any, Any]] = []
        self._failed: dict[Any, Failed] = {}
        self._used_chance = ways.executor is None

    # --- what is to be made -------------------------------------------------

    def missing(self, items: Iterable[Any]) -> Iterator[_Task]:
        """The items without a result, in their order; the others are checked and done."""
        key_of, done, seen = self._ways.key, self._done, set()
        results = self._results
        failed = self._end["failed"] if self._end else {}
        for number, item in enumerate(items):
            key: Any = number
            if key_of is not None:
                key = ("key", key_of(item))
                if key in seen:
                    raise ValueError(f"two items have the key {key[1]!r}; keys must differ")
                seen.add(key)
            text = told(item)
            results.append(_MISSING)
            if key in done:
                before, results[number] = done[key]
                if before != text:
                    raise ReplayError(
                        f"item {number:,} of the map is {item!r:.80}, and the journal has a result "
                        "for another one; if the list may change, tell items by key="
                    )
            elif key in failed:
                results[number] = failed[key]
            elif self._end is not None and key_of is None:
                raise ReplayError(
                    f"the map was done with {self._end['count']:,} items, and there is one more "
                    "now; begin anew with reset(), or tell items by key="
                )
            else:
                yield _Task(number, key, text, item)

    # --- in this thread -----------------------------------------------------

    def make_here(self, missing: Iterable[_Task]) -> None:
        """Make what is missing, one after the other."""
        ways, host, watch = self._ways, self._host, self._watch
        for task in missing:
            self._take(task, _made(self._function, task.item, ways.retry))
            if monotonic() >= watch.due or host.is_asked:
                self._look()

    def resume_chance(self) -> None:
        """Let the random numbers go on after those that the journaled items used."""
        state = self._done.get(_CHANCE)
        if state is not None:
            chance.restore(state)

    # --- by an executor -----------------------------------------------------

    def make_by(self, executor: Executor, missing: Iterator[_Task]) -> None:
        """Make what is missing in chunks; a stop lets those that have begun end."""
        workers = getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        flying: dict[Future[Any], list[_Task]] = {}
        size = 1
        try:
            while True:
                while len(flying) < 2 * workers and (chunk := [*islice(missing, size)]):
                    flying[self._submit(executor, chunk)] = chunk
                if not flying:
                    return
                ready = wait(flying, _POLL, FIRST_COMPLETED).done
                for future in ready:
                    chunk = flying.pop(future)
                    size = _next_size(len(chunk), self._land(future, chunk))
                if self._host.is_asked or monotonic() >= self._watch.due:
                    self._look()
        finally:
            self._settle(flying)

    def _submit(self, executor: Executor, chunk: list[_Task]) -> Future[Any]:
        items = [task.item for task in chunk]
        return executor.submit(_chunk, self._function, items, self._ways.retry)

    def _land(self, future: Future[Any], chunk: list[_Task]) -> float:
        """Take the results of a chunk; the seconds that it took."""
        took, outcomes = future.result()
        errors = []
        for task, outcome in zip(chunk, outcomes, strict=True):
            try:
                self._take(task, outcome)
            except BaseException as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return float(took)

    def _settle(self, flying: dict[Future[Any], list[_Task]]) -> None:
        """After a stop or an error: what has not begun is dropped, what has is waited for."""
        running = {future: chunk for future, chunk in flying.items() if not future.cancel()}
        for future in wait(running, self._host.grace).done:
            if future.exception() is None:
                for task, outcome in zip(running[future], future.result()[1], strict=True):
                    if not isinstance(outcome, Failed):
                        self._keep(task, outcome)
        self._commit()

    # --- results ------------------------------------------------------------

    def _take(self, task: _Task, outcome: Any) -> None:
        if not isinstance(outcome, Failed):
            self._keep(task, outcome)
            return
        if self._ways.on_error == "raise":
            if self._ways.executor is None:
                self._commit()
            outcome.error.add_note(f"checkpoint: of item {task.number:,}, {task.item!r:.80}")
            raise outcome.error
        self._results[task.number] = self._failed[task.key] = outcome

    def _keep(self, task: _Task, result: Any) -> None:
        self._results[task.number] = result
        self._batch.append((task.key, (task.told, result)))

    def _look(self) -> None:
        """Journal what is new if that is due, and stop if somebody asked for it."""
        now = monotonic()
        if self._host.reason(now) is not None:
            self._commit()
            self._host.rest()
        if self._watch.is_save_due(now):
            self._commit()
        self._watch.look_again()

    def _commit(self, more: Iterable[tuple[Any, Any]] = ()) -> None:
        batch = [*self._batch, *more]
        if not batch:
            return
        begun = monotonic()
        if self._used_chance:
            batch.append((_CHANCE, chance.captured()))
        self._batch = []
        self._host.journal.add_items(self._slot, batch)
        self._watch.saved(begun)

    def finish(self) -> list[Any]:
        """Journal the rest, and that the map is done; all results."""
        if self._end is None or self._batch or self._failed:
            failed = (self._end["failed"] if self._end else {}) | self._failed
            end = {"count": len(self._results), "failed": failed}
            self._commit([(_END, end)])
        elif self._end["count"] > len(self._results) and self._ways.key is None:
            raise ReplayError(
                f"the map was done with {self._end['count']:,} items, and there are "
                f"{len(self._results):,} now; begin anew with reset(), or tell items by key="
            )
        if self._ways.on_error == "skip":
            return [result for result in self._results if not isinstance(result, Failed)]
        return self._results


def _chunk(function: Callable[[Any], Any], items: list[Any], retry: int) -> tuple[float, list[Any]]:
    """What a worker makes of a few items, and the seconds that it took."""
    begun = monotonic()
    outcomes = [_made(function, item, retry) for item in items]
    return monotonic() - begun, outcomes


def _made(function: Callable[[Any], Any], item: Any, retry: int) -> Any:
    for tries_left in range(retry, -1, -1):
        try:
            return function(item)
        except Exception as error:
            if not tries_left:
                return Failed(item, _portable(error), traceback.format_exc())
    raise AssertionError("a range of at least one number is empty")


def _portable(error: Exception) -> BaseException:
    """*error*, or what tells of it where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception_only(error)).strip())
    return error


def _next_size(size: int, took: float) -> int:
    """How many items make a good chunk, after *size* of them took so many seconds."""
    wanted = int(_CHUNK / max(took / size, 1e-9))
    return max(1, min(wanted, size * _GROWTH, _LARGEST))
