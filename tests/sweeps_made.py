"""Threshold sweeps made by hand and by chance, for whatever reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.serving.arrivals import Arrival
from evalkit.serving.layers.semantic import Guard
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.thresholds.swept import MISS, Setting, ThresholdSweep


def settings(
    thresholds: Sequence[float | Threshold | Verified], ttl: float | None = None, guard: Guard = "none"
) -> tuple[Setting, ...]:
    rules = [t if isinstance(t, Threshold | Verified) else Threshold(t) for t in thresholds]
    return tuple(Setting(rule, ttl, guard) for rule in rules)


def asked(intents: Sequence[str], **fields: Sequence[str]) -> list[Arrival]:
    """Requests a second apart, each with its intent's name as its text and answer unless `fields` say otherwise."""
    return [
        Arrival(**{"text": one, "answer": one, **{k: v[i] for k, v in fields.items()}}, at=float(i), intent=one)
        for i, one in enumerate(intents)
    ]


def by_hand(
    rows: Sequence[Sequence[int]],
    intents: Sequence[str],
    thresholds: Sequence[float] = (),
    seconds: Sequence[float] = (),
    usd: Sequence[float] = (),
    **fields: Sequence[str],
) -> ThresholdSweep:
    """A sweep whose decisions are written down: for each setting, whose answer each request is given."""
    at = thresholds if thresholds else [1 - i / 100 for i in range(len(rows))]
    return ThresholdSweep(
        asked(intents, **fields), settings(at), np.array(rows, dtype=np.int32),
        seconds=np.array(seconds, dtype=np.float64), usd=np.array(usd, dtype=np.float64),
    )  # fmt: skip


def fixed_entries(
    scores: Sequence[float], right: Sequence[bool], thresholds: Sequence[float], groups: int = 40
) -> ThresholdSweep:
    """A sweep over entries that do not depend on the threshold: one a group, and one that is wrong for everybody."""
    kept = [Arrival(f"group {g}", intent=f"i{g}", answer="a") for g in range(groups)]
    arrivals = [Arrival(f"question {i}", float(i), intent=f"i{i % groups}", answer="a") for i in range(len(scores))]
    own = np.arange(len(scores)) % groups
    best = np.where(right, own, (own + 1) % groups).astype(np.int32)
    given = np.where(np.asarray(scores)[None] >= np.asarray(thresholds)[:, None], best, MISS).astype(np.int32)
    n = len(scores)
    return ThresholdSweep(
        arrivals, settings(thresholds), given, tuple(kept), np.full(n, 0.5), np.full(n, 0.002), "modelled"
    )


def by_chance(n: int, thresholds: Sequence[float], seed: int = 0, groups: int = 40) -> ThresholdSweep:
    """`fixed_entries` of similarities by chance: near ones are mostly right, and some groups are harder."""
    draw = np.random.default_rng([seed, n])
    scores = np.round(1 - draw.beta(1.0, 6.0, n), 4)
    hard = draw.random(groups)[np.arange(n) % groups]
    right = draw.random(n) < 1 - hard * (1 - scores) * 2
    return fixed_entries(scores.tolist(), right.tolist(), thresholds, groups)
