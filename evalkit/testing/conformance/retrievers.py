"""What every retriever must hold to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evalkit.testing.conformance.given import corpus_side, run_node, searched
from evalkit.testing.corpus import tiny_dataset
from evalkit.testing.identity import Stub
from evalkit.types import CORPUS, QUERY, Digest, Node
from evalkit.values import Rankings, Value


def check_retriever(retriever: Any) -> None:
    """Check a retriever's rankings: in order, without repeats, the same whatever else is asked, heads of deeper ones.

    The corpus has fewer chunks than a retriever with ``k = 1000`` asks for, chunks with equal text, and a query
    without any known word.

    Raises
    ------
    AssertionError
        With the query and what does not hold.
    """
    chunks, queries = searched()
    cut = Node(Stub(), (CORPUS,))  # not the corpus itself: a retriever may look at the documents too
    top = retriever.expand(cut, QUERY)
    given: dict[Digest, Value] = {CORPUS.recipe: tiny_dataset().documents, cut.recipe: chunks}
    known = {**corpus_side, **given, QUERY.recipe: queries}
    found = run_node(top, known)
    assert isinstance(found, Rankings), f"{retriever}: gives {type(found).__name__}, not Rankings"
    check_rankings(retriever, found, len(queries), len(chunks))

    per_query = {node.recipe for node in top.walk() if node.per_query}
    corpus_side.update(
        {recipe: value for recipe, value in known.items() if recipe not in (*per_query, CORPUS.recipe)}
    )

    def rows(wanted: Sequence[int]) -> str:
        return run_node(top, {**corpus_side, **given, QUERY.recipe: queries.take(wanted)}).digest

    for i, name in enumerate(queries.id):
        assert rows([i]) == found.row(i).digest, f"{retriever}: query {name} alone gives another ranking"
    assert rows([3, 1, 2]) == found.take([3, 1, 2]).digest, f"{retriever}: the order of queries changes rankings"
    assert rows([]) == found.take([]).digest, f"{retriever}: rankings of no queries"

    if hasattr(retriever, "k"):
        deep = run_node(replace(retriever, k=1000).expand(cut, QUERY), known)
        assert isinstance(deep, Rankings)
        check_rankings(retriever, deep, len(queries), len(chunks))
        for k in (1, 2, 7, len(chunks)):
            head = run_node(replace(retriever, k=k).expand(cut, QUERY), known)
            assert isinstance(head, Rankings)
            assert np.diff(head.items.offsets).max() <= k, f"{retriever}: more than k = {k} chunks"
            assert head.digest == deep.top(k).digest, (
                f"{retriever}: with k = {k} it is not the head of a deeper search"
            )


def check_rankings(retriever: Any, found: Rankings, queries: int, size: int) -> None:
    """Check that rankings are in order, without repeats, and of chunks that are there."""
    assert len(found) == queries, f"{retriever}: {len(found)} rankings of {queries} queries"
    for i, (items, scores) in enumerate(zip(found.items, found.scores, strict=True)):
        where = f"{retriever}, query {i}"
        assert len(items) == len(scores), f"{where}: {len(items)} chunks, {len(scores)} scores"
        assert len(set(items.tolist())) == len(items), f"{where}: a chunk twice in {items.tolist()}"
        assert ((items >= 0) & (items < size)).all(), f"{where}: a position outside the corpus in {items.tolist()}"
        assert np.isfinite(scores).all(), f"{where}: a score is not finite"
        order = np.lexsort((items, -scores))
        assert (order == np.arange(len(items))).all(), f"{where}: not in order of score, then of position"
