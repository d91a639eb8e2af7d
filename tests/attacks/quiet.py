"""What is set before any library is imported: one thread each, and the path to the prey."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Threads of a library would not survive a fork.
for _library in ("OPENBLAS", "MKL", "OMP", "NUMEXPR"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"
sys.path.append(str(Path(__file__).parent))
