"""Many programs at one folder: writers, deleters, pruners; some stopped, some killed.

Each is a process of its own that says in a file what was acknowledged to it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from faults.sparse import forms

import checkpoint
from checkpoint import Checkpointer, LocalStore, _format

SOURCE = Path(checkpoint.__file__).parent.parent
pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process"
)

PROGRAM = """
import os, random, signal, sys, warnings
from functools import partial
from checkpoint import Checkpointer, ConflictError, LocalStore, NotFoundError, keep_last

warnings.simplefilter("error")
kind, root, said, who, count = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
log = open(said, "a", buffering=1)
chance = random.Random(who)
shared = random.Random(0).randbytes(6000)


def state(step):
    own = random.Random(who * 1000 + step).randbytes(5000) if step % 4 == 0 else b""
    return {"who": who, "step": step, "own": own, "shared": [shared] * (step % 3 > 0)}


class Stopping(LocalStore):
    puts = 0

    def put(self, key, pieces):
        if key.startswith("snapshots/"):
            self.puts += 1
            if self.puts % 3 == 0:
                os.kill(os.getpid(), signal.SIGSTOP)  # Planned, and not yet committed.
        super().put(key, pieces)


def write(saves):
    for step in range(count):
        print(saves.save(state(step)).version, step, file=log)


def delete(saves):
    while os.path.exists(said + ".go"):
        there = [snapshot.version for snapshot in saves]
        if len(there) < 3:
            continue
        version = chance.choice(there)
        print(version, file=log)
        try:
            saves.delete(version)
        except NotFoundError:
            pass


def prune(saves):
    while os.path.exists(said + ".go"):
        try:
            print(saves.prune(), file=log)
        except ConflictError:
            pass


def load(saves):
    while os.path.exists(said + ".go"):
        found = saves.load(default=None)
        assert found is None or found.keys() == state(0).keys()
        print("loaded", file=log)


def acknowledge(step, future):
    print(future.result().version, step, file=log)


def write_behind(saves):
    with saves:
        for step in range(count):
            future = saves.save_in_background(state(step))
            future.add_done_callback(partial(acknowledge, step))


if kind == "writer":
    write(Checkpointer(root))
elif kind == "keeper":
    write(Checkpointer(root, keep=keep_last(KEEP)))
elif kind == "stopper":
    write(Checkpointer(Stopping(root), keep=keep_last(KEEP)))
elif kind == "behind":
    write_behind(Checkpointer(root, keep=keep_last(KEEP)))
elif kind == "lazy":
    write(Checkpointer(Stopping(root)))
else:
    {"deleter": delete, "pruner": prune, "loader": load}[kind](Checkpointer(root))
