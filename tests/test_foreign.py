"""Strangers' versions and files: verified once, loaded whole, and never stepped over."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from attacks.attack import Parts
from attacks.doors import globals_of, single_file
from attacks.streams import Op, built, call, named, new, push, stream
from attrs import evolve
from programs import Program, program

import checkpoint
from checkpoint import (
    Checkpointer,
    DamagedSnapshotWarning,
    FormatError,
    IntegrityError,
    MemoryStore,
    MigrationError,
    Migrations,
    UnsafeError,
)
from checkpoint._foreign import opened
from checkpoint._model import Shape
from checkpoint._trust import Policy
from checkpoint._upgrading import Terms

SOURCE = """
import dataclasses, enum
from collections import UserString, namedtuple
import attrs

class Hero:
    def report(self): return "its own"

@dataclasses.dataclass(slots=True)
class Slotted:
    x: int = 0

class Open(Slotted):
    def report(self): return "its own"

@attrs.define
class Base:
    x: int = 0

class Derived(Base):
    def report(self): return "its own"

class Text(UserString):
    def report(self): return "its own"

class Color(enum.Enum):
    RED = 1
    BLUE = 2

Pair = namedtuple("Pair", "x y")

def function(*args): raise AssertionError("it was called")
"""
LIBRARY = "class Thing: pass\n"
KEY = "the key of a stranger"
PACKAGE = "program"


@pytest.fixture
def running() -> Iterator[Program]:
    with program() as made:
        made.release(program=SOURCE, library=LIBRARY)
        yield made


def strangers(*states: Any) -> MemoryStore:
    """What a stranger has saved."""
    store = MemoryStore()
    with Checkpointer(store, key=KEY) as saves:
        for number, state in enumerate(states, 1):
            saves.save(state, tags=[f"tag-{number}"], metrics={"loss": number})
    return store


def opening(store: MemoryStore, **options: Any) -> Checkpointer:
    return Checkpointer(store, **{"package": PACKAGE} | options)


# --- versions --------------------------------------------------------------------


def test_a_refused_version_raises_however_it_is_asked_for(running: Program) -> None:
    bad = {"a": running.module("library").Thing(), "b": [1]}
    saves = opening(strangers(bad))
    ways: tuple[dict[str, Any], ...] = (
        {}, {"version": 1}, {"tag": "tag-1"}, {"best": "loss"}, {"only": "b"}, {"only": ("b", 0)},
        {"lazy": True}, {"default": None}, {"only": "b", "lazy": True, "version": 1},
    )  # fmt: skip
    for way in ways:
        with pytest.raises(UnsafeError, match="library:Thing is not trusted") as caught:
            saves.load(**way)
        assert (caught.value.name, caught.value.version) == ("main", 1)


def test_a_part_of_a_foreign_version_is_what_it_is_of_an_own_one(running: Program) -> None:
    hero = running.module(PACKAGE).Hero()
    hero.bag = ["sword", 2]
    saves = opening(strangers({"hero": hero}))
    assert saves.load(only=("hero", "bag", 1)) == 2
    assert saves.load(only=("hero", "bag"), lazy=True, tag="tag-1") == ["sword", 2]
    with pytest.raises(checkpoint.NotFoundError):
        saves.load(only="villain")


def test_a_load_steps_back_for_damage_and_not_for_a_refusal(running: Program) -> None:
    store = strangers([1], running.module("library").Thing())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnsafeError):
            opening(store).load()
    assert opening(store).load(version=1) == [1]
    damaged = MemoryStore()
    for key in store.keys(""):
        content = bytes(store.get(key))
        damaged.put(key, [content[:-9] if key.endswith("0000000002.json") else content])
    with pytest.warns(DamagedSnapshotWarning):
        assert opening(damaged).load() == [1]


def test_a_foreign_version_stays_foreign_for_who_lacks_the_key_alone(running: Program) -> None:
    store = strangers(running.module("library").Thing())
    assert [snapshot.own for snapshot in opening(store)] == [False]
    assert [snapshot.own for snapshot in opening(store, key=KEY)] == [True]
    assert type(opening(store, key=["another key of ours", KEY]).load()).__name__ == "Thing"


# --- verified once -----------------------------------------------------------------


class Looks(dict[Any, Any]):
    """What was verified, and how often something was added to it."""

    added = 0

    def __setitem__(self, key: Any, value: Any) -> None:
        self.added += 1
        super().__setitem__(key, value)


def counted(*packages: str) -> tuple[Terms, Looks]:
    policy = Policy(packages or [PACKAGE])
    policy.verified = looks = Looks()
    return Terms(policy=policy), looks


def test_what_was_verified_is_not_verified_again(running: Program) -> None:
    terms, looks = counted()
    data = stream([new("program:Hero"), named("program:function"), call("program:Color", 1)])
    for _ in range(3):
        loading, same = opened(terms, data, [], len(data))
        assert len(loading.load(same, [], list)) == 3
    assert looks.added == 1
    opened(terms, bytearray(data), [], len(data))
    assert looks.added == 1


def test_what_was_verified_is_verified_again_once_a_class_is_another(running: Program) -> None:
    terms, looks = counted()
    data = stream(new("program:Hero"))
    opened(terms, data, [], len(data))
    running.release(program="class Hero:\n  def __del__(self): pass\n")
    with pytest.raises(UnsafeError, match="__del__"):
        opened(terms, data, [], len(data))
    running.release(program="class Hero: pass\n")
    loading, same = opened(terms, data, [], len(data))
    assert type(loading.load(same, [], list)) is running.module(PACKAGE).Hero
    assert looks.added == 2


def test_what_passed_with_more_of_a_budget_is_refused_with_less(running: Program) -> None:
    terms, _ = counted()
    data = stream([[] for _ in range(10_000)])
    opened(terms, data, [], len(data))
    with pytest.raises(UnsafeError, match="budget="):
        opened(evolve(terms, budget=1 << 19), data, [], len(data))
    opened(terms, data, [], len(data))


def test_what_passed_with_a_buffer_is_refused_without(running: Program) -> None:
    terms, _ = counted()
    data = stream(Op(pickle.NEXT_BUFFER))
    opened(terms, data, [5], len(data))
    for lengths in ([], [5, 5]):
        with pytest.raises(FormatError):
            opened(terms, data, lengths, len(data))


def test_what_passed_with_persistent_ids_is_refused_without(running: Program) -> None:
    terms, _ = counted()
    data = stream(Op(push("x") + pickle.BINPERSID))
    opened(terms, data, [], len(data), persistent=True)
    with pytest.raises(UnsafeError, match="persistent"):
        opened(terms, data, [], len(data))


def test_only_so_many_streams_are_remembered(running: Program) -> None:
    terms, looks = counted()
    for number in range(200):
        opened(terms, stream(number), [], 10)
    assert len(looks) <= 100


def test_nothing_that_passed_under_one_policy_passes_under_another(running: Program) -> None:
    data = stream(new("library:Thing"))
    checkpoint.loads(data, package="library")
    checkpoint.loads(data, package=PACKAGE, trust=["library"])
    checkpoint.loads(data, trust=checkpoint.everything)
    with pytest.raises(UnsafeError):
        checkpoint.loads(data, package=PACKAGE)


# --- hooks of an Unpickler -----------------------------------------------------------


class Asked(checkpoint.Unpickler):
    """One that finds classes and persistent objects in its own way."""

    asked: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        self.asked.append((module, name))
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        self.asked.append(pid)
        return ["found", pid]


def asked(data: bytes) -> tuple[Any, list[Any]]:
    unpickler = Asked(io.BytesIO(data), package=PACKAGE)
    unpickler.asked = []
    return unpickler.load(), unpickler.asked


def test_hooks_are_asked_after_the_verification_alone(running: Program) -> None:
    good = [new("program:Hero"), Op(push("x") + pickle.BINPERSID)]
    for data in (stream(good), single_file(Parts(stream(good)))):
        (hero, found), calls = asked(data)
        assert (type(hero).__name__, found) == ("Hero", ["found", "x"])
        assert sorted(map(str, calls)) == ["('program', 'Hero')", "x"]
    unpickler = Asked(io.BytesIO(stream([*good, call("os:system", "x")])), package=PACKAGE)
    unpickler.asked = []
    with pytest.raises(UnsafeError, match="os:system"):
        unpickler.load()
    assert unpickler.asked == []


def test_what_a_persistent_id_gave_is_neither_filled_nor_called(running: Program) -> None:
    found = Op(push("x") + pickle.BINPERSID)
    for value in (built(found, {"a": 1}), Op(found + push(()) + pickle.REDUCE),
                  Op(found + push(1) + pickle.APPEND)):  # fmt: skip
        with pytest.raises(UnsafeError):
            asked(stream(value))


# --- a type table that lies -------------------------------------------------------------


def lying(value: Any, name: str, shape: Shape, **options: Any) -> Any:
    """What comes of a stranger's file whose type table says *shape* of the class *name*."""
    data = stream(value)
    types = tuple(
        evolve(entry, shape=shape if str(entry) == name else None) for entry in globals_of(data)
    )
    file = single_file(Parts(data), types=types)
    return checkpoint.loads(file, **{"package": PACKAGE, "schema": "off"} | options)


