"""An outline tells what is in a graph and how large it is, and shows itself well."""

from __future__ import annotations

import pickle
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from properties.graphs import Attrs, Colour, Node, Slotted

import checkpoint
from checkpoint import Checkpointer, CheckpointError, FormatError, NotFoundError, Outline
from checkpoint._outline import outlined
from checkpoint._spans import PROTO

HERE = Node.__module__


def world() -> dict[str, Any]:
    players: list[Any] = [Node(n) for n in range(100)]
    players[7].children = players[3]
    slotted = Slotted(5)
    slotted.children = "deep"  # type: ignore[attr-defined]
    return {
        "players": players,
        "weights": np.zeros((300, 400), dtype="float32"),
        "small": np.arange(4),
        "slotted": slotted,
        "colour": Colour.RED,
        "note": "n" * 1000,
        "set": {1},
        "attrs": Attrs(1, (1, 2)),
        3: "a number as key",
    }


@pytest.fixture
def outline(tmp_path: Path) -> Outline:
    with Checkpointer(tmp_path / "saves") as saves:
        saves.save(world())
        return saves.inspect()


# --- what it tells ----------------------------------------------------------


def test_values_have_paths_types_and_keys(outline: Outline) -> None:
    label = outline["players"][3]["label"]
    assert (label.path, label.type, label.key, label.value) == (
        "state['players'][3].label", "int", "label", 3,
    )  # fmt: skip
    assert outline["players"].type == "list"
    assert outline["players"][3].type == f"{HERE}:Node"
    assert [child.key for child in outline][:3] == ["players", "weights", "small"]
    assert outline["colour"].type == f"{HERE}:Colour"
    assert outline["set"][0].path == "state['set'].<element 1>"


def test_steps_are_keys_names_and_indices(outline: Outline) -> None:
    assert outline.at(("slotted", "children")).value == "deep"
    assert outline.at(("attrs", "children", -1)).value == 2
    assert outline[3].value == "a number as key"
    assert outline["players"][-1].path == "state['players'][99]"
    assert outline.at(()) is outline
    with pytest.raises(NotFoundError, match=r"state\['players'\]\['Ada'\] is not there"):
        outline.at(("players", "Ada"))


def test_children_are_a_sequence(outline: Outline) -> None:
    children = outline["players"].children
    assert len(children) == len(outline["players"]) == 100
    assert [child.path for child in children[-2:]] == [
        "state['players'][98]",
        "state['players'][99]",
    ]
    assert [child.key for child in children] == list(range(100))
    with pytest.raises(IndexError):
        children[100]


def test_arrays_have_a_shape_and_a_dtype_and_no_children(outline: Outline) -> None:
    weights = outline["weights"]
    assert (weights.type, weights.shape, weights.dtype) == ("numpy:ndarray", (300, 400), "float32")
    assert len(weights) == 0
    assert outline["small"].dtype == "int64"


def test_sizes_are_of_the_stream_and_of_the_buffers_beneath(outline: Outline) -> None:
    weights = outline["weights"].size
    assert 480_000 < weights < 480_400
    assert weights < outline.size < weights + 20_000
    assert outline["note"].size > 1000
    assert sum(child.size for child in outline["players"]) <= outline["players"].size


def test_what_is_met_again_is_a_reference(outline: Outline) -> None:
    again = outline["players"][7]["children"]
    assert again.reference == "state['players'][3]"
    assert again["label"].value == 3
    assert again.size == 0
    assert outline["players"][3].reference is None


def test_long_values_are_shortened(outline: Outline) -> None:
    assert outline["note"].value == "n" * 200
    assert "(1,000 bytes)" in outline["note"].told
    number = outlined(pickle.dumps(7**100_000))
    assert "bits" in str(number)


def test_a_torch_tensor_has_a_shape() -> None:
    rebuild = b"\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93"
    data = PROTO + b"(" + rebuild[:0] + rebuild + b"(NK\x00K\x02K\x03\x86K\x03K\x01\x86\x89NtRt."
    assert outlined(data)[0].shape == (2, 3)


