"""Saves behind the program: in order, bounded, as the state was, and no error lost."""

from __future__ import annotations

import copy
import faulthandler
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from faults.hooked import noise, same

import checkpoint
from checkpoint import (
    Checkpointer,
    CheckpointError,
    IntegrityError,
    LocalStore,
    MemoryStore,
    RetentionWarning,
    SerializationError,
    StoreError,
    _background,
    _forking,
    keep_last,
)

SOURCE = Path(checkpoint.__file__).parent.parent
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
each_capture = pytest.mark.parametrize("capture", ["copy", pytest.param("fork", marks=forks)])


class FailingStore(MemoryStore):
    """Fails the next puts of manifests with these errors."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__()
        self.errors = list(errors)

    def put(self, key: str, pieces: Iterable[Any]) -> None:
        if key.startswith("snapshots/") and self.errors:
            raise self.errors.pop(0)
        super().put(key, pieces)


class GatedStore(FailingStore):
    """Writes packs and manifests only while the gate is open."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__(*errors)
        self.gate = threading.Event()

    def put(self, key: str, pieces: Iterable[Any]) -> None:
        if key.startswith(("packs/", "snapshots/")):
            assert self.gate.wait(60)
        super().put(key, pieces)


@pytest.fixture
def gated() -> Iterator[GatedStore]:
    store = GatedStore()
    yield store
    store.gate.set()


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "saves")


def versions(saves: Checkpointer) -> list[int]:
    return [snapshot.version for snapshot in saves]


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Another program; warnings are errors there too."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """*work* in a thread, which has ended after the block."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(60)
    assert not thread.is_alive()


def dead_child() -> None:
    """Nothing is left of any child."""
    # A pool that spawns leaves its tracker of resources, which lives as long as this process.
    tracker = getattr(resource_tracker, "_resource_tracker", None)
    if getattr(tracker, "_pid", None) is not None:
        tracker._stop()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# --- what is saved ----------------------------------------------------------


def test_the_call_returns_before_the_save_is_made(gated: GatedStore) -> None:
    with Checkpointer(gated) as saves:
        future = saves.save_in_background({"gold": 7}, metrics={"loss": 1}, tags=["a"], meta=[1])
        assert not future.done()
        gated.gate.set()
        snapshot = future.result()
        assert (snapshot.version, snapshot.tags, snapshot.meta) == (1, ("a",), [1])
        assert saves.snapshots() == [snapshot]
        assert saves.load() == {"gold": 7}
        assert saves.version == 1


class Told:
    """Has a Python `__getstate__`, which a pickler in another thread would see half changed."""

    def __init__(self) -> None:
        self.first = self.second = 0
        self.notes: list[int] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"first": self.first, "notes": list(self.notes), "second": self.second}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Told) and vars(self) == vars(other)

    __hash__ = object.__hash__

    def change(self) -> None:
        self.first += 1
        self.notes.append(self.first)
        self.second += 1


def changing() -> dict[str, Any]:
    return {
        "array": noise(1, 300_000),
        "large": np.arange(500_000, dtype=np.float64),
        "small": np.arange(10),
        "turned": np.arange(40_000, dtype=np.float64).reshape(200, 200).T,
        "raw": bytearray(noise(2, 400_000).tobytes()),
        "fixed": noise(3, 2_000_000).tobytes(),
        "few": bytearray(b"few"),
        "told": [Told() for _ in range(300)],
        "nested": {"list": list(range(100))},
    }


def change(state: dict[str, Any], step: int) -> None:
    for name in ("array", "large", "small", "turned"):
        state[name] += 1
    state["raw"][step::1000] = bytes(len(state["raw"][step::1000]))
    state["few"].append(step)
    for told in state["told"]:
        told.change()
    state["nested"]["list"].append(step)
    state["nested"][f"step {step}"] = [step]
    state["fixed"] = bytes(step)


@each_capture
def test_what_changes_after_the_call_is_not_saved(capture: Any, folder: LocalStore) -> None:
    state = changing()
    wanted = []
    with Checkpointer(folder) as saves:
        for step in range(12):
            wanted.append(copy.deepcopy(state))
            saves.save_in_background(state, capture=capture)
            change(state, step)
        for version, expected in enumerate(wanted, 1):
            found = saves.load(version=version)
            assert same(found, expected), f"version {version}"
        assert saves.verify() == []


