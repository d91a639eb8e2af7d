"""Names that mean something else than they seem to."""

from __future__ import annotations

from attacks.attack import Route
from attacks.calls import FIRE
from attacks.streams import call, named, new, old, stream

NAMES = Route("names")

# --- dotted names -----------------------------------------------------------------

for _name, _path, _arguments in (
    ("a module behind a module of the library", "json:codecs.builtins.eval", ("1",)),
    ("a module behind the program's package", "prey:canary.fire", ()),
    ("a module behind the program's package, one step further", "prey:outsider.fire_outside", ()),
    ("a function behind its globals", "prey.things:ordinary.__globals__.__class__", ()),
    ("the subclasses of object", "builtins:object.__subclasses__", ()),
    ("the subclasses of a class of the program", "prey.things:Plain.__subclasses__", ()),
    ("a class behind __class__", "prey.things:Plain.__class__", ("T", (), {})),
    ("a method of a class of the standard library", "pathlib:Path.cwd", ()),
    (
        "a method of a class that is allowed",
        "pathlib:PosixPath.touch",
        (call("pathlib:PosixPath", "made-by-an-attack"),),
    ),
    (
        "a method of a class of the program",
        "prey.things:Adding.extend",
        (new("prey.things:Adding"), [1]),
    ),
    ("a constructor by its name", "prey.canary:Trap.__init__", (new("prey.canary:Trap"),)),
    ("a constructor's call by its name", "prey.things:Plain.__call__", ()),
    ("object.__reduce_ex__ by its name", "builtins:object.__reduce_ex__", (1, 2)),
    (
        "object.__setattr__ by its name",
        "builtins:object.__setattr__",
        (named("prey.things:SHARED"), "door", "open"),
    ),
    (
        "type.__setattr__ by its name",
        "builtins:type.__setattr__",
        (named("prey.things:Plain"), "door", "open"),
    ),
    (
        "dict.update of what the program holds",
        "builtins:dict.update",
        (named("prey.canary:TABLE"), {"door": "open"}),
    ),
    (
        "list.append to what the program holds",
        "builtins:list.append",
        (named("prey.canary:ROWS"), 1),
    ),
    (
        "str.format reaches into attributes",
        "builtins:str.format",
        ("{0.__class__.__mro__}", named("prey.things:Plain")),
    ),
    ("datetime.strftime by its name", "datetime:datetime.strptime", ("1", "%d")),
    ("int.from_bytes by its name", "builtins:int.from_bytes", (b"a", "big")),
):
    NAMES.add(
        f"{_name}, by a dotted name",
        stream(call(_path, *_arguments)),
        gone=_path.startswith("prey.things:Plain."),
        works=any(
            word in _name
            for word in (
                "package",
                "touch",
                "allowed",
                "of the program,",
                "constructor",
                "__setattr__",
                "program holds",
            )
        )
        and "subclasses" not in _name
        and "call by" not in _name,
    )
NAMES.add("__globals__ of a function is pushed", stream(named("prey.things:ordinary.__globals__")))
NAMES.add("__dict__ of a class is pushed", stream(named("prey.things:Plain.__dict__")))
NAMES.add("__builtins__ of a module is pushed", stream(named("prey.things:__builtins__")))
NAMES.add("a local name of a function", stream(named("prey.things:ordinary.<locals>.inner")))
NAMES.add("a lambda by its name", stream(named("prey.things:<lambda>")), gone=True)

# --- a second PROTO ---------------------------------------------------------------

NAMES.add(
    "a second PROTO switches dotted names on",
    works=True,
    made=b"\x80\x02\x80\x04cprey\ncanary.fire\n)R.",
)
NAMES.add(
    "a second PROTO lowers the protocol", b"\x80\x05\x80\x00" + named(FIRE) + b")R.", works=True
)
NAMES.add("a second PROTO before STOP", b"\x80\x05N\x80\x05.")
NAMES.add("a second PROTO inside of a list", b"\x80\x05](N\x80\x02Ne.")
NAMES.add("PROTO in the middle of protocol 0", old(b"(lN0\x80\x04"))
NAMES.add("names of protocol 5 under PROTO 0", b"\x80\x00" + call(FIRE) + b".", works=True)

