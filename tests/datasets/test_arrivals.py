"""Times of arrival: the laws of a Poisson process, and traces that other requests follow."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from evalkit import InputError, load_dataset
from evalkit.datasets.arrivals import follow, intent_traffic, poisson
from evalkit.datasets.intents import Intent, Trap
from evalkit.datasets.traffic import Traffic

RATES = st.floats(1e-3, 1e4)
SEEDS = st.integers(0, 2**32)
INTENTS = {
    "fee": Intent("fee", "retail", "What is the fee?", "9 euros", (), ("How much?", "The price?"),
                  (Trap("other number", "What is the limit?", "900 euros", "d1"),)),
    "pin": Intent("pin", "business", "Forgot my PIN", "Ask for a letter.", ()),
}  # fmt: skip


# --- the Poisson process


@given(st.integers(0, 300), RATES, SEEDS)
def test_arrivals_rise_from_above_0_and_a_seed_gives_them_again(n, rate, seed):
    at = poisson(n, rate, seed=seed)
    assert (at.shape, at.dtype) == ((n,), np.dtype(np.float64))
    assert (np.diff(at, prepend=0.0) >= 0).all()
    assert at.tobytes() == poisson(n, rate, seed=seed).tobytes()
    assert n == 0 or at.tobytes() != poisson(n, rate, seed=seed + 1).tobytes()


@given(RATES, SEEDS)
def test_as_many_arrive_a_second_as_the_rate_says(rate, seed):
    n = 2_000
    assert abs(n / poisson(n, rate, seed=seed)[-1] / rate - 1) < 6 / math.sqrt(n)


@given(st.integers(1, 100), st.integers(1, 100), RATES, SEEDS)
def test_more_arrivals_begin_with_the_same_ones_and_a_rate_only_scales_them(n, more, rate, seed):
    at = poisson(n, rate, seed=seed)
    assert poisson(n + more, rate, seed=seed)[:n].tobytes() == at.tobytes()
    assert np.allclose(poisson(n, 1.0, seed=seed) / rate, at, rtol=1e-12)


def test_gaps_are_exponential_and_independent():
    gaps = np.diff(poisson(20_000, 4.0, seed=7), prepend=0.0)
    assert kstest(gaps, "expon", args=(0, 1 / 4.0)).pvalue > 0.05
    assert kstest(gaps, "expon", args=(0, 1 / 4.2)).pvalue < 0.001  # the test tells rates 5 % apart
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.02
    counts = np.bincount(np.cumsum(gaps).astype(int))[:-1]
    assert abs(counts.var() / counts.mean() - 1) < 0.1


def test_a_seed_gives_these_arrivals_under_every_numpy():
    drawn = (0.6369616873214543, 0.2697867137638703, 0.04097352393619469)  # PCG64's first of seed 0
    expected = np.cumsum([-math.log(1 - u) / 2 for u in drawn])
    assert np.allclose(poisson(3, 2.0, seed=0), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("n", "rate"), [(-1, 1.0), (1, 0.0), (1, -2.0), (1, math.inf), (1, math.nan)])
def test_impossible_arrivals_are_refused(n, rate):
    with pytest.raises(InputError, match="n must be at least 0, and rate above 0 and finite"):
        poisson(n, rate, seed=0)


# --- following a trace


def requests(times, **columns):
    return Traffic.of(
        [{"at": at, "text": f"t{i}", **{n: c[i] for n, c in columns.items()}} for i, at in enumerate(times)]
    )


@given(st.lists(st.floats(0, 1e6)), st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 999), st.integers(0, 99))))
def test_a_traffic_follows_a_trace_row_by_row_until_one_ends(times, traced):
    trace = Traffic.of([{"at": at, "prompt_tokens": p, "answer_tokens": a} for at, p, a in traced])
    traffic = requests(times, user=[f"u{i}" for i in range(len(times))])
    found = follow(traffic, trace)
    n = min(len(times), len(traced))
    kept, timed = traffic.take(range(n)), trace.take(range(n))
    for name in ("at", "prompt_tokens", "answer_tokens"):
        assert np.array_equal(getattr(found, name), getattr(timed, name))
    rest = replace(found, at=kept.at, prompt_tokens=kept.prompt_tokens, answer_tokens=kept.answer_tokens)
    assert rest.digest == kept.digest


# --- traffic of intents


def test_every_text_is_asked_once_with_its_answer():
    traffic = intent_traffic(INTENTS, rate=2.0, seed=3)
    columns = (traffic.tenant, traffic.text, traffic.intent, traffic.answer, traffic.kind)
    assert sorted(zip(*columns, strict=True)) == [
        ("business", "Forgot my PIN", "pin", "Ask for a letter.", "canonical"),
        ("retail", "How much?", "fee", "9 euros", "paraphrase"),
        ("retail", "The price?", "fee", "9 euros", "paraphrase"),
        ("retail", "What is the fee?", "fee", "9 euros", "canonical"),
        ("retail", "What is the limit?", "fee!0", "900 euros", "trap: other number"),
    ]


@given(st.integers(0, 30), SEEDS)
def test_a_seed_gives_the_same_traffic_whatever_the_order_of_intents(n, seed):
    intents = {f"i{k}": Intent(f"i{k}", "t", f"text {k}", "a", (), ("same", f"other {k}")) for k in range(n)}
    found = intent_traffic(intents, rate=1.0, seed=seed)
    assert found.digest == intent_traffic(dict(reversed(intents.items())), rate=1.0, seed=seed).digest
    assert Counter(found.text) == Counter(t for i in intents.values() for t in (i.text, *i.paraphrases))
    assert (np.diff(found.at) >= 0).all()


def test_every_order_of_texts_is_as_likely():
    intents = {name: Intent(name, "t", name, name, ()) for name in "abc"}
    orders = Counter("".join(intent_traffic(intents, rate=1.0, seed=seed).text) for seed in range(1_200))
    assert len(orders) == 6
    assert all(abs(count - 200) < 65 for count in orders.values())  # five standard deviations


def test_banking77_becomes_a_day_that_follows_a_recorded_trace(needs_shared):
    banking = load_dataset(needs_shared("banking77"), split="test")
    trace = load_dataset(needs_shared("azure-llm-trace") / "conv.csv").traffic
    asked = intent_traffic(banking.intents, rate=5.0, seed=0)
    assert len(asked) == 3_079
    assert set(asked.intent) == set(banking.intents)
    assert list(asked.answer) == list(asked.intent)
    served = follow(asked, trace)
    assert list(served.text) == list(asked.text)
    assert np.array_equal(served.at, trace.at[:3_079])
    assert np.array_equal(served.answer_tokens, trace.answer_tokens[:3_079])
