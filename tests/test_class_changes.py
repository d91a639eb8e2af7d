"""What 25 changes of a class do to its old instances: they load rightly, or are named before that.

Each is saved by the old code through a `Checkpointer` and loaded by the new.  None is silent.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from programs import Program, contents, program

from checkpoint import Checkpointer, MemoryStore, MigrationError, Migrations, SchemaWarning

PLAIN = """
    class Thing:
        def __init__(self, {0}):
            {1}

        def __repr__(self):
            return f"Thing({{[{2}]}})"
"""


def plain(*names: str) -> str:
    """A plain class with these fields, which its `repr` reads."""
    sets = "; ".join(f"self.{name} = {name}" for name in names)
    return PLAIN.format(", ".join(names), sets, ", ".join(f"self.{name}" for name in names))


def declared(decorator: str, *fields: str) -> str:
    """A class with declared fields."""
    body = "".join(f"\n        {field}" for field in fields)
    return f"""
    import attrs
    import dataclasses
    from attrs.validators import instance_of

    @{decorator}
    class Thing:{body}
"""


def tuples(*fields: str) -> str:
    body = "".join(f"\n        {field}" for field in fields)
    return f"""
    from typing import NamedTuple

    class Thing(NamedTuple):{body}
"""


def enum(**members: int) -> str:
    body = "".join(f"\n        {name} = {value}" for name, value in members.items())
    return f"""
    from enum import Enum

    class Thing(Enum):{body}
