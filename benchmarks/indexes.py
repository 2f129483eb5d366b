"""What every vector index costs and finds, beside exact search and beside bare FAISS in the same process.

Run ``python benchmarks/indexes.py``. The vectors are 100,000 paragraphs from the docstrings of the installed
packages, package after package, and 1,000 more as queries: 384 dimensions, the mean of MiniLM's token embeddings
weighted by rarity, without their first principal component (Arora, Liang and Ma, *A Simple but Tough-to-Beat Baseline
for Sentence Embeddings*, ICLR 2017). They are neither noise nor a few clusters. Give a ``.npy`` file of other unit
vectors, the first 1,000 of them queries, to measure on these.

Bare FAISS does the same work on the very same index: its own search, with its own rescoring (``IndexRefineFlat``)
where evalkit rescores. The two take turns on the same queries, and the medians of many calls are compared. All of it
runs on one thread and is timed by that thread's own clock, so that other work on the machine counts little.
"""

from __future__ import annotations

import re
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from evalkit.metrics.neighbours import neighbour_recall
from evalkit.similarity import cosine
from evalkit.stages import models
from evalkit.stages.index import HNSW, IVFPQ, Flat, IVFFlat, ScalarQuantised
from evalkit.types import CORPUS, QUERY
from evalkit.values import Rankings, Vectors

VECTORS, QUERIES, K, BATCH = 100_000, 1_000, 10, 128
WANTED_RECALL, WANTED_OVERHEAD = 0.95, 1.05
CURVES: dict[Any, list[dict[str, int]]] = {
    Flat(): [],
    HNSW(): [{"ef_search": ef} for ef in (20, 40, 160, 320)],
    IVFFlat(): [{"probes": probes} for probes in (8, 32, 64, 256)],
    IVFPQ(): [
        *({"probes": probes} for probes in (32, 64, 256)),
        *({"rescore": rescore} for rescore in (0, 20, 200)),
    ],
    ScalarQuantised(4): [{"rescore": rescore} for rescore in (0, 12, 16)],
    ScalarQuantised(6): [{"rescore": 0}],
    ScalarQuantised(8): [{"rescore": rescore} for rescore in (0, 16)],
    ScalarQuantised(16): [{"rescore": 0}],
}
"""Every index with its defaults, and what else is asked of the same build."""


def paragraphs() -> list[str]:
    """Return distinct paragraphs of prose from docstrings, package after package."""
    found: dict[str, None] = {}
    for file in sorted(Path(np.__file__).parents[1].rglob("*.py")):
        for docstring in re.findall(r'"""(.*?)"""', file.read_text(encoding="utf-8", errors="replace"), re.DOTALL):
            for paragraph in re.split(r"\n\s*\n", docstring):
                text = " ".join(paragraph.split())
                letters = sum(map(str.isalpha, text)) + text.count(" ")
                if 40 <= len(text) <= 600 and letters > 0.8 * len(text):
                    found.setdefault(text)
    return list(found)


def embedded(texts: list[str]) -> np.ndarray:
    """Return the static vectors of texts: float32 of shape (n, 384), of length 1."""
    from safetensors.numpy import load_file
    from scipy.sparse import csr_matrix

    weights = load_file(Path(models.model_folder(models.MINILM)) / "model.safetensors")
    tokens = next(table for name, table in weights.items() if name.endswith("word_embeddings.weight"))
    rows = [e.ids for e in models.tokenizer(models.MINILM).encode_batch_fast(texts, add_special_tokens=False)]
    flat = np.concatenate([np.asarray(row) for row in rows])
    often = np.bincount(flat, minlength=len(tokens)) / len(flat)
    ends = np.cumsum([0, *map(len, rows)])
    means = csr_matrix(((1e-3 / (1e-3 + often))[flat], flat, ends), shape=(len(rows), len(tokens))) @ tokens
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    means -= means.mean(axis=0)
    first = np.linalg.svd(means[::20], full_matrices=False)[2][:1]
    means -= means @ first.T @ first
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def load() -> tuple[Vectors, Vectors]:
    """Return corpus and queries."""
    if len(sys.argv) > 1:
        vectors = np.load(sys.argv[1])
        return Vectors(vectors[QUERIES : QUERIES + VECTORS]), Vectors(vectors[:QUERIES])
    texts = paragraphs()
    chosen = np.random.default_rng(0).permutation(len(texts))[: VECTORS + QUERIES]
    asked, kept = chosen[:QUERIES], np.sort(chosen[QUERIES:])
    vectors = embedded([texts[i] for i in (*asked, *kept)])
    return Vectors(vectors[QUERIES:]), Vectors(vectors[:QUERIES])


