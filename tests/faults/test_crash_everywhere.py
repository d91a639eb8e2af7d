"""A program that dies anywhere: at every write to its store, and at every power cut.

Each scenario says what it began and what was acknowledged.  After every crash
another program opens what is left: all that was acknowledged is there, what was
begun is done or not, nothing is damaged, the next save gets a number that was
never acknowledged, and a prune leaves no orphan.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, define, evolve, frozen
from faults.hooked import HookedStore, same, state
from faults.powercut import State, power_cuts, recording
from faults.sparse import array, forms, longer, manifests, units, words

from checkpoint import (
    Checkpointer,
    CheckpointError,
    DamagedSnapshotWarning,
    LocalStore,
    MemoryStore,
    NotFoundError,
    Store,
    _format,
    _lease,
    _lines,
    _pruning,
    _saving,
    _writing,
    keep_last,
)
from checkpoint.store import _local
from checkpoint.testing import CrashingStore, SimulatedCrash

# What a scenario says


@frozen
class Saving:
    """A save of *state* began; it may delete *doomed* once it is durable."""

    state: Any
    doomed: frozenset[int] = frozenset()


@frozen
class Saved:
    version: int
    state: Any


@frozen
class Deleting:
    versions: tuple[int, ...]


@frozen
class Deleted:
    versions: tuple[int, ...]


@frozen
class Tagging:
    tag: str
    version: int | None


@frozen
class Tagged:
    tag: str
    version: int | None


@define
class Program:
    """A program that tells *say* what it is about to do, and what it was told is done."""

    store: Store
    say: Callable[[Any], None]
    there: list[int] = Factory(list)

    def saves(self, keep: int | None = None) -> Checkpointer:
        return Checkpointer(self.store, keep=None if keep is None else keep_last(keep))

    def save(self, saves: Checkpointer, value: Any, keep: int | None = None, **named: Any) -> None:
        doomed = frozenset(self.there[: len(self.there) - keep + 1]) if keep else frozenset()
        self.say(Saving(value, doomed))
        for tag in named.get("tags", ()):
            self.say(Tagging(tag, (self.there or [0])[-1] + 1))
        saved = saves.save(value, **named)
        self.say(Saved(saved.version, value))
        for tag in named.get("tags", ()):
            self.say(Tagged(tag, saved.version))
        self.there = [v for v in self.there if v not in doomed] + [saved.version]
        if doomed:
            self.say(Deleted(tuple(doomed)))

    def save_in_background(self, saves: Checkpointer, value: Any, keep: int | None = None) -> None:
        doomed = frozenset(self.there[: len(self.there) - keep + 1]) if keep else frozenset()
        self.say(Saving(value, doomed))
        version = saves.save_in_background(value).result().version
        self.say(Saved(version, value))
        self.there = [v for v in self.there if v not in doomed] + [version]

    def delete(self, saves: Checkpointer, *versions: int) -> None:
        self.say(Deleting(versions))
        saves.delete(*versions)
        self.there = [v for v in self.there if v not in versions]
        self.say(Deleted(versions))

    def tag(self, saves: Checkpointer, version: int, tag: str) -> None:
        self.say(Tagging(tag, version))
        saves.tag(version, tag)
        self.say(Tagged(tag, version))

    def untag(self, saves: Checkpointer, tag: str) -> None:
        self.say(Tagging(tag, None))
        saves.untag(tag)
        self.say(Tagged(tag, None))


# The scenarios, each on a repository that holds the states of OLDER

OLDER = [{"step": 1}, state(2, 1, 2), state(3, 2, 3)]

Scenario = Callable[[Program], None]
SCENARIOS: dict[str, tuple[bool, Scenario]] = {}
DEATHS: dict[str, tuple[bool, Scenario]] = {}  # in which a first program has died already


def scenario(older: bool) -> Callable[[Scenario], Scenario]:
    def register(play: Scenario) -> Scenario:
        SCENARIOS[play.__name__] = (older, play)
        return play

    return register


@scenario(False)
def first_save(program: Program) -> None:
    program.save(program.saves(), state(1, 1))


@scenario(False)
def first_save_of_something_tiny(program: Program) -> None:
    program.save(program.saves(), "tiny")


@scenario(True)
def save_that_reuses(program: Program) -> None:
    saves = program.saves()
    program.save(saves, state(4, 3, 4))
    program.save(saves, state(5, 3, 4))


@scenario(True)
def save_with_retention(program: Program) -> None:
    saves = program.saves(keep=2)
    program.save(saves, state(4, 3, 4), keep=2)
    program.save(saves, {"step": 5}, keep=2)


@scenario(True)
def save_with_retention_and_prune(program: Program) -> None:
    saves = program.saves(keep=1)
    program.save(saves, state(4, 3, 4), keep=1)
    saves.prune()
    program.save(saves, state(5, 4, 5), keep=1)
    saves.prune()


@scenario(True)
def save_with_tags(program: Program) -> None:
    saves = program.saves()
    program.save(saves, state(4, 4), tags=["good", "best"])
    program.save(saves, {"step": 5}, tags=["good"])


@scenario(True)
def tag_and_untag(program: Program) -> None:
    saves = program.saves()
    program.tag(saves, 1, "good")
    program.tag(saves, 2, "good")
    program.untag(saves, "good")


@scenario(True)
def delete_old(program: Program) -> None:
    program.delete(program.saves(), 1, 2)


@scenario(True)
def delete_newest_and_save(program: Program) -> None:
    saves = program.saves()
    program.delete(saves, 3)
    program.save(program.saves(), {"step": 4})


@scenario(True)
def delete_all_and_prune(program: Program) -> None:
    saves = program.saves()
    program.delete(saves, 1, 2, 3)
    saves.prune()
    program.save(saves, state(4, 1))


@scenario(True)
def prune_with_orphans_and_marks(program: Program) -> None:
    saves = program.saves()
    for number in range(2):
        orphan = f"{number:032x}"
        program.store.put(_format.pack_key(orphan), [_format.PACK_MAGIC, b"orphan"])
        if number:
            program.store.put(_format.mark_key(orphan), [])
    program.delete(saves, 2)
    saves.prune()
    program.save(saves, state(4, 1, 2, 3))


@scenario(True)
def import_one(program: Program) -> None:
    exported = io.BytesIO()
    source = Checkpointer(MemoryStore())
    source.save(state(7, 7))
    source.export(1, exported)
    exported.seek(0)
    program.say(Saving(state(7, 7)))
    saved = program.saves().import_(exported)
    program.say(Saved(saved.version, state(7, 7)))


# Deltas: each begins with the version that its bases are from.


@scenario(False)
def deltas_of_a_stream(program: Program) -> None:
    saves = program.saves()
    program.save(saves, words(1))
    program.save(saves, words(2, 70))
    program.save(program.saves(), longer(3, 2000))
    program.save(saves, words(4, seed=1))  # A new keyframe.
    program.save(saves, words(5, 9, seed=1))


@scenario(False)
def delta_in_a_pack(program: Program) -> None:
    saves = program.saves()
    program.save(saves, [array(), words(1)])
    program.save(saves, [array(5, 60_000), words(2, seed=1)])


@scenario(False)
def delta_of_renumbered_units(program: Program) -> None:
    saves = program.saves()
    program.save(saves, units())
    program.save(saves, units({"number": -1}))


@scenario(False)
def deltas_with_retention_and_prune(program: Program) -> None:
    """The version that brought the base goes, and the base stays."""
    saves = program.saves(keep=2)
    for step in range(1, 5):
        program.save(saves, words(step, *range(0, 400 * step, 400)), keep=2)
        saves.prune()


@scenario(False)
def base_in_a_mostly_dead_pack(program: Program) -> None:
    """It is taken along, and its old pack goes with the version that made it."""
    saves = program.saves(keep=1)
    program.save(saves, [state(1, 1), words(1)], keep=1)
    program.save(saves, [state(2, 2), words(1, 70)], keep=1)
    saves.prune()
    program.save(saves, [state(2, 2), words(1, 70, 80)], keep=1)


@scenario(False)
def deltas_in_the_background(program: Program) -> None:
    with program.saves(keep=2) as saves:
        program.save_in_background(saves, words(1), keep=2)
        program.save_in_background(saves, words(2, 70), keep=2)
        program.save_in_background(saves, [array(), words(3, seed=1)], keep=2)
        program.save_in_background(saves, [array(5), words(4, 70)], keep=2)


DELTAS: dict[str, set[str]] = {
    "deltas_of_a_stream": {"frame", "blocks", "inline"},
    "delta_in_a_pack": {"blocks", "in a pack"},
    "delta_of_renumbered_units": {"renumbered", "frame"},
    "deltas_with_retention_and_prune": {"blocks"},
    "base_in_a_mostly_dead_pack": {"blocks"},
    "deltas_in_the_background": {"blocks"},
}


@pytest.mark.parametrize("name", DELTAS)
def test_the_scenario_has_deltas_whose_bases_no_part_holds(name: str) -> None:
    store = HookedStore()
    SCENARIOS[name][1](Program(store, lambda event: None))
    assert forms(store) >= DELTAS[name] | {"a base that no part holds"}


def test_a_base_is_taken_along_from_a_pack_that_is_mostly_dead() -> None:
    store = HookedStore()
    base_in_a_mostly_dead_pack(Program(store, lambda event: None))
    (manifest,) = manifests(store).values()
    assert manifest.version == 3
    # Both packs of the last version are younger than the first version, which made the base.
    assert len(store.keys("packs/")) == len(manifest.packs) == 1


# What must be true after a crash


@define
class Promise:
    """What the events up to the crash allow."""

    sure: dict[int, Any]
    perhaps: list[Any]
    may_go: set[int]
    gone: set[int]
    tags: dict[str, set[int | None]]
    highest: int

    @classmethod
    def of(cls, events: Iterable[Any], older: list[Any]) -> Promise:
        sure = dict(enumerate(older, 1))
        promise = cls(sure, [], set(), set(), {}, len(older))
        for event in events:
            match event:
                case Saving(value, doomed):
                    promise.perhaps = [value]
                    promise.may_go |= doomed
                case Saved(version, value):
                    promise.perhaps = []
                    promise.sure[version] = value
                    promise.highest = max(promise.highest, version)
                case Deleting(versions):
                    promise.may_go |= set(versions)
                case Deleted(versions):
                    promise.gone |= set(versions)
                    for version in versions:
                        promise.sure.pop(version, None)
                case Tagging(tag, at):
                    promise.tags.setdefault(tag, {None}).add(at)
                case Tagged(tag, at):
                    promise.tags[tag] = {at}
        return promise


def check(store: Store, promise: Promise) -> None:
    """AssertionError unless *store* keeps *promise*, and work can go on."""
    try:
        _check(store, promise)
    except (CheckpointError, DamagedSnapshotWarning) as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error


def _check(store: Store, promise: Promise) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saves = Checkpointer(store)
        snapshots = {s.version: s for s in saves.snapshots()}
        assert saves.verify() == [], "damage"
        _check_states(saves, snapshots, promise)
        for tag, allowed in promise.tags.items():
            holders = {v for v, s in snapshots.items() if tag in s.tags} or {None}
            assert holders <= allowed | (set() if None not in holders else {None}) and (
                holders & allowed or allowed & promise.gone
            ), f"tag {tag} at {holders}, not {allowed}"
        highest = max([promise.highest, *snapshots])
        saves.prune()
        saves.prune()
        _check_clean(store)
        again = Checkpointer(store)
        saved = again.save(state(99, 1, 99))
        assert saved.version > highest, f"number {saved.version} again"
        assert same(Checkpointer(store).load(), state(99, 1, 99))
        for version, snapshot in snapshots.items():
            assert snapshot.version == version
            same(saves.load(version=version), None)
        assert saves.verify() == [], "damage after the next save"


def _check_states(saves: Checkpointer, snapshots: dict[int, Any], promise: Promise) -> None:
    for version in promise.sure.keys() - snapshots.keys():
        assert version in promise.may_go, f"version {version} was acknowledged and is lost"
    assert not promise.gone & snapshots.keys(), "a deleted version is back"
    for version in snapshots:
        found = saves.load(version=version)
        if version in promise.sure:
            assert same(found, promise.sure[version]), f"version {version} is another state"
        else:
            assert version > promise.highest, f"version {version} was never begun"
            assert any(same(found, value) for value in promise.perhaps)
    if not snapshots:
        with pytest.raises(NotFoundError):
            saves.load()
        return
    newest = max(snapshots)
    assert same(saves.load(), saves.load(version=newest)), "load is not the newest"


def _check_clean(store: Store) -> None:
    named: set[str] = set()
    for key in store.keys("snapshots/"):
        named |= set(_format.decode_manifest(store.get(key), key).packs)
    assert set(store.keys("packs/")) == {_format.pack_key(pack) for pack in named}, "orphans"
    assert store.keys("trash/") == [], "marks"
    assert store.keys("leases/") == [], "leases"


def prepare(store: Store, older: bool) -> list[Any]:
    if not older:
        return []
    saves = Checkpointer(store)
    for value in OLDER:
        saves.save(value)
    return OLDER


# At every write to the store


def each_crash(of: str, older: bool, play: Callable[[CrashingStore, list[Any]], Promise]) -> int:
    """Crash *play* before and after each of its writes; how many crashes there were."""
    count = 0
    for when in ("before", "after"):
        for crash_at in itertools.count(1):
            inner = HookedStore()
            before = prepare(inner, older)
            store = CrashingStore(inner, crash_at, when)  # type: ignore[arg-type]
            promise = play(store, before)
            try:
                check(inner, promise)
            except AssertionError as error:
                raise AssertionError(f"{of}crash {when} write {crash_at}: {error}") from error
            if not store.crashed:
                break
            count += 1
    return count


def crashes(name: str, wrap: Callable[[Store], Store] = lambda store: store) -> int:
    """Crash a scenario before and after each of its writes; how many crashes there were."""
    older, scenario = SCENARIOS[name]

    def play(store: CrashingStore, before: list[Any]) -> Promise:
        events: list[Any] = []
        with suppress(SimulatedCrash):
            scenario(Program(wrap(store), events.append, [*range(1, len(before) + 1)]))
        return Promise.of(events, before)

    return each_crash(f"{name}, ", older, play)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lease, "_PATIENCE", 0.0)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_any_write_breaks_no_promise(name: str) -> None:
    count = crashes(name)
    print(f"{name}: {count} crashes")
    assert count >= 4


@pytest.mark.parametrize("name", ["save_with_retention_and_prune", "prune_with_orphans_and_marks"])
def test_a_crash_in_a_folder_at_any_write_leaves_no_lease(name: str, tmp_path: Path) -> None:
    """Locks there are files, and the dead leave theirs behind."""
    older, play = SCENARIOS[name]
    for crash_at in itertools.count(1):
        inner = LocalStore(tmp_path / str(crash_at))
        before = prepare(inner, older)
        store = CrashingStore(inner, crash_at)
        events: list[Any] = []
        with suppress(SimulatedCrash):
            play(Program(store, events.append, [*range(1, len(before) + 1)]))
        check(LocalStore(inner.root), Promise.of(events, before))
        if not store.crashed:
            break


# At every power cut


def reopened(kept: State, home: str) -> MemoryStore:
    """The store that a cut left: its files but temporary ones and locks of the dead."""
    store = MemoryStore()
    for path, data in kept.tree.items():
        key = os.path.relpath(path, home) if path.startswith(home + "/") else ""
        if data is not None and key and "/.tmp-" not in "/" + key and not key.startswith("leases/"):
            store._objects[key] = data
    return store


def cuts(name: str, folder: Path, most: int, make: Callable[[str], Store] = LocalStore) -> int:
    """Play every power cut of a scenario, or *most* of them evenly; how many were played."""
    older, play = (SCENARIOS | DEATHS)[name]
    home = folder / "home"
    home.mkdir(parents=True)
    before = prepare(LocalStore(home / "saves"), older)
    with recording(home) as log:
        play(Program(make(str(home / "saves")), log.acknowledge, [*range(1, len(before) + 1)]))
    states = list(power_cuts(log, exhaustive=4, sample=4))
    step = max(1, len(states) // most)
    count = 0
    for kept in [*states[::step], states[-1]]:
        try:
            check(reopened(kept, "saves"), Promise.of(kept.acknowledged, before))
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}: {kept.story}") from error
        count += 1
    shutil.rmtree(home)
    return count


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_cut_breaks_no_promise(name: str, tmp_path: Path) -> None:
    count = cuts(name, tmp_path, 150)
    print(f"{name}: {count} states")
    assert count >= 16


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_power_cut_breaks_no_promise(name: str, tmp_path: Path) -> None:
    print(f"{name}: {cuts(name, tmp_path, 10**9)} states")


class Dying(Exception):
    pass


def deleter_that_died(program: Program) -> None:
    """It unlinked a manifest and was killed before the folder was synced; others go on."""
    real = _local.sync_folder

    def sync_folder(folder: str) -> None:
        if folder.endswith("snapshots/main/@"):
            raise Dying
        real(folder)

    program.say(Deleting((3,)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_local, "sync_folder", sync_folder)
        with pytest.raises(Dying):
            program.saves().delete(3)
    program.saves().prune()
    program.save(program.saves(), {"step": 4})


DEATHS["deleter_that_died"] = (True, deleter_that_died)


def test_a_deletion_that_nobody_finished_is_finished_before_its_packs_go(tmp_path: Path) -> None:
    assert cuts("deleter_that_died", tmp_path, 200) > 20


def first_save_that_was_interrupted(program: Program) -> None:
    """Its manifest had its name already; it is withdrawn, and the pack is an orphan."""
    real = _local.sync_folder

    def sync_folder(folder: str) -> None:
        if folder.endswith("snapshots/main/@") and sys._getframe(1).f_code.co_name == "_publish":
            raise KeyboardInterrupt
        real(folder)

    program.say(Saving(state(1, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_local, "sync_folder", sync_folder)
        with pytest.raises(KeyboardInterrupt):
            program.saves().save(state(1, 1))
    program.saves().prune()
    program.say(Saving(state(1, 1)))


DEATHS["first_save_that_was_interrupted"] = (False, first_save_that_was_interrupted)


def test_a_manifest_that_was_withdrawn_does_not_come_back_without_its_pack(tmp_path: Path) -> None:
    assert cuts("first_save_that_was_interrupted", tmp_path, 200) > 20


# Mutants: one step left out, which the checks above must catch.


def no_sync_of_files(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_local, "sync_file", lambda fd: None)


def no_sync_of_folders(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_local, "sync_folder", lambda folder: None)


def write_to_the_final_name(patch: pytest.MonkeyPatch) -> None:
    def open_final(folder: str) -> tuple[str, int]:
        final = sys._getframe(1).f_locals["final"]
        return final + ".none", os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)

    patch.setattr(_local, "_open_temp", open_final)
    patch.setattr(_local, "publish", lambda temp, final: None)


def no_sync_of_deletions(patch: pytest.MonkeyPatch) -> None:
    def delete(store: LocalStore, keys: Iterable[str]) -> None:
        for key in keys:
            if os.path.exists(store._path(key)):
                os.unlink(store._path(key))

    patch.setattr(LocalStore, "delete", delete)


def prune_without_settling(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_pruning, "_settle", lambda repository: None)


def no_mark_of_deletions(patch: pytest.MonkeyPatch) -> None:
    def gone(line: Any) -> int:
        return 10**9 if sys._getframe(1).f_code.co_name == "delete" else 0

    patch.setattr(_lines.Line, "_gone", gone)


def manifests_go_last_in_a_delete(patch: pytest.MonkeyPatch) -> None:
    real = _lines.Line.delete

    def delete(line: Any, versions: Iterable[int], *, used: int = 0) -> None:
        line._store.delete(_format.snapshot_key(line._name, v) for v in versions)
        real(line, versions, used=used)

    patch.setattr(_lines.Line, "delete", delete)


class Reordered:
    """The manifest before its pack."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._late: list[tuple[str, list[bytes]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, pieces: Iterable[Any]) -> None:
        if key.startswith("packs/") and not key.startswith("packs/00"):
            self._late.append((key, [bytes(piece) for piece in pieces]))
            return
        self._store.put(key, pieces)
        while key.startswith("snapshots/") and self._late:
            self._store.put(*self._late.pop())

    def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
        view: memoryview = self._store.get(key, start, stop)
        return view

    def fill(self, key: str, start: int, target: memoryview) -> int:
        count: int = self._store.fill(key, start, target)
        return count

    def keys(self, prefix: str) -> list[str]:
        found: list[str] = self._store.keys(prefix)
        return found

    def delete(self, keys: Iterable[str]) -> None:
        self._store.delete(keys)


