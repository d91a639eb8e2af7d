"""What a value in a stream is: its type, its value or what it holds, and where that is.

Nothing is made or imported: a type is what the stream names, and a few
spellings that every pickler has for the same thing are told apart by name.
"""

from __future__ import annotations

import copyreg
import pickle
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

from attrs import define, field, frozen

from checkpoint._atoms import TYPES, Cut, atom, shown
from checkpoint._disassembly import Disassembly
from checkpoint._selecting import UNTOLD, Keys
from checkpoint._spans import ATOMS, EXTENSIONS, START, WIDTHS, Item, Machine, Step

_BUILD = pickle.BUILD[0]

_CALLS = pickle.REDUCE + pickle.NEWOBJ + pickle.NEWOBJ_EX + pickle.OBJ
_TUPLES = pickle.TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3
_SETITEMS = pickle.SETITEM + pickle.SETITEMS

_DEEPEST_NAME = 20

# Functions that rebuild an instance of what they are given first.
_REBUILDERS = ("copyreg:_reconstructor", "copyreg:__newobj__", "copyreg:__newobj_ex__")


@frozen
class Way:
    """A function that rebuilds arrays: where it is given dtype, shape and data."""

    shape: int
    data: int = 0
    dtype: int | None = None
    opcode: int | None = None  # they are in the state, not among the arguments


_IN_STATE = Way(shape=1, dtype=2, data=4, opcode=_BUILD)
_FROM_BUFFER = Way(shape=2, dtype=1, data=0)
_ARRAYS = {
    "numpy._core.numeric:_frombuffer": _FROM_BUFFER,
    "numpy.core.numeric:_frombuffer": _FROM_BUFFER,
    "numpy._core.multiarray:_reconstruct": _IN_STATE,
    "numpy.core.multiarray:_reconstruct": _IN_STATE,
    "torch._utils:_rebuild_tensor_v2": Way(shape=2),
    "torch._utils:_rebuild_tensor": Way(shape=2),
}
_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}


@frozen
class Child:
    """A value in another: the piece of the path that leads there, and the key, name or index."""

    piece: str
    key: Any
    item: Item
    start: int
    recalled: bool
    mark: Any = None  # what tells it from its siblings, beside the piece


KEYED = ("entry", "attribute", "keyword")


@frozen
class Row:
    """Operands of one step that are of one kind, and the number of the first among its kind."""

    kind: str
    step: Step
    count: int
    number: int = 0

    def place(self, operand: int) -> int | None:
        """The number in the row of what the step takes at *operand*; None for a key."""
        if self.kind in KEYED:
            return operand // 2 if operand % 2 else None
        if self.kind == "field":
            return operand - 1
        if self.kind == "argument":
            return operand - (1 if self.step.opcode in _CALLS else self.number)
        return operand


class Stretch:
    """Items that come after each other in one step: where each begins, and ends."""

    def __init__(self, number: int, width: int, operands: array[int], end: int) -> None:
        self.number, self.end = number, end  # of the first item; where the last one ends
        self._width, self._operands = width, operands

    @cached_property
    def starts(self) -> list[int]:
        """Where each item begins."""
        return [entry & START for entry in self._operands[:: self._width]]

    @cached_property
    def ends(self) -> list[int]:
        """Where each item ends."""
        return [*self.starts[1:], self.end]

    def whole(self, end: int) -> int:
        """How many items end at *end* or before."""
        return bisect_right(self.ends, end)


@define
class View:
    """One value: its type, its value if it is an atom, and the rows of what it holds."""

    item: Item
    type: str
    value: Any = UNTOLD
    rows: list[Row] = field(factory=list)
    dtype: str | None = None
    shape: tuple[Any, ...] | None = None
    data: Item | None = None  # the memory of an array
    buffer: int | None = None
    skipped: int = 0  # arguments of `__reduce__()[1]` that are not among the rows

    _ends: list[int] | None = None

    @property
    def ends(self) -> list[int]:
        """How many values there are up to the end of each row."""
        if self._ends is None:
            self._ends = [*accumulate(row.count for row in self.rows)]
        return self._ends

    def __len__(self) -> int:
        return self.ends[-1] if self.rows else 0