class Bench:
    """Measures indexes over one corpus."""

    def __init__(self, corpus: Vectors, queries: Vectors) -> None:
        self.corpus, self.queries = corpus, queries
        self.exact = self.search(Flat(), self.build(Flat())[0])(queries)

    def build(self, index: Any) -> tuple[Any, float]:
        """Return the built index and the seconds it took."""
        start = time.thread_time()
        value = index.expand(CORPUS, QUERY, K).inputs[0].op(self.corpus)
        return value, time.thread_time() - start

    def search(self, index: Any, value: Any) -> Callable[[Vectors], Rankings]:
        """Return evalkit's search."""
        node = index.expand(CORPUS, QUERY, K)
        given = [value, self.corpus][: len(node.inputs) - 1]
        return lambda queries: node.op(*given, queries)

    def bare(self, index: Any, value: Any) -> Callable[[Vectors], Any]:
        """Return FAISS's own search for the same: no order of ties, no float64."""
        searched, settings = value.loaded, None
        if isinstance(index, HNSW):
            settings = faiss.SearchParametersHNSW(efSearch=index.ef_search)
        if isinstance(index, IVFFlat | IVFPQ):
            settings = faiss.SearchParametersIVF(nprobe=index.probes)
        if getattr(index, "rescore", 0):
            searched = faiss.IndexRefineFlat(searched, faiss.swig_ptr(self.corpus.values))
            settings = faiss.IndexRefineSearchParameters(k_factor=index.rescore / K, base_index_params=settings)
        return lambda queries: searched.search(queries.values, K, params=settings)

    def recall(self, found: Rankings) -> float:
        """Return the mean recall, by exact cosines even where codes decided."""
        pairs = zip(found.items, self.queries.values, strict=True)
        scores = [cosine(self.corpus.values[items], query) for items, query in pairs]
        return float(neighbour_recall(scores, self.exact.scores, K).mean())

    def race(self, index: Any, value: Any, size: int, patience: float = 2.0) -> tuple[float, float]:
        """Return the seconds a query of evalkit and of bare FAISS: medians over calls of `size` queries."""
        took: dict[bool, list[float]] = {True: [], False: []}
        runs = {True: self.search(index, value), False: self.bare(index, value)}
        start, turn = time.thread_time(), 0
        while turn < 4 or (turn < 300 and time.thread_time() - start < patience):
            asked = self.queries.take((np.arange(size) + turn * size) % len(self.queries))
            for ours in (True, False) if turn % 2 else (False, True):
                began = time.thread_time()
                runs[ours](asked)
                took[ours].append((time.thread_time() - began) / size)
            turn += 1
        return float(np.median(took[True])), float(np.median(took[False]))


def table(bench: Bench) -> Iterator[tuple[Any, float, float]]:
    """Print a line for every index and setting; yield the defaults with their recall and overhead."""
    print(
        f"\n{'':44}{'build s':>8}{'MB':>8}{'recall@10':>11}{'queries/s':>11}{'x FAISS':>9}{'one: us':>10}{'FAISS':>8}"
    )
    for index, settings in CURVES.items():
        value, seconds = bench.build(index)
        for shown in (index, *(replace(index, **setting) for setting in settings)):
            recall = bench.recall(bench.search(shown, value)(bench.queries))
            (ours, bare), (one, bare_one) = bench.race(shown, value, BATCH), bench.race(shown, value, 1, 0.5)
            built = f"{seconds:8.1f}{value.data.nbytes / 1e6:8.1f}" if shown is index else " " * 16
            print(
                f"{_named(index, shown):44}{built}{recall:11.4f}{1 / ours:11.0f}{ours / bare:9.3f}"
                f"{one * 1e6:10.0f}{bare_one * 1e6:8.0f}",
                flush=True,
            )
            if shown is index:
                yield index, recall, ours / bare


