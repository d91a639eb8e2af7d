"""Graph ⇄ stream and buffers: what pickle can do, the errors, and `__main__` by two names."""

from __future__ import annotations

import collections
import copyreg
import datetime
import enum
import functools
import gc
import json
import os
import pickle
import pickletools
import socket
import subprocess
import sys
import textwrap
import threading
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest

import checkpoint._pickling
from checkpoint._model import Global
from checkpoint._pickling import (
    OUT_OF_BAND,
    Deframer,
    Hooks,
    pickle_into,
)
from checkpoint._unpickling import find_global, main_origin, unpickle
from checkpoint.errors import MigrationError, SerializationError, UnsafeError

LARGE = OUT_OF_BAND


def pickled(graph: Any, **options: Any) -> tuple[bytes, Any]:
    pieces: list[Any] = []
    found = pickle_into(graph, pieces.append, restart=pieces.clear, **options)
    return b"".join(pieces), found


def copied(graph: Any) -> Any:
    stream, found = pickled(graph)
    return unpickle(stream, [bytearray(buffer) for buffer in found.buffers])


class Hero:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    def greet(self) -> str:
        return f"I am {self.name}"  # type: ignore[attr-defined]

    class Sword:
        edge = "sharp"


class Slotted:
    __slots__ = ("left", "right")


class SlottedAndMore(Slotted):
    def __init__(self) -> None:
        self.left, self.more = 1, 2


class Temperature:
    """Has its own `__getstate__` and `__setstate__`."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __getstate__(self) -> str:
        return str(self.degrees)

    def __setstate__(self, state: str) -> None:
        self.degrees = float(state)


class Keyword:
    def __new__(cls, *, size: int) -> Keyword:
        made = super().__new__(cls)
        made.size = size  # type: ignore[attr-defined]
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"size": self.size}  # type: ignore[attr-defined]


class Positional(int):
    def __getnewargs__(self) -> tuple[int]:
        return (int(self),)


class Rebuilt:
    def __init__(self, part: Any) -> None:
        self.part = part

    def __reduce__(self) -> tuple[Any, ...]:
        return Rebuilt, (self.part,)


class Single:
    """Pickled by its name."""

    def __reduce__(self) -> str:
        return "THE_SINGLE"


THE_SINGLE = Single()


class Failing:
    def __getstate__(self) -> Any:
        raise ValueError("boom")


class FailingLater:
    def __setstate__(self, state: Any) -> None:
        raise ValueError("not this state")

    def __getstate__(self) -> Any:
        return {"a": 1}


class Endless:
    def __reduce__(self) -> Any:
        return self.__reduce__()


class Flaky:
    failed = False

    def __getstate__(self) -> dict[str, int]:
        if not Flaky.failed:
            Flaky.failed = True
            raise ValueError("only once")
        return {}


class Meta(type):
    pass


class WithMeta(metaclass=Meta):
    pass


class Colour(enum.Enum):
    RED = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: Any
    y: Any


@attrs.define
class Attrs:
    field: Any


@attrs.frozen
class FrozenAttrs:
    field: Any


@dataclass
class Data:
    field: Any


@dataclass(frozen=True, slots=True)
class FrozenData:
    field: Any


class ListKind(list[Any]):
    pass


class DictKind(dict[Any, Any]):
    pass


class Oops(Exception):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code


class Foreign:
    """Pickled only with a reducer in a table."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("cannot pickle 'Foreign' object")


def reduce_foreign(obj: Foreign) -> Any:
    return Foreign, (obj.name,)


def with_extra(made: Any, **fields: Any) -> Any:
    vars(made).update(fields)
    return made


