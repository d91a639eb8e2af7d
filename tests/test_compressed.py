"""Compressed files as people have them give what they hold, within a limit, or are refused."""

from __future__ import annotations

import gzip
import lzma
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from checkpoint import FormatError
from checkpoint._compressed import is_compressed, plain

TEXT = b"".join(b"%d squared is %d\n" % (i, i * i) for i in range(20_000))
Encode = Callable[[bytes], bytes]


def alone(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE)


def unsized(data: bytes) -> bytes:
    """A zstd frame that does not say how much it holds, and has a checksum."""
    return zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(data)


ENCODERS: dict[str, Encode] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "alone": alone,
    "zstd": zstandard.compress,
    "unsized": unsized,
}
SEVERAL = ["gzip", "xz", "zstd", "unsized"]
SKIPPABLE = bytes.fromhex("5a2a4d18") + b"\x05\0\0\0after"
PADDED = {"gzip": bytes(7), "xz": bytes(8), "zstd": SKIPPABLE, "unsized": SKIPPABLE}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, bytes(3_000_000)])
def test_what_was_compressed_is_given_back(name: str, data: bytes) -> None:
    stored = ENCODERS[name](data)
    assert is_compressed(stored[:8])
    assert plain(stored) == data
    assert plain(memoryview(stored), limit=len(data)) == data


@pytest.mark.parametrize("name", SEVERAL)
def test_several_members_are_one_file_and_may_be_padded(name: str) -> None:
    encode = ENCODERS[name]
    several = encode(TEXT) + encode(b"") + encode(b"more")
    assert plain(several) == TEXT + b"more"
    padded = encode(b"one") + PADDED[name] + encode(b"two") + PADDED[name]
    assert plain(padded) == b"onetwo"


@pytest.mark.parametrize("name", ENCODERS)
def test_what_follows_the_last_member_is_refused(name: str) -> None:
    stored = ENCODERS[name](TEXT)
    for more in (b"trailing", b"\x01", b"\x28\xb5\x2f\xfd", bytes(4) + b"x"):
        with pytest.raises(FormatError, match="damaged or truncated"):
            plain(stored + more)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_file_that_is_cut_short_is_refused(name: str) -> None:
    stored = ENCODERS[name](b"some text, some text, some text")
    for end in range(8, len(stored)):
        with pytest.raises(FormatError, match="damaged or truncated"):
            plain(stored[:end])


def test_an_lzma_file_with_a_second_stream_and_badly_padded_xz_are_refused() -> None:
    with pytest.raises(FormatError, match="bytes follow its end"):
        plain(alone(b"one") + alone(b"two"))
    with pytest.raises(FormatError, match="multiple of four"):
        plain(lzma.compress(b"one") + bytes(5))


@pytest.mark.parametrize("name", ENCODERS)
def test_more_than_the_limit_is_refused_before_it_is_there(name: str) -> None:
    bomb = ENCODERS[name](bytes(100_000_000))
    for several in (1, 3) if name in SEVERAL else (1,):
        tracemalloc.start()
        try:
            with pytest.raises(FormatError, match=r"more than 10,000,000 bytes.*budget="):
                plain(bomb * several, limit=10_000_000)
            assert tracemalloc.get_traced_memory()[1] < 35_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("name", SEVERAL)
def test_the_limit_is_for_all_members_together(name: str) -> None:
    stored = ENCODERS[name](bytes(1000)) * 100
    assert len(plain(stored, limit=100_000)) == 100_000
    with pytest.raises(FormatError, match="budget="):
        plain(stored, limit=99_999)


def test_what_asks_for_more_memory_than_any_level_does_is_refused() -> None:
    big = lzma.compress(b"x", lzma.FORMAT_ALONE)
    with pytest.raises(FormatError, match="emory"):
        plain(big[:1] + (1 << 30).to_bytes(4, "little") + big[5:])
    wide = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 256 << 20}]
    with pytest.raises(FormatError, match="emory"):
        plain(lzma.compress(b"x", filters=wide))
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(FormatError, match="memory"):
        plain(encoder.compress(b"x") + encoder.flush())


@pytest.mark.parametrize("name", SEVERAL)
def test_a_file_of_nothing_but_empty_members_is_read_in_time(name: str) -> None:
    empty = ENCODERS[name](b"")
    start = monotonic()
    assert plain(empty * (500_000 // len(empty))) == b""
    assert monotonic() - start < 20


def test_what_is_in_no_such_format_is_refused() -> None:
    assert not is_compressed(b"\x80\x05")
    with pytest.raises(FormatError, match="not a file in gzip"):
        plain(b"\x80\x05N.")


def test_a_damaged_checksum_is_seen() -> None:
    for encode in (gzip.compress, lzma.compress, unsized):
        stored = bytearray(encode(TEXT))
        stored[-12 if encode is lzma.compress else -6 if encode is gzip.compress else -2] ^= 1
        with pytest.raises(FormatError):
            plain(stored)


@given(
    name=st.sampled_from(sorted(ENCODERS)),
    at=st.integers(0, 200),
    value=st.integers(0, 255),
    cut=st.integers(0, 3),
)
def test_damage_anywhere_gives_no_other_error(name: str, at: int, value: int, cut: int) -> None:
    stored = bytearray(ENCODERS[name](TEXT[:500]) * 2)
    stored[at % len(stored)] = value
    del stored[at % len(stored) : at % len(stored) + cut]
    with suppress(FormatError):
        plain(stored, limit=1 << 20)
