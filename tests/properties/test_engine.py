"""Chains of versions of changing graphs: each loads as it was, and its manifest holds together."""

from __future__ import annotations

import io
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
from properties.graphs import Node, same_graph

from checkpoint import Checkpointer, MemoryStore, keep_last, loads
from checkpoint._format import pack_key
from checkpoint._repository import Repository

SIZES = (0, 1, 4096, 4097, 65_535, 65_536, 65_537, 300_000, (1 << 20) + 1)
CODECS = ("zstd", "zstd:9", "gzip", "lzma:0", "none")


class World:
    """A graph with cycles, sharing, and memory large and small, that changes at random."""

    def __init__(self, seed: int, count: int) -> None:
        self._random = random.Random(seed)
        self._made = 0
        self.root: dict[str, list[Any]] = {"nodes": [], "memory": [], "misc": [(), {}, b"", None]}
        for _ in range(count):
            self._insert(len(self.root["nodes"]))
        for _ in range(3):
            self.root["memory"].append(self._memory())

    def change(self) -> None:
        """Change a little, in one of many ways."""
        choose = self._random
        nodes, memory = self.root["nodes"], self.root["memory"]
        ways: list[Callable[[], Any]] = [
            lambda: None,
            lambda: [self._insert(0) for _ in range(choose.choice((1, 100)))],
            lambda: self._insert(len(nodes) // 2),
            lambda: nodes.pop(choose.randrange(len(nodes))),
            nodes.reverse,
            lambda: [self._relabel(choose.choice(nodes)) for _ in range(20)],
            lambda: memory.insert(0, self._memory()),
            memory.pop,
            lambda: choose.shuffle(memory),
            lambda: self._scribble(choose.choice(memory)),
            lambda: memory.append(memory[0]),
        ]
        for _ in range(choose.choice((1, 1, 3))):
            choose.choice(ways)()
            if not memory:
                memory.append(self._memory())

    def _insert(self, at: int) -> None:
        nodes = self.root["nodes"]
        self._made += 1
        node = Node(self._made)
        known = [self._random.choice(nodes) for _ in range(min(len(nodes), 2))]
        node.children = [*known, node, f"name {self._made % 97}", self._random.random()]  # type: ignore[attr-defined]
        nodes.insert(at, node)

    def _relabel(self, node: Any) -> None:
        node.children = [self._random.choice(self.root["nodes"]), {"text": self._random.random()}]

    def _memory(self) -> Any:
        size = self._random.choice(SIZES)
        plain = self._random.randbytes(size) if self._random.random() < 0.5 else bytes(size)
        return bytearray(plain) if self._random.random() < 0.7 else plain

    def _scribble(self, memory: Any) -> None:
        if isinstance(memory, bytearray) and memory:
            memory[self._random.randrange(len(memory))] ^= 255
            if self._random.random() < 0.3:
                memory[0:0] = b"front"


class Chain:
    """Versions under some names of one store, each with the graph that it must load as."""

    def __init__(self, seed: int, codec: str) -> None:
        self.random = random.Random(seed)
        self._codec = codec
        self._keep = keep_last(3) if seed % 2 else None
        self._store = MemoryStore()
        self.world = World(seed, self.random.choice((20, 1_000, 3_000)))
        self.truth: dict[tuple[str, int], bytes] = {}
        self.saves = self.opened("main")

    def opened(self, name: str) -> Checkpointer:
        return Checkpointer(self._store, name, keep=self._keep, codec=self._codec)

    def step(self) -> None:
        """Go elsewhere or not, change the graph, save it, and look at what is there."""
        self._move()
        self.world.change()
        state = pickle.dumps(self.world.root)
        version = self._save()
        self.truth[self.saves.name, version] = state
        there = self.saves.snapshots()
        self.check(self.random.choice((self.saves, self.opened(self.saves.name))), version)
        self.check(self.saves, self.random.choice(there).version)

    def check(self, saves: Checkpointer, version: int) -> None:
        expected = pickle.loads(self.truth[saves.name, version])
        assert same_graph(expected, saves.load(version=version, lazy=self.random.random() < 0.3))
        key = self.random.choice(("nodes", "memory", "misc"))
        assert same_graph(expected[key], saves.load(version=version, only=key))

    def _move(self) -> None:
        way = self.random.random()
        there = self.saves.snapshots()
        if way < 0.15:
            self.saves = self.opened(self.saves.name)
        elif way < 0.25:
            self.saves = self.saves.named(self.random.choice(("main", "other", "deep/er")))
        elif way < 0.35 and there:
            self.world.root = self.saves.load(version=self.random.choice(there).version)
        elif way < 0.4 and len(there) > 1:
            self.saves.delete(self.random.choice(there).version)
        elif way < 0.45:
            self.saves.prune()

    def _save(self) -> int:
        way = self.random.random()
        if way < 0.2:
            return self.saves.save_in_background(self.world.root).result().version
        if way < 0.3:
            version = self.saves.save(self.world.root).version
            file = io.BytesIO()
            self.saves.export(version, file)
            assert same_graph(self.world.root, loads(file.getvalue()))
            self.truth[self.saves.name, version] = pickle.dumps(self.world.root)
            return self.saves.import_(io.BytesIO(file.getvalue())).version
        return self.saves.save(self.world.root).version


def check_manifests(repository: Repository) -> None:
    """Each manifest names what it needs and nothing else; no delta is the base of another."""
    for key in repository.store.keys("snapshots/"):
        manifest = repository.read_manifest(key)
        rows = repository.rows(manifest)
        named = {row.pack for row in (*rows, *manifest.table) if row.pack is not None}
        assert named == set(manifest.packs)
        for pack, size in manifest.packs.items():
            assert len(repository.store.get(pack_key(pack))) == size
        wholes = {row.digest for row in rows if row.base is None}
        assert {row.base for row in rows if row.base is not None} <= wholes
        assert manifest.size == sum(part.length for part in manifest.parts)


@pytest.mark.parametrize("seed", range(5))
def test_each_version_of_a_chain_loads_as_it_was(seed: int) -> None:
    chain = Chain(seed, CODECS[seed % len(CODECS)])
    for _ in range(12):
        chain.step()
    assert chain.saves.verify() == []
    check_manifests(chain.saves._repository)
    for name in chain.saves.names():
        saves = chain.opened(name)
        for snapshot in saves.snapshots():
            chain.check(saves, snapshot.version)


@pytest.mark.parametrize("codec", CODECS)
def test_a_state_that_did_not_change_costs_next_to_nothing(codec: str) -> None:
    world = World(7, 5_000)
    saves = Checkpointer(MemoryStore(), codec=codec)
    for _ in range(4):
        world.change()
        saves.save(world.root)
    for _ in range(3):
        assert saves.save(world.root).stored <= 4096
    fresh = Checkpointer(saves._repository.store, codec=codec)
    assert fresh.save(world.root).stored <= 4096


def test_objects_at_the_front_of_a_list_cost_about_what_they_are() -> None:
    world = World(3, 20_000)
    saves = Checkpointer(MemoryStore())
    whole = saves.save(world.root["nodes"]).stored
    spent = 0
    for _ in range(12):
        world._insert(0)
        spent += saves.save(world.root["nodes"]).stored
    assert spent < 2 * whole
