"""Classes that stand in for others until the state of an instance comes.

The C unpickler makes instances of a *pending* class, a subclass, and gives it
their states; they turn into those of the real class, and go through its adapter.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Callable
from typing import Any, Generic

from checkpoint._adapting import Adapter, Becomes


class TakeCare(BaseException):
    """The C unpickler does not do; no `except Exception` of a class may hide it."""


def pending(needed: Adapter, adapted: list[Any]) -> Any:
    """What the C unpickler is given for a class; None if it has to be done with care."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None  # References are not counted there as they are here.
    if needed.makes:
        made = needed.made  # type: ignore[attr-defined]

        def new(cls: Any, *args: Any, **more: Any) -> Any:
            return made(args, more)

        return type(needed.cls.__name__, (), {"__new__": new})
    real: Any = needed.cls
    if real.__new__ is not object.__new__ or not needed.shape.fields:
        return None
    return _of_its_layout(needed, adapted)


def _of_its_layout(needed: Adapter, adapted: list[Any]) -> Any:
    real: Any = needed.cls
    if not _may_be_subclassed(real):
        return None
    build, checked = needed.build, needed.checked
    turn = object.__setattr__  # The class may be frozen.

    def setstate(obj: Any, state: Any) -> None:
        turn(obj, "__class__", real)
        try:
            build(obj, state)
        except Becomes as error:
            raise TakeCare from error
        if checked:
            adapted.append((obj, checked))

    return _subclass(real, setstate)


def _may_be_subclassed(real: type) -> bool:
    """Whether nobody is told of a new subclass, and could count or refuse it."""
    told = (base for base in real.__mro__ if "__init_subclass__" in vars(base))
    return type(real) in (type, ABCMeta) and all(base in (object, Generic) for base in told)


def _subclass(real: Any, setstate: Callable[[Any, Any], None]) -> Any:
    """A class of the layout of *real*, and like it in all but how a state is set.

    Its order of resolution leaves out itself, or it would be part of a cycle: it
    must be gone from `real.__subclasses__()` as soon as the load has ended, and
    not when the collector next runs.
    """
    about = {"__module__": real.__module__, "__doc__": real.__doc__, "__slots__": ()}
    first = type(real.__name__, (), {**about, "__setstate__": setstate})
    whole = False

    class Kind(type(real)):  # type: ignore[misc]
        def mro(cls) -> list[type]:
            return [first, *real.__mro__] if whole else super().mro()

    pending = Kind(real.__name__, (real,), {**about, "__qualname__": real.__qualname__})
    whole = True
    pending.__bases__ = (real,)  # The order is found anew.
    return pending
