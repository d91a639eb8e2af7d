"""Old versions are appended anew in today's classes, and nothing of the old ones is lost."""

from __future__ import annotations

import io
import itertools
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest
from attrs import define

from checkpoint import (
    Checkpointer,
    DamagedSnapshotWarning,
    MemoryStore,
    MigrationError,
    SerializationError,
    Snapshot,
    Store,
    _migrating,
    keep_last,
)
from checkpoint._migrating import Migrated
from checkpoint._migration import Migrations, versioned
from checkpoint._rewriting import renamed
from checkpoint.testing import CrashingStore, SimulatedCrash

Define = Callable[..., None]


@pytest.fixture
def program() -> Iterator[Define]:
    """Defines the modules that a program is made of: `program(units={"Orc": Orc})`."""
    made: set[str] = set()

    def define_modules(**modules: dict[str, type]) -> None:
        for name in made:
            sys.modules.pop(name, None)
        for name, classes in modules.items():
            module = sys.modules[name] = types.ModuleType(name)
            made.add(name)
            for qualname, cls in classes.items():
                cls.__module__, cls.__qualname__, cls.__name__ = name, qualname, qualname
                setattr(module, qualname, cls)

    yield define_modules
    define_modules()


class Orc:
    """A plain class, which must not be asked when only its name changes."""

    def __init__(self, power: int) -> None:
        self.power = power

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("something of the stream was run")


def plain() -> Any:
    class Unit:
        def __init__(self, power: int) -> None:
            self.power = power

    return Unit


@define
class Sword:
    length: int


def old_versions(store: Store, define: Define, cls: Any = Orc, count: int = 3) -> None:
    """Versions with `units:Orc`, and then a program that calls it `mobs:Orc`."""
    define(units={"Orc": cls})
    with Checkpointer(store) as saves:
        for number in range(1, count + 1):
            state = {"orcs": [cls(number), cls(0)], "at": "units", "array": np.arange(20_000.0)}
            metrics, meta = {"loss": 1 / number}, {"note": str(number)}
            saves.save(state, metrics=metrics, meta=meta, tags=[f"v{number}", "last"])
    define(mobs={"Orc": cls})


def renames() -> Migrations:
    migrations = Migrations()
    migrations.rename("units:Orc", "mobs:Orc")
    return migrations


def ways(found: list[Migrated]) -> list[tuple[int, str, int | None]]:
    return [(one.version, one.way, one.into) for one in found]


def lines(store: Store) -> list[tuple[Any, ...]]:
    """All that a program may know of the versions, but for their numbers."""
    found = Checkpointer(store).snapshots()
    there = {s.version: s.created for s in found}
    return [
        (s.created, there.get(s.parent or 0), s.tags, dict(s.metrics), s.meta, s.own, s.types)
        for s in found
    ]


def contents(store: MemoryStore) -> dict[str, bytes]:
    return {key: bytes(store.get(key)) for key in store.keys("")}


def power(state: Any) -> Any:
    return [orc.power for orc in state["orcs"]]


# --- names ------------------------------------------------------------------


def test_names_are_changed_in_new_versions_and_nothing_is_run(program: Define) -> None:
    store = MemoryStore()
    old_versions(store, program)
    before = Checkpointer(store).snapshots()
    kept = contents(store)
    found = Checkpointer(store, migrations=renames()).migrate()
    assert ways(found) == [(1, "rename", 4), (2, "rename", 5), (3, "rename", 6)]
    assert found[0].why == "units:Orc → mobs:Orc"
    assert contents(store).items() >= kept.items()
    after = Checkpointer(store).snapshots()
    for old, new in zip(before, after[3:], strict=True):
        assert (new.parent, new.created, new.own) == (old.version, old.created, True)
        assert (new.metrics, new.meta, new.tags) == (old.metrics, old.meta, old.tags)
        assert "mobs:Orc" in map(str, new.types)
        assert "units:Orc" not in map(str, new.types)
        assert new.stored < 2_000  # the array is there already
    assert all(snapshot.tags == () for snapshot in after[:3])
    assert Checkpointer(store).verify() == []


