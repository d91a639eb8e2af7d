"""Who comes between whom: writers, readers, deleters and pruners, at chosen moments.

Each other program is a Checkpointer of its own on the same store, which shares
no memory with the first; a hook of the store says when it acts.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from faults.hooked import HookedStore, Verb, same, state
from faults.sparse import array, deltas, longer, manifests, units, words

from checkpoint import (
    Checkpointer,
    ConflictError,
    DamagedSnapshotWarning,
    FormatError,
    IntegrityError,
    LocalStore,
    NotFoundError,
    StoreError,
    _delta,
    _format,
    _lease,
    _pruning,
    _reuse,
    _stream,
    _writing,
    keep_last,
)
from checkpoint._codec import decode
from checkpoint.store import _local
from checkpoint.testing import CrashingStore, SimulatedCrash


@pytest.fixture
def store() -> HookedStore:
    return HookedStore()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prune that meets a writer at work leaves at once: the writer waits for it here."""
    monkeypatch.setattr(_lease, "_PATIENCE", 0.0)


def packs(store: Any) -> list[str]:
    return store.keys("packs/")


def whole(store: Any, version: int, expected: Any, name: str = "main") -> None:
    """A program that starts now finds *expected* under *version*, and nothing wrong."""
    fresh = Checkpointer(store, name)
    assert same(fresh.load(version=version), expected)
    assert fresh.verify() == []


# Writers and pruners

MOMENTS = [
    ("put", "leases/"),
    ("lock", "leases/writers/"),
    ("keys", "trash/"),
    ("get", "packs/"),
    ("put", "packs/"),
    ("put", "snapshots/"),
    ("keys", "gone/"),
]


@pytest.mark.parametrize("moment", MOMENTS[1:], ids=" ".join)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("prunes", [1, 2])
def test_a_prune_at_any_moment_of_a_save_takes_nothing_from_it(
    store: HookedStore, moment: Any, when: str, prunes: int
) -> None:
    """The saved state shares a chunk with a version that has just been deleted."""
    if when == "after" and moment[0] in ("lock", "get"):
        pytest.skip("only puts, listings and deletions have an after")
    writer = Checkpointer(store)
    writer.save(state(1, 1, 2))
    other = Checkpointer(store)
    other.save(state(2, 3))
    other.delete(1)
    pruner = Checkpointer(store)

    def prune() -> None:
        for _ in range(prunes):
            pruner.prune()

    getattr(store, when)(*moment, prune)
    saved = writer.save(state(3, 1, 4))
    assert not store.waiting
    whole(store, saved.version, state(3, 1, 4))
    pruner.prune()
    whole(store, saved.version, state(3, 1, 4))
    whole(store, 2, state(2, 3))
    assert store.keys("trash/") == []
    assert store.keys("leases/") == []


# A state, and the next one, of which a version would be a delta.
DELTAS: dict[str, tuple[Any, Any]] = {
    "a stream in place": (words(1), words(1, 70)),
    "a longer stream": (words(1), longer(1, 2000)),
    "a buffer": ([array()], [array(5, 60_000)]),
    "renumbered": (units(), units({"number": -1})),
    "with a new pack": ([array(), words(1)], [array(5), words(2, seed=1)]),
}


def is_delta(store: HookedStore, version: int) -> bool:
    return bool(deltas(manifests(store)[_format.snapshot_key("main", version)]))


def calls(store: HookedStore, work: Callable[[], object]) -> list[tuple[str, str, str]]:
    """The first of each sort of call that *work* makes: when, the verb, how its key begins."""
    made: list[tuple[str, str, str]] = []
    folders = ("packs/", "snapshots/", "leases/", "trash/", "gone/", "format")
    for moment in itertools.product(("before", "after"), get_args(Verb), folders):
        when, verb, folder = moment
        getattr(store, when)(verb, folder, partial(made.append, moment))
    work()
    store._before.clear()
    store._after.clear()
    return made


