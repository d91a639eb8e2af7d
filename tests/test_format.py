"""Documents are believed only whole, and only if they are possible."""

import json
import math
import re

import pytest
from attrs import evolve

from checkpoint import FormatError, IntegrityError, InvalidNameError
from checkpoint._format import (
    blob_rows,
    check_json,
    check_name,
    check_places,
    check_table,
    check_tag,
    decode_manifest,
    decode_rows,
    encode_manifest,
    encode_rows,
    parse_snapshot_key,
    seal,
    snapshot_key,
    unseal,
)
from checkpoint._keys import keys
from checkpoint._model import MAX_FIELDS, MAX_TEXT, Blob, Global, Manifest, Part, Shape, digest

PACK = "0123456789abcdef" * 2
BLOB = Blob(digest(b"x" * 9), 9, "none", PACK, 64, 9)
MANIFEST = Manifest(
    repository="r",
    name="run/a",
    version=7,
    parent=6,
    writer="w",
    created="2026-01-02T03:04:05.000006+00:00",
    metrics={"loss": 0.5, "n": 3, "bad": math.inf, "worse": -math.inf},
    tags=("t",),
    meta={"a": [1, None, "ü"]},
    libraries={"python": "3.11.0"},
    types=(
        Global("__main__", "A.B", "train", Shape("plain", ("x", "ü"), sampled=True)),
        Global("m", "C", shape=Shape("attrs", ("a", "b"), defaults=("b",), validated=("a",))),
        Global("m", "E", shape=Shape("enum", members={"A": "1", "B": "'b'"})),
        Global("m", "N", shape=Shape("slots", version=3, bases={"m:Base": 2})),
        Global("m", "f"),
    ),
    size=9,
    stored=9,
    packs={PACK: 100},
    blobs=(BLOB,),
    parts=(Part("stream", 9, 1, ("deframed",), digest(b"x" * 9)),),
    inline=b"abc",
)


KEYS = keys("the key of the tests of documents")


def members() -> dict[str, object]:
    body = encode_manifest(MANIFEST).rpartition(b"blake3:")[0]
    found: dict[str, object] = json.loads(body)
    return found


def test_a_manifest_is_read_as_it_was_written() -> None:
    raw = encode_manifest(MANIFEST, KEYS)
    found = decode_manifest(raw, "m", KEYS)
    assert found == MANIFEST
    assert [one.shape for one in found.types] == [one.shape for one in MANIFEST.types]
    assert encode_manifest(found, KEYS) == raw


def test_a_metric_that_is_not_a_number_is_kept_as_such() -> None:
    manifest = evolve(MANIFEST, metrics={"loss": math.nan})
    assert math.isnan(decode_manifest(encode_manifest(manifest), "m").metrics["loss"])


def test_a_document_is_json_that_a_person_can_read() -> None:
    text = encode_manifest(MANIFEST).decode()
    assert text.startswith('{\n"format": 1,\n"repository": "r",\n')
    assert text.splitlines()[-1] == "mac:none"
    signed = encode_manifest(MANIFEST, KEYS).decode().splitlines()
    assert signed[:-1] == text.splitlines()[:-1]
    assert re.fullmatch("mac:[0-9a-f]{16}:[0-9a-f]{64}", signed[-1])
    assert text.splitlines()[-2].startswith("blake3:")


def test_every_member_of_the_first_format_is_there() -> None:
    first, *_, last = members()["types"]  # type: ignore[misc]
    assert set(last) == {"global", "origin", "version", "kind", "fields"}
    assert set(first) == set(last) | {"sampled"}
    assert {"provenance", "migrations", "table", "inline", "parent"} <= set(members())
    assert len(blob_rows([BLOB])[0]) == 8


def test_every_flipped_byte_and_every_truncation_is_seen() -> None:
    raw = encode_manifest(MANIFEST)
    for at in range(len(raw)):
        flipped = raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]
        for damaged in (flipped, raw[:at]):
            with pytest.raises(IntegrityError):
                unseal(damaged, "m")


def test_a_newer_format_is_told_from_damage() -> None:
    with pytest.raises(FormatError, match="format 2, this release reads 1"):
        unseal(seal({"format": 2, "new": True}), "m")


