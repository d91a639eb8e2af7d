"""The package of a program: classes and functions of every kind that programs save."""

from __future__ import annotations

import collections
import copyreg
import functools
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, NewType, Protocol, TypedDict, TypeVar

Request = urllib.request.Request  # another package's, in this one's name

T = TypeVar("T")
UserId = NewType("UserId", int)
Matrix = list[list[float]]

# --- plain classes ----------------------------------------------------------


class Plain:
    """All that it has is in its `__dict__`."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    class Inner:
        """A class in a class."""

        depth = 2

    def method(self) -> Any:
        return vars(self)

    @classmethod
    def made(cls) -> Plain:
        return cls(made=True)

    @staticmethod
    def apart(number: int) -> int:
        return number + 1


class Empty:
    pass


class Node:
    """An object that refers to others."""

    def __init__(self, label: int = 0, next: Node | None = None) -> None:
        self.label = label
        self.next = next
        self.others: Any = []


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self, left: Any, right: Any = None) -> None:
        self.left = left
        self.right = right


class SlottedMore(Slotted):
    """Slots that are inherited, and more of its own; one of them is never set."""

    __slots__ = ("more", "unset")

    def __init__(self, left: Any, more: Any) -> None:
        super().__init__(left)
        self.more = more


class SlotsAndDict(Slotted):
    """Slots that are inherited, and a `__dict__`."""


class WithState:
    """Leaves out a field and makes it again."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.cache: Any = {"made": wanted}

    def __getstate__(self) -> dict[str, Any]:
        return {"wanted": self.wanted}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.wanted = state["wanted"]
        self.cache = {"made": self.wanted}


class TupleState:
    """Its state is a tuple."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __getstate__(self) -> tuple[int, int]:
        return self.low, self.high

    def __setstate__(self, state: tuple[int, int]) -> None:
        self.low, self.high = state


class NumberState:
    """Its state is a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getstate__(self) -> int:
        return self.number

    def __setstate__(self, state: int) -> None:
        self.number = state


class NewArguments:
    """Made of arguments, by `__getnewargs__`."""

    number: int

    def __new__(cls, number: int) -> NewArguments:
        made = super().__new__(cls)
        made.number = number
        return made

    def __getnewargs__(self) -> tuple[int]:
        return (self.number,)


class NewKeywords:
    """Made of keyword arguments, by `__getnewargs_ex__`."""

    number: int

    def __new__(cls, *, number: int) -> NewKeywords:
        made = super().__new__(cls)
        made.number = number
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"number": self.number}


class Hashed:
    """A key by its value; the hash needs the state."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


class Described:
    """A property, a cached property and a class variable beside the state."""

    shared: ClassVar[list[int]] = []

    def __init__(self, side: float) -> None:
        self.side = side

    @property
    def area(self) -> float:
        return self.side * self.side

    @functools.cached_property
    def volume(self) -> float:
        return self.side**3


class Attribute:
    """A data descriptor."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.place = "_" + name

    def __get__(self, obj: Any, owner: type) -> Any:
        return self if obj is None else getattr(obj, self.place)

    def __set__(self, obj: Any, value: Any) -> None:
        setattr(obj, self.place, value)


class Checked:
    """A field behind a descriptor."""

    amount = Attribute()

    def __init__(self, amount: int) -> None:
        self.amount = amount


class Guarded:
    """Refuses to be changed, but by itself."""

    def __init__(self, value: Any) -> None:
        object.__setattr__(self, "value", value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} is fixed")


class Meta(type):
    """A metaclass of the program."""


class Special(metaclass=Meta):
    def __init__(self, value: int) -> None:
        self.value = value


class Box(Generic[T]):
    """A generic class."""

    def __init__(self, content: T) -> None:
        self.content = content


class IntBox(Box[int]):
    pass


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def __init__(self, side: float) -> None:
        self.side = side

    def area(self) -> float:
        return self.side**2


class Drawable(Protocol):
    def draw(self) -> str: ...


