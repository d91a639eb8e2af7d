"""No REDUCE: what BUILD, APPENDS, SETITEMS and ADDITEMS do to what they are given."""

from __future__ import annotations

from attacks.attack import Route
from attacks.calls import FIRE
from attacks.streams import (
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_SET,
    MEMOIZE,
    Op,
    added,
    appended,
    built,
    call,
    got,
    items,
    kept,
    named,
    new,
    new_ex,
    push,
    slots,
    stream,
    then,
)

GADGETS = Route("gadgets without REDUCE")
fire = named(FIRE)
PLAIN, SLOTTED, THINGS = "prey.things:Plain", "prey.things:Slotted", "prey.things:"

# --- attributes of what the stream did not make ---------------------------------

for _what, _path in {
    "a class": PLAIN,
    "a class with a metaclass": THINGS + "Made",
    "a function": THINGS + "ordinary",
    "the canary itself": FIRE,
    "an enum": THINGS + "Colour",
    "an enum member by its dotted name": THINGS + "Colour.RED",
    "an instance that the program holds": THINGS + "SHARED",
    "a nested class": THINGS + "Plain.Inner",
    "a method by its dotted name": THINGS + "Plain.opened",
    "a class of the standard library": "argparse:Namespace",
    "a function of the standard library": "copyreg:_reconstructor",
    "a class of this library": "checkpoint:Checkpointer",
    "a module that the program imported": "prey:outsider",
}.items():
    GADGETS.add(
        f"BUILD gives {_what} a new attribute by slot state",
        stream(built(_path, slots(attacked=1))),
        works=_path not in (THINGS + "Plain.opened", THINGS + "Plain.Inner", THINGS + "Colour.RED"),
    )
GADGETS.add(
    "BUILD gives a class an attribute by a dict state", stream(built(PLAIN, {"door": "open"}))
)
GADGETS.add(
    "BUILD gives a function an attribute by a dict state",
    stream(built(FIRE, {"attacked": 1})),
    works=True,
)
GADGETS.add(
    "BUILD replaces the code of a function", stream(built(THINGS + "ordinary", slots(__code__=1)))
)
GADGETS.add(
    "BUILD replaces the defaults of a function",
    stream(built(THINGS + "ordinary", slots(__kwdefaults__={"a": 1}))),
)
GADGETS.add(
    "BUILD plants __reduce_ex__ on a class by slot state, for the next save",
    stream(built(PLAIN, slots(__reduce_ex__=fire)), new(PLAIN)),
    works=True,
)
GADGETS.add(
    "BUILD plants __setstate__ on a class by slot state, for the next BUILD",
    stream(built(PLAIN, slots(__setstate__=fire)), built(new(PLAIN), {"a": 1})),
    works=True,
)
GADGETS.add(
    "BUILD plants __new__ on a class by slot state, for the next NEWOBJ",
    stream(built(PLAIN, slots(__new__=fire)), new(PLAIN)),
    works=True,
)
GADGETS.add(
    "BUILD plants __hash__ on a class by slot state, for the next key",
    stream(built(PLAIN, slots(__hash__=fire)), Op(EMPTY_SET + b"(" + new(PLAIN) + b"\x90")),
    works=True,
)
GADGETS.add(
    "BUILD plants __del__ on a class by slot state, for the next drop",
    stream(built(PLAIN, slots(__del__=fire)), new(PLAIN), None),
    works=True,
)
GADGETS.add(
    "BUILD on a class recalled from the memo",
    stream(kept(named(PLAIN)), Op(got(0) + slots(attacked=1) + b"b")),
    works=True,
)
GADGETS.add(
    "BUILD on a class duplicated on the stack",
    stream(Op(named(PLAIN) + b"2" + slots(attacked=1) + b"b0")),
    works=True,
)
GADGETS.add(
    "BUILD on a class out of what a call gave",
    stream(built(call("builtins:type", new(PLAIN)), slots(attacked=1))),
    works=True,
)

# --- instances that call what they were given -----------------------------------

