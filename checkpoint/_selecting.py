"""One item of a graph, cut out of its stream: what the item needs, and nothing of the rest.

What an item needs is its span, the spans of all that it recalls, and so on
(`_spans`).  They are kept whole and in their order, and all but the item are
dropped from the stack again.  So each opcode that is kept finds the operands
that it always had, in the same state.  A span may be one that the item lies in:
then it has recalled something that holds it, and all of that comes along.

What a constructor does to objects that it is not given to fill, no stream
tells, and no cut keeps.
"""

from __future__ import annotations

import pickle
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import unpack
from typing import Any, NoReturn

from attrs import field, frozen

from checkpoint._model import Buffer
from checkpoint._spans import ATOMS, GETS, PROTO, TAKES, WIDTHS, Item, Machine, Program, Span, Step
from checkpoint.errors import NotFoundError, SerializationError


@frozen
class Selection:
    """One item as a stream of its own, and the indices of the buffers that it takes, in order."""

    stream: bytes = field(repr=False)
    buffers: tuple[int, ...]


def select(stream: Buffer, path: tuple[Any, ...]) -> Selection:
    """What to load for the item at *path* of the graph in *stream*, and for nothing else.

    A step is a key, if the stream spells it out (a string, bytes, a number,
    None, a bool, a tuple of these); else the name of an attribute, as the saved
    state has it; else an index.  *stream* is one that `pickle_into` wrote.
    `NotFoundError` says which step is not there, and what is there instead;
    `SerializationError` which one only the loaded graph could tell.
    """
    program = Program(stream)
    keys = Keys(program)
    item, where = program.root, "state"
    for step in path:
        item, where = _Opened(program, keys, item, where).at(step)
    return _cut(program, item)


def walk(obj: Any, path: tuple[Any, ...]) -> Any:
    """The item at *path* of a loaded graph; each step is a key, else an attribute, else an index.

    `NotFoundError` says which step is not there, and what is there instead.
    """
    where = "state"
    for step in path:
        if isinstance(obj, Mapping) and step in obj:
            obj, where = obj[step], f"{where}[{_shown(step)}]"
        elif isinstance(step, str) and hasattr(obj, step):
            obj, where = getattr(obj, step), f"{where}.{step}"
        elif _is_row(obj) and _counts(step, len(obj)):
            obj, where = obj[step], f"{where}[{step}]"
        else:
            keys = [*obj] if isinstance(obj, Mapping) else []
            _miss(where, step, keys, [*getattr(obj, "__dict__", ())], _is_row(obj) and len(obj))
    return obj


def _is_row(obj: Any) -> bool:
    return isinstance(obj, Sequence) and not isinstance(obj, (str, bytes, bytearray))


def _counts(step: Any, length: int) -> bool:
    return isinstance(step, int) and -length <= step < length


# What is said of a step that is not there.

_FEW = 5


def _miss(where: str, step: Any, keys: list[Any], names: list[Any], length: int) -> NoReturn:
    """Say that *step* is not there, but these keys, these attributes, or so many items."""
    missed = where + _link(step, keys, names)
    raise NotFoundError(f"{missed} is not there; {_listed(keys + names, length)}")


def _link(step: Any, keys: list[Any], names: list[Any]) -> str:
    named = isinstance(step, str) and names and not keys
    return f".{step}" if named else f"[{_shown(step)}]"


def _listed(keys: list[Any], length: int) -> str:
    told = [_shown(key) for key in keys[:_FEW]]
    if len(keys) > _FEW:
        told[-1] += f" and {len(keys) - _FEW:,} more"
    if not told and length:
        told = [f"{length:,} item{'s' * (length > 1)}"]
    if not told:
        return "nothing is there"
    return f"there {'are' if max(len(keys), length) > 1 else 'is'} {', '.join(told)}"


def _shown(key: Any) -> str:
    if key is UNTOLD:
        return "one that only the loaded graph can tell"
    text = repr(key)
    return text if len(text) <= 64 else f"{text[:60]}…"


# Keys, as a stream spells them out.

_Key = tuple[Any, int]  # a value, and of how many values it is made

UNTOLD = object()
_NO_KEY: _Key = (UNTOLD, 1)

