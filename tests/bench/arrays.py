"""A gigabyte of float noise in 64 arrays: durable save and verified load, against files."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from attrs import frozen
from measuring import Bench, Comparison, Target, pairs, remove, settle, sync_tree, timed
from report import Table, compared, size
from syncs import count_syncs

from checkpoint import Checkpointer

State = Mapping[str, Any]
COUNT = 64
_PIECE = 4 << 20
_FASTER = Target(above=1.0)


@frozen
class Way:
    """One way to write a state to a path, and to read it back into fresh memory.

    `load` gets a state of the right shapes, for those that need to be told.
    A way that is *durable* syncs by itself.
    """

    name: str
    save: Callable[[State, Path], object]
    load: Callable[[Path, State], State]
    needs: str = "numpy"
    durable: bool = False


def build(total: int) -> dict[str, Any]:
    """*total* bytes of standard normal float32 noise in 64 arrays; always the same."""
    random = np.random.default_rng(2)
    length = total // COUNT // 4
    return {f"layer.{i:02}": random.standard_normal(length, dtype="f4") for i in range(COUNT)}


def same(one: State, other: State) -> bool:
    """Whether two states hold the same bits."""
    return list(one) == list(other) and all(
        one[key].dtype == other[key].dtype and one[key].tobytes() == other[key].tobytes()
        for key in one
    )


def saved(state: State, bench: Bench) -> Sequence[float]:
    """Seconds of a save into a fresh repository."""
    path = bench.fresh("saved")
    with Checkpointer(path) as saves:
        settle()
        took = timed(saves.save, state)
    remove(path)
    return (took,)


def _save_ours(state: State, path: Path) -> None:
    with Checkpointer(path) as saves:
        saves.save(state)


def _load_ours(path: Path, like: State) -> State:
    return Checkpointer(path).load()  # type: ignore[no-any-return]


def _save_raw(state: State, path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for array in state.values():
            view = memoryview(array).cast("B")
            while view:
                view = view[file.write(view[:_PIECE]) :]


def _load_raw(path: Path, like: State) -> State:
    found = {}
    with path.open("rb", buffering=0) as file:
        for key, array in like.items():
            found[key] = np.empty(array.shape, array.dtype)
            view = memoryview(found[key]).cast("B")
            while view:
                view = view[file.readinto(view) :]
    return found


def _save_pickle(state: State, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(state, file, protocol=5)


def _load_pickle(path: Path, like: State) -> State:
    with path.open("rb") as file:
        return pickle.load(file)  # type: ignore[no-any-return]


def _tensors(state: State) -> dict[str, Any]:
    import torch

    return {key: torch.from_numpy(array) for key, array in state.items()}


def _save_torch(state: State, path: Path) -> None:
    import torch

    torch.save(_tensors(state), path)


def _load_torch(path: Path, like: State) -> State:
    import torch

    return {key: tensor.numpy() for key, tensor in torch.load(path, weights_only=True).items()}


def _save_dcp(state: State, path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings(action="ignore"):
        dcp.save(_tensors(state), checkpoint_id=path)


def _load_dcp(path: Path, like: State) -> State:
    import torch.distributed.checkpoint as dcp

    found = {key: np.empty(array.shape, array.dtype) for key, array in like.items()}
    with warnings.catch_warnings(action="ignore"):
        dcp.load(_tensors(found), checkpoint_id=path)
    return found


def _save_joblib(state: State, path: Path) -> None:
    import joblib

    joblib.dump(state, path)


def _load_joblib(path: Path, like: State) -> State:
    import joblib

    return joblib.load(path)  # type: ignore[no-any-return]


def _save_npz(state: State, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **state)


def _load_npz(path: Path, like: State) -> State:
    with np.load(path) as archive:
        return dict(archive)


def _save_safetensors(state: State, path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(dict(state), path)


def _load_safetensors(path: Path, like: State) -> State:
    from safetensors.numpy import load_file

    return load_file(path)  # type: ignore[no-any-return]


def _save_orbax(state: State, path: Path) -> None:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as saver:
        saver.save(path, dict(state))
        saver.wait_until_finished()


def _load_orbax(path: Path, like: State) -> State:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as saver:
        return saver.restore(path, dict(like))  # type: ignore[no-any-return]


OURS = Way("checkpoint", _save_ours, _load_ours, durable=True)
PEERS = (
    Way("raw write / readinto", _save_raw, _load_raw),
    Way("pickle", _save_pickle, _load_pickle),
    Way("torch.save", _save_torch, _load_torch, "torch"),
    Way("torch.distributed.checkpoint", _save_dcp, _load_dcp, "torch", durable=True),
    Way("joblib", _save_joblib, _load_joblib, "joblib"),
    Way("np.savez", _save_npz, _load_npz),
    Way("safetensors", _save_safetensors, _load_safetensors, "safetensors"),
    Way("orbax", _save_orbax, _load_orbax, "orbax", durable=True),
)
# A general-purpose way to keep a state should be slower than ours; a bare file need not be.
_SLOWER = {"torch.save", "torch.distributed.checkpoint", "joblib", "np.savez", "orbax"}
WAYS = {way.name: way for way in (OURS, *PEERS)}


def present() -> list[Way]:
    """The peers whose libraries are installed."""
    return [way for way in PEERS if find_spec(way.needs)]


def measure(bench: Bench) -> Iterator[Table]:
    """Save and load of 1 GiB against each peer."""
    state = build(bench.size(1 << 30, 32 << 20))
    what = f"{size(sum(a.nbytes for a in state.values()))} of float32 noise in {COUNT} arrays"
    syncs = {way.name: _verified(way, state, bench) for way in (OURS, *present())}
    yield compared(
        f"Durable save of {what}",
        "A fresh repository, folder or file for each sample. Ours is durable when it returns; "
        "a peer that does not sync is timed as it is and again with an fsync at its end, and the "
        "targets are for that. orbax is its `StandardCheckpointer` as it comes (it compresses), "
        "waited for.",
        bench,
        (found for way in present() for found in _saves(way, state, bench, syncs)),
    )
    yield compared(
        f"Load of {what}",
        "From the page cache into fresh memory. Ours checks the digest of each byte; "
        "the peers check none (`np.load` checks a CRC).",
        bench,
        (_loads(way, state, bench) for way in present()),
    )


def _verified(way: Way, state: State, bench: Bench) -> str:
    """Save and load once, untimed; the number of syncs of the save."""
    path = bench.fresh("verified")
    syncs = count_syncs([partial(way.save, state, path)])
    if not same(state, way.load(path, state)):
        raise AssertionError(f"{way.name} gave back something else")
    remove(path)
    return syncs


def _saves(way: Way, state: State, bench: Bench, syncs: Mapping[str, str]) -> Iterator[Comparison]:
    ours, peer = pairs(
        partial(_save_sample, OURS, state, bench), partial(_save_sample, way, state, bench),
        bench.pairs,
    )  # fmt: skip
    durable = [sample[1] for sample in ours]
    target = _target(way, 0.9)

    def against(name: str, lap: int, target: Target | None, synced: str) -> Comparison:
        counts = f"{syncs[OURS.name]} / {synced}"
        laps = [sample[lap] for sample in peer]
        return Comparison(OURS.name, name, durable, laps, True, target, counts)

    if way.durable:
        yield against(way.name, 1, target, syncs[way.name])
        return
    yield against(f"{way.name} + fsync", 1, target, "1")
    yield against(f"{way.name}, not durable", 0, None, syncs[way.name])


def _target(way: Way, of_raw: float) -> Target | None:
    if way is PEERS[0]:
        return Target(at_least=of_raw)
    return _FASTER if way.name in _SLOWER else None


def _save_sample(way: Way, state: State, bench: Bench) -> Sequence[float]:
    path = bench.fresh("saved")
    settle()
    start = perf_counter()
    way.save(state, path)
    written = perf_counter() - start
    if not way.durable:
        sync_tree(path)
    synced = perf_counter() - start
    remove(path)
    return written, synced


def _loads(way: Way, state: State, bench: Bench) -> Comparison:
    sides = []
    for side, name in ((OURS, "ours"), (way, "peer")):
        path = bench.fresh(name)
        side.save(state, path)
        sides.append(partial(_load_sample, side, path, state))
    sides[0](), sides[1]()  # A first round, not counted, for both.
    ours, peer = pairs(sides[0], sides[1], bench.pairs)
    remove(bench.folder / "ours")
    remove(bench.folder / "peer")
    laps = [[sample[0] for sample in side] for side in (ours, peer)]
    return Comparison(OURS.name, way.name, laps[0], laps[1], True, _target(way, 0.85))


def _load_sample(way: Way, path: Path, state: State) -> Sequence[float]:
    settle()
    return (timed(way.load, path, state),)
