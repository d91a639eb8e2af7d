"""How often a call asks the system to put bytes on the medium.

`strace` sees every such call, those of C libraries too.  Where it is not to be
had, `os.fsync` is wrapped, which sees Python's only; the count then says so.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

_CALLS = "fsync,fdatasync,sync_file_range,syncfs,msync"
_PR_SET_PTRACER = 0x59616D61


def count_syncs(calls: Sequence[Callable[[], object]]) -> str:
    """How many syncs one of *calls* makes, on average: a number, or `none`."""

    def run() -> None:
        for call in calls:
            call()

    counted = _by_strace(run) if shutil.which("strace") else None
    if counted is not None:
        return f"{counted / len(calls):.3g}" if counted else "none"
    counted = _by_wrapping(run)
    return f"{counted / len(calls):.3g} from Python" if counted else "none from Python"


def _by_strace(function: Callable[[], object]) -> int | None:
    if sys.platform != "linux":
        return None
    # Where only a parent may trace its children, a process may still name another.
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = ["strace", "-f", "-e", f"trace={_CALLS}", "-o", str(log), "-p", str(os.getpid())]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        if "attached" not in tracer.stderr.readline():
            tracer.wait()
            return None
        try:
            function()
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
        # A call that another thread interrupts is logged on two lines.
        lines = log.read_text().splitlines()
        return sum("sync" in line and "resumed>" not in line for line in lines)


def _by_wrapping(function: Callable[[], object]) -> int:
    original, count = os.fsync, 0

    def counting(fd: int) -> None:
        nonlocal count
        count += 1
        original(fd)

    os.fsync = counting
    try:
        function()
    finally:
        os.fsync = original
    return count
