"""What a foreign stream may do with a global, and the abstract values that it is asked about.

A *grant* is an object that was captured when it was listed, with *verbs*: what
opcodes may do with it.  A value on the abstract stack is a real atom (None, a
bool, a number, a text, short bytes), a real tuple of values, a grant, or one of
the small objects here.  None of them is ever what the stream would build.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn, Protocol

from attrs import field, frozen

_CHECKED = ("numpy", "torch", "checkpoint")  # whose names are dangerous without their checks
_CONSTANT = 1000  # parts of a constant
_LONG = 256  # bits of a number that is not shown


class Verb:
    """What may be done with a global, beside having it as a value: bits.

    They are plain numbers, since an enum's would take most of the time of a verification.
    """

    PUSH: Final = 0
    NEW: Final = 1  # cls.__new__(cls, *args): NEWOBJ
    CALL: Final = 2  # REDUCE
    BUILD: Final = 4  # a state: BUILD
    ITEMS: Final = 8  # append and extend: APPEND, APPENDS
    ENTRIES: Final = 16  # obj[key] = value: SETITEM, SETITEMS
    ELEMENTS: Final = 32  # add: ADDITEMS


class Refused(Exception):
    """A check said no; the message says to what."""


def refuse(what: str) -> NoReturn:
    raise Refused(what)


class Spending(Protocol):
    """What a check is told about the load."""

    def spend(self, size: int) -> None:
        """Count *size* bytes that the load will take."""

    def keys(self, keys: list[Any], of: Any) -> None:
        """Refuse what cannot be an element or a key of *of*, or costs too much as one."""

    def granted_within(self, owner: Grant, name: str, inner: type) -> Grant:
        """The grant of *inner*, the class *name* in the class *owner*."""
        ...


Call = Callable[[Any, tuple[Any, ...], Spending], Any]
Build = Callable[[Any, Any, Spending], None]


@frozen(eq=False)
class Grant:
    """A captured object and what a stream may do with it.

    `call` and `new` check the arguments, and give the abstract result, or None
    for an instance of this.  `build` checks a state.  `hashing` says whether
    instances are hashed by `identity`, by `value`, or not at all.  `weak` is
    true for types whose deallocation recurses.  `by_new` says that a call is
    to be made by `__new__` alone, `why` why a class is no more than a value.
    """

    name: str
    object: Any = field(repr=False)
    verbs: int = Verb.PUSH
    call: Call | None = None
    new: Call | None = None
    build: Build | None = None
    hashing: str = "value"
    weak: bool = False
    by_new: bool = False
    why: str = ""

    @property
    def line(self) -> str:
        """What to add to a refusal: the line that lets the program's own, or a package's, do it."""
        top = self.name.partition(":")[0].partition(".")[0]
        if self.why or top in _CHECKED or top in sys.stdlib_module_names:
            return ""
        return f"; if this file may do that: trust=[{self.name!r}]"

    @property
    def is_class(self) -> bool:
        return isinstance(self.object, type)

    def derives(self, base: type) -> bool:
        """Whether it is a class below *base*; of one that is gone nothing is known."""
        return self.is_class and issubclass(self.object, base)


class Box:
    """A list, a dict or a set; `items` are its items, or keys and values in turn.

    What is known of its keys is noted when there is one that could be a bomb.
    """

    __slots__ = ("deep", "hashes", "items", "kind", "unknown")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.items: Any = ()  # or a list

    @property
    def keys(self) -> list[Any]:
        return list(self.items[::2])


class Instance:
    """What a call or `__new__` made; `facts` is what a check found out about it."""

    __slots__ = ("args", "built", "deep", "facts", "grant", "hashes", "items", "state", "unknown")

    def __init__(self, grant: Grant, args: tuple[Any, ...] = (), facts: Any = None) -> None:
        self.grant, self.args, self.facts = grant, args, facts
        self.built = False
        self.state: Any = None
        self.items: list[Any] | None = None


class Recalled:
    """A box or an instance that came out of the memo: it may be held, and not be filled."""

    __slots__ = ("value",)

    def __init__(self, value: Box | Instance) -> None:
        self.value = value


class Payload:
    """Bytes too long to be looked at, or a buffer: `bytes`, `bytearray` or `buffer`."""

    __slots__ = ("kind", "length")

    def __init__(self, kind: str, length: int) -> None:
        self.kind, self.length = kind, length


def plain(value: Any) -> Any:
    """The value itself, though it came out of the memo."""
    return value.value if type(value) is Recalled else value


# --- what checks ask ---------------------------------------------------------


def count(args: tuple[Any, ...], *possible: int) -> None:
    """Refuse another number of arguments than one of *possible*."""
    if len(args) not in possible:
        refuse(f"it takes {' or '.join(map(str, possible))} arguments, not {len(args)}")


def text(value: Any, longest: int = 10_000) -> str:
    """*value* if it is a text that is not too long."""
    if type(value) is not str or len(value) > longest:
        refuse(f"{told(value)} is no text of at most {longest} characters")
    return value


def integer(value: Any, low: int, high: int) -> int:
    """*value* if it is a number from *low* to *high*."""
    if type(value) is not int or not low <= value <= high:
        refuse(f"{told(value)} is no number from {low} to {high}")
    return value


def one_of(value: Any, *kinds: type) -> Any:
    """*value* if it is an atom of one of *kinds*."""
    if type(value) not in kinds:
        refuse(f"{told(value)} is no {' or '.join(kind.__name__ for kind in kinds)}")
    return value


def length(value: Any) -> int:
    """How many bytes a value is: of bytes, a bytearray or a buffer."""
    if type(value) is bytes:
        return len(value)
    if type(value) is Payload:
        return value.length
    refuse(f"{told(value)} is no bytes")


def box(value: Any, kind: str) -> Box:
    """*value* if it is a list, dict or set, as *kind* says."""
    value = plain(value)
    if type(value) is not Box or value.kind != kind:
        refuse(f"{told(value)} is no {kind}")
    return value


def instance(value: Any, *names: str) -> Instance:
    """*value* if it is an instance of one of the classes called *names*."""
    value = plain(value)
    if type(value) is not Instance or value.grant.name not in names:
        refuse(f"{told(value)} is no {' or '.join(names)}")
    return value


def grant(value: Any, *names: str) -> Grant:
    """*value* if it is one of the globals called *names*, or any where there are none."""
    if type(value) is not Grant or (names and value.name not in names):
        refuse(f"{told(value)} is not {' or '.join(names) or 'a global'}")
    return value


def constant(value: Any) -> Any:
    """The real value of an atom, or of a tuple of atoms; `Refused` for anything else, or for more.

    A tuple may hold the same one again and again, so its parts are counted.
    """
    left = _CONSTANT
    work = [value]
    while work:
        part = work.pop()
        left -= 1
        if left < 0 or not (part is None or type(part) in (bool, int, float, str, bytes, tuple)):
            refuse(f"{told(part)} is no constant, or one of more than {_CONSTANT:,} parts")
        if type(part) is tuple:
            work += part[: left + 1]
    return value


def parts(value: Any) -> Iterator[Any]:
    """The values that *value* holds directly."""
    value = plain(value)
    kind = type(value)
    if kind is tuple:
        yield from value
    elif kind is Box:
        yield from value.items
    elif kind is Instance:
        yield from value.args
        yield value.state
        yield from value.items or ()


def told(value: Any) -> str:
    """A value in words, short and never its inside."""
    value = plain(value)
    kind = type(value)
    if kind is Box:
        return f"a {value.kind}"
    if kind is Instance:
        return f"an instance of {value.grant.name}"
    if kind is Grant:
        return str(value.name)
    if kind is Payload:
        return f"{value.kind} of {value.length:,} bytes"
    if kind is tuple:
        return f"a tuple of {len(value)}"
    if kind is int and value.bit_length() > _LONG:
        return f"a number of {value.bit_length():,} bits"
    shown = repr(value if kind is not str else value[:80])
    return shown if len(shown) <= 100 else f"{shown[:100]}…"
