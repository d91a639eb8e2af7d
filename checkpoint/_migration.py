"""What a program knows of its past: renames, upgrades of states, migrations of whole graphs.

A registry maps names and states.  It imports nothing, runs nothing by itself,
and never grants trust.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from itertools import islice
from threading import RLock
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from attrs import define, evolve, field, frozen

from checkpoint._model import Global, Shape
from checkpoint._shapes import VERSION
from checkpoint._unpickling import main_origin
from checkpoint.errors import MigrationError

State = dict[str, Any]
Upgrade = Callable[[State], Any]
GraphMigration = Callable[[Any], Any]
C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

ENTRY_POINTS = "checkpoint.migrations"


@frozen
class Become:
    """What an upgrade returns for an object that is of another class now, or nothing.

    `Become("game.mobs:Uruk", state)` makes it an instance of that class, with
    that state, which is one of today: no upgrade of the other class is run.
    `Become(None)` leaves None wherever the object was.
    """

    into: str | None
    state: Mapping[str, Any] = field(factory=dict)

    __module__ = "checkpoint"

    def __attrs_post_init__(self) -> None:
        if self.into is not None:
            split(self.into)
        if not isinstance(self.state, Mapping):
            raise TypeError(f"the state is a mapping of fields, not {self.state!r}")


@define
class _Step:
    """What takes a class from one version to the next: the one-line forms, then the function."""

    forms: list[Upgrade] = field(factory=list)
    members: dict[str, str] = field(factory=dict)
    function: Upgrade | None = None

    def __iter__(self) -> Iterator[Upgrade]:
        yield from self.forms
        if self.function is not None:
            yield self.function


class Migrations:
    """Renames, upgrades and graph migrations: how old snapshots load into today's program.

    Names are texts, `module:qualname`, and nothing is imported when they are
    registered.  A `Checkpointer` uses the registry that it is given, or the
    default one behind `checkpoint.rename`, `checkpoint.upgrade` and so on.
    Libraries ship theirs as entry points of the group `checkpoint.migrations`:
    functions that are called with a registry when something is missing in it.

    *keep_unknown* says that fields which a class does not know any more stay
    with the object, out of sight, and are saved with it again.
    """

    __module__ = "checkpoint"

    def __init__(self, *, keep_unknown: bool = True) -> None:
        self.keep_unknown: Final = keep_unknown
        self.graphs: dict[str, GraphMigration] = {}
        self._renames: dict[tuple[str, str], tuple[str, str]] = {}
        self._modules: dict[str, str] = {}
        self._steps: dict[tuple[str, str], dict[int, _Step]] = {}
        self._found: dict[tuple[str, str], tuple[str, str]] = {}
        self._by_name: dict[tuple[str, str], dict[int, _Step]] | None = None
        self._extended = False
        self._extending = RLock()
        # Classes that were found to need nothing, and the shape that they had then.
        self.unchanged: WeakKeyDictionary[type, Shape] = WeakKeyDictionary()

    # --- names --------------------------------------------------------------

    def rename(self, old: str, new: str) -> None:
        """The class, function or exception *old* is called *new* now; both are `module:qualname`.

        Chains are followed.  What is nested in it moves along.  MigrationError
        if *old* is renamed already, or if the renames would go round.
        """
        before, after = split(old), split(new)
        if before in self._renames and self._renames[before] != after:
            there = ":".join(self._renames[before])
            raise MigrationError(f"{old} is renamed already, to {there}; keep one of the two")
        self._renames[before] = after
        self._changed()
        if before == after or self._goes_round(before):
            del self._renames[before]
            raise _round(old, new)

    def rename_module(self, old: str, new: str) -> None:
        """The module *old* is called *new* now, and so are all below it.

        *new* may lie below *old*: what lies there already does not move again.
        """
        for module in (old, new):
            if not isinstance(module, str) or not all(p.isidentifier() for p in module.split(".")):
                raise ValueError(f"{module!r} is not the dotted name of a module")
        if self._modules.get(old, new) != new:
            raise MigrationError(
                f"{old} is renamed already, to {self._modules[old]}; keep one of the two"
            )
        self._modules[old] = new
        self._changed()
        if old == new or any(map(self._goes_round, [(old, ""), *self._renames])):
            del self._modules[old]
            raise _round(old, new)

    def renamed(self, module: str, qualname: str) -> tuple[str, str]:
        """The name of today for a global that was saved under this one."""
        if not self._renames and not self._modules:
            return module, qualname
        name = module, qualname
        found = self._found.get(name)
        if found is None:
            *_, found = self._chain(name)
            self._found[name] = found
        return found

    def _chain(self, name: tuple[str, str]) -> Iterator[tuple[str, str]]:
        """*name*, and each that it was given after that, but for ever if they go round."""
        following = None
        while following != name:
            yield name
            following, name = name, self._next(*name)

    def _goes_round(self, name: tuple[str, str]) -> bool:
        """Whether the chain from *name* has more links than there are renames."""
        most = len(self._renames) + len(self._modules) + 1
        return sum(1 for _ in islice(self._chain(name), most + 1)) > most

    def _next(self, module: str, qualname: str) -> tuple[str, str]:
        names = qualname.split(".") if qualname else []
        for count in range(len(names), 0, -1):
            renamed = self._renames.get((module, ".".join(names[:count])))
            # As below: what lies in its new place already does not move again.
            if renamed is not None and not f"{module}:{qualname}.".startswith(
                f"{':'.join(renamed)}."
            ):
                return renamed[0], ".".join([renamed[1], *names[count:]])
        parts = module.split(".")
        for count in range(len(parts), 0, -1):
            old = ".".join(parts[:count])
            new = self._modules.get(old)
            if new is not None and not f"{module}.".startswith(f"{new}."):
                return ".".join([new, *parts[count:]]), qualname
        return module, qualname

    # --- states -------------------------------------------------------------

    def upgrade(self, cls: str | type, version: int) -> Callable[[F], F]:
        """Decorate the function that takes a state of *version* to the next version.

        It is called with a dict of fields as they were saved, before the class
        sees them, and returns a dict, or a `Become`.  It may be called more
        than once for an object, and must depend on the state alone.
        """
        _check_version(version)

        def register(function: F) -> F:
            if not callable(function):
                raise TypeError(f"an upgrade is a function, not {function!r}")
            step = self._step(cls, version)
            if step.function is not None:
                there = f"{step.function.__module__}.{step.function.__qualname__}"
                raise MigrationError(
                    f"{_text(cls)} has an upgrade from version {version} already, {there}; "
                    "keep one of the two"
                )
            step.function = function
            return function

        return register

    def rename_fields(self, cls: str | type, version: int, /, **new_of_old: str) -> None:
        """From *version* to the next, fields or enum members get other names: `hp="health"`."""
        self._form(cls, version, _renaming(new_of_old))
        self._step(cls, version).members.update(new_of_old)

    def drop_fields(self, cls: str | type, version: int, /, *names: str) -> None:
        """From *version* to the next, these fields go."""
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"a field's name is a text, not {name!r}")
        self._form(cls, version, lambda state: {k: v for k, v in state.items() if k not in names})

    def add_fields(self, cls: str | type, version: int, /, **values: Any) -> None:
        """From *version* to the next, each instance gets these fields: deep copies of the values.

        A field that is there already keeps its value.
        """
        self._form(cls, version, lambda state: {**copy.deepcopy(values), **state})

    def _form(self, cls: str | type, version: int, form: Upgrade) -> None:
        self._step(cls, version).forms.append(form)

    def _step(self, cls: str | type, version: int) -> _Step:
        name = named(cls) if isinstance(cls, type) else split(cls)
        _check_version(version)
        self._changed()
        return self._steps.setdefault(name, {}).setdefault(version, _Step())

    def _steps_of(self, name: tuple[str, str]) -> dict[int, _Step]:
        """The steps of the class that is called *name* today, whatever name they were given to."""
        if self._by_name is None:
            by_name: dict[tuple[str, str], dict[int, _Step]] = {}
            for old, steps in self._steps.items():
                ours = by_name.setdefault(self.renamed(*old), {})
                for version, step in steps.items():
                    if version in ours:
                        raise MigrationError(
                            f"{':'.join(self.renamed(*old))} has two upgrades from version "
                            f"{version}, under two of its names; keep one of the two"
                        )
                    ours[version] = step
            self._by_name = by_name
        found = self._by_name.get(name, {})
        if not found and name[0] == "__main__":
            found = self._by_name.get((main_origin() or "", name[1]), {})
        return found

    def version_of(self, cls: type) -> int:
        """Today's version of *cls*: as it declares, or else one above its last upgrade."""
        declared: int | None = vars(cls).get(VERSION)
        return declared or max(self._steps_of(named(cls)), default=0) + 1

    def upgrades(self, cls: type, stored: int) -> list[Upgrade]:
        """What takes a state of *cls* from version *stored* to today's, in order.

        MigrationError if the class is older than the state, or a step is missing.
        """
        return [function for step in self._path(cls, stored) for function in step]

    def members(self, cls: type, stored: int) -> dict[str, str]:
        """Today's name of each enum member that was renamed since version *stored*."""
        found: dict[str, str] = {}
        for step in self._path(cls, stored):
            found = {old: step.members.get(new, new) for old, new in found.items()}
            found = {**step.members, **found}
        return found

    def _path(self, cls: type, stored: int) -> list[_Step]:
        name, today, steps = ":".join(named(cls)), self.version_of(cls), self._steps_of(named(cls))
        if max(steps, default=0) >= today:
            raise MigrationError(
                f"{name} is version {today}, and there is an upgrade from version {max(steps)}: "
                f"declare @versioned({max(steps) + 1}), or take it out"
            )
        if stored > today:
            raise MigrationError(
                f"{name} was saved as version {stored}, and is version {today} here: "
                "it comes from a newer program; update this one"
            )
        missing = [version for version in range(stored, today) if version not in steps]
        if missing:
            raise MigrationError(
                f"{name} was saved as version {stored} and is version {today} now, and there is "
                f"no upgrade from version {missing[0]}; register one: "
                f'@upgrade("{name}", {missing[0]})'
            )
        return [steps[version] for version in range(stored, today)]

    def stamped(self, types: Iterable[Global]) -> tuple[Global, ...]:
        """*types* with the versions that upgrades say, where a class declares none."""
        return tuple(self._stamped(entry) for entry in types)

    def _stamped(self, entry: Global) -> Global:
        steps = self._steps_of((entry.module, entry.qualname)) if self._steps else {}
        if not steps or entry.shape is None or entry.shape.version > max(steps):
            return entry
        return evolve(entry, shape=evolve(entry.shape, version=max(steps) + 1))

    # --- whole graphs -------------------------------------------------------

    def graph_migration(self, name: str) -> Callable[[F], F]:
        """Decorate a function that takes the root of an old graph and returns that of the new one.

        They run in the order of registration, each once: a snapshot knows
        which of them its state has behind it, and what is saved has all.
        """
        if not isinstance(name, str) or not name:
            raise ValueError(f"a graph migration has a name, not {name!r}")
        if name in self.graphs:
            raise MigrationError(f"there are two graph migrations {name!r}; keep one of the two")

        def register(function: F) -> F:
            self.graphs[name] = function
            return function

        return register

    # --- what libraries ship ------------------------------------------------

    def extend(self) -> bool:
        """Take in what libraries ship as entry points; false if that was done before."""
        with self._extending:
            if self._extended:
                return False
            self._extended = True
            for entry in entry_points(group=ENTRY_POINTS):
                entry.load()(self)
            return True

    def _changed(self) -> None:
        self._found.clear()
        self.unchanged.clear()
        self._by_name = None


