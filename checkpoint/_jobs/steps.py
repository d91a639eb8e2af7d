"""A journaled call: made once, and taken from the journal in the next attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Protocol

from checkpoint._jobs import chance
from checkpoint._jobs.identity import shown, told
from checkpoint._jobs.journal import Call, Journal
from checkpoint._jobs.marks import mark_of
from checkpoint._jobs.places import Node
from checkpoint.errors import JobError, ReplayError


class Host(Protocol):
    """What a journaled call needs of its job."""

    journal: Journal

    @property
    def here(self) -> Node: ...

    def rest(self) -> None: ...


def called(
    host: Host, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """The result of a call, from the journal or made now."""
    host.rest()
    number = host.here.call()
    slot = host.here.key(), number
    call = Call(name_of(function), _told(args, kwargs), _shown(function, args, kwargs), None)
    found = host.journal.call(slot)
    if found is not None:
        check_same(number, found, call)
        if found.chance is not None:
            chance.restore(found.chance)
        return found.result
    before = chance.captured()
    marks = _marks(function, args, kwargs)
    result = function(*args, **kwargs)
    _check_unchanged(number, call, marks, _marks(function, args, kwargs))
    after = chance.captured()
    used = after if chance.unlike(before, after) else None
    host.journal.add_call(slot, Call(call.function, call.arguments, call.shown, result, used))
    host.rest()
    return result


def name_of(function: Callable[..., Any]) -> str:
    """`module:qualname` of what is called, or of its class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def check_same(number: int, found: Call, call: Call) -> None:
    """ReplayError if the journal has another call than the one that is made."""
    if (found.function, found.arguments) != (call.function, call.arguments):
        raise ReplayError(
            f"step {number}: the journal has {found.shown}, the program calls {call.shown}; "
            "the calls up to where it stopped must be the same, or begin anew with reset()"
        )


def _told(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    named = (f"{name}={told(value)}" for name, value in sorted(kwargs.items()))
    return (*map(told, args), *named)


def _shown(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    name = name_of(function).partition(":")[2]
    parts = [shown({"": value}).removeprefix("=") for value in args]
    if kwargs:
        parts.append(shown(kwargs))
    return f"{name}({', '.join(parts)})"


def _marks(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[str]:
    """What was given to a call, to see whether it changes it."""
    owner = getattr(function, "__self__", None)
    values = [*args, *kwargs.values()]
    if owner is not None and not isinstance(owner, type | ModuleType):
        values.append(owner)
    return [mark.digest if (mark := mark_of(value)) else "" for value in values]


def _check_unchanged(number: int, call: Call, before: list[str], after: list[str]) -> None:
    if before != after:
        which = next(
            n for n, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]
        )
        raise JobError(
            f"step {number}, {call.shown}, has changed what it was given (number {which + 1}); "
            "a replay would not: have it return what is new, or do it in the body of a loop"
        )
