"""The explicit stack: the bytes of the C pickler, its hooks, and any depth."""

from __future__ import annotations

import collections
import copyreg
import datetime
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_pickling import (
    Foreign,
    Hero,
    Keyword,
    ListKind,
    Meta,
    Rebuilt,
    SlottedAndMore,
    Temperature,
    WithMeta,
    lock,
    reduce_foreign,
    same_by_value,
    with_extra,
)

import checkpoint._deep_pickling
from checkpoint._deep_pickling import LARGE, DeepPickler
from checkpoint._pickling import Hooks, pickle_into
from checkpoint._unpickling import unpickle
from checkpoint.errors import SerializationError


def c_pickled(graph: Any, hooks: Hooks | None = None) -> tuple[bytes, list[Any]]:
    pieces: list[Any] = []
    found = pickle_into(graph, pieces.append, hooks=hooks)
    return b"".join(pieces), list(found.buffers)


def deep_pickled(graph: Any, **hooks: Any) -> tuple[bytes, list[Any]]:
    pieces: list[Any] = []
    buffers: list[Any] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE:
            return True
        buffers.append(buffer.raw())
        return False

    DeepPickler(pieces.append, buffer_callback=keep, **hooks).dump(graph)
    return b"".join(pieces), buffers


def set_state(obj: Any, state: Any) -> None:
    obj.state = state


class Parts:
    """Gives a reduction of any number of parts."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __reduce__(self) -> tuple[Any, ...]:
        items, entries = iter(["a", "b"]), iter([("k", "v")])
        return (ListAndDict, (), {"own": self.count}, items, entries, set_state)[: self.count]


class ListAndDict(dict[Any, Any]):
    def extend(self, items: Any) -> None:
        self["extended"] = list(items)

    def append(self, item: Any) -> None:
        self["extended"] = [item]


class Many:
    """Appends and sets *count* items from iterators, in batches."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __reduce__(self) -> tuple[Any, ...]:
        entries = iter({n: str(n) for n in range(self.count)}.items())
        return ListAndDict, (), None, iter(range(self.count)), entries


class Loop:
    """Hashable, and in a cycle through an immutable container."""

    def __init__(self) -> None:
        self.inside: Any = None


def loop_through(make: Callable[[Any], Any]) -> Any:
    loop = Loop()
    loop.inside = make(loop)
    return loop.inside


class RebuiltFromItself:
    """Its arguments lead back to it, so that it is memoized before it is made."""

    def __init__(self) -> None:
        self.way = [self]

    def __reduce__(self) -> tuple[Any, ...]:
        return Rebuilt, (self.way,)


batches = [0, 1, 2, 999, 1000, 1001, 1999, 2000, 2001]
shared = ["shared", b"shared", (1, 2), Hero()]

