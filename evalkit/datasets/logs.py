"""Questions with contexts and answers, a record each, as a data set."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.rows import Faults, Row


@dataclass(frozen=True)
class Question:
    """One question, and what was logged with it.

    Parameters
    ----------
    where : str
        File and line.
    text : str
    history : sequence of str
    retrieved : sequence of str or None
        Contexts that a system found, best first; None where that was not logged.
    relevant : sequence of str
        Contexts that hold the answer.
    references : sequence of str
        The right answer, then others that count as right.
    response : str or None
        A system's answer.
    known : {name: value}
        Everything else.
    excerpts : sequence of (context, start, end)
        Where contexts say the answer.
    id : str
        Empty where the data names none.
    """

    where: str
    text: str
    history: Sequence[str] = ()
    retrieved: Sequence[str] | None = None
    relevant: Sequence[str] = ()
    references: Sequence[str] = ()
    response: str | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    excerpts: Sequence[tuple[str, int, int]] = ()
    id: str = ""


def assemble(name: str, questions: Iterable[Question], faults: Faults) -> Dataset:
    """Build a data set whose documents are the distinct contexts.

    A context's id is made of its text. A question's is, too; where a text was asked more than once, of all that its
    record holds, and equal records are numbered. So no id depends on the order of the records.

    Raises
    ------
    InputErrors
        As `build`, and for the faults that were found before.
    """
    asked = list(questions)
    texts: dict[str, str] = {}
    for question in asked:
        for context in (*question.relevant, *(question.retrieved or ())):
            texts.setdefault(context, question.where)
    queries, qrels, answers = [], [], []
    for query, question in zip(_ids(asked), asked, strict=True):
        where, relevant = question.where, set(question.relevant)
        logged: dict[str, Any] = dict(question.known)
        if question.retrieved is not None:
            logged["retrieved"] = [document_id(context) for context in question.retrieved]
        if question.response is not None:
            logged["response"] = question.response
        queries.append(Row(where, {**logged, "id": query, "text": question.text, "history": question.history}))
        grades = dict.fromkeys(question.retrieved or (), 0) if relevant else {}
        for context, grade in {**grades, **dict.fromkeys(relevant, 1)}.items():
            qrels.append(Row(where, {"query": query, "document": document_id(context), "grade": grade}))
        if question.references:
            text, *others = question.references
            evidence = [
                {"document": document_id(c), "start": start, "end": end} for c, start, end in question.excerpts
            ]
            answers.append(Row(where, {"query": query, "text": text, "alternatives": others, "evidence": evidence}))
    documents = (Row(where, {"id": document_id(text), "text": text}) for text, where in texts.items())
    return build(name, documents, queries, qrels, answers, faults)


def document_id(text: str) -> str:
    """Name a context by its text."""
    return _digest(text, 8)


def as_text(name: Any) -> Any:
    """Return an id as a text: some data sets keep theirs as whole numbers."""
    return str(name) if isinstance(name, int) else name


def _ids(asked: Sequence[Question]) -> Iterator[str]:
    plain = [question.id or _digest(json.dumps([question.text, *question.history]), 8) for question in asked]
    times, numbered = Counter(plain), Counter[str]()
    for name, question in zip(plain, asked, strict=True):
        if question.id or times[name] == 1:
            yield name
            continue
        rest = [question.retrieved, sorted(set(question.relevant)), question.references, question.response]
        full = f"{name}-{_digest(json.dumps([*rest, question.known], sort_keys=True, default=str), 5)}"
        numbered[full] += 1
        yield full if numbered[full] == 1 else f"{full}.{numbered[full]}"


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size).hexdigest()
