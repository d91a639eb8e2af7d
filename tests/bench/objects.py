"""Millions of small objects: what everything beside pickling costs."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from measuring import Bench, Comparison, Target, remove, rounds, settle, sync_tree, timed
from report import Table, compared, size

import checkpoint
from checkpoint import Checkpointer
from checkpoint._pickling import pickle_into
from checkpoint._unpickling import unpickle

_SAVE = Target(at_most=1.25)
_SHIFT = Target(at_most=2.0)
_STOP = Target(at_most=0.10)
_LOAD = Target(at_most=1.25)
_QUIET = "pickle.loads, collector off"
World = list["Hero"]


class Faction:
    """Shared by many heroes, and knows its chief: a cycle."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.chief: Hero | None = None


class Item:
    """A small instance with slots."""

    __slots__ = ("count", "name", "weight")

    def __init__(self, name: str, weight: float, count: int) -> None:
        self.name = name
        self.weight = weight
        self.count = count


class Hero:
    """Twelve fields: numbers, text, a tuple, a list of items, a dict, two shared references."""

    def __init__(self, number: int, random: Random, faction: Faction, friend: Hero | None) -> None:
        self.number = number
        self.name = f"hero {number}"
        self.position = (random.random(), random.random())
        self.speed = random.random()
        self.health = random.randrange(1000, 1 << 20)
        self.gold = random.randrange(1000, 1 << 40)
        self.alive = random.random() < 0.9
        self.level = random.randrange(50)
        self.items = [Item(f"item {random.randrange(500)}", random.random(), 1 + number % 9)]
        self.skills = {"sword": random.random(), "bow": random.randrange(1000, 9999)}
        self.faction = faction
        self.friend = friend


def build(heroes: int) -> World:
    """A world of *heroes*, eighteen objects each; always the same."""
    random = Random(3)
    factions = [Faction(f"faction {number}") for number in range(100)]
    world: World = []
    for number in range(heroes):
        # A friend is older, and so was pickled before: the graph is wide, not deep.
        friend = world[random.randrange(number)] if number else None
        world.append(Hero(number, random, factions[number % 100], friend))
    for faction, hero in zip(factions, world, strict=False):
        faction.chief = hero
    return world


