"""From a state as it was saved to an instance of today's class.

An adapter knows a class as it was, by its shape in the type table, and as it
is.  It names the fields of a state, runs the upgrades, and fills in, leaves out
or reorders what the class of today wants otherwise.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from sys import intern
from typing import Any, Final, NoReturn

import attrs

from checkpoint import _aside
from checkpoint._assignments import knows, missing
from checkpoint._migration import Become, Migrations, State, Upgrade, named
from checkpoint._model import Global, Shape
from checkpoint._refusal import told_by
from checkpoint._shapes import VERSION, declares_all, told
from checkpoint.errors import MigrationError

_GENERATED = ("attr", "attrs", "dataclasses")  # modules whose __setstate__ sets fields by name


class Becomes(Exception):
    """An upgrade returned `Become`."""

    def __init__(self, become: Become) -> None:
        self.become = become


def adapter(
    stored: Global, cls: Any, today: Shape | None, migrations: Migrations
) -> Adapter | None:
    """What instances of *stored* must go through to become those of *cls*; None if nothing.

    *today* is the shape of *cls*.  MigrationError if an upgrade is missing, or
    the class is older than the state.
    """
    shape = stored.shape
    if shape is None or not isinstance(cls, type):
        return None
    needed = steps(cls, shape, migrations)
    if not needed and (today is None or not _differs(shape, today, cls, migrations.keep_unknown)):
        return None
    kind: type[Adapter] = Adapter
    if shape.kind == "namedtuple" and not issubclass(cls, enum.Enum):
        kind = _TupleAdapter
    elif shape.kind in ("enum", "flag") and issubclass(cls, enum.Enum):
        kind = EnumAdapter
    return kind(stored, cls, today or shape, needed, migrations)


def steps(cls: type, stored: Shape, migrations: Migrations) -> list[Upgrade]:
    """The upgrades of *cls* and of its bases, those of the bases first."""
    bases: dict[tuple[str, str], int] = {}
    for name, version in stored.bases.items():
        module, _, qualname = name.partition(":")
        bases[migrations.renamed(module, qualname)] = version
    found: list[Upgrade] = []
    for base in reversed(cls.__mro__):
        was = stored.version if base is cls else bases.get(named(base), 1)
        if was > 1 or VERSION in vars(base) or migrations.version_of(base) > 1:
            found += migrations.upgrades(base, was)
    return found


def _differs(stored: Shape, today: Shape, cls: type, keeps: bool) -> bool:
    """Whether a state of *stored* needs help; *keeps* says that unknown fields stay."""
    if today.kind in ("enum", "flag"):
        return dict(stored.members) != dict(today.members)
    if is_custom(cls):
        return False
    if "namedtuple" in (stored.kind, today.kind):
        return stored.kind != today.kind or stored.fields != today.fields
    if stored.fields and stored.layout not in _understood(cls):
        return True
    if today.kind == "plain":
        return False
    if today.kind == "slots":
        return not {*stored.fields} <= {*slots_of(cls)} and not cls.__dictoffset__
    if not declares_all(cls, today.kind):
        return not {*today.fields} <= {*stored.fields}
    if stored.layout in ("list", "tuple") and stored.fields != today.fields:
        return True
    return (
        stored.kind != today.kind
        or not {*today.fields} <= {*stored.fields}
        or (bool(_unknown(stored, today, cls)) and not (keeps and cls.__dictoffset__))
        or not {*today.validated} <= {*stored.validated}
    )


def _unknown(stored: Shape, today: Shape, cls: type) -> set[str]:
    """What states may have that neither the fields nor the code of *cls* speak of."""
    names = {*stored.fields, *stored.extra} - {*today.fields}
    return {name for name in names if not (cls.__dictoffset__ and knows(cls, name))}


def stand_for_removed(module: str, qualname: str) -> type:
    """A class for the instances of one that is gone, until an upgrade makes something of them."""
    body = {
        "__module__": module,
        "__qualname__": qualname,
        "__new__": staticmethod(_of_any_arguments),
    }
    return type(qualname.rpartition(".")[2], (), body)


def _of_any_arguments(cls: type, *args: Any, **more: Any) -> Any:
    return object.__new__(cls)


def _understood(cls: type) -> tuple[str, ...]:
    """The layouts of a state that BUILD can set on an instance of *cls* without help."""
    setter = getattr(cls, "__setstate__", None)
    if setter is not None:
        return ("list",) if setter.__module__ == "dataclasses" else ("", "tuple")
    return ("", "pair") if cls.__dictoffset__ else ("pair",)


class Adapter:
    """Sets the state of an instance that was made without one."""

    makes = False  # whether it makes the instance, too

    def __init__(
        self,
        stored: Global,
        cls: type,
        today: Shape,
        steps: Sequence[Upgrade],
        migrations: Migrations,
    ) -> None:
        assert stored.shape is not None
        self.stored, self.cls, self.shape = stored, cls, stored.shape
        self._migrations, self._steps = migrations, steps
        self._setter: Callable[[Any, Any], Any] | None = None
        if is_custom(cls):
            self._setter = cls.__setstate__  # type: ignore[attr-defined]
        self._slots = frozenset(slots_of(cls))
        self._has_dict = cls.__dictoffset__ != 0
        # What a class with a dict does not know may lie there, unless it is to be dropped.
        self._dropped: set[str] = set()
        declared = today.kind in ("attrs", "dataclass") and declares_all(cls, today.kind)
        if declared and not migrations.keep_unknown:
            self._dropped = _unknown(self.shape, today, cls)
        self._resets_hash = "_attrs_cached_hash" in self._slots
        self._is_simple = not (self._slots or self._dropped)
        self._stored = frozenset(self.shape.fields)
        self._defaults = [] if self._setter else [*defaults_of(cls)]
        if not steps:
            self._defaults = [(n, m) for n, m in self._defaults if n not in self.shape.fields]
        self.upgrades = bool(steps)
        self.gone: MigrationError | None = None  # why the class is not there
        # Refuses names of fields that a stranger's state may not have.
        self.guard: Callable[[type, Iterable[Any]], None] | None = None
        self._required = frozenset(required(cls, today) if steps and not self._setter else ())
        self._lacking: set[str] = set()
        self.ran = False
        self.checked = sorted({*today.validated} - {*self.shape.validated})
        # What the class does not know is kept aside, however often it is saved.
        self.only_keeps = (
            bool(self.shape.extra)
            and (self.shape.kind, self.shape.fields) == (today.kind, today.fields)
            and self.shape.layout in _understood(cls)
            and not (steps or self.checked)
        )

    def build(self, obj: Any, state: Any) -> Any:
        """Give *obj* what *state* holds.  Raises `Becomes` if it is to be something else."""
        fields = state if type(state) is dict else self._named(state)
        if fields is None:
            return self._build_opaque(obj, state)
        new = self.upgraded(fields) if self._steps else fields
        if self.guard is not None:
            self.guard(self.cls, new)
        if self._required and not self._required.issubset(new):
            self._lacking |= self._required.difference(new)
        if self._setter is not None:
            return self._setter(obj, new)
        return self._complete(obj, fields, new)

    def _complete(self, obj: Any, fields: State, new: State) -> None:
        """Set what is *new*, and the defaults of what is neither there nor was left out before."""
        try:
            if self._is_simple:
                obj.__dict__.update({intern(name): value for name, value in new.items()})
            else:
                self._set(obj, new)
        except TypeError:
            self._check_names(new)
            raise
        for name, make in self._defaults:
            if name not in new and (name in fields or name not in self._stored):
                object.__setattr__(obj, name, make(obj))

    def _check_names(self, fields: State) -> None:
        for name in fields:
            if type(name) is not str:
                raise MigrationError(f"an upgrade of {self.stored} returned a field {name!r}")

    def complete(self, obj: Any) -> Any:
        """Take an instance along that came without a state.

        Upgrades are for it only if no instance had one: else it has none on purpose.
        """
        if self._steps and not self.shape.fields and self._setter is None:
            return self.build(obj, {})
        for name, make in self._defaults:
            there = hasattr(obj, name) if name in self._slots else name in vars(obj)
            if not there:
                object.__setattr__(obj, name, make(obj))
        return None

    def complaints(self) -> list[str]:
        """What was not upgraded, or lacks something after that."""
        if self.upgrades and not self.ran:
            return [
                f"{self.stored}: its upgrade from version {self.shape.version} was not run, since "
                "no instance was made with a state that it could be given"
            ]
        return [
            f"{self.stored}: after the upgrade from version {self.shape.version} some states have "
            f"no {name}; give it one there"
            for name in sorted(self._lacking)
        ]

    def upgraded(self, fields: Any) -> Any:
        """*fields*, or another state, after all upgrades."""
        kind, self.ran = type(fields), True
        for step in self._steps:
            try:
                new = step(fields)
            except Exception as error:
                raise MigrationError(
                    f"the upgrade of {self.stored} from version {self.shape.version} to "
                    f"{self._migrations.version_of(self.cls)} failed: {told_by(error)}; "
                    f"the state had {_listed(fields)}"
                ) from error
            if type(new) is not kind:
                self._refuse(step, new, kind)
            fields = new
        return fields

    def _refuse(self, step: Any, new: Any, kind: type) -> NoReturn:
        if isinstance(new, Become):
            raise Becomes(new)
        raise MigrationError(
            f"the upgrade {getattr(step, '__qualname__', step)} of {self.stored} returned "
            f"{type(new).__name__} and not {kind.__name__}: return the state, or a Become"
        )

    def _build_opaque(self, obj: Any, state: Any) -> None:
        state = self.upgraded(state)
        if self._setter is None:
            raise MigrationError(
                f"{self.stored} was saved with a state of type {type(state).__name__} that only "
                "its own __setstate__ can read, and it has none now; give it one, "
                "or register an upgrade that returns a dict"
            )
        self._setter(obj, state)

    def _named(self, state: Any) -> State | None:
        """The fields of *state* by name; None if only the class can tell."""
        fields = self.shape.fields
        if state is None:
            return {}
        if type(state) is tuple and len(state) == 2 and self._setter is None:
            first, second = state
            if isinstance(first, dict | None) and type(second) is dict:
                return {**(first or {}), **second}
        declared = self.shape.kind in ("attrs", "dataclass")
        if declared and self.shape.layout in ("list", "tuple") and len(state) == len(fields):
            return dict(zip(fields, state, strict=True))
        return None

    def _set(self, obj: Any, fields: State) -> None:
        aside: State = {}
        if self._dropped:
            fields = {name: value for name, value in fields.items() if name not in self._dropped}
        if self._slots:
            mine = {}
            for name, value in fields.items():
                if name in self._slots:
                    object.__setattr__(obj, name, value)
                elif self._has_dict:
                    mine[intern(name)] = value
                else:
                    aside[name] = value
        else:
            mine = {intern(name): value for name, value in fields.items()}
        if mine:
            obj.__dict__.update(mine)
        if self._resets_hash:
            object.__setattr__(obj, "_attrs_cached_hash", None)
        if aside and self._migrations.keep_unknown:
            _aside.keep(obj, aside)


class _TupleAdapter(Adapter):
    """Makes named tuples: their fields come as arguments, in the order of the stored ones."""

    makes = True

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        today: tuple[str, ...] = getattr(self.cls, "_fields", ())
        defaults: Mapping[str, Any] = getattr(self.cls, "_field_defaults", {})
        # Where no upgrade runs, the new fields are old ones and defaults in another order.
        self._more = tuple(defaults.values())
        there = (*self.shape.fields, *defaults)
        self._reorder: Callable[[Any], tuple[Any, ...]] | None = None
        if not self._steps and len(today) > 1 and {*today} <= {*there}:
            self._reorder = itemgetter(*map(there.index, today))

    def made(self, args: Sequence[Any], more: Mapping[str, Any]) -> Any:
        """The tuple of today."""
        if more or len(args) != len(self.shape.fields):
            return self.cls.__new__(self.cls, *args, **more)
        if self._reorder is not None:
            return self.cls.__new__(self.cls, *self._reorder((*args, *self._more)))
        fields = self.upgraded(dict(zip(self.shape.fields, args, strict=True)))
        today: tuple[str, ...] | None = getattr(self.cls, "_fields", None)
        if today is None:
            obj: Any = object.__new__(self.cls)
            if self.guard is not None:
                self.guard(self.cls, fields)
            self._complete(obj, fields, fields)
            return obj
        defaults: Mapping[str, Any] = self.cls._field_defaults  # type: ignore[attr-defined]
        missing = [name for name in today if name not in fields and name not in defaults]
        if missing:
            raise MigrationError(
                f"{self.stored} was saved without {', '.join(missing)}, and has no default for "
                f"that; register checkpoint.add_fields({str(self.stored)!r}, "
                f"{self.shape.version}, {missing[0]}=…)"
            )
        values = (fields[name] if name in fields else defaults[name] for name in today)
        return self.cls.__new__(self.cls, *values)


_NO_VALUE: Final = object()


class EnumAdapter(Adapter):
    """Finds enum members by the names that their values had."""

    makes = True

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._names: dict[str, list[str]] = {}
        for name, text in self.shape.members.items():
            self._names.setdefault(text, []).append(name)
        self._renamed = self._migrations.members(self.cls, self.shape.version)

    def made(self, args: Sequence[Any], more: Mapping[str, Any]) -> Any:
        """The member of today."""
        self.ran = True
        if len(args) != 1 or more:
            return self.cls(*args, **more)
        if issubclass(self.cls, enum.Flag) and isinstance(args[0], int):
            return self._flag(args[0])
        names = self._names.get(told(args[0]))
        return self.cls(args[0]) if names is None else self.member(names, args[0])

    def member(self, names: Sequence[str], value: Any = _NO_VALUE) -> Any:
        """What is called today as one of *names*, which were aliases of one value."""
        today: Mapping[str, Any] = self.cls.__members__  # type: ignore[attr-defined]
        for name in names:
            if (new := self._renamed.get(name, name)) in today:
                return today[new]
        for member in today.values() if value is not _NO_VALUE else ():
            if told(member.value) == told(value) and member.name not in self.shape.members:
                return member
        raise MigrationError(
            f"{self.stored}.{names[0]} is gone; say which member it is now: "
            f"checkpoint.rename_fields({str(self.stored)!r}, {self.shape.version}, {names[0]}=…)"
        )

    def _flag(self, value: int) -> Any:
        found, rest = self.cls(0), value
        for text, names in self._names.items():
            bits = int(text) if text.lstrip("-").isdecimal() else 0
            if bits > 0 and bits & (bits - 1) == 0 and bits & value:
                found |= self.member(names, bits)
                rest &= ~bits
        return found | self.cls(rest) if rest else found


def is_custom(cls: type) -> bool:
    """Whether the class has a `__setstate__` that somebody wrote."""
    setter = getattr(cls, "__setstate__", None)
    code = getattr(setter, "__globals__", None)
    return setter is not None and (code or {}).get("__name__", "").split(".")[0] not in _GENERATED


def required(cls: type, today: Shape) -> Iterator[str]:
    """The fields that each instance of *cls* has, and that no default fills."""
    if today.kind in ("attrs", "dataclass"):
        yield from (name for name in today.fields if name not in today.defaults)
    elif today.kind in ("plain", "slots"):
        yield from missing(cls, ())


def slots_of(cls: type) -> Iterator[str]:
    """The names under which the slots of *cls* and of its bases are set."""
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                yield f"_{base.__name__.lstrip('_')}{name}" if private else name


def defaults_of(cls: type) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """The fields that have a default, each with what makes it for an instance."""
    if attrs.has(cls):
        for attribute in attrs.fields(cls):
            if attribute.default is not attrs.NOTHING:
                yield attribute.name, _attrs_default(attribute)
    elif dataclasses.is_dataclass(cls):
        for declared in dataclasses.fields(cls):
            if declared.default is not dataclasses.MISSING:
                yield declared.name, lambda _, value=declared.default: value  # type: ignore[misc]
            elif declared.default_factory is not dataclasses.MISSING:
                make = declared.default_factory
                yield declared.name, lambda _, make=make: make()  # type: ignore[misc]


def _attrs_default(attribute: Any) -> Callable[[Any], Any]:
    default, convert = attribute.default, attribute.converter

    def make(obj: Any) -> Any:
        value = default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            value = default.factory(obj) if default.takes_self else default.factory()
        if convert is None:
            return value
        takes_self, takes_field = (
            getattr(convert, f"takes_{what}", False) for what in ("self", "field")
        )
        call = getattr(convert, "converter", convert)
        return call(value, *[obj] * takes_self, *[attribute] * takes_field)

    return make


def _listed(fields: Any) -> str:
    if not isinstance(fields, dict):
        return f"the type {type(fields).__name__}"
    names = [str(name) for name in fields]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"the fields {', '.join(names[:20])}{more}" if names else "no fields"
