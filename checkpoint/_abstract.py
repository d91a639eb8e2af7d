"""The abstract machine: what each opcode does to values that are never built.

A value is filled only where it was made, and never after it was recalled from
the memo: so picklers write, and so what can be reached from what is known.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from checkpoint._bounds import Bounds
from checkpoint._checks import no_arguments
from checkpoint._checks_of_states import StateOf
from checkpoint._grants import (
    Box,
    Grant,
    Instance,
    Payload,
    Recalled,
    Refused,
    Verb,
    plain,
    told,
)
from checkpoint.errors import FormatError, UnsafeError

Name = tuple[str, str]
Granted = Callable[[str, str], Grant]

MAX_INTEGER = 1 << 16  # bytes
_SHORT = 1024  # bytes up to here are looked at
_LONGEST_NAME = 1024

# What one value takes at least, and what a set, a dict and an instance take more.
LEAST, ENTRY, _SET, DICT, LIST, INSTANCE = 32, 48, 216, 100, 64, 100
_ARGUMENT = 128  # ... and a call for each argument, which is looked at

NAMES = {getattr(pickle, name)[0]: name for name in pickle.__all__ if name.isupper() and
          isinstance(getattr(pickle, name), bytes)}  # fmt: skip


class Abstract(Bounds):
    """One stream on its way through the abstract machine."""

    def __init__(
        self,
        data: bytes,
        buffers: Sequence[int],
        granted: Granted,
        limit: int,
        *,
        persistent: bool,
    ) -> None:
        self.data, self.buffers, self._granted = data, buffers, granted
        super().__init__(limit, len(data))
        self._persistent = persistent
        self.at = 0
        self.stack: list[Any] = []
        self.floor = 0
        self.marks: list[int] = []
        self.memo: list[Any] = []
        self.sealed: set[int] = set()  # boxes that were a state before they were whole
        self.taken = 0  # of the buffers
        self.objects = 0
        self.calls: list[int] = []
        self.grants: dict[Name, Grant] = {}
        self.used: dict[int, int] = {}
        self.bare: set[int] = set()  # grants whose instances are made of nothing
        self.names: dict[int, set[tuple[str, ...]]] = {}  # of states that were let through
        self.rare = {op[0]: getattr(self, name) for op, name in _RARE.items()}

    # --- what happens to values ---------------------------------------------

    def fill(self, op: int, target: Any, items: list[Any]) -> None:
        """Put *items* into what was just made."""
        self.spent += (LEAST if op == 0x65 else ENTRY) * len(items)
        if self.sealed and id(target) in self.sealed:
            self.refuse(f"{NAMES[op]} fills what is a state already")
        if type(target) is not Box or target.kind != _BOXES[op]:
            self._check_fillable(op, target)
        if op == 0x75:
            if len(items) % 2:
                odd()
            self.keys(items[::2], target)
        elif op == 0x90:
            self.keys(items, target)
        if target.items:
            target.items += items
        else:
            target.items = items
        if self.weak:
            self.deepen(target, items)

    def _check_fillable(self, op: int, target: Any) -> None:
        """Refuse what is no instance that may be filled so; note that it is."""
        if type(target) is not Instance or not target.grant.verbs & _FILLS[op]:
            what = "what came out of the memo" if type(target) is Recalled else told(target)
            self.refuse(f"{NAMES[op]} fills {what}")
        if target.built:
            self.refuse(f"{NAMES[op]} fills {told(target)} after it got its state")
        self._use(target.grant, _FILLS[op])
        if target.items is None:
            target.items = []

    def _made(self, grant: Grant, args: tuple[Any, ...], check: Any, verb: int) -> Any:
        """The abstract result of a call."""
        self._use(grant, verb)
        self.objects += 1
        self.spend(INSTANCE + _ARGUMENT * len(args))
        for arg in args:
            kind = type(arg)
            if kind is str or kind is bytes:
                self.spent += 8 * len(arg)
            elif kind is Payload:
                self.spent += arg.length
            elif kind is int:
                # What is calculated with long numbers takes time with the square of their lengths.
                self.spent += arg.bit_length() ** 2 >> 10
        try:
            made = None if check is None else check(grant, args, self)
        except Refused as error:
            self.refuse(f"{grant.name} is called with what it may not be given: {error}", grant)
        if made is None:
            made = Instance(grant, args)
        if grant.weak and type(made) is Instance:
            self.weak.append(made)
        return made

    def _use(self, grant: Grant, verb: int) -> None:
        before = self.used.get(id(grant), Verb.PUSH)
        if not before & verb:
            self.used[id(grant)] = before | verb

    def _operands(self, taken: int) -> list[Any]:
        """The last *taken* values, off the stack."""
        if len(self.stack) - taken < self.floor:
            underflow()
        found = self.stack[-taken:]
        del self.stack[-taken:]
        return found

    def _to_mark(self) -> list[Any]:
        items = self.stack[self.floor :]
        del self.stack[self.floor :]
        self.floor = self.marks.pop()
        return items

    # --- the opcodes that are not met often ---------------------------------

    def _fill_one(self, op: int, at: int) -> int:
        count, op = _OF_MANY[op]
        items = self._operands(count)
        self.fill(op, self.stack[-1] if len(self.stack) > self.floor else underflow(), items)
        return at + 1

    def _short_tuple(self, op: int, at: int) -> int:
        items = self._operands(op - 0x84)
        self.spent += LIST + LEAST
        self.stack.append(tuple(items))
        return at + 1

    def _tuple(self, op: int, at: int) -> int:
        items = self._to_mark()
        self.spent += LIST + LEAST * len(items)
        self.stack.append(tuple(items))
        return at + 1

    def _frozenset(self, op: int, at: int) -> int:
        made = Box("frozenset")
        items = self._to_mark()
        self.spent += _SET + 2 * LEAST * len(items)
        self.keys(items, made)
        made.items = items
        self.stack.append(made)
        return at + 1

    def _empty_set(self, op: int, at: int) -> int:
        self.stack.append(Box("set"))
        self.spent += _SET
        return at + 1

    def _pop(self, op: int, at: int) -> int:
        if len(self.stack) == self.floor and self.marks:
            self.floor = self.marks.pop()  # A mark, as protocol 0 drops one.
        else:
            self._operands(1)
        self.spend(2 * LEAST)
        return at + 1

    def _pop_mark(self, op: int, at: int) -> int:
        self._to_mark()
        self.spend(2 * LEAST)
        return at + 1

    def _long(self, op: int, at: int) -> int:
        width = 1 if op == 0x8A else 4
        first, size = self._sized(at, width)
        if size > MAX_INTEGER:
            self.refuse(f"a number of {size:,} bytes")
        self.stack.append(int.from_bytes(self.data[first : first + size], "little", signed=True))
        return first + size

    def _unicode(self, op: int, at: int) -> int:
        first, size = self._sized(at, 4 if op == 0x58 else 8)
        self.stack.append(self.data[first : first + size].decode("utf-8", "surrogatepass"))
        return first + size

    def _bytes(self, op: int, at: int) -> int:
        width = {0x43: 1, 0x42: 4}.get(op, 8)
        first, size = self._sized(at, width)
        if op == 0x96:
            self.stack.append(Payload("bytearray", size))
            self.spent += LIST
        elif size > _SHORT:
            self.stack.append(Payload("bytes", size))
        else:
            self.stack.append(self.data[first : first + size])
        return first + size

    def _sized(self, at: int, width: int) -> tuple[int, int]:
        """Where a payload begins, and its length, which fits what is left."""
        first = at + 1 + width
        size = int.from_bytes(self.data[at + 1 : first], "little")
        if size > len(self.data) - 1 - first:
            raise FormatError(f"no whole stream: {size:,} bytes were promised at byte {at:,}")
        return first, size

    def _next_buffer(self, op: int, at: int) -> int:
        if self.taken == len(self.buffers):
            raise FormatError(f"a buffer is taken at byte {at:,} that is not there")
        self.stack.append(Payload("buffer", self.buffers[self.taken]))
        self.taken += 1
        return at + 1

    def _readonly_buffer(self, op: int, at: int) -> int:
        (value,) = self._operands(1)
        if type(value) is not Payload or value.kind != "buffer":
            self.refuse(f"{told(value)} is made read-only")
        self.stack.append(value)
        return at + 1

    def _global(self, op: int, at: int) -> int:
        module, qualname = self._operands(2)
        if type(module) is not str or type(qualname) is not str:
            self.refuse("a global is named by what is no text")
        if len(module) + len(qualname) > _LONGEST_NAME:
            self.refuse(f"a global with a name of {len(module) + len(qualname):,} characters")
        name = module, qualname
        found = self.grants.get(name)
        if found is None:
            try:
                found = self.grants[name] = self._granted(module, qualname)
            except UnsafeError as error:
                self._placed(error)
                raise
        self.stack.append(found)
        return at + 1

    def _reduce(self, op: int, at: int) -> int:
        called, args = self._operands(2)
        if type(called) is not Grant:
            self.refuse(f"{told(called)} is called")
        if type(args) is not tuple:
            self.refuse(f"{called.name} is called with {told(args)}", called)
        if called.by_new:
            self.calls.append(at)
            self.stack.append(self._made(called, args, called.new, Verb.NEW))
        elif called.verbs & Verb.CALL:
            self.stack.append(self._made(called, args, called.call, Verb.CALL))
        else:
            self.refuse(f"{called.name} is called{called.line}", called)
        return at + 1

    def _newobj(self, op: int, at: int) -> int:
        stack = self.stack
        if len(stack) - 2 < self.floor:
            underflow()
        args = stack.pop()
        cls = stack[-1]
        # Nearly all are made without arguments, and there may be millions.
        is_bare = args == () and type(cls) is Grant and cls.new is no_arguments
        if is_bare and cls.verbs & Verb.NEW and not cls.weak:
            if id(cls) not in self.bare:
                self._use(cls, Verb.NEW)
                self.bare.add(id(cls))
            self.objects += 1
            self.spent += INSTANCE
            stack[-1] = made = Instance(cls)
            if self.data[at + 1] == pickle.MEMOIZE[0]:
                self.memo.append(made)
                return at + 2
            return at + 1
        del stack[-1]
        return self._instantiated(cls, args, at)

    def _newobj_ex(self, op: int, at: int) -> int:
        cls, args, kwargs = self._operands(3)
        kwargs = plain(kwargs)
        if type(kwargs) is not Box or kwargs.kind != "dict" or kwargs.items:
            named = type(cls) is Grant and cls.verbs & Verb.CALL and cls.call is None
            if not named or type(kwargs) is not Box or kwargs.kind != "dict":
                self.refuse(f"{told(cls)} is made with named arguments")
        return self._instantiated(cls, args, at)

    def _obj(self, op: int, at: int) -> int:
        cls, *args = self._to_mark()
        if args or not isinstance(getattr(cls, "object", None), type) or hasattr(
            cls.object, "__getinitargs__"
        ):  # fmt: skip
            self.refuse(f"{told(cls)} is called")
        return self._instantiated(cls, (), at)

    def _instantiated(self, cls: Any, args: Any, at: int) -> int:
        if type(cls) is not Grant or not cls.verbs & Verb.NEW:
            self.refuse(f"an instance is made of {told(cls)}", cls)
        if type(args) is not tuple:
            self.refuse(f"{cls.name} is made with {told(args)}", cls)
        self.stack.append(self._made(cls, args, cls.new, Verb.NEW))
        return at + 1

    def _build(self, op: int, at: int) -> int:
        stack = self.stack
        if len(stack) - 2 < self.floor:
            underflow()
        state = stack.pop()
        target = stack[-1]
        if type(target) is not Instance:
            what = "what came out of the memo" if type(target) is Recalled else told(target)
            self.refuse(f"BUILD sets the state of {what}")
        grant = target.grant
        if not grant.verbs & Verb.BUILD or target.built:
            again = " again" if target.built else ""
            self.refuse(f"BUILD sets the state of {told(target)}{again}", grant)
        self._use(grant, Verb.BUILD)
        if type(state) is Box:
            self.spent += ENTRY * len(state.items)
        else:
            self._count_state(state)
        if grant.build is not None:
            try:
                grant.build(target, state, self)
            except Refused as error:
                what = f"{told(target)} is given a state that it may not have: {error}{grant.line}"
                self.refuse(what, grant)
            if isinstance(grant.build, StateOf):
                self.names[id(grant)] = grant.build.known
        target.built, target.state = True, state
        if self.weak:
            self.deepen(target, [state])
        return at + 1

    def build_again(self, state: Box, names: tuple[str, ...], floor: int) -> int:
        """Build what lies below *state*, if these names were let through before; whether it was."""
        stack = self.stack
        one = stack[-2] if len(stack) - floor > 1 else None
        if type(one) is not Instance or one.built or names not in self.names.get(id(one.grant), ()):
            return 0
        del stack[-1]
        one.built, one.state = True, state
        self.spent += ENTRY * len(state.items)
        return 1

    def _count_state(self, state: Any) -> None:
        """Count the entries of a state, which are copied, however often it is recalled."""
        for part in state if type(state) is tuple and len(state) == 2 else (state,):
            held = plain(part)
            if type(held) is Box:
                self.spend(ENTRY * len(held.items))
                if type(part) is Recalled:  # It may not be whole yet, and was looked at now.
                    self.sealed.add(id(held))

    def _persistent_id(self, op: int, at: int) -> int:
        (pid,) = self._operands(1)
        if not self._persistent:
            self.refuse("a persistent id, and no persistent_load was declared")
        self.stack.append(Instance(_PERSISTENT, (pid,)))
        return at + 1

    def granted_within(self, owner: Grant, name: str, inner: type) -> Grant:
        module, _, qualname = owner.name.partition(":")
        found = self._granted(module, f"{qualname}.{name}")
        if found.object is not inner:
            self.refuse(f"{owner.name} has another {name}")
        self.grants[module, f"{qualname}.{name}"] = found
        return found

    # --- refusals -----------------------------------------------------------

    def refuse(self, what: str, about: Any = None) -> NoReturn:
        if type(about) is Grant and about.why:
            what = f"{what}: {about.why}"
        error = UnsafeError(what, global_name=about.name if type(about) is Grant else None)
        self._placed(error)
        raise error

    def _placed(self, error: UnsafeError) -> None:
        """Say in *error* where in the stream it is."""
        error.offset = self.at
        error.opcode = NAMES.get(self.data[self.at]) if self.at < len(self.data) else None
        error.args = (f"{error}, at byte {self.at:,} ({error.opcode or 'no opcode'})",)

    def refuse_opcode(self, op: int) -> NoReturn:
        name = NAMES.get(op)
        if name is None:
            raise FormatError(f"no whole stream: byte {self.at:,} ({op:#04x}) is no opcode")
        self.refuse(f"the opcode {name}, which is not written by protocol 5")


are_texts = frozenset({str}).issuperset


def odd() -> NoReturn:
    raise FormatError("no whole stream: a key without a value")


def underflow() -> NoReturn:
    raise IndexError("an opcode takes what is not there")


_PERSISTENT = Grant("a persistent id", None)
_BOXES = {0x75: "dict", 0x65: "list", 0x90: "set"}
_FILLS = {0x75: Verb.ENTRIES, 0x65: Verb.ITEMS, 0x90: Verb.ELEMENTS}
_OF_MANY = {pickle.APPEND[0]: (1, 0x65), pickle.SETITEM[0]: (2, 0x75)}  # as if by a mark
_RARE = {
    pickle.APPEND: "_fill_one",
    pickle.SETITEM: "_fill_one",
    pickle.TUPLE: "_tuple",
    pickle.TUPLE1: "_short_tuple",
    pickle.TUPLE2: "_short_tuple",
    pickle.TUPLE3: "_short_tuple",
    pickle.FROZENSET: "_frozenset",
    pickle.EMPTY_SET: "_empty_set",
    pickle.POP: "_pop",
    pickle.POP_MARK: "_pop_mark",
    pickle.LONG1: "_long",
    pickle.LONG4: "_long",
    pickle.BINUNICODE: "_unicode",
    pickle.BINUNICODE8: "_unicode",
    pickle.SHORT_BINBYTES: "_bytes",
    pickle.BINBYTES: "_bytes",
    pickle.BINBYTES8: "_bytes",
    pickle.BYTEARRAY8: "_bytes",
    pickle.NEXT_BUFFER: "_next_buffer",
    pickle.READONLY_BUFFER: "_readonly_buffer",
    pickle.STACK_GLOBAL: "_global",
    pickle.REDUCE: "_reduce",
    pickle.NEWOBJ: "_newobj",
    pickle.NEWOBJ_EX: "_newobj_ex",
    pickle.OBJ: "_obj",
    pickle.BUILD: "_build",
    pickle.BINPERSID: "_persistent_id",
}
