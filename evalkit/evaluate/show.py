"""Results as people read them: text in a terminal, a table in a notebook."""

from __future__ import annotations

import html
import math
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.evaluate.calling.caller import AT_ONCE

if TYPE_CHECKING:
    from evalkit.evaluate.costs import Costs
    from evalkit.evaluate.nodes import Result
    from evalkit.evaluate.plan import Plan
    from evalkit.evaluate.results import Comparisons, Results
    from evalkit.metrics.statistics import Comparison

Grid = tuple[list[str], list[list[str]], list[str]]
"""Header, rows and notes."""

_VERDICT = "verdict"
_MOST_STOPPED = 5
_EXACT = ("chunks", "share", "calls", "tokens in all", "$ in all")
"""Units of what is counted of a corpus or of a judge's calls, with nothing uncertain about it."""
_VERDICTS = {"better": "#1a7f37", "worse": "#c0392b", "equivalent": "#57606a", "inconclusive": "#57606a"}


def shown_metrics(results: Results) -> list[str]:
    """Metrics in the short table: all but latencies by stage and tails that so few samples cannot bound."""
    return [m for m in results.metrics if "stage=" not in m and m not in ("Mean", "P99", "Chunks")]


def number(value: float, unit: str) -> str:
    """Print a number with the digits its unit deserves."""
    if not math.isfinite(value):
        return "?" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if unit in ("chunks", "calls", "tokens in all") or unit.endswith("tokens"):
        return f"{value:,.0f}"
    if unit == "ms":
        return f"{value:.1f}"
    if unit in ("$", "$ in all"):
        return f"{value:.4g}"
    return f"{value:.1%}" if unit == "share" else f"{value:.3f}"


def results_grid(results: Results) -> Grid:
    """One row a system: every mean with its interval."""
    metrics = shown_metrics(results)
    units = dict(zip(results.summary["metric"], results.summary["unit"], strict=True))
    heads = [f"{m} ({units[m]})" if units[m] in ("ms", "$") or units[m].endswith("tokens") else m for m in metrics]
    columns = ("variant", "metric", "value", "low", "high")
    cells = {(v, m): numbers for v, m, *numbers in results.summary[list(columns)].itertuples(index=False)}
    rows = []
    for label in results.systems:
        head = f"{label} *" if label == results.base else label
        rows.append([head, *(_estimate(cells.get((label, metric)), units[metric]) for metric in metrics)])
    return ["variant", *heads], rows, _notes(results)


def _estimate(numbers: Sequence[float] | None, unit: str) -> str:
    """A value with its interval; alone where there is nothing uncertain about it, empty where there is none."""
    if numbers is None:
        return ""
    value, low, high = numbers
    if low == high == value:
        return number(value, unit) if unit in _EXACT else f"{number(value, unit)} [all equal]"
    return f"{number(value, unit)} [{number(low, unit)}, {number(high, unit)}]"


def _notes(results: Results) -> list[str]:
    data, origins = results.manifest["data"], sorted(set(results.summary["origin"]))
    sizes = sorted({int(n) for n in results.summary.loc[results.summary["unit"] == "", "n"]})
    counted = f"  n = {', '.join(map(str, sizes))} queries." if sizes else ""
    notes = [
        f"* base.  95 % intervals.{counted}  data: {data['name']} ({data['digest'][:8]}).  {', '.join(origins)}."
    ]
    if data["unjudged queries"]:
        names = data["unjudged queries"]
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        counted = "1 query without judgement is" if len(names) == 1 else f"{len(names)} queries without judgement are"
        notes.append(f"{counted} left out: {listed}")
    if left_out := data.get("queries without evidence"):
        notes.append(f"{len(left_out)} without evidence, left out of span metrics: {', '.join(left_out[:5])}")
    notes += left_out_notes(results.manifest)
    if stated := results.manifest.get("stated times"):
        notes.append(
            f"times of {', '.join(stated)}: the model's part is what its calls state; real calls are made up to "
            f"{AT_ONCE} at a time, and their retries count."
        )
    control = results.manifest.get("control")
    if control:
        notes.append(
            f"control: the base timed twice differs by {control['difference_ms']:+.2f} ms "
            f"[{control['low']:+.2f}, {control['high']:+.2f}]; believe no smaller difference of latency."
        )
    return notes


