"""From foreign bytes to a save: whatever the way, what comes out must still be foreign.

Each of these is a course of events: a stranger's snapshot is handled by a
program that holds a key, and then loaded.  If a signature was put on it on the
way, what it holds would be run.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from attacks.attack import SCENARIO, Parts, Route
from attacks.calls import FIRE
from attacks.doors import PACKAGE, filled, repository, single_file
from attacks.streams import built, call, new, stream

import checkpoint
from checkpoint import Checkpointer, MemoryStore

LAUNDERING = Route("laundering")
_CALL = stream([1, call(FIRE)])
_GONE = stream([1, built(new("prey.things:Lost"), {"a": 1})])
_CALLED = stream({"a": 1, "lost": call("prey.things:lost", "x")})
_HIDDEN = stream({"a": 1, "lost": call("prey.gone:fire", "x")})
_PLAIN = stream([1, 2, 3])


def _way(name: str, *, harmless: bool = False) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        LAUNDERING.add(name, lambda: function, doors=SCENARIO, harmless=harmless)
        return function

    return add


def _saves(*streams: bytes, **more: Any) -> Checkpointer:
    """A stranger's repository, opened by a program that holds a key."""
    objects: dict[str, bytes] = {}
    for number, one in enumerate(streams, 1):
        known: dict[str, Any] = {"inline": one, "packs": {}}
        from attacks.doors import raw_blob

        objects |= repository(Parts(one), number, blobs=(raw_blob(one, 0),), **known)
    return Checkpointer(filled(objects), package=PACKAGE, **more)


def _imported(one: bytes, **more: Any) -> Checkpointer:
    saves = Checkpointer(MemoryStore(), package=PACKAGE, **more)
    saves.import_(io.BytesIO(single_file(Parts(one))))
    return saves


@_way("a call is imported, and loaded")
def _() -> Any:
    return _imported(_CALL).load()


@_way("a call is imported, exported and loaded from the file")
def _() -> Any:
    saves, file = _imported(_CALL), io.BytesIO()
    saves.export(1, file)
    return checkpoint.loads(file.getvalue(), package=PACKAGE)


@_way("a call is exported from a stranger's repository, imported again and loaded")
def _() -> Any:
    file = io.BytesIO()
    _saves(_CALL).export(1, file)
    saves = Checkpointer(MemoryStore(), package=PACKAGE)
    file.seek(0)
    saves.import_(file)
    return saves.load()


@_way("a call is migrated in a stranger's repository, and loaded")
def _() -> Any:
    saves = _saves(_CALL)
    saves.migrate()
    return saves.load()


@_way("a call under a name that is renamed is rewritten, and loaded")
def _() -> Any:
    migrations = checkpoint.Migrations()
    migrations.rename("prey.gone:fire", "prey.canary:fire")
    saves = _saves(_HIDDEN, migrations=migrations)
    saves.migrate()
    return saves.load()


@_way("a name that is renamed to a function of the program is called")
def _() -> Any:
    migrations = checkpoint.Migrations()
    migrations.rename("prey.gone:fire", "prey.canary:fire")
    return _saves(_HIDDEN, migrations=migrations).load()


@_way("a module that is renamed to another grants what lies in it")
def _() -> Any:
    migrations = checkpoint.Migrations()
    migrations.rename_module("prey.gone", "outsider")
    one = stream(call("prey.gone:fire_outside"))
    return _saves(one, migrations=migrations).load()


@_way("a rename of a class of the standard library grants what it is renamed to")
def _() -> Any:
    migrations = checkpoint.Migrations()
    migrations.rename("collections:OrderedDict", "prey.canary:Trap")
    return _saves(stream(call("collections:OrderedDict")), migrations=migrations).load()


@_way("a class that is gone becomes a stand-in, is saved, and comes back with its class")
def _() -> Any:
    saves = _saves(_GONE, on_missing="stand-in")
    state = saves.load()
    saves.save(state)
    return _with_the_class_back(saves)


