"""Retention policies: pure functions from snapshots to the versions to keep.

The newest version is never evicted, whatever a policy says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from checkpoint._model import Snapshot

Retention = Callable[[Sequence[Snapshot]], set[int]]


@frozen(repr=False)
class Best:
    """A metric and which end of it is the best: made by `lowest` and `highest`."""

    metric: str
    sign: int

    __module__ = "checkpoint"

    def __repr__(self) -> str:
        return f"{'lowest' if self.sign > 0 else 'highest'}({self.metric!r})"


def lowest(metric: str) -> Best:
    """The version with the least *metric* is the best: `best="loss"` says the same."""
    return Best(metric, 1)


def highest(metric: str) -> Best:
    """The version with the greatest *metric* is the best."""
    return Best(metric, -1)


def ranked(snapshots: Iterable[Snapshot], best: str | Best) -> list[Snapshot]:
    """The snapshots that have the metric, best first; of equals the newer comes first.

    A metric that is NaN or infinite is never the best: its snapshot is left out.
    """
    wanted = lowest(best) if isinstance(best, str) else best
    if not isinstance(wanted, Best):
        raise TypeError(f"best is a metric's name, lowest(name) or highest(name), not {best!r}")
    able = [s for s in snapshots if math.isfinite(s.metrics.get(wanted.metric, math.nan))]
    return sorted(able, key=lambda s: (wanted.sign * s.metrics[wanted.metric], -s.version))


def keep_last(count: int) -> Retention:
    """Keep the newest *count* versions."""
    _check_count(count)
    return lambda snapshots: {s.version for s in snapshots[-count:]}


def keep_every(step: int) -> Retention:
    """Keep each version whose number is a multiple of *step*."""
    _check_count(step)
    return lambda snapshots: {s.version for s in snapshots if s.version % step == 0}


def keep_best(best: str | Best, count: int = 1) -> Retention:
    """Keep the *count* best versions by a metric: a name (the lowest), or `highest(name)`."""
    _check_count(count)
    ranked((), best)  # A mistake is told here, not at the first save.
    return lambda snapshots: {s.version for s in ranked(snapshots, best)[:count]}


def keep_tagged(*tags: str) -> Retention:
    """Keep the versions that hold one of *tags*, or any tag if none is given."""
    wanted = set(tags)
    return lambda snapshots: {
        s.version for s in snapshots if s.tags and (not wanted or wanted & set(s.tags))
    }


def either(*policies: Retention) -> Retention:
    """Keep what at least one of *policies* keeps."""
    if not policies:
        raise ValueError("either() needs at least one policy")
    return lambda snapshots: set().union(*(policy(snapshots) for policy in policies))


def _check_count(count: int) -> None:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be an integer of at least 1, not {count!r}")
