"""References are renumbered so that streams of nearly the same graph are nearly the same bytes."""

from __future__ import annotations

import pickle
import pickletools
import random
import tracemalloc
from array import array
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties.graphs import graphs

from checkpoint import Checkpointer, MemoryStore
from checkpoint._alignment import aligned
from checkpoint._pickling import pickle_into
from checkpoint._references import all_but, references, rewritten
from checkpoint._renumbering import Numbering, numbering_of, renumber, restore, scan
from checkpoint.errors import IntegrityError


class Team:
    def __init__(self, name: str) -> None:
        self.name = name


class Unit:
    """Numbers, a name of its own, a tuple, shared objects, references to older units."""

    def __init__(self, world: dict[str, Any], chance: random.Random) -> None:
        units = world["units"]
        self.name = f"unit {chance.randrange(10**9)}"
        self.x, self.y = chance.random(), chance.random()
        self.place = (chance.randrange(1000), chance.randrange(1000))
        self.team = chance.choice(world["teams"])
        self.friends = [chance.choice(units) for _ in range(3)] if units else []
        self.bag = [chance.randrange(50) for _ in range(chance.randrange(4))]


def a_world(units: int = 4000) -> dict[str, Any]:
    chance = random.Random(1)
    teams = [Team(f"team {n}") for n in range(8)]
    world = {"log": ["begin"], "title": "a", "units": [], "teams": teams}
    for _ in range(units):
        world["units"].append(Unit(world, chance))
    return world


def stream_of(obj: Any) -> bytes:
    pieces: list[bytes] = []
    pickle_into(obj, lambda piece: pieces.append(bytes(piece)))
    return b"".join(pieces)


def numbering(stream: bytes) -> Numbering:
    found = scan(stream)
    assert found is not None
    return found


