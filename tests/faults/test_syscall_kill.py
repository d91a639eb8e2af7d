"""A real process is killed on entering each system call of a put, and the store is looked at.

The power-cut test plays what the functions of `os` do; here nothing is played.
A kill loses nothing that was written, so this says nothing about `fsync`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import checkpoint
from checkpoint.store import LocalStore

KILLED = 137
CALLS = ["openat", "mkdir", "flock", "write", "fsync", "link", "unlink", "close"]
NEW = "packs/aa/new"
VALUE = b"first" + b"second" * 10_000

# The temporary file gets a known name, so that strace can pick the calls about it.
CHILD = """
import secrets, sys
secrets.token_hex = lambda size: "0" * 2 * size
from checkpoint.store import LocalStore
LocalStore(sys.argv[1]).put("packs/aa/new", [b"first", b"second" * 10_000])
print("acknowledged", flush=True)
"""

# The mutant: the same put, but written under its final name.
MUTANT = """
import os
from checkpoint.store import _local
def open_final(folder):
    final = os.path.join(folder, "new")
    return final + ".none", os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
_local._open_temp = open_final
_local.publish = lambda temp, final: None
"""


def strace_works() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    command = [strace, "-f", "-qq", "-o", os.devnull, "-e", "inject=?fsync:signal=SIGKILL:when=99"]
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(
    not strace_works(), reason="strace is not installed, or may not trace here"
)


def run_until(call: str, nth: int, home: Path, first: str) -> tuple[int, bool]:
    """Put in a child that is killed at the *nth* *call*: how it ended, what it acknowledged."""
    at = f"?{call},?{call}at" if call in ("mkdir", "link", "unlink") else call
    folder = home / "packs" / "aa"
    about = [home.parent, home, folder.parent, folder, folder / "new", folder / f".tmp-{'0' * 16}"]
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={at}"]
    command += ["-e", f"inject={at}:signal=SIGKILL:when={nth}"]
    for path in about:
        command += ["-P", str(path)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(checkpoint.__file__).parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    ended = subprocess.run(
        [*command, sys.executable, "-c", first + CHILD, str(home)],
        capture_output=True,
        env=environment,
        check=False,
    )
    # strace ends as its child did: by the same signal, or as a shell would say it.
    code = KILLED if ended.returncode == -9 else ended.returncode
    assert code in (0, KILLED), ended.stderr.decode()
    return code, ended.stdout == b"acknowledged\n"


def sweep(call: str, folder: Path, first: str = "") -> int:
    """Kill a put at each *call* in turn, and check what it leaves; how many kills there were."""
    for nth in range(1, 30):
        home = folder / str(nth) / "root"
        home.parent.mkdir()
        code, acknowledged = run_until(call, nth, home, first)
        store = LocalStore(home)
        visible = {key: bytes(store.get(key)) for key in store.keys("")}
        if acknowledged:
            assert visible == {NEW: VALUE}
        else:
            assert code == KILLED
            assert visible in ({}, {NEW: VALUE}), f"torn by a kill at {call} {nth}"
        store.tidy()
        files = [name for _, _, names in os.walk(home) for name in names]
        assert files == (["new"] if visible else [])
        if not visible:
            store.put(NEW, [VALUE])
        assert bytes(store.get(NEW)) == VALUE
        if code == 0:
            return nth - 1
    raise AssertionError(f"{call} never stops")


@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_any_system_call_leaves_all_or_nothing(tmp_path: Path, call: str) -> None:
    kills = sweep(call, tmp_path)
    print(f"{kills} kills at {call}")
    assert kills >= 1


def test_the_check_catches_who_writes_to_the_final_name(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="torn by a kill at write"):
        sweep("write", tmp_path, MUTANT)
