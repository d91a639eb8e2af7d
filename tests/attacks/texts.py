"""Chains of codecs, and texts that become something else."""

from __future__ import annotations

import zlib

from attacks.attack import Route
from attacks.streams import call, old, push, stream

CODECS = Route("codecs chains")


def _chain(codec: str, times: int, first: object = b"a" * 64) -> bytes:
    value = push(first)
    for _ in range(times):
        value = call("_codecs:encode", value, codec)
    return stream(value)


CODECS.add("hex upon hex, to a gigabyte", lambda: _chain("hex", 24), works=True)
CODECS.add("hex upon hex by codecs.encode", lambda: stream(call("codecs:encode", b"ab", "hex")))
CODECS.add("uu upon uu", lambda: _chain("uu", 40))
CODECS.add("quopri upon quopri", lambda: _chain("quopri", 8))
CODECS.add(
    "punycode of 20,000 letters",
    lambda: stream(
        call("_codecs:encode", "é" * 2 + "".join(map(chr, range(0x100, 0x4F00))), "punycode")
    ),
)
CODECS.add(
    "a zlib bomb by a codec",
    lambda: stream(call("_codecs:decode", _zeros(1 << 30), "zlib")),
    works=True,
)
CODECS.add("a bz2 bomb by a codec", lambda: stream(call("_codecs:decode", b"BZh9", "bz2")))
CODECS.add("a codec imports a module by its name", stream(call("_codecs:lookup", "bystander")))
CODECS.add("an unknown codec is sought", stream(call("_codecs:encode", "a", "no_such_codec")))
CODECS.add("idna of a long text", lambda: stream(call("_codecs:encode", "a." * 30_000, "idna")))
CODECS.add("unicode_escape", stream(call("_codecs:encode", "\\u0041" * 10, "unicode_escape")))
CODECS.add("latin1 of a text that is none", stream(call("_codecs:encode", "\u20ac", "latin1")))
CODECS.add("latin1 of bytes", stream(call("_codecs:encode", b"a", "latin1")))
CODECS.add("latin1 with an error handler", stream(call("_codecs:encode", "a", "latin1", "ignore")))
CODECS.add("latin1 in another case", stream(call("_codecs:encode", "a", "LATIN-1")), harmless=True)
CODECS.add("rot13", stream(call("_codecs:encode", "a", "rot13")))
CODECS.add("utf-7", stream(call("_codecs:encode", "a", "utf-7")))
CODECS.add("a chain of latin1", lambda: _chain("latin1", 3))
CODECS.add(
    "Python 2's bytes by latin1 of a surrogate", old(b"c_codecs\nencode\n(V\\ud800\nVlatin1\ntR")
)
CODECS.add("bytes by an escape that reads beyond", stream(call("_codecs:escape_decode", b"\\")))


def _zeros(count: int) -> bytes:
    """Zeros, packed by zlib: a megabyte of them, again and again."""
    packer = zlib.compressobj(9)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block[:2] + block[2:] * (count >> 20) + b"\3\0" + zlib.adler32(b"").to_bytes(4, "big")
