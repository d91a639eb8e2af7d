"""A signature says whose a snapshot is; the user's own key is made once and never lost or shown."""

from __future__ import annotations

import copy
import io
import os
import pickle
import stat
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from blake3 import blake3

from checkpoint import (
    Checkpointer,
    DamagedSnapshotWarning,
    FormatError,
    IntegrityError,
    MemoryStore,
    StoreError,
    _format,
    _keys,
    _single_file,
)
from checkpoint._codec import parse_codec
from checkpoint._keys import USERS, Keys, keys, own_file
from checkpoint._model import Manifest, Part
from checkpoint._repository import Repository
from checkpoint._stream import StreamCutter
from checkpoint._workers import Workers
from checkpoint._writing import Encoder
from checkpoint.store._local import create_private

OLD, NEW, OTHER = (f"the {word} key of these tests" for word in ("old", "new", "other"))
MANIFEST = Manifest(
    repository="r", name="run", version=7, parent=6, writer="w",
    created="2026-01-02T03:04:05+00:00", parts=(Part("stream", 0, 0),),
)  # fmt: skip
posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


def provenance(raw: bytes, held: Keys | None) -> str:
    return _format.decode_manifest(raw, "m", held).provenance


def resealed(body: bytes, mac: str) -> bytes:
    """*body* with a digest that holds, and *mac*: what anyone can write."""
    return body + f"blake3:{blake3(body).hexdigest()}\nmac:{mac}\n".encode()


def taken_apart(raw: bytes) -> tuple[bytes, str]:
    body, _, rest = raw.rpartition(b"blake3:")
    return body, rest.decode().partition("mac:")[2].rstrip("\n")


# --- signatures -------------------------------------------------------------


def test_a_manifest_is_own_to_who_holds_its_key_and_foreign_to_all_others() -> None:
    raw = _format.encode_manifest(MANIFEST, keys(OLD))
    assert provenance(raw, keys(OLD)) == "own"
    for held in (keys(OTHER), keys(None), None):
        assert provenance(raw, held) == "foreign"


def test_what_is_foreign_is_not_signed_and_nothing_makes_it_own() -> None:
    raw = _format.encode_manifest(evolve(MANIFEST, provenance="foreign"), keys(OLD))
    assert raw.endswith(b"\nmac:none\n")
    assert provenance(raw, keys(OLD)) == "foreign"
    body, _ = taken_apart(raw)
    signed = resealed(body, keys(OLD).sign(body))
    assert provenance(signed, keys(OLD)) == "foreign"


def test_a_signature_that_is_stripped_or_anothers_makes_it_foreign() -> None:
    body, mac = taken_apart(_format.encode_manifest(MANIFEST, keys(OLD)))
    theirs = keys(OTHER).sign(body)
    mixed = mac[:17] + theirs[17:], theirs[:17] + mac[17:]
    for other in ("none", theirs, *mixed, mac[:17] + "0" * 64):
        assert provenance(resealed(body, other), keys(OLD)) == "foreign"
    assert provenance(resealed(body, mac), keys([OTHER, OLD])) == "own"


def test_any_digit_of_a_signature_counts() -> None:
    body, mac = taken_apart(_format.encode_manifest(MANIFEST, keys(OLD)))
    for at, digit in enumerate(mac):
        if digit != ":":
            changed = mac[:at] + "0123456789abcdef"[int(digit, 16) ^ 1] + mac[at + 1 :]
            assert provenance(resealed(body, changed), keys(OLD)) == "foreign"


def test_any_word_of_a_signed_manifest_counts() -> None:
    body, mac = taken_apart(_format.encode_manifest(MANIFEST, keys(OLD)))
    for old, new in (
        (b'"version": 7', b'"version": 8'), (b'"parent": 6', b'"parent": 5'),
        (b'"name": "run"', b'"name": "ran"'), (b'"repository": "r"', b'"repository": "s"'),
        (b'"writer": "w"', b'"writer": "v"'), (b"{\n", b"{ \n"),
    ):  # fmt: skip
        changed = body.replace(old, new, 1)
        assert changed != body
        assert provenance(resealed(changed, mac), keys(OLD)) == "foreign"


