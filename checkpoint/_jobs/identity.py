"""Which job a call is: its name, its arguments by parameter, and how a person is told them."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from checkpoint._format import check_name
from checkpoint._jobs.encoding import canonical, cut, digest_of, in_short, program_name, told
from checkpoint.errors import InvalidNameError

__all__ = ["bound", "canonical", "digest_of", "job_id", "job_name", "shown", "told"]

MAX_KEY = 60
MAX_NAME = 120

_PLAIN_KEY = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\Z")
_DIGEST = re.compile(r"[0-9a-f]{16}\Z")
_UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")


def job_name(function: Callable[..., Any]) -> str:
    """`module.qualname` of *function*, as a repository can spell it.

    What a name may not hold becomes `-` or falls off the ends, and then the
    name ends in a digest of what it was.
    """
    qualname = getattr(function, "__qualname__", None)
    if not isinstance(qualname, str):
        raise ValueError(f"{in_short(function)} has no name: give name=")
    if "<" in qualname:
        raise ValueError(
            f"{qualname} cannot be found again by another process: "
            "define it at the top of a module, or give name="
        )
    module = function.__module__ or "builtins"
    if module in ("__main__", "__mp_main__"):
        script = program_name(getattr(function, "__globals__", vars(sys.modules["__main__"])))
        if script is None:
            raise ValueError(f"{qualname} is of no file that has a name: give name=")
        module = script
    return _spelled(f"{module}.{qualname}")


def _spelled(name: str) -> str:
    spelled = _UNNAMED.sub("-", name).strip("._-")[:MAX_NAME].rstrip("._-")
    if spelled == name and _is_name(name):
        return name
    told_apart = f"{spelled}-{digest_of(name)[:8]}" if spelled else digest_of(name)
    return told_apart if _is_name(told_apart) else f"job-{told_apart}"


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InvalidNameError:
        return False
    return True


def job_id(name: str, key: object) -> str:
    """The name that the job *key* of *name* has in its repository."""
    if isinstance(key, str) and type(key) is str and _is_plain(key):
        return check_name(f"{name}/{key}")
    return check_name(f"{name}/{digest_of(key, '')}")


def _is_plain(key: str) -> bool:
    """Whether every file system keeps *key* as it is, and it looks like no digest."""
    if len(key) > MAX_KEY or _DIGEST.match(key):
        return False
    return _PLAIN_KEY.match(key) is not None and _is_name(key)


# --- arguments --------------------------------------------------------------


def bound(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    without: Collection[str],
) -> dict[str, object]:
    """The arguments of a call by parameter; none of *without*, none that equals its default.

    A parameter of *without* need not be given.
    """
    signature = inspect.signature(function)
    name = getattr(function, "__qualname__", type(function).__name__)
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        raise TypeError(f"{name}() {error}") from None
    parameters = [p for p in signature.parameters.values() if p.name not in without]
    _require(name, [p for p in parameters if p.name not in given])
    arguments: dict[str, object] = {}
    for parameter in parameters:
        if parameter.name not in given:
            continue
        value = given[parameter.name]
        if parameter.kind is parameter.VAR_KEYWORD:
            value = {key: item for key, item in value.items() if key not in without}
            arguments.update({parameter.name: value} if value else {})
        elif not _is_default(parameter, value):
            arguments[parameter.name] = value
    return arguments


def _is_default(parameter: inspect.Parameter, value: object) -> bool:
    if parameter.default is parameter.empty:
        return False
    if value is parameter.default:
        return True
    try:
        return canonical(value, "") == canonical(parameter.default, "")
    except TypeError:
        return False  # whoever takes the digest says so


def _require(name: str, absent: list[inspect.Parameter]) -> None:
    """Raise as a call does when one of *absent* has no default."""
    needed = [p for p in absent if p.default is p.empty]
    for kind, plain in ((False, "positional"), (True, "keyword-only")):
        names = [
            repr(p.name)
            for p in needed
            if (p.kind is p.KEYWORD_ONLY) is kind
            and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if names:
            listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
            plural = "s" if len(names) > 1 else ""
            raise TypeError(
                f"{name}() missing {len(names)} required {plain} argument{plural}: {listed}"
            )


def shown(arguments: Mapping[str, object]) -> str:
    """*arguments* for people, `n=100, lr=0.1`: cut where they are long, printable, never raises."""
    return cut(", ".join(f"{name}={in_short(value)}" for name, value in arguments.items()), 200)
