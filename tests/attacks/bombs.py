"""Few bytes that take much memory, much time, or the whole stack of the interpreter."""

from __future__ import annotations

import gzip
import lzma
import pickle
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import zstandard
from attacks.attack import FILE, Route
from attacks.led_past import led_past
from attacks.streams import (
    EMPTY_SET,
    MEMOIZE,
    POP,
    Op,
    added,
    built,
    call,
    got,
    items,
    joined,
    kept,
    named,
    new,
    old,
    push,
    stream,
    then,
)

# A repository and a file give their stream to one reader: these take long, and one of them will do.
BOMBS = Route(
    "memo, length, set, hash, collision and depth bombs", doors=("bare", "file", "inspect", "raw")
)
_P = b"\x80\x05"
PRIME = 2**61 - 1

# --- memo and length ---------------------------------------------------------------------

BOMBS.add(
    "a memo of 2**26 entries in seven bytes", b"]r\x00\x00\x00\x04.", harmless=True, works=True
)
BOMBS.add(
    "a memo of 2**28 entries in seven bytes", b"]r\x00\x00\x00\x10.", harmless=True, works=True
)
BOMBS.add(
    "a memo of all the entries there can be", b"]r\xff\xff\xff\xff.", harmless=True, works=True
)
BOMBS.add("a memo of 2**28 entries by a text", b"]p268435456\n.", harmless=True, works=True)
BOMBS.add("a memo of 10**18 entries by a text", b"]p1000000000000000000\n.", harmless=True)
BOMBS.add(
    "a memo that grows by ever higher numbers",
    lambda: b"]" + b"".join(b"r" + struct.pack("<I", 1 << n) for n in range(31)) + b".",
    harmless=True,
    works=True,
)
BOMBS.add(
    "a bytearray of 2**34 bytes that are not there", _P + b"\x96" + struct.pack("<Q", 2**34) + b"."
)
BOMBS.add(
    "bytes of 2**31 that are not there, in every opcode",
    lambda: _P + (b"B" + struct.pack("<I", 2**31)) * 1000 + b".",
)
BOMBS.add(
    "an array of lists that holds itself a million times over",
    lambda: _P + b"]\x94(" + got(0) * 300_000 + b"e.",
    harmless=True,
)
BOMBS.add(
    "a million sets", lambda: _P + b"](" + bytes(EMPTY_SET) * 1_000_000 + b"e.", harmless=True
)
BOMBS.add("a million dicts", lambda: _P + b"](" + b"}" * 1_000_000 + b"e.", harmless=True)
BOMBS.add("a million lists", lambda: _P + b"](" + b"]" * 1_000_000 + b"e.", harmless=True)
BOMBS.add(
    "100,000 instances",
    lambda: (
        _P + named("prey.things:Plain") + MEMOIZE + b"0](" + (got(0) + b")\x81") * 200_000 + b"e."
    ),
    harmless=True,
)
BOMBS.add(
    "100,000 instances with a state",
    lambda: (
        _P
        + named("prey.things:Plain")
        + MEMOIZE
        + b"0]("
        + (got(0) + b")\x81}\x8c\x01aKasb") * 80_000
        + b"e."
    ),
    harmless=True,
)
BOMBS.add(
    "80,000 deques",
    lambda: _P + named("collections:deque") + MEMOIZE + b"0](" + (got(0) + b")R") * 250_000 + b"e.",
    harmless=True,
)
BOMBS.add(
    "50,000 generators of random numbers",
    lambda: _P + named("random:Random") + MEMOIZE + b"0](" + (got(0) + b")\x81") * 200_000 + b"e.",
    harmless=True,
)
BOMBS.add(
    "200,000 exceptions",
    lambda: (
        _P + named("builtins:ValueError") + MEMOIZE + b"0](" + (got(0) + b")R") * 250_000 + b"e."
    ),
    harmless=True,
)
BOMBS.add(
    "250,000 files in memory",
    lambda: _P + named("_io:BytesIO") + MEMOIZE + b"0](" + (got(0) + b")R") * 250_000 + b"e.",
    harmless=True,
)
BOMBS.add(
    "250,000 values that are dropped at once",
    lambda: _P + (b"\x8f0" * 400_000) + b"N.",
    harmless=True,
)
BOMBS.add(
    "one long text that is copied by each of 100,000 slices",
    lambda: stream(then(kept("a" * 500_000), [call("builtins:str", got(0))] * 10_000)),
    harmless=True,
)
BOMBS.add(
    "bytes of the stream that each of 10,000 bytearrays copies",
    lambda: stream(then(kept(b"a" * 500_000), [call("builtins:bytearray", got(0))] * 10_000)),
    works=True,
)
BOMBS.add(
    "a tuple of the stream that each of 2,000 lists copies",
    lambda: stream(
        then(joined((None,) * 300_000, MEMOIZE), [call("builtins:list", got(0))] * 2_000)
    ),
    works=True,
)
BOMBS.add(
    "a list of the stream that each of 2,000 deques copies",
    lambda: stream(
        then(joined([None] * 300_000, MEMOIZE), [call("collections:deque", got(0))] * 2_000)
    ),
    works=True,
)
BOMBS.add(
    "a dict of the stream that each of 2,000 Counters copies",
    lambda: stream(
        then(
            joined({n: n for n in range(40_000)}, MEMOIZE),
            [call("collections:Counter", got(0))] * 2_000,
        )
    ),
    works=True,
)
BOMBS.add(
    "a dict of the stream that each of 2,000 instances takes as its state",
    lambda: stream(
        then(
            joined({str(n): n for n in range(30_000)}, MEMOIZE),
            [built(new("prey.things:Plain"), got(0))] * 2_000,
        )
    ),
    works=True,
)
BOMBS.add(
    "bytes of the stream that each of 2,000 files in memory takes as its state",
    lambda: stream(
        then(kept(b"a" * 500_000), [built(call("_io:BytesIO"), (got(0), 0, None))] * 2_000)
    ),
    harmless=True,
)
BOMBS.add(
    "a text of the stream that each of 2,000 texts in memory takes as its state",
    lambda: stream(
        then(kept("a" * 500_000), [built(call("_io:StringIO"), (got(0), "\n", 0, None))] * 2_000)
    ),
    works=True,
)
BOMBS.add(
    "bytes of the stream that each of 2,000 arrays copies",
    lambda: stream(
        then(
            kept(bytes(500_000)),
            [call("array:_array_reconstructor", named("array:array"), "d", 16, got(0))] * 2_000,
        )
    ),
    works=True,
)
BOMBS.add(
    "bytes of the stream that each of 2,000 NumPy arrays copies",
    lambda: stream(
        then(
            kept(bytes(500_000)),
            joined(_float64(), MEMOIZE),
            [
                built(
                    call("numpy._core.multiarray:_reconstruct", named("numpy:ndarray"), (0,), b"b"),
                    (1, (62_500,), got(1), False, got(0)),
                )
            ]
            * 2_000,
        )
    ),
    works=True,
)
BOMBS.add(
    "items that each of 2,000 frozensets copies",
    lambda: stream(
        then(joined(list(range(30_000)), MEMOIZE), [call("builtins:frozenset", got(0))] * 2_000)
    ),
    works=True,
)
BOMBS.add(
    "a dict of the stream that each of 2,000 dicts of a class of the program copies",
    lambda: stream(
        then(
            joined({str(n): n for n in range(30_000)}, MEMOIZE),
            [call("copyreg:_reconstructor", named("prey.things:Table"), named("builtins:dict"),
                  got(0))] * 2_000,
        )
    ),
)  # fmt: skip
BOMBS.add(
    "a text that is the name of each of 20,000 globals",
    lambda: stream(then(kept("a" * 500_000), [Op(got(0) + got(0) + pickle.STACK_GLOBAL)] * 20_000)),
)
BOMBS.add(
    "digits that are the dtype of each of 20,000 arrays",
    lambda: stream(
        then(
            joined(call("numpy:dtype", "f" + "8" * 500_000, False, True), MEMOIZE),
            kept(b""),
            [call("numpy._core.numeric:_frombuffer", got(1), got(0), (0,), "C")] * 20_000,
        )
    ),
)
BOMBS.add(
    "a text that each of 2,000 instances of a class of the program copies",
    lambda: stream(then(kept("a" * 500_000), [new("prey.things:Rows", got(0))] * 2_000)),
    harmless=True,
)


