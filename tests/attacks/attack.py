"""What an attack is, and how one is written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen

# A stream goes through each of these doors; what they are is in `doors.py`.
STREAM = ("bare", "file", "repository", "inspect", "raw")
FILE = ("bare", "inspect", "raw")
STORE = ("store",)
SCENARIO = ("scenario",)


@frozen
class Parts:
    """A stream with buffers beside it."""

    stream: bytes
    buffers: Sequence[bytes] = ()


# A stream, parts, a whole file, the objects of a store by their keys, or something to be done.
Made = bytes | Parts | Mapping[str, bytes] | Callable[[], Any]


@frozen
class Attack:
    """One hostile stream, file, repository or course of events, named in words.

    `make` makes it.  With `works`, plain pickle falls for it.  With `harmless`,
    it may also load, as inert data.  What changes the process when it is made
    is `made_apart`, where it is tried.
    """

    route: str
    name: str
    make: Callable[[], Made]
    works: bool = False
    harmless: bool = False
    made_apart: bool = False
    gone: bool = False
    doors: tuple[str, ...] = STREAM


class Route:
    """The attacks of one route, as they are added."""

    def __init__(self, name: str, doors: tuple[str, ...] = STREAM) -> None:
        self.name = name
        self.doors = doors
        self.attacks: list[Attack] = []

    def add(self, name: str, made: Made, **more: Any) -> None:
        """One more, of a stream, or of a function that makes one."""
        make = made if callable(made) else partial(_same, made)
        self.attacks.append(Attack(self.name, name, make, **{"doors": self.doors} | more))


def _same(made: Made) -> Made:
    return made
