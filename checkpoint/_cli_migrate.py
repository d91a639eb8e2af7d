"""`checkpoint migrate`: old versions appended anew, in the classes of today's program.

The program's modules that register migrations are imported, and so are the
classes that the versions are of; of foreign versions none.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from checkpoint._checkpointer import Checkpointer
from checkpoint._migrating import Migrated
from checkpoint._refusal import told_by
from checkpoint.errors import FormatError, MigrationError, NotFoundError


def add(commands: Any) -> None:
    """Add the command to the subparsers *commands*."""
    migrate = commands.add_parser(
        "migrate", help="append old versions anew, in the classes of today's program"
    )
    migrate.add_argument("folder", metavar="DIR", help="the repository's folder")
    migrate.add_argument("--dry-run", action="store_true", help="say what would be done, only")
    migrate.add_argument("--name", metavar="NAME", help="this name alone; all if left out")
    migrate.add_argument(
        "--import",
        dest="modules",
        metavar="MODULE",
        action="append",
        default=[],
        help="a module that registers migrations, sought in the current folder, too; repeatable",
    )


def run(given: argparse.Namespace) -> int:
    """Migrate each name; 1 if something could not be, 0 if all is well."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for module in given.modules:
        _import(module)
    errors = 0
    with Checkpointer(given.folder) as saves:
        for name in _names(given.folder, saves.names(), given.name):
            print(name)
            found = saves.named(name).migrate(dry_run=given.dry_run)
            for line in _table(found):
                print(f"  {line}")
            errors += sum(one.error is not None for one in found)
    return 1 if errors else 0


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:
        raise MigrationError(
            f"the module {module!r} cannot be imported: {told_by(error)}"
        ) from error


def _names(folder: str, there: Sequence[str], wanted: str | None) -> Sequence[str]:
    if not there:
        raise FormatError(f"{folder} is not a repository: it holds no snapshots")
    if wanted is None:
        return there
    if wanted not in there:
        raise NotFoundError(f"there is no {wanted!r} in {folder}, but {', '.join(there)}")
    return [wanted]


def _table(found: Sequence[Migrated]) -> Iterator[str]:
    """A line for each version: its number, that of the new one, the way, and why."""
    numbers = [(str(one.version), f"→ {one.into}" if one.into else "") for one in found]
    widths = [max(map(len, column)) for column in zip(*numbers, strict=True)]
    for one, (version, into) in zip(found, numbers, strict=True):
        cells = [version.rjust(widths[0]), into.ljust(widths[1])]
        why = one.why if one.error is None else f"cannot: {one.error}"
        cells += [why] if one.way == "cannot" else [one.way.ljust(7), why]
        yield "  ".join(cell for cell in cells if cell).rstrip()
