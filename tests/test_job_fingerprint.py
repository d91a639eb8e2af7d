"""What of a function's code matters: every change but those that change nothing."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import re
import types
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from checkpoint._jobs.fingerprint import Code, changed, difference, fingerprint

COUNT = itertools.count()

Made = Callable[[str], Code]


@pytest.fixture
def code_of(tmp_path: Path) -> Made:
    """The code of `f` in a module of the given source."""

    def make(source: str) -> Code:
        return fingerprint(module(tmp_path, source).f)

    return make


def module(folder: Path, source: str) -> Any:
    path = folder / f"module_{next(COUNT)}.py"
    path.write_text(dedent(source))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


ORIGINAL = r'''
def f(n, lr=0.1, *rest, seed=None):
    """What it does."""
    total: float = 0.5
    for i in range(n):
        if i % 2 and not total < 3 or i == -1:
            total += lr * i
    class Inner:
        x: int = 1
    def inner(a: int) -> int:
        return a + 1
    words = [f"{i!r:>{n}}" "é" for i in rest if i is not None]
    try:
        with open(words[0]) as file, open("b") as other:
            total = inner(total) if total else lambda y: (y, *rest)
    except (OSError, ValueError) as error:
        raise RuntimeError("no", 1_000, b"\x00", None, True, ...) from error
    return {"total": total, **{}}
'''

# The same function, written by someone else.
REWRITTEN = r'''
import functools
def mark(function): return function

# A comment.
@mark
@functools.cache
def f(
    n: int,
    lr: float = 0.1,  # the rate
    *rest: str,
    seed: int | None = (None),
) -> dict[str, float]:
    """Another word
