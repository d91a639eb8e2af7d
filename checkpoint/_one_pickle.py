"""One pickle out of a file, to its last byte and no further.

Several pickles may follow each other in one file, and what comes after a pickle
in a pipe may not have been written yet.  Only the sizes of opcodes are looked
at here; whether they are in order is for the translation to judge.
"""

from __future__ import annotations

import pickle
from typing import Any, NoReturn

from checkpoint._spans import ATOMS, EXTENSIONS, SIZES, WIDTHS, run_end
from checkpoint.errors import FormatError

_PIECE = 1 << 20  # no more is taken in one read, whatever an opcode promises
_AHEAD = 64 << 10  # is read at once of a file that can go back

_FRAME, _STOP = pickle.FRAME[0], pickle.STOP[0]


def _sizes(opcodes: dict[int, int]) -> bytes:
    return bytes(opcodes.get(op, 0) for op in range(256))


# Of each opcode: its size but for a payload, and the width of the payload's length; how many lines.
_HEADS = _sizes(
    {op: size for op, size in enumerate(SIZES) if size}
    | {op: ATOMS[op] for op in EXTENSIONS}
    | dict.fromkeys(pickle.STOP + pickle.DUP + pickle.LIST + pickle.DICT, 1)
    | {pickle.PROTO[0]: 2, pickle.BINPUT[0]: 2, pickle.LONG_BINPUT[0]: 5}
)
_WIDTHS = _sizes(
    {op: width for op, width in enumerate(WIDTHS) if width}
    | {pickle.BINSTRING[0]: 4, pickle.SHORT_BINSTRING[0]: 1, _FRAME: 8}
)
_LINES = _sizes(
    dict.fromkeys(pickle.INT + pickle.LONG + pickle.FLOAT + pickle.STRING + pickle.UNICODE, 1)
    | dict.fromkeys(pickle.PERSID + pickle.PUT + pickle.GET, 1)
    | dict.fromkeys(pickle.GLOBAL + pickle.INST, 2)
)


def read_pickle(file: Any, head: bytes = b"", *, limit: int | None = None) -> bytes:
    """The bytes of the pickle that begins with *head*, and goes on at the position of *file*.

    The position is after it then, if *file* can be sought in, and of any other
    *file* nothing more was read.  FormatError if it is not whole, or of more
    than *limit* bytes; little more than is there is ever allocated.
    """
    ask = getattr(file, "seekable", None)
    seekable = ask is not None and ask()
    reader = _Reader(file, head, limit, _AHEAD if seekable else 0)
    end = reader.end()
    taken = reader.taken
    if unread := len(taken) - end:
        if not seekable:
            raise FormatError(
                f"the pickle ends at byte {end:,}, and {unread:,} bytes after it were read from a "
                "file that cannot go back; load it from bytes, or from a file on disk"
            )
        file.seek(-unread, 1)
        del taken[end:]
    return bytes(taken)


class _Reader:
    def __init__(self, file: Any, head: bytes, limit: int | None, ahead: int) -> None:
        self._file, self._limit, self._ahead = file, limit, ahead
        self._at = 0
        self.taken = bytearray(head)

    def end(self) -> int:
        """Read on until there is a whole pickle; where it ends."""
        taken = self.taken
        while True:
            at = self._at = run_end(taken, self._at, len(taken))
            if at >= len(taken):
                self._fill(at + 1)
            op = taken[at]
            if size := _HEADS[op]:
                self._pass(size)
            elif width := _WIDTHS[op]:
                self._pass_counted(op, width)
            elif lines := _LINES[op]:
                self._pass_lines(lines)
            else:
                self._refuse(f"{bytes([op])!r} is no opcode")
            if op == _STOP:
                self._check(self._at)
                return self._at

    def _pass(self, size: int) -> None:
        self._at += size
        if self._at > len(self.taken):
            self._fill(self._at)

    def _pass_counted(self, op: int, width: int) -> None:
        start = self._at + 1
        self._pass(1 + width)
        size = int.from_bytes(self.taken[start : self._at], "little")
        if op == _FRAME:
            self._fill(self._at + size)  # taken at once, for the opcodes in it
        else:
            self._pass(size)

    def _pass_lines(self, count: int) -> None:
        self._at += 1
        for _ in range(count):
            while (end := self.taken.find(b"\n", self._at)) < 0:
                self._at = len(self.taken)
                self._fill(self._at + 1)
            self._at = end + 1

    def _fill(self, end: int) -> None:
        """Take what is missing up to *end*, in pieces: it need not be there."""
        self._check(end)
        while (missing := end - len(self.taken)) > 0:
            piece = self._file.read(min(max(missing, self._ahead), _PIECE))
            if not piece:
                self._refuse("it ends before its STOP")
            self.taken += piece

    def _check(self, end: int) -> None:
        if self._limit is not None and end > self._limit:
            self._refuse(f"it is larger than the {self._limit:,} bytes that budget= allows")

    def _refuse(self, what: str) -> NoReturn:
        raise FormatError(f"not a whole pickle: {what}, at byte {min(self._at, len(self.taken)):,}")
