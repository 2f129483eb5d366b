"""From the nodes' results to numbers: per query first, then summaries with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np

from evalkit.calls import Call
from evalkit.columns import Array
from evalkit.datasets import Dataset
from evalkit.errors import InputError
from evalkit.evaluate.calling.billing import prices_used, usage_of
from evalkit.evaluate.contexts import Contexts, applies_to
from evalkit.evaluate.nodes import Context, Result
from evalkit.evaluate.timing import Samples, corpus_nodes
from evalkit.metrics import (
    AnswerMetric,
    Case,
    CostMetric,
    Judged,
    JudgedMetric,
    Metric,
    PrecisionOmega,
    Qrels,
    StreamMetric,
    evaluate,
)
from evalkit.metrics import Rankings as DocumentRankings
from evalkit.stages.count import CountPrompts, Counts, CountTokens
from evalkit.stages.counting import Tokens
from evalkit.types import QUERY, Digest, Node, Origin
from evalkit.values import Answers, Chunks, Prompts, Queries, Rankings
from evalkit.variants import Variant

_SEAM = {"ranking": "retrieve", "spans": "retrieve", "passages": "prompt", "answers": "answer", "cost": "answer"}
PROMPT_TOKENS = "PromptTokens"
PROMPT_COUNTER = Tokens()
"""Counts every system's prompts, whatever model answers: lengths compare, and the unit says whose tokens they are."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One metric of one system: a value for each query that has one."""

    metric: str
    queries: Sequence[str]
    values: Array
    unit: str
    origin: Origin


@dataclass(frozen=True)
class Fact:
    """Something counted about a system's corpus, exact and the same for every query."""

    metric: str
    value: float
    n: int
    unit: str


def targets(variant: Variant, metrics: Sequence[Metric], timed: bool) -> dict[str, Node]:
    """Return the nodes whose results are needed to score a variant.

    Raises
    ------
    InputError
        If a metric cannot be computed by an evaluation.
    """
    seams = variant.nodes()
    wanted: dict[str, Node] = {"chunks": seams["chunks"]}
    for metric in metrics:
        if metric.needs == "latency":
            if isinstance(metric, StreamMetric):
                wanted["answer"] = seams["answer"]
            continue
        if isinstance(metric, JudgedMetric):
            wanted["prompt"] = seams["prompt"]
            if "answer" in metric.reads:
                wanted["answer"] = seams["answer"]
            continue
        if metric.needs not in _SEAM:
            raise InputError(f"metric {metric} needs {metric.needs} records, which an evaluation does not make")
        wanted[_SEAM[metric.needs]] = seams[_SEAM[metric.needs]]  # type: ignore[index]
        if getattr(metric, "context", ()):
            wanted["prompt"] = seams["prompt"]
    if any(metric.needs == "answers" for metric in metrics):
        wanted[PROMPT_TOKENS] = Node(CountPrompts(PROMPT_COUNTER), (seams["prompt"],))
    for node in corpus_nodes(variant):
        if hasattr(node.op, "max_length"):
            wanted.setdefault("truncated", Node(CountTokens(cast("Any", node.op)), node.inputs))
        if timed:
            wanted[node.recipe] = node
    return wanted


