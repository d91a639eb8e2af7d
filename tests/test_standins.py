"""Stand-ins: a graph passes through a program without its classes, and nothing of it is lost."""

from __future__ import annotations

import copy
import gc
import importlib
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest
from attrs import NOTHING

import checkpoint
from checkpoint import Checkpointer, MigrationError, SerializationError, StandIn
from checkpoint._pickling import Hooks, pickle_into
from checkpoint._raw import raw_of
from checkpoint._standins import is_stand_in, recording, stand_in
from checkpoint._unpickling import unpickle

# What will be gone: a module of its own, in a folder that is taken off the path.
LOST = '''
import collections, datetime, enum, functools, operator, types, typing
from dataclasses import dataclass, field
import attrs
import numpy as np

class Plain:
    def __init__(self, **fields):
        self.__dict__.update(fields)
    def attack(self, by=1):
        return self.hp - by
    @classmethod
    def small(cls):
        return cls(hp=1)
    @staticmethod
    def cry():
        return "waagh"

class Other(Plain):
    class Inner(Plain):
        class Innermost(Plain):
            pass

class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"

class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 1000

class Mode(enum.Flag):
    READ = 1
    WRITE = 2

class Word(str, enum.Enum):
    YES = "yes"

class ByName(enum.Enum):
    ONE = 1
    TWO = 2
    def __reduce_ex__(self, protocol):
        return getattr, (self.__class__, self._name_)

class Trouble(Exception):
    pass

class CodedTrouble(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
    def __reduce__(self):
        return CodedTrouble, (self.code, self.args[0])

Point = collections.namedtuple("Point", "x y")

class Named(typing.NamedTuple):
    name: str
    at: Point

class Whole(int): pass
class Text(str): pass
class Real(float): pass
class Raw(bytes): pass
class Few(tuple): pass
class Many(list): pass
class Book(dict): pass
class Ordered(collections.OrderedDict): pass
class Counted(collections.Counter): pass
class Defaults(collections.defaultdict): pass
class Queue(collections.deque): pass
class Bag(set): pass
class Sealed(frozenset): pass
class Day(datetime.date): pass
class Instant(datetime.datetime): pass
class Space(types.SimpleNamespace): pass

@attrs.define
class Slim:
    hp: int
    name: str = "Bo"

@attrs.frozen(slots=False)
class Cold:
    hp: int

@dataclass
class Simple:
    hp: int
    more: list = field(default_factory=list)

@dataclass(slots=True)
class Tight:
    hp: int
    name: str

@dataclass(frozen=True, slots=True)
class Rigid:
    hp: int
    name: str

class Slotted:
    __slots__ = ("hp", "name")
    def __init__(self, **fields):
        for name, value in fields.items():
            setattr(self, name, value)

class SlottedAndMore(Slotted):
    __slots__ = ("__dict__", "own")

class NewArgs:
    def __new__(cls, a, b):
        self = super().__new__(cls)
        self.both = (a, b)
        return self
    def __getnewargs__(self):
        return self.both

class NewArgsEx:
    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self.given = (list(args), dict(kwargs))
        return self
    def __getnewargs_ex__(self):
        return tuple(self.given[0]), dict(self.given[1])

class Odd:
    """Any state at all."""
    state = None
    def __init__(self, state):
        self.state = state
    def __getstate__(self):
        return self.state
    def __setstate__(self, state):
        self.state = state

class Constant:
    """The same tuple of arguments each time."""
    def __init__(self, name, size):
        self.name = name
    def __reduce__(self):
        return Constant, ("constant", 3), self.__dict__

def make(*args):
    return Plain(args=list(args))

class ByFunction(Plain):
    def __reduce__(self):
        return make_by, (self.hp,)

def make_by(hp):
    return ByFunction(hp=hp)

class Box(typing.Generic[typing.TypeVar("T")]):
    pass

def set_state(obj, state):
    obj.__dict__.update(state)

def set_nothing(obj, state):
    raise AssertionError

class BySetter(Plain):
    def __reduce__(self):
        return BySetter, (), dict(self.__dict__), None, None, set_state

class ByCallWithTwo(Plain):
    """Made by a call with two arguments, which a setter has as well."""
    def __init__(self, first=None, second=None):
        self.hp = [first, second]
    def __reduce__(self):
        return ByCallWithTwo, tuple(self.hp)

class Parts(list):
    """Items and entries, and a state."""
    def __init__(self):
        self.entries = {}
    def __setitem__(self, key, value):
        self.entries[key] = value
    def __reduce__(self):
        return Parts, (), {"own": 1}, iter(list(self)), iter(list(self.entries.items()))

class Itself:
    """Its arguments lead back to it: it is made twice, and one of the two is dropped."""
    def __init__(self, way=None, name=None):
        self.way, self.name = [self] if way is None else way, name
    def __reduce__(self):
        return Itself, (self.way, self.name)

class Bits(enum.Flag):
    ONE = 1
    TWO = 2
    def __reduce_ex__(self, protocol):
        if len(list(self)) > 1:
            return operator.or_, tuple(self)
        return Bits, (self.value,)

class Grid(np.ndarray):
    pass

class Kind(type):
    pass

class OfKind(Plain, metaclass=Kind):
    pass

def parts():
    found = Parts()
    found.extend("ab")
    found[1] = "one"
    found["two"] = 2
    return found

def linked(**names):
    first, second = Plain(**names), Plain(**names)
    first.other, second.other = second, first
    return first

def with_more(obj, **fields):
    obj.__dict__.update(fields)
    return obj
'''

