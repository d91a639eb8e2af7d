"""Documents, keys and single-file snapshots ⇄ bytes.

`docs/reference/format.md` is normative; this module is its only reader and
writer.  A document is JSON a person can read, one member a line, then a digest
line and a MAC line.  Both cover the raw bytes before them and are checked
before any JSON is parsed, so that nothing damaged is ever interpreted.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from attrs import asdict, fields

from checkpoint import _json
from checkpoint._chunking import CHUNK
from checkpoint._keys import Keys, Purpose
from checkpoint._model import (
    MAX_TEXT,
    Blob,
    Buffer,
    Manifest,
    Part,
    Snapshot,
    digest,
)
from checkpoint._type_rows import parse_type, type_row
from checkpoint.errors import FormatError, IntegrityError, InvalidNameError

FORMAT = 1
MAX_DOCUMENT = 64 << 20
MAX_BLOB = 16 << 20
MAX_RENUMBERED = 64 << 20
MAX_META = 1 << 20
MAX_ROWS = 1000  # rows that a manifest holds itself; more are stored as lists in packs
ALIGNMENT = 64
PACK_MAGIC = b"\xcbckpack\n"

_TRAILER = re.compile(rb"\nblake3:([0-9a-f]{64})\nmac:(none|[0-9a-f]{16}:[0-9a-f]{64})\n\Z")
_TRAILER_LIMIT = 256
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?\Z", re.IGNORECASE)
_SNAPSHOT = re.compile(r"snapshots/(.+)/@/([0-9]{10})\.json\Z")
_MEMBERS = {attribute.name for attribute in fields(Manifest)}
_KINDS: dict[str, tuple[type, ...]] = {
    "repository": (str, type(None)),
    "name": (str, type(None)),
    "version": (int, type(None)),
    "parent": (int, type(None)),
    "writer": (str,),
    "created": (str,),
    "provenance": (str,),
    "libraries": (dict,),
    "packs": (dict,),
}
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


# --- keys -------------------------------------------------------------------


def check_name(name: str, noun: str = "name") -> str:
    """*name* if it may name a line of versions, else InvalidNameError with the rule."""
    if not isinstance(name, str) or not _NAME.match(name) or len(name) > 200:
        raise InvalidNameError(
            f"{name!r} is not a {noun}: use letters, digits, '.', '_', '-' and '/', "
            "each part beginning and ending with a letter or digit"
        )
    for part in name.split("/"):
        if _DEVICE.match(part):
            raise InvalidNameError(f"{name!r} is no {noun}: Windows keeps {part!r} for a device")
    return name


def differ_only_by_case(name: str, other: str) -> bool:
    """Whether their folders, or two on the way to them, would be one where case does not count."""
    for ours, theirs in zip(name.split("/"), other.split("/"), strict=False):
        if ours != theirs:
            return ours.casefold() == theirs.casefold()
    return False


def check_tag(tag: str) -> str:
    """*tag* if it may be one, else InvalidNameError with the rule."""
    if "/" in check_name(tag, "tag"):
        raise InvalidNameError(f"{tag!r} is not a tag: it may not hold '/'")
    return tag


def snapshot_folder(name: str) -> str:
    return f"snapshots/{name}/@/"


def snapshot_key(name: str, version: int) -> str:
    return f"{snapshot_folder(name)}{version:010d}.json"


def parse_snapshot_key(key: str) -> tuple[str, int] | None:
    """The name and version behind *key*; None if it is no manifest's."""
    found = _SNAPSHOT.match(key)
    if not found or int(found[2]) == 0 or not _NAME.match(found[1]):
        return None
    return found[1], int(found[2])


def pack_key(pack: str) -> str:
    return f"packs/{pack[:2]}/{pack}.pack"


def mark_key(pack: str) -> str:
    return f"trash/{pack}.json"


def gone_folder(name: str) -> str:
    return f"gone/{name}/@/"


def tag_folder(name: str, tag: str) -> str:
    return f"tags/{name}/@/{tag}/"


# --- documents --------------------------------------------------------------


