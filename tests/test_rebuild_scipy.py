"""SciPy's sparse arrays, saved in a form of our own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rebuilding import carried, own, run_file, written

from checkpoint._reducers import reducer_for
from checkpoint.errors import UnsafeError
from checkpoint.rebuild import scipy as rebuild

sparse = pytest.importorskip("scipy.sparse")

FORMS = ("csr", "csc", "bsr", "coo", "dia", "dok", "lil")
KINDS = [f"{form}_{kind}" for form in FORMS for kind in ("array", "matrix")]
DENSE = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 0, 4]])
STATES = {
    "whole": DENSE,
    "bytes": DENSE.astype("uint8"),
    "floats": DENSE / 3,
    "complex": DENSE * 1j,
    "truths": DENSE > 1,
    "nothing": np.zeros((2, 3)),
    "no rows": np.zeros((0, 3)),
    "no columns": np.zeros((3, 0)),
    "neither": np.zeros((0, 0)),
}


def same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert one.shape == other.shape and one.dtype == other.dtype and one.nnz == other.nnz
    assert np.array_equal(one.toarray(), other.toarray())
    for field in ("data", "indices", "indptr", "offsets"):
        if hasattr(one, field) and one.format not in ("dok", "lil"):
            assert getattr(one, field).dtype == getattr(other, field).dtype
            assert np.array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("state", STATES)
def test_a_sparse_array_comes_back_as_it_was(name: str, state: str) -> None:
    try:
        made = getattr(sparse, name)(STATES[state])
    except ValueError:
        pytest.skip("SciPy makes no such array")
    same(made, carried(made))


def odd() -> dict[str, Any]:
    wide = sparse.csr_array(DENSE)
    wide.indices, wide.indptr = wide.indices.astype("int64"), wide.indptr.astype("int64")
    slack = sparse.csr_array((np.arange(6.0), np.arange(6) % 4, [0, 2, 3, 4]), shape=(3, 4))
    doubled = sparse.coo_array(([1, 2, 3], ([0, 0, 1], [1, 1, 0])), shape=(10**12, 5))
    return {
        "unsorted": sparse.csr_array(([1, 2, 3], [3, 0, 1], [0, 2, 3, 3]), shape=(3, 4)),
        "wide indices": wide,
        "slack": slack,
        "the same place twice": doubled,
        "a huge shape": sparse.dok_array((10**9, 10**9), dtype="int8"),
        "blocks": sparse.bsr_array(np.kron(np.eye(3), np.ones((2, 3))), blocksize=(2, 3)),
        "one dimension": sparse.coo_array(np.array([0, 1, 0, 2])),
        "one row": sparse.csr_array(np.array([0, 1, 0, 2])),
        "diagonals": sparse.diags_array([[1.0, 2], [3, 4, 5.0]], offsets=[1, 0], shape=(3, 3)),
    }


@pytest.mark.parametrize("name", list(odd()))
def test_an_odd_sparse_array_comes_back_as_well(name: str) -> None:
    made = odd()[name]
    back = carried(made)
    assert type(back) is type(made) and back.dtype == made.dtype and back.shape == made.shape
    assert back.nnz == made.nnz and back.sum() == made.sum()
    if max(made.shape) < 100:
        assert np.array_equal(back.toarray(), made.toarray())
    if name == "wide indices":
        assert back.indices.dtype == back.indptr.dtype == np.int64


def test_the_values_are_neither_copied_when_saved_nor_when_loaded() -> None:
    made = sparse.random(300, 300, 0.5, format="csr")
    _, buffers, _ = written(made)
    assert any(np.shares_memory(np.frombuffer(b, "u1"), made.data) for b in buffers)
    data = np.arange(4.0)
    places, ends = np.array([0, 1, 0, 1]), np.array([0, 2, 4])
    back = rebuild.compressed("csr_array", (2, 2), data, places, ends)
    assert np.shares_memory(back.data, data)
    places[:] = 10**6
    assert back.sum() == 6 and back.indices.max() == 1, "what points elsewhere is our own copy"


def test_what_would_be_refused_is_left_to_plain_pickling() -> None:
    broken = sparse.csr_array(DENSE)
    broken.indices[0] = 9
    marked = sparse.csr_array(DENSE)
    marked.note = "mine"
    objects = sparse.coo_array(DENSE)
    objects.data = objects.data.astype(object)
    for one in (broken, marked, objects):
        back, left = own(one)
        assert type(one) in left and type(back) is type(one)
    assert own(marked)[0].note == "mine"


class Mine(sparse.csr_array):  # type: ignore[misc]
    pass


def test_a_subclass_is_left_to_plain_pickling() -> None:
    assert reducer_for(Mine) is None and reducer_for(sparse.csr_array) is not None


def test_no_hostile_call_gets_through_or_crashes() -> None:
    said = run_file("hostile_scipy_calls").split()
    assert said[0] == said[-1] and int(said[0]) >= 95, " ".join(said)


def test_a_flood_of_keys_with_one_hash_is_refused() -> None:
    count = 200
    places = np.arange(count) * 0
    data = np.ones(count)
    with pytest.raises(UnsafeError, match="hash"):
        rebuild.coordinates("dok_array", (2, 2), data, (places, places))
