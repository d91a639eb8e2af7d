"""A translated pickle loads as the pickle itself does, and nothing can hide in it."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.graphs import Node, graphs, same_graph

from checkpoint import FormatError, UnsafeError
from checkpoint._translating import legible, translated, translated_prefix

PROTOCOLS = range(6)


def frame(body: bytes) -> bytes:
    return pickle.FRAME + len(body).to_bytes(8, "little") + body


# --- the same values --------------------------------------------------------


@given(graph=graphs(), protocol=st.sampled_from(PROTOCOLS))
def test_a_translated_graph_is_the_same_in_value_and_sharing(graph: Any, protocol: int) -> None:
    try:
        data = pickle.dumps(graph, protocol)
    except Exception:  # protocols 0 and 1 refuse what has slots
        return
    stream, size = translated_prefix(data + b"what follows")
    assert size == len(data)
    assert same_graph(pickle.loads(stream), pickle.loads(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_python_pickler_is_read_as_well(protocol: int) -> None:
    node = Node(1)
    node.children = [node, "x" * 100_000, b"y" * 100_000, {1: 2.5, None: True}]  # type: ignore[attr-defined]
    target = io.BytesIO()
    pickle._Pickler(target, protocol).dump([node, node])  # type: ignore[attr-defined]
    data = target.getvalue()
    for form in (data, pickletools.optimize(data)):
        assert same_graph(pickle.loads(translated(form)), pickle.loads(form))


# What Python 2 and old picklers wrote, and pickle reads; in its own words.
OLD = {
    "numbers": b"(lp0\nI-5\naL123456789012345678901L\naI01\naI00\naF1.5\naF-inf\naFnan\naL0L\na.",
    "lines": b"(lp0\nS'a\\n\\x41\\101\\'\"'\np1\nag1\nag0\naV\\u00e9\\U0001f600\naS\"it's\"\na.",
    "strings": b"](U\x03abcT\x03\0\0\0defU\x00e.",
    "put and get in any numbering": b"]q\x07(]r\x00\x01\0\0h\x07j\x00\x01\0\0]p9\ng9\ne.",
    "memoize after numbers": b"\x80\x04]q\x05(]\x94h\x01]\x94h\x02h\x05e.",
    "a number taken twice": b"](]q\x00]q\x00h\x00h\x00e.",
    "dup": b"]2\x86.",
    "dup of a new value": b"(]q\x012]2h\x01l.",
    "nested": b"(lp0\n(dp1\nS'k'\n(lp2\nI1\nasa(I1\n(I2\ntp3\nta(I3\nI4\nda.",
    "nested marks": b"((I1\nI2\nd(I3\n(I4\nltl.",
    "list of the mark": b"(I1\n(I2\nl(l(I3\nI4\ndl.",
    "pop": b"](K\x01K\x020(01K\x05a.",
    "hexadecimal": b"](I0x1f\nL-0xffL\ne.",
    "global of Python 2": b"(c__builtin__\nunicode\ncexceptions\nKeyError\nl.",
    "instance": b"(S'x'\niproperties.graphs\nNode\n(dS'children'\n(lsb.",
    "instance of two": b"((I1\niproperties.graphs\nNode\n(I2\niproperties.graphs\nNode\nl.",
    "object": b"(cproperties.graphs\nNode\nK\x01o.",
    "object without arguments": b"(cproperties.graphs\nNode\no.",
}


def outcome(data: bytes, **options: Any) -> Any:
    try:
        return pickle.dumps(pickle.loads(data, **options))
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("name", OLD)
def test_old_pickles_load_as_pickle_loads_them(name: str) -> None:
    data = OLD[name]
    assert isinstance(outcome(data), bytes)
    assert outcome(translated(data)) == outcome(data)
    if data[:1] != pickle.PROTO:
        for head in (b"\x80\x02", b"\x80\x03"):
            assert outcome(translated(head + data)) == outcome(head + data)


@pytest.mark.parametrize(
    "options",
    [{"encoding": "latin1"}, {"encoding": "bytes"}, {"encoding": "utf-8", "errors": "replace"},
     {"errors": "surrogateescape"}, {"encoding": "utf-8", "errors": "surrogateescape"}],
)  # fmt: skip
def test_strings_of_python_2_are_decoded_as_asked(options: dict[str, Any]) -> None:
    long = b"\xc3\xa9\xff" * 200
    data = b"](S'\\xc3\\xa9\\xff'\nU\x03\xc3\xa9\xffT" + struct.pack("<i", 600) + long + b"e."
    assert pickle.loads(translated(data, **options)) == pickle.loads(data, **options)


def test_strings_that_are_not_in_the_encoding_are_refused_with_the_way_out() -> None:
    for data in (b"S'\\xff'\n.", b"U\x01\xff.", b"T\x01\0\0\0\xff."):
        with pytest.raises(FormatError, match='encoding="latin1"'):
            translated(data)
        assert pickle.loads(legible(data)) == b"\xff"
    assert pickle.loads(legible(b"U\x01a.")) == "a"


def test_names_of_python_2_are_mapped_only_where_pickle_maps_them() -> None:
    names = b"c__builtin__\nxrange\n."
    assert pickle.loads(translated(names)) is range
    assert pickle.loads(translated(b"\x80\x02" + names)) is range
    for stream in (translated(names, fix_imports=False), translated(b"\x80\x03" + names)):
        assert b"__builtin__" in stream
        assert b"xrange" in stream


def test_what_is_spelled_anew_has_the_spelling_of_the_pickler_of_protocol_5() -> None:
    values = [0, 255, 256, 65_535, 65_536, -1, 2**31, 2**2100, 1.5, "é", "x" * 300, True, None]

    def spelled(data: bytes) -> list[tuple[str, Any]]:
        found = [(op.name, arg) for op, arg, _ in pickletools.genops(data)]
        return [each for each in found if each[0] not in ("FRAME", "MEMOIZE")]

    data = translated(pickle.dumps(tuple(values), 0))
    assert spelled(data) == spelled(pickle.dumps(tuple(values), 5))


def test_several_pickles_in_one_file_are_told_apart() -> None:
    pickles = [pickle.dumps([n, {"n": n}], n % 6) for n in range(12)]
    data, found = b"".join(pickles), []
    while data:
        stream, size = translated_prefix(data)
        found.append(pickle.loads(stream))
        data = data[size:]
    assert found == [[n, {"n": n}] for n in range(12)]


def test_other_bytes_than_bytes_are_read() -> None:
    data = pickle.dumps([1, "x"])
    for form in (bytearray(data), memoryview(data)):
        assert pickle.loads(translated(form)) == [1, "x"]


# --- what is refused --------------------------------------------------------

REFUSED = {
    "a second PROTO": b"\x80\x04\x80\x04N.",
    "a second PROTO that switches": b"\x80\x02N0\x80\x04N.",
    "a PROTO that comes late": b"N0\x80\x04N.",
    "a PROTO in a frame": b"\x80\x04" + frame(b"\x80\x04N."),
    "a newer protocol": b"\x80\x06N.",
    "a frame without a protocol": frame(b"N."),
    "a frame in protocol 3": b"\x80\x03" + frame(b"N."),
    "a frame in a frame": b"\x80\x04" + frame(frame(b"N") + b"."),
    "an opcode across the end of a frame": b"\x80\x04" + frame(b"X\x01\0\0\0")[:-1] + b"\0a.",
    "a payload across the end of a frame": b"\x80\x04" + frame(b"\x8c\x02a") + b"b.",
    "a line across the end of a frame": b"\x80\x04" + frame(b"VN") + b"\n.",
    "a frame that ends behind the data": b"\x80\x04\x95\x03\0\0\0\0\0\0\0N.",
    "a frame that goes on behind STOP": b"\x80\x04" + frame(b"N.N."),
    "a frame of 2**63 bytes": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "cpython#154848": b"\x80\x04" + frame(b"V") + b"aa0(\x95\x01\0\0\0\0\0\0\0N1N.",
    "no STOP": b"\x80\x04N",
    "nothing": b"",
    "no opcode": b"\x01.",
    "two values": b"NN.",
    "no value": b".",
    "a mark that stands": b"(N.",
    "no mark": b"l.",
    "an empty stack": b"a.",
    "a taken mark": b"](a.",
    "a memo bomb": b"]r\0\0\0\x04.",
    "the highest place in the memo": b"]r\xff\xff\xff\xff.",
    "a negative place": b"]p-1\n.",
    "a place of many digits": b"]p" + b"1" * 11 + b"\n.",
    "a place in octal": b"]p07\n.",
    "a place that is none": b"]px\n.",
    "what is not in the memo": b"h\0.",
    "what is not in the memo, by name": b"g3\n.",
    "what is not in the memo yet": b"j\x05\0\0\0]r\x05\0\0\0\x86.",
    "LONG of 4301 digits": b"L" + b"1" * 4301 + b"L\n.",
    "LONG of a million hex digits": b"L0x" + b"f" * 1_000_000 + b"L\n.",
    "LONG1 that is short": b"\x8a\x05a.",
    "LONG4 above 64 KiB": b"\x8b\x01\0\x01\0" + b"\x01" * 65_537 + b".",
    "LONG4 of a negative length": b"\x8b\xff\xff\xff\xffa.",
    "INT in octal": b"I010\n.",
    "INT with a NUL": b"I5\0x\n.",
    "INT with an underscore": b"I1_0\n.",
    "INT with a space": b"I 1\n.",
    "INT that is true with a plus": b"I+1\n.",
    "INT that is false with a minus": b"I-0\n.",
    "INT that is none": b"I\n.",
    "FLOAT with an underscore": b"F1_0\n.",
    "FLOAT with a space": b"F 1\n.",
    "FLOAT that is too large": b"F1e999\n.",
    "FLOAT of many digits": b"F" + b"1" * 5000 + b"\n.",
    "FLOAT that is none": b"F\n.",
    "STRING without quotes": b"Sab\n.",
    "STRING with one quote": b"S'\n.",
    "STRING with a space behind it": b"S'a' \n.",
    "STRING with an escape of which Python warns": b"S'\\d'\n.",
    "STRING with an octal above 255": b"S'\\777'\n.",
    "STRING with half an escape": b"S'\\x4'\n.",
    "STRING with a backslash at its end": b"S'\\'\n.",
    "BINSTRING of a negative length": b"T\xff\xff\xff\xffa.",
    "BINSTRING that is short": b"T\x05\0\0\0a.",
    "SHORT_BINSTRING that is short": b"U\x05a.",
    "BINBYTES8 of 2**63 bytes": b"\x8e" + b"\xff" * 8 + b"a.",
    "BYTEARRAY8 of 2**40 bytes": b"\x96\0\0\0\0\0\x01\0\0a.",
    "UNICODE with a broken escape": b"V\\u12\n.",
    "GLOBAL of no module": b"c\nname\n.",
    "GLOBAL of no name": b"cos\n\n.",
    "GLOBAL with a dot before protocol 4": b"\x80\x02cos\npath.join\n.",
    "GLOBAL not in UTF-8": b"c\xff\nname\n.",
    "INST not in ASCII": b"(i\xc3\xa9\nname\n.",
    "STACK_GLOBAL before protocol 4": b"\x80\x02\x8c\x08commands\x8c\x09getoutput\x93.",
    "PERSID not in ASCII": b"P\xff\n.",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_pickler_writes_is_refused(name: str) -> None:
    with pytest.raises(FormatError, match=r"not a whole pickle: .*, at byte [\d,]+"):
        translated(REFUSED[name])


@pytest.mark.parametrize("data", [b"\x82\xf0.", b"\x83\xf0\0.", b"\x84\xf0\0\0\0.", b"N0\x82\x01"])
def test_the_extension_registry_is_not_read(data: bytes) -> None:
    with pytest.raises(UnsafeError, match="extension registry") as caught:
        translated(data)
    assert caught.value.offset == data.index(data.lstrip(b"N0")[:1])
    assert str(caught.value.opcode).startswith("EXT")


def test_what_stands_beside_frames_is_read() -> None:
    for body in (frame(b"]") + b"N" + frame(b"a."), frame(b"]N") + b"a.", frame(b"") + b"]."):
        data = b"\x80\x04" + body
        stream, size = translated_prefix(data + b"more")
        assert size == len(data)
        assert pickle.loads(stream) == pickle.loads(data)


def test_a_pickler_that_is_used_again_goes_on_counting() -> None:
    target = io.BytesIO()
    pickler = pickle.Pickler(target, 2)
    pickler.dump([[] for _ in range(20_000)])
    start = target.tell()
    pickler.dump([[]])
    assert len(target.getvalue()[start:]) < 30
    assert pickle.loads(translated(target.getvalue()[start:])) == [[]]


class Asking(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return "asked", pid


def test_persistent_ids_stay() -> None:
    for data, pid in ((b"Pone\n.", "one"), (b"K\x01Q.", 1)):
        assert Asking(io.BytesIO(translated(data))).load() == ("asked", pid)


# --- whatever the bytes are -------------------------------------------------


class Called:
    """What a stranger's pickle makes: a record of what was asked for, and nothing else."""

    def __init__(self, *args: Any) -> None:
        self.made = args

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        self.made += (item,)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.made += (key, value)