def seal(
    members: Mapping[str, Any], keys: Keys | None = None, purpose: Purpose = "manifest"
) -> bytes:
    """A document: *members* as JSON, one a line, then digest and MAC.

    Signed only if its provenance is `own`.
    """
    lines = ",\n".join(
        f"{_json.compact(key)}: {_json.laid_out(value)}" for key, value in members.items()
    )
    body = f"{{\n{lines}\n}}\n".encode()
    own = keys is not None and members.get("provenance") == "own"
    mac = keys.sign(body, purpose) if keys is not None and own else "none"
    return body + f"blake3:{digest(body)}\nmac:{mac}\n".encode()


def unseal(
    raw: Buffer, what: str, keys: Keys | None = None, purpose: Purpose = "manifest"
) -> dict[str, Any]:
    """The members of a document whose digest holds.

    What says that it is `own`, but is not signed with one of *keys* for this
    purpose, is given as `foreign`.  IntegrityError if a byte is wrong,
    FormatError if a newer release wrote it.
    """
    raw = bytes(raw)
    if not raw:
        raise IntegrityError(f"{what} is empty")
    if len(raw) > MAX_DOCUMENT:
        raise FormatError(f"{what} is above the limit of {MAX_DOCUMENT} bytes for a document")
    trailer = _TRAILER.search(raw, max(0, len(raw) - _TRAILER_LIMIT))
    if trailer is None:
        raise IntegrityError(f"{what} is damaged: it does not end in its digest and MAC lines")
    body = raw[: trailer.start() + 1]
    if digest(body).encode() != trailer[1]:
        raise IntegrityError(f"{what} is damaged: its digest does not match")
    try:
        members = _json.parsed(body)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is not JSON: {_short(error)}") from error
    if not isinstance(members, dict) or type(members.get("format")) is not int:
        raise FormatError(f"{what} does not say its format")
    if members["format"] != FORMAT:
        raise FormatError(
            f"{what} has format {members['format']}, this release reads {FORMAT}; use a newer one"
        )
    if members.get("provenance") == "own":
        mac = trailer[2].decode()
        held = keys is not None and keys.is_own(body, mac, purpose)
        members["provenance"] = "own" if held else "foreign"
    return members


def decode_identity(raw: Buffer, what: str) -> str:
    """The repository's uuid that its format file says."""
    repository = unseal(raw, what).get("repository")
    if not isinstance(repository, str):
        raise FormatError(f"{what} does not say which repository this is")
    return repository


def check_json(meta: Any) -> Any:
    """*meta* as JSON gives it back; ValueError if it is no JSON value, too large or too deep."""
    try:
        text = _json.compact(meta).encode()
        found = _json.parsed(text, _json.MAX_DEPTH)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"meta must be a JSON value (None, bool, int, float, str, list, dict): {error}"
        ) from error
    if len(text) > MAX_META:
        raise ValueError(f"meta takes {len(text)} bytes of JSON; at most 1 MiB: save it as state")
    return found


# --- manifests --------------------------------------------------------------


def encode_manifest(
    manifest: Manifest, keys: Keys | None = None, purpose: Purpose = "manifest"
) -> bytes:
    """The bytes of *manifest*, signed if it is own and *keys* has a key."""
    members: dict[str, Any] = {"format": FORMAT}
    members |= asdict(manifest, recurse=False)
    members["libraries"] = {
        name: version
        for name, version in manifest.libraries.items()
        if max(len(name), len(version)) <= MAX_TEXT
    }
    members["metrics"] = {key: _metric(value) for key, value in manifest.metrics.items()}
    members["types"] = [type_row(entry) for entry in manifest.types]
    members["table"] = blob_rows(manifest.table)
    members["blobs"] = blob_rows(manifest.blobs)
    members["parts"] = [_part_row(part) for part in manifest.parts]
    members["inline"] = b64encode(manifest.inline).decode()
    return seal(members, keys, purpose)


def decode_manifest(
    raw: Buffer, what: str, keys: Keys | None = None, purpose: Purpose = "manifest"
) -> Manifest:
    """The manifest in *raw*, every value checked against what is possible.

    Its provenance is `own` only if it says so and one of *keys* signed it.
    """
    members = unseal(raw, what, keys, purpose)
    try:
        return _manifest(members)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise FormatError(f"{what} is not a manifest: {_short(error)}") from error


def _short(error: Exception) -> str:
    """What *error* says, which may be as long as the document."""
    text = repr(error)
    return text if len(text) <= 300 else f"{text[:300]}…"


