"""Whether a graph that was loaded is the one that was saved: types, values, order and sharing."""

from __future__ import annotations

import enum
import functools
import operator
import re
import reprlib
import sys
import types
import typing
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

BY_VALUE = (type(None), bool, int, str, bytes, types.EllipsisType, types.NotImplementedType)
BY_NAME = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    np.ufunc,
    typing.TypeVar,
    typing.NewType,
)
BY_EQUALITY = (
    re.Pattern,
    enum.Flag,
    types.GenericAlias,
    types.UnionType,
    type(typing.List[int]),  # noqa: UP006
    type(typing.List),  # noqa: UP006
    type(typing.Optional[int]),  # noqa: UP045
    type(typing.Callable[[int], str]),
    type(typing.Literal[1]),
    type(typing.Annotated[int, 1]),
)
NEW_OBJECT = object().__reduce_ex__(4)[0]
Pieces = Iterator[tuple[str, Any]]


def difference(saved: Any, loaded: Any) -> str | None:
    """Where two graphs differ first, or None."""
    partners: dict[int, Any] = {}
    taken: set[int] = set()
    alive: list[Any] = []  # ids stay those of what is named
    todo: list[tuple[Any, Any, str]] = [(saved, loaded, "it")]
    while todo:
        one, other, path = todo.pop()
        if type(one) is not type(other):
            return f"{path}: {type(one)} became {type(other)}"
        equal = _equal(one, other)
        if equal is not None:
            if not equal:
                return f"{path}: {_shown(one)} became {_shown(other)}"
            continue
        if id(one) in partners or id(other) in taken:
            if partners.get(id(one)) is not other:
                return f"{path}: what was one object is not one any more, or the other way round"
            continue
        partners[id(one)] = other
        taken.add(id(other))
        pieces = list(_pieces(one)), list(_pieces(other, one))
        alive.extend((one, other, pieces))
        if [name for name, _ in pieces[0]] != [name for name, _ in pieces[1]]:
            return f"{path}: it has other parts: {_shown(pieces[0])}, {_shown(pieces[1])}"
        for (name, mine), (_, its) in zip(*pieces, strict=True):
            todo.append((mine, its, f"{path}.{name}" if len(path) < 200 else f"…{name}"))
    return None


def _shown(obj: Any) -> str:
    return reprlib.repr(obj)  # short, though one object be in it a thousand times


def _equal(one: Any, other: Any) -> bool | None:
    """Whether two are the same; None where their parts decide."""
    kind = type(one)
    if kind in (float, complex):
        return repr(one) == repr(other)
    if isinstance(one, BY_EQUALITY):
        return bool(one == other)
    if isinstance(one, (enum.Enum, *BY_NAME)):
        return one is other or (isinstance(one, types.BuiltinFunctionType) and one == other)
    if kind in BY_VALUE or (kind in (tuple, frozenset) and not one):
        return bool(one == other)
    if isinstance(one, zoneinfo.ZoneInfo):
        return bool(one.key == other.key)
    if isinstance(one, np.dtype):
        return _same_dtype(one, other)
    if isinstance(one, np.generic) and one.dtype.kind not in "OV":
        return bool(one.dtype == other.dtype and one.tobytes() == other.tobytes())
    if kind.__module__.partition(".")[0] == "torch":
        return _same_in_torch(one, other)
    if kind.__module__.partition(".")[0] == "pandas":
        return _same_in_pandas(one, other)
    if one is np.ma.masked or kind is typing.Any:
        return one is other
    return None


def _same_dtype(one: Any, other: Any) -> bool:
    return bool(
        one == other
        and one.isalignedstruct == other.isalignedstruct
        and one.metadata == other.metadata
        and one.fields == other.fields
    )


def _same_in_torch(one: Any, other: Any) -> bool | None:
    import torch

    return None if isinstance(one, torch.Tensor) else bool(one == other)


