"""Coverage-guided fuzzing of one target, with atheris (`pip install -e '.[fuzz]'`).

    python tests/fuzz/run_atheris.py --target verifier --seconds 3600

Each kind of failure is told once, with its input, and written to the folder of
what was found; then it goes on.  What kills the process, or takes more than
`SECONDS` or `MEMORY`, is written there by libFuzzer, and ends the run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
os.environ.setdefault("CHECKPOINT_KEY", "a fixed key for the tests that keeps no secret")

import atheris  # type: ignore[import-untyped]  # noqa: E402

with atheris.instrument_imports(include=["checkpoint"]):
    from fuzz.corpus import LARGEST, seeds
    from fuzz.targets import TARGETS
    from fuzz.trying import Found, tried

SECONDS, MEMORY = 4, 2048  # of one input; MiB in all


class Run:
    """One run: the inputs go to *target*, and what is found to *folder*."""

    def __init__(self, target: str, folder: Path) -> None:
        self._target, self._folder = target, folder
        self._told: set[str] = set()

    def __call__(self, data: bytes) -> None:
        try:
            tried(self._target, data)
        except Found as error:
            kind = str(error.__cause__ and _place(error.__cause__))
            if kind in self._told:
                return
            self._told.add(kind)
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"{self._target}-{hashlib.sha256(data).hexdigest()[:12]}"
            (self._folder / name).write_bytes(data)
            print(f"FOUND {name} {kind}: {error}"[:3000], flush=True)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__} {where}"


def main() -> None:
    """Fuzz what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", choices=TARGETS, required=True)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--folder", type=Path, default=Path("fuzzing"), help="its corpus lies here")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    corpus = folder / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    for data in seeds(options.target):
        (corpus / hashlib.sha256(data).hexdigest()[:20]).write_bytes(data)
    warnings.simplefilter("ignore")
    arguments = [sys.argv[0], str(corpus), f"-max_total_time={options.seconds}"]
    arguments += [f"-max_len={LARGEST}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEMORY}"]
    arguments += [f"-artifact_prefix={folder}/{options.target}-", "-print_final_stats=1"]
    atheris.Setup(arguments, Run(options.target, folder / "found"))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
