"""How NumPy's values other than arrays, dtypes and scalars are saved.

Those three plain pickling writes in forms that can be checked in the stream.
What can only be checked at run time goes through `checkpoint.rebuild.numpy`.
"""

from __future__ import annotations

from typing import Any

from checkpoint.errors import UnsafeError
from checkpoint.rebuild import numpy as rebuild


def seed_sequence(sequence: Any) -> Any:
    """A `SeedSequence`: what it was made of, and how many children it has."""
    import numpy

    state = sequence.state
    entropy = _without_numpy(state["entropy"])
    args = (entropy, state["spawn_key"], state["pool_size"], state["n_children_spawned"])
    try:
        again = rebuild.seed_sequence(*args)
    except UnsafeError:
        return NotImplemented
    same = numpy.array_equal(again.pool, sequence.pool)
    return (rebuild.seed_sequence, args) if same else NotImplemented


def _without_numpy(entropy: Any) -> Any:
    """Python's numbers for NumPy's, which mix to the same pool."""
    import numpy

    if isinstance(entropy, numpy.ndarray | numpy.integer):
        return entropy.tolist()
    if type(entropy) in (list, tuple):
        return type(entropy)(map(_without_numpy, entropy))
    return entropy


def bit_generator(bits: Any) -> Any:
    """A bit generator: the numbers of its state, and its seed sequence."""
    from numpy.random import SeedSequence

    seed = bits.seed_seq
    if seed is not None and type(seed) is not SeedSequence:
        return NotImplemented
    state = bits.state
    name = state["bit_generator"]
    numbers = _flat(name, state)
    if type(bits).__name__ != name:
        return NotImplemented
    try:
        rebuild.STATES[name](numbers)
    except UnsafeError:  # a state that the program itself has set so
        return NotImplemented
    return rebuild.bit_generator, (name, numbers, seed)


def _flat(name: str, state: Any) -> tuple[Any, ...]:
    inner = state["state"]
    if name == "MT19937":
        return inner["key"].astype("<u4").tobytes(), int(inner["pos"])
    half = (int(state["has_uint32"]), int(state["uinteger"]))
    if name == "Philox":
        words = [*inner["counter"], *inner["key"], *state["buffer"], state["buffer_pos"]]
    elif name == "SFC64":
        words = inner["state"]
    else:
        words = [inner["state"], inner["inc"]]
    return (*map(int, words), *half)


def generator(generator: Any) -> Any:
    """A `Generator`, by its bit generator."""
    return _if_own(rebuild.generator, generator.bit_generator)


def random_state(generator: Any) -> Any:
    """A `RandomState`: its bit generator, and the number that is left of a pair."""
    state = generator.get_state(legacy=False)
    rest = (int(state["has_gauss"]), float(state["gauss"]))
    return _if_own(rebuild.random_state, generator._bit_generator, *rest)


def _if_own(call: Any, bits: Any, *rest: Any) -> Any:
    """On a bit generator of NumPy's own; one of another package is left to plain pickling."""
    import numpy.random

    name = type(bits).__name__
    known = name in rebuild.STATES and type(bits) is getattr(numpy.random, name)
    return (call, (bits, *rest)) if known else NotImplemented


def masked(array: Any) -> Any:
    """A `MaskedArray` of plain values; unlike with plain pickling, a hard mask stays hard."""
    import numpy

    if array.baseclass is not numpy.ndarray or array.dtype.hasobject:
        return NotImplemented
    mask = None if array._mask is numpy.ma.nomask else numpy.asarray(array._mask)
    if mask is not None and not rebuild.are_truths(mask):  # memory that was never set
        return NotImplemented
    fill_value = array._fill_value
    if fill_value is not None:
        fill_value = numpy.asarray(fill_value)
        if fill_value.ndim or fill_value.dtype != array.dtype:
            return NotImplemented
    return rebuild.masked, (array.data, mask, fill_value, bool(array.hardmask))


def masked_constant(_: Any) -> Any:
    """`numpy.ma.masked`."""
    return rebuild.masked_constant, ()


def matrix(array: Any) -> Any:
    """A matrix, as an array."""
    return _viewed(array) if array.ndim == 2 and not array.dtype.hasobject else NotImplemented


def memmap(array: Any) -> Any:
    """The part of a file that is mapped, as an array: the file itself is not saved."""
    return _viewed(array)


def recarray(array: Any) -> Any:
    """An array of records: one of a plain structured dtype, from which NumPy makes it again."""
    plain = _unrecorded(array.dtype)
    return NotImplemented if plain is None else _viewed(array, plain)


def record(record: Any) -> Any:
    """A record, as an array of one."""
    import numpy

    plain = _unrecorded(record.dtype)
    if plain is None:
        return NotImplemented
    return rebuild.record, (numpy.frombuffer(record.tobytes(), plain).copy(),)


def _viewed(array: Any, dtype: Any = None) -> Any:
    import numpy

    plain = array.view(numpy.ndarray)
    return rebuild.view, (type(array).__name__, plain if dtype is None else plain.view(dtype))


def _unrecorded(dtype: Any) -> Any:
    """The structured dtype that a view as records turns into *dtype*; None if none does."""
    import numpy

    if dtype.names is None or dtype.hasobject:
        return None
    plain = numpy.dtype((numpy.void, dtype))
    again = numpy.empty(0, plain).view(numpy.recarray).dtype
    return plain if again == dtype and again.type is dtype.type else None


def string_dtype(dtype: Any) -> Any:
    """A `StringDType`; one whose missing object is another package's is left to plain pickling."""
    missing = (dtype.na_object,) if hasattr(dtype, "na_object") else ()
    if missing and not rebuild.may_be_missing(missing[0]):
        return NotImplemented
    return rebuild.string_dtype, (dtype.coerce, *missing)
