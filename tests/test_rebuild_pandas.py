"""pandas' objects, saved in a form of our own, come back as they were."""

from __future__ import annotations

import decimal
import enum
import sys
from typing import Any

import dateutil.tz
import numpy as np
import pytest
from rebuilding import carried, own, run, written

from checkpoint._reducers import reducer_for
from checkpoint.rebuild import pandas as rebuild

pd = pytest.importorskip("pandas")

import pandas_values as values  # noqa: E402

WHOLE = {f"{name} frame": frame for name, frame in values.FRAMES.items()}
WHOLE |= {f"{name} series": series for name, series in values.SERIES.items()}


def same(one: Any, other: Any) -> None:
    """Assert that two frames or series cannot be told apart."""
    assert type(one) is type(other)
    assert one.attrs == other.attrs and one.flags == other.flags
    if type(one) is pd.Series:
        pd.testing.assert_series_equal(one, other, check_freq=True)
    else:
        pd.testing.assert_frame_equal(one, other, check_freq=True)
        same_index(one.columns, other.columns)
        assert len(one._mgr.blocks) == len(other._mgr.blocks)
    same_index(one.index, other.index)


def same_index(one: Any, other: Any) -> None:
    pd.testing.assert_index_equal(one, other, exact=True)
    assert one.names == other.names
    assert getattr(one, "freq", None) == getattr(other, "freq", None)


@pytest.mark.parametrize("name", WHOLE)
def test_a_frame_or_series_comes_back_as_it_was(name: str) -> None:
    same(WHOLE[name], carried(WHOLE[name]))


@pytest.mark.parametrize("name", values.INDEXES)
def test_an_index_comes_back_as_it_was(name: str) -> None:
    index = values.INDEXES[name]
    back = carried(index)
    same_index(index, back)
    assert type(back) is type(index)
    if type(index) is pd.MultiIndex:
        assert [level.dtype for level in back.levels] == [level.dtype for level in index.levels]
        assert back.sortorder == index.sortorder


@pytest.mark.parametrize("name", values.ARRAYS)
def test_an_array_comes_back_as_it_was(name: str) -> None:
    array = values.ARRAYS[name]
    back = carried(array)
    assert type(back) is type(array) and back.dtype == array.dtype
    pd.testing.assert_extension_array_equal(array, back)


@pytest.mark.parametrize("name", values.SCALARS | values.DTYPES)
def test_a_scalar_or_dtype_comes_back_as_it_was(name: str) -> None:
    scalar = (values.SCALARS | values.DTYPES)[name]
    back = carried(scalar)
    assert type(back) is type(scalar) and repr(back) == repr(scalar)
    assert back is scalar or (back == scalar and hash(back) == hash(scalar))
    for field in ("unit", "tz", "fold", "freq", "closed", "ordered", "na_value"):
        here, there = getattr(scalar, field, None), getattr(back, field, None)
        assert here is there or here == there or here != here, field


def test_a_large_frame_is_a_few_uncopied_buffers_and_takes_over_those_it_is_loaded_from() -> None:
    frame = pd.DataFrame(np.ones((20_000, 8)), columns=list("abcdefgh"))
    frame["n"] = np.arange(20_000)
    frame["t"] = pd.date_range("2024", periods=20_000, freq="s")
    frame["z"] = pd.date_range("2024", periods=20_000, freq="s", tz="UTC")
    frame = frame[["n", "t", "z", *"abcdefgh"]]
    stream, buffers, _ = written(frame)
    large = [buffer for buffer in buffers if buffer.raw().nbytes > 1000]
    assert len(large) == len(frame._mgr.blocks) == 4 and len(stream) < 4000
    assert len(written(frame.iloc[:, ::-1])[0]) < 4000
    owners = [_memory(block) for block in frame._mgr.blocks]
    for buffer in large:
        memory = np.frombuffer(buffer.raw(), "u1")
        assert any(np.shares_memory(memory, owner) for owner in owners)
    function, args = _reduced(frame)
    back = function(*args)
    assert all(
        np.shares_memory(_memory(block), _memory(old))
        for block, old in zip(back._mgr.blocks, frame._mgr.blocks, strict=True)
    )


def _memory(block: Any) -> Any:
    return getattr(block.values, "_ndarray", block.values)


def _reduced(obj: Any) -> Any:
    reducer = reducer_for(type(obj))
    assert reducer is not None
    return reducer(obj)


