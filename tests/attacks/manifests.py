"""Repositories and files whose documents lie: each digest holds, and no signature does."""

# ruff: noqa: PLW0108 -- a lambda names what is defined further down

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import zstandard
from attacks.attack import FILE, STORE, Parts, Route
from attacks.calls import FIRE
from attacks.doors import (
    IDENTITY,
    FileMaker,
    identity,
    manifest,
    raw_blob,
    repository,
    single_file,
    stream_part,
)
from attacks.streams import call, new, stream
from attrs import evolve

import checkpoint
from checkpoint import Checkpointer, _format, _single_file
from checkpoint._model import Part, digest

LIES = Route("manifests that lie")
_STREAM = stream([1, 2, "three"])
_INSTANCE = stream(new("prey.things:Plain"))
_KEY = "snapshots/main/@/0000000001.json"
Members = dict[str, Any]


def sealed(body: str | bytes, mac: str = "none") -> bytes:
    """A document of any text, whose digest holds."""
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    return raw + f"blake3:{digest(raw)}\nmac:{mac}\n".encode()


def said(document: bytes) -> Members:
    """The members of a document."""
    found: Members = json.loads(document[: document.index(b"\nblake3:") + 1])
    return found


def _dumped(members: Mapping[str, Any]) -> str:
    return json.dumps(members) + "\n"


def lied(
    change: Callable[[Members], Any], of: bytes = _STREAM, mac: str = "none"
) -> dict[str, bytes]:
    """A repository whose only manifest was changed."""
    objects = repository(Parts(of))
    members = said(objects[_KEY])
    change(members)
    return objects | {_KEY: sealed(_dumped(members), mac)}


def _file_lied(change: Callable[[Members], Any], of: bytes = _STREAM) -> bytes:
    """A single file whose manifest was changed."""
    file = FileMaker()
    row = file.blob(of)
    honest = evolve(
        manifest(of), parts=(stream_part(of),), blobs=(row,), size=len(of), stored=len(of)
    )
    members = said(_format.encode_manifest(honest))
    change(members)
    return file.ended(sealed(_dumped(members)))


def _set(**values: Any) -> Callable[[Members], Any]:
    return lambda members: members.update(values)


def _row(**values: Any) -> Callable[[Members], Any]:
    names = ("digest", "length", "filter", "codec", "base", "pack", "offset", "stored")

    def change(members: Members) -> None:
        for name, value in values.items():
            members["blobs"][0][names.index(name)] = value

    return change


def _part(**values: Any) -> Callable[[Members], Any]:
    return lambda members: members["parts"][0].update(values)


_deep: Any = []
for _ in range(900):
    _deep = [_deep]
