"""Old versions appended anew, in today's classes.

Versions never change.  So a version that needs it is followed by a new one of
the same state, whose parent it is, and from which it takes its date, metrics,
meta and tags.  Names alone are changed in the stream, of which nothing is run;
what else has changed is loaded and saved.

The newest state must stay the newest: versions behind the first that is made
anew are appended again, too, in the order of their states.  By date and parent
each run knows what an earlier one has done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from attrs import evolve, field, frozen

from checkpoint._draft import Draft
from checkpoint._foreign import check_size
from checkpoint._members import libraries, stamp
from checkpoint._model import Buffer, Global, Manifest, Snapshot
from checkpoint._moves import sought
from checkpoint._pickling import pickle_into
from checkpoint._reading import Wish
from checkpoint._refusal import told_by
from checkpoint._repository import Repository
from checkpoint._rewriting import renamed
from checkpoint._saving import Saving
from checkpoint._unpickling import find_global
from checkpoint._upgrading import Loading, Terms
from checkpoint.errors import CheckpointError, MigrationError, NotFoundError, about

Name = tuple[str, str]
Way = Literal["nothing", "rename", "load", "copy", "cannot"]

_TOLD = 3  # of what there is to say of one kind


@frozen(kw_only=True)
class Migrated:
    """What is done with one version: `into` is the new one, where there is one.

    `way` is `nothing`; `rename`, for names that are changed in the stream;
    `load`, for a state that is loaded and saved; `copy`, for a version that
    stays behind those before it; or `cannot`.  `why` says it in words, and
    `error` is what went wrong.
    """

    version: int
    way: Way
    why: str = ""
    into: int | None = None
    error: CheckpointError | None = None

    __module__ = "checkpoint"


@frozen
class _Plan:
    """What to do with a version; *names* are the new ones of what is renamed."""

    way: Way
    why: str = ""
    names: Mapping[Name, Name] = field(factory=dict)
    error: CheckpointError | None = None


def migrate(
    repository: Repository, saving: Saving, terms: Terms, *, dry_run: bool = False
) -> list[Migrated]:
    """Append what is old in the line of *saving* anew; what was done with each version.

    With *dry_run* nothing is written, and it is told what would be done.  An
    error in one version is told, and the others go on.
    """
    migrating = _Migrating(repository, saving, terms)
    snapshots = repository.snapshots(saving.name)
    done = [*migrating.damaged(snapshots)]
    highest: float = 0  # of the versions that hold older states
    for snapshot in _in_order(snapshots):
        behind = snapshot.version < highest
        plan = migrating.plan(snapshot.version)
        if behind and plan.way == "nothing":
            plan = _Plan("copy", "nothing but its place, behind those before it")
        if dry_run:
            one = Migrated(version=snapshot.version, way=plan.way, why=plan.why, error=plan.error)
            number = math.inf if plan.way in ("rename", "load") else snapshot.version
        else:
            one = migrating.carried_out(snapshot, plan, behind=behind)
            number = one.into or snapshot.version
        highest = max(highest, number)
        done.append(one)
    return done


def _in_order(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Those that no other was made from, in the order in which their states came about."""
    there = {snapshot.version: snapshot for snapshot in snapshots}
    first: dict[int, int] = {}  # of each version: the one that its state was first saved as
    replaced: set[int] = set()
    for snapshot in snapshots:
        first[snapshot.version] = snapshot.version
        before = there.get(snapshot.parent or 0)
        if before is not None and before.created == snapshot.created:
            first[snapshot.version] = first[before.version]
            replaced.add(before.version)
    heads = (snapshot for snapshot in snapshots if snapshot.version not in replaced)
    return sorted(heads, key=lambda snapshot: (first[snapshot.version], snapshot.version))


