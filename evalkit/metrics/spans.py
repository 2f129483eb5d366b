"""Metrics of retrieved chunks against relevant excerpts, over characters.

Found text counts once; retrieved text counts as often as overlapping chunks repeat it, because the reader of
the context pays for every repetition.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.base import Definition, Metric, MetricError, Need
from evalkit.metrics.checks import check_cutoff
from evalkit.metrics.ids import Id

__all__ = ["PrecisionOmega", "Span", "SpanIoU", "SpanMetric", "SpanPrecision", "SpanRecall"]

Span = tuple[Id, int, int]  # document, first character, one past the last
ByDocument = Mapping[Id, NDArray[np.int64]]  # (start, stop) of its spans: shape (spans, 2)

_SOURCE = "Smith and Troynikov, Evaluating chunking strategies for retrieval, Chroma technical report 2024"
_EMPTY = "0 without retrieved chunks; a query without references is an error: leave it out"


def _define(formula: str, denominator: str, note: str = "") -> Definition:
    return Definition(
        formula=formula,
        source=_SOURCE,
        denominator=denominator,
        ties="chunks come in order",
        unjudged="text outside the references is not relevant",
        empty=_EMPTY,
        missing="a query without chunks scores 0 and stays in the mean",
        note=f"characters, not tokens; overlapping references count once{'; ' + note if note else ''}",
    )


@dataclass(frozen=True)
class SpanMetric(Metric):
    """A metric of the first `cutoff` chunks.

    Parameters
    ----------
    cutoff : int, optional
        Chunks counted, k. Without it all.
    """

    needs: ClassVar[Need] = "spans"
    cutoff: int | None = None

    def __post_init__(self) -> None:
        check_cutoff(self, self.cutoff)

    def score(
        self,
        retrieved: Sequence[Sequence[Span]],
        references: Sequence[Sequence[Span]],
        chunks: Sequence[Span] = (),
    ) -> NDArray[np.float64]:
        """Score the chunks of each query.

        Parameters
        ----------
        retrieved : Sequence of Sequence of Span
            Chunks for each query, the best first.
        references : Sequence of Sequence of Span
            Relevant excerpts for each query, at least one.
        chunks : Sequence of Span
            All chunks of the corpus; only `PrecisionOmega` needs them.

        Returns
        -------
        NDArray[float64], shape (queries,)

        Raises
        ------
        MetricError
            If lengths differ, a query has no reference, or a span is empty or reversed.
        """
        if len(retrieved) != len(references):
            raise MetricError(f"{self}: {len(retrieved)} rankings for {len(references)} reference lists")
        for query, spans in enumerate(references):
            if not spans:
                raise MetricError(f"{self}: query {query} has no reference; leave it out")
        check_spans(self, (span for spans in (*retrieved, *references, chunks) for span in spans))
        known = by_document(chunks)
        return np.array(
            [
                self._value(list(found)[: self.cutoff], merged(right), known)
                for found, right in zip(retrieved, references, strict=True)
            ],
            dtype=np.float64,
        )

    @abstractmethod
    def _value(self, found: list[Span], wanted: list[Span], chunks: ByDocument) -> float: ...


@dataclass(frozen=True)
class SpanRecall(SpanMetric):
    """Share of the relevant characters that were retrieved."""

    definition: ClassVar[Definition] = _define("|relevant and retrieved| / |relevant|", "relevant characters")

    def _value(self, found: list[Span], wanted: list[Span], chunks: ByDocument) -> float:
        return overlap(merged(found), wanted) / size(wanted)


@dataclass(frozen=True)
class SpanPrecision(SpanMetric):
    """Share of the retrieved characters that are relevant."""

    definition: ClassVar[Definition] = _define(
        "|relevant and retrieved| / |retrieved|", "retrieved characters, repetitions included"
    )

    def _value(self, found: list[Span], wanted: list[Span], chunks: ByDocument) -> float:
        return overlap(merged(found), wanted) / size(found) if found else 0.0


@dataclass(frozen=True)
class SpanIoU(SpanMetric):
    """Intersection over union of relevant and retrieved characters."""

    definition: ClassVar[Definition] = _define(
        "|relevant and retrieved| / (|relevant| + |retrieved| - |relevant and retrieved|)",
        "retrieved characters, repetitions included, and relevant ones not retrieved",
    )

    def _value(self, found: list[Span], wanted: list[Span], chunks: ByDocument) -> float:
        both = overlap(merged(found), wanted)
        return both / (size(found) + size(wanted) - both)


@dataclass(frozen=True)
class PrecisionOmega(SpanMetric):
    """Precision if every chunk that holds relevant text were retrieved: what the chunking itself allows."""

    definition: ClassVar[Definition] = _define(
        "|relevant and in chunks| / |chunks with relevant text, joined, and relevant text in no chunk|",
        "characters of all chunks with relevant text, each once, as in the report's published code",
        "rankings and cut-off do not matter; a chunk that only touches a reference does not hold it",
    )

    def _value(self, found: list[Span], wanted: list[Span], chunks: ByDocument) -> float:
        joined = merged(span for right in wanted for span in holding(right, chunks))
        both = overlap(joined, wanted)
        return both / (size(joined) + size(wanted) - both)


def check_spans(metric: Metric, spans: Iterable[Span]) -> None:
    """Refuse spans that hold no character."""
    for span in spans:
        document, start, stop = span
        if not 0 <= start < stop:
            raise MetricError(f"{metric}: span {start}:{stop} of {document!r} is empty; give start < stop")


def by_document(spans: Iterable[Span]) -> ByDocument:
    """Return every document's spans as one array."""
    found: dict[Id, list[tuple[int, int]]] = defaultdict(list)
    for document, start, stop in spans:
        found[document].append((start, stop))
    return {document: np.array(places, dtype=np.int64) for document, places in found.items()}


def holding(wanted: Span, spans: ByDocument) -> list[Span]:
    """Return the spans that share a character with one of the same document."""
    document, start, stop = wanted
    places = spans.get(document, np.zeros((0, 2), dtype=np.int64))
    near = places[(places[:, 0] < stop) & (places[:, 1] > start)]
    return [(document, first, last) for first, last in near.tolist()]


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return disjoint spans that cover the same characters, by document and start."""
    out: list[Span] = []
    for document, start, stop in sorted(set(spans), key=lambda span: (str(span[0]), span[1])):
        if out and out[-1][0] == document and start <= out[-1][2]:
            out[-1] = (document, out[-1][1], max(stop, out[-1][2]))
        else:
            out.append((document, start, stop))
    return out


def size(spans: Iterable[Span]) -> int:
    """Return the characters in all spans, repetitions included."""
    return sum(stop - start for _, start, stop in spans)


def overlap(first: Iterable[Span], second: Iterable[Span]) -> int:
    """Return the characters that two lists of disjoint spans share."""
    others = list(second)
    return sum(
        max(0, min(stop, to) - max(start, at))
        for document, start, stop in first
        for name, at, to in others
        if name == document
    )
