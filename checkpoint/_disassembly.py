"""A stream as values within values, none of them made: for looking at it, at any depth.

One pass over the stream finds where each memoized value begins and ends, and
sets landmarks: long values, and long rows of operands.  A value is opened by a
second pass over its span alone, which leaps over the landmarks in it.  So to
open a value costs about what it holds directly, and all of them together are
linear in the stream.

A pickle of any protocol can be read; one that protocol 5 would spell otherwise
is translated first.
"""

from __future__ import annotations

import pickle
import re
from array import array
from bisect import bisect_left, bisect_right
from itertools import pairwise
from operator import attrgetter

from attrs import define

from checkpoint._model import Buffer
from checkpoint._spans import (
    ATOMS,
    FILLS,
    GETS,
    OWNER,
    START,
    TO_MARK,
    WIDTHS,
    Item,
    Machine,
    Memo,
    Program,
    Step,
)
from checkpoint._translating import legible
from checkpoint.errors import FormatError, SerializationError

# A value or a row is a landmark if this much of it lies in no other, or so many others do.
_FAR = 512
_NEAR = 48  # ... and this much within a value that is open already
_NEVER = 1 << 62
_MANY = 16

_MAKES_FROM_MARK = pickle.TUPLE + pickle.FROZENSET + pickle.OBJ
_MARK, _MEMOIZE = pickle.MARK[0], pickle.MEMOIZE[0]
_PROTO, _FRAME = pickle.PROTO[0], pickle.FRAME[0]

# Most of a stream of small objects: an instance and its empty state, and a row of plain values
# that fills something, new strings and lists of plain values among them.
_NEW_INSTANCE = b"".join(
    (
        pickle.EMPTY_TUPLE,
        pickle.NEWOBJ,
        pickle.MEMOIZE,
        pickle.EMPTY_DICT,
        pickle.MEMOIZE,
        pickle.MARK,
    )
)
_PLAIN = rb"(?:h.|K.|M..|J.{4}|G.{8}|[N\x88\x89)])*+"
_NEW = rb"(\x8c(?:%b)|[]}\x8f])\x94(?:\(%b[eu\x90])?" % (
    b"|".join(b"\\x%02x.{%d}" % (length, length) for length in range(64)),
    _PLAIN,
)
# To the end of the row, or a search goes on within the numbers that are left of it.
_UNIT = re.compile(rb"%b(?:%b|(j.{4})|\Z)" % (_PLAIN, _NEW), re.DOTALL)
# A group in what is repeated so is an error in `re`: there are none.
_ROW_OPCODES = rb"\((?:%b(?:%b|j.{4}))*+%b[eu\x90]" % (
    _PLAIN,
    _NEW.replace(b"(\\x8c", b"(?:\\x8c"),
    _PLAIN,
)
_ROW = re.compile(_ROW_OPCODES, re.DOTALL)
_OBJECT = re.compile(rb"(h.|j.{4})%b%bb" % (re.escape(_NEW_INSTANCE[:-1]), _ROW_OPCODES), re.DOTALL)

_START_OF = attrgetter("start")


@define(eq=False)  # A frozen one takes twice as long to make, and there may be many.
class Landmark:
    """A value, or with a step a row of operands and what takes it, that need not be gone over."""

    start: int
    end: int
    index: int = -1
    step: Step | None = None


