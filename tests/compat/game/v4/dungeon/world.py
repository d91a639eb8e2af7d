"""The dungeon, and what happens in a turn."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from attrs import define, field

from dungeon.items import Potion
from dungeon.mobs import Mood, Orc, Player, Position, Uruk

LEVELS = 2


class Event(NamedTuple):
    turn: int
    text: str
    loud: bool = False


@define(eq=False)
class Level:
    number: int
    mobs: list[Orc] = field(factory=list)


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.turn = 0
        self.levels = [Level(number) for number in range(LEVELS)]
        self.hero = Player(self.levels[0], Position(y=0, x=0))
        self.log: list[Event] = []
        self.steps: dict[Position, int] = {}
        self.moods: dict[Mood, int] = {}
        self.seen = {self.hero.position}


def new_game(seed: int) -> World:
    world = World(seed)
    for level in world.levels:
        for _ in range(4):
            spawn(world, level)
    return world


def spawn(world: World, level: Level) -> None:
    roll = world.random.randrange
    position = Position(x=roll(6), y=roll(9))
    strength, big = 1 + roll(3), roll(10) < 3
    level.mobs.append((Uruk if big else Orc)(strength, level, position))


def turn(world: World) -> None:
    world.turn += 1
    for level in world.levels:
        for orc in level.mobs:
            act(world, orc)
    hero_acts(world)
    for level in world.levels:
        level.mobs = [orc for orc in level.mobs if orc.health > 0]
    if world.random.random() < 0.4:
        spawn(world, world.levels[world.random.randrange(LEVELS)])


def act(world: World, orc: Orc) -> None:
    roll = world.random.random()
    orc.mood = Mood.FLEEING if orc.health < 3 else Mood.ANGRY if roll < 0.5 else Mood.CALM
    world.moods[orc.mood] = world.moods.get(orc.mood, 0) + 1
    if orc.mood is not Mood.CALM:
        step = 1 if orc.mood is Mood.ANGRY else -1
        orc.position = orc.position.towards(world.hero.position, step)
    world.steps[orc.position] = world.steps.get(orc.position, 0) + 1
    if orc.level is world.hero.level and orc.position == world.hero.position:
        world.hero.health -= orc.blow()
        world.log.append(Event(world.turn, f"a blow of {orc.blow()}"))


def hero_acts(world: World) -> None:
    hero = world.hero
    if hero.target is None or hero.target.health <= 0 or hero.target.level is not hero.level:
        near = [orc for orc in hero.level.mobs if orc.health > 0]
        hero.target = near[0] if near else None
    if hero.target is None:
        hero.level = world.levels[(hero.level.number + 1) % LEVELS]
        return
    hero.position = hero.position.towards(hero.target.position, 1)
    world.seen.add(hero.position)
    if hero.position == hero.target.position:
        strike(world, hero, hero.target)
    for potion in hero.bag:
        potion.effects.append(f"stirred in turn {world.turn}")
        del potion.effects[:-1]
    if hero.health < 12 and hero.bag:
        hero.health += hero.bag.pop(0).strength


def strike(world: World, hero: Player, orc: Orc) -> None:
    orc.health -= hero.sword.damage
    if orc.health > 0:
        return
    world.log.append(Event(world.turn, "an orc falls"))
    hero.gold += 5
    hero.bag.append(Potion(3))
    if hero.gold >= hero.sword.price:
        hero.gold -= hero.sword.price
        hero.sword.damage += 1
