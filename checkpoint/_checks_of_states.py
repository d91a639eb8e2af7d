"""Checks of states, and of what errors are made with.

A state becomes attributes: none that Python looks up by itself, none that hides
a method, and none that code of the class would set.
"""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from checkpoint._checks import a_float, a_text
from checkpoint._grants import (
    Box,
    Build,
    Grant,
    Instance,
    Spending,
    box,
    count,
    integer,
    length,
    one_of,
    plain,
    refuse,
    told,
)

_OF_UNICODE = frozenset({"encoding", "object", "start", "end", "reason"})
_OF_ERRORS = frozenset({"with_traceback", "add_note"})
_KNOWN = 10_000  # different sets of attributes that are remembered of a class
_HARMLESS = "__orig_class__"  # which `typing` notes in what it makes through an alias


def fields(*names: str) -> Build:
    """A dict with some of these keys, or any that hide no method where there are none."""

    def check(one: Instance, state: Any, load: Spending) -> None:
        for key in attributes(state):
            if names and key not in names:
                refuse(f"a field {told(key)}")
            if not names:
                check_hidden(one.grant.object, key)

    return check


def check_hidden(cls: Any, name: str) -> Any:
    """Refuse an attribute that hides a method; what the class itself has under its name."""
    for base in getattr(cls, "__mro__", ()):
        if name in vars(base):
            found = vars(base)[name]
            if _is_method(found) and not _is_field(cls, name):
                refuse(f"{told(name)} is a method of {base.__qualname__}")
            return found
    return None


def _is_method(found: Any) -> bool:
    """Whether it is called, or looked up in its own way, and an instance may have another."""
    kind = type(found)
    if hasattr(kind, "__set__") or kind.__name__ == "cached_property":
        return False
    return callable(found) or hasattr(kind, "__get__")


def _is_field(cls: Any, name: str) -> bool:
    """Whether it is a field that the class declares, which may have a function as its default."""
    declared = getattr(cls, "__dataclass_fields__", None) or {}
    return name in declared or any(
        attribute.name == name for attribute in getattr(cls, "__attrs_attrs__", None) or ()
    )


def check_settable(cls: Any, name: str) -> None:
    """Refuse an attribute that is set by code of the class, and not beside it."""
    found = check_hidden(cls, name)
    if isinstance(found, MemberDescriptorType | GetSetDescriptorType):
        return
    is_set_by_code = found is not None and hasattr(type(found), "__set__")
    plain_setters = (object.__setattr__, BaseException.__setattr__)
    if is_set_by_code or getattr(cls, "__setattr__", None) not in (None, *plain_setters):
        refuse(f"{told(name)} is set by code of {cls.__qualname__}")


def attributes(state: Any, allowed: tuple[str, ...] = ()) -> list[str]:
    """The keys of a dict that becomes attributes; no name that Python looks up by itself."""
    found = box(state, "dict").keys
    for key in found:
        if type(key) is not str or (key.startswith("__") and key not in (_HARMLESS, *allowed)):
            refuse(f"an attribute {told(key)}")
    return found


def of_exception(one: Instance, state: Any, load: Spending) -> None:
    if state is None:
        return
    for key in attributes(state, ("__notes__",)):
        if key in _OF_ERRORS or (key in _OF_UNICODE and one.grant.derives(UnicodeError)):
            refuse(f"an attribute {told(key)}")
        check_settable(one.grant.object, key)


def of_random(one: Instance, state: Any, load: Spending) -> None:
    count(state if type(state) is tuple else (), 3)
    version, words, gauss = state
    integer(version, 2, 3)
    count(words if type(words) is tuple else (), 625)
    for word in words:
        integer(word, 0, (1 << 32) - 1)
    integer(words[-1], 0, 624)
    load.spend(50_000)
    if gauss is not None:
        a_float(gauss)


def of_bytes_io(one: Instance, state: Any, load: Spending) -> None:
    count(state if type(state) is tuple else (), 3)
    content, position, more = state
    size = length(content)
    integer(position, 0, size)
    load.spend(size)
    if more is not None:
        attributes(more)


def of_string_io(one: Instance, state: Any, load: Spending) -> None:
    count(state if type(state) is tuple else (), 4)
    content, newline, position, more = state
    a_text(content)
    if newline not in (None, "", "\n", "\r", "\r\n"):
        refuse(f"{told(newline)} is no newline")
    integer(position, 0, len(content))
    load.spend(4 * len(content))
    if more is not None:
        attributes(more)


def _check_unicode_error(one: Grant, args: tuple[Any, ...]) -> None:
    """Where it began and ended: its text is cut out there, and nothing else checks that."""
    translates = one.derives(UnicodeTranslateError)
    count(args, 4 if translates else 5)
    parts = args if translates else args[1:]
    size = len(parts[0]) if type(parts[0]) is str else length(parts[0])
    a_text(args[0])
    integer(parts[2], integer(parts[1], 0, size), size)
    a_text(parts[3])


def an_error(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    load.spend(1500)
    if one.derives(UnicodeError) and one.object is not UnicodeError:
        _check_unicode_error(one, args)
    if not one.derives(BaseExceptionGroup):
        return
    count(args, 2)
    a_text(args[0])
    inner = plain(args[1])
    items = inner.items if type(inner) is Box and inner.kind == "list" else inner
    if type(items) not in (tuple, list):
        refuse(f"{told(inner)} is no list of errors")
    load.spend(100 * len(items))
    for item in items:
        held = plain(item)
        if type(held) is not Instance or not held.grant.derives(BaseException):
            refuse(f"{told(held)} in a group of errors")


def of_normal(one: Instance, state: Any, load: Spending) -> None:
    count(state if type(state) is tuple else (), 2)
    for value in state:
        one_of(value, float, int)


class StateOf:
    """A check of the states of a class: attributes that shadow no method, and slots.

    `known` are the names of states that were let through: a state is looked at for these alone.
    """

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self.known: set[tuple[str, ...]] = set()
        self._is_custom = any("__setstate__" in vars(base) for base in cls.__mro__)

    def __call__(self, one: Instance, state: Any, load: Spending) -> None:
        if self._is_custom:
            return any_state(one, state, load)
        state = plain(state)
        if type(state) is tuple and len(state) != 2:
            refuse(f"{told(state)} is no state")
        both = state if type(state) is tuple else (state,)
        for check, part in zip((check_hidden, check_settable), both, strict=False):
            if part is not None:
                names = tuple(attributes(part))
                for name in names:
                    check(self._cls, name)
                if len(both) == 1 and len(self.known) < _KNOWN:
                    self.known.add(names)
        return None


def any_state(one: Instance, state: Any, load: Spending) -> None:
    """A state for code of the program: no attribute among it that Python looks up by itself."""
    for part in state if type(state) is tuple and len(state) == 2 else (state,):
        held = plain(part)
        if type(held) is Box and held.kind == "dict":
            for key in held.keys:
                if type(key) is str and key.startswith("__") and key.endswith("__"):
                    refuse(f"an attribute {told(key)}")
