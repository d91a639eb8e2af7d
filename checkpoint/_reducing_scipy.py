"""How SciPy's sparse matrices and arrays are written: as plain arrays and a shape.

A reducer returns a function of `checkpoint.rebuild` and what to call it with,
or NotImplemented: what the rebuilding would refuse is left to plain pickling,
so that no data is lost by it.
"""

from __future__ import annotations

from typing import Any

from checkpoint.errors import UnsafeError
from checkpoint.rebuild import scipy as rebuild

# What an instance has beside its numbers; SciPy works out anew what it remembers about them.
_FIELDS = frozenset(
    [
        "_shape",
        "data",
        "indices",
        "indptr",
        "offsets",
        "row",
        "col",
        "coords",
        "_dict",
        "rows",
        "dtype",
        "maxprint",
        "has_canonical_format",
        "_has_canonical_format",
        "_has_sorted_indices",
    ]
)
_MAXPRINT = 50


def _is_plain(obj: Any, numbers: Any) -> bool:
    """Whether *obj* holds numbers and nothing that somebody has added."""
    said = vars(obj)
    ordinary = said.keys() <= _FIELDS and said.get("maxprint", _MAXPRINT) == _MAXPRINT
    return ordinary and numbers.dtype.kind in rebuild.KINDS and numbers.dtype.isnative


def compressed(obj: Any) -> Any:
    """Reduce `csr`, `csc` and `bsr`."""
    if not _is_plain(obj, obj.data) or obj.indices.dtype != obj.indptr.dtype:
        return NotImplemented
    used = int(obj.indptr[-1])
    data, indices = obj.data[:used], obj.indices[:used]
    return _tried(rebuild.compressed, (_name(obj), _shape(obj), data, indices, obj.indptr))


def by_row(obj: Any) -> Any:
    """Reduce `lil`, as rows one after another."""
    rows = obj.tocsr()
    if not _is_plain(obj, rows.data) or rows.indices.dtype != rows.indptr.dtype:
        return NotImplemented
    args = (_name(obj), _shape(obj), rows.data, rows.indices, rows.indptr)
    return _tried(rebuild.compressed, args)


def coordinates(obj: Any) -> Any:
    """Reduce `coo`."""
    coords = obj.coords if hasattr(obj, "coords") else (obj.row, obj.col)
    if not _is_plain(obj, obj.data) or len({axis.dtype for axis in coords}) != 1:
        return NotImplemented
    return _tried(rebuild.coordinates, (_name(obj), _shape(obj), obj.data, tuple(coords)))


def by_key(obj: Any) -> Any:
    """Reduce `dok`, as the coordinates of each value."""
    listed = obj.tocoo()
    if not _is_plain(obj, listed.data):
        return NotImplemented
    coords = listed.coords if hasattr(listed, "coords") else (listed.row, listed.col)
    return _tried(rebuild.coordinates, (_name(obj), _shape(obj), listed.data, tuple(coords)))


def diagonals(obj: Any) -> Any:
    """Reduce `dia`."""
    if not _is_plain(obj, obj.data):
        return NotImplemented
    return _tried(rebuild.diagonals, (_name(obj), _shape(obj), obj.data, obj.offsets))


def _name(obj: Any) -> str:
    return type(obj).__name__


def _shape(obj: Any) -> tuple[int, ...]:
    return tuple(map(int, obj.shape))


def _tried(function: Any, args: tuple[Any, ...]) -> Any:
    """The reduction, unless *function* refuses it: SciPy itself checks little."""
    try:
        function(*args)
    except UnsafeError:
        return NotImplemented
    return function, args
