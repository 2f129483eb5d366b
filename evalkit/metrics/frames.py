"""Data frames of one row for each query and document."""

from __future__ import annotations

from typing import Any

import numpy as np

from evalkit.metrics.base import MetricError

__all__: list[str] = []


def grouped(frame: Any, query: str, document: str, value: str | None) -> tuple[Any, Any, Any, Any]:
    """Return queries in order of appearance, their documents, offsets and values; rows keep their order.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row for each query and document.
    query, document : str
        Column names.
    value : str or None
        Column of scores or grades; with None, the values returned are None.

    Raises
    ------
    MetricError
        If a column is missing or a query or document is not given.
    """
    import pandas as pd

    needed = [query, document, *([value] if value else [])]
    if absent := [name for name in needed if name not in frame.columns]:
        raise MetricError(f"the data frame has no column {absent[0]!r}; it has {', '.join(map(str, frame.columns))}")
    if frame[[query, document]].isna().to_numpy().any():
        raise MetricError(f"the data frame has rows without {query} or {document}; remove them")
    codes, queries = pd.factorize(frame[query])
    order = np.argsort(codes, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(queries)))])
    documents = frame[document]
    ids = documents.to_numpy() if pd.api.types.is_integer_dtype(documents) else documents.to_numpy(dtype=object)
    values = frame[value].to_numpy()[order] if value else None
    return queries.tolist(), ids[order], offsets, values