def test_the_test_above_sees_a_capture_that_does_not_copy(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lazy(self: _background.Capture, buffers: Iterable[memoryview]) -> None:
        self.buffers += buffers

    monkeypatch.setattr(_background.Capture, "copy", lazy)
    with pytest.raises((AssertionError, IntegrityError)):
        test_what_changes_after_the_call_is_not_saved("copy", folder)


def test_metrics_and_meta_may_be_changed_after_the_call(gated: GatedStore) -> None:
    metrics, meta, tags = {"loss": 1.0}, {"notes": ["a"]}, ["x"]
    with Checkpointer(gated) as saves:
        future = saves.save_in_background(0, metrics=metrics, meta=meta, tags=tags)
        metrics["loss"] = 2.0
        meta["notes"].append("b")
        tags.append("y")
        gated.gate.set()
        found = future.result()
    assert (found.metrics, found.meta, found.tags) == ({"loss": 1.0}, {"notes": ["a"]}, ("x",))


def test_a_graph_too_deep_for_the_c_pickler_is_captured(folder: LocalStore) -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep, bytearray(2)]
    with Checkpointer(folder) as saves:
        saves.save_in_background(deep)
        found = saves.load()
    depth = 0
    while found:
        found, depth = found[0], depth + 1
    assert depth == 50_000


@each_capture
def test_what_was_saved_before_is_not_stored_again(capture: Any, folder: LocalStore) -> None:
    state = {"step": 0, "array": noise(1, 3_000_000)}
    with Checkpointer(folder) as saves:
        for step in range(3):
            state["step"] = step
            saves.save_in_background(state, capture=capture)
        saves.save(state)
        assert [snapshot.stored > 2_000_000 for snapshot in saves] == [True, False, False, False]
        assert len({key.split("/")[1] for key in folder.keys("packs/")}) == 1


def test_the_parent_is_the_version_before(folder: LocalStore) -> None:
    with Checkpointer(folder) as saves:
        for turn in range(3):
            saves.save_in_background(turn)
        saves.load(version=1)
        last = saves.save_in_background("from 1")
        assert [snapshot.parent for snapshot in saves] == [None, 1, 2, 1]
        assert last.result().parent == 1


@each_capture
def test_old_versions_go_after_each_save(capture: Any, folder: LocalStore) -> None:
    with Checkpointer(folder, keep=keep_last(2)) as saves:
        for turn in range(5):
            saves.save_in_background(turn, capture=capture)
        assert versions(saves) == [4, 5]


# --- order, and how many ----------------------------------------------------


def test_the_order_of_versions_is_that_of_the_calls(folder: LocalStore) -> None:
    with Checkpointer(folder) as saves:
        for step in range(30):
            if step % 7 == 3:
                assert saves.save(step).version == step + 1
            elif step % 7 == 5 and hasattr(os, "fork"):
                saves.save_in_background(step, capture="fork")
            else:
                saves.save_in_background(step)
        assert [saves.load(version=version) for version in versions(saves)] == list(range(30))


def test_whoever_looks_sees_what_was_begun(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path / "saves")
    looks: list[Callable[[], Any]] = [
        lambda: len(saves),
        lambda: versions(saves)[-1],
        lambda: saves.load() + 1,
        lambda: saves.load(tag="last") + 1,
        lambda: saves.load(best="minus") + 1,
        lambda: saves.export(len(saves), tmp_path / "file") or checkpoint.load(tmp_path / "file"),
        lambda: saves.tag(len(saves), "new") or saves.load(tag="new") + 1,
    ]
    for number, look in enumerate(looks, 1):
        state = number - 1 if look is not looks[5] else number
        saves.save_in_background(state, tags=["last"], metrics={"minus": -number})
        assert look() == number
    saves.save_in_background("doomed")
    saves.delete(len(looks) + 1)
    saves.save_in_background("last")
    assert saves.prune() == 0
    assert versions(saves)[-1] == len(looks) + 2
    saves.close()


def blocked(store: GatedStore, work: Callable[[], object]) -> list[str]:
    """What came first: the end of *work*, or the opening of the gate."""
    came: list[str] = []

    def working() -> None:
        work()
        came.append("done")

    with in_thread(working) as thread:
        thread.join(0.3)
        came.append("open")
        store.gate.set()
    return came


def test_the_fifth_save_waits_for_the_first(gated: GatedStore) -> None:
    with Checkpointer(gated) as saves:
        futures = [saves.save_in_background(step) for step in range(_background.IN_FLIGHT)]
        assert blocked(gated, lambda: saves.save_in_background("fifth")) == ["open", "done"]
        assert [future.result().version for future in futures] == [1, 2, 3, 4]
        assert saves.load() == "fifth"


def test_the_fourth_save_does_not_wait(gated: GatedStore) -> None:
    with Checkpointer(gated) as saves:
        for step in range(_background.IN_FLIGHT - 1):
            saves.save_in_background(step)
        assert blocked(gated, lambda: saves.save_in_background("fourth")) == ["done", "open"]