"""
KEEP = 40


def state(who: int, step: int) -> dict[str, object]:
    own = random.Random(who * 1000 + step).randbytes(5000) if step % 4 == 0 else b""
    shared = random.Random(0).randbytes(6000)
    return {"who": who, "step": step, "own": own, "shared": [shared] * (step % 3 > 0)}


class Company:
    """Programs at work in one folder, and what they said."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "saves"
        self.folder = folder
        self.writers: list[tuple[int, subprocess.Popen[str]]] = []
        self.others: list[tuple[str, int, subprocess.Popen[str]]] = []

    def hire(self, kind: str, who: int, count: int = 0) -> subprocess.Popen[str]:
        said = self.said(kind, who)
        if not count:
            (self.folder / f"{said.name}.go").touch()
        program = PROGRAM.replace("KEEP", str(KEEP))
        arguments = [kind, str(self.root), str(said), str(who), str(count)]
        worker = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stderr=subprocess.PIPE,
            text=True,
        )
        if count:
            self.writers.append((who, worker))
        else:
            self.others.append((kind, who, worker))
        return worker

    def said(self, kind: str, who: int) -> Path:
        return self.folder / f"{'writer' if kind in WRITERS else kind}-{who}"

    def wait(self, *, wake: bool = False) -> None:
        """Let the writers end, then the others; none may have failed."""
        chance = random.Random(0)
        working = [worker for _, worker in self.writers]
        while any(worker.poll() is None for worker in working):
            time.sleep(chance.uniform(0.5, 2) / 2 if wake else 0.02)
            for worker in working if wake else ():
                if worker.poll() is None:
                    worker.send_signal(signal.SIGCONT)
        for kind, who, _ in self.others:
            Path(f"{self.said(kind, who)}.go").unlink()
        for worker in [*working, *(worker for _, _, worker in self.others)]:
            _, error = worker.communicate(timeout=60)
            assert worker.returncode == 0, error

    def acknowledged(self) -> dict[int, tuple[int, int]]:
        """Which writer saved which step as each version; no number twice."""
        found: dict[int, tuple[int, int]] = {}
        for who, _ in self.writers:
            path = self.said("writer", who)
            for line in path.read_text().splitlines() if path.exists() else ():
                version, step = map(int, line.split())
                assert version not in found, f"version {version} was acknowledged twice"
                found[version] = who, step
        return found

    def deleted(self) -> set[int]:
        """What deleters meant to delete."""
        return {
            int(line)
            for kind, who, _ in self.others
            if kind == "deleter"
            for line in self.said(kind, who).read_text().split()
        }

    def check(self, *, may_be_lost: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        """Every acknowledged version is there and right; the repository is whole and clean."""
        saves = Checkpointer(self.root)
        there = {snapshot.version for snapshot in saves}
        acknowledged = self.acknowledged()
        lost = acknowledged.keys() - there - may_be_lost
        assert not lost, f"lost: {sorted(lost)}"
        for version in sorted(there & acknowledged.keys()):
            assert saves.load(version=version) == state(*acknowledged[version])
        assert saves.verify() == []
        self.check_clean(saves)

    def check_deltas(self) -> None:
        """What is left was not all stored whole; where deleters were, too little is left to ask."""
        assert "a base that no part holds" in forms(LocalStore(self.root))

    def check_clean(self, saves: Checkpointer) -> None:
        saves.prune()
        files = [str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()]
        assert not [path for path in files if "/." in f"/{path}"], "temporary files"
        assert not [path for path in files if path.startswith(("leases/", "trash/"))]
        named: set[str] = set()
        for path in (path for path in files if path.startswith("snapshots/")):
            raw = (self.root / path).read_bytes()
            named |= {_format.pack_key(p) for p in _format.decode_manifest(raw, path).packs}
        assert {path for path in files if path.startswith("packs/")} == named, "orphans"
        assert saves.verify() == []


WRITERS = ("writer", "keeper", "stopper", "lazy", "behind")


@contextmanager
def company(folder: Path) -> Iterator[Company]:
    """Nobody outlives the test, stopped or not."""
    found = Company(folder)
    with ExitStack() as stack:
        try:
            yield found
        finally:
            for worker in [w for _, w in found.writers] + [w for _, _, w in found.others]:
                stack.callback(worker.stderr.close if worker.stderr else int)
                if worker.poll() is None:
                    worker.kill()
                worker.wait()


def many_writers(folder: Path, processes: int, saves: int) -> None:
    with company(folder) as at_work:
        for who in range(processes):
            at_work.hire("writer", who, saves)
        at_work.wait()
        acknowledged = at_work.acknowledged()
        assert sorted(acknowledged) == list(range(1, processes * saves + 1))
        assert len(set(acknowledged.values())) == processes * saves
        at_work.check()
        at_work.check_deltas()


def test_eight_processes_save_two_hundred_versions_each(tmp_path: Path) -> None:
    many_writers(tmp_path, 8, 200)


def crowd(folder: Path, saves: int) -> None:
    """Writers with and without retention, one that is stopped, deleters, pruners, readers."""
    with company(folder) as at_work:
        for who, kind in enumerate(["writer", "behind", "keeper", "behind", "stopper", "lazy"]):
            at_work.hire(kind, who, saves // 8 if kind in ("stopper", "lazy") else saves)
        for kind in ("deleter", "pruner", "pruner", "loader"):
            at_work.hire(kind, len(at_work.others))
        at_work.wait(wake=True)
        acknowledged, deleted = at_work.acknowledged(), at_work.deleted()
        assert len(acknowledged) == 4 * saves + 2 * (saves // 8)
        newest = sorted(acknowledged)[-KEEP:]
        evicted = {version for version in acknowledged if version < newest[0]}
        at_work.check(may_be_lost=evicted | deleted)


def test_with_retention_deleters_pruners_and_stopped_writers_none_is_lost(tmp_path: Path) -> None:
    crowd(tmp_path, 40)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_the_same_for_longer(tmp_path: Path) -> None:
    crowd(tmp_path, 400)


def test_writers_that_are_stopped_beside_a_pruner_lose_nothing(tmp_path: Path) -> None:
    """No retention, no deleter: every acknowledged version is there."""
    with company(tmp_path) as at_work:
        for who in range(3):
            at_work.hire("lazy", who, 6)
        at_work.hire("writer", 3, 60)
        at_work.hire("pruner", 4)
        at_work.wait(wake=True)
        assert len(at_work.acknowledged()) == 78
        at_work.check()
        at_work.check_deltas()


def kill_writers(folder: Path, kills: int) -> None:
    chance = random.Random(1)
    with company(folder) as at_work:
        at_work.hire("writer", 999, 5)
        at_work.wait()
        for who in range(0, 2 * kills, 2):
            pair = [
                at_work.hire(["writer", "keeper", "behind"][each % 3], each, 900)
                for each in (who, who + 1)
            ]
            for writer in pair:
                before = time.monotonic()
                kind = at_work.said("writer", who)
                while not kind.exists() and time.monotonic() < before + 10:
                    time.sleep(0.005)
                time.sleep(chance.uniform(0, 0.1))
                writer.kill()
                writer.wait()
        acknowledged = at_work.acknowledged()
        assert len(acknowledged) > kills
        # Who was killed between commit and answer left a version that nobody knows of.
        newest = [snapshot.version for snapshot in Checkpointer(at_work.root)][-KEEP:]
        evicted = {version for version in acknowledged if version < newest[0]}
        at_work.check(may_be_lost=evicted)
        at_work.check_deltas()


def test_what_killed_writers_leave_goes_with_a_prune(tmp_path: Path) -> None:
    kill_writers(tmp_path, 8)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_what_many_killed_writers_leave_goes_with_a_prune(tmp_path: Path) -> None:
    kill_writers(tmp_path, 200)
