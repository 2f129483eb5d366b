"""Outcomes out of evalkit's own runs: two or more services on one traffic, or systems on one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from evalkit.errors import InputError
from evalkit.evaluate.apply import worst
from evalkit.serving.routers.outcomes import Floats, RecordedOutcomes

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.datasets import Dataset
    from evalkit.evaluate.results import Results
    from evalkit.serving.results.outcomes import Replay
    from evalkit.types import Origin, Store

T = TypeVar("T", bound=RecordedOutcomes)


def from_replays(kind: type[T], replays: Mapping[str, Replay], quality: Mapping[str, Floats] | None = None) -> T:
    """Take what two or more services answered to the same traffic.

    Parameters
    ----------
    kind : type of RecordedOutcomes
    replays : {label: Replay}
        A service without a cache each, so that every answer has its price.
    quality : {label: array of shape (requests,)}, optional
        From 0 to 1, nan for what nobody judged. Default: `Replay.quality`, token F1 against reference answers.

    Returns
    -------
    RecordedOutcomes
        Of the requests that are judged in all replays. A request without an answer has quality 0.

    Raises
    ------
    InputError
        If the traffic differs, no request is judged, or an answer's price is not known.
    """
    if len(replays) < 2:
        raise InputError("RecordedOutcomes: give replays of at least two services")
    labels = list(replays)
    asked = {label: [outcome.arrival.text for outcome in one.outcomes] for label, one in replays.items()}
    for label in labels[1:]:
        if asked[label] != asked[labels[0]]:
            raise InputError(f"RecordedOutcomes: '{label}' was asked other questions than '{labels[0]}'")
    tables = [replays[label].per_request for label in labels]
    values = [replays[label].quality if quality is None else quality[label] for label in labels]
    scores = np.column_stack([np.asarray(column, dtype=np.float64) for column in values])
    usd = np.column_stack([table["usd"].to_numpy(dtype=np.float64) for table in tables])
    rows = np.flatnonzero(np.isfinite(scores).all(axis=1))
    if not len(rows):
        raise InputError("RecordedOutcomes: no request has a reference answer; give quality")
    answers = list(zip(*(table["answer"].tolist() for table in tables), strict=True))
    return kind.ordered(
        " and ".join(labels), labels, [asked[labels[0]][i] for i in rows], [answers[i] for i in rows],
        scores[rows], usd[rows],
        origin=worst([one.origin for one in replays.values()]),
        told=f"calls of the replays; {len(scores) - len(rows)} requests that nobody judged are left out",
    )  # fmt: skip


def from_results(
    kind: type[T],
    results: Results,
    systems: Sequence[str],
    data: Dataset,
    metric: str = "TokenF1",
    store: Store | None = None,
) -> T:
    """Take what two or more systems of an experiment answered.

    Parameters
    ----------
    kind : type of RecordedOutcomes
    results : Results
        Of a run that measured `metric` and a price (``DollarsPerQuery`` or ``DollarsPer1000``) of every query.
    systems : sequence of str
        Labels.
    data : Dataset
        The one that was run on.
    metric : str
        A metric of quality, from 0 to 1.
    store : Store, optional
        Where the answers lie. Default: the project's.

    Raises
    ------
    InputError
        If a metric was not measured, or the store has not all answers.
    """
    from evalkit.evaluate.answered import answered
    from evalkit.paths import store_dir
    from evalkit.store import DiskStore

    labels = [results.label(system) for system in systems]
    known = list(dict.fromkeys(results.per_query["metric"]))
    quality = _wide(results, results.metric(metric, known), labels)
    priced = next((name for name in ("DollarsPerQuery", "DollarsPer1000") if name in known), None)
    if priced is None:
        raise InputError("RecordedOutcomes: the run measured no price a query; add the metric DollarsPerQuery")
    usd = _wide(results, priced, labels) / (1000.0 if priced == "DollarsPer1000" else 1.0)
    queries = [query for query in quality.index if query in usd.index]
    if not queries:
        raise InputError(f"RecordedOutcomes: no query has {metric} and {priced} for all of {', '.join(labels)}")
    if data.digest != results.manifest["data"]["digest"]:
        raise InputError(f"RecordedOutcomes: data set {data.name} is not what these results were measured on")
    where = store if store is not None else DiskStore(store_dir())
    seed = int(results.manifest["spec"].get("seed", 0))
    found = {label: answered(results.variants, label, data, seed, where) for label in labels}
    texts = dict(zip(data.queries.id, data.queries.text, strict=True))
    passages = {label: [one.passages[query] for query in queries] for label, one in found.items()}
    return kind.ordered(
        results.name, labels, [texts[query] for query in queries],
        [[found[label].answers[query] for label in labels] for query in queries],
        quality.loc[queries].to_numpy(dtype=np.float64), usd.loc[queries].to_numpy(dtype=np.float64),
        origin=_origin(results, labels, (metric, priced)), told=f"{priced} of the run", passages=passages,
    )  # fmt: skip


def _wide(results: Results, metric: str, labels: Sequence[str]) -> pd.DataFrame:
    """Return a metric as one row a query that all systems have, and one column a system."""
    rows = results.per_query[results.per_query["metric"] == metric]
    wide = rows.pivot_table(index="query", columns="variant", values="value", observed=True)
    missing = [label for label in labels if label not in wide.columns]
    if missing:
        raise InputError(f"RecordedOutcomes: {metric} was not measured for '{missing[0]}'")
    return wide[list(labels)].dropna()


def _origin(results: Results, labels: Sequence[str], metrics: Sequence[str]) -> Origin:
    """Return the origin of what is made of these numbers."""
    rows = results.summary[results.summary["variant"].isin(labels) & results.summary["metric"].isin(metrics)]
    return worst([cast("Origin", origin) for origin in rows["origin"]])
