"""Data sets on their way to ragas."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

from evalkit.errors import InputError

if TYPE_CHECKING:
    from ragas import EvaluationDataset

    from evalkit.datasets.dataset import Dataset

_KEPT = (
    "retrieved_context_ids", "reference_context_ids", "multi_responses", "rubrics", "persona_name", "query_style",
    "query_length",
)  # fmt: skip


def to_ragas(
    data: Dataset,
    retrieved: Mapping[str, Sequence[str]] | None = None,
    responses: Mapping[str, str] | None = None,
) -> EvaluationDataset:
    """Make a data set for ragas, a sample for every query.

    Parameters
    ----------
    data : Dataset
    retrieved : {query id: contexts}, optional
        What a system found, best first; default: what was logged.
    responses : {query id: answer}, optional
        What a system answered; default: what was logged.

    Returns
    -------
    ragas.EvaluationDataset
        As `Dataset.to_ragas` says.

    Raises
    ------
    InputError
        If there is no query.
    """
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # of what ragas imports in its turn
        from ragas import EvaluationDataset, MultiTurnSample, SingleTurnSample

    if not len(data.queries):
        raise InputError(f"data set {data.name}: no query to make a sample for ragas of")
    texts = dict(zip(data.documents.id, data.documents.text, strict=True))
    samples: list[SingleTurnSample | MultiTurnSample] = []
    for query, text in zip(data.queries.id, data.queries.text, strict=True):
        known, answer = data.attributes.get(query, {}), data.answers.get(query)
        response = known.get("response") if responses is None else responses.get(query)
        samples.append(
            SingleTurnSample(
                user_input=text,
                reference=answer.text if answer else None,
                reference_contexts=relevant_texts(data, query, texts) or None,
                retrieved_contexts=_logged(known, texts) if retrieved is None else _list(retrieved.get(query)),
                response=response if isinstance(response, str) else None,
                **{name: value for name in _KEPT if _fits(name, value := known.get(name))},
            )
        )
    return EvaluationDataset(samples, name=data.name)


def relevant_texts(data: Dataset, query: str, texts: Mapping[str, str]) -> list[str]:
    """The places that the reference answer rests on or, where it names none, the relevant documents, best first."""
    answer = data.answers.get(query)
    if answer and answer.evidence:
        return [texts[document][start:end] for document, start, end in answer.evidence]
    judged = sorted(data.qrels.get(query, {}).items(), key=lambda item: (-item[1], item[0]))
    return [texts[document] for document, grade in judged if grade > 0]


def relevant_documents(data: Dataset, query: str) -> list[str]:
    """The relevant documents, best first or, where none is judged so, those that the reference answer rests on."""
    judged = sorted(data.qrels.get(query, {}).items(), key=lambda item: (-item[1], item[0]))
    answer = data.answers.get(query)
    found = [document for document, grade in judged if grade > 0]
    return found or list(dict.fromkeys(document for document, _, _ in (answer.evidence if answer else ())))


def _logged(known: Mapping[str, Any], texts: Mapping[str, str]) -> list[str] | None:
    found = known.get("retrieved")
    if not isinstance(found, list | tuple) or not all(isinstance(d, str) and d in texts for d in found):
        return None
    return [texts[document] for document in found]


def _list(found: Sequence[str] | None) -> list[str] | None:
    return None if found is None else list(found)


def _fits(name: str, value: Any) -> bool:
    """Whether an attribute is what ragas takes under its name: a data set may use that name for something else."""
    if name == "rubrics":
        return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
    if name == "multi_responses":
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if name.endswith("_ids"):
        return isinstance(value, list) and all(isinstance(item, str | int) for item in value)
    return isinstance(value, str)
