"""Loads into a program that has changed, and into one that only might have."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from attrs import frozen
from measuring import Bench, Comparison, Target, pairs, settle, timed
from report import Table, compared

from checkpoint import Checkpointer, MemoryStore, Migrations

_UNNEEDED = 1_000
_NAME = "evolving_game"
_TARGET = Target(at_most=4)


@frozen
class Change:
    """A class before and after, and what is registered for it."""

    name: str
    before: str
    after: str
    register: Callable[[Migrations], object] = lambda migrations: None
    target: Target | None = _TARGET


def _upgrade(migrations: Migrations) -> None:
    def upgrade(state: dict[str, Any]) -> dict[str, Any]:
        state["health"] = state.pop("hp")
        return state

    migrations.upgrade(f"{_NAME}:Orc", 1)(upgrade)


_FIELDS = "hp: int\n    power: int = 2\n    name: str = 'orc'\n    at: tuple = (0, 1)"
_PLAIN = (
    "class Orc:\n    def __init__(self, n):\n"
    "        self.hp, self.power, self.name, self.at = n, 2, 'orc', (n, 1)"
)
_ATTRS, _DATA = (
    f"@attrs.define\nclass Orc:\n    {_FIELDS}",
    f"@dataclass\nclass Orc:\n    {_FIELDS}",
)
_TUPLE = "class Orc(NamedTuple):\n    hp: int\n    power: int = 2"

CHANGES = (
    Change("plain class, a state upgrade", _PLAIN, "class Orc: pass", _upgrade),
    Change("plain class, a field renamed", _PLAIN, "class Orc: pass",
           lambda m: m.rename_fields(f"{_NAME}:Orc", 1, hp="health")),
    Change("attrs, a field with a default added", _ATTRS,
           _ATTRS + "\n    bag: list = attrs.Factory(list)"),
    Change("dataclass, a field with a default added", _DATA,
           _DATA + "\n    bag: list = field(default_factory=list)"),
    Change("named tuple, a field inserted first", _TUPLE,
           "class Orc(NamedTuple):\n    new: int = 0\n    hp: int = 0\n    power: int = 2"),
    Change("attrs, the class is also a value", _ATTRS,
           _ATTRS + "\n    bag: list = attrs.Factory(list)\nalso = Orc", target=None),
)  # fmt: skip


def measure(bench: Bench) -> Iterator[Table]:
    """What a registry costs that is not needed, and what one costs that is."""
    count = bench.size(100_000, 5_000)
    yield _unneeded(count, bench)
    found = [_compared(change, count, bench) for change in CHANGES]
    yield compared(
        f"Load of {count:,} instances of a class that changed",
        "The peer is the load of the same snapshot into the classes that saved it. Where the "
        "class stands in the graph as a value, too, pickle's unpickler in Python builds it.",
        bench,
        found,
    )


def _module(source: str) -> ModuleType:
    module = ModuleType(_NAME)
    sys.modules[_NAME] = module
    head = "import attrs\nfrom dataclasses import dataclass, field\nfrom typing import NamedTuple\n"
    exec(head + source, module.__dict__)
    return module


def _saved(change: Change, count: int) -> MemoryStore:
    module, store = _module(change.before), MemoryStore()
    values = [module.Orc] if change.after.endswith("also = Orc") else []
    Checkpointer(store).save(values + [module.Orc(n) for n in range(count)])
    return store


def _load(store: MemoryStore, migrations: Migrations) -> float:
    saves = Checkpointer(store, migrations=migrations, schema="off")
    settle()
    return timed(saves.load)


def _unneeded(count: int, bench: Bench) -> Table:
    store = _saved(CHANGES[0], count)
    empty, full = Migrations(), Migrations()
    for number in range(_UNNEEDED):
        full.rename(f"other.place{number}:Thing", f"other.place{number}:Object")
        full.upgrade(f"other.place{number}:Object", 1)(lambda state: state)
    ours, peer = pairs(lambda: (_load(store, full),), lambda: (_load(store, empty),), bench.pairs)
    return compared(
        f"Load of {count:,} instances with a registry that is not needed",
        f"{_UNNEEDED:,} renames and as many upgrades of other classes are registered, or none.",
        bench,
        [Comparison("1,000 renames and upgrades", "none", [s[0] for s in ours],
                    [s[0] for s in peer], target=Target(at_most=1.05))],
    )  # fmt: skip


def _compared(change: Change, count: int, bench: Bench) -> Comparison:
    store = _saved(change, count)
    migrations = Migrations()
    change.register(migrations)

    def old() -> tuple[float]:
        _module(change.before)
        return (_load(store, Migrations()),)

    def new() -> tuple[float]:
        _module(change.after)
        return (_load(store, migrations),)

    ours, peer = pairs(new, old, bench.pairs)
    return Comparison(change.name, "unchanged", [s[0] for s in ours], [s[0] for s in peer],
                      target=change.target)  # fmt: skip
