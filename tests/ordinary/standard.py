"""Ordinary values of the builtins and the standard library."""

from __future__ import annotations

import argparse
import array
import collections
import datetime as dt
import decimal
import http
import io
import ipaddress
import os
import pathlib
import random
import re
import signal
import statistics
import string
import sys
import time
import types
import typing
import urllib.parse
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

Factory = Callable[[], Any]
UTC = dt.UTC
INDIA = dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")
PARIS = "Europe/Paris"


def _at(file: Any, position: int) -> Any:
    file.seek(position)
    return file


def _after_gauss() -> random.Random:
    made = random.Random(11)
    made.gauss(0, 1)
    return made


def _list_in_itself() -> Any:
    made: list[Any] = [1]
    made.append(made)
    return made


def _dict_in_itself() -> Any:
    made: dict[str, Any] = {"a": 1}
    made["me"] = made
    return made


def _recursive_tuple() -> Any:
    inside: list[Any] = []
    made = (inside, 2)
    inside.append(made)
    return made


def _recursive_frozenset() -> Any:
    from ordinary.shapes import Node

    node = Node(1)
    node.others = frozenset({node})
    return node.others


def _set_with_a_referrer() -> Any:
    from ordinary.shapes import Node

    node = Node(1)
    made = {node}
    node.others = made
    return made


def _nested(kind: Callable[[Any], Any], depth: int) -> Any:
    made: Any = 1
    for _ in range(depth):
        made = kind(made)
    return made


def _shared() -> Any:
    one, pair, text = [1], (1, [2]), "shared text"
    return [one, one, {"a": one}, pair, (pair, text), text, {text: pair}]


def _billion() -> Any:
    made: list[Any] = ["lol"]
    for _ in range(40):
        made = [made, made]
    return made


def _grid() -> Any:
    nodes = [[{"row": r, "column": c} for c in range(30)] for r in range(30)]
    for r, row in enumerate(nodes):
        for c, node in enumerate(row):
            node["down"] = nodes[(r + 1) % 30][c]  # type: ignore[assignment]
            node["right"] = row[(c + 1) % 30]  # type: ignore[assignment]
    return nodes


def _in_itself(made: Any) -> Any:
    made.append(made)
    return made


def _keyed_in_itself(made: Any) -> Any:
    made["me"] = made
    return made


def _field_of_itself(made: Any) -> Any:
    made.me = made
    return made


ATOMS: dict[str, Factory] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "int zero": lambda: 0,
    "int of one byte": lambda: 200,
    "int of two bytes": lambda: 60_000,
    "int, negative": lambda: -1,
    "int beyond 32 bits": lambda: -(2**31) - 1,
    "int beyond 64 bits": lambda: 2**64,
    "int of 2,100 bits": lambda: -(2**2100) + 1,
    "int of 100,000 bits": lambda: 3**63_093,
    "float": lambda: 2.5,
    "float -0.0": lambda: -0.0,
    "float inf": lambda: [float("inf"), float("-inf")],
    "float nan": lambda: float("nan"),
    "float, the smallest": lambda: 5e-324,
    "complex": lambda: 1 - 2.5j,
    "complex with nan": lambda: complex(float("nan"), -0.0),
    "str, empty": lambda: "",
    "str, ascii": lambda: "plain",
    "str of every plane": lambda: "ä Ω 中 🐍 \x00 \u2028",
    "str with surrogates": lambda: "\ud800 and \udfff",
    "str with line ends": lambda: "a\nb\r\nc\\d'e\"",
    "str of 300 characters": lambda: "long " * 60,
    "str of 3,000,000 characters": lambda: "huge " * 600_000,
    "str that looks like a name": lambda: "os.system",
    "bytes, empty": lambda: b"",
    "bytes": lambda: bytes(range(256)),
    "bytes of 3,000,000": lambda: b"\x00\xff\x80" * 1_000_000,
    "bytearray": lambda: bytearray(b"ab\x00\xff"),
    "bytearray, empty": bytearray,
    "bytearray of 3,000,000": lambda: bytearray(3_000_000),
    "range": lambda: range(10),
    "range with a step": lambda: range(10**20, 0, -3),
    "slice": lambda: slice(1, None, -1),
    "slice of objects": lambda: slice("a", [1], (2,)),
}

