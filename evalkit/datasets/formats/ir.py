"""Data sets of the package ``ir_datasets`` by name: ``ir_datasets:beir/scifact/test``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.formats.source import Format, Source
from evalkit.datasets.rows import Faults, Row
from evalkit.errors import EvalkitError, InputError

SCHEME = "ir_datasets"
_NEEDED = ("docs", "queries", "qrels")


def _read(source: Source) -> Dataset:
    """Read documents, the queries that are judged, and their grades.

    A document is its title and its text or, where it has other fields, what `ir_datasets` says it reads as
    (``default_text``). Other short fields become metadata, and those of a query become attributes.

    Parameters
    ----------
    source : Source
        Named as in the catalogue of `ir_datasets`; ``split`` is the last part of such a name.

    Raises
    ------
    InputError
        If the package is missing, the name is unknown, or the files can neither be found nor downloaded.
    InputErrors
        Every fault in its records at once.

    References
    ----------
    MacAvaney et al., *Simplified data wrangling with ir_datasets*, SIGIR 2021.
    """
    try:
        ir_datasets: Any = import_module("ir_datasets")
    except ImportError:
        missing = f"data set {source.text}: this needs the package ir_datasets; pip install evalkit[ir]"
        raise InputError(missing) from None
    name = f"{source.name}/{source.split}" if source.split else source.name
    try:
        found = ir_datasets.load(name)
    except KeyError:
        raise InputError(f"data set {source.text}: {_unknown(name, list(ir_datasets.registry))}") from None
    lacking = [part for part in _NEEDED if not found.has(part)]
    if lacking:
        below = [other for other in ir_datasets.registry if other.startswith(f"{name}/")]
        hint = f"; those below it: {', '.join(below[:5])}" if below else ""
        raise InputError(f"data set {source.text}: {name} has no {' and no '.join(lacking)}{hint}")
    with _told(source.text):
        judged = [
            Row(f"{source.text}: judgement {n}", {"query": q.query_id, "document": q.doc_id, "grade": q.relevance})
            for n, q in enumerate(found.qrels_iter(), start=1)
        ]
        wanted = {row["query"] for _, row in judged}
        queries = [_query(source.text, n, q) for n, q in enumerate(found.queries_iter(), start=1)]
        documents = [_document(source.text, n, d) for n, d in enumerate(found.docs_iter(), start=1)]
    asked = [row for row in queries if row.data["id"] in wanted]
    return build(name, documents, asked, judged, faults=Faults())


def _document(source: str, number: int, record: Any) -> Row:
    where, fields = f"{source}: document {number}", record._asdict()
    if "text" not in fields:
        return Row(where, {"id": record.doc_id, "text": record.default_text()})
    title, body = fields.get("title") or "", fields["text"]
    others = _short(fields, ("doc_id", "title", "text"))
    return Row(
        where, {"id": record.doc_id, "title": title if body else "", "text": body or title, "metadata": others}
    )


def _query(text: str, number: int, record: Any) -> Row:
    known = _short(record._asdict(), ("query_id", "text"))
    return Row(f"{text}: query {number}", {**known, "id": record.query_id, "text": record.default_text()})


def _short(fields: dict[str, Any], but: tuple[str, ...]) -> dict[str, Any]:
    """What else a record says, as far as it is plain."""
    return {name: value for name, value in fields.items() if name not in but and isinstance(value, str | int | float)}


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=3, cutoff=0.6) or [k for k in known if name in k][:3]
    hint = f"did you mean {' or '.join(close)}?" if close else "names are listed at ir-datasets.com"
    return f"ir_datasets has no '{name}'; {hint}"


@contextmanager
def _told(text: str) -> Iterator[None]:
    """Turn a failed download into one line; its terms of use and its progress are still shown."""

    def told_here(record: logging.LogRecord) -> bool:
        return not record.getMessage().lower().startswith("download")

    logger = logging.getLogger("ir_datasets")
    logger.addFilter(told_here)
    try:
        yield
    except EvalkitError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"data set {text}: cannot be read or downloaded ({type(error).__name__}: {first}); without a network, "
            "put its files where ir_datasets looks for them (IR_DATASETS_HOME)"
        ) from None
    finally:
        logger.removeFilter(told_here)


FORMAT = Format(f"{SCHEME}:name", lambda source: source.scheme == SCHEME, _read)
