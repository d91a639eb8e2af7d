"""Checks of what names and combines types: annotations, members, methods, classes in classes."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Iterable
from enum import EnumType, Flag, FlagBoundary
from functools import cache
from types import FunctionType
from typing import Any, ParamSpec, Protocol, TypeVar

from checkpoint._checks import a_zone_of, an_int
from checkpoint._grants import (
    Box,
    Grant,
    Instance,
    Refused,
    Spending,
    Verb,
    constant,
    count,
    grant,
    parts,
    plain,
    refuse,
    told,
)
from checkpoint._grants import text as text_of


def a_type(one: Grant, args: tuple[Any, ...], load: Spending) -> Any:
    """The types of None, ... and NotImplemented."""
    count(args, 1)
    value = args[0]
    if value is not None and (type(value) is not Grant or value.name not in _SINGLETONS):
        refuse(f"type() of {told(value)}")
    return _type_of(None if value is None else value.object)


@cache
def _type_of(value: Any) -> Grant:
    return Grant(f"builtins:{type(value).__name__}", type(value))


def a_member(one: Grant, args: tuple[Any, ...], load: Spending) -> Any:
    """getattr: a member of an enum, a method of an object or a class, or a class in a class."""
    count(args, 2)
    owner, name = plain(args[0]), text_of(args[1], 1000)
    if name.startswith("__") or not name.isidentifier():
        refuse(f"an attribute {told(name)}")
    if type(owner) is Grant and isinstance(owner.object, EnumType):
        if name not in owner.object.__members__:
            refuse(f"{owner.name} has no member {told(name)}")
        return Instance(owner, (name,))
    if type(owner) is Grant and owner.name in _ZONES and name == "_unpickle":
        return _unpickled_zone(owner)
    if type(owner) is Grant and owner.is_class and owner.verbs & Verb.NEW:
        inner = vars(owner.object).get(name)
        if isinstance(inner, type) and type(owner.object) in _META:
            return load.granted_within(owner, name, inner)
        _check_method(owner.object, name)
        return None
    if type(owner) is Instance and owner.grant.is_class and owner.grant.verbs & Verb.BUILD:
        _check_method(owner.grant.object, name)
        return None
    return refuse(
        f"an attribute of {told(owner)}: methods are loaded only of the program's own classes"
    )


def _check_method(cls: type, name: str) -> None:
    """Refuse what is not a method that is written in Python, found without running anything."""
    for base in cls.__mro__:
        if "__getattribute__" in vars(base) and base is not object:
            refuse(f"{base.__name__} looks up attributes in its own way")
    for base in cls.__mro__:
        found = vars(base).get(name)
        if found is None:
            continue
        if isinstance(found, classmethod | staticmethod):
            found = found.__func__
        if not isinstance(found, FunctionType):
            break
        return
    refuse(f"{cls.__name__} has no method {told(name)}")


def _unpickled_zone(owner: Grant) -> Grant:
    def made(one: Grant, args: tuple[Any, ...], load: Spending) -> Instance:
        count(args, 2)
        a_zone_of(one, args[:1], load)
        an_int(args[1])
        return Instance(owner, args)

    return Grant(f"{owner.name}._unpickle", None, Verb.CALL, made)


def an_alias(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    """list[int]"""
    count(args, 2)
    grant(args[0])
    _check_types(args[1], load)


def an_item(one: Grant, args: tuple[Any, ...], load: Spending) -> Instance:
    """typing.List[int]"""
    count(args, 2)
    owner = grant(args[0])
    if not (owner.name.startswith("typing:") or _is_generic(owner.object)):
        refuse(f"an item of {told(args[0])}")
    members = _members(args[1] if type(args[1]) is tuple else ())
    # `typing` compiles a text, which may be an annotation.
    _check_types(args[1], load, texts=owner.name in ("typing:Literal", "typing:Annotated"))
    return Instance(one, args, members)


def _members(types: tuple[Any, ...]) -> int:
    """How many types there are, with those of unions among them; each is compared with each."""
    inner = (plain(part) for part in types[: _MEMBERS + 1])
    members: int = sum(part.facts or 1 if type(part) is Instance else 1 for part in inner)
    if members > _MEMBERS:
        refuse(f"more than {_MEMBERS} types in one")
    return members


def _is_generic(cls: Any) -> bool:
    """Whether items of a class are aliases of `typing`'s, and no code of its own is run."""
    if not isinstance(cls, type) or type(cls) not in _META:
        return False
    owners = (base for base in cls.__mro__ if "__class_getitem__" in vars(base))
    return getattr(next(owners, None), "__module__", None) == "typing"