def _same_in_pandas(one: Any, other: Any) -> bool | None:
    import pandas as pd

    if one is pd.NaT or one is pd.NA:
        return one is other
    if isinstance(one, (pd.DataFrame, pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
        return None
    units = getattr(one, "unit", None) == getattr(other, "unit", None)
    return bool(one == other and units and repr(one) == repr(other))


def _pieces(obj: Any, like: Any = None) -> Pieces:
    """What *obj* is made of, each with its name; those of a set as in the set that it is like."""
    parts = _parts_of(type(obj))
    if parts is not None:
        yield from parts(obj)
    elif isinstance(obj, (set, frozenset)):
        yield from _of_set(obj, like)
    elif type(obj) in (list, tuple):
        yield from _numbered(obj)
    elif type(obj) is dict:
        yield from _of_dict(obj)
    elif type(obj) is bytearray:
        yield "content", bytes(obj)
    else:
        yield from _reduced(obj)


@functools.cache
def _parts_of(kind: Any) -> Callable[[Any], Pieces] | None:
    """What tells the parts of instances of a class of a library."""
    return next((parts for applies, parts in PARTS if applies(kind)), None)


def _numbered(items: Iterable[Any], name: str = "") -> Pieces:
    for number, item in enumerate(items):
        yield f"{name}[{number}]", item


def _of_dict(obj: dict[Any, Any]) -> Pieces:
    if set(map(type, obj)) <= {int, str}:
        yield "keys", repr(list(obj))
        for key, value in obj.items():
            yield str(key), value
    else:
        yield from _numbered(obj.keys(), "key")
        yield from _numbered(obj.values(), "value")


def _of_set(obj: Any, like: Any) -> Pieces:
    """Its elements in the order of another set; those known by identity last."""
    order = list(obj if like is None else like)
    here = {element: element for element in obj}
    known = [here.pop(element) for element in order if element in here]
    yield from _numbered([*known, *here.values()], "element")
    yield "fields", dict(getattr(obj, "__dict__", {}))


def _reduced(obj: Any) -> Pieces:
    """What pickle would save of it."""
    reduced = obj.__reduce_ex__(4)
    if isinstance(reduced, str):
        yield "name", reduced
        return
    rebuild, arguments, *rest = reduced
    if rebuild is NEW_OBJECT and arguments == (type(obj),) and rest[1:] in ([], [None, None]):
        yield "state", rest[0] if rest else None
        return
    yield "rebuilt by", rebuild
    yield from _numbered(arguments, "argument")
    yield "state", rest[0] if rest else None
    for number, items in enumerate(rest[1:3]):
        yield f"items {number}", None if items is None else list(items)


def _of_array(array: Any) -> Pieces:
    yield "dtype", array.dtype
    yield "shape", array.shape
    yield "in C order or Fortran's", _order(array)
    if array.dtype.names:
        for name in array.dtype.names:
            yield name, array[name]
    elif array.dtype.hasobject or array.dtype.kind == "T":
        yield "items", list(array.flat)
    else:
        yield "bytes", array.tobytes()


def _order(array: Any) -> str:
    """A C-ordered array stays one, Fortran's too; what has gaps may become either."""
    if array.flags.fnc:
        return "Fortran"
    return "C"


def _of_masked(array: Any) -> Pieces:
    yield "data", array.data
    yield "mask", np.ma.getmaskarray(array)
    yield "fill", np.asarray(array.fill_value)
    yield "hard", array.hardmask


def _of_void(scalar: Any) -> Pieces:
    yield "dtype", scalar.dtype
    yield "items", scalar.tolist()


def _of_generator(generator: Any) -> Pieces:
    yield "source", generator.bit_generator


def _of_bits(bits: Any) -> Pieces:
    yield "state", bits.state
    yield "seed", bits.seed_seq


def _of_legacy(state: Any) -> Pieces:
    yield "state", state.get_state(legacy=False)


def _of_seed(seed: Any) -> Pieces:
    yield "state", seed.state
    yield "words", seed.generate_state(4)


def _of_sparse(matrix: Any) -> Pieces:
    yield "shape", matrix.shape
    yield "dtype", matrix.dtype
    for name in ("data", "indices", "indptr", "row", "col", "coords", "offsets", "rows"):
        if hasattr(matrix, name) and matrix.format != "dok":
            yield name, getattr(matrix, name)
    if matrix.format == "dok":
        yield "items", dict(matrix.items())


def _of_tensor(tensor: Any) -> Pieces:
    yield "dtype", tensor.dtype
    yield "shape", tuple(tensor.shape)
    yield "stride", tensor.stride()
    yield "offset", tensor.storage_offset()
    yield "gradient", tensor.requires_grad
    yield "items", str(tensor.tolist())
    yield "storage", _Storage.of(tensor)


class _Storage:
    """Stands for the memory that several tensors may share."""

    known: typing.ClassVar[dict[int, _Storage]] = {}

    @classmethod
    def of(cls, tensor: Any) -> _Storage:
        return cls.known.setdefault(tensor.untyped_storage().data_ptr(), cls())


def _of_frame(frame: Any) -> Pieces:
    yield "index", frame.index
    yield "columns", frame.columns
    yield "attrs", frame.attrs
    for number in range(frame.shape[1]):
        yield f"column {number}", frame.iloc[:, number].array


def _of_series(series: Any) -> Pieces:
    yield "index", series.index
    yield "name", series.name
    yield "attrs", series.attrs
    yield "array", series.array


def _of_index(index: Any) -> Pieces:
    yield "names", list(index.names)
    yield "dtype", str(index.dtype)
    yield "freq", str(getattr(index, "freq", None))
    yield "items", list(index)


def _of_column(column: Any) -> Pieces:
    yield "dtype", column.dtype
    if column.dtype.kind in "biufcmM" and isinstance(column.dtype, np.dtype):
        yield "values", np.asarray(column)
    else:
        yield "items", list(column)


def _in(module: str, *names: str) -> Callable[[type], bool]:
    """Whether a class is one of a library, or a kind of it; imports none."""

    def applies(kind: type) -> bool:
        library = sys.modules.get(module)
        return library is not None and issubclass(
            kind, tuple(operator.attrgetter(name)(library) for name in names)
        )

    return applies


PARTS: list[tuple[Callable[[type], bool], Callable[[Any], Pieces]]] = [
    (_in("numpy", "ma.MaskedArray"), _of_masked),
    (_in("numpy", "ndarray"), _of_array),
    (_in("numpy", "void"), _of_void),
    (_in("numpy", "random.Generator"), _of_generator),
    (_in("numpy", "random.RandomState"), _of_legacy),
    (_in("numpy", "random.BitGenerator"), _of_bits),
    (_in("numpy", "random.SeedSequence"), _of_seed),
    (_in("scipy.sparse", "sparray", "spmatrix"), _of_sparse),
    (_in("torch", "Tensor"), _of_tensor),
    (_in("pandas", "DataFrame"), _of_frame),
    (_in("pandas", "Series"), _of_series),
    (_in("pandas", "Index"), _of_index),
    (_in("pandas.api.extensions", "ExtensionArray"), _of_column),
]
