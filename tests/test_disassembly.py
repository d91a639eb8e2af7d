"""Pickles of any protocol are read as values, and as plain records, and nothing of them is run."""

from __future__ import annotations

import collections
import copyreg
import datetime
import decimal
import importlib
import pickle
import pickletools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from properties.graphs import (
    Attrs,
    Colour,
    Data,
    DictKind,
    ListKind,
    Node,
    Reduced,
    Slotted,
    graphs,
)

from checkpoint import CheckpointError, FormatError
from checkpoint._difference import difference
from checkpoint._disassembly import disassembled
from checkpoint._outline import Source, outlined, path_at
from checkpoint._pickling import pickle_into
from checkpoint._raw import raw_of
from checkpoint._spans import PROTO, Program
from checkpoint._translating import legible, translated

HERE = Node.__module__


class Outer:
    class Inner:
        """A class in a class, which old protocols look up with `getattr`."""


class WithKeywords:
    def __new__(cls, *, size: int) -> WithKeywords:
        made = super().__new__(cls)
        made.size = size
        return made

    size: int

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"size": self.size}


def plain_values() -> dict[Any, Any]:
    """What every protocol can say, and none but named tuples in two ways."""
    node, row, entries = Node(1), ListKind([1, [2]]), DictKind({"a": 1})
    node.children = [node, Attrs(2, (1, 2, 3, 4)), Data(3), Outer.Inner(), Colour.GREEN]  # type: ignore[attr-defined]
    row.label, entries.label = 7, 8
    return {
        "node": node,
        "kinds": [row, entries, Reduced(9), Outer.Inner, len],
        "numbers": [0, -1, 255, 256, 65_535, 70_000, -(2**31), 2**31, 2**63, -(2**900), 2**2100],
        "floats": [1.5, -0.0, float("inf"), 2j],
        "constants": [None, True, False, (), (1,), (1, 2), (1, 2, 3), [], {}],
        "texts": ["", "é\n\\'\"", "\ud800", "x" * 300, "\x00"],
        "bytes": [b"", b"\xff" * 300, bytearray(b"abc"), bytearray()],
        "sets": [set(), {1, 2}, frozenset(), frozenset(("x",))],
        "library": [
            datetime.date(2000, 1, 1), decimal.Decimal("1.5"), collections.deque([1], 5),
            collections.OrderedDict(a=1), collections.Counter("aab"), KeyError("x"), range(3),
        ],
        "arrays": [np.zeros((3, 4)), np.asfortranarray(np.ones((2, 3))), np.arange(5, dtype=">i4"),
                   np.array([1, "a", None], dtype=object), np.zeros(2, dtype=[("a", "f4")])],
        (1, "k"): node,
    }  # fmt: skip


def same(first: Any, second: Any) -> bool:
    """Whether two records are the same, in order and sharing."""
    partners: dict[int, int] = {}
    pairs = [(first, second)]
    while pairs:
        one, other = pairs.pop()
        if not isinstance(one, dict | list | tuple):
            if one != other or isinstance(one, str) != isinstance(other, str):
                return False
            continue
        if type(one) is not type(other) or len(one) != len(other):
            return False
        if not isinstance(one, tuple) and id(one) in partners:
            if partners[id(one)] != id(other):
                return False
            continue
        partners[id(one)] = id(other)
        if isinstance(one, dict):
            if list(one) != list(other):
                return False
            one, other = list(one.values()), list(other.values())
        pairs += zip(one, other, strict=True)
    return True


def pickled(graph: Any) -> bytes:
    pieces: list[Any] = []
    pickle_into(graph, pieces.append)
    return b"".join(pieces)


# --- every opcode -----------------------------------------------------------

