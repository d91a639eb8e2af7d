"""The benchmark: ratios against peers, measured side by side in one run.

    python tests/bench/run.py            about half an hour, some 6 GiB of disk
    python tests/bench/run.py --quick    under a minute: shows that it runs

It prints Markdown.  Peers that are not installed are left out; the extra
`bench` brings them all.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from attrs import asdict

# Last: an installed package, or PYTHONPATH, goes before this checkout.  Its children need it too.
_ROOT = str(Path(__file__).resolve().parents[2])
sys.path.append(_ROOT)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), _ROOT)))

from measuring import Bench  # noqa: E402
from report import Table, machine  # noqa: E402

NAMES = ("arrays", "tiny", "objects", "memory", "history", "carry", "dedup")


def main() -> None:
    """Measure what the command line asks for, and print it."""
    options = _options()
    # A benchmark that is stopped leaves no gigabytes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        bench = Bench(Path(folder), options.pairs or (3 if options.quick else 15), options.quick)
        about = machine(bench)
        print("\n".join(f"- {key}: {value}" for key, value in about.items()), end="\n\n")
        tables = [table for name in options.only for table in _measured(name, bench)]
    if options.json:
        document = {"machine": about, "tables": [asdict(table) for table in tables]}
        options.json.write_text(json.dumps(document, indent=1))


def _measured(name: str, bench: Bench) -> list[Table]:
    found = []
    for table in importlib.import_module(name).measure(bench):
        print(table.markdown(), flush=True)
        found.append(table)
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
    return parser.parse_args()


if __name__ == "__main__":
    main()
