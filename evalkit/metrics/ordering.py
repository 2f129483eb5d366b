"""Grades in the order that scores ask for: score descending, then document id ascending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__: list[str] = []

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
Ids = Callable[[NDArray[np.int64], NDArray[np.int64]], "NDArray[np.int64] | Sequence[Any]"]


def by_score(grades: Floats, scores: Floats, ids: Ids) -> Floats:
    """Return the grades of each row by falling score.

    Only ties between documents of different grades are broken by id: the order of the others changes no
    metric, so that their names are never compared.

    Parameters
    ----------
    grades, scores : NDArray[float64], shape (queries, depth)
        Scores are minus infinity beyond the end of a row.
    ids : callable
        The document ids at some rows and columns: numbers as an array, names as a sequence.
    """
    if (scores[:, 1:] <= scores[:, :-1]).all():
        order, ranked = None, grades
    else:
        order = np.argsort(-scores, axis=1)
        flat = order + np.arange(0, scores.size, scores.shape[1])[:, None]
        ranked, scores = grades.take(flat), scores.take(flat)
    tied = scores[:, 1:] == scores[:, :-1]
    mixed = tied & (ranked[:, 1:] != ranked[:, :-1])
    if not mixed.any():
        return ranked
    places, group = _undecided(tied, mixed)
    where, at = np.divmod(places, scores.shape[1])
    columns = at if order is None else order[where, at]
    decided = _sorted(group, ids(where, columns))
    ranked = ranked.copy() if order is None else ranked
    ranked[where, at] = grades[where, columns[decided]]
    return ranked


def _undecided(tied: NDArray[np.bool_], mixed: NDArray[np.bool_]) -> tuple[Positions, Positions]:
    """Return the flat positions in groups of ties that hold different grades, and the group of each.

    Parameters
    ----------
    tied, mixed : NDArray[bool], shape (queries, depth - 1)
        Whether a document ties with the next, and whether their grades also differ.
    """
    rows, columns = np.nonzero(tied)
    at = rows * (tied.shape[1] + 1) + columns
    group = np.cumsum(np.diff(at, prepend=-2) != 1)  # ties that follow each other share a score
    matters = np.bincount(group, weights=mixed[rows, columns]) > 0
    at, group = at[matters[group]], group[matters[group]]
    last = np.append(group[1:] != group[:-1], True)
    places, group = np.append(at, at[last] + 1), np.append(group, group[last])
    order = np.argsort(places)
    return places[order], group[order]


def _sorted(group: NDArray[np.int64], ids: NDArray[np.int64] | Sequence[Any]) -> NDArray[np.intp]:
    """Return the positions by group, which rises, then id."""
    if isinstance(ids, np.ndarray):
        return np.lexsort((ids, group))
    keys = list(zip(group.tolist(), ids, strict=True))
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)
