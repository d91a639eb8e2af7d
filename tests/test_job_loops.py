"""Loops of a job: what they give, where they go on, what leaving them means, when they save."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import checkpoint
from checkpoint import Job, JobError, MemoryStore, ReplayError

Function = Callable[..., Any]


class Killed(BaseException):
    """The program dies here: nothing is saved any more."""


class Turns:
    """Says what is done, in order, and kills at the moments that it was given, counted from 1."""

    def __init__(self, *kills: int) -> None:
        self.seen: list[Any] = []
        self._kills = set(kills)

    def __call__(self, what: Any) -> None:
        self.seen.append(what)
        if len(self.seen) in self._kills:
            raise Killed


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def made(store: MemoryStore) -> Function:
    """Makes a function resumable, in the store of the test; each turn is saved."""

    def decorate(function: Function, **options: Any) -> Any:
        given: Any = {"store": store, "name": "job", "every": 1, "max_attempts": 1000} | options
        return checkpoint.resumable(**given)(function)

    return decorate


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all jobs."""
    made = Clock()
    for module in ("attempt", "job", "loops", "maps", "resumable", "watch"):
        monkeypatch.setattr(f"checkpoint._jobs.{module}.monotonic", made)
    return made


def until_done(function: Function, *args: Any) -> Any:
    """The result of *function*, called again as often as it is killed."""
    while True:
        try:
            return function(*args)
        except Killed:
            pass


# --- what a loop gives ----------------------------------------------------------


def test_a_loop_goes_on_with_the_turn_that_was_not_ended(made: Function) -> None:
    turn = Turns(4)

    @made
    def total(n: int, *, job: Job) -> int:
        s = job.state(total=0)
        for x in job.loop(range(n)):
            s.total += x
            turn(x)
        return int(s.total)

    with pytest.raises(Killed):
        total(6)
    assert total.status(6).position == "turn 3 of 6"
    assert total(6) == 15
    assert turn.seen == [0, 1, 2, 3, 3, 4, 5]
    assert total(6) == 15
    assert len(turn.seen) == 7


