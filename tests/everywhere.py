"""A sweep of every kind of thing, and what is the same wherever it is run.

As a script: ``python -m everywhere`` runs it on a store in the working folder, and prints that.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kills import ByPaidOverlap, Paid, PaidWords
from toys import FailingWords, HashedWords, dense, hybrid, keywords, pieces, words

import evalkit
from evalkit import Results, Sweep, run
from evalkit.stages import BM25, Custom, Dense, Hybrid, Whole
from evalkit.store import DiskStore
from evalkit.sweep import Integers, LogUniform, Random, Uniform
from evalkit.testing import tiny_dataset

METRICS = ["MRR@10", "nDCG@10", "Recall@3", "TokenF1"]
TEXTS = dict(zip(tiny_dataset().documents.id, tiny_dataset().documents.text, strict=True))


def by_words(text: str) -> list[str]:
    """Ids of the documents that share most words with a text."""
    shared = {name: len(set(words(text)) & set(words(body))) for name, body in TEXTS.items()}
    return sorted((name for name in shared if shared[name]), key=lambda name: (-shared[name], name))


SYSTEMS = {
    "mine": dense(retrieve=Custom("everywhere:by_words", k=3), generate=Paid()),
    "mine, dated": dense(retrieve=Custom("everywhere:by_words", k=3, version="1"), rerank=ByPaidOverlap()),
    "broken": dense(retrieve=Dense(FailingWords())),
    "broken too": dense(retrieve=Hybrid(Dense(FailingWords()), BM25(k=8), k=4), rerank=ByPaidOverlap()),
    "words": keywords(5),
}
FAILED = {"broken", "broken too"}


def sweep(step: int = 1) -> Sweep:
    """The sweep; with -1, everything in it in the opposite order."""
    grids = [
        {"chunk": [Whole(), pieces()], "retrieve": [hybrid().retrieve, Dense(PaidWords())], "retrieve.k": [2, 5]},
        {
            "retrieve": [BM25(k=8), Dense(HashedWords(), k=8)],
            "rerank": [ByPaidOverlap(), ByPaidOverlap(k=2, depth=4)],
        },
    ]
    draws = {
        "chunk": [pieces(16), pieces(24)],
        "chunk.overlap": Integers(0, 20, 4),
        "retrieve.alpha": Uniform(0, 1),
        "retrieve.sparse.k1": LogUniform(0.5, 4),
    }
    return Sweep(
        hybrid(k=4),
        [{path: values[::step] for path, values in list(grid.items())[::step]} for grid in grids[::step]],
        random=Random(6, dict(list(draws.items())[::step]), seed=3),
        where=("chunk.overlap < chunk.size", "retrieve.k >= 2")[::step],
        systems=dict(list(SYSTEMS.items())[::step]),
    )


def numbers(results: Results) -> str:
    """Every number of a run to the last bit, and what failed, whatever the order of systems.

    Fingerprints are left out: that of a function that nobody gave a version is of one process.
    """
    summary = results.summary.drop(columns="fingerprint").sort_values(["variant", "metric"])
    queries = results.per_query.sort_values(["variant", "metric", "query"])
    texts = [table.to_csv(index=False, float_format="%.17g") for table in (summary, queries)]
    return hashlib.sha256(json.dumps([*texts, sorted(results.manifest["failed"].items())]).encode()).hexdigest()


def names(store: DiskStore) -> list[str]:
    """The names of all that a store holds, with what they are names of."""
    actions, objects = (
        sorted(name for name, *_ in found) for found in (store.layout.actions(), store.layout.objects())
    )
    return [*(f"action {name}" for name in actions), *(f"object {name}" for name in objects)]


def told(store: DiskStore, what: Sweep | None = None, **how: Any) -> tuple[str, list[str]]:
    """Run, and return the numbers and the names."""
    return numbers(run(what or sweep(), tiny_dataset(), METRICS, store=store, **how)), names(store)


if __name__ == "__main__":
    found = told(DiskStore("store"))
    stored = Sweep(hybrid(k=4), random=sweep().random, where=sweep().where)
    digest = run(stored, tiny_dataset(), METRICS, store=DiskStore("store")).digest
    print(json.dumps({"digest": digest, "told": found, "from": evalkit.__file__}))
