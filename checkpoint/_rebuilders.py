"""The functions of `checkpoint.rebuild` as a stream may call them."""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from typing import Any

from checkpoint._grants import Grant, Instance, Spending, Verb
from checkpoint._shipped_numpy import held, string_dtype

_PLACE = "checkpoint.rebuild."
_LIBRARIES = ("numpy", "pandas", "scipy", "torch")
_DTYPES = re.compile(r"bool|u?int(8|16|32|64)|b?float(16|32|64)|complex(32|64|128)|float8_\w+")


@lru_cache(4096)
def rebuilder(module: str, qualname: str, *, imports: bool = True) -> Grant | None:
    """The grant of a function that rebuilds a value of a library; None for all other names.

    Without *imports* it is told of any name there.
    """
    library = module.removeprefix(_PLACE)
    if not module.startswith(_PLACE) or library not in _LIBRARIES:
        return None
    if not imports:
        return Grant(f"{module}:{qualname}", None, Verb.CALL, _counted, hashing="value")
    try:
        holder = importlib.import_module(module)
    except ImportError:
        return None
    if qualname not in getattr(holder, "__all__", ()):
        return None
    name = f"{module}:{qualname}"
    return Grant(name, getattr(holder, qualname), Verb.CALL, _counted)


@lru_cache(4096)
def of_torch(module: str, qualname: str, *, imports: bool = True) -> Grant | None:
    """The grant of a dtype of torch's; None for all other names."""
    if module != "torch" or not _DTYPES.fullmatch(qualname):
        return None
    if not imports:
        return Grant(f"{module}:{qualname}", None)
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    found = vars(torch).get(qualname)
    return Grant(f"{module}:{qualname}", found) if isinstance(found, torch.dtype) else None


def _counted(one: Grant, args: tuple[Any, ...], load: Spending) -> Instance:
    """They check what they are given themselves; here it is counted, as if all were copied."""
    load.spend(1000 + 2 * held(args, load))
    facts = string_dtype() if one.name == f"{_PLACE}numpy:string_dtype" else None
    return Instance(one, args, facts)
