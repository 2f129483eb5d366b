"""What metrics may see beside an answer: the passages of its prompt, and the texts that should have been there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from evalkit.datasets import Dataset
from evalkit.datasets.ragas import relevant_documents, relevant_texts
from evalkit.metrics import Case, Metric
from evalkit.values import Answers, Prompts


@dataclass(frozen=True, eq=False)
class Contexts:
    """One data set's texts, as metrics ask for them by name."""

    data: Dataset

    @cached_property
    def _texts(self) -> Mapping[str, str]:
        return dict(zip(self.data.documents.id, self.data.documents.text, strict=True))

    @cached_property
    def _questions(self) -> Mapping[str, str]:
        return dict(zip(self.data.queries.id, self.data.queries.text, strict=True))

    def named(self, name: str, queries: Sequence[str], prompts: Prompts, rows: Sequence[int]) -> list[list[str]]:
        """Return one list a query.

        Parameters
        ----------
        name : str
            ``contexts``, ``context_ids``, ``reference_contexts`` or ``reference_ids``.
        queries : sequence of str
        prompts : Prompts
            Of one system.
        rows : sequence of int
            Where the queries stand in them.
        """
        if name == "reference_contexts":
            return [relevant_texts(self.data, query, self._texts) for query in queries]
        if name == "reference_ids":
            return [relevant_documents(self.data, query) for query in queries]
        column = {"contexts": prompts.passages, "context_ids": prompts.sources}[name]
        return [list(column[i]) for i in rows]

    def cases(self, asked: Sequence[str], prompts: Prompts, answers: Answers | None) -> dict[str, Case]:
        """Return what a judge sees of one system, by query; without answers where none were made."""
        references = {query: answer.text for query, answer in self.data.answers.items()}
        texts = answers.text if answers is not None else [""] * len(asked)
        columns = zip(asked, texts, prompts.passages, strict=True)
        return {
            query: Case(self._questions[query], text, tuple(passages), references.get(query, ""))
            for query, text, passages in columns
        }


def applies_to(data: Dataset, metric: Metric) -> list[str]:
    """Return the queries that a metric of passages, or a judged one, has a value for."""
    reads = getattr(metric, "reads", None)
    if reads is None:
        return [query for query in data.queries.id if relevant_documents(data, query)]
    needs_reference = "reference" in reads
    answered = (query for query in data.queries.id if query in data.answers and data.answers[query].text.strip())
    return list(answered if needs_reference else data.queries.id)