same_by_value = [
    None,
    [True, -1, 2**31, -(2**31), 2**40, 1 << 5000, -(1 << 5000), 0.1, float("inf"), 1j],
    ["", "é" * 300, "\ud800", b"", b"x" * 300, bytearray(b"y"), bytearray(300)],
    [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), set(range(2500)), frozenset({1, "a"})],
    [list(range(n)) for n in (0, 1, 999, 1000, 1001, 2500)],
    [dict.fromkeys(range(n)) for n in (0, 1, 999, 1000, 1001, 2500)],
    Hero(name="Ann", friends=[Hero(name="Bo")]),
    [Hero, Hero.Sword, WithMeta, int, type(None), type(...), len, [].append.__self__, json.dumps],
    [..., NotImplemented, Colour.RED, Flags.A | Flags.B, Point(1, [2]), THE_SINGLE],
    [Attrs([1]), FrozenAttrs((1,)), Data({}), FrozenData("x"), Positional(7)],
    [collections.OrderedDict(b=1, a=2), collections.Counter("abca"), collections.deque([1], 3)],
    [collections.defaultdict(list, k=[1]), collections.ChainMap({1: 2}), range(3), slice(1, 2)],
    [datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), datetime.timedelta(1), Path("a/b")],
]


@pytest.mark.parametrize("graph", same_by_value, ids=range(len(same_by_value)))
def test_values_come_back_equal(graph: Any) -> None:
    assert copied(graph) == graph


def test_shared_and_cyclic_references_come_back_shared_and_cyclic() -> None:
    hero = Hero(name="Ann")
    hero.self = hero  # type: ignore[attr-defined]
    bag: list[Any] = [hero, hero]
    inside = (bag,)
    bag.append(inside)
    one, two, (same_bag,) = restored = copied(bag)
    assert one is two is one.self
    assert same_bag is restored


def test_slots_come_back_with_and_without_a_dict() -> None:
    slotted, more = copied([Slotted(), SlottedAndMore()])
    assert not hasattr(slotted, "left")
    assert (more.left, more.more) == (1, 2)


def test_the_methods_that_a_class_gives_to_pickle_are_used() -> None:
    temperature, keyword, rebuilt = copied([Temperature(1.5), Keyword(size=3), Rebuilt([1])])
    assert (temperature.degrees, keyword.size, rebuilt.part) == (1.5, 3, [1])


def test_subclasses_of_builtins_keep_items_and_attributes() -> None:
    items, entries = ListKind(range(1500)), DictKind.fromkeys(range(1500))
    restored = copied([with_extra(items, note="a"), with_extra(entries, note="b")])
    assert restored == [items, entries]
    assert [type(one) for one in restored] == [ListKind, DictKind]
    assert [one.note for one in restored] == ["a", "b"]


def test_exceptions_keep_their_arguments_and_attributes() -> None:
    error = copied(with_extra(Oops("bad", 3), note="more"))
    assert (error.args, error.code, error.note) == (("bad", 3), 3, "more")


def test_bound_methods_and_partials_come_back_callable() -> None:
    method, partial = copied([Hero(name="Ann").greet, functools.partial(int, base=2)])
    assert method() == "I am Ann"
    assert partial("101") == 5


def test_a_reducer_registered_in_copyreg_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(copyreg.dispatch_table, Foreign, reduce_foreign)
    assert copied([Foreign("x")])[0].name == "x"


def test_a_class_in_the_extension_registry_comes_back() -> None:
    copyreg.add_extension(__name__, "Hero", 240)
    try:
        stream, found = pickled(Hero(name="Ann"))
        assert b"Hero" not in stream
        assert Global(__name__, "Hero") in found.globals
        assert unpickle(stream) == Hero(name="Ann")
    finally:
        copyreg.remove_extension(__name__, "Hero", 240)


# The stream.


