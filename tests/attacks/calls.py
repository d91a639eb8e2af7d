"""Direct callables: a stream that names what does harm, and calls it.

Nothing here does any: the commands are `true`, the files are not there, and the
sockets are never connected.
"""

from __future__ import annotations

import pickle
from typing import Any

from attacks.attack import Route
from attacks.streams import call, named, new, new_ex, old, stream

CALLS = Route("direct callables")
FIRE = "prey.canary:fire"
TRAP = "prey.canary:Trap"

_SPELLINGS = {
    "REDUCE calls a function of the program": stream(call(FIRE)),
    "REDUCE calls a function of the program with arguments": stream(call(FIRE, 1, "two")),
    "REDUCE calls a class of the program, which runs its constructor": stream(call(TRAP)),
    "GLOBAL and REDUCE in protocol 0": old(b"cprey.canary\nfire\n(tR"),
    "GLOBAL and REDUCE in protocol 2": b"\x80\x02cprey.canary\nfire\n)R.",
    "INST calls what it names": old(b"(iprey.canary\nfire\n"),
    "INST makes an instance and runs its constructor": old(b"(I1\niprey.canary\nTrap\n"),
    "OBJ calls what lies below": old(b"(cprey.canary\nfire\nI1\no"),
    "OBJ makes an instance and runs its constructor": old(b"(cprey.canary\nTrap\nI1\no"),
    "the result of a call is dropped before the end": stream(call(FIRE), None),
    "a call stands between two halves of plain data": stream([1, call(FIRE), 2]),
    "a call stands in the key of a dict": b"\x80\x05}(" + call(FIRE, "k") + b"K\x01u.",
    "a call stands before bytes that are no opcodes": stream(call(FIRE))[:-1] + b"\xff\xff",
    "a call stands before the data ends early": stream(call(FIRE))[:-1] + b"X\xff\x00\x00\x00abc",
    "a call stands before a stack underflow": stream(call(FIRE))[:-1] + b"000.",
    "a recalled function is called": b"\x80\x05" + named(FIRE) + b"\x940h\x00)R.",
    "a function out of a tuple on the stack is called": b"\x80\x05" + named(FIRE) + b"2)R\x85.",
}
for _name, _stream in _SPELLINGS.items():
    CALLS.add(_name, _stream, works=True)


def _called(path: str, *arguments: Any) -> bytes:
    return stream(call(path, *arguments))


