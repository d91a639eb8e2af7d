"""Two costs measured in turns, and their ratio with its spread.

A machine's speed drifts, so nothing is compared with a number from another run.
Each pair measures both sides one right after the other, the order alternates
(A B, B A, A B, …), and each pair gives one ratio; what is told is the median of
these ratios.  Where one of ours meets several peers, a round measures all of
them, and each round begins with the next.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from attrs import frozen

# One sample of a side: a cost, or several that were read on the way (written; written and synced).
Side = Callable[[], Sequence[float]]
Samples = list[Sequence[float]]


@frozen
class Bench:
    """What each measurement is told: where it may write, how many pairs, how large.

    Plots go to `plots`, if it is given.
    """

    folder: Path
    pairs: int
    quick: bool
    plots: Path | None = None

    def size(self, full: int, quick: int) -> int:
        """The size of something in a full run or a quick one."""
        return quick if self.quick else full

    def fresh(self, name: str) -> Path:
        """A path where nothing is."""
        path = self.folder / name
        remove(path)
        return path


@frozen
class Target:
    """What a ratio, or another number, should be: at least, above, or at most something."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None

    def told(self, shown: Callable[[float], str] = str) -> str:
        """The target in words, its number as *shown* writes it."""
        if self.at_least is not None:
            return f"≥ {shown(self.at_least)}"
        if self.above is not None:
            return f"> {shown(self.above)}"
        return "" if self.at_most is None else f"≤ {shown(self.at_most)}"

    def met(self, value: float) -> bool:
        """Whether *value* is good enough."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
        )


@frozen
class Comparison:
    """Samples of ours and of a peer, pair by pair.

    The ratio is ours to the peer's: of the costs, or, with *speed*, of the
    speeds (the peer's cost by ours).
    """

    ours_name: str
    peer_name: str
    ours: Sequence[float]
    peer: Sequence[float]
    speed: bool = False
    target: Target | None = None
    syncs: str = ""

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours, self.peer, strict=True)
        return [b / a if self.speed else a / b for a, b in pairs]


def pairs(ours: Side, peer: Side, count: int) -> tuple[Samples, Samples]:
    """*count* samples of each side, taken in turns."""
    first, second = rounds((ours, peer), count)
    return first, second


def rounds(sides: Sequence[Side], count: int) -> list[Samples]:
    """*count* samples of each of *sides*; each round begins with the next side."""
    found: list[Samples] = [[] for _ in sides]
    for turn in range(count):
        for at in range(len(sides)):
            which = (turn + at) % len(sides)
            found[which].append(sides[which]())
    return found


def settle() -> None:
    """The same quiet start for each sample: nothing to collect, nothing dirty, no memory kept.

    Without the sync, pages that an earlier sample left dirty would be written
    on the next one's time; without the trim, one would get warm memory where
    the other gets fresh pages.
    """
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    if hasattr(os, "sync"):
        os.sync()


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """The seconds that a call takes; its result is dropped when the clock has stopped."""
    start = perf_counter()
    result = function(*arguments)
    took = perf_counter() - start
    del result
    return took


def in_turns(
    first: Sequence[Callable[[], object]], second: Sequence[Callable[[], object]]
) -> tuple[float, float]:
    """The median seconds of each of two rows of short calls, made in turns."""
    calls = iter(first), iter(second)
    sides = [lambda row=row: (timed(next(row)),) for row in calls]
    found = pairs(sides[0], sides[1], len(first))
    ours, peer = (statistics.median(sample[0] for sample in side) for side in found)
    return ours, peer


def sync_tree(path: Path) -> None:
    """Sync the file at *path*, or each file below it."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    for file in files:
        fd = os.open(file, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def stored(path: Path) -> int:
    """The bytes of all files below the folder *path*, by their sizes."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def peak_memory() -> int:
    """Resident bytes of this process at their peak."""
    # Linux begins `ru_maxrss` with that of the parent.
    if Path("/proc/self/status").exists():
        return resident("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident(member: str) -> int:
    """What Linux says of the memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(member))