class Lazy(Sequence[int]):
    """Makes its items when they are asked for."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if index >= self.length:
            raise IndexError(index)
        self.asked.append(index)
        return index * 10


def test_items_of_a_sequence_whose_turns_are_done_are_not_asked_for(made: Function) -> None:
    turn, lazy = Turns(4), Lazy(6)

    @made
    def run(*, job: Job) -> None:
        for x in job.loop(lazy):
            turn(x)

    with pytest.raises(Killed):
        run()
    assert lazy.asked == [0, 1, 2, 3]
    run()
    assert lazy.asked[4:] == [3, 4, 5]
    assert turn.seen == [0, 10, 20, 30, 30, 40, 50]


ITERABLES: dict[str, Callable[[], Iterable[Any]]] = {
    "range": lambda: range(10, 30, 4),
    "list": lambda: ["a", "b", "c", "d", "e"],
    "tuple": lambda: (1, 2, 3, 4, 5),
    "str": lambda: "abcde",
    "bytes": lambda: b"abcde",
    "dict": lambda: dict.fromkeys("vwxyz", 1),
    "items": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}.items,
    "iterator": lambda: iter([1, 2, 3, 4, 5]),
    "generator": lambda: (x * x for x in range(5)),
    "enumerated": lambda: enumerate("abcde"),
    "zipped": lambda: zip("abcde", range(5), strict=True),
    "infinite": lambda: itertools.islice(itertools.count(7), 5),
}


@pytest.mark.parametrize("kind", ITERABLES)
@pytest.mark.parametrize("kill", range(1, 6))
def test_every_iterable_goes_on_at_its_place(made: Function, kind: str, kill: int) -> None:
    turn, items = Turns(kill), ITERABLES[kind]

    @made
    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        for x in job.loop(items()):
            turn(x)
            s.seen.append(x)
        return list(s.seen)

    assert until_done(run) == list(items())
    again = turn.seen[:kill] + turn.seen[kill - 1 : kill] + turn.seen[kill + 1 :]
    assert turn.seen == again
    assert len(turn.seen) == 6


def test_an_iterator_without_an_end_is_left_by_break(made: Function) -> None:
    turn = Turns(3, 6)

    @made
    def run(*, job: Job) -> int:
        s = job.state(total=0)
        for x in job.loop(itertools.count()):
            turn(x)
            s.total += x
            if x == 9:
                break
        return int(s.total)

    assert until_done(run) == 45
    assert turn.seen == [0, 1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 9]


def test_len_is_that_of_the_whole_on_a_resume_too(made: Function) -> None:
    turn, lengths = Turns(3), []

    def helper(job: Job) -> None:
        items = job.loop(range(5))
        lengths.append(len(items))
        for x in items:
            turn(x)
        with pytest.raises(TypeError, match="'generator' has no length"):
            len(job.loop((x for x in "ab"), name="other"))

    @made
    def run(*, job: Job) -> None:
        helper(job)

    until_done(run)
    assert lengths == [5, 5]


def test_a_set_is_refused(made: Function) -> None:
    @made
    def run(*, job: Job) -> None:
        for _ in job.loop({1, 2}):
            pass

    with pytest.raises(TypeError, match="sorted"):
        run()


def test_a_sequence_may_grow_and_not_shrink(made: Function) -> None:
    turn, items = Turns(4), [0, 1, 2, 3]

    @made
    def run(*, job: Job) -> None:
        for x in job.loop(items):
            turn(x)

    with pytest.raises(Killed):
        run()
    del items[2:]
    with pytest.raises(ReplayError, match="3 turns of this loop are done, and there are 2 items"):
        run()
    items += [2, 3, 4]
    run()
    assert turn.seen == [0, 1, 2, 3, 3, 4]


WRAPPERS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "list": list,
    "enumerate": enumerate,
    "zip": lambda loop: zip(loop, "abc", strict=True),
    "islice": lambda loop: itertools.islice(loop, 2),
    "iter": iter,
    "pairs": itertools.pairwise,
    "generator": lambda loop: (x for x in loop),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_loop_that_something_else_takes_items_of_is_refused(made: Function, wrapper: str) -> None:
    turn, wrap = Turns(), WRAPPERS[wrapper]

    # What is not seen in the text of the job itself is found when it is run.
    def helper(job: Job) -> None:
        for x in wrap(job.loop(range(3))):
            turn(x)

    @made
    def run(*, job: Job) -> None:
        helper(job)

    with pytest.raises(JobError, match="loop over it directly"):
        run()
    assert turn.seen == []


@pytest.mark.parametrize("wrapper", [name for name in WRAPPERS if name != "generator"])
def test_so_it_is_in_the_very_line_of_the_loop(made: Function, wrapper: str) -> None:
    wrap: Any = {"zip": zip, "islice": itertools.islice}.get(wrapper, WRAPPERS[wrapper])
    more: Any = {"zip": ("abc",), "islice": (2,)}.get(wrapper, ())

    def helper(job: Job) -> None:
        for _ in wrap(job.loop(range(3)), *more):
            pytest.fail("an item was given")

    @made
    def run(*, job: Job) -> None:
        helper(job)

    with pytest.raises(JobError, match="loop over it directly"):
        run()


# --- how a loop is left ---------------------------------------------------------


def test_a_loop_that_was_left_by_break_is_done(made: Function) -> None:
    turn = Turns(5)

    @made
    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        for x in job.loop("abcdef"):
            turn(x)
            s.seen.append(x)
            if x == "c":
                break
        for y in job.loop(range(3)):
            turn(y)
            s.seen.append(y)
        return list(s.seen)

    assert until_done(run) == ["a", "b", "c", 0, 1, 2]
    assert turn.seen == ["a", "b", "c", 0, 1, 1, 2]


def test_a_kill_after_break_and_before_the_next_save_goes_on_before_it(made: Function) -> None:
    turn = Turns(4)

    @made
    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        for x in job.loop("abcdef"):
            turn(x)
            s.seen.append(x)
            if x == "c":
                break
        for y in job.loop(range(2)):
            turn(y)
            s.seen.append(y)
        return list(s.seen)

    assert until_done(run) == ["a", "b", "c", 0, 1]
    assert turn.seen == ["a", "b", "c", 0, "c", 0, 1]


def test_continue_ends_a_turn(made: Function) -> None:
    turn = Turns(3, 5)

    @made
    def run(*, job: Job) -> int:
        s = job.state(total=0)
        for x in job.loop(range(6)):
            turn(x)
            if x % 2:
                continue
            s.total += x
        return int(s.total)

    assert until_done(run) == 6
    assert turn.seen == [0, 1, 2, 2, 3, 3, 4, 5]


def test_return_ends_the_job(made: Function) -> None:
    turn = Turns(3)

    @made
    def run(*, job: Job) -> str:
        for x in job.loop(range(9)):
            turn(x)
            for y in job.loop("ab"):
                if x == 3:
                    return f"{x}{y}"
        return "the end"

    assert until_done(run) == "3a"
    assert turn.seen == [0, 1, 2, 2, 3]
    assert run() == "3a"
    assert run.status().status == "done"
    assert len(turn.seen) == 5


def test_an_error_that_the_body_catches_is_nothing_to_the_loop(made: Function) -> None:
    turn = Turns(3, 5)

    @made
    def run(*, job: Job) -> list[int]:
        s = job.state(bad=list)
        for x in job.loop(range(5)):
            turn(x)
            try:
                1 // (x % 2)
            except ZeroDivisionError:
                s.bad.append(x)
        return list(s.bad)

    assert until_done(run) == [0, 2, 4]
    assert turn.seen == [0, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("helps", [False, True])
def test_a_loop_that_was_left_by_an_error_that_is_caught_outside_is_done(
    made: Function, helps: bool
) -> None:
    turn, kept = Turns(4), []

    def helper(job: Job) -> None:
        for x in job.loop(range(5)):
            turn(x)
            1 // (1 - x)

    @made
    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        try:
            if helps:
                helper(job)
            else:
                for x in job.loop(range(5)):
                    turn(x)
                    1 // (1 - x)
        except ZeroDivisionError as error:
            kept.append(error)  # And with it the frames.
        for y in job.loop("abc", name="second"):
            turn(y)
            s.seen.append(y)
        return list(s.seen)

    assert until_done(run) == ["a", "b", "c"]
    assert turn.seen == [0, 1, "a", "b", "b", "c"]


def test_an_error_that_nobody_catches_leaves_the_last_save_and_the_turn_is_run_again(
    made: Function,
) -> None:
    turn, fails = Turns(), [True]

    @made
    def run(*, job: Job) -> int:
        s = job.state(total=0)
        for x in job.loop(range(5)):
            turn(x)
            s.total += 1
            if x == 2 and fails:
                raise ValueError("no such luck")
        return int(s.total)

    for _ in range(2):
        with pytest.raises(ValueError, match="no such luck") as caught:
            run()
        assert "goes on from turn 2 of 5" in caught.value.__notes__[0]
        assert run.status().status == "failed"
        assert run.status().position == "turn 2 of 5"
    fails.clear()
    assert run() == 5
    assert turn.seen == [0, 1, 2, 2, 2, 3, 4]


def test_a_break_leaves_else_out(made: Function) -> None:
    turn = Turns(3, 6)

    def helper(stop: int, job: Job) -> str:
        for x in job.loop(range(4)):
            turn(x)
            if x == stop:
                break
        else:
            return "else"
        return "break"

    @made
    def run(stop: int, *, job: Job) -> str:
        return helper(stop, job)

    assert until_done(run, 9) == "else"
    assert until_done(run, 2) == "break"


@pytest.mark.parametrize("leave", ["break", "error"])
def test_what_a_break_or_an_error_left_out_and_a_resume_does_is_refused(
    made: Function, leave: str
) -> None:
    """For a loop that is done gives no items: nothing tells Python how it was left."""
    turn = Turns(4)

    def helper(job: Job, s: Any) -> None:
        try:
            for x in job.loop("abcd"):
                turn(x)
                if x == "b" and leave == "break":
                    s.found = x
                    break
                if x == "b":
                    raise LookupError
            else:
                s.found = "none"
        except LookupError:
            s.found = "error"

    @made
    def run(*, job: Job) -> str:
        s = job.state(found="?")
        helper(job, s)
        for y in job.loop(range(3), name="next"):
            turn(y)
        return str(s.found)

    with pytest.raises(Killed):
        run()
    with pytest.raises(ReplayError, match=r"changed the state once more: .*'none'"):
        run()


# --- names and places -----------------------------------------------------------


def test_loops_one_after_the_other_go_on_in_the_last(made: Function) -> None:
    turn = Turns(6)

    @made
    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        for x in job.loop("ab"):
            turn(x)
            s.seen.append(x)
        for y in job.loop(range(2)):
            turn(y)
            s.seen.append(y)
        for x in job.loop("cde", name="third"):
            turn(x)
            s.seen.append(x)
        return list(s.seen)

    with pytest.raises(Killed):
        run()
    assert run.status().position == "third 1 of 3"
    assert run() == ["a", "b", 0, 1, "c", "d", "e"]
    assert turn.seen == ["a", "b", 0, 1, "c", "d", "d", "e"]


@pytest.mark.parametrize("kill", range(1, 28))
def test_loops_three_deep_go_on_in_the_innermost(made: Function, kill: int) -> None:
    turn = Turns(kill)

    @made
    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        for i in job.loop(range(3), name="i"):
            for j in job.loop(range(3), name="j"):
                for k in job.loop(range(3), name="k"):
                    turn((i, j, k))
                    s.seen.append((i, j, k))
        return list(s.seen)

    expected = [*itertools.product(range(3), repeat=3)]
    with pytest.raises(Killed):
        run()
    # The end of a turn of an outer loop is a safe point of its own.
    i, j, k = expected[kill - 1]
    places = [("i", i), ("j", j), ("k", k)]
    while len(places) > 1 and places[-1][1] == 0:
        del places[-1]
    if kill > 1:
        assert run.status().position == ", ".join(f"{name} {at} of 3" for name, at in places)
    assert run() == expected
    assert turn.seen == expected[:kill] + expected[kill - 1 :]


def test_loops_in_a_while_loop_have_a_name_each(made: Function) -> None:
    turn = Turns(2, 5, 9)

    @made
    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        rounds = 0
        while rounds < 3:
            for x in job.loop(range(3)):
                turn((rounds, x))
                s.seen.append((rounds, x))
            rounds += 1
        return list(s.seen)

    expected = [*itertools.product(range(3), repeat=2)]
    assert until_done(run) == expected
    assert turn.seen == sorted([*expected, expected[1], expected[3], expected[6]])


def test_a_name_twice_is_refused_and_in_each_turn_it_is_new(made: Function) -> None:
    @made
    def run(twice: bool, *, job: Job) -> int:
        s = job.state(count=0)
        for _ in job.loop(range(2)):
            for _ in job.loop(range(2), name="a"):
                s.count += 1
            if twice:
                for _ in job.loop(range(2), name="a"):
                    pass
        return int(s.count)

    assert run(False) == 4
    with pytest.raises(JobError, match="twice with the name 'a'"):
        run(True)


def test_a_program_that_comes_to_another_loop_first_is_told(made: Function) -> None:
    turn, names = Turns(2), ["one"]

    def run(*, job: Job) -> None:
        for name in names:
            for x in job.loop(range(3), name=name):
                turn(x)

    with pytest.raises(Killed):
        made(run)()
    names.insert(0, "other")
    with pytest.raises(ReplayError, match=r"saved in one, and came to other first"):
        made(run)()


@pytest.mark.parametrize("named", [True, False])
def test_a_loop_that_a_resume_leaves_out_must_not_give_its_place_to_another(
    made: Function, named: bool
) -> None:
    turn = Turns(6)

    @made
    def run(*, job: Job) -> list[Any]:
        s = job.state(ready=False, seen=list)
        if not s.ready:
            for x in job.loop(range(3), name="preparing" if named else None):
                turn(x)
                s.seen.append(x)
            s.ready = True
        for y in job.loop("abcd", name="main" if named else None):
            turn(y)
            s.seen.append(y)
        return list(s.seen)

    with pytest.raises(Killed):
        run()
    if named:
        assert run() == [0, 1, 2, "a", "b", "c", "d"]
        return
    with pytest.raises(ReplayError, match=r"saved in 'loop 2', and has not come there again"):
        run()
    assert run.status().position == "turn 2 of 4"


def test_a_turn_that_ends_without_the_loop_in_it_that_was_saved_is_told(made: Function) -> None:
    turn, inner = Turns(5), [True]

    @made
    def run(*, job: Job) -> None:
        for _ in job.loop(range(3), name="outer"):
            if inner:
                for y in job.loop("abc", name="inner"):
                    turn(y)

    with pytest.raises(Killed):
        run()
    inner.clear()
    with pytest.raises(ReplayError, match=r"saved in 'outer / inner', and has not come there"):
        run()


def test_helper_functions_may_loop(made: Function) -> None:
    turn = Turns(2, 4)

    def helper(job: Job, s: Any) -> None:
        for x in job.loop("abc"):
            turn(x)
            s.seen.append(x)

    @made
    def run(*, job: Job) -> list[str]:
        s = job.state(seen=list)
        for _ in job.loop(range(2)):
            helper(job, s)
        return list(s.seen)

    assert until_done(run) == list("abcabc")


# --- iterables that keep their own state ----------------------------------------


class Loader:
    """Gives numbers at random, and knows where it is: what `iter` gave last is its place."""

    def __init__(self, seed: int, length: int) -> None:
        self._random, self._length = random.Random(seed), length
        self.at = 0
        self.made: list[int] = []
        self.loaded = 0

    def __iter__(self) -> Iterator[int]:
        while self.at < self._length:
            self.at += 1
            self.made.append(self.at)
            yield self._random.randrange(1000)

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at, "random": self._random.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]
        self._random.setstate(state["random"])
        self.loaded += 1


EXPECTED = list(Loader(3, 6))


@pytest.mark.parametrize("every", [1, 2, 100])
@pytest.mark.parametrize("kill", range(1, 7))
def test_an_iterable_that_keeps_its_state_goes_on_by_it(
    made: Function, kill: int, every: int
) -> None:
    turn = Turns(kill)
    loaders: list[Loader] = []

    def run(*, job: Job) -> list[int]:
        s = job.state(seen=list)
        loaders.append(Loader(3, 6))
        for x in job.loop(loaders[-1]):
            turn(x)
            s.seen.append(x)
        return list(s.seen)

    assert until_done(made(run, every=every)) == EXPECTED
    if kill > 1:
        # What was done before the last save is not made again.
        saved = 1 + (kill - 2) // every * every
        assert loaders[1].made == [*range(saved + 1, 7)]


@pytest.mark.parametrize("every", [1, 2, 3, 100])
@pytest.mark.parametrize("kills", [(kill,) for kill in range(1, 19)] + [(5, 6, 7), (4, 8, 12)])
def test_so_it_does_around_another_loop(made: Function, kills: tuple[int, ...], every: int) -> None:
    turn = Turns(*kills)

    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        for x in job.loop(Loader(3, 6), name="outer"):
            for y in job.loop(range(3)):
                turn((x, y))
                s.seen.append((x, y))
        return list(s.seen)

    expected = [*itertools.product(EXPECTED, range(3))]
    assert until_done(made(run, every=every)) == expected


@pytest.mark.parametrize("kill", [2, 3, 4, 7, 11, 18])
def test_it_goes_on_by_its_state_where_only_turns_in_its_own_were_saved(
    made: Function, clock: Clock, kill: int
) -> None:
    turn = Turns(kill)
    loaders: list[Loader] = []

    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        loaders.append(Loader(3 + len(loaders), 6))  # Another in each attempt.
        for x in job.loop(loaders[-1], name="outer"):
            for y in job.loop(range(3)):
                turn((x, y))
                s.seen.append((x, y))
                clock.now += 20
            clock.now -= 10
        return list(s.seen)

    expected = [*itertools.product(EXPECTED, range(3))]
    assert until_done(made(run, every="9s")) == expected
    assert loaders[1].made == [*range(1 + (kill - 2) // 3, 7)]


@pytest.mark.parametrize("kills", [(kill,) for kill in range(1, 19)] + [(5, 6, 7), (4, 8, 12)])
def test_and_in_another_loop_it_begins_anew_in_each_turn(
    made: Function, kills: tuple[int, ...]
) -> None:
    turn = Turns(*kills)

    @made
    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        for x in job.loop(range(3)):
            for y in job.loop(Loader(3, 6)):
                turn((x, y))
                s.seen.append((x, y))
        return list(s.seen)

    assert until_done(run) == [*itertools.product(range(3), EXPECTED)]


# --- when it is saved -----------------------------------------------------------


def saves(function: Any) -> int:
    """How often a job was saved at a safe point."""
    with pytest.raises(Killed):
        function()
    jobs = checkpoint.Checkpointer(function._store)
    newest = jobs.named(function.status().name).snapshots()[-1]
    return int(newest.meta["job"]["saves"])


@pytest.mark.parametrize(("every", "expected"), [(1, 10), (3, 4), (10, 1), (100, 1)])
def test_every_so_many_turns_and_the_first_of_an_attempt_always(
    made: Function, every: int, expected: int
) -> None:
    turn = Turns(11)

    def run(*, job: Job) -> None:
        for x in job.loop(range(20)):
            turn(x)

    assert saves(made(run, every=every)) == expected


def test_every_so_many_seconds(made: Function, clock: Clock) -> None:
    turn = Turns(101)

    def run(*, job: Job) -> None:
        for x in job.loop(range(200)):
            turn(x)
            clock.now += 1

    # After 1 s, and then every 25.
    assert saves(made(run, every="25s")) == 4


class Slow(MemoryStore):
    """Takes some time for all that it is given."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds, self.spent = clock, seconds, 0.0

    def put(self, *args: Any, **named: Any) -> Any:
        self.clock.now += self.seconds
        self.spent += self.seconds
        return super().put(*args, **named)


