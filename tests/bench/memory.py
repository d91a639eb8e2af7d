"""Peak memory above the state, while arrays or many objects are saved or loaded.

Each sample is a process of its own: `python memory.py SCENE ARGUMENT FOLDER SIZE`
prints what it took.
"""

from __future__ import annotations

import gc
import json
import pickle
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import arrays
import dedup
import objects
from measuring import Bench, Target, peak_memory, remove, resident, settle
from report import Table, size, verdict

from checkpoint import Checkpointer

_SAVE = Target(at_most=64 << 20)
_ABOVE = 128 << 20
_RUNS = 3


def measure(bench: Bench) -> Iterator[Table]:
    """Peaks of saves and loads, ours and the peers'."""
    total = bench.size(1 << 30, 64 << 20)
    yield _ways(total, bench)
    yield _kinds(total, bench)
    yield _graph(bench.size(141_000, 6_000), bench)


def _ways(total: int, bench: Bench) -> Table:
    """First saves and full loads of each way."""
    rows, samples = [], []
    # A quick run imports torch often enough.
    peers = arrays.present()[: bench.size(len(arrays.PEERS), 2)]
    for way in (arrays.OURS, *peers):
        saving, loading = _samples(["save", "load"], way.name, total, bench)
        target = _SAVE if way is arrays.OURS else None
        samples.append({"way": way.name, "save": saving, "load": loading})
        rows.append([way.name, _told(saving), _told(loading), _verdict(target, saving, bench)])
    return Table(
        f"Peak memory above a state of {size(total)} of arrays",
        "Resident memory at its peak, less that before the save; for a load, less the loaded "
        f"state too. {_how(bench)}",
        ["way", "save", "load", "target for save"],
        rows,
        samples,
    )


def _kinds(total: int, bench: Bench) -> Table:
    """A delta, its loads, a background save."""
    sparse = _samples(["second", "newest", "lazy-first", "lazy"], "rows", total, bench)
    (background,) = _samples(["background"], "copy", total, bench)
    above = Target(at_most=_ABOVE)
    found = {
        "second save, 1 % of the rows changed": (sparse[0], above),
        "load of that version": (sparse[1], above),
        "lazy load of the first": (sparse[2], above),
        "lazy load of the second": (sparse[3], None),
        'save_in_background(capture="copy")': (background, Target(at_most=total + _ABOVE)),
    }
    return Table(
        f"Peak memory of {size(total)} of arrays: deltas, lazy loads, background saves",
        "As above; for the second save, less what was resident before the first. A lazy load "
        "reads one number of each array, and nothing is taken off for the state: what is stored "
        "as it is gets mapped, a delta must be read. The target of "
        f"the background save is one copy and {size(_ABOVE)}.",
        ["", "peak", "target"],
        [[name, _told(peaks), _verdict(target, peaks, bench)]
         for name, (peaks, target) in found.items()],
        [{"what": name, "peaks": peaks} for name, (peaks, _) in found.items()],
    )  # fmt: skip


def _graph(heroes: int, bench: Bench) -> Table:
    """Each kind of version of many objects, against pickle."""
    rows, samples = [], []
    bare = [0.0, 0.0]
    for name in ("pickle", *objects.CHANGES):
        found = _samples(["graph", "graph-load"], name, heroes, bench)
        middle = [statistics.median(peaks) for peaks in found]
        if name == "pickle":
            bare = middle
        above = [ours - peer for ours, peer in zip(middle, bare, strict=True)]
        target = None if name == "pickle" else Target(at_most=_ABOVE)
        verdicts = [verdict(target, value, bench, size) for value in above]
        cells = [
            cell
            for peaks, value, word in zip(found, above, verdicts, strict=True)
            for cell in (_told(peaks), size(max(0, value)) if target else "", word)
        ]
        samples.append({"what": name, "save": found[0], "load": found[1]})
        rows.append([name if name == "pickle" else f"checkpoint, {name}", *cells])
    columns = [
        f"{verb}{rest}" for verb in ("save", "load") for rest in ("", " − pickle", ", target")
    ]
    return Table(
        f"Peak memory above a world of {heroes:,} heroes, {heroes * 17 / 1e6:.1f} million objects",
        "Resident memory at its peak, less that before the (first) save, or that after the load. "
        "`pickle.dump` writes to nowhere, and its memo is most of it; the target is for what "
        f"ours takes beyond pickle. {_how(bench)}",
        ["", *columns],
        rows,
        samples,
    )


def _how(bench: Bench) -> str:
    return f"Each sample is a fresh process; median and range of {bench.size(_RUNS, 1)}."


