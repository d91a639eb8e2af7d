"""What a hero carries."""

from __future__ import annotations

from dataclasses import dataclass, field

from attrs import define

from checkpoint import versioned


@versioned(2)
@define
class Sword:
    damage: int
    price: int = 12
    sharp: bool = True


@dataclass
class Potion:
    strength: int
    effects: list[str] = field(default_factory=list)
