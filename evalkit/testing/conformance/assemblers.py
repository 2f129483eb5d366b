"""What every assembler must hold to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from evalkit.columns import Ragged
from evalkit.stages.count import passage_text
from evalkit.testing.conformance.given import corpus_side, run_node, searched
from evalkit.testing.identity import Stub
from evalkit.types import CORPUS, QUERY, Digest, Node
from evalkit.values import Chunks, Prompt, Prompts, Rankings, Value

_RANKED: list[list[int]] = [[4, 0, 2, 7, 1, 3, 5, 6], [], [1]]
_HISTORIES = [
    [text for i in range(6) for text in (f"What is fare {i}?", f"Fare {i} is {i} crowns. It was agreed on day {i}.")],
    ["Is it open?", "Yes."],
    [],
]


def check_assembler(assembler: Any) -> None:
    """Check that prompts hold what was retrieved, with its titles and sources, and that none depends on another.

    Passages are extracts: each has words of one retrieved chunk, in their order. History passes through, or the
    older part of it goes; what is kept stands in its order, the user and the assistant in turn, and a text may stand
    before the first message that is kept. Where the assembler, or one in it, has fields ``limit`` and ``counter``, no
    prompt's passages may be longer.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    chunks, queries = searched()
    queries = replace(queries.take([0, 1, 2]), history=Ragged.of(_HISTORIES))
    ranking = Rankings.of(
        [np.array(row, np.int32) for row in _RANKED], [np.linspace(1, 0.5, len(row)) for row in _RANKED]
    )
    ranks = Node(Stub(), (QUERY,))
    top = assembler.expand(CORPUS, QUERY, ranks)
    of_corpus = {node.recipe for node in top.walk() if not node.per_query}

    def prompts(rows: Sequence[int]) -> Prompts:
        known: dict[Digest, Value] = {
            **corpus_side,
            CORPUS.recipe: chunks,
            QUERY.recipe: queries.take(rows),
            ranks.recipe: ranking.take(rows),
        }
        made = run_node(top, known)
        corpus_side.update({recipe: value for recipe, value in known.items() if recipe in of_corpus})
        assert isinstance(made, Prompts), f"{assembler}: gives {type(made).__name__}, not Prompts"
        return made

    made = prompts([0, 1, 2])
    assert list(made.question) == list(queries.text), f"{assembler}: the prompts' questions are not the queries'"
    for ranked, said, prompt in zip(_RANKED, _HISTORIES, Prompt.rows(made), strict=True):
        _check_passages(assembler, prompt, chunks.take(ranked))
        _check_history(assembler, prompt.history, said)
        for budget in _budgets(assembler):
            length = int(budget.counter.count([*map(passage_text, prompt.titles, prompt.passages)]).sum())
            assert length <= budget.limit, f"{assembler}: passages of {length}, the limit is {budget.limit}"
    alone = Prompts.concat([prompts([i]) for i in range(3)])
    assert alone.digest == made.digest, f"{assembler}: a prompt depends on the others"
    assert prompts([]).digest == made.take([]).digest, f"{assembler}: prompts of no queries"


def _check_passages(assembler: Any, prompt: Prompt, retrieved: Chunks) -> None:
    sizes = {len(prompt.titles), len(prompt.passages), len(prompt.sources)}
    assert len(sizes) == 1, f"{assembler}: titles, passages and sources of different number"
    unknown = set(prompt.sources) - set(retrieved.document)
    assert not unknown, f"{assembler}: sources {sorted(unknown)} were not retrieved"
    found = list(zip(retrieved.title, retrieved.text, retrieved.document, strict=True))
    for title, passage, source in zip(prompt.titles, prompt.passages, prompt.sources, strict=True):
        assert passage.strip(), f"{assembler}: a blank passage from {source}"
        texts = [text for t, text, d in found if (t, d) == (title, source)]
        assert texts, f"{assembler}: {source} was not retrieved with the title {title!r}"
        assert any(_within(passage.split(), text.split()) for text in texts), (
            f"{assembler}: {passage!r} is not from what was retrieved of {source}"
        )


def _within(some: Sequence[str], words: Sequence[str]) -> bool:
    """Whether `some` stand in `words`, in their order."""
    rest = iter(words)
    return all(word in rest for word in some)


def _check_history(assembler: Any, kept: Sequence[str], said: Sequence[str]) -> None:
    where = f"{assembler}: of the history {list(said)} it keeps {list(kept)}"
    assert len(kept) <= len(said), f"{where}, which is more"
    assert (len(said) - len(kept)) % 2 == 0, f"{where}, so that the user and the assistant change places"
    last = said[len(said) - len(kept) :]
    assert list(kept[1:]) == list(last[1:]), f"{where}, which are not the last messages in their order"
    assert not kept or kept[0].endswith(last[0]), f"{where}, where the first message is another"


def _budgets(assembler: Any) -> Iterator[Any]:
    """Yield the parts of an assembler that bound its passages."""
    if hasattr(assembler, "limit") and hasattr(assembler, "counter"):
        yield assembler
    for field in fields(assembler) if is_dataclass(assembler) else ():
        part = getattr(assembler, field.name)
        if hasattr(part, "expand"):
            yield from _budgets(part)
