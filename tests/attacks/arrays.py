"""The loaders of NumPy, pandas and torch: forged dtypes, pointers, and shapes that lie."""

from __future__ import annotations

import struct
from typing import Any

from attacks.attack import Parts, Route
from attacks.calls import FIRE
from attacks.streams import (
    MEMOIZE,
    Op,
    built,
    call,
    got,
    joined,
    named,
    new,
    push,
    slots,
    stream,
    then,
)

ARRAYS = Route("NumPy, pandas and torch")
fire = named(FIRE)
_FROM = "numpy._core.numeric:_frombuffer"
_RECONSTRUCT = "numpy._core.multiarray:_reconstruct"
_SCALAR = "numpy._core.multiarray:scalar"
_NDARRAY = named("numpy:ndarray")


def dtype(code: Any, *state: Any) -> Op:
    """A dtype by its code, with a state if one is given."""
    made = call("numpy:dtype", code, False, True)
    return built(made, state) if state else made


def plain(code: str = "f8") -> Op:
    """An honest dtype."""
    return dtype(code, 3, "<", None, None, None, -1, -1, 0)


def record(names: Any, fields: Any, size: int, align: int = 1, flags: int = 16) -> Op:
    """A structured dtype, as it says of itself."""
    return dtype(f"V{max(size, 0)}", 3, "|", None, names, fields, size, align, flags)


def array(kind: Op, shape: Any, data: Any, *, fortran: Any = False, of: Op = _NDARRAY) -> Op:
    """An array by numpy's own reconstructor."""
    return built(call(_RECONSTRUCT, of, (0,), b"b"), (1, shape, kind, fortran, data))


def buffered(kind: Op, shape: Any, data: Any, *order: Any) -> Op:
    """An array over bytes of the stream."""
    return call(_FROM, data, kind, shape, *(order or ("C",)))


_OBJECT = dtype("O8", 3, "|", None, None, None, -1, -1, 63)
_POINTER = struct.pack("<Q", 0x4141414141414141)

