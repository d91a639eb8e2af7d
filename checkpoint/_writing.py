"""Parts → blobs: cut, digest, encode, and place in one pack.

What is stored is what was digested: a chunk of live memory is copied first, so
that another thread that writes to an array during a save can spoil the value
of that chunk, but never make a snapshot that fails its own digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat

from attrs import define, evolve, field, frozen

from checkpoint._chunking import CHUNK, fixed
from checkpoint._codec import Codec
from checkpoint._delta import Delta, Layout, Piece
from checkpoint._format import ALIGNMENT, MAX_ROWS, PACK_MAGIC, encode_rows, pack_key
from checkpoint._model import Blob, Buffer, digest, memory
from checkpoint._reading import stored_bytes, whole_blobs
from checkpoint._reuse import INLINE, Plan
from checkpoint._workers import Workers
from checkpoint.store import Store

ALIGNED = 64 << 10  # raw blobs from here on are aligned, so that they can be mapped


@frozen
class Chunk:
    """A chunk that must be stored: plain digest and length, codec, stored bytes, base."""

    digest: str
    length: int
    codec: str
    stored: Buffer
    filter: str | None = None
    base: str | None = None


def as_stored(blob: Blob, stored: Buffer) -> Chunk:
    """*blob* with its stored bytes, to be stored elsewhere."""
    return Chunk(blob.digest, blob.length, blob.codec, stored, blob.filter, blob.base)


class Scratch:
    """Memory for copies of chunks, used again and again: fresh pages cost as much as the copy."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def copy(self, view: Buffer) -> memoryview:
        """A copy of at most CHUNK bytes."""
        try:
            whole = self._free.pop()
        except IndexError:
            whole = memory(CHUNK)
        part = whole[: len(view)]
        part[:] = view
        return part

    def give(self, copy: memoryview) -> None:
        """Take back what `copy` gave."""
        whole = memoryview(copy.obj)
        if len(whole) == CHUNK and not whole.readonly:
            self._free.append(whole)


@define
class Encoder:
    """Digests a piece, and encodes it unless `reuse` knows a blob that holds it.

    It becomes a delta where `delta` finds that this pays.  After a piece that
    was known the next is digested where it lies: only what is stored is copied.
    """

    codec: Codec
    reuse: Callable[[str], Blob | None] = lambda digest: None
    delta: Callable[[Piece, Buffer], Delta | None] = lambda piece, plain: None
    scratch: Scratch | None = None
    private: bool = False
    _hopeful: bool = field(default=True, init=False)

    def __call__(self, piece: Piece) -> Chunk | Blob:
        if self._hopeful and piece.near and piece.digest is None and not self.private:
            known = self.reuse(digest(piece.view))
            if known is not None:
                return known
        plain = self._private(piece.view)
        name = piece.digest or digest(plain)
        known = self.reuse(name)
        self._hopeful = known is not None
        if known is not None:
            self.used_up(plain)
            return known
        chunk = self._encoded(piece, plain, name)
        if chunk.stored is not plain:
            self.used_up(plain)
        return chunk

    def _encoded(self, piece: Piece, plain: Buffer, name: str) -> Chunk:
        delta = self.delta(piece, plain) if self.codec.name != "none" else None
        if delta is not None:
            return Chunk(name, len(plain), "zstd", delta.stored, delta.filter, delta.base)
        used, stored = self.codec.encode(plain)
        return Chunk(name, len(plain), used, stored)

    def used_up(self, plain: Buffer) -> None:
        """Nobody needs *plain* any more: its memory serves the next chunk."""
        if self.scratch is not None and isinstance(plain, memoryview):
            self.scratch.give(plain)

    def _private(self, view: Buffer) -> Buffer:
        """*view* if nobody can change it, else a copy."""
        if self.private or isinstance(view, bytes) or isinstance(view.obj, bytes):
            return view
        if self.scratch is None or len(view) < ALIGNED:
            return bytes(view)
        return self.scratch.copy(view)


@frozen
class Packed:
    """Where everything went: rows of the table, lists of rows, a new pack or inline bytes."""

    rows: tuple[Blob, ...]
    table: tuple[Blob, ...]
    pack: str | None
    size: int
    inline: bytes


