"""Blobs → parts: fetch, decode, check, join.

Raw blobs that lie one after the other are fetched as one range, straight into
the memory that the graph will keep.  Every byte has passed its digest, and
came out of a decoder that was told its size, before anybody sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

from checkpoint._codec import decode
from checkpoint._format import pack_key
from checkpoint._model import Blob, Buffer, Part, digest, memory
from checkpoint._workers import Workers
from checkpoint.errors import IntegrityError

# One range is at most this long, so that several threads share a large array.
_RANGE = 32 << 20
_THREADED = 4 << 20  # below this much in all, threads cost more than they save

# The bytes [start, stop) of a pack; of the inline area or the single file if it is None.
Fetch = Callable[[str | None, int, int], Buffer]


@frozen
class _Job:
    """A run of blobs to read, and where its bytes go: None if they are a whole part."""

    part: int
    blobs: tuple[Blob, ...]
    target: memoryview | None


def read_parts(
    parts: Sequence[Part],
    rows: Sequence[Blob],
    fetch: Fetch,
    report: Callable[[int], object] = lambda count: None,
) -> list[Buffer]:
    """The bytes of each of *parts*: private, and writable for a buffer.

    IntegrityError names the pack that is damaged.
    """
    found: list[Buffer] = [b""] * len(parts)
    jobs = list(_jobs(parts, rows, found))

    def run(job: _Job) -> tuple[_Job, Buffer]:
        return job, _read(job, fetch)

    with Workers() as workers:
        threaded = sum(part.length for part in parts) >= _THREADED
        for job, whole in workers.ahead(run, jobs) if threaded else map(run, jobs):
            if job.target is None:
                found[job.part] = whole
            report(sum(blob.length for blob in job.blobs))
    return [_finished(part, whole) for part, whole in zip(parts, found, strict=True)]


def read_blob(blob: Blob, fetch: Fetch) -> Buffer:
    """The plain bytes of one blob, checked."""
    return _read_run((blob,), fetch)


def stored_bytes(blob: Blob, fetch: Fetch) -> Buffer:
    """One blob as it is stored, checked; to store it elsewhere without encoding it anew."""
    stored = fetch(blob.pack, blob.offset, blob.offset + blob.stored)
    read_blob(blob, lambda pack, start, stop: stored)
    return stored


def _jobs(parts: Sequence[Part], rows: Sequence[Blob], found: list[Buffer]) -> Iterator[_Job]:
    at = 0
    for index, part in enumerate(parts):
        runs = list(_runs(rows[at : at + part.blobs]))
        at += part.blobs
        if len(runs) == 1:
            yield _Job(index, runs[0], None)
            continue
        whole = memory(part.length)
        found[index] = whole
        for run in runs:
            size = sum(blob.length for blob in run)
            yield _Job(index, run, whole[:size])
            whole = whole[size:]


def _runs(rows: Sequence[Blob]) -> Iterator[tuple[Blob, ...]]:
    """Raw blobs that lie one after the other in a pack, together; others alone."""
    run: list[Blob] = []
    for blob in rows:
        if run and not _joins(run, blob):
            yield tuple(run)
            run = []
        run.append(blob)
    if run:
        yield tuple(run)


def _joins(run: list[Blob], blob: Blob) -> bool:
    last = run[-1]
    return (
        last.codec == blob.codec == "none"
        and last.pack == blob.pack
        and last.offset + last.stored == blob.offset
        and blob.offset + blob.stored - run[0].offset <= _RANGE
    )


def _read(job: _Job, fetch: Fetch) -> Buffer:
    plain = _read_run(job.blobs, fetch)
    if job.target is not None:
        job.target[:] = plain
    return plain if job.target is None else b""


def _read_run(run: tuple[Blob, ...], fetch: Fetch) -> Buffer:
    first, last = run[0], run[-1]
    key = pack_key(first.pack) if first.pack else None
    start, stop = first.offset, last.offset + last.stored
    stored = fetch(first.pack, start, stop)
    if len(stored) != stop - start:
        raise IntegrityError(f"{key or 'the file'} is truncated", key=key)
    try:
        if len(run) == 1:
            stored = decode(first.codec, stored, first.length)
        view = memoryview(stored)
        for blob in run:
            if digest(view[: blob.length]) != blob.digest:
                raise IntegrityError("its bytes do not match their digest")
            view = view[blob.length :]
    except IntegrityError as error:
        where = f"{key or 'the file'} is damaged at bytes {start} to {stop}"
        raise IntegrityError(f"{where}: {error}", key=key) from error
    return stored


def _finished(part: Part, whole: Buffer) -> Buffer:
    """The part in its last shape, its own digest checked where it has one."""
    if part.digest is not None and digest(whole) != part.digest:
        raise IntegrityError(f"a {part.kind} does not match its digest")
    if part.kind == "buffer" and memoryview(whole).readonly:
        private = memory(len(whole))
        private[:] = whole
        return private
    return whole
