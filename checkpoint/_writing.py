"""Parts → blobs: cut, digest, encode, and place in one pack.

What is stored is what was digested: a chunk of live memory is copied first, so
that another thread that writes to an array during a save can spoil the value
of that chunk, but never make a snapshot that fails its own digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain

from attrs import evolve, frozen
from blake3 import blake3

from checkpoint._chunking import CHUNK, first_cut, fixed
from checkpoint._codec import Codec
from checkpoint._format import ALIGNMENT, MAX_ROWS, PACK_MAGIC, encode_rows, pack_key
from checkpoint._model import Blob, Buffer, Part, digest, memory
from checkpoint._reading import stored_bytes
from checkpoint._reuse import INLINE, Plan
from checkpoint._workers import Workers, wait_for_room
from checkpoint.store import Store

ALIGNED = 64 << 10  # raw blobs from here on are aligned, so that they can be mapped
_LARGE = 1 << 20  # a piece of a stream from here on is cut by itself, uncopied


@frozen
class Chunk:
    """A chunk that must be stored: plain digest and length, codec, stored bytes."""

    digest: str
    length: int
    codec: str
    stored: Buffer


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


@frozen
class Encoder:
    """Digests a chunk, and encodes it unless `reuse` knows a blob that holds it."""

    codec: Codec
    reuse: Callable[[str], Blob | None] = lambda digest: None
    scratch: Scratch | None = None

    def __call__(self, view: Buffer) -> Chunk | Blob:
        plain = self._private(view)
        name = digest(plain)
        known = self.reuse(name)
        if known is not None:
            self.used_up(plain)
            return known
        used, stored = self.codec.encode(plain)
        if stored is not plain:
            self.used_up(plain)
        return Chunk(name, len(plain), used, stored)

    def used_up(self, plain: Buffer) -> None:
        """Nobody needs *plain* any more: its memory serves the next chunk."""
        if self.scratch is not None and isinstance(plain, memoryview):
            self.scratch.give(plain)

    def _private(self, view: Buffer) -> Buffer:
        """*view* if nobody can change it, else a copy."""
        if isinstance(view, bytes) or isinstance(getattr(view, "obj", None), bytes):
            return view
        if self.scratch is None or len(view) < ALIGNED:
            return bytes(view)
        return self.scratch.copy(view)


class StreamCutter:
    """Cuts and encodes a stream while it is being made."""

    def __init__(self, encoder: Encoder, workers: Workers) -> None:
        self._encoder = encoder
        self._workers = workers
        self.restart()

    def restart(self) -> None:
        """Forget what was written: the pickler begins anew."""
        self._pending = bytearray()
        self._futures: list[Future[Chunk | Blob]] = []
        self._digest = blake3()
        self.length = 0

    def write(self, piece: Buffer) -> None:
        """Take the next bytes of the stream; large pieces are not copied together."""
        view = memoryview(piece).cast("B")
        if len(view) < _LARGE:
            self._digest_next(view)
            self._pending += view
            self._cut(CHUNK)
            return
        self._cut(0)
        for chunk in fixed(view):
            private = bytes(chunk) if not isinstance(chunk.obj, bytes) else chunk
            self._digest_next(private)
            self._submit(private)

    def finish(self) -> tuple[Part, list[Chunk | Blob]]:
        """The part and its chunks, in order."""
        if self._futures:
            self._cut(0)
            chunks = [future.result() for future in self._futures]
        else:
            # Not worth a thread.
            chunks = [self._encoder(chunk) for chunk in self._chunks(0)]
        whole = self._digest.hexdigest()
        return Part("stream", self.length, len(chunks), ("deframed",), whole), chunks

    def _digest_next(self, plain: Buffer) -> None:
        self.length += len(plain)
        self._digest.update(plain)

    def _cut(self, enough: int) -> None:
        for chunk in self._chunks(enough):
            self._submit(chunk)

    def _chunks(self, enough: int) -> Iterator[bytes]:
        """Cut chunks off what is pending while it holds more than *enough* bytes."""
        while len(self._pending) > enough:
            size = first_cut(self._pending)
            chunk = bytes(memoryview(self._pending)[:size])
            del self._pending[:size]
            yield chunk

    def _submit(self, chunk: Buffer) -> None:
        self._futures.append(self._workers.submit(self._encoder, chunk))
        wait_for_room(self._futures)


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
        live: Counter[str] = Counter()
        for blob in {(b.pack, b.offset): b for b in (*rows, *beside)}.values():
            live[blob.pack or ""] += blob.stored
        for at, blob in enumerate(rows):
            pack = blob.pack
            if pack is None or pack == self._pack:
                continue
            if plan.is_mostly_dead(pack, live[pack]):
                stored = stored_bytes(blob, plan.fetch)
                moved: list[Blob] = []
                yield from self.place([Chunk(blob.digest, blob.length, blob.codec, stored)], moved)
                rows[at] = moved[0]

    def _pad(self, chunk: Chunk) -> Iterator[bytes]:
        padding = -self.size % ALIGNMENT
        if padding and chunk.codec == "none" and chunk.length >= ALIGNED:
            self.size += padding
            yield bytes(padding)

    def _put(self, chunk: Chunk) -> Blob:
        size = len(chunk.stored)
        blob = Blob(chunk.digest, chunk.length, chunk.codec, self._pack, self.size, size)
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
) -> Packed:
    """Store what is new of *buffers* and *stream* in one pack; little goes inline instead.

    Rows stand in the order buffers, stream: a stream's number of chunks
    changes, and what follows it would move.  IntegrityError if a pack that was
    to be left behind is damaged.
    """
    pack = plan.new_pack()
    placer = Placer(pack, len(PACK_MAGIC), encoder.used_up)
    rows: list[Blob] = []
    table: list[Blob] = []

    def pieces() -> Iterator[Buffer]:
        cut = chain.from_iterable(fixed(buffer) for buffer in buffers)
        # Less than a chunk in all is not worth a thread.
        threaded = sum(memoryview(buffer).nbytes for buffer in buffers) >= CHUNK
        encoded = workers.ahead(encoder, cut) if threaded else map(encoder, cut)
        chunks = chain(encoded, stream)
        yield from placer.place(_counted(chunks, report), rows)
        yield from placer.take_along(plan, rows, table)
        if len(rows) > MAX_ROWS:
            lists = range(0, len(rows), MAX_ROWS)
            listed = (encoder(encode_rows(rows[at : at + MAX_ROWS])) for at in lists)
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