class _Migrating:
    """One line of versions, on its way into today's classes."""

    def __init__(self, repository: Repository, saving: Saving, terms: Terms) -> None:
        self._repository, self._saving = repository, saving
        self._name = saving.name
        # What would be taken in wrongly, after a warning, must not be written down as right.
        self._terms = evolve(terms, schema="off" if terms.schema == "off" else "strict")
        self._migrations = terms.migrations

    def damaged(self, readable: Sequence[Snapshot]) -> list[Migrated]:
        """The versions that are there and not *readable*."""
        found = []
        versions = {snapshot.version for snapshot in readable}
        for version in self._repository.line(self._name).versions():
            if version in versions:
                continue
            try:
                self._repository.manifest(self._name, version)
            except NotFoundError:
                continue  # It was deleted.
            except CheckpointError as error:
                found.append(Migrated(version=version, way="cannot", why=str(error), error=error))
        return found

    # --- the plan -----------------------------------------------------------

    def plan(self, version: int) -> _Plan:
        """What to do with a version; its classes are imported, unless it is foreign."""
        try:
            with about(self._name, version, ""):
                manifest = self._repository.manifest(self._name, version)
                if manifest.provenance == "foreign":
                    return self._foreign(manifest)
                return self._own(manifest)
        except CheckpointError as error:
            return _Plan("cannot", str(error), error=error)

    def _foreign(self, manifest: Manifest) -> _Plan:
        """A stranger's file may name any module: none is imported, and nothing is loaded."""
        types = [(entry.module, entry.qualname) for entry in manifest.types]
        plan = self._rename({name: self._migrations.renamed(*name) for name in types})
        if plan.way == "load":
            raise MigrationError(
                "it is foreign, so it is not loaded, and names in its stream alone do not do: "
                f"{plan.why}; if you would run it: adopt({manifest.version}), and migrate again"
            )
        return plan

    def _own(self, manifest: Manifest) -> _Plan:
        loading = Loading(self._terms, manifest.types)
        try:
            loading.check()
        except CheckpointError:
            raise
        except Exception as error:  # a module may raise anything when it is imported
            raise MigrationError(f"its classes cannot be looked at: {told_by(error)}") from error
        names = {(entry.module, entry.qualname): self._today(entry) for entry in manifest.types}
        adapters = (
            (entry, loading.target(entry.module, entry.qualname).adapter)
            for entry in manifest.types
        )
        changed = [f"{entry} has changed" for entry, one in adapters if one and not one.only_keeps]
        applied = manifest.migrations
        graphs = [name for name in self._migrations.graphs if name not in applied]
        changed += [f"the migration {name!r}" for name in graphs]
        if changed:
            return _Plan("load", _listed(changed))
        return self._rename(names)

    def _rename(self, names: Mapping[Name, Name]) -> _Plan:
        new = {old: name for old, name in names.items() if old != name}
        why = _listed([f"{':'.join(old)} → {':'.join(name)}" for old, name in new.items()])
        if not new:
            return _Plan("nothing")
        # `__main__` means another module in each program, and two shapes do not fit one class.
        if any(old[0] == "__main__" for old in new) or len({*names.values()}) < len(names):
            return _Plan("load", why)
        return _Plan("rename", why, new)

    def _today(self, entry: Global) -> Name:
        """The name under which *entry* is found."""
        stored = entry.module, entry.qualname
        if entry.module == "__main__":
            main = entry.origin or entry.module, entry.qualname
            name = self._migrations.renamed(*main)
            return stored if name == main else name
        name = self._migrations.renamed(*stored)
        for place in sought(*name):
            with suppress(MigrationError):
                find_global(*place)
                return place
        return name  # It is gone, and stands in for itself.

    # --- the deed -----------------------------------------------------------

    def carried_out(self, snapshot: Snapshot, plan: _Plan, *, behind: bool) -> Migrated:
        """Do what *plan* says.

        A version that cannot be migrated, *behind* one that was, is copied as it
        is: an older state may not become the newest.
        """
        into, error = None, plan.error
        if plan.way in ("rename", "load", "copy"):
            try:
                into = self._appended(snapshot, plan)
            except CheckpointError as failed:
                error = failed
        if error is not None and behind:
            with suppress(CheckpointError):  # The first error says what is wrong.
                into = self._appended(snapshot, _Plan("copy"))
        return Migrated(
            version=snapshot.version, way=plan.way, why=plan.why, into=into, error=error
        )

    def _appended(self, snapshot: Snapshot, plan: _Plan) -> int:
        """The number of the new version, which was read back and needs nothing."""
        with about(self._name, snapshot.version, ""):
            manifest, parts = self._read(snapshot.version)
            if plan.way == "load":
                new = self._saved(snapshot, manifest, self._state(manifest, parts))
            else:
                new = self._written(snapshot, manifest, parts, plan.names)
            del parts
            try:
                self._check(new.version, plan)
            except CheckpointError:
                self._repository.delete(self._name, [new.version])
                raise
        return new.version

    def _read(self, version: int) -> tuple[Manifest, list[Buffer]]:
        admit = partial(check_size, self._terms)
        return self._repository.read(self._name, version, Wish(admit=admit))

    def _state(self, manifest: Manifest, parts: Sequence[Buffer]) -> Any:
        assert manifest.version is not None
        version = manifest.version
        loading = Loading(self._terms, manifest.types)
        state = loading.load(parts[-1], parts[:-1], lambda: self._read(version)[1][:-1])
        return loading.migrated(state, manifest.migrations)

    def _saved(self, snapshot: Snapshot, old: Manifest, state: Any) -> Snapshot:
        def fill(draft: Draft) -> Snapshot:
            pickled = pickle_into(state, draft.stream.write, restart=draft.stream.restart)
            assert not pickled.foreign  # Nothing foreign is loaded here.
            return self._repository.commit(
                draft,
                pickled.buffers,
                None,
                types=self._migrations.stamped(pickled.globals),
                libraries=libraries(pickled.globals),
                migrations=tuple(dict.fromkeys((*old.migrations, *self._migrations.graphs))),
                **_kept(snapshot, old),
            )

        return self._saving.make(fill)

    def _written(
        self,
        snapshot: Snapshot,
        old: Manifest,
        parts: Sequence[Buffer],
        names: Mapping[Name, Name],
    ) -> Snapshot:
        """The same stream, but for *names*; nothing of it is run."""
        stream = renamed(parts[-1], _by(names)) if names else None

        def fill(draft: Draft) -> Snapshot:
            draft.stream.write(parts[-1] if stream is None else stream)
            return self._repository.commit(
                draft,
                parts[:-1],
                None,
                types=self._types(old.types, names) if names else old.types,
                libraries=old.libraries,
                migrations=old.migrations,
                **_kept(snapshot, old),
            )

        return self._saving.make(fill, private=True)

    def _types(self, types: Sequence[Global], names: Mapping[Name, Name]) -> tuple[Global, ...]:
        """The type table with its *names* of today."""
        found = []
        for entry in types:
            module, qualname = names.get(
                (entry.module, entry.qualname), (entry.module, entry.qualname)
            )
            shape = entry.shape
            if shape is not None and shape.bases:
                bases = {self._text(base): version for base, version in shape.bases.items()}
                shape = evolve(shape, bases=bases)
            found.append(evolve(entry, module=module, qualname=qualname, shape=shape))
        return tuple(sorted(found, key=lambda entry: (entry.module, entry.qualname)))

    def _text(self, name: str) -> str:
        module, _, qualname = name.partition(":")
        return ":".join(self._migrations.renamed(module, qualname))

    def _check(self, version: int, plan: _Plan) -> None:
        """MigrationError or IntegrityError if the new *version* is not what was wanted."""
        manifest, parts = self._read(version)
        if plan.way == "copy":
            return
        left = self.plan(version)
        if left.way == "nothing" and plan.way == "rename":
            again = renamed(parts[-1], _by(plan.names))
            left = left if again is None else _Plan("rename", "its stream has old names")
        if left.way != "nothing":
            raise MigrationError(
                f"made anew, it still does not fit today's classes: {left.why}; "
                f"the new version {version} was deleted"
            )
        if plan.way == "load":
            self._state(manifest, parts)


def _kept(snapshot: Snapshot, old: Manifest) -> dict[str, Any]:
    """What the new version of *snapshot* takes over from it."""
    return {
        "parent": snapshot.version,
        "created": old.created,
        "writer": stamp()["writer"],
        "metrics": old.metrics,
        "meta": old.meta,
        "tags": snapshot.tags,  # They move with the commit.
        "provenance": old.provenance,
    }


def _by(names: Mapping[Name, Name]) -> Any:
    return lambda module, qualname: names.get((module, qualname), (module, qualname))


def _listed(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - _TOLD} more"] if len(texts) > _TOLD else []
    return ", ".join([*texts[:_TOLD], *more])