@dataclass
class Scorer:
    """Scores systems on one data set; judgements and document names are prepared once."""

    data: Dataset
    done: Mapping[Digest, Result]
    context: Context
    _owners: dict[tuple[Digest, ...], Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._documents = tuple(self.data.documents.id)
        self._numbers = {name: i for i, name in enumerate(self._documents)}
        asked = cast("Queries", self.context.whole(self.done[QUERY.recipe].blocks))
        self._asked = list(asked.id)
        self._sorted = np.argsort(np.array(self._asked))

    @cached_property
    def _qrels(self) -> Qrels:
        judged = {query: self.data.qrels[query] for query in sorted(self.data.qrels)}  # whatever the file's order
        return Qrels.of(judged).encode(self._documents)

    def score(self, wanted: Mapping[str, Digest], metrics: Sequence[Metric]) -> list[Scored]:
        """Return every metric of one system, query by query."""
        scored = []
        ranking = with_judged(metrics)
        if ranking:
            result = self.done[wanted["retrieve"]]
            evaluation = evaluate(self._document_rankings(wanted), self._qrels, ranking)
            names = [str(q) for q in evaluation.queries]
            for metric, values in zip(evaluation.metrics, evaluation.values, strict=True):
                scored.append(Scored(str(metric), names, values, metric.unit, result.origin))
        spans = [m for m in metrics if m.needs == "spans"]
        if spans:
            scored += self._spans(wanted, spans)
        costs = [m for m in metrics if isinstance(m, CostMetric)]
        if costs:
            scored += self._costs(wanted, costs)
        scored += self._answers(wanted, [m for m in metrics if isinstance(m, AnswerMetric)])
        if any(m.needs == "answers" for m in metrics):
            counts = cast("Counts", self._load(wanted[PROMPT_TOKENS]))
            names = [self._asked[i] for i in self._sorted]
            tokens = counts.values[self._sorted].astype(np.float64)
            origin = self.done[wanted[PROMPT_TOKENS]].origin
            scored.append(Scored(PROMPT_TOKENS, names, tokens, PROMPT_COUNTER.unit, origin))
        return scored

    def facts(self, wanted: Mapping[str, Digest], max_length: int | None) -> list[Fact]:
        """Return what is counted of a system's corpus: chunks, and the share of text the embedder never sees."""
        chunks = cast("Chunks", self._load(wanted["chunks"]))
        found = [Fact("Chunks", len(chunks), len(chunks), "chunks")]
        if "truncated" in wanted and max_length is not None:
            tokens = cast("Counts", self._load(wanted["truncated"])).values
            cut = np.maximum(tokens - max_length, 0).sum() / max(int(tokens.sum()), 1)
            found.append(Fact("Truncated", float(cut), len(tokens), "share"))
        return found

    def _load(self, recipe: Digest) -> Any:
        return self.context.whole(self.done[recipe].blocks)

    def _document_rankings(self, wanted: Mapping[str, Digest]) -> DocumentRankings:
        """Make a ranking of chunks one of documents: each document at the place of its first chunk."""
        rankings = cast("Rankings", self._load(wanted["retrieve"]))
        blocks = self.done[wanted["chunks"]].blocks
        if blocks not in self._owners:
            chunks = cast("Chunks", self.context.whole(blocks))
            self._owners[blocks] = np.array([self._numbers[name] for name in chunks.document], dtype=np.int64)
        owners = self._owners[blocks][rankings.items.values]
        rows = np.repeat(np.arange(len(rankings)), np.diff(rankings.items.offsets))
        _, first = np.unique(rows * len(self._documents) + owners, return_index=True)
        first.sort()
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows[first], minlength=len(rankings)))])
        return DocumentRankings(self._asked, owners[first], offsets, vocabulary=self._documents)

    def _spans(self, wanted: Mapping[str, Digest], metrics: Sequence[Metric]) -> list[Scored]:
        """Score where the chunks found stand against the evidence of the queries that have any."""
        result = self.done[wanted["retrieve"]]
        rankings = cast("Rankings", self._load(wanted["retrieve"]))
        chunks = cast("Chunks", self._load(wanted["chunks"]))
        places = list(zip(chunks.document, chunks.start.tolist(), chunks.end.tolist(), strict=True))
        evidence = {name: answer.evidence for name, answer in self.data.answers.items() if answer.evidence}
        rows = [int(i) for i in self._sorted if self._asked[i] in evidence]
        names = [self._asked[i] for i in rows]
        found = [[places[item] for item in rankings.items[i].tolist()] for i in rows]
        references = [evidence[name] for name in names]
        scored = []
        for m in metrics:
            every = places if isinstance(m, PrecisionOmega) else ()
            values = cast("Any", m).score(found, references, every)
            scored.append(Scored(str(m), names, values, m.unit, result.origin))
        return scored

    def _costs(self, wanted: Mapping[str, Digest], metrics: Sequence[CostMetric]) -> list[Scored]:
        result = self.done[wanted["answer"]]
        priced = any(m.unit == "$" for m in metrics)
        usage = usage_of(self.calls(wanted), self.context.spending.prices, priced=priced)
        names = [self._asked[i] for i in self._sorted]
        return [Scored(str(m), names, m.per_query(usage)[self._sorted], m.unit, result.origin) for m in metrics]

    def calls(self, wanted: Mapping[str, Digest]) -> list[Call | None]:
        """Return what each query's answer took of a model, in the order of asking."""
        return cast("Answers", self._load(wanted["answer"])).made() if "answer" in wanted else []

    def prices_used(self, wanted: Iterable[Mapping[str, Digest]]) -> list[dict[str, Any]]:
        """Return the rows of the price list that some systems' calls were priced by."""
        return prices_used((call for one in wanted for call in self.calls(one)), self.context.spending.prices)

    def _answers(self, wanted: Mapping[str, Digest], metrics: Sequence[AnswerMetric]) -> list[Scored]:
        """Score answers, and what went into their prompts; a query that a metric does not apply to has no value."""
        scored = []
        for m in metrics:
            result = self.done[wanted[_SEAM[m.needs]]]
            asked = set(applicable(self.data, m))
            rows = [int(i) for i in self._sorted if self._asked[i] in asked]
            names = [self._asked[i] for i in rows]
            answers = cast("Answers", self._load(wanted["answer"])).text if m.needs == "answers" else None
            texts = [answers[i] if answers is not None else "" for i in rows]
            known = (self.data.answers.get(name) for name in names)
            references = [[a.text, *a.alternatives] if a is not None else [] for a in known]
            prompts = cast("Prompts", self._load(wanted["prompt"])) if m.context else None
            context = {name: self._contexts.named(name, names, cast("Prompts", prompts), rows) for name in m.context}
            values = m.score(texts, references, **context)
            kept = np.flatnonzero(~np.isnan(values))
            scored.append(Scored(str(m), [names[i] for i in kept], values[kept], m.unit, result.origin))
        return scored

    @cached_property
    def _contexts(self) -> Contexts:
        return Contexts(self.data)

    @property
    def asked(self) -> Sequence[str]:
        """The queries, in the order of asking."""
        return self._asked

    def cases(self, wanted: Mapping[str, Digest]) -> dict[str, Case]:
        """Return what a judge sees of one system, by query."""
        answers = cast("Answers", self._load(wanted["answer"])) if "answer" in wanted else None
        return self._contexts.cases(self._asked, cast("Prompts", self._load(wanted["prompt"])), answers)


