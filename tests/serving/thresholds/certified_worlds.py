"""Sweeps with known truth: popular entries by Zipf's law, conversations, and wrong answers as often as is said."""

from __future__ import annotations

import numpy as np

from evalkit.serving.arrivals import Arrival
from evalkit.serving.semantic.decisions import Threshold
from evalkit.serving.thresholds.swept import MISS, Setting, ThresholdSweep

ENTRIES = 400


class World:
    """Traffic of `n` requests, in which the requests themselves are drawn once, and what a cache gives every time.

    A request asks for the intent of one of 400 precomputed entries, or, where it is to be given a wrong answer, for
    one that no entry has.
    """

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        popularity = 1 / np.arange(1, ENTRIES + 1)
        self.entry = rng.choice(ENTRIES, n, p=popularity / popularity.sum())
        lengths = np.where(rng.random(n) < 0.7, 1, rng.integers(2, 8, n))
        talk = np.repeat(np.arange(n), lengths)[:n]
        self.variants = [
            [
                Arrival(
                    "q", at=float(i), intent=intent, answer=intent,
                    kind="trap: negation" if i % 5 == 0 else "paraphrase",
                    conversation=str(talk[i]) if lengths[talk[i]] > 1 else "",
                )
                for intent in (f"i{e}", f"i{e}!0")
            ]
            for i, e in enumerate(self.entry.tolist())
        ]  # fmt: skip
        self.precomputed = tuple(Arrival("q", intent=f"i{e}", answer=f"i{e}") for e in range(ENTRIES))

    def sweep(self, wrong, hits, rules=None, guards=("corpus",)):
        """Return a sweep; `wrong` is bool of shape (n,), `hits` of shape (settings, n), a guard after the other."""
        arrivals = [pair[int(bad)] for pair, bad in zip(self.variants, wrong, strict=True)]
        each = len(hits) // len(guards)
        rules = rules or [Threshold(1 - k / 100) for k in range(each)]
        settings = tuple(Setting(rule, None, guard) for guard in guards for rule in rules)
        given = np.where(hits, self.entry, MISS).astype(np.int32)
        return ThresholdSweep(arrivals, settings, given, self.precomputed)

    def bad(self, kind, share, rng):
        """Draw what is wrong where the cache answers: of one hit in `1 / share`, alone or entry by entry."""
        if kind == "independent":
            return rng.random(len(self.entry)) < share
        if kind == "all or none":
            return (rng.random(ENTRIES) < share)[self.entry]
        return (rng.random(len(self.entry)) < 0.5) & (rng.random(ENTRIES) < 2 * share)[self.entry]

    def halves(self):
        """Return masks of dev and test: the first third of the requests and the rest."""
        first = np.arange(len(self.entry)) < len(self.entry) // 3
        return first, ~first
