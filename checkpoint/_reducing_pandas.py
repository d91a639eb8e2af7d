"""How pandas' objects are written: as plain values, arrays, and each other.

A reducer returns a function of `checkpoint.rebuild` and what to call it with,
or NotImplemented: what the rebuilding would refuse is left to plain pickling,
so that no data is lost by it.
"""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

from checkpoint.errors import UnsafeError
from checkpoint.rebuild import _pandas_checks as checks
from checkpoint.rebuild import pandas as rebuild
from checkpoint.rebuild._checks import library


def frame(obj: Any) -> Any:
    """Reduce a `DataFrame` to its blocks, its axes and its extras."""
    axes, extras = (obj.index, obj.columns), _extras(obj)
    if extras is None or not all(map(_is_index, axes)) or len(axes[1]) > rebuild.MOST_COLUMNS:
        return NotImplemented
    blocks = []
    for block in obj._mgr.blocks:
        values = _block(block.values)
        if values is None:
            return NotImplemented
        blocks.append((values, _places(block.mgr_locs.indexer, len(axes[1]))))
    return rebuild.frame, (blocks, *axes, extras)


def _block(values: Any) -> Any:
    """What is written for the values of a block; None where it cannot be rebuilt."""
    if type(values) in checks.array_kinds():
        return _bare_times(values)
    return _plain(values)


def _bare_times(values: Any) -> Any:
    """Times without a time zone as a pair of their dtype and numbers, all else as it is."""
    dtype = values.dtype
    if _is_numpys(dtype) and dtype.kind in "mM":
        return f"{dtype.kind}8[{values.unit}]", _ticks(values)
    return values


def _ticks(times: Any) -> Any:
    """The numbers that *times* are to numpy."""
    return _solid(times._ndarray.view("i8"))


def _is_numpys(dtype: Any) -> bool:
    import numpy as np

    return isinstance(dtype, np.dtype)


def _plain(values: Any) -> Any:
    """An array as it is, objects as a list; None for what is neither."""
    import numpy as np

    if type(values) is not np.ndarray:
        return None
    if values.dtype == object:
        return values.ravel().tolist()
    return _solid(values) if values.dtype.kind in rebuild.PLAIN_KINDS else None


def _solid(array: Any) -> Any:
    """*array* in one piece, so that it goes beside the stream: numpy writes views into it."""
    return array if array.flags.forc else array.copy(order="K")


def _places(indexer: Any, width: int) -> Any:
    """Which columns a block has, as `rebuild` takes it."""
    import numpy as np

    if isinstance(indexer, slice):
        counted = range(*indexer.indices(width))
        if counted.step > 0:
            return counted.start, counted.stop, counted.step
        return np.arange(counted.start, counted.stop, counted.step)
    return indexer


def _extras(obj: Any) -> tuple[Any, ...] | None:
    """The attributes and the flag of *obj*, () for those it was born with; None for odd ones."""
    attrs, duplicates = obj.attrs, obj.flags.allows_duplicate_labels
    if type(attrs) is not dict:
        return None
    return (attrs or None, duplicates) if attrs or not duplicates else ()


def _is_index(index: Any) -> bool:
    try:
        checks.an_index(index, "")
    except UnsafeError:
        return False
    return True


def series(obj: Any) -> Any:
    """Reduce a `Series` to its values, its index, its name and its extras."""
    pd = library("pandas")

    extras = _extras(obj)
    values = obj.array
    kept = _plain(values.to_numpy()) if type(values) is pd.arrays.NumpyExtensionArray else values
    if kept is values:
        kept = _block(values)
    if extras is None or kept is None or not _is_index(obj.index) or not checks.is_label(obj.name):
        return NotImplemented
    return rebuild.series, (kept, obj.index, obj.name, extras)


def index(obj: Any) -> Any:
    """Reduce an index that has one array, and maybe a frequency."""
    pd = library("pandas")

    values = obj.array
    if not checks.is_label(obj.name):
        return NotImplemented
    if type(values) is pd.arrays.NumpyExtensionArray:
        kept = _plain(values.to_numpy())
        if kept is None or (type(kept) is list and not checks.are_cells(kept)):
            return NotImplemented
        return rebuild.index, (kept, None, obj.name)
    if type(values) not in checks.array_kinds():
        return NotImplemented
    freq = getattr(obj, "freq", None) if type(obj) is not pd.PeriodIndex else None
    return rebuild.index, (_without_freq(values), frequency_of(freq), obj.name)


def _without_freq(values: Any) -> Any:
    """*values* without the frequency that pandas 2 keeps with an array of times."""
    return values._with_freq(None) if getattr(values, "_freq", None) is not None else values


