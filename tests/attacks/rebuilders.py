"""`checkpoint.rebuild`, the one part of this library that a stream may name, with bad arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from attacks.arrays import buffered, plain, record
from attacks.attack import Route
from attacks.calls import FIRE
from attacks.streams import Op, built, call, named, new, stream

from checkpoint.rebuild import numpy, pandas, scipy, torch

REBUILD = Route("our own reconstructors")
_FIRE = named(FIRE)
_LYING = new("prey.things:Adding")
_HASH = built(new("prey.things:Hashing"), {"rounds": 10**9})
_FAR = buffered(plain("i8"), (4,), bytearray((2**62).to_bytes(8, "little") * 4))
_NESTED = record(("a",), {"a": (plain(), 0)}, 8)
# Arguments of any number: each stands for all.
_ARGUMENTS: dict[str, Callable[[int], tuple[Any, ...]]] = {
    "none at all": lambda count: (),
    "too many": lambda count: (None,) * (count + 9),
    "functions of the program": lambda count: (_FIRE,) * count,
    "instances of the program": lambda count: (_LYING,) * count,
    "instances that are slow to hash": lambda count: (_HASH,) * count,
    "great numbers": lambda count: (10**12,) * count,
    "numbers beyond all": lambda count: (2**200,) * count,
    "texts": lambda count: ("__import__('bystander')",) * count,
    "arrays of great numbers": lambda count: (_FAR,) * count,
    "arrays of nothing": lambda count: (buffered(plain(), (0, 10**6), bytearray()),) * count,
    "lists that hold themselves": lambda count: (Op(b"]\x94h\x00a"),) * count,
    "dicts": lambda count: ({"a": _FIRE, "__class__": _LYING},) * count,
    "a name and great numbers": lambda count: ("f8", *(10**9,) * (count - 1)),
    "an array and functions": lambda count: (_FAR, *(_FIRE,) * (count - 1)),
    "an array of floats and numbers": lambda count: (
        buffered(plain(), (2, 2), bytearray(32)),
        *(-1,) * (count - 1),
    ),
}
_INERT = (
    "None",
    "none at all",
    "texts",
    "great",
    "numbers",
    "arrays",
    "names",
    "bytes",
    "floats",
    "an array",
    "dtypes",
    "tuples",
    "dicts",
    "a name",
    "lists",
)


def _functions() -> Iterator[tuple[str, int]]:
    """Each function that a stream may call, and how many arguments it takes."""
    for module in (numpy, pandas, scipy, torch):
        if find_spec(module.__name__.rpartition(".")[2]) is None:
            continue
        for name in getattr(module, "__all__", ()):
            function = getattr(module, name)
            count = len(inspect.signature(function).parameters)
            yield f"{module.__name__}:{name}", count


_made: set[bytes] = set()
for _path, _count in _functions():
    for _what, _arguments in _ARGUMENTS.items():
        _stream = stream(call(_path, *_arguments(max(_count, 1))))
        if _stream not in _made:
            _made.add(_stream)
            # What takes one argument of this kind may well be glad of it.
            inert = _what.startswith(_INERT)
            REBUILD.add(f"{_path} of {_what}", _stream, harmless=inert, doors=("bare",))
