"""A pickle that needs no translation but for its frames, as nearly all do since protocol 4."""

from __future__ import annotations

import pickle

from checkpoint._model import Buffer
from checkpoint._spans import PROTO, WIDTHS, run_end

_LIKE_OURS = (b"\x80\x04", b"\x80\x05")
_FRAME, _STOP, _LONG4 = pickle.FRAME[0], pickle.STOP[0], pickle.LONG4[0]


def unframed(data: Buffer) -> tuple[bytes, int] | None:
    """A pickle of protocol 5 that says what *data* begins with, and the size of that; or None.

    None if more must be left out than frames, or if *data* is no whole pickle.
    What takes what is not there is left as it is: whoever reads the pickle finds that.
    """
    if bytes(data[:2]) not in _LIKE_OURS:
        return None
    found, start, at, limit, framed = [PROTO], 2, 2, len(data), False
    while True:
        at = run_end(data, at, limit)
        if at == limit and framed:
            limit, framed = len(data), False
            continue
        op = data[at] if at < limit else 0
        if op == _FRAME and not framed:
            found.append(data[start:at])
            start = at = at + 9
            limit, framed = at + int.from_bytes(data[at - 8 : at], "little"), True
            if limit > len(data):
                return None
        elif op == _STOP and (not framed or at + 1 == limit):
            found.append(data[start : at + 1])
            return b"".join(found), at + 1
        elif (width := WIDTHS[op]) and op != _LONG4:  # It is bounded by the translation.
            at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "little")
            if at > limit:
                return None
        else:
            return None
