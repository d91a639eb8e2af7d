"""Callables that look harmless, and call what they are given."""

from __future__ import annotations

from typing import Any

from attacks.attack import Route
from attacks.calls import FIRE
from attacks.streams import (
    EMPTY_DICT,
    appended,
    built,
    call,
    items,
    named,
    new,
    new_ex,
    push,
    slots,
    stream,
    then,
)

HARMLESS = Route("harmless-looking callables")
fire = named(FIRE)
TRAP = named("prey.canary:Trap")


def _mapped(*values: Any) -> Any:
    return call("builtins:map", fire, [1, 2, *values])


_partial = call("functools:partial", fire, 1)
_CALLED: dict[str, Any] = {
    "partial is called": call(_partial),
    "partialmethod is bound and called": call(call("functools:partialmethod", fire, 1), 2),
    "a partial is filled by its state": call(
        built(call("functools:partial", named("builtins:len")), (fire, (), {}, None))
    ),
    "reduce calls its function": call("functools:reduce", fire, [1, 2, 3]),
    "lru_cache calls its function": call(call(call("functools:lru_cache", 1), fire)),
    "singledispatch calls its function": call(call("functools:singledispatch", fire), 1),
    "cmp_to_key calls its function": call("builtins:sorted", [2, 1], 0),
    "total_ordering of a class": call("functools:total_ordering", named("prey.things:Plain")),
    "wraps changes what it wraps": call(
        "functools:update_wrapper", fire, named("prey.things:ordinary")
    ),
    "attrgetter reaches attributes": call(call("operator:attrgetter", "__call__"), fire),
    "attrgetter, and then its result is called": call(
        call(call("operator:attrgetter", "canary.fire"), call("importlib:import_module", "prey"))
    ),
    "methodcaller calls a method": call(
        call("operator:methodcaller", "fire"), call("importlib:import_module", "prey.canary")
    ),
    "itemgetter reaches the globals of a function": call(
        call(
            call("operator:itemgetter", "fire"),
            call(call("operator:attrgetter", "__globals__"), fire),
        )
    ),
    "getattr reaches a function": call(
        call("builtins:getattr", named("prey.things:SHARED"), "opened")
    ),
    "getattr reaches the canary by its globals": call(
        call(
            "operator:getitem",
            call("builtins:getattr", named("prey.things:ordinary"), "__globals__"),
            "FIRED",
        )
    ),
    "operator.call calls": call("operator:call", fire),
    "operator.setitem fills what the program holds": call(
        "operator:setitem", named("prey.canary:TABLE"), "door", "open"
    ),
    "operator.iadd grows what the program holds": call(
        "operator:iadd", named("prey.canary:ROWS"), [1]
    ),
    "list of a map": call("builtins:list", _mapped()),
    "tuple of a map, by NEWOBJ": new("builtins:tuple", _mapped()),
    "set of a map": call("builtins:set", _mapped()),
    "frozenset of a map, by NEWOBJ": new("builtins:frozenset", _mapped()),
    "dict of a map": call("builtins:dict", call("builtins:map", fire, [(1, 2)])),
    "deque of a map": call("collections:deque", _mapped()),
    "OrderedDict of a map": call("collections:OrderedDict", call("builtins:map", fire, [(1, 2)])),
    "Counter of a map": call("collections:Counter", _mapped()),
    "bytes of a map": call("builtins:bytes", _mapped()),
    "bytearray of a map": call("builtins:bytearray", _mapped()),
    "array of a map": call("array:array", "i", _mapped()),
    "sum of a map": call("builtins:sum", _mapped()),
    "max of a map": call("builtins:max", _mapped()),
    "any of a map": call("builtins:any", _mapped()),
    "sorted of a map": call("builtins:sorted", _mapped()),
    "APPENDS of a map, which a list would take in": call(
        "builtins:list.extend", push([]), _mapped()
    ),
    "next of a map": call("builtins:next", _mapped()),
    "zip of a map, made a list": call("builtins:list", call("builtins:zip", _mapped())),
    "enumerate of a map, made a list": call("builtins:list", call("builtins:enumerate", _mapped())),
    "str.join of a map": call("builtins:str.join", "", call("builtins:map", fire, ["a"])),
    "a filter, made a list": call("builtins:list", call("builtins:filter", fire, [1, 2])),
    "filter by its constructor's name, made a list": call(
        "builtins:list", new("builtins:filter", fire, [1])
    ),
    "iter of a callable until a sentinel": call("builtins:next", call("builtins:iter", fire, 1)),
    "starmap, made a list": call("builtins:list", call("itertools:starmap", fire, [(1,)])),
    "accumulate, made a list": call("builtins:list", call("itertools:accumulate", [1, 2], fire)),
    "takewhile, made a list": call("builtins:list", call("itertools:takewhile", fire, [1])),
    "dropwhile, made a list": call("builtins:list", call("itertools:dropwhile", fire, [1])),
    "groupby, made a list": call("builtins:list", call("itertools:groupby", [1], fire)),
    "filterfalse, made a list": call("builtins:list", call("itertools:filterfalse", fire, [1])),
    "a defaultdict with a factory, which is asked for a key": call(
        "operator:getitem", call("collections:defaultdict", fire), 1
    ),
    "a weak reference with a callback to what dies at once": then(
        call("weakref:ref", new("prey.things:Plain"), fire), None
    ),
    "a finalizer of what dies at once": call("weakref:finalize", new("prey.things:Plain"), fire),
    "a thread that starts itself": call("threading:Timer", 0.0, fire),
    "an executor": call(
        call("operator:methodcaller", "submit", fire),
        call("concurrent.futures:ThreadPoolExecutor", 1),
    ),
    "ExitStack calls what it was given": call(
        call("operator:methodcaller", "close"), then(call("contextlib:ExitStack"))
    ),
    "a property is called": call(
        call("operator:methodcaller", "fget", 1), call("builtins:property", fire)
    ),
    "an exception of the program by its constructor": call("prey.things:Costly", 1),
    "type() of one argument, and then the class is called": call(
        call("builtins:type", new("prey.canary:Trap"))
    ),
    "copyreg._reconstructor of a class whose constructor is given": call(
        "copyreg:_reconstructor", TRAP, named("prey.canary:Trap"), 1
    ),
    "copyreg.__newobj__ of an instance that was given __new__": call(
        "copyreg:__newobj__", built(new("prey.things:Plain"), {"__new__": fire})
    ),
    "copyreg.__newobj_ex__ of an instance that was given __new__": call(
        "copyreg:__newobj_ex__", built(new("prey.things:Plain"), {"__new__": fire}), (), {}
    ),
    "copyreg._reconstructor of an instance that was given __new__": call(
        "copyreg:_reconstructor",
        named("prey.things:Plain"),
        built(new("prey.things:Plain"), {"__new__": fire, "__init__": fire}),
        1,
    ),
    "a hash by BINGET of a class with a hash": call("builtins:hash", new("prey.things:Hashing")),
    "re.sub with a function": call("re:sub", "a", fire, "a"),
    "re.Scanner with a function": call("re:Scanner", [("a", fire)]),
    "json.loads with a hook": call(
        "builtins:list", call("builtins:map", call("functools:partial", named("json:loads")), ["1"])
    ),
    "json.JSONDecoder with a hook": call(
        call("operator:methodcaller", "decode", "1.0"), call("json:JSONDecoder", None, fire)
    ),
    "argparse with a type that is called": call("argparse:Namespace", fire),
    "string.Formatter formats with attributes": call(
        call("operator:methodcaller", "format", "{0.__class__}", 1), call("string:Formatter")
    ),
    "ChainMap of what the program holds": call(
        call("operator:methodcaller", "update", {"door": "open"}),
        call("collections:ChainMap", named("prey.canary:TABLE")),
    ),
    "UserDict of what the program holds": built(
        call("collections:UserDict"), {"data": named("prey.canary:TABLE")}
    ),
    "a bound method of a function": call(call("types:MethodType", fire, 1)),
    "a function with other globals": call(
        "types:FunctionType", call("operator:attrgetter", "__code__"), {}
    ),
    "a cell": call("types:CellType", 1),
    "a mapping proxy": call("types:MappingProxyType", {}),
    "a SimpleNamespace whose class is a type": call("types:SimpleNamespace", 1),
    "a generic alias that is called": call(call("types:GenericAlias", TRAP, (1,))),
    "typing's ForwardRef that evaluates text": call("typing:ForwardRef", "__import__('bystander')"),
    "typing.get_type_hints of a class": call("typing:get_type_hints", named("prey.things:Frozen")),
    "an enum by its values, of a function": call("prey.things:Colour", 1),
    "an enum by its values, of a value that is none": call("prey.things:Colour", fire),
    "logging.Formatter by a name": call("logging:getLogger", "attack"),
    "an int with a constructor's base": call("builtins:int", "z" * 5000, 36),
    "codecs with an error handler": call("codecs:register_error", "attack", fire),
    "unittest.mock calls": call("unittest.mock:Mock", fire),
    "ast.literal_eval of deep text": call("ast:literal_eval", "(" * 150 + ")" * 150),
    "random.Random of a seed that is an object": call("random:Random", fire),
    "uuid by its constructor, of an int that is none": call("uuid:UUID", fire),
    "a datetime of a time zone that is a class": call(
        "datetime:datetime", b"\x07\xea\x01\x02\x03\x04\x05\x00\x00\x06", TRAP
    ),
    "a datetime of bytes that are no date": call("datetime:datetime", b"\xff" * 10),
    "a timezone of an offset that is a function": call("datetime:timezone", fire),
    "a date of a text": call("datetime:date", "\x07\xea\x01\x02"),
    "a timedelta of everything": call("datetime:timedelta", 10**30),
    "a path of a function": call("pathlib:PosixPath", fire),
    "a zone by its name, from a file": call("zoneinfo:ZoneInfo", "Europe/Paris"),
    "a zone by a path": call("zoneinfo:ZoneInfo", "../../../etc/passwd"),
    "a template with a pattern": built(call("string:Template", "$a"), slots(pattern=fire)),
    "a struct_time of too few": call("time:struct_time", (1, 2)),
    "a StringIO of a function": call("_io:StringIO", fire),
    "a Struct of a format": call("struct:Struct", "i" * 100_000),
    "an IPv4 address of a function": call("ipaddress:IPv4Address", fire),
    "an array by its reconstructor, of another class": call(
        "array:_array_reconstructor", TRAP, "i", 8, b"\0\0\0\0"
    ),
    "an array by its reconstructor, of a format that is none": call(
        "array:_array_reconstructor", named("array:array"), "i", 99, b"\0\0\0\0"
    ),
    "an array by its reconstructor, of half an item": call(
        "array:_array_reconstructor", named("array:array"), "i", 8, b"\0\0\0"
    ),
    "an array by its reconstructor, of text that is none": call(
        "array:_array_reconstructor", named("array:array"), "w", 20, b"\xff\xff\xff\xff"
    ),
    "an OrderedDict that is built on what the program holds": built(
        call("collections:OrderedDict"), {"__dict__": named("prey.canary:TABLE")}
    ),
    "a deque with a length that is a function": call("collections:deque", [], fire),
    "a named tuple by NEWOBJ, of too few": new("prey.things:Point", 1),
    "a named tuple by NEWOBJ_EX": new_ex("prey.things:Point", 1, y=2),
    "a named tuple by a call of too many": call("prey.things:Point", 1, 2, 3),
    "a memoryview of bytes": call("builtins:memoryview", b"abc"),
    "a slice of a function": call("builtins:slice", fire),
    "a slice as a key": items(EMPTY_DICT, {call("builtins:slice", 1): 1}),
    "super of a class": call(
        "builtins:super", named("prey.things:Plain"), new("prey.things:Plain")
    ),
    "a classmethod is called": call(
        call("operator:attrgetter", "__func__"), call("builtins:classmethod", fire)
    ),
    "vars of a module": call("builtins:vars", call("importlib:import_module", "prey.canary")),
    "dir of a module": call("builtins:dir", fire),
    "input": call("builtins:id", 1),
    "an exception with a name that is a function": built(
        call("builtins:AttributeError", "a"), {"name": fire}
    ),
    "an exception group of what is no exception": call("builtins:ExceptionGroup", "a", [fire]),
    "a group of groups": call("builtins:BaseExceptionGroup", "a", []),
    "an OSError of an errno that is a function": call("builtins:OSError", fire, fire),
    "a UnicodeDecodeError with places beyond its text": call(
        "builtins:UnicodeDecodeError", "ascii", b"a", 10**18, 10**18 + 5, "x"
    ),
    "a UnicodeEncodeError with places below zero": call(
        "builtins:UnicodeEncodeError", "ascii", "a", -(10**18), 5, "x"
    ),
    "a SystemExit": call("builtins:SystemExit", 0),
}
_FIRES = (
    "partial is",
    "a partial is filled",
    "reduce",
    "lru_cache",
    "singledispatch",
    "operator.",
    "attrgetter, and",
    "methodcaller",
    "itemgetter",
    "list of",
    "tuple of",
    "set of",
    "frozenset of",
    "dict of",
    "deque of a",
    "OrderedDict of",
    "Counter of",
    "bytes of",
    "bytearray of",
    "array of",
    "sum of",
    "max of",
    "any of",
    "sorted of",
    "APPENDS of",
    "next of",
    "zip of",
    "enumerate of",
    "str.join",
    "a filter",
    "filter by",
    "iter of",
    "starmap",
    "accumulate",
    "takewhile",
    "dropwhile",
    "groupby",
    "filterfalse",
    "a defaultdict with",
    "a weak",
    "a finalizer",
    "an exception of the",
    "type() of",
    "copyreg.__newobj__",
    "re.sub",
    "an executor",
    "a property",
    "typing's",
    "a bound method",
    "a generic",
    "ChainMap of",
    "unittest.mock",
    "copyreg.__newobj_ex",
    "copyreg._reconstructor of an instance",
    "copyreg._reconstructor of a class",
    "total_ordering",
    "wraps",
)
_NOT = ("total_ordering",)
_INERT = (
    "an exception of the program",
    "an enum by its values, of a function",
    "a timedelta",
    "a path",
    "a SystemExit",
    "an exception with",
    "a zone by its name",
    "a named tuple by a",
    "a UnicodeDecode",
    "a UnicodeEncode",
    "an int",
    "a mapping",
    "a timezone",
    "an IPv4",
    "an OSError",
    "a datetime of a time zone",
    "a date of",
    "a slice of",
    "a slice as",
    "a named tuple by NEWOBJ, of",
)
for _name, _value in _CALLED.items():
    HARMLESS.add(
        _name,
        stream(_value),
        works=_name.startswith(_FIRES) and not _name.startswith(_NOT),
        harmless=_name.startswith(_INERT),
    )
HARMLESS.add(
    "a defaultdict with a factory of the program", stream(call("collections:defaultdict", fire))
)
HARMLESS.add(
    "a defaultdict with a factory that is a class of the program",
    stream(call("collections:defaultdict", TRAP)),
    harmless=True,
)
HARMLESS.add(
    "a bound method of the program's object by getattr",
    stream(call("builtins:getattr", new("prey.things:Plain"), "opened")),
    harmless=True,
)
HARMLESS.add("a function of the program is pushed", stream([fire]), harmless=True)
HARMLESS.add("a function of the program is pushed on top of APPENDS", stream(appended(fire, 1)))
