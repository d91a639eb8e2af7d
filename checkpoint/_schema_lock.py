"""The lock file: the shapes of a program's classes, kept beside its code.

`freeze` writes down what the classes of some modules look like; `check` says
what has changed since.  A class may change as it likes if its version grows and
an upgrade is registered for it; without that, only as a load can bear.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from attrs import evolve, frozen

from checkpoint._assignments import missing
from checkpoint._migration import Migrations
from checkpoint._model import Global, Shape
from checkpoint._refusal import told_by
from checkpoint._schema import SchemaChange, compare, guessed
from checkpoint._shapes import describe
from checkpoint._type_rows import parse_type, type_row
from checkpoint.errors import CheckpointError, FormatError, MigrationError

_FORMAT = "checkpoint-schema"
_ENUMS = ("enum", "flag")


@frozen
class Lock:
    """The modules that were frozen, and their classes as they were."""

    modules: tuple[str, ...]
    classes: tuple[Global, ...]


@frozen
class Finding:
    """What became of one class; *stub* is the upgrade to paste in where it must have one."""

    cls: str
    message: str
    bad: bool = False
    stub: str = ""


def freeze(names: Iterable[str], migrations: Migrations) -> Lock:
    """The classes of the modules *names*, and of all modules below them; they are imported."""
    modules = tuple(sorted(set(names)))
    classes = [
        _entry(cls, migrations)
        for name in modules
        for module in _imported(name)
        for cls in _classes(module, vars(module).values())
    ]
    known = {str(entry): entry for entry in classes if entry is not None}
    return Lock(modules, tuple(known[name] for name in sorted(known)))


def encode(lock: Lock) -> bytes:
    """The text of *lock*: JSON, one class a line, sorted."""
    rows = []
    for entry in lock.classes:
        row = {key: value for key, value in type_row(entry).items() if key != "origin"}
        rows.append(f" {json.dumps(row.pop('global'))}: {json.dumps(row, ensure_ascii=False)}")
    classes = ",\n".join(rows)
    head = f'"{_FORMAT}": 1,\n"modules": {json.dumps(lock.modules)},\n'
    return f'{{\n{head}"classes": {{\n{classes}\n}}\n}}\n'.encode()


def decode(raw: bytes, what: str) -> Lock:
    """The lock in *raw*; FormatError if it is none."""
    try:
        members = json.loads(raw)
        if members[_FORMAT] != 1:
            raise ValueError(f"it is of format {members[_FORMAT]!r}; use a newer release")
        classes = [
            parse_type({"global": name, "origin": None, **row})
            for name, row in members["classes"].items()
        ]
        return Lock(tuple(map(str, members["modules"])), tuple(classes))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FormatError(f"{what} is no lock file: {error!r}; freeze it again") from error


def check(lock: Lock, migrations: Migrations) -> Iterator[Finding]:
    """What became of each class since *lock* was written, and which are new."""
    now = {str(entry): entry for entry in freeze(lock.modules, migrations).classes}
    seen = set()
    for was in lock.classes:
        name = ":".join(migrations.renamed(was.module, was.qualname))
        seen.add(name)
        if name not in now:
            yield from _gone(was, name, now)
        else:
            yield from _changed(was, now[name], migrations)
    for name in sorted(now.keys() - seen):
        yield Finding(name, "new")


# --- classes ----------------------------------------------------------------


def _imported(name: str) -> Iterator[ModuleType]:
    module = _import(name)
    yield module
    if hasattr(module, "__path__"):
        for found in pkgutil.iter_modules(module.__path__):
            if found.name != "__main__":
                yield from _imported(f"{name}.{found.name}")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise MigrationError(f"the module {name!r} cannot be imported: {told_by(error)}") from error


def _classes(module: ModuleType, values: Iterable[Any]) -> Iterator[type]:
    """The classes that *module* itself defines, those within others too."""
    for value in values:
        if isinstance(value, type) and value.__module__ == module.__name__:
            if _at(module, value.__qualname__) is value:
                yield value
            inside = f"{value.__qualname__}."
            within = [one for one in vars(value).values() if isinstance(one, type)]
            yield from _classes(
                module, [one for one in within if one.__qualname__.startswith(inside)]
            )


def _at(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def _entry(cls: type, migrations: Migrations) -> Global | None:
    """What *cls* looks like; None if its instances have nothing that could change."""
    shape = describe(cls, missing(cls, ()), sampled=True)
    if shape is None or (shape.kind in ("plain", "slots") and not shape.fields):
        return None
    if shape.kind in _ENUMS and not shape.members:
        return None
    shape = evolve(shape, version=migrations.version_of(cls))
    return Global(cls.__module__, cls.__qualname__, None, shape)


# --- changes ----------------------------------------------------------------


def _gone(was: Global, name: str, now: Mapping[str, Global]) -> Iterator[Finding]:
    if was.shape is None or (was.shape.kind == "plain" and not was.shape.fields):
        return
    same = [str(one) for one in now.values() if one.qualname == was.qualname]
    guess = same[0] if same else "module:Class"
    fix = f'checkpoint.rename("{was}", "{guess}")\n'
    yield Finding(str(was), "it is gone, or has no fields any more", True, fix)


def _changed(was: Global, now: Global, migrations: Migrations) -> Iterator[Finding]:
    name, old, new = str(now), was.shape, now.shape
    assert old is not None and new is not None
    cls = _at(_import(now.module), now.qualname)
    if new.version < old.version:
        yield Finding(name, f"version {new.version}, and it was version {old.version}", True)
        return
    if new.version > old.version:
        yield from _bumped(cls, name, old, new, migrations)
        return
    changes = compare(evolve(was, module=now.module, qualname=now.qualname), cls)
    if dict(new.bases) == dict(old.bases):
        bad = [change for change in changes if change.is_bad]
        if bad:
            yield _stubbed(bad, new.kind)
            return
    if new != old or str(was) != name:
        words = [change.message for change in changes] or ["it looks different"]
        moved = [] if str(was) == name else [f"it was {was}"]
        yield Finding(name, "; ".join(moved + (words if new != old else [])))


def _bumped(
    cls: type, name: str, old: Shape, new: Shape, migrations: Migrations
) -> Iterator[Finding]:
    try:
        migrations.upgrades(cls, old.version)
    except CheckpointError as error:
        yield Finding(name, str(error), True)
        return
    yield Finding(name, f"version {new.version} now, with upgrades from version {old.version}")


def _stubbed(bad: list[SchemaChange], kind: str) -> Finding:
    """All that is wrong with a class, with the upgrade that it needs."""
    gone = [name for change in bad for name in change.gone]
    new = [name for change in bad for name in change.new]
    has_state = kind not in _ENUMS and (gone or new)
    stub = upgrade_stub(bad[0], gone, new) if has_state else f"{bad[0].fix}\n"
    return Finding(bad[0].cls, "; ".join(change.message for change in bad), True, stub)


def upgrade_stub(change: SchemaChange, gone: list[str], new: list[str]) -> str:
    """The source of an upgrade for a class from which fields are *gone*, and some are *new*."""
    pairs = guessed(gone, new)
    version = change.stored
    name = change.cls.rpartition(":")[2].rpartition(".")[2]
    lines = [f"    state[{new!r}] = state.pop({old!r}, None)" for old, new in pairs.items()]
    lines += [f"    state.pop({old!r}, None)" for old in gone if old not in pairs]
    lines += [
        f"    state[{field!r}] = ...  # say what an old one has"
        for field in new
        if field not in pairs.values()
    ]
    return "\n".join(
        [
            "from checkpoint import upgrade, versioned",
            "",
            f"@versioned({version + 1})",
            f"class {name}: ...  # the class as it is",
            "",
            f'@upgrade("{change.cls}", {version})',
            f"def {name.lower()}_{version}_to_{version + 1}(state):",
            *lines,
            "    return state",
            "",
        ]
    )
