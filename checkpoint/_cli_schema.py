"""`checkpoint schema`: the classes of a program against the lock file that stands beside them.

The modules are imported, and no snapshot is read.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from checkpoint import _schema_lock
from checkpoint._migration import default
from checkpoint.errors import NotFoundError
from checkpoint.store import replace_file

LOCK = "checkpoint-schema.json"


def add(commands: Any) -> None:
    """Add the command to the subparsers *commands*."""
    schema = commands.add_parser("schema", help="tell whether classes changed in a way that counts")
    actions = schema.add_subparsers(dest="action", required=True, metavar="action")
    freeze = actions.add_parser("freeze", help="write down what the classes of modules look like")
    check = actions.add_parser("check", help="say what has changed since; exit 1 if it breaks")
    freeze.add_argument("modules", nargs="+", metavar="MODULE", help="a module or a package")
    for action in (freeze, check):
        action.add_argument("--lock", metavar="FILE", default=LOCK, help=f"instead of {LOCK}")


def run(given: argparse.Namespace) -> int:
    """Freeze, or check; 1 if a class changed so that old snapshots do not load rightly."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return _freeze(given.modules, given.lock) if given.action == "freeze" else _check(given.lock)


def _freeze(modules: list[str], file: str) -> int:
    lock = _schema_lock.freeze(modules, default)
    with replace_file(file) as output:
        output.write(_schema_lock.encode(lock))
    print(f"{_classes(len(lock.classes))} in {file}")
    return 0


def _check(file: str) -> int:
    try:
        lock = _schema_lock.decode(Path(file).read_bytes(), file)
    except OSError as error:
        raise NotFoundError(
            f"{file} cannot be read: {error.strerror}; checkpoint schema freeze MODULE makes it"
        ) from error
    findings = list(_schema_lock.check(lock, default))
    for finding in findings:
        print(f"{'BREAKS  ' if finding.bad else 'fine    '}{finding.cls}: {finding.message}")
        for line in finding.stub.splitlines():
            print(f"    {line}".rstrip())
    bad = sum(finding.bad for finding in findings)
    again = f"; when all is well: checkpoint schema freeze {' '.join(lock.modules)}"
    verdict = f"{bad or 'none'} break{'' if bad > 1 else 's'} old snapshots"
    print(f"{_classes(len(lock.classes))}, {verdict}{again if findings else ''}")
    return 1 if bad else 0


def _classes(count: int) -> str:
    return f"{count} class{'' if count == 1 else 'es'}"
