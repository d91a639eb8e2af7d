"""Where to cut a part.

A buffer is cut at fixed distances: arrays change in place.  A stream is cut
where its content says so, since one object more near its front moves all that
follows; the cuts move along, and the chunks between them stay the same.

The fingerprint of a position is one byte, made of the bytes around it.  Where
two in a row are zero, a cut may fall: once in 65,536 positions of content
without pattern.  Of all such places in the window of a chunk, the one with the
least fingerprints behind it is taken.  So a change moves a cut only if it hits
that place or makes a better one, and the next cut is the old one again: most of
its window is.  All fingerprints of a window are computed at once, as shifts and
XORs of one long integer, so that no loop runs over bytes.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import islice

from checkpoint._model import Buffer

CHUNK = 4 << 20  # the most that one blob may hold in plain bytes
LONGEST = 3 << 19  # the most between two cuts in a stream
_LEAST = 1 << 20  # the least between two cuts in a stream
_REACH = 8  # how many bytes a fingerprint may depend on, and a little more
_LOOKED_AT = 1000  # places in a window; there are some 8, unless its content repeats
_PLACE = re.compile(rb"\0\0")

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

    Right if *data* holds LONGEST bytes or is all that is left; never above LONGEST.
    """
    view = memoryview(data)
    end = min(len(view), LONGEST)
    window = bytes(view[_LEAST:end])
    prints = _fingerprints(window)
    places = (found.start() for found in islice(_PLACE.finditer(prints), _LOOKED_AT))
    inside = (at for at in places if at < len(window) - _REACH)
    best = min(inside, key=lambda at: prints[at : at + _REACH], default=None)
    return end if best is None else _LEAST + best


def _fingerprints(block: bytes) -> bytes:
    number = int.from_bytes(block.translate(_SCRAMBLE), "little")
    mixed = number ^ (number >> 11) ^ (number >> 23) ^ (number >> 37)
    return mixed.to_bytes(len(block), "little")
