"""A power cut at every moment of every verb of LocalStore, and the mutants that prove the check."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from reprlib import repr
from typing import Any

import pytest
from attrs import frozen
from faults.powercut import Log, State, kills, power_cuts, recording

from checkpoint.errors import ConflictError
from checkpoint.store import LocalStore, _files, _local

OLDER = {"packs/aa/older": b"older" * 300, "packs/bb/older": b"", "older": b"at the top"}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record says what was synced; the medium itself is asked for nothing."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@frozen
class Began:
    """From here on *value* (None: absent) may be under *key*."""

    key: str
    value: bytes | None


@frozen
class Done:
    """From here on *value*, and nothing else, is under *key*."""

    key: str
    value: bytes | None


class Power(BaseException):
    """A process dies inside of the recording, so that another can go on."""


class Play:
    """A program that uses a store, and says what it was promised."""

    def __init__(self, home: str, log: Log) -> None:
        self.home = home
        self.log = log
        self.store = LocalStore(home)

    def put(self, key: str, value: bytes, pieces: Iterable[bytes] | None = None) -> None:
        self.log.acknowledge(Began(key, value))
        half = len(value) // 2
        self.store.put(key, [value[:half], value[half:]] if pieces is None else pieces)
        self.log.acknowledge(Done(key, value))

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.log.acknowledge(Began(key, None))
        self.store.delete(keys)
        for key in keys:
            self.log.acknowledge(Done(key, None))

    def another(self) -> Play:
        """The same program once more: it shares the folder and no memory."""
        return Play(self.home, self.log)


Scenario = Callable[[Play], None]
SCENARIOS: dict[str, tuple[str, dict[str, bytes], Scenario]] = {}


def scenario(home: str, older: dict[str, bytes]) -> Callable[[Scenario], Scenario]:
    """A scenario in the store *home*, which holds *older* durably; "" if it is not there yet."""

    def register(play: Scenario) -> Scenario:
        SCENARIOS[play.__name__] = (home, older, play)
        return play

    return register


@scenario("deep/er", {})
def put_into_a_fresh_root(play: Play) -> None:
    play.put("packs/aa/one", b"one" * 1000)


@scenario("deep/er", {})
def put_at_the_top_of_a_fresh_root(play: Play) -> None:
    play.put("one", b"one")


@scenario("", OLDER)
def put_into_an_existing_root(play: Play) -> None:
    play.put("snapshots/run/one", b"one" * 1000)


@scenario("", OLDER)
def put_beside_another(play: Play) -> None:
    play.put("packs/aa/one", b"one")
    play.put("packs/aa/empty", b"")
    play.put("packs/aa/two", b"two" * 1000)


@scenario("", OLDER)
def put_pack_then_manifest(play: Play) -> None:
    """The order of a save: whoever sees the second must find the first."""
    play.put("packs/cc/pack", b"pack" * 100)
    play.put("snapshots/manifest", b"manifest")


@scenario("", OLDER)
def delete_one(play: Play) -> None:
    play.delete("packs/aa/older")


@scenario("", OLDER)
def delete_several(play: Play) -> None:
    play.delete(*OLDER, "absent", "gone/absent")


@scenario("", OLDER)
def put_after_delete(play: Play) -> None:
    play.delete("packs/aa/older")
    play.put("packs/aa/older", b"newer" * 200)
    play.delete("packs/aa/older")


@scenario("", OLDER)
def delete_what_the_dead_had_deleted(play: Play) -> None:
    """The key is gone when the second asks, but its deletion is not durable yet."""
    with suppress(Power), dying_at("sync_folder", by="delete"):
        play.another().delete("packs/aa/older")
    play.delete("packs/aa/older")


@scenario("", OLDER)
def delete_beside_what_the_dead_had_deleted(play: Play) -> None:
    """A deletion makes those beside it durable, whoever asked for them."""
    with suppress(Power), dying_at("sync_folder", by="delete"):
        play.another().delete("packs/aa/older")
    play.delete("packs/aa/absent")
    play.log.acknowledge(Done("packs/aa/older", None))


@scenario("deep/er", {})
def lock_then_put(play: Play) -> None:
    with play.store.lock("locks/one", wait=True):
        play.put("packs/aa/one", b"one")


@scenario("deep/er", {})
def lock_and_put_in_one_folder(play: Play) -> None:
    with play.another().store.lock("packs/aa/lock", wait=True):
        pass
    play.put("packs/aa/one", b"one")


@scenario("", OLDER)
def two_writers_of_one_key(play: Play) -> None:
    def overtaken() -> Iterator[bytes]:
        yield b"slow"
        play.another().put("packs/aa/one", b"fast")

    with suppress(ConflictError):
        play.put("packs/aa/one", b"slow", overtaken())


@scenario("deep/er", {})
def two_writers_into_a_fresh_root(play: Play) -> None:
    def beside() -> Iterator[bytes]:
        play.another().put("packs/aa/two", b"two")
        play.another().put("packs/bb/three", b"three")
        yield b"one"

    play.put("packs/aa/one", b"one", beside())


@scenario("deep/er", {})
def put_where_others_died_making_folders(play: Play) -> None:
    above = len(Path(play.store.root).parents)  # the folders above are synced first
    for count in (1, 2, above, above + 1, above + 2):
        with suppress(Power), dying_at("sync_folder", count=count):
            play.another().put(f"packs/aa/one-{count}", b"one")
    play.put("packs/aa/two", b"two")


@scenario("", OLDER)
def put_that_fails_then_succeeds(play: Play) -> None:
    def failing() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("in the pieces")

    with suppress(ValueError):
        play.put("packs/aa/one", b"half", failing())
    play.log.acknowledge(Done("packs/aa/one", None))
    play.put("packs/aa/one", b"whole")


@scenario("", OLDER)
def tidy_after_the_dead(play: Play) -> None:
    with suppress(Power), dying_at("publish"):
        play.another().put("packs/aa/one", b"one")
    play.store.tidy()
    play.put("packs/aa/one", b"one")


@scenario("deep/er", {})
def put_without_hard_links(play: Play) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", _no_links)
        play.put("packs/aa/one", b"one" * 1000)
        play.put("packs/aa/two", b"two")


@scenario("", OLDER)
def put_without_links_or_renameat2(play: Play) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", _no_links)
        patch.setattr(_files, "_renameat2", lambda temp, final: errno.ENOSYS)
        play.put("packs/aa/one", b"one" * 1000)
        play.put("packs/aa/two", b"two")


def _no_links(temp: str, final: str) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@contextmanager
def dying_at(function: str, *, by: str | None = None, count: int = 1) -> Iterator[None]:
    """The process dies where it calls *function* for the *count*-th time.

    The dead unlink nothing in their `finally`; the kernel closes their files.
    """
    real = getattr(_local, function)
    calls = 0

    def dying(*args: Any) -> Any:
        nonlocal calls
        if by is None or sys._getframe(1).f_code.co_name == by:
            calls += 1
            if calls == count:
                raise Power
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_local, function, dying)
        patch.setattr(_local, "_withdraw", lambda output, temp, final: None)
        yield


# The check


def record(name: str, folder: Path) -> tuple[Log, str]:
    """Play a scenario in *folder*, and say where its store is."""
    home, older, play = SCENARIOS[name]
    folder.mkdir()
    for key, value in older.items():
        LocalStore(folder / home).put(key, [value])
    with recording(folder) as log:
        play(Play(os.path.join(folder, home), log))
    return log, home


def check(state: State, store: LocalStore, older: dict[str, bytes]) -> None:
    """AssertionError, with the state's story, if a promise was broken."""
    legal = promised(state, older)
    visible = everything(store)
    leases = {key for key in visible if "lock" in key}
    for key in {*legal, *visible} - leases:
        found, allowed = visible.get(key), legal.get(key, {None})
        assert found in allowed, f"{key} is {repr(found)}, not in {repr(allowed)}: {state.story}"
    # It goes on from here: litter goes, locks are free, whatever is missing can be put.
    store.tidy()
    names = [name for _, _, files in os.walk(store.root) for name in files]
    assert not [name for name in names if name.startswith(".")], f"litter: {state.story}"
    assert everything(store) == visible, f"tidy took a key: {state.story}"
    for key in leases:
        assert visible[key] == b""
        with store.lock(key, wait=False) as lock:
            assert lock is not None, f"{key} is held by the dead: {state.story}"
    for key in ({*legal} - {*visible}) | {"packs/aa/again", "new/again"}:
        store.put(key, [b"aga", b"in"])
        assert bytes(store.get(key)) == b"again", f"{key} cannot be put: {state.story}"


