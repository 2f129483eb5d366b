"""Other ways to put a query, made without a language model."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from evalkit.columns import Array, Strings
from evalkit.errors import InputError
from evalkit.stages.retrieve.bm25 import BM25, BM25Build, KeywordIndex
from evalkit.stages.retrieve.words import ASKING, QUESTION, bare, spoken
from evalkit.types import Node, Op
from evalkit.values import Chunks, Queries, Rankings

_VERBS = ("are", "can", "did", "do", "does", "has", "have", "is", "must", "should", "was", "were", "will")
_CLAUSE = rf",?\s+(?:and|or|but)\s+(?=(?:{'|'.join((*sorted(QUESTION), *_VERBS))})\b)"
_PARTS = re.compile(rf"(?<=[?!;])\s+|(?<=\w\w\.)\s+|{_CLAUSE}", re.IGNORECASE)
_TERM = re.compile(r"\b\w+\b")


class Rewrite(Op, Protocol):
    """Puts queries in other words: an op that gives the same rows with other texts."""

    def __call__(self, queries: Queries) -> Queries:
        """Rewrite every query; one that cannot be rewritten keeps its text."""


class FeedbackRewrite(Protocol):
    """Puts queries in other words after a first search: expands into nodes."""

    def rewritten(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Return the node of the rewritten queries; `ranking` is what the queries themselves find."""


def with_texts(queries: Queries, rewrite: Callable[[str], str]) -> Queries:
    """Return queries with each text rewritten, and all else as it was."""
    return Queries(queries.id, Strings.of(map(rewrite, queries.text)), queries.history)


@dataclass(frozen=True)
class KeywordsOnly:
    """The words that carry meaning: stop words, question words and words of asking are dropped.

    The others keep their order and spelling; a query without any stays as it is. Stop words are NLTK's English ones,
    as bm25s has them.
    """

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rewrite"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("bm25s",)

    def __call__(self, queries: Queries) -> Queries:
        """Rewrite every query."""
        from bm25s.stopwords import STOPWORDS_EN_PLUS

        dropped = QUESTION | ASKING | frozenset(STOPWORDS_EN_PLUS)
        return with_texts(
            queries, lambda text: " ".join(word for word in spoken(text) if bare(word) not in dropped) or text
        )


@dataclass(frozen=True)
class SubQuestion:
    """One part of a compound question, such as ``when did it open`` in ``Who built it, and when did it open?``.

    A question is cut at the ends of its sentences, and before ``and``, ``or`` and ``but`` where a question word or a
    verb such as *is* follows. A part has two words or more. A query with fewer parts stays as it is.

    Parameters
    ----------
    number : int
        Which part, from 1.
    """

    number: int = 1

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rewrite"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.number < 1:
            raise InputError(f"SubQuestion: number is {self.number}; parts count from 1")

    def __call__(self, queries: Queries) -> Queries:
        """Rewrite every query."""
        return with_texts(queries, self._part)

    def _part(self, text: str) -> str:
        parts = [part for part in _PARTS.split(text.strip()) if len(spoken(part)) > 1]
        return parts[self.number - 1] if len(parts) >= max(self.number, 2) else text


@dataclass(frozen=True)
class Expand:
    """Add to each query the words that mark its first results."""

    depth: int
    terms: int
    stemmer: str

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rewrite"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("PyStemmer",)

    def __call__(self, index: KeywordIndex, chunks: Chunks, queries: Queries, rankings: Rankings) -> Queries:
        """Expand every query; one without results stays as it is."""
        import Stemmer

        stem: Callable[[list[str]], list[str]] = Stemmer.Stemmer(self.stemmer).stemWords
        expanded = []
        for text, items in zip(queries.text, rankings.items, strict=True):
            own = set(stem(_TERM.findall(text.lower())))
            found = [f"{chunks.title[i]} {chunks.text[i]}" for i in items[: self.depth].tolist()]
            expanded.append(" ".join([text, *self._terms(index, stem, found, own)]))
        return Queries(queries.id, Strings.of(expanded), queries.history)

    def _terms(
        self, index: KeywordIndex, stem: Callable[[list[str]], list[str]], found: list[str], own: set[str]
    ) -> list[str]:
        number = index.loaded[1]
        gains: defaultdict[str, float] = defaultdict(float)
        spelt: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for rank, text in enumerate(found, start=1):
            words = _TERM.findall(text.lower())
            stems = stem(words)
            for word, root in zip(words, stems, strict=True):
                if root in number and root not in own:
                    gains[root] += 1 / (rank * len(words))
                    spelt[root][word] += 1
        rarity = _rarity(index, [number[root] for root in gains])
        ranked = sorted(zip(gains, rarity, strict=True), key=lambda pair: (-gains[pair[0]] * pair[1], pair[0]))
        return [min(spelt[root].items(), key=lambda it: (-it[1], it[0]))[0] for root, _ in ranked[: self.terms]]


def _rarity(index: KeywordIndex, words: list[int]) -> list[float]:
    """Inverse document frequency over chunks, in Lucene's form."""
    found: Array = np.diff(index.indptr)[words]
    return np.log1p((int(index.size[0]) - found + 0.5) / (found + 0.5)).tolist()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class PseudoRelevanceFeedback:
    """The query with words added that mark the first results: what a relevance model, RM3, would weigh up.

    A word's weight is its share of a chunk's words, summed over the first chunks with ``1 / rank`` (a relevance model
    takes the query's likelihood, which embeddings do not give), times its inverse document frequency. Words of the
    query and stop words are not added; of the spellings of one stem the most frequent is. RM3's mixture with the
    original query is left to the fusion, in which the original always takes part.

    Parameters
    ----------
    depth : int
        Chunks that are taken for relevant.
    terms : int
        Words added.

    References
    ----------
    Lavrenko and Croft, *Relevance-Based Language Models*, SIGIR 2001. Abdul-Jaleel et al., *UMass at TREC 2004:
    Novelty and HARD*, 2004.
    """

    depth: int = 5
    terms: int = 8

    def __post_init__(self) -> None:
        if self.depth < 1 or self.terms < 1:
            raise InputError(
                f"PseudoRelevanceFeedback: depth {self.depth} and terms {self.terms} do not fit; both are at least 1"
            )

    def rewritten(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Count words in the keyword index that `BM25` with its defaults builds, expand the query."""
        like = BM25(stemmer="porter")
        index = Node(BM25Build(like.k1, like.b, like.stemmer, like.stopwords), (chunks,))
        return Node(Expand(self.depth, self.terms, "porter"), (index, chunks, query, ranking))