def _told(values: Sequence[int]) -> str:
    middle = size(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({size(min(values))}–{size(max(values))})"


def _verdict(target: Target | None, peaks: Sequence[int], bench: Bench) -> str:
    return verdict(target, statistics.median(peaks), bench, size)


def _samples(scenes: Sequence[str], argument: str, total: int, bench: Bench) -> list[list[int]]:
    """The peaks of each of *scenes*, which follow each other in one folder."""
    found: list[list[int]] = [[] for _ in scenes]
    for _ in range(bench.size(_RUNS, 1)):
        folder = bench.fresh("memory")
        folder.mkdir()
        for scene, peaks in zip(scenes, found, strict=True):
            command = [sys.executable, __file__, scene, argument, str(folder), str(total)]
            result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            peaks.append(json.loads(result.stdout))
        remove(folder)
    return found


# --- in a process of its own ----------------------------------------------------------------------


def _save(name: str, folder: Path, total: int) -> int:
    way = arrays.WAYS[name]
    _warm(way, folder / "first-save")
    state = arrays.build(total)
    before = _begin()
    way.save(state, folder / "state")
    return peak_memory() - before


def _load(name: str, folder: Path, total: int) -> int:
    way = arrays.WAYS[name]
    _warm(way, folder / "first-load")
    # Shapes only: pages that nobody writes to are not resident.
    like = {f"layer.{i:02}": arrays.np.zeros(total // arrays.COUNT // 4, "f4") for i in range(64)}
    before = _begin()
    state = dict(way.load(folder / "state", like))
    return peak_memory() - before - sum(array.nbytes for array in state.values())


def _second(argument: str, folder: Path, total: int) -> int:
    _warm(arrays.OURS, folder / "first-save")
    state = dedup.build(total)
    before = _begin()
    with Checkpointer(folder / "state") as saves:
        saves.save(state)
        dedup.some_rows(state, 1)
        # What is kept for the second save counts, the peak of the first does not.
        _begin()
        saves.save(state)
        return peak_memory() - before


def _newest(argument: str, folder: Path, total: int) -> int:
    return _load(arrays.OURS.name, folder, total)


def _lazy_first(argument: str, folder: Path, total: int) -> int:
    return _lazily(1, folder)


def _lazy(argument: str, folder: Path, total: int) -> int:
    return _lazily(2, folder)


def _lazily(version: int, folder: Path) -> int:
    _warm(arrays.OURS, folder / "first-lazy")
    before = _begin()
    state = Checkpointer(folder / "state").load(version=version, lazy=True)
    assert all(abs(array[len(array) // 2, 0]) < 100 for array in state.values())
    return peak_memory() - before


def _background(capture: str, folder: Path, total: int) -> int:
    _warm(arrays.OURS, folder / "first-save")
    state = arrays.build(total)
    before = _begin()
    with Checkpointer(folder / "state") as saves:
        saves.save_in_background(state, capture=capture).result()
        return peak_memory() - before


def _warm(way: arrays.Way, path: Path) -> None:
    """Imports and first calls are not the price of a save."""
    small = arrays.build(arrays.COUNT * 1024)
    way.save(small, path)
    way.load(path, small)


class _Nowhere:
    def write(self, piece: Any) -> int:
        return len(piece)


def _graph_save(name: str, folder: Path, heroes: int) -> int:
    _warm(arrays.OURS, folder / "first-save")
    world = objects.build(heroes)
    before = _begin()
    if name == "pickle":
        pickle.dump(world, _Nowhere(), 5)
        peak = peak_memory()
        with (folder / "pickle").open("wb") as file:
            pickle.dump(world, file, 5)
        return peak - before
    change = objects.CHANGES[name]
    with Checkpointer(folder / "state") as saves:
        if name != "keyframe":
            saves.save(world)
            change(world, Random(4))
            _begin()
        saves.save(world)
        return peak_memory() - before


def _graph_load(name: str, folder: Path, heroes: int) -> int:
    _warm(arrays.OURS, folder / "first-load")
    gc.disable()
    _begin()
    if name == "pickle":
        with (folder / "pickle").open("rb") as file:
            world = pickle.load(file)
    else:
        world = Checkpointer(folder / "state").load()
    peak = peak_memory()
    settle()
    above = peak - resident("VmRSS")
    assert len(world) >= heroes
    return above


_SCENES: dict[str, Callable[[str, Path, int], int]] = {
    "save": _save,
    "load": _load,
    "second": _second,
    "newest": _newest,
    "lazy-first": _lazy_first,
    "lazy": _lazy,
    "background": _background,
    "graph": _graph_save,
    "graph-load": _graph_load,
}


def _begin() -> int:
    """Forget the peak so far, where the system can; the resident bytes now."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_memory()
    return resident("VmRSS")


if __name__ == "__main__":
    scene, argument, folder, total = sys.argv[1:]
    print(_SCENES[scene](argument, Path(folder), int(total)))
