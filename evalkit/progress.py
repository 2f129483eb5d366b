"""Progress of long work: a bar in a terminal and in a notebook, nothing in a file or a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Any]:
    """Yield a tqdm bar that leaves nothing behind; ``EVALKIT_PROGRESS=0`` turns it off."""
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=what, leave=False, disable=not shown(), delay=0.5) as bar:
        yield bar


def shown() -> bool:
    """Whether anybody looks on."""
    return os.environ.get("EVALKIT_PROGRESS", "1") != "0" and (in_notebook() or sys.stderr.isatty())


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel, not one that has only imported IPython."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
