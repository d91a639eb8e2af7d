"""What of a function's code matters: a digest that comments and formatting do not change.

It is taken of the syntax tree, which every release of Python builds alike,
without docstrings, annotations and the decorators of the function itself.
What the function calls is not looked at.  A function without source is known
by its bytecode, which only the same release of Python writes again.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import sys
import types
import warnings
from collections.abc import Callable
from itertools import groupby
from typing import Any

from attrs import frozen
from blake3 import blake3

from checkpoint._jobs.encoding import canonical, piece, told

MAX_SOURCE = 8000
MAX_LINES = 12
MAX_WIDTH = 100

# Fields that say where code stands, how it is spelled or what a type checker makes of it.
_IDLE = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params"})
_Definition = ast.FunctionDef | ast.AsyncFunctionDef


@frozen
class Code:
    """A function's code: its digest, and its normalised source to show what changed.

    The digest is 16 hex digits; without source they have a prefix that says
    what they are of, and `text` is empty.
    """

    digest: str
    text: str


def fingerprint(function: Callable[..., Any]) -> Code:
    """What of *function*'s code matters, as its file has it now."""
    bare = _bare(function)
    if not isinstance(bare, types.FunctionType):
        return Code(f"name:{told(bare)}", "")
    try:
        tree = _normalised(bare)
        return Code(_digest(_tree(tree)), _shortened(ast.unparse(tree)))
    except (OSError, TypeError, SyntaxError, ValueError, LookupError, RecursionError):
        # No source, or none that can be cut out of its file.
        defaults = told((bare.__defaults__, bare.__kwdefaults__)).encode()
        release = f"{sys.implementation.cache_tag}:"
        return Code(release + _digest(_bytecode(bare.__code__) + defaults), "")


def changed(old: str, new: str) -> bool:
    """Whether two digests are of different code; False where they cannot be compared."""
    return old != new and _kind(old) == _kind(new)


def _kind(digest: str) -> str:
    return digest.partition(":")[0] if ":" in digest else "source"


def difference(old: str, new: str) -> str:
    """The lines that two texts of `Code` differ in, for a warning: a dozen at most."""
    rows = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    lines = ["…" if row.startswith("@@") else _narrow(row) for row in list(rows)[2:]]
    lines = lines[1:]  # the first mark stands before everything
    if len(lines) > MAX_LINES:
        left = len(lines) - MAX_LINES + 1
        lines = [*lines[: MAX_LINES - 1], f"… and {left} more lines"]
    return "\n".join(lines)


def _narrow(line: str) -> str:
    return line if len(line) <= MAX_WIDTH else line[: MAX_WIDTH - 1] + "…"


def _shortened(text: str) -> str:
    if len(text) <= MAX_SOURCE:
        return text
    return text[:MAX_SOURCE].rpartition("\n")[0] + "\n…"


def _digest(content: bytes) -> str:
    return blake3(content).digest(length=8).hex()


def _bare(function: Any) -> Any:
    """The function below decorators, partials and methods."""
    while True:
        below = inspect.unwrap(function)
        if isinstance(below, functools.partial):
            below = below.func
        elif isinstance(below, types.MethodType):
            below = below.__func__
        elif isinstance(call := vars(type(below)).get("__call__"), types.FunctionType):
            below = call
        if below is function:
            return function
        function = below


# --- source -----------------------------------------------------------------


def _normalised(function: types.FunctionType) -> _Definition:
    """The definition of *function* without what does not matter."""
    source = inspect.getsource(function)
    if source[0].isspace():  # a method: dedenting would change its long strings
        source = "if 1:\n" + source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler has warned of this source already
        found: Any = ast.parse(source).body[0]
    if isinstance(found, ast.If):
        found = found.body[0]
    # A lambda, or a file that was edited since.
    if not isinstance(found, _Definition) or found.name != function.__code__.co_name:
        raise LookupError(function.__code__.co_name)
    found.decorator_list = []
    normalised: _Definition = _Normaliser().visit(found)
    return normalised


class _Normaliser(ast.NodeTransformer):
    """Takes docstrings and annotations out, and joins what releases split differently."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._definition(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._definition(node)

    def _definition(self, node: _Definition) -> ast.AST:
        node.returns = None
        _undocument(node)
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        _undocument(node)
        for part in [*node.decorator_list, *node.bases, *node.keywords]:
            self.visit(part)
        for statement in node.body:
            # What this returns is dropped: an annotation in a class's body is a field, and stays.
            self.visit(statement)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        self.generic_visit(node)
        joined: list[Any] = []
        for literal, values in groupby(node.values, lambda value: isinstance(value, ast.Constant)):
            parts: list[Any] = list(values)
            text = "".join(part.value for part in parts) if literal else ""
            joined += ([ast.Constant(text)] if text else []) if literal else parts
        node.values = joined
        return node


def _undocument(node: _Definition | ast.ClassDef) -> None:
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]


def _tree(node: object) -> bytes:
    """An encoding of a syntax tree that does not hang on the release of Python."""
    if isinstance(node, list):
        return piece(b"list", b"".join([_tree(item) for item in node]))
    if not isinstance(node, ast.AST):
        return canonical(node, "")
    fields = [
        piece(b"field", name.encode()) + _tree(value)
        for name, value in sorted(ast.iter_fields(node))
        if name not in _IDLE and value is not None and value != []
    ]
    return piece(b"node", piece(b"kind", type(node).__name__.encode()) + b"".join(fields))


# --- bytecode ---------------------------------------------------------------


def _bytecode(code: types.CodeType) -> bytes:
    constants = [
        _bytecode(constant) if isinstance(constant, types.CodeType) else canonical(constant, "")
        for constant in code.co_consts
    ]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, counts)
    return piece(b"code", code.co_code + canonical(names, "") + b"".join(constants))
