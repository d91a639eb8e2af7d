"""Pickling with an explicit stack: any depth, and the bytes of the C pickler.

The C pickler recurses, and gives up some hundreds to some thousands of objects
deep.  Here the stack is a list of *frames*: generators that write opcodes and
yield each child at the place where the child's opcodes belong.  The opcodes,
their batches and the memo's numbering are those of `Modules/_pickle.c`,
protocol 5, without FRAME opcodes.

A frame yields *steps*: the child, where it stands in its parent, and a label.
The steps under way are the path from the root to the object being saved, which
is what an error needs.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from operator import methodcaller
from struct import pack
from types import EllipsisType, FunctionType, NoneType, NotImplementedType
from typing import Any

from checkpoint._model import Global
from checkpoint._paths import Place, Step, qualified_name, rendered

# Payloads from here on are passed on as they are; smaller ones are gathered.
LARGE = 1 << 16

# Appends, setitems and additems come in groups of this many, as in the C pickler.
BATCH = 1000

# A reducer that makes up new objects without end is stopped here, not by the machine's memory.
DEEPEST = 1 << 21

_SINGLETONS: dict[Any, Any] = {
    NoneType: None,
    EllipsisType: ...,
    NotImplementedType: NotImplemented,
}


Frame = Iterator[Step]


by_itself = methodcaller("__reduce_ex__", 5)


def way_to_reduce(kind: type, table: Mapping[type, Any]) -> Callable[[Any], Any]:
    """How pickle reduces objects of *kind*: to a tuple, or to a string, their name as a global."""
    if kind is type:
        return _reduced_class
    if kind is FunctionType:
        return qualified_name
    with suppress(KeyError):
        return table[kind]  # type: ignore[no-any-return]
    return qualified_name if issubclass(kind, type) else by_itself


def _reduced_class(cls: Any) -> Any:
    return (type, (_SINGLETONS[cls],)) if cls in _SINGLETONS else qualified_name(cls)


class DeepPickler:
    """A pickler that no depth stops; `dump` once, then `path` and `at` say where it failed.

    *override* may also give a `Global`: what is written under that name, unseen.
    """

    def __init__(
        self,
        write: Callable[[Any], object],
        *,
        buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
        override: Callable[[Any], Any] | None = None,
        persistent_id: Callable[[Any], Any] | None = None,
        dispatch_table: Mapping[type, Any] | None = None,
    ) -> None:
        self._write = write
        self._buffer_callback = buffer_callback
        self._override = override
        self._persistent_id = persistent_id
        self._table = copyreg.dispatch_table if dispatch_table is None else dispatch_table
        self._out = bytearray()
        self._memo: dict[int, int] = {}
        self._alive: list[Any] = []  # an id in the memo must not be used again
        self._steps: list[Step | None] = []
        self._leaves: dict[type, Callable[[Any], None]] = {
            bytes: self._bytes,
            str: self._str,
            bytearray: self._bytearray,
            pickle.PickleBuffer: self._buffer,
        }
        self._branches: dict[type, Callable[[Any], Frame]] = {
            dict: self._dict,
            list: self._list,
            tuple: self._tuple,
            set: self._set,
            frozenset: self._frozenset,
        }

    def dump(self, obj: Any) -> None:
        """Write the pickle of *obj*, without frames."""
        self._emit(pickle.PROTO + b"\x05")
        self._run(iter([(obj, Place.ROOT, None)]))
        self._emit(pickle.STOP)
        self._flush()

    @property
    def path(self) -> str:
        """The way from the root to the object in work, as Python source where that is possible."""
        return rendered([step for step in self._steps if step is not None])

    @property
    def at(self) -> Any:
        """The object in work."""
        return next((step[0] for step in reversed(self._steps) if step is not None), None)

    def _run(self, root: Frame) -> None:
        frames, steps = [root], self._steps
        steps.append(None)
        while frames:
            steps[-1] = None
            step = next(frames[-1], None)
            if step is None:
                frames.pop()
                steps.pop()
                continue
            steps[-1] = step
            frame = self._enter(step)
            if frame is not None:
                frames.append(frame)
                steps.append(None)
                if len(frames) > DEEPEST:
                    raise pickle.PicklingError(f"nested more than {DEEPEST:,} steps deep")

    def _enter(self, step: Step) -> Frame | None:
        obj, place, _ = step
        if self._persistent_id is not None and place is not Place.PERSISTENT:
            pid = self._persistent_id(obj)
            if pid is not None:
                return self._persistent(pid)
        return self._save(obj)

    def _save(self, obj: Any) -> Frame | None:
        """Write a leaf, and give None; give the frame of anything else."""
        kind = type(obj)
        if kind in _ATOMS:
            self._emit(_ATOMS[kind](obj))
        elif id(obj) in self._memo:
            self._emit(self._recall(obj))
        elif kind in self._leaves:
            self._leaves[kind](obj)
        else:
            return self._branches.get(kind, self._other)(obj)
        return None

    def _other(self, obj: Any) -> Frame:
        value = NotImplemented if self._override is None else self._override(obj)
        if value is NotImplemented:
            value = way_to_reduce(type(obj), self._table)(obj)
        if isinstance(value, Global):
            return self._global(obj, value.module, value.qualname)
        if isinstance(value, str):
            module = pickle.whichmodule(obj, value)  # type: ignore[attr-defined]
            _check_found(obj, module, value)
            return self._global(obj, module, value)
        if isinstance(value, tuple):
            return self._reduction(obj, value)
        raise pickle.PicklingError("__reduce__ must return a string or tuple")

    # Writing, and the memo.

    def _emit(self, opcodes: bytes) -> None:
        self._out += opcodes
        if len(self._out) >= LARGE:
            self._flush()

    def _flush(self) -> None:
        out, self._out = self._out, bytearray()
        if out:
            self._write(out)

    def _payload(self, header: bytes, payload: Any) -> None:
        self._emit(header)
        if len(payload) < LARGE:
            self._emit(payload)
        else:
            self._flush()
            self._write(payload)

    def _memoize(self, obj: Any) -> None:
        self._memo[id(obj)] = len(self._alive)
        self._alive.append(obj)
        self._emit(pickle.MEMOIZE)

    def _recall(self, obj: Any) -> bytes:
        index = self._memo[id(obj)]
        if index < 256:
            return pickle.BINGET + pack("<B", index)
        return pickle.LONG_BINGET + pack("<I", index)

    # Leaves.

    def _str(self, obj: str) -> None:
        encoded = obj.encode("utf-8", "surrogatepass")
        self._payload(_header(_STR_OPCODES, len(encoded)), encoded)
        self._memoize(obj)

    def _bytes(self, obj: bytes) -> None:
        self._payload(_header(_BYTES_OPCODES, len(obj)), obj)
        self._memoize(obj)

    def _bytearray(self, obj: bytearray) -> None:
        self._payload(pickle.BYTEARRAY8 + pack("<Q", len(obj)), obj)
        self._memoize(obj)

    def _buffer(self, obj: pickle.PickleBuffer) -> None:
        view = obj.raw()
        if self._buffer_callback is not None and not self._buffer_callback(obj):
            self._emit(pickle.NEXT_BUFFER + (pickle.READONLY_BUFFER if view.readonly else b""))
        elif view.readonly:
            self._payload(_header(_BYTES_OPCODES, len(view)), view)
            self._memoize(obj)
        else:
            self._payload(pickle.BYTEARRAY8 + pack("<Q", len(view)), view)
            self._memoize(obj)

    # Branches: builtin containers.  Each is as the C pickler has it, odd batches included.

    def _list(self, obj: list[Any]) -> Frame:
        self._emit(pickle.EMPTY_LIST)
        self._memoize(obj)
        if len(obj) == 1:
            yield obj[0], Place.ITEM, 0
            self._emit(pickle.APPEND)
            return
        index = 0
        while index < len(obj):
            self._emit(pickle.MARK)
            stop = index + BATCH
            while index < min(stop, len(obj)):
                yield obj[index], Place.ITEM, index
                index += 1
            self._emit(pickle.APPENDS)

    def _dict(self, obj: dict[Any, Any]) -> Frame:
        self._emit(pickle.EMPTY_DICT)
        self._memoize(obj)
        items = iter(obj.items())
        if len(obj) == 1:
            yield from _entries(items)
            self._emit(pickle.SETITEM)
            return
        count = BATCH if obj else 0
        while count == BATCH:  # after a last batch that is full comes an empty one
            self._emit(pickle.MARK)
            count = yield from _entries(islice(items, BATCH))
            self._emit(pickle.SETITEMS)

    def _set(self, obj: set[Any]) -> Frame:
        self._emit(pickle.EMPTY_SET)
        self._memoize(obj)
        elements = iter(obj)
        count = BATCH if obj else 0
        while count == BATCH:
            self._emit(pickle.MARK)
            count = yield from _elements(islice(elements, BATCH))
            self._emit(pickle.ADDITEMS)

    def _frozenset(self, obj: frozenset[Any]) -> Frame:
        self._emit(pickle.MARK)
        yield from _elements(iter(obj))
        if id(obj) in self._memo:
            return self._emit(pickle.POP_MARK + self._recall(obj))
        self._emit(pickle.FROZENSET)
        self._memoize(obj)

    def _tuple(self, obj: tuple[Any, ...]) -> Frame:
        if not obj:
            return self._emit(pickle.EMPTY_TUPLE)
        short = len(obj) <= 3
        if not short:
            self._emit(pickle.MARK)
        for index, item in enumerate(obj):
            yield item, Place.ITEM, index
        if id(obj) in self._memo:  # a cycle through the items has made this tuple already
            drop = pickle.POP * len(obj) if short else pickle.POP_MARK
            return self._emit(drop + self._recall(obj))
        self._emit(_SHORT_TUPLES[len(obj)] if short else pickle.TUPLE)
        self._memoize(obj)

    # Branches: all else.

    def _persistent(self, pid: Any) -> Frame:
        yield pid, Place.PERSISTENT, None
        self._emit(pickle.BINPERSID)

    def _global(self, obj: Any, module: str, name: str) -> Frame:
        code = copyreg._extension_registry.get((module, name))  # type: ignore[attr-defined]
        if code is not None:
            return self._emit(_extension(code))
        yield module, Place.NAME, None
        yield name, Place.NAME, None
        self._emit(pickle.STACK_GLOBAL)
        self._memoize(obj)

    def _reduction(self, obj: Any, value: tuple[Any, ...]) -> Frame:
        make, args, state, items, entries, setter = _checked(value)
        yield from self._construction(obj, make, args)
        if id(obj) in self._memo:
            return self._emit(pickle.POP + self._recall(obj))
        self._memoize(obj)
        if items is not None:
            yield from self._appended(items)
        if entries is not None:
            yield from self._put(entries)
        if state is None:
            return
        if setter is None:
            yield state, Place.STATE, obj
            return self._emit(pickle.BUILD)
        yield setter, Place.PART, ".__reduce__()[5]"
        yield obj, Place.PART, ""
        yield state, Place.STATE, obj
        self._emit(pickle.TUPLE2 + pickle.REDUCE + pickle.POP)

    def _construction(self, obj: Any, make: Any, args: tuple[Any, ...]) -> Frame:
        name = getattr(make, "__name__", None)
        if name == "__newobj_ex__":
            cls, args, kwargs = _checked_newobj_ex(args)
            yield cls, Place.PART, ".__class__"
            yield args, Place.PART, ".__getnewargs_ex__()[0]"
            yield kwargs, Place.PART, ".__getnewargs_ex__()[1]"
            self._emit(pickle.NEWOBJ_EX)
        elif name == "__newobj__":
            yield _checked_class(obj, args), Place.PART, ".__class__"
            yield args[1:], Place.ARGS, (obj, 1)
            self._emit(pickle.NEWOBJ)
        else:
            yield make, Place.PART, ".__class__" if make is type(obj) else ".__reduce__()[0]"
            yield args, Place.ARGS, (obj, 0)
            self._emit(pickle.REDUCE)

    def _appended(self, items: Iterator[Any]) -> Frame:
        done = 0
        while batch := list(islice(items, 2)):
            if len(batch) == 1:
                yield batch[0], Place.ITEM, done
                return self._emit(pickle.APPEND)
            self._emit(pickle.MARK)
            for item in _rest_of_batch(batch, items):
                yield item, Place.ITEM, done
                done += 1
            self._emit(pickle.APPENDS)
            if done % BATCH:
                return

    def _put(self, entries: Iterator[Any]) -> Frame:
        while batch := list(islice(entries, 2)):
            if len(batch) == 1:
                yield from _entries(iter(batch))
                return self._emit(pickle.SETITEM)
            self._emit(pickle.MARK)
            count = yield from _entries(_rest_of_batch(batch, entries))
            self._emit(pickle.SETITEMS)
            if count < BATCH:
                return


def _rest_of_batch(first: list[Any], items: Iterator[Any]) -> Iterator[Any]:
    yield from first
    yield from islice(items, BATCH - len(first))


def _elements(items: Iterator[Any]) -> Any:
    """Steps for the elements of a set; gives back how many there were."""
    count = 0
    for count, element in enumerate(items, 1):  # noqa: B007
        yield element, Place.ELEMENT, element
    return count


def _entries(items: Iterator[Any]) -> Any:
    """Steps for keys and values; gives back how many pairs there were."""
    count = 0
    for item in items:
        if not isinstance(item, tuple) or len(item) != 2:
            raise TypeError("dict items iterator must return 2-tuples")
        key, value = item
        yield key, Place.KEY, key
        yield value, Place.ITEM, key
        count += 1
    return count


# Opcodes.

_SHORT_TUPLES = (pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
_STR_OPCODES = (pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8)
_BYTES_OPCODES = (pickle.SHORT_BINBYTES, pickle.BINBYTES, pickle.BINBYTES8)


def _header(opcodes: tuple[bytes, bytes, bytes], size: int) -> bytes:
    if size <= 0xFF:
        return opcodes[0] + pack("<B", size)
    if size <= 0xFFFFFFFF:
        return opcodes[1] + pack("<I", size)
    return opcodes[2] + pack("<Q", size)


def _int(value: int) -> bytes:
    if 0 <= value <= 0xFF:
        return pickle.BININT1 + pack("<B", value)
    if 0 <= value <= 0xFFFF:
        return pickle.BININT2 + pack("<H", value)
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return pickle.BININT + pack("<i", value)
    encoded = pickle.encode_long(value)
    if len(encoded) < 256:
        return pickle.LONG1 + pack("<B", len(encoded)) + encoded
    return pickle.LONG4 + pack("<i", len(encoded)) + encoded


_ATOMS: dict[type, Callable[[Any], bytes]] = {
    NoneType: lambda _: pickle.NONE,
    bool: lambda value: pickle.NEWTRUE if value else pickle.NEWFALSE,
    int: _int,
    float: lambda value: pickle.BINFLOAT + pack(">d", value),
}


def _extension(code: int) -> bytes:
    if code <= 0xFF:
        return pickle.EXT1 + pack("<B", code)
    if code <= 0xFFFF:
        return pickle.EXT2 + pack("<H", code)
    return pickle.EXT4 + pack("<i", code)


# Checks, in the words of the C pickler.


def _check_found(obj: Any, module: str, name: str) -> None:
    try:
        __import__(module)
        found: Any = sys.modules[module]
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, KeyError, AttributeError) as error:
        raise pickle.PicklingError(f"it is not found as {module}.{name}") from error
    if found is not obj:
        raise pickle.PicklingError(f"it's not the same object as {module}.{name}")


def _checked(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not 2 <= len(value) <= 6:
        raise pickle.PicklingError("tuple returned by __reduce__ must contain 2 through 6 elements")
    make, args, _, items, entries, setter = parts = value + (None,) * (6 - len(value))
    _require(callable(make), "first item", "callable")
    _require(isinstance(args, tuple), "second item", "a tuple")
    _require(items is None or isinstance(items, Iterator), "fourth item", "an iterator")
    _require(entries is None or isinstance(entries, Iterator), "fifth item", "an iterator")
    _require(setter is None or callable(setter), "sixth item", "a function")
    return parts


def _require(holds: bool, item: str, kind: str) -> None:
    if not holds:
        raise pickle.PicklingError(f"{item} of the tuple returned by __reduce__ must be {kind}")


def _checked_newobj_ex(args: tuple[Any, ...]) -> tuple[Any, ...]:
    kinds = (type, tuple, dict)
    if len(args) != 3 or not all(map(isinstance, args, kinds)):
        raise pickle.PicklingError("__newobj_ex__ takes a class, a tuple and a dict")
    return args


def _checked_class(obj: Any, args: tuple[Any, ...]) -> Any:
    if not args or not isinstance(args[0], type):
        raise pickle.PicklingError("args[0] from __newobj__ args is not a type")
    if args[0] is not obj.__class__:
        raise pickle.PicklingError("args[0] from __newobj__ args has the wrong class")
    return args[0]
