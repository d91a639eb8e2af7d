"""Numbers and strings as old protocols spell them, and as protocol 5 does.

Each function raises ValueError, which says what is wrong with the text.
"""

from __future__ import annotations

import codecs
import pickle
import re
from math import isinf
from struct import pack

# Python reads no longer ones by default either: it takes time that grows with the square.
_LONGEST_NUMBER = 4300
# What pickle and Python read alike, without whitespace, underscores, octals or a plus.
_INTEGER = re.compile(rb"0|-?[1-9][0-9]*|-?0[xX][0-9a-fA-F]+")
_INDEX = re.compile(rb"0|[1-9][0-9]{0,9}")
_FLOAT = re.compile(rb"-?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|(inf|nan))")
# Escapes that Python warns of are left out: they never came from a repr.
_ESCAPED = re.compile(
    rb"(?:[^\\]++|\\(?:[\\'\"abfnrtv]|x[0-9a-fA-F]{2}|[0-3][0-7]{0,2}|[4-7][0-7]?(?![0-7])))*+"
)


def integer(line: bytes) -> bytes:
    """The opcode of an integer that is written as text."""
    if len(line) > _LONGEST_NUMBER:
        raise ValueError(f"a number has {len(line):,} digits, which Python does not read as text")
    if not _INTEGER.fullmatch(line):
        raise ValueError("a number is none")
    value = int(line, 0)
    if 0 <= value < 1 << 8:
        return pickle.BININT1 + bytes([value])
    if 0 <= value < 1 << 16:
        return pickle.BININT2 + value.to_bytes(2, "little")
    if -(1 << 31) <= value < 1 << 31:
        return pickle.BININT + pack("<i", value)
    raw = pickle.encode_long(value)
    if len(raw) < 1 << 8:
        return pickle.LONG1 + bytes([len(raw)]) + raw
    return pickle.LONG4 + pack("<i", len(raw)) + raw


def index(line: bytes) -> int:
    """The place in the memo that is written as text."""
    if not _INDEX.fullmatch(line):
        raise ValueError("a place in the memo is no number")
    return int(line)


def floating(line: bytes) -> bytes:
    """The opcode of a float that is written as text."""
    number = _FLOAT.fullmatch(line) if len(line) <= _LONGEST_NUMBER else None
    if number is None:
        raise ValueError("a number is none")
    value = float(line)
    if isinf(value) and not number[1]:
        raise ValueError("a number is too large for a float")
    return pickle.BINFLOAT + pack(">d", value)


def unquoted(line: bytes) -> bytes:
    """The string of Python 2 that *line* is the repr of."""
    if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
        raise ValueError("a string has no quotes")
    if not _ESCAPED.fullmatch(line, 1, len(line) - 1):
        raise ValueError("a string has a broken escape")
    return codecs.escape_decode(line[1:-1])[0]


def text(value: str) -> bytes:
    """The opcode of a text."""
    raw = value.encode("utf-8", "surrogatepass")
    return _counted(raw, pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8)


def binary(value: bytes) -> bytes:
    """The opcode of bytes."""
    return _counted(value, pickle.SHORT_BINBYTES, pickle.BINBYTES, pickle.BINBYTES8)


def _counted(raw: bytes, short: bytes, usual: bytes, long: bytes) -> bytes:
    if len(raw) < 1 << 8:
        return short + bytes([len(raw)]) + raw
    if len(raw) < 1 << 32:
        return usual + len(raw).to_bytes(4, "little") + raw
    return long + len(raw).to_bytes(8, "little") + raw
