"""Was it right to answer from a cache? By intents and reference answers, never by eye."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError, nearest
from evalkit.metrics import (
    CacheMetric,
    CachePrecision,
    CacheRecall,
    FalseHitRate,
    HitRate,
    Lookups,
    ServedWrong,
    TokenF1,
    WrongShare,
)
from evalkit.metrics.statistics import proportion_interval
from evalkit.serving.results.batches import means
from evalkit.serving.results.outcomes import Outcome

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.serving.results.outcomes import Replay

_OF_JUDGED: tuple[CacheMetric, ...] = (
    WrongShare(), ServedWrong(), CachePrecision(), CacheRecall(), FalseHitRate()
)  # fmt: skip
_COLUMNS = ["kind", "metric", "value", "low", "high", "n", "of", "unit", "origin"]


def judge(outcome: Outcome, maker: Outcome | None) -> tuple[bool | None, bool | None]:
    """Say of a hit whether it was wrong, and whether it was only outdated.

    Right is an answer that was made for the same tenant, intent and reference answer. One of the same intent whose
    reference answer has changed since is stale, and wrong; one of another intent (a trap's is ``fee!0``, and not
    ``fee``) or another tenant is wrong.

    Parameters
    ----------
    outcome : Outcome
    maker : Outcome or None
        Of the request that made the entry; None where it is of another run.

    Returns
    -------
    wrong, stale : bool or None
        None: nothing says so, for want of the maker or of a label.
    """
    if maker is None:
        return None, None
    asked, made = outcome.arrival, maker.arrival
    if asked.tenant != made.tenant:
        return True, False
    if not asked.intent or not made.intent:
        return None, None
    if asked.intent != made.intent:
        return True, False
    if bool(asked.answer) != bool(made.answer):
        return None, None
    stale = asked.answer != made.answer
    return stale, stale


def scores(outcomes: Sequence[Outcome], warm: Sequence[Outcome] = ()) -> dict[str, Any]:
    """Return for every request whether it was a ``wrong`` and a ``stale`` hit; None for none, or if nobody knows."""
    makers = {str(outcome.number): outcome for outcome in (*warm, *outcomes)}
    wrong = np.full(len(outcomes), None, dtype=object)
    stale = wrong.copy()
    for row, outcome in enumerate(outcomes):
        if "hit" in outcome.notes:
            wrong[row], stale[row] = judge(outcome, makers.get(str(outcome.notes.get("made_by", ""))))
    return {"wrong": wrong, "stale": stale}


def should_hit(outcomes: Sequence[Outcome], warm: Sequence[Outcome] = ()) -> Array:
    """Return for every request whether a right answer was to be had from before.

    It was where an earlier request of the same tenant, intent and reference answer had been answered when this one
    came.
    """
    first: dict[tuple[str, str, str], float] = {}
    found: dict[int, bool] = {}
    for outcome in sorted((*warm, *outcomes), key=lambda o: o.number):
        key = (outcome.arrival.tenant, outcome.arrival.intent, outcome.arrival.answer)
        found[outcome.number] = bool(outcome.arrival.intent) and first.get(key, math.inf) <= outcome.arrived
        if outcome.outcome == "answered":
            first[key] = min(first.get(key, math.inf), outcome.ended)
    return np.array([found[outcome.number] for outcome in outcomes], dtype=np.bool_)


def lookups(replay: Replay, kind: str | None = None, *, clustered: bool = False) -> Lookups:
    """Return what the caches did with the requests that can be judged; see `Replay.lookups`."""
    rows = replay.per_request
    hit, wrong = (rows["hit"] != "").to_numpy(), rows["wrong"].to_numpy()
    known = ~hit & (rows["intent"] != "").to_numpy()
    known[hit] = [one is not None for one in wrong[hit]]
    if kind is not None:
        known &= _of_kind(replay, kind)
    right = hit & (wrong == False)  # noqa: E712 - of an array that holds None too
    should = should_hit(replay.outcomes, replay.warm) | right  # also one that was made while this one waited
    clusters = (rows["tenant"] + "\0" + rows["intent"]).to_numpy() if clustered else None
    return Lookups(hit[known], right[known], should[known], None if clusters is None else clusters[known])


def caching(replay: Replay, *, clustered: bool = False) -> pd.DataFrame:
    """What caches answered, rightly or not, and what that saved; see `Replay.caching`."""
    import pandas as pd

    kinds = [kind for kind in dict.fromkeys(replay.per_request["kind"]) if kind]
    rows: list[tuple[Any, ...]] = []
    for kind in [None, *kinds]:
        label = "all" if kind is None else kind
        rows += [(label, *row, replay.origin) for row in _caching(replay, kind, clustered)]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _caching(replay: Replay, kind: str | None, clustered: bool) -> list[tuple[Any, ...]]:
    """Rows of one kind of request: metric, value, low, high, n, of, unit."""
    chosen = replay.per_request if kind is None else replay.per_request[_of_kind(replay, kind)]
    hit, size = (chosen["hit"] != "").to_numpy(), len(chosen)
    found = [_share(str(HitRate()), int(hit.sum()), size, "requests")]
    levels = dict.fromkeys(chosen["hit"][hit])
    found += [_share(f"{HitRate()}: {x}", int((chosen["hit"] == x).sum()), size, "requests") for x in sorted(levels)]
    unknown = sum(one is None for one in chosen["wrong"][hit])
    found.append(_share("unjudged", unknown, int(hit.sum()), "hits"))
    judged = lookups(replay, kind, clustered=clustered)
    for metric in _OF_JUDGED:
        e = metric.of(judged)
        of = metric.definition.denominator
        of = "judged hits" if of == "hits" else f"judged {of.removeprefix('all ')}"
        found.append((str(metric), e.value, e.low, e.high, e.n, of, ""))
    stale = int(sum(one is True for one in chosen["stale"][hit]))
    found.append(_share("stale", stale, int(hit.sum()) - unknown, "judged hits"))
    saved = means(chosen[["saved_usd", "saved_ms"]].to_numpy() * [1.0, 1e-3])
    for unit, e in zip(("$", "s"), saved, strict=True):
        # a sum, and where it would have been for other requests of the kind: n times the mean's interval
        found.append((f"saved {unit}", size * e.value, size * e.low, size * e.high, size, "requests", unit))
    return found


def _share(name: str, events: int, n: int, of: str) -> tuple[Any, ...]:
    e = proportion_interval(events, n)
    return name, e.value, e.low, e.high, e.n, of, ""


def _of_kind(replay: Replay, kind: str) -> Array:
    kinds = replay.per_request["kind"]
    if kind not in set(kinds):
        raise InputError(f"no request of kind '{kind}'{nearest(kind, set(kinds))}")
    mask: Array = (kinds == kind).to_numpy()
    return mask


def quality(outcomes: Sequence[Outcome]) -> Array:
    """Return `TokenF1` of every request's answer against its reference answer; see `Replay.quality`."""
    metric, known = TokenF1(), dict[tuple[str, str], float]()
    found = np.full(len(outcomes), math.nan)
    for row, outcome in enumerate(outcomes):
        if reference := outcome.arrival.answer:
            pair = (outcome.answers.text[0] if outcome.answers is not None else "", reference)
            if pair not in known:
                known[pair] = metric.pair(*pair)
            found[row] = known[pair]
    return found
