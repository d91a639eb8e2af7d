"""What every rebuilding of arrays and tables checks first.

No method of an argument is called before its exact type is known: it may be an
instance of any class, and an array may lie about what its bytes are worth.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from typing import Any, NoReturn, ParamSpec, TypeVar

from checkpoint.errors import CheckpointError, UnsafeError

P = ParamSpec("P")
R = TypeVar("R")

# Number of the last dtype of numpy's own: what other packages register lies above.
_LAST_OWN_DTYPE = 23

# Bits that a whole number may have as a label: its hash is computed anew at each use.
_MOST_BITS = 1 << 10

# Steps that a look at nested labels may take, and how many more for each label.
_STEPS, _STEPS_EACH = 100_000, 16
_DEEPEST_LABEL = 50

# Labels that may share a hash: a set of n that all do takes n² steps.
_MANY = 64

_PLAIN = frozenset((type(None), bool, float, complex, str, bytes))
_ATOMS = _PLAIN | {datetime.date, datetime.timedelta}


def refuse(what: str) -> NoReturn:
    """Raise an `UnsafeError`: this is not what a reducer of ours writes."""
    raise UnsafeError(f"not rebuilt: {what}, which no save of ours writes; the file is not sound")


def require(holds: bool, what: str) -> None:
    """Refuse unless *holds*; *what* says what is wrong."""
    if not holds:
        refuse(what)


def library(name: str) -> Any:
    """The module of that name; untyped, as what it makes is, and installed or not."""
    return import_module(name)


def total(function: Callable[P, R]) -> Callable[P, R]:
    """Make each failure of *function*, a wrong number of arguments too, an `UnsafeError`."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (CheckpointError, MemoryError):
            raise
        except Exception as error:
            # Its text may be made of anything: only what is text already is shown.
            said = error.args[0] if error.args and type(error.args[0]) is str else ""
            raise UnsafeError(
                f"{function.__name__} cannot be rebuilt here: {type(error).__name__}: {said}"
            ) from error

    return checked


def exactly(value: Any, kind: type[R], what: str) -> R:
    """*value*, which is exactly of *kind*."""
    if type(value) is not kind:
        refuse(f"{what} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def whole(value: Any, what: str, low: int = -(2**63) + 1, high: int = 2**63 - 1) -> int:
    """*value*, a Python int from *low* to *high*."""
    number = exactly(value, int, what)
    require(low <= number <= high, f"{what} is out of range")
    return number


def array_of(value: Any, kinds: str, ndim: int | None, what: str) -> Any:
    """*value*, an array of numpy's own plain dtypes of *kinds*, aligned, with truths of 0 and 1."""
    import numpy as np

    array = exactly(value, np.ndarray, what)
    kind, number = array.dtype.kind, array.dtype.num
    require(
        kind in kinds and kind not in "OVT" and number <= _LAST_OWN_DTYPE, f"{what} is of {kind}"
    )
    require(ndim is None or array.ndim == ndim, f"{what} has {array.ndim} dimensions")
    if kind == "b" and array.size:
        # A truth of 2 makes numpy count more, or fewer, than it then writes.
        require(bool(array.view(np.uint8).max() <= 1), f"{what} holds bytes that are no truth")
    return array if array.flags.aligned else array.copy()


def indices_of(value: Any, low: int, high: int, what: str) -> Any:
    """A private copy of *value*, whole numbers from *low* up to but not *high*, in one dimension.

    A copy, because something else in the state may write into the memory.
    """
    array = array_of(value, "iu", 1, what)
    require(array.dtype.isnative, f"{what} is in foreign byte order")
    array = array.copy()
    if array.size:
        require(low <= int(array.min()) and int(array.max()) < high, f"{what} points outside")
    return array


def objects(cells: list[Any]) -> Any:
    """A new array of the objects in *cells*, none of which is looked into."""
    import numpy as np

    return np.fromiter(cells, dtype=object, count=len(cells))


def few_alike(cells: list[Any]) -> bool:
    """Whether a set of *cells* is quick to make: few of them share a hash."""
    import numpy as np

    hashes = np.sort(np.fromiter(map(hash, cells), dtype=np.int64, count=len(cells)))
    return not (hashes[_MANY:] == hashes[:-_MANY]).any()


def are_labels(labels: Sequence[Any], atoms: frozenset[type]) -> bool:
    """Whether each can be hashed at little cost, and by no code but Python's and pandas'."""
    if frozenset(map(type, labels)) <= _PLAIN:
        return True
    left = _STEPS + _STEPS_EACH * len(labels)
    waiting = [(label, _DEEPEST_LABEL) for label in labels]
    while waiting:
        label, depth = waiting.pop()
        left -= 1
        if type(label) is tuple:
            if depth == 0 or len(label) > left:
                return False
            left -= len(label)
            waiting += [(item, depth - 1) for item in label]
        elif not _is_atom(label, atoms):
            return False
    return True


def _is_atom(label: Any, atoms: frozenset[type]) -> bool:
    kind = type(label)
    if kind is int:
        return label.bit_length() <= _MOST_BITS  # type: ignore[no-any-return]
    if kind is datetime.datetime or kind is datetime.time:
        return label.tzinfo is None or type(label.tzinfo) is datetime.timezone
    return kind in _ATOMS or kind in atoms
