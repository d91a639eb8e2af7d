"""Pickling by the reducers of this package alone, and calls that hostile streams could make."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from checkpoint._reducers import reducer_for


class Reducing(pickle.Pickler):
    """A pickler that asks for our reducers; an object met within itself is left to pickle."""

    def __init__(self, file: Any, buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(file, 5, buffer_callback=buffers.append)
        self.met: set[int] = set()
        self.left: list[type] = []

    def reducer_override(self, obj: Any) -> Any:
        reducer = reducer_for(type(obj))
        if reducer is None:
            return NotImplemented
        if id(obj) in self.met:
            return NotImplemented
        self.met.add(id(obj))
        reduced = reducer(obj)
        if reduced is NotImplemented:
            self.left.append(type(obj))
        return reduced


def written(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer], list[type]]:
    """The stream of *obj*, its buffers, and the types that were left to plain pickling."""
    file, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    pickler = Reducing(file, buffers)
    pickler.dump(obj)
    return file.getvalue(), buffers, pickler.left


def carried(obj: Any) -> Any:
    """*obj* after its stream has been read, with memory that can be written to."""
    stream, buffers, left = written(obj)
    assert left == [], f"left to plain pickling: {left}"
    for foreign in (b"pandas.", b"scipy.sparse"):
        assert foreign not in stream.replace(b"checkpoint.rebuild.pandas", b""), stream
    return pickle.loads(stream, buffers=[bytearray(buffer.raw()) for buffer in buffers])


def own(obj: Any) -> tuple[Any, list[type]]:
    """*obj* carried, whether or not some of it was left to plain pickling, and what was."""
    stream, buffers, left = written(obj)
    return pickle.loads(stream, buffers=[bytearray(b.raw()) for b in buffers]), left


def run(*arguments: str) -> str:
    """What Python prints for these arguments, in a process of its own that tells where it fell."""
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def run_file(name: str, *arguments: str) -> str:
    """What the program beside this one prints."""
    return run(str(Path(__file__).with_name(f"{name}.py")), *arguments)