class Harmless(pickle.Unpickler):
    """Finds a class of that name for every global."""

    def find_class(self, module: str, name: str) -> Any:
        return type(f"{module}:{name}", (Called,), {})

    def persistent_load(self, pid: Any) -> Any:
        return ["persistent", pid]


def seen(data: bytes, **options: Any) -> bytes | None:
    """What loading gives, as a pickle of it, which shows all sharing; None if it fails."""
    try:
        root = Harmless(io.BytesIO(data), **options).load()
        return pickle.dumps(_plain(root, {}))
    except Exception:
        return None


def _plain(value: Any, known: dict[int, Any]) -> Any:
    """The graph with a list for each thing that was made, in which sharing is kept."""
    if id(value) in known:
        return known[id(value)][1]
    if isinstance(value, Called):
        found: Any = [type(value).__name__]
        known[id(value)] = (value, found)
        found += [_plain(value.made, known), _plain(vars(value).get("state"), known)]
    elif isinstance(value, type):
        found = ["class", value.__name__]
        known[id(value)] = (value, found)
    elif type(value) is list:
        found = []
        known[id(value)] = (value, found)
        found += [_plain(item, known) for item in value]
    elif type(value) is dict:
        found = ["dict"]
        known[id(value)] = (value, found)
        found += [_plain(item, known) for pair in value.items() for item in pair]
    elif type(value) in (tuple, set, frozenset):
        found = [type(value).__name__]
        known[id(value)] = (value, found)
        items = sorted(value, key=repr) if type(value) is not tuple else value
        found += [_plain(item, known) for item in items]
    else:
        return value
    return found


