"""Codecs give back what they took, in the size that was promised, or refuse."""

import gzip
import lzma
import os
import zlib
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from checkpoint import FormatError, IntegrityError
from checkpoint._codec import Codec, decode, encode_delta, parse_codec

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
        decode("zstd", head + bytes(1 << 14), 1 << 29)


def test_gzip_is_readable_by_everybody_and_has_no_clock_in_it() -> None:
    first, again = (Codec("gzip", 6).encode(TEXT)[1] for _ in range(2))
    assert first == again
    assert gzip.decompress(first) == TEXT
    assert zlib.crc32(TEXT) == int.from_bytes(bytes(first)[-8:-4], "little")


def test_a_zstd_frame_without_content_ends_where_its_bytes_do() -> None:
    empty = zstandard.compress(b"")
    assert bytes(decode("zstd", empty, 0)) == b""
    for size in range(len(empty)):
        with pytest.raises(IntegrityError):
            decode("zstd", empty[:size], 0)
    for more in (b"\0", b"junk", empty, bytes(1000)):
        with pytest.raises(IntegrityError):
            decode("zstd", empty + more, 0)


@pytest.mark.parametrize("base", [None, TEXT[:500]])
@pytest.mark.parametrize("payload", [b"", b"abcd"])
def test_a_skippable_frame_is_no_content(base: bytes | None, payload: bytes) -> None:
    skippable = bytes.fromhex("502a4d18") + len(payload).to_bytes(4, "little") + payload
    for stored in (skippable, skippable + zstandard.compress(b"abcd")):
        with pytest.raises(IntegrityError):
            decode("zstd", stored, 4, base)
    with pytest.raises(IntegrityError):
        decode("zstd", zstandard.compress(b"abcd") + skippable, 4, base)


def test_a_zstd_frame_that_does_not_say_its_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    with pytest.raises(IntegrityError, match="says"):
        decode("zstd", frame, len(TEXT))


@pytest.mark.parametrize("off", [-1, 1])
def test_a_zstd_frame_that_gives_something_else_than_it_says_is_refused(off: int) -> None:
    frame = bytearray(zstandard.compress(TEXT))
    assert frame[4] >> 6 == 2  # four bytes of size
    at = 5 if frame[4] & 32 else 6
    assert int.from_bytes(frame[at : at + 4], "little") == len(TEXT)
    frame[at : at + 4] = (len(TEXT) + off).to_bytes(4, "little")
    with pytest.raises(IntegrityError):
        decode("zstd", bytes(frame), len(TEXT) + off)


@pytest.mark.parametrize("plain", [TEXT, b"".join((TEXT[:9000], b"!", TEXT[9001:]))])
def test_a_delta_with_anything_missing_or_after_it_is_refused(plain: bytes) -> None:
    filter, stored = encode_delta(plain, TEXT[: len(plain)])
    assert bytes(decode("zstd", stored, len(plain), TEXT, filter)) == plain
    for wrong in (stored + b"\0", stored + zstandard.compress(b""), stored[:-1], b""):
        with pytest.raises(IntegrityError):
            decode("zstd", wrong, len(plain), TEXT, filter)
    for length in (len(plain) - 1, len(plain) + 1, 0):
        with pytest.raises(IntegrityError):
            decode("zstd", stored, length, TEXT, filter)


@pytest.mark.parametrize("name", ["gzip", "lzma", "zstd"])
@pytest.mark.parametrize("length", [-1, 1 << 40, 1 << 63, 1 << 70])
def test_a_length_that_cannot_be_is_refused_before_memory_is_taken(name: str, length: int) -> None:
    _, stored = parse_codec(name).encode(TEXT)
    with pytest.raises(IntegrityError, match="cannot give"):
        decode(name, stored, length)


def test_an_xz_stream_that_asks_for_a_huge_dictionary_is_refused() -> None:
    wide = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 256 << 20}]
    with pytest.raises(IntegrityError, match="emory"):
        decode("lzma", lzma.compress(b"x" * 100, filters=wide), 100)
    used, stored = parse_codec("lzma:9").encode(TEXT)
    assert bytes(decode(used, stored, len(TEXT))) == TEXT


@pytest.mark.parametrize("name", ["gzip", "lzma"])
def test_padding_after_a_member_is_damage(name: str) -> None:
    _, stored = parse_codec(name).encode(TEXT)
    for count in (1, 4, 8):
        with pytest.raises(IntegrityError):
            decode(name, bytes(stored) + bytes(count), len(TEXT))


@given(
    name=st.sampled_from(["gzip", "lzma", "zstd", "delta", "blocks"]),
    at=st.integers(0, 1000),
    value=st.binary(min_size=0, max_size=3),
    cut=st.integers(0, 3),
    off=st.sampled_from([0, 0, 0, -1, 1, -2000]),
)
def test_damage_anywhere_gives_no_other_error(
    name: str, at: int, value: bytes, cut: int, off: int
) -> None:
    plain = TEXT[:2000]
    base = TEXT[1:2001] if name == "delta" else None
    filter: str | None = None
    if name == "blocks":
        base = plain[:-1] + b"!"
    if base is not None:
        filter, encoded = encode_delta(plain, base)
    else:
        encoded = bytes(parse_codec(name).encode(plain)[1])
    stored = bytearray(encoded)
    at %= len(stored)
    stored[at : at + cut] = value
    codec = "zstd" if base is not None else name
    with suppress(IntegrityError):
        decode(codec, bytes(stored), len(plain) + off, base, filter)
