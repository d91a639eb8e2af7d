"""A dungeon, release 3: the hero is a player, and big orcs are Uruks."""

from dungeon import history as history
from dungeon.world import new_game, turn

__all__ = ["new_game", "turn"]