class Disassembly(Program):
    """A stream of protocol 4 or 5, framed or not, and its root."""

    def __init__(self, data: bytes) -> None:
        memo = Memo()
        if len(data) < 1 << 32:
            memo.starts, memo.ends, memo.puts = array("I"), array("I"), array("I")
        Machine.__init__(self, data, memo)
        self.landmarks: list[Landmark] = []
        self._outer: list[Landmark] = []  # those that are in no other one yet, in order
        self._far = _FAR
        self._block: _Opening | None = None  # what was opened last, with landmarks of its own
        stop = len(data) - 1
        self.run(0, stop)
        self.root = self.item(self.stack[0], stop)
        self._sort()

    def _sort(self) -> None:
        self.landmarks.sort(key=lambda mark: (mark.end, -mark.start, mark.step is None))
        self._ends = array("q", (mark.end for mark in self.landmarks))

    # --- the pass -----------------------------------------------------------

    def _run(self, at: int, stop: int) -> int:
        # One loop: this is where the time goes.
        data, memo, stack, marks, far = self.data, self.memo, self.stack, self._marks, self._far
        push, atoms, widths, gets, fills = stack.append, ATOMS, WIDTHS, GETS, FILLS
        while at < stop:
            op = data[at]
            if size := gets[op]:
                index = self._recalled(at, size, len(memo.puts))
                if data[at + size : at + size + 6] == _NEW_INSTANCE and (end := self._objects(at)):
                    at = end
                    continue
                push(at | index + 1 << OWNER)
                at += size
            elif size := atoms[op]:
                push(at)
                at += size
            elif op == _MEMOIZE:
                if len(stack) <= marks[-1] or stack[-1] > START:
                    _broken("what cannot be put into the memo is put there", at)
                memo.starts.append(stack[-1])
                memo.puts.append(at)
                at += 1
                memo.ends.append(at)
                stack[-1] |= len(memo.puts) << OWNER
            elif width := widths[op]:
                push(at)
                at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "little")
            elif op == _MARK:
                if end := self._flat(at):
                    at = end
                    continue
                push(at)
                marks.append(len(stack))
                at += 1
            elif taken := fills[op]:
                first = marks.pop() if taken == TO_MARK else len(stack) - taken
                slot = first - 2 if taken == TO_MARK else first - 1
                if slot < marks[-1]:
                    _broken("what is not there is filled", at)
                step = None
                if slot == 0:
                    step = Step(op, at, array("Q", stack[first:]))
                    self.filled.append(step)
                if at - (stack[slot + 1] & START) > far:
                    self._note(op, at, slot + 1, first, step)
                del stack[slot + 1 :]
                at += 1
                self._fill(stack[slot], at)
            else:
                at += self._apply(op, at)
        return at

    def _recalled(self, at: int, size: int, count: int) -> int:
        """The number in the memo that is recalled at a place."""
        index: int = self.data[at + 1]
        if size > 2:
            index = int.from_bytes(self.data[at + 1 : at + size], "little")
        if index >= count:
            _broken("what is not in the memo is recalled", at)
        return index

    def _fill(self, entry: int, end: int) -> None:
        """Note that a value was filled up to *end*."""
        if index := entry >> OWNER:
            if self.memo.starts[index - 1] == entry & START:
                self.memo.ends[index - 1] = end
            else:
                self._fill_recalled(index - 1, (entry & START, end))

    def _flat(self, at: int) -> int:
        """Go over a short row of plain values and what it fills; the place after it, or 0."""
        stack = self.stack
        if len(stack) < 2 or len(stack) <= self._marks[-1] or len(self.memo.puts) < 256:
            return 0
        row = _ROW.match(self.data, at)
        if row is None or (end := row.end()) - at > self._far:
            return 0
        self._put_units(at + 1, end - 1)
        self._fill(stack[-1], end)
        return end

    def _objects(self, at: int) -> int:
        """Go over small instances with states of plain values; the place after them, or 0."""
        data, memo, push = self.data, self.memo, self.stack.append
        start_at, put_at, end_at = memo.starts.append, memo.puts.append, memo.ends.append
        count, end, far, units = len(memo.puts), 0, self._far, _UNIT.finditer
        if not self.stack or count < 256:
            return 0
        while found := _OBJECT.match(data, at):
            last, first = found.end(), found.end(1)
            if last - at > far:
                break
            if first - at > 2:  # A number of one byte is in a memo of 256.
                self._recalled(at, 5, count)
            push(at | count + 1 << OWNER)
            start_at(at)
            start_at(first + 3)
            put_at(first + 2)
            put_at(first + 4)
            end_at(last)
            end_at(last - 1)
            count += 2
            for unit in units(data, first + 6, last - 2):
                start, put = unit.span(1)
                if start >= 0:
                    start_at(start)
                    put_at(put)
                    end_at(unit.end())
                    count += 1
                    continue
                recall = unit.start(2)
                if recall >= 0:
                    self._recalled(recall, 5, count)
            at = end = last
        return end

    def _put_units(self, at: int, end: int) -> None:
        """Put into the memo what a row of plain values puts there."""
        memo = self.memo
        for unit in _UNIT.finditer(self.data, at, end):
            start, put = unit.span(1)
            if start < 0:
                if unit.start(2) >= 0:
                    self._recalled(unit.start(2), 5, len(memo.puts))
                continue
            memo.starts.append(start)
            memo.puts.append(put)
            memo.ends.append(unit.end())

    def _apply(self, op: int, at: int) -> int:  # type: ignore[override]
        """Do what an opcode does that is not met often; its size."""
        if op == _FRAME:
            return 9
        if op == _PROTO:
            return 2
        if op != pickle.OBJ[0]:
            super()._apply(op, at)
            return 1
        mark = self._marks.pop()
        if mark == len(self.stack):
            _broken("there is no class", at)
        self._make(op, at, mark - 1, mark)
        return 1

    def _make(self, op: int, at: int, slot: int, first: int) -> None:
        if slot < self._marks[-1]:
            _broken("an opcode takes what is not there", at)
        if at - (self.stack[slot] & START) > self._far:
            self._note(op, at, slot, first, None)
        super()._make(op, at, slot, first)

    # --- landmarks ----------------------------------------------------------

    def _note(self, op: int, at: int, slot: int, first: int, step: Step | None) -> None:
        """Set landmarks in what an opcode takes: from *slot* on, the operands from *first* on."""
        start = self.stack[slot] & START
        outer = self._outer
        if self._is_deep_nest(start, at + 1):
            return
        operands = self.stack[first:]
        low = bisect_left(outer, start, key=_START_OF)
        inside, kept = outer[low:], []
        del outer[low:]
        place = 0
        for entry, following in pairwise([*operands, at]):
            begin, end = entry & START, following & START
            if end - begin <= self._far:
                continue
            while place < len(inside) and inside[place].start < begin:
                kept.append(inside[place])
                place += 1
            value = Landmark(*self.place(entry, end))
            if value.start == begin:
                place = self._settle(value, inside, place, kept)
        kept += inside[place:]
        if first != slot:
            row = Landmark(start, at + 1, -1, step or Step(op, at, array("Q", operands)))
            inside, kept = kept, []
            self._settle(row, inside, 0, kept)
        outer += kept

    def _is_deep_nest(self, start: int, end: int) -> bool:
        """Whether a landmark lies in this span, and the rest is too little for another."""
        if not self._outer or (last := self._outer[-1]).start < start:
            return False
        return end - start - (last.end - last.start) <= self._far

    def _settle(
        self, mark: Landmark, inside: list[Landmark], place: int, kept: list[Landmark]
    ) -> int:
        """Keep *mark*, or those that are in it; the place of the first after it."""
        last = place
        own = mark.end - mark.start
        while last < len(inside) and inside[last].start < mark.end:
            own -= inside[last].end - inside[last].start
            last += 1
        if own > self._far or last - place > _MANY:
            self.landmarks.append(mark)
            kept.append(mark)
        else:
            kept += inside[place:last]
        return last

    def within(self, item: Item) -> list[Landmark]:
        """The landmarks in *item* that are in no other one there, in order."""
        found = []
        at = bisect_right(self._ends, item.end) - 1
        while at >= 0 and (mark := self.landmarks[at]).start >= item.start:
            if mark.step is None and (mark.start, mark.end) == (item.start, item.end):
                at -= 1
                continue
            found.append(mark)
            at = bisect_right(self._ends, mark.start, 0, at) - 1
        return found[::-1]

    # --- values -------------------------------------------------------------

    def opened(self, item: Item) -> Machine:
        """How *item* is made and filled."""
        if item == self.root and item.start == self.stack[0] & START:
            return self
        block = self._block
        if block is not None and block.covers(item):
            return _Opening(self, item, block.within(item), _NEVER)
        opening = _Opening(self, item, self.within(item), _NEAR)
        if len(opening.landmarks) > len(opening.leaps):
            self._block = opening
        return opening


