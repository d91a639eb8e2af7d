"""`inspect`, `diff` and `raw`: what is in a snapshot or a pickle, and nothing of it run."""

from __future__ import annotations

import copyreg
import datetime
import io
import pickle
import pickletools
import subprocess
import sys
from collections import OrderedDict, defaultdict
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from attacks.catalogue import ATTACKS
from attacks.led_past import led_past

import checkpoint
from checkpoint import Checkpointer, CheckpointError, MemoryStore, NotFoundError, UnsafeError
from checkpoint._outline import outlined, path_at
from checkpoint._pickling import pickle_into
from checkpoint._raw import raw_of


@attrs.define
class Unit:
    name: str
    hp: int = 10


class Slotted:
    __slots__ = ("a", "b")


class Point(NamedTuple):
    x: int
    y: int


class Color(Enum):
    RED = 1


class Names(list[str]):
    pass


def stream_of(obj: Any) -> bytes:
    out = bytearray()
    pickle_into(obj, out.extend)
    return bytes(out)


def saved(*states: Any) -> Checkpointer:
    saves = Checkpointer(MemoryStore())
    for state in states:
        saves.save(state)
    return saves


# --- inspect ----------------------------------------------------------------


def test_an_outline_has_types_keys_values_and_sizes() -> None:
    outline = saved({"turn": 3, "units": [Unit("bo"), Unit("ab", 2)], "at": Point(1, 2)}).inspect()
    assert outline.type == "dict"
    assert [child.key for child in outline] == ["turn", "units", "at"]
    assert outline["turn"].value == 3
    assert outline["units"][1].type == f"{__name__}:Unit"
    assert outline["units"][1]["hp"].value == 2
    assert outline.at(("units", 0, "name")).value == "bo"
    assert outline["units"][1]["hp"].path == "state['units'][1].hp"
    assert 0 < outline["units"][1].size < outline["units"].size < outline.size


def test_arrays_have_shape_dtype_and_the_size_of_their_buffers() -> None:
    state = {
        "large": np.zeros((300, 1000), np.float32),
        "small": np.arange(6, dtype=np.int16).reshape(2, 3),
        "words": np.array(["a", "bc"]),
        "ordered": np.asfortranarray(np.zeros((400, 500))),
        "objects": np.array([1, "x"], dtype=object),
    }
    outline = saved(state).inspect()
    for key, array in state.items():
        assert outline[key].shape == array.shape, key
        assert outline[key].dtype == str(array.dtype) or key in ("words", "objects"), key
        if key != "objects":
            assert outline[key].size >= array.nbytes, key
    assert outline.size > sum(array.nbytes for array in state.values() if array.dtype != object)


def test_inspecting_reads_no_buffer() -> None:
    class Counting(MemoryStore):
        read = 0

        def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
            found = super().get(key, start, stop)
            Counting.read += len(found)
            return found

    saves = Checkpointer(Counting())
    saves.save({"weights": np.random.default_rng(0).random(1_000_000)})
    Counting.read = 0
    assert saves.inspect()["weights"].shape == (1_000_000,)
    assert Counting.read < 100_000