@pytest.mark.parametrize("kind", [np.ndarray, bytes])
def test_more_memory_than_may_be_held_waits_for_that_which_is(
    kind: Any, gated: GatedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_background, "HELD", 500_000)
    large = noise(1, 400_000)
    with Checkpointer(gated) as saves:
        saves.save_in_background(large if kind is np.ndarray else large.tobytes())
        assert blocked(gated, lambda: saves.save_in_background(noise(2, 200_000))) == [
            "open",
            "done",
        ]
        assert same(saves.load(), noise(2, 200_000))


def test_one_save_may_hold_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_background, "HELD", 1)
    with Checkpointer(MemoryStore()) as saves:
        for step in range(3):
            saves.save_in_background(noise(step))
        assert same(saves.load(), noise(2))


def test_the_memory_above_the_state_is_one_copy_and_a_little(tmp_path: Path) -> None:
    program = """
import pathlib, sys
import numpy as np
from checkpoint import Checkpointer

def peak():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10

arrays = [np.random.default_rng(i).standard_normal(1 << 21) for i in range(16)]  # 256 MiB
with Checkpointer(sys.argv[1]) as saves:
    before = peak()
    for step in range(3):
        saves.save_in_background(arrays)
        for array in arrays:
            array += 1
    saves.close()
    print(peak() - before)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell a peak of memory")
    done = run(program, tmp_path / "saves")
    assert done.stderr == ""
    assert int(done.stdout) <= 256 + 128


@pytest.mark.parametrize("error", [None, StoreError("the disk is full")])
def test_what_was_captured_goes_with_its_save(error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a collection, and though the error and its traceback are kept."""
    captured: list[weakref.ref[Any]] = []
    real = _background.Capture.copy

    def copy(self: Any, buffers: Any) -> None:
        real(self, buffers)
        captured.extend(weakref.ref(view.obj) for view in self.buffers)

    monkeypatch.setattr(_background.Capture, "copy", copy)
    saves = Checkpointer(FailingStore(*[error] * (error is not None)))
    gc.collect()
    gc.disable()
    try:
        future = saves.save_in_background(noise(1, 2_000_000))
        assert future.exception() is error
        saves.snapshots()
        assert [reference() for reference in captured] == [None]
    finally:
        gc.enable()
    with nullcontext() if error is None else pytest.raises(StoreError):
        saves.close()


def test_many_threads_may_save_at_once(folder: LocalStore) -> None:
    saves = Checkpointer(folder)

    def work(who: int) -> None:
        for step in range(5):
            saves.save_in_background((who, step))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [saves.load(version=version) for version in versions(saves)]
    assert sorted(found) == [(who, step) for who in range(4) for step in range(5)]
    for who in range(4):
        assert [step for one, step in found if one == who] == list(range(5))
    saves.close()


def test_two_names_of_one_repository_save_side_by_side(folder: LocalStore) -> None:
    with Checkpointer(folder) as one, one.named("two") as two:
        for step in range(5):
            one.save_in_background({"one": step, "array": noise(1)})
            two.save_in_background({"two": step, "array": noise(1)})
        assert (len(one), len(two)) == (5, 5)
        assert (one.load()["one"], two.load()["two"]) == (4, 4)
        assert one.verify() == []


# --- errors -----------------------------------------------------------------


@pytest.mark.parametrize(
    "again",
    [
        lambda saves: saves.save("next"),
        lambda saves: saves.save_in_background("next"),
        lambda saves: saves.close(),
        lambda saves: saves.__exit__(None, None, None),
    ],
    ids=["save", "save_in_background", "close", "with"],
)
def test_an_error_is_raised_by_the_future_and_once_more_by_the_next_call(again: Any) -> None:
    saves = Checkpointer(FailingStore(StoreError("the disk is full")))
    future = saves.save_in_background("lost")
    with pytest.raises(StoreError, match="the disk is full") as first:
        future.result()
    with pytest.raises(StoreError) as second:
        again(saves)
    assert second.value is first.value
    assert f"begun at {__file__}:" in second.value.__notes__[0]
    saves.close()


def test_the_call_that_raises_does_nothing_and_the_one_after_it_saves() -> None:
    with Checkpointer(FailingStore(StoreError("full"))) as saves:
        saves.save_in_background("lost").exception()
        with pytest.raises(StoreError, match="full"):
            saves.save_in_background("not tried")
        saves.save_in_background("kept")
        assert [saves.load(version=version) for version in versions(saves)] == ["kept"]


def test_an_error_that_comes_while_save_waits_is_raised_by_it() -> None:
    store = GatedStore(StoreError("full"))
    saves = Checkpointer(store)
    saves.save_in_background("lost")

    def save() -> None:
        with pytest.raises(StoreError, match="full"):
            saves.save("not tried")

    assert blocked(store, save) == ["open", "done"]
    assert versions(saves) == []