def left_out_notes(manifest: Mapping[str, Any]) -> list[str]:
    """What is missing from a run's tables, a line each, and why."""
    notes = [f"FAILED {label}: {reason}" for label, reason in manifest.get("failed", {}).items()]
    if instead := manifest.get("base instead"):
        notes.append(f"The base has no results; {instead} stands in its place.")
    if stopped := manifest.get("stopped"):
        level = manifest["spec"]["race"].get("level", 0.95)
        notes.append(
            f"RACED: {len(stopped)} systems were stopped, as they cannot be the best; with probability {level:g} "
            "none of them is. One may be better by another metric."
        )
        notes += [f"out of the race: {label}: {why}" for label, why in list(stopped.items())[:_MOST_STOPPED]]
        if len(stopped) > _MOST_STOPPED:
            notes.append(f"... and {len(stopped) - _MOST_STOPPED} more; manifest.json names all")
    if unfinished := manifest.get("unfinished"):
        named = ", ".join(unfinished[:5]) + (", ..." if len(unfinished) > 5 else "")
        early = "by its budget" if manifest.get("overdue") or manifest.get("unpaid") else "early"
        notes.append(f"PARTIAL: the run was ended {early}; {len(unfinished)} systems are not finished: {named}")
    if unpaid := manifest.get("unpaid"):
        notes.append(f"PARTIAL: {unpaid}")
    if untimed := manifest.get("untimed"):
        notes.append(f"PARTIAL: no latency was taken: {untimed}")
    notes += [f"incomplete: {gap} ({count} times)" for gap, count in manifest.get("incomplete", {}).items()]
    return notes


def comparisons_grid(comparisons: Comparisons) -> Grid:
    """One row a metric and system."""
    rows = []
    for metric, found in comparisons.by_metric.items():
        form = "+.4g" if metric.startswith("Dollars") else "+.2f" if metric in ("ms", "PromptTokens") else "+.3f"
        for label, c in found.items():
            interval = f"[{c.low:{form}}, {c.high:{form}}]"
            rows.append([metric, label, f"{c.difference:{form}}", interval, f"{c.p_adjusted:.4f}", _verdict(c)])
    head = ["metric", "variant", "difference", "95 % interval", "p (Holm)", _VERDICT]
    return (
        head,
        rows,
        [f"against {comparisons.baseline}; paired by query, two-sided, corrected over the variants."],
    )


