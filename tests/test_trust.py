"""The trust policy: what a stranger's file may have, by its place and by what is listed."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attacks.streams import built, call, items, named, new, stream
from programs import Program, program

import checkpoint
from checkpoint import Checkpointer, MigrationError, UnsafeError

# A program's package, and a library that the program uses.
PACKAGE = """
import collections, enum, library
from library import Thing, shout

class Hero:
    def report(self): return "its own"
    class Item: pass

class Child(Thing): pass

class Named(collections.namedtuple("Named", "x y")): pass

class Color(enum.Enum):
    RED = 1
    CRIMSON = 1

class Open(enum.Enum):
    ONE = 1
    @classmethod
    def _missing_(cls, value):
        ran.append(value)
        return cls.ONE

class Own:
    def __new__(cls, *args): ran.append("new"); return object.__new__(cls)

class Dropped:
    def __del__(self): ran.append("del")

class Failed(Exception):
    def __init__(self, code): ran.append("init"); super().__init__(code)
    def report(self): return "its own"

class Set:
    def __setstate__(self, state): ran.append(state); self.seen = state

class Called(type):
    def __call__(cls, *args): ran.append("called")

class Meta(collections.Counter, metaclass=Called): pass

def function(*args): ran.append(args)
def reduced(value): ran.append(value); return value
class Reduced:
    def __reduce__(self): return reduced, (3,)

ran = []
alias = Hero
table = {"Hero": Hero}
Lying = type("Lying", (), {"__module__": "program", "__qualname__": "Elsewhere"})
"""
LIBRARY = """
import checkpoint

class Thing:
    def __setstate__(self, state): raise AssertionError("it was run")

@checkpoint.versioned(1)
class Declared: pass

def shout(*args): raise AssertionError("it was called")
def call(function, *args): return function(*args)
"""


@pytest.fixture
def running() -> Iterator[Program]:
    with program() as made:
        made.release(library=LIBRARY)
        library = sys.modules["library"]
        made.release(library=LIBRARY, program=PACKAGE)
        assert sys.modules["library"] is not library
        yield made


def loads(value: Any, **options: Any) -> Any:
    """What a stranger's stream gives to the program `program`."""
    return checkpoint.loads(stream(value), **{"package": "program"} | options)


def refused(value: Any, match: str, **options: Any) -> UnsafeError:
    with pytest.raises(UnsafeError, match=match) as caught:
        loads(value, **options)
    return caught.value


# --- the program's own package ---------------------------------------------------


def test_classes_of_the_package_are_made_and_given_a_state(running: Program) -> None:
    hero = loads(built(new("program:Hero"), {"name": "x"}))
    assert (type(hero), vars(hero)) == (running.module("program").Hero, {"name": "x"})
    assert type(loads(new("program:Hero.Item"))) is running.module("program").Hero.Item


def test_functions_of_the_package_are_values_and_never_called(running: Program) -> None:
    assert loads(named("program:function")) is running.module("program").function
    refused(call("program:function", 1), "program:function is called")
    refused(call("collections:defaultdict", named("program:function")), "for each missing key")
    assert running.module("program").ran == []


def test_classes_of_the_package_are_never_called(running: Program) -> None:
    for name in ("Hero", "Own", "Set", "Meta"):
        refused(call(f"program:{name}"), "is called|must be listed|its own way")
    assert running.module("program").ran == []


@pytest.mark.parametrize(
    "name",
    ["Thing", "shout", "library", "alias", "table", "Lying", "library.shout", "ran",
     "Hero.report.__globals__", "Hero.__init__", "Hero.__class__", "function.__code__",
     "collections.OrderedDict"],
)  # fmt: skip
def test_what_is_not_defined_there_under_that_name_is_refused(running: Program, name: str) -> None:
    for value in (named(f"program:{name}"), call(f"program:{name}"), new(f"program:{name}")):
        with pytest.raises((UnsafeError, MigrationError)):
            loads(value)


def test_what_is_defined_in_another_package_is_refused_with_the_line_to_add(
    running: Program,
) -> None:
    error = refused(new("library:Thing"), r"trust=\['library:Thing'\]")
    assert (error.global_name, error.opcode) == ("library:Thing", "STACK_GLOBAL")


def test_a_module_that_was_not_imported_is_not_imported_because_a_stream_names_it() -> None:
    assert "wave" not in sys.modules
    for package in ("wave", "program", "__main__"):
        with pytest.raises(UnsafeError):
            checkpoint.loads(stream(new("wave:Error")), package=package)
    with pytest.raises(UnsafeError, match="import wave first"):
        checkpoint.loads(stream(new("wave:Error")), package="wave")
    assert "wave" not in sys.modules


