"""Stand-ins: what a graph holds in the place of classes and functions that are gone.

A load that must do without a class is given one made for its name.  What the
unpickler does to it is kept as it came: how each instance was made, its state,
its items.  So it can be read, and saved again as what it was; it does nothing
else.  Only the load that made a stand-in fills it; after that nothing does.
"""

from __future__ import annotations

import copy
import copyreg
import operator
import pickle
import sys
import threading
from collections.abc import Mapping
from functools import partial
from itertools import chain, islice
from pathlib import Path
from reprlib import Repr
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from attrs import NOTHING, evolve

from checkpoint._model import Global, Shape
from checkpoint._recording import Made, Recorded, Recording, current
from checkpoint.errors import MigrationError

_SHOWN = 6  # fields or arguments in a repr

# Files with the code that asks things of a graph in the name of its stream.
_HERE = Path(__file__)
_UNPICKLERS = {str(_HERE.with_name("_unpickling.py")), str(pickle.__file__)}

# Callables that make an instance from a class without calling it.
_RECONSTRUCTORS = {
    ("copyreg", "_reconstructor"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "_reconstruct"),
}


class StandInType(type):
    """The type of the stand-ins for classes and functions themselves."""

    # As the newest load names it.
    __standin_name__: Global | tuple[type, str]
    # Whether the newest load that named it was of a stranger's file.
    __standin_foreign__: bool

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            _refuse(cls, "call it")
        return _made(cls, cls, args)

    def __getitem__(cls, key: Any) -> Any:
        load = current.get()
        if load is None or not _unpickler_asks():
            _refuse(cls, "take an item of it")
        return _made(cls, operator.getitem, (cls, key))

    def __iter__(cls) -> Any:
        _refuse(cls, "iterate over it")

    def __getattr__(cls, name: str) -> Any:
        load = current.get()
        if load is not None and not _is_special(name) and _unpickler_asks():
            gone = Global(cls.__module__, f"{cls.__qualname__}.{name}")
            return _named(load, gone, (cls, name))
        raise AttributeError(f"{cls!r} has no attribute {name!r}{_advice(cls)}")

    def __setattr__(cls, name: str, value: Any) -> None:
        _refuse(cls, f"set {name} on it")

    def __delattr__(cls, name: str) -> None:
        _refuse(cls, f"delete {name} on it")

    def __repr__(cls) -> str:
        if cls is StandIn:
            return "<class 'checkpoint.StandIn'>"
        return f"<stand-in for {cls.__module__}:{cls.__qualname__}>"


class StandIn(Recorded, metaclass=StandInType):
    """An inert object in the place of one whose class is gone.

    Its fields can be read as attributes, and `__standin__` says how it was made
    and what else it holds.  Saved again it is what it was.  All else that is
    asked of it raises `MigrationError`.
    """

    __module__ = "checkpoint"
    __slots__ = ()

    def __init_subclass__(cls, *, gone: bool = False) -> None:
        if not gone:
            _refuse(cls.__mro__[1], "derive from it")

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return _made(cls, None, args, kwargs)

    def __setstate__(self, state: Any) -> None:
        _opened(self, "set its state").state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        _opened(self, "set an item of it").entries.append((key, value))

    def __getattr__(self, name: str) -> Any:
        if _is_special(name):
            raise AttributeError(f"{type(self)!r} has no attribute {name!r}")
        made = self.__standin__
        if made.load.open and _unpickler_asks():
            return _attribute(self, name)
        fields = _fields(self)
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self)!r} has no field {name!r}{_advice(type(self))}")

    def __call__(self, *args: Any) -> Any:
        made = _opened(self, "call it")
        if made.make is getattr and made.args[1] in ("extend", "append"):
            more = args[0] if made.args[1] == "extend" else args
            return _opened(made.args[0], "add items to it").items.extend(more)
        return _made(type(self), self, args)

    def __setattr__(self, name: str, value: Any) -> None:
        _refuse(type(self), f"set {name} on it")

    def __delattr__(self, name: str) -> None:
        _refuse(type(self), f"delete {name} on it")

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *filter(str.isidentifier, map(str, _fields(self)))]

    def __repr__(self) -> str:
        made, fields = self.__standin__, _fields(self)
        told = () if fields else made.args
        texts = chain(
            map(_short, islice(told, _SHOWN)),
            (f"{name}={_short(value)}" for name, value in islice(fields.items(), _SHOWN)),
            ["…"] * (len(told) + len(fields) > _SHOWN),
        )
        return f"{repr(type(self))[:-1]}: {', '.join(texts)}".removesuffix(": ") + ">"

    def __copy__(self) -> Any:
        new = _blank(type(self))
        _made_of.__set__(new, self.__standin__.copied(copy.copy))
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        new = memo[id(self)] = _blank(type(self))
        _made_of.__set__(new, self.__standin__.copied(partial(copy.deepcopy, memo=memo)))
        return new

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        made, cls = self.__standin__, type(self)
        way: tuple[Any, Any] = (copyreg.__newobj__, (cls, *made.args))  # type: ignore[attr-defined]
        if made.make is not None:
            way = made.make, made.args
        elif made.kwargs:
            way = copyreg.__newobj_ex__, (cls, made.args, made.kwargs)  # type: ignore[attr-defined]
        state = None if made.state is NOTHING else made.state
        items = iter(made.items) if made.items else None
        entries = iter(made.entries) if made.entries else None
        return *way, state, items, entries, made.setter


