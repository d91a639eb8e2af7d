"""Where a job is: its loops, one in another, and how many turns of each are done.

A place is a path of loops and turns; what is journaled is filed under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkpoint.errors import JobError

Key = tuple[tuple[str, int], ...]  # the job, and its loops from the outermost on, with their turns


class Node:
    """One loop, or the job itself: its turns, and the loops in the turn that it is in."""

    def __init__(self, name: str = "", above: Node | None = None) -> None:
        self.name = name
        self.above = above
        self.position = 0  # turns that are done
        self.done = False
        self.total: int | None = None
        self.state: Any = None  # of an iterable that keeps its own
        # The random number generators where it began, and at the last turn that is looked back to.
        self.begun: Any = None
        self.turned: Any = None
        self.inner: dict[str, Node] = {}
        self._inner_at = 0  # the turn that `inner` is of
        # Of this attempt alone:
        self.started = False
        self._loops = self._calls = 0
        self._counted_at = -1

    # --- as it is saved -----------------------------------------------------

    def saved(self) -> dict[str, Any]:
        """It and what is in it, as plain values."""
        fresh = self._inner_at == self.position and not self.done
        return {
            "position": self.position,
            "done": self.done,
            "state": self.state,
            "begun": self.begun,
            "turned": self.turned,
            "inner": {name: node.saved() for name, node in self.inner.items()} if fresh else {},
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any], name: str = "", above: Node | None = None) -> Node:
        """What `saved` gave, as a new attempt begins with it."""
        node = cls(name, above)
        node.position, node.done = saved["position"], saved["done"]
        node.state, node._inner_at = saved["state"], node.position
        node.begun, node.turned = saved["begun"], saved["turned"]
        node.inner = {
            name: cls.restored(inner, name, node) for name, inner in saved["inner"].items()
        }
        return node

    # --- what begins in this turn -------------------------------------------

    def loop(self, name: str | None) -> Node:
        """The loop that begins now, restored where it was met before; JobError for a name twice."""
        self._count()
        self._loops += 1
        found = name or f"loop {self._loops}"
        node = self.part(found)
        if node.started:
            raise JobError(
                f"job.loop was called twice with the name {found!r}; give each loop its own: "
                'job.loop(items, name="…")'
            )
        node.started = True
        return node

    def part(self, name: str) -> Node:
        """What has that name in this turn, made where it is not there: a loop, a journaled call."""
        if self._inner_at != self.position:
            self.inner, self._inner_at = {}, self.position
        return self.inner.setdefault(name, Node(name, self))

    def call(self) -> int:
        """The number of the journaled call that begins now, in this turn."""
        self._count()
        self._calls += 1
        return self._calls

    def _count(self) -> None:
        if self._counted_at != self.position:
            self._counted_at, self._loops, self._calls = self.position, 0, 0

    # --- where it is --------------------------------------------------------

    def key(self) -> Key:
        """The turn that it is in, and those of all around it."""
        above = () if self.above is None else self.above.key()
        return (*above, (self.name, self.position))

    def names(self) -> tuple[str, ...]:
        """Its name, and before that those of the loops around it."""
        return () if self.above is None else (*self.above.names(), self.name)

    def text(self) -> str:
        """For people: `epochs 3 of 10, turn 5 of 200`."""
        if self.above is None:
            return f"yield {self.position:,}" if self.position else ""
        name = "turn" if self.name.startswith("loop ") else self.name
        total = "" if self.total is None else f" of {self.total:,}"
        return ", ".join(filter(None, (self.above.text(), f"{name} {self.position:,}{total}")))

    def is_past(self, key: Key) -> bool:
        """Whether the turn at *key* is done, so that nothing asks for what was journaled in it."""
        turn, rest = key[0][1], key[1:]
        if self.done or self.position != turn:
            return self.done or self.position > turn
        node = self.inner.get(rest[0][0]) if rest else None
        return node is not None and node.is_past(rest)
