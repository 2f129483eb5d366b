"""The planner against brute force over all placements, and what holds for every trace."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_prompt_cache import NaivePromptCache

from evalkit.calls import TokenUsage
from evalkit.llm.pricing import Price, Prices
from evalkit.llm.prompt_cache.ledger import CacheRequest, Segment
from evalkit.llm.prompt_cache.placement import TracedPrompt, plan_caching

TINY = Prices(
    (
        Price("m", "2026-01-01", 2, 10, write_5m=2.5, write_1h=4, read=0.2, minimum=5),
        Price("n", "2026-01-01", 1, 10, write_5m=1.25, write_1h=2, read=0.3, minimum=0),
        Price("n", "2026-01-01", 5, 10, write_5m=6.25, write_1h=10, read=1.5, minimum=0, above=12),
    )
)
SIZES = {"a": 2, "b": 3, "c": 4, "d": 0}
NAMES = ("system", "context", "history", "examples", "question")


@st.composite
def traces(draw, models="mmn"):
    """A few prompts whose parts often begin alike."""
    names, now, trace = NAMES[-draw(st.integers(1, 5)) :], 0.0, []
    for _ in range(draw(st.integers(1, 8))):
        now += draw(st.sampled_from([0.0, 1.0, 100.0, 299.0, 300.0, 2000.0]))
        parts = []
        for name in names:
            blocks = draw(st.lists(st.sampled_from("aabcd"), max_size=2 if name != "history" else 25))
            part = "system" if name == "system" else "messages"
            parts.append((name, tuple(Segment(block, SIZES[block], part) for block in blocks)))
        began = now + draw(st.sampled_from([0.0, 0.5, 150.0]))
        trace.append(TracedPrompt(now, began, draw(st.sampled_from(models)), tuple(parts)))
    return trace


def brute_force(trace, ttls):
    """Send real requests with real breakpoints through the naive cache; cost in millionths of a dollar, exactly."""
    naive, cost, total = NaivePromptCache(lambda model: {"m": 5, "n": 0}[model]), Fraction(0), TokenUsage()
    for sent in trace:
        blocks = []
        for (_, part), ttl in zip(sent.parts, ttls, strict=True):
            part = list(part)  # noqa: PLW2901
            filled = [i for i, block in enumerate(part) if block.tokens]
            if ttl and filled:
                part[filled[-1]] = replace(part[filled[-1]], ttl=ttl)
            blocks += part
        tokens, new = naive.charge(CacheRequest(sent.model, tuple(blocks)), sent.at)
        naive.begun(new, sent.began)
        usage = TokenUsage(**tokens)
        total += usage
        price = TINY.rows[0] if sent.model == "m" else TINY.rows[2 if usage.prompt > 12 else 1]
        rates = [Fraction(str(x)) for x in (price.input, price.write_5m, price.write_1h, price.read)]
        cost += sum(n * rate for n, rate in zip(tokens.values(), rates, strict=True))
    return cost, total


@settings(max_examples=60)
@given(traces())
def test_the_plan_is_that_of_brute_force_over_all_placements(trace):
    names = [name for name, _ in trace[0].parts]
    plan = plan_caching(trace, TINY, seams=names)
    costs = {}
    for ttls in product((None, "5m", "1h"), repeat=len(names)):
        if sum(map(bool, ttls)) > 4 or "5m1h" in "".join(ttl or "" for ttl in ttls):
            continue
        cost, usage = brute_force(trace, ttls)
        outcome = plan.of(**dict(zip(names, ttls, strict=True)))
        assert outcome.usage == usage
        assert outcome.dollars == pytest.approx(float(cost / 10**6), rel=1e-12)
        costs[outcome.placement] = cost
    assert len(costs) == len(plan.outcomes)
    assert costs[plan.best.placement] == min(costs.values())


@given(traces(models="m"))
def test_a_placement_saves_as_soon_as_it_is_reused_as_often_as_the_prices_ask(trace):
    for outcome in plan_caching(trace, TINY).outcomes[1:]:
        if outcome.pays_from is not None and outcome.reuses >= outcome.pays_from:
            assert outcome.saved > 0
        if outcome.reuses == 0:
            assert outcome.saved < 0


@given(traces())
def test_all_placements_send_the_same_tokens_and_the_best_never_costs_more_than_no_caching(trace):
    plan = plan_caching(trace, TINY)
    assert {o.usage.prompt for o in plan.outcomes} == {sum(s.tokens for t in trace for _, p in t.parts for s in p)}
    assert plan.best.dollars == min(o.dollars for o in plan.outcomes) <= plan.of().dollars
    assert all(0 <= o.hit_rate <= 1 for o in plan.outcomes)
