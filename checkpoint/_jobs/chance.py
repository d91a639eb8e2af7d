"""The generators of random numbers that a process shares: of `random`, NumPy and torch.

What is captured is plain (dicts, lists, bytes, numbers), so that a state that
was saved beside it is still read without any of these libraries.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from checkpoint.errors import JobWarning, warn

# The state of `random` is 624 words and a place among them, all unsigned.
_WORDS = struct.Struct("<625I")
_ARRAY = "array"


def captured() -> dict[str, Any]:
    """The state of each generator that this process can have used; it imports nothing.

    About 20 µs for `random`, 35 more once `numpy.random` is imported, 80 more with torch.
    """
    return {
        library: capture() for library, module, capture, _ in _GENERATORS if module in sys.modules
    }


def restore(state: dict[str, Any]) -> None:
    """Let each generator in *state* go on where it was; the others are left alone.

    A library that is not imported yet is: the numbers drawn from it count.  One
    that is gone, or does not take its state, is named in a `JobWarning`.
    """
    for library, module, _, put_back in _GENERATORS:
        if library not in state:
            continue
        try:
            import_module(module)
            put_back(state[library])
        except Exception as error:
            warn(
                f"the random numbers of {library} do not go on where they stopped:"
                f" its state cannot be set ({type(error).__name__}: {error})",
                JobWarning,
            )


def unlike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a number was drawn, or a seed set, between two captures."""
    return one != other


def _python() -> Any:
    version, words, gauss = random.getstate()
    return [version, _WORDS.pack(*words), gauss]


def _set_python(state: Any) -> None:
    version, words, gauss = state
    random.setstate((version, _WORDS.unpack(words), gauss))


def _numpy() -> Any:
    return _plain(sys.modules["numpy.random"].get_state(legacy=False))


def _set_numpy(state: Any) -> None:
    sys.modules["numpy.random"].set_state(_unplain(state))


def _plain(value: Any) -> Any:
    """*value* with its arrays as lists of a mark, a dtype and bytes."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if hasattr(value, "tobytes"):
        return [_ARRAY, value.dtype.str, value.tobytes()]
    return value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unplain(inner) for key, inner in value.items()}
    if isinstance(value, list) and value[:1] == [_ARRAY]:
        return sys.modules["numpy"].frombuffer(value[2], value[1])
    return value


def _torch() -> Any:
    torch: Any = sys.modules["torch"]
    state: dict[str, Any] = {"cpu": _bytes(torch.get_rng_state())}
    # Asking an idle GPU for its generator would start it.
    if torch.cuda.is_initialized():
        state["cuda"] = [_bytes(each) for each in torch.cuda.get_rng_state_all()]
    return state


def _set_torch(state: Any) -> None:
    torch: Any = sys.modules["torch"]
    torch.set_rng_state(_tensor(torch, state["cpu"]))
    devices = state.get("cuda", [])
    # torch itself would fail only later, when its first kernel starts.
    if len(devices) > torch.cuda.device_count():
        raise RuntimeError(f"it needs {len(devices)} CUDA devices, and not all are here")
    for index, each in enumerate(devices):
        torch.cuda.set_rng_state(_tensor(torch, each), index)


def _bytes(tensor: Any) -> bytes:
    # Not by way of NumPy: torch runs without it.
    return bytes(tensor.tolist())


def _tensor(torch: Any, data: bytes) -> Any:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


# What it is called, the module that has been imported if it was used, and the two ways.
_GENERATORS: list[tuple[str, str, Callable[[], Any], Callable[[Any], None]]] = [
    ("random", "random", _python, _set_python),
    ("numpy", "numpy.random", _numpy, _set_numpy),
    ("torch", "torch", _torch, _set_torch),
]
