"""Mutated streams, files and documents end in our errors, soon, and in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import targets, trying
from fuzz.corpus import LARGEST, ordinary, seeds
from fuzz.mutating import CUTS, Mutator
from fuzz.targets import TARGETS, packed, resealed, unpacked
from fuzz.trying import Found, run, tried

COUNT = {"file": 1_500, "stream": 6_000, "verifier": 6_000}
MINUTES = 4  # of each target, where there is time

each_target = pytest.mark.parametrize("target", TARGETS)


@each_target
def test_every_seed_is_taken_or_refused(target: str) -> None:
    taken = [tried(target, data) for data in seeds(target)]
    assert sum(taken) > len(taken) / 3


@each_target
def test_mutations_raise_nothing_but_our_errors(target: str) -> None:
    count = COUNT.get(target, 3_000)
    assert 0 < run(target, 20261121, count) < count


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the limits of a process are those of Linux")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.timeout(MINUTES * 60 + 300)
@each_target
def test_for_longer_and_within_limits(target: str, seed: int, tmp_path: Path) -> None:
    note = tmp_path / "note"
    command = [sys.executable, "-W", "ignore", trying.__file__]
    command += [target, str(seed), str(60 * MINUTES), str(note)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, f"{note.read_bytes().hex()}\n{done.stderr[-3000:]}"
    count, taken = map(int, done.stdout.split()[-2:])
    assert 0 < taken < count


# --- the fuzzer itself ---------------------------------------------------------


def test_another_error_is_found_and_says_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "decode_rows", lambda data: [][len(data)])
    with pytest.raises(Found, match=f"rows: {b'[]'.hex()} IndexError"):
        tried("rows", b"[]")


def test_what_takes_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "SECONDS", 0.0)
    with pytest.raises(Found, match="took"):
        tried("pickles", b"N.")


@each_target
def test_mutations_are_the_same_each_time_and_differ(target: str) -> None:
    found = [[Mutator(target, seeds(target)[:50], 7).one() for _ in range(2)] for _ in range(2)]
    assert found[0] == found[1]
    mutator = Mutator(target, seeds(target)[:50], 7)
    assert len({mutator.one() for _ in range(100)}) > 80


@each_target
def test_an_input_is_the_sum_of_its_pieces(target: str) -> None:
    cut, _ = CUTS[target]
    some = seeds(target)[::10]
    assert all(b"".join(cut(data)) == data for data in some)
    assert sum(len(cut(data)) for data in some) > sum(map(len, some)) / 20


def test_streams_and_lengths_are_one_input() -> None:
    some = [one for one in ordinary(libraries=False) if one[1]]
    assert len(some) > 20
    for stream, lengths in some:
        assert unpacked(packed(stream, lengths)) == (stream, [*lengths])
        assert len(stream) <= LARGEST


def test_a_file_that_was_changed_is_sealed_again() -> None:
    for file in seeds("file"):
        assert resealed(file) == file
        assert resealed(b"?" + file[1:]) == file
        changed = file.replace(b'"name": null', b'"name": "x"')
        assert changed != file
        again = resealed(changed)
        assert tried("manifest", again[again.rindex(b'{\n"format"') : again.rindex(b"blake3:")])
