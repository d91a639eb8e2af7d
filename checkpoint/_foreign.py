"""Strangers' streams on their way to a graph: verified whole, then loaded from the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from checkpoint._allowance import allowance, within
from checkpoint._model import Buffer, Global, Manifest, digest
from checkpoint._unpickling import Resolve
from checkpoint._upgrading import Loading, Terms
from checkpoint._verifying import Verified, verify
from checkpoint.errors import FormatError, IntegrityError, SerializationError, UnsafeError

_OPCODES = 500_000  # of any plain pickle
_REMEMBERED = 64  # streams that were verified, of one policy


def allowed(terms: Terms, stored: int) -> int:
    """How many bytes a load of what takes *stored* may take."""
    return allowance(stored) if terms.budget is None else terms.budget


def opened(
    terms: Terms,
    stream: Buffer,
    lengths: Sequence[int],
    stored: int,
    *,
    types: Sequence[Global] | None = None,
    look_up: Resolve | None = None,
    persistent: bool = False,
) -> tuple[Loading, bytes]:
    """The load of a foreign stream that was verified, and the very bytes to load.

    UnsafeError, FormatError or MigrationError if it is refused; IntegrityError
    if its type table tells of other globals than it names.
    """
    assert terms.policy is not None
    data = bytes(stream)
    loading = Loading(terms, types or (), look_up, foreign=True)
    key = digest(data), tuple(lengths), persistent
    known = terms.policy.verified
    found: Verified | None = known.get(key)
    limit = allowed(terms, stored)
    if found is None or found.memory > limit or not _still_holds(found, loading):
        found = verify(data, lengths, loading.granted, limit, persistent=persistent)
        while len(known) >= _REMEMBERED:
            known.pop(next(iter(known)))
        known[key] = found
    if types is not None:
        _compare({(entry.module, entry.qualname) for entry in types}, {*found.grants})
    loading.guard(found.careful)
    return loading, found.stream(data)


def _still_holds(found: Verified, loading: Loading) -> bool:
    """Whether each global is today what it was when the stream was verified."""
    return all(loading.granted(*name) is grant for name, grant in found.grants.items())


def _compare(told: set[tuple[str, str]], named: set[tuple[str, str]]) -> None:
    if told != named:
        module, qualname = min(told ^ named)
        where = "in the stream alone" if (module, qualname) in named else "in the table alone"
        raise IntegrityError(f"its type table does not fit its stream: {module}:{qualname} {where}")


def opened_version(
    terms: Terms,
    manifest: Manifest,
    stream: Buffer,
    *,
    look_up: Resolve | None = None,
    persistent: bool = False,
    buffers: Sequence[Buffer] = (),
) -> tuple[Loading, Buffer]:
    """The load of a version or a single file, and the stream to load; verified if it is foreign.

    *buffers* are those that were kept out of a single file.
    """
    foreign = manifest.provenance != "own"
    if not foreign or terms.policy is None:
        return Loading(terms, manifest.types, look_up, foreign=foreign), stream
    lengths = [part.length for part in manifest.parts[:-1]]
    lengths = lengths or [memoryview(buffer).nbytes for buffer in buffers]
    options: Any = {"look_up": look_up, "persistent": persistent}
    return opened(terms, stream, lengths, manifest.stored, types=manifest.types, **options)


def check_size(terms: Terms, manifest: Manifest) -> None:
    """UnsafeError if a foreign version is larger than a load of it may be."""
    if terms.policy is not None:
        within(manifest, terms.budget)


def most_opcodes(terms: Terms, stored: int) -> int:
    """How many opcodes a plain pickle may have that takes *stored* bytes, compressed or not."""
    return _OPCODES + 4 * stored if terms.budget is None else terms.budget


@contextmanager
def strangers(terms: Terms, provenance: str) -> Iterator[None]:
    """What goes wrong while a stranger's graph is built is a fault of the file."""
    try:
        yield
    except (SerializationError, MemoryError) as error:
        if provenance == "own" or terms.policy is None:
            raise
        if isinstance(error, SerializationError):
            raise FormatError(f"a stranger's graph cannot be built: {error}") from error
        raise UnsafeError("a stranger's graph takes more memory than there is") from error