Mutant = Callable[[pytest.MonkeyPatch], None]
CUT_MUTANTS: list[tuple[Mutant, str]] = [
    (no_sync_of_files, "first_save"),
    (no_sync_of_files, "save_with_retention"),
    (no_sync_of_folders, "first_save"),
    (no_sync_of_folders, "save_that_reuses"),
    (write_to_the_final_name, "first_save"),
    (write_to_the_final_name, "save_that_reuses"),
    (no_sync_of_deletions, "delete_old"),
    (no_sync_of_deletions, "save_with_retention_and_prune"),
    (prune_without_settling, "deleter_that_died"),
    (no_mark_of_deletions, "delete_newest_and_save"),
]


@pytest.mark.parametrize(("mutant", "name"), CUT_MUTANTS)
def test_the_power_cuts_catch(
    mutant: Mutant, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=name):
        cuts(name, tmp_path, 10**9)


def no_rows_for_bases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_writing, "_bases", lambda rows, plan: [])


def packs_of_bases_are_not_named(patch: pytest.MonkeyPatch) -> None:
    """What a version names of packs is all that keeps them."""
    real = _pruning._named_packs

    def named(repository: Any) -> set[str]:
        kept = real(repository)
        for manifest in manifests(repository.store).values():
            own = sum(part.blobs for part in manifest.parts)
            kept -= {row.pack for row in manifest.blobs[own:] if row.pack}
        return kept

    patch.setattr(_pruning, "_named_packs", named)


