"""A dungeon, release 1: two floors, a hero, and orcs that come from nowhere."""

from dungeon.world import new_game, turn

__all__ = ["new_game", "turn"]