# A key of more values or opcodes than this is not told: tuples recalled in tuples
# could spell out more in a few bytes than can ever be compared.
_LARGEST_KEY = 64
_DEEPEST_KEY = 8

_MARK, _MEMOIZE, _TUPLE = pickle.MARK[0], pickle.MEMOIZE[0], pickle.TUPLE[0]
_TUPLES = pickle.TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3
CONSTANTS = {
    pickle.NONE[0]: None,
    pickle.NEWTRUE[0]: True,
    pickle.NEWFALSE[0]: False,
    pickle.EMPTY_TUPLE[0]: (),
}


def _text(payload: bytes) -> Any:
    try:
        return payload.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return UNTOLD


def _unsigned(payload: bytes) -> int:
    return int.from_bytes(payload, "little")


_FIXED: dict[int, Callable[[bytes], Any]] = {
    pickle.BININT1[0]: _unsigned,
    pickle.BININT2[0]: _unsigned,
    pickle.BININT[0]: pickle.decode_long,
    pickle.BINFLOAT[0]: lambda payload: unpack(">d", payload)[0],
}
_SIZED: dict[int, Callable[[bytes], Any]] = {
    **dict.fromkeys(pickle.SHORT_BINUNICODE + pickle.BINUNICODE + pickle.BINUNICODE8, _text),
    **dict.fromkeys(pickle.SHORT_BINBYTES + pickle.BINBYTES + pickle.BINBYTES8, bytes),
    pickle.LONG1[0]: pickle.decode_long,
}


class Keys:
    """Tells the keys that a stream spells out; each that is in the memo once."""

    def __init__(self, program: Program) -> None:
        self._program, self._data = program, program.data
        self._told: dict[int, _Key] = {}

    def told(self, item: Item) -> Any:
        """The key that *item* is, or `UNTOLD`."""
        if item.index >= 0:
            return self._recalled(item.index, 0)[0]
        return self._spelled(item.start, item.end, 0)[0]

    def _recalled(self, index: int, depth: int) -> _Key:
        if index not in self._told:
            memo = self._program.memo
            self._told[index] = self._spelled(memo.starts[index], memo.ends[index], depth)
        return self._told[index]

    def _spelled(self, at: int, end: int, depth: int) -> _Key:
        value, after = spelled(self._data, at)
        if after == end or (after + 1 == end and self._data[after] == _MEMOIZE):
            return value, 1  # nearly always
        values: list[_Key] = []
        marks: list[int] = []
        for _ in range(_LARGEST_KEY):
            if at == end:
                return values[0]
            op = self._data[at]
            if op == _MARK:
                marks.append(len(values))
                at += 1
            elif op == _MEMOIZE:
                at += 1
            elif op in _TUPLES:
                first = marks.pop() if op == _TUPLE else len(values) - TAKES[op]
                values[first:] = [_tuple(values[first:])]
                at += 1
            elif GETS[op] and depth < _DEEPEST_KEY:
                index = _unsigned(self._data[at + 1 : at + GETS[op]])
                values.append(self._recalled(index, depth + 1))
                at += GETS[op]
            else:
                value, at = spelled(self._data, at)
                values.append((value, 1))
            if values and values[-1][0] is UNTOLD:
                break
        return _NO_KEY


def _tuple(values: list[_Key]) -> _Key:
    weight = 1 + sum(weight for _, weight in values)
    return (tuple(value for value, _ in values), weight) if weight <= _LARGEST_KEY else _NO_KEY


def spelled(data: Buffer, at: int) -> tuple[Any, int]:
    """The atom at a place, and the place after it."""
    op = data[at]
    if op in CONSTANTS:
        return CONSTANTS[op], at + 1
    if op in _FIXED:
        end = at + ATOMS[op]
        return _FIXED[op](bytes(data[at + 1 : end])), end
    if op in _SIZED:
        start = at + 1 + WIDTHS[op]
        end = start + _unsigned(data[at + 1 : start])
        return _SIZED[op](bytes(data[start:end])), end
    return UNTOLD, at


# What is in a value.

