"""Told at save: what a program that does not hold the key would refuse, and the line to add."""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from programs import Program, program

import checkpoint
from checkpoint import Checkpointer, MemoryStore, UnsafeError, UntrustedTypeWarning

SOURCE = """
import enum
class Hero: pass
class Item: pass
class Color(enum.Enum): RED = 1
class Failed(Exception): pass
class Dropped:
    def __del__(self): pass
class Own:
    def __new__(cls, *args): return object.__new__(cls)
class Slow:
    def __reduce__(self): return rebuilt, (1,)
class Called:
    def __reduce__(self): return Called, ()
class Outer:
    class Inner: pass
class Items(list): pass
class Opened(dict):
    def __init__(self, more): super().__init__(more)
    def __reduce__(self): return Opened, (dict(self),)
class State:
    def __setstate__(self, state): self.__dict__.update(state)
    def shout(self): return "!"
def rebuilt(value): return value
def function(): return 1
constant = Item()
Item.__reduce__ = lambda self: "constant"
"""
LIBRARY = "library"
LISTED = re.compile(r"trust=(\[.*?\])")


@pytest.fixture
def running() -> Iterator[Program]:
    with program() as made:
        made.release(library=SOURCE)
        yield made


def saves(**options: Any) -> Checkpointer:
    return Checkpointer(MemoryStore(), **{"package": "program"} | options)