def test_the_stream_has_no_frames_and_pickle_reads_it_with_its_buffers() -> None:
    graph = [list(range(50_000)), np.arange(50_000), b"\x95" * LARGE]
    stream, found = pickled(graph)
    assert "FRAME" not in {opcode.name for opcode, _, _ in pickletools.genops(stream)}
    restored = pickle.loads(stream, buffers=found.buffers)
    assert restored[0] == graph[0]
    assert (restored[1] == graph[1]).all()
    assert restored[2] == graph[2]


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1, 3 * LARGE])
@pytest.mark.parametrize("kind", [bytes, bytearray, lambda raw: raw.decode("latin-1")])
def test_a_payload_that_looks_like_frames_survives(kind: Any, size: int) -> None:
    payload = kind(b"\x95\x00\x00\x00\x00\x00\x00\x00\x00" * (size // 9 + 1))[:size]
    graph = [payload, 1, [kind(b"\x95") * size, kind(b"\x80\x05\x95") * size], payload]
    assert copied(graph) == graph


def test_a_large_payload_is_passed_on_by_identity() -> None:
    large, changing = bytes(LARGE), bytearray(LARGE)
    pieces: list[Any] = []
    pickle_into([large, changing, bytes(LARGE - 1)], pieces.append)
    whole = [piece for piece in pieces if isinstance(piece, (bytes, bytearray))]
    assert any(piece is large for piece in whole)
    assert any(piece is changing for piece in whole)


def test_the_stream_goes_out_as_it_is_made() -> None:
    written: list[int] = []
    before_last: list[int] = []

    class Late:
        def __reduce__(self) -> Any:
            before_last.append(len(written))
            return int, (0,)

    pickle_into([list(range(200_000)), Late()], lambda piece: written.append(len(piece)))
    assert before_last[0] > 5
    assert max(written) < 3 * LARGE


def test_writes_that_do_not_fit_their_header_are_refused() -> None:
    deframer = Deframer(lambda piece: None)
    deframer.write(b"\x80\x05B\x00\x00\x01\x00")
    with pytest.raises(pickle.PicklingError):
        deframer.write(b"short")


# Buffers.


def test_large_buffers_go_beside_the_stream_uncopied_and_small_ones_within_it() -> None:
    large, small = np.arange(LARGE, dtype="u1"), np.arange(LARGE - 1, dtype="u1")
    stream, found = pickled([large, small])
    (buffer,) = found.buffers
    assert buffer.obj is large
    assert (buffer.format, buffer.nbytes) == ("B", LARGE)
    assert LARGE - 1 < len(stream) < LARGE + 1000


def test_restored_arrays_are_writable_and_lie_in_the_memory_that_was_given() -> None:
    array = np.arange(LARGE, dtype="f4").reshape(256, -1).T
    stream, found = pickled([array, np.arange(3)])
    memory = bytearray(found.buffers[0])
    large, small = unpickle(stream, [memory])
    large[0, 0] = small[0] = 7
    assert np.frombuffer(memory, "f4")[0] == 7
    assert array[0, 0] == 0
    assert (large[1:] == array[1:]).all()


def test_a_read_only_array_comes_back_read_only() -> None:
    array = np.zeros(LARGE, "u1")
    array.flags.writeable = False
    assert not copied(array).flags.writeable


def test_a_buffer_callback_takes_the_buffers() -> None:
    taken: list[pickle.PickleBuffer] = []
    stream, found = pickled(np.zeros(9), buffer_callback=taken.append)
    assert found.buffers == ()
    assert (unpickle(stream, taken) == np.zeros(9)).all()


def test_a_frame_of_pandas_goes_out_of_band() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(20_000.0), "b": np.arange(20_000)})
    _, found = pickled(frame)
    assert sum(buffer.nbytes for buffer in found.buffers) >= 320_000
    pandas.testing.assert_frame_equal(copied(frame), frame)


# Globals.


def test_the_globals_of_a_graph_are_recorded_sorted() -> None:
    graph = [Hero(), Hero.Sword, len, THE_SINGLE, json.dumps, [].append, WithMeta(), Point(1, 2)]
    _, found = pickled(graph)
    assert found.globals == tuple(sorted(found.globals, key=lambda one: (one.module, one.qualname)))
    assert {str(one) for one in found.globals} == {
        "builtins:getattr",
        "builtins:len",
        "json:dumps",
        f"{__name__}:Hero",
        f"{__name__}:Hero.Sword",
        f"{__name__}:Point",
        f"{__name__}:THE_SINGLE",
        f"{__name__}:WithMeta",
    }


