"""All attacks, by route."""

from __future__ import annotations

from attacks.arrays import ARRAYS
from attacks.attack import Attack, Route
from attacks.bombs import BOMBS, SQUEEZED
from attacks.calls import CALLS
from attacks.frames import EXT, FRAMES
from attacks.gadgets import GADGETS
from attacks.harmless import HARMLESS
from attacks.laundering import LAUNDERING
from attacks.manifests import FORMATS, LIES
from attacks.mutated import MUTATED
from attacks.names import NAMES
from attacks.opcodes import OPCODES
from attacks.rebuilders import REBUILD
from attacks.texts import CODECS

ROUTES: tuple[Route, ...] = (
    CALLS,
    GADGETS,
    OPCODES,
    NAMES,
    FRAMES,
    EXT,
    ARRAYS,
    CODECS,
    HARMLESS,
    MUTATED,
    BOMBS,
    SQUEEZED,
    REBUILD,
    FORMATS,
    LIES,
    LAUNDERING,
)
ATTACKS: tuple[Attack, ...] = tuple(attack for route in ROUTES for attack in route.attacks)
