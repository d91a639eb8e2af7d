"""Which entries of two memos stand for each other: one by one, and in runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Partners:
    """Which entries of the two memos stand for each other."""

    def __init__(self) -> None:
        self._new_of: dict[int, int] = {}
        self._old_of: dict[int, int] = {}
        self._runs: list[tuple[int, int, int]] = []  # of the old: first, end, how far it is off
        self._new_runs: list[tuple[int, int, int]] = []

    def new_of(self, old: int) -> int | None:
        found = self._new_of.get(old)
        return self._in(self._runs, old) if found is None else found

    def old_of(self, new: int) -> int | None:
        found = self._old_of.get(new)
        return self._in(self._new_runs, new) if found is None else found

    @staticmethod
    def _in(runs: list[tuple[int, int, int]], index: int) -> int | None:
        at = bisect_right(runs, (index, 1 << 62, 0)) - 1
        if at >= 0 and runs[at][0] <= index < runs[at][1]:
            return index + runs[at][2]
        return None

    def add(self, old: int, new: int) -> None:
        self._new_of[old], self._old_of[new] = new, old

    def add_run(self, old: int, new: int, count: int) -> None:
        if count:
            _insert(self._runs, old, old + count, new - old)
            _insert(self._new_runs, new, new + count, old - new)


def _insert(runs: list[tuple[int, int, int]], first: int, end: int, off: int) -> None:
    """Insert a run; one with those that it continues."""
    at = bisect_left(runs, (first, 0, 0))
    if at < len(runs) and runs[at][0] == end and runs[at][2] == off:
        end = runs.pop(at)[1]
    if at and runs[at - 1][1] == first and runs[at - 1][2] == off:
        at -= 1
        first = runs.pop(at)[0]
    runs.insert(at, (first, end, off))