# Graphs of what will be gone, whose streams come back to the byte.
GRAPHS: dict[str, str] = {
    "plain": "Plain(hp=3, name='Bo')",
    "no state at all": "[Plain(), Plain()]",
    "a class": "[Plain, Plain]",
    "a class and its name": "{'Plain': Plain, 'Other': Plain(Other='lost'), 'lost': Other}",
    "a class as a key": "{Plain: 1, Other.Inner: 2}",
    "a class with a metaclass": "[OfKind, OfKind(hp=1), Kind]",
    "a function": "[make, {'make': make}]",
    "a static method": "Plain.cry",
    "nested classes": "[Other.Inner(hp=1), Other.Inner.Innermost, Other(hp=2)]",
    "enum": "[Colour.RED, Colour.BLUE, Colour.RED]",
    "enum as keys": "{Colour.RED: Size.LARGE, Size.SMALL: 1}",
    "enum by name": "[ByName.ONE, {'ONE': ByName.TWO}, ByName.ONE]",
    "flag": "[Mode.READ, Mode.READ | Mode.WRITE]",
    "flag by operator": "[Bits.ONE | Bits.TWO, Bits.ONE]",
    "enum of str": "Word.YES",
    "exception": "[Trouble('a', 1), with_more(Trouble('a'), note=[1])]",
    "exception with its own reduction": "CodedTrouble(3, 'text')",
    "named tuple": "[Point(1, 2), Named('x', Point(y=1, x=2))]",
    "named tuple as a key": "{Point(1, 2): Point}",
    "int": "[Whole(3), with_more(Whole(3), note=1)]",
    "str": "[Text('a'), Text('')]",
    "float, bytes": "[Real(0.5), Raw(b'x')]",
    "tuple": "[Few([1, [2]]), with_more(Few(), note=1)]",
    "list": "[Many(), Many([1]), Many([1, 2]), with_more(Many('abc'), note=1)]",
    "long list": "[Many(range(n)) for n in (999, 1000, 1001, 2000, 2001)]",
    "dict": "[Book(), Book(a=1), Book(a=1, b=[2]), with_more(Book({1: 2}), note=1)]",
    "long dict": "[Book.fromkeys(range(n)) for n in (999, 1000, 1001, 2000, 2001)]",
    "other dicts": "[Ordered(a=1), Counted(one=2), Defaults(list, a=[1]), Defaults(Plain)]",
    "deque": "[Queue([1, 2], 3), Queue()]",
    "set, frozenset": "[Bag({1}), Sealed({2}), with_more(Bag(), note=1)]",
    "dates": "[Day(2020, 1, 2), Instant(2020, 1, 2, 3)]",
    "namespace": "Space(hp=3)",
    "attrs": "[Slim(3), Slim(3, 'Al'), Cold(4)]",
    "dataclass": "[Simple(3), Tight(1, 'a')]",
    "frozen dataclass": "[Rigid(1, 'a'), Rigid(2, 'a')]",
    "slots": "[Slotted(hp=1), Slotted(), SlottedAndMore(hp=1, own=2, free=3)]",
    "new arguments": "NewArgs([1], 'b')",
    "new keyword arguments": "[NewArgsEx(1, size=2), NewArgsEx(3)]",
    "odd states": "[Odd(s) for s in (0, False, '', (), {}, [], 1, (1, 2), [3], {1: 2})]",
    "no state from __getstate__": "Odd(None)",
    "pairs of states": "[Odd(s) for s in ((None, None), (None, {'a': 1}), ({'b': 2}, {'a': 1}))]",
    "bound method": "[Plain(hp=3).attack, Plain(hp=4).attack]",
    "own bound method": "(lambda o: with_more(o, attack_by=o.attack, attack=1))(Plain(hp=3))",
    "bound method of a list": "[Many([1]).append, Many([2]).extend]",
    "class method": "[Plain.small, Other.small]",
    "partial": "functools.partial(make, 1, two=2)",
    "partial of a bound method": "functools.partial(Plain(hp=3).attack, by=2)",
    "missing factory": "collections.defaultdict(make, {1: Plain(hp=1)})",
    "constant arguments": "[Constant('a', 1), Constant('b', 2), Constant('c', 3)]",
    "made by a function": "[ByFunction(hp=1), ByFunction(hp=2)]",
    "generic alias": "[Box[int], list[Plain]]",
    "state setter": "[BySetter(hp=1), BySetter(hp=2)]",
    "calls with two arguments": "[ByCallWithTwo(Plain(hp=1), 2), ByCallWithTwo(1, Plain(hp=2))]",
    "items, entries and state": "parts()",
    "its own argument": "Itself()",
    "its own argument of two": "Itself(name='x').way",
    "cycle": "linked(hp=1)",
    "shared": "(lambda o, t: [o, o, {'again': o, 't': t}, t, [t, Other(t=t)]])(Plain(), (1, 'a'))",
    "as keys": "{Plain(hp=1): 'one', Slim: 'two', ByFunction(hp=2): 3}",
    "in an array": "np.array([Plain(hp=1), Point(1, 2)], dtype=object)",
}