def applicable(data: Dataset, metric: Metric) -> list[str]:
    """Return the queries that a metric has a value for: all, those judged, answered, or with evidence or contexts."""
    if metric.needs == "ranking":
        return [query for query in data.queries.id if query not in set(data.unjudged)]
    if metric.needs == "cost":
        return list(data.queries.id)
    if metric.needs in ("passages", "judge"):
        return applies_to(data, metric)
    answered = [query for query in data.queries.id if query in data.answers]
    return answered if metric.needs == "answers" else [query for query in answered if data.answers[query].evidence]


def with_judged(metrics: Sequence[Metric]) -> list[Metric]:
    """Return the ranking metrics, and beside them what share of each cut-off is judged: how far to trust them."""
    ranking = [metric for metric in metrics if metric.needs == "ranking"]
    shares = (Judged(cutoff) for cutoff in dict.fromkeys(getattr(metric, "cutoff", None) for metric in ranking))
    return list(dict.fromkeys([*ranking, *shares]))


def latencies(samples: Samples) -> dict[str, Array]:
    """Return milliseconds by stage, and in all under ``total``; one value a query, the mean of its repeats."""
    queries, rows = np.unique(np.array(list(samples.query)), return_inverse=True)
    counts = np.bincount(rows)
    stages = list(dict.fromkeys(samples.stages.values))
    spent = {stage: np.zeros(len(samples)) for stage in stages}
    for i, (names, times) in enumerate(zip(samples.stages, samples.spent, strict=True)):
        for name, ns in zip(names, times, strict=True):
            spent[name][i] = ns
    spent["total"] = np.asarray(samples.total, dtype=np.float64)
    return {stage: np.bincount(rows, ns, len(queries)) / counts / 1e6 for stage, ns in spent.items()}
