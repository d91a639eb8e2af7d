"""Bad input, and what it gets: the error's type, the file it names, and what to do.

Whatever is wrong with one file, the older versions still load.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.hooked import HookedStore, noise, same, state

import checkpoint
from checkpoint import (
    Checkpointer,
    CheckpointError,
    ConflictError,
    DamagedSnapshotWarning,
    FormatError,
    IntegrityError,
    InvalidNameError,
    LocalStore,
    NotFoundError,
    SerializationError,
    StoreError,
    _format,
    keep_last,
)
from checkpoint.store import _local

SOURCE = Path(checkpoint.__file__).parent.parent
NEWEST = "snapshots/main/@/0000000003.json"


@pytest.fixture
def store() -> HookedStore:
    """Three versions: two small ones inline, the newest with arrays in a pack."""
    store = HookedStore()
    saves = Checkpointer(store)
    saves.save(state(1), metrics={"loss": 1.0})
    saves.save(state(2), metrics={"loss": 2.0})
    saves.save(state(3, 1, 2), metrics={"loss": 3.0}, tags=["good"])
    return store


def members(store: HookedStore, key: str = NEWEST) -> dict[str, Any]:
    return _format.unseal(store.get(key), key)


def steps_back(store: HookedStore) -> None:
    """The older versions load, with a warning that names the damaged file or pack."""
    saves = Checkpointer(store)
    with pytest.warns(DamagedSnapshotWarning, match=r"(0000000003\.json|\.pack)"):
        assert same(saves.load(), state(2))
    assert same(saves.load(version=1), state(1))


# What is not there


def test_a_folder_that_is_no_repository_has_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "0000000001.json").write_text("nor this")
    saves = Checkpointer(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NotFoundError, match=f"{re.escape(str(tmp_path))}.*no snapshot of 'main'"):
        saves.load()
    assert saves.load(default=0) == 0
    assert saves.snapshots() == []
    assert saves.verify() == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "saves"
    path.write_text("a file")
    saves = Checkpointer(path)
    for call in (saves.load, saves.snapshots, lambda: saves.save(1)):
        with pytest.raises(StoreError, match=rf"{re.escape(str(path))} is a file, not a folder"):
            call()
    assert path.read_text() == "a file"


def test_versions_and_tags_that_are_not_there(store: HookedStore) -> None:
    saves = Checkpointer(store)
    with pytest.raises(NotFoundError, match="no version 9 of 'main'") as caught:
        saves.load(version=9)
    assert (caught.value.name, caught.value.version) == ("main", 9)
    for call in (
        lambda: saves.load(tag="absent"),
        lambda: saves.untag("absent"),
        lambda: saves.load(best="accuracy"),
        lambda: saves.tag(9, "good"),
        lambda: saves.delete(1, 9),
        lambda: saves.export(9, "nowhere"),
    ):
        with pytest.raises(NotFoundError, match="'main'"):
            call()
    assert len(saves) == 3


# Damage, and what others wrote

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda raw: raw[: len(raw) * 2 // 3],
    "altered": lambda raw: raw[:200] + bytes([raw[200] ^ 8]) + raw[201:],
    "empty": lambda raw: b"",
    "longer": lambda raw: raw + b"\n",
    "another file": lambda raw: b"\x89PNG\r\n\x1a\n" + raw,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_named_and_passed_over(store: HookedStore, damage: str) -> None:
    store.replace(NEWEST, DAMAGES[damage](bytes(store.get(NEWEST))))
    steps_back(store)
    with pytest.raises(IntegrityError, match=r"0000000003\.json") as caught:
        Checkpointer(store).load(version=3)
    assert (caught.value.name, caught.value.version, caught.value.key) == ("main", 3, NEWEST)
    with pytest.warns(
        DamagedSnapshotWarning, match=r"version 3 .*left it out; delete\(3\) removes it"
    ):
        assert [s.version for s in Checkpointer(store).snapshots()] == [1, 2]
    (found,) = Checkpointer(store).verify()
    assert (type(found), found.key, found.version) == (IntegrityError, NEWEST, 3)


@pytest.mark.parametrize("damage", [*DAMAGES, "missing"])
def test_a_damaged_pack_is_named_and_passed_over(store: HookedStore, damage: str) -> None:
    (pack,) = store.keys("packs/")
    raw = bytes(store.get(pack))
    store.replace(pack, None if damage == "missing" else DAMAGES[damage](raw))
    if damage == "longer":  # Nothing that is needed is changed.
        assert same(Checkpointer(store).load(), state(3, 1, 2))
        (found,) = Checkpointer(store).verify()
        assert found.key == pack
        return
    steps_back(store)
    with pytest.raises(IntegrityError, match=pack) as caught:
        Checkpointer(store).load(version=3)
    assert (caught.value.name, caught.value.version, caught.value.key) == ("main", 3, pack)
    (found,) = Checkpointer(store).verify()
    assert (type(found), found.key, found.version) == (IntegrityError, pack, 3)


@pytest.mark.parametrize("damage", [*DAMAGES, "missing"])
def test_a_damaged_format_file_loses_nothing(store: HookedStore, damage: str) -> None:
    raw = bytes(store.get("format.json"))
    broken = raw[:20] + bytes([raw[20] ^ 1]) + raw[21:]
    damaged = DAMAGES | {"altered": lambda raw: broken}
    store.replace("format.json", None if damage == "missing" else damaged[damage](raw))
    with pytest.warns(DamagedSnapshotWarning, match=r"format\.json"):
        assert same(Checkpointer(store).load(), state(3, 1, 2))
    saves = Checkpointer(store)
    with pytest.warns(DamagedSnapshotWarning, match=r"format\.json"):
        assert saves.save(state(4)).version == 4
    assert same(saves.load(), state(4))
    (found,) = saves.verify()
    assert isinstance(found, IntegrityError)
    assert found.key == "format.json" or "format.json" in str(found)


def test_a_newer_repository_is_refused(store: HookedStore) -> None:
    store.replace("format.json", _format.seal({"format": 2, "repository": "x"}))
    saves = Checkpointer(store)
    for call in (saves.load, saves.snapshots, lambda: saves.save(4), lambda: saves.load(version=1)):
        with pytest.raises(FormatError, match=r"format\.json.*format 2.*newer"):
            call()
    assert len(store.keys("snapshots/")) == 3


def test_a_newer_manifest_is_refused_and_never_stepped_over(store: HookedStore) -> None:
    """It is whole, and it is the newest: to load an older one would hide it."""
    store.replace(NEWEST, _format.seal({"format": 2}))
    saves = Checkpointer(store)
    with pytest.raises(FormatError, match=r"0000000003\.json has format 2.*newer") as caught:
        saves.load()
    assert caught.value.version == 3
    assert same(saves.load(version=2), state(2))


def test_a_manifest_of_another_place_is_named(store: HookedStore) -> None:
    raw = bytes(store.get("snapshots/main/@/0000000001.json"))
    store.replace(NEWEST, raw)
    with pytest.raises(IntegrityError, match=r"0000000003\.json holds version 1 of 'main'"):
        Checkpointer(store).load(version=3)
    with pytest.warns(DamagedSnapshotWarning):
        assert same(Checkpointer(store).load(), state(2))


def test_a_manifest_of_another_repository_is_named(store: HookedStore) -> None:
    other = HookedStore()
    saves = Checkpointer(other)
    for step in (1, 2, 3):
        saves.save(state(-step))
    store.replace(NEWEST, bytes(other.get(NEWEST)))
    with pytest.raises(IntegrityError, match=r"0000000003\.json belongs to another repository"):
        Checkpointer(store).load(version=3)


def test_an_unknown_codec_is_named(store: HookedStore) -> None:
    changed = members(store)
    changed["blobs"][0][3] = "brotli"
    store.replace(NEWEST, _format.seal(changed))
    with pytest.raises(FormatError, match=r"unknown codec 'brotli'.*zstd.*newer") as caught:
        Checkpointer(store).load()
    assert caught.value.key == NEWEST
    assert same(Checkpointer(store).load(version=2), state(2))


# Manifests that are sealed and lie

STRANGE: list[Any] = [
    None, True, -1, 0, 1, 2**40, 2**70, 1.5, "", "x", "9" * 30, "\ud800", [], [None], [[]],
    [["x"]], {}, {"x": None}, {"x": "y"}, [{"x": 1}], [0, 1], [1, "x"],
]  # fmt: skip


def outcomes(store: HookedStore, expected: dict[int, Any]) -> None:
    """Nothing but right states and errors of ours, whatever is called."""
    allowed = (FormatError, IntegrityError, NotFoundError)
    with contextlib.suppress(*allowed):
        loaded = Checkpointer(store).load()
        assert any(same(loaded, each) for each in expected.values())
    for version, each in expected.items():
        with contextlib.suppress(*allowed):
            assert same(Checkpointer(store).load(version=version), each)
    with contextlib.suppress(*allowed):
        list(Checkpointer(store).snapshots())
    assert all(isinstance(error, CheckpointError) for error in Checkpointer(store).verify())
    with contextlib.suppress(*allowed):
        Checkpointer(store).prune()
    with contextlib.suppress(*allowed):
        Checkpointer(store, keep=keep_last(9)).save(1)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value in a document, and to the values in the first of equal rows."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 2)):
            yield from places(value[index], (*path, index))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(document))
    target = copy
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return copy


@pytest.mark.filterwarnings("ignore::checkpoint.DamagedSnapshotWarning")
@pytest.mark.filterwarnings("ignore::checkpoint.RetentionWarning")
@pytest.mark.parametrize("key", ["format.json", "snapshots/main/@/0000000002.json", NEWEST])
def test_a_sealed_document_with_any_strange_value_is_refused_or_harmless(
    store: HookedStore, key: str
) -> None:
    document = members(store, key)
    expected = {1: state(1), 2: state(2), 3: state(3, 1, 2), 4: 1}
    tried = 0
    for path in places(document):
        if not path or path == ("format",):
            continue
        for value in STRANGE:
            double = HookedStore()
            double._objects = dict(store._objects)
            try:
                double.replace(key, _format.seal(changed(document, path, value)))
            except (UnicodeEncodeError, ValueError):
                continue
            try:
                outcomes(double, expected)
            except Exception as error:
                raise AssertionError(f"{key} with {path} = {value!r}: {error!r}") from error
            tried += 1
    for missing in document:
        rest = {name: value for name, value in document.items() if name != missing}
        store.replace(key, _format.seal(rest))
        outcomes(store, expected)
    assert tried > 20


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a blob longer than its pack": lambda m: m["blobs"][0].__setitem__(7, 2**23),
    "a raw blob of two lengths": lambda m: m["blobs"][0].__setitem__(1, 2**23),
    "a blob behind the end": lambda m: m["blobs"][0].__setitem__(6, 2**40),
    "a blob of 2 GiB": lambda m: m["blobs"][0].__setitem__(1, 2**31),
    "a part of 2 TiB": lambda m: m["parts"][0].__setitem__("length", 2**41),
    "a part of too many blobs": lambda m: m["parts"][0].__setitem__("blobs", 10**9),
    "a part without blobs": lambda m: m["parts"][0].__setitem__("blobs", 0),
    "no parts": lambda m: m.__setitem__("parts", []),
    "no stream": lambda m: (m["parts"].pop(), m["blobs"].pop()),
    "a stream in the place of a buffer": lambda m: m["parts"][0].__setitem__("kind", "stream"),
    "a buffer in the place of the stream": lambda m: m["parts"][-1].__setitem__("kind", "buffer"),
    "parts in another order": lambda m: (m["parts"].reverse(), m["blobs"].reverse()),
    "a base that is not there": lambda m: m["blobs"][0].__setitem__(4, "0" * 64),
    "a filter": lambda m: m["blobs"][0].__setitem__(2, "bcj"),
    "an unknown transform": lambda m: m["parts"][-1].__setitem__("transforms", ["rot13"]),
    "an unknown member": lambda m: m.__setitem__("surprise", 1),
    "a missing member": lambda m: m.pop("writer"),
    "a date that is none": lambda m: m.__setitem__("created", "yesterday"),
    "a metric that is none": lambda m: m["metrics"].__setitem__("loss", "low"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_sealed_manifest_that_lies_is_refused(store: HookedStore, lie: str) -> None:
    document = members(store)
    LIES[lie](document)
    store.replace(NEWEST, _format.seal(document))
    with pytest.raises((FormatError, IntegrityError)) as caught:
        Checkpointer(store).load(version=3)
    assert caught.value.version == 3
    assert caught.value.key is not None
    assert Checkpointer(store).verify() != []
    assert same(Checkpointer(store).load(version=2), state(2))


def test_a_pack_that_is_said_to_be_longer_than_it_is_costs_no_memory(store: HookedStore) -> None:
    document = members(store)
    (pack,) = document["packs"]
    document["packs"][pack] = 2**60
    row = document["blobs"][0]
    row[1] = row[7] = 2**24
    document["parts"][0] |= {"length": 2**24}
    store.replace(NEWEST, _format.seal(document))
    with pytest.raises(IntegrityError, match=rf"{pack}.*truncated"):
        Checkpointer(store).load(version=3)


# Names and arguments


@pytest.mark.parametrize(
    "name",
    ["../x", "/x", "x/", "x//y", "x/../y", ".x", "x.", "", "a b", "x\n", "x\0", "é", "@", "x/@/y",
     "con", "NUL.txt", "a/lpt1", "C:x", "C:\\x", "x" * 201, "~", "-x", None, 3],
)  # fmt: skip
def test_a_name_that_escapes_is_refused_with_the_rule(tmp_path: Path, name: Any) -> None:
    with pytest.raises(InvalidNameError, match=r"letters, digits|Windows keeps") as caught:
        Checkpointer(tmp_path / "s", name)
    assert isinstance(caught.value, (FormatError, ValueError))
    saves = Checkpointer(tmp_path / "s")
    with pytest.raises(InvalidNameError):
        saves.named(name)
    if name not in ("x/@/y",):
        with pytest.raises((InvalidNameError, TypeError)):
            saves.save(1, tags=[name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("first", ["save", "load", "snapshots", "len", "tag"])
@pytest.mark.parametrize("other", ["Main", "MAIN", "mAin"])
def test_a_name_that_differs_only_by_case_is_refused(
    store: HookedStore, other: str, first: str
) -> None:
    """Whatever was asked of it before: many programs load before they save."""
    saves = Checkpointer(store, other)
    if first == "load":
        assert saves.load(default=None) is None
    elif first == "snapshots":
        assert saves.snapshots() == []
    elif first == "len":
        assert len(saves) == 0
    elif first == "tag":
        with pytest.raises(NotFoundError):
            saves.tag(1, "x")
    for _ in range(2):
        with pytest.raises(InvalidNameError, match=f"'{other}' differs from 'main' only by case"):
            saves.save(1)
    assert store.keys(f"snapshots/{other}/") == []
    assert saves.named("another").save(1).version == 1


@pytest.mark.parametrize(("old", "new"), [("runs/a", "Runs/b"), ("runs", "Runs/b"), ("A/b", "a")])
def test_folders_of_names_that_differ_only_by_case_are_refused(old: str, new: str) -> None:
    """Where case does not count, both would lie in one folder."""
    store = HookedStore()
    Checkpointer(store, old).save(1)
    with pytest.raises(InvalidNameError, match="only by case"):
        Checkpointer(store, new).save(1)


def test_a_misspelt_codec_lists_what_is_possible(tmp_path: Path) -> None:
    for codec in ("zst", "zstd:", "zstd:99", "zstd:-1", "none:1", "", "ZSTD", "zstd:9:9"):
        with pytest.raises(ValueError, match=r"'zstd'.*'gzip'.*'lzma'.*'none'"):
            Checkpointer(tmp_path, codec=codec)
        with pytest.raises(ValueError, match=r"'zstd'.*'gzip'.*'lzma'.*'none'"):
            checkpoint.dumps(1, codec=codec)


@pytest.mark.parametrize(
    "meta", [object(), {1, 2}, b"bytes", float("nan"), {"x": 1j}, [float("inf")], "x" * (1 << 21)]
)
def test_a_meta_that_is_no_json_value_is_refused(store: HookedStore, meta: Any) -> None:
    with pytest.raises(ValueError, match="meta"):
        Checkpointer(store).save(1, meta=meta)
    assert len(Checkpointer(store)) == 3


@pytest.mark.parametrize("meta", ["\ud800", {"\udfff": 1}, ["ok", "\ud83d"]])
def test_a_meta_that_is_no_text_is_refused_as_well(store: HookedStore, meta: Any) -> None:
    """A lone surrogate has no UTF-8."""
    with pytest.raises(ValueError, match="meta"):
        Checkpointer(store).save(1, meta=meta)
    assert len(Checkpointer(store)) == 3


@pytest.mark.parametrize("loss", ["low", None, [1], 10**400])
def test_a_metric_that_is_no_number_is_refused(store: HookedStore, loss: Any) -> None:
    metrics = {"loss": loss}
    with pytest.raises(ValueError, match="metric 'loss' must be a number"):
        Checkpointer(store).save(1, metrics=metrics)


def test_a_metric_of_any_number_and_any_name_comes_back(store: HookedStore) -> None:
    metrics = {"big": 10**300, "tiny": 5e-324, "neg": -0.0, "naïve ✓": float("nan"), "t": True}
    Checkpointer(store).save(1, metrics=metrics)
    found = Checkpointer(store).snapshots()[-1].metrics
    assert {k: repr(float(v)) if k != "big" else v for k, v in found.items()} == {
        "big": 10**300, "tiny": "5e-324", "neg": "-0.0", "naïve ✓": "nan", "t": "1.0",
    }  # fmt: skip


def test_wrong_arguments_are_told(store: HookedStore, tmp_path: Path) -> None:
    saves = Checkpointer(store)
    with pytest.raises(TypeError, match="one of version, tag and best"):
        saves.load(version=1, tag="x")
    with pytest.raises(TypeError, match=r"tags is a collection"):
        saves.save(1, tags="good")
    with pytest.raises(TypeError, match="store is a path or a Store"):
        Checkpointer(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="keep is a retention policy"):
        Checkpointer(tmp_path, keep=3)  # type: ignore[arg-type]


def test_a_closed_checkpointer_says_so(store: HookedStore) -> None:
    with Checkpointer(store) as saves:
        saves.save(1)
    for call in (
        lambda: saves.save(1), saves.load, saves.snapshots, saves.verify, saves.prune,
        lambda: len(saves), lambda: list(saves), lambda: saves.tag(1, "x"),
        lambda: saves.delete(1), lambda: saves.export(1, "x"), lambda: saves.named("other"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="closed"):
            call()
    saves.close()
    assert "main" in repr(saves)


# The disk

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(work: Callable[[], object]) -> None:
    """Run *work* in a forked child, and fail with its traceback if it fails."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback

            os.write(writable, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(code)
    os.close(writable)
    with open(readable, "rb") as file:
        said = file.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said


def as_nobody() -> None:
    """Root writes wherever it likes."""
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)


