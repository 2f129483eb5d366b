"""Learning a hybrid's weight: the fit against brute force, its honesty, and the way from a data set to a value."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords, dense

from evalkit import Sweep, run
from evalkit.datasets import Dataset
from evalkit.datasets.build import build
from evalkit.datasets.rows import Row
from evalkit.errors import InputError
from evalkit.metrics import parse
from evalkit.stages import BM25, Dense, Hybrid, LearntAlpha
from evalkit.store import DiskStore
from evalkit.tuning.alpha import GRID, fit_alpha, study_alpha
from evalkit.tuning.alpha_fit import PENALTIES, Sample, choose, compared, fit, held_out

HYBRID = dense(retrieve=Hybrid(Dense(HashedWords(), k=20), BM25(k=20), k=10))
ALPHAS = np.array(GRID)


def sample(values, features, folds=5):
    n = len(values)
    return Sample(ALPHAS, np.asarray(values, float), np.asarray(features, float), np.arange(n) % folds)


def peaks(best, height=1.0, slope=1.0):
    """Values that fall off on both sides of each query's best weight."""
    return height - slope * np.abs(ALPHAS[None, :] - np.asarray(best)[:, None])


def one_feature_decides(n, rng, noise=0.0):
    """Queries with a coin as the first of three features: 0.2 is best with heads, 0.8 with tails."""
    features = rng.random((n, 3))
    features[:, 0] = rng.integers(0, 2, n)
    return sample(peaks(0.2 + 0.6 * features[:, 0]) + noise * rng.standard_normal((n, len(GRID))), features)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from(PENALTIES))
def test_the_descent_ends_where_no_coefficient_with_any_constant_lowers_the_loss(seed, n, penalty):
    rng = np.random.default_rng(seed)
    given_sample = sample(rng.random((n, len(GRID))), rng.random((n, 2)))
    found = fit(given_sample, penalty, 0.7)
    price = penalty * np.ptp(given_sample.values, axis=1).mean() if math.isfinite(penalty) else math.inf

    def loss(base, coefficients):
        cost = price * sum(map(abs, coefficients)) if any(coefficients) else 0.0
        weights = [min(1, max(0, base + sum(np.multiply(coefficients, row)))) for row in given_sample.features]
        return cost - np.mean(
            [np.interp(w, ALPHAS, row) for w, row in zip(weights, given_sample.values, strict=True)]
        )

    reached, means = loss(found.base, found.coefficients), given_sample.features.mean(axis=0)
    for j, step, constant in itertools.product(range(2), np.arange(-5, 6) / 5, GRID):
        other = np.where(np.arange(2) == j, step, found.coefficients)
        assert reached <= loss(constant - float(means @ other), other) + 1e-5
    assert reached <= min(loss(alpha, (0.0, 0.0)) for alpha in GRID) + 1e-5, "never worse than the best constant"


def test_without_limit_on_the_penalty_the_fit_is_the_best_constant():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.random((7, len(GRID)))
        found = fit(sample(values, rng.random((7, 3))), math.inf, 0.7)
        assert found.coefficients == (0, 0, 0)
        assert found.base == GRID[int(values.mean(axis=0).argmax())]


@pytest.mark.parametrize(("start", "base"), [(0.7, 0.7), (0.62, 0.6), (0.0, 0.3), (1.0, 0.8)])
def test_of_equal_constants_the_one_nearest_to_the_hybrids_own_is_taken(start, base):
    plateau = np.where((ALPHAS > 0.25) & (ALPHAS < 0.85), 1.0, 0.0)
    assert fit(sample([plateau] * 4, np.zeros((4, 2))), math.inf, start).base == base


def test_what_decides_is_found_and_what_does_not_is_left_out():
    found = fit(one_feature_decides(200, np.random.default_rng(1), noise=0.02), 0.03, 0.7)
    assert found.coefficients == (0.6, 0.0, 0.0)
    assert found.base == pytest.approx(0.2, abs=0.06)


def test_a_value_between_two_weights_lies_on_the_line_between_theirs():
    made = sample([[float(i * i) for i in range(11)]] * 2, np.zeros((2, 1)))
    assert made.at(np.array([0.0, 1.0])).tolist() == [0.0, 100.0]
    assert made.at(np.array([0.25, 0.3])).tolist() == pytest.approx([6.5, 9.0])


def test_what_a_query_has_does_not_touch_the_weight_that_it_is_scored_with():
    made, told = one_feature_decides(30, np.random.default_rng(2), noise=0.3), 0
    for out in (0, 3):
        rows = made.folds == out

        def scored(slope, rows=rows):
            """Score with values in the fold that tell the weight, so that its sign is all that differs."""
            values = np.where(rows[:, None], slope * ALPHAS, made.values)
            given_sample = Sample(ALPHAS, values, made.features, made.folds)
            return [found[rows] for found in (held_out(given_sample, 0.03, 0.7), *compared(given_sample, 0.7))]

        for up, down in zip(scored(20.0), scored(-20.0), strict=True):
            assert up.tolist() == (-down).tolist()
            told += len(set(up.tolist())) > 1
    assert told, "some of these weights differ from query to query"


