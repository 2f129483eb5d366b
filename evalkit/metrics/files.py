"""TREC runs, TREC judgements and BEIR judgements from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import TypeVar

from evalkit.metrics.base import MetricError

__all__: list[str] = []

Number = TypeVar("Number", int, float)


def read_run(path: str | PathLike[str]) -> dict[str, dict[str, float]]:
    """Read a TREC run: ``query Q0 document rank score tag`` on each line.

    The rank column is ignored, as trec_eval does: the score orders.

    Raises
    ------
    MetricError
        With file and line, if a line has not six fields, a score is not a number, or a document repeats.
    """
    run: dict[str, dict[str, float]] = {}
    for where, fields in _lines(path, None):
        if len(fields) != 6:
            raise MetricError(f"{where}: {len(fields)} fields; a line is 'query Q0 document rank score tag'")
        query, _, document, _, score, _ = fields
        _add(run.setdefault(query, {}), document, _number(score, float, where), where)
    return run


def read_judgements(path: str | PathLike[str]) -> dict[str, dict[str, int]]:
    """Read judgements: TREC ``query 0 document grade``, or BEIR's tab-separated file with its header.

    Raises
    ------
    MetricError
        With file and line, if a line has neither form, a grade is not whole, or a document repeats.
    """
    beir = str(path).endswith(".tsv")
    qrels: dict[str, dict[str, int]] = {}
    for number, (where, fields) in enumerate(_lines(path, "\t" if beir else None)):
        if beir and number == 0 and not fields[-1].lstrip("-").isdigit():
            continue  # BEIR's header: query-id, corpus-id, score
        if len(fields) != (3 if beir else 4):
            form = "query-id<tab>corpus-id<tab>score" if beir else "query 0 document grade"
            raise MetricError(f"{where}: {len(fields)} fields; a judgement line is '{form}'")
        _add(qrels.setdefault(fields[0], {}), fields[-2], _number(fields[-1], int, where), where)
    return qrels


def _lines(path: str | PathLike[str], separator: str | None) -> Iterator[tuple[str, list[str]]]:
    """Yield where each line stands and its fields, blank lines left out."""
    if not Path(path).is_file():
        raise MetricError(f"{path}: no such file; give the path of a TREC or BEIR file")
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{path}:{number}", line.rstrip("\r\n").split(separator)


def _add(documents: dict[str, Number], document: str, value: Number, where: str) -> None:
    if document in documents:
        raise MetricError(f"{where}: document {document!r} occurs twice for this query; keep one line")
    documents[document] = value


def _number(text: str, kind: Callable[[str], Number], where: str) -> Number:
    try:
        return kind(text)
    except ValueError as error:
        raise MetricError(f"{where}: {text!r} is not a number; correct the line") from error
