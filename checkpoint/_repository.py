"""Snapshots in a store.

Write order is the crash-safety argument, so it is kept in one place: packs
first, then the manifest that names them.  A crash can only leave packs that
nobody refers to; `prune` removes them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any

from attrs import evolve

from checkpoint import _format, _keys, _lease
from checkpoint._codec import Codec
from checkpoint._draft import Draft, begun
from checkpoint._identity import put_identity, read_identity
from checkpoint._keys import Keys
from checkpoint._lines import Line, exists
from checkpoint._model import Blob, Buffer, Manifest, Progress, Snapshot, counted
from checkpoint._reading import Packs, Wish, measured, read_blob, read_parts
from checkpoint._reuse import Known, Plan
from checkpoint._tags import Tags
from checkpoint._workers import Workers
from checkpoint._writing import write_pack
from checkpoint.errors import (
    CheckpointError,
    ConflictError,
    DamagedSnapshotWarning,
    FormatError,
    IntegrityError,
    InvalidNameError,
    NotFoundError,
    StoreError,
    about,
    warn,
)
from checkpoint.store import Store

_LISTS = 200  # of rows, in a stranger's version
_RACES = 100  # how often a load starts again because what it read was deleted meanwhile


class _StartAgain(Exception):
    """A pack that a save was to reuse is damaged; it is not trusted any more."""


class Repository:
    """The snapshots and packs in one store, and their rules.

    Any number of processes and threads may use one store at once.  *keys* sign
    what is saved and tell what is own; None for those of the user.
    """

    def __init__(self, store: Store, keys: Keys | None = None) -> None:
        self.store = store
        self.keys = _keys.keys() if keys is None else keys
        self.known = Known()
        self.turn = threading.RLock()
        self._id: str | None = None
        self._admitted: set[str] = set()
        self._lines: dict[str, Line] = {}
        self._tags: dict[str, Tags] = {}
        self._heads: dict[str, Snapshot] = {}
        self._packs: dict[str, frozenset[str]] = {}
        _opened.add(self)

    # --- what is there ------------------------------------------------------

    def identity(self, *, create: bool = False) -> str | None:
        """The repository's uuid; None where there is no repository and none is to be made."""
        if self._id is None:
            self._id = read_identity(self.store)
        if self._id is None and create:
            try:
                self._id = put_identity(self.store)
            except ConflictError:
                return self.identity()  # The winner's.
        return self._id

    def line(self, name: str) -> Line:
        """The line of versions under *name*."""
        if name not in self._lines:
            self._lines[name] = Line(self.store, _format.check_name(name))
        return self._lines[name]

    def tags(self, name: str) -> Tags:
        """The movable tags of *name*."""
        if name not in self._tags:
            self._tags[name] = Tags(self.store, _format.check_name(name), self.identity)
        return self._tags[name]

    def names(self, folder: str = "") -> list[str]:
        """Every name in *folder* that has a snapshot, damaged or not."""
        keys = self.store.keys(f"snapshots/{folder}")
        return sorted({found[0] for key in keys if (found := _format.parse_snapshot_key(key))})

    def snapshots(self, name: str) -> list[Snapshot]:
        """The readable snapshots of *name*, oldest first; warns of each that is damaged."""
        found, damaged = self._listing(name)
        for error in damaged:
            self._warn_of(error, "left it out")
        return found

    def _listing(self, name: str) -> tuple[list[Snapshot], list[IntegrityError]]:
        """The readable snapshots, oldest first, and what is wrong with the others."""
        found = []
        damaged: list[IntegrityError] = []
        for version in self.line(name).versions():
            try:
                found.append(self._head(name, version))
            except NotFoundError:
                continue  # Deleted meanwhile.
            except IntegrityError as error:
                damaged.append(error)
        unsure = (damaged[-1].version or 0) if damaged else 0
        holders = self.tags(name).holders(((s.version, s.tags) for s in found), unsure)
        by_version: dict[int, list[str]] = {}
        for tag, version in sorted(holders.items()):
            by_version.setdefault(version, []).append(tag)
        return [evolve(s, tags=tuple(by_version.get(s.version, ()))) for s in found], damaged

    def tagged(self, name: str, tag: str) -> int:
        """The version that holds *tag*; IntegrityError if a damaged one may be it."""
        found, damaged = self._listing(name)
        for snapshot in found:
            if tag in snapshot.tags:
                return snapshot.version
        if damaged:
            raise damaged[-1]
        raise NotFoundError(f"no version of {name!r} is tagged {tag!r}", name=name)

    def manifest(self, name: str, version: int) -> Manifest:
        """The manifest of one version; NotFoundError if it is not there."""
        key = _format.snapshot_key(name, version)
        manifest = self.read_manifest(key)
        self._remember(manifest)
        return manifest

    def read_manifest(self, key: str) -> Manifest:
        """The manifest at *key*, which must be the one that belongs there."""
        name, version = _format.parse_snapshot_key(key) or ("", 0)
        try:
            raw = self.store.get(key, 0, _format.MAX_DOCUMENT + 1)
        except NotFoundError as error:
            raise self._absent(name, version) from error
        with about(name, version, key):
            manifest = _format.decode_manifest(raw, key, self.keys)
            if (manifest.name, manifest.version) != (name, version):
                raise IntegrityError(
                    f"{key} holds version {manifest.version} of {manifest.name!r}: "
                    "somebody moved it; put it back or delete it"
                )
            if manifest.repository != self.identity():
                raise IntegrityError(f"{key} belongs to another repository; remove it from here")
            _format.check_places(manifest, (*manifest.table, *manifest.blobs))
        return manifest

    def packs(self, key: str) -> frozenset[str]:
        """The packs that the manifest at *key* names."""
        if key not in self._packs:
            self._packs[key] = frozenset(self.read_manifest(key).packs)
        return self._packs[key]

    def rows(self, manifest: Manifest) -> Sequence[Blob]:
        """The blob table of *manifest*, read from packs where it is long."""
        rows: Sequence[Blob] = manifest.blobs
        if manifest.table:
            source = self.source(manifest)
            if manifest.provenance != "own" and len(manifest.table) > _LISTS:
                raise FormatError(f"more than {_LISTS * _format.MAX_ROWS:,} rows")
            lists = (_format.decode_rows(read_blob(blob, source)) for blob in manifest.table)
            # Each row of a part has one base at most; a list may claim anything.
            most = 2 * sum(part.blobs for part in manifest.parts)
            rows = tuple(islice(chain.from_iterable(lists), most + 1))
            _format.check_places(manifest, rows)
        _format.check_table(manifest, rows)
        return rows

    def source(self, manifest: Manifest) -> Packs:
        """The packs of *manifest*, and its inline area."""
        return Packs(self.store, manifest.inline)

    # --- load ---------------------------------------------------------------

    def read(self, name: str, version: int, wish: Wish) -> tuple[Manifest, list[Buffer]]:
        """The manifest and parts of one version, every byte checked, as far as *wish* goes.

        IntegrityError if it is damaged, NotFoundError if it is not there (any more).
        """
        manifest = self.manifest(name, version)
        report = counted(wish.progress, manifest.size)
        read = partial(read_parts, manifest.parts, source=self.source(manifest), report=report)
        stream = len(manifest.parts) - 1
        with self.reading(name, version):
            rows = self.rows(manifest)
            manifest = measured(manifest, rows)
            wish.admit(manifest)
            wanted = None if wish.choose is None else [stream]
            parts = read(rows, wanted=wanted, lazy=wish.lazy)
        if wish.choose is not None:
            chosen = wish.choose(manifest, parts[stream])
            with self.reading(name, version):
                parts[:stream] = read(rows, wanted=chosen, lazy=wish.lazy)[:stream]
        # What a stranger says of bytes that were not read is not believed by a later save.
        if manifest.provenance == "own" or not (wish.choose or wish.lazy):
            self.known.learn(manifest, rows)
        return manifest, parts

    @contextmanager
    def reading(self, name: str, version: int) -> Iterator[None]:
        """Around what reads the packs of a version: says what is wrong, and trusts it no more."""
        key = _format.snapshot_key(name, version)
        with about(name, version, key):
            try:
                yield
            except NotFoundError as error:
                if not exists(self.store, key):
                    raise NotFoundError(f"version {version} of {name!r} was deleted") from error
                self._distrust(name, error.key)
                raise IntegrityError(f"{error.key} is missing", key=error.key) from error
            except IntegrityError as error:
                self._distrust(name, error.key)
                raise

    def _distrust(self, name: str, key: str | None) -> None:
        self.known.distrust(key)
        if not self.known.has_parent(name):
            self.known.skip(name)

    def read_newest(self, name: str, wish: Wish) -> tuple[Manifest, list[Buffer]]:
        """The newest version of *name* that is whole; warns of each it had to pass over."""
        for _ in range(_RACES):
            damaged: list[CheckpointError] = []
            for version in self._newest_first(name):
                try:
                    found = self.read(name, version, wish)
                except NotFoundError:
                    continue  # Deleted meanwhile; a newer one may be there.
                except IntegrityError as error:
                    damaged.append(error)
                    continue
                for cause in damaged:
                    self._warn_of(cause, f"stepped back to version {version}")
                return found
            if damaged:
                raise IntegrityError(
                    f"no version of {name!r} in {self.store} is whole, the newest because "
                    f"{damaged[0]}; restore a backup, or save under another name",
                    name=name,
                    version=damaged[0].version,
                    key=damaged[0].key,
                ) from damaged[0]
            if not self.line(name).versions():
                break
        there = ", ".join(map(repr, self.names()[:9])) or "it is empty"
        raise NotFoundError(f"{self.store} has no snapshot of {name!r} ({there})", name=name)

    def _newest_first(self, name: str) -> Iterator[int]:
        highest = self.line(name).highest()
        if highest:
            yield highest
            yield from (v for v in reversed(self.line(name).versions()) if v != highest)

    # --- save ---------------------------------------------------------------

    def save(
        self,
        name: str,
        codec: Codec,
        fill: Callable[[Draft], Snapshot],
        *,
        carry: bool,
        threads: bool = True,
        private: bool = False,
    ) -> Snapshot:
        """What *fill* gives, which writes the stream to a new draft and commits it.

        With *carry*, what it needs of mostly dead packs is stored again, so
        that packs which a retention policy has emptied can go.  If damage is
        seen on the way in what was to be reused, *fill* is called once more.
        *private* says that nobody else writes to the buffers meanwhile, so that
        they need not be copied before they are digested.
        """
        while True:
            try:
                with self.turn, Workers(threads=threads) as workers:
                    self._admit(name)
                    self._learn_newest(name)
                    with Plan(self.store, self.known, carry=carry) as plan:
                        store, known = self.store, self.known
                        draft = begun(name, codec, store, known, plan, workers, private=private)
                        return fill(draft)
            except _StartAgain:
                continue
            except StoreError:
                # The folder may have vanished; what is made anew is told apart from it.
                self._id = None
                raise

    def commit(
        self,
        draft: Draft,
        buffers: Sequence[Buffer],
        progress: Progress | None,
        only: int | None = None,
        **members: Any,
    ) -> Snapshot:
        """Store the parts, then the manifest with *members*: the moment the snapshot exists.

        ConflictError if *only* one number will do, and it is not the next one.
        """
        identity = self.identity(create=True)
        try:
            stream, chunks = draft.stream.finish()
            parts = (*map(_format.buffer_part, buffers), stream)
            total = sum(part.length for part in parts)
            report = counted(progress, total)
            packed = write_pack(
                self.store, draft.plan, buffers, chunks,
                draft.encoder, draft.workers, report, draft.before,
            )  # fmt: skip
        except (IntegrityError, NotFoundError) as error:
            self.known.distrust(error.key)
            raise _StartAgain from error
        named = {b.pack for b in (*packed.rows, *packed.table) if b.pack is not None}
        sizes = {
            pack: packed.size if pack == packed.pack else draft.plan.sizes[pack] for pack in named
        }
        manifest = Manifest(
            repository=identity,
            name=draft.name,
            parts=parts,
            size=total,
            stored=packed.size + len(packed.inline),
            packs=dict(sorted(sizes.items())),
            table=packed.table,
            blobs=() if packed.table else packed.rows,
            inline=packed.inline,
            **members,
        )
        return self._commit(manifest, packed.rows, only)

    def restamp(self, name: str, version: int, only: int, **members: Any) -> Snapshot:
        """Save what *version* holds once more, with other *members*; none of it is read or copied.

        It gets the number *only*, or raises ConflictError.
        """
        # The lease: no prune takes the packs between the look at the old one and the new one.
        with self.turn, _lease.writing(self.store):
            old = self.manifest(name, version)
            manifest = evolve(old, parent=version, stored=len(old.inline), **members)
            return self._commit(manifest, self.rows(old), only)

    def _commit(self, manifest: Manifest, rows: Sequence[Blob], only: int | None) -> Snapshot:
        name = manifest.name or ""

        def encode(version: int) -> bytes:
            return _format.encode_manifest(evolve(manifest, version=version), self.keys)

        signs = self.keys.signs  # Asked first: a key that cannot be read costs no number.
        manifest = evolve(manifest, version=self.line(name).commit(encode, only))
        if not signs:
            manifest = evolve(manifest, provenance="foreign")  # As every reader will see it.
        self.known.learn(manifest, rows)
        return self._remember(manifest)

    def _admit(self, name: str) -> None:
        """InvalidNameError if *name* is new and differs from another only by case."""
        if name in self._admitted:
            return
        for other in self.names() if not self.line(name).highest() else ():
            if _format.differ_only_by_case(name, other):
                raise InvalidNameError(f"{name!r} differs from {other!r} only by case; use one")
        self._admitted.add(name)

    def _learn_newest(self, name: str) -> None:
        if self.known.has_parent(name):
            return
        for version in self._newest_first(name):
            try:
                manifest = self.manifest(name, version)
                if manifest.provenance != "own":
                    break
                self.known.learn(manifest, self.rows(manifest))
                return
            except NotFoundError:
                continue  # It was deleted.
            except CheckpointError:
                break
        # Nothing of it is reused; that costs space, and `load` will say why.
        self.known.skip(name)

    # --- delete -------------------------------------------------------------

    def delete(self, name: str, versions: Sequence[int]) -> None:
        """Delete versions that are there, the newest included."""
        if not versions:
            return
        turn = _lease.deleting(self.store, name, wait=True)
        assert turn is not None
        with turn:
            there = set(self.line(name).versions())
            for version in versions:
                if version not in there:
                    raise self._absent(name, version)
            self._delete(name, versions)

    def retain(
        self, name: str, newest: int, policy: Callable[[Sequence[Snapshot]], set[int]]
    ) -> list[Snapshot]:
        """Delete what *policy* does not keep of the versions up to *newest*.

        That one was acknowledged.  Later ones are not looked at: their writers
        may not be sure of them yet.  Does nothing while another deleter is at work.
        """
        turn = _lease.deleting(self.store, name, wait=False)
        if turn is None:
            return []
        with turn:
            found, damaged = self._listing(name)
            if damaged:
                # It may be the one that a policy would keep another for, or go by.
                worst = damaged[-1]
                raise IntegrityError(
                    f"nothing is deleted while version {worst.version} of {name!r} is damaged; "
                    f"delete({worst.version}) removes it",
                    name=name,
                    version=worst.version,
                    key=worst.key,
                ) from worst
            there = [s for s in found if s.version <= newest]
            kept = policy(there) | {newest}
            doomed = [s for s in there if s.version not in kept]
            if doomed:
                self._delete(name, [s.version for s in doomed], used=newest - 1)
            return doomed

    def _delete(self, name: str, versions: Sequence[int], *, used: int = 0) -> None:
        self.line(name).delete(versions, used=used)
        for version in versions:
            key = _format.snapshot_key(name, version)
            self._heads.pop(key, None)
            self._packs.pop(key, None)
            self.known.forget(name, version)

    # --- inside -------------------------------------------------------------

    def _head(self, name: str, version: int) -> Snapshot:
        key = _format.snapshot_key(name, version)
        if key not in self._heads:
            self.manifest(name, version)
        return self._heads[key]

    def _warn_of(self, error: CheckpointError, done: str) -> None:
        """Warn of a damaged version, and say how to be rid of it."""
        warn(
            f"version {error.version} of {error.name!r} in {self.store} is damaged: {error}; "
            f"{done}; delete({error.version}) removes it",
            DamagedSnapshotWarning,
        )

    def _absent(self, name: str, version: int) -> NotFoundError:
        message = f"{self.store} has no version {version} of {name!r}"
        key = _format.snapshot_key(name, version)
        return NotFoundError(message, name=name, version=version, key=key)

    def _remember(self, manifest: Manifest) -> Snapshot:
        snapshot = _format.snapshot_of(manifest)
        self._heads[_format.snapshot_key(snapshot.name, snapshot.version)] = snapshot
        return snapshot


_opened: weakref.WeakSet[Repository] = weakref.WeakSet()


def _in_child() -> None:
    # The turn may be a thread's that the child does not have.
    for repository in _opened:
        repository.turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
