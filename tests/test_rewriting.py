"""A stream whose globals are renamed gives the same graph, made by what has the new names."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from properties.graphs import Colour, Node, Slotted, graphs, same_graph, set_children

from checkpoint import SerializationError
from checkpoint._pickling import pickle_into
from checkpoint._rewriting import renamed
from checkpoint._selecting import select
from checkpoint._unpickling import find_global

Name = tuple[str, str]

HERE = Node.__module__
POOL = [HERE, "mobs", "a.b", "Node", "children", "ü" * 200, "x" * 70_000, "Outer.Inner"]


class Outer:
    class Inner:
        """A class whose qualified name has a dot."""


def pickled(graph: Any) -> bytes:
    pieces: list[Any] = []
    pickle_into(graph, pieces.append)
    return b"".join(pieces)


class Loader(pickle.Unpickler):
    """Loads, and keeps which names it was asked for; *old* says what a new name was."""

    def __init__(self, stream: bytes, old: dict[Name, Name]) -> None:
        super().__init__(io.BytesIO(stream))
        self.asked: set[Name] = set()
        self.old = old

    def find_class(self, module: str, qualname: str) -> Any:
        self.asked.add((module, qualname))
        return find_global(*self.old.get((module, qualname), (module, qualname)))


def names_in(stream: bytes) -> list[Name]:
    """The globals that *stream* asks for, as pickle itself finds them."""
    loader = Loader(stream, {})
    loader.load()
    return sorted(loader.asked)


def rename(stream: bytes, new: dict[Name, Name]) -> bytes | None:
    return renamed(stream, lambda *name: new.get(name, name))


def check(graph: Any, new: dict[Name, Name]) -> bytes:
    """Rename in the stream of *graph*, and look at what the result asks for and gives."""
    stream = pickled(graph)
    changed = rename(stream, new)
    assert changed is not None
    back = {name: old for old, name in new.items()}
    loader = Loader(changed, back)
    assert same_graph(graph, loader.load())
    assert loader.asked == {new.get(name, name) for name in names_in(stream)}
    return changed


@st.composite
def renamings(draw: st.DrawFn) -> tuple[Any, dict[Name, Name]]:
    """A graph that holds the names of its classes as data, too; and new names for its globals."""
    graph = draw(graphs())
    texts = draw(st.lists(st.sampled_from([HERE, Node.__qualname__, Node, "children"])))
    graph = draw(st.sampled_from([[*texts, graph, *texts], [graph, texts], graph]))
    new = {}
    for module, qualname in names_in(pickled(graph)):
        to = draw(st.sampled_from([module, *POOL])), draw(st.sampled_from([qualname, *POOL]))
        new[module, qualname] = to
    assume(len(set(new.values())) == len(new))
    return graph, new


@given(renamings())
def test_the_graph_is_the_same_and_asks_for_the_new_names(case: tuple[Any, Any]) -> None:
    graph, new = case
    if all(name == old for old, name in new.items()):
        assert rename(pickled(graph), new) is None
    else:
        check(graph, new)


@given(renamings())
def test_renaming_back_gives_the_same_graph_again(case: tuple[Any, dict[Name, Name]]) -> None:
    graph, new = case
    stream = pickled(graph)
    back = {name: old for old, name in new.items()}
    there = rename(stream, new) or stream
    again = rename(there, back) or there
    assert names_in(again) == names_in(stream)
    assert same_graph(graph, pickle.loads(again))


@given(graphs())
def test_names_that_stay_leave_the_stream_alone(graph: Any) -> None:
    assert renamed(pickled(graph), lambda *name: name) is None


def test_a_name_that_only_globals_use_is_replaced_where_it_stands() -> None:
    graph = [Node(1), Slotted(2), Node, set_children, Colour.RED, Node(3)]
    stream = pickled(graph)
    new = {name: ("mobs", name[1]) for name in names_in(stream) if name[0] == HERE}
    changed = check(graph, new)
    assert changed == stream.replace(HERE.encode(), b"mobs").replace(
        bytes([len(HERE)]) + b"mobs", b"\x04mobs"
    )
    assert rename(changed, {name: old for old, name in new.items()}) == stream


@pytest.mark.parametrize("place", [0, 1, 3])
def test_data_that_reads_like_a_module_or_a_class_never_changes(place: int) -> None:
    graph: list[Any] = [Node(1), Slotted(2), Node(3)]
    graph[place:place] = [HERE, Node.__qualname__, "label"]
    check(graph, {(HERE, "Node"): ("mobs", "Orc"), (HERE, "Slotted"): ("mobs", "Slotted")})


@pytest.mark.parametrize("length", [1, 255, 256, 70_000])
def test_a_name_may_be_of_any_length(length: int) -> None:
    graph = [Node(1), Slotted(2), HERE]
    check(graph, {(HERE, "Node"): ("m" * length, "Node"), (HERE, "Slotted"): ("m" * length, "S")})


def test_classes_of_one_module_may_go_to_different_ones() -> None:
    graph = [Node(1), Slotted(2), Node, Colour.GREEN, Node(3)]
    check(graph, {(HERE, "Node"): ("mobs", "Node"), (HERE, "Slotted"): ("items", "Slotted")})
    check(graph, {(HERE, "Slotted"): ("items", "Slotted")})


def test_one_class_may_take_the_name_of_another() -> None:
    graph = [Node(1), Slotted(2)]
    check(graph, {(HERE, "Node"): (HERE, "Slotted"), (HERE, "Slotted"): (HERE, "Node")})


def test_two_classes_may_become_one() -> None:
    stream = pickled([Node(1), Slotted])
    changed = renamed(stream, lambda module, qualname: (HERE, "Node"))
    assert changed is not None
    node, kind = pickle.loads(changed)
    assert (type(node), kind) == (Node, Node)


def test_a_name_that_is_a_module_here_and_a_class_there_is_told_apart() -> None:
    stream = pickle.PROTO + b"\x05(\x8c\x01m\x94h\x00\x93h\x00\x8c\x01n\x94\x93h\x01h\x00l."
    stream = stream.replace(b"l.", b"t.")
    assert seen(stream) == [("m", "m"), ("m", "n")]
    changed = renamed(stream, lambda module, qualname: ("k", qualname))
    assert changed is not None
    assert seen(changed) == [("k", "m"), ("k", "n")]
    assert all_of(changed)[2:] == ("n", "m")


def seen(stream: bytes) -> list[Name]:
    return [value for value in all_of(stream) if isinstance(value, tuple)]


def all_of(stream: bytes) -> tuple[Any, ...]:
    """What *stream* holds, its globals as pairs of names."""

    class Pairs(pickle.Unpickler):
        def find_class(self, module: str, qualname: str) -> Any:
            return module, qualname

    loaded: tuple[Any, ...] = Pairs(io.BytesIO(stream)).load()
    return loaded


def test_a_nested_class_has_its_whole_name_renamed() -> None:
    graph = [Outer(), Outer.Inner(), Outer.Inner]
    stream = pickled(graph)
    module = Outer.__module__
    changed = rename(stream, {(module, "Outer.Inner"): ("parts", "Part.Core")})
    assert changed is not None
    names = {(module, "Outer"), ("parts", "Part.Core")}
    loader = Loader(changed, {("parts", "Part.Core"): (module, "Outer.Inner")})
    first, second, third = loader.load()
    assert loader.asked == names
    assert [type(first), type(second), third] == [Outer, Outer.Inner, Outer.Inner]


def test_what_is_of_the_main_module_is_left_alone() -> None:
    stream = pickled([Node(1)]).replace(bytes([len(HERE)]) + HERE.encode(), b"\x08__main__")
    asked: list[Name] = []

    def to_mobs(*name: str) -> Name:
        asked.append((name[0], name[1]))
        return "mobs", name[1]

    assert renamed(stream, to_mobs) is None
    assert asked == []


def test_nothing_that_a_stream_names_is_imported_or_called() -> None:
    stream = pickled([Node(1)])
    changed = renamed(stream, lambda module, qualname: ("no.such.module", qualname))
    assert changed is not None
    again = renamed(changed, lambda module, qualname: ("nor.this", qualname))
    assert again is not None
    with pytest.raises(ModuleNotFoundError, match="nor"):
        pickle.loads(again)


def test_a_part_of_a_renamed_stream_can_be_selected() -> None:
    graph = {"names": [HERE, "Node"], "first": Node(1), "second": [Slotted(2), Node(3)]}
    new = {(HERE, "Node"): ("mobs", "Orc"), (HERE, "Slotted"): ("items", "Sword")}
    changed = check(graph, new)
    for path in (("first",), ("second",), ("second", 1), ("names",)):
        part = Loader(select(changed, path).stream, {name: old for old, name in new.items()}).load()
        whole: Any = graph
        for step in path:
            whole = whole[step]
        assert same_graph(whole, part)


@pytest.mark.parametrize(
    "body",
    [
        b"K\x01K\x02\x93.",  # numbers for names
        b"\x8c\x01a\x94\x85\x94h\x01\x8c\x01b\x93\x86.",  # a tuple out of the memo
        b"\x8c\x01a\x93.",  # one name
        b"cmodule\nname\n.",
        b"h\x07\x8c\x01b\x93.",
        b"\x8c\xffab",
    ],
)
def test_what_no_pickler_writes_is_refused(body: bytes) -> None:
    with pytest.raises(SerializationError):
        renamed(pickle.PROTO + b"\x05" + body, lambda module, qualname: ("x", "y"))
