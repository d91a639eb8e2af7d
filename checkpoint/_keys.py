"""Keys: what a program signs with, and whose signatures it takes for its own.

A key is a text that nobody else knows.  The MAC key and the id that says which
key it was are derived from it by BLAKE3, each under a context of its own, so
that what signs a repository's manifest signs no single file, and no id tells
anything of the key.  `docs/reference/format.md` has the contexts.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from hmac import compare_digest
from typing import Final, Literal

from blake3 import blake3

from checkpoint.errors import StoreError, warn
from checkpoint.store._local import create_private


class Users(Enum):
    """The type of `USERS`, which stands for the keys of the environment, or the user's own."""

    USERS = "users"

    def __repr__(self) -> str:
        return "<the user's own key>"


USERS: Final = Users.USERS

Given = str | bytes | Sequence[str | bytes] | Users | None
Purpose = Literal["manifest", "file"]
Lasting = Literal["lasting", "new", "none"]

LEAST = 16  # characters of a key
_MOST = 1 << 16  # bytes of a file with keys
_BOM = b"\xef\xbb\xbf"
_HOW = 'python -c "import secrets; print(secrets.token_hex(32))" makes one'

ID_CONTEXT = "durable-checkpoint format 1 key id"
MAC_CONTEXTS: dict[Purpose, str] = {
    "manifest": "durable-checkpoint format 1 MAC of a manifest in a repository",
    "file": "durable-checkpoint format 1 MAC of a manifest in a single file",
}


class _Key:
    """What one key text derives; the text itself is not kept."""

    def __init__(self, text: bytes) -> None:
        self.id = _derived(text, ID_CONTEXT).hex()[:16]
        self._secrets = {use: _derived(text, context) for use, context in MAC_CONTEXTS.items()}

    def mac(self, body: bytes, purpose: Purpose) -> str:
        """The MAC of *body* in hex."""
        return blake3(body, key=self._secrets[purpose]).hexdigest()


class Keys:
    """The keys that a program holds: the first signs, and each verifies.

    With a *path* the key is the user's own, which is made there when something
    is to be signed for the first time, and is looked for again until it is there.
    """

    def __init__(self, held: Iterable[_Key] = (), path: str | None = None) -> None:
        self._given = tuple(held)
        self._path = path

    def __repr__(self) -> str:
        return f"Keys({', '.join(key.id for key in self._given) or self._path or 'none'})"

    def __reduce__(self) -> str:
        # A state that holds one would carry the secret into every snapshot.
        raise TypeError("keys are not pickled; give the program that unpickles a key of its own")

    def sign(self, body: bytes, purpose: Purpose = "manifest") -> str:
        """What stands in the MAC line of *body*: `<id>:<MAC>`, or `none` without a key."""
        held = self._held() or self._made()
        return f"{held[0].id}:{held[0].mac(body, purpose)}" if held else "none"

    def is_own(self, body: bytes, mac: str, purpose: Purpose = "manifest") -> bool:
        """Whether *mac* is what one of the keys gives for *body*; makes no key."""
        name, _, code = mac.partition(":")
        given = code.encode("ascii", "replace")
        return any(
            compare_digest(key.mac(body, purpose).encode(), given)
            for key in self._held()
            if key.id == name
        )

    @property
    def signs(self) -> bool:
        """Whether there is a key to sign with; the user's own is made if it has to be."""
        return bool(self._held() or self._made())

    @property
    def lasting(self) -> Lasting:
        """Whether later processes will hold the key too; makes none.

        `new`: this process made the user's own, or will have to, which in a
        fresh home may not outlive it.  `none`: none is there, none can be stored.
        """
        if self._held():
            return "new" if self._path in _fresh else "lasting"
        return "new" if self._path is not None and _may_make(self._path) else "none"

    def _held(self) -> tuple[_Key, ...]:
        return self._given if self._path is None else _users_own(self._path)

    def _made(self) -> tuple[_Key, ...]:
        """The user's own key, made now; nothing where it cannot be stored."""
        if self._path is None:
            return ()
        try:
            create_private(self._path, f"{secrets.token_hex(32)}\n".encode())
            _fresh.add(self._path)
        except FileExistsError:
            pass  # Another process was first: its key is ours.
        except OSError:
            return ()
        return self._held()