@pytest.mark.parametrize("kind", DELTAS)
@pytest.mark.parametrize("prunes", [1, 2])
@pytest.mark.parametrize("background", [False, True], ids=["save", "background"])
def test_a_prune_at_any_call_of_a_delta_takes_no_base_from_it(
    kind: str, prunes: int, background: bool
) -> None:
    """Nobody but the writer needs the pack in which the base is."""
    old, new = DELTAS[kind]

    def begun() -> tuple[HookedStore, Checkpointer, Checkpointer]:
        store = HookedStore()
        writer, other = Checkpointer(store), Checkpointer(store)
        writer.save(old)
        other.save(state(2, 3))
        other.delete(1)
        return store, writer, other

    def save(writer: Checkpointer) -> int:
        saved = writer.save_in_background(new).result() if background else writer.save(new)
        return saved.version

    store, writer, _ = begun()
    moments = calls(store, lambda: save(writer))
    assert len(moments) >= 10
    met = set()
    for when, verb, folder in moments:
        store, writer, pruner = begun()
        getattr(store, when)(verb, folder, lambda p=pruner: [p.prune() for _ in range(prunes)])
        version = save(writer)
        assert not store.waiting
        for _ in range(2):
            whole(store, version, new)
            whole(store, 2, state(2, 3))
            pruner.prune()
        assert store.keys("trash/") == store.keys("leases/") == []
        met.add(is_delta(store, version))
    assert met == {True, False}, "the prune came always too late, or always too early"


@pytest.mark.parametrize("kind", DELTAS)
def test_a_base_in_a_pack_that_is_marked_is_left_alone(store: HookedStore, kind: str) -> None:
    old, new = DELTAS[kind]
    writer = Checkpointer(store)
    writer.save(old)
    for pack in packs(store):
        store.put(_format.mark_key(pack.rpartition("/")[2].removesuffix(".pack")), [])
    saved = writer.save(new)
    assert not is_delta(store, saved.version)
    whole(store, saved.version, new)


@pytest.mark.parametrize("kind", DELTAS)
def test_a_base_outlives_the_version_that_made_it(store: HookedStore, kind: str) -> None:
    old, new = DELTAS[kind]
    saves = Checkpointer(store)
    saves.save(old)
    saved = saves.save(new)
    assert is_delta(store, saved.version)
    saves.delete(1)
    assert Checkpointer(store).prune() == 0
    whole(store, saved.version, new)
    # And a program that has never seen the version that made it encodes against it too.
    later = Checkpointer(store).save(new if kind == "renumbered" else [new, 3])
    whole(store, later.version, new if kind == "renumbered" else [new, 3])


def test_a_pack_that_is_marked_is_not_reused(store: HookedStore) -> None:
    writer = Checkpointer(store)
    writer.save(state(1, 1))
    (pack,) = packs(store)
    store.put(_format.mark_key(pack.rpartition("/")[2].removesuffix(".pack")), [])
    writer.save(state(2, 1))
    assert len(packs(store)) == 2
    assert writer.prune() == 0  # The mark goes, since version 1 names the pack.
    assert store.keys("trash/") == []
    whole(store, 1, state(1, 1))
    whole(store, 2, state(2, 1))


def test_a_pack_that_a_writer_names_after_the_mark_is_unmarked(store: HookedStore) -> None:
    writer = Checkpointer(store)
    writer.save(state(1, 1))
    other = Checkpointer(store)
    other.save(state(2, 2))
    other.delete(1)
    store.before("put", "snapshots/", other.prune)
    assert len(store.keys("trash/")) == 0
    saved = writer.save(state(3, 1))
    assert len(store.keys("trash/")) == 1
    assert other.prune() == 0
    assert store.keys("trash/") == []
    whole(store, saved.version, state(3, 1))


