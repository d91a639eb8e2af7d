"""Saves behind the program: in the order of their calls, few at a time, no error lost.

What is saved is captured on the caller's thread; one thread makes the saves,
and lives while there are any.  It is no daemon, so the interpreter waits for it
before it ends.  An error is in the future, and is raised once more by the next
call that looks for it; what nobody looked for Python shows at the end.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from checkpoint._forking import uninterrupted
from checkpoint._model import Buffer, Snapshot, memory
from checkpoint.errors import program_frame

IN_FLIGHT = 4  # saves begun and not ended
# Bytes captured for all saves in flight, unless one has more by itself.
HELD = 64 << 20

Work = Callable[[], Snapshot]


class Capture:
    """The stream and the buffers of a graph as they were; nobody else can change them.

    *make_room* is called with the size so far, and may wait.
    """

    def __init__(self, make_room: Callable[[int], object]) -> None:
        self._make_room = make_room
        self.stream: list[Buffer] = []
        self.buffers: list[memoryview] = []
        self.size = 0

    def restart(self) -> None:
        """Forget it all."""
        # In place: a frame that some caught error keeps until the next collection has these lists.
        self.stream.clear()
        self.buffers.clear()
        self.size = 0

    def write(self, piece: Buffer) -> None:
        """Take the next bytes of the stream; `bytes` cannot change, and are not copied."""
        view = memoryview(piece)
        self._grow(view.nbytes)
        self.stream.append(piece if isinstance(view.obj, bytes) else _copy(view))

    def copy(self, buffers: Iterable[memoryview]) -> None:
        """Take copies of *buffers*."""
        views = list(buffers)
        self._grow(sum(view.nbytes for view in views))
        self.buffers += map(_copy, views)

    def _grow(self, size: int) -> None:
        self.size += size
        self._make_room(self.size)


def _copy(view: memoryview) -> memoryview:
    fresh = memory(view.nbytes)
    fresh[:] = view
    return fresh


@frozen
class Place:
    """The line of the program that called into this package."""

    file: str
    line: int
    globals: dict[str, Any]

    @classmethod
    def here(cls) -> Place:
        """The one that is calling now."""
        _, frame = program_frame(sys._getframe(1))
        return cls(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def warn(self, message: str, category: type[Warning]) -> None:
        """Warn as if that line did."""
        warnings.warn_explicit(
            message,
            category,
            self.file,
            self.line,
            self.globals.get("__name__"),
            self.globals.setdefault("__warningregistry__", {}),
        )


@frozen(eq=False)
class _Job:
    work: Work
    size: int
    future: Future[Snapshot]
    place: Place


class _Thread(threading.local):
    """What this thread is doing."""

    saving = False  # A save; what it waits for may wait for it.
    serving = False  # The saves of some queue, and the callbacks of their futures.


_this = _Thread()


@contextmanager
def at_work() -> Iterator[None]:
    """Code of the graph, or of a policy, that calls in from the block waits for no save."""
    before, _this.saving = _this.saving, True
    try:
        yield
    finally:
        _this.saving = before


class Background:
    """The saves in flight of one `Checkpointer`."""

    def __init__(self) -> None:
        self._failed: list[BaseException] = []
        self.forget()
        # At the end of the program, or when this object is gone.
        weakref.finalize(self, _show, self._failed)
        _all.add(self)

    def forget(self) -> None:
        """Have nothing in flight: in a forked child it is all its parent's."""
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._held = 0
        self._served = False
        self._thread: threading.Thread | None = None
        self._failed.clear()

    def begin(self, work: Work, size: int, place: Place) -> Future[Snapshot]:
        """The future of *work*, which holds on to *size* bytes; done after all that came before."""
        future: Future[Snapshot] = Future()
        future.set_running_or_notify_cancel()
        # The first callback: when those of the program run, this save is not in flight.
        future.add_done_callback(lambda _: self._ended(size))
        with uninterrupted():
            with self._changed:
                self._waiting.append(_Job(work, size, future, place))
                self._held += size
                idle, self._served = not self._served, True
            started = not idle or self._start()
        if not started:
            self._serve()
        return future

    def make_room(self, size: int) -> None:
        """Return when *size* bytes more may be held, or nothing is in flight."""

        def is_room() -> bool:
            count = self._count()
            return not count or (count < IN_FLIGHT and self._held + size <= HELD)

        self._until(is_room)

    def wait(self) -> None:
        """Return when nothing is in flight."""
        self._until(lambda: not self._count())

    def rest(self) -> None:
        """Return when nothing is in flight and no thread is left."""
        self.wait()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and not _this.saving:
            thread.join()

    def raise_failed(self) -> None:
        """Raise what saves have raised since this was called last; of several the first."""
        failed = _together(self._taken())
        if failed is not None:
            raise failed

    def add_failed(self, error: BaseException) -> None:
        """Tell *error*, which is being raised already, what `raise_failed` would raise."""
        _add(error, (other for other in self._taken() if other is not error))

    def _taken(self) -> list[BaseException]:
        taken = self._failed[:]
        del self._failed[: len(taken)]  # One that comes meanwhile is behind them.
        return taken

    # --- the queue ----------------------------------------------------------

    def _count(self) -> int:
        return len(self._waiting) + (self._running is not None)

    def _until(self, enough: Callable[[], bool]) -> None:
        """Wait until it is *enough*.

        A thread that serves is in a callback of a future.  Others may be
        waiting for it, so it makes the saves that it waits for itself.
        """
        if _this.saving:
            return
        while True:
            with self._changed:
                if not _this.serving:
                    self._changed.wait_for(enough)
                    return
                self._changed.wait_for(lambda: enough() or not self._running)
                if enough():
                    return
                job = self._running = self._waiting.popleft()
            _make(job, self._failed)

    def _start(self) -> bool:
        """Start a thread; false where none is to be had."""
        # While the interpreter ends it starts none, or (3.11) does not wait for it.
        if not threading.main_thread().is_alive():
            return False
        thread = threading.Thread(target=self._serve, name="checkpoint-save", daemon=False)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _serve(self) -> None:
        before, _this.serving = _this.serving, True
        try:
            while (job := self._next()) is not None:
                _make(job, self._failed)
                del job
        except BaseException:  # Ctrl-C, where there is no thread: who comes next goes on.
            self._served = False
            raise
        finally:
            _this.serving = before

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: not self._running)
            if not self._waiting:
                self._served = False
                return None
            self._running = self._waiting.popleft()
            return self._running

    def _ended(self, size: int) -> None:
        with self._changed:
            self._running = None
            self._held -= size
            self._changed.notify_all()


