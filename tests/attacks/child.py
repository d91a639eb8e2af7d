"""Attacks, in forks of one warm process: what one tries on its way in ends with its fork.

A line of JSON on standard input asks for one, `[index, door]`; a line on
standard output says how it ended.
"""

from __future__ import annotations

import codecs
import gc
import io
import json
import os
import pickle
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from attacks import quiet  # noqa: F401  # First: what it sets is read by the imports below.
from attacks.attack import SCENARIO, Parts
from attacks.catalogue import ATTACKS
from attacks.doors import door
from attacks.watch import Watch, forget_peak, limit_memory, limit_time, memory
from attrs import define

import checkpoint
from checkpoint import CheckpointError, FormatError, IntegrityError, UnsafeError

MEMORY = 512 << 20
SECONDS = 2.0
_PATIENCE = 60.0  # by the clock; what is busy is ended by its processor time long before
_ALLOWED = (UnsafeError, IntegrityError, FormatError)

# How plain pickle, and other loaders, are asked for the same stream: they are the mutants.
Proof = Callable[[Any], Callable[[], Any]]


def serve(more: dict[str, Proof] | None = None) -> None:
    """Answer requests until there are no more."""
    warm()
    proofs = {"pickle": pickle_door} | (more or {})
    os.chdir(tempfile.mkdtemp())
    # All that is alive now is left alone by the collections of each fork.
    gc.collect()
    gc.freeze()
    fork: Fork | None = None
    for line in sys.stdin:
        fork = fork or Fork(lambda ask: tried(*ask, proofs))
        answer, spent = fork.answer(json.loads(line))
        if spent:
            fork.end()
            fork = None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    if fork is not None:
        fork.end()


def warm() -> None:
    """Import, and do once, what any load may need: what comes later is the stream's doing."""
    import numpy as np

    for codec in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "raw-unicode-escape"):
        codecs.lookup(codec)
    for value in (np.arange(3.0), {"a": [1, (2,), {3}]}, np.random.default_rng(1), _frames()):
        foreign = checkpoint.dumps(value, key=None)
        for data in (foreign, pickle.dumps(value), checkpoint.dumps(value)):
            try:
                checkpoint.loads(data, package="prey")
                str(checkpoint.inspect(io.BytesIO(data)))
            except Exception:  # It is told by the attacks that need it.
                continue
    try:
        checkpoint.loads(b"(lV\\u00e9\naS'a'\na.", package="prey")
        checkpoint.loads(b"cos\nsystem\n.", package="prey")
    except CheckpointError as error:
        traceback.format_exception(error)


def _frames() -> Any:
    try:
        import pandas as pd
    except ImportError:
        return None
    return pd.DataFrame({"a": [1, 2]})


def pickle_door(made: Any) -> Callable[[], Any]:
    """A program that trusts its file, with pickle as it is."""
    parts = made if isinstance(made, Parts) else Parts(made)
    # Of a file, the C unpickler reads ahead within a frame; of bytes it does not.
    file = io.BytesIO(parts.stream)
    return lambda: pickle.load(file, buffers=iter(parts.buffers))


class Fork:
    """A child that tries one attack after the other, until one leaves a mark on it."""

    def __init__(self, work: Callable[[Any], None]) -> None:
        theirs, self._asks = os.pipe()
        self._answers, ours = os.pipe()
        self._child = os.fork()
        if not self._child:
            os.close(self._asks)
            os.close(self._answers)
            _follow(theirs, ours, work)
        os.close(theirs)
        os.close(ours)

    def answer(self, ask: Any) -> tuple[dict[str, Any], bool]:
        """What became of one attack, and whether the child has had its day."""
        os.write(self._asks, json.dumps(ask).encode() + b"\n")
        answer: dict[str, Any] = {"ended": "", "canaries": []}
        for line in self._read().decode(errors="replace").splitlines():
            if line.startswith("{"):
                answer |= json.loads(line)
        if "done" in answer:
            return answer, bool(answer.pop("spent"))
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        answer["ended"] = f"{answer['ended']} then died: {_how(status)}".strip()
        return answer, True

    def _read(self) -> bytes:
        found, until = b"", time.monotonic() + _PATIENCE
        while not found.endswith(b'"done": true}\n'):
            if not select.select([self._answers], [], [], max(0.0, until - time.monotonic()))[0]:
                os.killpg(self._child, signal.SIGKILL)
                break
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                break
            found += piece
        return found

    def end(self) -> None:
        """Wait for the end of the child."""
        os.close(self._asks)
        os.close(self._answers)
        if self._child:
            os.waitpid(self._child, 0)


