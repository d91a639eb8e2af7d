"""SciPy's sparse matrices and arrays, from what can be checked.

SciPy's loops believe its indices, so each is found to be inside first, and all
are copied: nothing else in the state can write into them.
"""

from __future__ import annotations

from typing import Any, Final

from checkpoint.rebuild._checks import (
    array_of,
    exactly,
    few_alike,
    indices_of,
    library,
    require,
    total,
    whole,
)

__all__ = ["compressed", "coordinates", "diagonals"]

KINDS: Final = "biufc"
_COMPRESSED: Final = ("csr", "csc", "bsr", "lil")
_BY_KEY: Final = ("coo", "dok")
_MOST_DIMENSIONS: Final = 32


def _class_of(name: Any, forms: tuple[str, ...]) -> tuple[str, Any]:
    """The form that *name* says, one of *forms*, and the class: `csr_array`, `csr_matrix`."""
    text = exactly(name, str, "the class")
    form, _, kind = text.partition("_")
    require(form in forms and kind in ("array", "matrix"), "the class is none of SciPy's")
    return form, getattr(library("scipy.sparse"), text)


def _shape(said: Any, dimensions: int) -> tuple[int, ...]:
    lengths = exactly(said, tuple, "the shape")
    require(0 < len(lengths) <= dimensions, "the shape has a wrong number of dimensions")
    return tuple(whole(length, "a length", 0, 2**62) for length in lengths)


def _numbers(value: Any, ndim: int) -> Any:
    numbers = array_of(value, KINDS, ndim, "the values")
    require(numbers.dtype.isnative, "the values are in foreign byte order")
    return numbers


def _places(value: Any, high: int, what: str) -> Any:
    places = indices_of(value, 0, high, what)
    require(places.dtype.kind == "i" and places.dtype.itemsize in (4, 8), f"{what} is of odd kind")
    return places


@total
def compressed(name: object, shape: object, values: object, places: object, ends: object) -> Any:
    """A sparse array by rows or columns: *ends* tells where each begins and the last ends."""
    form, kind = _class_of(name, _COMPRESSED)
    lengths = _shape(shape, 2)
    data = _numbers(values, 3 if form == "bsr" else 1)
    blocks = _in_blocks(lengths, data.shape[1:])
    major, minor = blocks[::-1] if form == "csc" else blocks
    indices = _places(places, minor, "an index")
    starts = _places(ends, indices.size + 1, "a start")
    require(indices.size == data.shape[0], "values and indices differ in length")
    require(starts.size == major + 1, "the starts differ from the rows")
    require(int(starts[0]) == 0 and int(starts[-1]) == indices.size, "the starts leave some out")
    require(bool((starts[1:] >= starts[:-1]).all()), "the starts go backwards")
    require(starts.dtype == indices.dtype, "starts and indices differ in dtype")
    if form == "lil":
        rows = getattr(library("scipy.sparse"), f"csr_{str(name)[4:]}")
        return exactly(rows((data, indices, starts), shape=lengths).tolil(), kind, "what was made")
    made = kind((data, indices, starts), shape=lengths, copy=False)
    # The constructor makes them smaller where it can; they are the same numbers.
    made.indices, made.indptr = indices, starts
    return made


def _in_blocks(lengths: tuple[int, ...], block: tuple[int, ...]) -> tuple[int, int]:
    """How many rows and columns of blocks; (1, n) for one dimension."""
    rows, columns = lengths if len(lengths) == 2 else (1, lengths[0])
    if not block:
        return rows, columns
    require(len(lengths) == 2 and all(block), "a block has no size")
    require(rows % block[0] == 0 and columns % block[1] == 0, "blocks do not fill the shape")
    return rows // block[0], columns // block[1]


@total
def coordinates(name: object, shape: object, values: object, places: object) -> Any:
    """A sparse array by the coordinates of each value, a tuple of one array for each dimension."""
    form, kind = _class_of(name, _BY_KEY)
    lengths = _shape(shape, _MOST_DIMENSIONS)
    data = _numbers(values, 1)
    axes = exactly(places, tuple, "the coordinates")
    require(len(axes) == len(lengths), "coordinates and shape differ")
    coords = tuple(
        _places(axis, length, "a coordinate") for axis, length in zip(axes, lengths, strict=True)
    )
    require(all(axis.shape == data.shape for axis in coords), "values and coordinates differ")
    require(len({axis.dtype for axis in coords}) == 1, "coordinates differ in dtype")
    if form == "dok":
        keys = list(zip(*(axis.tolist() for axis in coords), strict=True))
        require(few_alike(keys), "too many coordinates share a hash")
        plain = getattr(library("scipy.sparse"), f"coo_{str(name)[4:]}")
        made = plain((data, coords), shape=lengths, copy=False).todok()
        return exactly(made, kind, "what was made")
    return kind((data, coords), shape=lengths, copy=False)


@total
def diagonals(name: object, shape: object, values: object, offsets: object) -> Any:
    """A sparse array by its diagonals: a row of *values* for each of *offsets*."""
    import numpy as np

    _, kind = _class_of(name, ("dia",))
    lengths = _shape(shape, 2)
    require(len(lengths) == 2, "diagonals need two dimensions")
    data = _numbers(values, 2)
    lines = indices_of(offsets, -lengths[0], lengths[1] + 1, "a diagonal")
    require(lines.dtype.kind == "i" and lines.dtype.itemsize in (4, 8), "offsets are of odd kind")
    require(lines.size == data.shape[0], "values and offsets differ in length")
    require(np.unique(lines).size == lines.size, "a diagonal is there twice")
    made = kind((data, lines), shape=lengths, copy=False)
    made.offsets = lines
    return made
