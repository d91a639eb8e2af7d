"""How costs grow: with the size of the state to 10 GB, with its history to 10,000 versions.

Curves, not comparisons: a few samples a point, and `run.py --plot FOLDER` draws them.
"""

from __future__ import annotations

import math
import pickle
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import graph
import history
import numpy as np
import tiny
from attrs import frozen
from blake3 import blake3
from measuring import Bench, remove, settle, stored, timed
from report import Table, seconds, size

from checkpoint import Checkpointer

_ARRAYS = 64
_CHANGED = 1_000_000
State = dict[str, Any]
# A line of a plot: its points, x → y.
Curve = Mapping[float, float]


def measure(bench: Bench) -> Iterator[Table]:
    """A table and a plot of each."""
    yield _by_state(bench)
    yield _by_history(bench)


# --- the size of the state ------------------------------------------------------------------------

_VERBS = ("first save", "second save", "load", "lazy load", "first, bytes", "second, bytes")


def _by_state(bench: Bench) -> Table:
    steps = [10**6, 3 * 10**6, 10**7, 3 * 10**7]
    if not bench.quick:
        steps += [10**8, 3 * 10**8, 10**9, 3 * 10**9, 10**10]
    # A first sample, not counted: imports and threads.
    _state_sample(steps[0], 0, bench)
    rows, samples = [], []
    curves: dict[str, dict[float, float]] = {verb: {} for verb in _VERBS}
    for total in steps:
        count = bench.size(5 if total < 10**9 else 3, 1)
        found = [_state_sample(total, number, bench) for number in range(count)]
        for verb, laps in zip(_VERBS, zip(*found, strict=True), strict=True):
            curves[verb][total] = statistics.median(laps)
        told = [(size if "bytes" in verb else seconds)(curves[verb][total]) for verb in _VERBS]
        rows.append([f"{total / 1e6:,g} MB", str(count), *told])
        samples.append({"bytes": total, "order": _VERBS, "samples": found})
    if bench.plots:
        times = {verb: curves[verb] for verb in _VERBS[:4]}
        sizes = {verb.partition(",")[0]: curves[verb] for verb in _VERBS[4:]}
        panels = [Panel("time", "s", times), Panel("stored", "B", sizes)]
        draw(bench.plots / "growth-state.svg", "size of the state", "B", panels)
    return Table(
        "Cost with the size of the state",
        f"{_ARRAYS} float32 arrays of noise; medians of the number of samples that is told. First "
        "save into a fresh repository; second save of the next version after 1 MB in one piece "
        "changed; load of the newest with the state gone; lazy load until the first number is "
        "there. Stored is every file that the save added. From the page cache, as far as it "
        "holds that much.",
        ["state", "samples", *_VERBS],
        rows,
        samples,
    )


def _state_sample(total: int, number: int, bench: Bench) -> list[float]:
    """Seconds and bytes in the order of `_VERBS`."""
    path = bench.fresh("growth")
    state = _noise(total, number)
    with Checkpointer(path) as saves:
        settle()
        first = timed(saves.save, state)
        before = stored(path)
        _change(state, number)
        settle()
        second = timed(saves.save, state)
    after = stored(path)
    expected = _digest(state)
    # 10 GB twice are more than there is.
    del state
    settle()
    lazy = timed(lambda: float(Checkpointer(path).load(lazy=True)["layer.40"][-1]))
    settle()
    start = perf_counter()
    state = Checkpointer(path).load()
    eager = perf_counter() - start
    if _digest(state) != expected:
        raise AssertionError("checkpoint gave back something else")
    remove(path)
    return [first, second, eager, lazy, before, after - before]


def _noise(total: int, number: int) -> State:
    random = np.random.default_rng(number)
    length = total // _ARRAYS // 4
    return {f"layer.{at:02}": random.standard_normal(length, dtype="f4") for at in range(_ARRAYS)}


