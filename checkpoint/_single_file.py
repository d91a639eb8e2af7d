"""Single-file snapshots: one snapshot in one file, or several after each other.

    magic   8 bytes
    record* one byte that says what it is, its length in 8 bytes, its payload
            B  a blob as stored
            P  padding, zeros, so that a large raw blob begins at a multiple of 64
            M  the manifest; the last record

All lengths come before what they measure, so a snapshot can be read from a
pipe, and what follows it stays unread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, frozen

from checkpoint import _format
from checkpoint._allowance import within
from checkpoint._chunking import fixed
from checkpoint._delta import Piece
from checkpoint._keys import Keys
from checkpoint._model import Blob, Buffer, Manifest
from checkpoint._reading import (
    Source,
    filled_from,
    measured,
    read_parts,
    stored_bytes,
    whole_blobs,
)
from checkpoint._stream import StreamCutter
from checkpoint._workers import Workers
from checkpoint._writing import ALIGNED, Chunk, Encoder, as_stored
from checkpoint.errors import FormatError, IntegrityError

MAGIC = b"\xcbckpt\r\n\x1a"
_BLOB, _PADDING, _MANIFEST = b"B", b"P", b"M"
_HEAD = 9  # the bytes of a record before its payload
_LIMITS = {
    _BLOB: _format.MAX_BLOB,
    _PADDING: _format.ALIGNMENT,
    _MANIFEST: _format.MAX_DOCUMENT,
}

Read = Callable[[int], Buffer]
Write = Callable[[Buffer], object]


class FileWriter:
    """Writes one snapshot front to back."""

    def __init__(self, write: Write, keys: Keys | None) -> None:
        self._write = write
        self._keys = keys
        self._at = 0
        self._placed: dict[str, Blob] = {}
        self._put(MAGIC)

    def add(self, chunk: Chunk | Blob) -> Blob:
        """Write *chunk* unless it is there already; returns its row."""
        assert isinstance(chunk, Chunk)
        if chunk.digest not in self._placed:
            if chunk.codec == "none" and chunk.length >= ALIGNED:
                self._record(_PADDING, bytes(-(self._at + 2 * _HEAD) % _format.ALIGNMENT))
            at = self._record(_BLOB, chunk.stored)
            self._placed[chunk.digest] = Blob(
                chunk.digest,
                chunk.length,
                chunk.codec,
                None,
                at,
                len(chunk.stored),
                chunk.filter,
                chunk.base,
            )
        return self._placed[chunk.digest]

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest: now the snapshot is whole."""
        self._record(_MANIFEST, _format.encode_manifest(manifest, self._keys, "file"))

    def _record(self, kind: bytes, payload: Buffer) -> int:
        self._put(kind + len(payload).to_bytes(8, "little"))
        at = self._at
        self._put(payload)
        return at

    def _put(self, piece: Buffer) -> None:
        self._write(piece)
        self._at += len(piece)


def write_snapshot(
    write: Write,
    manifest: Manifest,
    buffers: Sequence[Buffer],
    stream: StreamCutter,
    encoder: Encoder,
    workers: Workers,
    keys: Keys | None = None,
) -> None:
    """Write buffers and stream, and *manifest* with their places filled in, signed if it is own."""
    file = FileWriter(write, keys)
    cut = (Piece(chunk) for buffer in buffers for chunk in fixed(buffer))
    rows = [file.add(chunk) for chunk in workers.ahead(encoder, cut)]
    part, chunks = stream.finish()
    rows += [file.add(chunk) for chunk in chunks]
    parts = (*map(_format.buffer_part, buffers), part)
    size = sum(part.length for part in parts)
    stored = sum(blob.stored for blob in {row.digest: row for row in rows}.values())
    filled = evolve(manifest, parts=parts, blobs=tuple(rows), size=size, stored=stored)
    file.finish(filled)


def copy_snapshot(
    write: Write,
    manifest: Manifest,
    rows: Sequence[Blob],
    source: Source,
    keys: Keys | None = None,
) -> None:
    """Write a snapshot of a repository, its blobs as they are stored there, each checked.

    It is signed anew, if it is own: a file's manifest is never taken for a repository's.
    """
    file = FileWriter(write, keys)
    placed = []
    wholes = whole_blobs(rows)
    for blob in rows:
        stored = stored_bytes(blob, source, wholes)
        placed.append(file.add(as_stored(blob, stored)))
    file.finish(evolve(manifest, blobs=tuple(placed), table=(), packs={}, inline=b""))


def read_snapshot(
    read: Read,
    report: Callable[[int], object] = lambda count: None,
    keys: Keys | None = None,
    admit: Callable[[Manifest], object] = within,
) -> tuple[Manifest, list[Buffer]]:
    """The manifest and parts of a snapshot whose magic was read already; no byte after it is.

    *admit* raises if what the manifest says is not to be read.
    """
    found: dict[int, Buffer] = {}
    at = len(MAGIC)
    while True:
        head = bytes(exactly(read, _HEAD))
        kind, size = head[:1], int.from_bytes(head[1:], "little")
        if size > _LIMITS.get(kind, -1):
            raise IntegrityError(f"damaged at byte {at}: no record begins so")
        payload = exactly(read, size)
        at += _HEAD
        if kind == _MANIFEST:
            break
        if kind == _PADDING and bytes(payload) != bytes(size):
            raise IntegrityError(f"damaged at byte {at}: padding that is not zero")
        if kind == _BLOB:
            found[at] = payload
        at += size
    manifest = _format.decode_manifest(payload, "the manifest", keys, "file")
    if manifest.table or manifest.inline:
        raise FormatError("a single file has its whole table in its manifest, and nothing inline")
    _format.check_table(manifest, manifest.blobs)
    manifest = measured(manifest, manifest.blobs)
    admit(manifest)
    return manifest, read_parts(manifest.parts, manifest.blobs, _Records(found), report)


@frozen
class _Records:
    """The blobs of a single file, by where each begins; it has no packs."""

    found: Mapping[int, Buffer]

    def get(self, pack: str | None, start: int, stop: int) -> Buffer:
        return b"" if pack is not None else self.found.get(start, b"")

    def fill(self, pack: str | None, start: int, target: memoryview) -> int:
        return filled_from(self.get(pack, start, start), target)

    def map(self, pack: str | None, start: int, stop: int) -> None:
        return None


def exactly(read: Read, size: int) -> Buffer:
    """*size* bytes, though *read* may give fewer at a time; IntegrityError if they end before."""
    first = read(size)
    if len(first) == size:
        return first
    pieces = bytearray(first)
    while len(pieces) < size:
        piece = read(size - len(pieces))
        if not piece:
            raise IntegrityError(f"truncated: {size - len(pieces)} bytes more were promised")
        pieces += piece
    return pieces
