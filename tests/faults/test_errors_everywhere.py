"""The disk fails at any one call of a whole save: the save fails, and nothing else.

Older versions load, nothing is damaged, nothing is left behind, and the next
save works.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from faults.hooked import same, state
from faults.sparse import array, forms, longer, units, words

from checkpoint import Checkpointer, LocalStore, RetentionWarning, StoreError, keep_last
from checkpoint.store import _files, _local

ERRORS = [errno.EIO, errno.ENOSPC]


class Faulty:
    """The *at*-th call of a function of a module fails with *code*; without *at* it only counts."""

    def __init__(self, patch: pytest.MonkeyPatch, module: Any, name: str, code: int = 0) -> None:
        self.calls = 0
        self.at = 0
        self._real = getattr(module, name)
        self._code = code
        patch.setattr(module, name, self)

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            raise OSError(self._code, os.strerror(self._code))
        return self._real(*args, **named)


# What fails: a module's function, by its name.
CALLS = {
    "write": (os, "write"),
    "fsync": (_local, "sync_file"),
    "link": (os, "link"),
    "unlink": (os, "unlink"),
    "folder fsync": (_local, "sync_folder"),
    "any fsync": (os, "fsync"),
    "mkdir": (os, "mkdir"),
    "open": (os, "open"),
    "listing": (os, "scandir"),
    "lock": (_files, "_flock"),
}

MAY_STAY = {"lock": "leases/", "listing": "snapshots/"}
SAVES: dict[str, tuple[list[Any], Any]] = {
    "a first save": ([], state(1, 1)),
    "a tiny save": ([state(1, 1)], {"step": 2}),
    "a save that reuses": ([state(1, 1), state(2, 1, 2)], state(3, 2, 3)),
    "a delta": ([words(1), longer(2, 2000)], words(3, 70)),
    "a delta in a pack": ([[array(), words(1)]], [array(5, 60_000), words(2, seed=1)]),
    "renumbered units": ([units()], units({"number": -1})),
}
DELTAS = [kind for kind, (_, new) in SAVES.items() if not isinstance(new, dict)]


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def sweep(
    folder: Path,
    call: str,
    code: int,
    older: list[Any],
    new: Any,
    fresh: bool,
    *,
    behind: bool = False,
) -> int:
    """Fail each occurrence of *call* in a save, perhaps one *behind* the program; how many."""
    at = 0
    while True:
        at += 1
        root = folder / f"{call.replace(' ', '-')}-{code}-{at}-{fresh}"
        saves = Checkpointer(root)
        for value in older:
            saves.save(value)
        if fresh:
            saves = Checkpointer(root)
        before = files(root) if root.exists() else []
        opened = descriptors()
        with pytest.MonkeyPatch.context() as patch:
            faulty = Faulty(patch, *CALLS[call], code)
            faulty.at = at
            try:
                saved = saves.save_in_background(new).result() if behind else saves.save(new)
                failed = False
            except StoreError as error:
                failed = isinstance(error.__cause__, OSError)
        if behind and failed:
            with pytest.raises(StoreError):
                saves.save("not tried")
        assert descriptors() == opened, "a descriptor leaked"
        if faulty.calls < at:
            assert not failed
            return at - 1
        where = f"{call} {at}"
        left = {path for path in set(files(root)) - set(before) if not path.startswith("gone/")}
        if failed:
            # A pack without its manifest is an orphan; nothing else may be left, but what
            # cannot be unlinked, the file of a lock that failed, and a version of which
            # nothing failed but the look whether it is the highest.
            litter = {p for p in left if not p.startswith(("packs/", MAY_STAY.get(call, "-")))}
            assert not litter - {"format.json"} or call == "unlink", f"{where}: {litter}"
            there = [s.version for s in Checkpointer(root)]
            numbers = list(range(1, len(older) + 1))
            assert there == numbers or (call == "listing" and there[:-1] == numbers), where
        else:
            assert same(Checkpointer(root).load(version=saved.version), new), where
        for version, value in enumerate(older, 1):
            assert same(Checkpointer(root).load(version=version), value), where
        assert Checkpointer(root).verify() == [], where
        again = saves.save(new)
        assert same(Checkpointer(root).load(), new), where
        assert same(Checkpointer(root).load(version=again.version), new), where
        assert saves.verify() == [], where
        saves.prune()
        assert not [path for path in files(root) if "/.tmp-" in f"/{path}"], where
        assert not [path for path in files(root) if path.startswith(("leases/", "trash/"))], where


@pytest.mark.parametrize("kind", SAVES)
@pytest.mark.parametrize("call", CALLS)
def test_a_save_survives_an_error_at_any_call(tmp_path: Path, call: str, kind: str) -> None:
    place = list(CALLS).index(call) + list(SAVES).index(kind)
    survive(tmp_path, call, kind, ERRORS[place % len(ERRORS)])  # Each call meets each of them.


@pytest.mark.long
@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("kind", SAVES)
@pytest.mark.parametrize("call", CALLS)
def test_a_save_survives_any_error_at_any_call(
    tmp_path: Path, call: str, kind: str, code: int
) -> None:
    survive(tmp_path, call, kind, code)


def survive(folder: Path, call: str, kind: str, code: int) -> None:
    older, new = SAVES[kind]
    counts = {
        sweep(folder, call, code, older, new, fresh)
        for fresh in ([False] if call != "folder fsync" else [False, True])
    }
    assert max(counts) > 0 or call in ("mkdir", "listing", "lock")


@pytest.mark.parametrize("kind", ["a delta", "a delta in a pack"])
@pytest.mark.parametrize("call", CALLS)
def test_a_save_in_the_background_survives_an_error_at_any_call(
    tmp_path: Path, call: str, kind: str
) -> None:
    older, new = SAVES[kind]
    count = sweep(tmp_path, call, errno.EIO, older, new, False, behind=True)
    assert count > 0 or call in ("mkdir", "listing", "lock")


@pytest.mark.parametrize("kind", DELTAS)
def test_what_is_to_be_a_delta_is_one(tmp_path: Path, kind: str) -> None:
    older, new = SAVES[kind]
    saves = Checkpointer(tmp_path)
    for value in [*older, new]:
        saves.save(value)
    found = forms(LocalStore(tmp_path))
    assert "a base that no part holds" in found
    assert ("renumbered" in found, "in a pack" in found) == (
        kind == "renumbered units",
        kind == "a delta in a pack",
    )


def test_a_retention_that_fails_is_a_warning_and_the_save_stands(tmp_path: Path) -> None:
    for call in ("unlink", "folder fsync", "listing"):
        for at in range(1, 12):
            root = tmp_path / f"{call}-{at}"
            saves = Checkpointer(LocalStore(root), keep=keep_last(1))
            saves.save({"step": 1})
            saves.save({"step": 2})
            with (
                pytest.MonkeyPatch.context() as patch,
                pytest.WarningsRecorder(_ispytest=True) as w,
            ):
                faulty = Faulty(patch, *CALLS[call], errno.EIO)
                faulty.at = at
                try:
                    saved = saves.save({"step": 3}).version
                except StoreError:
                    saved = 0
            if saved and len(w):
                assert all(issubclass(each.category, RetentionWarning) for each in w)
            fresh = Checkpointer(root)
            assert fresh.load() == {"step": 3} or (not saved and fresh.load() == {"step": 2})
            assert fresh.verify() == []
            number = saves.save({"step": 4}).version
            assert number > max(saved, 2)
            assert Checkpointer(root).load() == {"step": 4}


def test_a_delete_that_fails_can_be_repeated(tmp_path: Path) -> None:
    for call in ("write", "fsync", "link", "unlink", "folder fsync"):
        for at in range(1, 6):
            root = tmp_path / f"{call}-{at}"
            saves = Checkpointer(root)
            for step in (1, 2, 3):
                saves.save({"step": step})
            with pytest.MonkeyPatch.context() as patch:
                faulty = Faulty(patch, *CALLS[call], errno.EIO)
                faulty.at = at
                try:
                    saves.delete(3)
                except StoreError:
                    assert Checkpointer(root).load()["step"] in (2, 3)
            fresh = Checkpointer(root)
            if 3 in [s.version for s in fresh]:
                fresh.delete(3)
            assert fresh.load() == {"step": 2}
            assert fresh.verify() == []
            assert fresh.save({"step": 4}).version == 4


# Mutants


def test_the_sweep_catches_a_put_that_leaves_its_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_local, "_withdraw", lambda fd, temp, final: None)
    with pytest.raises(AssertionError):
        sweep(tmp_path, "link", errno.EIO, *SAVES["a tiny save"], False)


def test_the_sweep_catches_a_save_that_believes_a_failed_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest stays in sight, though the save said that it failed."""
    real = _local._withdraw

    def withdraw(fd: int, temp: str, final: str) -> None:
        real(fd, temp, temp)

    monkeypatch.setattr(_local, "_withdraw", withdraw)
    with pytest.raises(AssertionError):
        sweep(tmp_path, "folder fsync", errno.EIO, *SAVES["a tiny save"], False)


def test_the_sweep_catches_a_leaked_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.close

    def close(fd: int) -> None:
        import sys

        if sys._getframe(1).f_code.co_qualname != "_Output.close":
            real(fd)

    monkeypatch.setattr(_local.os, "close", close)
    with pytest.raises(AssertionError, match="leaked"):
        sweep(tmp_path, "fsync", errno.EIO, *SAVES["a tiny save"], False)