GRAPHS: dict[str, Callable[[], Any]] = {
    **{f"values {n}": lambda graph=graph: graph for n, graph in enumerate(same_by_value)},
    **{f"reduction of {n}": lambda n=n: Parts(n) for n in range(2, 7)},
    **{f"iterators of {n}": lambda n=n: Many(n) for n in batches},
    **{f"list of {n}": lambda n=n: list(range(n)) for n in batches},
    **{f"dict of {n}": lambda n=n: {i: -i for i in range(n)} for n in batches},
    **{f"set of {n}": lambda n=n: set(range(n)) for n in batches},
    **{f"frozenset of {n}": lambda n=n: frozenset(range(n)) for n in batches},
    **{f"tuple of {n}": lambda n=n: tuple(range(n)) for n in range(6)},
    **{f"bytes of {n}": lambda n=n: bytes(n) for n in (255, 256, LARGE - 1, LARGE)},
    **{f"bytearray of {n}": lambda n=n: bytearray(n) for n in (0, 255, LARGE - 1, LARGE)},
    **{f"str of {n}": lambda n=n: "é" * n for n in (127, 128, LARGE // 2 - 1, LARGE // 2)},
    "ints": lambda: [
        sign * (1 << n) + d for n in range(80) for sign in (1, -1) for d in (-1, 0, 1)
    ],
    "long ints": lambda: [1 << 2031, 1 << 2032, -(1 << 2039), -(1 << 2040), 1 << 9999],
    "floats": lambda: [0.0, -0.0, 1e308, float("inf"), float("nan")],
    "many memo places": lambda: [*map(str, range(400)), *map(str, range(400)), shared, shared],
    "own methods": lambda: [Temperature(1), Keyword(size=2), SlottedAndMore(), Hero().greet],
    "subclasses": lambda: [ListKind(range(1001)), with_extra(ListKind([1]), x=1), WithMeta, Meta],
    "recursive list": lambda: with_itself([]),
    "recursive tuple of 1": lambda: loop_through(lambda loop: (loop,)),
    "recursive tuple of 3": lambda: loop_through(lambda loop: (1, loop, 2)),
    "recursive tuple of 4": lambda: loop_through(lambda loop: (1, loop, 2, 3)),
    "recursive frozenset": lambda: loop_through(lambda loop: frozenset([loop, 1])),
    "recursive reduction": RebuiltFromItself,
    "exceptions": lambda: [
        ValueError("a", [1]),
        with_extra(KeyError("k"), note=2),
        OSError(2, "x"),
    ],
    "stdlib": lambda: [collections.Counter("aab"), datetime.datetime.now(datetime.UTC), Path("a")],
    "singleton types": lambda: [type(None), type(...), type(NotImplemented), type(None)],
    "arrays": lambda: [np.arange(10), np.zeros((300, 300)), np.float32(1), np.dtype("f4"), np.add],
    "array of objects": lambda: np.array([Hero(), None, "x"], dtype=object),
    "shared array": lambda: [np.arange(9)] * 3,
    "read-only buffers": lambda: [pickle.PickleBuffer(bytes(9)), pickle.PickleBuffer(bytes(LARGE))],
}


def with_itself(graph: list[Any]) -> list[Any]:
    graph.append(graph)
    return graph


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_the_bytes_are_those_of_the_c_pickler(make: Callable[[], Any]) -> None:
    graph = make()
    stream, buffers = deep_pickled(graph)
    assert (stream, buffers) == c_pickled(graph)
    unpickle(stream, buffers)


@pytest.mark.parametrize("code", [1, 255, 256, 65535, 65536, 0x7FFFFFFF])
def test_extension_codes_are_used(code: int) -> None:
    copyreg.add_extension("test_pickling", "Hero", code)
    try:
        stream, _ = deep_pickled([Hero(), Hero])
        assert stream == c_pickled([Hero(), Hero])[0]
        assert b"Hero" not in stream
    finally:
        copyreg.remove_extension("test_pickling", "Hero", code)


def test_reducers_are_taken_from_copyreg_or_from_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {Foreign: reduce_foreign}
    own, _ = deep_pickled(Foreign("x"), dispatch_table=table)
    assert own == c_pickled(Foreign("x"), Hooks(dispatch_table=table))[0]
    monkeypatch.setitem(copyreg.dispatch_table, Foreign, reduce_foreign)
    assert deep_pickled(Foreign("x"))[0] == own
    with pytest.raises(TypeError):
        deep_pickled(Foreign("x"), dispatch_table={})


def test_hooks_are_asked_of_the_same_objects_in_the_same_order() -> None:
    graph = [Hero(name="Ann"), Hero.Sword, (1, "a"), {"k": Foreign("x")}, np.arange(3)]

    def asked(pickled: Callable[[Any, Any], bytes]) -> tuple[bytes, list[Any]]:
        calls: list[Any] = []

        def persistent_id(obj: Any) -> Any:
            calls.append(("id", repr(obj)[:30]))
            return ("id", obj.name) if isinstance(obj, Foreign) else None

        def reducer_override(obj: Any) -> Any:
            calls.append(("reduce", repr(obj)[:30]))
            return NotImplemented

        return pickled(persistent_id, reducer_override), calls

    deep = asked(lambda p, r: deep_pickled(graph, persistent_id=p, override=r)[0])
    assert deep == asked(lambda p, r: c_pickled(graph, Hooks(p, r))[0])


def test_large_payloads_are_passed_on_and_the_rest_is_gathered() -> None:
    large, pieces = bytes(LARGE), list[Any]()
    DeepPickler(pieces.append).dump([large, list(range(100)), bytearray(LARGE - 1)])
    assert any(piece is large for piece in pieces)
    assert len(pieces) <= 4


@pytest.mark.parametrize(
    ("reduction", "message"),
    [
        (lambda: 3, "string or tuple"),
        (lambda: (int,), "2 through 6"),
        (lambda: (int, (), 1, 2, 3, 4, 5), "2 through 6"),
        (lambda: (3, ()), "first item"),
        (lambda: (int, []), "second item"),
        (lambda: (int, (), None, [1]), "fourth item"),
        (lambda: (int, (), None, None, {}), "fifth item"),
        (lambda: (int, (), None, None, None, 6), "sixth item"),
        (lambda: (copyreg.__newobj__, ()), "not a type"),
        (lambda: (copyreg.__newobj__, (int,)), "wrong class"),
        (lambda: (copyreg.__newobj_ex__, (int, ())), "__newobj_ex__ takes"),
        (lambda: (dict, (), None, None, iter([1])), "2-tuples"),
        (lambda: "NoSuchName", "not found as"),
        (lambda: "shared", "not the same object"),
    ],
)
def test_a_reduction_that_is_none_is_refused_by_both(reduction: Any, message: str) -> None:
    graph = [Hero(), type("Reduced", (), {"__reduce__": lambda self: reduction()})()]
    with pytest.raises((pickle.PicklingError, TypeError), match=message):
        deep_pickled(graph)
    with pytest.raises(SerializationError) as caught:
        c_pickled(graph)
    assert caught.value.path is not None
    assert caught.value.path.startswith("state[1]")


def test_a_container_that_changes_while_it_is_pickled_is_refused() -> None:
    class Growing:
        def __reduce__(self) -> Any:
            graph[len(graph)] = 1
            return int, ()

    graph: dict[Any, Any] = {0: Growing(), 1: 2}
    with pytest.raises(SerializationError, match="changed size"):
        c_pickled(graph)


# Depth.

DEPTH = 100_000


class Link:
    next: Any = None
    value: Any = None


class SlotLink:
    __slots__ = ("next", "value")


def linked(kind: type) -> Any:
    head = None
    for value in range(DEPTH):
        link: Any = kind()
        link.next, link.value = head, value
        head = link
    return head


def nested(wrap: Callable[[Any], Any]) -> Any:
    graph = wrap(None)
    for _ in range(DEPTH):
        graph = wrap(graph)
    return graph


DEEP: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "linked list": (lambda: linked(Link), lambda link: link.next),
    "linked list of slots": (lambda: linked(SlotLink), lambda link: link.next),
    "lists": (lambda: nested(lambda inner: [inner]), lambda graph: graph[0]),
    "dicts": (lambda: nested(lambda inner: {"k": inner}), lambda graph: graph["k"]),
    "tuples": (lambda: nested(lambda inner: (inner,)), lambda graph: graph[0]),
    "subclasses": (lambda: nested(lambda inner: ListKind([inner])), lambda graph: graph[0]),
    "tree": (lambda: nested(lambda inner: {"l": [1], "r": inner}), lambda graph: graph["r"]),
    "reductions": (lambda: nested(Rebuilt), lambda graph: graph.part),
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_graph_100_000_deep_comes_back_and_goes_without_a_crash(kind: str) -> None:
    assert alone(f"here.go_deep({kind!r})") == "whole"


def test_a_high_recursion_limit_does_not_crash_and_is_given_back() -> None:
    raised = "sys.setrecursionlimit(10**6); here.go_deep('lists'); print(sys.getrecursionlimit())"
    assert alone(raised).split() == ["whole", "1000000"]


def alone(code: str) -> str:
    """What *code* prints in a process of its own: what goes wrong there kills the process."""
    folders = [Path(__file__).parent, Path(checkpoint._deep_pickling.__file__).parents[1]]
    program = f"import sys; sys.path[:0] = {list(map(str, folders))}\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}import test_deep_pickling as here; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def go_deep(kind: str) -> None:
    make, step = DEEP[kind]
    graph = make()
    pieces: list[Any] = []
    pickle_into(graph, pieces.append, restart=pieces.clear)
    restored = unpickle(b"".join(pieces))
    ours, theirs, depth = graph, restored, 0
    while ours is not None:
        assert type(ours) is type(theirs)
        assert getattr(ours, "value", None) == getattr(theirs, "value", None)
        ours, theirs, depth = step(ours), step(theirs), depth + 1
    assert theirs is None
    assert depth >= DEPTH
    del graph, restored
    print("whole")


def test_a_restart_forgets_what_the_c_pickler_wrote_and_kept() -> None:
    array = np.zeros(LARGE)
    pieces: list[Any] = []
    restarts: list[int] = []

    def restart() -> None:
        restarts.append(len(pieces))
        pieces.clear()

    graph = [array, ["x" * 10] * 100_000, nested(lambda inner: [inner])]
    found = pickle_into(graph, pieces.append, restart=restart)
    assert len(restarts) == 1
    assert restarts[0] > 0
    assert [buffer.obj for buffer in found.buffers] == [array] or found.buffers[0].obj is array
    assert unpickle(b"".join(pieces), found.buffers)[1] == graph[1]


def test_an_output_that_cannot_start_over_is_told_so() -> None:
    with pytest.raises(SerializationError, match="too deep") as caught:
        pickle_into(nested(lambda inner: [inner]), lambda piece: None)
    assert isinstance(caught.value.__cause__, RecursionError)


def test_an_error_deep_down_has_a_path_that_can_be_read() -> None:
    graph: Any = {"lock": lock()}
    for _ in range(DEPTH):
        graph = Hero(next=graph)
    with pytest.raises(SerializationError) as caught:
        pickle_into(graph, lambda piece: None, restart=lambda: None)
    path = str(caught.value.path)
    assert path.startswith("state.next.next.")
    assert path.endswith(".next['lock']")
    assert " … 99,961 more … " in path
    while isinstance(graph, Hero):  # dropped from the outside in, or pytest's repr would recurse
        graph = graph.next  # type: ignore[attr-defined]


def test_what_the_output_raises_passes_through_a_deep_pickling_too() -> None:
    def write(piece: Any) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        pickle_into(nested(lambda inner: [inner]), write, restart=lambda: None)


class Spawning:
    """Rebuilt from yet another one of its kind, without end."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Rebuilt, (Spawning(),)


def test_a_reducer_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint._deep_pickling, "DEEPEST", 20_000)
    with pytest.raises(SerializationError, match="nested more than 20,000"):
        pickle_into(Spawning(), lambda piece: None, restart=lambda: None)
