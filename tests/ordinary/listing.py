"""Print the page of the types that load from foreign files, made of the values of the tests."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from ordinary.outside import OUTSIDE
from ordinary.values import VALUES, Value

HEAD = """\
# Types that load from foreign files

What a snapshot that somebody else wrote may hold with nothing declared, and what it may not.
A snapshot of one's own may hold anything that can be saved.
`python tests/ordinary/listing.py` prints this page, and \
`tests/ordinary/test_ordinary.py` \
saves and loads each value that it names: \
from a single file, from a repository, and from what plain pickling writes.
"""
LOADS = """
## What loads

{count} values are tested.
The classes of the program are those of the package that called, or that `package=` names.
What plain pickling itself writes of the values that are marked \\* is refused; \
`checkpoint` saves them in a form that can be checked.
What plain pickling writes of the values that are marked † is read of some protocols only.
"""
DECLARED = "With a declaration"
OUT = """
## What is out

`trust=` takes a class or a function, its name, or a package, whose classes may then be rebuilt; \
a class or function that is named itself may be called too.
`trust=checkpoint.everything` is what `pickle.load` does: \
only for files that one would run as a program.

| what | why | instead |
|---|---|---|
"""
UNSAVED = """
These cannot be saved at all:

| what | why | instead |
|---|---|---|
"""


def mark(value: Value) -> str:
    if not value.protocols:
        return " \\*"
    return "" if len(value.protocols) == 6 else " †"


def escaped(name: str) -> str:
    return re.sub(r"([_*\[\]<`])", r"\\\1", name)


def page() -> Iterator[str]:
    yield HEAD
    yield LOADS.format(count=len(VALUES))
    for group, values in groupby(VALUES, key=lambda value: value.group):
        yield f"\n### {group}\n\n"
        if group == DECLARED:
            yield "These load once the class, or the function that makes them, is in `trust=`.\n\n"
        yield from (f"- {escaped(value.name)}{mark(value)}\n" for value in values)
    yield OUT
    yield from rows(saved=True)
    yield UNSAVED
    yield from rows(saved=False)


def rows(*, saved: bool) -> Iterator[str]:
    for one in OUTSIDE:
        if one.saved is saved:
            yield f"| {one.name} | {one.why} | {one.instead} |\n"


if __name__ == "__main__":
    sys.stdout.buffer.write("".join(page()).encode("utf-8"))