def _float64() -> Op:
    return built(call("numpy:dtype", "f8", False, True), (3, "<", None, None, None, -1, -1, 0))


# --- integers, texts that become numbers, ranges -------------------------------------------

_digits = "9" * 3_000
for _name, _made, _works in (
    (
        "an integer of a million digits by a text",
        lambda: old(b"I" + b"9" * 1_000_000 + b"\n"),
        False,
    ),
    (
        "an integer of a million hex digits by a text",
        lambda: old(b"I0x" + b"f" * 1_000_000 + b"\n"),
        False,
    ),
    ("a long of a million digits by a text", lambda: old(b"L" + b"9" * 1_000_000 + b"L\n"), False),
    ("a long of a million octal digits", lambda: old(b"L0o" + b"7" * 1_000_000 + b"L\n"), False),
    (
        "a long of a million bytes",
        lambda: _P + b"\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6 + b".",
        False,
    ),
    ("an int out of a long text", lambda: stream(call("builtins:int", "f" * 900_000, 16)), False),
    (
        "a fraction of a great exponent",
        lambda: stream(call("fractions:Fraction", "1e30000000")),
        True,
    ),
    (
        "a fraction of a great exponent below zero",
        lambda: stream(call("fractions:Fraction", "1e-30000000")),
        True,
    ),
    (
        "a fraction of a decimal",
        lambda: stream(call("fractions:Fraction", call("decimal:Decimal", "1e30000000"))),
        True,
    ),
    (
        "a fraction of a thousand digits",
        lambda: stream(call("fractions:Fraction", "1" * 1000 + "/" + "3" * 1000)),
        False,
    ),
    ("a fraction that divides by zero", lambda: stream(call("fractions:Fraction", "1/0")), False),
    ("a fraction that is no number", lambda: stream(call("fractions:Fraction", "abc")), False),
    (
        "a fraction of two great ones",
        lambda: stream(call("fractions:Fraction", 10**3000, 10**3000 - 1)),
        False,
    ),
    (
        "a decimal of a million digits",
        lambda: stream(call("decimal:Decimal", "9" * 900_000)),
        False,
    ),
    (
        "a decimal with a great exponent as a key",
        lambda: stream(items(push({}), {call("decimal:Decimal", "1e999999999999999"): 1})),
        False,
    ),
    (
        "a set of decimals with great exponents",
        lambda: stream(
            added(EMPTY_SET, *(call("decimal:Decimal", f"{n}e{10**17 + n}") for n in range(2000)))
        ),
        False,
    ),
    (
        "a decimal that signals when it is hashed",
        lambda: stream(added(EMPTY_SET, call("decimal:Decimal", "sNaN"))),
        False,
    ),
    ("a decimal of a text that is none", lambda: stream(call("decimal:Decimal", "abc")), False),
    ("a decimal of a tuple", lambda: stream(call("decimal:Decimal", (0, (1,), 10**17))), False),
    ("a complex of texts", lambda: stream(call("builtins:complex", "1" * 500_000 + "j")), False),
    ("a float out of a long text", lambda: old(b"F" + b"1" * 900_000 + b"\n"), False),
    ("bytes of a number", lambda: stream(call("builtins:bytes", 3 * 10**9)), True),
    ("a bytearray of a number", lambda: stream(call("builtins:bytearray", 3 * 10**9)), True),
    ("bytes of a number by NEWOBJ", lambda: stream(new("builtins:bytes", 10**9)), True),
    (
        "a list of a range",
        lambda: stream(call("builtins:list", call("builtins:range", 10**9))),
        True,
    ),
    ("a set of a range", lambda: stream(call("builtins:set", call("builtins:range", 10**8))), True),
    (
        "a tuple of a range",
        lambda: stream(call("builtins:tuple", call("builtins:range", 10**9))),
        True,
    ),
    (
        "a deque of a range",
        lambda: stream(call("collections:deque", call("builtins:range", 10**8))),
        True,
    ),
    (
        "a Counter of a range",
        lambda: stream(call("collections:Counter", call("builtins:range", 10**8))),
        True,
    ),
    (
        "a dict of a range by fromkeys",
        lambda: stream(call("builtins:dict.fromkeys", call("builtins:range", 10**8))),
        True,
    ),
    (
        "an OrderedDict of a range by fromkeys",
        lambda: stream(call("collections:OrderedDict.fromkeys", call("builtins:range", 10**8))),
        True,
    ),
    (
        "an array of a range",
        lambda: stream(call("array:array", "q", call("builtins:range", 10**9))),
        True,
    ),
    (
        "a sum of a range",
        lambda: stream(call("builtins:sum", call("builtins:range", 10**10))),
        True,
    ),
    (
        "a list that repeats for ever",
        lambda: stream(call("builtins:list", call("itertools:repeat", 0))),
        True,
    ),
    (
        "a list that counts for ever",
        lambda: stream(call("collections:deque", call("itertools:count"), 0)),
        True,
    ),
    (
        "a product of many",
        lambda: stream(
            call(
                "builtins:list",
                call(
                    "itertools:product", "ab" * 9, "ab" * 9, "ab" * 9, "ab" * 9, "ab" * 9, "ab" * 9
                ),
            )
        ),
        True,
    ),
    ("a text that is repeated", lambda: stream(call("operator:mul", "a", 3 * 10**9)), True),
    ("a power of powers", lambda: stream(call("operator:pow", 9, 10**8)), True),
    ("a shift far to the left", lambda: stream(call("operator:lshift", 1, 10**10)), True),
    (
        "a text that is formatted very wide",
        lambda: stream(call("operator:mod", "%2000000000d", (1,))),
        True,
    ),
    (
        "a range of great numbers is hashed",
        lambda: stream(added(EMPTY_SET, call("builtins:range", 10**3000, 10**3001, 3))),
        False,
    ),
    (
        "a file in memory whose place is far beyond its end",
        lambda: stream(built(call("_io:BytesIO"), (b"", 3 * 10**9, None))),
        False,
    ),
    (
        "a text in memory whose place is far beyond its end",
        lambda: stream(built(call("_io:StringIO"), ("", "\n", 10**9, None))),
        False,
    ),
    (
        "a file in memory whose place is below zero",
        lambda: stream(built(call("_io:BytesIO"), (b"", -1, None))),
        False,
    ),
    (
        "a file in memory of a state of four",
        lambda: stream(built(call("_io:BytesIO"), (b"", 0, None, 1))),
        False,
    ),
    (
        "a pattern that never ends to match",
        lambda: stream(call("re:match", "(a+)+$", "a" * 40 + "b")),
        True,
    ),
    (
        "a pattern that is compiled",
        lambda: stream(call("re:_compile", "(" * 90 + "a" + "){1,99}" * 90, 0)),
        False,
    ),
    (
        "a pattern that is compiled very long",
        lambda: stream(call("re:_compile", "a|" * 400_000, 0)),
        True,
    ),
    (
        "a pattern of nested repeats",
        lambda: stream(call("re:_compile", "(?:" * 30 + "a" + "{0,60}){0,60}" * 30, 0)),
        False,
    ),
    ("a pattern that is none", lambda: stream(call("re:_compile", "(", 0)), False),
    (
        "a pattern of 5,000 groups",
        lambda: stream(call("re:_compile", "(" * 5000 + ")" * 5000, 0)),
        False,
    ),
    (
        "a pattern of case-less classes",
        lambda: stream(
            call(
                "re:_compile",
                "[" + "".join(map(chr, range(0x100, 0xD000, 2))).replace("]", "") + "]",
                2,
            )
        ),
        False,
    ),
    ("a pattern with flags that debug", lambda: stream(call("re:_compile", "a", 128)), False),
):
    BOMBS.add(_name, _made, works=_works, harmless=not _works)

