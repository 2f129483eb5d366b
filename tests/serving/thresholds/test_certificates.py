"""Certificates: what is certified is so, in 95 of 100 traffics at least; what is not is said to be not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from certified_worlds import World
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evalkit import InputError
from evalkit.metrics.statistics.two_way import two_way_proportion_interval
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.thresholds.bounding import Counted, needed
from evalkit.serving.thresholds.certificates import by_kind, certify, required
from evalkit.serving.thresholds.designs import Asked
from evalkit.serving.thresholds.swept import MISS

N, RATE = 3_000, 0.6
WORLD = World(N, seed=0)
DEV, TEST = WORLD.halves()


def nested(rng, settings, rate=RATE):
    """Hits of settings, each among those of the next."""
    draw = rng.random(N)
    return np.stack([draw < rate * (k + 1) / settings for k in range(settings)])


def certified_wrongly(kind, of, experiments, seed, *, share=1.0):
    """Count the traffics in which a certificate is given; the true error on test is `share` of the budget.

    Two designs, of one setting each. On dev hardly anything is wrong, so that both are looked at on test every time:
    dev, too, could only help.
    """
    rng, found, budget = np.random.default_rng(seed), 0, 0.05
    largest = budget / RATE if of == "answers" else budget
    for _ in range(experiments):
        hits = np.concatenate([nested(rng, 1), nested(rng, 1)])
        bad = np.where(DEV, rng.random(N) < 0.001, WORLD.bad(kind, share * largest, rng))
        sweep = WORLD.sweep(bad, hits, guards=("corpus", "none"))
        certificate = certify(sweep, budget, dev=DEV, test=TEST, of=of, dev_level=0.501)
        assert all(one.test is not None for one in certificate.designs)
        found += certificate.certified
    return found


def most(experiments):
    """The most that can be put down to chance, 1 in 1,000, if it is 5 %."""
    return stats.binom.ppf(0.999, experiments, 0.05)


@pytest.mark.parametrize("kind", ["independent", "half wrong"])
def test_at_the_budget_a_certificate_is_given_in_five_of_a_hundred_traffics_at_most(kind):
    assert certified_wrongly(kind, "answers", 60, seed=1) <= most(60)


@pytest.mark.slow
@pytest.mark.parametrize("of", ["answers", "hits"])
@pytest.mark.parametrize("kind", ["independent", "half wrong", "all or none"])
def test_at_the_budget_a_certificate_is_given_in_five_of_a_hundred_traffics(kind, of):
    assert certified_wrongly(kind, of, 400, seed=2) <= most(400)


def test_far_below_the_budget_nearly_every_traffic_is_certified():
    assert certified_wrongly("independent", "answers", 20, seed=3, share=0.2) >= 18


def p_at_the_budget(kind, experiments, seed):
    """Count the traffics whose wrong hits, truly at the budget, have a p-value of 0.05 at most: no choice on dev."""
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(experiments):
        sweep = WORLD.sweep(WORLD.bad(kind, 0.03, rng), nested(rng, 1))
        found += Counted(sweep, 0, TEST, of="hits").bounded(0.95).high <= 0.03
    return found


@pytest.mark.parametrize("kind", ["independent", "half wrong", "all or none"])
def test_a_single_look_at_test_is_wrong_in_five_of_a_hundred_traffics_at_most(kind):
    assert p_at_the_budget(kind, 150, seed=4) <= most(150)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_the_most_right_hits_within_the_budget_on_dev_are_chosen_and_test_has_no_say(rng):
    hits = nested(rng, 4)
    bad = WORLD.bad("independent", 0.004, rng) | (hits[3] & ~hits[2] & (rng.random(N) < 0.5))
    sweep = WORLD.sweep(bad, hits)
    found = certify(sweep, 0.02, dev=DEV, test=TEST)
    assert found.chosen == sweep.settings[2]
    assert found.certified
    assert "0.98 meets 0.02 of answers wrong at 95% confidence" in str(found)
    test_alone = bad & TEST & (rng.random(N) < 0.5) | (TEST & hits[2] & (rng.random(N) < 0.3))
    other = certify(WORLD.sweep(test_alone, hits), 0.02, dev=DEV, test=TEST)
    assert other.design.setting == sweep.settings[3]
    assert other.chosen is None


def test_what_dev_flatters_is_caught_on_test(rng):
    bad = TEST & (rng.random(N) < 0.1)
    found = certify(WORLD.sweep(bad, nested(rng, 2)), 0.01, dev=DEV, test=TEST)
    assert not found.certified
    assert found.design.dev.wrong == 0
    assert str(found).startswith("no threshold meets 0.01 of answers wrong at 95% confidence: the nearest")


def test_where_nothing_is_within_the_budget_on_dev_test_is_not_looked_at(rng):
    found = certify(WORLD.sweep(rng.random(N) < 0.3, nested(rng, 2)), 0.01, dev=DEV, test=TEST)
    assert found.design.test is None
    assert "none is within it on dev" in str(found)


def test_a_cache_that_never_hits_is_no_certificate():
    found = certify(WORLD.sweep(np.zeros(N, bool), np.zeros((2, N), bool)), 0.05, dev=DEV, test=TEST)
    assert not found.certified
    assert str(found).startswith("no threshold meets")
    only_on_dev = certify(WORLD.sweep(np.zeros(N, bool), DEV[None]), 0.05, dev=DEV, test=TEST)
    assert not only_on_dev.certified


def test_no_threshold_but_a_verifier_is_said(rng):
    bad, hits = rng.random(N) < 0.2, nested(rng, 2)
    hits[1] = hits[0] & ~bad
    sweep = WORLD.sweep(bad, hits, [Threshold(0.9), Verified(0.01)])
    found = certify(sweep, 0.02, dev=DEV, test=TEST)
    assert str(found).startswith("no threshold meets 0.02 of answers wrong at 95% confidence, but verified 0.01 does")
    assert found.table()["certified"].tolist() == [True, False]


def test_another_embedder_is_a_design_of_its_own(rng):
    hits, bad = nested(rng, 1), rng.random(N) < 0.2
    sweeps = {"small": WORLD.sweep(bad, hits), "large": WORLD.sweep(bad, hits & ~bad)}
    found = certify(sweeps, 0.02, dev=DEV, test=TEST)
    assert found.design.label == "large, 1"
    assert [one.sweep for one in found.designs] == ["large", "small"]


def test_more_designs_need_more_evidence():
    """The same cache, alone and as one of six whose errors are the same: what is certified alone is not among six."""
    bad, hit = np.zeros(N, bool), np.ones((1, N), bool)
    budget = 1 - (1 - 0.95) ** (1 / np.unique(WORLD.entry[TEST]).size) + 1e-6
    everyone = dict.fromkeys("abcdef", WORLD.sweep(bad, hit))
    alone = certify(everyone["a"], budget, dev=DEV, test=TEST, of="hits", dev_level=0.501)
    assert alone.certified
    among = certify(everyone, budget, dev=DEV, test=TEST, of="hits", dev_level=0.501)
    assert not among.certified
    assert {one.test.level for one in among.designs} == {1 - 0.05 / 6}


def test_what_is_certified_has_a_bound_within_the_budget_and_what_is_not_has_none(rng):
    for share in (0.001, 0.004, 0.008):
        hits = np.concatenate([nested(rng, 2, rate) for rate in (0.3, 0.6, 0.9)])
        for k in range(2):
            bad = WORLD.bad("independent", share * (k + 1), rng)
            sweep = WORLD.sweep(bad, hits, guards=("corpus", "context", "none"))
            for one in certify(sweep, 0.01, dev=DEV, test=TEST, dev_level=0.6).designs:
                assert one.certified == (one.test is not None and one.test.high <= 0.01)


def test_an_unjudged_hit_counts_as_wrong_and_an_unlabelled_miss_as_right(rng):
    hits, bad = nested(rng, 1), np.zeros(N, bool)
    sweep = WORLD.sweep(bad, hits)
    nameless = hits[0] & (rng.random(N) < 0.2)
    asked = [replace(a, intent="") if nameless[i] or not hits[0, i] else a for i, a in enumerate(sweep.arrivals)]
    unlabelled = replace(sweep, arrivals=asked)
    told, known = (Counted(one, 0, TEST).bounded(0.95) for one in (unlabelled, sweep))
    as_wrong = Counted(WORLD.sweep(nameless, hits), 0, TEST).bounded(0.95)
    assert told.unjudged == int((nameless & TEST).sum()) > 0
    assert told.high == pytest.approx(as_wrong.high)
    assert told.low == known.low == 0
    assert not certify(unlabelled, 0.05, dev=DEV, test=TEST).certified
    labelled = ~nameless
    assert certify(unlabelled, 0.05, dev=DEV & labelled, test=TEST & labelled).certified


def test_misses_do_not_vouch_for_entries():
    """Of 50 entries given once, none is wrong; 2,000 misses beside them make the share of answers no better known."""
    hits = np.zeros((1, N), bool)
    hits[0, np.unique(WORLD.entry, return_index=True)[1][:50]] = True
    found = Counted(WORLD.sweep(np.zeros(N, bool), hits), 0, np.ones(N, bool)).bounded(0.95)
    assert found.high >= found.hits / N * (1 - 0.05 ** (1 / 50))


def test_requests_that_it_was_chosen_on_cannot_certify(rng):
    sweep = WORLD.sweep(np.zeros(N, bool), nested(rng, 1))
    with pytest.raises(InputError, match="1 requests are in dev and in test"):
        certify(sweep, dev=DEV | (np.arange(N) == N - 1), test=TEST)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 0.0}, "budget"), ({"budget": 1.0}, "budget"), ({"level": 0.5}, "level"), ({"of": "all"}, "of is"),
        ({"dev": np.ones(3, bool)}, "dev has shape"), ({"test": TEST * 1}, "test has shape"),
        ({"dev": np.zeros(N, bool)}, "no request"),
        ({"dev_level": 0.4}, "dev_level is 0.4"), ({"dev_level": 1 - 1e-16}, "dev_level is"),
        ({"budget": 1e-309}, "budget is 1e-309"), ({"budget": 1 - 1e-16}, "budget is"),
        ({"budget": float("nan")}, "budget is nan"), ({"level": 1 - 1e-16}, "level is 0.99"),
        ({"clusters": "user"}, "clusters"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(options, said):
    sweep = WORLD.sweep(np.zeros(N, bool), np.ones((1, N), bool))
    with pytest.raises(InputError, match=said) as refused:
        certify(sweep, **{"dev": DEV, "test": TEST, **options})
    assert "\n" not in str(refused.value)


def test_sweeps_of_other_traffic_are_refused(rng):
    one, other = WORLD.sweep(np.zeros(N, bool), nested(rng, 1)), World(N - 1, seed=0)
    shorter = other.sweep(np.zeros(N - 1, bool), np.ones((1, N - 1), bool))
    with pytest.raises(InputError, match="different requests"):
        certify({"a": one, "b": shorter}, dev=DEV, test=TEST)
    with pytest.raises(InputError, match="no sweep"):
        certify({}, dev=DEV, test=TEST)


@pytest.mark.parametrize(
    ("budget", "level", "n"), [(0.01, 0.95, 299), (0.1, 0.95, 29), (0.001, 0.99, 4603), (0.5, 0.75, 2)]
)
def test_so_many_hits_without_error_are_required_and_one_less_is_too_few(budget, level, n):
    assert required(budget, level) == n
    assert 1 - (1 - level) ** (1 / n) <= budget + 1e-12 < 1 - (1 - level) ** (1 / (n - 1))


@settings(deadline=None, max_examples=40)
@given(st.floats(0.003, 0.2), st.sampled_from(["answers", "hits"]), st.floats(0.05, 1.0), st.integers(0, 10**6))
def test_without_an_error_the_budget_is_met_exactly_if_there_are_as_many_requests_as_needed(budget, of, rate, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(N) < 0.3
    sweep = WORLD.sweep(np.zeros(N, bool), nested(rng, 1, rate))
    found = Counted(sweep, 0, mask, of=of).bounded(0.95)
    assert (found.verdict(budget) == "holds") == (needed(found, budget, of) <= found.requests)


def test_each_kind_has_its_own_verdict(rng):
    hits = nested(rng, 1, 0.9)
    traps = np.arange(N) % 5 == 0
    sweep = WORLD.sweep(traps & (rng.random(N) < 0.5), hits)
    found = by_kind(sweep, 0, np.ones(N, bool), Asked(0.05, 0.95, "answers", "entry")).set_index("kind")
    assert found["verdict"].to_dict() == {"all": "broken", "paraphrase": "holds", "trap: negation": "broken"}
    few = by_kind(sweep, 0, np.arange(N) < 60, Asked(0.05, 0.95, "answers", "entry")).set_index("kind")
    assert few.loc["paraphrase", "verdict"] == "too few to tell"
    assert few.loc["paraphrase", "needed"] > few.loc["paraphrase", "requests"]
    assert found.loc["all", "requests"] == N


def test_hits_of_all_entries_of_an_intent_are_wrong_together():
    """Each entry answers for an intent of its own here, save that a request's miss makes an entry for the same."""
    hits = np.ones((1, N), bool)
    sweep = WORLD.sweep(np.zeros(N, bool), hits)
    merged = replace(
        sweep, precomputed=tuple(replace(p, intent=f"i{k % 40}") for k, p in enumerate(sweep.precomputed))
    )
    entry = Counted(merged, 0, TEST, clusters="entry").bounded(0.95)
    intent = Counted(merged, 0, TEST, clusters="intent").bounded(0.95)
    assert intent.entries == 40 < entry.entries