default: Final = Migrations()
rename = default.rename
rename_module = default.rename_module
upgrade = default.upgrade
rename_fields = default.rename_fields
drop_fields = default.drop_fields
add_fields = default.add_fields
graph_migration = default.graph_migration


def versioned(version: int) -> Callable[[C], C]:
    """Declare the version of a class: 1 for one that declares none.

    Count it up when the fields change in a way that an upgrade must mend.  A
    subclass has a version of its own.
    """
    _check_version(version)

    def declare(cls: C) -> C:
        if not isinstance(cls, type):
            raise TypeError(f"@versioned is for classes, not for {cls!r}")
        try:
            setattr(cls, VERSION, version)
        except (AttributeError, TypeError) as error:
            raise MigrationError(
                f"{cls.__qualname__} does not let its version be declared: {error}; "
                f"set {VERSION} = {version} in its body"
            ) from error
        return cls

    return declare


def _check_version(version: int) -> None:
    if type(version) is not int or version < 1:
        raise ValueError(f"a version is a number from 1 on, not {version!r}")


def split(name: str) -> tuple[str, str]:
    """Module and qualified name of `module:qualname`; ValueError if it is not written so."""
    if not isinstance(name, str):
        raise TypeError(f"a name is a text such as 'game.mobs:Orc', not {name!r}")
    module, colon, qualname = name.partition(":")
    parts = [*module.split("."), *qualname.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ValueError(f"{name!r} is not a name: write 'module:Class', as 'game.mobs:Orc'")
    return module, qualname


def named(cls: type) -> tuple[str, str]:
    """Module and qualified name of a class."""
    return cls.__module__, cls.__qualname__


def _round(old: str, new: str) -> MigrationError:
    return MigrationError(
        f"renaming {old} to {new} goes round: {new} is renamed to {old} again, or is the same; "
        "take out the rename that is wrong"
    )


def _text(cls: str | type) -> str:
    return ":".join(named(cls)) if isinstance(cls, type) else cls


def _renaming(new_of_old: Mapping[str, str]) -> Upgrade:
    new_name = new_of_old.get

    def rename(state: State) -> State:
        renamed = {new_name(name, name): value for name, value in state.items()}
        if len(renamed) < len(state):
            clash = [new for old, new in new_of_old.items() if old in state and new in state]
            raise MigrationError(f"there is a field {clash[0]!r} already")
        return renamed

    return rename
