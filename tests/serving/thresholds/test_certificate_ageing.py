"""How a certificate ages: windows of later traffic, one by one, and what made them worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from certified_worlds import World
from scipy import stats

from evalkit import InputError
from evalkit.datasets import load_dataset
from evalkit.datasets.generate import Day, generate_traffic
from evalkit.serving.arrivals import arrivals_of
from evalkit.serving.layers import SemanticCache
from evalkit.serving.thresholds.ageing import age
from evalkit.serving.thresholds.certificates import certify
from evalkit.serving.thresholds.splits import by_split
from evalkit.serving.thresholds.sweep import threshold_sweep
from evalkit.testing.words import HashedWords

N, WINDOWS = 6_000, 4
WORLD = World(N, seed=5)
DEV, TEST = WORLD.halves()


def sweep(bad, rng, rate=0.7):
    return WORLD.sweep(bad, (rng.random(N) < rate)[None])


@pytest.fixture(scope="module")
def certificate():
    rng = np.random.default_rng(1)
    found = certify(sweep(WORLD.bad("independent", 0.004, rng), rng), 0.02, dev=DEV, test=TEST)
    assert found.certified
    return found


def quarters():
    return (np.arange(N) * WINDOWS) // N


def test_the_same_traffic_again_holds_and_traffic_with_a_hundred_times_the_errors_is_broken(certificate):
    rng = np.random.default_rng(2)
    bad = WORLD.bad("independent", np.where(quarters() < 2, 0.001, 0.1), rng)
    found = age(certificate, sweep(bad, rng), WINDOWS)
    assert found.table["verdict"].tolist() == ["holds", "holds", "broken", "broken"]
    assert found.broken == ("3", "4")
    assert "holds in 2, broken in 2 of 4 windows, first in 3" in str(found)
    assert found.table["over"].tolist() == [False, False, True, True]
    assert found.table["requests"].sum() == N
    assert (found.table["start"].iloc[1:].to_numpy() > found.table["end"].iloc[:-1].to_numpy()).all()


def test_few_requests_cannot_tell(certificate):
    rng = np.random.default_rng(3)
    found = age(certificate, sweep(np.zeros(N, bool), rng), {"an hour": np.arange(N) < 30})
    assert found.table["verdict"].tolist() == ["cannot tell"]
    assert found.table["window"].tolist() == ["an hour"]


def test_however_many_windows_follow_their_errors_add_up_to_no_more_than_the_certificates(certificate):
    rng = np.random.default_rng(4)
    found = age(certificate, sweep(np.zeros(N, bool), rng), 30)
    errors = 1 - found.table["level"].to_numpy()
    assert errors[0] == pytest.approx(0.025)
    assert errors.sum() == pytest.approx(0.05 * (1 - 1 / 31))
    first = age(certificate, sweep(np.zeros(N, bool), np.random.default_rng(4)), 30, where=np.arange(N) < N - 100)
    assert np.array_equal(first.table["level"], found.table["level"])


def test_one_popular_entry_that_is_wrong_is_a_window_over_the_budget_and_no_verdict_on_the_next(certificate):
    found = age(certificate, sweep(WORLD.entry == 0, np.random.default_rng(11)))
    assert found.table["over"].tolist() == [True]
    assert found.table["verdict"].tolist() == ["cannot tell"]
    assert "more than the budget was wrong in 1" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["independent", "half wrong"])
def test_at_the_budget_a_window_is_said_to_hold_or_to_be_broken_in_five_of_a_hundred_years_each(certificate, kind):
    rng, held, broken, experiments = np.random.default_rng(6), 0, 0, 400
    for _ in range(experiments):
        verdicts = age(certificate, sweep(WORLD.bad(kind, 0.02 / 0.7, rng), rng), WINDOWS).table["verdict"].tolist()
        held += "holds" in verdicts
        broken += "broken" in verdicts
    most = stats.binom.ppf(0.999, experiments, 0.05)
    assert held <= most
    assert broken <= most


def test_the_kind_that_made_it_worse_is_named_and_the_intents_it_took_for_one(certificate):
    rng = np.random.default_rng(8)
    traps = np.arange(N) % 5 == 0
    worst = WORLD.entry < 30
    bad = WORLD.bad("independent", 0.004, rng) | (traps & worst & (rng.random(N) < 0.8))
    found = age(certificate, sweep(bad, rng), 2)
    kinds, pairs = (found.worse[found.worse["by"] == by] for by in ("kind", "pair"))
    assert kinds["kind"].iloc[0] == "trap: negation"
    assert pairs[["asked", "given"]].iloc[0].tolist() == ["i0!0", "i0"]
    assert pairs["rise"].iloc[0] == pytest.approx(pairs["per_1000"].iloc[0] - pairs["was"].iloc[0])
    assert (found.worse["rise"] > 0).all()
    assert "most of the rise: trap: negation" in str(found)


def test_later_windows_of_the_certified_traffic_hold_no_request_of_dev(certificate):
    own = certificate.sweeps[""]
    with pytest.raises(InputError, match="window 1 holds requests of dev"):
        age(certificate, own, 3)
    found = age(certificate, own, 2, where=TEST)
    assert found.table["requests"].sum() == TEST.sum()
    assert found.table["wrong"].sum() == certificate.design.test.wrong


def test_a_certificate_on_nothing_is_watched_by_its_nearest_design():
    rng = np.random.default_rng(9)
    none = certify(sweep(WORLD.bad("independent", 0.3, rng), rng), 0.01, dev=DEV, test=TEST)
    assert not none.certified
    found = age(none, sweep(WORLD.bad("independent", 0.3, rng), rng))
    assert found.table["verdict"].tolist() == ["broken"]


def test_what_does_not_fit_is_refused(certificate):
    later = sweep(np.zeros(N, bool), np.random.default_rng(10))
    with pytest.raises(InputError, match="0 windows"):
        age(certificate, later, 0)
    with pytest.raises(InputError, match="no request in window empty"):
        age(certificate, later, {"empty": np.zeros(N, bool)})
    with pytest.raises(InputError, match="window 1 has shape"):
        age(certificate, later, [np.ones(3, bool)])
    other = replace(later, settings=(replace(later.settings[0], guard="none"),))
    with pytest.raises(InputError, match="0 settings"):
        age(certificate, other)


@pytest.fixture(scope="module")
def days():
    """Two of the handbook's days and one with four times the traps; the day of each request, the split, the cache."""
    data = replace(load_dataset(Path(__file__).parents[3] / "datasets" / "handbook"), events=())
    drawn = [Day(), Day(), Day(trapped=0.45, paraphrased=0.3)]
    made = [arrivals_of(generate_traffic(data, day, seed=seed)) for seed, day in enumerate(drawn, start=1)]
    asked = [replace(a, at=a.at + 86_400 * k) for k, rows in enumerate(made) for a in rows]
    cache = SemanticCache(embedder=HashedWords(), guard="none", until="nothing")
    return asked, np.repeat([0, 1, 2], 6_000), by_split(asked, data), cache