# --- old names, and those that are mapped to new ones -------------------------------

for _name, _body in {
    "Python 2's __builtin__ is mapped to builtins": b"c__builtin__\neval\n(S'1'\ntR",
    "Python 2's commands is mapped to subprocess": b"ccommands\ngetoutput\n(S'true'\ntR",
    "Python 2's reduce is mapped to functools": (
        b"c__builtin__\nreduce\n(cprey.canary\nfire\n(I1\nI2\nltR"
    ),
    "Python 2's xrange of everything": b"c__builtin__\nxrange\n(L9999999999L\ntR",
    "Python 2's file is not there any more": b"c__builtin__\nfile\n(S'/dev/null'\ntR",
    "Python 2's execfile is not there any more": b"c__builtin__\nexecfile\n(S'/dev/null'\ntR",
    "Python 2's copy_reg reaches its reconstructor": (
        b"ccopy_reg\n_reconstructor\n(cprey.canary\nTrap\nc__builtin__\nobject\nNtR"
    ),
    "Python 2's os2emxpath": b"cos2emxpath\nopen\n(S'x'\ntR",
    "Python 2's dbhash is mapped to dbm": b"cwhichdb\nopen\n(S'made-by-an-attack'\ntR",
    "Python 2's exceptions with a call": b"cexceptions\nSystemExit\n(I0\ntR",
}.items():
    NAMES.add(
        _name,
        old(_body),
        works=_name.startswith(("Python 2's __b", "Python 2's com", "Python 2's red")),
        harmless="copy_reg" in _name or "exceptions" in _name or "xrange" in _name,
    )

# --- look-alikes ----------------------------------------------------------------------

for _name, _path in {
    "a module with a Cyrillic letter": "prеy.things:Plain",
    "a class with a full-width letter": "prey.things:Ｐlain",
    "a class with a zero-width joiner": "prey.things:Pla\u200din",
    "a class with a combining mark": "prey.things:Plaín",
    "a class with a soft hyphen": "prey.things:Pl\u00adain",
    "a ligature that normalizes to a name": "prey.canary:ﬁre",
    "a name with a trailing space": "prey.things:Plain ",
    "a name with a leading space": "prey.things: Plain",
    "a name with a NUL": "prey.things:Plain\x00",
    "a name with a newline": "prey.things:Plain\n",
    "a name in another case": "prey.things:plain",
    "a module in another case": "Prey.things:Plain",
    "a module with a trailing dot": "prey.things.:Plain",
    "a module with a leading dot": ".prey.things:Plain",
    "a module with two dots": "prey..things:Plain",
    "a module that begins like the package": "prey_of_another:Plain",
    "a module that begins with the package's letters": "preying.things:Plain",
    "a module with a slash": "prey/things:Plain",
    "a module that is a path": "/tmp/prey:Plain",
    "a module of nothing": ":Plain",
    "a name of nothing": "prey.things:",
    "a name that is a surrogate": "prey.things:\ud800",
    "a name of a million letters": "prey.things:" + "P" * 1_000_000,
    "a name of ten thousand dots": "prey.things:" + ".".join("P" * 10_000),
    "main, where the program is not": "__main__:fire",
    "main as Python 3.11 spells its module": "__mp_main__:Plain",
}.items():
    NAMES.add(
        _name, stream(call(_path)), gone=_path.startswith(("prey.things:", "prey.canary:", "__m"))
    )

# --- what the program's package lets see ------------------------------------------------

