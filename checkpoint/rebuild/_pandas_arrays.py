"""pandas' scalars, dtypes and one-dimensional arrays, from what can be checked."""

from __future__ import annotations

import re
from typing import Any, Final

from checkpoint.rebuild._checks import (
    array_of,
    exactly,
    indices_of,
    library,
    objects,
    refuse,
    require,
    total,
    whole,
)
from checkpoint.rebuild._pandas_checks import (
    UNITS,
    an_index,
    closed,
    frequency,
    is_end,
    is_fill,
    is_unique,
    regular,
    times_of,
    zone,
)

# Name of a nullable dtype -> the class of its arrays.
NULLABLE: Final = {
    **{f"{sign}nt{bits}": "IntegerArray" for sign in ("I", "UI") for bits in (8, 16, 32, 64)},
    **{f"Float{bits}": "FloatingArray" for bits in (32, 64)},
    "boolean": "BooleanArray",
}


@total
def missing() -> Any:
    """`pandas.NA`."""
    pd = library("pandas")

    return pd.NA


@total
def no_time() -> Any:
    """`pandas.NaT`."""
    pd = library("pandas")

    return pd.NaT


def _unit(said: Any) -> str:
    unit = exactly(said, str, "the unit")
    require(unit in UNITS, "the unit is none of pandas'")
    return unit


@total
def timestamp(value: object, unit: object, tz: object) -> Any:
    """The moment *value* units after 1970, in UTC, told in time zone *tz*."""
    import numpy as np

    pd = library("pandas")

    moment = pd.Timestamp(np.array(whole(value, "the moment"), f"M8[{_unit(unit)}]")[()])
    where = zone(tz)
    return moment if where is None else moment.tz_localize("UTC").tz_convert(where)


@total
def timedelta(value: object, unit: object) -> Any:
    """A span of *value* units."""
    import numpy as np

    pd = library("pandas")

    return pd.Timedelta(np.array(whole(value, "the span"), f"m8[{_unit(unit)}]")[()])


@total
def period(ordinal: object, freq: object) -> Any:
    """The period with number *ordinal* of its frequency."""
    pd = library("pandas")

    return pd.Period(ordinal=whole(ordinal, "the period"), freq=frequency(freq))


@total
def interval(left: object, right: object, ends: object) -> Any:
    """The interval between two numbers or times."""
    pd = library("pandas")

    for end in (left, right):
        require(is_end(end), "an end is no number")
    return pd.Interval(left, right, closed(ends))


@total
def offset(freq: object) -> Any:
    """The date offset of that name."""
    to_offset = library("pandas.tseries.frequencies").to_offset

    return to_offset(frequency(freq))


@total
def nullable_dtype(name: object) -> Any:
    """The dtype of numbers or truths with gaps that has this name."""
    pd = library("pandas")

    text = exactly(name, str, "the dtype")
    require(text in NULLABLE, "the dtype is none of pandas' nullable ones")
    return pd.BooleanDtype() if text == "boolean" else getattr(pd, f"{text}Dtype")()


@total
def string_dtype(storage: object, gap: object) -> Any:
    """The dtype of strings, by where they are kept and what stands for a missing one."""
    import numpy as np

    pd = library("pandas")

    kept = exactly(storage, str, "the storage")
    require(kept in ("python", "pyarrow"), "strings are stored in no such way")
    require(exactly(gap, str, "the gap") in ("NA", "nan"), "a missing string is of no known kind")
    return pd.StringDtype(kept) if gap == "NA" else pd.StringDtype(kept, na_value=np.nan)


@total
def categorical_dtype(categories: object, ordered: object) -> Any:
    """The dtype of these *categories*, an index without gaps or repetitions."""
    pd = library("pandas")

    require(ordered is None or type(ordered) is bool, "order is no truth")
    if categories is None:
        return pd.CategoricalDtype(None, ordered)
    index = an_index(categories, "the categories")
    require(type(index) not in (pd.MultiIndex, pd.CategoricalIndex), "categories of categories")
    require(not index.isna().any() and is_unique(index), "categories are missing or repeated")
    # Not by its constructor, which hashes: a few thousand numbers made for it can take minutes.
    return pd.CategoricalDtype._from_fastpath(index, ordered)