_FORGED: dict[str, Op] = {
    "a void dtype with an object field and no flags": record(("a",), {"a": (_OBJECT, 0)}, 8),
    "a field far beyond the item": record(("a",), {"a": (plain(), 10**9)}, 8),
    "a field 4,096 bytes beyond the item": record(("a",), {"a": (plain(), 4096)}, 8),
    "a field before the item": record(("a",), {"a": (plain(), -8)}, 8),
    "a field larger than the item": record(("a",), {"a": (plain(), 4)}, 8),
    "a field whose offset overflows": record(("a",), {"a": (plain(), 2**63 - 4)}, 8),
    "a field whose offset is a float": record(("a",), {"a": (plain(), 0.5)}, 8),
    "a field that is a class": record(("a",), {"a": (fire, 0)}, 8),
    "names without fields": record(("a",), {}, 8),
    "fields without names": record((), {"a": (plain(), 0)}, 8),
    "names that are None": record(None, {"a": (plain(), 0)}, 8),
    "names that are a list": record(["a"], {"a": (plain(), 0)}, 8),
    "names that stand twice": record(("a", "a"), {"a": (plain(), 0)}, 8),
    "names that are numbers": record((1,), {1: (plain(), 0)}, 8),
    "an item of a size below zero": record(("a",), {"a": (plain(), 0)}, -8),
    "an item of 2**62 bytes": record(("a",), {"a": (plain(), 0)}, 2**62),
    "an alignment of zero": record(("a",), {"a": (plain(), 0)}, 8, 0),
    "an alignment of 10**9": record(("a",), {"a": (plain(), 0)}, 8, 10**9),
    "flags of objects without any": record(("a",), {"a": (plain(), 0)}, 8, 1, 63),
    "flags of all bits": record(("a",), {"a": (plain(), 0)}, 8, 1, -1),
    "a subarray of objects": dtype("V8", 3, "|", (_OBJECT, (1,)), None, None, 8, 1, 0),
    "a subarray larger than its item": dtype(
        "V8", 3, "|", (plain(), (10**6,)), None, None, 8, 1, 0
    ),
    "a subarray of a size below zero": dtype("V8", 3, "|", (plain(), (-1,)), None, None, 8, 1, 0),
    "a subarray whose size overflows": dtype(
        "V8", 3, "|", (plain(), (2**31, 2**33)), None, None, 8, 1, 0
    ),
    "a subarray without a shape": dtype("V8", 3, "|", (plain(),), None, None, 8, 1, 0),
    "a subarray of a class": dtype("V8", 3, "|", (fire, (1,)), None, None, 8, 1, 0),
    "an int with fields": dtype("i4", 3, "<", None, ("a",), {"a": (plain(), 0)}, 4, 4, 0),
    "a float of an item of one byte": dtype("f8", 3, "<", None, None, None, 1, 1, 0),
    "a float with flags of objects": dtype("f8", 3, "<", None, None, None, -1, -1, 63),
    "an object without its flags": dtype("O8", 3, "|", None, None, None, -1, -1, 0),
    "a text of an item below zero": dtype("U4", 3, "<", None, None, None, -16, 4, 8),
    "a text of three bytes": dtype("U1", 3, "<", None, None, None, 3, 4, 8),
    "a byte order that is none": dtype("f8", 3, "?", None, None, None, -1, -1, 0),
    "a state of version 9": dtype("f8", 9, "<", None, None, None, -1, -1, 0),
    "a state of version 0": dtype("f8", 0, "<", None, None, None, -1, -1, 0),
    "a state of two": dtype("f8", 3, "<"),
    "metadata that is a class": dtype("f8", 4, "<", None, None, None, -1, -1, 0, fire),
    "a unit of time that is none": dtype(
        "M8", 4, "<", None, None, None, -1, -1, 0, (None, (b"xx", 1, 1, 1))
    ),
    "a unit of time of zero": dtype(
        "M8", 4, "<", None, None, None, -1, -1, 0, (None, (b"ns", 0, 1, 1))
    ),
    "a unit of time divided by zero": dtype(
        "M8", 4, "<", None, None, None, -1, -1, 0, (None, (b"ns", 1, 0, 1))
    ),
    "a code that is a function": call("numpy:dtype", fire, False, True),
    "a code with commas": call("numpy:dtype", "i4,O", False, True),
    "a code of 10**12 bytes": call("numpy:dtype", f"V{10**12}", False, True),
    "a code of many fields": call("numpy:dtype", ",".join(["i4"] * 50_000), False, True),
    "a code that is a list": call("numpy:dtype", [("a", "O")], False, True),
    "a code that is a dict": call(
        "numpy:dtype", {"names": ["a"], "formats": ["O"], "offsets": [10**6]}
    ),
    "a code that is a ctypes name": call("numpy:dtype", "object", False, True),
}
for _name, _kind in _FORGED.items():
    ARRAYS.add(f"{_name}, of an array", stream(array(_kind, (1,), _POINTER)))
    ARRAYS.add(f"{_name}, of a buffer", stream(buffered(_kind, (1,), bytearray(_POINTER))))
ARRAYS.add(
    "a pointer out of the stream is read as an object",
    stream(
        call(
            "operator:getitem",
            call(
                "operator:getitem",
                buffered(
                    _FORGED["a void dtype with an object field and no flags"],
                    (1,),
                    bytearray(_POINTER),
                ),
                "a",
            ),
            0,
        )
    ),
    works=True,
)
ARRAYS.add(
    "a scalar that is a pointer out of the stream",
    stream(call(_SCALAR, _FORGED["a void dtype with an object field and no flags"], _POINTER)),
)
ARRAYS.add(
    "a dtype that is changed after an array was made of it",
    stream(
        then(
            joined(plain("V8"), MEMOIZE),
            buffered(got(0), (1,), bytearray(_POINTER)),
            Op(got(0) + push((3, "|", None, ("a",), {"a": (_OBJECT, 0)}, 8, 1, 0)) + b"b"),
        )
    ),
)
ARRAYS.add(
    "the dtype of the whole process is changed by BUILD",
    stream(built(named("numpy:float64"), slots(attacked=1))),
)
ARRAYS.add(
    "a dtype holds itself",
    stream(
        Op(
            dtype("V8")
            + MEMOIZE
            + push((3, "|", None, ("a",), {"a": (got(0), 0)}, 8, 1, 16))
            + b"b"
        )
    ),
)

