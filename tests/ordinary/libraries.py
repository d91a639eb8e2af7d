"""Ordinary values of NumPy, pandas, SciPy and torch, each made where its library is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ordinary import records as r
from ordinary import shapes as s

Factory = Callable[[], Any]
PARIS = "Europe/Paris"

CODES = ["?", "b", "B", "h", "H", "i", "I", "l", "L", "e", "f", "d", "g", "F", "D", "G"]
UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]
RECORD = np.dtype([("id", "i4"), ("name", "U7"), ("at", "M8[s]")])
NESTED = np.dtype([("p", [("x", "f4"), ("y", "f8")]), ("m", "f4", (2, 3)), ("s", "S3")])
ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)
TITLED = np.dtype([(("a title", "a"), "i4"), ("b", "f4")])
SPACED = np.dtype(
    {"names": ["a", "b"], "formats": ["i2", "f4"], "offsets": [4, 16], "itemsize": 32}
)


def _read_only() -> Any:
    made = np.arange(5)
    made.flags.writeable = False
    return made


def _two_views() -> Any:
    made = np.arange(10)
    return [made, made, made[2:5]]


def _objects(*values: Any) -> Any:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def _objects_in_itself() -> Any:
    made = np.empty(2, dtype=object)
    made[0] = [made]
    return made


def _drawn(kind: Any, *seed: Any) -> Any:
    made = np.random.Generator(kind(*seed))
    made.integers(0, 9, 3, dtype=np.int32)
    return made


def _legacy() -> Any:
    made = np.random.RandomState(3)
    made.standard_normal()
    return made


def _one_source() -> Any:
    source = np.random.PCG64(5)
    return [np.random.Generator(source), np.random.Generator(source), source]


def _frame(pd: Any, **columns: Any) -> Any:
    return pd.DataFrame(columns)


def _days(pd: Any) -> Any:
    return pd.date_range("2024-01-01", periods=3, freq="D")


def _levels(pd: Any) -> Any:
    return pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["letter", None])


def _with_attrs(frame: Any) -> Any:
    frame.attrs["source"] = ["here"]
    return frame


def _sparse(kind: str) -> Callable[[Any], Any]:
    return lambda sp: getattr(sp, kind)(DENSE)


def _counted(torch: Any, *shape: int) -> Any:
    return torch.arange(float(np.prod(shape))).reshape(shape)


def _tied(torch: Any) -> Any:
    weight = torch.nn.Parameter(_counted(torch, 2, 3))
    return {"encoder.weight": weight, "decoder.weight": weight}


def _one_storage(torch: Any) -> Any:
    base = _counted(torch, 4, 4)
    return [base, base[1], base.T, base[::2, 1:3]]


def _stepped(torch: Any) -> Any:
    weight = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.Adam([weight])
    weight.grad = torch.ones(2)
    adam.step()
    return adam


NUMPY: dict[str, Factory] = {
    "arrays of each number": lambda: [np.array([0, 1, 1], code) for code in CODES],
    "arrays, big-endian": lambda: [
        np.array([0, 1, 1], code).astype(f">{code}") for code in "hilefdFD"
    ],
    "array of float64, small": lambda: np.linspace(0, 1, 5),
    "array of float64, 1,000,000": lambda: np.arange(1_000_000.0),
    "array of int64, 20,000": lambda: np.arange(20_000),
    "array of uint8, 3,000,000": lambda: np.zeros(3_000_000, np.uint8),
    "array of nan and inf": lambda: np.array([np.nan, np.inf, -np.inf, -0.0]),
    "array, 0-d": lambda: np.array(2.5),
    "array, empty": lambda: np.array([]),
    "array of shape (3, 0, 2)": lambda: np.zeros((3, 0, 2), np.float32),
    "array of eight dimensions": lambda: np.arange(256).reshape((2,) * 8),
    "array in Fortran order": lambda: np.asfortranarray(np.arange(12).reshape(3, 4)),
    "array in Fortran order, 500,000": lambda: np.asfortranarray(np.ones((1000, 500))),
    "array with strides": lambda: np.arange(100).reshape(10, 10)[::2, 1::3],
    "array reversed": lambda: np.arange(10)[::-1],
    "array transposed": lambda: np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "array broadcast": lambda: np.broadcast_to(np.arange(3), (4, 3)),
    "array that is read-only": _read_only,
    "array that is read-only, 300,000": lambda: np.frombuffer(bytes(300_000), np.uint8),
    "arrays that are one, and a view": _two_views,
    "array of str": lambda: np.array(["a", "longer", "ä中"]),
    "array of str, big-endian": lambda: np.array(["a", "b"], ">U3"),
    "array of empty str": lambda: np.array(["", ""]),
    "array of bytes": lambda: np.array([b"a", b"longer"]),
    "array of void": lambda: np.array([b"ab", b"cd"], "V2"),
    "array of StringDType": lambda: np.array(
        ["a", "much longer text" * 9], np.dtypes.StringDType()
    ),
    "array of StringDType with na": lambda: np.array(
        ["a", None], np.dtypes.StringDType(na_object=None)
    ),
    "arrays of datetime64": lambda: [np.array(["2024", "NaT"], f"M8[{u}]") for u in UNITS],
    "arrays of timedelta64": lambda: [np.array([1, -1], f"m8[{u}]") for u in UNITS],
    "array of datetime64[25s]": lambda: np.array([1, 2], "M8[25s]"),
    "array, structured": lambda: np.array([(1, "a", "2024-01-01")], RECORD),
    "array, structured, nested": lambda: np.ones(3, NESTED),
    "array, structured, aligned": lambda: np.ones(3, ALIGNED),
    "array, structured, with titles": lambda: np.ones(2, TITLED),
    "array, structured, with gaps": lambda: np.ones(2, SPACED),
    "array, structured, some fields of it": lambda: np.ones(2, RECORD)[["id", "at"]],
    "array, structured, 50,000": lambda: np.ones(50_000, NESTED),
    "array of objects": lambda: _objects(1, "a", None, [2], {"k": (3,)}),
    "array of objects of the program": lambda: _objects(s.Plain(a=1), r.Data(2)),
    "array of objects, 2-d": lambda: np.array([[1, "a"], [None, 2.5]], dtype=object),
    "array of objects, shared": lambda: _objects(*[[1]] * 3),
    "array of objects in itself": _objects_in_itself,
    "scalars of each number": lambda: [np.dtype(code).type(1) for code in CODES],
    "scalars of nan": lambda: [np.float64("nan"), np.float32("nan")],
    "scalars of str and bytes": lambda: [np.str_("ä"), np.bytes_(b"a\x00b")],
    "scalars of datetime64 and timedelta64": lambda: [
        np.datetime64("2024-01-01T00:00:01"),
        np.timedelta64(5, "ms"),
        np.datetime64("NaT", "s"),
    ],
    "scalar, structured": lambda: np.array([(1, "a", "2024-01-01")], RECORD)[0],
    "scalars as keys": lambda: {np.int64(5): 1, np.float32(2.5): 2, np.str_("a"): 3},
    "dtypes of each number": lambda: [np.dtype(code) for code in CODES],
    "dtypes, structured": lambda: [RECORD, NESTED, ALIGNED, TITLED, SPACED],
    "dtypes of time and text": lambda: [np.dtype("M8[25s]"), np.dtype("S5"), np.dtype("U7")],
    "dtype of objects": lambda: np.dtype(object),
    "dtype with metadata": lambda: np.dtype("f4", metadata={"unit": "m"}),
    "classes of scalars": lambda: [np.float32, np.int64, np.bool_, np.ndarray],
    "masked array": lambda: np.ma.masked_array(
        [1.0, 2.0, 3.0], mask=np.array([0, 1, 0], bool), fill_value=-1
    ),
    "masked array without a mask": lambda: np.ma.masked_array(np.arange(6).reshape(2, 3)),
    "masked array, structured": lambda: np.ma.masked_array(
        np.ones(2, ALIGNED), mask=[(False, True), (True, False)]
    ),
    "np.ma.masked": lambda: np.ma.masked,
    "recarray": lambda: np.rec.array([(1, "a"), (2, "b")], dtype=[("n", "i4"), ("t", "U2")]),
    "record": lambda: np.rec.array([(1, 2.5)], dtype=[("n", "i4"), ("f", "f8")])[0],
    "matrix": lambda: np.matrix([[1, 2], [3, 4]]),
    "Generator of PCG64": lambda: _drawn(np.random.PCG64, 5),
    "Generator of PCG64DXSM": lambda: _drawn(np.random.PCG64DXSM, 5),
    "Generator of MT19937": lambda: _drawn(np.random.MT19937, 5),
    "Generator of Philox": lambda: _drawn(np.random.Philox, 5),
    "Generator of SFC64": lambda: _drawn(np.random.SFC64, 5),
    "Generators with one source": _one_source,
    "bit generator": lambda: np.random.PCG64(3),
    "RandomState": _legacy,
    "SeedSequence": lambda: np.random.SeedSequence(5, spawn_key=(1, 2)),
    "SeedSequence of many words": lambda: np.random.SeedSequence([1, 2**70, 3]),
}


# Each takes its library, which may not be there.
PANDAS: dict[str, Callable[[Any], Any]] = {
    "DataFrame": lambda pd: _frame(pd, a=[1, 2, 3], b=[1.5, None, 2.0], c=["x", "y", None]),
    "DataFrame, empty": lambda pd: pd.DataFrame(),
    "DataFrame without rows": lambda pd: _frame(pd, a=[], b=[]),
    "DataFrame without columns": lambda pd: pd.DataFrame(index=[1, 2]),
    "DataFrame of one dtype, 100,000": lambda pd: pd.DataFrame(np.ones((10_000, 10))),
    "DataFrame of every dtype": lambda pd: _frame(
        pd,
        i=np.array([1, 2], "i1"),
        f=np.array([1, 2], "f4"),
        b=[True, False],
        t=pd.to_datetime(["2024-01-01", None]),
        z=pd.to_datetime(["2024-01-01", None]).tz_localize(PARIS),
        d=pd.to_timedelta([1, None], unit="s"),
        c=pd.Categorical(["x", "y"]),
        n=pd.array([1, None], "Int64"),
        s=pd.array(["a", None], "string"),
        o=[[1], {"k": 2}],
    ),
    "DataFrame with an index of times": lambda pd: pd.DataFrame({"a": [1, 2, 3]}, index=_days(pd)),
    "DataFrame with a MultiIndex": lambda pd: pd.DataFrame({"a": [1, 2, 3]}, index=_levels(pd)),
    "DataFrame with levels of columns": lambda pd: pd.DataFrame(np.eye(3), columns=_levels(pd)),
    "DataFrame with columns of one name": lambda pd: pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "DataFrame with columns of numbers": lambda pd: pd.DataFrame([[1, 2]], columns=[7, 3.5]),
    "DataFrame with attrs": lambda pd: _with_attrs(_frame(pd, a=[1])),
    "DataFrame of a slice": lambda pd: _frame(pd, a=range(10), b=range(10))[2:8:2],
    "DataFrame with objects of the program": lambda pd: _frame(pd, a=[s.Plain(a=1), r.Data(2)]),
    "Series": lambda pd: pd.Series([1, 2, 3], name="n"),
    "Series with an index": lambda pd: pd.Series([1.5, 2.5], index=["a", "b"]),
    "Series of objects": lambda pd: pd.Series([1, "a", None, [2]], dtype=object),
    "Series of text": lambda pd: pd.Series(["a", "b", None]),
    "Series with a name of a tuple": lambda pd: pd.Series([1], name=("a", 1)),
    "Series of a column": lambda pd: _frame(pd, a=[1, 2], b=[3, 4])["b"],
    "Index of numbers": lambda pd: pd.Index([3, 1, 2], name="i"),
    "Index of text": lambda pd: pd.Index(["b", "a"]),
    "Index of objects": lambda pd: pd.Index([1, "a", None], dtype=object),
    "RangeIndex": lambda pd: pd.RangeIndex(5, 50, 5, name="r"),
    "DatetimeIndex": _days,
    "DatetimeIndex in a zone": lambda pd: _days(pd).tz_localize("UTC"),
    "TimedeltaIndex": lambda pd: pd.timedelta_range("1h", periods=3),
    "PeriodIndex": lambda pd: pd.period_range("2024-01", periods=3, freq="M"),
    "IntervalIndex": lambda pd: pd.interval_range(0, 3),
    "CategoricalIndex": lambda pd: pd.CategoricalIndex(["a", "b", "a"], name="c"),
    "MultiIndex": _levels,
    "Categorical": lambda pd: pd.Categorical(["a", None, "b"], categories=["b", "a", "z"]),
    "Categorical, ordered": lambda pd: pd.Categorical([2, 1], categories=[1, 2], ordered=True),
    "Timestamp": lambda pd: pd.Timestamp("2024-01-01 12:00:00.123456789"),
    "Timestamp in a zone": lambda pd: pd.Timestamp("2024-01-01", tz=PARIS),
    "Timedelta": lambda pd: pd.Timedelta("1 days 2 hours"),
    "Period": lambda pd: pd.Period("2024-03", freq="M"),
    "Interval": lambda pd: pd.Interval(0, 1.5, closed="left"),
    "Interval of times": lambda pd: pd.Interval(pd.Timestamp("2024"), pd.Timestamp("2025")),
    "NaT and NA": lambda pd: [pd.NaT, pd.NA],
    "arrays of nullable numbers": lambda pd: [
        pd.array([1, None], "Int8"),
        pd.array([1.5, None], "Float64"),
        pd.array([True, None], "boolean"),
    ],
    "array of text": lambda pd: pd.array(["a", None], "string"),
    "arrays of times": lambda pd: [_days(pd).array, pd.to_timedelta([1], unit="s").array],
    "arrays of periods and intervals": lambda pd: [
        pd.period_range("2024", periods=2, freq="D").array,
        pd.interval_range(0, 2).array,
    ],
    "array, sparse": lambda pd: pd.arrays.SparseArray([0, 0, 1, 0]),
    "dtypes": lambda pd: [
        pd.CategoricalDtype(["a", "b"], ordered=True),
        pd.DatetimeTZDtype(tz="UTC"),
        pd.Int64Dtype(),
        pd.StringDtype("python"),
        pd.PeriodDtype("M"),
        pd.IntervalDtype("int64", "right"),
        pd.SparseDtype("float64"),
    ],
    "offsets": lambda pd: [pd.offsets.Day(2), pd.offsets.MonthEnd(), pd.offsets.Hour(3)],
}


DENSE = np.array([[0, 1.5, 0, 0], [0, 0, 0, 0], [2, 0, 0, 3], [0, 0, 4, 0]])
KINDS = ("csr", "csc", "coo", "bsr", "dia", "dok", "lil")
FORMATS = [f"{kind}_{end}" for kind in KINDS for end in ("matrix", "array")]


SCIPY: dict[str, Callable[[Any], Any]] = {
    **{kind: _sparse(kind) for kind in FORMATS},
    "csr_array of int8, unsorted": lambda sp: sp.csr_array(
        (np.array([1, 2], "i1"), np.array([2, 0]), np.array([0, 2])), shape=(1, 3)
    ),
    "csr_array, empty": lambda sp: sp.csr_array((3, 4)),
    "csr_array of 100,000": lambda sp: sp.eye_array(100_000, format="csr"),
    "coo_array of complex": lambda sp: sp.coo_array(DENSE * 1j),
}


DTYPES = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
DTYPES += ["bool", "uint8", "int8", "int16", "int32", "int64"]


TORCH: dict[str, Callable[[Any], Any]] = {
    "tensors of each dtype": lambda torch: [
        torch.ones(3).to(getattr(torch, name)) for name in DTYPES
    ],
    "tensor, 0-d": lambda torch: torch.tensor(2.5),
    "tensor, empty": lambda torch: torch.empty(0, 3),
    "tensor of 1,000,000": lambda torch: torch.zeros(1_000_000),
    "tensor, transposed": lambda torch: _counted(torch, 3, 4).T,
    "tensor, expanded": lambda torch: torch.ones(1, 3).expand(4, 3),
    "tensor that needs a gradient": lambda torch: torch.ones(3, requires_grad=True),
    "tensors on one storage": _one_storage,
    "Parameter": lambda torch: torch.nn.Parameter(_counted(torch, 2, 2)),
    "Parameter, frozen": lambda torch: torch.nn.Parameter(_counted(torch, 2), requires_grad=False),
    "weights that are tied": _tied,
    "torch.Size": lambda torch: torch.Size([2, 3]),
    "torch.device": lambda torch: torch.device("cuda:1"),
    "torch.dtype": lambda torch: [torch.float32, torch.bfloat16, torch.int64],
    "state of a module": lambda torch: torch.nn.Linear(3, 2).state_dict(),
    "state of an optimizer": lambda torch: _stepped(torch).state_dict(),
    "state of the generator": lambda torch: torch.get_rng_state(),
}
