"""The data set that a spec names, read for commands: also where the rest of the spec is not sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import InputError, InputErrors

if TYPE_CHECKING:
    from evalkit.datasets import Dataset


def absent(spec: Path) -> str | None:
    """Return the folder of a spec's data set if it is not here and the spec says that it then is to be skipped."""
    from evalkit.paths import resolve
    from evalkit.spec import stated

    dataset, without_data = stated(spec, "dataset")[0], stated(spec, "without_data")[0]
    missing = isinstance(dataset, str) and without_data == "skip" and not resolve(dataset).is_dir()
    return dataset if missing else None


def read_data(spec: Path, faults: list[str], *, whole: bool = False) -> Dataset | None:
    """Read a spec's data set; what is wrong with it goes to `faults`. None where it names none, or a wrong one.

    `whole`: no split of it, whatever the spec calls so.
    """
    from evalkit.datasets import load_dataset
    from evalkit.spec import stated

    dataset, place = stated(spec, "dataset")
    split = None if whole else stated(spec, "split")[0]
    if not (isinstance(dataset, str) and isinstance(split, str | None)):
        return None
    try:
        return load_dataset(dataset, split=split)
    except InputErrors as error:  # its own files, with their lines
        faults += error.faults
    except InputError as error:
        faults.append(f"{place}: {error}")
    return None