def test_the_digest_is_looked_at_before_the_signature() -> None:
    raw = _format.encode_manifest(MANIFEST, keys(OLD))
    with pytest.raises(IntegrityError, match="digest"):
        _format.decode_manifest(raw.replace(b'"version": 7', b'"version": 8'), "m", keys(OLD))


def test_an_own_manifest_says_so_itself() -> None:
    body, _ = taken_apart(_format.encode_manifest(MANIFEST))
    for word in ("mine", "OWN", ""):
        changed = body.replace(b'"provenance": "own"', f'"provenance": "{word}"'.encode())
        with pytest.raises(FormatError, match="provenance"):
            provenance(resealed(changed, keys(OLD).sign(changed)), keys(OLD))


def test_what_is_said_of_a_manifest_is_not_said_of_a_single_file() -> None:
    body, mac = taken_apart(_format.encode_manifest(MANIFEST, keys(OLD)))
    assert keys(OLD).is_own(body, mac)
    assert not keys(OLD).is_own(body, mac, "file")
    assert not keys(OLD).is_own(body, keys(OLD).sign(body, "file"))
    other = _format.encode_manifest(MANIFEST, keys(OLD), "file")
    assert provenance(other, keys(OLD)) == "foreign"
    assert _format.decode_manifest(other, "m", keys(OLD), "file").provenance == "own"


def test_no_documents_but_manifests_are_signed() -> None:
    assert _format.seal({"format": 1, "repository": "r"}, keys(OLD)).endswith(b"\nmac:none\n")


def test_the_first_key_signs_and_each_is_accepted() -> None:
    both = keys([NEW, OLD])
    old, new = (_format.encode_manifest(MANIFEST, keys(key)) for key in (OLD, NEW))
    assert _format.encode_manifest(MANIFEST, both) == new
    assert (provenance(old, both), provenance(new, both)) == ("own", "own")
    assert provenance(new, keys(OLD)) == "foreign"


def test_what_is_no_signature_is_nobodys() -> None:
    held = keys(OLD)
    name = held.sign(b"").partition(":")[0]
    for mac in ("", "none", ":", name, f"{name}:", f"{name}:ü", f"{name}:{'0' * 63}", "ü:ü"):
        assert not held.is_own(b"", mac)


# --- what a key is ----------------------------------------------------------


def test_a_key_is_the_same_however_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = keys(OLD).sign(b"x")
    assert keys(OLD.encode()).sign(b"x") == wanted
    assert keys(f" {OLD}\r\n").sign(b"x") == wanted
    monkeypatch.setenv("CHECKPOINT_KEY", f"{OLD},{NEW}")
    monkeypatch.setenv("CHECKPOINT_KEY_FILE", "/nowhere")
    assert keys().sign(b"x") == wanted
    assert keys().is_own(b"x", keys(NEW).sign(b"x"))
    monkeypatch.delenv("CHECKPOINT_KEY")
    file = tmp_path / "keys"
    monkeypatch.setenv("CHECKPOINT_KEY_FILE", str(file))
    for text in (OLD, f"{OLD}\n", f"\ufeff{OLD}\r\n\r\n{NEW}\r\n"):
        file.write_bytes(text.encode())
        assert keys(USERS).sign(b"x") == wanted
    assert keys().is_own(b"x", keys(NEW).sign(b"x"))
    assert (keys().lasting, keys(OLD).lasting, keys(None).lasting) == ("lasting", "lasting", "none")


def test_the_words_that_derive_a_key_are_those_of_the_page() -> None:
    name, _, code = keys(OLD).sign(b"x", "file").partition(":")
    context = "durable-checkpoint format 1 MAC of a manifest in a single file"
    derived = blake3(OLD.encode(), derive_key_context=context).digest()
    assert code == blake3(b"x", key=derived).hexdigest()
    context = "durable-checkpoint format 1 key id"
    assert name == blake3(OLD.encode(), derive_key_context=context).hexdigest()[:16]


@pytest.mark.parametrize("given", ["", "short", "x" * 15, b"x" * 15, [], ["", " "], [OLD, "short"]])
def test_a_key_that_could_be_guessed_is_refused_and_the_way_to_make_one_told(given: object) -> None:
    with pytest.raises(ValueError, match="python -c"):
        keys(given)  # type: ignore[arg-type]


