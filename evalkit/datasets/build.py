"""Building a data set from records: every way in goes through these checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from evalkit.columns import Ragged, Strings
from evalkit.datasets.dataset import Dataset, Reference
from evalkit.datasets.intents import read_conversations, read_intents
from evalkit.datasets.rows import Faults, Row, read_span
from evalkit.datasets.traffic import read_events, read_traffic
from evalkit.values import Documents, Queries

_HALF = "half of a surrogate pair, which is no character; remove it"


def build(
    name: str,
    documents: Iterable[Row] = (),
    queries: Iterable[Row] = (),
    qrels: Iterable[Row] = (),
    answers: Iterable[Row] = (),
    faults: Faults | None = None,
    *,
    intents: Iterable[Row] = (),
    conversations: Iterable[Row] = (),
    traffic: Iterable[Row] = (),
    events: Iterable[Row] = (),
) -> Dataset:
    """Check every record, then build the data set; every loader ends here.

    Raises
    ------
    InputErrors
        If any record is wrong, or nothing can be measured: no judgement, no answer, no intent, no request.
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
    known = read_intents(intents, texts, faults)
    talks = read_conversations(conversations, texts, faults)
    requests = read_traffic(traffic, faults)
    ingested = read_events(events, texts, faults)
    if not (faults.lines or judged or references or known or len(requests)):
        faults.add(name, "no judged query; a data set needs judgements or an answer for at least one, or traffic")
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
        queries=Queries(
            Strings.of(queries_sorted),
            Strings.of(asked[i]["text"] for i in queries_sorted),
            Ragged.of([asked[i].get("history") or () for i in queries_sorted]),
        ),
        qrels=judged,
        answers=references,
        attributes={
            i: {k: v for k, v in asked[i].items() if k not in ("id", "text", "history")} for i in queries_sorted
        },
        intents=known,
        conversations=talks,
        traffic=requests,
        events=ingested,
    )


def _texts(rows: Iterable[Row], kind: str, faults: Faults) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    places: dict[str, str] = {}
    for where, row in rows:
        name, text = row.get("id"), row.get("text")
        if isinstance(name, int | float):
            faults.add(where, f"{kind} {name}: the id is a number; ids are texts, so write it as one")
        elif not isinstance(name, str) or not name:
            faults.add(where, f"{kind} without an id (a text that is not empty)")
        elif not _encodable(row):
            faults.add(where, f"{kind} {name!r}: {_HALF}")
        elif name in found:
            faults.add(where, f"{kind} '{name}' was already given at {places[name]}")
        elif not isinstance(text, str) or not text.strip():
            faults.add(where, f"{kind} '{name}' has no text")
        elif not isinstance(row.get("title") or "", str):
            faults.add(where, f"{kind} '{name}': the title is not a text")
        elif not _history(row.get("history")):
            faults.add(where, f"{kind} '{name}': 'history' must be a list of texts: user, assistant, in turn")
        else:
            found[name], places[name] = row, where
    return found


def _history(turns: Any) -> bool:
    return turns is None or (isinstance(turns, list | tuple) and all(isinstance(t, str) and t for t in turns))


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
        evidence = [span for item in places if (span := read_span(item, texts, where, faults))]
        found[query] = Reference(text, tuple(alternatives), tuple(evidence))
    return found
