"""A program that dies with saves in flight, or whose forked child does.

After each death another program opens what is left: all that was acknowledged
is there, what was begun is there or not, in the order of the calls, nothing is
damaged, and the next save goes on.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faults.hooked import HookedStore, state
from faults.test_crash_everywhere import OLDER, Promise, Reordered, each_crash

import checkpoint
from checkpoint import (
    Checkpointer,
    CheckpointError,
    LocalStore,
    Snapshot,
    Store,
    StoreError,
    _background,
    _lease,
    keep_last,
)
from checkpoint.testing import CrashingStore, SimulatedCrash

SOURCE = Path(checkpoint.__file__).parent.parent
PARENT = os.getpid()
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lease, "_PATIENCE", 0.0)


# --- at every write to the store --------------------------------------------

NEW = [state(4, 3, 4), {"step": 5}, state(6, 4, 5)]


def promised(begun: list[tuple[Any, Future[Snapshot]]], keep: int | None) -> Promise:
    """What the futures say of versions, after a crash."""
    promise = Promise.of([], OLDER)
    for value, future in begun:
        error = future.exception(60)
        if error is not None:
            assert isinstance(error, SimulatedCrash)
            promise.perhaps.append(value)
            continue
        assert not promise.perhaps, "a save was made after one that was begun before it failed"
        promise.highest = future.result().version
        promise.sure[promise.highest] = value
    if keep is not None:
        promise.may_go = set(range(1, len(OLDER) + len(begun) - keep + 1))
    return promise


def crashes(keep: int | None, wrap: Callable[[Store], Store] = lambda store: store) -> int:
    """Crash saves in the background before and after each write; how many crashes there were."""

    def play(store: CrashingStore, before: list[Any]) -> Promise:
        saves = Checkpointer(wrap(store), keep=None if keep is None else keep_last(keep))
        begun: list[tuple[Any, Future[Snapshot]]] = []
        try:
            for value in NEW:
                future = saves.save_in_background(value)
                begun.append((value, future))
            saves.close()
        except SimulatedCrash:
            assert store.crashed
        with suppress(SimulatedCrash):
            saves.close()
        return promised(begun, keep)

    return each_crash("", True, play)


@pytest.mark.parametrize("keep", [None, 2])
def test_a_crash_at_any_write_breaks_no_promise(keep: int | None) -> None:
    assert crashes(keep) >= 10


def test_the_crashes_catch_a_manifest_before_its_pack() -> None:
    with pytest.raises(AssertionError, match="crash"):
        crashes(None, Reordered)


def test_the_crashes_catch_a_save_that_is_acknowledged_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = _background._make

    def early(job: Any, failed: list[BaseException]) -> None:
        late: Future[Snapshot] = Future()
        snapshot = Checkpointer(HookedStore()).save(0)
        version = len(OLDER) + 1
        object.__setattr__(snapshot, "version", version)
        job.future.set_result(snapshot)
        real(_background._Job(job.work, 0, late, job.place), [])

    monkeypatch.setattr(_background, "_make", early)
    with pytest.raises(AssertionError, match="acknowledged and is lost"):
        crashes(None)


# --- a child that dies at every write ---------------------------------------


class DeadlyStore(LocalStore):
    """In a forked child, gets a signal before or after its put number *at*."""

    def __init__(self, root: str, at: int, when: str, number: int) -> None:
        super().__init__(root)
        self.plan = at, when, number
        self.puts = 0

    def __reduce__(self) -> Any:
        return type(self), (self.root, *self.plan)

    def put(self, key: str, pieces: Iterable[Any]) -> None:
        at, when, number = self.plan
        self.puts += os.getpid() != PARENT
        last = self.puts == at and os.getpid() != PARENT
        if last and when == "before":
            os.kill(os.getpid(), number)
        super().put(key, self._pieces(pieces, last and when == "within"))
        if last and when == "after":
            os.kill(os.getpid(), number)

    def _pieces(self, pieces: Iterable[Any], last: bool) -> Iterable[Any]:
        for piece in pieces:
            yield piece
            if last:
                os.kill(os.getpid(), self.plan[2])


def deaths(folder: Path, number: int, timeout: float) -> int:
    """Let the child die at each put; how often it did."""
    count = 0
    for when in ("before", "within", "after"):
        for at in itertools.count(1):
            root = str(folder / f"{when}-{at}")
            saves = Checkpointer(DeadlyStore(root, at, when, number))
            saves.save(state(1, 1))
            future = saves.save_in_background(state(2, 1, 2), capture="fork", timeout=timeout)
            try:
                died = future.exception(60) is not None
                after_death(saves, future, died)
            except AssertionError as error:
                raise AssertionError(f"death {when} put {at}: {error}") from error
            if not died:
                break
            count += 1
    return count


def after_death(saves: Checkpointer, future: Future[Snapshot], died: bool) -> None:
    if died:
        with pytest.raises(StoreError, match="its version may be there all the same"):
            saves.save("not tried")
    there = [snapshot.version for snapshot in Checkpointer(saves._repository.store)]
    assert there in ([[1, 2]] if not died else [[1], [1, 2]])
    # In process this time where the child hung, in a child that gets no signal where it died.
    other = Checkpointer(LocalStore(saves._repository.store.root))  # type: ignore[attr-defined]
    steps = [saves.save(state(3, 2, 3)), other.save_in_background(state(4, 3), capture="fork")]
    assert steps[0].version == there[-1] + 1  # type: ignore[union-attr]
    other.close()
    found = [other_load(saves, version)["step"] for version in [*there, there[-1] + 1]]
    assert found == [*range(1, len(there) + 1), 3]
    assert saves.load()["step"] == 4
    assert saves.verify() == []
    saves.prune()
    store = saves._repository.store
    assert store.keys("leases/") == [] == store.keys("trash/")
    saves.close()


def other_load(saves: Checkpointer, version: int) -> Any:
    return saves.load(version=version)


@forks
def test_a_child_that_is_killed_at_any_write_loses_nothing(tmp_path: Path) -> None:
    assert deaths(tmp_path, signal.SIGKILL, 60) >= 6


@forks
def test_a_child_that_is_stopped_at_any_write_is_killed_and_loses_nothing(tmp_path: Path) -> None:
    assert deaths(tmp_path, signal.SIGSTOP, 0.3) >= 6


# --- a program that is killed -----------------------------------------------

PROGRAM = """
import os, random, signal, sys, warnings
from checkpoint import Checkpointer, LocalStore, keep_last

