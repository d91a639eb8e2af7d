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

from checkpoint import Checkpointer, CheckpointError, keep_last

LIBRARY = Path(sysconfig.get_path("stdlib"))
NOT_OURS = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
WORD = re.compile(r"[a-z]\w+")

Place = tuple[str, int]  # file and line


@dataclass
class Index:
    """Where each word stands, and which files were read so far: all that the job needs to go on."""

    places: dict[str, list[Place]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
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
        self.done.append(file)

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


def build(saves: Checkpointer, arguments: argparse.Namespace) -> None:
    """Read file after file, and save every few of them."""
    index = saves.load(default=None)
    if index is None:
        index = Index()
        print(f"starting fresh; saving to {arguments.store}")
    else:
        newest = saves.snapshots()[-1].version
        print(f"resumed after {len(index.done)} files; the newest version is {newest}")

    files = library_files(packages=arguments.packages)[: arguments.limit]
    done = set(index.done)
    left = [file for file in files if file not in done]
    for count, file in enumerate(left, start=1):
        index.read(file)
        if count % arguments.every == 0 or count == len(left):
            saves.save(index)
            print(f"saved after {len(index.done)} of {len(files)} files, the last one {file}")

    words, places = len(index.places), sum(map(len, index.places.values()))
    print(f"{words:,} words in {places:,} places; {len(index.skipped)} files were not readable")
    print(f"digest of the index: {index.digest()}")


def find(saves: Checkpointer, word: str) -> None:
    """Print where *word* stands, in the newest index that was saved."""
    index = saves.load()
    places = sorted(index.places.get(word.lower(), ()))
    for file, number in places:
        print(f"{file}:{number}")
    print(f"{len(places)} lines with {word!r} in the {len(index.done)} files indexed so far")


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Index every word of Python's standard library, or look a word up.",
        epilog="Kill it at any moment and run the same command again: it goes on where it was.",
    )
    parser.add_argument(
        "--store", default="saves/words", help="the folder to save to (default: %(default)s)"
    )
    parser.add_argument("--limit", type=positive, help="read this many files, not all of them")
    parser.add_argument(
        "--packages", action="store_true", help="read the packages too, not only single modules"
    )
    parser.add_argument(
        "--every", type=positive, default=10, help="save after so many files (default: %(default)s)"
    )
    parser.add_argument("--find", metavar="WORD", help="print the places of WORD instead")
    arguments = parser.parse_args()

    # Another Python has another library: each has an index of its own, under its own name.
    name = "python-{}.{}.{}".format(*sys.version_info)
    saves = Checkpointer(arguments.store, name=name, keep=keep_last(3))
    try:
        if arguments.find:
            find(saves, arguments.find)
        else:
            build(saves, arguments)
    except CheckpointError as error:
        sys.exit(f"word_index: {error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command goes on from the newest save")


if __name__ == "__main__":
    main()
