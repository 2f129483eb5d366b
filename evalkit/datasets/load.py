"""Reading data sets from folders: the native format, BEIR's, and questions with excerpts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.datasets.build import Faults, Row, build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.spans import QUESTIONS, load_spans
from evalkit.errors import InputError
from evalkit.paths import resolve

QRELS_HEADER = ("query-id", "corpus-id", "score")


def load_dataset(path: str | os.PathLike[str], *, split: str | None = None) -> Dataset:
    """Read a data set from a folder.

    Parameters
    ----------
    path : path
        Relative paths start at the project root. A folder in the native format (``documents.jsonl``,
        ``queries.jsonl``, ``qrels.tsv`` and, if there are any, ``answers.jsonl``), in BEIR's (``corpus.jsonl``,
        ``queries.jsonl``, ``qrels/test.tsv``), or with questions and excerpts (``questions.csv``, ``corpora/``; see
        `evalkit.datasets.spans.load_spans`).
    split : str, optional
        BEIR: the file in ``qrels/`` (default ``test``). Otherwise: keep the queries whose ``split`` is this.

    Raises
    ------
    InputErrors
        Every fault in the files at once, with file and line.
    """
    folder = resolve(path)
    if not folder.is_dir():
        raise InputError(f"data set {path}: no such folder ({folder})")
    if (folder / "documents.jsonl").is_file():
        data = _native(folder)
    elif (folder / "corpus.jsonl").is_file():
        data, split = _beir(folder, split or "test"), None
    elif (folder / QUESTIONS).is_file():
        data = load_spans(folder)
    else:
        raise InputError(
            f"data set {path}: neither documents.jsonl (native format) nor corpus.jsonl (BEIR) nor {QUESTIONS} "
            f"(questions with excerpts) in {folder}"
        )
    return data.split(split) if split else data


def _native(folder: Path) -> Dataset:
    faults = Faults()
    answers = folder / "answers.jsonl"
    return build(
        folder.name,
        _json_lines(folder / "documents.jsonl", faults),
        _json_lines(folder / "queries.jsonl", faults),
        _judgements(folder / "qrels.tsv", faults),
        _json_lines(answers, faults) if answers.exists() else [],
        faults,
    )


def _beir(folder: Path, split: str) -> Dataset:
    """Thakur et al., *BEIR*, NeurIPS 2021. A document without text is its title."""
    faults = Faults()
    documents = (
        Row(where, {"id": row.get("_id"), "title": row.get("title") if row.get("text") else "",
                    "text": row.get("text") or row.get("title"), "metadata": row.get("metadata")})
        for where, row in _json_lines(folder / "corpus.jsonl", faults)
    )  # fmt: skip
    judged = list(_judgements(folder / "qrels" / f"{split}.tsv", faults))
    wanted = {row["query"] for _, row in judged}
    queries = (
        Row(where, {"id": row.get("_id"), "text": row.get("text")})
        for where, row in _json_lines(folder / "queries.jsonl", faults)
        if str(row.get("_id")) in wanted  # the file holds the queries of every split
    )
    return build(folder.name, documents, queries, judged, [], faults)


def _lines(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """Yield numbered lines that are not blank. A byte-order mark is accepted, any other encoding is not."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901
                try:
                    line = raw.decode()
                except UnicodeDecodeError as error:
                    faults.add(f"{path}:{number}", f"not UTF-8 (byte {error.start + 1} of the line)")
                    continue
                if line.strip():
                    yield number, line
    except OSError as error:
        faults.add(str(path), f"cannot be read ({error.strerror})")


def _json_lines(path: Path, faults: Faults) -> Iterator[Row]:
    count = 0
    for number, line in _lines(path, faults):
        count += 1
        try:
            row: Any = json.loads(line)
        except json.JSONDecodeError as error:
            faults.add(f"{path}:{number}", f"broken JSON ({error.msg}, character {error.pos + 1})")
            continue
        except (ValueError, RecursionError) as error:
            faults.add(f"{path}:{number}", f"broken JSON ({error})")
            continue
        if isinstance(row, dict):
            yield Row(f"{path}:{number}", row)
        else:
            faults.add(f"{path}:{number}", f"a JSON object is needed, not {type(row).__name__}")
    if not count and path.is_file():
        faults.add(str(path), "is empty")


def _judgements(path: Path, faults: Faults) -> Iterator[Row]:
    count = 0
    for number, line in _lines(path, faults):
        cells = tuple(cell.strip() for cell in line.rstrip("\r\n").split("\t"))
        if number == 1 and cells == QRELS_HEADER:
            continue
        count += 1
        if len(cells) == len(QRELS_HEADER):
            yield Row(f"{path}:{number}", dict(zip(("query", "document", "grade"), cells, strict=True)))
        else:
            faults.add(f"{path}:{number}", f"{len(cells)} columns; needed: {', '.join(QRELS_HEADER)}, by tabs")
    if not count and path.is_file():
        faults.add(str(path), "is empty")
