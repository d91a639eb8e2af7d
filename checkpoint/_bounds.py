"""What a load of a foreign stream may cost: memory, hashing, and depth.

Keys are hashed here as the real ones would be, where that can be known; and how
deep values lie in each other is bounded for types whose deallocation recurses.
"""

from __future__ import annotations

from typing import Any, NoReturn

from checkpoint._grants import Box, Grant, Instance, Payload, Recalled, parts, plain, told
from checkpoint._model import size_text
from checkpoint._probes import MAX_COLLISIONS, Probes

MAX_DEPTH = 200  # of types whose deallocation recurses, each in the next
_MAX_KEY_DEPTH = 100
_MAX_KEY_COST = 1 << 17
_MAX_UNKNOWN = 1 << 20  # the sum of squares of how many keys a container has whose hash is unknown
_MANY = 2000  # keys in one container
_PRIME = (1 << 61) - 1  # what numbers are hashed modulo

_HASHED = frozenset({int, float, str, bytes, bool, type(None), Grant})
_RANDOM = frozenset({str, bytes, bool, type(None), Grant})  # whose hashes nobody foresees
_HOLDERS = frozenset({tuple, Box, Instance})
_HELD = _HOLDERS | {Recalled}
_ATOMIC = frozenset({str, int, bool, type(None), bytes})


