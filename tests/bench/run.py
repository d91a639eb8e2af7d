"""The benchmark: ratios against peers, measured side by side in one run.

    python tests/bench/run.py            about an hour, 12 GiB of disk, 16 GiB of memory
    python tests/bench/run.py --quick    three minutes: shows that it runs

It prints Markdown.  Peers that are not installed are left out; the extra
`bench` brings them all.  Each measure has a process of its own: what one peer
starts (threads, arenas) is not in the way of the next.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from attrs import asdict

# Last: an installed package, or PYTHONPATH, goes before this checkout.  Its children need it too.
_ROOT = str(Path(__file__).resolve().parents[2])
sys.path.append(_ROOT)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), _ROOT)))

from measuring import Bench  # noqa: E402
from report import Table, machine  # noqa: E402

NAMES = (
    "arrays", "lazy", "tiny", "objects", "graph", "background", "memory", "history", "carry",
    "dedup", "evolving", "growth", "inspecting", "jobs", "trusting",
)  # fmt: skip


def main() -> None:
    """Measure what the command line asks for, and print it."""
    options = _options()
    # A benchmark that is stopped leaves no gigabytes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder.resolve()) as folder:
        pairs = options.pairs or (3 if options.quick else 15)
        bench = Bench(Path(folder), pairs, options.quick, options.plot)
        if options.tables:
            options.tables.write_text(json.dumps(_measured(options.only[0], bench)))
            return
        about = machine(bench)
        print("\n".join(f"- {key}: {value}" for key, value in about.items()), end="\n\n")
        found = {name: _apart(name, bench) for name in options.only}
    failed = [name for name, (tables, _) in found.items() if tables is None]
    took = [[name, f"{seconds / 60:.1f} min"] for name, (_, seconds) in found.items()]
    print(Table("How long this took", "Set-up and checks included.", ["", ""], took).markdown())
    if options.json:
        tables = [table for some, _ in found.values() for table in some or ()]
        options.json.write_text(json.dumps({"machine": about, "tables": tables}, indent=1))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _apart(name: str, bench: Bench) -> tuple[list[Any] | None, float]:
    """The tables of one measure, made by a process of its own, and the seconds that it took.

    None if it failed: the measures after it are still made.
    """
    tables = bench.folder / "tables.json"
    command = [sys.executable, __file__, "--only", name, "--pairs", str(bench.pairs)]
    command += ["--folder", str(bench.folder), "--tables", str(tables)]
    command += ["--quick"] if bench.quick else []
    command += ["--plot", str(bench.plots)] if bench.plots else []
    start = monotonic()
    failed = subprocess.run(command, check=False).returncode
    return None if failed else json.loads(tables.read_text()), monotonic() - start


def _measured(name: str, bench: Bench) -> list[Any]:
    found = []
    for table in importlib.import_module(name).measure(bench):
        print(table.markdown(), flush=True)
        found.append(asdict(table))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and three pairs")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME",
                        help=f"some of {', '.join(NAMES)}")  # fmt: skip
    parser.add_argument("--pairs", type=int, help="pairs of each comparison (15)")
    where = "where to make a temporary folder, on the disk that is to be measured"
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help=where)
    parser.add_argument("--json", type=Path, help="write all samples here, too")
    plots = "a folder where growth draws growth-state.svg and growth-history.svg"
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help=plots)
    # What the process of one measure is told; it prints no heading.
    parser.add_argument("--tables", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
