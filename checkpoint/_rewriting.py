"""A stream with its globals renamed, and nothing of it run.

The names of a global are two strings.  They may be recalled from the memo, and
shared with other globals and with data.  A string that all want to be the same
new text is replaced where it stands.  Any other stays what it is, and a global
that wants another text is given that beside it; the numbers of the memo stay.
"""

from __future__ import annotations

import pickle
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from attrs import frozen

from checkpoint._model import Buffer
from checkpoint._spans import GETS, WIDTHS, Program, malformed

Rename = Callable[[str, str], tuple[str, str]]

_STACK_GLOBAL = pickle.STACK_GLOBAL[0]
_STRINGS = pickle.SHORT_BINUNICODE + pickle.BINUNICODE + pickle.BINUNICODE8
_START = (1 << 40) - 1


def renamed(stream: Buffer, rename: Rename) -> bytes | None:
    """*stream* with each global under the name that *rename* gives; None if none changes.

    It is a stream of protocol 5 as it is stored.  *rename* is called with module
    and qualified name.  What is of `__main__` is left alone: that name means
    another module in each program.  SerializationError if the stream is not one
    that picklers write.
    """
    names = _Names(stream)
    wanted: dict[int, str] = {}
    for places in names.found:
        old = names.text(places[0]), names.text(places[1])
        new = old if old[0] == "__main__" else rename(*old)
        wanted |= zip(places, new, strict=True)
    edits = sorted(names.edits(wanted))
    return _edited(names.data, edits) if edits else None


@frozen(order=True)
class _Edit:
    """What stands from *start* to *end* becomes *opcodes*."""

    start: int
    end: int
    opcodes: bytes


class _Names(Program):
    """The program of a stream, and of each global in it the two places where its names are pushed.

    A place holds a string, or recalls one.
    """

    def __init__(self, stream: Buffer) -> None:
        self.found: list[tuple[int, int]] = []
        super().__init__(stream)

    def _make(self, op: int, at: int, slot: int, first: int) -> None:
        operands = self.stack[first:] if op == _STACK_GLOBAL else ()
        super()._make(op, at, slot, first)
        if operands:
            self.found.append((operands[0] & _START, operands[1] & _START))

    def text(self, place: int) -> str:
        """The text that is pushed at *place*."""
        start = self._string(place)
        first = start + 1 + WIDTHS[self.data[start]]
        return str(bytes(self.data[first : self._end(start)]), "utf-8", "surrogatepass")

    def edits(self, wanted: dict[int, str]) -> Iterator[_Edit]:
        """What to change, so that each place pushes the text that is *wanted* there."""
        places: dict[int, list[int]] = {}
        for place in wanted:
            places.setdefault(self._string(place), []).append(place)
        pushes = self._pushes(places)
        for start, ours in places.items():
            text = self.text(start)
            changed = [place for place in ours if wanted[place] != text]
            if not changed:
                continue
            if len(ours) == pushes[start] and len({wanted[place] for place in ours}) == 1:
                yield _Edit(start, self._end(start), _pushing(wanted[start]))
            else:
                yield from (self._beside(place, wanted[place]) for place in changed)

    def _pushes(self, starts: Iterable[int]) -> dict[int, int]:
        """How often each string is pushed: where it stands, and wherever it is recalled."""
        pushes = dict.fromkeys(starts, 1)
        memoized = {index: start for start in pushes if (index := self._index(start)) >= 0}
        for index in self.recalled:
            if index in memoized:
                pushes[memoized[index]] += 1
        return pushes

    def _beside(self, place: int, text: str) -> _Edit:
        """Another text at *place* alone, since others use the string."""
        if size := GETS[self.data[place]]:
            return _Edit(place, place + size, _pushing(text))
        memoized = self._end(place) + len(pickle.MEMOIZE)
        return _Edit(memoized, memoized, pickle.POP + _pushing(text))

    def _string(self, place: int) -> int:
        """Where the string is that is pushed at *place*: there, or in the memo."""
        start = place
        if size := GETS[self.data[place]]:
            index = int.from_bytes(self.data[place + 1 : place + size], "little")
            start = self.memo.starts[index]
        if self.data[start] not in _STRINGS or (start != place and self._index(start) != index):
            malformed("a global is named by what is no string", place)
        return start

    def _index(self, start: int) -> int:
        """The index in the memo of the string at *start*; -1 if it is not put there."""
        puts, end = self.memo.puts, self._end(start)
        index = bisect_left(puts, end)
        return index if index < len(puts) and puts[index] == end else -1

    def _end(self, start: int) -> int:
        first: int = start + 1 + WIDTHS[self.data[start]]
        return first + int.from_bytes(self.data[start + 1 : first], "little")


def _pushing(text: str) -> bytes:
    """The opcode that pushes *text*."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) < 256:
        return pickle.SHORT_BINUNICODE + len(raw).to_bytes(1, "little") + raw
    return pickle.BINUNICODE + len(raw).to_bytes(4, "little") + raw


def _edited(data: Buffer, edits: list[_Edit]) -> bytes:
    view, at = memoryview(data), 0
    pieces: list[Buffer] = []
    for edit in edits:
        pieces += [view[at : edit.start], edit.opcodes]
        at = edit.end
    return b"".join([*pieces, view[at:]])
