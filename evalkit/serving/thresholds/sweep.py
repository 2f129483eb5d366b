"""All thresholds in one pass: what a semantic cache would do with traffic under every threshold, TTL and guard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from evalkit.columns import Array
from evalkit.datasets import Dataset, Traffic
from evalkit.datasets.traffic import Ingestion
from evalkit.errors import InputError
from evalkit.progress import progress
from evalkit.serving.arrivals import Arrival, arrivals_of
from evalkit.serving.layers.semantic import Guard, SemanticCache
from evalkit.serving.results.outcomes import Replay
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.thresholds.asked import prepare
from evalkit.serving.thresholds.deciding import decide
from evalkit.serving.thresholds.swept import Setting, ThresholdSweep
from evalkit.types import Origin, Store
from evalkit.variants import Variant


def threshold_sweep(
    traffic: Traffic | Sequence[Arrival],
    thresholds: Sequence[float | Threshold | Verified],
    *,
    ttls: Sequence[float | None] | None = None,
    guards: Sequence[Guard] | None = None,
    cache: SemanticCache | None = None,
    calls: Replay | ArrayLike = 0.0,
    variant: Variant | None = None,
    data: Dataset | None = None,
    events: Sequence[Ingestion] = (),
    precomputed: Sequence[Arrival] = (),
    answers: Sequence[str] | None = None,
    store: Store | None = None,
) -> ThresholdSweep:
    """Say what a semantic cache would have done with every request, for every threshold, TTL and guard.

    The decisions are those of a replay of each setting, not estimates: which requests hit, and whose answer they get,
    given that the index is exact, nothing is evicted, and a miss can be found as long after it was asked as `calls`
    says. Similarity is that of the cache itself, so the comparison with a threshold is the same to the bit. (What
    falls on one instant, an answer and a question, a replay may take in either order; here the answer comes first.)

    Parameters
    ----------
    traffic : Traffic or sequence of Arrival
        Requests in order of time. Their intents and reference answers say which hits are wrong. Requests share
        answers within a tenant, and after the same history; in recorded `Traffic` no request has a history (see
        `evalkit.serving.arrivals.with_histories`).
    thresholds : sequence of float, Threshold or Verified
        Numbers are cosines, rounded to 12 places so that steps of 0.1 reach 1. What a `Verified` rule learns from are
        `answers`.
    ttls : sequence of float or None, optional
        In seconds. Default: the cache's.
    guards : sequence of str, optional
        As for `SemanticCache`. Default: the cache's.
    cache : SemanticCache, optional
        What all settings have in common: embedder, ``until``, ``only``. Default: `SemanticCache` with its defaults.
    calls : Replay, float or float array of shape (n,)
        Seconds from when the cache is asked to when an answer that the model gives can be found in it, and what that
        costs. A replay of the same requests without the cache: recorded, for each request its own. The cache is
        then asked when the question's vector was there; seconds that are stated count from the arrival.
    variant : Variant, optional
        Whose retrieval's embedder the cache uses where it names none, and whose prompts say what an answer rests on.
        Without it and without the cache's own embedder: `SentenceTransformer`.
    data : Dataset, optional
        The corpus; its traffic is not looked at.
    events : sequence of Ingestion
        Documents that come and go meanwhile, as for `replay`.
    precomputed : sequence of Arrival
        Entries that are loaded before the traffic, in every setting. They are not asked: of two that are near each
        other both are there, unlike of the ``warm`` requests of a replay, which may hit one another.
    answers : sequence of str, optional
        What the model says to each request. Default: what `calls` recorded, else the reference answer, or the
        intent where there is none.
    store : Store, optional
        Default: the project's.

    Returns
    -------
    ThresholdSweep

    Raises
    ------
    InputError
        If there is no request or no threshold, one is no threshold, or a guard needs what is not given.
    """
    arrivals = arrivals_of(traffic)
    cache = cache if cache is not None else SemanticCache()
    offered: object = thresholds
    if (
        isinstance(offered, str)
        or not isinstance(offered, Sequence | np.ndarray)
        or not np.shape(offered)
        or not len(offered)
    ):
        raise InputError("threshold sweep: no thresholds; name some cosines, or rules, in a list")
    if cache.at != "answer":
        raise InputError(
            "threshold sweep: the cache is at 'retrieve'; sweep one at 'answer', where hits can be wrong"
        )
    settings = _settings(
        thresholds, [cache.ttl] if ttls is None else ttls, [cache.guard] if guards is None else guards, cache
    )
    if not settings:
        raise InputError("threshold sweep: no setting; give at least one threshold, TTL and guard")
    made = _recorded(calls, arrivals, embeds=cache.embedder is None)
    said = made.answers or [a.answer if a.answer else a.intent for a in arrivals]
    told = said if answers is None else list(answers)
    if len(told) != len(arrivals):
        raise InputError(f"threshold sweep: {len(told)} answers for {len(arrivals)} requests; give one each")
    asked = prepare(
        arrivals, precomputed, cache, list(dict.fromkeys(s.guard for s in settings)),
        made.lookups, np.where(made.failed, np.inf, made.seconds),
        [*(p.answer if p.answer else p.intent for p in precomputed), *told],
        variant=variant, data=data, events=events, store=store,
    )  # fmt: skip
    with progress("thresholds", total=len(arrivals)) as bar:
        given = decide(asked, settings, until=cache.until, keeps=cache.only is None, advance=bar.update)
    seconds = np.where(made.failed, math.nan, made.seconds)
    return ThresholdSweep(arrivals, settings, given, tuple(precomputed), seconds, made.usd, made.origin, made.failed)


def _settings(
    thresholds: Sequence[float | Threshold | Verified],
    ttls: Sequence[float | None],
    guards: Sequence[Guard],
    cache: SemanticCache,
) -> tuple[Setting, ...]:
    """Every combination, each checked as the cache that it stands for."""
    rules = [t if isinstance(t, Threshold | Verified) else _threshold(t) for t in thresholds]
    every = [Setting(rule, ttl, guard) for guard in guards for ttl in ttls for rule in rules]
    for one in every:
        replace(cache, rule=one.rule, ttl=one.ttl, guard=one.guard)
    return tuple(dict.fromkeys(every))


def _threshold(at: object) -> Threshold:
    try:
        return Threshold(round(float(at), 12))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"threshold sweep: {at!r} is no threshold; give a cosine, or a rule") from None


class _Calls(NamedTuple):
    """What every request's call takes and costs, from when the cache would be asked; arrays of shape (n,)."""

    lookups: Array
    seconds: Array
    usd: Array
    failed: Array
    answers: list[str]
    origin: Origin


