"""What older releases called things, and how they had them."""

from __future__ import annotations

from typing import Any

import checkpoint

# Release 1 → 2
checkpoint.rename_module("dungeon.units", "dungeon.mobs")
checkpoint.rename_fields("dungeon.mobs:Orc", 1, power="strength")
checkpoint.drop_fields("dungeon.mobs:Hero", 1, "score_text")

# Release 2 → 3
checkpoint.rename("dungeon.mobs:Hero", "dungeon.mobs:Player")
checkpoint.rename_fields("dungeon.mobs:Mob", 1, hp="health")
checkpoint.rename_fields("dungeon.mobs:Mood", 1, AFRAID="FLEEING")


@checkpoint.upgrade("dungeon.mobs:Orc", 2)
def big_orcs_are_uruks(state: dict[str, Any]) -> Any:
    if state.pop("big"):
        return checkpoint.Become("dungeon.mobs:Uruk", {**state, "banner": "a white hand"})
    return state


# Release 3 → 4
@checkpoint.upgrade("dungeon.items:Sword", 1)
def prices_are_numbers(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "price": int(state["price"].split()[0])}


@checkpoint.upgrade("dungeon.mobs:Ghost", 1)
def ghosts_are_gone(state: dict[str, Any]) -> checkpoint.Become:
    return checkpoint.Become(None)


# The migration of the whole graph sets these.
checkpoint.add_fields("dungeon.mobs:Mob", 2, level=None)
checkpoint.add_fields("dungeon.world:World", 1, levels=None)


@checkpoint.graph_migration("floors are levels")
def floors_are_levels(world: Any) -> Any:
    from dungeon.world import LEVELS, Level

    world.levels = [Level(number) for number in range(LEVELS)]
    for mob in world.mobs:
        world.levels[mob.floor].mobs.append(mob)
    everybody = {id(mob): mob for mob in (world.hero, world.hero.target, *world.mobs) if mob}
    for mob in everybody.values():
        mob.level = world.levels[mob.__dict__.pop("floor")]
    del world.mobs, world.decor
    return world