each_kind = pytest.mark.parametrize("kind", GRAPHS)


class Lost:
    """The module `lost`, which can go and come back."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        (folder / "lost.py").write_text(LOST, encoding="utf-8")

    def come(self) -> ModuleType:
        sys.path.insert(0, self._folder)
        importlib.invalidate_caches()
        return importlib.import_module("lost")

    def go(self) -> None:
        sys.modules.pop("lost", None)
        sys.path[:] = [entry for entry in sys.path if entry != self._folder]
        importlib.invalidate_caches()

    def made(self, graph: str) -> Any:
        """The graph that the text *graph* says, while the module is there."""
        return eval(graph, vars(self.come()))


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Lost]:
    lost = Lost(tmp_path)
    yield lost
    lost.go()


def stream_of(graph: Any) -> bytes:
    pieces: list[Any] = []
    pickle_into(graph, pieces.append, restart=pieces.clear)
    return b"".join(pieces)


def without(data: bytes) -> Any:
    """The graph of *data* in a program that lacks its classes."""
    options: Any = {"on_missing": "stand-in", "schema": "off", "trust": checkpoint.everything}
    return checkpoint.loads(data, **options)


def outline(graph: Any) -> Any:
    """What pickle sees of a graph of real objects, in plain values that can be compared."""
    seen: dict[int, int] = {}
    alive: list[Any] = []

    def told(obj: Any) -> Any:
        assert not is_stand_in(obj)
        if obj is None or isinstance(obj, FunctionType | BuiltinFunctionType | type):
            return getattr(obj, "__qualname__", None)
        if type(obj) in (int, str, float, bool, bytes):
            return obj
        if id(obj) in seen:
            return "seen", seen[id(obj)]
        seen[id(obj)] = len(seen)
        alive.append(obj)
        if type(obj) in (list, tuple):
            return [*map(told, obj)]
        if type(obj) is dict:
            return [(told(key), told(value)) for key, value in obj.items()]
        value = obj.__reduce_ex__(4)
        return value if isinstance(value, str) else [told(parted(part)) for part in value]

    def parted(part: Any) -> Any:
        return list(part) if isinstance(part, Iterator) else part

    return told(graph)


# --- there and back -----------------------------------------------------------


@each_kind
def test_a_graph_of_stand_ins_gives_back_its_stream_to_the_byte(kind: str, lost: Lost) -> None:
    graph = lost.made(GRAPHS[kind])
    stream, snapshot = stream_of(graph), checkpoint.dumps(graph)
    lost.go()
    assert stream_of(without(snapshot)) == stream
    assert stream_of(without(stream)) == stream


@each_kind
def test_passing_through_twice_is_as_once(kind: str, lost: Lost) -> None:
    graph = lost.made(GRAPHS[kind])
    stream, snapshot = stream_of(graph), checkpoint.dumps(graph)
    lost.go()
    again = without(checkpoint.dumps(without(snapshot)))
    assert stream_of(copy.deepcopy(again) if kind != "in an array" else again) == stream


@each_kind
def test_when_the_class_is_back_the_objects_are_the_real_ones(kind: str, lost: Lost) -> None:
    graph = lost.made(GRAPHS[kind])
    wanted, data = outline(graph), checkpoint.dumps(graph)
    lost.go()
    saved = checkpoint.dumps(without(data))
    lost.come()
    back = checkpoint.loads(saved)
    assert outline(back) == wanted


@pytest.mark.parametrize("protocol", range(6))
@each_kind
def test_a_plain_pickle_of_any_protocol_passes_through(
    kind: str, protocol: int, lost: Lost
) -> None:
    graph = lost.made(GRAPHS[kind])
    data = pickled_plainly(graph, protocol)
    wanted = outline(pickle.loads(data))
    lost.go()
    there = without(data)
    if kind != "new keyword arguments":  # Protocols 2 and 3 have a partial for them.
        assert repr(raw_of(stream_of(there))) == repr(raw_of(data))
    saved = checkpoint.dumps(there)
    lost.come()
    assert outline(checkpoint.loads(saved, trust=checkpoint.everything)) == wanted


def pickled_plainly(graph: Any, protocol: int) -> bytes:
    try:
        return pickle.dumps(graph, protocol)
    except (TypeError, pickle.PicklingError) as error:
        pytest.skip(f"protocol {protocol} does not have it: {error}")


@pytest.mark.parametrize("graph", ["{Plain(hp=1), Plain(hp=2)}", "[frozenset({Slim, Colour.RED})]"])
def test_sets_of_stand_ins_come_back_whole(graph: str, lost: Lost) -> None:
    data = checkpoint.dumps(lost.made(graph))
    lost.go()
    saved = checkpoint.dumps(without(data))
    lost.come()
    wanted, back = checkpoint.loads(data), checkpoint.loads(saved)
    if isinstance(back, list):
        assert back == wanted
    else:
        assert sorted(o.hp for o in back) == sorted(o.hp for o in wanted) == [1, 2]


def test_a_mixed_graph_comes_back(lost: Lost) -> None:
    data = checkpoint.dumps(
        lost.made("{'real': np.arange(9), 'at': datetime.datetime(2020, 1, 2), 'orc': [Plain()]}")
    )
    lost.go()
    there = without(data)
    assert there["real"][8] == 8
    assert there["at"].year == 2020
    saved = checkpoint.dumps(there)
    lost.come()
    assert outline(checkpoint.loads(saved)["orc"]) == outline(checkpoint.loads(data)["orc"])


def test_a_subclass_of_array_comes_back(lost: Lost) -> None:
    data = checkpoint.dumps(lost.made("np.arange(6).reshape(2, 3).view(Grid)"))
    lost.go()
    grid = without(data)
    assert isinstance(grid, StandIn)
    saved = checkpoint.dumps(grid)
    grid_type = lost.come().Grid
    back = checkpoint.loads(saved)
    assert type(back) is grid_type
    assert back.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_repository_passes_through_and_keeps_its_type_table(tmp_path: Path, lost: Lost) -> None:
    graph = lost.made("[Rigid(1, 'a'), Plain(hp=1), Point(1, 2), Colour.RED, make]")
    store = tmp_path / "saves"
    with Checkpointer(store) as saves:
        saved = saves.save(graph)
    wanted = outline(graph)
    lost.go()
    with Checkpointer(store, on_missing="stand-in") as saves:
        passed = saves.save(saves.load())
        assert saves.save_in_background(saves.load()).result().types == saved.types
    for entry, other in zip(passed.types, saved.types, strict=True):
        assert (entry, entry.shape) == (other, other.shape)
    assert {entry.shape.kind for entry in passed.types if entry.shape} == {
        *("dataclass", "plain", "namedtuple", "enum")
    }
    lost.come()
    with Checkpointer(store) as saves:
        assert outline(saves.load()) == wanted


def test_a_graph_as_deep_as_can_be_passes_through(lost: Lost) -> None:
    graph = lost.made("functools.reduce(lambda o, n: Plain(o=o), range(20_000), None)")
    stream = stream_of(graph)
    while graph is not None:
        graph = graph.__dict__.pop("o")  # Not even a deallocation may recurse that deep.
    lost.go()
    there = without(stream)
    assert stream_of(there) == stream
    assert len(repr(there)) < 200
    while there is not None:
        there = there.__standin__.state.pop("o")


def test_a_tuple_of_arguments_that_is_elsewhere_too_is_one_tuple_still(lost: Lost) -> None:
    stream = stream_of(lost.made("[Constant('a', 1), ('x', Constant('b', 2).__reduce__()[1])]"))
    lost.go()
    there = without(stream)
    assert there[0].__standin__.args is there[1][1]
    assert stream_of(there) == stream


def test_persistent_ids_are_asked_for_stand_ins_too(lost: Lost) -> None:
    stream = stream_of(lost.made("[Plain(hp=1), Plain(hp=2)]"))
    lost.go()
    there = without(stream)
    pieces: list[Any] = []
    hooks = Hooks(persistent_id=lambda obj: "second" if obj is there[1] else None)
    pickle_into(there, pieces.append, hooks=hooks, restart=pieces.clear)
    with recording():
        back = unpickle(b"".join(pieces), resolve=stand_in, persistent_load=str.upper)
    assert (back[0].hp, back[1]) == (1, "SECOND")


def test_an_output_that_cannot_start_over_refuses_stand_ins(lost: Lost) -> None:
    stream = stream_of(lost.made("Plain()"))
    lost.go()
    with pytest.raises(SerializationError, match="holds stand-ins, for an output"):
        pickle_into(without(stream), list[Any]().append)


def test_what_cannot_be_saved_beside_a_stand_in_is_named(lost: Lost) -> None:
    stream = stream_of(lost.made("Plain()"))
    lost.go()
    with pytest.raises(SerializationError, match=r"state\[1\]\['lock'\]"):
        checkpoint.dumps([without(stream), {"lock": threading.Lock()}])


# --- names --------------------------------------------------------------------


def test_a_class_has_one_stand_in_for_all_loads_and_threads(lost: Lost) -> None:
    stream = stream_of(lost.made("Plain"))
    lost.go()
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(without, [stream] * 64)]
    assert len(set(map(id, found))) == 1
    assert (found[0].__module__, found[0].__qualname__) == ("lost", "Plain")
    assert repr(found[0]) == str(found[0]) == "<stand-in for lost:Plain>"


def test_loads_in_threads_fill_only_their_own_stand_ins(lost: Lost) -> None:
    streams = [stream_of(lost.made(f"[Plain(n={n}), Many(range({n}))] * 9")) for n in range(64)]
    lost.go()
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(without, streams)]
        assert [*pool.map(stream_of, found)] == streams
    assert [graph[0].n for graph in found] == [*range(64)]


def test_a_load_in_a_load_fills_only_its_own(lost: Lost) -> None:
    Nested.stream = stream_of(lost.made("Many([3])"))
    first, second = lost.made("[Many([1]), Many([2])]")
    stream = stream_of([first, Nested(), second])
    lost.go()
    one, nested, two = without(stream)
    assert [one.__standin__.items, two.__standin__.items] == [[1], [2]]
    assert nested.inner.__standin__.items == [3]


class Nested:
    """Loads another graph while it is loaded."""

    stream = b""

    def __reduce__(self) -> tuple[Any, ...]:
        return Nested, (), {}

    def __setstate__(self, state: Any) -> None:
        self.inner = without(self.stream)


def test_names_are_those_of_the_load_and_not_of_the_newest(lost: Lost) -> None:
    stream = stream_of(lost.made("[Plain(Plain='lost'), {'Plain': Plain}, Other.small]"))
    other = stream_of(lost.made("[Plain, Other.small]"))
    lost.go()
    there = without(stream)
    without(other)
    assert stream_of(there) == stream


def test_two_versions_of_a_class_are_not_saved_under_one_shape(lost: Lost) -> None:
    data = checkpoint.dumps(lost.made("Rigid(1, 'a')"))
    cls = lost.come().Rigid
    cls.__checkpoint_version__ = 2
    newer = checkpoint.dumps(cls(2, "b"))
    lost.go()
    old, new = without(data), without(newer)
    assert (old.hp, new.name) == (1, "b")
    for graph in (old, new):
        assert stream_of(graph)
    with pytest.raises(SerializationError, match="lost:Rigid of two versions in one graph"):
        checkpoint.dumps([old, new])


def test_the_class_itself_does_not_take_the_shape_of_another_load(lost: Lost) -> None:
    data = checkpoint.dumps(lost.made("[Rigid, Rigid(1, 'a')]"))
    cls = lost.come().Rigid
    cls.__checkpoint_version__ = 2
    newer = checkpoint.dumps(cls(2, "b"))
    lost.go()
    graph = without(data)
    without(newer)
    (entry,) = pickle_into(graph, lambda _: None, restart=lambda: None).globals
    assert entry.shape is not None
    assert entry.shape.version == 1


def test_stand_ins_beside_a_class_that_changed_meanwhile_are_refused(lost: Lost) -> None:
    data = checkpoint.dumps(lost.made("Rigid(1, 'a')"))
    lost.go()
    there = without(data)
    cls = lost.come().Rigid
    assert checkpoint.loads(checkpoint.dumps([there, cls(1, "a")])) == [cls(1, "a")] * 2
    cls.__checkpoint_version__ = 2
    with pytest.raises(MigrationError, match="two versions in one graph"):
        checkpoint.dumps([there, cls(1, "a")])


def test_a_name_that_no_class_can_have_is_refused() -> None:
    with pytest.raises(MigrationError, match="no class can be named"):
        stand_in("lost", "a\0b")


def test_a_setter_that_is_gone_loses_nothing_of_a_real_object(lost: Lost) -> None:
    lost.come()
    Settable.setter = staticmethod(lost.come().set_state)
    stream = stream_of(Settable())
    lost.go()
    with pytest.raises(MigrationError, match=r"lost:set_state> was to set the state of .*Settable"):
        without(stream)


def test_what_a_real_object_does_not_keep_is_no_setter(lost: Lost) -> None:
    data = checkpoint.dumps(Forgetful(lost.made("[ByCallWithTwo([1], 'a')]")))
    lost.go()
    assert vars(without(data)) == {"count": 1}


class Forgetful:
    """Keeps nothing of its state but how much there was."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def __setstate__(self, state: Any) -> None:
        self.count = len(state["parts"])