_TYPE = {
    "global": "prey.things:Plain",
    "origin": None,
    "version": None,
    "kind": None,
    "fields": None,
}
_BOTH: dict[str, tuple[Callable[[Members], Any], bytes]] = {
    "a blob longer than what is stored": (_row(length=10**6), _STREAM),
    "a blob of 2**61 bytes": (_row(length=2**61, stored=2**61), _STREAM),
    "a blob of 16 MiB that is not there": (_row(length=16 << 20, stored=16 << 20), _STREAM),
    "a blob of a length below zero": (_row(length=-1), _STREAM),
    "a blob of a length that is True": (_row(length=True), _STREAM),
    "a blob of a length that is a float": (_row(length=1e3), _STREAM),
    "a blob of another digest": (_row(digest="0" * 64), _STREAM),
    "a blob of a digest that is a path": (_row(digest="../" * 21 + "a"), _STREAM),
    "a blob beyond its pack": (_row(offset=10**9), _STREAM),
    "a blob before its pack": (_row(offset=-8), _STREAM),
    "a blob of an unknown codec": (_row(codec="brotli"), _STREAM),
    "a blob of a codec that is a module": (_row(codec="os"), _STREAM),
    "a blob of zstd that is none": (_row(codec="zstd"), _STREAM),
    "a blob that is its own base": (
        lambda m: _row(codec="zstd", base=m["blobs"][0][0])(m),
        _STREAM,
    ),
    "a blob with a base that is not there": (_row(codec="zstd", base="1" * 64), _STREAM),
    "a blob with a filter that is none": (_row(filter="exec"), _STREAM),
    "a blob in a pack that is a path": (_row(pack="../../etc/passwd"), _STREAM),
    "a blob in a pack that is not there": (_row(pack="f" * 32), _STREAM),
    "a row of too many": (lambda m: m["blobs"][0].append(1), _STREAM),
    "a row that is a dict": (lambda m: m["blobs"].__setitem__(0, {}), _STREAM),
    "rows that nobody needs": (lambda m: m["blobs"].append(m["blobs"][0]), _STREAM),
    "no rows": (_set(blobs=[]), _STREAM),
    "rows that are a text": (_set(blobs="abc"), _STREAM),
    "a part longer than its blobs": (_part(length=10**6), _STREAM),
    "a part of 2**61 bytes": (_part(length=2**61), _STREAM),
    "a part of more blobs than there are": (_part(blobs=10**9), _STREAM),
    "a part of a number of blobs below zero": (_part(blobs=-1), _STREAM),
    "a part of another digest": (_part(digest="0" * 64), _STREAM),
    "a part without a digest": (_part(digest=None), _STREAM),
    "a part of an unknown kind": (_part(kind="code"), _STREAM),
    "a part of an unknown transform": (_part(transforms=["eval"]), _STREAM),
    "a part that was never renumbered": (_part(transforms=["deframed", "renumbered"]), _STREAM),
    "a part with one more member": (_part(more=1), _STREAM),
    "no parts": (_set(parts=[]), _STREAM),
    "two streams": (lambda m: m["parts"].append(m["parts"][0]), _STREAM),
    "a buffer behind the stream": (
        lambda m: m["parts"].append(
            {"kind": "buffer", "length": 0, "blobs": 0, "transforms": [], "digest": None}
        ),
        _STREAM,
    ),
    "a million empty buffers": (
        lambda m: m["parts"].__setitem__(
            slice(0, 0),
            [{"kind": "buffer", "length": 0, "blobs": 0, "transforms": [], "digest": None}]
            * 10_000,
        ),
        _STREAM,
    ),
    "a size of another": (_set(size=2**61, stored=2**61), _STREAM),
    "a size below zero": (_set(size=-1), _STREAM),
    "types of a stream without any": (_set(types=[_TYPE]), _STREAM),
    "no types of a stream with some": (_set(types=[]), _INSTANCE),
    "types of another class": (_set(types=[_TYPE | {"global": "prey.things:Data"}]), _INSTANCE),
    "types that stand twice": (_set(types=[_TYPE, _TYPE]), _INSTANCE),
    "types in one more than the stream has": (
        _set(types=[_TYPE, _TYPE | {"global": "os:system"}]),
        _INSTANCE,
    ),
    "a type without a colon": (_set(types=[_TYPE | {"global": "prey"}]), _STREAM),
    "a type that is a number": (_set(types=[_TYPE | {"global": 1}]), _STREAM),
    "a type of a kind that is none": (
        _set(types=[_TYPE | {"kind": "code", "version": 1, "fields": []}]),
        _INSTANCE,
    ),
    "a type of a version of 2**80": (
        _set(types=[_TYPE | {"kind": "plain", "version": 2**80, "fields": []}]),
        _INSTANCE,
    ),
    "a type of a version from the future": (
        _set(types=[_TYPE | {"kind": "plain", "version": 99, "fields": []}]),
        _INSTANCE,
    ),
    "a type with dunder fields": (
        _set(
            types=[
                _TYPE | {"kind": "plain", "version": 1, "fields": ["__class__", "__reduce_ex__"]}
            ]
        ),
        _INSTANCE,
    ),
    "a type with 10,001 fields": (
        _set(
            types=[
                _TYPE | {"kind": "plain", "version": 1, "fields": [str(n) for n in range(10_001)]}
            ]
        ),
        _INSTANCE,
    ),
    "a type whose bases are named by the stranger": (
        _set(
            types=[_TYPE | {"kind": "plain", "version": 1, "fields": [], "bases": {"os:system": 5}}]
        ),
        _INSTANCE,
    ),
    "a type whose origin is another module": (
        _set(types=[_TYPE | {"origin": "bystander"}]),
        _INSTANCE,
    ),
    "a type of main whose origin is a module that is not imported": (
        _set(types=[_TYPE | {"global": "__main__:Thing", "origin": "bystander"}]),
        stream(new("__main__:Thing")),
    ),
    "200,000 types": (
        _set(types=[_TYPE | {"global": f"prey:x{n}"} for n in range(8_000)]),
        _INSTANCE,
    ),
    "a migration that was never": (_set(migrations=["os:system"]), _STREAM),
    "migrations that are numbers": (_set(migrations=[1]), _STREAM),
    "metrics that are texts": (_set(metrics={"a": "__import__"}), _STREAM),
    "metrics that are too great": (_set(metrics={"a": 10**400}), _STREAM),
    "metrics that are lists": (_set(metrics=[1]), _STREAM),
    "tags with paths": (_set(tags=["../../x"]), _STREAM),
    "tags that are numbers": (_set(tags=[1]), _STREAM),
    "a date that is none": (_set(created="yesterday"), _STREAM),
    "a date of a million letters": (_set(created="2" * 10**6), _STREAM),
    "a writer that is a list": (_set(writer=[]), _STREAM),
    "a writer of a million letters": (_set(writer="a" * 10**6), _STREAM),
    "libraries that are lists": (_set(libraries={"a": []}), _STREAM),
    "meta of 900 lists": (_set(meta=_deep), _STREAM),
    "a format from the future": (_set(format=2), _STREAM),
    "a format that is True": (_set(format=True), _STREAM),
    "a format that is a text": (_set(format="1"), _STREAM),
    "one member more": (_set(trust="everything"), _STREAM),
    "one member less": (lambda m: m.pop("writer"), _STREAM),
    "a provenance that is none": (_set(provenance="trusted"), _STREAM),
    "a provenance that is a list": (_set(provenance=["own"]), _STREAM),
    "inline bytes that are no base64": (_set(inline="!!!!"), _STREAM),
    "inline bytes that nobody needs": (_set(inline=b64encode(bytes(100)).decode()), _STREAM),
    "packs with sizes below zero": (_set(packs={"0" * 32: -1}), _STREAM),
    "packs with names that are paths": (_set(packs={"../../../etc/passwd": 10}), _STREAM),
    "a table of rows that are not there": (
        _set(table=[["2" * 64, 9, None, "none", None, "0" * 32, 0, 9]]),
        _STREAM,
    ),
}
_FINE = {
    "types that stand twice",
    "a type with dunder fields",
    "a type whose origin is another module",
    "a type whose bases are named by the stranger",
    "a part without a digest",
    "a size of another",
    "meta of 900 lists",
    "a million empty buffers",
    "a migration that was never",
    "tags with paths",
    "inline bytes that nobody needs",
}
for _name, (_change, _of) in _BOTH.items():
    LIES.add(
        f"{_name}, in a repository",
        lambda c=_change, o=_of: lied(c, o),
        doors=STORE,
        harmless=_name in _FINE,
        gone=_name == "a type of a version from the future",
    )
    LIES.add(
        f"{_name}, in a file",
        lambda c=_change, o=_of: _file_lied(c, o),
        doors=("bare",),
        harmless=_name in _FINE,
        gone=_name == "a type of a version from the future",
    )

