"""Compressed files as people have them, decompressed to no more than may be taken.

gzip with any number of members, xz with any number of streams, lzma-alone, and
zstd with any number of frames.  A file must end where its last one does.  What
is decompressed comes in pieces, so a file that would give more than was allowed
is refused before it does.
"""

from __future__ import annotations

import io
import lzma
import re
import zlib
from collections.abc import Callable, Generator, Iterator

import zstandard

from checkpoint._model import Buffer
from checkpoint.errors import FormatError

_FED = 64 << 10  # the most that a decoder is given at once: what it does not use is copied
_PIECE = 1 << 20
# What `xz -9` and `zstd --ultra -22` ask for, and no more.
_MAX_LZMA_MEMORY = 128 << 20
_MAX_WINDOW = 1 << 27

_REPEATED = 1  # a zstd block that is one byte, again and again
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_ZEROS = re.compile(rb"\0*")


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins with *head* is in one of these formats."""
    return _format(head) is not None


def plain(data: Buffer, limit: int | None = None) -> bytes:
    """What the whole compressed file *data* holds.

    FormatError if it is damaged, does not end where its last member does, or
    gives more than *limit* bytes.
    """
    view = memoryview(data).cast("B")
    decode = _format(bytes(view[:8]))
    if decode is None:
        raise FormatError("not a file in gzip, xz, lzma or zstd")
    found = io.BytesIO()  # gives all that was written to it uncopied
    try:
        for piece in decode(view):
            if limit is not None and found.tell() + len(piece) > limit:
                raise FormatError(
                    f"a compressed file holds more than {limit:,} bytes; "
                    "if you expect that much of it, allow more with budget="
                )
            found.write(piece)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError) as error:
        raise FormatError(f"a damaged or truncated compressed file: {error}") from error
    return found.getvalue()


def _format(head: bytes) -> Callable[[memoryview], Iterator[bytes]] | None:
    for magic, decode in _FORMATS.items():
        if head.startswith(magic):
            return decode
    return None


def _from_gzip(data: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        decoder = zlib.decompressobj(31)
        while not decoder.eof:
            fed = data[at : at + _FED]
            piece = decoder.decompress(fed, _PIECE)
            if not fed and not piece:
                raise EOFError("it ends within a member")
            at += len(fed) - len(decoder.unconsumed_tail) - len(decoder.unused_data)
            yield piece
        at = _after_zeros(data, at)  # tapes and some tools pad with them


def _from_xz(data: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        at = yield from _one_lzma(data, at, lzma.FORMAT_XZ)
        end = _after_zeros(data, at)
        if (end - at) % 4:
            raise lzma.LZMAError("padding that is no multiple of four bytes")
        at = end


def _from_lzma_alone(data: memoryview) -> Iterator[bytes]:
    end = yield from _one_lzma(data, 0, lzma.FORMAT_ALONE)
    if end != len(data):
        raise lzma.LZMAError("bytes follow its end")


def _one_lzma(data: memoryview, at: int, form: int) -> Generator[bytes, None, int]:
    """Decode one stream; where it ends."""
    decoder = lzma.LZMADecompressor(form, memlimit=_MAX_LZMA_MEMORY)
    while not decoder.eof:
        fed = data[at : at + _FED] if decoder.needs_input else b""
        piece = decoder.decompress(fed, _PIECE)
        if decoder.needs_input and not fed and not piece and not decoder.eof:
            raise EOFError("it ends within a stream")
        at += len(fed) - len(decoder.unused_data)
        yield piece
    return at


def _from_zstd(data: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        at = _after_frame(data, at)
    # Of a frame that is cut short the reader gives what there is, and says nothing.
    if at != len(data):
        raise EOFError("it ends within a frame")
    decoder = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    with decoder.stream_reader(data, read_across_frames=True) as reader:
        while piece := reader.read(_PIECE):
            yield piece


def _after_frame(data: memoryview, at: int) -> int:
    """Where the zstd frame at *at* ends, by its headers (RFC 8878); there may be less of it."""
    if int.from_bytes(data[at : at + 4], "little") in _SKIPPABLE:
        return at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    head = data[at : at + 18]
    with_checksum = zstandard.get_frame_parameters(head).has_checksum
    at += zstandard.frame_header_size(head)
    last = False
    while not last:
        block = int.from_bytes(data[at : at + 3], "little")
        if at + 3 > len(data):
            raise EOFError("it ends within a frame")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == _REPEATED else size)
    return at + 4 * with_checksum


def _after_zeros(data: memoryview, at: int) -> int:
    found = _ZEROS.match(data, at)
    return found.end() if found else at


_FORMATS: dict[bytes, Callable[[memoryview], Iterator[bytes]]] = {
    b"\x1f\x8b": _from_gzip,
    b"\xfd7zXZ\x00": _from_xz,
    b"\x5d\x00\x00": _from_lzma_alone,
    b"\x28\xb5\x2f\xfd": _from_zstd,
}
