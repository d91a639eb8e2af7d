"""Deleting what no snapshot needs, and checking all that it does.

Prune never guesses.  It marks the packs that no manifest names, lets every
writer end whose lease is held by then, lists the manifests again, unmarks what
they name now, makes sure that the deletion of those that are gone is durable,
and only then deletes.  A writer that begins later sees the marks, and treats
marked packs as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from checkpoint import _format, _lease
from checkpoint._allowance import within
from checkpoint._identity import FORMAT_KEY
from checkpoint._lines import exists
from checkpoint._model import Blob, Manifest, Progress, counted
from checkpoint._reading import measured, read_blob, read_parts, whole_blobs
from checkpoint._repository import Repository
from checkpoint.errors import CheckpointError, IntegrityError, NotFoundError, about
from checkpoint.store import Locking


def prune(repository: Repository) -> int:
    """Delete temporary files and every pack that no manifest names; returns how many packs.

    A manifest that cannot be read, or that a newer release wrote, stops it from
    deleting any pack, and is named in the error.  Packs that a writer at work
    may still need are left to the next prune.
    """
    store = repository.store
    with _lease.pruning(store):
        assert isinstance(store, Locking)
        store.tidy()
        _lease.forget_dead_deleters(store)
        named = _named_packs(repository)
        marked = _marked(repository)
        for pack in _packs(repository) - named - marked:
            store.put(_format.mark_key(pack), [])
        if not _lease.writers_ended(store):
            return 0
        return _sweep(repository, _marked(repository))


def _sweep(repository: Repository, marked: set[str]) -> int:
    store = repository.store
    needed = _named_packs(repository)
    _settle(repository)
    dead = sorted(marked - needed)
    store.delete(_format.pack_key(pack) for pack in dead)
    store.delete(_format.mark_key(pack) for pack in sorted(marked))
    return len(dead)


def _named_packs(repository: Repository) -> set[str]:
    """Every pack that a manifest names; raises if one cannot be read."""
    packs: set[str] = set()
    for key in repository.store.keys("snapshots/"):
        if _format.parse_snapshot_key(key):
            try:
                packs |= repository.packs(key)
            except NotFoundError:
                continue  # Deleted meanwhile.
            except CheckpointError as error:
                raise type(error)(
                    f"prune deletes nothing while a manifest cannot be read: {error}; "
                    "restore it, or delete that version",
                    name=error.name,
                    version=error.version,
                    key=error.key,
                ) from error
    return packs


def _settle(repository: Repository) -> None:
    """Make each deletion of a manifest durable, whoever began it and died."""
    marks = (key.split("/@/")[0].removeprefix("gone/") for key in repository.store.keys("gone/"))
    for name in sorted({*repository.names(), *marks}):
        repository.line(name).settle()


def _packs(repository: Repository) -> set[str]:
    keys = repository.store.keys("packs/")
    return {key.rpartition("/")[2].removesuffix(".pack") for key in keys if key.endswith(".pack")}


def _marked(repository: Repository) -> set[str]:
    keys = repository.store.keys("trash/")
    return {key.removeprefix("trash/").removesuffix(".json") for key in keys}


def verify(repository: Repository, progress: Progress | None) -> list[CheckpointError]:
    """Read every byte that a snapshot needs, believe nothing; the errors found."""
    found: list[CheckpointError] = []
    manifests: list[Manifest] = []
    with _collected(found):
        if repository.identity() is not None:
            _check_format(repository)
    for key in repository.store.keys("snapshots/"):
        if _format.parse_snapshot_key(key):
            with _collected(found, repository, key):
                manifests.append(repository.read_manifest(key))
    for name in repository.names():
        with _collected(found):
            repository.tags(name).verify()
    check = _BlobCheck(repository, progress, sum(manifest.size for manifest in manifests))
    for manifest in manifests:
        key = _format.snapshot_key(manifest.name or "", manifest.version or 0)
        with _collected(found, repository, key):
            check(manifest)
    return found


def _check_format(repository: Repository) -> None:
    try:
        _format.decode_identity(repository.store.get(FORMAT_KEY), FORMAT_KEY)
    except NotFoundError as error:
        raise IntegrityError(f"{FORMAT_KEY} is missing", key=FORMAT_KEY) from error


@contextmanager
def _collected(
    found: list[CheckpointError], repository: Repository | None = None, manifest: str = ""
) -> Iterator[None]:
    """Add an error to *found*, unless *manifest* was deleted meanwhile: that is no damage."""
    try:
        yield
    except CheckpointError as error:
        if repository is None or exists(repository.store, manifest):
            found.append(error)


class _BlobCheck:
    """Reads each stored blob once, and tells of it for every snapshot that needs it."""

    def __init__(self, repository: Repository, progress: Progress | None, total: int) -> None:
        self._repository = repository
        self._report = counted(progress, total)
        self._seen: dict[tuple[Any, ...], CheckpointError | None] = {}

    def __call__(self, manifest: Manifest) -> None:
        name, version = manifest.name or "", manifest.version or 0
        with about(name, version, _format.snapshot_key(name, version)):
            for pack, size in manifest.packs.items():
                self._check(pack, 0, partial(self._check_pack, pack, size))
            source = self._repository.source(manifest)
            for blob in manifest.table:
                self._check(blob.pack or "", blob.offset + 1, partial(read_blob, blob, source))
            rows = self._repository.rows(manifest)
            wholes = whole_blobs(rows)
            for blob in rows:
                where = blob.pack or f"{name}/{version}"
                step = partial(read_blob, blob, source, wholes)
                self._check(where, blob.offset + 1, step, blob)
                self._report(blob.length)
            stream = len(manifest.parts) - 1
            within(measured(manifest, rows))
            if manifest.parts[stream].digest is not None:
                read_parts(manifest.parts, rows, source, wanted=[stream])

    def _check(
        self, where: str, at: int, step: Callable[[], object], blob: Blob | None = None
    ) -> None:
        place = where, at, blob and (blob.digest, blob.length, blob.codec, blob.base)
        if place not in self._seen:
            self._seen[place] = None
            try:
                step()
            except NotFoundError as error:
                missing = IntegrityError(f"{error.key} is missing", key=error.key)
                self._seen[place] = missing
            except CheckpointError as error:
                self._seen[place] = error
            if self._seen[place] is not None:
                self._repository.known.distrust(_format.pack_key(where))
        failure = self._seen[place]
        if failure is not None:
            raise type(failure)(*failure.args, key=failure.key)

    def _check_pack(self, pack: str, size: int) -> None:
        key, magic = _format.pack_key(pack), _format.PACK_MAGIC
        store = self._repository.store
        if bytes(store.get(key, 0, len(magic))) != magic:
            raise IntegrityError(f"{key} does not begin as a pack does", key=key)
        if len(store.get(key, size - 1, size + 1)) != 1:
            raise IntegrityError(f"{key} has not its {size} bytes", key=key)