def test_a_prune_that_had_to_leave_is_ended_by_the_next(store: HookedStore) -> None:
    writer, other = Checkpointer(store), Checkpointer(store)
    writer.save(state(1, 1))
    other.save(state(2, 2))
    other.delete(1)
    results: list[int] = []
    store.before("put", "snapshots/", lambda: results.append(other.prune()))
    writer.save(state(3, 3))
    assert results == [0]
    assert other.prune() == 1
    assert len(packs(store)) == 2


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("crash_at", range(1, 5))
def test_a_pruner_that_died_leaves_nothing_that_a_writer_could_believe(
    store: HookedStore, crash_at: int, when: Any
) -> None:
    writer = Checkpointer(store)
    writer.save(state(1, 1))
    writer.save(state(2, 2))
    writer.save(state(3, 3))
    writer.delete(1, 2)
    dying = CrashingStore(store, crash_at, when)
    with pytest.raises(SimulatedCrash):
        Checkpointer(dying).prune()
    saved = writer.save(state(4, 1, 2, 3))
    whole(store, saved.version, state(4, 1, 2, 3))
    writer.prune()
    whole(store, saved.version, state(4, 1, 2, 3))
    whole(store, 3, state(3, 3))
    assert store.keys("trash/") == []
    assert len(packs(store)) == 2


def test_a_writer_at_any_moment_of_a_prune_loses_nothing(store: HookedStore) -> None:
    """The writer knows the packs that the prune is about to delete, and wants them."""
    moments: list[Any] = [
        ("before", "keys", "snapshots/"),
        ("after", "keys", "snapshots/"),
        ("before", "put", "trash/"),
        ("after", "put", "trash/"),
        ("before", "keys", "leases/writers/"),
        ("after", "keys", "leases/writers/"),
        ("before", "delete", "snapshots/"),
        ("before", "delete", "packs/"),
        ("after", "delete", "packs/"),
        ("before", "delete", "trash/"),
        ("after", "delete", "trash/"),
    ]
    for when, verb, prefix in moments:
        store = HookedStore()
        writer, other = Checkpointer(store), Checkpointer(store)
        writer.save(state(1, 1))
        other.save(state(2, 2))
        other.delete(1)
        getattr(store, when)(verb, prefix, lambda writer=writer: writer.save(state(3, 1)))
        other.prune()
        assert not store.waiting, (when, verb, prefix)
        whole(store, 3, state(3, 1))
        other.prune()
        whole(store, 3, state(3, 1))
        assert store.keys("trash/") == []


def test_only_one_prunes(store: HookedStore) -> None:
    one, two = Checkpointer(store), Checkpointer(store)
    one.save(state(1, 1))
    one.save(state(2, 2))
    one.delete(1)
    seen: list[str] = []

    def again() -> None:
        with pytest.raises(ConflictError, match="another process is pruning"):
            two.prune()
        seen.append("refused")

    store.before("put", "trash/", again)
    one.prune()
    assert seen == ["refused"]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "newer", "not json"])
