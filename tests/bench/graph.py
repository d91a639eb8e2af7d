"""A hundred versions of a game's world: bytes in all, and the time of each save and load.

The peer is `pickle.dumps` and zstd level 3 of each version by itself.
"""

from __future__ import annotations

import gc
import marshal
import pickle
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import zstandard
from attrs import define, frozen
from measuring import Bench, Comparison, Target, remove, rounds, stored, timed
from report import Table, compared, size

from checkpoint import Checkpointer

_EVERY = 10  # of the versions are loaded again


class Team:
    """Shared by many units."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.gold = 0


class Kind:
    """What a unit is; shared, too."""

    def __init__(self, name: str, cost: int) -> None:
        self.name = name
        self.cost = cost


class Unit:
    """A unit of a game, as people write it: ten fields, an ordinary `__dict__`."""

    def __init__(self, number: int, random: Random, team: Team, kind: Kind) -> None:
        self.name = f"u{number}"
        self.hp = random.randrange(1000, 30_000)
        self.x = random.random()
        self.y = random.random()
        self.pos = (random.randrange(256), random.randrange(256))
        self.team = team
        self.kind = kind
        self.friends: list[Unit] = []
        self.inventory = [f"item {random.randrange(300)}"] if number % 4 == 0 else []
        self.turns = random.randrange(1000, 50_000)


World = list[Unit]


def build(count: int) -> World:
    """A world of *count* units with cross references; always the same."""
    random = Random(7)
    teams = [Team(f"team {number}") for number in range(8)]
    kinds = [Kind(f"kind {number}", number) for number in range(30)]
    world: World = []
    for number in range(count):
        unit = Unit(number, random, random.choice(teams), random.choice(kinds))
        if number % 2:
            # A friend is older, and so was pickled before: the graph is wide, not deep.
            unit.friends = [world[random.randrange(number)]]
        world.append(unit)
    return world


def digest(world: World) -> str:
    """A digest of all values and of who refers to whom, whatever the addresses are."""
    places = {id(unit): at for at, unit in enumerate(world)}
    teams = {id(unit.team): unit.team for unit in world}
    kinds = {id(unit.kind): unit.kind for unit in world}
    shared = {key: at for at, key in enumerate((*teams, *kinds))}
    columns = [
        [(team.name, team.gold) for team in teams.values()],
        [(kind.name, kind.cost) for kind in kinds.values()],
        [(shared[id(unit.team)], shared[id(unit.kind)]) for unit in world],
        [(unit.name, unit.hp, unit.x, unit.y, unit.pos, unit.turns) for unit in world],
        [unit.inventory for unit in world],
        [[places[id(friend)] for friend in unit.friends] for unit in world],
    ]
    # Version 0 has no references: equal values are equal bytes, whoever shares them.
    return blake2b(marshal.dumps(columns, 0)).hexdigest()


def move(units: Sequence[Unit], random: Random) -> None:
    """Some units go somewhere, and lose some health."""
    for unit in units:
        unit.x = random.random()
        unit.hp = random.randrange(1000, 30_000)


def _hot(world: World, random: Random) -> None:
    # The number of units does not change, so these are the same ones every time.
    move(Random(1).sample(world, len(world) // 100), random)


def _scattered(world: World, random: Random) -> None:
    move(random.sample(world, len(world) // 100), random)


def insert(world: World, random: Random) -> None:
    """A new unit at the front: everything after it is numbered anew by pickle."""
    world.insert(0, Unit(10**6 + len(world), random, world[0].team, world[0].kind))


def _grow(world: World, random: Random) -> None:
    middle, step = len(world) // 2, len(world) // 100
    for at in (middle - step, middle, middle + step):
        world[at].inventory.append(f"found {random.randrange(10**6)}")


def _delete(world: World, random: Random) -> None:
    doomed = set(random.sample(range(len(world)), max(1, len(world) // 1000)))
    gone = {id(world[at]) for at in doomed}
    world[:] = [unit for at, unit in enumerate(world) if at not in doomed]
    for unit in world:
        if any(id(friend) in gone for friend in unit.friends):
            unit.friends = [friend for friend in unit.friends if id(friend) not in gone]


def _count(world: World, random: Random) -> None:
    for unit in world:
        unit.turns += 1


@frozen
class Case:
    """What happens between two versions, and what share of the peer's bytes may be stored."""

    name: str
    change: Callable[[World, Random], None]
    share: int


CASES = (
    Case("1 % of the objects, always the same", _hot, 40),
    Case("1 % of the objects, others each time", _scattered, 40),
    Case("one object inserted at the front", insert, 30),
    Case("three lists in the middle grow by one", _grow, 30),
    Case("100 objects deleted", _delete, 15),
    Case("every object's counter", _count, 3),
)


@define
class Run:
    """What one case took: seconds, bytes, version by version."""

    case: Case
    saving: list[float]
    pickling: list[float]
    grown: list[int]
    packed: list[int]
    loading: list[list[float]]
    stored: int = 0
    manifest: int = 0


