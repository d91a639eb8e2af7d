"""A load into today's program: where each global is found now, and what old states go through.

The C unpickler builds the graph.  A class that needs nothing is given to it as
it is, at no cost.  For one that needs an adapter it is given a *pending* one,
a subclass whose instances turn into those of the class as soon as their state
comes.  Where that cannot be done, the graph is built by pickle's
unpickler in Python, which sees each step: where the class is used as a value,
too, has a `__new__` of its own, or an instance has no state, or an upgrade makes
something else of one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal, get_args

import attrs
from attrs import evolve, field, frozen
from attrs.validators import in_

from checkpoint._adapting import Adapter, adapter, stand_for_removed, steps
from checkpoint._careful import Ask, Careful
from checkpoint._classes import check_fields, of_gone
from checkpoint._grants import Grant
from checkpoint._migration import Become, Migrations, Upgrade, default, split
from checkpoint._model import Buffer, Global, Shape
from checkpoint._moves import sought
from checkpoint._pending import TakeCare, pending
from checkpoint._refusal import told_by
from checkpoint._schema import SchemaChange, compare
from checkpoint._shapes import describe, told
from checkpoint._standins import reconstructing, recording, stand_in
from checkpoint._trust import Policy
from checkpoint._unpickling import Resolve, find_global, main_origin, unpickle
from checkpoint.errors import (
    CheckpointError,
    MigrationError,
    SchemaWarning,
    SerializationError,
    UnsafeError,
    warn,
)

OnMissing = Literal["raise", "stand-in"]
Schema = Literal["warn", "strict", "off"]


@frozen
class Terms:
    """How a program takes old snapshots in."""

    migrations: Migrations = default
    on_missing: OnMissing = field(default="raise", validator=in_(get_args(OnMissing)))
    schema: Schema = field(default="warn", validator=in_(get_args(Schema)))
    # What strangers' files may have, and may take; None trusts every file.
    policy: Policy | None = None
    budget: int | None = field(default=None)

    @budget.validator
    def _check_budget(self, _: object, value: int | None) -> None:
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"budget is a number of bytes, not {value!r}")


@frozen
class Target:
    """What a stored global is today, and what the C unpickler is given for it."""

    real: Any
    given: Any
    adapter: Adapter | None = None
    gone: bool = False
    unchanged: bool = False


class Loading:
    """One load of a graph that was saved with *types*.

    *look_up* finds globals by their stored names, in place of `find`.  Of what
    is *foreign* only what the policy grants is found, and nothing is imported.
    """

    def __init__(
        self,
        terms: Terms,
        types: Sequence[Global] = (),
        look_up: Resolve | None = None,
        *,
        foreign: bool = False,
    ) -> None:
        self._policy = terms.policy if foreign else None
        self._is_foreign = foreign
        self._grants: dict[tuple[str, str], Grant] = {}
        self._is_guarded = False
        self._migrations = terms.migrations
        self._look_up = look_up or self.find
        self._terms = terms
        self._types = {(entry.module, entry.qualname): entry for entry in types}
        self._origin = next((entry.origin for entry in types if entry.origin), None)
        self._targets: dict[tuple[str, str], Target] = {}
        self._is_checked = False  # Of a part of a graph each type is looked at as it is met.
        self._references: dict[tuple[str, str], int] = {}
        # Instances with fields whose validators are new, and those fields.
        self.adapted: list[tuple[Any, list[str]]] = []

    # --- names --------------------------------------------------------------

    def find(self, module: str, qualname: str) -> Any:
        """What was saved under this name, under its name of today; MigrationError if it is gone."""
        if self._policy is not None:
            found = self.granted(module, qualname)
            if found.object is None:
                raise MigrationError(f"{module}:{qualname} is gone")
            return found.object
        return self._sought(module, qualname)

    def granted(self, module: str, qualname: str) -> Grant:
        """What a foreign stream may do with what it names so; UnsafeError if nothing.

        What is gone may be stood for, if that is wished or an upgrade is for it.
        """
        assert self._policy is not None
        found = self._grants.get((module, qualname))
        if found is None:
            found = self._grants[module, qualname] = self._first_granted(module, qualname)
        return found

    def _first_granted(self, module: str, qualname: str) -> Grant:
        assert self._policy is not None
        first: CheckpointError | None = None
        for name in self._places(module, qualname):
            try:
                return self._policy.grant(*name)
            except (UnsafeError, MigrationError) as error:
                first = first or error
        assert first is not None
        if isinstance(first, MigrationError):
            stored = self._types.get((module, qualname))
            if self._terms.on_missing == "stand-in" or self._removed(stored, first) is not None:
                return of_gone(f"{module}:{qualname}")
            raise self._gone(module, qualname, first)
        raise first

    def _places(self, module: str, qualname: str) -> list[tuple[str, str]]:
        """Where a global may be, of which the program's `__main__` has two names."""
        here, found = main_origin(), []
        for place, name in self._names(module, qualname):
            if place == "__main__" and self._origin not in (None, here):
                found.append((str(self._origin), name))
            is_main = place == here and place not in sys.modules
            found.append(("__main__" if is_main else place, name))
        return found

    def _sought(self, module: str, qualname: str) -> Any:
        names = self._names(module, qualname)
        found, error = self._first(names)
        if error is not None and self._migrations.extend():
            names = self._names(module, qualname)
            found, error = self._first(names)
        if error is None:
            return found
        raise self._gone(module, qualname, error)

    def _gone(self, module: str, qualname: str, error: MigrationError) -> MigrationError:
        names = self._names(module, qualname)
        name, new = f"{module}:{qualname}", ":".join(names[-1])
        via = "" if new == name else f" (renamed to {new})"
        old = name
        if module == "__main__" and self._origin and new == name:
            via, old = f" (of {self._origin})", f"{self._origin}:{qualname}"
        cause = error.__cause__ or error
        told = MigrationError(
            f"{name}{via} is gone: {cause}; if it was renamed or moved: "
            f"checkpoint.rename({old!r}, 'module:Class'); "
            "to load the state without it: on_missing='stand-in'"
        )
        told.__cause__ = cause
        return told

    def _names(self, module: str, qualname: str) -> list[tuple[str, str]]:
        """The names under which a global is sought today, the first that is there."""
        stored = self._origin if module == "__main__" and self._origin else module
        renamed = self._migrations.renamed(stored, qualname)
        return sought(module, qualname) if renamed == (stored, qualname) else sought(*renamed)

    def _first(self, names: Sequence[tuple[str, str]]) -> tuple[Any, MigrationError | None]:
        failed = None
        for name in names:
            try:
                return find_global(*name, self._origin), None
            except MigrationError as error:
                failed = error
            except Exception as error:  # whatever a module raises that is imported
                raise SerializationError(
                    f"cannot rebuild the graph: {':'.join(name)}: {told_by(error)}"
                ) from error
        return None, failed

    def target(self, module: str, qualname: str) -> Target:
        """What the global is today."""
        found = self._targets.get((module, qualname))
        if found is None:
            found = self._aimed(module, qualname)
            stored = self._types.get((module, qualname))
            if stored is not None and not self._is_checked:
                self._complain(self._changes(stored, found))
            self._targets[module, qualname] = found
            if found.adapter is not None and found.given is not None:
                self._references[module, qualname] = sys.getrefcount(found.given)
        return found

    def _aimed(self, module: str, qualname: str) -> Target:
        stored = self._types.get((module, qualname))
        try:
            real = self._looked_up(module, qualname)
        except MigrationError as error:
            if (needed := self._removed(stored, error)) is not None:
                return Target(needed.cls, None, needed)
            if self._terms.on_missing == "raise":
                raise
            return Target(None, None, gone=True)
        is_own = self._look_up == self.find  # Who overrides it may give any callable.
        if is_own and stored is not None and stored.shape and not isinstance(real, type):
            new = ":".join(self._names(module, qualname)[0])
            raise MigrationError(
                f"{module}:{qualname} was a class, and {new} is {told(real)}, which is none; "
                f"rename it to a class: checkpoint.rename('{module}:{qualname}', 'module:Class')"
            )
        if stored is None or self._is_unchanged(stored, real):
            return Target(real, real, unchanged=True)
        needed = self._adapter(stored, real)
        return Target(real, real if needed is None else pending(needed, self.adapted), needed)

    def _looked_up(self, module: str, qualname: str) -> Any:
        try:
            return self._look_up(module, qualname)
        except CheckpointError:
            raise
        except Exception as error:
            raise SerializationError(f"cannot rebuild the graph: {told_by(error)}") from error

    def _removed(self, stored: Global | None, error: MigrationError) -> Adapter | None:
        """What makes something else of the instances of a class that is gone, if anything does."""
        if stored is None or stored.shape is None:
            return None
        removed = stand_for_removed(*self._migrations.renamed(stored.module, stored.qualname))
        needed = None
        with suppress(MigrationError):  # Nothing was registered for it.
            needed = adapter(stored, removed, stored.shape, self._migrations)
        if needed is None or not needed.upgrades:
            return None
        needed.gone = error
        return needed

    def _adapter(self, stored: Global, real: Any) -> Adapter | None:
        if not isinstance(real, type):
            return None
        try:
            found = adapter(stored, real, describe(real), self._migrations)
        except MigrationError:
            self._migrations.extend()
            found = adapter(stored, real, describe(real), self._migrations)
        return self._guarded(found)

    def _guarded(self, found: Adapter | None) -> Adapter | None:
        """An adapter that refuses what a stranger's state may not have, if this is one."""
        if found is not None and self._policy is not None:
            found.guard = check_fields
        return found

    def instance(self, become: Become, needed: Adapter) -> Any:
        """What *become* says, made anew."""
        if become.into is None:
            return None
        obj = self.blank(become.into, needed)
        self.dress(obj, become)
        return obj

    def blank(self, into: str, needed: Adapter) -> Any:
        """An instance without a state of the class that a `Become` names."""
        real = self._sought(*split(into))
        try:
            return real.__new__(real)
        except Exception as error:
            raise MigrationError(
                f"the upgrade of {needed.stored} returned Become({into!r}), and no instance can be "
                f"made of {told(real)}: {told_by(error)}"
            ) from error

    def dress(self, obj: Any, become: Become) -> None:
        """Give *obj* the state that *become* has for it."""
        real = type(obj)
        as_said = Global(real.__module__, real.__qualname__, None, Shape("plain"))
        today = describe(real) or Shape("plain")
        dressing = Adapter(as_said, real, today, (), self._migrations)
        self._guarded(dressing)
        dressing.build(obj, dict(become.state))

    def guard(self, guarded: bool) -> None:
        """Build the graph step by step, and count the keys that have one hash."""
        self._is_guarded = guarded

    @property
    def may_start_again(self) -> bool:
        """Whether the graph may have to be built twice: after `check`, of what is known then."""
        return any(target.adapter for target in self._targets.values())

    # --- the graph ----------------------------------------------------------

    def check(self) -> None:
        """Look at all types before anything is built, and say what would go wrong.

        MigrationError if a class is gone, or an upgrade is missing, or, if the
        schema is strict, if a class changed and nothing says how; else a
        SchemaWarning for each such change.
        """
        refused: list[MigrationError] = []
        changes: list[SchemaChange] = []
        self._is_checked = True
        for module, qualname in self._types:
            try:
                target = self.target(module, qualname)
            except MigrationError as error:
                refused.append(error)
            else:
                changes += self._changes(self._types[module, qualname], target)
        if refused:
            more = f" (and {len(refused) - 1} more like this)" if len(refused) > 1 else ""
            raise MigrationError(f"{refused[0]}{more}") from refused[0].__cause__
        self._complain(changes)

    def _complain(self, changes: Iterable[SchemaChange]) -> None:
        self._say([str(change) for change in changes if change.is_bad])

    def _say(self, bad: Sequence[str]) -> None:
        if bad and self._terms.schema == "strict":
            raise MigrationError("; ".join(bad))
        for message in bad if self._terms.schema == "warn" else ():
            warn(message, SchemaWarning)

    def _is_unchanged(self, stored: Global, real: Any) -> bool:
        """Whether this shape of *real* was looked at before, and needed nothing."""
        if not isinstance(real, type) or stored.shape is None:
            return False
        is_version = self._migrations.version_of(real) == stored.shape.version
        return is_version and self._migrations.unchanged.get(real) == stored.shape

    def _changes(self, stored: Global, target: Target) -> list[SchemaChange]:
        def upgrades(cls: type, shape: Shape) -> list[Upgrade]:
            return steps(cls, shape, self._migrations)

        removed = target.adapter is not None and target.adapter.gone is not None
        if self._terms.schema == "off" or target.gone or target.unchanged or removed:
            return []
        found = compare(stored, target.real, upgrades, self._migrations.version_of)
        if not found and target.adapter is None and stored.shape is not None:
            self._migrations.unchanged[target.real] = stored.shape
        return found

    def migrated(self, root: Any, applied: Collection[str]) -> Any:
        """*root* after the graph migrations that are not *applied* yet."""
        for name, migrate in self._migrations.graphs.items():
            if name in applied:
                continue
            try:
                root = migrate(root)
            except Exception as error:
                raise MigrationError(
                    f"the graph migration {name!r} failed: {told_by(error)}"
                ) from error
            if root is None:
                raise MigrationError(f"the graph migration {name!r} returned None: return the root")
        return root

    def load(
        self,
        stream: Buffer,
        buffers: Iterable[Buffer],
        again: Callable[[], Iterable[Buffer]],
        persistent_load: Ask | None = None,
    ) -> Any:
        """The graph of *stream*; *again* gives fresh buffers if it must be built once more.

        MigrationError with the path to an instance that cannot be taken along.
        """
        try:
            root, is_built = None, False
            if not self._is_guarded:
                root, is_built = self._quickly(stream, buffers, persistent_load)
            if not is_built:
                root = self._with_care(stream, again, persistent_load)
        finally:
            adapters = [target.adapter for target in self._targets.values() if target.adapter]
            self._targets.clear()  # Pending classes lead back here.
        self._say([one for needed in adapters for one in needed.complaints()])
        self._validate()
        return root

    def _quickly(self, stream: Buffer, buffers: Iterable[Buffer], ask: Ask | None) -> Any:
        """The graph and true; or false, and all pending classes are gone."""
        try:
            with recording(self._is_foreign):
                return self._by_c(stream, buffers, ask), True
        except (TakeCare, CheckpointError):
            if not any(target.adapter for target in self._targets.values()):
                raise
        for name, target in self._targets.items():
            if target.adapter is not None:
                self._targets[name] = evolve(target, given=None)
        return None, False

    def load_plain(self, source: Any, buffers: Iterable[Buffer], **options: Any) -> Any:
        """The graph of a plain pickle, whose classes tell nothing of what they were."""
        with recording(self._is_foreign):
            return unpickle(source, buffers, resolve=self._given, **options)

    def _given(self, module: str, qualname: str) -> Any:
        target = self.target(module, qualname)
        if target.given is None and not target.gone:
            raise TakeCare
        return self.met(target, target.given, module, qualname)

    def met(self, target: Target, found: Any, module: str, qualname: str) -> Any:
        """*found*, for what a stream names *module* and *qualname*; a stand-in if it is gone."""
        if self._terms.on_missing == "raise":
            return found
        if not target.gone:
            return reconstructing(module, qualname, found)
        stored = self._types.get((module, qualname))
        known = (stored.shape, stored.origin) if stored else (None, None)
        return stand_in(module, qualname, *known)

    def _by_c(self, stream: Buffer, buffers: Iterable[Buffer], ask: Ask | None) -> Any:
        root = unpickle(stream, buffers, resolve=self._given, persistent_load=ask)
        for name, before in self._references.items():
            # One more is a class among the values, or an instance that got no state.
            if sys.getrefcount(self._targets[name].given) != before:
                raise TakeCare
        return root

    def _with_care(
        self, stream: Buffer, again: Callable[[], Iterable[Buffer]], ask: Ask | None
    ) -> Any:
        become: dict[int, str | None] = {}
        while True:
            self.adapted.clear()
            careful = Careful(self, stream, again(), ask, become, guarded=self._is_guarded)
            try:
                with recording(self._is_foreign):
                    root = careful.loaded()
            except CheckpointError:
                # What is to be something else has no state yet, and may be looked at.
                if careful.become == become:
                    raise
            if careful.become == become:
                return root
            become = careful.become

    def _validate(self) -> None:
        for obj, checked in self.adapted:
            try:
                attrs.validate(obj)
            except Exception as error:
                raise MigrationError(
                    f"a saved {type(obj).__module__}:{type(obj).__qualname__} does not pass its "
                    f"new validator ({', '.join(checked)}): {told_by(error)}; "
                    "register an upgrade that mends the value"
                ) from error
        self.adapted.clear()
