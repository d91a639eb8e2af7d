"""A store in memory: for tests, and for snapshots that need not outlive the process."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NoReturn

from checkpoint._model import Buffer, memory
from checkpoint.errors import ConflictError, NotFoundError
from checkpoint.store._contract import check_key, check_target


class MemoryStore:
    """Keys and bytes in a dict; as durable as the process."""

    __module__ = "checkpoint"

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._held: set[str] = set()
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._objects)} keys>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a MemoryStore lives in one process: another would write into a copy of it")

    def put(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Create *key*; ConflictError if it exists."""
        check_key(key)
        whole = bytearray()
        for piece in pieces:
            whole += memoryview(piece).cast("B")
        with self._changed:
            if key in self._objects:
                raise ConflictError(f"{key} exists already", key=key)
            self._objects[key] = bytes(whole)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
        """A private copy of the bytes [start, stop) of *key*."""
        wanted = self._stored(key)[start:stop]
        fresh = memory(len(wanted))
        fresh[:] = wanted
        return fresh

    def fill(self, key: str, start: int, target: memoryview) -> int:
        """Copy the bytes of *key* from *start* on into *target*; how many there were."""
        target = check_target(start, target)
        there = self._stored(key)[start : start + len(target)]
        target[: len(there)] = there
        return len(there)

    def keys(self, prefix: str) -> list[str]:
        """Every key below *prefix*, sorted."""
        with self._changed:
            return sorted(k for k in {*self._objects, *self._held} if k.startswith(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        """Remove *keys*."""
        with self._changed:
            for key in keys:
                self._objects.pop(check_key(key), None)

    def lock(self, key: str, *, wait: bool) -> _MemoryLock | None:
        """Hold *key* alone among the threads of this process."""
        check_key(key)
        with self._changed:
            while key in self._held:
                if not wait:
                    return None
                self._changed.wait()
            self._held.add(key)
        return _MemoryLock(self, key)

    def tidy(self) -> None:
        """Nothing to do: a put that fails leaves nothing in memory."""

    def _stored(self, key: str) -> memoryview:
        stored = self._objects.get(check_key(key))
        if stored is None:
            raise NotFoundError(f"no {key} in this store", key=key)
        return memoryview(stored)

    def _release(self, key: str) -> None:
        with self._changed:
            self._held.discard(key)
            self._changed.notify_all()


class _MemoryLock:
    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key

    def __enter__(self) -> _MemoryLock:
        return self

    def __exit__(self, *error: object) -> None:
        self._store._release(self._key)