def _manifest(members: dict[str, Any]) -> Manifest:
    del members["format"]
    if members.keys() != _MEMBERS:
        raise ValueError(f"members missing or unknown: {sorted(members.keys() ^ _MEMBERS)}")
    for member in ("types", "table", "blobs", "parts", "tags", "migrations"):
        if type(members[member]) is not list:
            raise TypeError(f"{member} is no list")
    members["metrics"] = {k: parse_metric(v) for k, v in members["metrics"].items()}
    members["types"] = tuple(parse_type(row) for row in members["types"])
    members["table"] = parse_rows(members["table"])
    members["blobs"] = parse_rows(members["blobs"])
    if any(row.base is not None for row in members["table"]):
        raise ValueError("a list of rows is a delta")
    members["parts"] = tuple(_part(row) for row in members["parts"])
    members["inline"] = b64decode(members["inline"], validate=True)
    members["tags"] = tuple(members["tags"])
    members["migrations"] = tuple(members["migrations"])
    if datetime.fromisoformat(members["created"]).utcoffset() is None:
        raise ValueError("the time of its creation has no offset")
    manifest = Manifest(**members)
    _check_members(manifest)
    return manifest


def _check_members(manifest: Manifest) -> None:
    for member, kinds in _KINDS.items():
        if type(getattr(manifest, member)) not in kinds:
            raise TypeError(f"{member} is {getattr(manifest, member)!r}")
    if manifest.provenance not in ("own", "foreign"):
        raise ValueError(f"provenance is {manifest.provenance!r}")
    if manifest.name is not None:
        check_name(manifest.name)
    for number in (manifest.version, manifest.parent):
        _count(number or 0)
    for count in (manifest.size, manifest.stored, *manifest.packs.values()):
        _count(count)
    for pack in manifest.packs:
        _hex(pack, 32)
    for tag in manifest.tags:
        check_tag(tag)
    for text in manifest.migrations:
        _text(text)
    texts = (manifest.repository or "", manifest.writer, manifest.created)
    for text in (*texts, *manifest.libraries, *manifest.libraries.values()):
        _text(text)
        if len(text) > MAX_TEXT:
            raise ValueError(f"a text of {len(text)} characters; at most {MAX_TEXT}")
    if len(_json.compact(manifest.meta).encode()) > MAX_META:
        raise ValueError(f"meta takes more than {MAX_META} bytes")
    order = [part.kind for part in manifest.parts]
    if order != ["buffer"] * (len(order) - 1) + ["stream"]:
        raise ValueError("its parts are not buffers and then one stream")


def snapshot_of(manifest: Manifest) -> Snapshot:
    """What a manifest tells its users."""
    assert manifest.name is not None and manifest.version is not None
    return Snapshot(
        name=manifest.name,
        version=manifest.version,
        created=datetime.fromisoformat(manifest.created),
        parent=manifest.parent,
        metrics=manifest.metrics,
        tags=manifest.tags,
        meta=manifest.meta,
        own=manifest.provenance == "own",
        size=manifest.size,
        stored=manifest.stored,
        libraries=manifest.libraries,
        types=manifest.types,
    )


def check_places(manifest: Manifest, rows: Iterable[Blob]) -> None:
    """FormatError unless each of *rows* lies inside its pack, or in the inline area."""
    for row in rows:
        inline = row.pack is None
        size = len(manifest.inline) if inline else manifest.packs.get(row.pack or "", 0)
        if row.offset + row.stored > size:
            raise FormatError(f"blob {row.digest} lies outside its pack")


def rows_by_part(parts: Sequence[Part], rows: Sequence[Blob]) -> list[Sequence[Blob]]:
    """The rows that each of *parts* takes."""
    ends = accumulate(part.blobs for part in parts)
    return [rows[end - part.blobs : end] for part, end in zip(parts, ends, strict=True)]


def check_table(manifest: Manifest, rows: Sequence[Blob]) -> None:
    """FormatError unless *rows* give the parts their lengths, and then every base, whole."""
    parts = manifest.parts
    for part, took in zip(parts, rows_by_part(parts, rows), strict=True):
        if len(took) != part.blobs or sum(row.length for row in took) != part.length:
            raise FormatError(f"a {part.kind} of {part.length} bytes does not fit its blobs")
    wholes = {row.digest for row in rows if row.base is None}
    bases = {row.base for row in rows if row.base is not None}
    if not bases <= wholes:
        raise FormatError("the base of a delta is not in the table, or is a delta itself")
    rest = rows[sum(part.blobs for part in parts) :]
    if any(row.base is not None or row.digest not in bases for row in rest):
        raise FormatError("the table has rows that neither a part nor a delta needs")