def test_p_is_the_least_error_whose_bound_is_within_the_budget(rng):
    found = Counted(WORLD.sweep(rng.random(N) < 0.01, nested(rng, 1)), 0, TEST)
    p = found.p(0.02)
    assert 1e-6 < p < 0.5
    assert found.bounded(1 - p * 1.0001).high <= 0.02 < found.bounded(1 - p / 1.01).high
    assert found.p(0.0001) == 1.0


def test_a_kind_that_never_hit_needs_so_many_requests_without_a_hit():
    sweep = WORLD.sweep(np.zeros(N, bool), np.zeros((1, N), bool))
    assert (sweep.given_by == MISS).all()
    found = Counted(sweep, 0, np.arange(N) < 10).bounded(0.95)
    assert needed(found, 0.01, "answers") >= required(0.01, 0.995)
    assert needed(Counted(sweep, 0, np.arange(N) < 10, of="hits").bounded(0.95), 0.01, "hits") == 299
    assert needed(Counted(sweep, 0, np.arange(N) < 400, of="hits").bounded(0.95), 0.01, "hits") == 401


def test_a_request_without_an_answer_is_none_of_the_answers_served(rng):
    hits, bad = nested(rng, 1), rng.random(N) < 0.03
    sweep = WORLD.sweep(bad, hits)
    failing = replace(sweep, failed=~hits[0] & (rng.random(N) < 0.9))
    all_of_them, answered = (Counted(one, 0, TEST).bounded(0.95) for one in (sweep, failing))
    assert answered.wrong == all_of_them.wrong
    assert answered.requests == int((failing.answered[0] & TEST).sum()) < all_of_them.requests
    assert answered.value > all_of_them.value
    assert answered.high > all_of_them.high