def test_a_class_that_declares_a_version_is_trusted_wherever_it_is(running: Program) -> None:
    declared = loads(built(new("library:Declared"), {"a": 1}))
    assert type(declared) is running.module("library").Declared
    refused(call("library:Declared"), "is called")


# --- classes with code of their own --------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Dropped", "__del__"),
        ("Own", "__new__"),
        ("Child", "__setstate__ comes from library:Thing"),
    ],
)
def test_a_class_that_runs_code_by_being_there_must_be_listed(
    running: Program, name: str, why: str
) -> None:
    made = new(f"program:{name}")
    error = refused(made, why)
    assert f"trust=['program:{name}']" in str(error)
    assert running.module("program").ran == []
    assert type(loads(made, trust=[f"program:{name}"])) is getattr(running.module("program"), name)


def test_a_class_as_a_value_needs_no_more_than_to_be_there(running: Program) -> None:
    for name in ("Dropped", "Own", "Child"):
        assert loads(named(f"program:{name}")) is getattr(running.module("program"), name)


def test_an_exception_is_made_without_its_init_and_keeps_its_methods(running: Program) -> None:
    for made in (call("program:Failed", 7, 8), new("program:Failed", 7, 8)):
        error = loads(built(made, {"more": 1}))
        assert (error.args, error.more, error.report()) == ((7, 8), 1, "its own")
    assert running.module("program").ran == []
    for name in ("report", "with_traceback", "__traceback__", "__cause__", "__class__", "add_note"):
        refused(built(new("program:Failed"), {name: 1}), name)


def test_named_tuples_and_enums_are_found_by_their_values(running: Program) -> None:
    mine = running.module("program")
    assert loads(new("program:Named", 1, [2])) == (1, [2])
    assert loads(call("program:Color", 1)) is mine.Color.RED
    assert loads(call("builtins:getattr", named("program:Color"), "CRIMSON")) is mine.Color.RED
    refused(call("program:Color", 2), "no member with the value 2")
    refused(call("builtins:getattr", named("program:Color"), "mro"), "no member 'mro'")
    refused(new("program:Named", 1, 2, 3), "takes 2 arguments, not 3")


def test_an_enum_is_not_asked_for_a_value_that_it_does_not_have(running: Program) -> None:
    for value in (2, "x", [1], {"a": 1}, new("program:Hero")):
        refused(call("program:Open", value), "program:Open")
    assert running.module("program").ran == []
    assert loads(call("program:Open", 1)).name == "ONE"


def test_the_programs_own_setstate_is_given_what_a_stranger_wrote(running: Program) -> None:
    assert loads(built(new("program:Set"), {"a": 1})).seen == {"a": 1}
    refused(built(new("program:Set"), {"__class__": 1}), "__class__")


def test_a_state_shadows_no_method_and_no_slot(running: Program) -> None:
    refused(built(new("program:Hero"), {"report": named("program:function")}), "is a method of")
    refused(built(new("program:Hero"), (None, {"report": 1})), "is a method of")
    refused(built(new("program:Hero"), {"__reduce_ex__": named("program:function")}), "__reduce_ex")


def test_a_reduction_that_calls_a_function_is_let_through_by_its_name(running: Program) -> None:
    data = checkpoint.dumps(running.module("program").Reduced(), key=None)
    running.module("program").ran.clear()
    with pytest.raises(UnsafeError, match="program:reduced is called"):
        checkpoint.loads(data, package="program")
    assert running.module("program").ran == []
    for entry in ("program:reduced", running.module("program").reduced):
        assert checkpoint.loads(data, package="program", trust=[entry]) == 3


# --- what is shipped -------------------------------------------------------------------


def test_the_names_of_python_2_and_of_other_releases_are_known() -> None:
    old = b"c__builtin__\nset\n((lI1\naI2\natR."
    assert checkpoint.loads(old) == {1, 2}
    if sys.version_info >= (3, 13):
        loaded = checkpoint.loads(stream(call("pathlib._local:PosixPath", "a", "b")))
        assert loaded == Path("a/b")


def test_shipped_types_are_called_with_what_their_reductions_write_and_nothing_else() -> None:
    assert loads(call("collections:defaultdict", named("builtins:list"))) == {}
    assert loads(items(call("collections:OrderedDict"), {1: 2})) == OrderedDict({1: 2})
    for value in (
        call("builtins:getattr", named("builtins:dict"), "__class__"),
        call("fractions:Fraction", "1e999999999"),
        call("functools:reduce", named("builtins:getattr"), (1, "real")),
        call("re:_compile", "a" * 5000, 0),
        call("zoneinfo:ZoneInfo", "../../etc/passwd"),
        call("_codecs:encode", "x", "rot13"),
        call("collections:defaultdict", named("builtins:getattr")),
    ):
        refused(value, "called with what it may not be given")


