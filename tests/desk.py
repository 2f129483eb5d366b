"""A help desk whose questions and traps are known: what a semantic cache does with them can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from toys import small_dataset

from evalkit.datasets import Dataset, Traffic
from evalkit.datasets.intents import Intent
from evalkit.serving.layers import SemanticCache
from evalkit.serving.load.traffics import Recorded
from evalkit.serving.thresholds.certification import Certification
from evalkit.serving.thresholds.halves import ByHash
from evalkit.testing.words import HashedWords

ITEMS = 60


def desk(asked: int = 8, traps: int = 1, seed: int = 0) -> Dataset:
    """Sixty things whose price is asked for so many times each, and of each so many times whether it costs nothing.

    By hashed words, too many to collide, a price is like itself (cosine 1), near its trap (0.89), and 0.75 from other
    prices.
    """
    rows = []
    for i in range(ITEMS):
        price = {"text": f"what does item{i} cost", "intent": f"i{i}", "answer": f"{i} euros", "kind": "canonical"}
        trap = {"text": f"what does item{i} not cost", "intent": f"i{i}!0", "answer": "no", "kind": "trap: negation"}
        rows += [price] * asked + [trap] * traps
    Random(f"{seed} desk").shuffle(rows)
    traffic = Traffic.of([{**row, "at": 10.0 * k, "user": f"u{k % 7}"} for k, row in enumerate(rows)])
    sides = {i: "dev" if i % 2 else "test" for i in range(ITEMS)}
    intents = {
        f"i{i}": Intent(f"i{i}", "", f"what does item{i} cost", f"{i} euros", (), split=sides[i])
        for i in range(ITEMS)
    }
    return replace(small_dataset(), traffic=traffic, intents=intents)


def certification(**changes: object) -> Certification:
    """A certification of the desk's cache: exact questions, and such as are near their traps, with stated calls."""
    given = {
        "name": "desk", "dataset": "data", "thresholds": (0.85, 0.95, 1.0), "cache": near(), "calls": 0.5,
        "traffic": Recorded(), "budget": 0.2, "split": ByHash(), "description": "what may be remembered", **changes,
    }  # fmt: skip
    return Certification(**given)  # type: ignore[arg-type]


def near(**changes: object) -> SemanticCache:
    """A cache that counts common words."""
    return SemanticCache(**{"embedder": HashedWords(dimensions=4096), "guard": "none", "ttl": None, **changes})  # type: ignore[arg-type]
