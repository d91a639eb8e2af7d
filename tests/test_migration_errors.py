"""Bad migrations, and what they get: where, which class, which versions, what to register.

Whatever is wrong with a program's migrations, the snapshot is not touched by it: with the right
ones it loads.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from programs import Program, contents, program

from checkpoint import (
    Become,
    Checkpointer,
    MemoryStore,
    MigrationError,
    Migrations,
    SerializationError,
)

Register = Callable[[Migrations], object]

OLD = """
    class Orc:
        def __init__(self, power):
            self.power = power
"""

NEW = """
    from checkpoint import versioned

    @versioned(3)
    class Orc:
        pass

    class Uruk:
        pass

    SIZE = 3
"""

PATH = r"state\['orcs'\]\[1\]"


@pytest.fixture
def game() -> Iterator[Program]:
    with program() as made:
        yield made


@pytest.fixture
def store(game: Program) -> MemoryStore:
    """A snapshot of two orcs of version 1, and a program in which they are of version 3."""
    store = MemoryStore()
    units = game.release(units=OLD)
    Checkpointer(store, "slot").save({"day": 1, "orcs": [units.Orc(1), units.Orc(2)]})
    game.release(units=NEW)
    return store


def right() -> Migrations:
    """What takes an orc from version 1 to 3."""
    migrations = Migrations()
    migrations.rename_fields("units:Orc", 1, power="strength")
    migrations.add_fields("units:Orc", 2, armour=0)
    return migrations


def refused(store: MemoryStore, migrations: Migrations, text: str) -> MigrationError:
    """The error of a load, which changes nothing; *text* is a pattern of its message."""
    before = contents(store)
    with pytest.raises(MigrationError, match=text) as caught:
        Checkpointer(store, "slot", migrations=migrations).load()
    error = caught.value
    assert (error.name, error.version) == ("slot", 1)
    assert contents(store) == before
    loads(store, right())
    return error


def loads(store: MemoryStore, migrations: Migrations) -> None:
    """The snapshot loads rightly."""
    orcs = Checkpointer(store, "slot", migrations=migrations).load()["orcs"]
    assert [vars(orc) for orc in orcs] == [
        {"strength": 1, "armour": 0},
        {"strength": 2, "armour": 0},
    ]
    assert {type(orc).__qualname__ for orc in orcs} == {"Orc"}


# --- names ------------------------------------------------------------------


@pytest.mark.parametrize("new", ["nowhere.mobs:Orc", "units:Ork", "units:Orc.Inner"])
def test_a_rename_to_what_does_not_exist_names_both(store: MemoryStore, new: str) -> None:
    migrations = right()
    migrations.rename("units:Orc", new)
    error = refused(store, migrations, rf"units:Orc \(renamed to {new}\) is gone")
    assert "checkpoint.rename('units:Orc', " in str(error)
    assert "on_missing='stand-in'" in str(error)


def test_a_module_renamed_to_what_does_not_exist_is_named(store: MemoryStore) -> None:
    migrations = right()
    migrations.rename_module("units", "game.units")
    refused(store, migrations, r"units:Orc \(renamed to game\.units:Orc\) is gone")


def test_a_rename_to_what_is_no_class_is_refused(store: MemoryStore) -> None:
    migrations = Migrations()
    migrations.rename("units:Orc", "units:SIZE")
    refused(store, migrations, r"units:Orc.*units:SIZE.*class")


@pytest.mark.parametrize(
    "round",
    [
        [("rename", "units:Orc", "units:Orc")],
        [("rename", "units:Ork", "units:Orc"), ("rename", "units:Orc", "units:Ork")],
        [("rename_module", "mobs", "units"), ("rename_module", "units", "mobs")],
        [("rename", "units:Orc", "mobs:Orc"), ("rename_module", "mobs", "units")],
        [("rename_module", "mobs", "units"), ("rename", "units:Orc", "mobs:Orc")],
    ],
)
def test_renames_that_go_round_are_refused_and_forgotten(
    store: MemoryStore, round: list[tuple[str, str, str]]
) -> None:
    migrations = right()
    for verb, old, new in round[:-1]:
        getattr(migrations, verb)(old, new)
    verb, old, new = round[-1]
    before = migrations.renamed("units", "Orc")
    with pytest.raises(MigrationError, match=f"{old} to {new} goes round.*take out"):
        getattr(migrations, verb)(old, new)
    assert migrations.renamed("units", "Orc") == before
    if before == ("units", "Orc"):
        loads(store, migrations)


# --- versions ---------------------------------------------------------------


@pytest.mark.parametrize(("there", "missing"), [(1, 2), (2, 1)])
def test_a_gap_in_the_chain_is_named(store: MemoryStore, there: int, missing: int) -> None:
    migrations = Migrations()
    migrations.add_fields("units:Orc", there, armour=0)
    refused(
        store,
        migrations,
        "units:Orc was saved as version 1 and is version 3 now.*"
        f'from version {missing}; register one: @upgrade\\("units:Orc", {missing}\\)',
    )


def test_no_chain_at_all_is_a_gap(store: MemoryStore) -> None:
    refused(store, Migrations(), "units:Orc was saved as version 1 and is version 3 now")


def test_a_state_of_a_newer_program_is_refused(store: MemoryStore, game: Program) -> None:
    units = game.release(units=NEW.replace("versioned(3)", "versioned(9)"))
    orc = units.Orc()
    orc.strength = 1
    Checkpointer(store, "newer").save([orc])
    game.release(units=NEW)
    before = contents(store)
    with pytest.raises(MigrationError, match="units:Orc was saved as version 9, and is version 3"):
        Checkpointer(store, "newer", migrations=right()).load()
    assert contents(store) == before
    game.release(units=NEW.replace("versioned(3)", "versioned(9)"))
    assert Checkpointer(store, "newer").load()[0].strength == 1


def test_an_upgrade_beyond_the_declared_version_is_refused(store: MemoryStore) -> None:
    migrations = right()
    migrations.drop_fields("units:Orc", 3, "armour")
    refused(store, migrations, r"units:Orc is version 3.*from version 3.*@versioned\(4\)")


# --- upgrades ---------------------------------------------------------------


def failing(state: dict[str, Any]) -> dict[str, Any]:
    if state["strength"] == 2:
        raise ZeroDivisionError("by zero")
    return state


def upgraded_by(function: Callable[[Any], Any]) -> Migrations:
    migrations = Migrations()
    migrations.rename_fields("units:Orc", 1, power="strength")
    migrations.upgrade("units:Orc", 2)(function)
    return migrations


def test_an_upgrade_that_raises_names_the_instance(store: MemoryStore) -> None:
    error = refused(
        store,
        upgraded_by(failing),
        f"{PATH}.*units:Orc from version 1 to 3 failed: failing raised ZeroDivisionError: by zero.*"
        "the fields strength",
    )
    assert error.path == "state['orcs'][1]"
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_an_upgrade_that_misses_a_field_names_those_that_are_there(store: MemoryStore) -> None:
    migrations = upgraded_by(lambda state: {"armour": state["powr"]})
    error = refused(store, migrations, "units:Orc.*KeyError: 'powr'.*the fields strength")
    assert error.path == "state['orcs'][0]"


@pytest.mark.parametrize("returned", [None, [], "state", Become])
def test_an_upgrade_that_returns_no_state_is_named(store: MemoryStore, returned: Any) -> None:
    def forgets(state: dict[str, Any]) -> Any:
        return None if state["strength"] == 1 and returned is None else returned

    kind = type(returned).__name__
    error = refused(
        store,
        upgraded_by(forgets),
        f"{PATH.replace('1', '0')}.*upgrade .*forgets of units:Orc returned {kind} and not dict.*"
        "Become",
    )
    assert error.path == "state['orcs'][0]"


def test_an_upgrade_that_names_fields_by_numbers_is_refused(store: MemoryStore) -> None:
    refused(store, upgraded_by(lambda state: {1: 2}), "units:Orc")


@pytest.mark.parametrize("into", ["nowhere:Uruk", "units:Ork"])
def test_to_become_what_does_not_exist_is_refused(store: MemoryStore, into: str) -> None:
    error = refused(store, upgraded_by(lambda state: Become(into, state)), f"{into} is gone")
    assert error.path == "state['orcs'][0]"


def test_to_become_what_is_no_class_is_refused(store: MemoryStore) -> None:
    migrations = upgraded_by(lambda state: Become("units:SIZE", state))
    refused(store, migrations, "units:Orc.*units:SIZE")


def test_an_upgrade_that_is_interrupted_is_not_an_error_of_migration(store: MemoryStore) -> None:
    def interrupted(state: dict[str, Any]) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Checkpointer(store, "slot", migrations=upgraded_by(interrupted)).load()
    loads(store, right())


def test_what_was_registered_after_an_error_counts(store: MemoryStore) -> None:
    migrations = Migrations()
    migrations.rename_fields("units:Orc", 1, power="strength")
    saves = Checkpointer(store, "slot", migrations=migrations)
    with pytest.raises(MigrationError, match="version 2"):
        saves.load()
    migrations.add_fields("units:Orc", 2, armour=0)
    loads(store, migrations)
    assert saves.load()["orcs"][1].strength == 2


# --- twice ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        pytest.param(
            lambda m: m.rename("a:A", "b:B"),
            lambda m: m.rename("a:A", "c:C"),
            "a:A is renamed already, to b:B",
            id="rename",
        ),
        pytest.param(
            lambda m: m.rename_module("a", "b"),
            lambda m: m.rename_module("a", "c"),
            "a is renamed already, to b",
            id="rename_module",
        ),
        pytest.param(
            lambda m: m.upgrade("units:Orc", 3)(failing),
            lambda m: m.upgrade("units:Orc", 3)(lambda state: state),
            "units:Orc has an upgrade from version 3 already, .*failing",
            id="upgrade",
        ),
        pytest.param(
            lambda m: m.graph_migration("levels")(lambda root: root),
            lambda m: m.graph_migration("levels")(lambda root: root),
            "two graph migrations 'levels'",
            id="graph_migration",
        ),
    ],
)
def test_a_second_registration_is_refused_and_the_first_counts(
    first: Register, second: Register, text: str
) -> None:
    migrations = Migrations()
    first(migrations)
    with pytest.raises(MigrationError, match=f"{text}.*keep one"):
        second(migrations)
    with pytest.raises(MigrationError, match=text):
        second(migrations)


def test_two_upgrades_under_two_names_of_a_class_are_refused(store: MemoryStore) -> None:
    migrations = right()
    migrations.rename("old.units:Orc", "units:Orc")
    migrations.upgrade("old.units:Orc", 1)(lambda state: state)
    refused(store, migrations, "units:Orc has two upgrades from version 1")


# --- whole graphs -----------------------------------------------------------


def graph_failing(root: Any) -> Any:
    root["day"] = 99
    return root["players"]


def graph_forgetting(root: Any) -> None:
    root["day"] = 99


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (graph_failing, "the graph migration 'players' failed: .*KeyError: 'players'"),
        (graph_forgetting, "the graph migration 'players' returned None: return the root"),
    ],
)
def test_a_graph_migration_that_goes_wrong_is_named(
    store: MemoryStore, function: Callable[[Any], Any], text: str
) -> None:
    migrations = right()
    migrations.graph_migration("before")(lambda root: root)
    migrations.graph_migration("players")(function)
    refused(store, migrations, text)
    assert Checkpointer(store, "slot", migrations=right()).load()["day"] == 1


def test_a_save_after_a_load_that_failed_does_not_count_as_migrated(store: MemoryStore) -> None:
    """The next save, of a state that is not from there, has nothing behind it but is of today."""
    migrations = right()
    migrations.graph_migration("players")(graph_forgetting)
    saves = Checkpointer(store, "slot", migrations=migrations)
    with pytest.raises(MigrationError):
        saves.load()
    assert saves.version is None


# --- classes that forbid the usual way --------------------------------------

FORBIDDING = {
    "__init_subclass__": """
        class Orc:
            def __init_subclass__(cls):
                raise TypeError("no subclasses")
    """,
    "typing.final": """
        from typing import final

        @final
        class Orc:
            def __init_subclass__(cls):
                raise TypeError("it is final")
    """,
    "a metaclass that refuses": """
        class Final(type):
            def __new__(kind, name, bases, body):
                if any(isinstance(base, Final) for base in bases):
                    raise TypeError("it is final")
                return super().__new__(kind, name, bases, body)

        class Orc(metaclass=Final):
            pass
    """,
    "a metaclass that counts": """
        class Counting(type):
            made = []

            def __new__(kind, name, bases, body):
                cls = super().__new__(kind, name, bases, body)
                Counting.made.append(name)
                return cls

        class Orc(metaclass=Counting):
            pass
    """,
    "a registry of subclasses": """
        class Orc:
            made = []

            def __init_subclass__(cls):
                Orc.made.append(cls)
    """,
    "a metaclass that lets nothing be made": """
        class Abstract(type):
            def __call__(cls, *args):
                raise TypeError("call Orc.of")

        class Orc(metaclass=Abstract):
            pass
    """,
    "a __new__ that wants arguments": """
        class Orc:
            def __new__(cls, *args):
                return object.__new__(cls)
    """,
    "slots": """
        class Orc:
            __slots__ = ("strength", "armour", "__weakref__")
    """,
    "slots that are inherited, and final": """
        class Unit:
            __slots__ = ("strength",)

        class Orc(Unit):
            __slots__ = ("armour",)

            def __init_subclass__(cls):
                raise TypeError("it is final")
    """,
    "attributes that cannot be set": """
        class Orc:
            def __setattr__(self, name, value):
                raise AttributeError("it is frozen")
    """,
    "a class that cannot be set": """
        class Orc:
            @property
            def __class__(self):
                return Orc

            @__class__.setter
            def __class__(self, kind):
                raise TypeError("it stays what it is")
    """,
    "an abstract base": """
        from abc import ABC, abstractmethod

        class Unit(ABC):
            @abstractmethod
            def act(self): ...

        class Orc(Unit):
            def act(self): ...
    """,
    "a generic": """
        from typing import Generic, TypeVar

        T = TypeVar("T")

        class Orc(Generic[T]):
            pass
    """,
    "an equality that looks at everything": """
        class Orc:
            def __eq__(self, other):
                return vars(self) == vars(other)

            def __hash__(self):
                return hash(self.strength)
    """,
    "a subclass of an exception": """
        class Orc(Exception):
            pass
    """,
}


@pytest.mark.parametrize("source", FORBIDDING.values(), ids=FORBIDDING)
def test_a_class_that_forbids_the_usual_way_loads(game: Program, source: str) -> None:
    def state(units: Any) -> Any:
        made = [object.__new__(units.Orc) for _ in range(2)] if "Exception" not in source else None
        orcs = made or [units.Orc(), units.Orc()]
        for number, orc in enumerate(orcs):
            object.__setattr__(orc, "strength", number)
            object.__setattr__(orc, "armour", None)
        return {"orcs": orcs, "set": {1}, "again": orcs[1]}

    store = MemoryStore()
    units = game.release(units=source)
    Checkpointer(store).save(state(units))
    units = game.release(units=source)
    migrations = Migrations()
    migrations.drop_fields("units:Orc", 1, "armour")
    migrations.add_fields("units:Orc", 1, armour=7)
    loaded = Checkpointer(store, migrations=migrations).load()
    assert [(o.strength, o.armour) for o in loaded["orcs"]] == [(0, 7), (1, 7)]
    assert all(type(orc) is units.Orc for orc in loaded["orcs"])
    assert loaded["again"] is loaded["orcs"][1]
    gc.collect()
    assert units.Orc.__subclasses__() == []
    if "made = []" in source:
        assert getattr(units, "Counting", units.Orc).made == (
            ["Orc"] if "Counting" in source else []
        )


def test_a_class_that_lets_no_version_be_declared_takes_it_in_its_body(game: Program) -> None:
    source = """
        from checkpoint import versioned

        class Frozen(type):
            def __setattr__(cls, name, value):
                raise AttributeError("classes are frozen here")

        class Orc(metaclass=Frozen):
            __checkpoint_version__ = 2
    """
    store = MemoryStore()
    units = game.release(units=source.replace("= 2", "= 1"))
    orc = units.Orc()
    orc.power = 1
    Checkpointer(store).save(orc)
    units = game.release(units=source)
    with pytest.raises(MigrationError, match="__checkpoint_version__ = 3 in its body"):
        units.versioned(3)(units.Orc)
    migrations = Migrations()
    migrations.rename_fields("units:Orc", 1, power="strength")
    assert vars(Checkpointer(store, migrations=migrations).load()) == {"strength": 1}


# --- the rest of the graph --------------------------------------------------


def test_an_error_of_the_class_itself_is_not_one_of_migration(game: Program) -> None:
    """A `__setstate__` that raises is the program's own; its error is the cause."""
    store = MemoryStore()
    units = game.release(units=OLD)
    Checkpointer(store).save([units.Orc(1)])
    game.release(
        units="""
        class Orc:
            def __setstate__(self, state):
                raise ZeroDivisionError("by zero")
        """
    )
    migrations = Migrations()
    migrations.rename_fields("units:Orc", 1, power="strength")
    with pytest.raises(SerializationError, match="ZeroDivisionError: by zero") as caught:
        Checkpointer(store, migrations=migrations).load()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