def _change(state: State, number: int) -> None:
    """1 MB in one piece of the middle, across arrays where they are smaller."""
    random = np.random.default_rng(1000 + number)
    left = _CHANGED // 4
    for array in list(state.values())[_ARRAYS // 2 :] + list(state.values())[: _ARRAYS // 2]:
        piece = array[: min(left, len(array))]
        piece += random.random(len(piece), dtype="f4")
        left -= len(piece)


def _digest(state: State) -> list[str]:
    return [blake3(memoryview(array).cast("B")).hexdigest() for array in state.values()]


# --- the length of the history --------------------------------------------------------------------


class Game:
    """A small world of which 1 % changes at each step, for `history.Line`."""

    def __init__(self) -> None:
        self._world = graph.build(2_000)
        self._random = Random(9)

    def __call__(self, step: int) -> graph.World:
        graph.move(self._random.sample(self._world, len(self._world) // 100), self._random)
        return self._world


def _by_history(bench: Bench) -> Table:
    points = (10, 30) if bench.quick else (10, 30, 100, 300, 1_000, 3_000, 10_000)
    turns = bench.size(15, 3)
    rows, samples = [], []
    curves: dict[str, dict[str, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    states: dict[str, Callable[[int], Any]] = {
        "1 kB dict": tiny.state,
        "world of 2,000 units": Game(),
    }
    for name, make in states.items():
        line = history.Line(bench.fresh("line"), make)
        before, behind = 0, 0
        for point in points:
            line.fill(point)
            taken = stored(line.path)
            added = (taken - before) / (point - behind)
            before, behind = taken, point
            found = _history_sample(line, turns)
            for verb, value in {**found, "bytes a version": added}.items():
                curves[verb][name][point] = value
            rows.append([name, f"{point:,}", *map(seconds, found.values()), size(added)])
            samples.append({"state": name, "versions": point, **found, "added": added})
        remove(line.path)
    if bench.plots:
        panels = [Panel("time", "s", {f"{verb}, {name}": curve for verb in ("save", "load")
                                    for name, curve in curves[verb].items()}),
                  Panel("added by a version", "B", curves["bytes a version"])]  # fmt: skip
        draw(bench.plots / "growth-history.svg", "versions that lie behind", "", panels)
    return Table(
        "Cost with the length of the history",
        f"Medians of {turns} durable saves and of {turns} loads of the newest, in an open "
        "Checkpointer and in one that is opened for it. No retention. 1 % of the units change "
        "before each save. Bytes a version is the mean since the row above, every file counted.",
        ["state", "versions", "save", "load", "load, opened", "bytes a version"],
        rows,
        samples,
    )


def _history_sample(line: history.Line, turns: int) -> dict[str, float]:
    settle()
    saving = []
    for _ in range(turns):
        # A world changes in place: the next state is made when this one is saved.
        (save,) = line.prepared(1)
        saving.append(timed(save))
    loading = [timed(line.saves.load) for _ in range(turns)]
    opened = [timed(_opened, line.path) for _ in range(turns)]
    if pickle.dumps(line.saves.load(), 5) != pickle.dumps(line.newest, 5):
        raise AssertionError("checkpoint gave back something else")
    names = "save", "load", "load, opened"
    return {
        name: statistics.median(laps)
        for name, laps in zip(names, (saving, loading, opened), strict=True)
    }


def _opened(path: Path) -> Any:
    return Checkpointer(path).load()


# --- plots ----------------------------------------------------------------------------------------


@frozen
class Panel:
    """One half of a plot: what its y axis is, the unit of it, and its curves by name."""

    label: str
    unit: str
    curves: Mapping[str, Curve]


def draw(path: Path, axis: str, unit: str, panels: Sequence[Panel]) -> None:
    """Draw log-log panels side by side as a small SVG: text as text, on white."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": path.stem,
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(settings):
        figure, places = plt.subplots(1, len(panels), figsize=(9, 3.6), layout="constrained")
        figure.set_facecolor("white")
        for place, panel in zip(places, panels, strict=True):
            for mark, (name, curve) in zip("osD^v", panel.curves.items(), strict=False):
                place.loglog(list(curve), list(curve.values()), marker=mark, ms=4, label=name)
            values = [value for curve in panel.curves.values() for value in curve.values()]
            # Whole decades: each axis has marks to read it by.
            place.set_ylim(_decade(min(values), math.floor), _decade(max(values), math.ceil))
            place.xaxis.set_major_formatter(EngFormatter(unit))
            place.yaxis.set_major_formatter(EngFormatter(panel.unit))
            place.set_xlabel(axis)
            place.set_ylabel(panel.label)
            place.minorticks_off()
            place.grid(color="#dddddd", linewidth=0.6)
            place.legend(
                loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
        plt.close(figure)


def _decade(value: float, rounded: Callable[[float], int]) -> float:
    return float(10.0 ** rounded(math.log10(value)))
