"""What calls and states of known types may hold: checks on abstract values.

Each says no by `Refused`.  They follow what the types' own reductions write, in
each release of Python and in each protocol, and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

from checkpoint._grants import (
    Box,
    Call,
    Grant,
    Instance,
    Payload,
    Spending,
    Verb,
    box,
    constant,
    count,
    grant,
    instance,
    integer,
    length,
    one_of,
    plain,
    refuse,
    told,
)
from checkpoint._grants import text as text_of

_TYPECODES = frozenset("bBuwhHiIlLqQfd")
_LONGEST_PATTERN = 4096
_SETS = 32


# --- checks: of the arguments of a call --------------------------------------


def takes(*checks: Callable[[Any], Any], optional: int = 0) -> Call:
    """One check for each argument; the last *optional* may be left out."""

    def check(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
        count(args, *range(len(checks) - optional, len(checks) + 1))
        for given, ask in zip(args, checks, strict=False):
            ask(given)

    return check


def every(ask: Callable[[Any], Any]) -> Call:
    """Any number of arguments that all pass *ask*."""

    def check(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
        for given in args:
            ask(given)

    return check


def anything(value: Any) -> None:
    """Whatever it is, it is only held."""


def a_float(value: Any) -> None:
    one_of(value, float)


def an_int(value: Any) -> None:
    one_of(value, int, bool)


def a_text(value: Any) -> None:
    one_of(value, str)


def an_address(value: Any) -> None:
    if type(value) is not int:
        text_of(value, 100)


def an_atom(value: Any) -> None:
    """No container, and nothing that is called."""
    value = plain(value)
    if type(value) not in (type(None), bool, int, float, str, bytes, Payload):
        refuse(f"{told(value)} is no plain value")


def a_date(value: Any) -> None:
    """Four bytes, as `date` packs them."""
    _check_date(_packed(value, 4))


def a_moment(value: Any) -> None:
    """Ten bytes, as `datetime` packs them; the highest bit of the month is the fold."""
    packed = _packed(value, 10)
    _check_date(packed)
    _check_time(packed[4:])


def a_time_of_day(value: Any) -> None:
    """Six bytes, as `time` packs them; the highest bit of the hour is the fold."""
    packed = _packed(value, 6)
    _check_time(bytes([packed[0] & 0x7F]) + packed[1:])


def _packed(value: Any, size: int) -> bytes:
    # Python 2 wrote them as text.
    packed = value.encode("latin-1", "replace") if type(value) is str else value
    if type(packed) is not bytes or len(packed) != size:
        refuse(f"{told(value)} is no date or time of {size} bytes")
    return packed


def _check_date(packed: bytes) -> None:
    year, month, day = packed[0] << 8 | packed[1], packed[2] & 0x7F, packed[3]
    if not (1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31):
        refuse(f"{packed!r} is no date")


def _check_time(packed: bytes) -> None:
    hour, minute, second = packed[:3]
    if hour > 23 or max(minute, second) > 59 or int.from_bytes(packed[3:6], "big") > 999_999:
        refuse(f"{packed!r} is no time")


def a_zone(value: Any) -> None:
    if value is not None:
        instance(value, "datetime:timezone", "zoneinfo:ZoneInfo", "zoneinfo._zoneinfo:ZoneInfo")


def an_offset(value: Any) -> None:
    instance(value, "datetime:timedelta")


def between(low: int, high: int) -> Callable[[Any], Any]:
    return lambda value: integer(value, low, high)


def a_fraction(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    # As a text it may have an exponent, and be as long as that says.
    count(args, 1, 2)
    if len(args) == 2:
        for part in args:
            an_int(part)
    elif not re.fullmatch(r"-?\d{1,4300}(/\d{1,4300})?", text_of(args[0])):
        refuse(f"{told(args[0])} is no fraction")


def a_zone_name(value: Any) -> None:
    name = text_of(value, 100)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", name):
        refuse(f"{told(value)} names no time zone")


def a_factory(value: Any) -> None:
    """Called when a key is missing, by the program: a class, or a function that it has listed."""
    if value is not None and grant(value).name not in _FACTORIES:
        one = grant(value)
        is_listed = one.verbs & Verb.CALL and one.call is None
        if not is_listed and not (one.is_class and one.verbs & Verb.NEW):
            refuse(f"{one.name} would be called for each missing key{one.line}")


def a_pattern(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    """A regular expression that is compiled in no time."""
    count(args, 2)
    pattern, flags = args
    if type(pattern) not in (str, bytes) or len(pattern) > _LONGEST_PATTERN:
        refuse(f"{told(pattern)} is no pattern of at most {_LONGEST_PATTERN} characters")
    text = pattern if type(pattern) is str else pattern.decode("latin-1")
    if int(integer(flags, 0, 1 << 10)) & (re.DEBUG | 1):
        refuse("a pattern that is printed")
    ignores = flags & re.IGNORECASE or re.search(r"\(\?[a-zA-Z]*i", text)
    is_wide = not text.isascii() or re.search(r"\\[xuUN0-9]", text)
    if is_wide and (ignores or text.count("[") > _SETS):
        refuse("a pattern with sets of characters that take long to look through")
    load.spend(100_000 + 1000 * len(pattern))


def a_zone_of(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    """ZoneInfo(key), which reads the file of a time zone."""
    count(args, 1)
    a_zone_name(args[0])
    load.spend(50_000)


def a_generator(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    """Random(), which is larger than other instances."""
    count(args, 0)
    load.spend(5_000)


def no_arguments(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    count(args, 0)


def a_set(kind: str) -> Call:
    """What protocols below 4 make a set of: a list."""

    def check(one: Grant, args: tuple[Any, ...], load: Spending) -> Box:
        count(args, 0, 1)
        made = Box(kind)
        if args:
            made.items = box(args[0], "list").items
            load.keys(made.items, made)
            load.spend(100 * len(made.items))
        return made

    return check


def a_bytes(one: Grant, args: tuple[Any, ...], load: Spending) -> Any:
    count(args, 0)
    return b""


def a_bytearray(one: Grant, args: tuple[Any, ...], load: Spending) -> Any:
    count(args, 0, 1, 2)
    if len(args) == 2:
        return Payload("bytearray", len(_latin1(args)))
    size = length(args[0]) if args else 0
    load.spend(size)
    return Payload("bytearray", size)


def no_larger(value: Any, load: Spending) -> None:
    """Bytes, which are copied."""
    load.spend(length(value))


def encoded(one: Grant, args: tuple[Any, ...], load: Spending) -> Any:
    """Bytes as protocols below 3 write them."""
    count(args, 2)
    made = _latin1(args)
    load.spend(len(made))
    return made if len(made) <= 1024 else Payload("bytes", len(made))


def _latin1(args: tuple[Any, ...]) -> bytes:
    if args[1] not in ("latin1", "latin-1"):
        refuse(f"{told(args[1])} is another encoding than latin1")
    try:
        return str(one_of(args[0], str)).encode("latin-1")
    except ValueError:
        refuse(f"{told(args[0])} is no text in latin1")


def old_instance(one: Grant, args: tuple[Any, ...], load: Spending) -> Any:
    """copyreg._reconstructor: how protocols 0 and 1 make an instance."""
    count(args, 3)
    cls, base, state = args
    if not grant(cls).verbs & Verb.NEW:
        refuse(f"an instance is made of {told(cls)}")
    if grant(base).name == "builtins:object" and state is None:
        return _new(cls, (), load)
    if grant(base).name not in _BASES or not cls.derives(base.object):
        refuse(f"{told(base)} is no base")
    kind = _BASES[base.name]
    if kind in ("list", "dict"):
        held = box(state, kind)
        made = _new(cls, (), load)
        made.items = [*held.items]
        load.spend(100 * len(held.items))
        return made
    if base.name == "builtins:tuple":
        return _new(cls, one_of(state, tuple), load, state)
    if base.name == "builtins:complex":
        return _new(cls, instance(state, "builtins:complex").args, load)
    return _new(cls, (state,), load)


def _new(cls: Grant, args: tuple[Any, ...], load: Spending, whole: Any = None) -> Instance:
    """Made by `base.__new__(cls, state)`; of a tuple, *whole*, which named tuples take in parts."""
    if whole is not None and not getattr(cls.object, "_fields", ()):
        args = (whole,)
    made = None if cls.new is None else cls.new(cls, args, load)
    return made if type(made) is Instance else Instance(cls, args)


def a_counter(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    count(args, 0, 1)
    if args:
        held = box(args[0], "dict")
        load.spend(200 * len(held.items))


def a_deque(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    count(args, 0, 1, 2)
    if args:
        first = plain(args[0])
        items = first.items if type(first) is Box and first.kind == "list" else first
        if type(items) not in (tuple, list) or (type(items) is tuple and items):
            refuse(f"{told(first)} is given to a deque")
        load.spend(16 * len(items))
    if len(args) == 2 and args[1] is not None:
        integer(args[1], 0, 1 << 62)


def an_array(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    count(args, 4)
    grant(args[0], "array:array")
    _check_typecode(args[1])
    integer(args[2], 0, 21)
    if args[1] in ("u", "w"):
        _check_characters(args[2], args[3])
    load.spend(2 * length(args[3]))


def _check_typecode(value: Any) -> None:
    if type(value) is not str or value not in _TYPECODES:
        refuse(f"{told(value)} is no typecode")


def _check_characters(form: int, content: Any) -> None:
    """Refuse what is no text: `array` takes it as it is, and gives texts that cannot be."""
    encoding = {18: "utf-16-le", 19: "utf-16-be", 20: "utf-32-le", 21: "utf-32-be"}.get(form)
    if encoding is None or type(content) is not bytes:
        refuse(f"{told(content)} as an array of characters")
    try:
        content.decode(encoding, "surrogatepass")
    except ValueError:
        refuse("characters that are none")


def an_old_array(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    """array(typecode, items), as protocols below 3 have it."""
    count(args, 2)
    _check_typecode(args[0])
    if type(args[1]) is not str:
        for value in box(args[1], "list").items:
            one_of(value, int, float, str)
        load.spend(8 * len(box(args[1], "list").items))


def a_decimal_context(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    count(args, 8)
    for value in args[:6]:
        one_of(value, int, str)
    for signals in args[6:]:
        for signal in box(signals, "list").items:
            if not grant(signal).name.startswith("decimal:"):
                refuse(f"{told(signal)} is no signal")


def a_decimal_tuple(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    count(args, 3)
    for digit in one_of(args[1], tuple):
        integer(digit, 0, 9)
    load.spend(100 * len(args[1]))
    one_of(args[0], int)
    one_of(args[2], int, str)


def a_structure(one: Grant, args: tuple[Any, ...], load: Spending) -> None:
    """What the operating system tells: a tuple, and by name what is not in that."""
    count(args, 1, 2)
    for value in constant(args[0] if type(args[0]) is tuple else ()):
        an_atom(value)
    if len(args) == 2:
        for value in box(args[1], "dict").items:
            an_atom(value)


_EMPTY = (int, float, str, bool, tuple, list, dict, set, frozenset, bytes, bytearray, complex)
_FACTORIES = frozenset(
    {f"builtins:{kind.__name__}" for kind in _EMPTY}
    | {f"collections:{kind.__name__}" for kind in (OrderedDict, defaultdict, Counter, deque)}
)
_BASES = {
    "builtins:list": "list",
    "builtins:dict": "dict",
    **dict.fromkeys(("builtins:str", "builtins:int", "builtins:float", "builtins:bytes"), ""),
    **dict.fromkeys(("builtins:tuple", "builtins:complex", "builtins:frozenset"), ""),
}
