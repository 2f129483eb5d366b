"""Reading data sets whose answers are excerpts: corpora, and questions with the places that answer them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.datasets.build import Faults, Row, build
from evalkit.datasets.dataset import Dataset
from evalkit.errors import nearest

QUESTIONS, CORPORA = "questions.csv", "corpora"
_COLUMNS = ("question", "references", "corpus_id")


def load_spans(folder: Path) -> Dataset:
    """Read a data set of questions with excerpts.

    Every corpus is a document. A question's corpus is judged relevant (grade 1), and its excerpts are the evidence of
    its reference answer. That answer's text is the excerpts, a line each: right for readers that quote, too long for
    those that answer in their own words. A question's id is made of its corpus and its text, so it stays when rows
    come or go, unless there is a column ``id``. Other columns become attributes.

    Parameters
    ----------
    folder : Path
        With ``corpora/*.md`` or ``*.txt``, and ``questions.csv``: question, references (a JSON list of {content,
        start_index, end_index}, in characters, line ends counted as one) and corpus_id (a file's name without its
        ending).

    Raises
    ------
    InputErrors
        Every fault in the files at once, with file and line. An excerpt that is not what stands at its place is one.

    References
    ----------
    Smith and Troynikov, *Evaluating chunking strategies for retrieval*, Chroma technical report 2024.
    """
    faults = Faults()
    corpora = [
        Row(str(path), {"id": path.stem, "text": text})
        for path in sorted((folder / CORPORA).glob("*"))
        if path.suffix in (".md", ".txt") and (text := _text(path, faults)) is not None
    ]
    if not corpora:
        faults.add(str(folder / CORPORA), "no corpus; a file *.md or *.txt is needed")
    texts = {str(row.data["id"]): str(row.data["text"]) for row in reversed(corpora)}
    queries, judged, answers = [], [], []
    for where, row in _questions(folder / QUESTIONS, faults):
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
    return build(folder.name, corpora, queries, judged, answers, faults)


def _text(path: Path, faults: Faults) -> str | None:
    """Read a file as the data's makers did: every kind of line end is one character."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        faults.add(str(path), f"cannot be read ({error.strerror})")
    except UnicodeDecodeError as error:
        faults.add(str(path), f"not UTF-8 (byte {error.start + 1})")
    return None


def _questions(path: Path, faults: Faults) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield every row and where it begins."""
    text = _text(path, faults)
    if text is None:
        return
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            faults.add(where, f"broken CSV ({error})")
            return
        if cells is None:
            break
        if header is None:
            header = [cell.strip() for cell in cells]
            missing = [column for column in _COLUMNS if column not in header]
            for column in missing:
                faults.add(where, f"no column '{column}'{nearest(column, header)}")
            if missing:
                return
        elif cells and len(cells) != len(header):
            faults.add(where, f"{len(cells)} cells; the header has {len(header)}")
        elif cells:
            yield where, dict(zip(header, cells, strict=True))
    if header is None:
        faults.add(str(path), "is empty")


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