ONE: dict[str, tuple[bytes, Any]] = {
    "INT": (b"I-5\n.", -5),
    "INT of a bool": (b"I01\n.", True),
    "BININT": (b"J\xff\xff\xff\xff.", -1),
    "BININT1": (b"K\x07.", 7),
    "BININT2": (b"M\x01\x02.", 513),
    "LONG": (b"L12345678901234567890L\n.", 12345678901234567890),
    "LONG1": (b"\x8a\x02\xff\x00.", 255),
    "LONG4": (b"\x8b\x02\x00\x00\x00\xff\xff.", -1),
    "STRING": (b"S'a\\n\\x41'\n.", "a\nA"),
    "STRING that is no text": (b"S'\\xff'\n.", b"\xff"),
    "BINSTRING": (b"T\x01\x00\x00\x00a.", "a"),
    "SHORT_BINSTRING": (b"U\x01a.", "a"),
    "BINBYTES": (b"B\x01\x00\x00\x00a.", b"a"),
    "SHORT_BINBYTES": (b"C\x01a.", b"a"),
    "BINBYTES8": (b"\x8e\x01\0\0\0\0\0\0\0a.", b"a"),
    "BYTEARRAY8": (b"\x96\x01\0\0\0\0\0\0\0a.", bytearray(b"a")),
    "NEXT_BUFFER": (b"\x97.", {"__buffer__": 0}),
    "READONLY_BUFFER": (b"\x97\x98.", {"__buffer__": 0}),
    "NONE": (b"N.", None),
    "NEWTRUE": (b"\x88.", True),
    "NEWFALSE": (b"\x89.", False),
    "UNICODE": (b"V\\u00e9\n.", "é"),
    "SHORT_BINUNICODE": (b"\x8c\x01a.", "a"),
    "BINUNICODE": (b"X\x01\x00\x00\x00a.", "a"),
    "BINUNICODE8": (b"\x8d\x01\0\0\0\0\0\0\0a.", "a"),
    "FLOAT": (b"F1.5\n.", 1.5),
    "BINFLOAT": (b"G?\xf8\0\0\0\0\0\0.", 1.5),
    "EMPTY_LIST": (b"].", []),
    "APPEND": (b"]K\x01a.", [1]),
    "APPENDS": (b"](K\x01K\x02e.", [1, 2]),
    "LIST": (b"(K\x01(lK\x02l.", [1, [], 2]),
    "EMPTY_TUPLE": (b").", ()),
    "TUPLE": (b"(K\x01t.", (1,)),
    "TUPLE1": (b"K\x01\x85.", (1,)),
    "TUPLE2": (b"K\x01K\x02\x86.", (1, 2)),
    "TUPLE3": (b"K\x01K\x02K\x03\x87.", (1, 2, 3)),
    "EMPTY_DICT": (b"}.", {}),
    "DICT": (b"(K\x01Nd.", {1: None}),
    "SETITEM": (b"}K\x01Ns.", {1: None}),
    "SETITEMS": (b"}(K\x01Nu.", {1: None}),
    "EMPTY_SET": (b"\x8f.", set()),
    "ADDITEMS": (b"\x8f(K\x01\x90.", {1}),
    "FROZENSET": (b"(K\x01\x91.", frozenset((1,))),
    "POP": (b"K\x01K\x020.", 1),
    "POP of a mark": (b"K\x01(0.", 1),
    "DUP": (b"]2\x86.", ([], [])),
    "MARK": (b"(t.", ()),
    "POP_MARK": (b"K\x01(NN1.", 1),
    "GET": (b"]p5\ng5\n\x86.", ([], [])),
    "BINGET": (b"]q\x05h\x05\x86.", ([], [])),
    "LONG_BINGET": (b"]r\x05\0\0\0j\x05\0\0\0\x86.", ([], [])),
    "PUT": (b"Np0\n.", None),
    "BINPUT": (b"Nq\x00.", None),
    "LONG_BINPUT": (b"Nr\0\0\0\0.", None),
    "MEMOIZE": (b"N\x94.", None),
    "EXT1": (b"\x82\xf0.", {"__global__": "gone:Class"}),
    "EXT2": (b"\x83\xf0\x00.", {"__global__": "gone:Class"}),
    "EXT4": (b"\x84\xf1\x00\x00\x00.", {"__global__": "extension 241"}),
    "GLOBAL": (b"cgone\nClass\n.", {"__global__": "gone:Class"}),
    "GLOBAL of Python 2": (b"c__builtin__\nxrange\n.", {"__global__": "builtins:range"}),
    "STACK_GLOBAL": (b"\x8c\x04gone\x8c\x05Class\x93.", {"__global__": "gone:Class"}),
    "REDUCE": (b"cgone\nClass\nK\x01\x85R.", {"__class__": "gone:Class", "__args__": (1,)}),
    "BUILD": (b"cgone\nClass\n)R}\x8c\x01aK\x01sb.", {"__class__": "gone:Class", "a": 1}),
    "INST": (b"(K\x01igone\nClass\n.", {"__class__": "gone:Class", "__args__": (1,)}),
    "OBJ": (b"(cgone\nClass\nK\x01o.", {"__class__": "gone:Class", "__args__": (1,)}),
    "NEWOBJ": (b"cgone\nClass\n)\x81.", {"__class__": "gone:Class"}),
    "NEWOBJ_EX": (
        b"cgone\nClass\n)}\x8c\x01aK\x01s\x92.",
        {"__class__": "gone:Class", "__kwargs__": {"a": 1}},
    ),
    "PROTO": (b"\x80\x02N.", None),
    "STOP": (b"N.and what follows is not read", None),
    "FRAME": (b"\x80\x04\x95\x02\0\0\0\0\0\0\0N.", None),
    "PERSID": (b"Pone\n.", {"__persistent_id__": "one"}),
    "BINPERSID": (b"K\x01Q.", {"__persistent_id__": 1}),
}


