"""What a stranger may do with a file: nothing.

Each attack is tried in a child process, at each door that it fits, with
canaries and limits.  It ends in UnsafeError, IntegrityError or FormatError, or,
where it says so, it is loaded as inert data.  Plain pickle, asked for the same
bytes, shows which of them are attacks: it is the mutant of all these tests.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import pytest
from attacks.attack import Attack
from attacks.catalogue import ATTACKS, ROUTES
from attacks.runner import Outcome, Runner

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="each attack has a fork of its own"),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it"),
    pytest.mark.timeout(1200),
]
_NAMES = [route.name for route in ROUTES]
# Plain pickle takes two seconds, or a gigabyte, for most of these: shown by a long run only.
_BOMBS = "memo, length, set, hash, collision and depth bombs"
_SLOW = (_BOMBS, "codecs chains", "direct callables")
_QUICK = (
    "a tuple of tuples, 60 levels and 2**60 steps to hash, as a key of a dict",
    "a memo of 2**28 entries in seven bytes",
    "a bytearray of a number",
    "deeply nested tuples as a key",
)


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """Children that have imported all there is, so that an import is the doing of an attack."""
    made = Runner()
    yield made
    made.close()


@pytest.mark.parametrize("route", [name for name in _NAMES if name != _BOMBS])
def test_no_attack_gets_through(route: str, runner: Runner) -> None:
    asked = ((index, door) for index, attack in _of(route) for door in attack.doors)
    _assert_nothing(asked, runner)


def test_no_bomb_of_a_sample_gets_through(runner: Runner) -> None:
    _assert_nothing(((index, "bare") for index, _ in islice(_of(_BOMBS), 0, None, 6)), runner)


@pytest.mark.long
def test_no_bomb_gets_through(runner: Runner) -> None:
    _assert_nothing(
        ((index, door) for index, attack in _of(_BOMBS) for door in attack.doors), runner
    )


def _assert_nothing(asked: Iterable[tuple[int, str]], runner: Runner) -> None:
    found = runner.outcomes(asked)
    through = [
        f"{ATTACKS[index].name} ({door}): {what}"
        for (index, door), outcome in found.items()
        if (what := _through(ATTACKS[index], door, outcome))
    ]
    assert not through, "\n".join([f"{len(through)} of {len(found)}", *through])


def _through(attack: Attack, door: str, outcome: Outcome) -> str:
    """What an attack got away with; empty if nothing."""
    if outcome.harm and not (attack.gone and outcome.ended == "raised MigrationError"):
        return outcome.harm
    loaded = outcome.ended == "loaded" and not attack.harmless and door not in ("inspect", "raw")
    return "it was loaded" if loaded else ""


@pytest.mark.parametrize("route", [name for name in _NAMES if name not in _SLOW])
def test_plain_pickle_falls_for_each_that_is_said_to_work(route: str, runner: Runner) -> None:
    _assert_works(_of(route), runner)


def test_plain_pickle_falls_for_a_bomb_of_each_kind(runner: Runner) -> None:
    chosen = [(index, attack) for index, attack in enumerate(ATTACKS) if attack.name in _QUICK]
    assert len(chosen) == len(_QUICK)
    _assert_works(chosen, runner)


@pytest.mark.long
@pytest.mark.parametrize("route", _SLOW)
def test_plain_pickle_falls_for_each_bomb(route: str, runner: Runner) -> None:
    _assert_works(_of(route), runner)


def _assert_works(attacks: Iterable[tuple[int, Attack]], runner: Runner) -> None:
    found = runner.outcomes((index, "pickle") for index, attack in attacks if attack.works)
    idle = [ATTACKS[index].name for (index, _), outcome in found.items() if not outcome.effect]
    assert not idle


def _of(route: str) -> Iterator[tuple[int, Attack]]:
    return ((index, attack) for index, attack in enumerate(ATTACKS) if attack.route == route)


def test_there_are_many_attacks_and_no_two_have_one_name() -> None:
    assert len(ATTACKS) >= 150
    assert len(ROUTES) == len({*_NAMES})
    twice = [
        name for name, count in Counter((a.route, a.name) for a in ATTACKS).items() if count > 1
    ]
    assert not twice


@pytest.mark.long
def test_no_two_attacks_are_of_the_same_bytes() -> None:
    seen: dict[object, str] = {}
    for attack in ATTACKS:
        made = (
            None if attack.made_apart or attack.doors[0] in ("scenario", "store") else attack.make()
        )
        if isinstance(made, bytes):
            assert made not in seen, f"{attack.name} is {seen[made]}"
            seen[made] = attack.name


# --- the canaries themselves ------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("REDUCE calls a function of the program", "fire0"),
        ("os.system is called", "os.system"),
        ("builtins.open is called", "open"),
        ("importlib.import_module is called", "imported bystander"),
        ("BUILD gives a class a new attribute by slot state", "changed Plain.attacked"),
        ("sys.path is given a folder", "changed sys.path"),
        ("os.environ is given a variable", "changed os.environ"),
        ("weakref.finalize is called", "changed at exit"),
        ("os.abort is called", "died: SIGABRT"),
        ("os._exit is called", "died: exit 7"),
        ("deeply nested tuples as a key", "died: SIGSEGV"),
        (
            "a tuple of tuples, 60 levels and 2**60 steps to hash, as a key of a dict",
            "died: SIGPROF",
        ),
        ("a memo of 2**28 entries in seven bytes", "MemoryError"),
    ],
)
def test_a_canary_sees_what_plain_pickle_lets_through(name: str, told: str, runner: Runner) -> None:
    index = next(index for index, attack in enumerate(ATTACKS) if attack.name == name)
    assert told in runner.outcomes([(index, "pickle")])[index, "pickle"].effect
