"""The native format: a folder of JSON Lines files and judgements by tabs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.files import json_lines, lines
from evalkit.datasets.formats.source import Format, Source
from evalkit.datasets.rows import Faults, Row

QRELS_HEADER = ("query-id", "corpus-id", "score")
_OPTIONAL = {
    "answers": "answers.jsonl",
    "intents": "paraphrases.jsonl",
    "conversations": "conversations.jsonl",
    "traffic": "traffic.jsonl",
    "events": "events.jsonl",
}


def _read(source: Source) -> Dataset:
    folder, faults = source.path, Faults()
    there = {part: folder / name for part, name in _OPTIONAL.items() if (folder / name).exists()}
    data = build(
        folder.name,
        json_lines(folder / "documents.jsonl", faults),
        json_lines(folder / "queries.jsonl", faults),
        judgements(folder / "qrels.tsv", faults),
        faults=faults,
        **{part: json_lines(path, faults) for part, path in there.items()},
    )
    return source.cut(data)


def judgements(path: Path, faults: Faults) -> Iterator[Row]:
    """Yield judgements: query, document and grade by tabs, with or without a header."""
    judged = headed = False
    for number, line in lines(path, faults):
        cells = tuple(cell.strip() for cell in line.rstrip("\r\n").split("\t"))
        if number == 1 and cells == QRELS_HEADER:
            headed = True
            continue
        judged = True
        if len(cells) == len(QRELS_HEADER):
            yield Row(f"{path}:{number}", dict(zip(("query", "document", "grade"), cells, strict=True)))
        else:
            faults.add(f"{path}:{number}", f"{len(cells)} columns; needed: {', '.join(QRELS_HEADER)}, by tabs")
    if headed and not judged:
        faults.add(str(path), "holds no judgement")


FORMAT = Format("documents.jsonl (native format)", lambda source: source.holds("documents.jsonl"), _read)
