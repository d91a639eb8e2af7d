"""Which types are saved in a form of our own, and by which function.

What plain pickling writes for them cannot be loaded without running code of the
stream's choosing.  The functions are found by name, and imported with the first
object of their type: a program that has none pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from checkpoint._reducing_rows import ROWS

# Returns what `__reduce_ex__` may, or NotImplemented: this object is left to plain pickling.
Reducer = Callable[[Any], Any]

_ROWS: Final[dict[tuple[str, str], str]] = {
    **ROWS,
    # torch
    ("torch", "Tensor"): "checkpoint._reducing_torch:tensor",
    ("torch.nn.parameter", "Parameter"): "checkpoint._reducing_torch:parameter",
    ("torch.storage", "UntypedStorage"): "checkpoint._reducing_torch:storage",
    ("torch.storage", "TypedStorage"): "checkpoint._reducing_torch:typed_storage",
    ("torch", "Size"): "checkpoint._reducing_torch:size",
    ("torch", "device"): "checkpoint._reducing_torch:device",
    ("torch._C", "Generator"): "checkpoint._reducing_torch:generator",
    # numpy; up to 1.26 some are of another module
    ("numpy.random._generator", "Generator"): "checkpoint._reducing_numpy:generator",
    ("numpy.random.mtrand", "RandomState"): "checkpoint._reducing_numpy:random_state",
    ("numpy.random._pcg64", "PCG64"): "checkpoint._reducing_numpy:bit_generator",
    ("numpy.random._pcg64", "PCG64DXSM"): "checkpoint._reducing_numpy:bit_generator",
    ("numpy.random._mt19937", "MT19937"): "checkpoint._reducing_numpy:bit_generator",
    ("numpy.random._philox", "Philox"): "checkpoint._reducing_numpy:bit_generator",
    ("numpy.random._sfc64", "SFC64"): "checkpoint._reducing_numpy:bit_generator",
    ("numpy.random.bit_generator", "SeedSequence"): "checkpoint._reducing_numpy:seed_sequence",
    ("numpy.ma", "MaskedArray"): "checkpoint._reducing_numpy:masked",
    ("numpy.ma.core", "MaskedArray"): "checkpoint._reducing_numpy:masked",
    ("numpy.ma.core", "MaskedConstant"): "checkpoint._reducing_numpy:masked_constant",
    ("numpy.rec", "recarray"): "checkpoint._reducing_numpy:recarray",
    ("numpy", "recarray"): "checkpoint._reducing_numpy:recarray",
    ("numpy", "record"): "checkpoint._reducing_numpy:record",
    ("numpy", "matrix"): "checkpoint._reducing_numpy:matrix",
    ("numpy", "memmap"): "checkpoint._reducing_numpy:memmap",
    ("numpy.dtypes", "StringDType"): "checkpoint._reducing_numpy:string_dtype",
}


def reducer_for(kind: type) -> Reducer | None:
    """The reducer of exactly *kind*; None where plain pickling does.  Imports no library."""
    row = _ROWS.get((kind.__module__, kind.__qualname__))
    if row is None:
        return None
    module, _, name = row.partition(":")
    reducer: Reducer = getattr(import_module(module), name)
    return reducer
