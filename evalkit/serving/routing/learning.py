"""What a classifier of questions learns from labelled ones: centroids, or the weights of a logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from evalkit.columns import Array, Ragged, Strings
from evalkit.errors import EvalkitError
from evalkit.serving.routing.base import OWN, Routes
from evalkit.values import Queries, Value, Vectors

Method = Literal["centroid", "logistic"]


@dataclass(frozen=True, eq=False)
class Linear(Value):
    """A linear function of a vector for each route, in the order of their names.

    Parameters
    ----------
    weights : float64 array of shape (routes, d)
    bias : float64 array of shape (routes,)
    """

    weights: Array
    bias: Array


@dataclass(frozen=True)
class Labelled:
    """Labelled questions as a table, which no query and no document enters."""

    texts: tuple[str, ...]

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "route"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self) -> Queries:
        """Return the questions, in the given order, without history."""
        return Queries(Strings.of([""] * len(self.texts)), Strings.of(self.texts), Ragged.of([[]] * len(self.texts)))


@dataclass(frozen=True)
class Learn:
    """Learn from the vectors of labelled questions. The fields are `Classifier`'s.

    Parameters
    ----------
    labels : tuple of str
        Of each vector.
    """

    labels: tuple[str, ...]
    method: Method
    c: float

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "route"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("scipy",)

    def __call__(self, vectors: Vectors) -> Linear:
        """Learn from all of them at once."""
        names = sorted(set(self.labels))
        given = vectors.values.astype(np.float64)
        place = np.array([names.index(label) for label in self.labels])
        if self.method == "centroid":
            means = np.stack([given[place == i].mean(axis=0) for i in range(len(names))])
            lengths = np.linalg.norm(means, axis=1, keepdims=True)
            return Linear(means / np.where(lengths > 0, lengths, 1.0), np.zeros(len(names)))
        return _regression(given, place, len(names), self.c)


def _regression(vectors: Array, place: Array, routes: int, c: float) -> Linear:
    """Minimise ``c * (sum of cross-entropies) + |weights|^2 / 2`` from zero, by L-BFGS: one minimum, no chance."""
    from scipy.optimize import minimize

    rows, d = vectors.shape
    wide = np.concatenate([vectors, np.ones((rows, 1))], axis=1)
    wanted = np.eye(routes)[place]

    def loss(flat: Any) -> tuple[float, Any]:
        theta = flat.reshape(routes, d + 1)
        logits = wide @ theta.T
        logits -= logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(axis=1))
        weights = theta * np.r_[np.ones(d), 0.0]
        value = c * float((log_sum - (logits * wanted).sum(axis=1)).sum()) + float((weights**2).sum()) / 2
        slope = c * (np.exp(logits - log_sum[:, None]) - wanted).T @ wide + weights
        return value, slope.ravel()

    zero: Any = np.zeros(routes * (d + 1))
    options: Any = {"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-7, "maxfun": 100_000}
    found: Any = minimize(loss, zero, jac=True, method="L-BFGS-B", options=options)
    if not np.isfinite(found.x).all() or found.nit >= 2000:
        raise EvalkitError(f"Classifier: the regression found no minimum in 2000 steps ({found.message}); lower c")
    theta = found.x.reshape(routes, d + 1)
    return Linear(theta[:, :d].copy(), theta[:, d].copy())


@dataclass(frozen=True)
class Classify:
    """Decide by vectors. The fields are `Classifier`'s.

    Parameters
    ----------
    names : tuple of str
        Of the routes, in order.
    """

    names: tuple[str, ...]
    method: Method
    at_least: float
    prefer: str

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "route"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, learnt: Linear, vectors: Vectors) -> Routes:
        """Decide question by question; the score is a cosine or a probability. Ties go to the earlier name."""
        scores = self.scores(learnt, vectors)
        rows = np.arange(len(scores))
        if self.prefer:
            own = self.names.index(self.prefer)
            best = np.where(scores[:, own] >= self.at_least, own, _best_but(scores, own))
            taken = np.ones(len(scores), dtype=np.bool_)
        else:
            best = scores.argmax(axis=1)
            taken = scores[rows, best] >= self.at_least
        names = Strings.of(self.names[i] if t else OWN for i, t in zip(best.tolist(), taken.tolist(), strict=True))
        return Routes(names, scores[rows, best])

    def scores(self, learnt: Linear, vectors: Vectors) -> Array:
        """Return each question's score for each route, row by row to the bit: float64 of shape (n, routes)."""
        wide = vectors.values.astype(np.float64)
        found = np.stack([(wide * weights).sum(axis=1) for weights in learnt.weights], axis=1) + learnt.bias
        if self.method == "centroid":
            return np.asarray(found)
        shifted = np.exp(found - found.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _best_but(scores: Array, place: int) -> Array:
    """Return each row's best place apart from one."""
    others = scores.copy()
    others[:, place] = -np.inf
    return np.asarray(others.argmax(axis=1))
