"""The store contract as tests: subclass it, give a `store` fixture, run pytest.

    class TestMyStore(StoreContract, LockingContract, MappableContract):
        @pytest.fixture
        def store(self):
            return MyStore(...)

Leave out the contracts that your store does not promise.  Each test gets an
empty store.  A store that passes loses nothing and overwrites
nothing as long as its process lives; what survives a power cut no test from
inside can say.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import pickle
import threading
import time
import warnings
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from checkpoint.errors import ConflictError, IntegrityError, NotFoundError
from checkpoint.store import Lock, Locking, Mappable, Store

T = TypeVar("T")

THREADS = 8
PATIENCE = 30.0  # seconds until a test calls a thread stuck

BAD_KEYS = [
    "",
    "/",
    "/x",
    "x/",
    "a//b",
    ".",
    "..",
    "../x",
    "a/..",
    "a/../b",
    "a/./b",
    ".x",
    "a/.x",
    "a\\b",
    "..\\x",
    "C:\\x",
    "C:x",
    "a\0b",
    "a\n",
    "a b",
    "a%2Fb",
    "ä",
    "a*",
    "~x",
]

GOOD_KEYS = [
    "format.json",
    "snapshots/run-1/@/0000000001.json",
    "packs/0f/0123456789abcdef0123456789abcdef.pack",
    "A/b.C_d-e@f/0",
    "-",
    "_",
    "@",
    "x..",
    "a/b/c/d/e/f/g/h",
]


class StoreContract:
    """Every line of `checkpoint.store.Store`, as a test."""

    @pytest.fixture
    def store(self) -> Store:
        """An empty store; the subclass gives it."""
        raise NotImplementedError("give a `store` fixture that returns an empty store")

    def test_it_has_the_five_verbs(self, store: Store) -> None:
        assert isinstance(store, Store)

    def test_an_empty_store_has_no_keys(self, store: Store) -> None:
        assert store.keys("") == []

    # put

    @pytest.mark.parametrize("key", GOOD_KEYS)
    def test_what_was_put_is_got_and_listed(self, store: Store, key: str) -> None:
        store.put(key, [b"some ", b"bytes"])
        assert bytes(store.get(key)) == b"some bytes"
        assert store.keys("") == [key]

    def test_a_piece_may_be_any_buffer(self, store: Store) -> None:
        mapped = mmap.mmap(-1, 4)
        mapped[:] = b"mmap"
        numbers = array("d", [1.5, -2.0])
        pieces = [
            b"bytes",
            bytearray(b"bytearray"),
            memoryview(b"--view--")[2:6],
            numbers,
            memoryview(numbers),
            pickle.PickleBuffer(b"pickled"),
            mapped,
        ]
        store.put("all", pieces)
        doubles = numbers.tobytes()
        expected = b"bytes" + b"bytearray" + b"view" + doubles * 2 + b"pickled" + b"mmap"
        assert bytes(store.get("all")) == expected

    @pytest.mark.parametrize("pieces", [[], [b""], [b"", bytearray(), b""]], ids=["0", "1", "3"])
    def test_an_empty_object_is_an_object(self, store: Store, pieces: list[Any]) -> None:
        store.put("empty", pieces)
        assert bytes(store.get("empty")) == b""
        assert store.keys("") == ["empty"]
        with pytest.raises(ConflictError):
            store.put("empty", [b"more"])

    def test_an_empty_piece_ends_nothing(self, store: Store) -> None:
        store.put("key", [b"a", b"", b"b"])
        assert bytes(store.get("key")) == b"ab"

    def test_megabytes_come_back_whole(self, store: Store) -> None:
        first, second = _pattern(3 * 2**20 + 17), _pattern(2**20 + 1, step=11)
        store.put("large", [first, b"between", memoryview(second)])
        assert store.get("large") == first + b"between" + second

    def test_a_piece_is_used_up_before_the_next_is_asked_for(self, store: Store) -> None:
        reused = bytearray(1000)

        def pieces() -> Iterator[bytearray]:
            for value in range(50):
                reused[:] = bytes([value]) * len(reused)
                yield reused
            reused[:] = b"\xff" * len(reused)

        store.put("key", pieces())
        assert bytes(store.get("key")) == b"".join(bytes([v]) * 1000 for v in range(50))

    def test_large_memory_may_be_reused_as_well(self, store: Store) -> None:
        reused = bytearray(2**20 + 3)

        def pieces() -> Iterator[bytearray]:
            for value in (1, 2, 3):
                reused[:] = bytes([value]) * len(reused)
                yield reused
            reused[:] = bytes(len(reused))

        store.put("key", pieces())
        assert store.get("key") == b"".join(bytes([v]) * len(reused) for v in (1, 2, 3))

    @pytest.mark.parametrize("again", [b"first", b"other", b"", b"longer than the first"])
    def test_an_existing_key_is_never_overwritten(self, store: Store, again: bytes) -> None:
        store.put("a/key", [b"first"])
        with pytest.raises(ConflictError) as caught:
            store.put("a/key", [again])
        assert caught.value.key == "a/key"
        assert bytes(store.get("a/key")) == b"first"
        assert store.keys("") == ["a/key"]

    def test_who_is_overtaken_while_writing_gets_the_conflict(self, store: Store) -> None:
        def overtaken() -> Iterator[bytes]:
            yield b"slow, "
            store.put("key", [b"fast"])
            yield b"and late"

        with pytest.raises(ConflictError) as caught:
            store.put("key", overtaken())
        assert caught.value.key == "key"
        assert bytes(store.get("key")) == b"fast"
        assert store.keys("") == ["key"]

    def test_of_many_threads_exactly_one_creates_the_key(self, store: Store) -> None:
        for turn in range(10):
            key = f"race/{turn}"
            values = [b"%d" % thread * 5000 for thread in range(THREADS)]

            def contend(value: bytes, key: str = key) -> bytes | None:
                try:
                    store.put(key, [value[:7], value[7:]])
                except ConflictError:
                    return None
                return value

            winners = [won for won in _at_once(contend, values) if won is not None]
            assert len(winners) == 1
            assert bytes(store.get(key)) == winners[0]

    def test_threads_beside_each_other_lose_nothing(self, store: Store) -> None:
        def fill(thread: int) -> None:
            for number in range(10):
                store.put(f"beside/{thread}/{number}", [b"%d %d" % (thread, number)])

        _at_once(fill, list(range(THREADS)))
        assert len(store.keys("beside/")) == THREADS * 10
        for thread in range(THREADS):
            for number in range(10):
                expected = b"%d %d" % (thread, number)
                assert bytes(store.get(f"beside/{thread}/{number}")) == expected

    def test_nothing_is_visible_before_the_last_piece(self, store: Store) -> None:
        store.put("a/other", [b"other"])

        def watched() -> Iterator[bytes]:
            for piece in (b"one", b"two" * 100_000, b""):
                yield piece
                assert store.keys("") == ["a/other"]
                with pytest.raises(NotFoundError):
                    store.get("a/key")

        store.put("a/key", watched())
        assert store.keys("") == ["a/key", "a/other"]

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("in the pieces"),
            OSError(errno.EIO, "in the pieces"),
            FileNotFoundError(errno.ENOENT, "in the pieces"),
            FileExistsError(errno.EEXIST, "in the pieces"),
            KeyError("in the pieces"),
            NotFoundError("in the pieces"),
            KeyboardInterrupt("in the pieces"),
            SystemExit(3),
        ],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("written", [0, 1, 2])
    def test_what_the_pieces_raise_passes_through_and_leaves_nothing(
        self, store: Store, error: BaseException, written: int
    ) -> None:
        store.put("a/older", [b"older"])

        def pieces() -> Iterator[bytes]:
            yield from [b"piece" * 50_000] * written
            raise error

        with pytest.raises(type(error)) as caught:
            store.put("a/key", pieces())
        assert caught.value is error
        assert store.keys("") == ["a/older"]
        with pytest.raises(NotFoundError):
            store.get("a/key")
        store.put("a/key", [b"now"])
        assert bytes(store.get("a/key")) == b"now"
        assert bytes(store.get("a/older")) == b"older"

    def test_a_piece_that_is_no_buffer_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(TypeError):
            store.put("key", [b"bytes", "text"])
        assert store.keys("") == []

    # get

    @pytest.mark.parametrize(
        ("start", "stop"),
        [
            (0, None),
            (0, 0),
            (0, 1),
            (0, 10),
            (0, 11),
            (0, 2**40),
            (3, 7),
            (5, 5),
            (5, None),
            (9, 10),
            (9, 2**40),
            (10, None),
            (10, 10),
            (10, 20),
            (11, None),
            (11, 20),
            (2**40, None),
            (2**40, 2**41),
        ],
    )
    @pytest.mark.parametrize("scale", [1, 2**18])
    def test_a_range_gives_what_is_there(
        self, store: Store, start: int, stop: int | None, scale: int
    ) -> None:
        whole = _pattern(10 * scale)
        store.put("key", [whole])
        stop = None if stop is None else stop * scale
        assert store.get("key", start * scale, stop) == whole[start * scale : stop]

    @pytest.mark.parametrize("size", [0, 10, 3 * 2**20])
    def test_what_is_got_is_plain_bytes(self, store: Store, size: int) -> None:
        store.put("key", [_pattern(size)])
        got = store.get("key")
        assert isinstance(got, memoryview)
        assert (got.format, got.ndim, got.itemsize) == ("B", 1, 1)
        assert got.nbytes == size
        assert got.c_contiguous

    @pytest.mark.parametrize("size", [10, 3 * 2**20])
    def test_what_is_got_is_the_callers_to_write(self, store: Store, size: int) -> None:
        whole = _pattern(size)
        store.put("key", [whole])
        mine, other = store.get("key"), store.get("key")
        assert not mine.readonly
        mine[:] = b"\xff" * size
        assert other == whole
        assert store.get("key") == whole

    def test_what_was_given_is_not_kept(self, store: Store) -> None:
        given = bytearray(b"given")
        store.put("key", [given])
        given[:] = b"later"
        assert bytes(store.get("key")) == b"given"

    @pytest.mark.parametrize("key", ["absent", "a/absent", "absent/below/it", "a/key/below"])
    def test_an_absent_key_is_not_found(self, store: Store, key: str) -> None:
        store.put("a/key", [b"bytes"])
        with pytest.raises(NotFoundError) as caught:
            store.get(key)
        assert caught.value.key == key
        with pytest.raises(LookupError):
            store.get(key, 2, 5)

    # fill

    @pytest.mark.parametrize("scale", [1, 2**18])
    @pytest.mark.parametrize("length", [0, 1, 7, 10, 11])
    @pytest.mark.parametrize("start", [0, 3, 9, 10, 11, 2**40, 2**70])
    def test_a_fill_reads_what_is_there_and_touches_no_more(
        self, store: Store, start: int, length: int, scale: int
    ) -> None:
        whole = _pattern(10 * scale)
        store.put("key", [whole])
        there = whole[start * scale : (start + length) * scale]
        around = bytearray(b"\xa5" * (length * scale + 20))
        target = memoryview(around)[10:-10]
        assert store.fill("key", start * scale, target) == len(there)
        assert around[10 : 10 + len(there)] == there
        assert around[:10] == b"\xa5" * 10
        assert not around[10 + len(there) :].strip(b"\xa5")

    def test_a_fill_of_an_empty_object_reads_nothing(self, store: Store) -> None:
        store.put("empty", [])
        target = bytearray(b"as it was")
        assert store.fill("empty", 0, memoryview(target)) == 0
        assert target == b"as it was"

    def test_mapped_memory_is_filled(self, store: Store) -> None:
        store.put("key", [b"12345678"])
        mapped = mmap.mmap(-1, 8)
        assert store.fill("key", 2, memoryview(mapped)) == 6
        assert mapped[:] == b"345678\0\0"

    @pytest.mark.parametrize(
        "target",
        [memoryview(b"readonly"), memoryview(bytearray(9))[::2], None],
        ids=["readonly", "scattered", "none"],
    )
    def test_what_cannot_be_filled_is_refused(self, store: Store, target: Any) -> None:
        store.put("key", [b"bytes"])
        with pytest.raises(TypeError):
            store.fill("key", 0, target)

    def test_a_fill_from_below_zero_is_refused(self, store: Store) -> None:
        store.put("key", [b"bytes"])
        with pytest.raises(ValueError, match="start"):
            store.fill("key", -1, memoryview(bytearray(3)))

    @pytest.mark.parametrize("key", ["absent", "a/absent", "absent/below/it", "a/key/below"])
    @pytest.mark.parametrize("size", [0, 5])
    def test_an_absent_key_fills_nothing(self, store: Store, key: str, size: int) -> None:
        store.put("a/key", [b"bytes"])
        target = bytearray(b"\xa5" * size)
        with pytest.raises(NotFoundError) as caught:
            store.fill(key, 0, memoryview(target))
        assert caught.value.key == key
        assert target == b"\xa5" * size

    def test_threads_fill_one_memory_in_pieces(self, store: Store) -> None:
        whole = _pattern(THREADS * 300_000)
        store.put("key", [whole])
        target = memoryview(bytearray(len(whole)))

        def fill(start: int) -> int:
            return store.fill("key", start, target[start : start + 300_000])

        assert _at_once(fill, list(range(0, len(whole), 300_000))) == [300_000] * THREADS
        assert target == whole

    def test_reading_creates_nothing(self, store: Store) -> None:
        with pytest.raises(NotFoundError):
            store.get("a/key")
        with pytest.raises(NotFoundError):
            store.fill("a/key", 0, memoryview(bytearray(1)))
        store.delete(["a/key"])
        assert store.keys("a/") == []
        assert store.keys("") == []

    # keys

    def test_keys_are_sorted_as_strings(self, store: Store) -> None:
        keys = ["b", "a/z", "a/b/c", "a-/x", "a.b", "a0/1", "A/z", "a/0000000010", "a/0000000009"]
        for key in keys:
            store.put(key, [key.encode()])
        assert store.keys("") == sorted(keys)

    def test_keys_are_those_below_the_prefix(self, store: Store) -> None:
        for key in ["a/b/1", "a/b/c/2", "a/bc/3", "a/4", "ab/5", "a-/6", "b/7"]:
            store.put(key, [b""])
        assert store.keys("a/") == ["a/4", "a/b/1", "a/b/c/2", "a/bc/3"]
        assert store.keys("a/b/") == ["a/b/1", "a/b/c/2"]
        assert store.keys("a/b/c/") == ["a/b/c/2"]
        assert store.keys("b/") == ["b/7"]
        assert store.keys("absent/") == []
        assert store.keys("a/4/") == []

    def test_a_listing_is_the_callers_own(self, store: Store) -> None:
        store.put("key", [b""])
        store.keys("").append("not a key")
        assert store.keys("") == ["key"]

    # delete

    def test_what_was_deleted_is_gone(self, store: Store) -> None:
        for key in ["a/1", "a/2", "b/3"]:
            store.put(key, [b"bytes"])
        store.delete(["a/1"])
        assert store.keys("") == ["a/2", "b/3"]
        with pytest.raises(NotFoundError):
            store.get("a/1")
        assert bytes(store.get("a/2")) == b"bytes"

    def test_many_are_deleted_in_one_call(self, store: Store) -> None:
        keys = [f"{folder}/{number}" for folder in "abc" for number in range(5)]
        for key in keys:
            store.put(key, [b"bytes"])
        store.delete(key for key in keys if not key.endswith("3"))
        assert store.keys("") == ["a/3", "b/3", "c/3"]

    def test_a_key_that_is_gone_is_no_error(self, store: Store) -> None:
        store.delete([])
        store.delete(["absent", "a/absent", "a/b/absent"])
        store.put("a/key", [b"bytes"])
        store.delete(["a/key/below"])
        store.delete(["a/absent", "a/key", "a/key", "b/absent"])
        store.delete(["a/key"])
        assert store.keys("") == []

    def test_a_deleted_key_may_be_created_anew(self, store: Store) -> None:
        store.put("a/key", [b"first"])
        store.delete(["a/key"])
        store.put("a/key", [b"second, longer"])
        assert bytes(store.get("a/key")) == b"second, longer"

    def test_threads_may_delete_the_same_keys(self, store: Store) -> None:
        keys = [f"a/{number}" for number in range(20)]
        for key in [*keys, "a/kept"]:
            store.put(key, [b"bytes"])
        _at_once(store.delete, [keys] * THREADS)
        assert store.keys("") == ["a/kept"]

    # keys that are none

    @pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
    def test_a_bad_key_is_refused(self, store: Store, key: str) -> None:
        with pytest.raises(ValueError, match="key"):
            store.put(key, [b"bytes"])
        with pytest.raises(ValueError, match="key"):
            store.get(key)
        with pytest.raises(ValueError, match="key"):
            store.fill(key, 0, memoryview(bytearray(1)))
        with pytest.raises(ValueError, match="key"):
            store.delete([key])
        assert store.keys("") == []


class LockingContract:
    """Every line of `checkpoint.store.Locking`, as a test."""

    @pytest.fixture
    def store(self) -> Any:
        """An empty store that locks; the subclass gives it."""
        raise NotImplementedError("give a `store` fixture that returns an empty store")

    def test_it_locks(self, store: Any) -> None:
        assert isinstance(store, Locking)

    def test_one_holds_a_lock_alone(self, store: Any) -> None:
        with _held(store, "locks/a"):
            assert store.lock("locks/a", wait=False) is None
            assert _at_once(lambda _: store.lock("locks/a", wait=False), [0]) == [None]

    def test_one_lock_does_not_hold_another(self, store: Any) -> None:
        with _held(store, "locks/a"), _held(store, "locks/b"), _held(store, "c"):
            assert store.lock("c", wait=False) is None

    def test_a_lock_left_is_free(self, store: Any) -> None:
        for wait in (True, False, True, False):
            with _held(store, "locks/a", wait=wait):
                pass

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_an_error_lets_go(self, store: Any, error: type[BaseException]) -> None:
        with pytest.raises(error, match="under the lock"), _held(store, "locks/a"):
            raise error("under the lock")
        with _held(store, "locks/a"):
            pass

    def test_it_is_held_from_the_call_on(self, store: Any) -> None:
        lock = store.lock("locks/a", wait=True)
        assert store.lock("locks/a", wait=False) is None
        with lock:
            assert store.lock("locks/a", wait=False) is None
        with _held(store, "locks/a"):
            pass

    def test_who_waits_gets_it_next(self, store: Any) -> None:
        order: list[str] = []
        begun = threading.Event()

        def wait_for_it() -> None:
            begun.set()
            with store.lock("locks/a", wait=True):
                order.append("second")

        with ThreadPoolExecutor(1) as pool:
            with _held(store, "locks/a"):
                waiting = pool.submit(wait_for_it)
                assert begun.wait(PATIENCE)
                time.sleep(0.05)
                order.append("first")
            waiting.result(PATIENCE)
        assert order == ["first", "second"]

    def test_of_many_threads_one_at_a_time_is_inside(self, store: Any) -> None:
        inside: list[int] = []
        most: list[int] = []

        def go_in(thread: int) -> None:
            for _ in range(10):
                with store.lock("locks/a", wait=True):
                    inside.append(thread)
                    time.sleep(0.0002)
                    most.append(len(inside))
                    inside.remove(thread)

        _at_once(go_in, list(range(THREADS)))
        assert most == [1] * THREADS * 10

    def test_a_held_lock_is_listed(self, store: Any) -> None:
        store.put("locks/key", [b"bytes"])
        with _held(store, "locks/a"), _held(store, "other/b"):
            assert store.keys("locks/") == ["locks/a", "locks/key"]
            assert store.keys("") == ["locks/a", "locks/key", "other/b"]

    def test_a_lock_that_was_left_is_not_listed(self, store: Any) -> None:
        with _held(store, "locks/a"):
            pass
        assert store.keys("") == []

    def test_locks_and_objects_do_not_hinder_each_other(self, store: Any) -> None:
        with _held(store, "a/lock"):
            store.put("a/key", [b"bytes"])
            store.delete(["a/absent"])
        assert bytes(store.get("a/key")) == b"bytes"

    def test_tidying_spares_what_is_in_use(self, store: Any) -> None:
        store.put("a/older", [b"older"])

        def tidied() -> Iterator[bytes]:
            yield b"half "
            store.tidy()
            yield b"and half"
            store.tidy()

        with _held(store, "a/lock"):
            store.put("a/key", tidied())
            store.tidy()
            assert store.keys("") == ["a/key", "a/lock", "a/older"]
            assert store.lock("a/lock", wait=False) is None
        assert bytes(store.get("a/key")) == b"half and half"
        assert bytes(store.get("a/older")) == b"older"

    def test_an_empty_store_is_tidy(self, store: Any) -> None:
        store.tidy()
        assert store.keys("") == []

    @pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
    def test_a_bad_key_is_not_locked(self, store: Any, key: str) -> None:
        with pytest.raises(ValueError, match="key"):
            store.lock(key, wait=False)


PAGE = mmap.ALLOCATIONGRANULARITY
MAPPED = 3 * PAGE + 1000  # bytes in the object that is mapped: some pages, and a part of one


class MappableContract:
    """Every line of `checkpoint.store.Mappable`, as a test."""

    @pytest.fixture
    def store(self) -> Any:
        """An empty store that maps; the subclass gives it."""
        raise NotImplementedError("give a `store` fixture that returns an empty store")

    def test_it_maps(self, store: Any) -> None:
        assert isinstance(store, Mappable)

    @pytest.mark.parametrize(
        ("start", "stop"),
        [
            (0, 1),
            (0, MAPPED),
            (1, 2),
            (64, PAGE),
            (PAGE - 1, PAGE),
            (PAGE - 1, PAGE + 1),
            (PAGE, PAGE + 1),
            (PAGE, 2 * PAGE),
            (2 * PAGE + 5, MAPPED - 1),
            (3 * PAGE, MAPPED),
            (MAPPED - 1, MAPPED),
        ],
    )
    def test_a_map_is_the_range(self, store: Any, start: int, stop: int) -> None:
        whole = _pattern(MAPPED)
        store.put("a/key", [whole])
        mapped = store.map("a/key", start, stop)
        assert isinstance(mapped, memoryview)
        assert (mapped.format, mapped.ndim, mapped.itemsize) == ("B", 1, 1)
        assert mapped.c_contiguous
        assert not mapped.readonly
        assert mapped == whole[start:stop]

    @pytest.mark.parametrize("place", [0, 5, PAGE, MAPPED])
    def test_an_empty_range_is_empty_memory(self, store: Any, place: int) -> None:
        store.put("key", [_pattern(MAPPED)])
        mapped = store.map("key", place, place)
        assert mapped.nbytes == 0
        assert not mapped.readonly

    def test_an_empty_object_maps_to_nothing(self, store: Any) -> None:
        store.put("empty", [])
        assert store.map("empty", 0, 0).nbytes == 0

    def test_what_is_written_to_a_map_is_seen_by_nobody_else(self, store: Any) -> None:
        whole = _pattern(MAPPED)
        store.put("key", [whole])
        mine, other = store.map("key", 0, MAPPED), store.map("key", 100, MAPPED)
        mine[:] = b"\xff" * MAPPED
        assert other == whole[100:]
        assert store.get("key") == whole
        assert store.map("key", 0, MAPPED) == whole
        assert mine == b"\xff" * MAPPED

    def test_a_map_outlives_the_key(self, store: Any) -> None:
        whole = _pattern(MAPPED)
        store.put("a/key", [whole])
        mapped, untouched = store.map("a/key", 5, MAPPED), store.map("a/key", 0, MAPPED)
        mapped[-1] = 0
        store.delete(["a/key"])
        assert mapped == whole[5:-1] + b"\0"
        store.put("a/key", [b"\xff" * MAPPED])
        assert untouched == whole
        with pytest.raises(NotFoundError):
            store.map("a/absent", 0, 1)

    def test_what_is_cut_from_a_map_keeps_it(self, store: Any) -> None:
        whole = _pattern(MAPPED)
        store.put("key", [whole])
        cut = store.map("key", 0, MAPPED)[PAGE : 2 * PAGE]
        assert cut == whole[PAGE : 2 * PAGE]
        with cut.cast("B") as again:
            again[0] ^= 0xFF
        assert cut[0] == whole[PAGE] ^ 0xFF

    @pytest.mark.parametrize(
        ("start", "stop"),
        [(0, MAPPED + 1), (MAPPED, MAPPED + 1), (MAPPED + 1, MAPPED + 1), (PAGE, 4 * PAGE),
         (0, 2**40), (2**40, 2**41), (0, 2**70)],
    )  # fmt: skip
    def test_a_map_beyond_the_end_is_damage(self, store: Any, start: int, stop: int) -> None:
        store.put("a/key", [_pattern(MAPPED)])
        with pytest.raises(IntegrityError) as caught:
            store.map("a/key", start, stop)
        assert caught.value.key == "a/key"

    @pytest.mark.parametrize(("start", "stop"), [(-1, 5), (-5, -1), (5, 4)])
    def test_a_map_of_no_range_is_refused(self, store: Any, start: int, stop: int) -> None:
        store.put("key", [b"ten bytes."])
        with pytest.raises(ValueError, match="range"):
            store.map("key", start, stop)

    @pytest.mark.parametrize("key", ["absent", "a/absent", "absent/below/it", "a/key/below"])
    @pytest.mark.parametrize("size", [0, 5])
    def test_an_absent_key_is_not_mapped(self, store: Any, key: str, size: int) -> None:
        store.put("a/key", [b"bytes"])
        with pytest.raises(NotFoundError) as caught:
            store.map(key, 0, size)
        assert caught.value.key == key

    @pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
    def test_a_bad_key_is_not_mapped(self, store: Any, key: str) -> None:
        with pytest.raises(ValueError, match="key"):
            store.map(key, 0, 1)

    @pytest.mark.parametrize("start", [0, 64, 192, PAGE - 64, PAGE + 64, 3 * PAGE + 640])
    def test_what_begins_at_a_multiple_of_64_does_so_in_memory(
        self, store: Any, start: int
    ) -> None:
        store.put("key", [_pattern(MAPPED)])
        for stop in (start + 1, MAPPED):
            mapped = store.map("key", start, stop)
            assert ctypes.addressof(ctypes.c_char.from_buffer(mapped)) % 64 == 0

    def test_many_maps_stand_beside_each_other(self, store: Any) -> None:
        whole = _pattern(MAPPED)
        store.put("key", [whole])
        maps = [store.map("key", start, start + 100) for start in range(0, MAPPED - 100, 200)]
        for number, mapped in enumerate(maps):
            mapped[0] = number % 256
        for number, mapped in enumerate(maps):
            assert mapped[0] == number % 256
            assert mapped[1:] == whole[number * 200 + 1 : number * 200 + 100]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_child_of_fork_has_its_own(self, store: Any) -> None:
        whole = _pattern(MAPPED)
        store.put("key", [whole])
        mapped = store.map("key", 0, MAPPED)
        mapped[0] = 1
        with warnings.catch_warnings():
            # Threads that other tests have left are no matter: the child takes no lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            right = mapped == b"\1" + whole[1:]
            mapped[:] = b"\xff" * MAPPED
            os._exit(0 if right and mapped[-1] == 0xFF else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert mapped == b"\1" + whole[1:]


def _pattern(size: int, step: int = 7) -> bytes:
    """Bytes in which every stretch of a few hundred differs from its neighbours."""
    page = bytes((step * n + n // 256) % 251 for n in range(65_521))
    return (page * (size // len(page) + 1))[:size]


def _held(store: Locking, key: str, *, wait: bool = False) -> Lock:
    lock = store.lock(key, wait=wait)
    assert lock is not None, f"{key} should be free"
    return lock


def _at_once(work: Callable[[Any], T], inputs: list[Any]) -> list[T]:
    """Call *work* with each input, all in threads that begin together."""
    gate = threading.Barrier(len(inputs))

    def begin(one: Any) -> T:
        gate.wait(PATIENCE)
        return work(one)

    with ThreadPoolExecutor(len(inputs)) as pool:
        return list(pool.map(begin, inputs, timeout=PATIENCE * 4))
