"""How opcodes of a pickle are matched by a regular expression, without a step outside."""

from __future__ import annotations

import re


def short(opcodes: bytes) -> bytes:
    """What matches one of *opcodes*, whose payload has its length in one byte before it.

    There is one alternative for each length: `re` does not read numbers.
    """
    ends = [re.escape(bytes([length])) + b".{%d}" % length for length in range(256)]
    return b"[%b](?:%b)" % (re.escape(opcodes), b"|".join(ends))
