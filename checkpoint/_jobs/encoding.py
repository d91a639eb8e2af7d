"""An encoding of values that any process repeats, and the digest that stands for it.

The encoding is for digests only; nobody reads it back.  Every piece is a tag,
its length and its content, so two values share an encoding only if they share
types and content.  It holds no address, no hash and no order of a set, so
that another process, another release of Python and another day write the same.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import os
import re
import reprlib
import struct
import sys
import types
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from operator import itemgetter
from pathlib import PurePath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import attrs
from blake3 import blake3

MAX_DEPTH = 200

_KINDS_OF_BYTES = "biufcmMSUV"  # of dtypes: an array's memory is its content


class _RefusedError(Exception):
    """A value that cannot be identified; `steps` lead to it, the last one first."""

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(reason)
        self.kind = _class_text(type(value))
        self.reason = reason
        self.steps: list[str] = []


# --- the encoding -----------------------------------------------------------


def canonical(value: object, path: str) -> bytes:
    """The encoding of *value*, typed and the same in every process.

    `1`, `True`, `1.0` and `"1"` differ, and so do `0.0` and `-0.0`; the order
    of dicts and sets does not count, that of an `OrderedDict` does.  A value
    that cannot be identified raises TypeError, which names it from *path* on.
    """
    try:
        return _Walk().encode(value)
    except _RefusedError as refused:
        raise TypeError(_advice(path, refused)) from None
    except RecursionError:
        deep = _RefusedError(value, "it is nested too deeply")
        raise TypeError(_advice(path, deep)) from None


def digest_of(value: object, path: str = "value") -> str:
    """16 hex digits that stand for *value*."""
    return _hex(canonical(value, path))


def told(value: object) -> str:
    """The digest of *value*, or its type where it cannot be identified; never raises."""
    try:
        leaf = _LEAVES.get(type(value))
        if leaf is not None:  # most items of a map are: a million of them must not wait for us
            return _hex(leaf(value))
        return _hex(_Walk().encode(value))
    except Exception:  # whatever a property or a broken class may raise
        return f"type {_class_text(type(value))}"


def _hex(encoded: bytes) -> str:
    return blake3(encoded).digest(length=8).hex()


def _advice(path: str, refused: _RefusedError) -> str:
    steps = "".join(reversed(refused.steps))
    if not path:  # the arguments of a call: the first step is a parameter
        steps = re.sub(r"\A\['(\w+)'\]", r"\1", steps)
    where = path + steps or "key"
    named = re.match(r"\w+", where)
    remedy = f'leave it out with ignore=("{named[0] if named else where}",) or tell the job by key='
    if where == "key":
        remedy = "give a key of plain values"
    if len(where) > 120:
        where = where[:119] + "…"
    return f"{where} ({refused.kind}) cannot identify a job: {refused.reason}; {remedy}"


def piece(tag: bytes, content: bytes) -> bytes:
    """*content* with its tag and length: pieces in a row can be told apart."""
    return b"%s%d:%s" % (tag, len(content), content)


def _text(text: str) -> bytes:
    return piece(b"str", text.encode("utf-8", "surrogatepass"))


def _integer(number: int) -> bytes:
    return piece(b"int", b"%x" % number)


def _double(number: float) -> bytes:
    return struct.pack(">d", number) if number == number else b"nan"  # whatever its sign is


def _float(number: float) -> bytes:
    return piece(b"float", _double(number))


def _complex(number: complex) -> bytes:
    return piece(b"complex", _float(number.real) + _float(number.imag))


def _timedelta(span: timedelta) -> bytes:
    return piece(b"timedelta", b"%d %d %d" % (span.days, span.seconds, span.microseconds))


# Plain values, by exact type: a class of the user's is looked at more closely.
_LEAVES: dict[type, Callable[[Any], bytes]] = {
    int: _integer,
    str: _text,
    float: _float,
    bytes: lambda value: piece(b"bytes", value),
    bool: lambda value: piece(b"bool", b"1" if value else b"0"),
    types.NoneType: lambda value: piece(b"none", b""),
    types.EllipsisType: lambda value: piece(b"ellipsis", b""),
    complex: _complex,
    bytearray: lambda value: piece(b"bytearray", value),
    date: lambda value: piece(b"date", value.isoformat().encode()),
    timedelta: _timedelta,
    timezone: lambda value: piece(b"timezone", _timedelta(value.utcoffset(None))),
    Decimal: lambda value: piece(b"decimal", str(value).encode()),
    Fraction: lambda value: piece(
        b"fraction", _integer(value.numerator) + _integer(value.denominator)
    ),
    uuid.UUID: lambda value: piece(b"uuid", value.bytes),
}
_BUILTIN = (bytes, bytearray, str, int, float, complex, tuple, list, dict, set, frozenset)


class _Walk:
    """One walk through a value; it knows what it is inside of."""

    def __init__(self) -> None:
        self._around: set[int] = set()

    def encode(self, value: Any) -> bytes:
        leaf = _LEAVES.get(type(value))
        if leaf is not None:
            return leaf(value)
        if id(value) in self._around:
            raise _RefusedError(value, "it holds itself")
        if len(self._around) >= MAX_DEPTH:
            raise _RefusedError(value, f"it is nested more than {MAX_DEPTH} deep")
        self._around.add(id(value))
        try:
            branch = _BRANCHES.get(type(value))
            if branch is not None:
                return branch(self, value)
            for rule in _RULES:
                encoded = rule(self, value)
                if encoded is not None:
                    return encoded
            raise _RefusedError(value, "its content is not known here")
        finally:
            self._around.discard(id(value))

    def inside(self, item: Any, form: str, step: object) -> bytes:
        """The encoding of *item*, which *step* leads to."""
        try:
            return self.encode(item)
        except _RefusedError as refused:
            refused.steps.append(form.format(step if form == ".{}" else in_short(step)))
            raise

    def fields(self, pairs: Iterable[tuple[str, Any]]) -> bytes:
        """Names and what they stand for, in the order of the names."""
        encoded = []
        for name, value in sorted(pairs, key=itemgetter(0)):
            encoded += [_text(name), self.inside(value, ".{}", name)]
        return b"".join(encoded)


# --- containers -------------------------------------------------------------


def _sequence(tag: bytes, cls: Any) -> Callable[[_Walk, Any], bytes]:
    def branch(walk: _Walk, value: Any) -> bytes:
        encoded = []  # no comprehension: on 3.11 it is a call, and the stack is short
        for index, item in enumerate(cls.__iter__(value)):
            encoded.append(walk.inside(item, "[{}]", index))
        return piece(tag, b"".join(encoded))

    return branch


def _members(tag: bytes, cls: Any) -> Callable[[_Walk, Any], bytes]:
    def branch(walk: _Walk, value: Any) -> bytes:
        items = [walk.inside(item, " (its member {})", item) for item in cls.__iter__(value)]
        return piece(tag, b"".join(sorted(items)))

    return branch


def _entries(walk: _Walk, value: dict[Any, Any]) -> list[bytes]:
    entries = []
    for key, item in dict.items(value):
        name = walk.inside(key, " (the key {})", key)
        entries.append(name + walk.inside(item, "[{}]", key))
    return entries


def _dict(walk: _Walk, value: dict[Any, Any]) -> bytes:
    # A key's piece is no prefix of another's: this sorts by key.
    return piece(b"dict", b"".join(sorted(_entries(walk, value))))


def _range(walk: _Walk, value: range) -> bytes:
    if not value:
        return piece(b"range", b"")
    ends = _integer(value.start) + _integer(value[-1])  # range(0, 3, 2) equals range(0, 4, 2)
    return piece(b"range", ends + _integer(value.step if value.start != value[-1] else 1))


def _slice(walk: _Walk, value: slice) -> bytes:
    bounds = [("start", value.start), ("stop", value.stop), ("step", value.step)]
    return piece(b"slice", walk.fields(bounds))


def _time(walk: _Walk, value: time | datetime) -> bytes:
    clock = value.replace(tzinfo=None).isoformat().encode()
    zone = walk.inside(value.tzinfo, ".{}", "tzinfo")
    tag = b"datetime" if isinstance(value, datetime) else b"time"
    return piece(tag, b"%d%s " % (value.fold, clock) + zone)


def _zone(walk: _Walk, value: ZoneInfo) -> bytes:
    if value.key is None:
        raise _RefusedError(value, "it has no key")
    return piece(b"zone", _text(value.key))


def _partial(walk: _Walk, value: functools.partial[Any]) -> bytes:
    parts = [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    return piece(b"partial", walk.fields(parts))


def _method(walk: _Walk, value: types.MethodType) -> bytes:
    owner = walk.inside(value.__self__, ".{}", "__self__")
    return piece(b"method", _text(_global_text(value.__func__)) + owner)


def _namespace(walk: _Walk, value: types.SimpleNamespace) -> bytes:
    return piece(b"namespace", walk.fields(vars(value).items()))


_BRANCHES: dict[type, Callable[[_Walk, Any], bytes]] = {
    tuple: _sequence(b"tuple", tuple),
    list: _sequence(b"list", list),
    dict: _dict,
    set: _members(b"set", set),
    frozenset: _members(b"frozenset", frozenset),
    range: _range,
    slice: _slice,
    time: _time,
    datetime: _time,
    ZoneInfo: _zone,
    functools.partial: _partial,
    types.MethodType: _method,
    types.SimpleNamespace: _namespace,
}


# --- what a class or a library says of its instances ------------------------


def _enum(walk: _Walk, value: Any) -> bytes | None:
    if not isinstance(value, enum.Enum):
        return None
    cls = type(value)
    # Flags that are set together have no name that every release writes alike.
    member = value._name_ if value._name_ in cls.__members__ else value._value_
    return piece(b"enum", _text(_global_text(cls)) + walk.inside(member, ".{}", "value"))


def _path(walk: _Walk, value: Any) -> bytes | None:
    if not isinstance(value, PurePath):
        return None
    tag = b"windowspath" if isinstance(value, PureWindowsPath) else b"posixpath"
    encoded = piece(tag, _text(str(value)))
    # 3.13 keeps its classes in pathlib._local; a path is a path, concrete or pure.
    if type(value).__module__.partition(".")[0] == "pathlib":
        return encoded
    return piece(b"subclass", _text(_global_text(type(value))) + encoded)


def _numpy(walk: _Walk, value: Any) -> bytes | None:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, numpy.dtype):
        return _dtype(value)
    if isinstance(value, numpy.generic):
        return piece(b"scalar", _array(numpy, value, numpy.asarray(value)))
    if type(value) in (numpy.ndarray, numpy.memmap):
        return piece(b"array", _array(numpy, value, value.view(numpy.ndarray)))
    return None


def _dtype(dtype: Any) -> bytes:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return piece(b"dtype", _dtype(base) + _text(str(shape)))
    if dtype.names is None:
        # numpy's own classes changed their names; others' (bfloat16) are all that tells them.
        own = dtype.type.__module__.partition(".")[0] == "numpy"
        return piece(b"dtype", _text(dtype.str) + _text("" if own else _class_text(dtype.type)))
    fields = ((name, *dtype.fields[name][:2]) for name in dtype.names)
    rows = [_text(name) + _dtype(kind) + _integer(offset) for name, kind, offset in fields]
    return piece(b"dtype", b"".join(rows) + _integer(dtype.itemsize))


def _array(numpy: Any, value: Any, array: Any) -> bytes:
    dtype = array.dtype
    if dtype.hasobject or dtype.kind not in _KINDS_OF_BYTES:
        raise _RefusedError(value, f"its dtype {dtype} holds objects, not bytes")
    if dtype.names is not None:  # field by field: what lies between them is not content
        rows = [_text(name) + _array(numpy, value, array[name]) for name in dtype.names]
        return piece(b"fields", _text(str(array.shape)) + b"".join(rows))
    if (dtype.kind == "f" and dtype.itemsize > 8) or (dtype.kind == "c" and dtype.itemsize > 16):
        raise _RefusedError(value, f"its dtype {dtype} has bytes without a meaning")
    flat = numpy.ascontiguousarray(array).reshape(-1)
    content = blake3(flat.view(numpy.uint8) if flat.nbytes else b"").digest()
    return piece(b"bytes", _dtype(dtype) + _text(str(array.shape)) + content)


def _torch(walk: _Walk, value: Any) -> bytes | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if isinstance(value, (torch.dtype, torch.device)):
        return piece(b"torch", _text(type(value).__name__) + _text(str(value)))
    if not isinstance(value, torch.Tensor):
        return None
    try:
        plain = value.detach().cpu().resolve_conj().resolve_neg()
        flat = plain.contiguous().reshape(-1)
        content = blake3(flat.view(torch.uint8).numpy() if flat.numel() else b"").digest()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise _RefusedError(value, f"torch does not give its bytes ({error})") from error
    shape = _text(str(tuple(value.shape)))
    return piece(b"tensor", _text(str(value.dtype)) + shape + content)


def _global(walk: _Walk, value: Any) -> bytes | None:
    """What another process finds by its name: a class, a function, what wraps one."""
    if isinstance(value, type):
        return piece(b"class", _text(_global_text(value)))
    if isinstance(value, (types.MethodDescriptorType, types.WrapperDescriptorType)):
        return piece(b"global", _text(f"{_class_text(value.__objclass__)}.{value.__name__}"))
    if not callable(value) or not isinstance(getattr(value, "__qualname__", None), str):
        return None
    owner = getattr(value, "__self__", None)
    if isinstance(value, types.BuiltinFunctionType) and not isinstance(
        owner, types.ModuleType | None
    ):
        return piece(b"method", _text(value.__name__) + walk.inside(owner, ".{}", "__self__"))
    name = _global_text(value)
    if _found(value.__module__, value.__qualname__) is not value:
        raise _RefusedError(value, f"another process would not find it as {name}")
    return piece(b"global", _text(name))


def _record(walk: _Walk, value: Any) -> bytes | None:
    cls: Any = type(value)
    if isinstance(value, tuple) and isinstance(names := getattr(cls, "_fields", None), tuple):
        pairs = zip(names, tuple.__iter__(value), strict=False)
        return piece(b"record", _text(_global_text(cls)) + walk.fields(pairs))
    if attrs.has(cls):
        counted = [field.name for field in attrs.fields(cls) if field.eq]
    elif dataclasses.is_dataclass(cls):
        counted = [field.name for field in dataclasses.fields(cls) if field.compare]
    else:
        return None
    there = [(name, getattr(value, name)) for name in counted if hasattr(value, name)]
    return piece(b"record", _text(_global_text(cls)) + walk.fields(there))


def _subclass(walk: _Walk, value: Any) -> bytes | None:
    """A class of the user's that is a builtin one: its name, its content and its attributes."""
    base = next((base for base in _BUILTIN if isinstance(value, base)), None)
    if base is None:
        return None
    if isinstance(value, OrderedDict):
        content = piece(b"ordered", b"".join(_entries(walk, value)))
    elif base in _BRANCHES:
        content = _BRANCHES[base](walk, value)
    else:
        content = _LEAVES[base](_PLAIN[base](value))
    attributes = walk.fields(_attributes(value).items())
    return piece(b"subclass", _text(_global_text(type(value))) + content + attributes)


