"""Which stored blobs a save may rely on.

An open repository remembers the blobs of every snapshot it has read or
written, whatever its name.  There is no index on disk that must be kept in
step: a fresh process begins with the newest snapshot of the name it saves.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from attrs import frozen

from checkpoint import _lease
from checkpoint._format import mark_key, pack_key
from checkpoint._model import Blob, Manifest
from checkpoint._reading import Packs
from checkpoint._renumbering import Numbering
from checkpoint.errors import CheckpointError
from checkpoint.store import Store

# A blob is reused only while this share of its pack is live in the new snapshot,
# so that old packs die whole.
LIVE_SHARE = 1 / 5
_PACKS_A_FOLDER = 256
INLINE = 4 << 10  # new blobs up to here go into the manifest: one file, one commit


@frozen
class Numbered:
    """How a stream, told by its chunks, numbers its objects as stored.

    *rest* is how many saves go by before it is asked again whether one was
    renumbered, unless twice the *vain* bytes are new, for which it was asked in
    vain; *pause* is how long the rest was when it began.
    """

    chunks: tuple[str, ...] = ()
    numbering: Numbering | None = None
    rest: int = 0
    pause: int = 0
    vain: int = 0


class Known:
    """The blobs of the snapshots that were seen and not deleted since."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.blobs: dict[str, Blob] = {}
        self.damaged: set[str] = set()
        self.numbered: dict[str, Numbered] = {}
        self._newest: dict[str, tuple[Manifest, Sequence[Blob]]] = {}
        self._deltas: dict[str, tuple[int, int]] = {}
        self._digests: dict[str, set[str]] = {}
        self._begun: set[str] = set()
        self._folder = ""
        self._made = 0
        self._packs: dict[tuple[str, int], frozenset[str]] = {}
        self._named: Counter[str] = Counter()

    def new_pack(self) -> str:
        """A random id for a pack.  A run of packs shares a folder: a new one costs a sync."""
        if self._made % _PACKS_A_FOLDER == 0:
            self._folder = secrets.token_hex(1)
        self._made += 1
        return self._folder + secrets.token_hex(15)

    def has_parent(self, name: str) -> bool:
        """Whether a snapshot of *name* was seen."""
        return name in self._begun

    def skip(self, name: str) -> None:
        """Begin *name* with nothing to reuse."""
        self._begun.add(name)

    def learn(self, manifest: Manifest, rows: Sequence[Blob]) -> None:
        """Remember what a snapshot is made of."""
        assert manifest.name is not None and manifest.version is not None
        for blob in (*rows, *manifest.table):
            if blob.pack is not None:
                self.blobs[blob.digest] = blob
                self._digests.setdefault(blob.pack, set()).add(blob.digest)
        self._begun.add(manifest.name)
        self.sizes.update(manifest.packs)
        if (manifest.name, manifest.version) not in self._packs:
            newest = self._newest.get(manifest.name)
            before = {row.digest for row in newest[1]} if newest else frozenset()
            self._count_deltas(row for row in rows if row.digest not in before)
            self._packs[manifest.name, manifest.version] = frozenset(manifest.packs)
            self._named.update(manifest.packs.keys())
        self._newest[manifest.name] = manifest, rows

    def newest(self, name: str) -> tuple[Manifest, Sequence[Blob]] | None:
        """The manifest and rows of the snapshot of *name* that was last saved or loaded."""
        return self._newest.get(name)

    def cost_of_a_change(self, base: Blob) -> float:
        """What a chunk has cost for each change on average, *base* and all its deltas."""
        changes, size = self._deltas.get(base.digest, (0, 0))
        return (base.stored + size) / (changes + 1)

    def _count_deltas(self, rows: Iterable[Blob]) -> None:
        for row in rows:
            if row.base is not None:
                changes, size = self._deltas.get(row.base, (0, 0))
                self._deltas[row.base] = changes + 1, size + row.stored

    def forget(self, name: str, version: int) -> None:
        """The version is deleted; a pack that no other names may go at any time."""
        newest = self._newest.get(name)
        if newest is not None and newest[0].version == version:
            self._newest.pop(name, None)
            self._begun.discard(name)
        for pack in self._packs.pop((name, version), ()):
            self._named[pack] -= 1
            if not self._named[pack]:
                del self._named[pack], self.sizes[pack]
                for digest in self._digests.pop(pack, ()):
                    self._deltas.pop(digest, None)
                    blob = self.blobs.get(digest)
                    if blob is not None and blob.pack == pack:
                        self.blobs.pop(digest, None)

    def distrust(self, key: str | None) -> None:
        """Damage was seen in the pack at *key*: nothing in it is reused from now on.

        Of the others only what is read after this: who met one damaged pack
        has not looked at those behind it.
        """
        self.blobs.clear()
        self._newest.clear()
        self._digests.clear()
        if key is not None:
            self.damaged.add(key)


