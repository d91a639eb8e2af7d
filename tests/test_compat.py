"""Golden repositories: what was committed with a release, every later one reads back.

`tests/compat/make.py` made them; what it makes today is read by the same tests.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compat import make, states

import checkpoint
from checkpoint import Checkpointer, LocalStore, Migrations, NotFoundError
from checkpoint._keys import keys
from checkpoint._model import Manifest
from checkpoint._repository import Repository

V1 = Path(__file__).parent / "compat" / "v1"

Expected = dict[int, Any]
FORKS = hasattr(os, "fork")

# Of each repository its versions and what they hold.
HELD: dict[str, Callable[[], Expected]] = {
    "inline": lambda: {1: states.plain()},
    "classes": lambda: {1: states.things()},
    "raw": lambda: {1: {"array": states.noise(70_000)}},
    "zstd": lambda: {1: states.slopes()},
    "gzip": lambda: {1: states.slopes()},
    "lzma": lambda: {1: states.slopes()},
    "deltas": lambda: {step: states.drifting(step) for step in (1, 2, 3)},
    "renumbered": lambda: {step + 1: states.units(step) for step in (0, 1, 2)},
    "tags": lambda: {step: states.plain(step) for step in (1, 2, 3)},
    "deleted": lambda: {step: states.plain(step) for step in (1, 3)},
    "background": lambda: {step: states.plain(step) for step in (1, 2)},
    "long_table": lambda: {1: states.crowd()},
    "migrated": lambda: {1: states.things()},
    "imported": lambda: {1: states.things()},
}
NAMES = {"tags": "slots/a-1.b"}

# What a manifest of the newest version must show, or the repository would show nothing.
FORMS: dict[str, Callable[[Manifest], object]] = {
    "inline": lambda m: m.inline and not m.packs,
    "classes": lambda m: {t.shape.kind for t in m.types if t.shape} >= KINDS,
    "raw": lambda m: "none" in codecs(m),
    "zstd": lambda m: "zstd" in codecs(m) and m.packs,
    "gzip": lambda m: "gzip" in codecs(m) and m.packs,
    "lzma": lambda m: "lzma" in codecs(m) and m.packs,
    "deltas": lambda m: any(row.base for row in m.blobs),
    "renumbered": lambda m: "renumbered" in m.parts[-1].transforms,
    "tags": lambda m: m.version == 3,
    "deleted": lambda m: m.version == 3,
    "background": lambda m: m.version == 2,
    "long_table": lambda m: m.table and not m.blobs and len(m.parts) > 1_000,
    "migrated": lambda m: m.migrations == ("first", "second"),
    "imported": lambda m: m.provenance == "foreign" and m.types,
}
KINDS = {"plain", "slots", "attrs", "dataclass", "namedtuple", "enum", "flag"}


def codecs(manifest: Manifest) -> set[str]:
    return {row.codec for row in manifest.blobs}


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same repositories, as this release makes them."""
    root = tmp_path_factory.mktemp("today") / "v1"
    make.make_all(root)
    return root


@pytest.fixture(params=["committed", "today"])
def root(request: pytest.FixtureRequest, today: Path, tmp_path: Path) -> Path:
    """All repositories, copied so that nothing can be changed by reading them."""
    source = V1 if request.param == "committed" else today
    shutil.copytree(source, tmp_path / "v1")
    return tmp_path / "v1"


@pytest.fixture(params=HELD)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if found == "background" and not FORKS:
        pytest.skip("nothing can fork here")
    return found


def opened(root: Path, kind: str) -> Checkpointer:
    migrations = make.history() if kind == "migrated" else Migrations()
    return make.opened(root / kind, NAMES.get(kind, "main"), migrations=migrations)


def test_what_was_committed_is_as_it_was() -> None:
    text = (V1 / make.LIST).read_text(encoding="utf-8")
    lines = (line.split("  ", 1) for line in text.splitlines())
    assert make.listed(V1) == {path: digest for digest, path in lines}


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in V1.rglob("*") if path.is_file()) < 1_000_000


def test_what_was_committed_is_never_made_again(tmp_path: Path) -> None:
    assert "never made again" in make.main([])
    (tmp_path / "there").mkdir()
    assert "never made again" in make.main([str(tmp_path / "there")])
    assert list((tmp_path / "there").iterdir()) == []


def test_every_kind_is_there(root: Path) -> None:
    there = {path.name for path in root.iterdir() if path.is_dir()}
    assert there == {*HELD, "files"} == {*make.REPOSITORIES}
    assert FORMS.keys() == HELD.keys()


def test_each_shows_what_it_is_there_for(root: Path, kind: str) -> None:
    newest = max(HELD[kind]())
    repository = Repository(LocalStore(root / kind), keys(make.KEY))
    manifest = repository.manifest(NAMES.get(kind, "main"), newest)
    assert (manifest.provenance == "own") is (kind != "imported")
    assert FORMS[kind](manifest)


