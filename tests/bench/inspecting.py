"""Looking into snapshots without loading them: seconds, and memory in multiples of the size.

Each sample is a process of its own: `python inspecting.py SCENE FOLDER` prints what it took.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from attrs import define
from measuring import Bench, Target, peak_memory, remove
from report import Table, seconds, size, verdict

from checkpoint import Checkpointer

_RUNS = 3
_SECONDS = Target(at_most=20.0)
_MEMORY = Target(at_most=3.0)


@define
class Player:
    name: str
    hp: int
    x: float
    y: float
    items: list[int]
    friend: Any = None


def players(total: int) -> dict[str, Any]:
    """A state whose stream has about *total* bytes of small objects."""
    made: list[Player] = []
    for n in range(total // 78):
        friend = made[n // 2] if made else None
        made.append(Player(f"player {n}", n % 100, n * 0.5, n * 0.25, [n, n + 1], friend))
    return {"turn": 1, "players": made}


def arrays(total: int) -> dict[str, Any]:
    """A state of *total* bytes in 64 arrays."""
    chance = np.random.default_rng(1)
    return {"turn": 1} | {f"layer {n}": chance.random(total // 512) for n in range(64)}


def change(state: dict[str, Any]) -> None:
    """A few values, and of the players one more at the front."""
    state["turn"] += 1
    if "players" in state:
        state["players"][len(state["players"]) // 2].hp = -1
        state["players"].insert(0, Player("Ada", 1, 0.0, 0.0, []))
    else:
        state["layer 40"][7] = 0.0


SHORT = {"arrays": "of arrays", "players": "of small objects"}


def _inspect(saves: Checkpointer) -> str:
    return str(saves.inspect(version=1))


def _diff(saves: Checkpointer) -> str:
    return str(saves.diff(1, 2))


def _raw(saves: Checkpointer) -> str:
    return str(len(saves.raw(version=1)))


SCENES: dict[str, Callable[[Checkpointer], str]] = {
    "inspect": _inspect, "diff": _diff, "raw": _raw,
}  # fmt: skip


def measure(bench: Bench) -> Iterator[Table]:
    """Each scene on a snapshot of arrays and on one of small objects."""
    total = bench.size(100_000_000, 4_000_000)
    rows, samples = [], []
    for kind, build in (("arrays", arrays), ("players", players)):
        folder = bench.fresh(kind)
        with Checkpointer(folder) as saves:
            state = build(total)
            whole = saves.save(state).size
            change(state)
            saves.save(state)
            del state
        for scene in SCENES:
            found = [_sample(scene, folder) for _ in range(bench.size(_RUNS, 1))]
            took, peak = (statistics.median(column) for column in zip(*found, strict=True))
            limits = (None, None) if scene == "raw" else (_SECONDS, _MEMORY)
            read = 2 * whole if scene == "diff" else whole
            rows.append([
                f"{scene}, {size(read)} {SHORT[kind]}", seconds(took),
                verdict(limits[0], took, bench, seconds), size(peak), f"{peak / read:.2f}",
                verdict(limits[1], peak / read, bench),
            ])  # fmt: skip
            samples.append({"scene": scene, "kind": kind, "size": whole, "samples": found})
        remove(folder)
    yield Table(
        "Looking into a snapshot without loading it",
        "`inspect` and its print, `diff` of two versions with few changes (of the objects one "
        "more at the front, so that all references differ) and its print, and `raw`. Resident "
        "memory at its peak, less that before, and in multiples of the size of what is read, which "
        "for `diff` are two versions; each sample is a process of its own.",
        ["", "time", "target", "memory", "÷ size", "target"],
        rows,
        samples,
    )


def _sample(scene: str, folder: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, scene, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    took, peak = json.loads(done.stdout.splitlines()[-1])
    return took, peak


def main(scene: str, folder: str) -> None:
    """Make one sample, and print it."""
    with Checkpointer(folder) as saves:
        saves.snapshots()
        before = peak_memory()
        start = perf_counter()
        shown = SCENES[scene](saves)
        took = perf_counter() - start
    peak = peak_memory() - before
    print(shown[:2000], file=sys.stderr)
    print(json.dumps([took, peak]))


if __name__ == "__main__":
    main(*sys.argv[1:])