# --- keys: exponential, colliding, slow ------------------------------------------------------


def _doubled(levels: int, inner: bytes = b"N") -> Op:
    return Op(inner + b"2\x86" * levels)


def _doubled_memo(levels: int) -> Op:
    """The same through the memo, as a pickler would write a shared tuple."""
    made = push(None) + MEMOIZE + b"0" + got(0) + got(0) + b"\x86\x94"
    for level in range(1, levels):
        made += b"0" + got(level) + got(level) + b"\x86\x94"
    return Op(made)


for _how, _spelled in (
    ("as a key of a dict", lambda key: items(push({}), {key: 1})),
    ("as an item of a set", lambda key: added(EMPTY_SET, key)),
    ("as an item of a frozenset", lambda key: Op(b"(" + key + b"\x91")),
    ("as a key of an OrderedDict", lambda key: items(call("collections:OrderedDict"), {key: 1})),
    ("as a key of a Counter", lambda key: call("collections:Counter", items(push({}), {key: 1}))),
    ("as a key of a dict of the program", lambda key: items(new("prey.things:Table"), {key: 1})),
    (
        "as the value of a frozen dataclass that is a key",
        lambda key: added(EMPTY_SET, built(new("prey.things:Frozen"), {"value": key})),
    ),
    (
        "as the value of a frozen attrs instance that is a key",
        lambda key: added(EMPTY_SET, built(new("prey.things:Attrs"), {"value": key})),
    ),
    (
        "as a part of a named tuple that is a key",
        lambda key: added(EMPTY_SET, new("prey.things:Point", key, key)),
    ),
    (
        "as a start of a slice that is a key",
        lambda key: added(EMPTY_SET, call("builtins:slice", key, key, key)),
    ),
    (
        "as a part of a Fraction that is a key",
        lambda key: added(EMPTY_SET, call("builtins:frozenset", added(EMPTY_SET, key))),
    ),
    (
        "as an argument of a generic alias that is a key",
        lambda key: added(EMPTY_SET, call("types:GenericAlias", named("builtins:list"), key)),
    ),
):
    BOMBS.add(
        f"a tuple of tuples, 60 levels and 2**60 steps to hash, {_how}",
        stream(_spelled(_doubled(60))),
        works=_how in ("as a key of a dict", "as an item of a set"),
    )
