"""What a program writes: `@resumable` on a function or a generator, and `with job(…)`."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import Any, Generic, TypedDict, TypeVar, Unpack, overload

from checkpoint import _format
from checkpoint._jobs import past
from checkpoint._jobs.attempt import Attempt, OnBusy, OnCodeChange, Rules
from checkpoint._jobs.fingerprint import Code, fingerprint
from checkpoint._jobs.foresight import foresee
from checkpoint._jobs.identity import bound, digest_of, job_id, job_name, shown
from checkpoint._jobs.job import Job, current
from checkpoint._jobs.ledger import Entry
from checkpoint._jobs.status import JobStatus, history_of
from checkpoint._jobs.stopping import SIGNALS
from checkpoint._jobs.unsaved import check
from checkpoint._jobs.watch import Every, Span
from checkpoint._keys import keys
from checkpoint._repository import Repository
from checkpoint._trust import Trust, policy_of
from checkpoint.errors import InvalidNameError
from checkpoint.store import LocalStore, Store

R = TypeVar("R")
Where = str | os.PathLike[str] | Store | None

_RESERVED = ("journal", "inside")  # parts of names that are the job's own
DEFAULT_STORE = ".checkpoint"


class Resumable(Generic[R]):
    """A function that goes on where it stopped; what `checkpoint.resumable` gives."""

    __module__ = "checkpoint"

    def __init__(
        self,
        function: Callable[..., Any],
        rules: Rules,
        *,
        store: Where,
        name: str | None,
        key: Callable[..., Any] | None,
        ignore: Collection[str],
        unsaved: Collection[str],
    ) -> None:
        _refuse(function)
        functools.update_wrapper(self, function)
        self._function, self._rules = function, rules
        self._generates = inspect.isgeneratorfunction(function)
        _check_parameters(function, self._generates, ignore)
        self._store, self._key, self._ignore = store, key, tuple(ignore)
        self._name = None if name is None else check_job_name(name)
        check(function, unsaved=unsaved)
        if name is None and "<" in function.__qualname__:
            job_name(function)  # Says why it has none.
        self._is_foreseen = False
        self._code = fingerprint(function)  # now: the file may be edited while the program runs

    def __reduce__(self) -> str:
        return self._function.__qualname__

    def __repr__(self) -> str:
        return f"<resumable {self._function.__qualname__}>"

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else _Bound(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run the job of these arguments, go on with it, or give the result that it had."""
        arguments = self._arguments(args, kwargs)
        if not self._is_foreseen:
            self._is_foreseen = True
            foresee(self._function, arguments, self._rules.policy, keys())
        with self._attempt(arguments, args, kwargs) as attempt:
            if not attempt.finished:
                attempt.result = self._run(attempt.job, args, kwargs)
                attempt.finish(attempt.result)
        result: R = attempt.result
        return result

    # --- looking ------------------------------------------------------------

    def status(self, *args: Any, **kwargs: Any) -> JobStatus | None:
        """How far the job of these arguments has got; None if it was never begun.

        Nothing is run, nothing unpickled, and nobody is waited for.
        """
        found = self.history(*args, **kwargs)
        return found[-1] if found else None

    def history(self, *args: Any, **kwargs: Any) -> list[JobStatus]:
        """The versions of the job of these arguments that are kept, oldest first."""
        return history_of(*self._place(args, kwargs))

    def reset(self, *args: Any, **kwargs: Any) -> None:
        """Have the next call begin anew; what is saved is archived, under a tag, and stays.

        ConflictError while another process runs it.
        """
        past.reset(*self._place(args, kwargs))

    def step_back(self, *args: Any, **kwargs: Any) -> None:
        """Have the next call go on from the last whole turn of an outermost loop.

        For a job that cannot go on within that turn.  NotFoundError if there is
        none, ConflictError while another process runs it.
        """
        past.step_back(*self._place(args, kwargs))

    # --- which job ----------------------------------------------------------

    @property
    def name(self) -> str:
        """The name under which the jobs of this function are saved."""
        return self._name or job_name(self._function)

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        without = {"job", *self._ignore} | ({"state"} if self._generates else set())
        return bound(self._function, args, kwargs, without=without)

    def _place(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Repository, str]:
        arguments = self._arguments(args, kwargs)
        return repository_at(self._store), self._id(arguments, args, kwargs)

    def _id(
        self, arguments: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> str:
        key = dict(arguments) if self._key is None else self._key(*args, **kwargs)
        return safe_id(self.name, key)

    def _attempt(
        self, arguments: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Attempt:
        parent = current.get()
        entry = Entry(self.name, shown(arguments), "running", keeps_result=True)
        name = self._id(arguments, args, kwargs)
        if parent is None:
            return Attempt(repository_at(self._store), name, entry, self._code, self._rules)
        slot = parent.here.key(), parent.here.call(), parent.entry.generation
        inside = f"{parent.ledger.name}/inside/{digest_of((name, *slot), 'key')}"
        if len(inside) > 200:
            top = parent.ledger.name.partition("/inside/")[0]
            inside = f"{top}/inside/{digest_of(inside, 'key')}"
        repository = parent.ledger.repository
        return Attempt(repository, inside, entry, self._code, self._rules, parent)

    # --- running ------------------------------------------------------------

    def _run(self, job: Job, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "job" in inspect.signature(self._function).parameters:
            kwargs = kwargs | {"job": job}
        if self._generates:
            return _drain(job, self._function, args, kwargs)
        return self._function(*args, **kwargs)


class _Bound:
    """A resumable method of one object, which is an argument like others."""

    def __init__(self, resumable: Resumable[Any], owner: Any) -> None:
        functools.update_wrapper(self, resumable)
        for name in ("status", "history", "reset", "step_back"):
            setattr(self, name, functools.partial(getattr(resumable, name), owner))
        self._call = functools.partial(resumable, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)


def _drain(
    job: Job, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run a generator to its end; each value that it yields is the state, whole at that moment."""
    if job.yielded is not None:
        kwargs = kwargs | {"state": job.yielded}
    job.restore_chance()
    turns: Generator[Any, None, Any] = function(*args, **kwargs)
    node, watch = job.root, job.watch
    watch.begin()
    try:
        while True:
            try:
                job.yielded = next(turns)
            except StopIteration as end:
                return end.value
            node.position += 1
            if monotonic() >= watch.due:
                job.safe_point(node)
    finally:
        turns.close()


class JobContext:
    """What `checkpoint.job` gives: a job for the length of a `with` block."""

    __module__ = "checkpoint"

    def __init__(self, name: str, key: object, store: Where, rules: Rules) -> None:
        self._name, self._key, self._store, self._rules = check_job_name(name), key, store, rules
        self._attempt: Attempt | None = None

    @property
    def name(self) -> str:
        """The name of the job in its repository."""
        return self._name if self._key is None else safe_id(self._name, self._key)

    def status(self) -> JobStatus | None:
        """How far the job has got; None if it was never begun."""
        found = self.history()
        return found[-1] if found else None

    def history(self) -> list[JobStatus]:
        """The versions of the job that are kept, oldest first."""
        return history_of(repository_at(self._store), self.name)

    def reset(self) -> None:
        """Have the next block begin anew; what is saved is archived, under a tag, and stays."""
        past.reset(repository_at(self._store), self.name)

    def step_back(self) -> None:
        """Have the next block go on from the last whole turn of an outermost loop."""
        past.step_back(repository_at(self._store), self.name)

    def __enter__(self) -> Job:
        told = {} if self._key is None else {"key": self._key}
        entry = Entry(self._name, shown(told), "running")
        code = Code("", "")  # A block has no fingerprint: its steps are checked one by one.
        self._attempt = Attempt(repository_at(self._store), self.name, entry, code, self._rules)
        return self._attempt.__enter__().job

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        attempt = self._attempt
        assert attempt is not None
        if error is not None:
            attempt.__exit__(kind, error, trace)
            return
        with ExitStack() as stack:
            stack.push(attempt)
            attempt.finish(None)


class Options(TypedDict, total=False):
    """What `resumable` may be given."""

    every: Every
    store: Where
    name: str | None
    key: Callable[..., Any] | None
    ignore: Collection[str]
    unsaved: Collection[str]
    on_code_change: OnCodeChange
    on_busy: OnBusy
    deadline: Span | datetime | None
    max_attempts: int
    grace: float
    signals: Collection[str]
    trust: Trust


@overload
def resumable(function: Callable[..., R], /, **options: Unpack[Options]) -> Resumable[R]: ...


@overload
def resumable(
    **options: Unpack[Options],
) -> Callable[[Callable[..., R]], Resumable[R]]: ...


def resumable(
    function: Callable[..., Any] | None = None,
    /,
    *,
    every: Every = None,
    store: Where = None,
    name: str | None = None,
    key: Callable[..., Any] | None = None,
    ignore: Collection[str] = (),
    unsaved: Collection[str] = (),
    on_code_change: OnCodeChange = "warn",
    on_busy: OnBusy = "error",
    deadline: Span | datetime | None = None,
    max_attempts: int = 5,
    grace: float = 30.0,
    signals: Collection[str] = SIGNALS,
    trust: Trust = (),
) -> Any:
    """Make a long function resumable: killed anywhere and called again, it goes on.

    The function takes an argument `job`, and keeps what it needs in
    `job.state`, loops over `job.loop`, and calls `job.step` and `job.map`; or
    it is a generator with an argument `state`, and each value that it yields is
    its state.  Its result is kept: called again with equal arguments it is
    given back.  What a resume would lose is an error at once
    (UnsavedStateError), unless *unsaved* names it.

    Saved is at the end of a turn, *every* so many turns or seconds (`"60s"`,
    `"5m"`), by default as often as 2 % of the time pays for.  *store* is a
    folder or a Store; by default `CHECKPOINT_STORE`, or `.checkpoint` here.

    A job is told by *name* (the module's and the function's) and its
    arguments, without those that *ignore* names, or by what *key* makes of
    them.  *on_code_change* says what to do if the code of the function is
    another one, *on_busy* if another process runs the job.

    *signals* ask it to stop: it saves at the end of the turn, and raises
    `Preempted`, which exits with code 75, or KeyboardInterrupt for Ctrl-C.  If
    no turn ends for *grace* seconds, or at a second Ctrl-C, it stops without a
    save.  So it does before the *deadline*, a time or how long from the call
    on.  After *max_attempts* that ended badly and got no further it is a
    CrashLoopError.  *trust* is as for `Checkpointer`, if another key saved it.
    """
    stop = deadline, max_attempts, grace, _signals(signals)
    rules = Rules(every, on_busy, on_code_change, *stop, policy_of(trust, None))

    def decorate(function: Callable[..., Any]) -> Resumable[Any]:
        return Resumable(
            function, rules, store=store, name=name, key=key, ignore=ignore, unsaved=unsaved
        )

    return decorate if function is None else decorate(function)


def job(
    name: str,
    *,
    key: object = None,
    store: Where = None,
    every: Every = None,
    on_busy: OnBusy = "error",
    deadline: Span | datetime | None = None,
    max_attempts: int = 5,
    grace: float = 30.0,
    signals: Collection[str] = SIGNALS,
    trust: Trust = (),
) -> JobContext:
    """A job for the length of a `with` block, told by its *name* and *key*.

    What `job.step` and `job.map` made in an earlier attempt is taken from the
    journal, and `job.loop` goes on where it stopped.  The options are those of
    `resumable`.
    """
    policy = policy_of(trust, None)
    rules = Rules(
        every, on_busy, "ignore", deadline, max_attempts, grace, _signals(signals), policy
    )
    return JobContext(name, key, store, rules)


def repository_at(store: Where) -> Repository:
    """Where jobs are saved: in *store*, in that of the environment, or in the current folder."""
    if isinstance(store, Store):
        return Repository(store)
    path = store if store is not None else os.environ.get("CHECKPOINT_STORE") or DEFAULT_STORE
    return Repository(LocalStore(os.path.expanduser(path)))


def check_job_name(name: str) -> str:
    """*name* if it may name jobs, else InvalidNameError."""
    _format.check_name(name)
    for part in name.split("/"):
        if part in _RESERVED:
            raise InvalidNameError(f"{name!r} is no name of a job: {part!r} is for what is in one")
    return name


def safe_id(name: str, key: object) -> str:
    """The name of a job in its repository; no key can look like what is the job's own."""
    return job_id(name, ("key", key) if key in _RESERVED else key)


def _signals(signals: Collection[str]) -> tuple[str, ...]:
    if isinstance(signals, str) or not all(
        isinstance(name, str) and name.startswith("SIG") for name in signals
    ):
        raise ValueError(f"signals are names such as ('SIGTERM', 'SIGINT'), not {signals!r}")
    return tuple(signals)


def _refuse(function: Any) -> None:
    """TypeError for what cannot be made resumable."""
    if not inspect.isfunction(function):
        raise TypeError(f"resumable decorates a function, not {function!r}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function.__qualname__} is async, and safe points are not; make the part that takes "
            "long a plain function"
        )


def _check_parameters(
    function: Callable[..., Any], generates: bool, ignore: Collection[str]
) -> None:
    if isinstance(ignore, str):
        raise TypeError(f"ignore is a collection of names: [{ignore!r}]")
    parameters = inspect.signature(function).parameters
    unknown = [name for name in ignore if name not in parameters]
    if unknown:
        raise ValueError(f"{function.__qualname__} has no parameter {unknown[0]!r} to ignore")
    if generates and "state" not in parameters:
        raise TypeError(
            f"{function.__qualname__} is a generator, and has no parameter to be given its last "
            "state: def f(…, state=None)"
        )
    if generates and parameters["state"].default is inspect.Parameter.empty:
        raise TypeError(
            f"{function.__qualname__} begins without a state: its parameter needs a default, as "
            "in def f(…, state=None)"
        )
