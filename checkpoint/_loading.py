"""From the parts of a version to its state: the part that is wanted, as of today."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from checkpoint._foreign import opened_version, strangers
from checkpoint._model import Buffer, Manifest
from checkpoint._selecting import Selection, select, walk
from checkpoint._upgrading import Loading, Terms
from checkpoint.errors import NotFoundError, SerializationError


class Wanted:
    """The part of a graph at *path*, or all of it where there is none.

    A graph with migrations before it is loaded whole: they are given its root,
    unless it is none of a program's own (*migrates*).
    """

    def __init__(self, path: tuple[Any, ...], terms: Terms, *, migrates: bool = True) -> None:
        self._path, self._terms, self._migrates = path, terms, migrates
        self._selection: Selection | None = None
        self._missing: NotFoundError | None = None

    def choose(self, manifest: Manifest, stream: Buffer) -> Container[int]:
        """The buffers that the part needs; all, where the stream alone does not tell."""
        self._selection = self._missing = None
        if manifest.provenance != "own" and self._terms.policy is not None:
            return range(sys.maxsize)  # All of it is verified, and so all of it is loaded.
        if not self._terms.migrations.graphs.keys() <= {*manifest.migrations}:
            return range(sys.maxsize)
        try:
            self._selection = select(stream, self._path)
        except NotFoundError as error:
            self._missing = error  # It is not the version that is missing.
            return ()
        except SerializationError:
            return range(sys.maxsize)
        return self._selection.buffers

    def loaded(
        self,
        manifest: Manifest,
        parts: Sequence[Buffer],
        again: Callable[[], Sequence[Buffer]],
    ) -> Any:
        """The state; *again* reads the parts once more."""
        if self._missing is not None:
            raise self._missing
        if self._selection is None:
            with strangers(self._terms, manifest.provenance):
                loading, stream = opened_version(self._terms, manifest, parts[-1])
                loading.check()
                state = loading.load(stream, parts[:-1], lambda: again()[:-1])
            if self._migrates:
                state = loading.migrated(state, manifest.migrations)
            return walk(state, self._path)
        loading = Loading(self._terms, manifest.types)
        indices = self._selection.buffers

        def chosen(parts: Sequence[Buffer]) -> Iterable[Buffer]:
            return [parts[index] for index in indices]

        return loading.load(self._selection.stream, chosen(parts), lambda: chosen(again()))
