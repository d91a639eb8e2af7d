"""Where in a stream each value is made: the stack machine of pickle, with places for values.

A stream is a program for a stack machine.  Each value in it is made by one run
of opcodes, its *span*: from the first opcode of its first operand to the last
opcode that changes it.  Two spans are nested or apart.  A value holds others
within its span, or recalls them from the memo.

Nothing is run and nothing is imported.  The work is linear in the stream.  What
picklers of protocol 5 do not write (and FRAME, which is not stored) is refused.
"""

from __future__ import annotations

import pickle
import re
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import NoReturn

from attrs import frozen

from checkpoint._model import Buffer
from checkpoint._opcodes import short
from checkpoint.errors import SerializationError

Span = tuple[int, int]

PROTO = pickle.PROTO + b"\x05"


def _sizes(opcodes: Mapping[bytes, int]) -> bytes:
    table = bytearray(256)
    for opcode, size in opcodes.items():
        table[opcode[0]] = size
    return bytes(table)


# The whole length of an opcode that pushes an atom or an empty container.
ATOMS = _sizes(
    dict.fromkeys((pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.EMPTY_TUPLE), 1)
    | dict.fromkeys((pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET), 1)
    | {pickle.BININT1: 2, pickle.BININT2: 3, pickle.BININT: 5, pickle.BINFLOAT: 9}
    | {pickle.EXT1: 2, pickle.EXT2: 3, pickle.EXT4: 5}
)

# The width of the length that stands before a payload.
WIDTHS = _sizes(
    dict.fromkeys((pickle.SHORT_BINUNICODE, pickle.SHORT_BINBYTES, pickle.LONG1), 1)
    | dict.fromkeys((pickle.BINUNICODE, pickle.BINBYTES, pickle.LONG4), 4)
    | dict.fromkeys((pickle.BINUNICODE8, pickle.BINBYTES8, pickle.BYTEARRAY8), 8)
)

# How many operands become one new value.
TAKES = _sizes(
    dict.fromkeys((pickle.TUPLE1, pickle.BINPERSID, pickle.READONLY_BUFFER), 1)
    | dict.fromkeys((pickle.TUPLE2, pickle.REDUCE, pickle.NEWOBJ, pickle.STACK_GLOBAL), 2)
    | dict.fromkeys((pickle.TUPLE3, pickle.NEWOBJ_EX), 3)
)

# How many operands go into the value below them, if not all down to the mark.
TO_MARK = 255
FILLS = _sizes(
    {pickle.APPEND: 1, pickle.SETITEM: 2, pickle.BUILD: 1}
    | dict.fromkeys((pickle.APPENDS, pickle.SETITEMS, pickle.ADDITEMS), TO_MARK)
)
_TAKES_TO_MARK = pickle.TUPLE + pickle.FROZENSET

# The whole length of an opcode that recalls something.
GETS = _sizes({pickle.BINGET: 2, pickle.LONG_BINGET: 5})

# The whole length of each opcode that always has one, but for those of names by number.
EXTENSIONS = pickle.EXT1 + pickle.EXT2 + pickle.EXT4
_ALONE = pickle.MARK + pickle.POP + pickle.POP_MARK + pickle.MEMOIZE + pickle.NEXT_BUFFER
_ALONE += pickle.OBJ + _TAKES_TO_MARK
SIZES = bytes(
    ATOMS[op] * (op not in EXTENSIONS) or GETS[op] or bool(TAKES[op] or FILLS[op] or op in _ALONE)
    for op in range(256)
)

_MARK, _POP, _POP_MARK = pickle.MARK[0], pickle.POP[0], pickle.POP_MARK[0]
_MEMOIZE, _NEXT_BUFFER = pickle.MEMOIZE[0], pickle.NEXT_BUFFER[0]
_TUPLE2, _REDUCE = pickle.TUPLE2[0], pickle.REDUCE[0]


def _of_size(size: int) -> bytes:
    """What matches an opcode of this size, whatever its argument is."""
    found = re.escape(bytes(op for op in range(256) if SIZES[op] == size))
    return b"[%b]" % found + (b"+" if size == 1 else b".{%d}" % (size - 1))


