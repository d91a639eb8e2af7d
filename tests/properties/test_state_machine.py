"""Everything a program can do to a repository, in any order, against a plain model.

Programs come and go, crash at any write and are followed by others; two names
share one store.  The model is a dict of what was acknowledged.
"""

from __future__ import annotations

import io
import warnings
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest
from attrs import Factory, define
from faults.hooked import same, state
from faults.sparse import array, forms, words
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from checkpoint import (
    Checkpointer,
    MemoryStore,
    NotFoundError,
    Retention,
    Snapshot,
    _format,
    _lines,
    _reuse,
    _writing,
    either,
    keep_best,
    keep_every,
    keep_last,
    keep_tagged,
)
from checkpoint.testing import CrashingStore, SimulatedCrash

NAMES = ["a", "b/c"]
TAGS = ["x", "y"]
NEVER = 10**9
POLICIES: dict[str, Retention | None] = {
    "none": None,
    "last": keep_last(2),
    "tagged": keep_tagged(),
    "either": either(keep_best("loss"), keep_every(3), keep_last(2)),
    "nothing": lambda snapshots: set(),
}


def sparse(step: int, words_of: int, array_of: int, spots: set[int]) -> dict[str, Any]:
    """A state that differs from most others in a few places."""
    raw = words(step, *spots, seed=words_of)[1]
    return {"step": step, "words": raw, "arrays": [array(*spots, seed=array_of)]}


sparse_states = st.builds(
    sparse,
    st.integers(0, 99),
    st.integers(0, 1),
    st.integers(0, 1),
    st.sets(st.integers(0, 4000), max_size=3),
)
states = sparse_states | st.builds(state, st.integers(0, 99), st.integers(0, 3)) | st.builds(
    state, st.integers(0, 99), st.integers(0, 3), st.integers(0, 3)
) | st.builds(state, st.integers(0, 99)) | sparse_states  # fmt: skip
names = st.sampled_from(NAMES)
tags = st.sampled_from(TAGS)


@define
class Line:
    """What was acknowledged under one name."""

    states: dict[int, Any] = Factory(dict)
    losses: dict[int, float] = Factory(dict)
    saved: dict[str, dict[int, int]] = Factory(dict)  # when which version was saved with a tag
    moved: dict[str, tuple[int, int | None]] = Factory(dict)  # when a tag was moved last, and where
    highest: int = 0
    clock: int = 0

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    @property
    def tags(self) -> dict[str, int]:
        """Where each tag is: where it was moved, or on the newest version saved with it since."""
        found = {}
        for tag in {*self.saved, *self.moved}:
            saved = {v: at for v, at in self.saved.get(tag, {}).items() if v in self.states}
            newest = max(saved, default=None)
            moved = self.moved.get(tag)
            if moved is not None and (newest is None or saved[newest] < moved[0]):
                newest = moved[1]
            if newest in self.states:
                found[tag] = newest
        return found


