"""What older releases called things."""

from __future__ import annotations

import checkpoint

# Release 1 → 2
checkpoint.rename_module("dungeon.units", "dungeon.mobs")
checkpoint.rename_fields("dungeon.mobs:Orc", 1, power="strength")
checkpoint.drop_fields("dungeon.mobs:Hero", 1, "score_text")