_F8 = plain()
_SHAPES: dict[str, Op] = {
    "a shape larger than its bytes": array(_F8, (1000,), bytes(8)),
    "a shape smaller than its bytes": array(_F8, (1,), bytes(64)),
    "a shape of 2**62": array(_F8, (2**62,), bytes(8)),
    "a shape whose product overflows to what there is": array(_F8, (2**32, 2**32), b""),
    "a shape below zero": array(_F8, (-1,), bytes(8)),
    "a shape of a thousand dimensions": array(_F8, (1,) * 1000, bytes(8)),
    "a shape of a float": array(_F8, (1.0,), bytes(8)),
    "a shape that is a list": array(_F8, [1], bytes(8)),
    "a shape that is an int": array(_F8, 1, bytes(8)),
    "a shape of True": array(_F8, (True,), bytes(8)),
    "a shape of None": array(_F8, None, bytes(8)),
    "data of a text": array(_F8, (1,), "a" * 8),
    "data of a list of numbers": array(_F8, (1,), [1.0]),
    "data of None": array(_F8, (1,), None),
    "data of too many objects": array(_OBJECT, (1,), [1, 2, 3]),
    "data of too few objects": array(_OBJECT, (3,), [1]),
    "objects out of bytes": array(_OBJECT, (1,), _POINTER),
    "objects out of a dict": array(_OBJECT, (1,), {0: 1}),
    "an array of a class of the program": array(_F8, (1,), bytes(8), of=named("prey.things:Plain")),
    "an array of a function": array(_F8, (1,), bytes(8), of=fire),
    "an array of type": array(_F8, (1,), bytes(8), of=named("builtins:type")),
    "a state of an array of version 7": built(
        call(_RECONSTRUCT, _NDARRAY, (0,), b"b"), (7, (1,), _F8, False, bytes(8))
    ),
    "a state of an array of two": built(call(_RECONSTRUCT, _NDARRAY, (0,), b"b"), (1, (1,))),
    "an array of a dtype that is a text": array(push("f8"), (1,), bytes(8)),
    "an array reconstructed with 10**12 items at once": call(
        _RECONSTRUCT, _NDARRAY, (10**12,), b"b"
    ),
    "an array reconstructed of objects at once": call(_RECONSTRUCT, _NDARRAY, (3,), b"O"),
    "an array made by its constructor": call("numpy:ndarray", (10**9,)),
    "an array made by NEWOBJ with strides": new(
        "numpy:ndarray", (10,), _F8, bytearray(8), 0, (-(10**6),)
    ),
    "an array of the program's bytes": buffered(_F8, (1,), named("prey.canary:TABLE")),
    "a buffer with a shape larger than it is": buffered(_F8, (100,), bytearray(8)),
    "a buffer with a shape below zero": buffered(_F8, (-1,), bytearray(8)),
    "a buffer of an order that is none": buffered(_F8, (1,), bytearray(8), "Z"),
    "a buffer of half an item": buffered(_F8, (1,), bytearray(7)),
    "a buffer of axes that stand twice": buffered(_F8, (1, 1), bytearray(8), "K", (0, 0)),
    "a buffer of axes far away": buffered(_F8, (1, 1), bytearray(8), "K", (0, 99)),
    "a buffer of an array of objects": buffered(_OBJECT, (1,), bytearray(_POINTER)),
    "a scalar of too few bytes": call(_SCALAR, _F8, b"abc"),
    "a scalar of too many bytes": call(_SCALAR, _F8, bytes(100)),
    "a scalar of an object": call(_SCALAR, _OBJECT, fire),
    "a scalar of a pointer": call(_SCALAR, _OBJECT, _POINTER),
    "a scalar of a text": call(_SCALAR, plain("f8"), "a" * 8),
    "a scalar of a void of 2**40 bytes": call(_SCALAR, dtype(f"V{2**40}"), b""),
    "a matrix of one dimension": array(_F8, (1,), bytes(8), of=named("numpy:matrix")),
    "a memory map of a file": call("numpy:memmap", "/dev/zero"),
    "a record array of no records": array(_F8, (1,), bytes(8), of=named("numpy.rec:recarray")),
    "a masked array whose mask is short": built(
        call("numpy.ma.core:_mareconstruct", named("numpy.ma:MaskedArray"), _NDARRAY, (0,), "b"),
        (1, (1000,), _F8, False, bytes(8000), b"\1", None),
    ),
    "a masked array of a function": call("numpy.ma.core:_mareconstruct", fire, _NDARRAY, (0,), "b"),
}
for _name, _value in _SHAPES.items():
    ARRAYS.add(
        _name,
        stream(_value),
        harmless=_name
        in ("a matrix of one dimension", "a record array of no records", "data of a text"),
    )