def test_every_global_is_asked_of_resolve() -> None:
    stream, _ = pickled([Hero(name="Ann"), Hero.Sword])
    asked = []

    def resolve(module: str, qualname: str) -> Any:
        asked.append(qualname)
        return find_global(module, qualname)

    unpickle(stream, resolve=resolve)
    assert asked == ["Hero", "Hero.Sword"]


def test_what_resolve_raises_passes_through() -> None:
    def resolve(module: str, qualname: str) -> Any:
        raise UnsafeError(f"not {qualname}")

    with pytest.raises(UnsafeError, match="not Hero"):
        unpickle(pickled(Hero())[0], resolve=resolve)


# Hooks.


def test_hooks_act_as_in_a_subclass_of_pickler() -> None:
    outside = Hero(name="outside")

    def persistent_id(obj: Any) -> Any:
        return "the one outside" if obj is outside else None

    def reducer_override(obj: Any) -> Any:
        return (list, ("made",)) if isinstance(obj, types.ModuleType) else NotImplemented

    hooks = Hooks(persistent_id, reducer_override, {Foreign: reduce_foreign})
    stream, found = pickled([outside, json, Foreign("x")], hooks=hooks)
    one, made, foreign = unpickle(stream, persistent_load={"the one outside": outside}.get)
    assert one is outside
    assert made == list("made")
    assert foreign.name == "x"
    assert {one.qualname for one in found.globals} == {"Foreign", "list"}


def test_a_table_of_its_own_replaces_copyreg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(copyreg.dispatch_table, Foreign, reduce_foreign)
    with pytest.raises(SerializationError, match="Foreign cannot be pickled"):
        pickled(Foreign("x"), hooks=Hooks(dispatch_table={}))


# What cannot be saved.


def refused(graph: Any, **options: Any) -> SerializationError:
    with pytest.raises(SerializationError) as caught:
        pickled(graph, **options)
    return caught.value


def lock() -> Any:
    return threading.Lock()


def slotted(**fields: Any) -> Slotted:
    made = Slotted()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


PATHS = [
    (lock, "state"),
    (lambda: [0, (1, lock())], "state[1][1]"),
    (lambda: {"a": {(1, "x"): {None: lock()}}}, "state['a'][(1, 'x')][None]"),
    (lambda: {"k" * 99: lock()}, f"state['{'k' * 60}'…]"),
    (lambda: {lock(): 1}, "state.<key of type lock>"),
    (lambda: {(1, Hash()): 1}, "state.<key (1, of type Hash)>[1].lock"),
    (lambda: [{Hash()}], "state[0].<element of type Hash>.lock"),
    (lambda: frozenset([Hash()]), "state.<element of type Hash>.lock"),
    (lambda: Hero(a=Hero(b=[lock()])), "state.a.b[0]"),
    (lambda: slotted(left=[lock()]), "state.left[0]"),
    (lambda: Rebuilt([lock()]), "state.part[0]"),
    (lambda: Attrs(lock()), "state.field"),
    (lambda: FrozenAttrs(lock()), "state.field"),
    (lambda: Data([lock()]), "state.field[0]"),
    (lambda: FrozenData(lock()), "state.field"),
    (lambda: Point(1, lock()), "state.y"),
    (lambda: ListKind([1, lock()]), "state[1]"),
    (lambda: with_extra(ListKind([1]), x=lock()), "state.x"),
    (lambda: ListKind([*range(1500), lock()]), "state[1500]"),
    (lambda: DictKind(k=lock()), "state['k']"),
    (lambda: collections.defaultdict(list, k=[lock()]), "state['k'][0]"),
    (lambda: collections.deque([1, lock()]), "state[1]"),
    (lambda: ValueError("a", lock()), "state.args[1]"),
    (lambda: with_extra(ValueError("a"), x=lock()), "state.x"),
    (lambda: Hero(lock=lock()).greet, "state.__self__.lock"),
    (lambda: [functools.partial(print, lock())], "state[0].__reduce__()[2][1][0]"),
]


