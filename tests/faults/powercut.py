"""Power cuts in process: record what is done to a folder, then play every legal loss.

    with recording(folder) as log:
        saves = LocalStore(folder / "saves")
        saves.put("key", [b"bytes"])
        log.acknowledge("key")
    for state in power_cuts(log):
        state.materialize(fresh)
        ...open it there, look, and compare with state.acknowledged...

What the folder holds when the recording starts is durable.  While it runs, the
functions of `os` that change folders or files do the real thing and write it
down.  What a file object wrote past `os.write` is noted, as one write, at the next
fsync, close or renaming of that file.  When it ends, the record is compared with the
folder, so that what went past it altogether (`open(path, "w")`, another process)
does not stay unnoticed.  Threads may take part.
A state that was materialized can be the start of the next recording: a crash
during recovery.

The model, which asks more of a program than any one filesystem does:

- What a file holds is durable up to its last fsync.  Of what was written after
  it a power cut leaves nothing, half, the right length in zeros, or all.
- A name (create, link, mkdir, rename, unlink) is durable from the next fsync of
  the folder it stands in, not by an fsync of the file.  Until then each change
  of a folder is kept or lost by itself, in any combination.
- A rename within one folder is kept or lost as one; between two folders its two
  halves are independent.
- A folder whose own name is lost takes everything below it along.
- The crash comes after any prefix of the record.  A kill, which loses nothing,
  is one of the states at each point; `kills` gives those alone.

Where there are few choices all combinations are played; else all kept, all
lost, each lost alone, each kept alone, and a seeded sample.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from typing import Any
from unittest.mock import patch

from attrs import Factory, define, frozen

from checkpoint.store import _files

ROOT = 0  # the node of the recorded folder

# A path below the recorded folder, and its bytes; None for a folder.
Tree = dict[str, bytes | None]


# What a record is made of


@frozen
class Change:
    """Names that one folder gained or lost together; a lost name leads to None."""

    folder: int
    names: tuple[tuple[str, int | None], ...]
    story: str


@frozen
class Named:
    """One system call's changes of folders; each may be lost without the others."""

    changes: tuple[Change, ...]
    story: str


@frozen
class Wrote:
    node: int
    offset: int
    data: bytes
    story: str


@frozen
class Resized:
    node: int
    size: int
    story: str


@frozen
class Synced:
    node: int
    story: str


@frozen
class Acknowledged:
    value: Any
    story: str


Operation = Named | Wrote | Resized | Synced | Acknowledged


@define
class Log:
    """What was done to *root*, in order, and what it held before."""

    root: str
    folders: dict[int, dict[str, int]] = Factory(dict)
    files: dict[int, bytes] = Factory(dict)
    operations: list[Operation] = Factory(list)
    labels: dict[int, str] = Factory(dict)

    def acknowledge(self, value: Any) -> None:
        """Say that from here on *value* holds, whatever happens."""
        self.operations.append(Acknowledged(value, f"acknowledge {value}"))


@frozen
class State:
    """A folder as a crash may leave it."""

    tree: Mapping[str, bytes | None]
    acknowledged: tuple[Any, ...]
    point: int
    after: str
    lost: tuple[str, ...]

    @property
    def story(self) -> str:
        """When the crash came and what it took."""
        lost = "; ".join(self.lost) or "nothing (a kill)"
        return f"crash after operation {self.point} ({self.after}); lost: {lost}"

    def materialize(self, folder: str | os.PathLike[str]) -> None:
        """Make *folder*, which must not exist, and all that the crash left in it."""
        os.makedirs(folder)
        for path, data in sorted(self.tree.items()):
            if data is None:
                os.mkdir(os.path.join(folder, path))
            else:
                with open(os.path.join(folder, path), "xb") as file:
                    file.write(data)


# Playing


def kills(log: Log) -> Iterator[State]:
    """The folder after each prefix of the record, with nothing lost."""
    seen: set[bytes] = set()
    for disk in _prefixes(log):
        yield from _new(seen, disk, [()])