def told(act: Callable[[], object]) -> list[str]:
    """The messages of what *act* warns of."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        act()
    return [str(each.message) for each in found if each.category is UntrustedTypeWarning]


def lines(messages: list[str]) -> list[str]:
    """The entries for `trust=` that *messages* give."""
    found: list[str] = []
    for entry in LISTED.findall(" ".join(messages)):
        found += eval(entry)
    return found


STATES: dict[str, Callable[[Any], Any]] = {
    "a class": lambda lib: lib.Hero(),
    "a class in a class": lambda lib: lib.Outer.Inner(),
    "a class as a value": lambda lib: {"kind": lib.Hero},
    "a function": lambda lib: [lib.function],
    "an enum": lambda lib: {lib.Color.RED: 1},
    "an exception": lambda lib: lib.Failed("x"),
    "a class with a __del__": lambda lib: lib.Dropped(),
    "a class with a __new__": lambda lib: lib.Own(),
    "a class with a __setstate__": lambda lib: _with(lib.State()),
    "a reduction by a function": lambda lib: lib.Slow(),
    "a reduction by the class": lambda lib: lib.Called(),
    "a reduction by a name": lambda lib: [lib.constant],
    "a list of its own": lambda lib: lib.Items([1, 2]),
    "a dict that is called": lambda lib: lib.Opened({1: 2}),
    "a factory": lambda lib: defaultdict(lib.function),
    "a partial function": lambda lib: functools.partial(lib.function, 1),
    "a bound method": lambda lib: _with(lib.Hero(), hero=lib.State().shout),
    "several at once": lambda lib: [lib.Hero(), lib.Slow(), lib.Dropped(), lib.Own(), lib.Color],
}


def _with(obj: Any, **more: Any) -> Any:
    obj.__dict__.update({"a": 1} | more)
    return obj


@pytest.mark.parametrize("package", ["program", LIBRARY])
@pytest.mark.parametrize("name", STATES)
def test_the_lines_that_are_told_are_those_with_which_a_stranger_can_load(
    running: Program, name: str, package: str
) -> None:
    """Where nothing is told nothing is refused, and where lines are told they are enough."""
    state, trust = STATES[name](running.module(LIBRARY)), list[str]()
    data = checkpoint.dumps(state, key=None)

    def save() -> None:
        saves(package=package, trust=trust).save(state)

    while said := told(save):
        assert {*lines(said)} - {*trust}, said
        with pytest.raises(UnsafeError):
            checkpoint.loads(data, package=package, trust=trust)
        trust += lines(said)
    known = {"package": package, "trust": trust}
    found, own = checkpoint.loads(data, **known), checkpoint.loads(checkpoint.dumps(state))
    assert type(found) is type(own)
    assert trust or package == LIBRARY


def test_it_is_told_at_the_line_of_the_program_with_the_path(running: Program) -> None:
    state = {"team": [1, {"lead": running.module(LIBRARY).Hero()}]}
    with pytest.warns(UntrustedTypeWarning, match=r"state\['team'\]\[1\]\['lead'\]") as caught:
        saves().save(state)
    assert caught[0].filename == __file__
    assert "trust=['library:Hero']" in str(caught[0].message)


def test_it_is_told_once_for_each_type(running: Program) -> None:
    library = running.module(LIBRARY)
    one = saves()
    assert len(told(lambda: one.save(library.Hero()))) == 1
    assert told(lambda: one.save([library.Hero(), library.Hero()])) == []
    assert told(lambda: one.named("other").save(library.Hero())) == []
    assert lines(told(lambda: one.save([library.Own()]))) == ["library:Own"]
    assert len(told(lambda: saves().save(library.Hero()))) == 1


def test_the_state_is_kept_all_the_same(running: Program) -> None:
    one = saves()
    told(lambda: one.save(running.module(LIBRARY).Hero()))
    assert one.snapshots()[0].own
    assert type(one.load()).__name__ == "Hero"


KNOWN: tuple[dict[str, Any], ...] = (
    {"trust": checkpoint.everything},
    {"trust": [LIBRARY]},
    {"trust": ["library:Hero"]},
    {"package": LIBRARY},
)


@pytest.mark.parametrize("options", KNOWN)
def test_nothing_is_told_of_what_the_policy_has(running: Program, options: Any) -> None:
    assert told(lambda: saves(**options).save(running.module(LIBRARY).Hero())) == []


STRICT: dict[str, Callable[[Checkpointer, Any], Any]] = {
    "at once": lambda one, bad: one.save(bad),
    "in the background": lambda one, bad: one.save_in_background(bad).result(),
    "a long stream": lambda one, bad: one.save([bad, "x" * (2 << 20)]),
    "again": lambda one, bad: (_refused(one, bad), one.save(bad)),
}


def _refused(one: Checkpointer, bad: Any) -> None:
    with pytest.raises(UnsafeError):
        one.save(bad)


@pytest.mark.parametrize("way", STRICT)
def test_a_strict_save_is_refused_and_nothing_is_stored(running: Program, way: str) -> None:
    store, bad = MemoryStore(), running.module(LIBRARY).Hero()
    with pytest.raises(UnsafeError, match="library:Hero"):
        STRICT[way](Checkpointer(store, package="program", strict=True), bad)
    one = Checkpointer(store, package="program", strict=True)
    assert (len(one), one.load(default="none")) == (0, "none")
    assert one.save([1]).version == 1
    assert Checkpointer(store, package=LIBRARY, strict=True).save(bad).version == 2


def test_of_a_long_stream_the_names_are_told(running: Program) -> None:
    library = running.module(LIBRARY)
    long = ["x" * (2 << 20), library.Hero(), library.function, library.Own()]
    assert {*lines(told(lambda: saves().save(long)))} == {
        "library:Hero",
        "library:function",
        "library:Own",
    }
    assert lines(told(lambda: saves(package=LIBRARY).save(long))) == ["library:Own"]


def test_a_copy_in_the_background_is_told_of_too(running: Program) -> None:
    one = saves()
    said = told(lambda: one.save_in_background(running.module(LIBRARY).Hero()).result())
    assert lines(said) == ["library:Hero"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_a_forked_child_saved_is_told_by_its_parent(running: Program, tmp_path: Any) -> None:
    library = running.module(LIBRARY)
    with Checkpointer(tmp_path, package="program") as one:
        future: list[Any] = []
        messages = told(lambda: future.append(_forked(one, library.Hero())))
        assert lines(messages) == ["library:Hero"]
        assert future[0].own
        assert told(lambda: _forked(one, library.Hero())) == []
    with Checkpointer(tmp_path, "strict", package="program", strict=True) as strict:
        with pytest.raises(UnsafeError, match="library:Hero"):
            _forked(strict, library.Hero())
        assert strict.snapshots() == []
        with pytest.raises(UnsafeError):
            strict.close()


def _forked(one: Checkpointer, state: Any) -> Any:
    return one.save_in_background(state, capture="fork", despite_threads=True).result()


def test_a_job_tells_what_its_state_holds(running: Program, tmp_path: Any) -> None:
    library = running.module(LIBRARY)

    @checkpoint.resumable(store=tmp_path, every=1, name="told")
    def job(job: Any) -> int:
        job.state(hero=None).hero = library.Hero()
        for _ in job.loop(range(2)):
            pass
        return 1

    assert "library:Hero" in lines(told(job))
