"""Two streams gone through together, from the root down: where do their graphs differ?

Two spans that have the same opcodes are not gone into: references count as the
same if they lead to values that stand for each other.  A value is met once;
where it is recalled it is a reference, which differs if it leads elsewhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise, zip_longest
from typing import Any

from checkpoint._atoms import Cut
from checkpoint._lockstep import Renumbering, agreed, length_of, recalling
from checkpoint._model import Buffer
from checkpoint._outline import Outline, Source
from checkpoint._partners import Partners
from checkpoint._selecting import UNTOLD
from checkpoint._spans import WIDTHS, Item
from checkpoint._views import KEYED, Stretch, View

_AHEAD = 16  # items that are looked ahead for two that are the same again
_A_STRETCH, _FURTHEST = 8, 4096  # items that are worth it to be compared at once
_PATIENCE = 200  # items in a row for which this is done in vain; values of small ones compared
_DEEPEST = 20_000  # values within values; what is deeper is changed as a whole
# First one changed in its place, then one more or one less, then whatever is nearest.
_STEPS = [(1, 1), (0, 1), (1, 0)] + [
    (one, steps - one)
    for steps in range(2, _AHEAD)
    for one in sorted(range(steps + 1), key=lambda one: abs(2 * one - steps))
    if (one, steps) != (1, 2)  # that is the first one
]
_FEW = 64  # numbers in the memo that are looked for in equal bytes one by one
_SHORT = 2048  # bytes that are compared opcode by opcode at any time
_LONG = 1 << 16  # bytes that are gone into rather

_Pair = tuple[Outline | None, Outline | None]


class Comparison:
    """The one way through two graphs."""

    def __init__(
        self, old: Source, new: Source, old_digests: Sequence[str], new_digests: Sequence[str]
    ) -> None:
        self._old, self._new = old, new
        self._digests = old_digests, new_digests
        self._partners = Partners()
        self._apart: list[int] = []  # numbers that both memos use, for different values
        # What was taken to be the same, if these entries of the memos prove to be partners.
        self._tentative: list[tuple[Outline, Outline, list[tuple[int, int]]]] = []
        self._reach = _A_STRETCH  # twice as far where it went well
        self._sure: tuple[Item, Item] | None = None  # what must be looked into
        # Opcode by opcode, nothing long is compared again and again.
        self._budget = 4 * (len(old.program.data) + len(new.program.data))

    def changes(self) -> Iterator[_Pair]:
        """The pairs that differ; of what one graph does not have, there is but one."""
        roots = [Outline(side, side.program.root, None, None) for side in (self._old, self._new)]
        yield from self._changes(iter([(roots[0], roots[1])]))
        while self._tentative:
            old, new, pairs = self._tentative.pop()
            if any(self._partners.new_of(first) != second for first, second in pairs):
                self._sure = (old.item, new.item)
                yield from self._changes(iter([(old, new)]))

    def _changes(self, pairs: Iterator[_Pair]) -> Iterator[_Pair]:
        """What differs in *pairs*, and in all that they hold."""
        frames = [pairs]
        while frames:
            pair = next(frames[-1], None)
            if pair is None:
                frames.pop()
                continue
            old, new = pair
            if old is None or new is None:
                self._part(old, new)
                yield old, new
                continue
            inside = self._compared(old, new) if len(frames) < _DEEPEST else None
            if inside is None:
                yield old, new
            else:
                frames.append(inside)

    # --- two values ---------------------------------------------------------

    def _compared(self, old: Outline, new: Outline) -> Iterator[_Pair] | None:
        """The pairs to compare in two values; None if they differ as they are."""
        if self._same(old, new) or self._same_key(old, new):
            return iter(())
        one, other = old.view, new.view
        if one.value is not UNTOLD or other.value is not UNTOLD:
            if self._same_atom(one, other):
                self._together(one.item, other.item)
                return iter(())
        elif self._comparable(old, new):
            self._together(one.item, other.item)
            if one.data is not None or one.buffer is not None:
                same = bool(self._memory(0, one) == self._memory(1, other))
                return iter(()) if same else None
            return self._pairs(old, new)
        self._part(old, new)
        return None

    def _same_key(self, old: Outline, new: Outline) -> bool:
        """Whether two are values that can be keys, one of them recalled, and equal."""
        if not (old.is_recalled or new.is_recalled):
            return False
        one, other = (node.source.views.keys.told(node.item) for node in (old, new))
        return one is not UNTOLD and type(one) is type(other) and bool(one == other)

    def _comparable(self, old: Outline, new: Outline) -> bool:
        one, other = old.view, new.view
        if (one.type, one.dtype, one.shape) != (other.type, other.dtype, other.shape):
            return False
        if (one.data is None, one.buffer is None) != (other.data is None, other.buffer is None):
            return False
        first, second = one.item.index, other.item.index
        if not old.is_recalled and not new.is_recalled:
            return True
        partners = [self._partners.new_of(first), self._partners.old_of(second)]
        if first >= 0 and second >= 0 and partners == [second, first]:
            return True
        return partners == [None, None]

    def _together(self, old: Item, new: Item) -> None:
        if old.index >= 0 and new.index >= 0:
            self._partners.add(old.index, new.index)
        if old.index != new.index:
            self._differ(index for index in (old.index, new.index) if index >= 0)

    def _part(self, *nodes: Outline | None) -> None:
        """Note that what is in them stands for nothing in the other graph."""
        for node in nodes:
            if node is not None and not node.is_recalled:
                self._differ(range(*_memoized(node.source, node.item)))

    def _same_atom(self, old: View, new: View) -> bool:
        if old.type != new.type or type(old.value) is not type(new.value):
            return False
        if isinstance(old.value, Cut):
            return bool(self._memory(0, old) == self._memory(1, new))
        both_nan = old.value != old.value and new.value != new.value
        return bool(both_nan or old.value == new.value)

    def _memory(self, which: int, view: View) -> Buffer:
        """The bytes of an array, a buffer or an atom; of a buffer what stands for them."""
        side = (self._old, self._new)[which]
        while view.data is not None or (view.rows and view.buffer is None):
            inner = side.views.child(view, 0).item if view.data is None else view.data
            view = side.views.view(inner)
        if view.buffer is not None:
            digests = self._digests[which]
            known = view.buffer < len(digests)
            return (digests[view.buffer] if known else f"{side.size(view.item)} bytes").encode()
        return _payload(side.program.data, view.item.start)

    # --- what they hold -----------------------------------------------------

    def _pairs(self, old: Outline, new: Outline) -> Iterator[_Pair]:
        for kinds in (("argument", "field", "item", "state", "persistent"), KEYED, ("element",)):
            numbers = [_numbers(node.view, kinds) for node in (old, new)]
            if "item" in kinds:
                yield from self._aligned(old, new, *numbers)
            else:
                yield from self._keyed(old, new, *numbers)

    def _aligned(
        self, old: Outline, new: Outline, ours: Sequence[int], theirs: Sequence[int]
    ) -> Iterator[_Pair]:
        """Items in order; after what differs, they go on where two are the same again."""
        at, place, last, stop = 0, 0, len(ours), len(theirs)
        patience, trimmed = _PATIENCE, False
        while at < last and place < stop:
            if count := self._stretch(old, new, ours[at:last], theirs[place:stop]):
                at, place, patience = at + count, place + count, _PATIENCE
                continue
            if self._alike(old, new, ours[at], theirs[place]):
                at, place, patience = at + 1, place + 1, _PATIENCE
                continue
            ahead = None
            if patience and (last - at != stop - place or last - at > 1):
                ahead = self._ahead(old, new, ours[at:last], theirs[place:stop])
                patience -= 1
            if ahead is None and last - at != stop - place:
                if not trimmed:
                    end = self._ending(old, new, ours[at:last], theirs[place:stop])
                    last, stop, trimmed = last - end, stop - end, True
                if min(last - at, stop - place) < _AHEAD:
                    break
            one, other = ahead or (1, 1)
            yield from self._gap(old, new, ours[at : at + one], theirs[place : place + other])
            at, place = at + one, place + other
        yield from self._gap(old, new, ours[at:last], theirs[place:stop])

    def _ending(
        self, old: Outline, new: Outline, ours: Sequence[int], theirs: Sequence[int]
    ) -> int:
        """How many items are the same at the end."""
        end, shorter = 0, min(len(ours), len(theirs))
        while end < shorter and self._alike(old, new, ours[-1 - end], theirs[-1 - end]):
            end += 1
        return end

    def _stretch(
        self, old: Outline, new: Outline, ours: Sequence[int], theirs: Sequence[int]
    ) -> int:
        """How many items are the same in a row, from the first on."""
        sides = (old, ours[0]), (new, theirs[0])
        counts = [node.source.views.neighbours(node.view, number) for node, number in sides]
        count = min(*counts, len(ours), len(theirs), self._reach)
        if count < _A_STRETCH:
            return 0
        found = self._same_items(
            old,
            new,
            *(node.source.views.stretch(node.view, number, count) for node, number in sides),
        )
        self._reach = min(2 * self._reach, _FURTHEST) if found == count else _A_STRETCH
        return found

    def _same_items(self, old: Outline, new: Outline, one: Stretch, other: Stretch) -> int:
        """How many items of two stretches are the same, from the first on."""
        start, begin = one.starts[0], other.starts[0]
        first, second = (
            bisect_left(side.program.memo.puts, place)
            for side, place in ((self._old, start), (self._new, begin))
        )
        if self._budget < 0:
            return 0
        pending: list[tuple[int, int, int]] = []

        def same(place: int, index: int, number: int) -> bool:
            if index >= first or number >= second:
                return index - first == number - second
            if self._partners.new_of(index) == number:
                return True
            if not self._may_be_partners(index, number, second - first):
                return False
            pending.append((place, index, number))
            return True

        data = self._old.program.data, self._new.program.data
        known = Renumbering(
            lambda index: index - first + second if index >= first else self._partners.new_of(index)
        )
        spans = Item(start, one.end, -1), Item(begin, other.end, -1)
        equal = first == second and len(self._apart) <= _FEW and self._same_bytes(*spans, first)
        if equal or known.of(data[0][start : one.end]) == data[1][begin : other.end]:
            end = one.end
        else:
            end, _ = agreed(data[0], start, one.end, data[1], begin, other.end, same)
        count = one.whole(end)
        self._budget -= 0 if count else end - start
        if not count:
            return 0
        last = bisect_left(self._old.program.memo.puts, one.ends[count - 1])
        self._partners.add_run(first, second, last - first)
        if first != second:
            self._differ(chain(range(first, last), range(second, second + last - first)))
        for place, index, number in pending:
            if place < one.ends[count - 1]:
                at = bisect_right(one.starts, place) - 1
                pair = old.children[one.number + at], new.children[other.number + at]
                self._tentative.append((*pair, [(index, number)]))
        return count

    def _ahead(
        self, old: Outline, new: Outline, ours: Sequence[int], theirs: Sequence[int]
    ) -> tuple[int, int] | None:
        """How many items further the two are the same again; None if that is far."""
        for one, other in _STEPS:
            there = one < len(ours) and other < len(theirs)
            if there and self._alike(old, new, ours[one], theirs[other]):
                return one, other
        return None

    def _keyed(
        self, old: Outline, new: Outline, ours: Sequence[int], theirs: Sequence[int]
    ) -> Iterator[_Pair]:
        """What has keys, by these: side by side as long as they have the same order."""
        at = place = 0
        gone: dict[Any, int] = {}
        more: dict[Any, int] = {}
        while at < len(ours) and place < len(theirs):
            if count := self._stretch(old, new, ours[at:], theirs[place:]):
                at, place = at + count, place + count
                continue
            one, other = _same_key(old, new, ours[at : at + _AHEAD], theirs[place : place + _AHEAD])
            if one == other == 0:
                yield old.children[ours[at]], new.children[theirs[place]]
                one = other = 1
            else:
                gone |= {_mark(old, number): number for number in ours[at : at + one]}
                more |= {_mark(new, number): number for number in theirs[place : place + other]}
            at, place = at + one, place + other
        gone |= {_mark(old, number): number for number in ours[at:]}
        more |= {_mark(new, number): number for number in theirs[place:]}
        for mark, number in gone.items():
            found = more.pop(mark, None)
            yield old.children[number], None if found is None else new.children[found]
        for number in more.values():
            yield None, new.children[number]

    def _gap(
        self, old: Outline, new: Outline, ours: Sequence[int], theirs: Sequence[int]
    ) -> Iterator[_Pair]:
        """Items between two places where the lists are the same."""
        end = 0
        while len(ours) != len(theirs) and end < min(len(ours), len(theirs), _AHEAD):
            if not _equal(old.children[ours[-1 - end]], new.children[theirs[-1 - end]]):
                break
            end += 1
        if end:
            at, place = len(ours) - end, len(theirs) - end
            yield from self._gap(old, new, ours[:at], theirs[:place])
            yield from self._gap(old, new, ours[at:], theirs[place:])
            return
        for one, other in zip_longest(ours, theirs):
            yield (
                None if one is None else old.children[one],
                None if other is None else new.children[other],
            )

    def _alike(self, old: Outline, new: Outline, first: int, second: int) -> bool:
        one, other = old.children[first], new.children[second]
        if self._same(one, other):
            return True
        return one.is_atom and other.is_atom and self._same_atom(one.view, other.view)

    # --- spans that need not be gone into -----------------------------------

    def _same(self, old: Outline, new: Outline) -> bool:
        """Whether two values are seen to be the same without looking into them."""
        one, other = old.item, new.item
        if (one, other) == self._sure:
            return False
        if old.is_recalled and new.is_recalled and self._partners.new_of(one.index) == other.index:
            return True
        if old.is_recalled or new.is_recalled:
            return False
        runs = [_memoized(node.source, node.item) for node in (old, new)]
        (first, end), (second, last) = runs
        if end - first != last - second:
            return False
        if first == second and len(self._apart) <= _FEW and self._same_bytes(one, other, first):
            self._partners.add_run(first, second, end - first)
            return True
        length = one.end - one.start
        if length > _LONG:
            return False
        if length > _SHORT:
            self._budget -= length
            if self._budget < 0:
                return False
        tentative = self._same_opcodes(one, other, first, second)
        if tentative is None:
            return False
        if tentative:
            self._tentative.append((old, new, tentative))
        self._partners.add_run(first, second, end - first)
        if first != second:
            self._differ(chain(range(first, end), range(second, last)))
        return True

    def _differ(self, numbers: Iterable[int]) -> None:
        """Note numbers that both memos use, for different values; a few are as good as all."""
        if len(self._apart) <= _FEW:
            self._apart += islice(numbers, _FEW + 1)

    def _same_bytes(self, old: Item, new: Item, first: int) -> bool:
        length = old.end - old.start
        if length != new.end - new.start:
            return False
        data = memoryview(self._old.program.data)[old.start : old.end]
        if data != memoryview(self._new.program.data)[new.start : new.end]:
            return False
        if self._takes_buffers(old) or self._takes_buffers(new):
            return False
        recalls = (recalling(index) for index in self._apart if index < first)
        whole = self._old.program.data
        return all(whole.find(get, old.start, old.end) < 0 for get in recalls)

    def _takes_buffers(self, item: Item) -> bool:
        """Whether there are buffers in it that are not the same in both graphs."""
        places = (self._old.program.buffers, self._new.program.buffers)
        return any(bisect_left(row, item.start) < bisect_left(row, item.end) for row in places)

    def _may_be_partners(self, old: int, new: int, off: int) -> bool:
        """Whether two entries are equal for certain, or may yet prove to stand for each other."""
        if self._partners.new_of(old) is not None or self._partners.old_of(new) is not None:
            return False
        one, other = self._old.entry(old), self._new.entry(new)
        keys = self._old.views.keys.told(one), self._new.views.keys.told(other)
        if keys[0] is UNTOLD and keys[1] is UNTOLD:
            keys = self._old.views.name(one), self._new.views.name(other)
            if keys[0] is None and keys[1] is None:
                return new - old in (0, off) or self._same_type(one, other)
        if type(keys[0]) is type(keys[1]) and keys[0] == keys[1]:
            self._partners.add(old, new)
            return True
        return False

    def _same_type(self, old: Item, new: Item) -> bool:
        return bool(self._old.views.view(old).type == self._new.views.view(new).type)

    def _same_opcodes(
        self, old: Item, new: Item, first: int, second: int
    ) -> list[tuple[int, int]] | None:
        """The references to be confirmed, if all else in two spans is the same; else None."""
        tentative: list[tuple[int, int]] = []

        def same(place: int, index: int, number: int) -> bool:
            if index >= first or number >= second:
                return index - first == number - second
            if self._partners.new_of(index) == number:
                return True
            tentative.append((index, number))
            return self._may_be_partners(index, number, second - first)

        data = self._old.program.data, self._new.program.data
        ends = agreed(data[0], old.start, old.end, data[1], new.start, new.end, same)
        return tentative if ends == (old.end, new.end) else None


def _equal(old: Outline, new: Outline) -> bool:
    """Whether two small values hold the same; references are not followed."""
    rows, seen = [(old, new)], 0
    while rows and seen < _PATIENCE:
        one, other = rows.pop()
        seen += 1
        if seen > 1 and (one.piece, one.mark) != (other.piece, other.mark):
            return False
        if (one.type, one.value, len(one)) != (other.type, other.value, len(other)):
            return False
        if not (one.is_recalled or other.is_recalled):
            rows += zip(one.children, other.children, strict=True)
    return not rows


def _memoized(source: Source, item: Item) -> tuple[int, int]:
    """The numbers in the memo of what is put there in a span: the first, and the end."""
    puts = source.program.memo.puts
    return bisect_left(puts, item.start), bisect_left(puts, item.end)


def _payload(data: bytes, at: int) -> Buffer:
    first = at + 1 + WIDTHS[data[at]]
    return memoryview(data)[first : at + length_of(data, at)]


def _numbers(view: View, kinds: Sequence[str]) -> Sequence[int]:
    """The numbers of the children that are of some kinds."""
    ends = view.ends
    runs = [
        range(end - row.count, end)
        for row, end in zip(view.rows, ends, strict=True)
        if row.kind in kinds
    ]
    if all(run.stop == after.start for run, after in pairwise(runs)):
        return range(runs[0].start, runs[-1].stop) if runs else range(0)
    return [*chain.from_iterable(runs)]


def _same_key(
    old: Outline, new: Outline, ours: Sequence[int], theirs: Sequence[int]
) -> tuple[int, int]:
    """How many are left out on one side until two have the same key; else one and one."""
    marks = [_mark(old, number) for number in ours], [_mark(new, number) for number in theirs]
    if marks[0][0] in marks[1]:
        return 0, marks[1].index(marks[0][0])
    if marks[1][0] in marks[0]:
        return marks[0].index(marks[1][0]), 0
    return 1, 1


def _mark(node: Outline, number: int) -> tuple[str, Any]:
    child = node.children[number]
    return child.piece, child.mark
