"""A store in a folder: each key a file, each put a durable create.

The recipe of `put` is the crash-safety argument, so it is kept in one place:

    temp file in the target's folder   a rename or link never crosses filesystems
    write all, fsync                   no name leads to bytes that may be lost
    link(temp, final)                  atomic, and fails where the name exists
    unlink temp, fsync the folder      the name itself survives a power cut

A folder's own name is made durable once by each process that puts below it:
another process may have made it and died before it was.  A failed fsync is
never retried on the same file, because the kernel may have dropped the pages
and say yes the second time.  Windows moves and removes no file that is open:
there the temp file is closed after its fsync.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from checkpoint._model import Buffer, memory
from checkpoint.errors import (
    CheckpointError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    StoreError,
)
from checkpoint.store._contract import check_key, check_target, is_key
from checkpoint.store._files import (
    OPEN_FILES_STAY,
    TEMP,
    FileLock,
    lock_fd,
    lock_file,
    publish,
    remove_if_left,
    sync_file,
    sync_folder,
)

_WRITE_BACK = 8 << 20  # bytes after which the disk is told to begin

# Copy-on-write without a reservation: a map may be larger than memory and swap together.
# The number is Linux's; Python has no name for it before 3.13.  Windows has neither.
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
_COPY_ON_WRITE: dict[str, Any] = (
    {"flags": mmap.MAP_PRIVATE | _NO_RESERVE, "prot": mmap.PROT_READ | mmap.PROT_WRITE}
    if hasattr(mmap, "MAP_PRIVATE")
    else {"access": mmap.ACCESS_COPY}
)
if hasattr(mmap, "MAP_PRIVATE") and sys.version_info >= (3, 13):
    # Else each map keeps a descriptor of its own open, of which a process has some 1,000.
    _COPY_ON_WRITE["trackfd"] = False

_RETRYABLE = {errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.ESTALE, errno.EBUSY}
_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and save again",
    errno.EDQUOT: "the disk quota is used up; free some space and save again",
    errno.EROFS: "the filesystem is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "its folder is not there; it may have vanished while it was in use",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.EMFILE: "too many open files",
    errno.ENOLCK: "this filesystem has no file locks; mount it with them",
    errno.ENODEV: "this filesystem cannot be mapped into memory; read from it instead",
    errno.ENOSYS: "this filesystem has no file locks; mount it with them",
}


class LocalStore:
    """Keys as files below *root*, which is created by the first put.

    Safe for any number of threads and processes on one machine.  On a network
    filesystem it needs hard links (or no-replace renames) and locks that work
    between its hosts.
    """

    __module__ = "checkpoint"

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self._durable: set[str] = set()

    def __repr__(self) -> str:
        return f"LocalStore({self.root!r})"

    def __reduce__(self) -> tuple[type[LocalStore], tuple[str]]:
        return type(self), (self.root,)

    def __str__(self) -> str:
        return self.root

    def put(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Create *key* from *pieces*, durably; ConflictError if it exists."""
        final = self._path(key)
        with self._explained("write", key):
            if os.path.lexists(final):
                raise ConflictError(f"{final} exists already", key=key)
            folder = os.path.dirname(final)
            self._make_durable(folder)
            temp, fd = _open_temp(folder)
        output = _Output(fd)
        try:
            for piece in pieces:  # What it raises is not ours to explain.
                with self._explained("write", key):
                    output.write(piece)
            with self._explained("write", key):
                try:
                    _publish(output, fd, temp, final)
                except FileExistsError as error:
                    raise ConflictError(f"{final} exists already", key=key) from error
        except BaseException:
            output.let_go()
            _withdraw(output, temp, final)
            raise
        finally:
            output.close()

    def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
        """The bytes [start, stop) of *key* in fresh memory; NotFoundError if absent."""
        with self._reading(key) as (file, size):
            stop = size if stop is None else min(stop, size)
            start = min(start, size)
            fresh = memory(max(0, stop - start))
            return fresh[: _read_into(file, start, fresh)]

    def fill(self, key: str, start: int, target: memoryview) -> int:
        """Read the bytes of *key* from *start* on into *target*; how many there were."""
        target = check_target(start, target)
        with self._reading(key) as (file, size):
            return _read_into(file, min(start, size), target)

    def map(self, key: str, start: int, stop: int) -> memoryview:
        """The bytes [start, stop) of *key* as copy-on-write memory.

        On Windows a key cannot be deleted while it is mapped.  Before Python
        3.13 each map holds a file descriptor, so map what lies together at once.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"no range of bytes: {start} to {stop}")
        with self._reading(key) as (file, size):
            # Asked of the file that is mapped: to touch a page beyond its end ends the process.
            if size < stop:
                where = self._where(key)
                raise IntegrityError(f"{where} is truncated: {size} bytes, not {stop}", key=key)
            if start == stop:
                return memoryview(bytearray())
            before = start % mmap.ALLOCATIONGRANULARITY
            length = before + stop - start
            mapped = mmap.mmap(file.fileno(), length, offset=start - before, **_COPY_ON_WRITE)
            return memoryview(mapped)[before:]

    def keys(self, prefix: str) -> list[str]:
        """Every key below *prefix*, sorted; temporary files and `.DS_Store` are not keys."""
        if prefix:
            check_key(prefix.removesuffix("/"))
        with self._explained("list", prefix):
            found = list(_walk(os.path.join(self.root, *prefix.split("/"))))
            if not found and os.path.isfile(self.root):
                raise StoreError(f"{self.root} is a file, not a folder", key=prefix)
            return sorted(prefix + below for below in found if is_key(below))

    def delete(self, keys: Iterable[str]) -> None:
        """Remove *keys*, durably, and every earlier deletion beside them."""
        folders = set()
        for key in keys:
            path = self._path(key)
            folders.add(os.path.dirname(path))
            with self._explained("delete", key), suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
        for folder in sorted(folders):
            gone = suppress(FileNotFoundError, NotADirectoryError)
            with self._explained("delete from", folder), gone:
                sync_folder(folder)

    def lock(self, key: str, *, wait: bool) -> FileLock | None:
        """Hold *key* alone among all processes; None if it is held and *wait* is false."""
        path = self._path(key)
        with self._explained("lock", key):
            # Durably: a put that finds the folders there syncs no further up.
            self._make_durable(os.path.dirname(path))
            return lock_file(path, wait=wait)

    def tidy(self) -> None:
        """Remove the temporary files of writers that died; links are not followed."""
        with self._explained("tidy", ""):
            for below in _walk(self.root, links=False):
                if _is_temp(below):
                    remove_if_left(os.path.join(self.root, below))

    def _path(self, key: str) -> str:
        return os.path.join(self.root, *check_key(key).split("/"))

    def _make_durable(self, folder: str) -> None:
        """Make *folder* and sync its name, once a process, from the root down."""
        if folder in self._durable:
            return
        parent = os.path.dirname(folder)
        if folder == self.root:
            _make_root(folder)
        else:
            self._make_durable(parent)
            with suppress(FileExistsError):
                os.mkdir(folder)
            sync_folder(parent)
        self._durable.add(folder)

    @contextmanager
    def _reading(self, key: str) -> Iterator[tuple[io.FileIO, int]]:
        """The file of *key*, open to read, and its size."""
        with self._explained("read", key), open(self._path(key), "rb", buffering=0) as file:
            yield file, os.fstat(file.fileno()).st_size

    def _explained(self, verb: str, key: str) -> _Explained:
        return _Explained(lambda error: self._explanation(verb, key, error))

    def _explanation(self, verb: str, key: str, error: OSError) -> CheckpointError:
        """The error of our tree that says what to do about *error*."""
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            if os.path.isfile(self.root):
                return StoreError(f"{self.root} is a file, not a folder", key=key)
            if verb == "read":
                return NotFoundError(f"no {key} in {self.root}", key=key)
            self._durable.clear()
        if verb == "read" and error.errno in (errno.EIO, errno.EISDIR):
            return IntegrityError(f"{self._where(key)} cannot be read: {error.strerror}", key=key)
        return self._failed(verb, key, error)

    def _failed(self, verb: str, key: str, error: OSError) -> StoreError:
        code = error.errno or 0
        why = _ADVICE.get(code, error.strerror or str(error))
        message = f"cannot {verb} {self._where(key)}: {why}"
        return StoreError(message, key=key, retryable=code in _RETRYABLE)

    def _where(self, key: str) -> str:
        return os.path.join(self.root, key)


class _Explained:
    """Turns an OSError into the error that *explain* gives for it.

    No generator: the frame that throws into one would keep the error, which
    keeps the frame, and with it all that the callers hold, arrays included,
    until the next collection.  A save asks for keys that are not there.
    """

    def __init__(self, explain: Callable[[OSError], CheckpointError]) -> None:
        self._explain = explain

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise self._explain(error) from error


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write that takes the place of *path* when the block ends well.

    Until then the old one is untouched; a crash leaves one or the other.
    """
    final = os.path.realpath(os.fspath(path))
    try:
        temp, fd = _open_temp(os.path.dirname(final))
        output = _Output(fd)
        try:
            with open(fd, "wb", closefd=False) as file:
                yield file
            sync_file(fd)
            with suppress(FileNotFoundError):
                os.chmod(temp, stat.S_IMODE(os.stat(final).st_mode))
            output.let_go()
            os.replace(temp, final)
            sync_folder(os.path.dirname(final))
        except BaseException:
            output.let_go()
            with suppress(OSError):
                os.unlink(temp)
            raise
        finally:
            output.close()
    except OSError as error:
        why = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise StoreError(f"cannot write {final}: {why}", key=final) from error