def promised(state: State, older: dict[str, bytes]) -> dict[str, set[bytes | None]]:
    """What may be under each key, after what was begun and done before the crash."""
    legal: dict[str, set[bytes | None]] = {key: {value} for key, value in older.items()}
    for said in state.acknowledged:
        if isinstance(said, Done):
            legal[said.key] = {said.value}
        else:
            legal.setdefault(said.key, {None}).add(said.value)
    return legal


def everything(store: LocalStore) -> dict[str, bytes]:
    return {key: bytes(store.get(key)) for key in store.keys("")}


def sweep(name: str, folder: Path, states: Callable[[Log], Iterator[State]] = power_cuts) -> int:
    """Check every state that a crash during the scenario can leave; how many there were."""
    log, home = record(name, folder / "recorded")
    count = 0
    for count, state in enumerate(states(log), 1):  # noqa: B007
        state.materialize(folder / "state")
        check(state, LocalStore(folder / "state" / home), SCENARIOS[name][1])
        shutil.rmtree(folder / "state")
    return count


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_cut_breaks_no_promise(name: str, tmp_path: Path) -> None:
    count = sweep(name, tmp_path)
    print(f"{name}: {count} states")
    assert count >= 4


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_breaks_no_promise(name: str, tmp_path: Path) -> None:
    assert sweep(name, tmp_path, kills) >= 4


