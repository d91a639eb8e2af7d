"""A pickle of any protocol as the stream that protocol 5 has for it, without frames.

Every opcode is read, none is run: what has a newer spelling is spelled anew,
and the rest is copied.  The stack is followed only as far as the memo and the
marks need it.  The work is linear, and so is the memory.

The translation is verified and loaded instead of the pickle, so nothing may
hide in what one reader sees and another does not: what pickle reads but no
pickler writes (octal numbers, a second PROTO, opcodes across the end of a
frame) is refused.
"""

from __future__ import annotations

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from array import array
from collections.abc import Callable
from typing import NoReturn

from checkpoint import _spans, _spelling
from checkpoint._model import Buffer
from checkpoint._unframing import unframed
from checkpoint.errors import FormatError, UnsafeError

_LARGEST_INT = 64 << 10  # bytes
# Nothing is made by index here, but pickle itself takes 16 bytes for each below the highest.
# Picklers count from 0; one that is used again goes on counting, hence the first million.
_FREE_INDICES = 1 << 20
_INDICES_PER_BYTE = 8

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


def _without(table: bytes, *opcodes: bytes) -> bytes:
    return bytes(0 if bytes([op]) in opcodes else entry for op, entry in enumerate(table))


_ATOMS = _without(_spans.ATOMS, pickle.EXT1, pickle.EXT2, pickle.EXT4)
_WIDTHS = _without(_spans.WIDTHS, pickle.LONG4)
_TAKES = _without(_spans.TAKES, pickle.STACK_GLOBAL)


def translated(
    data: Buffer,
    *,
    encoding: str = "ASCII",
    errors: str = "strict",
    fix_imports: bool = True,
    most: int | None = None,
) -> bytes:
    """The pickle that *data* begins with, in opcodes of protocol 5 and without frames.

    Loaded, it gives what pickle makes of *data* with the same options.
    FormatError if it is no whole pickle as picklers write them, UnsafeError if
    it uses the extension registry.  Of more than *most* opcodes it is refused.
    Bytes after its end are ignored, as `pickle.loads` ignores them.
    """
    options = {"encoding": encoding, "errors": errors}
    return translated_prefix(data, **options, fix_imports=fix_imports, most=most)[0]


def translated_prefix(
    data: Buffer,
    *,
    encoding: str = "ASCII",
    errors: str = "strict",
    fix_imports: bool = True,
    most: int | None = None,
) -> tuple[bytes, int]:
    """What `translated` gives, and the size of the pickle that *data* begins with."""
    if (most is None or len(data) <= most) and (found := unframed(data)):
        return found
    translator = _Translator(data, encoding, errors, fix_imports)
    translator.bound(most)
    return translator.translated()


def legible(data: Buffer) -> bytes:
    """The translation of a pickle that is looked at only, and never loaded.

    A string of Python 2 is text if it is in ASCII, else bytes, and codes of the
    extension registry are left as they are.
    """
    return (unframed(data) or _Translator(data, None, "strict", True).translated())[0]


