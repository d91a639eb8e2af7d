"""What must never be called by a stream, and remembers that it was."""

from __future__ import annotations

from typing import Any

FIRED: list[str] = []


def fire(*args: Any, **kwargs: Any) -> Any:
    """The canary: it remembers that it was called."""
    FIRED.append(f"fire{len(args)}")
    return args[0] if args else None


class Trap:
    """A class whose call is a canary."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        FIRED.append("Trap")


class Meta(type):
    """A metaclass whose attribute setting is a canary."""

    def __setattr__(cls, name: str, value: Any) -> None:
        FIRED.append(f"Meta.{name}")
        super().__setattr__(name, value)


TABLE: dict[str, Any] = {"door": "shut"}
ROWS: list[Any] = []