_INNER = stream(call(FIRE))
_PROGRAM = "import prey.canary; prey.canary.fire()"
# What is called, and with what; each has an effect that is seen, unless it stands below.
_HARM: dict[str, tuple[Any, ...]] = {
    "os:system": ("true",),
    "posix:system": ("true",),
    "os:popen": ("true",),
    "os:execv": ("/bin/true", ["true"]),
    "os:spawnlp": (0, "true", "true"),
    "os:posix_spawn": ("/bin/true", ["true"], {}),
    "os:fork": (),
    "os:open": ("not-there", 0),
    "os:mkdir": ("made-by-an-attack",),
    "os:remove": ("not-there",),
    "os:rename": ("not-there", "nor-here"),
    "os:chmod": ("not-there", 0),
    "os:listdir": ("/",),
    "os:chdir": ("/",),
    "os:putenv": ("CHECKPOINT_ATTACKED", "yes"),
    "os:unsetenv": ("CHECKPOINT_ATTACKED",),
    "os:_exit": (7,),
    "os:abort": (),
    "subprocess:Popen": (["true"],),
    "subprocess:call": (["true"],),
    "subprocess:run": (["true"],),
    "subprocess:check_output": (["true"],),
    "subprocess:getoutput": ("true",),
    "_posixsubprocess:fork_exec": (),
    "multiprocessing.util:spawnv_passfds": (b"/bin/true", [b"true"], ()),
    "pty:spawn": (["true"],),
    "platform:popen": ("true",),
    "builtins:eval": ("__import__('prey.canary').canary.fire()",),
    "builtins:exec": (_PROGRAM,),
    "builtins:compile": ("1", "attack", "eval"),
    "builtins:__import__": ("bystander",),
    "builtins:open": ("made-by-an-attack", "w"),
    "builtins:print": ("told",),
    "builtins:setattr": (named("prey.things:Plain"), "door", "open"),
    "builtins:delattr": (named("prey.things:Plain"), "door"),
    "importlib:import_module": ("bystander",),
    "importlib:__import__": ("bystander",),
    "importlib:reload": (call("importlib:import_module", "prey.asleep"),),
    "pkgutil:resolve_name": ("bystander",),
    "pydoc:locate": ("bystander",),
    "runpy:run_module": ("bystander",),
    "runpy:_run_code": (call("builtins:compile", _PROGRAM, "attack", "exec"), {}),
    "code:interact": (),
    "timeit:timeit": (_PROGRAM, "pass", call("time:perf_counter"), 1),
    "cProfile:run": (_PROGRAM,),
    "trace:Trace": (),
    "bdb:Bdb": (),
    "doctest:script_from_examples": (">>> 1",),
    "io:open": ("made-by-an-attack", "w"),
    "_io:FileIO": ("made-by-an-attack", "w"),
    "_io:open_code": ("/dev/null",),
    "codecs:open": ("made-by-an-attack", "w"),
    "tokenize:open": ("/dev/null",),
    "linecache:getline": ("/etc/hostname", 1),
    "fileinput:input": ("/dev/null",),
    "shutil:rmtree": ("not-there",),
    "shutil:copyfile": ("/dev/null", "made-by-an-attack"),
    "tempfile:mkstemp": (),
    "glob:glob": ("*",),
    "socket:socket": (),
    "socket:create_connection": (("", 0), 0.01),
    "socket:getaddrinfo": ("localhost", 1),
    "urllib.request:urlopen": ("file:///dev/null",),
    "http.client:HTTPConnection": ("localhost",),
    "sqlite3:connect": (":memory:",),
    "dbm.dumb:open": ("made-by-an-attack",),
    "shelve:open": ("made-by-an-attack",),
    "zipfile:ZipFile": ("made-by-an-attack", "w"),
    "tarfile:open": ("made-by-an-attack", "w"),
    "logging:FileHandler": ("made-by-an-attack",),
    "logging.config:fileConfig": ("not-there",),
    "ctypes:CDLL": (None,),
    "ctypes:string_at": (0,),
    "marshal:loads": (b"N",),
    "pickle:loads": (_INNER,),
    "_pickle:loads": (_INNER,),
    "pickle:_loads": (_INNER,),
    "types:CodeType": (),
    "signal:signal": (10, named(FIRE)),
    "signal:raise_signal": (15,),
    "signal:alarm": (100,),
    "sys:exit": (0,),
    "sys:settrace": (named(FIRE),),
    "sys:setprofile": (named(FIRE),),
    "sys:setrecursionlimit": (10**9,),
    "sys:addaudithook": (named(FIRE),),
    "_thread:start_new_thread": (named(FIRE), ()),
    "atexit:register": (named(FIRE),),
    "weakref:finalize": (named("prey.things:Plain"), named(FIRE)),
    "gc:disable": (),
    "time:sleep": (10**6,),
    "faulthandler:_sigsegv": (),
    "resource:setrlimit": (7, (100, 100)),
    "warnings:simplefilter": ("error",),
    "decimal:setcontext": (call("decimal:Context", 3),),
    "codecs:register": (named(FIRE),),
    "copyreg:pickle": (named("prey.things:Plain"), named(FIRE)),
    "copyreg:add_extension": ("prey.canary", "fire", 77),
    "collections:namedtuple": ("T", "a b"),
    "dataclasses:make_dataclass": ("T", ["a"]),
    "typing:NamedTuple": ("T", [("a", named("builtins:int"))]),
    "enum:Enum": ("T", "a b"),
}
# What has no effect by itself, or none on every system: it is refused all the same.
_QUIET = {
    "builtins:print",
    "_posixsubprocess:fork_exec",
    "platform:popen",
    "types:CodeType",
    "signal:alarm",
    "codecs:register",
    "sys:exit",
    "enum:Enum",
    "os:spawnlp",
    "multiprocessing.util:spawnv_passfds",
    "socket:create_connection",
}
for _path, _arguments in _HARM.items():
    _what = _path.replace(":", ".")
    CALLS.add(f"{_what} is called", _called(_path, *_arguments), works=_path not in _QUIET)

CALLS.add("NEWOBJ of a function", stream(new(FIRE)))
CALLS.add("NEWOBJ_EX of a function", stream(new_ex(FIRE)))
CALLS.add("NEWOBJ of a class outside of the program", stream(new("subprocess:Popen", ["true"])))
CALLS.add("NEWOBJ of type makes a class", stream(new("builtins:type", "T", (), {})))
CALLS.add(
    "type is called with three arguments and makes a class with a canary in it",
    stream(call(call("builtins:type", "T", (), {"__init__": named(FIRE)}))),
    works=True,
)
CALLS.add(
    "a pickle inside of a pickle, by the reader of this release's own C pickle",
    stream(call("_pickle:loads", pickle.dumps(pickle.dumps(1)))),
    harmless=False,
)