def test_what_is_no_text_is_no_key() -> None:
    for given in ([5], [bytearray(b"x" * 32)], [None]):
        with pytest.raises(TypeError, match="a str or bytes"):
            keys(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "short", ","])
def test_a_variable_without_a_key_is_no_silent_way_to_another_one(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHECKPOINT_KEY", text)
    with pytest.raises(ValueError, match="CHECKPOINT_KEY holds"):
        keys()


@pytest.mark.parametrize(
    "content", [None, b"", b"\n\n", b"short\n", b"\xff" * 32, b"x\0" * 20, b"x" * 70_000]
)
def test_a_file_without_a_key_is_no_silent_way_to_another_one(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.delenv("CHECKPOINT_KEY")
    monkeypatch.setenv("CHECKPOINT_KEY_FILE", str(file))
    with pytest.raises(StoreError, match="CHECKPOINT_KEY_FILE") as caught:
        keys()
    assert str(file) in str(caught.value)


def test_no_key_signs_nothing_and_owns_nothing() -> None:
    nothing = keys(None)
    assert (nothing.sign(b"x"), nothing.signs, nothing.lasting) == ("none", False, "none")
    assert not nothing.is_own(b"x", keys(OLD).sign(b"x"))
    assert not nothing.is_own(b"x", "none")


def test_a_key_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = keys([OLD, NEW])
    shown = repr(held) + str(held) + f"{held:}" + repr(held._held())
    derived = [secret for key in held._held() for secret in key._secrets.values()]
    assert all(text not in shown for text in (OLD, NEW, *(secret.hex() for secret in derived)))
    assert keys(OLD).sign(b"").partition(":")[0] in repr(held)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            copied(held)
    secret = "a secret\udcff"
    file = tmp_path / "keys"
    file.write_bytes(secret.encode("utf-8", "surrogateescape"))
    monkeypatch.setenv("CHECKPOINT_KEY_FILE", str(file))
    monkeypatch.delenv("CHECKPOINT_KEY")
    for given in ("a secret", ["a secret"], [OLD, "a secret"], USERS):
        with pytest.raises((ValueError, StoreError)) as caught:
            keys(given)
        told = "".join(traceback.format_exception(caught.value))
        assert "a secret" not in told.replace('"a secret"', "")
        assert caught.value.__cause__ is None


# --- the user's own ---------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user without a key; the file is where it would be."""
    monkeypatch.delenv("CHECKPOINT_KEY")
    for place in ("HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(place, str(tmp_path / "home"))
    found = own_file()
    assert found is not None
    yield Path(found)
    assert not list(tmp_path.rglob(".tmp-*"))


def forgotten() -> None:
    """As in a new process."""
    _keys._known.clear()
    _keys._fresh.clear()


def test_the_users_key_is_made_by_the_first_save_and_not_by_a_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    with monkeypatch.context() as another_user:
        another_user.setenv("CHECKPOINT_KEY", OLD)
        saved(store, 1)
    saves = Checkpointer(store)
    assert saves.load() == ["main", 1]
    assert (saves.verify(), [s.own for s in saves.snapshots()]) == ([], [False])
    assert not home.parent.parent.exists()
    assert saves.save(2).own
    assert home.exists()
    assert [s.own for s in saves.snapshots()] == [False, True]


def test_a_key_is_made_when_something_is_signed(home: Path) -> None:
    held = keys()
    assert held.lasting == "new"
    assert not held.is_own(b"x", keys(OLD).sign(b"x"))
    assert not home.parent.exists()
    mac = held.sign(b"x")
    assert len(home.read_text()) == 65
    assert (held.lasting, keys().lasting) == ("new", "new")
    forgotten()
    assert keys().is_own(b"x", mac)
    assert keys().sign(b"x") == mac
    assert keys().lasting == "lasting"


def test_one_that_another_process_made_meanwhile_is_found(home: Path) -> None:
    held = keys()
    assert not held.is_own(b"x", keys(OLD).sign(b"x"))
    home.parent.mkdir(parents=True)
    home.write_text(OLD)
    home.chmod(0o600)
    assert held.is_own(b"x", keys(OLD).sign(b"x"))
    assert held.sign(b"x") == keys(OLD).sign(b"x")
    assert held.lasting == "lasting"


def test_who_loses_the_race_takes_the_winners_key(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = create_private

    def late(path: str, content: bytes) -> None:
        real(path, f"{OLD}\n".encode())
        real(path, content)

    monkeypatch.setattr(_keys, "create_private", late)
    held = keys()
    assert held.sign(b"x") == keys(OLD).sign(b"x")
    assert held.lasting == "lasting"


RACE = """
import sys, time
from checkpoint._keys import keys
held = keys()
print("ready", flush=True)
sys.stdin.readline()
print(held.sign(b"x"))
"""


def test_eight_processes_that_save_at_once_make_one_key(home: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(8)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    signed = {racer.communicate(timeout=60)[0] for racer in racers}
    assert signed == {keys().sign(b"x") + "\n"}
    assert os.listdir(home.parent) == ["key"]


@posix
@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_the_key_is_for_its_owner_alone_whatever_the_umask(home: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert keys().signs
    finally:
        os.umask(before)
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    for folder in (home.parent, home.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix
def test_a_key_that_others_may_read_is_used_and_told_of_once(home: Path) -> None:
    home.parent.mkdir(parents=True)
    home.write_text(OLD)
    home.chmod(0o640)
    with pytest.warns(UserWarning, match="chmod 600") as told:
        assert keys().sign(b"x") == keys(OLD).sign(b"x")
    keys().sign(b"x")
    assert len(told) == 1


@pytest.mark.parametrize("content", [b"", b"\n", b"cut", b"\0" * 64, b"\xff" * 64])
def test_a_damaged_key_file_is_told_of_and_never_replaced(
    home: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    with monkeypatch.context() as another_user:
        another_user.setenv("CHECKPOINT_KEY", OLD)
        saved(store, 1)
    home.parent.mkdir(parents=True)
    home.write_bytes(content)
    held = keys()
    for use in (
        lambda: held.sign(b"x"), lambda: held.is_own(b"x", "none"), lambda: held.lasting,
        lambda: Checkpointer(store).save(1),
    ):  # fmt: skip
        with pytest.raises(StoreError, match="restore it, or remove it") as caught:
            use()
        assert str(home) in str(caught.value)
    assert home.read_bytes() == content
    assert store.keys("snapshots/") == [key_of(1)]
    assert not store.keys("gone/"), "no number is lost"


def test_a_folder_in_the_place_of_the_key_is_damage(home: Path) -> None:
    home.mkdir(parents=True)
    with pytest.raises((StoreError, PermissionError)):
        keys().sign(b"x")


NOWHERE = """
import sys
from checkpoint import Checkpointer, MemoryStore
from checkpoint._keys import keys
held = keys()
assert (held.lasting, held.sign(b"x"), held.signs) == ("none", "none", False), held.lasting
saves = Checkpointer(MemoryStore())
assert not saves.save(1).own
assert [s.own for s in saves.snapshots()] == [False]
print("unsigned")
"""


def where_no_key_can_be_stored(tmp_path: Path) -> list[dict[str, str]]:
    (tmp_path / "file").touch()
    homes = ["/dev/null/x", str(tmp_path / "file" / "home")]
    if hasattr(os, "geteuid") and os.geteuid():
        (tmp_path / "readonly").mkdir(mode=0o555)
        homes.append(str(tmp_path / "readonly"))
    return [{"HOME": home, "APPDATA": home} for home in homes]


@posix
def test_where_no_key_can_be_stored_nothing_is_signed(tmp_path: Path) -> None:
    hidden = ("CHECKPOINT_KEY", "XDG_CONFIG_HOME", "APPDATA")
    rest = {name: text for name, text in os.environ.items() if name not in hidden}
    for places in where_no_key_can_be_stored(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", NOWHERE], env=rest | places, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout == "unsigned\n", done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="XDG is for Linux")
def test_the_users_key_is_where_configuration_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/me")
    assert own_file() == "/etc/me/checkpoint/key"
    for unset in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unset)
        assert own_file() == "/home/me/.config/checkpoint/key"
    monkeypatch.setenv("HOME", "nowhere")
    assert own_file() is None
    monkeypatch.delenv("CHECKPOINT_KEY")
    assert (keys().lasting, keys().sign(b"x")) == ("none", "none")


# --- repositories -----------------------------------------------------------


def key_of(version: int, name: str = "main") -> str:
    return _format.snapshot_key(name, version)


def place(store: MemoryStore, key: str, raw: bytes) -> None:
    store.delete([key])
    store.put(key, [raw])


def saved(store: MemoryStore, versions: int, name: str = "main") -> None:
    saves = Checkpointer(store, name)
    for version in range(1, versions + 1):
        saves.save([name, version])


def test_what_a_program_saves_is_its_own_and_nobody_elses() -> None:
    store = MemoryStore()
    saved(store, 2)
    assert [s.own for s in Checkpointer(store).snapshots()] == [True, True]
    for held, own in ((keys(OLD), False), (keys(None), False), (None, True), (keys(), True)):
        repository = Repository(store, held)
        assert [s.own for s in repository.snapshots("main")] == [own, own]
        assert repository.manifest("main", 2).provenance == ("own" if own else "foreign")


def test_without_a_key_not_even_the_saver_calls_it_own() -> None:
    store = MemoryStore()
    saved(store, 1)
    for held, own in ((keys(None), False), (keys(OLD), False), (keys(), True)):
        repository = Repository(store, held)
        after = repository.restamp("main", 1, repository.line("main").highest() + 1)
        assert after.own is own
        assert repository.snapshots("main")[-1].own is own
    found = [s.own for s in Repository(store).snapshots("main")]
    assert found == [True, False, False, True], "what was foreign to its saver is so ever after"
    body, _ = taken_apart(bytes(store.get(key_of(3))))
    assert b'"provenance": "foreign"' in body


@pytest.mark.parametrize("source", [key_of(1), key_of(3), key_of(2, "other")])
def test_no_manifest_is_taken_for_that_of_another_slot(source: str) -> None:
    store = MemoryStore()
    saved(store, 3)
    saved(store, 2, "other")
    place(store, key_of(2), bytes(store.get(source)))
    with pytest.raises(IntegrityError, match="somebody moved it"):
        Checkpointer(store).load(version=2)


def test_an_older_own_save_is_not_taken_for_the_newest() -> None:
    store = MemoryStore()
    saved(store, 3)
    for key in (key_of(3), key_of(4)):
        place(store, key, bytes(store.get(key_of(1))))
    with pytest.warns(DamagedSnapshotWarning, match="somebody moved it"):
        assert Checkpointer(store).load() == ["main", 2]


def test_an_older_save_with_the_number_of_a_newer_one_is_foreign() -> None:
    store = MemoryStore()
    saved(store, 2)
    body, mac = taken_apart(bytes(store.get(key_of(1))))
    relabelled = body.replace(b'"version": 1', b'"version": 2', 1)
    for signature in (mac, "none", keys(OTHER).sign(relabelled)):
        place(store, key_of(2), resealed(relabelled, signature))
        assert Repository(store).manifest("main", 2).provenance == "foreign"
        assert not Checkpointer(store).snapshots()[-1].own


def test_no_manifest_is_taken_for_one_of_another_repository() -> None:
    ours, theirs = MemoryStore(), MemoryStore()
    saved(ours, 2)
    saved(theirs, 2)
    place(ours, key_of(2), bytes(theirs.get(key_of(2))))
    with pytest.raises(IntegrityError, match="another repository"):
        Checkpointer(ours).load(version=2)


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_manifest_that_was_moved_does_not_say_which_repository_this_is(damage: str) -> None:
    ours, theirs = MemoryStore(), MemoryStore()
    saved(ours, 2)
    saved(theirs, 2)
    store = MemoryStore()
    store.put(key_of(1, "aaa"), [bytes(theirs.get(key_of(1)))])
    for key in ours.keys(""):
        if key != "format.json":
            store.put(key, [bytes(ours.get(key))])
    if damage == "damaged":
        store.put("format.json", [b"x"])
    place(store, key_of(1), bytes(theirs.get(key_of(2))))
    with pytest.warns(DamagedSnapshotWarning, match="repeat it"):
        found = Repository(store).identity()
    assert found == Repository(ours).identity()


def test_a_signature_that_was_stripped_is_no_damage() -> None:
    store = MemoryStore()
    saved(store, 1)
    body, _ = taken_apart(bytes(store.get(key_of(1))))
    place(store, key_of(1), resealed(body, "none"))
    assert not Checkpointer(store).snapshots()[0].own
    assert Checkpointer(store).verify() == []


def test_a_change_of_keys_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    monkeypatch.setenv("CHECKPOINT_KEY", OLD)
    saved(store, 1)
    monkeypatch.setenv("CHECKPOINT_KEY", f"{NEW},{OLD}")
    saved(store, 1)
    assert [s.own for s in Checkpointer(store).snapshots()] == [True, True]
    monkeypatch.setenv("CHECKPOINT_KEY", NEW)
    assert [s.own for s in Checkpointer(store).snapshots()] == [False, True]


# --- single files -----------------------------------------------------------


def written(held: Keys | None, provenance: str = "own") -> bytes:
    """A single-file snapshot of the stream of None, signed with *held*."""
    file = io.BytesIO()
    manifest = Manifest(writer="w", created=MANIFEST.created, provenance=provenance)
    with Workers() as workers:
        encoder = Encoder(parse_codec("none"))
        stream = StreamCutter(encoder, workers)
        stream.write(pickle.dumps(None, 5))
        _single_file.write_snapshot(file.write, manifest, [], stream, encoder, workers, held)
    return file.getvalue()


def read(raw: bytes, held: Keys | None) -> Manifest:
    file = io.BytesIO(raw)
    assert file.read(len(_single_file.MAGIC)) == _single_file.MAGIC
    return _single_file.read_snapshot(file.read, keys=held)[0]


def test_a_single_file_is_own_to_who_holds_its_key() -> None:
    raw = written(keys(OLD))
    assert read(raw, keys([NEW, OLD])).provenance == "own"
    for held in (keys(NEW), keys(None), None):
        assert read(raw, held).provenance == "foreign"
    for unsigned in (written(keys(None)), written(None), written(keys(OLD), provenance="foreign")):
        assert read(unsigned, keys(OLD)).provenance == "foreign"


def exported(store: MemoryStore, held: Keys, signer: Keys | None) -> bytes:
    file = io.BytesIO()
    repository = Repository(store, held)
    manifest = repository.manifest("main", 1)
    rows, source = repository.rows(manifest), repository.source(manifest)
    _single_file.copy_snapshot(file.write, manifest, rows, source, signer)
    return file.getvalue()


def test_a_copy_is_own_only_if_what_was_copied_is() -> None:
    store = MemoryStore()
    saved(store, 1)
    assert read(exported(store, keys(), keys()), keys()).provenance == "own"
    assert read(exported(store, keys(OLD), keys(OLD)), keys(OLD)).provenance == "foreign"
    assert read(exported(store, keys(), None), keys()).provenance == "foreign"


def manifest_record(raw: bytes) -> int:
    """Where the last record of a single file begins."""
    at = len(_single_file.MAGIC)
    while raw[at : at + 1] != b"M":
        at += 9 + int.from_bytes(raw[at + 1 : at + 9], "little")
    return at


def test_a_files_manifest_is_not_taken_for_a_repositorys_nor_the_other_way_round() -> None:
    store = MemoryStore()
    saved(store, 1)
    theirs = bytes(store.get(key_of(1)))
    raw = exported(store, keys(), keys())
    record = manifest_record(raw)
    ours = raw[record + 9 :]
    uses: list[tuple[bytes, _keys.Purpose, _keys.Purpose]]
    uses = [(ours, "file", "manifest"), (theirs, "manifest", "file")]
    for manifest, here, there in uses:
        assert _format.decode_manifest(manifest, "m", keys(), here).provenance == "own"
        assert _format.decode_manifest(manifest, "m", keys(), there).provenance == "foreign"
    place(store, key_of(1), ours)
    with pytest.raises(FormatError, match="outside its pack"):
        Repository(store).manifest("main", 1)
    with pytest.raises(FormatError, match="inline"):
        read(raw[:record] + b"M" + len(theirs).to_bytes(8, "little") + theirs, keys())
