"""What any program lets a foreign stream have: the value types of the standard library.

Each row says what may be done with a global, and checks how.  A module of this
table is imported when it is first named; no other ever is.
"""

from __future__ import annotations

import builtins
import collections.abc
import importlib
import sys
import typing
from collections.abc import Iterator
from functools import cache, lru_cache
from types import FunctionType

from checkpoint import _checks as ask
from checkpoint import _checks_of_states as states
from checkpoint import _checks_of_types as types
from checkpoint._grants import Build, Call, Grant, Verb

NEW, CALL, BUILD = Verb.NEW, Verb.CALL, Verb.BUILD
ITEMS, ENTRIES = Verb.ITEMS, Verb.ENTRIES


Row = tuple[int, Call | None, Build | None, str, bool]


def row(
    verbs: int = Verb.PUSH,
    call: Call | None = None,
    build: Build | None = None,
    hashing: str = "value",
    weak: bool = False,
) -> Row:
    return verbs, call, build, hashing, weak


def each(names: str, one: Row) -> dict[str, Row]:
    """The same row for each of *names*."""
    return dict.fromkeys(names.split(), one)


def _errors() -> Iterator[str]:
    """The names of the built-in exceptions."""
    for name, found in vars(builtins).items():
        if isinstance(found, type) and issubclass(found, BaseException):
            yield name


_SPAN = (-999_999_999, 0, 0), (999_999_999, 86_399, 999_999)  # days, seconds, microseconds
_PUSHED = row()
_CONTAINER = row(hashing="none")
_ERROR = row(CALL | BUILD, states.an_error, states.of_exception, "identity")
_ENUMS = {
    "http": "HTTPStatus HTTPMethod",
    "re": "RegexFlag",
    "signal": "Signals Handlers",
    "socket": "AddressFamily SocketKind",
    "uuid": "SafeUUID",
    "calendar": "Month Day",
    "plistlib": "PlistFormat",
}
_ERRORS = {
    "_csv": "Error",
    "_pickle": "PickleError PicklingError UnpicklingError",
    "_queue": "Empty",
    "_struct": "error",
    "asyncio.exceptions": "CancelledError InvalidStateError IncompleteReadError LimitOverrunError",
    "binascii": "Error Incomplete",
    "concurrent.futures._base": "CancelledError Error InvalidStateError BrokenExecutor",
    "configparser": "Error NoSectionError NoOptionError DuplicateSectionError ParsingError",
    "decimal": "Clamped Rounded Inexact Subnormal Underflow Overflow DivisionByZero "
    "DivisionUndefined DivisionImpossible InvalidContext InvalidOperation ConversionSyntax "
    "FloatOperation DecimalException",
    "http.client": "HTTPException IncompleteRead BadStatusLine RemoteDisconnected",
    "json.decoder": "JSONDecodeError",
    "lzma": "LZMAError",
    "_lzma": "LZMAError",
    "pickle": "PickleError PicklingError UnpicklingError",
    "queue": "Empty Full",
    "re": "error PatternError",
    "re._constants": "error PatternError",
    "shutil": "Error SameFileError",
    "socket": "gaierror herror",
    "sqlite3": "Error DatabaseError IntegrityError OperationalError ProgrammingError",
    "statistics": "StatisticsError",
    "struct": "error",
    "subprocess": "CalledProcessError SubprocessError TimeoutExpired",
    "tarfile": "TarError ReadError",
    "urllib.error": "URLError",
    "zipfile": "BadZipFile LargeZipFile",
    "zlib": "error",
    "zoneinfo._common": "ZoneInfoNotFoundError",
}
_REMEMBERED = 4096  # names that streams may choose
_PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
_A_PATH = row(CALL, ask.every(ask.a_text))
_A_TEMPLATE = states.fields("template")
_AN_ADDRESS = row(CALL, ask.takes(ask.an_address))

