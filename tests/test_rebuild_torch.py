"""torch's values through reducers of our own: the same values back, and no forged call made."""

from __future__ import annotations

import copy
import io
import os
import pickle
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import checkpoint
from checkpoint._reducers import reducer_for
from checkpoint.errors import UnsafeError
from checkpoint.rebuild import torch as rebuild

torch: Any = pytest.importorskip("torch")


class Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        reducer = reducer_for(type(obj))
        return NotImplemented if reducer is None else reducer(obj)


def stream_of(obj: Any) -> tuple[bytes, list[Any]]:
    buffers: list[Any] = []
    file = io.BytesIO()
    Pickler(file, 5, buffer_callback=buffers.append).dump(obj)
    return file.getvalue(), buffers


def by_reducers(obj: Any) -> Any:
    stream, buffers = stream_of(obj)
    return pickle.loads(stream, buffers=[bytearray(buffer.raw()) for buffer in buffers])


def in_band(obj: Any) -> Any:
    file = io.BytesIO()
    Pickler(file, 5).dump(obj)
    return pickle.loads(file.getvalue())


def by_checkpoint(obj: Any) -> Any:
    return checkpoint.loads(checkpoint.dumps(obj))


Way = Callable[[Any], Any]
ways = pytest.mark.parametrize("way", [by_reducers, in_band, by_checkpoint])


def same(one: Any, other: Any) -> bool:
    """Whether two tensors are of one kind, place and bits."""
    kind = (one.dtype, one.shape, one.stride(), one.requires_grad, one.is_conj(), one.is_neg())
    others = (
        *(other.dtype, other.shape, other.stride(), other.requires_grad),
        *(other.is_conj(), other.is_neg()),
    )
    equal = torch.equal(bits(one), bits(other))
    return type(one) is type(other) and kind == others and equal


def bits(tensor: Any) -> Any:
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return plain.view(torch.uint8) if plain.ndim else plain.reshape(1).view(torch.uint8)


def numbers(dtype: str) -> Any:
    """Twelve elements whose bits are all sorts."""
    raw = torch.arange(12 * rebuild.DTYPES[dtype]).to(torch.uint8) % (2 if dtype == "bool" else 251)
    return raw.view(getattr(torch, dtype))


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@ways
@pytest.mark.parametrize("dtype", list(rebuild.DTYPES))
def test_every_dtype_keeps_its_bits(dtype: str, way: Way) -> None:
    if not hasattr(torch, dtype):
        pytest.skip(f"this torch has no {dtype}")
    tensor = numbers(dtype)
    assert tensor.element_size() == rebuild.DTYPES[dtype]
    again = way(tensor.reshape(3, 4))
    assert again.dtype == tensor.dtype and again.shape == (3, 4)
    assert torch.equal(bits(again), bits(tensor).reshape(3, -1))


@ways
@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(1.5),
        torch.zeros(0),
        torch.zeros((0, 3)),
        torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        torch.arange(24)[3:20:4],
        torch.zeros(1).expand(5, 7),
        torch.zeros(5)[5:],
        torch.arange(10.0).as_strided((3, 3), (1, 1), 2),
        torch.ones(3, requires_grad=True),
        torch.ones(3, requires_grad=True) * 2,
        torch.tensor([1 + 2j, 3 - 4j]).conj(),
        torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
        torch.randn(4, 4).to(memory_format=torch.preserve_format).t(),
        torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last),
        torch.arange(100_000.0),
    ],
)
def test_a_tensor_keeps_place_and_value(tensor: Any, way: Way) -> None:
    again = way(tensor)
    assert same(again, tensor)
    assert again.storage_offset() == tensor.storage_offset()
    assert again.is_leaf and again.grad is None


@ways
def test_tensors_on_one_storage_stay_on_one(way: Way) -> None:
    whole = torch.arange(50_000.0)
    state = {
        "whole": whole,
        "part": whole[100:200],
        "again": whole,
        "bits": whole.view(torch.int32),
    }
    found = way(state)
    assert found["whole"] is found["again"]
    found["whole"][100] = -1
    assert found["part"][0] == -1
    assert found["bits"][100] == torch.tensor([-1.0]).view(torch.int32)[0]
    assert found["whole"].untyped_storage() is found["part"].untyped_storage()