def test_a_value_met_again_is_a_reference_and_a_cycle_ends() -> None:
    shared, ring = [1, 2], [0]
    ring.append(ring)  # type: ignore[arg-type]
    outline = saved({"a": shared, "b": shared, "ring": ring}).inspect()
    assert outline["b"].reference == "state['a']"
    assert outline["ring"][1].reference == "state['ring']"
    assert "→ state['a']" in str(outline)


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_of_any_protocol_is_looked_at(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "old.pickle"
    path.write_bytes(pickle.dumps({"units": [Unit("bo")], "n": 2**70, "f": 1.5}, protocol))
    outline = checkpoint.inspect(path)
    assert (outline["n"].value, outline["f"].value) == (2**70, 1.5)
    assert outline["units"][0].type == f"{__name__}:Unit"


def test_missing_items_are_said_with_what_is_there() -> None:
    outline = saved({"a": [1, 2]}).inspect()
    with pytest.raises(NotFoundError, match="is not there"):
        outline["b"]
    with pytest.raises(NotFoundError):
        outline["a"][2]


def test_a_version_or_a_tag_may_be_asked_for() -> None:
    saves = saved([1], [1, 2])
    saves.tag(1, "first")
    assert len(saves.inspect()) == 2
    assert len(saves.inspect(version=1)) == len(saves.inspect(tag="first")) == 1
    assert saves.raw(version=1) == saves.raw(tag="first") == [1]
    with pytest.raises(NotFoundError):
        saves.inspect(version=9)


def test_what_is_printed_is_bounded_and_says_what_was_left_out() -> None:
    outline = saved({n: list(range(1000)) for n in range(1000)}).inspect()
    lines = str(outline).splitlines()
    assert len(lines) < 200
    assert any("more" in line for line in lines)
    assert len(outline._repr_html_()) < 200_000
    assert len(repr(outline)) < 200


def test_no_name_gets_into_html_or_the_terminal_as_it_is() -> None:
    evil = "<script>alert(1)</script>\x1b[31m"
    stream = b"\x80\x04" + pickle.dumps({evil: evil}, 4)[2:-1]
    outline = outlined(stream + b".")
    for text in (outline._repr_html_(), saved({evil: 1}, {evil: 2}).diff(1, 2)._repr_html_()):
        assert "<script>" not in text and "\x1b" not in text
    assert "\x1b" not in str(outline)
    named = pickle.dumps(Unit("x"), 0).replace(b"Unit", b"U<b>nit")
    assert "<b>" not in outlined(named)._repr_html_()


def test_a_path_leads_to_the_value_at_a_byte() -> None:
    stream = stream_of({"mobs": [0, Unit("needle", 7)]})
    assert path_at(stream, stream.index(b"needle")) == "state['mobs'][1].name"
    assert path_at(stream, 3) == "state"


# --- diff -------------------------------------------------------------------


def told(difference: Any) -> list[tuple[str, str]]:
    return [(change.kind, change.path) for change in difference]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("changed", "state['a']")]),
        ({"a": 1}, {"a": True}, [("changed", "state['a']")]),
        ({"a": 1, "b": 2}, {"b": 2, "c": 3}, [("removed", "state['a']"), ("added", "state['c']")]),
        ([Unit("a"), Unit("b")], [Unit("a"), Unit("b", 3)], [("changed", "state[1].hp")]),
        (list(range(50)), [-1, *range(50)], [("added", "state[0]")]),
        (list(range(50)), [*range(20), *range(21, 50)], [("removed", "state[20]")]),
        ({"w": np.zeros(10)}, {"w": np.ones(10)}, [("changed", "state['w']")]),
        ({"w": np.zeros(10)}, {"w": np.zeros(10, "f4")}, [("changed", "state['w']")]),
        ({"w": np.zeros(90_000)}, {"w": np.zeros(90_000)}, []),
        (Unit("a"), Point(1, 2), [("changed", "state")]),
        (1, 2, [("changed", "state")]),
    ],
)
def test_a_difference_has_each_path_once(
    old: Any, new: Any, expected: list[tuple[str, str]]
) -> None:
    saves = saved(old, new)
    found = saves.diff(1, 2)
    assert sorted(told(found)) == sorted(expected)
    back = {"added": "removed", "removed": "added", "changed": "changed"}
    assert sorted(told(saves.diff(2, 1))) == sorted((back[kind], path) for kind, path in expected)


def test_a_change_has_its_old_and_new_values() -> None:
    (change,) = saved({"a": [1, "x"]}, {"a": [1, "y"]}).diff(1, 2)
    assert (change.kind, change.path) == ("changed", "state['a'][1]")
    assert (change.old.value, change.new.value) == ("x", "y")
    assert "'x'" in str(change) and "'y'" in str(change)


def test_a_large_array_is_compared_without_being_read() -> None:
    first, second = np.zeros(1_000_000), np.zeros(1_000_000)
    second[777_777] = 1
    saves = saved({"w": first, "n": 1}, {"w": second, "n": 1}, {"w": second.copy(), "n": 1})
    assert told(saves.diff(1, 2)) == [("changed", "state['w']")]
    assert told(saves.diff(2, 3)) == []


def test_one_object_more_at_the_front_is_one_addition() -> None:
    units = [Unit(f"unit {n}") for n in range(500)]
    ring: dict[str, Any] = {"units": units, "boss": units[7]}
    ring["self"] = ring
    saves = Checkpointer(MemoryStore())
    saves.save(ring)
    units.insert(0, Unit("new"))
    saves.save(ring)
    assert told(saves.diff(1, 2)) == [("added", "state['units'][0]")]


