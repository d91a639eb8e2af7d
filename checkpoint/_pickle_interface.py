"""pickle's own interface, on single-file snapshots.

`dump`, `dumps`, `load`, `loads`, `Pickler` and `Unpickler` take what pickle's
take.  `load` also reads what people already have: plain pickles of any
protocol, bare or inside gzip, xz, lzma or zstd, told apart by their content.
"""

from __future__ import annotations

import io
import lzma
import operator
import os
import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import zstandard

from checkpoint import _compressed, _single_file
from checkpoint._allowance import allowance
from checkpoint._codec import parse_codec
from checkpoint._foreign import (
    allowed,
    check_size,
    most_opcodes,
    opened,
    opened_version,
    strangers,
)
from checkpoint._keys import USERS, Given, Keys, keys
from checkpoint._members import libraries, stamp
from checkpoint._migration import Migrations
from checkpoint._migration import default as default_migrations
from checkpoint._model import Buffer, Manifest
from checkpoint._one_pickle import read_pickle
from checkpoint._outline import Outline, outlined
from checkpoint._pickling import BufferCallback, Hooks, pickle_into
from checkpoint._raw import raw_of
from checkpoint._stream import StreamCutter
from checkpoint._translating import translated
from checkpoint._trust import Trust, policy_of
from checkpoint._unpickling import protocol
from checkpoint._upgrading import Loading, OnMissing, Schema, Terms
from checkpoint._verdict import verdict
from checkpoint._workers import Workers
from checkpoint._writing import Encoder
from checkpoint.errors import CheckpointError, FormatError, IntegrityError, SerializationError
from checkpoint.store import replace_file

Path = str | os.PathLike[str]
_BROKEN = (pickle.UnpicklingError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class Pickler:
    """Writes objects to a binary *file*, each as a snapshot that stands alone.

    Subclasses may define `persistent_id`, `reducer_override` and
    `dispatch_table` as with `pickle.Pickler`.  There is no memo across dumps:
    two snapshots in one file share no object.
    """

    __module__ = "checkpoint"

    def __init__(
        self,
        file: Any,
        protocol: int | None = None,
        *,
        fix_imports: bool = True,
        buffer_callback: BufferCallback | None = None,
        codec: str = "zstd",
        key: Given = USERS,
    ) -> None:
        if protocol is not None and not protocol <= pickle.HIGHEST_PROTOCOL:
            raise ValueError(f"pickle protocol must be <= {pickle.HIGHEST_PROTOCOL}")
        self._write: Callable[[Any], object] = file.write
        self._callback = buffer_callback
        self._codec = parse_codec(codec)
        self._keys = keys(key)

    def dump(self, obj: Any) -> None:
        """Write *obj* as one snapshot; nothing is written if it cannot be saved."""
        with Workers() as workers:
            encoder = Encoder(self._codec)
            stream = StreamCutter(encoder, workers)
            pickled = pickle_into(
                obj,
                stream.write,
                buffer_callback=self._callback,
                hooks=self._hooks(),
                restart=stream.restart,
            )
            known = {
                "provenance": pickled.provenance,
                "libraries": libraries(pickled.globals),
                "types": default_migrations.stamped(pickled.globals),
                "migrations": tuple(default_migrations.graphs),
            }
            manifest = Manifest(**known, **stamp())  # type: ignore[arg-type]
            _single_file.write_snapshot(
                self._write, manifest, pickled.buffers, stream, encoder, workers, self._keys
            )

    def clear_memo(self) -> None:
        """Nothing to do: no dump remembers another."""

    def _hooks(self) -> Hooks:
        return Hooks(
            persistent_id=getattr(self, "persistent_id", None),
            reducer_override=getattr(self, "reducer_override", None),
            dispatch_table=getattr(self, "dispatch_table", None),
        )


class Unpickler:
    """Reads from a binary *file* what `Pickler` or pickle wrote, one object a call.

    Subclasses may define `persistent_load` and `find_class` as with
    `pickle.Unpickler`.
    """

    __module__ = "checkpoint"

    def __init__(
        self,
        file: Any,
        *,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Buffer] | None = None,
        migrations: Migrations = default_migrations,
        on_missing: OnMissing = "raise",
        schema: Schema = "warn",
        key: Given = USERS,
        trust: Trust = (),
        package: str | None = None,
        budget: int | None = None,
    ) -> None:
        self._file = file
        self._buffers = buffers
        self._plain = {"fix_imports": fix_imports, "encoding": encoding, "errors": errors}
        self._keys = keys(key)
        policy = policy_of(trust, package)
        self._terms = Terms(migrations, on_missing, schema, policy, budget)
        self._loading = Loading(self._terms)

    def load(self) -> Any:
        """The next object; EOFError where the file has no more.

        The position is after it then, except in a compressed plain pickle, of
        which the whole file is read.  IntegrityError if it is damaged,
        FormatError if it is neither a snapshot nor a pickle.
        """
        head = first_bytes(self._file)
        if not head:
            raise EOFError("no snapshot is left in this file")
        if head == _single_file.MAGIC:
            admit = partial(check_size, self._terms)
            found = _single_file.read_snapshot(self._file.read, keys=self._keys, admit=admit)
            return self._rebuilt(*found)
        if sum(map(operator.eq, head, _single_file.MAGIC)) > 4:
            raise IntegrityError("damaged in its first 8 bytes")
        if self._terms.policy is None:
            return self._unverified(_plain_pickle(head, self._file)[0])
        return self._verified(head)

    def _unverified(self, source: Any) -> Any:
        self._loading = Loading(self._terms, (), self.find_class, foreign=True)
        ask = getattr(self, "persistent_load", None)
        try:
            return self._loading.load_plain(
                source, self._buffers or (), persistent_load=ask, **self._plain
            )
        except SerializationError as error:
            if isinstance(error.__cause__, _BROKEN):
                raise FormatError(f"neither a snapshot nor a whole pickle: {error}") from error
            raise

    def _verified(self, head: bytes) -> Any:
        """A plain pickle as a stream of protocol 5, which is verified and loaded."""
        data, stored = self._pickle(head)
        options: Any = self._plain
        buffers = [*(self._buffers or ())]
        ask = getattr(self, "persistent_load", None)
        with strangers(self._terms, "foreign"):
            self._loading, stream = opened(
                self._terms,
                translated(data, **options, most=most_opcodes(self._terms, stored)),
                [memoryview(buffer).nbytes for buffer in buffers],
                stored,
                look_up=self.find_class,
                persistent=ask is not None,
            )
            return self._loading.load(stream, buffers, lambda: buffers, ask)

    def _pickle(self, head: bytes) -> tuple[bytes, int]:
        """The bytes of a plain pickle, out of its compression, and how many there were in that."""
        data, stored = _plain_pickle(head, self._file, partial(allowed, self._terms))
        if stored is None:
            data = read_pickle(self._file, head)
        return data, len(data) if stored is None else stored

    def find_class(self, module: str, name: str) -> Any:
        """The class or function `module.name` of today; MigrationError if it is gone."""
        return self._loading.find(module, name)

    def _rebuilt(self, manifest: Manifest, parts: Sequence[Buffer]) -> Any:
        buffers = parts[:-1] or [*(self._buffers or ())]
        ask = getattr(self, "persistent_load", None)
        with strangers(self._terms, manifest.provenance):
            self._loading, stream = opened_version(
                self._terms,
                manifest,
                parts[-1],
                look_up=self.find_class,
                persistent=ask is not None,
                buffers=buffers,
            )
            loading = self._loading
            loading.check()
            # Code of the program may change an array in place.
            kept = [bytes(buffer) for buffer in buffers] if loading.may_start_again else []
            root = loading.load(stream, buffers, lambda: map(bytearray, kept or buffers), ask)
        return loading.migrated(root, manifest.migrations)


