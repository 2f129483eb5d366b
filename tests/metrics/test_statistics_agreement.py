"""Cohen's kappa against scikit-learn, published examples and its own sampling distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from evalkit.metrics import MetricError
from evalkit.metrics.statistics import kappa

COHEN = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
"""Two judges of 200 cases in three categories (Cohen 1968, table 1)."""
FLEISS = [[106, 10, 4], [22, 28, 10], [2, 12, 6]]
"""200 cases (Fleiss, Cohen and Everitt 1969, table 1)."""
SIMILAR = [[1, 0, 0.4444], [0, 1, 0.6667], [0.4444, 0.6667, 1]]

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40)


def judged(table):
    """Both judges' labels, item by item."""
    cells = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in cells], [j for _, j in cells]


def standard_error(estimate):
    return (estimate.high - estimate.low) / 2 / 1.959964


@pytest.mark.parametrize(
    ("table", "weights", "value"),
    [
        ([[20, 5], [10, 15]], "none", 0.4),
        (COHEN, "none", 0.492),
        (COHEN, 1 - np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]]) / 6, 0.348),
        (COHEN, 1 - np.array([[0, 1, 4], [1, 0, 6], [2, 2, 0]]) / 6, 0.353),
        (FLEISS, "none", 0.429),
        (FLEISS, SIMILAR, 0.507),
    ],
    ids=["two by two", "cohen", "cohen weighted", "cohen asymmetric", "fleiss", "fleiss weighted"],
)
def test_kappa_is_that_of_published_examples(table, weights, value):
    assert kappa(*judged(table), weights=weights).kappa.value == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(("weights", "variance"), [("none", 0.002885), (SIMILAR, 0.003248)])
def test_the_large_sample_variance_is_the_published_one(weights, variance):
    found = kappa(*judged(FLEISS), weights=weights).kappa
    assert standard_error(found) ** 2 == pytest.approx(variance, abs=1e-6)


@given(pairs, st.sampled_from(["none", "linear", "quadratic"]))
def test_kappa_is_scikit_learns(labels, weights):
    first, second = zip(*labels, strict=True)
    ours = kappa(first, second, categories=range(4), weights=weights).kappa.value
    if {*first} == {*second} and len({*first}) == 1:
        assert np.isnan(ours)
    else:
        theirs = cohen_kappa_score(
            first, second, labels=range(4), weights=None if weights == "none" else weights
        )  # fmt: skip
        assert ours == pytest.approx(theirs, abs=1e-9)


@given(pairs)
def test_it_does_not_matter_who_is_the_first_judge(labels):
    first, second = zip(*labels, strict=True)
    one, other = kappa(first, second).kappa, kappa(second, first).kappa
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), nan_ok=True)


@given(pairs)
def test_the_interval_holds_the_value_and_stays_between_minus_one_and_one(labels):
    found = kappa(*zip(*labels, strict=True)).kappa
    assert -1 <= found.low <= found.high <= 1
    assert np.isnan(found.value) or found.low - 1e-9 <= found.value <= found.high + 1e-9


def test_analytic_and_bootstrap_intervals_agree_on_many_items():
    for weights in ("none", SIMILAR):
        analytic, drawn = (
            kappa(*judged(FLEISS), weights=weights, method=method).kappa for method in ("analytic", "bootstrap")
        )
        assert drawn.low == pytest.approx(analytic.low, abs=0.015)
        assert drawn.high == pytest.approx(analytic.high, abs=0.015)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, size = np.random.default_rng(7), 80
    shares = np.array([[0.5, 0.1], [0.1, 0.3]])
    observed, expected = 0.8, 0.6 * 0.6 + 0.4 * 0.4
    truth = (observed - expected) / (1 - expected)
    tables = rng.multinomial(size, shares.ravel(), size=1000).reshape(-1, 2, 2)
    found = [kappa(*judged(table.tolist()), categories=(0, 1)).kappa for table in tables]
    assert 0.92 < np.mean([one.low <= truth <= one.high for one in found]) < 0.97


def test_eight_agreements_of_eight_are_no_proof():
    found = kappa([1, 0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 1, 0]).kappa
    assert found.value == found.high == 1
    assert found.low == pytest.approx((0.6306 - 0.5) / 0.5, abs=1e-3)


def test_one_label_for_everything_says_nothing():
    found = kappa([1] * 9, [1] * 9).kappa
    assert np.isnan(found.value)
    assert (found.low, found.high, found.n) == (-1, 1, 9)


@pytest.mark.parametrize("settings", [{}, {"method": "bootstrap"}, {"clusters": [0, 0, 1, 1, 2, 2]}], ids=str)
def test_a_judge_that_always_says_the_same_tells_nothing(settings):
    found = kappa([1] * 6, [1, 0, 0, 1, 0, 1], **settings).kappa
    assert (found.value, found.low, found.high) == (0, -1, 1)


def test_answers_of_one_query_count_as_one_draw():
    first, second = judged([[20, 5], [10, 15]])
    alone = kappa(first, second, clusters=range(50), seed=1).kappa
    fourfold = kappa(first * 4, second * 4, clusters=[*range(50)] * 4, seed=1).kappa
    assert (fourfold.low, fourfold.high) == pytest.approx((alone.low, alone.high))
    assert standard_error(kappa(first * 4, second * 4).kappa) == pytest.approx(
        standard_error(kappa(first, second).kappa) / 2, rel=1e-6
    )


def test_the_table_has_the_first_judge_in_its_rows():
    found = kappa(["yes", "yes", "no"], ["no", "yes", "no"], categories=("no", "yes"))
    assert found.table.tolist() == [[1, 0], [1, 1]]
    assert (found.observed, found.categories) == (pytest.approx(2 / 3), ("no", "yes"))


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (([], []), "0 and 0 labels"),
        (([1], [1, 0]), "1 and 2 labels"),
        (([1, 2], [1, 3], (1, 2)), "label 3 is not among the categories"),
        (([1, "a"], [1, 1]), "labels of one kind"),
    ],
)
def test_wrong_labels_are_one_line(arguments, what):
    categories = arguments[2] if len(arguments) > 2 else None
    with pytest.raises(MetricError, match=what) as caught:
        kappa(*arguments[:2], categories=categories)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"weights": "cubic"}, "weights must be none"),
        ({"weights": [[1, 0]]}, "weights of shape"),
        ({"method": "guess"}, "unknown method"),
        ({"level": 1}, "level must lie"),
    ],
)
def test_wrong_settings_are_one_line(settings, what):
    with pytest.raises(MetricError, match=what):
        kappa([1, 0], [1, 1], **settings)
