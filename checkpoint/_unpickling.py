"""Stream and buffers ⇄ graph, on the C unpickler; and where its globals are found.

A program's `__main__` has two names, `__main__` and the one under which it can
be imported, its *origin*; `find_global` makes a stream load under either.
"""

from __future__ import annotations

import gc
import importlib
import pickle
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from os.path import basename, splitext
from typing import Any, Protocol, runtime_checkable

from checkpoint._model import Buffer
from checkpoint._recording import current
from checkpoint._refusal import told_by
from checkpoint.errors import CheckpointError, MigrationError, SerializationError

Resolve = Callable[[str, str], Any]

_MANY = 50_000  # new objects that are worth it to be spared a collection


@runtime_checkable
class Opened(Protocol):
    """A file at the beginning of a pickle, whose protocol is known."""

    protocol: int

    def read(self, size: int, /) -> Buffer: ...

    def readline(self) -> bytes: ...


class Uncollected:
    """The garbage collector off: it would look at the same growing graph again and again."""

    def __enter__(self) -> None:
        self._collecting = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if not self._collecting:
            return
        if gc.get_count()[0] > _MANY and gc.get_freeze_count() == 0:
            # All that was made is old from now on, without one look at each: a
            # first collection would take a quarter of the time of a large load.
            gc.freeze()
            gc.unfreeze()
        gc.enable()


def unpickle(
    source: Buffer | Opened,
    buffers: Iterable[Buffer] = (),
    *,
    resolve: Resolve | None = None,
    origin: str | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
) -> Any:
    """Rebuild the graph of *source*: the bytes of a pickle of any protocol, or one in a file.

    Of a file that cannot be peeked into, no byte after the pickle is read.
    *buffers* are used as they are: restored arrays lie in that memory.  Every
    global is asked of *resolve*; by default `find_global` with *origin*, the
    `__main__` that the graph was saved in.  A global that is gone raises
    `MigrationError`.  All else that fails raises `SerializationError`, whose
    cause is the original error.
    """
    resolve = resolve or partial(find_global, origin=origin)
    file = source if isinstance(source, Opened) else _OneFrame(source)
    if fix_imports and file.protocol < 3:
        resolve = partial(_resolve_python_2, resolve)
    kind = _Unpickler if persistent_load is None else _PersistentUnpickler
    unpickler = kind(file, buffers=buffers, encoding=encoding, errors=errors)
    unpickler.resolve = resolve
    unpickler.ask = persistent_load
    try:
        with Uncollected():
            root = unpickler.load()
            load = current.get()
            if load is not None and load.names:
                load.loaded(unpickler.memo.copy())
            return root
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        raise SerializationError(f"cannot rebuild the graph: {told_by(error)}") from error


class _Unpickler(pickle.Unpickler):
    resolve: Resolve
    ask: Any

    def find_class(self, module: str, qualname: str) -> Any:
        return self.resolve(module, qualname)


class _PersistentUnpickler(_Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return self.ask(pid)


class _OneFrame:
    """A file that gives *stream* as a single pickle frame, uncopied.

    Of a file the C unpickler asks every opcode with a call of its own, unless it
    lies in a frame; of a frame it asks once, and reads in the memory it is given.
    """

    def __init__(self, stream: Buffer) -> None:
        body = memoryview(stream).cast("B")
        self.protocol = protocol(body[:2])
        self._pieces = iter((pickle.FRAME, len(body).to_bytes(8, "little"), body))

    def read(self, size: int) -> Buffer:
        return next(self._pieces, b"")

    def readline(self) -> bytes:
        return b""


def protocol(head: Buffer) -> int:
    """The protocol that a pickle which begins with *head* says; below 2 none says any."""
    head = bytes(head[:2])
    return head[1] if len(head) == 2 and head[:1] == pickle.PROTO else 0


def main_origin() -> str | None:
    """The name under which the running `__main__` can be imported, if it has one."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return None if spec.name == "__main__" else str(spec.name)
    stem, _ = splitext(basename(getattr(main, "__file__", None) or ""))
    return stem if stem.isidentifier() else None


def find_global(module: str, qualname: str, origin: str | None = None) -> Any:
    """The class or function `module:qualname`; `MigrationError` if it is gone.

    *origin* is what `__main__` was where the stream was made.  `__main__:X` is
    sought in the module of that name, wherever that lies today; and `train:X`
    in `__main__`, if that is `train`, so that no second copy of it is imported.
    """
    sys.audit("pickle.find_class", module, qualname)
    here = main_origin()
    if module == "__main__" and origin is not None and origin != here:
        with suppress(Exception):  # a script may raise anything when it is imported
            return _looked_up(origin, qualname)
    if module == here and module not in sys.modules:
        with suppress(AttributeError):
            return _looked_up("__main__", qualname)
    try:
        return _looked_up(module, qualname)
    except (ImportError, AttributeError) as error:
        of = f" (of {origin})" if module == "__main__" and origin else ""
        raise MigrationError(
            f"{module}.{qualname}{of} is gone: {error}; "
            "if it was renamed or moved, make it importable under this name again"
        ) from error


def _looked_up(module: str, qualname: str) -> Any:
    found = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def _resolve_python_2(resolve: Resolve, module: str, qualname: str) -> Any:
    """Resolve a name of a protocol below 3, which may be one of Python 2."""
    renamed = NAME_MAPPING.get((module, qualname))
    if renamed is not None:
        return resolve(*renamed)
    return resolve(IMPORT_MAPPING.get(module, module), qualname)
