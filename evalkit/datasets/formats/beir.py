"""BEIR's format: ``corpus.jsonl``, ``queries.jsonl`` with the queries of every split, ``qrels/<split>.tsv``."""

from __future__ import annotations

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.files import json_lines
from evalkit.datasets.formats.native import judgements
from evalkit.datasets.formats.source import Format, Source
from evalkit.datasets.rows import Faults, Row


def _read(source: Source) -> Dataset:
    """Read the queries of one split. A document without text is its title.

    References
    ----------
    Thakur et al., *BEIR: A heterogeneous benchmark for zero-shot evaluation of information retrieval models*,
    NeurIPS 2021.
    """
    folder, faults = source.path, Faults()
    documents = (as_document(row) for row in json_lines(folder / "corpus.jsonl", faults))
    judged = list(judgements(folder / "qrels" / f"{source.split or 'test'}.tsv", faults))
    wanted = {row["query"] for _, row in judged}
    queries = (
        Row(where, {"id": row.get("_id"), "text": row.get("text")})
        for where, row in json_lines(folder / "queries.jsonl", faults)
        if str(row.get("_id")) in wanted
    )
    return build(folder.name, documents, queries, judged, faults=faults)


def as_document(row: Row) -> Row:
    """Name a document's fields as the native format does."""
    data = row.data
    title = data.get("title") if data.get("text") else ""
    text = data.get("text") or data.get("title")
    return Row(row.where, {"id": data.get("_id"), "title": title, "text": text, "metadata": data.get("metadata")})


FORMAT = Format("corpus.jsonl (BEIR)", lambda source: source.holds("corpus.jsonl"), _read)