class _Translator:
    def __init__(self, data: Buffer, encoding: str | None, errors: str, fix_imports: bool) -> None:
        self._data = data if isinstance(data, (bytes, bytearray)) else bytes(data)
        self._encoding, self._errors, self._fix_imports = encoding, errors, fix_imports
        self._at = 0
        self._limit = len(self._data)  # where the frame ends, or the data
        self._framed = False
        self._indices = _FREE_INDICES + _INDICES_PER_BYTE * len(self._data)
        self._out = bytearray(_spans.PROTO)
        self._stack = array("q")
        self._marks = array("q")  # of each mark that stands: its slot, and its number
        self._numbers = array("q")
        self._places = array("q")  # of each mark there ever was: where it is in the output
        self._inserted = array("q")  # ... and what is wanted there, as an index of `_wanted`
        self._wanted: list[bytes] = [b"", pickle.EMPTY_LIST, pickle.EMPTY_DICT]
        self._memo: dict[int, int] = {}
        self._count = 0
        self._protocol = 0
        self._most = len(self._data)

    def bound(self, most: int | None) -> None:
        """Read no more than so many opcodes."""
        if most is not None:
            self._most = most

    def translated(self) -> tuple[bytes, int]:
        data, stack = self._data, self._stack
        left = self._most
        while (at := self._at) < self._limit or self._leave_frame():
            op = data[at]
            left -= 1
            if left < 0:
                self._refuse(f"it has more than {self._most:,} opcodes for its size; see budget=")
            if size := _ATOMS[op]:
                stack.append(0)
                self._copy(size)
            elif width := _WIDTHS[op]:
                stack.append(0)
                length = int.from_bytes(data[at + 1 : at + 1 + width], "little")
                self._copy(1 + width + length)
            elif op == pickle.STOP[0]:
                break
            elif taken := _TAKES[op]:
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
        if self._framed and self._at + 1 != self._limit:
            self._refuse("its STOP is not the end of a frame")
        return self._spliced(), self._at + 1

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

    def _refuse_short(self, what: str) -> NoReturn:
        whose = "a frame" if self._framed else "it"
        self._refuse(f"{whose} ends within {what}")

    def _copy(self, size: int) -> None:
        """Copy an opcode with its argument as it stands."""
        if size > self._limit - self._at:
            self._refuse_short("an opcode")
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
        if self._at:
            self._refuse("it says its protocol, and not at its beginning")
        argument = self._argument(1)
        self._protocol = argument[0]
        if self._protocol > pickle.HIGHEST_PROTOCOL:
            self._refuse(f"it is of protocol {self._protocol}, and from a newer Python")

    def _enter_frame(self) -> None:
        if self._protocol < 4:
            self._refuse(f"it has a frame, and is of protocol {self._protocol}")
        if self._framed:
            self._refuse("a frame begins within another")
        size = int.from_bytes(self._argument(8), "little")
        if size > self._limit - self._at:
            self._refuse("it ends within a frame")
        self._limit, self._framed = self._at + size, True

    def _leave_frame(self) -> bool:
        """Whether there is more behind what was read; a frame is left then."""
        self._limit, self._framed = len(self._data), False
        return self._at < self._limit

    def _memoize(self) -> None:
        self._put_at(len(self._memo))
        self._at += 1

    def _put(self) -> None:
        self._put_at(self._index())

    def _binput(self) -> None:
        self._put_at(self._argument(1)[0])

    def _long_binput(self) -> None:
        self._put_at(int.from_bytes(self._argument(4), "little"))

    def _put_at(self, index: int) -> None:
        if index > self._indices:
            self._refuse(f"the memo has no place {index:,} in a pickle of this size")
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
        self._get_at(self._index())

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
        if 1 + size > self._limit - self._at:
            self._refuse_short("an opcode")
        argument = bytes(self._data[self._at + 1 : self._at + 1 + size])
        self._at += 1 + size
        return argument

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._at + 1, self._limit)
        if end < 0:
            self._refuse_short("a line")
        line = bytes(self._data[self._at + 1 : end])
        self._at = end + 1
        return line

    def _index(self) -> int:
        try:
            return _spelling.index(self._line())
        except ValueError as error:
            self._refuse(str(error))

    def _push(self, opcodes: bytes) -> None:
        self._out += opcodes
        self._stack.append(0)

    def _int(self) -> None:
        line = self._line()
        if line in (b"00", b"01"):
            self._push(pickle.NEWTRUE if line == b"01" else pickle.NEWFALSE)
        else:
            self._spell(line, _spelling.integer)

    def _long(self) -> None:
        self._spell(self._line().removesuffix(b"L"), _spelling.integer)

    def _long4(self) -> None:
        size = int.from_bytes(self._data[self._at + 1 : self._at + 5], "little")
        if size > _LARGEST_INT:
            self._refuse(f"a number has {size:,} bytes")
        self._stack.append(0)
        self._copy(5 + size)

    def _float(self) -> None:
        self._spell(self._line(), _spelling.floating)

    def _string(self) -> None:
        self._spell(self._line(), lambda line: self._old_text(_spelling.unquoted(line)))

    def _unicode(self) -> None:
        self._spell(self._line(), lambda line: _spelling.text(str(line, "raw-unicode-escape")))

    def _spell(self, line: bytes, spelled: Callable[[bytes], bytes]) -> None:
        try:
            self._push(spelled(line))
        except ValueError as error:
            self._refuse(str(error))

    def _binstring(self) -> None:
        length = int.from_bytes(self._data[self._at + 1 : self._at + 5], "little")
        self._push(self._old_text(self._argument(4 + length)[4:]))

    def _short_binstring(self) -> None:
        length = int.from_bytes(self._data[self._at + 1 : self._at + 2], "little")
        self._push(self._old_text(self._argument(1 + length)[1:]))

    def _old_text(self, raw: bytes) -> bytes:
        """A string of Python 2, as text or as bytes."""
        if self._encoding == "bytes" or (self._encoding is None and not raw.isascii()):
            return _spelling.binary(raw)
        try:
            return _spelling.text(str(raw, self._encoding or "ASCII", self._errors))
        except ValueError as error:
            self._refuse(
                f"a string of Python 2 is no text ({error}); "
                'encoding="latin1" or encoding="bytes" may read it'
            )

    def _global(self) -> None:
        self._push(self._named("utf-8"))

    def _named(self, encoding: str) -> bytes:
        first = self._line()
        self._at -= 1  # as if the second line belonged to an opcode, too
        second = self._line()
        try:
            module, qualname = str(first, encoding), str(second, encoding)
        except ValueError:
            self._refuse("a name is no text")
        if not module or not qualname or (self._protocol < 4 and "." in qualname):
            self._refuse(f"{module!r} has no {qualname!r} in protocol {self._protocol}")
        if self._protocol < 3 and self._fix_imports:
            module, qualname = NAME_MAPPING.get(
                (module, qualname), (IMPORT_MAPPING.get(module, module), qualname)
            )
        return _spelling.text(module) + _spelling.text(qualname) + pickle.STACK_GLOBAL

    def _stack_global(self) -> None:
        # Its names would be mapped to today's in an old protocol, and these are values.
        if self._protocol < 4 and self._encoding is not None:
            self._refuse(f"STACK_GLOBAL is of protocol 4, and this of protocol {self._protocol}")
        self._take(2)
        self._stack.append(0)
        self._copy(1)

    def _extension(self) -> None:
        if self._encoding is not None:
            raise UnsafeError(
                "codes of copyreg's extension registry are not read from foreign files (pickle it "
                f"again without copyreg.add_extension), at byte {self._at:,}",
                offset=self._at,
                opcode=f"EXT{_spans.ATOMS[self._data[self._at]] - 1}",
            )
        self._stack.append(0)
        self._copy(_spans.ATOMS[self._data[self._at]])

    def _inst(self) -> None:
        self._wanted.append(self._named("ASCII"))
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
            self._push(_spelling.text(str(self._line(), "ASCII")) + pickle.BINPERSID)
        except ValueError:
            self._refuse("a persistent id is not in ASCII")


_HANDLED: dict[int, Callable[[_Translator], None]] = {
    pickle.PROTO[0]: _Translator._skip_protocol,
    pickle.FRAME[0]: _Translator._enter_frame,
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
    pickle.LONG4[0]: _Translator._long4,
    pickle.FLOAT[0]: _Translator._float,
    pickle.STRING[0]: _Translator._string,
    pickle.BINSTRING[0]: _Translator._binstring,
    pickle.SHORT_BINSTRING[0]: _Translator._short_binstring,
    pickle.UNICODE[0]: _Translator._unicode,
    pickle.GLOBAL[0]: _Translator._global,
    pickle.STACK_GLOBAL[0]: _Translator._stack_global,
    pickle.EXT1[0]: _Translator._extension,
    pickle.EXT2[0]: _Translator._extension,
    pickle.EXT4[0]: _Translator._extension,
    pickle.INST[0]: _Translator._inst,
    pickle.LIST[0]: _Translator._list,
    pickle.DICT[0]: _Translator._dict,
    pickle.PERSID[0]: _Translator._persistent,
}
