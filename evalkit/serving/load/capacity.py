"""The highest rate at which a service meets its targets, and what gives way first above it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from evalkit.datasets import Dataset, Traffic
from evalkit.errors import InputError
from evalkit.progress import progress
from evalkit.serving.arrivals import Arrival, ClosedLoop, arrivals_of
from evalkit.serving.load.bottleneck import Spent, first_to_break
from evalkit.serving.load.limits import missed, one_level
from evalkit.serving.load.search import Found, grid_of, pattern_of, search
from evalkit.serving.replay import Cost, replay
from evalkit.serving.results.outcomes import Replay
from evalkit.serving.results.targets import Targets
from evalkit.types import Origin, Store
from evalkit.variants import Service, Variant

if TYPE_CHECKING:
    import pandas as pd


_SPANS = 20
"""How many times the longest limit a replay must last, so that a queue that grows at this rate passes the limit."""


class Trial(NamedTuple):
    """One replay of a search.

    Parameters
    ----------
    seed : int
    rate : float
        Requests a second.
    missed : tuple of str
        The targets that were missed; empty where all hold.
    """

    seed: int
    rate: float
    missed: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Capacity:
    """The highest rate that meets the targets.

    Parameters
    ----------
    rate, low, high : float
        Requests a second, with the ends of a 95 % interval. 0: even the lowest rate misses a target. inf: even the
        highest that was tried meets them all.
    held : {seed: rate}
        The highest rate of each seed that was seen to meet all targets.
    missed : tuple of str
        Targets that are missed just above, the one most seeds miss first.
    broke : str
        The layer or stage that broke first; empty where nothing was seen to. ``cores: search``: requests wait for a
        core, and searching takes them longest.
    share : float
        Its share of all the time that requests gained, or of those that were lost, from far below to just above.
    growth : {name: ms}
        Milliseconds that a request spends longer in each layer or stage, and waiting for cores, just above the rate
        than far below it.
    notes : tuple of str
        What to know of the number: rates at which the targets were not met though they were at a higher one.
    trials : tuple of Trial
    origin : Origin
    """

    rate: float
    low: float
    high: float
    held: Mapping[int, float]
    missed: tuple[str, ...]
    broke: str
    share: float
    growth: Mapping[str, float]
    notes: tuple[str, ...]
    trials: tuple[Trial, ...] = field(repr=False)
    origin: Origin

    @property
    def frame(self) -> pd.DataFrame:
        """One row a trial, by seed and rate: ``seed, rate, held, missed``."""
        import pandas as pd

        rows = [(t.seed, t.rate, not t.missed, ", ".join(t.missed)) for t in sorted(self.trials)]
        return pd.DataFrame(rows, columns=["seed", "rate", "held", "missed"])

    def __str__(self) -> str:
        first = f"{self.rate:.4g} requests/s [{self.low:.4g}, {self.high:.4g}]"
        if self.broke:
            first += f"; first to break: {self.broke} ({self.share:.0%}), missing {', '.join(self.missed)}"
        return "\n".join([first, *self.notes])


def highest_rate(
    service: Service | Variant,
    data: Dataset,
    traffic: Traffic | Sequence[Arrival],
    targets: Targets,
    *,
    level: Literal["target", "acceptable", "maximum"] = "target",
    arrivals: Literal["poisson", "recorded"] = "poisson",
    requests: int | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    between: tuple[float, float] = (0.01, 1000.0),
    tolerance: float = 0.02,
    settle: float = 0.1,
    cores: int = 1,
    cost: Cost | Mapping[str, float] | str | None = None,
    warm: Sequence[Arrival] = (),
    patience: float | None = None,
    store: Store | None = None,
) -> Capacity:
    """Search for the largest rate of arrivals at which all targets hold.

    For each seed the same requests come in the same pattern, only faster or slower: arrivals of rate 1 are drawn once
    and divided by the rate (common random numbers). Rates lie on a grid, each `tolerance` above the one before. The
    seed's rate is the grid's largest that meets the targets whose next one misses some, found by doubling steps and
    bisection. The result is the geometric mean over the seeds. Its interval is Student's t of the logarithms over the
    seeds, from the low end for the rates that held to the high end for those next to them that did not.

    That a service which holds at a rate holds at all lower ones is assumed, and checked at the lowest rate, at a
    quarter and at 0.7 of each seed's rate and a tenth above it; `Capacity.notes` tells where it is not so (a cache
    whose entries die before they are asked again). What broke first is the layer or stage in which requests spend
    most more time a tenth above than at a quarter of the rate; where the targets ask for answers and requests are
    turned away, it is the layer that turns most away.

    Parameters
    ----------
    service : Service or Variant
    data : Dataset
        All its documents are there; none come or go while rates are tried.
    traffic : Traffic or sequence of Arrival
        What is asked, in order. Each seed begins at a place of its own and goes on from the start behind the end.
    targets : Targets
        By the numbers themselves, not their intervals: the spread over seeds says how sure they are.
    level : {"target", "acceptable", "maximum"}
        Which of three limits is to hold, where a target has three.
    arrivals : {"poisson", "recorded"}
        Exponential gaps between arrivals, or the traffic's own, stretched.
    requests : int, optional
        A replay's length. Default: as many as the traffic has. A queue that grows must have the time to: of too few
        requests none waits long. `Capacity.notes` says when the replay lasts less than 20 times the longest limit.
    seeds : sequence of int
        Repeats.
    between : (float, float)
        Lowest and highest rate tried, in requests a second.
    tolerance : float
        Ratio between neighbouring rates of the grid, less 1.
    settle : float
        Share of the first requests that are not looked at: they met an empty service.
    cores, cost, warm, patience, store
        As for `replay`, on the virtual clock.

    Returns
    -------
    Capacity

    Raises
    ------
    InputError
        For a closed loop, whose rate is a result; for no target, seed or request; for rates that do not rise.
    """
    if isinstance(traffic, ClosedLoop):
        raise InputError("highest_rate: in a closed loop the rate is a result; give Traffic or Arrivals")
    asked = arrivals_of(traffic)
    n = len(asked) if requests is None else requests
    check_search(n, seeds, between, tolerance, settle)
    limits = one_level(targets, level)
    grid = grid_of(*between, tolerance)
    origins: list[Origin] = []
    trials: list[Trial] = []

    def at(seed: int, pattern: Sequence[Arrival], rate: float) -> tuple[tuple[str, ...], Replay]:
        made = [replace(arrival, at=arrival.at / rate) for arrival in pattern]
        seen = replay(
            service, data, made, cores=cores, cost=cost, warm=warm, patience=patience, seed=seed, store=store
        )
        begun, settled = seen.outcomes[: int(settle * n)], seen.outcomes[int(settle * n) :]
        seen = replace(seen, outcomes=settled, warm=(*seen.warm, *begun))
        met = missed(seen, limits)
        trials.append(Trial(seed, rate, met))
        origins.append(seen.origin)
        return met, seen

    found: list[Found] = []
    with progress("highest rate", total=len(seeds)) as bar:
        for seed in seeds:
            pattern = pattern_of(asked, n, arrivals, seed)
            found.append(search(partial(at, seed, pattern), grid, found))
            bar.update()
    capacity = _together(seeds, found, tuple(trials), origins[0], grid)
    longest = max((limit / 1e3 for name, (limit,) in limits.limits.items() if name.endswith("_ms")), default=0.0)
    needed = math.ceil(_SPANS * longest * capacity.rate) if capacity.rate < math.inf else 0
    if needed <= n:
        return capacity
    note = f"short: a queue has little time to grow at this rate; give at least {needed:,} requests"
    return replace(capacity, notes=(*capacity.notes, note))


def check_search(n: int, seeds: Sequence[int], between: Sequence[float], tolerance: float, settle: float) -> None:
    """Refuse parameters of a search that make no sense."""
    low, high = between
    if n < 1 or not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"highest_rate: requests and different seeds are needed, not {n} and {list(seeds)}")
    if not 0 < low < high < math.inf or not 0 < tolerance < math.inf or not 0 <= settle < 1:
        raise InputError(
            f"highest_rate: between must rise from above 0, tolerance be above 0 and settle from 0 to below 1, "
            f"not {low:g} to {high:g}, {tolerance:g} and {settle:g}"
        )


def _together(
    seeds: Sequence[int], found: Sequence[Found], trials: tuple[Trial, ...], origin: Origin, grid: Sequence[float]
) -> Capacity:
    rates = [0.0 if one.held < 0 else math.inf if one.failed >= len(grid) else grid[one.held] for one in found]
    nexts = [math.inf if one.failed >= len(grid) else grid[one.failed] for one in found]
    notes = [f"not monotone: {note}" for one in found for note in one.notes]
    ends = len([rate for rate in rates if rate in (0.0, math.inf)])
    if not ends:
        rate, low, high = _interval(rates, nexts)
    else:
        rate, low, high = sorted(rates)[(len(rates) - 1) // 2], min(rates), max(rates)
        zero, over = rates.count(0.0), rates.count(math.inf)
        for count, what in ((zero, f"miss a target at {grid[0]:.4g}/s already"), (over, f"hold at {grid[-1]:.4g}/s")):
            if count:
                notes.insert(0, f"{count} of {len(rates)} seeds {what}; search between other rates")
    if len(rates) == 1 and not ends:
        notes.append("one seed tells nothing of the spread; give more")
    counted = Counter(name for one in found for name in one.missed)
    missed = tuple(name for name, _ in counted.most_common())
    below, above = Spent.mean([o.below for o in found if o.below]), Spent.mean([o.above for o in found if o.above])
    broke, share, grown = first_to_break(below, above, answers=bool(missed) and "answered" in missed[0])
    held = dict(zip(seeds, rates, strict=True))
    return Capacity(rate, low, high, held, missed, broke, share, grown, tuple(notes), trials, origin)


def _interval(held: Sequence[float], failed: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of the rates that held, and the ends of its interval."""
    from scipy.stats import t

    n = len(held)
    below, above = np.log(held), np.log(failed)
    rate = float(np.exp(below.mean()))
    if n == 1:
        return rate, 0.0, math.inf
    factor = float(t.ppf(0.975, n - 1)) / math.sqrt(n)
    low = below.mean() - factor * below.std(ddof=1)
    high = above.mean() + factor * above.std(ddof=1)
    return rate, float(np.exp(low)), float(np.exp(high))
