"""A store whose process dies at the n-th write.

Run the work with `crash_at` = 1, 2, … until it finishes, with "before" and
"after", and look at the inner store each time: that is every crash between two
writes.  `SimulatedCrash` is a BaseException, so that no `except Exception`
survives its own death; and every later call raises it too, because the dead
write nothing in their `finally` blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Literal, Self

from checkpoint._model import Buffer
from checkpoint.store import Lock, Locking, Mappable, Store


class SimulatedCrash(BaseException):
    """The process is dead; only the test that killed it may catch this."""


class CrashingStore:
    """*inner*, until write number *crash_at*: there everything ends.

    A put is one write; a delete is one for each key, since it may stop half
    way.  The crash comes *before* that write took effect or *after*.  `writes`
    counts those begun, `crashed` says whether the end has come.

    If *inner* locks or maps, so does this.  The crash lets go of every lock held: one
    with a `close` method is closed by it, which leaves its file behind as a
    death does; any other is left as its `with` block would.
    """

    def __new__(cls, inner: Store, *args: Any, **named: Any) -> Self:
        """One that has locks and maps where *inner* has them."""
        if cls is CrashingStore:
            can = isinstance(inner, Locking), isinstance(inner, Mappable)
            cls = _KINDS[can]  # type: ignore[assignment]  # noqa: PLW0642
        return object.__new__(cls)

    def __init__(
        self, inner: Store, crash_at: int, when: Literal["before", "after"] = "before"
    ) -> None:
        if crash_at < 1:
            raise ValueError(f"crash_at must be at least 1, not {crash_at}")
        if when not in ("before", "after"):
            raise ValueError(f"when must be 'before' or 'after', not {when!r}")
        self.inner = inner
        self.crash_at = crash_at
        self.when = when
        self.writes = 0
        self.crashed = False
        self._held: set[_Held] = set()
        self._turn = threading.RLock()

    def __repr__(self) -> str:
        state = "crashed" if self.crashed else f"{self.writes} writes"
        return f"<CrashingStore at {self.crash_at} of {self.inner!r}: {state}>"

    def put(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Create *key* in the inner store, or die."""
        last = self._begin_write()
        self.inner.put(key, self._while_alive(pieces))
        self._end_write(last)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
        """What the inner store gives."""
        self._check_alive()
        return self.inner.get(key, start, stop)

    def fill(self, key: str, start: int, target: memoryview) -> int:
        """What the inner store reads."""
        self._check_alive()
        return self.inner.fill(key, start, target)

    def keys(self, prefix: str) -> list[str]:
        """What the inner store lists."""
        self._check_alive()
        return self.inner.keys(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove *keys* from the inner store one by one, or die on the way."""
        self._check_alive()
        for key in keys:
            last = self._begin_write()
            self.inner.delete([key])
            self._end_write(last)

    def _check_alive(self) -> None:
        if self.crashed:
            raise SimulatedCrash(f"the process died at write {self.crash_at}")

    def _begin_write(self) -> bool:
        """Count a write; true if it is the last one, and to take effect."""
        with self._turn:
            self._check_alive()
            self.writes += 1
            if self.writes != self.crash_at:
                return False
            if self.when == "before":
                self._die()
            return True

    def _end_write(self, last: bool) -> None:
        with self._turn:
            if last:
                self._die()
            # Another thread may have died meanwhile: nobody lives to hear of this write.
            self._check_alive()

    def _while_alive(self, pieces: Iterable[Buffer]) -> Iterable[Buffer]:
        for piece in pieces:
            self._check_alive()  # Another thread may have died meanwhile.
            yield piece

    def _die(self) -> None:
        self.crashed = True
        for lock in list(self._held):
            lock.abandon()
        self._check_alive()


class _LockingCrashingStore(CrashingStore):
    inner: Any

    def lock(self, key: str, *, wait: bool) -> Lock | None:
        """A lock of the inner store that a crash lets go of."""
        self._check_alive()
        lock = self.inner.lock(key, wait=wait)
        if lock is None:
            return None
        with self._turn:
            held = _Held(lock, self._held)
            if self.crashed:
                held.abandon()
            self._check_alive()
        return held

    def tidy(self) -> None:
        """Tidy the inner store."""
        self._check_alive()
        self.inner.tidy()


class _MappingCrashingStore(CrashingStore):
    inner: Any

    def map(self, key: str, start: int, stop: int) -> memoryview:
        """What the inner store maps."""
        self._check_alive()
        mapped: memoryview = self.inner.map(key, start, stop)
        return mapped


class _LockingMappingCrashingStore(_LockingCrashingStore, _MappingCrashingStore):
    pass


# By whether the inner store locks, and whether it maps.
_KINDS: dict[tuple[bool, bool], type[CrashingStore]] = {
    (False, False): CrashingStore,
    (True, False): _LockingCrashingStore,
    (False, True): _MappingCrashingStore,
    (True, True): _LockingMappingCrashingStore,
}


class _Held:
    """A lock that is let go of once: by its `with` block or by the crash."""

    def __init__(self, lock: Lock, held: set[_Held]) -> None:
        self._lock: Lock | None = lock
        self._all = held
        held.add(self)

    def __enter__(self) -> Self:
        if self._lock is not None:
            self._lock.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        lock = self._take()
        if lock is not None:
            lock.__exit__(*error)

    def abandon(self) -> None:
        """Let go as a death does, without the good manners of `__exit__`."""
        lock = self._take()
        if lock is None:
            return
        close = getattr(lock, "close", None)
        if close is None:
            lock.__exit__(None, None, None)
        else:
            close()

    def _take(self) -> Lock | None:
        lock, self._lock = self._lock, None
        self._all.discard(self)
        return lock