def move(world: World, random: Random) -> None:
    """Give 1 % of the heroes new floats, all that they have: 1 % of the floats of the world."""
    for hero in random.sample(world, max(1, len(world) // 100)):
        hero.position = (random.random(), random.random())
        hero.speed = random.random()
        hero.items[0].weight = random.random()
        hero.skills["sword"] = random.random()


def insert(world: World, random: Random) -> None:
    """A new hero at the front: whatever follows is numbered anew by pickle."""
    world.insert(0, Hero(len(world), random, world[0].faction, None))


def count_objects(root: Any) -> int:
    """How many distinct objects a pickler meets; names and small constants count once."""
    seen: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        obj = waiting.pop()
        if id(obj) in seen:
            continue
        seen[id(obj)] = obj
        waiting += _inside(obj)
    return len(seen)


def _inside(obj: Any) -> list[Any]:
    if isinstance(obj, list | tuple):
        return list(obj)
    if isinstance(obj, dict):
        return [*obj.keys(), *obj.values()]
    if isinstance(obj, Item):
        return [obj.name, obj.weight, obj.count]
    if isinstance(obj, Hero | Faction):
        return [vars(obj)]
    return []


def measure(bench: Bench) -> Iterator[Table]:
    """Save and load of 2.4 million small objects against bare pickle."""
    world = build(bench.size(141_000, 6_000))
    stream = pickle.dumps(world, 5)
    what = f"{count_objects(world) / 1e6:.2f} million small objects, {size(len(stream))} of pickle"
    repositories = {name: bench.fresh(f"objects-{at}") for at, name in enumerate(CHANGES)}
    yield compared(
        f"Save of {what}",
        "A list of instances with twelve fields each, with tuples, dicts, slotted instances, "
        "shared references and cycles. `pickle.dumps` stays in memory; ours is durable. The "
        "collector is on, on both sides. A keyframe is the first version of a fresh repository; "
        "the others are the next version in an open Checkpointer, after 1 % of the floats "
        "changed, or after one object was inserted at the front of the list. "
        "Below them, the parts of ours by themselves.",
        bench,
        _saves(world, repositories, bench),
    )
    yield compared(
        "Background save of them: how long the caller is stopped",
        "`save_in_background` until it returns, in an open Checkpointer with 1 % of the floats "
        "changed before each; and until its future is done. Each save ends before the next side "
        "begins.",
        bench,
        _stops(world, bench),
    )
    streams = {name: _stream(repository) for name, repository in repositories.items()}
    single = checkpoint.dumps(world)
    del world
    yield compared(
        "Load of them",
        "Every side starts with the collector on; ours turns it off while it unpickles, "
        "so that bare pickle is measured both ways. Each load opens the repository anew. Bare "
        "pickle loads a pickle of the same version, from memory.",
        bench,
        _loads(repositories, streams, single, bench),
    )
    for repository in repositories.values():
        remove(repository)


def _keep(world: World, random: Random) -> None:
    """Nothing changes: a keyframe goes to a fresh repository."""


CHANGES: dict[str, Callable[[World, Random], None]] = {
    "keyframe": _keep,
    "delta": move,
    "memo shift": insert,
}
_TARGETS = {"keyframe": _SAVE, "delta": _SAVE, "memo shift": _SHIFT}


def _saves(world: World, repositories: Mapping[str, Path], bench: Bench) -> Iterator[Comparison]:
    bare = partial(pickle.dumps, world, 5)
    for name, change in CHANGES.items():
        path = repositories[name]
        sides = [_Saving(world, change, path), bare]
        if name == "keyframe":
            sides.append(partial(_dump, world, bench))
        found = _measured(sides, bench)
        yield Comparison(f"save, {name}", "pickle.dumps", *found[:2], target=_TARGETS[name])
        if name == "keyframe":
            yield Comparison(f"save, {name}", "pickle.dump + fsync", found[0], found[2])
        if pickle.dumps(_load(path), 5) != bare():
            raise AssertionError("checkpoint gave back something else")
    alone = partial(pickle_into, world, lambda piece: None)
    found = _measured([alone, partial(checkpoint.dumps, world), bare], bench)
    yield Comparison("pickling alone, discarded", "pickle.dumps", found[0], found[2])
    yield Comparison("dumps", "pickle.dumps", found[1], found[2])


class _Saving:
    """A save of the world, as the first version or as the next one, after a change untimed."""

    def __init__(self, world: World, change: Callable[[World, Random], None], path: Path) -> None:
        self._world = world
        self._change = change
        self._path = path
        self._random = Random(4)
        if change is not _keep:
            self._saves = Checkpointer(path)
            self._saves.save(world)

    def prepare(self) -> None:
        """What goes before the clock starts."""
        if self._change is _keep:
            remove(self._path)
        self._change(self._world, self._random)

    def __call__(self) -> object:
        if self._change is _keep:
            with Checkpointer(self._path) as saves:
                return saves.save(self._world)
        return self._saves.save(self._world)


def _stops(world: World, bench: Bench) -> Iterator[Comparison]:
    bare = partial(_sample, partial(pickle.dumps, world, 5))
    random = Random(5)
    for capture in ("fork", "copy"):
        path = bench.fresh("background")
        saves = Checkpointer(path)
        saves.save(world)
        ours, peer = rounds([partial(_stop, saves, world, random, capture), bare], bench.pairs)
        if pickle.dumps(saves.load(), 5) != pickle.dumps(world, 5):
            raise AssertionError("checkpoint gave back something else")
        remove(path)
        stopped, done = zip(*ours, strict=True)
        dumps = [lap for (lap,) in peer]
        names = f'capture="{capture}"', "pickle.dumps"
        target = _STOP if capture == "fork" else None
        yield Comparison(f"{names[0]}, stopped", names[1], stopped, dumps, target=target)
        yield Comparison(f"{names[0]}, until durable", names[1], done, dumps)


def _stop(saves: Checkpointer, world: World, random: Random, capture: str) -> tuple[float, float]:
    """Seconds until the caller goes on, and until the version is durable."""
    move(world, random)
    settle()
    start = perf_counter()
    future = saves.save_in_background(world, capture=capture)
    stopped = perf_counter() - start
    future.result()
    return stopped, perf_counter() - start


def _loads(
    repositories: Mapping[str, Path], streams: Mapping[str, bytes], single: bytes, bench: Bench
) -> Iterator[Comparison]:
    for name, repository in repositories.items():
        bare = partial(pickle.loads, streams[name])
        found = _measured([partial(_load, repository), bare, partial(_uncollected, bare)], bench)
        for peer, laps in (("pickle.loads", found[1]), (_QUIET, found[2])):
            yield Comparison(f"load, {name}", peer, found[0], laps, target=_LOAD)
    bare = partial(pickle.loads, streams["keyframe"])
    alone = partial(unpickle, streams["keyframe"])
    sides = [alone, partial(checkpoint.loads, single), partial(_uncollected, bare)]
    found = _measured(sides, bench)
    yield Comparison("unpickling alone", _QUIET, found[0], found[2])
    yield Comparison("loads", _QUIET, found[1], found[2])


def _measured(sides: Sequence[Callable[[], Any]], bench: Bench) -> list[list[float]]:
    found = rounds([partial(_sample, side) for side in sides], bench.pairs)
    return [[lap for (lap,) in side] for side in found]


def _sample(function: Callable[[], Any]) -> tuple[float]:
    if isinstance(function, _Saving):
        function.prepare()
    settle()
    return (timed(function),)


def _dump(world: World, bench: Bench) -> None:
    path = bench.folder / "dumped"
    with path.open("wb") as file:
        pickle.dump(world, file, protocol=5)
    sync_tree(path)


def _stream(repository: Path) -> bytes:
    return pickle.dumps(_load(repository), 5)


def _load(repository: Path) -> Any:
    with Checkpointer(repository) as saves:
        return saves.load()


def _uncollected(function: Callable[[], Any]) -> Any:
    gc.disable()
    try:
        return function()
    finally:
        gc.enable()
