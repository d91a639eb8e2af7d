"""NumPy's data as a foreign stream may have it: arrays, scalars and dtypes.

NumPy's own reconstructors believe what they are given, pointers among it.  So
each dtype is followed here, field by field, and an array is let through only if
its bytes are as many as its dtype and shape say.
"""

from __future__ import annotations

import importlib
import math
import re
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

from attrs import frozen

from checkpoint import _checks as ask
from checkpoint._grants import (
    Box,
    Build,
    Call,
    Grant,
    Instance,
    Payload,
    Spending,
    Verb,
    box,
    count,
    grant,
    integer,
    length,
    plain,
    refuse,
    text,
    told,
)

_LARGEST = 1 << 31  # bytes of one element
_MOST = 64  # dimensions
_CODE = re.compile(
    r"(b1|[iu][1248]|f2|f4|f8|f16|c8|c16|c32|O8|M8|m8)\Z|([SUV])(0|[1-9][0-9]{0,9})\Z"
)
_UNITS = tuple(b"Y M W D h m s ms us ns ps fs as generic".split())
_OBJECT, _NEEDS_INIT, _STRUCTURED, _ALIGNED = 63, 8, 16, 128
_ARRAYS = (
    "numpy:ndarray",
    "numpy:matrix",
    "numpy:memmap",
    "numpy:recarray",
    "numpy.rec:recarray",
    "numpy:chararray",
    "numpy.char:chararray",
)


@frozen
class _Dtype:
    """What is known of a dtype: bytes of an element, its kind, and flags of NumPy's."""

    size: int
    kind: str
    flags: int = 0
    is_set: bool = False


@frozen
class _Unfilled:
    """An array before its state."""


# --- dtypes -------------------------------------------------------------------


def a_dtype(one: Grant, args: tuple[Any, ...], load: Spending) -> Instance:
    """dtype(code, False, True): a copy, so that no dtype of NumPy's own is changed."""
    count(args, 3)
    code = "V0" if type(args[0]) is Grant else args[0]
    if type(args[0]) is Grant:
        grant(args[0], "numpy:record", "numpy:void")
    found = _CODE.match(code) if type(code) is str else None
    if found is None or args[1] is not False or args[2] is not True:
        refuse(f"{told(args[0])} is no dtype")
    kind = code[0]
    size = int(found[3] or 0) * (4 if kind == "U" else 1) if found[2] else int(code[1:])
    if type(args[0]) is Grant:
        size = -1  # Its state says.
    integer(size, -1, _LARGEST)
    flags = {"U": _NEEDS_INIT, "O": _OBJECT}.get(kind, 0)
    return Instance(one, args, _Dtype(size, kind, flags))


def of_dtype(one: Instance, state: Any, load: Spending) -> None:
    found = one.facts
    count(state if type(state) is tuple else (), 8, 9)
    version, order, sub, names, fields, size, alignment, flags, *meta = state
    if version not in (3, 4) or (version == 4) != bool(meta) or order not in ("<", ">", "|", "="):
        refuse(f"a dtype of version {told(version)}")
    if meta:
        _check_meta(found.kind, meta[0])
    elif found.kind in "Mm":
        refuse("a time without its unit")
    integer(flags, 0, 255)
    if found.kind in "biufcOMm":
        if (sub, names, fields, flags) != (None, None, None, found.flags):
            refuse("a simple dtype with a state that it has not")
        if size not in (-1, found.size) or alignment not in (-1, 1, 2, 4, 8, 16):
            refuse(f"{told(size)} bytes for an element of {found.size}")
        one.facts = _Dtype(found.size, found.kind, found.flags, True)
        return
    integer(size, 0, _LARGEST)
    if size != found.size and found.size >= 0:
        refuse(f"{told(size)} bytes for an element of {found.size}")
    if alignment not in (1, 2, 4, 8, 16, 32, 64):
        refuse(f"an alignment of {told(alignment)}")
    own = found.flags
    if sub is not None:
        own = _check_subarray(sub, size)
    elif names is not None or fields is not None:
        own = _check_fields(names, fields, size, load) | (flags & _ALIGNED)
    if (sub is not None or names is not None) and found.kind != "V":
        refuse("fields of a dtype that has none")
    # Of some fields of a structure NumPy keeps the flag.
    if (
        flags & ~_NEEDS_INIT != own & ~_NEEDS_INIT
        or own & ~flags
        or (sub is not None and names is not None)
    ):
        refuse(f"the flags {told(flags)}, which are {own}")
    kind = "V" if names is not None or sub is not None else found.kind
    one.facts = _Dtype(size, kind, own, True)


def _check_subarray(sub: Any, size: int) -> int:
    count(sub if type(sub) is tuple else (), 2)
    base = _dtype(sub[0])
    if base.size * _elements(sub[1]) != size:
        refuse("a subarray of another size")
    return base.flags & _NEEDS_INIT


