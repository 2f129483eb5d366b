"""When an answer's pieces come: as its call says, or drawn from a profile for what this server's cache held."""

from __future__ import annotations

from dataclasses import replace

from evalkit.calls import Call, TokenUsage
from evalkit.llm.latency.profiles import find_profile
from evalkit.llm.messages import with_marks
from evalkit.llm.modelled import Modelled
from evalkit.llm.server.wire import Asked
from evalkit.llm.tokens import estimate_tokens
from evalkit.types import Clock, Generator
from evalkit.values import Answer


async def generated(generator: Generator, asked: Asked, sample: int, charged: TokenUsage, clock: Clock) -> Answer:
    """Ask a generator.

    Of a `Modelled` one the profile counts, with the tokens that were really read from the cache of the server and
    those that were not: what the generator itself supposes of a cache is passed over.

    Parameters
    ----------
    generator : Generator
    asked : Asked
    sample : int
    charged : TokenUsage
        For the prompt.
    clock : Clock
        On which modelled time passes at once: the answer is sent at its times, and not before.
    """
    if not isinstance(generator, Modelled):
        return await generator(asked.prompt, sample, clock)
    answer = await generator.generator(asked.prompt, sample, clock)
    profile, noise = find_profile(generator.profile), generator.noise(asked.prompt, sample)
    first = profile.draw_first(charged.uncached, charged.cache_read, noise)
    output = estimate_tokens(with_marks(answer.text, answer.cited, asked.prompt.sources), asked.model)
    pieces = profile.draw_pieces(first, output, noise)
    return replace(answer, call=Call(asked.model, pieces=pieces, seconds=pieces[-1] if pieces else first))
