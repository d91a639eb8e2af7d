"""A second reader, written from docs/reference/format.md alone, and what it makes of our files.

`Reader` knows nothing of the package: the standard library, zstandard and blake3.
Where this reader and the library disagree, the page is wrong or one of them is.
"""

from __future__ import annotations

import base64
import enum
import io
import json
import lzma
import os
import pickle
import pickletools
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import zstandard
from blake3 import blake3

import checkpoint
from checkpoint import Checkpointer, LocalStore, highest

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "format.md"

KEY = os.environ["CHECKPOINT_KEY"].encode()

Json = Any
Row = list[Any]
Fetch = Callable[[Row], bytes]


# --- the second reader ------------------------------------------------------


class Damage(Exception):
    """The bytes are not those that were written."""


class Foreign(Exception):
    """The bytes are those that were written, but not for this reader."""


def read_document(raw: bytes) -> Json:
    """How to read a document: the five steps."""
    if len(raw) > 67_108_864:
        raise Foreign("too long")
    found = re.search(rb"\nblake3:([0-9a-f]{64})\nmac:(?:none|[0-9a-f]{16}:[0-9a-f]{64})\n\Z", raw)
    if not found:
        raise Damage("no digest line and MAC line")
    body = raw[: found.start() + 1]
    if blake3(body).hexdigest() != found[1].decode():
        raise Damage("the digest does not match")
    document = json.loads(body)
    if document["format"] != 1:
        raise Foreign(f"format {document['format']}")
    return document


def is_own(raw: bytes, key: bytes, place: str) -> bool:
    """MACs: whether *raw*, the manifest of a repository or a single file, is own to *key*."""
    body, _, mac = raw.rpartition(b"blake3:")
    ident, _, code = mac.decode().partition("mac:")[2].strip().partition(":")
    context = f"durable-checkpoint format 1 MAC of a manifest in a {place}"
    derived = blake3(key, derive_key_context=context).digest()
    names = blake3(key, derive_key_context="durable-checkpoint format 1 key id").digest()
    return (
        read_document(raw)["provenance"] == "own"
        and ident == names[:8].hex()
        and code == blake3(body, key=derived).hexdigest()
    )


def decode(codec: str, stored: bytes, length: int, base: bytes | None) -> bytes:
    """Codecs."""
    if base is not None and codec != "zstd":
        raise Foreign("a delta of another codec")
    if codec == "none":
        plain, rest = stored, b""
    elif codec == "zstd":
        if zstandard.get_frame_parameters(stored).content_size != length:
            raise Damage("the frame says another length")
        words = None
        if base is not None:
            words = zstandard.ZstdCompressionDict(base, zstandard.DICT_TYPE_RAWCONTENT)
        decoder = zstandard.ZstdDecompressor(dict_data=words).decompressobj()
        plain = decoder.decompress(stored)
        rest = decoder.unused_data
    elif codec == "gzip":
        gzip = zlib.decompressobj(31)
        plain = gzip.decompress(stored, length + 1)
        rest = gzip.unused_data + gzip.unconsumed_tail
    elif codec == "lzma":
        xz = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        plain = xz.decompress(stored, length + 1)
        rest = xz.unused_data
    else:
        raise Foreign(f"codec {codec}")
    if len(plain) != length or rest:
        raise Damage("another length than promised")
    return plain


def replace_blocks(stored: bytes, length: int, base: bytes) -> bytes:
    """Deltas with the filter `blocks`."""
    count = int.from_bytes(stored[:2], "little")
    numbers = [int.from_bytes(stored[at : at + 2], "little") for at in range(2, 2 + 2 * count, 2)]
    assert len(base) == length
    blocks = [range(length)[n * 1024 : (n + 1) * 1024] for n in numbers]
    words = b"".join(base[b.start : b.stop] for b in blocks)
    fresh = io.BytesIO(decode("zstd", stored[2 + 2 * count :], len(words), words))
    plain = bytearray(base)
    for block in blocks:
        plain[block.start : block.stop] = fresh.read(len(block))
    return bytes(plain)


def read_blob(row: Row, fetch: Fetch, wholes: dict[str, Row]) -> bytes:
    """One row of the blob table: its plain bytes."""
    digest, length, filter, codec, base, _, _, stored = row
    if filter not in (None, "blocks") or (filter and base is None):
        raise Foreign("a filter")
    raw = fetch(row)
    if len(raw) != stored:
        raise Damage("truncated")
    old = None if base is None else read_blob(wholes[base], fetch, {})
    if filter == "blocks":
        plain = replace_blocks(raw, length, old or b"")
    else:
        plain = decode(codec, raw, length, old)
    if blake3(plain).hexdigest() != digest:
        raise Damage("the digest of a blob does not match")
    return plain


