"""The main findings in plain words, and never more than the tests say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.evaluate.show import number

if TYPE_CHECKING:
    from evalkit.evaluate.results import Comparisons, Results
    from evalkit.metrics.statistics import Comparison

_LEAD = 3
"""Quality metrics that the paragraph speaks of; the tables have them all."""
_NAMED = 3
"""Variants named for one verdict; more are counted."""
_COSTS = {"PromptTokens": "prompt tokens", "ms": "mean latency (ms)"}
_ALPHA = 0.05


@dataclass(frozen=True)
class Finding:
    """What the comparisons say of one metric.

    Parameters
    ----------
    head, text : str
    """

    head: str
    text: str


@dataclass(frozen=True)
class Findings:
    """What a report says first.

    Parameters
    ----------
    lead : str
        What was compared with what.
    points : tuple of Finding
        One a metric.
    caveats : str
        How far to trust them.
    """

    lead: str
    points: tuple[Finding, ...]
    caveats: str


def findings(results: Results, comparisons: Comparisons) -> Findings:
    """Say what the comparisons with the base established, and what they left open.

    Parameters
    ----------
    results : Results
    comparisons : Comparisons
        Of all metrics, with the base.
    """
    data = results.manifest["data"]
    of = f"{data['name']} ({_count(data['documents'], 'document')}, {_count(data['queries'], 'query')})"
    gaps = {"failed": "failed", "stopped": "were stopped by the race", "unfinished": "were not finished"}
    counted = [
        f"{len(results.manifest.get(gap) or ())} {what}" for gap, what in gaps.items() if results.manifest.get(gap)
    ]
    left = f" Beside these, {_list(counted)}." if counted else ""
    if not comparisons.by_metric:
        return Findings(f"Only {results.base} was run, on {of}; there is nothing to compare it with.{left}", (), "")
    others = _count(len(results.systems) - 1, "variant")
    lead = f"{others} on {of}, compared query by query with the base, {comparisons.baseline}.{left}"
    quality = [m for m in comparisons.by_metric if m not in _COSTS]
    spoken = [*quality[:_LEAD], *(m for m in _COSTS if m in comparisons.by_metric)]
    points = [_metric(metric, comparisons.by_metric[metric]) for metric in spoken]
    if len(quality) > _LEAD:
        points.append(Finding(_list(quality[_LEAD:]), "See the tables below."))
    return Findings(lead, tuple(points), " ".join(_caveats(results, comparisons)))


def _metric(metric: str, found: Mapping[str, Comparison]) -> Finding:
    one = next(iter(found.values()))
    unit = {"PromptTokens": "tokens", "ms": "ms"}.get(metric, "")
    head = f"{_COSTS.get(metric, metric)} (base {number(one.baseline, unit)}, n = {one.n})"
    if all(c.difference == 0 and c.wins == c.losses == 0 for c in found.values()):
        return Finding(head, "No variant differs from the base on any query.")
    if _powerless(found):
        tests = f"{_count(one.n, 'query')} and {_count(len(found), 'comparison')}"
        smallest = f"the smallest possible corrected p is {_smallest(found):.2f}"
        return Finding(head, f"Nothing is established, nor could it be: with {tests} {smallest}.")
    parts = []
    for verdict in ("better", "worse", "equivalent"):
        names = {label: c for label, c in found.items() if c.verdict == verdict}
        if names:
            parts.append(f"{verdict.capitalize()}: {_named(names, unit)}")
    undecided = {label: c for label, c in found.items() if c.verdict == "inconclusive"}
    if len(undecided) == len(found):
        parts.append(f"No difference from the base is established{_more(undecided)}")
    elif undecided:
        who = _list(list(undecided)) if len(undecided) <= _NAMED else str(len(undecided))
        parts.append(f"Inconclusive: {who}{_more(undecided)}")
    return Finding(head, " ".join(f"{part}." for part in parts))


def _named(found: Mapping[str, Comparison], unit: str) -> str:
    """Name the largest differences, count the rest, and give the largest p of all."""
    order = sorted(found, key=lambda label: -abs(found[label].difference))
    digits = 1 if unit else 3
    said = [f"{label} ({found[label].difference:+,.{digits}f})" for label in order[:_NAMED]]
    largest = max(c.p_adjusted for c in found.values())
    return f"{_and_others(said, len(order))}, {_p(largest, len(found) > 1)}"


def _and_others(said: Sequence[str], of: int) -> str:
    rest = of - len(said)
    return _list([*said, f"{rest} other{'s' if rest > 1 else ''}"] if rest else said)


def _more(found: Mapping[str, Comparison]) -> str:
    """Say how many more queries would settle the comparison that is nearest to it, and the one furthest from it."""
    needed = sorted((c.more_queries, label) for label, c in found.items() if c.more_queries is not None)
    if not needed:
        return ""
    (least, first), (most, last) = needed[0], needed[-1]
    near = f"about {_count(least, 'more query')} would settle {first if len(found) > 1 else 'it'}"
    return f" ({near}, about {most:,} {last})" if len(needed) > 1 else f" ({near})"


def _powerless(found: Mapping[str, Comparison]) -> bool:
    """Whether so few queries could not decide anything, however large the difference."""
    return _smallest(found) >= _ALPHA and all(c.verdict == "inconclusive" for c in found.values())


def _smallest(found: Mapping[str, Comparison]) -> float:
    """Return the smallest p that flipping the signs of n differences can give, after correction."""
    n = next(iter(found.values())).n
    return min(1.0, len(found) * 2.0 ** (1 - n))


def _caveats(results: Results, comparisons: Comparisons) -> list[str]:
    says = []
    if any(c.more_queries for found in comparisons.by_metric.values() for c in found.values()):
        says.append(
            "How many more queries would settle a comparison supposes that the difference and its spread stay as "
            "observed; it aims at a chance of 80 %, at the corrected level."
        )
    control = results.manifest.get("control")
    if control:
        span = f"{control['difference_ms']:+.1f} ms [{control['low']:+.1f}, {control['high']:+.1f}]"
        says.append(f"The base timed twice differed from itself by {span}: believe no smaller difference of latency.")
        if not control["low"] <= 0 <= control["high"]:
            says.append("That interval leaves out zero, so the machine was not steady while timing.")
    tested = "Tests are two-sided and paired"
    if len(results.systems) > 2:
        tested += "; p is corrected by Holm over the variants of one metric, not over the metrics"
        tested += ", and the best of many means flatters whichever variant has it"
    return [*says, f"{tested}."]


def _p(p: float, several: bool) -> str:
    if p < 0.001:
        return "p < 0.001"
    return f"p ≤ {math.ceil(p * 1e4) / 1e4:.4f}" if several else f"p = {p:.4f}"


def _count(n: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{n:,} {noun if n == 1 else plural}"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