def test_what_the_handbook_certifies_holds_on_another_day_and_when_traps_come(days):
    asked, day, split, cache = days
    swept = threshold_sweep(asked, [0.8, 0.9, 0.95, 0.98], cache=cache)
    first = day == 0
    found = certify(swept, 0.03, dev=split.dev & first, test=split.test & first)
    assert found.chosen.rule.at == 0.98
    later = {"another day": split.test & (day == 1), "traps": split.test & (day == 2)}
    aged = age(found, swept, later)
    assert aged.table["verdict"].tolist() == ["holds", "holds"]
    assert not len(aged.worse)
    assert aged.table["hit_rate"].min() > 0.8


def test_what_a_daring_threshold_does_when_traps_come_is_seen_and_the_traps_are_named(days):
    asked, day, split, cache = days
    swept, first = threshold_sweep(asked, [0.9], cache=cache), day == 0
    found = certify(swept, 0.015, dev=split.dev & first, test=split.test & first)
    assert not found.certified
    later = {"another day": split.test & (day == 1), "traps": split.test & (day == 2)}
    aged = age(found, swept, later)
    assert aged.table["over"].tolist() == [False, True]
    assert "more than the budget was wrong in traps" in str(aged)
    pairs = aged.worse[aged.worse["by"] == "pair"]
    near = [a.partition("!")[0] == g.partition("!")[0] for a, g in zip(pairs["asked"], pairs["given"], strict=True)]
    assert near[0]


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ({}, "no window"), ([], "no window"), ([TEST, TEST], "share requests"), (2.5, "2.5 windows"),
        (float("nan"), "nan windows"), (float("inf"), "inf windows"), (10**9, "1000000000 windows"),
        (True, "windows is True"), ("ab", "windows is 'ab'"), (None, "windows is None"),
        ({1: DEV, "1": TEST}, "two windows of one label"), ({7: np.ones(3, bool)}, "window 7 has shape"),
    ],
)  # fmt: skip
def test_windows_that_are_none_are_refused_in_one_line(certificate, windows, said):
    with pytest.raises(InputError, match=said) as refused:
        age(certificate, sweep(np.zeros(N, bool), np.random.default_rng(12)), windows)
    assert "\n" not in str(refused.value)


def test_windows_may_be_a_number_of_numpys_and_have_labels_of_any_type(certificate):
    later = sweep(np.zeros(N, bool), np.random.default_rng(13))
    assert age(certificate, later, np.int64(2)).table["window"].tolist() == ["1", "2"]
    assert age(certificate, later, {2024: DEV, 2025: TEST}).table["window"].tolist() == ["2024", "2025"]
    assert age(certificate, later, np.stack([DEV, TEST])).table["requests"].tolist() == [DEV.sum(), TEST.sum()]


def test_the_certified_traffic_that_was_swept_again_is_the_certified_traffic(certificate):
    own = certificate.sweeps[""]
    again = replace(own, arrivals=[replace(a) for a in own.arrivals])
    with pytest.raises(InputError, match="window 1 holds requests of dev"):
        age(certificate, again, 2)


def test_requests_that_got_no_answer_are_not_among_those_that_a_window_counts(certificate):
    rng = np.random.default_rng(14)
    later = sweep(WORLD.bad("independent", 0.1, rng), rng)
    failing = replace(later, failed=~later.hit[0] & (rng.random(N) < 0.9))
    answered = int(failing.answered[0].sum())
    found = age(certificate, failing)
    row, wrong = found.table.iloc[0], int(later.wrong[0].sum())
    assert (row["requests"], row["wrong"], row["share"]) == (answered, wrong, wrong / answered)
    kinds = found.worse[found.worse["by"] == "kind"]
    np.testing.assert_allclose(kinds["per_1000"], 1e3 * kinds["wrong"] / answered)
