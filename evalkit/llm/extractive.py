"""An extractive reader: answers are spans and sentences of the passages, or a refusal.

Real and deterministic, with no key and no server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from evalkit.columns import Array
from evalkit.errors import InputError
from evalkit.llm.messages import NO_ANSWER
from evalkit.llm.reading.conversation import points_back
from evalkit.llm.reading.questions import Ask, asks
from evalkit.llm.reading.ranking import Text, in_context, support, word_weights
from evalkit.llm.reading.sentences import sentences, split_sentences
from evalkit.llm.reading.spans import Span, best_span
from evalkit.llm.reading.words import stems
from evalkit.memo import remembered
from evalkit.similarity import best_first
from evalkit.types import Clock
from evalkit.values import Answer, Prompt

__all__ = ["Extractive", "Quote", "split_sentences"]

_TOLD = ("open", "manner")
_LOOSE = ("name",)  # nearly every sentence holds a name: that it does says little
# Chosen on the handbook's dev split, where nothing near them is clearly better.
_HOLDS_ANSWER = 0.5
_NEAR_WORDS = 0.3
_CLOSE_SECOND = 0.3


class Encoder(Protocol):
    """What the reader needs of an embedding model."""

    def encode(self, texts: list[str]) -> Array:
        """Return unit vectors: float32 of shape (n, d)."""


@dataclass(frozen=True)
class Quote:
    """A piece of an answer: a run of characters of one passage, and the document that the passage is from."""

    text: str
    source: str


@dataclass(frozen=True)
class Extractive:
    """Answers with what stands in the prompt's passages: a span where one is asked for, else whole sentences.

    Each thing that a question asks is typed (who, when, how much, which, why, yes or no, ...). Every sentence is
    scored by its nearness to the question, by the words they share, weighted by how rare they are among the
    sentences, and by its surroundings; a sentence that holds something of the type gains. The best one gives the
    amount, date, name, code or reason nearest to the question's words, or stands whole. It decides no yes or no by
    itself: it quotes the sentence. A question that points back is read together with the turn before it.

    Parameters
    ----------
    embedder : Encoder
        Compares sentences with the question. A passage's sentences are embedded in one call of their own, so an
        answer depends on the prompt and on nothing else that was asked.
    sentences : int
        At most so many sentences for each thing that is asked, where one alone would be too few: open questions and
        comparisons.
    support : float
        Refuse unless a sentence's cosine to the question and 0.4 times its share of the question's words add up to
        this. 0 never refuses. The default was chosen for all-MiniLM-L6-v2; other models' cosines lie elsewhere. It
        catches passages that are off the subject, and few of those that are on it and still do not answer.
    """

    embedder: Encoder
    sentences: int = 2
    support: float = 0.43

    version: ClassVar[int] = 2
    stage: ClassVar[str] = "generate"

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the embedder."""
        return tuple(getattr(self.embedder, "packages", ()))

    def __post_init__(self) -> None:
        if self.sentences < 1:
            raise InputError(f"Extractive: sentences is {self.sentences}; it must be at least 1")
        if not 0 <= self.support <= 1:
            raise InputError(f"Extractive: support is {self.support}; it must be from 0 (never refuse) to 1")

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Answer one prompt, with `NO_ANSWER` where it does not hold an answer. Every sample is the same."""
        return await clock.compute(self.stage, lambda: self.read(prompt))

    def read(self, prompt: Prompt) -> Answer:
        """Answer one prompt with what `quotes` finds."""
        return _read(self, prompt)

    def quotes(self, prompt: Prompt) -> tuple[Quote, ...]:
        """Return the pieces of the answer, in the order in which they are asked for; none where it is refused."""
        text, sources = self._text(prompt)
        rows = _answering(text)
        if not len(rows):
            return ()
        parts = asks(prompt.question)
        said = prompt.history[-2:] if points_back(prompt.question) else ()
        before, known = stems(" ".join(said)), "\n".join([prompt.question, *said]).lower()
        found: dict[str, Quote] = {}
        for ask, vector in zip(parts, self._questions(prompt.question, said, parts), strict=True):
            words = word_weights(text, stems(ask.text), before)
            own = support(text, vector, words)
            if not self.support or own[rows].max() >= self.support:
                scores = in_context(text, own, vector, words)
                for row, span in self._picked(text, scores, rows, ask, known, words):
                    quoted = text.sentences[row].text[slice(*span)]
                    found.setdefault(quoted, Quote(quoted, sources[text.passage[row]]))
        return tuple(found.values())

    def _text(self, prompt: Prompt) -> tuple[Text, list[str]]:
        """Embed the passages that hold any sentence; return them and their sources."""
        kept = [(sentences(p), source) for p, source in zip(prompt.passages, prompt.sources, strict=True)]
        kept = [(parts, source) for parts, source in kept if parts]
        vectors = [_embed(self.embedder, tuple(sentence.text for sentence in parts)) for parts, _ in kept]
        passage = np.repeat(np.arange(len(kept)), [len(parts) for parts, _ in kept])
        together = np.concatenate(vectors) if vectors else np.zeros((0, 1), np.float32)
        return Text([s for parts, _ in kept for s in parts], together, passage), [source for _, source in kept]

    def _questions(self, question: str, said: Sequence[str], parts: Sequence[Ask]) -> Array:
        """Return a unit vector for each thing that is asked: its own, the question's, and with what was said."""
        texts = [question, *([" ".join([*said, question])] if said else [])]
        own = [ask.text for ask in parts] if len(parts) > 1 else []
        vectors = _embed(self.embedder, (*texts, *own)).astype(np.float64)
        whole = vectors[: len(texts)].mean(axis=0)
        return _unit(whole + _unit(vectors[len(texts) :]) if own else whole[None, :]).astype(np.float32)

    def _picked(
        self, text: Text, scores: Array, rows: Array, ask: Ask, known: str, words: Mapping[str, float]
    ) -> list[tuple[int, Span]]:
        """Return the rows that answer one thing, in their own order, and which span of each."""
        found = {row: best_span(text.sentences[row], ask, known, words) for row in rows.tolist()}
        if ask.kind not in _LOOSE:
            gains = {row: _HOLDS_ANSWER + _NEAR_WORDS * near[1] for row, near in found.items() if near is not None}
            scores = scores + np.array([gains.get(row, 0.0) for row in range(len(scores))])
        order = rows[best_first(scores[rows], rows, self.sentences)].tolist()
        best = found[order[0]]
        if best is not None:
            return [(order[0], best[0])]
        several = ask.compares or ask.kind in _TOLD
        taken = [row for row in order if scores[row] > scores[order[0]] - _CLOSE_SECOND] if several else order[:1]
        return [(row, (0, len(text.sentences[row].text))) for row in sorted({order[0], *taken})]