def test_the_bound_of_answers_is_that_of_wrong_hits_times_that_of_hits_each_with_its_part_of_the_error(rng):
    hits, bad = nested(rng, 1), rng.random(N) < 0.03
    sweep = WORLD.sweep(bad, hits)
    found, given = Counted(sweep, 0, TEST).bounded(0.9), hits[0] & TEST
    entries, talks = sweep.entries(0), sweep.conversations
    wrong = two_way_proportion_interval(
        sweep.wrong[0][given], entries[given], talks[given], level=1 - 0.1 * 0.9, side="upper", alike=True
    )
    rate = two_way_proportion_interval(hits[0][TEST], entries[TEST], talks[TEST], level=1 - 0.1 * 0.1, side="upper")
    assert found.high == pytest.approx(wrong.high * rate.high)


def test_kinds_are_bounded_at_the_level_that_is_corrected_for_the_designs_looked_at(rng):
    hits = np.concatenate([nested(rng, 1), nested(rng, 1)])
    sweep = WORLD.sweep(np.zeros(N, bool), hits, guards=("corpus", "none"))
    sweep = replace(sweep, arrivals=[replace(a, kind="asked") for a in sweep.arrivals])
    found = certify(sweep, 0.05, dev=DEV, test=TEST)
    assert sum(one.test is not None for one in found.designs) == 2
    every, asked = (found.kinds[found.kinds["kind"] == kind].iloc[0] for kind in ("all", "asked"))
    once = Counted(sweep, found.design.position, TEST)
    assert asked["high"] == pytest.approx(once.bounded(1 - 0.05 / 2).high)
    assert asked["high"] > once.bounded(0.95).high
    assert (every["low"], every["high"]) == (found.design.test.low, found.design.test.high)