def _named(index: Any, shown: Any) -> str:
    text = str(shown)
    return text if shown is index else "    " + ", ".join(_differences(index, shown))


def _differences(index: Any, shown: Any) -> Iterator[str]:
    for name, value in vars(shown).items():
        if value != getattr(index, name):
            yield f"{name}={value}"


def growth(bench: Bench) -> None:
    """Print what it costs to keep lists that were learnt when the corpus was smaller."""
    print("\nLists learnt from the first part of the corpus, the rest put into them")
    print(
        f"{'':44}{'lists':>8}{'build s':>8}{'recall@10':>11}{'queries/s':>11}{'probes for 0.95':>17}{'queries/s':>11}"
    )
    size = len(bench.corpus)
    shuffled = Bench(bench.corpus.take(np.random.default_rng(1).permutation(size)), bench.queries)
    cases = [("all", bench, IVFFlat())]
    for share in (0.5, 0.1, 0.01):
        cases += [
            (f"{share:.0%}, grown by more of the same", shuffled, IVFFlat(trained_on=share)),
            (f"{share:.0%}, grown by other packages", bench, IVFFlat(trained_on=share)),
        ]
    for name, world, index in cases:
        value, seconds = world.build(index)
        lists = value.loaded.nlist
        enough = _enough(world, index, value)
        at = replace(index, probes=enough)
        recall = world.recall(world.search(index, value)(world.queries))
        speeds = [1 / world.race(shown, value, BATCH, 0.5)[0] for shown in (index, at)]
        print(
            f"{name:44}{lists:8}{seconds:8.1f}{recall:11.4f}{speeds[0]:11.0f}{enough:17}{speeds[1]:11.0f}", flush=True
        )


def _enough(world: Bench, index: Any, value: Any) -> int:
    """Return about the fewest probes that reach the wanted recall, which never falls with more of them."""
    steps = [8]
    while steps[-1] < value.loaded.nlist:
        steps.append(steps[-1] + max(1, steps[-1] // 8))
    at = bisect_left(
        steps,
        WANTED_RECALL,
        key=lambda probes: world.recall(world.search(replace(index, probes=probes), value)(world.queries)),
    )
    return steps[min(at, len(steps) - 1)]


def main() -> None:
    start = time.perf_counter()
    faiss.omp_set_num_threads(1)
    corpus, queries = load()
    print(f"{len(corpus):,} vectors of {corpus.values.shape[1]} dimensions and {len(queries):,} queries")
    bench = Bench(corpus, queries)
    nearest = np.array([scores[[0, K - 1]] for scores in bench.exact.scores]).mean(axis=0)
    some = corpus.values[:: len(corpus) // 2_000]
    spread = np.linalg.eigvalsh(np.cov(some.T))
    print(
        f"mean cosine to the nearest {nearest[0]:.2f}, to the {K}th {nearest[1]:.2f}, to any other "
        f"{(some @ some.T).mean():.2f}; participation ratio {spread.sum() ** 2 / (spread**2).sum():.0f}"
    )
    for index, recall, overhead in list(table(bench)):
        print(
            f"{_mark(recall >= WANTED_RECALL)} recall@10 {recall:.3f} (wanted: {WANTED_RECALL})   "
            f"{_mark(overhead <= WANTED_OVERHEAD)} {overhead:.3f} of FAISS's time (wanted: {WANTED_OVERHEAD})   "
            f"{index}"
        )
    growth(bench)
    print(f"\n{time.perf_counter() - start:.0f} s in all")


def _mark(good: bool) -> str:
    return "met:   " if good else "MISSED:"


if __name__ == "__main__":
    main()
