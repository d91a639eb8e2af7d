"""Programs with jobs in them, run as processes of their own: told to hold, signalled, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from textwrap import dedent
from threading import Timer
from typing import Any

import pytest
from attrs import frozen

import checkpoint
from checkpoint import LocalStore
from checkpoint._jobs.status import JobStatus, history_of, jobs_in
from checkpoint._repository import Repository

SOURCE = Path(checkpoint.__file__).parent.parent
PATIENCE = 30.0  # seconds after which a child is killed, and the test fails

_BEGINNING = """\
import os, random, signal, socket, sys, threading, time
import checkpoint

def tell(*words):
    # In one piece: another thread may tell something, too.
    print(" ".join(map(str, words)) + "\\n", end="", flush=True)

def hold(*words):
    "Tell it, and wait until the test lets this process go on."
    tell(*words)
    sys.stdin.readline()

"""
_END = """

if __name__ == "__main__":
    tell("result", eval(sys.argv[1]))
"""


@frozen
class Ended:
    """How a program ended: negative codes are signals, the lines are both of its streams."""

    code: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def told(self, word: str) -> list[str]:
        """What was told after *word*, each time."""
        return [line[len(word) + 1 :] for line in self.lines if line.startswith(f"{word} ")]

    def result(self) -> str:
        """What the program gave; it has ended well."""
        assert self.code == 0, self.text
        return self.told("result")[-1]


class Running:
    """A program at work."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: list[str] = []
        self._watchdog = Timer(PATIENCE, process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def until(self, words: str) -> Running:
        """Wait until it has told *words*, or a line that begins with them."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line.rstrip("\n"))
            if line.startswith(words):
                return self
        raise AssertionError(f"ended before {words!r}:\n" + "\n".join(self._lines))

    def send(self, number: int) -> Running:
        """Send it a signal."""
        self.process.send_signal(number)
        return self

    def go_on(self) -> Running:
        """Let it go on from where it holds."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self

    def ended(self) -> Ended:
        """How it ends; what holds from now on goes on by itself."""
        process = self.process
        assert process.stdout is not None and process.stdin is not None
        process.stdin.close()
        self._lines += [line.rstrip("\n") for line in process.stdout]
        code = process.wait()
        self._watchdog.cancel()
        process.stdout.close()
        return Ended(code, self._lines)

    def stop(self) -> None:
        """End it, if the test has not."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.ended()


class Program:
    """A module with jobs, in a folder with a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self._running: list[Running] = []

    def write(self, source: str, name: str = "program") -> Program:
        """Its functions, after a beginning that has `tell` and `hold`."""
        (self.folder / f"{name}.py").write_text(_BEGINNING + dedent(source) + _END)
        return self

    def start(
        self, call: str, *before: str, environment: dict[str, str] | None = None, name: str = ""
    ) -> Running:
        """A process that tells what *call* gives; *before* is what it is started by."""
        given = {
            **os.environ,
            "CHECKPOINT_STORE": str(self.store),
            "PYTHONPATH": str(SOURCE),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environment or {}),
        }
        path = self.folder / f"{name or 'program'}.py"
        process = subprocess.Popen(
            [*before, sys.executable, "-W", "error", str(path), call],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=given,
            cwd=self.folder,
        )
        running = Running(process)
        self._running.append(running)
        return running

    def run(self, call: str, **options: Any) -> Ended:
        """How a process ends that is not held anywhere."""
        return self.start(call, **options).ended()

    def imported(self, name: str = "program") -> Any:
        """Its module in this process: the same jobs."""
        spec = spec_from_file_location(name, self.folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def repository(self) -> Repository:
        """What its jobs are saved in."""
        return Repository(LocalStore(self.store))

    def statuses(self) -> list[JobStatus]:
        """That of each job in its store, as it is now."""
        return jobs_in(self.repository())

    def status(self) -> JobStatus:
        """That of the one job in its store."""
        (status,) = (each for each in self.statuses() if "/inside/" not in each.name)
        return status

    def history(self) -> list[JobStatus]:
        """The kept versions of the one job in its store."""
        return history_of(self.repository(), self.status().name)

    def stop(self) -> None:
        """End every process that still runs."""
        for running in self._running:
            running.stop()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """A program to be written; its processes end with the test."""
    made = Program(tmp_path)
    monkeypatch.setenv("CHECKPOINT_STORE", str(made.store))
    try:
        yield made
    finally:
        made.stop()
