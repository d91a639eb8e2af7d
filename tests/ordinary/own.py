"""Ordinary values of a program's own classes, and exceptions."""

from __future__ import annotations

import builtins
import collections
import functools
import json
import pickle
import queue
import re
import socket
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from ordinary import records as r
from ordinary import shapes as s

Factory = Callable[[], Any]


def _with(obj: Any, **fields: Any) -> Any:
    vars(obj).update(fields)
    return obj


def _touched(obj: Any, name: str) -> Any:
    getattr(obj, name)
    return obj


def _next(obj: Any) -> Any:
    next(obj)
    return obj


def _filled(obj: Any) -> Any:
    obj["a"]["b"]["c"] = 1
    return obj


def _in_itself(made: Any) -> Any:
    made.append(made)
    return made


def _own_key() -> Any:
    node = s.Node(1)
    node.others = {node: node}
    return node


def _bound() -> Any:
    plain = s.Plain(a=1)
    return [plain.method, plain, plain.method]


def _ring(kind: Any) -> Any:
    nodes = [kind(n) for n in range(100)]
    for one, other in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        one.next = other
    return nodes[0]


def _family() -> Any:
    root = r.DataNode(0)
    for label in range(1, 50):
        child = r.DataNode(label, parent=root)
        child.children = [r.DataNode(-label, parent=child)]
        root.children.append(child)
    return root


def _linked(length: int) -> Any:
    node = None
    for label in range(length):
        node = s.Node(label, node)
    return node


def _owner_of_itself() -> Any:
    plain = s.Plain()
    plain.me, plain.mine = plain, [plain, {"me": plain}]  # type: ignore[attr-defined]
    return plain


def _method_of_itself() -> Any:
    plain = s.Plain()
    plain.call = plain.method  # type: ignore[attr-defined]
    return plain


def _builtin_exceptions() -> dict[str, Factory]:
    """One of each builtin exception, aliases of `OSError` left out."""
    made: dict[str, Factory] = {}
    for name, kind in sorted(vars(builtins).items()):
        if isinstance(kind, type) and issubclass(kind, BaseException) and kind.__name__ == name:
            made[name] = SPECIAL.get(name, functools.partial(kind, f"what {name} says"))
    return {name: make for name, make in made.items() if name not in NEWER}


def _noted(error: BaseException) -> BaseException:
    error.add_note("one")
    error.add_note("two")
    return error


def _raised() -> Exception:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise r.Failure("outer") from inner
    except r.Failure as caught:
        return caught


CLASSES: dict[str, Factory] = {
    "object": object,
    "plain object": lambda: s.Plain(a=1, b=[2], c=s.Plain()),
    "object without fields": s.Empty,
    "object of a class in a class": s.Plain.Inner,
    "object with odd field names": lambda: s.Plain(**{"ä": 1, "a b": 2, "class": 3}),
    "10,000 plain objects": lambda: [s.Plain(a=n, b=str(n)) for n in range(10_000)],
    "__slots__": lambda: s.Slotted(1, [2]),
    "__slots__, one unset": lambda: s.SlottedMore([1], more={2}),
    "__slots__ and __dict__": lambda: _with(s.SlotsAndDict(1, 2), extra=[3]),
    "__slots__ and an empty __dict__": lambda: s.SlotsAndDict(1, 2),
    "__getstate__ and __setstate__": lambda: s.WithState(5),
    "__setstate__ of a tuple": lambda: s.TupleState(1, 2),
    "__setstate__ of a number": lambda: s.NumberState(7),
    "__getstate__ that leaves a field out": lambda: s.Window("main"),
    "cached_property": lambda: _touched(s.Described(2.0), "volume"),
    "field behind a descriptor": lambda: s.Checked(5),
    "object that refuses to be changed": lambda: s.Guarded([1]),
    "metaclass": lambda: s.Special(3),
    "Generic": lambda: s.Box([1]),
    "Generic, made through an alias": lambda: s.Box[int](5),
    "Generic, inherited": lambda: s.IntBox(5),
    "subclass of an ABC": lambda: s.Square(2.0),
    "subclass of a Protocol": lambda: s.Drawn("x"),
    "several bases": lambda: s.Mixed(3, ["content"]),
    "TypedDict": lambda: s.Movie(title="Alien", year=1979),
    "iterator written as a class": lambda: _next(s.Countdown(3)),
    "callable object with a function": lambda: s.Callback(s.function),
    "hashed object in a set": lambda: {s.Hashed("a"), s.Hashed("b")},
    "hashed object as a key": lambda: {s.Hashed(1): s.Hashed(2)},
    "object that is its own key": _own_key,
}