_made_of: Any = vars(Recorded)["__standin__"]


def is_stand_in(obj: Any) -> bool:
    """Whether *obj* is a stand-in, for an instance or for a class or function itself."""
    return issubclass(type(obj), StandIn | StandInType)


def recording(foreign: bool = False) -> Recording:
    """A `with` block around one load, in which `stand_in` may be used."""
    return Recording(foreign)


def stand_in(
    module: str, qualname: str, shape: Shape | None = None, origin: str | None = None
) -> StandInType:
    """The stand-in for a class or function: one for each name in a process.

    *shape* and *origin* are those of the type table of what is loaded; within
    `recording()` they are kept for what that load makes.
    """
    gone = Global(module, qualname, origin, shape)
    return _named(current.get(), gone, gone)


def reconstructing(module: str, qualname: str, found: Any) -> Any:
    """*found*, or what does the same and can take a stand-in.

    For callables, of protocols 0 and 1 and of numpy, that make an instance of
    the class they are given without calling it.
    """
    if (module, qualname) not in _RECONSTRUCTORS:
        return found

    def reconstruct(cls: Any, *args: Any) -> Any:
        if not isinstance(cls, StandInType):
            return found(cls, *args)
        return _made(cls, found, (cls, *args))

    return reconstruct


class Naming:
    """How the stand-ins of one graph are written: under the names that their load saw.

    A name may be one string with another in the graph, and then the stream says
    so; only the string that the load saw is that one.
    """

    def __init__(self) -> None:
        self._globals: dict[type, Global] = {}
        self._load: Recording | None = None
        self._shapes: dict[type, Shape | None] = {}
        self._called: set[int] = set()
        self.foreign = False  # whether one of them came out of a stranger's file

    def way(self, obj: Any) -> Any:
        """What `reducer_override` gives for *obj*, or the global as which it is to be written."""
        if isinstance(obj, StandIn):
            self._load = self._load or obj.__standin__.load
            self.foreign = self.foreign or obj.__standin__.load.foreign
            cls, shape = type(obj), _shape(obj)
            _check(cls, shape, self._shapes.get(cls))
            self._shapes[cls] = shape or self._shapes.get(cls)
            return self._reduced(obj)
        # A class that an own load has named is own, whoever else names it.
        named = self._load is not None and obj in self._load.names
        self.foreign = self.foreign or (obj.__standin_foreign__ and not named)
        name = self._name(obj)
        if isinstance(name, tuple):
            return getattr, name
        self._globals[obj] = name
        return name

    def with_globals(self, found: dict[tuple[str, str], Global]) -> dict[tuple[str, str], Global]:
        """*found*, and the globals that were written for stand-ins."""
        every = dict(found)
        for cls, name in self._globals.items():
            key = name.module, name.qualname
            shape = self._shapes.get(cls, name.shape)
            if key in found:
                _check(cls, shape, found[key].shape)
                shape = found[key].shape or shape
            every[key] = evolve(name, shape=shape)
        return every

    def _reduced(self, obj: StandIn) -> tuple[Any, ...]:
        make, args, *rest = obj.__reduce_ex__(5)
        if args and obj.__standin__.make is not None:
            if id(obj) in self._called:  # Its arguments lead back to it, and were made anew.
                args = (*args,)
            self._called.add(id(obj))
        return make, args, *rest

    def _name(self, cls: StandInType) -> Global | tuple[type, str]:
        known = self._load.names if self._load else {}
        return known.get(cls) or cls.__standin_name__


def _check(cls: type, shape: Shape | None, other: Shape | None) -> None:
    """One type table has one shape for a class, and its instances must all have that."""
    if shape is other or shape is None or other is None:
        return
    if shape.kind == "plain":  # Which fields were seen says nothing of others.
        shape, other = (evolve(each, fields=(), sampled=False) for each in (shape, other))
    if shape != other:
        raise MigrationError(
            f"there are instances of {cls.__module__}:{cls.__qualname__} of two versions in one "
            "graph, and one of them are stand-ins; save them apart, or load both with the class"
        )


