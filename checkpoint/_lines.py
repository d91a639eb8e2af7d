"""A line of versions: which numbers were used, which are there, which is next.

Numbers are used in sequence.  So the highest number ever used is found without
a listing: if any number above the highest that we know was used, then the next
one was, and either its manifest is there or it was deleted; and a deletion
first puts a `gone` mark with the highest number used by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from checkpoint._format import gone_folder, snapshot_folder, snapshot_key
from checkpoint.errors import CheckpointError, ConflictError, IntegrityError, NotFoundError
from checkpoint.store import Store

_TRIES = 1000  # numbers that a writer loses to others before it looks for another reason


def exists(store: Store, key: str) -> bool:
    """Whether *key* is there, readable or not."""
    try:
        store.get(key, 0, 0)
    except NotFoundError:
        return False
    except IntegrityError:
        return True
    return True


class Line:
    """The versions under one name in a store."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._highest: int | None = None

    def versions(self) -> list[int]:
        """The numbers that are there, ascending; damaged ones too."""
        folder = snapshot_folder(self._name)
        # Ten digits each: the order of the keys is that of the numbers.
        names = (key.removeprefix(folder) for key in self._store.keys(folder))
        digits = (name[:10] for name in names if len(name) == 15 and name.endswith(".json"))
        return [int(number) for number in digits if number.isdecimal() and int(number)]

    def highest(self) -> int:
        """The highest number that was ever used; 0 if none was."""
        known = self._highest
        if known is None or self._is_there(known + 1) or self._gone() > known:
            known = max([self._gone(), *self.versions()])
            self._highest = known
        return known

    def commit(self, encode: Callable[[int], bytes], only: int | None = None) -> int:
        """Put the manifest that *encode* gives for the next number: the commit.

        Returns the number when the manifest is durable and no higher number
        was ever used.  A number that was used and deleted since we looked is
        given back, and another is taken; but if *only* one will do, it is a
        ConflictError that another writer was there.
        """
        for _ in range(_TRIES):
            version = self.highest() + 1
            if only is not None and version != only:
                raise ConflictError(
                    f"version {only} of {self._name!r} is not the next one any more: another "
                    f"writer has got as far as {version - 1}",
                    name=self._name,
                    version=only,
                )
            key = snapshot_key(self._name, version)
            try:
                self._store.put(key, [encode(version)])
            except ConflictError:
                self._highest = None
                continue
            except BaseException:
                self._give_up(version)
                raise
            if self._gone() < version:
                self._highest = version
                return version
            self._highest = None
            self._store.delete([key])
        message = (
            f"no number of {self._name!r} could be taken; something that is no manifest is at {key}"
        )
        raise ConflictError(message, name=self._name, version=version, key=key)

    def _give_up(self, version: int) -> None:
        """The put of *version* failed; mark it, since another writer may have seen it.

        That one took the next number, and who knows only lower ones looks no
        further than the gap.
        """
        with suppress(CheckpointError):
            if self.versions() and not self._is_there(version):
                self._store.put(self._gone_key(version), [])

    def delete(self, versions: Iterable[int], *, used: int = 0) -> None:
        """Delete *versions*, durably.  One deleter of a name at a time.

        *used* is a number below one that the caller knows to be acknowledged:
        a mark that high serves later deletions too.  It may never reach the
        newest version, or its writer, not sure of it yet, would take it back.
        """
        doomed = sorted(versions)
        if doomed[-1] > self._gone():
            with suppress(ConflictError):
                self._store.put(self._gone_key(max(doomed[-1], used)), [])
        self._store.delete(snapshot_key(self._name, version) for version in doomed)

    def settle(self) -> None:
        """Make every deletion in this line durable, whoever began it.

        Only then is a mark dropped that a higher one has replaced.
        """
        self._store.delete([snapshot_key(self._name, 0)])
        old = sorted(self._gone_marks())[:-1]
        if old:
            self._store.delete(self._gone_key(number) for number in old)

    def _is_there(self, version: int) -> bool:
        return exists(self._store, snapshot_key(self._name, version))

    def _gone(self) -> int:
        return max(self._gone_marks(), default=0)

    def _gone_marks(self) -> list[int]:
        folder = gone_folder(self._name)
        found = (key.removeprefix(folder) for key in self._store.keys(folder))
        return [int(number) for number in found if number.isdecimal()]

    def _gone_key(self, number: int) -> str:
        return f"{gone_folder(self._name)}{number:010d}"