_SHORT = short(pickle.SHORT_BINUNICODE + pickle.SHORT_BINBYTES + pickle.LONG1)
_RUN = re.compile(b"(?:%b)*+" % b"|".join([*map(_of_size, (1, 2, 3, 5, 9)), _SHORT]), re.DOTALL)

# A stack entry is one int: where its span starts, and above that one more than its memo index.
OWNER = 40
START = (1 << OWNER) - 1


@frozen
class Item:
    """A value: its span, and its index in the memo, or -1."""

    start: int
    end: int
    index: int


@frozen
class Step:
    """One opcode that made or filled a value, and the stack entries that it took."""

    opcode: int
    at: int
    operands: array[int]


class Memo:
    """Of each memo entry: the span of its value, and where it was put into the memo."""

    def __init__(self) -> None:
        self.starts, self.ends, self.puts = array("q"), array("q"), array("q")

    def before(self, at: int) -> Memo:
        """The entries that were put there before *at*."""
        memo, count = Memo(), bisect_left(self.puts, at)
        memo.starts, memo.ends = self.starts[:count], self.ends[:count]
        memo.puts = self.puts[:count]
        return memo


class Machine:
    """Goes over a span, and keeps how the value at the bottom of the stack was made and filled.

    Beside it: where the memo is recalled (`gets`, `recalled`), where buffers
    are taken, what was dropped again, and what was filled outside of its span.
    """

    def __init__(self, data: Buffer, memo: Memo) -> None:
        self.data, self.memo = data, memo
        self.stack: list[int] = []
        self._marks = [0]  # a mark stands on the stack, too; this has the slot above it
        self.made: Step | None = None
        self.filled: list[Step] = []
        self.gets, self.recalled, self.buffers = array("q"), array("q"), array("q")
        self.dropped: dict[int, int] = {}  # the end of what was dropped, and its start
        self.later: list[tuple[int, Span]] = []  # memo entries and what fills them afterwards
        self.by_call: set[int] = set()  # ... by a function that is given them
        self.by_recall: set[int] = set()  # ... after they were recalled: picklers do not
        self._pair = self._call = (-1, 0)

    def run(self, at: int, stop: int) -> None:
        """Go over the opcodes from *at* to *stop*, which make one value."""
        try:
            at = self._run(at, stop)
        except IndexError:
            malformed("an opcode takes what is not there", stop)
        if at != stop or len(self.stack) != 1 or self._marks != [0]:
            malformed("it does not end with one value", stop)

    def _run(self, at: int, stop: int) -> int:
        # One loop, with a call for one opcode in ten: this is where the time goes.
        data, memo, stack, marks = self.data, self.memo, self.stack, self._marks
        push, get, recall = stack.append, self.gets.append, self.recalled.append
        count = len(memo.puts)
        while at < stop:
            op = data[at]
            if size := ATOMS[op]:
                push(at)
                at += size
            elif size := GETS[op]:
                index = data[at + 1]
                if size > 2:
                    index = int.from_bytes(data[at + 1 : at + size], "little")
                if index >= count:
                    malformed("what is not in the memo is recalled", at)
                get(at)
                recall(index)
                push(at | index + 1 << OWNER)
                at += size
            elif op == _MEMOIZE:
                entry = stack[-1]
                if entry > START:
                    malformed("what is in the memo is put there again", at)
                memo.starts.append(entry)
                memo.puts.append(at)
                count += 1
                stack[-1] = entry | count << OWNER
                at += 1
                memo.ends.append(at)
            elif op == _MARK:
                push(at)
                marks.append(len(stack))
                at += 1
            elif taken := FILLS[op]:
                first = marks.pop() if taken == TO_MARK else len(stack) - taken
                slot = first - 2 if taken == TO_MARK else first - 1
                if slot < marks[-1]:
                    malformed("what is not there is filled", at)
                if slot == 0:
                    self.filled.append(Step(op, at, array("Q", stack[first:])))
                del stack[slot + 1 :]
                at += 1
                if index := stack[slot] >> OWNER:
                    if memo.starts[index - 1] == stack[slot] & START:
                        memo.ends[index - 1] = at
                    else:
                        self._fill_recalled(index - 1, (stack[slot] & START, at))
            elif width := WIDTHS[op]:
                push(at)
                at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "little")
            else:
                self._apply(op, at)
                at += 1
        return at

    def _fill_recalled(self, index: int, span: Span) -> None:
        self.by_recall.add(index)
        self.later.append((index, span))

    def _apply(self, op: int, at: int) -> None:
        if taken := TAKES[op]:
            first = len(self.stack) - taken
            self._make(op, at, first, first)
        elif op in _TAKES_TO_MARK:
            mark = self._marks.pop()
            self._make(op, at, mark - 1, mark)
        elif op == _POP:
            self._pop(at)
        elif op == _POP_MARK:
            self._drop(self._marks.pop() - 1, at)
        elif op == _NEXT_BUFFER:
            self.buffers.append(at)
            self.stack.append(at)
        else:
            malformed(f"the opcode {bytes([op])!r} is not one that is written here,", at)

    def _make(self, op: int, at: int, slot: int, first: int) -> None:
        """Put one new value where its operands were: in *slot*, and from *first* on."""
        stack = self.stack
        if slot < self._marks[-1]:
            malformed("an opcode takes what is not there", at)
        if slot == 0:
            self.made, self.filled = Step(op, at, array("Q", stack[first:])), []
        start = stack[slot] & START
        if op == _TUPLE2:
            self._pair = at, stack[slot]
        elif op == _REDUCE:
            self._call = at, start
        del stack[slot + 1 :]
        stack[slot] = start

    def _pop(self, at: int) -> None:
        slot = len(self.stack) - 1
        if self._marks[-1] == slot + 1:
            self._marks.pop()
        start = self._drop(slot, at)
        # `setter(obj, state)`, for what it does to obj: the sixth part of a reduction.
        if self._call == (at - 1, start) and self._pair[0] == at - 2:
            index = (self._pair[1] >> OWNER) - 1
            if index >= 0:
                self.by_call.add(index)
                self.later.append((index, (start, at)))

    def _drop(self, slot: int, at: int) -> int:
        start = self.stack[slot] & START
        if slot == 0:
            self.made, self.filled = None, []
        del self.stack[slot:]
        self.dropped[at + 1] = start
        return start


