"""Pair scores are remembered: a rerank of every depth, over every retriever, scores a pair once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from toys import HashedWords, dense, words

from evalkit import Sweep, run
from evalkit.columns import Ragged
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.stages import BM25, Dense
from evalkit.stages.rerank.base import BestFirst, at_most
from evalkit.store import DiskStore
from evalkit.types import Node
from evalkit.values import Chunks, Queries, Rankings

SCORED: Counter[tuple[str, str]] = Counter()


@dataclass(frozen=True)
class Overlap:
    """Scores a pair by its common words, and counts that it did."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True
    entry_wise: ClassVar[bool] = True
    journalled: ClassVar[bool] = True

    def __call__(self, chunks: Chunks, queries: Queries, rankings: Rankings) -> Rankings:
        items = rankings.top(self.k).items
        return Rankings(items, Ragged(self.score(self.pairs(chunks, queries, rankings)), items.offsets))

    def pairs(self, chunks: Chunks, queries: Queries, rankings: Rankings) -> list[tuple[str, str]]:
        rows = zip(queries.text, rankings.top(self.k).items, strict=True)
        return [(query, chunks.searched[int(item)]) for query, items in rows for item in items]

    def score(self, pairs: Sequence[tuple[str, str]]) -> Any:
        SCORED.update(pairs)
        return np.array(
            [len(set(words(a)) & set(words(b))) / (1 + len(words(b))) for a, b in pairs], dtype=np.float64
        )


@dataclass(frozen=True)
class ByOverlap:
    """Ranks by `Overlap`."""

    k: int | None = 5
    depth: int | None = None

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        return Node(BestFirst(at_most(self.k)), (Node(Overlap(at_most(self.depth)), (chunks, query, ranking)),))


@pytest.fixture(autouse=True)
def _none_scored():
    SCORED.clear()


def contents(variants, data, store):
    plan = make_plan({label: {"found": v.nodes()["retrieve"]} for label, v in variants.items()})
    context = Context(store)
    done = execute(plan, sources(data, 0, store), context)
    return {label: context.whole(done[ends["found"]].blocks).digest for label, ends in plan.wanted.items()}


def reranked(k, depth=None, **changes):
    return dense(k=k, rerank=ByOverlap(k=3, depth=depth), **changes)


@pytest.mark.parametrize("depths_in", ["the retriever", "the reranker", "both"])
def test_four_depths_score_the_pairs_of_the_deepest_and_each_once(tiny, store, depths_in):
    variants = {
        str(k): reranked(10 if depths_in == "the reranker" else k, depth=None if depths_in == "the retriever" else k)
        for k in (3, 5, 8, 10)
    }
    together = contents(variants, tiny, store)
    assert sum(SCORED.values()) == 10 * len(tiny.queries)
    assert set(SCORED.values()) == {1}
    for i, (label, variant) in enumerate(variants.items()):
        assert contents({label: variant}, tiny, DiskStore(store.folder / f"alone {i}")) == {label: together[label]}


def test_another_retriever_scores_only_the_pairs_that_the_first_did_not_find(tiny, store):
    contents({"dense": reranked(6)}, tiny, store)
    first = set(SCORED)
    contents({"words": reranked(6, retrieve=BM25(k=6))}, tiny, store)
    assert set(SCORED.values()) == {1}
    assert set(SCORED) > first


def test_a_later_run_that_goes_deeper_scores_only_what_is_new(tiny, store):
    run(reranked(4), tiny, ["MRR@10"], store=store)
    assert sum(SCORED.values()) == 4 * len(tiny.queries)
    run(Sweep(reranked(7), {"retrieve": [Dense(HashedWords(), k=4), Dense(HashedWords(), k=7)]}), tiny, store=store)
    assert sum(SCORED.values()) == 7 * len(tiny.queries)
