"""Data sets of Hugging Face's hub by name, and folders in its format: ``huggingface:owner/name``."""

from __future__ import annotations

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.formats.beir import as_document
from evalkit.datasets.formats.questions import questions
from evalkit.datasets.formats.source import Format, Source
from evalkit.datasets.hub import Hub
from evalkit.datasets.logs import Question, as_text, assemble
from evalkit.datasets.rows import Faults, Row
from evalkit.errors import InputError

SCHEME = "huggingface"
_PARTS = ("corpus", "queries")
_QRELS = ("qrels", "default")
_SQUAD = ("id", "question", "context", "answers")


def _read(source: Source) -> Dataset:
    """Read a data set of the hub, or a folder of files in its format, through the package ``datasets``.

    With the configurations ``corpus``, ``queries`` and ``qrels`` (or ``default``) it is read as BEIR is: the queries
    that the split judges, and all documents. Otherwise every row is a question with its contexts and answers: in
    SQuAD's shape (context, question, answers with text and answer_start), or with the columns of a log (see
    `evalkit.datasets.formats.questions`).

    Parameters
    ----------
    source : Source
        Named ``owner/name`` or ``owner/name/configuration``; a folder's path may stand for ``owner/name``. The split
        is, unless given, ``test`` or the only one.

    Raises
    ------
    InputError
        If it cannot be had: the name is unknown, the hub cannot be reached and the cache has it not, or the
        configuration or the split has to be named.
    InputErrors
        Every fault in its rows at once.

    References
    ----------
    Rajpurkar et al., *SQuAD: 100,000+ questions for machine comprehension of text*, EMNLP 2016.
    """
    hub, faults = Hub.of(source.text, source.name), Faults()
    configs = hub.configs()
    if hub.config is None and set(configs) >= set(_PARTS):
        return _beir(hub, configs, source.split, faults)
    config = hub.only("configuration", hub.config, configs, "default")
    split = hub.only("split", source.split, hub.splits(config), "test")
    rows = list(hub.rows(config, split))
    if rows and not source.columns and isinstance(rows[0].data.get("answers"), dict):
        return assemble(hub.name, filter(None, (_squad(row, faults) for row in rows)), faults)
    return assemble(hub.name, questions(rows, source, faults), faults)


def _beir(hub: Hub, configs: list[str], named: str | None, faults: Faults) -> Dataset:
    judgements = next((name for name in _QRELS if name in configs), None)
    if judgements is None:
        raise InputError(f"data set {hub.text}: no configuration qrels or default with judgements beside the corpus")
    split = hub.only("split", named, hub.splits(judgements), "test")
    judged = [
        Row(where, {"query": as_text(row.get("query-id")), "document": as_text(row.get("corpus-id")),
                    "grade": row.get("score", 1)})  # without scores, what is listed is relevant
        for where, row in hub.rows(judgements, split)
    ]  # fmt: skip
    wanted = {row["query"] for _, row in judged}
    documents = (as_document(row) for row in _part(hub, "corpus", split))
    queries = (
        Row(where, {"id": row["_id"], "text": row.get("text")})
        for where, row in _part(hub, "queries", split)
        if row["_id"] in wanted
    )
    return build(hub.name, documents, queries, judged, faults=faults)


def _part(hub: Hub, config: str, split: str) -> list[Row]:
    """Read the documents or the queries: of the split, or the only ones there are."""
    splits = hub.splits(config)
    rows = hub.rows(config, hub.only("split", split if split in splits else None, splits, config))
    return [Row(where, {**row, "_id": as_text(row.get("_id", row.get("id")))}) for where, row in rows]


def _squad(row: Row, faults: Faults) -> Question | None:
    """Read a question with its context and the places in it that answer."""
    where, data = row
    context, asked, answers = data.get("context"), data.get("question"), data.get("answers") or {}
    if not isinstance(context, str) or not context.strip() or not isinstance(asked, str):
        faults.add(where, "a question and its context are needed, as texts")
        return None
    texts, starts = list(answers.get("text", ())), list(answers.get("answer_start", ()))
    excerpts = {start: start + len(text) for text, start in zip(texts, starts, strict=False)}
    wrong = [start for start, end in excerpts.items() if context[start:end] not in texts]
    if wrong or len(texts) != len(starts):
        faults.add(
            where, f"no answer stands at {wrong[0]} of the context" if wrong else "answers without their places"
        )
        return None
    return Question(
        where,
        asked.strip(),
        relevant=[context],
        references=list(dict.fromkeys(texts)),
        known={name: value for name, value in data.items() if name not in _SQUAD},
        excerpts=[(context, start, end) for start, end in excerpts.items()],
        id=as_text(data.get("id", "")),
    )


FORMAT = Format(f"{SCHEME}:owner/name", lambda source: source.scheme == SCHEME, _read)