@remembered(4096)
def _read(reader: Extractive, prompt: Prompt) -> Answer:
    """Answer a prompt; in a replay one prompt comes again and again."""
    found = reader.quotes(prompt)
    if not found:
        return Answer(NO_ANSWER)
    return Answer(_joined([quote.text for quote in found]), tuple(dict.fromkeys(quote.source for quote in found)))


def _answering(text: Text) -> Array:
    """Return the rows of sentences that can answer: each once, without questions and headings unless all are."""
    first = {sentence.text: row for row, sentence in reversed([*enumerate(text.sentences)])}
    rows = sorted(first.values())
    telling = [row for row in rows if not (text.sentences[row].asks or text.sentences[row].heads)]
    return np.array(telling or rows, dtype=np.int64)


def _joined(quotes: Sequence[str]) -> str:
    """Put quotes into one text, with a semicolon behind those that no stop closes."""
    parts = [quote if quote.endswith((".", "!", "?", ";", ":")) else f"{quote};" for quote in quotes[:-1]]
    return " ".join([*parts, quotes[-1]])


def _unit(vectors: Array) -> Array:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))


@remembered(50_000)
def _embed(embedder: Encoder, texts: tuple[str, ...]) -> Array:
    """Embed one passage's sentences in one call: the vectors depend on the passage and on nothing else."""
    vectors = embedder.encode(list(texts))
    vectors.setflags(write=False)
    return vectors