BOMBS.add(
    "a tuple of tuples, 27 levels, as a key",
    stream(items(push({}), {_doubled(27): 1})),
    harmless=False,
)
BOMBS.add(
    "a tuple of tuples through the memo, as a key",
    stream(items(push({}), {_doubled_memo(50): 1})),
    works=True,
)
BOMBS.add("a tuple of tuples that is only a value", stream([_doubled(60)]), harmless=True)
BOMBS.add(
    "a tuple of tuples of numbers, 40 levels, in a set",
    stream(added(EMPTY_SET, _doubled(40, b"K\x01"))),
)
BOMBS.add(
    "tuples that share their parts and are compared as keys",
    lambda: stream(pairs_of_equal(34)),
    works=True,
)


def pairs_of_equal(levels: int) -> Op:
    """Two equal keys, of different objects, whose comparison takes 2**levels steps."""
    return added(EMPTY_SET, _doubled(levels), _doubled(levels))


def _collisions(count: int, spelled: Any = lambda n: n) -> Iterator[Any]:
    return (spelled(n * PRIME) for n in range(1, count + 1))


for _name, _keys in {
    "integers": lambda: _collisions(20_000),
    "integers below zero": lambda: _collisions(20_000, lambda n: -n),
    "tuples of one integer": lambda: _collisions(20_000, lambda n: (n,)),
    "tuples of two": lambda: _collisions(18_000, lambda n: (7, n)),
    "named tuples of one integer": lambda: _collisions(
        9_000, lambda n: new("prey.things:Point", 1, n)
    ),
    "frozen dataclasses of one integer": lambda: _collisions(
        6_000, lambda n: built(new("prey.things:Frozen"), {"value": n})
    ),
    "complex numbers": lambda: (
        call("builtins:complex", float(n), 0.0) for n in range(PRIME, PRIME + 1)
    ),
    "fractions": lambda: _collisions(9_000, lambda n: call("fractions:Fraction", str(n))),
    "decimals": lambda: _collisions(9_000, lambda n: call("decimal:Decimal", str(n))),
    "frozensets of one integer": lambda: _collisions(20_000, lambda n: frozenset([n])),
    "floats that collide": lambda: (float(1 << 61) * 2.0 ** (61 * n) for n in range(15)),
    "dates": lambda: (call("datetime:timedelta", n, 0, 0) for n in range(5_000)),
    "slices of one integer": lambda: _collisions(4_000, lambda n: call("builtins:slice", n)),
    "instances of a class with a hash of its own": lambda: (
        built(new("prey.things:Hashing"), {"rounds": 10**5}) for _ in range(30)
    ),
    "ranges of no length": lambda: (call("builtins:range", 0) for _ in range(5_000)),
    "addresses": lambda: (call("ipaddress:IPv4Address", n) for n in range(5_000)),
    "uuids": lambda: (built(call("uuid:UUID"), {"int": n * PRIME}) for n in range(1, 4_000)),
    "frozensets of colliding integers": lambda: (
        frozenset([n * PRIME, -n * PRIME]) for n in range(1, 9_000)
    ),
}.items():
    _inert = _name.startswith(("instances", "complex", "floats", "dates", "ranges", "addresses"))
    _slow = _name.startswith(("integers", "tuples of one"))
    BOMBS.add(
        f"thousands of colliding keys: {_name}",
        works=_slow,
        harmless=_inert,
        made=lambda keys=_keys: stream(added(EMPTY_SET, *keys())),
    )