CONTAINERS: dict[str, Factory] = {
    "list, empty": lambda: [],
    "list": lambda: [1, "two", 3.0, None],
    "list of 100,000 floats": lambda: [n / 7 for n in range(100_000)],
    "list of lists": lambda: [[1], [[2]], [[[3]]]],
    "tuple, empty": lambda: (),
    "tuples of 1 to 5": lambda: [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4, 5)],
    "dict, empty": lambda: {},
    "dict": lambda: {"a": 1, "b": [2]},
    "dict in its order": lambda: {"z": 1, "a": 2, "m": 3},
    "dict with keys of every sort": lambda: {
        None: 1,
        True: 2,
        2.5: 3,
        "s": 4,
        b"b": 5,
        (1, ("a", frozenset({3}))): 6,
        1j: 7,
        ...: 8,
        int: 9,
    },
    "dict with 100,000 int keys": lambda: {n: n for n in range(100_000)},
    "dict with large int keys": lambda: {n << 61: n for n in range(40)},
    "dict with 20,000 tuple keys": lambda: {(n, str(n), n / 2): n for n in range(20_000)},
    "dict with Fraction keys": lambda: {Fraction(1, 3): 1, Fraction(2): 2},
    "dict with Decimal keys": lambda: {Decimal("1.10"): 1},
    "dict with datetime keys": lambda: {dt.datetime(2024, 1, 1, tzinfo=UTC): 1, dt.date.min: 2},
    "dict with UUID keys": lambda: {uuid.UUID(int=7): 1},
    "dict with path keys": lambda: {pathlib.PurePosixPath("/a"): 1},
    "dict with address keys": lambda: {ipaddress.ip_address("10.0.0.1"): 1},
    "dict with range keys": lambda: {range(3): 1},
    "set, empty": set,
    "set": lambda: {1, "two", (3, 4), None},
    "set of 50,000 ints": lambda: set(range(50_000)),
    "set of 20,000 floats": lambda: {n / 3 for n in range(20_000)},
    "frozenset, empty": frozenset,
    "frozenset": lambda: frozenset({1, "two", (3,)}),
    "set of frozensets": lambda: {frozenset({1}), frozenset({frozenset({2})})},
    "tuple of containers": lambda: ([1], {2}, {3: 4}, (5,)),
    "json document": lambda: {"a": [1, 2.5, None, True, {"b": "c"}], "d": {"e": []}},
    "OrderedDict": lambda: collections.OrderedDict(b=1, a=2),
    "OrderedDict, empty": collections.OrderedDict,
    "defaultdict of list": lambda: collections.defaultdict(list, a=[1]),
    "defaultdict of int": lambda: collections.defaultdict(int, a=1),
    "defaultdict of set": lambda: collections.defaultdict(set, a={1}),
    "defaultdict of dict": lambda: collections.defaultdict(dict, a={1: 2}),
    "defaultdict of float": lambda: collections.defaultdict(float),
    "defaultdict of str": lambda: collections.defaultdict(str),
    "defaultdict of nothing": lambda: collections.defaultdict(None, a=1),
    "defaultdict of Counter": lambda: collections.defaultdict(
        collections.Counter, a=collections.Counter("aab")
    ),
    "defaultdict of deque": lambda: collections.defaultdict(collections.deque),
    "Counter": lambda: collections.Counter("abracadabra"),
    "Counter, negative": lambda: collections.Counter(a=-1, b=2),
    "deque": lambda: collections.deque([1, [2], 3]),
    "deque with maxlen": lambda: collections.deque([1, 2, 3], maxlen=3),
    "deque of maxlen 0": lambda: collections.deque(maxlen=0),
    "ChainMap": lambda: collections.ChainMap({"a": 1}, {"b": 2}),
    "UserDict": lambda: collections.UserDict(a=1),
    "UserList": lambda: collections.UserList([1, [2]]),
    "UserString": lambda: collections.UserString("text"),
    "array.array of each typecode": lambda: [
        array.array(code, [1, 2, 3]) for code in "bBhHiIlLqQfd"
    ],
    "array.array of text": lambda: array.array("w" if sys.version_info >= (3, 13) else "u", "aä中"),
    "array.array, empty": lambda: array.array("d"),
    "array.array of 200,000": lambda: array.array("d", range(200_000)),
}

