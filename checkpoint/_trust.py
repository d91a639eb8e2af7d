"""The trust policy: which globals a foreign stream may name, and to do what.

A global is looked up in what was captured, never by `getattr` and never by an
import that the stream asks for: modules are those of the shipped tables, those
that the program listed, and, of the program's own packages, those that it has
imported.  A rename maps names and grants nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import Any, Final, NewType, ParamSpec, TypeVar

from checkpoint._classes import of_class, of_listed
from checkpoint._grants import Grant, Refused
from checkpoint._migration import named
from checkpoint._rebuilders import of_torch, rebuilder
from checkpoint._shapes import VERSION
from checkpoint._shipped import shipped
from checkpoint._shipped_numpy import of_numpy
from checkpoint._unpickling import main_origin
from checkpoint.errors import MigrationError, UnsafeError, program_frame

_OURS = "checkpoint"
_A_VALUE = ("checkpoint", "Failed")  # what a map gives for an item that failed
_MISSING: Final = object()
_POLICIES = 64  # that are remembered
_LONGEST = 200  # characters of a name that is told
_TABLES = (shipped, of_numpy, of_torch)


class _Everything:
    """The policy that trusts every file: to load it is to run it."""

    __module__ = "checkpoint"

    def __repr__(self) -> str:
        return "checkpoint.everything"


everything: Final = _Everything()
Trust = _Everything | Iterable[Any]


class Policy:
    """What a program lets foreign streams name.

    *packages* are its own; *trust* adds packages (`"networkx"`), names
    (`"sklearn.tree._tree:Tree"`), classes and functions.  A package grants the
    classes that are defined in it, to be made and given a state; a name grants
    calls, too.  Without *imports* nothing is imported: it is to tell, not to load.
    """

    def __init__(
        self, packages: Iterable[str], trust: Iterable[Any] = (), *, imports: bool = True
    ) -> None:
        self._imports = imports
        self.packages: list[str] = [*dict.fromkeys(packages)]
        self._listed: dict[tuple[str, str], Grant] = {}
        self._grants: dict[str, tuple[Any, Grant]] = {}
        # Streams that passed under this policy, and what was found in them.
        self.verified: dict[Any, Any] = {}
        if isinstance(trust, str | bytes):
            raise TypeError(f"trust is a collection: trust=[{trust!r}]")
        for entry in trust:
            self._list(entry)

    def _list(self, entry: Any) -> None:
        if isinstance(entry, str) and ":" not in entry:
            try:
                importlib.import_module(entry)
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError(
                    f"trust={[entry]!r}: {error}; a class is named 'package.module:Class'"
                ) from error
            self.packages.append(entry)
            return
        if isinstance(entry, str):
            module, _, qualname = entry.partition(":")
            found: Any = importlib.import_module(module)
            for part in qualname.split("."):
                if not hasattr(found, part):
                    raise ValueError(f"trust={[entry]!r}: {module} has no {qualname}")
                found = getattr(found, part)
        elif callable(entry) and hasattr(entry, "__qualname__"):
            module, qualname, found = entry.__module__, entry.__qualname__, entry
        else:
            raise TypeError(
                "trust lists packages, names ('module:Class'), classes and functions, "
                f"not {entry!r}"
            )
        if module.partition(".")[0] == _OURS:
            raise ValueError(f"{module}:{qualname} is never given to a stream")
        self._listed[module, qualname] = of_listed(found, f"{module}:{qualname}")

    def grant(self, module: str, qualname: str) -> Grant:
        """What a stream that names *module* and *qualname* may do; UnsafeError if nothing.

        MigrationError if it is of the program's own packages, and is gone.
        """
        name = f"{module[:_LONGEST]}:{qualname[:_LONGEST]}"
        listed = self._listed.get((module, qualname))
        found = listed or next(
            (made for table in _TABLES if (made := table(module, qualname, imports=self._imports))),
            None,
        )
        if found is not None:
            return found
        if module.partition(".")[0] == _OURS:
            return self._of_ours(name, module, qualname)
        real = _defined(module, qualname)
        if self._is_ours(module):
            return self._of_package(module, qualname, real)
        if isinstance(real, type) and VERSION in vars(real):
            return self._of_program(name, real)
        raise UnsafeError(
            f"{name} is not trusted: it is not of your package ({self._told()}), nor one of the "
            f"types that load from any file; {_advice(module, name, real)}",
            global_name=name,
        )

    def _of_ours(self, name: str, module: str, qualname: str) -> Grant:
        """What is of this package: what rebuilds the data of libraries, and a value of jobs."""
        real = _defined(module, qualname) if module == _OURS else None
        if isinstance(real, type) and _is_value(real):
            return self._of_program(name, real)
        found = rebuilder(module, qualname, imports=self._imports)
        if found is None:
            raise UnsafeError(f"{name} is never given to a stream", global_name=name)
        return found

    def _is_ours(self, module: str) -> bool:
        if any(module == one or module.startswith(f"{one}.") for one in self.packages):
            return True
        return "__main__" in self.packages and _is_beside_main(module.partition(".")[0])

    def _told(self) -> str:
        return " or ".join(map(repr, self.packages)) or "only the program knows which"

    def _of_package(self, module: str, qualname: str, real: Any) -> Grant:
        name = f"{module[:_LONGEST]}:{qualname[:_LONGEST]}"
        if module not in sys.modules:
            raise UnsafeError(
                f"{name} lies in a module that the program has not imported, and a stream imports "
                f"none: import {module[:_LONGEST]} first; if it is not there, "
                "checkpoint.raw() reads the file without",
                global_name=name,
            )
        if real is _MISSING and all(map(_may_be_named, qualname.split("."))):
            raise MigrationError(f"{module} has no {qualname!r}")
        if real is None or real is _MISSING:
            raise UnsafeError(
                f"{name} is not defined there under that name, so it is not trusted; "
                f"if this file may have it: trust=[{name!r}]",
                global_name=name,
            )
        return self._of_program(name, real)

    def _of_program(self, name: str, real: Any) -> Grant:
        """The grant of a class, a function or a type variable; the same one while it is that."""
        before = self._grants.get(name)
        if before is not None and before[0] is real:
            return before[1]
        try:
            made = of_class(real, name, self._may) if isinstance(real, type) else Grant(name, real)
        except Refused as error:
            made = Grant(name, real, why=f"{error}; if this file may have it: trust=[{name!r}]")
        self._grants[name] = real, made
        return made

    def _may(self, owner: type) -> bool:
        """Whether code of the class *owner* may run while instances are made and filled."""
        if self._is_ours(owner.__module__) or VERSION in vars(owner) or _is_value(owner):
            return True
        return (owner.__module__, owner.__qualname__) in self._listed


def _is_value(cls: type) -> bool:
    """Whether it is one of our own that states may hold: an error, or what stands for a failure."""
    return cls.__module__ == _OURS and (named(cls) == _A_VALUE or issubclass(cls, BaseException))


def _advice(module: str, name: str, real: Any) -> str:
    """What to do about a global that is not trusted: a line that helps, and does not harm."""
    top = module.partition(".")[0]
    if top in ("numpy", "pandas", "scipy", "torch"):
        return (
            f"a plain pickle of {top} cannot be verified: have it saved by checkpoint, or, if you "
            "would run this file as a program: trust=checkpoint.everything"
        )
    if top in sys.stdlib_module_names and not isinstance(real, type):
        return (
            "who may call it may do anything; only for a file that you would run as a program: "
            "trust=checkpoint.everything"
        )
    line = f"if this file may have it: trust=[{name!r}]"
    return line if top in sys.stdlib_module_names else f"{line}, or package={top!r} if it is yours"


def _is_beside_main(top: str) -> bool:
    """Whether a module or package lies beside the script that is run: it is of one program."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    place = getattr(sys.modules.get(top), "__file__", None)
    if not isinstance(main, str) or not isinstance(place, str):
        return False
    folder, name = os.path.split(os.path.abspath(place))
    if os.path.splitext(name)[0] == "__init__":
        folder = os.path.dirname(folder)
    return folder == os.path.dirname(os.path.abspath(main))


