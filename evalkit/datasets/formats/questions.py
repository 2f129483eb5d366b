"""Logs of questions, contexts and answers, with the columns that ragas gives them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from math import isnan
from typing import Any, NamedTuple

from evalkit.datasets.dataset import Dataset
from evalkit.datasets.files import records
from evalkit.datasets.formats import requests
from evalkit.datasets.formats.cells import parsed, texts
from evalkit.datasets.formats.source import Format, Source
from evalkit.datasets.logs import Question, as_text, assemble
from evalkit.datasets.rows import Faults, Row

NAMES = {
    "user_input": ("question",),
    "retrieved_contexts": ("contexts",),
    "reference_contexts": (),
    "response": ("answer",),
    "reference": ("ground_truth", "ground_truths"),
    "id": (),
    "history": (),
    "split": (),
}
"""Columns by their present names, and what ragas called them before."""

_CONTENT = {"retrieved_contexts", "reference_contexts", "response", "reference"}
_LISTS = ("retrieved_contexts", "reference_contexts", "history")
_LOGGED = ("retrieved_context_ids", "reference_context_ids", "multi_responses", "rubrics")  # no plain texts either
_OURS = ("text", "retrieved")  # what a query has under a name that a column might have
_MESSAGES = "user_input: a text is needed, or a list of messages {content, type}, one of type 'human' among them"


def _read(source: Source) -> Dataset:
    """Read a log: JSON Lines, a JSON list, CSV or Parquet.

    Every distinct context is a document. Reference contexts are judged relevant (grade 1); retrieved contexts that
    are not among a question's reference contexts count as judged too (grade 0), as they do in ragas. A question
    without reference contexts is not judged. The reference is the reference answer; further ones are alternatives.
    What was logged stays with the question, as attributes: ``retrieved`` (document ids, in order), ``response`` and
    every other column. A conversation (a list of messages) becomes its last question and the history before.

    A question's id is made of its text, so it stays when rows change places; where a question was logged more than
    once, of the rest of its row too. Lists in CSV are written as JSON or as Python writes them.

    Parameters
    ----------
    source : Source
        ``columns`` names, for any of user_input, retrieved_contexts, reference_contexts, response, reference, id,
        history and split, what it is called in the file.

    Raises
    ------
    InputErrors
        Every fault in the file at once, with its line.

    References
    ----------
    Es et al., *RAGAS: Automated evaluation of retrieval augmented generation*, EACL 2024.
    """
    faults = Faults()
    rows = records(source.path, faults)
    return source.cut(assemble(source.path.stem, questions(rows, source, faults), faults))


def questions(rows: Iterable[Row], source: Source, faults: Faults) -> Iterator[Question]:
    """Yield the questions of a log's records, whatever the names of their columns."""
    kept = list(rows)
    names = source.match(NAMES, dict.fromkeys(name for _, row in kept for name in row), faults) if kept else {}
    ours, cells = set(names.values()), source.path.suffix.lower() == ".csv" and not source.scheme
    for where, row in kept:
        given = {name: value for name, value in row.items() if not _missing(value) and not (cells and value == "")}
        known = {f"logged {k}" if k in _OURS else k: value for k, value in given.items() if k not in ours}
        found = {here: given[there] for here, there in names.items() if there in given}
        question = _question(where, found, known, faults)
        if question is not None:
            yield question


def _question(where: str, row: dict[str, Any], known: dict[str, Any], faults: Faults) -> Question | None:
    """Check one record; None, and a fault, if it is wrong."""
    if "user_input" not in row:
        faults.add(where, "no question; a column 'user_input' or 'question' is needed")
        return None
    before = len(faults.lines)
    talk, response = _conversation(row["user_input"]), row.get("response")
    if not talk.text.strip():
        faults.add(where, _MESSAGES)
    if not isinstance(response, str | None):
        faults.add(where, f"response: a text is needed, not {type(response).__name__}")
    lists = {name: texts(where, name, row[name], faults) for name in _LISTS if name in row}
    references = _references(where, row.get("reference", ""), faults)
    known = {name: _value(where, name, value, faults) if name in _LOGGED else value for name, value in known.items()}
    if len(faults.lines) > before:
        return None
    return Question(
        where,
        talk.text,
        lists.get("history", talk.history),
        lists.get("retrieved_contexts"),
        lists.get("reference_contexts", ()),
        references,
        talk.response if response is None else response,
        {**known, **talk.messages, **({"split": row["split"]} if "split" in row else {})},
        id=as_text(row.get("id", "")),
    )


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))


class _Talk(NamedTuple):
    """A question with what was said before and, where the log goes on, the answer to it.

    `messages` holds the log's own, where turns do not say all: tools were called, or somebody spoke twice in turn.
    """

    text: str
    history: Sequence[str] = ()
    response: str | None = None
    messages: Mapping[str, Any] = {}


def _conversation(asked: Any) -> _Talk:
    """Read a question, or a conversation that ends in one; without a text if it is neither."""
    messages = asked
    if isinstance(asked, str) and (not asked.startswith("[{") or (messages := _messages(asked)) is None):
        return _Talk(asked)
    if not _are_messages(messages):
        return _Talk("")
    spoken = [(m["type"], m["content"]) for m in messages if m["type"] != "tool" and m["content"].strip()]
    turns = [(who, "\n".join(text for _, text in said)) for who, said in groupby(spoken, lambda turn: turn[0])]
    first = next((i for i, (who, _) in enumerate(turns) if who == "human"), len(turns))
    turns = turns[first:]
    whole = turns == [(m["type"], m["content"]) for m in messages]
    response = turns.pop()[1] if turns and turns[-1][0] == "ai" else None
    text = turns.pop()[1] if turns else ""
    return _Talk(text, [said for _, said in turns], response, {} if whole else {"messages": messages})


def _messages(cell: str) -> Any:
    """Read a cell that holds messages; None if it is a text like any other."""
    try:
        found = parsed(cell)
    except ValueError:
        return None
    return found if _are_messages(found) else None


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(m, dict) and m.get("type") in ("human", "ai", "tool") and isinstance(m.get("content"), str)
        for m in value
    )


def _references(where: str, value: Any, faults: Faults) -> list[str]:
    """Read the right answer, or several; a blank one is none."""
    if isinstance(value, str):
        if not value.startswith(("['", '["')):
            return [value] if value.strip() else []
        try:
            value = parsed(value)
        except ValueError:
            return [value]
    return texts(where, "reference", value, faults)


def _value(where: str, name: str, value: Any, faults: Faults) -> Any:
    """Read a list or mapping that a cell holds."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        try:
            return parsed(value)
        except ValueError as error:
            faults.add(where, f"{name}: {error}")
    return value


def _fits(source: Source) -> bool:
    found = source.match(NAMES, source.keys(), Faults()).keys()
    return "user_input" in found and bool(found & _CONTENT) and not requests.FORMAT.fits(source)


FORMAT = Format("a file with question, contexts, answer (a log, as ragas keeps it)", _fits, _read)
