"""Where two sequences of tokens are the same, and where one goes on in the other.

The tokens are hashes: what is asked of them is only whether they are equal.
Most tokens are common and say nothing; two places belong together if rare ones
near them are equal.  Long equal stretches are compared in C, a block at a time;
each difference takes a look around, and the whole effort has a bound.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import chain, compress, count, islice
from operator import eq, ne

_AHEAD = 32  # tokens among which a rare one must be equal, for two places to belong together
_REACHES = (64, 1 << 10, 1 << 14)
_TRIES = 4


def aligned(new: array[int], old: array[int]) -> Iterator[tuple[int, int, int]]:
    """Stretches that are the same in both: where in *new*, where in *old*, how long.

    Single tokens within a stretch may differ.  Two places belong together if
    they are equal in tokens that are rare: most tokens say nothing.
    """
    common = _common(old)
    effort = 8 * (len(new) + len(old)) + (1 << 16)
    start = here = there = 0
    while effort > 0:
        same = _same(new, old, here, there)
        here, there = here + same, there + same
        ahead = _next_rare(new, old, here, there, common)
        effort -= _AHEAD
        if ahead is not None:
            here, there = here + ahead, there + ahead
            continue
        if here > start:
            yield start, there - here + start, here - start
        if here >= len(new) or there >= len(old):
            return
        found, spent = _resumed(new, old, here, there, common)
        effort -= spent
        if found is None:
            return
        start, there = found
        here = start


def _common(tokens: array[int]) -> frozenset[int]:
    """Tokens that occur again and again."""
    # Stretches, not single tokens: a step would fall in with the period of what repeats.
    step = max(len(tokens) // _SAMPLES, _SAMPLED)
    times = Counter(
        chain.from_iterable(tokens[at : at + _SAMPLED] for at in range(0, len(tokens), step))
    )
    return frozenset(token for token, seen in times.items() if seen > 2)


_SAMPLES, _SAMPLED = 64, 256


def _same(new: array[int], old: array[int], here: int, there: int) -> int:
    """How many tokens are equal from two places on."""
    at, step = 0, 32
    while True:
        ours, theirs = new[here + at : here + at + step], old[there + at : there + at + step]
        if ours != theirs:
            shorter = min(len(ours), len(theirs))
            return at + next(compress(count(), map(ne, ours, theirs)), shorter)
        if not ours:
            return at
        at, step = at + len(ours), min(step * 2, 1 << 14)


def _next_rare(
    new: array[int], old: array[int], here: int, there: int, common: frozenset[int]
) -> int | None:
    """How many tokens ahead a rare one is equal; None if none is near."""
    ours, theirs = new[here : here + _AHEAD], old[there : there + _AHEAD]
    ahead = compress(count(), map(eq, ours, theirs))
    return next((n for n in ahead if ours[n] not in common), None)


def _resumed(
    new: array[int], old: array[int], here: int, there: int, common: frozenset[int]
) -> tuple[tuple[int, int] | None, int]:
    """The next two places that belong together, if any; and the tokens looked at."""
    spent = 0
    for reach in _REACHES:
        spent += 2 * reach
        theirs = old[there : there + reach]
        places = dict(zip(reversed(theirs), range(len(theirs) - 1, -1, -1), strict=True))
        best: tuple[int, int, int] | None = None
        for ours, token in enumerate(new[here : here + reach]):
            if best is not None and ours >= best[0]:
                break
            place = places.get(token)
            if place is None or token in common or (best and ours + place >= best[0]):
                continue
            if _next_rare(new, old, here + ours + 1, there + place + 1, common) is not None:
                best = ours + place, here + ours, there + place
        if best is not None:
            return best[1:], spent
    spent += len(new) - here + len(old) - there
    found = _far(new, old, here, there, common)
    if found is None:
        back = _far(old, new, there, here, common)
        found = back and (back[1], back[0])
    return found, spent


def _far(
    new: array[int], old: array[int], here: int, there: int, common: frozenset[int]
) -> tuple[int, int] | None:
    """Where in all of *old* one of the next tokens of *new* is; without memory."""
    rare = (at for at in range(here, min(here + _AHEAD, len(new))) if new[at] not in common)
    for ours in islice(rare, _TRIES):
        try:
            place = old.index(new[ours], there)
        except ValueError:
            continue
        if _next_rare(new, old, ours + 1, place + 1, common) is not None:
            return ours, place
    return None
