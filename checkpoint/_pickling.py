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
import pickle
import sys
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from operator import itemgetter
from types import FunctionType
from typing import Any

from attrs import evolve, frozen

from checkpoint import _aside
from checkpoint._deep_pickling import DeepPickler, by_itself, way_to_reduce
from checkpoint._model import Global, Pickled, Shape
from checkpoint._reducers import reducer_for
from checkpoint._refusal import refusal, told_by
from checkpoint._shapes import describe
from checkpoint._standins import Naming, is_stand_in
from checkpoint._unpickling import Uncollected, main_origin
from checkpoint.errors import SerializationError

# Buffers from here on go beside the stream: below it, 100,000 tiny arrays would be as many blobs.
OUT_OF_BAND = 1 << 16

# Instances of a type, and names in all, that tell which fields it has.
SAMPLED = 16
SAMPLED_FIELDS = 1_000

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

    A graph too deep for the C pickler, or with stand-ins, is pickled once more
    from its beginning: *restart* is called, and must forget all that was
    written.  Without it such a graph is refused.  What *write*, *restart* and
    *buffer_callback* raise passes through; what the graph raises becomes a
    `SerializationError`.
    """
    pickling = _Pickling(write, buffer_callback, hooks or Hooks())
    with Uncollected():
        return _pickled(pickling, obj, restart)


def _pickled(pickling: _Pickling, obj: Any, restart: Callable[[], object] | None) -> Pickled:
    try:
        return pickling.fast(obj)
    except (RecursionError, _HoldsStandIns) as error:
        if pickling.outside.failure is error:
            raise
        return pickling.deep(obj, error, restart)
    except MemoryError:
        raise
    except Exception as error:
        if pickling.outside.failure is error:
            raise
        raise pickling.located(obj, error) from error


class _HoldsStandIns(Exception):
    """The C pickler wants to find each class, and there are some that cannot be found."""


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

    def _begin(self, naming: Naming | None = None) -> None:
        self._globals = _Globals(self._hooks, naming)
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
        return Pickled(tuple(self._buffers), self._globals.named(), self._globals.foreign)

    def deep(self, obj: Any, error: Exception, restart: Callable[[], object] | None) -> Pickled:
        if restart is None:
            why = "is nested too deep" if isinstance(error, RecursionError) else "holds stand-ins"
            raise SerializationError(
                f"cannot save state: it {why}, for an output that cannot start over"
            ) from error
        restart()
        self._begin(Naming())
        pickler = self._deep_pickler(self._write, self._callback or self._keep)
        try:
            pickler.dump(obj)
        except MemoryError:
            raise
        except Exception as deep_error:
            if self.outside.failure is deep_error:
                raise
            raise refusal(pickler.at, pickler.path, deep_error) from deep_error
        return self._result()

    def located(self, obj: Any, error: Exception) -> SerializationError:
        """The error for *error*, with the path that a second run finds."""
        self._begin(Naming())
        pickler = self._deep_pickler(_discard, _discard)
        try:
            pickler.dump(obj)
        except MemoryError:
            raise
        except Exception:
            return refusal(pickler.at, pickler.path, error)
        return SerializationError(f"cannot save state: {told_by(error)}; a second try did not fail")

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
    names nothing that is not seen by itself, the pickler does the rest.  Before
    that, the first instances of each type tell which fields they have.  *naming*
    is how stand-ins are written; the C pickler has none.
    """

    def __init__(self, hooks: Hooks, naming: Naming | None) -> None:
        self._naming = naming
        table = hooks.dispatch_table
        self._table = copyreg.dispatch_table if table is None else table
        self._asked = hooks.reducer_override
        self._found: list[tuple[Any, str]] = []
        self._plain: set[type] = set()
        self._ways: dict[type, Callable[[Any], Any]] = {}
        self._samples: dict[int, _Sample] = {}
        self._tainted = False

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
        if is_stand_in(obj):
            if self._naming is None:
                raise _HoldsStandIns
            return self._naming.way(obj)
        way = way_to_reduce(kind, self._table)
        if way is by_itself and (reducer := reducer_for(kind)) is not None:
            way = partial(_rewritten, reducer, {})
        if _aside.names(kind):
            way = partial(_aside.reduced, way, self._taint)
        if kind is not FunctionType and not issubclass(kind, type):
            self._samples[id(kind)] = way = _Sample(kind, way, self._learn)
        self._ways[kind] = way
        return self._named(obj, way(obj))

    def _taint(self) -> None:
        self._tainted = True

    @property
    def foreign(self) -> bool:
        """Whether something was seen that came out of a stranger's file and was never run."""
        return self._tainted or (self._naming is not None and self._naming.foreign)

    def _learn(self, sample: _Sample) -> None:
        """Look at no more instances of a type: the rest of them must cost nothing."""
        if sample.way is by_itself and _is_plain(sample.kind):
            del self._ways[sample.kind]
            self._plain.add(sample.kind)
        else:
            self._ways[sample.kind] = sample.way

    def _named(self, obj: Any, value: Any) -> Any:
        if isinstance(value, str):
            self._found.append((obj, value))
        return value

    def named(self) -> tuple[Global, ...]:
        """The globals that were seen, sorted, with the shapes of classes that have instances."""
        objects = {(pickle.whichmodule(obj, name), name): obj for obj, name in self._found}  # type: ignore[attr-defined]
        origin = main_origin()
        found = {
            (module, name): Global(
                module, name, origin if module == "__main__" else None, self._shape(obj)
            )
            for (module, name), obj in objects.items()
        }
        every = self._naming.with_globals(found) if self._naming else found
        return tuple(entry for _, entry in sorted(every.items(), key=itemgetter(0)))

    def _shape(self, obj: Any) -> Shape | None:
        sample = self._samples.get(id(obj))
        if sample is None:
            return None
        try:
            shape = describe(sample.kind, sample.fields, sample.more)
            if shape is None:
                return None
            kept = dict.fromkeys((*shape.extra, *_aside.names(sample.kind)))
            extra = tuple(name for name in kept if name not in shape.fields)
            return evolve(shape, extra=extra, layout=sample.layout)
        except Exception:  # a metaclass may do anything; nothing of it may cost a save
            return None


