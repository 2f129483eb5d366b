"""Random runs and judgements with everything that goes wrong in real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

QUERIES = 100  # per world; 100 worlds make 10,000 cases


@dataclass(frozen=True)
class World:
    """A run and judgements of about 100 queries."""

    run: dict[str, dict[str, float]]
    qrels: dict[str, dict[str, int]]

    def ordered(self) -> dict[str, list[str]]:
        """Documents of each query by score descending, then id ascending, by Python's own sort."""
        return {q: sorted(docs, key=lambda d: (-docs[d], d)) for q, docs in self.run.items()}

    def untied(self) -> dict[str, dict[str, float]]:
        """The same order by scores that cannot tie."""
        return {q: {d: float(-rank) for rank, d in enumerate(docs)} for q, docs in self.ordered().items()}


def make_world(seed: int, longest: int, levels: int, missing: float, lowest: int) -> World:
    """Draw a world.

    seed: everything follows from it; longest: most results of a query; levels: distinct scores, few of them
    make many ties; missing: share of judged queries without a result; lowest: lowest grade.
    """
    rng = np.random.default_rng(seed)
    pool = [f"d{i}" for i in rng.permutation(longest + 10)]
    run, qrels = {}, {}
    for i in range(QUERIES):
        docs = rng.choice(pool, rng.integers(1, longest + 1), replace=False).tolist()
        scores = rng.integers(0, levels, len(docs)) / levels - 0.5
        judged = rng.choice(pool, rng.integers(1, len(pool)), replace=False).tolist()
        if rng.random() >= missing:
            run[f"q{i}"] = dict(zip(docs, scores.tolist(), strict=True))
        qrels[f"q{i}"] = dict(zip(judged, rng.integers(lowest, 5, len(judged)).tolist(), strict=True))
    run["unjudged"] = {pool[0]: 1.0}
    run.setdefault("q0", {pool[0]: 1.0})
    return World(run, qrels)


worlds = st.builds(
    make_world,
    seed=st.integers(0, 2**32 - 1),
    longest=st.integers(1, 30),
    levels=st.sampled_from([1, 2, 5, 20, 1000]),
    missing=st.sampled_from([0.0, 0.1, 0.9]),
    lowest=st.sampled_from([-1, 0, 1]),  # pytrec_eval crashes when all grades of a query are below -1
)