class Settable:
    """Its state is set by a function."""

    setter: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Settable, (), {"a": 1}, None, None, self.setter


# --- reading ------------------------------------------------------------------


READ: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("Plain(hp=3, name='Bo')", {"hp": 3, "name": "Bo"}),
    "slots": ("Slotted(hp=3)", {"hp": 3}),
    "slots and more": ("SlottedAndMore(hp=3, free=4)", {"hp": 3, "free": 4}),
    "attrs": ("Slim(3)", {"hp": 3, "name": "Bo"}),
    "dataclass": ("Simple(3)", {"hp": 3, "more": []}),
    "frozen dataclass": ("Rigid(1, 'a')", {"hp": 1, "name": "a"}),
    "named tuple": ("Point(1, 2)", {"x": 1, "y": 2}),
    "enum": ("Colour.BLUE", {"name": "BLUE", "value": "blue"}),
    "no state": ("Plain()", {}),
    "a field called extend": ("Plain(extend=1, append=2, add=3)", {"extend": 1, "add": 3}),
}


@pytest.mark.parametrize("kind", READ)
def test_fields_can_be_read(kind: str, lost: Lost) -> None:
    graph, fields = READ[kind]
    data = checkpoint.dumps(lost.made(graph))
    lost.go()
    there = without(data)
    assert isinstance(there, StandIn)
    for name, value in fields.items():
        assert getattr(there, name) == value
    assert {*fields} <= {*dir(there)}
    with pytest.raises(AttributeError, match=r"has no field 'nothing'.*rename"):
        _ = there.nothing


