"""Loads that map arrays, loads of a part, and loads that end where they should."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import define

from checkpoint import (
    Checkpointer,
    DamagedSnapshotWarning,
    IntegrityError,
    LocalStore,
    MemoryStore,
    NotFoundError,
)

MIB = 1 << 20
Array = np.ndarray[Any, Any]


def noise(size: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def a_state() -> dict[str, Any]:
    return {
        "model": {"weights": noise(3 * MIB), "bias": noise(1000, 1)},
        "optimizer": [noise(MIB, 2), noise(MIB, 3)],
        "zeros": np.zeros(MIB),
        "step": 7,
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def packs(root: Path) -> list[Path]:
    return sorted((root / "packs").rglob("*.pack"))


class Counting(LocalStore):
    """Counts the bytes of packs that are read, and those that are mapped."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read = self.mapped = 0
        self._lock = threading.Lock()

    def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
        found = super().get(key, start, stop)
        self._count(key, len(found))
        return found

    def fill(self, key: str, start: int, target: memoryview) -> int:
        count = super().fill(key, start, target)
        self._count(key, count)
        return count

    def map(self, key: str, start: int, stop: int) -> memoryview:
        self.mapped += stop - start
        return super().map(key, start, stop)

    def _count(self, key: str, count: int) -> None:
        with self._lock:
            self.read += count if key.startswith("packs/") else 0


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(tmp_path)


# --- lazy -------------------------------------------------------------------


def test_a_lazy_load_gives_the_same_state_and_reads_no_array(store: Counting) -> None:
    Checkpointer(store).save(a_state())
    loaded = Checkpointer(store).load(lazy=True)
    assert store.mapped >= 5 * 4 * MIB
    assert store.read < 0.1 * store.mapped
    assert same(loaded, a_state())


def test_what_is_written_to_mapped_memory_goes_nowhere_else(store: Counting) -> None:
    saves = Checkpointer(store)
    saves.save(a_state())
    loaded, other = saves.load(lazy=True), saves.load(lazy=True)
    loaded["model"]["weights"][:] = 1
    assert same(other, a_state())
    assert same(saves.load(), a_state())
    saves.save(loaded)
    assert same(saves.load(version=1), a_state())
    assert saves.load()["model"]["weights"].min() == 1
    assert saves.verify() == []


def test_what_was_mapped_stays_right_when_the_version_is_pruned(store: Counting) -> None:
    saves = Checkpointer(store)
    saves.save(a_state())
    loaded = saves.load(lazy=True)
    saves.save("something else")
    saves.delete(1)
    assert saves.prune() == 1
    assert same(loaded, a_state())


def test_mapped_arrays_are_aligned_as_they_are_stored(store: Counting) -> None:
    Checkpointer(store).save(a_state())
    loaded = Checkpointer(store).load(lazy=True)
    assert loaded["model"]["weights"].ctypes.data % 64 == 0
    assert loaded["optimizer"][1].ctypes.data % 64 == 0


def test_bytes_that_rot_under_a_map_are_found_by_verify_alone(
    store: Counting, tmp_path: Path
) -> None:
    Checkpointer(store).save([noise(MIB)])
    [pack] = packs(tmp_path)
    raw = bytearray(pack.read_bytes())
    raw[MIB] ^= 1
    pack.write_bytes(raw)
    assert not same(Checkpointer(store).load(lazy=True), [noise(MIB)])
    [error] = Checkpointer(store).verify()
    assert isinstance(error, IntegrityError)
    with pytest.raises(IntegrityError):
        Checkpointer(store).load()


@pytest.mark.parametrize("how", ["cut short", "missing"])
def test_a_pack_that_is_too_short_to_map_is_damage_and_no_fault(
    store: Counting, tmp_path: Path, how: str
) -> None:
    saves = Checkpointer(store)
    saves.save([1])
    saves.save([noise(MIB)])
    [pack] = packs(tmp_path)
    if how == "missing":
        pack.unlink()
    else:
        os.truncate(pack, 2 * MIB)
    with pytest.raises(IntegrityError):
        Checkpointer(store).load(version=2, lazy=True)
    with pytest.warns(DamagedSnapshotWarning):
        assert Checkpointer(store).load(lazy=True) == [1]