@pytest.mark.parametrize("name", ["load", "Checkpointer", "StandIn", "everything", "_trust:Policy",
    "rebuild._checks:require", "_unpickling:find_global", "rebuild.numpy:np"])  # fmt: skip
@pytest.mark.parametrize("trust", [(), ["checkpoint"], ["checkpoint.rebuild"]])
def test_our_own_modules_are_not_reached(name: str, trust: Any) -> None:
    module, _, qualname = name.rpartition(":")
    path = f"checkpoint{'.' * bool(module)}{module}:{qualname}"
    refused(call(path), "never given to a stream", trust=trust, package="checkpoint")


@pytest.mark.parametrize("entry", ["checkpoint:load", checkpoint.load, Checkpointer])
def test_what_is_ours_cannot_be_listed(entry: Any) -> None:
    with pytest.raises(ValueError, match="never given to a stream"):
        checkpoint.loads(b"N.", trust=[entry])


# --- trust= ------------------------------------------------------------------------------


def test_each_kind_of_entry_grants_what_it_says(running: Program) -> None:
    library = running.module("library")
    call_, thing = call("library:call", named("builtins:list")), new("library:Declared")
    assert loads(call_, trust=["library:call"]) == []
    assert loads(call_, trust=[library.call]) == []
    assert type(loads(thing, trust=[library.Declared])) is library.Declared
    assert loads(named("library:call"), trust=["library"]) is library.call
    refused(call_, "is called", trust=["library"])
    refused(call_, r"trust=\['library:call'\]", trust=["library:Thing"])


def test_a_package_that_is_listed_is_imported_then() -> None:
    source = "import checkpoint, sys, pickle\n"
    source += "assert 'colorsys' not in sys.modules\n"
    source += "checkpoint.loads(pickle.dumps(1), trust=['colorsys'])\n"
    source += "assert 'colorsys' in sys.modules\n"
    _ran(source)


@pytest.mark.parametrize("trust", ["library", b"library", 5])
def test_trust_is_a_collection(trust: Any) -> None:
    with pytest.raises(TypeError):
        checkpoint.loads(b"N.", trust=trust)


@pytest.mark.parametrize(
    "entry", ["no_such_module", "library:", "library:nothing", "", 5, None, b"x"]
)
def test_an_entry_that_is_nothing_is_told_at_once(running: Program, entry: Any) -> None:
    with pytest.raises((TypeError, ValueError, ImportError, AttributeError)):
        checkpoint.loads(b"N.", trust=[entry])


def test_everything_is_pickles_own_behaviour(running: Program) -> None:
    mine = running.module("program")
    assert loads(call("program:function", 1), trust=checkpoint.everything) is None
    assert mine.ran == [(1,)]
    assert repr(checkpoint.everything) == "checkpoint.everything"


# --- package= and its default --------------------------------------------------------------

SCRIPT = """
import checkpoint, collections, pickle, sys

class Mine: pass

if __name__ == "__main__":
    assert type(checkpoint.loads(pickle.dumps(Mine()))) is Mine
    assert type(checkpoint.loads(checkpoint.dumps(Mine(), key=None))) is Mine
    saves = checkpoint.Checkpointer(checkpoint.MemoryStore(), key=None)
    saves.save(Mine())
    assert type(saves.load()) is Mine
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as pool:
        assert type(pool.submit(checkpoint.loads, pickle.dumps(Mine())).result()) is Mine
    print("done")
"""


