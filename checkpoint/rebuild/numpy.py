"""NumPy: generators of random numbers, masked arrays, and other views of arrays.

NumPy's own ways to set a state believe it: a position outside of the numbers
that are left reads memory of others.  Here each number is within its bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from checkpoint.errors import SerializationError
from checkpoint.rebuild._checks import exactly, require, total, whole

# Words of 32 bits that seed, and that are a pool: each is mixed with each, and a few bytes of a
# stream may ask for that again and again.
MAX_SEEDS: Final = 64
MAX_POOL: Final = 64
VIEWS: Final = ("recarray", "matrix", "memmap")
_KEY_BYTES: Final = 4 * 624
_WORD32, _WORD64, _WORD128 = ((1 << bits) - 1 for bits in (32, 64, 128))


__all__ = [
    "bit_generator",
    "generator",
    "masked",
    "masked_constant",
    "random_state",
    "record",
    "seed_sequence",
    "string_dtype",
    "view",
]


@total
def seed_sequence(entropy: Any, spawn_key: Any, pool_size: Any, children: Any) -> Any:
    """A `SeedSequence`; its pool is mixed anew from the *entropy*."""
    require(may_seed(entropy), "the entropy of a seed sequence")
    require(type(spawn_key) is tuple and may_seed(spawn_key), "the spawn key of a seed sequence")
    whole(pool_size, "the pool of a seed sequence", 4, MAX_POOL)
    whole(children, "the children of a seed sequence", 0, _WORD32)
    kind = _numpy("random").SeedSequence
    return kind(entropy, spawn_key=spawn_key, pool_size=pool_size, n_children_spawned=children)


def may_seed(entropy: Any) -> bool:
    """Whether it is a number, or a list or tuple of them, that is soon mixed."""
    several = type(entropy) in (list, tuple)
    numbers = entropy if several else (entropy,)
    words = 0
    for number in numbers:
        if type(number) is not int or number < 0:
            return False
        words += max(1, (number.bit_length() + 31) // 32)
    return words <= MAX_SEEDS


@total
def bit_generator(name: Any, numbers: Any, seed: Any) -> Any:
    """A bit generator in the state that *numbers* say, flat; *seed* is its sequence or None."""
    require(type(name) is str and name in STATES, "a bit generator")
    exactly(numbers, tuple, "the state of a bit generator")
    state = STATES[name](numbers)
    random = _numpy("random")
    if seed is not None:
        exactly(seed, random.SeedSequence, "the seed sequence of a bit generator")
    made = getattr(random, name)(0 if seed is None else seed)
    made.state = {"bit_generator": name, **state}
    if seed is None:
        _unseed(made)
    return made


def _unseed(made: Any) -> None:
    """Without a seed sequence, as after `RandomState(5)`; NumPy 1 does not save it anyway."""
    try:
        made.__setstate__((made.state, None))
    except (TypeError, ValueError):
        return


@total
def generator(bits: Any) -> Any:
    """A `Generator` on a bit generator, which others may share."""
    _check_bits(bits)
    return _numpy("random").Generator(bits)


@total
def random_state(bits: Any, has_gauss: Any, gauss: Any) -> Any:
    """A `RandomState`; *gauss* is the second of a pair of normal numbers, if *has_gauss*."""
    _check_bits(bits)
    whole(has_gauss, "whether a number is left", 0, 1)
    exactly(gauss, float, "the number that is left")
    made = _numpy("random").RandomState(bits)
    made.set_state({**made.get_state(legacy=False), "has_gauss": has_gauss, "gauss": gauss})
    return made


@total
def masked(data: Any, mask: Any, fill_value: Any, hard: Any) -> Any:
    """A `MaskedArray` over *data* and *mask*; None is no mask, and the usual fill value."""
    numpy = _numpy()
    exactly(data, numpy.ndarray, "the data of a masked array")
    exactly(hard, bool, "whether a mask is hard")
    require(not data.dtype.hasobject, "objects in a masked array")
    if mask is not None:
        exactly(mask, numpy.ndarray, "a mask")
        require(mask.dtype == numpy.ma.make_mask_descr(data.dtype), "the dtype of a mask")
        require(mask.shape == data.shape and are_truths(mask), "a mask")
    if fill_value is not None:
        exactly(fill_value, numpy.ndarray, "a fill value")
        require(fill_value.ndim == 0 and fill_value.dtype == data.dtype, "a fill value")
    given = numpy.ma.nomask if mask is None else mask
    made = numpy.ma.MaskedArray(data, mask=given, fill_value=fill_value, hard_mask=hard)
    made._sharedmask = False
    return made


def are_truths(array: Any) -> bool:
    """Whether each byte of an array of truths is 0 or 1: what counts them believes that."""
    numpy = _numpy()
    raw = numpy.ascontiguousarray(array).reshape(-1).view(numpy.uint8)
    return not raw.size or bool(raw.max() <= 1)


@total
def masked_constant() -> Any:
    """`numpy.ma.masked`, of which there is one."""
    return _numpy("ma").masked


@total
def view(name: Any, array: Any) -> Any:
    """*array* as one of NumPy's own subclasses; a memmap is in memory, as with plain pickling."""
    numpy = _numpy()
    require(type(name) is str and name in VIEWS, "a kind of array")
    exactly(array, numpy.ndarray, "an array")
    if name == "matrix":
        require(array.ndim == 2 and not array.dtype.hasobject, "a matrix")
    if name == "recarray":
        _check_records(array.dtype)
    return array.view(getattr(numpy, name))


