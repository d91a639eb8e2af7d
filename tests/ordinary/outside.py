"""What a foreign snapshot may not hold by default, and what to do about each."""

from __future__ import annotations

import collections
import email.message
import functools
import http.cookies
import io
import logging
import operator
import platform
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ordinary import shapes

import checkpoint


@dataclass(frozen=True)
class Outside:
    name: str
    make: Callable[[], Any]
    why: str
    instead: str = "keep it out of the state, and make it anew after the load"
    saved: bool = True  # whether it can be saved at all


def _open_file() -> Any:
    return open(__file__, "rb")


def _socket() -> Any:
    import socket

    return socket.socket()


def _lock() -> Any:
    import threading

    return threading.Lock()


def _generator() -> Any:
    return (n for n in range(3))


def _advanced(iterator: Any) -> Any:
    next(iterator)
    return iterator


def _beyond() -> Any:
    file = io.BytesIO(b"x")
    file.seek(9)
    return file


def _in_a_deque(inside: Any) -> Any:
    return collections.deque([inside])


def _deep(kind: Callable[[Any], Any], depth: int) -> Any:
    made: Any = ()
    for _ in range(depth):
        made = kind(made)
    return made


PARTIAL = "calls whatever it is given, with whatever it is given"
ITERATOR = "works through what it is given when it is next asked"
BUILTIN = "only the functions of the program are known by name"
STRANGER = "its class is defined in another package"
LISTED = 'name its package or class: `trust=["module:Class"]`'

OUTSIDE = [
    Outside("`functools.partial`", lambda: functools.partial(shapes.function, 1), PARTIAL,
            "a class of the program with `__call__`"),
    Outside("`functools.partialmethod`", lambda: functools.partialmethod(shapes.function), PARTIAL),
    Outside("`operator.attrgetter`", lambda: operator.attrgetter("a.b"),
            "reaches any attribute of what it is called with", "a function of the program"),
    Outside("`operator.itemgetter`", lambda: operator.itemgetter(1),
            "one of the ways from an object to any other", "a function of the program"),
    Outside("`operator.methodcaller`", lambda: operator.methodcaller("a"),
            "calls any method of what it is called with", "a function of the program"),
    Outside("functions of the standard library, such as `len`", lambda: [len, operator.add],
            BUILTIN, "a function of the program, or its name"),
    Outside("bound methods of strangers, such as `\"a\".upper`", lambda: "a".upper,
            "made by `getattr`, which reaches anything", "the object, and call the method"),
    Outside("a default factory that is a method", lambda: collections.defaultdict({}.copy),
            "called for each key that is missing", "a function or a class of the program"),
    Outside("iterators, such as `iter([1])`", lambda: _advanced(iter([1, 2])), ITERATOR,
            "the list, and a position"),
    Outside("`zip`, `map`, `enumerate` and `reversed`", lambda: zip([1], [2], strict=False),
            ITERATOR, "the lists, and a position"),
    Outside("`functools.cache`d functions", lambda: shapes.cached,
            "an object that calls, not a function that is known by name"),
    Outside("an object of the program that is saved by its name", lambda: shapes.SOLE,
            "what is known by name is shared with the program, and could be changed"),
    Outside("a class of the program with its own `__reduce__`", lambda: shapes.Reduced(1),
            "the class would be called, with any arguments",
            "declare it: `trust=[Class]`, or give it `__getstate__` and `__setstate__`"),
    Outside("a class of the program that is rebuilt by a function", lambda: shapes.Rebuilt(1),
            "the function would be called, with any arguments", "declare it: `trust=[function]`"),
    Outside("a class of the program in `copyreg`", lambda: shapes.Registered(1),
            "the function or class would be called, with any arguments",
            "declare what is called: `trust=[Class]`"),
    Outside("re-exported classes of other packages", lambda: shapes.Request("http://x"),
            STRANGER, LISTED),
    Outside("`email.message.Message`", email.message.Message, STRANGER, LISTED),
    Outside("`logging.Logger`", lambda: logging.getLogger("x"),
            "found by a call that makes loggers of any name"),
    Outside("`platform.uname_result`", lambda: platform.uname_result("s", "n", "r", "v", "m"),
            "it is made by code of its own, and looks at the machine", "its fields, as a tuple"),
    Outside("`string.Formatter`", string.Formatter, "it has no value"),
    Outside("`http.cookies.SimpleCookie`", lambda: http.cookies.SimpleCookie("a=1"), STRANGER,
            LISTED),
    Outside("`io.BytesIO` beyond its end", _beyond, "a write would fill the gap, of any size"),
    Outside("`memoryview`", lambda: memoryview(b"a"), "it cannot be saved", "`bytes`", saved=False),
    Outside("values of `checkpoint` but its errors and `Failed`",
            lambda: checkpoint.highest("loss"),
            "little of this package can be reached from a file"),
    Outside("NumPy arrays of structures that hold objects",
            lambda: np.array([(1, [2])], [("a", "i4"), ("b", "O")]),
            "NumPy takes pointers from such a state", "an array of objects, or a list"),
    Outside("NumPy polynomials", lambda: np.polynomial.Polynomial([1.0, 2.0]), STRANGER,
            "its coefficients, or name its class"),
    Outside("NumPy functions", lambda: np.add, BUILTIN, "its name"),
    Outside("keys nested more than 100 deep", lambda: {_deep(lambda i: (i,), 300): 1},
            "hashing them overflows the stack of the interpreter"),
    Outside("deques nested more than 200 deep", lambda: _deep(_in_a_deque, 300),
            "freeing them overflows the stack of the interpreter", "lists"),
    Outside("lambdas", lambda: (lambda: 1), "nobody can find it by name",
            "a function at the top of a module", saved=False),
    Outside("functions in functions", shapes.closed, "nobody can find it by name",
            "a function at the top of a module", saved=False),
    Outside("generators", _generator, "it holds a running frame", "a list and a position",
            saved=False),
    Outside("modules", lambda: collections, "it is code", "its name", saved=False),
    Outside("open files", _open_file, "it belongs to this process", "its path", saved=False),
    Outside("sockets", _socket, "it belongs to this process", "its address", saved=False),
    Outside("locks and threads", _lock, "it belongs to this process", saved=False),
]  # fmt: skip
