"""What trust costs: loads of own and of foreign files, and what a save says of the policy."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import numpy as np
from arrays import build as build_arrays
from attrs import frozen
from measuring import Bench, Comparison, Target, quartiles, remove, rounds, settle, timed
from report import Table, compared, seconds, size, verdict

import checkpoint
from checkpoint import Checkpointer, MemoryStore
from checkpoint._single_file import MAGIC, read_snapshot
from checkpoint._trust import Policy
from checkpoint._unpickling import Uncollected
from checkpoint._verifying import verify

_SAME = Target(at_most=1.05)
_RATE = Target(at_least=5.0)
_BUDGET = 8 << 30  # A gigabyte is more than a stranger's file may take unasked.
Load = Callable[[], Any]


@dataclass
class Item:
    name: str
    count: int
    weight: float


@dataclass
class Hero:
    number: int
    name: str
    health: float
    at: tuple[int, int]
    bag: list[Item] = field(default_factory=list)
    friend: Any = None


def heroes(count: int) -> list[Hero]:
    """About *count* instances, with an item in each second one; always the same."""
    random = Random(5)
    made: list[Hero] = []
    for number in range(count * 2 // 3):
        friend = made[random.randrange(number)] if number else None
        at = (number % 100, random.randrange(1 << 20))
        hero = Hero(number, f"hero {number}", random.random(), at, [], friend)
        if number % 2:
            hero.bag.append(Item(f"item {number % 500}", number % 9, random.random()))
        made.append(hero)
    return made


def dicts(count: int) -> list[Any]:
    """*count* dicts of a few keys, that refer to each other."""
    random = Random(6)
    made: list[dict[str, Any]] = []
    for number in range(count):
        other = made[random.randrange(number)] if number else None
        place = {"x": random.random(), "y": number % 256}
        made.append({"id": number, "place": place, "other": other, "tags": [f"tag {number % 50}"]})
    return made


def numbers(count: int) -> list[list[int]]:
    """Lists of a hundred numbers of all sizes, *count* numbers in all."""
    random = Random(7)
    sizes = (1 << 7, 1 << 15, 1 << 30, 1 << 62)
    return [[random.randrange(sizes[n % 4]) for n in range(100)] for _ in range(count // 100)]


def texts(count: int) -> list[str]:
    """*count* different texts of about 20 characters."""
    return [f"the text of number {number}" for number in range(count)]


KINDS: dict[str, Callable[[int], Any]] = {
    "dataclass instances": heroes,
    "dicts": dicts,
    "lists of numbers": numbers,
    "texts": texts,
}
GRAPHS = ("dataclass instances", "dicts")


@frozen
class Saved:
    """One state in a file of our own, in one of a stranger, and as its stream and buffers."""

    what: str
    own: bytes
    foreign: bytes

    def read(self) -> tuple[bytes, list[Any]]:
        """Stream and buffers, decoded and checked as any load does."""
        file = io.BytesIO(self.own)
        file.seek(len(MAGIC))
        *buffers, stream = read_snapshot(file.read)[1]
        return stream, buffers

    def bare(self) -> Any:
        """The same reading, and the bare C unpickler, with the collector off as it is in ours."""
        stream, buffers = self.read()
        with Uncollected():
            return pickle.loads(stream, buffers=buffers)

    def load_own(self) -> Any:
        return checkpoint.loads(self.own)

    def load_foreign(self) -> Any:
        """By a policy that has seen nothing yet: nobody else trusts this very function."""
        return checkpoint.loads(self.foreign, trust=[lambda: None], budget=_BUDGET)

    def load_foreign_again(self) -> Any:
        """By the policy of this module, which has verified it before."""
        return checkpoint.loads(self.foreign, budget=_BUDGET)


def measure(bench: Bench) -> Iterator[Table]:
    """Own loads, foreign loads, and saves, each against the same without the trust."""
    many = bench.size(300_000, 6_000)
    states = {f"{many:,} {kind}": KINDS[kind](many) for kind in GRAPHS}
    graphs = [_saved(what, state) for what, state in states.items()]
    total = bench.size(1 << 30, 8 << 20)
    arrays = _saved(f"{size(total)} of arrays", build_arrays(total))
    yield _own(graphs, arrays, states, bench)
    yield _rates(bench)
    yield _foreign(graphs, arrays, bench)
    del arrays, graphs
    yield _saves(states, bench)


def _saved(what: str, state: Any) -> Saved:
    codec = "none" if isinstance(state, dict) else "zstd"
    found = Saved(what, checkpoint.dumps(state, codec=codec),
                  checkpoint.dumps(state, codec=codec, key=None))  # fmt: skip
    for again in (found.load_own(), found.load_foreign(), found.load_foreign_again()):
        if not _alike(state, again):
            raise AssertionError("checkpoint gave back something else")
    return found


def _alike(state: Any, other: Any) -> bool:
    if isinstance(state, dict):
        return all(np.array_equal(state[key], other[key]) for key in state)
    return pickle.dumps(state, 5) == pickle.dumps(other, 5)


def _own(graphs: list[Saved], arrays: Saved, states: dict[str, Any], bench: Bench) -> Table:
    found = []
    for saved in graphs:
        ours, bare, alone = _measured([saved.load_own, saved.bare, _of_stream(saved)], bench)
        what = f"loads, {saved.what}"
        found.append(Comparison(what, "the same reading, C unpickler", ours, bare, target=_SAME))
        found.append(Comparison(what, "C unpickler alone", ours, alone))
    ours, bare = _measured([arrays.load_own, arrays.bare], bench)
    what = f"loads, {arrays.what}"
    found.append(Comparison(what, "the same reading, C unpickler", ours, bare, target=_SAME))
    for what, state in states.items():
        folder = bench.fresh("own")
        with Checkpointer(folder) as saves:
            saves.save(state)
        ours, off = _measured([partial(_load, folder), partial(_load, folder, trust=True)], bench)
        found.append(Comparison(f"load, {what}", "trust=everything", ours, off, target=_SAME))
        remove(folder)
    return compared(
        "Load of an own file",
        "It is signed, and is not verified. The peer reads the same file and gives stream and "
        "buffers to the C unpickler, with the collector off as in ours; or gives it the stream "
        "alone, from memory; or is the same `Checkpointer` with `trust=everything`.",
        bench,
        found,
    )


def _of_stream(saved: Saved) -> Load:
    stream, buffers = saved.read()

    def load() -> Any:
        with Uncollected():
            return pickle.loads(stream, buffers=buffers)

    return load


def _load(folder: Path, *, trust: bool = False) -> Any:
    with Checkpointer(folder, trust=checkpoint.everything if trust else ()) as saves:
        return saves.load()


def _rates(bench: Bench) -> Table:
    many = bench.size(300_000, 6_000)
    rows, samples = [], []
    for kind, make in KINDS.items():
        stream, buffers = _saved(kind, make(many)).read()
        data, lengths = bytes(stream), [memoryview(buffer).nbytes for buffer in buffers]
        found = []
        for _ in range(bench.pairs):
            granted = Policy([__name__]).grant
            settle()
            took = timed(verify, data, lengths, granted, _BUDGET)
            found.append(len(data) / took / 1e6)
        low, middle, high = quartiles(found)
        rows.append([f"{many:,} {kind}", size(len(data)), f"**{middle:.3g} MB/s**",
                     f"{low:.3g}–{high:.3g}", verdict(_RATE, middle, bench)])  # fmt: skip
        samples.append({"kind": kind, "size": len(data), "samples": found})
    return Table(
        "Verification alone",
        "One pass over the stream of a foreign file, before anything of it is built; arrays of "
        f"64 KiB and more lie outside it. {bench.pairs} samples each, MB of stream a second.",
        ["", "stream", "median", "quartiles", "target"],
        rows,
        samples,
    )


def _foreign(graphs: list[Saved], arrays: Saved, bench: Bench) -> Table:
    found = []
    for saved in (*graphs, arrays):
        sides: list[Load] = [saved.load_foreign, saved.load_foreign_again, saved.load_own]
        first, second, own = _measured(sides, bench)
        target = _SAME if saved is arrays else None
        found.append(Comparison(f"first load, {saved.what}", "own", first, own, target=target))
        found.append(Comparison(f"second load, {saved.what}", "own", second, own, target=_SAME))
    return compared(
        "Load of a foreign file",
        "The peer is the load of the same file as own. For the first load nothing was verified "
        "before; for the second this process has verified the same bytes by the same policy.",
        bench,
        found,
    )


def _saves(states: dict[str, Any], bench: Bench) -> Table:
    small = {"turn": 1, "heroes": heroes(30), "at": (1, 2.5), "grid": np.zeros((8, 8))}
    found = []
    for what, state in {"a small state": small, **states}.items():
        first = partial(_first_save, state)
        later = [_Later(state, trust) for trust in ((), checkpoint.everything)]
        runs = 200 if state is small else 1
        sides = [partial(first, (), runs), partial(first, checkpoint.everything, runs)]
        sides += [partial(one, runs) for one in later]
        ours, peer, ours_later, peer_later = rounds(sides, bench.pairs)
        for name, one, other in (("first", ours, peer), ("later", ours_later, peer_later)):
            laps = [lap for (lap,) in one], [lap for (lap,) in other]
            found.append(
                Comparison(f"{name} save, {what}", "trust=everything", *laps, target=_SAME)
            )
    return compared(
        "Save, which says what a policy would refuse",
        "In memory. The peer is the same with `trust=everything`, which asks nothing. A first "
        "save is that of a new `Checkpointer`, a later one that of one that has saved before, "
        "with something changed. Of the small state a sample is the mean of 200.",
        bench,
        found,
        seconds,
    )


def _first_save(state: Any, trust: Any, runs: int) -> tuple[float]:
    settle()
    start = perf_counter()
    for _ in range(runs):
        with Checkpointer(MemoryStore(), trust=trust) as saves:
            saves.save(state)
    return ((perf_counter() - start) / runs,)


class _Later:
    """Saves after the first, each with another turn."""

    def __init__(self, state: Any, trust: Any) -> None:
        self._state, self._turn = state, 0
        self._saves = Checkpointer(MemoryStore(), trust=trust)
        self._saves.save([0, state])

    def __call__(self, runs: int) -> tuple[float]:
        settle()
        took = 0.0
        for _ in range(runs):
            self._turn += 1
            took += timed(self._saves.save, [self._turn, self._state])
        return (took / runs,)


def _measured(sides: list[Load], bench: Bench) -> list[list[float]]:
    found = rounds([partial(_sample, side) for side in sides], bench.pairs)
    return [[lap for (lap,) in side] for side in found]


def _sample(function: Load) -> tuple[float]:
    settle()
    return (timed(function),)