ARRAYS.add(
    "a buffer beside the stream that is too short",
    Parts(b"\x80\x05" + buffered(_F8, (100,), Op(b"\x97")) + b".", (bytes(8),)),
)
ARRAYS.add(
    "a buffer beside the stream that nobody takes", Parts(stream(1), (bytes(8),)), harmless=True
)
ARRAYS.add(
    "one buffer beside the stream that is taken twice", Parts(b"\x80\x05\x97\x97\x86.", (bytes(8),))
)
ARRAYS.add(
    "a buffer beside the stream as a key", Parts(b"\x80\x05}\x97Ns.", (bytes(8),)), harmless=True
)
ARRAYS.add(
    "a read-only buffer beside the stream, twice read-only",
    Parts(b"\x80\x05\x97\x98\x98.", (bytes(8),)),
    harmless=True,
)
ARRAYS.add(
    "a million arrays of no dimension share their bytes",
    lambda: stream(then(joined(_F8, MEMOIZE), [buffered(got(0), (), bytearray(8))] * 12_000)),
    harmless=True,
)

# --- what calls what it is given --------------------------------------------------------

for _name, _value, _works in (
    (
        "a generator by a constructor that is a function",
        call("numpy.random._pickle:__generator_ctor", "PCG64", fire),
        True,
    ),
    (
        "a bit generator by a function",
        call("numpy.random._pickle:__bit_generator_ctor", fire),
        False,
    ),
    (
        "a random state by a constructor that is a function",
        call("numpy.random._pickle:__randomstate_ctor", "MT19937", fire),
        True,
    ),
    ("a vectorized function", call(call("numpy:vectorize", fire), [1]), True),
    ("frompyfunc", call(call("numpy:frompyfunc", fire, 1, 1), 1), True),
    ("fromfunction", call("numpy:fromfunction", fire, (1,)), True),
    ("fromiter of a map", call("numpy:fromiter", call("builtins:map", fire, [1]), "i8"), True),
    ("apply_along_axis", call("numpy:apply_along_axis", fire, 0, [1]), True),
    ("piecewise", call("numpy:piecewise", [1.0], [True], [fire]), False),
    ("numpy.load of a path", call("numpy:load", "made-by-an-attack"), True),
    ("numpy.fromfile", call("numpy:fromfile", "/dev/null"), True),
    ("numpy.genfromtxt", call("numpy:genfromtxt", "not-there"), True),
    ("numpy.save", call("numpy:save", "made-by-an-attack", [1]), True),
    ("numpy.seterrcall", call("numpy:seterrcall", fire), False),
    ("numpy.set_printoptions", call("numpy:set_printoptions"), False),
    ("a dtype of a class with a dtype", call("numpy:dtype", named("prey.things:Plain")), False),
    ("a ufunc is called", call("numpy:add", 1, 2), False),
    ("numpy.zeros of 10**12", call("numpy:zeros", 10**12), False),
    ("numpy.arange of 10**9", call("numpy:arange", 10**9), True),
    (
        "numpy.testing runs text",
        call(
            "numpy.testing._private.utils:runstring", "import prey.canary; prey.canary.fire()", {}
        ),
        True,
    ),
    ("numpy.f2py runs a command", call("numpy.f2py.crackfortran:myeval", "1"), False),
    ("numpy.distutils is gone", call("numpy.distutils.exec_command:exec_command", "true"), False),
    ("numpy.ma converts with a function", call("numpy.ma.core:_convert2ma", fire, "a", "b"), False),
    (
        "StringDType with a missing value that is a function",
        call("numpy._core._internal:_convert_to_stringdtype_kwargs", 1, fire),
        False,
    ),
    ("a polynomial whose state is a function", built(new("numpy:poly1d"), {"coeffs": fire}), False),
    (
        "pandas makes an index of what it is told",
        call("pandas.core.indexes.base:_new_Index", fire, {}),
        False,
    ),
    (
        "pandas unpickles a block",
        call("pandas._libs.internals:_unpickle_block", fire, fire, 1),
        False,
    ),
    ("pandas reads a pickle", call("pandas:read_pickle", "made-by-an-attack"), True),
    ("pandas evaluates text", call("pandas:eval", "1"), False),
    (
        "pandas unpickles an array",
        call("pandas._libs.arrays:__pyx_unpickle_NDArrayBacked", fire, 1, None),
        False,
    ),
    (
        "a frame by NEWOBJ, with a state of blocks",
        built(new("pandas:DataFrame"), {"_mgr": fire}),
        False,
    ),
    (
        "a frame by its constructor, of a map",
        call("pandas:DataFrame", call("builtins:map", fire, [1])),
        True,
    ),
    (
        "a series applies a function",
        call(call("operator:methodcaller", "apply", fire), call("pandas:Series", [1])),
        True,
    ),
    ("torch loads bytes", call("torch.storage:_load_from_bytes", b"PK"), False),
    (
        "torch rebuilds a tensor of nothing",
        call("torch._utils:_rebuild_tensor_v2", None, 0, (1,), (1,), False, {}),
        False,
    ),
    (
        "torch rebuilds from a type",
        call("torch._tensor:_rebuild_from_type_v2", fire, fire, (), {}),
        False,
    ),
    ("torch loads a file", call("torch:load", "made-by-an-attack"), False),
    ("torch compiles text", call("torch.jit:CompilationUnit", "def f(x): return x"), False),
    ("torch's collect_env runs a command", call("torch.utils.collect_env:run", "true"), False),
    ("SciPy loads a matrix", call("scipy.io:loadmat", "made-by-an-attack"), True),
    ("SciPy calls a function from C", call("scipy:LowLevelCallable", fire), False),
    (
        "a sparse matrix whose indices are far away",
        built(
            new("scipy.sparse._csr:csr_matrix"),
            {
                "_shape": (2, 2),
                "indices": buffered(plain("i4"), (1,), bytearray(b"\xff\xff\xff\x7f")),
                "indptr": buffered(plain("i4"), (3,), bytearray(12)),
                "data": 1,
            },
        ),
        False,
    ),
    ("a joblib memory calls", call("joblib.memory:MemorizedFunc", fire), False),
    ("a joblib array wrapper", new("joblib.numpy_pickle:NumpyArrayWrapper"), False),
    (
        "a tree of scikit-learn, with nodes that point anywhere",
        call("sklearn.tree._tree:Tree", 1, 1, 1),
        False,
    ),
):
    ARRAYS.add(_name, stream(_value), works=_works)

