"""What a program sees: save, load, look, tag, delete, export, under one name or many."""

import gc
import math
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import checkpoint
from checkpoint import (
    Checkpointer,
    LocalStore,
    MemoryStore,
    NotFoundError,
    SerializationError,
    Store,
    either,
    highest,
    keep_best,
    keep_every,
    keep_last,
    keep_tagged,
    lowest,
)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "saves") if request.param == "folder" else MemoryStore()


@pytest.fixture
def saves(store: Store) -> Checkpointer:
    return Checkpointer(store, "run")


def versions(saves: Checkpointer) -> list[int]:
    return [snapshot.version for snapshot in saves]


def packs(store: Store) -> list[str]:
    return store.keys("packs/")


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def test_a_saved_state_is_loaded_by_another_program(store: Store) -> None:
    Checkpointer(store).save({"gold": 7, "map": noise(100_000)})
    loaded = Checkpointer(store).load()
    assert loaded["gold"] == 7
    np.testing.assert_array_equal(loaded["map"], noise(100_000))


def test_versions_count_from_one_and_each_can_be_loaded(saves: Checkpointer) -> None:
    for turn in (10, 20, 30):
        saves.save(turn)
    assert (versions(saves), len(saves)) == ([1, 2, 3], 3)
    assert [saves.load(version=v) for v in (1, 2, 3)] == [10, 20, 30]
    assert saves.load() == 30


def test_a_snapshot_tells_what_was_said_at_its_save(saves: Checkpointer) -> None:
    before = datetime.now(UTC)
    told = saves.save([1], metrics={"loss": 0.5}, tags=["a", "b"], meta={"note": ["x", None]})
    assert (told.name, told.version, told.parent, told.own) == ("run", 1, None, True)
    assert (told.metrics, told.meta) == ({"loss": 0.5}, {"note": ["x", None]})
    assert before <= told.created <= before + timedelta(minutes=5)
    assert saves.snapshots() == [told]
    assert set(told.libraries) == {"python", "checkpoint"}


def test_the_parent_is_the_version_that_the_state_comes_from(saves: Checkpointer) -> None:
    for turn in range(3):
        saves.save(turn)
    saves.load(version=1)
    assert saves.save("from 1").parent == 1
    assert saves.save("on it goes").parent == 4


def test_nothing_is_created_by_looking(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path / "saves")
    assert saves.load(default="fresh") == "fresh"
    assert (list(saves), len(saves), saves.verify()) == ([], 0, [])
    with pytest.raises(NotFoundError, match="no snapshot of 'main'"):
        saves.load()
    assert list(tmp_path.iterdir()) == []


def test_a_default_is_for_what_is_not_there_and_may_be_none(saves: Checkpointer) -> None:
    assert saves.load(version=3, default=None) is None
    assert saves.load(tag="x", default=0) == 0
    assert saves.load(best="loss", default=1) == 1
    saves.save("here")
    assert saves.load(default=None) == "here"


def test_only_one_way_to_choose_a_version_at_a_time(saves: Checkpointer) -> None:
    with pytest.raises(TypeError, match="one of version, tag and best"):
        saves.load(version=1, tag="a")


# --- metrics and tags -------------------------------------------------------


def test_the_best_is_the_lowest_or_the_highest_and_never_one_without_a_number(
    saves: Checkpointer,
) -> None:
    for loss in (0.3, math.nan, 0.1, -math.inf, 0.2):
        saves.save(loss, metrics={"loss": loss})
    saves.save("no metric")
    assert saves.load(best="loss") == saves.load(best=lowest("loss")) == 0.1
    assert saves.load(best=highest("loss")) == 0.3
    assert math.isnan(saves.snapshots()[1].metrics["loss"])
    assert saves.snapshots()[3].metrics["loss"] == -math.inf


def test_of_equally_good_versions_the_newer_is_the_best(saves: Checkpointer) -> None:
    for turn in range(3):
        saves.save(turn, metrics={"loss": 1})
    assert saves.load(best="loss") == 2


