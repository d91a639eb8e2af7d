"""One item out of a stream is what the whole load has there, and costs nothing of the rest."""

from __future__ import annotations

import copyreg
import io
import pickle
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.graphs import (
    Attrs,
    Colour,
    Data,
    DictKind,
    ListKind,
    Node,
    Pair,
    Reduced,
    Registered,
    Slotted,
    graphs,
    same_graph,
)

from checkpoint import CheckpointError, NotFoundError, SerializationError
from checkpoint._deep_pickling import DeepPickler
from checkpoint._pickling import Hooks, pickle_into
from checkpoint._selecting import Selection, select, walk
from checkpoint._unpickling import unpickle

LARGE = 20_000  # so many float64 go beside the stream


def parts(graph: Any) -> tuple[bytes, tuple[memoryview, ...]]:
    pieces: list[Any] = []
    buffers = pickle_into(graph, pieces.append, restart=pieces.clear).buffers
    return b"".join(pieces), buffers


def loaded(selection: Selection, buffers: tuple[memoryview, ...] = ()) -> Any:
    return pickle.loads(selection.stream, buffers=[buffers[n] for n in selection.buffers])


def item(graph: Any, *path: Any) -> Any:
    """The item at *path*, saved with the whole and loaded alone."""
    stream, buffers = parts(graph)
    return loaded(select(stream, path), buffers)


def whole(graph: Any, *path: Any) -> Any:
    """The item at *path* after a load of the whole."""
    stream, buffers = parts(graph)
    return walk(pickle.loads(stream, buffers=buffers), path)


# Any graph.

CONTAINERS: list[Callable[[list[Any]], tuple[Any, list[Any]]]] = []


def container(fill: Callable[[list[Any]], tuple[Any, list[Any]]]) -> Any:
    CONTAINERS.append(fill)
    return fill


@container
def as_dict(values: list[Any]) -> tuple[Any, list[Any]]:
    keys = ["a", 1, b"c", None, (1, ("d", 2.5)), -70_000, 2**90, "ä" * 300, 0.5][: len(values)]
    return dict(zip(keys, values, strict=False)), keys


@container
def as_ordered_dict(values: list[Any]) -> tuple[Any, list[Any]]:
    made = OrderedDict((str(n), value) for n, value in enumerate(values))
    return made, list(made)


@container
def as_default_dict(values: list[Any]) -> tuple[Any, list[Any]]:
    made: Any = defaultdict(list, enumerate(values))
    return made, list(made)


@container
def as_dict_subclass(values: list[Any]) -> tuple[Any, list[Any]]:
    made = DictKind((str(n), value) for n, value in enumerate(values))
    made.label = 7
    return made, [*made, "label"]


@container
def as_instance(values: list[Any]) -> tuple[Any, list[Any]]:
    made = Node(7)
    names = [f"x{n}" for n in range(len(values))]
    for name, value in zip(names, values, strict=True):
        setattr(made, name, value)
    return made, [*names, "label"]


@container
def as_slots(values: list[Any]) -> tuple[Any, list[Any]]:
    made = Slotted(7)
    made.children = values
    return made, ["label", "children"]


@container
def as_attrs(values: list[Any]) -> tuple[Any, list[Any]]:
    return Attrs(7, values), ["label", "children"]


@container
def as_data(values: list[Any]) -> tuple[Any, list[Any]]:
    return Data(7, values), ["label", "children"]


@container
def as_list(values: list[Any]) -> tuple[Any, list[Any]]:
    return list(values), [*range(len(values)), *range(-len(values), 0)]


@container
def as_tuple(values: list[Any]) -> tuple[Any, list[Any]]:
    return tuple(values), [*range(len(values)), *range(-len(values), 0)]


@container
def as_list_subclass(values: list[Any]) -> tuple[Any, list[Any]]:
    made = ListKind(values)
    made.label = 7
    return made, [*range(len(values)), "label"]


@container
def as_deque(values: list[Any]) -> tuple[Any, list[Any]]:
    return deque(values), list(range(len(values)))