def _publish(output: _Output, fd: int, temp: str, final: str) -> None:
    """Give *temp*, written, its name *final*, durably; FileExistsError if that is taken."""
    sync_file(fd)
    output.let_go()
    publish(temp, final)
    with suppress(FileNotFoundError):  # A rename took it.
        os.unlink(temp)
    sync_folder(os.path.dirname(final))


def create_private(path: str, content: bytes) -> None:
    """Create *path*, durably, for its owner alone, and the folders that it lacks.

    FileExistsError if it is there, and then it is whole; OSError if it cannot be made.
    """
    folder = os.path.dirname(path)
    _make_root(folder, 0o700)
    temp, fd = _open_temp(folder, 0o600)
    output = _Output(fd)
    try:
        output.write(content)
        _publish(output, fd, temp, path)
    except BaseException:
        output.let_go()
        _withdraw(output, temp, path)
        raise
    finally:
        output.close()


def _make_root(root: str, mode: int = 0o777) -> None:
    """Make *root*, and make its name and those of the folders above it durable.

    Folders that are there may be another program's, made a moment ago and not
    synced.  One that we may not open is none that was made for us.
    """
    missing = []
    folder = root
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(folder, mode)
    while not os.path.ismount(root):
        root = os.path.dirname(root)
        with suppress(PermissionError):
            sync_folder(root)


