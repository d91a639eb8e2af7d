"""Cuts lie where the content says, so that a change moves only the chunks that it touches."""

import os
import pickle
import random
from itertools import accumulate

import pytest

from checkpoint._chunking import CHUNK, LONGEST, first_cut, fixed


def cut(stream: bytes) -> list[bytes]:
    chunks = []
    while stream:
        size = first_cut(stream)
        chunks.append(stream[:size])
        stream = stream[size:]
    return chunks


def cut_places(stream: bytes) -> list[int]:
    return list(accumulate(len(chunk) for chunk in cut(stream)))


def a_world(count: int = 60_000) -> list[dict[str, object]]:
    chance = random.Random(7)
    kinds = ["orc", "elf", "dwarf"]
    return [
        {
            "name": f"unit {i}",
            "x": chance.random(),
            "hp": chance.randrange(999),
            "kind": kinds[i % 3],
        }
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def stream() -> bytes:
    return pickle.dumps([pickle.dumps(unit) for unit in a_world()], 5)


def test_the_chunks_make_the_stream(stream: bytes) -> None:
    chunks = cut(stream)
    assert b"".join(chunks) == stream
    assert len(chunks) > 2
    assert max(map(len, chunks)) <= LONGEST


@pytest.mark.parametrize("where", [0, 1000, 2_000_000])
@pytest.mark.parametrize("change", [b"", b"x", b"a longer run of inserted bytes"])
def test_an_insertion_leaves_the_other_chunks_as_they_were(
    stream: bytes, where: int, change: bytes
) -> None:
    changed = stream[:where] + change + stream[where + 3 :]
    before, after = set(cut(stream)), cut(changed)
    new = [chunk for chunk in after if chunk not in before]
    assert len(new) <= 2
    assert b"".join(after) == changed


def test_the_cut_does_not_depend_on_what_follows_a_full_chunk() -> None:
    noise = os.urandom(LONGEST + 100_000)
    assert first_cut(noise) == first_cut(noise[:LONGEST])


def test_chunks_of_noise_are_of_a_useful_size() -> None:
    noise = random.Random(3).randbytes(16 << 20)
    sizes = [len(chunk) for chunk in cut(noise)][:-1]
    assert min(sizes) >= 1 << 20
    assert 1.1 < sum(sizes) / len(sizes) / (1 << 20) < 1.4


def test_cuts_that_were_moved_by_many_changes_come_back() -> None:
    chance = random.Random(5)
    stream = bytearray(chance.randbytes(48 << 20))
    before = set(cut_places(bytes(stream)))
    for at in chance.sample(range(len(stream)), 20_000):
        stream[at] ^= 0xFF
    after = cut_places(bytes(stream))
    assert len([at for at in after if at not in before]) <= 8, "of some forty"


def test_content_without_pattern_points_is_cut_all_the_same() -> None:
    assert [len(chunk) for chunk in cut(bytes(2 * LONGEST + 5))] == [LONGEST, LONGEST, 5]


def test_a_buffer_is_cut_at_fixed_distances_uncopied() -> None:
    buffer = bytearray(2 * CHUNK + 1)
    views = list(fixed(buffer))
    assert [len(view) for view in views] == [CHUNK, CHUNK, 1]
    assert all(view.obj is buffer for view in views)