for _name, _path, _works in (
    ("a function that the package re-exports from elsewhere", "prey:fire_outside", True),
    ("a class that the package re-exports from elsewhere", "prey:Outsider", False),
    ("a canary that the package re-exports from its own module", "prey:fire", True),
    ("a module of the package under the name of another module", "prey:canary", False),
    ("an imported module, behind the package", "prey:outsider", False),
    ("typing.Any behind a module of the program", "prey.things:Any", False),
    ("the collections module behind a module of the program", "prey.things:collections", False),
    ("attrs behind a module of the program", "prey.things:attrs", False),
    ("dataclass behind a module of the program", "prey.things:dataclass", False),
    ("a dict that the program holds", "prey.canary:TABLE", False),
    ("an instance that the program holds", "prey.things:SHARED", False),
    ("a list that the program holds", "prey.canary:ROWS", False),
    ("the name of a module", "prey.things:__name__", False),
    ("the loader of a module", "prey.things:__loader__", False),
    ("the spec of a module", "prey.things:__spec__", False),
    ("a module of the package that is not imported", "prey.asleep:Asleep", True),
    ("a module that is not imported", "bystander:Anything", True),
    ("a module that there is not", "no_such_module_at_all:Anything", False),
    ("a standard module that imports something", "antigravity:fly", True),
    ("a standard module that prints", "this:s", True),
    ("a module of tests that is on the path", "attacks.child:serve", False),
):
    NAMES.add(
        f"{_name} is pushed",
        stream([named(_path)]),
        harmless="of tests" in _name,
        works=(_works and "is not" in _name) or "standard module" in _name,
    )
    NAMES.add(f"{_name} is called", stream(call(_path)), works=_works)
NAMES.add("a re-exported class is instantiated", stream(new("prey:Outsider")))
NAMES.add(
    "a class of the package, under the name that the package re-exports it by",
    stream(new("prey:Plain")),
    harmless=True,
)
NAMES.add(
    "a class found through another module of the program",
    stream(new("prey.things:Meta", "T", (), {})),
)

# --- this library itself -----------------------------------------------------------------

for _path, _arguments in (
    ("checkpoint:load", ("made-by-an-attack",)),
    ("checkpoint:loads", (stream(call(FIRE)),)),
    ("checkpoint:dump", (1, "made-by-an-attack")),
    ("checkpoint:dumps", (1,)),
    ("checkpoint:rename", ("prey.things:Plain", "os:system")),
    ("checkpoint:rename_module", ("prey.things", "os")),
    ("checkpoint:versioned", (2,)),
    ("checkpoint:upgrade", (named("prey.things:Plain"), 1)),
    ("checkpoint:Checkpointer", ("made-by-an-attack",)),
    ("checkpoint:LocalStore", ("made-by-an-attack",)),
    ("checkpoint:MemoryStore", ()),
    ("checkpoint:Unpickler", (1,)),
    ("checkpoint:everything", ()),
    ("checkpoint:StandIn", ()),
    ("checkpoint:resumable", (named(FIRE),)),
    ("checkpoint._unpickling:find_global", ("os", "system")),
    ("checkpoint._pickle_interface:load", ("made-by-an-attack",)),
    ("checkpoint._standins:stand_in", ("os:system",)),
    ("checkpoint.store:replace_file", ("made-by-an-attack",)),
    ("checkpoint.testing:run_torture", ()),
    ("checkpoint._cli:main", ([],)),
    ("checkpoint.rebuild:importlib", ()),
    ("checkpoint.rebuild.numpy:np.load", ("x",)),
    ("checkpoint.rebuild.numpy:np", ()),
    ("checkpoint.rebuild.pandas:pd.read_pickle", ("x",)),
    ("checkpoint.rebuild.torch:torch.load", ("x",)),
    ("checkpoint.rebuild.numpy:UnsafeError", ("x",)),
    ("checkpoint.rebuild:__builtins__", ()),
    ("checkpoint.rebuild.numpy:__loader__", ()),
    ("checkpoint.rebuild.not_there:rebuild", ()),
    ("checkpoint.rebuild.numpy:Any", ()),
    ("checkpoint.errors:CheckpointError", ("x",)),
    ("checkpoint.errors:warn", ("x", named("builtins:UserWarning"))),
):
    NAMES.add(f"{_path} of this library is called", stream(call(_path, *_arguments)))
for _path in (
    "checkpoint:Snapshot",
    "checkpoint:Global",
    "checkpoint:Shape",
    "checkpoint:Record",
    "checkpoint._model:Manifest",
    "checkpoint:Migrations",
):
    NAMES.add(f"{_path} of this library is made by NEWOBJ", stream(new(_path)))
NAMES.add("everything is pushed as a policy", stream({"trust": named("checkpoint:everything")}))
