"""A pickle of any protocol as the stream that protocol 5 has for it, without frames.

Every opcode is read, none is run: what has a newer spelling is spelled anew,
and the rest is copied.  The stack is followed only as far as the memo and the
marks need it.  The work is linear, and so is the memory.
"""

from __future__ import annotations

import codecs
import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from array import array
from collections.abc import Callable
from struct import pack
from typing import NoReturn

from checkpoint._model import Buffer
from checkpoint._spans import ATOMS, PROTO, TAKES, WIDTHS
from checkpoint.errors import FormatError

# Python reads no longer ones by default either: it takes time that grows with the square.
_LONGEST_INT = 4300
_LONGEST_LINE = 1 << 16

_FILLS = {
    pickle.APPEND[0]: 1,
    pickle.SETITEM[0]: 2,
    pickle.BUILD[0]: 1,
}
_FILLS_FROM_MARK = pickle.APPENDS + pickle.SETITEMS + pickle.ADDITEMS
_MAKES_FROM_MARK = pickle.TUPLE + pickle.FROZENSET + pickle.OBJ
# A stack entry is 0, one more than its number in the memo, or this:
_MARKED = -1

# What is inserted before a mark, or, from the classes on, after it.
_A_LIST, _A_DICT, _CLASSES = 1, 2, 3


def translated(data: Buffer) -> bytes:
    """The pickle that *data* begins with, in opcodes of protocol 5 and without frames.

    FormatError if it is no whole pickle.  Bytes after its end are ignored, as
    `pickle.loads` ignores them.
    """
    return _Translator(data).translated()


