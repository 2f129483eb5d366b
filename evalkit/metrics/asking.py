"""Asking a judge in ragas' name: its prompts through a plain function, the verdicts read and checked."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__: list[str] = []

Ask = Callable[[str, int], Awaitable[str]]
"""Sends a prompt with a sample number and returns what the judge wrote."""
Embed = Callable[[Sequence[str]], NDArray[Any]]

_VERDICTS = ("verdict", "attributed", "noncommittal")


class JudgementFailed(Exception):
    """A judge was asked and gave no usable verdict; the message says why, in few words."""


def read_verdict(text: str, model: Any) -> Any:
    """Return the first JSON object in a text that is what was asked for.

    Raises
    ------
    JudgementFailed
    """
    from pydantic import ValidationError

    decoder = json.JSONDecoder()
    for brace in re.finditer(r"\{", text):
        try:
            found = model.model_validate(decoder.raw_decode(text, brace.start())[0])
        except (ValueError, ValidationError, RecursionError):
            continue
        _check(found.model_dump())
        return found
    raise JudgementFailed("answer is not the JSON asked for" if text.strip() else "empty answer")


def _check(found: Any) -> None:
    """Refuse what ragas would count with: verdicts beside 0 and 1, questions without text."""
    for part in found if isinstance(found, list) else []:
        _check(part)
    for name, value in found.items() if isinstance(found, dict) else []:
        if name in _VERDICTS and value not in (0, 1):
            raise JudgementFailed(f"{name} is neither 0 nor 1")
        if name == "question" and not value.strip():
            raise JudgementFailed("no question made up")
        _check(value)


@cache
def judge_class() -> Any:
    """Return the class that ragas' metrics ask: made when ragas is there."""
    from ragas.llms.base import InstructorBaseRagasLLM

    class Judge(InstructorBaseRagasLLM):
        """A function, as ragas wants to see a model."""

        def __init__(self, ask: Ask, repeat: int, per_prompt: int) -> None:
            self.ask, self.first, self.per_prompt = ask, repeat * per_prompt, per_prompt
            self.asked: Counter[str] = Counter()
            self.statements: int | None = None

        def generate(self, prompt: str, response_model: Any) -> Any:
            raise NotImplementedError("judges are asked asynchronously")

        async def agenerate(self, prompt: str, response_model: Any) -> Any:
            sample = self.first + self.asked[prompt] % self.per_prompt  # an equal passage gets the same verdict
            self.asked[prompt] += 1
            found = read_verdict(await self.ask(prompt, sample), response_model)
            if (listed := getattr(found, "statements", None)) is not None:
                if self.statements is not None and len(listed) != self.statements:
                    raise JudgementFailed("another number of verdicts than statements")
                self.statements = len(listed)
            return found

    return Judge


@cache
def embedding_class() -> Any:
    """Return the class that ragas' metrics embed with."""
    from ragas.embeddings.base import BaseRagasEmbedding

    class Embedding(BaseRagasEmbedding):
        """A function, as ragas wants to see an embedding model."""

        def __init__(self, embed: Embed | None) -> None:
            super().__init__()
            self.embed = embed

        def embed_text(self, text: str, **kwargs: Any) -> list[float]:
            return self.embed_texts([text])[0]

        def embed_texts(self, texts: list[str], **kwargs: Any) -> list[list[float]]:
            if self.embed is None:
                raise JudgementFailed("no embedding model was given")
            vectors: list[list[float]] = np.asarray(self.embed(texts), dtype=np.float64).tolist()
            return vectors

        async def aembed_text(self, text: str, **kwargs: Any) -> list[float]:
            return (await self.aembed_texts([text]))[0]

        async def aembed_texts(self, texts: list[str], **kwargs: Any) -> list[list[float]]:
            return await asyncio.to_thread(self.embed_texts, texts)

    return Embedding
