"""The algebra of retention policies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoint import (
    Checkpointer,
    MemoryStore,
    Retention,
    Snapshot,
    either,
    highest,
    keep_best,
    keep_every,
    keep_last,
    keep_tagged,
    lowest,
)

TAGS = ["a", "b", "c"]
NUMBERS = st.one_of(st.floats(), st.integers(-5, 5))


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    """Snapshots as a repository lists them: ascending, with gaps, each tag at one at most."""
    versions = sorted(draw(st.sets(st.integers(1, 60), max_size=20)))
    owners = {tag: draw(st.sampled_from(versions)) for tag in TAGS if versions}
    found = []
    for version in versions:
        metrics = draw(st.dictionaries(st.sampled_from(["loss", "score"]), NUMBERS))
        tags = tuple(tag for tag in TAGS if owners[tag] == version)
        created = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=version)
        found.append(
            Snapshot(
                name="main",
                version=version,
                created=created,
                parent=None,
                metrics=metrics,
                tags=tags,
                meta=None,
                own=True,
                size=1,
                stored=1,
                libraries={},
                types=(),
            )
        )
    return found


@st.composite
def simple(draw: st.DrawFn) -> Retention:
    best = draw(st.sampled_from(["loss", "absent", lowest("score"), highest("score")]))
    count = draw(st.integers(1, 8))
    tags = draw(st.lists(st.sampled_from(TAGS), max_size=2))
    return draw(
        st.sampled_from(
            [keep_last(count), keep_every(count), keep_best(best, count), keep_tagged(*tags)]
        )
    )


policies = st.recursive(
    simple(), lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda p: either(*p))
)


def versions(history: Sequence[Snapshot]) -> set[int]:
    return {snapshot.version for snapshot in history}


@given(histories(), policies)
def test_a_policy_keeps_some_of_what_is_there(history: list[Snapshot], policy: Retention) -> None:
    assert policy(history) <= versions(history)
    assert policy([]) == set()


@given(histories(), policies)
def test_a_policy_is_pure(history: list[Snapshot], policy: Retention) -> None:
    before = list(history)
    assert policy(history) == policy(tuple(history))
    assert history == before or any(m != m for s in history for m in s.metrics.values())


@given(histories(), st.lists(policies, min_size=1, max_size=4))
def test_either_is_the_union(history: list[Snapshot], several: list[Retention]) -> None:
    assert either(*several)(history) == set().union(*(policy(history) for policy in several))
    assert either(*several)(history) == either(*reversed(several), *several)(history)
    assert either(either(*several), several[0])(history) == either(*several)(history)


@given(histories(), policies)
def test_what_is_kept_is_kept_again(history: list[Snapshot], policy: Retention) -> None:
    """Applied to what it left, a policy deletes nothing: who saves nothing loses nothing."""
    kept = policy(history)
    left = [snapshot for snapshot in history if snapshot.version in kept]
    assert policy(left) == kept


@given(histories(), st.integers(1, 30))
def test_keep_last_keeps_the_newest(history: list[Snapshot], count: int) -> None:
    kept = keep_last(count)(history)
    assert len(kept) == min(count, len(history))
    assert all(other <= min(kept, default=0) or other in kept for other in versions(history))
    assert kept <= keep_last(count + 1)(history)


@given(histories(), st.integers(1, 9), st.integers(1, 5))
def test_keep_every_goes_by_the_number(history: list[Snapshot], step: int, times: int) -> None:
    assert keep_every(step)(history) == {v for v in versions(history) if v % step == 0}
    assert keep_every(step * times)(history) <= keep_every(step)(history)
    assert keep_every(1)(history) == versions(history)


@given(histories(), st.integers(1, 9))
def test_keep_best_keeps_finite_ones_and_none_is_better(
    history: list[Snapshot], count: int
) -> None:
    for best, sign in ((lowest("score"), 1), (highest("score"), -1)):
        kept = keep_best(best, count)(history)
        scores = {s.version: s.metrics.get("score", math.nan) for s in history}
        finite = {version for version, score in scores.items() if math.isfinite(score)}
        assert kept <= finite
        assert len(kept) == min(count, len(finite))
        for inside in kept:
            for outside in finite - kept:
                assert (sign * scores[inside], -inside) < (sign * scores[outside], -outside)


@given(histories(), st.lists(st.sampled_from(TAGS)))
def test_keep_tagged_keeps_the_holders(history: list[Snapshot], tags: list[str]) -> None:
    holders = {s.version for s in history if set(s.tags) & set(tags or TAGS)}
    assert keep_tagged(*tags)(history) == holders


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", None])
def test_a_count_is_a_positive_integer(count: Any) -> None:
    for make in (keep_last, keep_every, lambda n: keep_best("loss", n)):
        with pytest.raises((ValueError, TypeError)):
            make(count)


def test_a_policy_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        either()
    with pytest.raises(TypeError):
        keep_best(3)  # type: ignore[arg-type]


@given(
    policies | st.just(lambda snapshots: set()),
    st.lists(st.tuples(NUMBERS, st.sets(st.sampled_from(TAGS))), max_size=12),
)
def test_a_repository_holds_what_the_policy_keeps_and_the_newest(
    policy: Retention, saved: list[tuple[float, set[str]]]
) -> None:
    saves = Checkpointer(MemoryStore(), keep=policy)
    for step, (score, tags) in enumerate(saved, 1):
        before = saves.snapshots()
        said = {s.version: s for s in before}
        snapshot = saves.save({"step": step}, metrics={"score": score, "loss": -score}, tags=tags)
        assert snapshot.version == step
        kept = versions(saves.snapshots())
        assert step in kept, "the newest was evicted"
        assert kept <= {*said, step}
        assert saves.load() == {"step": step}
        with_newest = Checkpointer(saves._open.store).snapshots()
        assert versions(with_newest) == kept
        assert policy(with_newest) | {step} == kept
