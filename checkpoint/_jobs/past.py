"""What may be done with a job that nobody runs: begin it anew, or go back in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import evolve

from checkpoint._jobs.ledger import TURN, Ledger, entry_of, lease_key, said
from checkpoint._repository import Repository
from checkpoint._trust import Policy
from checkpoint.errors import ConflictError, NotFoundError
from checkpoint.store import Locking


def reset(repository: Repository, name: str) -> None:
    """Have the job begin anew when it is run next; what is saved is archived, under a tag."""
    with _held(repository, name) as ledger:
        newest = ledger.newest()
        if newest is not None and entry_of(newest).status != "reset":
            ledger.archive()
            ledger.save({}, said(evolve(entry_of(newest), status="reset", position="")))


def step_back(repository: Repository, name: str) -> None:
    """Have the job go on from the last turn of an outermost loop when it is run next."""
    with _held(repository, name) as ledger:
        found = [one for one in repository.snapshots(name) if TURN in one.tags]
        if not found:
            raise NotFoundError(
                f"{name!r} was never saved at the end of a turn of an outermost loop; "
                "reset() begins it anew",
                name=name,
            )
        ledger.follow(found[-1].version)
        ledger.restamp(said(evolve(entry_of(found[-1]), status="interrupted", stuck=0)))


@contextmanager
def _held(repository: Repository, name: str) -> Iterator[Ledger]:
    store = repository.store
    if not isinstance(store, Locking):
        yield Ledger(repository, name, Policy(()))
        return
    lock = store.lock(lease_key(name), wait=False)
    if lock is None:
        raise ConflictError(f"{name!r} is run by another process now; let it end", name=name)
    with lock:
        yield Ledger(repository, name, Policy(()))
