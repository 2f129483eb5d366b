"""What routing and prompt caching save together, with intervals, and the figure of where their sum goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.llm.prompt_cache.switched import HOUR, Switching
from evalkit.metrics.base import Estimate
from evalkit.metrics.statistics.resampling import bootstrap_means, column_sums
from evalkit.reporting.canvas import INK, PALETTE, REST, WIDTH, canvas, title, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (PALETTE[0], PALETTE[0], REST, PALETTE[1], PALETTE[3], PALETTE[2])


def saving_intervals(
    found: Switching, *, seconds: float = HOUR, seed: int = 0, level: float = 0.95, resamples: int = 10_000
) -> dict[str, Estimate]:
    """Return `Switching.savings` and the share that switching costs, each with its interval.

    A bill follows from its trace without chance, but the trace is a sample of what may come. Stretches of time are
    drawn with replacement, the same for every bill, so that differences are paired, and each share is that of the
    drawn sums; see `Switching.blocks`.

    Parameters
    ----------
    found : Switching
    seconds : float
        Of a stretch: at least the TTL.
    seed, level, resamples
        As for `mean_intervals`; the method is its "expanded".

    Returns
    -------
    {name: Estimate}
        The names of `Switching.savings`, as shares of the baseline without caching, and ``switching costs``, as a
        share of the routed trace as if models shared a cache.

    Raises
    ------
    InputError
        If prompts cost nothing.

    Notes
    -----
    Measured on 30 generated days of 6,000 requests, nominal 95 %, one-hour stretches, TTLs of 5 minutes and an hour.
    Where days differ by chance alone, each interval covers the mean of all days on 29 or 30 of them: mostly it is
    wider than it need be, since hours of a day differ. Where each day has other popular questions, the cost of
    switching is still covered on 26 and 30 days, but what routing saves on 12, and what an hour's caching saves on 6:
    one day does not show how days differ. Give several days where they do, with ``seconds=86400``.
    """
    without = found.plain[found.baseline].prompts
    cached, routed, shared = found.single[found.baseline].prompts, found.routed.prompts, found.shared.prompts
    routing, caching = without - found.uncached.prompts, without - cached
    columns = {
        "routing saves": routing, "caching saves": caching, "added up": routing + caching,
        "counted twice": without - shared - routing - caching, "lost by switching": shared - routed,
        "together": without - routed, "switching costs": routed - shared,
    }  # fmt: skip
    sums = column_sums(np.column_stack([without, shared]))
    if not sums.all():
        raise InputError("saving_intervals: the prompts cost nothing; there is no share to state")
    of = [int(name == "switching costs") for name in columns]
    blocks = found.blocks(seconds)
    drawn = bootstrap_means(
        np.column_stack([*columns.values(), without, shared]), seed=seed, resamples=resamples, clusters=blocks
    )
    shares = drawn[:, :-2] / drawn[:, -2:][:, of]
    groups = np.unique(blocks).size
    low, high = _expanded(shares, groups, level) if groups > 1 else np.array([[-np.inf], [np.inf]])
    values = column_sums(np.column_stack(list(columns.values()))) / sums[of]
    label = f"expanded, {groups} clusters, {resamples} resamples" if groups > 1 else "no interval from one cluster"
    lows, highs = np.broadcast_to(low, values.shape), np.broadcast_to(high, values.shape)
    return {
        name: Estimate(float(values[i]), float(lows[i]), float(highs[i]), without.size, label, level)
        for i, name in enumerate(columns)
    }


def _expanded(draws: Array, groups: int, level: float) -> Array:
    """Quantiles of each column, widened to what Student's t asks for: shape (2, columns); see `mean_intervals`."""
    from scipy.stats import norm, t

    tail = float(norm.cdf(-t.ppf((1 + level) / 2, groups - 1) * np.sqrt(groups / (groups - 1))))
    return np.asarray(np.quantile(draws, [tail, 1 - tail], axis=0))


def saving_bridge(found: Switching | Mapping[str, Switching], *, seconds: float = HOUR, seed: int = 0) -> Figure:
    """Draw what routing and caching promise, what of it is counted twice or lost by switching, and what is left.

    Parameters
    ----------
    found : Switching, or {name: Switching}
        A panel each.
    seconds, seed
        As for `saving_intervals`; bars are 95 % intervals.

    Raises
    ------
    InputError
        If there is none.
    """
    panels = {"": found} if isinstance(found, Switching) else dict(found)
    if not panels:
        raise InputError("saving_bridge: nothing to draw; give what price_switching returns")
    with canvas(WIDTH, 3.6) as figure:
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
        for axes, (name, one) in zip(grid, panels.items(), strict=True):
            _bridge(axes, saving_intervals(one, seconds=seconds, seed=seed))
            axes.set_title(f"{name}: {one.placement}" if name else str(one.placement))
        first = next(iter(panels.values()))
        grid[0].set_ylabel(f"% of {first.baseline}, no caching")
        words = "What routing and prompt caching save, one by one and together, with 95 % intervals"
        figure.suptitle(title(f"{words}; {len(first.choice):,} prompts"), x=0.01, ha="left")
    return figure


def _bridge(axes: Axes, spans: Mapping[str, Estimate]) -> None:
    """A bar from what the bars before it come to; sums stand on zero."""
    names = [name for name in spans if name != "switching costs"]
    reached = 0.0
    for place, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
        span, total = spans[name], name in ("added up", "together")
        begin = 0.0 if total else reached
        reached = begin + span.value
        axes.bar(place, 100 * span.value, bottom=100 * begin, width=0.62, color=colour)
        ends = [[100 * (span.value - span.low)], [100 * (span.high - span.value)]]
        axes.errorbar(place, 100 * reached, yerr=ends, fmt="none", ecolor=INK, capsize=3, linewidth=1)
        top = 100 * max(begin, begin + span.high, reached)
        axes.annotate(
            f"{100 * span.value:.1f}",
            (place, top),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.axhline(100, color=REST, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xticks(range(len(names)), list(wrapped(names, 10).values()), fontsize=8.5)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.12)