def _check_fields(names: Any, fields: Any, size: int, load: Spending) -> int:
    """The flags of a dtype with these fields, all of which lie within it."""
    if type(names) is not tuple:
        refuse(f"{told(names)} are no names of fields")
    held = box(fields, "dict")
    load.spend(1000 * len(held.items))
    for key in held.keys:
        ask.a_text(key)
    known = dict(zip(held.keys, held.items[1::2], strict=True))
    flags, keys = _STRUCTURED, set()
    for name in names:
        if type(name) is not str or type(known.get(name)) is not tuple:
            refuse(f"{told(name)} is no field")
        entry = known[name]
        count(entry, 2, 3)
        field = _dtype(entry[0])
        integer(entry[1], 0, size - field.size)
        flags |= field.flags & _NEEDS_INIT
        keys |= {name, *(title for title in entry[2:] if type(title) is str)}
        if len(entry) == 3 and known.get(text(entry[2])) is not entry:
            refuse(f"{told(entry[2])} is no title of a field")
    if keys != set(known) or len(set(names)) != len(names):
        refuse("fields without names")
    return flags


def _check_meta(kind: str, meta: Any) -> None:
    if kind in "Mm":
        count(meta if type(meta) is tuple else (), 2)
        meta, unit = meta
        count(unit if type(unit) is tuple else (), 4)
        if unit[0] not in _UNITS or unit[2:] != (1, 1):
            refuse(f"{told(unit[0])} is no unit of time")
        integer(unit[1], 1, (1 << 31) - 1)
    if meta is not None:
        box(meta, "dict")


def _dtype(value: Any) -> _Dtype:
    """What is known of a dtype that may be a field: it is whole, and holds no objects."""
    found = _any_dtype(value)
    if found.flags & 1 or found.kind == "T":
        refuse("objects in a structure")
    return found


def _any_dtype(value: Any) -> _Dtype:
    found = plain(value)
    if type(found) is not Instance or type(found.facts) is not _Dtype:
        refuse(f"{told(value)} is no dtype")
    if not found.facts.is_set:
        refuse("a dtype that is not whole")
    facts: _Dtype = found.facts
    return facts


def a_string_dtype(one: Grant, args: tuple[Any, ...], load: Spending) -> Instance:
    count(args, 1, 2)
    integer(int(args[0]) if type(args[0]) is bool else args[0], 0, 1)
    for value in args[1:]:
        ask.an_atom(value)
    return Instance(one, args, string_dtype())


# --- arrays and scalars -------------------------------------------------------


def an_array(one: Grant, args: tuple[Any, ...], load: Spending) -> Instance:
    """_frombuffer(buffer, dtype, shape, order[, axes])"""
    count(args, 4, 5)
    dtype = _dtype(args[1])
    if dtype.kind in "Mm" or length(args[0]) != dtype.size * _elements(args[2]):
        refuse(f"{told(args[0])} for an array of {dtype.size} x {_elements(args[2])} bytes")
    if args[3] not in ("C", "F", "K") or len(args) != (5 if args[3] == "K" else 4):
        refuse(f"{told(args[3])} is no order")
    if len(args) == 5 and _sorted(args[4], len(args[2])) != list(range(len(args[2]))):
        refuse(f"{told(args[4])} are no axes")
    return Instance(one, args, dtype.size)


def _sorted(axes: Any, dimensions: int) -> list[int]:
    if type(axes) is not tuple or len(axes) != dimensions or {*map(type, axes)} - {int}:
        refuse(f"{told(axes)} are no axes")
    return sorted(axes)


def _elements(shape: Any) -> int:
    if type(shape) is not tuple or len(shape) > _MOST:
        refuse(f"{told(shape)} is no shape")
    return math.prod(integer(size, 0, 1 << 62) for size in shape)


def an_unfilled_array(one: Grant, args: tuple[Any, ...], load: Spending) -> Instance:
    """_reconstruct(class, (0,), b"b")"""
    count(args, 3)
    cls = grant(args[0])
    if cls.name not in _ARRAYS and not (cls.verbs & Verb.NEW and _is_array(cls.object)):
        refuse(f"{cls.name} is no class of arrays")
    if args[1] != (0,) or args[2] not in (b"b", "b"):
        refuse("an array that is not empty before its state")
    return Instance(_filled(cls), args, _Unfilled())


@cache
def _filled(cls: Grant) -> Grant:
    return Grant(cls.name, cls.object, Verb.BUILD, None, None, of_array, "none")


def _is_array(cls: Any) -> bool:
    numpy = importlib.import_module("numpy")
    return isinstance(cls, type) and issubclass(cls, numpy.ndarray)