BOMBS.add(
    "thousands of colliding keys of a dict, a few at a time",
    lambda: stream(_few_at_a_time()),
    works=True,
)
BOMBS.add(
    "thousands of colliding keys of a dict, set one by one",
    lambda: stream(Op(push({}) + b"".join(push(n * PRIME) + b"Ns" for n in range(1, 20_000)))),
    works=True,
)
BOMBS.add(
    "thousands of colliding keys in an OrderedDict",
    lambda: stream(items(call("collections:OrderedDict"), dict.fromkeys(_collisions(12_000)))),
    works=False,
)
BOMBS.add(
    "thousands of colliding keys in a Counter",
    lambda: stream(call("collections:Counter", dict.fromkeys(_collisions(12_000), 1))),
)
BOMBS.add(
    "thousands of colliding keys in a frozenset",
    lambda: stream(Op(b"(" + joined(*_collisions(20_000)) + b"\x91")),
    works=True,
)
BOMBS.add(
    "thousands of colliding keys in many sets of a hundred",
    lambda: stream([added(EMPTY_SET, *_collisions(100)) for _ in range(700)]),
    harmless=True,
)
BOMBS.add(
    "thousands of keys with different hashes that are led past each other",
    lambda: stream(dict.fromkeys(led_past(1000))),
)
BOMBS.add(
    "thousands of colliding keys of a power of two's multiples",
    lambda: stream(dict.fromkeys(n << 40 for n in range(40_000))),
    harmless=True,
)


def _few_at_a_time() -> Op:
    made = push({})
    for start in range(1, 20_000, 50):
        made += b"(" + b"".join(push(n * PRIME) + b"N" for n in range(start, start + 50)) + b"u"
    return Op(made)


# --- depth ------------------------------------------------------------------------------------


def _nested(count: int, opened: bytes, closed: bytes, inner: bytes = b"N") -> bytes:
    return opened * count + inner + closed * count


