"""Told at save, not at resume: what the program's policy would refuse, if it came from a stranger.

It is kept all the same.  A stream that is not long is verified as a load would
verify it, once for each set of types; of a long one only the names are looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from checkpoint._classes import of_gone
from checkpoint._grants import Grant
from checkpoint._model import Global, Pickled
from checkpoint._outline import path_at
from checkpoint._upgrading import Loading, Terms
from checkpoint._verifying import verify
from checkpoint.errors import (
    CheckpointError,
    MigrationError,
    UnsafeError,
    UntrustedTypeWarning,
    warn,
)

_LOOKED_AT = 1 << 18  # bytes of a stream
_TOLD = 3  # of what would be refused
_NO_LIMIT = 1 << 62  # bytes

Name = tuple[str, str]
Write = Callable[[Any], object]
Warn = Callable[[str, type[Warning]], None]


class Telling:
    """Warns once of each type that the policy of *terms* refuses; if it is *strict*, refuses it."""

    def __init__(self, terms: Terms, *, strict: bool = False) -> None:
        self.terms, self.strict = terms, strict
        self.seen: set[Name] = set()

    def listen(self, write: Write, restart: Callable[[], object]) -> Heard:
        """A stream on its way to *write*."""
        return Heard(self, write, restart)

    def tell_names(self, globals: Iterable[Global], told: Warn = warn) -> None:
        """Tell of types by their names alone."""
        globals = [*globals]
        if self.terms.policy is None or self._are_known(globals):
            return
        loading = Loading(self.terms, globals, foreign=True)
        refused = []
        for entry in globals:
            try:
                grant = loading.granted(entry.module, entry.qualname)
            except MigrationError:
                continue  # Stood for by what a load made, and nothing of the program.
            except CheckpointError as error:
                if entry.module in sys.modules:
                    refused.append(str(error))
            else:
                if grant.why and entry.shape is not None:
                    refused.append(f"{grant.name}: {grant.why}")
        self.say(refused, told)

    def _are_known(self, globals: Iterable[Global]) -> bool:
        """Whether nothing of it is new; from now on nothing is."""
        names = {(entry.module, entry.qualname) for entry in globals}
        new = names - self.seen
        self.seen |= new
        return not new

    def look(self, stream: bytes, pickled: Pickled) -> None:
        """Tell of what is in a stream, where it is."""
        if self.terms.policy is None or self._are_known(pickled.globals):
            return
        lengths = [buffer.nbytes for buffer in pickled.buffers]
        loading = Loading(self.terms, pickled.globals, foreign=True)
        let_through: set[Name] = set()

        def granted(module: str, qualname: str) -> Grant:
            if (module, qualname) in let_through:
                return of_gone(f"{module}:{qualname}")
            try:
                return loading.granted(module, qualname)
            except MigrationError:
                return of_gone(f"{module}:{qualname}")
            except UnsafeError:
                let_through.add((module, qualname))
                if module not in sys.modules:  # It is stood for by what a load made.
                    return of_gone(f"{module}:{qualname}")
                raise

        refused: list[str] = []
        while len(refused) < _TOLD:
            before = len(let_through)
            try:
                verify(stream, lengths, granted, _NO_LIMIT, persistent=True)
                break
            except UnsafeError as error:
                where = ""
                if error.offset is not None:
                    with suppress(CheckpointError):  # A save never fails for what is told.
                        where = f"{path_at(stream, error.offset)}: "
                refused.append(f"{where}{str(error).rpartition(', at byte')[0] or error}")
            except CheckpointError:
                break  # A save never fails for what is told.
            if len(let_through) == before:
                break
        self.say(refused, warn)

    def say(self, refused: list[str], told: Warn) -> None:
        if not refused:
            return
        message = f"a load without the key that signs this would refuse it: {'; '.join(refused)}"
        if self.strict:
            self.seen.clear()
            raise UnsafeError(message)
        told(message, UntrustedTypeWarning)


class Heard:
    """A stream that is passed on, and kept while it is short."""

    def __init__(self, telling: Telling, write: Write, restart: Callable[[], object]) -> None:
        self._telling, self._write, self._restart = telling, write, restart
        self._begin()

    def _begin(self) -> None:
        self._pieces: list[Any] | None = None if self._telling.terms.policy is None else []
        self._length = 0

    def restart(self) -> None:
        """Forget what was written."""
        self._begin()
        self._restart()

    def write(self, piece: Any) -> None:
        """Take the next bytes of the stream."""
        if self._pieces is not None:
            self._length += len(piece)
            if self._length > _LOOKED_AT:
                self._pieces = None
            else:
                self._pieces.append(piece)
        self._write(piece)

    def tell(self, pickled: Pickled, *, is_child: bool = False) -> None:
        """Tell what would be refused; a forked child only refuses, and its parent tells."""
        telling = self._telling
        if is_child and not telling.strict:
            return
        if self._pieces is None:
            telling.tell_names(pickled.globals)
        else:
            telling.look(b"".join(self._pieces), pickled)