class Placer:
    """Gives chunks their places, one after the other, and yields the bytes that go there."""

    def __init__(self, pack: str, start: int, used_up: Callable[[Buffer], None]) -> None:
        self._pack = pack
        self._used_up = used_up
        self._new: dict[str, Blob] = {}
        self.size = start

    def place(self, chunks: Iterable[Chunk | Blob], rows: list[Blob]) -> Iterator[Buffer]:
        """Append a row for each of *chunks* to *rows*; yield what must be written."""
        for chunk in chunks:
            blob = chunk if isinstance(chunk, Blob) else self._new.get(chunk.digest)
            if isinstance(chunk, Chunk) and blob is None:
                yield from self._pad(chunk)
                blob = self._put(chunk)
                yield chunk.stored
            if isinstance(chunk, Chunk):
                self._used_up(chunk.stored)
            assert blob is not None
            rows.append(blob)

    def take_along(self, plan: Plan, rows: list[Blob], beside: list[Blob]) -> Iterator[Buffer]:
        """Store again what *rows* need of packs that are mostly dead; *beside* counts as live."""
        wholes = whole_blobs(rows)
        live: Counter[str] = Counter()
        for blob in {(b.pack, b.offset): b for b in (*rows, *beside)}.values():
            live[blob.pack or ""] += blob.stored
        for at, blob in enumerate(rows):
            pack = blob.pack
            if pack is None or pack == self._pack:
                continue
            if plan.is_mostly_dead(pack, live[pack]):
                stored = stored_bytes(blob, plan.source, wholes)
                chunk = as_stored(blob, stored)
                moved: list[Blob] = []
                yield from self.place([chunk], moved)
                rows[at] = moved[0]

    def _pad(self, chunk: Chunk) -> Iterator[bytes]:
        padding = -self.size % ALIGNMENT
        if padding and chunk.codec == "none" and chunk.length >= ALIGNED:
            self.size += padding
            yield bytes(padding)

    def _put(self, chunk: Chunk) -> Blob:
        size = len(chunk.stored)
        blob = Blob(
            chunk.digest,
            chunk.length,
            chunk.codec,
            self._pack,
            self.size,
            size,
            chunk.filter,
            chunk.base,
        )
        self._new[chunk.digest] = blob
        self.size += size
        return blob


def write_pack(
    store: Store,
    plan: Plan,
    buffers: Sequence[Buffer],
    stream: Iterable[Chunk | Blob],
    encoder: Encoder,
    workers: Workers,
    report: Callable[[int], object],
    old: Layout | None = None,
) -> Packed:
    """Store what is new of *buffers* and *stream* in one pack; little goes inline instead.

    Rows stand in the order buffers, stream, bases: a stream's number of chunks
    changes, and what follows it would move.  *old* is what the buffers are
    compared with.  IntegrityError if a pack that was
    to be left behind is damaged.
    """
    pack = plan.new_pack()
    placer = Placer(pack, len(PACK_MAGIC), encoder.used_up)
    rows: list[Blob] = []
    table: list[Blob] = []

    def pieces() -> Iterator[Buffer]:
        cut = _cut(buffers, old)
        # Less than a chunk in all is not worth a thread.
        threaded = sum(memoryview(buffer).nbytes for buffer in buffers) >= CHUNK
        encoded = workers.ahead(encoder, cut) if threaded else map(encoder, cut)
        chunks = chain(encoded, stream)
        yield from placer.place(_counted(chunks, report), rows)
        rows.extend(_bases(rows, plan))
        yield from placer.take_along(plan, rows, table)
        if len(rows) > MAX_ROWS:
            lists = range(0, len(rows), MAX_ROWS)
            listed = (encoder(Piece(encode_rows(rows[at : at + MAX_ROWS]))) for at in lists)
            yield from placer.place(listed, table)
            yield from placer.take_along(plan, table, rows)

    rest = pieces()
    head, little = _take(rest, INLINE)
    if little and not (head and table):
        inline = (_inlined(row, pack) for row in rows)
        return Packed(tuple(inline), tuple(table), None, 0, b"".join(head))
    plan.hold()
    store.put(pack_key(pack), chain([PACK_MAGIC], head, rest))
    return Packed(tuple(rows), tuple(table), pack, placer.size, b"")


def _cut(buffers: Sequence[Buffer], old: Layout | None) -> Iterator[Piece]:
    """The pieces of *buffers*, each with what lay in its place in *old*."""
    lengths = [memoryview(buffer).nbytes for buffer in buffers]
    places: Iterable[list[Sequence[Blob]]] = repeat([]) if old is None else old.buffers(lengths)
    for buffer, before in zip(buffers, places, strict=False):
        for index, view in enumerate(fixed(buffer)):
            near = tuple(rows[index] for rows in before if index < len(rows))
            yield Piece(view, near, probed=True)


def _bases(rows: Sequence[Blob], plan: Plan) -> Iterator[Blob]:
    """The rows that *rows* need beside them: the bases of deltas."""
    there = set(whole_blobs(rows))
    for row in rows:
        if row.base is not None and row.base not in there:
            there.add(row.base)
            base = plan.base(row)
            assert base is not None  # Or nobody would have made or reused the delta.
            yield base


def _take(pieces: Iterator[Buffer], limit: int) -> tuple[list[Buffer], bool]:
    """The first pieces, until they pass *limit* bytes; true if that was all of them."""
    head = []
    size = 0
    for piece in pieces:
        head.append(piece)
        size += len(piece)
        if size > limit:
            return head, False
    return head, True


def _inlined(blob: Blob, pack: str) -> Blob:
    """*blob*, planned for *pack*, as it lies in the inline area instead."""
    if blob.pack != pack:
        return blob
    return evolve(blob, pack=None, offset=blob.offset - len(PACK_MAGIC))


def _counted(
    chunks: Iterable[Chunk | Blob], report: Callable[[int], object]
) -> Iterator[Chunk | Blob]:
    for chunk in chunks:
        yield chunk
        report(chunk.length)