def test_what_was_migrated_loads_without_the_migrations(program: Define) -> None:
    store, cls = MemoryStore(), plain()
    old_versions(store, program, cls)
    Checkpointer(store, migrations=renames()).migrate()
    saves = Checkpointer(store, migrations=Migrations())
    for number in (1, 2, 3):
        state = saves.load(version=number + 3)
        assert power(state) == [number, 0]
        assert type(state["orcs"][0]) is cls
        assert state["at"] == "units"
        assert np.array_equal(state["array"], np.arange(20_000.0))
    assert power(saves.load(tag="v2")) == [2, 0]
    assert power(saves.load()) == [3, 0]


def test_the_stored_shapes_of_bases_get_their_new_names(program: Define) -> None:
    base = versioned(2)(plain())
    derived = type("Uruk", (base,), {})
    program(units={"Orc": base, "Uruk": derived})
    store = MemoryStore()
    Checkpointer(store).save(derived(1))
    program(mobs={"Orc": base, "Uruk": derived})
    migrations = Migrations()
    migrations.rename_module("units", "mobs")
    assert ways(Checkpointer(store, migrations=migrations).migrate()) == [(1, "rename", 2)]
    (entry,) = (t for t in Checkpointer(store).snapshots()[1].types if t.qualname == "Uruk")
    assert entry.shape is not None
    assert entry.shape.bases == {"mobs:Orc": 2}
    assert Checkpointer(store, migrations=Migrations()).load().power == 1


def test_two_classes_that_become_one_are_loaded(program: Define) -> None:
    one, other = plain(), plain()
    program(units={"Orc": one, "Goblin": other})
    store = MemoryStore()
    Checkpointer(store).save([one(1), other(2)])
    program(mobs={"Orc": one})
    migrations = renames()
    migrations.rename("units:Goblin", "mobs:Orc")
    found = Checkpointer(store, migrations=migrations).migrate()
    assert ways(found) == [(1, "load", 2)]
    assert [type(orc) for orc in Checkpointer(store).load()] == [one, one]


# --- states -----------------------------------------------------------------


def upgraded_sword() -> tuple[Any, Migrations]:
    """A class that calls its field otherwise, and what takes old states there."""

    @versioned(2)
    @define
    class Sword:
        inches: int
        sharp: bool = True

    migrations = Migrations()
    migrations.rename_fields("items:Sword", 1, length="inches")
    return Sword, migrations


def test_states_that_changed_are_loaded_and_saved(program: Define) -> None:
    program(items={"Sword": Sword})
    store = MemoryStore()
    saves = Checkpointer(store)
    for length in (7, 8):
        saves.save([Sword(length)], metrics={"length": length}, tags=["best"])
    new, migrations = upgraded_sword()
    program(items={"Sword": new})
    found = Checkpointer(store, migrations=migrations).migrate()
    assert ways(found) == [(1, "load", 3), (2, "load", 4)]
    assert found[0].why == "items:Sword has changed"
    today = Checkpointer(store, migrations=Migrations())
    assert today.load(version=3) == [new(7, True)]
    assert today.load(tag="best") == [new(8, True)]
    first, _, third, _ = today.snapshots()
    assert (third.parent, third.created, third.metrics) == (1, first.created, {"length": 7})


def test_a_class_that_declares_no_version_is_migrated_once(program: Define) -> None:
    program(units={"Orc": plain()})
    store = MemoryStore()
    Checkpointer(store, migrations=Migrations()).save(sys.modules["units"].Orc(3))

    class Strong:
        def __init__(self, strength: int) -> None:
            self.strength = strength

    program(units={"Orc": Strong})
    migrations = Migrations()
    migrations.rename_fields("units:Orc", 1, power="strength")
    saves = Checkpointer(store, migrations=migrations)
    assert ways(saves.migrate()) == [(1, "load", 2)]
    assert vars(saves.load()) == {"strength": 3}
    assert ways(saves.migrate()) == [(2, "nothing", None)]


