"""FRAMEs that two parsers read in two ways, and codes of copyreg's extension registry."""

from __future__ import annotations

import copyreg
import struct

from attacks.attack import Route
from attacks.calls import FIRE
from attacks.streams import call, frame, named, push, stream

FRAMES = Route("FRAME divergence")
_P = b"\x80\x05"
_CALL = bytes(call(FIRE))

# What lies behind the end of a frame is read from the file again: the frame below claims a part of
# a long argument, so that one parser sees bytes in it and the other opcodes.
_HIDDEN = _CALL + b"."
FRAMES.add(
    "a frame ends within the argument of bytes, which hides a call",
    _P + frame(b"N0B" + struct.pack("<I", len(_HIDDEN)), 8) + _HIDDEN,
)
FRAMES.add(
    "a frame ends within a line of text, which hides a call",
    _P + b"N0" + b"V" + frame(b"1", 0)[:1] + b"\n0" + _CALL + b".",
    works=True,
)
FRAMES.add(
    "a frame begins inside of a line, for the reader that looks for frames only at opcodes",
    _P + b"V" + frame(b"x\n0", 3) + _CALL + b".",
)
FRAMES.add(
    "what is left of a frame is dropped when the next line is read, and hides a call",
    _P
    + b"N"
    + frame(b"V", 1)
    + b"abc\n0("
    + frame(b"B" + struct.pack("<I", 4), 5)
    + b"abcd1"
    + _CALL
    + b".",
)
FRAMES.add("a frame longer than the file", _P + frame(_CALL + b".", 10**6), works=False)
FRAMES.add("a frame longer than memory", _P + frame(b"N.", 2**40))
FRAMES.add("a frame longer than an index", _P + frame(b"N.", 2**63))
FRAMES.add("a frame of the greatest length", _P + frame(b"N.", 2**64 - 1))
FRAMES.add("a frame that ends within an opcode", _P + frame(b"J\x01\x02", 3) + b"\x03\x04.")
FRAMES.add("a frame that ends within a text", _P + frame(b"\x8c\x04ab", 4) + b"cd.")
FRAMES.add("a frame within a frame", _P + frame(frame(b"N") + b"."))
FRAMES.add("a frame that ends within another", _P + frame(b"N" + frame(b"0N", 2)[:9] + b"0N."))
FRAMES.add("a frame of nothing", _P + frame(b"") + b"N.", harmless=True)
FRAMES.add("a thousand frames of nothing", _P + frame(b"") * 1000 + b"N.", harmless=True)
FRAMES.add("100,000 frames of nothing", lambda: _P + frame(b"") * 100_000 + b"N.", harmless=True)
FRAMES.add("a frame that goes on behind STOP", _P + frame(b"N.abcdef"), harmless=True)
FRAMES.add("a frame in protocol 2", b"\x80\x02" + frame(_CALL + b"."), works=True)
FRAMES.add("a frame before PROTO", frame(_P + _CALL + b"."), works=True)
FRAMES.add("a frame without its length", _P + b"\x95\x01")
FRAMES.add("a frame across NEXT_BUFFER", _P + frame(b"\x97") + b".")
FRAMES.add(
    "a frame in the middle of a tuple, with a call in it",
    _P + b"(" + frame(_CALL) + b"t.",
    works=True,
)

EXT = Route("EXT codes")


def _poisoned(opcode: bytes, code: int, path: str = FIRE, *, cached: bool = True) -> bytes:
    """A stream that recalls a code which somebody has registered, and whose value is cached."""
    module, _, qualname = path.partition(":")
    copyreg.add_extension(module, qualname, code)
    if cached:
        import importlib

        found = getattr(importlib.import_module(module), qualname)
        copyreg._extension_cache[code] = found  # type: ignore[attr-defined]
    return _P + opcode + b")R."


for _name, _op, _code in (
    ("EXT1", b"\x82\x4d", 0x4D),
    ("EXT2", b"\x83\x4d\x02", 0x24D),
    ("EXT4", b"\x84\x4d\x02\x01\x00", 0x1024D),
):
    EXT.add(
        f"{_name} of a code that is cached, which asks nobody",
        lambda o=_op, c=_code: _poisoned(o, c),
        works=True,
        made_apart=True,
    )
    EXT.add(
        f"{_name} of a code that is registered and not cached",
        lambda o=_op, c=_code: _poisoned(o, c, cached=False),
        works=True,
        made_apart=True,
    )
    EXT.add(f"{_name} of a code that nobody registered", _P + _op + b".")
EXT.add("EXT1 of zero", _P + b"\x82\x00.")
EXT.add("EXT4 of a code below zero", _P + b"\x84\xff\xff\xff\xff.")
EXT.add(
    "EXT1 of a harmless class that is cached",
    lambda: _poisoned(b"\x82\x4e", 0x4E, "collections:OrderedDict"),
    made_apart=True,
)
EXT.add(
    "the registry of EXT codes is pushed and filled",
    _P + named("copyreg:_extension_registry") + push("a") + push(1) + b"s.",
    works=True,
)
EXT.add(
    "the cache of EXT codes is pushed and filled",
    _P + named("copyreg:_extension_cache") + push(1) + named(FIRE) + b"s.",
    works=True,
)
EXT.add(
    "a code is registered by a call and used at once",
    stream(call("copyreg:add_extension", "prey.canary", "fire", 99)),
    works=True,
)
