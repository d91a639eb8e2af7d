"""State that a resume would lose, found before anything is run.

A resumed function runs again from its top: a loop goes on at its position,
and only what hangs on the state of the job is as it was.  The source is read
for what breaks that: a name carried from turn to turn, a value read after the
loop, an object changed in place, a change to the state that is made twice.
"""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from attrs import define, field, frozen

from checkpoint._jobs.flow import Finding, Flow, Turns
from checkpoint._jobs.scopes import (
    COMPREHENSIONS,
    LOOPS,
    SCOPES,
    TRIES,
    Origins,
    bindings,
    blocks,
    last_name,
    line_of,
    names_in,
    own,
    parameters,
    root,
    yields_in,
)
from checkpoint.errors import UnsavedStateError

MAX_PROBLEMS = 5
_WIDTH = 60
_WRAPPERS = {"tqdm", "track"}  # They take one item when the body is done with the last.
_TWICE = {
    "append", "extend", "insert", "pop", "popleft", "popitem", "appendleft", "remove", "reverse",
    "rotate",
}  # fmt: skip
_CHANGES = _TWICE | {"add", "update", "discard", "clear", "setdefault", "sort", "extendleft"}
_INNER = (*SCOPES, *COMPREHENSIONS)
# The most important first.
_KINDS = ("refused", "carried", "changed", "after", "twice", "swallowed")


def check(function: Callable[..., Any], *, unsaved: Collection[str] = ()) -> None:
    """Raise UnsavedStateError if *function* keeps state where a resume would lose it.

    Names in *unsaved* are meant to be lost; ValueError for one that the
    function does not have.  A function without source (of `exec`, of a frozen
    program) is taken as it is.
    """
    function = inspect.unwrap(function)
    code = function.__code__
    _check_names(function, unsaved)
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return
    generates = inspect.isgeneratorfunction(function)
    if not generates and "job" not in named and "current_job" not in code.co_names:
        return
    source = _source(function)
    if source is None:
        return
    problems = _Program(*source, generates=generates, unsaved=frozenset(unsaved)).problems()
    if problems:
        where = _where(code.co_filename)
        lines = [f"{where}:{one.line}: {one.text}" for one in problems[:MAX_PROBLEMS]]
        more = len(problems) - MAX_PROBLEMS
        lines += [f"… and {more} more"] if more > 0 else []
        raise UnsavedStateError("\n".join(lines))


def _check_names(function: Callable[..., Any], unsaved: Collection[str]) -> None:
    code = function.__code__
    if isinstance(unsaved, str):
        raise ValueError(f"unsaved takes several names: unsaved=({unsaved!r},)")
    known = {*code.co_varnames, *code.co_cellvars, *code.co_freevars, *code.co_names}
    unknown = sorted(set(unsaved) - known)
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise ValueError(f"unsaved= names what {function.__qualname__} does not have: {names}")


def _where(path: str) -> str:
    here = os.getcwd() + os.sep
    return path[len(here) :] if path.startswith(here) else path


def _source(function: Callable[..., Any]) -> tuple[ast.FunctionDef, list[str], int] | None:
    """The function's definition, its lines, and the number of the line before the first."""
    try:
        lines, first = inspect.getsourcelines(function)
        indented = lines[0][:1].isspace()
        tree = ast.parse(("if 1:\n" if indented else "") + "".join(lines))
    except (OSError, TypeError, SyntaxError, ValueError, IndexError):
        return None
    top = tree.body[0]
    found = top.body[0] if isinstance(top, ast.If) else top
    if not isinstance(found, ast.FunctionDef) or found.name != function.__code__.co_name:
        return None  # The file has changed since.
    return found, ["", *lines] if indented else lines, first - 1 - indented


@frozen
class _Problem:
    """One way to lose state, at one line; the text says how to keep it."""

    kind: str
    line: int
    name: str
    text: str


