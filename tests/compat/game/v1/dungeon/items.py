"""What a hero carries."""

from __future__ import annotations

from dataclasses import dataclass

from attrs import define


@define
class Sword:
    damage: int
    price: str = "12 gold"


@dataclass
class Potion:
    strength: int
