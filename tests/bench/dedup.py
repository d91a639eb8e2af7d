"""A large state of which much, little or nothing was saved before: bytes and seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import arrays
import numpy as np
from attrs import frozen
from blake3 import blake3
from measuring import Bench, Comparison, Target, remove, rounds, settle, stored, timed
from report import Table, compared, size, verdict

from checkpoint import Checkpointer

_CHANGED = 3
_ONCE = Target(at_most=1.01)
State = dict[str, Any]


@frozen
class Change:
    """What happens to the state between its first and second save, and what that may cost."""

    name: str
    apply: Callable[[State, int], object]
    bytes: Target | None = None
    time: Target | None = None


def build(total: int) -> State:
    """The same noise as `arrays.build`, in rows of 1,024 numbers."""
    return {key: array.reshape(-1, 1024) for key, array in arrays.build(total).items()}


def _some_arrays(state: State, number: int) -> None:
    for key in list(state)[number % 7 :: arrays.COUNT // _CHANGED][:_CHANGED]:
        state[key] += 1


def some_rows(state: State, number: int) -> None:
    """Change 1 % of the rows of each array, scattered at random; at least one."""
    random = np.random.default_rng(number)
    for array in state.values():
        count = len(array)
        rows = random.choice(count, max(1, round(count / 100)), replace=False)
        array[rows] += random.standard_normal((len(rows), 1024), dtype="f4")


def _all_weights(state: State, number: int) -> None:
    """A step of training: every number moves a little."""
    random = np.random.default_rng(number)
    for array in state.values():
        step = random.standard_normal(array.shape, dtype="f4")
        np.add(array, 0.001 * step, out=array)


CHANGES = (
    Change(f"{_CHANGED} of {arrays.COUNT} arrays changed", _some_arrays,
           Target(at_most=0.06), Target(at_most=0.15)),
    Change("1 % of the rows of each array changed", some_rows, Target(at_most=0.05)),
    Change("all weights changed", _all_weights),
)  # fmt: skip


def measure(bench: Bench) -> Iterator[Table]:
    """Seconds and bytes of a second save, as ratios of the first; what equal arrays take."""
    total = bench.size(1 << 30, 64 << 20)
    state = build(total)
    times, sizes = [], []
    for change in CHANGES:
        found = [_sample(state, change, number, bench) for number in range(bench.pairs)]
        laps = list(zip(*found, strict=True))
        names = f"second save, {change.name}", "first save"
        times.append(Comparison(*names, laps[1], laps[0], target=change.time))
        sizes.append(Comparison(*names, laps[3], laps[2], target=change.bytes))
    rows, columns = state["layer.00"].shape
    what = f"{size(total)} in {arrays.COUNT} arrays of {rows:,} × {columns:,} float32"
    note = (
        "The first save goes to a fresh repository, so these pairs have one order: the second "
        "save of each pair is the next version, in the same open Checkpointer."
    )
    dense = (
        "Rows are scattered at random. Where all weights changed nothing can be reused, and the "
        "ratio is the price of looking."
    )
    yield compared(f"Second save of {what}: time", f"{note} {dense}", bench, times)
    yield compared(
        f"Second save of {what}: bytes",
        "All files that the save adds to the repository, its manifest included.",
        bench, sizes, size,
    )  # fmt: skip
    yield _looks(state, bench)
    yield _equals(bench)


def _looks(state: State, bench: Bench) -> Table:
    """What any save must take that looks at all bytes, however it does."""
    views = [array.reshape(-1).view("u8") for array in state.values()]

    def in_two_threads(look: Callable[[Any], object]) -> Callable[[], tuple[float]]:
        def sample() -> tuple[float]:
            settle()
            with ThreadPoolExecutor(2) as pool:
                return (timed(lambda: list(pool.map(look, views))),)

        return sample

    sides = {
        "BLAKE3 of all bytes, two threads": in_two_threads(
            lambda view: blake3(view.view("u1")).digest()
        ),
        "all bytes read once, two threads": in_two_threads(np.bitwise_xor.reduce),
    }
    peer, *found = rounds([partial(arrays.saved, state, bench), *sides.values()], bench.pairs)
    return compared(
        "What it takes to look at all bytes",
        "Nothing is saved here: these are the least that a second save can take that finds out by "
        "itself what has changed, by digest or in any other way.",
        bench,
        [
            Comparison(name, "first save", [s[0] for s in ours], [s[0] for s in peer])
            for name, ours in zip(sides, found, strict=True)
        ],
    )


def _sample(state: State, change: Change, number: int, bench: Bench) -> Sequence[float]:
    """Seconds of both saves, bytes of both."""
    path = bench.fresh("dedup")
    with Checkpointer(path) as saves:
        settle()
        first = timed(saves.save, state)
        before = stored(path)
        change.apply(state, number)
        settle()
        second = timed(saves.save, state)
        if not arrays.same(state, saves.load()):
            raise AssertionError("checkpoint gave back something else")
    after = stored(path)
    remove(path)
    return first, second, before, after - before


def _equals(bench: Bench) -> Table:
    """The bytes stored for one array, and for many that hold the same numbers."""
    array = build(bench.size(1 << 30, 256 << 20))["layer.00"]
    half = len(array) // 2
    whole = {"array": array, "transposed": array.T, "flat": array.reshape(-1),
             "bits": array.view("u4"), "again": array[:]}  # fmt: skip
    halves = {"array": array, "top": array[:half], "bottom": array[half:]}
    others = {"array": array, "reversed": array[::-1], "every other": array[::2]}
    cases: dict[str, tuple[State, Target | None]] = {
        "one array": ({"one": array}, None),
        "the same array under 10 keys": (dict.fromkeys(map(str, range(10)), array), _ONCE),
        "10 copies of it": ({str(at): array.copy() for at in range(10)}, _ONCE),
        "it and 4 views of all its memory": (whole, _ONCE),
        "it and its halves": (halves, None),
        "it and all but its first row": ({"array": array, "rest": array[1:]}, None),
        "it and 2 views that are not contiguous": (others, None),
    }
    rows, samples = [], []
    single = 0
    for name, (state, target) in cases.items():
        held = sum(part.nbytes for part in state.values())
        taken = _stored(state, bench)
        single = single or taken
        rows.append([name, size(held), size(taken), f"**{taken / single:.3f}**",
                     verdict(target, taken / single, bench)])  # fmt: skip
        samples.append({"case": name, "held": held, "stored": taken})
    return Table(
        "Equal arrays and views",
        "All files of a repository after one save. A view that begins elsewhere is cut elsewhere, "
        "and one that is not contiguous is copied in its own order.",
        ["state", "arrays", "stored", "stored ÷ one array", "target"],
        rows,
        samples,
    )


def _stored(state: State, bench: Bench) -> int:
    path = bench.fresh("equals")
    with Checkpointer(path) as saves:
        saves.save(state)
        loaded = saves.load()
    if not all(np.array_equal(array, loaded[key]) for key, array in state.items()):
        raise AssertionError("checkpoint gave back something else")
    found = stored(path)
    remove(path)
    return found
