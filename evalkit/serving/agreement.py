"""How far two variants find the same, and which of them finds better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import cast

from evalkit import fingerprint
from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.evaluate.results import Comparisons
from evalkit.evaluate.run import run
from evalkit.metrics import Estimate, Metric
from evalkit.sweep import Sweep
from evalkit.types import QUERY, Store
from evalkit.values import Chunks, Queries, Rankings
from evalkit.variants import Variant


@dataclass(frozen=True, eq=False)
class Agreement:
    """One variant's rankings beside another's.

    Parameters
    ----------
    k : int
    overlap : Estimate
        Overlap@k, the share of each one's first `k` documents that the other's hold too (of the longer list where one
        found fewer; 1 where both found none): the mean over the queries with its 95 % interval.
    per_query : {query: float}
    quality : Comparisons or None
        Paired differences, old to new, with intervals; None where no query is judged.
    """

    k: int
    overlap: Estimate
    per_query: Mapping[str, float]
    quality: Comparisons | None


def agreement(
    old: Variant,
    new: Variant,
    data: Dataset,
    metrics: Sequence[str | Metric] | None = None,
    *,
    k: int,
    store: Store,
) -> Agreement:
    """Compare two variants' rankings of documents, and their quality where queries are judged.

    Parameters
    ----------
    old, new : Variant
    data : Dataset
    metrics : sequence of str or Metric, optional
        Of the quality; as in `run`.
    k : int
        Depth of the overlap, in documents.
    store : Store
    """
    from evalkit.metrics.statistics import mean_interval

    if k < 1:
        raise InputError(f"agreement: k is {k}; it must be at least 1")
    before, after = (_first(variant, data, k, store) for variant in (old, new))
    shares = {query: _overlap(before[query], after[query]) for query in sorted(before)}
    quality = None
    if len(data.unjudged) < len(data.queries):
        quality = run(Sweep(old, zip=_changes(old, new)), data, metrics, store=store).compare()
    return Agreement(k, mean_interval(list(shares.values())), shares, quality)


def _first(variant: Variant, data: Dataset, k: int, store: Store) -> dict[str, set[str]]:
    """By query, the first `k` documents that a variant finds."""
    seams, context = variant.nodes(), Context(store)
    plan = make_plan({"": {"chunks": seams["chunks"], "retrieve": seams["retrieve"]}})
    done = execute(plan, sources(data, 0, store), context)
    chunks, rankings = (context.whole(done[plan.wanted[""][name]].blocks) for name in ("chunks", "retrieve"))
    owners, queries = list(cast("Chunks", chunks).document), context.whole(done[QUERY.recipe].blocks)
    found = (list(dict.fromkeys(owners[i] for i in items))[:k] for items in cast("Rankings", rankings).items)
    return {query: set(documents) for query, documents in zip(cast("Queries", queries).id, found, strict=True)}


def _overlap(first: set[str], second: set[str]) -> float:
    longer = max(len(first), len(second))
    return len(first & second) / longer if longer else 1.0


def _changes(old: Variant, new: Variant) -> dict[str, list[object]]:
    """The components of `new` that are not those of `old`, by field."""
    pairs = {f.name: (getattr(old, f.name), getattr(new, f.name)) for f in fields(Variant)}
    return {name: [b] for name, (a, b) in pairs.items() if fingerprint.digest(a) != fingerprint.digest(b)}