@pytest.mark.parametrize("cost", [0.0, 0.1, 2.0])
def test_a_fiftieth_of_the_time_is_spent_on_saving_if_nothing_is_said(
    made: Function, clock: Clock, cost: float
) -> None:
    turn, store = Turns(5000), Slow(clock, cost)

    def run(*, job: Job) -> None:
        for x in job.loop(range(10_000)):
            turn(x)
            clock.now += 1

    count = saves(made(run, every=None, store=store))
    assert store.spent <= 0.025 * (clock.now - 1000)
    each = max(10, store.spent / count / 0.02) if count else 0
    assert 0.8 * 5000 / each <= count <= 1.2 * 5000 / each


# --- state ----------------------------------------------------------------------


def test_what_hangs_on_the_state_later_and_what_the_code_adds_later_is_kept(
    made: Function,
) -> None:
    turn = Turns(2, 4)

    def first(*, job: Job) -> None:
        s = job.state(a=list)
        for x in job.loop(range(5)):
            turn(x)
            s.a.append(x)
            s.later = x

    def second(*, job: Job) -> Any:
        s = job.state(a=list, b=lambda: [7])
        for x in job.loop(range(5)):
            turn(x)
            s.a.append(x)
            s.b.append(x)
        return s.a, s.b, s.later

    for function in (first, second):
        with pytest.raises(Killed):
            made(function, on_code_change="ignore")()
    assert made(second, on_code_change="ignore")() == ([0, 1, 2, 3, 4], [7, 1, 2, 3, 4], 0)