@needs_fork
def test_a_read_only_folder_loads_and_lists_and_says_why_it_does_not_save() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        root = Path(above) / "saves"
        saves = Checkpointer(root)
        saves.save(state(1), tags=["good"])
        saves.save(state(2, 1))
        folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | 0o005)

        def work() -> None:
            as_nobody()
            fresh = Checkpointer(root)
            assert same(fresh.load(), state(2, 1))
            assert same(fresh.load(tag="good"), state(1))
            assert [s.version for s in fresh] == [1, 2]
            assert fresh.verify() == []
            for call in (
                lambda: fresh.save(state(3)),
                lambda: fresh.save(state(3, 1)),
                lambda: fresh.delete(1),
                lambda: fresh.tag(1, "x"),
                fresh.prune,
            ):
                with pytest.raises(StoreError, match=rf"{root}.*permission denied") as caught:
                    call()
                assert isinstance(caught.value.__cause__, PermissionError)
                assert not caught.value.retryable
            assert [s.version for s in Checkpointer(root)] == [1, 2]

        before = sorted(root.rglob("*"))
        in_child(work)
        assert sorted(root.rglob("*")) == before
        for folder in folders:
            folder.chmod(0o755)
        assert saves.save(state(3, 1)).version == 3


def test_a_folder_that_vanishes_is_an_error_and_then_a_new_beginning(tmp_path: Path) -> None:
    root = tmp_path / "saves"
    saves = Checkpointer(root)
    saves.save(state(1, 1))
    shutil.rmtree(root)
    with pytest.raises(NotFoundError, match=re.escape(str(root))):
        saves.load()
    with pytest.raises(StoreError, match=rf"{re.escape(str(root))}.*vanished"):
        saves.save(state(2, 1))
    assert not root.exists(), "a failed save made the folder anew"
    saved = saves.save(state(3, 1))
    assert saved.version > 1
    assert same(Checkpointer(root).load(), state(3, 1))
    assert Checkpointer(root).verify() == []


