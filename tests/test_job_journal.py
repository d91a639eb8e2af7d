"""The journal: append-only versions, few of them, and nothing lost whenever the program dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import checkpoint
from checkpoint import ConflictError, DamagedSnapshotWarning, MemoryStore
from checkpoint._jobs import journal as journals
from checkpoint._jobs.journal import Call, Journal, Made, Slot
from checkpoint._jobs.places import Key
from checkpoint._repository import Repository
from checkpoint._trust import Policy
from checkpoint.store import Store
from checkpoint.testing import CrashingStore, SimulatedCrash


def slot(number: int) -> Slot:
    return (("", 0),), number


def call(result: Any) -> Call:
    return Call("module:function", (), "function()", result)


def opened(store: Store, is_past: Callable[[Key], bool] = lambda key: False) -> Journal:
    return Journal(Repository(store), "job", is_past, Policy(()))


def results(journal: Journal, count: int) -> list[Any]:
    found = [journal.take(slot(number)) for number in range(count)]
    return [each.result if isinstance(each, Call) else each for each in found]


def versions(store: Store, name: str = "job/journal/1") -> list[int]:
    return Repository(store).line(name).versions()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are put together when there are eight."""
    monkeypatch.setattr(journals, "_MANY", 4)


def test_what_was_added_is_taken_once_by_the_next_attempt() -> None:
    store = MemoryStore()
    first = opened(store)
    first.add_call(slot(1), call("one"))
    first.add_batch(slot(2), "module:function", [1], {"end": None})
    first.add_batch(slot(2), "module:function", [2], {"end": 2})
    second = opened(store)
    assert second.take(slot(1)) == call("one")
    assert second.take(slot(1)) is None
    assert second.take(slot(2)) == Made("module:function", {"end": 2}, [[1], [2]])
    assert second.take(slot(3)) is None


def test_each_addition_costs_its_own_bytes() -> None:
    store = MemoryStore()
    journal = opened(store)
    journal.add_call(slot(0), call("x" * 100_000))
    before = Repository(store).snapshots("job/journal/1")[-1].size
    journal.add_call(slot(1), call("y"))
    assert before > 100_000
    assert Repository(store).snapshots("job/journal/1")[-1].size < 1000


def test_many_versions_are_put_together(few: None) -> None:
    store = MemoryStore()
    journal = opened(store)
    for number in range(100):
        journal.add_call(slot(number), call(number))
        journal.add_batch(slot(1000), "m:f", number, number)
        assert len(versions(store)) < 8
    again = opened(store)
    assert results(again, 100) == [*range(100)]
    assert again.take(slot(1000)) == Made("m:f", 99, [*range(100)])


def test_a_large_result_is_not_written_again_for_a_few_small_ones(few: None) -> None:
    store = MemoryStore()
    journal = opened(store)
    journal.add_call(slot(0), call("x" * 100_000))
    large = versions(store)[-1]
    for number in range(1, 100):
        journal.add_call(slot(number), call(number))
    assert large in versions(store)
    assert len(versions(store)) < 9
    assert results(opened(store), 100) == ["x" * 100_000, *range(1, 100)]


def test_what_was_put_together_is_what_was_journaled_and_not_what_became_of_it(few: None) -> None:
    store = MemoryStore()
    journal = opened(store)
    rows = [1]
    journal.add_call(slot(0), call(rows))
    rows.append(2)
    for number in range(1, 20):
        journal.add_call(slot(number), call(number))
    assert results(opened(store), 1) == [[1]]


def test_what_is_past_is_deleted_and_only_that(few: None) -> None:
    store = MemoryStore()
    saved = 0

    def is_past(key: Key) -> bool:
        return key[0][1] < saved

    journal = opened(store, is_past)
    journal.add_call(((("", 0),), 2), call("x" * 100_000))
    first = versions(store)[-1]
    for turn in range(30):
        saved = max(saved, turn - 3)
        journal.add_call(((("", turn),), 1), call("x" * 1000))
    assert len(versions(store)) < 8 + 4
    assert first not in versions(store)
    again = opened(store, is_past)
    found = [turn for turn in range(30) if again.take(((("", turn),), 1)) is not None]
    assert found == [26, 27, 28, 29]


def test_steps_of_turns_that_are_done_but_not_saved_are_not_made_again(few: None) -> None:
    made: list[int] = []

    @checkpoint.resumable(store=MemoryStore(), name="unsaved-turns", every="1h")
    def work(*, job: checkpoint.Job) -> int:
        s = job.state(total=0)
        for turn in job.loop(range(30)):
            s.total += job.step(step, turn)
            if turn == 25 and made.count(25) == 1 and not died:
                died.append(1)
                raise KeyError
        return int(s.total)

    def step(turn: int) -> int:
        made.append(turn)
        return turn

    died: list[int] = []
    with pytest.raises(KeyError):
        work()
    assert work() == sum(range(30))
    assert made == [*range(30)]


# --- crashes -----------------------------------------------------------------

