"""How much of the true neighbourhood an approximate search found."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.metrics.base import MetricError

__all__ = ["neighbour_recall"]


def neighbour_recall(found: Iterable[ArrayLike], exact: Iterable[ArrayLike], k: int) -> NDArray[np.float64]:
    """Return the share of the `k` nearest neighbours that a search found, one value a query.

    A neighbour that was found counts if it is at least as similar as the exact k-th, so that it makes no difference
    which of several equally near ones were returned.

    Parameters
    ----------
    found : one sequence of float a query
        Similarities to the query of what was found, each item once; only the best `k` count. They must come from the
        same function as `exact`: scores of codes or of another precision do not tell what is near.
    exact : one sequence of float a query
        Similarities of the true neighbours: at least `k`, or of all items where there are fewer, which then are the
        whole neighbourhood. Where there is none, nothing was missed: 1.
    k : int

    Returns
    -------
    NDArray[float64], shape (queries,)
        From 0 to 1.

    Raises
    ------
    MetricError
        If the queries differ in number, or something found is nearer than the exact search says it can be.

    References
    ----------
    Aumüller, Bernhardsson and Faithfull, *ANN-Benchmarks: A Benchmarking Tool for Approximate Nearest Neighbor
    Algorithms*, Information Systems 87, 2020: recall by distance, with no tolerance.
    """
    if k < 1:
        raise MetricError(f"k is {k}; it must be at least 1")
    ours, true = ([np.sort(np.asarray(row, dtype=np.float64))[::-1][:k] for row in rows] for rows in (found, exact))
    if len(ours) != len(true):
        raise MetricError(f"{len(ours)} queries were searched and {len(true)} exactly; give the same ones, in order")
    return np.array([_share(i, a, b) for i, (a, b) in enumerate(zip(ours, true, strict=True))], dtype=np.float64)


def _share(query: int, found: NDArray[np.float64], exact: NDArray[np.float64]) -> float:
    if len(found) > len(exact):
        raise MetricError(f"query {query}: {len(found)} neighbours found, {len(exact)} exact ones; give all of these")
    beyond = np.flatnonzero(~(found <= exact[: len(found)]))
    if len(beyond):
        rank = int(beyond[0])
        raise MetricError(
            f"query {query}: similarity {found[rank]} was found at rank {rank + 1}, above the exact {exact[rank]}; "
            "give similarities of one exact function, each item once"
        )
    return int((found >= exact[-1]).sum()) / len(exact) if len(exact) else 1.0