def encode_rows(blobs: Iterable[Blob]) -> bytes:
    """A list of rows as it is stored in a pack."""
    return _json.laid_out(blob_rows(blobs)).encode()


def decode_rows(raw: Buffer) -> tuple[Blob, ...]:
    """The rows of a list that was stored in a pack."""
    try:
        rows = _json.parsed(bytes(raw))
        if type(rows) is not list or len(rows) > MAX_ROWS:
            raise ValueError("no list, or too many rows in one")
        return parse_rows(rows)
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"not a list of blobs: {_short(error)}") from error


def blob_rows(blobs: Iterable[Blob]) -> list[list[Any]]:
    """Rows of the blob table: digest, length, filter, codec, base, pack, offset, stored length."""
    return [
        [b.digest, b.length, b.filter, b.codec, b.base, b.pack, b.offset, b.stored] for b in blobs
    ]


def parse_rows(rows: list[list[Any]]) -> tuple[Blob, ...]:
    return tuple(_blob(*row) for row in rows)


def _blob(
    digest: str,
    length: int,
    filter: str | None,
    codec: str,
    base: str | None,
    pack: str | None,
    offset: int,
    stored: int,
) -> Blob:
    _hex(digest, 64)
    _text(codec)
    for count in (length, offset, stored):
        _count(count)
    if length > MAX_BLOB or stored > MAX_BLOB:
        raise ValueError(f"a blob of {max(length, stored)} bytes is above the limit of {MAX_BLOB}")
    if pack is not None:
        _hex(pack, 32)
    if codec == "none" and length != stored:
        raise ValueError(f"raw blob {digest} has two lengths")
    if filter not in (None, "blocks"):
        raise FormatError(f"blob {digest} has the filter {filter!r}; use a newer release")
    if base is not None:
        _hex(base, 64)
    if (filter or base) and (base is None or codec != "zstd"):
        raise ValueError(f"blob {digest} is half a delta: {filter}, {codec}, {base}")
    return Blob(digest, length, codec, pack, offset, stored, filter, base)


def buffer_part(buffer: Buffer) -> Part:
    """The part that a buffer is, cut into blobs of CHUNK bytes."""
    size = memoryview(buffer).nbytes
    return Part("buffer", size, -(-size // CHUNK))


def _part_row(part: Part) -> dict[str, Any]:
    return asdict(part) | {"transforms": list(part.transforms)}


def _part(row: dict[str, Any]) -> Part:
    part = Part(**row | {"transforms": tuple(row["transforms"])})
    if part.kind not in ("stream", "buffer"):
        raise ValueError(f"a part of kind {part.kind!r}")
    _count(part.length)
    _count(part.blobs)
    if part.digest is not None:
        _hex(part.digest, 64)
    if part.transforms not in ((), ("deframed",), ("deframed", "renumbered")):
        raise FormatError(f"unknown transforms {part.transforms}; use a newer release")
    if "renumbered" in part.transforms and part.length > MAX_RENUMBERED:
        raise ValueError(f"a renumbered stream of {part.length} bytes")
    return part


def _metric(value: float) -> float | str:
    """JSON has no NaN and no infinities; they are kept as words."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def parse_metric(value: Any) -> float:
    """A metric as it was given to save."""
    if isinstance(value, str):
        return _NOT_FINITE[value]
    if type(value) not in (int, float):
        raise ValueError(f"{value!r} is not a metric")
    if not math.isfinite(value):  # OverflowError for an integer that cannot be compared.
        raise ValueError("a metric is out of range")
    return float(value) if isinstance(value, float) else int(value)


def _text(value: str) -> None:
    if type(value) is not str:
        raise TypeError(f"{value!r} is not a text")


def _hex(text: str, size: int) -> None:
    _text(text)
    if len(text) != size or set(text) - set("0123456789abcdef"):
        raise ValueError(f"{text!r} is not {size} hex digits")


def check_counts(*values: int) -> None:
    """ValueError unless each of *values* can be a number of something."""
    for value in values:
        _count(value)


def _count(value: int) -> None:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{value!r} is not a count")
