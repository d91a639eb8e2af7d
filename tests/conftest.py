"""Every test signs with one fixed key, and none touches the configuration of who runs it."""

import os
import tempfile
from collections.abc import Iterator

import pytest

# Set here, before any test module is imported: processes that tests start inherit it.
_CONFIG = os.path.join(tempfile.gettempdir(), f"checkpoint-tests-{os.getpid()}-has-no-key")
os.environ["CHECKPOINT_KEY"] = "a fixed key for the tests that keeps no secret"
os.environ["XDG_CONFIG_HOME"] = os.environ["APPDATA"] = _CONFIG
os.environ.pop("CHECKPOINT_KEY_FILE", None)


@pytest.fixture(scope="session", autouse=True)
def _no_test_makes_the_users_key() -> Iterator[None]:
    yield
    assert not os.path.exists(_CONFIG), f"a test without CHECKPOINT_KEY made a key in {_CONFIG}"
