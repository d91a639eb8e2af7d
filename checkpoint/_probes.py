"""Where keys would go in a hash table of CPython's, to see whether they were chosen to collide.

Keys with different hashes collide too, if one is led to where others are, step
by step.  The tables are those of `Objects/dictobject.c` and `setobject.c`: open
addressing, `i = 5 * i + perturb + 1`, sets with short linear runs before each
step.  Ordinary keys take a few steps on average, all growths counted.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any

from checkpoint.errors import UnsafeError

MAX_COLLISIONS = 64
_MAX_COMPARED = 200_000
_LINEAR = 9  # places that sets look at, one after the other
_MASK = (1 << 64) - 1
_STEPS = 48  # on average, above which they are no ordinary keys
_FREE = 1 << 16


class Probes:
    """A table of a dict or a set, without its keys."""

    def __init__(self, *, is_set: bool) -> None:
        self._is_set = is_set
        self._hashes = array("Q")
        self._taken = bytearray(8)
        self._steps = 0

    def add(self, hashes: Iterable[int]) -> bool:
        """Put keys with these hashes into it; whether all still take few steps."""
        for value in hashes:
            unsigned = value & _MASK
            self._hashes.append(unsigned)
            if len(self._hashes) * 5 > len(self._taken) * 3:
                self._grow()
            else:
                self._put(unsigned)
            if self._steps > _FREE + _STEPS * len(self._hashes):
                return False
        return True

    def _grow(self) -> None:
        count = len(self._hashes)
        wanted = count * (2 if count > 50_000 else 4) if self._is_set else count * 3
        self._taken = bytearray(1 << wanted.bit_length())
        for value in self._hashes:
            self._put(value)
            if self._steps > _FREE + _STEPS * count:
                return

    def _put(self, value: int) -> None:
        taken, mask = self._taken, len(self._taken) - 1
        at, perturb, steps = value & mask, value, 1
        while True:
            if not taken[at]:
                taken[at] = 1
                break
            if self._is_set and at + _LINEAR <= mask:
                found = taken.find(0, at + 1, at + _LINEAR + 1)
                if found >= 0:
                    taken[found] = 1
                    break
            perturb >>= 5
            at = (at * 5 + perturb + 1) & mask
            steps += 1
        self._steps += steps


class Guard:
    """Refuses keys of which too many collide, before they are put into what is filled."""

    def __init__(self) -> None:
        # Of each container that is filled: how many of its keys have which hash.
        self._hashes: dict[int, tuple[Any, Counter[int], Probes]] = {}
        self._compared = 0

    def knows(self, filled: Any) -> bool:
        """Whether keys of *filled* were added before."""
        return id(filled) in self._hashes

    def add(self, filled: Any, keys: Iterable[Any], *, is_set: bool) -> None:
        """Refuse *keys*, if one of them would be compared with too many others of *filled*."""
        if not self.knows(filled):
            self._hashes[id(filled)] = filled, Counter(), Probes(is_set=is_set)
        _, hashes, probes = self._hashes[id(filled)]
        values = [*map(hash, keys)]
        hashes.update(values)
        # Each is compared with those that have its hash, by code of the program as a rule.
        self._compared += sum(hashes[value] - 1 for value in values)
        worst = max((hashes[value] for value in values), default=0)
        if max(worst - MAX_COLLISIONS, self._compared - _MAX_COMPARED) > 0:
            raise UnsafeError("keys of which too many have one hash")
        if not probes.add(values):
            raise UnsafeError("keys that were chosen to collide")