@pytest.fixture(autouse=True)
def extension() -> Iterator[None]:
    copyreg.add_extension("gone", "Class", 240)
    yield
    copyreg.remove_extension("gone", "Class", 240)


def test_every_opcode_has_a_case() -> None:
    assert {opcode.name for opcode in pickletools.opcodes} <= set(ONE)


@pytest.mark.parametrize("name", ONE)
def test_every_opcode_is_read(name: str) -> None:
    data, expected = ONE[name]
    found = raw_of(data)
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, dict)
    outline = outlined(data)
    assert str(outline)
    if not isinstance(expected, dict | list | tuple | set | frozenset):
        assert (
            outline.value == bytes(expected)
            if isinstance(expected, bytearray)
            else (outline.value == expected)
        )


@pytest.mark.parametrize("name", ONE)
def test_a_pickle_that_ends_early_is_refused(name: str) -> None:
    data, _ = ONE[name]
    whole = data[: data.rindex(b".") + 1] if name != "STOP" else b"N."
    for end in range(len(whole)):
        for way in (raw_of, outlined, legible):
            with pytest.raises(FormatError):
                way(whole[:end])


# --- what is the same -------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_records_are_the_same_in_every_protocol(protocol: int) -> None:
    assert same(raw_of(pickle.dumps(plain_values(), protocol)), raw_of(pickled(plain_values())))


@pytest.mark.parametrize("protocol", range(6))
def test_a_translation_is_the_pickle_of_the_same_graph(protocol: int) -> None:
    values = {**plain_values(), "node": 1, (1, "k"): 2, "arrays": 3, "kinds": 4, "library": 5}
    data = translated(pickle.dumps(values, protocol))
    assert data[:2] == PROTO
    assert {opcode.name for opcode, _, _ in pickletools.genops(data)}.isdisjoint(
        ("PUT", "BINPUT", "FRAME", "GLOBAL", "LIST", "DICT", "INT", "LONG", "UNICODE", "STRING")
    )
    assert repr(pickle.loads(data)) == repr(values)


@given(graph=graphs())
def test_records_of_any_graph_are_the_same_in_old_protocols(graph: Any) -> None:
    outlines = []
    for protocol in (0, 2, 4, 5):
        try:
            data = pickle.dumps(graph, protocol)
        except Exception:  # protocols 0 and 1 refuse what has slots
            continue
        raw_of(data)
        outlines.append(outlined(data).type)
    assert outlines


