"""Verification: one pass over a foreign stream before anything of it is imported or built.

The pass runs the opcodes on an abstract stack.  It lets through only what our
own protocol 5 pickler writes, and asks of each global what may be done with it.

Bombs end here too: `_bounds` counts what a load would take.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from checkpoint._abstract import (
    DICT,
    ENTRY,
    INSTANCE,
    LEAST,
    Abstract,
    Granted,
    Name,
    are_texts,
    odd,
    underflow,
)
from checkpoint._bounds import depth_of
from checkpoint._grants import Box, Grant, Instance, Recalled, Refused, Verb
from checkpoint._unpickling import Uncollected
from checkpoint.errors import FormatError

_SLICE = 1 << 16


@frozen
class Verified:
    """What the pass found.

    `grants` are the globals, and `used` what is done with each.  `calls` are
    the places of calls that are to be made by `__new__` alone.  `careful` says
    that only a look at each key while it is put tells whether too many collide.
    """

    grants: Mapping[Name, Grant]
    used: Mapping[Name, int]
    calls: tuple[int, ...] = ()
    careful: bool = False
    memory: int = 0
    objects: int = 0
    root: Any = field(default=None, repr=False)

    @property
    def depth(self) -> int:
        """How deep values lie in each other, but for cycles."""
        return depth_of(self.root)

    def stream(self, data: bytes) -> bytes:
        """*data* as it is to be loaded."""
        if not self.calls:
            return data
        edited = bytearray(data)
        for at in self.calls:
            edited[at] = pickle.NEWOBJ[0]
        return bytes(edited)


def verify(
    data: bytes,
    buffers: Sequence[int],
    granted: Granted,
    limit: int,
    *,
    persistent: bool = False,
    keep: bool = False,
) -> Verified:
    """Verify the stream *data* with *buffers* of these lengths beside it.

    A load of it may take *limit* bytes in all.
    *granted* gives the grant of a global, or raises UnsafeError.  UnsafeError
    says what is refused, and where; FormatError that it is no stream.  With
    *persistent* it may hold persistent ids.  With *keep* the abstract graph is
    kept, to be looked at.
    """
    machine = _Pass(data, buffers, granted, limit, persistent=persistent)
    machine.keeps = keep
    try:
        with Uncollected():
            return machine.verified()
    except Refused as error:
        machine.refuse(str(error))
    except (IndexError, ValueError, struct.error) as error:
        raise FormatError(
            f"no whole stream: it is broken at byte {machine.at:,}: {error}"
        ) from error


class _Pass(Abstract):
    """One stream on its way through the machine."""

    keeps = False

    # --- the loop -----------------------------------------------------------

    def verified(self) -> Verified:
        data, end = self.data, len(self.data) - 1
        if data[:2] != pickle.PROTO + b"\x05":
            raise FormatError("no whole stream: it does not begin as protocol 5 does")
        if end < 3 or data[end] != pickle.STOP[0]:
            raise FormatError("no whole stream: it does not end with STOP")
        self.at = 2
        while self.at < end:
            self._run(min(self.at + _SLICE, end))
            if self.at > end:
                raise FormatError("no whole stream: it ends within an opcode")
            self.spend(0, LEAST * (len(self.stack) + len(self.memo)))
        if self.at != end or len(self.stack) != 1 or self.marks:
            raise FormatError("no whole stream: it does not end with one value")
        if self.taken != len(self.buffers):
            raise FormatError(f"{len(self.buffers) - self.taken} buffers belong to nothing")
        self.check_probes()
        self.check_depth(self.stack[0])
        used = {name: self.used.get(id(one), Verb.PUSH) for name, one in self.grants.items()}
        return Verified(
            self.grants,
            used,
            tuple(self.calls),
            self.is_unsure,
            self.spent,
            self.objects,
            self.stack[0] if self.keeps else None,
        )

    def _run(self, until: int) -> None:
        # One loop, with a call for one opcode in ten: this is where the time goes.
        data, stack, memo, rare = self.data, self.stack, self.memo, self.rare
        push, marks, at, floor, spent = stack.append, self.marks, self.at, self.floor, 0
        try:
            while at < until:
                op = data[at]
                if op == 0x68:  # BINGET
                    value, at = memo[data[at + 1]], at + 2
                    push(Recalled(value) if type(value) in _FILLED else value)
                elif op == 0x4B:  # BININT1
                    push(data[at + 1])
                    at += 2
                elif op == 0x8C:  # SHORT_BINUNICODE
                    first, at = at + 2, at + 2 + data[at + 1]
                    push(text := data[first:at].decode("utf-8", "surrogatepass"))
                    if data[at] == 0x94:  # MEMOIZE, as nearly always
                        memo.append(text)
                        at += 1
                elif op == 0x6A:  # LONG_BINGET
                    value, at = memo[_unsigned(data, at + 1)[0]], at + 5
                    push(Recalled(value) if type(value) in _FILLED else value)
                elif op == 0x75 or op == 0x65 or op == 0x90:  # SETITEMS, APPENDS, ADDITEMS
                    items = stack[floor:]
                    del stack[floor:]
                    self.at, floor = at, marks.pop()
                    at += self._filled(op, items, floor)
                elif op == 0x7D or op == 0x5D:  # EMPTY_DICT, EMPTY_LIST
                    push(box := Box("dict" if op == 0x7D else "list"))
                    spent, at = spent + DICT, at + 1
                    if data[at] == 0x94:  # MEMOIZE, as nearly always, and often MARK
                        memo.append(box)
                        at += 1
                        if data[at] == 0x28:
                            marks.append(floor)
                            floor, at = len(stack), at + 1
                elif op == 0x94:  # MEMOIZE
                    memo.append(stack[-1] if len(stack) > floor else underflow())
                    at += 1
                elif op == 0x29 and data[at : at + 6] == _BARE and self._is_begun(floor):
                    floor, at = len(stack), at + 6
                elif op in _NUMBERS:
                    read, size = _NUMBERS[op]
                    push(read(data, at + 1)[0])
                    at += size
                elif op == 0x61 and len(stack) - floor > 1:  # APPEND
                    self.at, item = at, stack.pop()
                    at += self._filled(0x65, [item], floor)
                elif op == 0x28:  # MARK
                    marks.append(floor)
                    floor, at = len(stack), at + 1
                elif op in _CONSTANTS:
                    push(_CONSTANTS[op])
                    at += 1
                else:
                    self.at, self.floor = at, floor
                    at = rare[op](op, at) if op in rare else self.refuse_opcode(op)
                    floor = self.floor
        finally:
            self.at, self.floor, self.spent = at, floor, self.spent + spent

    def _is_begun(self, floor: int) -> bool:
        """Put an instance in the place of its class, and begin its state, if it may be made so."""
        stack = self.stack
        if len(stack) <= floor or id(stack[-1]) not in self.bare:
            return False
        stack[-1] = one = Instance(stack[-1])
        stack.append(state := Box("dict"))
        self.memo += one, state
        self.marks.append(floor)
        self.objects += 1
        self.spent += DICT + INSTANCE
        return True

    def _filled(self, op: int, items: list[Any], floor: int) -> int:
        """Put *items* into what lies on the stack; the size of the opcodes that this took."""
        target = self.stack[-1] if len(self.stack) > floor else underflow()
        if type(target) is Box and not (target.items or self.sealed or self.weak):
            # Nearly all that is filled: a new list, or a new dict with texts as its keys.
            if op == 0x65 and target.kind == "list":
                target.items = items
                self.spent += LEAST * len(items)
                return 1
            if op == 0x75 and target.kind == "dict" and are_texts(map(type, keys := items[::2])):
                target.items = items if len(keys) * 2 == len(items) else odd()
                self.spent += ENTRY * len(items)
                is_state = self.data[self.at + 1] == 0x62  # BUILD
                return 1 + (is_state and self.build_again(target, tuple(keys), floor))
        self.fill(op, target, items)
        return 1


_double, _short, _signed, _unsigned = (
    struct.Struct(form).unpack_from for form in (">d", "<H", "<i", "<I")
)
# An instance made of its class alone, and the dict that will be its state.
_BARE = pickle.EMPTY_TUPLE + pickle.NEWOBJ + pickle.MEMOIZE
_BARE += pickle.EMPTY_DICT + pickle.MEMOIZE + pickle.MARK
_CONSTANTS: dict[int, Any] = {0x4E: None, 0x29: (), 0x88: True, 0x89: False}
_NUMBERS = {0x4A: (_signed, 5), 0x47: (_double, 9), 0x4D: (_short, 3)}  # BININT, BINFLOAT, BININT2
_FILLED = frozenset({Box, Instance})