def _recorded(calls: Replay | ArrayLike, arrivals: Sequence[Arrival], *, embeds: bool) -> _Calls:
    """Read what the calls take. In a replay the cache would be asked when the question's vector is there."""
    come = np.array([a.at for a in arrivals])
    if not isinstance(calls, Replay):
        try:
            stated = np.asarray(calls, dtype=np.float64)
        except (TypeError, ValueError):
            stated = np.full(1, math.nan)
        if stated.shape not in ((), (len(arrivals),)) or not (np.isfinite(stated) & (stated >= 0)).all():
            raise InputError(
                f"threshold sweep: calls of shape {stated.shape} for {len(arrivals)} requests; give seconds from 0, "
                "one for all or one for each, or a replay"
            )
        seconds = np.array(np.broadcast_to(stated, len(arrivals)))
        unknown = np.full(len(arrivals), math.nan)
        return _Calls(come, seconds, unknown, np.zeros(len(arrivals), dtype=np.bool_), [], "modelled")
    rows = calls.per_request
    if list(rows["text"]) != [a.text for a in arrivals]:
        raise InputError("threshold sweep: calls are of other requests; replay this traffic without the cache")
    if (rows["hit"] != "").any():
        raise InputError("threshold sweep: calls are of a replay with a cache; replay this traffic without it")
    failed = (rows["outcome"] != "answered").to_numpy()
    lookups = come
    if embeds:
        ends = [[e.end for e in o.events if e.name == "embed" and e.kind == "work"] for o in calls.outcomes]
        lookups = np.array([min(found, default=math.nan) - calls.start for found in ends])
        lookups = np.where(np.isnan(lookups) & ~failed, come, lookups)  # nothing was embedded: one without documents
    seconds = np.maximum(rows["ended"].to_numpy() - lookups, 0.0)
    usd = rows["usd"].to_numpy(dtype=np.float64)
    return _Calls(lookups, seconds, usd, failed, list(rows["answer"]), calls.origin)
