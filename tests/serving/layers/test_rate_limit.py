from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obedient import ByWord, Obedient, Told, calls, served

from evalkit import InputError
from evalkit.llm.messages import Chat
from evalkit.llm.tokens import estimate_tokens
from evalkit.serving import Arrival
from evalkit.serving.layers import rate_limit
from evalkit.serving.layers.rate_limit import RateLimit
from evalkit.values import Prompt

TIMES = st.lists(st.integers(0, 60), min_size=1, max_size=20).map(lambda ticks: sorted(t / 8 for t in ticks))
RATES = st.sampled_from([0.25, 0.5, 1.0, 2.0])
BURSTS = st.sampled_from([1.0, 1.5, 2.0, 4.0])


def entered(found):
    return {number: start for start, _, number in calls(found)}


def check_windows(times, rate, burst):
    """No window holds more than the rate and the burst allow: every pair of entries is looked at."""
    for i, first in enumerate(times):
        for j in range(i, len(times)):
            assert j - i + 1 <= rate * (times[j] - first) + burst + 1e-6


@given(TIMES, RATES, BURSTS)
def test_who_is_refused_is_what_exact_arithmetic_says(shared_store, times, rate, burst):
    found = served(
        shared_store, [RateLimit(rate, each="second", burst=burst)], *(Arrival("well", at) for at in times)
    )
    level, last, expected = Fraction(burst), Fraction(0), []
    for at in map(Fraction, times):
        level = min(Fraction(burst), level + (at - last) * Fraction(rate))
        last = at
        expected.append(level >= 1)
        level -= expected[-1]
    assert [o.outcome == "answered" for o in found.outcomes] == expected
    check_windows(sorted(entered(found).values()), rate, burst)


@given(TIMES, RATES, BURSTS)
@settings(max_examples=20)
def test_a_refusal_says_when_it_would_not_have_been_one(shared_store, times, rate, burst):
    layer = RateLimit(rate, each="second", burst=burst)
    found = served(shared_store, [Told(), layer], *(Arrival("well", at) for at in times))
    turned_away = [o for o in found.outcomes if o.outcome == "refused"]
    assert {o.reason for o in turned_away} <= {"RateLimit: over the rate"}
    for o in turned_away:
        before = [Arrival("well", at) for at in times[: o.number]]
        for seconds, outcome in ((o.notes["after"], "answered"), (o.notes["after"] - 0.01, "refused")):
            again = served(shared_store, [layer], *before, Arrival("well", o.arrived + seconds))
            assert again.outcomes[-1].outcome == outcome


@given(
    st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(1, 24)), min_size=1, max_size=20), RATES, BURSTS
)
def test_those_who_wait_go_in_in_order_and_as_soon_as_the_rate_allows(shared_store, drawn, rate, burst):
    # fractions that keep apart who comes at once, and patience from anything else that happens
    drawn = sorted(drawn, key=lambda one: one[0])
    asked = [(at / 8 + i / 1024, None if p is None else p / 8 + 1 / 4096) for i, (at, p) in enumerate(drawn)]
    layer = RateLimit(rate, each="second", burst=burst, on="wait")
    found = served(shared_store, [layer], *(Arrival("well", at, patience=p) for at, p in asked))
    now, level, expected = Fraction(0), Fraction(burst), {}
    for i, (at, patience) in enumerate(asked):
        since, start = now, max(now, Fraction(at))
        level_then = min(Fraction(burst), level + (start - since) * Fraction(rate))
        start += max(Fraction(0), (1 - level_then) / Fraction(rate))
        if patience is not None and Fraction(at) + Fraction(patience) < start:
            continue
        level = min(Fraction(burst), level + (start - since) * Fraction(rate)) - 1
        now, expected[i] = start, float(start)
    assert entered(found) == pytest.approx(expected)
    assert [o.outcome for o in found.outcomes] == [
        "answered" if i in expected else "abandoned" for i in range(len(asked))
    ]
    check_windows(sorted(entered(found).values()), rate, burst)
    for number, start in entered(found).items():
        assert found.outcomes[number].notes["rate_ms[generate/user]"] == pytest.approx(
            (start - asked[number][0]) * 1e3
        )


