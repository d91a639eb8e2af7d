"""What a hero carries."""

from __future__ import annotations

from dataclasses import dataclass, field

from attrs import define


@define
class Sword:
    damage: int
    price: str = "12 gold"
    sharp: bool = True


@dataclass
class Potion:
    strength: int
    effects: list[str] = field(default_factory=list)
