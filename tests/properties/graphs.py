"""Random object graphs with sharing and cycles, and what makes two graphs the same."""

from __future__ import annotations

import copyreg
import math
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from attrs import define
from hypothesis import strategies as st


class Colour(Enum):
    RED = 1
    GREEN = "green"


class Node:
    """An ordinary instance; `label` is unique in its graph, so that sets can be compared."""

    def __init__(self, label: int) -> None:
        self.label = label


class Slotted:
    __slots__ = ("children", "label")

    def __init__(self, label: int) -> None:
        self.label = label


@define(eq=False)
class Attrs:
    label: int
    children: Any = None


@dataclass(eq=False)
class Data:
    label: int
    children: Any = None


class Pair(NamedTuple):
    first: Any
    second: Any


class ListKind(list[Any]):
    """A list with a state beside its items."""

    label: int


class DictKind(dict[Any, Any]):
    label: int


class Reduced:
    """Rebuilt by a function, filled by a state setter."""

    def __init__(self, label: int) -> None:
        self.label = label
        self.children: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, (self.label,), self.children, None, None, set_children


def set_children(obj: Reduced, children: Any) -> None:
    obj.children = children


class Registered:
    """Reduced by a function in `copyreg`."""

    def __init__(self, label: int) -> None:
        self.label = label
        self.children: Any = None


def reduce_registered(obj: Registered) -> tuple[Any, ...]:
    return Registered, (obj.label,), vars(obj)


copyreg.pickle(Registered, reduce_registered)  # type: ignore[arg-type]

HOLDERS = (Node, Slotted, Attrs, Data, Reduced, Registered)
LISTS = (list, ListKind, deque)
DICTS = (dict, DictKind, OrderedDict)


def atoms() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**2100), 2**2100),
        st.floats(),
        st.text(max_size=300),
        st.binary(max_size=300),
        st.complex_numbers(allow_nan=False),
        st.sampled_from([*Colour, Node, set_children, len, int, type(None), ...]),
    )


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """A graph whose objects refer to each other at random, its root included."""
    kinds = draw(st.lists(st.sampled_from(HOLDERS + LISTS + DICTS + (set,)), max_size=8))
    objects: list[Any] = [_empty(kind, label) for label, kind in enumerate(kinds)]
    values = st.one_of(atoms(), st.sampled_from(objects)) if objects else atoms()
    for size in draw(st.lists(st.integers(0, 5), max_size=4)):
        objects.append(_frozen(draw, size, draw(st.lists(values, min_size=size, max_size=size))))
        values = st.one_of(atoms(), st.sampled_from(objects))
    for obj in objects:
        _fill(obj, draw(st.lists(values, max_size=5)))
    objects.append(draw(values))
    return draw(st.one_of(st.sampled_from(objects), st.just(objects)))


def _empty(kind: type, label: int) -> Any:
    if kind in HOLDERS:
        return kind(label)
    made = kind()
    if kind in (ListKind, DictKind):
        made.label = label
    return made


def _frozen(draw: st.DrawFn, size: int, values: list[Any]) -> Any:
    if size == 2:
        return Pair(*values)
    if size == 3:
        return frozenset(value for value in values if _sortable(value))
    return bytearray(draw(st.binary())) if size == 5 else tuple(values)


def _fill(obj: Any, values: list[Any]) -> None:
    if isinstance(obj, HOLDERS):
        obj.children = values  # type: ignore[union-attr]
    elif isinstance(obj, LISTS):
        obj.extend(values)
    elif isinstance(obj, DICTS):
        obj.update((value if _sortable(value) else n, value) for n, value in enumerate(values))
    elif isinstance(obj, set):
        obj.update(value for value in values if _sortable(value))


def _sortable(value: Any) -> bool:
    """Whether it can be hashed, and told from all others when sets are compared."""
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, (int, str, bytes, Colour, Node, Slotted, Attrs, Data, Reduced))


def same_graph(first: Any, second: Any) -> bool:
    """Whether two graphs have the same types, values and order, and the same sharing."""
    partners: dict[int, int] = {}
    taken: dict[int, int] = {}
    pairs = [(first, second)]
    while pairs:
        one, other = pairs.pop()
        if type(one) is not type(other):
            return False
        if not _has_identity(one):
            if not _same_atom(one, other):
                return False
            continue
        if partners.setdefault(id(one), id(other)) != id(other):
            return False
        if taken.setdefault(id(other), id(one)) != id(one):
            return False
        if len(taken) != len(partners):
            return False
        if (id(one), "seen") in partners:
            continue
        partners[id(one), "seen"] = taken[id(other), "seen"] = 0  # type: ignore[index]
        inside, others = list(_inside(one)), list(_inside(other))
        if len(inside) != len(others):
            return False
        pairs.extend(zip(inside, others, strict=True))
    return True


def _has_identity(obj: Any) -> bool:
    if isinstance(obj, (tuple, frozenset)):
        return len(obj) > 0
    return isinstance(obj, (*HOLDERS, *LISTS, *DICTS, set, bytearray))


def _same_atom(one: Any, other: Any) -> bool:
    return bool(one is other or one == other) or (one != one and other != other)


def _inside(obj: Any) -> Iterator[Any]:
    """What an object holds, in an order that a round trip must keep."""
    if isinstance(obj, (list, tuple, deque)):
        yield from obj
    elif isinstance(obj, dict):
        for key, value in obj.items():
            yield key
            yield value
    elif isinstance(obj, (set, frozenset)):
        yield from sorted(obj, key=_order)
    elif isinstance(obj, bytearray):
        yield bytes(obj)
    if hasattr(obj, "label"):
        yield obj.label
        yield getattr(obj, "children", None)


def _order(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(getattr(value, "label", value))