"""


ATTRS, DATACLASS = "attrs.define", "dataclasses.dataclass"
FROZEN = "dataclasses.dataclass(slots=True, frozen=True)"


@frozen
class Change:
    """One change: the class *before* and *after*, and what becomes of an instance.

    Where it loads rightly, `loaded` are its fields then.  Else `named` are the
    words that the complaint must hold, `given` what to write for the gaps in the
    line that it suggests, and `loaded` what comes of it.
    """

    before: str
    after: str
    loaded: Mapping[str, Any]
    made: str = "Thing(1, 'two')"
    named: tuple[str, ...] = ()
    given: Mapping[str, str] = field(factory=dict)


CHANGES = {
    "plain: a field added": Change(
        plain("a", "b"),
        plain("a", "b", "c"),
        {"a": 1, "b": "two", "c": 3},
        named=("c",),
        given={"c=…": "c=3"},
    ),
    "plain: a field renamed": Change(
        plain("a", "b"),
        plain("a", "bee"),
        {"a": 1, "bee": "two"},
        named=("b", "bee"),
    ),
    "plain: a field removed": Change(plain("a", "b"), plain("a"), {"a": 1}),
    "plain to __slots__": Change(
        plain("a", "b"),
        plain("a", "b").replace("def __init__", '__slots__ = ("a", "b")\n\n        def __init__'),
        {"a": 1, "b": "two"},
    ),
    "plain to attrs": Change(
        plain("a", "b"), declared(ATTRS, "a: int", "b: str"), {"a": 1, "b": "two"}
    ),
    "attrs: a field added with a default": Change(
        declared(ATTRS, "a: int", "b: str"),
        declared(ATTRS, "a: int", "b: str", "c: list = attrs.field(factory=lambda: [3])"),
        {"a": 1, "b": "two", "c": [3]},
    ),
    "attrs: a field renamed": Change(
        declared(ATTRS, "a: int", "b: str"),
        declared(ATTRS, "a: int", "bee: str"),
        {"a": 1, "bee": "two"},
        named=("b", "bee"),
    ),
    "attrs: a field removed": Change(
        declared(ATTRS, "a: int", "b: str"), declared(ATTRS, "a: int"), {"a": 1}
    ),
    "attrs: frozen": Change(
        declared(ATTRS, "a: int", "b: str"),
        declared("attrs.frozen", "a: int", "b: str"),
        {"a": 1, "b": "two"},
    ),
    "attrs: slots=False": Change(
        declared(ATTRS, "a: int", "b: str"),
        declared("attrs.define(slots=False)", "a: int", "b: str"),
        {"a": 1, "b": "two"},
    ),
    "attrs: a new validator that values pass": Change(
        declared(ATTRS, "a: int", "b: str"),
        declared(ATTRS, "a: int", "b: str = attrs.field(validator=instance_of(str))"),
        {"a": 1, "b": "two"},
    ),
    "dataclass: a field added with a default": Change(
        declared(DATACLASS, "a: int", "b: str"),
        declared(DATACLASS, "a: int", "b: str", "c: int = 3"),
        {"a": 1, "b": "two", "c": 3},
    ),
    "dataclass: a field added with a factory": Change(
        declared(DATACLASS, "a: int", "b: str"),
        declared(
            DATACLASS, "a: int", "b: str", "c: list = dataclasses.field(default_factory=list)"
        ),
        {"a": 1, "b": "two", "c": []},
    ),
    "dataclass: a field renamed that has a default": Change(
        declared(DATACLASS, "a: int", "b: str = ''"),
        declared(DATACLASS, "a: int", "bee: str = ''"),
        {"a": 1, "bee": "two"},
        named=("b", "bee"),
    ),
    "dataclass: a field removed": Change(
        declared(DATACLASS, "a: int", "b: str"), declared(DATACLASS, "a: int"), {"a": 1}
    ),
    "dataclass: slots=True": Change(
        declared(DATACLASS, "a: int", "b: str"),
        declared("dataclasses.dataclass(slots=True)", "a: int", "b: str"),
        {"a": 1, "b": "two"},
    ),
    "dataclass, slotted and frozen: fields swapped": Change(
        declared(FROZEN, "a: int", "b: str"),
        declared(FROZEN, "b: str", "a: int"),
        {"a": 1, "b": "two"},
    ),
    "dataclass, slotted and frozen: a field added": Change(
        declared(FROZEN, "a: int", "b: str"),
        declared(FROZEN, "a: int", "b: str", "c: int"),
        {"a": 1, "b": "two", "c": 3},
        named=("c",),
        given={"c=…": "c=3"},
    ),
    "dataclass, slotted and frozen: a field removed": Change(
        declared(FROZEN, "a: int", "b: str"),
        declared(FROZEN, "a: int"),
        {"a": 1},
        named=("b",),
    ),
    "named tuple: a field inserted": Change(
        tuples("a: int", "b: str"),
        tuples("c: int = 3", "a: int = 0", "b: str = ''"),
        {"a": 1, "b": "two", "c": 3},
    ),
    "named tuple: a field added at the end with a default": Change(
        tuples("a: int", "b: str"),
        tuples("a: int", "b: str", "c: int = 3"),
        {"a": 1, "b": "two", "c": 3},
    ),
    "named tuple: a field removed": Change(
        tuples("a: int", "b: str"), tuples("a: int"), {"a": 1}, named=("b",)
    ),
    "enum: values renumbered": Change(
        enum(RED=1, GREEN=2, BLUE=3),
        enum(BLUE=1, RED=2, GREEN=3),
        {"name": "GREEN", "value": 3},
        made="Thing.GREEN",
    ),
    "enum: a member renamed": Change(
        enum(RED=1, GREEN=2, BLUE=3),
        enum(RED=1, LEAF=2, BLUE=3),
        {"name": "LEAF", "value": 2},
        made="Thing.GREEN",
    ),
    "enum: a member removed": Change(
        enum(RED=1, GREEN=2, BLUE=3),
        enum(RED=1, BLUE=3),
        {"name": "BLUE", "value": 3},
        made="Thing.GREEN",
        named=("GREEN",),
        given={'"…"': '"BLUE"'},
    ),
}

# Relatives of some of them.
MORE = {
    "plain: a field added that is an attribute of the class": Change(
        plain("a", "b"),
        plain("a", "b", "c").replace("class Thing:", "class Thing:\n        c = 3\n"),
        {"a": 1, "b": "two", "c": 3},
    ),
    "plain to a dataclass": Change(
        plain("a", "b"), declared(DATACLASS, "a: int", "b: str"), {"a": 1, "b": "two"}
    ),
    "attrs: a field added without a default": Change(
        declared(ATTRS, "a: int", "b: str"),
        declared(ATTRS, "a: int", "b: str", "c: int"),
        {"a": 1, "b": "two", "c": 3},
        named=("c",),
        given={"c=…": "c=3"},
    ),
    "attrs to plain": Change(
        declared(ATTRS, "a: int", "b: str"), plain("a", "b"), {"a": 1, "b": "two"}
    ),
    "attrs, slots=False: a field removed": Change(
        declared("attrs.define(slots=False)", "a: int", "b: str"),
        declared("attrs.define(slots=False)", "a: int"),
        {"a": 1},
    ),
    "attrs, without state: a field added with a default": Change(
        declared(ATTRS, "pass"),
        declared(ATTRS, "c: list = attrs.field(factory=lambda: [3])"),
        {"c": [3]},
        made="Thing()",
    ),
    "dataclass: a field added without a default": Change(
        declared(DATACLASS, "a: int", "b: str"),
        declared(DATACLASS, "a: int", "b: str", "c: int"),
        {"a": 1, "b": "two", "c": 3},
        named=("c",),
        given={"c=…": "c=3"},
    ),
    "dataclass to attrs": Change(
        declared(DATACLASS, "a: int", "b: str"),
        declared(ATTRS, "a: int", "b: str"),
        {"a": 1, "b": "two"},
    ),
    "dataclass, slotted and frozen: a field inserted": Change(
        declared(FROZEN, "a: int", "b: str"),
        declared(FROZEN, "c: int", "a: int", "b: str"),
        {"a": 1, "b": "two", "c": 3},
        named=("c",),
        given={"c=…": "c=3"},
    ),
    "dataclass, slotted and frozen: a field inserted with a default": Change(
        declared(FROZEN, "a: int", "b: str"),
        declared(FROZEN, "c: int = 3", "a: int = 0", "b: str = ''"),
        {"a": 1, "b": "two", "c": 3},
    ),
    "dataclass, slotted and frozen: unslotted": Change(
        declared(FROZEN, "a: int", "b: str"),
        declared("dataclasses.dataclass(frozen=True)", "a: int", "b: str"),
        {"a": 1, "b": "two"},
    ),
    "named tuple: fields swapped": Change(
        tuples("a: int", "b: str"), tuples("b: str", "a: int"), {"a": 1, "b": "two"}
    ),
    "named tuple: a field inserted without a default": Change(
        tuples("a: int", "b: str"),
        tuples("c: int", "a: int", "b: str"),
        {"a": 1, "b": "two", "c": 3},
        named=("c",),
        given={"c=…": "c=3"},
    ),
    "named tuple: a field renamed": Change(
        tuples("a: int", "b: str"),
        tuples("a: int", "bee: str"),
        {"a": 1, "bee": "two"},
        named=("b", "bee"),
    ),
    "named tuple to a dataclass": Change(
        tuples("a: int", "b: str"),
        declared(DATACLASS, "a: int", "b: str"),
        {"a": 1, "b": "two"},
    ),
    "enum: a member renamed and renumbered": Change(
        enum(RED=1, GREEN=2, BLUE=3),
        enum(RED=1, GREENISH=7, BLUE=3),
        {"name": "GREENISH", "value": 7},
        made="Thing.GREEN",
        named=("GREEN",),
    ),
    "enum: two members that change their names": Change(
        enum(RED=1, GREEN=2, BLUE=3),
        enum(RED=2, GREEN=1, BLUE=3),
        {"name": "GREEN", "value": 1},
        made="Thing.GREEN",
    ),
}
ALL = CHANGES | MORE

# A class that has not changed, and whose code is run whenever one of its instances is loaded.
WATCH = """
    ran = []

    class Watch:
        def __getstate__(self):
            return {"on": True}

        def __setstate__(self, state):
            ran.append(state)
            vars(self).update(state)
