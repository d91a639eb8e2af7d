"""One pickle is read from a file, to its last byte and no further."""

from __future__ import annotations

import io
import pickle
import pickletools
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties.graphs import graphs

from checkpoint import FormatError
from checkpoint._one_pickle import read_pickle
from checkpoint._translating import translated_prefix


class Pipe:
    """Gives what it has once, and in small pieces."""

    def __init__(self, data: bytes, most: int = 1 << 20) -> None:
        self._data, self._most = io.BytesIO(data), most
        self.largest = 0

    def read(self, size: int) -> bytes:
        self.largest = max(self.largest, size)
        return self._data.read(min(size, self._most))

    def rest(self) -> bytes:
        return self._data.read()


LARGE = ["x" * 200_000, b"y" * 1_200_000, "é\n", 2**3000, 1.5, [], {1: (2,)}, True]
# At least one pickle with each opcode whose argument has a size of its own.
KINDS = [
    *(pickle.dumps(LARGE, protocol) for protocol in range(6)),
    b"(S'a'\nU\x01aT\x02\0\0\0abI01\nL5L\nF1.5\nVa\nPid\nK\x01Qp5\ng5\nq\x05h\x05r\5\0\0\0j\5\0\0\0l.",
    b"(c__builtin__\nset\n(i__builtin__\nset\n2l.",
    b"\x80\x02(\x82\x01\x83\x01\x02\x84\x01\x02\x03\x04l.",
    b"\x80\x05](\x97\x98\x8f(K\x01\x90(K\x01\x91\x8d\x01\0\0\0\0\0\0\0ae.",
]


@pytest.mark.parametrize("number", range(len(KINDS)))
@pytest.mark.parametrize("head", [0, 2, 8])
def test_a_pickle_is_read_to_its_last_byte(number: int, head: int) -> None:
    data = KINDS[number]
    for file in (Pipe(data + b"next"), Pipe(data + b"next", 3)):
        assert read_pickle(file, file.read(head) if head < 3 else b"") == data
        assert file.rest() == b"next"
    source = io.BytesIO(b"before" + data + b"next")
    source.seek(6)
    assert read_pickle(source, source.read(head)) == data
    assert source.read() == b"next"


def test_every_opcode_is_known() -> None:
    for opcode in pickletools.opcodes:
        if opcode.name != "STOP":
            with pytest.raises(FormatError, match="ends before its STOP"):
                read_pickle(io.BytesIO(opcode.code.encode("latin1")))
    for code in set(range(256)) - {ord(opcode.code) for opcode in pickletools.opcodes}:
        with pytest.raises(FormatError, match="no opcode, at byte 0"):
            read_pickle(io.BytesIO(bytes([code]) + b"N."))


@given(graph=graphs(), protocol=st.integers(0, 5), more=st.binary(max_size=20))
def test_where_a_pickle_ends_is_where_its_translation_ends(
    graph: Any, protocol: int, more: bytes
) -> None:
    try:
        data = pickle.dumps(graph, protocol)
    except Exception:  # protocols 0 and 1 refuse what has slots
        return
    source, pipe = io.BytesIO(data + more), Pipe(data + more)
    assert read_pickle(source) == read_pickle(pipe) == data
    assert source.read() == pipe.rest() == more
    assert translated_prefix(data + more)[1] == len(data)


def test_pickles_that_follow_each_other_are_read_one_by_one() -> None:
    pickles = [pickle.dumps([n] * n, n % 6) for n in range(50)]
    source, pipe = io.BytesIO(b"".join(pickles)), Pipe(b"".join(pickles))
    for data in pickles:
        assert read_pickle(source) == data
        assert read_pickle(pipe) == data


def test_a_file_on_disk_is_left_behind_the_pickle(tmp_path: Any) -> None:
    (tmp_path / "two").write_bytes(KINDS[4] + b"N.")
    with open(tmp_path / "two", "rb") as file:
        assert read_pickle(file) == KINDS[4]
        assert file.read() == b"N."
    with open(tmp_path / "two", "rb", buffering=0) as raw:
        assert read_pickle(raw, raw.read(8)) == KINDS[4]
        assert raw.read() == b"N."


@pytest.mark.parametrize("data", [KINDS[0], KINDS[2], KINDS[4], b"V" + b"x" * 5000 + b"\n."])
def test_no_more_than_the_limit_is_read(data: bytes) -> None:
    for file in (io.BytesIO(data + b"next"), Pipe(data + b"next")):
        assert read_pickle(file, limit=len(data)) == data
    for limit in (len(data) - 1, 100, 1):
        for file in (io.BytesIO(data), Pipe(data)):
            with pytest.raises(FormatError, match="budget="):
                read_pickle(file, limit=limit)


@pytest.mark.parametrize(
    "data",
    [b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f", b"B\xff\xff\xff\xff",
     b"\x96" + b"\xff" * 8, b"T\xff\xff\xff\xff"],
)  # fmt: skip
def test_a_length_that_lies_takes_no_memory(data: bytes) -> None:
    for file in (Pipe(data + b"a."), io.BytesIO(data + b"a.")):
        tracemalloc.start()
        try:
            with pytest.raises(FormatError, match="ends before its STOP"):
                read_pickle(file)
            assert tracemalloc.get_traced_memory()[1] < 3 << 20
        finally:
            tracemalloc.stop()
        assert not isinstance(file, Pipe) or file.largest <= 1 << 20


def test_a_file_that_cannot_go_back_is_not_read_beyond_the_pickle_in_silence() -> None:
    for file, head in (
        (Pipe(b"more"), b"N.before"),
        (Pipe(b"N.x"), b"\x80\x04\x95\3\0\0\0\0\0\0\0"),
    ):
        with pytest.raises(FormatError, match="cannot go back"):
            read_pickle(file, head)


@given(
    data=st.sampled_from([KINDS[6], KINDS[7], KINDS[9], pickle.dumps([1, "x", 2.5], 4)]),
    at=st.integers(0, 80),
    value=st.binary(max_size=2),
)
def test_whatever_the_bytes_are_there_is_no_other_error(data: bytes, at: int, value: bytes) -> None:
    changed = bytearray(data)
    changed[at % len(data) : at % len(data) + 1] = value
    for file in (io.BytesIO(changed), Pipe(bytes(changed))):
        with suppress(FormatError):
            found = read_pickle(file)
            assert changed.startswith(found)
            assert found[-1:] == pickle.STOP