@pytest.mark.parametrize(
    "body",
    [
        b'{"format": 1, "a": 1, "a": 2}\n',
        b'{"format": 1, "a": [{"b": 1, "b": 1}]}\n',
        b'{"format": 1, "a": NaN}\n',
        b'{"format": 1, "a": -Infinity}\n',
        b'{"format": 1, "a": "\\ud800"}\n',
        b'{"format": 1, "a": ' + b"9" * 5_000 + b"}\n",
        b'{"format": 1, "a": ' + b"[" * 201 + b"]" * 201 + b"}\n",
        '{"format": 1}\n'.encode("utf-16-be"),
        b'\xef\xbb\xbf{"format": 1}\n',
        b'{"format": true}\n',
        b"[]\n", b"{}\n", b"[" * 90_000 + b"\n", b"{\n",
    ],
)  # fmt: skip
def test_a_sealed_document_that_is_none_is_refused(body: bytes) -> None:
    raw = body + f"blake3:{digest(body)}\nmac:none\n".encode()
    with pytest.raises(FormatError):
        unseal(raw, "m")


@pytest.mark.parametrize(
    "change",
    [
        {"blobs": [["zz", 9, None, "none", None, PACK, 64, 9]]},
        {"blobs": [[BLOB.digest, -1, None, "none", None, PACK, 64, 9]]},
        {"blobs": [[BLOB.digest, 9, None, "none", None, PACK, 64, 10]]},
        {"blobs": [[BLOB.digest, 1 << 40, None, "zstd", None, PACK, 64, 9]]},
        {"blobs": [[BLOB.digest, 9.0, None, "none", None, PACK, 64, 9]]},
        {"blobs": [[BLOB.digest, 9, None, "none", None, "../../etc/passwd", 64, 9]]},
        {"blobs": [[BLOB.digest, 9, None, "gzip", BLOB.digest, PACK, 64, 9]]},
        {"blobs": [[BLOB.digest, 9, None, "zstd", "no digest", PACK, 64, 9]]},
        {"blobs": [[BLOB.digest, 9, "delta", "zstd", BLOB.digest, PACK, 64, 9]]},
        {"blobs": [[BLOB.digest, 9, "blocks", "zstd", None, PACK, 64, 9]]},
        {"blobs": [[BLOB.digest, 9]]},
        {"table": [[BLOB.digest, 9, None, "zstd", BLOB.digest, PACK, 64, 9]]},
        {"blobs": 5},
        {"parts": [{"kind": "stream"}]},
        {"parts": [{"kind": "?", "length": 1, "blobs": 1, "transforms": [], "digest": None}]},
        {
            "parts": [
                {"kind": "stream", "length": 1, "blobs": 1, "transforms": ["x"], "digest": None}
            ]
        },
        {"metrics": {"loss": "0.5"}},
        {"metrics": {"loss": [1]}},
        {"metrics": None},
        {"types": [{"global": 5, "origin": None}]},
        {"inline": "?"},
        {"created": "yesterday"},
        {"created": "2026-01-02T03:04:05"},
        {"unheard_of": 1},
        {"provenance": "mine"},
        {"provenance": None},
        {"provenance": ["own"]},
        {"name": "../x"},
        {"name": "a" * 201},
        {"version": -1},
        {"parent": 1 << 62},
        {"repository": "r" * 1_001},
        {"writer": "w" * 1_001},
        {"libraries": {"l" * 1_001: "1"}},
        {"libraries": {"l": "1" * 1_001}},
        {"tags": ["t" * 201]},
        {"tags": "t"},
        {"tags": [["t"]]},
        {"meta": "x" * (1 << 20)},
    ],
)
def test_what_cannot_be_in_a_manifest_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        decode_manifest(seal(members() | change), "m")


TYPE = {"global": "m:C", "origin": None, "version": 1, "kind": "attrs", "fields": ["a", "b"]}


