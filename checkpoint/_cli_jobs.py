"""`checkpoint jobs`: how far the jobs of a folder have got; and their torture.

No user code is imported, and no state is unpickled.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from checkpoint._cli_inspect import opened
from checkpoint._jobs.progress import span_text
from checkpoint._jobs.resumable import DEFAULT_STORE
from checkpoint._jobs.status import JobStatus, history_of, jobs_in
from checkpoint._model import size_text
from checkpoint.errors import NotFoundError

_USAGE = """checkpoint jobs [DIR]
       checkpoint jobs show ID [--store DIR]
       checkpoint jobs torture [--kills N] [--signals KILL,TERM] [--between A,B] [--seed N]
                               -- COMMAND"""


def add(commands: Any) -> None:
    """Add the command to the subparsers *commands*."""
    jobs = commands.add_parser(
        "jobs", help="list jobs and how far they have got; show one; torture a command",
        usage=_USAGE,
        description="List the jobs of DIR (by default $CHECKPOINT_STORE, or .checkpoint), show "
        "what is known of one, or kill a command at random and resume it until it is done.",
    )  # fmt: skip
    jobs.add_argument("rest", nargs=argparse.REMAINDER, metavar="DIR | show | torture")


def run(given: argparse.Namespace) -> int:
    """List, show or torture; 1 where what is tortured fails."""
    rest = given.rest
    if rest[:1] == ["torture"]:
        from checkpoint.testing._torture import run as torture

        return torture(rest[1:])
    parser = argparse.ArgumentParser(prog="checkpoint jobs", usage=_USAGE)
    if rest[:1] == ["show"]:
        parser.add_argument("id", metavar="ID")
        parser.add_argument("--store", metavar="DIR")
        asked = parser.parse_args(rest[1:])
        return _show(_store(asked.store), asked.id)
    parser.add_argument("folder", nargs="?", metavar="DIR")
    return _list(_store(parser.parse_args(rest).folder))


def _store(folder: str | None) -> str:
    return folder or os.environ.get("CHECKPOINT_STORE") or DEFAULT_STORE


def _list(folder: str) -> int:
    found = [job for job in jobs_in(opened(folder)) if "/inside/" not in job.name]
    rows: list[tuple[str, ...]] = [
        ("id", "status", "position", "work", "attempts", "saved", "size", "arguments")
    ]
    rows += [_row(job) for job in sorted(found, key=lambda job: job.saved)]
    if len(rows) == 1:
        print(f"no job is in {folder}")
        return 0
    for line in _aligned(rows):
        print(line)
    return 0


def _row(job: JobStatus) -> tuple[str, ...]:
    return (
        job.name,
        job.status,
        job.position,
        span_text(job.worked),
        str(job.attempt),
        job.saved.strftime("%Y-%m-%d %H:%M:%S UTC"),
        size_text(job.size),
        job.arguments,
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _show(folder: str, name: str) -> int:
    repository = opened(folder)
    history = history_of(repository, name)
    if not history:
        known = [job.name for job in jobs_in(repository)]
        told = ", ".join(known[:9]) or "it has none"
        raise NotFoundError(f"{folder} has no job {name!r} ({told})", name=name)
    job = history[-1]
    lines = [
        ("id", job.name),
        ("function", job.function),
        ("arguments", job.arguments or "none"),
        ("status", job.status),
        ("position", job.position or "its beginning"),
        ("work kept", span_text(job.worked)),
        ("attempts", str(job.attempt)),
        ("last run by", job.owner or "nobody"),
        ("saved", job.saved.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("size", size_text(job.size)),
        ("versions", ", ".join(f"{s.version}{' (archived)' * s.archived}" for s in history)),
    ]
    for label, text in lines:
        print(f"{label:<12} {text}")
    for failure in job.failures:
        print(f"\n{failure.rstrip()}")
    if job.source:
        print(f"\nthe code that saved it:\n\n{job.source.rstrip()}")
    return 0
