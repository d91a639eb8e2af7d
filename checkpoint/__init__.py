"""Save any Python object graph as a new version, and get it back later.

from checkpoint import Checkpointer, keep_last

saves = Checkpointer("saves/", keep=keep_last(5))
saves.save(world)
world = saves.load()
"""

from checkpoint._checkpointer import Checkpointer
from checkpoint._members import __version__
from checkpoint._model import Global, Snapshot
from checkpoint._pickle_interface import Pickler, Unpickler, dump, dumps, load, loads
from checkpoint._retention import (
    Best,
    Retention,
    either,
    highest,
    keep_best,
    keep_every,
    keep_last,
    keep_tagged,
    lowest,
)
from checkpoint.errors import (
    CheckpointError,
    ConflictError,
    DamagedSnapshotWarning,
    FormatError,
    IntegrityError,
    InvalidNameError,
    MigrationError,
    NotFoundError,
    RetentionWarning,
    SerializationError,
    StoreError,
    UnsafeError,
)
from checkpoint.store import LocalStore, Lock, Locking, Mappable, MemoryStore, Store

__all__ = [
    "Best",
    "CheckpointError",
    "Checkpointer",
    "ConflictError",
    "DamagedSnapshotWarning",
    "FormatError",
    "Global",
    "IntegrityError",
    "InvalidNameError",
    "LocalStore",
    "Lock",
    "Locking",
    "Mappable",
    "MemoryStore",
    "MigrationError",
    "NotFoundError",
    "Pickler",
    "Retention",
    "RetentionWarning",
    "SerializationError",
    "Snapshot",
    "Store",
    "StoreError",
    "Unpickler",
    "UnsafeError",
    "__version__",
    "dump",
    "dumps",
    "either",
    "highest",
    "keep_best",
    "keep_every",
    "keep_last",
    "keep_tagged",
    "load",
    "loads",
    "lowest",
]
