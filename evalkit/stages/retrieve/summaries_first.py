"""Search summaries first, then the documents that they found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from evalkit.columns import Array, Ragged
from evalkit.errors import InputError
from evalkit.similarity import best_first, cosine
from evalkit.stages.embed import SentenceTransformer
from evalkit.stages.embed.base import embedded
from evalkit.stages.index import Flat
from evalkit.stages.retrieve.checks import check_k
from evalkit.stages.retrieve.summaries import Central, CutSentences, Lead, Summaries, WithChunks
from evalkit.stages.subset import Subset, rows_by_document
from evalkit.types import CORPUS, Embedder, FittedEmbedder, Node
from evalkit.values import Chunks, Rankings, Table, Vectors


@dataclass(frozen=True, eq=False)
class Members(Table):
    """Of every summary, the positions of its document's chunks: int64."""

    items: Ragged[Array]


@dataclass(frozen=True)
class MembersOf:
    """Find which chunks belong to which summary."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "index"
    row_exact: ClassVar[bool] = False
    row_wise: ClassVar[bool] = False

    def __call__(self, summaries: Summaries, chunks: Chunks) -> Members:
        """Look at every document."""
        rows = rows_by_document(chunks)
        return Members(Ragged.of([rows.get(name, ()) for name in summaries.document], np.int64))


@dataclass(frozen=True)
class WithinFound:
    """Exact search, by the one similarity, among the chunks of the documents that were found."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, found: Rankings, members: Members, vectors: Vectors, queries: Vectors) -> Rankings:
        """Search for every query."""
        items, scores = [], []
        for documents, query in zip(found.items, queries.values, strict=True):
            rows = np.concatenate([np.zeros(0, np.int64), *(members.items[i] for i in documents.tolist())])
            exact = cosine(vectors.values[rows], query)
            best = best_first(exact, rows, self.k)
            items.append(rows[best])
            scores.append(exact[best])
        return Rankings.of(items, scores)


@dataclass(frozen=True)
class SummariesFirst:
    """Finds documents by their summaries, then searches only these documents' chunks, exactly.

    Summaries are made of the documents' own sentences when the corpus is taken in, and searched with their titles.

    Parameters
    ----------
    embedder : Embedder or FittedEmbedder
        Of summaries, chunks and queries.
    summary : {"central", "lead"}
        Which sentences summarise a document: those nearest to the mean of all its sentences' vectors, or the first.
    sentences : int
        Sentences in a summary.
    documents : int
        Documents found by their summaries; chunks of others are not returned.
    k : int
        Chunks returned; fewer where the documents found have fewer.

    References
    ----------
    Radev et al., *Centroid-based summarization of multiple documents*, Information Processing & Management 2004.
    Rossiello, Basile and Semeraro, *Centroid-based Text Summarization through Compositionality of Word Embeddings*,
    MultiLing 2017.
    """

    embedder: Embedder | FittedEmbedder = field(default_factory=SentenceTransformer)
    summary: Literal["central", "lead"] = "central"
    sentences: int = 3
    documents: int = 10
    k: int = 10

    def __post_init__(self) -> None:
        check_k(self, self.k)
        if self.summary not in ("central", "lead"):
            raise InputError(f"SummariesFirst: summary is {self.summary!r}; it is 'central' or 'lead'")
        if self.sentences < 1 or self.documents < 1:
            raise InputError(
                f"SummariesFirst: sentences {self.sentences} and documents {self.documents} do not fit; both must be "
                "at least 1"
            )

    def expand(self, chunks: Node, query: Node) -> Node:
        """Summarise, search the summaries, search within."""
        pieces = Node(CutSentences(), (CORPUS,))
        if self.summary == "lead":
            summaries = Node(Lead(self.sentences), (CORPUS, pieces))
        else:
            near = embedded(self.embedder, chunks, pieces)
            summaries = Node(Central(self.sentences), (CORPUS, pieces, near))
        if isinstance(chunks.op, Subset):  # a document that may not be found shall not take the place of another
            summaries = Node(Subset(), (summaries, Node(WithChunks(), (summaries, chunks))))
        asked = embedded(self.embedder, chunks, query)
        found = Flat().expand(embedded(self.embedder, chunks, summaries), asked, self.documents)
        members = Node(MembersOf(), (summaries, chunks))
        return Node(WithinFound(self.k), (found, members, embedded(self.embedder, chunks, chunks), asked))
