"""Fusion of rankings, by rank and by score, against its definitions written out item by item."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from toys import HashedWords

from evalkit.errors import InputError
from evalkit.stages import BM25, RRF, Dense, Hybrid, MinMax, ZScore
from evalkit.stages.retrieve.fusing import Fuse, FuseByQuery, Weights, fuse
from evalkit.testing import check_component, check_retriever
from evalkit.values import Rankings

ITEMS = st.lists(st.integers(0, 20), unique=True, max_size=12)
SCORES = st.integers(-8, 8).map(lambda n: n / 4)
ALPHAS = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0.001, 0.999))
FUSIONS = st.sampled_from([RRF(), RRF(c=0), MinMax(), MinMax((-2.0, -2.0)), MinMax((-3.0,)), ZScore()])


@st.composite
def ranked(draw):
    """A ranking as (items, scores), with ties, one item or none now and then."""
    items = draw(ITEMS)
    scores = draw(st.lists(SCORES, min_size=len(items), max_size=len(items)))
    pairs = sorted(zip(items, scores, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [item for item, _ in pairs], [score for _, score in pairs]


def table(*rows):
    return Rankings.of(
        [np.array(items, np.int32) for items, _ in rows], [np.array(scores, np.float64) for _, scores in rows]
    )


def by_rank(items):
    return items, np.linspace(1, 0, len(items)).tolist()


def share(fusion, scores, i, weight, place):
    """What one ranking gives to its item at place `i`, straight from the definition."""
    if isinstance(fusion, RRF):
        return weight / (fusion.c + i + 1)
    if len(set(scores)) == 1:
        return weight
    if isinstance(fusion, MinMax):
        lowest = fusion.minima[place] if place < len(fusion.minima) else min(scores)
        return weight * ((scores[i] - lowest) / (max(scores) - lowest))
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
    return weight * ((scores[i] - min(scores)) / deviation)


def fused_by_dictionary(fusion, rankings, weights):
    found = {}
    for place, ((items, scores), weight) in enumerate(zip(rankings, weights, strict=True)):
        for i, item in enumerate(items if weight > 0 else ()):
            found.setdefault(item, []).append(share(fusion, scores, i, weight, place))
    return {item: sum(sorted(shares)) for item, shares in found.items()}


@given(ITEMS, ITEMS, ALPHAS, st.integers(0, 100), st.integers(1, 30))
def test_rrf_is_the_sum_of_weighted_reciprocal_ranks_to_the_bit(first, second, alpha, c, k):
    weights = (alpha, 1 - alpha)
    expected = fused_by_dictionary(RRF(c), (by_rank(first), by_rank(second)), weights)
    order = sorted(expected, key=lambda item: (-expected[item], item))[:k]
    fused = Fuse(RRF(c), weights, k)(table(by_rank(first)), table(by_rank(second)))
    assert fused.items[0].tolist() == order
    assert fused.scores[0].tolist() == [expected[item] for item in order]


@given(FUSIONS, st.lists(ranked(), min_size=1, max_size=4), st.data())
def test_every_fusion_is_its_definition_on_any_number_of_rankings(fusion, rankings, data):
    weights = data.draw(
        st.lists(st.sampled_from([0.0, 0.25, 0.5, 2.0]), min_size=len(rankings), max_size=len(rankings))
    )
    expected = fused_by_dictionary(fusion, rankings, weights)
    fused = Fuse(fusion, tuple(weights), 99)(*(table(ranking) for ranking in rankings))
    found = dict(zip(fused.items[0].tolist(), fused.scores[0].tolist(), strict=True))
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert fused.items[0].tolist() == sorted(found, key=lambda item: (-found[item], item))


@given(FUSIONS, ranked(), ranked(), ALPHAS, st.integers(1, 30), st.integers(1, 30))
def test_a_shallow_fusion_is_the_head_of_a_deep_one(fusion, first, second, alpha, k, more):
    both, weights = (table(first), table(second)), (alpha, 1 - alpha)
    deep = Fuse(fusion, weights, k + more)(*both)
    assert Fuse(fusion, weights, k)(*both).digest == deep.top(k).digest


@given(FUSIONS, st.lists(st.tuples(ranked(), ranked(), ALPHAS), max_size=5))
def test_rows_are_fused_each_by_itself_and_with_its_own_weight(fusion, rows):
    first, second = table(*(a for a, _, _ in rows)), table(*(b for _, b, _ in rows))
    weights = Weights(np.array([alpha for _, _, alpha in rows]))
    together = FuseByQuery(fusion, 10)(weights, first, second)
    assert len(together) == len(rows)
    for i, (_, _, alpha) in enumerate(rows):
        alone = Fuse(fusion, (alpha, 1 - alpha), 10)(first.row(i), second.row(i))
        assert alone.digest == together.row(i).digest


@given(FUSIONS, ranked(), ranked())
def test_at_the_ends_of_alpha_only_one_side_is_left(fusion, first, second):
    fusion = MinMax((-2.0, -2.0)) if fusion == MinMax((-3.0,)) else fusion
    for weights, (items, scores) in (((1.0, 0.0), first), ((0.0, 1.0), second)):
        found = Fuse(fusion, weights, 99)(table(first), table(second)).items[0].tolist()
        assert sorted(found) == sorted(items)
        if isinstance(fusion, RRF) or len(set(scores)) == len(scores):
            assert found == items


@given(FUSIONS, st.lists(ranked(), min_size=3, max_size=4))
def test_the_order_of_rankings_of_equal_weight_changes_nothing_to_the_bit(fusion, rankings):
    assume(not (isinstance(fusion, MinMax) and fusion.minima))  # these name rankings by their place
    tables = [table(ranking) for ranking in rankings]
    weights = (1 / len(tables),) * len(tables)
    digests = {Fuse(fusion, weights, 99)(*order).digest for order in itertools.permutations(tables)}
    assert len(digests) == 1


@given(ranked(), ranked(), st.floats(0.125, 8), st.integers(-4, 4))
def test_min_max_and_z_score_do_not_see_the_scale_of_a_side(first, second, factor, shift):
    stretched = first[0], [score * factor + shift for score in first[1]]
    for fusion in (MinMax(), ZScore()):
        plain = Fuse(fusion, (0.5, 0.5), 99)(table(first), table(second))
        other = Fuse(fusion, (0.5, 0.5), 99)(table(stretched), table(second))
        points = dict(zip(plain.items[0].tolist(), plain.scores[0].tolist(), strict=True))
        assert dict(zip(other.items[0].tolist(), other.scores[0].tolist(), strict=True)) == pytest.approx(points)


def test_swapping_the_sides_and_the_weight_is_the_same_fusion():
    a, b = table(by_rank([3, 1, 2])), table(by_rank([2, 5]))
    for fusion in (RRF(), MinMax(), ZScore()):
        assert Fuse(fusion, (0.25, 0.75), 9)(a, b).digest == Fuse(fusion, (0.75, 0.25), 9)(b, a).digest


def test_one_result_and_equal_scores_count_as_the_best_there_is():
    alone, tied, other = ([7], [0.3]), ([1, 2], [0.5, 0.5]), ([7, 2], [9.0, 4.0])
    for fusion in (MinMax(), ZScore()):
        assert Fuse(fusion, (0.5, 0.5), 9)(table(alone), table(([], []))).scores[0].tolist() == [0.5]
        assert Fuse(fusion, (0.5, 0.5), 9)(table(tied), table(([], []))).scores[0].tolist() == [0.5, 0.5]
    thirds = ([1, 2, 3], [0.1, 0.1, 0.1])  # whose computed mean is not 0.1
    assert Fuse(ZScore(), (1.0,), 9)(table(thirds)).scores[0].tolist() == [1.0, 1.0, 1.0]
    found = Fuse(MinMax(), (0.5, 0.5), 9)(table(tied), table(other))
    assert found.items[0].tolist() == [1, 2, 7]
    assert found.scores[0].tolist() == [0.5, 0.5, 0.5]


def test_a_stated_minimum_says_how_near_a_lists_last_item_is_to_nothing():
    cosines, keywords = ([1, 2], [0.9, 0.8]), ([3, 2], [12.0, 3.0])
    observed = Fuse(MinMax(), (0.5, 0.5), 9)(table(cosines), table(keywords))
    theoretical = Fuse(MinMax((-1.0, 0.0)), (0.5, 0.5), 9)(table(cosines), table(keywords))
    assert observed.items[0].tolist() == [1, 3, 2]
    assert theoretical.items[0].tolist() == [2, 1, 3]
    assert theoretical.scores[0].tolist() == pytest.approx([0.5 * 1.8 / 1.9 + 0.5 * 3 / 12, 0.5, 0.5])


def test_a_score_below_its_stated_minimum_is_an_error_that_says_which():
    with pytest.raises(InputError, match=r"MinMax: ranking 2 has the score -0\.5, below its stated minimum 0"):
        Fuse(MinMax((-1.0, 0.0)), (0.5, 0.5), 9)(table(([1], [0.1])), table(([1], [-0.5])))


@pytest.mark.parametrize("minimum", [math.nan, math.inf, -math.inf])
def test_a_minimum_is_a_finite_number(minimum):
    with pytest.raises(InputError, match="MinMax: minima"):
        MinMax((minimum,))


def test_nothing_fused_is_nothing():
    items, scores = fuse(RRF(), (1.0, 0.0), [np.zeros(0, np.int32), np.array([1])], [np.zeros(0), np.ones(1)], 3)
    assert len(items) == len(scores) == 0
    assert len(Fuse(RRF(), (0.5, 0.5), 3)(table(), table())) == 0


@pytest.mark.parametrize("fusion", [RRF(), MinMax(), MinMax((-1.0, 0.0)), ZScore()], ids=str)
def test_a_fusion_is_a_value_and_a_hybrid_with_it_conforms(fusion):
    check_component(fusion)
    check_retriever(Hybrid(dense=Dense(HashedWords(), k=6), sparse=BM25(k=4), alpha=0.4, fusion=fusion, k=5))
    check_component(Hybrid(fusion=fusion))