def test_who_would_wait_too_long_is_refused_at_once_and_holds_no_place(store):
    layer = RateLimit(1, each="second", burst=1, on="wait", wait=2)
    found = served(store, [layer], *(Arrival("well", 0) for _ in range(5)), Arrival("well", 1.5))
    assert [(o.outcome, o.ended) for o in found.outcomes] == [
        ("answered", 0), ("answered", 1), ("answered", 2), ("refused", 0), ("refused", 0), ("answered", 3),
    ]  # fmt: skip


def test_a_minute_has_sixty_seconds(store):
    found = served(store, [RateLimit(2, on="wait")], *["well"] * 5)
    assert list(entered(found).values()) == pytest.approx([0, 0, 30, 60, 90])


@pytest.mark.parametrize("rate", [0.1, 7.0, 333.3, 1e6])
def test_no_rounding_lets_one_wait_again_or_for_ever(store, rate):
    layer = RateLimit(rate, each="second", burst=1, on="wait")
    found = served(store, [layer], *(Arrival("well", 1e6) for _ in range(200)))
    starts = list(entered(found).values())
    assert starts == pytest.approx([1e6 + i / rate for i in range(200)], abs=1e-5)


@pytest.mark.parametrize("per", ["service", "user", "tenant", "model"])
def test_each_that_is_counted_has_a_bucket_of_its_own(store, per):
    who = [("ann", "a"), ("ann", "a"), ("bob", "a"), ("ann", "b")]
    layer = RateLimit(1, per=per)
    found = served(store, [layer], *(Arrival("well", 0, user=user, tenant=tenant) for user, tenant in who))
    let_in = {"user": [0, 2, 3], "tenant": [0, 3]}.get(per, [0])
    assert [o.number for o in found.outcomes if o.outcome == "answered"] == let_in


def test_tokens_are_those_of_the_messages_that_the_model_gets(store):
    found = served(store, [], "red apples")
    assert found.outcomes[0].answers.text[0].startswith("red apples (")
    passages = ("red apples grow", "red cherries fall")
    prompt = Prompt("red apples", ("", ""), passages, ("d1", "d3"))
    size = estimate_tokens(Chat().messages(prompt).text, "toy")
    for burst, outcome in ((size, "answered"), (size - 1, "refused")):
        layer = RateLimit(1, "tokens", "second", burst=burst)
        assert [o.outcome for o in served(store, [layer], "red apples").outcomes] == [outcome]
    layer = RateLimit(size / 2, "tokens", "second", burst=size, on="wait")
    assert list(entered(served(store, [layer], *["red apples"] * 3)).values()) == pytest.approx([0, 2, 4])


def test_what_no_full_bucket_holds_is_refused_however_long_it_would_wait(store):
    layer = RateLimit(1, "tokens", "second", burst=1, on="wait")
    assert served(store, [layer], "red apples").outcomes[0].reason == "RateLimit: larger than the burst"


def test_two_models_in_one_service_do_not_share_a_bucket_and_two_prompts_of_one_model_do(store):
    for model, outcomes in (("other", ["answered", "answered"]), ("toy", ["answered", "refused"])):
        layers = [ByWord(Obedient(model)), RateLimit(1, per="model")]
        found = served(store, layers, "well", "reroute", generate=Obedient("toy"))
        assert [o.outcome for o in found.outcomes] == outcomes


def test_who_has_not_come_for_long_is_forgotten(store, monkeypatch):
    monkeypatch.setattr(rate_limit, "_MANY", 8)
    made = []
    original = rate_limit._Bucket.__init__
    monkeypatch.setattr(rate_limit._Bucket, "__init__", lambda self, *a: (made.append(self), original(self, *a))[1])
    kept = []
    forget = rate_limit._forget_full
    monkeypatch.setattr(rate_limit, "_forget_full", lambda buckets: (forget(buckets), kept.append(len(buckets)))[0])
    arrivals = [Arrival("well", i * 10.0, user=f"user {i}") for i in range(100)]
    assert all(o.outcome == "answered" for o in served(store, [RateLimit(1, each="second")], *arrivals).outcomes)
    assert len(made) == 100
    assert max(kept) <= 8


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"burst": 0.5}, {"wait": -1}, {"of": "tokens", "at": "answer"}, {"rate": float("nan")}]
)
def test_a_bucket_that_lets_nothing_through_is_refused(wrong):
    with pytest.raises(InputError, match=r"^RateLimit: "):
        RateLimit(**wrong)
