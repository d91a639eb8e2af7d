"""What a program says of itself in each manifest."""

from __future__ import annotations

import platform
import secrets
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from checkpoint._model import Global

__version__ = "0.1.0"


def stamp() -> dict[str, str]:
    """Who writes and when: a random id, and the time in UTC."""
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"writer": secrets.token_hex(16), "created": created}


def members(
    meta: Any, tags: tuple[str, ...] = (), metrics: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """What a manifest says beside the state; the parts are checked already."""
    return {"metrics": metrics or {}, "tags": tags, "meta": meta, **stamp()}


def libraries(globals: Iterable[Global]) -> dict[str, str]:
    """The versions of Python, of this package, and of the libraries whose classes are used."""
    found = {"python": platform.python_version(), "checkpoint": __version__}
    for top in sorted({entry.module.partition(".")[0] for entry in globals}):
        version = getattr(sys.modules.get(top), "__version__", None)
        if isinstance(version, str):
            found[top] = version
    return found
