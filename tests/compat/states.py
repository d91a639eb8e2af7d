"""What lies in the golden repositories.  It never changes: they cannot be made again.

A new kind of repository gets new states; the classes here keep their fields for ever.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum, Flag
from typing import Any, NamedTuple

import attrs
import numpy as np

from checkpoint import versioned

Array = np.ndarray[Any, Any]


def noise(size: int, seed: int = 0) -> Array:
    """Bytes that no codec makes smaller, the same on every machine and in every release."""
    return np.frombuffer(hashlib.shake_128(b"%d" % seed).digest(size), np.uint8).copy()


def slopes(seed: int = 0) -> list[Array]:
    """Arrays of 80 kB that codecs make small."""
    return [np.arange(seed, seed + 20_000, dtype="<i4"), np.linspace(0, 1, 5).repeat(2_000)]


# --- classes, one of each kind ----------------------------------------------


class Colour(Enum):
    RED = 1
    GREEN = 2


class Skill(Flag):
    SWIM = 1
    FLY = 2


class Event(NamedTuple):
    turn: int
    text: str = ""


@attrs.define
class Sword:
    length: int
    owner: Any = None
    marks: list[int] = attrs.field(factory=list, validator=attrs.validators.instance_of(list))


@attrs.define(slots=False)
class Shield:
    size: float = 1.5


@dataclass
class Potion:
    strength: int
    effects: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Position:
    x: int
    y: int


@versioned(3)
class Mob:
    def __init__(self, health: int) -> None:
        self.health = health

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class Orc(Mob):
    def __init__(self, health: int, mood: Colour) -> None:
        super().__init__(health)
        self.mood = mood


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self, left: Any, right: Any) -> None:
        self.left, self.right = left, right

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted) and (self.left, self.right) == (other.left, other.right)

    __hash__ = None  # type: ignore[assignment]


class Outer:
    @dataclass
    class Inner:
        depth: int


def function() -> None:
    """Saved by its name."""


def things() -> dict[str, Any]:
    """Instances of each kind, and what is named without one."""
    return {
        "sword": Sword(7, marks=[1, 2]),
        "shield": Shield(2.5),
        "potion": Potion(3, {"luck": 1}),
        "places": {Position(1, 2): "here", Position(2, 1): "there"},
        "orcs": [Orc(9, Colour.GREEN), Orc(1, Colour.RED)],
        "mob": Mob(4),
        "slotted": Slotted("a", [1]),
        "skills": Skill.SWIM | Skill.FLY,
        "log": [Event(1, "begins"), Event(2)],
        "inner": Outer.Inner(2),
        "named": (Sword, function, Colour, len),
        "error": KeyError("gone"),
    }


# --- graphs -----------------------------------------------------------------


def plain(step: int = 1) -> dict[str, Any]:
    """Values of the language itself, shared and in a circle."""
    shared = ["shared", step]
    state: dict[str, Any] = {
        "step": step,
        "numbers": (1, -(10**30), 0.1, float("inf"), 2 - 3j, True, None),
        "texts": ["", "naïve ☃ \U0001f409", b"\x00\xff", bytearray(b"abc")],
        "sets": [{1, 2, 3}, frozenset({"a"})],
        "shared": [shared, shared],
    }
    state["itself"] = state
    return state


def drifting(step: int) -> dict[str, Any]:
    """An array of which each step changes a few bytes."""
    array = noise(80_000)
    array[100 : 100 + step] ^= 255
    return {"step": step, "array": array}


def units(step: int) -> list[Any]:
    """Objects that refer to each other; each step puts one more in front of them."""
    found: list[dict[str, Any]] = []
    order = hashlib.shake_128(b"units").digest(8 * 800)
    for number in range(800):
        draw = int.from_bytes(order[8 * number : 8 * number + 8], "big")
        near = found[draw % number] if number % 3 == 2 else None
        found.append({"number": number, "hp": draw, "near": near})
    return [*({"new": number} for number in range(step)), *found]


def crowd() -> list[Array]:
    """More buffers than a manifest holds rows, most of them alike."""
    first, *rest = [np.zeros(8_192, "<f8") for _ in range(1_200)]
    rest[700][:] = 7
    return [first, *rest]


def same(one: Any, other: Any) -> bool:
    """Whether two states are alike: types, values, order, arrays, and what is shared."""
    return _same(one, other, {})


def _same(one: Any, other: Any, seen: dict[int, int]) -> bool:
    if id(one) in seen:
        return seen[id(one)] == id(other)
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and bool(np.array_equal(one, other))
    if isinstance(one, dict):
        seen[id(one)] = id(other)
        return list(one) == list(other) and all(_same(one[key], other[key], seen) for key in one)
    if type(one) in (list, tuple):
        seen[id(one)] = id(other)
        return len(one) == len(other) and all(
            _same(a, b, seen) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, Exception):
        return bool(one.args == other.args)
    return bool(one == other)
