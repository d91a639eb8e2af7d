"""The disk fails at every system call of LocalStore in turn: nothing is lost, nothing leaks.

Each kind of call fails at its n-th occurrence, for n = 1, 2, … until the verb
finishes, once only and from then on.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from checkpoint.errors import CheckpointError, IntegrityError, NotFoundError, StoreError
from checkpoint.store import LocalStore, _files, _local

OLDER = {"packs/aa/older": b"older" * 100, "older": b"at the top"}
NEW = "packs/aa/new"
PIECES = [b"first", b"second" * 1000, b"third"]

CODES = [errno.EIO, errno.ENOSPC]
KINDS = [
    "open",
    "lock",
    "write",
    "fsync of a file",
    "link",
    "unlink",
    "fsync of a folder",
    "mkdir",
]


class Fault:
    """Calls of one kind fail with *code* from the *nth* on: that one only, or all (*lasting*)."""

    def __init__(self, kind: str, nth: int, code: int, *, lasting: bool = False) -> None:
        self.kind = kind
        self.nth = nth
        self.code = code
        self.lasting = lasting
        self.calls = 0
        self.raised: list[OSError] = []

    def __repr__(self) -> str:
        often = "from then on" if self.lasting else "once"
        return f"{errno.errorcode[self.code]} at {self.kind} {self.nth}, {often}"

    def meet(self, kind: str) -> None:
        """Count a call of *kind*, and fail it if it is its turn."""
        if kind != self.kind:
            return
        self.calls += 1
        if self.calls == self.nth or (self.lasting and self.calls > self.nth):
            self.raised.append(OSError(self.code, os.strerror(self.code)))
            raise self.raised[-1]

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Let the fault be met in the calls made by the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "write", "link", "unlink", "mkdir"):
                patch.setattr(os, name, self._failing(name, getattr(os, name)))
            patch.setattr(fcntl, "flock", self._failing("lock", fcntl.flock))
            patch.setattr(os, "fsync", self._failing_sync(os.fsync))
            yield

    def _failing(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self.meet(kind)
            return real(*args, **named)

        return call

    def _failing_sync(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def fsync(fd: int) -> None:
            folder = stat.S_ISDIR(os.fstat(fd).st_mode)
            self.meet("fsync of a folder" if folder else "fsync of a file")

        return fsync  # The real one takes long and would change nothing here.


class Trial:
    """A store with older keys, and what must hold of it after a verb has failed."""

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self.older = {} if fresh else dict(OLDER)
        self.store = LocalStore(folder / "deep" / "er" if fresh else folder)
        for key, value in self.older.items():
            LocalStore(folder).put(key, [value])

    def put(self, fault: Fault) -> bool:
        """Put under the fault; false if the fault was not met."""
        before = open_files()
        with fault.injected():
            error = failure(lambda: self.store.put(NEW, PIECES))
        if not fault.raised:
            assert error is None, f"{error!r} without a fault"
            assert self.visible() == {**self.older, NEW: b"".join(PIECES)}
            return False
        unremovable = fault.kind == "unlink" and fault.lasting
        assert error is not None, f"put returned in spite of {fault}"
        assert error.__cause__ is fault.raised[0], f"another cause than {fault}"
        assert error.key == NEW
        assert not error.retryable
        assert self.store.root in str(error)
        if fault.code != errno.EIO:
            assert "free some space" in str(error)
        assert open_files() == before, f"a descriptor leaked after {fault}"
        if not unremovable:
            assert self.visible() == self.older, f"not as before after {fault}"
            assert self.litter() == [], f"temporary files left after {fault}"
        self.check_it_goes_on(fault)
        return True

    def check_it_goes_on(self, fault: Fault) -> None:
        """Older keys are there, and the next put of the same store works."""
        failed = failure(lambda: self.store.put("packs/aa/next", [b"next"]))
        assert failed is None, f"the next put failed after {fault}: {failed}"
        assert bytes(self.store.get("packs/aa/next")) == b"next"
        LocalStore(self.store.root).put("packs/bb/next", [b"next"])
        for key, value in self.older.items():
            assert bytes(self.store.get(key)) == value, f"{key} suffered from {fault}"
        self.store.tidy()
        assert self.litter() == []

    def visible(self) -> dict[str, bytes]:
        return {key: bytes(self.store.get(key)) for key in self.store.keys("")}

    def litter(self) -> list[str]:
        names = (name for _, _, files in os.walk(self.store.root) for name in files)
        return [name for name in names if name.startswith(".")]


def failure(verb: Callable[[], Any]) -> StoreError | None:
    """The StoreError of *verb*, None if there was none; any other is a broken promise."""
    try:
        verb()
    except StoreError as error:
        return error
    except OSError as error:
        raise AssertionError(f"not in the tree of errors: {error!r}") from error
    return None


def open_files() -> int:
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


def sweep_put(folder: Path, kind: str, code: int, *, fresh: bool, lasting: bool) -> int:
    """Fail each occurrence of *kind* in turn; how many there were."""
    for nth in range(1, 50):
        trial = Trial(folder / str(nth), fresh=fresh)
        if not trial.put(Fault(kind, nth, code, lasting=lasting)):
            return nth - 1
    raise AssertionError(f"{kind} never stops")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


# put


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "existing"])
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", KINDS)
def test_a_put_that_fails_leaves_nothing_and_hurts_nothing(
    tmp_path: Path, kind: str, code: int, fresh: bool, lasting: bool
) -> None:
    count = sweep_put(tmp_path, kind, code, fresh=fresh, lasting=lasting)
    least = {"write": 3, "open": 4, "fsync of a folder": 4 if fresh else 3}
    assert count >= least.get(kind, 0 if kind == "mkdir" and not fresh else 1)


@pytest.mark.parametrize("kind", ["write", "fsync of a file", "open"])
def test_a_used_up_quota_is_a_full_disk(tmp_path: Path, kind: str) -> None:
    assert sweep_put(tmp_path, kind, errno.EDQUOT, fresh=False, lasting=False) >= 1


def test_a_failed_sync_is_not_tried_again_on_the_same_file(tmp_path: Path) -> None:
    fault = Fault("fsync of a file", 1, errno.EIO)
    with fault.injected(), pytest.raises(StoreError):
        LocalStore(tmp_path).put(NEW, PIECES)
    assert fault.calls == 1


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.ESTALE])
def test_an_error_that_may_pass_is_retryable(tmp_path: Path, code: int) -> None:
    fault = Fault("fsync of a file", 1, code)
    with fault.injected():
        error = failure(lambda: LocalStore(tmp_path).put(NEW, PIECES))
    assert error is not None
    assert error.retryable


def test_closing_may_fail_when_all_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def failing(fd: int) -> None:
        folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        close(fd)
        if not folder:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = LocalStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", failing)
        store.put(NEW, PIECES)
    assert bytes(store.get(NEW)) == b"".join(PIECES)


@pytest.mark.parametrize("most", [1, 2, 7, 4096])
def test_short_writes_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    check_short_writes(tmp_path, monkeypatch, most)


def check_short_writes(folder: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, memoryview(data)[:most]))
    store = LocalStore(folder)
    store.put(NEW, PIECES)
    assert store.get(NEW) == b"".join(PIECES)


def test_advice_that_is_not_taken_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "posix_fadvise", refuse, raising=False)
    monkeypatch.setattr(_local, "_WRITE_BACK", 1)
    LocalStore(tmp_path).put(NEW, PIECES)


# delete, lock, keys, get, fill, map


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", ["unlink", "open", "fsync of a folder"])
def test_a_delete_that_fails_says_so_and_can_be_repeated(
    tmp_path: Path, kind: str, code: int, lasting: bool
) -> None:
    gone = ["a/1", "a/2", "b/3"]
    for nth in range(1, 50):
        store = LocalStore(tmp_path / str(nth))
        for key in [*gone, "a/kept"]:
            store.put(key, [key.encode()])
        before = open_files()
        fault = Fault(kind, nth, code, lasting=lasting)
        with fault.injected():
            error = failure(lambda: store.delete(gone))  # noqa: B023
        assert open_files() == before
        assert bytes(store.get("a/kept")) == b"a/kept"
        if not fault.raised:
            assert error is None
            assert store.keys("") == ["a/kept"]
            break
        assert error is not None, f"delete returned in spite of {fault}"
        assert error.__cause__ is fault.raised[0]
        for key in store.keys(""):
            assert bytes(store.get(key)) == key.encode()
        store.delete(gone)
        assert store.keys("") == ["a/kept"]
    assert nth > 2


@pytest.mark.parametrize("kind", ["open", "mkdir", "lock"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.ENOLCK], ids=errno.errorcode.get)
def test_a_lock_that_fails_says_so_and_is_free_after(tmp_path: Path, kind: str, code: int) -> None:
    for nth in range(1, 50):
        store = LocalStore(tmp_path / str(nth))
        before = open_files()
        fault = Fault(kind, nth, code)
        held: list[Any] = []
        with fault.injected():
            error = failure(lambda: held.append(store.lock("locks/a", wait=False)))  # noqa: B023
        if not fault.raised:
            assert error is None
            break
        assert error is not None
        assert error.__cause__ is fault.raised[0]
        assert open_files() == before
        with store.lock("locks/a", wait=False) as again:
            assert again is not None
    with held[0]:
        pass
    assert nth > 1


def test_a_filesystem_without_locks_is_said(tmp_path: Path) -> None:
    with (
        Fault("lock", 1, errno.ENOLCK).injected(),
        pytest.raises(StoreError, match="no file locks"),
    ):
        LocalStore(tmp_path).put(NEW, PIECES)
    assert LocalStore(tmp_path).keys("") == []


def test_a_listing_that_fails_is_never_a_shorter_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prune that believed a short list would delete what it must keep."""
    trial = Trial(tmp_path, fresh=False)
    scandir = os.scandir
    for nth in (1, 2, 3):
        calls = 0

        def failing(path: str) -> Any:
            nonlocal calls
            calls += 1
            if calls == nth:  # noqa: B023
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return scandir(path)

        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", failing)
            with pytest.raises(StoreError, match="cannot list"):
                trial.store.keys("")
            assert calls == nth
    assert trial.store.keys("") == sorted(OLDER)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.EIO, IntegrityError),
        (errno.ENOENT, NotFoundError),
        (errno.EACCES, StoreError),
        (errno.EMFILE, StoreError),
        (errno.ESTALE, StoreError),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else value.__name__,
)
def test_a_read_that_fails_names_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[StoreError]
) -> None:
    store = Trial(tmp_path, fresh=False).store

    def failing(*args: Any, **named: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(builtins, "open", failing)
    for read in READS:
        with pytest.raises(expected) as caught:
            read(store, "older")
        assert caught.value.key == "older"
        assert isinstance(caught.value.__cause__, OSError)


def filled(store: LocalStore, key: str) -> memoryview:
    target = memoryview(bytearray(20))
    return target[: store.fill(key, 0, target)]


Read = Callable[[LocalStore, str], memoryview]
READS: list[Read] = [
    lambda store, key: store.get(key),
    filled,
    lambda store, key: store.map(key, 0, len(OLDER[key])),
]


class SlowFile(io.FileIO):
    """Gives at most *most* bytes at a time, and an error of *code* at its *nth* read."""

    most, nth, code = 3, 0, errno.EIO

    def readinto(self, target: Any) -> int:
        self.nth -= 1
        if self.nth == 0:
            raise OSError(self.code, os.strerror(self.code))
        return super().readinto(memoryview(target)[: self.most])


@pytest.mark.parametrize("read", READS[:2])
def test_short_reads_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    check_short_reads(tmp_path, monkeypatch, read)


def check_short_reads(folder: Path, monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    store = Trial(folder, fresh=False).store
    monkeypatch.setattr(builtins, "open", lambda path, mode, buffering: SlowFile(path))
    assert read(store, "older") == OLDER["older"]


def tried(read: Read, store: LocalStore) -> memoryview | CheckpointError:
    try:
        return read(store, "older")
    except CheckpointError as error:
        return error


@pytest.mark.parametrize("read", READS[:2])
@pytest.mark.parametrize(
    ("code", "expected"), [(errno.EIO, IntegrityError), (errno.ESTALE, StoreError)]
)
def test_a_read_that_fails_on_the_way_is_never_a_shorter_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: Read,
    code: int,
    expected: type[StoreError],
) -> None:
    store = Trial(tmp_path, fresh=False).store
    monkeypatch.setattr(builtins, "open", lambda path, mode, buffering: SlowFile(path))
    monkeypatch.setattr(SlowFile, "code", code)
    for nth in range(1, 50):
        monkeypatch.setattr(SlowFile, "nth", nth)
        before = open_files()
        found = tried(read, store)
        assert open_files() == before
        if not isinstance(found, CheckpointError):
            assert found == OLDER["older"]
            break
        assert type(found) is expected
        assert found.key == "older"
    assert nth > len(OLDER["older"]) // 3


# Mutants: what each of the checks above must catch.

Mutant = Callable[[pytest.MonkeyPatch], None]


def withdraws_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_local, "_withdraw", lambda output, temp, final: None)