def test_a_reference_that_leads_elsewhere_is_a_change() -> None:
    a, b = Unit("a"), Unit("b")
    saves = saved({"all": [a, b], "boss": a}, {"all": [a, b], "boss": b})
    assert told(saves.diff(1, 2)) == [("changed", "state['boss']")]


# --- raw --------------------------------------------------------------------


def test_records_are_plain() -> None:
    slotted = Slotted()
    slotted.a = 1  # type: ignore[attr-defined]
    state = {
        "unit": Unit("bo"),
        "slots": slotted,
        "space": SimpleNamespace(x=1),
        "set": {1, 2},
        "frozen": frozenset("a"),
        "tuple": (1, (2,)),
        "bytes": b"x",
        "color": Color.RED,
        "point": Point(1, 2),
        "names": Names(["a"]),
        "function": copyreg.pickle,
    }
    raw = saved(state).raw()
    assert raw["unit"] == {"__class__": f"{__name__}:Unit", "name": "bo", "hp": 10}
    assert raw["slots"]["a"] == raw["space"]["x"] == 1
    assert raw.pop("function") == {"__global__": "copyreg:pickle"}
    for key in ("set", "frozen", "tuple", "bytes"):
        assert raw[key] == state[key]
    assert all("__class__" in raw[key] for key in ("color", "point", "names"))
    seen: set[type] = set()

    def types(value: Any) -> None:
        seen.add(type(value))
        for inner in (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, list | tuple | set | frozenset)
            else ()
        ):
            types(inner)

    types(raw)
    assert all(
        issubclass(kind, dict | list | tuple | set | frozenset | str | int | bytes) for kind in seen
    )
    assert {kind.__module__.partition(".")[0] for kind in seen} == {"builtins", "checkpoint"}


def test_records_share_what_was_shared() -> None:
    shared = [1]
    ring: list[Any] = [shared, shared]
    ring.append(ring)
    raw = saved(ring).raw()
    assert raw[0] is raw[1] and raw[2] is raw