@pytest.mark.parametrize(
    "change",
    [
        {"version": None},
        {"version": 0},
        {"version": "1"},
        {"version": True},
        {"version": 1 << 62},
        {"kind": None},
        {"kind": "struct"},
        {"kind": ["attrs"]},
        {"kind": None, "version": None, "fields": None, "sampled": True},
        {"fields": None},
        {"fields": "ab"},
        {"fields": ["a", "a"]},
        {"fields": ["a", 1]},
        {"fields": ["a" * (MAX_TEXT + 1)]},
        {"fields": [f"f{number}" for number in range(MAX_FIELDS + 1)]},
        {"sampled": False},
        {"sampled": 1},
        {"defaults": []},
        {"defaults": ["c"]},
        {"defaults": {"a": 1}},
        {"validated": ["a", "a"]},
        {"layout": ""},
        {"layout": "heap"},
        {"members": {}},
        {"members": {"A": 1}},
        {"members": ["A"]},
        {"members": {"A": "1" * (MAX_TEXT + 1)}},
        {"bases": {"m:B": 0}},
        {"bases": {"m:B": None}},
        {"bases": ["m:B"]},
        {"unheard_of": 1},
    ],
)
def test_what_cannot_be_the_shape_of_a_class_is_refused(change: dict[str, object]) -> None:
    decode_manifest(seal(members() | {"types": [TYPE]}), "m")
    with pytest.raises(FormatError):
        decode_manifest(seal(members() | {"types": [TYPE | change]}), "m")


def test_a_blob_outside_its_pack_is_refused() -> None:
    check_places(MANIFEST, [BLOB])
    for blob in (evolve(BLOB, offset=92), evolve(BLOB, pack="f" * 32), evolve(BLOB, pack=None)):
        with pytest.raises(FormatError, match="outside its pack"):
            check_places(MANIFEST, [blob])


def test_parts_must_take_up_blobs_of_their_length() -> None:
    check_table(MANIFEST, [BLOB])
    for rows in ([], [evolve(BLOB, length=8)]):
        with pytest.raises(FormatError, match="does not fit its blobs"):
            check_table(MANIFEST, rows)


@pytest.mark.parametrize("name", ["a", "slot-1", "run/2026.01_x", "A/b/c", "9", "a" * 200])
def test_names_of_letters_digits_and_joints_are_names(name: str) -> None:
    assert check_name(name) == name
    assert parse_snapshot_key(snapshot_key(name, 12)) == (name, 12)


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "../x", "a/../b", ".", "a.", "-a", "a b", "ü", "a//b", "a\\b", "a\n",
     "a@b", "con", "x/NUL", "lpt1.txt", "COM1", "a" * 201, 5, None],
)  # fmt: skip
def test_what_could_escape_or_collide_is_no_name(name: str) -> None:
    with pytest.raises(InvalidNameError, match="name"):
        check_name(name)


def test_a_tag_is_one_part_of_a_name() -> None:
    assert check_tag("good-1") == "good-1"
    for tag in ("a/b", "", ".."):
        with pytest.raises(InvalidNameError):
            check_tag(tag)


def test_a_text_of_backslashes_is_no_half_of_a_surrogate_pair() -> None:
    for text in ("\\ud800", "\\\\ud800", "😀"):
        found = unseal(seal({"format": 1, "a": text}), "m")
        assert found["a"] == text
    body = b'{"format": 1, "a": "\\ud83d\\ude00"}\n'
    raw = body + f"blake3:{digest(body)}\nmac:none\n".encode()
    assert unseal(raw, "m")["a"] == "😀"


def test_a_long_lie_makes_no_long_message() -> None:
    with pytest.raises(FormatError) as caught:
        decode_manifest(seal(members() | {"writer": ["w" * 100_000]}), "m")
    assert len(str(caught.value)) < 1_000


def nested(depth: int) -> object:
    value: object = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


@pytest.mark.parametrize("meta", ["x" * ((1 << 20) - 2), "ü" * (1 << 18), nested(200), {"a": "\n"}])
def test_meta_that_may_be_written_may_be_read(meta: object) -> None:
    assert check_json(meta) == meta
    assert decode_manifest(encode_manifest(evolve(MANIFEST, meta=meta)), "m").meta == meta


@pytest.mark.parametrize(
    "rows",
    [b"[[]", b"{}", b"[NaN]", b"[" * 300 + b"]" * 300, b'[{"a": 1, "a": 1}]', b"5", b'"\xff"'],
)
def test_a_list_of_rows_that_is_none_is_refused(rows: bytes) -> None:
    assert decode_rows(encode_rows([BLOB])) == (BLOB,)
    with pytest.raises(FormatError):
        decode_rows(rows)


@pytest.mark.parametrize(
    "meta",
    [{1, 2}, object(), float("nan"), {"a": b"x"}, "x" * (1 << 20) + "x", nested(201), "\ud800",
     {1: "a", "1": "b"}],
)  # fmt: skip
def test_meta_that_is_no_json_value_says_what_is(meta: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        check_json(meta)
