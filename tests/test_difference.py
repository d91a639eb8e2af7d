"""A difference names each path that was added, removed or changed, and no other."""

from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from properties.graphs import Attrs, Colour, ListKind, Node, graphs

from checkpoint import Checkpointer, Difference, NotFoundError
from checkpoint._difference import difference
from checkpoint._outline import Source
from checkpoint._pickling import pickle_into

NODE = "properties.graphs:Node"


def source(graph: Any) -> Source:
    pieces: list[Any] = []
    pickle_into(graph, pieces.append, restart=pieces.clear)
    return Source(b"".join(pieces))


def diff(old: Any, new: Any) -> list[str]:
    return str(difference(source(old), source(new))).splitlines()


def people(count: int = 50) -> list[Any]:
    made: list[Any] = []
    for n in range(count):
        node = Node(n)
        node.children = [made[n // 2] if made else None, f"name {n}", n * 0.5]  # type: ignore[attr-defined]
        made.append(node)
    return made


def world() -> dict[str, Any]:
    state = {"turn": 1, "people": people(), "at": (1, 2), "set": {1, 2}, "row": list(range(100))}
    state["me"] = state
    return state


def changed(change: Any) -> list[str]:
    """What differs after *change* was made to a copy of the world."""
    old = world()
    new = copy.deepcopy(old)
    change(new)
    return diff(old, new)


NOTHING = ["no difference"]


def test_a_graph_does_not_differ_from_its_copy() -> None:
    assert changed(lambda new: None) == NOTHING


CHANGES: dict[str, tuple[Any, list[str]]] = {
    "a number": (lambda w: w.update(turn=2), ["~ state['turn']: 1, now 2"]),
    "its type": (lambda w: w.update(turn=True), ["~ state['turn']: 1, now True"]),
    "a new key": (lambda w: w.update(new=[1]), ["+ state['new']: list, 1 item"]),
    "a key less": (lambda w: w.pop("at"), ["- state['at']: tuple, 2 items"]),
    "an element": (lambda w: w["set"].add(9), ["+ state['set'].<element 9>: 9"]),
    "an item of a tuple": (lambda w: w.update(at=(1, 3)), ["~ state['at'][1]: 2, now 3"]),
    "an attribute": (
        lambda w: setattr(w["people"][9], "label", -1),
        ["~ state['people'][9].label: 9, now -1"],
    ),
    "a new attribute": (
        lambda w: setattr(w["people"][9], "hp", 5), ["+ state['people'][9].hp: 5"]
    ),
    "an attribute less": (
        lambda w: delattr(w["people"][9], "label"), ["- state['people'][9].label: 9"]
    ),
    "a text in a list": (
        lambda w: w["people"][9].children.__setitem__(1, "Bo"),
        ["~ state['people'][9].children[1]: 'name 9', now 'Bo'"],
    ),
    "a reference": (
        lambda w: w["people"][40].children.__setitem__(0, w["people"][0]),
        ["~ state['people'][40].children[0]: → state['people'][20], now → state['people'][0]"],
    ),
    "one more in front": (
        lambda w: w["people"].insert(0, Node(-1)), [f"+ state['people'][0]: {NODE}, 1 item"]
    ),
    "one more in the middle": (
        lambda w: w["people"].insert(20, Node(-1)), [f"+ state['people'][20]: {NODE}, 1 item"]
    ),
    "one more at the end": (
        lambda w: w["people"].append(Node(-1)), [f"+ state['people'][50]: {NODE}, 1 item"]
    ),
    "one less at the end": (
        lambda w: w["people"].pop(), [f"- state['people'][49]: {NODE}, 2 items"]
    ),
    "a number more in a row": (lambda w: w["row"].insert(3, -1), ["+ state['row'][3]: -1"]),
    "a number less in a row": (lambda w: w["row"].pop(3), ["- state['row'][3]: 3"]),
    "a few numbers of a row": (
        lambda w: w["row"].__setitem__(slice(3, 5), [-3, -4]),
        ["~ state['row'][3]: 3, now -3", "~ state['row'][4]: 4, now -4"],
    ),
    "one more and one changed": (
        lambda w: (w["people"].insert(10, Node(-1)), setattr(w["people"][30], "label", 0)),
        [f"+ state['people'][10]: {NODE}, 1 item",
         "~ state['people'][30].label: 29, now 0"],
    ),
    "an object of another class": (
        lambda w: w["people"].__setitem__(49, Attrs(1)),
        [f"~ state['people'][49]: {NODE}, 2 items, now properties.graphs:Attrs, 2 items"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_one_change_is_one_line(name: str) -> None:
    change, lines = CHANGES[name]
    assert changed(change) == lines


def test_an_object_that_is_shared_no_longer_is_a_change() -> None:
    shared = [1]
    lines = diff([shared, shared], [[1], [1]])
    assert lines == ["~ state[1]: → state[0], now list, 1 item"]
    assert diff([(1, 2), (1, 2)], [(1, 2), (1, 2)]) == NOTHING


def test_a_reference_to_what_differs_is_seen_where_the_bytes_are_equal() -> None:
    old: Any = {"x": [1], "y": [2]}
    new: Any = {"y": [2], "x": [1]}
    old["z"], new["z"] = [old["x"], "long" * 50], [new["y"], "long" * 50]
    assert diff(old, new) == ["~ state['z'][0]: → state['x'], now → state['y']"]


def test_objects_in_a_list_kind_and_enums_are_compared() -> None:
    row = ListKind([1, 2])
    row.label = 3
    other = copy.deepcopy(row)
    other.append(4)
    other.label = 5
    assert diff(row, other) == ["+ state[2]: 4", "~ state.label: 3, now 5"]
    assert diff(Colour.RED, Colour.GREEN) == ["~ state.__reduce__()[1][0]: 1, now 'green'"]


def test_values_that_are_not_equal_to_themselves_do_not_differ() -> None:
    assert diff([float("nan")] * 2, [float("nan")] * 2) == NOTHING


def test_long_texts_that_end_differently_differ() -> None:
    assert diff("x" * 1000 + "a", "x" * 1000 + "b")[0].endswith("now other content")
    assert diff({"x" * 100 + "a": 1}, {"x" * 100 + "b": 1})[0].startswith("- ")


@given(graph=graphs())
def test_no_graph_differs_from_itself_pickled_again(graph: Any) -> None:
    data = pickle.dumps(graph, 5)
    assert len(difference(Source(data), Source(data))) == 0


def test_arrays_are_compared_by_dtype_shape_and_digest(tmp_path: Path) -> None:
    with Checkpointer(tmp_path / "saves") as saves:
        state = {"large": np.zeros(100_000), "small": np.zeros(5), "same": np.ones(100_000)}
        saves.save(state)
        state["large"][99_999] = 1
        state["small"][0] = 1
        saves.save(state)
        saves.save(state | {"large": state["large"].reshape(2, -1)})
        assert [change.path for change in saves.diff(1, 2)] == ["state['large']", "state['small']"]
        assert str(saves.diff(2, 3)) == (
            "~ state['large']: numpy:ndarray float64 (100000,), "
            "now numpy:ndarray float64 (2, 50000)"
        )
        with pytest.raises(NotFoundError):
            saves.diff(1, 9)


def test_a_difference_is_a_sequence_that_shows_itself() -> None:
    found = difference(source({"<b>": 1, "x": [1]}), source({"<b>": 2, "y": [1]}))
    assert repr(found) == "<Difference: 1 added, 1 removed, 1 changed>"
    assert [(change.kind, change.path) for change in found] == [
        ("changed", "state['<b>']"), ("removed", "state['x']"), ("added", "state['y']"),
    ]  # fmt: skip
    assert found[0].old is not None and found[0].old.value == 1
    assert found[1].new is None
    assert isinstance(found, Difference)
    shown = found._repr_html_()
    assert "<b>" not in shown
    assert "&lt;b&gt;" in shown
    many = difference(source([0] * 500), source([1] * 500))
    assert str(many).splitlines()[-1] == "… 400 more"
    assert "400 more" in many._repr_html_()


def test_equal_parts_of_large_graphs_are_skipped() -> None:
    old = {"a": people(20_000), "turn": 1}
    new = {"a": people(20_000), "turn": 2}
    one, other = source(old), source(new)
    start = monotonic()
    assert len(difference(one, other)) == 1
    assert monotonic() - start < 1


def edited(rows: list[Any], chance: random.Random) -> list[str]:
    """Make a few changes in *rows* that are far from each other; the lines that tell them."""
    lines, off = [], 0
    for old in range(40, len(rows) - 20, 97):
        at = old + off
        match chance.choice(["add", "remove", "change", "befriend", "keep"]):
            case "add":
                rows.insert(at, Node(-1))
                lines.append(f"+ state[{at}]")
                off += 1
            case "remove":
                del rows[at]
                lines.append(f"- state[{old}]")
                off -= 1
            case "change":
                rows[at].label = -1
                lines.append(f"~ state[{at}].label")
            case "befriend":
                rows[at].children[0] = rows[at - 20]
                lines.append(f"~ state[{at}].children[0]")
    return lines


@pytest.mark.parametrize("seed", range(12))
def test_in_long_rows_that_are_compared_at_once_each_change_is_found(seed: int) -> None:
    old, new = people(3000), people(3000)
    for node in old + new:  # so that what is removed is a friend of nobody's
        node.children[0] = None
    lines = edited(new, random.Random(seed))
    assert [line.split(":")[0] for line in diff(old, new)] == lines


def test_friends_in_long_rows_are_followed_through_other_numbers() -> None:
    old, new = people(3000), people(3000)
    new.insert(0, Node(-1))
    new[2001].children[0] = new[500]
    found = [line.split(":")[0] for line in diff(old, new)]
    assert found == ["+ state[0]", "~ state[2001].children[0]"]


def test_graphs_that_are_very_deep_are_compared() -> None:
    def nested(depth: int, inner: Any) -> Any:
        for _ in range(depth):
            inner = [inner]
        return inner

    (line,) = diff(nested(1000, 1), nested(1000, 2))
    assert line.endswith(": 1, now 2")
    (line,) = diff(nested(20_100, 1), nested(20_100, 2))
    assert line.endswith("other content")
