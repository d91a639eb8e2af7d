"""torch: tensors, parameters, storages and generators from plain values.

A storage is the memory of all tensors on it; each tensor names its place there,
so that views and tied weights stay shared.  The memory is the buffer that is
given, uncopied where it is writable: such a storage cannot be resized.  What lay
on another device goes back there, if this machine has it, and else to the CPU.
"""

from __future__ import annotations

import mmap
from importlib import import_module
from pickle import PickleBuffer
from struct import unpack_from
from typing import Any, Final

from checkpoint.errors import SerializationError
from checkpoint.rebuild._checks import exactly, require, total, whole

# Bytes of one element.  Quantized types are left out: their scale is no part of a storage.
DTYPES: Final[dict[str, int]] = {
    "bool": 1,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "complex32": 4,
    "complex64": 8,
    "complex128": 16,
}
DEVICES: Final = ("cpu", "cuda", "mps", "xpu", "meta")
MAX_DEVICE: Final = 127
MAX_DIMENSIONS: Final = 64  # of torch's iterators
__all__ = [
    "device",
    "generator",
    "parameter",
    "size",
    "sparse",
    "storage",
    "tensor",
    "typed_storage",
]

_VIEWS: Final[dict[str, dict[str, bool]]] = {
    "conj": {"conj": True},
    "neg": {"neg": True},
    "conj neg": {"conj": True, "neg": True},
}
LAYOUTS: Final = ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")
_MOST: Final = (1 << 63) - 1
_ALIGNED: Final = 16  # no element is larger
_MEMORY: Final = (bytes, bytearray, memoryview, PickleBuffer, mmap.mmap)

# A generator's state: 5056 bytes, in which the places of these are fixed (CPUGeneratorImpl.cpp).
GENERATOR_SIZE: Final = 5056
_SEED_LEFT_SEEDED_NEXT: Final = "<QiiQ"
_NORMAL_IS_VALID: Final = 5040
_FLOAT_IS_VALID: Final = 5052
_TWISTED: Final = 624


@total
def storage(memory: Any, kind: Any = "cpu", index: Any = 0) -> Any:
    """An untyped storage over *memory*, or over a copy if that is read-only or elsewhere."""
    require(type(memory) in _MEMORY, "the memory of a storage")
    require(type(kind) is str and kind in DEVICES[:-1], "a device")
    whole(index, "the number of a device", 0, MAX_DEVICE)
    torch = _torch()
    near = _near(torch, memory)
    if kind == "cpu" or not _is_there(torch, kind, index):
        return near
    return near.to(device=torch.device(kind, index))


def _is_there(torch: Any, kind: str, index: int) -> bool:
    """Whether this machine has the device."""
    devices = getattr(torch, kind, None)
    return devices is not None and devices.is_available() and index < devices.device_count()


def _near(torch: Any, memory: Any) -> Any:
    """A storage of the CPU."""
    view = memoryview(memory).cast("B")
    if view.nbytes == 0:
        return torch.UntypedStorage(0)
    if view.readonly:
        view = memoryview(bytearray(view))
    # torch does not hold the export of what it is given, and a bytearray could be resized under
    # it; but it holds the object: a view that nobody else has, and that holds the export.
    made = torch.frombuffer(view, dtype=torch.uint8)
    if made.data_ptr() % _ALIGNED:
        made = torch.frombuffer(memoryview(bytearray(view)), dtype=torch.uint8)
    return made.untyped_storage()


@total
def typed_storage(untyped: Any, dtype: Any) -> Any:
    """A typed storage, which is what torch had before 2.0."""
    torch = _torch()
    element = _element(dtype)
    exactly(untyped, torch.UntypedStorage, "a storage")
    require(untyped.nbytes() % element == 0, "a storage of half an element")
    name = _dtype(torch, dtype)
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=name, _internal=True)


@total
def tensor(
    storage: Any,
    dtype: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    requires_grad: Any,
    view: Any = "",
    attributes: Any = None,
) -> Any:
    """A tensor at *offset* of *storage*; *view* says which of its signs are read flipped."""
    torch = _torch()
    element = _element(dtype)
    exactly(storage, torch.UntypedStorage, "a storage")
    require(storage.device.type != "meta", "a tensor without memory")
    within = fits(element, offset, shape, stride, storage.nbytes())
    require(within, "a tensor that is not within its storage")
    _check_view(dtype, requires_grad, view)
    _check_attributes(attributes, torch.Tensor)
    made = torch.empty((0,), dtype=_dtype(torch, dtype), device=storage.device)
    made.set_(storage, offset, shape, stride)
    if view:
        torch._utils.set_tensor_metadata(made, _VIEWS[view])
    if requires_grad:
        made.requires_grad_()
    if attributes:
        made.__dict__.update(attributes)
    return made


@total
def parameter(data: Any, requires_grad: Any, attributes: Any = None) -> Any:
    """A parameter over the memory of the tensor *data*."""
    torch = _torch()
    exactly(data, torch.Tensor, "the data of a parameter")
    exactly(requires_grad, bool, "whether there is a gradient")
    require(not data.requires_grad, "the data of a parameter with a gradient of its own")
    _check_attributes(attributes, torch.nn.Parameter)
    made = torch.nn.Parameter(data, requires_grad)
    if attributes:
        made.__dict__.update(attributes)
    return made


