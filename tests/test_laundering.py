"""Laundering: what came from a stranger and was never run is signed by no save."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import Program, program

import checkpoint
from checkpoint import Checkpointer, MemoryStore, UnsafeError

PACKAGE = "program"
KEY = "the key of a stranger"
OLD = """
class Lost: pass
class Slotted: __slots__ = ("a", "b", "__weakref__")
class Hero: pass
def gone(): pass
"""
# The same program later: a class and a function are gone, a slot too.
NEW = """
class Slotted: __slots__ = ("a", "__weakref__")
class Hero: pass
"""
# And once more, when what was gone is there again, and does something when it is loaded.
BACK = """
ran = []
class Lost:
    def __new__(cls, *args): ran.append("new"); return object.__new__(cls)
    def __setstate__(self, state): ran.append("state")
class Slotted:
    __slots__ = ("a", "b", "__weakref__")
class Hero: pass
def gone(*args): ran.append("gone")
"""


@pytest.fixture
def running() -> Iterator[Program]:
    with program() as made:
        made.release(program=OLD)
        yield made


def _state(running: Program, kind: str) -> Any:
    """A state with something of *kind* that the program has not any more."""
    old = running.module(PACKAGE)
    if kind == "stand-in":
        lost = old.Lost()
        lost.plan = [1, 2]
        return {"hero": old.Hero(), "lost": [lost, lost]}
    if kind == "class alone":
        return {"kinds": [old.Lost]}
    if kind == "function alone":
        return [old.gone]
    slotted = old.Slotted()
    slotted.a, slotted.b = 1, ["kept"]
    return [slotted]


KINDS = ("stand-in", "class alone", "function alone", "kept field")


def strangers(running: Program, kind: str) -> MemoryStore:
    store = MemoryStore()
    Checkpointer(store, key=KEY, package=PACKAGE).save(_state(running, kind))
    running.release(program=NEW)
    return store


def loaded(running: Program, kind: str, **options: Any) -> Any:
    """What this program makes of a stranger's version."""
    known: dict[str, Any] = {"package": PACKAGE, "on_missing": "stand-in"} | options
    return Checkpointer(strangers(running, kind), **known, schema="off").load()


# --- from live objects to a save ---------------------------------------------------


def _dumped(state: Any) -> bytes:
    file = io.BytesIO()
    checkpoint.Pickler(file).dump(state)
    return file.getvalue()


def _exported(saves: Checkpointer, state: Any) -> None:
    file = io.BytesIO()
    saves.export(saves.save(state).version, file)
    file.seek(0)
    saves.import_(file)


def _reloaded(saves: Checkpointer, state: Any) -> None:
    saves.save(state)
    saves.save(saves.load())
    saves.save(saves.load())


SAVES: dict[str, Callable[[Checkpointer, Any], object]] = {
    "a save": lambda saves, state: saves.save(state),
    "within something else": lambda saves, state: saves.save({"own": [1, (2, [state])]}),
    "a save in the background": lambda saves, state: saves.save_in_background(state).result(),
    "a save in a child": lambda saves, state: saves.save_in_background(
        state, capture="fork", despite_threads=True
    ).result(),
    "under another name": lambda saves, state: saves.named("other").save(state),
    "dumps": lambda saves, state: saves.import_(io.BytesIO(checkpoint.dumps(state))),
    "a Pickler": lambda saves, state: saves.import_(io.BytesIO(_dumped(state))),
    "exported and imported": _exported,
    "loaded and saved again": _reloaded,
    "a copy": lambda saves, state: saves.save(copy.copy(state)),
    "the parts": lambda saves, state: saves.save(
        [*state] if isinstance(state, list) else [*state.values()]
    ),
    "with metrics and tags": lambda saves, state: saves.save(state, tags=["x"], meta={"own": 1}),
}


def versions(saves: Checkpointer) -> list[bool]:
    """Of each version, under any name, whether it is own."""
    return [snapshot.own for name in saves.names() for snapshot in saves.named(name).snapshots()]


