"""What is known of a job without unpickling anything of it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from attrs import evolve, field, frozen

from checkpoint._jobs.ledger import ARCHIVED, Owner, entry_of, lease_key
from checkpoint._jobs.progress import span_text
from checkpoint._model import Snapshot, size_text
from checkpoint._repository import Repository
from checkpoint.errors import JobError
from checkpoint.store import Locking, Store


@frozen
class JobStatus:
    """A job as one version of it says: how far it has got, and how its attempts ended.

    `status` is `running`, `killed` while it was, `done`, `preempted`,
    `interrupted`, `failed` or `reset`; `worked` are the seconds of work that
    are kept.
    """

    __module__ = "checkpoint"

    name: str
    function: str
    arguments: str
    status: str
    position: str
    attempt: int
    worked: float
    failures: tuple[str, ...] = field(repr=False)
    owner: str = field(repr=False)
    source: str = field(repr=False)
    version: int = field(repr=False)
    saved: datetime = field(repr=False)
    size: int = field(repr=False)
    archived: bool = False

    @property
    def title(self) -> str:
        """The function and its arguments."""
        return f"{self.function}({self.arguments})"

    def __str__(self) -> str:
        """One line for people."""
        at = f" at {self.position}" if self.position and self.status != "done" else ""
        return (
            f"{self.title}: {self.status}{at}, {span_text(self.worked)} of work, "
            f"attempt {self.attempt}, {size_text(self.size)}"
        )


def status_of(snapshot: Snapshot) -> JobStatus:
    """What *snapshot* says of its job; JobError if it is no job's."""
    entry = entry_of(snapshot)
    return JobStatus(
        name=snapshot.name,
        function=entry.function,
        arguments=entry.arguments,
        status=entry.status,
        position="its end" if entry.status == "done" else entry.position,
        attempt=entry.attempt,
        worked=entry.worked,
        failures=entry.failures,
        owner=str(Owner(**entry.owner)) if entry.owner else "",
        source=entry.source,
        version=snapshot.version,
        saved=snapshot.created,
        size=snapshot.size,
        archived=any(tag.startswith(ARCHIVED) for tag in snapshot.tags),
    )


def history_of(repository: Repository, name: str) -> list[JobStatus]:
    """The versions of a job that are kept, oldest first; the newest as it is now."""
    found = [status_of(snapshot) for snapshot in repository.snapshots(name)]
    if found and found[-1].status == "running" and not _is_held(repository.store, name):
        found[-1] = evolve(found[-1], status="killed")
    return found


def jobs_in(repository: Repository) -> list[JobStatus]:
    """The newest status of every job in *repository*; what is no job is left out."""
    found = []
    for name in repository.names():
        with suppress(JobError):
            found += history_of(repository, name)[-1:]
    return found


def _is_held(store: Store, name: str) -> bool:
    """Whether a process works on the job; so it is taken to be where nothing can tell."""
    if not isinstance(store, Locking):
        return True
    lock = store.lock(lease_key(name.partition("/inside/")[0]), wait=False)
    if lock is not None:
        with lock:
            return False
    return True
