"""Times as far off as 64 bits go, and much that pandas works out about them."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pandas as pd

from checkpoint.errors import UnsafeError
from checkpoint.rebuild import pandas as r

ENDS = [-(2**63), -(2**63) + 1, -(2**62), -1, 0, 1, 2**31, 2**53, 2**62, 2**63 - 1]
ZONES = (None, ("zoneinfo", "Europe/Berlin"), ("offset", 3600 * 10**6, None))
FREQUENCIES = [
    "Y",
    "Y-MAR",
    "Q",
    "Q-NOV",
    "M",
    "W",
    "W-WED",
    "B",
    "D",
    "h",
    "min",
    "s",
    "ms",
    "us",
    "ns",
    "7D",
    "1000h",
    "900000000Q",
]
FIELDS = [
    "year",
    "month",
    "day",
    "hour",
    "dayofyear",
    "week",
    "quarter",
    "days_in_month",
    "is_leap_year",
    "weekday",
    "qyear",
]
FIELDS += [
    "is_month_end",
    "is_year_start",
    "days",
    "components",
    "start_time",
    "end_time",
    "is_unique",
    "hasnans",
]
CALLS: dict[str, tuple[Any, ...]] = {
    **{"sort_values": (), "unique": (), "to_timestamp": (), "normalize": (), "to_julian_date": ()},
    **{"isocalendar": (), "value_counts": (), "mode": (), "to_pydatetime": (), "total_seconds": ()},
    **{"strftime": ("%Y-%m-%d %H:%M:%S %f",), "astype": (str,), "asfreq": ("D",)},
    **{"to_period": ("D",), "tz_convert": ("US/Eastern",), "tz_localize": ("Europe/Berlin",)},
    **{"round": ("h",), "as_unit": ("ns",), "day_name": (), "__add__": (pd.Timedelta(1),)},
}
CLUMSY = (Exception,)  # time zones raise errors of their own


def exercise(obj: Any) -> None:
    """Ask for all that *obj* may know; what pandas refuses, it refuses."""
    for field in FIELDS:
        with contextlib.suppress(*CLUMSY):
            getattr(obj, field)
    for call, args in CALLS.items():
        with contextlib.suppress(*CLUMSY):
            getattr(obj, call)(*args)
    with contextlib.suppress(*CLUMSY):
        repr(obj)


def exercise_all(array: Any) -> None:
    index = r.index(array, None, None)
    exercise(index)
    exercise(r.series(array, pd.RangeIndex(len(array)), None, ()))
    for one in range(len(index)):
        with contextlib.suppress(*CLUMSY):
            exercise(index[one])
    with contextlib.suppress(*CLUMSY):
        index.get_indexer(index)


numbers = np.array(ENDS, "i8")
for unit in ("s", "ms", "us", "ns"):
    for tz in ZONES:
        exercise_all(r.datetime_array(numbers, unit, tz, None))
        for number in ENDS:
            with contextlib.suppress(UnsafeError):
                exercise(r.timestamp(number, unit, tz))
    exercise_all(r.timedelta_array(numbers, unit, None))
for freq in FREQUENCIES:
    exercise_all(r.period_array(numbers, freq))
    for number in ENDS:
        with contextlib.suppress(UnsafeError):
            exercise(r.period(number, freq))
print("alive")
