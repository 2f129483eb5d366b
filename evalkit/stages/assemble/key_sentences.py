"""Compression by extraction: of what a prompt would hold, the sentences that look most important."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError
from evalkit.stages.assemble.importance import DECISIONS, importance, split
from evalkit.stages.assemble.topk import TopK
from evalkit.types import Assembler, Node
from evalkit.values import Chunks, Prompt, Prompts


@dataclass(frozen=True)
class Extract:
    """Keep the most important sentences of texts. The fields are `KeySentences`'."""

    sentences: int
    words: tuple[str, ...]

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "assemble"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = True

    def extract(self, texts: Sequence[str]) -> list[str]:
        """Return each text's share of the best sentences of all; empty where it has none.

        Where no more sentences are there than may be kept, the texts stay as they are.
        """
        found = [split(text) for text in texts]
        places = [(i, j) for i, parts in enumerate(found) for j in range(len(parts))]
        if len(places) <= self.sentences:
            return list(texts)
        scores = dict(zip(places, (s for parts in found for s in importance(parts, self.words)), strict=True))
        kept = sorted(sorted(places, key=lambda place: -scores[place])[: self.sentences])  # a tie: the earlier one
        return [" ".join(found[i][j] for i, j in kept if i == row) for row in range(len(texts))]


@dataclass(frozen=True)
class ExtractChunks(Extract):
    """Of every chunk its key sentences; where it lies in its document is left as it was."""

    def __call__(self, chunks: Chunks) -> Chunks:
        """Extract chunk by chunk."""
        return replace(chunks, text=Strings.of(self.extract([text])[0] for text in chunks.text))


@dataclass(frozen=True)
class ExtractPrompts(Extract):
    """Of every prompt its key sentences; a passage that has none is dropped."""

    def __call__(self, prompts: Prompts) -> Prompts:
        """Extract prompt by prompt."""
        rows = []
        for prompt in Prompt.rows(prompts):
            shortened = zip(prompt.titles, self.extract(prompt.passages), prompt.sources, strict=True)
            rows.append([part for part in shortened if part[1]])
        titles, texts, sources = (Ragged.of([[part[i] for part in row] for row in rows]) for i in range(3))
        return replace(prompts, titles=titles, passages=texts, sources=sources)


@dataclass(frozen=True)
class KeySentences:
    """An assembler's passages, cut down to their most important sentences, in the order in which they stood.

    Importance does not look at the question: two points for a word that marks a decision, one for 10 to 30 words
    (half a one for fewer), one for the first and the last sentence of a passage; of equals the earlier one.

    Parameters
    ----------
    assembler : Assembler
    sentences : int
        Kept at most.
    per : {"prompt", "passage"}
        Sentences of all of a prompt's passages together, after the assembler made them; or of every chunk, before:
        that is done once, when the index is built, and a `Budget` inside then counts and compares the shortened
        chunks.
    words : tuple of str
        Words that mark a decision, whole and in any case.
    """

    assembler: Assembler = field(default_factory=TopK)
    sentences: int = 5
    per: Literal["prompt", "passage"] = "prompt"
    words: tuple[str, ...] = DECISIONS

    def __post_init__(self) -> None:
        if self.sentences < 1 or not all(word.strip() for word in self.words):
            raise InputError(
                f"KeySentences: sentences {self.sentences} and words {self.words} do not fit; "
                "sentences must be at least 1 and no word blank"
            )

    def expand(self, chunks: Node, query: Node, found: Node) -> Node:
        """Extract from the chunks, then assemble; or the other way about."""
        if self.per == "passage":
            shortened = Node(ExtractChunks(self.sentences, self.words), (chunks,))
            return self.assembler.expand(shortened, query, found)
        return Node(ExtractPrompts(self.sentences, self.words), (self.assembler.expand(chunks, query, found),))
