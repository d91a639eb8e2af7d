"""One input at a time, with a clock; and many of them in a process that has limits.

    python tests/fuzz/trying.py TARGET SEED SECONDS NOTE

tries mutations for so long.  Each is written to the file NOTE before it is
tried, so that it is known though the process may die of it.
"""

from __future__ import annotations

import gc
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

from fuzz.corpus import LARGEST, seeds
from fuzz.mutating import Mutator
from fuzz.targets import TARGETS

from checkpoint import CheckpointError

SECONDS = 2.0
MEMORY = 512 << 20


class Found(AssertionError):
    """An input that ended in what it must not."""


def tried(target: str, data: bytes) -> bool:
    """Whether *target* takes *data*, or refuses it; Found if it does neither, or takes long."""
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TARGETS[target](data)
    except CheckpointError:
        taken = False
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        raise Found(f"{target}: {data.hex()} {what:.300}") from error
    else:
        taken = True
    took = time.process_time() - start
    if took > SECONDS:
        raise Found(f"{target}: {data.hex()} took {took:.1f} s")
    return taken


def run(target: str, seed: int, count: int) -> int:
    """Try *count* mutations; how many were taken."""
    mutator = Mutator(target, seeds(target), seed)
    return sum(tried(target, data) for _ in range(count) if len(data := mutator.one()) <= LARGEST)


def limited(target: str, seed: int, seconds: float, note: Path) -> None:
    """Try mutations for so long, within limits; tell how many, and how many were taken."""
    mutator = Mutator(target, seeds(target, libraries=True), seed)
    for data in seeds(target):  # What is imported and cached once is no input's doing.
        tried(target, data)
    gc.collect()
    base = memory("VmHWM")
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + 2 * MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)  # It ends what no exception would.
    end, count, taken = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        data = mutator.one()
        if len(data) > LARGEST:
            continue
        note.write_bytes(data)
        signal.setitimer(signal.ITIMER_VIRTUAL, 2 * SECONDS)
        taken += tried(target, data)
        count += 1
        if memory("VmHWM") - base > MEMORY:
            raise Found(f"{target}: {data.hex()} took more than 512 MiB")
    print(count, taken)


def memory(member: str) -> int:
    """What Linux says of the memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(member))


def main(target: str, seed: str, seconds: str, note: str) -> NoReturn:
    try:
        limited(target, int(seed), float(seconds), Path(note))
    except Found as error:
        sys.exit(str(error))
    sys.exit()


if __name__ == "__main__":
    main(*sys.argv[1:])