@pytest.mark.parametrize("codec", ["zstd", "gzip", "none"])
def test_what_cannot_be_mapped_is_read(tmp_path: Path, codec: str) -> None:
    array = np.arange(MIB, dtype=np.float64).reshape(1024, 1024)
    saves = Checkpointer(tmp_path, codec=codec)
    saves.save(array)
    array[::100] += 1
    saves.save(array)
    for version in (1, 2):
        loaded = Checkpointer(tmp_path).load(version=version, lazy=True)
        loaded[0] = 5
        np.testing.assert_array_equal(loaded[1:], saves.load(version=version)[1:])


def test_a_store_without_maps_reads(tmp_path: Path) -> None:
    saves = Checkpointer(MemoryStore())
    saves.save(a_state())
    assert same(saves.load(lazy=True), a_state())


# --- a part -----------------------------------------------------------------


def test_a_part_is_loaded_without_the_buffers_of_the_rest(store: Counting) -> None:
    saves = Checkpointer(store)
    saves.save(a_state())
    store.read = 0
    assert same(saves.load(only="optimizer"), a_state()["optimizer"])
    assert 2 * 4 * MIB <= store.read < 2.2 * 4 * MIB
    store.read = 0
    assert same(saves.load(only=("optimizer", 1)), noise(MIB, 3))
    assert saves.load(only="step") == 7
    assert store.read < 1.2 * 4 * MIB


def test_a_part_can_be_mapped_too(store: Counting) -> None:
    saves = Checkpointer(store)
    saves.save(a_state())
    store.read = store.mapped = 0
    weights = saves.load(only=("model", "weights"), lazy=True)
    assert (store.mapped, store.read < 100_000) == (weights.nbytes, True)
    assert same(weights, noise(3 * MIB))


@define
class Trainer:
    model: Any
    step: int


class Hidden:
    """Builds itself from an argument that the stream does not name."""

    def __init__(self, *values: Any) -> None:
        self.values = list(values)

    def __reduce__(self) -> Any:
        return Hidden, tuple(self.values)


def test_steps_are_attributes_and_indices_too(store: Counting) -> None:
    saves = Checkpointer(store)
    saves.save(Trainer({"layers": [noise(MIB), noise(MIB, 1)]}, 3))
    assert same(saves.load(only=("model", "layers", 1)), noise(MIB, 1))
    assert saves.load(only="step") == 3


def test_a_part_that_the_stream_does_not_tell_is_loaded_with_the_whole(store: Counting) -> None:
    saves = Checkpointer(store)
    saves.save({"hidden": Hidden(noise(MIB), 5), "rest": 1})
    assert saves.load(only=("hidden", "values", 1)) == 5


def test_a_part_that_is_not_there_is_named_with_what_there_is(store: Counting) -> None:
    saves = Checkpointer(store)
    saves.save(a_state())
    with pytest.raises(NotFoundError, match=r"state\['modle'\] is not there.*'model'"):
        saves.load(only="modle")
    with pytest.raises(NotFoundError, match="weigths"):
        saves.load(only=("model", "weigths"), default=None)
    assert Checkpointer(store, "other").load(only="model", default=5) == 5


def test_damage_in_what_is_not_needed_harms_no_part(store: Counting, tmp_path: Path) -> None:
    saves = Checkpointer(store)
    saves.save(before := a_state())
    after = {**before, "model": {"weights": noise(3 * MIB, 9), "bias": noise(1000, 9)}}
    saves.save(after)
    key = saves._repository.rows(saves._repository.manifest("main", 2))[0].pack
    pack = tmp_path / "packs" / str(key)[:2] / f"{key}.pack"
    raw = bytearray(pack.read_bytes())
    raw[MIB] ^= 1
    pack.write_bytes(raw)
    assert same(Checkpointer(store).load(only="optimizer"), before["optimizer"])
    with pytest.warns(DamagedSnapshotWarning):
        assert same(Checkpointer(store).load(only=("model", "weights")), noise(3 * MIB))