@_way("a call of what is gone becomes a stand-in, is saved, and comes back with its function")
def _() -> Any:
    saves = _saves(_CALLED, on_missing="stand-in")
    state = saves.load()
    saves.save(state)
    return _with_the_class_back(saves)


@_way("a refused global becomes a stand-in")
def _() -> Any:
    saves = _saves(_CALL, on_missing="stand-in")
    state = saves.load()
    saves.save(state)
    return Checkpointer(saves._repository.store, package=PACKAGE).load()


@_way("a refused global of the system becomes a stand-in")
def _() -> Any:
    saves = _saves(stream(call("posix:system", "true")), on_missing="stand-in")
    saves.save(saves.load())
    return saves.load()


@_way("a stand-in of a foreign file is dumped to a file of its own, and loaded with its class back")
def _() -> Any:
    state = checkpoint.loads(single_file(Parts(_GONE)), package=PACKAGE, on_missing="stand-in")
    data = checkpoint.dumps({"kept": state})
    with _gone_is_back():
        return checkpoint.loads(data, package=PACKAGE)


@_way("a refused newest version is stepped over")
def _() -> Any:
    return _saves(_PLAIN, _CALL).load()


@_way("a call is adopted by its number without a word")
def _() -> Any:
    saves = _saves(_CALL)
    saves.tag(1, "good")
    return saves.load(tag="good")


@_way("a part of a call is asked for")
def _() -> Any:
    return _saves(stream({"a": 1, "b": call(FIRE)})).load(only="a")


@_way("a call is loaded lazily")
def _() -> Any:
    return _saves(_CALL).load(lazy=True)


@_way("a call is loaded with the default of a loader that found nothing")
def _() -> Any:
    return _saves(_CALL).load(default=None)


@_way("a call is verified, inspected and compared", harmless=True)
def _() -> Any:
    saves = _saves(_PLAIN, _CALL)
    saves.verify()
    str(saves.inspect(version=2))
    saves.raw(version=2)
    return str(saves.diff(1, 2))


@_way("a call is loaded after a plain one was verified under the same number")
def _() -> Any:
    checkpoint.loads(_PLAIN, package=PACKAGE)
    _saves(_PLAIN).load()
    return _saves(_CALL).load()


@_way("a call is loaded again after it was loaded with everything trusted")
def _() -> Any:
    import prey.canary

    one = stream(call("prey.canary:fire", "trusted"))
    checkpoint.loads(one, trust=checkpoint.everything)
    prey.canary.FIRED.clear()
    return checkpoint.loads(one, package=PACKAGE)


@_way("a call is loaded again after its function was trusted by name")
def _() -> Any:
    import prey.canary

    checkpoint.loads(_CALL, trust=[prey.canary.fire])
    prey.canary.FIRED.clear()
    return checkpoint.loads(_CALL, package=PACKAGE)


@_way("a class of another package is trusted, and a function of it is called")
def _() -> Any:
    return checkpoint.loads(
        stream(call("outsider:fire_outside")), trust=["outsider"], package=PACKAGE
    )


@_way("trust in one name is trust in what is behind it")
def _() -> Any:
    one = stream(call("prey.canary:Trap.__init__", new("prey.canary:Trap")))
    return checkpoint.loads(one, trust=["prey.canary:Trap"], package=PACKAGE)


@_way("a chunk of a stranger's is reused by a save of our own", harmless=True)
def _() -> Any:
    saves = _saves(_PLAIN)
    saves.save(saves.load())
    return saves.load()


def _with_the_class_back(saves: Checkpointer) -> Any:
    with _gone_is_back():
        return Checkpointer(saves._repository.store, package=PACKAGE).load()


class _gone_is_back:
    """What was gone is there again: a function that is a canary, and a class."""

    def __enter__(self) -> None:
        import prey.canary
        import prey.things

        things: Any = prey.things
        things.lost, things.Lost = prey.canary.fire, prey.things.Plain

    def __exit__(self, *error: object) -> None:
        import prey.things

        things: Any = prey.things
        del things.lost, things.Lost
