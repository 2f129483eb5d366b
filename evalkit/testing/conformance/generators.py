"""What every generator must hold to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evalkit.clock import WallClock, run_async
from evalkit.testing.conformance.given import searched
from evalkit.values import Answer, Prompt


def check_generator(generator: Any) -> None:
    """Check that answers repeat, cite only what was given, and do not depend on what else is asked at once.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    chunks, queries = searched()
    prompts = [
        Prompt(
            queries.text[i],
            *(tuple(column[row] for row in rows) for column in (chunks.title, chunks.text, chunks.document)),
        )
        for i, rows in enumerate([(0, 1), (2, 2, 3), (4,)])
    ]
    empty = Prompt("Is there anything here?", (), (), ())
    clock = WallClock()

    async def one_by_one() -> list[Answer]:
        return [await generator(prompt, 0, clock) for prompt in (*prompts, empty)]

    async def at_once() -> list[Answer]:
        return list(await asyncio.gather(*(generator(prompt, 0, clock) for prompt in (empty, *prompts[::-1]))))[::-1]

    answers = run_async(one_by_one())
    for prompt, answer in zip((*prompts, empty), answers, strict=True):
        assert isinstance(answer, Answer), f"{generator}: gives {type(answer).__name__}, not Answer"
        unknown = set(answer.cited) - set(prompt.sources)
        assert not unknown, f"{generator}: cites {sorted(unknown)}, which the prompt did not hold"
        assert len(set(answer.cited)) == len(answer.cited), f"{generator}: cites a source twice: {answer.cited}"
    assert any(answer.text for answer in answers), f"{generator}: every answer is empty"
    assert _said(run_async(one_by_one())) == _said(answers), f"{generator}: the same prompts get other answers"
    assert _said(run_async(at_once())) == _said(answers), f"{generator}: answers depend on what else is asked at once"


def _said(answers: Sequence[Answer]) -> list[Answer]:
    """The answers without what they took: no call takes the same time twice."""
    return [replace(answer, call=None) for answer in answers]
