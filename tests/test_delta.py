"""What changed a little is stored as a delta, one level deep; what changed much is not tried."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from blake3 import blake3

from checkpoint import Checkpointer, IntegrityError, MemoryStore, _stream, keep_last
from checkpoint._codec import Codec, decode, encode_delta
from checkpoint._delta import Layout, Track
from checkpoint._earlier import Earlier
from checkpoint._format import encode_manifest, pack_key, snapshot_key
from checkpoint._model import Blob, Manifest, Part, digest
from checkpoint._reuse import Known
from checkpoint._writing import Scratch

MIB = 1 << 20
Array = np.ndarray[Any, Any]


def noise(size: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def changed_rows(array: Array, share: float, seed: int) -> None:
    """New values for a share of the rows of *array*, scattered."""
    chance = np.random.default_rng(seed)
    rows = chance.choice(len(array), int(len(array) * share), replace=False)
    array[rows] = chance.standard_normal((len(rows), array.shape[1]), dtype=np.float32)


def units(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Many small objects, a stream of more than a mebibyte for 30,000 of them."""
    chance = random.Random(seed)
    return [{"name": f"unit {n}", "hp": chance.randrange(999), "x": chance.random()}
            for n in range(count)]  # fmt: skip


def manifest(saves: Checkpointer, version: int) -> Manifest:
    return saves._repository.manifest(saves.name, version)


def rows(saves: Checkpointer, version: int) -> list[Blob]:
    return list(saves._repository.rows(manifest(saves, version)))


