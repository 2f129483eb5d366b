"""What a process needs to find evalkit and the toys, wherever it works."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]


def environment() -> dict[str, str]:
    paths = [str(TESTS), str(TESTS.parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
