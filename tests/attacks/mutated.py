"""No call at all: what is process-wide is named, and filled."""

from __future__ import annotations

from attacks.attack import Route
from attacks.streams import Op, added, appended, items, named, push, stream

MUTATED = Route("mutated globals")

for _name, _filled, _works in (
    ("sys.path is given a folder", appended("sys:path", "/tmp"), True),
    ("sys.path is given a folder by APPEND", Op(named("sys:path") + push("/tmp") + b"a"), True),
    ("sys.modules is given a module", items("sys:modules", {"json5": 1}), True),
    ("sys.modules has a module replaced", items("sys:modules", {"prey.asleep": 1}), True),
    ("sys.meta_path is given a finder", appended("sys:meta_path", 1), True),
    ("sys.path_hooks is given a hook", appended("sys:path_hooks", 1), True),
    ("sys.path_importer_cache is filled", items("sys:path_importer_cache", {"/": 1}), True),
    ("sys.argv is given an argument", appended("sys:argv", "--attack"), True),
    ("sys.warnoptions is given an option", appended("sys:warnoptions", "error"), True),
    ("os.environ is given a variable", items("os:environ", {"ATTACKED": "1"}), True),
    ("os.environ has PATH replaced", items("os:environ", {"PATH": "/tmp"}), True),
    ("os.environb is given a variable", items("os:environb", {b"ATTACKED": b"1"}), True),
    (
        "copyreg.dispatch_table is given a reducer",
        items("copyreg:dispatch_table", {named("prey.things:Plain"): named("prey.canary:fire")}),
        True,
    ),
    (
        "copyreg._inverted_registry is filled",
        items("copyreg:_inverted_registry", {(1, 2): 3}),
        True,
    ),
    ("builtins has a function replaced", items("builtins:__dict__", {"len": 1}), True),
    (
        "the globals of a module have a function replaced",
        items("prey.canary:__dict__", {"attacked": 1}),
        True,
    ),
    ("a table of the program is filled", items("prey.canary:TABLE", {"door": "open"}), True),
    ("a list of the program is filled", appended("prey.canary:ROWS", 1), True),
    ("warnings.filters is filled", appended("warnings:filters", 1), True),
    ("linecache.cache is filled", items("linecache:cache", {"a": 1}), True),
    ("re's cache is filled", items("re:_cache", {("a",): 1}), False),
    ("logging's handlers are filled", items("logging:_handlers", {"a": 1}), False),
    ("mimetypes is filled", items("mimetypes:types_map", {".a": "b"}), False),
    ("encodings' cache of codecs is filled", items("encodings:_cache", {"attack": None}), False),
    ("a set of the interpreter is filled", added("keyword:kwlist", "attack"), False),
    (
        "the stand-ins of this library are filled",
        items("checkpoint._shipped:SHIPPED", {"a": 1}),
        False,
    ),
    (
        "the migrations of this library are filled",
        items("checkpoint._migration:default", {"a": 1}),
        False,
    ),
    ("the defaults of json's encoder", items("json:_default_encoder", {"a": 1}), False),
):
    MUTATED.add(_name, stream(_filled), works=_works, gone="globals of a module" in _name)