def test_the_memory_of_a_storage_is_written_once_and_not_copied() -> None:
    whole = torch.arange(50_000.0)
    stream, buffers = stream_of([whole, whole[10:], torch.nn.Parameter(whole)])
    assert [buffer.raw().nbytes for buffer in buffers] == [200_000]
    assert len(stream) < 1_000
    memory = bytearray(buffers[0].raw())
    found = pickle.loads(stream, buffers=[memory])
    memory[0:4] = struct.pack("f", 7.0)
    assert [tensor[0].item() for tensor in found] == [7.0, 10.0, 7.0]
    whole[0] = 9
    assert struct.unpack_from("f", buffers[0].raw()) == (9.0,)


def test_the_memory_lives_as_long_as_what_is_on_it() -> None:
    memory = bytearray(64)
    tensor = rebuild.tensor(rebuild.storage(memory), "float32", 0, (16,), (1,), False)
    with pytest.raises(BufferError):
        memory.clear()
    buffer = stream_of(torch.arange(30_000.0))[1][0]
    assert struct.unpack_from("f", buffer.raw(), 4 * 29_999) == (29_999.0,)
    del memory
    assert tensor.sum() == 0


def test_memory_that_is_read_only_or_unaligned_is_copied() -> None:
    written = bytearray(range(65))
    for memory in (bytes(written), memoryview(written).toreadonly(), memoryview(written)[1:]):
        storage = rebuild.storage(memory)
        assert bytes(storage.tolist()) == bytes(memory)
        assert storage.data_ptr() % 16 == 0
        storage[0] = 99
    assert written == bytearray(range(65))


@ways
def test_tied_weights_stay_tied(way: Way) -> None:
    weight = torch.nn.Parameter(torch.randn(4, 3))
    weight.grad = torch.ones(4, 3)
    frozen = torch.nn.Parameter(torch.arange(3), requires_grad=False)
    first, second, third = way([weight, weight, frozen])
    assert first is second
    assert type(first) is torch.nn.Parameter
    assert same(first, weight) and same(third, frozen)
    assert first.grad is None  # as with plain pickling


@ways
def test_a_model_and_its_optimizer_go_on_as_they_would_have(way: Way) -> None:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    step(model, optimizer)
    model_again, states = way((model, optimizer.state_dict()))
    optimizer_again = torch.optim.Adam(model_again.parameters(), lr=0.1)
    optimizer_again.load_state_dict(states)
    step(model, optimizer)
    step(model_again, optimizer_again)
    pairs = zip(model.parameters(), model_again.parameters(), strict=True)
    assert all(same(one, other) for one, other in pairs)