def test_a_graph_migration_is_recorded_and_not_run_again(program: Define) -> None:
    store = MemoryStore()
    Checkpointer(store, migrations=Migrations()).save({"levels": 1})
    migrations = Migrations()
    runs = []

    @migrations.graph_migration("two levels")
    def add_level(root: Any) -> Any:
        runs.append(root)
        return {"levels": root["levels"] + 1}

    saves = Checkpointer(store, migrations=migrations)
    found = saves.migrate()
    assert (ways(found), found[0].why) == ([(1, "load", 2)], "the migration 'two levels'")
    runs.clear()
    assert saves.load() == {"levels": 2}
    assert ways(saves.migrate()) == [(2, "nothing", None)]
    assert runs == []


# --- the order --------------------------------------------------------------


def test_the_newest_state_stays_the_newest(program: Define) -> None:
    store, cls = MemoryStore(), plain()
    old_versions(store, program, cls, 2)
    Checkpointer(store).save({"orcs": [cls(9)]}, tags=["new"])
    found = Checkpointer(store, migrations=renames()).migrate()
    assert ways(found) == [(1, "rename", 4), (2, "rename", 5), (3, "copy", 6)]
    saves = Checkpointer(store)
    assert power(saves.load()) == [9]
    assert saves.snapshots()[-1].tags == ("new",)


def test_what_needs_nothing_stays_as_it_is(program: Define) -> None:
    store = MemoryStore()
    program(mobs={"Orc": Orc})
    saves = Checkpointer(store, migrations=renames())
    saves.save([Orc(1)])
    before = contents(store)
    assert ways(saves.migrate()) == [(1, "nothing", None)]
    assert contents(store) == before
    assert Checkpointer(MemoryStore()).migrate() == []


def test_a_migrated_version_is_not_migrated_again(program: Define) -> None:
    store = MemoryStore()
    old_versions(store, program)
    Checkpointer(store, migrations=renames()).migrate()
    before = contents(store)
    again = Checkpointer(store, migrations=renames()).migrate()
    assert ways(again) == [(4, "nothing", None), (5, "nothing", None), (6, "nothing", None)]
    assert contents(store) == before


def test_a_later_rename_takes_the_migrated_versions_along(program: Define) -> None:
    store, cls = MemoryStore(), plain()
    old_versions(store, program, cls, 2)
    Checkpointer(store, migrations=renames()).migrate()
    program(beasts={"Orc": cls})
    migrations = renames()
    migrations.rename_module("mobs", "beasts")
    found = Checkpointer(store, migrations=migrations).migrate()
    assert ways(found) == [(3, "rename", 5), (4, "rename", 6)]
    assert power(Checkpointer(store).load()) == [2, 0]


def test_a_version_whose_new_one_was_deleted_takes_its_old_place(program: Define) -> None:
    store, cls = MemoryStore(), plain()
    old_versions(store, program, cls)
    saves = Checkpointer(store, migrations=renames())
    saves.migrate()
    saves.delete(4)
    assert ways(saves.migrate()) == [(1, "rename", 7), (5, "copy", 8), (6, "copy", 9)]
    assert [power(saves.load(version=version))[0] for version in (7, 8, 9)] == [1, 2, 3]


def test_a_retention_policy_waits_for_the_next_save(program: Define) -> None:
    store, cls = MemoryStore(), plain()
    old_versions(store, program, cls)
    saves = Checkpointer(store, migrations=renames(), keep=keep_last(1))
    assert [one.into for one in saves.migrate()] == [4, 5, 6]
    assert len(saves) == 6
    saves.save(saves.load())
    assert [snapshot.version for snapshot in saves] == [7]


