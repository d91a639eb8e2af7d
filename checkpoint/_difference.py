"""What differs between two graphs: the paths that were added, removed and changed."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, overload

from attrs import frozen

from checkpoint._comparing import Comparison
from checkpoint._outline import Outline, Source

_SHOWN = 100


@frozen
class Change:
    """One path where two graphs differ; `old` is None if it was added, `new` if it was removed."""

    kind: Literal["added", "removed", "changed"]
    old: Outline | None
    new: Outline | None

    __module__ = "checkpoint"

    @property
    def path(self) -> str:
        """Where it is: as the newer graph has it, or the older one if it is gone."""
        node = self.new if self.new is not None else self.old
        return "" if node is None else node.path

    def __str__(self) -> str:
        told = [_shown(node) for node in (self.old, self.new) if node is not None]
        if len(told) == 2 and told[0] == told[1]:
            told[1] = "other content"
        return f"{_SIGNS[self.kind]} {self.path}: {', now '.join(told)}"


_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


class Difference(Sequence[Change]):
    """The changes between two graphs, in the order of their streams."""

    __module__ = "checkpoint"

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes

    def __len__(self) -> int:
        return len(self._changes)

    @overload
    def __getitem__(self, number: int) -> Change: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Change]: ...

    def __getitem__(self, number: int | slice) -> Change | Sequence[Change]:
        return self._changes[number]

    def __repr__(self) -> str:
        counts = {kind: sum(c.kind == kind for c in self) for kind in _SIGNS}
        return f"<Difference: {', '.join(f'{n:,} {kind}' for kind, n in counts.items())}>"

    def __str__(self) -> str:
        lines = [*map(str, islice(self, _SHOWN))] or ["no difference"]
        if len(self) > _SHOWN:
            lines.append(f"… {len(self) - _SHOWN:,} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A table for Jupyter."""
        rows = "".join(
            f"<tr><td>{change.kind}</td><td>{html.escape(change.path)}</td>"
            + "".join(
                f"<td>{html.escape(_shown(node)) if node is not None else ''}</td>"
                for node in (change.old, change.new)
            )
            + "</tr>"
            for change in islice(self, _SHOWN)
        )
        more = f"<p>… {len(self) - _SHOWN:,} more</p>" if len(self) > _SHOWN else ""
        return f"<table><tr><th></th><th>path</th><th>old</th><th>new</th></tr>{rows}</table>{more}"


def difference(
    old: Source, new: Source, old_digests: Sequence[str] = (), new_digests: Sequence[str] = ()
) -> Difference:
    """What differs from *old* to *new*; the digests are of their buffers.

    Buffers without a digest are compared by their sizes.
    """
    return Difference([*_changes(old, new, old_digests, new_digests)])


def first_changes(
    old: Source, new: Source, old_digests: Sequence[str], new_digests: Sequence[str], *, most: int
) -> list[Change]:
    """The first changes that `difference` would find; the others are not looked for."""
    return [*islice(_changes(old, new, old_digests, new_digests), most)]


def _changes(
    old: Source, new: Source, old_digests: Sequence[str], new_digests: Sequence[str]
) -> Iterator[Change]:
    for pair in Comparison(old, new, old_digests, new_digests).changes():
        yield Change(_kind(*pair), *pair)


def _kind(old: Outline | None, new: Outline | None) -> Literal["added", "removed", "changed"]:
    if old is None:
        return "added"
    return "removed" if new is None else "changed"


def _shown(node: Outline) -> str:
    reference = node.reference
    return f"→ {reference}" if reference else node.told