def frequency_of(freq: Any) -> str | None:
    """The name of an offset, from which the very same is made; None where there is none."""
    to_offset = library("pandas.tseries.frequencies").to_offset

    if freq is None:
        return None
    text = freq.freqstr
    try:
        made = to_offset(checks.frequency(text))
    except (ValueError, UnsafeError):
        return None
    return text if type(made) is type(freq) and made == freq else None


def range_index(obj: Any) -> Any:
    """Reduce a `RangeIndex` to its three numbers."""
    if not checks.is_label(obj.name) or max(abs(obj.start), abs(obj.stop), abs(obj.step)) >= 2**62:
        return NotImplemented
    return rebuild.range_index, (obj.start, obj.stop, obj.step, obj.name)


def multi_index(obj: Any) -> Any:
    """Reduce a `MultiIndex` to its levels, codes and names."""
    import numpy as np

    levels, codes, names = (
        list(obj.levels),
        [_solid(np.asarray(column)) for column in obj.codes],
        list(obj.names),
    )
    if not all(map(_is_index, levels)) or not all(map(checks.is_label, names)):
        return NotImplemented
    return rebuild.multi_index, (levels, codes, names, obj.sortorder)


# Arrays


def nullable_array(obj: Any) -> Any:
    """Reduce an array of numbers or truths with gaps."""
    return rebuild.nullable_array, (obj.dtype.name, _solid(obj._data), _solid(obj._mask))


def string_array(obj: Any) -> Any:
    """Reduce an array of strings to a list of them, None for a missing one."""
    import numpy as np

    cells, gaps = np.asarray(obj, dtype=object), obj.isna()
    if gaps.any():
        cells = cells.copy()
        cells[gaps] = None
    texts = cells.tolist()
    if cells.ndim != 1 or not set(map(type, texts)) <= {str, type(None)}:
        return NotImplemented
    return rebuild.string_array, (obj.dtype, texts)


def arrow_string_array(obj: Any) -> Any:
    """Reduce an array of strings to Arrow's buffers, uncopied where nothing was cut off."""
    import numpy as np

    pa = library("pyarrow")

    chunked = obj.__arrow_array__()
    if isinstance(chunked, pa.ChunkedArray):
        chunked = chunked.combine_chunks()
        if isinstance(chunked, pa.ChunkedArray):
            chunked = chunked.chunk(0)
    strings = chunked if chunked.type == pa.large_string() else chunked.cast(pa.large_string())
    starts, text = np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, places, data = strings.buffers()
    if len(strings):
        whole = np.frombuffer(places, np.int64)
        starts = whole[strings.offset : strings.offset + len(strings) + 1]
        if data is not None:
            text = np.frombuffer(data, np.uint8)[starts[0] : starts[-1]]
        starts = starts - starts[0] if starts[0] else starts
    mask = strings.is_null().to_numpy(zero_copy_only=False) if strings.null_count else None
    return rebuild.arrow_string_array, (obj.dtype, starts, text, mask)


def datetime_array(obj: Any) -> Any:
    """Reduce moments to numpy's, and their time zone."""
    said = zone_of(obj.tz)
    if said is NotImplemented:
        return NotImplemented
    freq = frequency_of(getattr(obj, "freq", None))
    return rebuild.datetime_array, (_ticks(obj), obj.unit, said, freq)


def timedelta_array(obj: Any) -> Any:
    """Reduce spans of time to numpy's."""
    freq = frequency_of(getattr(obj, "freq", None))
    return rebuild.timedelta_array, (_ticks(obj), obj.unit, freq)


def period_array(obj: Any) -> Any:
    """Reduce periods to their numbers and their frequency."""
    freq = _period_frequency(obj.dtype)
    return NotImplemented if freq is None else (rebuild.period_array, (_solid(obj.asi8), freq))


def _period_frequency(dtype: Any) -> str | None:
    """The name of a period's frequency, from which the very same is made."""
    pd = library("pandas")

    text: str = dtype.name[len("period[") : -1]
    try:
        return text if pd.PeriodDtype(checks.frequency(text)) == dtype else None
    except (ValueError, UnsafeError):
        return None


def interval_array(obj: Any) -> Any:
    """Reduce intervals to two indexes."""
    return rebuild.interval_array, (obj.left, obj.right, obj.closed)


def sparse_array(obj: Any) -> Any:
    """Reduce a sparse array to its values and their places."""
    values, fill = obj.sp_values, _fill(obj.fill_value)
    if values.dtype.kind not in "biufc" or not checks.is_fill(fill):
        return NotImplemented
    places = obj.sp_index.to_int_index().indices
    return rebuild.sparse_array, (values, places, len(obj), fill, obj.kind == "block")