def test_metrics_take_anything_that_is_a_number_and_refuse_the_rest(saves: Checkpointer) -> None:
    told = saves.save(0, metrics={"a": np.float32(0.5), "n": 3})
    assert told.metrics == {"a": 0.5, "n": 3}
    with pytest.raises(ValueError, match="metric 'b' must be a number"):
        saves.save(0, metrics={"b": "low"})  # type: ignore[dict-item]


def test_a_tag_moves_and_goes(saves: Checkpointer) -> None:
    for turn in range(3):
        saves.save(turn, tags=["latest"])
    assert saves.load(tag="latest") == 2
    saves.tag(1, "latest")
    saves.tag(2, "good")
    assert [s.tags for s in saves] == [("latest",), ("good",), ()]
    assert saves.load(tag="latest") == 0
    saves.save(3, tags=["latest"])
    assert saves.load(tag="latest") == 3
    saves.untag("latest")
    with pytest.raises(NotFoundError, match="tagged 'latest'"):
        saves.load(tag="latest")
    with pytest.raises(NotFoundError):
        saves.untag("latest")


def test_tags_outlive_the_program(store: Store) -> None:
    saves = Checkpointer(store)
    saves.save("a")
    saves.tag(1, "good")
    saves.tag(1, "better")
    assert Checkpointer(store).load(tag="good") == "a"
    assert Checkpointer(store).snapshots()[0].tags == ("better", "good")


def test_a_tag_can_only_point_at_what_is_there(saves: Checkpointer) -> None:
    with pytest.raises(NotFoundError, match="no version 4"):
        saves.tag(4, "good")
    with pytest.raises(TypeError, match="collection of tags"):
        saves.save(0, tags="good")


# --- retention and deletion -------------------------------------------------


def test_retention_keeps_what_its_policies_keep(store: Store) -> None:
    keep = either(keep_last(2), keep_every(4), keep_best("loss"), keep_tagged("gem"))
    saves = Checkpointer(store, keep=keep)
    for turn in range(1, 11):
        saves.save(turn, metrics={"loss": abs(turn - 3)}, tags=["gem"] if turn == 5 else [])
    assert versions(saves) == [3, 4, 5, 8, 9, 10]


def test_the_newest_version_is_never_evicted(store: Store) -> None:
    saves = Checkpointer(store, keep=lambda snapshots: set())
    for turn in range(3):
        saves.save(turn)
        assert saves.load() == turn
    assert versions(saves) == [3]


def test_a_number_is_never_used_again(store: Store) -> None:
    saves = Checkpointer(store)
    for turn in range(3):
        saves.save(turn)
    saves.delete(2, 3)
    assert saves.load() == 0
    assert saves.save("next").version == 4
    saves.delete(1, 4)
    assert Checkpointer(store).save("again").version == 5


def test_deleting_what_is_not_there_deletes_nothing(saves: Checkpointer) -> None:
    saves.save(1)
    with pytest.raises(NotFoundError, match="no version 9"):
        saves.delete(1, 9)
    assert versions(saves) == [1]


def test_prune_removes_the_packs_of_deleted_versions_only(store: Store) -> None:
    saves = Checkpointer(store)
    saves.save(noise(100_000, 1))
    saves.save(noise(100_000, 2))
    saves.delete(1)
    assert (len(packs(store)), saves.prune(), len(packs(store))) == (2, 1, 1)
    np.testing.assert_array_equal(saves.load(), noise(100_000, 2))
    assert (saves.prune(), saves.verify()) == (0, [])
    assert store.keys("trash/") == store.keys("leases/") == []


def test_a_long_run_with_retention_prunes_by_itself(store: Store) -> None:
    saves = Checkpointer(store, keep=keep_last(2))
    for turn in range(40):
        saves.save(noise(30_000, turn))
    assert len(packs(store)) <= 2 + 16


# --- deduplication ----------------------------------------------------------


def test_an_unchanged_array_is_not_stored_again(saves: Checkpointer, store: Store) -> None:
    state = {"frozen": noise(1_000_000), "step": 0}
    first = saves.save(state)
    state["step"] = 1
    assert saves.save(state).stored < 1000 < 4_000_000 < first.stored
    assert saves.load()["step"] == 1
    assert len(packs(store)) == 1


