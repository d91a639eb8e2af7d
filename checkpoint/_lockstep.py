"""How far two runs of opcodes are the same, but for the numbers of their references."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator

from checkpoint._spans import ATOMS, GETS, WIDTHS

Same = Callable[[int, int, int], bool]

_BARE = b"".join(
    (
        *(pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.MEMOIZE, pickle.NONE, pickle.NEWTRUE),
        *(pickle.NEWFALSE, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET),
        *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
        *(pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS, pickle.ADDITEMS),
        *(pickle.FROZENSET, pickle.BUILD, pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX),
        *(pickle.STACK_GLOBAL, pickle.BINPERSID, pickle.OBJ),
    )
)
_OTHER = rb"[%b]|K.|M..|J.{4}|G.{8}|\x8c(?:%b)" % (
    re.escape(_BARE),
    b"|".join(b"\\x%02x.{%d}" % (length, length) for length in range(64)),
)
_OTHERS = b"(?:%b)*+" % _OTHER
_UP_TO_REFERENCE = re.compile(_OTHERS + rb"(?=[hj])", re.DOTALL)
_OVER_OTHERS = re.compile(_OTHERS, re.DOTALL)
_REFERENCE = re.compile(rb"(%b)(h.|j.{4}|\Z)" % _OTHERS, re.DOTALL)
_KNOWN = re.compile(b"(?:%b|h.|j.{4})*+" % _OTHER, re.DOTALL)


class Renumbering(dict[bytes, bytes]):
    """Of each opcode that recalls something, the one that recalls what stands for it."""

    def __init__(self, number_of: Callable[[int], int | None]) -> None:
        super().__init__({b"": b""})  # The end is no reference.
        self._number_of = number_of

    def __missing__(self, opcode: bytes) -> bytes:
        number = self._number_of(int.from_bytes(opcode[1:], "little"))
        if number is None:
            raise LookupError(opcode)
        self[opcode] = recalling(number)
        return self[opcode]

    def of(self, opcodes: bytes) -> bytes | None:
        """*opcodes* with all references renumbered; None if that is not known of one."""
        known = _KNOWN.match(opcodes)
        if known is None or known.end() != len(opcodes):
            return None
        try:
            return b"".join([others + self[get] for others, get in _REFERENCE.findall(opcodes)])
        except LookupError:
            return None


def recalling(number: int) -> bytes:
    """The opcode that recalls an entry of the memo."""
    if number < 256:
        return pickle.BINGET + bytes([number])
    return pickle.LONG_BINGET + number.to_bytes(4, "little")


def length_of(data: bytes, at: int) -> int:
    """The length of the opcode at a place, with its argument."""
    op = data[at]
    if width := WIDTHS[op]:
        return 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "little")
    return ATOMS[op] or GETS[op] or (9 if op == pickle.FRAME[0] else 1)


def agreed(
    one: bytes, at: int, end: int, other: bytes, place: int, stop: int, same: Same
) -> tuple[int, int]:
    """The places up to which two runs are the same: from *at* to *end*, from *place* to *stop*.

    *same* is given the place of a reference in *one*, and both numbers.  What
    takes a buffer is never the same.
    """
    pairs = zip(_references(one, at, end), _references(other, place, stop), strict=False)
    for (get, index), (got, number) in pairs:
        length = min(get - at, got - place)
        if one[at : at + length] != other[place : place + length]:
            length = _common(one[at : at + length], other[place : place + length])
            return at + length, place + length
        at, place = at + length, place + length
        if (at, place) != (get, got) or index < 0 or number < 0 or not same(get, index, number):
            break
        at, place = at + GETS[one[at]], place + GETS[other[place]]
    return at, place


def _references(data: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """The places and numbers of the references; -1 at the end, or where a buffer is taken."""
    while at < end:
        if found := _UP_TO_REFERENCE.match(data, at, end):
            at = found.end()
            size = GETS[data[at]]
            yield at, int.from_bytes(data[at + 1 : at + size], "little")
            at += size
            continue
        skipped = _OVER_OTHERS.match(data, at, end)
        at = at if skipped is None else skipped.end()
        if at < end:
            if data[at] == pickle.NEXT_BUFFER[0]:
                yield at, -1
                return
            if not GETS[data[at]]:
                at += length_of(data, at)
    yield end, -1


def _common(one: bytes, other: bytes) -> int:
    """How many bytes two begin with in common, that are not equal."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