# --- signatures -----------------------------------------------------------------------------

_CALL = stream(call(FIRE))
for _name, _mac in {
    "no signature": "none",
    "a signature of zeros": f"{'0' * 16}:{'0' * 64}",
    "a signature cut short": f"{'0' * 16}:{'0' * 10}",
    "a signature of nothing": "",
    "a signature in capitals": f"{'A' * 16}:{'A' * 64}",
    "a signature in two lines": f"none\nmac:{'0' * 16}:{'0' * 64}",
}.items():
    LIES.add(
        f"a repository claims to be own, with {_name}",
        lambda m=_mac: lied(_set(provenance="own"), _CALL, m),
        doors=STORE,
    )
LIES.add(
    "a file claims to be own, with no signature",
    lambda: _file_lied(_set(provenance="own"), _CALL),
    doors=("bare",),
)
LIES.add(
    "a file claims to be own under another's key",
    lambda: _signed_by_another(),
    doors=("bare",),
    made_apart=True,
)
LIES.add(
    "a repository claims to be own under another's key", lambda: _store_by_another(), doors=STORE
)


def _trap() -> Any:
    """Something that calls the canary when it is loaded as own."""
    import prey.things

    return prey.things.Reducing.__new__(prey.things.Reducing)


_ANOTHER = "the key of somebody else entirely"


def _signed_by_another() -> bytes:
    return checkpoint.dumps(_trap(), key=_ANOTHER)


