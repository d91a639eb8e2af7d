"""Values that cross layers, and the digest that names their bytes."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from datetime import datetime
from html import escape
from typing import Any

from attrs import Factory, field, frozen
from blake3 import blake3

# What may be written: bytes, bytearray, memoryview, mmap, pickle.PickleBuffer.
# `collections.abc.Buffer` is 3.12's; on 3.11 the protocol has no name.
Buffer = Any

# Fields, or members, that a shape names, and the longest text in it.
MAX_FIELDS = 10_000
MAX_TEXT = 1_000

# Memory from here on is mapped: fresh pages without a memset, given back when dropped.
MAPPED = 1 << 20


# Python maps anonymous memory shared: a forked child would write into its parent's arrays.
_PRIVATE: dict[str, Any] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
)


def digest(data: Buffer) -> str:
    """The BLAKE3-256 of *data* in lower-case hex: a blob's identity."""
    # One thread: with its own pool, a child of fork hangs, and ours keep both cores busy.
    return blake3(data).hexdigest()


def memory(size: int) -> memoryview:
    """Fresh, zeroed, writable memory of *size* bytes that nobody else holds."""
    if size < MAPPED:
        return memoryview(bytearray(size))
    try:
        mapped = mmap.mmap(-1, size, **_PRIVATE)
    except OSError as error:
        raise MemoryError(f"no memory for {size} bytes") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapped.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(mapped)


@frozen
class Shape:
    """What a class and its instances looked like when they were saved.

    `kind` is `attrs`, `dataclass`, `namedtuple`, `enum`, `flag`, `slots` or
    `plain`.  `fields` are in order; where they are `sampled`, they are what the
    first instances had, and there may be others.  `extra` are fields that some
    instances had and the class does not declare.  `defaults` are the fields
    that have one, `validated` those with a validator.  `layout` is empty where
    a state is a dict of fields, or else `pair` (a dict and one of the slots),
    `list`, `tuple` (of the fields in order) or `other`.  `members` are an enum's
    names and the `repr` of their values.  `version` is the declared one of the
    class, and `bases` are its bases that declare one, `module:qualname` to
    version; 1 where nothing is declared.
    """

    kind: str
    fields: tuple[str, ...] = ()
    sampled: bool = False
    defaults: tuple[str, ...] = ()
    validated: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    layout: str = ""
    members: Mapping[str, str] = Factory(dict)
    version: int = 1
    bases: Mapping[str, int] = Factory(dict)

    __module__ = "checkpoint"


@frozen
class Global:
    """A class or function as a stream names it: `module:qualname`.

    `origin` is the importable module that `__main__` was when the snapshot was
    saved (`train` for `python train.py`), else None.  `shape` is None for what
    is no class, and for classes whose instances tell nothing of their state.
    """

    module: str
    qualname: str
    origin: str | None = None
    shape: Shape | None = field(default=None, eq=False)

    __module__ = "checkpoint"

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}"


@frozen
class Pickled:
    """What pickling yields beside the stream, which went to *write* as it was made.

    `foreign` says that it holds something that came out of a stranger's file
    and was never run: a stand-in, or fields that were kept aside.
    """

    buffers: tuple[memoryview, ...]
    globals: tuple[Global, ...]
    foreign: bool = False

    @property
    def provenance(self) -> str:
        """What the manifest is to say of it."""
        return "foreign" if self.foreign else "own"


@frozen
class Blob:
    """A chunk as stored: its digest, its place, its codec.

    `pack` is None for a blob that lies in the document itself: in a manifest's
    inline area, or in the single file.  `base` is the digest of the blob that
    a delta is encoded against.
    """

    digest: str
    length: int
    codec: str
    pack: str | None
    offset: int
    stored: int
    filter: str | None = None
    base: str | None = None


@frozen
class Part:
    """One part of a snapshot: the next *blobs* rows of the table, one after the other.

    `digest` is of the part after all inverse transforms; None where there is no
    transform and the digests of the blobs say it already.
    """

    kind: str
    length: int
    blobs: int
    transforms: tuple[str, ...] = ()
    digest: str | None = None


