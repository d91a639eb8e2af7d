"""Ordinary values load from foreign files: false refusals none, and each is what was saved."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ordinary import records, shapes
from ordinary.alike import difference
from ordinary.outside import OUTSIDE, Outside
from ordinary.values import PROGRAM, VALUES, Value

import checkpoint
from checkpoint import Checkpointer, MemoryStore, SerializationError, UnsafeError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "trusted-types.md"

LARGE = 200_000  # bytes of a pickle

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")

each_value = pytest.mark.parametrize(
    "value", VALUES, ids=lambda value: f"{value.group}: {value.name}"
)
each_outside = pytest.mark.parametrize(
    "outside", [one for one in OUTSIDE if one.saved], ids=lambda outside: outside.name
)


def made(value: Value) -> Any:
    if value.needs:
        pytest.importorskip(value.needs)
    return value.make()


def loaded(data: bytes, value: Value) -> Any:
    return checkpoint.loads(data, package=PROGRAM, trust=value.trust)


@each_value
def test_a_foreign_file_of_it_gives_it_back(value: Value) -> None:
    saved = made(value)
    data = checkpoint.dumps(saved, key=None)
    assert difference(saved, loaded(data, value)) is None


@each_value
def test_a_foreign_repository_gives_it_back_and_nothing_is_said_at_save(value: Value) -> None:
    saved = made(value)
    with Checkpointer(MemoryStore(), key=None, package=PROGRAM, trust=value.trust) as saves:
        assert not saves.save(saved).own
        assert difference(saved, saves.load()) is None


def pickles(obj: Any, value: Value) -> Iterator[bytes]:
    """What plain pickling writes of it, where it can, one of each protocol, newest first.

    Of what is large only the newest.
    """
    for protocol in reversed(value.protocols):
        try:
            data = pickle.dumps(obj, protocol)
        except (RecursionError, TypeError, pickle.PicklingError):
            continue  # Too deep for it; slots, methods and the like in the old protocols.
        yield data
        if len(data) > LARGE:
            return


@pytest.mark.parametrize(
    "value",
    [value for value in VALUES if value.protocols],
    ids=lambda value: f"{value.group}: {value.name}",
)
def test_a_plain_pickle_of_it_of_any_protocol_gives_it_back(value: Value) -> None:
    saved = made(value)
    for data in pickles(saved, value):
        again = loaded(data, value)
        assert difference(pickle.loads(data), again) is None, f"protocol {data[1]}"


def test_there_are_enough_of_them_and_no_name_is_given_twice() -> None:
    names = [(value.group, value.name) for value in VALUES]
    assert len(names) == len(set(names)) >= 330


@each_outside
def test_what_is_out_is_refused_and_nothing_else_is_raised(outside: Outside) -> None:
    data = checkpoint.dumps(outside.make(), key=None)
    with pytest.raises(UnsafeError):
        checkpoint.loads(data, package=PROGRAM)


@each_outside
def test_what_is_out_loads_where_everything_is_trusted(outside: Outside) -> None:
    data = checkpoint.dumps(outside.make(), key=None)
    again = checkpoint.loads(data, trust=checkpoint.everything)
    assert type(again) is type(outside.make())


@pytest.mark.parametrize(
    "outside", [one for one in OUTSIDE if not one.saved], ids=lambda outside: outside.name
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_what_can_not_be_saved_is_said_so_at_save(outside: Outside) -> None:
    obj = outside.make()
    with pytest.raises(SerializationError):
        checkpoint.dumps(obj, key=None)
    if hasattr(obj, "close"):
        obj.close()


def test_the_caller_s_own_package_is_the_default() -> None:
    data = checkpoint.dumps(shapes.Plain(a=1), key=None)
    assert shapes.loads(data).a == 1
    with pytest.raises(UnsafeError, match=r"ordinary\.shapes"):
        checkpoint.loads(data, package="another")


def test_a_script_loads_its_own_classes_from_a_foreign_file(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import checkpoint, dataclasses\n"
        "@dataclasses.dataclass\n"
        "class World:\n"
        "    day: int\n"
        "assert checkpoint.loads(checkpoint.dumps(World(3), key=None)) == World(3)\n"
    )
    subprocess.run([sys.executable, "-W", "error", script], check=True)


def test_read_only_arrays_stay_read_only() -> None:
    for size in (5, 1_000_000):
        saved = np.arange(size)
        saved.flags.writeable = False
        again = checkpoint.loads(checkpoint.dumps([saved, np.arange(size)], key=None))
        assert not again[0].flags.writeable
        assert again[1].flags.writeable


def test_random_numbers_go_on_where_they_were() -> None:
    for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64):
        saved = np.random.Generator(kind(7))
        saved.integers(0, 9, 3, dtype=np.int32)
        again = checkpoint.loads(checkpoint.dumps(saved, key=None))
        np.testing.assert_array_equal(again.random(100), saved.random(100))


def test_the_page_lists_every_value_by_name_as_of_today() -> None:
    listing = Path(__file__).with_name("listing.py")
    done = subprocess.run([sys.executable, listing], capture_output=True, check=True)
    assert PAGE.read_text(encoding="utf-8") == done.stdout.decode("utf-8"), (
        "the page is of another day: python tests/ordinary/listing.py > "
        "docs/reference/trusted-types.md"
    )


def test_what_is_compared_is_told_apart() -> None:
    """The comparison itself sees types, values, order and sharing."""
    one = [1]
    assert difference([one, one], [[1], [1]]) is not None
    assert difference([[1], [1]], [one, one]) is not None
    assert difference({"a": 1, "b": 2}, {"b": 2, "a": 1}) is not None
    assert difference([1], [True]) is not None
    assert difference(0.0, -0.0) is not None
    assert difference(shapes.Plain(a=1), shapes.Plain(a=2)) is not None
    assert difference(records.Data(1), records.Data(1, items=[2])) is not None
    assert difference(np.arange(3), np.arange(3.0)) is not None
    assert difference(np.arange(3), np.arange(1, 4)) is not None
    assert difference({1, 2}, {1, 3}) is not None
    assert difference(ValueError(1), ValueError(2)) is not None
    assert importlib.import_module("ordinary.shapes") is shapes