def test_no_buffer_is_read(tmp_path: Path) -> None:
    with Checkpointer(tmp_path / "saves") as saves:
        saves.save({"array": np.random.default_rng(1).random(1_000_000), "n": list(range(3000))})
        (pack,) = tmp_path.glob("saves/packs/*/*.pack")
        raw = bytearray(pack.read_bytes())
        raw[len(raw) // 2] ^= 1
        pack.write_bytes(raw)
        assert saves.inspect(version=1)["array"].shape == (1_000_000,)
        with pytest.raises(CheckpointError):
            saves.raw(version=1)


# --- how it shows itself ----------------------------------------------------


def test_a_small_outline_is_shown_whole() -> None:
    shown = str(outlined(pickle.dumps({"name": "Ada", "at": (1, 2.5), "none": None})))
    assert [line.split(None, 2)[2] for line in shown.splitlines()] == [
        "state: dict, 3 items",
        "├─ ['name']: 'Ada'",
        "├─ ['at']: tuple, 2 items",
        "│  ├─ [0]: 1",
        "│  └─ [1]: 2.5",
        "└─ ['none']: None",
    ]


def test_a_large_one_is_shown_in_few_lines(outline: Outline) -> None:
    lines = str(outline).splitlines()
    assert len(lines) <= 60
    assert any("… 88 more" in line for line in lines)
    assert any("float32 (300, 400)" in line for line in lines)
    assert len({line.index("state") for line in lines[:1]}) == 1
    assert repr(outline).startswith("<Outline state: dict, 9 items, ")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_jupyter_gets_closed_and_escaped_html(outline: Outline) -> None:
    evil = b"\x8c\x19<script>alert(1)</script>\x8c\x0e<img src=x>&\"'\x93)\x81"
    state = b"}(\x8c\x08<b>x</b>K\x01\x8c\x03\x1b[2N\x8c\x01aC\x04<hr>ub"
    hostile = outlined(PROTO + evil + state + b".")
    for shown in (outline._repr_html_(), hostile._repr_html_()):
        tags = Tags()
        tags.feed(shown)
        tags.close()
        assert tags.open == []
        assert tags.seen <= {"div", "details", "summary", "small"}
    assert "<script>" not in hostile._repr_html_()


def test_a_name_cannot_steer_the_terminal() -> None:
    data = PROTO + b"\x8c\x06a\x1b[31m\x8c\x02b\n\x93)\x81}\x8c\x06c\x1b[31m\x8c\x02\x1b]sb."
    shown = str(outlined(data)) + repr(outlined(data))
    assert "\x1b" not in shown
    assert "a\\x1b[31m:b\\n" in shown


def test_a_snapshot_shows_itself(tmp_path: Path) -> None:
    with Checkpointer(tmp_path / "saves") as saves:
        snapshot = saves.save(world(), metrics={"loss": 0.25}, meta="<b>", tags=["best"])
    assert "main" in repr(snapshot)
    shown = snapshot._repr_html_()
    assert "loss=0.25" in shown
    assert "[best]" in shown


# --- files ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_can_be_inspected(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "plain.pickle"
    path.write_bytes(pickle.dumps(world() | {"slotted": 0}, protocol))
    outline = checkpoint.inspect(path)
    assert outline["players"][3]["label"].value == 3
    assert outline["weights"].shape == (300, 400)
    assert checkpoint.raw(path)["players"][3]["label"] == 3


def test_single_file_snapshots_can_be_inspected(tmp_path: Path) -> None:
    checkpoint.dump(world(), tmp_path / "world.ckpt")
    with open(tmp_path / "world.ckpt", "rb") as file:
        assert checkpoint.inspect(file)["weights"].size > 480_000
    record = checkpoint.raw(tmp_path / "world.ckpt")
    assert memoryview(record["weights"]["data"]).nbytes == 480_000


def test_what_is_neither_is_told_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    for way in (checkpoint.inspect, checkpoint.raw):
        with pytest.raises(FormatError, match=r"notes\.txt: not a whole pickle"):
            way(path)


def test_versions_and_tags_are_chosen(tmp_path: Path) -> None:
    with Checkpointer(tmp_path / "saves") as saves:
        for n in range(3):
            saves.save({"n": n}, tags=[f"t{n}"])
        assert saves.inspect()["n"].value == 2
        assert saves.inspect(version=1)["n"].value == 0
        assert saves.raw(tag="t1") == {"n": 1}
        with pytest.raises(TypeError, match="one of version and tag"):
            saves.inspect(version=1, tag="t1")
        with pytest.raises(NotFoundError):
            saves.inspect(version=9)
