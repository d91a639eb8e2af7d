"""Each opcode, malformed: arguments that lie, a stack that is empty, marks that are missing."""

from __future__ import annotations

import struct

from attacks.attack import Route
from attacks.streams import MARK, named, new, old, push, stream

OPCODES = Route("each opcode")
_P = b"\x80\x05"

# Each opcode whose argument says how long it is, and what it says.
_LONG = {
    "BINUNICODE": b"X" + struct.pack("<I", 2**32 - 1),
    "BINUNICODE8": b"\x8d" + struct.pack("<Q", 2**40),
    "BINUNICODE8 with a length beyond an index": b"\x8d" + struct.pack("<Q", 2**64 - 1),
    "SHORT_BINUNICODE": b"\x8c\xff",
    "BINBYTES": b"B" + struct.pack("<I", 2**32 - 1),
    "BINBYTES8": b"\x8e" + struct.pack("<Q", 2**40),
    "BINBYTES8 with a length beyond an index": b"\x8e" + struct.pack("<Q", 2**63),
    "SHORT_BINBYTES": b"C\xff",
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 2**40),
    "BYTEARRAY8 with a length beyond an index": b"\x96" + struct.pack("<Q", 2**64 - 1),
    "BINSTRING": b"T" + struct.pack("<i", 2**31 - 1),
    "BINSTRING with a length below zero": b"T" + struct.pack("<i", -1),
    "SHORT_BINSTRING": b"U\xff",
    "LONG1": b"\x8a\xff",
    "LONG4": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "LONG4 with a length below zero": b"\x8b" + struct.pack("<i", -1),
}
for _name, _op in _LONG.items():
    OPCODES.add(f"{_name} promises more than there is", _P + _op + b"abc.")
    if " with " not in _name:
        OPCODES.add(f"{_name} ends within its length", _P + _op[:-1])

_TEXTS = {
    "INT of no digits": b"I\n",
    "INT of letters": b"Iabc\n",
    "INT with a NUL": b"I1\x002\n",
    "INT with an underscore": b"I1_000\n",
    "LONG without digits": b"LL\n",
    "LONG of letters": b"LzzL\n",
    "FLOAT of letters": b"Fabc\n",
    "FLOAT of nothing": b"F\n",
    "STRING without quotes": b"Sabc\n",
    "STRING with one quote": b"S'abc\n",
    "STRING with a broken escape": b"S'\\x'\n",
    "UNICODE with a broken escape": b"V\\u12\n",
    "UNICODE with a surrogate escape": b"V\\ud800\n",
    "GET of what is not there": b"g0\n",
    "GET of letters": b"gabc\n",
    "GET below zero": b"g-1\n",
    "PUT below zero": b"Np-1\n",
    "PUT of letters": b"Npabc\n",
    "PUT of a thousand digits": b"Np" + b"9" * 1000 + b"\n",
    "GLOBAL without a second line": b"cprey.things\n",
    "GLOBAL of nothing": b"c\n\n",
    "GLOBAL that is no UTF-8": b"cprey\xff\nPlain\n",
    "INST without a mark": b"iprey.things\nPlain\n",
    "PERSID where nobody declared any": b"Pabc\n",
    "PERSID that is no ASCII": b"P\xff\n",
}
for _name, _op in _TEXTS.items():
    OPCODES.add(_name, old(_op), harmless="UNICODE with a surrogate" in _name)

