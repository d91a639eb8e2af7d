"""A loop that goes on where it stopped: the end of each turn of its body is a safe point."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from dis import opmap
from itertools import islice
from time import monotonic
from types import CodeType
from typing import Any, Generic, Protocol, TypeVar

from checkpoint._jobs.places import Node
from checkpoint._jobs.progress import adopt, with_bar
from checkpoint._jobs.watch import Watch
from checkpoint.errors import JobError, ReplayError

T = TypeVar("T")

_BARS = ("tqdm", "rich")
_FOR = opmap["GET_ITER"]  # what a `for` calls `__iter__` by, in contrast to a function


class Host(Protocol):
    """What a loop needs of its job."""

    watch: Watch
    is_block: bool

    def begin(self, node: Node, keeper: Any) -> None: ...

    def arrive(self, node: Node) -> None: ...

    def turn(self, node: Node) -> None: ...

    def safe_point(self, node: Node, *, always: bool = False) -> None: ...

    def end(self, node: Node) -> None: ...


class Loop(Generic[T]):
    """What `job.loop` gives: the items that are left, one for each turn of the body.

    `len` is that of the whole, done turns included.
    """

    def __init__(
        self, host: Host, items: Iterable[T], node: Node, code: CodeType, *, progress: bool
    ) -> None:
        if isinstance(items, set | frozenset):
            raise TypeError("a set has another order in the next process: job.loop(sorted(…))")
        self._host, self._items, self._node = host, items, node
        self._code = code  # of the function whose loop it is
        self._progress = progress
        node.total = len(items) if isinstance(items, Sized) else None
        if node.total is not None and node.position > node.total:
            raise ReplayError(
                f"{node.position:,} turns of this loop are done, and there are {node.total:,} "
                "items now; what is looped over must be the same, or longer"
            )

    def __len__(self) -> int:
        if self._node.total is None:
            raise TypeError(f"{type(self._items).__name__!r} has no length")
        return self._node.total

    def __iter__(self) -> Iterator[T]:
        frame = sys._getframe(1)
        # A bar may make an iterator that it never uses; who takes the items is looked at later.
        is_bar = str(frame.f_globals.get("__name__")).partition(".")[0] in _BARS
        if not is_bar and frame.f_code.co_code[frame.f_lasti] != _FOR:
            raise JobError(
                "job.loop is given to a function, which may ask for the next item before the body "
                "is done with the last, or counts anew on a resume; loop over it directly, and "
                "give the others to it: job.loop(enumerate(items))"
            )
        turns, node = self._turns(), self._node
        if not self._progress:
            return turns
        return with_bar(turns, total=node.total, position=node.position, description=node.name)

    def _turns(self) -> Iterator[T]:
        host, node, watch = self._host, self._node, self._host.watch
        self._check_taker(sys._getframe(1))
        host.begin(node, self._items if _keeps_state(self._items) else None)
        left = self._left()
        host.arrive(node)
        try:
            for item in left:
                yield item
                node.position += 1
                if node.inner:
                    host.turn(node)
                if monotonic() >= watch.due:
                    host.safe_point(node)
        except GeneratorExit:  # `break`, or an error that the function catches outside
            node.done = True
            host.end(node)
            raise
        was_done, node.done = node.done, True
        host.end(node)
        # A block that is run again when it is done begins after its last loop.
        always = host.is_block and not was_done and len(node.names()) == 1
        if always or monotonic() >= watch.due:
            host.safe_point(node, always=always)

    def _check_taker(self, frame: Any) -> None:
        """Refuse whoever may take items before the turn of the one before is done."""
        if self._node.position and self._node.done:
            return
        if adopt(frame, self._node.position) or self._progress or frame.f_code is self._code:
            return
        raise JobError(
            f"job.loop is taken by {frame.f_code.co_qualname} in {frame.f_code.co_filename}, which "
            "may ask for the next item before the body is done with the last; loop over it directly"
        )

    def _left(self) -> Iterator[T]:
        """The items of the turns that are not done."""
        items, node = self._items, self._node
        if node.done:
            return iter(())
        done = node.position
        if _keeps_state(items) and node.state is not None:
            items.load_state_dict(node.state["value"])  # type: ignore[attr-defined]
            return _after(iter(items), done - node.state["at"])
        if not done:
            return iter(items)
        if isinstance(items, range):
            return iter(items[done:])  # type: ignore[arg-type]
        get = getattr(items, "__getitem__", None)
        plain = isinstance(items, list | tuple | str | bytes | Mapping)
        if get is not None and node.total is not None and not plain:
            # What makes its items when they are asked for is not asked for those that are done.
            return map(get, range(done, node.total))
        return _after(iter(items), done)


def _after(items: Iterator[T], count: int) -> Iterator[T]:
    """What is left of *items* after so many, which are taken now."""
    next(islice(items, count, count), None)
    return items


def _keeps_state(items: object) -> bool:
    """Whether an iterable tells its own position, as stateful data loaders do."""
    return hasattr(items, "state_dict") and hasattr(items, "load_state_dict")
