"""Fields that a class does not know any more, kept beside its instances.

They are saved with the instance again, so that a state which passes through an
older or a leaner program loses nothing.  An instance that can hold no weak
reference keeps none.  Those that came out of a stranger's file stay foreign.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from checkpoint._recording import current


@frozen
class _Kept:
    owner: weakref.ref[Any]
    fields: Mapping[str, Any]
    foreign: bool


# By identity: instances may be equal, or not hashable.
_kept: dict[int, _Kept] = {}
_kinds: weakref.WeakKeyDictionary[type, tuple[str, ...]] = weakref.WeakKeyDictionary()


def keep(obj: Any, fields: Mapping[str, Any]) -> bool:
    """Keep *fields* as long as *obj* lives; false if it can hold no weak reference."""
    key = id(obj)
    try:
        owner = weakref.ref(obj, lambda _: _kept.pop(key, None) and None)
    except TypeError:
        return False
    load = current.get()
    _kept[key] = _Kept(owner, dict(fields), load is not None and load.foreign)
    _kinds[type(obj)] = tuple(dict.fromkeys((*_kinds.get(type(obj), ()), *fields)))
    return True


def names(kind: type) -> tuple[str, ...]:
    """The names of fields that were ever kept for an instance of exactly *kind*."""
    return _kinds.get(kind, ())


def reduced(way: Callable[[Any], Any], taint: Callable[[], object], obj: Any) -> Any:
    """The reduction of *obj* by *way*, with what is kept beside it in its state.

    *taint* is called if that is foreign.
    """
    value, fields = way(obj), kept(obj)
    if not fields or type(value) is not tuple or len(value) < 3:
        return value
    if _kept[id(obj)].foreign:
        taint()
    state = value[2]
    if type(state) is dict:
        state = {**state, **fields}
    elif type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        state = (state[0], {**state[1], **fields})
    return (*value[:2], state, *value[3:])


def kept(obj: Any) -> Mapping[str, Any]:
    """The fields that are kept beside *obj*."""
    found = _kept.get(id(obj))
    return found.fields if found is not None and found.owner() is obj else {}
