"""Versions that are looked at: read as far as that needs, and nothing of them run."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial
from typing import Any

from checkpoint._allowance import within
from checkpoint._difference import Difference, difference
from checkpoint._format import rows_by_part
from checkpoint._model import Buffer, Manifest, digest
from checkpoint._outline import Outline, Source, outlined
from checkpoint._raw import raw_of
from checkpoint._reading import Wish
from checkpoint._repository import Repository
from checkpoint._verdict import verdict
from checkpoint.errors import about

Admit = Callable[[Manifest], object]  # raises if a version is not to be read


def inspect(
    repository: Repository, name: str, version: int | None, admit: Admit = within
) -> Outline:
    """The outline of a version, or of the newest that is whole."""
    manifest, parts = _read(repository, name, version, Wish(choose=_nothing, admit=admit))
    with _about(name, manifest):
        lengths = [part.length for part in manifest.parts[:-1]]
        outline = outlined(parts[-1], lengths)
        is_own = manifest.provenance == "own"
        outline.judge = partial(verdict, parts[-1], lengths, manifest.stored, own=is_own)
        return outline


def diff(
    repository: Repository, old: tuple[str, int], new: tuple[str, int], admit: Admit = within
) -> Difference:
    """What differs between two versions, each given with its name."""
    first, one = _source(repository, *old, admit)
    second, other = _source(repository, *new, admit)
    return difference(one, other, _digests(repository, first), _digests(repository, second))


def raw(repository: Repository, name: str, version: int | None, admit: Admit) -> Any:
    """A version as plain records."""
    manifest, parts = _read(repository, name, version, Wish(admit=admit))
    with _about(name, manifest):
        return raw_of(parts[-1], parts[:-1])


def _read(
    repository: Repository, name: str, version: int | None, wish: Wish
) -> tuple[Manifest, list[Buffer]]:
    if version is None:
        return repository.read_newest(name, wish)
    return repository.read(name, version, wish)


def _about(name: str, manifest: Manifest) -> Any:
    assert manifest.version is not None
    return about(name, manifest.version, "")


def _nothing(manifest: Manifest, stream: Buffer) -> Container[int]:
    return ()


def _source(
    repository: Repository, name: str, version: int, admit: Admit
) -> tuple[Manifest, Source]:
    manifest, parts = repository.read(name, version, Wish(choose=_nothing, admit=admit))
    with _about(name, manifest):
        return manifest, Source(parts.pop(), [part.length for part in manifest.parts[:-1]])


def _digests(repository: Repository, manifest: Manifest) -> list[str]:
    """A digest of each buffer, made of those of its chunks: these are cut at the same places."""
    rows = rows_by_part(manifest.parts, repository.rows(manifest))
    return [digest("".join(row.digest for row in part).encode()) for part in rows[:-1]]