def test_records_share_what_is_shared_and_keep_cycles() -> None:
    record = raw_of(pickle.dumps(plain_values(), 5))
    assert record["node"] is record[1, "k"]
    assert record["node"]["children"][0] is record["node"]
    assert record["node"]["__class__"] == f"{HERE}:Node"


def test_records_of_slots_keywords_and_setters() -> None:
    slotted, reduced = Slotted(1), Reduced(2)
    reduced.children = [3]
    slotted.children = None  # type: ignore[attr-defined]
    found = raw_of(pickle.dumps([slotted, reduced, WithKeywords(size=4)], 5))
    assert found == [
        {"__class__": f"{HERE}:Slotted", "label": 1, "children": None},
        {"__class__": f"{HERE}:Reduced", "__args__": (2,), "__setter__": f"{HERE}:set_children",
         "__state__": [3]},
        {"__class__": f"{__name__}:WithKeywords", "__kwargs__": {"size": 4}, "size": 4},
    ]  # fmt: skip


def test_a_dict_that_could_be_taken_for_an_object_is_a_record_of_a_dict() -> None:
    values = {"a": 1, "__class__": "spoofed"}
    assert raw_of(pickle.dumps(values)) == {
        "__class__": "builtins:dict",
        "__entries__": [("a", 1), ("__class__", "spoofed")],
    }
    entries = raw_of(pickle.dumps({"a": 1} | {Node(1): 2}))
    assert list(entries.values()) == [1, 2]


def test_an_array_is_told_by_dtype_shape_and_memory() -> None:
    array = np.arange(20_000.0).reshape(100, 200)
    buffers: list[Any] = []
    for data, beside in (
        (pickle.dumps(array, 5, buffer_callback=buffers.append), buffers),
        (pickle.dumps(array, 2), None),
    ):
        record = raw_of(data, beside)
        assert (record["dtype"], record["shape"], record["order"]) == ("<f8", (100, 200), "C")
        again = np.frombuffer(record["data"], record["dtype"]).reshape(record["shape"])
        assert np.array_equal(again, array)
        outline = outlined(data)
        assert (outline.type, outline.dtype, outline.shape) == (
            "numpy:ndarray", "float64", (100, 200),
        )  # fmt: skip


def test_names_of_numpy_before_2_are_known() -> None:
    old = pickle.dumps(np.arange(6.0), 2).replace(b"numpy._core", b"numpy.core")
    assert outlined(old).shape == (6,)
    assert raw_of(old)["dtype"] == "<f8"


# --- nothing is run ---------------------------------------------------------


def test_no_module_that_a_stream_names_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "imported"
    (tmp_path / "trap.py").write_text(f"open({str(trace)!r}, 'w').close()\ndef call(*args): ...")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    for data in (
        b"ctrap\ncall\n(S'x'\ntR.",
        b"(itrap\ncall\n.",
        PROTO + b"\x8c\x04trap\x8c\x04call\x93)\x81}b.",
        PROTO + b"\x8c\x0bnumpy.dtype\x8c\x04call\x93)R.",
        b"cos\nsystem\n(S'touch " + str(trace).encode() + b"'\ntR.",
    ):
        source = outlined(data).source
        str(outlined(data)), raw_of(data), list(difference(source, Source(data)))
    assert "trap" not in sys.modules
    assert not trace.exists()


