"""The classes of the program: ordinary ones, each of which a stream may misuse."""

from __future__ import annotations

import collections
import enum
from dataclasses import dataclass
from typing import Any, NamedTuple

import attrs

from prey.canary import FIRED, Meta


class Plain:
    """A class without anything of its own."""

    door = "shut"

    def opened(self) -> str:
        """A method that may be shadowed."""
        return self.door

    class Inner:
        """A nested class."""


class Slotted:
    """A class with slots."""

    __slots__ = ("left", "right")


class Guarded:
    """A class with a property, whose setter is a canary."""

    @property
    def door(self) -> str:
        """What must not be set by a stream."""
        return "shut"

    @door.setter
    def door(self, value: Any) -> None:
        FIRED.append("Guarded.door")


class Watching:
    """A class that is told of each attribute that is set."""

    def __setattr__(self, name: str, value: Any) -> None:
        FIRED.append(f"Watching.{name}")


class Made(metaclass=Meta):
    """A class of a metaclass."""


class Hashing:
    """A class whose hash takes its time, once it has been given something to do."""

    rounds = 0

    def __hash__(self) -> int:
        total = 0
        for number in range(self.rounds):
            total += number
        return total

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass(frozen=True)
class Frozen:
    """A frozen dataclass: a key made of anything."""

    value: Any


@dataclass
class Data:
    """A dataclass."""

    value: Any = None


@attrs.frozen
class Attrs:
    """A frozen attrs class with slots."""

    value: Any


class Point(NamedTuple):
    """A named tuple."""

    x: Any
    y: Any


class Colour(enum.Enum):
    """An enum."""

    RED = 1
    BLUE = 2


class Rows(list):  # type: ignore[type-arg]
    """A list of the program."""


class Table(dict):  # type: ignore[type-arg]
    """A dict of the program."""


class Many(collections.deque):  # type: ignore[type-arg]
    """A deque of the program."""


class Adding:
    """A class with methods that the opcodes for filling look for."""

    def append(self, value: Any) -> None:
        """Not for a stream to call."""
        FIRED.append("Adding.append")

    def extend(self, values: Any) -> None:
        """Not for a stream to call."""
        FIRED.append("Adding.extend")

    def add(self, value: Any) -> None:
        """Not for a stream to call."""
        FIRED.append("Adding.add")

    def __setitem__(self, key: Any, value: Any) -> None:
        FIRED.append("Adding.__setitem__")


class Trouble(Exception):
    """An exception of the program."""


class Costly(Exception):
    """An exception whose constructor is a canary."""

    def __init__(self, *args: Any) -> None:
        FIRED.append("Costly")
        super().__init__(*args)


class Reducing:
    """A class that says how it is rebuilt, by a call that no stream may make itself."""

    def __reduce__(self) -> Any:
        return Reducing, ()

    def __init__(self) -> None:
        FIRED.append("Reducing")


def ordinary(*args: Any) -> int:
    """A function of the program, which a stream may name and not call."""
    FIRED.append("ordinary")
    return len(args)


SHARED = Plain()
