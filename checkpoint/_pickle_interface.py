"""pickle's own interface, on single-file snapshots.

`dump`, `dumps`, `load`, `loads`, `Pickler` and `Unpickler` take what pickle's
take.  `load` also reads what people already have: plain pickles of any
protocol, bare or inside gzip, xz, lzma or zstd, told apart by their content.
"""

from __future__ import annotations

import gzip
import io
import lzma
import operator
import os
import pickle
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import zstandard

from checkpoint import _single_file
from checkpoint._codec import parse_codec
from checkpoint._members import libraries, stamp
from checkpoint._model import Buffer, Global, Manifest
from checkpoint._pickling import BufferCallback, Hooks, pickle_into
from checkpoint._stream import StreamCutter
from checkpoint._unpickling import find_global, protocol, unpickle
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
    ) -> None:
        if protocol is not None and not protocol <= pickle.HIGHEST_PROTOCOL:
            raise ValueError(f"pickle protocol must be <= {pickle.HIGHEST_PROTOCOL}")
        self._write: Callable[[Any], object] = file.write
        self._callback = buffer_callback
        self._codec = parse_codec(codec)

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
            known = {"libraries": libraries(pickled.globals), "types": pickled.globals}
            manifest = Manifest(**known, **stamp())  # type: ignore[arg-type]
            _single_file.write_snapshot(
                self._write, manifest, pickled.buffers, stream, encoder, workers
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
    ) -> None:
        self._file = file
        self._buffers = buffers
        self._plain = {"fix_imports": fix_imports, "encoding": encoding, "errors": errors}
        self._origin: str | None = None

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
            manifest, parts = _single_file.read_snapshot(self._file.read)
            self._origin = origin_of(manifest.types)
            return self._unpickle(parts[-1], parts[:-1] or self._buffers or ())
        if sum(map(operator.eq, head, _single_file.MAGIC)) > 4:
            raise IntegrityError("damaged in its first 8 bytes")
        source = _plain_pickle(head, self._file)
        try:
            return self._unpickle(source, self._buffers or (), **self._plain)
        except SerializationError as error:
            if isinstance(error.__cause__, _BROKEN):
                raise FormatError(f"neither a snapshot nor a whole pickle: {error}") from error
            raise

    def find_class(self, module: str, name: str) -> Any:
        """The class or function `module.name`; MigrationError if it is gone."""
        return find_global(module, name, self._origin)

    def _unpickle(self, source: Any, buffers: Iterable[Buffer], **plain: Any) -> Any:
        return unpickle(
            source,
            buffers,
            resolve=self.find_class,
            persistent_load=getattr(self, "persistent_load", None),
            **plain,
        )


def dump(
    obj: Any,
    file: Any,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: BufferCallback | None = None,
    codec: str = "zstd",
) -> None:
    """Write *obj* to *file* as one single-file snapshot.

    *file* is a binary file, at whose position it is written, or a path, which
    is replaced atomically and durably.  *protocol* may be any that pickle
    takes; the stream inside is always of protocol 5, and *fix_imports*, which
    is for protocols below 3, changes nothing.  Buffers that *buffer_callback*
    takes are not in the snapshot, as with pickle.
    """
    options: Any = {"buffer_callback": buffer_callback, "codec": codec}
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
) -> bytes:
    """The single-file snapshot of *obj*, as `dump` writes it."""
    target = io.BytesIO()
    Pickler(target, protocol, buffer_callback=buffer_callback, codec=codec).dump(obj)
    return target.getvalue()


def load(
    file: Any,
    *,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
    buffers: Iterable[Buffer] | None = None,
) -> Any:
    """The next object in *file*, a binary file or a path: of a snapshot or a plain pickle.

    *fix_imports*, *encoding* and *errors* are for plain pickles of Python 2;
    *buffers* for what was dumped with a `buffer_callback`.  Runs the code that
    the file names: load only what you trust.
    """
    options: Any = {"fix_imports": fix_imports, "encoding": encoding, "errors": errors}
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
) -> Any:
    """The object in *data*, as `load` reads it; bytes after it are ignored, as with pickle."""
    return load(
        io.BytesIO(data),
        fix_imports=fix_imports,
        encoding=encoding,
        errors=errors,
        buffers=buffers,
    )


def origin_of(types: Iterable[Global]) -> str | None:
    """What `__main__` was in the program that saved these types."""
    return next((entry.origin for entry in types if entry.origin), None)


def first_bytes(file: Any) -> bytes:
    """The first 8 bytes, fewer if there are no more."""
    head = b""
    while len(head) < len(_single_file.MAGIC):
        piece = file.read(len(_single_file.MAGIC) - len(head))
        if not piece:
            break
        head += piece
    return head


def _plain_pickle(head: bytes, file: Any) -> Any:
    """The pickle in a file that begins with *head*, out of its compression if it is in one."""
    source = _Resumed(head, file)
    try:
        if head.startswith(b"\x1f\x8b"):
            return gzip.decompress(source.read())
        if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
            return lzma.decompress(source.read())
        if head.startswith(b"\x28\xb5\x2f\xfd"):
            decoder = zstandard.ZstdDecompressor()
            return decoder.stream_reader(source.read(), read_across_frames=True).read()
    except (*_BROKEN, gzip.BadGzipFile) as error:
        raise FormatError(f"a damaged or truncated compressed file: {error}") from error
    return source


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
