"""The data set that everything runs on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.errors import InputError, nearest
from evalkit.values import Documents, Queries

if TYPE_CHECKING:
    import pandas as pd


class Span(NamedTuple):
    """Characters ``start`` to ``end`` of a document's text."""

    document: str
    start: int
    end: int


@dataclass(frozen=True)
class Reference:
    """A reference answer.

    Parameters
    ----------
    text : str
    alternatives : tuple of str
        Other texts that count as right.
    evidence : tuple of Span
        Where the documents say so.
    """

    text: str
    alternatives: tuple[str, ...] = ()
    evidence: tuple[Span, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Documents, queries, judgements and, where there are any, reference answers.

    Build one with `load_dataset` or `Dataset.from_frames`; both check everything first.

    Parameters
    ----------
    name : str
    documents, queries
        Sorted by id.
    qrels : {query id: {document id: grade}}
    answers : {query id: Reference}
    attributes : {query id: {name: value}}
        What else is known of a query: kind, intent, split.
    """

    name: str
    documents: Documents
    queries: Queries
    qrels: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, Reference] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Hash of the content, whatever the files' order or place."""
        rest = json.dumps(
            [
                {q: dict(sorted(judged.items())) for q, judged in sorted(self.qrels.items())},
                {q: [a.text, a.alternatives, a.evidence] for q, a in sorted(self.answers.items())},
                {q: dict(sorted(a.items())) for q, a in sorted(self.attributes.items())},
            ],
            default=str,
        )
        parts = f"{self.documents.digest}{self.queries.digest}{rest}"
        return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()

    @cached_property
    def unjudged(self) -> tuple[str, ...]:
        """Queries without any judgement: reported by name and left out of ranking metrics."""
        return tuple(q for q in self.queries.id if not self.qrels.get(q))

    def split(self, name: str) -> Dataset:
        """Keep the queries of one split.

        Raises
        ------
        InputError
            If no query has it.
        """
        splits = Counter(str(a["split"]) for a in self.attributes.values() if "split" in a)
        if name not in splits:
            raise InputError(f"data set {self.name}: no split '{name}'{nearest(name, splits)}")
        return self.select(q for q, a in self.attributes.items() if "split" in a and str(a["split"]) == name)

    def select(self, queries: Iterable[str]) -> Dataset:
        """Keep the given queries, and all documents."""
        wanted = set(queries)
        rows = [i for i, q in enumerate(self.queries.id) if q in wanted]
        return replace(
            self,
            queries=self.queries.take(rows),
            qrels={q: judged for q, judged in self.qrels.items() if q in wanted},
            answers={q: answer for q, answer in self.answers.items() if q in wanted},
            attributes={q: known for q, known in self.attributes.items() if q in wanted},
        )

    @classmethod
    def from_frames(
        cls,
        documents: pd.DataFrame,
        queries: pd.DataFrame,
        qrels: pd.DataFrame,
        answers: pd.DataFrame | None = None,
        *,
        name: str = "frames",
    ) -> Dataset:
        """Build from data frames.

        Parameters
        ----------
        documents : columns id, text and, if you like, title; others become metadata
        queries : columns id, text; others become attributes
        qrels : columns query, document, grade
        answers : columns query, text and, if you like, alternatives (a list)

        Raises
        ------
        InputErrors
            All faults at once, each with the frame and the row.
        """
        from evalkit.datasets.build import build
        from evalkit.datasets.frames import rows

        return build(
            name,
            rows(documents, "documents", ("id", "text")),
            rows(queries, "queries", ("id", "text")),
            rows(qrels, "qrels", ("query", "document", "grade")),
            [] if answers is None else rows(answers, "answers", ("query", "text")),
        )

    def __repr__(self) -> str:
        judgements = sum(len(judged) for judged in self.qrels.values())
        return (
            f"Dataset {self.name}: {len(self.documents):,} documents, {len(self.queries):,} queries, "
            f"{judgements:,} judgements, {len(self.answers):,} reference answers"
        )
