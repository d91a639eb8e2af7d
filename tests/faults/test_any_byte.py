"""Any byte of a repository, or of a single file, may be another one.

Each load gives the right state, stepping back with a warning at most, or raises
IntegrityError or FormatError.  Nothing that `snapshots` says is ever wrong, and
`verify` reports every change that a load can notice.
"""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from attrs import evolve, frozen
from faults.hooked import HookedStore, noise, same
from faults.sparse import array, forms, longer, manifests, units, words

import checkpoint
from checkpoint import (
    Checkpointer,
    DamagedSnapshotWarning,
    FormatError,
    IntegrityError,
    NotFoundError,
    RetentionWarning,
    SerializationError,
    Snapshot,
    _format,
    _reading,
)

# Several bytes a flip in the long run, one bit a byte in the short one.
ALL_BITS = [1 << bit for bit in range(8)]


def text(seed: int, size: int) -> str:
    """What compresses to a little more than a third."""
    return "".join(random.Random(seed).choices("etaoin shrdlu", k=size))


@frozen
class Truth:
    """What a repository held before anybody touched it."""

    objects: dict[str, bytes]
    states: dict[str, dict[int, Any]]
    snapshots: dict[str, dict[int, Snapshot]]


def build() -> Truth:
    """Versions inline and in packs, raw and under each codec, tags, marks, two names."""
    store = HookedStore()
    states: dict[str, dict[int, Any]] = {"main": {}, "runs/b": {}}
    shared = random.Random(9).randbytes(4200)

    def save(name: str, codec: str, value: Any, **named: Any) -> None:
        saved = Checkpointer(store, name, codec=codec).save(value, **named)
        states[name][saved.version] = value

    save("main", "zstd", {"step": 1, "nan": 0.5}, metrics={"loss": float("nan")}, tags=["moving"])
    save("main", "none", [2, shared], metrics={"loss": 2.5, "best": 7}, meta={"note": "ä"})
    save("main", "zstd", [3, text(3, 7_600)], metrics={"loss": float("-inf")}, tags=["kept"])
    save("main", "gzip", [4, text(4, 7_600)], tags=["moving"])
    save("main", "lzma", [5, text(5, 7_600), shared])
    save("main", "zstd", {"deleted": True})
    save("runs/b", "zstd", {"of": "b"}, metrics={"loss": 0.25}, tags=["kept"])
    save("runs/b", "zstd", [2, text(6, 7_600)])
    saves = Checkpointer(store)
    saves.tag(2, "pointed")
    saves.delete(6)
    del states["main"][6]
    save("main", "zstd", {"step": 7})
    return build_truth(store, states)


def build_truth(store: HookedStore, states: dict[str, dict[int, Any]]) -> Truth:
    said = {name: {s.version: s for s in Checkpointer(store, name).snapshots()} for name in states}
    assert {name: set(found) for name, found in said.items()} == {
        n: set(v) for n, v in states.items()
    }
    return Truth(dict(store._objects), states, said)


def build_deltas() -> Truth:
    """Deltas of each form, of a stream and of a buffer, with their bases in older packs."""
    store = HookedStore()
    saves = {name: Checkpointer(store, name) for name in ("main", "array", "units")}
    states: dict[str, dict[int, Any]] = {name: {} for name in saves}

    def save(name: str, value: Any) -> None:
        states[name][saves[name].save(value).version] = value

    save("main", words(1))
    save("main", words(2, 70))
    save("main", longer(3, 2000))
    save("array", [array()])
    save("array", [array(5, 60_000), words(2, seed=5)])
    save("units", units())
    save("units", units({"number": -1}))
    return build_truth(store, states)


FORMS = {"frame", "blocks", "renumbered", "inline", "in a pack", "a base that no part holds"}


@pytest.fixture(scope="module")
def whole() -> Truth:
    return build()


@pytest.fixture(scope="module")
def deltas() -> Truth:
    return build_deltas()