class _Translator:
    def __init__(self, data: Buffer) -> None:
        self._data = data if isinstance(data, (bytes, bytearray)) else bytes(data)
        self._at = 0
        self._out = bytearray(PROTO)
        self._stack = array("q")
        self._marks = array("q")  # of each mark that stands: its slot, and its number
        self._numbers = array("q")
        self._places = array("q")  # of each mark there ever was: where it is in the output
        self._inserted = array("q")  # ... and what is wanted there, as an index of `_wanted`
        self._wanted: list[bytes] = [b"", pickle.EMPTY_LIST, pickle.EMPTY_DICT]
        self._memo: dict[int, int] = {}
        self._count = 0
        self._protocol = 0

    def translated(self) -> bytes:
        data, end, stack = self._data, len(self._data), self._stack
        while (at := self._at) < end:
            op = data[at]
            if size := ATOMS[op]:
                stack.append(0)
                self._copy(size)
            elif width := WIDTHS[op]:
                stack.append(0)
                length = int.from_bytes(data[at + 1 : at + 1 + width], "little")
                self._copy(1 + width + length)
            elif op == pickle.STOP[0]:
                break
            elif taken := TAKES[op]:
                self._take(taken)
                stack.append(0)
                self._copy(1)
            elif op in _FILLS:
                self._take(_FILLS[op])
                self._top()
                self._copy(1)
            else:
                self._other(op)
        else:
            self._refuse("it ends before its STOP")
        if len(stack) != 1 or self._marks:
            self._refuse("it does not end with one value")
        return self._spliced()

    def _spliced(self) -> bytes:
        """The output with what was found to belong before a mark, or after it, put there."""
        if not any(self._inserted):
            return b"".join((self._out, pickle.STOP))
        result, at, out = bytearray(), 0, memoryview(self._out)
        for place, which in zip(self._places, self._inserted, strict=True):
            if which:
                end = place + (which >= _CLASSES)
                result += out[at:end]
                result += self._wanted[which]
                at = end
        result += out[at:]
        result += pickle.STOP
        return bytes(result)

    def _refuse(self, what: str) -> NoReturn:
        raise FormatError(f"not a whole pickle: {what}, at byte {self._at:,}")

    def _copy(self, size: int) -> None:
        """Copy an opcode with its argument as it stands."""
        if size > len(self._data) - self._at:
            self._refuse("it ends within an opcode")
        self._out += self._data[self._at : self._at + size]
        self._at += size

    # --- the stack ----------------------------------------------------------

    def _floor(self) -> int:
        return self._marks[-1] + 1 if self._marks else 0

    def _take(self, count: int) -> None:
        if len(self._stack) - count < self._floor():
            self._refuse("an opcode takes what is not there")
        del self._stack[len(self._stack) - count :]

    def _top(self) -> int:
        if len(self._stack) <= self._floor():
            self._refuse("an opcode takes what is not there")
        return self._stack[-1]

    def _unmark(self) -> int:
        """Take all down to the last mark; the number of that."""
        if not self._marks:
            self._refuse("an opcode needs a mark")
        del self._stack[self._marks.pop() :]
        return self._numbers.pop()

    # --- one opcode ---------------------------------------------------------

    def _other(self, op: int) -> None:
        if op == pickle.MARK[0]:
            self._marks.append(len(self._stack))
            self._numbers.append(len(self._places))
            self._places.append(len(self._out))
            self._inserted.append(0)
            self._stack.append(_MARKED)
            self._copy(1)
        elif op in _FILLS_FROM_MARK:
            self._unmark()
            self._top()
            self._copy(1)
        elif op in _MAKES_FROM_MARK:
            self._unmark()
            self._stack.append(0)
            self._copy(1)
        elif op == pickle.POP[0]:
            self._pop()
        elif op == pickle.POP_MARK[0]:
            self._unmark()
            self._copy(1)
        elif op == pickle.NEXT_BUFFER[0]:
            self._stack.append(0)
            self._copy(1)
        elif op in _HANDLED:
            _HANDLED[op](self)
        else:
            self._refuse(f"{bytes([op])!r} is no opcode")

    def _pop(self) -> None:
        if not self._stack:
            self._refuse("an opcode takes what is not there")
        if self._stack.pop() == _MARKED:
            self._marks.pop()
            self._numbers.pop()
        self._copy(1)

    def _skip_protocol(self) -> None:
        argument = self._argument(1)
        self._protocol = argument[0]
        if self._protocol > pickle.HIGHEST_PROTOCOL:
            self._refuse(f"it is of protocol {self._protocol}, and from a newer Python")

    def _skip_frame(self) -> None:
        self._argument(8)

    def _memoize(self) -> None:
        self._put_at(len(self._memo))
        self._at += 1

    def _put(self) -> None:
        self._put_at(self._number(self._line()))

    def _binput(self) -> None:
        self._put_at(self._argument(1)[0])

    def _long_binput(self) -> None:
        self._put_at(int.from_bytes(self._argument(4), "little"))

    def _put_at(self, index: int) -> None:
        entry = self._top()
        if not entry:
            entry = self._remember()
        self._memo[index] = entry - 1

    def _remember(self) -> int:
        self._out += pickle.MEMOIZE
        self._count += 1
        self._stack[-1] = self._count
        return self._count

    def _get(self) -> None:
        self._get_at(self._number(self._line()))

    def _binget(self) -> None:
        self._get_at(self._argument(1)[0])

    def _long_binget(self) -> None:
        self._get_at(int.from_bytes(self._argument(4), "little"))

    def _get_at(self, index: int) -> None:
        if index not in self._memo:
            self._refuse("what is not in the memo is recalled")
        self._recall(self._memo[index])

    def _recall(self, index: int) -> None:
        self._out += (
            pickle.BINGET + bytes([index])
            if index < 256
            else pickle.LONG_BINGET + index.to_bytes(4, "little")
        )
        self._stack.append(index + 1)

    def _dup(self) -> None:
        entry = self._top() or self._remember()
        self._at += 1
        self._recall(entry - 1)

    # --- what is spelled anew -----------------------------------------------

    def _argument(self, size: int) -> bytes:
        argument = bytes(self._data[self._at + 1 : self._at + 1 + size])
        if len(argument) != size:
            self._refuse("it ends within an opcode")
        self._at += 1 + size
        return argument

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._at + 1)
        if end < 0:
            self._refuse("it ends within a line")
        line = bytes(self._data[self._at + 1 : end])
        self._at = end + 1
        return line

    def _number(self, line: bytes) -> int:
        if len(line) > _LONGEST_INT:
            self._refuse(f"a number has {len(line):,} digits, which Python does not read as text")
        try:
            return int(line, 0) if line.lstrip(b"-+").startswith(b"0x") else int(line)
        except ValueError:
            self._refuse("a number is none")

    def _push(self, opcodes: bytes) -> None:
        self._out += opcodes
        self._stack.append(0)

    def _int(self) -> None:
        line = self._line()
        if line in (b"00", b"01"):
            self._push(pickle.NEWTRUE if line == b"01" else pickle.NEWFALSE)
        else:
            self._push(_integer(self._number(line)))

    def _long(self) -> None:
        self._push(_integer(self._number(self._line().removesuffix(b"L"))))

    def _float(self) -> None:
        line = self._line()
        try:
            self._push(pickle.BINFLOAT + pack(">d", float(line[:_LONGEST_LINE])))
        except ValueError:
            self._refuse("a number is none")

    def _string(self) -> None:
        line = self._line().strip()
        if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
            self._refuse("a string has no quotes")
        try:
            self._push(_old_text(codecs.escape_decode(line[1:-1])[0]))
        except ValueError:
            self._refuse("a string has a broken escape")

    def _binstring(self) -> None:
        length = int.from_bytes(self._data[self._at + 1 : self._at + 5], "little", signed=True)
        if not 0 <= length <= len(self._data) - self._at - 5:
            self._refuse("it ends within a string")
        self._push(_old_text(self._argument(4 + length)[4:]))

    def _short_binstring(self) -> None:
        length = self._data[self._at + 1] if self._at + 1 < len(self._data) else 0
        self._push(_old_text(self._argument(1 + length)[1:]))

    def _unicode(self) -> None:
        try:
            self._push(_text(str(self._line(), "raw-unicode-escape")))
        except ValueError:
            self._refuse("a text has a broken escape")

    def _global(self) -> None:
        self._push(self._named())

    def _named(self) -> bytes:
        names = self._line()
        self._at -= 1  # as if the second line belonged to an opcode, too
        try:
            module, qualname = str(names, "utf-8"), str(self._line(), "utf-8")
        except ValueError:
            self._refuse("a name is not in UTF-8")
        if self._protocol < 3:
            module, qualname = NAME_MAPPING.get(
                (module, qualname), (IMPORT_MAPPING.get(module, module), qualname)
            )
        return _text(module) + _text(qualname) + pickle.STACK_GLOBAL

    def _inst(self) -> None:
        self._wanted.append(self._named())
        self._inserted[self._unmark()] = len(self._wanted) - 1
        self._push(pickle.OBJ)

    def _list(self) -> None:
        self._inserted[self._unmark()] = _A_LIST
        self._at += 1
        self._push(pickle.APPENDS)

    def _dict(self) -> None:
        self._inserted[self._unmark()] = _A_DICT
        self._at += 1
        self._push(pickle.SETITEMS)

    def _persistent(self) -> None:
        try:
            self._push(_text(str(self._line(), "utf-8", "surrogateescape")) + pickle.BINPERSID)
        except ValueError:
            self._refuse("a persistent id is no text")