def dump(
    obj: Any,
    file: Any,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: BufferCallback | None = None,
    codec: str = "zstd",
    key: Given = USERS,
) -> None:
    """Write *obj* to *file* as one single-file snapshot.

    *file* is a binary file, at whose position it is written, or a path, which
    is replaced atomically and durably.  *protocol* may be any that pickle
    takes; the stream inside is always of protocol 5, and *fix_imports*, which
    is for protocols below 3, changes nothing.  Buffers that *buffer_callback*
    takes are not in the snapshot, as with pickle.  It is signed with *key*, by
    default the user's, as `Checkpointer` says.
    """
    options: Any = {"buffer_callback": buffer_callback, "codec": codec, "key": key}
    if not isinstance(file, str | os.PathLike):
        Pickler(file, protocol, **options).dump(obj)
        return
    with replace_file(file) as target:
        Pickler(target, protocol, **options).dump(obj)


def dumps(
    obj: Any,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: BufferCallback | None = None,
    codec: str = "zstd",
    key: Given = USERS,
) -> bytes:
    """The single-file snapshot of *obj*, as `dump` writes it."""
    target = io.BytesIO()
    dump(obj, target, protocol, buffer_callback=buffer_callback, codec=codec, key=key)
    return target.getvalue()


def load(
    file: Any,
    *,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
    buffers: Iterable[Buffer] | None = None,
    migrations: Migrations = default_migrations,
    on_missing: OnMissing = "raise",
    schema: Schema = "warn",
    key: Given = USERS,
    trust: Trust = (),
    package: str | None = None,
    budget: int | None = None,
) -> Any:
    """The next object in *file*, a binary file or a path: of a snapshot or a plain pickle.

    *fix_imports*, *encoding* and *errors* are for plain pickles of Python 2;
    *buffers* for what was dumped with a `buffer_callback`; *migrations*,
    *on_missing* and *schema* are those of `Checkpointer`.  A plain pickle knows
    nothing of what its classes were: of the migrations it gets the renames.

    A snapshot that was signed with a *key* held here is own.  All else, every
    plain pickle too, is foreign: it is verified before anything of it is built,
    and given what *trust*, *package* and *budget* allow, as for `Checkpointer`.
    """
    options: Any = {"fix_imports": fix_imports, "encoding": encoding, "errors": errors}
    options |= {"migrations": migrations, "on_missing": on_missing, "schema": schema}
    options |= {"key": key, "trust": trust, "package": package, "budget": budget}
    if not isinstance(file, str | os.PathLike):
        return Unpickler(file, buffers=buffers, **options).load()
    with open(file, "rb") as source:
        try:
            return Unpickler(source, buffers=buffers, **options).load()
        except CheckpointError as error:
            error.args = (f"{os.fspath(file)}: {error}",)
            raise