class Drawn(Drawable):
    def __init__(self, text: str) -> None:
        self.text = text

    def draw(self) -> str:
        return self.text


class Movie(TypedDict):
    title: str
    year: int


class Mixed(WithState, Generic[T]):
    """Several bases."""

    def __init__(self, wanted: int, content: T) -> None:
        super().__init__(wanted)
        self.content = content

    def __getstate__(self) -> dict[str, Any]:
        return {"wanted": self.wanted, "content": self.content}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.content = state["content"]


class Window:
    """Leaves what cannot be saved out, and knows it again by a default in the class."""

    handle: Any = None

    def __init__(self, title: str) -> None:
        self.title = title
        self.handle = iter(())

    def __getstate__(self) -> dict[str, Any]:
        return {"title": self.title}


class Countdown:
    """An iterator written as a class."""

    def __init__(self, start: int) -> None:
        self.left = start

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.left <= 0:
            raise StopIteration
        self.left -= 1
        return self.left


class Callback:
    """An object that can be called, with a function of the program inside."""

    def __init__(self, function: Callable[[int], int]) -> None:
        self.function = function

    def __call__(self, number: int) -> int:
        return self.function(number)


# --- kinds of builtins ------------------------------------------------------


class ListKind(list[Any]):
    pass


class DictKind(dict[Any, Any]):
    pass


class SetKind(set[Any]):
    pass


class FrozensetKind(frozenset[Any]):
    pass


class TupleKind(tuple[Any, ...]):
    pass


class StrKind(str):
    pass


class SlottedStr(str):
    __slots__ = ()


class IntKind(int):
    pass


class FloatKind(float):
    pass


class ComplexKind(complex):
    pass


class BytesKind(bytes):
    pass


class BytearrayKind(bytearray):
    pass


class OrderedKind(collections.OrderedDict[Any, Any]):
    pass


class DefaultKind(collections.defaultdict[Any, Any]):
    pass


class CounterKind(collections.Counter[Any]):
    pass


class DequeKind(collections.deque[Any]):
    pass


class UserDictKind(collections.UserDict[Any, Any]):
    pass


class UserListKind(collections.UserList[Any]):
    pass


class UserStringKind(collections.UserString):
    pass


class Missing(dict[Any, Any]):
    """A dict that fills itself."""

    def __missing__(self, key: Any) -> Any:
        self[key] = made = Missing()
        return made


# --- functions, and what is rebuilt by them ---------------------------------


def function(number: int = 0) -> int:
    return number + 1


def no_list() -> list[Any]:
    return []


def closed() -> Callable[[int], int]:
    """A function that cannot be saved: nobody can find it by name."""
    return lambda number: number + 1


@functools.wraps(function)
def wrapped(number: int = 0) -> int:
    return number + 1


wrapped.__qualname__ = wrapped.__name__ = "wrapped"  # as a decorator that keeps names leaves it


@functools.cache
def cached(number: int) -> int:
    return number


class Reduced:
    """Rebuilt by its class, with a state: to be declared."""

    def __init__(self, label: int) -> None:
        self.label = label
        self.more: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, (self.label,), {"more": self.more}


class Rebuilt:
    """Rebuilt by a function: to be declared."""

    def __init__(self, label: int) -> None:
        self.label = label

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (self.label,)


def rebuild(label: int) -> Rebuilt:
    return Rebuilt(label)


class Registered:
    """Reduced by a function in `copyreg`: to be declared."""

    def __init__(self, label: int) -> None:
        self.label = label


def reduce_registered(obj: Registered) -> tuple[Any, ...]:
    return Registered, (obj.label,)


copyreg.pickle(Registered, reduce_registered)


class Sole:
    """One of its kind: saved by its name."""

    def __reduce__(self) -> str:
        return "SOLE"


SOLE = Sole()


def loads(data: bytes) -> Any:
    """Load as a program does: what is its own is known by who calls."""
    import checkpoint

    return checkpoint.loads(data)
