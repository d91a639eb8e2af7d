"""What may be a part of pandas' objects: labels, time zones, frequencies, indexes."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from functools import cache
from typing import Any, Final

from checkpoint.rebuild._checks import (
    are_labels,
    array_of,
    exactly,
    few_alike,
    library,
    refuse,
    require,
    whole,
)

UNITS: Final = ("s", "ms", "us", "ns")
_TIMES: Final = frozenset(f"{kind}8[{unit}]" for kind in "mM" for unit in UNITS)
CLOSED: Final = ("left", "right", "both", "neither")

_FREQUENCY = re.compile(r"-?[0-9]{0,9}[A-Za-z]{1,6}(-[A-Z0-9]{1,5}){0,4}")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,3}")
_LONGEST_ZONE = 100


@cache
def atoms() -> frozenset[type]:
    """The scalars of numpy and pandas that may be labels: all that hash by a number or a text."""
    import numpy as np

    pd = library("pandas")

    of_numpy = {np.dtype(code).type for code in "?bBhHiIlLqQefdFDUSmM"}
    return frozenset(
        of_numpy | {pd.Timestamp, pd.Timedelta, pd.Period, pd.Interval, type(pd.NaT), type(pd.NA)}
    )


def is_label(label: Any) -> bool:
    """Whether *label* may be a name, or a label of a column or row."""
    return are_labels((label,), atoms())


def is_fill(value: Any) -> bool:
    """Whether *value* may stand for what a sparse array does not hold."""
    return type(value) in (bool, int, float, complex) and is_label(value)


def is_end(value: Any) -> bool:
    """Whether *value* may be an end of an interval: a number or a time."""
    return type(value) not in (tuple, str, bytes, type(None)) and is_label(value)


def zone(said: Any) -> datetime.tzinfo | None:
    """The time zone that a reducer tells of; None for none."""
    if said is None:
        return None
    said = exactly(said, tuple, "the time zone")
    require(bool(said) and type(said[0]) is str, "the time zone has no kind")
    kind, *rest = said
    if kind == "offset":
        require(len(rest) == 2, "the time zone is cut off")
        delta = datetime.timedelta(microseconds=whole(rest[0], "the offset", -(10**11), 10**11))
        return _offset(delta, rest[1])
    require(kind in ("zoneinfo", "pytz") and len(rest) == 1, "the time zone is of no known kind")
    name = exactly(rest[0], str, "the time zone's name")
    require(len(name) <= _LONGEST_ZONE and bool(_ZONE.fullmatch(name)), "the time zone has no name")
    return zoneinfo.ZoneInfo(name) if kind == "zoneinfo" else _of_pytz(name)


def _offset(delta: datetime.timedelta, name: Any) -> datetime.tzinfo:
    if name is not None:
        return datetime.timezone(delta, exactly(name, str, "the time zone's name"))
    return datetime.timezone(delta) if delta else datetime.UTC


def _of_pytz(name: str) -> datetime.tzinfo:
    pytz = library("pytz")

    found: datetime.tzinfo = pytz.timezone(name)
    return found


def frequency(said: Any) -> str:
    """*said*, a text that can be the name of a frequency, as `2MS` or `W-SUN`."""
    text = exactly(said, str, "the frequency")
    require(bool(_FREQUENCY.fullmatch(text)), "the frequency has no name of one")
    return text


def closed(said: Any) -> str:
    """*said*, which tells which ends belong to an interval."""
    ends = exactly(said, str, "what is closed")
    require(ends in CLOSED, "an interval is closed in no such way")
    return ends


def times_of(said: Any, ndim: int | None) -> Any:
    """Times, from a pair of numpy's text for their dtype and their numbers.

    As numbers, because numpy writes an array of times into the stream, and copies it.
    """
    import numpy as np

    require(type(said) is tuple and len(said) == 2, "times are no pair")
    dtype = exactly(said[0], str, "the dtype of times")
    require(dtype in _TIMES, "times are in no unit of pandas'")
    ticks = array_of(said[1], "i", ndim, "the times")
    require(ticks.dtype == np.int64 and ticks.ndim in (1, 2), "times are no numbers")
    return ticks.view(dtype)


def regular(kind: Any, array: Any, freq: Any, name: Any) -> Any:
    """The index of *array* with that frequency, or without it where the times do not keep to it."""
    text = frequency(freq)
    require(array.ndim == 1, "the times are of no such dimension")
    try:
        return kind(array, freq=text, name=name, copy=False)
    except ValueError:
        return kind(array, name=name, copy=False)


@cache
def array_kinds() -> frozenset[type]:
    """The arrays of pandas' own that can be rebuilt."""
    pd = library("pandas")

    names = (
        "IntegerArray FloatingArray BooleanArray StringArray ArrowStringArray DatetimeArray"
        " TimedeltaArray PeriodArray IntervalArray SparseArray"
    )
    return frozenset([pd.Categorical, *(getattr(pd.arrays, name) for name in names.split())])


@cache
def index_kinds() -> dict[type, Any]:
    """The class of an index, by that of its array; `pandas.Index` for all others."""
    pd = library("pandas")

    return {
        pd.arrays.DatetimeArray: pd.DatetimeIndex,
        pd.arrays.TimedeltaArray: pd.TimedeltaIndex,
        pd.arrays.PeriodArray: pd.PeriodIndex,
        pd.arrays.IntervalArray: pd.IntervalIndex,
        pd.Categorical: pd.CategoricalIndex,
    }


def an_index(value: Any, what: str) -> Any:
    """*value*, an index of a kind that is made here."""
    pd = library("pandas")

    kinds = (pd.Index, pd.RangeIndex, pd.MultiIndex, *index_kinds().values())
    if type(value) not in kinds:
        refuse(f"{what} is a {type(value).__name__}, not an index")
    return value


def is_unique(index: Any) -> bool:
    """Whether nothing is in *index* twice, found by sorting: hashing can be made to take hours."""
    import numpy as np

    pd = library("pandas")

    kind = type(index)
    if kind is pd.RangeIndex:
        return True
    if kind is pd.IntervalIndex:
        sides = [_sortable(pd.Index(index.left)), _sortable(pd.Index(index.right))]
        return not any(side is None for side in sides) and _differ(*sides)
    numbers = _sortable(index)
    if numbers is not None:
        return _differ(numbers)
    cells = np.asarray(index, dtype=object).tolist()
    if not are_labels(cells, atoms()):
        return False
    return few_alike(cells) and len(set(cells)) == len(cells)


def _sortable(index: Any) -> Any:
    """The numbers that *index* consists of; None where it does not."""
    import numpy as np

    pd = library("pandas")

    if type(index) in (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex):
        return index.asi8
    if isinstance(index.dtype, np.dtype) and index.dtype.kind in "biufc":
        return index.to_numpy()
    if type(index.array) in (
        pd.arrays.IntegerArray,
        pd.arrays.FloatingArray,
        pd.arrays.BooleanArray,
    ):
        return index.array.to_numpy(dtype=index.dtype.numpy_dtype, na_value=0)
    return None


def _differ(*columns: Any) -> bool:
    """Whether no two rows of these columns of numbers are alike."""
    import numpy as np

    order = np.lexsort(columns)
    alike = np.ones(max(order.size - 1, 0), dtype=bool)
    for column in columns:
        row = column[order]
        alike &= row[1:] == row[:-1]
    return not alike.any()


def are_cells(cells: list[Any]) -> bool:
    """Whether an index may hold *cells*: those that are tuples can be hashed at little cost."""
    if tuple not in set(map(type, cells)):
        return True
    return are_labels([cell for cell in cells if type(cell) is tuple], atoms())