_EMPTY_DICT, _EMPTY_LIST, _NONE = pickle.EMPTY_DICT[0], pickle.EMPTY_LIST[0], pickle.NONE[0]
_TUPLE2, _NO_ARGS = pickle.TUPLE2[0], pickle.EMPTY_TUPLE[0]
_CALLS = pickle.REDUCE + pickle.NEWOBJ

# Where one of these has made a value, nothing is in it but what the stream shows.
_OPEN = {
    *_TUPLES, *CONSTANTS, *_FIXED, *_SIZED, _EMPTY_DICT, _EMPTY_LIST, pickle.EMPTY_SET[0],
    pickle.FROZENSET[0], pickle.LONG4[0], pickle.BYTEARRAY8[0],
}  # fmt: skip


class _Opened:
    """A value, and what is in it as far as the stream tells."""

    def __init__(self, program: Program, keys: Keys, item: Item, where: str) -> None:
        self._program, self._keys, self._where = program, keys, where
        self._machine = program.opened(item)
        self._made = _maker(self._machine, item)
        self._states: list[Machine] = []
        built = self._steps(pickle.BUILD)
        if item.index in program.by_recall or len(built) > 1:  # picklers do neither
            raise _only_loaded(where)
        told = all(self._spelled_out(program.operand(step, 0)) for step in built)
        self._hides = item.index in program.by_call or not told or self._hidden_by_construction()

    def _steps(self, opcodes: bytes) -> list[Step]:
        return [step for step in self._machine.filled if step.opcode in opcodes]

    def _hidden_by_construction(self) -> bool:
        made = self._machine.made
        if made is None or made.opcode not in _CALLS:
            return self._made not in _OPEN
        args = self._program.operand(made, 1)
        return (args.end - args.start, self._program.data[args.start]) != (1, _NO_ARGS)

    def _spelled_out(self, item: Item) -> bool:
        """Note the dicts of a state: it is one, or a pair of one and one for slots, or None."""
        machine, parts = self._program.opened(item), [item]
        if _maker(machine, item) == _TUPLE2 and machine.made is not None:
            parts = [self._program.operand(machine.made, place) for place in (0, 1)]
        for part in parts:
            if self._program.data[part.start] == _NONE:
                continue
            machine = self._program.opened(part)
            if _maker(machine, part) != _EMPTY_DICT or part.index in self._program.by_recall:
                return False
            self._states.append(machine)
        return True

    def at(self, step: Any) -> tuple[Item, str]:
        """The item that *step* leads to, and the path to it."""
        if (found := self._under(self._machine, step)) is not None:
            return found, f"{self._where}[{_shown(step)}]"
        if isinstance(step, str):
            for state in reversed(self._states):
                if (found := self._under(state, step)) is not None:
                    return found, f"{self._where}.{step}"
        row = self._row()
        length = sum(len(part.operands) for part in row)
        if _counts(step, length):
            return self._numbered(row, step % length), f"{self._where}[{step}]"
        return self._miss(step, length)

    def _under(self, machine: Machine, key: Any) -> Item | None:
        """What was last put under *key*."""
        for step, place in _entries(machine):
            told = self._keys.told(self._program.operand(step, place))
            if told == key:
                return self._program.operand(step, place + 1)
        return None

    def _row(self) -> list[Step]:
        """The steps that put the items of a list or a tuple there."""
        if self._made in _TUPLES and self._machine.made is not None:
            return [self._machine.made]
        if self._made == _EMPTY_LIST or (self._made in _CALLS and not self._hides):
            return self._steps(pickle.APPEND + pickle.APPENDS)
        return []

    def _numbered(self, row: list[Step], index: int) -> Item:
        for step in row:
            if index < len(step.operands):
                break
            index -= len(step.operands)
        return self._program.operand(step, index)

    def _miss(self, step: Any, length: int) -> NoReturn:
        keys, names = (
            [
                self._keys.told(self._program.operand(*entry))
                for machine in machines
                for entry in reversed([*_entries(machine)])
            ]
            for machines in ([self._machine], self._states)
        )
        if self._hides:
            raise _only_loaded(self._where + _link(step, keys, names))
        _miss(self._where, step, keys, names, length)


def _maker(machine: Machine, item: Item) -> int:
    """The opcode that made *item*, which the *machine* has made."""
    made: int = machine.data[item.start] if machine.made is None else machine.made.opcode
    return made