_instance = new(PLAIN)
for _hook, _then in {
    "__setstate__": lambda made: built(made, 7),
    "extend": lambda made: appended(made, 1, 2),
    "append": lambda made: Op(made + push(1) + b"a"),
    "add": lambda made: added(made, 1),
}.items():
    for _how, _state in {"dict": push({_hook: fire}), "slot": slots(**{_hook: fire})}.items():
        GADGETS.add(
            f"BUILD gives an instance its own {_hook} by {_how} state, and it is called",
            stream(_then(built(_instance, _state))),
            works=True,
        )
for _hook, _made in {
    "__reduce_ex__": push({"__reduce_ex__": fire}),
    "__reduce__": push({"__reduce__": fire, "__reduce_ex__": fire}),
    "__getstate__": push({"__getstate__": fire}),
    "__class__": push({"__class__": fire}),
    "__deepcopy__": push({"__deepcopy__": fire}),
    "__getnewargs_ex__": push({"__getnewargs_ex__": fire}),
    "__dict__": push({"__dict__": {"a": 1}}),
    "__array_interface__": push({"__array_interface__": fire}),
    "__array__": push({"__array__": fire}),
    "__dataframe__": push({"__dataframe__": fire}),
    "__buffer__": push({"__buffer__": fire}),
}.items():
    GADGETS.add(
        f"BUILD plants {_hook} on an instance, for later",
        stream([built(_instance, _made)]),
        works=_hook in ("__reduce_ex__", "__reduce__", "__getstate__"),
    )
for _host in (
    "argparse:Namespace",
    "types:SimpleNamespace",
    "collections:OrderedDict",
    "collections:UserDict",
    "threading:local",
):
    GADGETS.add(
        f"BUILD plants __reduce_ex__ on an instance of {_host}",
        stream(built(call(_host), {"__reduce_ex__": fire})),
        works=_host not in ("threading:local", "collections:OrderedDict"),
    )
    GADGETS.add(
        f"BUILD plants __setstate__ on an instance of {_host}, and BUILD calls it",
        stream(built(built(call(_host), {"__setstate__": fire}), 7)),
        works=True,
    )
GADGETS.add(
    "BUILD changes the class of an instance by slot state",
    stream(built(_instance, slots(__class__=named(THINGS + "Watching")))),
)
GADGETS.add(
    "BUILD changes the class of an instance, and then its attributes are watched",
    stream(built(built(_instance, slots(__class__=named(THINGS + "Watching"))), slots(a=1))),
    works=True,
)
GADGETS.add(
    "BUILD replaces the dict of an instance by slot state",
    stream(built(_instance, slots(__dict__={"door": "open"}))),
)
GADGETS.add(
    "BUILD shares the dict of an instance with its own state",
    stream(then(kept({}), built(_instance, slots(__dict__=got(0))))),
)
GADGETS.add(
    "BUILD sets a property, whose setter runs",
    stream(built(new(THINGS + "Guarded"), slots(door="open"))),
    works=True,
)
GADGETS.add(
    "BUILD sets what a class with __setattr__ is told of",
    stream(built(new(THINGS + "Watching"), slots(door="open"))),
    works=True,
)
GADGETS.add(
    "BUILD sets a slot that the class does not have", stream(built(new(SLOTTED), slots(middle=1)))
)
GADGETS.add(
    "BUILD thaws a frozen instance by slot state",
    stream(built(new(THINGS + "Frozen"), slots(__hash__=fire, value=1))),
    harmless=True,
)
GADGETS.add("BUILD with a key that is no text", stream(built(_instance, {1: 2})))
GADGETS.add("BUILD with a key of bytes", stream(built(_instance, {b"a": 2})), harmless=True)
GADGETS.add("BUILD with a state that is a list", stream(built(_instance, [1, 2])), harmless=True)
GADGETS.add("BUILD with a state of three parts", stream(built(_instance, ({}, {}, {}))))
GADGETS.add("BUILD with a state that is a class", stream(built(_instance, named(PLAIN))))
GADGETS.add("BUILD with a state that is an instance", stream(built(_instance, new(PLAIN))))
GADGETS.add(
    "BUILD twice on one instance",
    stream(built(built(_instance, {"a": 1}), {"a": 2})),
    harmless=True,
)
GADGETS.add("BUILD on a list", stream(built(EMPTY_LIST, slots(a=1))))
GADGETS.add("BUILD on a dict", stream(built(EMPTY_DICT, {"a": 1})))
GADGETS.add("BUILD on a text", stream(built(push("a"), {"a": 1})))
GADGETS.add("BUILD on None", stream(built(push(None), slots(a=1))))
GADGETS.add("BUILD on an int", stream(built(push(1), {"__setstate__": fire})))

