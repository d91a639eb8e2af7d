"""The types of pandas and SciPy that are saved in a form of our own, and their reducers.

Each stands under the module that it says it is from: pandas 2 names the one it
is defined in, pandas 3 the public one.
"""

from __future__ import annotations

from typing import Final

# Names of types -> the function in `_reducing_pandas` that reduces them.
_PANDAS: Final = {
    "DataFrame": "frame",
    "Series": "series",
    "RangeIndex": "range_index",
    "MultiIndex": "multi_index",
    "Index DatetimeIndex TimedeltaIndex PeriodIndex IntervalIndex CategoricalIndex": "index",
    "IntegerArray FloatingArray BooleanArray": "nullable_array",
    "StringArray": "string_array",
    "ArrowStringArray": "arrow_string_array",
    "DatetimeArray": "datetime_array",
    "TimedeltaArray": "timedelta_array",
    "PeriodArray": "period_array",
    "IntervalArray": "interval_array",
    "SparseArray": "sparse_array",
    "Categorical": "categorical",
    "Timestamp": "timestamp",
    "Timedelta": "timedelta",
    "Period": "period",
    "Interval": "interval",
    "NAType": "missing",
    "NaTType": "no_time",
    "Int8Dtype Int16Dtype Int32Dtype Int64Dtype": "nullable_dtype",
    "UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype": "nullable_dtype",
    "Float32Dtype Float64Dtype BooleanDtype": "nullable_dtype",
    "StringDtype": "string_dtype",
    "CategoricalDtype": "categorical_dtype",
    "DatetimeTZDtype": "zoned_dtype",
    "PeriodDtype": "period_dtype",
    "IntervalDtype": "interval_dtype",
    "SparseDtype": "sparse_dtype",
    "Day Hour Minute Second Milli Micro Nano Week WeekOfMonth LastWeekOfMonth Easter": "offset",
    "MonthBegin MonthEnd QuarterBegin QuarterEnd YearBegin YearEnd": "offset",
    "BMonthBegin BMonthEnd BusinessMonthBegin BusinessMonthEnd": "offset",
    "BQuarterBegin BQuarterEnd BYearBegin BYearEnd": "offset",
    "HalfYearBegin HalfYearEnd BHalfYearBegin BHalfYearEnd": "offset",
    "SemiMonthBegin SemiMonthEnd BusinessDay BusinessHour FY5253 FY5253Quarter": "offset",
}
_REDUCERS: Final = {name: function for names, function in _PANDAS.items() for name in names.split()}

_HOMES: Final = {
    "pandas": " ".join(name for name in _REDUCERS if not name.endswith("Array")),
    "pandas.arrays": " ".join(name for name in _REDUCERS if name.endswith("Array")),
    "pandas.api.typing": "NAType NaTType",
    "pandas.core.frame": "DataFrame",
    "pandas.core.series": "Series",
    "pandas.core.indexes.base": "Index",
    "pandas.core.indexes.range": "RangeIndex",
    "pandas.core.indexes.multi": "MultiIndex",
    "pandas.core.indexes.datetimes": "DatetimeIndex",
    "pandas.core.indexes.timedeltas": "TimedeltaIndex",
    "pandas.core.indexes.period": "PeriodIndex",
    "pandas.core.indexes.interval": "IntervalIndex",
    "pandas.core.indexes.category": "CategoricalIndex",
    "pandas.core.arrays.integer": "IntegerArray Int8Dtype Int16Dtype Int32Dtype Int64Dtype"
    " UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype",
    "pandas.core.arrays.floating": "FloatingArray Float32Dtype Float64Dtype",
    "pandas.core.arrays.boolean": "BooleanArray BooleanDtype",
    "pandas.core.arrays.string_": "StringArray StringDtype",
    "pandas.core.arrays.string_arrow": "ArrowStringArray",
    "pandas.core.arrays.datetimes": "DatetimeArray",
    "pandas.core.arrays.timedeltas": "TimedeltaArray",
    "pandas.core.arrays.period": "PeriodArray",
    "pandas.core.arrays.interval": "IntervalArray",
    "pandas.core.arrays.sparse.array": "SparseArray",
    "pandas.core.arrays.categorical": "Categorical",
    "pandas.core.dtypes.dtypes": "CategoricalDtype DatetimeTZDtype PeriodDtype IntervalDtype"
    " SparseDtype",
    "pandas._libs.tslibs.timestamps": "Timestamp",
    "pandas._libs.tslibs.timedeltas": "Timedelta",
    "pandas._libs.tslibs.period": "Period",
    "pandas._libs.tslibs.nattype": "NaTType",
    "pandas._libs.interval": "Interval",
    "pandas._libs.missing": "NAType",
    "pandas._libs.tslibs.offsets": " ".join(n for n, f in _REDUCERS.items() if f == "offset"),
}

_SCIPY: Final = {
    "csr": "compressed",
    "csc": "compressed",
    "bsr": "compressed",
    "coo": "coordinates",
    "dia": "diagonals",
    "dok": "by_key",
    "lil": "by_row",
}

ROWS: Final[dict[tuple[str, str], str]] = {
    (home, name): f"checkpoint._reducing_pandas:{_REDUCERS[name]}"
    for home, names in _HOMES.items()
    for name in names.split()
} | {
    (f"scipy.sparse._{form}", f"{form}_{kind}"): f"checkpoint._reducing_scipy:{function}"
    for form, function in _SCIPY.items()
    for kind in ("array", "matrix")
}
