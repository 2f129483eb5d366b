"""The report: one page that stands alone, and its plots beside it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import InputError
from evalkit.evaluate.calling.spending import spent_words
from evalkit.evaluate.results import Comparisons, better_when_higher
from evalkit.evaluate.show import comparisons_grid, results_html, table_html
from evalkit.reporting import figures, latency
from evalkit.reporting.canvas import metric_words, png, svg
from evalkit.reporting.cells import default_metrics
from evalkit.reporting.findings import findings
from evalkit.reporting.sweeps import lines_of, sweep_lines
from evalkit.spec import as_yaml

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evalkit.evaluate.results import Results

_PREFERRED = ("nDCG@10", "MRR@10", "Recall@10")
_MOST_NAMED = 200
"""Queries without judgement that the page names; the manifest has them all."""
_SWEEPS = 2
_PLOTS = ("intervals", "tradeoff_latency", "tradeoff_tokens", "waterfall", "stages", "sweep_1", "sweep_2")


@dataclass(frozen=True)
class _Plot:
    name: str
    heading: str
    caption: str
    draw: Callable[[], Figure]


def write_report(results: Results, folder: str | os.PathLike[str]) -> Path:
    """Write ``report.html`` and ``plots/*.png``.

    The page needs neither network nor scripts. The same results give the same files, byte for byte.

    Parameters
    ----------
    results : Results
    folder : path
        Made where it is missing; other files there stay as they are.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    place = Path(folder)
    try:
        (place / "plots").mkdir(parents=True, exist_ok=True)
        _write_all(place, *_contents(results))
    except OSError as error:
        raise InputError(f"{place}: the report cannot be written ({error.strerror}); give another folder") from None
    return place / "report.html"


def _contents(results: Results) -> tuple[str, dict[str, bytes]]:
    """Return the page, and the plots by name."""
    images: dict[str, bytes] = {}
    shown = []
    for plot in _plots(results):
        figure = plot.draw()
        images[plot.name] = png(figure)
        shown.append({"heading": plot.heading, "caption": plot.caption, "svg": svg(figure, plot.name)})
    return _page(results, shown), images


def _write_all(place: Path, page: str, images: dict[str, bytes]) -> None:
    for name in _PLOTS:
        if name in images:
            _write(place / "plots" / f"{name}.png", images[name])
        else:
            (place / "plots" / f"{name}.png").unlink(missing_ok=True)  # of earlier results
    _write(place / "report.html", page.encode())


def _write(target: Path, content: bytes) -> None:
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(part).chmod(0o644)
        os.replace(part, target)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _page(results: Results, shown: list[dict[str, str]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    comparisons = results.compare()
    environment = Environment(
        loader=PackageLoader("evalkit", "reporting"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html").render(
        name=results.name,
        description=results.manifest["spec"].get("description", ""),
        findings=findings(results, comparisons),
        table=results_html(results),
        baseline=comparisons.baseline,
        comparisons=list(_tables(comparisons)),
        plots=shown,
        sources=list(_sources(results)),
        unjudged=results.manifest["data"]["unjudged queries"][:_MOST_NAMED],
        spec=as_yaml(results.manifest["spec"]),
    )


def _tables(comparisons: Comparisons) -> Iterator[tuple[str, str]]:
    """Yield each metric with its table of comparisons."""
    for metric, found in comparisons.by_metric.items():
        head, rows, _ = comparisons_grid(Comparisons(comparisons.baseline, {metric: found}))
        yield _metric_heading(metric), table_html((head[1:], [row[1:] for row in rows], []))


def _metric_heading(metric: str) -> str:
    name = "mean latency (ms)" if metric == "ms" else metric_words(metric)
    return f"{name}, {'higher' if better_when_higher(metric) else 'lower'} is better"


def _plots(results: Results) -> Iterator[_Plot]:
    """Yield the figures for which these results have the data."""
    many, measured = len(results.systems) > 1, set(results.metrics)
    if default_metrics(results):
        yield _Plot(
            "intervals", "Every variant by metric",
            "Whether two intervals overlap is no test: the comparisons above pair the queries, and see more.",
            lambda: figures.intervals(results),
        )  # fmt: skip
    quality = _main_metric(results)
    for name, cost, words in (("latency", "P50", "latency"), ("tokens", "PromptTokens", "prompt tokens")):
        if many and quality is not None and cost in measured:
            yield _Plot(
                f"tradeoff_{name}", f"Quality against {words}",
                "The dashed stairs join the variants whose means no other equals or beats on both; where intervals "
                "overlap, the order may be chance.",
                lambda cost=cost: figures.tradeoff(results, cost, quality),  # type: ignore[misc]
            )  # fmt: skip
    if latency.times(results, results.base) is not None:
        yield _Plot(
            "waterfall", "Where the time goes, for the base",
            f"Means over the timed queries, {_how_timed(results)}.",
            lambda: latency.waterfall(results),
        )  # fmt: skip
        if many:
            yield _Plot(
                "stages", "Where the time goes, for every variant",
                "The stages as above; the line at a bar's end is the interval of the total.",
                lambda: latency.stages(results),
            )  # fmt: skip
    if quality is not None:
        for i, (x, by) in enumerate(_sweeps(results), 1):
            yield _Plot(
                f"sweep_{i}", f"{quality} by {x}", "Bands are the 95 % intervals of each mean.",
                lambda x=x, by=by: sweep_lines(results, x, quality, by),  # type: ignore[misc]
            )  # fmt: skip


def _main_metric(results: Results) -> str | None:
    """Return the metric that stands for quality in the figures: a usual one, or the first that was asked for."""
    rows = results.summary.loc[results.summary["unit"] == "", "metric"]
    named = [m for m in dict.fromkeys(rows) if better_when_higher(str(m))]
    return next((m for m in [*_PREFERRED, *named] if m in named), None)


def _sweeps(results: Results) -> list[tuple[str, str | None]]:
    """Return swept numbers, each with the parameter that tells its lines apart, where one is enough."""
    known = results.manifest.get("parameters", {})
    values: dict[str, set[str]] = {}
    numeric: dict[str, bool] = {}
    for own in known.values():
        for path, value in own.items():
            values.setdefault(path, set()).add(json.dumps(value))
            numeric[path] = numeric.get(path, True) and isinstance(value, int | float) and not isinstance(value, bool)
    swept = sorted((p for p, found in values.items() if len(found) > 1), key=lambda p: p.count("."))
    chosen: list[tuple[str, str | None]] = []
    for x in (p for p in swept if numeric[p]):
        for by in (None, *(p for p in swept if p != x)):
            try:
                lines_of(results, list(results.systems), x, by)
            except InputError:
                continue
            chosen.append((x, by))
            break
    return chosen[:_SWEEPS]


def _sources(results: Results) -> Iterator[tuple[str, str]]:
    """Yield what a reader needs in order to trust the numbers, or to take them again."""
    manifest = results.manifest
    data, plan, control = manifest["data"], manifest.get("plan"), manifest.get("control")
    counts = f"{data['documents']:,} documents, {data['queries']:,} queries, {data['judgements']:,} judgements"
    yield "data", f"{data['name']}, {counts}, digest {data['digest']}"
    unjudged = len(data["unjudged queries"])
    yield "queries without judgement", f"{unjudged:,}, left out of every mean" if unjudged else "none"
    yield "origin of the numbers", ", ".join(sorted({str(o) for o in results.summary["origin"]}))
    yield "seed", str(manifest["spec"].get("seed", 0))
    if plan:
        asked, distinct = plan["nodes asked for"], plan["nodes distinct"]
        yield (
            "plan",
            (
                f"{asked:,} pieces of work asked for, {distinct:,} distinct; "
                f"{plan['blocks from store']:,} of {plan['blocks']:,} blocks came from the store"
            ),
        )
    if control:
        yield (
            "latency control (A/A)",
            (
                f"the base timed twice: {control['difference_ms']:+.2f} ms "
                f"[{control['low']:+.2f}, {control['high']:+.2f}], p = {control['p']:.3f}, {control['n']} queries"
            ),
        )
    if spent := manifest.get("spending"):
        yield "spent in this run", spent_words(spent)
    for price in manifest.get("prices", []):
        yield f"price of {price['model']}", _price_words(price)
    yield "commit", str(manifest.get("commit") or "unknown: not run from a checkout")
    if "started" in manifest:
        yield "run", f"{manifest['started']}, {manifest.get('seconds', '?')} s"
    yield "machine", _pairs(manifest.get("machine", {}))
    yield "versions", _pairs(manifest.get("versions", {}))
    yield "results", results.digest


def _how_timed(results: Results) -> str:
    if loaded := results.manifest.get("stated times"):
        return f"one request at a time, but for the model's part in {', '.join(loaded)}: that is what its calls state"
    return "measured one request at a time with nothing remembered"


def _price_words(price: Mapping[str, Any]) -> str:
    kinds = {"in": "input", "cache write 5 min": "write_5m", "1 h": "write_1h", "cache read": "read", "out": "output"}
    stated = ", ".join(f"{words} {price[kind]:g}" for words, kind in kinds.items() if price[kind] is not None)
    return f"$ a million tokens from {price['since']}: {stated}; {price['source'] or 'no source stated'}"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_gib', ' (GiB)')} {value}" for name, value in values.items())
