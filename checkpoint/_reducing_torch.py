"""How torch's values are saved: plain values, and memory that is not copied.

The reducer of a storage is asked by the pickler, not by the tensors on it: torch
has one object for a storage as long as somebody holds it, and the pickler's memo
does.  So tensors on one storage stay on one storage.  As with plain pickling,
gradients and hooks are not saved, and the result of an operation becomes a leaf.
"""

from __future__ import annotations

import ctypes
from importlib import import_module
from pickle import PickleBuffer
from sys import intern
from typing import Any

from checkpoint.rebuild import torch as rebuild


def storage(untyped: Any) -> Any:
    """The memory of an untyped storage, brought to the CPU if it lies elsewhere, and from where."""
    if untyped.device.type == "meta":
        return NotImplemented
    near = untyped if untyped.device.type == "cpu" else untyped.cpu()
    # torch's storages have no buffer protocol, and numpy need not be there.
    memory: Any = (ctypes.c_ubyte * near.nbytes()).from_address(near.data_ptr() or 1)
    memory.owner = near
    if near is untyped:
        return rebuild.storage, (PickleBuffer(memory),)
    place = untyped.device
    return rebuild.storage, (PickleBuffer(memory), place.type, place.index or 0)


def typed_storage(typed: Any) -> Any:
    """A typed storage: an untyped one, and the name of the type."""
    name = _name(typed.dtype)
    if name not in rebuild.DTYPES or typed._untyped_storage.device.type == "meta":
        return NotImplemented
    return rebuild.typed_storage, (typed._untyped_storage, name)


def tensor(tensor: Any) -> Any:
    """A tensor by its place in its storage, or by its parts; others are left to plain pickling."""
    torch: Any = import_module("torch")
    name = _name(tensor.dtype)
    known = name in rebuild.DTYPES and tensor.device.type in rebuild.DEVICES
    if not known or tensor.device.type == "meta" or tensor.is_nested:
        return NotImplemented
    if tensor.layout is not torch.strided:
        return NotImplemented if tensor.__dict__ else _sparse(tensor.detach())
    untyped, offset = tensor.untyped_storage(), tensor.storage_offset()
    shape, stride = tuple(tensor.shape), tensor.stride()
    if not tensor.numel() and offset * rebuild.DTYPES[name] > untyped.nbytes():
        offset = 0
    if not rebuild.fits(rebuild.DTYPES[name], offset, shape, stride, untyped.nbytes()):
        return NotImplemented
    torch.utils.hooks.warn_if_has_hooks(tensor)
    args = (untyped, name, offset, shape, stride, tensor.requires_grad)
    return _with_more(rebuild.tensor, args, _view(tensor), tensor)


def _sparse(tensor: Any) -> Any:
    """A sparse tensor, by its indices and its values; a gradient is not kept, as with torch."""
    layout, coalesced, more = _name(tensor.layout), False, None
    if layout == "sparse_coo":
        indices, values, coalesced = tensor._indices(), tensor._values(), tensor.is_coalesced()
    elif layout in ("sparse_csr", "sparse_bsr"):
        indices, more, values = tensor.crow_indices(), tensor.col_indices(), tensor.values()
    elif layout in ("sparse_csc", "sparse_bsc"):
        indices, more, values = tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    else:
        return NotImplemented
    if not (rebuild.is_all_there(indices) and (more is None or rebuild.is_all_there(more))):
        return NotImplemented
    return rebuild.sparse, (layout, indices, more, values, tuple(tensor.shape), coalesced)


def _with_more(call: Any, args: tuple[Any, ...], view: tuple[str, ...], obj: Any) -> Any:
    """With the attributes that the program set on *obj*, if there are any."""
    attributes = obj.__dict__
    if attributes and not rebuild.may_be_attributes(attributes, type(obj)):
        return NotImplemented
    if attributes:
        return call, (*args, *(view or ("",) * (call is rebuild.tensor)), dict(attributes))
    return call, (*args, *view)


def _view(tensor: Any) -> tuple[str, ...]:
    flags = (("conj", tensor.is_conj()), ("neg", tensor.is_neg()))
    names = " ".join(name for name, flag in flags if flag)
    return (names,) if names else ()


def parameter(parameter: Any) -> Any:
    """A parameter: the tensor of its data, and whether it has a gradient."""
    if tensor(parameter.data) is NotImplemented:
        return NotImplemented
    return _with_more(rebuild.parameter, (parameter.data, parameter.requires_grad), (), parameter)


def size(size: Any) -> Any:
    """A size, as a tuple."""
    return rebuild.size, (tuple(size),)


def device(device: Any) -> Any:
    """A device, by name."""
    if device.type not in rebuild.DEVICES or (device.index or 0) > rebuild.MAX_DEVICE:
        return NotImplemented
    return rebuild.device, (device.type,) if device.index is None else (device.type, device.index)


def generator(generator: Any) -> Any:
    """The state of a generator of the CPU; those of other devices are left to plain pickling."""
    if generator.device.type != "cpu":
        return NotImplemented
    state = bytes(generator.get_state().tolist())
    return (rebuild.generator, (state,)) if rebuild.is_generator_state(state) else NotImplemented


def _name(dtype: Any) -> str:
    return intern(str(dtype).rpartition(".")[2])  # one text, which the pickler writes once