def _fill(value: Any) -> Any:
    import numpy as np

    return value.item() if isinstance(value, np.generic) else value


def categorical(obj: Any) -> Any:
    """Reduce a `Categorical` to its codes and its dtype."""
    import numpy as np

    return rebuild.categorical, (_solid(np.asarray(obj.codes)), obj.dtype)


# Scalars and dtypes


def zone_of(tz: Any) -> Any:
    """A time zone in words that `rebuild` takes; NotImplemented where there are none."""
    if tz is None:
        return None
    if type(tz) is datetime.timezone:
        name = tz.__reduce__()[1][1:]
        offset = tz.utcoffset(None) // datetime.timedelta(microseconds=1)
        return "offset", offset, name[0] if name else None
    if type(tz) is zoneinfo.ZoneInfo:
        said = ("zoneinfo", tz.key)
    elif type(tz).__module__.partition(".")[0] == "pytz":
        said = ("pytz", tz.zone)
    else:
        return NotImplemented
    return said if _is_zone(tz, said) else NotImplemented


def _is_zone(tz: Any, said: Any) -> bool:
    try:
        made = checks.zone(said)
    except Exception:  # a time zone with a name of its own, or from a file
        return False
    return made is tz or getattr(made, "zone", 0) == getattr(tz, "zone", 1)


def timestamp(obj: Any) -> Any:
    """Reduce a `Timestamp` to a number and a time zone."""
    said = zone_of(obj.tz)
    if said is NotImplemented:
        return NotImplemented
    args = (int(obj.asm8.view("i8")), obj.unit, said)
    try:
        made = rebuild.timestamp(*args)
    except UnsafeError:
        return NotImplemented
    return (rebuild.timestamp, args) if made == obj and made.fold == obj.fold else NotImplemented


def timedelta(obj: Any) -> Any:
    """Reduce a `Timedelta` to a number."""
    return rebuild.timedelta, (int(obj.asm8.view("i8")), obj.unit)


def period(obj: Any) -> Any:
    """Reduce a `Period` to its number and its frequency."""
    freq = _period_frequency(library("pandas").PeriodDtype(obj.freq))
    return NotImplemented if freq is None else (rebuild.period, (obj.ordinal, freq))


def interval(obj: Any) -> Any:
    """Reduce an `Interval` to its ends."""
    if not all(checks.is_end(end) for end in (obj.left, obj.right)):
        return NotImplemented
    return rebuild.interval, (obj.left, obj.right, obj.closed)


def missing(obj: Any) -> Any:
    """Reduce `pandas.NA`."""
    return rebuild.missing, ()


def no_time(obj: Any) -> Any:
    """Reduce `pandas.NaT`."""
    return rebuild.no_time, ()


def offset(obj: Any) -> Any:
    """Reduce a date offset to its name, where that tells all."""
    text = frequency_of(obj)
    return NotImplemented if text is None else (rebuild.offset, (text,))


def nullable_dtype(obj: Any) -> Any:
    """Reduce the dtype of numbers or truths with gaps."""
    return rebuild.nullable_dtype, (obj.name,)


def string_dtype(obj: Any) -> Any:
    """Reduce the dtype of strings."""
    pd = library("pandas")

    if obj.storage not in ("python", "pyarrow"):
        return NotImplemented
    return rebuild.string_dtype, (obj.storage, "NA" if obj.na_value is pd.NA else "nan")


def categorical_dtype(obj: Any) -> Any:
    """Reduce the dtype of categories."""
    return _checked(rebuild.categorical_dtype, (obj.categories, obj.ordered))


def zoned_dtype(obj: Any) -> Any:
    """Reduce the dtype of moments in a time zone."""
    said = zone_of(obj.tz)
    return NotImplemented if said is NotImplemented else (rebuild.zoned_dtype, (obj.unit, said))


def period_dtype(obj: Any) -> Any:
    """Reduce the dtype of periods."""
    freq = _period_frequency(obj)
    return NotImplemented if freq is None else (rebuild.period_dtype, (freq,))


def interval_dtype(obj: Any) -> Any:
    """Reduce the dtype of intervals."""
    inner = obj.subtype
    return rebuild.interval_dtype, (inner.str if _is_numpys(inner) else inner, obj.closed)


def sparse_dtype(obj: Any) -> Any:
    """Reduce the dtype of sparse numbers."""
    return _checked(rebuild.sparse_dtype, (obj.subtype.str, _fill(obj.fill_value)))


def _checked(function: Any, args: tuple[Any, ...]) -> Any:
    """A reduction to a small object, tried out at once."""
    try:
        function(*args)
    except UnsafeError:
        return NotImplemented
    return function, args
