"""Polite writers, deleters in turn, at most one pruner.

Correctness of saving rests on create-only puts alone.  Leases protect packs
that are being reused or are not yet named from being deleted meanwhile.
"""

from __future__ import annotations

import secrets
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from checkpoint.errors import ConflictError, StoreError
from checkpoint.store import Locking, Store

_WRITERS = "leases/writers/"
_DELETERS = "leases/deleters/"
_PATIENCE = 0.5  # seconds that a prune waits for writers before it leaves the rest to the next
_POLL = 0.002


def writing(store: Store) -> AbstractContextManager[Any]:
    """A writer's own lease, from before it looks at packs until after its commit."""
    if not isinstance(store, Locking):
        return nullcontext()
    lock = store.lock(f"{_WRITERS}{secrets.token_hex(8)}", wait=True)
    assert lock is not None
    return lock


def deleting(store: Store, name: str, *, wait: bool) -> AbstractContextManager[Any] | None:
    """The turn of one deleter of *name*; None if it is another's and *wait* is false."""
    if not isinstance(store, Locking):
        return nullcontext()
    return store.lock(f"{_DELETERS}{name}/@", wait=wait)


def pruning(store: Store) -> AbstractContextManager[Any]:
    """The one pruner's lease; ConflictError if another process is at it."""
    if not isinstance(store, Locking):
        raise StoreError(f"{store!r} has no locks, so nothing says which packs are in use")
    lock = store.lock("leases/pruner", wait=False)
    if lock is None:
        raise ConflictError("another process is pruning this repository; let it finish")
    return lock


def forget_dead_deleters(store: Locking) -> None:
    """Remove the leases of deleters that died; one at work keeps its own."""
    assert isinstance(store, Store)
    for key in store.keys(_DELETERS):
        _ended(store, key)


def writers_ended(store: Locking) -> bool:
    """Whether every writer's lease that is held now ends within a short wait."""
    assert isinstance(store, Store)
    deadline = time.monotonic() + _PATIENCE
    held = store.keys(_WRITERS)
    while held:
        held = [key for key in held if not _ended(store, key)]
        if held and time.monotonic() > deadline:
            return False
        if held:
            time.sleep(_POLL)
    return True


def _ended(store: Locking, key: str) -> bool:
    # A key that is free was held by a writer that ended or died; holding it
    # for a moment removes what a dead one left.
    lock = store.lock(key, wait=False)
    if lock is None:
        return False
    with lock:
        return True
