"""A journaled call: made once, and taken from the journal in the next attempt."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol

from checkpoint._jobs import chance
from checkpoint._jobs.identity import shown, told
from checkpoint._jobs.journal import Call, Journal, Made
from checkpoint._jobs.marks import Mark, changes, mark_of
from checkpoint._jobs.places import Node
from checkpoint._jobs.watch import Watch
from checkpoint.errors import JobError, ReplayError, SerializationError

_RESULT = re.compile(r"state\['calls'\]\[0\]\[4\]")  # where the journal has it
_LOOKED_INTO = 1 << 18  # bytes, to tell what a call has changed: some seconds at the worst
_PLAIN = (FunctionType, BuiltinFunctionType, type)


class Host(Protocol):
    """What a journaled call needs of its job."""

    journal: Journal
    calls: Watch

    @property
    def here(self) -> Node: ...

    def inside(self, node: Node) -> AbstractContextManager[None]: ...

    def leave(self, node: Node) -> None: ...

    def rest(self, watch: Watch | None = None) -> None: ...


def called(
    host: Host, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """The result of a call, from the journal or made now."""
    host.calls.begin()
    host.rest(host.calls)
    slot = host.here.key(), host.here.call()
    given = _given(function, args, kwargs)
    arguments = tuple(f"{label} {told(value)}" for label, value in given.items())
    call = Call(name_of(function), arguments, _shown(function, args, kwargs), None)
    found = host.journal.take(slot)
    if found is not None:
        found = _checked(f"step {slot[1]}", found, call)
        host.leave(Node(f"step {slot[1]}:", host.here))
        if found.chance is not None:
            chance.restore(found.chance)
        return found.result
    step = f"step {slot[1]}, {call.shown}"
    before, marks = chance.captured(), _marks(given)
    with part_of(host, f"step {slot[1]}:"):
        result = function(*args, **kwargs)
    _check_unchanged(step, marks, _marks(given))
    after = chance.captured()
    used = after if chance.unlike(before, after) else None
    try:
        host.journal.add_call(slot, Call(call.function, arguments, call.shown, result, used))
    except SerializationError as error:
        raise retold(error, _RESULT, "result", f"the result of {step}, cannot be kept") from error
    host.rest(host.calls)
    return result


@contextmanager
def part_of(host: Host, name: str) -> Iterator[Node]:
    """A block whose calls and loops have a place of their own: a replay does not come there."""
    here = host.here
    node = here.part(name)
    with host.inside(node):
        yield node
    here.inner.pop(name, None)  # It is done; of one that was left by an error the turns count.


def name_of(function: Callable[..., Any]) -> str:
    """`module:qualname` of what is called, or of its class."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', None) or 'builtins'}:{named.__qualname__}"


def retold(
    error: SerializationError, where: re.Pattern[str], by: str, what: str
) -> SerializationError:
    """*error* as the program knows it: *what* is wrong, and the path in it."""
    path = where.sub(by, error.path or by, count=1)
    return SerializationError(f"{what}: {error}".replace(error.path or "\0", path), path=path)


def _checked(step: str, found: Call | Made, call: Call) -> Call:
    """What the journal has; ReplayError if it is another call than the one that is made."""
    if isinstance(found, Made):
        raise other_call(step, f"a map of {found.function}", call.shown)
    if found.function != call.function:
        was, now = (f"{each.shown} of {each.function}" for each in (found, call))
        raise other_call(step, was, now)
    if found.arguments != call.arguments:
        raise other_call(step, found.shown, _what_differs(found, call))
    return found


def other_call(step: str, was: str, now: str) -> ReplayError:
    """The error of a replay that goes another way than its journal."""
    return ReplayError(
        f"{step}: the journal has {was}, the program calls {now}; "
        "the calls up to where it stopped must be the same, or begin anew with reset()"
    )


def _what_differs(found: Call, call: Call) -> str:
    if found.shown != call.shown:
        return call.shown
    labels = [each.rpartition(" ")[0] for each in call.arguments if each not in found.arguments]
    return f"it with another {' and '.join(labels) or 'number of arguments'}"


def _shown(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    name = name_of(function).partition(":")[2]
    parts = [shown({"": value}).removeprefix("=") for value in args]
    if kwargs:
        parts.append(shown(kwargs))
    return f"{name}({', '.join(parts)})"


# --- what is given to a call ------------------------------------------------


def _given(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """All that a call is made of beside the code: its arguments, and what is bound to it."""
    given = {f"argument {number}": value for number, value in enumerate(args, 1)}
    given |= {f"argument {name}": kwargs[name] for name in sorted(kwargs)}
    bound: Any = function
    while isinstance(bound, functools.partial):
        inner = _given(len, bound.args, bound.keywords)
        given |= {f"{label} of partial {len(given)}": value for label, value in inner.items()}
        bound = bound.func
    owner = getattr(bound, "__self__", None)
    if isinstance(bound, MethodType) or (owner is not None and not isinstance(owner, ModuleType)):
        given["the object of the method"] = owner
    elif not isinstance(bound, _PLAIN):
        given["the object that is called"] = bound
    return given


def _marks(given: Mapping[str, Any]) -> dict[str, Mark]:
    """What was given to a call, to see whether it changes it."""
    marks = {label: mark_of(value) for label, value in given.items()}
    return {label: mark for label, mark in marks.items() if mark is not None}


def _check_unchanged(step: str, before: Mapping[str, Mark], after: Mapping[str, Mark]) -> None:
    for label, mark in before.items():
        now = after.get(label)
        if now is None or now.digest == mark.digest:
            continue
        found = changes(mark, now, _LOOKED_INTO)
        if found == []:
            continue  # Its parts are shared in another way; they are what they were.
        told_as = f": {'; '.join(map(str, found))}" if found else ""
        raise JobError(
            f"{step}, has changed what it was given, {label}{told_as}; a replay would not: "
            "have it return what is new, or do it in the body of a loop"
        )
