"""`checkpoint inspect` and `checkpoint diff`: what is in a version, and what differs.

No user code is imported, and no stream is unpickled.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from checkpoint import _looking
from checkpoint._outline import Outline
from checkpoint._pickle_interface import inspect
from checkpoint._repository import Repository
from checkpoint.errors import FormatError, NotFoundError, StoreError
from checkpoint.store import LocalStore

COMMANDS = ("inspect", "diff")


def add(commands: Any) -> None:
    """Add the commands to the subparsers *commands*."""
    look = commands.add_parser("inspect", help="show what is in a version or a file, and how large")
    look.add_argument("path", metavar="DIR|FILE", help="a repository's folder, or a file")
    look.add_argument(
        "which", nargs="?", metavar="NAME[@VERSION]", help="the newest of the only name if left out"
    )
    diff = commands.add_parser("diff", help="show what differs between two versions")
    diff.add_argument("folder", metavar="DIR", help="the repository's folder")
    diff.add_argument("old", metavar="NAME@OLD", help="the older version")
    diff.add_argument("new", metavar="NAME@NEW", help="the newer version")


def run(given: argparse.Namespace) -> int:
    """Show it; 0."""
    if given.command == "diff":
        repository = opened(given.folder)
        old, new = chosen(repository, given.old), chosen(repository, given.new)
        print(_looking.diff(repository, old, new))
    elif given.which is None and os.path.isfile(given.path):
        _show(_of_file(given.path))
    else:
        repository = opened(given.path)
        _show(_looking.inspect(repository, *chosen(repository, given.which)))
    return 0


def _show(outline: Outline) -> None:
    print(outline)
    print(outline.verdict)


def _of_file(path: str) -> Any:
    try:
        return inspect(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    except EOFError as error:
        raise FormatError(f"{path} is empty") from error


def opened(folder: str) -> Repository:
    """The repository in *folder*; FormatError if there is none."""
    repository = Repository(LocalStore(folder))
    if repository.identity() is None:
        raise FormatError(f"{folder} is not a repository: it holds no format.json and no snapshots")
    return repository


def chosen(repository: Repository, which: str | None) -> tuple[str, int]:
    """The name and the version that *which* asks for; NotFoundError says what there is."""
    names = repository.names()
    name, _, version = (which or "").partition("@")
    if not which and len(names) == 1:
        name = names[0]
    if name not in names:
        raise NotFoundError(f"say which name: {', '.join(names) or 'there is none'}")
    versions = repository.line(name).versions()
    if not version:
        return name, versions[-1]
    if not version.isdecimal() or int(version) not in versions:
        there = ", ".join(map(str, versions[-10:]))
        raise NotFoundError(f"{name} has no version {version}; the newest are {there}")
    return name, int(version)
