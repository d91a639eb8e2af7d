"""The outline of a graph: types, keys, shapes and sizes, as its stream tells them.

Nothing of the graph is made, and nothing that it names is imported.  A node is
looked into when it is asked for what it holds.
"""

from __future__ import annotations

import html
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice
from typing import Any, overload

from checkpoint._atoms import Cut, shown
from checkpoint._disassembly import disassembled
from checkpoint._model import Buffer, Verdict, size_text
from checkpoint._paths import READABLE
from checkpoint._selecting import UNTOLD
from checkpoint._spans import Item
from checkpoint._views import Child, View, Views, entry_start
from checkpoint.errors import NotFoundError

_DEEP, _WIDE, _LINES = 4, 12, 60


class Source:
    """A stream that outlines look at, and how large its buffers are."""

    def __init__(self, stream: Buffer, buffers: Sequence[int] = ()) -> None:
        self.program = disassembled(stream)
        self.views = Views(self.program)
        taken = [*buffers[: len(self.program.buffers)]]
        taken += [0] * (len(self.program.buffers) - len(taken))
        self._sums = [0, *accumulate(taken)]
        self._homes: dict[int, str] = {}

    def size(self, item: Item) -> int:
        """The bytes of *item* in the stream, and of the buffers that it takes there."""
        first, last = (bisect_left(self.program.buffers, place) for place in (item.start, item.end))
        return item.end - item.start + self._sums[last] - self._sums[first]

    def entry(self, index: int) -> Item:
        """The value in the memo at *index*."""
        memo = self.program.memo
        return Item(memo.starts[index], memo.ends[index], index)

    def home(self, item: Item) -> str:
        """The path of a value that others recall: where its span is."""
        if item.index not in self._homes:
            self._homes[item.index] = path_text(self._pieces(item.start, item))
        return self._homes[item.index]

    def path_at(self, offset: int) -> str:
        """The path of the innermost value whose span has the byte at *offset*."""
        return path_text(self._pieces(offset))

    def _pieces(self, offset: int, wanted: Item | None = None) -> list[str]:
        pieces: list[str] = []
        item = self.program.root
        while item != wanted:
            view = self.views.view(item)
            child = next(self._at(view, offset), None)
            if child is None:
                break
            pieces.append(child.piece)
            if child.recalled:
                break
            item = child.item
        return pieces

    def _at(self, view: View, offset: int) -> Iterator[Child]:
        """What *view* holds directly at *offset*: nothing, or one value."""
        before = 0
        for row in view.rows:
            operands = row.step.operands
            if operands and entry_start(operands[0]) <= offset < row.step.at:
                place = bisect_right(operands, offset, key=entry_start) - 1
                number = row.place(place)
                if number is None:
                    yield self.views.key(view, row, place)
                elif 0 <= number < row.count:
                    yield self.views.child(view, before + number)
                return
            before += row.count


def path_at(stream: Buffer, offset: int) -> str:
    """The path of the innermost value of *stream* whose span has the byte at *offset*."""
    return Source(stream).path_at(offset)


def path_text(pieces: Sequence[str]) -> str:
    """The path that *pieces* make; the middle of a very long one is left out."""
    if len(pieces) > READABLE:
        half = READABLE // 2
        left_out = f" … {len(pieces) - READABLE:,} more … "
        pieces = [*pieces[:half], left_out, *pieces[-half:]]
    return "state" + "".join(pieces)


