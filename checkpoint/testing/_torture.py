"""Kill a program at random and start it again until it is done, in a test of your own.

    done = torture([sys.executable, "train.py"], kills=20)
    assert done.output == expected

Each attempt is a process in a session and process group of its own, and only
these groups are ever signalled.  SIGKILL goes to the whole group, as when the
machine dies; any other signal to the program alone, as from a scheduler, and
then the program may take its time.  What an attempt leaves in its group when it
ends is killed.  On Windows, where there are no groups, a child is terminated and
its own children are not.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from attrs import define, field, frozen

# SIGKILL is a death, SIGTERM a request; Windows has the second only.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGKILL", "SIGTERM") if hasattr(signal, name))
# EX_TEMPFAIL: what a job that was told to stop exits with, to be run again.
_AGAIN = 75
# So many attempts in a row that died before they wrote a byte double the wait, up to so often.
_SILENT = 3
_LONGEST = 16
_PAUSE = 0.002
_GRACE = 0.5
_LINES = 20


@frozen
class Tortured:
    """A program that was done in the end.

    `kills` counts the signals that hit it, `codes` are the exit codes of its attempts (of one
    that a signal killed, minus that signal), and `output` is what the last wrote to stdout.
    """

    attempts: int
    kills: int
    codes: tuple[int, ...]
    output: str
    seconds: float

    def __str__(self) -> str:
        codes = " ".join(map(str, self.codes))
        return (
            f"done in {self.seconds:.1f} s: attempts {self.attempts}, kills {self.kills};"
            f" exit codes {codes}"
        )


def torture(
    target: Sequence[str] | Callable[[], object],
    *,
    kills: int = 20,
    signals: Sequence[int] = _SIGNALS,
    between: tuple[float, float] = (0.05, 0.5),
    seed: int = 0,
    timeout: float = 600.0,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Tortured:
    """Start *target* again and again, end it by a signal *kills* times, and let it finish.

    *target* is a command, or a function without parameters that is pickled and called
    in a fresh interpreter.  An attempt gets a random one of *signals* a random time *between*
    two numbers of seconds after its start.  Three in a row that died before they
    wrote anything double these times: a program that starts slowly must get further.
    *seed* fixes the draws, not what they hit.  It may be done before all *kills*.
    *env* and *cwd* are those of `subprocess.Popen`.

    RuntimeError if an attempt exits with another code than 0, 75 (run me again) or
    that of the signal it got, or if all is not done *timeout* seconds after the start;
    the message has the last lines it wrote.
    """
    began = time.monotonic()
    plan = _Plan(kills, tuple(signals), between, seed, began + timeout)
    return _told(list(_attempts(_command(target), plan, env, cwd)), began)


def run(arguments: Sequence[str]) -> int:
    """`checkpoint jobs torture`: 0 if the command was done in the end, else 1."""
    given = _parser().parse_args(arguments)
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        _parser().error("give the command after --")
    began = time.monotonic()
    attempts = []
    try:
        plan = _Plan(given.kills, given.signals, given.between, given.seed, began + given.timeout)
        for attempt in _attempts(command, plan, None, None):
            attempts.append(attempt)
            print(attempt, flush=True)
    except (RuntimeError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(_told(attempts, began))
    return 0


def _told(attempts: Sequence[_Attempt], began: float) -> Tortured:
    return Tortured(
        attempts=len(attempts),
        kills=sum(attempt.hit is not None for attempt in attempts),
        codes=tuple(attempt.code for attempt in attempts),
        output=attempts[-1].output,
        seconds=time.monotonic() - began,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="checkpoint jobs torture",
        description="kill a command at random and start it again until it is done",
    )
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="20 if not given")
    parser.add_argument(
        "--signals", type=_named, default=_SIGNALS, metavar="NAMES", help="as in KILL,TERM"
    )
    parser.add_argument(
        "--between",
        type=_range,
        default=(0.05, 0.5),
        metavar="SECONDS",
        help="from the start of an attempt to its signal, at least and at most: 0.05,0.5",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random draws")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="for all of it: 600"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD ...")
    return parser


def _named(text: str) -> tuple[signal.Signals, ...]:
    try:
        return tuple(signal.Signals[f"SIG{name.removeprefix('SIG')}"] for name in text.split(","))
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"there is no signal {error.args[0]}") from error


def _range(text: str) -> tuple[float, float]:
    least, _, most = text.partition(",")
    return float(least), float(most)


@frozen
class _Plan:
    """How often, with what and when to kill; *until* is the end of all, on the monotonic clock."""

    kills: int
    signals: tuple[int, ...]
    between: tuple[float, float]
    seed: int
    until: float

    def __attrs_post_init__(self) -> None:
        if self.kills < 0:
            raise ValueError(f"kills must be at least 0, not {self.kills}")
        if not self.signals:
            raise ValueError("signals must name at least one signal")
        if not 0 <= self.between[0] <= self.between[1]:
            raise ValueError(f"between must be two times in order, not {self.between}")


@frozen
class _Attempt:
    """One process: what it was hit by, if anything, and how it ended."""

    number: int
    hit: int | None
    code: int
    seconds: float
    output: str
    errors: str

    @property
    def failed(self) -> bool:
        """Whether this is neither success, nor a wish to be run again, nor the signal's doing."""
        allowed = {0, _AGAIN}
        if self.hit is not None:
            # Some say 128 + n themselves; on Windows a terminated process exits with 1.
            allowed |= {-self.hit, 128 + self.hit} | ({1} if os.name == "nt" else set())
        return self.code not in allowed

    @property
    def silent(self) -> bool:
        """Whether it died before it wrote a byte."""
        return self.hit is not None and not self.output and not self.errors

    def __str__(self) -> str:
        by = "" if self.hit is None else f" {_name(self.hit)} after"
        return f"attempt {self.number}:{by} {self.seconds:.2f} s, exit code {self.code}"

    def last_lines(self) -> str:
        """The end of what it wrote, stderr after stdout."""
        lines = (self.output.rstrip("\n") + "\n" + self.errors).strip("\n").splitlines()
        return "\n".join(["", *lines[-_LINES:]]) if lines else " nothing"