FIRE = named("program:function")
LIES = {
    "a list for attrs": ("Derived", [1, FIRE], Shape("attrs", ("x", "report"), layout="list")),
    "a tuple for attrs": ("Derived", (1, FIRE), Shape("attrs", ("x", "report"), layout="tuple")),
    "a dict for attrs": ("Derived", {"x": 1, "report": FIRE}, Shape("attrs", ("x", "report"))),
    "a list for a dataclass": (
        "Open",
        [1, FIRE],
        Shape("dataclass", ("x", "report"), layout="list"),
    ),
    "a pair for a dataclass": (
        "Open",
        ({"report": FIRE}, {"x": 1}),
        Shape("dataclass", ("x",), layout="pair"),
    ),
    "a dict for a plain class": ("Hero", {"report": FIRE}, Shape("plain", ("report",))),
    "a pair for a plain class": (
        "Hero",
        ({"report": FIRE}, {}),
        Shape("slots", ("report",), layout="pair"),
    ),
    "a later version": ("Hero", {"report": FIRE}, Shape("plain", ("report",), version=1)),
    "a dunder": ("Derived", [1, FIRE], Shape("attrs", ("x", "__reduce_ex__"), layout="list")),
    "a class": ("Open", [1, FIRE], Shape("dataclass", ("x", "__class__"), layout="list")),
}


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("keeps", [True, False])
def test_no_shape_of_a_type_table_plants_an_attribute_that_shadows(
    running: Program, name: str, keeps: bool
) -> None:
    cls, state, shape = LIES[name]
    migrations = checkpoint.Migrations(keep_unknown=keeps)
    try:
        found = lying(built(new(f"program:{cls}"), state), f"program:{cls}", shape,
                      migrations=migrations)  # fmt: skip
    except checkpoint.CheckpointError:
        return
    assert not {"report", "__reduce_ex__", "__class__"} & {*vars(found)}
    assert found.report() == "its own"


