"""Whether a value is what it was: by its pickle, within one process."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from blake3 import blake3

from checkpoint._difference import Change, first_changes
from checkpoint._outline import Source
from checkpoint._pickling import pickle_into
from checkpoint.errors import SerializationError

_SHOWN = 16 << 20  # a stream up to this is kept, to tell what has changed
_TOLD = 3  # changes, of all


@frozen
class Mark:
    """What a value was: a digest of its stream, the digests of its buffers."""

    digest: str
    stream: bytes | None
    buffers: tuple[str, ...]


def mark_of(value: Any) -> Mark | None:
    """The mark of *value*; None for what cannot be pickled."""
    pieces: list[bytes] = []
    try:
        pickled = pickle_into(
            value, lambda piece: pieces.append(bytes(piece)), restart=pieces.clear
        )
    except SerializationError:
        return None
    stream = b"".join(pieces)
    buffers = tuple(blake3(view.cast("B")).hexdigest() for view in pickled.buffers)
    digest = blake3(repr((blake3(stream).hexdigest(), buffers)).encode()).hexdigest()
    return Mark(digest, stream if len(stream) <= _SHOWN else None, buffers)


def changes(before: Mark, after: Mark, within: int = _SHOWN) -> list[Change] | None:
    """The first changes between two marks that differ; None if a stream is longer than *within*.

    Without any, equal parts are one object in the one, and two in the other.
    """
    old, new = before.stream, after.stream
    if old is None or new is None or max(len(old), len(new)) > within:
        return None
    sides = Source(old), Source(new)
    return first_changes(*sides, before.buffers, after.buffers, most=_TOLD)