class _Sample:
    """Reduces the first instances of a type, and notes the fields of their states."""

    def __init__(
        self, kind: type, way: Callable[[Any], Any], full: Callable[[_Sample], object]
    ) -> None:
        self.kind = kind
        self.way = way
        self.fields: dict[str, None] = {}
        self.layout = ""
        self.more = False
        self._full = full
        self._left = SAMPLED

    def __call__(self, obj: Any) -> Any:
        value = self.way(obj)
        if not self._left:
            self.more = True
            self._full(self)
        else:
            self._left -= 1
            self._look_at(value)
        return value

    def _look_at(self, value: Any) -> None:
        state: Any = value[2] if type(value) is tuple and len(value) > 2 else None
        layout = _layout(state)
        self.layout = self.layout or layout
        for names in state if layout == "pair" else (state,):
            if type(names) is dict:
                fields = islice(names, SAMPLED_FIELDS + 1)
                self.fields |= dict.fromkeys(name for name in fields if type(name) is str)
        if len(self.fields) > SAMPLED_FIELDS:
            self.fields = dict.fromkeys(islice(self.fields, SAMPLED_FIELDS))
            self.more = True


def _rewritten(reducer: Callable[[Any], Any], seen: dict[int, Any], obj: Any) -> Any:
    """What *reducer* makes of *obj*, or plain pickling, if it leaves that one to it.

    Asked again for one that is *seen*, whose own parts lead back to it, it is
    left to plain pickling, which can make it before its parts.
    """
    value = NotImplemented if id(obj) in seen else reducer(obj)
    seen[id(obj)] = obj
    return by_itself(obj) if value is NotImplemented else value


def _layout(state: Any) -> str:
    """How a state is laid out that is no dict."""
    if state is None or type(state) is dict:
        return ""
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        return "pair" if isinstance(state[0], dict | None) else "other"
    return type(state).__name__ if type(state) in (list, tuple) else "other"


def _is_plain(kind: Any) -> bool:
    base: Any = object
    return kind.__reduce_ex__ is base.__reduce_ex__ and kind.__reduce__ is base.__reduce__
