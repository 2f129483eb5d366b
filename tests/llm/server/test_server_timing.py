"""A modelled generator's times are drawn for what the server's own cache held."""

from __future__ import annotations

import asyncio

from speakers import FirstSentence, Paced, body

from evalkit.calls import TokenUsage
from evalkit.clock import BatchClock
from evalkit.llm.latency.profiles import Profile
from evalkit.llm.modelled import Modelled
from evalkit.llm.pricing import Prices
from evalkit.llm.server.timing import generated
from evalkit.llm.server.wire import read_request

ASKED = read_request(body(), Prices.load())


def timed(generator, usage):
    return asyncio.run(generated(generator, ASKED, 0, usage, BatchClock()))


def test_tokens_that_are_read_from_the_cache_are_not_prefilled():
    profile = Profile(base=0.1, prefill=0.001, per_token=0.01)
    modelled = Modelled(FirstSentence(), profile)
    cold, warm = (timed(modelled, usage) for usage in (TokenUsage(1000), TokenUsage(100, cache_read=900)))
    assert cold.call.pieces[0] == 0.1 + 1.0
    assert warm.call.pieces[0] == 0.1 + 0.1
    assert cold.text == warm.text == asyncio.run(FirstSentence()(ASKED.prompt, 0, None)).text
    assert warm.call.seconds == warm.call.pieces[-1]


def test_of_any_other_generator_the_call_says_it():
    assert timed(Paced(pieces=3, every=0.5), TokenUsage(1000)).call.pieces == (0.5, 1.0, 1.5)
