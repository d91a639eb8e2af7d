"""`checkpoint schema`: a lock file, what has changed since, and the upgrade to paste in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import checkpoint
from checkpoint import FormatError
from checkpoint._schema_lock import decode, encode

MOBS = """
    import attrs, dataclasses, enum, functools
    from typing import NamedTuple

    class Color(enum.Enum):
        RED = 1
        GREEN = 2

    class Orc:
        class Sword:
            def __init__(self):
                self.edge = "sharp"

        def __init__(self, hp):
            self.hp = hp
            self.color = Color.RED

    @attrs.define
    class Elf:
        name: str
        songs: list = attrs.Factory(list)

    @dataclasses.dataclass(frozen=True, slots=True)
    class Place:
        x: int
        y: int

    class Pair(NamedTuple):
        one: int
        two: int = 0

    class Nothing:
        pass

    def local():
        class Local:
            def __init__(self):
                self.a = 1
        return Local
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program of one package, frozen."""
    (tmp_path / "game").mkdir()
    (tmp_path / "game/__init__.py").write_text("from game.mobs import Orc\n")
    (tmp_path / "game/__main__.py").write_text("raise SystemExit('nobody runs this')\n")
    write(tmp_path, MOBS)
    done = run(tmp_path, "freeze", "game")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "6 classes in checkpoint-schema.json\n"
    return tmp_path


def write(folder: Path, source: str) -> None:
    (folder / "game/mobs.py").write_text(textwrap.dedent(source))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    here = str(Path(checkpoint.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-B", "-W", "error", "-m", "checkpoint", "schema", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": here, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )


def changed(folder: Path, old: str, new: str) -> subprocess.CompletedProcess[str]:
    """What the check says once *old* is *new* in the program."""
    assert MOBS.count(old) == 1
    write(folder, MOBS.replace(old, new))
    return run(folder, "check")


def test_a_lock_file_has_one_sorted_line_for_each_class(program: Path) -> None:
    text = (program / "checkpoint-schema.json").read_text()
    assert json.loads(text)["modules"] == ["game"]
    lines = [line for line in text.splitlines() if line.startswith(" ")]
    assert [line.split('"')[1] for line in lines] == [
        "game.mobs:Color",
        "game.mobs:Elf",
        "game.mobs:Orc",
        "game.mobs:Orc.Sword",
        "game.mobs:Pair",
        "game.mobs:Place",
    ]
    row = json.loads(text)["classes"]["game.mobs:Orc"]
    assert row == {"version": 1, "kind": "plain", "fields": ["hp", "color"], "sampled": True}
    raw = text.encode()
    assert encode(decode(raw, "lock")) == raw


def test_freezing_again_writes_the_same_bytes(program: Path) -> None:
    before = (program / "checkpoint-schema.json").read_bytes()
    run(program, "freeze", "game", "--lock", "again.json")
    assert (program / "again.json").read_bytes() == before


def test_classes_that_did_not_change_are_fine(program: Path) -> None:
    done = run(program, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "6 classes, none breaks old snapshots\n"


def test_a_change_that_breaks_prints_an_upgrade_that_makes_it_fine(program: Path) -> None:
    renamed = ("self.hp = hp\n", "self.health = hp\n")
    done = changed(program, *renamed)
    assert done.returncode == 1
    assert "BREAKS  game.mobs:Orc: hp went and health came" in done.stdout
    stub = textwrap.dedent("".join(
        f"{line}\n" for line in done.stdout.splitlines() if line.startswith("    ") or not line
    ))  # fmt: skip
    assert "@versioned(2)" in stub
    assert "def orc_1_to_2(state):" in stub
    upgrade = stub[stub.index("@upgrade") :]
    source = textwrap.dedent(MOBS).replace(*renamed)
    source = source.replace("class Orc:", "@versioned(2)\nclass Orc:")
    write(program, f"from checkpoint import upgrade, versioned\n{source}\n{upgrade}")
    done = run(program, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fine    game.mobs:Orc: version 2 now, with upgrades from version 1" in done.stdout
    assert "checkpoint schema freeze game" in done.stdout
    code = f"from game.mobs import *; {'orc'}_1_to_2"
    probe = f"{code}; import game.mobs as m; print(m.orc_1_to_2({{'hp': 3, 'color': 1}}))"
    found = subprocess.run(
        [sys.executable, "-c", probe], cwd=program, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "{'color': 1, 'health': 3}"
    run(program, "freeze", "game")
    assert run(program, "check").stdout == "6 classes, none breaks old snapshots\n"


BREAKING = {
    "field added": ("self.hp = hp\n", "self.hp = hp; self.armor = 1\n", "state['armor'] = ..."),
    "field without a default": ("name: str\n", "name: str; age: int\n", "state['age'] = ..."),
    "slot removed": ("x: int\n        y: int", "x: int", "state.pop('y', None)"),
    "member removed": ("GREEN = 2", "BLUE = 3", '("game.mobs:Color", 1, GREEN="BLUE")'),
    "class renamed": ("class Elf", "class Elves", 'rename("game.mobs:Elf", "module:Class")'),
    "kind changed": (
        "class Pair(NamedTuple)", "class Pair(enum.Enum)", 'rename("game.mobs:Pair"',
    ),
    "no upgrade for the new version": (
        "class Orc:\n", "class Orc:\n        __checkpoint_version__ = 2\n", "no upgrade from",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BREAKING)
def test_changes_without_a_way_from_the_old_state_break(case: str, program: Path) -> None:
    old, new, said = BREAKING[case]
    done = changed(program, old, new)
    assert (done.returncode, done.stderr) == (1, "")
    assert "BREAKS" in done.stdout
    assert said in done.stdout
    assert "1 breaks old snapshots" in done.stdout


FINE = {
    "default": ("name: str\n", "name: str; age: int = 1\n", "age came, with a default"),
    "removed, kept aside": ("name: str\n", "", "name went; what was saved is kept aside"),
    "swapped": ("x: int\n        y: int", "y: int\n        x: int", "another order"),
    "renumbered": ("GREEN = 2", "GREEN = 3", "GREEN has another value"),
    "new class": ("class Nothing:\n        pass", "class Nothing(Orc): pass", "Nothing: new"),
    "new member": ("GREEN = 2", "GREEN = 2; BLUE = 3", "Color: it looks different"),
}


@pytest.mark.parametrize("case", FINE)
def test_changes_that_a_load_can_bear_only_need_a_new_freeze(case: str, program: Path) -> None:
    old, new, said = FINE[case]
    done = changed(program, old, new)
    assert (done.returncode, done.stderr) == (0, "")
    assert "BREAKS" not in done.stdout
    assert said in done.stdout
    assert "checkpoint schema freeze game" in done.stdout


def test_a_class_that_was_renamed_is_followed(program: Path) -> None:
    source = textwrap.dedent(MOBS).replace("class Elf", "class Elves")
    write(
        program,
        f"import checkpoint\ncheckpoint.rename('game.mobs:Elf', 'game.mobs:Elves')\n{source}",
    )
    done = run(program, "check")
    assert done.returncode == 0
    assert "game.mobs:Elves: it was game.mobs:Elf" in done.stdout


def test_a_class_that_went_back_in_its_version_breaks(program: Path) -> None:
    write(program, MOBS.replace("class Orc:\n", "class Orc:\n        __checkpoint_version__ = 2\n"))
    run(program, "freeze", "game")
    write(program, MOBS)
    done = run(program, "check")
    assert (done.returncode, "version 1, and it was version 2" in done.stdout) == (1, True)


def test_what_cannot_be_done_says_why(program: Path) -> None:
    for arguments, why in (
        (["freeze", "nowhere"], "the module 'nowhere' cannot be imported"),
        (["check", "--lock", "none.json"], "none.json cannot be read"),
        (["check", "--lock", "game/mobs.py"], "is no lock file"),
    ):
        done = run(program, *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert why in done.stderr


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"checkpoint-schema": 2, "modules": [], "classes": {}}',
     '{"checkpoint-schema": 1, "modules": [], "classes": {"m:C": {"version": 1}}}',
     '{"checkpoint-schema": 1, "modules": 5, "classes": {}}'],
)  # fmt: skip
def test_a_lock_file_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="is no lock file"):
        decode(text.encode(), "it")
