"""An assembler of pickles: each function gives the opcodes that leave one value on the stack."""

from __future__ import annotations

import pickle
import struct
from typing import Any


class Op(bytes):
    """Opcodes; in a value they stand for what they leave on the stack."""


def push(value: Any) -> Op:
    """*value*: atoms and containers are spelled out, opcodes are taken as they are."""
    if isinstance(value, Op):
        return value
    if value is None or value is True or value is False:
        return Op({None: pickle.NONE, True: pickle.NEWTRUE, False: pickle.NEWFALSE}[value])
    return _PUSHES[type(value)](value)


def _int(value: int) -> Op:
    if -(1 << 31) <= value < 1 << 31:
        return Op(pickle.BININT + struct.pack("<i", value))
    body = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    if len(body) < 256:
        return Op(pickle.LONG1 + bytes([len(body)]) + body)
    return Op(pickle.LONG4 + struct.pack("<i", len(body)) + body)


def _text(value: str) -> Op:
    body = value.encode("utf-8", "surrogatepass")
    if len(body) < 256:
        return Op(pickle.SHORT_BINUNICODE + bytes([len(body)]) + body)
    return Op(pickle.BINUNICODE + struct.pack("<I", len(body)) + body)


def _bytes(value: bytes) -> Op:
    if len(value) < 256:
        return Op(pickle.SHORT_BINBYTES + bytes([len(value)]) + value)
    return Op(pickle.BINBYTES + struct.pack("<I", len(value)) + value)


def _tuple(value: tuple[Any, ...]) -> Op:
    body = joined(*value)
    if len(value) < 4:
        return Op(body + [b")", b"\x85", b"\x86", b"\x87"][len(value)])
    return Op(pickle.MARK + body + pickle.TUPLE)


_PUSHES: dict[type, Any] = {
    int: _int,
    str: _text,
    bytes: _bytes,
    tuple: _tuple,
    float: lambda value: Op(pickle.BINFLOAT + struct.pack(">d", value)),
    bytearray: lambda v: Op(pickle.BYTEARRAY8 + struct.pack("<Q", len(v)) + v),
    list: lambda value: appended(EMPTY_LIST, *value),
    dict: lambda value: items(EMPTY_DICT, value),
    set: lambda value: added(EMPTY_SET, *value),
    frozenset: lambda v: Op(pickle.MARK + joined(*v) + pickle.FROZENSET),
}
EMPTY_LIST, EMPTY_DICT, EMPTY_SET = Op(b"]"), Op(b"}"), Op(b"\x8f")
MARK, POP, DUP, MEMOIZE = Op(b"("), Op(b"0"), Op(b"2"), Op(pickle.MEMOIZE)


def joined(*values: Any) -> Op:
    """All values, one after the other."""
    return Op(b"".join(map(push, values)))


def named(path: str) -> Op:
    """The global `module:qualname`."""
    module, _, qualname = path.partition(":")
    return Op(push(module) + push(qualname) + pickle.STACK_GLOBAL)


def old_named(path: str) -> Op:
    """The global `module:qualname` as protocols below 4 name it."""
    module, _, qualname = path.partition(":")
    return Op(pickle.GLOBAL + f"{module}\n{qualname}\n".encode())


def _function(function: str | Op) -> Op:
    return function if isinstance(function, Op) else named(function)


def call(function: str | Op, *arguments: Any) -> Op:
    """The result of a call, by REDUCE."""
    return Op(_function(function) + push(arguments) + pickle.REDUCE)


def new(kind: str | Op, *arguments: Any) -> Op:
    """An instance, by NEWOBJ."""
    return Op(_function(kind) + push(arguments) + pickle.NEWOBJ)


def new_ex(kind: str | Op, *arguments: Any, **options: Any) -> Op:
    """An instance, by NEWOBJ_EX."""
    return Op(_function(kind) + push(arguments) + push(options) + pickle.NEWOBJ_EX)


def built(what: str | Op, state: Any) -> Op:
    """*what* with a state, by BUILD."""
    return Op(_function(what) + push(state) + pickle.BUILD)


def slots(**attributes: Any) -> Op:
    """A state whose attributes are set one by one, by setattr."""
    return push((None, attributes))


def appended(what: str | Op, *values: Any) -> Op:
    """*what* after APPENDS."""
    if not values and isinstance(what, Op):
        return what
    return Op(_function(what) + MARK + joined(*values) + pickle.APPENDS)


def items(what: str | Op, values: dict[Any, Any]) -> Op:
    """*what* after SETITEMS; keys that are opcodes may be given, too."""
    if not values and isinstance(what, Op):
        return what
    return pairs(what, *values.items())


def pairs(what: str | Op, *values: tuple[Any, Any]) -> Op:
    """*what* after SETITEMS of pairs, whose keys need not be hashable here."""
    both = b"".join(joined(key, value) for key, value in values)
    return Op(_function(what) + MARK + both + pickle.SETITEMS)


def added(what: str | Op, *values: Any) -> Op:
    """*what* after ADDITEMS."""
    if not values and isinstance(what, Op):
        return what
    return Op(_function(what) + MARK + joined(*values) + pickle.ADDITEMS)


def kept(value: Any) -> Op:
    """*value*, memoized."""
    return Op(push(value) + MEMOIZE)


def got(index: int) -> Op:
    """What was memoized as number *index*."""
    if index < 256:
        return Op(pickle.BINGET + bytes([index]))
    return Op(pickle.LONG_BINGET + struct.pack("<I", index))


def then(*values: Any) -> Op:
    """The last value; the others are made and dropped before it."""
    *first, last = map(push, values)
    return Op(b"".join(value + POP for value in first) + last)


def stream(*values: Any, protocol: int = 5) -> bytes:
    """A whole pickle of the last value; the others are made and dropped before it."""
    return pickle.PROTO + bytes([protocol]) + then(*values) + pickle.STOP


def old(body: bytes) -> bytes:
    """A pickle of protocol 0 or 1."""
    return body + pickle.STOP


def frame(body: bytes, length: int | None = None) -> bytes:
    """*body* in a frame that may lie about its length."""
    return pickle.FRAME + struct.pack("<Q", len(body) if length is None else length) + body
