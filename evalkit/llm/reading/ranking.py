"""How well each sentence of some passages fits what is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.columns import Array
from evalkit.llm.reading.sentences import Sentence
from evalkit.llm.reading.words import weights
from evalkit.similarity import cosine

# Chosen on the handbook's dev split, where nothing near them is clearly better.
_SHARED = 0.4
_AROUND = 0.8
_LATER = 0.03
_SAID_BEFORE = 0.4


@dataclass(frozen=True, eq=False)
class Text:
    """All sentences of some passages.

    Parameters
    ----------
    sentences : sequence of Sentence
        Of length n, passage by passage.
    vectors : float32 array of shape (n, d)
    passage : int array of shape (n,)
        Which passage each is from; passages are counted from 0 in their order.
    """

    sentences: Sequence[Sentence]
    vectors: Array
    passage: Array


def word_weights(text: Text, asked: Collection[str], said: Collection[str]) -> Mapping[str, float]:
    """Return what each stem that was asked, or said before, is worth; they sum to 1, or there are none.

    Rare stems among the sentences count more, those that were only said before less.
    """
    before = [word for word in said if word not in asked]
    raw = weights([*sorted(asked), *sorted(before)], [sentence.stems for sentence in text.sentences])
    scaled = {word: value * (_SAID_BEFORE if word not in asked else 1) for word, value in raw.items()}
    total = sum(scaled.values())
    return {word: value / total for word, value in scaled.items()}


def support(text: Text, question: Array, words: Mapping[str, float]) -> Array:
    """Return how far each sentence by itself speaks of what is asked: float64 of shape (n,).

    Its cosine to the question, and 0.4 times the share of the question's words that are in it, by weight.
    """
    shared = [sum(words.get(word, 0.0) for word in sorted(sentence.stems)) for sentence in text.sentences]
    return cosine(text.vectors, question) + _SHARED * np.array(shared, dtype=np.float64)


def in_context(text: Text, own: Array, question: Array, words: Mapping[str, float]) -> Array:
    """Return the sentences' scores among their neighbours: float64 of shape (n,).

    A sentence gains from a passage that speaks of what is asked as a whole; later passages, which retrieval holds for
    less relevant, lose a little.
    """
    scores = own.copy()
    for passage in np.unique(text.passage).tolist():
        rows = np.flatnonzero(text.passage == passage)
        mean = text.vectors[rows].astype(np.float64).mean(axis=0)
        length = float(np.linalg.norm(mean))
        known = frozenset[str]().union(*(text.sentences[row].stems for row in rows.tolist()))
        shared = sum(value for word, value in words.items() if word in known)
        nearness = float(cosine((mean / length)[None, :], question)[0]) if length else 0.0
        scores[rows] += _AROUND * (nearness + _SHARED * shared) - _LATER * passage
    return scores
