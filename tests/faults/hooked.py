"""A store in memory on which another program acts at a chosen moment."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from attrs import frozen

from checkpoint import MemoryStore

Verb = Literal["put", "get", "keys", "delete", "lock"]


@frozen
class Hook:
    verb: Verb
    prefix: str
    act: Callable[[], object]


class HookedStore(MemoryStore):
    """Runs each hook once: before, or after, the next call of a verb on a key that begins so.

    A `fill` is a "get" too: both read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: list[Hook] = []
        self._after: list[Hook] = []

    def before(self, verb: Verb, prefix: str, act: Callable[[], object]) -> None:
        self._before.append(Hook(verb, prefix, act))

    def after(self, verb: Verb, prefix: str, act: Callable[[], object]) -> None:
        self._after.append(Hook(verb, prefix, act))

    @property
    def waiting(self) -> bool:
        """Whether some hook has not run yet."""
        return bool(self._before or self._after)

    def put(self, key: str, pieces: Iterable[Any]) -> None:
        self._run(self._before, "put", key)
        super().put(key, pieces)
        self._run(self._after, "put", key)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
        self._run(self._before, "get", key)
        return super().get(key, start, stop)

    def fill(self, key: str, start: int, target: memoryview) -> int:
        self._run(self._before, "get", key)
        return super().fill(key, start, target)

    def keys(self, prefix: str) -> list[str]:
        self._run(self._before, "keys", prefix)
        found = super().keys(prefix)
        self._run(self._after, "keys", prefix)
        return found

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._run(self._before, "delete", key)
            super().delete([key])
            self._run(self._after, "delete", key)

    def lock(self, key: str, *, wait: bool) -> Any:
        self._run(self._before, "lock", key)
        return super().lock(key, wait=wait)

    def replace(self, key: str, raw: bytes | None) -> None:
        """What no program of ours does: change the bytes under a key, or lose them."""
        self._objects.pop(key, None)
        if raw is not None:
            self._objects[key] = raw

    @staticmethod
    def _run(hooks: list[Hook], verb: Verb, key: str) -> None:
        for hook in list(hooks):
            if hook.verb == verb and key.startswith(hook.prefix):
                hooks.remove(hook)
                hook.act()


def noise(seed: int, size: int = 70_000) -> np.ndarray[Any, Any]:
    """An array that does not compress, and is a blob of its own in a pack."""
    return np.frombuffer(random.Random(seed).randbytes(size), dtype=np.uint8).copy()


def state(step: int, *seeds: int) -> dict[str, Any]:
    """A state with one array a seed: equal seeds are equal chunks."""
    return {"step": step, "arrays": [noise(seed) for seed in seeds]}


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, arrays bit for bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)
