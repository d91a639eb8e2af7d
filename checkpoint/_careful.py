"""pickle's unpickler in Python, where the C one does not see enough."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from attrs import frozen

from checkpoint._adapting import Adapter, Becomes, EnumAdapter
from checkpoint._migration import Become
from checkpoint._model import Buffer
from checkpoint._outline import path_at
from checkpoint._probes import Guard
from checkpoint._refusal import told_by
from checkpoint._unpickling import Uncollected
from checkpoint.errors import CheckpointError, MigrationError, SerializationError

Ask = Callable[[Any], Any]


class _File:
    """A stream as a file that says where it is."""

    def __init__(self, stream: Buffer) -> None:
        self._view = memoryview(stream).cast("B")
        self.at = 0

    def read(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        return bytes(self._view[start : start + size])

    def readline(self) -> bytes:
        end = bytes(self._view[self.at :]).find(b"\n") + 1
        return self.read(end)


@frozen
class _Waiting:
    """An instance that has no state yet: where it was made, and as which one."""

    obj: Any
    adapter: Adapter
    number: int
    at: int


def _made(needed: Adapter, cls: Any, args: Any, more: Any) -> Any:
    try:
        return cls.__new__(cls, *args, **more)
    except Exception as error:
        raise MigrationError(
            f"{needed.stored} was saved as {needed.shape.kind}, and today's class cannot be made "
            f"from that: {told_by(error)}; keep the old class under another name, and let an "
            "upgrade of it return a Become"
        ) from error


_KEYED = (pickle.SETITEM, pickle.SETITEMS, pickle.ADDITEMS)
_InPython: Any = pickle._Unpickler


class Careful(_InPython):  # type: ignore[misc]
    """Builds a graph step by step, and takes each instance that needs it through its adapter.

    *become* are the instances, counted as they are made, that an upgrade makes
    something else of: known from the time before, they are made as that.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(_InPython.dispatch)

    def __init__(
        self,
        loading: Any,
        stream: Buffer,
        buffers: Iterable[Buffer],
        ask: Ask | None,
        become: dict[int, str | None],
        *,
        guarded: bool = False,
    ) -> None:
        self._source = _File(stream)
        super().__init__(self._source, buffers=buffers)
        self._loading, self._stream = loading, stream
        if ask is not None:
            self.persistent_load = ask
        self._adapters: dict[Any, Adapter] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._known, self.become = become, dict(become)
        self._count = 0
        self._guard = Guard() if guarded else None

    def loaded(self) -> Any:
        """The graph.  Its instances are what *become* said; see whether it says more now."""
        at = None
        try:
            with Uncollected():
                root = self.load()
                for waiting in [*self._waiting.values()]:
                    at = waiting.at
                    self._tell(waiting, lambda w: w.adapter.complete(w.obj))
            return root
        except MigrationError as error:
            if error.path is not None:
                raise
            path = path_at(self._stream, self._source.at - 1 if at is None else at)
            raise MigrationError(f"{path}: {error}", path=path) from error.__cause__
        except (CheckpointError, MemoryError):
            raise
        except Exception as error:
            raise SerializationError(f"cannot rebuild the graph: {told_by(error)}") from error

    def find_class(self, module: str, name: str) -> Any:
        target = self._loading.target(module, name)
        if target.adapter is None:
            return self._loading.met(target, target.real, module, name)
        other = self._adapters.setdefault(target.real, target.adapter)
        if other is not target.adapter:
            raise MigrationError(
                f"{module}:{name} and {other.stored} are one class today, and this graph must be "
                "built step by step, where they cannot be told apart; keep both classes for now"
            )
        return target.real

    def _new(self, cls: Any, args: Any, more: Any) -> Any:
        needed = self._adapters.get(cls) if isinstance(cls, type) else None
        if needed is None:
            return cls.__new__(cls, *args, **more)
        if needed.makes:
            return self._made(needed, args, more)
        self._count += 1
        into = self._known.get(self._count, "")
        if into is None:
            return None
        obj = self._loading.blank(into, needed) if into else _made(needed, cls, args, more)
        self._waiting[id(obj)] = _Waiting(obj, needed, self._count, self._source.at - 1)
        return obj

    def _made(self, needed: Any, args: Any, more: Any) -> Any:
        try:
            return needed.made(args, more)
        except Becomes as error:
            return self._loading.instance(error.become, needed)

    def _tell(self, waiting: _Waiting, give: Callable[[_Waiting], object]) -> None:
        """Let the adapter give an instance what it is to have."""
        needed = waiting.adapter
        try:
            give(waiting)
        except Becomes as error:
            return self._remember(waiting, error.become)
        if needed.gone is not None:
            raise needed.gone
        if waiting.number in self._known:
            raise MigrationError(
                f"the upgrade of {needed.stored} made something else of a state first, and then "
                "did not; it must depend on the state alone"
            )
        if needed.checked:
            self._loading.adapted.append((waiting.obj, needed.checked))
        return None

    def _remember(self, waiting: _Waiting, become: Become) -> None:
        stored, number = waiting.adapter.stored, waiting.number
        if not number:
            raise MigrationError(
                f"an instance of {stored} is made by a call, with or without arguments, and its "
                "upgrade cannot make something else of it"
            )
        if number in self._known and self._known[number] != become.into:
            raise MigrationError(
                f"the upgrade of {stored} made {self._known[number]} of a state first, and then "
                f"{become.into}; it must depend on the state alone"
            )
        self.become[number] = become.into
        if number in self._known:
            self._loading.dress(waiting.obj, become)

    def load_newobj(self) -> None:
        args = self.stack.pop()
        self.append(self._new(self.stack.pop(), args, {}))

    def load_newobj_ex(self) -> None:
        more = self.stack.pop()
        args = self.stack.pop()
        self.append(self._new(self.stack.pop(), args, more))

    def load_frozenset(self) -> None:
        if self._guard is not None:
            self._guard.add([], self.stack, is_set=True)
        super().load_frozenset()

    def load_reduce(self) -> None:
        needed = None
        function, args = self.stack[-2:]
        is_set = isinstance(function, type) and issubclass(function, set | frozenset)
        if self._guard is not None and is_set and len(args) == 1:
            self._guard.add([], args[0], is_set=True)
        if function is getattr and len(args) == 2 and isinstance(args[0], type):
            named = self._adapters.get(args[0])
            if isinstance(named, EnumAdapter):
                self.stack[-2:] = [named.member([args[1]])]
                return
        if isinstance(function, type):
            needed = self._adapters.get(function)
        if needed is None or not needed.makes:
            super().load_reduce()
            return
        args = self.stack.pop()
        self.stack[-1] = self._made(needed, args, {})

    def load_build(self) -> None:
        obj = self.stack[-2]
        waiting, needed = self._waiting.pop(id(obj), None), self._adapters.get(type(obj))
        if waiting is None and needed is not None:
            waiting = _Waiting(obj, needed, 0, self._source.at - 1)  # made by a call
        if waiting is not None:
            state = self.stack.pop()
            self._tell(waiting, lambda w: w.adapter.build(w.obj, state))
        elif obj is None:
            self.stack.pop()  # the state of what became nothing
        else:
            super().load_build()

    def _guard_filling(self, guard: Guard, taken: int | None, step: int) -> None:
        filled = self.metastack[-1][-1] if taken is None else self.stack[-1 - taken]
        keys = self.stack[::step] if taken is None else [self.stack[-taken]]
        guard.add(filled, keys, is_set=step == 1)

    def _filling(opcode: bytes) -> Callable[[Careful], None]:
        """What fills a list, a dict or a set, unless that became nothing."""
        fill = _InPython.dispatch[opcode[0]]
        taken = {pickle.APPEND: 1, pickle.SETITEM: 2}.get(opcode)

        def load(self: Careful) -> None:
            if self._guard is not None and opcode in _KEYED:
                self._guard_filling(self._guard, taken, 1 if opcode == pickle.ADDITEMS else 2)
            if taken is None and self.metastack[-1][-1] is None:
                self.pop_mark()
            elif taken is not None and self.stack[-1 - taken] is None:
                del self.stack[-taken:]
            else:
                fill(self)

        return load

    for _name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"):
        dispatch[getattr(pickle, _name)[0]] = _filling(getattr(pickle, _name))

    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.FROZENSET[0]] = load_frozenset
    dispatch[pickle.BUILD[0]] = load_build
