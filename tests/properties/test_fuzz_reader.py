"""Whatever the bytes are, they are looked at or refused: no other error, no code of theirs."""

from __future__ import annotations

import io
import pickle
import random
from collections import OrderedDict
from contextlib import suppress
from time import monotonic
from typing import Any

import numpy as np
import pytest
from properties.graphs import Attrs, Colour, ListKind, Node, Pair

import checkpoint
from checkpoint import CheckpointError
from checkpoint._difference import difference
from checkpoint._outline import Outline, Source, outlined
from checkpoint._raw import raw_of
from checkpoint._spans import PROTO


def graph() -> Any:
    node = Node(1)
    node.children = [node, Attrs(2, {"a": (1, 2.5, None, True)}), Colour.RED, Pair(1, [2])]  # type: ignore[attr-defined]
    row = ListKind([1, 2**70, -3])
    row.label = 4
    return {
        "node": node,
        "row": row,
        "sets": [{1, "x"}, frozenset((2,)), OrderedDict(a=1)],
        "bytes": [b"x" * 300, bytearray(b"abc"), "é\n" * 200, b""],
        "array": np.arange(6.0).reshape(2, 3),
        "again": node,
        (1, "k"): 2j,
    }


PICKLES = [pickle.dumps(graph(), protocol) for protocol in range(6)]
OPCODES = bytes(range(256))


def mutated(seeds: random.Random) -> bytes:
    """A pickle with some of its bytes changed, left out, doubled, or replaced by opcodes."""
    data = bytearray(seeds.choice(PICKLES))
    for _ in range(seeds.choice((1, 1, 2, 5, 20))):
        at = seeds.randrange(len(data) + 1)
        way = seeds.randrange(5)
        if way == 0 and at < len(data):
            data[at] = seeds.randrange(256)
        elif way == 1:
            del data[at : at + seeds.choice((1, 2, 9))]
        elif way == 2:
            data[at:at] = data[at : at + seeds.randrange(20)]
        elif way == 3:
            data[at:at] = seeds.choice(b"0125(.abdeghijloqrstu}]\x81\x85\x86\x8f\x90\x93\x94\x97\x98").to_bytes(1, "little")  # fmt: skip # noqa: E501
        else:
            start = seeds.randrange(len(data) + 1)
            data[at:at] = data[start : start + seeds.randrange(60)]
    return bytes(data)


def random_bytes(seeds: random.Random) -> bytes:
    kinds = (
        b"0125(.acdeghijlopqrstuNKMJ}])\x85\x86\x87\x88\x8f\x90\x91\x93\x94\x8c\x01\x00R",
        OPCODES,
    )
    head = seeds.choice((PROTO, b"\x80\x02", b""))
    body = bytes(seeds.choices(seeds.choice(kinds), k=seeds.randrange(60)))
    return head + body + seeds.choice((b".", b""))


def look(data: bytes) -> Outline | None:
    """Look at all of it in every way; None if it is refused."""
    try:
        outline = outlined(data)
    except CheckpointError:
        outline = None
    else:
        str(outline), repr(outline), outline._repr_html_()
        walk(outline, 200)
        outline.source.path_at(len(outline.source.program.data) // 2)
    with suppress(CheckpointError):
        raw_of(data)
    return outline


def walk(outline: Outline, left: int) -> None:
    rows = [outline]
    while rows and left:
        node = rows.pop()
        left -= 1
        told = (node.path, node.key, node.type, node.value, node.shape, node.dtype, node.size)
        assert isinstance(told[0], str)
        assert node.reference is None or node.reference.startswith("state")
        rows += list(node)[:50]


def run(seed: int, seconds: float) -> int:
    """How many inputs were looked at in so many seconds."""
    seeds, count, refused = random.Random(seed), 0, 0
    before = outlined(PICKLES[5]).source
    end = monotonic() + seconds
    while monotonic() < end:
        count += 1
        data = random_bytes(seeds) if count % 4 == 0 else mutated(seeds)
        outline = look(data)
        if outline is None:
            refused += 1
            continue
        found = difference(before, outline.source)
        str(found), found._repr_html_(), repr(found)
    assert 0 < refused < count
    return count


def test_random_bytes_and_mutated_pickles_raise_nothing_but_our_errors() -> None:
    assert run(20261121, 4) > 100


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_and_mutated_pickles_for_longer(seed: int) -> None:
    assert run(seed, 60) > 1000


def test_files_of_random_bytes_raise_nothing_but_our_errors() -> None:
    seeds = random.Random(7)
    for _ in range(300):
        for way in (checkpoint.inspect, checkpoint.raw):
            with suppress(CheckpointError):
                way(io.BytesIO(mutated(seeds)))


def test_what_was_not_mutated_is_looked_at() -> None:
    for data in PICKLES:
        assert look(data) is not None
        source = outlined(data).source
        assert len(difference(source, Source(data))) == 0