def test_a_folder_that_vanishes_before_a_tiny_save(tmp_path: Path) -> None:
    root = tmp_path / "saves"
    saves = Checkpointer(root)
    saves.save(1)
    shutil.rmtree(root)
    with pytest.raises(StoreError, match=rf"{re.escape(str(root))}.*vanished"):
        saves.save(2)
    saves.save(3)
    assert Checkpointer(root).load() == 3
    assert Checkpointer(root).verify() == []


def test_a_full_disk_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = Checkpointer(tmp_path / "saves")
    saves.save(state(1))

    def full(fd: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_local.os, "write", full)
    with pytest.raises(StoreError, match=r"the disk is full; free some space") as caught:
        saves.save(state(2, 1))
    assert not caught.value.retryable
    monkeypatch.undo()
    assert same(saves.load(), state(1))
    assert not [p for p in (tmp_path / "saves").rglob("*") if p.name.startswith(".")]
    assert same(saves.load(version=saves.save(state(2, 1)).version), state(2, 1))


# Forks, interrupts, progress


@needs_fork
def test_after_a_fork_both_save(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path / "saves", keep=keep_last(100))
    saves.save(state(0, 1))

    def work() -> None:
        for step in range(10):
            saved = saves.save(state(step, 1, step))
            assert same(saves.load(version=saved.version), state(step, 1, step))

    in_child(work)
    work()
    assert [s.version for s in saves] == list(range(1, 22))
    assert Checkpointer(tmp_path / "saves").verify() == []