def read_parts(manifest: Json, fetch: Fetch) -> tuple[bytes, list[bytearray]]:
    """The stream and the buffers of a snapshot."""
    rows: list[Row] = list(manifest["blobs"])
    for row in manifest["table"]:
        rows += json.loads(read_blob(row, fetch, {}))
    taken = iter(rows)
    wholes = {row[0]: row for row in rows if row[4] is None}
    parts = [read_part(part, taken, fetch, wholes) for part in manifest["parts"]]
    bases = {row[4] for row in rows} - {None}
    assert bases <= set(wholes)
    assert all(row[4] is None and row[0] in bases for row in taken)
    kinds = [part["kind"] for part in manifest["parts"]]
    assert kinds == ["buffer"] * (len(kinds) - 1) + ["stream"]
    return bytes(parts[-1]), parts[:-1]


def read_part(part: Json, rows: Iterator[Row], fetch: Fetch, wholes: dict[str, Row]) -> bytearray:
    if part["transforms"] not in ([], ["deframed"], ["deframed", "renumbered"]):
        raise Foreign("a transform")
    whole = bytearray()
    for _ in range(part["blobs"]):
        whole += read_blob(next(rows), fetch, wholes)
    if len(whole) != part["length"]:
        raise Damage("another length than promised")
    if "renumbered" in part["transforms"]:
        whole = restore_numbers(bytes(whole))
    if part["digest"] is not None and blake3(whole).hexdigest() != part["digest"]:
        raise Damage("the digest of a part does not match")
    return whole


def restore_numbers(part: bytes) -> bytearray:
    """Renumbered streams."""
    assert part[:3] == b"rn1"
    rest = io.BytesIO(part[3:])

    def integer() -> int:
        byte = rest.read(1)[0]
        return byte if byte < 128 else byte - 128 + (integer() << 7)

    def signed() -> int:
        code = integer()
        return code // 2 if code % 2 == 0 else -(code + 1) // 2

    names, number = set(), 0
    for _ in range(integer()):
        number += integer()
        names.add(number)
    moved, number = {}, 0
    for _ in range(integer()):
        number += integer()
        moved[number + signed()] = number
    back, end, shift = {}, 0, 0
    for _ in range(integer()):
        start = end + integer()
        end = start + integer() + 1
        shift += signed()
        back.update({number + shift: number for number in range(start, end)})
    stream = rest.read()
    restored = bytearray()
    opcodes = [*pickletools.genops(stream)]
    ends = [place for _, _, place in opcodes[1:]] + [len(stream)]
    for (opcode, number, start), stop in zip(opcodes, ends, strict=True):
        if opcode.name not in ("BINGET", "LONG_BINGET"):
            restored += stream[start:stop]
            continue
        was = number if number in names else back[number]
        was = moved.get(was, was)
        restored += b"h" + bytes([was]) if was < 256 else b"j" + was.to_bytes(4, "little")
    return restored


def read_types(manifest: Json) -> dict[str, Json]:
    """Types: the rows by global, those of classes whole."""
    found = {}
    for row in manifest["types"]:
        first = [row.pop(member) for member in ("global", "origin", "version", "kind", "fields")]
        name, origin, version, kind, fields = first
        assert isinstance(name, str) and (origin is None or isinstance(origin, str))
        if kind is None:
            assert (version, fields, row) == (None, None, {})
            continue
        if kind not in ("attrs", "dataclass", "namedtuple", "enum", "flag", "slots", "plain"):
            raise Foreign("a kind of class")
        assert all(row.values()), "what is false or empty is left out"
        more: Json = {"defaults": [], "validated": [], "extra": [], "members": {}, "bases": {}}
        more["sampled"] = False
        names = more | {"layout": "pair"} | row
        assert set(names) == {*more, "layout"}
        assert names["layout"] in ("pair", "list", "tuple", "other")
        assert {*names["defaults"], *names["validated"]} <= {*fields}
        assert version >= 1 and all(base >= 1 for base in names["bases"].values())
        assert len(fields) == len({*fields}) <= 10_000
        assert not {*fields} & {*names["extra"]}
        texts = [*fields, *names["extra"], *names["members"], *names["members"].values()]
        assert all(len(text) <= 1_000 for text in texts)
        found[name] = dict.fromkeys(("global", "origin"), name) | row
        found[name] |= {"version": version, "kind": kind, "fields": fields}
    return found


