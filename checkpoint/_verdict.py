"""What a stream could do, told without doing it: nothing is imported, nothing is built."""

from __future__ import annotations

from collections.abc import Sequence

from checkpoint._classes import of_gone
from checkpoint._foreign import allowed
from checkpoint._grants import Grant, Verb
from checkpoint._model import Buffer, Use, Verdict
from checkpoint._translating import translated
from checkpoint._trust import Policy
from checkpoint._upgrading import Terms
from checkpoint._verifying import Verified, verify
from checkpoint.errors import FormatError, MigrationError, UnsafeError

_SMALL = 256 << 10  # bytes of a stream whose depth is told, for that takes as long as the rest
_MOST = 1000  # globals that are refused, after which no more are looked for
_DONE = {
    Verb.NEW: "made",
    Verb.CALL: "called",
    Verb.BUILD: "given a state",
    Verb.ITEMS: "filled with items",
    Verb.ENTRIES: "filled with entries",
    Verb.ELEMENTS: "filled with elements",
}


def verdict(
    stream: Buffer, lengths: Sequence[int], stored: int, *, own: bool, plain: bool = False
) -> Verdict:
    """The verdict on a stream with buffers of these *lengths*; if *plain*, on any pickle."""
    policy = Policy((), imports=False)
    refused: dict[tuple[str, str], str] = {}

    def granted(module: str, qualname: str) -> Grant:
        try:
            return policy.grant(module, qualname)
        except (UnsafeError, MigrationError) as error:
            if len(refused) < _MOST:
                refused[module, qualname] = str(error)
            return of_gone(f"{module}:{qualname}")

    try:
        data = translated(stream) if plain else bytes(stream)
        limit, keep = allowed(Terms(), stored), len(data) <= _SMALL
        found = verify(data, lengths, granted, limit, persistent=True, keep=keep)
    except (UnsafeError, FormatError) as error:
        why = _first([*refused.values()]) or str(error)
        uses = tuple(Use(":".join(name), (), said) for name, said in refused.items())
        return Verdict(own, why, uses)
    reason = _first([*refused.values()])
    return Verdict(own, reason, _uses(found, refused), found.objects, found.depth, found.memory)


def _first(said: Sequence[str]) -> str | None:
    return said[0].partition("; if this file")[0] if said else None


def _uses(found: Verified, refused: dict[tuple[str, str], str]) -> tuple[Use, ...]:
    uses = []
    for name, used in sorted(found.used.items()):
        done = tuple(text for verb, text in _DONE.items() if used & verb)
        uses.append(Use(":".join(name), done, refused.get(name)))
    return tuple(uses)
