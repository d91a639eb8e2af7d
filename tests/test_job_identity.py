"""Which job a call is: an encoding of arguments that any process repeats, and names."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import math
import os
import pathlib
import pickle
import re
import subprocess
import sys
import types
import uuid
import zoneinfo
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoint._format import check_name
from checkpoint._jobs.identity import (
    bound,
    canonical,
    digest_of,
    job_id,
    job_name,
    shown,
    told,
)
from checkpoint.errors import InvalidNameError

# --- values -----------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


@attrs.frozen
class Config:
    lr: float
    note: str = attrs.field(default="", eq=False)


@dataclasses.dataclass
class Settings:
    lr: float
    note: str = dataclasses.field(default="", compare=False)


class Titled(str):
    pass


class Marked(list[int]):
    __slots__ = ("mark",)
    mark: Any


class Attributed(dict[str, int]):
    pass


class Trainer:
    def __init__(self, size: int) -> None:
        self.size = size

    def run(self) -> None: ...


@attrs.frozen
class Model:
    size: int

    def run(self) -> None: ...

    @classmethod
    def make(cls) -> None: ...


def clean(item: object) -> object:
    return item


@functools.lru_cache
def cached(item: int) -> int:
    return item


numbers = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.decimals(), st.fractions()
)
leaves = st.one_of(
    st.none(),
    numbers,
    st.text(st.characters(codec=None)),
    st.binary(),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([*Colour, *Level, Rights.READ | Rights.WRITE, ..., int, len, clean]),
)
keys = st.one_of(st.text(), st.integers(), st.booleans(), st.binary(), st.none())
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(keys, inner),
        st.builds(types.SimpleNamespace, a=inner, b=inner),
        st.builds(Config, inner, st.text()),
        st.sets(keys),
        st.frozensets(keys),
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are of one type and content, as another way of looking says it."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, decimal.Decimal):
        return str(one) == str(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return sorted(map(typed, one)) == sorted(map(typed, other)) and all(
            same(one[key], other[key]) for key in one
        )
    if isinstance(one, (set, frozenset)):
        return sorted(map(typed, one)) == sorted(map(typed, other))
    if isinstance(one, types.SimpleNamespace):
        return same(vars(one), vars(other))
    if isinstance(one, Config):
        return same(one.lr, other.lr)
    return bool(one == other)


def typed(key: object) -> str:
    return f"{type(key)}{key!r}"


@given(values)
def test_a_copy_has_the_same_encoding(value: Any) -> None:
    assert canonical(copy.deepcopy(value), "v") == canonical(value, "v")
    assert canonical(pickle.loads(pickle.dumps(value)), "v") == canonical(value, "v")


@given(values, values)
def test_two_values_have_one_encoding_exactly_if_they_are_the_same(one: Any, other: Any) -> None:
    assert (canonical(one, "v") == canonical(other, "v")) is same(one, other)


@given(st.dictionaries(keys, leaves, min_size=2), st.randoms())
def test_the_order_of_a_dict_does_not_count(value: dict[Any, Any], random: Any) -> None:
    entries = list(value.items())
    random.shuffle(entries)
    assert canonical(dict(entries), "v") == canonical(value, "v")


@given(st.sets(keys, min_size=2), st.randoms())
def test_the_order_of_a_set_does_not_count(value: set[Any], random: Any) -> None:
    members = list(value)
    random.shuffle(members)
    assert canonical(set(members), "v") == canonical(value, "v")
    assert canonical(frozenset(members), "v") == canonical(frozenset(value), "v")


UTC = dt.UTC
MIDNIGHT = dt.datetime(2026, 1, 1)
APART: list[list[Any]] = [
    [1, True, 1.0, "1", b"1", bytearray(b"1"), 1 + 0j, decimal.Decimal(1), fractions.Fraction(1)],
    [np.int64(1), np.int32(1), np.float64(1), np.bool_(True), np.array(1), 1, Level.LOW],
    [0.0, -0.0, math.nan, math.inf, -math.inf, 0, None, False],
    ["", b"", (), [], {}, set(), frozenset(), None, ...],
    [[1, 2], [12], [[1], 2], [[1, 2]], (1, 2), {1, 2}, [2, 1], Point(1, 2), range(1, 3)],
    [{"a": 1}, {"a": True}, [("a", 1)], types.SimpleNamespace(a=1), Attributed(a=1)],
    ["ab", "a\x00b", "\udc80", "\ud83d\ude00", "\U0001f600", Titled("ab")],
    [Colour.RED, Colour.BLUE, 1, "RED", Rights.READ, Rights.READ | Rights.WRITE, Rights(0)],
    [Config(0.1), Config(0.2), Settings(0.1), {"lr": 0.1}],
    [int, "int", "builtins:int", bool, Config, clean, len, str.upper, str.lower],
    [range(3), range(1, 3), range(0, 3, 2), slice(3), slice(0, 3), slice(3, None)],
    [Path("a"), "a", Path("b"), pathlib.PureWindowsPath("a")],
    [MIDNIGHT, MIDNIGHT.date(), MIDNIGHT.time(), MIDNIGHT.replace(tzinfo=UTC), "2026-01-01"],
    [MIDNIGHT.replace(fold=1), MIDNIGHT, MIDNIGHT.replace(tzinfo=zoneinfo.ZoneInfo("UTC"))],
    [dt.timedelta(1), dt.timedelta(0, 1), dt.timedelta(0, 0, 1), UTC, zoneinfo.ZoneInfo("UTC")],
    [functools.partial(clean, 1), functools.partial(clean, item=1), clean],
    [Model(1).run, Model(2).run, Model.make, Model(1)],
    [[].append, [1].append, dict.fromkeys, dt.datetime.now],
    [collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1), {"a": 1, "b": 2}],
    [np.zeros(2), np.zeros((2, 1)), np.zeros(2, "f4"), np.zeros(2, "i8"), np.ones(2), [0.0, 0.0]],
    [np.dtype("f8"), np.dtype("f4"), "f8", np.float64, np.dtype([("a", "f8")])],
    [np.array(["a"]), np.array([b"a"]), np.array(["a", ""]), np.datetime64("2026-01-01")],
]


def case_name(value: object) -> str:
    """The name of a case, the same in each process."""
    return re.sub("0x[0-9a-f]+", "0x…", repr(value))


@pytest.mark.parametrize("row", APART, ids=lambda row: case_name(row[0]))
def test_what_differs_has_different_encodings(row: list[Any]) -> None:
    encodings = [canonical(value, "v") for value in row]
    assert len(set(encodings)) == len(row)


def test_an_attribute_of_a_subclass_counts() -> None:
    one, other = Marked([1]), Marked([1])
    assert canonical(one, "v") == canonical(other, "v")
    one.mark, other.mark = "a", "b"
    assert canonical(one, "v") != canonical(other, "v")
    first, second = Attributed(a=1), Attributed(a=1)
    first.note = 1  # type: ignore[attr-defined]
    assert canonical(first, "v") != canonical(second, "v")


ALIKE: list[tuple[Any, Any]] = [
    (range(0, 3, 2), range(0, 4, 2)),
    (range(0), range(5, 1)),
    (Config(0.1, "a"), Config(0.1, "b")),
    (Settings(0.1, "a"), Settings(0.1, "b")),
    (Path("a/b"), pathlib.PurePath("a//b")),
    (float("nan"), -float("nan")),
    (UTC, dt.timezone(dt.timedelta(0), "Greenwich")),
    (np.array([1, 2]), np.array([1, 9, 2])[::2]),
    (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
    (np.float64(1.5), np.array([1.5])[0]),
    ([1, 2][:0], []),
]


@pytest.mark.parametrize(("one", "other"), ALIKE, ids=case_name)
def test_what_is_alike_has_one_encoding(one: Any, other: Any) -> None:
    assert canonical(one, "v") == canonical(other, "v")


def test_what_lies_between_the_fields_of_a_record_is_not_content() -> None:
    padded = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    one, other = np.zeros(2, padded), np.zeros(2, padded)
    one.view(np.uint8)[1] = 7
    assert one.tobytes() != other.tobytes()
    assert canonical(one, "v") == canonical(other, "v")
    other["b"][1] = 1
    assert canonical(one, "v") != canonical(other, "v")


def test_a_mapped_array_is_as_good_as_one_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(5))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert canonical(mapped, "v") == canonical(np.arange(5), "v")


def test_tensors_count_by_content_and_dtype() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    one = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    alike = [one.clone(), one.clone().requires_grad_(), one.t().contiguous().t()]
    assert {canonical(tensor, "v") for tensor in alike} == {canonical(one, "v")}
    apart = [one, one.reshape(3, 2), one.double(), one + 1, one.bfloat16(), one.bool(), one.numpy()]
    apart += [torch.tensor(1.0), torch.tensor(1j).conj(), torch.zeros(0), torch.float32]
    assert len({canonical(value, "v") for value in apart}) == len(apart)
    with pytest.raises(TypeError, match="torch does not give its bytes"):
        canonical(one.to_sparse(), "v")


# --- the same everywhere ----------------------------------------------------

# What these values were first given: jobs are found by them, so they never change.
GOLDEN: list[tuple[str, str]] = [
    ("None", "0c5f595301466373"),
    ("[1, True, 1.0, '1', b'1', bytearray(b'1'), 1j, ...]", "ba5013e047947188"),
    ("[10**5000, -1, 0.0, -0.0, float('nan'), float('-inf')]", "e7073c65ea4199b1"),
    ("'\\udc80\\U0001f600'", "ee363e946e6c3820"),
    ("{'b': {3, 1, 2}, 'a': frozenset('xyz'), 1: (None,), None: []}", "3fb0a3995f3d6e65"),
    ("[range(0, 4, 2), slice(1, None)]", "6ef722d04541919d"),
    (
        "[int, len, math.sin, str.upper, re.compile, functools.partial(int, base=2)]",
        "4f5693d6f843090a",
    ),
    ("[re.RegexFlag.IGNORECASE, re.I | re.M, enum.unique]", "ad80f2efc5f087e9"),
    ("[pathlib.Path('a/b'), pathlib.PurePosixPath('c')]", "2363a606ca5aa8c6"),
    (
        "[datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC)]",
        "4ff105f3f6cb72a7",
    ),
    (
        "[datetime.time(1, fold=1), datetime.timedelta(-1, 2, 3), zoneinfo.ZoneInfo('UTC')]",
        "433c79105b662180",
    ),
    ("[decimal.Decimal('1.10'), fractions.Fraction(1, 3), uuid.UUID(int=1)]", "247d6f0adcf43af3"),
    ("[types.SimpleNamespace(b=1, a=2), collections.OrderedDict(b=1, a=2)]", "70907919c485ae87"),
    (
        "[np.float32(1.5), np.bool_(1), np.dtype('>i2'), np.dtype([('a', 'U3'), ('b', 'M8[s]')])]",
        "f37088c311b3cea2",
    ),
    (
        "[np.arange(6).reshape(2, 3).T, np.zeros((0, 3)), np.array('x'), np.ones(2, bool)]",
        "bd7e21d3d3937701",
    ),
]
NAMES: dict[str, Any] = {
    "collections": collections, "datetime": dt, "decimal": decimal, "enum": enum,
    "fractions": fractions, "functools": functools, "math": math, "np": np, "pathlib": pathlib,
    "re": re, "types": types, "uuid": uuid, "zoneinfo": zoneinfo,
}  # fmt: skip


@pytest.mark.parametrize(("source", "digest"), GOLDEN)
def test_a_digest_never_changes(source: str, digest: str) -> None:
    assert digest_of(eval(source, NAMES)) == digest


SET = "{'a', 'b', ('c', 1), frozenset('xyz'), None, 1.5}"


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_another_process_gives_the_same_digest(seed: str) -> None:
    program = f"from checkpoint._jobs.identity import digest_of; print(digest_of({SET}))"
    assert output("-c", program, PYTHONHASHSEED=seed) == digest_of(eval(SET))


def output(*command: str, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- what is refused --------------------------------------------------------


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = [value]
    return value


def local() -> Any:
    def inner() -> None: ...

    class Inner:
        pass

    return types.SimpleNamespace(inner=inner, cls=Inner)


REFUSED: list[tuple[Any, str]] = [
    ({"lr": lambda: 1}, r"config\['lr'\] \(builtins:function\)"),
    ([1, [2, (x for x in "ab")]], r"config\[1\]\[1\] \(builtins:generator\)"),
    (local(), r"config\.cls"),
    (local().inner, r"config .*would not find local\.<locals>\.inner"),
    (Config(object()), r"config\.lr \(builtins:object\).*not known"),  # type: ignore[arg-type]
    ({1: {object()}}, r"config\[1\] \(its member <object "),
    ({(object(),): 1}, r"config \(the key \(<object .*\[0\] "),
    (functools.partial(clean, object()), r"config\.args\[0\]"),
    (Trainer(1).run, r"config\.__self__ \(.*:Trainer\)"),
    (cycle(), r"config\['a'\]\[0\] .*holds itself"),
    (nested(300), r"config\[0\]\[0\].*more than 200 deep"),
    (np.array([object()]), r"config \(numpy:ndarray\).*objects"),
    (np.zeros(1, [("a", "O")]), r"config .*objects"),
    (np.ma.array([1]), r"config .*not known"),
    (np.random.default_rng(1), r"config .*Generator"),
    (list[int], r"config "),
    (sys, r"config "),
    (memoryview(b"a"), r"config "),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=lambda value: str(type(value)))
def test_a_value_that_cannot_be_identified_is_named(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        canonical(value, "config")
    assert 'leave it out with ignore=("config",) or tell the job by key=' in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_function_that_is_hidden_by_another_of_its_name_is_refused() -> None:
    hidden = types.FunctionType(clean.__code__, globals(), "clean")
    with pytest.raises(TypeError, match=r"would not find it as .*:clean"):
        canonical(hidden, "f")
    assert canonical(cached, "f") != canonical(clean, "f")


def test_200_deep_is_still_identified() -> None:
    assert canonical(nested(199), "v")


def test_a_value_nested_beyond_the_stack_is_refused() -> None:
    def deep(frames: int) -> bytes:
        return deep(frames - 1) if frames else canonical(nested(150), "v")

    with pytest.raises(TypeError, match="nested too deeply"):
        deep(sys.getrecursionlimit() - 300)


def test_an_argument_of_a_call_is_named_by_its_parameter() -> None:
    with pytest.raises(TypeError, match=r'config\[\'lr\'\] .*ignore=\("config",\)'):
        job_id("train", {"config": {"lr": object()}})
    with pytest.raises(TypeError, match=r"key .*give a key of plain values"):
        job_id("train", object())


def test_what_is_told_is_the_digest_or_the_type() -> None:
    for value in (1, "a", 1.5, b"a", [1, {"a": None}], Config(1.0)):
        assert told(value) == digest_of(value)
    assert told(object()) == "type builtins:object"
    assert told(Trainer(1)) == f"type {__name__}:Trainer"
    assert told(nested(5000)) == "type builtins:list"

    class Broken(list[int]):
        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise OSError

    assert told(Broken()).endswith("Broken")


# --- arguments --------------------------------------------------------------


def train(n: int, /, lr: float = 0.1, *items: Any, seed: int = 0, job: Any, **options: Any) -> None:
    """A function with one parameter of each kind."""


def arguments(*args: Any, **kwargs: Any) -> dict[str, object]:
    return bound(train, args, kwargs, without=("job",))


def test_arguments_go_by_their_parameter() -> None:
    assert arguments(3, 0.2) == arguments(3, lr=0.2) == {"n": 3, "lr": 0.2}
    assert arguments(3, 0.2, 4, 5, seed=1, depth=2) == {
        "n": 3, "lr": 0.2, "items": (4, 5), "seed": 1, "options": {"depth": 2},
    }  # fmt: skip


def test_an_argument_that_equals_its_default_is_left_out() -> None:
    assert arguments(3, 0.1, seed=0) == arguments(3) == {"n": 3}
    assert arguments(3, seed=False) == {"n": 3, "seed": False}  # False is not 0

    marker = object()

    def f(a: Any = marker, b: Any = ()) -> None: ...

    assert bound(f, (marker, ()), {}, without=()) == {}
    other = object()
    assert bound(f, (other,), {}, without=()) == {"a": other}


def test_a_parameter_that_is_left_out_need_not_be_given() -> None:
    assert bound(train, (1,), {"job": 1, "verbose": 2}, without=("job", "verbose")) == {"n": 1}
    assert bound(train, (), {}, without=("n", "job")) == {}


def two(a: int, b: int, *, c: int) -> None:
    """A function that needs three arguments."""


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((1, 2), {}), ((1,), {"c": 1}), ((), {"c": 1})],
)
def test_a_missing_argument_reads_as_with_python(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError) as python:
        two(*args, **kwargs)
    with pytest.raises(TypeError) as ours:
        bound(two, args, kwargs, without=())
    assert str(ours.value) == str(python.value)


def test_an_argument_too_many_is_refused() -> None:
    with pytest.raises(TypeError, match=r"two\(\) too many positional arguments"):
        bound(two, (1, 2, 3), {}, without=())
    with pytest.raises(TypeError, match=r"two\(\) got an unexpected keyword argument 'x'"):
        bound(two, (1, 2), {"x": 1}, without=())
    with pytest.raises(TypeError, match=r"two\(\) multiple values for argument 'a'"):
        bound(two, (1,), {"a": 1}, without=())


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Loud:
    def __repr__(self) -> str:
        return "\x1b[31mloud\nlines"


def test_arguments_are_shown_in_one_short_line() -> None:
    assert shown({"n": 100, "lr": 0.1}) == "n=100, lr=0.1"
    assert shown({}) == ""
    line = shown({f"a{i}": list(range(10**5)) for i in range(50)} | {"b": "x" * 10**6})
    assert len(line) <= 200 and line.endswith("…")
    assert len(shown({"b": "x" * 100})) <= 42
    assert shown({"loud": Loud()}) == "loud=?[31mloud?lines"
    assert shown({"rude": Rude()}).startswith("rude=<Rude")
    assert shown({"n": 10**5000})


# --- names ------------------------------------------------------------------


def test_a_job_is_called_after_its_module_and_its_name() -> None:
    assert job_name(os.path.join) == "posixpath.join" or os.name == "nt"
    assert job_name(Trainer.run) == f"{__name__}.Trainer.run"
    assert job_name(len) == "builtins.len"


@pytest.mark.parametrize("nameless", [lambda: 1, local().inner, functools.partial(clean, 1)])
def test_what_cannot_be_found_again_needs_a_name(nameless: Any) -> None:
    with pytest.raises(ValueError, match="give name="):
        job_name(nameless)


def named(module: str, qualname: str) -> str:
    function = types.FunctionType(clean.__code__, {})
    function.__module__, function.__qualname__ = module, qualname
    return job_name(function)


def test_a_name_that_a_repository_cannot_hold_is_mapped() -> None:
    assert named("pkg._mod", "_run") == "pkg._mod._run"
    assert re.fullmatch(r"mod\.run-[0-9a-f]{8}", named("_mod", "run"))
    assert re.fullmatch(r"mod\.run-[0-9a-f]{8}", named("mod", "run_"))
    assert re.fullmatch(r"job-con\.run-[0-9a-f]{8}", named("con", "run"))
    odd = [("_mod", "run"), ("mod", "run_"), ("mod", "__run__"), ("größe", "run"), ("con", "run")]
    odd += [("m" * 300, "run"), ("m" * 300, "ran"), ("größ", "run"), ("ß", "ß"), ("my script", "a")]
    names = [check_name(named(*name)) for name in odd]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 140


PROGRAM = """
import multiprocessing, sys
from checkpoint._jobs.identity import canonical, digest_of, job_name
def train(): ...
class Config: ...
def both(): return job_name(train), digest_of([train, Config])
if __name__ == "__main__":
    print(*both())
    if "pool" not in sys.argv: sys.exit()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(*pool.apply(both))
