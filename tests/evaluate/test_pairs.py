"""Pair scores are remembered: a rerank of every depth, over every retriever, scores a pair once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from toys import ByOverlap, HashedWords, Overlap, dense

from evalkit import Sweep, run
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.stages import BM25, Dense
from evalkit.store import DiskStore

SCORED: Counter[tuple[str, str]] = Counter()


class Counted(Overlap):
    """Counts the pairs that it scores."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> Any:
        SCORED.update(pairs)
        return super().score(pairs)


class ByCounted(ByOverlap):
    """Ranks by `Counted`."""

    scorer: ClassVar[type[Overlap]] = Counted


@pytest.fixture(autouse=True)
def _none_scored():
    SCORED.clear()


def contents(variants, data, store):
    plan = make_plan({label: {"found": v.nodes()["retrieve"]} for label, v in variants.items()})
    context = Context(store)
    done = execute(plan, sources(data, 0, store), context)
    return {label: context.whole(done[ends["found"]].blocks).digest for label, ends in plan.wanted.items()}


def reranked(k, depth=None, **changes):
    return dense(k=k, rerank=ByCounted(k=3, depth=depth), **changes)


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