_TABLE: dict[str, dict[str, Row]] = {
    "builtins": {
        **each("int float str bool tuple type", _PUSHED),
        **each("list dict", _CONTAINER),
        **each("Ellipsis NotImplemented", _PUSHED),
        **each("memoryview property staticmethod classmethod super", _PUSHED),
        "bytes": row(CALL, ask.a_bytes),
        "bytearray": row(CALL, ask.a_bytearray, None, "none"),
        "set": row(CALL, ask.a_set("set"), None, "none"),
        "frozenset": row(CALL, ask.a_set("frozenset")),
        "complex": row(CALL, ask.takes(ask.a_float, ask.a_float)),
        "range": row(CALL, ask.takes(ask.an_int, ask.an_int, ask.an_int)),
        "slice": row(CALL, ask.takes(ask.anything, ask.anything, ask.anything), weak=True),
        "object": row(NEW | CALL, ask.no_arguments, None, "identity"),
        "type": row(CALL, types.a_type),
        "getattr": row(CALL, types.a_member),
        **dict.fromkeys(_errors(), _ERROR),
    },
    "collections": {
        "OrderedDict": row(NEW | CALL | BUILD | ENTRIES, ask.no_arguments, states.fields(), "none"),
        "defaultdict": row(
            CALL | ENTRIES, ask.takes(ask.a_factory, optional=1), None, "none", weak=True
        ),
        "Counter": row(NEW | CALL | BUILD | ENTRIES, ask.a_counter, states.fields(), "none"),
        "deque": row(CALL | ITEMS, ask.a_deque, None, "none", True),
        "ChainMap": row(NEW | BUILD, ask.no_arguments, states.fields("maps"), "none"),
        "UserDict": row(NEW | BUILD, ask.no_arguments, states.fields("data"), "none"),
        "UserList": row(NEW | BUILD, ask.no_arguments, states.fields("data"), "none"),
        "UserString": row(NEW | BUILD, ask.takes(ask.anything, optional=1), states.fields("data")),
    },
    "datetime": {
        "datetime": row(CALL, ask.takes(ask.a_moment, ask.a_zone, optional=1)),
        "date": row(CALL, ask.takes(ask.a_date)),
        "time": row(CALL, ask.takes(ask.a_time_of_day, ask.a_zone, optional=1)),
        "timedelta": row(CALL, ask.takes(*map(ask.between, *_SPAN))),
        "timezone": row(CALL, ask.takes(ask.an_offset, ask.a_text, optional=1)),
        "tzinfo": _PUSHED,
    },
    "zoneinfo": {"ZoneInfo": row(CALL, ask.a_zone_of, None, "identity")},
    "zoneinfo._zoneinfo": {"ZoneInfo": row(CALL, ask.a_zone_of, None, "identity")},
    "decimal": {
        "Decimal": row(CALL, ask.takes(ask.a_text)),
        "Context": row(CALL, ask.a_decimal_context),
        "DecimalTuple": row(NEW, ask.a_decimal_tuple),
    },
    "fractions": {"Fraction": row(CALL, ask.a_fraction)},
    "uuid": {"UUID": row(NEW | BUILD, ask.no_arguments, states.fields("int", "is_safe"))},
    "pathlib": each(_PATHS, _A_PATH),
    "pathlib._local": each(_PATHS, _A_PATH),
    "types": {
        "SimpleNamespace": row(NEW | CALL | BUILD, ask.no_arguments, states.fields(), "none"),
        "GenericAlias": row(CALL, types.an_alias, weak=True),
        "NoneType": _PUSHED,
        "EllipsisType": _PUSHED,
        "NotImplementedType": _PUSHED,
    },
    "random": {"Random": row(NEW | CALL | BUILD, ask.a_generator, states.of_random, "identity")},
    "array": {
        "array": row(CALL, ask.an_old_array, None, "none"),
        "_array_reconstructor": row(CALL, ask.an_array, None, "none"),
    },
    "ipaddress": each(
        "IPv4Address IPv4Network IPv4Interface IPv6Address IPv6Network IPv6Interface", _AN_ADDRESS
    ),
    "time": {"struct_time": row(CALL, ask.a_structure)},
    "os": each("stat_result terminal_size", row(CALL, ask.a_structure)),
    "collections.abc": {"_CallableGenericAlias": row(CALL, types.a_callable_alias)},
    "argparse": {"Namespace": row(NEW | BUILD, ask.no_arguments, states.fields(), "none")},
    "string": {"Template": row(NEW | BUILD, ask.no_arguments, _A_TEMPLATE, "identity")},
    "re": {"_compile": row(CALL, ask.a_pattern), "Pattern": _PUSHED},
    "_io": {
        "BytesIO": row(NEW | BUILD, ask.no_arguments, states.of_bytes_io, "identity"),
        "StringIO": row(NEW | BUILD, ask.no_arguments, states.of_string_io, "identity"),
    },
    "statistics": {"NormalDist": row(NEW | BUILD, ask.no_arguments, states.of_normal)},
    "urllib.parse": each(
        "ParseResult ParseResultBytes SplitResult SplitResultBytes DefragResult DefragResultBytes",
        row(NEW, ask.every(ask.an_atom)),
    ),
    "_functools": {"reduce": row(CALL, types.a_union)},
    "functools": {"reduce": row(CALL, types.a_union)},
    "_operator": {"or_": _PUSHED, "getitem": row(CALL, types.an_item)},
    "_codecs": {"encode": row(CALL, ask.encoded)},
    "copyreg": {"_reconstructor": row(CALL, ask.old_instance)},
    "numbers": each("Number Complex Real Rational Integral", _PUSHED),
}  # fmt: skip


@lru_cache(_REMEMBERED)
def shipped(module: str, qualname: str, *, imports: bool = True) -> Grant | None:
    """The grant of a value type of the standard library; None if it is not in the table.

    Without *imports* it is told of one that was not imported yet, too.
    """
    found = _TABLE.get(module, {}).get(qualname)
    if qualname in _ERRORS.get(module, "").split():
        found = _ERROR
    is_enum = qualname in _ENUMS.get(module, "").split()
    if not (found or is_enum) and (module, qualname) not in _hints():
        return None
    name = f"{module}:{qualname}"
    holder = sys.modules.get(module)
    if holder is None and imports:
        try:
            holder = importlib.import_module(module)
        except ImportError:
            return None  # Of another release of Python, as the name may be.
    real = None if holder is None else vars(holder).get(qualname)
    if real is None and imports:
        return None
    if is_enum:
        return Grant(name, real, CALL, types.an_enum_value, hashing="identity")
    verbs, call, build, hashing, weak = found or _PUSHED
    # NEW and CALL of these types take the same arguments.
    return Grant(name, real, verbs, call, call, build, hashing, weak)


@cache
def _hints() -> frozenset[tuple[str, str]]:
    """The names in annotations: of `typing`, and the classes of `collections.abc`."""
    abstract = {("collections.abc", name) for name in collections.abc.__all__}
    return frozenset(abstract | {("typing", name) for name in typing.__all__ if not _runs(name)})


def _runs(name: str) -> bool:
    """Whether it is a function, which does something when it is called."""
    return isinstance(getattr(typing, name, None), FunctionType | type(len))
