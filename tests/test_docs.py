"""What the documentation says is so: code runs, links lead somewhere, nothing is left out."""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import checkpoint
from checkpoint import Checkpointer, CheckpointError, _cli, errors, testing
from checkpoint._keys import Users
from checkpoint.store import Locking, Store

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
REFERENCE = DOCS / "reference"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of *page* in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with this `checkpoint`, warnings as errors."""
    here = str(Path(checkpoint.__file__).parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        timeout=120,
        check=False,
    )


def run_page(page: Path, folder: Path) -> None:
    """Run the Python blocks of *page* in order, in one namespace, as a script in *folder*."""
    script = folder / "page.py"
    script.write_text("\n\n".join(blocks(page, "python")), encoding="utf-8")
    done = python(str(script), cwd=folder)
    assert done.returncode == 0, done.stderr


# --- code -------------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page, "python")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_python_block_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@each_page
def test_every_fence_is_closed_and_says_its_language(page: Path) -> None:
    fences = re.findall(r"^```(\w*)", text_of(page), re.MULTILINE)
    assert all(opening in ("python", "text", "console") for opening in fences[::2])
    assert set(fences[1::2]) <= {""}
    assert len(fences) % 2 == 0


def test_the_readme_gives_the_two_commands() -> None:
    commands = "\n".join(blocks(ROOT / "README.md", "text")).splitlines()
    assert "python examples/train_digits.py" in commands
    assert "python -m pytest" in commands
    assert (ROOT / "examples" / "train_digits.py").exists()


# --- links ------------------------------------------------------------------


def anchor(heading: str) -> str:
    """The anchor of a heading, as the usual renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(line.lstrip("#")) for line in prose(page).splitlines() if line.startswith("#")}


def links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not target.startswith(("http://", "https://", "mailto:")):
            yield target


@each_page
def test_no_relative_link_is_broken(page: Path) -> None:
    for link in links(page):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if fragment:
            assert fragment in anchors(target), f"{page.name} links to {link}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    found = {ROOT / "README.md"}
    while True:
        targets = {
            (page.parent / link.partition("#")[0]).resolve()
            for page in found
            for link in links(page)
            if link.partition("#")[0].endswith(".md")
        }
        if targets <= found:
            break
        found |= targets
    assert {page.resolve() for page in PAGES} <= found


@each_page
def test_every_test_and_script_that_a_page_names_is_there(page: Path) -> None:
    for path in re.findall(r"`((?:tests|examples|docs|checkpoint)/[\w/.]+?)/?`", text_of(page)):
        if path.startswith("checkpoint/"):
            assert (Path(checkpoint.__file__).parents[1] / path).exists(), path
        else:
            assert (ROOT / path).exists(), path


@each_page
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    wanted = set(re.findall(r"`(test_\w+)`", text_of(page)))
    if wanted:
        sources = (text_of(path) for path in sorted((ROOT / "tests").rglob("test_*.py")))
        there = {name for text in sources for name in re.findall(r"def (test_\w+)", text)}
        assert wanted <= there


# --- the command line -------------------------------------------------------


class _Caught(Exception):
    pass


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The parser that the command line builds."""
    found: list[argparse.ArgumentParser] = []

    def caught(self: argparse.ArgumentParser, *_: Any) -> NoReturn:
        found.append(self)
        raise _Caught

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", caught)
        with pytest.raises(_Caught):
            _cli.main([])
    return found[0]


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands by name, with those below them in place of one that has some."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                below = commands_of(command)
                found |= {f"{name} {other}": one for other, one in below.items()}
                if not below:
                    found[name] = command
    return found


def shown() -> list[tuple[list[str], str]]:
    """The commands on the page, each with the output that stands under it."""
    found = []
    for block in blocks(REFERENCE / "command-line.md", "console"):
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            found.append((shlex.split(command), output))
    return found


def test_every_command_and_option_is_documented(parser: argparse.ArgumentParser) -> None:
    page = text_of(REFERENCE / "command-line.md")
    commands = commands_of(parser)
    given = [" ".join(command[1:]) + " " for command, _ in shown()]
    assert all(any(one.startswith(f"{name} ") for one in given) for name in commands)
    for name, command in commands.items():
        places = [a for a in command._actions if not a.option_strings]
        forms = {"?": "[{}]", "+": "{}…"}
        wanted = [forms.get(str(a.nargs), "{}").format(a.metavar) for a in places]
        assert f"## `checkpoint {' '.join([name, *wanted])}`" in page
    for one in (parser, *commands.values()):
        for action in one._actions:
            assert all(f"`{option}`" in page for option in action.option_strings)


def test_every_command_that_is_shown_exists(parser: argparse.ArgumentParser) -> None:
    assert shown()
    for command, _ in shown():
        assert command[0] == "checkpoint"
        parser.parse_args(command[1:])  # Exits if it is wrong.


def test_the_shown_output_is_what_the_commands_print(tmp_path: Path) -> None:
    run_page(REFERENCE / "command-line.md", tmp_path)
    for command, output in shown():
        done = python("-m", "checkpoint", *command[1:], cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert settled(done.stdout) == settled(output)


def settled(output: str) -> str:
    """*output* without what differs from run to run: dates, releases, widths."""
    output = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "DATE", output)
    output = re.sub(r"\b(python|checkpoint) [\w.+]+", r"\1 RELEASE", output)
    return re.sub(r" +", " ", output)


# --- the interface and its errors -------------------------------------------


def public(cls: type) -> list[str]:
    return [name for name in vars(cls) if not name.startswith("_")]


def test_the_page_of_the_interface_lists_every_name() -> None:
    page = text_of(REFERENCE / "api.md")
    for name in (*checkpoint.__all__, *testing.__all__):
        assert re.search(rf"`{name}\b|^{name}\(", page, re.MULTILINE), name
    for cls in (Checkpointer, Store, Locking):
        for name in public(cls):
            assert re.search(rf"`{name}\b", page), f"{cls.__name__}.{name}"
    for field in inspect.signature(checkpoint.Snapshot).parameters:
        assert f"`{field}`" in page, field


def signatures() -> Iterator[tuple[str, Any]]:
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler", "Checkpointer"):
        yield name, getattr(checkpoint, name)
    for name in public(Checkpointer):
        value = getattr(Checkpointer, name)
        if inspect.isfunction(value):
            yield name, value


def plain(signature: inspect.Signature) -> str:
    """A signature without types, and without a default that is nobody's to write."""
    parameters = [
        p.replace(
            annotation=p.empty,
            default=... if type(p.default) in (object, checkpoint.Migrations, Users) else p.default,
        )
        for p in signature.parameters.values()
        if p.name != "self"
    ]
    text = str(inspect.Signature(parameters))
    return text.replace("Ellipsis", "…").replace("'", '"')