_classes: WeakValueDictionary[tuple[str, str], StandInType] = WeakValueDictionary()
_lock = threading.Lock()


def _named(load: Recording | None, gone: Global, name: Global | tuple[type, str]) -> StandInType:
    """The stand-in for *gone*, which *load* calls by *name*."""
    with _lock:
        found = _classes.get((gone.module, gone.qualname))
        if found is None:
            found = _classes[gone.module, gone.qualname] = _new_class(gone)
    type.__setattr__(found, "__standin_name__", name)
    if load is not None:
        type.__setattr__(found, "__standin_foreign__", load.foreign)
    if load is not None:
        load.names[found] = name
    return found


def _new_class(gone: Global) -> StandInType:
    names: dict[str, Any] = {"__module__": gone.module, "__qualname__": gone.qualname}
    names |= {"__slots__": (), "__standin_foreign__": False}
    try:
        return StandInType(gone.qualname.rpartition(".")[2], (StandIn,), names, gone=True)
    except (ValueError, UnicodeError) as error:
        raise MigrationError(f"no class can be named {str(gone)!r}: {error}") from error


def _attribute(owner: StandIn, name: str) -> Any:
    """What *owner* has under *name*, a bound method of its class as a rule."""
    cls = type(owner)
    gone = Global(cls.__module__, f"{cls.__qualname__}.{name}")
    return _made(_named(None, gone, gone), getattr, (owner, name))


def _blank(cls: Any) -> Any:
    return object.__new__(cls)


def _made(cls: Any, make: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
    load = current.get()
    if cls is StandIn or load is None:
        _refuse(cls, "make an instance of it")
    obj = _blank(cls)
    _made_of.__set__(obj, Made(load, make, args, kwargs or {}))
    load.called(obj, make, args)
    return obj


def _shape(obj: StandIn) -> Shape | None:
    name = obj.__standin__.load.names.get(type(obj))
    return name.shape if isinstance(name, Global) else None


def _fields(obj: StandIn) -> Mapping[str, Any]:
    return obj.__standin__.fields(_shape(obj))


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _unpickler_asks() -> bool:
    """Whether an unpickler uses the function that asks this, and not code of the graph.

    What code asks is whether there is such a thing; a stream says that there is.
    """
    return sys._getframe(2).f_code.co_filename in _UNPICKLERS


class _Short(Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2

    def repr_instance(self, x: Any, level: int) -> str:
        if isinstance(x, StandIn):
            return repr(type(x))
        return super().repr_instance(x, level)


_short = _Short().repr


# --- what a stand-in does not do ---------------------------------------------


def _opened(obj: StandIn, what: str) -> Made:
    if not obj.__standin__.load.open:
        _refuse(type(obj), what)
    return obj.__standin__


def _advice(cls: type) -> str:
    if cls is StandIn:
        return "; only a load makes stand-ins"
    name = f"{cls.__module__}:{cls.__qualname__}"
    return (
        f": {name} is gone, and this only stands for it; make it importable, "
        f"or checkpoint.rename({name!r}, 'module:Class'), and load again"
    )


def _refuse(cls: type, what: str) -> NoReturn:
    raise MigrationError(f"cannot {what}{_advice(cls)}")


def _refusing(name: str) -> Any:
    def refuse(self: Any, *_: Any) -> NoReturn:
        _refuse(type(self), f"use {name}() on it")

    return refuse


def _operating(name: str, function: Any, swapped: bool) -> Any:
    """An operator that a stream may use, as some reducers do, and nobody else."""

    def operate(self: Any, *others: Any) -> Any:
        if self.__standin__.load.open and _unpickler_asks():
            return _made(type(self), function, (*others, self) if swapped else (self, *others))
        _refuse(type(self), f"use {name} on it")

    return operate


def _make_inert() -> None:
    for name in _SILENT.split():
        type.__setattr__(StandIn, f"__{name}__", _refusing(name))
    for name in _OPERATORS.split():
        function = getattr(operator, f"__{name}__")
        type.__setattr__(StandIn, f"__{name}__", _operating(name, function, False))
        if name in _BINARY.split():
            type.__setattr__(StandIn, f"__r{name}__", _operating(name, function, True))


_SILENT = "bool len iter next contains reversed delitem enter exit int float complex index"
_BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"
_OPERATORS = f"{_BINARY} getitem lt le gt ge neg pos abs invert"
_make_inert()