@total
def zoned_dtype(unit: object, tz: object) -> Any:
    """The dtype of moments in a time zone."""
    pd = library("pandas")

    require(tz is not None, "a zoned dtype has no time zone")
    return pd.DatetimeTZDtype(_unit(unit), zone(tz))


@total
def period_dtype(freq: object) -> Any:
    """The dtype of periods of one frequency."""
    pd = library("pandas")

    return pd.PeriodDtype(frequency(freq))


@total
def interval_dtype(subtype: object, ends: object) -> Any:
    """The dtype of intervals between values of *subtype*, a zoned dtype or numpy's text for one."""
    pd = library("pandas")

    inner = subtype
    if inner is not None and type(inner) is not pd.DatetimeTZDtype:
        inner = _plain_dtype(inner, "iufmM")
    return pd.IntervalDtype(inner, None if ends is None else closed(ends))


@total
def sparse_dtype(subtype: object, fill: object) -> Any:
    """The dtype of sparse numbers of *subtype*, numpy's text for one."""
    pd = library("pandas")

    require(is_fill(fill), "the fill value is no number")
    return pd.SparseDtype(_plain_dtype(subtype, "biufc"), fill)


def _plain_dtype(said: Any, kinds: str) -> Any:
    import numpy as np

    text = exactly(said, str, "the dtype")
    require(bool(re.fullmatch(r"[<>|=][a-zA-Z][0-9]{1,2}(\[(s|ms|us|ns)\])?", text)), "no dtype")
    dtype = np.dtype(text)
    require(dtype.kind in kinds, "the dtype is of the wrong kind")
    return dtype


@total
def nullable_array(name: object, values: object, mask: object) -> Any:
    """Numbers or truths with gaps where *mask* is true."""
    import numpy as np

    pd = library("pandas")

    dtype = nullable_dtype(name)
    kept = array_of(values, "biuf", 1, "the values")
    gaps = array_of(mask, "b", 1, "the mask")
    require(kept.dtype == np.dtype(dtype.numpy_dtype), "the values are not of their dtype")
    require(kept.shape == gaps.shape, "values and mask differ in length")
    return getattr(pd.arrays, NULLABLE[dtype.name])(kept, gaps, copy=False)


@total
def string_array(dtype: object, cells: object) -> Any:
    """Strings, as Python objects; None for a missing one."""
    pd = library("pandas")

    kind = exactly(dtype, pd.StringDtype, "the dtype")
    texts = exactly(cells, list, "the strings")
    require(kind.storage == "python", "the strings are stored elsewhere")
    require(set(map(type, texts)) <= {str, type(None)}, "a string is none")
    return exactly(pd.array(objects(texts), dtype=kind), pd.arrays.StringArray, "what was made")


@total
def arrow_string_array(dtype: object, starts: object, text: object, mask: object) -> Any:
    """Strings in Arrow's form: bytes of UTF-8, where each starts, which are missing."""
    import numpy as np

    pd = library("pandas")
    pa = library("pyarrow")

    kind = exactly(dtype, pd.StringDtype, "the dtype")
    require(kind.storage == "pyarrow", "the strings are stored elsewhere")
    data = array_of(text, "u", 1, "the text")
    require(data.dtype == np.uint8 and data.flags.c_contiguous, "the text is not in bytes")
    places = indices_of(starts, 0, data.size + 1, "a string")
    require(places.dtype == np.int64 and places.size > 0, "the strings have no places")
    require(places[0] == 0 and places[-1] == data.size, "the strings do not fill their text")
    require(not (np.diff(places) < 0).any(), "the strings overlap")
    valid = None
    if mask is not None:
        gaps = array_of(mask, "b", 1, "the mask")
        require(gaps.size == places.size - 1, "strings and mask differ in length")
        valid = pa.py_buffer(np.packbits(~gaps, bitorder="little"))
    buffers = [valid, pa.py_buffer(places), pa.py_buffer(data)]
    strings = pa.Array.from_buffers(pa.large_string(), places.size - 1, buffers)
    strings.validate(full=True)
    made = pd.array(strings, dtype=kind)
    return exactly(made, pd.arrays.ArrowStringArray, "what was made")