@total
def sparse(layout: Any, indices: Any, more: Any, values: Any, shape: Any, coalesced: Any) -> Any:
    """A sparse tensor; *more* are the plain indices of a compressed one, else None.

    torch checks all indices when it is told to.  It gets copies of them, because
    something else in the state may write into their memory later.
    """
    torch = _torch()
    require(type(layout) is str and layout in LAYOUTS, "a layout")
    compressed = layout != "sparse_coo"
    parts = (indices, more) if compressed else (indices,)
    for part in parts:
        exactly(part, torch.Tensor, "indices")
        require(part.layout is torch.strided and is_all_there(part), "indices")
    exactly(values, torch.Tensor, "the values of a sparse tensor")
    require(values.layout is torch.strided and not values.requires_grad, "sparse values")
    _wholes(shape, "a shape")
    exactly(coalesced, bool, "whether indices are in order")
    copies = [part.clone() for part in parts]
    if compressed:
        kind = getattr(torch, layout)
        return torch.sparse_compressed_tensor(
            *copies, values, shape, layout=kind, check_invariants=True
        )
    require(more is None and indices.dtype is torch.int64, "indices")
    return torch.sparse_coo_tensor(
        *copies, values, shape, is_coalesced=coalesced, check_invariants=True
    )


@total
def size(shape: Any) -> Any:
    """A `torch.Size`."""
    return _torch().Size(_wholes(shape, "a size"))


@total
def device(kind: Any, index: Any = None) -> Any:
    """A `torch.device`: its name alone, nothing is asked of the device."""
    require(type(kind) is str and kind in DEVICES, "a device")
    if index is None:
        return _torch().device(kind)
    return _torch().device(kind, whole(index, "the number of a device", 0, MAX_DEVICE))


@total
def generator(state: Any) -> Any:
    """A generator of random numbers, of the CPU."""
    exactly(state, bytes, "the state of a generator")
    require(is_generator_state(state), "a generator with numbers left that are not there")
    torch = _torch()
    made = torch.Generator("cpu")
    made.set_state(torch.frombuffer(memoryview(bytearray(state)), dtype=torch.uint8))
    return made


def is_generator_state(state: bytes) -> bool:
    """Whether it is one: torch itself does not check that the numbers left are there."""
    if len(state) != GENERATOR_SIZE:
        return False
    _, left, seeded, following = unpack_from(_SEED_LEFT_SEEDED_NEXT, state)
    (normal,) = unpack_from("<i", state, _NORMAL_IS_VALID)
    flags = (seeded, normal, state[_FLOAT_IS_VALID])
    within: bool = 1 <= left <= _TWISTED and left + following <= _TWISTED + 1
    return within and seeded == 1 and all(flag in (0, 1) for flag in flags)


def fits(element: int, offset: Any, shape: Any, stride: Any, nbytes: int) -> bool:
    """Whether a tensor of elements of so many bytes lies within *nbytes* of memory."""
    if not (type(shape) is type(stride) is tuple and len(shape) == len(stride) <= MAX_DIMENSIONS):
        return False
    if not all(type(n) is int and 0 <= n <= _MOST for n in (offset, *shape, *stride)):
        return False
    count, last = element, offset
    for length, step in zip(shape, stride, strict=True):
        count *= max(length, 1)
        last += max(length - 1, 0) * step
        if count > _MOST or step * element > _MOST:
            return False
    end: int = offset if 0 in shape else last + 1
    return end * element <= nbytes


def is_all_there(tensor: Any) -> bool:
    """Whether a copy of *tensor* takes no more than its memory: no element is there twice."""
    enough: bool = tensor.nbytes <= tensor.untyped_storage().nbytes()
    return enough


def may_be_attributes(attributes: Any, kind: type) -> bool:
    """Whether they are names of a program's own, which hide nothing of *kind*."""
    if type(attributes) is not dict:
        return False
    for name in attributes:
        if type(name) is not str or name.startswith("__") or hasattr(kind, name):
            return False
    return True


def _torch() -> Any:
    try:
        return import_module("torch")
    except ImportError as error:
        raise SerializationError(
            f"the state holds tensors, and torch cannot be imported: {error}"
        ) from error


def _element(dtype: Any) -> int:
    """The bytes of one element."""
    require(type(dtype) is str and dtype in DTYPES, "a dtype")
    return DTYPES[dtype]


def _dtype(torch: Any, name: str) -> Any:
    found = getattr(torch, name, None)
    if found is None:
        raise SerializationError(f"torch {torch.__version__} has no dtype {name}; use a newer one")
    return found


def _wholes(values: Any, what: str) -> tuple[int, ...]:
    exactly(values, tuple, what)
    return tuple(whole(value, what, 0, _MOST) for value in values)


def _check_view(dtype: str, requires_grad: Any, view: Any) -> None:
    complex_ = dtype.startswith("complex")
    exactly(requires_grad, bool, "whether there is a gradient")
    require(type(view) is str and (not view or view in _VIEWS), "a view of a tensor")
    require("conj" not in view or complex_, "a conjugate of what is not complex")
    floating = complex_ or "float" in dtype
    require(floating or not (view or requires_grad), "a gradient of whole numbers")


def _check_attributes(attributes: Any, kind: type) -> None:
    fine = attributes is None or may_be_attributes(attributes, kind)
    require(fine, f"attributes of a {kind.__name__}")
