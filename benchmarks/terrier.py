"""The part of a sweep that PyTerrier can express, by ``ek.run`` and by ``pt.Experiment``, in the same process.

Run ``python benchmarks/terrier.py [rounds]``. 108 systems: a retriever (dense, BM25, hybrids with four weights), cut
at three depths, MaxSim over what is left or nothing, cut at three ks. PyTerrier gets evalkit's own retrievers and
reranker as transformers, equal where their fields are, so that ``plan="tree"`` shares every common prefix; no Java is
started. The corpus's side (chunks, vectors, indexes, token vectors) is made beforehand and the same for all; of the
queries nobody knows anything: evalkit gets a copy of the prepared store in every round. Its time is that of the whole
run, with reading the store, writing into it, and the intervals that PyTerrier does not make.

The tree is shown for two ways of writing the same systems: each retriever and reranker encodes the queries by itself;
or, made for the tree, the encoders stand first in every pipeline, a prefix that all share. The linear plan, with that
one prefix computed beforehand, is shown once; it repeats all searches and rerankings. Documents stand where their
first chunk does. Chunks of equal score are in the order of the corpus on both sides, and what ``ir_measures`` is
given as scores are ranks, so that it sees no tie. Every library is kept to one thread; evalkit works on all cores or,
where it says so, on one, and PyTerrier on one, but for the embedder, which spreads texts over the cores by itself.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "EVALKIT_PROGRESS": "0"}  # before they are loaded
os.environ.setdefault("EVALKIT_THREADS", str(os.cpu_count()))

import numpy as np
import pandas as pd

import evalkit as ek
from evalkit.columns import Ragged, Strings
from evalkit.datasets import Dataset
from evalkit.evaluate.apply import apply
from evalkit.evaluate.execute import execute
from evalkit.evaluate.experiment import Experiment
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import Plan
from evalkit.evaluate.quality import plan_of
from evalkit.stages import BM25, ONNX, Cutoff, Dense, Hybrid, LateInteraction
from evalkit.stages.rerank.tokens import EmbedTokens
from evalkit.store import DiskStore
from evalkit.types import CORPUS, QUERY, Digest, Node
from evalkit.values import Queries, Rankings, Table, Value
from evalkit.variants import Variant

try:
    import ir_measures
    import pyterrier as pt
except ImportError:
    sys.exit("PyTerrier is not installed: pip install 'evalkit[bench]'")

HANDBOOK = Path(__file__).parents[1] / "datasets" / "handbook"
DOCUMENTS, QUERIES, ROUNDS, WANTED = 60, 60, 3, 2.0
DEEPEST, DEPTHS, KEPT = 50, (10, 20, 50), (3, 5, 10)
METRICS, MEASURES = ["nDCG@10", "MRR@10"], ["nDCG@10", "RR@10"]
EMBEDDER = ONNX(precision="int8")
RETRIEVERS: dict[str, Any] = {
    "dense": Dense(EMBEDDER, k=DEEPEST),
    "BM25": BM25(k=DEEPEST),
    **{
        f"hybrid {alpha}": Hybrid(Dense(EMBEDDER, k=DEEPEST), BM25(k=DEEPEST), alpha, k=DEEPEST)
        for alpha in (0.2, 0.4, 0.6, 0.8)
    },
}
RERANKER = LateInteraction(k=None, depth=None)
CHUNKS = Node(Variant().chunk, (CORPUS,))
known: dict[Digest, Value] = {}
"""What is made of the corpus, for PyTerrier's side."""


def data() -> Dataset:
    """A part of the handbook: queries whose relevant documents are all in it."""
    whole, inside, asked = ek.load_dataset(HANDBOOK), set[str](), []
    for query in whole.queries.id:
        relevant = {name for name, grade in whole.qrels.get(query, {}).items() if grade > 0}
        if relevant and len(inside | relevant) <= DOCUMENTS and len(asked) < QUERIES:
            inside |= relevant
            asked.append(query)
    judged = [(q, d, grade) for q in asked for d, grade in whole.qrels[q].items() if d in inside]
    documents = pd.DataFrame({"id": whole.documents.id, "title": whole.documents.title, "text": whole.documents.text})
    queries = pd.DataFrame({"id": whole.queries.id, "text": whole.queries.text})
    return Dataset.from_frames(
        documents[documents.id.isin(inside)],
        queries[queries.id.isin(asked)],
        pd.DataFrame(judged, columns=["query", "document", "grade"]),
        name="a part of the handbook",
    )


def variants() -> dict[str, Variant]:
    """Evalkit's systems by name."""
    return {
        f"{name}, {depth}, {'MaxSim' if reranked else 'nothing'}, {k}": Variant(
            retrieve=replace(retriever, k=depth),
            rerank=replace(RERANKER, k=k) if reranked else Cutoff(k),
        )
        for name, retriever in RETRIEVERS.items()
        for depth in DEPTHS
        for reranked in (False, True)
        for k in KEPT
    }