def measure(bench: Bench) -> Iterator[Table]:
    """Each case in a repository of its own, from the same first version."""
    units, versions = bench.size(100_000, 3_000), bench.size(100, 20)
    plain = len(pickle.dumps(build(units), 5))
    runs = [_run(case, units, versions, bench) for case in CASES]
    what = f"{versions} versions of {units:,} instances, {size(plain)} of pickle each"
    yield _bytes(what, runs, bench)
    yield compared(
        "Save of each of them",
        "A durable save against `pickle.dumps` and zstd level 3 in memory. The collector is on, "
        "on both sides. Each case has as many pairs as versions:",
        bench,
        [Comparison(run.case.name, "pickle + zstd", run.saving, run.pickling) for run in runs],
    )
    names = "zstd + pickle.loads", "the same, collector off"
    yield compared(
        f"Load of each {_EVERY}th of them",
        "Each load opens the repository anew; the peer reads from memory. Every side starts with "
        "the collector on; ours turns it off while it unpickles, so that bare pickle is measured "
        "both ways. Each version is loaded twice; a digest of the whole graph is compared with "
        "the one from before its save:",
        bench,
        [
            Comparison(run.case.name, name, run.loading[0], run.loading[at])
            for run in runs
            for at, name in enumerate(names, 1)
        ],
    )


def _bytes(what: str, runs: Sequence[Run], bench: Bench) -> Table:
    rows, samples = [], []
    for run in runs:
        case, share = run.case, sum(run.packed) / run.stored
        target = f"≤ 1/{case.share}"
        if not bench.quick:
            target += ": met" if Target(at_least=case.share).met(share) else ": missed"
        middle = statistics.median(run.grown), statistics.median(run.packed)
        rows.append([
            case.name, size(run.stored), size(sum(run.packed)), f"**1/{share:.1f}**", target,
            size(middle[0]), size(middle[1]), size(max(run.grown[1:])), size(run.manifest),
        ])  # fmt: skip
        samples.append({"case": case.name, "stored": run.stored, "grown": run.grown,
                        "packed": run.packed, "manifest": run.manifest})  # fmt: skip
    columns = ["change before each save", "stored", "pickle + zstd", "stored ÷ pickle + zstd"]
    columns += ["target", "median version", "of pickle + zstd", "largest but the first"]
    return Table(
        f"Bytes of {what}",
        "Stored is every file in the repository, manifests included. The peer is the sum of "
        "`pickle.dumps` and zstd level 3 of each version. Nothing is deleted.",
        [*columns, "largest manifest"],
        rows,
        samples,
    )


def _run(case: Case, units: int, versions: int, bench: Bench) -> Run:
    path = bench.fresh("graph")
    world, random = build(units), Random(8)
    run = Run(case, [], [], [], [], [[], [], []])
    kept: dict[int, tuple[bytes, str]] = {}
    with Checkpointer(path) as saves:
        for version in range(1, versions + 1):
            if version > 1:
                case.change(world, random)
            packed = _save(saves, world, version, run)
            size_now = stored(path)
            run.grown.append(size_now - run.stored)
            run.stored = size_now
            if version % _EVERY == 0:
                kept[version] = packed, digest(world)
    del world
    run.manifest = max(file.stat().st_size for file in path.rglob("*.json"))
    for version, (packed, expected) in kept.items():
        _load(path, version, packed, expected, run)
    remove(path)
    return run


def _save(saves: Checkpointer, world: World, version: int, run: Run) -> bytes:
    """Save and pickle the world, in turns; the pickle."""
    gc.collect()
    packed = b""
    for ours in (True, False) if version % 2 else (False, True):
        start = perf_counter()
        if ours:
            saves.save(world)
            run.saving.append(perf_counter() - start)
        else:
            packed = _packed(world)
            run.pickling.append(perf_counter() - start)
    run.packed.append(len(packed))
    return packed


def _packed(world: World) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(pickle.dumps(world, 5))


def _unpacked(packed: bytes) -> Any:
    return pickle.loads(zstandard.ZstdDecompressor().decompress(packed))


def _unpacked_quietly(packed: bytes) -> Any:
    gc.disable()
    try:
        return _unpacked(packed)
    finally:
        gc.enable()


def _opened(path: Path, version: int) -> Any:
    return Checkpointer(path).load(version=version)


def _load(path: Path, version: int, packed: bytes, expected: str, run: Run) -> None:
    """Load a version each way, twice; AssertionError unless ours is what was saved."""
    if digest(_opened(path, version)) != expected:
        raise AssertionError(f"version {version} came back as something else")
    sides = (
        partial(_opened, path, version),
        partial(_unpacked, packed),
        partial(_unpacked_quietly, packed),
    )
    found = rounds([partial(_sample, side) for side in sides], 2)
    for laps, side in zip(run.loading, found, strict=True):
        laps += [lap for (lap,) in side]


def _sample(function: Callable[[], Any]) -> tuple[float]:
    gc.collect()
    return (timed(function),)
