"""The stream of the snapshot before, as the next one is compared with it."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from checkpoint._model import Blob, Manifest
from checkpoint._reading import Packs, read_parts
from checkpoint._renumbering import Numbering, numbering_of, scan
from checkpoint._reuse import Known, Numbered
from checkpoint._writing import Chunk
from checkpoint.errors import FormatError
from checkpoint.store import Store

_REST, _LONGEST_REST = 8, 64  # saves that go by after renumbering was tried in vain


class Earlier:
    """The stream of the newest snapshot of a name: its chunks, and how it numbers its objects."""

    def __init__(
        self,
        store: Store,
        known: Known,
        manifest: Manifest,
        table: Sequence[Blob],
        rows: Sequence[Blob],
    ) -> None:
        assert manifest.name is not None
        self._store = store
        self._known = known
        self._name = manifest.name
        self._manifest = manifest
        self._table = table
        self.rows = rows
        self.renumbered = "renumbered" in manifest.parts[-1].transforms

    def may_shift(self, new: int) -> bool:
        """Whether to look for other numbers, *new* bytes being new: ever less often if in vain."""
        known = self._remembered
        if known.rest and new < 2 * known.vain:
            self._known.numbered[self._name] = evolve(known, rest=known.rest - 1)
            return False
        pause = min(2 * known.pause, _LONGEST_REST) or _REST
        self._known.numbered[self._name] = evolve(known, rest=pause, pause=pause, vain=new)
        return True

    def numbering(self) -> Numbering | None:
        """How it numbers its objects as stored; it is read back if nobody remembers."""
        chunks = tuple(row.digest for row in self.rows)
        if self._remembered.chunks != chunks:
            try:
                found = self._read()
            except FormatError:
                found = None  # A newer release wrote it.
            self._known.numbered[self._name] = evolve(
                self._remembered, chunks=chunks, numbering=found
            )
        return self._remembered.numbering

    def remember(self, chunks: Sequence[Chunk | Blob], numbering: Numbering) -> None:
        """The next stream is stored as *chunks*, and has *numbering*."""
        names = tuple(chunk.digest for chunk in chunks)
        self._known.numbered[self._name] = Numbered(names, numbering)

    @property
    def _remembered(self) -> Numbered:
        return self._known.numbered.get(self._name) or Numbered()

    def _read(self) -> Numbering | None:
        stored = evolve(self._manifest.parts[-1], transforms=(), digest=None)
        parts = (*self._manifest.parts[:-1], stored)
        source = Packs(self._store, self._manifest.inline)
        part = read_parts(parts, self._table, source, wanted=[len(parts) - 1])[-1]
        return numbering_of(part) if self.renumbered else scan(part)