TIMES: dict[str, Factory] = {
    "date": lambda: dt.date(2024, 2, 29),
    "date.min and max": lambda: [dt.date.min, dt.date.max],
    "time": lambda: dt.time(23, 59, 59, 999_999),
    "time with a zone": lambda: dt.time(1, 2, tzinfo=UTC),
    "time in a fold": lambda: dt.time(2, 30, fold=1),
    "datetime": lambda: dt.datetime(2024, 2, 29, 12, 30, 15, 5),
    "datetime.min and max": lambda: [dt.datetime.min, dt.datetime.max],
    "datetime in UTC": lambda: dt.datetime(2024, 1, 1, tzinfo=UTC),
    "datetime at an offset": lambda: dt.datetime(2024, 1, 1, tzinfo=INDIA),
    "datetime in a zone": lambda: dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo(PARIS)),
    "datetime in a fold": lambda: dt.datetime(2024, 10, 27, 2, 30, fold=1),
    "timedelta": lambda: dt.timedelta(days=-3, seconds=5, microseconds=7),
    "timedelta.min and max": lambda: [dt.timedelta.min, dt.timedelta.max],
    "timezone.utc": lambda: UTC,
    "timezone with a name": lambda: INDIA,
    "timezone of seconds": lambda: dt.timezone(-dt.timedelta(hours=1, seconds=1)),
    "ZoneInfo": lambda: zoneinfo.ZoneInfo(PARIS),
    "ZoneInfo without a cache": lambda: zoneinfo.ZoneInfo.no_cache("Asia/Tokyo"),
    "time.struct_time": lambda: time.gmtime(0),
    "time.struct_time of nine": lambda: time.struct_time((2024, 1, 2, 3, 4, 5, 0, 2, -1)),
}

NUMBERS: dict[str, Factory] = {
    "Decimal": lambda: Decimal("-1.2300"),
    "Decimal, great": lambda: Decimal("1e+5000"),
    "Decimal NaN and Infinity": lambda: [Decimal("NaN"), Decimal("-Infinity")],
    "Decimal -0": lambda: Decimal("-0.00"),
    "Decimal of 2,000 digits": lambda: Decimal("7" * 2000),
    "decimal.Context": lambda: decimal.Context(prec=7),
    "decimal.DecimalTuple": lambda: Decimal("1.25").as_tuple(),
    "Fraction": lambda: Fraction(-3, 7),
    "Fraction of large ints": lambda: Fraction(10**400 + 1, 3**300),
    "statistics.NormalDist": lambda: statistics.NormalDist(2.5, 0.5),
    "random.Random": lambda: random.Random(7),
    "random.Random after gauss": _after_gauss,
    "random.Random's state": lambda: random.Random(3).getstate(),
}

NAMES: dict[str, Factory] = {
    "UUID": lambda: uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "UUID 1, 3, 4 and 5": lambda: [
        uuid.uuid1(1, 2),
        uuid.uuid3(uuid.NAMESPACE_DNS, "a"),
        uuid.uuid4(),
        uuid.uuid5(uuid.NAMESPACE_URL, "a"),
    ],
    "SafeUUID": lambda: uuid.SafeUUID.safe,
    "Path": lambda: pathlib.Path("a/b"),
    "Path, absolute": lambda: pathlib.Path("/var/log/x.txt"),
    "Path, empty": pathlib.Path,
    "Path of many parts": lambda: pathlib.Path(*map(str, range(50))),
    "PurePosixPath": lambda: pathlib.PurePosixPath("/a/../b"),
    "PureWindowsPath": lambda: pathlib.PureWindowsPath("C:\\a\\b", "c"),
    "PureWindowsPath of a share": lambda: pathlib.PureWindowsPath("//server/share/x"),
    "IPv4Address": lambda: ipaddress.ip_address("192.168.0.1"),
    "IPv6Address": lambda: ipaddress.ip_address("2001:db8::1"),
    "IPv6Address with a scope": lambda: ipaddress.ip_address("fe80::1%eth0"),
    "IPv4Network": lambda: ipaddress.ip_network("10.0.0.0/8"),
    "IPv6Network": lambda: ipaddress.ip_network("2001:db8::/32"),
    "IPv4Interface": lambda: ipaddress.ip_interface("10.0.0.1/24"),
    "IPv6Interface": lambda: ipaddress.ip_interface("2001:db8::1/64"),
    "urllib ParseResult": lambda: urllib.parse.urlparse("https://u@h:1/p;x?q=1#f"),
    "urllib SplitResult": lambda: urllib.parse.urlsplit("https://h/p?q=1#f"),
    "urllib DefragResult": lambda: urllib.parse.urldefrag("https://h/p#f"),
    "urllib results of bytes": lambda: [
        urllib.parse.urlparse(b"https://h/p"),
        urllib.parse.urlsplit(b"https://h/p"),
        urllib.parse.urldefrag(b"https://h/p#f"),
    ],
    "HTTPStatus": lambda: http.HTTPStatus.NOT_FOUND,
    "HTTPMethod": lambda: http.HTTPMethod.GET,
    "signal.Signals": lambda: signal.SIGTERM,
    "os.stat_result": lambda: os.stat_result(range(10)),
    "os.terminal_size": lambda: os.terminal_size((80, 24)),
}

