"""A stream taken apart into its references and the bytes between them, and put together again.

A reference is BINGET with one byte or LONG_BINGET with four, the number of an
object in the memo.  All that lies between two of them is passed over inside the
regex engine: opcodes grouped by the width of their argument, and one
alternative for each of the 256 lengths of a short string.  Only strings with
more bytes of length need a step outside.  No opcode is run.
"""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate, chain, compress, islice, repeat
from operator import add, and_, itemgetter, ne
from struct import Struct
from zlib import crc32

from attrs import field, frozen

from checkpoint._model import Buffer
from checkpoint._opcodes import short

NOWHERE = 0xFFFFFFFF  # no number and no place
_NONE: Mapping[int, int] = {}

_BLOCK = 1 << 18  # bytes that are taken apart at once
_WIDE = Struct("<I")
_GET, _LONG_GET = b"hj"

# Opcodes of protocols 2 to 5 by the width of their argument.  Left out, so that a stream with
# one of them is declined: text (protocol 0), PUT (a second place for numbers), STOP (the end).
_ARGUMENTS = {
    0: b")}]{e(012aNbQRsutlod\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98",
    1: b"K\x80\x82",
    2: b"M\x83",
    4: b"J\x84",
    8: b"G\x95",
}
_SHORT = b"\x8cCU\x8a"  # one byte of length
_LENGTHS = {**dict.fromkeys(b"XBT\x8b", 4), **dict.fromkeys(b"\x8d\x8e\x96", 8)}


@frozen
class References:
    """References of a stream, in order.

    `tokens` are hashes of the bytes before each that is not joined, and hold
    for this process only; `places` are those of the opcodes.
    """

    tokens: array[int] = field(factory=lambda: array("q"))
    places: array[int] = field(factory=lambda: array("I"))
    numbers: array[int] = field(factory=lambda: array("I"))


@frozen
class Patterns:
    """What is captured: a token up to its reference; and all that may lie between."""

    token: re.Pattern[bytes]
    between: re.Pattern[bytes]


def references(
    stream: Buffer,
    patterns: Patterns,
    *,
    most: int = NOWHERE,
    hashed: bool = True,
    joined: Mapping[int, int] = _NONE,
) -> References | None:
    """The references of *stream* that are captured, *most* of them or a few more.

    Those to a number in *joined* are part of the token that they stand in, as
    references to its image there.

    None where an opcode is not known, an argument is cut off, a number that has
    a place in one byte stands in four, or the stream does not end with its STOP.
    """
    view = memoryview(stream).toreadonly()
    found = References()
    at, size, earlier = 0, len(view), 0  # `earlier`: the sum of the pieces of a long token
    begun = b""  # ... and what joined references have of one that goes on
    while len(found.places) < most:
        tokens = patterns.token.findall(view, at, min(at + _BLOCK, size))
        if tokens and not tokens[-1]:
            tokens.pop()
        if tokens:
            first = len(found.numbers)
            at = _append(found, view, at, tokens)
            if joined:
                tokens, begun = _joined(tokens, found.numbers[first:], joined, begun)
            if hashed and tokens:
                _append_hashes(found.tokens, tokens, earlier)
                earlier = 0
            continue
        stop = _end(patterns.between, view, at)
        opcode = view[stop] if stop < size else 0
        if opcode == _STOP and stop == size - 1:
            break
        if opcode not in (_GET, _LONG_GET):
            stop = _after_long(view, stop)
        if not at < stop <= size:
            return None
        earlier, at, begun = crc32(view[at:stop], crc32(begun, earlier)), stop, b""
    return found


_STOP = ord(".")


def _append(found: References, view: memoryview, at: int, tokens: list[bytes]) -> int:
    """Append the references behind *tokens*, which begin at *at*; the place after the last."""
    kinds = bytes(map(itemgetter(-1), tokens))
    widths = b"\0" + kinds.translate(_WIDTHS)
    ends = accumulate(map(add, map(len, tokens), widths), initial=0)
    places = array("I", islice(ends, 1, None))
    after: int = at + places[-1] + widths[-1]
    # Four bytes are read for every reference; a narrow one at the very end has only one.
    block = bytes(view[at:after]) + b"\0\0\0"
    if _LONG_GET not in kinds:
        found.numbers.extend(map(block.__getitem__, places))
    else:
        read = chain.from_iterable(map(_WIDE.unpack_from, repeat(block), places))
        masks = map(_MASKS.__getitem__, kinds)
        found.numbers.extend(map(and_, read, masks) if _GET in kinds else read)
    found.places.extend(map(add, places, repeat(at - 1)))
    return after


_WIDTHS = bytes(4 if kind == _LONG_GET else 1 for kind in range(256))
_MASKS = [NOWHERE if kind == _LONG_GET else 255 for kind in range(256)]


def _joined(
    tokens: list[bytes], numbers: array[int], joined: Mapping[int, int], begun: bytes
) -> tuple[list[bytes], bytes]:
    """Tokens that go on behind references to *joined* numbers, and what the last has begun."""
    found = []
    for token, image in zip(tokens, map(joined.get, numbers), strict=True):
        if image is None:
            found.append(begun + token)
            begun = b""
        else:
            begun += token[:-1] + reference(image)
    return found, begun


def _append_hashes(hashes: array[int], tokens: list[bytes], earlier: int) -> None:
    first = len(hashes)
    # Without the opcode: a reference is the same one when its number grows beyond a byte.
    hashes.extend(map(hash, map(_WITHOUT_OPCODE, tokens)))
    if earlier:
        hashes[first] = hash((earlier, hashes[first]))