def _follow(asks: int, answers: int, work: Callable[[Any], None]) -> NoReturn:
    """In the child: try what is asked for, and never come back."""
    null = os.open(os.devnull, os.O_RDWR)
    for ours in (0, 2):
        os.dup2(null, ours)
    os.dup2(answers, 1)
    os.setpgid(0, 0)
    try:
        with open(asks, encoding="ascii") as lines:
            for line in lines:
                work(json.loads(line))
    finally:
        os._exit(0)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit {os.WEXITSTATUS(status)}"


_watches: list[Watch] = []  # In a fork one, which lasts as long.
_made: dict[int, Any] = {}  # What was made last: it is tried at several doors.


def _watch() -> Watch:
    if not _watches:
        limit_memory(2 * MEMORY)
        _watches.append(Watch())
        warnings.simplefilter("ignore")
    _watches[0].begin()
    return _watches[0]


def tried(index: int, which: str, proofs: dict[str, Proof]) -> None:
    """Try one attack at one door, and write down what became of it."""
    attack = ATTACKS[index]
    if index not in _made:
        _made.clear()
        _made[index] = attack.make()
    made = _made[index]
    go = proofs[which](made) if which in proofs else door(which, made)
    save = pickle.dumps if which in proofs else _saved
    gc.collect()
    forget_peak()
    base = memory("VmRSS")
    watch = _watch()
    watch.arm()
    loaded = _loaded(go)
    ended, error = loaded.ended, loaded.error
    if error is None:
        _say(ended="loaded")
        ended, error = _saved_and_dropped(loaded, save)
    watch.arm(False)
    limit_time(0)
    peak = max(memory("VmHWM") - base, 0)
    # A program that opens a repository may want to be told of its end.
    mine = {"changed at exit"} if attack.doors == SCENARIO else set()
    seen = [what for what in watch.seen() if what not in mine]
    _say(ended=ended, canaries=seen, took=round(loaded.took, 3), peak=peak)
    if error is not None:
        _say(error=type(error).__name__, message=_told(error))
    harm = seen or loaded.took > SECONDS / 2 or peak > MEMORY / 8 or ended.startswith("raised")
    apart = attack.made_apart or which in proofs or attack.doors == SCENARIO
    _say(spent=bool(harm or apart), done=True)


@define
class Loaded:
    """What a load gave, and how long that took."""

    took: float
    value: Any = None
    ended: str = "loaded"
    error: BaseException | None = None


def _loaded(go: Callable[[], Any]) -> Loaded:
    limit_time(2 * SECONDS)
    start = time.process_time()
    try:
        value = go()
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        refused = isinstance(error, _ALLOWED)
        ended = "refused" if refused else f"raised {type(error).__name__}"
        told = error.with_traceback(None) if refused else error
        return Loaded(time.process_time() - start, None, ended, told)
    return Loaded(time.process_time() - start, value)


class _LongEnough(BaseException):
    """A graph of great depth is saved slowly; that nothing went wrong so far will do."""


def _saved_and_dropped(
    loaded: Loaded, save: Callable[[Any], Any]
) -> tuple[str, BaseException | None]:
    """Save what was loaded, for a while, and drop it: how that ended, and with what error."""
    signal.signal(signal.SIGPROF, _long_enough)
    limit_time(SECONDS / 2)
    ended, told = "loaded", None
    try:
        save(loaded.value)
    except (CheckpointError, _LongEnough) as error:
        traceback.clear_frames(error.__traceback__)
        told = error.with_traceback(None)
    except BaseException as error:
        # They hold what is to be dropped.
        traceback.clear_frames(error.__traceback__)
        ended, told = f"raised {type(error).__name__} when it was saved", error
    limit_time(0)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    limit_time(2 * SECONDS)
    loaded.value = None
    gc.collect()
    return ended, told


def _long_enough(number: int, frame: object) -> None:
    raise _LongEnough


def _saved(value: Any) -> None:
    checkpoint.dumps(value, key=None)


def _told(error: BaseException) -> str:
    if error.__traceback__ is None:
        return str(error)[:300]
    return "".join(traceback.format_exception(error)[-4:])[-600:]


def _say(**what: Any) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


if __name__ == "__main__":
    serve()
