"""A game with four releases: what each of them saved is played on in the later ones.

`tests/compat/game` holds the releases.  Each runs in a process of its own, with warnings as
errors, and says what it did in one digest of its whole world: values, classes, sharing, order.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import checkpoint
from checkpoint import Checkpointer

GAME = Path(__file__).parent / "compat" / "game"
SOURCE = Path(checkpoint.__file__).parents[1]
NEWEST = 4
BEFORE, AFTER = 25, 35  # turns until the save, and from there on
SEEDS = (1, 2, 3)

pairs = pytest.mark.parametrize(
    ("old", "new"), [(old, new) for new in range(2, NEWEST + 1) for old in range(1, new)]
)


def python(release: int, *arguments: str, cwd: Path | None = None) -> str:
    """What a program prints that has this *release* on its path."""
    path = os.pathsep.join([str(GAME / f"v{release}"), str(GAME), str(SOURCE)])
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        cwd=cwd,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def play(release: int, folder: Path, *arguments: object) -> str:
    return python(release, str(GAME / "play.py"), str(folder), *map(str, arguments))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder in which a release has saved a game after so many turns, one version a seed."""
    folders: dict[int, Path] = {}

    def of(release: int) -> Path:
        if release not in folders:
            folders[release] = tmp_path_factory.mktemp(f"v{release}")
            for seed in SEEDS:
                play(release, folders[release], "--seed", seed, "--turns", BEFORE, "--save")
        return folders[release]

    return of


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[str]]:
    """How new games of a release end that were never saved, one a seed."""
    found: dict[int, list[str]] = {}

    def of(release: int) -> list[str]:
        if release not in found:
            nowhere = tmp_path_factory.mktemp("nowhere")
            turns = ("--turns", BEFORE + AFTER)
            found[release] = [play(release, nowhere, "--seed", seed, *turns) for seed in SEEDS]
        return found[release]

    return of


def ended(release: int, folder: Path, *arguments: object) -> list[str]:
    """How the games in *folder* end in a release."""
    return [
        play(release, folder, "--load", version, "--turns", AFTER, *arguments)
        for version in range(1, len(SEEDS) + 1)
    ]


def test_the_games_are_not_all_the_same(ends: Callable[[int], list[str]]) -> None:
    """Else none of the tests below would show anything."""
    assert len({digest for release in (1, 4) for digest in ends(release)}) == 2 * len(SEEDS)


@pairs
def test_an_older_game_goes_on_to_the_same_end_as_a_new_one(
    old: int, new: int, saved: Callable[[int], Path], ends: Callable[[int], list[str]]
) -> None:
    assert ended(new, saved(old)) == ends(new)


@pytest.mark.parametrize("old", range(1, NEWEST))
def test_a_migrated_game_is_saved_and_not_migrated_again(
    old: int, saved: Callable[[int], Path], tmp_path: Path
) -> None:
    """`floors_are_levels` and `prices_are_numbers` would fail on what they have made."""
    (tmp_path / "slot").mkdir()
    with Checkpointer(saved(old), "slot") as saves:
        saves.export(1, tmp_path / "game")
    with Checkpointer(tmp_path / "slot", "slot") as saves:
        saves.import_(tmp_path / "game")
    once = play(NEWEST, tmp_path / "slot", "--load", "--save")
    again = play(NEWEST, tmp_path / "slot", "--load", "--save")
    third = play(NEWEST, tmp_path / "slot", "--load")
    assert once == again == third
    _, second, last = Checkpointer(tmp_path / "slot", "slot").snapshots()
    assert second.types == last.types
    assert not any("Ghost" in str(entry) for entry in last.types)


def test_a_game_that_is_saved_by_each_release_in_turn_ends_the_same(
    tmp_path: Path, ends: Callable[[int], list[str]]
) -> None:
    play(1, tmp_path, "--seed", SEEDS[0], "--turns", 15, "--save")
    for release in (2, 3, 4):
        play(release, tmp_path, "--load", "--turns", 15, "--save")
    assert play(NEWEST, tmp_path, "--load") == ends(NEWEST)[0]


@pytest.mark.parametrize("old", range(1, NEWEST))
def test_a_game_migrated_from_the_command_line_ends_the_same(
    old: int, saved: Callable[[int], Path], ends: Callable[[int], list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "slot"
    play(old, folder, "--seed", SEEDS[0], "--turns", BEFORE, "--save")
    command = ("-m", "checkpoint", "migrate", str(folder), "--import", "dungeon")
    assert "1  load" in python(NEWEST, *command, "--dry-run")
    assert len(Checkpointer(folder, "slot")) == 1
    assert "1  → 2  load" in python(NEWEST, *command)
    assert play(NEWEST, folder, "--load", "--turns", AFTER) == ends(NEWEST)[0]
    assert python(NEWEST, *command).split() == ["slot", "2", "nothing"]
    assert Checkpointer(folder, "slot").verify() == []