class Counting(MemoryStore):
    """Counts the bytes that are read from packs."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
        found = super().get(key, start, stop)
        self.read += len(found) if key.startswith("packs/") else 0
        return found


# --- the codec --------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 100, 5_000, MIB, 4 * MIB])
def test_a_delta_of_any_size_gives_back_what_it_was_made_of(size: int) -> None:
    base = random.Random(1).randbytes(size)
    plain = base[: size // 2] + b"something else" + base[size // 2 :]
    filter, delta = encode_delta(plain, base)
    assert filter is None
    assert bytes(decode("zstd", delta, len(plain), base)) == plain
    if size >= 5_000:
        # A window or a table that is too small finds nothing, and says nothing.
        assert len(delta) < 1000


def test_a_delta_that_is_decoded_with_another_base_is_damage() -> None:
    base, other = (random.Random(seed).randbytes(MIB) for seed in (1, 2))
    _, delta = encode_delta(base + b"more", base)
    with pytest.raises(IntegrityError):
        plain = decode("zstd", delta, MIB + 4, other)
        if digest(plain) != digest(base + b"more"):
            raise IntegrityError("its digest does not match")
    with pytest.raises(IntegrityError):
        decode("zstd", delta, MIB + 5, base)


@pytest.mark.parametrize("size", [1_000, 5_000, MIB, MIB + 1, 4 * MIB])
def test_of_bytes_changed_in_place_only_the_blocks_are_looked_at(size: int) -> None:
    chance = random.Random(size)
    base = chance.randbytes(size)
    plain = bytearray(base)
    for at in (0, size // 2, size - 1):
        plain[at] ^= 1
    filter, delta = encode_delta(bytes(plain), memoryview(base))
    assert filter == ("blocks" if size > 3 * 4 * 1024 else None)
    assert bytes(decode("zstd", delta, size, base, filter)) == plain
    assert len(delta) < 200
    with pytest.raises(IntegrityError):
        decode("zstd", delta, size + 1, base, filter)


def test_any_bytes_as_replaced_blocks_are_refused_or_are_of_the_right_length() -> None:
    chance = random.Random(1)
    base = chance.randbytes(20_000)
    plain = base[:9_000] + bytes(2_000) + base[11_000:]
    filter, delta = encode_delta(plain, base)
    assert filter == "blocks"
    refused = 0
    for number in range(3_000):
        spoilt = bytearray(delta[: chance.randrange(len(delta))] if number % 3 == 0 else delta)
        for _ in range(number % 4):
            if spoilt:
                spoilt[chance.randrange(min(len(spoilt), 20))] = chance.randrange(256)
        try:
            assert len(decode("zstd", bytes(spoilt), len(base), base, filter)) == len(base)
        except IntegrityError:
            refused += 1
    assert refused > 1_000


# --- buffers ----------------------------------------------------------------


def test_scattered_rows_of_an_array_cost_little_more_than_the_rows() -> None:
    saves = Checkpointer(MemoryStore())
    array = noise(4 * MIB).reshape(4096, 1024)
    saves.save(array)
    changed_rows(array, 0.01, seed=1)
    second = saves.save(array)
    assert second.stored < 0.02 * second.size
    np.testing.assert_array_equal(Checkpointer(saves._repository.store).load(), array)


def test_an_array_of_which_all_changed_is_not_even_read() -> None:
    store = Counting()
    saves = Checkpointer(store)
    saves.save(noise(4 * MIB))
    store.read = 0
    second = saves.save(noise(4 * MIB, seed=1))
    assert second.stored > 0.9 * second.size
    assert store.read <= 4 * 4 * 1024 + 200, "a few samples of each chunk"


def test_of_dense_changes_only_a_few_encoded_bases_are_decoded() -> None:
    store = Counting()
    saves = Checkpointer(store)
    state = (noise(20 * MIB) * 1000).astype(np.int32)  # compressible, so stored encoded
    stored = saves.save(state).stored
    assert stored < state.nbytes * 0.9
    state += np.random.default_rng(1).integers(1, 9, len(state), dtype=np.int32)
    store.read = 0
    saves.save(state)
    # Those that are in the works when it is found out are decoded, too: more on a busy machine.
    assert 0 < store.read < stored * 0.75


def test_a_chunk_that_did_not_change_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    copy = Scratch.copy
    monkeypatch.setattr(Scratch, "copy", lambda self, v: copied.append(len(v)) or copy(self, v))
    saves = Checkpointer(MemoryStore())
    state = [noise(4 * MIB, seed) for seed in range(3)]
    saves.save(state)
    assert sum(copied) == 48 * MIB
    copied.clear()
    saves.save(state)
    assert copied == []
    state[1][-1] += 1
    saves.save(state)
    assert 4 * MIB <= sum(copied) <= 12 * MIB


def test_equal_buffers_copies_and_views_are_stored_once() -> None:
    saves = Checkpointer(MemoryStore())
    array = noise(MIB)
    state = {"a": array, "copy": array.copy(), "again": array, "view": array[:], "part": array[:]}
    assert saves.save(state).stored < 1.1 * array.nbytes
    loaded = saves.load()
    assert loaded["a"] is loaded["again"]
    np.testing.assert_array_equal(loaded["copy"], array)


def test_an_array_more_or_less_does_not_spoil_the_deltas_of_the_others() -> None:
    saves = Checkpointer(MemoryStore())
    arrays = [noise(MIB, seed).reshape(1024, 1024) for seed in range(8)]
    saves.save(arrays)
    for seed, array in enumerate(arrays):
        changed_rows(array, 0.01, seed)
    arrays.insert(3, noise(2 * MIB, seed=99).reshape(2048, 1024))
    assert saves.save(arrays).stored < arrays[3].nbytes + 0.02 * 8 * arrays[0].nbytes
    for seed, array in enumerate(arrays):
        changed_rows(array, 0.01, seed + 50)
    del arrays[5]
    assert saves.save(arrays).stored < 0.05 * sum(array.nbytes for array in arrays)


def test_what_is_small_stands_alone_and_keeps_no_large_pack_alive() -> None:
    store = MemoryStore()
    saves = Checkpointer(store)
    saves.save([noise(MIB), noise(1200)])
    saves.save("something else")
    saves.save(["x" * 3_000])
    saves.delete(1)
    assert saves.prune() == 1


def test_the_codec_none_stores_no_deltas() -> None:
    saves = Checkpointer(MemoryStore(), codec="none")
    array = noise(MIB).reshape(1024, 1024)
    saves.save(array)
    changed_rows(array, 0.01, seed=1)
    saves.save(array)
    assert all(row.codec == "none" for row in rows(saves, 2))


# --- streams ----------------------------------------------------------------


def test_scattered_objects_cost_kilobytes_and_not_the_stream() -> None:
    saves = Checkpointer(MemoryStore())
    state = units(60_000)
    first = saves.save(state)
    for number in range(0, 60_000, 100):
        state[number]["x"] = random.Random(number).random()
    second = saves.save(state)
    assert second.stored < 0.02 * first.stored
    assert Checkpointer(saves._repository.store).load() == state


def test_a_new_process_reads_the_base_back(tmp_path: Path) -> None:
    state = units(60_000)
    first = Checkpointer(tmp_path).save(state)
    for version in range(2, 5):
        state[version * 10_000]["hp"] = -version
        again = Checkpointer(tmp_path)
        assert again.save(state).stored < 0.01 * first.stored
        assert Checkpointer(tmp_path).load() == state
        assert any(row.base for row in rows(again, version))


def test_a_base_is_never_a_delta_and_is_named_by_the_manifest() -> None:
    saves = Checkpointer(MemoryStore())
    chance = random.Random(1)
    state: dict[str, Any] = {"units": units(40_000), "array": noise(MIB).reshape(1024, 1024)}
    deltas = 0
    for version in range(1, 40):
        saves.save(state)
        table = rows(saves, version)
        wholes = {row.digest: row for row in table if row.base is None}
        for row in table:
            if row.base is not None:
                deltas += 1
                assert wholes[row.base].pack in manifest(saves, version).packs
        for unit in chance.sample(state["units"], 2_000):
            unit["x"] = chance.random()
        changed_rows(state["array"], 0.05, version)
    assert deltas > 60
    assert saves.verify() == []


def test_a_state_that_drifts_gets_a_new_keyframe_when_deltas_stop_paying() -> None:
    saves = Checkpointer(MemoryStore())
    chance = random.Random(1)
    state = units(40_000)
    stored = []
    for _ in range(40):
        stored.append(saves.save(state).stored)
        for unit in chance.sample(state, 2_000):
            unit["x"] = chance.random()
    keyframes = [number for number, size in enumerate(stored) if size > 0.8 * stored[0]]
    assert 2 <= len(keyframes) <= 10
    # Against one base alone the deltas would grow to the size of the stream.
    assert sum(stored) < 0.4 * 40 * stored[0]


def test_what_stays_a_small_change_never_needs_a_new_keyframe() -> None:
    saves = Checkpointer(MemoryStore())
    state = units(40_000)
    first = saves.save(state).stored
    for number in range(60):
        for unit in state[::400]:
            unit["x"] = number / 7
        assert saves.save(state).stored < 0.05 * first


def test_a_chunk_that_seldom_changes_is_not_stored_whole_for_the_versions_between() -> None:
    saves = Checkpointer(MemoryStore())
    arrays = [noise(MIB // 8, seed).reshape(128, 1024) for seed in range(16)]
    saves.save(arrays)
    stored = []
    for number in range(100):
        changed_rows(arrays[number % 16], 0.02, number)
        stored.append(saves.save(arrays).stored)
    assert max(stored) < 0.4 * arrays[0].nbytes


@pytest.mark.parametrize("tied", ["list", "tree"])
def test_references_that_count_up_are_seen_to_have_shifted(tied: str) -> None:
    chance = random.Random(tied)
    objects: list[Any] = [{"id": n, "x": chance.random()} for n in range(30_000)]
    for number in range(1, len(objects)):
        objects[number]["p"] = objects[number - 1 if tied == "list" else number // 2]
    saves = Checkpointer(MemoryStore())
    stored = []
    for number in range(12):
        stored.append(saves.save(objects).stored)
        objects.insert(0, {"new": number})
    assert max(stored[1:]) < 0.2 * stored[0]


def test_the_save_after_the_newest_was_deleted_knows_what_is_left() -> None:
    store = MemoryStore()
    array = noise(4 * MIB).reshape(4096, 1024)
    first = Checkpointer(store).save(array)
    array[0] = 1
    Checkpointer(store).save(array)
    saves = Checkpointer(store)
    saves.load()
    saves.delete(2)
    saves.prune()
    array[1] = 1
    assert saves.save(array).stored < 0.01 * first.stored


def test_old_versions_load_whatever_was_deleted_and_pruned_around_them() -> None:
    saves = Checkpointer(MemoryStore(), keep=keep_last(3))
    chance = random.Random(3)
    state: dict[str, Any] = {"units": units(30_000), "array": noise(MIB).reshape(1024, 1024)}
    for number in range(30):
        for unit in chance.sample(state["units"], 300):
            unit["hp"] += number
        changed_rows(state["array"], 0.03, number)
        expected = [dict(unit) for unit in state["units"]], state["array"].copy()
        saves.save(state)
        saves.prune()
    assert len(saves) == 3
    assert saves.verify() == []
    loaded = Checkpointer(saves._repository.store).load()
    assert loaded["units"] == expected[0]
    np.testing.assert_array_equal(loaded["array"], expected[1])


def test_a_base_in_a_mostly_dead_pack_is_carried_forward() -> None:
    store = MemoryStore()
    saves = Checkpointer(store, keep=keep_last(1))
    array = noise(MIB).reshape(1024, 1024)
    saves.save([array, noise(16 * MIB, seed=1)])
    [first] = store.keys("packs/")
    for number in range(3):
        changed_rows(array, 0.01, number)
        saves.save([array, "nothing else"])
        saves.prune()
    assert first not in store.keys("packs/")
    np.testing.assert_array_equal(saves.load()[0], array)


# --- damage -----------------------------------------------------------------


def two_versions(store: MemoryStore) -> tuple[str, str, Array]:
    """The pack of a base and the pack of the delta against it."""
    saves = Checkpointer(store)
    array = noise(MIB).reshape(1024, 1024)
    saves.save(array)
    changed_rows(array, 0.01, seed=1)
    saves.save(array)
    [delta] = [row for row in rows(saves, 2) if row.base]
    [base] = [row for row in rows(saves, 2) if row.digest == delta.base]
    assert base.pack and delta.pack
    return pack_key(base.pack), pack_key(delta.pack), array


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_a_damaged_or_missing_base_is_an_integrity_error_that_names_it(damage: str) -> None:
    store = MemoryStore()
    base, _, _ = two_versions(store)
    raw = store._objects.pop(base)
    if damage == "truncated":
        store._objects[base] = raw[: len(raw) // 2]
    if damage == "flipped":
        store._objects[base] = raw[:100_000] + bytes([raw[100_000] ^ 1]) + raw[100_001:]
    for version in (1, 2):
        with pytest.raises(IntegrityError, match=base) as caught:
            Checkpointer(store).load(version=version)
        assert caught.value.key == base
    assert {error.key for error in Checkpointer(store).verify()} == {base}


@pytest.mark.parametrize("fresh", [True, False])
def test_a_base_found_damaged_during_a_save_is_not_relied_on(fresh: bool) -> None:
    store = MemoryStore()
    base, _, array = two_versions(store)
    saves = Checkpointer(store)
    if not fresh:
        saves.load()
    raw = store._objects[base]
    store._objects[base] = raw[:100_000] + bytes([raw[100_000] ^ 1]) + raw[100_001:]
    changed_rows(array, 0.01, seed=5)
    saves.save(array)
    np.testing.assert_array_equal(Checkpointer(store).load(), array)
    assert not any(row.base for row in rows(saves, 3))


def test_a_stream_that_its_owner_changes_meanwhile_fits_its_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = bytearray(500_000)

    class Digest:
        """Lets another thread write to what was just looked at."""

        def __init__(self) -> None:
            self._real = blake3()
            self.hexdigest = self._real.hexdigest

        def update(self, view: Any) -> None:
            self._real.update(view)
            raw[:] = bytes([raw[0] + 1]) * len(raw)

    monkeypatch.setattr(_stream, "blake3", Digest)
    saves = Checkpointer(MemoryStore(), codec="none")
    for number in range(3):
        saves.save([number, raw])
        assert len(set(saves.load()[1])) == 1


def test_verify_sees_a_stream_that_is_not_the_one_that_was_saved() -> None:
    store = MemoryStore()
    saves = Checkpointer(store)
    saves.save(units(20_000))
    found = manifest(saves, 1)
    parts = (*found.parts[:-1], evolve(found.parts[-1], digest="0" * 64))
    key = snapshot_key("main", 1)
    store._objects[key] = encode_manifest(evolve(found, parts=parts))
    with pytest.raises(IntegrityError):
        Checkpointer(store).load()
    assert [type(error) for error in Checkpointer(store).verify()] == [IntegrityError]


# --- where a piece lay before -----------------------------------------------


def blob(size: int, name: str) -> Blob:
    return Blob(digest(name.encode()), size, "none", "0" * 32, 0, size)


def test_a_stream_that_moved_is_compared_with_what_moved_along() -> None:
    old = [blob(100, name) for name in "abcd"]
    track = Track(old)
    assert track.near(0, 100, "new") == old[0]
    assert track.near(250, 100, old[1].digest) == old[1]
    assert track.near(350, 100, "new") == old[2], "everything has moved by 150"
    assert track.near(900, 100, "new") is None


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([10, 20, 30], ["a", "b", "c"]),
        ([10, 20], ["a", "b"]),
        ([20, 30], ["b", "c"]),
        ([10, 10], ["a", ""]),
        ([10, 5, 20, 30], ["a", "", "b", "c"]),
        ([10, 21, 30], ["a", "b", "c"]),
        ([], []),
    ],
)
def test_buffers_keep_their_places_around_a_change(lengths: list[int], expected: list[str]) -> None:
    table = [blob(size, name) for name, size in zip("abc", (10, 20, 30), strict=True)]
    parts = [Part("buffer", row.length, 1) for row in table]
    layout = Layout([*parts, Part("stream", 0, 0)], table)
    names = {row.digest: name for name, row in zip("abc", table, strict=True)}
    found = [
        "".join(names[row.digest] for place in places for row in place)
        for places in layout.buffers(lengths)
    ]
    assert found == expected


def test_a_codec_says_what_it_stores_as_a_delta() -> None:
    assert Codec("none", 0).encode(b"x" * 1000)[0] == "none"


def test_renumbering_is_tried_ever_less_often_where_it_is_in_vain() -> None:
    like: Any = SimpleNamespace(name="main", parts=[SimpleNamespace(transforms=())])
    earlier = Earlier(MemoryStore(), Known(), like, [], [])
    tried = [number for number in range(100) if earlier.may_shift(1000)]
    assert tried == [0, 9, 26, 59]
    assert not earlier.may_shift(1999)
    assert earlier.may_shift(2000)  # Twice as much is new: something else has happened.


def test_objects_that_go_here_and_there_cost_about_what_they_were() -> None:
    chance = random.Random(4)
    world: list[dict[str, Any]] = []
    for number in range(20_000):
        friends = [world[chance.randrange(number)]] if number % 2 else []
        world.append({"name": f"u{number}", "x": chance.random(), "friends": friends})
    saves = Checkpointer(MemoryStore())
    first = saves.save(world)
    for _ in range(8):
        doomed = set(chance.sample(range(len(world)), 20))
        gone = {id(world[at]) for at in doomed}
        world = [one for at, one in enumerate(world) if at not in doomed]
        for one in world:
            one["friends"] = [friend for friend in one["friends"] if id(friend) not in gone]
        assert saves.save(world).stored < first.stored / 50
