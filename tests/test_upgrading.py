"""Old states become instances of today's classes, quickly or with care, and the same either way."""

from __future__ import annotations

import gc
import itertools
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import checkpoint
from checkpoint import (
    Become,
    Checkpointer,
    MemoryStore,
    MigrationError,
    Migrations,
    SchemaWarning,
    _upgrading,
)
from checkpoint._upgrading import Loading

HEAD = """
import abc, attrs, copyreg, enum
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar
from checkpoint import versioned
"""


class Program:
    """One module of a program, in one version after the other, and what it saves."""

    def __init__(self) -> None:
        self.module = ModuleType("evolving")
        self.store = MemoryStore()
        self.migrations = Migrations()

    def is_now(self, source: str) -> None:
        self.module = ModuleType("evolving")
        sys.modules["evolving"] = self.module
        exec(HEAD + source, self.module.__dict__)

    def save(self, expression: str) -> None:
        Checkpointer(self.store).save(eval(expression, self.module.__dict__))

    def load(self, **options: Any) -> Any:
        options = {"schema": "off", "migrations": self.migrations} | options
        return Checkpointer(self.store, **options).load()


@pytest.fixture
def program() -> Iterator[Program]:
    yield Program()
    sys.modules.pop("evolving", None)


@pytest.fixture(params=["quickly", "with care"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs on the C unpickler where that can be, and on the one in Python."""
    if request.param == "with care":
        monkeypatch.setattr(_upgrading, "pending", lambda *_: None)
    return str(request.param)


def built_with_care(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is appended to whenever a graph is built with care."""
    built: list[object] = []
    careful = Loading._with_care

    def counted(self: Loading, *args: Any) -> Any:
        built.append(args)
        return careful(self, *args)

    monkeypatch.setattr(Loading, "_with_care", counted)
    return built


# --- states -----------------------------------------------------------------

PLAIN = "class Orc:\n    def __init__(self, hp): self.hp, self.power = hp, 2"
ORCS = {
    "plain": PLAIN,
    "slots": "class Orc:\n    __slots__ = ('hp', 'power')\n"
    "    def __init__(self, hp): self.hp, self.power = hp, 2",
    "attrs": "@attrs.define\nclass Orc:\n    hp: int\n    power: int = 2",
    "attrs, dict": "@attrs.define(slots=False)\nclass Orc:\n    hp: int\n    power: int = 2",
    "attrs, frozen": "@attrs.frozen\nclass Orc:\n    hp: int\n    power: int = 2",
    "dataclass": "@dataclass\nclass Orc:\n    hp: int\n    power: int = 2",
    "dataclass, slots": "@dataclass(slots=True)\nclass Orc:\n    hp: int\n    power: int = 2",
    "dataclass, frozen slots": "@dataclass(frozen=True, slots=True)\n"
    "class Orc:\n    hp: int\n    power: int = 2",
    "inherited slots": "class Mob:\n    __slots__ = ('hp',)\nclass Orc(Mob):\n"
    "    __slots__ = ('power',)\n    def __init__(self, hp): self.hp, self.power = hp, 2",
    "inherited attrs": "@attrs.define\nclass Mob:\n    hp: int\n@attrs.define\nclass Orc(Mob):\n"
    "    power: int = 2",
    "generic": "T = TypeVar('T')\nclass Orc(Generic[T]):\n"
    "    def __init__(self, hp): self.hp, self.power = hp, 2",
    "abstract base": "class Mob(abc.ABC):\n    @abc.abstractmethod\n    def hit(self): ...\n"
    "class Orc(Mob):\n    def hit(self): ...\n"
    "    def __init__(self, hp): self.hp, self.power = hp, 2",
}


@pytest.mark.parametrize("before", ORCS)
@pytest.mark.parametrize("after", ORCS)
def test_a_state_of_any_kind_becomes_one_of_any_other(
    program: Program, before: str, after: str, way: str
) -> None:
    program.is_now(ORCS[before])
    program.save("[Orc(1), {'boss': Orc(2)}, 'between']")
    program.is_now(ORCS[after])
    first, rest, _ = program.load()
    orc = program.module.Orc
    assert (type(first), first.hp, first.power) == (orc, 1, 2)
    assert (type(rest["boss"]), rest["boss"].hp) == (orc, 2)


@pytest.mark.parametrize("before", ORCS)
@pytest.mark.parametrize("after", ORCS)
def test_an_upgrade_sees_the_fields_of_any_kind(
    program: Program, before: str, after: str, way: str
) -> None:
    program.is_now(ORCS[before])
    program.save("[Orc(1), Orc(2)]")
    program.is_now(ORCS[after])

    @program.migrations.upgrade("evolving:Orc", 1)
    def upgrade(state: dict[str, Any]) -> dict[str, Any]:
        assert set(state) == {"hp", "power"}
        return {"hp": state["hp"] * 10, "power": 5}

    assert [(orc.hp, orc.power) for orc in program.load()] == [(10, 5), (20, 5)]


def test_a_graph_of_what_is_adapted_keeps_its_shape(program: Program, way: str) -> None:
    program.is_now("class Orc:\n    def __init__(self): self.friend = self.foe = None")
    program.save("(lambda a, b: (a.__dict__.update(friend=b, foe=a), b.__dict__.update(friend=a),"
                 " [a, b, {'a': a}])[-1])(Orc(), Orc())")  # fmt: skip
    program.is_now("class Orc: pass")
    program.migrations.rename_fields("evolving:Orc", 1, friend="ally")
    a, b, more = program.load()
    assert a.ally is b and b.ally is a and a.foe is a and more["a"] is a
    assert not hasattr(a, "friend")


def test_a_class_that_is_a_value_too_stays_itself(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = built_with_care(monkeypatch)
    program.is_now(ORCS["attrs"])
    program.save("[Orc(1), Orc, {'kind': Orc}]")
    program.is_now(ORCS["attrs"] + "\n    bag: list = attrs.Factory(list)")
    orc, kind, more = program.load()
    assert kind is more["kind"] is program.module.Orc is type(orc)
    assert orc.bag == []
    assert built


def test_what_can_be_built_quickly_is(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    built = built_with_care(monkeypatch)
    for source in ORCS.values():
        program.is_now(source)
        program.save("[Orc(1), Orc(2)]")
        program.migrations = Migrations()
        program.migrations.add_fields("evolving:Orc", 1, power=3)
        program.load()
    assert built == []


MORE = {
    "named tuple": "class Orc(NamedTuple):\n    hp: int\n    power: int = 2",
    "enum": "class Orc(enum.Enum):\n    BIG = 1\n    SMALL = 2",
    "flag": "class Orc(enum.Flag):\n    BIG = 1\n    SMALL = 2",
    "int": "class Orc(int): pass",
    "int, slots": "class Orc(int):\n    __slots__ = ()",
    "list": "class Orc(list):\n    def __init__(self, hp): pass",
    "empty": "class Orc:\n    def __init__(self, hp): pass",
    "exception": "class Orc(Exception): pass",
    "opaque": "class Orc:\n    def __init__(self, hp): pass\n    def __getstate__(self): return 3"
    "\n    def __setstate__(self, state): pass",
    "reduce": "class Orc:\n    def __init__(self, hp): self.hp = hp\n"
    "    def __reduce__(self): return Orc, (self.hp,)",
    "local base": "def make():\n    @versioned(2)\n    class Base: pass\n    return Base\n"
    "class Orc(make()):\n    def __init__(self, hp): self.hp = hp",
}


@pytest.mark.parametrize("kind", ORCS | MORE)
def test_a_class_that_did_not_change_is_given_to_the_unpickler_as_it_is(
    program: Program, kind: str
) -> None:
    program.is_now((ORCS | MORE)[kind])
    program.save("[Orc(1), Orc(2)]")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program.load(schema="strict")
    assert [*program.migrations.unchanged] == [program.module.Orc]


def test_no_trace_of_a_pending_class_is_left(program: Program, way: str) -> None:
    program.is_now(ORCS["plain"])
    program.save("[Orc(1)]")
    program.migrations.add_fields("evolving:Orc", 1, power=3)
    (orc,) = program.load()
    assert type(orc) is program.module.Orc
    assert program.module.Orc.__subclasses__() == []  # and not when the collector next runs
    assert pickle.loads(pickle.dumps(orc)).hp == 1


def test_bases_are_upgraded_before_their_subclasses(program: Program, way: str) -> None:
    source = "class Mob: pass\nclass Orc(Mob):\n    def __init__(self): self.hp = 1\n"
    program.is_now(source)
    program.save("[Orc()]")
    program.is_now(source)
    program.migrations.upgrade("evolving:Orc", 1)(lambda s: {**s, "order": [*s["order"], "orc"]})
    program.migrations.upgrade("evolving:Mob", 1)(lambda s: {**s, "order": ["mob"]})
    assert program.load()[0].order == ["mob", "orc"]


def test_only_the_missing_steps_are_run(program: Program, way: str) -> None:
    program.is_now("@versioned(2)\nclass Orc:\n    def __init__(self): self.steps = [2]")
    program.save("Orc()")
    program.is_now("@versioned(4)\nclass Orc: pass")
    for version in (1, 2, 3):
        program.migrations.upgrade("evolving:Orc", version)(
            lambda s, v=version: {"steps": [*s["steps"], v + 1]}  # type: ignore[misc]
        )
    assert program.load().steps == [2, 3, 4]


def test_a_setstate_of_the_class_gets_what_the_upgrade_returns(program: Program, way: str) -> None:
    source = "class Orc:\n    def __init__(self): self.hp = 1\n"
    program.is_now(source)
    program.save("Orc()")
    program.is_now(source + "    def __setstate__(self, state): self.got = state")
    program.migrations.rename_fields("evolving:Orc", 1, hp="health")
    assert program.load().got == {"health": 1}


def test_an_opaque_state_goes_to_the_upgrade_as_it_is(program: Program, way: str) -> None:
    source = "class Orc:\n    def __getstate__(self): return 3, 'x'\n"
    setter = "    def __setstate__(self, state): self.got = state"
    program.is_now(source + setter)
    program.save("Orc()")
    program.migrations.upgrade("evolving:Orc", 1)(lambda state: (*state, "more"))
    assert program.load().got == (3, "x", "more")
    program.is_now(source)
    with pytest.raises(MigrationError, match="only its own __setstate__ can read"):
        program.load()


# --- fields -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["attrs", "attrs, dict", "attrs, frozen", "inherited attrs"])
def test_new_attrs_fields_get_their_defaults(program: Program, kind: str, way: str) -> None:
    program.is_now(ORCS[kind])
    program.save("[Orc(1), Orc(2)]")
    program.is_now(
        ORCS[kind]
        + """
    bag: list = attrs.Factory(list)
    double: int = attrs.Factory(lambda self: self.hp * 2, takes_self=True)
    text: str = attrs.field(default=7, converter=str)
    later: int = attrs.field(init=False, default=4)
"""
    )
    orcs = program.load()
    assert [(o.bag, o.double, o.text, o.later) for o in orcs] == [([], 2, "7", 4), ([], 4, "7", 4)]
    assert orcs[0].bag is not orcs[1].bag
    assert "bag=[]" in repr(orcs[0])


@pytest.mark.parametrize("kind", ["dataclass", "dataclass, slots", "dataclass, frozen slots"])
def test_new_dataclass_fields_get_their_defaults(program: Program, kind: str, way: str) -> None:
    program.is_now(ORCS[kind])
    program.save("[Orc(1), Orc(2)]")
    program.is_now(ORCS[kind] + "\n    bag: list = field(default_factory=list)\n    n: int = 3")
    orcs = program.load()
    assert [(o.bag, o.n) for o in orcs] == [([], 3)] * 2
    assert orcs[0].bag is not orcs[1].bag


@pytest.mark.parametrize("kind", ["@dataclass", "@attrs.define", "@attrs.define(slots=False)"])
def test_instances_that_were_saved_without_a_state_get_defaults(
    program: Program, kind: str, way: str
) -> None:
    program.is_now(f"{kind}\nclass Empty: pass")
    program.save("[Empty(), {'deep': Empty()}]")
    program.is_now(f"{kind}\nclass Empty:\n    n: int = 3")
    first, rest = program.load()
    assert first.n == rest["deep"].n == 3
    assert first.__dict__ == {"n": 3} if "False" in kind or "data" in kind else True


def test_positional_states_are_matched_by_the_stored_names(program: Program, way: str) -> None:
    head = "@dataclass(frozen=True, slots=True)\nclass P:\n"
    program.is_now(head + "    a: int\n    b: int\n    c: int")
    program.save("[P(1, 2, 3)]")
    program.is_now(head + "    new: int = field(default=0, kw_only=True)\n    c: int\n    a: int")
    (p,) = program.load()
    assert (p.new, p.c, p.a) == (0, 3, 1)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("    b: int\n    a: int", {"a": 1, "b": 2}),
        ("    z: int = 0\n    a: int = 0\n    b: int = 0", {"z": 0, "a": 1, "b": 2}),
        ("    b: int", {"b": 2}),
        ("    a: int\n    b: int\n    c: str = 'c'", {"a": 1, "b": 2, "c": "c"}),
    ],
)
def test_named_tuples_are_matched_by_the_stored_names(
    program: Program, after: str, expected: dict[str, Any], way: str
) -> None:
    program.is_now("class P(NamedTuple):\n    a: int\n    b: int")
    program.save("{'p': P(1, 2), P(1, 2): P}")
    program.is_now("class P(NamedTuple):\n" + after)
    found = program.load()
    assert found["p"]._asdict() == expected
    assert found[found["p"]] is program.module.P


def test_a_named_tuple_becomes_an_attrs_class(program: Program, way: str) -> None:
    program.is_now("class P(NamedTuple):\n    a: int\n    b: int")
    program.save("[P(1, 2)]")
    program.is_now("@attrs.define\nclass P:\n    b: int\n    a: int\n    c: int = 5")
    assert program.load() == [program.module.P(b=2, a=1, c=5)]


def test_a_named_tuple_with_a_field_more_says_what_to_register(program: Program, way: str) -> None:
    program.is_now("class P(NamedTuple):\n    a: int")
    program.save("[P(1)]")
    program.is_now("class P(NamedTuple):\n    a: int\n    b: int")
    with pytest.raises(MigrationError, match=r"add_fields\('evolving:P', 1, b=…\)"):
        program.load()
    program.migrations.add_fields("evolving:P", 1, b=9)
    assert program.load() == [program.module.P(1, 9)]


@pytest.mark.parametrize("slots", [True, False])
def test_unknown_fields_are_kept_aside_and_saved_again(
    program: Program, slots: bool, way: str
) -> None:
    old = f"@attrs.define(slots={slots})\nclass Orc:\n    hp: int\n    mood: str\n    n: int = 0"
    new = f"@attrs.define(slots={slots})\nclass Orc:\n    hp: int"
    program.is_now(old)
    program.save("[Orc(1, 'grim'), Orc(2, 'gay')]")
    program.is_now(new)
    orcs = program.load()
    assert [orc.hp for orc in orcs] == [1, 2]
    assert hasattr(orcs[0], "mood") is not slots
    Checkpointer(program.store).save(orcs[::-1])
    del orcs
    gc.collect()
    again = program.load()
    Checkpointer(program.store).save(again)
    program.is_now(old)
    assert [(orc.hp, orc.mood) for orc in program.load()] == [(2, "gay"), (1, "grim")]


def test_unknown_fields_are_dropped_if_nobody_wants_them(program: Program, way: str) -> None:
    program.is_now("@attrs.define(slots=False)\nclass Orc:\n    hp: int\n    mood: str")
    program.save("Orc(1, 'grim')")
    program.is_now("@attrs.define(slots=False)\nclass Orc:\n    hp: int")
    orc = program.load(migrations=Migrations(keep_unknown=False))
    assert vars(orc) == {"hp": 1}


def test_new_validators_see_what_is_loaded(program: Program, way: str) -> None:
    program.is_now("@attrs.define\nclass Orc:\n    name: str")
    program.save("[Orc('bo'), Orc(3)]")
    validated = "@attrs.define\nclass Orc:\n    name = attrs.field(" \
                "validator=attrs.validators.instance_of(str))"  # fmt: skip
    program.is_now(validated)
    with pytest.raises(MigrationError, match="does not pass its new validator"):
        program.load()
    program.migrations.upgrade("evolving:Orc", 1)(lambda s: {"name": str(s["name"])})
    assert [orc.name for orc in program.load()] == ["bo", "3"]


# --- enums ------------------------------------------------------------------


@pytest.mark.parametrize("base", ["enum.Enum", "enum.IntEnum", "str, enum.Enum"])
def test_enum_members_are_found_by_their_names(program: Program, base: str, way: str) -> None:
    program.is_now(f"class C({base}):\n    RED = 1\n    BLUE = 2\n    GREY = 3")
    program.save("[C.RED, C.BLUE, {C.GREY: C.RED}]")
    program.is_now(f"class C({base}):\n    BLUE = 1\n    RED = 2\n    GRAY = 3")
    c = program.module.C
    assert program.load() == [c.RED, c.BLUE, {c.GRAY: c.RED}]


def test_a_renamed_member_needs_a_line_if_its_value_changed_too(program: Program, way: str) -> None:
    program.is_now("class C(enum.Enum):\n    RED = 1\n    BLUE = 2")
    program.save("[C.RED, C.BLUE]")
    program.is_now("class C(enum.Enum):\n    CRIMSON = 3\n    BLUE = 2")
    with pytest.raises(MigrationError, match=r"evolving:C.RED is gone.*rename_fields\(.*RED=…\)"):
        program.load()
    program.migrations.rename_fields("evolving:C", 1, RED="CRIMSON")
    assert program.load() == [program.module.C.CRIMSON, program.module.C.BLUE]


def test_enum_members_that_were_saved_by_name_are_found_too(program: Program, way: str) -> None:
    program.is_now("class C(enum.Enum):\n    RED = 1\n    BLUE = 2\n"
                   "    __reduce_ex__ = enum.pickle_by_enum_name")  # fmt: skip
    program.save("[C.RED, {C.BLUE: C.RED}]")
    program.is_now("class C(enum.Enum):\n    BLUE = 1\n    CRIMSON = 2")
    program.migrations.rename_fields("evolving:C", 1, RED="CRIMSON")
    c = program.module.C
    assert program.load() == [c.CRIMSON, {c.BLUE: c.CRIMSON}]


def test_a_plain_class_that_became_a_named_tuple_is_refused_with_its_place(
    program: Program, way: str
) -> None:
    program.is_now(PLAIN)
    program.save("{'boss': Orc(1)}")
    program.is_now(MORE["named tuple"])
    program.migrations.upgrade("evolving:Orc", 1)(lambda state: state)
    with pytest.raises(MigrationError, match=r"evolving:Orc was saved as plain.*Become") as caught:
        program.load()
    assert caught.value.path == "state['boss']"


@pytest.mark.parametrize("base", ["list", "dict"])
def test_a_new_attribute_of_a_container_is_named(program: Program, base: str) -> None:
    program.is_now(f"class Bag({base}):\n    def __init__(self): self.size = 1")
    program.save("[Bag()]")
    program.is_now(f"class Bag({base}):\n    def __init__(self): self.size = self.limit = 1")
    with pytest.raises(MigrationError, match="limit came"):
        program.load(schema="strict")


def test_what_a_post_init_sets_is_looked_at_too(program: Program) -> None:
    head = "@dataclass\nclass Orc:\n    hp: int = 1\n    def __post_init__(self): self."
    program.is_now(head + "old = 1")
    program.save("[Orc()]")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program.load(schema="warn")
    program.is_now(head + "new = 1")
    with pytest.raises(MigrationError, match="old went and new came"):
        program.load(schema="strict")


def test_flags_are_taken_apart(program: Program, way: str) -> None:
    program.is_now("class F(enum.Flag):\n    A = 1\n    B = 2\n    C = 4\n    AB = 3")
    program.save("[F.A, F.A | F.C, F.AB, F(0), F.A | F.B | F.C]")
    program.is_now("class F(enum.Flag):\n    C = 1\n    A = 2\n    B = 8\n    D = 4")
    f = program.module.F
    assert program.load() == [f.A, f.A | f.C, f.A | f.B, f(0), f.A | f.B | f.C]


# --- something else ---------------------------------------------------------


@pytest.mark.parametrize(
    "into",
    [
        "class Uruk: pass",
        "class Uruk:\n    __slots__ = ('hp', 'power')",
        "@attrs.define\nclass Uruk:\n    hp: int\n    rank: int = 4",
    ],
)
def test_an_upgrade_may_split_a_class(program: Program, into: str, way: str) -> None:
    program.is_now(PLAIN)
    program.save("(lambda a, b: [a, b, {'boss': b}, (a, b)])(Orc(1), Orc(20))")
    program.is_now(PLAIN + "\n" + into)

    @program.migrations.upgrade("evolving:Orc", 1)
    def split(state: dict[str, Any]) -> Any:
        return Become("evolving:Uruk", {"hp": state["hp"]}) if state["hp"] > 9 else state

    a, b, more, both = program.load()
    assert type(a) is program.module.Orc and type(b) is program.module.Uruk
    assert b.hp == 20 and more["boss"] is b and both == (a, b)


def test_an_upgrade_may_leave_nothing(program: Program, way: str) -> None:
    program.is_now(PLAIN)
    program.save("(lambda a, b: [a, b, {'boss': b}, (a, b)])(Orc(1), Orc(20))")
    program.migrations.upgrade("evolving:Orc", 1)(lambda s: Become(None) if s["hp"] > 9 else s)
    a, b, more, both = program.load()
    assert a.hp == 1 and b is None and more == {"boss": None} and both == (a, None)


def test_an_upgrade_tells_what_became_of_a_class_that_was_removed(
    program: Program, way: str
) -> None:
    program.is_now(PLAIN + "\nclass Ghost(Orc): pass")
    program.save("[Ghost(1), Orc(2), Ghost(30)]")
    program.is_now(PLAIN)

    @program.migrations.upgrade("evolving:Ghost", 1)
    def ghosts_are_gone(state: dict[str, Any]) -> Become:
        return Become("evolving:Orc", state) if state["hp"] > 9 else Become(None)

    nothing, orc, more = program.load()
    assert nothing is None and (orc.hp, more.hp) == (2, 30) and type(more) is type(orc)
    program.migrations = Migrations()
    program.migrations.upgrade("evolving:Ghost", 1)(lambda state: state)
    with pytest.raises(MigrationError, match=r"\[0\]: evolving:Ghost is gone"):
        program.load()


def test_a_field_that_no_upgrade_gives_is_named(program: Program, way: str) -> None:
    program.is_now(PLAIN)
    program.save("[Orc(1)]")
    program.is_now(PLAIN + "; self.mood = 'grim'")
    program.migrations.upgrade("evolving:Orc", 1)(lambda state: state)
    with pytest.warns(SchemaWarning, match="states have no mood"):
        program.load(schema="warn")
    with pytest.raises(MigrationError, match="states have no mood"):
        program.load(schema="strict")
    program.migrations.add_fields("evolving:Orc", 1, mood="calm")
    assert program.load(schema="strict")[0].mood == "calm"


def test_two_classes_become_one(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    built = built_with_care(monkeypatch)
    program.is_now("class A:\n    def __init__(self): self.a = 1\n"
                   "class B:\n    def __init__(self): self.b = 2")  # fmt: skip
    program.save("[A(), B()]")
    program.is_now("@attrs.define\nclass C:\n    a: int = 0\n    b: int = 0")
    program.migrations.rename("evolving:A", "evolving:C")
    program.migrations.rename("evolving:B", "evolving:C")
    assert program.load() == [program.module.C(1, 0), program.module.C(0, 2)]
    assert not built


def test_an_upgrade_that_changes_an_array_in_place_does_it_once(program: Program) -> None:
    np = pytest.importorskip("numpy")
    program.is_now("class Net:\n    def __init__(self, w): self.w = w")
    program.module.__dict__["np"] = np
    program.save("[Net(np.ones(100_000)), Net]")  # the class as a value: built with care

    @program.migrations.upgrade("evolving:Net", 1)
    def double(state: dict[str, Any]) -> dict[str, Any]:
        state["w"] *= 2
        return state

    net, _ = program.load()
    assert set(net.w) == {2.0}


# --- failures ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("upgrade", "said"),
    [
        (
            lambda state: 1 / 0,
            "raised ZeroDivisionError: division by zero; the state had the fields",
        ),
        (lambda state: None, "returned NoneType and not dict: return the state"),
        (lambda state: [state], "returned list and not dict"),
    ],
)
def test_an_upgrade_that_fails_says_where_and_what(
    program: Program, upgrade: Callable[[Any], Any], said: str, way: str
) -> None:
    program.is_now(PLAIN)
    program.save("{'mobs': [0, Orc(1)]}")
    program.migrations.upgrade("evolving:Orc", 1)(upgrade)
    with pytest.raises(MigrationError, match=said) as caught:
        program.load()
    assert "evolving:Orc from version 1" in str(caught.value) or "of evolving:Orc" in str(
        caught.value
    )
    assert caught.value.path == "state['mobs'][1]"
    assert (caught.value.name, caught.value.version) == ("main", 1)
    assert program.load(migrations=Migrations())["mobs"][1].hp == 1


def test_a_class_that_is_gone_says_what_to_register(program: Program) -> None:
    program.is_now(PLAIN)
    program.save("[Orc(1)]")
    program.is_now("class Uruk: pass")
    with pytest.raises(
        MigrationError, match=r"checkpoint.rename\('evolving:Orc', 'module:Class'\)"
    ):
        program.load()
    program.migrations.rename("evolving:Orc", "evolving:Ork")
    with pytest.raises(MigrationError, match=r"evolving:Orc \(renamed to evolving:Ork\) is gone"):
        program.load()
    program.migrations.rename("evolving:Ork", "evolving:Uruk")
    assert program.load()[0].hp == 1


@pytest.mark.parametrize(
    "source",
    [
        "class Base:\n    def __init_subclass__(cls): raise TypeError('final')\n"
        "Orc = type.__new__(type, 'Orc', (), {'__init__': lambda s, hp: s.__dict__.update(hp=hp),"
        " '__module__': __name__, '__init_subclass__': classmethod(lambda cls: 1 / 0)})",
        "class Meta(type):\n    def __call__(cls, *a):\n        o = cls.__new__(cls)\n"
        "        o.hp = a[0]\n        return o\n    def __new__(m, n, b, d, made=True):\n"
        "        if n != 'Orc': raise TypeError('no subclasses')\n"
        "        return super().__new__(m, n, b, d)\nclass Orc(metaclass=Meta): pass",
        "class Orc(list):\n    def __init__(self, hp): self.hp = hp",
        "class Orc(int):\n    def __new__(cls, hp):\n        o = int.__new__(cls, 5)\n"
        "        o.hp = hp\n        return o\n    def __init__(self, hp): pass\n"
        "    def __getnewargs__(self): return (self.hp,)",
        "class Orc(Exception):\n    def __init__(self, hp):\n        super().__init__(hp)\n"
        "        self.hp = hp",
    ],
)
def test_classes_that_forbid_or_add_much_are_upgraded_too(
    program: Program, source: str, way: str
) -> None:
    program.is_now(source)
    program.save("[Orc(1), Orc(2)]")
    program.migrations.upgrade("evolving:Orc", 1)(lambda state: {**state, "hp": state["hp"] + 10})
    orcs = program.load()
    assert [orc.hp for orc in orcs] == [11, 12]
    assert {type(orc) for orc in orcs} == {program.module.Orc}


def test_a_constructor_that_looks_at_what_is_pending_gets_the_real_thing(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = built_with_care(monkeypatch)
    program.is_now(
        "class Child:\n    def __init__(self, parent): self.parent = parent\n"
        "    def __setstate__(self, s): self.parent = s['parent']; self.parent.register(self)\n"
        "class Parent:\n    known = []\n    def register(self, child): self.known.append(child)\n"
        "    def __init__(self): self.children = [Child(self)]"
    )
    program.save("Parent()")
    program.migrations.add_fields("evolving:Parent", 1, n=1)
    parent = program.load()
    assert parent.known == parent.children and parent.n == 1
    assert not built


# --- whole graphs -----------------------------------------------------------


def test_graph_migrations_run_in_order_and_once(program: Program) -> None:
    program.is_now("")
    program.save("{'steps': []}")
    for name in ("b", "a"):

        @program.migrations.graph_migration(name)
        def migrate(root: Any, name: str = name) -> Any:
            return {"steps": [*root["steps"], name]}

    saves = Checkpointer(program.store, migrations=program.migrations)
    state = saves.load()
    assert state == {"steps": ["b", "a"]}
    saves.save(state)
    assert program.load() == {"steps": ["b", "a"]}
    assert Checkpointer(program.store, migrations=program.migrations).load(version=1) == state
    Checkpointer(program.store, migrations=program.migrations).save({"steps": ["fresh"]})
    assert program.load() == {"steps": ["fresh"]}


def test_a_program_without_a_migration_passes_on_that_it_was_applied(program: Program) -> None:
    program.is_now("")
    program.migrations.graph_migration("a")(lambda root: {**root, "a": root.get("a", 0) + 1})
    Checkpointer(program.store, migrations=program.migrations).save({"a": 1})
    other = Checkpointer(program.store, migrations=Migrations())
    other.save(other.load())
    assert program.load() == {"a": 1}


@pytest.mark.parametrize("migrate", [lambda root: None, lambda root: 1 / 0])
def test_a_graph_migration_that_fails_is_named(
    program: Program, migrate: Callable[[Any], Any]
) -> None:
    program.is_now("")
    program.save("[1]")
    program.migrations.graph_migration("levels")(migrate)
    with pytest.raises(MigrationError, match="graph migration 'levels'"):
        program.load()


def test_a_part_of_an_old_graph_is_that_of_the_migrated_one(program: Program) -> None:
    program.is_now("")
    program.save("{'a': 1, 'b': [2]}")
    program.migrations.graph_migration("m")(lambda root: {"c": root})
    saves = Checkpointer(program.store, migrations=program.migrations)
    assert saves.load(only=("c", "b")) == [2]


# --- threads ----------------------------------------------------------------


def test_two_threads_load_the_same_class_at_once(program: Program) -> None:
    program.is_now(ORCS["attrs"])
    program.save("[Orc(n) for n in range(3000)]")
    program.is_now(ORCS["attrs"] + "\n    bag: list = attrs.Factory(list)")
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(program.load())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(type(o) is program.module.Orc and o.bag == [] for orcs in found for o in orcs)


# --- what an adversary found ------------------------------------------------


@pytest.mark.parametrize(
    "reduce",
    [
        "return super().__reduce__()",
        "return Orc, (), self.__dict__",
        "return copyreg.__newobj__, (Orc,), self.__dict__",
    ],
)
def test_however_an_instance_is_made_its_state_is_upgraded(
    program: Program, reduce: str, way: str
) -> None:
    source = "class Orc:\n    def __init__(self, hp=0): self.hp = hp\n    def __reduce__(self): "
    program.is_now(source + reduce)
    program.save("[Orc(1), Orc(2)]")
    program.is_now("class Orc:\n    def __init__(self, hp=0): self.health = hp")
    program.migrations.rename_fields("evolving:Orc", 1, hp="health")
    assert [orc.health for orc in program.load()] == [1, 2]


def test_an_upgrade_that_is_given_no_state_is_named(program: Program, way: str) -> None:
    source = "class Orc:\n    def __init__(self, hp): self.hp = hp\n"
    source += "    def __reduce__(self): return Orc, (self.hp,)"
    program.is_now(source)
    program.save("[Orc(1)]")
    program.migrations.rename_fields("evolving:Orc", 1, hp="health")
    with pytest.raises(MigrationError, match="was not run"):
        program.load(schema="strict")


def test_what_is_made_by_a_call_cannot_become_something_else(program: Program, way: str) -> None:
    source = "class Orc:\n    def __init__(self, hp=0): self.hp = hp\n"
    source += "    def __reduce__(self): return Orc, (), self.__dict__\nclass Uruk: pass"
    program.is_now(source)
    program.save("[Orc(1)]")
    program.migrations.upgrade("evolving:Orc", 1)(lambda state: Become("evolving:Uruk", state))
    with pytest.raises(MigrationError, match="made by a call"):
        program.load()


def test_a_list_of_subclasses_that_is_kept_has_no_pending_class_in_it(program: Program) -> None:
    source = (
        "class Orc:\n    def __init__(self): self.hp = 1\n"
        "class World:\n    def __init__(self, orc): self.orc = orc\n"
        "    def __setstate__(self, state):\n"
        "        self.__dict__.update(state); self.kinds = Orc.__subclasses__()"
    )
    program.is_now(source)
    program.save("World(Orc())")
    program.migrations.add_fields("evolving:Orc", 1, n=1)
    assert program.load().kinds == []


@pytest.mark.parametrize("into", ["Uruk", None])
def test_a_key_that_hashes_its_fields_may_become_something_else(
    program: Program, into: str | None, way: str
) -> None:
    kinds = "".join(f"@dataclass(frozen=True)\nclass {n}:\n    hp: int\n" for n in ("Orc", "Uruk"))
    program.is_now(kinds)
    program.save("[{Orc(1): 'a'}, {Orc(2), 5}]")
    program.migrations.upgrade("evolving:Orc", 1)(
        lambda state: Become(into and f"evolving:{into}", state)
    )
    names, both = program.load()
    made = program.module.Uruk if into else lambda hp: None
    assert names == {made(1): "a"} and both == {made(2), 5}


def test_a_list_may_become_nothing(program: Program, way: str) -> None:
    program.is_now("class Bag(list):\n    def __init__(self, *items):\n"
                   "        super().__init__(items)\n        self.size = len(items)")  # fmt: skip
    program.save("[Bag(1, 2), 3]")
    program.migrations.upgrade("evolving:Bag", 1)(lambda state: Become(None))
    assert program.load() == [None, 3]


@pytest.mark.parametrize("kind", ["@dataclass", "@attrs.define", "@attrs.define(slots=False)"])
def test_what_a_leaner_program_made_gets_its_defaults(program: Program, kind: str) -> None:
    lean = f"{kind}\nclass Orc:\n    hp: int"
    full = lean + "\n    bag: int = 7"
    program.is_now(full)
    program.save("[Orc(1, 2)]")
    program.is_now(lean)
    orcs = program.load()
    Checkpointer(program.store).save([*orcs, program.module.Orc(3)])
    program.is_now(full)
    assert [orc.bag for orc in program.load(schema="strict")] == [2, 7]


def test_a_frozen_class_with_kept_fields_can_be_saved_again(program: Program) -> None:
    head = "@dataclass(frozen=True, slots=True, weakref_slot=True)\nclass Orc:\n    hp: int"
    program.is_now(head + "\n    n: int = 0")
    program.save("[Orc(1, 2)]")
    program.is_now(head)
    orcs = program.load()
    Checkpointer(program.store).save([*orcs, program.module.Orc(5)])
    assert [orc.hp for orc in program.load()] == [1, 5]


def test_what_a_class_sets_itself_is_never_dropped(program: Program) -> None:
    program.is_now("@dataclass\nclass Orc:\n    hp: int\n"
                   "    def __post_init__(self): self.total = self.hp * 2")  # fmt: skip
    program.save("Orc(1)")
    assert program.load(migrations=Migrations(keep_unknown=False)).total == 2


def test_a_cached_hash_is_computed_anew(program: Program, way: str) -> None:
    program.is_now("@attrs.define(frozen=True, cache_hash=True)\nclass Orc:\n    hp: int")
    program.save("{Orc(1): 2}")
    program.is_now(
        "@attrs.define(frozen=True, cache_hash=True)\nclass Orc:\n    hp: int\n    n: int = 0"
    )
    assert program.load() == {program.module.Orc(1): 2}


def test_a_single_file_is_built_twice_from_the_same_bytes(program: Program) -> None:
    np = pytest.importorskip("numpy")
    source = (
        "class Net:\n    def __init__(self, w): self.w = w\n"
        "    def __setstate__(self, state): self.w = state['w']; self.w *= 10\n"
    ) + ORCS["dataclass"]
    program.is_now(source)
    module = program.module
    data = checkpoint.dumps([module.Net(np.ones(20_000)), module.Orc(1), module.Orc])
    program.is_now(source + "\n    n: int = 0")
    assert set(checkpoint.loads(data)[0].w) == {10.0}


def test_an_upgrade_that_changes_its_mind_ends(program: Program) -> None:
    program.is_now(PLAIN + "\nclass A: pass\nclass B: pass")
    program.save("[Orc(1)]")
    turns = itertools.cycle(["evolving:A", "evolving:B"])
    program.migrations.upgrade("evolving:Orc", 1)(lambda state: Become(next(turns), state))
    with pytest.raises(MigrationError, match="must depend on the state alone"):
        program.load()


def test_an_instance_without_a_state_is_not_upgraded_where_others_have_one(
    program: Program, way: str
) -> None:
    source = "class Orc:\n    def __init__(self, hp): self.hp = hp\n"
    source += "    def __getstate__(self): return {'hp': self.hp} if self.hp else None"
    program.is_now(source)
    program.save("[Orc(1), Orc(0)]")
    program.migrations.upgrade("evolving:Orc", 1)(lambda state: {"hp": state["hp"] + 1})
    first, second = program.load()
    assert first.hp == 2 and not hasattr(second, "hp")


def test_a_version_that_is_declared_later_counts(program: Program) -> None:
    program.is_now(PLAIN)
    program.save("[Orc(1)]")
    program.load(schema="strict")
    checkpoint.versioned(2)(program.module.Orc)
    with pytest.raises(MigrationError, match="no upgrade from version 1"):
        program.load()


def test_upgrades_of_the_running_script_go_by_its_name(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    head = "import checkpoint, sys\nclass Orc:\n    def __init__(self): self.hp = 5\n"
    script.write_text(head + "checkpoint.Checkpointer(sys.argv[1]).save(Orc())")
    code = [sys.executable, str(script), str(tmp_path / "saves")]
    subprocess.run(code, check=True)
    script.write_text(
        head + "checkpoint.rename_fields('train:Orc', 1, hp='health')\n"
        "print(vars(checkpoint.Checkpointer(sys.argv[1], schema='off').load()))"
    )
    assert subprocess.run(code, check=True, capture_output=True).stdout == b"{'health': 5}\n"