def test_a_manifest_that_cannot_be_read_stops_prune_and_is_named(
    store: HookedStore, damage: str
) -> None:
    saves = Checkpointer(store)
    for step in (1, 2, 3):
        saves.save(state(step, step))
    saves.delete(1)
    key = "snapshots/main/@/0000000002.json"
    raw = bytes(store.get(key))
    if damage == "flipped":
        raw = raw[:99] + bytes([raw[99] ^ 1]) + raw[100:]
    elif damage == "truncated":
        raw = raw[: len(raw) // 2]
    elif damage == "empty":
        raw = b""
    elif damage == "newer":
        raw = _format.seal({"format": 2, "whatever": "is in it"})
    else:
        raw = b"hello"
    store.replace(key, raw)
    before = store.keys("")
    with pytest.raises((IntegrityError, FormatError), match=r"0000000002\.json") as caught:
        Checkpointer(store).prune()
    assert caught.value.key == key
    assert isinstance(caught.value, FormatError if damage == "newer" else IntegrityError)
    assert store.keys("") == before
    whole_without_damage = Checkpointer(store)
    assert same(whole_without_damage.load(version=3), state(3, 3))
    # Deleting that version is one of the two ways out that the message gives.
    whole_without_damage.delete(2)
    assert Checkpointer(store).prune() == 2
    whole(store, 3, state(3, 3))


# Readers and deleters


def test_a_load_whose_version_goes_meanwhile_gives_the_newest_and_reports_no_damage(
    store: HookedStore,
) -> None:
    saves, other = Checkpointer(store), Checkpointer(store)
    saves.save(state(1, 1))
    saves.save(state(2, 2))

    def go() -> None:
        other.save(state(3, 3))
        other.delete(2)
        other.prune()

    store.before("get", "packs/", go)
    assert same(Checkpointer(store).load(), state(3, 3)) or same(
        Checkpointer(store).load(), state(1, 1)
    )
    assert not store.waiting


@pytest.mark.parametrize("prefix", ["packs/", "snapshots/"])
def test_a_load_races_a_retention_that_never_stops(store: HookedStore, prefix: str) -> None:
    """Each time the reader comes to its version, it has just been deleted."""
    other = Checkpointer(store, keep=keep_last(1))
    other.save(state(0, 0))
    step = 0

    def go() -> None:
        nonlocal step
        step += 1
        other.save(state(step, step))
        other.prune()
        if step < 20:
            store.before("get", prefix, go)

    store.before("get", prefix, go)
    loaded = Checkpointer(store).load()
    assert same(loaded, state(loaded["step"], loaded["step"]))


def test_a_version_that_is_asked_for_and_goes_meanwhile_is_not_found(store: HookedStore) -> None:
    saves, other = Checkpointer(store), Checkpointer(store)
    saves.save(state(1, 1))
    saves.save(state(2, 2))

    def go() -> None:
        other.delete(1)
        other.prune()

    store.before("get", "packs/", go)
    with pytest.raises(NotFoundError):
        Checkpointer(store).load(version=1)


@pytest.mark.parametrize("prefix", ["snapshots/", "packs/"])
def test_verify_reports_no_damage_where_a_version_goes_meanwhile(
    store: HookedStore, prefix: str
) -> None:
    saves, other = Checkpointer(store), Checkpointer(store)
    saves.save(state(1, 1))
    saves.save(state(2, 2))
    store.before("get", prefix, lambda: (other.delete(1), other.prune()))
    assert Checkpointer(store).verify() == []
    assert not store.waiting


def test_a_listing_leaves_out_what_goes_meanwhile(store: HookedStore) -> None:
    saves, other = Checkpointer(store), Checkpointer(store)
    for step in (1, 2, 3):
        saves.save(state(step, step))
    store.after("keys", "snapshots/", lambda: other.delete(2))
    assert [s.version for s in Checkpointer(store).snapshots()] == [1, 3]


# Numbers


def test_a_stale_writer_whose_number_was_used_and_deleted_takes_another(
    store: HookedStore,
) -> None:
    stale, other = Checkpointer(store), Checkpointer(store)
    stale.save(state(1, 1))

    def go() -> None:
        assert other.save(state(2, 2)).version == 2
        assert other.save(state(3, 3)).version == 3
        other.delete(2)

    store.before("put", "snapshots/", go)
    assert stale.save(state(4, 4)).version == 4
    assert [s.version for s in Checkpointer(store)] == [1, 3, 4]
    whole(store, 4, state(4, 4))


@pytest.mark.parametrize("which", [(1,), (2,), (3,), (1, 2, 3)])
def test_a_number_of_a_deleted_version_is_never_used_again(
    store: HookedStore, which: tuple[int, ...]
) -> None:
    saves = Checkpointer(store)
    for step in (1, 2, 3):
        saves.save(state(step))
    saves.delete(*which)
    assert Checkpointer(store).save(state(4)).version == 4
    assert saves.save(state(5)).version == 5


def test_a_writer_whose_version_is_deleted_before_it_is_sure_of_it_takes_another(
    store: HookedStore,
) -> None:
    saves, other = Checkpointer(store), Checkpointer(store)
    saves.save(state(1))
    store.after("put", "snapshots/", lambda: other.delete(2))
    assert saves.save(state(2)).version == 3
    assert [s.version for s in Checkpointer(store)] == [1, 3]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_commit_that_failed_after_others_saw_it_hides_no_later_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Its number was taken from sight again; who knows only lower ones must look beyond it."""
    one, two, three = (Checkpointer(tmp_path / "s") for _ in range(3))
    one.save(state(1))
    assert three.load() == state(1)
    assert two.load() == state(1)
    three.save(state(2))  # Everybody's folders are durable from here on.
    assert two.load() == one.load() == state(2)
    real = _local.sync_folder
    calls = [0]

    def sync_folder(folder: str) -> None:
        if folder.endswith("@") and "snapshots" in folder:
            calls[0] += 1
            if calls[0] == 1:
                assert two.save(state(4)).version == 4
                raise error
        real(folder)

    monkeypatch.setattr(_local, "sync_folder", sync_folder)
    with pytest.raises((StoreError, KeyboardInterrupt)):
        one.save(state(3))
    monkeypatch.undo()
    assert [s.version for s in Checkpointer(tmp_path / "s")] == [1, 2, 4]
    assert three.load() == state(4)
    assert three.save(state(5)).version == 5
    assert one.save(state(6)).version == 6


# Rot


def _flip(raw: bytes) -> bytes:
    middle = len(raw) // 2  # In an array: the stream stands at the end.
    return raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]


ROTS: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": _flip,
    "truncated": lambda raw: raw[: len(raw) // 2],
    "longer": lambda raw: raw[:100] + b"\0" + raw[100:],
    "empty": lambda raw: b"",
    "missing": lambda raw: None,
}


def rot(store: HookedStore, pack: str, how: str) -> None:
    store.replace(pack, ROTS[how](bytes(store.get(pack))))


@pytest.mark.parametrize("how", ROTS)
@pytest.mark.parametrize("program", ["the writer", "a fresh one"])
def test_after_damage_was_seen_the_next_save_is_whole(
    store: HookedStore, how: str, program: str
) -> None:
    writer = Checkpointer(store)
    writer.save(state(1, 1))
    before = set(packs(store))
    writer.save(state(2, 1, 2))
    (pack,) = set(packs(store)) - before
    rot(store, pack, how)
    saves = writer if program == "the writer" else Checkpointer(store)
    with pytest.warns(DamagedSnapshotWarning, match="stepped back to version 1"):
        assert same(saves.load(), state(1, 1))
    saved = saves.save(state(2, 1, 2))
    assert same(Checkpointer(store).load(version=saved.version), state(2, 1, 2))
    assert {e.version for e in Checkpointer(store).verify()} == {2}


@pytest.mark.parametrize("how", ROTS)
def test_after_damage_in_several_packs_was_met_in_the_first_the_next_save_is_whole(
    store: HookedStore, how: str
) -> None:
    """The load stops at the first damage; the other packs of that version are no better known."""
    saves = Checkpointer(store)
    saves.save(state(1, 1))
    first = set(packs(store))
    saves.save(state(2, 1, 2))
    saves.save(state(3, 1, 2, 3))
    saves.delete(2)
    for pack in set(packs(store)) - first:
        rot(store, pack, how)
    with pytest.warns(DamagedSnapshotWarning, match="stepped back to version 1"):
        assert same(saves.load(), state(1, 1))
    saved = saves.save(state(3, 1, 2, 3))
    assert same(Checkpointer(store).load(version=saved.version), state(3, 1, 2, 3))


def test_damage_that_verify_saw_is_not_reused(store: HookedStore) -> None:
    saves = Checkpointer(store)
    saves.save(state(1, 1))
    (pack,) = packs(store)
    rot(store, pack, "flipped")
    assert saves.verify() != []
    saved = saves.save(state(2, 1))
    assert same(Checkpointer(store).load(version=saved.version), state(2, 1))


def test_damage_that_an_export_saw_is_not_reused(store: HookedStore, tmp_path: Path) -> None:
    saves = Checkpointer(store)
    saves.save(state(1, 1))
    (pack,) = packs(store)
    rot(store, pack, "flipped")
    with pytest.raises(IntegrityError):
        saves.export(1, tmp_path / "one.ckpt")
    assert list(tmp_path.iterdir()) == []
    saved = saves.save(state(2, 1))
    assert same(Checkpointer(store).load(version=saved.version), state(2, 1))


@pytest.mark.parametrize("kind", DELTAS)
@pytest.mark.parametrize("how", ROTS)
def test_a_base_that_rots_unseen_spoils_no_later_save(
    store: HookedStore, how: str, kind: str
) -> None:
    """Whoever encodes against a base has read it, so even a flipped bit is seen."""
    old, new = DELTAS[kind]
    saves = Checkpointer(store)
    saves.save(old)
    (pack,) = packs(store)
    rot(store, pack, how)
    for program in (saves, Checkpointer(store)):
        saved = program.save(new)
        assert same(Checkpointer(store).load(version=saved.version), new)
        (damaged,) = Checkpointer(store).verify()
        assert (damaged.version, damaged.key) == (1, pack)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("size", [100, 300_000])
@pytest.mark.parametrize("capture", ["copy", "fork"])
def test_a_base_that_rots_unseen_spoils_no_save_in_the_background(
    tmp_path: Path, capture: Any, size: int
) -> None:
    """The larger stream is cut, and the base read, while the graph is still being pickled."""
    chance = random.Random(1)
    old = [chance.randbytes(size) for _ in range(60)]
    store = LocalStore(tmp_path)
    with Checkpointer(store) as saves:
        saves.save(old)
        (pack,) = packs(store)
        path = tmp_path / pack
        raw = _flip(path.read_bytes()[:1000]) + path.read_bytes()[1000:]
        path.unlink()
        path.write_bytes(raw)
        new = [chance.randbytes(size), *old[1:]]
        saved = saves.save_in_background(new, capture=capture).result()
    assert Checkpointer(store).load(version=saved.version) == new
    assert {error.version for error in Checkpointer(store).verify()} == {1}


@pytest.mark.parametrize("how", ["truncated", "longer", "empty", "missing"])
def test_a_pack_that_is_not_of_its_size_is_not_reused(store: HookedStore, how: str) -> None:
    """Nobody has read it, but a look at its end is enough."""
    saves = Checkpointer(store)
    saves.save(state(1, 1))
    (pack,) = packs(store)
    rot(store, pack, how)
    for program in (saves, Checkpointer(store)):
        for step in (1, 2):
            saved = program.save(state(step, 1))
            assert same(Checkpointer(store).load(version=saved.version), state(step, 1))


# Threads that share a Checkpointer


def test_a_delete_during_a_save_takes_nothing_from_it(store: HookedStore) -> None:
    saves = Checkpointer(store)
    saves.save(state(1, 1))
    store.before("put", "snapshots/", lambda: None)

    def delete() -> None:
        thread = threading.Thread(target=saves.delete, args=(1,))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()

    store._before.clear()
    store.before("put", "packs/", delete)
    saved = saves.save(state(2, 1, 2))
    whole(store, saved.version, state(2, 1, 2))


def test_a_save_that_fails_while_it_plans_lets_go_of_its_lease(store: HookedStore) -> None:
    saves = Checkpointer(store)
    saves.save(state(1, 1))

    def fail() -> None:
        raise StoreError("the listing failed")

    store.before("keys", "trash/", fail)
    with pytest.raises(StoreError, match="the listing failed"):
        saves.save(state(2, 1))
    assert store.keys("leases/") == []


def test_loads_and_saves_in_threads_beside_prunes_are_whole(tmp_path: Path) -> None:
    saves = Checkpointer(LocalStore(tmp_path), keep=keep_last(2))
    saves.save(state(0, 0))
    failures: list[BaseException] = []

    def save() -> None:
        for step in range(12):
            saves.save(state(step, step, step % 3))

    def load() -> None:
        for _ in range(30):
            found = saves.load()
            assert found["step"] in range(12)

    def prune() -> None:
        for _ in range(10):
            try:
                saves.prune()
            except ConflictError:
                continue

    def run(work: Callable[[], None]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in (save, save, load, prune)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert saves.verify() == []


# Mutants: a prune with one step left out, which the tests above must catch.


def without_leases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_lease, "writers_ended", lambda store: True)


def without_a_second_listing(patch: pytest.MonkeyPatch) -> None:
    real = _pruning._named_packs
    listed: dict[int, set[str]] = {}

    def named(repository: Any) -> set[str]:
        frame = sys._getframe(1)
        if frame.f_code.co_name == "_sweep":
            return listed[id(repository)]
        listed[id(repository)] = real(repository)
        return listed[id(repository)]

    patch.setattr(_pruning, "_named_packs", named)


def without_marks_that_writers_heed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_reuse, "mark_key", lambda pack: "never/marked")


def without_a_look_at_the_pack(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        _reuse.Plan, "_is_usable", lambda plan, pack: bool(plan.sizes.setdefault(pack, 10**6))
    )


def _writer_between_its_puts(store: HookedStore) -> None:
    test_a_prune_at_any_moment_of_a_save_takes_nothing_from_it(
        store, ("put", "snapshots/"), "before", 1
    )


def _writer_in_a_prune(store: HookedStore) -> None:
    test_a_writer_at_any_moment_of_a_prune_loses_nothing(store)


def _missing_pack(store: HookedStore) -> None:
    test_a_pack_that_is_not_of_its_size_is_not_reused(store, "missing")


def without_rows_for_bases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_writing, "_bases", lambda rows, plan: [])


def with_bases_that_nobody_asked_for(patch: pytest.MonkeyPatch) -> None:
    """Whether the pack of a base may be relied on is not asked."""
    known = _reuse.Plan.base

    def base(plan: Any, blob: Any) -> Any:
        plan.sizes.update(plan._known.sizes)
        return known(plan, blob) or plan._known.blobs.get(blob.base or blob.digest)

    patch.setattr(_reuse.Plan, "base", base)


def with_any_pack_for_a_base(patch: pytest.MonkeyPatch) -> None:
    """A base is believed, not checked, where it is read to encode against it."""
    patch.setattr(_delta, "read_blob", _decoded)
    patch.setattr(_stream, "_POOR", 1)  # Nothing else reads the base, and sees the damage.


def _decoded(blob: Any, source: Any) -> Any:
    stored = source.get(blob.pack, blob.offset, blob.offset + blob.stored)
    return decode(blob.codec, stored, blob.length)


def _delta_beside_a_prune(store: HookedStore) -> None:
    test_a_prune_at_any_call_of_a_delta_takes_no_base_from_it("a stream in place", 1, False)


def _marked_base(store: HookedStore) -> None:
    test_a_base_in_a_pack_that_is_marked_is_left_alone(store, "a stream in place")


def _base_alone(store: HookedStore) -> None:
    test_a_base_outlives_the_version_that_made_it(store, "a stream in place")


def _rotten_base(store: HookedStore) -> None:
    test_a_base_that_rots_unseen_spoils_no_later_save(store, "flipped", "a stream in place")


MUTANTS: list[Any] = [
    (without_leases, _writer_between_its_puts),
    (without_a_second_listing, _writer_in_a_prune),
    (without_marks_that_writers_heed, _writer_in_a_prune),
    (without_a_look_at_the_pack, _missing_pack),
    (without_leases, _delta_beside_a_prune),
    (without_marks_that_writers_heed, _marked_base),
    (without_rows_for_bases, _base_alone),
    (with_bases_that_nobody_asked_for, _marked_base),
    (with_any_pack_for_a_base, _rotten_base),
]


@pytest.mark.parametrize(("mutant", "test"), MUTANTS)
def test_the_tests_catch(
    store: HookedStore, monkeypatch: pytest.MonkeyPatch, mutant: Any, test: Any
) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, IntegrityError, NotFoundError)):
        test(store)
