"""What a modelled generator reads from and writes to the prompt cache, and what that costs."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Echo

from evalkit.calls import TokenUsage
from evalkit.clock import BatchClock, run_async
from evalkit.llm.latency.profiles import find_profile
from evalkit.llm.messages import Breakpoints, Chat
from evalkit.llm.modelled import Modelled
from evalkit.llm.pricing import Prices
from evalkit.llm.prompt_cache.ledger import CacheRequest, PromptCache, segments_of
from evalkit.llm.tokens import estimate_tokens
from evalkit.serving import VirtualClock
from evalkit.values import Prompt

HAIKU = "claude-haiku-5-5"
LONG = "The ferry to Tolm leaves every two hours from six in the morning. " * 60
ALL = Chat(documents="system", breakpoints=Breakpoints("1h", "5m", "5m"))
ROADMAP = find_profile("roadmap")
PAST = ("Is there a ferry?", "Yes.")


def prompt(question="When does it leave?", passages=(LONG,), history=()):
    names = tuple(f"d{i}" for i in range(len(passages)))
    return Prompt(question, ("",) * len(passages), tuple(passages), names, history)


def ask(generator, asked):
    return run_async(generator(asked, 0, BatchClock()))


def virtually(work):
    """Run ``work(clock)`` on a fresh virtual clock."""
    clock = VirtualClock()
    return clock.run(work(clock))


def tokens(text, model=HAIKU):
    return estimate_tokens(text, model)


def test_cold_writes_every_marked_prefix_and_warm_reads_the_longest_one():
    asked = prompt(history=PAST)
    generator = Modelled(Echo(), "roadmap", HAIKU, ALL)
    system = tokens(ALL.system)
    context = sum(tokens(block.text) for block in ALL.messages(asked).system) - system
    history, question = sum(map(tokens, PAST)), tokens(asked.question)
    assert system < 512 < context  # the system prompt alone is below the minimum, so is no prefix of its own
    cold = ask(generator, asked).call
    assert replace(cold.usage, output=0) == TokenUsage(question, system + context + history)
    warm = ask(replace(generator, cache="warm"), asked).call
    assert replace(warm.usage, output=0) == TokenUsage(question, cache_read=system + context + history)
    assert warm.pieces[0] < cold.pieces[0]
    assert warm.pieces[0] == pytest.approx(ROADMAP.first(question), abs=1e-6)


@pytest.mark.parametrize("cache", ["cold", "warm", "served"])
def test_an_unmarked_prompt_is_plain_input(cache):
    asked = prompt(history=PAST)

    async def twice(clock):
        generator = Modelled(Echo(), "roadmap", HAIKU, cache=cache)
        return [(await generator(asked, 0, clock)).call.usage for _ in range(2)]

    whole = sum(s.tokens for s in segments_of(Chat().messages(asked), tokens))
    for usage in virtually(twice):
        assert replace(usage, output=0) == TokenUsage(whole)


@pytest.mark.parametrize(("model", "reads"), [("claude-haiku-5-5", True), ("claude-haiku-4-5", False), ("", True)])
def test_a_prefix_below_the_models_minimum_is_neither_written_nor_read(model, reads):
    asked = prompt(passages=(LONG[:2600],))  # about 1,000 tokens: Haiku 5.5 caches from 512, Haiku 4.5 from 4,096 on
    cold, warm = (ask(Modelled(Echo(), "roadmap", model, ALL, c), asked).call.usage for c in ("cold", "warm"))
    assert (cold.cache_write_5m > 0, warm.cache_read > 0) == (reads, reads)
    assert cold.prompt == warm.prompt


def served(*at, generators=None, asked=None, clock=None, profile="roadmap"):
    """Usage of requests at the given seconds on one clock, each for its own prompt or generator."""
    one = Modelled(Echo(), profile, HAIKU, ALL, "served")
    plan = list(zip(at, generators or [one] * len(at), asked or [prompt()] * len(at), strict=True))

    async def send(on):
        async def request(when, generator, about):
            await on.sleep(when - on.now())
            return (await generator(about, 0, on)).call.usage

        return await asyncio.gather(*(request(*entry) for entry in plan))

    if clock is not None:
        return clock.run(send(clock))
    return virtually(send)


def kinds(usages):
    return "".join("r" if u.cache_read else "w" if u.cache_write_5m + u.cache_write_1h else "-" for u in usages)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ((0, 10), "wr"),
        ((0, 0), "ww"),  # at once: both write
        ((0, 0.05), "ww"),  # before the first token of the first, at about 0.13 s
        ((0, 0.2), "wr"),  # behind it, while the first is still answering
        ((0, 299.9), "wr"),
        ((0, 300), "ww"),
        ((0, 200, 400, 600), "wrrr"),  # a read renews
        ((0, 200, 501), "wrw"),
    ],
)
def test_served_the_cache_holds_what_was_asked_before(at, expected):
    assert kinds(served(*at)) == expected


def test_served_question_after_question_about_one_context_reads_the_context():
    first, second = served(0, 10, asked=[prompt("When?"), prompt("How often?")])
    assert second.cache_read == first.cache_write_5m
    assert second.input == tokens("How often?")


def test_each_clock_begins_with_an_empty_cache_which_goes_with_it():
    clock, other = VirtualClock(), VirtualClock()
    assert kinds(served(0, 10, clock=clock)) == kinds(served(0, 10, clock=other)) == "wr"
    gone = weakref.ref(clock)
    del clock
    gc.collect()
    assert gone() is None


def test_generators_of_one_model_share_their_cache_and_those_of_others_do_not():
    haiku = Modelled(Echo(), "roadmap", HAIKU, ALL, "served")
    fable = replace(haiku, model="claude-fable-5-1")
    slower = replace(haiku, profile="course", seed=5)
    free, other = (replace(haiku, model="", seed=seed) for seed in (0, 1))
    order = [haiku, fable, slower, free, other, free]
    assert kinds(served(*range(0, 60, 10), generators=order)) == "wwrwwr"


@given(st.lists(st.tuples(st.floats(0, 900), st.sampled_from("ABC"), st.booleans()), min_size=1, max_size=12))
@settings(max_examples=60)
def test_served_is_what_the_ledger_says_in_order_of_time_and_lies_between_warm_and_cold(traffic):
    traffic = sorted({round(at, 1): rest for at, *rest in traffic}.items())
    asked = [prompt(f"{name}?", (LONG + name,), PAST if past else ()) for _, (name, past) in traffic]
    usages = served(*(at for at, _ in traffic), asked=asked)
    ledger = PromptCache(lambda model: 512)
    for (at, _), about, usage in zip(traffic, asked, usages, strict=True):
        charge = ledger.charge(CacheRequest(HAIKU, segments_of(ALL.messages(about), tokens)), at)
        ledger.begun(charge, at + ROADMAP.first(charge.usage.uncached))
        assert replace(usage, output=0) == charge.usage
    prices = Prices.load()
    for about, usage in zip(asked, usages, strict=True):
        cold, warm = (ask(Modelled(Echo(), "roadmap", HAIKU, ALL, c), about).call for c in ("cold", "warm"))
        assert prices.dollars(warm) <= prices.of(HAIKU).dollars(usage) <= prices.dollars(cold)


def test_a_modelled_call_costs_what_the_newest_prices_say():
    call = ask(Modelled(Echo(), "roadmap", "claude-sonnet-5-5", ALL, "warm"), prompt()).call
    usage = call.usage
    by_hand = (usage.input * 2 + usage.cache_read * 0.10 + usage.output * 10) / 1e6  # the cheaper read of October
    assert usage.cache_read > 500
    assert Prices.load().dollars(call) == pytest.approx(by_hand)
