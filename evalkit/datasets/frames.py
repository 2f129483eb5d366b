"""Data frames as records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.datasets.rows import Row
from evalkit.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd


def rows(frame: pd.DataFrame, name: str, needed: Sequence[str]) -> Iterator[Row]:
    """Yield a frame's rows; missing values are left out.

    Raises
    ------
    InputError
        If a needed column is missing.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"{name}: a data frame is needed, not {type(frame).__name__}")
    for column in needed:
        if column not in frame.columns:
            raise InputError(f"{name}: no column '{column}'{nearest(column, map(str, frame.columns))}")
    extra = [c for c in frame.columns if c not in ("id", "title", "text", "metadata")]
    for i, record in enumerate(frame.to_dict("records")):
        present: dict[str, Any] = {str(k): _plain(v) for k, v in record.items() if not _missing(v)}
        if name == "documents" and "metadata" not in present:
            present["metadata"] = {str(c): present[str(c)] for c in extra if str(c) in present}
        yield Row(f"{name} row {i}", present)


def _missing(value: Any) -> bool:
    import pandas as pd

    return not isinstance(value, list | tuple | dict) and bool(pd.isna(value) is True or value is pd.NaT)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value  # NumPy's numbers and arrays
