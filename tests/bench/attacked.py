"""The attacks of tests/attacks, against this package and two others that promise to be careful.

    python tests/bench/attacked.py       some minutes; torch is left out where it is not installed

`torch.load(weights_only=True)` is given each stream in a checkpoint of its own
format, its names and its memo spelled as the protocol that it reads; what it
does not know it refuses.  The bare list is the recipe of pickle's
documentation: a `find_class` that gives harmless classes by their exact names
and nothing else.
"""

# ruff: noqa: E402 -- the attacks lie beside this folder
from __future__ import annotations

import io
import pickle
import pickletools
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS)]
sys.path.append(str(_TESTS.parent))

from attacks.attack import Attack, Parts
from attacks.catalogue import ATTACKS, ROUTES
from attacks.runner import Outcome, Runner
from report import Table

OURS, TORCH, LIST = "bare", "torch", "list"
_REFUSALS = ("UnpicklingError",)
# What a program would list because it is harmless: classes, no functions.
_LISTED = {
    *(f"prey.things:{name}" for name in ("Plain", "Slotted", "Data", "Frozen", "Attrs", "Point",
      "Rows", "Table", "Many", "Hashing", "Guarded", "Watching", "Adding", "Made")),
    *(f"collections:{name}" for name in ("OrderedDict", "defaultdict", "Counter", "deque")),
    *(f"builtins:{name}" for name in ("list", "dict", "set", "frozenset", "tuple", "bytearray",
      "bytes", "complex", "range", "slice", "int", "str", "object", "ValueError")),
    "argparse:Namespace", "types:SimpleNamespace", "datetime:datetime", "datetime:date",
    "datetime:timedelta", "datetime:timezone", "decimal:Decimal", "fractions:Fraction", "uuid:UUID",
    "random:Random", "array:array", "array:_array_reconstructor", "copyreg:_reconstructor",
    "_codecs:encode", "_io:BytesIO", "_io:StringIO", "re:_compile", "numpy:ndarray", "numpy:dtype",
    "numpy._core.multiarray:_reconstruct", "numpy._core.multiarray:scalar",
    "numpy._core.numeric:_frombuffer",
}  # fmt: skip


class _Listed(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}:{name}" not in _LISTED:
            raise pickle.UnpicklingError(f"{module}.{name} is not listed")
        return super().find_class(module, name)


def by_list(made: Any) -> Callable[[], Any]:
    """A program that has a list of what may be named."""
    parts = made if isinstance(made, Parts) else Parts(made)
    return lambda: _Listed(io.BytesIO(parts.stream), buffers=iter(parts.buffers)).load()


def by_torch(made: Any) -> Callable[[], Any]:
    """A program that loads a checkpoint with torch, weights only."""
    import torch

    parts = made if isinstance(made, Parts) else Parts(made)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("attack/data.pkl", downgraded(parts.stream))
        file.writestr("attack/byteorder", "little")
        file.writestr("attack/version", "3\n")
    archive.seek(0)
    return lambda: torch.load(archive, weights_only=True)


def downgraded(stream: bytes) -> bytes:
    """*stream* in the opcodes of protocol 2 where they are known; as it is if it is no pickle."""
    try:
        found = list(pickletools.genops(stream))
    except Exception:
        return stream
    ends = [place or 0 for _, _, place in found[1:]] + [len(stream)]
    pieces: list[bytes] = []
    texts: list[int] = []
    memo = 0
    for at, ((opcode, argument, place), end) in enumerate(zip(found, ends, strict=True)):
        written = stream[place or 0 : end]
        if opcode.name in ("PROTO", "FRAME"):
            written = b""
        elif opcode.name == "MEMOIZE":
            written = b"r" + struct.pack("<I", memo)
            memo += 1
        elif opcode.name == "STACK_GLOBAL" and len(texts) > 1:
            module, name = (found[which][1] for which in texts[-2:])
            written = f"c{module}\n{name}\n".encode("utf-8", "surrogatepass")
            for which in texts[-2:]:
                pieces[which] = b""
        elif "UNICODE" in opcode.name:
            texts.append(at)
            text = str(argument).encode("utf-8", "surrogatepass")
            written = b"X" + struct.pack("<I", len(text)) + text
        pieces.append(written)
    return b"\x80\x02" + b"".join(pieces)


def main() -> None:
    """Print the table."""
    if "--child" in sys.argv:
        from attacks import child

        rivals = {LIST: by_list}
        if find_spec("torch"):
            by_torch(b"\x80\x02].")()
            rivals[TORCH] = by_torch
        child.serve(rivals)
        return
    rivals = [TORCH, LIST] if find_spec("torch") else [LIST]
    runner = Runner((__file__, "--child"))
    print(table(runner, [OURS, *rivals]).markdown())
    runner.close()


def table(runner: Runner, loaders: list[str]) -> Table:
    """What got through, by route and loader."""
    names = {OURS: "checkpoint", TORCH: "torch, weights only", LIST: "a list in find_class"}
    rows = []
    sums: Counter[tuple[str, str]] = Counter()
    for route in ROUTES:
        chosen = [
            (i, a) for i, a in enumerate(ATTACKS) if a.route == route.name and OURS in a.doors
        ]
        if not chosen:
            continue
        cells = [route.name, str(len(chosen))]
        sums["", ""] += len(chosen)
        for loader in loaders:
            found = runner.outcomes((index, loader) for index, _ in chosen)
            kinds = Counter(_kind(ATTACKS[index], one, loader) for (index, _), one in found.items())
            sums.update({(loader, kind): count for kind, count in kinds.items()})
            cells.append(_told(kinds))
        rows.append(cells)
        print(f"{route.name}: done", file=sys.stderr)
    totals = [
        _told(Counter({k: n for (who, k), n in sums.items() if who == one})) for one in loaders
    ]
    rows.append(["all", str(sums["", ""]), *totals])
    text = (
        "How many attacks got through, and by what: something was run, changed, imported or "
        "opened; "
        "the interpreter died; it took above two seconds or 512 MiB; an exception came that the "
        "loader does not name."
    )
    return Table("Attacks", text, ["route", "attacks", *(names[one] for one in loaders)], rows)


def _kind(attack: Attack, outcome: Outcome, loader: str) -> str:
    if attack.gone and outcome.ended == "raised MigrationError":
        return ""  # It looks for what is installed, to say where the class may have gone.
    if outcome.canaries:
        return "run"
    if "died: SIGPROF" in outcome.ended or outcome.took > 2 or outcome.peak > 512 << 20:
        return "limits"
    if "died" in outcome.ended:
        return "died"
    if outcome.ended.startswith("raised"):
        refused = (
            loader != OURS and outcome.error in _REFUSALS
        ) or outcome.error == "MigrationError"
        return "" if refused or "when it was saved" in outcome.ended else "exception"
    return ""


def _told(kinds: Counter[str]) -> str:
    shown = [
        f"{kinds[kind]} {kind}" for kind in ("run", "died", "limits", "exception") if kinds[kind]
    ]
    return ", ".join(shown) or "0"


if __name__ == "__main__":
    main()
