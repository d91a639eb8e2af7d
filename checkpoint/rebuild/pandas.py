"""pandas' indexes, series and frames, from what can be checked.

A frame comes as its blocks, that is, as few large arrays, which it takes over
uncopied.  What points into other memory (codes, places) is copied and checked.
"""

from __future__ import annotations

from typing import Any, Final

from checkpoint.rebuild._checks import (
    array_of,
    exactly,
    indices_of,
    library,
    objects,
    require,
    total,
    whole,
)
from checkpoint.rebuild._pandas_arrays import (
    arrow_string_array,
    categorical,
    categorical_dtype,
    datetime_array,
    interval,
    interval_array,
    interval_dtype,
    missing,
    no_time,
    nullable_array,
    nullable_dtype,
    offset,
    period,
    period_array,
    period_dtype,
    sparse_array,
    sparse_dtype,
    string_array,
    string_dtype,
    timedelta,
    timedelta_array,
    timestamp,
    zoned_dtype,
)
from checkpoint.rebuild._pandas_checks import (
    an_index,
    are_cells,
    array_kinds,
    index_kinds,
    is_label,
    regular,
    times_of,
)

__all__ = [
    "arrow_string_array",
    "categorical",
    "categorical_dtype",
    "datetime_array",
    "frame",
    "index",
    "interval",
    "interval_array",
    "interval_dtype",
    "missing",
    "multi_index",
    "no_time",
    "nullable_array",
    "nullable_dtype",
    "offset",
    "period",
    "period_array",
    "period_dtype",
    "range_index",
    "series",
    "sparse_array",
    "sparse_dtype",
    "string_array",
    "string_dtype",
    "timedelta",
    "timedelta_array",
    "timestamp",
    "zoned_dtype",
]

# Columns that a frame may have: without rows they cost the file nothing.
MOST_COLUMNS: Final = 1 << 23

# Kinds of numpy's dtypes that a column may have.
PLAIN_KINDS: Final = "biufc"


def _named(name: Any) -> Any:
    require(is_label(name), f"a name is a {type(name).__name__}")
    return name


@total
def index(values: object, freq: object, name: object) -> Any:
    """The index of a plain array, of one of pandas' arrays, or of a list of objects."""
    pd = library("pandas")

    label = _named(name)
    if type(values) is list:
        require(are_cells(values), "an index holds tuples too deep or too large")
        return pd.Index(objects(values), dtype=object, name=label, copy=False, tupleize_cols=False)
    if type(values) in array_kinds():
        kind = index_kinds().get(type(values), pd.Index)
        require(values.ndim == 1, "an index has two dimensions")  # type: ignore[attr-defined]
        if freq is not None:
            require(kind in (pd.DatetimeIndex, pd.TimedeltaIndex), "only times keep a frequency")
            return regular(kind, values, freq, label)
        return exactly(kind(values, name=label, copy=False), kind, "what was made")
    require(freq is None, "only times keep a frequency")
    kept = array_of(values, "biufc", 1, "the labels")
    return exactly(pd.Index(kept, name=label, copy=False), pd.Index, "what was made")


@total
def range_index(start: object, stop: object, step: object, name: object) -> Any:
    """An index that counts."""
    pd = library("pandas")

    low, high, by = (whole(part, "a range") for part in (start, stop, step))
    require(by != 0 and len(range(low, high, by)) < 2**62, "a range is too long")
    return pd.RangeIndex(low, high, by, name=_named(name))


@total
def multi_index(levels: object, codes: object, names: object, order: object) -> Any:
    """An index of several levels, by the places of each row's labels in them; -1 for none.

    That a level has nothing twice is pandas' own affair: no memory hangs on it.
    """
    pd = library("pandas")

    tables = [an_index(level, "a level") for level in exactly(levels, list, "the levels")]
    columns, labels = exactly(codes, list, "the codes"), exactly(names, list, "the names")
    require(len(tables) == len(columns) == len(labels) > 0, "levels, codes and names differ")
    require(all(type(level) is not pd.MultiIndex for level in tables), "a level has levels")
    places = [
        indices_of(column, -1, len(level), "a code")
        for column, level in zip(columns, tables, strict=True)
    ]
    require(all(column.dtype.kind == "i" for column in places), "codes are no signed numbers")
    require(len({column.size for column in places}) == 1, "codes differ in length")
    for label in labels:
        _named(label)
    if order is not None:
        whole(order, "the order of sorting", 0, len(tables))
    return pd.MultiIndex(
        levels=tables, codes=places, sortorder=order, names=labels, verify_integrity=False
    )