def test_what_comes_before_the_loop_and_changes_the_state_twice_is_refused(
    made: Function,
) -> None:
    turn = Turns(2)

    @made
    def run(*, job: Job) -> int:
        s = job.state(count=0, same=0)
        count(s)
        s.same = 5
        for x in job.loop(range(3)):
            turn(x)
        return int(s.count)

    with pytest.raises(Killed):
        run()
    with pytest.raises(
        ReplayError, match=r"changed the state once more: .*count: 1, now 2"
    ) as told:
        run()
    assert "same" not in str(told.value)
    assert run.status().position == "turn 1 of 3"


def count(s: Any) -> None:
    """What the check of the text of a job does not see."""
    s.count += 1


def test_so_it_is_before_an_inner_loop(made: Function) -> None:
    turn = Turns(5)

    @made
    def run(*, job: Job) -> int:
        s = job.state(count=0)
        for _ in job.loop(range(3)):
            count(s)
            for x in job.loop(range(3)):
                turn(x)
        return int(s.count)

    with pytest.raises(Killed):
        run()
    with pytest.raises(ReplayError, match=r"changed the state once more: .*count: 2, now 3"):
        run()


def test_nothing_is_told_of_what_may_be_done_twice(made: Function) -> None:
    turn = Turns(2, 5, 8)

    def order(s: Any) -> None:
        s.names = sorted(s.names)

    @made
    def run(*, job: Job) -> int:
        s = job.state(count=0, names=list)
        order(s)
        s.setting = {"a": [1.5, 2.5], "b": {1, 2}}
        for i in job.loop(range(3)):
            s.i = i
            for x in job.loop(range(3)):
                turn((i, x))
                s.count += 1
                s.names.append("b")
        return int(s.count)

    assert until_done(run) == 9


