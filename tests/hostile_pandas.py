"""What a hostile stream has at hand: objects that stop the program when touched, and odd arrays."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import pandas as pd


def touched(*_: Any) -> NoReturn:
    raise SystemExit("a method of somebody's own was called")


METHODS = [
    "len",
    "eq",
    "hash",
    "iter",
    "bool",
    "index",
    "repr",
    "str",
    "lt",
    "array",
    "call",
    "getitem",
    "getattribute",
]
TOUCHED: dict[str, Any] = {f"__{name}__": touched for name in METHODS}
Evil: Any = type("Evil", (), TOUCHED)
Text: Any = type("Text", (str,), TOUCHED)
Many: Any = type("Many", (list,), TOUCHED)
Pair: Any = type("Pair", (tuple,), TOUCHED)
Array: Any = type("Array", (np.ndarray,), {"__getattribute__": touched})


class Frame(pd.DataFrame):  # type: ignore[misc]
    pass


e = Evil()
evils = [e, Text("x"), Many(), Pair(), np.arange(2.0).view(Array), Frame(), Evil, len]
plain: list[Any] = [None, True, 0, -1, 2, 2**70, 1.5, 1j, "x", "D", b"x", bytearray(8), [], [1]]
plain += [(), (1, 2), {}, {1: 2}, {1}, [e], (e,), range(3), "ns", "Int64", "left"]
plain += [("zoneinfo", "UTC")]

records = np.zeros(2, [("a", "i4"), ("b", "f8")])
lies = np.array([0, 9], "u1").view(bool)
hidden = np.empty(2, object)
hidden[0] = hidden[1] = e
arrays = [np.arange(2), np.arange(2.0), np.zeros((2, 2)), np.zeros(0), np.array(1), records, lies]
arrays += [np.array(["a", "b"]), np.array([b"a"]), np.zeros(2, "V8"), np.arange(2).astype(">i8")]
arrays += [np.zeros(2, f"M8{unit}") for unit in ("", "[D]", "[ns]", "[25s]")]
arrays += [np.zeros(2, "m8[25s]"), hidden, np.arange(2, dtype="u8"), np.zeros(2, "f2")]
arrays += [np.frombuffer(bytes(17), "u1")[1:].view("i8"), np.zeros((2**40, 0)), np.zeros(2, "g")]

made = [pd.Index([1, 2]), pd.RangeIndex(2), pd.RangeIndex(2**40), pd.Index(["a", "b"])]
made += [pd.array([1, 2]), pd.array(["a", "b"], dtype="string"), pd.Categorical(["a", "b"])]
made += [pd.CategoricalDtype(["a"]), pd.StringDtype("python"), pd.DatetimeIndex([0, 1]), pd.NaT]
made += [pd.MultiIndex.from_tuples([(1, 2), (3, 4)]), pd.Timestamp(0), pd.Interval(0, 1), pd.NA]
made += [pd.DatetimeTZDtype("ns", "UTC"), pd.IntervalIndex.from_breaks([0, 1, 2])]
made += [pd.Series([1]), pd.DataFrame()]