def of_array(one: Instance, state: Any, load: Spending) -> None:
    count(state if type(state) is tuple else (), 5)
    version, shape, dtype, order, content = state
    found, elements = _any_dtype(dtype), _elements(shape)
    integer(version, 1, 1)
    if type(order) is not bool:
        ask.between(0, 1)(order)
    held = plain(content)
    if found.kind in "OT":
        items = box(held, "list").items
        if len(items) != elements:
            refuse(f"{len(items)} objects for an array of {elements}")
        for item in items if found.kind == "T" else ():
            ask.an_atom(item)
        load.spend(16 * elements)
        return
    size = len(_old_bytes(held)) if type(held) is str else length(held)
    if size != found.size * elements:
        refuse(f"{told(held)} for an array of {found.size} x {elements} bytes")
    load.spend(size)


def _old_bytes(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except ValueError:
        refuse(f"{told(value)} is no content of an array")


def a_scalar(one: Grant, args: tuple[Any, ...], load: Spending) -> Instance:
    count(args, 2)
    dtype = _dtype(args[0])
    if (type(args[1]) is Payload and args[1].kind != "bytes") or length(args[1]) != dtype.size:
        refuse(f"{told(args[1])} for an element of {dtype.size} bytes")
    load.spend(dtype.size)
    return Instance(one, args)


# --- the table ----------------------------------------------------------------


def frombuffer(buffer: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> Any:
    """An array in the memory of *buffer*: what `numpy._core.numeric._frombuffer` does."""
    numpy = importlib.import_module("numpy")
    if dtype.hasobject:
        raise TypeError("an array of objects has no buffer")
    array = numpy.frombuffer(buffer, dtype=dtype)
    if axes is None:
        return array.reshape(shape, order=order)
    return array.reshape(shape).transpose(axes)


_CALLS: dict[str, tuple[Call, Build | None]] = {
    "numpy:dtype": (a_dtype, of_dtype),
    "numpy._core.multiarray:_reconstruct": (an_unfilled_array, None),
    "numpy._core.multiarray:scalar": (a_scalar, None),
    "numpy._core.numeric:_frombuffer": (an_array, None),
    "numpy._core._internal:_convert_to_stringdtype_kwargs": (a_string_dtype, None),
}
_CALLS |= {name.replace("._core.", ".core."): checks for name, checks in _CALLS.items()}
_SCALARS = re.compile(
    r"(bool_?|u?int(8|16|32|64|c)|u?longlong|float(16|32|64|128)|longdouble|clongdouble"
    r"|complex(64|128|256)|str_|bytes_|void|datetime64|timedelta64|object_|record"
    r"|generic|number|(un)?signedinteger|integer|inexact|(complex)?floating|flexible|character)\Z"
)


@lru_cache(4096)
def of_numpy(module: str, qualname: str, *, imports: bool = True) -> Grant | None:
    """The grant of one of NumPy's names; None if it is not in the table, or not there.

    Without *imports* it is told of what is in the table.
    """
    name = f"{module}:{qualname}"
    is_type = (module == "numpy" and _SCALARS.match(qualname) is not None) or (
        module == "numpy.dtypes" and re.fullmatch(r"[A-Za-z0-9]+DType", qualname)
    )
    if not (is_type or name in _ARRAYS or name in _CALLS):
        return None
    if name.endswith(":_frombuffer"):
        return Grant(name, frombuffer, Verb.CALL, an_array, hashing="none")
    real = _found(module, qualname) if imports else None
    if real is None and imports:
        return None
    if name not in _CALLS:
        return Grant(name, real)
    call, build = _CALLS[name]
    verbs = Verb.CALL | (Verb.BUILD if build else Verb.PUSH)
    hashing = "none" if call is an_unfilled_array else "value"
    return Grant(name, real, verbs, call, None, build, hashing)


@cache
def _import() -> None:
    """Import all that the table is of, so that what a stream names imports nothing more."""
    with suppress(ImportError):
        for module in ("numpy", "numpy.rec", "numpy.char", "numpy.dtypes"):
            importlib.import_module(module)


def _found(module: str, qualname: str) -> Any:
    _import()
    for place in (module, module.replace("._core.", ".core."), module.replace(".core.", "._core.")):
        try:
            return getattr(importlib.import_module(place), qualname)
        except (ImportError, AttributeError):
            continue
    return None


def string_dtype() -> Any:
    """What is known of a dtype of strings of any length."""
    return _Dtype(16, "T", 0, True)


def held(value: Any, load: Spending) -> int:
    """How many bytes of payloads and texts *value* holds, looked at some levels deep."""
    size, work = 0, [(value, 0)]
    while work:
        value, depth = work.pop()
        value = plain(value)
        if type(value) in (str, bytes):
            size += len(value)
        elif type(value) is Payload:
            size += value.length
        elif depth < 8:
            inner = value if type(value) is tuple else ()
            if type(value) is Box:
                inner = tuple(value.items)
            elif type(value) is Instance:
                inner = (*value.args, value.state)
            load.spend(64 * len(inner))
            work += [(one, depth + 1) for one in inner]
    return size