def power_cuts(
    log: Log, *, exhaustive: int = 6, sample: int = 24, seed: int = 0
) -> Iterator[State]:
    """Every legal state after each prefix of the record; each distinct one once.

    Up to *exhaustive* free choices are played in all combinations; beyond,
    the extremes and *sample* random combinations at each point.
    """
    seen: set[bytes] = set()
    chance = random.Random(seed)
    for disk in _prefixes(log):
        choices = disk.choices()
        yield from _new(seen, disk, _combinations(choices, exhaustive, sample, chance))


# One choice: None keeps, any other option loses something.
Choice = tuple[Any, ...]  # the options; the first one keeps


def _combinations(
    choices: list[Choice], exhaustive: int, sample: int, chance: random.Random
) -> Iterator[tuple[Any, ...]]:
    if len(choices) <= exhaustive:
        yield from itertools.product(*choices)
        return
    kept = tuple(options[0] for options in choices)
    lost = tuple(options[1] for options in choices)
    yield kept
    yield lost
    for place, options in enumerate(choices):
        yield (*lost[:place], kept[place], *lost[place + 1 :])
        for option in options[1:]:
            yield (*kept[:place], option, *kept[place + 1 :])
    for _ in range(sample):
        yield tuple(chance.choice(options) for options in choices)


def _new(
    seen: set[bytes], disk: _Disk, combinations: Iterator[tuple[Any, ...]] | list[tuple[()]]
) -> Iterator[State]:
    for combination in combinations:
        losses = [choice for choice in combination if choice is not None]
        tree = disk.tree(losses)
        mark = _mark(tree, len(disk.acknowledged))
        if mark in seen:
            continue
        seen.add(mark)
        lost = tuple(loss.story for loss in losses)
        yield State(tree, tuple(disk.acknowledged), disk.point, disk.after, lost)


def _mark(tree: Tree, acknowledged: int) -> bytes:
    whole = blake2b(b"%d" % acknowledged, digest_size=16)
    for path, data in sorted(tree.items()):
        size = -1 if data is None else len(data)
        whole.update(b"\0%s\0%d\0" % (os.fsencode(path), size))
        whole.update(data or b"")
    return whole.digest()


@frozen
class LostName:
    """A change of a folder that the cut took."""

    change: Change

    @property
    def story(self) -> str:
        return self.change.story


@frozen
class LostData:
    """What the cut left in a file of which not all was synced."""

    node: int
    data: bytes
    story: str


