"""Save any Python object graph as a new version, and get it back later.

from checkpoint import Checkpointer, keep_last

saves = Checkpointer("saves/", keep=keep_last(5))
saves.save(world)
world = saves.load()
"""

from checkpoint._checkpointer import Checkpointer
from checkpoint._difference import Change, Difference
from checkpoint._members import __version__
from checkpoint._migrating import Migrated
from checkpoint._migration import (
    Become,
    Migrations,
    add_fields,
    drop_fields,
    graph_migration,
    rename,
    rename_fields,
    rename_module,
    upgrade,
    versioned,
)
from checkpoint._model import Global, Shape, Snapshot
from checkpoint._outline import Outline
from checkpoint._pickle_interface import (
    Pickler,
    Unpickler,
    dump,
    dumps,
    inspect,
    load,
    loads,
    raw,
)
from checkpoint._records import Record
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
from checkpoint._standins import StandIn
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
    SchemaWarning,
    SerializationError,
    StoreError,
    UnsafeError,
)
from checkpoint.store import LocalStore, Lock, Locking, Mappable, MemoryStore, Store

__all__ = [
    "Become",
    "Best",
    "Change",
    "CheckpointError",
    "Checkpointer",
    "ConflictError",
    "DamagedSnapshotWarning",
    "Difference",
    "FormatError",
    "Global",
    "IntegrityError",
    "InvalidNameError",
    "LocalStore",
    "Lock",
    "Locking",
    "Mappable",
    "MemoryStore",
    "Migrated",
    "MigrationError",
    "Migrations",
    "NotFoundError",
    "Outline",
    "Pickler",
    "Record",
    "Retention",
    "RetentionWarning",
    "SchemaWarning",
    "SerializationError",
    "Shape",
    "Snapshot",
    "StandIn",
    "Store",
    "StoreError",
    "Unpickler",
    "UnsafeError",
    "__version__",
    "add_fields",
    "drop_fields",
    "dump",
    "dumps",
    "either",
    "graph_migration",
    "highest",
    "inspect",
    "keep_best",
    "keep_every",
    "keep_last",
    "keep_tagged",
    "load",
    "loads",
    "lowest",
    "raw",
    "rename",
    "rename_fields",
    "rename_module",
    "upgrade",
    "versioned",
]
