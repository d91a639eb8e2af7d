"""Millions of small objects: what everything beside pickling costs."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from measuring import Bench, Comparison, Target, pairs, remove, settle, sync_tree, timed
from report import Table, compared, size

import checkpoint
from checkpoint import Checkpointer
from checkpoint._pickling import pickle_into
from checkpoint._unpickling import unpickle

_TARGET = Target(at_most=1.4)


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


def build(heroes: int) -> list[Hero]:
    """A world of *heroes*, eighteen objects each; always the same."""
    random = Random(3)
    factions = [Faction(f"faction {number}") for number in range(100)]
    world: list[Hero] = []
    for number in range(heroes):
        # A friend is older, and so was pickled before: the graph is wide, not deep.
        friend = world[random.randrange(number)] if number else None
        world.append(Hero(number, random, factions[number % 100], friend))
    for faction, hero in zip(factions, world, strict=False):
        faction.chief = hero
    return world


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
    repository = bench.fresh("objects")
    saves = Checkpointer(repository)
    saves.save(world)
    if pickle.dumps(saves.load(), 5) != stream:
        raise AssertionError("checkpoint gave back something else")
    yield compared(
        f"Save of {what}",
        "A list of instances with twelve fields each, with tuples, dicts, slotted instances, "
        "shared references and cycles. `pickle.dumps` stays in memory; ours is durable. "
        "Below it, the parts of ours by themselves.",
        bench,
        _saves(world, bench),
    )
    single = checkpoint.dumps(world)
    del world
    yield compared(
        "Load of them",
        "Every side starts with the collector on; ours turns it off while it unpickles, "
        "so that bare pickle is measured both ways.",
        bench,
        _loads(repository, stream, single, bench),
    )
    remove(repository)


def _saves(world: list[Hero], bench: Bench) -> Iterator[Comparison]:
    bare = partial(pickle.dumps, world, 5)
    compare = partial(_compare, bench=bench)
    saving = partial(_save, world, bench)
    yield compare("save", saving, "pickle.dumps", bare, target=_TARGET)
    yield compare("save", saving, "pickle.dump + fsync", partial(_dump, world, bench))
    alone = partial(pickle_into, world, lambda piece: None)
    yield compare("pickling alone, discarded", alone, "pickle.dumps", bare)
    yield compare("dumps", partial(checkpoint.dumps, world), "pickle.dumps", bare)


def _loads(repository: Path, stream: bytes, single: bytes, bench: Bench) -> Iterator[Comparison]:
    bare = partial(pickle.loads, stream)
    compare = partial(_compare, bench=bench)
    loading = partial(_load, repository)
    yield compare("load", loading, "pickle.loads", bare, target=_TARGET)
    quiet = partial(_uncollected, bare)
    yield compare("load", loading, "pickle.loads, collector off", quiet, target=_TARGET)
    alone = partial(unpickle, stream)
    yield compare("unpickling alone", alone, "pickle.loads, collector off", quiet)
    yield compare("loads", partial(checkpoint.loads, single), "pickle.loads, collector off", quiet)


def _compare(
    ours_name: str, ours: Callable[[], Any], peer_name: str, peer: Callable[[], Any],
    *, bench: Bench, target: Target | None = None,
) -> Comparison:  # fmt: skip
    found = pairs(partial(_sample, ours, bench), partial(_sample, peer, bench), bench.pairs)
    first, second = ([sample[0] for sample in side] for side in found)
    return Comparison(ours_name, peer_name, first, second, False, target)


def _sample(function: Callable[[], Any], bench: Bench) -> tuple[float]:
    remove(bench.folder / "saved")
    settle()
    return (timed(function),)


def _save(world: list[Hero], bench: Bench) -> None:
    with Checkpointer(bench.folder / "saved") as saves:
        saves.save(world)


def _dump(world: list[Hero], bench: Bench) -> None:
    path = bench.folder / "saved"
    with path.open("wb") as file:
        pickle.dump(world, file, protocol=5)
    sync_tree(path)


def _load(repository: Path) -> Any:
    with Checkpointer(repository) as saves:
        return saves.load()


def _uncollected(function: Callable[[], Any]) -> Any:
    gc.disable()
    try:
        return function()
    finally:
        gc.enable()
