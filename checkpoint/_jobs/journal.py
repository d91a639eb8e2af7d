"""What a job has done that is not to be done again: an append-only journal.

It is a line of versions beside the job's own.  Each holds what was added since
the one before, so that a result costs its own bytes and not those of all.  When
there are many, those of turns that are done are deleted, and the newest are put
together into one: saved first, the others deleted then.  Nothing is kept in
memory for that, and what a program does to a result is not journaled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from attrs import field, frozen

from checkpoint import _pruning
from checkpoint._codec import parse_codec
from checkpoint._foreign import check_size
from checkpoint._jobs.places import Key
from checkpoint._loading import Wanted
from checkpoint._members import members
from checkpoint._migration import default as migrations
from checkpoint._model import Buffer
from checkpoint._reading import Wish
from checkpoint._repository import Repository
from checkpoint._saving import Saving
from checkpoint._telling import Telling
from checkpoint._trust import Policy
from checkpoint._upgrading import Terms
from checkpoint.errors import (
    ConflictError,
    DamagedSnapshotWarning,
    IntegrityError,
    NotFoundError,
    warn,
)

_MANY = 64  # versions that are put together into one
_TRIES = 100
_PRUNE_BYTES = 64 << 20  # that were deleted are worth a look at every manifest

Slot = tuple[Key, int]  # a place, and the number of the call there


@frozen
class Call:
    """A journaled call: what was called, and what it gave."""

    function: str
    arguments: tuple[str, ...]
    shown: str
    result: Any
    chance: Any = None  # the random number generators after it, where it used them


@frozen
class Made:
    """What a map has made: batches of results, in the order in which they were added."""

    function: str
    last: Any  # what was added with the newest batch; it holds instead of what was before
    batches: list[Any] = field(factory=list)


Entries = dict[Slot, Call | Made]


@frozen
class _Version:
    number: int
    size: int
    slots: frozenset[Slot]


class Journal:
    """The calls and maps of the job *name*; read when first asked for.

    *is_past* says of a place whether, in what is saved of the job, its turn is
    done.  Each *generation* of a job, from one `reset` to the next, has a
    journal of its own.
    """

    def __init__(
        self,
        repository: Repository,
        name: str,
        is_past: Callable[[Key], bool],
        policy: Policy | None,
        generation: int = 1,
        noted: Callable[[], object] = lambda: None,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = f"{name}/journal/{generation}"
        self._repository = repository
        self._terms = Terms(migrations, "raise", "warn", policy)
        self._is_past = is_past
        self._noted = noted  # called when something was added
        self._check = check  # raises if a newer attempt has begun
        self._saving: Saving | None = None
        self._entries: Entries = {}
        self._versions: list[_Version] = []
        self._deleted = 0  # bytes

    def take(self, slot: Slot) -> Call | Made | None:
        """What was journaled at *slot* before this attempt; given once."""
        self._open()
        return self._entries.pop(slot, None)

    def add_call(self, slot: Slot, call: Call) -> None:
        """Note a call, durably."""
        self._open()
        self._add({slot: call})

    def add_batch(self, slot: Slot, function: str, batch: Any, last: Any) -> None:
        """Note what a map has made, durably, all together."""
        self._open()
        self._add({slot: Made(function, last, [batch])})

    def clear(self) -> None:
        """Delete all of it."""
        self._saving = None
        self._repository.delete(self.name, self._repository.line(self.name).versions())

    # --- as versions --------------------------------------------------------

    def _open(self) -> None:
        """Read all versions, and add one, so that older attempts can add no more."""
        if self._saving is not None:
            return
        self._check()
        telling = Telling(self._terms)
        codec = parse_codec("zstd")
        saving = Saving(self._repository, self.name, codec, None, migrations, telling)
        for _ in range(_TRIES):
            saving.fence = self._repository.line(self.name).highest()
            try:
                self._entries = {}
                numbers = self._repository.line(self.name).versions()
                self._versions = self._read(numbers, self._entries)
                self._saving = saving
                self._add({})
                return
            except (ConflictError, NotFoundError):  # An older attempt still writes, or deletes.
                self._saving = None
        raise ConflictError(f"the journal {self.name!r} is written by another process all the time")

    def _add(self, entries: Entries) -> None:
        if entries:
            self._check()
        self._versions.append(self._save(entries))
        if entries:
            self._noted()
        if len(self._versions) >= 2 * _MANY:
            self._put_together()

    def _save(self, entries: Entries) -> _Version:
        assert self._saving is not None
        state = _state(entries)
        meta = {"journal": {key: len(values) for key, values in state.items()}}
        added = self._saving.save(state, members(meta), None)
        return _Version(added.version, added.size, frozenset(entries))

    def _read(self, numbers: Sequence[int], into: Entries) -> list[_Version]:
        """The versions that are whole; *into* gets what they hold and somebody may ask for."""
        read = []
        for number in numbers:
            try:
                version, entries = self._load(number)
            except IntegrityError as error:
                warn(f"{error}; what it held is done again", DamagedSnapshotWarning)
                continue
            for slot, entry in entries.items():
                if not self._is_past(slot[0]):
                    _join(into, slot, entry)
            read.append(version)
        return read

    def _load(self, number: int) -> tuple[_Version, Entries]:
        wanted = Wanted((), self._terms, migrates=False)
        wish = Wish(admit=partial(check_size, self._terms))
        manifest, parts = self._repository.read(self.name, number, wish)

        def again() -> Sequence[Buffer]:
            return self._repository.read(self.name, number, wish)[1]

        entries = _entries(wanted.loaded(manifest, parts, again))
        return _Version(number, manifest.size, frozenset(entries)), entries

    # --- few of them --------------------------------------------------------

    def _put_together(self) -> None:
        """Delete what nobody can ask for; put the newest of the others together."""
        live = [each for each in self._versions if self._lives(each)]
        doomed = [each for each in self._versions if not self._lives(each)]
        if len(live) >= _MANY:
            at = len(live) - _how_many([each.size for each in live])
            joined: Entries = {}
            doomed += self._read([each.number for each in live[at:]], joined)
            live[at:] = [self._save(joined)]
        self._versions = live
        self._delete(doomed)

    def _lives(self, version: _Version) -> bool:
        return not all(self._is_past(place) for place, _ in version.slots)

    def _delete(self, doomed: Sequence[_Version]) -> None:
        self._repository.delete(self.name, [each.number for each in doomed])
        self._deleted += sum(each.size for each in doomed)
        if self._deleted >= _PRUNE_BYTES:
            self._deleted = 0
            with suppress(ConflictError):  # Another process prunes, for this one too.
                _pruning.prune(self._repository)


def _how_many(sizes: Sequence[int]) -> int:
    """Of so many bytes each, how many of the last to put together.

    A version waits until as much as it holds has come after it: so no result is
    written again more often than the number of times that the journal doubles.
    """
    total = 0
    for number, size in enumerate(reversed(sizes)):
        if number >= _MANY and size > total:
            return number
        total += size
    return len(sizes)


def _join(entries: Entries, slot: Slot, entry: Call | Made) -> None:
    before = entries.get(slot)
    if isinstance(before, Made) and isinstance(entry, Made):
        entry = Made(entry.function, entry.last, [*before.batches, *entry.batches])
    entries[slot] = entry


def _state(entries: Entries) -> dict[str, list[Any]]:
    """*entries* as plain values: no class of ours is in what is saved."""
    state: dict[str, list[Any]] = {"calls": [], "maps": []}
    for slot, entry in entries.items():
        if isinstance(entry, Call):
            said = entry.function, entry.arguments, entry.shown
            state["calls"].append((slot, *said, entry.result, entry.chance))
        else:
            state["maps"].append((slot, entry.function, entry.last, entry.batches))
    return state


def _entries(state: Any) -> Entries:
    calls = {slot: Call(*entry) for slot, *entry in state["calls"]}
    return calls | {slot: Made(*entry) for slot, *entry in state["maps"]}
