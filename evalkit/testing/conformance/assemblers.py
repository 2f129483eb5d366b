"""What every assembler must hold to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evalkit.testing.conformance.given import run_node, searched
from evalkit.testing.identity import Stub
from evalkit.types import QUERY, Digest, Node
from evalkit.values import Prompt, Prompts, Rankings, Value


def check_assembler(assembler: Any) -> None:
    """Check that prompts hold what was retrieved, with its sources, and that none depends on another.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    chunks, queries = searched()
    queries = queries.take([0, 1, 2])
    ranked: list[list[int]] = [[4, 0, 2], [], [1]]
    ranking = Rankings.of(
        [np.array(row, np.int32) for row in ranked], [np.linspace(1, 0.5, len(row)) for row in ranked]
    )
    chunk, ranks = Node("corpus"), Node(Stub(), (QUERY,))
    top = assembler.expand(chunk, QUERY, ranks)

    def prompts(rows: Sequence[int]) -> Prompts:
        given: dict[Digest, Value] = {
            chunk.recipe: chunks,
            QUERY.recipe: queries.take(rows),
            ranks.recipe: ranking.take(rows),
        }
        made = run_node(top, given)
        assert isinstance(made, Prompts), f"{assembler}: gives {type(made).__name__}, not Prompts"
        return made

    made = prompts([0, 1, 2])
    assert list(made.question) == list(queries.text), f"{assembler}: the prompts' questions are not the queries'"
    for row, prompt in zip(ranked, Prompt.rows(made), strict=True):
        sizes = {len(prompt.titles), len(prompt.passages), len(prompt.sources)}
        assert len(sizes) == 1, f"{assembler}: titles, passages and sources of different number"
        retrieved = {chunks.document[i] for i in row}
        assert set(prompt.sources) <= retrieved, f"{assembler}: sources {prompt.sources} were not retrieved"
    alone = Prompts.concat([prompts([i]) for i in range(3)])
    assert alone.digest == made.digest, f"{assembler}: a prompt depends on the others"
