"""What an object more or less costs in bytes and in time, with its references renumbered or not.

python tests/bench/renumbering.py [units] [versions]
"""

from __future__ import annotations

import gc
import pickle
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_renumbering import (
    SHIFTS,
    a_world,
    append_some,
    change_floats,
    delta,
    numbering,
    stream_of,
)

from checkpoint._renumbering import renumber, restore


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Processor time with the collector off, and what *function* gives."""
    gc.collect()
    gc.disable()
    start = time.process_time()
    found = function(*arguments)
    spent = time.process_time() - start
    gc.enable()
    return spent, found


def main(units: int, versions: int) -> None:
    print("| change | version | plain | renumbered | header | renumber | restore |")
    print("|---|---|---|---|---|---|---|")
    for change in (*SHIFTS, change_floats, append_some):
        world, chance = a_world(units), random.Random(2)
        first = stream_of(world)
        like = numbering(first)
        for version in range(1, versions + 1):
            change(world, chance)
            stream = stream_of(world)
            spent, found = timed(renumber, stream, like)
            part = stream
            if found is not None:
                header, body, like = found
                part = header + bytes(body)
            if version not in (1, versions):
                continue
            row = [change.__name__, version, delta(stream, first)]
            dumping, _ = timed(pickle.dumps, world, 5)
            if found is None:
                print("|", *(f"{cell} |" for cell in [*row, "-", "-", ratio(spent, dumping), "-"]))
                continue
            loading, _ = timed(pickle.loads, stream)
            restoring, back = timed(restore, part)
            if back != stream:
                raise AssertionError("restored something else")
            row += [delta(part, first), len(header)]
            row += [ratio(spent, dumping), ratio(restoring, loading)]
            print("|", *(f"{cell} |" for cell in row), flush=True)


def ratio(spent: float, peer: float) -> str:
    return f"{spent / peer:.2f}"


if __name__ == "__main__":
    sizes = [int(argument) for argument in sys.argv[1:]]
    main(*(sizes + [100_000, 20][len(sizes) :]))