@define
class _Program:
    """A resumable function as its source tells it."""

    function: ast.FunctionDef
    lines: list[str]
    offset: int
    generates: bool
    unsaved: frozenset[str]
    origins: Origins = field(init=False)
    parents: dict[int, ast.AST] = field(init=False, factory=dict)
    found: list[_Problem] = field(init=False, factory=list)

    def problems(self) -> list[_Problem]:
        """What is wrong, the most important first, and of each name once."""
        self.origins = Origins(self.function)
        for parent in ast.walk(self.function):
            for child in ast.iter_child_nodes(parent):
                self.parents[id(child)] = parent
        loops = self._job_loops()
        if loops:
            self._structure(loops)
            self._twice(self.function.body, later=False, loops={id(one.node) for one in loops})
            self._swallowing(loops)
            for turns in loops:
                self._changes(turns)
        if self.generates:
            loops += [one for one in self._yield_loops() if one.node not in self._nodes(loops)]
        if loops:
            # Each loop learns what it binds where the flow is followed.
            self._follow(loops)
        return self._sorted()

    def _sorted(self) -> list[_Problem]:
        self.found.sort(key=lambda one: (_KINDS.index(one.kind), one.line))
        names: set[str] = set()
        kept: list[_Problem] = []
        for one in self.found:
            if one.name and one.name in names:
                continue
            if one.kind in ("carried", "changed", "after"):
                names.add(one.name)
            if not any((one.kind, one.line, one.text) == (k.kind, k.line, k.text) for k in kept):
                kept.append(one)
        return kept

    def _report(self, kind: str, node: ast.AST, text: str, name: str = "") -> None:
        if name not in self.unsaved:
            line = getattr(node, "lineno", 1) + self.offset
            self.found.append(_Problem(kind, line, name, f"`{self._line(node)}` {text}"))

    def _line(self, node: ast.AST) -> str:
        """The line of source where a node begins."""
        line = self.lines[getattr(node, "lineno", 1) - 1].strip()
        return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"

    # --- loops and their shape

    def _is_loop(self, node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and node.attr == "loop"
            and self.origins.is_job(node.value)
        )

    def _nodes(self, loops: Iterable[Turns]) -> list[ast.AST]:
        return [one.node for one in loops]

    def _unwrapped(self, node: ast.AST) -> tuple[ast.Call | None, ast.Call | None]:
        """The call of job.loop that is looped over, below what may stand around; the enumerate."""
        counted = None
        while isinstance(node, ast.Call):
            if self._is_loop(node.func):
                return node, counted
            if last_name(node) == "enumerate":
                counted = node
            elif last_name(node) not in _WRAPPERS:
                break
            named = [one.value for one in node.keywords if one.arg in ("iterable", "sequence")]
            inner = [*node.args[:1], *named]
            if not inner:
                break
            node = inner[0]
        return None, None

    def _job_loops(self) -> list[Turns]:
        """The loops over job.loop; every other use of it is refused."""
        loops, plain = [], set()
        for node in own(self.function.body):
            if isinstance(node, ast.For):
                call, counted = self._unwrapped(node.iter)
                if call is not None:
                    loops.append(Turns(node, yields=False))
                    plain.add(id(call.func))
                    if counted is not None:
                        self._counting(node, counted, call)
        for node in ast.walk(self.function):
            if self._is_loop(node) and id(node) not in plain:
                self._refuse(node)
        return loops

    def _counting(self, loop: ast.For, counted: ast.Call, call: ast.Call) -> None:
        """Report an `enumerate` around the loop, which knows nothing of a resume."""
        items = ast.unparse(call.args[0]) if call.args else "..."
        text = (
            "begins to count at its start again after a resume; count what is looped over: "
            f"for {_bare(loop.target)} in {ast.unparse(call.func)}(enumerate({items}))"
        )
        self._report("refused", counted, text)

    def _refuse(self, node: ast.AST) -> None:
        chain = list(self._above(node))
        call = self.parents.get(id(node))
        made = isinstance(call, ast.Call) and call.func is node
        items = ast.unparse(call.args[0]) if isinstance(call, ast.Call) and call.args else "..."
        plain = f"for item in {ast.unparse(node)}({items if made else '...'}):"
        inner = next((one for one in chain if isinstance(one, _INNER)), None)
        if isinstance(inner, ast.FunctionDef) and "job" in parameters(inner):
            return  # It has a job of its own.
        if inner is not None:
            kind = "a comprehension" if isinstance(inner, COMPREHENSIONS) else "a nested function"
            text = f"has a job.loop in {kind}, where its body cannot be seen; write {plain}"
        else:
            text = f"may take items before the body is done with the last; write {plain}"
        self._report("refused", node, text)

    def _above(self, node: ast.AST) -> Iterator[ast.AST]:
        while (found := self.parents.get(id(node))) is not None and found is not self.function:
            yield found
            node = found

    def _yield_loops(self) -> list[Turns]:
        return [
            Turns(node, yields=True)
            for node in own(self.function.body)
            if isinstance(node, ast.For | ast.While) and any(yields_in(node.body))
        ]

    def _structure(self, loops: Iterable[Turns]) -> None:
        for turns in loops:
            if turns.node.orelse:
                text = (
                    "is run by a resume though the loop was left by break; put it behind the loop, "
                    "under a test of the state: if not s.found:"
                )
                self._report("refused", _else(turns.node, self.lines), text)
            for one in yields_in(turns.node.body):
                text = (
                    "yields in a loop over job.loop, and each would be a safe point; "
                    "loop over the items themselves, and yield the state"
                )
                self._report("refused", one, text)

    # --- what is carried, or read after

    def _follow(self, loops: list[Turns]) -> None:
        for finding in Flow(self.function, loops).findings:
            name = finding.name
            if name in self.origins.jobs or (
                finding.turns.yields and name in self._yielded(finding.turns)
            ):
                continue
            if finding.kind == "after":
                text = (
                    f"reads {name!r} after the loop that sets it, and a resume may not run the "
                    f"body again; {self._fix(name)}"
                )
                self._report("after", finding.node, text, name)
            else:
                self._carried(finding)

    def _carried(self, finding: Finding) -> None:
        name, body = finding.name, finding.turns.node.body
        text = f"carries {name!r} from one turn of the loop to the next, and a resume would begin "
        text += f"with another one; {self._fix(name, yields=finding.turns.yields)}"
        places = [node for one, node in bindings(body) if one == name]
        again = [one for one in places if getattr(one, "lineno", 0) == line_of(finding.node)]
        node = (again or sorted(places, key=line_of) or [finding.node])[0]
        self._report("carried", node, text, name)

    def _yielded(self, turns: Turns) -> set[str]:
        """The names that the yields of a loop give, or that make up what they give."""
        names: set[str] = set()
        for node in yields_in(turns.node.body):
            names |= names_in(node)
        for name in list(names):
            for value in self.origins.values.get(name, ()):
                if isinstance(value, ast.Tuple | ast.List | ast.Dict | ast.Set) or (
                    isinstance(value, ast.Call)
                    and (last_name(value)[:1].isupper() or last_name(value) == "dict")
                ):
                    names |= names_in(value)
        targets = [node for node in own([turns.node]) if isinstance(node, ast.For)]
        loops = [node.target for node in targets if any(yields_in(node.body))]
        return names | {name for target in loops for name in names_in(target)}

    def _fix(self, name: str, *, yields: bool = False) -> str:
        meant = f"or say unsaved=({name!r},) if it is meant"
        if yields:
            given = next(yields_in(self.function.body), None)
            value = getattr(given, "value", None)
            parts = value.elts if isinstance(value, ast.Tuple) else [value] if value else []
            whole = ", ".join([*map(ast.unparse, parts), name])
            comma = "" if parts else ","
            return f"yield it too, and take it from state: yield ({whole}{comma}), {meant}"
        job = "job" if "job" in self.origins.jobs else min(self.origins.jobs)
        state, others = self.origins.state_name()
        start = self._start(name)
        call = f"{state} = {job}.state({others}{name}={start})"
        return f"let the job keep it: {call} and {state}.{name}, {meant}"

    def _start(self, name: str) -> str:
        """What a name begins with, as the function has it."""
        for value in self.origins.values.get(name, ()):
            inside = [one for one in self._above(value) if isinstance(one, LOOPS)]
            plain = not isinstance(self.parents.get(id(value)), ast.AugAssign | ast.For)
            if plain and not any(self._unwrapped(one.iter)[0] for one in inside
                                 if isinstance(one, ast.For)):  # fmt: skip
                text = ast.unparse(value)
                return text if len(text) <= _WIDTH // 2 else "..."
        return name if name in parameters(self.function) else "None"

    # --- what is changed in place

    def _changes(self, turns: Turns) -> None:
        """Report what the body changes of objects that were made outside of it."""
        bound = {name for name, _ in bindings([turns.node])}
        outside = self.origins.names - bound - self.origins.saved - self.origins.jobs
        for node in own(turns.node.body):
            for name in self._changed(node):
                if name in outside:
                    text = (
                        f"changes {name!r} in place, and a resume would begin with a new one; "
                        f"{self._fix(name)}"
                    )
                    self._report("changed", node, text, name)

    def _changed(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Attribute | ast.Subscript):
            if not isinstance(node.ctx, ast.Load):
                yield root(node)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
                owner = node.func.value
                while isinstance(owner, ast.Subscript):
                    owner = owner.value
                if isinstance(owner, ast.Name) and self.origins.is_container(owner.id):
                    yield owner.id
            elif isinstance(node.func, ast.Name) and node.func.id == "next" and node.args:
                yield root(node.args[0])  # The position of an iterator is state, too.

    # --- what is done twice

    def _twice(self, body: Sequence[ast.AST], *, later: bool, loops: set[int]) -> None:
        """Report changes of the state with a job.loop *later*: a resume makes them again."""
        holds = [any(id(one) in loops for one in own([node])) for node in body]
        for at, node in enumerate(body):
            after = later or any(holds[at + 1 :])
            if id(node) in loops:
                self._twice(getattr(node, "body", []), later=False, loops=loops)
                continue
            if isinstance(node, LOOPS):
                after = after or holds[at]
            guard = getattr(node, "test", None) or getattr(node, "subject", None)
            if guard is not None and names_in(guard) & self.origins.saved:
                continue  # Whoever tests the state knows that it may be restored.
            inner = list(blocks(node))
            for block in inner:
                self._twice(block, later=after, loops=loops)
            if after and not inner:
                self._done_again(node)

    def _done_again(self, statement: ast.AST) -> None:
        again = False
        if isinstance(statement, ast.AugAssign):
            again = self._hangs(statement.target)
        elif isinstance(statement, ast.Assign):
            read = {ast.unparse(one) for one in ast.walk(statement.value)
                    if isinstance(one, ast.Attribute | ast.Subscript)}  # fmt: skip
            again = any(self._hangs(one) and ast.unparse(one) in read for one in statement.targets)
        calls = [one for one in own([statement]) if isinstance(one, ast.Call)]
        again = again or any(
            isinstance(one.func, ast.Attribute)
            and one.func.attr in _TWICE
            and self.origins.is_saved(one.func.value)
            for one in calls
        )
        if again:
            text = (
                "comes before a job.loop, so a resume would do it again to the restored state; "
                "do it in job.step(...), in the body of the loop, or after it"
            )
            roots = names_in(statement) & self.origins.saved
            self._report("twice", statement, text, min(roots & self.unsaved or roots))

    def _hangs(self, target: ast.AST) -> bool:
        return isinstance(target, ast.Attribute | ast.Subscript) and self.origins.is_saved(target)

    # --- what swallows the stop

    def _swallowing(self, loops: Iterable[Turns]) -> None:
        nodes = {id(one.node) for one in loops}
        for node in own(self.function.body):
            if not isinstance(node, TRIES):
                continue
            inside = any(id(one) in nodes for one in self._above(node))
            if inside or any(id(one) in nodes for one in own(node.body)):
                for handler in node.handlers:
                    if _swallows(handler):
                        name = f" as {handler.name}" if handler.name else ""
                        text = (
                            "swallows the stop of the job (Preempted, KeyboardInterrupt); "
                            f"write except Exception{name}:, or raise at its end"
                        )
                        self._report("swallowed", handler, text)


def _bare(target: ast.AST) -> str:
    """A target as it is written in a `for`."""
    return ast.unparse(target).removeprefix("(").removesuffix(")")


def _else(loop: ast.AST, lines: list[str]) -> ast.AST:
    """A place at the line of a loop's `else:`, which the tree does not have."""
    first = getattr(loop, "orelse")[0]  # noqa: B009
    line = first.lineno
    while not lines[line - 1].strip().startswith("else"):
        line -= 1
    return ast.Pass(lineno=line)


def _swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler takes every exception and does not raise it again."""
    caught = {"BaseException"} if handler.type is None else _caught(handler.type)
    if "BaseException" not in caught:
        return False
    raised = [node.exc for node in own(handler.body) if isinstance(node, ast.Raise)]
    return not any(
        exc is None or (isinstance(exc, ast.Name) and exc.id == handler.name) for exc in raised
    )


def _caught(node: ast.AST) -> set[str]:
    return {getattr(one, "id", "") or getattr(one, "attr", "") for one in ast.walk(node)}
