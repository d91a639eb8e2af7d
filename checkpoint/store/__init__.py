"""Stores: a flat map from keys to immutable bytes, under one contract."""

from checkpoint.store._contract import Lock, Locking, Mappable, Store, check_key
from checkpoint.store._local import LocalStore, replace_file
from checkpoint.store._memory import MemoryStore

__all__ = [
    "LocalStore",
    "Lock",
    "Locking",
    "Mappable",
    "MemoryStore",
    "Store",
    "check_key",
    "replace_file",
]
