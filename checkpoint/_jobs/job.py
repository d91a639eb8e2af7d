"""A job: state that is saved at safe points, loops that go on, calls that are journaled."""

from __future__ import annotations

import functools
import re
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any, TypeVar

from attrs import evolve

from checkpoint._jobs import chance
from checkpoint._jobs.journal import Journal
from checkpoint._jobs.ledger import TURN, Entry, Ledger, said
from checkpoint._jobs.loops import Loop
from checkpoint._jobs.maps import Failed, OnError, Ways, mapped
from checkpoint._jobs.marks import Mark, changes, mark_of
from checkpoint._jobs.places import Key, Node
from checkpoint._jobs.steps import called
from checkpoint._jobs.stopping import exception_for, stops
from checkpoint._jobs.watch import Every, Watch
from checkpoint.errors import JobError, JobWarning, ReplayError, SerializationError, warn

T = TypeVar("T")

_BUILDERS = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType,
             functools.partial)  # fmt: skip
_STATE_OF = re.compile(r"state\['(\w+)'\]")
_STATE = re.compile(r"state\['state'\]\['(\w+)'\]")


class Job:
    """One attempt at a job; the function gets it as its argument `job`."""

    __module__ = "checkpoint"

    def __init__(
        self,
        ledger: Ledger,
        entry: Entry,
        record: Mapping[str, Any],
        watch: Watch,
        every: Every,
        grace: float,
        parent: Job | None = None,
    ) -> None:
        self.watch = watch
        self.grace = grace
        self.calls = Watch(None, watch.ends)  # knows how long a journaled call takes
        self._every = every
        self._thread = threading.get_ident()
        self._parent = parent
        self.entry = self.saved_entry = entry
        self.root = Node.restored(record["loops"]) if record else Node()
        self._saved = Node.restored(self.root.saved())  # as the newest version has it
        self.ledger = ledger
        self.journal = Journal(
            ledger.repository,
            ledger.name,
            self._is_past,
            ledger.policy,
            entry.generation,
            self.got_further,
            ledger.check_newest,
        )
        self.yielded: Any = record.get("yielded")
        self.is_block = False
        self._asked: str | None = None
        self._stopped: BaseException | None = None
        self._begun, self._before = monotonic(), entry.worked
        self._here = self.root
        self._keepers: dict[Node, Any] = {}  # iterables that keep their own state
        self._given: set[str] = set()
        self._state = types.SimpleNamespace(**record.get("state", {}))
        # Where the newest save was made, until this attempt has come there again.
        self._target: tuple[str, ...] | None = tuple(record["here"]) or None if record else None
        self._chance = record.get("chance")
        self._unsure: dict[str, Any] | None = None
        self._last_chance: dict[str, Any] | None = self.root.begun
        self._restored = sorted(vars(self._state))
        self._built: dict[str, Any] = dict(record.get("built", {}))  # generators after a builder
        self._mark = self._marked() if self._restored else None

    def __repr__(self) -> str:
        return f"<Job {self.entry.title}, attempt {self.entry.attempt}>"

    @property
    def here(self) -> Node:
        """The innermost loop that it is in."""
        return self._here

    # --- what a function uses -----------------------------------------------

    @property
    def attempt(self) -> int:
        """How often the job was begun, this time included; 1 is the first time."""
        return self.entry.attempt

    def state(self, **initial: Any) -> Any:
        """The state of the job: restored, or built fresh from *initial*.

        A class or a function in *initial* is called to build the value; all
        else is the value.  Whatever hangs on the result is saved at safe points,
        attributes added later too.  Called twice, it gives the same object.
        """
        if not initial:
            return self._state
        before = chance.captured()
        for name, value in initial.items():
            if name in self._given:
                raise ValueError(f"job.state is given {name!r} twice")
            self._given.add(name)
            if name not in self._restored:
                setattr(self._state, name, value() if isinstance(value, _BUILDERS) else value)
            elif name in self._built and self._target is not None:
                chance.restore(self._built[name])
        after = chance.captured()
        if not self._given & {*self._restored} and chance.unlike(before, after):
            self._built[next(reversed(initial))] = after  # What follows goes on from here.
        return self._state

    def loop(
        self, items: Iterable[T], *, name: str | None = None, progress: bool = False
    ) -> Loop[T]:
        """*items*, from the first one on whose turn is not done.

        The end of each turn is a safe point.  A loop that is left by `break`,
        or by an error that is caught outside of it, is done.  With *progress*
        it shows a bar.  A loop without a *name* is told by its order.
        """
        self._go_on()
        code = sys._getframe(1).f_code
        return Loop(self, items, self._here.loop(name), code, progress=progress)

    def step(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of the call, made once: the next attempt takes it from the journal.

        ReplayError if the journal has another call at this place.  What the
        call does beside its result is not done again: JobError if it changes
        what it was given.
        """
        return called(self, function, args, kwargs)

    def map(
        self,
        function: Callable[[Any], T],
        items: Iterable[Any],
        *,
        executor: Executor | None = None,
        key: Callable[[Any], Any] | None = None,
        on_error: OnError = "raise",
        retry: int = 0,
    ) -> list[T | Failed]:
        """The results of *function* for each of *items*, in their order, each made once.

        They are journaled in batches; the next attempt calls only for those
        that are missing.  An *executor* of `concurrent.futures` makes them side
        by side.  Results are told by the number of their item, or by its *key*
        where the list may change.  An item is tried *retry* times more; then
        its error is raised, or with *on_error* `collect` there is a `Failed` in
        its place, with `skip` nothing.  ReplayError if an item is another one
        than the journal has.
        """
        return mapped(self, function, items, Ways(executor, key, on_error, retry))

    def request_stop(self) -> None:
        """Save at the next safe point, and stop there as if a SIGTERM had come."""
        self._asked = self._asked or "request_stop()"
        self.watch.ask()

    # --- safe points --------------------------------------------------------

    def begin(self, node: Node, keeper: Any) -> None:
        """A loop begins, or goes on: it takes its items with the random numbers that it had."""
        self._check_way(node)
        if self._target is not None and node.begun is not None:
            chance.restore(node.begun)
        else:
            node.begun = self._captured()
        if keeper is not None and not node.done:
            self._keepers[node] = keeper
            node.state = node.state or {"at": node.position, "value": keeper.state_dict()}

    def arrive(self, node: Node) -> None:
        """A loop is where it stopped: what follows has the random numbers that it had then."""
        if not node.done:
            self._here = node
            self.watch.begin()
        if self._target is None:
            node.turned = {"at": node.position, "chance": node.begun}
        elif node.names() == self._target:
            self._target = None
            if self._unsure is not None and chance.unlike(self._unsure, chance.captured()):
                raise ReplayError(
                    f"{self.entry.title} drew random numbers before {' / '.join(node.names())!r}, "
                    "in the first turn that had a loop in it, and they would be others now; draw "
                    "them in job.step"
                )
            self.restore_chance()
            self._check_replayed()
        elif node.turned is not None and node.turned["at"] == node.position:
            chance.restore(node.turned["chance"])
        elif not node.done:
            self._unsure = chance.captured()

    @contextmanager
    def inside(self, node: Node) -> Iterator[None]:
        """While a journaled call is made: what it calls in turn is filed under *node*."""
        before, self._here = self._here, node
        try:
            yield
        finally:
            self._here = before

    def leave(self, node: Node) -> None:
        """What was called at *node* is done and journaled: a resume does not come there again."""
        if self._target is not None and self._target[: len(node.names())] == node.names():
            self._target = None
            self.restore_chance()

    def turn(self, node: Node) -> None:
        """A turn with loops in it has ended; a resume in one of the next turn begins here."""
        self._note_keepers(node)
        node.turned = {"at": node.position, "chance": self._captured()}

    def end(self, node: Node) -> None:
        """A loop is done."""
        if node.above is not None and self._here is node:
            self._here = node.above
            self.turn(node)
        self._keepers.pop(node, None)

    def safe_point(self, node: Node, *, always: bool = False) -> None:
        """The state is whole: save it if that is due, and stop if somebody asked for it."""
        if self._stopped is not None:
            raise self._stopped
        if not (self.is_asked or always) and self.watch.only_counts():
            return
        if self._target is not None:
            # On the way to where it was saved, the state is that of there.
            self.rest()
            self.watch.look_again()
            return
        now = monotonic()
        reason = self.reason(now)
        if reason is not None or always or self.watch.is_save_due(now):
            self._save(node, reason, now)
        self.watch.look_again()
        if reason is not None:
            self.stop(reason)

    def rest(self, watch: Watch | None = None) -> None:
        """Stop, if asked to: what is journaled is safe, and the state as at the last save."""
        self._go_on()
        reason = self.reason(monotonic(), watch)
        if reason is not None:
            self.entry = evolve(self.saved_entry, status=_status(reason))
            self.ledger.restamp(said(self.entry))
            self.stop(reason)

    def reason(self, now: float, watch: Watch | None = None) -> str | None:
        """Why to stop now; *watch* knows how long a call takes, else a turn of a loop counts."""
        if self.is_asked:
            return stops.reason or self._asked
        return "its deadline" if (watch or self.watch).ends_too_late(now) else None

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked for a stop."""
        return stops.reason is not None or self._asked is not None

    def batches(self) -> Watch:
        """When to journal what a map has made."""
        return Watch(self._every, self.watch.ends)

    def stop(self, reason: str) -> None:
        """Leave the function; what is saved is saved."""
        self._stopped = exception_for(
            reason, f"{self.entry.title} was stopped by {reason}, {self.entry.position or 'saved'}"
        )
        raise self._stopped

    def stopped_by(self, error: BaseException) -> bool:
        """Whether *error* is the one that stopped the function after a save."""
        return error is self._stopped

    def check_swallowed(self) -> None:
        """JobError if the function went on after it was stopped."""
        if self._stopped is not None:
            raise JobError(
                f"{self._stopped}; but the function swallowed the {type(self._stopped).__name__} "
                "and went on, so what it did since is not kept; let it pass: catch Exception, "
                "which it is not, or raise it again"
            ) from self._stopped

    def _is_past(self, key: Key) -> bool:
        return self._saved.is_past(key)

    def _go_on(self) -> None:
        """Raise if the function was stopped, or this is a thread that is not the function's."""
        if threading.get_ident() != self._thread:
            raise JobError(
                "job.loop, job.step and job.map were called by another thread than the job's: what "
                "it does has no place in the order of the function; give the work to job.map"
            )
        if self._stopped is not None:
            raise self._stopped

    def _save(self, node: Node, reason: str | None, begun: float) -> None:
        self._note_keepers(node)
        self.entry = evolve(
            self.entry,
            status="running" if reason is None else _status(reason),
            position=node.text(),
            saves=self.entry.saves + 1,
            worked=self.worked(begun),
            stuck=0,
        )
        self.put(self.record(node))
        if self._parent is not None:
            self._parent.got_further()
        self.watch.saved(begun)

    def record(self, node: Node) -> dict[str, Any]:
        """What a version holds that is saved at the end of a turn of *node*."""
        return {
            "state": dict(vars(self._state)),
            "loops": self.root.saved(),
            "here": node.names(),
            "chance": self._captured(),
            "yielded": self.yielded,
            "built": self._built,
        }

    def put(self, record: Mapping[str, Any]) -> None:
        """Add a version; an error names the path as the function knows it."""
        self.check_arrived()
        try:
            is_outer = len(record.get("here", ())) == 1 or self.yielded is not None
            self.ledger.save(record, said(self.entry), (TURN,) if is_outer else ())
        except SerializationError as error:
            path = _STATE.sub(r"state.\1", error.path or "").replace("state['yielded']", "state")
            path = path.replace("state['result']", "result")
            told_as = str(error).replace(error.path or "\0", path)
            if isinstance(error.__cause__, RuntimeError) and "changed" in str(error.__cause__):
                told_as += "; if another thread changes it, have that thread wait while a turn ends"
            raise SerializationError(told_as, path=path, name=error.name) from error
        self.saved_entry = self.entry
        if "loops" in record:
            self._saved = Node.restored(record["loops"])

    def got_further(self) -> None:
        """Something was journaled, or a job in this one has saved: it is in no crash loop."""
        if self.saved_entry.stuck:
            self.saved_entry = evolve(self.saved_entry, stuck=0)
            self.entry = evolve(self.entry, stuck=0)
            self.ledger.restamp(said(self.saved_entry))
        if self._parent is not None:
            self._parent.got_further()

    def worked(self, now: float) -> float:
        """Seconds of work that are kept if it is saved *now*."""
        return self._before + now - self._begun

    def _note_keepers(self, node: Node) -> None:
        keeper = self._keepers.get(node)
        if keeper is not None:
            node.state = {"at": node.position, "value": keeper.state_dict()}

    # --- a resume meets the place where it was saved ------------------------

    def _check_way(self, node: Node) -> None:
        """ReplayError for a loop that was not there on the way to where it was saved."""
        target, names = self._target, node.names()
        if (
            target is not None
            and target[: len(names)] != names
            and not (node.position or node.done)
        ):
            raise ReplayError(
                f"{self.entry.title} was saved in {' / '.join(target)}, and came to "
                f"{' / '.join(names)} first, of which nothing is saved; name the loops if "
                "their order has changed, or begin anew with reset()"
            )

    def check_arrived(self) -> None:
        """ReplayError if the loop in which it was saved was left out."""
        if self._target is not None:
            raise ReplayError(
                f"{self.entry.title} was saved in {' / '.join(self._target)!r}, and has not come "
                "there again; give each loop a name= if not all of them are run on a resume, or "
                "begin anew with reset()"
            )

    def _captured(self) -> dict[str, Any]:
        """The random number generators; the same object while nobody uses them, saved once."""
        now = chance.captured()
        if self._last_chance is None or chance.unlike(self._last_chance, now):
            self._last_chance = now
        return self._last_chance

    def restore_chance(self) -> None:
        """Put the random number generators back as they were at the last save."""
        if self._chance is not None:
            chance.restore(self._chance)
            self._chance = None

    def _marked(self) -> Mark | None:
        found = vars(self._state)
        return mark_of({name: found[name] for name in self._restored if name in found})

    def _check_replayed(self) -> None:
        """ReplayError if what comes before the loop has changed the state that was restored."""
        before, self._mark = self._mark, None
        if before is None:
            return
        after = self._marked()
        if after is None or after.digest == before.digest:
            return
        found = changes(before, after)
        if found is None:
            warn(
                f"{self.entry.title} goes on, and what comes before the loop may have changed its "
                "state once more; it is too large to say what",
                JobWarning,
            )
            return
        if not found:
            return
        told = "; ".join(_STATE_OF.sub(r"state.\1", str(one)) for one in found)
        raise ReplayError(
            f"{self.entry.title} goes on from its last save, and what comes before "
            f"{' / '.join(self._here.names())!r} has changed the state once more: {told}; "
            "what must not be done twice belongs in the body of the loop, or in job.step; loops "
            "in a plain loop need a name each, such as name=f'round {n}'; step_back() goes back "
            "to the last whole turn of an outermost loop"
        )


def _status(reason: str) -> str:
    return "interrupted" if reason == "SIGINT" else "preempted"


current: ContextVar[Job | None] = ContextVar("checkpoint_job", default=None)


def current_job() -> Job:
    """The job whose function runs in this context; LookupError if there is none."""
    job = current.get()
    if job is None:
        raise LookupError("no job is open here: decorate the function with checkpoint.resumable")
    return job