# --- what goes wrong --------------------------------------------------------


def gone_in_the_middle(store: Store, define: Define) -> tuple[Any, Any]:
    """Three versions with `units:Orc`, the second of them with a `units:Elf`, too."""
    orc, elf = plain(), plain()
    define(units={"Orc": orc, "Elf": elf})
    saves = Checkpointer(store)
    for number, more in enumerate([[], [elf(5)], []], 1):
        saves.save({"orcs": [orc(number), *more]})
    define(mobs={"Orc": orc}, people={"Elf": elf})
    return orc, elf


def test_what_cannot_be_migrated_is_told_and_the_others_go_on(program: Define) -> None:
    store = MemoryStore()
    gone_in_the_middle(store, program)
    found = Checkpointer(store, migrations=renames()).migrate()
    assert ways(found) == [(1, "rename", 4), (2, "cannot", 5), (3, "rename", 6)]
    error = found[1].error
    assert isinstance(error, MigrationError)
    assert "units:Elf is gone" in str(error)
    assert (error.name, error.version) == ("main", 2)
    again = Checkpointer(store, migrations=renames()).migrate()
    assert ways(again) == [(4, "nothing", None), (5, "cannot", None), (6, "nothing", None)]
    migrations = renames()
    migrations.rename("units:Elf", "people:Elf")
    saves = Checkpointer(store, migrations=migrations)
    assert ways(saves.migrate()) == [(4, "nothing", None), (5, "rename", 7), (6, "copy", 8)]
    assert power(saves.load()) == [3]
    assert power(saves.load(version=7)) == [2, 5]


def test_what_is_gone_may_stand_in_for_itself(program: Define) -> None:
    store = MemoryStore()
    _, elf = gone_in_the_middle(store, program)
    terms = Checkpointer(store, migrations=renames(), on_missing="stand-in")
    assert ways(terms.migrate()) == [(1, "rename", 4), (2, "rename", 5), (3, "rename", 6)]
    migrations = renames()
    migrations.graph_migration("the same")(lambda root: root)
    terms = Checkpointer(store, migrations=migrations, on_missing="stand-in")
    assert ways(terms.migrate()) == [(4, "load", 7), (5, "load", 8), (6, "load", 9)]
    migrations.rename("units:Elf", "people:Elf")
    saves = Checkpointer(store, migrations=migrations)
    assert power(saves.load(version=8)) == [2, 5]
    assert type(saves.load(version=8)["orcs"][1]) is elf


def test_a_newest_version_that_cannot_be_migrated_stays_the_newest(program: Define) -> None:
    store, cls = MemoryStore(), plain()
    old_versions(store, program, cls, 2)
    program(mobs={"Orc": cls}, items={"Sword": Sword})
    Checkpointer(store).save(Sword(1))
    program(mobs={"Orc": cls})
    saves = Checkpointer(store, migrations=renames())
    assert ways(saves.migrate()) == [(1, "rename", 4), (2, "rename", 5), (3, "cannot", 6)]
    with pytest.raises(MigrationError, match="items:Sword is gone"):
        saves.load()


def test_an_upgrade_that_raises_spoils_its_version_alone(program: Define) -> None:
    program(items={"Sword": Sword})
    store = MemoryStore()
    saves = Checkpointer(store)
    for length in (1, 2, 3):
        saves.save(Sword(length))
    new, _ = upgraded_sword()
    program(items={"Sword": new})
    migrations = Migrations()

    @migrations.upgrade("items:Sword", 1)
    def measure(state: dict[str, Any]) -> dict[str, Any]:
        return {"inches": {1: 10, 3: 30}[state["length"]]}

    saves = Checkpointer(store, migrations=migrations)
    found = saves.migrate()
    assert ways(found) == [(1, "load", 4), (2, "load", 5), (3, "load", 6)]
    assert [one.error is None for one in found] == [True, False, True]
    assert "KeyError" in str(found[1].error)
    assert saves.load() == new(30)
    assert ways(saves.migrate())[1] == (5, "load", None)