TEXTS: dict[str, Factory] = {
    "re.Pattern": lambda: re.compile(r"(a+)\d"),
    "re.Pattern with flags": lambda: re.compile(r"(?P<n>x) # why", re.I | re.X | re.A),
    "re.Pattern of bytes": lambda: re.compile(rb"\x00+", re.S),
    "re.RegexFlag": lambda: re.IGNORECASE,
    "string.Template": lambda: string.Template("$who was here"),
    "io.StringIO": lambda: io.StringIO("read me"),
    "io.StringIO at a position": lambda: _at(io.StringIO("read me"), 3),
    "io.StringIO that keeps line ends": lambda: io.StringIO("a\r\nb", newline=""),
    "io.BytesIO": lambda: io.BytesIO(b"read me"),
    "io.BytesIO at a position": lambda: _at(io.BytesIO(b"read me"), 3),
    "SimpleNamespace": lambda: types.SimpleNamespace(a=1, b=types.SimpleNamespace(c=[2])),
    "argparse.Namespace": lambda: argparse.Namespace(verbose=True, files=["a"]),
}

TYPES: dict[str, Factory] = {
    "int, str and dict themselves": lambda: [int, str, dict, list, set, bytes, bool, float],
    "NoneType": lambda: type(None),
    "types of Ellipsis and NotImplemented": lambda: [type(...), type(NotImplemented)],
    "object and type": lambda: [object, type],
    "classes of collections": lambda: [
        collections.OrderedDict,
        collections.Counter,
        collections.deque,
        collections.defaultdict,
    ],
    "classes of values": lambda: [dt.datetime, Decimal, uuid.UUID, Fraction, pathlib.PurePosixPath],
    "exception classes": lambda: [ValueError, KeyError, OSError, Exception],
    "list[int]": lambda: list[int],
    "dict[str, int]": lambda: dict[str, int],
    "tuple[int, ...]": lambda: tuple[int, ...],
    "type[int]": lambda: type[int],
    "dict[str, list[tuple[int, float]]]": lambda: dict[str, list[tuple[int, float]]],
    "int | None": lambda: int | None,
    "int | str | list[int]": lambda: int | str | list[int],
    "collections.deque[int]": lambda: collections.deque[int],
    "collections.abc.Mapping[str, int]": lambda: Mapping[str, int],
    "collections.abc.Callable[[int], str]": lambda: Callable[[int], str],
    "typing.Any": lambda: Any,
    "typing.Optional[int]": lambda: typing.Optional[int],  # noqa: UP045
    "typing.Union[int, str]": lambda: typing.Union[int, str],  # noqa: UP007
    "typing.List[int]": lambda: typing.List[int],  # noqa: UP006
    "typing.Dict[str, int]": lambda: typing.Dict[str, int],  # noqa: UP006
    "typing.Tuple[int, ...]": lambda: typing.Tuple[int, ...],  # noqa: UP006
    "typing.Callable[[int], str]": lambda: typing.Callable[[int], str],
    "typing.Callable[..., None]": lambda: typing.Callable[..., None],
    "typing.Literal": lambda: typing.Literal["a", 1, None],
    "typing.Annotated": lambda: typing.Annotated[int, "metres"],
    "typing.ClassVar and Final": lambda: [typing.ClassVar[int], typing.Final[str]],
}


# --- graphs -----------------------------------------------------------------


GRAPHS: dict[str, Factory] = {
    "list in itself": _list_in_itself,
    "dict in itself": _dict_in_itself,
    "tuple in itself, through a list": _recursive_tuple,
    "frozenset in itself, through an object": _recursive_frozenset,
    "set with an object that refers to it": _set_with_a_referrer,
    "deque in itself": lambda: _in_itself(collections.deque([1])),
    "OrderedDict in itself": lambda: _keyed_in_itself(collections.OrderedDict()),
    "defaultdict in itself": lambda: _keyed_in_itself(collections.defaultdict(list)),
    "SimpleNamespace in itself": lambda: _field_of_itself(types.SimpleNamespace()),
    "one object many times": _shared,
    "lists doubled 40 times": _billion,
    "torus of 900 dicts": _grid,
    "1,000 lists in each other": lambda: _nested(lambda inside: [inside], 1000),
    "1,000 dicts in each other": lambda: _nested(lambda inside: {"a": inside}, 1000),
    "1,000 tuples in each other": lambda: _nested(lambda inside: (inside,), 1000),
    "90 tuples in each other as a key": lambda: {_nested(lambda i: (i,), 90): 1},
    "90 frozensets in each other": lambda: _nested(lambda i: frozenset({i}), 90),
    "150 deques in each other": lambda: _nested(lambda i: collections.deque([i]), 150),
    "20,000 lists in each other": lambda: _nested(lambda inside: [inside], 20_000),
    "nan, shared": lambda: [float("nan")] * 2,
}
