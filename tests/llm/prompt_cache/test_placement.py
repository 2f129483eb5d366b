"""The planner: every placement of breakpoints, exactly as brute force has it."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.calls import TokenUsage
from evalkit.errors import InputError
from evalkit.llm.messages import Breakpoints
from evalkit.llm.pricing import Price, Prices
from evalkit.llm.prompt_cache.ledger import Segment
from evalkit.llm.prompt_cache.placement import Placement, TracedPrompt, break_even, placements, plan_caching

PRICES = Prices.load()
SONNET = "claude-sonnet-5"
"""At least 1,024 tokens; $2 in, $2.50 and $4 to write, $0.20 to read, a million tokens."""


def traced(at, *parts, model=SONNET, began=None):
    """A prompt of parts such as ``system="S 2000"``: a name of the content and its tokens, or several of them."""
    kinds = {"system": "system"}
    built = []
    for name, blocks in parts:
        words = blocks.split()
        pairs = zip(words[::2], words[1::2], strict=True)
        built.append((name, tuple(Segment(content, int(n), kinds.get(name, "messages")) for content, n in pairs)))
    return TracedPrompt(float(at), float(at if began is None else began), model, tuple(built))


def asked(at, system, context, question="Q 50", **more):
    return traced(at, ("system", system), ("context", context), ("question", question), **more)


def words(text):
    return len(text.split())


# --- what can be placed


@pytest.mark.parametrize("parts", [0, 1, 2, 3, 4, 5, 6])
def test_all_legal_placements_are_tried_and_no_other(parts):
    names = "abcdef"[:parts]
    legal = {
        Placement(tuple((name, ttl) for name, ttl in zip(names, ttls, strict=True) if ttl))
        for ttls in product((None, "5m", "1h"), repeat=parts)
        if sum(map(bool, ttls)) <= 4 and "5m1h" not in "".join(ttl or "" for ttl in ttls)
    }
    found = list(placements(names))
    assert len(found) == len(set(found))
    assert set(found) == legal
    assert [len(p.marks) for p in found] == sorted(len(p.marks) for p in found)


def test_the_best_placement_can_be_given_to_a_chat():
    marks = Placement((("system", "1h"), ("context", "5m")))
    assert str(marks) == "system 1h, context 5m"
    assert marks.breakpoints == Breakpoints(system="1h", context="5m")
    assert Placement().breakpoints == Breakpoints()
    with pytest.raises(
        InputError, match="a Chat has no breakpoint behind 'question'; it has: system, context, history"
    ):
        _ = Placement((("question", "5m"),)).breakpoints


# --- from how many reads on it pays


@pytest.mark.parametrize(
    ("model", "five_minutes", "an_hour"),
    [
        ("claude-sonnet-5", 1, 2),  # 0.5 / 1.8, 2 / 1.8
        ("claude-sonnet-4-6", 1, 2),
        ("claude-fable-5-1", 1, 2),  # 10 / 9.75: two, by a hair
        ("claude-haiku-5-5", 1, 2),
        ("text-embedding-3-small", None, None),  # no cache
    ],
)
def test_break_even_of_listed_models(model, five_minutes, an_hour):
    price = PRICES.of(model)
    assert (break_even(price, "5m"), break_even(price, "1h")) == (five_minutes, an_hour)


def test_reads_that_only_just_pay_back_a_write_do_not_pay_yet():
    assert break_even(Price("m", "2026-01-01", 1, 1, write_5m=1.3, write_1h=1.9, read=0.7), "5m") == 2
    assert break_even(Price("m", "2026-01-01", 1, 1, write_5m=1.3, write_1h=1.9, read=0.7), "1h") == 4
    assert break_even(Price("m", "2026-01-01", 2, 1, write_5m=2, write_1h=4, read=0), "1h") == 2
    assert break_even(Price("m", "2026-01-01", 2, 1, write_5m=1, write_1h=4, read=0.1), "5m") == 0


CENTS = st.integers(0, 400).map(lambda n: n / 100)


@given(CENTS, CENTS, CENTS)
def test_break_even_is_the_smallest_number_of_reads_that_is_cheaper(plain, write, read):
    n = break_even(Price("m", "2026-01-01", plain, 1, write_5m=write, read=read), "5m")
    p, w, r = (Fraction(round(100 * x), 100) for x in (plain, write, read))
    cheaper = [k for k in range(1000) if w + k * r < (1 + k) * p]
    assert n == (cheaper[0] if cheaper else None)


@pytest.mark.parametrize(("ttl", "pays_from"), [("5m", 1), ("1h", 2)])
def test_a_plan_begins_to_save_with_the_read_that_the_prices_say(ttl, pays_from):
    for reads in range(4):
        trace = [asked(i, "S 2000", "", f"Q{i} 50") for i in range(1 + reads)]
        outcome = plan_caching(trace, PRICES).of(system=ttl)
        assert outcome.pays_from == pays_from
        assert outcome.reuses == reads
        assert (outcome.saved > 0) == (reads >= pays_from)


# --- known traces


def test_a_plan_says_what_each_placement_would_have_cost():
    trace = [asked(0, "S 2000", "D 1000"), asked(10, "S 2000", "E 1000"), asked(20, "S 2000", "D 1000", "R 60")]
    plan = plan_caching(trace, PRICES)
    assert plan.of().usage == TokenUsage(9160)
    assert plan.of().dollars == pytest.approx(9160 * 2e-6)
    assert plan.of(system="5m").usage == TokenUsage(3160, 2000, 0, 4000)
    assert plan.of(context="5m").usage == TokenUsage(160, 6000, 0, 3000)
    both = plan.of(system="1h", context="5m")
    assert both.usage == TokenUsage(160, 2000, 2000, 5000)
    assert both.dollars == pytest.approx((160 * 2 + 2000 * 2.5 + 2000 * 4 + 5000 * 0.2) / 1e6)
    assert both.saved == pytest.approx(plan.of().dollars - both.dollars)
    assert (both.prompts, both.hits, both.reuses) == (3, 2, 1.25)
    assert plan.best.placement == Placement((("system", "5m"), ("context", "5m")))


def test_a_gap_of_more_than_five_minutes_is_worth_an_hour():
    trace = [asked(400 * i, "S 2000", "", f"Q{i} 50") for i in range(9)]
    assert plan_caching(trace, PRICES).best.placement == Placement((("system", "1h"),))


def test_prompts_that_never_meet_again_are_best_not_cached():
    plan = plan_caching([asked(i, f"S{i} 2000", "D 500") for i in range(5)], PRICES)
    assert plan.best.placement == Placement()
    assert plan.best.saved == plan.best.saved_share == plan.best.hit_rate == 0
    assert math.isnan(plan.best.reuses)
    assert all(outcome.saved < 0 for outcome in plan.outcomes[1:])
    assert "no placement saves anything" in repr(plan)


def test_a_short_context_lies_under_the_cacheable_minimum_and_the_plan_says_so():
    plan = plan_caching([asked(i, "S 300", "D 700") for i in range(50)], PRICES)
    assert plan.best.placement == Placement()
    assert all(outcome.saved == 0 and outcome.usage == plan.of().usage for outcome in plan.outcomes)
    assert plan.of(context="5m").note == (
        "context ends after at most 1,000 tokens, below claude-sonnet-5's cacheable minimum of 1,024 tokens: "
        "it saves nothing there"
    )
    assert plan.of(system="1h", context="5m").note.count("cacheable minimum of 1,024") == 2
    assert "note             context ends after at most 1,000 tokens" in repr(plan)


def test_a_context_that_is_short_at_times_is_counted():
    plan = plan_caching([asked(i, "S 300", "D 700" if i else "E 800") for i in range(5)], PRICES)
    assert plan.of(context="5m").note == "context ends under the cacheable minimum in 4 of 5 prompts"


def test_a_part_that_is_always_empty_is_named_and_one_that_is_at_times_is_passed_over():
    plan = plan_caching([asked(i, "S 2000", "") for i in range(3)], PRICES)
    assert plan.of(context="5m").note == "context is empty in every prompt"
    plan = plan_caching([asked(0, "S 2000", ""), asked(1, "S 2000", "D 100"), asked(2, "S 2000", "D 100")], PRICES)
    assert plan.of(system="5m", context="5m").usage == TokenUsage(150, 2100, 0, 4100)


def test_a_breakpoint_stands_behind_the_last_block_with_text():
    trace = [asked(i, "S 2000", f"D 100 Empty{i} 0", f"Q{i} 50") for i in range(3)]
    assert plan_caching(trace, PRICES).of(context="5m").usage == TokenUsage(150, 2100, 0, 4200)


def test_of_equally_cheap_placements_the_one_with_fewest_breakpoints_is_best():
    trace = [asked(i, "S 300", "D 1000") for i in range(5)]
    plan = plan_caching(trace, PRICES)
    assert plan.of(system="5m", context="5m").dollars == plan.of(context="5m").dollars
    assert plan.best.placement == Placement((("context", "5m"),))


def test_prompts_sent_before_a_response_began_write_again():
    trace = [asked(at, "S 2000", "", f"Q{i} 50", began=at + 1.0) for i, at in enumerate((0.0, 0.5, 1.0))]
    assert plan_caching(trace, PRICES).of(system="5m").usage == TokenUsage(150, 4000, 0, 2000)


def test_the_order_in_which_a_trace_is_given_does_not_matter():
    trace = [asked(100 * i, "S 2000", f"D{i % 3} 500", f"Q{i} 50") for i in range(9)]
    assert plan_caching(trace[::-1], PRICES) == plan_caching(trace, PRICES)


def test_each_prompt_is_priced_by_its_model_its_band_and_the_day():
    haiku, sonnet = "claude-haiku-5-5", "claude-sonnet-5-5"
    trace = [asked(0, "S 90000", "", "Q 20000", model=haiku), asked(1, "S 2000", "", model=sonnet)]
    assert plan_caching(trace, PRICES).of().dollars == pytest.approx((110_000 * 0.5 + 2050 * 2) / 1e6)
    again = [asked(i, "S 2000", "", model=sonnet) for i in range(2)]
    for day, read in (("2026-10-06", 0.2), ("2026-10-07", 0.1), ("", 0.1)):
        cost = (100 * 2 + 2000 * 2.5 + 2000 * read) / 1e6
        assert plan_caching(again, PRICES, day=day).of(system="5m").dollars == pytest.approx(cost)


def test_seams_can_be_chosen_the_question_too():
    said, trace = "", []
    for i in range(8):
        parts = (("system", "S 2000"), ("history", said), ("question", f"Q{i} 50"))
        trace.append(traced(i, *parts))
        said += f" Q{i} 50 A{i} 100"
    plan = plan_caching(trace, PRICES, seams=["question"])
    assert len(plan.outcomes) == 3
    assert plan.of(question="5m").usage == TokenUsage(0, 2050 + 7 * 150, 0, sum(2050 + 150 * i for i in range(7)))
    assert plan_caching(trace, PRICES).of(history="5m").hits == 6  # the first has none, the second is its first write


# --- as people read it


def test_the_table_has_a_row_a_placement_cheapest_first():
    trace = [asked(i, "S 2000", f"D{i % 2} 500", f"Q{i} 50") for i in range(10)]
    plan = plan_caching(trace, PRICES)
    frame = plan.frame
    assert list(frame.index) == [str(o.placement) for o in plan.outcomes]
    assert len(frame) == 8
    assert frame["dollars"].is_monotonic_increasing
    assert frame.loc["system 1h", "pays_from"] == 2
    assert frame["pays_from"].isna().tolist() == [name == "no caching" for name in frame.index]
    row = frame.loc["system 5m, context 5m"]
    assert row[["input", "cache_write_5m", "cache_write_1h", "cache_read"]].sum() == 25_500
    assert row["hit_rate"] == 0.9
    assert row["saved_share"] == pytest.approx(row["saved"] / frame.loc["no caching", "dollars"])


def test_a_summary_names_the_best_placement_and_what_it_saves():
    trace = [asked(i, "S 2000", "D<b> 500", f"Q{i} 50") for i in range(10)]
    plan = plan_caching(trace, PRICES)
    assert repr(plan).splitlines() == [
        "10 prompts, 8 placements of breakpoints",
        "without caching  $0.0510 for 25,500 tokens",
        "best             context 5m: $0.0118, saves 77.0%",
        "                 9 of 10 prompts hit; what was written was read 9.0 times, and pays from 1",
    ]
    shown = plan._repr_html_()
    assert "best             context 5m" in shown
    assert shown.count("<tr") == 2 + 8  # two lines of names


# --- what is refused


@pytest.mark.parametrize(
    ("trace", "options", "said"),
    [
        ([], {}, "the trace is empty"),
        ([traced(0, ("a", "A 1")), traced(1, ("b", "A 1"))], {}, r"prompt 1 has the parts \('b',\), the first one"),
        ([traced(0, ("a", "A 1"), ("a", "A 1"))], {}, "each with a name of its own"),
        (
            [asked(0, "S 1", "")],
            {"seams": ["docs"]},
            "no part 'docs' in the trace; it has: system, context, question",
        ),
        ([asked(2, "S 1", "", began=1)], {}, "before its prompt is sent"),
        ([asked(0, "S 1", "", model="claude-sonet-5")], {}, "no price for model 'claude-sonet-5'; did you mean"),
    ],
    ids=["empty", "other parts", "a name twice", "unknown seam", "began too early", "no price"],
)
def test_traces_that_are_none_are_refused_in_a_line(trace, options, said):
    with pytest.raises(InputError, match=said) as refused:
        plan_caching(trace, PRICES, **options)
    assert "\n" not in str(refused.value)


def test_a_placement_that_was_not_tried_is_refused():
    plan = plan_caching([asked(0, "S 1", "")], PRICES)
    with pytest.raises(InputError, match=r"no placement .*; tried: context 1h; context 5m; no caching; system 1h"):
        plan.of(history="5m")
