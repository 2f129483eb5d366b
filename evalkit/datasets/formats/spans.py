"""Reading data sets whose answers are excerpts: corpora, and questions with the places that answer them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.files import csv_rows, whole_text
from evalkit.datasets.formats.source import Format, Source
from evalkit.datasets.rows import Faults, Row

QUESTIONS, CORPORA = "questions.csv", "corpora"
_COLUMNS = ("question", "references", "corpus_id")


def _read(source: Source) -> Dataset:
    """Read a data set of questions with excerpts.

    Every corpus is a document. A question's corpus is judged relevant (grade 1), and its excerpts are the evidence of
    its reference answer. That answer's text is the excerpts, a line each: right for readers that quote, too long for
    those that answer in their own words. A question's id is made of its corpus and its text, so it stays when rows
    come or go, unless there is a column ``id``. Other columns become attributes.

    Parameters
    ----------
    source : Source
        A folder with ``corpora/*.md`` or ``*.txt``, and ``questions.csv``: question, references (a JSON list of
        {content, start_index, end_index}, in characters, line ends counted as one) and corpus_id (a file's name
        without its ending).

    Raises
    ------
    InputErrors
        Every fault in the files at once, with file and line. An excerpt that is not what stands at its place is one.

    References
    ----------
    Smith and Troynikov, *Evaluating chunking strategies for retrieval*, Chroma technical report 2024.
    """
    folder, faults = source.path, Faults()
    corpora = [
        Row(str(path), {"id": path.stem, "text": text})
        for path in sorted((folder / CORPORA).glob("*"))
        if path.suffix in (".md", ".txt") and (text := whole_text(path, faults)) is not None
    ]
    if not corpora:
        faults.add(str(folder / CORPORA), "no corpus; a file *.md or *.txt is needed")
    texts = {str(row.data["id"]): str(row.data["text"]) for row in reversed(corpora)}
    queries, judged, answers = [], [], []
    for where, row in csv_rows(folder / QUESTIONS, faults, _COLUMNS):
        asked, corpus = row["question"].strip(), row["corpus_id"].strip()
        name = row.get("id") or f"{corpus}-{hashlib.blake2b(asked.encode(), digest_size=5).hexdigest()}"
        others = {key: value for key, value in row.items() if key not in (*_COLUMNS, "id") and value}
        queries.append(Row(where, {**others, "id": name, "text": asked, "corpus": corpus}))
        judged.append(Row(where, {"query": name, "document": corpus, "grade": 1}))
        if corpus in texts:
            excerpts = list(_excerpts(where, row["references"], corpus, texts[corpus], faults))
            if excerpts:
                evidence = [{"document": corpus, "start": start, "end": end} for start, end, _ in excerpts]
                text = "\n".join(content for _, _, content in excerpts)
                answers.append(Row(where, {"query": name, "text": text, "evidence": evidence}))
    return source.cut(build(folder.name, corpora, queries, judged, answers, faults))


def _excerpts(where: str, cell: str, corpus: str, text: str, faults: Faults) -> Iterator[tuple[int, int, str]]:
    """Yield the excerpts that stand where they say."""
    try:
        references: Any = json.loads(cell)
    except (ValueError, RecursionError) as error:
        faults.add(where, f"references: broken JSON ({error})")
        return
    if not isinstance(references, list) or not references:
        faults.add(where, "references: a list of at least one {content, start_index, end_index} is needed")
        return
    for number, item in enumerate(references, start=1):
        known = item if isinstance(item, dict) else {}
        content, start, end = (known.get(key) for key in ("content", "start_index", "end_index"))
        if not isinstance(content, str) or type(start) is not int or type(end) is not int:
            faults.add(where, f"reference {number} is not {{content, start_index, end_index}}")
        elif not 0 <= start < end or text[start:end] != content:
            found = text.find(content) if content else -1
            hint = f"; it begins at {found}" if found >= 0 else "; its text is nowhere in the corpus"
            faults.add(where, f"reference {number} is not what stands at {start}..{end} of '{corpus}'{hint}")
        else:
            yield start, end, content


FORMAT = Format(f"{QUESTIONS} (questions with excerpts)", lambda source: source.holds(QUESTIONS), _read)