@pytest.mark.parametrize(("level", "words"), [(0.95, "95%"), (0.975, "97.5%"), (0.999, "99.9%")])
def test_a_verdict_states_its_confidence_as_it_is(rng, level, words):
    sweep = WORLD.sweep(np.zeros(N, bool), nested(rng, 1))
    assert f"at {words} confidence" in str(certify(sweep, 0.05, dev=DEV, test=TEST, level=level))


def test_sweeps_of_requests_with_other_labels_are_of_other_requests(rng):
    sweep = WORLD.sweep(np.zeros(N, bool), nested(rng, 1))
    other = replace(sweep, arrivals=[replace(a, intent="") for a in sweep.arrivals])
    with pytest.raises(InputError, match="of different requests"):
        certify({"a": sweep, "b": other}, 0.05, dev=DEV, test=TEST)


def test_a_kind_called_all_is_refused(rng):
    sweep = WORLD.sweep(np.zeros(N, bool), nested(rng, 1))
    named = replace(sweep, arrivals=[replace(a, kind="all") for a in sweep.arrivals])
    with pytest.raises(InputError, match="rename it"):
        certify(named, 0.05, dev=DEV, test=TEST)


def test_the_finest_budget_and_level_are_bounded_and_told_as_they_are(rng):
    sweep = WORLD.sweep(np.zeros(N, bool), nested(rng, 1))
    for budget in (1e-9, 1 - 1e-9):
        found = certify(sweep, budget, dev=DEV, test=TEST, level=1 - 1e-9)
        assert f"meets {budget:.10g} of answers wrong at 99.9999999% confidence" in str(found)
    assert required(1e-9, 1 - 1e-9) > 2e10
    with pytest.raises(InputError, match="budget is 1e-309"):
        required(1e-309)


def test_a_kind_of_which_no_request_got_an_answer_has_a_row_that_says_so(rng):
    traps = np.arange(N) % 5 == 0
    sweep = replace(WORLD.sweep(np.zeros(N, bool), nested(rng, 1) & ~traps), failed=traps)
    found = by_kind(sweep, 0, TEST, Asked(0.05, 0.95, "answers", "entry")).set_index("kind").loc["trap: negation"]
    assert (found["requests"], found["right"], found["verdict"]) == (
        0, 0, "too few to tell",
    )  # fmt: skip
    assert found["needed"] > 0


def test_a_kind_called_trap_is_one_of_the_traps_together(rng):
    sweep = WORLD.sweep(np.zeros(N, bool), nested(rng, 1))
    kinds = ["trap", "trap: time", "trap: number", "all else"]
    named = replace(sweep, arrivals=[replace(a, kind=kinds[i % 4]) for i, a in enumerate(sweep.arrivals)])
    found = by_kind(named, 0, np.ones(N, bool), Asked(0.05, 0.95, "answers", "entry")).set_index("kind")["requests"]
    assert found.to_dict() == {"all": N, "all else": 750, "trap": 2250, "trap: time": 750, "trap: number": 750}