def test_several_errors_come_together_and_the_saves_behind_them_are_made() -> None:
    store = GatedStore(StoreError("one"), OSError("two"))
    saves = Checkpointer(store)
    futures = [saves.save_in_background(step) for step in range(3)]
    store.gate.set()
    with pytest.raises(StoreError, match="one") as found:
        saves.close()
    assert "a save in the background failed too: OSError: two" in found.value.__notes__
    assert [type(future.exception()) for future in futures] == [StoreError, OSError, type(None)]
    saves.close()


def test_the_error_of_a_block_is_not_hidden_by_that_of_a_save() -> None:
    store = FailingStore(StoreError("full"))
    with pytest.raises(KeyError) as found, Checkpointer(store) as saves:
        saves.save_in_background("lost")
        raise KeyError("the program's own")
    assert found.value.__notes__ == ["a save in the background failed too: StoreError: full"]
    with pytest.raises(ValueError, match="is closed"):
        saves.save("late")


def test_the_error_of_a_save_that_leaves_the_block_is_not_told_twice() -> None:
    store = FailingStore(StoreError("full"))
    with pytest.raises(StoreError) as found, Checkpointer(store) as saves:
        saves.save_in_background("lost").result()
    assert len(found.value.__notes__) == 1


def test_what_cannot_be_pickled_is_refused_by_the_call() -> None:
    with Checkpointer(MemoryStore()) as saves:
        with pytest.raises(SerializationError) as found:
            saves.save_in_background({"a": [threading.Lock()]})
        assert found.value.path == "state['a'][0]"
        assert saves.save_in_background("fine").result().version == 1


@pytest.mark.parametrize(
    ("named", "error", "match"),
    [
        ({"capture": "fast"}, ValueError, "capture is 'copy' or 'fork', not 'fast'"),
        ({"timeout": 0}, ValueError, "above 0, not 0"),
        ({"timeout": float("nan")}, ValueError, "above 0"),
        ({"metrics": {"loss": "low"}}, ValueError, "metric 'loss'"),
        ({"tags": "best"}, TypeError, "tags is a collection"),
        ({"meta": {1, 2}}, ValueError, "JSON"),
    ],
)
def test_a_wrong_argument_is_refused_by_the_call(named: Any, error: Any, match: str) -> None:
    with Checkpointer(MemoryStore()) as saves:
        with pytest.raises(error, match=match):
            saves.save_in_background(0, **named)
        assert len(saves) == 0


def test_a_closed_checkpointer_saves_nothing_behind(gated: GatedStore) -> None:
    saves = Checkpointer(gated)
    future = saves.save_in_background("last")
    assert blocked(gated, saves.close) == ["open", "done"]
    assert future.done()
    with pytest.raises(ValueError, match="is closed"):
        saves.save_in_background("late")


def test_a_failed_cleaning_warns_at_the_line_that_saved() -> None:
    def policy(snapshots: Any) -> NoReturn:
        raise CheckpointError("no opinion")

    with pytest.warns(RetentionWarning, match="no opinion") as found:
        Checkpointer(MemoryStore(), keep=policy).save_in_background(1).result()
    assert found[0].filename == __file__


# --- futures ----------------------------------------------------------------


def test_a_save_that_was_begun_cannot_be_cancelled(gated: GatedStore) -> None:
    with Checkpointer(gated) as saves:
        futures = [saves.save_in_background(step) for step in range(3)]
        assert [future.cancel() for future in futures] == [False] * 3
        gated.gate.set()
    assert [future.result().version for future in futures] == [1, 2, 3]


@pytest.mark.timeout(60)
def test_a_callback_may_use_the_checkpointer(gated: GatedStore) -> None:
    seen: list[Any] = []
    saves = Checkpointer(gated)

    def callback(future: Any) -> None:
        seen.append(future.result().version)
        seen.append(saves.load())
        seen.append(saves.save("from a callback").version)
        seen.append(saves.save_in_background("behind a callback"))

    saves.save_in_background("first").add_done_callback(callback)
    saves.save_in_background("second")
    gated.gate.set()
    while len(seen) < 4:
        time.sleep(0.01)
    assert seen[:3] == [1, "second", 3]
    assert seen[3].result().version == 4
    assert saves.load() == "behind a callback"
    saves.close()


@pytest.mark.timeout(60)
def test_callbacks_of_two_checkpointers_may_use_each_other(folder: LocalStore) -> None:
    one = Checkpointer(folder, "one")
    two = one.named("two")
    done = [threading.Event(), threading.Event()]

    def using(other: Checkpointer, event: threading.Event) -> Callable[[Any], None]:
        def callback(_: Any) -> None:
            other.save_in_background("by a callback")
            other.load()
            event.set()

        return callback

    for _ in range(3):
        one.save_in_background(1).add_done_callback(using(two, done[0]))
        two.save_in_background(2).add_done_callback(using(one, done[1]))
    assert all(event.wait(30) for event in done)
    one.close()
    two.close()


