"""Whether a value is what it was: by its pickle, within one process."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from blake3 import blake3

from checkpoint._pickling import pickle_into
from checkpoint.errors import SerializationError

_SHOWN = 16 << 20  # a stream up to this is kept, to tell what has changed


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
