"""Which repository a store holds: what its format file says, and its manifests repeat."""

from __future__ import annotations

import uuid

from checkpoint import _format
from checkpoint.errors import (
    CheckpointError,
    DamagedSnapshotWarning,
    IntegrityError,
    NotFoundError,
    warn,
)
from checkpoint.store import Store

FORMAT_KEY = "format.json"


def read_identity(store: Store) -> str | None:
    """The repository's uuid; None where there is none.

    Where the format file is missing or damaged, a manifest in its place tells,
    and a warning says so.
    """
    where = f"{FORMAT_KEY} of {store}"
    try:
        return _format.decode_identity(store.get(FORMAT_KEY), where)
    except NotFoundError:
        why = f"{where} is missing"
        damage = None
    except IntegrityError as error:
        why = str(error)
        damage = error
    for key in store.keys("snapshots/"):
        try:
            manifest = _format.decode_manifest(store.get(key), key)
        except CheckpointError:
            continue
        # One that was moved here may be another repository's.
        if (manifest.name, manifest.version) != _format.parse_snapshot_key(key):
            continue
        warn(f"{why}; the manifests repeat it, so nothing is lost", DamagedSnapshotWarning)
        return manifest.repository
    if damage is not None:
        raise damage
    return None


def put_identity(store: Store) -> str:
    """Make *store* a repository, durably; ConflictError if it is one by now."""
    fresh = str(uuid.uuid4())
    document = {"format": _format.FORMAT, "repository": fresh}
    store.put(FORMAT_KEY, [_format.seal(document)])
    return fresh