def test_chunks_are_shared_between_names_and_after_a_restart(store: Store) -> None:
    state = noise(1_000_000)
    saves = Checkpointer(store, "a")
    saves.save(state)
    assert saves.named("b").save(state).stored < 1000
    assert Checkpointer(store, "b").save([state]).stored < 1000
    np.testing.assert_array_equal(Checkpointer(store, "b").load()[0], state)


def test_equal_buffers_are_stored_once(saves: Checkpointer) -> None:
    told = saves.save([noise(500_000), noise(500_000)])
    assert told.size > 4_000_000 > 2_100_000 > told.stored
    first, second = saves.load()
    first[0] = 5
    assert second[0] != 5


@pytest.mark.parametrize("codec", ["none", "gzip:1", "lzma:0", "zstd:1"])
def test_every_codec_brings_a_large_state_back(store: Store, codec: str) -> None:
    state = {
        "noise": noise(3_000_000),
        "zeros": np.zeros(3_000_000),
        "text": "ab" * 3_000_000,
        "bytes": os.urandom(5_000_000),
        "words": [f"word {i}" for i in range(50_000)],
    }
    told = Checkpointer(store, codec=codec).save(state)
    assert told.stored < told.size * (0.7 if codec != "none" else 1)
    loaded = Checkpointer(store).load()
    for key in ("noise", "zeros"):
        np.testing.assert_array_equal(loaded[key], state[key])
        loaded[key][0] = 1
    assert {k: loaded[k] for k in ("text", "bytes", "words")} == {
        k: state[k] for k in ("text", "bytes", "words")
    }


def test_more_than_a_thousand_blobs_go_into_lists_that_are_shared(store: Store) -> None:
    saves = Checkpointer(store)
    state = [noise(20_000, seed) for seed in range(2_500)]
    saves.save(state)
    state[7] = noise(20_000, 9999)
    told = saves.save(state)
    assert told.stored < 500_000
    for version in (1, 2):
        (key,) = [k for k in store.keys("snapshots/") if k.endswith(f"{version}.json")]
        assert len(store.get(key)) < 400_000
    loaded = Checkpointer(store).load()
    assert all(np.array_equal(a, b) for a, b in zip(loaded, state, strict=True))
    assert saves.verify() == []
    saves.delete(1)
    saves.prune()
    assert Checkpointer(store).verify() == []


# --- what is saved is what was there ----------------------------------------


def test_restored_arrays_are_private_and_writable(saves: Checkpointer) -> None:
    state = noise(1_000_000)
    saves.save(state)
    first, second = saves.load(), saves.load()
    first[:] = 0
    np.testing.assert_array_equal(second, state)


def test_an_array_that_changes_during_its_save_never_makes_a_damaged_snapshot(
    tmp_path: Path,
) -> None:
    state = noise(4_000_000)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            state[:] += 1

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        saves = Checkpointer(tmp_path)
        for _ in range(5):
            saves.save(state)
    finally:
        stop.set()
        thread.join()
    assert saves.verify() == []
    assert saves.load().shape == state.shape


def test_a_graph_of_100_000_links_is_saved_and_loaded(saves: Checkpointer) -> None:
    chain: list[object] = []
    for _ in range(100_000):
        chain = [chain]
    saves.save(chain)
    loaded, depth = saves.load(), 0
    while loaded:
        loaded, depth = loaded[0], depth + 1
    assert depth == 100_000


def test_what_cannot_be_saved_is_named_and_changes_nothing(store: Store) -> None:
    saves = Checkpointer(store)
    saves.save("good")
    keys = store.keys("")
    with pytest.raises(SerializationError, match=r"state\['players'\]\[1\]") as caught:
        saves.save({"players": [1, threading.Lock()], "big": noise(1_000_000)})
    assert caught.value.path == "state['players'][1]"
    assert store.keys("") == keys
    assert saves.save("next").version == 2