class _Opening(Disassembly):
    """A machine that has made one value, and nothing else."""

    def __init__(self, whole: Disassembly, item: Item, leaps: list[Landmark], far: int) -> None:
        Machine.__init__(self, whole.data, whole.memo)
        self._far = far
        self.whole, self.leaps = item, leaps
        self.landmarks, self._outer = [*leaps], []
        self.run(item.start, item.end)
        self._sort()

    def covers(self, item: Item) -> bool:
        """Whether *item* is in this one, and in nothing that was leapt over."""
        if item.start < self.whole.start or item.end > self.whole.end:
            return False
        at = bisect_right(self.leaps, item.start, key=lambda mark: mark.start) - 1
        return at < 0 or item.end > self.leaps[at].end

    def _run(self, at: int, stop: int) -> int:
        for mark in self.leaps:
            self._open(at, mark.start)
            self._leap(mark)
            self._outer.append(mark)
            at = mark.end
        return self._open(at, stop)

    def _open(self, at: int, stop: int) -> int:
        """What `_run` does, but the memo is known."""
        data, stack, marks = self.data, self.stack, self._marks
        count = bisect_left(self.memo.puts, at)
        while at < stop:
            op = data[at]
            if size := GETS[op]:
                stack.append(at | self._recalled(at, size, count) + 1 << OWNER)
                at += size
            elif size := ATOMS[op]:
                stack.append(at)
                at += size
            elif op == _MEMOIZE:
                count += 1
                stack[-1] |= count << OWNER
                at += 1
            elif width := WIDTHS[op]:
                stack.append(at)
                at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "little")
            elif op == _MARK:
                stack.append(at)
                marks.append(len(stack))
                at += 1
            elif taken := FILLS[op]:
                first = marks.pop() if taken == TO_MARK else len(stack) - taken
                slot = first - 2 if taken == TO_MARK else first - 1
                step = Step(op, at, array("Q", stack[first:])) if slot == 0 else None
                if step is not None:
                    self.filled.append(step)
                if at - (stack[slot + 1] & START) > self._far:
                    self._note(op, at, slot + 1, first, step)
                del stack[slot + 1 :]
                at += 1
            else:
                at += self._apply(op, at)
        return at

    def _leap(self, mark: Landmark) -> None:
        stack, step = self.stack, mark.step
        if step is None:
            stack.append(mark.start | mark.index + 1 << OWNER)
        elif step.opcode in _MAKES_FROM_MARK:
            if not stack:
                self.made, self.filled = step, []
            stack.append(mark.start)
        elif len(stack) == 1:
            self.filled.append(step)


def disassembled(data: Buffer) -> Disassembly:
    """The values of a pickle of any protocol; nothing of it is run.

    FormatError if it is no pickle.
    """
    data = data if isinstance(data, bytes) else bytes(data)
    if data[:1] == pickle.PROTO and data[1:2] in (b"\x04", b"\x05") and data[-1:] == pickle.STOP:
        try:
            return Disassembly(data)
        except SerializationError:
            pass  # spelled in a way that the translation puts right, or tells what is wrong
    try:
        return Disassembly(legible(data))
    except SerializationError as error:
        raise FormatError(f"not a whole pickle: {error}") from error


def _broken(what: str, at: int) -> None:
    raise SerializationError(f"this stream cannot be read: {what} at byte {at:,}")
