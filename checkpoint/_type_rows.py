"""Rows of the type table: globals and the shapes of classes ⇄ JSON.

`docs/reference/format.md` is normative.  What a reader is given may be
anything: it is a `FormatError`, a `TypeError` or a `ValueError` if it is no row.
"""

from __future__ import annotations

from typing import Any

from checkpoint._model import MAX_FIELDS, MAX_TEXT, Global, Shape
from checkpoint.errors import FormatError

_TYPE = {"global", "origin", "version", "kind", "fields"}
_MORE_OF_TYPE = {"sampled", "defaults", "validated", "extra", "layout", "members", "bases"}
_LAYOUTS = ("", "pair", "list", "tuple", "other")
_SHAPES = {"attrs", "dataclass", "namedtuple", "enum", "flag", "slots", "plain"}


def type_row(entry: Global) -> dict[str, Any]:
    """A row of the type table."""
    row: dict[str, Any] = {
        "global": str(entry),
        "origin": entry.origin,
        "version": None,
        "kind": None,
    }
    shape = entry.shape
    if shape is None:
        return row | {"fields": None}
    row |= {"version": shape.version, "kind": shape.kind, "fields": list(shape.fields)}
    more = {
        "sampled": shape.sampled,
        "defaults": list(shape.defaults),
        "validated": list(shape.validated),
        "extra": list(shape.extra),
        "layout": shape.layout,
        "members": dict(shape.members),
        "bases": dict(shape.bases),
    }
    return row | {name: value for name, value in more.items() if value}


def parse_type(row: dict[str, Any]) -> Global:
    """The global that a row of the type table tells of."""
    if type(row["origin"]) not in (str, type(None)):
        raise TypeError(f"origin is {row['origin']!r}")
    module, _, qualname = row["global"].partition(":")
    if not module or not qualname:
        raise ValueError(f"{row['global']!r} is no module:qualname")
    return Global(module, qualname, row["origin"], _shape(row))


def _shape(row: dict[str, Any]) -> Shape | None:
    more = {key: row[key] for key in row.keys() - _TYPE}
    if row["kind"] is None:
        if row["version"] is not None or row["fields"] is not None or more:
            raise ValueError(f"{row['global']} has half a shape")
        return None
    if more.keys() - _MORE_OF_TYPE or not all(more.values()):
        raise ValueError(f"members of {row['global']} are unknown or empty: {sorted(more)}")
    if row["kind"] not in _SHAPES:
        raise FormatError(f"{row['global']} is of kind {row['kind']!r}; use a newer release")
    if type(more.setdefault("sampled", False)) is not bool:
        raise ValueError(f"sampled is {more['sampled']!r}")
    if more.setdefault("layout", "") not in _LAYOUTS:
        raise FormatError(f"states of {row['global']} are laid out as {more['layout']!r}")
    fields = _names(row["fields"])
    for part in ("defaults", "validated"):
        more[part] = _names(more.get(part, []))
        if not {*more[part]} <= {*fields}:
            raise ValueError(f"{part} of {row['global']} are not among its fields")
    more["extra"] = _names(more.get("extra", []))
    if {*more["extra"]} & {*fields}:
        raise ValueError(f"fields of {row['global']} stand twice")
    _names(list(more.get("members", {}).values()), unique=False)
    _names([*more.get("members", {})])
    for version in (row["version"], *more.get("bases", {}).values()):
        if type(version) is not int or not 1 <= version < 1 << 62:
            raise ValueError(f"version {version!r} of {row['global']}")
    return Shape(row["kind"], fields, version=row["version"], **more)


def _names(value: Any, *, unique: bool = True) -> tuple[str, ...]:
    if type(value) is not list or len(value) > MAX_FIELDS:
        raise ValueError("fields, or members, are no list, or too many")
    for name in value:
        if type(name) is not str or len(name) > MAX_TEXT:
            raise ValueError(f"{str(name)[:100]} is no name")
    if unique and len({*value}) != len(value):
        raise ValueError("a field stands twice")
    return tuple(value)