@needs_fork
def test_a_fork_in_the_middle_of_a_save_leaves_it_to_the_parent(tmp_path: Path) -> None:
    """The child neither ends the parent's lease nor waits for its turn."""
    saves = Checkpointer(tmp_path / "saves")
    saves.save(state(0, 1))
    forks: list[int] = []

    class Forking:
        def __reduce__(self) -> Any:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    assert saves.save(state(7, 1)).version == 2
                    code = 0
                finally:
                    os._exit(code)
            forks.append(os.waitpid(pid, 0)[1])
            assert list((tmp_path / "saves" / "leases" / "writers").iterdir()), "the lease is gone"
            return int, (3,)

    assert saves.save([Forking(), noise(1)]).version == 3
    assert forks == [0]
    assert saves.verify() == []
    assert not [p for p in (tmp_path / "saves" / "leases").rglob("*") if p.is_file()]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, MemoryError])
@pytest.mark.parametrize("at", ["begin", "end"])
def test_a_save_that_is_interrupted_leaves_nothing(
    tmp_path: Path, error: type[BaseException], at: str
) -> None:
    class Interrupting:
        def __reduce__(self) -> Any:
            raise error

    saves = Checkpointer(tmp_path / "saves")
    saves.save(state(1, 1))
    before = sorted((tmp_path / "saves").rglob("*"))
    noisy = [noise(seed, 2 << 20).tobytes() for seed in (2, 3, 4)]
    graph = [Interrupting(), *noisy] if at == "begin" else [*noisy, Interrupting()]
    with pytest.raises((error, SerializationError)):
        saves.save(graph)
    after = sorted((tmp_path / "saves").rglob("*"))
    assert [p for p in after if p.is_file()] == [p for p in before if p.is_file()]
    assert same(saves.load(), state(1, 1))
    assert saves.save(state(2, 1)).version == 2
    assert saves.prune() == 0


