"""A module that is not of the program, though the program re-exports what is in it."""

from __future__ import annotations

from typing import Any


class Outsider:
    """A class that the program imports."""


def fire_outside(*args: Any) -> None:
    """The canary, from outside."""
    from prey.canary import FIRED

    FIRED.append("outside")