class Bounds:
    """Counts what a load will take, and refuses it before it is too much."""

    def __init__(self, limit: int, size: int) -> None:
        self._limit, self._size = limit, size
        self.spent = size
        self.weak: list[Instance] = []  # of types whose deallocation recurses
        self._cost = 0  # of hashing keys
        self._many: dict[int, Any] = {}  # what has many keys whose hashes can be chosen
        self._unknown = 0

    def refuse(self, what: str, about: Any = None) -> NoReturn:
        """Raise UnsafeError that says *what* is refused, and where."""
        raise NotImplementedError

    @property
    def is_unsure(self) -> bool:
        """Whether only a look at each key while it is put tells whether too many collide."""
        return self._unknown > _MAX_UNKNOWN

    def spend(self, size: int, more: int = 0) -> None:
        """Count *size* bytes that the load will take, and *more* that it takes for now."""
        self.spent += size
        if self.spent + more > self._limit:
            self.refuse(
                f"it would take more than {size_text(self._limit)} of memory; "
                f"if that is right, allow it: budget={_rounded(4 * self.spent)}"
            )

    def keys(self, keys: list[Any], of: Any) -> None:
        """Check keys of a dict or elements of a set."""
        kinds = set(map(type, keys))
        if not kinds <= _RANDOM and len(of.items or ()) + len(keys) > _MANY:
            self._many[id(of)] = of
        if kinds <= _ATOMIC and (int not in kinds or _are_small(keys)):
            return
        for key in keys:
            kind = type(key)
            if kind in _ATOMIC and not (kind is int and not -_PRIME < key < _PRIME):
                continue
            self._key(plain(key), of)

    def check_probes(self) -> None:
        """Refuse keys that were chosen so that each is led past many others."""
        for one in self._many.values():
            is_set = type(one) is Box and one.kind != "dict"
            keys = one.items if is_set else one.items[::2]
            small = [key for key in keys if type(key) is int]
            if small and max(small) - min(small) < 4 * len(small):
                keys = [key for key in keys if type(key) is not int]
            known = (hash(_real(key)) for key in keys if _is_known(key))
            if not Probes(is_set=is_set).add(known):
                self.refuse("keys that were chosen to collide")

    def _key(self, key: Any, of: Any) -> None:
        """Check one key that is no small atom."""
        kind = type(key)
        if kind is Grant or (kind is Instance and key.grant.hashing == "identity"):
            return
        if (kind is Box and key.kind != "frozenset") or (
            kind is Instance and key.grant.hashing == "none"
        ):
            self.refuse(f"{told(key)} is a key or an element")
        real = self._hashed(key)
        if real is None:
            before = getattr(of, "unknown", 0)
            self._unknown += 2 * before + 1
            of.unknown = before + 1
            return
        hashes = getattr(of, "hashes", None)
        if hashes is None:
            hashes = of.hashes = {}
        number = hashes[real] = hashes.get(real, 0) + 1
        if number > MAX_COLLISIONS:
            self.refuse(f"more than {MAX_COLLISIONS} keys with one hash")

    def _hashed(self, key: Any) -> int | None:
        """The hash that a key will have, or None; refused if to take it costs too much."""
        left, known = _MAX_KEY_COST, True
        work = [(key, 0)]
        while work:
            value, depth = work.pop()
            value = plain(value)
            left -= 1
            if left < 0 or depth > _MAX_KEY_DEPTH:
                self.refuse("a key that is nested too deep, or holds the same again and again")
            kind = type(value)
            if kind is tuple:
                work += [(item, depth + 1) for item in value]
            elif kind is Instance and _fraction(value) is not None:
                left -= 4
            elif kind is Instance and value.grant.hashing != "identity":
                known = False
                work += [(item, depth + 1) for item in parts(value)]
                state = plain(value.state)
                if type(state) is Box:
                    work += [(item, depth + 2) for item in state.items]
            elif kind is int:
                left -= value.bit_length() >> 9
            elif kind not in _ATOMIC and kind is not float:
                known = known and kind is not Box and kind is not Payload
        self._cost += _MAX_KEY_COST - left
        if self._cost > (1 << 19) + self._size:
            self.refuse("keys that cost too much to hash")
        return hash(_real(key)) if known else None

    def deepen(self, target: Any, items: list[Any]) -> None:
        """Note how deep types whose deallocation recurses are nested in *target*, as far as known.

        So most chains are refused before they are long; `check_depth` sees the others.
        """
        inner = (plain(item) for item in items)
        held = [getattr(one, "deep", 0) for one in inner if type(one) in (Box, Instance)]
        target.deep = max([getattr(target, "deep", 0), max(held, default=0) + _is_weak(target)])
        self._check_deep(target.deep)

    def check_depth(self, root: Any) -> None:
        """Refuse a chain of values that would overflow the stack when it is dropped."""
        if len(self.weak) > MAX_DEPTH:
            self._check_deep(weak_depth([root, *self.weak]))

    def _check_deep(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.refuse(f"types whose instances are nested more than {MAX_DEPTH} deep")


def depth_of(root: Any) -> int:
    """How many values lie in each other from *root* down, but for what leads back above."""
    depths: dict[int, int] = {}
    work: list[tuple[Any, bool]] = [(root, False)]
    while work:
        value, done = work.pop()
        value = plain(value)
        if done:
            inner = (depths.get(id(plain(part)), 0) for part in parts(value))
            depths[id(value)] = max(inner, default=0) + 1
        elif id(value) not in depths and type(value) in _HOLDERS:
            depths[id(value)] = 0
            work.append((value, True))
            work += [(part, False) for part in parts(value)]
    return depths.get(id(plain(root)), 0)


def weak_depth(roots: list[Any]) -> int:
    """How many weak values can be dropped each within the one before, at most.

    On a cycle nobody can foresee where that begins, so values that all lead to
    each other (a strongly connected component, found as Tarjan does) count as
    a chain of all that are weak among them.
    """
    deepest = 0
    depths: dict[int, int] = {}  # of what lies in a component that is known whole
    orders: dict[int, int] = {}
    path: list[Any] = []  # what is in no such component yet
    work: list[_Visit] = []
    for root in map(plain, roots):
        if type(root) in _HOLDERS and not _is_bare(root) and id(root) not in orders:
            work.append(_Visit(root, orders, path))
        while work:
            visit = work[-1]
            if visit.left:
                part = visit.left.pop()
                if _is_bare(part):
                    visit.below = max(visit.below, int(part.grant.weak))
                    continue
                key = id(part)
                if key in depths:
                    visit.below = max(visit.below, depths[key])
                elif key in orders:
                    visit.lowest = min(visit.lowest, orders[key])
                else:
                    work.append(_Visit(part, orders, path))
                continue
            work.pop()
            if visit.lowest == visit.order:
                members = path[visit.at :]
                del path[visit.at :]
                visit.below += sum(map(_is_weak, members))
                depths |= dict.fromkeys(map(id, members), visit.below)
                deepest = max(deepest, visit.below)
            if work:
                work[-1].below = max(work[-1].below, visit.below)
                work[-1].lowest = min(work[-1].lowest, visit.lowest)
    return deepest


class _Visit:
    """A value on the way down: its parts that are left, and what is known of those before them."""

    __slots__ = ("at", "below", "left", "lowest", "order")

    def __init__(self, value: Any, orders: dict[int, int], path: list[Any]) -> None:
        self.left = _held(value)
        self.order = self.lowest = orders[id(value)] = len(orders)
        self.at, self.below = len(path), 0
        path.append(value)


def _held(value: Any) -> list[Any]:
    """What *value* holds that may hold something."""
    kind = type(value)
    if kind is Instance:
        inner: Any = (*value.args, value.state, *(value.items or ()))
    else:
        inner = value if kind is tuple else value.items
    return [plain(part) for part in inner if type(part) in _HELD]


def _is_bare(value: Any) -> bool:
    """Whether it is an instance that holds nothing, of which there may be very many."""
    return type(value) is Instance and not (value.args or value.items) and value.state is None


def _is_weak(value: Any) -> bool:
    return type(value) is Instance and value.grant.weak


def _are_small(keys: list[Any]) -> bool:
    return all(-_PRIME < key < _PRIME for key in keys if type(key) is int)


def _is_known(key: Any) -> bool:
    """Whether its hash can be foreseen by who writes a stream, and is known here."""
    if type(key) is tuple:
        return all(type(part) in _HASHED or _is_known(part) for part in key)
    return type(key) in (int, float)


def _fraction(one: Instance) -> int | None:
    """A number with the hash of a fraction, which remembers hashes in a table of its own."""
    if one.grant.name != "fractions:Fraction":
        return None
    parts = one.args if len(one.args) == 2 else [*map(int, one.args[0].split("/")), 1][:2]
    above, below = parts
    return above if below % _PRIME == 0 else above * pow(below, -1, _PRIME) % _PRIME


def _real(key: Any) -> Any:
    """What has the same hash as *key*, or one that nobody can foresee."""
    key = plain(key)
    if type(key) is tuple:
        return tuple(map(_real, key))
    if type(key) is Instance and (number := _fraction(key)) is not None:
        return number
    return id(key) if type(key) in (Instance, Grant) else key


def _rounded(size: int) -> str:
    return f"{-(-size >> 30)} << 30"
