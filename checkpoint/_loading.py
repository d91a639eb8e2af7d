"""From the parts of a version to its state: the part that is wanted, as of today."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from checkpoint._model import Buffer, Manifest
from checkpoint._selecting import Selection, select, walk
from checkpoint._upgrading import Loading, Terms
from checkpoint.errors import NotFoundError, SerializationError


class Wanted:
    """The part of a graph at *path*, or all of it where there is none.

    A graph with migrations before it is loaded whole: they are given its root.
    """

    def __init__(self, path: tuple[Any, ...], terms: Terms) -> None:
        self._path, self._terms = path, terms
        self._selection: Selection | None = None
        self._missing: NotFoundError | None = None

    def choose(self, manifest: Manifest, stream: Buffer) -> Container[int]:
        """The buffers that the part needs; all, where the stream alone does not tell."""
        self._selection = self._missing = None
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
        loading = Loading(self._terms, manifest.types)
        if self._selection is None:
            loading.check()
            state = loading.load(parts[-1], parts[:-1], lambda: again()[:-1])
            return walk(loading.migrated(state, manifest.migrations), self._path)
        indices = self._selection.buffers

        def chosen(parts: Sequence[Buffer]) -> Iterable[Buffer]:
            return [parts[index] for index in indices]

        return loading.load(self._selection.stream, chosen(parts), lambda: chosen(again()))
