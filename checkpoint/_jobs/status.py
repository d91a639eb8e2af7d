"""What is known of a job without unpickling anything of it."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

from checkpoint._jobs.ledger import ARCHIVED, Entry, entry_of
from checkpoint._jobs.progress import span_text
from checkpoint._model import Snapshot, size_text
from checkpoint._repository import Repository
from checkpoint.errors import JobError


@frozen
class JobStatus:
    """A job as one version of it says: how far it has got, and how its attempts ended.

    `status` is `running` (or killed while it was), `done`, `preempted`,
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
    entry: Entry = entry_of(snapshot)
    owner = entry.owner
    return JobStatus(
        name=snapshot.name,
        function=entry.function,
        arguments=entry.arguments,
        status=entry.status,
        position=entry.position,
        attempt=entry.attempt,
        worked=entry.worked,
        failures=entry.failures,
        owner=f"process {owner['pid']} on {owner['host']}" if owner else "",
        source=entry.source,
        version=snapshot.version,
        saved=snapshot.created,
        size=snapshot.size,
        archived=any(tag.startswith(ARCHIVED) for tag in snapshot.tags),
    )


def jobs_in(repository: Repository) -> list[JobStatus]:
    """The newest status of every job in *repository*; what is no job is left out."""
    found = []
    for name in repository.names():
        snapshots = repository.snapshots(name)
        try:
            found.append(status_of(snapshots[-1]))
        except (IndexError, JobError):
            continue
    return found