# --- what is journaled in turns ----------------------------------------------------


@pytest.mark.parametrize("kill", [120, 200, 290, 301])
def test_calls_of_turns_that_are_done_and_not_saved_are_not_made_again(
    made: Function, kill: int
) -> None:
    turn = Turns(kill)
    calls: list[tuple[int, int]] = []

    def call(i: int, k: int) -> tuple[int, int]:
        calls.append((i, k))
        return i, k

    def run(*, job: Job) -> list[Any]:
        s = job.state(seen=list)
        for i in job.loop(range(100)):
            first = job.step(call, i, 0)
            for k in job.loop(range(1, 3)):
                if k == 1:
                    s.seen.append(first)
                s.seen.append(job.step(call, i, k))
                turn(i)
            turn(i)
        turn("end")
        return list(s.seen)

    expected = [*itertools.product(range(100), range(3))]
    assert until_done(made(run, every=1000)) == expected
    assert calls == expected


def test_each_turn_of_a_generator_has_calls_of_its_own(made: Function) -> None:
    turn = Turns(3, 6)
    calls: list[int] = []

    def call() -> int:
        calls.append(len(calls))
        return calls[-1]

    @made
    def run(state: Any = None, *, job: Job) -> Generator[Any, None, Any]:
        s = state or []
        while len(s) < 6:
            s = [*s, job.step(call)]
            turn(len(s))
            yield s
        return s

    assert until_done(run) == [0, 1, 2, 3, 4, 5]
    assert calls == [0, 1, 2, 3, 4, 5]
    assert turn.seen == [1, 2, 3, 3, 4, 5, 5, 6]


