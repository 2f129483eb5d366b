"""The machine a number was measured on."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "evalkit", "numpy", "scipy", "pandas", "faiss-cpu", "bm25s", "torch", "sentence-transformers", "tokenizers",
    "dask", "mlflow", "ragas",
)  # fmt: skip


@cache
def machine() -> dict[str, Any]:
    """Return what latency depends on: processor, cores, memory, system, Python."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def threads() -> int:
    """Return how many threads work should take: ``EVALKIT_THREADS``, else ``OMP_NUM_THREADS``, else one a core.

    A worker that others stand beside is given one by whoever starts it; Dask sets ``OMP_NUM_THREADS`` for its own.
    """
    for variable in ("EVALKIT_THREADS", "OMP_NUM_THREADS"):
        if (stated := os.environ.get(variable, "")).isdecimal() and int(stated) > 0:
            return int(stated)
    return os.cpu_count() or 1


@cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that decide results."""
    return {name: found for name in _PACKAGES if (found := _version(name))}


def packages_of(op: Any) -> dict[str, str]:
    """Return the versions of the packages that an op says its results depend on (its ``packages``)."""
    return {name: _version(name) for name in sorted(getattr(op, "packages", ()))}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError):
        return None
