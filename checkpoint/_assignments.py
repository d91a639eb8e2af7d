"""What a class's own code says of its attributes, read from its bytecode; nothing is run.

A plain class declares no fields: its `__init__` assigns them.  `missing` finds
those that are assigned on every way through it, so that an instance without
one is an `AttributeError` to come; `knows` tells a name that the class still
uses from one that it has forgotten.  Exceptions are aside: what stands in a
`try` counts as done.
"""

from __future__ import annotations

import copyreg
import dis
from collections.abc import Collection, Iterator
from functools import cached_property
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import CodeType, FunctionType, MemberDescriptorType
from typing import Any
from weakref import WeakKeyDictionary

from attrs import frozen

_LATER = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
_SHIFTED = "LOAD_SUPER_ATTR" in dis.opmap  # from 3.12 on LOAD_ATTR loads methods too
_OVER = {"CACHE", "EXTENDED_ARG", "COPY", "NOP"}  # between an object and what is done to it
_ENDS = {"RETURN_VALUE", "RETURN_CONST"}
_ABSENT: Any = object()
_RAISES = {"RAISE_VARARGS", "RERAISE"}

_assigns: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()
_known: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()


@frozen
class _Touch:
    """What one instruction does to an attribute, and of what."""

    name: str
    stores: bool = False
    deletes: bool = False
    calls: bool = False
    owner: str = ""


def rebuilt_by_itself(cls: type) -> bool:
    """Whether *cls* says itself how its instances are rebuilt, so that its fields tell nothing."""
    base: Any = object
    reduced = cls.__reduce_ex__ is base.__reduce_ex__ and cls.__reduce__ is base.__reduce__
    return not reduced or cls in copyreg.dispatch_table


def missing(cls: type, fields: Collection[str]) -> tuple[str, ...]:
    """The names not in *fields* that every instance of *cls* gets when it is made.

    None of a class that makes up its attributes, and none that it takes care of
    when it is rebuilt: there its code cannot tell.
    """
    init = _found(cls, "__init__")
    if init is None or not tells(cls):
        return ()
    if cls not in _assigns:
        _assigns[cls] = frozenset(_may_assign(cls, init[1], set()))
    if _assigns[cls] <= set(fields):
        return ()  # The usual case, told without following every way through the code.
    names = _assigned(cls, *init, set())
    lacking = [name for name in names if name not in fields and not _is_computed(cls, name)]
    return without_cared_for(cls, lacking)


def without_cared_for(cls: type, names: Collection[str]) -> tuple[str, ...]:
    """Those of *names* that the `__getstate__` and `__setstate__` of *cls* do not speak of."""
    care = {name for function in _carers(cls) for name in _mentioned(function.__code__)}
    return () if "__init__" in care else tuple(name for name in names if name not in care)


def leaves_out(cls: type) -> bool:
    """Whether *cls* has a `__getstate__` that somebody wrote: it may save less than there is."""
    found = _found(cls, "__getstate__")
    if found is None:
        return False
    module = found[1].__globals__.get("__name__", "")
    return module.partition(".")[0] not in ("attr", "attrs", "dataclasses")


def has_default(cls: type, name: str) -> bool:
    """Whether an instance without *name* has the one of its class."""
    found = _of_class(cls, name)
    return found is not _ABSENT and not isinstance(found, MemberDescriptorType)


def knows(cls: type, name: str) -> bool:
    """Whether *cls* declares *name*, or any of its methods reads or writes it on `self`."""
    if cls not in _known:
        _known[cls] = frozenset(_names(cls))
    return name in _known[cls]


def tells(cls: type) -> bool:
    """Whether the code of *cls* says which attributes its instances have."""
    return (
        not any(_found(cls, name) for name in ("__setattr__", "__getattribute__"))
        and not hasattr(cls, "__getattr__")
        and not rebuilt_by_itself(cls)
    )


def _carers(cls: type) -> Iterator[FunctionType]:
    for name in ("__getstate__", "__setstate__"):
        found = _found(cls, name)
        if found is not None:
            yield found[1]


