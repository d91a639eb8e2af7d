"""What has changed in the classes since a snapshot was saved, and what that does to it.

Stored shapes are compared with today's classes; nothing is loaded.  What a load
does by itself (fields and enum members go by their names, defaults fill, what a
class does not know any more is kept aside) is told from what it cannot know.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

from attrs import evolve, frozen

from checkpoint._adapting import is_custom
from checkpoint._assignments import (
    has_default,
    knows,
    leaves_out,
    missing,
    rebuilt_by_itself,
    tells,
    without_cared_for,
)
from checkpoint._model import Global, Shape
from checkpoint._shapes import declared_version, describe
from checkpoint.errors import MigrationError

_DECLARED = ("attrs", "dataclass", "namedtuple")
_ENUMS = ("enum", "flag")


class Sort(StrEnum):
    """What a difference does to a load."""

    COMPATIBLE = "compatible"
    FILLED = "default will fill"
    MIGRATED = "migration registered"
    MISSING = "migration missing"
    WRONG = "silently wrong"


@frozen
class SchemaChange:
    """One difference between a class as it was saved and as it is.

    `cls` is `module:qualname` as it was saved; `stored` and `today` are the
    versions.  `gone` and `new` are the names of fields, or of enum members.
    `fix` is what to register, as Python source; empty where nothing is needed.
    """

    cls: str
    sort: Sort
    message: str
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    fix: str = ""
    stored: int = 1
    today: int = 1

    __module__ = "checkpoint"

    def __str__(self) -> str:
        register = f"; register {self.fix}" if self.fix else ""
        return f"{self.cls}: {self.message} ({self.sort}){register}"

    @property
    def is_bad(self) -> bool:
        """Whether a load is refused, or wrong, unless something is registered."""
        return self.sort in (Sort.MISSING, Sort.WRONG)


# The steps from a stored shape to today's class; MigrationError if one is not to be had.
Upgrades = Callable[[type, Shape], Collection[Any]]


def _none(cls: type, stored: Shape) -> Collection[Any]:
    return ()


def check(
    types: Iterable[Global],
    find: Callable[[str, str], Any],
    upgrades: Upgrades = _none,
    version_of: Callable[[type], int] = declared_version,
) -> list[SchemaChange]:
    """What has changed in all of *types*; *find* gives today's class, or raises MigrationError."""
    found: list[SchemaChange] = []
    for stored in types:
        try:
            cls = find(stored.module, stored.qualname)
        except MigrationError as error:
            found.append(_gone(stored, str(error)))
            continue
        found += compare(stored, cls, upgrades, version_of)
    return found


def compare(
    stored: Global,
    cls: Any,
    upgrades: Upgrades = _none,
    version_of: Callable[[type], int] = declared_version,
) -> list[SchemaChange]:
    """What has changed from *stored* to *cls*, which it is today."""
    shape = stored.shape
    if shape is None:
        return []
    if not isinstance(cls, type):
        return [_gone(stored, "it was a class, and is none any more")]
    version = version_of(cls)
    try:
        migrated = bool(upgrades(cls, shape))
    except MigrationError as error:
        fix = f'@upgrade("{stored}", {shape.version})' if version > shape.version else ""
        versions = shape.version, version
        return [SchemaChange(str(stored), Sort.MISSING, str(error), (), (), fix, *versions)]
    pair = _Pair(str(stored), shape, describe(cls) or Shape("plain"), cls, version)
    changes = pair.members() if pair.are_enums else pair.fields()
    return [_migrated(one) if migrated else one for one in changes]


def _migrated(change: SchemaChange) -> SchemaChange:
    if change.sort is Sort.COMPATIBLE:
        return change
    return evolve(change, sort=Sort.MIGRATED, fix="")


def _gone(stored: Global, message: str) -> SchemaChange:
    version = 1 if stored.shape is None else stored.shape.version
    return SchemaChange(
        str(stored), Sort.MISSING, message, fix=_rename(str(stored)), stored=version, today=version
    )