@pytest.mark.parametrize("field", ["report", "__reduce_ex__", "__class__"])
def test_a_class_that_is_said_to_be_a_named_tuple_gets_no_such_field(
    running: Program, field: str
) -> None:
    with pytest.raises(UnsafeError):
        lying(new("program:Text", FIRE), "program:Text", Shape("namedtuple", (field,)))


@pytest.mark.parametrize(
    "shape",
    [
        Shape("enum", members={"RED": "2", "BLUE": "1"}),
        Shape("flag", members={"RED": "1"}),
        Shape("namedtuple", ("value",)),
        Shape("attrs", ("_value_",)),
        Shape("plain", ("_value_", "_name_"), version=1),
    ],
)
def test_no_shape_makes_a_new_member_of_an_enum(running: Program, shape: Shape) -> None:
    color = running.module(PACKAGE).Color
    try:
        found = lying(call("program:Color", 1), "program:Color", shape)
    except checkpoint.CheckpointError:
        return
    assert any(found is member for member in color)


@pytest.mark.parametrize("kind", ["more", "less", "other"])
def test_a_type_table_of_other_globals_than_the_stream_names_is_damage(
    running: Program, kind: str
) -> None:
    data = stream([new("program:Hero"), new("program:Base")])
    types = globals_of(data)
    more = (evolve(types[0], qualname="Text"),)
    said = {"more": types + more, "less": types[1:], "other": types[1:] + more}[kind]
    with pytest.raises(IntegrityError, match="type table does not fit its stream"):
        checkpoint.loads(single_file(Parts(data), types=said), package=PACKAGE)


