"""A state of a kilobyte: what one durable save costs, against the bare recipe and databases."""

from __future__ import annotations

import os
import pickle
import shelve
import sqlite3
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from attrs import frozen
from measuring import Bench, Comparison, Target, pairs, remove, settle, timed
from report import Table, compared
from syncs import count_syncs

from checkpoint import Checkpointer, keep_last

Save = Callable[[Any], object]
Load = Callable[[], Any]
# Opened in a fresh folder, it gives a function that saves and one that loads the newest.
Opened = AbstractContextManager[tuple[Save, Load]]
_TARGET = Target(at_most=2.5)
_WAL = ("journal_mode=WAL", "synchronous=FULL")


@frozen
class Place:
    """Somewhere to keep small states."""

    name: str
    open: Callable[[Path], Opened]
    needs: str = "checkpoint"


def state(step: int) -> dict[str, Any]:
    """A dict that pickles to about 1,000 bytes, different at each step."""
    random = Random(step)
    return {
        "step": step,
        "name": "slot-1",
        "position": (random.random(), random.random()),
        "scores": [random.random() for _ in range(40)],
        "inventory": {f"item {random.randrange(1000)}": random.randrange(99) for _ in range(12)},
        "log": "".join(random.choices("abcdefghijklmnop ", k=250)),
    }


@contextmanager
def _ours(folder: Path, **options: Any) -> Iterator[tuple[Save, Load]]:
    with Checkpointer(folder, **options) as saves:
        yield saves.save, saves.load


@contextmanager
def _recipe(folder: Path) -> Iterator[tuple[Save, Load]]:
    """The least for a durable file: temp, write, fsync, link, unlink, fsync the folder."""
    folder.mkdir()
    count = 0

    def save(obj: Any) -> None:
        nonlocal count
        count += 1
        temp, final = f"{folder}/.tmp", f"{folder}/{count}"
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        os.write(fd, pickle.dumps(obj, 5))
        os.fsync(fd)
        os.link(temp, final)
        os.unlink(temp)
        fd_folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd_folder)
        os.close(fd_folder)
        os.close(fd)

    def load() -> Any:
        with open(f"{folder}/{count}", "rb") as file:
            return pickle.load(file)

    yield save, load


@contextmanager
def _shelve(folder: Path) -> Iterator[tuple[Save, Load]]:
    folder.mkdir()
    with shelve.open(str(folder / "shelf"), protocol=5) as shelf:

        def save(obj: Any) -> None:
            shelf[str(obj["step"])] = obj
            shelf["newest"] = obj["step"]
            shelf.sync()

        yield save, lambda: shelf[str(shelf["newest"])]


@contextmanager
def _sqlite(folder: Path, pragmas: Sequence[str] = ()) -> Iterator[tuple[Save, Load]]:
    folder.mkdir()
    with closing(sqlite3.connect(folder / "states.db")) as base:
        for pragma in pragmas:
            base.execute(f"PRAGMA {pragma}").fetchall()
        base.execute("CREATE TABLE states (version INTEGER PRIMARY KEY, state BLOB)")
        base.commit()

        def save(obj: Any) -> None:
            base.execute("INSERT INTO states (state) VALUES (?)", (pickle.dumps(obj, 5),))
            base.commit()

        def load() -> Any:
            query = "SELECT state FROM states ORDER BY version DESC LIMIT 1"
            return pickle.loads(base.execute(query).fetchone()[0])

        yield save, load


@contextmanager
def _diskcache(folder: Path) -> Iterator[tuple[Save, Load]]:
    from diskcache import Cache

    with Cache(str(folder)) as cache:

        def save(obj: Any) -> None:
            cache[obj["step"]] = obj

        yield save, lambda: cache[cache.peekitem()[0]]


OURS = Place("checkpoint", _ours)
KEEPING = Place("checkpoint, keep_last(3)", partial(_ours, keep=keep_last(3)))
RECIPE = Place("bare durable recipe", _recipe)
PEERS = (
    RECIPE,
    Place("shelve + sync", _shelve),
    Place("sqlite3", _sqlite),
    Place("sqlite3, WAL, FULL", partial(_sqlite, pragmas=_WAL)),
    Place("diskcache", _diskcache, "diskcache"),
)


def measure(bench: Bench) -> Iterator[Table]:
    """Saves and loads of a 1 kB dict in what is open already."""
    peers = [place for place in PEERS if find_spec(place.needs)]
    matches = [(OURS, peer) for peer in peers] + [(KEEPING, RECIPE)]
    syncs = {place.name: _verified(place, bench) for place in (OURS, KEEPING, *peers)}
    count = bench.size(50, 10)
    yield compared(
        f"Durable save of a dict of {len(pickle.dumps(state(1), 5)):,} bytes",
        f"Each sample is the median of {count} saves, each a new version or key, in what is open "
        f"already and was saved to. fsyncs are those of one such save, on average; `shelve` here "
        f"is on `{_shelf_kind(bench)}`.",
        bench,
        (_compare(ours, peer, bench, 0, count, syncs) for ours, peer in matches),
    )
    yield compared(
        "Load of the newest of them",
        f"Each sample is the median of {count} loads in what is open already, from the page cache.",
        bench,
        (_compare(OURS, peer, bench, 1, count, None) for peer in peers),
    )


def _verified(place: Place, bench: Bench) -> str:
    """Save a few times and load, untimed; the syncs of a save that is not the first."""
    with place.open(bench.fresh("verified")) as (save, load):
        # More than keep_last keeps: its usual save deletes a version too.
        for step in range(1, 6):
            save(state(step))
        syncs = count_syncs([partial(save, state(step)) for step in range(6, 14)])
        if load() != state(13):
            raise AssertionError(f"{place.name} gave back something else")
    remove(bench.folder / "verified")
    return syncs


def _shelf_kind(bench: Bench) -> str:
    import dbm

    folder = bench.fresh("shelf")
    folder.mkdir()
    path = str(folder / "shelf")
    shelve.open(path).close()
    kind = dbm.whichdb(path)
    remove(folder)
    return kind or "unknown"


def _compare(
    ours: Place, peer: Place, bench: Bench, lap: int, count: int, syncs: dict[str, str] | None
) -> Comparison:
    first, second = (partial(_sample, place, bench, count) for place in (ours, peer))
    found = pairs(first, second, bench.pairs)
    target = _TARGET if peer is RECIPE and ours is OURS and lap == 0 else None
    counts = f"{syncs[ours.name]} / {syncs[peer.name]}" if syncs else ""
    laps = [[sample[lap] for sample in side] for side in found]
    return Comparison(ours.name, peer.name, laps[0], laps[1], False, target, counts)


def _sample(place: Place, bench: Bench, count: int) -> Sequence[float]:
    """The median of *count* saves, and of as many loads, in a fresh folder."""
    states = [state(step) for step in range(count + 1)]
    path = bench.fresh("tiny")
    with place.open(path) as (save, load):
        save(states[0])
        load()
        settle()
        saving = [timed(save, obj) for obj in states[1:]]
        loading = [timed(load) for _ in range(count)]
    remove(path)
    return statistics.median(saving), statistics.median(loading)
