"""Every ordinary value by its name: what a foreign snapshot of it must give back."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ordinary import libraries, own, shapes, standard

PLAIN_PROTOCOLS = range(6)


@dataclass(frozen=True)
class Value:
    name: str
    group: str
    make: Callable[[], Any]
    needs: str = ""  # a library that may not be there
    trust: tuple[Any, ...] = ()  # what has to be declared
    protocols: range | tuple[int, ...] = PLAIN_PROTOCOLS  # plain pickles of it that are taken


# What plain pickling writes of these cannot be checked; our reducers write it in another form.
OURS_ALONE = {
    *(name for name in libraries.NUMPY if name.startswith(("Generator", "masked", "SeedSequence"))),
    *("RandomState", "bit generator", "np.ma.masked"),
}

PROTOCOLS: dict[str, range | tuple[int, ...]] = {
    "int of 100,000 bits": range(2, 6),  # Python reads no text of so many digits
    "__getnewargs_ex__": (0, 1, 4, 5),  # the others say `functools.partial`
    **dict.fromkeys(OURS_ALONE, ()),
}

GROUPS: dict[str, Mapping[str, Callable[[], Any]]] = {
    "Atoms": standard.ATOMS,
    "Containers": standard.CONTAINERS,
    "Dates and times": standard.TIMES,
    "Numbers": standard.NUMBERS,
    "Names, paths and addresses": standard.NAMES,
    "Text, files and namespaces": standard.TEXTS,
    "Types and annotations": standard.TYPES,
    "Graphs": {**standard.GRAPHS, **own.OWN_GRAPHS},
    "Classes of the program": own.CLASSES,
    "Kinds of builtins, of the program": own.KINDS,
    "Enums": own.ENUMS,
    "attrs": own.ATTRS,
    "Dataclasses": own.DATACLASSES,
    "Named tuples": own.TUPLES,
    "What is saved by name": own.NAMED,
    "Builtin exceptions": own.BUILTIN_EXCEPTIONS,
    "Exceptions": own.EXCEPTIONS,
    "NumPy": libraries.NUMPY,
}
LIBRARIES = {
    "pandas": ("pandas", libraries.PANDAS),
    "SciPy": ("scipy.sparse", libraries.SCIPY),
    "torch": ("torch", libraries.TORCH),
}


def _of(module: str, make: Callable[[Any], Any]) -> Any:
    return make(importlib.import_module(module))


def _all() -> Iterator[Value]:
    for group, factories in GROUPS.items():
        for name, make in factories.items():
            yield Value(name, group, make, protocols=PROTOCOLS.get(name, PLAIN_PROTOCOLS))
    for name, (trust, make) in own.DECLARED.items():
        yield Value(
            name, "With a declaration", make, "", trust, PROTOCOLS.get(name, PLAIN_PROTOCOLS)
        )
    for group, (module, made_of) in LIBRARIES.items():
        for name, of in made_of.items():
            make = functools.partial(_of, module, of)
            yield Value(name, group, make, needs=module, protocols=())


VALUES = list(_all())
PROGRAM = shapes.__name__.partition(".")[0]
