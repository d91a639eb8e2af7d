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
from array import array
from bisect import bisect_left, bisect_right
from itertools import chain

from attrs import frozen

from checkpoint._model import Buffer
from checkpoint._spans import (
    ATOMS,
    GETS,
    WIDTHS,
    Item,
    Machine,
    Memo,
    Program,
    Step,
)
from checkpoint._translating import translated
from checkpoint.errors import FormatError, SerializationError

# A value or a row is a landmark if this much of it lies in no other, or so many others do.
_FAR = 512
_NEAR = 48  # ... and this much within a value that is open already
_NEVER = 1 << 62
_MANY = 16

_OWNER = 40
_START = (1 << _OWNER) - 1

_TO_MARK = 255
_FILLS = bytes(
    {pickle.APPEND[0]: 1, pickle.SETITEM[0]: 2, pickle.BUILD[0]: 1}.get(
        op, _TO_MARK if op in pickle.APPENDS + pickle.SETITEMS + pickle.ADDITEMS else 0
    )
    for op in range(256)
)
_MAKES_FROM_MARK = pickle.TUPLE + pickle.FROZENSET + pickle.OBJ
_MARK, _MEMOIZE, _STOP = pickle.MARK[0], pickle.MEMOIZE[0], pickle.STOP[0]
_PROTO, _FRAME = pickle.PROTO[0], pickle.FRAME[0]


@frozen
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
        self._survey, self._far = True, _FAR
        self._block: _Opening | None = None  # what was opened last, with landmarks of its own
        stop = len(data) - 1
        self.run(0, stop)
        self.root = self.item(self.stack[0], stop)
        self._survey = False
        self._sort()

    def _sort(self) -> None:
        self.landmarks.sort(key=lambda mark: (mark.end, -mark.start, mark.step is None))
        self._ends = array("q", (mark.end for mark in self.landmarks))

    # --- the pass -----------------------------------------------------------

    def _run(self, at: int, stop: int) -> int:
        # One loop: this is where the time goes.
        data, memo, stack, marks = self.data, self.memo, self.stack, self._marks
        survey, far, push = self._survey, self._far, stack.append
        atoms, widths, gets, fills = ATOMS, WIDTHS, GETS, _FILLS
        count = len(memo.puts) if survey else bisect_left(memo.puts, at)
        while at < stop:
            op = data[at]
            if size := gets[op]:
                index = data[at + 1]
                if size > 2:
                    index = int.from_bytes(data[at + 1 : at + size], "little")
                if index >= count:
                    _broken("what is not in the memo is recalled", at)
                push(at | index + 1 << _OWNER)
                at += size
            elif size := atoms[op]:
                push(at)
                at += size
            elif op == _MEMOIZE:
                if len(stack) <= marks[-1] or stack[-1] > _START:
                    _broken("what cannot be put into the memo is put there", at)
                if survey:
                    memo.starts.append(stack[-1])
                    memo.puts.append(at)
                    memo.ends.append(at + 1)
                count += 1
                stack[-1] |= count << _OWNER
                at += 1
            elif width := widths[op]:
                push(at)
                if width == 1:
                    at += 2 + data[at + 1]
                else:
                    at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "little")
            elif op == _MARK:
                push(at)
                marks.append(len(stack))
                at += 1
            elif taken := fills[op]:
                first = marks.pop() if taken == _TO_MARK else len(stack) - taken
                slot = first - 2 if taken == _TO_MARK else first - 1
                if slot < marks[-1]:
                    _broken("what is not there is filled", at)
                step = None
                if slot == 0:
                    step = Step(op, at, stack[first:])
                    self.filled.append(step)
                if at - (stack[slot + 1] & _START) > far:
                    self._note(op, at, slot + 1, first, step)
                del stack[slot + 1 :]
                at += 1
                if survey and (index := stack[slot] >> _OWNER):
                    if memo.starts[index - 1] == stack[slot] & _START:
                        memo.ends[index - 1] = at
                    else:
                        self._fill_recalled(index - 1, (stack[slot] & _START, at))
            elif op == _FRAME:
                at += 9
            elif op == _PROTO:
                at += 2
            else:
                self._apply(op, at)
                at += 1
        return at

    def _apply(self, op: int, at: int) -> None:
        if op == pickle.OBJ[0]:
            mark = self._marks.pop()
            if mark == len(self.stack):
                _broken("there is no class", at)
            self._make(op, at, mark - 1, mark)
        else:
            super()._apply(op, at)

    def _make(self, op: int, at: int, slot: int, first: int) -> None:
        if slot < self._marks[-1]:
            _broken("an opcode takes what is not there", at)
        if at - (self.stack[slot] & _START) > self._far:
            self._note(op, at, slot, first, None)
        super()._make(op, at, slot, first)

    # --- landmarks ----------------------------------------------------------

    def _note(self, op: int, at: int, slot: int, first: int, step: Step | None) -> None:
        """Set landmarks in what an opcode takes: from *slot* on, the operands from *first* on."""
        operands = self.stack[first:]
        start = self.stack[slot] & _START
        outer = self._outer
        low = bisect_left(outer, start, key=lambda mark: mark.start)
        inside, kept = outer[low:], []
        del outer[low:]
        place = 0
        for entry, following in zip(operands, chain(operands[1:], (at,)), strict=True):
            begin, end = entry & _START, following & _START
            if end - begin <= self._far:
                continue
            while place < len(inside) and inside[place].start < begin:
                kept.append(inside[place])
                place += 1
            item = self.item(entry, end)
            value = Landmark(item.start, item.end, item.index)
            if item.start == begin:
                place = self._settle(value, inside, place, kept)
        kept += inside[place:]
        if first != slot:
            row = Landmark(start, at + 1, -1, step or Step(op, at, operands))
            inside, kept = kept, []
            self._settle(row, inside, 0, kept)
        outer += kept

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
        if item == self.root and item.start == self.stack[0] & _START:
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
        self._survey, self._far = False, far
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
            super()._run(at, mark.start)
            self._leap(mark)
            self._outer.append(mark)
            at = mark.end
        return super()._run(at, stop)

    def _leap(self, mark: Landmark) -> None:
        stack, step = self.stack, mark.step
        if step is None:
            stack.append(mark.start | mark.index + 1 << _OWNER)
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
        return Disassembly(translated(data))
    except SerializationError as error:
        raise FormatError(f"not a whole pickle: {error}") from error


def _broken(what: str, at: int) -> None:
    raise SerializationError(f"this stream cannot be read: {what} at byte {at:,}")