def _mentioned(code: CodeType) -> Iterator[str]:
    """Every attribute and every string that *code* speaks of."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _mentioned(constant)
        elif isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple | frozenset):
            yield from (one for one in constant if isinstance(one, str))


def _of_class(cls: type, name: str) -> Any:
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), _ABSENT)


def _is_computed(cls: type, name: str) -> bool:
    """Whether a property, or its like, takes what is assigned to *name*."""
    found = _of_class(cls, name)
    return hasattr(type(found), "__set__") and not isinstance(found, MemberDescriptorType)


def _found(cls: type, name: str, after: type | None = None) -> tuple[type, FunctionType] | None:
    """The Python function *name* of *cls*, or of what comes *after* a base, and its owner."""
    mro = cls.__mro__
    for base in mro[mro.index(after) + 1 if after else 0 :]:
        if name in vars(base):
            function = _unwrapped(vars(base)[name])
            return None if function is None else (base, function)
    return None


# --- one way through --------------------------------------------------------


def _assigned(
    cls: type, owner: type, function: FunctionType, done: set[CodeType]
) -> dict[str, None]:
    """What *function* assigns to its first argument, whichever way it goes; in order."""
    code = function.__code__
    if code in done or code.co_flags & _LATER or not code.co_argcount:
        return {}
    done.add(code)
    instructions = list(dis.get_instructions(code))
    touches = _touches(code, [(one.opname, one.arg or 0) for one in instructions])
    gains: dict[int, dict[str, None]] = {}
    for at, touch in touches.items():
        called = _called(cls, owner, touch, code.co_varnames[0]) if not touch.stores else None
        if touch.stores and touch.owner == code.co_varnames[0]:
            gains[at] = {touch.name: None}
        elif called is not None:
            gains[at] = _assigned(cls, *called, done)
    sure = _on_every_way(instructions, gains)
    lost = {one.name for one in touches.values() if one.deletes}
    order = dict.fromkeys(name for gain in gains.values() for name in gain)
    return {name: None for name in order if name in sure and name not in lost}


def _called(cls: type, owner: type, touch: _Touch, self: str) -> tuple[type, FunctionType] | None:
    """The method that a touch calls on the same object."""
    if touch.calls and touch.owner == self:
        return _found(cls, touch.name)
    if touch.name != "__init__":
        return None
    for base in cls.__mro__:
        if base.__name__ == touch.owner:
            return _found(base, "__init__")
    return _found(cls, "__init__", owner)


def _on_every_way(
    instructions: list[dis.Instruction], gains: dict[int, dict[str, None]]
) -> set[str]:
    """The names gained on each way from the first instruction to a return."""
    places = {one.offset: at for at, one in enumerate(instructions)}
    before: dict[int, set[str]] = {}
    results: list[set[str]] = []
    ways: list[tuple[int, set[str]]] = [(0, set())]
    while ways:
        at, names = ways.pop()
        known = before.get(at)
        if known is not None and known <= names:
            continue
        before[at] = names = names if known is None else known & names
        after = names | gains.get(at, {}).keys()
        one = instructions[at]
        if one.opname in _ENDS:
            results.append(after)
        elif one.opname not in _RAISES:
            if one.opcode in dis.hasjrel or one.opcode in dis.hasjabs:
                ways.append((places[one.argval], after))
            if not one.opname.startswith("JUMP_") and at + 1 < len(instructions):
                ways.append((at + 1, after))
    return set.intersection(*results) if results else set()


# --- all ways ---------------------------------------------------------------


def _may_assign(cls: type, function: FunctionType, done: set[CodeType]) -> Iterator[str]:
    """Every name that *function*, or what it may call of the class, assigns to anything."""
    code = function.__code__
    if code in done:
        return
    done.add(code)
    for touch in _touches(code, list(_pairs(code))).values():
        if touch.stores:
            yield touch.name
        elif touch.name == "__init__" or touch.calls:
            for base in cls.__mro__:
                found = vars(base).get(touch.name)
                if isinstance(found, FunctionType):
                    yield from _may_assign(cls, found, done)


def _names(cls: type) -> Iterator[str]:
    for base in cls.__mro__[:-1]:
        yield from vars(base)
        yield from vars(base).get("__annotations__", ())
        for value in vars(base).values():
            for function in _functions(value):
                code = function.__code__
                if code.co_argcount:
                    yield from _of_self(code, code.co_varnames[0])


def _functions(value: Any) -> Iterator[FunctionType]:
    inner = [value]
    if isinstance(value, property):
        inner = [value.fget, value.fset, value.fdel]
    elif isinstance(value, cached_property):
        inner = [value.func]
    for function in map(_unwrapped, inner):
        if function is not None:
            yield function


def _unwrapped(value: Any) -> FunctionType | None:
    """The function behind its decorators, as far as they say what they wrap."""
    while isinstance(value, FunctionType) and "__wrapped__" in vars(value):
        value = vars(value)["__wrapped__"]
    return value if isinstance(value, FunctionType) else None


def _of_self(code: CodeType, self: str) -> Iterator[str]:
    """The attributes of *self* that *code* touches, or a function within it."""
    for touch in _touches(code, list(_pairs(code))).values():
        if touch.owner == self:
            yield touch.name
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and self in constant.co_freevars:
            yield from _of_self(constant, self)


# --- instructions -----------------------------------------------------------


def _pairs(code: CodeType) -> Iterator[tuple[str, int]]:
    """The instructions of *code*: name and argument.  `dis` takes 50 times as long."""
    raw = code.co_code
    argument = 0
    for opcode, byte in zip(raw[::2], raw[1::2], strict=True):
        name = dis.opname[opcode]
        argument |= byte
        if name == "EXTENDED_ARG":
            argument <<= 8
            continue
        yield name, argument
        argument = 0


def _touches(code: CodeType, pairs: list[tuple[str, int]]) -> dict[int, _Touch]:
    """What is done to attributes, by the place of the instruction."""
    found: dict[int, _Touch] = {}
    owner = ""
    for at, (name, argument) in enumerate(pairs):
        if name in _OVER:
            continue
        if name in ("STORE_ATTR", "DELETE_ATTR"):
            attribute = code.co_names[argument]
            stores = name == "STORE_ATTR"
            found[at] = _Touch(attribute, stores, not stores, owner=owner)
        elif name in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            found[at] = _loaded(code, name, argument, owner)
        owner = _loads(code, name, argument)
    return found


def _loaded(code: CodeType, name: str, argument: int, owner: str) -> _Touch:
    if name == "LOAD_SUPER_ATTR":
        return _Touch(code.co_names[argument >> 2], owner="super")
    if name == "LOAD_METHOD" or not _SHIFTED:
        return _Touch(code.co_names[argument], calls=name == "LOAD_METHOD", owner=owner)
    return _Touch(code.co_names[argument >> 1], calls=bool(argument & 1), owner=owner)


def _loads(code: CodeType, name: str, argument: int) -> str:
    """The variable, or the last name, that is on top of the stack after an instruction."""
    if name in ("LOAD_GLOBAL", "LOAD_NAME"):
        return code.co_names[argument >> 1 if name == "LOAD_GLOBAL" else argument]
    if name == "LOAD_ATTR":
        return code.co_names[argument >> 1 if _SHIFTED else argument]
    if name.endswith("LOAD_FAST") or name.endswith("LOAD_FAST_BORROW"):
        if name not in ("LOAD_FAST", "LOAD_FAST_BORROW"):
            argument &= 15  # two instructions in one; the second loads
        return _variable(code, argument)
    if name in ("LOAD_FAST_CHECK", "LOAD_DEREF"):
        return _variable(code, argument)
    return ""


def _variable(code: CodeType, argument: int) -> str:
    return str(code._varname_from_oparg(argument))  # type: ignore[attr-defined]