def _make(job: _Job, failed: list[BaseException]) -> None:
    """Make one save, and say in its future what came of it."""
    snapshot, error = _attempt(job.work)
    try:
        if error is None:
            assert snapshot is not None
            job.future.set_result(snapshot)
            return
        error.add_note(f"in a save in the background, begun at {job.place}")
        failed.append(error)
        job.future.set_exception(error)
    except BaseException as error:
        # A callback's: `concurrent.futures` lets it pass.  The saves behind it are still made.
        failed.append(error)
        if not job.future.done():
            job.future.set_exception(error)


def _attempt(work: Work) -> tuple[Snapshot | None, BaseException | None]:
    try:
        with at_work():
            return work(), None
    except BaseException as error:
        # The frames of a traceback would keep what was captured as long as the error is kept.
        del work
        _clear(error)
        return None, error


def _clear(error: BaseException) -> None:
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        traceback.clear_frames(found.__traceback__)
        seen.append(found)
        found = found.__cause__ or found.__context__


def _add(error: BaseException, failed: Iterable[BaseException]) -> None:
    for other in failed:
        error.add_note(f"a save in the background failed too: {type(other).__name__}: {other}")


def _together(failed: list[BaseException]) -> BaseException | None:
    if not failed:
        return None
    _add(failed[0], failed[1:])
    return failed[0]


def _show(failed: list[BaseException]) -> None:
    # Not raised: of any that is no Exception, `finalize` would call nobody else.
    error = _together(failed)
    if error is not None:
        sys.excepthook(type(error), error, error.__traceback__)


_all: weakref.WeakSet[Background] = weakref.WeakSet()


def rest_all() -> None:
    """Return when no save of this process is in flight, and none of the threads is left."""
    for background in list(_all):
        background.rest()


def _in_child() -> None:
    for background in list(_all):
        background.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
