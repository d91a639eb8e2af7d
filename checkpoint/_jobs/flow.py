"""Which names a loop's body carries on, found by following every way through a function.

A name that the body assigns is marked when a turn begins and when the loop is
over; an assignment takes the marks away, and ways that meet add theirs.  A
read of a marked name is a finding: it may see what an earlier turn left.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TypeAlias

from attrs import define, evolve, field, frozen

from checkpoint._jobs.scopes import (
    COMPREHENSIONS,
    DEFINITIONS,
    LOOPS,
    SCOPES,
    TRIES,
    at_definition,
    bindings,
    free,
    last_name,
    own,
    parameters,
)

Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@define(eq=False)
class Turns:
    """A loop whose turns end at a safe point, and what is known of its body."""

    node: ast.For | ast.AsyncFor | ast.While
    yields: bool  # Its safe points are those of a generator.
    bound: frozenset[str] = frozenset()  # What its body, or its target, may assign.
    before: frozenset[str] = frozenset()  # What may have a value when it begins.


@frozen
class Finding:
    """A read at `node` that may see what another turn left; `kind` is "carried" or "after"."""

    kind: str
    name: str
    node: ast.AST
    turns: Turns


Marks: TypeAlias = frozenset[tuple[str, Turns]]


@define
class _State:
    """What holds at one place: the marks of names, those with a value, what a test tells."""

    marks: dict[str, Marks] = field(factory=dict)
    valued: frozenset[str] = frozenset()
    told: dict[str, frozenset[str]] = field(factory=dict)  # test → what is assigned if it holds

    def assign(self, name: str) -> None:
        self.marks.pop(name, None)
        self.valued |= {name}
        for test in [test for test in self.told if name in _words(test)]:
            del self.told[test]


_Maybe: TypeAlias = _State | None  # None is a place that is never reached.


def _join(one: _Maybe, other: _Maybe) -> _Maybe:
    if one is None or other is None:
        return _copy(one or other)
    marks = dict(one.marks)
    for name, found in other.marks.items():
        marks[name] = marks.get(name, frozenset()) | found
    told = {
        test: names & other.told[test] for test, names in one.told.items() if test in other.told
    }
    return _State(marks, one.valued | other.valued, told)


@lru_cache(256)
def _words(test: str) -> frozenset[str]:
    return frozenset(node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name))


# --- following --------------------------------------------------------------


@define
class _Ways:
    """Where `break` and `continue` of one loop lead."""

    breaks: _Maybe = None
    continues: _Maybe = None


class Flow:
    """Follows a function whose loops with safe points are *turns*."""

    def __init__(self, function: ast.FunctionDef, turns: Sequence[Turns]) -> None:
        self.findings: list[Finding] = []
        self._turns = {id(one.node): one for one in turns}
        self._functions = {
            node.name: free(node)
            for node in own(function.body)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for one in turns:
            one.bound = frozenset(self._bound(one.node))
        self._hidden: list[set[str]] = []  # the targets of the comprehensions around
        self._ways: list[_Ways] = []
        self._raised: list[_Maybe] = []  # one for each `try` around
        self._state: _Maybe = _State(valued=frozenset(parameters(function)))
        self._block(function.body)

    def _bound(self, node: ast.AST) -> Iterator[str]:
        yield from (name for name, _ in bindings([node]))
        for below in own([node]):
            if isinstance(below, ast.Name) and below.id in self._functions:
                yield from self._functions[below.id][1]

    # --- names

    def _read(self, name: str, node: ast.AST) -> None:
        if self._state is None or any(name in hidden for hidden in self._hidden):
            return
        for kind, turns in self._state.marks.get(name, ()):
            self.findings.append(Finding(kind, name, node, turns))

    def _assign(self, name: str) -> None:
        if self._state is not None:
            self._state.assign(name)

    def _expressions(self, *nodes: ast.AST | None) -> None:
        for node in nodes:
            if node is not None:
                self._expression(node)

    def _expression(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            self._name(node)
        elif isinstance(node, ast.BoolOp | ast.IfExp):
            self._state = _join(*self._test(node))
        elif isinstance(node, ast.NamedExpr):
            self._expressions(node.value, node.target)
        elif isinstance(node, COMPREHENSIONS):
            self._comprehension(node)
        elif isinstance(node, SCOPES):
            self._expressions(*at_definition(node))
            for name in sorted(free(node)[0]):
                self._read(name, node)
        else:
            self._expressions(*ast.iter_child_nodes(node))

    def _name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            if not any(node.id in hidden for hidden in self._hidden):
                self._assign(node.id)
            return
        self._read(node.id, node)
        for name in sorted(self._reads_of(node.id, set())):
            self._read(name, node)

    def _reads_of(self, name: str, done: set[str]) -> set[str]:
        """What a function defined in here reads when it is called, with those that it calls."""
        if name in done or name not in self._functions:
            return set()
        done.add(name)
        reads = self._functions[name][0]
        return reads.union(*(self._reads_of(one, done) for one in reads))

    def _comprehension(self, node: Comprehension) -> None:
        self._hidden.append(set())
        for part in node.generators:
            self._expression(part.iter)
            names = [name for name in ast.walk(part.target) if isinstance(name, ast.Name)]
            self._hidden[-1] |= {name.id for name in names}
            self._expressions(*part.ifs)
        if isinstance(node, ast.DictComp):
            self._expressions(node.key, node.value)
        else:
            self._expression(node.elt)
        self._hidden.pop()

    def _test(self, node: ast.AST) -> tuple[_Maybe, _Maybe]:
        """What holds after an expression that is true, and after one that is false."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            true, false = self._test(node.operand)
            return false, true
        if isinstance(node, ast.IfExp):
            self._state, otherwise = self._test(node.test)
            self._expression(node.body)
            one, self._state = self._state, otherwise
            self._expression(node.orelse)
            both = _join(one, self._state)
            return both, _copy(both)
        if not isinstance(node, ast.BoolOp):
            self._expression(node)
            return self._state, _copy(self._state)
        short: _Maybe = None  # where the rest is not evaluated
        conjunction = isinstance(node.op, ast.And)
        for value in node.values:
            true, false = self._test(value)
            self._state, left = (true, false) if conjunction else (false, true)
            short = _join(short, left)
        return (self._state, short) if conjunction else (short, self._state)

    # --- statements

    def _block(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            if self._state is None:
                return
            if self._raised:
                self._raised[-1] = _join(self._raised[-1], self._state)
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, LOOPS):
            self._loop(node)
        elif isinstance(node, ast.If):
            self._if(node)
        elif isinstance(node, TRIES):
            self._try(node)
        elif isinstance(node, ast.With | ast.AsyncWith):
            self._with(node)
        elif isinstance(node, ast.Match):
            self._match(node)
        elif isinstance(node, DEFINITIONS):
            self._definition(node)
        else:
            self._simple(node)

    def _simple(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            self._expressions(node.value, *node.targets)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self._expressions(node.value, node.target)
        elif isinstance(node, ast.AugAssign):
            if isinstance(node.target, ast.Name):
                self._read(node.target.id, node)
            self._expressions(node.value, node.target)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name, _ in bindings([node]):
                self._assign(name)
        else:
            self._expressions(*ast.iter_child_nodes(node))
        self._leave(node)

    def _leave(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Break):
            self._ways[-1].breaks = _join(self._ways[-1].breaks, self._state)
        elif isinstance(node, ast.Continue):
            self._ways[-1].continues = _join(self._ways[-1].continues, self._state)
        if isinstance(node, ast.Break | ast.Continue | ast.Return | ast.Raise):
            if self._raised:
                self._raised[-1] = _join(self._raised[-1], self._state)
            self._state = None

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._expressions(*at_definition(node))
        if isinstance(node, ast.ClassDef) or node.decorator_list:
            # Whoever decorates it may call it at once; else it reads when it is called.
            for name in sorted(free(node)[0]):
                self._read(name, node)
        self._assign(node.name)

    def _if(self, node: ast.If) -> None:
        test = ast.unparse(node.test)
        self._state, otherwise = self._test(node.test)
        before = set() if self._state is None else set(self._state.marks)
        for name in () if self._state is None else self._state.told.get(test, ()):
            self._assign(name)
        self._block(node.body)
        body, self._state = self._state, otherwise
        self._block(node.orelse)
        self._state = _join(body, self._state)
        pure = not any(isinstance(one, ast.Call | ast.NamedExpr) for one in ast.walk(node.test))
        if self._state is not None and pure:
            # The same test again finds the same: what was assigned under it still is.
            sure = before if body is None else before - set(body.marks)
            if not sure & _words(test):
                self._state.told[test] = frozenset(sure)

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self._expressions(item.context_expr, item.optional_vars)
        called = [last_name(item.context_expr) for item in node.items]
        self._raised.append(None)
        self._block(node.body)
        raised = self._end_try()
        if "suppress" in called:
            self._state = _join(self._state, raised)

    def _match(self, node: ast.Match) -> None:
        self._expression(node.subject)
        over: _Maybe = None
        for case in node.cases:
            missed = _copy(self._state)
            for name, _ in bindings([case.pattern]):
                self._assign(name)
            if case.guard is not None:
                self._state, unmet = self._test(case.guard)
                missed = _join(missed, unmet)
            elif _takes_all(case.pattern):
                missed = None
            self._block(case.body)
            over = _join(over, self._state)
            self._state = missed
        self._state = _join(over, self._state)

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        self._raised.append(None)
        self._block(node.body)
        whole = _copy(self._state)
        failed = self._end_try()
        self._block(node.orelse)
        over = self._state
        for handler in node.handlers:
            self._state = _copy(failed)
            self._handler(handler, whole)
            over = _join(over, self._state)
        self._state = _copy(failed) if over is None else over
        self._block(node.finalbody)
        if over is None:
            self._state = None

    def _handler(self, handler: ast.ExceptHandler, whole: _Maybe) -> None:
        """Follow a handler; what it says of a name that the `try` assigns is of this turn."""
        doubtful = self._trust(whole)
        self._expressions(handler.type)
        if handler.name:
            self._assign(handler.name)
        self._block(handler.body)
        if self._state is None:
            return
        for name in doubtful.keys() - {name for name, _ in bindings([handler])}:
            self._state.marks[name] = self._state.marks.get(name, frozenset()) | doubtful[name]

    def _trust(self, assured: _Maybe) -> dict[str, Marks]:
        """Take for assigned what is so in *assured* and had no value before; give their marks.

        A name without a value would be a NameError in the first turn.
        """
        doubtful: dict[str, Marks] = {}
        if self._state is None or assured is None:
            return doubtful
        for name in self._state.marks.keys() - assured.marks.keys():
            marks = self._state.marks[name]
            doubt = {one for one in marks if one[0] == "carried" and name not in one[1].before}
            doubtful[name] = frozenset(doubt)
            self._state.marks[name] = marks - doubt
        return doubtful

    def _end_try(self) -> _Maybe:
        """What may hold where an error of the block just followed is caught."""
        raised = self._raised.pop()
        if self._raised:
            self._raised[-1] = _join(self._raised[-1], raised)
        return raised

    # --- loops

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        turns = self._turns.get(id(node))
        if not isinstance(node, ast.While):
            self._expression(node.iter)
        if turns is None:
            self._state = self._plain_loop(node)
        else:
            self._safe_loop(node, turns)

    def _turn(self, node: ast.For | ast.AsyncFor | ast.While) -> tuple[_Ways, _Maybe]:
        """Follow one turn; also gives what holds where a `while` ends."""
        self._ways.append(_Ways())
        ended = _copy(self._state)
        if isinstance(node, ast.While):
            self._state, ended = self._test(node.test)
            if isinstance(node.test, ast.Constant) and node.test.value:
                ended = None
        else:
            self._expression(node.target)
        self._block(node.body)
        self._state = _join(self._state, self._ways[-1].continues)
        return self._ways.pop(), ended

    def _plain_loop(self, node: ast.For | ast.AsyncFor | ast.While) -> _Maybe:
        """What holds after a loop without safe points; one turn is taken for granted.

        But not for a name that had a value before: that value may be meant.
        """
        first = _copy(self._state)
        ways, _ = self._turn(node)
        around = _copy(self._state)
        breaks = ways.breaks
        self._state = _join(first, around)
        again, ended = self._turn(node)
        self._state = _join(ended, self._state) if ended is not None else None
        self._trust(_join(around, breaks))
        self._block(node.orelse)
        return _join(self._state, _join(breaks, again.breaks))

    def _safe_loop(self, node: ast.For | ast.AsyncFor | ast.While, turns: Turns) -> None:
        assert self._state is not None
        turns.before = self._state.valued
        self._mark("carried", turns, turns.bound)
        self._raised.append(None)
        ways, ended = self._turn(node)
        raised = self._raised.pop()
        if self._raised:
            self._raised[-1] = _join(self._raised[-1], _unmarked(raised, turns))
        turned = _join(self._state, ways.breaks)
        self._state = _unmarked(_join(ended, turned), turns)
        self._trust(turned)
        if self._state is not None and not turns.yields:
            self._mark("after", turns, turns.bound)
        self._block(node.orelse)

    def _mark(self, kind: str, turns: Turns, names: Iterable[str]) -> None:
        assert self._state is not None
        self._state.told.clear()
        for name in names:
            self._state.marks[name] = self._state.marks.get(name, frozenset()) | {(kind, turns)}


def _unmarked(state: _Maybe, turns: Turns) -> _Maybe:
    """Outside of a loop: nothing is carried there."""
    state = _copy(state)
    if state is None:
        return None
    for name, marks in list(state.marks.items()):
        state.marks[name] = frozenset(one for one in marks if one[1] is not turns)
    return state


def _copy(state: _Maybe) -> _Maybe:
    return None if state is None else evolve(state, marks=dict(state.marks), told=dict(state.told))


def _takes_all(pattern: ast.pattern) -> bool:
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None