def test_an_interrupt_in_the_middle_of_a_pack_leaves_nothing(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path / "saves")
    saves.save(state(1, 1))
    before = [p for p in sorted((tmp_path / "saves").rglob("*")) if p.is_file()]

    def progress(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saves.save(state(2, 2, 3, 4, 5), progress=progress)
    assert [p for p in sorted((tmp_path / "saves").rglob("*")) if p.is_file()] == before
    assert same(saves.load(), state(1, 1))


def test_ctrl_c_in_a_program_leaves_the_older_version(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import os, signal, sys
        from checkpoint import Checkpointer
        class Slow:
            def __reduce__(self):
                os.kill(os.getpid(), signal.SIGINT)
                return int, (1,)
        saves = Checkpointer(sys.argv[1])
        saves.save("whole")
        saves.save([os.urandom(9_000_000), Slow(), os.urandom(9_000_000)])
        """
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "saves")]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
    saves = Checkpointer(tmp_path / "saves")
    assert saves.load() == "whole"
    assert [s.version for s in saves] == [1]
    files = {p.name for p in (tmp_path / "saves").rglob("*") if p.is_file()}
    assert files == {"format.json", "0000000001.json"}


PROGRESS = {
    "inline": lambda: {"a": 1},
    "arrays": lambda: state(1, 1, 2, 1),
    "large": lambda: [noise(1, 9 << 20), noise(2, 3 << 20).tobytes()],
    "a table of its own": lambda: [noise(seed % 7) for seed in range(1100)],
}


@pytest.mark.parametrize("kind", PROGRESS)
def test_progress_grows_to_its_total_on_save_load_and_verify(store: HookedStore, kind: str) -> None:
    saves = Checkpointer(store, "progress")
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))

    def check(total: int) -> None:
        assert calls
        assert {all for _, all in calls} == {total}
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)
        assert calls[-1][0] == total
        calls.clear()

    for _ in range(2):  # New chunks, and known ones.
        snapshot = saves.save(PROGRESS[kind](), progress=progress)
        check(snapshot.size)
    saves.load(progress=progress)
    check(snapshot.size)
    assert saves.verify(progress=progress) == []
    check(sum(s.size for name in ("main", "progress") for s in saves.named(name)))


def test_a_file_to_import_that_is_damaged_or_no_snapshot_changes_nothing(
    store: HookedStore, tmp_path: Path
) -> None:
    path = tmp_path / "one.ckpt"
    Checkpointer(store).export(3, path)
    raw = path.read_bytes()
    saves = Checkpointer(store)
    for broken in (b"", b"text", raw[:-1], raw[:4], raw[:100] + b"x" + raw[101:]):
        path.write_bytes(broken)
        before = store.keys("")
        with pytest.raises((FormatError, IntegrityError)):
            saves.import_(path)
        assert store.keys("") == before
    path.write_bytes(raw)
    assert saves.import_(path).version == 4
    assert same(saves.load(), state(3, 1, 2))


@needs_fork
def test_a_snapshot_is_imported_from_a_pipe_that_gives_little_at_a_time(
    store: HookedStore,
) -> None:
    import io

    class Trickling(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size, 3) if size and size > 0 else size)

    whole = io.BytesIO()
    Checkpointer(store).export(3, whole)
    saved = Checkpointer(store).import_(Trickling(whole.getvalue()))
    assert same(Checkpointer(store).load(version=saved.version), state(3, 1, 2))


def test_a_local_store_survives_pickling(tmp_path: Path) -> None:
    import pickle

    copy = pickle.loads(pickle.dumps(LocalStore(tmp_path)))
    assert copy.root == str(tmp_path)


def test_a_folder_in_the_place_of_a_manifest_ends_a_save_with_its_name(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path)
    saves.save(1)
    (tmp_path / "snapshots/main/@/0000000002.json").mkdir()
    for program in (saves, Checkpointer(tmp_path)):
        with pytest.raises(ConflictError, match=r"no manifest is at .*0000000002\.json"):
            program.save(2)
        assert program.load() == 1


def test_a_manifest_on_a_bad_sector_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = Checkpointer(tmp_path)
    for turn in range(3):
        saves.save(turn)

    def unreadable(path: Any, *more: Any, **options: Any) -> Any:
        if str(path).endswith("0000000003.json"):
            raise OSError(errno.EIO, "Input/output error", path)
        return open(path, *more, **options)

    monkeypatch.setattr("checkpoint.store._local.open", unreadable, raising=False)
    with pytest.warns(DamagedSnapshotWarning, match=r"0000000003\.json cannot be read"):
        assert Checkpointer(tmp_path).load() == 1
    assert Checkpointer(tmp_path).save("next").version == 4
