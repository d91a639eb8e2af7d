"""Blobs → parts: fetch, decode, check, join.

Raw bytes are read straight into the memory that the graph will keep, and their
digest is taken while the processor still has them at hand.  Every byte has
passed its digest, and came out of a decoder that was told its size, before
anybody sees it.  The one exception is memory that is mapped on request.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from attrs import evolve, frozen

from checkpoint._allowance import within
from checkpoint._chunking import CHUNK
from checkpoint._codec import decode
from checkpoint._format import pack_key, rows_by_part
from checkpoint._model import Blob, Buffer, Manifest, Part, Progress, digest, memory
from checkpoint._renumbering import restore
from checkpoint._workers import Workers
from checkpoint.errors import IntegrityError
from checkpoint.store import Mappable, Store

_THREADED = 4 << 20  # below this much in all, threads cost more than they save
_NONE: Mapping[str, Blob] = MappingProxyType({})


class Source(Protocol):
    """Where blobs lie: the packs of a store, and a place of its own that is no pack (None)."""

    def get(self, pack: str | None, start: int, stop: int) -> Buffer:
        """The bytes [start, stop); fewer if it ends before."""
        ...

    def fill(self, pack: str | None, start: int, target: memoryview) -> int:
        """Read into *target*; how many bytes there were."""
        ...

    def map(self, pack: str | None, start: int, stop: int) -> memoryview | None:
        """The bytes [start, stop) as copy-on-write memory; None if that is not to be had."""
        ...


@frozen
class Packs:
    """The packs of *store*, and the *inline* area of one manifest."""

    store: Store
    inline: bytes = b""

    def get(self, pack: str | None, start: int, stop: int) -> Buffer:
        if pack is None:
            return self.inline[start:stop]
        return self.store.get(pack_key(pack), start, stop)

    def fill(self, pack: str | None, start: int, target: memoryview) -> int:
        if pack is None:
            return filled_from(self.inline[start:], target)
        return self.store.fill(pack_key(pack), start, target)

    def map(self, pack: str | None, start: int, stop: int) -> memoryview | None:
        if pack is None or not isinstance(self.store, Mappable):
            return None
        return self.store.map(pack_key(pack), start, stop)


@frozen
class Wish:
    """How a version is to be read.

    `choose` is given the manifest and the stream, and says which buffers are
    needed; without it all are.  With `lazy` they are mapped where that can be.
    `admit` is given the manifest before anything is read, and raises if it is not to be;
    by default if a stranger's says that there is more than may be.
    """

    progress: Progress | None = None
    lazy: bool = False
    choose: Callable[[Manifest, Buffer], Container[int]] | None = None
    admit: Callable[[Manifest], object] = within


def measured(manifest: Manifest, rows: Iterable[Blob]) -> Manifest:
    """*manifest*, which in a stranger's says what is stored, and not what it claims."""
    if manifest.provenance == "own":
        return manifest
    stored = {(row.pack, row.offset): row.stored for row in rows}
    return evolve(manifest, stored=sum(stored.values()))


def filled_from(found: Buffer, target: memoryview) -> int:
    """Copy what fits of *found* to *target*; how many bytes that were."""
    count = min(len(found), len(target))
    target[:count] = memoryview(found)[:count]
    return count


def read_parts(
    parts: Sequence[Part],
    rows: Sequence[Blob],
    source: Source,
    report: Callable[[int], object] = lambda count: None,
    *,
    wanted: Container[int] | None = None,
    lazy: bool = False,
) -> list[Buffer]:
    """The bytes of each of *parts*, or of the *wanted*: private and writable.

    With *lazy*, a buffer that is stored raw and in one piece is mapped, and its
    digests are not checked.  IntegrityError names the pack that is damaged.
    """
    found: list[Buffer] = [b""] * len(parts)
    missing = [
        _CutPart(index, part, took)
        for index, (part, took) in enumerate(zip(parts, rows_by_part(parts, rows), strict=True))
    ]
    if wanted is not None:
        missing = [part for part in missing if part.index in wanted]
    if lazy:
        missing = list(_mapped(missing, source, found))
    tasks = _tasks(_places(missing, found))
    wholes = whole_blobs(rows)

    def run(task: list[_Place]) -> int:
        for place in task:
            _read_into(place, source, wholes)
        return sum(place.blob.length for place in task)

    with Workers() as workers:
        threaded = sum(part.length for part in parts) >= _THREADED
        for count in workers.ahead(run, tasks) if threaded else map(run, tasks):
            report(count)
    for index, part in enumerate(parts):
        if wanted is None or index in wanted:
            found[index] = _finished(part, found[index])
    return found


def whole_blobs(rows: Iterable[Blob]) -> Mapping[str, Blob]:
    """By digest the blobs that are no deltas, and may be the base of one."""
    return {row.digest: row for row in rows if row.base is None}