# --- generators of random numbers, whose C code trusts its state ---------------------------


def _generator(kind: str, state: Any, seed: Any = None) -> Op:
    """A bit generator of numpy with a state."""
    module, name = kind.split(":")
    of = call("numpy.random._pickle:__bit_generator_ctor", named(f"numpy.random.{module}:{name}"))
    return built(of, (state, seed))


_KEY = buffered(plain("u4"), (624,), bytearray(2496))
for _name, _value in {
    "an MT19937 at a place far beyond its key": _generator(
        "_mt19937:MT19937", {"bit_generator": "MT19937", "state": {"key": _KEY, "pos": 10**9}}
    ),
    "an MT19937 at a place below zero": _generator(
        "_mt19937:MT19937", {"bit_generator": "MT19937", "state": {"key": _KEY, "pos": -(10**6)}}
    ),
    "an MT19937 with a short key": _generator(
        "_mt19937:MT19937",
        {
            "bit_generator": "MT19937",
            "state": {"key": buffered(plain("u4"), (2,), bytearray(8)), "pos": 600},
        },
    ),
    "a Philox beyond its buffer": _generator(
        "_philox:Philox",
        {
            "bit_generator": "Philox",
            "buffer": buffered(plain("u8"), (4,), bytearray(32)),
            "buffer_pos": 10**9,
            "has_uint32": 0,
            "uinteger": 0,
            "state": {
                "counter": buffered(plain("u8"), (4,), bytearray(32)),
                "key": buffered(plain("u8"), (2,), bytearray(16)),
            },
        },
    ),
    "a PCG64 whose state is a function": _generator("_pcg64:PCG64", fire),
    "a PCG64 of another's name": _generator("_pcg64:PCG64", {"bit_generator": "MT19937"}),
    "a seed sequence with a pool of nothing": built(
        call(
            "numpy.random.bit_generator:__pyx_unpickle_SeedSequence",
            named("numpy.random.bit_generator:SeedSequence"),
            65708578,
            None,
        ),
        (1, 0, None, 10**9, ()),
    ),
    "a generator of a generator that is none": call("numpy.random._pickle:__generator_ctor", fire),
    "a random.Random with a place beyond its state": built(
        new("random:Random"), (3, (*[0] * 624, 10**9), None)
    ),
    "a random.Random with a place below zero": built(
        new("random:Random"), (3, (*[0] * 624, -5), None)
    ),
    "a random.Random with too few numbers": built(new("random:Random"), (3, (1, 2), None)),
    "a random.Random with numbers too great": built(
        new("random:Random"), (3, (*[2**64] * 624, 1), None)
    ),
    "a random.Random of version 99": built(new("random:Random"), (99, (), None)),
    "a random.Random with a gauss that is a function": built(
        new("random:Random"), (3, (*[1] * 624, 1), fire)
    ),
}.items():
    ARRAYS.add(_name, stream(_value))
