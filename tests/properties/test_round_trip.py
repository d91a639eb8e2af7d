"""Any graph comes back as it was, by either pickler and under each codec."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.graphs import graphs, same_graph

from checkpoint import Checkpointer, MemoryStore, dumps, loads
from checkpoint._deep_pickling import DeepPickler
from checkpoint._pickling import OUT_OF_BAND, pickle_into
from checkpoint._unpickling import find_global, unpickle


def pickled(graph: Any) -> bytes:
    pieces: list[Any] = []
    pickle_into(graph, pieces.append)
    return b"".join(pieces)


def deep_pickled(graph: Any) -> bytes:
    pieces: list[Any] = []
    DeepPickler(pieces.append).dump(graph)
    return b"".join(pieces)


@given(graphs())
def test_a_graph_comes_back_with_its_values_its_types_and_its_sharing(graph: Any) -> None:
    assert same_graph(graph, unpickle(pickled(graph)))


@given(graphs())
def test_the_deep_pickler_writes_the_bytes_of_the_c_pickler(graph: Any) -> None:
    assert deep_pickled(graph) == pickled(graph)


@given(graphs())
def test_pickle_itself_reads_the_stream(graph: Any) -> None:
    assert same_graph(graph, pickle.loads(pickled(graph)))


@given(graphs(), st.integers(2, 5))  # below 2, pickle refuses slots
def test_a_plain_pickle_of_any_protocol_is_read(graph: Any, protocol: int) -> None:
    plain = pickle.dumps(graph, protocol)
    assert same_graph(pickle.loads(plain), unpickle(plain))


@given(graphs())
def test_the_globals_are_those_that_loading_asks_for(graph: Any) -> None:
    pieces: list[Any] = []
    asked = set()

    def resolve(module: str, qualname: str) -> Any:
        asked.add((module, qualname))
        return find_global(module, qualname)

    found = pickle_into(graph, pieces.append).globals
    unpickle(b"".join(pieces), resolve=resolve)
    assert {(one.module, one.qualname) for one in found} == asked


@pytest.mark.parametrize("codec", ["none", "gzip", "lzma", "zstd"])
@settings(max_examples=40)
@given(graph=graphs(), more=graphs())
def test_graphs_come_back_through_a_store_and_a_file_under_each_codec(
    codec: str, graph: Any, more: Any
) -> None:
    saves = Checkpointer(MemoryStore(), codec=codec)
    saves.save(graph)
    saves.save([graph, more, bytes(100_000)])
    assert same_graph(graph, saves.load(version=1))
    assert same_graph([graph, more, bytes(100_000)], saves.load())
    assert same_graph(graph, loads(dumps(graph, codec=codec)))


sizes = st.sampled_from([0, 1, 255, 256, OUT_OF_BAND - 1, OUT_OF_BAND, OUT_OF_BAND + 1])
payloads = st.builds(
    lambda kind, first, size: kind((first * size)[:size]),
    st.sampled_from([bytes, bytearray, lambda raw: raw.decode("latin-1"), pickle.PickleBuffer]),
    st.sampled_from([b"\x95", b"\x80\x05\x95", b"C", b".", b"\xff"]),
    sizes,
)


@settings(max_examples=60)
@given(st.lists(st.one_of(payloads, st.integers(), st.text(max_size=10))), st.integers(0, 70_000))
def test_payloads_of_all_sizes_in_any_order_keep_the_stream_whole(
    values: list[Any], filling: int
) -> None:
    graph = ["x" * filling, *values]
    pieces: list[Any] = []
    buffers = pickle_into(graph, pieces.append).buffers
    restored = unpickle(b"".join(pieces), buffers)
    assert [_plain(value) for value in restored] == [_plain(value) for value in graph]


def _plain(value: Any) -> Any:
    buffer = isinstance(value, (bytes, bytearray, memoryview, pickle.PickleBuffer))
    return bytes(value) if buffer else value