@pytest.mark.timeout(60)
def test_a_policy_may_look_at_the_checkpointer(folder: LocalStore) -> None:
    seen = []

    def policy(snapshots: Any) -> set[int]:
        seen.append(len(saves))
        return {snapshot.version for snapshot in snapshots[-2:]}

    saves = Checkpointer(folder, keep=policy)
    for step in range(4):
        saves.save_in_background(step)
    saves.save("last")
    assert len(seen) == 5
    assert versions(saves) == [4, 5]
    saves.close()


class Nosy:
    """Looks at the checkpointer, and saves with it, while it is pickled."""

    def __init__(self, saves: Checkpointer) -> None:
        self.saves = saves

    def __reduce__(self) -> Any:
        for _ in range(_background.IN_FLIGHT + 1):
            self.saves.save_in_background("from within")
        return str, (f"{len(self.saves)}",)


@pytest.mark.timeout(60)
def test_a_graph_may_use_the_checkpointer_that_saves_it(folder: LocalStore) -> None:
    with Checkpointer(folder) as saves:
        saves.save(Nosy(saves))
        saves.save_in_background(Nosy(saves))
        assert versions(saves)[-1] == 2 * (_background.IN_FLIGHT + 2)


@pytest.mark.timeout(60)
def test_a_callback_that_dies_stops_no_other_save(gated: GatedStore) -> None:
    def callback(_: Any) -> NoReturn:
        raise SystemExit("from a callback")

    saves = Checkpointer(gated)
    saves.save_in_background("first").add_done_callback(callback)
    saves.save_in_background("second")
    gated.gate.set()
    with pytest.raises(SystemExit, match="from a callback"):
        saves.close()
    assert versions(Checkpointer(gated)) == [1, 2]


# --- interrupts, and the end of the program ---------------------------------


@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system sends no signals")
@pytest.mark.parametrize("work", ["save", "save_in_background", "close", "load"])
def test_an_interrupt_while_it_waits_loses_nothing(work: str, gated: GatedStore) -> None:
    saves = Checkpointer(gated)
    futures = [saves.save_in_background(step) for step in range(_background.IN_FLIGHT)]
    main = threading.get_ident()

    def interrupt() -> None:
        time.sleep(0.2)
        signal.pthread_kill(main, signal.SIGINT)

    with in_thread(interrupt), pytest.raises(KeyboardInterrupt):
        getattr(saves, work)(*(["never"] if work.startswith("save") else []))
    gated.gate.set()
    assert [future.result().version for future in futures] == [1, 2, 3, 4]
    saves.close()
    with Checkpointer(gated) as others:
        assert [others.load(version=version) for version in versions(others)] == [0, 1, 2, 3]


def test_an_interrupt_comes_at_the_end_of_what_must_not_be_interrupted() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), _forking.uninterrupted():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@each_capture
@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise RuntimeError('the end')"])
def test_the_program_does_not_end_before_its_saves(capture: str, end: str, tmp_path: Path) -> None:
    program = """
import sys, time
import numpy as np
from checkpoint import Checkpointer, LocalStore

class Slow(LocalStore):
    def put(self, key, pieces):
        time.sleep(0.1)
        super().put(key, pieces)

saves = Checkpointer(Slow(sys.argv[1]))
for step in range(3):
    saves.save_in_background([step, np.full(3_000_000, step)], capture=sys.argv[2])
"""
    done = run(program + end, tmp_path / "saves", capture)
    assert done.returncode == {"": 0, "sys.exit(3)": 3}.get(end, 1)
    assert ("Error" in done.stderr) == ("RuntimeError" in end)
    saves = Checkpointer(tmp_path / "saves")
    assert [saves.load(version=version)[0] for version in versions(saves)] == [0, 1, 2]
    assert saves.verify() == []


@each_capture
def test_a_save_begun_by_an_exit_hook_is_made(capture: str, tmp_path: Path) -> None:
    program = """
import atexit, sys, threading
import numpy as np
from checkpoint import Checkpointer

saves = Checkpointer(sys.argv[1])

def late(what):
    saves.save_in_background([what, np.zeros(3_000_000)], capture=sys.argv[2])
    saves.save_in_background([what + "!"], capture=sys.argv[2])

atexit.register(late, "hook")
threading.Thread(target=lambda: (threading.main_thread().join(), late("thread"))).start()
"""
    done = run(program, tmp_path / "saves", capture)
    assert (done.returncode, done.stderr) == (0, "")
    saves = Checkpointer(tmp_path / "saves")
    found = [saves.load(version=version)[0] for version in versions(saves)]
    assert found == ["thread", "thread!", "hook", "hook!"]


