"""Who is in the dungeon."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from checkpoint import versioned
from dungeon.items import Potion, Sword

if TYPE_CHECKING:
    from dungeon.world import Level


class Mood(Enum):
    FLEEING = 0
    CALM = 1
    ANGRY = 2


@dataclass(frozen=True, slots=True)
class Position:
    y: int
    x: int

    def towards(self, other: Position, step: int) -> Position:
        """One step along each axis: *step* is 1 to come nearer, -1 to flee."""
        dx, dy = other.x - self.x, other.y - self.y
        return Position(
            y=(self.y + step * ((dy > 0) - (dy < 0))) % 9,
            x=(self.x + step * ((dx > 0) - (dx < 0))) % 6,
        )


@versioned(3)
class Mob:
    def __init__(self, health: int, level: Level, position: Position) -> None:
        self.health = health
        self.level = level
        self.position = position


@versioned(3)
class Orc(Mob):
    def __init__(self, strength: int, level: Level, position: Position) -> None:
        super().__init__(6, level, position)
        self.strength = strength
        self.mood = Mood.CALM

    def blow(self) -> int:
        return self.strength


class Uruk(Orc):
    def __init__(self, strength: int, level: Level, position: Position) -> None:
        super().__init__(strength, level, position)
        self.health = 9
        self.banner = "a white hand"

    def blow(self) -> int:
        return 2 * self.strength


class Player(Mob):
    def __init__(self, level: Level, position: Position) -> None:
        super().__init__(30, level, position)
        self.sword = Sword(2)
        self.bag = [Potion(4), Potion(9)]
        self.target: Orc | None = None
        self.gold = 0