def loads(
    data: Buffer,
    /,
    *,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
    buffers: Iterable[Buffer] | None = None,
    migrations: Migrations = default_migrations,
    on_missing: OnMissing = "raise",
    schema: Schema = "warn",
    key: Given = USERS,
    trust: Trust = (),
    package: str | None = None,
    budget: int | None = None,
) -> Any:
    """The object in *data*, as `load` reads it; bytes after it are ignored, as with pickle."""
    return load(
        io.BytesIO(data),
        fix_imports=fix_imports,
        encoding=encoding,
        errors=errors,
        buffers=buffers,
        migrations=migrations,
        on_missing=on_missing,
        schema=schema,
        key=key,
        trust=trust,
        package=package,
        budget=budget,
    )


def inspect(file: Any, *, key: Given = USERS) -> Outline:
    """The outline of the next object in *file*: types, keys, shapes, sizes; nothing is run.

    *file* is a binary file or a path, of a snapshot or a plain pickle, as for
    `load`.  The outline's `verdict` says what a load would: whose it is, by the
    *key* held here, which globals it names, what they could do, and whether it
    would be refused.  FormatError if it is neither, IntegrityError if it is damaged.
    """
    with _named(file):
        manifest, stream, buffers = _parts(file, keys(key))
        lengths = [memoryview(buffer).nbytes for buffer in buffers]
        outline = outlined(stream, lengths)
        own = manifest is not None and manifest.provenance == "own"
        stored = len(stream) if manifest is None else manifest.stored
        outline.judge = partial(verdict, stream, lengths, stored, own=own, plain=manifest is None)
        return outline


def raw(file: Any) -> Any:
    """The next object in *file* as plain records, for want of its classes; nothing is run.

    *file* is as for `inspect`, and the records are as `Checkpointer.raw` gives them.
    """
    with _named(file):
        manifest, stream, buffers = _parts(file)
        return raw_of(stream, None if manifest is None else buffers)


@contextmanager
def _named(file: Any) -> Iterator[None]:
    """Say in an error of ours which file it is about, if that is known."""
    try:
        yield
    except CheckpointError as error:
        if isinstance(file, str | os.PathLike):
            error.args = (f"{os.fspath(file)}: {error}",)
        raise


def _parts(file: Any, held: Keys | None = None) -> tuple[Manifest | None, Buffer, Sequence[Buffer]]:
    """The manifest in *file*, its stream and its buffers; of a plain pickle the stream alone."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as source:
            return _parts(source, held)
    head = first_bytes(file)
    if head == _single_file.MAGIC:
        manifest, parts = _single_file.read_snapshot(file.read, keys=held)
        return manifest, parts[-1], parts[:-1]
    if sum(map(operator.eq, head, _single_file.MAGIC)) > 4:
        raise IntegrityError("damaged in its first 8 bytes")
    source, _ = _plain_pickle(head, file, allowance)
    return None, source if isinstance(source, bytes) else source.read(), ()


def first_bytes(file: Any) -> bytes:
    """The first 8 bytes, fewer if there are no more."""
    head = b""
    while len(head) < len(_single_file.MAGIC):
        piece = file.read(len(_single_file.MAGIC) - len(head))
        if not piece:
            break
        head += piece
    return head


def _plain_pickle(
    head: bytes, file: Any, limit: Callable[[int], int] | None = None
) -> tuple[Any, int | None]:
    """The pickle in a file that begins with *head*, and the size of the compression it was in.

    Without one it is the file itself, from *head* on, and None.
    """
    source = _Resumed(head, file)
    if not _compressed.is_compressed(head):
        return source, None
    packed = source.read()
    return _compressed.plain(packed, None if limit is None else limit(len(packed))), len(packed)


class _Resumed:
    """A file whose first bytes were read already."""

    def __init__(self, head: bytes, file: Any) -> None:
        self.protocol = protocol(head)
        self._head = io.BytesIO(head)
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """The next *size* bytes, fewer only at the end."""
        first = self._head.read(size)
        if len(first) == size:
            return first
        rest = self._file.read(size - len(first) if size >= 0 else -1)
        return first + bytes(rest)

    def readline(self) -> bytes:
        """The next line."""
        first = self._head.readline()
        if first.endswith(b"\n"):
            return first
        return first + bytes(self._file.readline())