_HANDLED: dict[int, Callable[[_Translator], None]] = {
    pickle.PROTO[0]: _Translator._skip_protocol,
    pickle.FRAME[0]: _Translator._skip_frame,
    pickle.MEMOIZE[0]: _Translator._memoize,
    pickle.PUT[0]: _Translator._put,
    pickle.BINPUT[0]: _Translator._binput,
    pickle.LONG_BINPUT[0]: _Translator._long_binput,
    pickle.GET[0]: _Translator._get,
    pickle.BINGET[0]: _Translator._binget,
    pickle.LONG_BINGET[0]: _Translator._long_binget,
    pickle.DUP[0]: _Translator._dup,
    pickle.INT[0]: _Translator._int,
    pickle.LONG[0]: _Translator._long,
    pickle.FLOAT[0]: _Translator._float,
    pickle.STRING[0]: _Translator._string,
    pickle.BINSTRING[0]: _Translator._binstring,
    pickle.SHORT_BINSTRING[0]: _Translator._short_binstring,
    pickle.UNICODE[0]: _Translator._unicode,
    pickle.GLOBAL[0]: _Translator._global,
    pickle.INST[0]: _Translator._inst,
    pickle.LIST[0]: _Translator._list,
    pickle.DICT[0]: _Translator._dict,
    pickle.PERSID[0]: _Translator._persistent,
}


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return pickle.BININT1 + bytes([value])
    if -(2**31) <= value < 2**31:
        return pickle.BININT + pack("<i", value)
    raw = pickle.encode_long(value)
    if len(raw) < 256:
        return pickle.LONG1 + bytes([len(raw)]) + raw
    return pickle.LONG4 + pack("<i", len(raw)) + raw


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    if len(raw) < 256:
        return pickle.SHORT_BINUNICODE + bytes([len(raw)]) + raw
    return pickle.BINUNICODE8 + len(raw).to_bytes(8, "little") + raw


def _old_text(raw: bytes) -> bytes:
    """A string of Python 2: text if it is ASCII, else bytes."""
    if raw.isascii():
        return _text(raw.decode())
    return pickle.BINBYTES8 + len(raw).to_bytes(8, "little") + raw
