"""Objects of pandas, by name, that come back as they were."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
HOUR = datetime.timezone(datetime.timedelta(hours=1))
NAMED = datetime.timezone(datetime.timedelta(hours=-3), "there")


@dataclasses.dataclass
class Point:
    x: int
    inner: Any = None


def times(**how: Any) -> Any:
    return pd.date_range("2024-03-30", periods=4, **how)


SCALARS: dict[str, Any] = {
    "NA": pd.NA,
    "NaT": pd.NaT,
    "timestamp": pd.Timestamp("2024-01-02 03:04:05.123456789"),
    "timestamp in seconds": pd.Timestamp("2024-01-02").as_unit("s"),
    "timestamp before 1900": pd.Timestamp("1700-01-01").as_unit("us"),
    "timestamp in UTC": pd.Timestamp("2024-01-02", tz="UTC"),
    "timestamp in a zone": pd.Timestamp("2024-07-02", tz=BERLIN),
    "timestamp at the second 2:30": pd.Timestamp("2024-10-27 01:30", tz="UTC").tz_convert(BERLIN),
    "timestamp in an hour's offset": pd.Timestamp("2024-07-02", tz=HOUR),
    "timestamp in a named offset": pd.Timestamp("2024-07-02", tz=NAMED),
    "timedelta": pd.Timedelta("1 days 2 ns"),
    "timedelta in ms": pd.Timedelta("1 days").as_unit("ms"),
    "period": pd.Period("2024-05", "M"),
    "period of weeks": pd.Period("2024-05-05", "W-WED"),
    "period of quarters": pd.Period("2024Q1", "Q-NOV"),
    "period of two hours": pd.Period("2024-05-05 12:00", "2h"),
    "interval": pd.Interval(0, 1, "left"),
    "interval of floats": pd.Interval(0.5, np.float64(1), "both"),
    "interval of times": pd.Interval(pd.Timestamp(0), pd.Timestamp(1), "neither"),
    "day": pd.offsets.Day(3),
    "minutes": pd.offsets.Minute(-15),
    "month end": pd.offsets.MonthEnd(),
    "quarter": pd.offsets.QuarterEnd(2, startingMonth=11),
    "week": pd.offsets.Week(weekday=2),
    "second thursday": pd.offsets.WeekOfMonth(week=1, weekday=3),
    "business day": pd.offsets.BusinessDay(2),
    "year": pd.offsets.YearBegin(month=4),
}

DTYPES: dict[str, Any] = {
    **{name: pd.array([], dtype=name).dtype for name in ("Int8", "UInt64", "Float32", "boolean")},
    "string": pd.StringDtype("python"),
    "categories": pd.CategoricalDtype(["b", "a"], ordered=True),
    "categories of numbers": pd.CategoricalDtype([3, 1, 2]),
    "categories of floats": pd.CategoricalDtype([3.5, -1.0, 0.0]),
    "categories of all kinds": pd.CategoricalDtype([1, "a", (1, "b"), 2.5, "n"]),
    "categories of times": pd.CategoricalDtype(times(freq="D")),
    "categories of intervals": pd.cut([1, 2, 3, 9], 3).dtype,
    "categories of periods": pd.CategoricalDtype(pd.period_range("2024", periods=3, freq="M")),
    "no categories": pd.CategoricalDtype(),
    "zoned": pd.DatetimeTZDtype("us", BERLIN),
    "periods": pd.PeriodDtype("3M"),
    "intervals": pd.IntervalDtype("int64", "left"),
    "intervals of times": pd.IntervalDtype("datetime64[ns, UTC]", "right"),
    "intervals of anything": pd.IntervalDtype(),
    "sparse": pd.SparseDtype("int32", 7),
    "sparse truths": pd.SparseDtype(bool, False),
    "sparse floats": pd.SparseDtype("float64"),
}

ARRAYS: dict[str, Any] = {
    "integers": pd.array([1, None, 3], dtype="Int16"),
    "unsigned": pd.array([1, 2**63, None], dtype="UInt64"),
    "floats": pd.array([1.5, None], dtype="Float32"),
    "truths": pd.array([True, None, False], dtype="boolean"),
    "no integers": pd.array([], dtype="Int64"),
    "strings": pd.array(["a", None, "ü\ud800"], dtype=pd.StringDtype("python")),
    "strings by default": pd.array(["a", None, "", "ü"], dtype="string"),
    "moments": pd.array(np.array(["2024-01-01", "NaT"], "M8[s]")),
    "zoned moments": times(freq="D", tz=BERLIN).array,
    "spans": pd.array(np.array([1, 2], "m8[us]")),
    "periods": pd.array([pd.Period("2024-01", "M"), pd.NaT]),
    "intervals": pd.arrays.IntervalArray.from_breaks([0, 1, 2], closed="left"),
    "intervals with a gap": pd.arrays.IntervalArray.from_tuples([(0.0, 1.5), np.nan]),
    "intervals of times": pd.arrays.IntervalArray.from_breaks(times(freq="D", tz="UTC")),
    "sparse": pd.arrays.SparseArray([0, 0, 1, 2, 0]),
    "sparse floats in blocks": pd.arrays.SparseArray([np.nan, 1.0, 2.0, np.nan], kind="block"),
    "sparse with no gap": pd.arrays.SparseArray([5, 5, 1], fill_value=5),
    "categorical": pd.Categorical(["b", None, "a", "b"], categories=["b", "a"], ordered=True),
    "categorical of numbers": pd.Categorical([10, 20, 10]),
    "categorical of nothing": pd.Categorical([]),
    "categorical, mixed": pd.Categorical([1, "a", (2, "c"), None]),
    "categorical of 300": pd.Categorical(range(300)),
}

if importlib.util.find_spec("pyarrow"):
    ARRAYS["strings of Arrow"] = pd.array(["a", None, "", "ü"], dtype="string[pyarrow]")
    ARRAYS["strings of Arrow, cut"] = ARRAYS["strings of Arrow"][1:]
    ARRAYS["no strings of Arrow"] = ARRAYS["strings of Arrow"][:0]

INDEXES: dict[str, Any] = {
    "whole": pd.Index([3, 1, 2], name="n"),
    "small": pd.Index(np.array([1, 2], dtype="int8")),
    "floats": pd.Index([1.5, np.nan]),
    "truths": pd.Index([True, False]),
    "complex": pd.Index([1j, 2]),
    "texts": pd.Index(["a", None], name=("two", 1)),
    "objects": pd.Index(["a", None, 1, (1, (2, "x")), Point(1)], dtype=object),
    "dates": pd.Index([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)], dtype=object),
    "nothing": pd.Index([], dtype=object),
    "nullable": pd.Index(pd.array([1, None], dtype="Int64")),
    "range": pd.RangeIndex(2, 20, 3, name="r"),
    "range backwards": pd.RangeIndex(5, -5, -1),
    "long range": pd.RangeIndex(10**15),
    "times": pd.DatetimeIndex(["2024-01-01", "2024-01-05", None], name=pd.Timestamp(0)),
    "days": times(freq="D"),
    "days in a zone": times(freq="D", tz=BERLIN),
    "hours over the change": pd.date_range("2024-03-30", periods=48, freq="h", tz=BERLIN),
    "month ends": times(freq="ME"),
    "business days": times(freq="2B", name="b"),
    "no times": pd.DatetimeIndex([]),
    "spans": pd.timedelta_range("1h", periods=3, freq="90min"),
    "odd spans": pd.TimedeltaIndex(["1h", "5h", None]),
    "periods": pd.period_range("2024", periods=3, freq="Q-NOV", name="q"),
    "intervals": pd.interval_range(0, 5, name="i"),
    "interval times": pd.IntervalIndex.from_breaks(times(freq="D")),
    "categories": pd.CategoricalIndex(["x", "y", None], ordered=True, name="c"),
    "levels": pd.MultiIndex.from_product([["a", "b"], [1, 2], times(freq="D")], names=list("xyz")),
    "levels with gaps": pd.MultiIndex.from_tuples([("a", 1), ("b", None), (None, 2)]),
    "levels sorted": pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]).sortlevel()[0],
    "levels of nothing": pd.MultiIndex.from_arrays([[], []], names=["a", None]),
    "levels of categories": pd.MultiIndex.from_arrays([pd.Categorical(["p", "q"]), [1, 2]]),
}


def mixed(rows: int = 5) -> pd.DataFrame:
    """A frame with a column of each kind, out of order and in several blocks."""
    numbers = np.arange(rows)
    frame = pd.DataFrame({"a": numbers, "f": numbers / 3, "b": numbers % 2 == 0})
    frame["s"] = [f"row {n}" for n in numbers]
    frame["o"] = pd.Series([None, [1], {"k": (2,)}, Point(3, Point(4)), "x"][:rows], dtype=object)
    frame["t"] = pd.date_range("2024", periods=rows)
    frame["z"] = pd.date_range("2024", periods=rows, tz=BERLIN)
    frame["d"] = frame["t"] - frame["t"].iloc[0]
    frame["p"] = pd.period_range("2024", periods=rows, freq="M")
    frame["i"] = pd.arrays.IntervalArray.from_breaks(range(rows + 1))
    frame["c"] = pd.Categorical(list("abcab"[:rows]))
    frame["n"] = pd.array([1, None, 3, 4, 5][:rows], dtype="Int64")
    frame["e"] = pd.arrays.SparseArray(numbers % 3)
    frame["h"] = numbers.astype("int8")
    frame["g"] = numbers * 2
    frame["j"] = numbers * 1j
    return frame[list("zgaofsbtdpicnehj")]


def with_extras(frame: Any) -> Any:
    frame = frame.copy()
    frame.attrs = {"unit": "m", "nested": {"k": [1, 2]}}
    return frame.set_flags(allows_duplicate_labels=False)


def wide() -> pd.DataFrame:
    return pd.DataFrame(np.arange(24.0).reshape(4, 6), columns=list("abcdef"))


FRAMES: dict[str, Any] = {
    "mixed": mixed(),
    "mixed, sorted": mixed().sort_index(axis=1),
    "mixed, no rows": mixed().iloc[:0],
    "mixed, by steps": mixed().iloc[::2],
    "one block": wide(),
    "one block, in Fortran's order": pd.DataFrame(np.asfortranarray(wide().to_numpy())),
    "every other column": wide().iloc[:, ::2],
    "columns backwards": wide().iloc[:, ::-1],
    "rows backwards": wide().iloc[::-1],
    "two blocks, interleaved": wide().astype({"b": int, "d": int, "f": "int8"}),
    "not consolidated": pd.concat([wide(), wide().iloc[:, :2].add_prefix("x")], axis=1),
    "the same name twice": pd.DataFrame([[1, 2.5, "x"]], columns=["a", "a", "a"]),
    "nothing": pd.DataFrame(),
    "no columns": pd.DataFrame(index=range(5)),
    "no rows": pd.DataFrame({"a": [], "b": pd.array([], dtype="Int8")}),
    "levels in both axes": pd.DataFrame(
        np.arange(4).reshape(2, 2),
        index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"]),
        columns=pd.MultiIndex.from_tuples([("p", 1), ("p", 2)]),
    ),
    "extras": with_extras(wide()),
    "big endian": pd.DataFrame({"a": np.array([1, 2], ">i4"), "b": np.array([1, 2], ">f8")}),
    "half floats": pd.DataFrame({"a": np.array([1, 2], "f2"), "b": [1, 2]}),
    "several units": pd.DataFrame({"s": np.array([1], "M8[s]"), "u": np.array([1], "m8[us]")}),
    "two columns in a zone": pd.DataFrame({k: times(freq="D", tz="UTC") for k in "ab"}),
    "two objects": pd.DataFrame({"a": [1, "x"], "b": [None, [2]]}, dtype=object),
}

SERIES: dict[str, Any] = {
    **{f"column {name}": mixed()[name] for name in mixed()},
    "nothing": pd.Series([], dtype="float64"),
    "objects": pd.Series([None, [1, 2], [3, 4], np.array([5, 6]), np.array(7)], dtype=object),
    "a frame within": pd.Series([pd.DataFrame({"a": [1]}), 1], dtype=object, name=3.5),
    "texts": pd.Series(["a", None, "", "ü"], dtype="str"),
    "strides": pd.Series(np.arange(10)[::3]),
    "extras": with_extras(pd.Series([1, 2], name=("a", 1))),
    **{f"array of {name}": pd.Series(array) for name, array in ARRAYS.items()},
}