def test_what_else_it_holds_can_be_read(lost: Lost) -> None:
    data = checkpoint.dumps(
        lost.made("[parts(), Odd(0), Plain(), BySetter(a=1), NewArgsEx(1, b=2)]")
    )
    lost.go()
    parts, odd, plain, by_setter, new = (obj.__standin__ for obj in without(data))
    assert (parts.items, parts.entries) == (["a", "b"], [(1, "one"), ("two", 2)])
    assert odd.state == 0
    assert plain.state is NOTHING
    assert (by_setter.state, repr(by_setter.setter)) == ({"a": 1}, "<stand-in for lost:set_state>")
    assert (new.make, new.args, new.kwargs) == (None, (1,), {"b": 2})


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        ("Plain(hp=3, name='Bo')", "<stand-in for lost:Plain: hp=3, name='Bo'>"),
        ("Few('abcdefg')", "<stand-in for lost:Few: ('a', 'b', 'c', 'd', 'e', 'f', ...)>"),
        ("NewArgs(*'ab')", "<stand-in for lost:NewArgs: both=('a', 'b')>"),
        ("Plain()", "<stand-in for lost:Plain>"),
        ("Whole(3)", "<stand-in for lost:Whole: 3>"),
        ("Plain(o=Plain(hp=1))", "<stand-in for lost:Plain: o=<stand-in for lost:Plain>>"),
        ("linked()", "<stand-in for lost:Plain: other=<stand-in for lost:Plain>>"),
    ],
)  # fmt: skip
def test_it_says_what_it_is(graph: str, told: str, lost: Lost) -> None:
    stream = stream_of(lost.made(graph))
    lost.go()
    assert repr(without(stream)) == str(without(stream)) == told