class Hash:
    def __init__(self) -> None:
        self.lock = lock()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize(("make", "path"), PATHS, ids=[path for _, path in PATHS])
def test_the_path_leads_to_what_cannot_be_saved(make: Any, path: str) -> None:
    error = refused(make())
    assert error.path == path
    assert str(error).startswith(f"cannot save {path}: a _thread.lock cannot be pickled (")


def test_a_socket_is_named_with_its_path_and_what_to_do() -> None:
    with socket.socket() as connection:
        error = refused({"players": [0, 1, 2, Hero(socket=connection)]})
    assert str(error) == (
        "cannot save state['players'][3].socket: a socket.socket cannot be pickled "
        "(cannot pickle 'socket' object); leave it out in __getstate__, "
        "or register a reducer with copyreg.pickle"
    )
    assert isinstance(error.__cause__, TypeError)


def local() -> tuple[Any, Any]:
    class Local:
        pass

    def function() -> None:
        pass

    return Local, function


def local_instance() -> Any:
    return local()[0]()


class Replaced:
    pass


replaced = Replaced()


class Replaced:  # type: ignore[no-redef]
    pass


TROUBLES = [
    (lambda: [lambda: 0], "state[0]", "a lambda has no name", "at module level with def"),
    (local_instance, "state.__class__", "local class local.<locals>.Local", "module level"),
    (lambda: {1: local()[1]}, "state[1]", "function local.<locals>.function", "at module level"),
    (lambda: replaced, "state.__class__", "Replaced is not found under its name", "not the same"),
    (lambda: (n for n in ()), "state", "a generator cannot be pickled", "made from again"),
    (lambda: [json], "state[0]", "the module json cannot be pickled", "import it where it is used"),
    (lambda: [Failing()], "state[0]", "Failing.__getstate__ raised ValueError: boom", "correct it"),
    (lambda: [Endless()], "state[0]", "Endless.__reduce__ raised RecursionError", "correct it"),
    (lambda: memoryview(b""), "state", "a memoryview cannot be pickled", "copyreg.pickle"),
]


@pytest.mark.parametrize(("make", "path", "what", "advice"), TROUBLES)
def test_a_refusal_says_what_and_what_to_do(make: Any, path: str, what: str, advice: str) -> None:
    error = refused(make())
    assert error.path == path
    assert str(error).startswith(f"cannot save {path}: ")
    assert what in str(error)
    assert advice in str(error)


def test_an_open_file_is_named_with_what_to_do() -> None:
    with open(os.devnull) as file:
        error = refused({"log": file})
    assert error.path == "state['log']"
    assert "an open file, an _io.TextIOWrapper, cannot be pickled" in str(error)
    assert "open it again in __setstate__" in str(error)


def test_a_refusal_survives_pickling_with_its_path() -> None:
    error = pickle.loads(pickle.dumps(refused([lock()])))
    assert (error.path, str(error)[:22]) == ("state[0]", "cannot save state[0]: ")


def test_an_error_that_does_not_come_again_has_no_path() -> None:
    Flaky.failed = False
    error = refused([Flaky()])
    assert error.path is None
    assert "only once" in str(error)


@pytest.mark.parametrize("raised", [MemoryError, KeyboardInterrupt, SystemExit])
def test_what_is_not_the_fault_of_the_graph_passes_through(raised: type[BaseException]) -> None:
    class Interrupted:
        def __reduce__(self) -> Any:
            raise raised

    with pytest.raises(raised):
        pickled([Interrupted()])


