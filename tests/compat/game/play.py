"""Play one release: python play.py FOLDER [--load [VERSION]] [--turns N] [--save]

What it prints is the digest of the world.  The release is the `dungeon` on the path.
Without --load a new game begins.
"""

from __future__ import annotations

import argparse

import dungeon
from told import digest, told

from checkpoint import Checkpointer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", nargs="?", type=int, const=0, metavar="VERSION")
    parser.add_argument("--turns", type=int, default=0)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--told", action="store_true")
    given = parser.parse_args()
    with Checkpointer(given.folder, "slot", package="dungeon") as saves:
        if given.load is None:
            world = dungeon.new_game(given.seed)
        else:
            world = saves.load(version=given.load or None)
        for _ in range(given.turns):
            dungeon.turn(world)
        if given.save:
            saves.save(world)
    print("\n".join(told(world)) if given.told else digest(world))


if __name__ == "__main__":
    main()
