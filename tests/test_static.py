"""The linter and the type checker have nothing to say, where they are installed."""

import subprocess
import sys
from pathlib import Path

import pytest

import checkpoint

ROOT = Path(__file__).parent.parent
PACKAGE = Path(checkpoint.__file__).parent


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_is_content() -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    folders = [str(PACKAGE), str(ROOT / "tests"), str(ROOT / "examples")]
    assert run("ruff", "check", "--config", str(ROOT / "pyproject.toml"), *folders) == ""


def test_ruff_would_format_nothing() -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    folders = [str(PACKAGE), str(ROOT / "tests"), str(ROOT / "examples")]
    config = str(ROOT / "pyproject.toml")
    assert run("ruff", "format", "--check", "--config", config, *folders) == ""


def test_mypy_is_content() -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    assert run("mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")) == ""
