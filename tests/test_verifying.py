"""The abstract machine: what each opcode may do, and what each refusal says."""

from __future__ import annotations

import enum
import functools
import pickle
import re
from collections import UserString, deque
from collections.abc import Sequence
from typing import Any

import pytest
from attacks.led_past import led_past
from attacks.streams import (
    EMPTY_DICT,
    EMPTY_LIST,
    MARK,
    MEMOIZE,
    Op,
    added,
    appended,
    built,
    call,
    got,
    items,
    joined,
    kept,
    named,
    new,
    new_ex,
    pairs,
    push,
    stream,
    then,
)

import checkpoint
from checkpoint import FormatError, UnsafeError
from checkpoint._bounds import MAX_DEPTH
from checkpoint._trust import Policy
from checkpoint._verifying import Verified, verify

ME = __name__


class Plain:
    """A class of the program."""


class Listed(list[Any]):
    """One with items."""


class Failed(Exception):
    def __init__(self, code: int) -> None:
        raise AssertionError("it was called")


class Text(UserString):
    """One that is hashed by its value."""


class Unhashable:
    __hash__ = None  # type: ignore[assignment]


class Kept:
    def __setstate__(self, state: Any) -> None:
        self.__dict__ = state  # It is the very dict of the stream.


class Shadowed(Exception):
    @functools.lru_cache  # noqa: B019
    def cached(self) -> int:
        return 1

    @property
    def code(self) -> int:
        return 1

    @code.setter
    def code(self, value: int) -> None:
        raise AssertionError("it was called")


class Color(enum.Enum):
    RED = 1


def function() -> None:
    raise AssertionError("it was called")


def mine(name: str) -> str:
    return f"{ME}:{name}"


def verified(data: bytes, buffers: Sequence[int] = (), **more: Any) -> Verified:
    return verify(data, buffers, Policy([ME]).grant, more.pop("limit", 64 << 20), **more)


# --- what is let through ------------------------------------------------------

