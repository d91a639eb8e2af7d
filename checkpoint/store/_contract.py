"""The store contract: five verbs; locks and maps where processes share one machine.

Nothing is ever overwritten, so there is no cache to invalidate, no rename, no
`exists`, and no capability flag to ask first.  `checkpoint.testing.StoreContract`
tests every line of this page against a store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from checkpoint._model import Buffer

_KEY = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]*(/[A-Za-z0-9_@-][A-Za-z0-9._@-]*)*\Z")


@runtime_checkable
class Store(Protocol):
    """A flat map from keys to immutable bytes.

    A key is `/`-separated parts of letters, digits, `.`, `_`, `-`, `@`; no part
    begins with a dot.
    """

    def put(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Create *key* from *pieces*: all of it, atomically and durably, or nothing.

        When it returns, every reader sees all the bytes, even after a power
        cut; when it raises, no reader sees any.  A key that exists raises
        ConflictError.  A piece is used up before the next one is asked for, so
        its memory may be reused then.  What *pieces* raises passes through.
        """
        ...

    def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
        """The bytes [start, stop) of *key*, in fresh memory that is the caller's to write.

        A range that reaches past the end gives what is there.
        NotFoundError if the key is absent.
        """
        ...

    def fill(self, key: str, start: int, target: memoryview) -> int:
        """Read the bytes of *key* from *start* on into *target*; how many there were.

        Fewer than *target* takes only where the object ends; what lies beyond
        them in *target* stays as it was.  When it raises, *target* may hold
        anything.  Threads may fill parts of the same memory at once.
        NotFoundError if the key is absent; TypeError if *target* is not memory
        to write, in one run.
        """
        ...

    def keys(self, prefix: str) -> list[str]:
        """Every key below *prefix* (empty, or ending in `/`), sorted."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove *keys*; a key that is gone already is no error.

        When it returns, the deletion of each is durable, and so is every
        earlier deletion beside it: of a key with the same parent, whoever
        asked for it, whether or not that call returned.
        """
        ...


class Lock(Protocol):
    """Something held; released by leaving its `with` block, or by the holder's death."""

    def __enter__(self) -> Lock: ...

    def __exit__(self, *error: object) -> None: ...


@runtime_checkable
class Locking(Protocol):
    """What a store adds where its users can tell whether another one still lives."""

    def lock(self, key: str, *, wait: bool) -> Lock | None:
        """Hold *key* alone; None if another holds it and *wait* is false.

        While held, `keys` lists it.  A holder that dies lets go.
        """
        ...

    def tidy(self) -> None:
        """Remove what writers that died left in the store itself: temporary files."""
        ...


@runtime_checkable
class Mappable(Protocol):
    """What a store adds where an object can be memory without being read first."""

    def map(self, key: str, start: int, stop: int) -> memoryview:
        """The bytes [start, stop) of *key* as copy-on-write memory, each page read when touched.

        It is the caller's to write, and nobody else sees what is written.  It
        stays right when the key is deleted.  What begins at a multiple of 64
        in the object does so in memory.  NotFoundError if the key is absent;
        IntegrityError if the object ends before *stop*.  Nothing later can be
        an exception: a page that cannot be read, or a file that somebody cuts
        short, ends the process.
        """
        ...


def is_key(key: str) -> bool:
    """Whether *key* may name an object."""
    return _KEY.match(key) is not None


def check_key(key: str) -> str:
    """*key* if it is one, else ValueError: no key leads out of a store."""
    if not is_key(key):
        raise ValueError(f"not a store key: {key!r}")
    return key


def check_target(start: int, target: memoryview) -> memoryview:
    """*target* as plain bytes if it can be filled, else TypeError; ValueError for a bad *start*."""
    plain = memoryview(target).cast("B")
    if plain.readonly:
        raise TypeError("memory to fill must be writable")
    if start < 0:
        raise ValueError(f"start must be at least 0, not {start}")
    return plain
