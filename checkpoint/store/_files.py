"""What the operating systems do differently: sync, no-replace publish, locks.

Locks are `flock`: they belong to the open file, not to the process, so closing
another descriptor of the same file does not lose them, and they end with their
holder however it dies.
"""

from __future__ import annotations

import errno
import os
import sys
import weakref
from contextlib import suppress

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Files whose names begin so are not keys; once nobody locks them they are litter.
TEMP = ".tmp-"

# Whether a file that is open can be neither removed nor renamed.
OPEN_FILES_STAY = sys.platform == "win32"

# A folder that cannot be synced at all says so with these; EIO is a failure.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def sync_file(fd: int) -> None:
    """Put the file's bytes on the medium, through the drive's cache where that can be asked."""
    full = getattr(fcntl, "F_FULLFSYNC", None) if sys.platform != "win32" else None
    if full is None:
        os.fsync(fd)
        return
    try:
        fcntl.fcntl(fd, full)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.ENOTSUP, errno.EINVAL):
            raise
        os.fsync(fd)


def sync_folder(folder: str) -> None:
    """Put the folder's entries on the medium; Windows does that by itself."""
    if sys.platform == "win32":
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


def publish(temp: str, final: str) -> None:
    """Give the file *temp* the name *final*; FileExistsError if that is taken.

    Where there are no hard links, *temp* is gone when it returns.
    """
    try:
        os.link(temp, final)
    except FileExistsError:
        # A repeated request (NFS) may report a failure after its own success.
        if not _same(temp, final):
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_new(temp, final)


def _same(temp: str, final: str) -> bool:
    try:
        return os.path.samefile(temp, final)
    except FileNotFoundError:
        return False  # It was another's, and has been deleted meanwhile.


def _rename_new(temp: str, final: str) -> None:
    """Rename without replacing, where there are no hard links (exFAT, some mounts)."""
    if sys.platform == "win32":
        os.rename(temp, final)
        return
    code = _renameat2(temp, final)
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        _rename_locked(temp, final)
    elif code:
        raise OSError(code, os.strerror(code), final)


def _renameat2(temp: str, final: str) -> int:
    """Linux's no-replace rename; the error number, 0 when done."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return errno.ENOSYS
    here, no_replace = -100, 1
    if libc.renameat2(here, os.fsencode(temp), here, os.fsencode(final), no_replace) == 0:
        return 0
    return ctypes.get_errno()


def _rename_locked(temp: str, final: str) -> None:
    lock = lock_file(os.path.join(os.path.dirname(final), TEMP + "rename"), wait=True)
    assert lock is not None
    with lock:
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), final)
        os.rename(temp, final)


class FileLock:
    """A locked file; leaving the `with` block removes it and lets go."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd

    def close(self) -> None:
        """Close without letting go: what a child of fork does with its parent's locks."""
        with suppress(OSError):
            os.close(self._fd)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *error: object) -> None:
        if self not in _held:
            return  # A child of fork: the lock is the parent's.
        _held.discard(self)
        if OPEN_FILES_STAY:
            os.close(self._fd)
            with suppress(OSError):  # Whoever waits for it has it open, and keeps it there.
                os.unlink(self._path)
            return
        # Remove first: who waits for the lock must see that the file is gone.
        with suppress(OSError):
            os.unlink(self._path)
        os.close(self._fd)


def lock_file(path: str, *, wait: bool, create: bool = True) -> FileLock | None:
    """Lock the file at *path*, making it where needed; None if another holds it."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
        except FileNotFoundError:
            if create:
                raise
            return None
        try:
            if lock_fd(fd, path, wait=wait):
                lock = FileLock(path, fd)
                _held.add(lock)
                return lock
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def remove_if_left(path: str) -> None:
    """Remove the temporary file at *path* unless its writer lives."""
    if OPEN_FILES_STAY:
        with suppress(FileNotFoundError, PermissionError):  # A living writer has it open.
            os.unlink(path)
        return
    # A living writer holds a lock on it.
    lock = lock_file(path, wait=False, create=False)
    if lock is not None:
        with lock:
            pass


def lock_fd(fd: int, path: str, *, wait: bool) -> bool:
    """Lock an open file; false if by then it is no longer the one at *path*.

    The last holder removes the file, so that a waiter may get a ghost.
    BlockingIOError if another holds it and *wait* is false.
    """
    _flock(fd, wait=wait)
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _flock(fd: int, *, wait: bool) -> None:
    if sys.platform != "win32":
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    else:
        while True:
            try:
                msvcrt.locking(fd, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                return
            except OSError as error:
                if not wait:
                    raise BlockingIOError(*error.args) from error


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_locks() -> None:
    for lock in list(_held):
        lock.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
