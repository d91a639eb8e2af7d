"""Enums, named tuples, attrs classes, dataclasses and exceptions of the program's package."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
from dataclasses import InitVar, dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import attrs

T = TypeVar("T")

# --- enums ------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"
    CRIMSON = 1  # an alias


class Odd(enum.Enum):
    """Values of every sort."""

    PAIR = (1, 2)
    LIST = [1, 2]  # noqa: RUF012 - a value, not a default
    DICT = {"a": 1}  # noqa: RUF012
    NOTHING = None
    REAL = 2.5
    BYTES = b"raw"
    NESTED = (1, ("a", None))


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Word(enum.StrEnum):
    YES = enum.auto()
    NO = enum.auto()


class Right(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()
    RUN = enum.auto()


class Mode(enum.IntFlag):
    A = 1
    B = 2
    C = 4


class Planet(enum.Enum):
    """Members with fields, made by `__init__`."""

    EARTH = (5.97e24, 6.37e6)
    MARS = (6.42e23, 3.39e6)

    def __init__(self, mass: float, radius: float) -> None:
        self.mass = mass
        self.radius = radius


class Texts(str, enum.Enum):  # noqa: UP042 - the older way is what is meant
    ONE = "one"
    TWO = "two"


class Keyed(enum.Enum):
    """Members whose value is found by `__new__`."""

    FIRST = ("f", 1)
    SECOND = ("s", 2)

    def __new__(cls, letter: str, number: int) -> Keyed:
        made = object.__new__(cls)
        made._value_ = letter
        return made


class Machine:
    class State(enum.Enum):
        """An enum in a class."""

        OFF = 0
        ON = 1

    def __init__(self, state: Machine.State) -> None:
        self.state = state


# --- named tuples -----------------------------------------------------------


class Point(NamedTuple):
    x: Any
    y: Any = 0


Pair = collections.namedtuple("Pair", "first second")


class Vector(NamedTuple):
    """With methods."""

    x: float
    y: float

    def length(self) -> float:
        return float((self.x**2 + self.y**2) ** 0.5)


# --- attrs ------------------------------------------------------------------


@attrs.define
class Defined:
    name: str
    items: list[Any] = attrs.Factory(list)


@attrs.define(slots=False)
class DefinedDict:
    name: str
    items: list[Any] = attrs.Factory(list)


@attrs.frozen
class Frozen:
    a: Any
    b: Any = None


@attrs.frozen(slots=False)
class FrozenDict:
    a: Any
    b: Any = None


@attrs.define
class Converted:
    number: int = attrs.field(converter=int)
    kept: tuple[int, ...] = attrs.field(converter=tuple, default=())


@attrs.define
class Validated:
    number: int = attrs.field(validator=attrs.validators.instance_of(int))


@attrs.define
class Derived(Defined):
    extra: Any = None


@attrs.define
class Cached:
    side: int

    @functools.cached_property
    def area(self) -> int:
        return self.side * self.side


@attrs.define(kw_only=True, order=True)
class Keywords:
    a: int
    b: int = 2


@attrs.define
class Private:
    _hidden: int
    shown: int = attrs.field(init=False, default=4)


@attrs.define(eq=False)
class Linked:
    label: int
    next: Linked | None = None


@attrs.frozen(cache_hash=True)
class HashCached:
    name: str


@attrs.define
class AttrsError(Exception):
    """An exception that is an attrs class."""

    code: int


# --- dataclasses ------------------------------------------------------------


@dataclass
class Data:
    a: Any
    b: Any = None
    items: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class DataSlots:
    a: Any
    b: Any = None


@dataclass(frozen=True)
class DataFrozen:
    a: Any
    b: Any = None


@dataclass(frozen=True, slots=True)
class DataFrozenSlots:
    a: Any
    b: Any = None


@dataclass(kw_only=True)
class DataKeywords:
    a: int
    b: int = 2


@dataclass
class DataDerived(Data):
    more: int = 0


@dataclass(slots=True)
class DataSlotsDerived(DataSlots):
    more: Any = None


@dataclass
class DataInit:
    """A parameter that is no field."""

    a: int
    scale: InitVar[int] = 2
    scaled: int = field(init=False, default=0)

    def __post_init__(self, scale: int) -> None:
        self.scaled = self.a * scale


@dataclass(order=True)
class DataOrdered:
    rank: int
    label: str = field(compare=False, default="")


@dataclass
class DataGeneric(Generic[T]):
    content: T


@dataclass(unsafe_hash=True)
class DataHashed:
    a: int


@dataclass(eq=False)
class DataNode:
    label: int
    parent: DataNode | None = None
    children: list[DataNode] = field(default_factory=list)


Dynamic = dataclasses.make_dataclass("Dynamic", [("x", int), ("y", int, 3)])
Dynamic.__module__ = __name__

# --- exceptions -------------------------------------------------------------


class Failure(Exception):
    """Arguments only."""


class Failed(Failure):
    """Inherits from the program's own."""


class CodedError(Exception):
    """Several parameters, of which one text goes up, and fields of its own."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class KeywordError(Exception):
    """Made with a keyword; a field beside the arguments."""

    def __init__(self, *args: Any, code: int = 0) -> None:
        super().__init__(*args)
        self.code = code


class LookupFailed(KeyError):
    """A kind of a builtin exception with a field."""

    table: str = ""


class DiskFull(OSError):
    """A kind of `OSError`."""


class Several(ExceptionGroup[Exception]):
    """A group of the program."""


@dataclass
class DataError(Exception):
    """An exception that is a dataclass."""

    code: int = 0


class ProgramWarning(UserWarning):
    pass