def run_end(data: Buffer, at: int, end: int) -> int:
    """Where a run of opcodes ends, from *at* on: of those in `SIZES`, or with a short payload.

    Whether they take what is there is for whoever reads them.
    """
    found = _RUN.match(data, at, end)
    assert found is not None  # It may be empty.
    return found.end()


class Program(Machine):
    """A whole stream, and its root."""

    def __init__(self, stream: Buffer) -> None:
        data = stream if isinstance(stream, bytes) else memoryview(stream).cast("B")
        super().__init__(data, Memo())
        last = len(data) - 1
        if not 2 < last < START or data[:2] != PROTO or data[last] != pickle.STOP[0]:
            malformed("it is not one pickle of protocol 5", 0)
        self.run(2, last)
        self.root = self.item(self.stack[0], last)

    def item(self, entry: int, end: int) -> Item:
        """The value of a stack *entry* after which the next opcode but for drops is at *end*."""
        return Item(*self.place(entry, end))

    def place(self, entry: int, end: int) -> tuple[int, int, int]:
        """Of what `item` gives: its start, its end and its index."""
        index = (entry >> OWNER) - 1
        if index >= 0:
            return self.memo.starts[index], self.memo.ends[index], index
        while end in self.dropped:
            end = self.dropped[end]
        return entry & START, end, index

    def operand(self, step: Step, place: int) -> Item:
        """The value that *step* took at *place* among its operands."""
        rest = step.operands[place : place + 2]
        return self.item(rest[0], rest[1] & START if len(rest) == 2 else step.at)

    def opened(self, item: Item) -> Machine:
        """A machine that has made *item*, and nothing else."""
        if item == self.root and item.start == self.stack[0] & START:
            return self
        machine = Machine(self.data, self.memo.before(item.start))
        machine.run(item.start, item.end)
        return machine


def malformed(what: str, at: int) -> NoReturn:
    raise SerializationError(f"nothing can be selected from this stream: {what} at byte {at:,}")