def entangle(root: Any, values: list[Any]) -> None:
    """Let what can hold something hold the root, too."""
    for value in values:
        if isinstance(value, (list, deque)):
            value.append(root)
        elif isinstance(value, dict):
            value["root"] = root
        elif isinstance(value, (Node, Reduced, Registered)):
            value.children = root


def check(root: Any, paths: list[tuple[Any, ...]]) -> None:
    for pickled in (parts(root)[0], deep_stream(root)):
        for path in paths:
            expected = walk(pickle.loads(pickled), path)
            assert same_graph(expected, loaded(select(pickled, path))), path


def deep_stream(graph: Any) -> bytes:
    pieces: list[Any] = []
    DeepPickler(pieces.append).dump(graph)
    return b"".join(pieces)


@settings(max_examples=120, deadline=None)
@given(st.lists(graphs(), max_size=9), st.sampled_from(CONTAINERS))
def test_each_item_alone_is_what_the_whole_load_has_there(values: list[Any], fill: Any) -> None:
    root, steps = fill(values)
    check(root, [(), *((step,) for step in steps)])


@settings(max_examples=120, deadline=None)
@given(graphs(), st.sampled_from(CONTAINERS), st.sampled_from(CONTAINERS), st.integers(0, 3))
def test_items_that_share_and_refer_to_the_root_come_with_all_they_need(
    graph: Any, inner: Any, outer: Any, tangled: int
) -> None:
    values = list(graph) if isinstance(graph, list) else [graph]
    middle, steps = inner(values[:9])
    root, _ = outer([*values[9:12], middle, middle])
    entangle(root, values[:tangled])
    found = [step for step in outer_steps(root) if walk(root, (step,)) is middle]
    check(root, [(found[0], step) for step in steps] if found else [()])


def outer_steps(root: Any) -> list[Any]:
    if isinstance(root, dict):
        return list(root)
    if isinstance(root, (list, tuple, deque)):
        return list(range(len(root)))
    return [name for name in (*getattr(root, "__dict__", ()), "children") if hasattr(root, name)]


# Streams that no pickler writes, and that pickle reads all the same.


def improbable(draw: Callable[[int], int], length: int) -> bytes:
    """A stream that fills what it recalls, drops what it has made, and ends with a dict."""
    out, memo, stack = bytearray(pickle.PROTO + b"\x05"), ["root"], ["root"]
    out += pickle.EMPTY_DICT + pickle.MEMOIZE
    for n in range(length):
        depth, choice = len(stack), draw(7)
        if choice < 3:
            kind = ("list", "dict", "atom")[choice]
            key = pickle.SHORT_BINUNICODE + b"\x01" + bytes([97 + n % 26])
            out += (pickle.EMPTY_LIST, pickle.EMPTY_DICT, key)[choice] + pickle.MEMOIZE
            memo.append(kind)
            stack.append(kind)
        elif choice == 3:
            index = draw(len(memo))
            out += pickle.BINGET + bytes([index])
            stack.append(memo[index])
        elif choice == 4 and depth > 2 and stack[-2] == "list":
            out += pickle.APPEND
            stack.pop()
        elif choice == 5 and depth > 3 and stack[-3:-1] == ["dict", "atom"]:
            out += pickle.SETITEM
            del stack[-2:]
        elif choice == 6 and depth > 1:
            made = draw(3)
            out += (pickle.POP, pickle.TUPLE1 + pickle.MEMOIZE, pickle.TUPLE1)[made]
            stack.pop()
            if made:
                stack.append("tuple")
            if made == 1:
                memo.append("tuple")
        if len(memo) > 250:
            break
    out += pickle.POP * (len(stack) - 1)
    return bytes(out) + _all_of_the_memo(len(memo)) + pickle.STOP


def _all_of_the_memo(count: int) -> bytes:
    entries = (pickle.BININT1 + bytes([n]) + pickle.BINGET + bytes([n]) for n in range(count))
    return pickle.MARK + b"".join(entries) + pickle.SETITEMS


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 120))
def test_what_is_filled_long_after_it_was_made_comes_full(
    chance: random.Random, length: int
) -> None:
    stream = improbable(chance.randrange, length)
    graph = pickle.loads(stream)
    for key in [key for key in graph if isinstance(key, int)][:40]:
        assert same_graph(graph[key], loaded(select(stream, (key,))))
        for step in steps_of(graph[key])[:3]:
            with suppress(SerializationError):  # what fills it is not in one place
                alone = select(stream, (key, step))
                assert same_graph(graph[key][step], loaded(alone))


