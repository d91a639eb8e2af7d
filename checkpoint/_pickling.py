"""Graph ⇄ stream and buffers, on the C pickler, protocol 5.

The stream goes out as it is made and without FRAME opcodes, which carry
nothing.  Large memory is passed on as it is: buffers beside the stream
(PEP 574), `bytes` and `bytearray` within it.  Where the C pickler gives up,
the explicit stack of `_deep_pickling` takes over: for a graph that is too deep,
and to find the path to an object that cannot be saved.

A program's `__main__` has two names, `__main__` and the one under which it can
be imported, its *origin*; `find_global` makes a stream load under either.
"""

from __future__ import annotations

import copyreg
import gc
import importlib
import io
import pickle
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any

from attrs import frozen

from checkpoint import _deep_pickling
from checkpoint._deep_pickling import DeepPickler, by_itself, way_to_reduce
from checkpoint._model import Buffer, Global, Pickled
from checkpoint.errors import CheckpointError, MigrationError, SerializationError

# Buffers from here on go beside the stream: below it, 100,000 tiny arrays would be as many blobs.
OUT_OF_BAND = 1 << 16

# Calls deep that a thread with a stack of 512 KiB can bear in the C pickler (measured: 5,000 not).
BEARABLE = 2000

Write = Callable[[Any], object]
Resolve = Callable[[str, str], Any]
BufferCallback = Callable[[pickle.PickleBuffer], Any]


@frozen
class Hooks:
    """What a subclass of `pickle.Pickler` may override; None where it did not."""

    persistent_id: Callable[[Any], Any] | None = None
    reducer_override: Callable[[Any], Any] | None = None
    dispatch_table: Mapping[type, Any] | None = None


def pickle_into(
    obj: Any,
    write: Write,
    *,
    buffer_callback: BufferCallback | None = None,
    hooks: Hooks | None = None,
    restart: Callable[[], object] | None = None,
) -> Pickled:
    """Pickle *obj*; the stream goes to *write*, piece by piece, as it is made.

    A piece may be memory of the graph itself (a large `bytes` or `bytearray`):
    use it, or copy it, before the graph changes.  Buffers of 64 KiB and more are
    kept uncopied, unless *buffer_callback*, which is pickle's own, takes them.

    A graph too deep for the C pickler is pickled once more from its beginning:
    *restart* is called, and must forget all that was written.  Without it such
    a graph is refused.  What *write*, *restart* and *buffer_callback* raise
    passes through; what the graph raises becomes a `SerializationError`.
    """
    pickling = _Pickling(write, buffer_callback, hooks or Hooks())
    with _Uncollected():
        return _pickled(pickling, obj, restart)


def _pickled(pickling: _Pickling, obj: Any, restart: Callable[[], object] | None) -> Pickled:
    try:
        return pickling.fast(obj)
    except RecursionError as error:
        if pickling.outside.failure is error:
            raise
        return pickling.deep(obj, error, restart)
    except MemoryError:
        raise
    except Exception as error:
        if pickling.outside.failure is error:
            raise
        raise pickling.located(obj, error) from error


class _Uncollected:
    """The garbage collector off: it would look at the same growing graph again and again."""

    def __enter__(self) -> None:
        self._collecting = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._collecting:
            gc.enable()


class _BearableDepth:
    """A recursion limit that the C stack can bear.

    Up to 3.11 the C pickler goes as deep as `sys.setrecursionlimit` says, and
    crashes; from 3.12 on it has a limit of its own.  The deep pickler, which
    takes over, runs under the caller's limit again.
    """

    def __enter__(self) -> None:
        self._limit = limit = sys.getrecursionlimit()
        bearable = BEARABLE
        while sys.version_info < (3, 12) and bearable < limit:
            try:
                return sys.setrecursionlimit(bearable)
            except RecursionError:  # the caller is deeper than that already
                bearable *= 2
        return None

    def __exit__(self, *_: object) -> None:
        if sys.getrecursionlimit() != self._limit:
            sys.setrecursionlimit(self._limit)


