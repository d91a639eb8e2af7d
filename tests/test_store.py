"""Both stores under the contract, and what a folder adds: processes, forks, other filesystems."""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import pickle
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import checkpoint
from checkpoint.errors import ConflictError, IntegrityError, NotFoundError, StoreError
from checkpoint.store import LocalStore, Locking, Mappable, MemoryStore, Store, _files, _local
from checkpoint.testing import (
    CrashingStore,
    LockingContract,
    MappableContract,
    SimulatedCrash,
    StoreContract,
)

SOURCE = Path(checkpoint.__file__).parent.parent
NEVER = 10**9

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
needs_links = pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd")


class TestLocalStore(StoreContract, LockingContract, MappableContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(tmp_path / "root")


class TestMemoryStore(StoreContract, LockingContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestCrashingStore(StoreContract, LockingContract):
    @pytest.fixture
    def store(self) -> Store:
        return CrashingStore(MemoryStore(), crash_at=NEVER)


class TestCrashingStoreOfALocalStore(MappableContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return CrashingStore(LocalStore(tmp_path / "root"), crash_at=NEVER)


@needs_proc
class TestLocalStoreWhereOpenFilesStay(StoreContract, LockingContract):
    """Windows's rule, which its own sharing modes enforce there."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        open_files_stay(monkeypatch)
        monkeypatch.setattr(os, "fsync", lambda fd: None)
        return LocalStore(tmp_path / "root")


class TestLocalStoreWithNoLinksButRenameat2(StoreContract, LockingContract):
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        monkeypatch.setattr(os, "link", _refusing(errno.EPERM))
        monkeypatch.setattr(os, "fsync", lambda fd: None)  # The first class waits for the disk.
        return LocalStore(tmp_path / "root")


class TestLocalStoreWithNeither(StoreContract, LockingContract):
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        monkeypatch.setattr(os, "link", _refusing(errno.ENOTSUP))
        monkeypatch.setattr(_files, "_renameat2", lambda temp, final: errno.ENOSYS)
        monkeypatch.setattr(os, "fsync", lambda fd: None)
        return LocalStore(tmp_path / "root")


# Where a file that is open can be neither moved nor removed


def open_files_stay(patch: pytest.MonkeyPatch) -> None:
    """Refuse to move or remove what this process has open, and tell the store so."""
    for module in (_files, _local):
        patch.setattr(module, "OPEN_FILES_STAY", True)
    # To look and to remove is one act there: nothing is opened in between.
    one_act = threading.Lock()
    for verb in ("link", "unlink", "rename", "replace"):
        patch.setattr(os, verb, _refusing_what_is_open(getattr(os, verb), one_act))
    patch.setattr(os, "open", _guarded(os.open, one_act))


def _refusing_what_is_open(
    real: Callable[..., None], one_act: threading.Lock
) -> Callable[..., None]:
    def call(path: str, *others: str) -> None:
        with one_act:
            for fd in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.fstat(int(fd)), os.stat(path)):
                        break
            else:
                real(path, *others)
                return
        raise PermissionError(errno.EACCES, "the file is open", path)

    return call


def _guarded(real: Callable[..., int], one_act: threading.Lock) -> Callable[..., int]:
    def call(*args: Any, **options: Any) -> int:
        with one_act:
            return real(*args, **options)

    return call


@needs_proc
@pytest.mark.parametrize("links", [True, False])
def test_where_open_files_stay_a_failed_put_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    open_files_stay(monkeypatch)
    if not links:
        monkeypatch.setattr(os, "link", _refusing(errno.EPERM))
    store = LocalStore(tmp_path)
    store.put("a/older", [b"older"])
    with pytest.raises(ValueError, match="in the pieces"):
        store.put("a/key", _raising(ValueError("in the pieces")))
    with monkeypatch.context() as patch:
        patch.setattr(_local, "publish", _refusing(errno.EIO))
        with pytest.raises(StoreError):
            store.put("a/key", [b"bytes"])
    assert _files_below(tmp_path) == ["a/older"]
    with monkeypatch.context() as patch:
        patch.setattr(_local, "sync_folder", _refusing(errno.EIO))
        with pytest.raises(StoreError):
            store.put("a/key", [b"published, and withdrawn"])
    assert _files_below(tmp_path) == ["a/older"]


@needs_proc
def test_where_open_files_stay_a_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_files_stay(monkeypatch)
    final = tmp_path / "file"
    for content in (b"first", b"second"):
        with _local.replace_file(final) as file:
            file.write(content)
        assert final.read_bytes() == content
    with pytest.raises(ValueError, match="in the block"), _local.replace_file(final) as file:
        raise ValueError("in the block")
    assert final.read_bytes() == b"second"
    assert _files_below(tmp_path) == ["file"]


@needs_proc
def test_where_open_files_stay_what_the_dead_left_is_tidied_and_the_living_spared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_files_stay(monkeypatch)
    store = LocalStore(tmp_path)
    (tmp_path / f"{_files.TEMP}dead").touch()

    def tidied() -> Iterator[bytes]:
        store.tidy()
        yield b"bytes"

    store.put("key", tidied())
    assert _files_below(tmp_path) == ["key"]


@needs_proc
def test_the_rule_of_open_files_catches_who_never_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_files_stay(monkeypatch)
    monkeypatch.setattr(_local._Output, "let_go", lambda output: None)
    with pytest.raises(StoreError, match="permission denied"):
        LocalStore(tmp_path).put("key", [b"bytes"])


# Maps


def _store_of_one(home: Path, size: int = 100_000) -> LocalStore:
    store = LocalStore(home)
    store.put("key", [bytes(size)])
    return store


@needs_proc
def test_a_map_that_is_dropped_leaves_nothing_open(tmp_path: Path) -> None:
    store = _store_of_one(tmp_path)
    before = _open_files()
    maps = [store.map("key", 0, 100_000)[50:] for _ in range(5)]
    # Before 3.13 Python keeps a descriptor of its own for each map.
    assert _open_files() == before + (0 if sys.version_info >= (3, 13) else 5)
    for start, stop, error in [(0, 100_001, IntegrityError), (-1, 2, ValueError)]:
        with pytest.raises(error):
            store.map("key", start, stop)
    maps.clear()
    assert _open_files() == before


@pytest.mark.skipif(sys.platform != "linux", reason="how much may be mapped is the system's")
def test_a_map_may_be_larger_than_memory(tmp_path: Path) -> None:
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
        pytest.skip("this system reserves memory for each map")
    store = _store_of_one(tmp_path, size=10)
    size = 1 << 41
    os.truncate(tmp_path / "key", size)
    mapped = store.map("key", 64, size)
    mapped[0] = 1
    assert (mapped[0], mapped[-1], len(mapped)) == (1, 0, size - 64)


@pytest.mark.parametrize("code", [errno.ENODEV, errno.ENOMEM, errno.EMFILE])
def test_a_file_that_cannot_be_mapped_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store = _store_of_one(tmp_path)
    monkeypatch.setattr(mmap, "mmap", _refusing(code))
    with pytest.raises(StoreError) as caught:
        store.map("key", 0, 10)
    assert caught.value.key == "key"
    assert caught.value.__cause__.errno == code
    assert type(caught.value) is StoreError


# Links


@needs_links
def test_tidying_does_not_leave_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{_files.TEMP}anothers").write_bytes(b"not ours")
    store = LocalStore(tmp_path / "root")
    store.put("a/key", [b"bytes"])
    (tmp_path / "root/link").symlink_to(outside)
    (tmp_path / "root/a/deeper").symlink_to(outside)
    (tmp_path / f"root/a/{_files.TEMP}link").symlink_to(outside / f"{_files.TEMP}anothers")
    (tmp_path / f"root/a/{_files.TEMP}dead").touch()
    store.tidy()
    assert os.listdir(outside) == [f"{_files.TEMP}anothers"]
    assert sorted(os.listdir(tmp_path / "root/a")) == [f"{_files.TEMP}link", "deeper", "key"]


@needs_links
def test_a_store_may_itself_be_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    store = LocalStore(tmp_path / "root")
    store.put("a/key", [b"bytes"])
    (tmp_path / f"disk/{_files.TEMP}dead").touch()
    store.tidy()
    assert _files_below(tmp_path / "disk") == ["a/key"]


@needs_links
def test_keys_behind_a_link_are_listed(tmp_path: Path) -> None:
    LocalStore(tmp_path / "disk").put("key", [b"bytes"])
    (tmp_path / "root").mkdir()
    (tmp_path / "root/packs").symlink_to(tmp_path / "disk")
    assert LocalStore(tmp_path / "root").keys("") == ["packs/key"]


# Other filesystems


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
@pytest.mark.parametrize("renameat2", ["works", errno.ENOSYS, errno.EINVAL])
def test_without_hard_links_a_put_still_creates_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, renameat2: Any
) -> None:
    linked = _refusing(code)
    monkeypatch.setattr(os, "link", linked)
    if renameat2 != "works":
        monkeypatch.setattr(_files, "_renameat2", lambda temp, final: renameat2)
    store = LocalStore(tmp_path)

    def overtaken() -> Iterator[bytes]:
        yield b"slow"
        store.put("a/key", [b"fast"])

    with pytest.raises(ConflictError):
        store.put("a/key", overtaken())
    assert linked.calls == 2
    assert bytes(store.get("a/key")) == b"fast"
    assert _files_below(tmp_path) == ["a/key"]


def test_another_error_of_link_is_not_taken_for_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", _refusing(errno.EIO))
    with pytest.raises(StoreError):
        LocalStore(tmp_path).put("key", [b"bytes"])
    assert _files_below(tmp_path) == []


def test_an_error_of_the_rename_is_a_store_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", _refusing(errno.EPERM))
    monkeypatch.setattr(_files, "_renameat2", lambda temp, final: errno.EIO)
    with pytest.raises(StoreError) as caught:
        LocalStore(tmp_path).put("key", [b"bytes"])
    assert caught.value.__cause__.errno == errno.EIO
    assert _files_below(tmp_path) == []


def test_a_rename_lock_left_by_the_dead_is_no_key_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", _refusing(errno.EPERM))
    monkeypatch.setattr(_files, "_renameat2", lambda temp, final: errno.ENOSYS)
    listed = []
    rename = os.rename

    def watch(temp: str, final: str) -> None:
        listed.append(store.keys(""))
        rename(temp, final)

    monkeypatch.setattr(os, "rename", watch)
    store = LocalStore(tmp_path)
    (tmp_path / f"{_files.TEMP}rename").touch()  # Its holder died.
    assert store.keys("") == []
    store.put("key", [b"bytes"])
    assert listed == [[]]
    (tmp_path / f"{_files.TEMP}rename").touch()
    store.tidy()
    assert _files_below(tmp_path) == ["key"]


def test_a_link_that_reports_failure_after_success_has_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network file system answers so to a request it got twice."""
    link = os.link

    def answered_twice(temp: str, final: str) -> None:
        link(temp, final)
        link(temp, final)

    monkeypatch.setattr(os, "link", answered_twice)
    store = LocalStore(tmp_path)
    store.put("key", [b"bytes"])
    assert bytes(store.get("key")) == b"bytes"
    assert _files_below(tmp_path) == ["key"]


def test_a_key_deleted_between_conflict_and_second_look_is_a_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_and_gone(temp: str, final: str) -> None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), final)

    monkeypatch.setattr(os, "link", taken_and_gone)
    with pytest.raises(ConflictError) as caught:
        LocalStore(tmp_path).put("key", [b"bytes"])
    assert caught.value.key == "key"
    assert _files_below(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_at_all_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fsync = os.fsync

    def files_only(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", files_only)
    store = LocalStore(tmp_path / "root")
    store.put("a/key", [b"bytes"])
    store.delete(["a/key"])
    assert store.keys("") == []


def test_strangers_in_the_folder_are_not_keys(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/key", [b"bytes"])
    (tmp_path / ".DS_Store").write_bytes(b"finder")
    (tmp_path / "a" / ".nfs0001").write_bytes(b"nfs")
    (tmp_path / "a" / "key~ (copy)").write_bytes(b"editor")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(b"ref")
    (tmp_path / "a" / "dangling").symlink_to("nowhere")
    assert store.keys("") == ["a/key"]
    store.tidy()
    assert len(_files_below(tmp_path)) == 6


# A folder that fails


class _RefusingRoot:
    """`os.open` as a read-only filesystem has it: no creating, no writing."""

    def __init__(self) -> None:
        self._open = os.open

    def __call__(self, path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return self._open(path, flags, *rest, **named)


def test_a_read_only_folder_lists_and_loads_and_says_why_it_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LocalStore(tmp_path).put("a/key", [b"bytes"])
    monkeypatch.setattr(os, "open", _RefusingRoot())
    for verb in ("unlink", "mkdir", "link", "rename"):
        monkeypatch.setattr(os, verb, _refusing(errno.EROFS))
    store = LocalStore(tmp_path)
    assert store.keys("") == ["a/key"]
    assert bytes(store.get("a/key", 1, 3)) == b"yt"
    store.tidy()
    for refused in (
        lambda: store.put("a/new", [b"bytes"]),
        lambda: store.put("b/new", [b"bytes"]),
        lambda: store.delete(["a/key"]),
        lambda: store.lock("a/lock", wait=False),
    ):
        with pytest.raises(StoreError, match="read-only") as caught:
            refused()
        assert caught.value.__cause__.errno == errno.EROFS
        assert not caught.value.retryable
        assert str(tmp_path) in str(caught.value)


@needs_fork
def test_a_folder_one_may_not_write_lists_and_loads() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user; the test above stands for this one")
    # Not `tmp_path`, which nobody but its owner may enter.
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        if not all(parent.stat().st_mode & stat.S_IXOTH for parent in Path(home).parents):
            pytest.skip("no other user may enter the folder for temporary files")
        _check_read_only(Path(home))


def _check_read_only(home: Path) -> None:
    LocalStore(home).put("a/key", [b"bytes"])

    def as_nobody() -> None:
        os.setgid(65534)
        os.setuid(65534)
        store = LocalStore(home)
        assert store.keys("") == ["a/key"]
        assert bytes(store.get("a/key")) == b"bytes"
        for refused in (
            lambda: store.put("a/new", [b"bytes"]),
            lambda: store.delete(["a/key"]),
            lambda: store.lock("a/lock", wait=False),
        ):
            with pytest.raises(StoreError, match="permission denied"):
                refused()

    _in_child(as_nobody)
    assert _files_below(home) == ["a/key"]


@needs_fork
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/older", [b"older"])

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for pieces in ([bytes(100_001)], [bytes(60_000)] * 2, [bytes(7_000)] * 20):
            with pytest.raises(StoreError, match=r"a/key.*File too large") as caught:
                store.put("a/key", pieces)
            assert caught.value.__cause__.errno == errno.EFBIG
            assert _files_below(tmp_path) == ["a/older"]
        store.put("a/key", [bytes(100_000)])

    _in_child(limited)
    assert _files_below(tmp_path) == ["a/key", "a/older"]
    assert bytes(store.get("a/older")) == b"older"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "write", _refusing(code))
    with pytest.raises(StoreError, match=r"free some space") as caught:
        LocalStore(tmp_path).put("a/key", [b"bytes"])
    assert caught.value.key == "a/key"
    assert str(tmp_path / "a" / "key") in str(caught.value)


def test_a_folder_that_vanished_fails_one_put_and_is_made_anew(tmp_path: Path) -> None:
    home = tmp_path / "root"
    store = LocalStore(home)
    store.put("a/key", [b"bytes"])
    home.rename(tmp_path / "moved")
    assert store.keys("") == []
    with pytest.raises(NotFoundError):
        store.get("a/key")
    store.delete(["a/key"])
    store.tidy()
    with pytest.raises(StoreError, match="vanished"):
        store.put("a/key", [b"again"])
    store.put("a/key", [b"again"])
    assert bytes(store.get("a/key")) == b"again"


def test_a_folder_that_vanishes_while_writing_fails_the_put(tmp_path: Path) -> None:
    home = tmp_path / "root"
    store = LocalStore(home)

    def moved_away() -> Iterator[bytes]:
        yield b"half"
        home.rename(tmp_path / "moved")

    with pytest.raises(StoreError, match="vanished"):
        store.put("a/key", moved_away())
    store.put("a/key", [b"again"])
    assert bytes(store.get("a/key")) == b"again"


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_root_that_is_a_file_is_said(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"not a folder")
    store = LocalStore(file / below)
    for refused in (
        lambda: store.put("a/key", [b"bytes"]),
        lambda: store.put("key", [b"bytes"]),
        lambda: store.lock("a/lock", wait=False),
    ):
        with pytest.raises(StoreError, match="a file"):
            refused()
    with pytest.raises(NotFoundError if below else StoreError):
        store.get("a/key")
    store.delete(["a/key"])
    assert file.read_bytes() == b"not a folder"


def test_a_key_in_the_way_of_a_folder_is_said(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", [b"bytes"])
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        store.put("a/b", [b"bytes"])
    assert _files_below(tmp_path) == ["a"]


def test_a_folder_in_the_place_of_a_key_is_damage(tmp_path: Path) -> None:
    (tmp_path / "a" / "key").mkdir(parents=True)
    store = LocalStore(tmp_path)
    with pytest.raises(IntegrityError) as caught:
        store.get("a/key")
    assert caught.value.key == "a/key"
    with pytest.raises(ConflictError):
        store.put("a/key", [b"bytes"])


# Modes, pickling, what stays open


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_modes_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        store = LocalStore(tmp_path / "root")
        store.put("a/key", [b"bytes"])
        lock = store.lock("a/lock", wait=False)
    finally:
        os.umask(before)
    assert lock is not None
    with lock:
        assert stat.S_IMODE((tmp_path / "root/a/lock").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "root/a/key").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "root/a").stat().st_mode) == 0o777 & ~mask


def test_a_stored_file_has_one_name(tmp_path: Path) -> None:
    LocalStore(tmp_path).put("a/key", [b"bytes"])
    assert (tmp_path / "a/key").stat().st_nlink == 1
    assert _files_below(tmp_path) == ["a/key"]


def test_a_local_store_travels_by_its_folder(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    store = LocalStore("relative")
    store.put("key", [b"bytes"])
    monkeypatch.chdir("/")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(store, protocol))
        assert bytes(twin.get("key")) == b"bytes"
        assert twin.root == store.root == str(tmp_path / "relative")
    assert repr(store) == f"LocalStore({str(tmp_path / 'relative')!r})"


@needs_proc
def test_nothing_stays_open(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("warm", [b"up"])
    before = _open_files()
    with contextlib.suppress(ConflictError):
        store.put("a/key", [b"bytes"])
        store.put("a/key", [b"bytes"])
    with pytest.raises(ValueError, match="in the pieces"):
        store.put("a/other", _raising(ValueError("in the pieces")))
    store.get("a/key", 1, 2)
    store.fill("a/key", 1, memoryview(bytearray(2)))
    with store.lock("a/lock", wait=False):
        assert store.lock("a/lock", wait=False) is None
    store.keys("")
    store.tidy()
    store.delete(["a/key"])
    assert _open_files() == before


# Processes

Start = Callable[[str], "_Child"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes that share the store at `tmp_path`, and leaves none behind."""
    children: list[_Child] = []

    def start(script: str) -> _Child:
        children.append(_Child(tmp_path, script))
        return children[-1]

    yield start
    for child in children:
        if child.process.returncode is None:
            child.kill()


def test_of_many_processes_exactly_one_creates_the_key(tmp_path: Path, start: Start) -> None:
    script = """
        import os
        from checkpoint.errors import ConflictError
        say("ready")
        hear()
        won = []
        for turn in range(60):
            try:
                store.put(f"race/{turn}", [b"%d" % os.getpid() * 3000, b"."])
                won.append(turn)
            except ConflictError:
                pass
        say(won)
    """
    children = [start(script) for _ in range(4)]
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")
    wins = {child.process.pid: child.hear() for child in children}
    for child in children:
        child.end()
    winners = [(turn, pid) for pid, won in wins.items() for turn in won]
    assert sorted(turn for turn, _ in winners) == list(range(60))
    store = LocalStore(tmp_path)
    for turn, pid in winners:
        assert bytes(store.get(f"race/{turn}")) == b"%d" % pid * 3000 + b"."
    assert len(_files_below(tmp_path)) == 60


def test_a_reader_sees_all_of_an_object_or_none(tmp_path: Path, start: Start) -> None:
    script = """
        say("ready")
        for turn in range(80):
            store.put(f"objects/{turn:04}", [bytes([turn]) * 40_000] * 5)
        say("done")
    """
    writer = start(script)
    assert writer.hear() == "ready"
    store = LocalStore(tmp_path)
    seen: set[str] = set()
    while len(seen) < 80:
        assert writer.process.poll() in (None, 0)
        for key in store.keys("objects/"):
            if key not in seen:
                turn = int(key.removeprefix("objects/"))
                assert store.get(key) == bytes([turn]) * 200_000
                seen.add(key)
    assert writer.hear() == "done"
    writer.end()


def test_processes_wait_for_each_others_locks(tmp_path: Path, start: Start) -> None:
    script = """
        lock = store.lock("locks/a", wait=True)
        with lock:
            say("held")
            hear()
        say("left")
        hear()
    """
    store = LocalStore(tmp_path)
    child = start(script)
    assert child.hear() == "held"
    assert store.lock("locks/a", wait=False) is None
    assert store.keys("") == ["locks/a"]
    child.say("leave")
    with store.lock("locks/a", wait=True) as held:
        assert held is not None
        assert child.hear() == "left"
    child.end()
    assert store.keys("") == []


def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path, start: Start) -> None:
    script = """
        with store.lock("locks/a", wait=True):
            say("held")
            hear()
    """
    store = LocalStore(tmp_path)
    child = start(script)
    assert child.hear() == "held"
    assert store.lock("locks/a", wait=False) is None
    child.kill()
    assert store.keys("") == ["locks/a"]
    with store.lock("locks/a", wait=False) as held:
        assert held is not None
    assert store.keys("") == []


def test_a_waiter_gets_the_lock_of_a_holder_that_is_killed(tmp_path: Path, start: Start) -> None:
    holder = 'lock = store.lock("locks/a", wait=True)\nsay("held")\nhear()'
    waiter = """
        say("waiting")
        with store.lock("locks/a", wait=True):
            say("held")
            hear()
    """
    first = start(holder)
    assert first.hear() == "held"
    second = start(waiter)
    assert second.hear() == "waiting"
    first.kill()
    assert second.hear() == "held"
    assert LocalStore(tmp_path).lock("locks/a", wait=False) is None
    second.say("leave")
    second.end()


WRITER = """
    def pieces():
        yield b"half" * 10_000
        say("half")
        hear()
        yield b"whole"
    store.put("a/key", pieces())
    say("done")
"""


def test_the_temporary_file_of_a_killed_writer_goes_with_tidy(tmp_path: Path, start: Start) -> None:
    store = LocalStore(tmp_path)
    child = start(WRITER)
    assert child.hear() == "half"
    child.kill()
    assert [Path(name).name[:5] for name in _files_below(tmp_path)] == [".tmp-"]
    assert store.keys("") == []
    store.tidy()
    assert _files_below(tmp_path) == []
    store.put("a/key", [b"bytes"])
    assert bytes(store.get("a/key")) == b"bytes"


def test_the_temporary_file_of_a_living_writer_stays(tmp_path: Path, start: Start) -> None:
    store = LocalStore(tmp_path)
    child = start(WRITER)
    assert child.hear() == "half"
    os.kill(child.process.pid, signal.SIGSTOP)
    store.tidy()
    assert len(_files_below(tmp_path)) == 1
    os.kill(child.process.pid, signal.SIGCONT)
    store.tidy()
    child.say("go on")
    assert child.hear() == "done"
    child.end()
    assert store.get("a/key") == b"half" * 10_000 + b"whole"
    assert _files_below(tmp_path) == ["a/key"]


def test_a_writer_whose_temporary_file_is_tidied_away_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the creation of the file and its lock it looks like litter."""
    tidied = []
    lock_fd = _local.lock_fd

    def late(fd: int, path: str, *, wait: bool) -> bool:
        if wait and len(tidied) < 3:
            tidied.append(path)
            store.tidy()
        return lock_fd(fd, path, wait=wait)

    monkeypatch.setattr(_local, "lock_fd", late)
    store = LocalStore(tmp_path)
    store.put("a/key", [b"bytes"])
    assert len(set(tidied)) == 3
    assert _files_below(tmp_path) == ["a/key"]


# Fork


@needs_fork
def test_a_child_of_fork_neither_holds_nor_releases_its_parents_lock(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    lock = store.lock("locks/a", wait=False)
    assert lock is not None

    def leave_in_child() -> None:
        assert store.lock("locks/a", wait=False) is None
        with lock:
            pass
        assert store.lock("locks/a", wait=False) is None
        store.put("from-the-child", [b"bytes"])

    with lock:
        _in_child(leave_in_child)
        assert store.keys("locks/") == ["locks/a"]
        assert store.lock("locks/a", wait=False) is None
        _in_child(lambda: None)
        assert store.lock("locks/a", wait=False) is None
    assert store.keys("") == ["from-the-child"]


@needs_fork
def test_a_child_that_lives_on_does_not_keep_its_parents_lock(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    end, go_on = os.pipe()
    with store.lock("locks/a", wait=False):
        child = _fork()
        if child == 0:
            os.close(go_on)
            os.read(end, 1)
            os._exit(0)
    try:
        with store.lock("locks/a", wait=False) as held:
            assert held is not None
    finally:
        os.close(go_on)
        os.close(end)
        os.waitpid(child, 0)


@needs_fork
def test_a_child_of_fork_locks_for_itself(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    def lock_in_child() -> None:
        with store.lock("locks/b", wait=False):
            assert store.lock("locks/b", wait=False) is None

    with store.lock("locks/a", wait=False):
        _in_child(lock_in_child)
        assert store.keys("") == ["locks/a"]


# The crashing store


@pytest.fixture(params=["memory", "local"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "root")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_comes_at_each_write_and_ends_everything(inner: Any, when: Any) -> None:
    def work(store: Any) -> None:
        store.put("a", [b"1"])
        store.put("b", [b"2"])
        assert store.keys("") == ["a", "b"]
        store.delete(["a", "absent", "b"])

    seen = []
    for crash_at in range(1, 100):
        inner.delete(inner.keys(""))
        store = CrashingStore(inner, crash_at, when)
        try:
            work(store)
        except SimulatedCrash:
            assert store.crashed
            assert store.writes == crash_at
        else:
            break
        for call in (
            lambda: store.put("c", [b"3"]),  # noqa: B023
            lambda: store.get("a"),  # noqa: B023
            lambda: store.fill("a", 0, memoryview(bytearray())),  # noqa: B023
            lambda: store.keys(""),  # noqa: B023
            lambda: store.delete([]),  # noqa: B023
            lambda: store.delete(["a"]),  # noqa: B023
            lambda: store.lock("lock", wait=False),  # noqa: B023
            store.tidy,
        ):
            with pytest.raises(SimulatedCrash):
                call()
        assert store.writes == crash_at
        seen.append(inner.keys(""))
    assert store.writes == 5
    if when == "before":
        assert seen == [[], ["a"], ["a", "b"], ["b"], ["b"]]
    else:
        assert seen == [["a"], ["a", "b"], ["b"], ["b"], []]


def test_a_crash_lets_go_of_locks_wherever_they_are_held(inner: Any) -> None:
    store = CrashingStore(inner, crash_at=1)
    kept = store.lock("kept", wait=False)
    with pytest.raises(SimulatedCrash), store.lock("scoped", wait=False):
        assert inner.lock("kept", wait=False) is None
        store.put("key", [b"bytes"])
    for key in ("kept", "scoped"):
        with inner.lock(key, wait=False) as held:
            assert held is not None
    with inner.lock("kept", wait=False), kept:
        pass
    assert inner.keys("") == []


def test_a_crash_leaves_the_lock_files_of_the_dead(tmp_path: Path) -> None:
    inner = LocalStore(tmp_path)
    store = CrashingStore(inner, crash_at=1)
    with pytest.raises(SimulatedCrash), store.lock("lease", wait=False):
        store.put("key", [b"bytes"])
    assert inner.keys("") == ["lease"]
    with inner.lock("lease", wait=False) as held:
        assert held is not None
    assert inner.keys("") == []


def test_a_crash_elsewhere_ends_a_put_that_is_under_way(inner: Any) -> None:
    store = CrashingStore(inner, crash_at=2)

    def pieces() -> Iterator[bytes]:
        yield b"half"
        with contextlib.suppress(SimulatedCrash):  # It happens in another thread, say.
            store.put("other", [b"bytes"])
        yield b"half"

    with pytest.raises(SimulatedCrash):
        store.put("key", pieces())
    assert inner.keys("") == []


def test_a_crash_is_not_an_exception() -> None:
    assert not issubclass(SimulatedCrash, Exception)


def test_a_crash_ends_mapping_too(tmp_path: Path) -> None:
    store = CrashingStore(LocalStore(tmp_path), crash_at=1, when="after")
    with pytest.raises(SimulatedCrash):
        store.put("key", [b"bytes"])
    with pytest.raises(SimulatedCrash):
        store.map("key", 0, 5)


def test_a_crashing_store_locks_and_maps_where_its_inner_store_does(tmp_path: Path) -> None:
    class Bare:
        def put(self, key: str, pieces: Any) -> None: ...
        def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview: ...
        def fill(self, key: str, start: int, target: memoryview) -> int: ...
        def keys(self, prefix: str) -> list[str]: ...
        def delete(self, keys: Any) -> None: ...

    class Mapping(Bare):
        def map(self, key: str, start: int, stop: int) -> memoryview: ...

    inner = [Bare(), Mapping(), MemoryStore(), LocalStore(tmp_path)]
    for one, locks, maps in zip(inner, [0, 0, 1, 1], [0, 1, 0, 1], strict=True):
        for store in (one, CrashingStore(one, 1)):
            assert isinstance(store, Store)
            assert isinstance(store, Locking) == bool(locks)
            assert isinstance(store, Mappable) == bool(maps)


@pytest.mark.parametrize(("crash_at", "when"), [(0, "before"), (-1, "after"), (1, "during")])
def test_a_crash_that_cannot_come_is_refused(crash_at: int, when: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        CrashingStore(MemoryStore(), crash_at, when)


def test_importing_checkpoint_imports_no_pytest() -> None:
    code = (
        "import sys, checkpoint.store, checkpoint.testing\n"
        "assert 'pytest' not in sys.modules\n"
        "from checkpoint.testing import CrashingStore\n"
        "assert 'pytest' not in sys.modules\n"
        "from checkpoint.testing import StoreContract\n"
        "assert 'pytest' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=_env())


def test_the_contract_asks_for_a_store() -> None:
    with pytest.raises(AttributeError, match="Nonsense"):
        checkpoint.testing.Nonsense  # noqa: B018


# Tools


class _Refusing:
    def __init__(self, code: int) -> None:
        self.code = code
        self.calls = 0

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls += 1
        raise OSError(self.code, os.strerror(self.code))


def _refusing(code: int) -> _Refusing:
    """A system call that always fails with *code*."""
    return _Refusing(code)


def _raising(error: BaseException) -> Iterator[bytes]:
    yield b"piece"
    raise error


def _files_below(folder: Path) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
    )


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _fork() -> int:
    """Fork, whatever threads the other tests of this process have left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _in_child(work: Callable[[], None]) -> None:
    """Run *work* in a child of fork; it must return."""
    child = _fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}


class _Child:
    """A process with a `store` at *root* that runs *script* and talks in JSON lines."""

    PRELUDE = (
        "import json, sys\n"
        "from checkpoint.store import LocalStore\n"
        "store = LocalStore(sys.argv[1])\n"
        "def say(word): print(json.dumps(word), flush=True)\n"
        "def hear(): return sys.stdin.readline()\n"
    )

    def __init__(self, root: Path, script: str) -> None:
        code = self.PRELUDE + textwrap.dedent(script)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_env(),
            text=True,
        )

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self._close(-signal.SIGKILL)

    def end(self) -> None:
        self._close(0)

    def _close(self, code: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()  # Who still hears, hears the end.
        assert self.process.wait(60) == code
        self.process.stdout.close()