@frozen(kw_only=True)
class Manifest:
    """The document that is the snapshot on disk."""

    repository: str | None = None
    name: str | None = None
    version: int | None = None
    parent: int | None = None
    writer: str
    created: str
    provenance: str = "own"
    metrics: Mapping[str, float] = Factory(dict)
    tags: tuple[str, ...] = ()
    meta: Any = None
    libraries: Mapping[str, str] = Factory(dict)
    types: tuple[Global, ...] = ()
    migrations: tuple[str, ...] = ()
    size: int = 0
    stored: int = 0
    packs: Mapping[str, int] = Factory(dict)
    table: tuple[Blob, ...] = ()
    blobs: tuple[Blob, ...] = ()
    parts: tuple[Part, ...] = ()
    inline: bytes = b""


@frozen(kw_only=True)
class Snapshot:
    """The immutable state of a graph at one version, as its manifest tells it.

    `size` is in plain bytes, `stored` in bytes that this version added to the
    store.  `own` says that the state was saved from live objects by a program
    that held the key; a snapshot that was imported is not.
    """

    name: str
    version: int
    created: datetime
    parent: int | None
    metrics: Mapping[str, float]
    tags: tuple[str, ...]
    meta: Any
    own: bool
    size: int
    stored: int
    libraries: Mapping[str, str] = field(repr=False)
    types: tuple[Global, ...] = field(repr=False)

    __module__ = "checkpoint"

    def __str__(self) -> str:
        """One line: name and version, date, sizes, metrics, tags."""
        return "  ".join(filter(None, (text for _, text in self._told())))

    def _repr_html_(self) -> str:
        """A row of a table, as notebooks show it."""
        told = [(label, escape(text)) for label, text in self._told() if text]
        head = "".join(f"<th style='text-align:left'>{label}</th>" for label, _ in told)
        row = "".join(f"<td style='text-align:left'>{text}</td>" for _, text in told)
        return f"<table><tr>{head}</tr><tr>{row}</tr></table>"

    def _told(self) -> list[tuple[str, str]]:
        return [
            ("version", f"{self.name} {self.version}"),
            ("created", self.created.strftime("%Y-%m-%d %H:%M:%S UTC")),
            ("size", f"{size_text(self.size)} (+{size_text(self.stored)})"),
            ("metrics", " ".join(f"{key}={value:.6g}" for key, value in self.metrics.items())),
            ("tags", " ".join(f"[{tag}]" for tag in self.tags)),
            ("", "" if self.own else "foreign"),
        ]


def size_text(count: float) -> str:
    """*count* bytes in words."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


@frozen
class Use:
    """A global of a stream: `module:qualname`, what is done with it, and why it is refused."""

    name: str
    done: tuple[str, ...] = ()
    refused: str | None = None

    __module__ = "checkpoint"

    def __str__(self) -> str:
        done = ", ".join(self.done) or "held as a value"
        return f"{self.name}: {done}{'; refused' if self.refused else ''}"


@frozen
class Verdict:
    """What a load would say of a version or a file, if nothing were trusted beyond the defaults.

    `own` says that it was signed with a key that is held here: then it is not
    verified.  `refused` says why a stranger's would be refused; None if it
    would be loaded.  `objects` counts what is made by calls, `depth` how deep
    values lie in each other (0 of a stream above 256 KiB), and `memory` estimates
    the bytes that a load takes.
    Classes of a program count as refused: which they are only the program knows.
    """

    own: bool
    refused: str | None = None
    globals: tuple[Use, ...] = field(default=(), repr=False)
    objects: int = 0
    depth: int = 0
    memory: int = 0

    __module__ = "checkpoint"

    def __str__(self) -> str:
        """The globals a line each, then the counts, and the verdict last."""
        said = [f"  {use}" for use in self.globals]
        deep = f"{self.depth:,} deep, " if self.depth else ""
        counts = f"{self.objects:,} objects made, {deep}{size_text(self.memory)}"
        signed = "own: signed with a key that is held here" if self.own else "foreign"
        if self.refused is None:
            verdict = "a stranger's would be loaded"
        else:
            verdict = f"a stranger's would be refused by default: {self.refused}"
        return "\n".join(["globals:", *said, counts, f"{signed}; {verdict}"])


Progress = Callable[[int, int], object]


def counted(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Turns counts of bytes into calls of *progress* with their sum and *total*."""
    done = 0

    def count(length: int) -> None:
        nonlocal done
        done += length
        if progress is not None:
            progress(done, total)

    return count
