"""What every vector index must hold to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.evaluate.plan import make_plan
from evalkit.similarity import cosine
from evalkit.testing.conformance.given import run_node
from evalkit.testing.conformance.retrievers import check_rankings
from evalkit.types import CORPUS, QUERY, Digest, Node
from evalkit.values import Rankings, Value, Vectors

_KS = (1, 3, 5)


def check_index(index: Any) -> None:
    """Check an index over vectors with twins among them, and over next to none.

    Rankings must be in order, with ties by position, the same whatever else is asked, and heads of deeper ones where
    the search calls itself ``prefix_exact``. Scores must be those of `evalkit.similarity.cosine`, unless the index
    has a field ``rescore`` that is 0. A build must be repeatable and know nothing of k.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    corpus, queries = _vectors()
    for size in (0, 1, 2, 7, len(corpus)):
        _check_search(index, corpus.take(np.arange(size)), queries)
    _check_sharing(index, corpus, queries)
    try:
        index.expand(CORPUS, QUERY, 0)
    except InputError:
        return
    raise AssertionError(f"{index}: k = 0 is not refused")


def _vectors() -> tuple[Vectors, Vectors]:
    """Vectors around a few directions, the last ones twins of the first; queries that are and are not among them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 16))
    corpus = _unit(centres[rng.integers(0, 12, 300)] + 0.5 * rng.normal(size=(300, 16)))
    corpus = np.concatenate([corpus, corpus[:9], corpus[:9]])
    asked = _unit(centres[rng.integers(0, 12, 25)] + 0.5 * rng.normal(size=(25, 16)))
    return Vectors(corpus), Vectors(np.concatenate([corpus[:3], asked]))


def _unit(vectors: Array) -> Array:
    short = vectors.astype(np.float32)
    return np.asarray(short / np.linalg.norm(short, axis=1, keepdims=True))


def _check_search(index: Any, corpus: Vectors, queries: Vectors) -> None:
    size = len(corpus)
    for k in (5, size + 1000):
        top = index.expand(CORPUS, QUERY, k)
        known: dict[Digest, Value] = {CORPUS.recipe: corpus, QUERY.recipe: queries}
        found = run_node(top, known)
        where = f"{index} over {size} vectors, k = {k}"
        assert isinstance(found, Rankings), f"{where}: gives {type(found).__name__}, not Rankings"
        check_rankings(where, found, len(queries), size)
        lengths = np.diff(found.items.offsets)
        assert lengths.max() <= min(k, size), f"{where}: more than k neighbours"
        assert lengths.min() > 0 or not size, f"{where}: a query finds nothing"
        _check_scores(index, where, found, corpus, queries)
        _check_batches(where, top, known, found, queries)
        _check_build(index, top, known, corpus)


def _check_scores(index: Any, where: str, found: Rankings, corpus: Vectors, queries: Vectors) -> None:
    if getattr(index, "rescore", None) == 0:
        return
    for i, (items, scores) in enumerate(zip(found.items, found.scores, strict=True)):
        exact = cosine(corpus.values[items], queries.values[i])
        assert np.array_equal(scores, exact), f"{where}, query {i}: scores are not the cosines"
        for item in items:
            twins = np.flatnonzero((corpus.values[:item] == corpus.values[item]).all(axis=1))
            assert np.isin(twins, items).all(), f"{where}, query {i}: {item} without its twin before it"


def _check_batches(where: str, top: Node, known: dict[Digest, Value], found: Rankings, queries: Vectors) -> None:
    corpus_side = {n.recipe: known[n.recipe] for n in top.walk() if not n.per_query}

    def rows(wanted: Sequence[int]) -> str:
        return run_node(top, {**corpus_side, QUERY.recipe: queries.take(wanted)}).digest

    for i in (0, 3, len(queries) - 1):
        assert rows([i]) == found.row(i).digest, f"{where}: query {i} alone finds others"
    turned = list(range(len(queries)))[::-1]
    assert rows(turned) == found.take(turned).digest, f"{where}: the order of queries changes what is found"
    assert rows([]) == found.take([]).digest, f"{where}: rankings of no queries"


def _check_build(index: Any, top: Node, known: dict[Digest, Value], corpus: Vectors) -> None:
    again: dict[Digest, Value] = {CORPUS.recipe: corpus}
    for node in top.walk():
        if not node.per_query and node.op != "corpus":
            made = run_node(node, again)
            assert made.digest == known[node.recipe].digest, f"{index}: a second build differs"


def _check_sharing(index: Any, corpus: Vectors, queries: Vectors) -> None:
    tops = {k: index.expand(CORPUS, QUERY, k) for k in _KS}
    builds = {k: {n.recipe for n in top.walk() if not n.per_query} for k, top in tops.items()}
    assert len({frozenset(b) for b in builds.values()}) == 1, f"{index}: the build depends on k"
    known: dict[Digest, Value] = {CORPUS.recipe: corpus, QUERY.recipe: queries}
    plan = make_plan({str(k): {"found": top} for k, top in tops.items()})
    for k, top in tops.items():
        shared, own = run_node(plan.nodes[plan.wanted[str(k)]["found"]], known), run_node(top, known)
        assert shared.digest == own.digest, f"{index}: with k = {k} it is not the head of a deeper search"
