"""JSON as documents have it: written so that a person can read it, read strictly."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 200  # lists and objects inside each other in `meta`; nothing else comes near it

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # Or a backslash before such a text.

compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def laid_out(value: Any) -> str:
    """Compact JSON, except that a table has one row a line."""
    if isinstance(value, list) and value and isinstance(value[0], (list, dict)):
        return "[\n" + ",\n".join(f" {compact(row)}" for row in value) + "\n]"
    return compact(value)


def parsed(text: bytes, depth: int = MAX_DEPTH + 1) -> Any:
    """The value in *text*, UTF-8, at most *depth* deep; ValueError if no writer may write it."""
    value = json.loads(text.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    _check_depth(value, depth)
    if _SURROGATE.search(text):
        compact(value).encode()  # Half of a pair is no character, and could not be printed.
    return value


def _check_depth(value: Any, limit: int) -> None:
    """ValueError if lists and objects stand deeper inside each other than *limit*."""
    level = [value]
    for _ in range(limit + 1):
        containers = [outer for outer in level if type(outer) in (list, dict)]
        if not containers:
            return
        level = [
            inner
            for outer in containers
            for inner in (outer.values() if type(outer) is dict else outer)
        ]
    raise ValueError(f"more than {limit} lists and objects stand inside each other")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members
