"""What classes look like, so that a load can tell what has changed since.

A class that declares its fields is asked for them (attrs, dataclasses, named
tuples, enums, `__slots__`); of others the caller tells which names instances
were seen to have.  Nothing of the class is run but the `repr` of enum values.
"""

from __future__ import annotations

import copyreg
import dataclasses
from collections import Counter
from collections.abc import Iterable
from enum import Enum, Flag
from typing import Any
from weakref import WeakKeyDictionary

import attrs
from attrs import evolve

from checkpoint._assignments import rebuilt_by_itself
from checkpoint._model import MAX_FIELDS, MAX_TEXT, Shape, digest

VERSION = "__checkpoint_version__"
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or as if

_described: WeakKeyDictionary[type, Shape] = WeakKeyDictionary()


def describe(cls: type, seen: Iterable[str] = (), sampled: bool = False) -> Shape | None:
    """The shape of *cls*, whose instances were *seen* to have these fields.

    *sampled* says that not all instances were looked at.  None for a class
    that neither declares fields nor was seen to have any, if it is one of the
    interpreter or of an extension.
    """
    shape = _described.get(cls)
    if shape is None:
        shape = _described[cls] = _declared(cls)
    if shape.kind not in ("plain", "slots") and declares_all(cls, shape.kind):
        extra = dict.fromkeys(name for name in seen if name not in shape.fields and _fits(name))
        if extra and shape.fields:
            shape = evolve(shape, extra=tuple(extra)[:MAX_FIELDS])
    else:
        names = list(dict.fromkeys([*shape.fields, *seen]))
        if shape.kind == "plain" and not names and not _is_written_in_python(cls):
            return None
        fields = tuple(filter(_fits, names[:MAX_FIELDS]))
        more = shape.kind != "slots" or bool(getattr(cls, "__dictoffset__", 0))
        cut = len(fields) < len(names)
        shape = evolve(shape, fields=fields, sampled=cut or (sampled and more))
    return evolve(shape, version=declared_version(cls), bases=_bases(cls))


def declared_version(cls: type) -> int:
    """The version that *cls* itself declares; 1 if it declares none."""
    version = vars(cls).get(VERSION, 1)
    return version if type(version) is int and 1 <= version < 1 << 62 else 1


def _fits(name: str) -> bool:
    return len(name) <= MAX_TEXT and name.isprintable()  # a lone surrogate is not


def full_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def told(value: Any) -> str:
    """An enum's value as shapes write it: its `repr`, in the same words in every process."""
    try:
        text = _told(value)
    except Exception:  # a value may be of any class, and its repr raise anything
        text = object.__repr__(value)
    if " at 0x" in text:
        return _anonymous(value)
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= MAX_TEXT else f"{text[:100]}… {digest(text.encode())}"


def _anonymous(value: Any) -> str:
    return f"<{full_name(type(value))}>"[:MAX_TEXT]


def _told(value: Any) -> str:
    if type(value) in (set, frozenset):
        return f"{type(value).__name__}({sorted(map(_told, value))})"
    return repr(value)


def _bases(cls: type) -> dict[str, int]:
    return {full_name(b): declared_version(b) for b in cls.__mro__[1:] if VERSION in vars(b)}


def _is_written_in_python(cls: type) -> bool:
    return bool(cls.__flags__ & _HEAP and cls.__dictoffset__)


def declares_all(cls: type, kind: str) -> bool:
    """Whether the fields are all that instances have; a subclass that is not decorated has more."""
    own = {"attrs": "__attrs_attrs__", "dataclass": "__dataclass_fields__"}
    return kind not in own or own[kind] in vars(cls)


# --- kinds ------------------------------------------------------------------


def _declared(cls: type) -> Shape:
    """The shape of *cls* as far as it does not hang on instances."""
    if issubclass(cls, Enum):
        return _enum(cls)
    if getattr(cls, "__attrs_attrs__", None) is not None:
        return _attrs(cls)
    if isinstance(getattr(cls, "__dataclass_fields__", None), dict):
        return _dataclass(cls)
    if issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple):
        return _namedtuple(cls)
    if rebuilt_by_itself(cls):
        return Shape("plain")
    slots = tuple(copyreg._slotnames(cls))  # type: ignore[attr-defined]
    # A class with `__slots__ = ()` among its bases (Generic, the ABCs) is still a plain one.
    if slots or ("__slots__" in vars(cls) and not cls.__dictoffset__):
        return Shape("slots", slots)
    return Shape("plain")


def _enum(cls: type[Enum]) -> Shape:
    members = {name: told(member._value_) for name, member in cls.__members__.items()}
    # Where two members, or any that a process would tell in other words, were told
    # alike, no value must be taken for one of them.
    shared = Counter(members[member.name] for member in cls if member.name in members)
    for name, member in cls.__members__.items():
        if shared[members[name]] > 1 or members[name] == _anonymous(member._value_):
            members[name] = f"{members[name][:500]} of {name[:100]}"
    cut = {name: members[name] for name in [*members][:MAX_FIELDS] if _fits(name)}
    kind = "flag" if issubclass(cls, Flag) else "enum"
    return Shape(kind, sampled=len(cut) < len(members), members=cut)


def _attrs(cls: Any) -> Shape:
    fields = cls.__attrs_attrs__
    defaults = [field.name for field in fields if field.default is not attrs.NOTHING]
    validated = [field.name for field in fields if field.validator is not None]
    return _of_fields("attrs", [field.name for field in fields], defaults, validated)


def _dataclass(cls: Any) -> Shape:
    nothing = dataclasses.MISSING
    fields = dataclasses.fields(cls)
    defaults = [
        field.name
        for field in fields
        if field.default is not nothing or field.default_factory is not nothing
    ]
    return _of_fields("dataclass", [field.name for field in fields], defaults)


def _namedtuple(cls: Any) -> Shape:
    return _of_fields("namedtuple", cls._fields, getattr(cls, "_field_defaults", ()))


def _of_fields(
    kind: str, fields: Iterable[str], defaults: Iterable[str], validated: Iterable[str] = ()
) -> Shape:
    names = tuple(fields)
    kept = tuple(filter(_fits, names[:MAX_FIELDS]))
    return Shape(
        kind,
        kept,
        len(kept) < len(names),
        tuple(name for name in kept if name in set(defaults)),
        tuple(name for name in kept if name in set(validated)),
    )