def _verdict(c: Comparison) -> str:
    if c.wins == c.losses == 0:
        return f"{c.verdict} (the same on every query)"
    if c.verdict != "inconclusive" or not c.more_queries:
        return c.verdict
    digits = max(0, len(str(c.more_queries)) - 2)  # an estimate from an estimate: two figures are plenty
    rounded = -(-c.more_queries // 10**digits) * 10**digits
    return f"{c.verdict} (about {rounded:,} more {'query' if rounded == 1 else 'queries'} to settle it)"


def plan_text(
    plan: Plan, stored: Mapping[str, bool], costs: Costs, given: Mapping[str, Result], judge: object = None
) -> str:
    """What a plan would work on, by stage: distinct nodes, how many are stored, what the rest will take."""
    rows = []
    for stage in dict.fromkeys(node.stage for node in plan.work):
        nodes = [node for node in plan.work if node.stage == stage]
        left = [node for node in nodes if not stored[node.recipe]]
        kinds = ", ".join(sorted({type(node.op).__name__ for node in nodes}))
        expected = duration(*costs.expected(left, given))
        rows.append([stage, str(len(nodes)), str(len(nodes) - len(left)), str(len(left)), expected, kinds])
    left = [node for node in plan.work if not stored[node.recipe]]
    total, (seconds, unknown) = len(plan.work), costs.expected(left, given)
    rows.append(["all", str(total), str(total - len(left)), str(len(left)), duration(seconds, unknown), ""])
    notes = [f"{len(plan.wanted)} variants; one by one they would need {plan.asked} nodes, shared {total}."]
    notes.append("expected: one node after another, as long as the store's results took to make.")
    paid = sorted({type(node.op).__name__ for node in left if getattr(node.op, "paid", False)})
    if getattr(judge, "paid", False):
        paid.append(f"{type(judge).__name__} as the judge")
    notes.append(f"dollars: what {', '.join(paid)} will cost is not known." if paid else "dollars: none.")
    if unknown:
        notes.append(f"+: nothing is known yet of {', '.join(unknown)}.")
    return text((["stage", "nodes", "in the store", "to run", "expected", "what"], rows, notes))


def duration(seconds: float, unknown: Sequence[str] = ()) -> str:
    """Print a duration; with a plus where it is not all."""
    more = " +" if unknown else ""
    if seconds < 90:
        return f"{seconds:.1f} s{more}"
    return f"{seconds / 60:.0f} min{more}" if seconds < 5400 else f"{seconds / 3600:.1f} h{more}"


def text(grid: Grid, width: int | None = None) -> str:
    """Lay a grid out in columns; where they do not fit side by side, the rest follows below, as pandas does.

    Parameters
    ----------
    grid : Grid
    width : int, optional
        Characters to a line; default the terminal's, or as many as it takes where there is none.
    """
    head, *rows = ([_printable(cell) for cell in row] for row in [grid[0], *grid[1]])
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    room = shutil.get_terminal_size((sum(widths) + 2 * len(widths), 0)).columns if width is None else width
    parts: list[list[int]] = [[0]]
    for i in range(1, len(head)):
        if len(parts[-1]) > 1 and sum(widths[j] + 2 for j in parts[-1]) + widths[i] > room:
            parts.append([0])
        parts[-1].append(i)
    blocks = []
    for columns in parts:
        rule = ["-" * width for width in widths]
        lines = ("  ".join(row[i].ljust(widths[i]) for i in columns).rstrip() for row in [head, rule, *rows])
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "".join(f"\n{_printable(note)}" for note in grid[2])


def _printable(cell: str) -> str:
    """Show a label's control characters instead of sending them to the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cell)


def table_html(grid: Grid) -> str:
    """Lay a grid out as an HTML table; every text is escaped."""
    head, rows, notes = grid
    parts = [
        '<table class="evalkit"><thead><tr>',
        *(f"<th>{html.escape(h)}</th>" for h in head),
        "</tr></thead><tbody>",
    ]
    column = head.index(_VERDICT) if _VERDICT in head else -1
    parts += ["<tr>" + "".join(_cell(cell, i == column) for i, cell in enumerate(row)) + "</tr>" for row in rows]
    parts.append("</tbody></table>")
    parts += [f"<p><small>{html.escape(note)}</small></p>" for note in notes]
    return "".join(parts)


def _cell(value: str, is_verdict: bool) -> str:
    """Write one cell; a verdict has a class for pages with a style and a colour for notebooks, which have none."""
    word = value.split(" ", maxsplit=1)[0] if is_verdict else ""
    style = f' class="{word}" style="color:{_VERDICTS[word]}"' if word in _VERDICTS else ""
    return f"<td{style}>{html.escape(value)}</td>"


def results_text(results: Results) -> str:
    """Results for a terminal."""
    return text(results_grid(results))


def results_html(results: Results) -> str:
    """Results for a notebook."""
    return table_html(results_grid(results))


def comparisons_text(comparisons: Comparisons) -> str:
    """Comparisons for a terminal."""
    return text(comparisons_grid(comparisons))


def comparisons_html(comparisons: Comparisons) -> str:
    """Comparisons for a notebook."""
    return table_html(comparisons_grid(comparisons))
