"""Every example runs, explains itself, and ends the same however often it is killed.

The children are programs of their own, run by this interpreter as a user would
run them, with warnings as errors.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import frozen

EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE = 120.0  # seconds until a test calls a child stuck
KILLS = 3


@frozen
class Example:
    """A script, and what to give it for a run of about a second."""

    script: str
    arguments: tuple[str, ...]
    is_job: bool = True  # which tells on stderr where it saves, and that it goes on

    def command(self, *more: str) -> list[str]:
        """Unbuffered, so that a line is seen when it is printed; `-B` leaves examples/ clean."""
        return [sys.executable, "-B", "-u", "-W", "error", str(EXAMPLES / self.script), *more]


DIGITS = Example("train_digits.py", ("--epochs", "10"))
WORDS = Example("word_index.py", ("--limit", "60", "--every", "2"))
GAME = Example("roguelike.py", ("--bot", "150"), is_job=False)

each_example = pytest.mark.parametrize("example", [DIGITS, WORDS, GAME], ids=lambda e: e.script)


def finish(example: Example, *arguments: str, typed: str = "") -> list[str]:
    """Run *example* to its end, which must be a good one; the lines it prints."""
    lines, told = run(example, *arguments, typed=typed)
    assert len(told) <= example.is_job
    return lines


def run(example: Example, *arguments: str, typed: str = "") -> tuple[list[str], list[str]]:
    """Run *example* to its end, which must be a good one; the lines it prints, and tells."""
    command = example.command(*arguments)
    done = subprocess.run(
        command, input=typed, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    told = done.stderr.splitlines()
    assert (done.returncode, [line for line in told if line[:12] != "checkpoint: "]) == (0, [])
    return done.stdout.splitlines(), told


def fail(example: Example, *arguments: str) -> str:
    """Run *example*, which must give up in one line without a traceback; that line."""
    command = example.command(*arguments)
    done = subprocess.run(
        command, input="", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def measure(example: Example, *arguments: str) -> tuple[float, str]:
    """Run *example*: the seconds it works, from its first line on, and its last line."""
    with subprocess.Popen(
        example.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        begun = time.monotonic()
        rest = child.stdout.read().decode()
        assert child.wait(PATIENCE) == 0
        return time.monotonic() - begun, rest.splitlines()[-1]


def kill(example: Example, *arguments: str, after: float) -> bool:
    """Run *example*, and kill it *after* so many seconds of work; whether it was still at work."""
    with subprocess.Popen(
        example.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(after)
        at_work = child.poll() is None
        child.kill()
        assert at_work or child.returncode == 0
        return at_work


@each_example
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_left_alone(
    example: Example, tmp_path: Path
) -> None:
    alone = "--store", str(tmp_path / "alone"), *example.arguments
    killed = "--store", str(tmp_path / "killed"), *example.arguments
    span, digest = measure(example, *alone)
    dice = random.Random(example.script)

    moments = [dice.uniform(0, span / 5) for _ in range(KILLS)]
    hits = [kill(example, *killed, after=moment) for moment in moments]

    last, told = run(example, *killed)
    assert sum(hits) >= 2
    assert "goes on at " in told[0] if example.is_job else last[0].startswith("resumed after ")
    assert last[-1] == digest
    assert digest.startswith("digest of the ")


@each_example
def test_the_help_says_that_it_may_be_killed_and_where_it_saves(example: Example) -> None:
    text = "\n".join(finish(example, "--help"))
    assert "Kill it at any moment" in text
    assert "saves/" in text


@pytest.mark.parametrize("example", [WORDS, GAME], ids=lambda e: e.script)
def test_a_file_where_the_folder_should_be_is_told_in_one_line(
    example: Example, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    assert str(file) in fail(example, "--store", str(file), *example.arguments)
    assert file.read_text() == "in the way"


def test_a_training_that_is_done_gives_its_result_again(tmp_path: Path) -> None:
    first = finish(DIGITS, "--store", str(tmp_path), "--epochs", "12", "--every", "5")
    assert first[0].startswith("epoch 10: 9")
    assert first[1].startswith("final: 9")
    assert first[1].endswith("% at best")
    assert finish(DIGITS, "--store", str(tmp_path), "--epochs", "12") == first[1:]


def test_a_word_is_found_where_it_stands(tmp_path: Path) -> None:
    store = "--store", str(tmp_path)
    assert "has no snapshot" in fail(WORDS, *store, "--find", "bisect_left")
    finish(WORDS, *store, "--limit", "40")
    found = finish(WORDS, *store, "--find", "bisect_left")
    assert any(line.startswith("bisect.py:") for line in found)
    assert found[-1].endswith("lines with 'bisect_left' in the 40 files indexed so far")


def test_the_game_ends_politely_with_its_input_and_goes_on_from_there(tmp_path: Path) -> None:
    store = "--store", str(tmp_path)
    first = finish(GAME, *store, typed="dance\nn\nw")
    assert any("climb down the stairs" in line for line in first), "no help for a wrong command"
    assert first[-1].endswith("See you.")
    again = finish(GAME, *store, typed="quit\nn\n")
    assert again[0] == "resumed after turn 1; the newest version is 1"


def test_a_moment_of_the_game_can_be_kept_and_gone_back_to(tmp_path: Path) -> None:
    store = "--store", str(tmp_path)
    typed = "n\nsave before\nattack\nattack\nload before\nload nowhere\nsave ../out\n"
    lines = finish(GAME, *store, typed=typed)
    assert "> Kept as before." in lines
    assert any("has no snapshot of 'nowhere'" in line for line in lines)
    assert any("is not a name" in line for line in lines)
    assert finish(GAME, *store)[0].startswith("resumed after turn 1;")
    assert not (tmp_path.parent / "out").exists()


def test_a_world_saved_by_the_script_loads_in_a_program_that_imports_it(tmp_path: Path) -> None:
    digest = finish(GAME, "--store", str(tmp_path), "--bot", "30")[-1].split()[-1]
    program = (
        f"import sys; sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "from checkpoint import Checkpointer\n"
        f"world = Checkpointer({str(tmp_path)!r}, name='bot-1').load()\n"
        "import roguelike\n"
        "assert type(world) is roguelike.World\n"
        "print(roguelike.digest(world))"
    )
    command = [sys.executable, "-B", "-P", "-W", "error", "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (loaded.stdout.strip(), loaded.stderr) == (digest, "")