def step(model: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()


@ways
def test_attributes_that_a_program_sets_are_kept(way: Way) -> None:
    tensor, parameter = torch.ones(2), torch.nn.Parameter(torch.ones(2))
    tensor.tag, parameter.tag = ["mine"], {"lr": 0.1}
    found = way([tensor, parameter, parameter.tag])
    assert found[0].tag == ["mine"] and found[1].tag == {"lr": 0.1}
    assert found[1].tag is found[2]
    if hasattr(torch.nn, "Buffer"):
        assert isinstance(way(torch.nn.Buffer(torch.ones(2))), torch.nn.Buffer)


@ways
def test_sizes_and_devices_are_themselves_again(way: Way) -> None:
    for value in (torch.Size([]), torch.Size([2, 3]), torch.device("cpu"), torch.device("cuda", 3)):
        again = way(value)
        assert type(again) is type(value) and again == value


@ways
def test_a_generator_goes_on_with_the_numbers_that_come_next(way: Way) -> None:
    for drawn in (0, 1, 7, 624, 625, 1300):
        generator = torch.Generator().manual_seed(3)
        torch.rand(drawn, generator=generator)
        torch.normal(torch.zeros(1), 1.0, generator=generator)  # leaves the second of a pair
        again = way(generator)
        assert again.initial_seed() == 3
        assert torch.equal(
            torch.normal(torch.zeros(3), 1.0, generator=again),
            torch.normal(torch.zeros(3), 1.0, generator=generator),
        )
        assert torch.equal(again.get_state(), generator.get_state())


@ways
def test_storages_are_themselves_again(way: Way) -> None:
    tensor = torch.arange(6.0)
    typed = tensor._typed_storage()  # what storage() gives, without its warning
    first, untyped, second = way([tensor, tensor.untyped_storage(), typed])
    assert untyped is first.untyped_storage()
    assert second._untyped_storage is untyped and second.dtype is torch.float32
    assert way(torch.UntypedStorage(0)).nbytes() == 0


@pytest.mark.filterwarnings("ignore:Sparse")
@ways
def test_sparse_tensors_keep_their_layout_and_values(way: Way) -> None:
    dense = torch.tensor([[0, 1.5, 0, 0], [2, 0, 0, 3], [0, 0, 0, 0], [0, 0, 4, 0]])
    unordered = torch.sparse_coo_tensor([[1, 0, 1], [0, 2, 0]], [1.0, 2.0, 3.0], (2, 3))
    tensors = [
        *(unordered, unordered.coalesce(), dense.to_sparse(1), torch.zeros(2, 2).to_sparse()),
        *(dense.to_sparse_csr(), dense.to_sparse_csc(), dense.to_sparse_bsr((2, 2))),
        *(dense.to_sparse_bsc((1, 2)), dense.to(torch.complex64).to_sparse()),
    ]
    for tensor in tensors:
        again = way(tensor)
        assert (again.layout, again.dtype) == (tensor.layout, tensor.dtype)
        assert torch.equal(again.to_dense(), tensor.to_dense())
        if tensor.layout is torch.sparse_coo:
            assert again.is_coalesced() == tensor.is_coalesced()
            assert again.sparse_dim() == tensor.sparse_dim()


def test_what_torch_rebuilt_can_be_saved_once_more() -> None:
    state = {"w": torch.nn.Parameter(torch.ones(30_000)), "v": torch.arange(3)}
    again = by_reducers(copy.deepcopy(by_reducers(state)))
    assert same(again["w"], state["w"]) and same(again["v"], state["v"])


def test_truths_that_are_neither_0_nor_1_keep_their_bits() -> None:
    raw = torch.tensor([0, 1, 7, 255, 0], dtype=torch.uint8)  # torch reads them as bytes, so may we
    found, flags = by_reducers([raw, raw.view(torch.bool)])
    assert flags.untyped_storage() is found.untyped_storage()
    assert flags.view(torch.uint8).tolist() == [0, 1, 7, 255, 0]
    assert flags.nonzero().flatten().tolist() == [1, 2, 3]


def test_nothing_of_torch_is_named_in_a_stream() -> None:
    values = [torch.ones(2), torch.nn.Parameter(torch.ones(2)), torch.Size([1]), torch.Generator()]
    stream, _ = stream_of([*values, torch.device("cpu"), torch.ones(1).untyped_storage()])
    assert b"torch" not in stream.replace(b"checkpoint.rebuild.torch", b"")


def shadowing() -> Any:
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.__dict__["cpu"] = 1
    return parameter


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_not_covered_is_left_to_plain_pickling() -> None:
    class Mine(torch.Tensor):  # type: ignore[misc]
        pass

    assert reducer_for(Mine) is None
    values = [
        torch.ones(2, device="meta"),
        torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        shadowing(),
    ]
    for value in values:
        reducer = reducer_for(type(value))
        assert reducer is not None and reducer(value) is NotImplemented
        assert type(by_reducers(value)) is type(value)


def test_hooks_are_warned_of_as_by_plain_pickling() -> None:
    tensor = torch.ones(1, requires_grad=True)
    tensor.register_hook(print)
    with pytest.warns(UserWarning, match="hooks"):
        stream_of(tensor)


class Trap:
    """Ends the process if any method of it is called that could be."""

    def _sprung(self, *_: Any, **__: Any) -> Any:
        os._exit(99)

    __len__ = __iter__ = __getitem__ = __index__ = __int__ = __float__ = __bool__ = _sprung
    __eq__ = __hash__ = __lt__ = __le__ = __contains__ = __call__ = _sprung  # type: ignore[assignment]
    __getattr__ = __str__ = __repr__ = __buffer__ = __torch_function__ = _sprung


class Whole(int):
    def _sprung(self, *_: Any) -> Any:
        os._exit(99)

    __le__ = __ge__ = __lt__ = __gt__ = __index__ = __eq__ = __hash__ = __mul__ = _sprung  # type: ignore[assignment]


class Words(tuple):  # type: ignore[type-arg]
    def _sprung(self, *_: Any) -> Any:
        os._exit(99)

    __len__ = __iter__ = __getitem__ = _sprung


def generator_state(left: int = 500, following: int = 100, seeded: int = 1) -> bytearray:
    """A generator's state with these numbers in it."""
    state = bytearray(torch.Generator().get_state().tolist())
    struct.pack_into("<QiiQ", state, 0, 3, left, seeded, following)
    return state


def hostile_calls() -> list[tuple[str, tuple[Any, ...]]]:
    """Calls that no reducer writes, one by one."""
    memory = rebuild.storage(bytes(64))
    plain = torch.ones(2)
    released = memoryview(bytearray(8))
    released.release()
    huge = (1 << 63) - 1
    good = (memory, "float32", 0, (16,), (1,), False)

    def changed(*changes: tuple[int, Any]) -> tuple[Any, ...]:
        args: list[Any] = [*good, "", None]
        for place, value in changes:
            args[place] = value
        return tuple(args)

    places: list[tuple[Any, Any, Any]] = [
        *[(bad, (1,), (1,)) for bad in (-1, 16, 17, huge, huge + 1, 1 << 70, 0.0, True, None)],
        *[(bad, (1,), (1,)) for bad in (Trap(), Whole(0), "0")],
        *[(0, bad, (1,)) for bad in ((17,), (-1,), (1, 1), (), None, [1], 1, (huge,), (1 << 64,))],
        *[(0, bad, (1,)) for bad in ((True,), (1.0,), (Whole(1),), Words((1,)), Trap())],
        *[(0, (2,), bad) for bad in ((16,), (-1,), (), None, [1], (1 << 64,), (huge,), (Trap(),))],
        (1, (16,), (1,)),
        (0, (4, 4), (4, 2 << 60)),
        (0, (4, 4), (5, 1)),
        (0, (1 << 40, 1 << 40), (0, 0)),
        (0, (0, 1 << 40, 1 << 40), (0, 0, 0)),
        (0, (1 << 62,), (0,)),
        (17, (0,), (1,)),
        (0, (1,) * 65, (1,) * 65),
        (1 << 62, (1 << 62, 2), (1 << 62, 1 << 62)),
        (0, Words((1,)), Words((1,))),
    ]
    tensors = [
        *[
            changed((0, bad))
            for bad in (None, bytes(64), plain, bytearray(64), torch.UntypedStorage)
        ],
        *[changed((0, bad)) for bad in (Trap(), torch.UntypedStorage(64, device="meta"))],
        *[changed((1, bad)) for bad in ("float", "qint8", "Tensor", "__class__", "", None, Trap())],
        *[changed((1, bad)) for bad in (torch.float32, "float32 ", b"float32", 6, ["float32"])],
        *[changed((2, at), (3, shape), (4, stride)) for at, shape, stride in places],
        *[changed((5, bad)) for bad in (None, 1, 0, "True", Trap())],
        changed((1, "int32"), (5, True)),
        changed((1, "bool"), (3, (64,)), (5, True)),
        *[changed((6, bad)) for bad in ("conj", "conj neg", "neg conj", "x", None, 1, Trap())],
        changed((1, "int32"), (6, "neg")),
        *[changed((7, bad)) for bad in ([], "a", 1, Trap(), {1: 2}, {"cpu": 1}, {"grad": plain})],
        *[changed((7, {bad: 1})) for bad in ("__class__", "__reduce_ex__", "_backward_hooks", "T")],
        *[(), good[:5], (*changed(), 1)],
    ]
    grown = torch.ones(2, requires_grad=True)
    parameters: list[tuple[Any, ...]] = [
        *[(bad, True) for bad in (None, 1, [1.0], grown, torch.nn.Parameter(plain), Trap())],
        *[(bad, True) for bad in (torch.arange(2), torch.tensor([True]), memory)],
        *[(plain, bad) for bad in (None, 0, 1, "x", Trap())],
        *[(plain, True, bad) for bad in ({"data": plain}, {"__dict__": {}}, [("a", 1)], Trap())],
    ]
    storages = [
        *[(bad,) for bad in (None, 64, 1 << 40, "text", plain, memory, [1, 2], Trap())],
        *[(bad,) for bad in (memoryview(bytearray(9))[::2], released, array("b", [1]))],
        (bytes(8), 8),
    ]
    typed = [
        *[(bad, "float32") for bad in (None, bytes(8), plain, Trap())],
        *[(memory, bad) for bad in ("qint8", None, torch.float32, Trap())],
        (rebuild.storage(bytes(7)), "float32"),
    ]
    at, ones = torch.tensor([[0, 1], [1, 0]]), torch.ones(2)
    rows, columns = torch.tensor([0, 1, 2]), torch.tensor([1, 0])
    sparse: list[tuple[Any, ...]] = [
        *[(bad, at, None, ones, (2, 2), False) for bad in ("strided", "float32", None, Trap())],
        *[
            ("sparse_coo", bad, None, ones, (2, 2), False)
            for bad in (at + 1, at - 1, at.int(), ones)
        ],
        *[
            ("sparse_coo", bad, None, ones, (2, 2), False)
            for bad in (at[:, :1], [[0], [1]], Trap())
        ],
        *[("sparse_coo", at, bad, ones, (2, 2), False) for bad in (at, 1, Trap())],
        *[("sparse_coo", at, None, bad, (2, 2), False) for bad in (plain[:1], 1, None, Trap())],
        *[("sparse_coo", at, None, bad, (2, 2), False) for bad in (grown, plain.to_sparse())],
        *[("sparse_coo", at, None, ones, bad, False) for bad in ((1, 2), (2,), [2, 2], (-1, 2))],
        *[("sparse_coo", at, None, ones, (2, 2), bad) for bad in (0, None, Trap())],
        ("sparse_coo", at.flip(1), None, ones, (2, 2), True),
        (
            "sparse_coo",
            at[:1, :1].expand(2, 1 << 24),
            None,
            ones[:1].expand(1 << 24),
            (2, 2),
            False,
        ),
        ("sparse_coo", torch.zeros(2, 2, dtype=torch.int64), None, ones, (2, 2), True),
        ("sparse_coo", at.to_sparse(), None, ones, (2, 2), False),
        *[
            ("sparse_csr", bad, columns, ones, (2, 2), False)
            for bad in (rows + 1, rows[:2], rows * 9)
        ],
        *[
            ("sparse_csr", rows, bad, ones, (2, 2), False)
            for bad in (columns + 1, columns - 1, None)
        ],
        *[("sparse_csr", rows, columns, bad, (2, 2), False) for bad in (plain[:1], at, Trap())],
        ("sparse_csr", rows, columns, ones, (1 << 40, 1 << 40), False),
        ("sparse_bsr", rows, columns, ones, (2, 2), False),
        ("sparse_csc", rows.float(), columns, ones, (2, 2), False),
    ]
    sizes = [(bad,) for bad in (None, 1, [1], (-1,), (1 << 63,), ("a",), Words((1,)), (Whole(1),))]
    kinds: list[tuple[Any, ...]] = [
        *[(bad,) for bad in (None, "", "cpu:0", "tpu", "privateuseone", 0, Trap(), b"cpu")],
        *[("cuda", bad) for bad in (-1, 128, 1 << 40, True, "0", 1.0, Trap())],
    ]
    following = [
        *[generator_state(left, following) for left, following in ((500, 624), (624, 2), (0, 0))],
        *[
            generator_state(left, following)
            for left, following in ((-5, 1), (625, 0), (1, 1 << 62))
        ],
        *[generator_state(seeded=0), generator_state(seeded=2), generator_state()[1:]],
        *[bytearray(), bytearray(5056), generator_state() + b"x"],
    ]
    odd = [generator_state(), generator_state()]
    odd[0][5040], odd[1][5052] = 2, 2
    states = [
        *[(bytes(state),) for state in (*following, *odd)],
        *[(bad,) for bad in (generator_state(), None, 5, torch.Generator().get_state(), Trap())],
    ]
    every = {
        "tensor": tensors,
        "parameter": parameters,
        "storage": storages,
        "typed_storage": typed,
        "sparse": sparse,
        "size": sizes,
        "device": kinds,
        "generator": states,
    }
    return [(name, args) for name, calls in every.items() for args in calls]


def refuse_them_all() -> int:
    """Make each hostile call; how many there were."""
    calls = hostile_calls()
    for number, (name, args) in enumerate(calls):
        try:
            made = getattr(rebuild, name)(*args)
        except UnsafeError:
            continue
        raise AssertionError(f"{name}, call {number}, made a {type(made)}")
    return len(calls)


def test_forged_calls_are_refused_and_run_nothing() -> None:
    code = f"import {__name__.rpartition('.')[2]} as tests; print(tests.refuse_them_all())"
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 120
