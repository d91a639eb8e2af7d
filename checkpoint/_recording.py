"""What a load does to stand-ins, kept so that a save can say it again.

The C unpickler builds the graph.  It gives the state and the items of an
instance as they are; the arguments of a call come as a tuple made anew, and the
one in the stream, which may be in the graph twice, is looked up in its memo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from typing import Any
from weakref import ref

from attrs import NOTHING

from checkpoint._model import Global, Shape
from checkpoint._shapes import told
from checkpoint.errors import MigrationError


class Recording:
    """One load that may make stand-ins; it fills them until its `with` block ends.

    What is left of a *foreign* one stays foreign.
    """

    def __init__(self, foreign: bool = False) -> None:
        self.open = False
        self.foreign = foreign
        # As this load names them: by a global, or as an attribute of another stand-in.
        self.names: dict[type, Global | tuple[type, str]] = {}
        self._calls: list[_Call] = []

    def __enter__(self) -> Recording:
        self._before: Token[Recording | None] = current.set(self)
        self.open = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.open = False
        current.reset(self._before)
        if kind is None:
            self._settle()

    def called(self, obj: Recorded, make: Any, args: tuple[Any, ...]) -> None:
        """Remember a call that made *obj*, or that set the state of its first argument."""
        if len(args) == 2 and make is not getattr:
            self._calls.append((ref(obj), make, args))

    def loaded(self, memo: Mapping[int, Any]) -> None:
        """Look up in *memo*, an unpickler's that has done its work, what the calls did not tell."""
        _find_arguments(memo)
        self._settle()

    def _settle(self) -> None:
        """Find the calls whose result was dropped: they set a state (`__reduce__` with six items).

        All else is in the unpickler's memo, which must be there still.  An object
        that its own arguments lead back to is made twice and dropped once, too;
        there the other one is alive.
        """
        calls, self._calls = self._calls, []
        alive = {_called(make, args) for obj, make, args in calls if obj() is not None}
        for obj, make, args in calls:
            if obj() is None and _called(make, args) not in alive:
                _set_state(make, *args)


current: ContextVar[Recording | None] = ContextVar("recording", default=None)

_Call = tuple[ref["Recorded"], Any, tuple[Any, Any]]


def _set_state(setter: Any, target: Any, state: Any) -> None:
    if not isinstance(target, Recorded):
        raise MigrationError(
            f"{setter!r} was to set the state of an object of type {type(target).__qualname__}, "
            "which would be lost: make it importable, or register a rename"
        )
    target.__standin__.setter, target.__standin__.state = setter, state


def _called(make: Any, args: tuple[Any, Any]) -> tuple[int, int, int]:
    return id(make), id(args[0]), id(args[1])


class Made:
    """How a stand-in was made and filled: `__standin__` of each.

    By `make(*args)`; where that is None, by `__new__(*args, **kwargs)` of its
    class.  `state` is NOTHING where it got none; `setter` the function that was
    to set it, if it was not the class.  `items` and `entries` are what it holds
    as a list and as a dict.
    """

    __slots__ = ("args", "entries", "items", "kwargs", "load", "make", "setter", "state")

    def __init__(
        self, load: Recording, make: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.load, self.make, self.args, self.kwargs = load, make, args, kwargs
        self.state: Any = NOTHING
        self.setter: Any = None
        self.items: list[Any] = []
        self.entries: list[tuple[Any, Any]] = []

    def copied(self, copied: Callable[[Any], Any]) -> Made:
        """The same with each part *copied*."""
        new = Made(self.load, copied(self.make), copied(self.args), copied(self.kwargs))
        new.state, new.setter = copied(self.state), copied(self.setter)
        new.items, new.entries = copied(self.items), copied(self.entries)
        return new

    def fields(self, shape: Shape | None) -> Mapping[str, Any]:
        """The fields by name, as far as the state, or *shape*, tells their names."""
        state = self.state
        kind = "plain" if shape is None else shape.kind
        if type(state) is dict:
            fields: Mapping[str, Any] = state
            return fields
        if shape is not None and kind in ("enum", "flag") and len(self.args) == 1:
            value = self.args[0]
            names = [name for name, text in shape.members.items() if text == told(value)]
            return {"name": names[0], "value": value} if names else {"value": value}
        if shape is not None and kind in ("namedtuple", "attrs", "dataclass"):
            values = self.args if kind == "namedtuple" else state
            if isinstance(values, list | tuple) and len(values) == len(shape.fields):
                return dict(zip(shape.fields, values, strict=True))
        if type(state) is tuple and len(state) == 2:
            both = [{} if part is None else part for part in state]
            if all(type(part) is dict for part in both):
                return {**both[0], **both[1]}
        return {}


class Recorded:
    """A stand-in, as far as a load is concerned."""

    __slots__ = ("__standin__", "__weakref__")
    __standin__: Made


def _find_arguments(memo: Mapping[int, Any]) -> None:
    """Give the stand-ins in *memo* the very tuples they were called with.

    It is in the order in which things were made, and a tuple that was
    made for a call comes just before what the call gave.
    """
    wanted: dict[tuple[int, ...], list[Made]] = {}
    before: Any = None
    for obj in memo.values():
        if isinstance(obj, Recorded) and obj.__standin__.make is not None:
            made = obj.__standin__
            if type(before) is tuple and _ids(before) == _ids(made.args):
                made.args = before
            elif made.args:
                wanted.setdefault(_ids(made.args), []).append(made)
        before = obj
    lengths = {len(ids) for ids in wanted}
    for obj in memo.values() if wanted else ():
        if type(obj) is tuple and len(obj) in lengths:
            for made in wanted.pop(_ids(obj), ()):
                made.args = obj


def _ids(items: Iterable[Any]) -> tuple[int, ...]:
    return tuple(map(id, items))
