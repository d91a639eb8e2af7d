"""Runs attacks, two at a time, in children that outlive them."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import field, frozen

TESTS = Path(__file__).resolve().parents[1]
_CHILDREN = 2
MEMORY = 512 << 20
SECONDS = 2.0
_MORE = 2  # tries of what was slow
Ask = tuple[int, str]


@frozen
class Outcome:
    """How an attack ended at one door."""

    ended: str
    canaries: list[str] = field(factory=list)
    error: str = ""
    message: str = ""
    took: float = 0.0
    peak: int = 0
    done: bool = False

    @property
    def slow(self) -> bool:
        """Whether it took longer than it may."""
        return self.took > SECONDS or "SIGPROF" in self.ended

    @property
    def harm(self) -> str:
        """What it did that no attack may; empty if nothing."""
        wrong = [] if self.ended in ("refused", "loaded") else [f"{self.ended}: {self.message}"]
        wrong += [f"canary: {seen}" for seen in self.canaries]
        wrong += [f"took {self.took:.1f} s"] if self.took > SECONDS else []
        wrong += [f"took {self.peak >> 20} MiB"] if self.peak > MEMORY else []
        return "; ".join(wrong)

    @property
    def effect(self) -> str:
        """The same, where an exception is nothing: what shows that an attack is one."""
        wrong = [self.ended] if "died" in self.ended or "Memory" in self.ended else []
        wrong += self.canaries
        wrong += [f"{self.took:.1f} s"] if self.took > SECONDS else []
        wrong += [f"{self.peak >> 20} MiB"] if self.peak > MEMORY else []
        return "; ".join(wrong)


class Runner:
    """Children that try attacks until it is closed; an answer is kept for whoever asks again."""

    def __init__(self, command: Sequence[str] = ("-m", "attacks.child")) -> None:
        self._command = [sys.executable, *command]
        self._children: list[subprocess.Popen[str]] = []
        self._found: dict[Ask, Outcome] = {}

    def outcomes(self, asked: Iterable[Ask]) -> dict[Ask, Outcome]:
        """How each of *asked*, an attack's index and a door, ended."""
        asked = list(asked)
        waiting: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        for ask in asked:
            if ask not in self._found:
                waiting.put(ask)
        while len(self._children) < _CHILDREN:
            self._children.append(_child(self._command))
        failed: list[BaseException] = []
        threads = [
            threading.Thread(target=self._work, args=(child, waiting, failed))
            for child in self._children
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return {ask: self._found[ask] for ask in asked}

    def _work(
        self,
        child: subprocess.Popen[str],
        waiting: queue.SimpleQueue[Ask],
        failed: list[BaseException],
    ) -> None:
        try:
            while not waiting.empty():
                with suppress(queue.Empty):
                    ask = waiting.get_nowait()
                    found = _asked(child, ask)
                    for _ in range(_MORE):  # A busy machine is not the attack's doing.
                        if found.slow and ask[1] != "pickle":
                            found = min(found, _asked(child, ask), key=lambda one: one.harm)
                    self._found[ask] = found
        except BaseException as error:
            failed.append(error)

    def close(self) -> None:
        """End the children."""
        for child in self._children:
            with child:
                pass  # Its input ends, and so does it.
        self._children.clear()


def _asked(child: subprocess.Popen[str], ask: Ask) -> Outcome:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(ask) + "\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"the child that tries attacks died at {ask}")
    return Outcome(**json.loads(line))


def _child(command: Sequence[str]) -> subprocess.Popen[str]:
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    environment.setdefault("CHECKPOINT_KEY", "a key of the tests, of no use elsewhere")
    pipe: Any = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
