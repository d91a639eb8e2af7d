"""A stream → chunks, while it is being made.

It is cut where its content says so, and each chunk is compared with the one in
its place in the snapshot before.  If that finds little in common, references to
objects may have been renumbered, by one object more near the front.  Then they
are given their old numbers, and the stream is cut once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from itertools import chain

from blake3 import blake3

from checkpoint._chunking import LONGEST, first_cut, fixed
from checkpoint._delta import Piece, Track
from checkpoint._earlier import Earlier
from checkpoint._model import Blob, Buffer, Part, digest
from checkpoint._renumbering import renumber
from checkpoint._workers import Workers, wait_for_room
from checkpoint._writing import Chunk, Encoder

_LARGE = 1 << 20  # a piece of a stream from here on is cut by itself, uncopied
_KEPT = 32 << 20  # a stream up to here is kept until it is cut, to be renumbered
_POOR = 1 / 256  # what is new of a stream, above which it is asked whether it was renumbered
_WORTHWHILE = 1 / 2  # of what is new without renumbering
_TOO_NEW = 1 / 8  # of a stream: a good time to begin again with its own numbers

Chunks = list[Chunk | Blob]


class StreamCutter:
    """Cuts and encodes a stream while it is being made."""

    def __init__(self, encoder: Encoder, workers: Workers, earlier: Earlier | None = None) -> None:
        self._encoder = encoder
        self._workers = workers
        self._earlier = earlier
        self.restart()

    def restart(self) -> None:
        """Forget what was written: the pickler begins anew."""
        self._kept: list[Buffer] | None = None if self._earlier is None else []
        self._digest = blake3()
        self.length = 0
        self._begin()

    def _begin(self) -> None:
        self._pending = bytearray()
        self._futures: list[Future[Chunk | Blob]] = []
        self._track = None if self._earlier is None else Track(self._earlier.rows)
        self._cut_off = 0

    def write(self, piece: Buffer) -> None:
        """Take the next bytes of the stream; large pieces are not copied together."""
        view = memoryview(piece).cast("B")
        self.length += len(view)
        if len(view) >= _LARGE:
            self._write_large(view)
            return
        if not isinstance(view.obj, bytes):
            view = memoryview(bytes(view))  # Its owner may change it between two looks.
        self._digest.update(view)
        if self._kept is not None:
            self._kept.append(view)
        if not self._waits:
            self._pending += view
            self._cut(LONGEST)
        if self._kept is not None and self.length > _KEPT:
            self._stop_keeping()

    def finish(self) -> tuple[Part, Chunks]:
        """The part and its chunks, in order."""
        found = self._with_old_numbers(None) if self._waits else None
        if self._waits and found is None:
            self._stop_keeping()
        return found or self._as_it_is()

    @property
    def _waits(self) -> bool:
        """Whether nothing can be cut before all is there: the earlier stream has other numbers."""
        return self._kept is not None and self._earlier is not None and self._earlier.renumbered

    def _stop_keeping(self) -> None:
        """Store the stream as it is."""
        assert self._kept is not None
        if self._waits:
            self._begin()
            for piece in self._kept:
                self._pending += piece
                self._cut(LONGEST)
        self._kept = None

    def _write_large(self, view: memoryview) -> None:
        if self._kept is not None:
            self._stop_keeping()
        self._cut(0)
        for chunk in fixed(view):
            private = bytes(chunk) if not isinstance(chunk.obj, bytes) else chunk
            self._digest.update(private)
            self._submit(self._piece(private))

    def _as_it_is(self) -> tuple[Part, Chunks]:
        chunks = self._encoded()
        part = self._part(self.length, chunks, "deframed")
        if self._earlier is None or self._kept is None or _new(chunks) <= self.length * _POOR:
            return part, chunks
        return self._with_old_numbers(_new(chunks)) or (part, chunks)

    def _with_old_numbers(self, new: int | None) -> tuple[Part, Chunks] | None:
        """The stream renumbered as the earlier one; None if that does not pay.

        *new* is what is new of it as it is, if that is known.
        """
        assert self._earlier is not None and self._kept is not None
        wanted = new is None or self._earlier.may_shift(new)
        like = self._earlier.numbering() if wanted else None
        found = None if like is None else renumber(b"".join(self._kept), like)
        if found is None:
            return None
        header, body, numbering = found
        self._begin()
        for piece in chain([memoryview(header)], fixed(body)):
            self._pending += piece
            self._cut(LONGEST)
        chunks = self._encoded()
        if _new(chunks) > (self.length * _TOO_NEW if new is None else new * _WORTHWHILE):
            return None
        self._earlier.remember(chunks, numbering)
        return self._part(len(header) + len(body), chunks, "deframed", "renumbered"), chunks

    def _part(self, length: int, chunks: Chunks, *transforms: str) -> Part:
        return Part("stream", length, len(chunks), transforms, self._digest.hexdigest())

    # --- cutting ------------------------------------------------------------

    def _encoded(self) -> Chunks:
        """All that is cut or pending, encoded."""
        if self._futures:
            self._cut(0)
            return [future.result() for future in self._futures]
        # Not worth a thread.
        return [self._encoder(piece) for piece in self._pieces(0)]

    def _cut(self, enough: int) -> None:
        for piece in self._pieces(enough):
            self._submit(piece)

    def _pieces(self, enough: int) -> Iterator[Piece]:
        """Cut pieces off what is pending while it holds more than *enough* bytes."""
        while len(self._pending) > enough:
            size = first_cut(self._pending)
            chunk = bytes(memoryview(self._pending)[:size])
            del self._pending[:size]
            yield self._piece(chunk)

    def _piece(self, chunk: Buffer) -> Piece:
        start = self._cut_off
        self._cut_off += len(chunk)
        if self._track is None:
            return Piece(chunk)
        name = digest(chunk)
        near = self._track.near(start, len(chunk), name)
        return Piece(chunk, () if near is None else (near,), digest=name)

    def _submit(self, piece: Piece) -> None:
        self._futures.append(self._workers.submit(self._encoder, piece))
        wait_for_room(self._futures)


def _new(chunks: Chunks) -> int:
    """How many bytes of *chunks* are not stored yet."""
    return sum(len(chunk.stored) for chunk in chunks if isinstance(chunk, Chunk))
