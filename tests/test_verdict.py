"""Verdicts: what a file could do, told without doing it."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attacks.attack import Parts
from attacks.doors import single_file
from attacks.streams import (
    EMPTY_LIST,
    MARK,
    MEMOIZE,
    Op,
    built,
    call,
    got,
    named,
    new,
    old,
    push,
    stream,
)

import checkpoint
from checkpoint import Checkpointer, CheckpointError, MemoryStore


def verdict(data: bytes, **options: Any) -> Any:
    return checkpoint.inspect(io.BytesIO(data), **options).verdict


def both(data: bytes) -> Sequence[Any]:
    """The verdicts on a stream as a plain pickle, and in a stranger's file."""
    return verdict(data), verdict(single_file(Parts(data)))


class Mine:
    """A class of the program."""


# --- what it says -------------------------------------------------------------------


def test_plain_data_is_what_any_program_may_load() -> None:
    for found in both(stream({"a": [1, call("collections:deque")]})):
        assert (found.own, found.refused) == (False, None)
        assert [(use.name, use.done, use.refused) for use in found.globals] == [
            ("collections:deque", ("called",), None)
        ]
        assert found.depth >= 2
        assert found.memory > 0


def test_what_would_be_refused_is_named_with_what_it_would_do() -> None:
    data = stream([call("os:system", "x"), built(new("game:Hero"), {"a": 1}), named("game:fire")])
    for found in both(data):
        assert "os:system is not trusted" in found.refused
        said = {use.name: (use.done, bool(use.refused)) for use in found.globals}
        assert said == {
            "os:system": (("called",), True),
            "game:Hero": (("made", "given a state"), True),
            "game:fire": ((), True),
        }


def test_a_file_of_ones_own_is_said_to_be_own_by_its_key() -> None:
    data = checkpoint.dumps([1, Mine()])
    assert (verdict(data).own, verdict(data, key="another key than ours").own) == (True, False)
    saves = Checkpointer(MemoryStore())
    saves.save(Mine())
    assert saves.inspect().verdict.own
    assert f"{__name__}:Mine" in {use.name for use in saves.inspect().verdict.globals}


def test_a_file_is_told_of_though_it_breaks_a_rule() -> None:
    shapes = [
        built(named("os:environ"), {"a": 1}),
        call(call("builtins:getattr", named("os:path"), "join"), "x"),
        Op(push("x") + pickle.BINPERSID),
        built(built(new("game:Hero"), {"a": 1}), {"b": 2}),
        call("checkpoint:load", "x"),
    ]
    for value in shapes[:2] + shapes[3:]:
        for found in both(stream(value)):
            assert found.refused


HOSTILE = {
    "a call": stream(call("prey_of_verdicts:fire", 1)),
    "an old pickle": old(b"cprey_of_verdicts\nfire\n(I1\ntR"),
    "an instance of protocol 0": old(b"(I1\niprey_of_verdicts\nFire\n"),
    "a submodule": stream(named("prey_of_verdicts.inner:fire")),
    "an attribute": stream(call("builtins:getattr", named("prey_of_verdicts:Fire"), "run")),
    "an enum": stream(call("http:HTTPStatus", 200)),
    "numpy": stream(call("numpy:dtype", "f8")),
    "torch": stream(named("torch:float32")),
    "pandas": stream(call("checkpoint.rebuild.pandas:index", 1)),
    "an unknown rebuilder": stream(call("checkpoint.rebuild.prey:fire")),
    "a stdlib module": stream(call("wave:open", "x")),
    "a codec": stream(call("_codecs:encode", "x", "prey_of_verdicts")),
    "a zone": stream(call("zoneinfo:ZoneInfo", "Europe/Paris")),
}

CHILD = """
import io, sys
import checkpoint
from checkpoint import CheckpointError
files = eval(sys.stdin.read())
checkpoint.inspect(io.BytesIO(checkpoint.dumps([1])))
opened = []
sys.addaudithook(lambda event, args: opened.append((event, args[:1])) if event in
    ("open", "import", "exec", "compile", "pickle.find_class", "socket.connect") else None)
before = set(sys.modules)
for data in files:
    try:
        found = checkpoint.inspect(io.BytesIO(data))
        str(found), str(found.verdict)
    except CheckpointError:
        pass
new = sorted(set(sys.modules) - before)
print([*new, *opened])
"""


def test_nothing_is_imported_opened_or_run(tmp_path: Path) -> None:
    (tmp_path / "prey_of_verdicts.py").write_text("raise SystemExit('it was imported')\n")
    files = [*HOSTILE.values(), *(single_file(Parts(data)) for data in HOSTILE.values())]
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(
        command, input=repr(files), capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


# --- bombs ----------------------------------------------------------------------------


def _laughs(levels: int, wide: int, *, tuples: bool = False) -> Op:
    """The same again and again, a few bytes a level."""
    body = push([1]) + MEMOIZE
    for level in range(levels):
        if tuples:
            body += got(level) * 3 + pickle.TUPLE3 + MEMOIZE
        else:
            body += EMPTY_LIST + MEMOIZE + MARK + got(level) * wide + pickle.APPENDS
        if level:
            body = Op(body)
    return Op(body + push(0) + pickle.POP)


BOMBS = {
    "lists of lists": pickle.PROTO + b"\x05" + MARK + _laughs(60, 10) + pickle.TUPLE + b".",
    "tuples of tuples": pickle.PROTO
    + b"\x05"
    + MARK
    + _laughs(60, 3, tuples=True)
    + pickle.TUPLE
    + b".",
    "deep lists": stream(Op(EMPTY_LIST * 50_000 + pickle.APPEND * 49_999)),
    "deep tuples": stream(Op(push(()) + pickle.TUPLE1 * 50_000)),
    "many globals": stream([named(f"module{n}:name") for n in range(8_000)]),
    "a long name": stream(named("a" * 200_000 + ":" + "b.c" * 60_000)),
    "many marks": pickle.PROTO + b"\x05" + MARK * 100_000 + b".",
    "texts that lie": pickle.PROTO + b"\x05X\xff\xff\xff\x7f" + b"x" * 1000 + b".",
    "a shared value of an enum": stream(call("http:HTTPStatus", 1)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_looked_at_in_no_time(name: str) -> None:
    began = time.process_time()
    for data in (BOMBS[name], single_file(Parts(BOMBS[name]))):
        try:
            found = checkpoint.inspect(io.BytesIO(data))
        except CheckpointError:
            continue
        assert len(str(found.verdict)) < 1_000_000
        str(found)
    assert time.process_time() - began < 10


# --- the command ------------------------------------------------------------------------


def _inspected(path: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "checkpoint", "inspect", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_the_command_says_what_a_file_could_do(tmp_path: Path) -> None:
    path = tmp_path / "strange.pkl"
    path.write_bytes(stream([call("os:system", "x"), built(new("game:Hero"), {"a": 1})]))
    code, said = _inspected(path)
    assert code == 0
    for part in ("os:system", "called", "game:Hero", "given a state", "refused"):
        assert part in said
    path.write_bytes(checkpoint.dumps({"a": 1}))
    code, said = _inspected(path)
    assert code == 0
    assert "refused" not in said
    assert "own" in said


@pytest.mark.parametrize("name", ["a call", "an old pickle", "an enum"])
def test_the_command_runs_nothing_of_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "prey_of_verdicts.py").write_text("print('it was imported')\n")
    path = tmp_path / "strange.pkl"
    path.write_bytes(HOSTILE[name])
    _, said = _inspected(path)
    assert "it was imported" not in said
