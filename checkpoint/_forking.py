"""A forked child that runs one function, and sends back what came of it.

The child sees memory as it was at the fork.  It runs no exit hook, flushes
nothing and ends by `os._exit`.  Its parent reaps it by its own id, however it
ends, and kills it when its time is up; where the parent has died, an alarm
does that.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from checkpoint.errors import SerializationError, StoreError

_LOOK = 0.2  # seconds after which a parent that hears nothing looks whether its child lives
_LATER = 5.0  # seconds by which the child's own alarm leaves the killing to its parent
_LENGTH = 8  # bytes before an answer that say how long it is
_MOST = 1e8  # seconds that a timer takes


class Child:
    """A child at work; `result` is called once, and leaves nothing of it."""

    hung = False

    def __init__(self, pid: int, answer: int, timeout: float) -> None:
        self._pid = pid
        self._fd = answer
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._status: int | None = None
        self._reaped = False

    def result(self) -> Any:
        """What the function in the child gave; raises what it raised.

        StoreError if the child died without an answer, or was killed because
        its time was up; then `hung` is true.
        """
        try:
            answer = self._answer()
        finally:
            self._end()
        if answer is None:
            raise self._death()
        succeeded, value = pickle.loads(answer)
        if succeeded:
            return value
        raise value

    def _answer(self) -> bytes | None:
        received = bytearray()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while True:
            # The end of the pipe says nothing: a fork elsewhere may hold it open.
            dead = self._is_dead()
            if poll.poll(0 if dead else _LOOK * 1000):
                piece = os.read(self._fd, 1 << 16)
                received += piece
                size = _LENGTH + int.from_bytes(received[:_LENGTH], "little")
                if len(received) >= size > _LENGTH:
                    return bytes(received[_LENGTH:size])
                if not piece:
                    return None
            elif dead:
                return None
            if time.monotonic() > self._deadline:
                self.hung = True
                return None

    def _is_dead(self) -> bool:
        if not self._reaped:
            self._wait(os.WNOHANG)
        return self._reaped

    def _wait(self, how: int) -> None:
        try:
            pid, status = os.waitpid(self._pid, how)
        except ChildProcessError:  # Some other `wait` of the program has taken it.
            self._reaped = True
            return
        if pid:
            self._reaped, self._status = True, status

    def _end(self) -> None:
        # With its answer given a child has nothing more to do.
        if not self._is_dead():
            os.kill(self._pid, signal.SIGKILL)
            self._wait(0)
        os.close(self._fd)

    def _death(self) -> StoreError:
        code = None if self._status is None else os.waitstatus_to_exitcode(self._status)
        self.hung = self.hung or code == -signal.SIGALRM
        if self.hung:
            how = (
                f"was killed: it was not done after {self._timeout:g} s (timeout=); the next "
                "save is made in process"
            )
        elif code is None:
            how = "ended, and something else in this program waited for it"
        elif code < 0:
            how = f"was killed by {_name(-code)}"
        else:
            how = f"ended with status {code}"
        return StoreError(
            f"the forked child that made a background save {how}; "
            "its version may be there all the same, see snapshots()",
            retryable=self.hung,
        )


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def fork(work: Callable[[], Any], timeout: float) -> Child:
    """Run *work* in a child, for at most *timeout* seconds.

    Call it within `uninterrupted`, or a Ctrl-C may lose the child.
    """
    answer, ours = os.pipe()
    try:
        pid = _fork()
    except OSError as error:
        os.close(answer)
        os.close(ours)
        message = f"cannot fork: {error.strerror}; capture='copy' needs no process"
        raise StoreError(message, retryable=True) from error
    if pid == 0:
        _live(work, ours, answer, timeout)
    os.close(ours)
    return Child(pid, answer, timeout)


def _fork() -> int:
    with warnings.catch_warnings():
        # From 3.12 on it warns of any other thread, those of libraries written in C too.
        warnings.filterwarnings("ignore", message=r".*fork\(\)", category=DeprecationWarning)
        return os.fork()


def _live(work: Callable[[], Any], answer: int, other: int, timeout: float) -> NoReturn:
    """The whole life of the child."""
    try:
        os.close(other)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the parent.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if timeout < _MOST:
            signal.setitimer(signal.ITIMER_REAL, timeout + _LATER)
        gc.disable()  # A collection would write to every object, and so copy all memory.
        _send(answer, _outcome(work))
        os._exit(0)
    finally:
        os._exit(1)


def _outcome(work: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps((True, work()))
    except BaseException as error:
        return _raised(error)


def _raised(error: BaseException) -> bytes:
    """*error* pickled, or where it does not pickle, its text in an error of ours."""
    told = "".join(traceback.format_exception(error)).rstrip()
    error.add_note(f"in the forked child:\n{told}")
    try:
        raw = pickle.dumps((False, error))
        pickle.loads(raw)
        return raw
    except BaseException:  # It is the program's own class, and may do anything.
        kind = SerializationError if isinstance(error, SerializationError) else StoreError
        last = traceback.format_exception_only(error)[0].strip()
        plain = kind(f"the forked child raised {last}")
        plain.add_note(f"in the forked child:\n{told}")
        return pickle.dumps((False, plain))


def _send(fd: int, answer: bytes) -> None:
    rest = memoryview(len(answer).to_bytes(_LENGTH, "little") + answer)
    while rest:
        rest = rest[os.write(fd, rest) :]


def refuse_threads() -> None:
    """RuntimeError if other threads run: a child has what they hold locked, and not them."""
    here = threading.current_thread()
    others = [thread.name for thread in threading.enumerate() if thread is not here]
    if others:
        raise RuntimeError(
            f"capture='fork' while other threads run ({', '.join(others)}): a lock that one of "
            "them holds stays locked in the child; end them first, or use capture='copy', or "
            "say despite_threads=True if saving the state needs no lock of theirs"
        )


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep a Ctrl-C for the end of the block, which must be short."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield  # Python runs no handler here.
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