def _attempts(
    command: Sequence[str],
    plan: _Plan,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
) -> Iterator[_Attempt]:
    """Attempt after attempt, to the one that is done."""
    draw = random.Random(plan.seed)
    hits, silent, longer = 0, 0, 1
    number = 0
    while True:
        number += 1
        with _running(command, env, cwd) as child:
            wait = longer * draw.uniform(*plan.between)
            which = draw.choice(plan.signals)
            if hits < plan.kills and not child.over(min(child.began + wait, plan.until)):
                child.hit(which)
            late = not child.over(plan.until)
            attempt = child.end(number)
        yield attempt
        if late:
            raise RuntimeError(_report(command, attempt, "was not done when the time was up"))
        if attempt.failed:
            raise RuntimeError(_report(command, attempt, f"failed with exit code {attempt.code}"))
        if attempt.code == 0:
            return
        hits += attempt.hit is not None
        silent = silent + 1 if attempt.silent else 0
        if silent == _SILENT:
            silent, longer = 0, min(2 * longer, _LONGEST)


def _report(command: Sequence[str], attempt: _Attempt, what: str) -> str:
    after = "" if attempt.hit is None else f", after {_name(attempt.hit)}"
    return (
        f"{command[0]}: attempt {attempt.number} {what}{after};"
        f" the last it wrote:{attempt.last_lines()}"
    )


@contextmanager
def _running(
    command: Sequence[str], env: Mapping[str, str] | None, cwd: str | os.PathLike[str] | None
) -> Iterator[_Child]:
    """A process of *command*, of which nothing is left afterwards."""
    # It writes to files, not to pipes: these could fill up, or be held open by its children.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        child = _Child(process, out, err)
        try:
            yield child
        finally:
            child.sweep()


@define
class _Child:
    """A process that leads its own group, and the files it writes to."""

    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]
    began: float = field(factory=time.monotonic)
    signal: int | None = None
    swept: bool = False

    def over(self, until: float) -> bool:
        """Wait to the time *until*; whether the process has ended."""
        while not self._ended():
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_PAUSE, left))
        return True

    def hit(self, number: int) -> None:
        """Signal the process, or with SIGKILL all of its group."""
        self.signal = number
        if os.name != "posix":
            self.process.send_signal(number)
        elif number == signal.SIGKILL:
            self._kill_group()
        else:
            # Not by Popen: it would reap a process that has just ended.
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def end(self, number: int) -> _Attempt:
        """Kill what is left, and say how it went."""
        seconds = time.monotonic() - self.began
        self.sweep()
        code = self.process.returncode
        # One that had ended already when SIGKILL came was not hit.
        missed = code == 0 and self.signal == getattr(signal, "SIGKILL", None)
        hit = None if missed else self.signal
        return _Attempt(number, hit, code, seconds, _text(self.out), _text(self.err))

    def sweep(self) -> None:
        """Kill the whole group, reap the process, and wait until the others are gone too."""
        if self.swept:
            return
        self.swept = True
        if os.name != "posix":
            self.process.kill()
            self.process.wait()
            return
        self._kill_group()
        self.process.wait()
        # Until they are gone they may hold locks.  Not for long: an orphan that nobody reaps
        # stays in its group, and harms no one.
        until = time.monotonic() + _GRACE
        while _alive(self.process.pid) and time.monotonic() < until:
            time.sleep(_PAUSE)

    def _ended(self) -> bool:
        if not hasattr(os, "waitid"):
            return self.process.poll() is not None
        # Not reaped yet: until then its number, and its group's, is nobody else's.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None

    def _kill_group(self) -> None:
        # macOS refuses to signal a group of the dead.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _command(target: Sequence[str] | Callable[[], object]) -> list[str]:
    """The command that is *target*, or that calls it in a fresh interpreter."""
    if not callable(target):
        if isinstance(target, str) or not target:
            raise ValueError(f"the command must be a sequence of its words, not {target!r}")
        return [os.fspath(word) for word in target]
    try:
        pickled = pickle.dumps(target)
    except Exception as error:
        raise ValueError(
            f"{target!r} cannot be found by another process: {error};"
            " give a function at the top of a module, or a command"
        ) from error
    if b"__main__" in pickled:
        raise ValueError(
            f"{target!r} is of the program itself, which another process cannot import;"
            " move it to a module, or give a command"
        )
    paths = [os.path.abspath(path) for path in sys.path]
    program = f"import sys, pickle; sys.path[:] = {paths!r}; pickle.loads({pickled!r})()"
    return [sys.executable, "-c", program]