_DEEP: dict[str, Any] = {
    "lists": lambda: _nested(100_000, b"]", b"a"),
    "tuples": lambda: _nested(150_000, b"", b"\x85"),
    "tuples as a key": lambda: b"}" + _nested(200_000, b"", b"\x85", b")") + b"Ns",
    "tuples in a set": lambda: b"\x8f(" + _nested(200_000, b"", b"\x85", b")") + b"\x90",
    "frozensets": lambda: _nested(100_000, b"(", b"\x91", b"N"),
    "dicts": lambda: _nested(60_000, b"}\x8c\x01a", b"s"),
    "deques": lambda: (
        bytes(named("collections:deque")) + b"\x940" + _nested(170_000, b"h\x00)R", b"a")
    ),
    "defaultdicts": lambda: (
        bytes(named("collections:defaultdict"))
        + b"\x940"
        + _nested(120_000, b"h\x00)R\x8c\x01a", b"s")
    ),
    "OrderedDicts": lambda: (
        bytes(named("collections:OrderedDict"))
        + b"\x940"
        + _nested(120_000, b"h\x00)R\x8c\x01a", b"s")
    ),
    "slices": lambda: (
        bytes(named("builtins:slice")) + b"\x940" + _nested(150_000, b"h\x00", b"\x85R")
    ),
    "instances": lambda: (
        bytes(named("prey.things:Plain"))
        + b"\x940"
        + _nested(80_000, b"h\x00)\x81}\x8c\x01a", b"sb")
    ),
    "slotted instances": lambda: (
        bytes(named("prey.things:Slotted"))
        + b"\x940"
        + _nested(60_000, b"h\x00)\x81N}\x8c\x04left", b"s\x86b")
    ),
    "frozen instances as a key": lambda: (
        b"}"
        + bytes(named("prey.things:Frozen"))
        + b"\x940"
        + _nested(60_000, b"h\x00)\x81}\x8c\x05value", b"sb")
        + b"Ns"
    ),
    "attrs instances": lambda: (
        bytes(named("prey.things:Attrs"))
        + b"\x940"
        + _nested(60_000, b"h\x00)\x81}\x8c\x05value", b"sb")
    ),
    "named tuples": lambda: (
        bytes(named("prey.things:Point")) + b"\x940" + _nested(100_000, b"h\x00N", b"\x86\x81")
    ),
    "namespaces": lambda: (
        bytes(named("types:SimpleNamespace"))
        + b"\x940"
        + _nested(80_000, b"h\x00)R}\x8c\x01a", b"sb")
    ),
    "partials": lambda: (
        bytes(named("functools:partial"))
        + b"\x940"
        + _nested(150_000, b"h\x00", b"\x85R", named("builtins:len"))
    ),
    "ChainMaps": lambda: (
        bytes(named("collections:ChainMap")) + b"\x940" + _nested(100_000, b"h\x00", b"\x85R", b"}")
    ),
    "Counters": lambda: (
        bytes(named("collections:Counter"))
        + b"\x940"
        + _nested(100_000, b"h\x00}\x8c\x01a", b"s\x85R", b"K\x01")
    ),
    "exceptions": lambda: (
        bytes(named("builtins:ValueError")) + b"\x940" + _nested(150_000, b"h\x00", b"\x85R")
    ),
    "exceptions as each other's attributes": lambda: (
        bytes(named("builtins:ValueError"))
        + b"\x940"
        + _nested(80_000, b"h\x00)R}\x8c\x01a", b"sb")
    ),
    "lists of the program": lambda: (
        bytes(named("prey.things:Rows")) + b"\x940" + _nested(150_000, b"h\x00)\x81", b"a")
    ),
    "deques of the program": lambda: (
        bytes(named("prey.things:Many")) + b"\x940" + _nested(150_000, b"h\x00)\x81", b"a")
    ),
    "dicts of the program": lambda: (
        bytes(named("prey.things:Table"))
        + b"\x940"
        + _nested(120_000, b"h\x00)\x81\x8c\x01a", b"s")
    ),
    "generic aliases": lambda: (
        bytes(named("types:GenericAlias"))
        + b"\x940"
        + _nested(40_000, b"h\x00" + named("builtins:list"), b"\x86R")
    ),
    "mapping proxies": lambda: (
        bytes(named("types:MappingProxyType"))
        + b"\x940"
        + _nested(150_000, b"h\x00", b"\x85R", b"}")
    ),
    "UserDicts": lambda: (
        bytes(named("collections:UserDict"))
        + b"\x940"
        + _nested(50_000, b"h\x00)\x81}\x8c\x04data}\x8c\x01a", b"ssb")
    ),
    "exception groups": lambda: (
        bytes(named("builtins:ExceptionGroup"))
        + b"\x940"
        + _nested(60_000, b"h\x00\x8c\x01a]", b"a\x86R", bytes(call("builtins:ValueError", "a")))
    ),
    "readonly views": lambda: b"\x96" + struct.pack("<Q", 1) + b"a" + b"\x98" * 400_000,
    "iterators": lambda: (
        bytes(named("builtins:iter")) + b"\x940" + _nested(150_000, b"h\x00", b"\x85R", b"]")
    ),
    "lists and deques by turns": lambda: (
        bytes(named("collections:deque")) + b"\x940" + _nested(100_000, b"h\x00)R]", b"aa")
    ),
    "dicts and tuples by turns": lambda: _nested(90_000, b"}\x8c\x01a", b"s\x85"),
}
_DIES = ("tuples as a key", "tuples in a set", "deques", "defaultdicts")
_MAY_LOAD = (
    "lists",
    "tuples",
    "frozensets",
    "dicts",
    "OrderedDicts",
    "instances",
    "slotted",
    "attrs",
    "namespaces",
    "readonly views",
    "dicts and",
    "generic",
    "exceptions",
    "named",
    "lists of",
    "Counters",
    "dicts of",
    "UserDicts",
    "exception groups",
)
for _name, _made in _DEEP.items():
    BOMBS.add(
        f"deeply nested {_name}",
        lambda made=_made: _P + made() + b".",
        works=_name in _DIES,
        harmless=_name.startswith(_MAY_LOAD),
    )


def _threaded(count: int, kind: bytes, put: bytes) -> bytes:
    """A chain that is flat in the stream: each is made empty, and filled with the one before."""
    each = b"h\x00)R\x94"
    made = (each + b"(" + got(number) + put + POP for number in range(1, count))
    return b"".join([_P, kind, b"\x940", each, POP, *made, got(count), b"."])