def _seeds() -> list[bytes]:
    node = Node(1)
    node.children = [node, {"a": (1, 2.5, None, True)}, 2**70, -3, 2j]  # type: ignore[attr-defined]
    graph = [node, {1, "x"}, frozenset((2,)), b"x" * 300, bytearray(b"a"), "é\n" * 200, node]
    return [pickle.dumps(graph, protocol) for protocol in PROTOCOLS] + [*OLD.values()]


SEEDS = _seeds()
GONE = {"PUT", "BINPUT", "LONG_BINPUT", "FRAME", "GET", "INST", "EXT1", "EXT2", "EXT4", "DUP"}
OPCODES = sorted(ord(opcode.code) for opcode in pickletools.opcodes)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A pickle with some of its bytes changed, left out, doubled, or replaced by opcodes."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    seeds = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 6))):
        at = seeds.randrange(len(data) + 1)
        way = seeds.randrange(5)
        if way == 0:
            data[at : at + 1] = bytes([seeds.randrange(256)])
        elif way == 1:
            del data[at : at + seeds.choice((1, 2, 9))]
        elif way == 2:
            data[at:at] = data[at : at + seeds.randrange(20)]
        elif way == 3:
            data[at:at] = bytes([seeds.choice(OPCODES)])
        else:
            other = seeds.choice(SEEDS)
            start = seeds.randrange(len(other))
            data[at:at] = other[start : start + seeds.randrange(30)]
    return bytes(data)


@settings(max_examples=3000, deadline=None)
@given(data=mutated())
def test_whatever_the_bytes_are_it_is_refused_or_loads_as_pickle_loads_it(data: bytes) -> None:
    with suppress(FormatError):
        legible(data)
    try:
        stream, size = translated_prefix(data, encoding="latin1", fix_imports=False)
    except (FormatError, UnsafeError):
        return
    assert 0 < size <= len(data)
    assert data[size - 1 : size] == pickle.STOP
    assert translated_prefix(data[:size], encoding="latin1", fix_imports=False) == (stream, size)
    with suppress(UnicodeDecodeError):  # texts are copied, and not looked into
        assert {op.name for op, _, _ in pickletools.genops(stream)}.isdisjoint(GONE)
    # Names are compared as they are written: a `find_class` gets them before they are mapped.
    assert seen(stream) == seen(data[:size], encoding="latin1")