@pytest.mark.parametrize(("name", "function"), list(signatures()))
def test_the_page_of_the_interface_gives_the_real_signatures(name: str, function: Any) -> None:
    wanted = name + plain(inspect.signature(function))
    page = text_of(REFERENCE / "api.md")
    assert wanted in page.splitlines() or f"`{wanted}`" in page, wanted


def test_every_error_and_warning_is_documented() -> None:
    page = text_of(REFERENCE / "errors.md")
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, (CheckpointError, Warning)):
            assert f"| `{name}` |" in page, name


def test_the_tree_of_errors_is_that_of_the_module() -> None:
    drawn = [line.strip() for line in (errors.__doc__ or "").splitlines() if "──" in line]
    assert drawn
    assert set(drawn) <= {line.strip() for line in text_of(REFERENCE / "errors.md").splitlines()}
    for line in drawn:
        name = re.findall(r"\w+Error", line)[0]
        indented = "│" in line
        base = getattr(checkpoint, name).__mro__[1]
        assert (base is CheckpointError) != indented


# --- words ------------------------------------------------------------------


def defined() -> set[str]:
    """The words of the glossary, and each word of those of several words."""
    rows = re.findall(r"^\| ([^|]+) \|", text_of(DOCS / "glossary.md"), re.MULTILINE)
    terms = {term.strip() for row in rows for term in row.split(",")}
    return terms | {word for term in terms for word in re.split("[ -]", term)}


def test_every_noun_of_a_public_class_is_in_the_glossary() -> None:
    known = {*defined(), "memory", "best"}
    for name in checkpoint.__all__:
        if isinstance(getattr(checkpoint, name), type) and not name.endswith(("Error", "Warning")):
            words = [word.lower() for word in re.findall(r"[A-Z][a-z]+", name)]
            assert words
            assert all(word in known or word == "local" for word in words), name


def test_the_glossary_is_sorted() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", text_of(DOCS / "glossary.md"), re.MULTILINE)
    words = [row for row in rows if row not in ("word", "---")]
    assert words == sorted(words)
    assert len(words) == len(set(words))


@each_page
def test_a_page_has_one_title_and_one_sentence_a_line(page: Path) -> None:
    lines = prose(page).splitlines()
    assert [line for line in lines if line.startswith("# ")] == lines[:1]
    for line in lines:
        if not line.startswith("|"):
            assert not re.search(r"[a-z`)][.?!](\*\*)? [A-Z\[`]", line), line


@each_page
def test_the_records_have_their_three_headings(page: Path) -> None:
    if not re.match(r"\d{4}-", page.name) or page.parent.name != "decisions":
        return
    headings = [line for line in prose(page).splitlines() if line.startswith("## ")]
    assert headings[:3] == ["## Context", "## Decision", "## Consequences"]
    assert text_of(page).startswith(f"# {page.name[:4]}: ")


def test_the_examples_say_how_to_run_them() -> None:
    for example in sorted((ROOT / "examples").glob("*.py")):
        assert f"python examples/{example.name}" in (
            ast.get_docstring(ast.parse(text_of(example))) or ""
        )