class _Disk:
    """What is durable after a prefix of the record, and what is not yet."""

    def __init__(self, log: Log) -> None:
        self.point = 0
        self.after = "the start"
        self.acknowledged: list[Any] = []
        self._labels = log.labels
        self._folders = {node: dict(names) for node, names in log.folders.items()}
        self._files = dict(log.files)
        self._pending: list[Change] = []
        self._unsynced: dict[int, list[Wrote | Resized]] = {}

    def play(self, operation: Operation) -> None:
        """Take one more operation of the record."""
        self.point += 1
        self.after = operation.story
        match operation:
            case Named(changes=changes):
                self._pending += changes
            case Wrote(node=node) | Resized(node=node):
                self._unsynced.setdefault(node, []).append(operation)
            case Synced(node=node) if node in self._files or node in self._unsynced:
                self._files[node] = self._whole(node)
                self._unsynced.pop(node, None)
            case Synced(node=node):
                for change in self._pending:
                    if change.folder == node:
                        _apply(self._folders, change)
                self._pending = [c for c in self._pending if c.folder != node]
            case Acknowledged(value=value):
                self.acknowledged.append(value)

    def choices(self) -> list[Choice]:
        """What a cut decides now: for each, keep (None) or the ways to lose."""
        names: list[Choice] = [(None, LostName(change)) for change in self._pending]
        named = {node for entries in self._folders.values() for node in entries.values()}
        named.update(node for c in self._pending for _, node in c.names if node is not None)
        data = [self._remains(node) for node in self._unsynced if node in named]
        return names + [options for options in data if len(options) > 1]

    def tree(self, losses: list[Any]) -> Tree:
        """The folder with these losses and no others."""
        folders = {node: dict(names) for node, names in self._folders.items()}
        lost = {id(loss.change) for loss in losses if isinstance(loss, LostName)}
        for change in self._pending:
            if id(change) not in lost:
                _apply(folders, change)
        left = {loss.node: loss.data for loss in losses if isinstance(loss, LostData)}
        found: Tree = {}
        self._collect(found, folders, left, ROOT, "")
        return found

    def _collect(
        self,
        found: Tree,
        folders: dict[int, dict[str, int]],
        left: dict[int, bytes],
        folder: int,
        below: str,
    ) -> None:
        for name, node in folders.get(folder, {}).items():
            path = below + name
            if node < 0:
                found[path] = None
                self._collect(found, folders, left, node, path + "/")
            else:
                found[path] = left[node] if node in left else self._whole(node)

    def _whole(self, node: int) -> bytes:
        data = bytearray(self._files.get(node, b""))
        for step in self._unsynced.get(node, ()):
            _write(data, step)
        return bytes(data)

    def _remains(self, node: int) -> Choice:
        old, new = self._files.get(node, b""), self._whole(node)
        label = self._labels[node]
        if len(new) > len(old):
            half = new[: (len(old) + len(new)) // 2]
            zeroed = old + bytes(len(new) - len(old))
        else:
            half = new[: len(new) // 2] + old[len(new) // 2 :]
            zeroed = bytes(len(new))
        options: dict[bytes, Any] = {new: None}
        for data, left in ((old, "none"), (half, "half"), (zeroed, "zeros")):
            options.setdefault(data, LostData(node, data, f"data of {label} ({left} left)"))
        return tuple(options.values())


def _apply(folders: dict[int, dict[str, int]], change: Change) -> None:
    entries = folders.setdefault(change.folder, {})
    for name, node in change.names:
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


def _write(data: bytearray, step: Wrote | Resized) -> None:
    if isinstance(step, Resized):
        data[step.size :] = bytes(max(0, step.size - len(data)))
    else:
        data[len(data) :] = bytes(max(0, step.offset - len(data)))
        data[step.offset : step.offset + len(step.data)] = step.data


def _prefixes(log: Log) -> Iterator[_Disk]:
    disk = _Disk(log)
    yield disk
    for operation in log.operations:
        disk.play(operation)
        yield disk


# Recording


@contextmanager
def recording(root: str | os.PathLike[str]) -> Iterator[Log]:
    """Record what this process does to *root*, an existing folder."""
    recorder = _Recorder(os.path.abspath(os.fspath(root)))
    with recorder.patches():
        yield recorder.log
    recorder.check_complete()


class _Recorder:
    """The functions of `os` that change a folder, each with its line in the log.

    A folder is a negative node (or ROOT), a file a positive one.
    """

    def __init__(self, root: str) -> None:
        self.log = Log(root)
        self._nodes = itertools.count(1)
        self._open: dict[int, int] = {}
        self._data: dict[int, bytearray] = {}
        self._turn = threading.RLock()
        self._read(root, ROOT, "")
        self._now = {node: dict(names) for node, names in self.log.folders.items()}
        self._data = {node: bytearray(data) for node, data in self.log.files.items()}

    def _read(self, folder: str, node: int, below: str) -> None:
        entries = self.log.folders.setdefault(node, {})
        for entry in os.scandir(folder):
            path = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                child = entries[entry.name] = -next(self._nodes)
                self._read(entry.path, child, path + "/")
            else:
                child = entries[entry.name] = next(self._nodes)
                with open(entry.path, "rb") as file:
                    self.log.files[child] = file.read()
            self.log.labels[child] = path

    @contextmanager
    def patches(self) -> Iterator[None]:
        """Put the recording functions in the place of the real ones."""
        recorded = {
            "open": self._opening,
            "close": self._closing,
            "write": self._writing,
            "writev": self._writing_many,
            "pwrite": self._writing_at,
            "ftruncate": self._resizing,
            "posix_fallocate": self._allocating,
            "fsync": self._syncing,
            "fdatasync": self._syncing,
            "link": self._linking,
            "unlink": self._unlinking,
            "remove": self._unlinking,
            "rmdir": self._unlinking,
            "mkdir": self._making,
            "rename": self._renaming,
            "replace": self._renaming,
        }
        refused = ("symlink", "truncate", "mknod", "mkfifo", "renames", "pwritev", "dup", "dup2")
        with ExitStack() as stack:
            for name, function in recorded.items():
                if hasattr(os, name):
                    stack.enter_context(patch.object(os, name, self._bound(name, function)))
            for name in (*refused, "sendfile", "copy_file_range"):
                if hasattr(os, name):
                    stack.enter_context(patch.object(os, name, _refused(name)))
            # The one call that goes past `os`.
            rename = self._bound("_renameat2", self._renaming, _files)
            stack.enter_context(patch.object(_files, "_renameat2", rename))
            yield

    def _bound(
        self, name: str, recorded: Callable[..., Any], module: Any = os
    ) -> Callable[..., Any]:
        real = getattr(module, name)

        def call(*args: Any, **named: Any) -> Any:
            if any(named.pop(each, None) is not None for each in ("dir_fd", "src_dir_fd")):
                raise NotImplementedError(f"{name} with dir_fd is not recorded")
            # One at a time, so that the record has the order of what happened.
            with self._turn:
                return recorded(real, *args, **named)

        return call

    def check_complete(self) -> None:
        """AssertionError if the folder is not what the record says."""
        disk = _Disk(self.log)
        for operation in self.log.operations:
            disk.play(operation)
        said, real = disk.tree([]), _tree(self.log.root)
        differing = sorted(
            path for path in {*said, *real} if said.get(path, 0) != real.get(path, 0)
        )
        assert not differing, f"changed in a way that is not recorded: {differing}"

    # Where a path leads

    def _place(self, path: Any) -> tuple[int, str] | None:
        """The folder and the name of *path*; None if it is not below the root."""
        whole = os.path.abspath(os.fsdecode(path))
        if not whole.startswith(self.log.root + os.sep):
            return None
        *parents, name = whole[len(self.log.root) + 1 :].split(os.sep)
        folder = ROOT
        for parent in parents:
            entry = self._now.get(folder, {}).get(parent)
            if entry is None:
                return None  # The real call says what is wrong with it.
            folder = entry
        return folder, name

    def _node(self, path: Any) -> int | None:
        if os.path.abspath(os.fsdecode(path)) == self.log.root:
            return ROOT
        place = self._place(path)
        return None if place is None else self._now.get(place[0], {}).get(place[1])

    def _short(self, path: Any) -> str:
        return os.path.relpath(os.fsdecode(path), self.log.root)

    def _change(self, story: str, *changes: tuple[int, dict[str, int | None]]) -> None:
        made = tuple(Change(folder, tuple(names.items()), story) for folder, names in changes)
        for change in made:
            _apply(self._now, change)
        self.log.operations.append(Named(made, story))

    # The functions

    def _opening(self, real: Any, path: Any, flags: int, mode: int = 0o777) -> int:
        if isinstance(path, int):
            raise NotImplementedError("os.open of a descriptor is not recorded")
        place, node = self._place(path), self._node(path)
        fd: int = real(path, flags, mode)
        if node is None and place is not None and flags & os.O_CREAT:
            node = next(self._nodes)
            self.log.labels[node] = self._short(path)
            self.log.files[node] = b""
            self._data[node] = bytearray()
            self._change(f"create {self._short(path)}", (place[0], {place[1]: node}))
        elif node is not None and flags & os.O_TRUNC:
            self._resized(node, 0)
        if node is not None:
            self._open[fd] = node
        return fd

    def _closing(self, real: Any, fd: int) -> None:
        node = self._open.pop(fd, None)
        if node is not None:
            self._catch_up(node)
        real(fd)

    def _writing(self, real: Any, fd: int, data: Any) -> int:
        node = self._open.get(fd)
        count: int = real(fd, data)
        if node is not None:
            # Appending or not, the position is now where the written bytes end.
            start = os.lseek(fd, 0, os.SEEK_CUR) - count
            self._wrote(node, start, bytes(memoryview(data).cast("B")[:count]))
        return count

    def _writing_many(self, real: Any, fd: int, pieces: Any) -> int:
        node = self._open.get(fd)
        count: int = real(fd, pieces)
        if node is not None:
            start = os.lseek(fd, 0, os.SEEK_CUR) - count
            self._wrote(node, start, b"".join(bytes(piece) for piece in pieces)[:count])
        return count

    def _writing_at(self, real: Any, fd: int, data: Any, offset: int) -> int:
        node = self._open.get(fd)
        count: int = real(fd, data, offset)
        if node is not None:
            self._wrote(node, offset, bytes(memoryview(data).cast("B")[:count]))
        return count

    def _wrote(self, node: int, offset: int, data: bytes) -> None:
        story = f"write {len(data)} bytes to {self.log.labels[node]}"
        step = Wrote(node, offset, data, story)
        _write(self._data[node], step)
        self.log.operations.append(step)

    def _resized(self, node: int, size: int) -> None:
        step = Resized(node, size, f"resize {self.log.labels[node]} to {size}")
        _write(self._data[node], step)
        self.log.operations.append(step)

    def _catch_up(self, node: int) -> None:
        """Note what a file object has written since, without `os.write`."""
        if node not in self._data:
            return  # A folder.
        try:
            with open(os.path.join(self.log.root, self.log.labels[node]), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return
        known = bytes(self._data[node])
        if not data.startswith(known):
            self._resized(node, 0)
            known = b""
        if len(data) > len(known):
            self._wrote(node, len(known), data[len(known) :])

    def _resizing(self, real: Any, fd: int, size: int) -> None:
        real(fd, size)
        node = self._open.get(fd)
        if node is not None:
            self._resized(node, size)

    def _allocating(self, real: Any, fd: int, offset: int, size: int) -> None:
        before = os.fstat(fd).st_size
        real(fd, offset, size)
        node = self._open.get(fd)
        if node is not None and offset + size > before:
            self._resized(node, offset + size)

    def _syncing(self, real: Any, fd: int) -> None:
        node = self._open.get(fd)
        if node is not None:
            self._catch_up(node)
        real(fd)
        if node is not None:
            label = self.log.labels.get(node, "the root")
            self.log.operations.append(Synced(node, f"sync {label}"))

    def _linking(self, real: Any, old: Any, new: Any) -> None:
        place, node = self._place(new), self._node(old)
        if node is not None:
            self._catch_up(node)
        real(old, new)
        if place is not None:
            if node is None:
                raise NotImplementedError("a link from outside is not recorded")
            self.log.labels[node] = self._short(new)
            story = f"link {self._short(old)} to {self._short(new)}"
            self._change(story, (place[0], {place[1]: node}))

    def _unlinking(self, real: Any, path: Any) -> None:
        place = self._place(path)
        real(path)
        if place is not None:
            self._change(f"unlink {self._short(path)}", (place[0], {place[1]: None}))

    def _making(self, real: Any, path: Any, mode: int = 0o777) -> None:
        place = self._place(path)
        real(path, mode)
        if place is not None:
            node = -next(self._nodes)
            self.log.labels[node] = self._short(path)
            self._now[node] = {}
            self._change(f"mkdir {self._short(path)}", (place[0], {place[1]: node}))

    def _renaming(self, real: Any, old: Any, new: Any) -> Any:
        source, target, node = self._place(old), self._place(new), self._node(old)
        if node is not None:
            self._catch_up(node)
        code = real(old, new)
        if code or (source is None and target is None):
            return code  # renameat2 says with it that nothing happened.
        if source is None or target is None or node is None:
            raise NotImplementedError("a rename across the border is not recorded")
        self.log.labels[node] = self._short(new)
        story = f"rename {self._short(old)} to {self._short(new)}"
        if source[0] == target[0]:
            self._change(story, (source[0], {source[1]: None, target[1]: node}))
        else:
            self._change(story, (target[0], {target[1]: node}), (source[0], {source[1]: None}))
        return code


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **named: Any) -> Any:
        raise NotImplementedError(f"os.{name} is not recorded; teach it to the recorder")

    return refuse


def _tree(root: str) -> Tree:
    found: Tree = {}
    for parent, folders, files in os.walk(root):
        below = os.path.relpath(parent, root)
        for name in folders:
            found[os.path.normpath(os.path.join(below, name))] = None
        for name in files:
            with open(os.path.join(parent, name), "rb") as file:
                found[os.path.normpath(os.path.join(below, name))] = file.read()
    return found
