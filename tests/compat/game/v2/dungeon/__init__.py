"""A dungeon, release 2: swords are sharp, potions have effects, and there is a market."""

from dungeon import history as history
from dungeon.world import new_game, turn

__all__ = ["new_game", "turn"]
