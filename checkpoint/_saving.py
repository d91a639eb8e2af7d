"""Three ways to save: at once, from a copy behind the program, in a forked child.

They differ in where the graph is pickled and by whom; what a version is, and
what is cleaned up after it, is the same.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from checkpoint import _pruning
from checkpoint._background import Background, Capture, Place, at_work, rest_all
from checkpoint._codec import Codec
from checkpoint._draft import Draft
from checkpoint._forking import Child, fork, refuse_threads, uninterrupted
from checkpoint._members import libraries
from checkpoint._migration import Migrations
from checkpoint._model import Buffer, Global, Manifest, Progress, Snapshot
from checkpoint._pickling import pickle_into
from checkpoint._repository import Repository
from checkpoint._retention import Retention
from checkpoint._telling import Telling
from checkpoint._upgrading import Terms
from checkpoint.errors import CheckpointError, ConflictError, RetentionWarning, warn
from checkpoint.store import Store

# Packs that retention has emptied wait until they are worth a look at every manifest.
_PRUNE_BYTES = 64 << 20
_PRUNE_EVERY = 16

Warn = Callable[[str, type[Warning]], None]


class Saving:
    """Makes the versions of one name.

    What a version says beside the state comes as *members* of its manifest.
    """

    def __init__(
        self,
        repository: Repository,
        name: str,
        codec: Codec,
        keep: Retention | None,
        migrations: Migrations,
        telling: Telling | None = None,
    ) -> None:
        self.name: Final = name
        self.parent: int | None = None
        self.fence: int | None = None  # All versions up to it are known; the next one must be next.
        self._migrations = migrations
        self._telling = telling or Telling(Terms(migrations))
        self._applied: tuple[str, ...] = ()
        self._repository = repository
        self._codec = codec
        self._keep = keep
        self._dropped = 0
        self._hung = False  # The last child was, and the next save is made in process.
        self._background = Background()
        self.wait = self._background.wait
        self.raise_failed = self._background.raise_failed
        self.add_failed = self._background.add_failed

    def named(self, name: str) -> Saving:
        """The same for another *name*."""
        return Saving(
            self._repository, name, self._codec, self._keep, self._migrations, self._telling
        )

    def follows(self, manifest: Manifest) -> None:
        """What is saved next follows the version of *manifest*, which was loaded."""
        self.parent = manifest.version
        self._applied = manifest.migrations

    # --- the three ways -----------------------------------------------------

    def save(self, state: Any, members: Mapping[str, Any], progress: Progress | None) -> Snapshot:
        """Save *state* on this thread."""
        with at_work():
            return self._saved(self._pickle(self._repository, state, members, progress), warn)

    def copy(self, state: Any, members: Mapping[str, Any]) -> Future[Snapshot]:
        """Save a copy of *state*, made on this thread, on another."""
        place = Place.here()
        self._background.make_room(0)
        captured = Capture(self._background.make_room)
        heard = self._telling.listen(captured.write, captured.restart)
        pickled = pickle_into(state, heard.write, restart=heard.restart)
        heard.tell(pickled)
        captured.copy(pickled.buffers)
        globals, provenance = pickled.globals, pickled.provenance
        del pickled  # What it has of the graph may go before the copy does.

        def fill(draft: Draft) -> Snapshot:
            for piece in captured.stream:
                draft.stream.write(piece)
            said = {**members, "provenance": provenance}
            return self._commit(self._repository, draft, captured.buffers, globals, said)

        def work() -> Snapshot:
            try:
                snapshot = self.make(fill, private=True)
            finally:
                captured.restart()
            return self._saved(snapshot, place.warn)

        return self._background.begin(work, captured.size, place)

    def fork(
        self, state: Any, members: Mapping[str, Any], timeout: float, *, despite_threads: bool
    ) -> Future[Snapshot]:
        """Save *state* in a child, which may take *timeout* seconds."""
        if not hasattr(os, "fork"):
            raise ValueError("capture='fork' is not to be had on this system; use capture='copy'")
        handle = _pickled(self._repository.store)
        rest_all()
        # The second is so while the interpreter ends: it forks no more.
        if self._hung or not threading.main_thread().is_alive():
            self._hung = False
            return self.copy(state, members)
        if not despite_threads:
            refuse_threads()
        _ = self._repository.keys.signs  # Made here, if it has to be: a child would make its own.
        known = self._repository.known
        known.new_pack()  # Counted here too, or each child would begin a folder of its own.
        place = Place.here()

        def in_child() -> Snapshot:
            repository = Repository(pickle.loads(handle), self._repository.keys)
            repository.known = known
            return self._pickle(repository, state, members, threads=False)

        with uninterrupted():
            child = fork(in_child, timeout)
            return self._background.begin(lambda: self._adopted(child, place), 0, place)

    def _adopted(self, child: Child, place: Place) -> Snapshot:
        """What the child saved, known here as if this process had."""
        try:
            snapshot: Snapshot = child.result()
        finally:
            self._hung = child.hung
        repository = self._repository
        with repository.turn, suppress(CheckpointError):
            # It is acknowledged; what of it cannot be read just now is not reused.
            manifest = repository.manifest(self.name, snapshot.version)
            repository.known.learn(manifest, repository.rows(manifest))
        self._telling.tell_names(snapshot.types, place.warn)
        return self._saved(snapshot, place.warn)

    # --- a version ----------------------------------------------------------

    def make(
        self,
        fill: Callable[[Draft], Snapshot],
        repository: Repository | None = None,
        *,
        threads: bool = True,
        private: bool = False,
    ) -> Snapshot:
        """What *fill* commits as the next version; in a child to a *repository* of its own."""
        return (repository or self._repository).save(
            self.name,
            self._codec,
            fill,
            carry=self._keep is not None,
            threads=threads,
            private=private,
        )

    def _pickle(
        self,
        repository: Repository,
        state: Any,
        members: Mapping[str, Any],
        progress: Progress | None = None,
        *,
        threads: bool = True,
    ) -> Snapshot:
        """Pickle *state* straight into the next version."""

        def fill(draft: Draft) -> Snapshot:
            heard = self._telling.listen(draft.stream.write, draft.stream.restart)
            pickled = pickle_into(state, heard.write, restart=heard.restart)
            heard.tell(pickled, is_child=repository is not self._repository)
            buffers, globals = pickled.buffers, pickled.globals
            said = {**members, "provenance": pickled.provenance}
            return self._commit(repository, draft, buffers, globals, said, progress)

        return self.make(fill, repository, threads=threads)

    def _commit(
        self,
        repository: Repository,
        draft: Draft,
        buffers: Sequence[Buffer],
        globals: Sequence[Global],
        members: Mapping[str, Any],
        progress: Progress | None = None,
    ) -> Snapshot:
        return repository.commit(
            draft,
            buffers,
            progress,
            None if self.fence is None else self.fence + 1,
            types=self._migrations.stamped(globals),
            migrations=tuple(dict.fromkeys((*self._applied, *self._migrations.graphs))),
            libraries=libraries(globals),
            parent=self.parent or repository.line(self.name).highest() or None,
            **members,
        )

    def _saved(self, snapshot: Snapshot, told: Warn) -> Snapshot:
        self.parent = snapshot.version
        if self.fence is not None:
            self.fence = snapshot.version
        self.clean(snapshot, told)
        return snapshot

    def clean(self, snapshot: Snapshot, told: Warn = warn) -> None:
        """Apply the retention policy after a save, and prune now and then; *told* warns."""
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
            message = f"the save is made, but old versions were not cleaned up: {error}"
            told(message, RetentionWarning)


def _pickled(store: Store) -> bytes:
    try:
        return pickle.dumps(store)
    except Exception as error:
        raise TypeError(
            "capture='fork' needs a store that can be pickled, since a child must have a handle "
            f"of its own, and {store!r} cannot: {error}; use capture='copy'"
        ) from error