@each_capture
def test_a_daemon_thread_may_begin_the_last_save(capture: str, tmp_path: Path) -> None:
    program = """
import sys, threading, time
from checkpoint import Checkpointer, LocalStore

class Slow(LocalStore):
    def put(self, key, pieces):
        time.sleep(0.2)
        super().put(key, pieces)

saves = Checkpointer(Slow(sys.argv[1]))
save = lambda: saves.save_in_background("last", capture=sys.argv[2], despite_threads=True)
thread = threading.Thread(target=save, daemon=True)
thread.start()
thread.join()
"""
    done = run(program, tmp_path / "saves", capture)
    assert (done.returncode, done.stderr) == (0, "")
    assert Checkpointer(tmp_path / "saves").load() == "last"


def test_a_program_that_never_asks_shows_the_error_at_its_end(tmp_path: Path) -> None:
    program = """
import sys
from checkpoint import Checkpointer, MemoryStore, StoreError

class Failing(MemoryStore):
    def put(self, key, pieces):
        raise StoreError("the disk is full")

saves = Checkpointer(Failing())
saves.save_in_background("lost")
"""
    done = run(program)
    assert "StoreError: the disk is full" in done.stderr
    assert "begun at <string>:10" in done.stderr
    told = run(program + "\ntry: saves.close()\nexcept StoreError: pass")
    assert told.stderr == ""


class StagedStore(GatedStore):
    """Fails only once the gate of errors is open; says when a save is before the other."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__(*errors)
        self.failing = threading.Event()
        self.reached = threading.Event()

    def put(self, key: str, pieces: Iterable[Any]) -> None:
        if key.startswith("snapshots/") and self.errors:
            assert self.failing.wait(60)
            raise self.errors.pop(0)
        if key.startswith("snapshots/"):
            self.reached.set()
        super().put(key, pieces)


@forks
def test_a_child_of_the_program_neither_waits_nor_hears_of_errors() -> None:
    gated = StagedStore(StoreError("the parent's"))
    saves = Checkpointer(gated)
    lost, *futures = [saves.save_in_background("state") for _ in range(3)]
    gated.failing.set()
    assert gated.reached.wait(60)
    assert lost.done()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(30)
            gated.gate.set()
            assert saves.snapshots() == []
            assert saves.save("the child's").version == 1
            saves.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    gated.gate.set()
    assert [future.result().version for future in futures] == [1, 2]
    with pytest.raises(StoreError, match="the parent's"):
        saves.close()


# --- fork -------------------------------------------------------------------

PARENT = os.getpid()


class Acting:
    """Does something when it is pickled, in a forked child alone; its state is who pickled it."""

    def __init__(self, act: Callable[[], object] = int) -> None:
        self.act = act

    def __reduce__(self) -> Any:
        if os.getpid() != PARENT:
            self.act()
        return int, (os.getpid(),)


def die_by(number: int) -> Callable[[], None]:
    def act() -> None:
        faulthandler.disable()  # It would tell of the death that is wanted.
        os.kill(os.getpid(), number)

    return act


@forks
def test_a_child_pickles_and_saves(folder: LocalStore) -> None:
    with Checkpointer(folder) as saves:
        future = saves.save_in_background(Acting(), capture="fork", metrics={"loss": 2}, tags=["a"])
        snapshot = future.result()
        assert saves.load() not in (0, os.getpid())
        assert saves.snapshots() == [snapshot]
        assert (snapshot.version, snapshot.metrics, snapshot.tags) == (1, {"loss": 2}, ("a",))
    dead_child()


@forks
@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_a_child_saves_large_arrays_and_millions_of_bytes(codec: str, folder: LocalStore) -> None:
    state = {"arrays": [noise(seed, 9_000_000) for seed in range(3)], "list": list(range(300_000))}
    with Checkpointer(folder, codec=codec) as saves:
        saves.save(state)  # With its threads, which the child does not have.
        state["list"].reverse()
        state["arrays"].append(noise(4, 9_000_000))
        saves.save_in_background(state, capture="fork")
        assert same(saves.load(), state)
        assert saves.verify() == []


@forks
def test_what_a_child_saved_is_known_to_its_parent(folder: LocalStore) -> None:
    state = {"old": noise(1, 1_000_000)}
    with Checkpointer(folder) as saves:
        saves.save(state)
        state["new"] = noise(2, 1_000_000)
        saves.save_in_background(state, capture="fork")
        assert saves.save(state).stored < 100_000
        assert [s.stored > 900_000 for s in saves] == [True, True, False]


@forks
def test_a_fork_is_refused_while_other_threads_run_unless_told(folder: LocalStore) -> None:
    end = threading.Event()
    saves = Checkpointer(folder)
    with in_thread(lambda: end.wait(60)) as thread:
        try:
            with pytest.raises(
                RuntimeError, match=rf"{re.escape(thread.name)}.*despite_threads=True"
            ):
                saves.save_in_background(0, capture="fork")
            saves.save_in_background("told", capture="fork", despite_threads=True).result()
        finally:
            end.set()
    assert saves.load() == "told"
    saves.close()


@forks
def test_our_own_threads_are_waited_for_and_not_refused(folder: LocalStore) -> None:
    with Checkpointer(folder) as saves, saves.named("other") as other:
        for step in range(3):
            other.save_in_background([step, noise(step, 1_000_000)])
            saves.save_in_background(step)
            saves.save_in_background(Acting(), capture="fork")
        assert (len(saves), len(other)) == (6, 3)


@forks
@pytest.mark.parametrize("how", ["error", "always"])
def test_a_fork_raises_no_stray_warning(how: str, tmp_path: Path) -> None:
    program = """