def in_a_fresh_process(*folders: Path) -> list[list[bool]]:
    source = (
        "import sys, checkpoint\n"
        "each = [checkpoint.Checkpointer(folder) for folder in sys.argv[1:]]\n"
        "print([[s.own for name in saves.names() for s in saves.named(name)] for saves in each])\n"
    )
    command = [sys.executable, "-c", source, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[list[bool]] = eval(done.stdout)
    return found


@pytest.mark.parametrize("way", SAVES)
def test_no_way_to_save_makes_it_own(running: Program, tmp_path: Path, way: str) -> None:
    if way == "a save in a child" and not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    folders = [tmp_path / kind for kind in KINDS]
    found = []
    for kind, folder in zip(KINDS, folders, strict=True):
        running.release(program=OLD)
        state = loaded(running, kind)
        saves = Checkpointer(folder, package=PACKAGE, on_missing="stand-in", schema="off")
        SAVES[way](saves, state)
        found.append(versions(saves))
        assert found[-1]
        assert not any(found[-1]), kind
    assert in_a_fresh_process(*folders) == found


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_stand_in_is_as_foreign(running: Program, kind: str, how: Any) -> None:
    state = loaded(running, kind)
    inner = state["lost"][0] if kind == "stand-in" else state
    for value in (how(state), how(inner), how([inner])):
        assert not Checkpointer(MemoryStore()).save(value).own


def test_the_class_of_a_stand_in_is_as_foreign_as_its_instances(running: Program) -> None:
    state = loaded(running, "stand-in")
    kind = type(state["lost"][0])
    del state
    assert not Checkpointer(MemoryStore()).save({"kind": kind}).own


def test_what_is_taken_out_of_a_stand_in_is_plain_data(running: Program) -> None:
    state = loaded(running, "stand-in")
    assert Checkpointer(MemoryStore()).save(state["lost"][0].plan).own
    assert Checkpointer(MemoryStore(), package=PACKAGE).save(state["hero"]).own


def test_pickle_takes_no_stand_in_at_all(running: Program) -> None:
    with pytest.raises(Exception, match="Lost"):
        pickle.dumps(loaded(running, "stand-in"))


def test_a_copy_of_an_object_with_kept_fields_has_none(running: Program) -> None:
    (slotted,) = loaded(running, "kept field")
    assert not Checkpointer(MemoryStore()).save(slotted).own
    for copied in (copy.copy(slotted), copy.deepcopy(slotted)):
        assert copied.a == 1
        data = checkpoint.dumps(copied)
        assert b"kept" not in data


@pytest.mark.parametrize("options", [{"trust": checkpoint.everything}, {"package": PACKAGE}])
def test_what_a_stranger_saved_as_a_plain_pickle_is_as_foreign(
    running: Program, options: Any
) -> None:
    running.release(program=OLD.replace("Lost", "Pickled"))
    data = pickle.dumps([running.module(PACKAGE).Pickled()])
    running.release(program=NEW)
    state = checkpoint.loads(data, on_missing="stand-in", **options)
    assert not Checkpointer(MemoryStore()).save(state).own
    del state
    gc.collect()  # Of the class, which is told to be foreign once for all.


def test_a_foreign_version_that_is_loaded_with_everything_leaves_foreign_stand_ins(
    running: Program,
) -> None:
    for kind in KINDS:
        running.release(program=OLD)
        state = loaded(running, kind, trust=checkpoint.everything)
        assert not Checkpointer(MemoryStore()).save(state).own


# --- from a store to a store ----------------------------------------------------------


def test_an_imported_file_is_own_by_its_signature_alone(running: Program) -> None:
    for key, own in (("a fixed key for the tests that keeps no secret", True), (KEY, False)):
        file = io.BytesIO(checkpoint.dumps([1], key=key))
        saves = Checkpointer(MemoryStore())
        assert saves.import_(file).own is own
        file = io.BytesIO()
        saves.export(1, file)
        file.seek(0)
        assert saves.import_(file).own is own
    assert not saves.import_(io.BytesIO(checkpoint.dumps([1], key=None))).own


def test_a_save_of_our_own_stands_on_no_bytes_of_a_stranger() -> None:
    """He has saved the same, and his pack is not what he says it is."""
    store, state = MemoryStore(), {"data": bytearray(random.Random(1).randbytes(200_000))}
    Checkpointer(store).save([1])
    Checkpointer(store, key=KEY).save(state)
    lying = MemoryStore()
    for key in store.keys(""):
        content = bytearray(store.get(key))
        if key.startswith("packs/"):
            content[1000:2000] = bytes(1000)
        lying.put(key, [content])
    assert Checkpointer(lying).save(state).own
    assert Checkpointer(lying).load(version=3) == state


def test_a_migration_of_names_and_one_that_copies_leave_it_foreign(running: Program) -> None:
    store = strangers(running, "stand-in")
    migrations = checkpoint.Migrations()
    migrations.rename("program:Lost", "program:Found")
    saves = Checkpointer(store, package=PACKAGE, migrations=migrations)
    done = saves.migrate()
    assert [one.way for one in done] == ["rename"]
    assert [snapshot.own for snapshot in saves] == [False, False]
    # An interruption makes the next one copy what is newer.
    saves.save([1])
    store.delete([key for key in store.keys("snapshots/") if key.endswith("2.json")])
    for one in saves.migrate():
        assert one.way != "load"
    types = {s.version: [*map(str, s.types)] for s in saves}
    assert all(not s.own for s in saves if types[s.version])


def test_a_foreign_version_is_not_migrated_by_loading_it(running: Program) -> None:
    store = strangers(running, "stand-in")
    running.release(program=BACK)
    migrations = checkpoint.Migrations()
    migrations.upgrade(running.module(PACKAGE).Lost, 1)(lambda state: state)
    saves = Checkpointer(store, package=PACKAGE, migrations=migrations)
    saves.migrate()
    assert [snapshot.own for snapshot in saves] == [False] * len(saves)
    assert running.module(PACKAGE).ran == []


def test_a_job_keeps_foreign_what_its_state_steps_and_results_hold(
    running: Program, tmp_path: Path
) -> None:
    state = loaded(running, "stand-in")

    again: list[int] = []

    @checkpoint.resumable(store=tmp_path, every=1, name="job", unsaved=["state", "again"])
    def job(job: Any) -> Any:
        kept = job.state(lost=None, turn=0)
        kept.lost = state["lost"]
        found = job.step(lambda: state["lost"][0])
        for turn in job.loop(range(4)):
            kept.turn = turn
            if turn == 2 and not again:
                raise KeyError("stop")
        return found

    with pytest.raises(KeyError):
        job()
    saves = Checkpointer(tmp_path, package=PACKAGE, on_missing="stand-in")
    assert _laundered(saves) == []
    assert _holding(saves)
    again.append(1)
    with contextlib.suppress(checkpoint.CheckpointError):
        job()
    assert _laundered(saves) == []


def _holding(saves: Checkpointer) -> list[tuple[str, Any]]:
    """The versions that hold what is gone, with their names."""
    return [
        (name, snapshot)
        for name in saves.names()
        for snapshot in saves.named(name)
        if any(entry.qualname == "Lost" for entry in snapshot.types)
    ]


def _laundered(saves: Checkpointer) -> list[str]:
    """The versions that are own, and hold what is gone."""
    return [f"{name} {snapshot.version}" for name, snapshot in _holding(saves) if snapshot.own]


# --- and what happens when it is loaded --------------------------------------------------


@pytest.mark.parametrize("way", SAVES)
def test_what_is_back_again_is_not_run_by_a_load_of_what_was_saved(
    running: Program, tmp_path: Path, way: str
) -> None:
    if way == "a save in a child" and not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    state = loaded(running, "stand-in")
    SAVES[way](Checkpointer(tmp_path, package=PACKAGE, on_missing="stand-in"), state)
    running.release(program=BACK)
    saves = Checkpointer(tmp_path, package=PACKAGE)
    for name in saves.names():
        with pytest.raises(UnsafeError, match="program:Lost"):
            saves.named(name).load()
    assert running.module(PACKAGE).ran == []


# --- the ways out ---------------------------------------------------------------------------


def test_to_adopt_it_is_the_one_way_out(running: Program) -> None:
    store = strangers(running, "stand-in")
    running.release(program=BACK)
    saves = Checkpointer(store, package=PACKAGE)
    with pytest.raises(UnsafeError):
        saves.load()
    adopted = saves.adopt(1)
    assert (adopted.version, adopted.parent, adopted.own) == (2, 1, True)
    assert [snapshot.own for snapshot in saves] == [False, True]
    assert running.module(PACKAGE).ran == []
    assert type(saves.load()["lost"][0]).__name__ == "Lost"
    assert running.module(PACKAGE).ran == ["new", "state"]


def test_what_was_built_under_the_policy_may_be_saved_as_own(running: Program) -> None:
    store = strangers(running, "stand-in")
    running.release(program=OLD)
    for saves in (
        Checkpointer(store, package=PACKAGE),
        Checkpointer(store, package="other", trust=[PACKAGE]),
        Checkpointer(store, trust=checkpoint.everything),
    ):
        assert not saves.snapshots()[0].own
        assert saves.save(saves.load(version=1)).own


def test_without_a_key_all_is_foreign_and_told_so(running: Program) -> None:
    saves = Checkpointer(MemoryStore(), key=None)
    assert not saves.save([1]).own
    assert saves.load() == [1]
    with pytest.raises(ValueError, match="no key to sign with"):
        saves.adopt(1)
    assert len(saves) == 1
