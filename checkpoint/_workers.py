"""A few threads for work that releases the GIL: digests, codecs, reads.

They live for one save or load, so that a forked child never inherits a pool
without its threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_THREADS = 2
# Items begun and not yet used up.  At 4 MiB a chunk, and a copy of each, it
# bounds the memory of a save.
_DEPTH = 4

T = TypeVar("T")
Item = TypeVar("Item")


class Workers:
    """Runs functions in threads, or at once: where threads are not wanted, or not to be had."""

    def __init__(self, *, threads: bool = True) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable[[Item], T], item: Item) -> Future[T]:
        """The future of `function(item)`."""
        if not self._threads:
            return _done(function, item)
        try:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, "checkpoint")
            return self._pool.submit(function, item)
        except RuntimeError:
            # An interpreter that is shutting down starts no threads; a save
            # in an exit hook must still be made.
            return _done(function, item)

    def ahead(self, function: Callable[[Item], T], items: Iterable[Item]) -> Iterator[T]:
        """The results in order, a few of them computed ahead of their use."""
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(self.submit(function, item))
            if len(waiting) >= _DEPTH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def wait_for_room(futures: list[Future[T]]) -> None:
    """Return when only a few of *futures*, begun in order, are unfinished."""
    if len(futures) >= _DEPTH:
        futures[-_DEPTH].exception()


def _done(function: Callable[[Item], T], item: Item) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(function(item))
    except Exception as error:
        future.set_exception(error)  # As a thread does: it is raised where it is asked for.
    return future
