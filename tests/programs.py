"""Programs of one release and the next: modules made of source, and what their store holds."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import dedent
from typing import Any

from checkpoint import MemoryStore


class Program:
    """Modules that are there only while this program is."""

    def __init__(self) -> None:
        self._made: set[str] = set()

    def release(self, **sources: str) -> Any:
        """Replace all modules by those of *sources*, fresh; the first of them."""
        self.end()
        for name, source in sources.items():
            module: Any = types.ModuleType(name)
            sys.modules[name] = module
            self._made.add(name)
            exec(compile(dedent(source), f"<{name}>", "exec", dont_inherit=True), vars(module))
        return sys.modules[next(iter(sources))]

    def module(self, name: str) -> Any:
        """One of today's modules."""
        return sys.modules[name]

    def end(self) -> None:
        """Take all modules away."""
        for name in self._made:
            sys.modules.pop(name, None)
        self._made.clear()


@contextmanager
def program() -> Iterator[Program]:
    """A program without modules, which leaves none behind."""
    made = Program()
    try:
        yield made
    finally:
        made.end()


def contents(store: MemoryStore) -> dict[str, bytes]:
    """All that *store* holds."""
    return {key: bytes(store.get(key)) for key in store.keys("")}
