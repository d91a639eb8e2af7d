"""What a hostile stream could call the rebuilding of pandas' objects with."""

from __future__ import annotations

import time

import numpy as np
import pytest
from rebuilding import run_file

from checkpoint.errors import UnsafeError
from checkpoint.rebuild import pandas as rebuild

pd = pytest.importorskip("pandas")


def test_no_hostile_call_gets_through_or_crashes() -> None:
    said = run_file("hostile_pandas_calls").strip().splitlines()
    assert len(said) == 1, "\n".join(said)
    missing, refused, _, count = said[0].rsplit(" ", 3)
    assert missing == "set()" and refused == count and int(count) >= 300


@pytest.mark.parametrize("seed", range(3))
def test_random_calls_end_in_an_object_or_a_refusal_and_touch_nothing_of_others(seed: int) -> None:
    said = run_file("hostile_pandas_random", str(seed))
    assert int(said.split()[-1]) > 50


def test_times_beyond_all_bounds_crash_nothing() -> None:
    assert run_file("hostile_pandas_times").strip() == "alive"


def test_labels_made_to_share_a_hash_are_no_way_to_stop_the_program() -> None:
    high = np.arange(1, 100_000, dtype="u8")
    low = (high ^ (high << np.uint64(11)) ^ (high << np.uint64(22))) & np.uint64(2**32 - 1)
    numbers = np.random.default_rng(0).permutation(((high << np.uint64(33)) | low).astype("i8"))
    alike = [number * (2**61 - 1) for number in range(1, 10_000)]
    began = time.process_time()
    index = rebuild.index(numbers, None, None)
    dtype = rebuild.categorical_dtype(index, False)
    rebuild.categorical(np.arange(1000), dtype)
    rebuild.multi_index([index], [np.arange(1000)], [None], None)
    with pytest.raises(UnsafeError):
        rebuild.categorical_dtype(rebuild.index(alike, None, None), False)
    assert time.process_time() - began < 2


def test_what_points_elsewhere_is_copied_and_values_are_not() -> None:
    codes = np.array([0, 1, 0])
    dtype = pd.CategoricalDtype(["a", "b"])
    categorical = rebuild.categorical(codes, dtype)
    levels = rebuild.multi_index([pd.Index(["a", "b"])], [codes], [None], None)
    codes[:] = 10**6
    assert list(categorical) == ["a", "b", "a"] and list(levels) == [("a",), ("b",), ("a",)]
    numbers = np.arange(3.0)
    assert np.shares_memory(rebuild.series(numbers, pd.RangeIndex(3), None, ()).array, numbers)
    assert np.shares_memory(rebuild.index(numbers, None, None).array, numbers)
