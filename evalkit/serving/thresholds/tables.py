"""What every setting of a semantic cache answers, how often wrongly, and what it saves: one row each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.metrics import Estimate
from evalkit.metrics.statistics.two_way import Crossed
from evalkit.serving.semantic.decisions import Threshold
from evalkit.serving.thresholds.swept import ThresholdSweep

if TYPE_CHECKING:
    import pandas as pd

SHARES = ("hit_rate", "valid_hit_rate", "wrong_share", "served_wrong", "stale_share")
"""Shares in a table, each followed by the ends of its interval."""
OF_THE_HIT_RATE = 0.1
"""Share of the error that the hit rate gets in the interval of wrong answers among all, as in a certificate."""
ALL = "all"
"""The kind of the row that holds every request."""


def table(
    sweep: ThresholdSweep,
    where: Array | None = None,
    kinds: bool = False,
    *,
    lookup_s: float = 0.0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return what each setting answered, how often wrongly, and what it saved.

    Parameters
    ----------
    sweep : ThresholdSweep
    where : bool array of shape (n,), optional
        Only these requests. The decisions stay those of the whole traffic.
    kinds : bool
        Whether every kind of request, and all traps together, have rows of their own.
    lookup_s : float
        Seconds that asking the cache takes each request, hit or miss.
    level : float
        Of the intervals.

    Returns
    -------
    DataFrame
        A row a setting, or one a setting and kind:

        - ``setting`` (its position), ``label``, ``rule``, ``threshold`` (as a cosine; nan for `Verified`), ``ttl`` in
          seconds (infinite: for ever), ``guard``, ``kind``;
        - counts: ``requests``, ``unjudged`` (nobody knows if the answer they got is right), ``hits``, and ``wrong``
          and ``stale`` ones among the judged;
        - shares: ``hit_rate`` (of requests that got an answer: the others are in no share), ``valid_hit_rate`` (right
          hits) and ``served_wrong`` (wrong ones, both of judged requests), ``wrong_share`` and ``stale_share`` (of
          judged hits);
        - what hits saved, the calls in whose place they were given: ``saved_usd_per_1000`` requests, ``saved_usd`` in
          total, ``saved_ms`` a request, ``saved_s`` in total; and, with ``right_`` before them, of the hits that are
          known to be right. Nan where a price or time is not known;
        - ``mean_ms`` of a request: the look-up, and the call where there is one;
        - ``origin`` of times and prices.

        Every share and mean is followed by its ``_low`` and ``_high``. Requests that got one entry, and those of one
        conversation, are not taken to be independent (`two_way_proportion_interval`). Of wrong answers among all the
        ends are those of the wrong hits times those of the hit rate, as in a certificate: a miss, which cannot be
        wrong, would pass for an entry that was seen to be right.

    Raises
    ------
    InputError
        If `where` does not fit the traffic, `lookup_s` is no time, or `level` is none.
    """
    import pandas as pd

    if not (0 <= lookup_s < math.inf and 0 < level < 1):
        raise InputError(f"table: lookup_s is {lookup_s}, seconds from 0; level is {level}, above 0 and below 1")
    every = chosen(sweep, where)
    parts = {ALL: every, **({kind: every & sweep.of_kind(kind) for kind in _kinds(sweep)} if kinds else {})}
    talks = {kind: np.unique(sweep.conversations[mask], return_inverse=True)[1] for kind, mask in parts.items()}
    rows = [
        {**_named(sweep, setting), "kind": kind, **_row(sweep, setting, mask, talks[kind], lookup_s, level)}
        for setting in range(len(sweep.settings))
        for kind, mask in parts.items()
    ]
    return pd.DataFrame(rows).assign(origin=sweep.origin)


def chosen(sweep: ThresholdSweep, where: Array | None, name: str = "where") -> Array:
    """Return which requests are looked at: bool of shape (n,), all of them where nothing is said.

    `name` is what an error calls `where`.

    Raises
    ------
    InputError
        If `where` is not one bool a request.
    """
    if where is None:
        return np.ones(len(sweep.arrivals), dtype=np.bool_)
    mask = np.asarray(where)
    if mask.shape != (len(sweep.arrivals),) or mask.dtype != np.bool_:
        raise InputError(
            f"threshold sweep: {name} has shape {mask.shape} and type {mask.dtype}; "
            f"give a bool for each of the {len(sweep.arrivals)} requests"
        )
    return mask