def test_a_power_cut_during_recovery_breaks_no_promise(tmp_path: Path) -> None:
    """Each state that a cut left is the start of a program that is cut in its turn."""
    log, home = record("put_beside_another", tmp_path / "recorded")
    states = list(power_cuts(log))
    count = 0
    for first in states[:: max(1, len(states) // 10)]:
        folder = tmp_path / "first"
        first.materialize(folder)
        # What is there after the first cut is on the medium.
        older = everything(LocalStore(folder / home))
        with recording(folder) as again:
            play = Play(os.path.join(folder, home), again)
            play.store.tidy()
            play.put("packs/aa/later", b"later")
            play.delete("packs/aa/later")
        for second in power_cuts(again):
            second.materialize(tmp_path / "second")
            check(second, LocalStore(tmp_path / "second" / home), older)
            shutil.rmtree(tmp_path / "second")
            count += 1
        shutil.rmtree(folder)
    print(f"{count} states")
    assert count > 100


# Mutants: the same store with one line left out, which the check above must catch.

Mutant = Callable[[pytest.MonkeyPatch], None]


def skipping_sync_folder(*callers: str) -> Mutant:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        real = _local.sync_folder

        def sync_folder(folder: str) -> None:
            if sys._getframe(1).f_code.co_name not in callers:
                real(folder)

        patch.setattr(_local, "sync_folder", sync_folder)

    mutate.__name__ = f"no_sync_of_the_folder_by_{'_'.join(callers)}"
    return mutate


def no_sync_of_the_file(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_local, "sync_file", lambda fd: None)


def sync_of_the_file_after_its_name(patch: pytest.MonkeyPatch) -> None:
    real = _local.publish

    def publish(temp: str, final: str) -> None:
        real(temp, final)
        fd = os.open(final, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    patch.setattr(_local, "sync_file", lambda fd: None)
    patch.setattr(_local, "publish", publish)


def sync_of_the_folder_before_the_name(patch: pytest.MonkeyPatch) -> None:
    real = _local.publish

    def publish(temp: str, final: str) -> None:
        _files.sync_folder(os.path.dirname(final))
        real(temp, final)

    patch.setattr(_local, "publish", publish)
    skipping_sync_folder("_publish")(patch)


def write_to_the_final_name(patch: pytest.MonkeyPatch) -> None:
    def open_final(folder: str) -> tuple[str, int]:
        final = sys._getframe(1).f_locals["final"]
        fd = os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        return final + ".none", fd

    patch.setattr(_local, "_open_temp", open_final)
    patch.setattr(_local, "publish", lambda temp, final: None)


def replace_instead_of_link(patch: pytest.MonkeyPatch) -> None:
    """`put` looks for the key beforehand, but by then the look is stale."""

    def publish(temp: str, final: str) -> None:
        os.replace(temp, final)  # Looked up when called: the recorder has put its own there.

    patch.setattr(_local, "publish", publish)


def no_sync_of_a_deletion_that_is_gone_already(patch: pytest.MonkeyPatch) -> None:
    unlinked: list[str] = []
    delete, unlink, real = LocalStore.delete, os.unlink, _local.sync_folder

    def begin(store: LocalStore, keys: Iterable[str]) -> None:
        unlinked.clear()
        delete(store, keys)

    def note(path: str, **named: Any) -> None:
        unlink(path, **named)
        unlinked.append(os.path.dirname(path))

    def sync_folder(folder: str) -> None:
        if sys._getframe(1).f_code.co_name != "delete" or folder in unlinked:
            real(folder)

    patch.setattr(LocalStore, "delete", begin)
    patch.setattr(os, "unlink", note)
    patch.setattr(_local, "sync_folder", sync_folder)


def trusts_folders_that_exist(patch: pytest.MonkeyPatch) -> None:
    """Another process may have made them and died before they were durable."""
    real = LocalStore._make_durable

    def make_durable(store: LocalStore, folder: str) -> None:
        if not os.path.isdir(folder):
            real(store, folder)

    patch.setattr(LocalStore, "_make_durable", make_durable)


MUTANTS: list[tuple[Mutant, list[str]]] = [
    (no_sync_of_the_file, ["put_into_an_existing_root", "put_without_hard_links"]),
    (sync_of_the_file_after_its_name, ["put_into_an_existing_root", "put_beside_another"]),
    (skipping_sync_folder("_publish"), ["put_into_an_existing_root", "put_without_hard_links"]),
    (sync_of_the_folder_before_the_name, ["put_into_an_existing_root"]),
    (skipping_sync_folder("_make_durable"), ["put_into_a_fresh_root", "lock_then_put"]),
    (
        skipping_sync_folder("_make_root"),
        ["put_into_a_fresh_root", "put_at_the_top_of_a_fresh_root"],
    ),
    (write_to_the_final_name, ["put_into_an_existing_root", "put_beside_another"]),
    (replace_instead_of_link, ["two_writers_of_one_key"]),
    (skipping_sync_folder("delete"), ["delete_one", "delete_several", "put_after_delete"]),
    (
        no_sync_of_a_deletion_that_is_gone_already,
        ["delete_what_the_dead_had_deleted", "delete_beside_what_the_dead_had_deleted"],
    ),
    (trusts_folders_that_exist, ["put_where_others_died_making_folders"]),
]


@pytest.mark.parametrize(
    ("mutant", "name"), [(mutant, name) for mutant, names in MUTANTS for name in names]
)
def test_the_check_catches(
    mutant: Mutant, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match="crash after operation"):
        sweep(name, tmp_path)


# The file that is replaced: where somebody saves to a path of their own.


def sweep_replacement(folder: Path) -> int:
    """Check that a crash leaves the old file or the new one, and no other after the end."""
    (folder / "recorded").mkdir()
    (folder / "recorded" / "file").write_bytes(b"old" * 100)
    with recording(folder / "recorded") as log:
        with _local.replace_file(folder / "recorded" / "file") as file:
            for _ in range(3):
                file.write(b"new" * 50_000)
        log.acknowledge("replaced")
    count = 0
    for count, state in enumerate(power_cuts(log), 1):  # noqa: B007
        allowed = {b"new" * 150_000} if state.acknowledged else {b"old" * 100, b"new" * 150_000}
        found = state.tree.get("file")
        assert found in allowed, f"{repr(found)}: {state.story}"
    return count


def test_a_power_cut_leaves_the_replaced_file_or_its_replacement(tmp_path: Path) -> None:
    assert sweep_replacement(tmp_path) >= 5


@pytest.mark.parametrize("mutant", [no_sync_of_the_file, skipping_sync_folder("replace_file")])
def test_the_check_of_the_replacement_catches(
    mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match="crash after operation"):
        sweep_replacement(tmp_path)


# The machinery itself


def test_what_is_not_synced_may_be_lost_and_what_is_may_not(tmp_path: Path) -> None:
    with recording(tmp_path) as log:
        fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"abcd")
        os.fsync(fd)
        os.write(fd, b"efgh")
        os.close(fd)
        log.acknowledge("written")
    final = {state.tree.get("file") for state in power_cuts(log) if state.acknowledged}
    assert final == {None, b"abcd", b"abcdef", b"abcd\0\0\0\0", b"abcdefgh"}


def test_what_a_file_object_writes_is_noted_when_it_is_synced(tmp_path: Path) -> None:
    with recording(tmp_path) as log:
        fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
        with open(fd, "wb", closefd=False) as file:
            file.write(b"abcd")
            file.flush()
            os.fsync(fd)
            file.write(b"efgh")
        os.close(fd)
        log.acknowledge("written")
    final = {state.tree.get("file") for state in power_cuts(log) if state.acknowledged}
    assert final == {None, b"abcd", b"abcdef", b"abcd\0\0\0\0", b"abcdefgh"}


def test_a_change_that_goes_past_the_recorder_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"not recorded.*'file'"), recording(tmp_path):
        (tmp_path / "file").write_bytes(b"not by os.write")


def test_a_rename_in_one_folder_is_whole_and_across_two_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_bytes(b"1")
    (tmp_path / "b").mkdir()
    with recording(tmp_path) as log:
        os.rename(tmp_path / "a" / "old", tmp_path / "a" / "new")
    names = {tuple(sorted(state.tree)) for state in power_cuts(log)}
    assert names == {("a", "a/old", "b"), ("a", "a/new", "b")}
    with recording(tmp_path) as log:
        os.rename(tmp_path / "a" / "new", tmp_path / "b" / "new")
    names = {tuple(sorted(state.tree)) for state in power_cuts(log)}
    assert names == {
        ("a", "a/new", "b"),
        ("a", "b", "b/new"),
        ("a", "a/new", "b", "b/new"),
        ("a", "b"),
    }
    assert [sorted(state.tree) for state in kills(log)] == [
        ["a", "a/new", "b"],
        ["a", "b", "b/new"],
    ]


def test_a_lost_folder_takes_all_below_it_along(tmp_path: Path) -> None:
    with recording(tmp_path) as log:
        os.makedirs(tmp_path / "a" / "b")
        fd = os.open(tmp_path / "a", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        log.acknowledge("synced")
    trees = {tuple(sorted(state.tree)) for state in power_cuts(log) if state.acknowledged}
    assert trees == {(), ("a", "a/b")}


def test_many_choices_are_sampled_and_the_extremes_are_among_them(tmp_path: Path) -> None:
    with recording(tmp_path) as log:
        for number in range(12):
            os.mkdir(tmp_path / f"{number:02}")
        log.acknowledge("made")
    last = [state for state in power_cuts(log) if state.acknowledged]
    sizes = [len(state.tree) for state in last]
    assert {0, 1, 11, 12} <= set(sizes)
    assert 2 + 12 + 12 <= len(last) <= 2 + 12 + 12 + 24
    again = [state for state in power_cuts(log) if state.acknowledged]
    assert [state.tree for state in last] == [state.tree for state in again]