def _open_temp(folder: str, mode: int = 0o666) -> tuple[str, int]:
    """A new temporary file in *folder*, locked to say that its writer lives."""
    while True:
        path = os.path.join(folder, TEMP + secrets.token_hex(8))
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), mode)
        if OPEN_FILES_STAY:
            return path, fd  # That it is open says enough.
        try:
            if lock_fd(fd, path, wait=True):
                return path, fd
        except BaseException:
            os.unlink(path)
            os.close(fd)
            raise
        os.close(fd)  # `tidy` came between the two calls; begin anew.


class _Output:
    """Writes to a file; the disk begins with the first bytes while the last are being made."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._identity: os.stat_result | None = None
        self._written = 0
        self._begun = 0

    def write(self, piece: Buffer) -> None:
        """Write all of *piece*, however little the system takes at a time."""
        rest = memoryview(piece).cast("B")
        while len(rest):
            count = os.write(self._fd, rest)
            self._written += count
            rest = rest[count:]
        if self._written - self._begun >= _WRITE_BACK and hasattr(os, "posix_fadvise"):
            # On Linux this starts the write-back of the dirty pages of a range and
            # drops its clean ones, of which there are none just after a write.
            # Measured on ext4: 1 GiB is written and synced in half the time.
            length = self._written - self._begun
            with suppress(OSError):  # It is advice: a system that takes none is no failure.
                os.posix_fadvise(self._fd, self._begun, length, os.POSIX_FADV_DONTNEED)
            self._begun = self._written

    def let_go(self) -> None:
        """Close it now where an open file can be neither moved nor removed."""
        if OPEN_FILES_STAY and self._fd >= 0:
            with suppress(OSError):
                self._identity = os.fstat(self._fd)
            self.close()

    def close(self) -> None:
        """Close it, once; all that a close can still report, the fsync has reported before."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def is_at(self, path: str) -> bool:
        """Whether *path* is this file."""
        return os.path.samestat(self._identity or os.fstat(self._fd), os.stat(path))


def _withdraw(output: _Output, temp: str, final: str) -> None:
    """Take back a put that failed: nobody may believe a name that a power cut can undo."""
    with suppress(OSError):
        if output.is_at(final):
            os.unlink(final)
            # Or a power cut could give it back after all that it names is pruned.
            sync_folder(os.path.dirname(final))
    with suppress(OSError):
        os.unlink(temp)


def _is_temp(below: str) -> bool:
    return os.path.basename(below).startswith(TEMP)


def _read_into(file: io.FileIO, start: int, target: memoryview) -> int:
    """Read from *start* on until *target* is full or the file ends; how many bytes there were."""
    file.seek(start)
    filled = 0
    while filled < len(target):
        count = file.readinto(target[filled:])
        if not count:
            break
        filled += count
    return filled


def _walk(folder: str, below: str = "", *, links: bool = True) -> Iterator[str]:
    """Every file under *folder*, as a `/`-separated path below it, through *links* or not."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=links):
            yield from _walk(entry.path, f"{below}{entry.name}/", links=links)
        elif entry.is_file(follow_symlinks=links):
            yield below + entry.name