class Outline:
    """A value as its stream tells it: its type, how large it is, and what it holds.

    `outline["players"][3]` leads to a key, else to an attribute, else to an
    index; `children` has all.  `reference` is the path under which the value
    is told, if this is another one.
    """

    __module__ = "checkpoint"

    def __init__(
        self, source: Source, item: Item, above: tuple[Any, str] | None, child: Child | None
    ) -> None:
        self.judge: Callable[[], Verdict] | None = None  # of a root
        self._verdict: Verdict | None = None
        self.source, self.item = source, item
        self._above, self._child = above, child  # a chain of pairs: a path is made when wanted
        self._seen: View | None = None

    # --- for the rest of the package ----------------------------------------

    @property
    def view(self) -> View:
        """What the stream says of it."""
        if self._seen is None:
            self._seen = self.source.views.view(self.item)
        return self._seen

    @property
    def is_recalled(self) -> bool:
        """Whether its span is elsewhere."""
        return self._child is not None and self._child.recalled

    @property
    def piece(self) -> str:
        """What its path has more than that of its parent."""
        return "" if self._child is None else self._child.piece

    @property
    def mark(self) -> Any:
        """What tells it from its siblings, beside the piece."""
        return None if self._child is None else self._child.mark

    # --- what it is ---------------------------------------------------------

    @property
    def verdict(self) -> Verdict | None:
        """What a load would say of it, if this is a root; found out when it is asked for."""
        if self._verdict is None and self.judge is not None:
            self._verdict = self.judge()
        return self._verdict

    @property
    def path(self) -> str:
        """Where it is, as Python source: `state['players'][3].hp`."""
        pieces, above = [], self._above
        while above is not None:
            above, piece = above
            pieces.append(piece)
        return path_text(pieces[::-1])

    @property
    def key(self) -> Any:
        """The key, the attribute's name or the index under which its parent has it."""
        key = None if self._child is None else self._child.key
        return None if key is UNTOLD else key

    @property
    def type(self) -> str:
        """`module:qualname`, or the name of a builtin type."""
        return self.view.type

    @property
    def value(self) -> Any:
        """The value of an atom, shortened if it is very long; None for all else."""
        value = self.view.value
        if isinstance(value, Cut):
            return value.head
        return None if value is UNTOLD else value

    @property
    def is_atom(self) -> bool:
        """Whether there is a `value`."""
        return self.view.value is not UNTOLD

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of an array."""
        return self.view.shape

    @property
    def dtype(self) -> str | None:
        """The dtype of an array, by name."""
        return self.view.dtype

    @property
    def size(self) -> int:
        """Bytes in the stream and of the buffers beneath; little for what is told elsewhere."""
        if self.is_recalled:
            return 0
        return self.source.size(self.item)

    @property
    def reference(self) -> str | None:
        """The path where the value is told, if it is not here; None if it is, and for atoms."""
        if not self.is_recalled or self.is_atom:
            return None
        return self.source.home(self.item)

    @property
    def children(self) -> Sequence[Outline]:
        """What it holds, in the order of the stream."""
        return _Children(self)

    def __len__(self) -> int:
        return len(self.view)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Outline]:
        return iter(self.children)

    def __getitem__(self, step: Any) -> Outline:
        return self.at((step,))

    def at(self, path: tuple[Any, ...]) -> Outline:
        """What *path* leads to; each step is a key, else an attribute, else an index.

        NotFoundError says which step is not there.
        """
        node = self
        for step in path:
            node = node._step(step)
        return node

    def _step(self, step: Any) -> Outline:
        view = self.view
        for kinds in (("entry",), ("attribute", "keyword"), ("element", "item", "argument")):
            number = self.source.views.place(view, kinds, step)
            if number is not None:
                return self.children[number]
        raise NotFoundError(f"{self.path}[{shown(step)}] is not there; {self.told} is")

    @property
    def told(self) -> str:
        """What it is, in a few words."""
        view = self.view
        name = _printable(view.type)
        if view.dtype is not None or view.shape is not None:
            return " ".join(filter(None, (name, view.dtype, str(view.shape or ""))))
        if view.value is not UNTOLD:
            text = shown(view.value)
            return f"{name} {_printable(text)}" if view.type in ("global",) else _printable(text)
        count = len(view)
        return f"{name}, {count:,} item{'s' * (count != 1)}"

    # --- how it shows itself ------------------------------------------------

    def __repr__(self) -> str:
        return f"<Outline {self.path}: {self.told}, {size_text(self.size)}>"

    def __str__(self) -> str:
        rows = self._unfolded(1)
        for depth in range(2, _DEEP + 1):
            deeper = self._unfolded(depth)
            if len(deeper) > _LINES:
                break
            rows = deeper
        return "\n".join(f"{size:>10}  {text}" for size, text in rows)

    def _unfolded(self, depth: int) -> list[tuple[str, str]]:
        label = "state" if self._child is None else self.path
        return [*islice(self._rows("", "", label, depth), _LINES + 1)]

    def _rows(self, first: str, rest: str, label: str, depth: int) -> Iterator[tuple[str, str]]:
        """Lines for it and what it holds: a size and a text."""
        reference = self.reference
        told = f"→ {reference}" if reference else self.told
        yield "" if self.is_recalled else size_text(self.size), f"{first}{label}: {told}"
        count = len(self)
        if reference or not count or not depth:
            return
        for number, child in enumerate(islice(self, _WIDE)):
            last = number == count - 1
            ours, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
            yield from child._rows(rest + ours, rest + below, child._label, depth - 1)
        if count > _WIDE:
            yield "", f"{rest}└─ … {count - _WIDE:,} more"

    @property
    def _label(self) -> str:
        return "" if self._child is None else self._child.piece.removeprefix(".")

    def _repr_html_(self) -> str:
        """The same for Jupyter, to be unfolded."""
        left = [_LINES * 5]
        label = "state" if self._child is None else self.path
        return f"<div style='font-family: monospace'>{self._html(label, 0, left)}</div>"

    def _html(self, label: str, depth: int, left: list[int]) -> str:
        left[0] -= 1
        reference = self.reference
        size = "" if self.is_recalled else f" <small>{size_text(self.size)}</small>"
        told = html.escape(f"{label}: {f'→ {reference}' if reference else self.told}") + size
        count = len(self)
        if reference or not count or depth == _DEEP or left[0] <= 0:
            return f"<div style='margin-left: 1em'>{told}</div>"
        inside = [child._html(child._label, depth + 1, left) for child in islice(self, _WIDE)]
        if count > _WIDE:
            inside.append(f"<div style='margin-left: 1em'>… {count - _WIDE:,} more</div>")
        unfolded = " open" if depth == 0 else ""
        return (
            f"<details style='margin-left: 1em'{unfolded}>"
            f"<summary>{told}</summary>{''.join(inside)}</details>"
        )


class _Children(Sequence[Outline]):
    """What a node holds, made when it is asked for."""

    def __init__(self, node: Outline) -> None:
        self._node = node

    def __len__(self) -> int:
        return len(self._node)

    @overload
    def __getitem__(self, number: int) -> Outline: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Outline]: ...

    def __getitem__(self, number: int | slice) -> Outline | Sequence[Outline]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        place = range(len(self))[number]
        return self._node_of(self._node.source.views.child(self._node.view, place))

    def __iter__(self) -> Iterator[Outline]:
        node = self._node
        return map(self._node_of, node.source.views.children(node.view))

    def _node_of(self, child: Child) -> Outline:
        node = self._node
        return Outline(node.source, child.item, (node._above, child.piece), child)


def outlined(stream: Buffer, buffers: Sequence[int] = ()) -> Outline:
    """The outline of a pickle of any protocol; *buffers* are the sizes of what lies beside it.

    FormatError if it is no pickle.
    """
    source = Source(stream, buffers)
    return Outline(source, source.program.root, None, None)


def _printable(text: str) -> str:
    """A name of the stream's that cannot do anything to a terminal, and is not long."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 200 else f"{text[:200]}…"