_WITHOUT_OPCODE = itemgetter(slice(None, -1))


def _end(pattern: re.Pattern[bytes], view: memoryview, at: int) -> int:
    match = pattern.match(view, at)
    return at if match is None else match.end()


def _after_long(view: memoryview, at: int) -> int:
    """The place after the opcode at *at*, whose length takes four or eight bytes; else 0."""
    width = _LENGTHS.get(view[at], 0) if at < len(view) else 0
    if not width or at + 1 + width > len(view):
        return 0
    return at + 1 + width + int.from_bytes(view[at + 1 : at + 1 + width], "little")


@lru_cache(64)
def all_but(numbers: tuple[int, ...]) -> Patterns:
    """Captures the references to all but these *numbers*.

    The repeat is possessive: no time goes into trying again.  The one group
    ends with the opcode, so that `findall` makes one object a reference and no
    tuple; it is empty for the rest of a block, which holds none.
    """
    passed = [_one_of(numbers)] if numbers else []
    between = b"(?:%s)*+" % b"|".join([*passed, *_OPCODES])
    token = rb"(%s[hj])(?:(?<=h).|(?<=j)(?!.\0\0\0)....)|.++" % between
    return Patterns(re.compile(token, re.DOTALL), re.compile(between, re.DOTALL))


def _one_of(numbers: Collection[int]) -> bytes:
    narrow = bytes(number for number in numbers if number < 256)
    wide = [b"j" + _escaped(_WIDE.pack(number)) for number in numbers if number >= 256]
    return b"(?:%s)" % b"|".join([b"h[%s]" % _escaped(narrow)] * bool(narrow) + wide)


def _escaped(data: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in data)


def _of_width(width: int) -> bytes:
    return b"[%s]" % _escaped(_ARGUMENTS[width]) + b"." * width


# The order is worth a third of the time: what is frequent, and what is short to try, first.
_OPCODES = [_of_width(0) + b"++", short(_SHORT), *map(_of_width, (8, 1, 2, 4))]

# A name that is memoized, anything else that is, or any other opcode.
_STEP = re.compile(
    rb"(?:%s|\x93)(\x94)|(\x94)|(?:%s|h.|j....)"
    % (short(b"\x8c"), b"|".join([_of_width(0), *_OPCODES[1:]])),
    re.DOTALL,
)


def names(stream: Buffer, last: int) -> Iterator[int]:
    """The numbers, up to *last*, of objects that are a short string or a class."""
    view = memoryview(stream)
    at = number = 0
    while number <= last:
        match = _STEP.match(view, at)
        at = _after_long(view, at) if match is None else match.end()
        if not 0 < at < len(view):
            return
        if match is not None and match.lastindex is not None:
            if match.lastindex == 1:
                yield number
            number += 1


def nearby(stream: Buffer, start: int, stop: int) -> frozenset[bytes]:
    """What looks like a wide reference between two places, without taking *stream* apart."""
    window = bytes(memoryview(stream)[max(start, 0) : max(stop, 0)])
    return frozenset(_LOOKS_WIDE.findall(window))


# With what stands before: numbers that count up look the same when all are shifted.
_LOOKS_WIDE = re.compile(rb".{12}(?:j.[^\0]\0\0|j..[^\0]\0)", re.DOTALL)


def reference(number: int) -> bytes:
    """The opcode that refers to *number*, and its argument."""
    return bytes((_GET, number)) if number < 256 else b"j" + _WIDE.pack(number)


def mapped(stream: Buffer, patterns: Patterns, images: array[int]) -> Buffer | None:
    """*stream* with the image of each number that is captured; None if one has none."""
    found = references(stream, patterns, hashed=False)
    if found is None:
        return None
    try:
        numbers = array("I", map(images.__getitem__, found.numbers))
    except LookupError:
        return None
    return None if NOWHERE in numbers else rewritten(stream, found, numbers)


def rewritten(stream: Buffer, found: References, numbers: array[int]) -> bytearray:
    """*stream* with *numbers* at the references *found*, each in as few bytes as it needs."""
    changed = bytes(map(ne, found.numbers, numbers))
    places = array("I", compress(found.places, changed))
    after = array("I", compress(numbers, changed))
    wide = bytes(map((255).__lt__, compress(found.numbers, changed)))
    widths = bytes(map(add, wide, map((255).__lt__, after)))
    narrow, differing, both_wide = (widths.translate(_IS[value]) for value in range(3))
    body = bytearray(stream)
    arguments = array("I", map(add, places, repeat(1)))
    at, number = compress(arguments, both_wide), compress(after, both_wide)
    deque(map(_WIDE.pack_into, repeat(body), at, number), 0)
    deque(map(body.__setitem__, compress(arguments, narrow), compress(after, narrow)), 0)
    if 1 not in differing:
        return body
    return _spliced(body, *(compress(each, differing) for each in (places, wide, after)))


_IS = [bytes(value == number for value in range(256)) for number in range(3)]


def _spliced(
    body: bytearray, places: Iterable[int], wide: Iterable[int], numbers: Iterable[int]
) -> bytearray:
    """*body* with references of another width: *numbers* at *places*, that were *wide* or not."""
    spliced = bytearray()
    at = 0
    view = memoryview(body)
    for place, was_wide, number in zip(places, wide, numbers, strict=True):
        spliced += view[at:place]
        spliced += reference(number)
        at = place + (5 if was_wide else 2)
    spliced += view[at:]
    return spliced
