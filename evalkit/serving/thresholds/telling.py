"""A certification's results as people read them: text in a terminal, tables in a notebook."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evalkit.evaluate.show import Grid

if TYPE_CHECKING:
    from evalkit.serving.thresholds.designs import Design
    from evalkit.serving.thresholds.results import Certified

_PAIRS = 5


def kinds_grid(found: Certified) -> Grid:
    """One row a kind of request: what the certificate's setting did with it on test."""
    made, rows = found.certificate, []
    for row in found.kinds.to_dict("records"):
        wrong = _bounded(row["share"], row["low"], row["high"])
        needed = "" if row["verdict"] == "holds" else f"{row['needed']:,.0f}"
        counts = [f"{row[name]:,}" for name in ("wrong", "unjudged")]
        hits = _share(row["hit_rate"])
        rows.append([row["kind"], f"{row['requests']:,}", hits, *counts, wrong, row["verdict"], needed])
    head = ["kind", "requests", "hits", "wrong", "unjudged", f"wrong {made.of}", "budget", "needed if none is wrong"]
    return head, rows, _notes(found)


def designs_grid(found: Certified) -> Grid:
    """One row a design: what else would meet the budget, and why the rest does not."""
    rows = [_design(one, found.certificate.budget) for one in found.certificate.designs]
    return ["design", "on dev", "hits on dev", "on test", "hits on test", "verdict"], rows, []


def confusions_grid(found: Certified) -> Grid:
    """The pairs of intents that the certificate's setting confused most often on test."""
    rows = [
        [
            row["asked"], row["given"], f"{row['wrong']:,}", f"{row['stale']:,}",
            _quoted(row["text_asked"]), _quoted(row["text_given"]),
        ]
        for row in found.confusions.head(_PAIRS).to_dict("records")
    ]  # fmt: skip
    more = len(found.confusions) - _PAIRS
    notes = [f"... and {more} more pairs; confusions.csv has all"] if more > 0 else []
    return ["asked for", "given", "times", "right once", "such as", "which got the answer to"], rows, notes


def grids(found: Certified) -> list[Grid]:
    """All tables that hold anything."""
    made = [kinds_grid(found), designs_grid(found)]
    return made + ([confusions_grid(found)] if len(found.confusions) else [])


def _design(one: Design, budget: float) -> list[str]:
    dev = [_bounded(one.dev.value, one.dev.low, one.dev.high), _share(one.dev.hit_rate)]
    if one.test is None:
        return [one.label, *dev, "not looked at", "", "not within the budget on dev"]
    said = "certified" if one.certified else one.test.verdict(budget)
    verdict = "no right hit" if said == "holds" else said
    return [
        one.label,
        *dev,
        _bounded(one.test.value, one.test.low, one.test.high),
        _share(one.test.hit_rate),
        verdict,
    ]


def _notes(found: Certified) -> list[str]:
    made, data = found.certificate, found.manifest["data"]
    origins = sorted({sweep.origin for sweep in found.sweeps.values()})
    settings = sum(len(sweep.settings) for sweep in found.sweeps.values())
    sides = f"{int(made.dev.sum()):,} requests on dev, {int(made.test.sum()):,} on test"
    notes = [f"{made.design.label} on test; one-sided bounds.  n = {sides}.  {settings} settings."]
    notes.append(f"data: {data['name']} ({data['digest'][:8]}).  calls: {', '.join(origins)}.")
    if lost := found.manifest["unanswered"]:
        notes.append(f"{lost:,} of the recorded calls got no answer; nobody is given what they asked")
    return notes


def _bounded(value: float, low: float, high: float) -> str:
    return f"{_share(value)} [{_share(low)}, {_share(high)}]"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2%}"


def _quoted(text: str, longest: int = 60) -> str:
    return f"'{text}'" if len(text) <= longest else f"'{text[: longest - 1]}…'"
