"""One attempt at a job, from the lock to the last word on how it ended.

An attempt begins with a version of its own, before anything is run: older ones
that still live can save no more from then on, and a store that does not work
is found out at once.
"""

from __future__ import annotations

import os
import traceback
from contextlib import ExitStack, suppress
from datetime import datetime
from time import monotonic, sleep
from typing import Any, Literal, get_args

from attrs import asdict, evolve, frozen

from checkpoint._jobs import chance
from checkpoint._jobs.fingerprint import Code, changed, difference
from checkpoint._jobs.job import Job, current
from checkpoint._jobs.ledger import Entry, Ledger, Owner, entry_of, lease_key, said
from checkpoint._jobs.progress import resumed_line
from checkpoint._jobs.stopping import SIGNALS, Preempted, check_signals, say, stops
from checkpoint._jobs.watch import Every, Span, Watch, end_of
from checkpoint._repository import Repository
from checkpoint._trust import Policy
from checkpoint.errors import (
    CheckpointError,
    ConflictError,
    CrashLoopError,
    JobError,
    JobWarning,
    warn,
)
from checkpoint.store import Lock, Locking

OnBusy = Literal["error", "wait", "steal-if-dead"]
OnCodeChange = Literal["warn", "error", "restart", "ignore"]

_TRACE = 2000  # characters of a traceback that are kept
_TRIES, _PAUSE = 10, 0.01  # to hold a job, and seconds between two of them
_POLL = 0.2  # seconds between two looks at who works on a job


@frozen
class Rules:
    """How a job is run: the options of `resumable` and `job`."""

    every: Every = None
    on_busy: OnBusy = "error"
    on_code_change: OnCodeChange = "warn"
    deadline: Span | datetime | None = None
    max_attempts: int = 5
    grace: float = 30.0
    signals: tuple[str, ...] = SIGNALS
    policy: Policy | None = None  # what strangers' files may have

    def __attrs_post_init__(self) -> None:
        Watch(self.every)
        check_signals(self.signals)
        end_of(self.deadline, {}, 0.0)
        for name, allowed in (("on_busy", OnBusy), ("on_code_change", OnCodeChange)):
            if getattr(self, name) not in get_args(allowed):
                choices = ", ".join(map(repr, get_args(allowed)))
                raise ValueError(f"{name} is one of {choices}, not {getattr(self, name)!r}")
        if not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise ValueError(f"max_attempts is a number from 1 on, not {self.max_attempts!r}")
        if not (isinstance(self.grace, int | float) and self.grace > 0):
            raise ValueError(f"grace is a number of seconds above 0, not {self.grace!r}")


