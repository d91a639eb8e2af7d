"""State that a resume would lose, found before anything is run."""

from collections.abc import Callable, Collection
from typing import Any


def check(function: Callable[..., Any], *, unsaved: Collection[str] = ()) -> None:
    """Raise UnsavedStateError if *function* keeps state where a resume would lose it."""
