"""Atoms in a stream: numbers, texts, constants; of long ones no more than a beginning."""

from __future__ import annotations

import pickle
from typing import Any

from attrs import frozen

from checkpoint._selecting import UNTOLD, spelled
from checkpoint._spans import WIDTHS

# Of a long text or number no more than this is looked at.
LONGEST = 200

# How a value that no opcode fills is told by the opcode that pushes it.
TYPES = {
    pickle.NONE[0]: "NoneType",
    pickle.NEWTRUE[0]: "bool",
    pickle.NEWFALSE[0]: "bool",
    pickle.EMPTY_TUPLE[0]: "tuple",
    pickle.BINFLOAT[0]: "float",
    pickle.EMPTY_LIST[0]: "list",
    pickle.EMPTY_DICT[0]: "dict",
    pickle.EMPTY_SET[0]: "set",
    pickle.FROZENSET[0]: "frozenset",
    pickle.BYTEARRAY8[0]: "bytearray",
    pickle.NEXT_BUFFER[0]: "buffer",
    pickle.READONLY_BUFFER[0]: "buffer",
    pickle.BINPERSID[0]: "persistent id",
    pickle.STACK_GLOBAL[0]: "global",
    **dict.fromkeys(pickle.EXT1 + pickle.EXT2 + pickle.EXT4, "global"),
    **dict.fromkeys(pickle.TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3, "tuple"),
    **dict.fromkeys(pickle.BININT + pickle.BININT1 + pickle.BININT2, "int"),
    **dict.fromkeys(pickle.LONG1 + pickle.LONG4, "int"),
    **dict.fromkeys(pickle.SHORT_BINUNICODE + pickle.BINUNICODE + pickle.BINUNICODE8, "str"),
    **dict.fromkeys(pickle.SHORT_BINBYTES + pickle.BINBYTES + pickle.BINBYTES8, "bytes"),
}


@frozen
class Cut:
    """The beginning of an atom that is too long to be looked at, and how much there is."""

    head: Any
    length: int
    unit: str = ""

    def __repr__(self) -> str:
        return f"{self.head!r}… ({self.length:,}{self.unit})"


def atom(data: bytes, at: int) -> Any:
    """The atom at a place; of a long one the beginning, as a `Cut`."""
    op = data[at]
    if (width := WIDTHS[op]) and op != pickle.LONG1[0]:
        first = at + 1 + width
        length = int.from_bytes(data[at + 1 : first], "little")
        kind = TYPES[op]
        head = data[first : first + min(length, LONGEST)]
        if kind == "int":
            value = pickle.decode_long(data[first : first + length]) if length <= LONGEST else 0
            return value if length <= LONGEST else Cut(0, 8 * length, " bits")
        if kind == "str":
            text = head.decode("utf-8", "ignore" if length > LONGEST else "replace")
            return Cut(text, length, " bytes") if length > LONGEST else text
        return Cut(head, length, " bytes") if length > LONGEST else head
    value, _ = spelled(data, at)
    return value


def shown(value: Any) -> str:
    """A short text for an atom or a key."""
    if isinstance(value, Cut):
        return (
            f"{shown(value.head)} ({value.length:,}{value.unit})"
            if value.head
            else (f"a number of {value.length:,}{value.unit}")
        )
    if value is UNTOLD:
        return "<untold>"
    if isinstance(value, int) and value.bit_length() > 8 * LONGEST:
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, (str, bytes)) and len(value) > 60:
        return f"{value[:60]!r}…"
    if type(value) is tuple:
        inner = ", ".join(map(shown, value[:4])) + (", …" if len(value) > 4 else "")
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)