COUNT = 20


def work(store: Store, made: list[int], told: list[int]) -> None:
    """Twenty steps: *made* has those that were called, *told* those whose result was given."""
    journal = opened(store)
    for number in range(COUNT):
        found = journal.take(slot(number))
        if found is None:
            made.append(number)
            journal.add_call(slot(number), call(number * 10))
        else:
            assert isinstance(found, Call)
            assert found.result == number * 10
        told.append(number)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_write_loses_nothing_that_was_told(few: None, when: Any) -> None:
    at, done = 0, False
    while not done:
        at += 1
        inner, made = MemoryStore(), list[int]()
        first: list[int] = []
        try:
            work(CrashingStore(inner, at, when), made, first)
            done = True
        except SimulatedCrash:
            pass
        again: list[int] = []
        work(inner, made, again)
        assert again == [*range(COUNT)]
        # At most the one that was being written is made twice.
        assert len(made) - COUNT <= 1
        assert all(made.count(number) == 1 for number in first)
        assert len(versions(inner)) < 9
    assert at > 2 * COUNT  # deletions too


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_in_every_attempt_ends_all_the_same(few: None, when: Any) -> None:
    inner, made = MemoryStore(), list[int]()
    for turn in range(200):
        try:
            work(CrashingStore(inner, 3 + turn % 17, when), made, [])
            break
        except SimulatedCrash:
            pass
    else:
        pytest.fail("it never ended")
    assert {*made} == {*range(COUNT)}


# --- damage ------------------------------------------------------------------


def damage(store: MemoryStore, name: str, version: int) -> None:
    key = f"snapshots/{name}/@/{version:010}.json"
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    store.delete([key])
    store.put(key, [data])


def test_a_damaged_version_is_passed_over_and_made_again(few: None) -> None:
    store = MemoryStore()
    journal = opened(store)
    for number in range(3):
        journal.add_call(slot(number), call(number))
    bad = versions(store)[2]
    damage(store, "job/journal/1", bad)
    again = opened(store)
    with pytest.warns(DamagedSnapshotWarning, match="what it held is done again"):
        assert results(again, 3) == [0, None, 2]
    for number in range(1, 40):
        again.add_call(slot(number), call(number))
    assert bad in versions(store)  # What is damaged may be mended; it is not ours to delete.
    with pytest.warns(DamagedSnapshotWarning):
        assert results(opened(store), 40) == [*range(40)]


def test_a_damaged_step_of_a_job_is_made_again() -> None:
    store = MemoryStore()
    made: list[int] = []

    def step(number: int) -> int:
        made.append(number)
        return number

    def attempt() -> list[int]:
        with checkpoint.job("j", store=store) as job:
            found = [job.step(step, number) for number in range(3)]
            if len(made) == 3:
                raise KeyError
            return found

    with pytest.raises(KeyError):
        attempt()
    damage(store, "j/journal/1", versions(store, "j/journal/1")[2])
    with pytest.warns(DamagedSnapshotWarning):
        assert attempt() == [0, 1, 2]
    assert made == [0, 1, 2, 1]


# --- one writer --------------------------------------------------------------


def test_an_older_attempt_can_add_nothing_once_a_newer_one_has_opened(few: None) -> None:
    store = MemoryStore()
    older, newer = opened(store), opened(store)
    for number in range(6):
        older.add_call(slot(number), call(number))
    assert results(newer, 1) == [0]
    before = versions(store)
    for _ in range(3):
        with pytest.raises(ConflictError):
            older.add_call(slot(9), call("late"))
        with pytest.raises(ConflictError):
            older.add_batch(slot(9), "m:f", [1], {})
    assert versions(store) == before
    newer.add_call(slot(9), call("newer"))
    assert results(opened(store), 10)[9] == "newer"


def test_an_attempt_that_is_overtaken_while_it_opens_reads_again() -> None:
    store = MemoryStore()
    older = opened(store)
    older.add_call(slot(0), call(0))

    class Late(MemoryStore):
        """Another writer adds a version just before ours."""

        def put(self, key: str, pieces: Any) -> None:
            if "journal/1/@/" in key and not added:
                added.append(1)
                older.add_call(slot(1), call(1))
            store.put(key, pieces)

        def get(self, key: str, start: int = 0, stop: int | None = None) -> memoryview:
            return store.get(key, start, stop)

        def keys(self, prefix: str) -> list[str]:
            return store.keys(prefix)

        def delete(self, keys: Any) -> None:
            store.delete(keys)

    added: list[int] = []
    assert results(opened(Late()), 2) == [0, 1]


def test_each_generation_of_a_job_has_its_own_journal() -> None:
    store = MemoryStore()
    opened(store).add_call(slot(0), call(0))
    second = Journal(Repository(store), "job", lambda key: False, Policy(()), 2)
    assert second.take(slot(0)) is None
    second.add_call(slot(0), call(1))
    second.clear()
    assert results(opened(store), 1) == [0]