@pytest.mark.parametrize("origin", ["os", "subprocess", "checkpoint", "library", "posix", "x y"])
def test_the_origin_of_a_type_table_reaches_nothing(running: Program, origin: str) -> None:
    for name in ("system", "Popen", "load", "Thing"):
        data = stream(call(f"__main__:{name}", "x"))
        types = tuple(evolve(entry, origin=origin) for entry in globals_of(data))
        with pytest.raises((UnsafeError, MigrationError, FormatError, IntegrityError)):
            checkpoint.loads(single_file(Parts(data), types=types), package=PACKAGE)


def test_migrations_that_a_stranger_says_were_applied_are_not_run_and_grant_nothing(
    running: Program,
) -> None:
    migrations = checkpoint.Migrations()
    ran: list[Any] = []

    @migrations.graph_migration("mine")
    def mine(root: Any) -> Any:
        ran.append(root)
        return root

    known: dict[str, Any] = {"package": PACKAGE, "migrations": migrations}
    good, bad = stream([1]), stream(call("library:Thing"))
    for applied in ((), ("mine",), ("mine", "theirs", "x" * 100)):
        ran.clear()
        assert checkpoint.loads(single_file(Parts(good), migrations=applied), **known) == [1]
        assert len(ran) == (not applied)
        with pytest.raises(UnsafeError):
            checkpoint.loads(single_file(Parts(bad), migrations=applied), **known)
        assert len(ran) == (not applied)


# --- what is left of it -----------------------------------------------------------------


@pytest.mark.parametrize("names", [("",), ("a b", "\n", "\0"), ("x" * 100_000,), ("\ud800",)])
def test_attributes_of_odd_names_can_be_told_and_saved_again(
    running: Program, names: tuple[str, ...]
) -> None:
    state: Mapping[str, int] = dict.fromkeys(names, 1)
    hero = checkpoint.loads(stream(built(new("program:Hero"), dict(state))), package=PACKAGE)
    assert vars(hero) == state
    store = MemoryStore()
    saves = opening(store)
    saves.save(hero)
    str(saves.inspect())
    saves.raw()
    assert vars(saves.load()) == vars(opening(store, key=None).load()) == state


@pytest.mark.parametrize("way", ["load", "adopt", "raw", "inspect", "diff", "migrate"])
def test_the_budget_is_for_every_way_to_read_a_strangers_version(
    running: Program, way: str
) -> None:
    hero = running.module(PACKAGE).Hero()
    store = strangers(*([hero, number, "a text of a stranger" * 1000] for number in range(2)))
    migrations = Migrations()
    if way == "migrate":
        migrations.rename("program:Hero", "program:Knight")
        running.release(program=SOURCE.replace("Hero", "Knight"))

    def read(budget: int) -> None:
        saves = opening(store, budget=budget, migrations=migrations)
        given = {"diff": (1, 2), "adopt": (1,)}.get(way, ())
        done = getattr(saves, way)(*given)
        if way == "migrate":
            for error in [one.error for one in done if one.error is not None]:
                raise error

    with pytest.raises(UnsafeError, match="allow it: budget="):
        read(10_000)
    read(1 << 20)
