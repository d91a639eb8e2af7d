"""A program's own package, which streams try to turn against it."""

import outsider
from outsider import Outsider, fire_outside

from prey.canary import fire
from prey.things import Plain

__all__ = ["Outsider", "Plain", "fire", "fire_outside", "outsider"]
