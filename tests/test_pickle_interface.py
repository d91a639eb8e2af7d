"""pickle's own interface: the same calls, on files that cannot be half believed."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

import checkpoint
from checkpoint import (
    FormatError,
    IntegrityError,
    MigrationError,
    SerializationError,
    StoreError,
    UnsafeError,
)

STATE = {"name": "x" * 100, "items": [1, 2.5, None, (3, b"4")], "more": OrderedDict(a=1)}


def same(a: Any, b: Any) -> bool:
    return bool(pickle.dumps(a) == pickle.dumps(b))


@pytest.mark.parametrize("codec", ["zstd", "zstd:19", "gzip", "lzma", "none"])
def test_what_is_dumped_is_loaded(codec: str) -> None:
    state = {**STATE, "array": np.arange(200_000), "large": os.urandom(3_000_000)}
    loaded = checkpoint.loads(checkpoint.dumps(state, codec=codec))
    np.testing.assert_array_equal(loaded.pop("array"), np.arange(200_000))
    assert loaded.pop("large") == state["large"]
    assert same(loaded, STATE)


def test_several_snapshots_follow_each_other_and_plain_pickles_too() -> None:
    file = io.BytesIO()
    checkpoint.dump([1], file)
    pickle.dump([2], file, 0)
    checkpoint.dump(np.zeros(100_000), file)
    pickle.dump([3], file, 5)
    file.seek(0)
    assert checkpoint.load(file) == [1]
    assert checkpoint.load(file) == [2]
    assert checkpoint.load(file).shape == (100_000,)
    assert checkpoint.load(file) == [3]
    with pytest.raises(EOFError):
        checkpoint.load(file)


def test_a_pipe_is_read_no_further_than_needed() -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as pipe:
            checkpoint.dump(list(range(100_000)), pipe)
            checkpoint.dump(np.arange(500_000), pipe)
            pipe.write(b"the rest")

    thread = threading.Thread(target=write)
    thread.start()
    with open(reading, "rb", buffering=0) as pipe:
        assert checkpoint.load(pipe) == list(range(100_000))
        assert checkpoint.load(pipe)[-1] == 499_999
        assert pipe.read() == b"the rest"
    thread.join()


def test_a_path_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    checkpoint.dump("old", path)
    path.chmod(0o600)
    with pytest.raises(SerializationError):
        checkpoint.dump(threading.Lock(), path)
    assert checkpoint.load(path) == "old"
    checkpoint.dump("new", str(path))
    assert checkpoint.load(str(path)) == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["state.ckpt"]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing/state\.ckpt"):
        checkpoint.dump(1, tmp_path / "missing" / "state.ckpt")
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "missing")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, zstandard.compress])
def test_plain_pickles_of_every_protocol_are_read(protocol: int, compress: Any) -> None:
    data = compress(pickle.dumps(STATE, protocol))
    assert same(checkpoint.loads(data), STATE)
    assert same(checkpoint.load(io.BytesIO(data)), STATE)


def test_old_lzma_files_are_read_and_what_is_neither_is_refused() -> None:
    data = pickle.dumps(STATE)
    assert same(checkpoint.loads(lzma.compress(data, format=lzma.FORMAT_ALONE)), STATE)
    for strange in (bz2.compress(data), b"hello, world", b"\x00" * 50, b"{}\n", b"\x80"):
        with pytest.raises((FormatError, MigrationError)):
            checkpoint.loads(strange)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, zstandard.compress])
def test_a_truncated_plain_pickle_is_refused(compress: Any) -> None:
    data = compress(pickle.dumps(STATE))
    for size in range(1, len(data)):
        with pytest.raises(FormatError):
            checkpoint.loads(data[:size])


def test_pickles_of_python_2_are_read() -> None:
    data = b"c__builtin__\nxrange\np0\n(I0\nI3\nI1\ntp1\nRp2\n."
    assert checkpoint.loads(data) == range(3)
    assert checkpoint.loads(b"S'\\xe9'\n.", encoding="latin1") == "é"
    assert checkpoint.loads(b"S'\\xe9'\n.", encoding="bytes") == b"\xe9"


def test_every_byte_of_a_snapshot_counts() -> None:
    state = {"a": os.urandom(500), "b": "text " * 200, "c": Rebuilt()}
    data = checkpoint.dumps(state)
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        for damaged in (bytes(flipped), data[:at]):
            with pytest.raises((IntegrityError, FormatError, EOFError, UnsafeError)) as caught:
                checkpoint.loads(damaged)
            assert caught.type is not EOFError or not damaged
            # Who signed with another key, or none, is a stranger.
            assert (caught.type is UnsafeError) <= (data.rindex(b"\nmac:") < at)


class Rebuilt:
    """Is rebuilt by a call, which is not for strangers."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Rebuilt, ()


