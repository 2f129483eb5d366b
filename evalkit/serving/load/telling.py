"""A load's results as people read them: text in a terminal, tables in a notebook."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evalkit.evaluate.show import Grid, number

if TYPE_CHECKING:
    from evalkit.serving.load.replays import Replays

_SHOWN = {
    "Mean": "mean (ms)", "P50": "p50 (ms)", "P95": "p95 (ms)", "FirstToken(q=0.95)": "first token p95 (ms)",
    "Throughput": "answers/s", "answered": "answered", "HitRate": "hits", "WrongShare": "wrong hits",
    "DollarsPer1000": "$ per 1,000",
}  # fmt: skip
_SHARES = ("answered", "HitRate", "WrongShare")
_SIGNS = {True: "≥", False: "≤"}


def summary_grid(found: Replays) -> Grid:
    """One row a service: latency, rates, shares (wrong hits: of the hits) and dollars, each with its interval."""
    cells = {
        (service, metric): (numbers, unit)
        for service, metric, *numbers, unit in found.summary[
            ["service", "metric", "value", "low", "high", "unit"]
        ].itertuples(index=False)
    }
    for label, seen in found.items():
        wrong = seen.caching[(seen.caching["kind"] == "all") & (seen.caching["metric"] == "WrongShare")]
        cells[label, "WrongShare"] = wrong[["value", "low", "high"]].to_numpy().tolist()[0], ""
    rows = [[label, *(_cell(*cells[label, metric], metric) for metric in _SHOWN)] for label in found]
    data = found.manifest["data"]
    sizes = sorted({len(seen.outcomes) for seen in found.values()})
    origins = sorted({seen.origin for seen in found.values()})
    note = (
        f"95 % intervals.  n = {', '.join(f'{n:,}' for n in sizes)} requests.  "
        f"data: {data['name']} ({data['digest'][:8]}).  {', '.join(origins)}."
    )
    notes = [note]
    for label, seen in found.items():
        notes += [f"{label}: beside the requests: {error} ({count} times)" for error, count in seen.failures.items()]
        notes += [f"{label}: no price for {model} ({count} calls)" for model, count in seen.unpriced.items()]
    return ["service", *_SHOWN.values()], rows, notes


def targets_grid(found: Replays) -> Grid:
    """One row a service and target; of three levels, all that do not pass."""
    rows = []
    for (service, target), levels in found.targets.groupby(["service", "target"], sort=False):
        first = levels.iloc[0]
        limits = " / ".join(f"{limit:g}" for limit in levels["limit"])
        failing = [f"{v} ({n})" for n, v in zip(levels["level"], levels["verdict"], strict=True) if v != "pass"]
        said = ", ".join(failing) if len(levels) > 1 else str(first["verdict"])
        value = _numbers((first["value"], first["low"], first["high"]), "{:.4g}")
        rows.append([str(service), str(target), f"{_SIGNS[bool(first['at_least'])]} {limits}", value, said or "pass"])
    return ["service", "target", "limit", "value", "met"], rows, []


def rates_grid(found: Replays) -> Grid:
    """One row a service: the highest rate that meets the targets, and what breaks above it."""
    rows, notes = [], []
    for label, c in found.rates.items():
        broke = f"{c.broke} ({c.share:.0%})" if c.broke else "-"
        rows.append([label, _numbers((c.rate, c.low, c.high), "{:.4g}"), broke, ", ".join(c.missed) or "-"])
        notes += [f"{label}: {note}" for note in c.notes]
    return ["service", "highest rate (requests/s)", "first to break", "target missed"], rows, notes


def grids(found: Replays) -> list[Grid]:
    """All tables that hold anything."""
    made = [summary_grid(found)]
    made += [targets_grid(found)] if not found.targets.empty else []
    return made + ([rates_grid(found)] if found.rates else [])


def _cell(numbers: list[float], unit: str, metric: str) -> str:
    value, low, high = numbers
    kind = "share" if metric in _SHARES else unit
    if math.isnan(value):
        return "-"
    if low == high == value:
        return number(value, kind)
    return f"{number(value, kind)} [{number(low, kind)}, {number(high, kind)}]"


def _numbers(numbers: tuple[float, float, float], form: str) -> str:
    value, low, high = ("∞" if x == math.inf else "?" if math.isnan(x) else form.format(x) for x in numbers)
    return f"{value} [{low}, {high}]"
