"""Index every word of Python's standard library, and kill it whenever you like.

    python examples/word_index.py                    # build the index
    python examples/word_index.py --find checkpoint  # look a word up

A stand-in for any long job: a list of things to do, and a result that grows.  Stop it at any
moment (Ctrl-C, kill -9, a power cut) and run the same command again: it goes on from its
newest save, reads again only the files since then, and ends with the same index.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import sysconfig
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

import checkpoint

LIBRARY = Path(sysconfig.get_path("stdlib"))
NOT_OURS = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
WORD = re.compile(r"[a-z]\w+")
PYTHON = "{}.{}.{}".format(*sys.version_info)  # Another one has another library, and another index.

Place = tuple[str, int]  # file and line


@dataclass
class Index:
    """Where each word stands."""

    places: dict[str, list[Place]] = field(default_factory=dict)
    files: int = 0
    skipped: list[str] = field(default_factory=list)

    def read(self, file: str) -> None:
        """Add the words of *file*, a path below the library; skip it if it is no readable text."""
        try:
            with tokenize.open(LIBRARY / file) as source:  # in the encoding it declares
                lines = source.read().splitlines()
        except (OSError, SyntaxError, UnicodeDecodeError):
            self.skipped.append(file)
            lines = []
        for number, line in enumerate(lines, start=1):
            for word in dict.fromkeys(WORD.findall(line.lower())):
                self.places.setdefault(word, []).append((file, number))
        self.files += 1

    def digest(self) -> str:
        """Equal indexes give equal digests."""
        digest = hashlib.sha256()
        for word in sorted(self.places):
            digest.update(f"{word} {sorted(self.places[word])}\n".encode())
        return digest.hexdigest()


def library_files(*, packages: bool) -> list[str]:
    """The modules at the top of the library, then those in its packages, in an order that stays."""
    found = [path.relative_to(LIBRARY) for path in LIBRARY.glob("**/*.py" if packages else "*.py")]
    ours = [path for path in found if NOT_OURS.isdisjoint(path.parts)]
    return [path.as_posix() for path in sorted(ours, key=lambda path: (len(path.parts), path))]


def build(files: list[str], store: str, every: int) -> None:
    """Read file after file; every few of them, what was read is saved."""
    with checkpoint.job("words", key=PYTHON, store=store, every=every) as job:
        index = job.state(index=Index).index
        for file in job.loop(files, name="file"):
            index.read(file)
    words, places = len(index.places), sum(map(len, index.places.values()))
    print(f"{words:,} words in {places:,} places; {len(index.skipped)} files were not readable")
    print(f"digest of the index: {index.digest()}")


def find(store: str, word: str) -> None:
    """Print where *word* stands, in the newest index that was saved: a job is saved snapshots."""
    saves = checkpoint.Checkpointer(store, name=f"words/{PYTHON}")
    index = saves.load(only=("state", "index"))
    places = sorted(index.places.get(word.lower(), ()))
    for file, number in places:
        print(f"{file}:{number}")
    print(f"{len(places)} lines with {word!r} in the {index.files} files indexed so far")


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Index every word of Python's standard library, or look a word up.",
        epilog="Kill it at any moment and run the same command again: it goes on where it was.",
    )
    add = parser.add_argument
    add("--store", default="saves/words", help="the folder to save to (default: %(default)s)")
    add("--limit", type=positive, help="read this many files, not all of them")
    add("--packages", action="store_true", help="read the packages too, not only single modules")
    add("--every", type=positive, default=10, help="save after so many files (default: 10)")
    add("--find", metavar="WORD", help="print the places of WORD instead")
    arguments = parser.parse_args()
    try:
        if arguments.find:
            find(arguments.store, arguments.find)
        else:
            files = library_files(packages=arguments.packages)[: arguments.limit]
            build(files, arguments.store, arguments.every)
    except checkpoint.CheckpointError as error:
        sys.exit(f"word_index: {error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command goes on from the newest save")


if __name__ == "__main__":
    main()