def test_it_is_equal_to_itself_alone(lost: Lost) -> None:
    stream = stream_of(lost.made("[Point(1, 2), Point(1, 2)]"))
    lost.go()
    first, second = without(stream)
    assert first == first
    assert first != second
    assert {first: 1}[first] == 1


# --- doing nothing ------------------------------------------------------------


def store_field(obj: Any) -> None:
    obj.hp = 4


def store_item(obj: Any) -> None:
    obj[0] = 4


def delete_field(obj: Any) -> None:
    del obj.hp


def kind_of(obj: Any) -> Any:
    return type(obj)


REFUSED: dict[str, Callable[[Any], Any]] = {
    "a field": store_field,
    "a deletion": delete_field,
    "an item": store_item,
    "a call": lambda obj: obj(),
    "a state": lambda obj: obj.__setstate__({}),
    "iteration": list,
    "a length": len,
    "truth": bool,
    "a number": int,
    "an index": lambda obj: [1][obj],
    "containment": lambda obj: 1 in obj,
    "an item read": lambda obj: obj[0],
    "a sum": lambda obj: obj + 1,
    "a sum from the right": lambda obj: 1 + obj,
    "an order": lambda obj: obj < 1,
    "a sign": lambda obj: -obj,
    "a block": lambda obj: obj.__enter__(),
    "a new instance": lambda obj: kind_of(obj)(hp=4),
    "a bare instance": lambda obj: kind_of(obj).__new__(type(obj)),
    "an attribute of the class": lambda obj: store_field(type(obj)),
    "a deletion from the class": lambda obj: delete_field(type(obj)),
    "iteration over the class": lambda obj: list(kind_of(obj)),
    "an item of the class": lambda obj: kind_of(obj)["RED"],
    "a derived class": lambda obj: type("Derived", (type(obj),), {}),
}


