"""The second save of a large state of which little changed, against the first."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import arrays
from measuring import Bench, Comparison, remove, settle, timed
from report import Table, compared, size

from checkpoint import Checkpointer

_CHANGED = 3


def measure(bench: Bench) -> Iterator[Table]:
    """Seconds and bytes of a second save, as ratios of the first."""
    total = bench.size(1 << 30, 64 << 20)
    state = arrays.build(total)
    found = [_sample(state, number, bench) for number in range(bench.pairs)]
    stored = statistics.median(second / first for *_, first, second in found)
    second, first = ([sample[which] for sample in found] for which in (1, 0))
    yield compared(
        f"Second save of {size(total)}, {_CHANGED} of {arrays.COUNT} arrays changed",
        f"It stores {stored:.4f} of the bytes of the first ({_CHANGED / arrays.COUNT:.4f} "
        "changed). The first save goes to a fresh repository, so these pairs have one order.",
        bench,
        [Comparison("second save", "first save", second, first)],
    )


def _sample(
    state: dict[str, arrays.Any], number: int, bench: Bench
) -> tuple[float, float, int, int]:
    """Seconds of both saves, stored bytes of both."""
    path = bench.fresh("dedup")
    with Checkpointer(path) as saves:
        settle()
        first = timed(saves.save, state)
        for key in list(state)[number % 7 :: arrays.COUNT // _CHANGED][:_CHANGED]:
            state[key] += 1
        settle()
        second = timed(saves.save, state)
        stored = [snapshot.stored for snapshot in saves]
        if not arrays.same(state, saves.load()):
            raise AssertionError("checkpoint gave back something else")
    remove(path)
    return first, second, stored[0], stored[1]