def _ran(source: str, *how: str, cwd: Any = None) -> str:
    command = [sys.executable, "-W", "error", *(how or ("-c", source))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_script_and_a_line_of_code_may_have_their_own_classes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    assert _ran("", "script.py", cwd=tmp_path) == "done"
    assert _ran(SCRIPT) == "done"


def test_a_module_that_is_run_may_have_the_classes_of_its_package(tmp_path: Path) -> None:
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("class Other: pass\n")
    more = "from mypackage.other import Other\n"
    more += "    checkpoint.loads(pickle.dumps(Other()))\n"
    (package / "run.py").write_text(
        SCRIPT.replace("print(", more.replace("from", "from", 1) + "    print(")
    )
    assert _ran("", "-m", "mypackage.run", cwd=tmp_path) == "done"


def test_a_notebook_may_have_the_classes_of_its_cells(tmp_path: Path) -> None:
    # A kernel puts a module of its own where __main__ was, without a file.
    (tmp_path / "kernel.py").write_text(
        "import sys, types\nmain = sys.modules['__main__'] = types.ModuleType('__main__')\n"
        f"exec({SCRIPT!r}, vars(main))\n"
    )
    assert _ran("", "kernel.py", cwd=tmp_path) == "done"


def test_the_caller_is_the_first_that_is_not_of_the_standard_library(running: Program) -> None:
    library: Any = running.release(
        library=LIBRARY + "\nimport pickle\ndef loads(data): return checkpoint.loads(data)\n"
        "def later(pool, data): return pool.submit(checkpoint.loads, data)\n",
        program=PACKAGE,
    )
    thing, hero = stream(named("library:Thing")), stream(named("program:Hero"))
    assert library.loads(thing) is library.Thing
    with pytest.raises(UnsafeError, match=r"your package \('library'"):
        library.loads(hero)
    with pytest.raises(UnsafeError, match=__name__.partition(".")[0]):
        checkpoint.loads(thing)
    assert [*map(checkpoint.loads, [stream(named(f"{__name__}:Here"))])] == [Here]
    with ExitStack() as stack:
        stack.callback(checkpoint.loads, stream(named(f"{__name__}:Here")))
    with ThreadPoolExecutor(1) as pool, pytest.raises(UnsafeError):
        pool.submit(checkpoint.loads, thing).result()


class Here:
    """A class of the caller."""


@pytest.mark.parametrize("package", ["", 5, b"x"])
def test_a_package_is_named_by_a_text(package: Any) -> None:
    with pytest.raises(TypeError, match="package is the name of a package"):
        checkpoint.loads(b"N.", package=package)


# --- renames, upgrades, stand-ins -------------------------------------------------------------


def test_a_rename_grants_nothing(running: Program) -> None:
    migrations = checkpoint.Migrations()
    migrations.rename("program:Gone", "library:Thing")
    migrations.rename("program:gone", "library:shout")
    migrations.rename("collections:OrderedDict", "program:Own")
    migrations.rename("program:Was", "program:Hero")
    known: dict[str, Any] = {"migrations": migrations}
    refused(new("program:Gone"), "library:Thing is not trusted", **known)
    refused(call("program:gone"), "library:shout is not trusted", **known)
    refused(call("collections:OrderedDict"), "program:Own is called", **known)
    refused(call("program:Was"), "program:Hero is called", **known)
    hero = loads(built(new("program:Was"), {"a": 1}), **known)
    assert type(hero) is running.module("program").Hero


@pytest.mark.parametrize("name", ["library:Thing", "subprocess:Popen", "posix:system", "nowhere:X"])
def test_a_refused_global_is_never_stood_for(running: Program, name: str) -> None:
    refused(call(name, 1), "is not trusted", on_missing="stand-in")
    refused(new(name), "is not trusted", on_missing="stand-in")


def test_what_is_gone_from_the_package_is_stood_for(running: Program) -> None:
    with pytest.raises(MigrationError, match="program:Lost"):
        loads(built(new("program:Lost"), {"a": 1}))
    found = loads(built(new("program:Lost"), {"a": 1}), on_missing="stand-in")
    assert (repr(found), found.a) == ("<stand-in for program:Lost: a=1>", 1)


def _old(running: Program, source: str) -> bytes:
    """A stranger's snapshot of a class as it was."""
    running.release(library=LIBRARY, program=source)
    made = running.module("program").Old()
    made.__dict__.update(name="x")
    return checkpoint.dumps(made, key=None)


def test_upgrades_run_on_a_strangers_state_and_their_output_shadows_nothing(
    running: Program,
) -> None:
    data = _old(running, "class Old: pass")
    running.release(library=LIBRARY, program="class Old:\n  def report(self): pass\n")
    migrations = checkpoint.Migrations()
    old = running.module("program").Old
    migrations.upgrade(old, 1)(lambda state: {**state, "new": 1})
    found = checkpoint.loads(data, package="program", migrations=migrations)
    assert vars(found) == {"name": "x", "new": 1}
    again = checkpoint.Migrations()
    again.upgrade(old, 1)(lambda state: {"report": state["name"]})
    with pytest.raises(UnsafeError, match="'report' is a method of Old"):
        checkpoint.loads(data, package="program", migrations=again)


def test_what_an_upgrade_makes_of_a_class_that_is_gone_shadows_nothing(running: Program) -> None:
    data = _old(running, "class Old: pass")
    running.release(library=LIBRARY, program=PACKAGE)
    migrations = checkpoint.Migrations()
    fields = {"a": 1}

    @migrations.upgrade("program:Old", 1)
    def _(state: Any) -> Any:
        return checkpoint.Become("program:Hero", {**state, **fields})

    found = checkpoint.loads(data, package="program", migrations=migrations)
    assert (type(found).__name__, vars(found)) == ("Hero", {"name": "x", "a": 1})
    fields["report"] = 2
    with pytest.raises(UnsafeError, match="'report' is a method of Hero"):
        checkpoint.loads(data, package="program", migrations=migrations)