"""


def test_a_script_gives_its_name_to_its_functions(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    for place in (tmp_path / "run.py", package / "mod.py", package / "__main__.py"):
        place.write_text(PROGRAM)
    (package / "__init__.py").touch()
    for command, name in [
        (["run.py"], "run.train"),
        (["-m", "pkg.mod"], "pkg.mod.train"),
        (["-m", "pkg"], "pkg.__main__.train"),
        (["pkg"], "pkg.train"),
    ]:
        assert output(*command, cwd=tmp_path).split()[0] == name
    imported = output("-c", "import pkg.mod; print(*pkg.mod.both())", cwd=tmp_path)
    assert imported == output("-m", "pkg.mod", cwd=tmp_path)
    for command in (["run.py"], ["-m", "pkg.mod"]):
        own, child = output(*command, "pool", cwd=tmp_path).splitlines()
        assert own == child


def test_a_function_without_a_file_needs_a_name() -> None:
    program = "from checkpoint._jobs.identity import job_name\ndef f(): ...\njob_name(f)"
    with pytest.raises(AssertionError, match=r"f is of no file .*give name="):
        output("-c", program)


def test_a_plain_key_is_part_of_the_name() -> None:
    for key in ("2026-01-01", "a", "day_1.x", "0123"):
        assert job_id("etl", key) == f"etl/{key}"


@pytest.mark.parametrize(
    "key",
    ["", "A", "a/b", "../a", "-a", "a-", "é", "con", "nul.txt", "a" * 61, "0123456789abcdef",
     "a\n", 3, None, ("a",), {"n": 3}, Titled("a")],
)  # fmt: skip
def test_any_other_key_is_given_by_its_digest(key: object) -> None:
    assert job_id("etl", key) == f"etl/{digest_of(key)}"


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidNameError):
        job_id("_etl", "a")
