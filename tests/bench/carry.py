"""How much a repository holds when blobs of many saves share packs and old packs must die.

Nothing is timed: the library itself saves to memory, and bytes are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from attrs import frozen
from measuring import Bench
from report import Table, size

from checkpoint import Checkpointer, MemoryStore, keep_last

_TARGET = 3.0
_PIECE = 64 << 10
_KEPT = 3

# Which pieces change: a random generator, the step, the number of pieces → their indices.
Churn = Callable[[Random, int, int], set[int]]


def _uniform(random: Random, step: int, count: int) -> set[int]:
    return set(random.sample(range(count), count // 10))


def _skewed(random: Random, step: int, count: int) -> set[int]:
    """Four changes in five fall on a fifth of the pieces."""
    found: set[int] = set()
    while len(found) < count // 10:
        hot = random.random() < 0.8
        found.add(random.randrange(count // 5) if hot else random.randrange(count // 5, count))
    return found


def _rotating(random: Random, step: int, count: int) -> set[int]:
    width = count // 10
    return {(step * width + index) % count for index in range(width)}


def _half_frozen(random: Random, step: int, count: int) -> set[int]:
    """One half never changes."""
    return set(random.sample(range(count // 2), count // 10))


CHURNS: dict[str, Churn] = {
    "uniform": _uniform,
    "skewed": _skewed,
    "rotating": _rotating,
    "half frozen": _half_frozen,
}


@frozen
class Outcome:
    """Byte counts of one simulation."""

    written: int
    changed: int
    in_packs: list[int]
    live: list[int]

    @property
    def held(self) -> list[float]:
        """Pack bytes to live bytes after each save."""
        return [packs / live for packs, live in zip(self.in_packs, self.live, strict=True)]


def measure(bench: Bench) -> Iterator[Table]:
    """Pack bytes to live bytes, and bytes written to bytes changed, under each churn."""
    count, saves = bench.size(200, 50), bench.size(60, 20)
    rows, samples = [], []
    for name, churn in CHURNS.items():
        found = simulate(churn, count, saves)
        steady = found.held[saves // 3 :]
        verdict = "" if bench.quick else ": met" if max(steady) <= _TARGET else ": missed"
        samples.append({"churn": name, "held": found.held, "written": found.written,
                        "changed": found.changed})  # fmt: skip
        rows.append([
            name, f"**{found.held[-1]:.2f}**", f"{max(steady):.2f}", f"≤ {_TARGET:g}{verdict}",
            f"{found.written / found.changed:.2f}", size(found.in_packs[-1]),
        ])  # fmt: skip
    yield Table(
        f"Carrying forward: keep_last({_KEPT}), a tenth of the pieces changes each save",
        f"{count} buffers of {size(_PIECE)} of noise, {saves} saves on `MemoryStore`, a quiet "
        f"prune after each. Live is what the {_KEPT} kept snapshots need, each blob once; the "
        "highest is of the last two thirds; written leaves out the first save.",
        ["churn", "packs ÷ live at the end", "highest", "target", "written ÷ changed", "packs"],
        rows,
        samples,
    )


def simulate(churn: Churn, count: int, saves: int) -> Outcome:
    """Save *saves* states of *count* pieces that change as *churn* says."""
    random = Random(6)
    store = MemoryStore()
    line = Checkpointer(store, keep=keep_last(_KEPT))
    state = [_piece(random) for _ in range(count)]
    line.save(state)
    written = changed = 0
    in_packs, live = [], []
    for step in range(saves):
        indices = churn(random, step, count)
        for index in sorted(indices):
            state[index] = _piece(random)
        changed += len(indices) * _PIECE
        written += line.save(state).stored
        line.prune()
        in_packs.append(_in_packs(store))
        live.append(_live(line))
    if [bytes(piece) for piece in line.load()] != [bytes(piece) for piece in state]:
        raise AssertionError("checkpoint gave back something else")
    return Outcome(written, changed, in_packs, live)


def _piece(random: Random) -> Any:
    import numpy as np

    return np.frombuffer(random.randbytes(_PIECE), "u1")


def _in_packs(store: MemoryStore) -> int:
    return sum(len(store.get(key)) for key in store.keys("packs/"))


def _live(line: Checkpointer) -> int:
    """The stored bytes of all blobs that a kept snapshot names."""
    repository = line._repository
    blobs = {}
    for snapshot in line:
        manifest = repository.manifest(line.name, snapshot.version)
        for blob in (*repository.rows(manifest), *manifest.table):
            blobs[blob.pack, blob.offset] = blob.stored
    return sum(stored for (pack, _), stored in blobs.items() if pack is not None)
