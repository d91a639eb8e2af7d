"""What verification passes, the C unpickler builds, with the globals that were seen and no other.

Two readers of one stream that see different things would be a way around the
first of them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fuzz.corpus import ordinary, seeds
from fuzz.mutating import Mutator
from fuzz.targets import LIMIT, PACKAGE, unpacked
from hypothesis import HealthCheck, given, settings
from properties.graphs import Reduced, Registered, graphs, set_children

import checkpoint
from checkpoint import CheckpointError
from checkpoint._grants import Box, Grant, Instance, Payload, plain
from checkpoint._single_file import MAGIC, read_snapshot
from checkpoint._translating import translated
from checkpoint._trust import Policy
from checkpoint._verifying import Verified, verify

Name = tuple[str, str]

# All that graphs have in them that the package alone does not grant.
TRUST = [set_children, Reduced, Registered, len]


class Recording(pickle.Unpickler):
    """The C unpickler with what was granted, and no other globals; it notes what is asked for."""

    def __init__(self, stream: bytes, buffers: Sequence[bytearray], found: Verified) -> None:
        super().__init__(io.BytesIO(stream), buffers=buffers)
        self._found = found
        self.asked: set[Name] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.asked.add((module, name))
        return self._found.grants[module, name].object  # KeyError: it was not seen.


def both(stream: bytes, lengths: Sequence[int], policy: Policy) -> tuple[Verified, Any, bool]:
    """What was found in *stream*, its root as the C unpickler builds it, and whether that worked.

    It is asserted that the globals of both are the same, as far as both came.
    """
    found = verify(stream, lengths, policy.grant, LIMIT, keep=True)
    loaded = found.stream(stream)
    assert len(loaded) == len(stream)
    unpickler = Recording(loaded, [*map(bytearray, lengths)], found)
    try:
        root, done = unpickler.load(), True
    except KeyError as error:
        raise AssertionError(f"{stream.hex()}: {error} was not seen") from error
    except Exception:  # What a check at run time, or a class, says no to.
        root, done = None, False
    else:
        told = {name for name in found.grants if not _is_within(name, unpickler.asked)}
        assert told == unpickler.asked, stream.hex()
    return found, root, done


def _is_within(name: Name, asked: set[Name]) -> bool:
    """Whether it is a class in a class that was asked for, which its owner is asked for it."""
    module, qualname = name
    return name not in asked and (module, qualname.rpartition(".")[0]) in asked


def unlike(abstract: Any, real: Any) -> str | None:
    """Where what was built is not of the type that was foreseen; None if it is everywhere."""
    work, seen = [(abstract, real)], set()
    while work:
        before, after = work.pop()
        before = plain(before)
        if id(before) in seen:
            continue
        if not isinstance(before, str | bytes | int | float | None):
            seen.add(id(before))
        if (kind := foreseen(before)) is not None and type(after) is not kind:
            return f"{before!r} became {type(after)!r}"
        if type(before) in (bool, int, str, bytes, type(None)) and before != after:
            return f"{before!r} became {after!r}"
        work += _inside(before, after)
    return None


def foreseen(before: Any) -> type | None:
    """The type that something will have, where that is simply told."""
    kind = type(before)
    if kind is Box:
        return {"list": list, "dict": dict, "set": set, "frozenset": frozenset}[before.kind]
    if kind is Payload:
        return {"bytes": bytes, "bytearray": bytearray}.get(before.kind)
    if kind is Instance:
        cls = before.grant.object
        # Enum members are looked up, and a few classes make instances of their subclasses.
        plainly = before.grant.is_class and cls.__new__ is object.__new__
        return cls if plainly else None
    return None if kind is Grant else kind


def _inside(before: Any, after: Any) -> Iterator[tuple[Any, Any]]:
    kind = type(before)
    if kind is tuple or (kind is Box and before.kind == "list"):
        items = before if kind is tuple else before.items
        assert len(items) == len(after)
        yield from zip(items, after, strict=True)
    elif kind is Box and before.kind == "dict":
        keys, values = before.items[::2], before.items[1::2]
        assert len(after) <= len(keys)
        if len(after) == len(keys):
            yield from zip(keys, after, strict=True)
            yield from zip(values, after.values(), strict=True)
    elif kind is Grant and before.object is not None:
        assert before.object is after


def test_ordinary_streams_are_built_from_what_was_seen() -> None:
    policy, done = Policy([PACKAGE]), 0
    for stream, lengths in ordinary(libraries=False):
        try:
            found, root, built = both(stream, lengths, policy)
        except CheckpointError:
            continue  # It needs to be declared.
        done += built
        assert not built or unlike(found.root, root) is None
    assert done > 400


@pytest.mark.parametrize("target", ["verifier", "pickles"])
def test_mutated_streams_that_pass_are_built_from_what_was_seen(target: str) -> None:
    assert mutated(target, 1, 8_000) > 200


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("target", ["verifier", "pickles"])
def test_many_mutated_streams_are_built_from_what_was_seen(target: str, seed: int) -> None:
    assert mutated(target, seed + 10, 400_000) > 10_000


def mutated(target: str, seed: int, count: int) -> int:
    """How many of so many mutations passed, and were built."""
    mutator, policy, done = Mutator(target, seeds(target), seed), Policy([PACKAGE]), 0
    for _ in range(count):
        data = mutator.one()
        try:
            plainly = target == "pickles"
            data, lengths = (translated(data), []) if plainly else unpacked(data)
            found, root, built = both(data, lengths, policy)
        except CheckpointError:
            continue
        done += built
        assert not built or unlike(found.root, root) is None, data.hex()
    return done


@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(graphs())
def test_graphs_are_built_from_what_was_seen(graph: Any) -> None:
    built_as_foreseen(graph)


@pytest.mark.long
@settings(max_examples=20_000, suppress_health_check=list(HealthCheck), deadline=None)
@given(graphs())
@pytest.mark.timeout(1200)
def test_many_graphs_are_built_from_what_was_seen(graph: Any) -> None:
    built_as_foreseen(graph)


def built_as_foreseen(graph: Any) -> None:
    buffers: list[Any] = []
    file = io.BytesIO(checkpoint.dumps(graph, key=None, buffer_callback=buffers.append))
    file.seek(len(MAGIC))
    stream = bytes(read_snapshot(file.read)[1][-1])
    lengths = [memoryview(buffer).nbytes for buffer in buffers]
    found, root, built = both(stream, lengths, Policy(["properties"], TRUST))
    assert built
    assert unlike(found.root, root) is None


# --- the comparison itself ------------------------------------------------------


def test_a_global_that_was_not_seen_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = verify

    def blind(*args: Any, **options: Any) -> Verified:
        found = real(*args, **options)
        object.__setattr__(found, "grants", dict(list(found.grants.items())[1:]))
        return found

    monkeypatch.setitem(both.__globals__, "verify", blind)
    with pytest.raises(AssertionError, match="was not seen"):
        both(translated(pickle.dumps(complex(1, 2))), [], Policy([PACKAGE]))


def test_what_is_of_another_type_is_found() -> None:
    stream = translated(pickle.dumps([1, (2, {"a": {3}})]))
    found = verify(stream, [], Policy([PACKAGE]).grant, LIMIT, keep=True)
    assert unlike(found.root, [1, (2, {"a": {3}})]) is None
    for other in ([1, (3, {"a": {3}})], [1, (2, {"b": {3}})], [1, (2, {"a": [3]})], (1, 2)):
        assert unlike(found.root, other) is not None