def test_each_version_loads_as_it_was_saved(root: Path, kind: str) -> None:
    """Warnings are errors here: the check of the classes finds nothing to say."""
    before = make.listed(root / kind)
    saves = opened(root, kind)
    for version, state in HELD[kind]().items():
        assert states.same(saves.load(version=version), state)
        for key in state if isinstance(state, dict) else range(min(len(state), 3)):
            assert states.same(saves.load(version=version, only=key), state[key])
    assert states.same(saves.load(lazy=True), state)
    assert make.listed(root / kind) == before


def test_each_is_listed_and_verified(root: Path, kind: str) -> None:
    saves = opened(root, kind)
    assert saves.names() == [saves.name]
    assert [snapshot.version for snapshot in saves] == list(HELD[kind]())
    assert saves.verify() == []


def test_each_is_saved_to_and_pruned(root: Path, kind: str) -> None:
    """A later release goes on where an earlier one left off."""
    saves = opened(root, kind)
    expected = HELD[kind]()
    last = max(expected)
    new = saves.save(expected[last], tags=["new"])
    assert new.version == (5 if kind == "deleted" else last + 1)
    saves.delete(min(expected))
    saves.prune()
    assert states.same(saves.load(tag="new"), expected[last])
    assert saves.verify() == []


def test_what_a_state_has_behind_it_stays_so_in_a_program_that_knows_nothing_of_it(
    root: Path,
) -> None:
    """The graph migrations in `make.history` would fail if they were run again."""
    leaner = Migrations()
    leaner.add_fields(states.Orc, 1, mood=None)
    saves = make.opened(root / "migrated", migrations=leaner)
    saves.save(saves.load())
    assert states.same(opened(root, "migrated").load(version=2), states.things())


def test_a_state_that_did_not_change_is_not_stored_again(root: Path) -> None:
    saves = opened(root, "zstd")
    assert saves.save(saves.load()).stored == 0


def test_what_a_snapshot_says_is_as_it_was_said(root: Path) -> None:
    (plain,) = opened(root, "inline").snapshots()
    assert str(dict(plain.metrics)) == str(
        {"loss": float("nan"), "best": float("-inf"), "score": 0.5}
    )
    assert plain.meta == {"note": ["☃", None, 1.5]}
    saves = opened(root, "tags")
    assert [snapshot.tags for snapshot in saves] == [("good", "s1"), ("s2",), ("newest",)]
    assert states.same(saves.load(tag="good"), states.plain(1))
    assert states.same(saves.load(best="loss"), states.plain(3))
    with pytest.raises(NotFoundError):
        saves.load(tag="s3")


def test_the_type_table_is_as_it_was(root: Path) -> None:
    (snapshot,) = opened(root, "classes").snapshots()
    shapes = {t.qualname: t.shape for t in snapshot.types if t.module == "compat.states"}
    found = {name: shape.fields for name, shape in shapes.items() if shape and shape.fields}
    assert found == {
        "Event": ("turn", "text"),
        "Mob": ("health",),
        "Orc": ("health", "mood"),
        "Outer.Inner": ("depth",),
        "Position": ("x", "y"),
        "Potion": ("strength", "effects"),
        "Shield": ("size",),
        "Slotted": ("left", "right"),
        "Sword": ("length", "owner", "marks"),
    }
    orc, sword, colour, mob = (shapes[name] for name in ("Orc", "Sword", "Colour", "Mob"))
    assert orc and sword and colour and mob
    assert (mob.version, orc.version, dict(orc.bases)) == (3, 1, {"compat.states:Mob": 3})
    assert (sword.defaults, sword.validated) == (("owner", "marks"), ("marks",))
    assert dict(colour.members) == {"RED": "1", "GREEN": "2"}
    assert shapes["function"] is None


@pytest.mark.parametrize("codec", ["none", "zstd", "gzip", "lzma"])
def test_single_files_load(root: Path, codec: str) -> None:
    saved = checkpoint.load(root / "files" / f"{codec}.ckpt", key=make.KEY)
    assert states.same(saved, states.things())


def test_single_files_that_hold_more_load(root: Path, tmp_path: Path) -> None:
    with open(root / "files" / "two.ckpt", "rb") as file:
        assert states.same(checkpoint.load(file, key=make.KEY), states.plain(1))
        assert states.same(checkpoint.load(file, key=make.KEY), states.slopes())
    with make.opened(tmp_path / "new", "slot") as saves:
        snapshot = saves.import_(root / "files" / "exported.ckpt")
        assert (dict(snapshot.metrics), snapshot.meta) == ({"loss": 1.5}, "exported")
        assert states.same(saves.load(), states.slopes())
