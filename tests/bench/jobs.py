"""What it costs that a job can go on: a turn of a loop, a step, an item of a map, the saves."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
from measuring import Bench, Comparison, Target, pairs, peak_memory, quartiles, timed
from report import Table, compared, seconds, size, verdict

import checkpoint

_TURN = Target(at_most=150e-9)
_SHARE = Target(at_most=0.03)


def measure(bench: Bench) -> Iterator[Table]:
    """A turn, a step, a map, and the share of the time that goes into saving."""
    yield _turns(bench)
    yield _steps(bench)
    yield _items(bench)
    yield _saves(bench)


# --- a turn -----------------------------------------------------------------


def _turns(bench: Bench) -> Table:
    count = bench.size(1_000_000, 50_000)
    rows, samples = [], []
    for name, every in (("default", None), ("every='60s'", "60s"), ("every=1000", 1000)):
        found = []
        for number in range(bench.pairs):
            store = checkpoint.MemoryStore()
            with _quiet(), checkpoint.job("loop", key=number, store=store, every=every) as job:
                ours = _ours(job, count)
            found.append((ours - _bare(count)) / count)
        low, middle, high = quartiles(found)
        rows.append([
            f"job.loop, {name}", seconds(middle), f"{seconds(low)}–{seconds(high)}",
            f"{seconds(min(found))}–{seconds(max(found))}",
            verdict(_TURN if every != 1000 else None, middle, bench, seconds),
        ])  # fmt: skip
        samples.append({"every": every, "samples": found})
    return Table(
        f"A turn of a loop of {count:,} turns with an empty body, over that of a bare loop",
        "The save after the first turn is not counted, the one at the end is; `every=1000` saves "
        f"1,000 times more, all to a MemoryStore. {bench.pairs} pairs.",
        ["", "a turn", "quartiles", "range", "target"],
        rows,
        samples,
    )


def _ours(job: checkpoint.Job, count: int) -> float:
    start = 0.0
    for turn in job.loop(range(count)):
        if turn == 1:
            start = perf_counter()
    return perf_counter() - start


def _bare(count: int) -> float:
    start = 0.0
    for turn in range(count):
        if turn == 1:
            start = perf_counter()
    return perf_counter() - start


# --- a step -----------------------------------------------------------------


def _steps(bench: Bench) -> Table:
    count = bench.size(200, 20)
    folder = bench.fresh("steps")
    folder.mkdir()
    database = sqlite3.connect(folder / "peer.sqlite", isolation_level=None)
    database.executescript("pragma journal_mode=wal; pragma synchronous=full;")
    database.execute("create table steps (id integer primary key, result blob)")
    with _quiet(), checkpoint.job("steps", store=folder / "ours") as job:
        job.step(str, 1)

        def ours() -> list[float]:
            return [timed(_each, lambda n: job.step(str, n), count) / count]

        def peer() -> list[float]:
            return [timed(_each, insert, count) / count]

        def insert(number: int) -> None:
            blob = pickle.dumps(str(number))
            database.execute("insert into steps (result) values (?)", (blob,))

        first, second = pairs(ours, peer, bench.pairs)
    database.close()
    found = Comparison(
        "job.step", "sqlite3, WAL, FULL", [row[0] for row in first], [row[0] for row in second]
    )
    return compared(
        "A step: a call whose result is durable before it returns",
        "The peer puts the pickled result into a table, and commits; no replay is checked.",
        bench,
        [found],
    )


def _each(call: Callable[[int], object], count: int) -> None:
    for number in range(count):
        call(number)


# --- a map ------------------------------------------------------------------


def _items(bench: Bench) -> Table:
    count = bench.size(1_000_000, 20_000)
    rows, samples = [], []
    for way in ("plain", "map", "again", "threads"):
        folder = bench.fresh("map")
        if way == "again":
            _child("map", count, folder)
        found = [_child(way, count, folder if way == "again" else bench.fresh("map"))
                 for _ in range(bench.size(3, 1))]  # fmt: skip
        took, peak = (statistics.median(column) for column in zip(*found, strict=True))
        names = {"plain": "[f(x) for x in items]", "map": "job.map(f, items)",
                 "again": "the same once more, from its journal",
                 "threads": "job.map by two threads"}  # fmt: skip
        rows.append([names[way], seconds(took), seconds(took / count), size(peak)])
        samples.append({"way": way, "samples": found})
    return Table(
        f"A map over {count:,} small items",
        "The function squares a number. Memory is resident memory at its peak, less that before; "
        "each sample is a process of its own, median of 3.",
        ["", "time", "an item", "memory"],
        rows,
        samples,
    )


def square(number: int) -> int:
    """The function of the map."""
    return number * number


def _map(way: str, count: int, folder: Path) -> None:
    items = range(count)
    if way == "plain":
        results = [square(x) for x in items]
    else:
        with _quiet(), checkpoint.job("map", store=folder) as job, contextlib.ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(2)) if way == "threads" else None
            results = job.map(square, items, executor=pool)
    assert results[-1] == (count - 1) ** 2


# --- the share of the time --------------------------------------------------


def _saves(bench: Bench) -> Table:
    span = bench.size(60, 3)
    rows, samples = [], []
    for kind in ("arrays", "objects"):
        found = [_child(kind, span, bench.fresh("share")) for _ in range(bench.size(3, 1))]
        share, count = (statistics.median(column) for column in zip(*found, strict=True))
        rows.append([_KINDS[kind], f"{count:.0f}", f"{share:.2%}",
                     verdict(_SHARE, share, bench, "{:.0%}".format)])  # fmt: skip
        samples.append({"kind": kind, "samples": found})
    return Table(
        f"The share of the time that goes into saving, in a job of {span} s, by default",
        "Every turn changes the state. The time from the first turn to the result, and in it the "
        "time in saves, the first and the last included; median of 3.",
        ["", "saves", "share", "target"],
        rows,
        samples,
    )


_KINDS = {"arrays": "256 MiB of weights, all changed by each turn", "objects": "200,000 objects"}


def work(kind: str, span: float, *, job: checkpoint.Job) -> int:
    """A real job: weights that move, or a graph that grows."""
    chance = np.random.default_rng(1)
    if kind == "arrays":
        s = job.state(weights=lambda: chance.random((64, 1 << 19), dtype=np.float64), turns=0)
    else:
        s = job.state(rows=lambda: [{"id": n, "seen": [n]} for n in range(200_000)], turns=0)
    end = perf_counter() + span
    for turn in job.loop(_until(end)):
        if kind == "arrays":
            s.weights *= 0.999
        else:
            row = s.rows[turn % len(s.rows)]
            row["seen"].append(turn)
            sleep(0.002)
        s.turns += 1
    return s.turns


def _until(end: float) -> Iterator[int]:
    turn = 0
    while perf_counter() < end:
        yield turn
        turn += 1


def _share(kind: str, span: int, folder: Path) -> tuple[float, float]:
    from checkpoint._jobs.ledger import Ledger

    saving = [0.0, 0.0]
    save = Ledger.save

    def timed_save(ledger: Ledger, *given: Any) -> Any:
        start = perf_counter()
        try:
            return save(ledger, *given)
        finally:
            saving[0] += perf_counter() - start
            saving[1] += 1

    Ledger.save = timed_save  # type: ignore[method-assign]
    start = perf_counter()
    with _quiet():
        checkpoint.resumable(work, store=folder)(kind, float(span))
    return saving[0] / (perf_counter() - start), saving[1]


# --- processes of their own -------------------------------------------------


def _child(way: str, count: int, folder: Path) -> list[float]:
    command = [sys.executable, __file__, way, str(count), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _quiet() -> contextlib.redirect_stderr[io.StringIO]:
    return contextlib.redirect_stderr(io.StringIO())


def main(way: str, count: int, folder: Path) -> None:
    """Make one sample, and print it."""
    if way in _KINDS:
        print(json.dumps(_share(way, count, folder)))
        return
    before = peak_memory()
    took = timed(_map, way, count, folder)
    print(json.dumps([took, peak_memory() - before]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