def test_a_real_effect_is_learnt_and_its_gain_is_seen_on_queries_held_out():
    made = one_feature_decides(150, np.random.default_rng(3), noise=0.05)
    assert math.isfinite(choose(made, 0.7))
    constants, learnt = compared(made, 0.7)
    assert learnt.mean() - constants.mean() > 0.15  # 0.3 at most: the half that the constant does not serve


def test_where_features_tell_nothing_the_choice_is_mostly_a_constant_and_never_costs_much():
    constant, lost = 0, []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        made = sample(peaks(rng.random(60)) + 0.1 * rng.standard_normal((60, len(GRID))), rng.random((60, 3)))
        constant += math.isinf(choose(made, 0.7))
        constants, learnt = compared(made, 0.7)
        lost.append(constants.mean() - learnt.mean())
    assert constant >= 6
    assert max(lost) < 0.05
    assert np.mean(lost) < 0.01


def test_few_queries_give_a_constant_however_clear_they_look():
    assert math.isinf(choose(one_feature_decides(19, np.random.default_rng(4)), 0.7))
    assert math.isfinite(choose(one_feature_decides(40, np.random.default_rng(4)), 0.7))


def codes(n: int, split: str = "dev") -> Dataset:
    """Documents with a code and some words: questions of codes need keywords, what hashed words blur."""
    rng = np.random.default_rng(5)
    names = ["ferry", "crane", "harbour", "cafe", "engine", "crew", "lamp", "rope", "sail", "deck", "cargo", "chart"]
    documents, queries, judged = [], [], []
    for i in range(n):
        text = " ".join([f"A{i:03}", *rng.choice(names, 5)])
        documents.append(Row(f"d{i}", {"id": f"d{i}", "text": text}))
        asked = f"A{i:03} {rng.choice(names)}" if i % 2 else " ".join(text.split()[1:])
        queries.append(Row(f"q{i}", {"id": f"q{i}", "text": asked, "split": split}))
        judged.append(Row(f"q{i}", {"query": f"q{i}", "document": f"d{i}", "grade": 1}))
    return build("codes", documents, queries, judged, [])


def test_a_study_tells_what_was_learnt_and_every_number_can_be_measured_again(store):
    data = codes(40)
    study = study_alpha(data.split("dev"), HYBRID, "MRR@10", store=store)
    assert study.values.shape == (40, 11)
    assert study.queries == tuple(sorted(data.queries.id))
    again = run(Sweep(HYBRID, {"retrieve.alpha": [0.3, study.alpha]}), data, "MRR@10", store=store)
    rows = again.per_query.query("metric == 'MRR@10' and variant == 'retrieve.alpha=0.3'").set_index("query")
    at = rows["value"].loc[list(study.queries)]
    assert at.tolist() == study.values[:, 3].tolist()
    assert study.held_out.n == 40
    assert study.constant in GRID
    assert study.best >= study.values.mean(axis=0).max()
    assert study.held_out.baseline <= study.best
    assert study_alpha(data, HYBRID, "MRR@10", store=store).alpha == study.alpha


def test_fit_alpha_gives_a_value_to_put_into_the_hybrid(tiny, store):
    alpha = fit_alpha(tiny.split("dev"), HYBRID, parse("nDCG@3"), store=store)
    assert isinstance(alpha, LearntAlpha)
    assert alpha == LearntAlpha(alpha.base), "four queries: a constant"
    hybrid = dense(retrieve=Hybrid(HYBRID.retrieve.dense, HYBRID.retrieve.sparse, alpha=alpha, k=3))
    assert run(hybrid, tiny.split("test"), "nDCG@3", store=store).summary["value"].notna().all()


def test_the_same_queries_give_the_same_study_in_another_store(tmp_path):
    found = [study_alpha(codes(24), HYBRID, "MRR@5", store=DiskStore(tmp_path / name)) for name in ("a", "b")]
    assert found[0].alpha == found[1].alpha
    assert found[0].held_out == found[1].held_out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": dense()}, "fit_alpha: the variant retrieves by Dense; a Hybrid is needed"),
        ({"grid": (0.0,)}, r"fit_alpha: grid \(0\.0,\) does not fit; give rising weights, 0 and 1 among them"),
        ({"grid": (0.0, 0.5)}, "fit_alpha: grid"),
        ({"grid": (0.0, 0.5, 0.5, 1.0)}, "fit_alpha: grid"),
        ({"metric": "TokenF1"}, "fit_alpha: TokenF1 is no metric of rankings; use nDCG@10, say"),
        ({"data": 1}, "fit_alpha: data set tiny has 1 judged queries; at least 2 are needed"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(change, message, tiny, store):
    given_args = {"data": tiny, "variant": HYBRID, **change}
    if given_args["data"] == 1:
        given_args["data"] = tiny.select(["q1"])
    with pytest.raises(InputError, match=message):
        fit_alpha(**given_args, store=store)
