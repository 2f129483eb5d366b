"""Outcomes made by chance, with a signal of known strength in a score."""

from __future__ import annotations

import numpy as np

from evalkit.serving.routers.outcomes import RecordedOutcomes


def made(n=200, seed=0, strength=1.0, gap=0.25):
    """Outcomes of two models, and a score that tells what the weak one gets wrong."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=n)
    weak = hard + rng.normal(size=n) < 0.3
    strong = weak & (rng.random(n) < 0.9) | ~weak & (rng.random(n) < 2.2 * gap)
    usd = np.column_stack([rng.uniform(1, 2, n), rng.uniform(20, 60, n)]) * 1e-4
    texts = tuple(f"question {i}" for i in range(n))
    answers = tuple((f"weak {i}", f"strong {i}") for i in range(n))
    quality = np.column_stack([weak, strong]).astype(float)
    outcomes = RecordedOutcomes("made", ("weak", "strong"), texts, answers, quality, usd)
    return outcomes, strength * hard + rng.normal(size=n)
