"""Times of arrival: drawn at random, or taken from a recorded trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from evalkit.columns import Array
from evalkit.datasets.intents import Intent
from evalkit.datasets.traffic import Traffic
from evalkit.errors import InputError


def poisson(n: int, rate: float, *, seed: int) -> Array:
    """Draw the times at which the first `n` requests of a Poisson process arrive.

    Gaps are exponential, by the inverse of their distribution. Only ``random()`` of a PCG64 stream is used, so that a
    seed gives the same times under every version of NumPy.

    Parameters
    ----------
    n : int
    rate : float
        Requests a second, on average.
    seed : int

    Returns
    -------
    float64 array of shape (n,)
        Seconds from the start, rising; the first request comes after a gap.

    Raises
    ------
    InputError
        If `n` is negative, or `rate` not above 0 and finite.
    """
    return _arrivals(n, rate, _random(seed))


def _random(seed: int) -> Callable[[], float]:
    return np.random.Generator(np.random.PCG64(seed)).random


def _arrivals(n: int, rate: float, random: Callable[[], float]) -> Array:
    if n < 0 or not 0 < rate < math.inf:
        raise InputError(f"arrivals: n must be at least 0, and rate above 0 and finite, not {n} and {rate}")
    return np.array(list(accumulate(-math.log1p(-random()) / rate for _ in range(n))), dtype=np.float64)


def follow(traffic: Traffic, trace: Traffic) -> Traffic:
    """Give the requests of one traffic the times and token counts of another.

    Rows are paired in order of arrival, and the shorter of the two ends it. All else stays, so answers are those of
    the times before: right for intents whose answers do not change.

    Parameters
    ----------
    traffic : Traffic
        Who asks what.
    trace : Traffic
        When, and how many tokens: a recorded trace.

    Returns
    -------
    Traffic
    """
    n = min(len(traffic), len(trace))
    timed = trace.take(range(n))
    return replace(
        traffic.take(range(n)),
        at=timed.at,
        prompt_tokens=timed.prompt_tokens,
        answer_tokens=timed.answer_tokens,
    )


def intent_traffic(intents: Mapping[str, Intent], *, rate: float, seed: int) -> Traffic:
    """Make traffic that asks every text of every intent exactly once, in random order.

    Every wording comes with the answer of its intent, a trap with its own. Where the answer changes when a document
    comes in, it is the newer one.

    Parameters
    ----------
    intents : {name: Intent}
        Their order does not matter.
    rate : float
        Requests a second, on average; arrivals are a Poisson process.
    seed : int

    Returns
    -------
    Traffic

    Raises
    ------
    InputError
        If `rate` is not above 0 and finite.
    """
    random = _random(seed)
    requests = [request for _, intent in sorted(intents.items()) for request in _requests(intent)]
    shuffled = [r for _, r in sorted(((random(), r) for r in requests), key=lambda drawn: drawn[0])]
    times = _arrivals(len(requests), rate, random)
    return Traffic.of([{**request, "at": at} for request, at in zip(shuffled, times.tolist(), strict=True)])


def _requests(intent: Intent) -> Iterator[dict[str, Any]]:
    of = {"tenant": intent.tenant, "intent": intent.name, "answer": intent.answer}
    yield {**of, "text": intent.text, "kind": "canonical"}
    for text in intent.paraphrases:
        yield {**of, "text": text, "kind": "paraphrase"}
    for number, trap in enumerate(intent.traps):
        name = f"{intent.name}!{number}"
        yield {**of, "text": trap.text, "kind": f"trap: {trap.kind}", "intent": name, "answer": trap.answer}