def a_callable_alias(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    """collections.abc.Callable[[int], str]"""
    count(args, 2)
    grant(args[0], "collections.abc:Callable")
    _check_types(args[1], load)


def a_union(one: Grant, args: tuple[Any, ...], load: Spending) -> Instance:
    """int | None; each member is compared with each, those of unions in it too."""
    count(args, 2)
    grant(args[0], "_operator:or_")
    if type(args[1]) is not tuple or len(args[1]) < 2:
        refuse(f"{told(args[1])} are no types")
    members = _members(args[1])
    _check_types(args[1], load)
    return Instance(one, args, members)


def _check_types(value: Any, load: Spending, depth: int = 0, *, texts: bool = True) -> None:
    value = plain(value)
    load.spend(100)
    if depth > _DEEPEST:
        refuse("types nested too deep")
    if type(value) in (tuple, Box):
        if type(value) is Box and value.kind != "list":
            refuse(f"{told(value)} is no type")
        for item in value if type(value) is tuple else value.items:
            _check_types(item, load, depth + 1, texts=texts)
    elif not (_is_type(value) or (texts and type(value) in (str, int, bool))):
        refuse(f"{told(value)} is no type")


def _is_type(value: Any) -> bool:
    if value is None or (type(value) is Instance and value.grant.name in _ALIASES):
        return True
    if type(value) is not Grant:
        return False
    if value.name.startswith("typing:") or value.name in _SINGLETONS:
        return True
    # `a | b` and `a[b]` may be methods of a metaclass.
    return isinstance(value.object, TypeVar | ParamSpec) or type(value.object) in _META


def an_enum_value(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    """The value of a member, which is looked up here where it can be."""
    count(args, 1)
    cls = one.object
    if type(cls).__call__ is not EnumType.__call__:
        refuse(f"{one.name} is called in its own way")
    if type(args[0]) is int and issubclass(cls, Flag):
        keeps = cls._boundary_ is FlagBoundary.KEEP and -(1 << 63) <= args[0] < 1 << 63
        if keeps or 0 <= args[0] <= cls._flag_mask_:
            return
    try:
        value = constant(args[0])
    except Refused:  # A list, or an object: compared with each member's, by the load.
        if "_missing_" in {name for base in cls.__mro__[:-1] for name in _own(base)}:
            raise
        _check_small(args[0])
        return
    if not _is_known(cls, value):
        refuse(f"{one.name} has no member with the value {told(args[0])}")


def _check_small(value: Any) -> None:
    """Refuse what is large, or holds the same again and again: it is hashed, compared and shown."""
    work, left = [value], _PARTS
    while work:
        left -= 1
        if left < 0:
            refuse(f"a value of more than {_PARTS:,} parts")
        work += parts(work.pop())


def _own(base: type) -> Iterable[str]:
    return () if base.__module__ == "enum" else vars(base)


def _is_known(cls: Any, value: Any) -> bool:
    """Whether a member has the value: a constant, which can be hashed."""
    try:
        return value in cls._value2member_map_
    except TypeError:
        return False


_MEMBERS = 100  # of a union
_PARTS = 1000  # of a value that is no constant
_DEEPEST = 20  # of types within types
_SINGLETONS = frozenset({"builtins:Ellipsis", "builtins:NotImplemented"})
_ZONES = frozenset({"zoneinfo:ZoneInfo", "zoneinfo._zoneinfo:ZoneInfo"})
_META = frozenset({type, ABCMeta, EnumType, type(Protocol)})
_ALIASES = frozenset(
    {"types:GenericAlias", "_operator:getitem", "functools:reduce", "_functools:reduce"}
)
