"""The registry: names that changed, steps between versions, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

import checkpoint
from checkpoint import Become, MigrationError, Migrations, versioned


class Plain:
    pass


@pytest.fixture
def migrations() -> Migrations:
    return Migrations()


# --- names ------------------------------------------------------------------


def test_a_name_without_a_rename_stays(migrations: Migrations) -> None:
    migrations.rename("game:Orc", "game:Uruk")
    assert migrations.renamed("game", "Elf") == ("game", "Elf")


def test_renames_are_followed_in_a_chain_of_any_order(migrations: Migrations) -> None:
    migrations.rename("game:B", "game.mobs:C")
    migrations.rename_module("game.mobs", "game.beings")
    migrations.rename("game:A", "game:B")
    assert migrations.renamed("game", "A") == ("game.beings", "C")


def test_what_is_nested_moves_along(migrations: Migrations) -> None:
    migrations.rename("game:Outer", "other:Shell")
    assert migrations.renamed("game", "Outer.Inner.Core") == ("other", "Shell.Inner.Core")
    assert migrations.renamed("game", "Outermost") == ("game", "Outermost")


def test_the_closest_rename_counts(migrations: Migrations) -> None:
    migrations.rename_module("game", "play")
    migrations.rename_module("game.ai", "minds")
    migrations.rename("game.ai:Deep", "game.brains:Deeper")
    assert migrations.renamed("game.ai.path", "Star") == ("minds.path", "Star")
    assert migrations.renamed("game.ai", "Deep") == ("play.brains", "Deeper")
    assert migrations.renamed("game2", "Star") == ("game2", "Star")


def test_a_module_that_became_a_package_moves_once(migrations: Migrations) -> None:
    migrations.rename_module("game", "game.core")
    assert migrations.renamed("game", "Orc") == ("game.core", "Orc")
    assert migrations.renamed("game.core", "Orc") == ("game.core", "Orc")
    assert migrations.renamed("game.ai", "Orc") == ("game.core.ai", "Orc")


def test_a_rename_after_a_look_counts(migrations: Migrations) -> None:
    migrations.rename("a:A", "b:B")
    assert migrations.renamed("b", "C") == ("b", "C")
    migrations.rename("b:C", "c:C")
    assert migrations.renamed("b", "C") == ("c", "C")


@pytest.mark.parametrize(
    "renames",
    [
        [("a:A", "a:A")],
        [("a:A", "b:B"), ("b:B", "a:A")],
        [("a:A", "b:B"), ("b:B", "c:C"), ("c:C", "a:A")],
        [("a", "a")],
        [("a", "b"), ("b", "a")],
        [("a:A", "b:A"), ("b", "a")],
        [("b", "a"), ("a:A", "b:A")],
    ],
)
def test_renames_that_go_round_are_refused(
    migrations: Migrations, renames: list[tuple[str, str]]
) -> None:
    def register(old: str, new: str) -> None:
        (migrations.rename if ":" in old else migrations.rename_module)(old, new)

    for pair in renames[:-1]:
        register(*pair)
    with pytest.raises(MigrationError, match="goes round"):
        register(*renames[-1])
    if len(renames) > 1:
        module, _, name = renames[0][0].partition(":")
        assert ":".join(migrations.renamed(module, name or "X")).startswith(renames[-2][1])


def test_a_second_rename_of_the_same_is_refused(migrations: Migrations) -> None:
    migrations.rename("a:A", "b:B")
    migrations.rename("a:A", "b:B")
    with pytest.raises(MigrationError, match="renamed already, to b:B"):
        migrations.rename("a:A", "b:C")
    migrations.rename_module("a", "b")
    with pytest.raises(MigrationError, match="renamed already, to b"):
        migrations.rename_module("a", "c")
    assert migrations.renamed("a", "A") == ("b", "B")


@pytest.mark.parametrize(
    "name", ["Orc", "game.Orc", "game:", ":Orc", "game:Or c", "a b:C", "a:b:c"]
)
def test_what_is_no_name_is_refused(migrations: Migrations, name: str) -> None:
    with pytest.raises(ValueError, match="write 'module:Class'"):
        migrations.rename(name, "game:Orc")
    with pytest.raises(ValueError, match="write 'module:Class'"):
        migrations.upgrade(name, 1)(dict)


def test_a_module_is_named_by_its_dotted_name(migrations: Migrations) -> None:
    with pytest.raises(ValueError, match="not the dotted name of a module"):
        migrations.rename_module("game:Orc", "game")


# --- versions and steps -----------------------------------------------------


def test_a_class_that_declares_nothing_is_version_1(migrations: Migrations) -> None:
    assert migrations.version_of(Plain) == 1
    assert migrations.upgrades(Plain, 1) == []


def test_upgrades_say_the_version_where_the_class_does_not(migrations: Migrations) -> None:
    migrations.drop_fields(Plain, 1, "cache")
    migrations.upgrade(Plain, 2)(lambda state: {**state, "two": 2})
    assert migrations.version_of(Plain) == 3
    state: Any = {"cache": 1, "hp": 2}
    for step in migrations.upgrades(Plain, 1):
        state = step(state)
    assert state == {"hp": 2, "two": 2}
    assert len(migrations.upgrades(Plain, 2)) == 1


def test_the_one_line_forms_come_before_the_function(migrations: Migrations) -> None:
    migrations.upgrade(Plain, 1)(lambda state: {**state, "seen": sorted(state)})
    migrations.rename_fields(Plain, 1, hp="health")
    migrations.add_fields(Plain, 1, bag=[])
    state: Any = {"hp": 1}
    for step in migrations.upgrades(Plain, 1):
        state = step(state)
    assert state == {"health": 1, "bag": [], "seen": ["bag", "health"]}


def test_each_instance_gets_its_own_copy_of_what_is_added(migrations: Migrations) -> None:
    migrations.add_fields(Plain, 1, bag=[[]])
    (add,) = migrations.upgrades(Plain, 1)
    first, second = add({}), add({"bag": "mine"})
    first["bag"][0].append(1)
    assert add({}) == {"bag": [[]]}
    assert second == {"bag": "mine"}


def test_a_field_is_not_renamed_over_another(migrations: Migrations) -> None:
    migrations.rename_fields(Plain, 1, hp="health")
    (rename,) = migrations.upgrades(Plain, 1)
    with pytest.raises(MigrationError, match="'health' already"):
        rename({"hp": 1, "health": 2})
    migrations.rename_fields(Plain, 2, a="b", b="a")
    assert migrations.upgrades(Plain, 2)[0]({"a": 1, "b": 2}) == {"b": 1, "a": 2}


def test_upgrades_follow_the_renames_of_their_class(migrations: Migrations) -> None:
    migrations.upgrade("old.place:Thing", 1)(lambda state: state)
    migrations.rename("old.place:Thing", f"{__name__}:Plain")
    assert migrations.version_of(Plain) == 2
    migrations.upgrade(Plain, 1)(lambda state: state)
    with pytest.raises(MigrationError, match="two upgrades from version 1, under two"):
        migrations.version_of(Plain)


def test_a_gap_in_the_chain_is_named(migrations: Migrations) -> None:
    migrations.upgrade(Plain, 1)(lambda state: state)
    migrations.upgrade(Plain, 3)(lambda state: state)
    with pytest.raises(
        MigrationError, match=r"version 1 .* version 4 now.*@upgrade\(.*Plain\", 2\)"
    ):
        migrations.upgrades(Plain, 1)


def test_a_state_from_a_newer_program_is_refused(migrations: Migrations) -> None:
    with pytest.raises(MigrationError, match="saved as version 7, and is version 1 here"):
        migrations.upgrades(Plain, 7)


def test_an_upgrade_beyond_the_declared_version_is_refused(migrations: Migrations) -> None:
    declared = versioned(2)(type("Declared", (), {}))
    migrations.upgrade(declared, 1)(lambda state: state)
    assert len(migrations.upgrades(declared, 1)) == 1
    migrations.upgrade(declared, 2)(lambda state: state)
    with pytest.raises(MigrationError, match=r"declare @versioned\(3\)"):
        migrations.upgrades(declared, 1)


def test_a_second_upgrade_from_a_version_is_refused(migrations: Migrations) -> None:
    migrations.upgrade("game:Orc", 1)(lambda state: state)
    with pytest.raises(MigrationError, match="has an upgrade from version 1 already"):
        migrations.upgrade("game:Orc", 1)(lambda state: state)


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, None])
def test_a_version_is_a_number_from_1_on(migrations: Migrations, version: Any) -> None:
    with pytest.raises(ValueError, match="number from 1 on"):
        migrations.upgrade("game:Orc", version)
    with pytest.raises(ValueError, match="number from 1 on"):
        versioned(version)


def test_a_version_is_of_its_class_alone(migrations: Migrations) -> None:
    class Base:
        pass

    versioned(3)(Base)
    assert migrations.version_of(Base) == 3
    assert migrations.version_of(type("Derived", (Base,), {})) == 1


def test_what_is_no_class_has_no_version() -> None:
    with pytest.raises(TypeError, match="for classes"):
        versioned(2)(lambda: None)  # type: ignore[type-var]
    with pytest.raises(MigrationError, match="set __checkpoint_version__ = 2 in its body"):
        versioned(2)(int)


def test_become_is_checked_at_birth() -> None:
    with pytest.raises(ValueError, match="write 'module:Class'"):
        Become("Uruk", {})
    with pytest.raises(TypeError, match="mapping of fields"):
        Become("game:Uruk", [1])  # type: ignore[arg-type]


# --- whole graphs and libraries ---------------------------------------------


def test_two_graph_migrations_of_one_name_are_refused(migrations: Migrations) -> None:
    migrations.graph_migration("levels")(lambda root: root)
    with pytest.raises(MigrationError, match="two graph migrations 'levels'"):
        migrations.graph_migration("levels")
    with pytest.raises(ValueError, match="has a name"):
        migrations.graph_migration("")


def test_the_functions_of_the_package_are_those_of_one_registry() -> None:
    names = ["rename", "rename_module", "upgrade", "rename_fields", "drop_fields", "add_fields",
             "graph_migration"]  # fmt: skip
    owners = {getattr(checkpoint, name).__self__ for name in names}
    assert len(owners) == 1
    assert isinstance(owners.pop(), Migrations)


def test_libraries_ship_migrations_as_entry_points(
    migrations: Migrations, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shipping.py").write_text(
        "def register(migrations):\n    migrations.rename('shipping:Old', 'shipping:New')\n"
    )
    info = tmp_path / "shipping-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shipping\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[checkpoint.migrations]\nours = shipping:register\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert migrations.extend()
    assert migrations.renamed("shipping", "Old") == ("shipping", "New")
    assert not migrations.extend()