def delta(stream: bytes, base: bytes) -> int:
    """The size of *stream* encoded with what *base* has near the same place as dictionary."""
    large = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=24, hash_log=22, chain_log=22
    )
    size = 0
    for start in range(0, len(stream), 1 << 20):
        near = base[max(start - (3 << 19), 0) : start + (5 << 19)]
        known = zstandard.ZstdCompressionDict(near, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        known.precompute_compress(compression_params=large)
        encoder = zstandard.ZstdCompressor(dict_data=known, compression_params=large)
        size += len(encoder.compress(stream[start : start + (1 << 20)]))
    return size


# --- what changes, and what it costs --------------------------------------------------------------


def insert_at_the_front(world: dict[str, Any], chance: random.Random) -> None:
    unit = Unit(world, chance)
    unit.friends = []
    world["units"].insert(0, unit)


def grow_lists_in_the_middle(world: dict[str, Any], chance: random.Random) -> None:
    for quarter in (1, 2, 3):
        unit = world["units"][len(world["units"]) * quarter // 4]
        unit.friends.append(chance.choice(world["units"][:100]))
        unit.bag.append(f"thing {chance.random()}")


def delete_a_few(world: dict[str, Any], chance: random.Random) -> None:
    dead = set(chance.sample(world["units"][20:], 1 + len(world["units"]) // 1000))
    world["units"] = [unit for unit in world["units"] if unit not in dead]
    for unit in world["units"]:
        unit.friends = [friend for friend in unit.friends if friend not in dead]


def grow_an_early_list(world: dict[str, Any], chance: random.Random) -> None:
    world["log"].append(f"event {chance.random()}")


def share_a_string_early(world: dict[str, Any], chance: random.Random) -> None:
    title = f"title {chance.random()}"
    world["title"] = [world["title"], title, title]


def grow_many_lists(world: dict[str, Any], chance: random.Random) -> None:
    for unit in chance.sample(world["units"], len(world["units"]) // 100):
        unit.bag.append(f"thing {chance.random()}")


def change_floats(world: dict[str, Any], chance: random.Random) -> None:
    for unit in chance.sample(world["units"], len(world["units"]) // 100):
        unit.x = chance.random()


def append_some(world: dict[str, Any], chance: random.Random) -> None:
    world["units"] += [Unit(world, chance) for _ in range(20)]


def do_all(world: dict[str, Any], chance: random.Random) -> None:
    for change in SHIFTS[:-1]:
        change(world, chance)
    change_floats(world, chance)
    append_some(world, chance)


Change = Callable[[dict[str, Any], random.Random], None]
SHIFTS: list[Change] = [
    insert_at_the_front, grow_lists_in_the_middle, delete_a_few, grow_an_early_list,
    share_a_string_early, grow_many_lists, do_all,
]  # fmt: skip


@pytest.mark.parametrize("change", SHIFTS)
def test_a_shift_costs_a_fraction_in_each_version_of_a_chain(change: Change) -> None:
    world, chance = a_world(), random.Random(2)
    first = stream_of(world)
    like = numbering(first)
    before = first
    for version in range(6):
        change(world, chance)
        stream = stream_of(world)
        found = renumber(stream, like)
        assert found is not None
        header, body, like = found
        part = header + bytes(body)
        assert restore(part) == stream
        fraction = 3 if change is do_all else 5
        assert delta(part, before) * fraction < delta(stream, first), version
        before = part


@pytest.mark.parametrize("change", [change_floats, append_some, lambda world, chance: None])
def test_what_shifts_nothing_is_left_alone(change: Change) -> None:
    world, chance = a_world(), random.Random(2)
    like = numbering(stream_of(world))
    for _ in range(3):
        change(world, chance)
        assert renumber(stream_of(world), like) is None


def test_a_shift_and_its_undoing_are_found() -> None:
    world, chance = a_world(), random.Random(2)
    first = stream_of(world)
    like = numbering(first)
    grow_an_early_list(world, chance)
    found = renumber(stream_of(world), like)
    assert found is not None
    world["log"].pop()
    assert stream_of(world) == first
    assert renumber(first, found[2]) is None


def test_objects_that_swap_places_in_the_middle_are_followed() -> None:
    world = a_world()
    first = stream_of(world)
    for unit in world["units"][3000:]:
        unit.friends = []
    base = stream_of(world)
    units = world["units"]
    units[3000:3600] = units[3400:3600] + units[3000:3400]
    stream = stream_of(world)
    found = renumber(stream, numbering(base))
    assert first != base
    if found is not None:
        assert restore(found[0] + bytes(found[1])) == stream


def test_references_that_cross_from_one_byte_to_four_are_the_same_ones() -> None:
    world = a_world(1500)
    world["log"] = [f"event {n}" for n in range(180)]
    first = stream_of(world)
    like = numbering(first)
    for number in range(9):
        world["log"] += [f"more {number} {n}" for n in range(10)]
        stream = stream_of(world)
        found = renumber(stream, like)
        assert found is not None
        header, body, like = found
        assert restore(header + bytes(body)) == stream
        assert delta(header + bytes(body), first) * 10 < delta(stream, first)
    for _ in range(9):
        del world["log"][-10:]
        stream = stream_of(world)
        found = renumber(stream, like)
        if found is not None:
            header, body, like = found
            assert restore(header + bytes(body)) == stream
    assert stream == first


def test_the_header_grows_with_the_changes_and_not_with_the_versions() -> None:
    world, chance = a_world(400), random.Random(2)
    like = numbering(stream_of(world))
    sizes = []
    for _ in range(100):
        insert_at_the_front(world, chance)
        del world["units"][chance.randrange(100, 300)].bag[:]
        found = renumber(stream_of(world), like)
        assert found is not None
        header, _, like = found
        sizes.append(len(header))
    assert max(sizes) < 100 + 8 * len(sizes)


# --- exact, whatever it is given ------------------------------------------------------------------


def filler(count: int) -> list[Any]:
    shared = [[f"shared {n}"] for n in range(40)]
    return [{"name": f"n{n}", "to": shared[n % 40], "at": n / 7} for n in range(count)]


@given(graphs(), graphs(), st.booleans())
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_random_graphs_come_back_exactly(first: Any, second: Any, at_the_end: bool) -> None:
    rest = filler(300)
    before = stream_of([first, rest])
    after = stream_of([rest, second, rest[5:9]] if at_the_end else [second, rest, first])
    like = scan(before)
    found = None if like is None else renumber(after, like)
    if found is not None:
        part = found[0] + bytes(found[1])
        assert restore(part) == after
        again = numbering_of(part)
        assert again.numbers == found[2].numbers and again.tokens == found[2].tokens


def a_mixture() -> list[Any]:
    long = [b"b" * 300, bytearray(b"a" * 20), "s" * 70_000, 1 << 5000, "é" * 200, b"c" * 255]
    return [
        filler(100), long, {1, 2}, frozenset("ab"), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), -5,
        1 << 20, 1 << 40, None, True, 2.5, 1j, Team, Team("x"), pickle.PickleBuffer(bytearray(9)),
        [0.5] * 50_000, long, [long[2]],
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", [4, 5])
def test_every_reference_is_found_where_pickletools_finds_it(protocol: int) -> None:
    mixture = a_mixture() if protocol == 5 else [x for x in a_mixture() if not is_buffer(x)]
    stream = pickle.dumps(mixture, protocol)
    found = references(stream, all_but(()))
    assert found is not None
    expected = [
        (place, number)
        for opcode, number, place in pickletools.genops(stream)
        if opcode.name in ("BINGET", "LONG_BINGET")
    ]
    assert list(zip(found.places, found.numbers, strict=True)) == expected
    chosen = tuple(sorted({number for _, number in expected})[5:200:3])
    others = references(stream, all_but(chosen))
    assert others is not None
    assert list(others.numbers) == [number for _, number in expected if number not in chosen]


@pytest.mark.parametrize("gap", ["", "a" * 300, "a" * 300_000], ids=["short", "long", "a block"])
def test_tokens_go_on_behind_names_that_moved(gap: str) -> None:
    """They are those of the stream in which the names did not move."""
    names = [f"name {n}" for n in range(300)]
    shared = [[n] for n in range(50)]
    chance = random.Random(1)
    rows = [
        [
            chance.choice(shared),
            *chance.choices(names, k=chance.randrange(9)),
            f"{n}{gap}",
            names[n % 300],
        ]
        for n in range(30 if len(gap) > 300 else 9000)
    ]
    stream = stream_of([names, shared, rows])
    named = {number: (number - 2 + 7) % 300 + 2 for number in range(2, 302)}
    whole = references(stream, all_but(()))
    assert whole is not None
    numbers = array("I", (named.get(number, number) for number in whole.numbers))
    moved = rewritten(stream, whole, numbers)
    assert len({*whole.numbers} & named.keys()) > 50

    plain = references(stream, all_but(tuple(named)))
    back = {image: number for number, image in named.items()}
    found = references(moved, all_but(()), joined=back)
    assert plain is not None and found is not None
    assert found.tokens == plain.tokens
    assert found.numbers == numbers


def test_a_long_string_is_part_of_its_token() -> None:
    shared = ["x"]
    first, second, third = (
        references(stream_of([shared, letter * 300, shared]), all_but(())) for letter in "aba"
    )
    assert first is not None and second is not None and third is not None
    assert first.tokens != second.tokens
    assert first.tokens == third.tokens


def is_buffer(value: Any) -> bool:
    return isinstance(value, pickle.PickleBuffer)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_declined_or_comes_back_exactly(protocol: int) -> None:
    mixture = [value for value in a_mixture() if not is_buffer(value)]
    like = scan(pickle.dumps(mixture, protocol))
    if protocol < 4:
        assert like is None
        return
    assert like is not None
    stream = pickle.dumps(["new", ["newer"], *mixture], protocol)
    found = renumber(stream, like)
    assert found is not None
    assert restore(found[0] + bytes(found[1])) == stream


@pytest.mark.parametrize("of", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(of: Callable[[bytes], Any]) -> None:
    world = a_world(500)
    like = scan(of(stream_of(world)))
    grow_an_early_list(world, random.Random(1))
    stream = stream_of(world)
    assert like is not None
    found = renumber(of(stream), like)
    assert found is not None
    assert restore(of(found[0] + bytes(found[1]))) == stream


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stream: stream + b".",
        lambda stream: stream + b"x",
        lambda stream: stream[:-1],
        lambda stream: stream[:-1] + b"h",
        lambda stream: stream[:-1] + b"j\5\0\0\0.",
        lambda stream: stream[:-1] + b"X\xff\xff\xff\xffa.",
        lambda stream: stream[:-1] + b"\x8e" + b"\xff" * 8 + b".",
        lambda stream: stream[:-1] + b"q\5.",
        lambda stream: stream[:-1] + b"\xff.",
    ],
)
def test_a_stream_that_the_pickler_would_not_write_is_declined(
    spoil: Callable[[bytes], bytes],
) -> None:
    world = a_world(300)
    stream = stream_of(world)
    like = numbering(stream)
    assert scan(spoil(stream)) is None
    grow_an_early_list(world, random.Random(1))
    assert renumber(spoil(stream_of(world)), like) is None


def test_a_wrong_memory_costs_bytes_and_never_the_stream() -> None:
    world, chance = a_world(600), random.Random(3)
    like = numbering(stream_of(world))
    grow_an_early_list(world, chance)
    stream = stream_of(world)
    for _ in range(40):
        numbers = array("I", like.numbers)
        for _ in range(chance.randrange(1, 400)):
            numbers[chance.randrange(len(numbers))] = chance.randrange(5000)
        if chance.random() < 0.3:
            numbers = array("I", chance.sample(range(1 << 14), 100)) * (len(numbers) // 100 + 1)
        wrong = evolve(like, numbers=numbers[: len(like.numbers)], fresh=1 << 14, probes={})
        found = renumber(stream, wrong)
        if found is not None:
            assert restore(found[0] + bytes(found[1])) == stream


def test_a_numbering_is_recovered_from_what_is_stored() -> None:
    world, chance = a_world(800), random.Random(3)
    like = numbering(stream_of(world))
    for _ in range(5):
        do_all(world, chance)
        found = renumber(stream_of(world), like)
        assert found is not None
        header, body, like = found
        assert numbering_of(header + bytes(body)) == like


# --- hostile parts --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def part() -> bytes:
    world = a_world(300)
    like = numbering(stream_of(world))
    do_all(world, random.Random(5))
    found = renumber(stream_of(world), like)
    assert found is not None
    return found[0] + bytes(found[1])


def read(part: bytes) -> Any:
    """What `restore` gives; IntegrityError is an answer too, anything else is not."""
    try:
        return restore(part)
    except IntegrityError:
        return None


def test_a_part_that_is_cut_off_is_refused(part: bytes) -> None:
    for length in [*range(400), *range(400, len(part), 97), len(part) - 1]:
        assert read(part[:length]) is None, length


def test_more_after_the_end_is_refused(part: bytes) -> None:
    for more in b"\0", b".", b"rn1", part:
        assert read(part + more) is None


def test_any_byte_of_the_header_may_be_wrong(part: bytes) -> None:
    for place in range(part.index(b"\x80\5")):
        for wrong in (0, 1, 127, 128, 255, part[place] ^ 1):
            read(part[:place] + bytes([wrong]) + part[place + 1 :])


@given(st.binary(max_size=200), st.sampled_from([b"", b"rn1", b"rn1\0\0", b"rn1\1\5\0\1"]))
def test_arbitrary_bytes_are_refused_or_read(data: bytes, front: bytes) -> None:
    read(front + data)


@pytest.mark.parametrize(
    "header",
    [
        b"rn1\xff\xff\xff\xff\x0f",
        b"rn1\0\xff\xff\x01",
        b"rn1\0\0\xff\xff\xff\xff\x0f",
        b"rn1\0\0\1\0\xff\xff\xff\xff\x0f\0",
        b"rn1\0\0\1\0\5\xff\xff\xff\xff\x0f",
        b"rn1\0\0\2\0\5\0\0\5\3",
        b"rn1\0\0\1\0\5\1",
        b"rn1\0\2\1\2\1\2\1\0\5\0",
        b"rn1\0\2\1\2\0\0\1\0\5\0",
        b"rn1\2\5\0\0\1\0\5\0",
        b"rn1\0\0\x80\x80\x80\x80\x80\x80\x80\x80\0",
        b"rn2\0\0\0",
        b"rn1\x81\1" + b"\1" * 129 + b"\0\1\0\5\0",
        b"rn1\0\0\1\3\0\0",
    ],
    ids=[
        "names without end", "moved without end", "runs without end", "a run without end",
        "an image far away", "images that overlap", "a negative image", "no permutation",
        "a number twice", "a name twice", "a number too long", "another magic",
        "too many names", "a number in no run",
    ],
)  # fmt: skip
def test_a_header_that_is_not_one_to_one_is_refused(header: bytes) -> None:
    assert read(b"rn1\0\0\0\x80\5h\0.") is None
    assert read(b"rn1\0\0\1\0\5\0\x80\5h\0.") == b"\x80\5h\0."
    assert read(header + b"\x80\5h\0.") is None


def test_a_hostile_part_takes_memory_in_proportion(part: bytes) -> None:
    short_ones = b"\x80\5" + b"h\0" * 60_000 + b"."
    long_ones = b"\x80\5" + b"X\0\0\0\0" * 12_000 + b"h\0."
    far = b"rn1\0\0\1\xf0\xff\x03\0\xdf\xff\x07"
    for data in (b"rn1\0\0\1\0\0\0" + short_ones, b"rn1\0\0\1\0\0\0" + long_ones, far + short_ones):
        tracemalloc.start()
        read(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 80 * len(data) + (1 << 20)


def test_a_large_stream_takes_a_few_times_its_size() -> None:
    world = a_world(6000)
    like = numbering(stream_of(world))
    grow_an_early_list(world, random.Random(1))
    stream = stream_of(world)
    tracemalloc.start()
    found = renumber(stream, like)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert peak < 8 * len(stream) + (16 << 20)


# --- alignment ------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40)), st.lists(st.integers(0, 40)))
def test_stretches_lie_within_both_and_in_order(new: list[int], old: list[int]) -> None:
    end = past = 0
    for here, there, length in aligned(array("q", new), array("q", old)):
        assert end <= here and past <= there and length > 0
        end, past = here + length, there + length
        assert end <= len(new) and past <= len(old)


def test_what_was_cut_out_of_a_long_sequence_is_skipped() -> None:
    old = array("q", range(200_000))
    new = old[:1000] + old[150_000:180_000] + array("q", range(10**6, 10**6 + 50)) + old[180_050:]
    stretches = list(aligned(new, old))
    assert sum(length for _, _, length in stretches) > len(new) - 200
    assert list(aligned(old, new)) == [(there, here, length) for here, there, length in stretches]


def test_a_large_stream_without_references_is_scanned() -> None:
    states: list[Any] = [
        [[*range(1000)], b"", [*range(300, 500_000)]], [*range(1_000_000)], [*range(1_000_001)],
    ]  # fmt: skip
    store = MemoryStore()
    for state in states:  # each is compared with the one before, which is read back
        Checkpointer(store).save(state)
    assert Checkpointer(store).load() == states[-1]