def keys(given: Given = USERS) -> Keys:
    """The keys that *given* says.

    A text, or several, of which the first signs and all verify; None for no
    key; or those of the user: `CHECKPOINT_KEY` (several with commas between
    them), else the lines of the file `CHECKPOINT_KEY_FILE`, else the user's own
    key in the platform's folder for configuration.  ValueError if a text is no
    key, StoreError if a file with keys cannot be read.
    """
    if given is None:
        return Keys()
    if isinstance(given, Users):
        return _users()
    texts = [given] if isinstance(given, str | bytes) else list(given)
    return Keys(_parsed(texts, "key="))


def _users() -> Keys:
    text, file = os.environ.get("CHECKPOINT_KEY"), os.environ.get("CHECKPOINT_KEY_FILE")
    if text is not None:
        return Keys(_parsed(text.split(","), "CHECKPOINT_KEY"))
    if file is None:
        return Keys(path=own_file())
    try:
        return Keys(_read(file)[0])
    except OSError as error:
        why = f"{error.strerror or error}"
    except ValueError as error:
        why = str(error)
    raise StoreError(f"CHECKPOINT_KEY_FILE {file!r} gives no key: {why}", key=file)


def own_file() -> str | None:
    """Where the user's own key is, or would be; None where the system has no place for it."""
    if sys.platform == "win32":
        folder = os.environ.get("APPDATA", "")
    elif sys.platform == "darwin":
        folder = os.path.expanduser("~/Library/Application Support")
    else:
        folder = os.environ.get("XDG_CONFIG_HOME", "")
        if not os.path.isabs(folder):  # It is to be ignored then.
            folder = os.path.expanduser("~/.config")
    return os.path.join(folder, "checkpoint", "key") if os.path.isabs(folder) else None


# By path: the user's own keys that were read, and the files that this process made.
_known: dict[str, tuple[_Key, ...]] = {}
_fresh: set[str] = set()


def _users_own(path: str) -> tuple[_Key, ...]:
    """The keys in the user's own file; nothing if there is none for us."""
    if path in _known:
        return _known[path]
    try:
        found, mode = _read(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ()
    except OSError as error:
        why = f"{error.strerror or error}"
    except ValueError as error:
        why = str(error)
    else:
        _known[path] = found
        if os.name == "posix" and mode & 0o077:
            message = f"others may use {path}, the key that you sign with: chmod 600 it"
            warn(message, UserWarning)
        return found
    raise StoreError(
        f"the key file {path} is damaged: {why}; restore it, or remove it to have a new one made, "
        "for which all that was signed before is foreign",
        key=path,
    )


def _read(path: str) -> tuple[tuple[_Key, ...], int]:
    """The keys in a file, one a line, and its mode."""
    with open(path, "rb") as file:
        raw = file.read(_MOST + 1)
        mode = os.fstat(file.fileno()).st_mode
    if len(raw) > _MOST:
        raise ValueError(f"it is above {_MOST} bytes; a key stands on a line of its own")
    try:
        raw.decode()
    except UnicodeDecodeError:
        text = False
    else:
        text = b"\0" not in raw
    if not text:  # Said here: that error would hold the key.
        raise ValueError("it is no text in UTF-8")
    return _parsed(raw.removeprefix(_BOM).splitlines(), "it"), mode


def _parsed(texts: Sequence[str | bytes], where: str) -> tuple[_Key, ...]:
    """The keys of *texts*, without what is empty; ValueError names *where*, never the text."""
    found = []
    for text in texts:
        if not isinstance(text, str | bytes):
            raise TypeError(f"{where} holds {type(text).__name__}; a key is a str or bytes")
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        raw = raw.strip()  # Files and shells add line ends.
        if 0 < len(raw) < LEAST:
            raise ValueError(f"{where} holds a key of less than {LEAST} characters; {_HOW}")
        if raw:
            found.append(_Key(raw))
    if not found:
        raise ValueError(f"{where} holds no key; {_HOW}")
    return tuple(found)


def _derived(text: bytes, context: str) -> bytes:
    return blake3(text, derive_key_context=context).digest()


def _may_make(path: str) -> bool:
    """Whether *path* can probably be made, as far as can be seen without trying."""
    if os.path.lexists(path):
        return False
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)
