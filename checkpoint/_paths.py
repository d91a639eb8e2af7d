"""The path to an object in a graph: steps from its root, shown as Python source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from types import MethodType, NoneType
from typing import Any

# More pieces of a path than this are not for reading.
READABLE = 40


class Place(Enum):
    """Where a child stands in its parent."""

    ROOT = "the graph itself"
    ITEM = "an item, under a key or an index"
    KEY = "the key of an item"
    ELEMENT = "an element of a set"
    STATE = "what `__getstate__` gave, or the third part of a reduction"
    ARGS = "the arguments that rebuild the parent; the label says how many were left out"
    PART = "another part of a reduction; the label is its text"
    NAME = "the module or the qualified name of a global"
    PERSISTENT = "a persistent id"


Step = tuple[Any, Place, Any]


def qualified_name(obj: Any) -> str:
    """The name under which a class or function is looked up in its module."""
    name = getattr(obj, "__qualname__", None)
    return obj.__name__ if name is None else name  # type: ignore[no-any-return]


def rendered(steps: list[Step]) -> str:
    """The path that *steps* make, from `state` on; the middle of a very long one is left out."""
    pieces, at = [], 0
    while at < len(steps):
        piece, used = _piece(steps[at : at + 4])
        pieces.append(piece)
        at += used
    pieces = [piece for piece in pieces if piece]
    if len(pieces) > READABLE:
        half = READABLE // 2
        pieces[half:-half] = [f" … {len(pieces) - READABLE:,} more … "]
    return "state" + "".join(pieces)


def _piece(steps: list[Step]) -> tuple[str, int]:
    """The text for the first step, or for the first few, and how many they are."""
    _, place, label = steps[0]
    if place is Place.STATE:
        return _attribute(label, steps) or (".__reduce__()[2]", 1)
    if place is Place.ARGS:
        owner, left_out = label
        return _attribute(owner, steps) or _argument(owner, left_out, steps)
    if place is Place.ITEM:
        return f"[{_shown(label)}]", 1
    if place is Place.KEY:
        return f".<key {_shown(label)}>", 1
    if place is Place.ELEMENT:
        return f".<element {_shown(label)}>", 1
    return (label if place is Place.PART else ""), 1


def _attribute(owner: Any, steps: list[Step]) -> tuple[str, int] | None:
    """`.name`, where one of the next steps leads to an attribute of *owner*."""
    for used, (child, place, label) in enumerate(steps[1:], 2):
        if place is not Place.ITEM:
            return None
        if isinstance(label, str) and steps[0][1] is Place.STATE:
            return (f".{label}", used) if label.isidentifier() else None
        name = next((n for n in _names(owner) if _holds(owner, n, child)), None)
        if name is not None:
            return f".{name}", used
    return None


def _holds(owner: Any, name: str, child: Any) -> bool:
    with suppress(Exception):
        return getattr(owner, name) is child
    return False


def _names(owner: Any) -> Iterator[str]:
    """The names of what *owner* holds, as far as its class declares them."""
    yield from [name for name in getattr(owner, "__dict__", ()) if isinstance(name, str)]
    kind = type(owner)
    yield from getattr(kind, "_fields", ())
    yield from getattr(kind, "__dataclass_fields__", ())
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
    if isinstance(owner, MethodType):
        yield "__self__"


def _argument(owner: Any, left_out: int, steps: list[Step]) -> tuple[str, int]:
    if len(steps) < 2:
        return ".__reduce__()[1]", 1
    index = steps[1][2]
    if isinstance(owner, BaseException) and owner.args[index : index + 1] == (steps[1][0],):
        return f".args[{index}]", 2
    return f".__reduce__()[1][{index + left_out}]", 2


def _shown(value: Any) -> str:
    """A short text for a key; only builtins are asked for theirs."""
    if type(value) is tuple and len(value) <= 4:
        inner = ", ".join(map(_shown, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if type(value) not in (str, bytes, int, float, bool, NoneType):
        return f"of type {type(value).__qualname__}"
    if isinstance(value, (str, bytes)) and len(value) > 60:
        return f"{value[:60]!r}…"
    text = repr(value)
    return text if len(text) <= 64 else text[:60] + "…"
