"""Movable tags: names that point at one version of a line.

A tag given to `save` is in the manifest and comes with the commit.  A tag that
is moved or removed later is a record of its own; the highest record holds.  A
record says the highest version of its time, so a later save with the same tag
takes it over, without any clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen

from checkpoint import _format
from checkpoint.errors import ConflictError, FormatError, InvalidNameError, NotFoundError
from checkpoint.store import Store


@frozen
class TagRecord:
    """Where *tag* points since version *after* was the highest; None: nowhere."""

    tag: str
    version: int | None
    after: int


class Tags:
    """The tag records of one name in a store."""

    def __init__(self, store: Store, name: str, identity: Callable[[], str | None]) -> None:
        self._store = store
        self._name = name
        self._identity = identity
        self._read: dict[str, TagRecord] = {}

    def holders(
        self, saved: Iterable[tuple[int, Iterable[str]]], unread: int = 0
    ) -> dict[str, int]:
        """Which version holds each tag; *saved* are the versions, ascending, and their tags.

        *unread* is the highest version whose manifest cannot be read: what was
        said before it, it may have changed, and is not told.
        """
        found: dict[str, int] = {
            tag: version for version, tags in saved if version > unread for tag in tags
        }
        for record in self._records():
            if record.after < max(unread, found.get(record.tag, 0)):
                continue
            found.pop(record.tag, None)
            if record.version is not None:
                found[record.tag] = record.version
        return found

    def move(self, tag: str, version: int | None, after: int) -> None:
        """Point *tag* at *version*, durably; None takes it away."""
        folder = _format.tag_folder(self._name, _format.check_tag(tag))
        for other in self._tags():
            if _format.differ_only_by_case(tag, other):
                raise InvalidNameError(f"{tag!r} differs from {other!r} only by case; use one")
        where = {"name": self._name, "tag": tag, "version": version, "after": after}
        members = {"format": _format.FORMAT, "repository": self._identity()} | where
        while True:
            old = [key for key in self._store.keys(folder) if _number(key)]
            number = _number(old[-1]) + 1 if old else 1
            try:
                self._store.put(f"{folder}{number:010d}.json", [_format.seal(members)])
            except ConflictError:
                continue
            if old:
                self._store.delete(old)
            return

    def _tags(self) -> set[str]:
        keys = self._store.keys(f"tags/{self._name}/@/")
        return {key.split("/")[-2] for key in keys}

    def verify(self) -> None:
        """Read each record that holds; IntegrityError or FormatError if one is damaged."""
        self._read.clear()
        self._records()

    def _records(self) -> list[TagRecord]:
        while True:
            keys = self._store.keys(f"tags/{self._name}/@/")
            highest = {key.rpartition("/")[0]: key for key in keys if _number(key)}
            try:
                return [self._record(key) for key in highest.values()]
            except NotFoundError:
                continue  # Moved meanwhile.

    def _record(self, key: str) -> TagRecord:
        if key not in self._read:
            members = _format.unseal(self._store.get(key), key)
            try:
                record = TagRecord(members["tag"], members["version"], members["after"])
                place = members["repository"], members["name"], record.tag
                _format.check_counts(record.version or 0, record.after)
            except (KeyError, ValueError) as error:
                raise FormatError(f"{key} is not a tag record", key=key) from error
            if place != (self._identity(), self._name, key.split("/")[-2]):
                raise FormatError(f"{key} belongs to another tag", key=key)
            self._read[key] = record
        return self._read[key]


def _number(key: str) -> int:
    """The sequence number in a record's key; 0 if it is no record's."""
    number = key.rpartition("/")[2].removesuffix(".json")
    return int(number) if number.isdecimal() and len(number) == 10 else 0
