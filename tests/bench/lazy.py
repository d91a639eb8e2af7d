"""Lazy and partial loads of a gigabyte: how soon one number, or one array, is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import arrays
import dedup
import numpy as np
from attrs import frozen
from measuring import Bench, Comparison, Target, quartiles, remove, rounds, settle, timed
from report import Table, compared, seconds, size, verdict

from checkpoint import Checkpointer

_KEY = "layer.40"
_SOON = Target(at_most=0.020)


@frozen
class Reader:
    """One way to open what was saved and read one number of one array."""

    name: str
    save: Callable[[arrays.State, Path], object]
    first: Callable[[Path], float]
    needs: str = "numpy"


def _lazy(path: Path) -> float:
    return _number(Checkpointer(path).load(lazy=True))


def _full(path: Path) -> float:
    return _number(Checkpointer(path).load())


def _number(state: arrays.State) -> float:
    array = state[_KEY]
    return float(array[len(array) // 2])


def _save_npy(state: arrays.State, path: Path) -> None:
    path.mkdir()
    for key, array in state.items():
        np.save(path / f"{key}.npy", array)


def _first_npy(path: Path) -> float:
    return _number({file.stem: np.load(file, mmap_mode="r") for file in path.glob("*.npy")})


def _first_safetensors(path: Path) -> float:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        part = file.get_slice(_KEY)
        middle = part.get_shape()[0] // 2
        return float(part[middle : middle + 1][0])


def _first_torch(path: Path) -> float:
    import torch

    return _number(torch.load(path, mmap=True, weights_only=True))


LAZY = Reader("lazy load", arrays.OURS.save, _lazy)
FULL = Reader("full load", arrays.OURS.save, _full)
PEERS = (
    Reader('64 × np.load(mmap_mode="r")', _save_npy, _first_npy),
    Reader("safetensors safe_open", arrays.WAYS["safetensors"].save, _first_safetensors,
           "safetensors"),
    Reader("torch.load(mmap=True)", arrays.WAYS["torch.save"].save, _first_torch, "torch"),
)  # fmt: skip


def measure(bench: Bench) -> Iterator[Table]:
    """Time to the first number, and to one array; what a lazy load costs that reads all."""
    state = arrays.build(bench.size(1 << 30, 32 << 20))
    what = f"{size(sum(a.nbytes for a in state.values()))} of arrays"
    repository = bench.fresh("repository")
    arrays.OURS.save(state, repository)
    if not arrays.same(state, Checkpointer(repository).load(lazy=True)):
        raise AssertionError("a lazy load gave back something else")
    yield from _first_numbers(what, state, repository, bench)
    yield _one_array(what, state, repository, bench)
    yield _everything(what, repository, bench)
    yield _changed(what, state, repository, bench)
    remove(repository)


def _first_numbers(
    what: str, state: arrays.State, repository: Path, bench: Bench
) -> Iterator[Table]:
    readers = [LAZY, FULL, *(reader for reader in PEERS if find_spec(reader.needs))]
    sides = []
    for at, reader in enumerate(readers):
        path = repository if reader in (LAZY, FULL) else bench.fresh(f"peer-{at}")
        if path != repository:
            reader.save(state, path)
        if reader.first(path) != _number(state):
            raise AssertionError(f"{reader.name} gave back something else")
        sides.append(partial(_sample, reader.first, path))
    found = [[lap for (lap,) in side] for side in rounds(sides, bench.pairs)]
    for at in range(2, len(readers)):
        remove(bench.folder / f"peer-{at}")
    text = "From the page cache: the repository, folder or file is opened, and one number read."
    yield compared(
        f"Lazy load of {what}: time to the first number",
        f"{text} Each round measures every side once.",
        bench,
        [
            Comparison(LAZY.name, reader.name, found[0], laps)
            for reader, laps in zip(readers[1:], found[1:], strict=True)
        ],
    )
    names = [reader.name for reader in readers]
    yield _absolute(f"The same in seconds ({what})", names, found, bench)


def _absolute(
    title: str, names: Sequence[str], found: Sequence[Sequence[float]], bench: Bench
) -> Table:
    """Medians and worst cases; the target is for the median of the first."""
    rows, samples = [], []
    for name, laps in zip(names, found, strict=True):
        low, middle, high = quartiles(laps)
        spread = f"{seconds(low)}–{seconds(high)}"
        target = _SOON if name == names[0] else None
        rows.append([name, f"**{seconds(middle)}**", spread, seconds(max(laps)),
                     verdict(target, middle, bench, seconds)])  # fmt: skip
        samples.append({"way": name, "samples": list(laps)})
    text = f"{len(found[0])} samples each."
    return Table(title, text, ["way", "median", "quartiles", "max", "target"], rows, samples)


def _one_array(what: str, state: arrays.State, repository: Path, bench: Bench) -> Table:
    """`load(only=…)` of one array of all, against a file that holds it alone."""
    alone = bench.fresh("alone.npy")
    np.save(alone, state[_KEY])
    if Checkpointer(repository).load(only=_KEY).tobytes() != state[_KEY].tobytes():
        raise AssertionError("a partial load gave back something else")
    sides = [
        partial(_sample, lambda path: Checkpointer(path).load(only=_KEY), repository),
        partial(_sample, np.load, alone),
        partial(_sample, lambda path: Checkpointer(path).load(), repository),
    ]
    ours, single, full = ([lap for (lap,) in side] for side in rounds(sides, bench.pairs))
    remove(alone)
    return compared(
        f"Partial load: one of {arrays.COUNT} arrays of {what}",
        f"`load(only=…)` of {size(state[_KEY].nbytes)}, digests checked, against `np.load` of a "
        "file that holds this array alone, and against the load of everything.",
        bench,
        [
            Comparison("load(only=…)", "np.load of its own file", ours, single),
            Comparison("load(only=…)", "full load", ours, full),
        ],
    )


def _everything(what: str, repository: Path, bench: Bench) -> Table:
    """A lazy load that is read from end to end after all."""

    def total(state: Mapping[str, Any]) -> float:
        return float(sum(array.sum() for array in state.values()))

    lazily = partial(_sample, lambda path: total(Checkpointer(path).load(lazy=True)), repository)
    fully = partial(_sample, lambda path: total(Checkpointer(path).load()), repository)
    ours, peer = ([lap for (lap,) in side] for side in rounds([lazily, fully], bench.pairs))
    return compared(
        f"Load and sum of {what}",
        "Every number is read once after the load. A full load checks digests; a lazy one maps "
        "the files and cannot.",
        bench,
        [Comparison("lazy load, sum", "full load, sum", ours, peer)],
    )


def _changed(what: str, state: arrays.State, repository: Path, bench: Bench) -> Table:
    """A version of which part is stored as a delta, and so cannot be mapped."""
    with Checkpointer(repository) as saves:
        saves.save(state)
        dedup.some_rows({key: array.reshape(-1, 1024) for key, array in state.items()}, 1)
        saves.save(state)
    if not arrays.same(state, Checkpointer(repository).load(lazy=True)):
        raise AssertionError("a lazy load gave back something else")
    sides = [partial(_sample, reader.first, repository) for reader in (LAZY, FULL)]
    ours, peer = ([lap for (lap,) in side] for side in rounds(sides, bench.pairs))
    return compared(
        f"Lazy load of {what}, 1 % of the rows of each changed since the version before",
        "Time to the first number. What is stored as a delta is read and checked at once.",
        bench,
        [Comparison(LAZY.name, FULL.name, ours, peer)],
    )


def _sample(read: Callable[[Path], object], path: Path) -> Sequence[float]:
    settle()
    return (timed(read, path),)