def read_blob(blob: Blob, source: Source, wholes: Mapping[str, Blob] = _NONE) -> Buffer:
    """The plain bytes of one blob, checked; the base of a delta is one of *wholes*."""
    return _plain(blob, _stored(blob, source), source, wholes)


def stored_bytes(blob: Blob, source: Source, wholes: Mapping[str, Blob]) -> Buffer:
    """One blob as it is stored, checked; to store it elsewhere without encoding it anew."""
    stored = _stored(blob, source)
    _plain(blob, stored, source, wholes)
    return stored


@frozen
class _CutPart:
    """A part, where it stands among the others, and its rows."""

    index: int
    part: Part
    rows: Sequence[Blob]

    @property
    def pack(self) -> str | None:
        """The pack in which a buffer lies raw and in one piece; None if it does not."""
        if self.part.kind != "buffer" or not self.rows:
            return None
        pack, at = self.rows[0].pack, self.rows[0].offset
        for row in self.rows:
            if (row.codec, row.pack, row.offset) != ("none", pack, at):
                return None
            at += row.stored
        return pack

    @property
    def place(self) -> tuple[int, int]:
        """Where it begins and ends in its pack."""
        last = self.rows[-1]
        return self.rows[0].offset, last.offset + last.stored


def _mapped(parts: Iterable[_CutPart], source: Source, found: list[Buffer]) -> Iterator[_CutPart]:
    """Map what can be mapped into *found*, each pack once; yield the parts that are left."""
    by_pack: dict[str, list[_CutPart]] = {}
    for part in parts:
        if part.pack is None:
            yield part
        else:
            by_pack.setdefault(part.pack, []).append(part)
    for pack, together in by_pack.items():
        start = min(part.place[0] for part in together)
        view = source.map(pack, start, max(part.place[1] for part in together))
        if view is None:
            yield from together
            continue
        for part in together:
            first, end = part.place
            found[part.index] = view[first - start : end - start]


@frozen
class _Place:
    """A blob to read, and the memory where its plain bytes belong."""

    blob: Blob
    target: memoryview


def _places(parts: Iterable[_CutPart], found: list[Buffer]) -> Iterator[_Place]:
    """What must be read; the memory of each part goes to *found*."""
    for cut in parts:
        whole = memory(cut.part.length)
        found[cut.index] = whole
        for blob in cut.rows:
            yield _Place(blob, whole[: blob.length])
            whole = whole[blob.length :]


def _tasks(places: Iterable[_Place]) -> Iterator[list[_Place]]:
    """Places together that are worth a turn of a thread."""
    task: list[_Place] = []
    size = 0
    for place in places:
        if task and size + place.blob.length > CHUNK:
            yield task
            task, size = [], 0
        task.append(place)
        size += place.blob.length
    if task:
        yield task


def _read_into(place: _Place, source: Source, wholes: Mapping[str, Blob]) -> None:
    blob, target = place.blob, place.target
    if blob.codec != "none":
        target[:] = read_blob(blob, source, wholes)
        return
    if source.fill(blob.pack, blob.offset, target) != blob.stored:
        raise _truncated(blob)
    _check(blob, target)


def _stored(blob: Blob, source: Source) -> Buffer:
    stored = source.get(blob.pack, blob.offset, blob.offset + blob.stored)
    if len(stored) != blob.stored:
        raise _truncated(blob)
    return stored


def _plain(blob: Blob, stored: Buffer, source: Source, wholes: Mapping[str, Blob]) -> Buffer:
    base = None if blob.base is None else read_blob(wholes[blob.base], source)
    try:
        plain = decode(blob.codec, stored, blob.length, base, blob.filter)
    except IntegrityError as error:
        raise _damaged(blob, str(error)) from error
    _check(blob, plain)
    return plain


def _check(blob: Blob, plain: Buffer) -> None:
    if digest(plain) != blob.digest:
        raise _damaged(blob, "its bytes do not match their digest")


def _truncated(blob: Blob) -> IntegrityError:
    key = pack_key(blob.pack) if blob.pack else None
    return IntegrityError(f"{key or 'the file'} is truncated", key=key)


def _damaged(blob: Blob, why: str) -> IntegrityError:
    key = pack_key(blob.pack) if blob.pack else None
    where = f"at bytes {blob.offset} to {blob.offset + blob.stored}"
    return IntegrityError(f"{key or 'the file'} is damaged {where}: {why}", key=key)


def _finished(part: Part, whole: Buffer) -> Buffer:
    """The part in its last shape, its own digest checked where it has one."""
    if "renumbered" in part.transforms:
        whole = restore(whole)
    if part.digest is not None and digest(whole) != part.digest:
        raise IntegrityError(f"a {part.kind} does not match its digest")
    return whole
