"""Where to cut a part.

A buffer is cut at fixed distances: arrays change in place.  A stream is cut
where its content says so, since one object more near its front moves all that
follows; the cuts move along, and the chunks between them stay the same.

The fingerprint of a position is one byte, made of the bytes around it, and a
cut falls where two fingerprints in a row are zero: once in 65,536 positions of
content without pattern.  All fingerprints of a block are computed at once, as
shifts and XORs of one long integer, so that no loop runs over bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from checkpoint._model import Buffer

CHUNK = 4 << 20  # the most that one blob may hold in plain bytes
_LEAST = 256 << 10  # the least between two cuts in a stream
_BLOCK = 64 << 10
_REACH = 8  # how many bytes a fingerprint may depend on, and a little more

# A fixed permutation of the byte values, so that runs of small numbers do not
# cancel out.  It decides where cuts fall; changing it only costs deduplication.
_SCRAMBLE = bytes(random.Random(0).sample(range(256), 256))


def fixed(data: Buffer) -> Iterator[memoryview]:
    """Cut *data* every CHUNK bytes; nothing is copied."""
    view = memoryview(data).cast("B")
    for start in range(0, len(view), CHUNK):
        yield view[start : start + CHUNK]


def first_cut(data: Buffer) -> int:
    """The length of the first chunk of a stream that begins with *data*.

    Right if *data* holds CHUNK bytes or is all that is left; never above CHUNK.
    """
    view = memoryview(data)
    end = min(len(view), CHUNK)
    for start in range(_LEAST, end, _BLOCK):
        block = bytes(view[start : min(start + _BLOCK + _REACH, end)])
        found = _fingerprints(block).find(b"\0\0")
        if 0 <= found < min(_BLOCK, len(block) - _REACH):
            return start + found
    return end


def _fingerprints(block: bytes) -> bytes:
    number = int.from_bytes(block.translate(_SCRAMBLE), "little")
    mixed = number ^ (number >> 11) ^ (number >> 23) ^ (number >> 37)
    return mixed.to_bytes(len(block), "little")