import sys, threading, warnings
import numpy as np
from checkpoint import Checkpointer

warnings.simplefilter(sys.argv[2])
np.ones((500, 500)) @ np.ones((500, 500))  # Threads of a library.
end = threading.Event()
thread = threading.Thread(target=end.wait, args=(60,))
thread.start()
with Checkpointer(sys.argv[1]) as saves:
    for step in range(3):
        saves.save_in_background(step, capture="fork", despite_threads=True).result()
    end.set()
    print(len(saves), saves.load())
"""
    done = run(program, tmp_path / "saves", how)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 2\n", "")


@forks
def test_a_store_that_cannot_be_pickled_is_refused() -> None:
    with Checkpointer(MemoryStore()) as saves:
        with pytest.raises(TypeError, match=r"lives in one process.*use capture='copy'"):
            saves.save_in_background(0, capture="fork")
        assert len(saves) == 0


def test_a_system_that_does_not_fork_says_so(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fork", raising=False)
    with Checkpointer(folder) as saves, pytest.raises(ValueError, match="use capture='copy'"):
        saves.save_in_background(0, capture="fork")


@forks
def test_a_system_that_has_no_more_processes_says_so(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> NoReturn:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = descriptors()
    with Checkpointer(folder) as saves:
        monkeypatch.setattr(os, "fork", fork)
        with pytest.raises(StoreError, match="cannot fork: Resource temporarily") as found:
            saves.save_in_background(0, capture="fork")
        assert found.value.retryable
        assert descriptors() == before


@forks
def test_a_child_that_hangs_is_killed_and_the_next_save_is_made_in_process(
    folder: LocalStore,
) -> None:
    saves = Checkpointer(folder)
    saves.save("before")
    hangs = Acting(lambda: time.sleep(100))
    future = saves.save_in_background(hangs, capture="fork", timeout=0.5)
    with pytest.raises(StoreError, match=r"not done after 0\.5 s") as found:
        future.result()
    assert found.value.retryable
    dead_child()
    with pytest.raises(StoreError, match="not done after"):
        saves.save_in_background(Acting(), capture="fork")
    assert saves.save_in_background(Acting(), capture="fork").result().version == 2
    assert saves.load() == os.getpid()
    saves.save_in_background(Acting(), capture="fork")
    assert saves.load() not in (0, os.getpid())
    assert saves.verify() == []
    saves.close()


@forks
def test_a_call_that_waited_for_a_child_that_hung_is_made_in_process(folder: LocalStore) -> None:
    saves = Checkpointer(folder)
    saves.save_in_background(Acting(lambda: time.sleep(100)), capture="fork", timeout=0.5)
    saves.save_in_background(Acting(), capture="fork")
    assert saves.load() == os.getpid()
    with pytest.raises(StoreError, match="not done after"):
        saves.close()


@forks
@pytest.mark.parametrize(
    ("act", "match"),
    [
        (die_by(signal.SIGKILL), "was killed by SIGKILL"),
        (die_by(signal.SIGSEGV), "was killed by SIGSEGV"),
        (die_by(signal.SIGTERM), "was killed by SIGTERM"),
        (lambda: os._exit(7), "ended with status 7"),
    ],
    ids=["killed", "crashed", "terminated", "exited"],
)
def test_a_child_that_dies_says_how(act: Any, match: str, folder: LocalStore) -> None:
    saves = Checkpointer(folder)
    saves.save("before")
    with pytest.raises(StoreError, match=match):
        saves.save_in_background(Acting(act), capture="fork").result()
    dead_child()
    with pytest.raises(StoreError, match=match):
        saves.close()
    with Checkpointer(folder) as again:
        assert again.load() == "before"
        assert again.save_in_background("after", capture="fork").result().version == 2
        assert again.verify() == []


@forks
def test_a_child_ignores_an_interrupt_of_the_program(folder: LocalStore) -> None:
    state = Acting(die_by(signal.SIGINT))
    with Checkpointer(folder) as saves:
        save = partial(saves.save_in_background, state, capture="fork", despite_threads=True)
        save().result()
        # Its one thread is the main one in the child, and that of the handlers.
        with in_thread(save):
            pass
        assert len(saves) == 2


@forks
def test_a_child_that_another_wait_has_taken_may_have_answered(folder: LocalStore) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        saves = Checkpointer(folder)
        assert saves.save_in_background("told", capture="fork").result().version == 1
        with pytest.raises(StoreError, match="something else in this program waited for it"):
            saves.save_in_background(Acting(lambda: os._exit(0)), capture="fork").result()
        with pytest.raises(StoreError):
            saves.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


@forks
def test_the_death_of_a_child_is_seen_though_its_own_child_lives(
    folder: LocalStore, tmp_path: Path
) -> None:
    """That one holds the pipe open."""
    said = tmp_path / "pid"

    def act() -> None:
        pid = os.fork()
        if pid == 0:
            time.sleep(100)
        said.write_text(str(pid))
        os._exit(5)

    saves = Checkpointer(folder)
    with pytest.raises(StoreError, match="ended with status 5"):
        saves.save_in_background(Acting(act), capture="fork").result(60)
    os.kill(int(said.read_text()), signal.SIGKILL)
    with pytest.raises(StoreError):
        saves.close()


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("told")


class UnpicklableFailing(LocalStore):
    def put(self, key: str, pieces: Iterable[Any]) -> None:
        raise Unpicklable(1, 2)


@forks
def test_an_error_in_the_child_is_raised_here(folder: LocalStore) -> None:
    saves = Checkpointer(folder)
    future = saves.save_in_background({"a": [threading.Lock()]}, capture="fork")
    with pytest.raises(SerializationError) as found:
        future.result()
    assert found.value.path == "state['a'][0]"
    assert found.value.__notes__[0].startswith("in the forked child:\nTraceback")
    with pytest.raises(SerializationError):
        saves.save(0)
    assert saves.save(0).version == 1
    saves.close()


@forks
def test_an_error_that_does_not_pickle_gives_its_text(tmp_path: Path) -> None:
    saves = Checkpointer(UnpicklableFailing(tmp_path / "saves"))
    future = saves.save_in_background(0, capture="fork")
    with pytest.raises(StoreError, match=r"the forked child raised .*Unpicklable: told"):
        future.result()
    with pytest.raises(StoreError):
        saves.close()


def descriptors() -> int:
    where = "/proc/self/fd"
    return len(os.listdir(where)) if os.path.isdir(where) else 0


@forks
def test_neither_process_keeps_a_descriptor_or_a_zombie(folder: LocalStore) -> None:
    class Counting:
        def __reduce__(self) -> Any:
            return int, (descriptors(),)

    with Checkpointer(folder) as saves:
        saves.save(0)
        before = descriptors()
        counts = []
        for _ in range(5):
            saves.save_in_background(Counting(), capture="fork")
            counts.append(saves.load())
        assert len(set(counts)) == 1
        for act in (die_by(signal.SIGKILL), lambda: os._exit(3)):
            with pytest.raises(StoreError):
                saves.save_in_background(Acting(act), capture="fork").result()
            with pytest.raises(StoreError):
                saves.save_in_background(0)
        saves._saving._background.rest()
        assert descriptors() == before
    dead_child()


@forks
def test_a_child_runs_none_of_the_exit_hooks(tmp_path: Path) -> None:
    program = """
import atexit, sys
from checkpoint import Checkpointer

atexit.register(print, "hook")
print("unflushed", end=" ")
with Checkpointer(sys.argv[1]) as saves:
    for _ in range(2):
        saves.save_in_background(0, capture="fork")
print(len(Checkpointer(sys.argv[1])))
"""
    done = run(program, tmp_path / "saves")
    assert (done.stdout, done.stderr) == ("unflushed 2\nhook\n", "")


@forks
def test_a_fork_while_the_graph_locks_itself_does_not_hang(folder: LocalStore) -> None:
    """The lock is the caller's: the child is forked from its thread, and may take it again."""

    class Locked:
        def __init__(self) -> None:
            self.lock = threading.RLock()

        def __reduce__(self) -> Any:
            with self.lock:
                return str, ("locked",)

    state = Locked()
    with Checkpointer(folder) as saves, state.lock:
        saves.save_in_background(state, capture="fork", timeout=20)
        assert saves.load() == "locked"