class _Outside:
    """Knows what the caller's own functions raised, which is not the graph's fault."""

    failure: BaseException | None = None

    def guarded(self, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def guarded(argument: Any) -> Any:
            try:
                return call(argument)
            except BaseException as error:
                self.failure = error
                raise

        return guarded


class _Pickling:
    """One graph on its way into a stream, by the C pickler or by the deep one."""

    def __init__(self, write: Write, callback: BufferCallback | None, hooks: Hooks) -> None:
        self.outside = _Outside()
        self._write = self.outside.guarded(write)
        self._callback = None if callback is None else self.outside.guarded(callback)
        self._hooks = hooks
        self._begin()

    def _begin(self) -> None:
        self._globals = _Globals(self._hooks)
        self._buffers: list[memoryview] = []

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        """Keep a large buffer beside the stream; true means that it goes into the stream."""
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND:
            return True
        self._buffers.append(view)
        return False

    def fast(self, obj: Any) -> Pickled:
        kind = _Pickler if self._hooks.persistent_id is None else _PersistentPickler
        pickler = kind(Deframer(self._write), 5, buffer_callback=self._callback or self._keep)
        pickler.ask = self._hooks.persistent_id
        if self._hooks.dispatch_table is not None:
            pickler.dispatch_table = self._hooks.dispatch_table
        pickler.reducer_override = self._globals.override
        with _BearableDepth():
            pickler.dump(obj)
        return self._result()

    def _result(self) -> Pickled:
        return Pickled(tuple(self._buffers), self._globals.named())

    def deep(
        self, obj: Any, error: RecursionError, restart: Callable[[], object] | None
    ) -> Pickled:
        if restart is None:
            raise SerializationError(
                "cannot save state: it is nested too deep for an output that cannot start over"
            ) from error
        restart()
        self._begin()
        pickler = self._deep_pickler(self._write, self._callback or self._keep)
        try:
            pickler.dump(obj)
        except MemoryError:
            raise
        except Exception as deep_error:
            if self.outside.failure is deep_error:
                raise
            raise _refusal(pickler.at, pickler.path, deep_error) from deep_error
        return self._result()

    def located(self, obj: Any, error: Exception) -> SerializationError:
        """The error for *error*, with the path that a second run finds."""
        self._begin()
        pickler = self._deep_pickler(_discard, _discard)
        try:
            pickler.dump(obj)
        except MemoryError:
            raise
        except Exception:
            return _refusal(pickler.at, pickler.path, error)
        return SerializationError(f"cannot save state: {_told(error)}; a second try did not fail")

    def _deep_pickler(self, write: Write, callback: BufferCallback) -> DeepPickler:
        return DeepPickler(
            write,
            buffer_callback=callback,
            override=self._globals.override,
            persistent_id=self._hooks.persistent_id,
            dispatch_table=self._hooks.dispatch_table,
        )


class _Pickler(pickle.Pickler):
    ask: Any
    reducer_override: Any


class _PersistentPickler(_Pickler):
    """Asks for persistent ids: apart, because the question alone costs half as much again."""

    def persistent_id(self, obj: Any) -> Any:
        return self.ask(obj)


def _discard(_: Any) -> None:
    pass


class Deframer:
    """The file that the C pickler writes to: passes all on, uncopied, but the FRAME opcodes.

    Each write of the C pickler is, in this order and each part optional: PROTO
    (the first write only); a frame; up to three bytes of opcodes that were too
    few for a frame; the header of a payload of 64 KiB or more.  After a header
    comes the payload in a write of its own, which is not looked into.
    """

    _FRAME_HEADER = 9
    _SHORTEST_HEADER = 5
    _LONG_HEADER = 9

    def __init__(self, sink: Write) -> None:
        self._sink = sink
        self._begun = False
        self._payload: int | None = None

    def write(self, piece: Any) -> None:
        if self._payload is not None:
            self._pass_payload(piece)
            return
        start = 0 if self._begun else 2
        framed = piece[start : start + 1] == pickle.FRAME
        body = start + self._FRAME_HEADER if framed else start
        length = int.from_bytes(piece[start + 1 : body], "little")
        self._payload = self._announced(piece[body + length :])
        if not framed:
            self._sink(piece)
        elif self._begun:
            self._sink(memoryview(piece)[body:])
        else:
            self._sink(piece[:start] + piece[body:])
        self._begun = True

    def _announced(self, tail: bytes) -> int | None:
        """The length of the payload that comes next, if *tail* ends in a header."""
        if len(tail) < self._SHORTEST_HEADER:
            return None
        size = 8 if len(tail) >= self._LONG_HEADER else 4
        return int.from_bytes(tail[-size:], "little")

    def _pass_payload(self, payload: Any) -> None:
        if memoryview(payload).nbytes != self._payload:
            raise pickle.PicklingError("the C pickler writes in a way that is not known here")
        self._payload = None
        self._sink(payload)


class _Globals:
    """Sees every class, function and instance on its way into a stream.

    `override` is pickle's `reducer_override`.  It must cost little on an
    instance: once a type is known to be rebuilt by `object.__reduce_ex__`, which
    names nothing that is not seen by itself, the pickler does the rest.
    """

    def __init__(self, hooks: Hooks) -> None:
        table = hooks.dispatch_table
        self._table = copyreg.dispatch_table if table is None else table
        self._asked = hooks.reducer_override
        self._found: list[tuple[Any, str]] = []
        self._plain: set[type] = set()
        self._ways: dict[type, Callable[[Any], Any]] = {}

    @property
    def override(self) -> Callable[[Any], Any]:
        return self._note if self._asked is None else self._ask

    def _ask(self, obj: Any) -> Any:
        assert self._asked is not None
        value = self._asked(obj)
        return self._note(obj) if value is NotImplemented else self._named(obj, value)

    def _note(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in self._plain:
            return NotImplemented
        way = self._ways.get(kind)
        if way is None:
            return self._meet(obj)
        value = way(obj)
        return value if type(value) is tuple else self._named(obj, value)

    def _meet(self, obj: Any) -> Any:
        """Learn how the first object of its type is reduced, and reduce it so."""
        kind = type(obj)
        way = way_to_reduce(kind, self._table)
        if way is by_itself and _is_plain(kind):
            self._plain.add(kind)
            return NotImplemented
        self._ways[kind] = way
        return self._named(obj, way(obj))

    def _named(self, obj: Any, value: Any) -> Any:
        if isinstance(value, str):
            self._found.append((obj, value))
        return value

    def named(self) -> tuple[Global, ...]:
        """The globals that were seen, sorted."""
        names = {(pickle.whichmodule(obj, name), name) for obj, name in self._found}  # type: ignore[attr-defined]
        origin = main_origin()
        return tuple(
            Global(module, name, origin if module == "__main__" else None)
            for module, name in sorted(names)
        )


def _is_plain(kind: Any) -> bool:
    base: Any = object
    return kind.__reduce_ex__ is base.__reduce_ex__ and kind.__reduce__ is base.__reduce__


# What cannot be saved, and why.


def _refusal(obj: Any, path: str, error: BaseException) -> SerializationError:
    return SerializationError(f"cannot save {path}: {_trouble(obj, error)}", path=path)


def _trouble(obj: Any, error: BaseException) -> str:
    """What the matter is with *obj*, and what to do about it."""
    told = _told(error)
    if _raiser(error) is not None:
        return f"{told}; correct it, or leave the object out"
    if isinstance(obj, (FunctionType, BuiltinFunctionType, type)):
        return _unnamed(obj, told)
    if isinstance(obj, ModuleType):
        return f"the module {obj.__name__} cannot be pickled ({told}); import it where it is used"
    if isinstance(obj, (GeneratorType, CoroutineType, AsyncGeneratorType)):
        return f"{_kind(obj)} cannot be pickled ({told}); keep what it can be made from again"
    if isinstance(obj, io.IOBase):
        return (
            f"an open file, {_kind(obj)}, cannot be pickled ({told}); "
            "keep its name and position, and open it again in __setstate__"
        )
    return (
        f"{_kind(obj)} cannot be pickled ({told}); "
        "leave it out in __getstate__, or register a reducer with copyreg.pickle"
    )


def _unnamed(obj: Any, told: str) -> str:
    name = _deep_pickling.qualified_name(obj)
    sort = "class" if isinstance(obj, type) else "function"
    if name.rpartition(".")[2] == "<lambda>":
        return f"a lambda has no name to find it by ({told}); define it at module level with def"
    if "<locals>" in name:
        return (
            f"the local {sort} {name} has no name to find it by ({told}); define it at module level"
        )
    return (
        f"the {sort} {obj.__module__}.{name} is not found under its name ({told}); "
        f"define it at module level under that name"
    )


def _kind(obj: Any) -> str:
    kind = type(obj)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"
    return f"{'an' if name.lstrip('_')[:1].lower() in tuple('aeiou') else 'a'} {name}"


def _told(error: BaseException) -> str:
    """The error's own text, and who raised it where that was code of a class in the graph."""
    text, raiser = str(error), _raiser(error)
    if raiser is None:
        return text or type(error).__name__
    return f"{raiser} raised {type(error).__name__}: {text}"


def _raiser(error: BaseException) -> str | None:
    """The function written in Python that pickle called and that raised, if there is one."""
    if isinstance(error, TypeError) and str(error).startswith("cannot pickle "):
        return None  # a class of the standard library that says so itself
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_filename not in _MACHINERY:
            name = frame.f_code.co_qualname
            return f"module {frame.f_globals['__name__']}" if name == "<module>" else name
        traceback = traceback.tb_next
    return None


_MACHINERY = {
    *(__file__, _deep_pickling.__file__, copyreg.__file__, importlib.__file__),
    *("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"),
}


# Loading.


def unpickle(
    stream: Buffer,
    buffers: Iterable[Buffer] = (),
    *,
    resolve: Resolve | None = None,
    origin: str | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
) -> Any:
    """Rebuild the graph of *stream*, a pickle of any protocol, framed or not.

    *buffers* are used as they are: restored arrays lie in that memory.  Every
    global is asked of *resolve*; by default `find_global` with *origin*, the
    `__main__` that the graph was saved in.  A global that is gone raises
    `MigrationError`.  All else that fails raises `SerializationError`, whose
    cause is the original error.
    """
    resolve = resolve or partial(find_global, origin=origin)
    if fix_imports and _protocol(stream) < 3:
        resolve = partial(_resolve_python_2, resolve)
    kind = _Unpickler if persistent_load is None else _PersistentUnpickler
    unpickler = kind(_OneFrame(stream), buffers=buffers, encoding=encoding, errors=errors)
    unpickler.resolve = resolve
    unpickler.ask = persistent_load
    try:
        with _Uncollected():
            return unpickler.load()
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        raise SerializationError(f"cannot rebuild the graph: {_told(error)}") from error


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
        self._pieces = iter((pickle.FRAME, len(body).to_bytes(8, "little"), body))

    def read(self, size: int) -> Buffer:
        return next(self._pieces, b"")

    def readline(self) -> bytes:
        return b""


def _protocol(stream: Buffer) -> int:
    head = bytes(memoryview(stream).cast("B")[:2])
    return head[1] if len(head) == 2 and head[:1] == pickle.PROTO else 0


# Globals.


def main_origin() -> str | None:
    """The name under which the running `__main__` can be imported, if it has one."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return None if spec.name == "__main__" else str(spec.name)
    stem = Path(getattr(main, "__file__", None) or "").stem
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
        raise MigrationError(
            f"{module}.{qualname} is gone: {error}; "
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
