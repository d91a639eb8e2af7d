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
