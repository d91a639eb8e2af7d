"""What a save and a load cost when thousands of versions lie behind them.

`python history.py FOLDER` prints the seconds that a fresh process's first load takes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import tiny
from measuring import Bench, Comparison, Target, in_turns, pairs, remove, settle, timed
from report import Table, compared

from checkpoint import Checkpointer

_SHORT = 10
_TARGET = Target(at_most=1.2)
Make = Callable[[int], Any]


class Line:
    """An open Checkpointer, and how to make the next state for it."""

    def __init__(self, path: Path, make: Make) -> None:
        self.path = path
        self.saves = Checkpointer(path)
        self._make = make
        self._versions = 0
        self.newest: Any = None

    def fill(self, count: int) -> None:
        """Save until there are *count* versions: real saves, but not synced one by one."""
        with _unsynced():
            while self._versions < count:
                for save in self.prepared(1):
                    save()

    def prepared(self, count: int) -> list[Callable[[], object]]:
        """*count* saves of states that are made already and that were not saved yet."""
        first = self._versions + 1
        self._versions += count
        states = [self._make(step) for step in range(first, first + count)]
        self.newest = states[-1]
        return [partial(self.saves.save, state) for state in states]

    def check(self) -> None:
        """AssertionError unless the newest state comes back as it was saved."""
        if _plain(self.saves.load()) != _plain(self.newest):
            raise AssertionError("checkpoint gave back something else")


@contextmanager
def _unsynced() -> Iterator[None]:
    original = os.fsync
    os.fsync = lambda fd: None
    try:
        yield
    finally:
        os.fsync = original
        os.sync()


def array(step: int) -> Any:
    """256 KiB of noise, different at each step."""
    import numpy as np

    return {"step": step, "weights": np.frombuffer(Random(step).randbytes(256 << 10), "f4")}


def _plain(state: Any) -> dict[str, Any]:
    return {key: bytes(v) if hasattr(v, "tobytes") else v for key, v in state.items()}


def measure(bench: Bench) -> Iterator[Table]:
    """Costs at 100, 1,000 and 10,000 versions against those at 10."""
    points = (50,) if bench.quick else (100, 1_000, 10_000)
    for title, make in (("a 1 kB dict", tiny.state), ("a 256 KiB array that changes", array)):
        comparisons = list(_compared(make, points, bench))
        yield compared(
            f"Cost with history: {title}",
            f"An open Checkpointer with many versions (ours) and one with {_SHORT} to "
            f"{_SHORT + _turns(bench)} (peer) save, then load, in turns; each sample is the median "
            f"of {_turns(bench)} saves or loads. No retention. "
            "A first load is that of a fresh process, its imports done.",
            bench,
            comparisons,
        )


def _turns(bench: Bench) -> int:
    return bench.size(20, 5)


def _compared(make: Make, points: Sequence[int], bench: Bench) -> Iterator[Comparison]:
    long = Line(bench.fresh("long"), make)
    for point in points:
        long.fill(point)
        found = [_sample(long, make, bench) for _ in range(bench.pairs)]
        names = f"at {point:,} versions", f"at {_SHORT}"
        target = _TARGET if point == points[-1] else None
        for lap, verb in enumerate(("save", "load")):
            ours, peer = ([one[lap][side] for one in found] for side in (0, 1))
            yield Comparison(f"{verb} {names[0]}", names[1], ours, peer, False, target)
        yield _first_loads(long, make, names, bench)
    remove(long.path)


def _sample(long: Line, make: Make, bench: Bench) -> tuple[tuple[float, float], ...]:
    """Medians of (long, short) saves and loads, made in turns."""
    short = Line(bench.fresh("short"), make)
    short.fill(_SHORT)
    turns = _turns(bench)
    saving_long, saving_short = long.prepared(turns), short.prepared(turns)
    settle()
    saving = in_turns(saving_long, saving_short)
    loading = in_turns([long.saves.load] * turns, [short.saves.load] * turns)
    for line in (long, short):
        line.check()
    remove(short.path)
    return saving, loading


def _first_loads(long: Line, make: Make, names: Sequence[str], bench: Bench) -> Comparison:
    short = Line(bench.fresh("short"), make)
    short.fill(_SHORT)
    found = pairs(partial(_first_load, long.path), partial(_first_load, short.path), bench.pairs)
    remove(short.path)
    ours, peer = ([sample[0] for sample in side] for side in found)
    return Comparison(f"first load {names[0]}", names[1], ours, peer)


def _first_load(folder: Path) -> tuple[float]:
    command = [sys.executable, __file__, str(folder)]
    return (float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout),)


def _load(folder: str) -> Any:
    return Checkpointer(folder).load()


if __name__ == "__main__":
    import numpy  # noqa: F401  (not the price of a load)

    print(timed(_load, sys.argv[1]))
