"""The data set that everything runs on, and the checks that every way in goes through."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.columns import Strings
from evalkit.errors import InputError, InputErrors, nearest
from evalkit.values import Documents, Queries

if TYPE_CHECKING:
    import pandas as pd

_MOST_FAULTS = 20
_HALF = "half of a surrogate pair, which is no character; remove it"


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


class Row(NamedTuple):
    """One record on its way in, and where it came from (``file:line`` or ``frame row n``)."""

    where: str
    data: Mapping[str, Any]


class Faults:
    """Collects what is wrong, so that a user sees all of it at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Note one fault."""
        self.lines.append(f"{where}: {what}")

    def check(self) -> None:
        """Raise if there were any."""
        if self.lines:
            more = len(self.lines) - _MOST_FAULTS
            raise InputErrors(self.lines[:_MOST_FAULTS] + ([f"... and {more} more"] if more > 0 else []))


def build(
    name: str,
    documents: Iterable[Row],
    queries: Iterable[Row],
    qrels: Iterable[Row],
    answers: Iterable[Row],
    faults: Faults | None = None,
) -> Dataset:
    """Check every record, then build the data set; every loader ends here.

    Raises
    ------
    InputErrors
        If any record is wrong, or no query is judged.
    """
    faults = faults or Faults()
    texts = _texts(documents, "document", faults)
    asked = _texts(queries, "query", faults)
    judged: dict[str, dict[str, int]] = {}
    for where, row in qrels:
        query, document, grade = row.get("query"), row.get("document"), row.get("grade")
        if not isinstance(query, str) or query not in asked:
            faults.add(where, f"judgement of an unknown query '{query}'")
        elif not isinstance(document, str) or document not in texts:
            faults.add(where, f"judgement of an unknown document '{document}'")
        elif (whole := _whole(grade)) is None:
            faults.add(where, f"grade {grade!r} is not a whole number")
        elif judged.setdefault(query, {}).setdefault(document, whole) != whole:
            faults.add(where, f"document '{document}' has two grades for query '{query}'")
    references = _references(answers, asked, texts, faults)
    if not faults.lines and not judged:
        faults.add(name, "no judged query; a data set needs judgements for at least one")
    faults.check()
    ids, queries_sorted = sorted(texts), sorted(asked)
    return Dataset(
        name=name,
        documents=Documents(
            Strings.of(ids),
            Strings.of(texts[i].get("title") or "" for i in ids),
            Strings.of(texts[i]["text"] for i in ids),
            Strings.of(json.dumps(texts[i].get("metadata") or {}, sort_keys=True, default=str) for i in ids),
        ),
        queries=Queries(Strings.of(queries_sorted), Strings.of(asked[i]["text"] for i in queries_sorted)),
        qrels=judged,
        answers=references,
        attributes={i: {k: v for k, v in asked[i].items() if k not in ("id", "text")} for i in queries_sorted},
    )


def _texts(rows: Iterable[Row], kind: str, faults: Faults) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    places: dict[str, str] = {}
    for where, row in rows:
        name, text = row.get("id"), row.get("text")
        if not isinstance(name, str) or not name:
            faults.add(where, f"{kind} without an id (a text that is not empty)")
        elif not _encodable(row):
            faults.add(where, f"{kind} {name!r}: {_HALF}")
        elif name in found:
            faults.add(where, f"{kind} '{name}' was already given at {places[name]}")
        elif not isinstance(text, str) or not text.strip():
            faults.add(where, f"{kind} '{name}' has no text")
        elif not isinstance(row.get("title") or "", str):
            faults.add(where, f"{kind} '{name}': the title is not a text")
        else:
            found[name], places[name] = row, where
    return found


def _encodable(row: Mapping[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(grade: Any) -> int | None:
    if isinstance(grade, bool) or grade is None:
        return None
    try:
        number = int(grade)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isinstance(grade, str) or number == grade else None


def _references(
    rows: Iterable[Row], asked: Mapping[str, Any], texts: Mapping[str, Mapping[str, Any]], faults: Faults
) -> dict[str, Reference]:
    found: dict[str, Reference] = {}
    for where, row in rows:
        query, text = str(row.get("query")), row.get("text")
        if query not in asked:
            faults.add(where, f"answer to an unknown query '{query}'")
            continue
        if query in found:
            faults.add(where, f"second answer to query '{query}'; put other wordings under 'alternatives'")
            continue
        if not isinstance(text, str) or not text.strip():
            faults.add(where, f"answer to query '{query}' has no text")
            continue
        if not _encodable(row):
            faults.add(where, f"answer to query '{query}': {_HALF}")
            continue
        alternatives = row.get("alternatives") or ()
        if not isinstance(alternatives, list | tuple) or not all(
            isinstance(a, str) and a.strip() for a in alternatives
        ):
            faults.add(where, f"answer to query '{query}': 'alternatives' must be a list of texts")
            continue
        places = row.get("evidence") or ()
        if not isinstance(places, list | tuple):
            faults.add(where, f"answer to query '{query}': 'evidence' must be a list of {{document, start, end}}")
            continue
        evidence = [span for item in places if (span := _span(item, texts, where, faults))]
        found[query] = Reference(text, tuple(alternatives), tuple(evidence))
    return found


def _span(item: Any, texts: Mapping[str, Mapping[str, Any]], where: str, faults: Faults) -> Span | None:
    try:
        span = Span(item["document"], item["start"], item["end"])
    except (TypeError, KeyError):
        faults.add(where, f"evidence {item!r} is not {{document, start, end}}")
        return None
    if type(span.document) is not str or span.document not in texts:
        faults.add(where, f"evidence in an unknown document '{span.document}'")
        return None
    size = len(texts[span.document]["text"])
    whole = type(span.start) is int and type(span.end) is int
    if not whole or not 0 <= span.start < span.end <= size:
        faults.add(where, f"evidence {span.start}..{span.end} lies outside document '{span.document}' (0..{size})")
        return None
    return span