@total
def record(array: Any) -> Any:
    """A `numpy.record`: the one that *array* has."""
    numpy = _numpy()
    exactly(array, numpy.ndarray, "an array")
    require(array.shape == (1,), "an array of one record")
    _check_records(array.dtype)
    return array.view(numpy.recarray)[0]


@total
def string_dtype(coerce: Any, *missing: Any) -> Any:
    """A `StringDType`; *missing* is the object that stands for no string, if there is one."""
    exactly(coerce, bool, "whether to coerce")
    require(not missing or (len(missing) == 1 and may_be_missing(missing[0])), "a missing string")
    kind = getattr(_numpy("dtypes"), "StringDType", None)
    if kind is None:
        raise SerializationError("the state holds arrays of strings, which need NumPy 2")
    return kind(coerce=coerce, na_object=missing[0]) if missing else kind(coerce=coerce)


def may_be_missing(value: Any) -> bool:
    """Whether it may stand for a string that is missing."""
    return value is None or type(value) is str or (type(value) is float and value != value)


def _numpy(submodule: str = "") -> Any:
    try:
        return import_module(f"numpy.{submodule}" if submodule else "numpy")
    except ImportError as error:
        raise SerializationError(
            f"the state holds arrays, and numpy cannot be imported: {error}"
        ) from error


def _check_bits(bits: Any) -> None:
    random = _numpy("random")
    kinds = [getattr(random, name) for name in STATES]
    require(type(bits) in kinds, "a bit generator")


def _check_records(dtype: Any) -> None:
    require(dtype.names is not None and not dtype.hasobject, "records")


def _words(numbers: tuple[Any, ...], *most: int) -> tuple[int, ...]:
    """The numbers, each from 0 to its most."""
    what = "a number in the state of a bit generator"
    return tuple(whole(number, what, 0, top) for number, top in zip(numbers, most, strict=True))


def _half(has_uint32: int, uinteger: int) -> dict[str, Any]:
    return {"has_uint32": has_uint32, "uinteger": uinteger}


def _pcg(numbers: tuple[Any, ...]) -> dict[str, Any]:
    state, inc, *half = _words(numbers, _WORD128, _WORD128, 1, _WORD32)
    require(inc % 2 == 1, "an increment that is even")
    return {"state": {"state": state, "inc": inc}, **_half(*half)}


def _sfc(numbers: tuple[Any, ...]) -> dict[str, Any]:
    *state, has, rest = _words(numbers, *[_WORD64] * 4, 1, _WORD32)
    return {"state": {"state": _array(state)}, **_half(has, rest)}


def _philox(numbers: tuple[Any, ...]) -> dict[str, Any]:
    words = _words(numbers, *[_WORD64] * 10, 4, 1, _WORD32)
    require(words[10] >= 1, "a position in a buffer")
    state = {"counter": _array(words[:4]), "key": _array(words[4:6])}
    buffer = {"buffer": _array(words[6:10]), "buffer_pos": words[10]}
    return {"state": state, **buffer, **_half(*words[11:])}


def _mt19937(numbers: tuple[Any, ...]) -> dict[str, Any]:
    key, position = numbers
    exactly(key, bytes, "a key")
    require(len(key) == _KEY_BYTES, "the length of a key")
    words = _numpy().frombuffer(key, "<u4").astype("u4")
    return {"state": {"key": words, "pos": whole(position, "a position", 0, 624)}}


def _array(words: Any) -> Any:
    return _numpy().array(words, dtype="u8")


STATES: Final[Mapping[str, Any]] = {
    "PCG64": _pcg,
    "PCG64DXSM": _pcg,
    "MT19937": _mt19937,
    "Philox": _philox,
    "SFC64": _sfc,
}