def pipelines(first: Sequence[pt.Transformer] = ()) -> list[pt.Transformer]:
    """The same systems in the same order, as PyTerrier has them; `first` stands before each."""
    found = []
    for retriever in RETRIEVERS.values():
        for depth in DEPTHS:
            for reranked in (False, True):
                for k in KEPT:
                    steps = [*first, Find(retriever), pt.RankCutoff(depth), *[Rerank(RERANKER)] * reranked]
                    found.append(pt.Compose(*steps, pt.RankCutoff(k), ByDocument()))
    return found


@dataclass(frozen=True)
class Ranked:
    """Stands for a ranking that a reranker is given."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, *inputs: Any) -> Value:
        """Is never asked: the ranking is there."""
        raise NotImplementedError


RANKED = Node(Ranked(), (QUERY,))


@dataclass(frozen=True)
class Encode(pt.Transformer):
    """Puts what an op makes of each query into a column."""

    op: Any

    def transform(self, topics: pd.DataFrame) -> pd.DataFrame:
        """Encode every query."""
        node = Node(self.op, (QUERY,))
        made: Any = apply(node, [_queries(topics)]).value
        return topics.assign(**{node.recipe: [made.row(i) for i in range(len(made))]})


@dataclass(frozen=True)
class Find(pt.Transformer):
    """One of evalkit's retrievers."""

    retriever: Any

    def transform(self, topics: pd.DataFrame) -> pd.DataFrame:
        """Search for every query."""
        return _frame(topics, _ask(self.retriever.expand(CHUNKS, QUERY), topics))


@dataclass(frozen=True)
class Rerank(pt.Transformer):
    """One of evalkit's rerankers."""

    reranker: Any

    def transform(self, found: pd.DataFrame) -> pd.DataFrame:
        """Order every query's chunks anew."""
        starts = np.flatnonzero((found["rank"] == 0).to_numpy())
        offsets = np.append(starts, len(found)).astype(np.int64)
        items, scores = found["item"].to_numpy(np.int32), found["score"].to_numpy(np.float64)
        ranking = Rankings(Ragged(items, offsets), Ragged(scores, offsets))
        topics = found.iloc[starts].drop(columns=["item", "docno", "score", "rank"])
        return _frame(topics, _ask(self.reranker.expand(CHUNKS, QUERY, RANKED), topics, ranking))


@dataclass(frozen=True)
class ByDocument(pt.Transformer):
    """Puts documents in the place of chunks, each where its first chunk stands; its score is minus its place."""

    def transform(self, found: pd.DataFrame) -> pd.DataFrame:
        """Keep each document once."""
        chunks: Any = known[CHUNKS.recipe]
        found = found.assign(docno=np.array(list(chunks.document), dtype=object)[found["item"].to_numpy()])
        found = found.drop_duplicates(["qid", "docno"])
        return found.assign(score=-found["rank"].to_numpy(np.float64))


def _queries(topics: pd.DataFrame) -> Queries:
    return Queries(Strings.of(topics["qid"]), Strings.of(topics["query"]))


def _ask(end: Node, topics: pd.DataFrame, ranking: Rankings | None = None) -> Rankings:
    """Work on the nodes that depend on the queries, but for what a column holds already."""
    values: dict[Digest, Any] = {**known, QUERY.recipe: _queries(topics), RANKED.recipe: ranking}
    for node in end.walk():
        if node.recipe in topics:
            rows = list(topics[node.recipe])
            values[node.recipe] = type(rows[0]).concat(rows)
        elif node.recipe not in values:
            values[node.recipe] = apply(node, [values[parent.recipe] for parent in node.inputs]).value
    return values[end.recipe]


def _frame(topics: pd.DataFrame, found: Rankings) -> pd.DataFrame:
    """Rankings as PyTerrier has them; `item` is the chunk's place in the corpus."""
    lengths = np.diff(found.items.offsets)
    rows = topics.iloc[np.repeat(np.arange(len(topics)), lengths)].reset_index(drop=True)
    ranks = np.arange(len(rows)) - np.repeat(found.items.offsets[:-1], lengths)
    items = found.items.values
    return rows.assign(item=items, docno=items.astype(str), score=found.scores.values, rank=ranks)


def prepare(part: Dataset, sweep: ek.Sweep, folder: Path) -> None:
    """Make all that no query enters, into a store, and hold it for PyTerrier's side."""
    experiment = Experiment("terrier", part.name, sweep)
    plan = plan_of(experiment, sweep.variants())
    corpus = {recipe: node for recipe, node in plan.nodes.items() if not node.per_query}
    store = DiskStore(folder)
    context = Context(store)
    done = execute(Plan(corpus, {}, 0), sources(part, 0, store), context)
    known.update({recipe: context.whole(result.blocks) for recipe, result in done.items()})
    warm: Table = part.queries.row(0)
    for op in (EMBEDDER, EmbedTokens(RERANKER.model, RERANKER.max_length)):
        op(Queries(Strings.of(["warm"]), Strings.of([f"{warm.text[0]} And what else?"])))  # type: ignore[attr-defined]