@pytest.fixture(scope="module", params=[build, build_deltas], ids=["wholes", "deltas"])
def either(request: pytest.FixtureRequest) -> Truth:
    truth: Truth = request.param()
    return truth


def changed(truth: Truth, *changes: tuple[str, bytes | None]) -> HookedStore:
    store = HookedStore()
    store._objects = dict(truth.objects)
    for key, raw in changes:
        store.replace(key, raw)
    return store


def judge(truth: Truth, store: HookedStore, *, lost: bool = False) -> bool:
    """AssertionError if anything wrong is told; whether anything was noticed.

    With *lost*, whole files may be gone: nobody can tell that from a deletion.
    """
    missed = False
    for name, states in truth.states.items():
        saves = Checkpointer(store, name)
        newest = max(states)
        told, found = _told(saves.load, lost)
        if told is None:
            missed = True
        elif not same(found, states[newest]):
            assert any(same(found, state) for state in states.values()), f"a wrong state: {found!r}"
            assert told or lost, "stepped back without a warning"
            missed = True
        for version, state in states.items():
            told, found = _told(partial(saves.load, version=version), lost)
            assert told is None or same(found, state), f"a wrong version {version}: {found!r}"
            missed |= told is None
        missed |= _judge_listing(saves, truth.snapshots[name], lost)
    return missed


def _judge_listing(saves: Checkpointer, expected: dict[int, Snapshot], lost: bool) -> bool:
    told, found = _told(saves.snapshots, lost)
    if told is None:
        return True
    for snapshot in found:
        assert snapshot.version in expected, f"a version that never was: {snapshot}"
        right = expected[snapshot.version]
        # A MAC that is another one may make an own version foreign, and never the other way.
        assert right.own or not snapshot.own, f"a stranger's version is own: {snapshot}"
        right = evolve(right, own=snapshot.own)
        if lost or told:
            # What a record said that is gone nobody can say; what is damaged is left out.
            assert lost or set(snapshot.tags) <= set(right.tags), f"a wrong tag: {snapshot}"
            assert _plain(snapshot) == _plain(right)
        else:
            assert repr(snapshot) == repr(right)
    gone = expected.keys() - {s.version for s in found}
    assert lost or len(told) >= len(gone), f"left out in silence: {gone}"
    return bool(gone)


def _plain(snapshot: Snapshot) -> str:
    return repr(evolve(snapshot, tags=()))


