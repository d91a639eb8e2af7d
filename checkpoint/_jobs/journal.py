"""What a job has done that is not to be done again: an append-only journal.

It is a line of versions beside the job's own.  Each holds what was added since
the one before, so that a result costs its own bytes and not those of all; now
and then many are put together into one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from checkpoint._codec import parse_codec
from checkpoint._jobs.places import Key
from checkpoint._members import stamp
from checkpoint._migration import default as migrations
from checkpoint._model import Snapshot
from checkpoint._reading import Wish
from checkpoint._repository import Repository
from checkpoint._saving import Saving
from checkpoint._upgrading import Loading, Terms
from checkpoint.errors import ConflictError, DamagedSnapshotWarning, IntegrityError, warn

_MANY = 64  # versions that are put together into one
_TRIES = 100


@frozen
class Call:
    """A journaled call: what was called, and what it gave."""

    function: str
    arguments: tuple[str, ...]
    shown: str
    result: Any
    chance: Any = None  # the random number generators after it, where it used them


Slot = tuple[Key, int]  # a place, and the number of the call there


class Journal:
    """The calls and items that the job *name* has done; read when first asked for."""

    def __init__(self, repository: Repository, name: str, is_past: Callable[[Key], bool]) -> None:
        self.name = f"{name}/journal"
        self._repository = repository
        self._is_past = is_past
        self._saving: Saving | None = None
        self._calls: dict[Slot, Any] = {}
        self._items: dict[Slot, dict[Any, Any]] = {}
        self._versions: list[int] = []

    def call(self, slot: Slot) -> Call | None:
        """What was journaled of the call at *slot*."""
        self._open()
        found = self._calls.get(slot)
        return None if found is None else Call(*found)

    def add_call(self, slot: Slot, call: Call) -> None:
        """Note a call, durably."""
        entry = call.function, call.arguments, call.shown, call.result, call.chance
        self._add({slot: entry}, {})
        self._calls[slot] = entry

    def items(self, slot: Slot) -> dict[Any, Any]:
        """What was journaled of the items of the map at *slot*, by their keys."""
        self._open()
        return self._items.setdefault(slot, {})

    def add_items(self, slot: Slot, items: Iterable[tuple[Any, Any]]) -> None:
        """Note items of a map, durably, all together."""
        batch = list(items)
        self._add({}, {slot: batch})
        self.items(slot).update(batch)

    def clear(self) -> None:
        """Delete all of it."""
        self._saving = None
        versions = self._repository.line(self.name).versions()
        if versions:
            self._repository.delete(self.name, versions)

    # --- as versions --------------------------------------------------------

    def _open(self) -> None:
        """Read all versions; put one, so that older attempts can add no more."""
        if self._saving is not None:
            return
        saving = Saving(self._repository, self.name, parse_codec("zstd"), None, migrations)
        for _ in range(_TRIES):
            saving.fence = self._repository.line(self.name).highest()
            self._read()
            try:
                self._saving = saving
                self._put_together() if len(self._versions) >= _MANY else self._add({}, {})
                return
            except ConflictError:
                self._saving = None
        raise ConflictError(f"the journal {self.name!r} is written by another process all the time")

    def _read(self) -> None:
        self._calls, self._items = {}, {}
        self._versions = self._repository.line(self.name).versions()
        for version in self._versions:
            try:
                added = self._load(version)
            except IntegrityError as error:
                warn(f"{error}; what it held is done again", DamagedSnapshotWarning)
                continue
            self._calls |= {
                slot: call for slot, call in added["calls"].items() if self._lives(slot)
            }
            for slot, items in added["items"].items():
                if self._lives(slot):
                    self._items.setdefault(slot, {}).update(items)

    def _lives(self, slot: Slot) -> bool:
        return not self._is_past(slot[0])

    def _load(self, version: int) -> Any:
        wish = Wish(None, False, None)
        manifest, parts = self._repository.read(self.name, version, wish)
        loading = Loading(Terms(migrations, "raise", "warn"), manifest.types)
        loading.check()

        def again() -> Any:
            return self._repository.read(self.name, version, wish)[1][:-1]

        return loading.load(parts[-1], parts[:-1], again)

    def _add(self, calls: dict[Slot, Any], items: dict[Slot, list[tuple[Any, Any]]]) -> None:
        self._open()
        self._versions.append(self._save(calls, items).version)
        if len(self._versions) > 2 * _MANY:
            self._put_together()

    def _save(self, calls: Any, items: Any) -> Snapshot:
        assert self._saving is not None
        meta = {"journal": {"calls": len(calls), "items": sum(map(len, items.values()))}}
        members: dict[str, Any] = {"metrics": {}, "tags": (), "meta": meta, **stamp()}
        return self._saving.save({"calls": calls, "items": items}, members, None)

    def _put_together(self) -> None:
        """Put all that may be asked for into one version, and delete the others."""
        self._calls = {slot: call for slot, call in self._calls.items() if self._lives(slot)}
        self._items = {slot: items for slot, items in self._items.items() if self._lives(slot)}
        kept = {slot: [*items.items()] for slot, items in self._items.items()}
        added = self._save(self._calls, kept)
        self._repository.delete(self.name, self._versions)
        self._versions = [added.version]
