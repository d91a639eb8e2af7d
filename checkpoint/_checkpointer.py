"""The roof: a line of versions that a program saves to and loads from.

It is the only place that knows both objects and bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from checkpoint import _format, _pruning, _single_file
from checkpoint._codec import parse_codec
from checkpoint._members import libraries, stamp
from checkpoint._model import Progress, Snapshot
from checkpoint._pickle_interface import first_bytes, origin_of
from checkpoint._pickling import pickle_into
from checkpoint._repository import Draft, Repository, about
from checkpoint._retention import Best, Retention, ranked
from checkpoint._unpickling import unpickle
from checkpoint.errors import (
    CheckpointError,
    ConflictError,
    FormatError,
    NotFoundError,
    RetentionWarning,
    warn,
)
from checkpoint.store import LocalStore, Store, replace_file

_ABSENT: Final = object()
# What an import keeps of the manifest it came with.
_IMPORTED = ("writer", "created", "metrics", "meta", "libraries", "types", "migrations")
# Packs that retention has emptied wait until they are worth a look at every manifest.
_PRUNE_BYTES = 64 << 20
_PRUNE_EVERY = 16


class Checkpointer:
    """Saves the state of a program as versions 1, 2, 3… under one name, and loads it back.

    *store* is a folder (made by the first save) or a `Store`.  *keep* is a
    retention policy, applied after each save; without one, nothing is ever
    deleted.  *codec* is `zstd`, `gzip` or `lzma`, with a level (`zstd:9`) or
    without, or `none`.

    Any number of threads and processes may use one store, and one name, at
    once.
    """

    __module__ = "checkpoint"

    def __init__(
        self,
        store: str | os.PathLike[str] | Store,
        name: str = "main",
        *,
        keep: Retention | None = None,
        codec: str = "zstd",
    ) -> None:
        if isinstance(store, str | os.PathLike):
            if not os.fspath(store):
                raise ValueError("the store is an empty path; '.' is the current folder")
            store = LocalStore(os.path.expanduser(store))
        if not isinstance(store, Store):
            raise TypeError(f"store is a path or a Store, not {store!r}")
        if keep is not None and not callable(keep):
            raise TypeError(f"keep is a retention policy such as keep_last(5), not {keep!r}")
        self.name: Final = _format.check_name(name)
        self._codec = parse_codec(codec)
        self._keep = keep
        self._repository = Repository(store)
        self._parent: int | None = None
        self._dropped = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<Checkpointer {self.name!r} in {self._repository.store!r}>"

    def named(self, name: str) -> Checkpointer:
        """The same for another *name*; a chunk that either has seen is stored once."""
        other = Checkpointer(self._open.store, name, keep=self._keep)
        other._codec = self._codec
        other._repository = self._repository
        return other

    # --- save ---------------------------------------------------------------

    def save(
        self,
        state: Any,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Iterable[str] = (),
        meta: Any = None,
        progress: Progress | None = None,
    ) -> Snapshot:
        """Save *state* as the next version; when this returns, it is durable.

        *metrics* are numbers to choose a version by (NaN and infinities are
        kept, and never the best), *tags* names that move to this version,
        *meta* any JSON value.  *progress* is called with bytes done and bytes
        in all.  Raises SerializationError with the path to what cannot be
        saved, StoreError if the disk fails; the older versions are untouched
        then.
        """
        repository = self._open
        given = {
            "metrics": _metrics(metrics or {}),
            "tags": _tags(tags),
            "meta": _format.check_json(meta),
        }

        def fill(draft: Draft) -> Snapshot:
            pickled = pickle_into(state, draft.stream.write, restart=draft.stream.restart)
            return repository.commit(
                draft,
                pickled.buffers,
                progress,
                types=pickled.globals,
                libraries=libraries(pickled.globals),
                parent=self._parent or repository.line(self.name).highest() or None,
                **given,
                **stamp(),
            )

        snapshot = repository.save(self.name, self._codec, fill, carry=self._keep is not None)
        self._parent = snapshot.version
        self._clean(snapshot)
        return snapshot

    def _clean(self, snapshot: Snapshot) -> None:
        """Apply the retention policy after a save, and prune now and then."""
        if self._keep is None:
            return
        try:
            doomed = self._repository.retain(self.name, snapshot.version, self._keep)
            self._dropped += sum(old.stored for old in doomed)
            enough = max(_PRUNE_BYTES, snapshot.size // 4)
            if self._dropped >= enough or (doomed and snapshot.version % _PRUNE_EVERY == 0):
                self._dropped = 0
                _pruning.prune(self._repository)
        except ConflictError:
            pass  # Another process prunes; what we dropped is dropped for it too.
        except CheckpointError as error:
            warn(
                f"the save is made, but old versions were not cleaned up: {error}",
                RetentionWarning,
            )

    # --- load ---------------------------------------------------------------

    def load(
        self,
        *,
        version: int | None = None,
        tag: str | None = None,
        best: str | Best | None = None,
        default: Any = _ABSENT,
        progress: Progress | None = None,
    ) -> Any:
        """The state of the newest version that is whole, or of the one that is asked for.

        *best* is the name of a metric, lowest first, or `highest(name)`.  If
        damage makes it step back from the newest, it warns; a version that is
        asked for is loaded or raises.  NotFoundError if there is none, unless
        *default* is given.
        """
        if sum(wanted is not None for wanted in (version, tag, best)) > 1:
            raise TypeError("give one of version, tag and best")
        try:
            manifest, parts = self._read(version, tag, best, progress)
        except NotFoundError:
            if default is _ABSENT:
                raise
            return default
        assert manifest.version is not None
        with about(self.name, manifest.version, ""):
            state = unpickle(parts[-1], parts[:-1], origin=origin_of(manifest.types))
        self._parent = manifest.version
        return state

    def _read(
        self,
        version: int | None,
        tag: str | None,
        best: str | Best | None,
        progress: Progress | None,
    ) -> Any:
        repository = self._open
        if tag is not None:
            version = repository.tagged(self.name, tag)
        elif best is not None:
            version = self._best(best)
        if version is not None:
            return repository.read(self.name, version, progress)
        return repository.read_newest(self.name, progress)

    def _best(self, best: str | Best) -> int:
        found = ranked(self.snapshots(), best)
        if not found:
            known = sorted({metric for snapshot in self for metric in snapshot.metrics})
            raise NotFoundError(
                f"no version of {self.name!r} has a finite number for {best!r}; "
                f"its metrics are {known}",
                name=self.name,
            )
        return found[0].version

    # --- look ---------------------------------------------------------------

    def snapshots(self) -> list[Snapshot]:
        """Every version that is there, oldest first; a damaged one is left out, with a warning."""
        return self._open.snapshots(self.name)

    def names(self) -> list[str]:
        """Every name in the repository that has a version."""
        return self._open.names()

    @property
    def version(self) -> int | None:
        """The version that this object last loaded or saved; None before that."""
        return self._parent

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self.snapshots())

    def __len__(self) -> int:
        return len(self._open.line(self.name).versions())

    def __bool__(self) -> bool:
        return True

    # --- change -------------------------------------------------------------

    def tag(self, version: int, tag: str) -> None:
        """Point *tag* at *version*, away from where it pointed before."""
        _format.check_tag(tag)
        self._open.manifest(self.name, version)
        self._move(tag, version)

    def untag(self, tag: str) -> None:
        """Take *tag* away from the version that has it; NotFoundError if none has."""
        self._open.tagged(self.name, tag)
        self._move(tag, None)

    def _move(self, tag: str, version: int | None) -> None:
        repository = self._open
        highest = repository.line(self.name).highest()
        repository.tags(self.name).move(tag, version, highest)

    def delete(self, *versions: int) -> None:
        """Delete versions, the newest too if it is named; their numbers are never used again.

        NotFoundError, and nothing is deleted, if one of them is not there.
        """
        if versions:
            self._open.delete(self.name, versions)

    def verify(self, *, progress: Progress | None = None) -> list[CheckpointError]:
        """Read every byte that any snapshot of the repository needs; the errors found, if any."""
        return _pruning.verify(self._open, progress)

    def prune(self) -> int:
        """Delete what no snapshot of the repository needs; returns how many packs went.

        Waits a moment for writers at work, and leaves what they may need to
        the next prune.  ConflictError if another process prunes;
        IntegrityError or FormatError, naming it, if a manifest cannot be read.
        """
        return _pruning.prune(self._open)

    # --- one file -----------------------------------------------------------

    def export(self, version: int, file: Any) -> None:
        """Write one version as a single-file snapshot to *file*, a path or a binary file.

        `checkpoint.load` and `import_` read it.
        """
        if isinstance(file, str | os.PathLike):
            with replace_file(file) as target:
                self.export(version, target)
            return
        repository = self._open
        manifest = repository.manifest(self.name, version)
        with repository.reading(self.name, version):
            rows, fetch = repository.rows(manifest), repository.fetch(manifest)
            _single_file.copy_snapshot(file.write, manifest, rows, fetch)

    def import_(self, file: Any) -> Snapshot:
        """Save the single-file snapshot in *file* as the next version, without running it.

        It keeps its date, metrics, meta and types, gets no tags, and counts as
        foreign: its bytes did not come from live objects of this program.
        """
        if isinstance(file, str | os.PathLike):
            with open(file, "rb") as source:
                return self.import_(source)
        if first_bytes(file) != _single_file.MAGIC:
            raise FormatError("not a single-file snapshot")
        manifest, parts = _single_file.read_snapshot(file.read)
        repository = self._open

        def fill(draft: Draft) -> Snapshot:
            draft.stream.write(parts[-1])
            kept = {name: getattr(manifest, name) for name in _IMPORTED}
            return repository.commit(draft, parts[:-1], None, provenance="foreign", **kept)

        snapshot = repository.save(self.name, self._codec, fill, carry=self._keep is not None)
        self._clean(snapshot)
        return snapshot

    # --- end ----------------------------------------------------------------

    def close(self) -> None:
        """End the use of this object; what was saved is durable already."""
        self._closed = True

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _open(self) -> Repository:
        if self._closed:
            raise ValueError(f"{self!r} is closed")
        return self._repository


def _metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as plain numbers; ValueError for anything that is none."""
    found = {}
    for name, value in metrics.items():
        try:
            str(name).encode()
            number = float(value)
            found[str(name)] = value if type(value) in (int, float) else number
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"metric {name!r} must be a number, not {value!r}") from error
    return found


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise TypeError(f"tags is a collection of tags: [{tags!r}]")
    return tuple(dict.fromkeys(_format.check_tag(tag) for tag in tags))