def test_a_state_that_today_s_class_would_misread_is_not_written_down(program: Define) -> None:
    """A load warns of it, and goes on; what is appended must be right."""
    program(units={"Orc": plain()})
    store = MemoryStore()
    Checkpointer(store, migrations=Migrations()).save(sys.modules["units"].Orc(3))

    class Strong:
        def __init__(self, strength: int) -> None:
            self.strength = strength

    program(mobs={"Orc": Strong})
    (one,) = Checkpointer(store, migrations=renames()).migrate()
    assert (one.way, one.into) == ("cannot", None)
    assert "rename_fields" in str(one.error)
    (one,) = Checkpointer(store, migrations=renames(), schema="off").migrate()
    assert (one.way, one.into) == ("rename", 2)


def test_a_damaged_version_is_told(program: Define) -> None:
    store = MemoryStore()
    old_versions(store, program)
    key = "snapshots/main/@/0000000002.json"
    raw = bytes(store.get(key))
    store.delete([key])
    store.put(key, [raw[:-9]])
    with pytest.warns(DamagedSnapshotWarning):
        found = Checkpointer(store, migrations=renames()).migrate()
    assert ways(found) == [(2, "cannot", None), (1, "rename", 4), (3, "rename", 5)]
    assert found[0].error is not None


def test_a_module_that_raises_when_it_is_imported_is_told(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, program: Define
) -> None:
    store = MemoryStore()
    old_versions(store, program, count=1)
    program()
    (tmp_path / "mobs.py").write_text("raise OSError('no display')")
    monkeypatch.syspath_prepend(tmp_path)
    (one,) = Checkpointer(store, migrations=renames()).migrate()
    assert isinstance(one.error, SerializationError)
    assert "no display" in str(one.error)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    dry_run: bool, program: Define
) -> None:
    store = MemoryStore()
    gone_in_the_middle(store, program)
    Checkpointer(store).save("newest")
    before = contents(store)
    found = Checkpointer(store, migrations=renames()).migrate(dry_run=dry_run)
    assert [one.way for one in found] == ["rename", "cannot", "rename", "copy"]
    assert [one.error is None for one in found] == [True, False, True, True]
    assert (contents(store) == before) is dry_run


# --- foreign ----------------------------------------------------------------


def imported(store: Store, source: Store) -> Snapshot:
    file = io.BytesIO()
    Checkpointer(source, key=None).export(1, file)  # holds no key, so that it is foreign here
    file.seek(0)
    return Checkpointer(store).import_(file)


def test_of_a_foreign_version_names_are_changed_and_nothing_is_imported(program: Define) -> None:
    store, source = MemoryStore(), MemoryStore()
    old_versions(source, program, count=1)
    program()  # none of its modules is there
    before = imported(store, source)
    (one,) = Checkpointer(store, migrations=renames()).migrate()
    assert (one.way, one.into) == ("rename", 2)
    after = Checkpointer(store).snapshots()[1]
    assert (after.own, after.created, after.parent) == (False, before.created, 1)
    assert "mobs:Orc" in map(str, after.types)


def test_a_foreign_version_is_not_loaded(program: Define) -> None:
    store, source = MemoryStore(), MemoryStore()
    one, other = plain(), plain()
    program(units={"Orc": one, "Goblin": other})
    Checkpointer(source).save([one(1), other(2)])
    imported(store, source)
    migrations = renames()
    migrations.rename("units:Goblin", "mobs:Orc")
    (found,) = Checkpointer(store, migrations=migrations).migrate()
    assert (found.way, found.into) == ("cannot", None)
    assert "adopt(" in str(found.error)


# --- what is written is read back -------------------------------------------