@pytest.mark.parametrize("deed", REFUSED)
def test_it_refuses_to_act_and_stays_as_it_is(deed: str, lost: Lost) -> None:
    stream = stream_of(lost.made("Plain(hp=3)"))
    lost.go()
    there = without(stream)
    with pytest.raises(MigrationError, match=r"cannot .*lost:Plain is gone.*rename\('lost:Plain'"):
        REFUSED[deed](there)
    assert stream_of(there) == stream


def test_only_a_load_makes_stand_ins() -> None:
    with pytest.raises(MigrationError, match="only a load makes stand-ins"):
        StandIn()


def test_code_that_asks_during_a_load_finds_no_methods(lost: Lost) -> None:
    stream = stream_of(Asking(lost.made("Plain(hp=3)")))
    lost.go()
    assert without(stream).answers == (True, False, False)


class Asking:
    """Looks at what it refers to while it is loaded."""

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def __setstate__(self, state: Any) -> None:
        obj = state["obj"]
        self.answers = hasattr(obj, "hp"), hasattr(obj, "attack"), hasattr(type(obj), "RED")


def test_copies_are_stand_ins_of_their_own(lost: Lost) -> None:
    stream = stream_of(lost.made("linked(hp=[1])"))
    lost.go()
    there = without(stream)
    deep, shallow = copy.deepcopy(there), copy.copy(there)
    assert stream_of(deep) == stream
    assert deep.other.other is deep
    assert deep.hp is not there.hp
    assert shallow is not there
    assert shallow.hp is there.hp
    assert shallow.other is there.other
    assert copy.deepcopy(type(there)) is copy.copy(type(there)) is type(there)


def test_pickle_itself_refuses_it_and_names_the_class(lost: Lost) -> None:
    stream = stream_of(lost.made("Plain(hp=3)"))
    lost.go()
    with pytest.raises(pickle.PicklingError, match="lost"):
        pickle.dumps(without(stream))


def test_by_default_a_class_that_is_gone_raises(lost: Lost) -> None:
    data = checkpoint.dumps(lost.made("Plain(hp=3)"))
    lost.go()
    with pytest.raises(MigrationError, match=r"lost:Plain is gone.*on_missing='stand-in'"):
        checkpoint.loads(data)


def test_a_class_that_nobody_holds_is_forgotten() -> None:
    forgotten = weakref.ref(stand_in("lost", "Forgotten"))
    gc.collect()
    assert forgotten() is None
