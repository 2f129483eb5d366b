"""The ledger charges what Anthropic's rules say, case by case and by law."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_prompt_cache import NaivePromptCache
from prompt_cache_cases import CASES
from prompt_cache_steps import SONNET, segments

from evalkit.calls import TokenUsage
from evalkit.errors import InputError
from evalkit.llm.pricing import Prices
from evalkit.llm.prompt_cache.ledger import CacheRequest, Charge, PromptCache, Segment

PRICES = Prices.load()


def minimum(model):
    return PRICES.of(model).minimum


def cache():
    return PromptCache(minimum)


def request(prompt, **given):
    return CacheRequest(**{"model": SONNET, "segments": segments(prompt), **given})


# --- the table


def test_there_are_at_least_40_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES)
def test_every_request_gets_the_bill_that_the_rules_say(steps):
    ledger = cache()
    for step in steps:
        charge = ledger.charge(step.request, step.at)
        ledger.begun(charge, step.at if step.begins is None else step.begins)
        assert charge.usage == step.bill
        if step.dollars is not None:
            price = PRICES.of(step.request.model, "2026-11-01", charge.usage.prompt)
            assert price.dollars(charge.usage) == pytest.approx(step.dollars, rel=1e-12)


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES)
def test_the_naive_ledger_of_the_laws_gives_the_same_bills(steps):
    ledger = NaivePromptCache(minimum)
    for step in steps:
        tokens, new = ledger.charge(step.request, step.at)
        ledger.begun(new, step.at if step.begins is None else step.begins)
        assert TokenUsage(**tokens) == step.bill


def test_a_prompt_of_no_blocks_costs_nothing():
    assert cache().charge(CacheRequest(SONNET, ()), 0.0) == Charge(TokenUsage(), 0.0)


def test_any_text_has_a_key():
    broken = CacheRequest(SONNET, (Segment("\ud800", 2000, "system", "5m"), Segment("q", 1)))
    assert cache().charge(broken, 0.0).usage == TokenUsage(1, 2000, 0, 0)


# --- time


@pytest.mark.parametrize("now", [0.5, math.nan])
def test_time_never_runs_backwards(now):
    ledger = cache()
    ledger.charge(request("S=2000@5m | Q=50"), 1.0)
    with pytest.raises(InputError, match="ask in order of time"):
        ledger.charge(request("S=2000@5m | Q=50"), now)


@pytest.mark.parametrize("at", [0.5, math.nan])
def test_no_response_begins_before_its_request(at):
    ledger = cache()
    charge = ledger.charge(request("S=2000@5m | Q=50"), 1.0)
    with pytest.raises(InputError, match="before its request at"):
        ledger.begun(charge, at)


def test_what_has_run_out_is_dropped():
    ledger, most = cache(), 0
    for i in range(5_000):
        ledger.begun(ledger.charge(request(f"S=2000@5m N{i}=10@5m | Q=50"), float(i)), i + 0.5)
        most = max(most, len(ledger))
    assert most <= 300 + 2  # those of the last five minutes, and the system prompt that is read all the time
    ledger.charge(request("Q=50"), 10_000.0)
    assert len(ledger) == 0


def test_a_thousand_first_requests_side_by_side_leave_one_entry_that_lives_as_the_last():
    ledger = cache()
    charges = [ledger.charge(request("S=2000@5m | Q=50"), i / 1000) for i in range(1000)]
    assert {c.usage for c in charges} == {TokenUsage(50, 2000, 0, 0)}
    for charge in reversed(charges):
        ledger.begun(charge, 2.0)
    assert len(ledger) == 1
    assert ledger.charge(request("S=2000@5m | Q=50"), 300.99).usage.cache_read == 2000


# --- laws

TIMES = st.sampled_from([0.0, 1.0, 5.0, 100.0, 299.0, 300.0, 301.0, 3299.0, 3599.0, 3600.0])
DELAYS = st.sampled_from([0.0, 0.5, 5.0, 250.0, 299.0, 400.0, 3500.0, math.inf])
BLOCKS = st.builds(
    lambda content, tokens, run, times: [Segment(f"{content}{i}", tokens, run=run) for i in range(times)],
    st.sampled_from("ab"),
    st.integers(1, 4),
    st.sampled_from(["", "", "tool_use", "tool_result"]),
    st.sampled_from([1, 1, 2, 9, 21]),
)


@st.composite
def cache_requests(draw):
    """Short and long prompts that share beginnings, with any legal breakpoints and settings."""
    known = {"a": 3, "b": 2, "": 1}
    blocks = []
    for part in ("tools", "system", "messages"):
        for group in draw(st.lists(BLOCKS, max_size=2 if part != "messages" else 3)):
            run = group[0].run if part == "messages" else ""
            blocks += [replace(s, part=part, run=run, tokens=known[s.content[0]]) for s in group]
    indices = draw(st.sets(st.integers(0, max(len(blocks) - 1, 0)), max_size=4)) if blocks else set()
    hours = draw(st.integers(0, len(indices)))
    for n, i in enumerate(sorted(indices)):
        blocks[i] = replace(blocks[i], ttl="1h" if n < hours else "5m")
    return CacheRequest(
        draw(st.sampled_from(["m", "m", "m", "n"])),
        tuple(blocks),
        workspace=draw(st.sampled_from(["", "", "", "w"])),
        speed=draw(st.sampled_from(["", "", "", "fast"])),
        thinking=draw(st.sampled_from(["", "", "", "on"])),
    )


@st.composite
def traces(draw):
    """Times of sending, requests from a small pool, times at which responses begin."""
    pool = draw(st.lists(cache_requests(), min_size=1, max_size=4))
    now, trace = 0.0, []
    for _ in range(draw(st.integers(1, 12))):
        now += draw(TIMES)
        trace.append((now, draw(st.sampled_from(pool)), now + draw(DELAYS)))
    return trace


def least(model):
    return {"m": 5, "n": 0}[model]


def charges(trace):
    """Charge a trace; every response is reported when it begins, as a server would."""
    ledger, waiting, found = PromptCache(least), [], []
    for now, asked, begins in trace:
        for charge, at in sorted(waiting, key=lambda pair: pair[1]):
            if at <= now:
                ledger.begun(charge, at)
        waiting = [pair for pair in waiting if pair[1] > now]
        found.append(ledger.charge(asked, now))
        if begins <= now:
            ledger.begun(found[-1], begins)
        else:
            waiting.append((found[-1], begins))
    return found


@settings(max_examples=500)
@given(traces())
def test_the_ledger_agrees_with_one_that_keeps_everything_and_walks_over_it(trace):
    ahead, naive = PromptCache(least), NaivePromptCache(least)
    for (now, asked, begins), reported in zip(trace, charges(trace), strict=True):
        charge = ahead.charge(asked, now)
        ahead.begun(charge, begins)
        tokens, new = naive.charge(asked, now)
        naive.begun(new, begins)
        assert charge == reported  # told ahead or told in time is one
        assert charge.usage == TokenUsage(**tokens)


@given(traces())
def test_every_token_is_charged_once(trace):
    for (_, asked, _), charge in zip(trace, charges(trace), strict=True):
        assert charge.usage.prompt == sum(s.tokens for s in asked.segments)
        assert min(vars(charge.usage).values()) >= 0


@given(traces())
def test_nothing_is_read_that_was_not_written_before(trace):
    written = set()
    for (_, asked, _), charge in zip(trace, charges(trace), strict=True):
        if charge.usage.cache_read:
            ends = [i for i, tokens in enumerate(asked.prefixes.tokens) if tokens == charge.usage.cache_read]
            assert written & {asked.prefixes.keys[i] for i in ends}
        written |= {key for key, _ in charge.written}


@given(traces())
def test_two_hours_later_all_costs_as_it_did_at_first(trace):
    later = trace[-1][0] + 7200.0  # the longest wait for a response and an hour
    again = [(now + later, asked, begins + later) for now, asked, begins in trace]
    both = [c.usage for c in charges(trace + again)]
    assert both[len(trace) :] == both[: len(trace)]


@given(traces(), traces())
def test_workspaces_share_nothing(mine, theirs):
    theirs = [(now, replace(asked, workspace="another"), begins) for now, asked, begins in theirs]
    mixed = sorted([(step, True) for step in mine] + [(step, False) for step in theirs], key=lambda pair: pair[0][0])
    found = charges([step for step, _ in mixed])
    assert [c.usage for c, (_, own) in zip(found, mixed, strict=True) if own] == [c.usage for c in charges(mine)]


@given(traces())
def test_without_breakpoints_all_is_input(trace):
    bare = [(now, replace(r, segments=tuple(replace(s, ttl=None) for s in r.segments)), b) for now, r, b in trace]
    assert all(c.usage == TokenUsage(c.usage.prompt) and not c.written for c in charges(bare))
