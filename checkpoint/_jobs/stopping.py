"""How a job is asked to stop: a signal sets a flag, and the next safe point obeys it.

Nothing is saved in a handler.  Handlers are set in the main thread while a job
is open there, and given back after; a signal that is ignored stays ignored.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from checkpoint._jobs.watch import Watch

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later

# Those that only some systems have, and that no system has for a program to handle.
_ELSEWHERE = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
_NOT_OURS = ("SIGKILL", "SIGSTOP")


def check_signals(names: Sequence[str]) -> None:
    """ValueError for what is no signal, or none that asks for anything."""
    for name in names:
        if name in _NOT_OURS or name not in (*signal.Signals.__members__, *_ELSEWHERE):
            raise ValueError(f"{name} is no signal that can ask a job to stop")


class Preempted(SystemExit):
    """The job has saved its state and stops: call it again, and it goes on.

    A SystemExit with code 75, so that a scheduler knows to run it again.
    """

    __module__ = "checkpoint"

    def __init__(self, message: str = "") -> None:
        super().__init__(EXIT_PREEMPTED)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,)


class Stops:
    """Who is asked to stop when this process is: every job that is open in it."""

    def __init__(self) -> None:
        self.reason: str | None = None  # why all have to stop
        self._watches: list[Watch] = []
        self._depth = 0  # jobs open in the main thread
        self._old: dict[int, Any] = {}
        self._grace = 0.0
        self._timer: threading.Timer | None = None
        self._hurry = False

    # --- jobs come and go ---------------------------------------------------

    def enter(self, watch: Watch, signals: Sequence[str], grace: float) -> bool:
        """A job begins; True if it is in the main thread, which is told to `leave`."""
        self._watches.append(watch)
        if self.reason is not None:
            watch.ask()
        if threading.current_thread() is not threading.main_thread():
            return False
        if not self._depth:
            self._grace = grace
            for name in signals:
                self._set(name)
        self._depth += 1
        return True

    def leave(self, watch: Watch, *, main: bool) -> None:
        """A job has ended, however it did."""
        if watch not in self._watches:
            return  # A child of fork leaves what it has not entered.
        self._watches.remove(watch)
        if main:
            self._depth -= 1
        if main and not self._depth:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for number, old in self._old.items():
                signal.signal(number, old)
            self._old.clear()
        if not self._watches:
            self.reason, self._hurry = None, False

    def forget(self) -> list[tuple[int, Any]]:
        """Have nobody to stop; the handlers that were there before."""
        old = [*self._old.items()]
        self._watches.clear()
        self._old.clear()
        self.reason, self._depth, self._hurry, self._timer = None, 0, False, None
        return old

    def ask(self, reason: str) -> None:
        """Have every job stop at its next safe point."""
        self.reason = self.reason or reason
        for watch in self._watches:
            watch.ask()

    # --- signals ------------------------------------------------------------

    def _set(self, name: str) -> None:
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) in (signal.SIG_IGN, None):
            return
        self._old[number] = signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._hurry or (number == signal.SIGINT and self.reason is not None):
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise Preempted(f"stopped by {self.reason} before a safe point; the last save holds")
        first = self.reason is None
        self.ask(signal.Signals(number).name)
        if first:
            if number == signal.SIGINT:
                say("stopping after this turn, with a save; Ctrl-C again stops now, without one")
            timer = self._timer = threading.Timer(self._grace, self._expire, [number])
            timer.daemon = True
            timer.start()
        old: Any = self._old.get(number)
        if callable(old) and old is not signal.default_int_handler:
            old(number, frame)

    def _expire(self, number: int) -> None:
        """The grace is over: interrupt whatever the main thread does, by the same signal."""
        # A second Ctrl-C may have broken its handler off before `leave` could know of the timer.
        if threading.current_thread() is self._timer and number in self._old:
            self._hurry = True
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(threading.main_thread().ident or 0, number)
            else:
                _thread.interrupt_main(signal.Signals(number))


def say(message: str) -> None:
    """Tell the person at the terminal."""
    # In one piece, line end and all: another thread may say something, too.
    print(f"checkpoint: {message}\n", end="", file=sys.stderr, flush=True)


def exception_for(reason: str, message: str) -> BaseException:
    """What ends a job that was asked to stop, and has saved."""
    if reason == "SIGINT" or _in_notebook():
        return KeyboardInterrupt(message)
    return Preempted(message)


def _in_notebook() -> bool:
    shell: Callable[[], Any] | None = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return getattr(shell() if shell else None, "kernel", None) is not None


stops = Stops()


def _in_child() -> None:
    """A child of fork works for a job, and is not one: signals are to it what they were before."""
    for number, old in stops.forget():
        signal.signal(number, old)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
