"""What is fuzzed: each target takes any bytes, and raises nothing but our errors.

A target that raises anything else, or takes too long, has found something.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

import checkpoint
from checkpoint import CheckpointError, Migrations
from checkpoint._classes import of_gone
from checkpoint._codec import decode
from checkpoint._compressed import plain
from checkpoint._foreign import opened, strangers
from checkpoint._format import (
    check_places,
    check_table,
    decode_manifest,
    decode_rows,
    encode_rows,
    snapshot_of,
)
from checkpoint._grants import Grant
from checkpoint._model import digest
from checkpoint._one_pickle import read_pickle
from checkpoint._single_file import MAGIC
from checkpoint._translating import legible, translated, translated_prefix
from checkpoint._trust import Policy
from checkpoint._upgrading import OnMissing, Terms
from checkpoint._verifying import verify

Target = Callable[[bytes], None]

PACKAGE = "ordinary"  # whose classes the streams may have
CODECS = ("none", "zstd", "gzip", "lzma", "zstd", "zstd")
BASE = bytes(range(256)) * 20
LIMIT = 256 << 20  # bytes that a load may take
_BUFFERS = 16
_LONGEST = 1 << 20  # bytes of a buffer
_PLAIN = 1 << 22  # bytes that a compressed file may give


def packed(stream: bytes, lengths: Sequence[int] = ()) -> bytes:
    """A stream and the lengths of the buffers beside it, as one input."""
    return struct.pack(f"<B{len(lengths)}I", len(lengths), *lengths) + stream


def unpacked(data: bytes) -> tuple[bytes, list[int]]:
    """The stream and the lengths that an input stands for, whatever it is."""
    count = min(data[0] % (_BUFFERS + 1), (len(data) - 1) // 4) if data else 0
    lengths = struct.unpack_from(f"<{count}I", data, 1) if count else ()
    return data[1 + 4 * count :], [length % _LONGEST for length in lengths]


def leniently(module: str, qualname: str) -> Grant:
    """The grant of a global; what is refused is taken for a class that is gone, as by `inspect`."""
    try:
        return Policy([PACKAGE]).grant(module, qualname)
    except CheckpointError:
        return of_gone(f"{module}:{qualname}")


def verifier(data: bytes) -> None:
    """A stream on its way through the abstract machine, with what is refused and without it."""
    stream, lengths = unpacked(data)
    with suppress(CheckpointError):
        verify(stream, lengths, leniently, LIMIT, persistent=True)
    found = verify(stream, lengths, Policy([PACKAGE]).grant, LIMIT, keep=True)
    assert found.depth >= 0
    assert len(found.stream(stream)) == len(stream)


def stream(data: bytes) -> None:
    """A stream that is verified, built, saved again and dropped."""
    _loaded(data, "raise")


def gone(data: bytes) -> None:
    """The same, where classes that are gone are stood for."""
    _loaded(data, "stand-in")


def _loaded(data: bytes, on_missing: OnMissing) -> None:
    stream, lengths = unpacked(data)
    buffers = [bytearray(length) for length in lengths]
    # It remembers nothing that was verified before.
    terms = Terms(Migrations(), on_missing, "off", Policy([PACKAGE]))
    with strangers(terms, "foreign"):
        loading, verified = opened(terms, stream, lengths, len(stream))
        root = loading.load(verified, buffers, lambda: [*map(bytearray, lengths)])
    with suppress(CheckpointError):
        checkpoint.dumps(root, key=None)


def plain_pickle(data: bytes) -> None:
    """A file of any kind, loaded by its first bytes; one without any has no object."""
    if not data:
        return
    root = checkpoint.loads(data, key=None, package=PACKAGE)
    with suppress(CheckpointError):
        checkpoint.dumps(root, key=None)


def single_file(data: bytes) -> None:
    """A single file as it is, and with its digest put right."""
    if not data:
        return
    with suppress(CheckpointError):
        checkpoint.loads(data, package=PACKAGE)
    file = resealed(data)
    with suppress(CheckpointError):
        str(checkpoint.inspect(io.BytesIO(file)))
    checkpoint.loads(file, package=PACKAGE)


def looked_at(data: bytes) -> None:
    """The outline of a stream with its verdict, and the text of both."""
    if not data:
        return
    outline = checkpoint.inspect(io.BytesIO(data))
    str(outline), repr(outline), str(outline.verdict)


def manifest(data: bytes) -> None:
    """A document as it is, and with its digest put right; then all that is asked of it."""
    with suppress(CheckpointError):
        decode_manifest(data, "it")
    found = decode_manifest(sealed(data), "it")
    if found.name is not None and found.version is not None:
        str(snapshot_of(found))
    with suppress(CheckpointError):
        check_places(found, found.blobs)
    check_table(found, found.blobs)


def rows(data: bytes) -> None:
    """A list of rows out of a pack."""
    found = decode_rows(data)
    assert decode_rows(encode_rows(found)) == found


def codec(data: bytes) -> None:
    """Stored bytes that a codec decodes, alone or as a delta; the length is the input's, too."""
    which, length = data[0] % len(CODECS) if data else 0, int.from_bytes(data[1:4], "little")
    base = BASE if which >= 4 else None
    found = decode(CODECS[which], data[4:], length, base, "blocks" if which == 5 else None)
    assert len(found) == length


def compressed(data: bytes) -> None:
    """A compressed file as people have them."""
    assert len(plain(data, _PLAIN)) <= _PLAIN


def pickles(data: bytes) -> None:
    """One pickle by each of its readers: they agree on where it ends, and what is translated holds.

    What is legible is looked at only, so it may be more than what is loaded.
    """
    with suppress(CheckpointError):
        legible(data)
    new, size = translated_prefix(data)
    assert read_pickle(io.BytesIO(data)) == data[:size]
    assert translated(data[:size]) == new == translated(new)
    verify(new, [], Policy([PACKAGE]).grant, LIMIT)


def sealed(body: bytes) -> bytes:
    """A document with these bytes before its digest."""
    body = body if body.endswith(b"\n") else body + b"\n"
    return body + f"blake3:{digest(body)}\nmac:none\n".encode()


def resealed(file: bytes) -> bytes:
    """A single file whose last record, the manifest, gets the length and the digest it should have.

    It begins as one, too, so that all of the rest is read.
    """
    body, mark, _ = (MAGIC + file[len(MAGIC) :]).rpartition(b"\nblake3:")
    at = body.rfind(b'{\n"format"')
    if not mark or at < 9:
        return file
    document = sealed(body[at:])
    return body[: at - 9] + b"M" + len(document).to_bytes(8, "little") + document


TARGETS: dict[str, Target] = {
    "verifier": verifier,
    "stream": stream,
    "gone": gone,
    "pickle": plain_pickle,
    "file": single_file,
    "inspect": looked_at,
    "manifest": manifest,
    "rows": rows,
    "codec": codec,
    "compressed": compressed,
    "pickles": pickles,
}