def test_the_protocol_may_be_any_that_pickle_takes() -> None:
    for protocol in (None, -1, 0, 1, 2, 3, 4, 5):
        assert checkpoint.loads(checkpoint.dumps([1], protocol, fix_imports=False)) == [1]
    with pytest.raises(ValueError, match="protocol"):
        checkpoint.dumps([1], 6)


def test_buffers_may_travel_beside_the_snapshot() -> None:
    array, buffers = np.arange(10), []
    data = checkpoint.dumps(array, buffer_callback=buffers.append)
    assert len(buffers) == 1
    loaded = checkpoint.loads(data, buffers=buffers)
    assert np.shares_memory(loaded, array)


class Pickler(checkpoint.Pickler):
    """Names what lives outside, and reduces what cannot be pickled."""

    def persistent_id(self, obj: Any) -> Any:
        return "the one" if obj is OUTSIDE else None

    def reducer_override(self, obj: Any) -> Any:
        return (threading.Lock, ()) if isinstance(obj, type(threading.Lock())) else NotImplemented


class Unpickler(checkpoint.Unpickler):
    """Finds what lives outside, and gives a class another name."""

    def persistent_load(self, pid: Any) -> Any:
        assert pid == "the one"
        return OUTSIDE

    def find_class(self, module: str, name: str) -> Any:
        return dict if name == "OrderedDict" else super().find_class(module, name)


OUTSIDE = object()


def test_subclasses_of_the_pickler_and_the_unpickler_have_their_say() -> None:
    file = io.BytesIO()
    pickler = Pickler(file)
    pickler.dump({"o": OUTSIDE, "lock": threading.Lock(), "d": OrderedDict(a=1)})
    pickler.clear_memo()
    pickler.dump([OUTSIDE])
    file.seek(0)
    unpickler = Unpickler(file)
    loaded = unpickler.load()
    assert loaded["o"] is OUTSIDE
    assert loaded["lock"].acquire()
    assert type(loaded["d"]) is dict
    assert unpickler.load()[0] is OUTSIDE


def test_nothing_is_written_of_what_cannot_be_saved() -> None:
    file = io.BytesIO()
    with pytest.raises(SerializationError, match=r"state\[1\]"):
        checkpoint.dump([1, lambda: 0], file)
    assert file.getvalue() == b""


def test_a_class_that_is_gone_is_named(tmp_path: Path) -> None:
    program = tmp_path / "gone.py"
    program.write_text(
        "import checkpoint, sys\nclass Hero: pass\ncheckpoint.dump(Hero(), sys.argv[1])\n"
    )
    subprocess.run([sys.executable, program, tmp_path / "hero.ckpt"], check=True)
    with pytest.raises(MigrationError, match=r"hero\.ckpt: __main__:Hero \(of gone\) is gone"):
        checkpoint.load(tmp_path / "hero.ckpt")


def test_a_snapshot_of_a_script_loads_where_the_script_is_a_module(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import checkpoint, sys\nclass Model: pass\n"
        "if __name__ == '__main__': checkpoint.Checkpointer(sys.argv[1]).save(Model())\n"
    )
    subprocess.run([sys.executable, tmp_path / "train.py", tmp_path / "saves"], check=True)
    code = "import checkpoint, sys, train; m = checkpoint.Checkpointer(sys.argv[1]).load(); "
    code += "print(type(m) is train.Model)"
    command = [sys.executable, "-c", code, str(tmp_path / "saves")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "True"