# --- any program ----------------------------------------------------------------

# A program is a list of loops: bound, turn at which it breaks or none, loops before and
# after what the body does.
Tree = tuple[int, int | None, list[Any], list[Any]]


def trees() -> st.SearchStrategy[list[Tree]]:
    bounds = st.integers(0, 4)
    breaks = st.none() | st.integers(0, 3)

    def loops(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(st.tuples(bounds, breaks, inner, inner), max_size=2)

    return loops(st.recursive(st.just([]), loops, max_leaves=4))


def walk(job: Job, s: Any, program: list[Tree], path: tuple[Any, ...], turn: Turns) -> None:
    for number, (bound, stop, before, after) in enumerate(program):
        here = (*path, number)
        for x in job.loop(range(bound) if number % 2 else iter(range(bound))):
            walk(job, s, before, (*here, x, "before"), turn)
            for _ in job.loop("a"):
                turn((*here, x))
                s.trace.append((*here, x))
            if x == stop:
                break
            walk(job, s, after, (*here, x, "after"), turn)


@settings(max_examples=100, deadline=None)
@given(trees(), st.sets(st.integers(1, 60), max_size=6), st.sampled_from([1, 2, 3, 7]))
def test_any_loops_killed_anywhere_do_what_they_do_undisturbed(
    program: list[Tree], kills: set[int], every: int
) -> None:
    def run(*, job: Job) -> list[Any]:
        s = job.state(trace=list)
        walk(job, s, program, (), turn)
        return list(s.trace)

    def made() -> Any:
        return checkpoint.resumable(
            store=MemoryStore(), name="job", every=every, max_attempts=1000
        )(run)

    turn = Turns()
    expected = until_done(made())
    assert expected == turn.seen
    turn = Turns(*kills)
    assert until_done(made()) == expected
    hit = sum(kill <= len(turn.seen) for kill in kills)
    assert len(turn.seen) <= len(expected) + hit * every
