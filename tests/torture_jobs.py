"""The programs that `test_job_torture` kills: `python torture_jobs.py SHAPE FOLDER`.

Each has the shape of a job, draws random numbers, and prints what it came to,
floats bit for bit.  In FOLDER it notes each turn, call and item that it begins,
one byte each, so that what is done twice can be counted.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np

import checkpoint
from checkpoint import Job

EVERY = 5  # turns from one save to the next
SPAN = 0.05  # seconds, for those that save by time
PAUSE = 0.004  # seconds that a turn, or an item of a map, takes at least

quick = "TORTURE_QUICK" in os.environ  # Nobody kills it: it need not wait, nor save often.
again: Any = {"max_attempts": 1000, "every": 10_000 if quick else EVERY}
timely: Any = again | {"every": "1h" if quick else f"{SPAN}s"}


def note(kind: str) -> None:
    """One more of *kind* was begun; a kill right after does not undo it."""
    path = os.path.join(os.environ["TORTURE_FOLDER"], kind)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, b".")
    os.close(file)


def work(kind: str) -> None:
    note(kind)
    if not quick:
        time.sleep(PAUSE)


def draw() -> float:
    """A number from each generator; `gauss` keeps one back for the next call."""
    return random.random() + random.gauss(0, 1) + float(np.random.standard_normal())


# --- shapes -------------------------------------------------------------------


@checkpoint.resumable(**again)
def loop(turns: int, *, job: Job) -> Any:
    s = job.state(total=0.0, seen=list)
    for x in job.loop(range(turns)):
        work("turns")
        s.total += x * draw()
        s.seen.append(x)
    return s.total, s.seen == list(range(turns))


@checkpoint.resumable(**timely)
def timed(turns: int, *, job: Job) -> Any:
    s = job.state(total=0.0)
    for x in job.loop(iter(range(turns))):
        work("turns")
        s.total += x * draw()
    return s.total


@checkpoint.resumable(**again)
def generator(turns: int, state: Any = None) -> Generator[Any, None, Any]:
    s = state or {"t": 0, "v": 0.0, "array": np.zeros(100)}
    while s["t"] < turns:
        work("turns")
        s["t"] += 1
        s["v"] += draw()
        s["array"] += np.random.random(100)
        yield s
    return s["v"], float(s["array"].sum())


@checkpoint.resumable(**again)
def nested(turns: int, *, job: Job) -> Any:
    s = job.state(total=0.0, rows=list)
    for i in job.loop(range(turns // 30)):
        for j in job.loop(range(3), name="middle"):
            for k in job.loop([*"0123456789"]):
                work("turns")
                s.total += i * j * int(k) + draw()
                if k == "8" and j == 1:
                    break
        s.rows.append(s.total)
    for _ in job.loop(range(20), name="last"):
        s.total /= 1.5
    return s.total, s.rows


@checkpoint.resumable(**again)
def leaf(number: int) -> float:
    work("calls")
    return number * draw()


@checkpoint.resumable(**again)
def branch(number: int, turns: int, *, job: Job) -> Any:
    s = job.state(total=0.0)
    for _ in job.loop(range(turns)):
        work("turns")
        s.total += number * draw()
    return s.total


@checkpoint.resumable(**again)
def parent(turns: int, *, job: Job) -> Any:
    s = job.state(leaves=list, branches=list)
    for i in job.loop(range(turns // 12)):
        leaves = [leaf(i), leaf(i + 1)]
        s.leaves += leaves
        s.branches.append(branch(i, 10))
        s.branches.append(draw())
    return s.leaves, s.branches


def measured(number: int) -> Any:
    """What cannot be had twice, and a random number."""
    work("calls")
    return [number, os.urandom(8).hex(), draw()]


def steps(turns: int) -> Any:
    with checkpoint.job("steps", **again) as job:
        s = job.state(total=0.0, inside=list)
        first = [job.step(measured, number) for number in range(turns // 3)]
        told(*first)
        for i in job.loop(range(turns // 3)):
            got = [job.step(measured, i), job.step(measured, number=i)]
            told(*got)
            s.inside.append([got[0][2], got[1][2]])
            s.total += draw()
        return s.total, s.inside, [value for _, _, value in first]


def told(*results: Any) -> None:
    """Note what steps gave, so that the test sees that each had one result only."""
    path = os.path.join(os.environ["TORTURE_FOLDER"], "results")
    with open(path, "a", encoding="ascii") as file:
        file.write("".join(f"{token} {value.hex()}\n" for _, token, value in results))


def item(number: int) -> float:
    work("items")
    return number / 7


def chancy(number: int) -> float:
    return item(number) + draw()


def map_here(turns: int) -> Any:
    with checkpoint.job("here", **again) as job:
        return job.map(chancy, range(turns)), draw()


def mapped_by(executor: Callable[[], Executor], turns: int) -> Any:
    with executor() as pool, checkpoint.job("pool", **timely) as job:
        before = draw()
        parts = job.map(item, range(turns), executor=pool)
        return before, sum(parts), len(parts)  # type: ignore[arg-type]


def map_threads(turns: int) -> Any:
    return mapped_by(lambda: ThreadPoolExecutor(2), turns)


def map_fork(turns: int) -> Any:
    # Python may not fork beside threads, and the pool's own are begun after it has forked.
    context = multiprocessing.get_context("fork")
    assert threading.active_count() == 1
    return mapped_by(lambda: ProcessPoolExecutor(2, context), turns)


def map_spawn(turns: int) -> Any:
    context = multiprocessing.get_context("spawn")
    return mapped_by(lambda: ProcessPoolExecutor(2, context), turns)


@checkpoint.resumable(**again)
def walk(number: int, turns: int, state: Any = None) -> Generator[Any, None, Any]:
    s = state or [0.0, 0]
    while s[1] < turns:
        work("turns")
        s = [s[0] + number * draw(), s[1] + 1]
        yield s
    return s[0]


def mix(turns: int) -> Any:
    """All of it: loops, steps, maps, a generator and a function inside of a block."""
    with checkpoint.job("mix", key={"turns": turns}, **again) as job, ThreadPoolExecutor(2) as pool:
        s = job.state(total=0.0, rows=list)
        base = job.step(measured, -1)
        told(base)
        for i in job.loop(range(turns // 40), name="rounds"):
            got = job.step(measured, i)
            told(got)
            for j in job.loop(range(10)):
                work("turns")
                s.total += i * j * draw()
            parts: Any = job.map(item, range(10), executor=pool)
            s.rows.append([got[2], walk(i, 10), branch(i, 5), sum(parts)])
            more: Any = job.map(chancy, range(5))
            s.rows.append(more)
        for _ in job.loop(range(turns // 40)):
            work("turns")
            s.total += draw() * base[2]
        return s.total, s.rows, base[2]


if __name__ == "__main__":
    shape, folder = sys.argv[1:3]
    os.environ["TORTURE_FOLDER"] = folder
    os.environ["CHECKPOINT_STORE"] = os.path.join(folder, "store")
    random.seed(1)
    np.random.seed(2)
    result = globals()[shape](int(sys.argv[3]))
    print(json.dumps(result), flush=True)
