"""Codecs: named, reversible, bounded transforms of bytes.

A decoder is told the size to expect.  It allocates no more than that, and the
stored bytes must give exactly that many and end there.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable

import zstandard
from attrs import frozen

from checkpoint._model import Buffer
from checkpoint.errors import FormatError, IntegrityError

# A chunk is stored raw unless encoding takes away a tenth: float noise loses
# 7 % at a fifth of the disk's speed, which pays for nobody.
_WORTHWHILE = 0.9
_PROBED = 256 << 10
_SAMPLE = 16 << 10
_MAX_WINDOW = 1 << 27
_MAX_LZMA_MEMORY = 256 << 20


@frozen
class Codec:
    """A codec and its level: `zstd`, `zstd:9`, `gzip`, `lzma`, `none`."""

    name: str
    level: int

    def encode(self, plain: Buffer) -> tuple[str, Buffer]:
        """The codec used and the stored bytes: *plain* itself if encoding does not pay."""
        if self.name == "none" or not _promising(plain):
            return "none", plain
        stored = _ENCODERS[self.name](plain, self.level)
        if len(stored) > len(plain) * _WORTHWHILE:
            return "none", plain
        return self.name, stored


def parse_codec(text: str) -> Codec:
    """The codec that *text* names; ValueError lists what is possible."""
    name, _, level = text.partition(":")
    if name in _LEVELS:
        lowest, highest, usual = _LEVELS[name]
        if not level and ":" not in text:
            return Codec(name, usual)
        if level.isdecimal() and lowest <= int(level) <= highest:
            return Codec(name, int(level))
    possible = ", ".join(
        f"{name!r}" if name == "none" else f"{name!r} ('{name}:{low}' to '{name}:{high}')"
        for name, (low, high, _) in _LEVELS.items()
    )
    raise ValueError(f"no codec {text!r}; there are {possible}")


def decode(codec: str, stored: Buffer, length: int) -> Buffer:
    """The *length* plain bytes behind *stored*; IntegrityError if they are not exactly that."""
    if codec not in _DECODERS:
        known = ", ".join(_DECODERS)
        raise FormatError(f"unknown codec {codec!r} (this release knows {known}); use a newer one")
    try:
        plain = _DECODERS[codec](stored, length)
    except (zstandard.ZstdError, zlib.error, lzma.LZMAError, EOFError) as error:
        raise IntegrityError(f"stored bytes do not decode as {codec}: {error}") from error
    if len(plain) != length:
        raise IntegrityError(f"{codec} gave {len(plain)} bytes where {length} were promised")
    return plain


def _promising(plain: Buffer) -> bool:
    """Whether samples of *plain* compress at all: a probe that costs a hundredth of the whole."""
    view = memoryview(plain).cast("B")
    if len(view) < _PROBED:
        return True
    step = len(view) // 4
    sample = b"".join(view[at : at + _SAMPLE] for at in range(0, len(view) - _SAMPLE, step))
    return len(_zstd(sample, 1)) <= len(sample) * _WORTHWHILE


def _zstd(plain: Buffer, level: int) -> bytes:
    # The size goes into the frame; the checksum does not, since every blob has a digest.
    return zstandard.ZstdCompressor(level=level).compress(plain)


def _gzip(plain: Buffer, level: int) -> bytes:
    encoder = zlib.compressobj(level, zlib.DEFLATED, 31)
    return encoder.compress(plain) + encoder.flush()


def _lzma(plain: Buffer, level: int) -> bytes:
    return lzma.compress(plain, format=lzma.FORMAT_XZ, preset=level)


def _from_none(stored: Buffer, length: int) -> Buffer:
    return stored


def _from_zstd(stored: Buffer, length: int) -> Buffer:
    frame = zstandard.get_frame_parameters(stored)
    if frame.content_size != length:
        raise IntegrityError(f"a zstd frame says {frame.content_size} bytes, not {length}")
    if frame.window_size > _MAX_WINDOW:
        raise IntegrityError(f"a zstd frame asks for a window of {frame.window_size} bytes")
    return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)


def _from_gzip(stored: Buffer, length: int) -> Buffer:
    decoder = zlib.decompressobj(31)
    plain = decoder.decompress(stored, length + 1)
    if len(plain) == length and not decoder.eof:
        plain += decoder.decompress(decoder.unconsumed_tail, 1)
    if not decoder.eof or decoder.unused_data:
        raise IntegrityError("a gzip member does not end where its bytes do")
    return plain


def _from_lzma(stored: Buffer, length: int) -> Buffer:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_LZMA_MEMORY)
    plain = decoder.decompress(stored, length + 1)
    if len(plain) == length and not decoder.eof:
        plain += decoder.decompress(b"", 1)
    if not decoder.eof or decoder.unused_data:
        raise IntegrityError("an xz stream does not end where its bytes do")
    return plain


_LEVELS = {"zstd": (1, 22, 3), "gzip": (1, 9, 6), "lzma": (0, 9, 3), "none": (0, 0, 0)}
_ENCODERS: dict[str, Callable[[Buffer, int], bytes]] = {
    "zstd": _zstd,
    "gzip": _gzip,
    "lzma": _lzma,
}
_DECODERS: dict[str, Callable[[Buffer, int], Buffer]] = {
    "none": _from_none,
    "zstd": _from_zstd,
    "gzip": _from_gzip,
    "lzma": _from_lzma,
}