_STACK = {
    "STOP on an empty stack": b"",
    "POP on an empty stack": b"0N",
    "DUP on an empty stack": b"2",
    "MEMOIZE on an empty stack": b"\x94N",
    "PUT on an empty stack": b"p0\nN",
    "BINPUT on an empty stack": b"q\x00N",
    "LONG_BINPUT on an empty stack": b"r\x00\x00\x00\x00N",
    "BINGET of what is not there": b"h\x00",
    "LONG_BINGET of what is not there": b"j\xff\xff\xff\xff",
    "LONG_BINGET of the highest number there is": b"Nr\x00\x00\x00\x00j\xff\xff\xff\x7f",
    "TUPLE without a mark": b"Nt",
    "TUPLE1 on an empty stack": b"\x85",
    "TUPLE2 with one value": b"N\x86",
    "TUPLE3 with two values": b"NN\x87",
    "TUPLE2 across a mark": b"N(N\x86",
    "LIST without a mark": b"Nl",
    "DICT without a mark": b"Nd",
    "DICT of an odd number": b"(NNNd",
    "DICT with a key that has no hash": b"(]Nd",
    "FROZENSET without a mark": b"N\x91",
    "FROZENSET of what has no hash": b"(]\x91",
    "APPEND on an empty stack": b"a",
    "APPEND with one value": b"]a",
    "APPENDS without a mark": b"]Ne",
    "APPENDS below a mark": b"(Ne",
    "SETITEM with one value": b"}Ns",
    "SETITEM with a key that has no hash": b"}]Ns",
    "SETITEMS of an odd number": b"}(NNNu",
    "SETITEMS without a mark": b"}NNu",
    "SETITEMS with a key that has no hash": b"}(]Nu",
    "ADDITEMS without a mark": b"\x8fN\x90",
    "ADDITEMS of what has no hash": b"\x8f(}\x90",
    "POP_MARK without a mark": b"N1",
    "BUILD on an empty stack": b"b",
    "BUILD with one value": b"Nb",
    "BUILD of nothing on a mark": b"(Nb",
    "REDUCE on an empty stack": b"R",
    "REDUCE with one value": b")R",
    "REDUCE of a number": b"K\x01)R",
    "REDUCE of a list": b"])R",
    "REDUCE with arguments that are a list": named("builtins:complex") + b"]R",
    "REDUCE with arguments that are None": named("builtins:complex") + b"NR",
    "NEWOBJ with one value": b")\x81",
    "NEWOBJ of a number": b"K\x01)\x81",
    "NEWOBJ of an instance": new("prey.things:Plain") + b")\x81",
    "NEWOBJ with arguments that are a list": named("prey.things:Plain") + b"]\x81",
    "NEWOBJ_EX with two values": b")}\x92",
    "NEWOBJ_EX with options that are no dict": named("prey.things:Plain") + b"))\x92",
    "NEWOBJ_EX with options whose names are numbers": named("prey.things:Plain")
    + b")"
    + push({1: 2})
    + b"\x92",
    "STACK_GLOBAL on an empty stack": b"\x93",
    "STACK_GLOBAL of numbers": b"K\x01K\x02\x93",
    "STACK_GLOBAL of bytes": push(b"prey.things") + push(b"Plain") + b"\x93",
    "STACK_GLOBAL of None": b"NN\x93",
    "OBJ without a mark": named("prey.things:Plain") + b"o",
    "OBJ of nothing": b"(o",
    "OBJ of a number": b"(K\x01o",
    "BINPERSID where nobody declared any": b"K\x01Q",
    "BINPERSID on an empty stack": b"Q",
    "BINPERSID of a tuple that torch would know": push(("storage", None, "0", "cpu", 1)) + b"Q",
    "NEXT_BUFFER where there are none": b"\x97",
    "READONLY_BUFFER on an empty stack": b"\x98",
    "READONLY_BUFFER of a list": b"]\x98",
    "READONLY_BUFFER of a text": push("a") + b"\x98",
    "a mark at the end": b"(",
    "a mark below the last value": b"(N",
    "two values at the end": b"NN",
    "an opcode that there is not": b"\xff",
    "a NUL as an opcode": b"\x00",
    "FRAME within a tuple": b"(\x95" + struct.pack("<Q", 1) + b"Nt",
    "BINFLOAT cut short": b"G\x00\x00",
    "BININT cut short": b"J\x00",
    "BININT2 cut short": b"M\x00",
    "BININT1 cut short": b"K",
    "text that is no UTF-8": b"\x8c\x02\xff\xfe",
    "text of half a surrogate pair": b"\x8c\x03\xed\xa0\x80",
    "text with an overlong encoding": b"\x8c\x02\xc0\x80",
}
_FINE = {"text of half a surrogate pair", "FRAME within a tuple"}
for _name, _op in _STACK.items():
    OPCODES.add(_name, _P + _op + b".", harmless=_name in _FINE)

OPCODES.add("nothing after PROTO", _P)
OPCODES.add("PROTO without its number", b"\x80")
OPCODES.add("STOP alone", b".")
OPCODES.add("a protocol from the future", b"\x80\x06N.")
OPCODES.add("the highest protocol that a byte holds", b"\x80\xffN.")
OPCODES.add("no STOP", _P + b"N")
OPCODES.add("a second pickle after STOP", stream(1) + stream(2), harmless=True)
OPCODES.add("bytes after STOP", stream(1) + b"\xff\x00cos\nsystem\n", harmless=True)
OPCODES.add("200,000 marks", lambda: _P + bytes(MARK) * 200_000 + b".")
OPCODES.add("200,000 values on the stack", lambda: _P + b"N" * 200_000 + b".")
OPCODES.add("200,000 marks, each taken away", lambda: _P + b"(1" * 200_000 + b"N.", harmless=True)
