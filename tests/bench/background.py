"""A background save of a gigabyte of arrays: how long the caller is stopped, against a memcpy."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import arrays
import numpy as np
from measuring import Bench, Comparison, Target, remove, rounds, settle, timed
from report import Table, compared, size

from checkpoint import Checkpointer

_TARGET = Target(at_most=1.5)
State = dict[str, Any]


def measure(bench: Bench) -> Iterator[Table]:
    """Seconds until `save_in_background` returns, and until the version is durable."""
    total = bench.size(1 << 30, 64 << 20)
    state = arrays.build(total)
    sides = [
        partial(_background, state, "copy", bench),
        partial(_background, state, "fork", bench),
        partial(_copied, state, np.empty_like),
        partial(_copied, state, _mapped),
        partial(arrays.saved, state, bench),
    ]
    copied, forked, numpy, mapped, saved = rounds(sides, bench.pairs)
    peers = {"memcpy, np.empty_like": numpy, "memcpy, mmap": mapped, "save": saved}
    laps = {name: [sample[0] for sample in side] for name, side in peers.items()}
    yield compared(
        f"Background save of {size(total)} in {arrays.COUNT} arrays",
        "How long the caller is stopped by `save_in_background`, against a copy of all arrays to "
        "fresh memory (`np.empty_like`, or private anonymous `mmap`, with huge pages where the "
        "system has them) and `np.copyto`. First is into a fresh repository; second is the next "
        "version in the same open Checkpointer, 3 arrays changed. Durable is when the future is "
        "done, with the caller idle, against a `save` into a fresh repository. Each round "
        "measures every side once.",
        bench,
        _comparisons({"copy": copied, "fork": forked}, laps),
    )


def _comparisons(
    ours: dict[str, list[Sequence[float]]], peers: dict[str, list[float]]
) -> Iterator[Comparison]:
    numpy, mapped, saved = peers
    for capture, samples in ours.items():
        first, durable, second = zip(*samples, strict=True)
        target = _TARGET if capture == "copy" else None
        name = f'capture="{capture}"'
        yield Comparison(f"{name}, first", numpy, first, peers[numpy], target=target)
        yield Comparison(f"{name}, first", mapped, first, peers[mapped], target=target)
        yield Comparison(f"{name}, second", numpy, second, peers[numpy], target=target)
        yield Comparison(f"{name}, durable", saved, durable, peers[saved])


def _background(state: State, capture: str, bench: Bench) -> Sequence[float]:
    """Seconds of the first call, until it is durable, and of the second call."""
    path = bench.fresh("background")
    with Checkpointer(path) as saves:
        settle()
        start = perf_counter()
        future = saves.save_in_background(state, capture=capture)
        first = perf_counter() - start
        future.result()
        durable = perf_counter() - start
        for key in ("layer.05", "layer.25", "layer.45"):
            state[key] += 1
        settle()
        start = perf_counter()
        future = saves.save_in_background(state, capture=capture)
        second = perf_counter() - start
        future.result()
        if not arrays.same(state, saves.load()):
            raise AssertionError("checkpoint gave back something else")
    remove(path)
    return first, durable, second


def _copied(state: State, fresh: Callable[[Any], Any]) -> Sequence[float]:
    def copy() -> list[Any]:
        copies = []
        for array in state.values():
            copies.append(fresh(array))
            np.copyto(copies[-1], array)
        return copies

    settle()
    return (timed(copy),)


def _mapped(array: Any) -> Any:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS if hasattr(mmap, "MAP_PRIVATE") else 0
    memory = mmap.mmap(-1, array.nbytes, **({"flags": flags} if flags else {}))
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, array.dtype).reshape(array.shape)
