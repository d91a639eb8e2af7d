"""When a job looks up from its work: to save, or to stop because somebody asked it to.

A loop compares the time with `Watch.due` after each turn, and that is all it
does; whatever wants the job's attention sets `due` to a time that has passed.
"""

from __future__ import annotations

import re
from collections import deque
from datetime import datetime, timedelta
from math import inf
from time import monotonic

Span = str | timedelta
Every = int | Span | None

SHARE = 0.02  # of the time may go into saving, if nobody says how often to save
_PATIENCE = 10.0  # seconds between two saves that cost nothing
_LOOKED = 0.01  # seconds in which a deadline need not be looked at again
_TURNS = 100  # that tell how long the next one may take

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)\Z")


def seconds_of(span: Span, noun: str) -> float:
    """The seconds in `"90s"`, `"5m"`, `"2h"`, `"1d"`, `"250ms"` or a timedelta."""
    if isinstance(span, timedelta):
        seconds = span.total_seconds()
    else:
        found = _SPAN.match(span) if isinstance(span, str) else None
        if found is None:
            raise ValueError(f"{noun} is a time such as '60s', '5m' or '2h', not {span!r}")
        seconds = float(found[1]) * _UNITS[found[2]]
    if not seconds > 0:
        raise ValueError(f"{noun} must be longer than {span!r}")
    return seconds


class Watch:
    """The clock of one job: when to save next, and by when to have ended.

    *every* is a number of turns or a time; None saves as often as a fiftieth of
    the time pays for.  The first turn is saved always: what cannot be saved is
    found at once, and what a save costs is known.
    """

    def __init__(self, every: Every, ends: float = inf) -> None:
        self.due = 0.0  # The one thing that a loop reads.
        self._turns = every if isinstance(every, int) else None
        self._span = None if every is None or isinstance(every, int) else seconds_of(every, "every")
        if self._turns is not None and (self._turns < 1 or isinstance(every, bool)):
            raise ValueError(f"every is a number of turns from 1 on, or a time, not {every!r}")
        self.ends = ends
        self._took: deque[float] = deque(maxlen=_TURNS)
        self._looked = monotonic()
        self._save_at = 0.0
        self._left = 1
        self.cost = 0.0

    def ask(self) -> None:
        """Have the job look up after this turn."""
        self.due = 0.0

    def begin(self) -> None:
        """A loop begins: the time until now was no turn."""
        self._looked = monotonic()

    def only_counts(self) -> bool:
        """Whether this turn is none to save after, and the number of turns is all that tells."""
        if self._left <= 1 or self.ends != inf:
            return False
        self._left -= 1
        return True

    def is_save_due(self, now: float) -> bool:
        """Whether to save after this turn."""
        if self._turns is None:
            return now >= self._save_at
        self._left -= 1
        return self._left <= 0

    def saved(self, begun: float) -> None:
        """A save was made, which began at *begun*."""
        now = monotonic()
        self.cost = now - begun
        span = max(_PATIENCE, self.cost / SHARE) if self._span is None else self._span
        self._save_at = now + span
        self._left = self._turns or 1

    def ends_too_late(self, now: float) -> bool:
        """Whether one turn more, and a save, may not be done by the deadline."""
        if self.ends == inf:
            return False
        self._took.append(now - self._looked)
        long = sorted(self._took)[len(self._took) * 95 // 100]
        return now + 1.5 * long + 2 * self.cost > self.ends

    def look_again(self) -> None:
        """Set the time of the next look."""
        now = self._looked = monotonic()
        due = 0.0 if self._turns is not None else self._save_at
        self.due = due if self.ends == inf else min(due, now + _LOOKED)


def end_of(deadline: Span | datetime | None, environment: dict[str, str], now: float) -> float:
    """The time by which to have ended, on the clock that says *now*; infinite if there is none.

    A span counts from now on.  Without one, Slurm's own variable is looked at.
    """
    if isinstance(deadline, datetime):
        here = datetime.now(deadline.tzinfo)
        return now + (deadline - here).total_seconds()
    if deadline is not None:
        return now + seconds_of(deadline, "deadline")
    slurm = environment.get("SLURM_JOB_END_TIME", "")
    if slurm.isdecimal():
        return now + float(slurm) - datetime.now().timestamp()
    return inf
