"""A graph as plain records: what a stream says of each object, without the classes.

Dicts, lists, tuples, sets and atoms are themselves.  An object is a `Record`, a
dict with its class under `__class__` and its attributes under their names:

    {"__class__": "game:Orc", "hp": 3, "friends": [...]}

What else a stream may say of an object has keys of its own: `__args__` and
`__kwargs__` (what its class or function is called with), `__items__`,
`__entries__` (pairs) and `__elements__` (what it holds as a list, dict or set),
`__state__` (a state that is no dict of attributes) and `__setter__` (the
function that is given it).  `{"__global__": "module:qualname"}` is a class or
function, `{"__persistent_id__": …}` what that says, and `{"__buffer__": n}` the
n-th buffer, where it is not to be had.  A dict that has a key of these names,
or one that cannot be hashed, is a record of class `builtins:dict` with
`__entries__`.

An array is `{"__class__": "numpy:ndarray", "dtype": "<f8", "shape": (2, 3),
"order": "C", "data": …}`; `data` is its memory, or the list of its objects.

Shared objects are shared, and cycles are cycles.  What protocols spell in
different ways is the same here, but for named tuples before protocol 2.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Callable, Sequence
from struct import unpack
from typing import Any, NoReturn

from checkpoint._model import Buffer
from checkpoint._probes import MAX_COLLISIONS, Guard
from checkpoint._records import (
    PLAIN,
    REBUILDERS,
    Record,
    array,
    attributes_of,
    can_be_hashed,
    fits,
    global_record,
    is_plain,
    is_unbuilt_array,
    parts_of,
    rebuilt,
)
from checkpoint._selecting import CONSTANTS
from checkpoint._spans import ATOMS, EXTENSIONS, WIDTHS
from checkpoint._translating import legible
from checkpoint.errors import FormatError, UnsafeError


def raw_of(data: Buffer, buffers: Sequence[Buffer] | None = None) -> Any:
    """The graph of a pickle of any protocol, as plain records; nothing is imported or run.

    FormatError if it is no whole pickle.  UnsafeError for keys that were chosen to
    collide, and for much that would be copied again and again.
    """
    data = data if isinstance(data, (bytes, bytearray)) else bytes(data)
    if data[:2] not in (pickle.PROTO + b"\x04", pickle.PROTO + b"\x05"):
        data = legible(data)
    try:
        return _Reader(data, buffers).read()
    except _Spelled:
        return _Reader(legible(data), buffers).read()


class _Spelled(Exception):
    """An opcode that newer protocols spell otherwise."""


class _Reader:
    def __init__(self, data: Buffer, buffers: Sequence[Buffer] | None) -> None:
        self._data, self._buffers = data, buffers
        self._taken = 0
        self._at = 0
        self._stack: list[Any] = []
        self._under: list[list[Any]] = []  # what is below each mark
        self._memo: list[Any] = []
        self._guard = Guard()
        self._left = _COPIES + 8 * len(data)  # bytes that may be copied of what is in the memo

    def read(self) -> Any:
        try:
            self._read()
        except IndexError:
            self._refuse("an opcode takes what is not there")
        if len(self._stack) != 1 or self._under:
            self._refuse("it does not end with one value")
        return self._stack[0]

    def _refuse(self, what: str) -> NoReturn:
        raise FormatError(f"not a whole pickle: {what}, at byte {self._at:,}")

    def _read(self) -> None:
        data, end = self._data, len(self._data)
        while self._at < end:
            op, at = data[self._at], self._at
            if op == pickle.STOP[0]:
                return
            if (width := WIDTHS[op]) or (size := ATOMS[op]):
                if width:
                    first = at + 1 + width
                    size = 1 + width + int.from_bytes(data[at + 1 : first], "little")
                else:
                    first = at + 1
                if at + size > end:
                    self._refuse("it ends within an opcode")
                self._stack.append(self._atom(op, first, at + size))
                self._at = at + size
            elif op in _WAYS:
                self._at = at + 1
                _WAYS[op](self)
            else:
                raise _Spelled
        self._refuse("it ends before its STOP")

    def _atom(self, op: int, first: int, end: int) -> Any:
        if op in CONSTANTS:
            return CONSTANTS[op]
        if op in _EMPTY:
            return _EMPTY[op]()
        if op in EXTENSIONS:
            code = int.from_bytes(self._data[first:end], "little")
            found = copyreg._inverted_registry.get(code)  # type: ignore[attr-defined]
            return global_record(":".join(found) if found else f"extension {code}")
        payload = bytes(self._data[first:end])
        try:
            return _DECODED[op](payload)
        except ValueError:
            self._refuse("a text is not in UTF-8")

    # --- the stack ----------------------------------------------------------

    def _argument(self, size: int) -> int:
        argument = self._data[self._at : self._at + size]
        if len(argument) != size:
            self._refuse("it ends within an opcode")
        self._at += size
        return int.from_bytes(argument, "little")

    def _to_mark(self) -> list[Any]:
        if not self._under:
            self._refuse("an opcode needs a mark")
        taken, self._stack = self._stack, self._under.pop()
        return taken

    def _taken_last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            self._refuse("an opcode takes what is not there")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _mark(self) -> None:
        self._under.append(self._stack)
        self._stack = []

    def _memoize(self) -> None:
        self._memo.append(self._stack[-1])

    def _get(self, size: int) -> None:
        index = self._argument(size)
        if index >= len(self._memo):
            self._refuse("what is not in the memo is recalled")
        self._stack.append(self._memo[index])

    def _pop(self) -> None:
        if not self._stack:
            self._to_mark()
            return
        dropped = self._stack.pop()
        if isinstance(dropped, Record) and len(dropped.get("__args__", ())) == 2:
            obj, state = dropped["__args__"]
            if isinstance(obj, Record) and obj is not dropped and "__class__" in dropped:
                obj |= {"__setter__": dropped["__class__"], "__state__": state}

    def _tuple(self, count: int) -> None:
        self._stack.append(tuple(self._taken_last(count)))

    def _long_tuple(self) -> None:
        items = tuple(self._to_mark())
        self._stack.append(items)

    # --- what is filled -----------------------------------------------------

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Record):
            target.setdefault("__items__", []).extend(items)
        elif isinstance(target, list):
            target.extend(items)
        else:
            self._refuse("what is no list is appended to")

    def _set(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        if len(flat) % 2:
            self._refuse("a key has no value")
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        if isinstance(target, Record):
            target.setdefault("__entries__", []).extend(pairs)
        elif not isinstance(target, dict):
            self._refuse("what is no dict is given entries")
        elif "__class__" in target:
            target["__entries__"].extend(pairs)
        elif all(map(is_plain, flat[::2])):
            self._put(target, flat[::2], is_set=False)
            target.update(pairs)
        else:
            kept = [*target.items(), *pairs]
            target.clear()
            target.update({"__class__": "builtins:dict", "__entries__": kept})

    def _add(self) -> None:
        elements = self._to_mark()
        target = self._stack[-1]
        if isinstance(target, Record):
            target.setdefault("__elements__", []).extend(elements)
        elif isinstance(target, set):
            target.update(self._hashable(elements, target))
        else:
            self._refuse("what is no set is given elements")

    def _hashable(self, elements: list[Any], target: Any) -> list[Any]:
        if not all(map(can_be_hashed, elements)):
            self._refuse("a set holds what cannot be hashed")
        self._put(target, elements, is_set=True)
        return elements

    def _copy(self, *parts: Any) -> None:
        """Count what is copied: of what is recalled again and again there would be no end.

        All that a stream holds may be copied once.
        """
        for part in parts:
            if isinstance(part, (list, tuple, dict, str, bytes, bytearray)):
                self._left -= _SIZES.get(type(part), 1) * len(part)
        if self._left < 0:
            raise self._unsafe("it copies the same again and again")

    def _unsafe(self, what: str) -> UnsafeError:
        return UnsafeError(f"{what}, at byte {self._at:,}", offset=self._at)

    def _put(self, target: Any, keys: list[Any], *, is_set: bool) -> None:
        """Refuse keys that were chosen to collide; those of few, or of texts alone, are not."""
        if len(target) + len(keys) > MAX_COLLISIONS and not _RANDOM.issuperset(map(type, keys)):
            try:
                before = () if self._guard.knows(target) else target
                self._guard.add(target, [*before, *keys], is_set=is_set)
            except UnsafeError as error:
                raise self._unsafe(str(error)) from None

    def _build(self) -> None:
        target, state = self._taken_last(2)
        self._stack.append(target)
        if not isinstance(target, Record):
            self._refuse("what has no attributes is given a state")
        if is_unbuilt_array(target) and fits(state, 5):
            shape, dtype, fortran, data = state[1:5]
            target |= array(data, dtype, shape, "F" if fortran else "C")
            del target["__args__"]
            return
        self._copy(*(part for part in parts_of(state) if isinstance(part, dict)))
        attributes = attributes_of(state)
        if attributes is None or "__state__" in target:
            target["__state__"] = state
        else:
            target.update(attributes)

    # --- what is called -----------------------------------------------------

    def _call(self, called: Any, args: Any, kwargs: Any = None) -> None:
        name = called.get("__global__") if isinstance(called, Record) else None
        if name in PLAIN and isinstance(args, tuple):
            is_set = name in _SETS
            self._copy(*(arg for arg in args if is_set or not isinstance(arg, list)))
            if is_set and fits(args, 1) and type(args[0]) is list:
                self._put([], [*filter(can_be_hashed, args[0])], is_set=True)
            value = PLAIN[name](args)
            if value is not None:
                self._stack.append(value)
                return
        if name in REBUILDERS and isinstance(args, tuple) and args:
            self._copy(args, *(arg for arg in args if isinstance(arg, dict)))
            self._stack.append(rebuilt(name, args))
            return
        record = Record({"__class__": name if name is not None else called})
        if args != ():
            record["__args__"] = args
        if kwargs:
            record["__kwargs__"] = kwargs
        self._stack.append(record)

    def _reduce(self) -> None:
        self._call(*self._taken_last(2))

    def _new_with_keywords(self) -> None:
        self._call(*self._taken_last(3))

    def _obj(self) -> None:
        taken = self._to_mark()
        self._call(taken[0], tuple(taken[1:]))

    def _stack_global(self) -> None:
        module, qualname = self._taken_last(2)
        if not isinstance(module, str) or not isinstance(qualname, str):
            self._refuse("a global is named by what is no string")
        self._copy(module, qualname)
        self._stack.append(global_record(f"{module}:{qualname}"))

    def _persistent(self) -> None:
        self._stack.append(Record({"__persistent_id__": self._stack.pop()}))

    def _next_buffer(self) -> None:
        number, self._taken = self._taken, self._taken + 1
        if self._buffers is None:
            self._stack.append(Record({"__buffer__": number}))
            return
        if number >= len(self._buffers):
            self._refuse("it needs more buffers than there are")
        self._stack.append(self._buffers[number])

    def _readonly(self) -> None:
        if not isinstance(self._stack[-1], Record | bytes):
            try:
                self._stack[-1] = memoryview(self._stack[-1]).toreadonly()
            except TypeError:
                self._refuse("what is no buffer is made read-only")

    def _frozenset(self) -> None:
        elements = frozenset(self._hashable(self._to_mark(), []))
        self._stack.append(elements)


_WAYS: dict[int, Callable[[_Reader], None]] = {
    pickle.PROTO[0]: lambda self: void(self._argument(1)),
    pickle.FRAME[0]: lambda self: void(self._argument(8)),
    pickle.MARK[0]: _Reader._mark,
    pickle.MEMOIZE[0]: _Reader._memoize,
    pickle.BINGET[0]: lambda self: self._get(1),
    pickle.LONG_BINGET[0]: lambda self: self._get(4),
    pickle.POP[0]: _Reader._pop,
    pickle.POP_MARK[0]: lambda self: void(self._to_mark()),
    pickle.TUPLE[0]: _Reader._long_tuple,
    pickle.TUPLE1[0]: lambda self: self._tuple(1),
    pickle.TUPLE2[0]: lambda self: self._tuple(2),
    pickle.TUPLE3[0]: lambda self: self._tuple(3),
    pickle.APPEND[0]: lambda self: self._extend(self._taken_last(1)),
    pickle.APPENDS[0]: lambda self: self._extend(self._to_mark()),
    pickle.SETITEM[0]: lambda self: self._set(self._taken_last(2)),
    pickle.SETITEMS[0]: lambda self: self._set(self._to_mark()),
    pickle.ADDITEMS[0]: _Reader._add,
    pickle.FROZENSET[0]: _Reader._frozenset,
    pickle.BUILD[0]: _Reader._build,
    pickle.REDUCE[0]: _Reader._reduce,
    pickle.NEWOBJ[0]: _Reader._reduce,
    pickle.NEWOBJ_EX[0]: _Reader._new_with_keywords,
    pickle.OBJ[0]: _Reader._obj,
    pickle.STACK_GLOBAL[0]: _Reader._stack_global,
    pickle.BINPERSID[0]: _Reader._persistent,
    pickle.NEXT_BUFFER[0]: _Reader._next_buffer,
    pickle.READONLY_BUFFER[0]: _Reader._readonly,
}
_EMPTY: dict[int, Callable[[], Any]] = {
    pickle.EMPTY_LIST[0]: list,
    pickle.EMPTY_DICT[0]: dict,
    pickle.EMPTY_SET[0]: set,
}
_COPIES = 1 << 20
_SIZES: dict[type, int] = {list: 8, tuple: 8, dict: 16, Record: 16}  # of each that it holds
_SETS = frozenset({"builtins:set", "builtins:frozenset"})
_RANDOM = frozenset({str, bytes, Record})  # whose hashes nobody foresees


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "surrogatepass")


def _unsigned(payload: bytes) -> int:
    return int.from_bytes(payload, "little")


_DECODED: dict[int, Callable[[bytes], Any]] = {
    **dict.fromkeys(pickle.BININT1 + pickle.BININT2, _unsigned),
    **dict.fromkeys(pickle.BININT + pickle.LONG1 + pickle.LONG4, pickle.decode_long),
    pickle.BINFLOAT[0]: lambda payload: unpack(">d", payload)[0],
    **dict.fromkeys(pickle.SHORT_BINUNICODE + pickle.BINUNICODE + pickle.BINUNICODE8, _text),
    **dict.fromkeys(pickle.SHORT_BINBYTES + pickle.BINBYTES + pickle.BINBYTES8, bytes),
    pickle.BYTEARRAY8[0]: bytearray,
}


def void(_: object) -> None:
    """Nothing."""
