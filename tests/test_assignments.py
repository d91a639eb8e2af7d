"""What a class's code says of its attributes, the same on every release of Python."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from checkpoint._assignments import has_default, knows, missing, rebuilt_by_itself, tells


class Base:
    def __init__(self) -> None:
        self.base = 1


class Other:
    def __init__(self) -> None:
        self.other = 1


class Orc(Base):
    kind = "orc"
    color: str

    def __init__(self, hp: int, big: bool = False) -> None:
        super().__init__()
        self.hp = hp
        if big:
            self.both: int | None = 1
            self.maybe = 1
        else:
            self.both = None
        for number in range(3):
            self.in_loop = number
        try:
            self.tried = int(hp)
        except ValueError:
            self.tried = 0
        last = self.chained = 3
        self.__secret, self.unpacked = 1, last
        self.reset()
        self.seen_by_a_lambda = lambda: self.asked
        self.callback = self.later
        self.kind = "uruk"
        self.tmp = 1
        del self.tmp
        self.counted = 0
        self.counted += 1
        self.through_a_property = 1

    def reset(self) -> None:
        self.ammo = 3

    def later(self) -> None:
        self.late = 3

    @property
    def through_a_property(self) -> int:
        return self.behind

    @through_a_property.setter
    def through_a_property(self, value: int) -> None:
        self.behind = value

    @functools.cached_property
    def cached(self) -> list[int]:
        return [self.within for _ in "a"]  # type: ignore[attr-defined]

    asked: int


SURE = (
    "base", "hp", "both", "tried", "chained", "_Orc__secret", "unpacked", "ammo",
    "seen_by_a_lambda", "callback", "kind", "counted",
)  # fmt: skip


def test_what_init_assigns_whichever_way_it_goes_is_missing() -> None:
    assert missing(Orc, ()) == SURE
    assert missing(Orc, SURE) == ()
    assert missing(Orc, ("hp", "base", "kind")) == tuple(
        name for name in SURE if name not in ("hp", "base", "kind")
    )


def test_a_name_is_known_that_is_declared_or_used_on_self() -> None:
    for name in (*SURE, "maybe", "in_loop", "asked", "late", "behind", "within", "color", "reset"):
        assert knows(Orc, name), name
    for name in ("health", "other", "number"):
        assert not knows(Orc, name), name


def test_a_default_of_the_class_is_told_from_a_slot() -> None:
    class Slots:
        __slots__ = ("a",)

    assert has_default(Orc, "kind")
    assert not has_default(Orc, "hp")
    assert not has_default(Slots, "a")


def test_the_bases_that_are_called_by_name_are_followed() -> None:
    class Both(Base, Other):
        def __init__(self) -> None:
            Base.__init__(self)
            Other.__init__(self)
            self.own = 1

    class Neither(Base, Other):
        def __init__(self) -> None:
            self.own = 1

    class Inherits(Orc):
        pass

    assert missing(Both, ()) == ("base", "other", "own")
    assert missing(Neither, ()) == ("own",)
    assert missing(Inherits, ()) == SURE


def test_what_stands_behind_an_early_return_is_not_sure() -> None:
    class Early:
        def __init__(self, value: Any) -> None:
            self.first = value
            if value is None:
                return
            self.second = value

    class Raises:
        def __init__(self, value: Any) -> None:
            if value is None:
                raise ValueError(value)
            self.first = value

    assert missing(Early, ()) == ("first",)
    assert missing(Raises, ()) == ("first",)


def test_a_method_that_is_only_named_or_runs_later_assigns_nothing() -> None:
    class Named:
        def __init__(self) -> None:
            self.call = self.assign
            self.wait()

        def assign(self) -> None:
            self.assigned = 1

        def wait(self) -> Any:
            self.waited = yield

    assert missing(Named, ()) == ("call",)


def test_methods_that_call_each_other_end() -> None:
    class Round:
        def __init__(self) -> None:
            self.one()

        def one(self) -> None:
            self.a = 1
            self.two()

        def two(self) -> None:
            self.b = 1
            self.one()

    assert missing(Round, ()) == ("a", "b")


def test_code_too_long_for_short_jumps_is_read() -> None:
    lines = [f"        self.f{number} = a" for number in range(700)]
    branch = [f"            self.g{number} = a" for number in range(700)]
    source = ["class Long:", "    def __init__(self, a):", *lines, "        if a:", *branch]
    names: dict[str, Any] = {}
    exec("\n".join([*source, "        self.last = a"]), names)
    assert missing(names["Long"], ()) == (*(f"f{number}" for number in range(700)), "last")


def test_a_decorated_init_is_looked_through() -> None:
    def logged(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> None:
            function(*args)

        return wrapper

    class Logged:
        @logged
        def __init__(self) -> None:
            self.a = 1

    assert missing(Logged, ()) == ("a",)


@pytest.mark.parametrize("name", ["__setattr__", "__getattr__", "__getattribute__", "__reduce__"])
def test_a_class_that_makes_up_its_attributes_tells_nothing(name: str) -> None:
    members = {name: lambda self, *args: None, "__init__": Base.__init__}
    cls = type("MakesUp", (), members)
    assert missing(type("Plain", (), {"__init__": Base.__init__}), ()) == ("base",)
    assert not tells(cls)
    assert missing(cls, ()) == ()


def test_a_class_says_itself_how_it_is_rebuilt_or_does_not() -> None:
    assert rebuilt_by_itself(ValueError)
    assert rebuilt_by_itself(complex)
    assert not rebuilt_by_itself(Orc)
    assert not rebuilt_by_itself(dict)