# --- fills of what is no container ----------------------------------------------

_adding = new(THINGS + "Adding")
for _op, _filled in {
    "APPEND": Op(_adding + push(1) + b"a"),
    "APPENDS": appended(_adding, 1, 2),
    "SETITEM": Op(_adding + push(1) + push(2) + b"s"),
    "SETITEMS": items(_adding, {1: 2}),
    "ADDITEMS": added(_adding, 1, 2),
}.items():
    GADGETS.add(f"{_op} on an instance whose method is a canary", stream(_filled), works=True)
for _op, _on in {
    "APPENDS on a class": appended(PLAIN, 1),
    "APPENDS on a dict": appended(EMPTY_DICT, 1),
    "APPENDS on a tuple": appended(push((1,)), 1),
    "APPENDS on a set": appended(EMPTY_SET, 1),
    "APPENDS on bytes in memory": appended(push(bytearray(b"a")), 300),
    "SETITEMS on a list": items(EMPTY_LIST, {0: 1}),
    "SETITEMS on a list beyond its end": items(push([1]), {10**9: 1}),
    "SETITEMS on bytes in memory": items(push(bytearray(b"abc")), {0: 7}),
    "SETITEMS on a class that can be subscripted": items("builtins:list", {0: 7}),
    "ADDITEMS on a list": added(EMPTY_LIST, 1),
    "ADDITEMS on a dict": added(EMPTY_DICT, 1),
    "ADDITEMS on a frozenset": added(push(frozenset([1])), 1),
    "ADDITEMS on None": added(push(None), 1),
    "APPENDS on an int": appended(push(1), 1),
}.items():
    GADGETS.add(_op, stream(_on))
GADGETS.add(
    "APPENDS on a list of the program that was given its own extend",
    stream(appended(built(new(THINGS + "Rows"), {"extend": fire}), 1)),
    works=True,
)
GADGETS.add(
    "APPENDS on a deque of the program that was given its own extend",
    stream(appended(built(new(THINGS + "Many"), {"extend": fire}), 1)),
    works=True,
)
GADGETS.add(
    "a list of the program that was given its own __iter__ is saved again",
    stream(built(new(THINGS + "Rows"), {"__iter__": fire})),
)
GADGETS.add(
    "NEWOBJ_EX runs a __new__ that was planted by slot state",
    stream(built(PLAIN, slots(__new__=fire)), new_ex(PLAIN, 1, a=2)),
    works=True,
)
GADGETS.add(
    "an exception of the program runs its constructor",
    stream(call(THINGS + "Costly")),
    works=True,
    harmless=True,
)
GADGETS.add(
    "a class with a __reduce__ of its own is called, as its reduction asks",
    stream(call(THINGS + "Reducing")),
    works=True,
)
GADGETS.add(
    "an exception is given a __cause__ that is a class",
    stream(built(call("builtins:ValueError", "a"), slots(__cause__=named(PLAIN)))),
)
GADGETS.add(
    "an exception is given args that are no tuple",
    stream(built(call("builtins:ValueError", "a"), {"args": 7})),
)
GADGETS.add(
    "an exception is given a traceback",
    stream(built(call("builtins:ValueError", "a"), slots(__traceback__=7))),
)
GADGETS.add(
    "a filled instance is shared before it is filled, and filled through the memo",
    stream(Op(new(THINGS + "Rows") + MEMOIZE + b"0" + got(0) + push(1) + b"a")),
    harmless=True,
)
GADGETS.add(
    "a set is filled with itself through the memo",
    stream(Op(EMPTY_SET + MEMOIZE + b"(" + got(0) + b"\x90")),
)
GADGETS.add(
    "a dict takes itself as a key through the memo",
    stream(Op(EMPTY_DICT + MEMOIZE + b"(" + got(0) + b"Nu")),
)
GADGETS.add(
    "a list of the program is a key", stream(Op(EMPTY_SET + b"(" + new(THINGS + "Rows") + b"\x90"))
)
