"""`checkpoint migrate` finds the program's migrations, says what it does, and does it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoint import Checkpointer, LocalStore

OLD = """
class Orc:
    def __init__(self, power):
        self.power = power
"""
NEW = """
import checkpoint

@checkpoint.versioned(2)
class Orc:
    pass
"""
HISTORY = """
import checkpoint
checkpoint.rename("units:Orc", "mobs:Orc")
checkpoint.rename_fields("mobs:Orc", 1, power="strength")
"""
SAVE = """
from checkpoint import Checkpointer
from units import Orc
for number in (1, 2):
    saves = Checkpointer("saves", "slot/1", package="units")
    saves.save([Orc(number)], tags=["best"], meta={"n": number})
Checkpointer("saves", "other").save({"no": "classes"})
"""
LOAD = """
from checkpoint import Checkpointer
saves = Checkpointer("saves", "slot/1")
print(type(saves.load()[0]), [saves.load(version=s.version)[0].__dict__ for s in list(saves)[-2:]])
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", *arguments]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, cwd=folder, env=env
    )


def migrate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "checkpoint", "migrate", "saves", *arguments)


@pytest.fixture
def game(tmp_path: Path) -> Path:
    """A folder with saves of an old program, and the program of today."""
    (tmp_path / "units.py").write_text(OLD)
    done = run(tmp_path, "-c", SAVE)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "units.py").unlink()
    (tmp_path / "mobs.py").write_text(OLD)
    (tmp_path / "history.py").write_text(HISTORY.rpartition("checkpoint.rename_fields")[0])
    return tmp_path


def changed(game: Path) -> None:
    """The class has other fields, too."""
    (game / "mobs.py").write_text(NEW)
    (game / "history.py").write_text(HISTORY)


def versions(game: Path) -> list[int]:
    return [snapshot.version for snapshot in Checkpointer(game / "saves", "slot/1")]


def test_a_dry_run_tells_the_plan_and_writes_nothing(game: Path) -> None:
    before = LocalStore(game / "saves").keys("")
    done = migrate(game, "--dry-run", "--import", "history")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "other",
        "  1  nothing",
        "slot/1",
        "  1  rename   units:Orc → mobs:Orc",
        "  2  rename   units:Orc → mobs:Orc",
    ]
    assert LocalStore(game / "saves").keys("") == before


def test_renamed_classes_get_new_versions(game: Path) -> None:
    done = migrate(game, "--import", "history")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        "  1  → 3  rename   units:Orc → mobs:Orc",
        "  2  → 4  rename   units:Orc → mobs:Orc",
    ]
    loaded = run(game, "-c", LOAD)
    assert loaded.stdout == "<class 'mobs.Orc'> [{'power': 1}, {'power': 2}]\n"
    again = migrate(game, "--import", "history")
    assert again.stdout.splitlines()[-2:] == ["  3  nothing", "  4  nothing"]
    assert run(game, "-m", "checkpoint", "verify", "saves").returncode == 0


def test_changed_classes_are_loaded_and_saved(game: Path) -> None:
    changed(game)
    done = migrate(game, "--import", "history")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "  2  → 4  load     units:Orc has changed"
    loaded = run(game, "-c", LOAD)
    assert loaded.stdout == "<class 'mobs.Orc'> [{'strength': 1}, {'strength': 2}]\n"


def test_what_cannot_be_migrated_is_told_with_exit_status_1(game: Path) -> None:
    done = migrate(game)
    assert done.returncode == 1
    assert "  1  cannot: units:Orc is gone" in done.stdout
    assert "  1  nothing" in done.stdout
    assert "Traceback" not in done.stderr
    assert versions(game) == [1, 2]


def test_modules_are_sought_in_the_current_folder_however_it_is_started(game: Path) -> None:
    done = run(game, "-P", "-m", "checkpoint", "migrate", "saves", "--import", "history")
    assert (done.returncode, done.stderr) == (0, "")


def test_one_name_alone_can_be_migrated(game: Path) -> None:
    done = migrate(game, "--name", "other", "--import", "history")
    assert (done.returncode, done.stdout) == (0, "other\n  1  nothing\n")
    assert versions(game) == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--name", "slot/2"], "there is no 'slot/2' in saves, but other, slot/1"),
        (["--import", "no_such"], "the module 'no_such' cannot be imported"),
        (["--import", "broken"], "OSError: no display"),
    ],
)
def test_what_cannot_be_begun_ends_with_exit_status_2(
    game: Path, arguments: list[str], why: str
) -> None:
    (game / "broken.py").write_text("raise OSError('no display')")
    done = migrate(game, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_repository_is_told_apart(tmp_path: Path) -> None:
    done = migrate(tmp_path)
    assert done.returncode == 2
    assert "saves is not a repository" in done.stderr
    assert [*tmp_path.iterdir()] == []


def test_a_class_of_the_main_script_is_found_in_its_module(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(f"{OLD}\n{SAVE.replace('from units import Orc', '')}")
    assert run(tmp_path, "train.py").returncode == 0
    (tmp_path / "train.py").write_text("")
    (tmp_path / "mobs.py").write_text(OLD)
    (tmp_path / "history.py").write_text(
        "import checkpoint\ncheckpoint.rename('train:Orc', 'mobs:Orc')"
    )
    done = migrate(tmp_path, "--import", "history")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "  2  → 4  load     __main__:Orc → mobs:Orc"
    assert run(tmp_path, "-c", LOAD).stdout.startswith("<class 'mobs.Orc'>")
