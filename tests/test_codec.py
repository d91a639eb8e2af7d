"""Codecs give back what they took, in the size that was promised, or refuse."""

import gzip
import lzma
import os
import zlib

import pytest
import zstandard

from checkpoint import FormatError, IntegrityError
from checkpoint._codec import Codec, decode, parse_codec

CODECS = ["none", "gzip", "lzma", "zstd"]
TEXT = b"the state of a program must not be lost. " * 5000


@pytest.mark.parametrize("name", [*CODECS, "zstd:1", "zstd:9", "gzip:1", "gzip:9", "lzma:0"])
@pytest.mark.parametrize("plain", [b"", b"x", TEXT, os.urandom(300_000)])
def test_what_was_encoded_is_decoded(name: str, plain: bytes) -> None:
    used, stored = parse_codec(name).encode(plain)
    assert bytes(decode(used, stored, len(plain))) == plain
    assert len(stored) <= len(plain)


@pytest.mark.parametrize("name", ["gzip", "lzma", "zstd"])
def test_what_compresses_is_compressed(name: str) -> None:
    used, stored = parse_codec(name).encode(TEXT)
    assert used == name
    assert len(stored) < len(TEXT) / 50


def test_what_does_not_compress_is_stored_as_it_is_uncopied() -> None:
    noise = os.urandom(1 << 20)
    used, stored = parse_codec("zstd").encode(noise)
    assert used == "none"
    assert stored is noise


def test_a_higher_level_makes_it_smaller() -> None:
    plain = b"".join(b"%d squared is %d\n" % (i, i * i) for i in range(10_000))
    low, high = (parse_codec(f"zstd:{level}").encode(plain)[1] for level in (1, 19))
    assert len(high) < len(low)


@pytest.mark.parametrize("wrong", ["zst", "zstd:", "zstd:99", "zstd:x", "gzip:0", "none:1", ""])
def test_a_misspelt_codec_lists_what_is_possible(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"no codec .*'zstd' \('zstd:1' to 'zstd:22'\).*'none'"):
        parse_codec(wrong)


def test_an_unknown_codec_in_a_file_is_of_a_newer_release() -> None:
    with pytest.raises(FormatError, match="unknown codec 'brotli'"):
        decode("brotli", b"", 0)


@pytest.mark.parametrize("name", ["gzip", "lzma", "zstd"])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_length_that_lies_is_damage(name: str, off: int) -> None:
    used, stored = parse_codec(name).encode(TEXT)
    with pytest.raises(IntegrityError):
        decode(used, stored, len(TEXT) + off)


@pytest.mark.parametrize("name", ["gzip", "lzma", "zstd"])
def test_truncation_anywhere_is_damage(name: str) -> None:
    plain = TEXT[:2000]
    used, stored = parse_codec(name).encode(plain)
    assert used == name
    for size in range(len(stored)):
        with pytest.raises(IntegrityError):
            decode(name, stored[:size], len(plain))


@pytest.mark.parametrize("name", ["gzip", "lzma", "zstd"])
def test_bytes_after_the_end_are_damage(name: str) -> None:
    _, stored = parse_codec(name).encode(TEXT)
    for more in (b"\0", bytes(stored), b"trailing"):
        with pytest.raises(IntegrityError):
            decode(name, bytes(stored) + more, len(TEXT))


@pytest.mark.parametrize(
    ("name", "bomb"),
    [
        ("gzip", gzip.compress(bytes(50_000_000))),
        ("lzma", lzma.compress(bytes(50_000_000), preset=0)),
        ("zstd", zstandard.compress(bytes(50_000_000))),
    ],
)
def test_a_bomb_gives_no_more_than_was_promised(name: str, bomb: bytes) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            decode(name, bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_zstd_frame_that_asks_for_a_huge_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=1 << 29)
    head = encoder.compress(b"x") + encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    with pytest.raises(IntegrityError, match="window"):
        decode("zstd", head, 1 << 29)


def test_gzip_is_readable_by_everybody_and_has_no_clock_in_it() -> None:
    first, again = (Codec("gzip", 6).encode(TEXT)[1] for _ in range(2))
    assert first == again
    assert gzip.decompress(first) == TEXT
    assert zlib.crc32(TEXT) == int.from_bytes(bytes(first)[-8:-4], "little")