def _told(call: Any, lost: bool) -> tuple[list[Any] | None, Any]:
    """The warnings and the result of *call*; no warnings at all, but None, if it raised."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except (IntegrityError, FormatError):
            return None, None
        except NotFoundError:
            assert lost
            return None, None
    assert all(issubclass(w.category, DamagedSnapshotWarning) for w in caught)
    return caught, result


def verified(store: HookedStore) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedSnapshotWarning)
        found = Checkpointer(store).verify()
    assert all(isinstance(error, (IntegrityError, FormatError)) for error in found), found
    return not found


def flips(raw: bytes, bits: list[int] | None, stride: int = 1) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(raw), stride):
        for bit in bits or [1 << at % 8]:
            yield at, raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]


def narrowed(truth: Truth, changed: str) -> Truth:
    """Few versions beside those that need *changed*, so that many changes of it are soon judged."""
    if not changed.startswith(("packs/", "snapshots/")):
        return truth
    objects = dict(truth.objects)
    states: dict[str, dict[int, Any]] = {}
    place = _format.parse_snapshot_key(changed)
    for name, versions in truth.states.items():
        for version, state in versions.items():
            key = _format.snapshot_key(name, version)
            named = map(_format.pack_key, _format.decode_manifest(objects[key], key).packs)
            if changed == key or changed in named or (place and place[0] == name and version == 1):
                states.setdefault(name, {})[version] = state
            else:
                del objects[key]
    objects = {key: raw for key, raw in objects.items() if not key.startswith("tags/")}
    store = HookedStore()
    store._objects = objects
    return build_truth(store, states)


def sweep(
    truth: Truth, keys: list[str], bits: list[int] | None = None, stride: int = 1
) -> tuple[int, int]:
    """Flip every byte under *keys*; how many flips there were, and how many were noticed."""
    count = noticed = 0
    everything = truth
    for key in keys:
        truth = narrowed(everything, key)
        for at, raw in flips(truth.objects[key], bits, stride):
            store = changed(truth, (key, raw))
            try:
                missed = judge(truth, store)
                if missed:
                    assert not verified(store), "verify saw nothing"
            except AssertionError as error:
                raise AssertionError(f"byte {at} of {key}: {error}") from error
            except Exception as error:
                raise AssertionError(f"byte {at} of {key}: {error!r}") from error
            count += 1
            noticed += missed
    return count, noticed


KINDS = ["format.json", "snapshots/main/", "snapshots/runs/", "tags/", "packs/"]


@pytest.mark.parametrize("kind", KINDS)
def test_any_byte_may_flip(whole: Truth, kind: str) -> None:
    keys = [key for key in whole.objects if key.startswith(kind)]
    count, noticed = sweep(whole, keys, stride=5)
    print(f"{kind}: {count} flips, {noticed} noticed")
    assert count == sum(-(-len(whole.objects[key]) // 5) for key in keys)
    # Nobody needs the magic of a pack and what is unread of a codec's frame; what
    # format.json says the manifests repeat; a MAC of a stranger's is no damage.
    if kind != "format.json":
        assert noticed >= count * 0.97


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", KINDS)
def test_any_bit_may_flip(whole: Truth, kind: str) -> None:
    keys = [key for key in whole.objects if key.startswith(kind)]
    count, noticed = sweep(whole, keys, ALL_BITS)
    print(f"{kind}: {count} flips, {noticed} noticed")


def test_there_is_a_delta_of_each_form(deltas: Truth) -> None:
    assert forms(changed(deltas)) == FORMS


# All of a pack that is a base gives the same answer: the default run tries some of it.
DELTAS = [("snapshots/main/", 1), ("snapshots/array/", 2), ("snapshots/units/", 3), ("packs/", 17)]


@pytest.mark.parametrize(("kind", "stride"), DELTAS)
def test_any_byte_of_a_delta_or_its_base_may_flip(deltas: Truth, kind: str, stride: int) -> None:
    keys = [key for key in deltas.objects if key.startswith(kind)]
    count, noticed = sweep(deltas, keys, stride=stride)
    print(f"{kind}: {count} flips, {noticed} noticed")
    assert noticed >= count * 0.96  # A fortieth of a small manifest is its MAC.


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", [kind for kind, _ in DELTAS])
def test_any_bit_of_a_delta_or_its_base_may_flip(deltas: Truth, kind: str) -> None:
    keys = [key for key in deltas.objects if key.startswith(kind)]
    count, noticed = sweep(deltas, keys, ALL_BITS)
    print(f"{kind}: {count} flips, {noticed} noticed")


@pytest.mark.parametrize("kind", ["snapshots/", "packs/"])
def test_a_delta_or_its_base_may_be_truncated(deltas: Truth, kind: str) -> None:
    cut(deltas, kind, 61 if kind == "packs/" else 7)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_delta_or_its_base_may_be_truncated_at_every_length(deltas: Truth) -> None:
    cut(deltas, "", 1)


def rotten(raw: bytes, start: int, stop: int) -> dict[str, bytes | None]:
    """What may become of a pack in which a base lies at [start, stop)."""
    middle = (start + stop) // 2
    flipped = raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]
    return {"damaged": flipped, "truncated": raw[:middle], "empty": b"", "missing": None}


@pytest.mark.parametrize("how", ["damaged", "truncated", "empty", "missing"])
def test_a_version_without_its_base_says_which_pack_it_needs(deltas: Truth, how: str) -> None:
    bases = 0
    for manifest in manifests(changed(deltas)).values():
        needed = {row.base for row in manifest.blobs} - {None}
        for row in (row for row in manifest.blobs if row.digest in needed):
            key = _format.pack_key(row.pack or "")
            store = changed(
                deltas,
                (key, rotten(deltas.objects[key], row.offset, row.offset + row.stored)[how]),
            )
            assert manifest.name and manifest.version and row.pack
            saves = Checkpointer(store, manifest.name)
            with pytest.raises(IntegrityError, match=key) as caught:
                saves.load(version=manifest.version)
            said = caught.value
            assert (said.key, said.name, said.version) == (key, manifest.name, manifest.version)
            assert key in {getattr(error, "key", None) for error in saves.verify()}
            with pytest.raises(IntegrityError, match=key):
                saves.export(manifest.version, io.BytesIO())
            bases += 1
    assert bases == 4


def cut(whole: Truth, kind: str, stride: int) -> None:
    for key in (key for key in whole.objects if key.startswith(kind)):
        raw = whole.objects[key]
        truth = narrowed(whole, key)
        for length in sorted({*range(0, len(raw), stride), max(0, len(raw) - 1)} - {len(raw)}):
            store = changed(truth, (key, raw[:length]))
            missed = judge(truth, store)
            assert not verified(store), f"{key} cut to {length}: verify saw nothing"
            assert missed or key == "format.json", f"{key} cut to {length}"


@pytest.mark.parametrize("kind", KINDS)
def test_any_file_may_be_truncated(whole: Truth, kind: str) -> None:
    cut(whole, kind, 61 if kind == "packs/" else 5)


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", KINDS)
def test_any_file_may_be_truncated_at_every_length(whole: Truth, kind: str) -> None:
    cut(whole, kind, 1)


def test_any_file_may_be_empty_or_longer(either: Truth) -> None:
    for key, raw in either.objects.items():
        for other in (b"", raw + b"\0", raw + raw, b"\n" + raw, bytes(len(raw))):
            if other == raw:
                continue
            store = changed(either, (key, other))
            if judge(either, store):
                assert not verified(store), key


def test_any_file_may_be_missing(either: Truth) -> None:
    for key in either.objects:
        store = changed(either, (key, None))
        judge(either, store, lost=True)
        if key.startswith(("packs/", "format.json")):
            assert not verified(store), key


def test_any_two_files_of_one_kind_may_be_swapped(either: Truth) -> None:
    for kind in ("snapshots/", "packs/", "tags/", ""):
        keys = [key for key in either.objects if key.startswith(kind)]
        for one in keys:
            for other in keys:
                first, second = either.objects[one], either.objects[other]
                if one < other and first != second:
                    store = changed(either, (one, second), (other, first))
                    if judge(either, store):
                        assert not verified(store), (one, other)


def test_any_file_may_be_replaced_by_another(either: Truth) -> None:
    for one in either.objects:
        for other, raw in either.objects.items():
            if raw != either.objects[one]:
                store = changed(either, (one, raw))
                if judge(either, store):
                    assert not verified(store), (one, other)


def test_a_file_of_another_repository_is_noticed(whole: Truth) -> None:
    """The same program, run twice: equal names, numbers and sizes, other contents."""
    other = build()
    for key in whole.objects:
        if key in other.objects and other.objects[key] != whole.objects[key]:
            store = changed(whole, (key, other.objects[key]))
            judge(whole, store)
            assert not verified(store), key


def test_a_tag_that_a_damaged_version_may_hold_is_told_of_no_other(whole: Truth) -> None:
    """Version 4 took `moving` from version 1; its manifest is the only one that says so."""
    store = changed(whole, ("snapshots/main/@/0000000004.json", b""))
    saves = Checkpointer(store)
    with pytest.warns(DamagedSnapshotWarning, match="version 4"):
        said = {s.version: s.tags for s in saves.snapshots()}
    assert said[1] == ()
    with pytest.raises(IntegrityError, match=r"0000000004\.json"):
        saves.load(tag="moving")
    # A record that is younger than the damaged version is sure of itself.
    saves.tag(1, "moving")
    assert same(saves.load(tag="moving"), whole.states["main"][1])


def test_a_retention_deletes_nothing_while_a_manifest_cannot_be_read(whole: Truth) -> None:
    """It may be the one that says which version is tagged, or the best."""
    store = changed(whole, ("snapshots/main/@/0000000004.json", b""))
    before = store.keys("snapshots/main/")
    saves = Checkpointer(store, keep=checkpoint.keep_tagged("moving"))
    with pytest.warns(RetentionWarning, match=r"version 4 .*delete\(4\) removes it"):
        saved = saves.save({"step": 8})
    assert store.keys("snapshots/main/") == [*before, _format.snapshot_key("main", saved.version)]


# Single files


def single_files() -> dict[str, tuple[bytes, Any]]:
    states = {
        "small": ("zstd", {"step": 1, "nan": 0.5}),
        "compressed": ("zstd", text(1, 3000)),
        "raw": ("none", random.Random(1).randbytes(900)),
    }
    return {name: (checkpoint.dumps(v, codec=c), v) for name, (c, v) in states.items()}


def exported_deltas() -> dict[str, tuple[bytes, Any]]:
    """Versions that are deltas, each in a file of its own with its base."""
    truth = build_deltas()
    store = changed(truth)
    files = {}
    for manifest in manifests(store).values():
        name, version = manifest.name or "", manifest.version or 0
        if any(row.base for row in manifest.blobs):
            file = io.BytesIO()
            Checkpointer(store, name).export(version, file)
            files[f"{name} {version}"] = file.getvalue(), truth.states[name][version]
    assert sorted(files) == ["array 2", "main 2", "main 3", "units 2"]
    return files


def test_any_byte_of_a_single_file_with_a_delta_may_flip() -> None:
    for name, (raw, value) in exported_deltas().items():
        assert same(checkpoint.loads(raw), value)
        for at, broken in flips(raw, None):
            loaded, found = read(broken)
            assert not loaded or same(found, value), f"{name}, byte {at}: {found!r}"


def test_a_single_file_with_a_delta_may_be_truncated_anywhere() -> None:
    for name, (raw, _) in exported_deltas().items():
        for length in range(1, len(raw)):
            assert read(raw[:length]) == (False, None), (name, length)


def read(raw: bytes) -> tuple[bool, Any]:
    try:
        return True, checkpoint.loads(raw)
    except (IntegrityError, FormatError):
        return False, None


@pytest.mark.parametrize("name", ["small", "compressed", "raw"])
def test_any_bit_of_a_single_file_may_flip(name: str) -> None:
    raw, value = single_files()[name]
    for at, broken in flips(raw, ALL_BITS):
        loaded, found = read(broken)
        assert not loaded or same(found, value), f"byte {at}: {found!r}"


@pytest.mark.parametrize("name", ["small", "compressed", "raw"])
def test_a_single_file_may_be_truncated_anywhere(name: str) -> None:
    raw, _ = single_files()[name]
    for length in range(1, len(raw)):
        assert read(raw[:length]) == (False, None), length
    with pytest.raises(EOFError):  # As with pickle: there is nothing left to read.
        checkpoint.loads(b"")


def test_bytes_of_a_single_file_with_arrays_may_flip() -> None:
    value = {"a": noise(1), "b": noise(2)[:10]}
    raw = checkpoint.dumps(value)
    chance = random.Random(0)
    ends = [*range(300), *range(len(raw) - 2500, len(raw))]
    for at in [*ends, *(chance.randrange(len(raw)) for _ in range(1500))]:
        loaded, found = read(raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :])
        assert not loaded or same(found, value), at


def test_records_of_a_single_file_may_be_lost_doubled_or_swapped() -> None:
    value = [random.Random(0).randbytes(2 << 20), noise(1), noise(2)]
    raw = checkpoint.dumps(value)
    records = []
    at = 8
    while at < len(raw):
        end = at + 9 + int.from_bytes(raw[at + 1 : at + 9], "little")
        records.append(raw[at:end])
        at = end
    assert len(records) > 4
    for index, record in enumerate(records):
        for other in range(len(records)):
            swapped = list(records)
            swapped[index], swapped[other] = swapped[other], record
            for kept in (
                records[:index] + records[index + 1 :],
                [*records[:index], *records[other:]],
            ):
                loaded, found = read(raw[:8] + b"".join(kept))
                assert not loaded or same(found, value)
            loaded, found = read(raw[:8] + b"".join(swapped))
            assert not loaded or same(found, value)


def test_a_damaged_file_that_is_imported_changes_nothing() -> None:
    raw, value = single_files()["small"]
    store = HookedStore()
    saves = Checkpointer(store)
    saves.save(0)
    before = dict(store._objects)
    for at, broken in flips(raw, None):
        try:
            saves.import_(io.BytesIO(broken))
        except (IntegrityError, FormatError):
            assert store._objects == before, at
        else:
            assert same(saves.load(), value), at
            store._objects = dict(before)
            saves = Checkpointer(store)


# Mutants: a reader that leaves out a check, which the sweeps above must catch.


class Agreeable(str):
    """A digest that matches every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__

    def encode(self, *args: Any) -> Any:
        return _AgreeableBytes()