def graph() -> Any:
    unit = Unit("é" * 200, 2**80)
    return [
        unit, unit, {"k": (1, -2, 3.5, None, True, b"bytes"), "t": (1, 2, False)},
        Point(1, 2), Color.RED, {1}, "x",
        OrderedDict(a=1), defaultdict(list, {"a": [1]}), datetime.date(2020, 1, 2), Names(["n"]),
        complex(1, 2), len, 300, 70_000, "", b"", (), 2**40, [0] * 1001, list(range(5)),
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_records_of_each_protocol_are_equal_where_the_spelling_is(protocol: int) -> None:
    plain = [Unit("bo", 2**80), {"k": (1, -2, 3.5, None, True)}, [0] * 1001, "é\n\\" * 90, ()]
    expected = raw_of(pickle.dumps(plain, 5))
    assert raw_of(pickle.dumps(plain, protocol)) == expected
    assert raw_of(pickletools.optimize(pickle.dumps(plain, protocol))) == expected


# Opcodes that no pickler of today writes, by hand; and what they make.
ODD: list[tuple[bytes, Any]] = [
    (b"I01\n.", True),
    (b"I12\n.", 12),
    (b"L12L\n.", 12),
    (b"F1.5\n.", 1.5),
    (b"S'a\\x01'\n.", "a\x01"),
    (b"T\x02\x00\x00\x00ab.", "ab"),
    (b"U\x02ab.", "ab"),
    (b"V\\u0041\n.", "A"),
    (b"(I1\nI2\nl.", [1, 2]),
    (b"(I1\nI2\nt.", (1, 2)),
    (b"(S'a'\nI2\nd.", {"a": 2}),
    (b"K\x012\x86.", (1, 1)),
    (b"]2\x86.", ([], [])),
    (b"K\x01(K\x02K\x031.", 1),
    (b"K\x01K\x020.", 1),
    (b"]q\x05h\x05\x86.", ([], [])),
    (b"]r\x05\x00\x00\x00j\x05\x00\x00\x00\x86.", ([], [])),
    (b"]p5\ng5\n\x86.", ([], [])),
    (b"\x8a\x02\x00\x01.", 256),
    (b"\x8b\x02\x00\x00\x00\x00\x01.", 256),
    (b"]K\x01a.", [1]),
    (b"}K\x01K\x02s.", {1: 2}),
    (b"\x8f(K\x01K\x02\x90.", {1, 2}),
    (b"(K\x01\x91.", frozenset({1})),
    (b"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00K\x01.", 1),
    (b"\x8e\x02\x00\x00\x00\x00\x00\x00\x00ab.", b"ab"),
    (b"\x8d\x02\x00\x00\x00\x00\x00\x00\x00ab.", "ab"),
    (b"\x96\x02\x00\x00\x00\x00\x00\x00\x00ab.", bytearray(b"ab")),
    (b"B\x02\x00\x00\x00ab.", b"ab"),
    (b"X\x02\x00\x00\x00ab.", "ab"),
]
# The same, where only a record can stand for what is made.
STRANGE = [
    b"Pan id\n.",
    b"S'an id'\nQ.",
    b"\x82\x01.",
    b"\x83\x01\x01.",
    b"\x84\x01\x01\x01\x01.",
    b"(igame\nOrc\n.",
    b"(cgame\nOrc\no.",
    b"(cgame\nOrc\nK\x01o}S'hp'\nK\x01sb.",
    b"cgame\nOrc\n)\x81.",
    b"cgame\nOrc\n)}\x92.",
    b"cgame\nOrc\n(tR.",
    b"\x8c\x04game\x8c\x03Orc\x93.",
    b"cgame\nOrc\nK\x01\x85R.",
    b"\x80\x05\x97.",
    b"\x80\x05\x97\x98.",
]


@pytest.mark.parametrize(("data", "expected"), ODD)
def test_every_way_to_write_a_value_is_read(data: bytes, expected: Any) -> None:
    assert pickle.loads(data) == expected, "the test is right"
    raw = raw_of(data)
    assert raw == expected and type(raw) is type(expected)
    assert str(outlined(data))


@pytest.mark.parametrize("data", STRANGE)
def test_what_only_a_record_can_stand_for_is_read(data: bytes) -> None:
    assert str(outlined(data))
    assert raw_of(data, [b"buffer"]) is not None


def test_every_opcode_is_among_them() -> None:
    streams = [data for data, _ in ODD] + STRANGE
    streams += [pickle.dumps(graph(), protocol) for protocol in range(6)]
    streams.append(pickle.dumps([["x" * 300], 1 << 2100, "y" * 70_000], 4))
    used = {opcode.name for stream in streams for opcode, _, _ in pickletools.genops(stream)}
    assert {opcode.name for opcode in pickletools.opcodes} - used == set()


# --- nothing runs, nothing grows --------------------------------------------


def test_nothing_is_imported_and_nothing_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    for data in (
        b"ctrap\nThing\n.",
        b"\x8c\x04trap\x8c\x05Thing\x93)R.",
        f"cos\nsystem\n(S'touch {tmp_path / 'sprung'}'\ntR.".encode(),
        b"(itrap\nThing\n.",
    ):
        assert str(outlined(data)) and raw_of(data)
        assert checkpoint.raw(io.BytesIO(data)) and checkpoint.inspect(io.BytesIO(data))
    assert not (tmp_path / "sprung").exists()
    assert "trap" not in sys.modules


HOSTILE = {
    "nested lists": b"(" * 100_000 + b"l" * 100_000 + b".",
    "nested tuples": b"K\x01" + b"\x85" * 300_000 + b".",
    "laughs": b"]" + b"\x94" + b"".join(
        b"(" + b"h%c" % n * 10 + b"t\x94" for n in range(100)
    ) + b".",
    "long text integer": b"L" + b"9" * 2_000_000 + b"L\n.",
    "absurd length": b"\x8b\xff\xff\xff\x7f" + b"x" * 100,
    "absurd frame": b"\x80\x04\x95" + b"\xff" * 8 + b"K\x01.",
    "absurd bytes": b"\x8e" + b"\xff" * 7 + b"\x0f" + b"x",
    "sparse memo": b"]r\xff\xff\xff\x7f.",
    "negative memo": b"]p-1\n.",
    "recall of nothing": b"h\x05.",
    "only marks": b"(" * 500_000,
    "dups": b"]" + b"2" * 300_000 + b"." ,
    "wide call": b"cgame\nOrc\n(" + b"K\x01" * 300_000 + b"tR.",
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_stream_costs_little_whatever_becomes_of_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[kind])
    code = (
        "import resource, sys, checkpoint; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "for look in (checkpoint.inspect, checkpoint.raw):\n"
        "    try:\n        found = look(sys.argv[1])\n"
        "        if look is checkpoint.inspect: str(found), found._repr_html_()\n"
        "    except checkpoint.CheckpointError as error: print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("data", [b"", b"K\x01", b"\x80\x09K\x01.", b"not a pickle", b"\xff" * 9])
def test_what_is_no_pickle_is_refused(data: bytes) -> None:
    for look in (outlined, raw_of):
        with pytest.raises(CheckpointError):
            look(data)


@pytest.mark.parametrize("protocol", [0, 5])
@pytest.mark.parametrize("kind", [dict.fromkeys, set, frozenset])
def test_keys_of_one_hash_are_no_records(kind: Any, protocol: int) -> None:
    one_hash = kind(range(0, 100 * sys.hash_info.modulus, sys.hash_info.modulus))
    with pytest.raises(UnsafeError, match="keys of which too many have one hash, at byte"):
        checkpoint.raw(io.BytesIO(pickle.dumps(one_hash, protocol)))


def test_keys_that_are_led_past_each_other_are_no_records() -> None:
    with pytest.raises(UnsafeError, match="keys that were chosen to collide, at byte"):
        checkpoint.raw(io.BytesIO(pickle.dumps(dict.fromkeys(led_past(1000)))))


@pytest.mark.parametrize("kind", [dict.fromkeys, set, frozenset])
def test_many_keys_that_nobody_chose_are_records(kind: Any) -> None:
    for keys in (range(20_000), [n * 1000.5 for n in range(5000)], [(n, "x") for n in range(500)]):
        assert checkpoint.raw(io.BytesIO(pickle.dumps(kind(keys)))) == kind(keys)


def test_a_dtype_of_many_digits_is_told_as_it_is() -> None:
    """It would be spelled anew for each array."""
    (made,) = [attack.make() for attack in ATTACKS if "digits that are the dtype" in attack.name]
    raw = checkpoint.raw(io.BytesIO(made))
    dtypes = [one["dtype"] for one in raw if isinstance(one, dict) and "dtype" in one]
    assert len(dtypes) == 20_000
    assert all(dtype is dtypes[0] for dtype in dtypes)


class AsState:
    """Its state is what it was made with."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return copyreg.__newobj__, (AsState,), self.state  # type: ignore[attr-defined]


_LONG = [None] * 300_000


@pytest.mark.parametrize(
    "state",
    [_LONG, (1, _LONG, 2), (1, _LONG), (_LONG,), {str(n): None for n in range(100_000)}],
    ids=["list", "in three", "in two", "in one", "dict"],
)
def test_a_long_state_is_a_record_however_often_it_is_shared(state: Any) -> None:
    count = 1 if isinstance(state, dict) else 100
    raw = checkpoint.raw(io.BytesIO(pickle.dumps([AsState(state) for _ in range(count)])))
    assert len(raw) == count
    assert all(one.get("__state__", one) is not None for one in raw)
    first = raw[0]
    assert first == {"__class__": f"{__name__}:AsState"} | (
        state if isinstance(state, dict) else {"__state__": state}
    )


@pytest.mark.parametrize("made", [set, frozenset, bytearray])
def test_all_that_a_stream_holds_may_be_copied_once(made: Any) -> None:
    held = bytes(3_000_000) if made is bytearray else [*range(300_000)]
    data = pickle.dumps(Once(made, held), 2)
    assert checkpoint.raw(io.BytesIO(data)) == made(held)


class Once:
    def __init__(self, *made: Any) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        function, held = self.made
        return function, (held,)


@pytest.mark.parametrize(
    "name",
    [
        "bytes of the stream that each of 10,000 bytearrays copies",
        "a dict of the stream that each of 2,000 instances takes as its state",
        "items that each of 2,000 frozensets copies",
        "a dict of the stream that each of 2,000 dicts of a class of the program copies",
        "a text that is the name of each of 20,000 globals",
    ],
)
def test_what_is_copied_again_and_again_is_no_record(name: str) -> None:
    (made,) = [attack.make() for attack in ATTACKS if attack.name == name]
    with pytest.raises(UnsafeError, match="copies the same again and again, at byte"):
        checkpoint.raw(io.BytesIO(made))
