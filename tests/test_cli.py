"""The command line looks at a repository and runs nothing of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoint import Checkpointer
from checkpoint._cli import main


class OfTheProgram:
    """A class that the command line cannot import."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Checkpointer(tmp_path / "saves", "run/a") as saves:
        saves.save({"it": OfTheProgram()}, metrics={"loss": 0.25}, meta={"note": "first"})
        saves.save(os.urandom(100_000), metrics={"loss": float("nan")}, tags=["nightly"])
        saves.named("other").save(1)
    return tmp_path / "saves"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "checkpoint", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_ls_lists_names_and_versions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["other", "run/a"]
    first, second = lines[3:5]
    assert first.split()[0] == "1"
    assert "loss=0.25" in first
    assert "loss=nan" in second
    assert second.endswith("[nightly]")


def test_show_tells_what_a_version_says_of_itself(folder: Path) -> None:
    done = run("show", folder, "run/a@1")
    assert done.returncode == 0
    assert "parent     none" in done.stdout
    assert "loss = 0.25" in done.stdout
    assert "{'note': 'first'}" in done.stdout
    assert "OfTheProgram" in done.stdout


def test_show_takes_the_newest_version_of_a_name(folder: Path) -> None:
    assert "version    2" in run("show", folder, "run/a").stdout


def test_show_says_which_names_and_versions_there_are(folder: Path) -> None:
    done = run("show", folder)
    assert (done.returncode, "other, run/a" in done.stderr) == (2, True)
    done = run("show", folder, "run/a@7")
    assert (done.returncode, "the newest are 1, 2" in done.stderr) == (2, True)


def test_verify_finds_nothing_wrong_in_a_sound_repository(folder: Path) -> None:
    done = run("verify", folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 versions, no errors\n", "")


def test_verify_names_what_is_damaged_and_exits_with_1(folder: Path) -> None:
    (pack,) = folder.glob("packs/*/*.pack")
    raw = bytearray(pack.read_bytes())
    raw[200] ^= 1
    pack.write_bytes(raw)
    done = run("verify", folder)
    assert done.returncode == 1
    assert f"run/a version 2: packs/{pack.parent.name}/{pack.name} is damaged" in done.stdout
    assert done.stdout.endswith("3 versions, 1 error\n")


def test_a_damaged_manifest_is_left_out_of_ls_and_named(folder: Path) -> None:
    manifest = folder / "snapshots/run/a/@/0000000001.json"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    done = run("ls", folder)
    assert done.returncode == 0
    assert "version 1 of 'run/a'" in done.stderr
    assert "left it out; delete(1) removes it" in done.stderr
    assert "loss=0.25" not in done.stdout


@pytest.mark.parametrize("command", ["ls", "show", "verify"])
def test_a_folder_that_is_no_repository_is_told_apart(command: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for folder, why in (
        (tmp_path, "is not a repository"),
        (tmp_path / "missing", "is not a repository"),
        (tmp_path / "notes.txt", "is a file, not a folder"),
    ):
        done = run(command, folder)
        assert done.returncode == 2
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]
