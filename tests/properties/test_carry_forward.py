"""What packs may hold beyond what is live, under a retention policy.

The rule (`checkpoint/_reuse.py`): a snapshot reuses blobs of a pack only if it
needs at least the share t of its bytes; what it needs of other packs it stores
again, in its own.

The bound that follows.  Let L(v) be the stored bytes of the distinct blobs that
snapshot v needs.  Every pack that v names is either its own new one, of which
all is live in v, or one of which at least t is: such packs hold together at
most (L(v) - new(v)) / t.  So v names at most L(v) / t bytes of packs, and K
kept snapshots at most

    sum of L(v) / t over the kept v  <=  K · max L / t,

whatever was saved before, in any order.  For K = 3 and t = 1/5 that is 15 times
the largest snapshot, and 5 times for one that is kept alone.  (Small change is
added to each pack: its magic, padding to 64 bytes, and the rows of long tables.)
Chosen churn stays below 3 times the live bytes; that is measured here, not proved.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from faults.sparse import forms
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoint import Checkpointer, MemoryStore, _format, keep_last
from checkpoint._reuse import LIVE_SHARE

SIZE = 66 << 10  # one blob: above it, an array is a buffer of its own
KEPT = 3


def array(identity: int, size: int = SIZE) -> np.ndarray[Any, Any]:
    raw = identity.to_bytes(8, "little") * (size // 8)
    return np.frombuffer(raw, dtype=np.uint8) ^ 0


def save_all(states: Iterator[list[int]], sizes: Callable[[int], int] = lambda i: SIZE) -> Any:
    """Save each state, a list of array identities, under `keep_last(3)`; then a quiet prune."""
    store = MemoryStore()
    saves = Checkpointer(store, keep=keep_last(KEPT), codec="none")
    for state in states:
        saves.save([array(identity, sizes(identity)) for identity in state])
    saves.prune()
    return store, saves


def measure(store: MemoryStore) -> tuple[int, int, int, int]:
    """Bytes: in packs, live in kept snapshots together, in the largest one, in small change."""
    packs = sum(len(store.get(key)) for key in store.keys("packs/"))
    live: dict[tuple[Any, int], int] = {}
    largest = 0
    change = 0
    for key in store.keys("snapshots/"):
        manifest = _format.decode_manifest(store.get(key), key)
        assert not manifest.table
        mine = {(b.pack, b.offset): b.stored for b in manifest.blobs if b.pack is not None}
        live |= mine
        largest = max(largest, sum(mine.values()))
        change += 64 * (len(mine) + 1) * max(1, len(manifest.packs))
    return packs, sum(live.values()), largest, change


def uniform(chance: random.Random, count: int) -> Iterator[list[int]]:
    """A tenth of the arrays changes, any of them."""
    state = list(range(count))
    for step in range(60):
        for at in chance.sample(range(count), count // 10):
            state[at] = (step + 1) * 1000 + at
        yield state


def skewed(chance: random.Random, count: int) -> Iterator[list[int]]:
    """A few change often, most hardly ever."""
    state = list(range(count))
    for step in range(60):
        for _ in range(count // 10):
            at = min(count - 1, int(chance.paretovariate(0.7)) - 1)
            state[at] = (step + 1) * 1000 + at
        yield state


def rotating(chance: random.Random, count: int) -> Iterator[list[int]]:
    """The next tenth changes each time."""
    state = list(range(count))
    for step in range(60):
        for at in range(count // 10):
            place = (step * (count // 10) + at) % count
            state[place] = (step + 1) * 1000 + place
        yield state


def half_frozen(chance: random.Random, count: int) -> Iterator[list[int]]:
    """One half never changes; of the other a fifth does."""
    state = list(range(count))
    for step in range(60):
        for at in chance.sample(range(count // 2), count // 10):
            state[at] = (step + 1) * 1000 + at
        yield state


@pytest.mark.parametrize("churn", [uniform, skewed, rotating, half_frozen])
@pytest.mark.parametrize("seed", [0, 1])
def test_packs_hold_at_most_three_times_what_is_live(churn: Any, seed: int) -> None:
    store, saves = save_all(churn(random.Random(seed), 40))
    packs, live, _, _ = measure(store)
    print(f"{churn.__name__}: {packs / live:.2f}")
    assert packs <= 3 * live
    assert saves.verify() == []


def bounded(store: MemoryStore) -> None:
    packs, live, largest, change = measure(store)
    assert packs <= KEPT * largest / LIVE_SHARE + change
    assert packs >= live


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 25), min_size=1, max_size=10), min_size=1, max_size=14),
    st.lists(st.sampled_from([SIZE, SIZE * 2, SIZE * 6]), min_size=26, max_size=26),
)
def test_whatever_is_saved_packs_stay_within_the_bound(
    states: list[list[int]], sizes: list[int]
) -> None:
    store, saves = save_all(iter(states), lambda identity: sizes[identity % 26])
    bounded(store)
    assert saves.verify() == []


def test_one_blob_of_each_old_pack_in_turn_stays_within_the_bound() -> None:
    """Every save brings something large beside something small, and wants all that was small."""

    def states() -> Iterator[list[int]]:
        for step in range(40):
            yield [*range(step + 1), *range(1000 + step * 10, 1010 + step * 10)]

    store, _ = save_all(states())
    bounded(store)


def test_states_that_alternate_stay_within_the_bound() -> None:
    """What the snapshot before did not need is judged by this one all the same."""

    def states() -> Iterator[list[int]]:
        for step in range(40):
            yield [*range(0, step + 1, 2), *range(1000 + step * 20, 1020 + step * 20)]
            yield [5000 + step]

    store, _ = save_all(states())
    bounded(store)
    packs, live, _, _ = measure(store)
    assert packs <= 6 * live


def drifting(seed: int) -> MemoryStore:
    """Arrays that change in a few places each, beside one that is new each time."""
    chance = random.Random(seed)
    store = MemoryStore()
    saves = Checkpointer(store, keep=keep_last(KEPT))
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(0, 256, SIZE, dtype=np.uint8) for _ in range(8)]
    for _ in range(60):
        for array in chance.sample(arrays, 3):
            array[chance.randrange(SIZE)] ^= 1
        at = chance.randrange(len(arrays))
        if chance.random() < 0.3:
            arrays[at] = rng.integers(0, 256, SIZE, dtype=np.uint8)
        saves.save([*arrays, rng.integers(0, 256, SIZE * chance.randrange(1, 9), dtype=np.uint8)])
        assert all((one == other).all() for one, other in zip(saves.load(), arrays, strict=False))
    saves.prune()
    assert saves.verify() == []
    return store


@pytest.mark.parametrize("seed", range(3))
def test_packs_of_bases_stay_within_the_bound(seed: int) -> None:
    store = drifting(seed)
    assert {"blocks", "a base that no part holds"} <= forms(store)
    bounded(store)
    packs, live, _, _ = measure(store)
    print(f"{packs / live:.2f}")
    assert packs <= 3 * live


def test_without_the_rule_the_bound_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    from checkpoint import _reuse

    monkeypatch.setattr(_reuse.Plan, "is_mostly_dead", lambda plan, pack, live: False)
    with pytest.raises(AssertionError):
        test_states_that_alternate_stay_within_the_bound()