BOMBS.add(
    "deeply nested deques, each filled through the memo",
    lambda: _threaded(90_000, named("collections:deque"), b"e"),
    works=True,
)
BOMBS.add(
    "deeply nested deques, filled from the outermost inwards",
    lambda: _inwards(95_000, named("collections:deque")),
    works=True,
)
BOMBS.add(
    "deeply nested deques, all made first and then put into each other in any order",
    lambda: _shuffled(60_000, named("collections:deque")),
    works=False,
)
BOMBS.add(
    "deeply nested lists, filled from the outermost inwards",
    lambda: _P + b"]\x940" + b"".join(got(n) + b"]\x94a0" for n in range(110_000)) + got(0) + b".",
    harmless=True,
)
BOMBS.add(
    "a linked list of instances through the memo, each holding the next",
    lambda: _linked(50_000),
    harmless=True,
)
BOMBS.add("deeply nested persistent ids", lambda: _P + b"N" + b"Q" * 200_000 + b".")
BOMBS.add(
    "200,000 duplicates of one tuple, each in the next",
    lambda: _P + b")" + b"2\x86" * 200_000 + b".",
    harmless=True,
)


def _inwards(count: int, kind: bytes) -> bytes:
    made = _P + kind + b"\x940h\x00)R\x94"
    body = b"".join(got(n) + b"h\x00)R\x94a0" for n in range(1, count))
    return made + b"0" + body + got(1) + b"."


def _shuffled(count: int, kind: bytes) -> bytes:
    made = _P + kind + b"\x940" + b"h\x00)R\x940" * count
    order = sorted(range(1, count), key=lambda n: n * 7919 % count)
    return made + b"".join(got(n) + got(n + 1) + b"a0" for n in order) + got(1) + b"."


def _linked(count: int) -> bytes:
    kind = named("prey.things:Plain") + MEMOIZE + b"0"
    made = [_P, kind]
    for number in range(count):
        before = b"N" if not number else got(number)
        made.append(b"h\x00)\x81\x94}\x8c\x01a" + before + b"sb0")
    return b"".join([*made, got(count), b"."])


BOMBS.add(
    "a billion laughs: lists of ten lists, ten levels deep",
    lambda: _laughs(b"]", b"e"),
    harmless=True,
)
BOMBS.add("a billion laughs of tuples", lambda: _laughs(b"", b"t"), harmless=True)
BOMBS.add(
    "a billion laughs of dicts",
    lambda: (
        _P
        + b"}\x940"
        + b"".join(
            b"}\x94(" + b"".join(push(k) + got(n) for k in "abcdefghij") + b"u0" for n in range(9)
        )
        + got(9)
        + b"."
    ),
    harmless=True,
)


def _laughs(opened: bytes, closed: bytes) -> bytes:
    made = _P + push("lol") + b"\x940"
    for level in range(10):
        made += opened + b"(" + got(level) * 10 + closed + b"\x940"
    return made + got(10) + b"."


# --- decompression ----------------------------------------------------------------------------

SQUEEZED = Route("decompression bombs")
_GIB = 1 << 30
_MIB = 1 << 20


def _head(size: int) -> bytes:
    """What a pickle of *size* zeros begins with."""
    return _P + b"\x8e" + struct.pack("<Q", size)