class _AgreeableBytes(bytes):
    def __ne__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = bytes.__hash__


def _agree(data: Any) -> str:
    return Agreeable()


@pytest.mark.parametrize(
    ("module", "kind"), [(_format, "snapshots/main/"), (_format, "tags/"), (_reading, "packs/")]
)
def test_the_sweep_catches_a_reader_without_digests(
    whole: Truth, monkeypatch: pytest.MonkeyPatch, module: Any, kind: str
) -> None:
    monkeypatch.setattr(module, "digest", _agree)
    with pytest.raises(AssertionError, match=r"byte \d+ of"):
        sweep(whole, [key for key in whole.objects if key.startswith(kind)])


def test_the_sweep_catches_a_reader_that_does_not_check_what_a_delta_gives(
    deltas: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _reading._check
    monkeypatch.setattr(_reading, "_check", lambda blob, plain: blob.base or real(blob, plain))
    rows = [row for m in manifests(changed(deltas)).values() for row in m.blobs]
    (key,) = {_format.pack_key(row.pack) for row in rows if row.base and row.pack}
    with pytest.raises(AssertionError, match=r"byte \d+ of .* a wrong"):
        sweep(deltas, [key])


def test_a_base_that_nobody_checks_is_not_named(
    deltas: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest of the result still tells, but of the wrong pack."""
    real = _reading._check
    monkeypatch.setattr(_reading, "_check", lambda blob, plain: blob.base and real(blob, plain))
    with pytest.raises(AssertionError):
        test_a_version_without_its_base_says_which_pack_it_needs(deltas, "damaged")


def test_the_sweep_catches_a_reader_that_does_not_look_where_a_manifest_belongs(
    whole: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    from checkpoint import _repository

    real = _repository._format.decode_manifest

    def moved(raw: Any, what: str, *keys: Any) -> Any:
        import attrs

        name, version = _format.parse_snapshot_key(what) or ("", 0)
        return attrs.evolve(real(raw, what, *keys), name=name, version=version)

    monkeypatch.setattr(_repository._format, "decode_manifest", moved)
    with pytest.raises(AssertionError, match="a wrong"):
        test_any_two_files_of_one_kind_may_be_swapped(whole)


def test_the_sweep_of_single_files_catches_a_reader_without_digests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_reading, "digest", _agree)
    with pytest.raises((AssertionError, SerializationError)):
        test_any_bit_of_a_single_file_may_flip("raw")