GOOD: dict[str, tuple[Any, Any]] = {
    "None": (None, None),
    "numbers": ([0, 255, -1, 1 << 40, 1.5, True], [0, 255, -1, 1 << 40, 1.5, True]),
    "texts": (["a", "é", "x" * 300], ["a", "é", "x" * 300]),
    "bytes": ([b"a", b"b" * 2000], [b"a", b"b" * 2000]),
    "a bytearray": (bytearray(b"abc"), bytearray(b"abc")),
    "containers": ({"a": [1, (2, 3, 4, 5), {6}]}, {"a": [1, (2, 3, 4, 5), {6}]}),
    "a frozenset": (frozenset({1, 2}), frozenset({1, 2})),
    "what is dropped": (then([1], {"a": 2}, 3), 3),
    "what is memoized twice": (then(kept([1]), (got(0), got(0))), ([1], [1])),
    "a global": (named(mine("function")), function),
    "a class": (named(mine("Plain")), Plain),
    "a call of a known type": (call("collections:deque", (), 5), deque(maxlen=5)),
    "an append": (Op(EMPTY_LIST + push(1) + pickle.APPEND), [1]),
    "an item": (Op(EMPTY_DICT + push(1) + push(2) + pickle.SETITEM), {1: 2}),
    "a mark that is dropped": (Op(MARK + joined(1, 2) + pickle.POP_MARK + push(3)), 3),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_a_pickler_of_protocol_5_writes_is_let_through(name: str) -> None:
    value, expected = GOOD[name]
    data = stream(value)
    verified(data)
    assert checkpoint.loads(data) == expected


def test_instances_of_the_program_get_items_and_one_state() -> None:
    data = stream(built(appended(new(mine("Listed")), 1, 2), {"note": "x"}))
    assert verified(data).objects == 1
    loaded = checkpoint.loads(data)
    assert (type(loaded), [*loaded], loaded.note) == (Listed, [1, 2], "x")


def test_a_cycle_through_the_memo_is_let_through() -> None:
    loop: list[Any] = []
    loop.append(loop)
    data = checkpoint.dumps(loop, key=None)
    found = checkpoint.loads(data)
    assert found[0] is found


def test_the_bytes_that_were_verified_are_those_that_are_loaded() -> None:
    data = stream([new(mine("Plain")), 1])
    assert verified(data).stream(data) is data


def test_an_exception_with_an_init_of_its_own_differs_in_one_byte_and_is_not_called() -> None:
    data = stream(call(mine("Failed"), 7))
    found = verified(data)
    changed = [at for at, (a, b) in enumerate(zip(data, found.stream(data), strict=True)) if a != b]
    assert (changed, data[changed[0]]) == ([len(data) - 2], pickle.REDUCE[0])
    assert found.stream(data)[changed[0]] == pickle.NEWOBJ[0]
    assert checkpoint.loads(data).args == (7,)


# --- what is refused ----------------------------------------------------------


def written(what: Any) -> Op:
    """An instance of *what* with an attribute, opcode by opcode as the C pickler writes one."""
    made = pickle.EMPTY_TUPLE + pickle.NEWOBJ + MEMOIZE + pickle.EMPTY_DICT + MEMOIZE + pickle.MARK
    return Op(push(what) + made + push("a") + push(1) + pickle.SETITEMS + pickle.BUILD)


PLAIN, LISTED, FUNCTION = mine("Plain"), mine("Listed"), mine("function")
BAD: dict[str, tuple[Any, str, str]] = {
    "a call of a function": (call(FUNCTION), "is called", "REDUCE"),
    "a call of a class": (call(PLAIN), "is called", "REDUCE"),
    "a call of an instance": (Op(new(PLAIN) + push(()) + pickle.REDUCE), "is called", "REDUCE"),
    "a call of a text": (Op(push("x") + push(()) + pickle.REDUCE), "is called", "REDUCE"),
    "a call with a list": (Op(named("builtins:set") + push([1]) + b"R"), "called with", "REDUCE"),
    "an instance of a function": (new(FUNCTION), "an instance is made of", "NEWOBJ"),
    "an instance of an instance": (
        Op(new(PLAIN) + push(()) + pickle.NEWOBJ),
        "is made of an instance",
        "NEWOBJ",
    ),
    "an instance with arguments": (new(PLAIN, 1), "0 arguments", "NEWOBJ"),
    "named arguments": (new_ex(PLAIN, x=1), "named arguments", "NEWOBJ_EX"),
    "a second state": (built(built(new(PLAIN), {"a": 1}), {"a": 2}), "again", "BUILD"),
    "a state of a class": (built(PLAIN, {"a": 1}), "the state of", "BUILD"),
    "a state of a function": (built(FUNCTION, {"a": 1}), "the state of", "BUILD"),
    "a state of a dict": (built(push({}), {"a": 1}), "the state of a dict", "BUILD"),
    "a state of what was recalled": (
        then(kept(new(PLAIN)), built(got(0), {"a": 1})),
        "came out of the memo",
        "BUILD",
    ),
    "items of what was recalled": (
        then(kept([1]), appended(got(0), 2)),
        "came out of the memo",
        "APPENDS",
    ),
    "an item of what was recalled": (
        then(kept({}), items(got(0), {1: 2})),
        "came out of the memo",
        "SETITEMS",
    ),
    "an element of what was recalled": (
        then(kept({1}), added(got(0), 2)),
        "came out of the memo",
        "ADDITEMS",
    ),
    "items after a state": (appended(built(new(LISTED), {"a": 1}), 2), "after it got", "APPENDS"),
    "items of a class without": (appended(new(PLAIN), 1), "APPENDS fills an", "APPENDS"),
    "entries of a list": (items(push([]), {1: 2}), "SETITEMS fills a list", "SETITEMS"),
    "items of a class": (appended(named(LISTED), 1), "APPENDS fills", "APPENDS"),
    "a dunder attribute": (built(new(PLAIN), {"__class__": 1}), "'__class__'", "BUILD"),
    "a dunder slot": (built(new(PLAIN), (None, {"__dict__": 1})), "'__dict__'", "BUILD"),
    "an attribute that is no text": (built(new(PLAIN), {1: 2}), "an attribute 1", "BUILD"),
    "a state of three": (built(new(PLAIN), ({}, {}, {})), "no state", "BUILD"),
    "a list as a key": (pairs(push({}), ([1], 2)), "a list is a key", "SETITEMS"),
    "a dict as an element": (added(push(set()), {}), "a dict is a key", "ADDITEMS"),
    "an instance without a hash": (
        added(push(set()), new(mine("Unhashable"))),
        "is a key or an element",
        "ADDITEMS",
    ),
    "a name that is no text": (Op(push("a") + push(1) + pickle.STACK_GLOBAL), "no text", "STACK_"),
    "an instance of a text, as if pickled": (written("text"), "is made of 'text'", "NEWOBJ"),
    "an instance of an instance, as if pickled": (
        written(new(PLAIN)), "an instance is made of an instance", "NEWOBJ"
    ),
    "an instance of a function, as if pickled": (
        [written(named(PLAIN)), written(named(FUNCTION))], "an instance is made of", "NEWOBJ"
    ),
    "an instance without its arguments, as if pickled": (
        [written(named(PLAIN)), written(named("decimal:Decimal"))], "an instance is made", "NEWOBJ"
    ),
    "a number of 64 KiB": (1 << (1 << 19), "a number of", "LONG4"),
    "a bytearray made read-only": (
        Op(push(bytearray(b"x")) + pickle.READONLY_BUFFER),
        "is made read-only",
        "READONLY_BUFFER",
    ),
    "a persistent id": (Op(push("x") + pickle.BINPERSID), "persistent id", "BINPERSID"),
    "a global of nobody's": (named("subprocess:Popen"), "trust=\\['subprocess:Popen'\\]", "STACK_"),
    "a global of ours": (named("checkpoint:load"), "never given to a stream", "STACK_GLOBAL"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_no_opcode_may_do_is_refused_with_its_place(name: str) -> None:
    value, message, opcode = BAD[name]
    data = stream(value)
    with pytest.raises(UnsafeError, match=message) as caught:
        verified(data)
    error = caught.value
    assert error.offset is not None
    assert error.opcode is not None
    assert error.opcode.startswith(opcode)
    assert getattr(pickle, error.opcode)[0] == data[error.offset]
    assert f"at byte {error.offset:,} ({error.opcode})" in str(error)


@pytest.mark.parametrize("name", ["a call of a function", "a call of a class", "a dunder attribute",
                                  "a global of nobody's", "an instance of a function"])  # fmt: skip
def test_a_refusal_that_is_about_a_global_names_it(name: str) -> None:
    with pytest.raises(UnsafeError) as caught:
        verified(stream(BAD[name][0]))
    assert caught.value.global_name in {FUNCTION, PLAIN, "subprocess:Popen"}


OPCODES = {
    "PUT": b"p0\n", "BINPUT": b"q\0", "LONG_BINPUT": b"r\0\0\0\0", "GET": b"g0\n",
    "EXT1": b"\x82\x01", "EXT2": b"\x83\x01\0", "EXT4": b"\x84\x01\0\0\0", "INST": b"ios\nsystem\n",
    "PERSID": b"Px\n", "GLOBAL": b"cos\nsystem\n", "STRING": b"S'x'\n", "BINSTRING": b"T\0\0\0\0",
    "SHORT_BINSTRING": b"U\0", "UNICODE": b"Vx\n", "LONG": b"L1L\n", "INT": b"I1\n",
    "FLOAT": b"F1\n", "PROTO": b"\x80\x05", "DICT": b"(d", "LIST": b"(l", "DUP": b"2",
    "FRAME": b"\x95" + bytes(8),
}  # fmt: skip


@pytest.mark.parametrize("name", OPCODES)
def test_an_opcode_that_protocol_5_does_not_write_is_refused(name: str) -> None:
    with pytest.raises((UnsafeError, FormatError), match=f"{name}|no opcode|not written"):
        verified(stream(1)[:-1] + OPCODES[name] + pickle.STOP)


BROKEN = {
    "nothing": b"",
    "no protocol": b"N.",
    "protocol 4": b"\x80\x04N.",
    "no STOP": b"\x80\x05N",
    "no value": b"\x80\x05.",
    "two values": b"\x80\x05NN.",
    "an open mark": b"\x80\x05(N.",
    "a mark that was never set": b"\x80\x05]e.",
    "an item of nothing": b"\x80\x05Na.",
    "a key without a value": b"\x80\x05}(Nu.",
    "a memo that is empty": b"\x80\x05h\0.",
    "a memo of nothing": b"\x80\x05\x94N.",
    "a tuple of what is below a mark": b"\x80\x05N(\x85.",
    "a value that is dropped with its mark": b"\x80\x05N(N000.",
    "a text that is too long": b"\x80\x05\x8c\xffabc.",
    "a text of 4 GiB": b"\x80\x05X\xff\xff\xff\xffabc.",
    "bytes of 2^63": b"\x80\x05\x8e" + b"\xff" * 7 + b"\x7fabc.",
    "a float that is cut": b"\x80\x05G\0\0.",
    "a text that is no UTF-8": b"\x80\x05\x8c\x01\xff.",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_whole_stream_is_a_format_error(name: str) -> None:
    with pytest.raises(FormatError):
        verified(BROKEN[name])


def test_nothing_comes_after_the_end() -> None:
    with pytest.raises(UnsafeError, match=r"at byte 3 \(STOP\)"):
        verified(b"\x80\x05N.N.")


# --- buffers ------------------------------------------------------------------

BUFFER = Op(pickle.NEXT_BUFFER)


def test_buffers_are_taken_in_order_and_all_of_them() -> None:
    verified(stream([BUFFER, Op(BUFFER + pickle.READONLY_BUFFER)]), [5, 6])
    with pytest.raises(FormatError, match="1 buffers belong to nothing"):
        verified(stream([BUFFER]), [5, 6])
    with pytest.raises(FormatError, match="a buffer is taken at byte"):
        verified(stream([BUFFER, BUFFER]), [5])


def test_persistent_ids_are_for_those_who_declared_them() -> None:
    data = stream(Op(push(("id", 1)) + pickle.BINPERSID))
    assert verified(data, persistent=True).objects == 0


# --- budgets ------------------------------------------------------------------


def test_what_would_take_more_than_the_budget_is_refused_and_the_line_helps() -> None:
    data = stream([{} for _ in range(20_000)])
    with pytest.raises(UnsafeError, match=r"budget=") as caught:
        verified(data, limit=1 << 20)
    said = str(caught.value).partition("budget=")[2].partition(",")[0]
    count, _, shift = said.partition(" << ")
    verified(data, limit=int(count) << int(shift))


def test_a_name_that_is_no_name_is_not_told_at_length() -> None:
    with pytest.raises(UnsafeError, match="a global with a name of 500,005 characters") as refused:
        verified(stream(Op(push("a" * 500_000) + push("Thing") + pickle.STACK_GLOBAL)))
    assert len(str(refused.value)) < 200


def test_what_is_copied_again_and_again_is_counted_each_time() -> None:
    one = Op(kept("9" * 100_000) + pickle.POP)
    calls = b"".join(call("decimal:Decimal", got(0)) + pickle.APPEND for _ in range(500))
    with pytest.raises(UnsafeError, match="budget="):
        verified(stream(Op(one + EMPTY_LIST + calls)))


# --- keys and depth -------------------------------------------------------------


def shared(levels: int) -> Op:
    """A tuple of the same tuple twice, and so on: 2 ** *levels* values in a few bytes."""
    body = push((1,)) + MEMOIZE
    for level in range(levels):
        body += got(level) + pickle.TUPLE2 + MEMOIZE
    return Op(body)


def test_a_key_that_holds_the_same_again_and_again_is_refused() -> None:
    with pytest.raises(UnsafeError, match="again and again"):
        verified(stream(pairs(push({}), (shared(40), 1))))


def test_a_key_that_is_nested_too_deep_is_refused() -> None:
    deep = Op(push(()) + pickle.TUPLE1 * 200)
    with pytest.raises(UnsafeError, match="nested too deep"):
        verified(stream(added(push(set()), deep)))
    verified(stream([deep]))


@pytest.mark.parametrize("kind", ["ints", "floats", "tuples", "in several pieces"])
def test_too_many_keys_with_one_hash_are_refused(kind: str) -> None:
    prime = (1 << 61) - 1
    keys: list[Any] = [prime * number for number in range(1, 70)]
    if kind == "floats":
        keys = [float(1 << 61 * number) for number in range(1, 17)] * 5
        assert len({hash(key) for key in keys}) == 1
    if kind == "tuples":
        keys = [(key, "x") for key in keys]
    filled = added(push(set()), *keys)
    if kind == "in several pieces":
        filled = added(added(push(set()), *keys[:40]), *keys[40:])
    with pytest.raises(UnsafeError, match="keys with one hash"):
        verified(stream(filled))
    verified(stream(added(push(set()), *keys[:10])))


def test_an_instance_is_made_of_a_class_above_the_mark() -> None:
    whole = b")\x81\x94}\x94(\x8c\x01aNub"  # as picklers write it
    first = named(mine("Plain")) + MEMOIZE + whole
    assert verified(stream(Op(first + MARK + got(0) + whole + b"t\x86"))).objects == 2
    without_state = whole[:-1] + pickle.POP
    assert verified(stream(Op(first + got(0) + without_state + b"\x86"))).objects == 2
    with pytest.raises(FormatError, match="what is not there"):
        verified(stream(Op(first + got(0) + MARK + without_state + b"t\x87")))


def test_keys_that_are_led_past_each_other_are_refused() -> None:
    with pytest.raises(UnsafeError, match="keys that were chosen to collide"):
        verified(stream(dict.fromkeys(led_past(1000))))


def test_many_keys_whose_hash_is_unknown_are_looked_at_while_they_are_put() -> None:
    few = [built(new(mine("Text"), ""), {"data": str(n)}) for n in range(10)]
    many = [built(new(mine("Text"), ""), {"data": str(n)}) for n in range(3000)]
    assert not verified(stream(added(push(set()), *few))).careful
    assert verified(stream(added(push(set()), *many))).careful


def nested(levels: int) -> Op:
    body = named("collections:deque") + MEMOIZE + pickle.POP
    one = got(0) + push(()) + pickle.REDUCE
    return Op(body + one * levels + pickle.APPEND * (levels - 1))


def test_types_whose_deallocation_recurses_are_bounded_in_depth() -> None:
    verified(stream(nested(200)))
    with pytest.raises(UnsafeError, match="nested more than 200 deep"):
        verified(stream(nested(202)))


def test_what_is_dropped_counts_for_the_depth_too() -> None:
    with pytest.raises(UnsafeError, match="nested more than 200 deep"):
        verified(stream(then(nested(202), 1)))


def test_lists_may_be_as_deep_as_they_like() -> None:
    data = stream(Op(EMPTY_LIST * 100_000 + pickle.APPEND * 99_999))
    assert verified(data, keep=True).depth == 100_000


def test_a_dict_that_was_a_state_is_filled_no_more() -> None:
    keys = MARK + push("__reduce_ex__") + named(FUNCTION) + pickle.SETITEMS
    for state in (got(0), Op(got(0) + push(None) + pickle.TUPLE2)):
        made = Op(new(mine("Kept")) + MEMOIZE + state + pickle.BUILD + pickle.POP)
        with pytest.raises(UnsafeError, match="is a state already"):
            verified(stream(Op(EMPTY_DICT + MEMOIZE + made + keys + pickle.POP + got(1))))


@pytest.mark.parametrize("name", ["cached", "code", "args", "with_traceback"])
@pytest.mark.parametrize("cls", ["Shadowed"])
def test_no_attribute_shadows_a_method_or_runs_a_setter(cls: str, name: str) -> None:
    value = built(call(mine(cls)), {name: named(FUNCTION)})
    if name == "args":
        verified(stream(value))
        return
    with pytest.raises(UnsafeError, match=name):
        verified(stream(value))


@pytest.mark.parametrize("kind", ["tuple", "list"])
def test_a_member_is_not_looked_up_by_a_value_that_costs_too_much(kind: str) -> None:
    value = shared(40)
    if kind == "list":
        body = push([1]) + MEMOIZE + pickle.POP
        for level in range(40):
            body += EMPTY_LIST + MEMOIZE + MARK + got(level) * 2 + pickle.APPENDS + pickle.POP
        value = Op(body + got(40))
    wanted = Op(value + MEMOIZE + pickle.POP)
    data = stream(Op(wanted + named(mine("Color")) + got(41) + pickle.TUPLE1 + pickle.REDUCE))
    with pytest.raises(UnsafeError, match="parts"):
        verified(data)


@pytest.mark.parametrize("start", [-(10**12), -1, 4])
def test_an_error_of_a_codec_lies_within_its_text(start: int) -> None:
    good = call("builtins:UnicodeDecodeError", "utf-8", b"abc", 1, 2, "why")
    assert str(checkpoint.loads(stream(good)))
    bad = call("builtins:UnicodeDecodeError", "utf-8", b"abc", start, start + 1, "why")
    for value in (bad, built(good, {"start": start})):
        with pytest.raises(UnsafeError):
            verified(stream(value))


def test_a_pattern_is_compiled_without_a_word() -> None:
    with pytest.raises(UnsafeError):
        verified(stream(call("re:_compile", "a+b", int(re.DEBUG | re.UNICODE))))


def test_unions_of_unions_are_bounded_in_all() -> None:
    def union(*members: Op) -> Op:
        return call("_functools:reduce", named("_operator:or_"), members)

    def alias(number: int) -> Op:
        return call("types:GenericAlias", named("builtins:list"), (number,))

    verified(stream(union(*map(alias, range(20)))))
    many = [union(*(alias(100 * row + n) for n in range(90))) for row in range(90)]
    with pytest.raises(UnsafeError):
        verified(stream(union(*many)))


def test_depth_is_counted_through_cycles_too() -> None:
    ring: deque[Any] = deque()
    for _ in range(2):
        chain: Any = ring
        for _ in range(MAX_DEPTH - 50):
            chain = deque([chain])
        ring.append(chain)
    with pytest.raises(UnsafeError, match="nested more than"):
        checkpoint.loads(pickle.dumps(ring, 5))