def by_evalkit(part: Dataset, sweep: ek.Sweep, prepared: Path) -> tuple[float, np.ndarray]:
    """Return the seconds of a whole run on a copy of the prepared store, and its figures."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(prepared, folder, dirs_exist_ok=True)
        start = time.perf_counter()
        results = ek.run(sweep, part, METRICS, store=DiskStore(folder))
        took = time.perf_counter() - start
    return took, results.table(METRICS).loc[list(sweep.systems)].to_numpy()


def by_terrier(part: Dataset, systems: list[pt.Transformer], **how: Any) -> tuple[float, np.ndarray]:
    """Return the seconds of an experiment, and its figures."""
    topics = pd.DataFrame({"qid": list(part.queries.id), "query": list(part.queries.text)})
    judged = [(q, d, grade) for q, found in part.qrels.items() for d, grade in found.items()]
    qrels = pd.DataFrame(judged, columns=["qid", "docno", "label"])
    names = [str(i) for i in range(len(systems))]
    start = time.perf_counter()
    found = pt.Experiment(
        systems,
        topics,
        qrels,
        [ir_measures.parse_measure(name) for name in MEASURES],
        names=names,
        **how,
        validate="ignore",
        verbose=False,
    )
    return time.perf_counter() - start, found[MEASURES].to_numpy()


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this block evalkit takes one core."""
    before, os.environ["EVALKIT_THREADS"] = os.environ["EVALKIT_THREADS"], "1"
    try:
        yield
    finally:
        os.environ["EVALKIT_THREADS"] = before


def main(rounds: int) -> None:
    part, systems = data(), variants()
    sweep = ek.Sweep(next(iter(systems.values())), systems=systems)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        prepare(part, sweep, Path(folder))
        chunks: Any = known[CHUNKS.recipe]
        print(
            f"{len(systems)} systems, {len(part.documents)} documents, {len(chunks)} chunks, "
            f"{len(part.queries)} queries; {os.cpu_count()} cores; the corpus's side took "
            f"{time.perf_counter() - start:.1f} s"
        )
        encoders = [Encode(EMBEDDER), Encode(EmbedTokens(RERANKER.model, RERANKER.max_length))]
        plain, ahead = pipelines(), pipelines(encoders)

        def alone() -> tuple[float, np.ndarray]:
            with one_thread():
                return by_evalkit(part, sweep, Path(folder))

        contest: dict[str, Callable[[], tuple[float, np.ndarray]]] = {
            "evalkit": lambda: by_evalkit(part, sweep, Path(folder)),
            "evalkit, one thread": alone,
            "PyTerrier, tree": lambda: by_terrier(part, plain, plan="tree"),
            "PyTerrier, tree, encoders first": lambda: by_terrier(part, ahead, plan="tree"),
        }
        times: dict[str, list[float]] = {name: [] for name in contest}
        figures: dict[str, np.ndarray] = {}
        for _ in range(rounds):
            for name, run in contest.items():
                took, figures[name] = run()
                times[name].append(took)
        with warnings.catch_warnings(action="ignore"):  # it advises the tree
            took, figures["PyTerrier, linear, one prefix"] = by_terrier(part, ahead, precompute_prefix=True)
        times["PyTerrier, linear, one prefix"] = [took]
    report(times, figures)


def report(times: dict[str, list[float]], figures: dict[str, np.ndarray]) -> None:
    print(f"\n{'':36}{'seconds':>9}{'x evalkit':>11}{'largest difference':>21}")
    ratios: dict[str, float] = {}
    for name, taken in times.items():
        ratios[name] = statistics.median(a / b for a, b in zip(taken, times["evalkit"], strict=False))
        apart = float(np.abs(figures[name] - figures["evalkit"]).max())
        print(f"{name:36}{statistics.median(taken):9.2f}{ratios[name]:11.2f}{apart:21.1e}")
    print()
    for name in ("PyTerrier, tree", "PyTerrier, tree, encoders first"):
        _verdict(ratios[name] >= WANTED, f"{ratios[name]:.2f} times faster than {name} (wanted: {WANTED:g})")
    apart = max(float(np.abs(one - figures["evalkit"]).max()) for one in figures.values())
    _verdict(apart <= 1e-9, f"figures differ by {apart:.1e} at most (wanted: 1e-9)")
    _verdict(not pt.java.started(), "no Java was started")


def _verdict(good: bool, what: str) -> None:
    print(f"{'met:   ' if good else 'MISSED:'} {what}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
