"""The data set that everything runs on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evalkit.datasets.intents import Conversation, Intent
from evalkit.datasets.rows import Span
from evalkit.datasets.traffic import Ingestion, Traffic, of_intent
from evalkit.errors import InputError, nearest
from evalkit.values import Documents, Queries

if TYPE_CHECKING:
    import pandas as pd
    from ragas import EvaluationDataset


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
    """Documents, queries, judgements and, where there are any, answers, intents, conversations and traffic.

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
    intents : {name: Intent}
        What people want to know, with paraphrases and traps.
    conversations : {id: Conversation}
    traffic : Traffic
        Requests in order of arrival; may have no rows.
    events : tuple of Ingestion
        Documents that come in, and go, while the traffic lasts. Before that they are not there.
    """

    name: str
    documents: Documents
    queries: Queries
    qrels: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, Reference] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    intents: Mapping[str, Intent] = field(default_factory=dict)
    conversations: Mapping[str, Conversation] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=lambda: Traffic.of([]))
    events: tuple[Ingestion, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Hash of the content, whatever the files' order or place."""
        rest = json.dumps(
            [
                {q: dict(sorted(judged.items())) for q, judged in sorted(self.qrels.items())},
                {q: [a.text, a.alternatives, a.evidence] for q, a in sorted(self.answers.items())},
                {q: dict(sorted(a.items())) for q, a in sorted(self.attributes.items())},
                {name: astuple(intent) for name, intent in sorted(self.intents.items())},
                {name: astuple(talk) for name, talk in sorted(self.conversations.items())},
                [astuple(event) for event in self.events],
            ],
            default=str,
        )
        parts = f"{self.documents.digest}{self.queries.digest}{self.traffic.digest}{rest}"
        return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()

    @cached_property
    def unjudged(self) -> tuple[str, ...]:
        """Queries without any judgement: reported by name and left out of ranking metrics."""
        return tuple(q for q in self.queries.id if not self.qrels.get(q))

    def split(self, name: str) -> Dataset:
        """Keep the queries, intents, conversations and requests of one split, and all documents.

        Raises
        ------
        InputError
            If nothing is of it.
        """
        asked = {q: str(known["split"]) for q, known in self.attributes.items() if "split" in known}
        wanted = {i.name: i.split for i in self.intents.values()} | {
            c.name: c.split for c in self.conversations.values()
        }
        splits = Counter([*asked.values(), *(split for split in wanted.values() if split)])
        if name not in splits:
            raise InputError(f"data set {self.name}: no split '{name}'{nearest(name, splits)}")
        kept = {of for of, split in wanted.items() if split == name}
        rows = [i for i, name in enumerate(self.traffic.intent) if name in kept or of_intent(name) in kept]
        return replace(
            self.select(q for q, split in asked.items() if split == name),
            intents={i: intent for i, intent in self.intents.items() if i in kept},
            conversations={c: talk for c, talk in self.conversations.items() if c in kept},
            traffic=self.traffic.take(rows),
        )

    def select(self, queries: Iterable[str]) -> Dataset:
        """Keep the given queries, and all else."""
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

    def to_ragas(self) -> EvaluationDataset:
        """Return the queries as single-turn samples for ragas, sorted by id.

        ``reference_contexts`` are the places that the reference answer rests on or, where it names none, the relevant
        documents' texts, best first; ``retrieved_contexts`` and ``response`` are what was logged with the query. A
        sample has no place for a query's id, its history, other attributes and other right answers. Its ``to_csv``
        takes only samples that have what the first one has.

        Returns
        -------
        ragas.EvaluationDataset

        Raises
        ------
        InputError
            If there is no query.
        """
        from evalkit.datasets.ragas import to_ragas

        return to_ragas(self)

    def __repr__(self) -> str:
        counts = {
            "documents": len(self.documents),
            "queries": len(self.queries),
            "judgements": sum(len(judged) for judged in self.qrels.values()),
            "reference answers": len(self.answers),
            "intents": len(self.intents),
            "conversations": len(self.conversations),
            "requests": len(self.traffic),
        }
        return f"Dataset {self.name}: " + ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)