warnings.simplefilter("error")
root, said, capture, at, keep = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
log = open(said, "a", buffering=1)
parent = os.getpid()


class Killing(LocalStore):
    '''Kills the program before a put of one of its background saves.'''

    def put(self, key, pieces):
        global at
        at -= 1
        if at == 0:
            os.kill(parent, signal.SIGKILL)
        super().put(key, pieces)


def state(step):
    # All but the first are deltas, too large for a manifest.
    own, shared = random.Random(step).randbytes(5000), random.Random(0).randbytes(20000)
    return {"step": step, "own": own, "all": shared}


def acknowledged(future):
    print(future.result().version, file=log)


saves = Checkpointer(Killing(root), keep=keep_last(keep) if keep else None)
begun = len(saves)
for step in range(begun, begun + 1000):
    which = ["copy", "fork"][step % 2] if capture == "both" else capture
    print(-step - 1, file=log)
    saves.save_in_background(state(step), capture=which).add_done_callback(acknowledged)
"""


class Killed:
    """A folder in which programs were killed, and what they said."""

    def __init__(self, folder: Path, capture: str, keep: int = 0) -> None:
        self.root = folder / "saves"
        self.said = folder / "said"
        self.capture = capture
        self.keep = keep

    def start(self, at: int = 0) -> subprocess.Popen[str]:
        arguments = [self.root, self.said, self.capture, at, self.keep]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, program: subprocess.Popen[str]) -> None:
        # Its child has the pipe too: this waits for both.
        _, errors = program.communicate(timeout=120)
        assert program.returncode == -signal.SIGKILL, errors
        assert errors == ""

    def numbers(self) -> list[int]:
        return [int(line) for line in self.said.read_text().split()]

    def check(self) -> None:
        saves = Checkpointer(self.root)
        there = [snapshot.version for snapshot in saves]
        newest = there[-self.keep :] if self.keep else there
        acknowledged = {number for number in self.numbers() if number > 0}
        lost = {n for n in acknowledged if not there or n >= newest[0]} - set(there)
        assert not lost, f"lost: {sorted(lost)}"
        begun = {-number - 1 for number in self.numbers() if number < 0}
        steps = [saves.load(version=version)["step"] for version in there]
        assert steps == sorted(set(steps)), "not in the order of the calls"
        assert set(steps) <= begun
        assert saves.verify() == []
        for version in there[1:]:
            rows = saves._repository.rows(saves._repository.manifest("main", version))
            assert any(row.base for row in rows), f"version {version} is no delta"
        saves.prune()
        files = [str(path.relative_to(self.root)) for path in self.root.rglob("*")]
        assert not [file for file in files if "/.tmp" in file]
        highest = max([0, *there, *acknowledged])
        assert Checkpointer(self.root).save_in_background("next").result().version > highest


@forks
@pytest.mark.parametrize("capture", ["copy", "fork"])
@pytest.mark.parametrize("keep", [0, 2])
def test_a_program_that_is_killed_at_a_write_loses_nothing(
    capture: str, keep: int, tmp_path: Path
) -> None:
    for at in (1, 2, 3, 4, 6, 9):
        folder = tmp_path / str(at)
        folder.mkdir()
        killed = Killed(folder, capture, keep)
        # A child counts from where its parent was at the fork: not every number is reached.
        killed.end(killed.start(min(at, 3) if capture == "fork" else at))
        killed.check()


@forks
@pytest.mark.parametrize("capture", ["copy", "fork", "both"])
def test_programs_that_are_killed_at_any_time_lose_nothing(capture: str, tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        killed = Killed(folder, capture, keep=number % 2 * 3)
        program = killed.start()
        while not killed.said.exists() or not killed.said.read_text():
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3))
        program.kill()
        killed.end(program)
        killed.check()


@forks
def test_the_check_catches_a_save_that_was_acknowledged_and_is_lost(tmp_path: Path) -> None:
    killed = Killed(tmp_path, "copy")
    killed.end(killed.start(30))
    acknowledged = max(killed.numbers())
    assert acknowledged > 1
    Checkpointer(killed.root).delete(acknowledged)
    with pytest.raises(AssertionError, match="lost"):
        killed.check()


# --- a failure of the disk --------------------------------------------------


class FailingStore(LocalStore):
    """Fails its put number *at*, in whichever process."""

    def __init__(self, root: str, at: int) -> None:
        super().__init__(root)
        self.at = at
        self.turn = threading.Lock()

    def __reduce__(self) -> Any:
        return type(self), (self.root, self.at)

    def put(self, key: str, pieces: Iterable[Any]) -> None:
        with self.turn:
            self.at -= 1
            if self.at == 0:
                raise StoreError("the disk is full", key=key)
        super().put(key, pieces)


@pytest.mark.parametrize("capture", ["copy", pytest.param("fork", marks=forks)])
def test_a_write_that_fails_is_told_and_the_next_save_goes_on(capture: Any, tmp_path: Path) -> None:
    failures = 0
    for at in itertools.count(1):
        saves = Checkpointer(FailingStore(str(tmp_path / str(at)), at))
        future = saves.save_in_background(state(1, 1, 2), capture=capture)
        error = future.exception(60)
        if error is None:
            break
        failures += 1
        assert str(error) == "the disk is full"
        with pytest.raises(CheckpointError, match="the disk is full"):
            saves.save_in_background("not tried")
        with Checkpointer(tmp_path / str(at)) as again:
            assert again.save_in_background(state(1, 1, 2), capture=capture).result().version == 1
            assert again.verify() == []
        saves.close()
    assert failures >= 3