def early_answers(patch: pytest.MonkeyPatch) -> None:
    """A save in the background is acknowledged before it is made."""
    real = _saving.Saving.copy

    def copy(saving: Any, state: Any, members: Any) -> Any:
        late = real(saving, state, members)
        highest = saving._repository.line(saving.name).highest()
        with suppress(SimulatedCrash):
            late.result()
        early: Any = Future()
        early.set_result(evolve(Checkpointer(MemoryStore()).save(0), version=highest + 1))
        return early

    patch.setattr(_saving.Saving, "copy", copy)


CRASH_MUTANTS: list[tuple[Mutant, str]] = [
    (no_rows_for_bases, "deltas_of_a_stream"),
    (packs_of_bases_are_not_named, "deltas_with_retention_and_prune"),
    (early_answers, "deltas_in_the_background"),
    (no_mark_of_deletions, "delete_newest_and_save"),
    (no_mark_of_deletions, "delete_all_and_prune"),
    (manifests_go_last_in_a_delete, "delete_newest_and_save"),
]


@pytest.mark.parametrize(("mutant", "name"), CRASH_MUTANTS)
def test_the_crashes_catch(mutant: Mutant, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=name):
        crashes(name)


@pytest.mark.parametrize("name", ["first_save", "save_that_reuses"])
def test_the_crashes_catch_a_manifest_before_its_pack(name: str) -> None:
    with pytest.raises(AssertionError, match=f"{name}, crash"):
        crashes(name, Reordered)


def test_the_power_cuts_catch_a_manifest_before_its_pack(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="first_save"):
        cuts("first_save", tmp_path, 10**9, lambda root: Reordered(LocalStore(root)))