class Repository(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.inner = MemoryStore()
        self.lines = {name: Line() for name in NAMES}
        self.store: Any = None
        self.programs: dict[str, Checkpointer] = {}

    @initialize(policy=st.sampled_from(sorted(POLICIES)))
    def begin(self, policy: str) -> None:
        self.policy = POLICIES[policy]
        self.reopen(shared=False)

    # Programs

    @rule(shared=st.booleans())
    def reopen(self, shared: bool) -> None:
        """A new program; its names share what they have seen, or not."""
        self.store = CrashingStore(self.inner, NEVER)
        first = Checkpointer(self.store, NAMES[0], keep=self.policy)
        second = (
            first.named(NAMES[1])
            if shared
            else Checkpointer(self.store, NAMES[1], keep=self.policy)
        )
        self.programs = dict(zip(NAMES, (first, second), strict=True))

    def crash_soon(self, writes: int, after: bool) -> None:
        self.store.crash_at = self.store.writes + writes
        self.store.when = "after" if after else "before"

    def spare(self) -> None:
        self.store.crash_at = NEVER

    # What they do

    @rule(name=names, value=states, loss=st.sampled_from([0.5, 1.0, float("nan")]),
          tags=st.sets(tags, max_size=1))  # fmt: skip
    def save(self, name: str, value: Any, loss: float, tags: set[str]) -> None:
        line = self.lines[name]
        saved = self.programs[name].save(value, metrics={"loss": loss}, tags=tags)
        assert saved.version == line.highest + 1
        self.commit(name, saved.version, value, loss, tags)
        self.evict(name, saved.version)

    def commit(self, name: str, version: int, value: Any, loss: float, tags: set[str]) -> None:
        line = self.lines[name]
        line.highest = version
        line.states[version] = value
        line.losses[version] = loss
        for tag in tags:
            line.saved.setdefault(tag, {})[version] = line.tick()

    def evict(self, name: str, newest: int) -> None:
        """The real policy on the real listing; what it must keep is tested elsewhere."""
        if self.policy is None:
            return
        line = self.lines[name]
        there = {s.version for s in Checkpointer(self.inner, name).snapshots()}
        assert newest in there
        for version in line.states.keys() - there:
            self.forget(name, version)

    def forget(self, name: str, version: int) -> None:
        line = self.lines[name]
        del line.states[version], line.losses[version]

    @rule(name=names, data=st.data())
    def load(self, name: str, data: st.DataObject) -> None:
        line, saves = self.lines[name], self.programs[name]
        if not line.states:
            with pytest.raises(NotFoundError):
                saves.load()
            return
        assert same(saves.load(), line.states[max(line.states)])
        version = data.draw(st.sampled_from(sorted(line.states)))
        assert same(saves.load(version=version), line.states[version])

    @rule(name=names, values=st.lists(states, min_size=1, max_size=3))
    def save_in_background(self, name: str, values: list[Any]) -> None:
        """Several in flight; the versions are in the order of the calls."""
        saves = self.programs[name]
        begun = [saves.save_in_background(value, metrics={"loss": 0.75}) for value in values]
        highest = self.lines[name].highest
        for value, future in zip(values, begun, strict=True):
            highest += 1
            assert future.result().version == highest
            self.commit(name, highest, value, 0.75, set())
        self.evict(name, highest)

    @rule(name=names, lazy=st.booleans(), data=st.data())
    def load_a_part(self, name: str, lazy: bool, data: st.DataObject) -> None:
        line = self.lines[name]
        if not line.states:
            return
        version = data.draw(st.sampled_from(sorted(line.states)))
        value, saves = line.states[version], self.programs[name]
        assert same(saves.load(version=version, lazy=lazy), value)
        for key in value:
            assert same(saves.load(version=version, only=key, lazy=lazy), value[key])
        for place, expected in enumerate(value["arrays"]):
            found = saves.load(version=version, only=("arrays", place), lazy=lazy)
            assert same(found, expected)
        with pytest.raises(NotFoundError):
            saves.load(version=version, only="absent", lazy=lazy)

    @rule(name=names, tag=tags, data=st.data())
    def tag(self, name: str, tag: str, data: st.DataObject) -> None:
        line = self.lines[name]
        if line.states:
            version = data.draw(st.sampled_from(sorted(line.states)))
            self.programs[name].tag(version, tag)
            line.moved[tag] = line.tick(), version

    @rule(name=names, tag=tags)
    def untag(self, name: str, tag: str) -> None:
        line = self.lines[name]
        if tag in line.tags:
            self.programs[name].untag(tag)
            line.moved[tag] = line.tick(), None

    @rule(name=names, data=st.data())
    def delete(self, name: str, data: st.DataObject) -> None:
        line = self.lines[name]
        if line.states:
            doomed = data.draw(
                st.sets(st.sampled_from(sorted(line.states)), min_size=1, max_size=3)
            )
            self.programs[name].delete(*doomed)
            for version in doomed:
                self.forget(name, version)

    @rule(name=names)
    def prune(self, name: str) -> None:
        self.programs[name].prune()
        named: set[str] = set()
        for key in self.inner.keys("snapshots/"):
            named |= set(_format.decode_manifest(self.inner.get(key), key).packs)
        assert set(self.inner.keys("packs/")) == {_format.pack_key(pack) for pack in named}
        assert self.inner.keys("trash/") == []
        assert self.inner.keys("leases/") == []

    @rule(source=names, goal=names, data=st.data())
    def copy(self, source: str, goal: str, data: st.DataObject) -> None:
        line = self.lines[source]
        if not line.states:
            return
        version = data.draw(st.sampled_from(sorted(line.states)))
        file = io.BytesIO()
        self.programs[source].export(version, file)
        file.seek(0)
        value, loss = line.states[version], line.losses[version]
        saved = self.programs[goal].import_(file)
        assert saved.version == self.lines[goal].highest + 1
        self.commit(goal, saved.version, value, loss, set())
        self.evict(goal, saved.version)

    # Crashes

    @rule(name=names, value=states, writes=st.integers(1, 9), after=st.booleans(),
          tags=st.sets(tags, max_size=1))  # fmt: skip
    def save_and_crash(
        self, name: str, value: Any, writes: int, after: bool, tags: set[str]
    ) -> None:
        self.crash_soon(writes, after)
        line = self.lines[name]
        try:
            saved = self.programs[name].save(value, metrics={"loss": 0.25}, tags=tags).version
        except SimulatedCrash:
            fresh = {s.version: s for s in Checkpointer(self.inner, name).snapshots()}
            saved = max([0, *fresh])
            if saved <= line.highest:
                saved = 0
        else:
            self.spare()
        if saved:
            assert saved == line.highest + 1
            self.commit(name, saved, value, 0.25, tags)
            self.evict(name, saved)
        if self.store.crashed:
            self.reopen(shared=False)

    @rule(name=names, values=st.lists(states, min_size=1, max_size=3), writes=st.integers(1, 9),
          after=st.booleans())  # fmt: skip
    def save_in_background_and_crash(
        self, name: str, values: list[Any], writes: int, after: bool
    ) -> None:
        self.crash_soon(writes, after)
        line, saves = self.lines[name], self.programs[name]
        begun: list[Future[Snapshot]] = []
        with suppress(SimulatedCrash):
            for value in values:
                future = saves.save_in_background(value, metrics={"loss": 0.25})
                begun.append(future)
        told = [future.result() for future in begun if future.exception() is None]
        first = line.highest + 1
        assert [snapshot.version for snapshot in told] == [*range(first, first + len(told))]
        there = {s.version for s in Checkpointer(self.inner, name).snapshots()}
        saved = max(there, default=0) - line.highest
        assert len(told) <= max(saved, 0) <= len(told) + 1
        for value in values[: max(saved, 0)]:
            self.commit(name, line.highest + 1, value, 0.25, set())
        if saved > 0:
            self.evict(name, line.highest)
        self.spare()
        if self.store.crashed:
            with suppress(SimulatedCrash):
                saves.close()
            self.reopen(shared=False)

    @rule(name=names, writes=st.integers(1, 5), after=st.booleans(), data=st.data())
    def delete_and_crash(self, name: str, writes: int, after: bool, data: st.DataObject) -> None:
        line = self.lines[name]
        if not line.states:
            return
        doomed = data.draw(st.sets(st.sampled_from(sorted(line.states)), min_size=1, max_size=2))
        self.crash_soon(writes, after)
        try:
            self.programs[name].delete(*doomed)
        except SimulatedCrash:
            there = {s.version for s in Checkpointer(self.inner, name).snapshots()}
            assert line.states.keys() - doomed <= there
            doomed -= there
        else:
            self.spare()
        for version in doomed:
            self.forget(name, version)
        if self.store.crashed:
            self.reopen(shared=False)

    @rule(name=names, writes=st.integers(1, 6), after=st.booleans())
    def prune_and_crash(self, name: str, writes: int, after: bool) -> None:
        self.crash_soon(writes, after)
        try:
            self.programs[name].prune()
            self.spare()
        except SimulatedCrash:
            self.reopen(shared=False)

    @precondition(lambda self: self.lines["a"].states)
    @rule(tag=tags, writes=st.integers(1, 2), after=st.booleans(), data=st.data())
    def tag_and_crash(self, tag: str, writes: int, after: bool, data: st.DataObject) -> None:
        line = self.lines["a"]
        version = data.draw(st.sampled_from(sorted(line.states)))
        records = max(self.inner.keys(_format.tag_folder("a", tag)), default="")
        self.crash_soon(writes, after)
        try:
            self.programs["a"].tag(version, tag)
            self.spare()
            line.moved[tag] = line.tick(), version
        except SimulatedCrash:
            holder = [s.version for s in Checkpointer(self.inner, "a") if tag in s.tags]
            assert holder in ([version], [line.tags[tag]] if tag in line.tags else [])
            if max(self.inner.keys(_format.tag_folder("a", tag)), default="") > records:
                line.moved[tag] = line.tick(), version
            self.reopen(shared=False)

    def teardown(self) -> None:
        for saves in self.programs.values():
            with suppress(Exception, SimulatedCrash):
                saves.close()  # Or a save that a mutant made fail is told of when all ends.

    # What always holds

    @invariant()
    def everything_is_as_acknowledged(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for name, line in self.lines.items():
                fresh = Checkpointer(self.inner, name)
                listed = {s.version: s for s in fresh.snapshots()}
                assert set(listed) == set(line.states)
                for version, snapshot in listed.items():
                    assert repr(snapshot.metrics["loss"]) == repr(line.losses[version])
                    assert set(snapshot.tags) == self.tags_of(line, version)
                if line.states:
                    assert same(fresh.load(), line.states[max(line.states)])
            assert Checkpointer(self.inner).verify() == []

    def tags_of(self, line: Line, version: int) -> set[str]:
        return {tag for tag, at in line.tags.items() if at == version}


TestRepository = Repository.TestCase
TestRepository.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_for_longer() -> None:
    run_state_machine_as_test(
        Repository,
        settings=settings(
            max_examples=2000,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def explore(machine: type[Repository], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate,),  # The first counterexample will do.
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_machine_comes_to_deltas_of_several_forms() -> None:
    seen: set[str] = set()

    class Watched(Repository):
        @invariant()
        def see(self) -> None:
            seen.update(forms(self.inner))

    explore(Watched, 60)
    assert seen == {"frame", "blocks", "inline", "in a pack", "a base that no part holds"}


def no_gone_marks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_lines.Line, "_gone_marks", lambda line: [])


def no_rows_for_bases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_writing, "_bases", lambda rows, plan: [])


def deltas_of_deltas(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_reuse.Plan, "base", lambda plan, blob: plan.reuse(blob.digest))


@pytest.mark.parametrize("mutant", [no_gone_marks, no_rows_for_bases, deltas_of_deltas])
def test_the_machine_catches(mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017  (hypothesis raises a group, or what it found)
        explore(Repository, 200)