def test_progress_ends_where_it_said(saves: Checkpointer) -> None:
    for step in (
        lambda progress: saves.save([noise(3_000_000), "x" * 99], progress=progress),
        lambda progress: saves.load(progress=progress),
        lambda progress: saves.verify(progress=progress),
    ):
        calls: list[tuple[int, int]] = []
        step(lambda done, total, calls=calls: calls.append((done, total)))
        dones = [done for done, _ in calls]
        assert dones == sorted(dones)
        assert len({total for _, total in calls}) == 1
        assert calls[-1][0] == calls[-1][1] > 12_000_000


# --- one file ---------------------------------------------------------------


def test_an_exported_version_is_loaded_and_imported(store: Store, tmp_path: Path) -> None:
    saves = Checkpointer(store, "run")
    state = {"a": noise(1_500_000), "b": np.zeros(300_000), "t": "x"}
    saves.save(state, metrics={"loss": 1.0}, meta=[1], tags=["t"])
    saves.export(1, tmp_path / "v1.ckpt")
    loaded = checkpoint.load(tmp_path / "v1.ckpt")
    np.testing.assert_array_equal(loaded["a"], state["a"])
    told = Checkpointer(tmp_path / "elsewhere", "copy").import_(tmp_path / "v1.ckpt")
    old = saves.snapshots()[0]
    assert (told.name, told.version, told.own, told.tags) == ("copy", 1, True, ())
    assert (told.created, told.metrics, told.meta) == (old.created, old.metrics, old.meta)
    np.testing.assert_array_equal(Checkpointer(tmp_path / "elsewhere", "copy").load()["b"], 0)


def test_an_import_runs_nothing(tmp_path: Path) -> None:
    checkpoint.dump(Loud(), tmp_path / "loud.ckpt")
    Loud.loads = 0
    saves = Checkpointer(tmp_path / "saves")
    saves.import_(tmp_path / "loud.ckpt")
    assert Loud.loads == 0
    saves.load()
    assert Loud.loads == 1


class Loud:
    """Counts how often one is rebuilt."""

    loads = 0

    def __setstate__(self, state: object) -> None:
        Loud.loads += 1

    def __getstate__(self) -> object:
        return 1


def test_a_closed_checkpointer_says_so(saves: Checkpointer) -> None:
    with saves:
        saves.save(1)
    with pytest.raises(ValueError, match="is closed"):
        saves.load()


def test_one_checkpointer_serves_many_threads(store: Store) -> None:
    saves = Checkpointer(store)
    told: list[int] = []

    def work() -> None:
        told.extend(saves.save(noise(20_000)).version for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == list(range(1, 61))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert saves.verify() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_write_into_its_parents_arrays(saves: Checkpointer) -> None:
    saves.save(np.zeros(2_000_000))
    loaded = saves.load()
    child = os.fork()
    if not child:
        loaded[:] = 42
        os._exit(0)
    os.waitpid(child, 0)
    assert loaded[0] == 0


def test_what_is_remembered_does_not_grow_with_the_versions_that_are_gone(store: Store) -> None:
    saves = Checkpointer(store, keep=keep_last(2))
    for turn in range(30):
        saves.save(noise(30_000, turn))
    assert len(saves._repository.known.blobs) <= 4


def test_a_warning_points_at_the_line_of_the_program(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path)
    saves.save(1)
    saves.save(2)
    (tmp_path / "snapshots/main/@/0000000002.json").write_bytes(b"")
    for look in (Checkpointer(tmp_path).load, Checkpointer(tmp_path).snapshots):
        with pytest.warns(checkpoint.DamagedSnapshotWarning, match=r"delete\(2\)") as told:
            look()
        assert {warning.filename for warning in told} == {__file__}


def test_a_save_keeps_nothing_of_the_state_alive(tmp_path: Path) -> None:
    """Nor does a load: an error that was caught on the way could keep the frames of its callers."""

    class Big:
        pass

    def seen(call: Callable[[Any], object]) -> weakref.ref[Any]:
        big = Big()
        call({"big": noise(100_000), "held": [big]})
        return weakref.ref(big)

    saves = Checkpointer(tmp_path, keep=keep_last(2))
    saves.save(1)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            reference = seen(lambda state: saves.save({"big": state["big"]}))
            assert reference() is None
            saves.load()
    finally:
        gc.enable()
