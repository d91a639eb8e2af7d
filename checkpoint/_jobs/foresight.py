"""What a resume on another machine would refuse, said before any work is done.

A key that is new may not last: the home of a container goes with it.  What was
saved with it is foreign then, and given only what the policy lists.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from checkpoint._keys import Keys
from checkpoint._model import Global
from checkpoint._pickling import pickle_into
from checkpoint._trust import Policy
from checkpoint.errors import (
    MigrationError,
    SerializationError,
    UnsafeError,
    UntrustedTypeWarning,
    warn,
)

_TOLD = 3


def foresee(
    function: Callable[..., Any], arguments: Mapping[str, Any], policy: Policy | None, keys: Keys
) -> None:
    """Warn if the key may not last, and *function* names, or is given, what would be refused."""
    if policy is None or keys.lasting == "lasting":
        return
    names = {*_given(arguments), *_named(function)}
    refused = [f"{module}:{qualname}" for module, qualname in sorted(names)
               if _is_refused(policy, module, qualname)]  # fmt: skip
    if not refused:
        return
    why = "is new, and may not outlive this machine" if keys.lasting == "new" else "is not there"
    more = f" and {len(refused) - _TOLD} more" if len(refused) > _TOLD else ""
    warn(
        f"the key that signs what {function.__qualname__} saves {why}, and without it a resume "
        f"would refuse {', '.join(refused[:_TOLD])}{more}, if its state holds that; set "
        f"CHECKPOINT_KEY, or add it: resumable(trust={refused[:_TOLD]!r})",
        UntrustedTypeWarning,
    )


def _is_refused(policy: Policy, module: str, qualname: str) -> bool:
    try:
        return bool(policy.grant(module, qualname).why)
    except (UnsafeError, MigrationError):
        return True


def _given(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The types in what the function is given."""
    found: Iterable[Global] = ()
    with suppress(SerializationError):  # It need not be saved.
        found = pickle_into(dict(arguments), _discard, restart=_nothing).globals
    for entry in found:
        yield entry.module, entry.qualname


def _named(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """The classes that the code of the function names: their instances may be in its state."""
    plain = inspect.unwrap(function)
    scope = getattr(plain, "__globals__", {})
    for name in plain.__code__.co_names:
        found = scope.get(name)
        if isinstance(found, type) and not issubclass(found, BaseException):
            yield found.__module__, found.__qualname__


def _discard(_: Any) -> None:
    pass


def _nothing() -> None:
    pass