def _store_by_another() -> dict[str, bytes]:
    store = checkpoint.MemoryStore()
    Checkpointer(store, key=_ANOTHER).save(_trap())
    return {key: bytes(store.get(key)) for key in store.keys("")}


def _own() -> dict[str, bytes]:
    """A repository of this program, with two versions of its own and a canary in each."""
    store = checkpoint.MemoryStore()
    saves = Checkpointer(store)
    saves.save({"a": 1, "trap": _trap()})
    saves.save({"a": 2, "trap": _trap()})
    return {key: bytes(store.get(key)) for key in store.keys("")}


def _edited(change: Callable[[dict[str, bytes]], Any]) -> Callable[[], dict[str, bytes]]:
    def make() -> dict[str, bytes]:
        objects = _own()
        change(objects)
        return objects

    return make


_V1, _V2, _V3 = (f"snapshots/main/@/000000000{n}.json" for n in (1, 2, 3))


def _relabelled(objects: dict[str, bytes], **members: Any) -> None:
    found = said(objects[_V1]) | members
    mac = objects[_V1].rsplit(b"mac:", 1)[1].strip().decode()
    for key in list(objects):
        if key.startswith("snapshots/"):
            del objects[key]
    number = found["version"]
    name = found["name"]
    objects[f"snapshots/{name}/@/{number:010d}.json"] = sealed(_dumped(found), mac)


for _name, _edit in {
    "an own manifest that was copied to a newer version": lambda o: (
        o.__setitem__(_V3, o[_V1]),
        o.pop(_V1),
        o.pop(_V2),
    ),
    "two own manifests that were swapped": lambda o: o.update({_V1: o[_V2], _V2: o[_V1]}),
    "an own manifest that was copied to another name": lambda o: (
        o.update({"snapshots/main/@/0000000009.json": o[_V1]}),
        o.pop(_V1),
        o.pop(_V2),
    ),
    "an own manifest relabelled as a newer version, its signature kept": lambda o: _relabelled(
        o, version=7
    ),
    "an own manifest whose metrics were changed, its signature kept": lambda o: _relabelled(
        o, metrics={"a": 1}
    ),
    "an own manifest whose repository was changed, its signature kept": lambda o: _relabelled(
        o, repository=IDENTITY
    ),
    "an own manifest whose stream was changed, its signature kept": lambda o: _swapped_stream(o),
    "an own manifest that was moved to another repository": lambda o: o.update(identity()),
    "an own manifest whose signature was taken away": lambda o: (
        o.pop(_V2),
        o.update({_V1: o[_V1].rsplit(b"mac:", 1)[0] + b"mac:none\n"}),
    ),
    "an own manifest whose signature has one bit changed": lambda o: (
        o.pop(_V2),
        o.update(
            {_V1: o[_V1][:-2] + bytes([o[_V1][-2] ^ 1 if o[_V1][-2] != 0x66 else 0x65]) + b"\n"}
        ),
    ),
    "an own manifest with the signature of another version": lambda o: (
        o.update({_V1: o[_V1].rsplit(b"mac:", 1)[0] + b"mac:" + o[_V2].rsplit(b"mac:", 1)[1]}),
        o.pop(_V2),
    ),
}.items():
    LIES.add(_name, _edited(_edit), doors=STORE)


def _swapped_stream(objects: dict[str, bytes]) -> None:
    row = raw_blob(_CALL, 0)
    inline = b64encode(_CALL).decode()
    part = {
        "kind": "stream",
        "length": len(_CALL),
        "blobs": 1,
        "transforms": ["deframed"],
        "digest": digest(_CALL),
    }
    _relabelled(
        objects, blobs=_format.blob_rows([row]), parts=[part], inline=inline, types=[], packs={}
    )


LIES.add("a file's signature on a repository's manifest", lambda: _crossed(), doors=STORE)


def _crossed() -> dict[str, bytes]:
    """The manifest of an own file, put where one of a repository belongs."""
    file = checkpoint.dumps(_trap())
    at = file.index(b'{\n"format"')
    return identity() | {_V1: file[at:]}


# --- documents that are not what they seem -----------------------------------------------------


def _text_of(change: Callable[[str], str]) -> dict[str, bytes]:
    """A repository whose manifest's text was changed."""
    objects = repository(Parts(_CALL))
    return objects | {_KEY: sealed(change(_dumped(said(objects[_KEY]))))}


