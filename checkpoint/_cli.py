"""The command line: look at a repository without running anything of it, and migrate it.

    checkpoint ls DIR                    the names, and the versions of each
    checkpoint show DIR [NAME[@VERSION]] one version: its manifest, in words
    checkpoint inspect DIR|FILE          what is in one version, or in a file, and how large
    checkpoint diff DIR NAME@1 NAME@2    what differs between two versions
    checkpoint verify DIR                read every byte; exit 1 if any is wrong
    checkpoint migrate DIR               old versions anew; exit 1 if one cannot be
    checkpoint schema freeze|check       classes against a lock file; exit 1 if one breaks
    checkpoint jobs [DIR]                the jobs of a folder, and how far they have got

No user code is imported: manifests are JSON, and no stream is unpickled; but
`migrate` imports the classes of its versions, and loads where they changed, and
`schema` imports the modules that it is given.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from checkpoint import _cli_inspect, _cli_jobs, _cli_migrate, _cli_schema, _pruning
from checkpoint._cli_inspect import chosen, opened
from checkpoint._keys import keys
from checkpoint._members import __version__
from checkpoint._model import Manifest, Snapshot, size_text
from checkpoint._repository import Repository
from checkpoint.errors import CheckpointError, DamagedSnapshotWarning, StoreError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all is well, 1 if damage was found, 2 if it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="checkpoint", description="Look at saved snapshots without running anything of them."
    )
    parser.add_argument("--version", action="version", version=f"checkpoint {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    ls = commands.add_parser("ls", help="list the names in a repository and their versions")
    show = commands.add_parser("show", help="show one version: what it says of itself")
    verify = commands.add_parser("verify", help="read every byte and check it")
    for command in (ls, show, verify):
        command.add_argument("folder", metavar="DIR", help="the repository's folder")
    show.add_argument(
        "which", nargs="?", metavar="NAME[@VERSION]", help="the newest of the only name if left out"
    )
    _cli_inspect.add(commands)
    _cli_migrate.add(commands)
    _cli_schema.add(commands)
    _cli_jobs.add(commands)
    given = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("always", DamagedSnapshotWarning)
        warnings.showwarning = _show_warning
        try:
            _check_key()
            return _run(given)
        except CheckpointError as error:
            print(f"checkpoint: {error}", file=sys.stderr)
            return 2


def _check_key() -> None:
    """StoreError if the key of the environment is none."""
    try:
        keys()
    except ValueError as error:
        raise StoreError(str(error)) from error


def _run(given: argparse.Namespace) -> int:
    if given.command in _cli_inspect.COMMANDS:
        return _cli_inspect.run(given)
    if given.command == "migrate":
        return _cli_migrate.run(given)
    if given.command == "schema":
        return _cli_schema.run(given)
    if given.command == "jobs":
        return _cli_jobs.run(given)
    repository = opened(given.folder)
    if given.command == "ls":
        return _ls(repository)
    if given.command == "show":
        return _show(repository, given.which)
    return _verify(repository)


def _ls(repository: Repository) -> int:
    for name in repository.names():
        print(name)
        rows = [_row(snapshot) for snapshot in repository.snapshots(name)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.rjust(width) for cell, width in zip(row[:4], widths, strict=False))
            print("  " + "  ".join([*cells, *row[4:]]).rstrip())
    return 0


def _row(snapshot: Snapshot) -> list[str]:
    return [
        str(snapshot.version),
        _when(snapshot),
        size_text(snapshot.size),
        f"+{size_text(snapshot.stored)}",
        " ".join(f"{key}={value:.6g}" for key, value in snapshot.metrics.items()),
        " ".join([*(f"[{tag}]" for tag in snapshot.tags), *["foreign"] * (not snapshot.own)]),
    ]


def _show(repository: Repository, which: str | None) -> int:
    name, version = chosen(repository, which)
    manifest = repository.manifest(name, version)
    snapshot = next(s for s in repository.snapshots(name) if s.version == version)
    for label, text in _lines(manifest, snapshot):
        print(f"{label:<10} {text}")
    return 0


def _lines(manifest: Manifest, snapshot: Snapshot) -> list[tuple[str, str]]:
    libraries = ", ".join(f"{name} {version}" for name, version in snapshot.libraries.items())
    lines = [
        ("name", snapshot.name),
        ("version", str(snapshot.version)),
        ("created", _when(snapshot)),
        ("parent", str(snapshot.parent or "none")),
        ("saved by", libraries),
        ("trust", "own" if snapshot.own else "foreign: signed by no key that is held here"),
        ("size", f"{size_text(snapshot.size)}, of which {size_text(snapshot.stored)} were new"),
        ("packs", str(len(manifest.packs))),
        ("tags", ", ".join(snapshot.tags) or "none"),
    ]
    lines += [("metric", f"{key} = {value!r}") for key, value in snapshot.metrics.items()]
    if snapshot.meta is not None:
        lines.append(("meta", repr(snapshot.meta)))
    return lines + [("uses", str(entry)) for entry in snapshot.types]


def _verify(repository: Repository) -> int:
    progress = _bar if sys.stderr.isatty() else None
    found = _pruning.verify(repository, progress)
    for error in found:
        where = f"{error.name} version {error.version}: " if error.name else ""
        print(f"damaged: {where}{error}")
    count = sum(len(repository.line(name).versions()) for name in repository.names())
    errors = f"{len(found) or 'no'} error{'' if len(found) == 1 else 's'}"
    print(f"{count} version{'' if count == 1 else 's'}, {errors}")
    return 1 if found else 0


def _bar(done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    print(f"\r{size_text(done)} of {size_text(total)}", end=end, file=sys.stderr, flush=True)


def _when(snapshot: Snapshot) -> str:
    return snapshot.created.strftime("%Y-%m-%d %H:%M:%S UTC")


def _show_warning(message: Warning | str, *where: object, **more: object) -> None:
    print(f"checkpoint: {message}", file=sys.stderr)