KINDS: dict[str, Factory] = {
    "kind of list": lambda: _with(s.ListKind([1, [2]]), extra=3),
    "kind of dict": lambda: _with(s.DictKind(a=1, b=[2]), extra=3),
    "kind of dict that fills itself": lambda: _filled(s.Missing()),
    "kind of set": lambda: _with(s.SetKind({1, "a"}), extra=3),
    "kind of frozenset": lambda: _with(s.FrozensetKind({1, "a"}), extra=3),
    "kind of tuple": lambda: _with(s.TupleKind((1, [2])), extra=3),
    "kind of str": lambda: _with(s.StrKind("text"), extra=3),
    "kind of str with __slots__": lambda: s.SlottedStr("text"),
    "kind of int": lambda: _with(s.IntKind(2**70), extra=3),
    "kind of float": lambda: _with(s.FloatKind(2.5), extra=3),
    "kind of complex": lambda: _with(s.ComplexKind(2.5, 1), extra=3),
    "kind of bytes": lambda: _with(s.BytesKind(b"raw"), extra=3),
    "kind of OrderedDict": lambda: _with(s.OrderedKind(b=1, a=2), extra=3),
    "kind of defaultdict": lambda: s.DefaultKind(list, a=[1]),
    "kind of Counter": lambda: s.CounterKind("aab"),
    "kind of deque": lambda: s.DequeKind([1, 2], maxlen=5),
    "kind of UserDict": lambda: s.UserDictKind(a=1),
    "kind of UserList": lambda: s.UserListKind([1]),
    "kind of UserString": lambda: s.UserStringKind("text"),
    "kinds as keys": lambda: {s.StrKind("a"): 1, s.IntKind(7): 2, s.TupleKind((1,)): 3},
    "kind of list in itself": lambda: _in_itself(s.ListKind()),
}

ENUMS: dict[str, Factory] = {
    "Enum": lambda: list(r.Colour),
    "Enum, an alias": lambda: r.Colour.CRIMSON,
    "Enum with tuple values": lambda: [r.Odd.PAIR, r.Odd.NESTED],
    "Enum with list and dict values": lambda: [r.Odd.LIST, r.Odd.DICT],
    "Enum with values None, float and bytes": lambda: [r.Odd.NOTHING, r.Odd.REAL, r.Odd.BYTES],
    "Enum with fields": lambda: list(r.Planet),
    "Enum with __new__": lambda: list(r.Keyed),
    "Enum of str": lambda: list(r.Texts),
    "Enum in a class": lambda: r.Machine(r.Machine.State.ON),
    "Enum members as keys": lambda: {r.Colour.RED: 1, r.Level.LOW: 2, r.Right.READ: 3},
    "Enum class": lambda: [r.Colour, r.Machine.State],
    "IntEnum": lambda: list(r.Level),
    "StrEnum": lambda: list(r.Word),
    "Flag": lambda: list(r.Right),
    "Flag, combined": lambda: r.Right.READ | r.Right.RUN,
    "Flag, none": lambda: r.Right(0),
    "IntFlag": lambda: list(r.Mode),
    "IntFlag, combined": lambda: r.Mode.A | r.Mode.C,
    "IntFlag with unknown bits": lambda: r.Mode(64 | 1),
}

ATTRS: dict[str, Factory] = {
    "attrs define": lambda: r.Defined("a", [1]),
    "attrs define without slots": lambda: r.DefinedDict("a", [1]),
    "attrs frozen": lambda: r.Frozen(1, [2]),
    "attrs frozen without slots": lambda: r.FrozenDict(1, [2]),
    "attrs converters": lambda: r.Converted("5", (1, 2)),  # type: ignore[arg-type]
    "attrs validators": lambda: r.Validated(5),
    "attrs inheritance": lambda: r.Derived("a", [1], extra={2}),
    "attrs cached_property": lambda: _touched(r.Cached(3), "area"),
    "attrs kw_only and order": lambda: r.Keywords(a=1),
    "attrs private and init=False": lambda: r.Private(hidden=3),
    "attrs in a ring": lambda: _ring(r.Linked),
    "attrs frozen as keys": lambda: {r.Frozen(1, (2,)): 1, r.FrozenDict(1): 2},
    "attrs cache_hash": lambda: {r.HashCached("a"): 1},
    "attrs exception": lambda: r.AttrsError(5),
}