def _kinds(sweep: ThresholdSweep) -> Iterator[str]:
    """Yield all kinds, and before the first of several kinds of traps, ``trap``: all of them."""
    kinds = sweep.kinds()
    traps = [kind for kind in kinds if kind.startswith("trap:")]
    for kind in kinds:
        if len(traps) > 1 and kind == traps[0]:
            yield "trap"
        yield kind


def _named(sweep: ThresholdSweep, setting: int) -> dict[str, Any]:
    one = sweep.settings[setting]
    return {
        "setting": setting,
        "label": sweep.label(setting),
        "rule": one.rule_label,
        "threshold": one.rule.least_cosine if isinstance(one.rule, Threshold) else math.nan,
        "ttl": math.inf if one.ttl is None else float(one.ttl),
        "guard": one.guard,
    }


def shares(sweep: ThresholdSweep, setting: int, where: Array, level: float = 0.95) -> dict[str, Estimate]:
    """Return the shares of a table for one setting and some requests, by name."""
    talks = np.unique(sweep.conversations[where], return_inverse=True)[1]
    return _shares(sweep, setting, where, Crossed(sweep.entries(setting)[where], talks), level)


def events(sweep: ThresholdSweep, setting: int, where: Array) -> dict[str, tuple[Array, Array]]:
    """Return what is counted for each share, and among what: two bool arrays, one element a request looked at."""
    names = ("hit", "answered", "judged", "wrong", "stale")
    hit, answered, judged, wrong, stale = (getattr(sweep, name)[setting][where] for name in names)
    known = hit & judged
    return {
        "hit_rate": (hit, answered), "valid_hit_rate": (known & ~wrong, judged),
        "wrong_share": (wrong, known), "served_wrong": (wrong, judged), "stale_share": (stale, known),
    }  # fmt: skip


def _shares(sweep: ThresholdSweep, setting: int, where: Array, crossed: Crossed, level: float) -> dict[str, Estimate]:
    pairs = events(sweep, setting, where)
    counted = {name: crossed.share(*pairs[name], alike=name in ("wrong_share", "stale_share")) for name in SHARES}
    found = {name: share.at(level) for name, share in counted.items()}
    judged, known = pairs["served_wrong"][1], pairs["wrong_share"][1]
    part = crossed.share(known, judged).at(1 - (1 - level) * OF_THE_HIT_RATE)
    wrong = counted["wrong_share"].at(1 - (1 - level) * (1 - OF_THE_HIT_RATE))
    ends = wrong.low * part.low, wrong.high * part.high
    return found | {"served_wrong": replace(found["served_wrong"], low=ends[0], high=ends[1], method=wrong.method)}


def _row(
    sweep: ThresholdSweep, setting: int, where: Array, conversations: Array, lookup_s: float, level: float
) -> dict[str, Any]:
    """Counts, shares and savings of one setting for some requests."""
    crossed = Crossed(sweep.entries(setting)[where], conversations)
    counted = events(sweep, setting, where)
    (hit, answered), (right, judged), (wrong, _) = (counted[n] for n in SHARES[:3])
    found: dict[str, Any] = {
        "requests": len(hit), "unjudged": int((answered & ~judged).sum()), "hits": int(hit.sum()),
        "wrong": int(wrong.sum()), "stale": int(counted["stale_share"][0].sum()),
    }  # fmt: skip
    for name, share in _shares(sweep, setting, where, crossed, level).items():
        found |= spread(name, share)
    seconds, usd = sweep.seconds[where], sweep.usd[where]
    for name, given in (("", hit), ("right_", right)):
        for values, each, scale, total in ((usd, "usd_per_1000", 1e3, "usd"), (seconds, "ms", 1e3, "s")):
            mean = crossed.mean(np.where(given, values, 0.0), level)
            found |= spread(f"{name}saved_{each}", mean, scale)
            found |= spread(f"{name}saved_{total}", mean, float(len(hit)))
    return found | spread("mean_ms", crossed.mean(lookup_s + np.where(hit, 0.0, seconds), level), 1e3)


def spread(name: str, estimate: Estimate, scale: float = 1.0) -> dict[str, float]:
    """Return an estimate as columns of a table."""
    return {
        name: estimate.value * scale,
        f"{name}_low": estimate.low * scale,
        f"{name}_high": estimate.high * scale,
    }