def half_renamed(stream: Any, rename: Any) -> bytes | None:
    """As if one of two globals had been overlooked."""
    seen: list[Any] = []

    def first_only(module: str, qualname: str) -> tuple[str, str]:
        new = rename(module, qualname)
        seen.append(new != (module, qualname))
        return (module, qualname) if sum(seen) == 2 else new

    return renamed(stream, first_only)


def test_a_version_that_does_not_come_out_right_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, program: Define
) -> None:
    store, cls, elf = MemoryStore(), plain(), plain()
    program(units={"Orc": cls, "Elf": elf})
    Checkpointer(store).save([cls(1), elf(2)], tags=["it"])
    program(mobs={"Orc": cls, "Elf": elf})
    migrations = Migrations()
    migrations.rename_module("units", "mobs")
    monkeypatch.setattr(_migrating, "renamed", half_renamed)
    saves = Checkpointer(store, migrations=migrations)
    (one,) = saves.migrate()
    assert one.into is None
    assert "its stream has old names" in str(one.error)
    assert [(s.version, s.tags) for s in saves] == [(1, ("it",))]


# --- crashes ----------------------------------------------------------------


def to_migrate(define: Define, new: Any) -> MemoryStore:
    """Four versions, of which one is renamed, one loaded, one copied; one cannot be migrated."""
    store, orc, elf = MemoryStore(), plain(), plain()
    define(units={"Orc": orc, "Elf": elf}, items={"Sword": Sword})
    saves = Checkpointer(store)
    saves.save({"orc": orc(1), "array": np.arange(20_000.0)}, tags=["a", "all"])
    saves.save({"sword": Sword(2), "orc": orc(2)}, tags=["b", "all"])
    saves.save({"elf": elf(3)}, tags=["c"])
    saves.save({"array": np.arange(20_000.0) + 1}, tags=["d"])
    define(mobs={"Orc": orc}, items={"Sword": new})
    return store


@pytest.mark.parametrize("when", ["before", "after"])
def test_after_a_crash_at_any_write_a_second_run_ends_the_same(
    when: Literal["before", "after"], program: Define
) -> None:
    new, migrations = upgraded_sword()
    migrations.rename("units:Orc", "mobs:Orc")
    whole = to_migrate(program, new)
    before = contents(whole)
    expected = [("rename", False), ("load", False), ("cannot", True), ("copy", False)]
    found = Checkpointer(whole, migrations=migrations).migrate()
    assert [(one.way, one.error is not None) for one in found] == expected
    for crash_at in itertools.count(1):
        store = MemoryStore()
        for key, raw in before.items():
            store.put(key, [raw])
        crashing = CrashingStore(store, crash_at, when)
        with suppress(SimulatedCrash):
            Checkpointer(crashing, migrations=migrations).migrate()
        Checkpointer(store, migrations=migrations).migrate()
        assert lines(store) == lines(whole), f"a crash {when} write {crash_at}"
        assert Checkpointer(store).verify() == []
        if not crashing.crashed:
            break
    assert crash_at > 4


@pytest.mark.parametrize("kind", ["@attrs.define", "@attrs.define(slots=False)"])
def test_a_class_that_lost_a_field_is_migrated_once(kind: str, tmp_path: Path) -> None:
    source = f"import attrs\n{kind}\nclass Orc:\n    hp: int\n"
    module = ModuleType("leaner")
    sys.modules["leaner"] = module
    try:
        exec(source + "    mood: str = 'grim'", module.__dict__)
        Checkpointer(tmp_path).save([module.Orc(1, "gay")])
        exec(source, module.__dict__)
        assert [one.way for one in Checkpointer(tmp_path).migrate()] in (["load"], ["nothing"])
        assert {one.way for one in Checkpointer(tmp_path).migrate()} == {"nothing"}
        assert Checkpointer(tmp_path).load()[0].hp == 1
    finally:
        del sys.modules["leaner"]