def test_numpy_is_not_imported_to_look_at_arrays() -> None:
    data = pickle.dumps(np.zeros(100))
    code = (
        "import sys\nfrom checkpoint._outline import outlined\nfrom checkpoint._raw import raw_of\n"
        f"print(outlined({data!r}).shape, raw_of({data!r})['shape'], 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(100,) (100,) False"


# --- the pass ---------------------------------------------------------------


def crowd(count: int) -> list[Any]:
    """Small objects of all kinds that are leapt over in the pass, and of some that are not."""
    made: list[Any] = []
    for n in range(count):
        node = Node(n)
        vars(node).update(
            name=f"name {n}" * (n % 9), row=[n, str(n)] if n % 3 else [1.5, None], entries={n: n},
            other=made[n // 2] if made else None, pair=(1, n), empty={}, texts={str(n): 1},
            elements={1, 2}, children=[[n]] if n % 5 else [],
        )  # fmt: skip
        made.append(node)
    return made


@pytest.mark.parametrize("graph", [crowd(800), {n: {"n": str(n)} for n in range(900)}, [[]] * 9])
def test_the_pass_puts_into_the_memo_what_the_stack_machine_does(graph: Any) -> None:
    stream = pickled(graph)
    program, found = Program(stream), disassembled(stream)
    assert [*found.memo.puts] == [*program.memo.puts]
    assert [*found.memo.starts] == [start & ((1 << 40) - 1) for start in program.memo.starts]
    assert [*found.memo.ends] == [*program.memo.ends]
    assert found.root == program.root


@given(graph=graphs())
def test_values_are_opened_as_the_stack_machine_opens_them(graph: Any) -> None:
    stream = pickled([graph, crowd(3)])
    program, found = Program(stream), disassembled(stream)
    for index in range(len(program.memo.puts)):
        item = program.item(program.memo.starts[index] | index + 1 << 40, 0)
        one, other = program.opened(item), found.opened(item)
        assert (one.made, one.filled) == (other.made, other.filled)


# --- paths ------------------------------------------------------------------


def test_the_path_of_every_byte_leads_to_a_value_that_holds_it() -> None:
    graph = {"a": [1, ("needle-1", b"needle-2")], "players": [Node(1), {"x y": "needle-3"}]}
    graph["players"][0].children = "needle-4"  # type: ignore[union-attr]
    stream = pickled(graph)
    paths = {f"needle-{n}": path_at(stream, stream.index(b"needle-%d" % n)) for n in range(1, 5)}
    assert paths == {
        "needle-1": "state['a'][1][0]",
        "needle-2": "state['a'][1][1]",
        "needle-3": "state['players'][1]['x y']",
        "needle-4": "state['players'][0].children",
    }
    for offset in range(2, len(stream)):
        assert path_at(stream, offset).startswith("state")


def test_the_path_in_a_long_list_is_found_at_once() -> None:
    stream = pickled({"players": [{"n": n, "name": f"player {n}"} for n in range(20_000)]})
    source = Source(stream)
    start = monotonic()
    for n in (0, 999, 1000, 19_999):
        offset = stream.index(b"player %d\x94" % n)
        assert source.path_at(offset) == f"state['players'][{n}]['name']"
    assert monotonic() - start < 2


# --- hostile streams --------------------------------------------------------

DEPTH = 5_000


def tuples_of_tuples(depth: int) -> bytes:
    return b"K\x01K\x01\x86\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(depth))


HOSTILE = {
    "lists in lists": PROTO + b"]\x94" * DEPTH + b"a" * (DEPTH - 1) + b".",
    "tuples in tuples": PROTO + b")" + b"\x85" * DEPTH + b".",
    "dicts in dicts": PROTO + b"}K\x01" * DEPTH + b"N" + b"s" * DEPTH + b".",
    "calls of calls": PROTO + b"\x8c\x01a\x8c\x01b\x93\x94" + b"h\x00" * DEPTH + b")"
    + b"R\x85" * DEPTH + b"\x86.",
    "states in states": PROTO + b"\x8c\x01a\x8c\x01b\x93\x94" + b"h\x00)\x81}\x8c\x01x" * DEPTH
    + b"N" + b"sb" * DEPTH + b"\x86.",
    "attributes of attributes": PROTO + b"\x8c\x08builtins\x8c\x07getattr\x93\x94"
    + b"h\x00" * DEPTH + b"h\x00" + b"\x8c\x01a\x86R" * DEPTH + b".",
    "marks": PROTO + b"(" * 300_000 + b".",
    "old lists": b"(" * DEPTH + b"l" * DEPTH + b".",
    "old instances": b"(" * DEPTH + b"ia\nb\n" * DEPTH + b".",
    "a flood": PROTO + b"(" + b"N" * 100_000 + b"t.",
    "a flood of numbers": b"(" + b"K\x01" * 50_000 + b"t.",
    "a flood in the memo": PROTO + b"(" + b"]\x94" * 50_000 + b"t.",
    "a flood of buffers": PROTO + b"(" + b"\x97" * 20_000 + b"t.",
    "a flood of copies": b"(]" + b"2" * 50_000 + b"t.",
    "a flood of states": PROTO + b"\x8c\x01a\x8c\x01b\x93)\x81" + b"}K\x01K\x02sb" * 20_000 + b".",
    "a billion laughs": b"((lp0\n" + b"".join(
        b"(lp%d\n" % n + (b"g%d\na" % (n - 1)) * 10 for n in range(1, 60)) + b"t.",
    "a billion tuples": PROTO + b"(" + tuples_of_tuples(200) + b"t.",
    "a billion keys": PROTO + b"}(" + tuples_of_tuples(200) + b"N" + b"u.",
    "a long number": b"I" + b"9" * 1_000_000 + b"\n.",
    "another long number": b"L" + b"9" * 1_000_000 + b"L\n.",
    "a long length": PROTO + b"\x8b\xff\xff\xff\x7f.",
    "a negative length": PROTO + b"\x8b\xff\xff\xff\xff.",
    "a longer length": PROTO + b"\x8e" + b"\xff" * 8 + b".",
    "a negative string": b"T\xff\xff\xff\xff.",
    "a large index": b"Np" + b"9" * 1000 + b"\n.",
    "a large number": PROTO + b"\x8b" + (300_000).to_bytes(4, "little") + b"\x01" * 300_000 + b".",
    "a cycle": PROTO + b"]\x94h\x00a.",
    "a set in itself": PROTO + b"\x8f\x94(h\x00\x90.",
    "a tuple in itself": PROTO + b"]\x94h\x00\x85\x94a0h\x01.",
    "an object without a class": PROTO + b"(o.",
    "a mark in the memo": PROTO + b"(\x94t.",
    "a newer protocol": b"\x80\x06N.",
    "nothing": b"",
}  # fmt: skip


def test_a_long_way_from_a_mark_to_nothing_is_gone() -> None:
    idle = pickle.PROTO + b"\x05"
    for filled in (b"](%be.", b"}(%bu.", b"](]}(%bue."):
        shown(idle + filled % (idle * 3000))


def test_hostile_streams_take_little_time_and_memory() -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_disassembly as t; t.look_at_all()"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [name for name, *_ in rows] == list(HOSTILE)
    assert [name for name, seconds, _ in rows if float(seconds) > 20] == []
    assert [name for name, _, size in rows if int(size) > 200 << 20] == []


def look_at_all() -> None:
    """Look at each stream in every way; print the seconds, and the memory used until then."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, data in HOSTILE.items():
        start = monotonic()
        for way in (raw_of, shown, halfway, unlike_itself):
            with suppress(CheckpointError):
                way(data)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(name, monotonic() - start, used * 1024, sep="\t")


def halfway(data: bytes) -> None:
    path_at(data, len(data) // 2)


def unlike_itself(data: bytes) -> None:
    middle = len(data) // 2
    other = data[:middle] + b"N0" + data[middle:]
    str(difference(Source(data), Source(data)))
    str(difference(Source(data), Source(other)))


def shown(data: bytes) -> None:
    outline = outlined(data)
    str(outline), repr(outline), outline._repr_html_()


def test_a_number_of_a_million_digits_is_refused_as_python_refuses_it() -> None:
    with pytest.raises(FormatError, match="1,000,000 digits"):
        raw_of(HOSTILE["a long number"])


def test_what_is_met_again_is_a_reference_to_its_path() -> None:
    outline = outlined(HOSTILE["a billion laughs"])
    last = outline[59]
    assert len(last) == 10
    assert {child.reference for child in last} == {"state[58]"}
    assert len(str(outline).splitlines()) < 100
