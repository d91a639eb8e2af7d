"""The scopes of a syntax tree: which nodes belong to one, and what it assigns and reads."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

Inner: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Scope: TypeAlias = Inner | ast.ClassDef
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SCOPES = (*DEFINITIONS, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
TRIES = (ast.Try, ast.TryStar)
_CONTAINERS = {
    "list", "dict", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict", "array",
}  # fmt: skip
_IDLE = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
_COPIES = _CONTAINERS | {"copy", "deepcopy", "sorted", "tuple", "frozenset", "len", "sum"}
_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_Chain: TypeAlias = ast.Attribute | ast.Subscript | ast.Starred | ast.Await


def own(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """*nodes* and what is below them in the same scope: of a definition, not its body."""
    waiting = list(nodes)[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += _below(node)


def _below(node: ast.AST) -> list[ast.AST]:
    """What is below a node in its scope, the last first; told once, for it is asked often."""
    found: list[ast.AST] | None = vars(node).get("_below")
    if found is None:
        inner = at_definition(node) if isinstance(node, SCOPES) else ast.iter_child_nodes(node)
        found = [one for one in inner if not isinstance(one, _IDLE)][::-1]
        vars(node)["_below"] = found
    return found


def bindings(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Each name that *nodes* assign in their own scope, with the place."""
    nodes = list(nodes)
    hidden = {
        id(name)
        for node in own(nodes)
        if isinstance(node, COMPREHENSIONS)
        for part in node.generators
        for name in ast.walk(part.target)
    }
    for node in own(nodes):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            if id(node) not in hidden:
                yield node.id, node
        elif isinstance(node, DEFINITIONS):
            yield node.name, node
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name.partition(".")[0]), node
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest, node


def parameters(function: Inner) -> list[str]:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [one.arg for one in (*named, arguments.vararg, arguments.kwarg) if one is not None]


def declared(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that are said to be global or nonlocal."""
    found = [node for node in own(nodes) if isinstance(node, ast.Global | ast.Nonlocal)]
    return {name for node in found for name in node.names}


def body_of(scope: Scope) -> list[ast.AST]:
    return [scope.body] if isinstance(scope, ast.Lambda) else list(scope.body)


def at_definition(scope: Scope) -> list[ast.AST]:
    """What a definition evaluates when it is met: decorators, defaults, bases."""
    if isinstance(scope, ast.ClassDef):
        return [*scope.decorator_list, *scope.bases, *(one.value for one in scope.keywords)]
    defaults = [one for one in (*scope.args.defaults, *scope.args.kw_defaults) if one is not None]
    decorators = [] if isinstance(scope, ast.Lambda) else scope.decorator_list
    return [*decorators, *defaults]


def free(scope: Scope) -> tuple[set[str], set[str]]:
    """What a scope reads, and what it assigns, of the scopes around it."""
    body = body_of(scope)
    outer = declared(body)
    assigned = {name for name, _ in bindings(body)}
    inside = assigned - outer
    if not isinstance(scope, ast.ClassDef):
        inside |= set(parameters(scope))
    reads: set[str] = set()
    writes = assigned & outer
    for node in own(body):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            reads.add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            reads.add(node.target.id)
        elif isinstance(node, SCOPES):
            more, changed = free(node)
            reads |= more
            writes |= changed
    hidden = set()
    for node in own(body):
        if isinstance(node, COMPREHENSIONS):
            for part in node.generators:
                hidden |= {name.id for name in ast.walk(part.target) if isinstance(name, ast.Name)}
    return reads - inside - hidden, writes - inside


# --- nodes ----------------------------------------------------------------


def assignments(node: ast.AST) -> Iterator[tuple[ast.AST, ast.expr]]:
    """The targets that a node assigns, each with what it is assigned from."""
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
        if node.value is not None:
            yield node.target, node.value
    elif isinstance(node, ast.For):
        yield node.target, node.iter
    elif isinstance(node, ast.With):
        for item in node.items:
            if item.optional_vars is not None:
                yield item.optional_vars, item.context_expr


def last_name(node: ast.AST) -> str:
    """The last name of what is called: `tqdm` of `tqdm.auto.tqdm(...)`."""
    func = node.func if isinstance(node, ast.Call) else node
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


def root(node: ast.AST) -> str:
    """The name that a chain of attributes and subscripts begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def names_in(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def line_of(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def yields_in(body: Iterable[ast.AST]) -> Iterator[ast.Yield | ast.YieldFrom]:
    return (node for node in own(body) if isinstance(node, ast.Yield | ast.YieldFrom))


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The blocks of a compound statement."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for name in ("body", "orelse", "finalbody"):
        if isinstance(block := getattr(node, name, None), list) and block:
            yield block
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield part.body


# --- values -------------------------------------------------------------------


class Origins:
    """What the names of a function are made from: `jobs`, and what those keep, `saved`."""

    def __init__(self, function: ast.FunctionDef) -> None:
        body = function.body
        self.names = {name for name, _ in bindings(body)} | set(parameters(function))
        self.names |= declared(body)
        self.values: dict[str, list[ast.expr]] = {}
        for node in own(body):
            for target, value in assignments(node):
                self._value(target, value)
        self.jobs = {"job"} & set(parameters(function))
        for name, values in self.values.items():
            if any(isinstance(one, ast.Call) and last_name(one) == "current_job" for one in values):
                self.jobs.add(name)
        self.saved: set[str] = set()
        size = -1
        while size < len(self.saved):  # Names are made from names.
            size = len(self.saved)
            for name, values in self.values.items():
                if any(map(self.is_saved, values)):
                    self.saved.add(name)

    def _value(self, target: ast.AST, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.values.setdefault(target.id, []).append(value)
        elif isinstance(target, ast.Starred):
            self._value(target.value, value)
        elif isinstance(target, ast.Tuple | ast.List):
            parts: Sequence[ast.expr] = [value] * len(target.elts)
            if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
                parts = value.elts
            for one, part in zip(target.elts, parts, strict=True):
                self._value(one, part)

    def is_job(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id in self.jobs

    def is_state(self, node: ast.AST) -> bool:
        """Whether it is a call of `job.state`."""
        func = node.func if isinstance(node, ast.Call) else None
        return isinstance(func, ast.Attribute) and func.attr == "state" and self.is_job(func.value)

    def is_saved(self, value: ast.AST) -> bool:
        """Whether a value may hang on the state of the job."""
        if isinstance(value, ast.Name):
            return value.id in self.saved
        if isinstance(value, _Chain | ast.NamedExpr):
            return self.is_saved(value.value)
        if isinstance(value, ast.IfExp):
            return self.is_saved(value.body) or self.is_saved(value.orelse)
        if isinstance(value, ast.BoolOp):
            return any(map(self.is_saved, value.values))
        if not isinstance(value, ast.Call) or last_name(value) in _COPIES:
            return False
        if self.is_state(value):
            return True
        method = isinstance(value.func, ast.Attribute) and self.is_saved(value.func.value)
        return method or any(map(self.is_saved, value.args))

    def is_container(self, name: str) -> bool:
        """Whether a name is seen to be a list, a dict or the like."""
        return any(
            isinstance(value, _DISPLAYS)
            or (isinstance(value, ast.Call) and last_name(value) in _CONTAINERS)
            for value in self.values.get(name, ())
        )

    def state_name(self) -> tuple[str, str]:
        """How the state of the job is called, or could be; and what it has already."""
        for name, values in self.values.items():
            for value in values:
                if isinstance(value, ast.Call) and self.is_state(value):
                    return name, "..., " if value.keywords else ""
        return ("state" if "s" in self.names else "s"), ""
