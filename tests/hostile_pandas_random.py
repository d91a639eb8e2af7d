"""Random calls of the rebuilding of pandas' objects, and a look at what it made."""

from __future__ import annotations

import contextlib
import random
import sys
from typing import Any

import pandas as pd
from hostile_pandas import arrays, evils, made, plain

from checkpoint.errors import UnsafeError
from checkpoint.rebuild import pandas as r

rng = random.Random(int(sys.argv[1]))
pool = plain + evils + arrays + made
functions = [getattr(r, name) for name in r.__all__]


def use(result: Any) -> None:
    str(result)
    repr(result)
    if isinstance(result, (pd.DataFrame, pd.Series, pd.Index)) and len(result) < 1000:
        result[:1].isna().copy()


def nested(depth: int = 2) -> Any:
    choice = rng.random()
    if depth and choice < 0.25:
        return [nested(depth - 1) for _ in range(rng.randrange(4))]
    if depth and choice < 0.4:
        return tuple(nested(depth - 1) for _ in range(rng.randrange(4)))
    return rng.choice(pool)


built = 0
for _ in range(20_000):
    function = rng.choice(functions)
    args = [nested() for _ in range(function.__wrapped__.__code__.co_argcount)]
    try:
        result = function(*args)
    except (UnsafeError, MemoryError):
        continue
    built += 1
    # The program may look into what it was given; the rebuilding did not.
    with contextlib.suppress(Exception, SystemExit):
        use(result)
print("built", built)
