"""A latency profile from recorded calls: maximum likelihood under the law of `Profile`, with its uncertainty."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evalkit.calls import INTERRUPTED, Call
from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.llm.latency.profiles import Profile

FEWEST = 20
"""Calls below which nothing is fitted."""

_SPREAD = 1.5
"""How many times the tokens of a short prompt a long one must have, to tell `base` from `prefill`."""

_COLLINEAR = 0.02
"""Smallest singular value of the design, columns of length 1, at which `cached` is still told from the rest."""


@dataclass(frozen=True)
class Parameter:
    """A fitted figure with its 95 % interval.

    Parameters
    ----------
    value, se, low, high : float
        In seconds, seconds per token, or, for a jitter, as the sigma of a logarithm.
    """

    value: float
    se: float
    low: float
    high: float


@dataclass(frozen=True)
class Residuals:
    """What the law leaves of the logarithms of times, in units of their sigma.

    Parameters
    ----------
    normal : float
        p-value of Shapiro and Wilk's test: small where they are not normal, and tails are longer than modelled.
    trend : float
        Spearman's correlation with the order of calls: far from 0 where the service changed meanwhile.
    size : float
        Spearman's correlation of their absolute values with size: far from 0 where jitter depends on it.
    worst : float
        The largest absolute value.
    """

    normal: float
    trend: float
    size: float
    worst: float


@dataclass(frozen=True)
class Fitted:
    """A profile and how well the calls determine it.

    Parameters
    ----------
    profile : Profile
    parameters : {name: Parameter}
        By the names of the profile's fields; one that could not be told apart is missing and 0 in the profile.
    residuals : {"first" or "rate": Residuals}
    together : float
        Correlation of the two kinds of residuals. The law takes them as independent.
    model : str
    n : int
        Calls that it was fitted on.
    left_out : {why: int}
        Calls that were not used.
    uncached, cached, output : tuple of int
        Smallest and largest number of tokens among the calls: outside of these it is an extrapolation.
    notes : tuple of str
        What could not be told, and whether calls were modelled.
    """

    profile: Profile
    parameters: Mapping[str, Parameter]
    residuals: Mapping[str, Residuals]
    together: float
    model: str
    n: int
    left_out: Mapping[str, int]
    uncached: tuple[int, int]
    cached: tuple[int, int]
    output: tuple[int, int]
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return it as a profile file writes it: one `NamedProfile` as plain data, without its name."""
        whole = asdict(self)
        profile = whole.pop("profile")
        whole["notes"] = list(self.notes)
        whole |= {name: list(whole[name]) for name in ("uncached", "cached", "output")}
        source = f"fitted on {self.n} recorded calls" + (f" to {self.model}" if self.model else "")
        return {"source": source, "profile": profile, "fit": whole}


def fit_profile(calls: Sequence[Call]) -> Fitted:
    """Fit a profile to recorded calls of one model.

    Only whole, streamed calls that succeeded at the first try are used, and those whose answer came in two pieces or
    more: an interrupted one has no end, and waits between tries are not the model's. The time to the first token is
    fitted by least squares in the logarithm, which is maximum likelihood where jitter is log-normal; no figure falls
    below 0. Its intervals are Student's around the estimate, cut at 0. The rate and its interval follow from the mean
    logarithm of a call's seconds per token; a piece may hold several tokens, all pieces of a call as many. Sigmas are
    corrected for the degrees of freedom, with chi-squared intervals.

    Parameters
    ----------
    calls : sequence of Call
        In the order in which they were made, so that a trend shows.

    Raises
    ------
    InputError
        For calls of several models, too few of them, or too like one another to tell `base` from `prefill`.
    """
    if len(models := sorted({call.model for call in calls})) > 1:
        raise InputError(f"fit: calls to {', '.join(models)}; fit one model at a time")
    left_out = Counter(why for call in calls if (why := _unfit(call)))
    used = [call for call in calls if not _unfit(call)]
    if len(used) < FEWEST:
        gone = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items())) or "none left out"
        raise InputError(f"fit: {len(used)} usable calls ({gone}); record at least {FEWEST} whole, streamed ones")
    uncached, read, output = (
        np.array(column, dtype=np.float64)
        for column in zip(*((c.usage.uncached, c.usage.cache_read, c.usage.output) for c in used), strict=True)
    )
    short, long = np.quantile(uncached, [0.05, 0.95])
    if long < _SPREAD * max(short, 1.0):
        raise InputError(
            f"fit: base cannot be told from prefill: nearly all prompts have {short:,.0f} to {long:,.0f} uncached "
            f"tokens; record also calls with {_SPREAD * max(long, 100):,.0f} or more, or with far fewer"
        )
    first, first_left, notes = _fit_first(np.array([c.pieces[0] for c in used]), uncached, read)
    rate, rate_left = _fit_rate(used, output)
    gap = _fit_gaps(used)
    found = {**first, **rate, **gap}
    if modelled := sum(not call.day for call in used):
        notes = (*notes, f"{modelled} of the calls were modelled, not measured")
    profile = Profile(**{name: parameter.value for name, parameter in found.items()})
    expected = profile.base + profile.prefill * uncached + profile.cached * read
    residuals = {"first": _residuals(first_left, expected), "rate": _residuals(rate_left, output)}
    return Fitted(
        profile, found, residuals, _correlation(first_left, rate_left), models[0], len(used), dict(left_out),
        _range(uncached), _range(read), _range(output), notes,
    )  # fmt: skip