def _may_be_named(part: str) -> bool:
    """Whether a class or function that is gone may have had the name."""
    return part.isidentifier() and len(part) < _LONGEST and not part.startswith("__")


def _defined(module: str, qualname: str) -> Any:
    """The class or function that a module defines under a name, found without running anything.

    `_MISSING` if there is nothing under that name, None if it is something else.
    """
    holder = sys.modules.get(module)
    if not isinstance(holder, ModuleType):
        return _MISSING
    found: Any = holder
    for part in qualname.split("."):
        if found is not holder and not isinstance(found, type):
            return None
        found = vars(found).get(part, _MISSING)
        if found is _MISSING:
            return _MISSING
    found = found.__func__ if isinstance(found, staticmethod) else found
    if isinstance(found, TypeVar | ParamSpec | NewType):
        return found if (found.__module__, found.__name__) == (module, qualname) else None
    if not isinstance(found, type | FunctionType | BuiltinFunctionType):
        return None
    named = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    return found if named == (module, qualname) else None


def policy_of(trust: Trust, package: str | None) -> Policy | None:
    """The policy of the code that called into this package; None if it trusts every file."""
    if trust is everything:
        return None
    if isinstance(trust, _Everything) or not hasattr(trust, "__iter__"):
        raise TypeError(f"trust is a collection, or checkpoint.everything, not {trust!r}")
    _, frame = program_frame(sys._getframe(1))
    packages = tuple(packages_of(package, frame))
    entries = trust if isinstance(trust, str) else tuple(trust)
    try:
        # One for all loads, so that each knows what another has verified.
        return _known_policy(packages, entries)
    except TypeError:
        return Policy(packages, entries)  # It says what is wrong with an entry.


@lru_cache(_POLICIES)
def _known_policy(packages: tuple[str, ...], entries: Any) -> Policy:
    return Policy(packages, entries)


def packages_of(package: str | None, frame: FrameType) -> list[str]:
    """The packages of the program whose code runs in *frame*, or *package* if it is given."""
    if package is not None:
        if not isinstance(package, str) or not package:
            raise TypeError(f"package is the name of a package, not {package!r}")
        return [package, "__main__"]
    own: FrameType | None = frame
    while own is not None:
        top = str(own.f_globals.get("__name__") or "").partition(".")[0]
        if top and top != _OURS and top not in sys.stdlib_module_names:
            break
        own = own.f_back
    else:
        top = "__main__"
    origin = (main_origin() or "").partition(".")[0]
    names = [top, "__main__", *([origin] if origin and top == "__main__" else [])]
    return [*dict.fromkeys(names)]
