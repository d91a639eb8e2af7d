"""What a foreign stream may do with a class of the program: make instances, and give them a state.

No constructor is called.  Members of an enum are looked up; exceptions and
named tuples are made by `__new__`; a class that makes or fills its instances by
code of others, or that does something when one is dropped, must be listed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, UserString, defaultdict, deque
from collections.abc import Callable, Iterable
from enum import Enum
from types import FunctionType, WrapperDescriptorType
from typing import Any

from checkpoint import _checks as ask
from checkpoint import _checks_of_states as states
from checkpoint._checks_of_types import an_enum_value
from checkpoint._grants import (
    Grant,
    Refused,
    Spending,
    Verb,
    count,
    one_of,
    refuse,
    told,
)
from checkpoint._shipped import shipped
from checkpoint.errors import UnsafeError

Ours = Callable[[type], bool]

# Looked up while instances are made and filled, on the class.
_USED = (
    "__setstate__", "__setattr__", "__setitem__", "__getattribute__", "__getattr__",
    "append", "extend", "add", "__hash__", "__eq__", "__set_name__",
)  # fmt: skip
_PLAIN_MODULES = {
    "builtins",
    "collections",
    "collections.abc",
    "abc",
    "_abc",
    "typing",
    "enum",
    "_collections_abc",
}
_VALUES = (str, int, float, bytes, tuple, complex, frozenset)
_FILLED = {list: Verb.ITEMS, dict: Verb.ENTRIES}
# Their own reductions call the class.
_CALLED = (set, frozenset, bytearray, OrderedDict, defaultdict, Counter, deque)


def of_class(cls: type, name: str, is_ours: Ours) -> Grant:
    """The grant of a class of the program; `Refused` says why it must be listed."""
    if any("__del__" in vars(base) for base in cls.__mro__):
        refuse("it does something when it is dropped (__del__)")
    for used in _USED:
        owner = next((base for base in cls.__mro__ if used in vars(base)), object)
        if owner.__module__ not in _PLAIN_MODULES and not is_ours(owner):
            refuse(f"its {used} comes from {owner.__module__}:{owner.__qualname__}")
    if issubclass(cls, Enum):
        return Grant(name, cls, Verb.CALL, an_enum_value, hashing="identity")
    if issubclass(cls, BaseException):
        return _of_error(cls, name)
    if _is_named_tuple(cls):
        verbs, build = Verb.NEW | Verb.BUILD, states.StateOf(cls)
        return Grant(name, cls, verbs, None, _fields_of(cls), build, _hashing(cls))
    return _of_plain(cls, name)


def of_listed(found: Any, name: str) -> Grant:
    """The grant of what the program has listed by name: pickle's own behaviour, for this one."""
    if isinstance(found, type):
        if issubclass(found, Enum):
            return Grant(name, found, Verb.CALL, an_enum_value, hashing="identity")
        verbs = Verb.NEW | Verb.CALL | Verb.BUILD | Verb.ITEMS | Verb.ENTRIES | Verb.ELEMENTS
        weak = issubclass(found, deque | defaultdict)
        return Grant(name, found, verbs, None, None, states.any_state, _hashing(found), weak)
    if callable(found):
        verbs = Verb.CALL | Verb.BUILD | Verb.ITEMS | Verb.ENTRIES
        return Grant(name, found, verbs, None, None, states.any_state)
    return Grant(name, found)


def of_gone(name: str) -> Grant:
    """The grant of a class of the program that is gone: what stands for it is inert."""
    verbs = Verb.NEW | Verb.CALL | Verb.BUILD | Verb.ITEMS | Verb.ENTRIES | Verb.ELEMENTS
    return Grant(name, None, verbs, None, None, states.any_state)


def _of_error(cls: type, name: str) -> Grant:
    if isinstance(cls.__new__, FunctionType):
        refuse("it makes its instances in its own way (__new__)")
    if type(cls).__call__ is not type.__call__:
        refuse("its metaclass makes instances in its own way")
    verbs = Verb.NEW | Verb.CALL | Verb.BUILD
    by_new = not isinstance(cls.__init__, WrapperDescriptorType)  # type: ignore[misc]
    build = states.of_exception
    return Grant(name, cls, verbs, states.an_error, None, build, "identity", by_new=by_new)


def _of_plain(cls: Any, name: str) -> Grant:
    """A class whose instances are made by `object`, or by a type of the standard library."""
    known: tuple[Any, ...] = (*_VALUES, *_FILLED, *_CALLED)
    solid: Any = next((base for base in cls.__mro__ if base in known), object)
    if cls.__new__ is not solid.__new__:
        refuse("it makes its instances in its own way (__new__)")
    build, hashing = states.StateOf(cls), _hashing(cls)
    verbs = Verb.NEW | Verb.BUILD
    if solid in _CALLED:
        if type(cls).__call__ is not type.__call__:
            refuse("its metaclass makes instances in its own way")
        inner = shipped(*_name_of(solid))
        assert inner is not None
        verbs |= Verb.CALL | inner.verbs
        own_init = cls.__init__ is not solid.__init__
        call = ask.no_arguments if own_init else _checked_by(inner.call)
        return Grant(name, cls, verbs, call, ask.no_arguments, build, hashing, inner.weak)
    verbs |= _FILLED.get(solid, Verb.PUSH)
    new = _value(solid) if solid in _VALUES else ask.no_arguments
    if issubclass(cls, UserString):
        new = ask.takes(ask.anything, optional=1)
    return Grant(name, cls, verbs, None, new, build, hashing)


def _checked_by(call: Any) -> Any:
    """The same check, but what is made is an instance of the class."""

    def check(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
        call(one, args, load)

    return check


def _name_of(solid: type) -> tuple[str, str]:
    module = "builtins" if solid.__module__ == "builtins" else "collections"
    return module, solid.__name__


def _value(solid: type) -> Any:
    """A check that `__new__` gets one value of the type that it derives from."""

    def check(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
        if solid is complex:
            ask.takes(ask.a_float, ask.a_float)(one, args, load)
            return
        count(args, 1)
        if solid is bytes:
            ask.no_larger(args[0], load)
        elif solid is tuple:
            load.spend(8 * len(one_of(args[0], tuple)))
        else:
            one_of(args[0], solid)

    return check


def _is_named_tuple(cls: Any) -> bool:
    """Whether `collections.namedtuple` wrote its `__new__`, which calls nothing else."""
    new = cls.__new__
    if not issubclass(cls, tuple) or not isinstance(new, FunctionType):
        return False
    scope = new.__globals__
    return scope.get("_tuple_new") is tuple.__new__ and scope.get("__builtins__") == {}


def _fields_of(cls: Any) -> Any:
    names = cls._fields

    def check(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
        count(args, *range(len(names) - len(cls._field_defaults), len(names) + 1))

    return check


def _hashing(cls: Any) -> str:
    if cls.__hash__ is None:
        return "none"
    return "identity" if cls.__hash__ is object.__hash__ else "value"


# --- states -------------------------------------------------------------------


def check_fields(cls: type, names: Iterable[Any]) -> None:
    """UnsafeError for a name that may not be an attribute of an instance of *cls*.

    For states that were upgraded: the names may be others than the stream had.
    """
    try:
        for name in names:
            if type(name) is str:
                if name.startswith("__"):
                    refuse(f"an attribute {told(name)}")
                states.check_hidden(cls, name)
    except Refused as error:
        said = f"{cls.__module__}:{cls.__qualname__}"
        raise UnsafeError(
            f"an instance of {said} is given a state that it may not have: {error}",
            global_name=said,
        ) from None
