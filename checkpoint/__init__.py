"""Save any Python object graph as a new version, and get it back later.

from checkpoint import Checkpointer, keep_last

saves = Checkpointer("saves/", keep=keep_last(5))
saves.save(world)
world = saves.load()
"""

from checkpoint._checkpointer import Checkpointer
from checkpoint._difference import Change, Difference
from checkpoint._jobs.job import Job, current_job
from checkpoint._jobs.maps import Failed
from checkpoint._jobs.resumable import Resumable, job, resumable
from checkpoint._jobs.status import JobStatus
from checkpoint._jobs.stopping import Preempted
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
from checkpoint._model import Global, Shape, Snapshot, Use, Verdict
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
from checkpoint._trust import everything
from checkpoint.errors import (
    CheckpointError,
    ConflictError,
    CrashLoopError,
    DamagedSnapshotWarning,
    FormatError,
    IntegrityError,
    InvalidNameError,
    JobError,
    JobWarning,
    MigrationError,
    NotFoundError,
    ReplayError,
    RetentionWarning,
    SchemaWarning,
    SerializationError,
    StoreError,
    UnsafeError,
    UnsavedStateError,
    UntrustedTypeWarning,
)
from checkpoint.store import LocalStore, Lock, Locking, Mappable, MemoryStore, Store

__all__ = [
    "Become",
    "Best",
    "Change",
    "CheckpointError",
    "Checkpointer",
    "ConflictError",
    "CrashLoopError",
    "DamagedSnapshotWarning",
    "Difference",
    "Failed",
    "FormatError",
    "Global",
    "IntegrityError",
    "InvalidNameError",
    "Job",
    "JobError",
    "JobStatus",
    "JobWarning",
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
    "Preempted",
    "Record",
    "ReplayError",
    "Resumable",
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
    "UnsavedStateError",
    "UntrustedTypeWarning",
    "Use",
    "Verdict",
    "__version__",
    "add_fields",
    "current_job",
    "drop_fields",
    "dump",
    "dumps",
    "either",
    "everything",
    "graph_migration",
    "highest",
    "inspect",
    "job",
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
    "resumable",
    "upgrade",
    "versioned",
]