@pytest.mark.parametrize("raised", [OSError, RecursionError, TypeError])
def test_what_the_output_raises_passes_through(raised: type[Exception]) -> None:
    error = raised("disk full")

    def write(piece: Any) -> None:
        raise error

    with pytest.raises(raised) as caught:
        pickle_into([1], write, restart=pytest.fail)
    assert caught.value is error


# Loading.


def test_the_collector_is_off_while_loading_and_then_as_it_was() -> None:
    states = []

    def resolve(module: str, qualname: str) -> Any:
        states.append(gc.isenabled())
        return find_global(module, qualname)

    stream, _ = pickled(Hero())
    unpickle(stream, resolve=resolve)
    assert gc.isenabled()
    with pytest.raises(SerializationError):
        unpickle(stream[:-1], resolve=resolve)
    assert gc.isenabled()
    gc.disable()
    try:
        unpickle(stream, resolve=resolve)
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert states == [False] * 3


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_every_protocol_are_read(protocol: int) -> None:
    graph = [1, "a", "é\n", b"bytes", 2.5, {"k": (None, True)}, Hero(name="Ann"), {1, 2}, 1 << 99]
    assert unpickle(pickle.dumps(graph, protocol)) == graph


def test_names_of_python_2_are_read_as_those_of_python_3() -> None:
    plain = b"c__builtin__\nxrange\n(I0\nI3\ntR."
    assert unpickle(plain) == range(3)
    with pytest.raises(MigrationError):
        unpickle(plain, fix_imports=False)


def test_strings_of_python_2_are_read_in_the_encoding_asked_for() -> None:
    plain = b"S'caf\\xe9'\n."
    assert unpickle(plain, encoding="latin-1") == "café"
    assert unpickle(plain, encoding="bytes") == b"caf\xe9"
    with pytest.raises(SerializationError):
        unpickle(plain)


def test_a_stream_may_be_any_contiguous_memory() -> None:
    stream, _ = pickled([1, "x" * LARGE])
    for memory in (stream, bytearray(stream), memoryview(stream), np.frombuffer(stream, "u1")):
        assert unpickle(memory) == [1, "x" * LARGE]


def test_a_stream_cut_anywhere_is_refused() -> None:
    stream, _ = pickled([Hero(name="Ann"), 1.5, "text", {1: b"x" * 300}])
    for stop in range(len(stream)):
        with pytest.raises(SerializationError) as caught:
            unpickle(stream[:stop])
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "broken", [b"", b".", b"\x80\x06.", b"\x80\x05\xff.", b"\x80\x05h\x07.", b"\x80\x05\x97."]
)
def test_a_broken_stream_is_refused(broken: bytes) -> None:
    with pytest.raises(SerializationError, match="cannot rebuild the graph"):
        unpickle(broken)


def test_a_missing_buffer_is_refused() -> None:
    stream, _ = pickled(np.zeros(LARGE))
    with pytest.raises(SerializationError, match="cannot rebuild the graph"):
        unpickle(stream)


def test_what_setstate_raises_is_named() -> None:
    stream, _ = pickled(FailingLater())
    with pytest.raises(SerializationError) as caught:
        unpickle(stream)
    assert "FailingLater.__setstate__ raised ValueError: not this state" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("name", ["gone_module:Hero", f"{__name__}:Gone", f"{__name__}:Hero.Bow"])
def test_a_global_that_is_gone_asks_for_a_migration(name: str) -> None:
    module, qualname = name.split(":")
    stream = pickle.dumps(Hero, 5).replace(b"\x8c\x04Hero", _text(qualname))
    stream = stream.replace(_text(__name__), _text(module))
    with pytest.raises(MigrationError) as caught:
        unpickle(_unframed(stream))
    assert str(caught.value).startswith(f"{module}.{qualname} is gone: ")
    assert isinstance(caught.value.__cause__, (ImportError, AttributeError))


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _unframed(stream: bytes) -> bytes:
    return stream[:2] + stream[11:] if stream[2:3] == pickle.FRAME else stream