def withdraws_the_temporary_file_only(patch: pytest.MonkeyPatch) -> None:
    def withdraw(output: Any, temp: str, final: str) -> None:
        with suppress(OSError):
            os.unlink(temp)

    patch.setattr(_local, "_withdraw", withdraw)


def withdraws_too_much(patch: pytest.MonkeyPatch) -> None:
    def withdraw(output: Any, temp: str, final: str) -> None:
        for name in os.listdir(os.path.dirname(final)):
            os.unlink(os.path.join(os.path.dirname(final), name))

    patch.setattr(_local, "_withdraw", withdraw)


def believes_the_file_is_synced(patch: pytest.MonkeyPatch) -> None:
    real = _local.sync_file

    def sync_file(fd: int) -> None:
        with suppress(OSError):
            real(fd)

    patch.setattr(_local, "sync_file", sync_file)


def tries_the_sync_again(patch: pytest.MonkeyPatch) -> None:
    real = _local.sync_file

    def sync_file(fd: int) -> None:
        try:
            real(fd)
        except OSError:
            real(fd)

    patch.setattr(_local, "sync_file", sync_file)


def believes_the_folder_is_synced(patch: pytest.MonkeyPatch) -> None:
    real = _local.sync_folder

    def sync_folder(folder: str) -> None:
        with suppress(OSError):
            real(folder)

    patch.setattr(_local, "sync_folder", sync_folder)


