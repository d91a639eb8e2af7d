"""What mutation begins with: real streams, files and documents, good ones and hostile ones."""

from __future__ import annotations

import gzip
import io
import lzma
import pickle
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import zstandard

sys.path.append(str(Path(__file__).parents[1] / "attacks"))

from attacks.attack import SCENARIO, STORE, Parts
from attacks.catalogue import ATTACKS
from fuzz.targets import BASE, CODECS, packed
from ordinary.values import VALUES

import checkpoint
from checkpoint._codec import encode_delta, parse_codec
from checkpoint._format import encode_rows
from checkpoint._single_file import MAGIC, read_snapshot

LARGEST = 64 << 10
Stream = tuple[bytes, tuple[int, ...]]

_EVERY = 5  # of the attacks one in so many is a seed


def values(*, libraries: bool = False) -> Iterator[Any]:
    """The ordinary values; those of other libraries than NumPy only if they are asked for."""
    for value in VALUES:
        if not value.needs:
            yield value.make()
        elif libraries:
            with suppress(ImportError):
                yield value.make()


@cache
def ordinary(*, libraries: bool = False) -> tuple[Stream, ...]:
    """Streams as our own pickler writes them, with the lengths of their buffers."""
    found: dict[bytes, tuple[int, ...]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in values(libraries=libraries):
            for apart in (False, True):
                buffers: list[memoryview] = []
                taken: Any = (lambda b: buffers.append(b.raw())) if apart else None  # noqa: B023
                with suppress(BufferError):
                    file = io.BytesIO(checkpoint.dumps(value, key=None, buffer_callback=taken))
                    file.seek(len(MAGIC))
                    parts = read_snapshot(file.read)[1]
                    inside = parts[:-1] or buffers
                    lengths = tuple(memoryview(part).nbytes for part in inside)
                    if len(parts[-1]) <= LARGEST and sum(lengths) <= LARGEST:
                        found[bytes(parts[-1])] = lengths
    return tuple(found.items())


@cache
def hostile() -> tuple[Stream, ...]:
    """Streams of the attacks: a few of each route."""
    found = []
    for attack in ATTACKS[::_EVERY]:
        if attack.made_apart or attack.doors in (STORE, SCENARIO) or "bomb" in attack.route:
            continue
        made = attack.make()
        parts = made if isinstance(made, Parts) else Parts(made if isinstance(made, bytes) else b"")
        if parts.stream and len(parts.stream) <= LARGEST:
            found.append((parts.stream, tuple(map(len, parts.buffers))))
    return tuple(found)


def _streams(libraries: bool) -> Iterator[bytes]:
    yield from (packed(*one) for one in (*ordinary(libraries=libraries), *hostile()))


def _gone(libraries: bool) -> Iterator[bytes]:
    """Streams whose first class of the program is there no more."""
    for stream, lengths in ordinary(libraries=libraries):
        before, module, after = stream.partition(b"\x8c\x0fordinary.shapes\x94\x8c")
        if module:
            yield packed(before + module + after[:1] + b"X" + after[2:], lengths)
    yield from _streams(libraries)


def _pickles(libraries: bool) -> Iterator[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, value in enumerate(values(libraries=libraries)):
            for protocol in (number % 6, 5):
                with suppress(TypeError, ValueError, RecursionError, pickle.PicklingError):
                    data = pickle.dumps(value, protocol)
                    if len(data) <= LARGEST:
                        yield data
    yield from (stream for stream, lengths in hostile() if not lengths)


def _small(libraries: bool) -> Iterator[bytes]:
    return islice((data for data in _pickles(libraries) if len(data) < 2_000), 0, None, 4)


def _files(libraries: bool) -> Iterator[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [*values(libraries=libraries)]
    for number, value in enumerate(made[::7]):
        codec = ("zstd", "none", "gzip", "lzma")[number % 4]
        with suppress(checkpoint.SerializationError):
            data = checkpoint.dumps(value, key=None, codec=codec)
            if len(data) <= LARGEST:
                yield data
    yield checkpoint.dumps([bytes(range(256)) * 400, list(range(20_000))], key=None)


def _documents(libraries: bool) -> Iterator[bytes]:
    for file in _files(libraries):
        yield file[file.rindex(b'{\n"format"') : file.rindex(b"blake3:")]


def _rows(libraries: bool) -> Iterator[bytes]:
    for file in _files(libraries):
        source = io.BytesIO(file)
        source.seek(len(MAGIC))
        yield encode_rows(read_snapshot(source.read)[0].blobs)


def _texts() -> list[bytes]:
    return [b"", b"a", b"text " * 300, bytes(5000), BASE, BASE[:2000] + b"!" + BASE[2001:]]


def _stored(libraries: bool) -> Iterator[bytes]:
    for text in _texts():
        for which, name in enumerate(CODECS):
            if which < 4:
                stored = bytes(parse_codec(name).encode(text)[1])
            else:
                stored = encode_delta(text, BASE)[1]
            yield bytes([which]) + len(text).to_bytes(3, "little") + stored


def _compressed(libraries: bool) -> Iterator[bytes]:
    for text in _texts():
        zipped = [
            gzip.compress(text, mtime=0),
            lzma.compress(text),
            lzma.compress(text, format=lzma.FORMAT_ALONE),
            zstandard.compress(text),
            zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(text),
        ]
        yield from zipped
        yield from (one + one for one in zipped)


SEEDS = {
    "verifier": _streams,
    "stream": _streams,
    "gone": _gone,
    "pickle": _pickles,
    "file": _files,
    "inspect": _small,
    "manifest": _documents,
    "rows": _rows,
    "codec": _stored,
    "compressed": _compressed,
    "pickles": _pickles,
}


@cache
def seeds(target: str, *, libraries: bool = False) -> tuple[bytes, ...]:
    """The inputs that mutations of *target* begin with, none twice."""
    return tuple(dict.fromkeys(SEEDS[target](libraries)))
