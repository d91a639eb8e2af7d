"""Which stored blobs a save may rely on.

An open repository remembers the blobs of every snapshot it has read or
written, whatever its name.  There is no index on disk that must be kept in
step: a fresh process begins with the newest snapshot of the name it saves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from checkpoint import _lease
from checkpoint._format import mark_key, pack_key
from checkpoint._model import Blob, Manifest
from checkpoint.errors import CheckpointError
from checkpoint.store import Store

# A blob is reused only while this share of its pack is live, so that old packs
# die whole.  Simulated with a tenth of the chunks changed a save and three
# versions kept: packs hold 1.9 to 2.3 times the live bytes, at 1.25 times the writes.
LIVE_SHARE = 1 / 5


class Known:
    """The blobs of the snapshots that were seen and not deleted since."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.blobs: dict[str, Blob] = {}
        self.damaged: set[str] = set()
        self._live: dict[str, Mapping[str, int]] = {}
        self._packs: dict[tuple[str, int], frozenset[str]] = {}
        self._named: Counter[str] = Counter()

    def has_parent(self, name: str) -> bool:
        """Whether a snapshot of *name* was seen."""
        return name in self._live

    def skip(self, name: str) -> None:
        """Begin *name* with nothing to reuse."""
        self._live[name] = {}

    def live(self, name: str) -> Mapping[str, int]:
        """How many stored bytes of each pack the last seen snapshot of *name* uses."""
        return self._live.get(name, {})

    def learn(self, manifest: Manifest, rows: Sequence[Blob]) -> None:
        """Remember what a snapshot is made of."""
        assert manifest.name is not None and manifest.version is not None
        live: Counter[str] = Counter()
        for blob in {(b.pack, b.offset): b for b in (*rows, *manifest.table)}.values():
            if blob.pack is not None:
                self.blobs[blob.digest] = blob
                live[blob.pack] += blob.stored
        self._live[manifest.name] = live
        self.sizes.update(manifest.packs)
        if (manifest.name, manifest.version) not in self._packs:
            self._packs[manifest.name, manifest.version] = frozenset(manifest.packs)
            self._named.update(manifest.packs.keys())

    def forget(self, name: str, version: int) -> None:
        """The version is deleted; a pack that no other names may go at any time."""
        for pack in self._packs.pop((name, version), ()):
            self._named[pack] -= 1
            if not self._named[pack]:
                del self._named[pack], self.sizes[pack]

    def distrust(self, key: str | None) -> None:
        """Damage was seen in the pack at *key*: nothing in it is reused from now on."""
        if key is not None:
            self.damaged.add(key)


class Plan:
    """What one save may reuse, asked and answered under its lease.

    Not reused is a pack that is marked for deletion, in which damage was seen,
    or that is not there at its full size; and with *carry*, a name, one of
    which the last snapshot of that name used less than LIVE_SHARE.
    """

    def __init__(self, store: Store, known: Known, carry: str | None) -> None:
        self._store = store
        self._known = known
        self._live = known.live(carry) if carry is not None else {}
        self._lease: Any = None
        self._marked: frozenset[str] = frozenset()
        self._usable: dict[str, bool] = {}

    def __enter__(self) -> Plan:
        if self._known.blobs:
            self.hold()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._lease is not None:
            self._lease.__exit__(*error)

    def hold(self) -> None:
        """Take the lease: no pack that is looked at or written from now on is deleted."""
        if self._lease is None:
            self._lease = _lease.writing(self._store)
            self._lease.__enter__()
            self._marked = frozenset(self._store.keys("trash/"))

    def reuse(self, digest: str) -> Blob | None:
        """The stored blob with these plain bytes, if it may be relied on."""
        blob = self._known.blobs.get(digest)
        if blob is None or blob.pack is None:
            return None
        if blob.pack not in self._usable:
            self._usable[blob.pack] = self._is_usable(blob.pack)
        return blob if self._usable[blob.pack] else None

    def _is_usable(self, pack: str) -> bool:
        key, size = pack_key(pack), self._known.sizes.get(pack)
        if size is None or key in self._known.damaged or mark_key(pack) in self._marked:
            return False
        if pack in self._live and self._live[pack] < size * LIVE_SHARE:
            return False
        try:
            # Two bytes asked for, one given: the pack ends where it should.
            return len(self._store.get(key, size - 1, size + 1)) == 1
        except CheckpointError:
            return False