def _unfit(call: Call) -> str:
    """Say why a call tells nothing of the profile; empty where it does."""
    if call.service == "batch":
        return "in a batch"
    if call.stop == INTERRUPTED or not call.complete:
        return "interrupted"
    if call.attempts:
        return "tried more than once"
    if len(call.pieces) < 2 or call.usage.output < 2:
        return "not streamed, or of one piece"
    if not 0 < call.pieces[0] < call.pieces[-1]:
        return "with all pieces at once"
    return ""


def _fit_first(times: Array, uncached: Array, read: Array) -> tuple[dict[str, Parameter], Array, tuple[str, ...]]:
    """Fit base, prefill and, where it can be told, cached; returns the residuals too."""
    from scipy.optimize import least_squares
    from scipy.stats import t as student

    columns = {"base": np.ones_like(uncached), "prefill": uncached}
    notes: tuple[str, ...] = ()
    if read.any():
        weighed = np.column_stack([*columns.values(), read]) / times[:, None]
        smallest = np.linalg.svd(weighed / np.linalg.norm(weighed, axis=0), compute_uv=False)[-1]
        if smallest >= _COLLINEAR:
            columns["cached"] = read
        else:
            notes = (
                "cached: cannot be told from base and prefill, taken as 0; record calls that read other lengths",
            )
    scale = np.array([np.median(times) / max(np.median(column[column > 0]), 1.0) for column in columns.values()])
    design = np.column_stack(list(columns.values())) * scale
    logs = np.log(times)

    def left(x: Array) -> Array:
        return np.asarray(logs - np.log(design @ x), dtype=np.float64)

    def slopes(x: Array) -> Array:
        return np.asarray(-design / (design @ x)[:, None], dtype=np.float64)

    start = np.full(len(columns), 1.0 / len(columns))
    done = least_squares(left, start, slopes, bounds=(1e-12, np.inf), x_scale=1.0, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    freedom = len(times) - len(columns)
    squares = float(np.sum(done.fun**2))
    sigma = math.sqrt(squares / freedom)
    jacobian = slopes(done.x)
    errors = sigma * np.sqrt(np.diag(np.linalg.pinv(jacobian.T @ jacobian))) * scale
    values = np.where(done.x < 1e-9, 0.0, done.x) * scale
    wide = float(student.ppf(0.975, freedom))
    found = {
        name: Parameter(float(v), float(e), max(0.0, float(v - wide * e)), float(v + wide * e))
        for name, v, e in zip(columns, values, errors, strict=True)
    }
    found["jitter_first"] = _sigma(squares, freedom)
    return found, np.asarray(done.fun, dtype=np.float64), notes


def _fit_rate(calls: Sequence[Call], output: Array) -> tuple[dict[str, Parameter], Array]:
    """Fit the seconds per token: the first of `m` pieces holds one m-th of the tokens, which came before."""
    from scipy.stats import t as student

    took = np.array([call.pieces[-1] - call.pieces[0] for call in calls])
    pieces = np.array([len(call.pieces) for call in calls], dtype=np.float64)
    logs = np.log(took / (output * (pieces - 1) / pieces))
    mean, n = float(np.mean(logs)), len(calls)
    sigma = _sigma(float(np.sum((logs - mean) ** 2)), n - 1)
    error = sigma.value / math.sqrt(n)
    wide, value = float(student.ppf(0.975, n - 1)) * error, math.exp(mean)
    rate = Parameter(value, value * error, value * math.exp(-wide), value * math.exp(wide))
    return {"per_token": rate, "jitter_rate": sigma}, logs - mean


def _fit_gaps(calls: Sequence[Call]) -> dict[str, Parameter]:
    """Fit the sigma of gaps within calls, pooled; pieces that came at the same time leave no gap."""
    squares, freedom = 0.0, 0
    for call in calls:
        gaps = np.diff(call.pieces)
        logs = np.log(gaps[gaps > 0])
        if len(logs) > 1:
            squares += float(np.sum((logs - np.mean(logs)) ** 2))
            freedom += len(logs) - 1
    return {"jitter_gap": _sigma(squares, freedom)} if freedom else {}


def _sigma(squares: float, freedom: int) -> Parameter:
    from scipy.stats import chi2

    value = math.sqrt(squares / freedom)
    low, high = (math.sqrt(squares / float(chi2.ppf(p, freedom))) for p in (0.975, 0.025))
    return Parameter(value, value / math.sqrt(2 * freedom), low, high)


def _residuals(left: Array, size: Array) -> Residuals:
    from scipy.stats import rankdata, shapiro

    spread = float(np.std(left))
    if spread < 1e-9:  # times without jitter
        return Residuals(1.0, 0.0, 0.0, 0.0)
    trend = _correlation(rankdata(left), np.arange(len(left)))
    by_size = _correlation(rankdata(np.abs(left)), rankdata(size))
    return Residuals(float(shapiro(left[:5000]).pvalue), trend, by_size, float(np.abs(left).max() / spread))


def _correlation(one: Array, other: Array) -> float:
    if np.std(one) < 1e-9 or np.std(other) < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _range(column: Array) -> tuple[int, int]:
    return int(column.min()), int(column.max())
