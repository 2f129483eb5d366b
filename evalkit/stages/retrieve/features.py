"""What can be seen of a query without judgements, cheaply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evalkit.columns import Array
from evalkit.stages.retrieve.bm25 import BM25, BM25Build, KeywordIndex, tokenize
from evalkit.stages.retrieve.words import QUESTION, bare, spoken
from evalkit.types import Node
from evalkit.values import Queries, Table


@dataclass(frozen=True, eq=False)
class QueryFeatures(Table):
    """Features of queries, in the order of `LearntAlpha`'s coefficients: float64 of shape (n, 5), from 0 to 1."""

    values: Array


@dataclass(frozen=True)
class DescribeQueries:
    """Count words, look them up in the corpus' keyword index, look at their letters."""

    stemmer: str | None
    stopwords: bool

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "fuse"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("PyStemmer", "bm25s")

    def __call__(self, index: KeywordIndex, asked: Queries) -> QueryFeatures:
        """Describe every query."""
        number, found = index.loaded[1], np.diff(index.indptr)
        rare = max(1.0, float(index.size[0]) / 100)
        rows = np.zeros((len(asked), 5))
        words_of = tokenize(list(asked.text), self.stemmer, self.stopwords)
        for row, text, words in zip(rows, asked.text, words_of, strict=True):
            counts = np.array([found[number[word]] if word in number else 0 for word in words], dtype=np.int64)
            said = spoken(text)
            row[:] = (
                min(len(said), 20) / 20,
                _share(((counts > 0) & (counts <= rare)).tolist()),
                _share((counts == 0).tolist()),
                float(any(bare(word) in QUESTION for word in said)),
                _share([_names_something(word) for word in said]),
            )
        return QueryFeatures(rows)


def described(chunks: Node, query: Node) -> Node:
    """Return the node of `QueryFeatures`; the index it needs is the one that `BM25` with its defaults builds."""
    like = BM25()
    index = Node(BM25Build(like.k1, like.b, like.stemmer, like.stopwords), (chunks,))
    return Node(DescribeQueries(like.stemmer, like.stopwords), (index, query))


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0


def _names_something(word: str) -> bool:
    return any(letter.isdigit() for letter in word) or any(letter.isupper() for letter in word[1:])
