"""Keyword search, on bm25s."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from evalkit.columns import Array, Strings
from evalkit.errors import InputError
from evalkit.similarity import best_first
from evalkit.stages.retrieve.checks import check_k
from evalkit.types import Node
from evalkit.values import Chunks, Queries, Rankings, Value

_TOKEN = r"(?u)\b\w+\b"  # noqa: S105 - one-character tokens are kept: "form B" is not "form C"


@dataclass(frozen=True, eq=False)
class KeywordIndex(Value):
    """Scores of every (word, chunk) pair as a sparse matrix by word; words in alphabetical order.

    ``data`` float32 and ``indices`` int32 of shape (pairs,), ``indptr`` of shape (words + 1,); ``size`` holds the
    number of chunks.
    """

    words: Strings
    data: Array
    indices: Array
    indptr: Array
    size: Array

    @cached_property
    def loaded(self) -> tuple[Any, dict[str, int]]:
        """The bm25s retriever and its vocabulary."""
        from bm25s import BM25

        retriever = BM25()
        retriever.nonoccurrence_array = None  # Lucene's form scores nothing for a word that is not there
        retriever.scores = {
            "data": self.data,
            "indices": self.indices,
            "indptr": self.indptr,
            "num_docs": int(self.size[0]),
        }
        return retriever, {word: i for i, word in enumerate(self.words)}


def tokenize(texts: list[str], stemmer: str | None, stopwords: bool) -> list[list[str]]:
    """Cut texts into lower-case words, drop stop words, stem."""
    import bm25s
    import Stemmer

    words: list[list[str]] = bm25s.tokenize(
        texts,
        token_pattern=_TOKEN,
        stopwords="english" if stopwords else [],
        stemmer=Stemmer.Stemmer(stemmer) if stemmer else None,
        return_ids=False,
        show_progress=False,
    )
    return words


@dataclass(frozen=True)
class BM25Build:
    """Work out the score of every word in every chunk."""

    k1: float
    b: float
    stemmer: str | None
    stopwords: bool

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "index"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("PyStemmer", "bm25s")

    def __call__(self, chunks: Chunks) -> KeywordIndex:
        """Build over all chunks. The vocabulary is sorted, so that the index does not depend on the hash seed."""
        from bm25s import BM25

        tokens = tokenize(list(chunks.searched), self.stemmer, self.stopwords)
        words = sorted({word for row in tokens for word in row})
        if not words:  # no chunks, or stop words only: bm25s would divide by a mean length of zero
            none = np.zeros(0, dtype=np.int32)
            size = np.array([len(tokens)], dtype=np.int64)
            return KeywordIndex(Strings.of([]), none.astype(np.float32), none, np.zeros(1, dtype=np.int64), size)
        number = {word: i for i, word in enumerate(words)}
        retriever = BM25(k1=self.k1, b=self.b, method="lucene")
        scores = retriever.build_index_from_ids(
            unique_token_ids=list(range(len(words))),
            corpus_token_ids=[[number[word] for word in row] for row in tokens],
            show_progress=False,
        )
        return KeywordIndex(
            Strings.of(words),
            np.asarray(scores["data"], dtype=np.float32),
            np.asarray(scores["indices"], dtype=np.int32),
            np.asarray(scores["indptr"], dtype=np.int64),
            np.array([len(tokens)], dtype=np.int64),
        )


@dataclass(frozen=True)
class BM25Search:
    """Rank the chunks that share a word with the query."""

    stemmer: str | None
    stopwords: bool
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("PyStemmer", "bm25s")
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, index: KeywordIndex, queries: Queries) -> Rankings:
        """Search for every query."""
        retriever, number = index.loaded
        items, scores = [], []
        for words in tokenize(list(queries.text), self.stemmer, self.stopwords):
            known = [number[word] for word in words if word in number]
            all_scores = retriever.get_scores_from_ids(known) if known else np.zeros(0, np.float32)
            found = np.flatnonzero(all_scores > 0)
            kept = all_scores[found].astype(np.float64)
            best = best_first(kept, found, self.k)
            items.append(found[best])
            scores.append(kept[best])
        return Rankings.of(items, scores)


@dataclass(frozen=True)
class BM25:
    """Keyword search by Okapi BM25, in Lucene's form.

    Parameters
    ----------
    k1, b : float
        Term saturation and length normalisation; the defaults are those of Anserini's and Pyserini's baselines.
    stemmer : str or None
        A Snowball stemmer's name.
    stopwords : bool
        Drop English stop words.
    k : int
        Chunks returned; a chunk that shares no word with the query never is.

    References
    ----------
    Robertson et al., *Okapi at TREC-3*, 1994. Kamphuis et al., *Which BM25 do you mean?*, ECIR 2020.
    Lù, *BM25S*, 2024.
    """

    k1: float = 0.9
    b: float = 0.4
    stemmer: Literal["porter", "english"] | None = "porter"
    stopwords: bool = True
    k: int = 10

    def __post_init__(self) -> None:
        check_k(self, self.k)
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise InputError(f"BM25: k1 {self.k1} and b {self.b} do not fit; k1 is at least 0 and b from 0 to 1")

    def expand(self, chunks: Node, query: Node) -> Node:
        """Build the keyword index, search it."""
        index = Node(BM25Build(self.k1, self.b, self.stemmer, self.stopwords), (chunks,))
        return Node(BM25Search(self.stemmer, self.stopwords, self.k), (index, query))
