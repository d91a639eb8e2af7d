"""States that change a little, so that versions of them are stored as deltas."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from checkpoint import Store, _format
from checkpoint._model import Blob, Manifest

INSIDE = 4300  # what does not compress; more than goes into a manifest


def words(step: int, *spots: int, seed: int = 0) -> list[Any]:
    """Bytes that differ at each of *spots*, in a stream; equal seeds are nearly equal chunks."""
    raw = bytearray(random.Random(seed).randbytes(INSIDE))
    for spot in spots:
        raw[spot % INSIDE] ^= 1
    return [step, bytes(raw)]


def longer(step: int, spot: int, seed: int = 0) -> list[Any]:
    """The same with three bytes more at *spot*."""
    raw = words(step, seed=seed)[1]
    return [step, raw[:spot] + b"new" + raw[spot:]]


def array(*spots: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """A buffer of its own, most of it zeros, with other numbers at *spots*."""
    found = np.zeros(66_000, np.uint8)
    found[9_000 : 9_000 + INSIDE] = np.frombuffer(words(0, seed=100 + seed)[1], np.uint8)
    found[list(spots)] ^= 7
    return found


def units(*first: Any, count: int = 700) -> list[Any]:
    """Objects that refer to each other: one more in front moves all their numbers."""
    chance = random.Random(1)
    found: list[Any] = []
    for number in range(count):
        near = found[chance.randrange(number)] if number % 3 == 2 else None
        found.append({"number": number, "hp": chance.randrange(10**9), "near": near})
    return [*first, *found]


def manifests(store: Store) -> dict[str, Manifest]:
    return {key: _format.decode_manifest(store.get(key), key) for key in store.keys("snapshots/")}


def deltas(manifest: Manifest) -> list[Blob]:
    return [row for row in manifest.blobs if row.base is not None]


def forms(store: Store) -> set[str]:
    """Which forms of a delta the versions in *store* have."""
    found = set()
    for manifest in manifests(store).values():
        if sum(part.blobs for part in manifest.parts) < len(manifest.blobs):
            found.add("a base that no part holds")
        if "renumbered" in manifest.parts[-1].transforms:
            found.add("renumbered")
        for row in deltas(manifest):
            found |= {row.filter or "frame", "inline" if row.pack is None else "in a pack"}
    return found
