"""Why an object cannot be saved or rebuilt, and what to do about it."""

from __future__ import annotations

import copyreg
import importlib
import io
from pathlib import Path
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any

from checkpoint._paths import qualified_name
from checkpoint.errors import SerializationError

# Code that pickles: what it raises is said of the object, not of its class.
_HERE = Path(__file__).parent
_MACHINERY = {
    *(str(path) for path in _HERE.glob("_*pickling.py")),
    *(str(_HERE / name) for name in ("_adapting.py", "_migration.py", "_upgrading.py")),
    *(str(copyreg.__file__), str(importlib.__file__)),
    *("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"),
}


def refusal(obj: Any, path: str, error: BaseException) -> SerializationError:
    return SerializationError(f"cannot save {path}: {_trouble(obj, error)}", path=path)


def _trouble(obj: Any, error: BaseException) -> str:
    """What the matter is with *obj*, and what to do about it."""
    told = told_by(error)
    if _raiser(error) is not None:
        return f"{told}; correct it, or leave the object out"
    if isinstance(obj, (FunctionType, BuiltinFunctionType, type)):
        return _unnamed(obj, told)
    if isinstance(obj, ModuleType):
        return f"the module {obj.__name__} cannot be pickled ({told}); import it where it is used"
    if isinstance(obj, (GeneratorType, CoroutineType, AsyncGeneratorType)):
        return f"{_kind(obj)} cannot be pickled ({told}); keep what it can be made from again"
    if isinstance(obj, io.IOBase):
        return (
            f"an open file, {_kind(obj)}, cannot be pickled ({told}); "
            "keep its name and position, and open it again in __setstate__"
        )
    return (
        f"{_kind(obj)} cannot be pickled ({told}); "
        "leave it out in __getstate__, or register a reducer with copyreg.pickle"
    )


def _unnamed(obj: Any, told: str) -> str:
    name = qualified_name(obj)
    sort = "class" if isinstance(obj, type) else "function"
    if name.rpartition(".")[2] == "<lambda>":
        return f"a lambda has no name to find it by ({told}); define it at module level with def"
    if "<locals>" in name:
        return (
            f"the local {sort} {name} has no name to find it by ({told}); define it at module level"
        )
    return (
        f"the {sort} {obj.__module__}.{name} is not found under its name ({told}); "
        f"define it at module level under that name"
    )


def _kind(obj: Any) -> str:
    kind = type(obj)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"
    return f"{'an' if name.lstrip('_')[:1].lower() in tuple('aeiou') else 'a'} {name}"


def told_by(error: BaseException) -> str:
    """The error's own text, and who raised it where that was code of a class in the graph."""
    text, raiser = str(error), _raiser(error)
    if raiser is None:
        return text or type(error).__name__
    return f"{raiser} raised {type(error).__name__}: {text}"


def _raiser(error: BaseException) -> str | None:
    """The function written in Python that pickle called and that raised, if there is one."""
    if isinstance(error, TypeError) and str(error).startswith("cannot pickle "):
        return None  # a class of the standard library that says so itself
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_filename not in _MACHINERY:
            name = frame.f_code.co_qualname
            return f"module {frame.f_globals['__name__']}" if name == "<module>" else name
        traceback = traceback.tb_next
    return None
