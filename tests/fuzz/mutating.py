"""Mutation: real inputs with pieces left out, doubled, swapped, and taken from each other.

A *piece* is what the format is made of: an opcode with its argument, a word of
JSON.  Inputs that are changed by pieces come deeper than those of random bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from checkpoint._one_pickle import _HEADS, _LINES, _WIDTHS

Cut = Callable[[bytes], list[bytes]]

_WORD = re.compile(rb'"[^"]{0,200}"|-?[0-9.eE+-]+|[a-z]+|.', re.DOTALL)
_EDGES = (0, 1, 127, 128, 255, 256, 1 << 15, (1 << 16) - 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_SAID = [b"0", b"-1", b"1e999", b"1" * 5000, b"null", b"[]", b"{}", b'""', b"true", b"9" * 19,
         b'"\\ud800"', b"[" * 500, b"NaN", b"\xff", b"\0"]  # fmt: skip
_OPCODES = [bytes([op]) for op in b"(.012BCGINPQRSTUVX]abcdeghijlopqrstu})K\x80\x81\x82\x85\x86\x87"
            b"\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98"]  # fmt: skip


def opcodes(data: bytes, start: int = 0) -> list[bytes]:
    """*data* cut into opcodes with their arguments, as far as it is a pickle."""
    found, at = [data[:start]] if start else [], start
    while at < len(data):
        op, end = data[at], at + 1
        if _HEADS[op]:
            end = at + _HEADS[op]
        elif _WIDTHS[op]:
            end = at + 1 + _WIDTHS[op]
            if op != 0x95:  # A frame's content is cut, too.
                end += int.from_bytes(data[at + 1 : end], "little")
        else:
            for _ in range(_LINES[op]):
                end = data.find(b"\n", end) + 1 or len(data)
        found.append(data[at:end])
        at = end
    return found


def packed_opcodes(data: bytes) -> list[bytes]:
    """The same of a stream with the lengths of its buffers before it."""
    return opcodes(data, 1 + 4 * data[0])


def words(data: bytes) -> list[bytes]:
    """*data* cut into words, numbers and signs."""
    return _WORD.findall(data)


def no_pieces(data: bytes) -> list[bytes]:
    """*data* in short runs, for what has no pieces that are easily told."""
    return [data[at : at + 7] for at in range(0, len(data), 7)]


CUTS: dict[str, tuple[Cut, Sequence[bytes]]] = {
    "verifier": (packed_opcodes, _OPCODES),
    "stream": (packed_opcodes, _OPCODES),
    "gone": (packed_opcodes, _OPCODES),
    "pickle": (opcodes, _OPCODES),
    "inspect": (opcodes, _OPCODES),
    "pickles": (opcodes, _OPCODES),
    "manifest": (words, _SAID),
    "rows": (words, _SAID),
    "file": (words, _SAID),
    "codec": (no_pieces, (b"\0", b"\xff")),
    "compressed": (no_pieces, (b"\0", b"\xff")),
}


class Mutator:
    """Gives mutations of *seeds*, the same ones for the same *seed*."""

    def __init__(self, target: str, seeds: Sequence[bytes], seed: int) -> None:
        self._cut, self._words = CUTS[target]
        self._seeds = seeds
        self._random = Random(f"{target} {seed}")

    def one(self) -> bytes:
        """One input more."""
        random = self._random
        pieces = self._pieces()
        if random.random() < 0.1:
            pieces = pieces[: random.randrange(len(pieces) + 1)] + self._some(200)
        for _ in range(random.choice((1, 1, 1, 1, 2, 4, 12))):
            self._change(pieces)
        data = bytearray().join(pieces)
        for _ in range(random.choice((0, 0, 0, 0, 1, 3))):
            self._scratch(data)
        return bytes(data)

    def _pieces(self) -> list[bytes]:
        return self._cut(self._random.choice(self._seeds))

    def _some(self, most: int) -> list[bytes]:
        """A run of pieces out of another input."""
        others = self._pieces()
        start = self._random.randrange(len(others) + 1)
        return others[start : start + self._random.randrange(most)]

    def _change(self, pieces: list[bytes]) -> None:
        random = self._random
        at = random.randrange(len(pieces) + 1)
        end = at + random.choice((1, 1, 1, 2, 5, 30))
        way = random.randrange(8)
        if way == 0:
            del pieces[at:end]
        elif way == 1:
            pieces[at:at] = pieces[at:end] * random.choice((1, 1, 1, 2, 50))
        elif way == 2:
            pieces[at:at] = self._some(12)
        elif way == 3:
            pieces[at:end] = self._some(12)
        elif way == 4:
            pieces.insert(at, random.choice(self._words))
        elif way == 5:
            pieces[at:end] = [random.choice(self._words)]
        elif way == 6 and at < len(pieces):
            pieces[at] = self._edged(pieces[at])
        else:
            moved = pieces[at:end]
            del pieces[at:end]
            there = random.randrange(len(pieces) + 1)
            pieces[there:there] = moved

    def _edged(self, piece: bytes) -> bytes:
        """A piece with a number in it that is at the edge of something."""
        if len(piece) < 2:
            return piece
        width = min(len(piece) - 1, self._random.choice((1, 2, 4)))
        number = self._random.choice(_EDGES) % (1 << 8 * width)
        return piece[:1] + number.to_bytes(width, "little") + piece[1 + width :]

    def _scratch(self, data: bytearray) -> None:
        if data:
            at = self._random.randrange(len(data))
            data[at] = self._random.choice((0, 255, data[at] ^ 1 << self._random.randrange(8)))