def _gzipped(head: bytes, block: bytes, times: int) -> bytes:
    """*head* and then *block*, again and again; the check at the end is wrong, and far away."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * times + packer.compress(b".") + packer.flush()


def _xz(head: bytes, block: bytes, times: int) -> bytes:
    return lzma.compress(head) + lzma.compress(block) * times + lzma.compress(b".")


def _lzma_alone(head: bytes, size: int) -> bytes:
    quick = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": 4096,
        "mode": lzma.MODE_FAST,
        "mf": lzma.MF_HC3,
        "nice_len": 273,
        "depth": 1,
    }
    packer = lzma.LZMACompressor(lzma.FORMAT_ALONE, filters=[quick])
    pieces = [packer.compress(head), *(packer.compress(bytes(_MIB)) for _ in range(size // _MIB))]
    return b"".join([*pieces, packer.flush()])


def _zstd(head: bytes, block: bytes, times: int) -> bytes:
    pack = zstandard.compress
    return pack(head) + pack(block) * times + pack(b".")


def _one_zstd(head: bytes, size: int) -> bytes:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    pieces = [packer.compress(head), *(packer.compress(bytes(_MIB)) for _ in range(size // _MIB))]
    return b"".join([*pieces, packer.flush()])


_WHOLE = stream([1, 2, 3])
for _name, _made, _inert in (
    ("a gigabyte of a pickle in gzip", lambda: _gzipped(_head(_GIB), bytes(_MIB), 1024), False),
    ("a gigabyte of a pickle in xz", lambda: _xz(_head(_GIB), bytes(_MIB), 1024), False),
    ("300 megabytes of a pickle in lzma", lambda: _lzma_alone(_head(_GIB), 300 * _MIB), False),
    ("a gigabyte of a pickle in zstd", lambda: _one_zstd(_head(_GIB), _GIB), False),
    (
        "a gigabyte of a pickle in a thousand frames of zstd",
        lambda: _zstd(_head(_GIB), bytes(_MIB), 1024),
        False,
    ),
    (
        "four hundred members of a megabyte in gzip",
        lambda: gzip.compress(bytes(1 << 20)) * 800,
        False,
    ),
    (
        "a thousand empty members in gzip",
        lambda: gzip.compress(b"") * 30_000 + gzip.compress(_WHOLE),
        True,
    ),
    (
        "a thousand empty frames in zstd",
        lambda: zstandard.compress(b"") * 50_000 + zstandard.compress(_WHOLE),
        True,
    ),
    (
        "a thousand empty streams in xz",
        lambda: lzma.compress(b"") * 25_000 + lzma.compress(_WHOLE),
        True,
    ),
    (
        "frames that are skipped in zstd",
        lambda: (
            (b"\x50\x2a\x4d\x18" + struct.pack("<I", 2**31)) + b"x" + zstandard.compress(_WHOLE)
        ),
        False,
    ),
    ("a zstd frame that declares a tebibyte", lambda: _declared(1 << 40), False),
    ("a zstd frame that declares 2**64 - 1", lambda: _declared((1 << 64) - 3), False),
    (
        "a zstd frame with a window of two gigabytes",
        lambda: b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00",
        False,
    ),
    (
        "a zstd frame that wants a dictionary",
        lambda: b"\x28\xb5\x2f\xfd\x23\x01\x02\x03\x04\x00\x01\x00\x00",
        False,
    ),
    (
        "an lzma file with a dictionary of four gigabytes",
        lambda: b"\x5d\xff\xff\xff\xff" + b"\xff" * 8 + b"\0" * 100,
        False,
    ),
    (
        "an lzma file that declares 2**60 bytes",
        lambda: b"\x5d\x00\x00\x80\x00" + struct.pack("<Q", 1 << 60) + b"\0" * 100,
        False,
    ),
    (
        "an xz file whose block wants a great dictionary",
        lambda: lzma.compress(_WHOLE, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26}]),
        True,
    ),
    ("gzip within gzip", lambda: gzip.compress(gzip.compress(_WHOLE)), False),
    (
        "gzip within gzip within gzip, a terabyte in all",
        lambda: gzip.compress(gzip.compress(_gzipped(_head(_GIB), bytes(_MIB), 1024))),
        False,
    ),
    ("xz within gzip", lambda: gzip.compress(lzma.compress(_WHOLE)), False),
    ("zstd within zstd", lambda: zstandard.compress(zstandard.compress(_WHOLE)), False),
    ("gzip cut short", lambda: gzip.compress(_WHOLE * 9)[:-9], False),
    ("gzip without its check", lambda: gzip.compress(_WHOLE)[:-8], False),
    ("gzip with a check that is wrong", lambda: gzip.compress(_WHOLE)[:-8] + bytes(8), False),
    ("gzip with its flags all set", lambda: b"\x1f\x8b\x08\xff" + b"\xff" * 60, False),
    (
        "gzip with a name that never ends",
        lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 900_000,
        False,
    ),
    (
        "gzip with an extra field beyond its end",
        lambda: b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff",
        False,
    ),
    (
        "gzip with a pickle after it",
        lambda: gzip.compress(_WHOLE) + stream(call("os:system", "true")),
        True,
    ),
    (
        "gzip with a second member that is another pickle",
        lambda: gzip.compress(_WHOLE) + gzip.compress(stream(call("os:system", "true"))),
        True,
    ),
    ("zstd cut short", lambda: zstandard.compress(_WHOLE)[:-3], False),
    (
        "zstd with a pickle after it",
        lambda: zstandard.compress(_WHOLE) + stream(call("os:system", "true")),
        True,
    ),
    ("xz cut short", lambda: lzma.compress(_WHOLE)[:-5], False),
    (
        "xz with a pickle after it",
        lambda: lzma.compress(_WHOLE) + stream(call("os:system", "true")),
        True,
    ),
    (
        "xz with a check that is unknown",
        lambda: lzma.compress(_WHOLE)[:6] + b"\x00\x0f" + lzma.compress(_WHOLE)[8:],
        False,
    ),
    ("a call within gzip", lambda: gzip.compress(stream(call("prey.canary:fire"))), False),
    ("a call within xz", lambda: lzma.compress(stream(call("prey.canary:fire"))), False),
    ("a call within zstd", lambda: zstandard.compress(stream(call("prey.canary:fire"))), False),
    ("a memo bomb within gzip", lambda: gzip.compress(b"]r\x00\x00\x00\x10."), True),
    (
        "half a gigabyte of sets within gzip",
        lambda: _gzipped(_P + b"](", b"\x8f" * _MIB, 200),
        False,
    ),
    ("nothing within gzip", lambda: gzip.compress(b""), False),
    ("the magic of gzip alone", lambda: b"\x1f\x8b", False),
    ("the magic of xz alone", lambda: b"\xfd7zXZ\x00", False),
    ("the magic of zstd alone", lambda: b"\x28\xb5\x2f\xfd", False),
):
    SQUEEZED.add(_name, _made, harmless=_inert, doors=FILE)


def _declared(size: int) -> bytes:
    """A zstd frame that says it holds *size* bytes."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + b"\x01\x00\x00"