class Plan:
    """What one save may reuse, asked and answered under its lease.

    Not reused is a pack that is marked for deletion, in which damage was seen,
    or that is not there at its full size.
    """

    def __init__(self, store: Store, known: Known, *, carry: bool) -> None:
        self._store = store
        self.source = Packs(store)
        self._known = known
        self._carry = carry
        self._lease: ExitStack | None = None
        self._marked: frozenset[str] = frozenset()
        self._usable: dict[str, bool] = {}
        # Of what is reused; what is known may be forgotten meanwhile.
        self.sizes: dict[str, int] = {}
        self._bases: dict[str, Blob] = {}

    def __enter__(self) -> Plan:
        if self._known.blobs:
            self.hold()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._lease is not None:
            self._lease.close()

    def hold(self) -> None:
        """Take the lease: no pack that is looked at or written from now on is deleted."""
        if self._lease is None:
            with ExitStack() as lease:
                lease.enter_context(_lease.writing(self._store))
                self._marked = frozenset(self._store.keys("trash/"))
                self._lease = lease.pop_all()

    def new_pack(self) -> str:
        """The id of the pack that this save may write."""
        return self._known.new_pack()

    def reuse(self, digest: str) -> Blob | None:
        """The stored blob with these plain bytes, if it and its base may be relied on."""
        blob = self._known.blobs.get(digest)
        if blob is None or blob.pack is None or self._lease is None:
            return None
        if blob.base is not None and self.base(blob) is None:
            return None
        if blob.pack not in self._usable:
            self._usable[blob.pack] = self._is_usable(blob.pack)
        return blob if self._usable[blob.pack] else None

    def base(self, blob: Blob) -> Blob | None:
        """The whole blob that *blob* is a delta of, or *blob* itself, if it may be relied on."""
        name = blob.base or blob.digest
        if name not in self._bases:
            base = self.reuse(name) if self._is_whole(name) else None
            if base is None:
                return None
            self._bases[name] = base
        return self._bases[name]

    def _is_whole(self, digest: str) -> bool:
        blob = self._known.blobs.get(digest)
        return blob is not None and blob.base is None

    def cost_of_a_change(self, base: Blob) -> float:
        """What a chunk has cost for each change on average, *base* and all its deltas."""
        return self._known.cost_of_a_change(base)

    def is_mostly_dead(self, pack: str, live: int) -> bool:
        """Whether a snapshot that needs *live* bytes of *pack* should take them along.

        It then stores them again, so that the pack can go with the snapshots
        that it was made for.  Without a retention policy only a little is taken
        along, as much as goes into the manifest.
        """
        return live < self.sizes[pack] * LIVE_SHARE and (self._carry or live <= INLINE)

    def _is_usable(self, pack: str) -> bool:
        key, size = pack_key(pack), self._known.sizes.get(pack)
        if size is None or key in self._known.damaged or mark_key(pack) in self._marked:
            return False
        try:
            # Two bytes asked for, one given: the pack ends where it should.
            self.sizes[pack] = size
            return len(self._store.get(key, size - 1, size + 1)) == 1
        except CheckpointError:
            return False
