"""Building a data set from records: every way in goes through these checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from evalkit.columns import Ragged, Strings
from evalkit.datasets.corpus import Corpus
from evalkit.datasets.dataset import Dataset, Reference
from evalkit.datasets.intents import read_conversations, read_intents
from evalkit.datasets.rows import BLANKS, Faults, Row, encoded, misspelt, read_span, whole_characters
from evalkit.datasets.traffic import read_events, read_traffic
from evalkit.values import Queries

_HALF = "half of a surrogate pair, which is no character; remove it"
_DOCUMENT = frozenset(("id", "title", "text", "metadata"))
_QUERY = frozenset(("id", "text", "history"))
_ANSWER = frozenset(("query", "text", "alternatives", "evidence"))
_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*")


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

    Records may be generated: documents are not kept as such, but put into columns as they come.

    Raises
    ------
    InputErrors
        If any record is wrong, or nothing can be measured: no judgement, no answer, no intent, no request.
    """
    faults = faults or Faults()
    corpus = _corpus(documents, faults)
    asked = _queries(queries, faults)
    if not (corpus and asked):
        faults.check()  # without them, all that refers to them would be blamed
    judged = _judgements(qrels, asked, corpus, faults)
    references = _references(answers, asked, corpus, faults)
    known = read_intents(_kept(intents, "intent", faults), corpus, faults)
    talks = read_conversations(_kept(conversations, "conversation", faults), corpus, faults)
    told = bool(faults.lines)  # then what is missing has been told, and all that names it need not be
    requests = read_traffic(_kept(traffic, "request", faults), set() if told else {*known, *talks}, faults)
    ingested = read_events(_kept(events, "event", faults), corpus, faults)
    if not (faults.lines or judged or references or known or len(requests)):
        faults.add(name, "no judged query; a data set needs judgements or an answer for at least one, or traffic")
    faults.check()
    ids = sorted(asked)
    return Dataset(
        name=name,
        documents=corpus.documents(),
        queries=Queries(
            Strings.of(ids),
            Strings.of(asked[i]["text"] for i in ids),
            Ragged.of([asked[i].get("history") or () for i in ids]),
        ),
        qrels=judged,
        answers=references,
        attributes={i: {k: v for k, v in asked[i].items() if k not in _QUERY} for i in ids},
        intents=known,
        conversations=talks,
        traffic=requests,
        events=ingested,
    )


def _corpus(rows: Iterable[Row], faults: Faults) -> Corpus:
    found = Corpus()
    for where, row in rows:
        name = row.get("id")
        if name in found:
            faults.add(where, f"document '{name}' was already given at {found.place(str(name))}")
        elif wrong := _unfit(row, "document") or _unfit_document(row):
            faults.add(where, wrong)
            found.refuse(where, str(name).strip())
        else:
            found.add(where, row["id"], row.get("title") or "", row["text"], encoded(row.get("metadata") or {}))
    return found


def _queries(rows: Iterable[Row], faults: Faults) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    places: dict[str, str] = {}
    for where, row in rows:
        name = str(row.get("id")).strip()  # known even if wrong, so that what refers to it is not blamed
        if name in found and name == row.get("id"):
            faults.add(where, f"query '{name}' was already given at {places[name]}")
        elif wrong := _unfit(row, "query") or _unfit_query(row):
            faults.add(where, wrong)
        found.setdefault(name, row)
        places.setdefault(name, where)
    return found


def _unfit(row: Mapping[str, Any], kind: str) -> str:
    """Tell what is wrong in fields that documents and queries share; empty if nothing is."""
    name, text = row.get("id"), row.get("text")
    if isinstance(name, int | float):
        return f"{kind} {name}: the id is a number; ids are texts, so write it as one"
    if not isinstance(name, str) or not name:
        return f"{kind} without an id (a text that is not empty)"
    if not whole_characters(row):
        return f"{kind} {name!r}: {_HALF}"
    if name != name.strip():
        return f"{kind} '{name}': {BLANKS}"
    if not isinstance(text, str) or not text.strip():
        return f"{kind} '{name}' has no text"
    return ""


def _unfit_document(row: Mapping[str, Any]) -> str:
    title, metadata = row.get("title"), row.get("metadata")
    if not (title is None or isinstance(title, str)):
        wrong = "the title is not a text"
    elif not (metadata is None or isinstance(metadata, Mapping)):
        wrong = "'metadata' is not an object"
    else:
        wrong = misspelt(row, _DOCUMENT, metadata or ())
    return wrong and f"document '{row['id']}': {wrong}"


def _unfit_query(row: Mapping[str, Any]) -> str:
    right = _texts(row.get("history"))
    return "" if right else f"query '{row['id']}': 'history' must be a list of texts: user, assistant, in turn"


def _texts(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and all(isinstance(t, str) and t.strip() for t in value))


def _judgements(
    rows: Iterable[Row], asked: Mapping[str, Any], corpus: Corpus, faults: Faults
) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for where, row in rows:
        query, document, grade = row.get("query"), row.get("document"), row.get("grade")
        if not isinstance(query, str) or query not in asked:
            faults.add(where, f"judgement of an unknown query '{query}'")
        elif not isinstance(document, str) or document not in corpus:
            faults.add(where, f"judgement of an unknown document '{document}'")
        elif (number := _number(grade)) is None:
            faults.add(where, f"grade {grade!r} is not a whole number")
        elif found.setdefault(query, {}).setdefault(document, number) != number:
            faults.add(where, f"document '{document}' has two grades for query '{query}'")
    return found


def _number(grade: Any) -> int | None:
    if isinstance(grade, bool) or grade is None or (isinstance(grade, str) and not _NUMBER.fullmatch(grade)):
        return None
    try:
        number = int(grade)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isinstance(grade, str) or number == grade else None


def _references(
    rows: Iterable[Row], asked: Mapping[str, Any], corpus: Corpus, faults: Faults
) -> dict[str, Reference]:
    found: dict[str, Reference] = {}
    for where, row in rows:
        query = row.get("query")
        if not whole_characters(row):
            faults.add(where, f"answer to query {query!r}: {_HALF}")
        elif not isinstance(query, str) or query not in asked:
            faults.add(where, f"answer to an unknown query '{query}'")
        elif query in found:
            faults.add(where, f"second answer to query '{query}'; put other wordings under 'alternatives'")
        elif wrong := _unfit_answer(row):
            faults.add(where, f"answer to query '{query}'{wrong}")
        else:
            places = [read_span(item, corpus, where, faults) for item in row.get("evidence") or ()]
            alternatives = tuple(row.get("alternatives") or ())
            found[query] = Reference(row["text"], alternatives, tuple(span for span in places if span))
    return found


def _unfit_answer(row: Mapping[str, Any]) -> str:
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        return " has no text"
    if not _texts(row.get("alternatives")):
        return ": 'alternatives' must be a list of texts"
    if not isinstance(row.get("evidence"), list | tuple | None):
        return ": 'evidence' must be a list of {document, start, end}"
    told = misspelt(row, _ANSWER)
    return told and f": {told}"


def _kept(rows: Iterable[Row], kind: str, faults: Faults) -> Iterator[Row]:
    """Yield the records whose texts can be kept, and tell of the others."""
    for row in rows:
        if whole_characters(row.data):
            yield row
        else:
            faults.add(row.where, f"{kind}: {_HALF}")
