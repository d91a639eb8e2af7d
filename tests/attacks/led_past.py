"""Keys with different hashes that a dict leads past each other.

A dict looks for a free place at `i = 5 * i + perturb + 1`, where `perturb` are
the bits of the hash that are left.  When none are left all keys go the same
way, so who fills that way with small numbers, each at its own place, and then
sends others to its beginning, has each of those go along all of it.
"""

from __future__ import annotations

from random import Random

BITS = 16  # of a table that takes 43,690 keys
_MASK = (1 << BITS) - 1
_HASH_BITS = 60
_IN_THE_WAY = 36_000


def led_past(count: int) -> list[int]:
    """The numbers that lie in the way, and *count* that go along half of it or more."""
    random, way = Random(8), [1]
    while len(way) < _IN_THE_WAY:
        way.append((way[-1] * 5 + 1) & _MASK)
    places, starts = {place: index for index, place in enumerate(way)}, way[:1000]
    sent: set[int] = set()
    while len(sent) < count:
        if (key := _sent(random, places, starts)) is not None:
            sent.add(key)
    return [*way, *sorted(sent)]


def _sent(random: Random, places: dict[int, int], starts: list[int]) -> int | None:
    """A number that is led along the way, its bits chosen from the lowest on; or None."""
    key = at = random.choice(starts)
    perturb, known = key, BITS
    for step in range(1, 15):
        shift = 5 * step
        if known < _HASH_BITS:
            # The bits that come into play now lead to a place that is taken.
            for chosen in random.sample(range(32), 32):
                perturb = (key | chosen << known) >> shift
                if (at * 5 + perturb + 1) & _MASK in places:
                    key |= chosen << known
                    break
            known += 5
        perturb = key >> shift
        at = (at * 5 + perturb + 1) & _MASK
        if at not in places:
            return None
    return key if perturb == 0 and places[at] < _IN_THE_WAY // 2 else None