DATACLASSES: dict[str, Factory] = {
    "dataclass": lambda: r.Data(1, [2], [3]),
    "dataclass of defaults": lambda: r.Data(None),
    "dataclass slots": lambda: r.DataSlots(1, [2]),
    "dataclass frozen": lambda: r.DataFrozen(1, [2]),
    "dataclass frozen, slots": lambda: r.DataFrozenSlots(1, [2]),
    "dataclass kw_only": lambda: r.DataKeywords(a=1),
    "dataclass inheritance": lambda: r.DataDerived(1, 2, more=3),
    "dataclass slots, inheritance": lambda: r.DataSlotsDerived(1, 2, [3]),
    "dataclass InitVar": lambda: r.DataInit(5, scale=3),
    "dataclass order": lambda: r.DataOrdered(1, "a"),
    "dataclass Generic": lambda: r.DataGeneric[int](5),
    "dataclass made by make_dataclass": lambda: r.Dynamic(1),
    "dataclass with a field of no declaration": lambda: _with(r.Data(1), extra=2),
    "dataclass tree with parents": _family,
    "dataclass frozen, 20,000 as keys": lambda: {r.DataFrozen(n, str(n)): n for n in range(20_000)},
    "dataclass unsafe_hash in a set": lambda: {r.DataHashed(1), r.DataHashed(2)},
    "dataclass exception": lambda: r.DataError(5),
}

NAMED: dict[str, Factory] = {
    "bound method of the program": lambda: s.Plain(a=1).method,
    "bound method twice, with its object": _bound,
    "class method of the program": lambda: s.Plain.made,
    "static method of the program": lambda: s.Plain.apart,
    "function in a class": lambda: s.Plain.method,
    "function of the program": lambda: s.function,
    "function behind functools.wraps": lambda: s.wrapped,
    "class of the program": lambda: [s.Plain, s.Plain.Inner, s.Box, r.Data, r.Defined, s.Meta],
    "Protocol, ABC and TypedDict": lambda: [s.Drawable, s.Shape, s.Movie],
    "exception class of the program": lambda: [r.Failure, r.CodedError],
    "generic alias of the program": lambda: s.Box[int],
    "list of a class of the program": lambda: [list[s.Plain], dict[str, r.Data], s.Plain | None],
    "type alias of the program": lambda: s.Matrix,
    "table of functions": lambda: {"f": s.function, "made": s.no_list},
}

TUPLES: dict[str, Factory] = {
    "NamedTuple": lambda: r.Point(1, [2]),
    "NamedTuple with methods": lambda: r.Vector(3.0, 4.0),
    "NamedTuple as a key": lambda: {r.Point(1, 2): r.Point(3)},
    "collections.namedtuple": lambda: r.Pair(1, r.Pair(2, 3)),
}

DECLARED: dict[str, tuple[tuple[Any, ...], Factory]] = {
    "__reduce__ with the class": ((s.Reduced,), lambda: _with(s.Reduced(1), more=[2])),
    "__reduce__ with a function": ((s.rebuild,), lambda: s.Rebuilt(5)),
    "__getnewargs__": ((s.NewArguments,), lambda: s.NewArguments(5)),
    "__getnewargs_ex__": ((s.NewKeywords,), lambda: s.NewKeywords(number=5)),
    "kind of bytearray": (
        (s.BytearrayKind,),
        lambda: _with(s.BytearrayKind(b"raw"), extra=3),
    ),
    "TypeVar and NewType of the program": (
        (f"{s.__name__}:T", f"{s.__name__}:UserId"),
        lambda: [s.T, s.UserId],
    ),
    "defaultdict of a class of the program": (
        (s.Empty,),
        lambda: collections.defaultdict(s.Empty),
    ),
    "defaultdict of a function of the program": (
        (s.no_list,),
        lambda: collections.defaultdict(s.no_list, a=[1]),
    ),
    "object that is saved by its name": ((f"{s.__name__}:SOLE",), lambda: [s.SOLE]),
    "functools.cached function": ((f"{s.__name__}:cached",), lambda: [s.cached]),
    "reducer in copyreg": ((s.Registered,), lambda: s.Registered(5)),
}