def test_a_column_of_a_frame_that_came_back_can_be_written() -> None:
    back = carried(values.mixed())
    back.loc[0, "a"] = 100
    back.loc[1, "s"] = "new"
    back["c"] = back["c"].cat.add_categories("z")
    assert back.loc[0, "a"] == 100 and back.loc[1, "s"] == "new"
    assert back.groupby("c", observed=True)["f"].sum().sum() == pytest.approx(10 / 3)


def test_what_two_objects_share_is_shared_again() -> None:
    index = pd.Index(["a", "b"])
    point = values.Point(1)
    one = pd.Series([point, 1], index=index, dtype=object)
    two = pd.Series([point, 2], index=one.index, dtype=object)
    first, second = carried([one, two])
    assert first.iloc[0] is second.iloc[0]
    assert first.index is second.index or first.index.equals(second.index)


def test_a_frame_that_holds_itself_comes_back_whole() -> None:
    point = values.Point(1)
    frame = pd.DataFrame({"o": [point, None]}, dtype=object)
    point.inner = frame
    back, _ = own(frame)
    assert back.loc[0, "o"].inner is back


class Colour(enum.Enum):
    RED = 1


def odd() -> dict[str, Any]:
    index = pd.Index([1, 2])
    index.name = Colour.RED
    return {
        "a name that is no plain value": index,
        "a category that is no plain value": pd.CategoricalDtype([decimal.Decimal(1)]),
        "a label of a deep tuple": pd.Index([_deep(200), 1], dtype=object),
        "a range beyond 64 bits": pd.Series([1], name=2**2000),
        "an offset that starts at noon": pd.offsets.BusinessHour(start="12:00"),
        "an array in a frame": pd.Series(pd.array([1, 2], dtype="Int64"), name=Colour.RED),
        "a time zone of its own": pd.Timestamp("2024-01-01", tz=dateutil.tz.tzoffset(None, 60)),
    }


def _deep(depth: int) -> tuple[Any, ...]:
    label: tuple[Any, ...] = ()
    for _ in range(depth):
        label = (label,)
    return label


@pytest.mark.parametrize("name", odd())
def test_what_would_be_refused_is_left_to_plain_pickling(name: str) -> None:
    obj = odd()[name]
    back, left = own(obj)
    assert left and type(back) is type(obj)
    assert repr(back) == repr(obj) or "0x" in repr(obj)


def test_a_frequency_that_the_times_do_not_keep_is_not_believed() -> None:
    days = np.array(["2024-01-01", "2024-01-05"], "M8[ns]").view("i8")
    array = rebuild.datetime_array(days, "ns", None, None)
    assert rebuild.index(array, "D", None).freq is None
    assert rebuild.index(array, "4D", None).freq == pd.offsets.Day(4)


def test_subclasses_are_left_to_plain_pickling() -> None:
    assert reducer_for(type("Mine", (pd.DataFrame,), {})) is None
    assert reducer_for(type("Mine", (pd.Index,), {})) is None
    assert reducer_for(pd.DataFrame) is not None


def test_every_name_in_the_table_is_a_reducer_and_every_class_of_pandas_has_its_row() -> None:
    offsets = [value for value in vars(pd.offsets).values() if isinstance(value, type)]
    arrays = [value for value in vars(pd.arrays).values() if isinstance(value, type)]
    without = {kind.__name__ for kind in offsets + arrays if reducer_for(kind) is None}
    assert without <= {
        *("ArrowExtensionArray", "NumpyExtensionArray", "DateOffset", "BusinessMixin"),
        *("CustomBusinessDay", "CustomBusinessHour", "RelativeDeltaOffset"),
        *("CustomBusinessMonthBegin", "CustomBusinessMonthEnd", "BaseOffset", "Tick"),
    }
    for name in rebuild.__all__:
        assert getattr(rebuild, name).__module__ == rebuild.__name__


def test_asking_for_reducers_imports_no_library() -> None:
    program = (
        "import sys; from checkpoint._reducers import reducer_for; reducer_for(dict);"
        "import checkpoint.rebuild.pandas, checkpoint.rebuild.scipy, checkpoint._reducing_pandas;"
        "print([m for m in ('numpy', 'pandas', 'scipy') if m in sys.modules])"
    )
    assert run("-c", program).strip() == "[]"
    assert sys.modules["pandas"] is pd