# `__main__` by two names, in real programs.

PROGRAM = """
import sys
from checkpoint._pickling import pickle_into
from checkpoint._unpickling import find_global, unpickle

class Model:
    class Layer:
        def __init__(self):
            self.size = 3

def save(path):
    pieces = []
    found = pickle_into([Model(), Model.Layer(), Model.Layer], pieces.append)
    path.write_bytes(b"".join(pieces))
    print({str(one.origin) for one in found.globals}.pop())

def load(path, origin):
    model, layer, kind = unpickle(path.read_bytes(), origin=None if origin == "None" else origin)
    assert (layer.size, type(layer)) == (3, kind)
    copies = sorted(name for name in ("train", "pkg.train") if name in sys.modules)
    print(type(model).__module__, copies)

if __name__ == "__main__":
    from pathlib import Path
    verb, path, *rest = sys.argv[1:]
    {"save": save, "load": load}[verb](Path(path), *rest)
"""

IMPORTER = "import sys; from pathlib import Path; from {module} import {verb}; {verb}({arguments})"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    source = textwrap.dedent(PROGRAM)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    for name in ("train.py", "pkg/train.py", "pkg/__main__.py", "not-a-name.py"):
        (tmp_path / name).write_text(source)
    return tmp_path


def ran(folder: Path, *arguments: str) -> str:
    """What a real Python printed; it finds the folder and this package."""
    package = Path(checkpoint._pickling.__file__).parents[1]
    paths = os.pathsep.join([str(folder), str(package)])
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def imported(folder: Path, module: str, verb: str, *rest: str) -> str:
    arguments = ", ".join(["Path('saved')", *map(repr, rest)])
    return ran(folder, "-c", IMPORTER.format(module=module, verb=verb, arguments=arguments))


@pytest.mark.parametrize(
    ("start", "origin"),
    [
        (["train.py"], "train"),
        (["-m", "train"], "train"),
        (["-m", "pkg.train"], "pkg.train"),
        (["-m", "pkg"], "pkg.__main__"),
        (["not-a-name.py"], "None"),
    ],
)
def test_a_program_records_the_name_that_it_can_be_imported_by(
    programs: Path, start: list[str], origin: str
) -> None:
    assert ran(programs, *start, "save", "saved") == origin
    assert ran(programs, *start, "load", "saved", origin) == "__main__ []"


@pytest.mark.parametrize("start", [["train.py"], ["-m", "train"]])
def test_what_a_program_saved_loads_where_it_is_imported(programs: Path, start: list[str]) -> None:
    ran(programs, *start, "save", "saved")
    assert imported(programs, "train", "load", "train") == "train ['train']"


def test_a_snapshot_of_a_module_of_a_package_loads_where_it_is_imported(programs: Path) -> None:
    ran(programs, "-m", "pkg.train", "save", "saved")
    assert imported(programs, "pkg.train", "load", "pkg.train") == "pkg.train ['pkg.train']"


@pytest.mark.parametrize("start", [["train.py"], ["-m", "train"]])
def test_what_an_import_saved_loads_in_the_program_itself(programs: Path, start: list[str]) -> None:
    imported(programs, "train", "save")
    assert ran(programs, *start, "load", "saved", "None") == "__main__ []"


def test_another_main_imports_the_origin(programs: Path) -> None:
    ran(programs, "train.py", "save", "saved")
    assert ran(programs, "pkg/train.py", "load", "saved", "pkg.train") == (
        "pkg.train ['pkg.train']"
    )


def test_an_origin_that_cannot_be_imported_falls_back_to_main(programs: Path) -> None:
    ran(programs, "train.py", "save", "saved")
    assert ran(programs, "not-a-name.py", "load", "saved", "gone") == "__main__ []"


def test_a_main_that_is_no_module_has_no_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    assert main_origin() is None
    notebook.__file__ = "/somewhere/train.py"
    assert main_origin() == "train"