@total
def series(values: object, rows: object, name: object, extras: object) -> Any:
    """A series of a plain array, of one of pandas' arrays, or of a list of objects."""
    pd = library("pandas")

    axis, label = an_index(rows, "the index"), _named(name)
    kept, dtype = _column(values)
    require(len(kept) == len(axis), "values and index differ in length")
    made = pd.Series(kept, index=axis, name=label, dtype=dtype, copy=False)
    require(made.dtype == dtype, "a series changed its dtype")
    return _with_extras(made, extras)


def _column(values: Any) -> tuple[Any, Any]:
    """What one column consists of, and its dtype."""
    if type(values) is list:
        cells = objects(values)
        return cells, cells.dtype
    if type(values) in array_kinds():
        require(values.ndim == 1, "a column has two dimensions")
        return values, values.dtype
    kept = _plain(values, 1)
    return kept, kept.dtype


def _plain(values: Any, ndim: int) -> Any:
    """Numbers, or times as a pair of their dtype and numbers."""
    if type(values) is tuple:
        return times_of(values, ndim)
    return array_of(values, PLAIN_KINDS, ndim, "the values")


@total
def frame(blocks: object, rows: object, columns: object, extras: object) -> Any:
    """A frame of blocks: each an array of (columns, rows), and at which columns it stands."""
    axis, head = an_index(rows, "the index"), an_index(columns, "the columns")
    width, length = len(head), len(axis)
    require(width <= MOST_COLUMNS, "a frame has too many columns")
    pairs = exactly(blocks, list, "the blocks")
    made: list[tuple[Any, Any]] = []
    free = width
    for pair in pairs:
        require(type(pair) is tuple and len(pair) == 2, "a block is no pair")
        places = _places(pair[1], width)
        free -= places.size
        require(free >= 0, "there are more blocks than columns")
        made.append((_block(pair[0], len(places), length), places))
    _fill([places for _, places in made], width)
    return _with_extras(_of_blocks(made, axis, head), extras)


def _places(said: Any, width: int) -> Any:
    """Which columns a block has: as an array, or as start, stop and step of a range."""
    import numpy as np

    if type(said) is not tuple:
        return indices_of(said, 0, width, "a column").astype(np.intp, copy=False)
    require(len(said) == 3, "a range is cut off")
    start, stop, step = (whole(part, "a range", -1, MOST_COLUMNS) for part in said)
    require(step >= 1 and start >= 0 and stop <= width, "a column is outside")
    return np.arange(start, stop, step, dtype=np.intp)


def _fill(parts: list[Any], width: int) -> None:
    """Refuse unless each of *width* columns is in one of the blocks, which are as many."""
    import numpy as np

    seen = np.zeros(width, dtype=bool)
    for places in parts:
        seen[places] = True
    require(bool(seen.all()), "a column is in no block")


def _block(values: Any, count: int, length: int) -> Any:
    """*values*, checked to hold *count* columns of *length* rows."""
    if type(values) is list:
        require(len(values) == count * length, "a block has the wrong size")
        return objects(values).reshape(count, length)
    if type(values) in array_kinds():
        shapes = [(count, length)] + [(length,)] * (count == 1)
        require(values.shape in shapes, "a block has the wrong size")
        return values
    kept = _plain(values, 2)
    require(kept.shape == (count, length), "a block has the wrong size")
    return kept


def _of_blocks(blocks: list[tuple[Any, Any]], rows: Any, columns: Any) -> Any:
    try:
        create_dataframe_from_blocks = library("pandas.api.internals").create_dataframe_from_blocks
    except ImportError:
        return _of_blocks_before_3(blocks, rows, columns)
    return create_dataframe_from_blocks(blocks, index=rows, columns=columns)


def _of_blocks_before_3(blocks: list[tuple[Any, Any]], rows: Any, columns: Any) -> Any:
    """What `create_dataframe_from_blocks` does, which pandas 2 has not."""
    pd = library("pandas")
    of_pandas = library("pandas.core.internals.blocks")

    made = []
    for values, places in blocks:
        shaped = of_pandas.maybe_coerce_values(of_pandas.ensure_block_shape(values, ndim=2))
        made.append(of_pandas.new_block(shaped, placement=of_pandas.BlockPlacement(places), ndim=2))
    manager = library("pandas.core.internals.managers").BlockManager(tuple(made), [columns, rows])
    return pd.DataFrame._from_mgr(manager, manager.axes)


def _with_extras(made: Any, extras: Any) -> Any:
    """*made* with its attributes, and its flag, as pairs of them are written."""
    attrs, duplicates = exactly(extras, tuple, "the extras") or (None, True)
    if attrs is not None:
        made.attrs = exactly(attrs, dict, "the attributes")
    if not exactly(duplicates, bool, "the flag"):
        made.flags.allows_duplicate_labels = False
    return made


for _name in __all__:
    # A stream names each under this module, wherever it is defined.
    globals()[_name].__module__ = __name__
