"""Tables of what was measured, for people as Markdown and for programs as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attrs import Factory, frozen
from measuring import Bench, Comparison, Target, quartiles, timed

_LIBRARIES = (
    "blake3", "zstandard", "attrs", "numpy", "torch", "joblib", "safetensors", "diskcache",
    "orbax-checkpoint", "jax", "tensorstore",
)  # fmt: skip


@frozen
class Table:
    """A title, what it shows in a sentence or two, and rows; raw samples go to the JSON only."""

    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    samples: Sequence[Any] = Factory(list)

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [f"### {self.title}", "", self.text, "", _line(self.columns)]
        lines.append(_line(["---"] + ["---:"] * (len(self.columns) - 1)))
        lines += map(_line, self.rows)
        return "\n".join(lines) + "\n"


def compared(
    title: str,
    text: str,
    bench: Bench,
    comparisons: Iterable[Comparison],
    shown: Callable[[float], str] | None = None,
) -> Table:
    """The table of *comparisons*: medians, ratio, spread, target."""
    found = list(comparisons)
    ratio = "ours ÷ peer, speed" if found[0].speed else "ours ÷ peer, cost"
    columns = ["ours", "peer", "ours", "peer", ratio, "quartiles", "range", "target"]
    columns += ["fsyncs, ours / peer"] if any(c.syncs for c in found) else []
    rows = [_row(c, bench, shown or seconds)[: len(columns)] for c in found]
    samples = [
        {"ours": c.ours_name, "peer": c.peer_name, "speed": c.speed, "ours_samples": list(c.ours),
         "peer_samples": list(c.peer), "ratio": statistics.median(c.ratios), "syncs": c.syncs}
        for c in found
    ]  # fmt: skip
    text = f"{text} {len(found[0].ours)} pairs."
    return Table(title, text, columns, rows, samples)


def _row(one: Comparison, bench: Bench, shown: Callable[[float], str]) -> list[str]:
    low, middle, high = quartiles(one.ratios)
    return [
        one.ours_name,
        one.peer_name,
        shown(statistics.median(one.ours)),
        shown(statistics.median(one.peer)),
        f"**{_ratio(middle)}**",
        f"{_ratio(low)}–{_ratio(high)}",
        f"{_ratio(min(one.ratios))}–{_ratio(max(one.ratios))}",
        verdict(one.target, middle, bench),
        one.syncs,
    ]


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def verdict(
    target: Target | None, value: float, bench: Bench, shown: Callable[[float], str] = str
) -> str:
    """The target and whether *value* meets it; a quick run does not say that."""
    if target is None:
        return ""
    if bench.quick:
        return target.told(shown)
    return f"{target.told(shown)}: {'met' if target.met(value) else 'missed'}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def seconds(value: float) -> str:
    """A duration with three digits."""
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def size(value: float) -> str:
    """A number of bytes with three digits."""
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1000:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def machine(bench: Bench) -> dict[str, str]:
    """Where and when this was measured, and with what."""
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "checkpoint": _release(),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.release()}",
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": _from_proc("/proc/meminfo", "MemTotal"),
        "filesystem": _filesystem(bench.folder),
        "fsync of a 4 KiB file": seconds(_sync_time(bench.folder)),
        "libraries": ", ".join(f"{name} {v}" for name in _LIBRARIES if (v := _version(name))),
    }
    if hasattr(os, "getloadavg"):
        found["load at the start"] = f"{os.getloadavg()[0]:.2f}"
    if bench.quick:
        found["quick"] = "small sizes and few pairs: this shows that it runs, not how fast"
    return found


def _release() -> str:
    from checkpoint import __version__

    return __version__


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    return _from_proc("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def _from_proc(path: str, member: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(member)), "")


def _filesystem(folder: Path) -> str:
    """The type of the filesystem that holds *folder*, where the system tells it."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    holding = [(len(at), kind) for at, kind in mounts if folder.resolve().is_relative_to(at)]
    return max(holding)[1] if holding else "unknown"


def _sync_time(folder: Path) -> float:
    path = folder / "probe"
    with path.open("wb", buffering=0) as file:

        def step() -> None:
            file.write(bytes(4096))
            os.fsync(file.fileno())

        found = statistics.median(timed(step) for _ in range(50))
    path.unlink()
    return found
