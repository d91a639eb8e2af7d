"""The versions of one job: its state at safe points, and what is known of each attempt.

Every version says in its manifest, as JSON, how far the job has got, so that
nothing need be unpickled to tell.  Each is put under the one number that comes
after the last that this attempt knows: once a newer attempt has begun, which
puts a version first of all, an older one that still lives can add none.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, field, fields, frozen

from checkpoint._codec import parse_codec
from checkpoint._foreign import check_size
from checkpoint._loading import Wanted
from checkpoint._members import members
from checkpoint._migration import default as migrations
from checkpoint._model import Snapshot
from checkpoint._reading import Wish
from checkpoint._repository import Repository
from checkpoint._retention import either, keep_last, keep_tagged
from checkpoint._saving import Saving
from checkpoint._telling import Telling
from checkpoint._trust import Policy
from checkpoint._upgrading import Terms
from checkpoint.errors import ConflictError, IntegrityError, JobError, about

_KEEP = either(keep_last(3), keep_tagged())
_FAILURES = 5  # that are remembered
ARCHIVED = "archived-"
TURN = "turn"  # the newest version at the end of a turn of an outermost loop


@frozen
class Owner:
    """A process that works, or worked, on a job."""

    host: str
    pid: int
    boot: str

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            boot = ""
        return cls(socket.gethostname(), os.getpid(), boot)

    def is_dead(self) -> bool:
        """Whether the process is known to have ended; of another machine nothing is known."""
        here = Owner.here()
        if here.host != self.host:
            return False
        if self.boot != here.boot:
            return True
        if os.name == "nt":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@frozen
class Entry:
    """What a version of a job says of it."""

    function: str
    arguments: str
    status: str  # running, done, preempted, interrupted, failed, reset
    attempt: int = 0
    position: str = ""  # for people: "turn 4,521 of 10,000"
    saves: int = 0  # at safe points, in all attempts
    worked: float = 0.0  # seconds, of which nothing was lost
    stuck: int = 0  # attempts that ended badly since the last save at a safe point
    generation: int = 1  # how often it began anew
    keeps_result: bool = False  # once it is done; a block has none
    code: str = ""
    source: str = ""
    owner: Mapping[str, Any] = field(factory=dict)
    failures: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.function}({self.arguments})"

    def failed(self, failure: str) -> Entry:
        """The same after one more failure."""
        return evolve(self, status="failed", failures=(*self.failures, failure)[-_FAILURES:])


def entry_of(snapshot: Snapshot) -> Entry:
    """What *snapshot* says of its job; JobError if it is no job's."""
    meta = snapshot.meta
    if not isinstance(meta, dict) or not isinstance(meta.get("job"), dict):
        raise JobError(
            f"version {snapshot.version} of {snapshot.name!r} was not saved by a job; "
            "give the job another name, or another store",
            name=snapshot.name,
            version=snapshot.version,
        )
    names = {attribute.name for attribute in fields(Entry)}
    known = {name: value for name, value in meta["job"].items() if name in names}
    return Entry(**known | {"failures": tuple(known.get("failures", ()))})


class Ledger:
    """The versions of the job *name*, as one attempt knows and adds to them."""

    def __init__(self, repository: Repository, name: str, policy: Policy | None) -> None:
        self.name = name
        self.repository = repository
        self.policy = policy
        self._terms = Terms(migrations, "raise", "warn", policy)
        self._process = os.getpid()
        telling = Telling(self._terms)
        self._saving = Saving(repository, name, parse_codec("zstd"), _KEEP, migrations, telling)
        self._saving.fence = repository.line(name).highest()

    def newest(self) -> Snapshot | None:
        """The newest version that is whole, without its state."""
        found = self.repository.snapshots(self.name)
        return found[-1] if found else None

    def load(self) -> Any:
        """The state of the newest version."""
        wanted = Wanted((), self._terms)
        wish = Wish(admit=partial(check_size, self._terms))
        manifest, parts = self.repository.read_newest(self.name, wish)
        version = manifest.version
        assert version is not None
        again = partial(self.repository.read, self.name, version, wish)
        with about(self.name, version, ""):
            state = wanted.loaded(manifest, parts, lambda: again()[1])
        self._saving.follows(manifest)
        return state

    def loaded(self) -> Entry:
        """What the version says that was loaded, which may not be the newest."""
        found = self.repository.snapshots(self.name)
        return entry_of(next(one for one in found if one.version == self._saving.parent))

    def save(self, state: Any, meta: Mapping[str, Any], tags: tuple[str, ...] = ()) -> Snapshot:
        """Add a version; ConflictError if another attempt has added one."""
        with self._fenced():
            return self._saving.save(state, members(meta, tags), None)

    def follow(self, version: int) -> None:
        """What is added next has the state of *version*."""
        self._saving.parent = version

    def restamp(self, meta: Mapping[str, Any]) -> Snapshot:
        """Add a version with the state of the last one, and something else said of it."""
        saving = self._saving
        assert saving.fence is not None and saving.parent is not None
        with self._fenced():
            added = self.repository.restamp(
                self.name, saving.parent, saving.fence + 1, **members(meta)
            )
        saving.fence = saving.parent = added.version
        saving.clean(added)
        return added

    def check_newest(self) -> None:
        """ConflictError if a newer attempt has begun."""
        with self._fenced():
            if self.repository.line(self.name).highest() != self._saving.fence:
                raise ConflictError(f"{self.name!r} has a newer version", name=self.name)

    def caught_up(self, entry: Entry) -> Entry | None:
        """What the newest version says, if it is of the attempt that *entry* is of.

        That may be more than the attempt knows: an interrupt can break a save
        off after its version was made.
        """
        newest = self.newest()
        last = None if newest is None else entry_of(newest)
        if last is None or (last.generation, last.attempt) != (entry.generation, entry.attempt):
            return None
        assert newest is not None
        self._saving.fence = self._saving.parent = newest.version
        return last

    def keep_newest(self) -> None:
        """Delete all versions but the newest, and those that are archived."""
        newest = self._saving.parent
        assert newest is not None
        with suppress(IntegrityError):  # Nothing is deleted beside what is damaged.
            self.repository.retain(self.name, newest, _archived)

    def archive(self) -> None:
        """Tag the newest version, so that it stays."""
        newest = self.newest()
        if newest is not None:
            highest = self.repository.line(self.name).highest()
            tag = f"{ARCHIVED}{newest.version}"
            self.repository.tags(self.name).move(tag, newest.version, highest)

    def _fenced(self) -> _Fenced:
        if os.getpid() != self._process:
            raise JobError(
                f"this process was forked from the one that works on {self.name!r}, which alone "
                "saves it; end a child with os._exit(), or use multiprocessing",
                name=self.name,
            )
        return _Fenced(self.name)


class _Fenced:
    """Says what it means that a number was taken."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ConflictError):
            raise ConflictError(
                f"a newer attempt of {self._name!r} has begun, so this one can save no more; "
                "nothing that the newer one saved is touched",
                name=self._name,
            ) from error


def lease_key(name: str) -> str:
    """What the process holds that works on the job *name*."""
    return f"leases/jobs/{name}"


def _archived(snapshots: Sequence[Snapshot]) -> set[int]:
    return {s.version for s in snapshots if any(tag.startswith(ARCHIVED) for tag in s.tags)}


def said(entry: Entry) -> dict[str, Any]:
    """*entry* as the `meta` of a manifest."""
    return {"job": asdict(entry) | {"owner": dict(entry.owner), "failures": [*entry.failures]}}
