"""Make the golden repositories of this release: python tests/compat/make.py [FOLDER]

They are made once, and committed; later releases read them.  What is there is never made again.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from compat import states

import checkpoint
from checkpoint import Checkpointer, Migrations

HERE = Path(__file__).parent / "v1"
LIST = "digests.txt"
KEY = "a fixed key for the tests that keeps no secret"
REPOSITORIES: dict[str, Callable[[Path], None]] = {}


def opened(
    store: Path | checkpoint.MemoryStore, name: str = "main", **options: Any
) -> Checkpointer:
    """The checkpointer of a program whose package is this folder."""
    given: Any = {"key": KEY, "package": "compat", "trust": [len]}
    return Checkpointer(store, name, **given, **options)


def repository(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """One kind of repository, made in the folder that it is called with."""
    REPOSITORIES[make.__name__] = make
    return make


@repository
def inline(folder: Path) -> None:
    with opened(folder) as saves:
        metrics = {"loss": float("nan"), "best": float("-inf"), "score": 0.5}
        saves.save(states.plain(), metrics=metrics, meta={"note": ["☃", None, 1.5]})


@repository
def classes(folder: Path) -> None:
    with opened(folder) as saves:
        saves.save(states.things())


def _arrays(codec: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with opened(folder, codec=codec) as saves:
            saves.save(states.slopes())

    return make


@repository
def raw(folder: Path) -> None:
    with opened(folder, codec="none") as saves:
        saves.save({"array": states.noise(70_000)})


@repository
def zstd(folder: Path) -> None:
    _arrays("zstd:9")(folder)


@repository
def gzip(folder: Path) -> None:
    _arrays("gzip")(folder)


@repository
def lzma(folder: Path) -> None:
    _arrays("lzma")(folder)


@repository
def deltas(folder: Path) -> None:
    with opened(folder) as saves:
        for step in (1, 2, 3):
            saves.save(states.drifting(step))


@repository
def renumbered(folder: Path) -> None:
    with opened(folder) as saves:
        for step in (0, 1, 2):
            saves.save(states.units(step))


@repository
def tags(folder: Path) -> None:
    with opened(folder, "slots/a-1.b") as saves:
        for step in (1, 2, 3):
            saves.save(states.plain(step), metrics={"loss": 1 / step}, tags=["newest", f"s{step}"])
        saves.tag(2, "good")
        saves.tag(1, "good")
        saves.untag("s3")


@repository
def deleted(folder: Path) -> None:
    with opened(folder) as saves:
        for step in (1, 2, 3, 4):
            saves.save(states.plain(step))
        saves.delete(2, 4)


@repository
def background(folder: Path) -> None:
    with opened(folder) as saves:
        saves.save_in_background(states.plain(1)).result()
        if hasattr(__import__("os"), "fork"):
            saves.save_in_background(states.plain(2), capture="fork").result()


@repository
def long_table(folder: Path) -> None:
    with opened(folder) as saves:
        saves.save(states.crowd())


def history() -> Migrations:
    """What the program of `migrated` knew of its past."""
    migrations = Migrations()
    migrations.graph_migration("first")(lambda root: root["nowhere"])
    migrations.graph_migration("second")(lambda root: root["nowhere"])
    migrations.add_fields(states.Orc, 1, mood=None)
    return migrations


@repository
def migrated(folder: Path) -> None:
    """A state with two graph migrations behind it, and a class whose version upgrades say."""
    with opened(folder, migrations=history()) as saves:
        saves.save(states.things())


@repository
def imported(folder: Path) -> None:
    """A stranger's state: it is foreign, and unsigned."""
    with opened(folder) as saves:
        checkpoint.dump(states.things(), folder / "file", key=None)
        saves.import_(folder / "file")
        (folder / "file").unlink()


@repository
def files(folder: Path) -> None:
    """Single-file snapshots, each way that one is written."""
    with opened(checkpoint.MemoryStore(), "slot") as saves:
        saves.save(states.slopes(), metrics={"loss": 1.5}, meta="exported")
        saves.export(1, folder / "exported.ckpt")
    for codec in ("none", "zstd", "gzip", "lzma"):
        checkpoint.dump(states.things(), folder / f"{codec}.ckpt", codec=codec, key=KEY)
    with open(folder / "two.ckpt", "wb") as file:
        checkpoint.dump(states.plain(1), file, key=KEY)
        checkpoint.dump(states.slopes(), file, key=KEY)


def listed(root: Path) -> dict[str, str]:
    """The SHA-256 of each file below *root*."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != LIST
    }


def make_all(root: Path) -> None:
    """All kinds, in a new folder."""
    root.mkdir(parents=True)
    for name, make in REPOSITORIES.items():
        (root / name).mkdir()
        make(root / name)
    lines = [f"{digest}  {path}\n" for path, digest in listed(root).items()]
    (root / LIST).write_text("".join(lines), encoding="utf-8")


def main(arguments: list[str]) -> Any:
    root = Path(arguments[0]) if arguments else HERE
    if root.exists():
        return f"{root} is there: what was committed is never made again"
    return make_all(root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
