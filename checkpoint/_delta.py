"""Deltas: which chunk a new one resembles, and whether its difference is worth storing.

A delta's base is never a delta: one more read gives any chunk.  The base of a
chunk is what lay in its place in the snapshot before, or what that was a delta
of.  So deltas against one base grow while a state drifts away from it, and a
chunk is stored whole again when its next delta would cost more than the changes
of the chunk have cost so far on average, its base counted in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from attrs import frozen

from checkpoint._codec import encode_delta
from checkpoint._format import rows_by_part
from checkpoint._model import Blob, Buffer, Part
from checkpoint._reading import read_blob
from checkpoint._reuse import INLINE, Plan
from checkpoint.errors import FormatError

_WORTHWHILE = 1 / 2  # of a chunk or its base: a delta that saves less is not worth a second read
_SAMPLES = 4
_SAMPLE = 1 << 10
_PATIENCE = 4  # to decode a base costs more than to digest a chunk
_EACH = 8
_PROBED = 64 << 10  # less than this costs no more to try than to probe


@frozen
class Piece:
    """A run of plain bytes to store, and the blobs that may have lain in its place before.

    A *probed* piece is compared with each in a few places first.  `digest` is
    given where it is known already.
    """

    view: Buffer
    near: tuple[Blob, ...] = ()
    probed: bool = False
    digest: str | None = None


class Layout:
    """How a snapshot was cut: what the next one is compared with, place by place."""

    def __init__(self, parts: Sequence[Part], rows: Sequence[Blob]) -> None:
        *self._buffers, self.stream = rows_by_part(parts, rows)
        self._lengths = [part.length for part in parts[:-1]]

    def buffers(self, lengths: Sequence[int]) -> Iterator[list[Sequence[Blob]]]:
        """For each buffer of a new snapshot the rows that may have lain in its place.

        Where their number has changed, a buffer is looked for as many places
        from the front, and as many from the end.
        """
        ours, theirs = len(self._lengths), len(lengths)
        for index, length in enumerate(lengths):
            places = dict.fromkeys((index, index - theirs + ours))
            there = [place for place in places if 0 <= place < ours]
            yield [self._buffers[p] for p in there if ours == theirs or self._lengths[p] == length]


class Track:
    """Follows a new stream along an old one."""

    def __init__(self, rows: Sequence[Blob]) -> None:
        self._rows = rows
        self._starts = [0, *accumulate(row.length for row in rows)]
        self._places = {row.digest: at for row, at in zip(rows, self._starts, strict=False)}
        self._shift = 0

    def near(self, start: int, length: int, digest: str) -> Blob | None:
        """The old chunk in the place of the new one at *start*.

        A chunk that is found unchanged says how far the others have moved.
        """
        if digest in self._places:
            self._shift = self._places[digest] - start
        middle = max(0, start + self._shift + length // 2)
        index = bisect_right(self._starts, middle) - 1
        return self._rows[index] if index < len(self._rows) else None


@frozen
class Delta:
    """The digest of a base, the filter, and the difference from the base as stored."""

    base: str
    filter: str | None
    stored: bytes


class Deltas:
    """Encodes a piece against what lay in its place before."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._misses = 0  # encoded bases in a row that resembled nothing, read or not

    def __call__(self, piece: Piece, plain: Buffer) -> Delta | None:
        """The delta of *plain*; None if that does not pay.

        IntegrityError or NotFoundError if the base is damaged or gone.
        """
        if len(plain) <= INLINE:
            return None  # It is small enough to stand alone.
        for near in piece.near:
            base = self._plan.base(near)
            found = None if base is None else self._against(base, piece, plain)
            if found is not None:
                return found
        return None

    def _against(self, base: Blob, piece: Piece, plain: Buffer) -> Delta | None:
        probed = piece.probed and len(plain) >= _PROBED
        if probed and base.codec == "none" and not self._resembles(plain, base, None):
            return None
        probed = probed and base.codec != "none"
        if probed and self._is_hopeless():
            return None
        try:
            old = read_blob(base, self._plan.source)
        except FormatError:
            return None  # A newer release wrote it; it may be for others to read.
        if probed and not self._resembles(plain, base, old):
            self._misses += 1
            return None
        self._misses = 0
        filter, stored = encode_delta(plain, old)
        least = min(base.stored, len(plain)) * _WORTHWHILE
        limit = min(least, self._plan.cost_of_a_change(base))
        return Delta(base.digest, filter, stored) if len(stored) <= limit else None

    def _is_hopeless(self) -> bool:
        """After a few misses in a row only now and then is a base decoded to be compared."""
        if self._misses < _PATIENCE or self._misses % _EACH == 0:
            return False
        self._misses += 1
        return True

    def _resembles(self, plain: Buffer, base: Blob, old: Buffer | None) -> bool:
        """Whether one of a few samples is the same; of a raw base nothing else is read."""
        size = min(len(plain), base.length)
        step = size // _SAMPLES
        for at in range(step // 2, size - _SAMPLE, max(step, 1)):
            if old is None:
                start = base.offset + at
                sample = self._plan.source.get(base.pack, start, start + _SAMPLE)
            else:
                sample = old[at : at + _SAMPLE]
            if bytes(sample) == bytes(plain[at : at + _SAMPLE]):
                return True
        return False
