"""The roof: a line of versions that a program saves to and loads from.

It is the only place that knows both objects and bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, Literal

from attrs import evolve

from checkpoint import _format, _pruning, _single_file
from checkpoint import _looking as look
from checkpoint._codec import parse_codec
from checkpoint._difference import Difference
from checkpoint._draft import Draft
from checkpoint._foreign import check_size
from checkpoint._keys import USERS, Given, keys
from checkpoint._loading import Wanted
from checkpoint._members import members
from checkpoint._migrating import Migrated, migrate
from checkpoint._migration import Migrations
from checkpoint._migration import default as default_migrations
from checkpoint._model import Buffer, Manifest, Progress, Snapshot
from checkpoint._outline import Outline
from checkpoint._pickle_interface import first_bytes
from checkpoint._reading import Wish
from checkpoint._repository import Repository
from checkpoint._retention import Best, Retention, ranked
from checkpoint._saving import Saving
from checkpoint._telling import Telling
from checkpoint._trust import Trust, everything, policy_of
from checkpoint._upgrading import OnMissing, Schema, Terms
from checkpoint.errors import CheckpointError, FormatError, NotFoundError, about
from checkpoint.store import LocalStore, Store, replace_file

_ABSENT: Final = object()
# What an import keeps of the manifest it came with.
_IMPORTED = ("writer", "created", "metrics", "meta", "libraries", "types", "migrations")


class Checkpointer:
    """Saves the state of a program as versions 1, 2, 3… under one name, and loads it back.

    *store* is a folder (made by the first save) or a `Store`.  *keep* is a
    retention policy, applied after each save; without one, nothing is ever
    deleted.  *codec* is `zstd`, `gzip` or `lzma`, with a level (`zstd:9`) or
    without, or `none`.

    *migrations* take old snapshots in; by default those of `checkpoint.rename`,
    `checkpoint.upgrade` and so on.  A class that is gone raises MigrationError,
    unless *on_missing* is `stand-in`.  Where a class changed and nothing says
    how, a load warns before anything is built; with the *schema* `strict` it
    raises MigrationError instead, with `off` it is silent.

    What was signed with a *key* that this object holds is its own; by default
    the key of the user, made by the first save, or `CHECKPOINT_KEY`.  Several
    may be given: the first signs.  Without (None) nothing is signed.  All else
    is foreign: verified before anything of it is built, and given only what
    *trust* lists beside the value types of the standard library, NumPy, pandas,
    SciPy and torch, and the classes of *package*, by default that of the caller
    and `__main__`.  What a save holds beyond that is told by an
    UntrustedTypeWarning, or refused if *strict*.  `trust=checkpoint.everything`
    runs what any file says.  *budget* is how many bytes of memory a foreign
    version may take, by default 128 MiB and 256 times what is stored.

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
        migrations: Migrations = default_migrations,
        on_missing: OnMissing = "raise",
        schema: Schema = "warn",
        key: Given = USERS,
        trust: Trust = (),
        package: str | None = None,
        strict: bool = False,
        budget: int | None = None,
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
        self._repository = Repository(store, keys(key))
        policy = policy_of(trust, package)
        self._terms = terms = Terms(migrations, on_missing, schema, policy, budget)
        telling = Telling(terms, strict=strict)
        self._saving = Saving(self._repository, name, parse_codec(codec), keep, migrations, telling)
        self._closed = False

    def __repr__(self) -> str:
        return f"<Checkpointer {self.name!r} in {self._repository.store!r}>"

    def named(self, name: str) -> Checkpointer:
        """The same for another *name*; a chunk that either has seen is stored once."""
        self._check_open()
        other = Checkpointer(self._repository.store, name, key=None, trust=everything)
        other._repository = self._repository
        other._terms = self._terms
        other._saving = self._saving.named(name)
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
        self._check_open()
        self._saving.wait()
        said = _members(metrics, tags, meta)
        self._saving.raise_failed()
        return self._saving.save(state, said, progress)

    def save_in_background(
        self,
        state: Any,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Iterable[str] = (),
        meta: Any = None,
        capture: Literal["copy", "fork"] = "copy",
        timeout: float = 600.0,
        despite_threads: bool = False,
    ) -> Future[Snapshot]:
        """Save *state*, as it is now, as the next version; the future tells when it is durable.

        What changes after the call returns is not in the snapshot.  The order
        of versions is the order of calls, of `save` too, which waits for those
        in flight; so does all else that looks at versions or changes them, and
        so do `close` and the end of the program.  At most four are in flight,
        with 64 MiB of captured memory, or one with more: then this call waits.

        An error is raised by the future, and once more by the next save or
        `close`, which then does nothing else.  What cannot be pickled a copy
        refuses at once, with the error that `save` raises.  The future cannot
        be cancelled; its callbacks may use this object.

        `capture="copy"` pickles the graph and copies its buffers before it
        returns: for arrays, models, anything on a GPU, and programs with
        threads.

        `capture="fork"` leaves all of it to a forked child, and stops the
        program for the fork alone: for graphs of millions of small objects.
        It needs a system that forks, a store that can be pickled, and no other
        thread: what one of them holds locked stays locked in the child, unless
        saving needs no such lock and *despite_threads* says so.  Memory shared
        between processes is not captured by it (`numpy.memmap`,
        `multiprocessing.shared_memory`), and a GPU is not usable in the child.
        Only one child is at work: the call waits for all that is in flight.
        After *timeout* seconds it is killed, the future raises StoreError, and
        the next save that asks for a fork makes a copy instead.  A version
        whose child died is not acknowledged; it may be there.
        """
        self._check_open()
        if capture not in ("copy", "fork"):
            raise ValueError(f"capture is 'copy' or 'fork', not {capture!r}")
        if not timeout > 0:
            raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
        said = _members(metrics, tags, meta)
        self._saving.raise_failed()
        if capture == "copy":
            return self._saving.copy(state, said)
        return self._saving.fork(state, said, timeout, despite_threads=despite_threads)

    # --- load ---------------------------------------------------------------

    def load(
        self,
        *,
        version: int | None = None,
        tag: str | None = None,
        best: str | Best | None = None,
        only: Any = None,
        lazy: bool = False,
        default: Any = _ABSENT,
        progress: Progress | None = None,
    ) -> Any:
        """The state of the newest version that is whole, or of the one that is asked for.

        *best* is the name of a metric, lowest first, or `highest(name)`.  If
        damage makes it step back from the newest, it warns; a version that is
        asked for is loaded or raises.  NotFoundError if there is none, unless
        *default* is given.

        *only* gives a part: a key, an attribute's name or an index, or a tuple
        of them that leads further in.  Buffers that the part does not need are
        not read.  NotFoundError if it is not there.

        With *lazy*, arrays that are stored as they are become copy-on-write
        maps of their files: they cost nothing until they are touched, stay
        right when the version is deleted, and writes to them go nowhere else.
        Their digests are **not** checked; `verify` does that.
        """
        if sum(wanted is not None for wanted in (version, tag, best)) > 1:
            raise TypeError("give one of version, tag and best")
        path = () if only is None else only if isinstance(only, tuple) else (only,)
        wanted = Wanted(path, self._terms)
        wish = Wish(progress, lazy, None if only is None else wanted.choose, self._admit)
        try:
            manifest, parts = self._read(version, tag, best, wish)
        except NotFoundError:
            if default is _ABSENT:
                raise
            return default
        number = manifest.version
        assert number is not None
        with about(self.name, number, ""):
            again = partial(self._repository.read, self.name, number, evolve(wish, progress=None))
            state = wanted.loaded(manifest, parts, lambda: again()[1])
        self._saving.follows(manifest)
        return state

    def _read(
        self,
        version: int | None,
        tag: str | None,
        best: str | Best | None,
        wish: Wish,
    ) -> Any:
        repository = self._open
        if tag is not None:
            version = repository.tagged(self.name, tag)
        elif best is not None:
            version = self._best(best)
        if version is not None:
            return repository.read(self.name, version, wish)
        return repository.read_newest(self.name, wish)

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
        return self._saving.parent

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self.snapshots())

    def __len__(self) -> int:
        return len(self._open.line(self.name).versions())

    def __bool__(self) -> bool:
        return True

    def inspect(self, *, version: int | None = None, tag: str | None = None) -> Outline:
        """The outline of a version: types, keys, shapes and sizes by path; nothing is run.

        It is the newest version that is whole, or the one that is asked for.
        Only the stream is read, no array.  `Outline` says more, and its `verdict`
        what a load of it could do.
        """
        return look.inspect(self._open, self.name, self._asked(version, tag), self._admit)

    def diff(self, old: int, new: int) -> Difference:
        """What was added, removed and changed from version *old* to *new*; nothing is run.

        Arrays are compared by their digests, and not read.
        """
        return look.diff(self._open, (self.name, old), (self.name, new), self._admit)

    def raw(self, *, version: int | None = None, tag: str | None = None) -> Any:
        """A version as plain records, to be read though its classes are gone; nothing is run.

        An object is a dict that has its class under `__class__`.
        """
        return look.raw(self._open, self.name, self._asked(version, tag), self._admit)

    def _asked(self, version: int | None, tag: str | None) -> int | None:
        if version is not None and tag is not None:
            raise TypeError("give one of version and tag")
        return version if tag is None else self._open.tagged(self.name, tag)

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

    def migrate(self, *, dry_run: bool = False) -> list[Migrated]:
        """Append old versions anew, in today's classes; what was done with each version.

        Where names alone have changed, the stream is rewritten and nothing of
        it is run; else the state is loaded and saved.  Each new version has its
        old one as parent, and its date, metrics, meta and tags; the old ones
        stay.  With *dry_run* it is only said what would be done.

        Nothing else may save under this name meanwhile.  If it is interrupted
        the newest version may hold an older state: call it again, and it goes on.
        """
        return migrate(self._open, self._saving, self._terms, dry_run=dry_run)

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
            rows, source = repository.rows(manifest), repository.source(manifest)
            _single_file.copy_snapshot(file.write, manifest, rows, source, repository.keys)

    def import_(self, file: Any) -> Snapshot:
        """Save the single-file snapshot in *file* as the next version, without running it.

        It keeps its date, metrics, meta and types, and gets no tags.  It is own
        if it was signed with a key that this object holds, and else foreign.
        """
        if isinstance(file, str | os.PathLike):
            with open(file, "rb") as source:
                return self.import_(source)
        if first_bytes(file) != _single_file.MAGIC:
            raise FormatError("not a single-file snapshot")
        keys = self._open.keys
        manifest, parts = _single_file.read_snapshot(file.read, keys=keys, admit=self._admit)
        return self._appended(manifest, parts, provenance=manifest.provenance)

    def adopt(self, version: int) -> Snapshot:
        """Append a foreign version once more as own: from now on it is loaded unverified.

        Call it only for what you would run.  Nothing of it is run here.
        ValueError if there is no key to sign it with.
        """
        if not self._open.keys.signs:
            raise ValueError("there is no key to sign with, so it would stay foreign; give key=")
        manifest, parts = self._open.read(self.name, version, Wish(admit=self._admit))
        return self._appended(manifest, parts, provenance="own", parent=version)

    def _admit(self, manifest: Manifest) -> None:
        """UnsafeError if a stranger's version is larger than `budget` allows."""
        check_size(self._terms, manifest)

    def _appended(self, manifest: Manifest, parts: Sequence[Buffer], **said: Any) -> Snapshot:
        """Append what was read as the next version, its bytes as they are."""
        repository = self._open

        def fill(draft: Draft) -> Snapshot:
            draft.stream.write(parts[-1])
            kept = {name: getattr(manifest, name) for name in _IMPORTED}
            return repository.commit(draft, parts[:-1], None, **kept, **said)

        snapshot = self._saving.make(fill)
        self._saving.clean(snapshot)
        return snapshot

    # --- end ----------------------------------------------------------------

    def close(self) -> None:
        """End the use of this object, when the saves in flight have ended.

        What was saved is durable already.  Raises what a save in the
        background raised, if no call has done so yet.
        """
        self._finish()
        self._saving.raise_failed()

    def _finish(self) -> None:
        try:
            self._saving.wait()
        finally:
            self._closed = True

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *error: object) -> None:
        if not isinstance(error[1], BaseException):
            return self.close()
        self._finish()
        self._saving.add_failed(error[1])
        return None

    @property
    def _open(self) -> Repository:
        """The repository, when nothing is in flight."""
        self._check_open()
        self._saving.wait()
        return self._repository

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self!r} is closed")


def _members(metrics: Mapping[str, float] | None, tags: Iterable[str], meta: Any) -> dict[str, Any]:
    """What a manifest says beside the state, checked; nothing of it can be changed any more."""
    return members(metrics=_metrics(metrics or {}), tags=_tags(tags), meta=_format.check_json(meta))


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
