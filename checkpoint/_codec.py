"""Codecs: named, reversible, bounded transforms of bytes.

A decoder is told the size to expect.  It allocates no more than that, and the
stored bytes must give exactly that many and end there.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterable

import zstandard
from attrs import frozen

from checkpoint._model import Buffer, memory
from checkpoint.errors import FormatError, IntegrityError

# A chunk is stored raw unless encoding takes away a tenth: float noise loses
# 7 % at a fifth of the disk's speed, which pays for nobody.
_WORTHWHILE = 0.9
_PROBED = 256 << 10
_SAMPLE = 16 << 10
BLOCK = 1 << 10  # of a delta that replaces blocks
_STRIDE = 64 << 10
_FEW = 1 / 4
_MAX_WINDOW = 1 << 27
_MAX_LZMA_MEMORY = 96 << 20  # level 9 takes 65 MiB
_MAX_RATIO = 1 << 15  # zstd's, of 128 KiB for a block of four bytes; gzip and xz stay below it
_MAX_EMPTY = 32  # a zstd frame without content; its header takes 18 bytes at most


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


def encode_delta(plain: Buffer, base: Buffer) -> tuple[str | None, bytes]:
    """*plain* as its difference from *base*, and the filter that was used.

    A zstd frame with *base* as its dictionary, the way of `zstd --patch-from`;
    both are at most a few MiB.  Where few blocks differ, only these are looked
    at, so that it costs what changed.
    """
    numbers = _differing(plain, base)
    if numbers is None:
        return None, _patch(plain, base)
    new, old = _blocks(plain, numbers), _blocks(base, numbers)
    head = struct.pack(f"<{len(numbers) + 1}H", len(numbers), *numbers)
    return "blocks", head + _patch(new, old)


def _differing(plain: Buffer, base: Buffer) -> list[int] | None:
    """The numbers of the blocks that differ; None if they are not few, or cannot be compared."""
    if len(plain) != len(base):
        return None
    numbers: list[int] = []
    for at in range(0, len(plain), _STRIDE):
        new, old = bytes(plain[at : at + _STRIDE]), bytes(base[at : at + _STRIDE])
        if new != old:
            inside = range(0, len(new), BLOCK)
            differing = (b for b in inside if new[b : b + BLOCK] != old[b : b + BLOCK])
            numbers += [(at + b) // BLOCK for b in differing]
        if len(numbers) * BLOCK > len(plain) * _FEW:
            return None
    return numbers


def _blocks(data: Buffer, numbers: Iterable[int]) -> bytes:
    view = memoryview(data)
    return b"".join(view[number * BLOCK : (number + 1) * BLOCK] for number in numbers)


def _patch(plain: Buffer, base: Buffer) -> bytes:
    # Without a digested dictionary, a window over both and a table that fits
    # them, zstd finds nothing far back, and says nothing.  At 4 MiB: 20 bits,
    # measured 39 kB where 17 bits give 2.9 MB.
    bits = max(len(base).bit_length() - 3, 12)
    parameters = zstandard.ZstdCompressionParameters(
        window_log=24,
        hash_log=bits,
        chain_log=bits,
        search_log=1,
        min_match=6,
        strategy=zstandard.STRATEGY_FAST,
    )
    dictionary = _dictionary(base)
    dictionary.precompute_compress(compression_params=parameters)
    encoder = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)
    return encoder.compress(plain)


def decode(
    codec: str,
    stored: Buffer,
    length: int,
    base: Buffer | None = None,
    filter: str | None = None,
) -> Buffer:
    """The *length* plain bytes behind *stored*; IntegrityError if they are not exactly that.

    A delta needs the plain bytes of its *base*.
    """
    if codec not in _DECODERS:
        known = ", ".join(_DECODERS)
        raise FormatError(f"unknown codec {codec!r} (this release knows {known}); use a newer one")
    if filter is None and not 0 <= length <= len(stored) * _MAX_RATIO:
        raise IntegrityError(f"{len(stored)} bytes of {codec} cannot give {length}")
    try:
        if base is None:
            plain = _DECODERS[codec](stored, length)
        elif filter == "blocks":
            plain = _patched(stored, length, base)
        else:
            plain = _from_zstd(stored, length, _dictionary(base))
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


def _dictionary(base: Buffer) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _from_zstd(
    stored: Buffer, length: int, dictionary: zstandard.ZstdCompressionDict | None = None
) -> Buffer:
    frame = zstandard.get_frame_parameters(stored)
    if frame.content_size != length:
        raise IntegrityError(f"a zstd frame says {frame.content_size} bytes, not {length}")
    if frame.window_size > _MAX_WINDOW:
        raise IntegrityError(f"a zstd frame asks for a window of {frame.window_size} bytes")
    decoder = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=_MAX_WINDOW)
    if length == 0:
        return _nothing(decoder, stored)
    # Into memory of the size that was just checked: a frame that gives more or less,
    # does not end, or is followed by anything is an error.
    return decoder.decompress(stored, allow_extra_data=False)


def _nothing(decoder: zstandard.ZstdDecompressor, stored: Buffer) -> bytes:
    """What a frame without content gives; `decompress` would not look at the rest of it."""
    frame = decoder.decompressobj()
    plain = b"" if len(stored) > _MAX_EMPTY else frame.decompress(stored)
    if not frame.eof or frame.unused_data:
        raise IntegrityError("a zstd frame without content does not end where its bytes do")
    return plain


def _patched(stored: Buffer, length: int, base: Buffer) -> Buffer:
    """*base* with some blocks replaced."""
    count = int.from_bytes(stored[:2], "little")
    head = 2 + 2 * count
    if len(base) != length or len(stored) < head:
        raise IntegrityError("blocks of something else")
    numbers = struct.unpack(f"<{count}H", stored[2:head])
    sizes = [min(BLOCK, length - number * BLOCK) for number in numbers]
    if any(size <= 0 for size in sizes) or sorted(set(numbers)) != list(numbers):
        raise IntegrityError("blocks that are not there, or not in order")
    words = _dictionary(_blocks(base, numbers))
    blocks = memoryview(_from_zstd(stored[head:], sum(sizes), words))
    plain = memory(length)
    plain[:] = base
    for number, size in zip(numbers, sizes, strict=True):
        plain[number * BLOCK : number * BLOCK + size] = blocks[:size]
        blocks = blocks[size:]
    return plain


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