def steps_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, (list, tuple)) else []


KNOWN = {("collections", "OrderedDict"), ("collections", "deque"), ("builtins", "complex")}


class Known(pickle.Unpickler):
    """Loads a damaged stream of these graphs without doing anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "properties.graphs" or (module, name) in KNOWN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError("not one of ours")


@settings(max_examples=200, deadline=None)
@given(graphs(), st.data())
def test_a_damaged_stream_is_refused_or_cut_like_any_other(graph: Any, data: Any) -> None:
    stream = bytearray(parts({"a": graph, "b": [graph, "text", 1.5]})[0])
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(2, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        selection = select(stream, ("b",))
        expected = Known(io.BytesIO(stream)).load()["b"]
    except (SerializationError, NotFoundError):
        return
    except Exception:  # pickle's own refusal can be any
        return
    assert same_graph(expected, loaded(selection))


# What it costs.


class Fragile:
    """Cannot be loaded."""

    def __reduce__(self) -> Any:
        return refuse_to_load, ()


class FragileState:
    def __getstate__(self) -> Any:
        return {"weights": [1, 2]}

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("this was not asked for")


def refuse_to_load() -> None:
    raise RuntimeError("this was not asked for")


def test_an_item_takes_its_own_buffers_only() -> None:
    state = {f"w{n}": np.arange(LARGE) + n for n in range(64)}
    stream, buffers = parts(state)
    for n in range(64):
        selection = select(stream, (f"w{n}",))
        assert selection.buffers == (n,)
        assert len(selection.stream) < 200
        assert np.array_equal(loaded(selection, buffers), state[f"w{n}"])


def test_a_path_through_attributes_and_keys_takes_the_buffers_at_its_end() -> None:
    job = Node(1)
    job.model = Attrs(2, {"encoder": [np.zeros(LARGE), np.ones(LARGE)], "decoder": np.zeros(LARGE)})
    job.data = np.zeros(LARGE)
    stream, buffers = parts({"rest": np.zeros(LARGE), "job": job})
    selection = select(stream, ("job", "model", "children", "encoder", 1))
    assert selection.buffers == (2,)
    assert np.array_equal(loaded(selection, buffers), np.ones(LARGE))
    assert select(stream, ("job", "model")).buffers == (1, 2, 3)
    assert select(stream, ("job", "model", "label")).buffers == ()
    assert select(stream, ()).buffers == (0, 1, 2, 3, 4)


def test_an_array_under_two_keys_comes_with_each_and_is_one_where_both_come() -> None:
    shared = np.arange(LARGE)
    state = {"both": {"a": shared, "b": shared}, "again": shared}
    stream, buffers = parts(state)
    for path in (("both", "a"), ("both", "b"), ("again",)):
        selection = select(stream, path)
        assert selection.buffers == (0,)
        assert np.array_equal(loaded(selection, buffers), shared)
    both = item(state, "both")
    assert both["a"] is both["b"]


def test_an_array_and_a_view_of_it_come_as_in_the_whole() -> None:
    base = np.arange(4 * LARGE)
    state = {"a": base, "view": base[LARGE:], "turned": base.reshape(4, -1).T, "few": base[::2]}
    stream, buffers = parts(state)
    taken = {"a": (0,), "view": (1,), "turned": (2,), "few": ()}
    for key, expected in taken.items():
        selection = select(stream, (key,))
        assert selection.buffers == expected
        alone, together = loaded(selection, buffers), whole(state, key)
        assert np.array_equal(alone, together)
        assert alone.flags.f_contiguous == together.flags.f_contiguous


def test_large_memory_in_the_stream_itself_stays_behind() -> None:
    state = {"raw": bytes(1 << 20), "text": "x" * (1 << 20), "array": bytearray(1 << 20), "n": 1}
    stream, _ = parts(state)
    assert len(select(stream, ("n",)).stream) < 10
    for key, value in state.items():
        assert item(state, key) == value
        assert loaded(select(memoryview(bytearray(stream)), (key,))) == value


@pytest.mark.parametrize("rest", [Fragile(), FragileState(), [Fragile()], {"x": FragileState()}])
def test_what_is_not_selected_is_not_built(rest: Any) -> None:
    state = {"before": rest, "model": {"w": [1.5]}, "after": rest}
    assert item(state, "model") == {"w": [1.5]}
    assert item(Attrs(1, (rest, "model")), "children", 1) == "model"
    with pytest.raises(RuntimeError, match="not asked for"):
        item(state, "before")


def test_the_state_of_what_cannot_be_built_can_be_selected() -> None:
    assert item([FragileState()], 0, "weights") == [1, 2]


def test_classes_that_are_gone_do_not_matter_where_they_are_not_selected() -> None:
    stream, _ = parts({"old": Node(1), "new": [1, 2]})
    gone = stream.replace(b"properties.graphs", b"properties.grafts")
    assert loaded(select(gone, ("new",))) == [1, 2]
    assert loaded(select(gone, ("old", "label"))) == 1


def test_a_selection_is_a_stream_to_select_from() -> None:
    state = {"a": {"b": [Node(1), Node(2)], "c": "text"}, "d": Node(3)}
    once = select(parts(state)[0], ("a",))
    assert loaded(select(once.stream, ("b", 1, "label"))) == 2


# Values of many sorts, alone and beside others that they share with.


class Getnewargs:
    def __new__(cls, *, size: int) -> Getnewargs:
        self = super().__new__(cls)
        self.size = size
        return self

    def __getnewargs_ex__(self) -> Any:
        return (), {"size": self.size}


class OwnState:
    def __init__(self) -> None:
        self.kept = [1]

    def __getstate__(self) -> Any:
        return (self.kept, "whatever")

    def __setstate__(self, state: Any) -> None:
        self.kept = state[0]


class SetByCall:
    """Filled by a function, and made without arguments."""

    kept = 0

    def __reduce__(self) -> Any:
        return SetByCall, (), {"kept": 1}, None, None, set_kept


def set_kept(obj: SetByCall, state: Any) -> None:
    obj.kept = state["kept"]


@dataclass(slots=True, frozen=True)
class Frozen:
    x: int
    y: Any


@dataclass
class Failure(Exception):
    reason: str


VALUES: list[Callable[[], Any]] = [
    lambda: Colour.RED,
    lambda: Pair([1], {2}),
    lambda: {1, "a", Colour.GREEN, frozenset([2])},
    lambda: frozenset([(1, 2), "b"]),
    lambda: OrderedDict(b=1, a=[2]),
    lambda: defaultdict(list, x=[1]),
    lambda: deque([1, [2]], maxlen=3),
    lambda: Counter("abca"),
    lambda: Decimal("1.50"),
    lambda: ValueError("told", [1]),
    lambda: Failure("why"),
    lambda: Getnewargs(size=3),
    OwnState,
    SetByCall,
    lambda: Frozen(1, [2]),
    lambda: Node,
    lambda: partial(sorted, key=len),
    lambda: datetime(2020, 1, 2, tzinfo=UTC),
    lambda: range(3),
    lambda: np.float32(1.5),
    lambda: np.dtype([("x", "<f4"), ("y", "<i8")]),
    lambda: np.arange(6).reshape(2, 3),
    lambda: np.array([[1], "a", None], dtype=object),
    lambda: np.random.default_rng(3).bit_generator.state,
    lambda: random.Random(3).getstate(),
    lambda: bytearray(b"raw" * 9),
    lambda: pickle.PickleBuffer(bytes(1 << 17)),
    lambda: pickle.PickleBuffer(bytearray(1 << 17)),
]


@pytest.mark.parametrize("make", VALUES)
def test_a_value_of_any_sort_comes_alone_as_it_comes_with_the_whole(make: Any) -> None:
    value = make()
    state = {"first": [make(), value], "value": value, "last": (value, make())}
    for path in ((key,) for key in state):
        assert plain(item(state, *path)) == plain(whole(state, *path))
    for key in ("first", "last"):
        both = item({"a": 1, key: {"x": state[key], "y": value}}, key)
        assert (both["x"][key == "first"] is both["y"]) == has_identity(value)


class Plain(pickle.Pickler):
    """Pickles what was loaded in place of a `PickleBuffer`, too."""

    def reducer_override(self, obj: Any) -> Any:
        return (bytes, (bytes(obj),)) if isinstance(obj, memoryview) else NotImplemented


def plain(value: Any) -> bytes:
    """Bytes that tell values, types and sharing apart."""
    file = io.BytesIO()
    Plain(file, 5).dump(value)
    return file.getvalue()


def has_identity(value: Any) -> bool:
    return not isinstance(value, pickle.PickleBuffer)


def test_a_dict_that_holds_itself_comes_whole_with_its_item() -> None:
    state: dict[str, Any] = {"name": "x", "items": [1, {}], "rest": [2]}
    state["items"][1]["root"] = state["self"] = state
    found = item(state, "items")
    assert found[1]["root"]["items"] is found
    assert found[1]["root"]["rest"] == [2]
    assert item(state, "self")["self"]["items"][1]["root"]["name"] == "x"
    assert item(state, "self", "items", 1, "root", "rest") == [2]
    assert item(state, "rest") == [2]


def test_what_is_made_twice_because_it_holds_itself_comes_once() -> None:
    inner: list[Any] = []
    cyclic = (inner, 1, 2, 3)
    inner.append(cyclic)
    holder = Node(1)
    held = frozenset([holder])
    holder.children = held
    state = {"cyclic": cyclic, "held": held, "short": "x", ("key", 1): "y"}
    found = item(state, "cyclic")
    assert found[0][0] is found
    (one,) = item(state, "held")
    assert len(one.children) == 1 and one in one.children
    assert item(state, "short") == "x" and item(state, ("key", 1)) == "y"
    assert item(cyclic, 0)[0][1:] == (1, 2, 3)
    numbered = {1: cyclic, 2: held, 3: cyclic}
    assert item(numbered, 1)[1:] == item(numbered, 3)[1:] == (1, 2, 3)
    assert len(select(parts([5, cyclic])[0], (0,)).stream) == len(pickle.dumps(5, 5))


def test_an_object_filled_by_a_function_comes_full() -> None:
    one = Reduced(1)
    one.children = [one, "x"]
    state = {"a": [one], "b": one, "c": one.children}
    assert item(state, "b").children[0].label == 1
    assert item(state, "a")[0].children[1] == "x"
    assert item(state, "c")[0].children[1] == "x"


def test_persistent_ids_and_extension_codes_are_part_of_an_item() -> None:
    pieces: list[Any] = []
    outside = object()
    hooks = Hooks(persistent_id=lambda obj: ["id", 7] if obj is outside else None)
    pickle_into({"a": [outside, outside], "b": outside, "c": 1}, pieces.append, hooks=hooks)
    for path in (("a",), ("b",), ("c",), ("a", 1)):
        asked: list[Any] = []
        unpickle(select(b"".join(pieces), path).stream, persistent_load=asked.append)
        assert asked == [["id", 7]] * {"a": 2, "b": 1, "c": 0}[path[0]] or path == ("a", 1)
    copyreg.add_extension("properties.graphs", "Slotted", 240)
    try:
        assert item({"a": Slotted, "b": [Slotted]}, "b") == [Slotted]
    finally:
        copyreg.remove_extension("properties.graphs", "Slotted", 240)


# Size.


def test_one_of_a_hundred_thousand_keys_is_found() -> None:
    state = {f"key {n}": [n] for n in range(100_000)}
    assert item(state, "key 77777") == [77777]
    with pytest.raises(NotFoundError, match=r"'key 0', .* and 99,995 more"):
        item(state, "key")


def test_a_graph_of_any_depth_is_selected_from() -> None:
    deep: list[Any] = ["bottom"]
    for _ in range(100_000):
        deep = [deep]
    stream, _ = parts({"deep": deep, "flat": [1]})
    assert loaded(select(stream, ("flat",))) == [1]
    found = loaded(select(stream, ("deep",)))
    for _ in range(100_000):
        (found,) = found
    assert found == ["bottom"]


def test_a_long_chain_that_refers_to_its_neighbours_comes_whole() -> None:
    links = [Node(n) for n in range(20_000)]
    for n, link in enumerate(links):
        link.before, link.after = links[n - 1], links[(n + 1) % len(links)]
    found = item({"rest": 1, "links": links, "last": links[-1]}, "last")
    assert found.after.label == 0 and found.before.before.label == 19_997
    assert item({"first": links[0], "rest": 1}, "rest") == 1


# What is not there, and what cannot be told.

POINT = Pair([1], 2)

MISSING = [
    ({"model": 1, "x": 2}, ("modle",), "state['modle'] is not there; there are 'model', 'x'"),
    ({"a": {"b": 1}}, ("a", "c"), "state['a']['c'] is not there; there is 'b'"),
    ({"a": [1, 2, 3]}, ("a", 3), "state['a'][3] is not there; there are 3 items"),
    ({"a": (1,)}, ("a", -2), "state['a'][-2] is not there; there is 1 item"),
    ({"a": []}, ("a", 0), "state['a'][0] is not there; nothing is there"),
    ({"a": "text"}, ("a", "b"), "state['a']['b'] is not there; nothing is there"),
    ([{"a": None}], (0, "a", "b"), "state[0]['a']['b'] is not there; nothing is there"),
    (Node(1), ("lable",), "state.lable is not there; there is 'label'"),
    (Attrs(1, {"x": 2}), ("children", 0), "state.children[0] is not there; there is 'x'"),
    (Data(1, 2), ("other",), "state.other is not there; there are 'label', 'children'"),
    ({}, ("a",), "state['a'] is not there; nothing is there"),
    (dict.fromkeys(range(9)), (9,), "state[9] is not there; there are 0, 1, 2, 3, 4 and 4 more"),
    ({"k" * 99: 1}, (b"x",), f"state[b'x'] is not there; there is '{'k' * 59}…"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "path", "message"), MISSING)
def test_an_error_names_the_step_that_is_not_there_and_what_is(
    state: Any, path: tuple[Any, ...], message: str
) -> None:
    for found in (item, walk):
        with pytest.raises(NotFoundError) as caught:
            found(state, *path) if found is item else walk(state, path)
        assert str(caught.value) == message


def test_a_key_that_the_stream_does_not_spell_out_is_said_to_be_one() -> None:
    state = {Colour.RED: 1, (1, Colour.RED): 2, "a": 3}
    with pytest.raises(NotFoundError, match=r"only the loaded graph can tell, .*, 'a'$"):
        item(state, "b")
    assert item(state, "a") == 3


@pytest.mark.parametrize(
    ("value", "step"),
    [
        (Counter("aab"), "a"),
        (POINT, 0),
        (POINT, "first"),
        (deque([1], maxlen=3), 0),
        (defaultdict(list, x=1), "y"),
        (np.arange(3), 0),
        (np.arange(LARGE), 0),
        (Colour.RED, "value"),
        (Reduced(1), "label"),
        (SetByCall(), "kept"),
        (OwnState(), "kept"),
        (Frozen(1, 2), "x"),
        (ValueError("x"), "args"),
        (Node, "__init__"),
        (pickle.PickleBuffer(bytes(1 << 17)), 0),
        (Getnewargs(size=1), "other"),
    ],
)
def test_what_only_the_loaded_graph_could_tell_is_said_to_be_so(value: Any, step: Any) -> None:
    with pytest.raises(SerializationError, match=r"state\['v'\].* cannot be told") as caught:
        item({"v": value, "w": 1}, "v", step)
    assert caught.value.path is not None
    assert plain(item({"v": value, "w": 1}, "v")) == plain(whole({"v": value, "w": 1}, "v"))


def test_keys_come_before_attributes_and_the_last_value_under_a_key_counts() -> None:
    state = DictKind(label="key")
    state.label = 5
    assert item(state, "label") == "key"
    one = pickle.EMPTY_DICT + pickle.MEMOIZE + (b"K\x01K\x02s") + b"\x88K\x03s" + b"K\x01K\x04s"
    assert loaded(select(b"\x80\x05" + one + b".", (1.0,))) == 4


def test_walk_takes_attributes_that_are_not_saved_and_rows_of_any_sort() -> None:
    assert walk({"p": POINT}, ("p", "first", 0)) == 1
    assert walk(deque([1, {"a": 2}]), (-1, "a")) == 2
    assert walk(defaultdict(list, a=1), ("a",)) == 1
    with pytest.raises(NotFoundError):
        walk(defaultdict(list), ("a",))


# Hostile streams.

PROTO = b"\x80\x05"
HOSTILE = {
    "empty": b"",
    "only a head": PROTO,
    "no value": PROTO + b".",
    "protocol 4": b"\x80\x04}.",
    "two values": PROTO + b"NN.",
    "an open mark": PROTO + b"(N.",
    "after the end": PROTO + b"}.}.",
    "cut off": PROTO + b"}\x94\x8c\x05ab.",
    "a length past the end": PROTO + b"\x8e" + b"\xff" * 8 + b".",
    "recalls what is not there": PROTO + b"h\x00.",
    "recalls far away": PROTO + b"}\x94j\xff\xff\xff\xffs.",
    "puts twice": PROTO + b"}\x94\x94.",
    "puts what was recalled": PROTO + b"}\x94h\x00\x94.",
    "puts nothing": PROTO + b"\x94.",
    "puts anywhere": PROTO + b"}r\xff\xff\xff\xff.",
    "fills nothing": PROTO + b"(Ku.",
    "fills a mark": PROTO + b"}(K\x01K\x02su.",
    "makes something of a mark": PROTO + b"}(N\x86u.",
    "drops below": PROTO + b"0N.",
    "drops to no mark": PROTO + b"}1.",
    "drops the mark": PROTO + b"(0K\x01s.",
    "a global of old": PROTO + b"cos\nsystem\n.",
    "an instance of old": PROTO + b"(ios\nsystem\n.",
    "a copy": PROTO + b"}2.",
    "a frame": PROTO + b"\x95\x01\x00\x00\x00\x00\x00\x00\x00}.",
    "no opcode": PROTO + b"}\xff.",
}


@pytest.mark.parametrize("stream", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_stream_is_refused(stream: bytes) -> None:
    with pytest.raises(SerializationError, match="nothing can be selected from this stream: "):
        select(stream, ("a",))


def nested_keys(depth: int) -> bytes:
    """Keys that are each a tuple of the next, twice: the first of 2**depth values."""
    tuples = b"K\x01\x85\x940" + b"".join(b"h%ch%c\x86\x940" % (n, n) for n in range(depth))
    return (
        PROTO + b"}" + tuples + b"(" + b"".join(b"h%cN" % n for n in range(depth, -1, -1)) + b"u."
    )


def test_keys_that_spell_out_more_than_can_be_compared_are_not_spelled_out() -> None:
    with pytest.raises(NotFoundError, match="only the loaded graph"):
        select(nested_keys(200), ("a",))
    assert loaded(select(nested_keys(2), (((1,), (1,)),))) is None
    recalls_itself = b")\x85\x94(" + b"h\x00" * 50 + b"tb"
    with pytest.raises(NotFoundError, match="only the loaded graph"):
        select(PROTO + b"}" + recalls_itself + b"Ns.", ("a",))


def test_what_was_dropped_is_not_there() -> None:
    with pytest.raises(NotFoundError, match="nothing is there"):
        select(PROTO + b"}K\x01K\x02s0}.", (1,))
    assert loaded(select(PROTO + b"}(0K\x01K\x02s.", (1,))) == 2


@pytest.mark.parametrize("unit", [b"]\x94", b"(", b"}\x94K\x01", b"]\x94h\x00"])
def test_depth_alone_does_no_harm(unit: bytes) -> None:
    with pytest.raises(CheckpointError):
        select(PROTO + unit * 200_000 + b".", ("a",))
