"""Each change of a class is sorted before a load: what fills itself, what is missing."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from collections.abc import Callable, Collection
from typing import Any

import attrs
import pytest

from checkpoint._model import Global, Shape
from checkpoint._pickling import pickle_into
from checkpoint._schema import SchemaChange, Sort, check, compare
from checkpoint.errors import MigrationError

BAD = {Sort.MISSING, Sort.WRONG}


def of(source: str) -> Any:
    """The class `C` of *source*."""
    names: dict[str, Any] = {"__name__": __name__}
    exec(
        "import attrs, dataclasses, enum, typing\n"
        "from checkpoint import versioned\n" + textwrap.dedent(source),
        names,
    )
    return names["C"]


def saved(cls: Any, monkeypatch: pytest.MonkeyPatch, *instances: Any) -> Global:
    """The row of *cls* in the type table of a graph with an instance of it."""
    monkeypatch.setitem(globals(), "C", cls)
    if not instances:
        instances = tuple(cls) if issubclass(cls, enum.Enum) else (made(cls),)
    found = pickle_into(list(instances), lambda piece: None)
    return next(one for one in found.globals if one.qualname == "C")


def made(cls: Any) -> Any:
    """An instance, with a number for each argument that it wants."""
    function = cls.__new__ if issubclass(cls, tuple) else cls.__init__
    code = getattr(function, "__code__", None)
    wanted = code.co_argcount - 1 - len(function.__defaults__ or ()) if code else 0
    return cls(*range(wanted))


ATTRS = "@attrs.define\nclass C:\n    "
DICTS = "@attrs.define(slots=False)\nclass C:\n    "
DATA = "@dataclasses.dataclass\nclass C:\n    "
SLOTS = "@dataclasses.dataclass(slots=True)\nclass C:\n    "
FROZEN = "@dataclasses.dataclass(slots=True, frozen=True)\nclass C:\n    "
TUPLE = "class C(typing.NamedTuple):\n    "
ENUM = "class C(enum.Enum):\n    "
FLAG = "class C(enum.Flag):\n    "


def plain(*lines: str) -> str:
    body = "\n        ".join(lines)
    return f"class C:\n    def __init__(self, hp=1):\n        {body}"


OLD = plain("self.hp = hp")
# What the class was, what it is, and the sorts of the differences; the names that went or came.
CASES: dict[str, tuple[str, str, list[Sort], list[str]]] = {
    "plain, field added": (
        OLD, plain("self.hp = hp", "self.armor = 1"), [Sort.MISSING], ["armor"],
    ),
    "plain, field renamed": (
        OLD, plain("self.health = hp"), [Sort.MISSING], ["hp", "health"],
    ),
    "plain, field removed": (
        plain("self.hp = hp", "self.x = 1"), OLD, [Sort.COMPATIBLE], ["x"],
    ),
    "plain, field added with a default of the class": (
        OLD,
        "class C:\n    armor = 0\n    def __init__(self): self.hp = self.armor = 1",
        [Sort.FILLED],
        ["armor"],
    ),
    "plain, to slots": (
        OLD,
        "class C:\n    __slots__ = ('hp',)\n    def __init__(self): self.hp = 1",
        [Sort.COMPATIBLE],
        [],
    ),
    "plain, to slots without one": (
        OLD,
        "class C:\n    __slots__ = ('x',)\n    def __init__(self): self.x = 1",
        [Sort.COMPATIBLE, Sort.MISSING],
        ["hp", "x"],
    ),
    "plain, to attrs": (OLD, ATTRS + "hp: int", [Sort.COMPATIBLE], []),
    "attrs, field added with a default": (
        ATTRS + "a: int", ATTRS + "a: int; b: int = 1", [Sort.FILLED], ["b"],
    ),
    "attrs, field added with a factory": (
        ATTRS + "a: int", ATTRS + "a: int; b: list = attrs.Factory(list)", [Sort.FILLED], ["b"],
    ),
    "attrs, field added without a default": (
        ATTRS + "a: int", ATTRS + "a: int; b: int", [Sort.MISSING], ["b"],
    ),
    "attrs, field renamed": (
        ATTRS + "a: int; hp: int", ATTRS + "a: int; health: int", [Sort.MISSING], ["hp", "health"],
    ),
    "attrs, field renamed, with a default": (
        ATTRS + "hp: int", ATTRS + "health: int = 9", [Sort.MISSING], ["hp", "health"],
    ),
    "attrs, field removed": (
        ATTRS + "a: int; b: int", ATTRS + "a: int", [Sort.COMPATIBLE], ["b"],
    ),
    "attrs, field removed, and no room": (
        "@attrs.define(weakref_slot=False)\nclass C:\n    a: int; b: int",
        "@attrs.define(weakref_slot=False)\nclass C:\n    a: int",
        [Sort.WRONG],
        ["b"],
    ),
    "attrs, frozen": (ATTRS + "a: int", "@attrs.frozen\nclass C:\n    a: int", [], []),
    "attrs, without slots": (ATTRS + "a: int", DICTS + "a: int", [], []),
    "attrs, new validator": (
        ATTRS + "a: int",
        ATTRS + "a: int = attrs.field(validator=attrs.validators.instance_of(int))",
        [Sort.COMPATIBLE],
        [],
    ),
    "attrs, fields swapped": (
        ATTRS + "a: int; b: int", ATTRS + "b: int; a: int", [Sort.COMPATIBLE], [],
    ),
    "dataclass, field added with a default": (
        DATA + "a: int", DATA + "a: int; b: int = 1", [Sort.FILLED], ["b"],
    ),
    "dataclass, field added with a factory": (
        DATA + "a: int",
        DATA + "a: int; b: list = dataclasses.field(default_factory=list)",
        [Sort.FILLED],
        ["b"],
    ),
    "dataclass, field renamed": (
        DATA + "hp: int = 1", DATA + "health: int = 1", [Sort.MISSING], ["hp", "health"],
    ),
    "dataclass, to slots": (DATA + "a: int", SLOTS + "a: int", [], []),
    "dataclass, to attrs": (DATA + "a: int", ATTRS + "a: int", [Sort.COMPATIBLE], []),
    "frozen dataclass with slots, fields swapped": (
        FROZEN + "a: int; b: int", FROZEN + "b: int; a: int", [Sort.COMPATIBLE], [],
    ),
    "frozen dataclass with slots, field added": (
        FROZEN + "a: int", FROZEN + "a: int; b: int = 1", [Sort.FILLED], ["b"],
    ),
    "frozen dataclass with slots, field removed": (
        FROZEN + "a: int; b: int", FROZEN + "a: int", [Sort.WRONG], ["b"],
    ),
    "named tuple, field inserted": (
        TUPLE + "a: int; b: int", TUPLE + "x: int; a: int; b: int", [Sort.MISSING], ["x"],
    ),
    "named tuple, field added with a default": (
        TUPLE + "a: int", TUPLE + "a: int; b: int = 1", [Sort.FILLED], ["b"],
    ),
    "named tuple, field removed": (
        TUPLE + "a: int; b: int", TUPLE + "a: int", [Sort.WRONG], ["b"],
    ),
    "named tuple that has a dict, field removed": (
        "class B(typing.NamedTuple):\n    a: int; b: int\nclass C(B): pass",
        "class B(typing.NamedTuple):\n    a: int\nclass C(B): pass",
        [Sort.WRONG],
        ["b"],
    ),
    "named tuple, to attrs": (TUPLE + "a: int", ATTRS + "a: int", [Sort.COMPATIBLE], []),
    "attrs, to a named tuple": (ATTRS + "a: int", TUPLE + "a: int", [Sort.MISSING], []),
    "enum, values renumbered": (
        ENUM + "A = 1; B = 2", ENUM + "B = 1; A = 2", [Sort.COMPATIBLE], [],
    ),
    "enum, member renamed, same value": (
        ENUM + "A = 1; B = 2", ENUM + "A = 1; BB = 2", [Sort.COMPATIBLE], ["B", "BB"],
    ),
    "enum, member renamed, and its value belongs to another": (
        ENUM + "A = 1; B = 2", ENUM + "A = 2; BB = 3", [Sort.COMPATIBLE, Sort.MISSING], ["B", "BB"],
    ),
    "enum, member removed": (ENUM + "A = 1; B = 2", ENUM + "A = 1", [Sort.MISSING], ["B"]),
    "enum, alias removed": (ENUM + "A = 1; B = 1", ENUM + "A = 1", [], []),
    "enum, the name first given removed": (ENUM + "A = 1; B = 1", ENUM + "B = 1", [], []),
    "enum, member added": (ENUM + "A = 1", ENUM + "A = 1; B = 2", [], []),
    "flag, member removed": (FLAG + "A = 1; B = 2", FLAG + "A = 1", [Sort.MISSING], ["B"]),
    "enum, to a plain class": (ENUM + "A = 1", OLD, [Sort.MISSING], []),
    "declared version newer than the state": (
        OLD, "@versioned(2)\n" + plain("self.hp = hp"), [], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_change_is_sorted(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, sorts, names = CASES[case]
    stored = saved(of(old), monkeypatch)
    found = compare(stored, of(new))
    assert [change.sort for change in found] == sorts
    assert [*dict.fromkeys(n for change in found for n in (*change.gone, *change.new))] == names
    for change in found:
        assert change.cls == f"{__name__}:C"
        assert bool(change.fix) == (change.sort in BAD) == change.is_bad
        assert all(name in change.message for name in names) or len(found) > 1


@pytest.mark.parametrize("case", CASES)
def test_no_class_differs_from_itself(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in CASES[case][:2]:
        cls = of(source)
        assert compare(saved(cls, monkeypatch), cls) == []


@pytest.mark.parametrize("case", [case for case in CASES if {*CASES[case][2]} & BAD])
def test_a_registered_upgrade_turns_what_is_bad_into_migrated(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, sorts, _ = CASES[case]

    def upgrades(cls: type, shape: Shape) -> Collection[Any]:
        return [dict]

    found = compare(saved(of(old), monkeypatch), of(new), upgrades)
    assert [change.sort for change in found] == [
        Sort.MIGRATED if sort in BAD else sort for sort in sorts
    ]
    assert not any(change.fix for change in found)


def test_a_step_that_is_not_to_be_had_is_told_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def upgrades(cls: type, shape: Shape) -> Collection[Any]:
        raise MigrationError("there is no upgrade from version 1")

    stored = saved(of(OLD), monkeypatch)
    (found,) = compare(stored, of("@versioned(2)\n" + plain("self.x = 1")), upgrades)
    assert (found.sort, found.stored, found.today) == (Sort.MISSING, 1, 2)
    assert "no upgrade from version 1" in str(found)
    assert found.fix == f'@upgrade("{__name__}:C", 1)'


def test_a_class_that_is_gone_or_none_any_more_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = saved(of(OLD), monkeypatch)

    def find(module: str, qualname: str) -> Any:
        raise MigrationError(f"{module}:{qualname} is gone")

    (gone,) = check([stored, Global("builtins", "len")][:1], find)
    (function,) = check([stored], lambda module, qualname: len)
    for change in (gone, function):
        assert change.sort is Sort.MISSING
        assert change.fix == f'checkpoint.rename("{__name__}:C", "module:Class")'
    assert "is gone" in gone.message


def test_the_fix_names_the_likest_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = saved(of(DATA + "power: int; speed: int; old: int"), monkeypatch)
    new = of(DATA + "max_speed: int; base_power: int")
    (found,) = compare(stored, new)
    assert found.fix == (
        f'checkpoint.rename_fields("{__name__}:C", 1, power="base_power", speed="max_speed"); '
        f"checkpoint.drop_fields(\"{__name__}:C\", 1, 'old')"
    )


QUIET: dict[str, str] = {
    "rebuilds itself": """
        class C:
            def __init__(self): self.a = 1
            def __reduce__(self): return (C, (), {})
    """,
    "makes up its attributes": """
        class C:
            def __init__(self): self.a = 1
            def __setattr__(self, name, value): self.__dict__["_" + name] = value
    """,
    "takes care of a lock": """
        class C:
            def __init__(self): self.a, self.lock = 1, object()
            def __getstate__(self): return {"a": self.a}
            def __setstate__(self, state): self.__dict__.update(state, lock=object())
    """,
    "leaves out what is made on demand": """
        class C:
            def __init__(self): self.a, self.cache = 1, {}
            def __getstate__(self): return {k: v for k, v in vars(self).items() if k < "b"}
    """,
    "is made anew": """
        class C:
            def __init__(self): self.a = 1
            def __getstate__(self): return {"b": 1}
            def __setstate__(self, state): self.__init__()
    """,
    "assigns to a property": """
        class C:
            def __init__(self): self.a = 1
            @property
            def a(self): return self._a
            @a.setter
            def a(self, value): self._a = value
    """,
    "forgets a field": """
        class C:
            def __init__(self): self.a = self.tmp = 1; del self.tmp
    """,
    "an error": "class C(Exception):\n    def __init__(self): self.a = 1; super().__init__()",
}


@pytest.mark.parametrize("case", QUIET)
def test_a_class_that_cares_for_itself_raises_no_false_alarm(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = of(QUIET[case])
    monkeypatch.setitem(cls.__init__.__globals__, "C", cls)
    assert not [one for one in compare(saved(cls, monkeypatch), cls) if one.is_bad]


def test_a_rename_is_seen_of_a_class_that_leaves_fields_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = (of(f"""
        class C:
            def __init__(self): self.{name}, self.lock = 1, 2
            def __getstate__(self):
                state = dict(self.__dict__)
                del state["lock"]
                return state
    """) for name in ("hp", "health"))  # fmt: skip
    (found,) = compare(saved(old, monkeypatch), new)
    assert (found.sort, found.gone, found.new) == (Sort.MISSING, ("hp",), ("health",))


def test_a_setstate_that_speaks_of_a_field_has_seen_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = saved(of(OLD), monkeypatch)
    source = (
        plain("self.health = hp")
        + """
    def __setstate__(self, state):
        if "hp" in state:
            state["health"] = state.pop("hp")
        self.__dict__.update(state)
    """
    )
    assert compare(stored, of(source)) == []


def test_changes_are_values_that_say_all_in_a_sentence() -> None:
    change = SchemaChange("m:C", Sort.WRONG, "b went", ("b",), fix="checkpoint.drop_fields(…)")
    assert str(change) == "m:C: b went (silently wrong); register checkpoint.drop_fields(…)"
    assert change == attrs.evolve(change)


def test_functions_are_no_types_to_compare() -> None:
    find: Callable[[str, str], Any] = lambda module, qualname: dataclasses.field  # noqa: E731
    assert check([Global("dataclasses", "field")], find) == []
