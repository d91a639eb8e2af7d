"""Calls of the rebuilding of SciPy's arrays that no save of ours makes; each must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from hostile_pandas import Array, Pair, Text, e, lies, records

from checkpoint.errors import UnsafeError
from checkpoint.rebuild import scipy as r

i, d = np.array([0, 1]), np.array([1.0, 2.0])
p, big = np.array([0, 1, 2]), np.array([0, 2**40])
S, N = (2, 2), "csr_array"
swapped = i.astype(">i4")
calls: list[Any] = [
    (r.compressed, a)
    for a in [
        (),
        (N,),
        (e, S, d, i, p),
        (N, e, d, i, p),
        (N, S, e, i, p),
        (N, S, d, e, p),
        (N, S, d, i, e),
        (Text(N), S, d, i, p),
        (N, Pair(S), d, i, p),
        (N, S, d.view(Array), i, p),
        (N, S, d, i.view(Array), p),
        (N, S, d, i, p.view(Array)),
        ("coo_array", S, d, i, p),
        ("csr", S, d, i, p),
        ("csr_", S, d, i, p),
        ("csr_array.__init__", S, d, i, p),
        ("", S, d, i, p),
        ("linalg_array", S, d, i, p),
        (N, (2,), d, i, p),
        (N, (2, 2, 2), d, i, p),
        (N, (), d, i, p),
        (N, (2, -1), d, i, p),
        (N, (2.0, 2), d, i, p),
        (N, (True, 2), d, i, p),
        (N, [2, 2], d, i, p),
        (N, (2**70, 2), d, i, p),
        (N, (3, 2), d, i, p),
        (N, (2, 1), d, i, p),
        (N, (0, 2), d, i, p),
        (N, S, d[:1], i, p),
        (N, S, d, i[:1], p),
        (N, S, d, i, p[:2]),
        (N, S, d, i, p[::-1]),
        (N, S, d, -i, p),
        (N, S, d, i + 1, p),
        (N, S, d, big, p),
        (N, S, d, i, np.array([0, 2**40, 2])),
        (N, S, d, i, np.array([0, -5, 2])),
        (N, S, d, i, np.array([0, 2, 1])),
        (N, S, d, i, p[:0]),
        (N, S, d, i, np.array([1, 1, 2])),
        (N, S, d, i.astype("u8"), p),
        (N, S, d, i.astype("i1"), p),
        (N, S, d, i.astype("i4"), p),
        (N, S, d, i * 1.0, p),
        (N, S, d, swapped, p.astype("i4")),
        (N, S, d.astype(object), i, p),
        (N, S, records, i, p),
        (N, S, lies, i, p),
        (N, S, "dd", i, p),
        (N, S, d.astype("U"), i, p),
        (N, S, d.astype("M8[s]"), i, p),
        (N, S, d.astype(">f8"), i, p),
        (N, S, d[None], i, p),
        (N, S, d, i[None], p),
        (N, S, d[0], i, p),
        (N, S, bytearray(16), i, p),
        ("bsr_array", S, d, i, p),
        ("bsr_array", S, np.ones((2, 0, 1)), i, p),
        ("bsr_array", S, np.ones((2, 3, 1)), i, p),
        ("bsr_array", (4, 2), np.ones((2, 2, 2)), i, p),
        ("lil_array", (2, 1), d, i, p),
        (N, (3, 2), d, i, np.array([0, 2, 1, 2])),
        ("lil_array", (3, 2), d, i, np.array([0, 2, 1, 2])),
        ("csc_array", (1, 2), d, i, p),
        ("lil_array", (2,), e, i, p),
    ]
]
C = (i, i)
calls += [
    (r.coordinates, a)
    for a in [
        (),
        ("coo_array", S, d),
        ("csr_array", S, d, C),
        ("coo_array", S, d, (i,)),
        (N, S, d, C),
        ("coo_array", S, d, [i, i]),
        ("coo_array", S, d, (i, i + 1)),
        ("coo_array", S, d, (i, -i)),
        ("coo_array", S, d, (i, e)),
        ("coo_array", S, e, C),
        ("coo_array", S, d, (i, p)),
        ("coo_array", S, d[:1], C),
        ("coo_array", (1,) * 40, d, (i,) * 40),
        ("coo_array", (), d, ()),
        ("coo_array", S, d, (i, i.astype("i4"))),
        ("dok_array", S, d, (i, i + 1)),
        (e, e, e, e),
        ("dok_array", (2, 2, 2), d, (i, i, i)),
        ("coo_matrix", (2, 2, 2), d, (i, i, i)),
    ]
]
D = np.ones((2, 2))
calls += [
    (r.diagonals, a)
    for a in [
        (),
        ("dia_array", S, D),
        ("dia_array", S, d, i),
        ("dia_array", S, D, i * 0),
        ("dia_array", S, D, i + 2),
        ("dia_array", S, D, i - 4),
        ("dia_array", S, D, big),
        ("dia_array", (2,), D, i),
        ("dia_array", S, D, p),
        ("dia_array", S, e, i),
        (e, S, D, i),
        ("dia_array", S, D, e),
        ("dia_array", S, D, -big),
        ("dia_array", S, D, i * 1.0),
    ]
]
refused = 0
for number, (function, args) in enumerate(calls):
    try:
        made = function(*args)
    except UnsafeError:
        refused += 1
    else:
        print("NOT REFUSED", number, function.__name__)
print(refused, "refused of", len(calls))
