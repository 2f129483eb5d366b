"""What repeats a better placed chunk goes; the rest stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords

from evalkit.errors import InputError
from evalkit.similarity import cosine
from evalkit.stages import Cutoff, Dense, RedundancyFilter
from evalkit.stages.rerank.redundancy import DropRedundant
from evalkit.testing import check_reranker
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Rankings, Vectors

WORLDS = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**32 - 1), "noise": st.sampled_from([1e-8, 1e-4, 0.1, 1]), "d": st.sampled_from([2, 8])}
)
THRESHOLDS = st.one_of(st.sampled_from([-1.0, 0.0, 0.9, 1.0]), st.floats(-1, 1))


def world(seed, noise, d):
    """Vectors in a few clusters, twins among them, and two rankings."""
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(4, d))[rng.integers(0, 4, 16)] + noise * rng.normal(size=(16, d))).astype(np.float32)
    vectors[rng.integers(0, 16, 3)] = vectors[5]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ranked = [rng.permutation(16)[: rng.integers(0, 17)] for _ in range(2)]
    return Vectors(vectors), Rankings.of(ranked, [np.linspace(1, 0, len(row)) for row in ranked])


def by_definition(items, vectors, threshold):
    kept = []
    for item in items:
        repeats = [
            cosine(vectors[[other]], vectors[item])[0] > threshold or (vectors[other] == vectors[item]).all()
            for other in kept
        ]
        if not any(repeats):
            kept.append(item)
    return kept


@settings(max_examples=100)
@given(WORLDS, THRESHOLDS)
def test_a_chunk_is_dropped_if_and_only_if_it_repeats_one_that_was_kept(parameters, threshold):
    vectors, rankings = world(**parameters)
    found = DropRedundant(threshold)(vectors, rankings)
    for kept, items in zip(found.items, rankings.items, strict=True):
        assert kept.tolist() == by_definition(items.tolist(), vectors.values, threshold)


@given(WORLDS)
def test_at_threshold_1_exact_twins_alone_are_dropped(parameters):
    vectors, rankings = world(**parameters)
    found = DropRedundant(1.0)(vectors, rankings)
    for kept, items in zip(found.items, rankings.items, strict=True):
        first = {vectors.values[item].tobytes(): int(item) for item in items[::-1]}
        assert kept.tolist() == [item for item in items if first[vectors.values[item].tobytes()] == item]


@given(WORLDS, THRESHOLDS, st.integers(1, 16))
def test_order_and_scores_stay_and_nothing_is_dropped_twice(parameters, threshold, k):
    vectors, rankings = world(**parameters)
    drop = DropRedundant(threshold)
    found = drop(vectors, rankings)
    assert drop(vectors, found).digest == found.digest
    head = drop(vectors, rankings.top(k))
    for row in range(2):
        before = dict(zip(rankings.items[row].tolist(), rankings.scores[row].tolist(), strict=True))
        assert found.scores[row].tolist() == [before[item] for item in found.items[row].tolist()]
        assert head.items[row].tolist() == found.items[row].tolist()[: len(head.items[row])]
        assert drop(vectors, rankings.row(row)).digest == found.row(row).digest


def test_dense_retrieval_lends_its_vectors_and_the_query_is_not_asked():
    node = RedundancyFilter(HashedWords()).expand(CORPUS, QUERY, CORPUS)
    assert not node.per_query
    ranking = Dense(HashedWords()).expand(CORPUS, QUERY)
    after = {n.recipe for n in RedundancyFilter(HashedWords()).expand(CORPUS, QUERY, ranking).walk()}
    assert len(after - {n.recipe for n in ranking.walk()}) == 1


@pytest.mark.parametrize("threshold", [-1.0, 0.5, 1.0])
def test_it_conforms_at_any_threshold(threshold):
    check_reranker(RedundancyFilter(HashedWords(), threshold))


@pytest.mark.parametrize("threshold", [1.01, -1.01, float("nan")])
def test_a_threshold_that_no_cosine_has_is_refused(threshold):
    with pytest.raises(InputError, match=r"RedundancyFilter: threshold is .*; a cosine is from -1 to 1"):
        RedundancyFilter(threshold=threshold)


def test_a_cutoff_is_the_head_of_the_ranking():
    ranking = Rankings.of([[4, 2, 9], [], [1]], [[3, 2, 1], [], [5]])
    op = Cutoff(2).expand(CORPUS, QUERY, Node("query")).op
    assert [items.tolist() for items in op(ranking).items] == [[4, 2], [], [1]]
    assert [scores.tolist() for scores in op(ranking).scores] == [[3, 2], [], [5]]


def test_a_cutoff_below_one_is_refused():
    with pytest.raises(InputError, match="Cutoff: k is 0; it must be at least 1"):
        Cutoff(0)
