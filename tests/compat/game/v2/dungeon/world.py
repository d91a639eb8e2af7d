"""The dungeon, and what happens in a turn."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from dungeon.items import Potion
from dungeon.mobs import Ghost, Hero, Mood, Orc, Position

FLOORS = 2


class Event(NamedTuple):
    text: str
    turn: int


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.turn = 0
        self.mobs: list[Orc] = []
        self.hero = Hero(0, Position(0, 0))
        self.log: list[Event] = []
        self.steps: dict[Position, int] = {}
        self.moods: dict[Mood, int] = {}
        self.seen = {self.hero.position}
        self.decor = [Ghost(self.hero), Ghost(self.hero.sword)]


def new_game(seed: int) -> World:
    world = World(seed)
    for floor in range(FLOORS):
        for _ in range(4):
            spawn(world, floor)
    return world


def spawn(world: World, floor: int) -> None:
    roll = world.random.randrange
    position = Position(roll(6), roll(9))
    world.mobs.append(Orc(1 + roll(3), roll(10) < 3, floor, position))


def turn(world: World) -> None:
    world.turn += 1
    for floor in range(FLOORS):
        for orc in [orc for orc in world.mobs if orc.floor == floor]:
            act(world, orc)
    hero_acts(world)
    world.mobs = [orc for orc in world.mobs if orc.hp > 0]
    if world.random.random() < 0.4:
        spawn(world, world.random.randrange(FLOORS))


def act(world: World, orc: Orc) -> None:
    roll = world.random.random()
    orc.mood = Mood.AFRAID if orc.hp < 3 else Mood.ANGRY if roll < 0.5 else Mood.CALM
    world.moods[orc.mood] = world.moods.get(orc.mood, 0) + 1
    if orc.mood is not Mood.CALM:
        step = 1 if orc.mood is Mood.ANGRY else -1
        orc.position = orc.position.towards(world.hero.position, step)
    world.steps[orc.position] = world.steps.get(orc.position, 0) + 1
    if orc.floor == world.hero.floor and orc.position == world.hero.position:
        world.hero.hp -= orc.blow()
        world.log.append(Event(f"a blow of {orc.blow()}", world.turn))


def hero_acts(world: World) -> None:
    hero = world.hero
    if hero.target is None or hero.target.hp <= 0 or hero.target.floor != hero.floor:
        near = [orc for orc in world.mobs if orc.floor == hero.floor and orc.hp > 0]
        hero.target = near[0] if near else None
    if hero.target is None:
        hero.floor = (hero.floor + 1) % FLOORS
        return
    hero.position = hero.position.towards(hero.target.position, 1)
    world.seen.add(hero.position)
    if hero.position == hero.target.position:
        strike(world, hero, hero.target)
    for potion in hero.bag:
        potion.effects.append(f"stirred in turn {world.turn}")
        del potion.effects[:-1]
    if hero.hp < 12 and hero.bag:
        hero.hp += hero.bag.pop(0).strength


def strike(world: World, hero: Hero, orc: Orc) -> None:
    orc.hp -= hero.sword.damage
    if orc.hp > 0:
        return
    world.log.append(Event("an orc falls", world.turn))
    hero.gold += 5
    hero.bag.append(Potion(3))
    if hero.gold >= int(hero.sword.price.split()[0]):
        hero.gold -= int(hero.sword.price.split()[0])
        hero.sword.damage += 1