OWN_GRAPHS: dict[str, Factory] = {
    "object in itself": _owner_of_itself,
    "objects in a ring": lambda: _ring(s.Node),
    "linked list of 300 objects": lambda: _linked(300),
    "linked list of 20,000 objects": lambda: _linked(20_000),
    "bound method of its own object": _method_of_itself,
    "one enum member many times": lambda: [r.Colour.RED] * 3,
}


# --- exceptions -------------------------------------------------------------

SPECIAL: dict[str, Factory] = {
    "BaseExceptionGroup": lambda: BaseExceptionGroup("m", [KeyboardInterrupt()]),
    "ExceptionGroup": lambda: ExceptionGroup("m", [ValueError(1), TypeError("t")]),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
    "UnicodeEncodeError": lambda: UnicodeEncodeError("ascii", "ä", 0, 1, "why"),
    "UnicodeTranslateError": lambda: UnicodeTranslateError("ä", 0, 1, "why"),
}


NEWER = {"PythonFinalizationError", "_IncompleteInputError"}  # not in every Python


BUILTIN_EXCEPTIONS = _builtin_exceptions()

EXCEPTIONS: dict[str, Factory] = {
    "exception without arguments": Exception,
    "PythonFinalizationError, where there is one": lambda: getattr(
        builtins, "PythonFinalizationError", RuntimeError
    )("late"),
    "exception of several arguments": lambda: ValueError("a", 1, [2]),
    "exception with fields": lambda: _with(ValueError("a"), hint="b", more=[1]),
    "exception with notes": lambda: _noted(ValueError("a")),
    "exception that was raised from another": _raised,
    "OSError with errno and a file name": lambda: OSError(2, "No such file", "a.txt"),
    "OSError with two file names": lambda: OSError(18, "Invalid link", "a", None, "b"),
    "FileNotFoundError with a file name": lambda: FileNotFoundError(2, "No such file", "a.txt"),
    "BlockingIOError with its count": lambda: BlockingIOError(11, "again", 5),
    "ImportError with name and path": lambda: ImportError("no", name="m", path="/m.py"),
    "ModuleNotFoundError with name": lambda: ModuleNotFoundError("no", name="m"),
    "NameError with name": lambda: NameError("no", name="n"),
    "AttributeError with name and object": lambda: AttributeError("no", name="n", obj=[1]),
    "SyntaxError with its place": lambda: SyntaxError("bad", ("f.py", 1, 2, "x = (", 1, 3)),
    "StopIteration with a value": lambda: StopIteration([1]),
    "SystemExit with a code": lambda: SystemExit(3),
    "ExceptionGroup in a group": lambda: ExceptionGroup(
        "outer", [ExceptionGroup("inner", [KeyError("k")]), r.Failure("x")]
    ),
    "JSONDecodeError": lambda: json.JSONDecodeError("bad", "{]", 1),
    "CalledProcessError": lambda: subprocess.CalledProcessError(1, ["false"], "out", "err"),
    "TimeoutExpired": lambda: subprocess.TimeoutExpired("sleep", 5),
    "re.error": lambda: re.error("bad", "(", 0),
    "socket.timeout and gaierror": lambda: [socket.timeout("t"), socket.gaierror(8, "x")],  # noqa: UP041
    "errors of pickle, queue, zlib and zipfile": lambda: [
        pickle.PicklingError("p"),
        queue.Empty(),
        zlib.error("z"),
        zipfile.BadZipFile("b"),
    ],
    "exception of the program": lambda: r.Failure("what", 2),
    "exception of the program, inherited": lambda: r.Failed("what"),
    "exception of the program with fields": lambda: _with(r.Failure("what"), hint=[1]),
    "exception of the program with parameters": lambda: r.CodedError(7, "text"),
    "exception of the program with a keyword": lambda: r.KeywordError("a", code=5),
    "exception of the program of KeyError": lambda: _with(r.LookupFailed("k"), table="t"),
    "exception of the program of OSError": lambda: r.DiskFull(28, "No space", "/x"),
    "exception group of the program": lambda: r.Several("m", [ValueError(1), r.Failure(2)]),
    "exception of the program with notes": lambda: _noted(r.CodedError(1, "t")),
    "warning of the program": lambda: r.ProgramWarning("careful"),
}
