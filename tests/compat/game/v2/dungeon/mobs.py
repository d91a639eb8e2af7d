"""Who is in the dungeon."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from checkpoint import versioned
from dungeon.items import Potion, Sword


class Mood(Enum):
    AFRAID = 0
    CALM = 1
    ANGRY = 2


@dataclass(frozen=True, slots=True)
class Position:
    x: int
    y: int

    def towards(self, other: Position, step: int) -> Position:
        """One step along each axis: *step* is 1 to come nearer, -1 to flee."""
        dx, dy = other.x - self.x, other.y - self.y
        return Position(
            (self.x + step * ((dx > 0) - (dx < 0))) % 6, (self.y + step * ((dy > 0) - (dy < 0))) % 9
        )


class Mob:
    def __init__(self, hp: int, floor: int, position: Position) -> None:
        self.hp = hp
        self.floor = floor
        self.position = position


@versioned(2)
class Orc(Mob):
    def __init__(self, strength: int, big: bool, floor: int, position: Position) -> None:
        super().__init__(9 if big else 6, floor, position)
        self.strength = strength
        self.big = big
        self.mood = Mood.CALM

    def blow(self) -> int:
        return 2 * self.strength if self.big else self.strength


class Hero(Mob):
    def __init__(self, floor: int, position: Position) -> None:
        super().__init__(30, floor, position)
        self.sword = Sword(2)
        self.bag = [Potion(4), Potion(9)]
        self.target: Orc | None = None
        self.gold = 0


class Ghost:
    """Looks on."""

    def __init__(self, haunts: Any) -> None:
        self.haunts = haunts
