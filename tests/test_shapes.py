"""The shapes of classes: what they declare, and what their instances were seen to have."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import pathlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import attrs
import pytest

import checkpoint
from checkpoint._model import MAX_FIELDS, MAX_TEXT, Global, Shape
from checkpoint._pickling import SAMPLED, SAMPLED_FIELDS, Hooks, pickle_into
from checkpoint._shapes import describe, told

T = TypeVar("T")


class Plain:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


class Slots:
    __slots__ = ("__dict__", "__private", "a")
    a: int


class Bare:
    __slots__ = ()


class Kind(Generic[T]):
    pass


@attrs.define
class Attrs:
    a: int = attrs.field(validator=attrs.validators.instance_of(int))
    b: list[int] = attrs.Factory(list)


class More(Attrs):
    __checkpoint_version__ = 3


class Most(More):
    pass


@dataclasses.dataclass
class Data:
    a: int
    b: int = 0
    c: ClassVar[int] = 0
    d: list[int] = dataclasses.field(default_factory=list)


class Pair(NamedTuple):
    one: int
    two: int = 0


class Color(enum.Enum):
    RED = 1
    ROT = 1
    GREEN = "g"


class Bits(enum.Flag):
    A = 1
    B = 2
    AB = 3


class Own:
    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Own, (1,), {"a": 1}


@pytest.mark.parametrize(
    ("cls", "shape"),
    [
        (Plain, Shape("plain", ("x",))),
        (Slots, Shape("slots", ("_Slots__private", "a", "x"))),
        (Kind, Shape("plain", ("x",))),
        (Attrs, Shape("attrs", ("a", "b"), defaults=("b",), validated=("a",), extra=("x",))),
        (Data, Shape("dataclass", ("a", "b", "d"), defaults=("b", "d"), extra=("x",))),
        (Pair, Shape("namedtuple", ("one", "two"), defaults=("two",), extra=("x",))),
        (Color, Shape("enum", members={"RED": "1", "ROT": "1", "GREEN": "'g'"})),
        (Bits, Shape("flag", members={"A": "1", "B": "2", "AB": "3"})),
        (Own, Shape("plain", ("x",))),
        (collections.OrderedDict, Shape("plain", ("x",))),
    ],
)
def test_a_class_has_the_shape_of_its_kind(cls: type, shape: Shape) -> None:
    assert describe(cls, ["x"]) == shape


def test_a_subclass_that_is_not_decorated_has_what_was_seen_too() -> None:
    found = describe(More, ["a", "x"], sampled=True)
    assert found is not None
    assert (found.kind, found.fields, found.sampled) == ("attrs", ("a", "b", "x"), True)


def test_the_declared_versions_are_those_of_each_class_itself() -> None:
    more, most = describe(More), describe(Most)
    assert more is not None and most is not None
    assert (more.version, dict(more.bases)) == (3, {})
    assert (most.version, dict(most.bases)) == (1, {f"{__name__}:More": 3})


@pytest.mark.parametrize("cls", [int, type, ValueError, collections.deque, type(len), re.Pattern])
def test_a_class_of_the_interpreter_has_no_shape(cls: type) -> None:
    assert describe(cls) is None


def test_a_class_without_state_has_an_empty_shape() -> None:
    assert describe(Plain) == Shape("plain")
    assert describe(Bare) == Shape("slots")
    assert describe(pathlib.PurePosixPath) in (Shape("plain"), None)


def test_fields_are_bounded_and_printable() -> None:
    names = ["a" * (MAX_TEXT + 1), "\ud800", "a\nb", *(f"f{n}" for n in range(MAX_FIELDS + 5))]
    found = describe(Plain, names)
    assert found is not None
    assert found.sampled
    assert found.fields == tuple(f"f{n}" for n in range(MAX_FIELDS - 3))


# --- the values of enums ----------------------------------------------------


class SaysNothing:
    pass


class SaysTheSame:
    def __repr__(self) -> str:
        return "same"


class Raises:
    def __repr__(self) -> str:
        raise RuntimeError


def test_values_are_told_in_the_same_words_in_every_process() -> None:
    code = "from checkpoint._shapes import told; print(told(frozenset('abcdef')))"
    here = str(Path(checkpoint.__file__).parents[1])
    for seed in "12":
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": here}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == told(frozenset("abcdef"))
    assert told(SaysNothing()) == f"<{__name__}:SaysNothing>"
    assert told(Raises()) == f"<{__name__}:Raises>"
    assert told((1, "a", None)) == "(1, 'a', None)"
    long = told("x" * 2_000)
    assert len(long) < MAX_TEXT
    assert long != told("x" * 2_001)


def test_values_that_cannot_be_told_apart_are_never_taken_for_one_another() -> None:
    members = {"A": SaysNothing(), "B": SaysNothing(), "C": SaysTheSame(), "D": SaysTheSame()}
    shape = describe(enum.Enum("Odd", members))  # type: ignore[arg-type]
    assert shape is not None
    assert len({*shape.members.values()}) == 4
    assert not {told(value) for value in members.values()} & {*shape.members.values()}


# --- at save ----------------------------------------------------------------


def types_of(graph: Any, **options: Any) -> dict[str, Shape | None]:
    def forget() -> None:
        pass

    found = pickle_into(graph, lambda piece: None, restart=forget, **options).globals
    return {one.qualname: one.shape for one in found}


def test_the_first_instances_tell_the_fields_of_a_class() -> None:
    few = [Plain(**{f"f{number}": 1}) for number in range(SAMPLED)]
    names = tuple(f"f{number}" for number in range(SAMPLED))
    assert types_of(few) == {"Plain": Shape("plain", names)}
    assert types_of([*few, Plain(unseen=1)]) == {"Plain": Shape("plain", names, sampled=True)}


def test_each_kind_of_instance_has_its_shape_in_the_type_table() -> None:
    slots = Slots()
    slots.a, slots.x = 1, 2  # type: ignore[attr-defined]
    graph = [slots, Attrs(1), Data(1), Pair(1), Color.RED, Bits.A | Bits.B, Own(1), Bare()]
    kinds = {name: shape and shape.kind for name, shape in types_of(graph).items()}
    assert kinds == {
        "Slots": "slots", "Attrs": "attrs", "Data": "dataclass", "Pair": "namedtuple",
        "Color": "enum", "Bits": "flag", "Own": "plain", "Bare": "slots",
    }  # fmt: skip
    found = types_of(graph)
    assert found["Slots"] == Shape("slots", ("_Slots__private", "a", "x"), layout="pair")
    assert found["Own"] == Shape("plain", ("a",))


def test_a_class_of_which_there_is_no_instance_has_no_shape() -> None:
    assert types_of([Plain, Attrs, len, functools.partial]) == dict.fromkeys(
        ["Plain", "Attrs", "len", "partial"]
    )


class Changing:
    def __init__(self, state: Any) -> None:
        self.state = state

    def __getstate__(self) -> Any:
        return self.state

    def __setstate__(self, state: Any) -> None:
        self.state = state


def test_states_of_all_sorts_are_looked_at_and_break_nothing() -> None:
    states = [5, (None, {"a": 1}), 5, {"b": 1}, ({"c": 1}, {"d": 1}), "text", [{"e": 1}], {1: 2}]
    shape = types_of([Changing(state) for state in states])["Changing"]
    assert shape == Shape("plain", ("a", "b", "c", "d"), layout="other")


def test_a_state_of_many_names_is_cut() -> None:
    shape = types_of(Plain(**{f"f{n}": n for n in range(SAMPLED_FIELDS + 1)}))["Plain"]
    assert shape is not None
    assert (len(shape.fields), shape.sampled) == (SAMPLED_FIELDS, True)


def test_a_graph_for_the_deep_pickler_has_the_same_shapes() -> None:
    deep: Any = Plain(inner=None)
    for _ in range(20_000):
        deep = Plain(inner=deep)
    assert types_of(deep) == {"Plain": Shape("plain", ("inner",), sampled=True)}
    while deep is not None:  # one by one: a chain that long must not go at once
        deep = deep.inner


def test_a_reducer_of_the_caller_says_nothing_of_the_fields() -> None:
    def reducer(obj: Any) -> Any:
        return (Plain, (), {"x": 1}) if isinstance(obj, Plain) else NotImplemented

    assert types_of(Plain(a=1), hooks=Hooks(reducer_override=reducer)) == {"Plain": None}


class Rude(type):
    def __getattr__(cls, name: str) -> Any:
        raise (RuntimeError if name == "__attrs_attrs__" else AttributeError)(name)


class OfRude(metaclass=Rude):
    pass


def test_a_metaclass_that_raises_costs_the_shape_and_not_the_save() -> None:
    assert types_of(OfRude()) == {"OfRude": None}


def test_two_globals_of_one_name_are_equal_whatever_their_shapes() -> None:
    assert Global("m", "C", shape=Shape("plain")) == Global("m", "C")
