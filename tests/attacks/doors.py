"""The ways in: how a stream is wrapped, and what a program then does with it.

What is wrapped is as truthful as an attacker who wants in would make it: the
digests hold, and the type table names the globals of the stream.  Only the
signature is missing, which an attacker cannot make.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from attacks.attack import Made, Parts
from attrs import evolve

import checkpoint
from checkpoint import Checkpointer, Global, MemoryStore, _format, _single_file
from checkpoint._model import Blob, Manifest, Part, digest

PACKAGE = "prey"
CREATED = "2026-01-02T03:04:05.000006+00:00"


def door(which: str, made: Made) -> Callable[[], Any]:
    """What a program does at the door *which* with what an attacker made."""
    if which == "scenario":
        assert callable(made)
        return made
    if which == "store":
        assert isinstance(made, Mapping)
        return _looked_through(made)
    assert isinstance(made, bytes | Parts)
    parts = made if isinstance(made, Parts) else Parts(made)
    if which == "bare":
        return lambda: checkpoint.loads(parts.stream, buffers=parts.buffers, package=PACKAGE)
    if which == "file":
        file = single_file(parts)
        return lambda: checkpoint.loads(file, package=PACKAGE)
    if which == "repository":
        store = filled(repository(parts))
        return Checkpointer(store, package=PACKAGE).load
    # What cannot be looked at must say so, but may be loaded elsewhere.
    if which == "raw":
        return lambda: checkpoint.raw(io.BytesIO(parts.stream))
    assert which == "inspect"
    return lambda: str(checkpoint.inspect(io.BytesIO(parts.stream)))


def _looked_through(objects: Mapping[str, bytes]) -> Callable[[], Any]:
    """Everything that reads a repository, whatever the one before said."""
    saves = Checkpointer(filled(objects), package=PACKAGE)

    def look() -> Any:
        ways: list[Callable[[], Any]] = [saves.snapshots, saves.inspect, saves.verify, saves.load]
        error: BaseException | None = None
        found = None
        for way in ways:
            try:
                found = way()
                error = None
            except checkpoint.CheckpointError as refused:
                error = refused
        if error is not None:
            raise error
        return found

    return look


# --- wrapping -----------------------------------------------------------------


def filled(objects: Mapping[str, bytes]) -> MemoryStore:
    """A store of *objects*."""
    store = MemoryStore()
    for key, value in objects.items():
        store.put(key, [value])
    return store


def globals_of(stream: bytes) -> tuple[Global, ...]:
    """The globals of *stream*, as far as it can be read, in order."""
    found: dict[Global, None] = {}
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name in ("GLOBAL", "INST"):
                found[Global(*argument.split(" ", 1))] = None
            elif opcode.name == "STACK_GLOBAL" and len(texts) > 1:
                found[Global(*texts[-2:])] = None
            elif isinstance(argument, str):
                texts.append(argument)
    except Exception:
        pass  # An attacker's stream need not be whole.
    return tuple(entry for entry in found if entry.module and entry.qualname and _is_text(entry))


def _is_text(entry: Global) -> bool:
    """Whether a document can hold its name."""
    return not any("\ud800" <= letter <= "\udfff" for letter in str(entry))


def manifest(stream: bytes, **members: Any) -> Manifest:
    """A manifest of a stranger, that says what it must of *stream*."""
    said: dict[str, Any] = {
        "writer": "0" * 32,
        "created": CREATED,
        "provenance": "foreign",
        "types": globals_of(stream),
    }
    return Manifest(**said | members)


def stream_part(stream: bytes, blobs: int = 1) -> Part:
    """The part of a stream as it is."""
    return Part("stream", len(stream), blobs, ("deframed",), digest(stream))


def raw_blob(plain: bytes, offset: int, pack: str | None = None) -> Blob:
    """The row of bytes that are stored as they are."""
    return Blob(digest(plain), len(plain), "none", pack, offset, len(plain))


class FileMaker:
    """Makes single-file snapshots, record by record."""

    def __init__(self) -> None:
        self.data = bytearray(_single_file.MAGIC)

    def record(self, kind: bytes, payload: bytes, length: int | None = None) -> int:
        """One record, whose *length* may be a lie; where its payload begins."""
        size = len(payload) if length is None else length
        self.data += kind + size.to_bytes(8, "little")
        at = len(self.data)
        self.data += payload
        return at

    def blob(self, plain: bytes) -> Blob:
        """A record of bytes as they are, and its row."""
        return raw_blob(plain, self.record(b"B", plain))

    def ended(self, said: Manifest | bytes) -> bytes:
        """The file, with its manifest."""
        self.record(b"M", said if isinstance(said, bytes) else _format.encode_manifest(said))
        return bytes(self.data)


def single_file(parts: Parts, **members: Any) -> bytes:
    """A single-file snapshot of a stream and its buffers, which nobody signed."""
    file = FileMaker()
    rows = [file.blob(plain) for plain in (*parts.buffers, parts.stream)]
    kinds = [Part("buffer", len(buffer), 1) for buffer in parts.buffers]
    said = manifest(parts.stream, **members)
    size = sum(row.length for row in rows)
    whole = (*kinds, stream_part(parts.stream))
    return file.ended(evolve(said, parts=whole, blobs=tuple(rows), size=size, stored=size))


IDENTITY = "12345678-1234-5678-1234-567812345678"


def repository(
    parts: Parts, version: int = 1, name: str = "main", **members: Any
) -> dict[str, bytes]:
    """The objects of a repository with one version, which nobody signed."""
    pack, places = "0" * 32, bytearray(_format.PACK_MAGIC)
    rows = []
    for plain in (*parts.buffers, parts.stream):
        rows.append(raw_blob(plain, len(places), pack))
        places += plain
    size = sum(row.length for row in rows)
    known: dict[str, Any] = {
        "repository": IDENTITY,
        "name": name,
        "version": version,
        "packs": {pack: len(places)},
        "blobs": tuple(rows),
        "parts": (
            *(Part("buffer", len(buffer), 1) for buffer in parts.buffers),
            stream_part(parts.stream),
        ),
        "size": size,
        "stored": size,
    }
    said = manifest(parts.stream, **known | members)
    return identity() | {
        _format.snapshot_key(name, version): _format.encode_manifest(said),
        _format.pack_key(pack): bytes(places),
    }


def identity(uuid: str = IDENTITY) -> dict[str, bytes]:
    """The document that says which repository this is."""
    return {"format.json": _format.seal({"format": 1, "repository": uuid})}
