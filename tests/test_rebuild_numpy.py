"""NumPy's values through reducers of our own: the same values back, and no forged call made."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import checkpoint
from checkpoint._reducers import reducer_for
from checkpoint.errors import UnsafeError
from checkpoint.rebuild import numpy as rebuild

KINDS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]
OLD = ("numpy.core.numeric", "numpy.core.multiarray")
PAIR = [("a", "<i4"), ("b", "<f8")]


class Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        reducer = reducer_for(type(obj))
        return NotImplemented if reducer is None else reducer(obj)


def stream_of(obj: Any) -> tuple[bytes, list[Any]]:
    buffers: list[Any] = []
    file = io.BytesIO()
    Pickler(file, 5, buffer_callback=buffers.append).dump(obj)
    return file.getvalue(), buffers


def by_reducers(obj: Any) -> Any:
    stream, buffers = stream_of(obj)
    return pickle.loads(stream, buffers=[bytearray(buffer.raw()) for buffer in buffers])


def by_checkpoint(obj: Any) -> Any:
    return checkpoint.loads(checkpoint.dumps(obj))


ways = pytest.mark.parametrize("way", [by_reducers, by_checkpoint])
Way = Callable[[Any], Any]


def matrix_of(values: Any) -> Any:
    return np.array(values, ndmin=2).view(np.matrix)  # the class itself warns that it is old


def bits_of(kind: str, seed: Any = 5) -> Any:
    return getattr(np.random, kind)(seed)


@ways
@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_goes_on_with_the_numbers_that_come_next(kind: str, way: Way) -> None:
    generator = np.random.Generator(bits_of(kind))
    generator.random(11)
    generator.integers(0, 10, 3, dtype=np.int32)  # leaves half a word
    again = way(generator)
    assert type(again.bit_generator) is type(generator.bit_generator)
    assert again.integers(0, 10, 5, dtype=np.int32).tolist() == (
        generator.integers(0, 10, 5, dtype=np.int32).tolist()
    )
    assert again.normal(size=700).tolist() == generator.normal(size=700).tolist()


@ways
@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_has_the_children_that_it_would_have_had(kind: str, way: Way) -> None:
    bits = bits_of(kind, np.random.SeedSequence([1, 2], spawn_key=(7,), pool_size=8))
    bits.spawn(2)
    again = way(bits)
    assert again.spawn(1)[0].random_raw(3).tolist() == bits.spawn(1)[0].random_raw(3).tolist()


@ways
@pytest.mark.parametrize(
    "entropy", [None, 0, 5, 2**200, [1, 2**40], (3,), np.int64(9), np.array([1, 2**40])]
)
def test_a_seed_sequence_is_mixed_to_the_same_pool(entropy: Any, way: Way) -> None:
    sequence = np.random.SeedSequence(entropy, spawn_key=(1, 2**33))
    sequence.spawn(3)
    again = way(sequence)
    assert again.generate_state(8).tolist() == sequence.generate_state(8).tolist()
    assert again.spawn_key == sequence.spawn_key
    assert again.n_children_spawned == 3


@ways
@pytest.mark.parametrize("make", [lambda: 5, lambda: np.random.PCG64(5)])
def test_a_random_state_keeps_the_second_of_a_pair(make: Callable[[], Any], way: Way) -> None:
    state = np.random.RandomState(make())
    state.standard_normal()
    again = way(state)
    assert again.standard_normal(5).tolist() == state.standard_normal(5).tolist()
    assert type(again._bit_generator) is type(state._bit_generator)


def test_a_bit_generator_without_a_seed_sequence_gets_none() -> None:
    if np.__version__ < "2":
        pytest.skip("NumPy 1 cannot set it")
    again = by_reducers(np.random.RandomState(5))
    assert again._bit_generator.seed_seq is None


@ways
def test_generators_on_one_bit_generator_stay_on_one(way: Way) -> None:
    bits = np.random.PCG64(5)
    first, second = way([np.random.Generator(bits), np.random.Generator(bits)])
    assert first.bit_generator is second.bit_generator


@ways
@pytest.mark.parametrize(
    "array",
    [
        np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]),
        np.ma.array([1, 2]),
        np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [1, 0]], fill_value=7, order="F"),
        np.ma.array([1, 2, 3, 4], mask=[0, 1, 0, 1])[::2],
        np.ma.array([(1, 2.0)], dtype=PAIR, mask=[(0, 1)]),
        np.ma.array(["a", "bc"], mask=[1, 0], fill_value="?"),
        np.ma.array(np.array(["2020-01-01"], "M8[ns]"), mask=[1]),
        np.ma.array(3.5, mask=True),
        np.ma.zeros((0, 3)),
        np.ma.masked_all(20_000),
    ],
)
def test_a_masked_array_keeps_mask_and_fill_value(array: Any, way: Way) -> None:
    again = way(array)
    assert type(again) is np.ma.MaskedArray
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert np.array_equal(np.ma.getmaskarray(again), np.ma.getmaskarray(array))
    assert again.filled().tolist() == array.filled().tolist()
    assert str(again.fill_value) == str(array.fill_value)  # NaT is not equal to itself


def test_a_hard_mask_stays_hard_and_no_mask_stays_none() -> None:
    hard = by_reducers(np.ma.array([1, 2], mask=[0, 1], hard_mask=True))
    assert hard.hardmask and not hard.sharedmask
    assert by_reducers(np.ma.array([1, 2])).mask is np.ma.nomask


@ways
def test_the_masked_constant_is_itself_again(way: Way) -> None:
    assert way(np.ma.masked) is np.ma.masked


@ways
def test_views_are_of_their_kind_again(way: Way, tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "numbers", dtype="f8", mode="w+", shape=(2, 2), order="F")
    mapped[:] = [[1, 2], [3, 4]]
    for array in (matrix_of([[1, 2], [3, 4]]), matrix_of([1.5]).T, mapped):
        again = way(array)
        assert type(again) is type(array)
        assert again.tolist() == array.tolist()
        assert (again.dtype, again.shape) == (array.dtype, array.shape)
    (tmp_path / "numbers").unlink()


@ways
@pytest.mark.parametrize(
    "dtype",
    [
        PAIR,
        np.dtype([("a", "i1"), ("b", "<f8")], align=True),
        [("a", ">i4"), ("b", "U3")],
        [(("title", "a"), "<i4"), ("b", "<f8", (2,))],
        [("a", [("x", "<i4")]), ("b", "M8[s]")],
    ],
)
def test_records_are_of_their_kind_again(dtype: Any, way: Way) -> None:
    array = np.zeros(3, dtype).view(np.recarray)
    again = way(array)
    assert type(again) is np.recarray
    assert again.dtype == array.dtype and again.dtype.type is np.record
    assert again.tobytes() == array.tobytes()
    record = way(array[1])
    assert type(record) is np.record
    assert record.dtype == array.dtype and record.tobytes() == array[1].tobytes()
    assert record.a == array[1].a


@ways
def test_strings_of_any_length_are_themselves_again(way: Way) -> None:
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("NumPy 1 has none")
    for na in ((), (None,), (float("nan"),), ("missing",)):
        kwargs: Any = {"na_object": na[0]} if na else {}
        dtype = np.dtypes.StringDType(coerce=False, **kwargs)
        array = np.array([["a", "b" * 99], ["", "ü"]], dtype)
        if na:
            array[0, 0] = na[0]
        again = way(array)
        assert again.dtype.coerce is False
        assert str(again.tolist()) == str(array.tolist())
        assert hasattr(again.dtype, "na_object") == bool(na)


def test_nothing_of_numpy_but_arrays_is_named_in_a_stream() -> None:
    state = [
        *(np.random.Generator(bits_of(kind)) for kind in KINDS),
        *(np.random.RandomState(5), np.random.SeedSequence(3), np.ma.masked),
        *(np.ma.array([1.0], mask=[True]), matrix_of([1])),
        np.rec.array([(1, 2.0)], dtype=PAIR),
        np.rec.array([(1, 2.0)], dtype=PAIR)[0],
    ]
    stream, _ = stream_of(state)
    named = {
        arg
        for opcode, arg, _ in pickletools.genops(stream)
        if opcode.name == "SHORT_BINUNICODE" and str(arg).partition(".")[0] == "numpy"
    }
    assert named <= {"numpy", "numpy._core.numeric", "numpy._core.multiarray", *OLD}


@pytest.mark.parametrize(
    "obj",
    [
        np.ma.array([1, "a"], dtype=object),
        np.ma.array(matrix_of([[1]])),
        np.rec.array([(1, "a")], dtype=[("a", "O"), ("b", "O")]),
        np.random.SeedSequence(1 << 9000),
    ],
)
def test_what_is_not_covered_is_left_to_plain_pickling(obj: Any) -> None:
    reducer = reducer_for(type(obj))
    assert reducer is not None and reducer(obj) is NotImplemented
    assert type(by_reducers(obj)) is type(obj)


def test_a_subclass_of_a_program_is_left_to_plain_pickling() -> None:
    class Mine(np.ma.MaskedArray):  # type: ignore[misc]
        pass

    assert reducer_for(Mine) is None


def test_a_mask_of_memory_that_was_never_set_is_left_to_plain_pickling() -> None:
    odd = np.frombuffer(b"\x00\x07", dtype=bool)
    array = np.ma.MaskedArray([1, 2], mask=odd)
    array._mask = odd
    reducer = reducer_for(np.ma.MaskedArray)
    assert reducer is not None and reducer(array) is NotImplemented


class Trap:
    """Ends the process if any method of it is called that could be."""

    def _sprung(self, *_: Any, **__: Any) -> Any:
        os._exit(99)

    __len__ = __iter__ = __getitem__ = __index__ = __int__ = __float__ = __bool__ = _sprung
    __array__ = __eq__ = __hash__ = __lt__ = __le__ = __contains__ = __call__ = _sprung  # type: ignore[assignment]
    __getattr__ = __str__ = __repr__ = __buffer__ = __array_interface__ = _sprung


class Whole(int):
    def _sprung(self, *_: Any) -> Any:
        os._exit(99)

    __le__ = __ge__ = __lt__ = __gt__ = __index__ = __eq__ = __hash__ = __mod__ = _sprung  # type: ignore[assignment]
    bit_length = _sprung


class Words(tuple):  # type: ignore[type-arg]
    def _sprung(self, *_: Any) -> Any:
        os._exit(99)

    __len__ = __iter__ = __getitem__ = _sprung


def hostile_calls() -> list[tuple[str, tuple[Any, ...]]]:
    """Calls that no reducer writes, one by one."""
    seed = np.random.SeedSequence(1)
    numbers = np.arange(4.0)
    truths = np.frombuffer(b"\x00\x02\x00\x01", dtype=bool)
    pair = np.zeros(1, PAIR)
    key = bytes(4 * 624)
    sequences: list[tuple[Any, ...]] = [
        *[(bad, (), 4, 0) for bad in (None, -1, True, 1.5, "0x12", b"1", [-1], [[1]], [None])],
        *[(bad, (), 4, 0) for bad in (numbers, Trap(), Whole(3), [Whole(3)], Words((1,)), {})],
        *[(1 << 9000, (), 4, 0), ([1 << 800] * 99, (), 4, 0), ([0] * 65, (), 4, 0)],
        *[(1, bad, 4, 0) for bad in (None, 3, [3], (-1,), ("a",), Words((1,)), Trap())],
        *[(1, (), bad, 0) for bad in (3, -1, 65, 1 << 40, True, 4.0, None, Trap())],
        *[(1, (), 4, bad) for bad in (-1, 1 << 32, True, 0.0, None, Trap())],
        *[(), (1,), (1, (), 4, 0, 0)],
    ]
    bits: list[tuple[Any, ...]] = [
        *[(bad, (1, 1, 0, 0), seed) for bad in ("", "Generator", "default_rng", None, 1, Trap())],
        *[("PCG64", bad, seed) for bad in (None, [], (), (1, 1, 0), (1, 2, 0, 0), Trap())],
        *[("PCG64", bad, seed) for bad in ((1 << 128, 1, 0, 0), (-1, 1, 0, 0), (1, 1, 2, 0))],
        *[("PCG64DXSM", bad, seed) for bad in ((1, 1, 0, 1 << 32), (1, 1, -1, 0), (1.0, 1, 0, 0))],
        *[
            ("PCG64", (1, 1, 0, 0), bad)
            for bad in (1, "a", seed.pool, np.random.SeedSequence, Trap())
        ],
        *[("MT19937", (key, bad), seed) for bad in (-1, 625, 100_000, True, 1.0, None, Trap())],
        *[("MT19937", (bad, 1), seed) for bad in (key[4:], key + key, bytearray(key), "", None)],
        *[("Philox", (*[0] * 10, bad, 0, 0), seed) for bad in (0, 5, -1_000_000, True, Trap())],
        *[("Philox", bad, seed) for bad in ((0,) * 12, (1 << 64, *[0] * 9, 4, 0, 0), (-1,) * 13)],
        *[("SFC64", bad, seed) for bad in ((0,) * 5, (1 << 64, 0, 0, 0, 0, 0), (Whole(1),) * 6)],
        ("SFC64", Words((0,) * 6), seed),
    ]
    generators: list[tuple[Any, ...]] = [
        (bad,)
        for bad in (None, 1, "PCG64", np.random.PCG64, seed, np.random.default_rng(1), Trap())
    ]
    own = np.random.PCG64(1)
    states: list[tuple[Any, ...]] = [
        *[(own, bad, 0.0) for bad in (-1, 2, True, 0.0, None, Trap())],
        *[(own, 1, bad) for bad in (0, None, "0", np.float64(0), Trap())],
        *[(bad, 0, 0.0) for bad in (None, seed, 1, np.random.PCG64, Trap())],
    ]
    masks: list[tuple[Any, ...]] = [
        *[(bad, None, None, False) for bad in (None, [1], pair[0], matrix_of([1]), Trap())],
        (np.array([None]), None, None, False),
        (np.zeros(1, [("a", "O")]), None, None, False),
        *[(numbers, bad, None, False) for bad in (truths, truths[:2], numbers, [1], True, Trap())],
        *[(pair, bad, None, False) for bad in (np.zeros(1, bool), pair)],
        *[(numbers, None, bad, False) for bad in (1.0, "a", numbers, np.array(1), Trap())],
        *[(numbers, None, None, bad) for bad in (None, 0, 1, Trap())],
    ]
    views: list[tuple[Any, ...]] = [
        *[(bad, numbers) for bad in ("ndarray", "view", "chararray", "__class__", None, Trap())],
        *[("matrix", bad) for bad in (numbers, np.zeros((1, 1, 1)), [[1]], Trap(), None)],
        ("matrix", np.array([[None]])),
        *[("recarray", bad) for bad in (numbers, np.zeros(1, [("a", "O")]), pair[0], Trap())],
        *[("memmap", bad) for bad in (None, "file", matrix_of([1]), Trap())],
    ]
    records: list[tuple[Any, ...]] = [
        (bad,) for bad in (None, numbers, pair[0], np.zeros(2, PAIR), np.zeros(1), Trap())
    ]
    texts: list[tuple[Any, ...]] = [
        *[(bad,) for bad in (None, 1, "a", Trap())],
        *[(True, bad) for bad in (1, 1.5, b"a", object, [], Trap())],
        (True, None, None),
    ]
    every = {
        "seed_sequence": sequences,
        "bit_generator": bits,
        "generator": generators,
        "random_state": states,
        "masked": masks,
        "masked_constant": [(1,)],
        "view": views,
        "record": records,
        "string_dtype": texts,
    }
    return [(name, args) for name, calls in every.items() for args in calls]


def refuse_them_all() -> int:
    """Make each hostile call; how many there were."""
    calls = hostile_calls()
    for number, (name, args) in enumerate(calls):
        try:
            made = getattr(rebuild, name)(*args)
        except UnsafeError:
            continue
        raise AssertionError(f"{name}, call {number}, made a {type(made)}")
    return len(calls)


def test_forged_calls_are_refused_and_run_nothing() -> None:
    code = f"import {__name__.rpartition('.')[2]} as tests; print(tests.refuse_them_all())"
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 120
