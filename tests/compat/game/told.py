"""A graph in words: the same for two graphs if no program could tell them apart."""

from __future__ import annotations

import hashlib
from enum import Enum
from random import Random
from typing import Any


def digest(root: Any) -> str:
    """One number for the whole graph: values, classes, sharing, cycles, order."""
    return hashlib.sha256("\n".join(told(root)).encode()).hexdigest()


def told(root: Any) -> list[str]:
    """Each object once, on a line of its own, in the order in which they are met."""
    numbers: dict[int, int] = {}
    alive: list[Any] = []
    lines: list[str] = []

    def name(value: Any) -> str:
        if value is None or isinstance(value, bool | int | float | str | Enum):
            return str(value) if isinstance(value, Enum) else repr(value)
        if id(value) not in numbers:
            numbers[id(value)] = len(numbers)
            alive.append(value)
            number = len(lines)
            lines.append("")
            lines[number] = f"{numbers[id(value)]} {type(value).__qualname__} {content(value)}"
        return f"#{numbers[id(value)]}"

    def content(value: Any) -> str:
        if isinstance(value, Random):
            return str(value.getstate())
        if isinstance(value, dict):
            return "; ".join(f"{name(key)}: {name(item)}" for key, item in value.items())
        if isinstance(value, set):
            return "; ".join(sorted(map(by_value, value)))
        if isinstance(value, list | tuple):
            return "; ".join(map(name, value))
        return "; ".join(f"{field}={name(item)}" for field, item in sorted(fields(value).items()))

    name(root)
    return lines


def by_value(value: Any) -> str:
    return str(sorted(fields(value).items()))


def fields(value: Any) -> dict[str, Any]:
    slots = [slot for cls in type(value).__mro__ for slot in vars(cls).get("__slots__", ())]
    found = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)}
    found.pop("__weakref__", None)
    return {**found, **getattr(value, "__dict__", {})}
