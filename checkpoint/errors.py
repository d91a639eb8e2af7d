"""Every error that `checkpoint` raises on purpose.

    CheckpointError                  everything below; fields name, version, key
    ├── NotFoundError                ask for something else              (also LookupError)
    ├── ConflictError                another writer was first
    ├── IntegrityError               the bytes are damaged
    ├── FormatError                  from a newer release, or not ours
    │   └── InvalidNameError         not a name or tag                  (also ValueError)
    ├── MigrationError               a class moved or changed: register a rename or a migration
    ├── UnsafeError                  the trust policy said no
    ├── SerializationError           the graph holds something that cannot be saved: says where
    ├── JobError                     a job cannot go on as it is
    │   ├── UnsavedStateError        a resume would lose it; found at decoration (also TypeError)
    │   ├── ReplayError              the program takes another way than its journal says
    │   └── CrashLoopError           it dies again and again at one place; see `failures`
    └── StoreError                   disk or network; see `__cause__` and `retryable`

A message says what, which, and what to do.  `TypeError` and `ValueError` stay
for programming mistakes.  Only the message is positional, so that an error
survives pickling with its fields.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class CheckpointError(Exception):
    """Something about a snapshot or a store went wrong; the fields say which.

    `name` and `version` name the snapshot, `key` the stored object; each is
    None where it does not apply.
    """

    __module__ = "checkpoint"

    def __init__(
        self,
        message: str = "",
        *,
        name: str | None = None,
        version: int | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.name = name
        self.version = version
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, self.__dict__


class NotFoundError(CheckpointError, LookupError):
    """What was asked for is not there; ask for something else."""

    __module__ = "checkpoint"


class ConflictError(CheckpointError):
    """Another writer was first, or is at work now."""

    __module__ = "checkpoint"


class IntegrityError(CheckpointError):
    """The stored bytes are damaged; older versions are not touched by it."""

    __module__ = "checkpoint"


class FormatError(CheckpointError):
    """The bytes come from a newer release, or are not ours at all."""

    __module__ = "checkpoint"


class InvalidNameError(FormatError, ValueError):
    """A name or tag that cannot be one; the message gives the rule."""

    __module__ = "checkpoint"


class MigrationError(CheckpointError):
    """A class moved or changed; register a rename or a migration.

    `path` leads from the root of the graph to the object, as Python source; it
    is None where it is about a class and not about one of its instances.
    """

    __module__ = "checkpoint"

    def __init__(self, message: str = "", *, path: str | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.path = path


class UnsafeError(CheckpointError):
    """The trust policy refused what the bytes ask for, before anything was built.

    `offset` and `opcode` say where in the stream, `global_name` which global it
    is about (`module:qualname`); each is None where it does not apply.  Of a
    plain pickle it is the place in its translation to protocol 5.
    """

    __module__ = "checkpoint"

    def __init__(
        self,
        message: str = "",
        *,
        offset: int | None = None,
        opcode: str | None = None,
        global_name: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.offset = offset
        self.opcode = opcode
        self.global_name = global_name


class SerializationError(CheckpointError):
    """The graph holds something that cannot be saved, or rebuilding it failed.

    `path` leads from the root of the graph to the object, as Python source:
    `state['players'][3].socket`; it is None where no path is known.
    """

    __module__ = "checkpoint"

    def __init__(self, message: str = "", *, path: str | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.path = path


class StoreError(CheckpointError):
    """The disk or the network failed; `__cause__` is the original error.

    `retryable` is true where trying again may help (a lost connection), and
    false where somebody must act first (a full disk, a missing right).
    """

    __module__ = "checkpoint"

    def __init__(self, message: str = "", *, retryable: bool = False, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.retryable = retryable


class JobError(CheckpointError):
    """A job cannot go on as it is; the message says what to change."""

    __module__ = "checkpoint"


class UnsavedStateError(JobError, TypeError):
    """A function keeps state where a resume would lose it; give it to the job."""

    __module__ = "checkpoint"


class ReplayError(JobError):
    """The program takes another way than the one its journal has; the message says where."""

    __module__ = "checkpoint"


class CrashLoopError(JobError):
    """A job died again and again without getting further; `failures` tells how, oldest first."""

    __module__ = "checkpoint"

    def __init__(self, message: str = "", *, failures: tuple[str, ...] = (), **fields: Any) -> None:
        super().__init__(message, **fields)
        self.failures = failures


@contextmanager
def about(name: str, version: int, key: str) -> Iterator[None]:
    """Say in an error of ours which snapshot it is about."""
    try:
        yield
    except CheckpointError as error:
        error.name = error.name or name
        error.version = error.version or version
        error.key = error.key or key
        raise


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the program that called into this package."""
    level, _ = program_frame(sys._getframe(1))
    warnings.warn(message, category, stacklevel=2 + level)


def program_frame(frame: FrameType) -> tuple[int, FrameType]:
    """The frame that called into this package, and how many calls above *frame* it is."""
    package = os.path.dirname(__file__) + os.sep
    level = 0
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        level, frame = level + 1, frame.f_back
    return level, frame


class DamagedSnapshotWarning(UserWarning):
    """A damaged snapshot or file was passed over; the message names it."""

    __module__ = "checkpoint"


class RetentionWarning(UserWarning):
    """A version was saved, but old ones could not be cleaned up after it."""

    __module__ = "checkpoint"


class SchemaWarning(UserWarning):
    """A class changed since a snapshot was saved, and nothing says how; the message names it."""

    __module__ = "checkpoint"


class UntrustedTypeWarning(UserWarning):
    """What was saved holds something that would be refused if it came from a stranger."""

    __module__ = "checkpoint"


class JobWarning(UserWarning):
    """A job goes on, though it is not quite what was saved; the message says what changed."""

    __module__ = "checkpoint"
