"""What switching models does to a prompt cache: exactly as the ledger of each model has it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_prompt_cache import NaivePromptCache

from evalkit.calls import TokenUsage
from evalkit.errors import InputError
from evalkit.llm.pricing import Price, Prices
from evalkit.llm.prompt_cache.ledger import CacheRequest, PromptCache, Segment
from evalkit.llm.prompt_cache.placement import Placement, TracedPrompt, plan_caching
from evalkit.llm.prompt_cache.switching import escalating, plan_switching, price_switching, sticky

PRICES = Prices.load()
HAIKU, SONNET, OPUS = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"
SYSTEM = Placement((("system", "5m"),))


def sent(at, system="S 2000", history="", question="Q 50", began=None):
    """A prompt of three parts, each written as names of blocks with their tokens."""
    parts = []
    for name, blocks in (("system", system), ("history", history), ("question", question)):
        words = blocks.split()
        pairs = zip(words[::2], words[1::2], strict=True)
        part = "system" if name == "system" else "messages"
        parts.append((name, tuple(Segment(content, int(n), part) for content, n in pairs)))
    return TracedPrompt(float(at), float(at if began is None else began), "whatever", tuple(parts))


def talk(turns, seconds=10, start=0):
    """A conversation: each turn sends the turns before it."""
    said, trace = "", []
    for i in range(turns):
        trace.append(sent(start + seconds * i, history=said, question=f"Q{i} 50"))
        said += f" Q{i} 50 A{i} 100"
    return trace


# --- known traces, by hand


def test_a_second_model_writes_the_shared_prefix_again_and_that_is_the_cost_of_switching():
    trace = [sent(i, question=f"Q{i} 50") for i in range(4)]
    found = price_switching(trace, [SONNET, HAIKU, SONNET, HAIKU], SYSTEM, PRICES)
    assert found.routed.usage == TokenUsage(200, 4000, 0, 4000)
    assert found.shared.usage == TokenUsage(200, 2000, 0, 6000)
    assert found.uncached.usage == TokenUsage(8200)
    assert (found.loss.written, found.loss.lost) == (2000, 2000)
    assert found.loss.dollars == pytest.approx(2000 * (0.125 - 0.01) / 1e6)  # at the prices of the one that wrote
    assert found.loss.share == pytest.approx(found.loss.dollars / found.shared.dollars)
    assert found.single[SONNET].dollars == pytest.approx((2000 * 2.5 + 6000 * 0.1 + 200 * 2) / 1e6)
    assert found.plain[HAIKU].dollars == pytest.approx(8200 * 0.1 / 1e6)
    assert (found.baseline, found.cheapest) == (SONNET, HAIKU)


def test_each_copy_is_read_less_often_so_that_it_runs_out_sooner():
    trace = [sent(200 * i, question=f"Q{i} 50") for i in range(8)]  # alone: every 200 s; routed: every 400 s
    found = price_switching(trace, [SONNET, OPUS] * 4, SYSTEM, PRICES)
    assert found.single[SONNET].usage == found.shared.usage == TokenUsage(400, 2000, 0, 14_000)
    assert found.routed.usage == TokenUsage(400, 16_000, 0, 0)
    an_hour = price_switching(trace, [SONNET, OPUS] * 4, Placement((("system", "1h"),)), PRICES)
    assert an_hour.loss.written == 2000


def test_the_history_of_a_conversation_is_written_again_after_a_switch_and_the_cost_is_told_apart():
    trace = sorted([*talk(4), *[sent(5 + i, question=f"R{i} 50") for i in range(3)]], key=lambda one: one.at)
    names = ["t" if one.parts[1][1] or one.at == 0 else "" for one in trace]
    assert names.count("t") == 4
    turns = iter([SONNET, HAIKU, SONNET, SONNET])
    choice = [next(turns) if name else SONNET for name in names]
    found = price_switching(
        trace, choice, Placement((("system", "5m"), ("history", "5m"))), PRICES, conversation=names
    )
    assert found.switches == 2
    assert found.outside.dollars == 0
    # turn 1 at haiku writes system and its history, 2,150 tokens, of which 2,000 could have been read; turn 2, back
    # at sonnet, reads the system prompt only and writes a history of 300, of which haiku wrote 150
    assert (found.within.written, found.within.lost) == (2000 + 150, 2000 + 150)
    assert found.within.dollars == pytest.approx((2000 * (0.125 - 0.01) + 150 * (2.5 - 0.1)) / 1e6)
    assert found.loss == replace(found.within, requests=7, share=found.loss.share)


def test_a_sticky_conversation_pays_for_its_model_and_not_for_switching():
    names = ["t"] * 6
    given_, ladder = [HAIKU, SONNET, HAIKU, HAIKU, OPUS, HAIKU], [HAIKU, SONNET, OPUS]
    choices = {"as given": given_, "sticky": sticky(given_, names), "up": escalating(given_, names, ladder)}
    assert choices["sticky"] == (HAIKU,) * 6
    assert choices["up"] == (HAIKU, SONNET, SONNET, SONNET, OPUS, OPUS)
    both = Placement((("system", "5m"), ("history", "5m")))
    plan = plan_switching(talk(6), choices, [SYSTEM, both], PRICES, conversation=names)
    kept = plan.of("sticky", system="5m", history="5m")
    assert (kept.switches, kept.loss.dollars, kept.loss.written) == (0, 0.0, 0)
    assert plan.of("as given", system="5m").switches == 4
    assert plan.of("up", system="5m").switches == 2
    assert plan.of("up", system="5m").loss.dollars < plan.of("as given", system="5m", history="5m").loss.dollars
    assert list(plan.frame.index.names) == ["choice", "placement"]
    assert len(plan.frame) == 6


def test_what_stands_outside_conversations_is_neither_sticky_nor_escalated():
    names = ["", "a", "", "b", "a", ""]
    given_ = ["n", "m", "m", "n", "n", "m"]
    assert sticky(given_, names) == ("n", "m", "m", "n", "m", "m")
    assert escalating(given_, names, ["m", "n"]) == ("n", "m", "m", "n", "n", "m")
    with pytest.raises(InputError, match="escalating: n is not on the ladder m; name it there"):
        escalating(given_, names, ["m"])


@pytest.mark.parametrize("pairs", [(["m"], ["a", "a"]), (["m", "m"], ["a"])])
def test_a_choice_and_its_conversations_of_two_lengths_are_refused_in_a_line(pairs):
    said = rf"{len(pairs[0])} models for {len(pairs[1])} conversations; give one of each a request$"
    with pytest.raises(InputError, match=f"^sticky: {said}"):
        sticky(*pairs)
    with pytest.raises(InputError, match=f"^escalating: {said}"):
        escalating(*pairs, ["m"])


def test_a_ladder_has_a_model_once():
    with pytest.raises(InputError, match=r"^escalating: the ladder m, n, m has m twice; name each model once$"):
        escalating(["m"], ["a"], ["m", "n", "m"])


# --- what routing and caching promise


def test_the_sum_of_two_savings_less_what_is_counted_twice_and_lost_is_what_they_save_together():
    trace = [sent(i, question=f"Q{i} 50") for i in range(50)]
    found = price_switching(trace, [SONNET if i % 3 else HAIKU for i in range(50)], SYSTEM, PRICES)
    saved = found.savings
    assert saved["added up"] == pytest.approx(saved["routing saves"] + saved["caching saves"])
    assert saved["together"] == pytest.approx(saved["added up"] + saved["counted twice"] + saved["lost by switching"])
    assert saved["together"] == pytest.approx(1 - found.routed.dollars / found.plain[SONNET].dollars)
    assert saved["added up"] > 1 > saved["together"]  # more than there is
    assert price_switching(trace, found.choice, SYSTEM, PRICES, baseline=OPUS).baseline == OPUS


def test_answers_are_paid_at_the_prices_of_the_model_that_gave_them():
    trace = [sent(i) for i in range(2)]
    found = price_switching(trace, [HAIKU, SONNET], SYSTEM, PRICES, output=[10, 30])
    assert found.routed.in_all - found.routed.dollars == pytest.approx((10 * 0.5 + 30 * 10) / 1e6)
    assert found.plain[SONNET].in_all == pytest.approx((4100 * 2 + 40 * 10) / 1e6)
    assert found.routed.usage.output == 40
    assert math.isnan(price_switching(trace, [HAIKU, SONNET], SYSTEM, PRICES).routed.in_all)


def test_prices_are_those_of_the_day():
    trace = [sent(i, question=f"Q{i} 50") for i in range(3)]
    for day, read in (("2026-10-06", 0.2), ("2026-10-07", 0.1), ("", 0.1)):
        found = price_switching(trace, [SONNET, HAIKU, SONNET], SYSTEM, PRICES, day=day)
        assert found.single[SONNET].dollars == pytest.approx((150 * 2 + 2000 * 2.5 + 4000 * read) / 1e6)


# --- minima


def test_a_model_with_a_large_minimum_caches_nothing_and_that_is_told():
    trace = [sent(i, question=f"Q{i} 50") for i in range(4)]
    found = price_switching(trace, [SONNET, "claude-haiku-4-5"] * 2, SYSTEM, PRICES)
    assert found.routed.usage == found.shared.usage == TokenUsage(2 * 2050 + 2 * 50, 2000, 0, 2000)
    assert found.loss.dollars == 0
    (note,) = found.notes
    assert note == (
        "claude-haiku-4-5 caches none of its 2 prompts: at most 2,000 tokens are marked, below its cacheable minimum "
        "of 4,096"
    )
    assert "note           claude-haiku-4-5 caches none" in repr(found)
    longer = [replace(one, parts=sent(0, "S 5000" if i > 1 else "S 2000").parts) for i, one in enumerate(trace)]
    assert price_switching(longer, ["claude-haiku-4-5"] * 4, SYSTEM, PRICES).notes == (
        "claude-haiku-4-5's cacheable minimum of 4,096 tokens: 2 of 4 prompts are under it",
    )


def test_where_minima_differ_a_shared_cache_can_be_the_dearer_one():
    tiny = Prices(
        (Price("big", "2026-01-01", 1, 1, 1.25, 2, 0.1, minimum=8), Price("m", "2026-01-01", 1, 1, 1.25, 2, 0.1))
    )
    both = Placement((("system", "5m"), ("history", "5m")))
    trace = [sent(0, "S 5", "A 5", "Q 0"), sent(1, "S 5", "A 5", "Q 0"), sent(2, "S 5", "B 0", "Q 0")]
    found = price_switching(trace, ["big", "m", "m"], both, tiny)
    assert found.shared.tokens[:, :4].tolist() == [[0, 10, 0, 0], [0, 0, 0, 10], [0, 5, 0, 0]]
    assert found.routed.tokens[:, :4].tolist() == [[0, 10, 0, 0], [0, 10, 0, 0], [0, 0, 0, 5]]
    assert found.loss.lost == 5


# --- models that count tokens in their own ways


def test_each_model_can_have_a_trace_of_its_own_and_reads_a_prefix_whatever_it_counts():
    old, new = "claude-opus-4-6", OPUS
    traces = {
        old: [sent(i, "S 5000", question=f"Q{i} 50") for i in range(3)],
        new: [sent(i, "S 6500", question=f"Q{i} 65") for i in range(3)],
    }
    found = price_switching(traces, [old, new, old], SYSTEM, PRICES)
    assert found.routed.tokens[:, :4].tolist() == [[50, 5000, 0, 0], [65, 6500, 0, 0], [50, 0, 0, 5000]]
    assert found.shared.tokens[:, :4].tolist() == [[50, 5000, 0, 0], [65, 0, 0, 6500], [50, 0, 0, 5000]]
    with pytest.raises(InputError, match="there is none for 'claude-sonnet-5-5'; did you mean"):
        price_switching(traces, [old, SONNET, old], SYSTEM, PRICES)
    traces[new] = traces[new][:2]
    with pytest.raises(InputError, match="not of the same requests"):
        price_switching(traces, [old, new, old], SYSTEM, PRICES)


# --- laws

SIZES = {"a": 2, "b": 3, "c": 4, "d": 0}
MINIMA = {"m": 5, "n": 0}


def tiny_prices(**minima):
    """Two models; equally dear where their minima are stated."""
    dear = (1, 10, 1.25, 2, 0.3) if not minima else (2, 10, 2.5, 4, 0.2)
    minima = minima or MINIMA
    return Prices(
        (
            Price("m", "2026-01-01", 2, 10, 2.5, 4, 0.2, minimum=minima["m"]),
            Price("n", "2026-01-01", *dear, minimum=minima["n"]),
        )
    )


@st.composite
def routed(draw):
    """A few prompts whose parts often begin alike, a model and perhaps a conversation for each, and a placement."""
    now, trace = 0.0, []
    n = draw(st.integers(1, 8))
    for _ in range(n):
        now += draw(st.sampled_from([0.0, 1.0, 100.0, 299.0, 300.0, 2000.0]))
        parts = []
        for name in ("system", "context", "history", "question"):
            blocks = draw(st.lists(st.sampled_from("aabcd"), max_size=2 if name != "history" else 25))
            part = "system" if name == "system" else "messages"
            parts.append((name, tuple(Segment(f"{name} {block}", SIZES[block], part) for block in blocks)))
        trace.append(TracedPrompt(now, now + draw(st.sampled_from([0.0, 0.5, 150.0])), "", tuple(parts)))
    ttls = draw(st.sampled_from([t for t in TTLS if "5m1h" not in "".join(x or "" for x in t)]))
    placement = Placement(
        tuple((name, ttl) for name, ttl in zip(("system", "context", "history"), ttls, strict=True) if ttl)
    )
    choice = draw(st.lists(st.sampled_from("mn"), min_size=n, max_size=n))
    names = draw(st.lists(st.sampled_from(["", "t", "u"]), min_size=n, max_size=n))
    return trace, choice, placement, names


TTLS = [(a, b, c) for a in (None, "5m", "1h") for b in (None, "5m", "1h") for c in (None, "5m", "1h")]


def marked(one, model, placement):
    """A real request with real breakpoints."""
    blocks, ttls = [], dict(placement.marks)
    for name, part in one.parts:
        filled = [i for i, block in enumerate(part) if block.tokens]
        blocks += [
            replace(block, ttl=ttls.get(name)) if filled and i == filled[-1] else block
            for i, block in enumerate(part)
        ]
    return CacheRequest(model, tuple(blocks))


def kinds(usage):
    return [usage.input, usage.cache_write_5m, usage.cache_write_1h, usage.cache_read]


@given(routed())
def test_the_routed_bill_is_that_of_the_ledger_token_by_token(case):
    trace, choice, placement, _ = case
    found = price_switching(trace, choice, placement, tiny_prices())
    ledger, rows = PromptCache(MINIMA.__getitem__), []  # one for both: it keeps models apart itself
    for one, model in zip(trace, choice, strict=True):
        charge = ledger.charge(marked(one, model, placement), one.at)
        ledger.begun(charge, one.began)
        rows.append(kinds(charge.usage))
    assert found.routed.tokens[:, :4].tolist() == rows


@given(routed())
def test_the_bill_as_if_shared_is_that_of_one_naive_cache_for_all(case):
    trace, choice, placement, _ = case
    found = price_switching(trace, choice, placement, tiny_prices())
    naive, rows = NaivePromptCache(None), []
    for one, model in zip(trace, choice, strict=True):
        naive.minimum = lambda _, model=model: MINIMA[model]
        tokens, new = naive.charge(marked(one, "any", placement), one.at)
        naive.begun(new, one.began)
        rows.append(list(tokens.values()))
    assert found.shared.tokens[:, :4].tolist() == rows


@given(routed())
def test_routed_is_the_sum_of_the_plans_of_each_models_own_prompts(case):
    trace, choice, placement, _ = case
    found = price_switching(trace, choice, placement, tiny_prices())
    whole = 0.0
    for model in set(choice):
        own = [replace(one, model=model) for one, chosen in zip(trace, choice, strict=True) if chosen == model]
        whole += plan_caching(own, tiny_prices()).of(**dict(placement.marks)).dollars
    assert found.routed.dollars == pytest.approx(whole)
    for model, bill in found.single.items():
        alone = plan_caching([replace(one, model=model) for one in trace], tiny_prices())
        assert bill.usage == alone.of(**dict(placement.marks)).usage
        assert found.plain[model].dollars == pytest.approx(alone.of().dollars)


@given(routed(), st.sampled_from("mn"))
def test_one_model_alone_loses_nothing_by_switching(case, model):
    trace, _, placement, names = case
    found = price_switching(trace, [model] * len(trace), placement, tiny_prices(), conversation=names)
    assert found.loss.dollars == found.within.dollars == found.switches == found.loss.written == 0
    assert found.routed.usage == found.shared.usage == found.single[model].usage


@given(routed())
def test_at_equal_prices_and_minima_models_apart_never_cost_less_than_a_shared_cache(case):
    trace, choice, placement, _ = case
    found = price_switching(trace, choice, placement, tiny_prices(m=5, n=5))
    assert np.all(found.routed.prompts >= found.shared.prompts)
    assert np.all(found.routed.read <= found.shared.read)
    assert found.shared.usage == found.single["m" if "m" in choice else "n"].usage


@given(routed())
def test_losses_within_and_outside_conversations_add_up_and_no_token_is_lost(case):
    trace, choice, placement, names = case
    found = price_switching(trace, choice, placement, tiny_prices(), conversation=names)
    assert found.within.dollars + found.outside.dollars == pytest.approx(found.loss.dollars, abs=1e-15)
    assert found.within.written + found.outside.written == found.loss.written
    assert found.within.requests + found.outside.requests == len(trace)
    whole = {bill.usage.prompt for bill in (found.routed, found.shared, found.uncached, *found.single.values())}
    assert whole == {sum(block.tokens for one in trace for _, part in one.parts for block in part)}
    kept = sticky(choice, names)
    for name in {"t", "u"} & set(names):
        assert len({model for model, of in zip(kept, names, strict=True) if of == name}) == 1
    assert price_switching(trace, kept, placement, tiny_prices(), conversation=names).switches == 0


# --- blocks, words, refusals


def test_a_conversation_belongs_to_the_stretch_of_time_in_which_it_began():
    trace = [sent(at) for at in (1000, 1500, 4500, 4700, 9000)]
    found = price_switching(trace, [HAIKU] * 5, SYSTEM, PRICES, conversation=["", "t", "", "t", ""])
    assert found.blocks().tolist() == [0, 0, 0, 0, 2]
    assert found.blocks(600).tolist() == [0, 0, 5, 0, 13]
    with pytest.raises(InputError, match=r"blocks: a stretch of 0 s"):
        found.blocks(0)


def test_a_summary_says_what_switching_costs_and_what_is_cheaper():
    trace = [sent(i, question=f"Q{i} 50") for i in range(4)]
    found = price_switching(trace, [SONNET, HAIKU, SONNET, HAIKU], SYSTEM, PRICES, conversation=["t"] * 4)
    assert repr(found).splitlines() == [
        "4 prompts, system 5m: claude-haiku-5-5 2, claude-sonnet-5-5 2",
        "routed         $0.0057; as if models shared a cache $0.0054",
        "switching      costs $0.0002 (4.2%): 2,000 tokens more are written, 2,000 fewer are read",
        "               $0.0002 of it in 1 conversations, with 3 switches",
        f"routing saves  47.5% of $0.0164 ({SONNET}, no caching), caching 63.4%: 110.9% added up, 65.4% together",
        "cheaper        claude-haiku-5-5 alone: $0.0003",
    ]
    assert "<table" in found._repr_html_()
    assert list(found.frame.index)[-1] == "routed"
    assert found.per_request["routed"].sum() == pytest.approx(found.routed.dollars)


@pytest.mark.parametrize(
    ("trace", "choice", "options", "said"),
    [
        ([], [], {}, "no choice of models for any prompt"),
        ([], [HAIKU], {}, "the trace is empty or not in order of time"),
        ([sent(1), sent(0)], [HAIKU] * 2, {}, "not in order of time"),
        ([sent(0)], [HAIKU] * 2, {}, "is given for 2 requests, the trace has 1"),
        ([sent(0)], [HAIKU], {"conversation": []}, "'conversation' is given for 0 requests"),
        ([sent(0)], [HAIKU], {"output": [1, 2]}, "2 counts of output tokens for 1 prompts"),
        ([sent(0)], [HAIKU], {"output": [-1]}, "prompt 0 has -1 output tokens; give a whole number, 0 or more"),
        ([sent(0)] * 2, [HAIKU] * 2, {"output": [5, math.nan]}, "prompt 1 has nan output tokens"),
        ([sent(0)], [HAIKU], {"output": [math.inf]}, "prompt 0 has inf output tokens"),
        ([sent(0)], [HAIKU], {"output": [1.5]}, r"prompt 0 has 1\.5 output tokens"),
        ([sent(0)], [HAIKU], {"day": "yesterday"}, "day is 'yesterday'; give an ISO date such as '2026-10-07'"),
        ([sent(0)], [HAIKU], {"day": "20261007"}, "day is '20261007'"),
        ([sent(0)], [HAIKU], {"day": "2026-02-30"}, "day is '2026-02-30'"),
        ([sent(0)], ["claude-haiku-55"], {}, "no price for model 'claude-haiku-55'; did you mean"),
        ([sent(1, began=0)], [HAIKU], {}, "before its prompt is sent"),
        ([sent(0), TracedPrompt(1.0, 1.0, "", (("docs", ()),))], [HAIKU] * 2, {}, "name all alike"),
    ],
    ids=[
        "nothing",
        "empty",
        "order",
        "too many",
        "conversations",
        "output",
        "below 0",
        "nan",
        "inf",
        "half",
        "day",
        "short day",
        "no day",
        "price",
        "began",
        "parts",
    ],
)
def test_what_does_not_fit_together_is_refused_in_a_line(trace, choice, options, said):
    with pytest.raises(InputError, match=said) as refused:
        price_switching(trace, choice, SYSTEM, PRICES, **options)
    assert "\n" not in str(refused.value)


def test_a_choice_may_be_called_conversation_and_is_checked_as_any_other():
    with pytest.raises(
        InputError, match=r"^choice 'conversation' is given for 2 requests, the trace has 1; give one"
    ):
        plan_switching([sent(0)], {"conversation": [HAIKU] * 2}, [SYSTEM], PRICES, conversation=["t"])
    plan = plan_switching([sent(0)], {"conversation": [HAIKU]}, [SYSTEM], PRICES, conversation=["t"])
    assert plan.of("conversation", system="5m").conversation == ("t",)


def test_nothing_to_try_is_refused():
    with pytest.raises(InputError, match=r"^no placement to try; give at least one, Placement\(\) for no caching$"):
        plan_switching([sent(0)], {"a": [HAIKU]}, [], PRICES)
    with pytest.raises(InputError, match="no choice of models for any prompt"):
        plan_switching([sent(0)], {}, [SYSTEM], PRICES, baseline=HAIKU)


def test_what_was_not_tried_is_refused():
    plan = plan_switching([sent(0)], {"a": [HAIKU]}, [SYSTEM], PRICES)
    with pytest.raises(InputError, match=r"no choice 'b' with .*; tried: a: system 5m"):
        plan.of("b", system="5m")