for it."""

    total = 0.5
    for i in range(n):
        if (i % 2 and not (total < 3)) or i == -1: total += (lr*i)

    class Inner:
        """Documented."""
        x: int = 1

    def inner(a):
        "Documented."
        return (a
                + 1)
    words: list[str] = [f'{i!r:>{n}}é'
                        for i in rest if i is not None]
    try:
        with (open(words[0]) as file, open('b') as other):
            total = (inner(total) if total
                     else (lambda y: (y, *rest)))
    except (OSError, ValueError) as error:
        raise RuntimeError('no', 1000, b'\0', None, True, ...) from error
    return {
        'total': total,
        **{},
    }
'''

# What the function above was first given, by any release of Python.
GOLDEN = "23ba76956d7b50eb"


def test_what_does_not_matter_does_not_count(code_of: Made) -> None:
    assert code_of(REWRITTEN).digest == code_of(ORIGINAL).digest


def test_every_release_gives_the_same_digest(code_of: Made) -> None:
    assert code_of(ORIGINAL).digest == GOLDEN


CHANGES = [
    ("def f(n", "def f(m"),
    ("lr=0.1", "lr=0.2"),
    ("lr=0.1", "lr"),
    ("*rest, seed", "*, seed"),
    ("seed=None", "seed=0"),
    ("= 0.5", "= 0"),
    ("= 0.5", "= -0.5"),
    ("range(n)", "range(n + 0)"),
    ("i % 2", "i // 2"),
    ("i % 2 and", "i % 2 or"),
    ("not total", "total"),
    ("< 3", "<= 3"),
    ("i == -1", "i == 1"),
    ("total += lr", "total -= lr"),
    ("lr * i", "i * lr"),
    ("class Inner", "class Other"),
    ("x: int = 1", "x: str = 1"),
    ("x: int = 1", "x: int = 2"),
    ("a + 1", "a + 1.0"),
    ("a + 1", "a + True"),
    ("!r", "!s"),
    (":>", ":<"),
    ('"é"', '"e"'),
    ("is not None", "is None"),
    ("words[0]", "words[1:]"),
    ("words[0]", "words[:1]"),
    ("as file,", "as handle,"),
    ('"b"', 'b"b"'),
    ("lambda y: (y, *rest)", "lambda y: [y, *rest]"),
    ("(y, *rest)", "(y, rest)"),
    ("(OSError, ValueError)", "OSError"),
    ('"no"', '"yes"'),
    ("1_000", "1_001"),
    (r"\x00", r"\x01"),
    ("None, True", "None, False"),
    ("None, True", "True, None"),
    (", ...)", ")"),
    (" from error", ""),
    ("**{}", "'more': {}"),
    ("    return {", "    yield {"),
    ("    def inner", "    @print\n    def inner"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_every_other_change_counts(code_of: Made, old: str, new: str) -> None:
    assert ORIGINAL.count(old) == 1
    assert code_of(ORIGINAL.replace(old, new)).digest != code_of(ORIGINAL).digest


def test_the_name_of_a_function_counts(tmp_path: Path) -> None:
    made = module(tmp_path, "def f(): return 1\ndef g(): return 1")
    assert fingerprint(made.f).digest != fingerprint(made.g).digest


def test_an_async_function_is_another(code_of: Made) -> None:
    assert code_of("async def f(): return 1").digest != code_of("def f(): return 1").digest


def test_a_method_is_as_good_as_a_function(tmp_path: Path) -> None:
    text = "    def f(self):\n        return '''one\ntwo'''\n"
    made = module(tmp_path, f"class A:\n{text}class B:\n  class C:\n{indent(text, '')}")
    same = {fingerprint(function).digest for function in (made.A.f, made.A().f, made.B.C.f)}
    plain = module(tmp_path, "def f(self): return 'one\\ntwo'")
    assert same == {fingerprint(plain.f).digest}


def test_a_function_is_found_below_what_wraps_it(tmp_path: Path) -> None:
    made = module(
        tmp_path,
        """
        import functools
        def mark(function):
            @functools.wraps(function)
            def wrapper(*args): return function(*args)
            return wrapper
        @mark
        def f(a): return a
        class Callable:
            def __call__(self): return 1
        """,
    )
    code = fingerprint(made.f)
    assert code.text == "def f(a):\n    return a"
    assert fingerprint(functools.partial(made.f, 1)) == code
    assert fingerprint(made.f.__wrapped__) == code
    assert fingerprint(made.Callable()) == fingerprint(made.Callable.__call__)


# --- without source ---------------------------------------------------------


def executed(source: str) -> Code:
    names: dict[str, Any] = {}
    exec(compile(source, "<nowhere>", "exec"), names)
    function: types.FunctionType = names["f"]
    return fingerprint(function)


def test_without_source_the_bytecode_counts() -> None:
    code = executed("def f(a, b=1):\n    return [g(x) for x in a]")
    assert code.text == ""
    assert re.fullmatch(r".+:[0-9a-f]{16}", code.digest)
    assert executed("\n\ndef f(a, b=1): return [g(x)  for x in a]") == code
    for other in (
        "def f(a, b=2): return [g(x) for x in a]",
        "def f(a, *b): return [g(x) for x in a]",
        "def f(a, /, b=1): return [g(x) for x in a]",
        "def f(a, b=1): return [h(x) for x in a]",
        "def f(a, b=1): return [g(x, 1) for x in a]",
        "def f(a, b=1): return [g(y) for y in a]",
        "def f(a, b=1): return {g(x) for x in a}",
    ):
        assert changed(code.digest, executed(other).digest), other


def test_a_lambda_is_known_by_its_bytecode() -> None:
    one, other = (lambda: 1), (lambda: 2)
    assert changed(fingerprint(one).digest, fingerprint(other).digest)
    assert fingerprint(one).text == ""


def test_a_builtin_is_known_by_its_name() -> None:
    assert changed(fingerprint(len).digest, fingerprint(sum).digest)
    assert fingerprint(len) == fingerprint(len)
    assert changed(fingerprint(int).digest, fingerprint(str).digest)


def test_digests_of_two_kinds_say_nothing_of_a_change(code_of: Made) -> None:
    source = code_of("def f(): return 1").digest
    assert re.fullmatch("[0-9a-f]{16}", source)
    assert changed(source, code_of("def f(): return 2").digest)
    assert not changed(source, source)
    assert not changed(source, executed("def f(): return 1").digest)
    assert not changed("cpython-311:0123", "cpython-313:4567")
    assert not changed(source, fingerprint(len).digest)


def test_a_file_that_was_edited_since_is_not_taken_for_the_function(tmp_path: Path) -> None:
    made = module(tmp_path, "def f():\n    return 1\n")
    Path(made.__file__).write_text("def g():\n    return 12345\n")
    assert fingerprint(made.f).text == ""


def test_an_invalid_escape_is_no_warning_of_ours(tmp_path: Path) -> None:
    with pytest.warns(Warning, match="invalid escape"):
        made = module(tmp_path, "def f(): return '\\d'")
    assert fingerprint(made.f).text


# --- what is shown ----------------------------------------------------------


def test_a_difference_shows_the_lines_that_changed(code_of: Made) -> None:
    old = code_of("def f(n):\n    a = 1\n    b = 2\n    c = 3\n    return a")
    new = code_of("def f(n):\n    a = 1\n    b = 2\n    c = 4\n    return a")
    assert difference(old.text, new.text).splitlines() == [
        "     b = 2",
        "-    c = 3",
        "+    c = 4",
        "     return a",
    ]
    assert difference(old.text, old.text) == ""


def test_a_long_difference_is_cut(code_of: Made) -> None:
    old = code_of("def f():\n" + "".join(f"    a{i} = {i}\n" for i in range(2000)))
    new = code_of("def f():\n" + "".join(f"    a{i} = '{i * 'x'}'\n" for i in range(2000)))
    assert len(old.text) <= 8000 and old.text.endswith("\n…")
    lines = difference(old.text, new.text).splitlines()
    assert len(lines) == 12 and re.fullmatch(r"… and \d+ more lines", lines[-1])
    assert max(map(len, lines)) <= 100


def test_places_that_are_far_apart_are_marked(code_of: Made) -> None:
    lines = [f"    a{i} = {i}" for i in range(9)]
    other = [line.replace("1", "7").replace("8 = 8", "8 = 9") for line in lines]
    old, new = code_of("\n".join(["def f():", *lines])), code_of("\n".join(["def f():", *other]))
    assert "…" in difference(old.text, new.text).splitlines()
