"""Curves of routers as text: what was tuned on what, each router's numbers, and its verdict in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.metrics.base import Estimate

if TYPE_CHECKING:
    from evalkit.serving.routers.route_curves import RouteCurves, RouteReport


def told(curves: RouteCurves) -> str:
    """Return both reports as text."""
    first, second = curves.reports
    aim = (
        f"at most ${curves.budget:g} per 1,000" if curves.budget is not None
        else f"{curves.target:.0%} of the gap at the least cost"
    )  # fmt: skip
    weak, strong = curves.outcomes.models
    given = curves.outcomes
    head = [
        f"{given.name}: {weak} or {strong}, {len(given):,} prompts in two halves (seed {curves.seed})",
        f"thresholds chosen on one half for {aim}, all else on the other",
        f"costs {given.origin}: {given.told}",
    ]
    return "\n".join([*head, "", *_report(first), "", "the halves swapped:", *_report(second)])


def _report(one: RouteReport) -> list[str]:
    n = one.alone[0].quality.n
    lines = [
        f"{n} prompts of the {one.half}, tuned on {one.tuned_on}",
        f"{'':28}{'$/1,000':>9}{'quality':>25}{'calls':>8}{'PGR':>7}{'APGR':>22}{'CPT50':>7}{'CPT80':>7}{'random':>9}",
    ]
    lines += [
        f"{_short(alone.name):28}{alone.usd_per_1000.value:9.3f}{_with_ends(alone.quality):>25}"
        for alone in one.alone
    ]
    for name, routed in one.routers.items():
        e = routed.estimates
        lines.append(
            f"{_short(name):28}{e['usd_per_1000'].value:9.3f}{_with_ends(e['quality']):>25}{e['calls'].value:8.1%}"
            f"{e['pgr'].value:7.2f}{_with_ends(e['apgr']):>22}{e['cpt_50'].value:7.1%}{e['cpt_80'].value:7.1%}"
            f"{e['random'].value:9.3f}"
        )
    width = max(len(name) for name in one.routers)
    for name, routed in one.routers.items():
        lines.append(f"{name:{width}} {routed.at_threshold}")
        lines.append(f"{'':{width}} over all costs, of the gap: {routed.whole}")
    return lines


def _short(name: str, width: int = 27) -> str:
    return name if len(name) <= width else f"…{name[1 - width :]}"


def _with_ends(one: Estimate) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
