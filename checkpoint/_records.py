"""Records, which stand for objects without their classes; and what is the same in all protocols.

`_raw` says what is in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeGuard

RESERVED = frozenset(
    (
        *("__class__", "__args__", "__kwargs__", "__items__", "__entries__", "__elements__"),
        *("__state__", "__setter__", "__global__", "__persistent_id__", "__buffer__"),
    )
)

# A key of more values than this, or deeper, is not hashed: shared tuples could be endless.
_LARGEST_KEY, _DEEPEST_KEY = 1024, 16

_A_DTYPE = re.compile("[fiucbSUmMO][0-9]{1,20}").fullmatch


class Record(dict[str, Any]):
    """An object without its class; it may be a key or in a set, where it is equal to itself alone.

    It is compared as a dict with others.
    """

    __module__ = "checkpoint"
    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]


def global_record(name: str) -> Record:
    return Record({"__global__": name})


def fits(state: Any, count: int) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(state, tuple) and len(state) >= count


# Keys.


def is_plain(key: Any) -> bool:
    """Whether a dict of records may have this key, and be taken for nothing else."""
    if type(key) is str:
        return key not in RESERVED
    return can_be_hashed(key)


def can_be_hashed(key: Any) -> bool:
    if type(key) is not tuple:
        return not isinstance(key, (list, bytearray, set, memoryview)) and (
            isinstance(key, Record) or not isinstance(key, dict)
        )
    count, row = 0, [(key, 0)]
    while row:
        value, depth = row.pop()
        count += 1
        if type(value) is tuple:
            if depth == _DEEPEST_KEY or count + len(value) > _LARGEST_KEY:
                return False
            row += [(inner, depth + 1) for inner in value]
        elif not can_be_hashed(value):
            return False
    return True


# States.


def attributes_of(state: Any) -> dict[str, Any] | None:
    """The attributes that a state gives: a dict, or a pair of one and one for slots, or None."""
    found: dict[str, Any] = {}
    for part in parts_of(state):
        if part is None:
            continue
        if type(part) is not dict or not all(map(_is_attribute, part)):
            return None
        found |= part
    return found


def parts_of(state: Any) -> tuple[Any, ...]:
    """The attributes and the slots of a state, if these are two; else the state."""
    return state if type(state) is tuple and len(state) == 2 else (state,)


def _is_attribute(key: Any) -> bool:
    return type(key) is str and key not in RESERVED


# What is the same in all protocols.

REBUILDERS = (
    "copyreg:_reconstructor",
    "copyreg:__newobj__",
    "copyreg:__newobj_ex__",
    *(f"numpy.{core}.numeric:_frombuffer" for core in ("core", "_core")),
    *(f"numpy.{core}.multiarray:_reconstruct" for core in ("core", "_core")),
)


def rebuilt(name: str, args: tuple[Any, ...]) -> Record:
    if name.endswith(":_frombuffer") and len(args) == 4:
        return Record({"__class__": "numpy:ndarray", **array(*args)})
    if name.startswith("numpy."):
        record = _instance(args[0])
        record["__args__"] = args
        return record
    record = _instance(args[0])
    if name == "copyreg:__newobj__" and len(args) > 1:
        record["__args__"] = args[1:]
    if name == "copyreg:__newobj_ex__" and len(args) == 3:
        record |= {"__args__": args[1], "__kwargs__": args[2]}
    if name != "copyreg:_reconstructor" or len(args) != 3 or args[2] is None:
        return record
    base, state = args[1:]
    if base == {"__global__": "builtins:list"} and isinstance(state, list):
        record["__items__"] = state
    elif base == {"__global__": "builtins:dict"} and type(state) is dict:
        record["__entries__"] = [*state.items()]
    else:
        record["__args__"] = (state,)
    return record


def _instance(called: Any) -> Record:
    name = called.get("__global__", called) if isinstance(called, Record) else called
    return Record({"__class__": name})


def is_unbuilt_array(record: Record) -> bool:
    args = record.get("__args__")
    return fits(args, 3) and args[1:] == ((0,), b"b") and "shape" not in record


def array(data: Any, dtype: Any, shape: Any, order: Any) -> dict[str, Any]:
    return {"dtype": _dtype(dtype), "shape": shape, "order": order, "data": data}


def _dtype(dtype: Any) -> Any:
    """The string that numpy makes this dtype of, if it is a simple one; else the record."""
    if not isinstance(dtype, Record) or dtype.get("__class__") != "numpy:dtype":
        return dtype
    args, state = dtype.get("__args__"), dtype.get("__state__")
    code = args[0] if fits(args, 1) else None
    if type(code) is not str or not _A_DTYPE(code):
        return dtype
    order = state[1] if fits(state, 2) and state[1] in ("<", ">") else "|"
    return dtype if code[0] in "mMO" else f"{order}{code}"


def _encoded(args: tuple[Any, ...]) -> bytes | None:
    if len(args) == 2 and type(args[0]) is str and args[1] in ("latin1", "latin-1"):
        try:
            return args[0].encode("latin-1")
        except ValueError:
            return None
    return None


def _nested(args: tuple[Any, ...]) -> Record | None:
    if len(args) == 2 and isinstance(args[0], Record) and type(args[1]) is str:
        owner = args[0].get("__global__")
        if isinstance(owner, str) and len(owner) < _LARGEST_KEY:
            return global_record(f"{owner}.{args[1]}")
    return None


def _one(kind: type, make: Callable[[Any], Any]) -> Callable[[tuple[Any, ...]], Any]:
    """The value of one argument of a *kind*; None if it cannot be made."""

    def made(args: tuple[Any, ...]) -> Any:
        if len(args) == 1 and type(args[0]) is kind:
            return make(args[0])
        return None

    return made


def _elements(kind: type) -> Callable[[tuple[Any, ...]], Any]:
    row = _one(list, lambda items: kind(items) if all(map(can_be_hashed, items)) else None)
    return lambda args: row(args) if args else kind()


def _complex(args: tuple[Any, ...]) -> complex | None:
    if len(args) == 2 and all(type(arg) is float for arg in args):
        return complex(*args)
    return None


PLAIN: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "_codecs:encode": _encoded,
    "builtins:getattr": _nested,
    "builtins:complex": _complex,
    "builtins:bytes": lambda args: None if args else b"",
    "builtins:bytearray": lambda args: _one(bytes, bytearray)(args) if args else bytearray(),
    "builtins:set": _elements(set),
    "builtins:frozenset": _elements(frozenset),
}
