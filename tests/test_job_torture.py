"""Jobs of every shape, killed at random until they are done, come to what undisturbed ones do."""

from __future__ import annotations

import collections
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import define, frozen
from torture_jobs import EVERY, PAUSE, SPAN

from checkpoint.testing import torture

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")

PROGRAM = Path(__file__).with_name("torture_jobs.py")
WORKERS = 2  # of the pools of the programs

# Items that a pool makes in SPAN seconds, and those that are under way in chunks of 0.05 s.
_IN_SPAN = WORKERS * math.ceil(SPAN / PAUSE)
_UNDER_WAY = 2 * WORKERS * math.ceil(0.05 / PAUSE)


@frozen
class Shape:
    """A program: how much it has to do, and what one kill can cost at most."""

    name: str
    size: int
    costs: dict[str, int]  # what is begun once more after a kill, by kind
    between: tuple[float, float] = (0.25, 0.6)
    results: int = 0  # of steps, that are never had twice


POOLED = {"items": _IN_SPAN + 2 * _UNDER_WAY}
SHAPES = [
    Shape("loop", 400, {"turns": EVERY}),
    Shape("timed", 700, {"turns": math.ceil(SPAN / PAUSE) + 1}),
    Shape("generator", 300, {"turns": EVERY}),
    Shape("nested", 240, {"turns": EVERY}),
    Shape("parent", 204, {"turns": EVERY, "calls": 2}),
    Shape("steps", 420, {"calls": 1}, results=420),
    Shape("map_here", 400, {"items": EVERY}),
    Shape("map_threads", 2000, POOLED),
    Shape("map_fork", 2000, POOLED),
    Shape("map_spawn", 2000, POOLED, (0.9, 1.5)),
    Shape("mix", 720, {"turns": EVERY, "calls": 1, "items": 10}, results=19),
]


@define
class Run:
    """A program and what it has noted."""

    shape: Shape
    folder: Path

    def command(self) -> list[str]:
        shape = self.shape
        given = [str(PROGRAM), shape.name, str(self.folder), str(shape.size)]
        return [sys.executable, "-W", "error", *given]

    def undisturbed(self) -> str:
        """What it prints if nobody kills it."""
        done = subprocess.run(
            self.command(),
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"TORTURE_QUICK": "1"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def begun(self) -> dict[str, int]:
        """How many of each kind were begun."""
        return {path.name: path.stat().st_size for path in self._noted() if path.name != "results"}

    def results(self) -> int:
        """How many results of steps were given; one that is given twice is the same."""
        path = self.folder / "results"
        return len(set(path.read_text().splitlines())) if path.exists() else 0

    def _noted(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.is_file()]

    def clear(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()


def tortured(shape: Shape, folder: Path, kills: int) -> str:
    """Kill a program until it was hit so often; the work that was done twice, in words."""
    run = Run(shape, folder)
    run.clear()
    expected, needed = run.undisturbed(), run.begun()
    assert needed.keys() == shape.costs.keys()
    assert run.results() == shape.results
    hits = rounds = 0
    repeated: collections.Counter[str] = collections.Counter()
    while hits < kills:
        rounds += 1
        run.clear()
        done = torture(
            run.command(),
            kills=kills - hits,
            between=shape.between,
            seed=rounds,
            timeout=60 + 5 * kills,
        )
        assert done.output == expected, f"{shape.name}: another result after {done}"
        begun = run.begun()
        for kind, cost in shape.costs.items():
            extra = begun[kind] - needed[kind]
            assert 0 <= extra <= cost * done.kills, (
                f"{shape.name}: {extra} {kind} were done again in {done.kills} kills, {done}"
            )
            repeated[kind] += extra
        assert run.results() == shape.results, f"{shape.name}: a step had two results, {done}"
        assert run.undisturbed() == expected
        assert run.begun() == begun, f"{shape.name}: a job that is done was run again"
        hits += done.kills
    told = ", ".join(
        f"{repeated[kind]} of {rounds * needed[kind]} {kind} again "
        f"({repeated[kind] / hits:.1f} a kill, at most {cost})"
        for kind, cost in shape.costs.items()
    )
    return f"{shape.name}: {hits} kills; {told}"


@pytest.fixture(scope="module")
def at_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[str]]]:
    """All shapes that are asked for under torture, as many at a time as there are processors."""
    names = [item.name for item in request.session.items]
    shapes = [shape for shape in SHAPES if any(name.endswith(f"[{shape.name}]") for name in names)]
    folder = tmp_path_factory.mktemp("torture")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = {}
        for shape in sorted(shapes, key=lambda shape: -shape.between[1]):
            (folder / shape.name).mkdir()
            futures[shape.name] = pool.submit(tortured, shape, folder / shape.name, 5)
        try:
            yield futures
        finally:
            pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_job_that_is_killed_again_and_again_gives_the_same_result_and_repeats_little(
    shape: Shape, at_once: dict[str, Future[str]]
) -> None:
    print(at_once[shape.name].result())


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_job_that_is_killed_200_times_gives_the_same_result_and_repeats_little(
    shape: Shape, tmp_path: Path
) -> None:
    print(tortured(shape, tmp_path, 200))