def _entries(machine: Machine) -> Iterator[tuple[Step, int]]:
    """The places of the keys that were put into a value, the last one first."""
    for step in reversed(machine.filled):
        if step.opcode in pickle.SETITEM + pickle.SETITEMS:
            for place in range(len(step.operands) // 2 * 2 - 2, -1, -2):
                yield step, place


def _only_loaded(where: str) -> SerializationError:
    return SerializationError(
        f"{where} cannot be told from the stream: what rebuilds it hides what will be in it; "
        "load the whole, or select what it is in",
        path=where,
    )


# The cut.


class _Once:
    """Gives the places of a sorted row that lie in a span, each one only once."""

    def __init__(self, places: Sequence[int]) -> None:
        self._places = places
        self._next = list(range(len(places) + 1))

    def within(self, span: Span) -> Iterator[int]:
        start, end = span
        at = self._unseen(bisect_left(self._places, start))
        while at < len(self._places) and self._places[at] < end:
            self._next[at] = at + 1
            yield at
            at = self._unseen(at + 1)

    def _unseen(self, at: int) -> int:
        following = self._next
        while following[at] != at:
            following[at] = following[following[at]]
            at = following[at]
        return at


def _needed(program: Program, wanted: Span) -> list[Span]:
    """The spans that *wanted* needs, itself among them, in order and apart."""
    memo = program.memo
    later = sorted((memo.puts[index], span) for index, span in program.later)
    gets, fillings = _Once(program.gets), _Once([put for put, _ in later])
    spans, todo, seen = [], [wanted], set()
    while todo:
        span = todo.pop()
        spans.append(span)
        for place in gets.within(span):
            index = program.recalled[place]
            if memo.puts[index] < span[0] and index not in seen:
                seen.add(index)
                todo.append((memo.starts[index], memo.ends[index]))
        todo.extend(later[place][1] for place in fillings.within(span))
    return _outermost(spans)


def _outermost(spans: list[Span]) -> list[Span]:
    outer: list[Span] = []
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not outer or span[0] >= outer[-1][1]:
            outer.append(span)
    return outer


def _cut(program: Program, item: Item) -> Selection:
    spans = _needed(program, (item.start, item.end))
    last = spans[-1] == (item.start, item.end)
    if not last and item.index < 0:
        raise _only_loaded("what is selected")
    recall = _Recall(program, spans)
    pieces: list[Any] = []
    for span in spans:
        pieces += (pickle.POP, *recall.rewritten(span))
    pieces[0] = PROTO  # nothing is there to be dropped
    if not last:
        pieces += (pickle.POP, recall.opcode(item.index))
    return Selection(b"".join([*pieces, pickle.STOP]), tuple(_buffers(program, spans)))


def _buffers(program: Program, spans: list[Span]) -> Iterator[int]:
    for start, end in spans:
        yield from range(bisect_left(program.buffers, start), bisect_left(program.buffers, end))


class _Recall:
    """Counts the memo anew where only *spans* are kept."""

    def __init__(self, program: Program, spans: list[Span]) -> None:
        self._program = program
        self._first: list[int] = []  # per span: the old index of its first entry
        self._shift: list[int] = []  # ... and what its indices are lowered by
        count = 0
        for start, end in spans:
            first = bisect_left(program.memo.puts, start)
            self._first.append(first)
            self._shift.append(first - count)
            count += bisect_left(program.memo.puts, end) - first

    def opcode(self, index: int) -> bytes:
        index -= self._shift[bisect_right(self._first, index) - 1]
        if index < 256:
            return pickle.BINGET + index.to_bytes(1, "little")
        return pickle.LONG_BINGET + index.to_bytes(4, "little")

    def rewritten(self, span: Span) -> Iterator[Any]:
        """The opcodes of *span*, in pieces."""
        program, (at, end) = self._program, span
        first, stop = (bisect_left(program.gets, place) for place in span)
        for place in range(first, stop):
            get = program.gets[place]
            yield program.data[at:get]
            yield self.opcode(program.recalled[place])
            at = get + GETS[program.data[get]]
        yield program.data[at:end]