"""

each_change = pytest.mark.parametrize("change", ALL.values(), ids=ALL)
NAMED = {name: change for name, change in ALL.items() if change.named}
each_named_change = pytest.mark.parametrize("change", NAMED.values(), ids=NAMED)


@pytest.fixture
def code() -> Iterator[Program]:
    with program() as made:
        yield made


def saved(code: Program, change: Change) -> MemoryStore:
    """A state with the class of *change* among others; its code is the new one after that."""
    store = MemoryStore()
    module = code.release(shop=change.before, watch=WATCH)
    first, second = (eval(change.made, vars(module)) for _ in range(2))
    watches = [Watch() for Watch in [code.module("watch").Watch] * 2]
    state = {"w": watches[0], "things": [first, (second,)], "again": first, "end": watches[1]}
    Checkpointer(store).save(state)
    code.release(shop=change.after, watch=WATCH)
    return store


def check(state: Any, change: Change, code: Program) -> None:
    """The state is whole, and each thing in it is what it would be if it was made today."""
    first, (second,) = state["things"]
    cls = code.module("shop").Thing
    assert state["again"] is first
    assert [watch.on for watch in (state["w"], state["end"])] == [True, True]
    for thing in (first, second):
        assert type(thing) is cls
        assert {name: getattr(thing, name) for name in change.loaded} == change.loaded
        assert repr(thing)
        if "Enum" not in change.after:
            new = cls(**change.loaded)
            assert repr(thing) == repr(new)
            assert new == thing or cls.__eq__ is object.__eq__
        else:
            assert thing is getattr(cls, change.loaded["name"])


def complaint(store: MemoryStore, migrations: Migrations) -> str:
    with pytest.raises(MigrationError) as caught:
        Checkpointer(store, migrations=migrations, schema="strict").load()
    return str(caught.value)


def mended(change: Change, message: str) -> Migrations:
    """What *message* suggests, done."""
    migrations = Migrations()
    lines = re.findall(r"register (checkpoint\.\w+\(.*?\))(?:;|$)", message)
    assert lines, message
    source = "\n".join(lines)
    for gap, value in change.given.items():
        source = source.replace(gap, value)
    assert "…" not in source
    exec(source, {"checkpoint": migrations})
    return migrations


def test_there_are_25_changes() -> None:
    assert len(CHANGES) == 25


def test_the_page_on_the_changes_says_the_same() -> None:
    page = Path(__file__).parents[1] / "docs" / "explanation" / "class-changes.md"
    rows = re.findall(r"^\| (.+) \| .+ \| (loads|named).* \|$", page.read_text("utf-8"), re.M)
    assert {name.replace("`", ""): said for name, said in rows} == {
        name: "named" if change.named else "loads" for name, change in CHANGES.items()
    }


@each_change
def test_a_change_loads_rightly_or_is_named_before_anything_is_run(
    code: Program, change: Change
) -> None:
    store = saved(code, change)
    before = contents(store)
    if not change.named:
        for schema in ("warn", "strict", "off"):  # Warnings are errors here.
            saves = Checkpointer(store, migrations=Migrations(), schema=schema)  # type: ignore[arg-type]
            check(saves.load(), change, code)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", SchemaWarning)
        with pytest.raises(SchemaWarning) as warned:
            Checkpointer(store, migrations=Migrations()).load()
    message = complaint(store, Migrations())
    for text in (str(warned.value), message):
        assert text.startswith("shop:Thing: ")
        assert all(re.search(rf"\b{word}\b", text) for word in change.named), text
    assert code.module("watch").ran == []
    assert contents(store) == before


@each_named_change
def test_what_the_complaint_suggests_mends_it(code: Program, change: Change) -> None:
    store = saved(code, change)
    migrations = mended(change, complaint(store, Migrations()))
    saves = Checkpointer(store, migrations=migrations, schema="strict")
    state = saves.load()
    check(state, change, code)
    saves.save(state)
    check(Checkpointer(store, migrations=migrations, schema="strict").load(), change, code)


@each_change
def test_what_was_loaded_is_saved_as_of_today(code: Program, change: Change) -> None:
    """It loads again, and needs nothing that the old one needed."""
    store = saved(code, change)
    migrations = Migrations()
    if change.named:
        migrations = mended(change, complaint(store, migrations))
    saves = Checkpointer(store, migrations=migrations, schema="strict")
    saves.save(saves.load())
    found = Checkpointer(store, migrations=migrations, schema="strict").load(version=2)
    check(found, change, code)
    (entry,) = (t for t in saves.snapshots()[1].types if str(t) == "shop:Thing")
    assert entry.shape is not None
    assert entry.shape.version == (2 if change.named else 1)


REMOVED = [name for name in ALL if name.endswith("a field removed")]


@pytest.mark.parametrize("name", [name for name in REMOVED if not ALL[name].named])
def test_a_removed_field_is_not_lost_on_the_way_through(code: Program, name: str) -> None:
    """What today's class does not know is saved with it again, and an older program finds it."""
    change = ALL[name]
    store = saved(code, change)
    saves = Checkpointer(store, migrations=Migrations())
    saves.save(saves.load())
    code.release(shop=change.before, watch=WATCH)
    state = Checkpointer(store, migrations=Migrations(), schema="strict").load()
    assert [state["things"][0].b, state["things"][1][0].b] == ["two", "two"]


