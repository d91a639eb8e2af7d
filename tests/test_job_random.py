"""Random numbers of a job: each turn draws what it draws undisturbed, in whatever process."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import checkpoint
from checkpoint import Job, MemoryStore


class Killed(BaseException):
    """The program dies here."""


class Moments:
    """Counts what is done, and kills once, at a moment."""

    def __init__(self, kill: int) -> None:
        self.left = kill

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def draw() -> list[float]:
    """A number of each kind; `gauss` keeps every second one back for the next call."""
    return [random.random(), random.gauss(0, 1), *np.random.standard_normal(1).tolist()]


# --- jobs that draw, wherever a job can ---------------------------------------

at = Moments(0)  # what kills, and where


def loop(*, job: Job) -> Any:
    s = job.state(drawn=draw)
    for _ in job.loop(range(5)):
        s.drawn += draw()
        at()
    return s.drawn, draw()


def before(*, job: Job) -> Any:
    """What comes before a loop draws again on a resume, and must draw the same."""
    order = list(range(5))
    random.shuffle(order)
    s = job.state(drawn=list)
    for n in job.loop(order):
        scale = random.random()
        for k in job.loop(np.random.permutation(3).tolist()):
            s.drawn.append([n, k, scale, draw()])
            at()
        more = draw()
        for _ in job.loop(range(2)):
            at()
            s.drawn.append([more, draw()])
    last = draw()
    for _ in job.loop(range(2)):
        at()
        s.drawn.append([last, draw()])
    return s.drawn


class Shuffled:
    """Has another order each time that it is looped over, as a data loader has."""

    def __iter__(self) -> Iterator[int]:
        return iter(random.sample(range(4), 4))


def shuffled(*, job: Job) -> Any:
    s = job.state(drawn=list)
    items = Shuffled()
    for _ in job.loop(range(3)):
        for n in job.loop(items):
            at()
            s.drawn.append([n, draw()])
    return s.drawn


def built(*, job: Job) -> Any:
    """What builds the state draws once, and what follows it draws in every attempt."""
    s = job.state(model=draw, drawn=list)
    order = random.sample(range(5), 5)
    more = job.state(head=draw)
    scale = draw()
    for n in job.loop(order):
        at()
        s.drawn.append([n, scale, draw()])
    return s.drawn, s.model, more.head


def built_for(*, job: Job) -> Any:
    s = job.state(model=draw, drawn=list)
    for n in job.loop(Shuffled()):
        at()
        s.drawn.append([n, draw()])
    return s.drawn, s.model


def walk() -> Iterator[float]:
    value = 0.0
    for _ in range(6):
        value += 1
        yield value * random.random()


def made_on_the_way(*, job: Job) -> Any:
    """Items that are drawn when they are asked for, between what the body draws."""
    s = job.state(drawn=list)
    for value in job.loop(walk()):
        s.drawn.append([value, draw()])
        at()
    return s.drawn


def left(*, job: Job) -> Any:
    s = job.state(drawn=list)
    for n in job.loop(range(4)):
        for k in job.loop(range(4)):
            at()
            s.drawn.append(draw())
            if k == n:
                break
        s.drawn.append(draw())
    at()
    s.end = draw()
    at()
    return s.drawn, s.end


def generator(state: Any = None) -> Generator[Any, None, Any]:
    s = state or {"n": 0, "drawn": draw()}
    while s["n"] < 5:
        s["n"] += 1
        s["drawn"] += draw()
        yield s
        at()
    return s["drawn"], draw()


def one(number: int) -> Any:
    at()
    return [number, draw()]


def steps(*, job: Job) -> Any:
    s = job.state(drawn=list)
    first = [job.step(one, 0), draw(), job.step(one, 1)]
    for n in job.loop(range(3)):
        got = job.step(one, n)
        between = draw()
        s.drawn.append([got, between, job.step(abs, -1), draw()])
        at()
    return first, s.drawn, draw()


def maps(*, job: Job) -> Any:
    s = job.state(drawn=list)
    first: Any = job.map(one, range(4))
    middle = draw()
    for _ in job.loop(range(2)):
        got: Any = job.map(one, range(2))
        s.drawn.append([got, draw()])
        at()
    return first, middle, s.drawn


@checkpoint.resumable(every=1, max_attempts=1000)
def child(turns: int, *, job: Job) -> Any:
    s = job.state(drawn=draw)
    for _ in job.loop(range(turns)):
        s.drawn += draw()
        at()
    return s.drawn, draw()


@checkpoint.resumable(every=1, max_attempts=1000)
def leaf() -> Any:
    at()
    return draw()


def jobs_in_jobs(*, job: Job) -> Any:
    s = job.state(drawn=list)
    first = [leaf(), draw(), child(2)]
    for n in job.loop(range(2)):
        s.drawn.append([child(n + 1), draw(), leaf(), leaf()])
        at()
    return first, s.drawn, draw()


SHAPES: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        loop,
        before,
        shuffled,
        built,
        built_for,
        made_on_the_way,
        left,
        generator,
        steps,
        maps,
        jobs_in_jobs,
    )
}


def attempt(shape: str, store: Any, kill: int, every: int, seed: int) -> Any:
    """Run a job in what could be a new process; None if it was killed."""
    at.left = kill
    random.seed(seed)
    np.random.seed(seed)
    made = checkpoint.resumable(store=store, name=shape, every=every, max_attempts=1000)
    try:
        return json.loads(json.dumps(made(SHAPES[shape])()))
    except Killed:
        return None


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Whatever a test does to the generators of all is undone."""
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


@pytest.mark.parametrize("every", [1, 3, 1000])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_resume_at_any_moment_draws_what_an_undisturbed_run_does(shape: str, every: int) -> None:
    expected = attempt(shape, MemoryStore(), 0, every, 1)
    assert expected is not None
    kill = 0
    while True:
        kill += 1
        store = MemoryStore()
        if attempt(shape, store, kill, every, 1) is not None:
            break
        # The program that goes on has drawn other numbers before it came here.
        assert attempt(shape, store, 0, every, 2) == expected, f"killed at moment {kill}"
    assert kill > 4


@pytest.mark.parametrize("shape", SHAPES)
def test_one_that_is_killed_all_the_time_does_so_too(shape: str) -> None:
    expected = attempt(shape, MemoryStore(), 0, 1, 1)
    store, result, seed = MemoryStore(), None, 1
    while result is None:
        result = attempt(shape, store, 3, 1, seed)
        seed += 1
        assert seed < 200
    assert result == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_so_it_is_in_another_process(shape: str, tmp_path: Path) -> None:
    # The name of the module is part of those of what it calls.
    program = "import sys, test_job_random as t; t.main(*sys.argv[1:])"

    def run(folder: str, kill: int, seed: int) -> Any:
        arguments = [shape, str(tmp_path / folder), str(kill), str(seed)]
        environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    expected = run("one", 0, 1)
    assert run("two", 4, 1) is None
    assert run("two", 0, 2) == expected


def main(shape: str, store: str, kill: str, seed: str) -> None:
    """One attempt; prints its result."""
    os.environ["CHECKPOINT_STORE"] = store
    print(json.dumps(attempt(shape, store, int(kill), 1, int(seed))))
