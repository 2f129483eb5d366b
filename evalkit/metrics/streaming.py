"""Metrics of streamed answers: when the first words come, how fast the rest, how many are served well.

Times are in milliseconds on one clock. A request waits for embedding and search before the model is called:
first token from the request is what the user feels, from the call what the model's maker reports.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import Definition, Estimate, Metric, MetricError, Need
from evalkit.metrics.checks import check_between, check_choice

__all__ = ["FirstText", "FirstToken", "Goodput", "InterToken", "StreamMetric", "Throughput", "Timeline"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """When things happened in one request, in ms on a common clock.

    Parameters
    ----------
    requested : float
        The request arrived.
    called : float
        The model was called.
    tokens : tuple of float
        Each token (or streamed piece) arrived; in order.
    done : float
        The answer was complete.
    text : int
        Index of the first token that is answer text (after reasoning or markup).

    Raises
    ------
    MetricError
        If times run backwards or `text` is no token.
    """

    requested: float
    called: float
    tokens: tuple[float, ...]
    done: float
    text: int = 0

    def __post_init__(self) -> None:
        times = (self.requested, self.called, *self.tokens, self.done)
        if not np.isfinite(times).all() or any(b < a for a, b in pairwise(times)):
            raise MetricError(f"timeline of the request at {self.requested} ms: times run backwards")
        if self.tokens and not 0 <= self.text < len(self.tokens):
            raise MetricError(f"timeline: first text is token {self.text} of {len(self.tokens)}")


@dataclass(frozen=True)
class StreamMetric(Metric):
    """A metric of timelines."""

    needs: ClassVar[Need] = "latency"
    range: ClassVar[tuple[float, float]] = (0.0, np.inf)

    @abstractmethod
    def of(self, timelines: Sequence[Timeline]) -> Estimate:
        """Return the value and its interval.

        Parameters
        ----------
        timelines : Sequence of Timeline
            One for each request.

        Raises
        ------
        MetricError
            If no timeline can be measured.
        """


@dataclass(frozen=True)
class DelayMetric(StreamMetric):
    """A quantile of delays: a number for each request that streamed what it takes."""

    unit: ClassVar[str] = "ms"
    higher_is_better: ClassVar[bool] = False

    @abstractmethod
    def samples(self, timelines: Sequence[Timeline]) -> Floats:
        """Return the delays in ms, requests without a token left out."""

    def of(self, timelines: Sequence[Timeline]) -> Estimate:
        """Return the quantile of the delays and its order-statistics interval; see `StreamMetric.of`."""
        from evalkit.metrics.statistics import quantile_interval

        delays = self.samples(timelines)
        if not delays.size:
            raise MetricError(f"{self}: no request streamed a token; measure at least one")
        estimate = quantile_interval(delays, getattr(self, "q"))  # noqa: B009 - a field of every subclass
        return Estimate(estimate.value, max(estimate.low, 0.0), estimate.high, estimate.n, estimate.method)


_QUANTILE = "Hyndman and Fan's type 7 quantile q"


@dataclass(frozen=True)
class _First(DelayMetric):
    """Time to the first token, of any kind or of answer text.

    Parameters
    ----------
    since : {"request", "call"}
        From the request, as the user waits, or from the call of the model.
    q : float
        Quantile over requests.
    """

    since: str = "request"
    q: float = 0.5
    first_text: ClassVar[bool]

    def __post_init__(self) -> None:
        check_choice(self, "since", ("request", "call"))
        check_between(self, "q", 0, 1)

    def samples(self, timelines: Sequence[Timeline]) -> Floats:
        """Return the delays in ms. Shape (requests with a token,)."""
        return _since(timelines, self.since, first_text=self.first_text)


@dataclass(frozen=True)
class FirstToken(_First):
    """Time to first token; parameters as `FirstText`."""

    first_text: ClassVar[bool] = False
    definition: ClassVar[Definition] = Definition(
        formula=f"first token - request (or model call); {_QUANTILE}",
        source="MLPerf Inference 4.0 (TTFT); Hyndman and Fan 1996",
        denominator="requests that streamed a token",
    )


@dataclass(frozen=True)
class FirstText(_First):
    """Time to the first token of answer text, after reasoning and markup.

    Parameters
    ----------
    since : {"request", "call"}
        From the request, as the user waits, or from the call of the model.
    q : float
        Quantile over requests.
    """

    first_text: ClassVar[bool] = True
    definition: ClassVar[Definition] = Definition(
        formula=f"first token of answer text - request (or model call); {_QUANTILE}",
        source="as FirstToken; reasoning tokens are not text a user can read",
        denominator="requests that streamed a token",
    )


@dataclass(frozen=True)
class InterToken(DelayMetric):
    """Time per token after the first, of each request.

    Parameters
    ----------
    q : float
        Quantile over requests.
    """

    q: float = 0.5
    definition: ClassVar[Definition] = Definition(
        formula=f"(last token - first token) / (tokens - 1) of a request; {_QUANTILE} over requests",
        source="MLPerf Inference 4.0 (TPOT)",
        denominator="requests with at least two tokens",
        note="one number for each request, because gaps within a request are not independent",
    )

    def __post_init__(self) -> None:
        check_between(self, "q", 0, 1)

    def samples(self, timelines: Sequence[Timeline]) -> Floats:
        """Return ms per token. Shape (requests with two tokens,)."""
        return np.array([(t.tokens[-1] - t.tokens[0]) / (len(t.tokens) - 1) for t in timelines if len(t.tokens) > 1])


@dataclass(frozen=True)
class Throughput(StreamMetric):
    """Requests completed per second."""

    unit: ClassVar[str] = "1/s"
    definition: ClassVar[Definition] = Definition(
        formula="requests / (last completion - first request)",
        source="interval: Garwood, Fiducial limits for the Poisson distribution, Biometrika 1936",
        denominator="seconds from the first request to the last completion",
        note="the interval takes completions for a Poisson process; a closed loop varies less",
    )

    def of(self, timelines: Sequence[Timeline]) -> Estimate:
        """Return requests per second; see `StreamMetric.of`."""
        return _rate(self, len(timelines), timelines)


@dataclass(frozen=True)
class Goodput(StreamMetric):
    """Requests per second that keep every limit.

    Parameters
    ----------
    total, first_token, inter_token : float, optional
        Limits in ms: on the whole request, on the first token since the request, on the time per token.
        None: no such limit.
    """

    unit: ClassVar[str] = "1/s"
    total: float | None = None
    first_token: float | None = None
    inter_token: float | None = None
    definition: ClassVar[Definition] = Definition(
        formula="requests within all limits / (last completion - first request)",
        source="Zhong et al., DistServe, OSDI 2024",
        denominator="seconds from the first request to the last completion",
        empty="a request without a token breaks a limit on tokens",
        note="the interval takes good completions for a Poisson process",
    )

    def __post_init__(self) -> None:
        for limit in ("total", "first_token", "inter_token"):
            if getattr(self, limit) is not None:
                check_between(self, limit, 0, inf)

    def of(self, timelines: Sequence[Timeline]) -> Estimate:
        """Return good requests per second; see `StreamMetric.of`."""
        return _rate(self, sum(map(self.keeps, timelines)), timelines)

    def keeps(self, timeline: Timeline) -> bool:
        """Return whether one request keeps every limit."""
        tokens = timeline.tokens
        first = tokens[0] - timeline.requested if tokens else inf
        gap = (tokens[-1] - tokens[0]) / max(1, len(tokens) - 1) if tokens else inf
        taken = (timeline.done - timeline.requested, first, gap)
        limits = (self.total, self.first_token, self.inter_token)
        return all(limit is None or time <= limit for time, limit in zip(taken, limits, strict=True))


def _since(timelines: Sequence[Timeline], since: str, *, first_text: bool) -> Floats:
    return np.array(
        [
            t.tokens[t.text if first_text else 0] - (t.requested if since == "request" else t.called)
            for t in timelines
            if t.tokens
        ]
    )


def _rate(metric: Metric, count: int, timelines: Sequence[Timeline]) -> Estimate:
    """Return `count` per second over the span of the timelines, with Garwood's interval."""
    from scipy.stats import chi2

    if not timelines:
        raise MetricError(f"{metric}: no requests; measure at least one")
    seconds = (max(t.done for t in timelines) - min(t.requested for t in timelines)) / 1000
    if seconds <= 0:
        raise MetricError(f"{metric}: the requests span no time; a rate needs some")
    low = float(chi2.ppf(0.025, 2 * count) / 2) if count else 0.0
    high = float(chi2.ppf(0.975, 2 * count + 2) / 2)
    method = f"Garwood, {count} requests in {seconds:.3g} s"
    return Estimate(count / seconds, low / seconds, high / seconds, len(timelines), method)