class Views:
    """The values of a stream, as they are looked at."""

    def __init__(self, program: Disassembly) -> None:
        self.program = program
        self.keys = Keys(program)
        self._names: dict[int, str | None] = {}

    @property
    def root(self) -> Item:
        return self.program.root

    # --- one value ----------------------------------------------------------

    def view(self, item: Item) -> View:
        """What *item* is."""
        data = self.program.data
        op = data[item.start]
        if op in TYPES and (ATOMS[op] or WIDTHS[op]) and self._alone(item):
            return self._atom(item, op)
        machine = self.program.opened(item)
        made = machine.made
        op = op if made is None else made.opcode
        view = View(item, TYPES.get(op, "object"))
        if op in _CALLS and made is not None:
            self._called(view, made)
        elif made is not None and (op in _TUPLES or op == pickle.FROZENSET[0]):
            kind = "item" if op in _TUPLES else "element"
            view.rows.append(Row(kind, made, len(made.operands)))
        elif op == pickle.STACK_GLOBAL[0] or op in EXTENSIONS:
            view.value = self.name(item)
        elif op == pickle.BINPERSID[0] and made is not None:
            view.rows.append(Row("persistent", made, 1))
        elif view.type == "buffer":
            view.buffer = bisect_left(self.program.buffers, item.start)
        self._filled(view, machine)
        if view.type in _ARRAYS:
            self._array(view, machine)
        return view

    def _alone(self, item: Item) -> bool:
        """Whether one opcode makes it all, and the memo may have it."""
        data, op = self.program.data, self.program.data[item.start]
        size = ATOMS[op]
        if width := WIDTHS[op]:
            first = item.start + 1 + width
            size = 1 + width + int.from_bytes(data[item.start + 1 : first], "little")
        rest: int = item.end - item.start - size
        return rest == 0 or (rest == 1 and data[item.end - 1] == pickle.MEMOIZE[0])

    def _atom(self, item: Item, op: int) -> View:
        view = View(item, TYPES[op])
        if op in EXTENSIONS:
            view.value = self.name(item)
        elif view.type not in ("list", "dict", "set"):
            view.value = atom(self.program.data, item.start)
        if view.type == "tuple":
            view.value = UNTOLD
        return view

    def _called(self, view: View, made: Step) -> None:
        """An instance, or what else a function gives."""
        named = self.name(self.program.operand(made, 0)) or "object"
        view.type = named
        if made.opcode == pickle.OBJ[0]:
            view.rows.append(Row("field", made, len(made.operands) - 1))
            return
        args = self._row(self.program.operand(made, 1))
        if args is None:
            view.rows.append(Row("argument", made, len(made.operands) - 1))
            return
        if named == "_codecs:encode" and args.count == 2:
            self._encoded(view, self.program.operand(args.step, 0))
            return
        if named in _REBUILDERS and args.count:
            view.type = self.name(self.program.operand(args.step, 0)) or named
            view.skipped = 1
            if named == _REBUILDERS[0] and args.count == 3:
                view.skipped = 3 if self._is_none(self.program.operand(args.step, 2)) else 2
        view.rows.append(Row("argument", args.step, args.count - view.skipped, view.skipped))
        if made.opcode != pickle.REDUCE[0]:
            view.skipped = -1  # `__reduce__()[1]` begins with the class there
        if made.opcode == pickle.NEWOBJ_EX[0]:
            for step in self.program.opened(self.program.operand(made, 2)).filled:
                if step.opcode in _SETITEMS:
                    view.rows.append(Row("keyword", step, len(step.operands) // 2))

    def _encoded(self, view: View, text: Item) -> None:
        """Bytes, as protocols without them have them."""
        value = atom(self.program.data, text.start)
        if isinstance(value, Cut):
            value = Cut(value.head.encode("latin-1", "replace"), value.length, value.unit)
        view.type, view.data = "bytes", text
        view.value = value.encode("latin-1", "replace") if isinstance(value, str) else value

    def _row(self, item: Item) -> Row | None:
        """The operands of a tuple; None if it is none."""
        if self.program.data[item.start] == pickle.EMPTY_TUPLE[0]:
            return Row("argument", Step(0, item.start, array("Q")), 0)
        made = self.program.opened(item).made
        if made is None or made.opcode not in _TUPLES:
            return None
        return Row("argument", made, len(made.operands))

    def _is_none(self, item: Item) -> bool:
        return bool(self.program.data[item.start] == pickle.NONE[0])

    def _filled(self, view: View, machine: Machine) -> None:
        counts = {"item": 0, "entry": 0, "element": 0}
        for step in machine.filled:
            if step.opcode == _BUILD:
                self._state(view, self.program.operand(step, 0), step)
                continue
            kind = "entry" if step.opcode in _SETITEMS else "item"
            if step.opcode == pickle.ADDITEMS[0]:
                kind = "element"
            count = len(step.operands) // (2 if kind == "entry" else 1)
            view.rows.append(Row(kind, step, count, counts[kind]))
            counts[kind] += count

    def _state(self, view: View, item: Item, build: Step) -> None:
        """The attributes that a state gives: it is a dict, or a pair of one and one for slots."""
        machine = self.program.opened(item)
        made, parts = machine.made, [item]
        if made is not None and made.opcode == pickle.TUPLE2[0]:
            parts = [self.program.operand(made, place) for place in (0, 1)]
        data, rows = self.program.data, []
        for part in parts:
            if data[part.start] == pickle.NONE[0]:
                continue
            machine = machine if part == item else self.program.opened(part)
            if machine.made is not None or data[part.start] != pickle.EMPTY_DICT[0]:
                view.rows.append(Row("state", build, 1))
                return
            rows += [
                Row("attribute", step, len(step.operands) // 2)
                for step in machine.filled
                if step.opcode in _SETITEMS
            ]
        view.rows += rows

    # --- what it holds ------------------------------------------------------

    def children(self, view: View) -> Iterator[Child]:
        """All that a value holds, in the order of the stream."""
        for row in view.rows:
            for place in range(row.count):
                yield self._child(view, row, place)

    def child(self, view: View, number: int) -> Child:
        """What a value holds at *number*, of all that it holds."""
        at = bisect_right(view.ends, number)
        before = view.ends[at - 1] if at else 0
        return self._child(view, view.rows[at], number - before)

    def _child(self, view: View, row: Row, place: int) -> Child:
        step, number = row.step, row.number + place
        if row.kind in KEYED:
            operand = 2 * place + 1
            key = self.keys.told(self.program.operand(step, operand - 1))
            return self._made(step, operand, *self._keyed(row.kind, key, number), key)
        if row.kind == "element":
            key = self.keys.told(self.program.operand(step, place))
            text = f"#{number}" if key is UNTOLD else shown(key)
            return self._made(step, place, f".<element {text}>", number, key)
        if row.kind == "item":
            return self._made(step, place, f"[{number}]", number)
        if row.kind == "state":
            return self._made(step, 0, ".__reduce__()[2]", "__reduce__()[2]")
        if row.kind == "persistent":
            return self._made(step, 0, ".<persistent id>", "persistent id")
        if row.kind == "field":
            return self._made(step, place + 1, f".__reduce__()[1][{place}]", place)
        offset = 1 if view.skipped == -1 else 0
        operand = place + row.number if step.opcode not in _CALLS else place + 1
        piece = f".__reduce__()[1][{number + offset}]"
        return self._made(step, operand, piece, piece[1:])

    def key(self, view: View, row: Row, operand: int) -> Child:
        """The key that a step takes at *operand*."""
        key = self.keys.told(self.program.operand(row.step, operand))
        text = f"#{row.number + operand // 2}" if key is UNTOLD else shown(key)
        return self._made(row.step, operand, f".<key {text}>", key)

    def neighbours(self, view: View, number: int) -> int:
        """How many come after each other in one step, from *number* on; 0 if they do not."""
        at = bisect_right(view.ends, number)
        kind = view.rows[at].kind
        return view.ends[at] - number if kind in KEYED or kind == "item" else 0

    def stretch(self, view: View, number: int, count: int) -> Stretch:
        """So many of the neighbours from *number* on."""
        at = bisect_right(view.ends, number)
        row = view.rows[at]
        width = 2 if row.kind in KEYED else 1
        operands = row.step.operands
        first = width * (number - (view.ends[at - 1] if at else 0))
        last = first + width * count
        end = operands[last] & START if last < len(operands) else row.step.at
        return Stretch(number, width, operands[first:last], end)

    def place(self, view: View, kinds: Sequence[str], step: Any) -> int | None:
        """Where a value holds what *step* leads to, among all that it holds."""
        before, length = 0, sum(row.count for row in view.rows if row.kind in kinds)
        found = None
        for row in view.rows:
            if row.kind in kinds and row.kind in KEYED:
                for place in range(row.count):
                    key = self.keys.told(self.program.operand(row.step, 2 * place))
                    if key == step:
                        found = before + place  # the last one holds
            elif row.kind in kinds and isinstance(step, int) and -length <= step < length:
                number = step % length
                if row.number <= number < row.number + row.count:
                    return before + number - row.number
            before += row.count
        return found

    def _keyed(self, kind: str, key: Any, number: int) -> tuple[str, Any]:
        if key is UNTOLD:
            return f"[<key {number}>]", UNTOLD
        if kind == "entry":
            return f"[{shown(key)}]", key
        if isinstance(key, str) and key.isidentifier():
            return f".{key}", key
        return f".__dict__[{shown(key)}]", key

    def _made(self, step: Step, operand: int, piece: str, key: Any, mark: Any = UNTOLD) -> Child:
        start = step.operands[operand] & START
        item = self.program.operand(step, operand)
        recalled = item.index >= 0 and self.program.memo.starts[item.index] != start
        told = None if mark is UNTOLD else (type(mark), mark)
        return Child(piece, key, item, start, recalled, told)

    # --- arrays -------------------------------------------------------------

    def _array(self, view: View, machine: Machine) -> None:
        """Tell dtype and shape, and leave nothing but its memory of an array."""
        way = _ARRAYS[view.type]
        arguments = view.rows[0] if view.rows else None
        row = arguments if way.opcode is None else self._built(machine)
        if row is None or row.kind != "argument" or row.count <= max(way.shape, way.data):
            return
        shape = self.keys.told(self.program.operand(row.step, way.shape))
        if isinstance(shape, tuple) and all(type(n) is int for n in shape):
            view.shape = shape
        if way.dtype is None:
            return
        view.dtype = self._dtype(self.program.operand(row.step, way.dtype))
        data = self.program.operand(row.step, way.data)
        if view.shape is None or view.dtype is None or self._holds_objects(data):
            return
        view.type = "numpy:ndarray"
        if arguments is not None and way.opcode is not None and arguments.count:
            view.type = self.name(self.program.operand(arguments.step, 0)) or view.type
        view.data, view.rows = data, []

    def _built(self, machine: Machine) -> Row | None:
        step = next((step for step in machine.filled if step.opcode == _BUILD), None)
        return None if step is None else self._row(self.program.operand(step, 0))

    def _holds_objects(self, item: Item) -> bool:
        return bool(self.program.data[item.start] == pickle.EMPTY_LIST[0])

    def _dtype(self, item: Item) -> str | None:
        """The name of a dtype, as numpy would print it where it is a simple one."""
        machine = self.program.opened(item)
        if machine.made is None or machine.made.opcode != pickle.REDUCE[0]:
            return None
        row = self._row(self.program.operand(machine.made, 1))
        if row is None or not row.count:
            return None
        code = self.keys.told(self.program.operand(row.step, 0))
        state = self._built(machine)
        if not isinstance(code, str):
            return None
        order = "|"
        if state is not None and state.count > 1:
            order = str(self.keys.told(self.program.operand(state.step, 1)))
        kind, size = _KINDS.get(code[:1]), code[1:4]
        if kind is None or not size.isdecimal() or order == ">":
            return f"{order}{code[:20]}" if order in ("<", ">") else code[:20]
        return "bool" if kind == "bool" else f"{kind}{8 * int(size)}"

    # --- names --------------------------------------------------------------

    def name(self, item: Item) -> str | None:
        """The global that *item* is, `module:qualname`; None if it is none."""
        return self._name(item, 0)

    def _name(self, item: Item, depth: int) -> str | None:
        if item.index < 0:
            return self._named(item, depth)
        if item.index not in self._names:
            self._names[item.index] = None
            self._names[item.index] = self._named(item, depth)
        return self._names[item.index]

    def _named(self, item: Item, depth: int) -> str | None:
        op = self.program.data[item.start]
        if op in EXTENSIONS:
            return self._extension(item.start, ATOMS[op])
        made = self.program.opened(item).made
        if made is None or len(made.operands) != 2:
            return None
        if made.opcode == pickle.STACK_GLOBAL[0]:
            names = [self.keys.told(self.program.operand(made, place)) for place in (0, 1)]
            if all(isinstance(name, str) for name in names):
                return f"{names[0]}:{names[1]}"
        elif made.opcode == pickle.REDUCE[0] and depth < _DEEPEST_NAME:
            return self._nested(made, depth + 1)
        return None

    def _nested(self, made: Step, depth: int) -> str | None:
        """A class in a class, which older protocols look up with `getattr`."""
        if self._name(self.program.operand(made, 0), depth) != "builtins:getattr":
            return None
        args = self._row(self.program.operand(made, 1))
        if args is None or args.count != 2:
            return None
        owner = self._name(self.program.operand(args.step, 0), depth)
        inner = self.keys.told(self.program.operand(args.step, 1))
        return f"{owner}.{inner}" if owner and isinstance(inner, str) else None

    def _extension(self, start: int, size: int) -> str:
        code = int.from_bytes(self.program.data[start + 1 : start + size], "little")
        found = copyreg._inverted_registry.get(code)  # type: ignore[attr-defined]
        return ":".join(found) if found else f"extension {code}"


def entry_start(entry: int) -> int:
    """Where in the stream what became a stack entry begins."""
    return entry & START