for _name, _edit in {
    "a key that stands twice": lambda t: t.replace('"format": 1', '"format": 1, "format": 1'),
    "a provenance that stands twice": lambda t: t.replace(
        '"provenance": "foreign"', '"provenance": "foreign", "provenance": "own"'
    ),
    "a key that stands twice in a row": lambda t: t.replace(
        '"kind": "stream"', '"kind": "buffer", "kind": "stream"'
    ),
    "a key that stands twice by an escape": lambda t: t.replace(
        '"format": 1', '"format": 1, "\\u0066ormat": 1'
    ),
    "meta 100,000 lists deep": lambda t: t.replace(
        '"meta": null', '"meta": ' + "[" * 10**5 + "]" * 10**5
    ),
    "meta 100,000 lists deep that never end": lambda t: t.replace(
        '"meta": null', '"meta": ' + "[" * 10**5
    ),
    "meta 50,000 dicts deep": lambda t: t.replace(
        '"meta": null', '"meta": ' + '{"a":' * 50_000 + "1" + "}" * 50_000
    ),
    "a number of a million digits": lambda t: t.replace('"meta": null', '"meta": ' + "9" * 10**6),
    "a number with a great exponent": lambda t: t.replace('"meta": null', '"meta": 1e999999999'),
    "NaN": lambda t: t.replace('"meta": null', '"meta": NaN'),
    "Infinity as a size": lambda t: t.replace('"size": ', '"size": Infinity, "other": '),
    "half a surrogate pair": lambda t: t.replace('"meta": null', '"meta": "\\ud800"'),
    "a NUL in a text": lambda t: t.replace('"meta": null', '"meta": "\\u0000"'),
    "a byte order mark": lambda t: "\ufeff" + t,
    "UTF-8 that is none": lambda t: t.replace('"meta": null', '"meta": "\udcff"'),
    "JSON that goes on": lambda t: t + t,
    "JSON that ends early": lambda t: t[: len(t) // 2],
    "JSON that is a list": lambda t: "[1]\n",
    "JSON that is a number": lambda t: "1\n",
    "JSON of nothing": lambda t: "\n",
    "a comment": lambda t: "// own\n" + t,
    "a trailer in the middle": lambda t: t + f"blake3:{'0' * 64}\nmac:none\n",
}.items():
    LIES.add(f"a document with {_name}", lambda e=_edit: _text_of(e), doors=STORE)

# --- tables ---------------------------------------------------------------------------------------


def _huge_blob_named_often(times: int) -> dict[str, bytes]:
    """One blob of a few KiB that becomes 16 MiB, named again and again."""
    plain = bytes(16 << 20)
    packed = zstandard.compress(plain)
    row = [digest(plain), len(plain), None, "zstd", None, "1" * 32, 0, len(packed)]
    objects = lied(
        _set(
            blobs=[row] * times,
            packs={"1" * 32: len(packed)},
            parts=[
                {
                    "kind": "stream",
                    "length": len(plain) * times,
                    "blobs": times,
                    "transforms": ["deframed"],
                    "digest": None,
                }
            ],
        )
    )
    return objects | {"packs/11/" + "1" * 32 + ".pack": packed}


def _huge_blob_in_a_file(times: int, kind: str = "stream") -> bytes:
    plain = bytes(16 << 20)
    packed = zstandard.compress(plain)
    file = FileMaker()
    at = file.record(b"B", packed)
    row = evolve(raw_blob(plain, at), codec="zstd", stored=len(packed))
    tail = file.blob(_STREAM)
    huge = Part(kind, len(plain) * times, times)
    parts = (huge,) if kind == "stream" else (huge, stream_part(_STREAM))
    rows = [row] * times + ([] if kind == "stream" else [tail])
    return file.ended(evolve(manifest(_STREAM), parts=parts, blobs=tuple(rows)))


LIES.add(
    "rows that name one huge blob 5,000 times", lambda: _huge_blob_named_often(5_000), doors=STORE
)
LIES.add("rows that name one huge blob 100 times", lambda: _huge_blob_named_often(100), doors=STORE)
LIES.add(
    "rows of a file that name one huge blob 4,000 times",
    lambda: _huge_blob_in_a_file(4_000),
    doors=FILE,
)
LIES.add(
    "a buffer of a file that names one huge blob 4,000 times",
    lambda: _huge_blob_in_a_file(4_000, "buffer"),
    doors=("bare",),
)
LIES.add(
    "a buffer of a file that names one huge blob 20 times",
    lambda: _huge_blob_in_a_file(20, "buffer"),
    doors=("bare",),
    harmless=True,
)
LIES.add(
    "rows in a list that holds rows of anything", lambda: _long_table(b'[["a", 1]]'), doors=STORE
)
LIES.add("rows in a list that is very deep", lambda: _long_table(b"[" * 100_000), doors=STORE)
LIES.add("rows in a list that is no JSON", lambda: _long_table(b"\xff" * 99), doors=STORE)
LIES.add(
    "rows in a list with a key that stands twice",
    lambda: _long_table(b'[{"a":1,"a":2}]'),
    doors=STORE,
)
LIES.add(
    "rows in a list of great numbers", lambda: _long_table(b"[" + b"9" * 10**6 + b"]"), doors=STORE
)
LIES.add(
    "rows in a list that claims a million lists", lambda: _long_table(b"[]", 10_000), doors=STORE
)


def _long_table(rows: bytes, times: int = 1) -> dict[str, bytes]:
    row = [digest(rows), len(rows), None, "none", None, "1" * 32, 0, len(rows)]
    objects = lied(_set(table=[row] * times, blobs=[], packs={"1" * 32: len(rows)}))
    return objects | {"packs/11/" + "1" * 32 + ".pack": rows}


def _renumbered(body: bytes) -> dict[str, bytes]:
    """A stream that says it was renumbered, of any bytes."""
    return lied(_part(transforms=["deframed", "renumbered"], digest=None), body)


for _name, _body in {
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "counts beyond everything": b"\xff" * 9 + b"\x7f" + _STREAM,
    "a stream": _STREAM,
    "one byte": b"\x01",
}.items():
    LIES.add(
        f"a stream that was renumbered, of {_name}",
        lambda b=_body: _renumbered(b),
        doors=STORE,
        harmless=False,
    )

# --- other documents, and other objects ------------------------------------------------

for _name, _objects in {
    "a format file of a list": lambda: repository(Parts(_STREAM)) | {"format.json": sealed("[]\n")},
    "a format file of another repository": lambda: (
        repository(Parts(_CALL)) | identity("00000000-0000-0000-0000-000000000000")
    ),
    "a format file from the future": lambda: (
        repository(Parts(_STREAM)) | {"format.json": sealed('{"format": 99, "repository": "x"}\n')}
    ),
    "a pack that is not there": lambda: {
        k: v for k, v in repository(Parts(_STREAM)).items() if not k.startswith("packs/")
    },
    "a pack that is cut short": lambda: {
        k: v[:-3] if k.startswith("packs/") else v for k, v in repository(Parts(_STREAM)).items()
    },
    "a pack that is another": lambda: {
        k: v[::-1] if k.startswith("packs/") else v for k, v in repository(Parts(_STREAM)).items()
    },
    "a manifest of nothing": lambda: identity() | {_KEY: b""},
    "a manifest that is a pickle": lambda: identity() | {_KEY: _CALL},
    "a manifest that is a file": lambda: identity() | {_KEY: single_file(Parts(_CALL))},
    "a manifest without its trailer": lambda: identity() | {_KEY: b"{}\n"},
    "a tag that points nowhere": lambda: (
        repository(Parts(_STREAM))
        | {"tags/main/@/good/0000000001.json": sealed('{"format": 1, "version": 99}\n')}
    ),
    "a tag that is a list": lambda: (
        repository(Parts(_STREAM)) | {"tags/main/@/good/0000000001.json": sealed("[1]\n")}
    ),
    "a version of ten nines": lambda: repository(Parts(_CALL), 9999999999),
    "a call in a version, and an older one that is plain": lambda: _stepping_back(),
}.items():
    _plain = "call" not in _name and "another repository" not in _name and "nines" not in _name
    LIES.add(
        _name, _objects, doors=STORE, harmless=_plain and ("tag" in _name or "format file" in _name)
    )


def _stepping_back() -> dict[str, bytes]:
    """Refusal is no damage: the newest is refused, and no older one is given instead."""
    return repository(Parts(_STREAM), 1) | {
        _format.snapshot_key("main", 2): repository(
            Parts(_CALL), 2, packs={}, inline=_CALL, blobs=(raw_blob(_CALL, 0),)
        )[_format.snapshot_key("main", 2)]
    }


# --- a file that looks like another ---------------------------------------------------

FORMATS = Route("files damaged to look like another format")
_MAGIC = _single_file.MAGIC
_FILE = single_file(Parts(_STREAM))


def _records(*records: tuple[bytes, bytes, int | None]) -> bytes:
    file = FileMaker()
    for kind, payload, length in records:
        file.record(kind, payload, length)
    return bytes(file.data)


for _name, _data, _harmless in (
    ("our magic over a pickle", _MAGIC + _CALL, False),
    ("our magic alone", _MAGIC, False),
    ("our magic over itself", _MAGIC * 1000, False),
    ("our magic over gzip", _MAGIC + b"\x1f\x8b\x08" + bytes(100), False),
    ("our magic with one byte changed, over a pickle", b"\x80" + _MAGIC[1:] + _CALL, False),
    ("the first half of our magic, over a pickle", _MAGIC[:4] + _CALL, False),
    ("a pickle whose first bytes are those of gzip", b"\x1f\x8b" + _CALL, False),
    ("a pickle whose first bytes are those of xz", b"\xfd7zXZ\x00" + _CALL, False),
    ("a pickle whose first bytes are those of zstd", b"\x28\xb5\x2f\xfd" + _CALL, False),
    ("a pickle whose first bytes are those of lzma", b"]\x00\x00" + _CALL, False),
    ("an empty list, which begins like lzma does", b"].", True),
    ("a list with a NUL, which begins like lzma does", b"]\x00\x00.", False),
    ("a pickle behind a snapshot", _FILE + _CALL, True),
    ("a snapshot behind a pickle", _CALL + _FILE, False),
    ("a snapshot behind a plain pickle that ends at once", stream(1) + _FILE, True),
    ("a zip with a pickle in it", b"PK\x03\x04" + bytes(26) + _CALL, False),
    ("a torch checkpoint of old", stream(0x1950A86A20F9469CFC6C) + stream(1001) + _CALL, True),
    ("an npy file", b"\x93NUMPY\x01\x00" + b"\x76\x00{'descr': '|O'}" + _CALL, False),
    ("a joblib file in zlib", b"\x78\x9c" + _CALL, False),
    ("a pickle in bz2", b"BZh9" + _CALL, False),
    ("a script", b"#!/usr/bin/env python\nimport prey.canary; prey.canary.fire()\n", False),
    ("JSON", b'{"format": 1}', False),
    ("a manifest of a repository as a file", lambda: repository(Parts(_CALL))[_KEY], False),
    (
        "a manifest of a repository in a file",
        lambda: FileMaker().ended(repository(Parts(_CALL))[_KEY]),
        False,
    ),
    ("a record of a kind that there is not", _records((b"X", _CALL, None)), False),
    ("a record of 2**63 bytes", _records((b"B", b"", 2**63)), False),
    ("a record of 16 MiB that is not there", _records((b"B", b"", 16 << 20)), False),
    ("a record of 64 MiB of manifest that is not there", _records((b"M", b"", 64 << 20)), False),
    ("a million records of nothing", lambda: _MAGIC + (b"B" + bytes(8)) * 100_000, False),
    ("a record of padding that is a pickle", _records((b"P", _CALL[:60], None)), False),
    ("a record of padding that is long", _records((b"P", bytes(100), None)), False),
    ("records without a manifest", _records((b"B", _CALL, None)), False),
    ("two manifests", lambda: _FILE + _FILE[8:], True),
    ("a file that is cut in its manifest", _FILE[:-30], False),
    ("a file that is cut in a record", _FILE[:20], False),
    ("a NUL", b"\x00", False),
    ("a million NULs", lambda: bytes(10**6), False),
    ("a million of each byte", lambda: bytes(range(256)) * 4000, False),
    ("text", b"hello, world\n", False),
    ("an ELF program", b"\x7fELF\x02\x01\x01" + bytes(100), False),
    ("a blob that two records claim", lambda: _overlapping(), False),
):
    FORMATS.add(_name, _data, doors=FILE, harmless=_harmless)


def _overlapping() -> bytes:
    """A row that begins within a record of padding."""
    file = FileMaker()
    file.record(b"P", bytes(32))
    at = file.record(b"B", _CALL)
    row = raw_blob(_CALL[:5], at + 3)
    said = evolve(manifest(_CALL), parts=(stream_part(_CALL[:5]),), blobs=(row,))
    return file.ended(said)