def believes_in_the_link(patch: pytest.MonkeyPatch) -> None:
    real = _local.publish

    def publish(temp: str, final: str) -> None:
        with suppress(OSError):
            real(temp, final)

    patch.setattr(_local, "publish", publish)


def leaks_the_folder(patch: pytest.MonkeyPatch) -> None:
    def sync_folder(folder: str) -> None:
        fd = os.open(folder, os.O_RDONLY)
        _files.sync_file(fd)
        os.close(fd)  # Not in a `finally`.

    patch.setattr(_local, "sync_folder", sync_folder)


def leaks_the_file_that_cannot_be_locked(patch: pytest.MonkeyPatch) -> None:
    real = _local.lock_fd

    def lock_fd(fd: int, path: str, *, wait: bool) -> bool:
        try:
            return real(fd, path, wait=wait)
        except OSError:
            os.dup(fd)
            raise

    patch.setattr(_local, "lock_fd", lock_fd)


def explains_nothing(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def explained(store: LocalStore, verb: str, key: str) -> Iterator[None]:
        yield

    patch.setattr(LocalStore, "_explained", explained)


def forgets_the_cause(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def explained(store: LocalStore, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise store._failed(verb, key, error) from None

    patch.setattr(LocalStore, "_explained", explained)


def remembers_folders_that_were_never_made(patch: pytest.MonkeyPatch) -> None:
    real = LocalStore._make_durable

    def make_durable(store: LocalStore, folder: str) -> None:
        try:
            real(store, folder)
        finally:
            store._durable.add(folder)

    patch.setattr(LocalStore, "_make_durable", make_durable)


MUTANTS: list[tuple[Mutant, str, str]] = [
    (withdraws_nothing, "write", "temporary files left"),
    (withdraws_nothing, "fsync of a folder", "not as before"),
    (withdraws_nothing, "unlink", "not as before"),
    (withdraws_the_temporary_file_only, "fsync of a folder", "not as before"),
    (withdraws_too_much, "write", "not as before"),
    (believes_the_file_is_synced, "fsync of a file", "put returned"),
    (tries_the_sync_again, "fsync of a file", "put returned"),
    (believes_the_folder_is_synced, "fsync of a folder", "put returned"),
    (believes_in_the_link, "link", "put returned"),
    (leaks_the_folder, "fsync of a folder", "descriptor leaked"),
    (leaks_the_file_that_cannot_be_locked, "lock", "descriptor leaked"),
    (explains_nothing, "write", "not in the tree"),
    (forgets_the_cause, "write", "another cause"),
    (remembers_folders_that_were_never_made, "mkdir", "the next put failed"),
]


@pytest.mark.parametrize(("mutant", "kind", "caught"), MUTANTS)
def test_the_check_catches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Mutant, kind: str, caught: str
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=caught):
        sweep_put(tmp_path, kind, errno.EIO, fresh=kind == "mkdir", lasting=False)


def test_the_check_of_short_writes_catches_who_writes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(output: Any, piece: Any) -> None:
        os.write(output._fd, piece)

    monkeypatch.setattr(_local._Output, "write", write)
    with pytest.raises(AssertionError):
        check_short_writes(tmp_path, monkeypatch, 7)


@pytest.mark.parametrize("read", READS[:2])
def test_the_check_of_short_reads_catches_who_reads_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    def read_into(file: io.FileIO, start: int, target: memoryview) -> int:
        file.seek(start)
        return file.readinto(target)

    monkeypatch.setattr(_local, "_read_into", read_into)
    with pytest.raises(AssertionError):
        check_short_reads(tmp_path, monkeypatch, read)
