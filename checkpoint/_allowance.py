"""How large a stranger's version may be, before anything of it is read."""

from __future__ import annotations

from checkpoint._model import Manifest
from checkpoint.errors import UnsafeError

_BASE = 128 << 20  # bytes that any version may take
_FACTOR = 256  # ... and more, for each byte that is stored


def allowance(stored: int) -> int:
    """How many bytes a stranger's version may take that takes *stored*, if nobody says more."""
    return _BASE + _FACTOR * stored


def within(manifest: Manifest, limit: int | None = None) -> None:
    """UnsafeError if a stranger's version is larger than *limit*, or else its allowance."""
    limit = allowance(manifest.stored) if limit is None else limit
    size = sum(part.length for part in manifest.parts)
    if manifest.provenance != "own" and size > limit:
        raise UnsafeError(
            f"it takes {size:,} bytes, and a stranger's file of {manifest.stored:,} may take "
            f"{limit:,}; if that is right, allow it: budget={size}"
        )
