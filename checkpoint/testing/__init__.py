"""Tests and doubles for those who write a store, or a program that saves to one.

    StoreContract      a pytest class: every line of the store contract
    LockingContract    the same for stores that lock
    MappableContract   the same for stores that map
    CrashingStore      a store whose process dies at the n-th write
    torture            kills a program at random, and starts it again until it is done

The contracts need pytest; nothing else of `checkpoint` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from checkpoint.testing._crashing import CrashingStore, SimulatedCrash
from checkpoint.testing._torture import Tortured, torture

if TYPE_CHECKING:
    from checkpoint.testing._contract import LockingContract, MappableContract, StoreContract

__all__ = [
    "CrashingStore",
    "LockingContract",
    "MappableContract",
    "SimulatedCrash",
    "StoreContract",
    "Tortured",
    "torture",
]


def __getattr__(name: str) -> Any:
    """The contracts, on the day they are asked for: a crashing store needs no pytest."""
    if name not in ("LockingContract", "MappableContract", "StoreContract"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    pytest.register_assert_rewrite("checkpoint.testing._contract")
    from checkpoint.testing import _contract

    return getattr(_contract, name)