@frozen
class _Pair:
    """A class as it was saved, and as it is today."""

    name: str
    was: Shape
    now: Shape
    cls: type
    version: int

    @property
    def are_enums(self) -> bool:
        return self.was.kind in _ENUMS and self.now.kind in _ENUMS

    def _change(
        self,
        sort: Sort,
        message: str,
        gone: Collection[str] = (),
        new: Collection[str] = (),
        fix: str = "",
    ) -> SchemaChange:
        return SchemaChange(
            self.name, sort, message, tuple(gone), tuple(new), fix, self.was.version, self.version
        )

    # --- fields -------------------------------------------------------------

    def fields(self) -> Iterator[SchemaChange]:
        """The differences of a class with fields."""
        if rebuilt_by_itself(self.cls) and self.now.kind not in _ENUMS:
            return
        if self.was.kind != self.now.kind:
            words = f"it was {_a(self.was.kind)}, and is {_a(self.now.kind)} now"
            if self.was.kind in _ENUMS or self.now.kind in (*_ENUMS, "namedtuple"):
                fix = _rename(self.name)
                yield self._change(Sort.MISSING, f"{words}: no state fits both", fix=fix)
                return
            yield self._change(Sort.COMPATIBLE, f"{words}: fields go by their names")
        new, filled = self._appeared()
        gone = self._vanished()
        if leaves_out(self.cls) and not gone:
            new = filled = ()
        if gone and (new or filled):
            yield self._maybe_renamed(gone, new, filled)
        else:
            yield from self._added(new, filled)
            yield from self._removed(gone)
        yield from self._rearranged()

    @property
    def _had(self) -> tuple[str, ...]:
        """All that states had: fields, and what only some of them had."""
        return (*self.was.fields, *self.was.extra)

    def _appeared(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The fields that no stored state has: those without a default, and those with one."""
        if self.now.kind in _DECLARED:
            fresh = [name for name in self.now.fields if name not in self._had]
            # Beside the declared fields, a __post_init__ may set others.
            set_too = missing(self.cls, (*self._had, *self.now.fields))
            names = (*without_cared_for(self.cls, fresh), *set_too)
            defaults = {*self.now.defaults}
        else:
            names = missing(self.cls, self._had)
            defaults = {name for name in names if has_default(self.cls, name)}
        needed = tuple(name for name in names if name not in defaults)
        return needed, tuple(name for name in names if name in defaults)

    def _vanished(self) -> tuple[str, ...]:
        """The stored fields that today's class does not know."""
        cls, known = self.cls, {*self.now.fields}
        if not cls.__dictoffset__:
            lost = [name for name in self.was.fields if name not in known]
        elif self.now.kind in _DECLARED or tells(cls):
            lost = [name for name in self._had if name not in known and not knows(cls, name)]
        else:
            lost = []
        return without_cared_for(cls, lost)

    def _maybe_renamed(
        self, gone: tuple[str, ...], new: tuple[str, ...], filled: tuple[str, ...]
    ) -> SchemaChange:
        pairs = guessed(gone, new + filled)
        guess = ", ".join(f"{old} to {name}" for old, name in pairs.items())
        message = (
            f"{_list(gone)} went and {_list(new + filled)} came: if that is a rename ({guess}), "
            "no load can know it"
        )
        fixes = [
            _call("rename_fields", self._where, pairs),
            self._dropped([name for name in gone if name not in pairs]),
            self._given([name for name in new if name not in pairs.values()]),
        ]
        fix = "; ".join(filter(None, fixes))
        return self._change(Sort.MISSING, message, gone, new + filled, fix)

    def _dropped(self, names: Collection[str]) -> str:
        words = ", ".join(map(repr, names))
        return f"checkpoint.drop_fields({self._where}, {words})" if names else ""

    def _given(self, names: Collection[str]) -> str:
        values = ", ".join(f"{name}=…" for name in names)
        return f"checkpoint.add_fields({self._where}, {values})" if names else ""

    def _added(self, new: tuple[str, ...], filled: tuple[str, ...]) -> Iterator[SchemaChange]:
        if filled:
            yield self._change(Sort.FILLED, f"{_list(filled)} came, with a default", (), filled)
        if new:
            message = f"{_list(new)} came, and has no default: old instances would lack it"
            yield self._change(Sort.MISSING, message, (), new, self._given(new))

    def _removed(self, gone: tuple[str, ...]) -> Iterator[SchemaChange]:
        if not gone:
            return
        words, kept = f"{_list(gone)} went", self.cls.__dictoffset__ or self.cls.__weakrefoffset__
        if is_custom(self.cls):
            yield self._change(Sort.COMPATIBLE, f"{words}; its __setstate__ is given it", gone)
        elif kept and self.now.kind != "namedtuple":
            yield self._change(Sort.COMPATIBLE, f"{words}; what was saved is kept aside", gone)
        else:
            message = f"{words}, and instances have no room to keep it: it is dropped"
            yield self._change(Sort.WRONG, message, gone, fix=self._dropped(gone))

    def _rearranged(self) -> Iterator[SchemaChange]:
        if self.now.kind not in _DECLARED:
            return
        both = [name for name in self.was.fields if name in self.now.fields]
        if both != [name for name in self.now.fields if name in both]:
            message = "its fields have another order: they go by their names"
            yield self._change(Sort.COMPATIBLE, message)
        fresh = [name for name in self.now.validated if name not in self.was.validated]
        checked = [name for name in fresh if name in both]
        if checked:
            message = f"{_list(checked)} has a validator now: values are checked at load"
            yield self._change(Sort.COMPATIBLE, message)

    # --- members of enums ---------------------------------------------------

    def members(self) -> Iterator[SchemaChange]:
        """The differences of an enum."""
        was, now = self.was.members, self.now.members
        moved = [name for name, value in was.items() if now.get(name, value) != value]
        if moved:
            message = f"{_list(moved)} has another value: members go by their names"
            yield self._change(Sort.COMPATIBLE, message)
        fresh = [name for name in now if name not in was]
        called = {now[name]: name for name in reversed(fresh)}
        gone = []
        for name in self._members_gone():
            if was[name] not in called:
                gone.append(name)
                continue
            new = called[was[name]]
            message = f"{name} is called {new} now, with the same value"
            yield self._change(Sort.COMPATIBLE, message, (name,), (new,))
        if gone:
            fix = _call("rename_fields", self._where, guessed(gone, fresh) or {gone[0]: "…"})
            message = f"{_list(gone)} went: a saved one is no member any more"
            yield self._change(Sort.MISSING, message, gone, fresh, fix)

    def _members_gone(self) -> list[str]:
        """The stored names of which no alias is there either."""
        there = {value for name, value in self.was.members.items() if name in self.now.members}
        return [name for name, value in self.was.members.items() if value not in there]

    @property
    def _where(self) -> str:
        return f'"{self.name}", {self.was.version}'


# --- words ------------------------------------------------------------------


def guessed(gone: Collection[str], new: Collection[str]) -> dict[str, str]:
    """Which of the *new* names each of those that are *gone* may be, the likest first."""
    likeness = {
        (old, name): SequenceMatcher(None, old, name).ratio()
        for old in [*gone][:100]
        for name in [*new][:100]
    }
    pairs: dict[str, str] = {}
    for old, name in sorted(likeness, key=lambda pair: -likeness[pair]):
        if old not in pairs and name not in pairs.values():
            pairs[old] = name
    return {old: pairs[old] for old in gone if old in pairs}


def _call(form: str, where: str, names: Mapping[str, str]) -> str:
    words = ", ".join(f'{old}="{new}"' for old, new in names.items())
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
        words = f"**{dict(names)!r}"
    return f"checkpoint.{form}({where}, {words})"


def _rename(name: str) -> str:
    return f'checkpoint.rename("{name}", "module:Class")'


def _a(kind: str) -> str:
    words = {"attrs": "an attrs class", "namedtuple": "a named tuple", "enum": "an enum"}
    words |= {"slots": "a class with slots", "plain": "a plain class"}
    return words.get(kind, f"a {kind}")


def _list(names: Collection[str]) -> str:
    shown = ", ".join([*names][:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
