"""A small dungeon to die in, and saves that survive whatever kills the program.

    python examples/roguelike.py             # play
    python examples/roguelike.py --bot 300   # let 300 turns be played for you

The world is a graph full of cycles: rooms know their exits and who is inside, creatures know
their room and their prey, things know their owner.  One call saves all of it after each turn.
Kill the program at any moment and start it again: the next turn is the one it would have been,
because the dice are part of the world.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from checkpoint import Checkpointer, CheckpointError, keep_last

WAYS = {"n": (0, -1), "s": (0, 1), "e": (1, 0), "w": (-1, 0)}
BACK = {"n": "s", "s": "n", "e": "w", "w": "e"}
LOOKS = "damp", "dusty", "echoing", "frozen", "gilded", "mossy", "narrow", "ruined"
ROOMS = "armoury", "cellar", "chapel", "crypt", "gallery", "hall", "kitchen", "library"
BEASTS = ("rat", 3, 1), ("goblin", 6, 2), ("wolf", 9, 3), ("ogre", 15, 4), ("wyvern", 24, 6)
WEAPONS = ("dagger", 2), ("mace", 4), ("sword", 6), ("halberd", 9)
HEALTH = 24
HELP = """\
n, s, e, w      go there                  d             climb down the stairs
attack [WHOM]   hit a creature            take [WHAT]   pick a thing up
use [WHAT]      drink or wield it         inventory     what you carry
look            where you are             help          this text
save NAME       keep this moment          load NAME     go back to it
quit            leave; the same command goes on from here next time"""


# --- the world: eq=False, since no two creatures are one, and comparing cycles never ends ---


@dataclass(eq=False, repr=False)
class Thing:
    name: str
    kind: str  # potion, weapon or gold
    power: int
    owner: Room | Creature

    def move(self, owner: Room | Creature) -> None:
        self.owner.things.remove(self)
        self.owner = owner
        owner.things.append(self)


@dataclass(eq=False, repr=False)
class Creature:
    name: str
    health: int
    strength: int
    room: Room
    things: list[Thing] = field(default_factory=list)
    weapon: Thing | None = None
    prey: Creature | None = None

    def move(self, room: Room) -> None:
        self.room.creatures.remove(self)
        self.room = room
        room.creatures.append(self)


@dataclass(eq=False, repr=False)
class Room:
    name: str
    place: tuple[int, int]
    exits: dict[str, Room] = field(default_factory=dict)
    creatures: list[Creature] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    stairs: bool = False
    seen: bool = False


@dataclass(eq=False, repr=False)
class World:
    """The whole game.  Saving this one object saves everything that it leads to."""

    dice: Random
    hero: Creature
    turn: int = 0
    depth: int = 1
    heroes: int = 1
    slain: int = 0

    @property
    def here(self) -> Room:
        return self.hero.room

    @property
    def foes(self) -> list[Creature]:
        return [creature for creature in self.here.creatures if creature is not self.hero]


def new_hero(dice: Random) -> Creature:
    """A hero at the entrance of a dungeon that nobody has seen."""
    entrance = dig(dice, depth=1)
    hero = Creature("hero", HEALTH, 4, entrance)
    entrance.creatures.append(hero)
    return hero


def dig(dice: Random, depth: int) -> Room:
    """Make a level; returns the room where one comes in."""
    entrance = Room("foot of the stairs", (0, 0), seen=True)
    rooms = {entrance.place: entrance}
    while len(rooms) < 6 + depth:
        room, way = dice.choice(list(rooms.values())), dice.choice(list(WAYS))
        place = room.place[0] + WAYS[way][0], room.place[1] + WAYS[way][1]
        if place not in rooms:
            rooms[place] = Room(f"{dice.choice(LOOKS)} {dice.choice(ROOMS)}", place)
            furnish(rooms[place], dice, depth)
        room.exits[way] = rooms[place]
        rooms[place].exits[BACK[way]] = room
    list(rooms.values())[-1].stairs = True
    return entrance


def furnish(room: Room, dice: Random, depth: int) -> None:
    """Put a beast and a thing into a new room, or not."""
    if dice.random() < 0.5:
        name, health, strength = BEASTS[min(dice.randrange(1 + depth), len(BEASTS) - 1)]
        room.creatures.append(Creature(name, health, strength, room))
    chance = dice.random()
    if chance < 0.35:
        room.things.append(Thing("potion", "potion", 10, room))
    elif chance < 0.55:
        name, power = WEAPONS[min(dice.randrange(1 + depth), len(WEAPONS) - 1)]
        room.things.append(Thing(name, "weapon", power, room))
    elif chance < 0.8:
        room.things.append(Thing("gold", "gold", dice.randrange(5, 20) * depth, room))


# --- a turn -----------------------------------------------------------------------------


class ImpossibleError(Exception):
    """The hero cannot do that; the message says why.  It costs no turn."""


def pick(name: str, among: list[Any]) -> Any:
    """The first with that name, or the first at all if none is given."""
    for found in among:
        if name in ("", found.name):
            return found
    raise ImpossibleError(f"There is no {name} for that." if name else "There is nothing for that.")


def go(world: World, way: str) -> str:
    if way == "d" and world.here.stairs:
        world.depth += 1
        world.hero.move(dig(world.dice, world.depth))
        return f"You climb down to level {world.depth}."
    if way not in world.here.exits:
        raise ImpossibleError(f"There is no way {way}.")
    world.hero.move(world.here.exits[way])
    world.here.seen = True
    return f"You enter the {world.here.name}."


def attack(world: World, whom: str) -> str:
    foe = pick(whom, world.foes)
    weapon = world.hero.weapon
    hit = world.dice.randint(1, world.hero.strength + (weapon.power if weapon else 0))
    foe.health -= hit
    if foe.health > 0:
        return f"You hit the {foe.name} for {hit}."
    foe.room.creatures.remove(foe)
    world.slain += 1
    return f"You slay the {foe.name}."


def take(world: World, what: str) -> str:
    thing = pick(what, world.here.things)
    thing.move(world.hero)
    return f"You take the {thing.name}."


def use(world: World, what: str) -> str:
    hero = world.hero
    thing = pick(what, [t for t in hero.things if t.kind != "gold" and t is not hero.weapon])
    if thing.kind == "weapon":
        hero.weapon = thing
        return f"You wield the {thing.name}."
    hero.things.remove(thing)
    hero.health = min(HEALTH, hero.health + thing.power)
    return f"You drink the {thing.name}: health {hero.health}."


ACTIONS = {"attack": attack, "take": take, "use": use}
MOVES = {*WAYS, "d"}


def play_turn(world: World, command: str) -> str:
    """What the hero does, then what the beasts do, as a text."""
    verb, _, rest = command.partition(" ")
    said = go(world, verb) if verb in MOVES else ACTIONS[verb](world, rest)
    world.turn += 1
    return " ".join([said, *beasts_turn(world)])


def beasts_turn(world: World) -> Iterator[str]:
    """Those beside the hero bite, and remember; those who remember come after."""
    hero = world.hero
    near = [beast for room in world.here.exits.values() for beast in room.creatures]
    for beast in world.foes:
        beast.prey = hero
        bite = world.dice.randint(0, beast.strength)
        hero.health -= bite
        yield f"The {beast.name} bites for {bite}." if bite else f"The {beast.name} misses."
    for beast in near:
        if beast.prey is hero:
            beast.move(world.here)
            yield f"A {beast.name} comes after you."
    if hero.health <= 0:
        world.heroes += 1
        world.depth = 1
        world.hero = new_hero(world.dice)
        yield f"You die. Hero number {world.heroes} enters a new dungeon."


# --- looking ----------------------------------------------------------------------------


def first_steps(world: World) -> dict[Room, str]:
    """The rooms of this level, nearest first, each with the first step of the way there."""
    found = {world.here: ""}
    queue = deque(found)
    while queue:
        room = queue.popleft()
        for way, beyond in room.exits.items():
            if beyond not in found:
                found[beyond] = found[room] or way
                queue.append(beyond)
    return found


def look(world: World) -> str:
    here = world.here
    ways = ", ".join([*here.exits, *(["d (stairs)"] if here.stairs else [])])
    foes = [f"\n  {foe.name}, health {foe.health}" for foe in world.foes]
    things = [f"\n  {thing.name}" for thing in here.things]
    head = f"Level {world.depth}, {here.name}. Health {world.hero.health}. Ways: {ways}."
    return "".join([head, *foes, *things])


def inventory(hero: Creature) -> str:
    names = [f"{t.name} (wielded)" if t is hero.weapon else t.name for t in hero.things]
    return f"You carry {', '.join(names) or 'nothing'}."


def digest(world: World) -> str:
    """Equal worlds, their dice included, give equal digests."""
    rooms = list(first_steps(world))
    hero = world.hero
    facts = [
        (world.turn, world.depth, world.heroes, world.slain, world.dice.getstate()),
        (hero.health, hero.weapon and hero.things.index(hero.weapon)),
        [(t.name, t.power, t.owner is hero) for t in hero.things],
        [(room.name, room.place, room.stairs, room.seen) for room in rooms],
        [[(way, rooms.index(beyond)) for way, beyond in room.exits.items()] for room in rooms],
        [(c.name, c.health, c.prey is hero, c.room is r) for r in rooms for c in r.creatures],
        [(t.name, t.power, t.owner is room) for room in rooms for t in room.things],
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


# --- who plays --------------------------------------------------------------------------


def bot_command(world: World) -> str:
    """What a player would do who never sleeps and never wonders."""
    hero = world.hero
    if hero.health <= HEALTH // 2 and any(t.kind == "potion" for t in hero.things):
        return "use potion"
    if world.foes:
        return "attack"
    if world.here.things:
        return "take"
    best = max((t for t in hero.things if t.kind == "weapon"), key=lambda t: t.power, default=None)
    if best and (hero.weapon is None or best.power > hero.weapon.power):
        return f"use {best.name}"
    steps = first_steps(world)
    goal = next((room for room in steps if not room.seen), None)
    goal = goal or next(room for room in steps if room.stairs)
    return steps[goal] or "d"


def play_bot(world: World, saves: Checkpointer, turns: int) -> None:
    while world.turn < turns:
        said = play_turn(world, bot_command(world))
        saves.save(world)
        if "climb" in said or "die" in said:
            print(f"turn {world.turn}: {said}")
    print(f"turn {world.turn}: hero {world.heroes}, level {world.depth}, {world.slain} slain")
    print(f"digest of the world: {digest(world)}")


def play(world: World, saves: Checkpointer) -> None:
    """Line by line, saving after each turn, until quit or the end of the input."""
    print(look(world))
    for line in commands():
        verb, _, name = line.partition(" ")
        try:
            if verb == "save":
                saves.named(name).save(world)
                print(f"Kept as {name}.")
            elif verb == "load":
                world = saves.named(name).load()
                saves.save(world)
                print(look(world))
            elif verb == "look":
                print(look(world))
            elif verb == "inventory":
                print(inventory(world.hero))
            elif verb in MOVES or verb in ACTIONS:
                said = play_turn(world, line)
                saves.save(world)  # Before it is told: what the player has seen, has happened.
                print(said, look(world), sep="\n")
            else:
                print(HELP)
        except (ImpossibleError, CheckpointError) as error:
            print(error)


def commands() -> Iterator[str]:
    """What the player types, until quit or the end of the input."""
    line = ""
    while line != "quit":
        if line:
            yield line
        try:
            line = " ".join(input("> ").split())
        except EOFError:
            line = "quit"
    print("See you.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A small dungeon, saved after each turn.",
        epilog="Kill it at any moment and run the same command again: it goes on where it was.",
    )
    add = parser.add_argument
    add("--store", default="saves/roguelike", help="the folder to save to (default: %(default)s)")
    add("--slot", help="the name of the game to go on with (default: hero, or bot-SEED)")
    add("--seed", type=int, default=1, help="of a new world (default: %(default)s)")
    add("--bot", type=int, metavar="N", help="play by itself up to turn N")
    arguments = parser.parse_args()
    slot = arguments.slot or (f"bot-{arguments.seed}" if arguments.bot else "hero")
    try:
        saves = Checkpointer(arguments.store, name=slot, keep=keep_last(3))
        world = saves.load(default=None)
        if world is None:
            dice = Random(arguments.seed)
            world = World(dice, new_hero(dice))
            print(f"starting fresh; saving to {arguments.store} as {slot}")
        else:
            newest = saves.snapshots()[-1].version
            print(f"resumed after turn {world.turn}; the newest version is {newest}")
        if arguments.bot:
            play_bot(world, saves, arguments.bot)
        else:
            play(world, saves)
    except CheckpointError as error:
        sys.exit(f"roguelike: {error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command goes on from the newest save")


if __name__ == "__main__":
    main()