class Attempt:
    """Opens a job, and says how it ended when the block is left.

    `finished` is true, and no block need be run, if the job was done before.
    """

    def __init__(
        self,
        repository: Repository,
        name: str,
        entry: Entry,
        code: Code,
        rules: Rules,
        parent: Job | None = None,
    ) -> None:
        self._repository, self._name, self._fresh = repository, name, entry
        self._code, self._rules, self._parent = code, rules, parent
        self.finished = False
        self.result: Any = None
        self._anew = False
        self._stack = ExitStack()

    def __enter__(self) -> Attempt:
        ledger = Ledger(self._repository, self._name, self._rules.policy)
        if self._is_finished(ledger):
            return self
        with ExitStack() as stack:
            if self._parent is None:
                lock = self._lock(ledger)
                if lock is not None:
                    stack.enter_context(lock)
                ledger = Ledger(
                    self._repository, self._name, self._rules.policy
                )  # of now: another may have ended it
                if self._is_finished(ledger):
                    return self
            self._open(ledger, stack)
            self._stack = stack.pop_all()
        return self

    # --- is it done, and may we? --------------------------------------------

    def _is_finished(self, ledger: Ledger) -> bool:
        newest = ledger.newest()
        if newest is None:
            return False
        entry = entry_of(newest)
        if entry.status != "done" or not entry.keeps_result or self._judge(entry):
            return False
        record = ledger.load()
        if self._parent is not None:
            chance.restore(record["chance"])
        self.result, self.finished = record["result"], True
        return True

    def _judge(self, entry: Entry) -> bool:
        """Whether to begin anew because the code has changed; warns, or raises, if it has."""
        rules, code = self._rules, self._code
        if self._anew or rules.on_code_change == "ignore" or not self._has_changed(entry):
            return self._anew
        what = difference(entry.source, code.text)
        told = f"the code of {entry.function} has changed since {entry.title} was saved"
        if rules.on_code_change == "restart":
            say(f"{told}; it begins anew, and what was saved is archived")
            self._anew = True
            return True
        if rules.on_code_change == "error":
            raise JobError(
                f"{told}; go on with on_code_change='warn', or begin anew with 'restart'\n{what}",
                name=self._name,
            )
        goes_on = "its result is the one from before" if entry.status == "done" else "it goes on"
        warn(f"{told}; {goes_on}\n{what}".rstrip(), JobWarning)
        return False

    def _has_changed(self, entry: Entry) -> bool:
        return bool(self._code.digest) and changed(entry.code, self._code.digest)

    def _lock(self, ledger: Ledger) -> Lock | None:
        """The job, held by this process alone; None where nothing can hold it."""
        store, rules = self._repository.store, self._rules
        if isinstance(store, Locking):
            for _ in range(_TRIES):
                lock = store.lock(lease_key(self._name), wait=rules.on_busy == "wait")
                if lock is not None:
                    return lock
                sleep(_PAUSE)  # Who only looks at the job holds it for a moment.
        owner, ended = _last_owner(ledger)
        while rules.on_busy == "wait" and not ended:  # Without a lock there is nothing to wait on.
            sleep(_POLL)
            owner, ended = _last_owner(ledger)
        if ended and not isinstance(store, Locking):
            return None
        if rules.on_busy == "steal-if-dead" and owner is not None:
            # Where a lock is held, whoever holds it lives, unless that is no owner at all.
            there = isinstance(store, Locking) or owner.host == Owner.here().host
            if owner.is_dead() or not there:
                return None
        raise ConflictError(
            f"{self._fresh.title} is run by {owner or 'another process'} now; wait for it with "
            "on_busy='wait', or let it end",
            name=self._name,
        )

    # --- open ---------------------------------------------------------------

    def _open(self, ledger: Ledger, stack: ExitStack) -> None:
        rules, record, last_status = self._rules, {}, ""
        newest = ledger.newest()
        entry = evolve(self._fresh, code=self._code.digest, source=self._code.text)
        if newest is not None:
            last = entry_of(newest)
            if last.status != "reset" and self._judge(last):
                ledger.archive()
                last = evolve(last, status="reset")
            if last.status == "reset":
                entry = evolve(entry, generation=last.generation + 1)
            else:
                record, last_status = ledger.load(), last.status
                entry = self._continued(last, ledger.loaded(), entry)
        entry = evolve(
            entry, status="running", attempt=entry.attempt + 1, owner=asdict(Owner.here())
        )
        ends = end_of(rules.deadline, dict(os.environ), monotonic())
        if self._parent is not None:
            ends = min(ends, self._parent.watch.ends)
        watch = Watch(rules.every, ends)
        # Before it says that it runs: a signal that came between would look like a crash.
        main = stops.enter(watch, rules.signals, rules.grace)
        stack.callback(stops.leave, watch, main=main)
        job = Job(ledger, entry, record, watch, rules.every, rules.grace, self._parent)
        job.is_block = not entry.keeps_result
        self.job = job
        # What it draws before its first loop is the same in every attempt.
        if record:
            ledger.restamp(said(entry))
            chance.restore(job.root.begun)
        else:
            job.root.begun = chance.captured()
            job.put(job.record(job.root))
        stack.callback(current.reset, current.set(job))
        if self._parent is None:
            self._say(entry, was_done=bool(record) and last_status == "done")

    def _continued(self, last: Entry, loaded: Entry, fresh: Entry) -> Entry:
        """What the next attempt begins with; CrashLoopError if it is one too many.

        It follows the *last* one, with the state of the version that was *loaded*.
        """
        stuck, failures = last.stuck, last.failures
        if last.status in ("running", "failed"):
            stuck += 1
        if last.status == "running":
            where = f" at {last.position}" if last.position else ""
            failures = last.failed(
                f"attempt {last.attempt}: killed{where}, without a word"
            ).failures
        if self._has_changed(last):
            stuck = 0  # Whatever it died of may be mended.
        if stuck >= self._rules.max_attempts:
            raise CrashLoopError(
                f"{last.title} was begun {stuck} times and got no further than "
                f"{last.position or 'its beginning'}; mend what is wrong, or allow more with "
                "max_attempts=, or begin anew with reset()\n"
                + "\n".join(failure.strip().rpartition("\n")[2] for failure in failures),
                failures=failures,
                name=self._name,
            )
        kept = ("position", "saves", "worked", "generation")
        values = {name: getattr(loaded, name) for name in kept}
        return evolve(fresh, attempt=last.attempt, stuck=stuck, failures=failures, **values)

    def _say(self, entry: Entry, *, was_done: bool) -> None:
        if was_done:
            say(f"{entry.title} was done before; what it made is taken from its journal")
        elif entry.position:
            say(
                resumed_line(entry.title, entry.position, entry.worked).removeprefix("checkpoint: ")
            )
        else:
            say(f"{entry.title} saves to {self._repository.store}")

    # --- end ----------------------------------------------------------------

    def finish(self, result: Any) -> None:
        """The function has returned: keep its result, durably; of a block what it has saved."""
        job = self.job
        job.check_swallowed()
        now = monotonic()
        job.entry = evolve(job.entry, status="done", worked=job.worked(now), stuck=0)
        if job.entry.keeps_result:
            # Whoever called it goes on with the random numbers after it.
            after = None if self._parent is None else chance.captured()
            job.put({"result": result, "chance": after})
            job.journal.clear()
            self._forget_children()
        else:
            job.check_arrived()
            job.ledger.restamp(said(job.entry))
        job.ledger.keep_newest()

    def _forget_children(self) -> None:
        """Delete the jobs that this one has called: their results are in its own."""
        repository = self._repository
        for name in repository.names(f"{self._name}/inside/"):
            repository.delete(name, repository.line(name).versions())

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self.finished:
            return
        with self._stack:
            if error is not None:
                self._note(error)
            if isinstance(error, Preempted | KeyboardInterrupt) and self._parent is None:
                where = self.job.saved_entry.position
                at = f" after {where}" if where else ""
                say(f"{self.job.entry.title} has stopped{at}; call it again, and it goes on")

    def _note(self, error: BaseException) -> None:
        """Say of the newest version how the attempt ended; its state stays the last good one."""
        job = self.job
        if job.stopped_by(error):
            return
        entry: Entry | None = job.saved_entry
        try:
            entry = job.ledger.caught_up(job.saved_entry)
            if entry is None:
                return  # A newer attempt has the word.
            if entry.status == "done":
                return  # The result is kept, whatever broke off the cleaning after it.
            job.ledger.restamp(said(_ended(entry, error)))
        except CheckpointError as failure:
            with suppress(Exception):
                error.add_note(f"checkpoint: and this could not be noted: {failure}")
        if entry is not None and isinstance(error, Exception) and self._parent is None:
            where = f" from {entry.position}" if entry.position else ""
            error.add_note(f"checkpoint: called again, {job.entry.title} goes on{where}")


def _last_owner(ledger: Ledger) -> tuple[Owner | None, bool]:
    """Who last worked on a job, and whether that has ended as far as the job's versions tell."""
    newest = ledger.newest()
    entry = None if newest is None else entry_of(newest)
    owner = Owner(**entry.owner) if entry and entry.owner else None
    ended = entry is None or entry.status != "running" or owner is None or owner.is_dead()
    return owner, ended


def _ended(entry: Entry, error: BaseException) -> Entry:
    """*entry* of an attempt that *error* has ended."""
    if isinstance(error, KeyboardInterrupt):
        return evolve(entry, status="interrupted")
    if isinstance(error, Preempted):
        return evolve(entry, status="preempted")
    lines = "".join(traceback.format_exception(error))[-_TRACE:]
    where = f", after {entry.position}" if entry.position else ""
    return entry.failed(f"attempt {entry.attempt}{where}: {lines}")
