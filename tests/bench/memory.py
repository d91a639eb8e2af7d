"""Peak memory above the state, while a gigabyte of arrays is saved or loaded.

Each sample is a process of its own: `python memory.py save|load WAY FOLDER BYTES`
prints what it took.
"""

from __future__ import annotations

import gc
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import arrays
from measuring import Bench, Target, remove
from report import Table, size

_TARGET = 64 << 20


def measure(bench: Bench) -> Iterator[Table]:
    """Peaks of save and load, ours and the peers'."""
    total = bench.size(1 << 30, 64 << 20)
    runs = bench.size(3, 1)
    rows, samples = [], []
    # A quick run imports torch often enough.
    peers = arrays.present()[: bench.size(len(arrays.PEERS), 2)]
    for way in (arrays.OURS, *peers):
        found = [_sample(way.name, total, bench) for _ in range(runs)]
        saving = [sample[0] for sample in found]
        loading = [sample[1] for sample in found]
        samples.append({"way": way.name, "save": saving, "load": loading})
        rows.append([way.name, _told(saving), _told(loading), _verdict(way, saving, bench)])
    yield Table(
        f"Peak memory above a state of {size(total)} of arrays",
        "Resident memory at its peak, less that before the save; for a load, less the loaded "
        f"state too. Each sample is a fresh process; median and range of {runs}.",
        ["way", "save", "load", "target for save"],
        rows,
        samples,
    )


def _told(values: list[int]) -> str:
    middle = size(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({size(min(values))}–{size(max(values))})"


def _verdict(way: arrays.Way, saving: list[int], bench: Bench) -> str:
    if way is not arrays.OURS:
        return ""
    if bench.quick:
        return f"≤ {size(_TARGET)}"
    met = Target(at_most=_TARGET).met(statistics.median(saving))
    return f"≤ {size(_TARGET)}: {'met' if met else 'missed'}"


def _sample(way: str, total: int, bench: Bench) -> tuple[int, int]:
    """The peaks of one save, and of one load of what it wrote."""
    folder = bench.fresh("memory")
    folder.mkdir()
    found = []
    for verb in ("save", "load"):
        command = [sys.executable, __file__, verb, way, str(folder), str(total)]
        result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found.append(json.loads(result.stdout))
    remove(folder)
    return found[0], found[1]


def _child(verb: str, name: str, folder: Path, total: int) -> int:
    """Save or load once in this process; the bytes above what must be there."""
    way = arrays.WAYS[name]
    small = arrays.build(arrays.COUNT * 1024)
    # Imports and first calls are not the price of a save.
    way.save(small, folder / f"first-{verb}")
    way.load(folder / f"first-{verb}", small)
    path = folder / "state"
    if verb == "save":
        state = arrays.build(total)
        before = _begin()
        way.save(state, path)
        return _peak() - before
    # Shapes only: pages that nobody writes to are not resident.
    like = {f"layer.{i:02}": arrays.np.zeros(total // arrays.COUNT // 4, "f4") for i in range(64)}
    before = _begin()
    state = dict(way.load(path, like))
    return _peak() - before - sum(array.nbytes for array in state.values())


def _begin() -> int:
    """Forget the peak so far, where the system can; the resident bytes now."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status(member: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(member))


if __name__ == "__main__":
    verb, name, folder, total = sys.argv[1:]
    print(_child(verb, name, Path(folder), int(total)))
