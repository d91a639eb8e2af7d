"""References in a stream, renumbered as an earlier stream numbered the same objects.

A pickle refers to an object by its place in the memo: one object more near the
front renumbers all references after it, and two streams of nearly the same
graph differ everywhere.  `renumber` finds out which number each object had in
the earlier stream and writes that one; an object that was not there gets a
number that nobody has.  What is left differs from the earlier stream where the
graph does.  `restore` gives back the bytes exactly.

The numbers are learned by aligning the *tokens* of two streams: the bytes
between two references, which say what an object holds without saying where it
lies.  A wrong guess costs bytes, never correctness: whatever the map is, it is
one to one, and it stands in front of the stream.

    part   = "rn1" names moved runs stream      numbers as LEB128, signed ones as zigzag
    names  = count (number - the one before)*
    moved  = count (number - the one before, signed: its image - number)*
    runs   = count (gap, length - 1, signed: shift - shift of the run before)*

*names* are references to what stands everywhere, attribute names and classes:
they hardly ever move, and are passed over.  Where they did move, a first map
of just these, *moved*, puts them back; one pass applies both.  A *run* is of
consecutive numbers with one shift; a number in no run is not referred to.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, chain, compress, count, islice, pairwise, repeat
from operator import add, and_, attrgetter, itemgetter, ne, rshift, sub

from attrs import frozen

from checkpoint._alignment import aligned
from checkpoint._model import Buffer
from checkpoint._references import (
    NOWHERE,
    References,
    all_but,
    mapped,
    names,
    nearby,
    reference,
    references,
    rewritten,
)
from checkpoint.errors import IntegrityError

_MAGIC = b"rn1"
_LEAST = 1 << 12  # bytes of a stream that are worth it
_BLOCK = 1 << 16
_SAMPLE = 1 << 14  # references at the front, among which names are looked for
_MOST_NAMES = 128
_WINDOW = 1 << 18  # bytes in the middle, where they must be frequent too
_PROBES = 16
_PROBED = 1 << 12


@frozen
class Run:
    """Numbers from *start* on, *length* of them, that become *image* and on."""

    start: int
    length: int
    image: int


@frozen
class Numbering:
    """What is remembered of a stream as stored: about twelve bytes a reference.

    `tokens` and `numbers` are of all references but those to `names`; `front`
    is of the first ones, names too; `probes` are references near some places,
    to see cheaply whether a stream numbers as this one does.  It holds for
    this process only.
    """

    names: tuple[int, ...]
    tokens: array[int]
    numbers: array[int]
    fresh: int
    front: References
    probes: Mapping[int, frozenset[bytes]]
    size: int


def scan(stream: Buffer) -> Numbering | None:
    """The numbering of a plain stream; None if it is small, or not as the C pickler writes."""
    if not _LEAST <= len(stream) <= NOWHERE:
        return None
    front = references(stream, all_but(()), most=_SAMPLE)
    common = () if front is None else _names(stream, front)
    found = None if front is None else references(stream, all_but(common))
    if found is None or not found.numbers:
        return None
    return _numbering(stream, common, found.tokens, found.numbers)


def renumber(stream: Buffer, like: Numbering) -> tuple[bytes, Buffer, Numbering] | None:
    """A header, *stream* with the numbers of *like*, and what is to be remembered of it.

    None if the numbers are the same already, if *stream* cannot be aligned
    with *like*, or if `scan` would decline it: it is then best stored as it is.
    """
    if not _LEAST <= len(stream) <= NOWHERE or _settled(stream, like):
        return None
    moved = _moved(stream, like)
    joined = {number: image for number, image in moved.items() if image in like.names}
    unmoved = all_but(tuple(name for name in like.names if name not in moved))
    found = references(stream, unmoved, joined=joined)
    if found is None:
        return None
    others = found.numbers
    if moved:
        others = array("I", (moved.get(n, n) for n in found.numbers if n not in joined))
    runs = _runs(others, like, aligned(found.tokens, like.tokens))
    if runs is None:
        return None
    runs, table, numbers = _completed(runs, others, like.fresh)
    # A reader allows four numbers a byte; a body is never as short as a quarter of its stream.
    if not _sound(like.names, moved, runs, len(stream)):
        return None
    if not moved and all(run.start == run.image for run in runs):
        return None
    every = numbers
    if moved:
        _set(table, _stored(like.names, moved, runs))
        every = array("I", map(table.__getitem__, found.numbers))
    body = rewritten(stream, found, every)
    header = _header(like.names, moved, runs)
    return header, body, _numbering(body, like.names, found.tokens, numbers)


def restore(part: Buffer) -> Buffer:
    """The stream behind a header and body of `renumber`; IntegrityError if it is not one.

    Time and memory are at most a fixed multiple of the part's size.
    """
    common, moved, runs, body = _parse(part)
    inverse = [Run(run.image, run.length, run.start) for run in runs]
    size = max((run.start + run.length for run in inverse), default=0)
    table = _table(inverse, size)
    _set(table, ((image, number) for number, image in _stored(common, moved, runs)))
    stream = mapped(body, all_but(tuple(name for name in common if name not in moved)), table)
    if stream is None:
        raise IntegrityError("a renumbered stream does not fit its header")
    return stream


def numbering_of(part: Buffer) -> Numbering:
    """What `renumber` gave with *part*, for a program that was started again."""
    common, _, _, body = _parse(part)
    found = references(body, all_but(common))
    if found is None:
        raise IntegrityError("a renumbered stream is not of opcodes that are renumbered")
    return _numbering(body, common, found.tokens, found.numbers)


def _numbering(
    stored: Buffer, common: tuple[int, ...], tokens: array[int], numbers: array[int]
) -> Numbering:
    front = references(stored, all_but(()), most=_SAMPLE) or References()
    fresh = max(chain(common, numbers), default=0) + 1
    return Numbering(common, tokens, numbers, fresh, front, _probes(stored), len(stored))


# --- a first look ---------------------------------------------------------------------------------


def _names(stream: Buffer, front: References) -> tuple[int, ...]:
    """Strings and classes to which many of the first references are."""
    total = len(front.numbers)
    counts = Counter(front.numbers).items()
    often = {n for n, times in counts if times > 2 and times * 512 > total}
    if often and len(stream) > 4 * _WINDOW:
        # Those of which there are only a few, all near the front, would move for nothing.
        middle = bytes(stream[len(stream) // 2 :][:_WINDOW])
        share = len(middle) / (front.places[-1] + 1) / 16
        often = {
            n for n, times in counts if n in often and middle.count(reference(n)) > times * share
        }
    found = filter(often.__contains__, names(stream, max(often, default=0)))
    return tuple(islice(found, _MOST_NAMES))


def _probes(stream: Buffer) -> dict[int, frozenset[bytes]]:
    step = max(len(stream) // _PROBES, _PROBED)
    return {
        place: nearby(stream, place - 2 * _PROBED, place + 3 * _PROBED)
        for place in range(step - _PROBED, len(stream), step)
    }


def _settled(stream: Buffer, like: Numbering) -> bool:
    """Whether the references at the probed places are those of *like*, but for a few."""
    grown = len(stream) - like.size
    seen = 0
    for place, known in like.probes.items():
        looks = [nearby(stream, at, at + _PROBED) for at in {place, place + grown}]
        strange, total = min((len(look - known), len(look)) for look in looks)
        seen += total
        if strange > 2 and strange * 8 > total:
            return False
    return seen > _PROBES


def _moved(stream: Buffer, like: Numbering) -> dict[int, int]:
    """Where *stream* has the names of *like*: a permutation of those that moved; sorted."""
    front = references(stream, all_but(()), most=_SAMPLE)
    if front is None:
        return {}
    lacking = set(like.names)
    votes: Counter[tuple[int, int]] = Counter()
    for here, there, length in aligned(front.tokens, like.front.tokens):
        theirs = like.front.numbers[there : there + length]
        pairs = zip(front.numbers[here : here + length], theirs, strict=True)
        votes.update(compress(pairs, map(lacking.__contains__, theirs)))
    images: dict[int, int] = {}
    for (number, name), _ in votes.most_common():
        if number not in images and name in lacking:
            images[number] = name
            lacking.remove(name)
    images.update((name, name) for name in lacking if name not in images)
    lost = sorted(set(images.values()) - images.keys())
    images.update(zip(lost, sorted(images.keys() - set(images.values())), strict=True))
    return {number: image for number, image in sorted(images.items()) if number != image}


# --- the map --------------------------------------------------------------------------------------


def _runs(
    numbers: array[int], like: Numbering, stretches: Iterable[tuple[int, int, int]]
) -> list[Run] | None:
    """Runs of *numbers* that are aligned with those of *like*; None if hardly any is."""
    pairs: Counter[int] = Counter()  # how many references vouch for a number and its image
    together = 0
    for here, there, length in stretches:
        together += length
        for at in range(0, length, _BLOCK):
            stop = min(at + _BLOCK, length)
            both = array("I", bytes(8 * (stop - at)))
            both[_LOW::2] = like.numbers[there + at : there + stop]
            both[1 - _LOW :: 2] = numbers[here + at : here + stop]
            pairs.update(memoryview(both).cast("B").cast("Q"))
    if together * 4 < len(numbers):
        return None
    known = _disjoint(_groups(sorted(pairs), pairs))
    return list(_beside(known, like.names))


_LOW = 0 if sys.byteorder == "little" else 1


def _groups(pairs: list[int], votes: Mapping[int, int]) -> list[Run]:
    """Runs of numbers with one shift, those to believe first in front.

    A pair is a number and, in its lower half, its image.  A reference that was
    given another target vouches for a pair that is none: few do so for the same.
    """
    numbers = array("Q", map(rshift, pairs, repeat(32)))
    shifts = array("q", map(sub, map(and_, pairs, repeat(NOWHERE)), numbers))
    cuts = compress(count(1), map(ne, shifts, islice(shifts, 1, None)))
    single: list[tuple[int, Run]] = []
    weak: list[tuple[int, Run]] = []
    long: list[tuple[int, Run]] = []
    for start, stop in pairwise([0, *cuts, len(pairs)] if pairs else []):
        first, shift = numbers[start], shifts[start]
        run = Run(first, numbers[stop - 1] - first + 1, first + shift)
        if stop - start < _VOUCHERS:
            vouched = sum(votes[pair] for pair in pairs[start:stop])
            (weak if vouched < _VOUCHERS else single).append((vouched, run))
        elif long and long[-1][1].image - long[-1][1].start == shift:
            before, last = long.pop()
            length = run.start + run.length - last.start
            long.append((before + stop - start, Run(last.start, length, last.image)))
        else:
            long.append((stop - start, run))
    groups = (sorted(group, key=itemgetter(0), reverse=True) for group in (single, long, weak))
    return [run for _, run in chain.from_iterable(groups)]


_VOUCHERS = 3


def _disjoint(groups: Iterable[Run]) -> list[Run]:
    """The runs without what overlaps an earlier one, in number or in image; sorted."""
    runs: list[Run] = []
    images: list[Run] = []
    for group in groups:
        shift = group.image - group.start
        taken = [(run.start, run.length) for run in _over(runs, group, _START)]
        taken += [(run.image - shift, run.length) for run in _over(images, group, _IMAGE)]
        at, end = group.start, group.start + group.length
        for start, length in [*sorted(taken), (end, 0)]:
            if start > at:
                run = Run(at, start - at, at + shift)
                insort(runs, run, key=_START)
                insort(images, run, key=_IMAGE)
            at = max(at, start + length)
    return runs


_START: Callable[[Run], int] = attrgetter("start")
_IMAGE: Callable[[Run], int] = attrgetter("image")


def _over(runs: list[Run], group: Run, place: Callable[[Run], int]) -> list[Run]:
    """Those of the sorted *runs* that overlap *group*."""
    first = max(bisect_left(runs, place(group), key=place) - 1, 0)
    last = bisect_left(runs, place(group) + group.length, key=place)
    return [run for run in runs[first:last] if place(run) + run.length > place(group)]


def _beside(runs: list[Run], common: tuple[int, ...]) -> Iterator[Run]:
    """The *runs* without the numbers whose image is a name: a reader passes those over."""
    for run in runs:
        start, shift = run.start, run.image - run.start
        if shift:
            first, last = (bisect_left(common, run.image + n) for n in (0, run.length))
            for name in common[first:last]:
                if name - shift > start:
                    yield Run(start, name - shift - start, start + shift)
                start = name - shift + 1
        if run.start + run.length > start:
            yield Run(start, run.start + run.length - start, start + shift)


def _completed(
    runs: list[Run], numbers: array[int], fresh: int
) -> tuple[list[Run], array[int], array[int]]:
    """Runs for all *numbers*, those left out going to *fresh* ones; their table; the images."""
    table = _table(runs, max(numbers, default=0) + 1)
    images = array("I", map(table.__getitem__, numbers))
    places = list(compress(count(), map(NOWHERE.__eq__, images)))
    starts = [run.start for run in runs]
    more: list[Run] = []
    for number in sorted({numbers[place] for place in places}):
        last = more[-1] if more else Run(0, 0, fresh)
        between = bisect_left(starts, last.start) != bisect_left(starts, number)
        if more and not between and number - last.start - last.length < _NEAR:
            more[-1] = Run(last.start, number - last.start + 1, last.image)
        else:
            more.append(Run(number, 1, last.image + last.length))
    _fill(table, more)
    for place in places:
        images[place] = table[numbers[place]]
    return sorted([*runs, *more], key=_START), table, images


_NEAR = 64  # unused numbers that a run may span: cheaper than one run more


def _table(runs: Iterable[Run], size: int) -> array[int]:
    """The image of each number below *size*; NOWHERE where there is none."""
    table = array("I", [NOWHERE]) * size
    _fill(table, runs)
    return table


def _set(table: array[int], images: Iterable[tuple[int, int]]) -> None:
    """Put the images of single numbers into *table*, which may become longer."""
    for number, image in images:
        table.extend(repeat(NOWHERE, number + 1 - len(table)))
        table[number] = image


def _fill(table: array[int], runs: Iterable[Run]) -> None:
    for run in runs:
        length = min(run.length, max(len(table) - run.start, 0))
        table[run.start : run.start + length] = array("I", range(run.image, run.image + length))


def _stored(
    common: tuple[int, ...], moved: Mapping[int, int], runs: list[Run]
) -> Iterator[tuple[int, int]]:
    """The numbers that moved, and how each is stored: as a name, or as a run has its image."""
    for number, image in moved.items():
        if image in common:
            yield number, image
            continue
        at = bisect_right(runs, image, key=_START) - 1
        if at >= 0 and image < runs[at].start + runs[at].length:
            yield number, image - runs[at].start + runs[at].image


# --- the header -----------------------------------------------------------------------------------


def _header(common: tuple[int, ...], moved: Mapping[int, int], runs: list[Run]) -> bytes:
    values = [len(common), *map(sub, common, (0, *common))]
    values += [len(moved), *chain.from_iterable(
        (number - before, _zigzag(moved[number] - number))
        for before, number in pairwise((0, *moved))
    )]  # fmt: skip
    values.append(len(runs))
    end = shift = 0
    for run in runs:
        turned = run.image - run.start
        values += [run.start - end, run.length - 1, _zigzag(turned - shift)]
        end, shift = run.start + run.length, turned
    return _MAGIC + b"".join(map(_varint, values))


def _parse(part: Buffer) -> tuple[tuple[int, ...], dict[int, int], list[Run], memoryview]:
    """Names, what moved, runs, and the body; IntegrityError unless all is one to one."""
    view = memoryview(part).toreadonly()
    if view[: len(_MAGIC)] != _MAGIC or len(view) > NOWHERE:
        raise IntegrityError("not a renumbered stream")
    steps, at = _varints(view, len(_MAGIC), 1, _MOST_NAMES)
    pairs, at = _varints(view, at, 2, 2 * _MOST_NAMES)
    triples, at = _varints(view, at, 3, len(view))
    common = tuple(accumulate(steps))
    keys = list(accumulate(pairs[::2]))
    moved = dict(zip(keys, map(add, keys, map(_signed, pairs[1::2])), strict=True))
    runs = list(_read_runs(triples))
    if len(moved) != len(keys) or not _sound(common, moved, runs, _LIMIT * len(view)):
        raise IntegrityError("the header of a renumbered stream contradicts itself")
    return common, moved, runs, view[at:]


def _sound(common: tuple[int, ...], moved: Mapping[int, int], runs: list[Run], limit: int) -> bool:
    """Whether the maps are one to one, with no number above *limit*: tables are at most so long."""
    return (
        len({*common}) == len(common)
        and sorted(moved.values()) == list(moved)
        and max((*common, *moved), default=0) <= limit
        and _one_to_one(runs, limit)
    )


_LIMIT = 4  # numbers for each byte of a part: honest ones are far below one


def _read_runs(triples: list[int]) -> Iterator[Run]:
    end = shift = 0
    for gap, length, turn in zip(triples[::3], triples[1::3], triples[2::3], strict=True):
        shift += _signed(turn)
        yield Run(end + gap, length + 1, end + gap + shift)
        end += gap + length + 1


def _one_to_one(runs: list[Run], limit: int) -> bool:
    """Whether no two of *runs* share a number or an image, and all are at most *limit*."""
    for place in _START, _IMAGE:
        end = 0
        for run in sorted(runs, key=place):
            if place(run) < end:
                return False
            end = place(run) + run.length
        if end > limit:
            return False
    return True


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _varints(view: memoryview, at: int, width: int, most: int) -> tuple[list[int], int]:
    """A count, at most *most*, and *width* times as many numbers; and where they end."""
    found: list[int] = []
    wanted = 1
    while len(found) < wanted:
        value = shift = 0
        byte = 128
        while byte > 127:
            if at >= len(view) or shift > 35:
                raise IntegrityError("the header of a renumbered stream is cut off")
            byte = view[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
        if not found:
            wanted = 1 + width * value
            if value > most:
                raise IntegrityError("the header of a renumbered stream promises too much")
        found.append(value)
    return found[1:], at


def _zigzag(value: int) -> int:
    return value * 2 if value >= 0 else -value * 2 - 1


def _signed(value: int) -> int:
    return -(value + 1 >> 1) if value & 1 else value >> 1
