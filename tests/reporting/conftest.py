"""Small results, made by hand: six variants of two parameters, with quality, tokens and latency."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evalkit.evaluate.results import SUMMARY_COLUMNS, Results

STAGES = {"embed": 4.0, "search": 1.0, "generate": 10.0}
BETWEEN = 0.6
QUERIES = [f"q{i}" for i in range(12)]
POINTS = {f"chunk.size={size} retrieve.k={k}": (size, k) for size in (64, 128) for k in (1, 3, 10)}
BASE = "chunk.size=64 retrieve.k=3"


def _rows(label: str, shift: float) -> Iterable[tuple[str, str, str, float]]:
    noise = np.random.default_rng(3).random(len(QUERIES)) / 10
    for i, query in enumerate(QUERIES):
        yield label, query, "nDCG@10", 0.4 + shift + noise[i]
        yield label, query, "PromptTokens", 100 + 1000 * shift + i
        for stage, ms in STAGES.items():
            yield label, query, f"ms[{stage}]", ms + noise[i]
        yield label, query, "ms", sum(STAGES.values()) + 3 * noise[i] + BETWEEN


def _summary(per_query: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (label, metric), found in per_query.groupby(["variant", "metric"], sort=False):
        mean = float(found["value"].mean())
        unit = "ms" if str(metric).startswith("ms") else "tokens" if metric == "PromptTokens" else ""
        name = "Mean" if metric == "ms" else f'Mean(stage="{str(metric)[3:-1]}")' if unit == "ms" else str(metric)
        rows.append((label, "f", name, mean, mean * 0.9, mean * 1.05, len(found), unit, "measured"))
        if metric == "ms":
            rows.append((label, "f", "P50", mean, mean * 0.8, mean * 1.2, len(found), unit, "measured"))
            rows.append((label, "f", "P95", mean * 2, mean * 1.5, np.inf, len(found), unit, "measured"))
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def make(labels: Iterable[str], base: str, parameters: dict[str, dict[str, Any]] | None = None) -> Results:
    """Return results of variants that are the better, and the dearer, the later they come."""
    names = list(labels)
    rows = [row for i, label in enumerate(names) for row in _rows(label, i / 20)]
    per_query = pd.DataFrame(rows, columns=["variant", "query", "metric", "value"])
    manifest = {
        "spec": {"name": "example", "description": "A question.", "seed": 7},
        "data": {
            "name": "tiny", "digest": "0123abcd", "documents": 5, "queries": 12, "judgements": 30,
            "unjudged queries": ["lost-1"],
        },
        "versions": {"evalkit": "0.1.0"},
        "machine": {"processor": "a processor", "cores": 2},
        "commit": "abc123",
        "plan": {"nodes asked for": 20, "nodes distinct": 8, "blocks": 8, "blocks from store": 3},
        "control": {"difference_ms": 0.1, "low": -0.2, "high": 0.4, "p": 0.5, "n": 12},
        "parameters": parameters or {},
    }  # fmt: skip
    return Results(_summary(per_query), per_query, {n: f"print-{i}" for i, n in enumerate(names)}, base, manifest)


@pytest.fixture(scope="session")
def results() -> Results:
    """Results of six variants: two chunk sizes by three values of k."""
    parameters = {n: {"chunk.size": s, "retrieve": "Dense", "retrieve.k": k} for n, (s, k) in POINTS.items()}
    return make(POINTS, BASE, parameters)


@pytest.fixture
def named() -> Callable[[Iterable[str]], Results]:
    """Results of variants with given names; the first is the base."""
    return lambda labels: make(list(labels), next(iter(labels)))


@pytest.fixture
def untimed(results: Results) -> Results:
    keep = results.per_query["metric"].str.startswith("ms")
    return replace(
        results, per_query=results.per_query[~keep], summary=results.summary[results.summary["unit"] != "ms"]
    )