class Folder:
    """A repository in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.id = read_document((root / "format.json").read_bytes())["repository"]

    def versions(self, name: str) -> list[int]:
        folder = self.root / "snapshots" / name / "@"
        return sorted(int(path.stem) for path in folder.glob("*.json"))

    def manifest(self, name: str, version: int) -> Json:
        path = self.root / "snapshots" / name / "@" / f"{version:010d}.json"
        manifest = read_document(path.read_bytes())
        where = manifest["repository"], manifest["name"], manifest["version"]
        if where != (self.id, name, version):
            raise Damage("it belongs elsewhere")
        return manifest

    def load(self, name: str, version: int) -> Any:
        manifest = self.manifest(name, version)
        inline = base64.b64decode(manifest["inline"], validate=True)

        def fetch(row: Row) -> bytes:
            pack, offset, stored = row[5], row[6], row[7]
            if pack is None:
                return inline[offset : offset + stored]
            if offset + stored > manifest["packs"][pack]:
                raise Foreign("outside its pack")
            with open(self.root / "packs" / pack[:2] / f"{pack}.pack", "rb") as file:
                file.seek(offset)
                return file.read(stored)

        stream, buffers = read_parts(manifest, fetch)
        return pickle.loads(stream, buffers=buffers)

    def holder(self, name: str, tag: str) -> int | None:
        """Who holds a tag: the four steps."""
        there = self.versions(name)
        saved = max((v for v in there if tag in self.manifest(name, v)["tags"]), default=0)
        records = sorted((self.root / "tags" / name / "@" / tag).glob("*.json"))
        if not records:
            return saved or None
        record = read_document(records[-1].read_bytes())
        if saved > record["after"]:
            return saved
        return record["version"] if record["version"] in there else None

    def next_version(self, name: str) -> int:
        gone = (self.root / "gone" / name / "@").glob("*")
        return max(0, *self.versions(name), *(int(path.name) for path in gone)) + 1


def load_file(file: io.BufferedIOBase) -> tuple[Any, Json]:
    """One single-file snapshot: the object and its manifest."""
    if file.read(8) != b"\xcbckpt\r\n\x1a":
        raise Foreign("not a single-file snapshot")
    at = 8
    blobs = {}
    limits = {b"B": 16_777_216, b"P": 64, b"M": 67_108_864}
    while True:
        kind, size = file.read(1), int.from_bytes(file.read(8), "little")
        if size > limits.get(kind, -1):
            raise Damage("no such record")
        payload = file.read(size)
        if len(payload) != size:
            raise Damage("truncated")
        at += 9
        if kind == b"M":
            break
        if kind == b"P" and any(payload):
            raise Damage("padding that is not zero")
        if kind == b"B":
            blobs[at] = payload
        at += size
    manifest = read_document(payload)
    assert (manifest["packs"], manifest["table"], manifest["inline"]) == ({}, [], "")
    stream, buffers = read_parts(manifest, lambda row: blobs[row[6]])
    return pickle.loads(stream, buffers=buffers), manifest


# --- what it makes of our files ---------------------------------------------


def equal(one: Any, other: Any) -> bool:
    """Whether two states are the same, arrays and all."""
    return pickle.dumps(one, 5) == pickle.dumps(other, 5)


def state_of(seed: int, *, size: int = 300_000) -> dict[str, Any]:
    """Something of everything: an array beside the stream, noise, text that compresses, bytes."""
    chance = np.random.default_rng(seed)
    return {
        "seed": seed,
        "array": np.arange(size, dtype="f8"),
        "noise": chance.random(size // 4),
        "text": [f"line {number} of {seed}" for number in range(20_000)],
        "bytes": chance.bytes(100_000),
        "cycle": None,
    }


@pytest.mark.parametrize("codec", ["none", "gzip", "lzma", "zstd", "zstd:9"])
def test_a_second_reader_reads_each_codec(tmp_path: Path, codec: str) -> None:
    state = state_of(1)
    Checkpointer(tmp_path, "a/b", codec=codec).save(state, metrics={"loss": 0.5})
    folder = Folder(tmp_path)
    assert equal(folder.load("a/b", 1), state)
    rows = folder.manifest("a/b", 1)["blobs"]
    assert {row[3] for row in rows} <= {"none", codec.partition(":")[0]}
    assert codec == "none" or codec.partition(":")[0] in {row[3] for row in rows}
    raw = [row for row in rows if row[3] == "none" and row[1] >= 65_536]
    assert raw
    assert all(row[6] % 64 == 0 for row in raw)


def test_a_second_reader_reads_what_is_inline_and_what_is_reused(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path)
    saves.save({"small": [1, 2, 3]})
    saves.save(big := state_of(2))
    saves.save(changed := {**big, "seed": 3})
    folder = Folder(tmp_path)
    assert folder.load("main", 1) == {"small": [1, 2, 3]}
    assert folder.manifest("main", 1)["packs"] == {}
    assert equal(folder.load("main", 3), changed)
    assert set(folder.manifest("main", 2)["packs"]) & set(folder.manifest("main", 3)["packs"])
    for pack in (tmp_path / "packs").glob("*/*.pack"):
        assert pack.parent.name == pack.name[:2]
        assert pack.read_bytes().startswith(b"\xcbckpack\n")


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_a_second_reader_reads_deltas_of_streams_and_buffers(tmp_path: Path, codec: str) -> None:
    saves = Checkpointer(tmp_path / "saves", codec=codec)
    state = state_of(7)
    saves.save(state)
    for number in range(1, 4):
        state["noise"][number * 1_000 :: 5_000] = number
        state["text"][number * 5_000] = "a longer line" * number
        saves.save(state)
    folder = Folder(tmp_path / "saves")
    assert equal(folder.load("main", 4), state)
    manifest = folder.manifest("main", 4)
    deltas = [row for row in manifest["blobs"] if row[4] is not None]
    taken = sum(part["blobs"] for part in manifest["parts"])
    assert {row[2] for row in deltas} == {None, "blocks"}
    assert len(manifest["blobs"]) > taken, "bases that no part holds stand behind"
    saves.export(4, tmp_path / "v4.ckpt")
    with open(tmp_path / "v4.ckpt", "rb") as file:
        assert equal(load_file(file)[0], state)


class Unit:
    def __init__(self, number: int, kinds: list[str], others: list[Any]) -> None:
        self.name = f"unit {number}"
        self.kind = kinds[number % 3]
        self.friends = [others[number * 7 % len(others)]] if others else []
        self.place = (number, [number])


class Shade(enum.Flag):
    DARK = 1
    LIGHT = 2


@attrs.define(slots=False)
class Sheet:
    number: int = attrs.field(validator=attrs.validators.instance_of(int))
    lines: list[int] = attrs.field(factory=list)


class Node:
    __checkpoint_version__ = 2

    def __init__(self, number: int) -> None:
        self.number = number


class Leaf(Node):
    __slots__ = ("weight",)
    weight: int


def test_a_second_reader_reads_the_shapes_of_classes(tmp_path: Path) -> None:
    leaf, sheet = Leaf(1), Sheet(1)
    leaf.weight = 2
    sheet.note = "by hand"  # type: ignore[attr-defined]
    Checkpointer(tmp_path).save([Shade.DARK, sheet, leaf, *map(Node, range(17)), len])
    rows = read_types(Folder(tmp_path).manifest("main", 1))
    about = {name.partition(":")[2]: row for name, row in rows.items()}
    assert {name: (row["version"], row["kind"], row["fields"]) for name, row in about.items()} == {
        "Shade": (1, "flag", []),
        "Sheet": (1, "attrs", ["number", "lines"]),
        "Leaf": (1, "slots", ["weight", "number"]),
        "Node": (2, "plain", ["number"]),
    }
    assert about["Shade"]["members"] == {"DARK": "1", "LIGHT": "2"}
    assert (about["Sheet"]["defaults"], about["Sheet"]["validated"]) == (["lines"], ["number"])
    assert about["Sheet"]["extra"] == ["note"]
    assert about["Leaf"]["bases"] == {f"{__name__}:Node": 2}
    assert [name for name, row in about.items() if "sampled" in row] == ["Node"]
    assert {name: row["layout"] for name, row in about.items() if "layout" in row} == {
        "Leaf": "pair",
    }


def same_units(one: list[Any], other: list[Any]) -> bool:
    return pickle.dumps(one, 5) == pickle.dumps(other, 5)


@pytest.mark.parametrize("early", [False, True])
def test_a_second_reader_reads_renumbered_streams(tmp_path: Path, early: bool) -> None:
    kinds = ["orc" * 9, "elf" * 9, "dwarf" * 9]
    units: list[Any] = []
    for number in range(3_000):
        units.append(Unit(number, kinds, units))
    saves = Checkpointer(tmp_path)
    state = [["early"], units]
    for number in range(4):
        if number and early:
            state[0].append(f"one more {number}")
        elif number:
            units.insert(number - 1, Unit(10_000 + number, kinds, units))
        saves.save(state)
    folder = Folder(tmp_path)
    transforms = [folder.manifest("main", v)["parts"][-1]["transforms"] for v in (1, 2, 3, 4)]
    assert transforms == [["deframed"]] + [["deframed", "renumbered"]] * 3
    assert same_units(folder.load("main", 4), state)


def test_a_second_reader_reads_a_table_of_more_than_a_thousand_rows(tmp_path: Path) -> None:
    arrays = [np.full(8192, number, dtype="f8") for number in range(2_100)]
    saves = Checkpointer(tmp_path)
    saves.save(arrays)
    arrays[1_500][:] = -1
    saves.save(arrays)
    folder = Folder(tmp_path)
    first, second = folder.manifest("main", 1), folder.manifest("main", 2)
    assert (first["blobs"], len(first["table"])) == ([], 3)
    assert first["table"][0] == second["table"][0], "an unchanged list is not stored again"
    assert equal(folder.load("main", 2), arrays)


def test_a_second_reader_finds_tags_metrics_and_the_next_number(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path)
    for number, loss in enumerate([0.5, float("nan"), 0.25, float("-inf")]):
        saves.save(
            number,
            metrics={"loss": loss},
            tags=["last", "odd"][: 1 + number % 2],
            meta={"ü": [None]},
        )
    saves.tag(1, "good")
    saves.tag(3, "good")
    saves.untag("odd")
    saves.tag(2, "last")
    folder = Folder(tmp_path)
    wanted = {tag: s.version for s in saves.snapshots() for tag in s.tags}
    assert wanted == {"good": 3, "last": 2}
    assert {tag: folder.holder("main", tag) for tag in ("good", "last", "odd", "none")} == {
        **wanted, "odd": None, "none": None,
    }  # fmt: skip
    saves.save(5, tags=["odd", "last"])
    assert (folder.holder("main", "odd"), folder.holder("main", "last")) == (5, 5)
    metrics = [folder.manifest("main", v)["metrics"]["loss"] for v in (1, 2, 3, 4)]
    assert metrics == [0.5, "NaN", 0.25, "-Infinity"]
    assert folder.manifest("main", 1)["meta"] == {"ü": [None]}
    saves.delete(5, 3)
    assert (folder.versions("main"), folder.next_version("main")) == ([1, 2, 4], 6)
    assert folder.holder("main", "good") is None
    assert saves.save(6).version == 6


@pytest.mark.parametrize("codec", ["none", "gzip", "lzma", "zstd"])
def test_a_second_reader_reads_single_files_one_after_the_other(codec: str) -> None:
    states = [state_of(4), "small", [np.full(8192, n, dtype="f8") for n in range(1_100)]]
    file = io.BytesIO()
    for state in states:
        checkpoint.dump(state, file, codec=codec)
    file.seek(0)
    for state in states:
        found, manifest = load_file(file)
        assert equal(found, state)
        assert (manifest["name"], manifest["version"], manifest["repository"]) == (None,) * 3
        for row in manifest["blobs"]:
            assert row[3] != "none" or row[1] < 65_536 or row[6] % 64 == 0
    assert not file.read()


def test_a_second_reader_reads_an_exported_version(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path / "saves", "slot")
    saves.save("first")
    saves.save(state := state_of(5), metrics={"score": 7})
    saves.export(2, tmp_path / "v2.ckpt")
    with open(tmp_path / "v2.ckpt", "rb") as file:
        found, manifest = load_file(file)
    assert equal(found, state)
    stored = Folder(tmp_path / "saves").manifest("slot", 2)
    moved = {"packs", "blobs"}
    assert {k: v for k, v in manifest.items() if k not in moved} == {
        k: v for k, v in stored.items() if k not in moved
    }


def test_a_second_reader_sees_every_flipped_byte_of_a_document(tmp_path: Path) -> None:
    Checkpointer(tmp_path).save({"a": 1}, meta="x")
    raw = (tmp_path / "snapshots/main/@/0000000001.json").read_bytes()
    assert read_document(raw)["meta"] == "x"
    for at in range(len(raw)):
        flipped = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        try:
            read_document(flipped)
        except Damage:
            continue
        assert at > raw.index(b"\nmac:")
        assert not is_own(flipped, KEY, "repository")


def test_a_second_reader_checks_whose_a_manifest_is(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path / "saves")
    saves.save(1)
    raw = (tmp_path / "saves/snapshots/main/@/0000000001.json").read_bytes()
    assert is_own(raw, KEY, "repository")
    assert not is_own(raw, KEY, "single file")
    assert not is_own(raw, KEY + b"!", "repository")
    saves.export(1, tmp_path / "copy")
    raw = (tmp_path / "copy").read_bytes()
    raw = raw[raw.index(b'{\n"format"') :]
    assert is_own(raw, KEY, "single file")
    assert not is_own(raw, KEY, "repository")
    theirs = Checkpointer(tmp_path / "theirs", key="a key of somebody else")
    theirs.save(1)
    theirs.export(1, tmp_path / "strange")
    saves.import_(tmp_path / "strange")
    raw = (tmp_path / "saves/snapshots/main/@/0000000002.json").read_bytes()
    assert raw.endswith(b"\nmac:none\n")
    assert not is_own(raw, KEY, "repository")


# --- the page itself --------------------------------------------------------


def tables() -> dict[str, set[str]]:
    """The first column of each table of the page, by the heading it stands under."""
    found: dict[str, set[str]] = {}
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            found.setdefault(heading, set()).update(re.findall(r"`([^`]+)`", line.split("|")[1]))
    return found


def full_manifest(root: Path) -> Json:
    saves = Checkpointer(root)
    leaf, sheet = Leaf(1), Sheet(1, [2])
    leaf.weight = 2
    sheet.note = "by hand"  # type: ignore[attr-defined]
    things = [Shade.DARK, sheet, leaf, *map(Node, range(20))]
    saves.save([state_of(6), *things], metrics={"m": 1.0}, tags=["t"], meta=1)
    saves.tag(1, "good")
    return Folder(root).manifest("main", 1)


def test_the_page_names_every_member_of_a_real_manifest(tmp_path: Path) -> None:
    manifest = full_manifest(tmp_path)
    named = tables()
    assert named["The manifest"] == set(manifest)
    rows = read_types(manifest)
    assert named["Types"] == {member for row in rows.values() for member in row}
    assert named["Parts"] == set(manifest["parts"][0])
    assert all(len(row) == 8 for row in manifest["blobs"])
    assert named["`format.json`"] == set(read_document((tmp_path / "format.json").read_bytes()))
    record = next((tmp_path / "tags").rglob("*.json"))
    assert named["Tags"] == set(read_document(record.read_bytes()))


def test_the_page_gives_the_limits_that_the_code_has() -> None:
    from checkpoint import (
        _chunking,
        _codec,
        _format,
        _json,
        _keys,
        _reuse,
        _single_file,
        _writing,
    )

    text = PAGE.read_text(encoding="utf-8")
    for limit in (
        _format.MAX_DOCUMENT, _format.MAX_BLOB, _format.MAX_ROWS, _chunking.CHUNK,
        _reuse.INLINE, _writing.ALIGNED,
    ):  # fmt: skip
        assert f"{limit:,}" in text
    assert set(tables()["Codecs"]) == set(_codec._DECODERS)
    assert set(tables()["Single-file snapshots"]) == {"B", "P", "M"}
    assert tables()["MACs"] == {_keys.ID_CONTEXT, *_keys.MAC_CONTEXTS.values()}
    assert f"at most {_json.MAX_DEPTH + 1} lists" in text
    assert f"{_json.MAX_DEPTH} lists and objects inside each other |" in text
    for magic in (_format.PACK_MAGIC, _single_file.MAGIC):
        assert magic.hex(" ").upper() in text


def test_every_file_of_a_repository_fits_a_pattern_of_the_page(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path, "run/a", keep=checkpoint.keep_best(highest("m")))
    for number in range(4):
        saves.save(state_of(number, size=30_000), metrics={"m": -number}, tags=["t"])
    saves.tag(4, "good")
    patterns = [
        r"format\.json",
        r"snapshots/run/a/@/\d{10}\.json",
        r"packs/([0-9a-f]{2})/\1[0-9a-f]{30}\.pack",
        r"tags/run/a/@/good/\d{10}\.json",
        r"gone/run/a/@/\d{10}",
    ]
    keys = LocalStore(tmp_path).keys("")
    assert all(any(re.fullmatch(p, key) for p in patterns) for key in keys)
    assert all(any(re.fullmatch(p, key) for key in keys) for p in patterns)