@total
def datetime_array(ticks: object, unit: object, tz: object, freq: object) -> Any:
    """Moments, in UTC where there is a time zone; pandas 2 keeps a frequency with them."""
    pd = library("pandas")

    kept = times_of((f"M8[{_unit(unit)}]", ticks), None)
    where = zone(tz)
    dtype = kept.dtype if where is None else pd.DatetimeTZDtype(_unit(unit), where)
    array = pd.arrays.DatetimeArray._simple_new(kept, dtype=dtype)
    return array if freq is None else regular(pd.DatetimeIndex, array, freq, None).array


@total
def timedelta_array(ticks: object, unit: object, freq: object) -> Any:
    """Spans of time; pandas 2 keeps a frequency with them."""
    pd = library("pandas")

    kept = times_of((f"m8[{_unit(unit)}]", ticks), None)
    array = pd.arrays.TimedeltaArray._simple_new(kept, dtype=kept.dtype)
    return array if freq is None else regular(pd.TimedeltaIndex, array, freq, None).array


@total
def period_array(ordinals: object, freq: object) -> Any:
    """Periods, by their numbers."""
    import numpy as np

    pd = library("pandas")

    numbers = array_of(ordinals, "i", None, "the periods")
    require(numbers.dtype == np.int64 and numbers.ndim in (1, 2), "periods are no numbers")
    return pd.arrays.PeriodArray._simple_new(numbers, dtype=pd.PeriodDtype(frequency(freq)))


@total
def interval_array(left: object, right: object, ends: object) -> Any:
    """Intervals, by two indexes of numbers or times."""
    pd = library("pandas")

    sides = [an_index(side, "an end") for side in (left, right)]
    for side in sides:
        require(
            type(side) in (pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex), "an end is no number"
        )
        require(type(side) is not pd.Index or type(side.array) is _numpy_array(), "an end is none")
        require(side.dtype.kind in "iufmM", "an end is no number")
    require(sides[0].dtype == sides[1].dtype, "the ends differ in dtype")
    require(len(sides[0]) == len(sides[1]), "the ends differ in length")
    return pd.arrays.IntervalArray.from_arrays(sides[0], sides[1], closed(ends))


def _numpy_array() -> Any:
    return library("pandas").arrays.NumpyExtensionArray


@total
def sparse_array(
    values: object, places: object, length: object, fill: object, blocks: object
) -> Any:
    """Numbers at some *places* of *length*, *fill* elsewhere."""
    import numpy as np

    pd = library("pandas")
    make_sparse_index = library("pandas.core.arrays.sparse").make_sparse_index

    kept = array_of(values, "biufc", 1, "the values")
    size = whole(length, "the length", 0, 2**31 - 1)
    where = indices_of(places, 0, size, "a value")
    require(where.dtype == np.int32 and where.shape == kept.shape, "values and places differ")
    require(not (np.diff(where) <= 0).any(), "places are out of order")
    require(is_fill(fill), "the fill value is no number")
    kind = "block" if exactly(blocks, bool, "the kind of places") else "integer"
    index = make_sparse_index(size, where, kind)
    dtype = pd.SparseDtype(kept.dtype, fill)
    return pd.arrays.SparseArray._simple_new(kept, index, dtype)


@total
def categorical(codes: object, dtype: object) -> Any:
    """Values out of the categories of *dtype*, by their places there; -1 for none."""
    pd = library("pandas")

    kind = exactly(dtype, pd.CategoricalDtype, "the dtype")
    if kind.categories is None:
        refuse("a categorical has no categories")
    places = indices_of(codes, -1, len(kind.categories), "a code")
    require(places.dtype.kind == "i", "codes are no signed numbers")
    small = library("pandas.core.dtypes.cast").coerce_indexer_dtype(places, kind.categories)
    # Past the constructors of `Categorical`: those of pandas 2 hash all categories once more.
    return super(pd.Categorical, pd.Categorical)._simple_new(small, kind)
