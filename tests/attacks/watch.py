"""What an attack must not do to the process, and how that is seen."""

from __future__ import annotations

import argparse
import array
import atexit
import builtins
import codecs
import collections
import copyreg
import datetime
import decimal
import enum
import fractions
import functools
import gc
import io
import ipaddress
import json
import linecache
import logging
import os
import pathlib
import pickle
import random
import re
import resource
import signal
import string
import sys
import threading
import types
import uuid
import warnings
import weakref
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import outsider
import prey.canary
import prey.things

import checkpoint

# What a loader has no business with; `open` of a file, a process, a socket, code.
_EVENTS = (
    "open",
    "os.",
    "subprocess.",
    "socket.",
    "import",
    "exec",
    "compile",
    "ctypes.",
    "shutil.",
    "urllib.",
    "ftplib.",
    "http.",
    "smtplib.",
    "poplib.",
    "imaplib.",
    "telnetlib.",
    "tempfile.",
    "pty.",
    "code.__new__",
    "function.__new__",
    "marshal.",
    "sqlite3.",
    "webbrowser.",
    "glob.",
    "pathlib.",
    "signal.",
    "fcntl.",
    "syslog.",
    "builtins.input",
    "builtins.breakpoint",
    "pdb.",
    "sys.set",
    "sys.addaudithook",
    "sys.excepthook",
    "sys.unraisablehook",
    "gc.get",
    "resource.",
    "msvcrt.",
    "winreg.",
    "_winapi.",
    "setopencodehook",
    "time.sleep",
    "object.__setattr__",
    "object.__delattr__",
    "_posixsubprocess.",
    "_thread.",
)
_OWNERS: tuple[Any, ...] = (
    sys,
    os,
    builtins,
    copyreg,
    collections,
    functools,
    types,
    argparse,
    json,
    pickle,
    re,
    io,
    prey,
    prey.canary,
    prey.things,
    outsider,
    checkpoint,
    argparse.Namespace,
    datetime.tzinfo,
    decimal,
    enum.Enum,
    fractions.Fraction,
    pathlib.PurePath,
    random.Random,
    uuid.UUID,
    ipaddress.IPv4Address,
    zoneinfo,
    logging,
    collections.OrderedDict,
    collections.UserDict,
    collections.ChainMap,
    string.Template,
    checkpoint.Checkpointer,
    checkpoint.Migrations,
    checkpoint.CheckpointError,
    checkpoint.Unpickler,
    checkpoint.Global,
    functools.reduce,
    copyreg._reconstructor,
    types.SimpleNamespace,
    array,
    codecs,
    weakref,
    signal,
    threading,
)
_TABLES: tuple[Any, ...] = (
    copyreg.dispatch_table,
    copyreg._extension_registry,
    copyreg._extension_cache,  # type: ignore[attr-defined]
    copyreg._inverted_registry,
    sys.path_importer_cache,
    prey.canary.TABLE,  # type: ignore[attr-defined]
)
_FREE = ("checkpoint",)  # Modules that may be imported at any time: our own.


class Watch:
    """Remembers what a process was like, and tells what has become of it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._armed = False
        self._before = dict(_state())
        self._modules = set(sys.modules)
        sys.addaudithook(self._hook)

    def begin(self) -> None:
        """Begin anew: what is there now is as it should be."""
        self.events.clear()
        prey.canary.FIRED.clear()
        self._before = dict(_state())
        self._modules = set(sys.modules)

    def arm(self, armed: bool = True) -> None:
        """Begin, or end, to take note of what is audited."""
        self._armed = armed

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed or not event.startswith(_EVENTS):
            return
        self._armed = False
        try:
            told = f"{event} {arguments!r:.90}"
        except Exception:
            told = event
        if not _allowed(event, arguments):
            self.events.append(told)
        self._armed = True

    def seen(self) -> list[str]:
        """What happened that must not: canaries, audited events, attributes, modules."""
        self.arm(False)
        found = [*dict.fromkeys(prey.canary.FIRED), *dict.fromkeys(self.events)]
        after = dict(_state())
        changed = (
            key
            for key in self._before.keys() | after.keys()
            if self._before.get(key) != after.get(key)
        )
        found += (f"changed {key}" for key in sorted(changed))
        fresh = set(sys.modules) - self._modules
        found += (f"imported {name}" for name in sorted(fresh) if not name.startswith(_FREE))
        return found[:20]


def _allowed(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an event is of a first use of a module of ours, or of our own threads."""
    if event == "open" and str(arguments[0]).startswith(tuple(zoneinfo.TZPATH)):
        return True  # The zones of a date are files of the system; a name leads nowhere else.
    if event.startswith("_thread."):
        return "checkpoint" in repr(arguments[0]) or "threading" in repr(arguments[0])
    return event == "import" and str(arguments[0]).startswith(_FREE)


def _state() -> Iterator[tuple[str, Any]]:
    """All that is process-wide and that streams have been seen to change."""
    for number, owner in enumerate((*_OWNERS, *_classes())):
        where = getattr(owner, "__qualname__", getattr(owner, "__name__", number))
        for name, value in _vars(owner):
            yield f"{where}.{name}", id(value)
    for number, table in enumerate(_TABLES):
        for key, value in list(table.items()):
            yield f"table {number} {key!r:.60}", id(value)
    yield "os.environ", tuple(sorted(os.environ.items()))
    for name in ("path", "argv", "meta_path", "path_hooks", "warnoptions"):
        yield f"sys.{name}", tuple(map(id, getattr(sys, name)))
    yield "limits", (sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold())
    yield "hooks", (sys.gettrace(), sys.getprofile(), id(sys.excepthook))
    yield "at exit", (atexit._ncallbacks(), len(weakref.finalize._registry))  # type: ignore[attr-defined]
    yield "threads", threading.active_count()
    yield "folder", os.getcwd()
    yield "files", len(os.listdir("."))
    yield "signals", tuple(map(signal.getsignal, (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM)))
    yield "warnings", len(warnings.filters)
    yield "lines", len(linecache.cache)
    yield "decimal", decimal.getcontext().prec
    yield "rows", len(prey.canary.ROWS)
    yield "logging", (len(logging.root.handlers), logging.root.level)


def _classes() -> Iterator[Any]:
    for name, value in vars(prey.things).items():
        if not name.startswith("_") and isinstance(value, type | types.FunctionType | prey.Plain):
            yield value
    yield prey.canary.fire
    yield prey.canary.Trap
    yield outsider.Outsider


def _vars(owner: Any) -> list[tuple[str, Any]]:
    # The interpreter makes some of these when they are first asked for.
    made = {
        "__dict__",
        "__weakref__",
        "__warningregistry__",
        "__annotations__",
        "__annotate__",
        "__annotations_cache__",
        "__static_attributes__",
        "__slotnames__",
    }
    return (
        [(name, value) for name, value in list(vars(owner).items()) if name not in made]
        if (hasattr(owner, "__dict__"))
        else []
    )


# --- memory -------------------------------------------------------------------


def memory(member: str) -> int:
    """What Linux says of the memory of this process, in bytes; 0 where there is no Linux."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(member)), 0)


def forget_peak() -> None:
    """Let the peak of memory begin anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def limit_memory(above: int) -> None:
    """Bound this process: address space *above* what it has, and no core dumps."""
    taken = memory("VmSize")
    if taken:
        resource.setrlimit(resource.RLIMIT_AS, (taken + above,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time(seconds: float) -> None:
    """End this process after *seconds* of work, in the middle of a loop in C, too; 0 for never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