def test_a_new_validator_that_a_value_does_not_pass_is_named(code: Program) -> None:
    after = declared(ATTRS, "a: int", "b: str = attrs.field(validator=instance_of(str))")
    change = Change(declared(ATTRS, "a: int", "b: str"), after, {"a": 1, "b": "2"}, "Thing(1, 2)")
    store = saved(code, change)
    for schema in ("warn", "strict"):
        with pytest.raises(MigrationError, match=r"shop:Thing.*validator.*b.*'str'") as caught:
            Checkpointer(store, migrations=Migrations(), schema=schema).load()  # type: ignore[arg-type]
        assert isinstance(caught.value.__cause__, TypeError)
    migrations = Migrations()

    @migrations.upgrade("shop:Thing", 1)
    def as_text(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "b": str(state["b"])}

    check(Checkpointer(store, migrations=migrations, schema="strict").load(), change, code)


# --- the same for parts of a state ------------------------------------------


@each_change
def test_a_part_of_a_state_is_checked_too(code: Program, change: Change) -> None:
    store = saved(code, change)

    def load(migrations: Migrations) -> Any:
        saves = Checkpointer(store, migrations=migrations, schema="strict")
        return saves.load(only=("things", 0))

    migrations = Migrations()
    if change.named:
        with pytest.raises(MigrationError) as caught:
            load(migrations)
        migrations = mended(change, str(caught.value))
    thing = load(migrations)
    assert {name: getattr(thing, name) for name in change.loaded} == change.loaded


@each_named_change
def test_with_the_schema_off_nothing_is_said_before(code: Program, change: Change) -> None:
    """The program asked for it; only where no instance can be made at all, an error says so."""
    store = saved(code, change)
    with suppress(MigrationError):
        Checkpointer(store, migrations=Migrations(), schema="off").load()
    assert code.module("watch").ran