_RULES = (_enum, _path, _numpy, _torch, _global, _record, _subclass)

# The content, whatever a subclass says that it is.
_PLAIN: dict[type, Callable[[Any], Any]] = {
    bytes: lambda value: bytes(memoryview(value)),
    bytearray: lambda value: bytearray(memoryview(value)),
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
}


def _attributes(value: Any) -> dict[str, Any]:
    found = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        for name, slot in vars(cls).items():
            if isinstance(slot, types.MemberDescriptorType) and "__slots__" in vars(cls):
                found.update({name: getattr(value, name)} if hasattr(value, name) else {})
    return found


# --- names ------------------------------------------------------------------


def _class_text(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _global_text(value: Any) -> str:
    """`module:qualname`; a script's own things go by the name of the script."""
    module, qualname = value.__module__, value.__qualname__
    if "<" in qualname:
        raise _RefusedError(value, f"another process would not find {qualname}")
    if module in ("__main__", "__mp_main__"):
        module = program_name(vars(sys.modules["__main__"])) or "__main__"
    return f"{module}:{qualname}"


def _found(module: str | None, qualname: str) -> object:
    found: Any = sys.modules.get(module or "builtins")
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def program_name(names: Mapping[str, Any]) -> str | None:
    """What the program is called: its module, or its file without `.py`; None in a notebook."""
    spec = names.get("__spec__")
    if spec is not None and spec.name not in ("__main__", "__mp_main__"):
        return str(spec.name)
    file = names.get("__file__")
    if file is None or str(file).startswith("<"):
        return None
    folder, name = os.path.split(os.path.abspath(str(file)))
    if name == "__main__.py":  # a folder or a zip file that was run
        name = os.path.basename(folder)
    return os.path.splitext(name)[0]


# --- for people -------------------------------------------------------------


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxother, self.maxlong, self.maxstring = 3, 40, 40, 40


def in_short(value: object) -> str:
    """What a person recognises *value* by, in one short line; never raises."""
    try:
        text = _Brief().repr(value)
    except Exception:  # a repr may do anything
        text = f"<{type(value).__name__}>"
    return cut(text, 40)


def cut(text: str, width: int) -> str:
    text = "".join(char if char.isprintable() else "?" for char in text[: width + 1])
    return text if len(text) <= width else text[: width - 1] + "…"
