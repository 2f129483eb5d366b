"""Retrieval among the documents that a filter lets through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from evalkit.columns import Ragged
from evalkit.errors import InputError
from evalkit.stages.retrieve.checks import check_k
from evalkit.stages.retrieve.dense import Dense
from evalkit.stages.retrieve.dropping import Among
from evalkit.stages.retrieve.filters import Condition, Keep, NotDeleted
from evalkit.stages.subset import Positions, Subset
from evalkit.types import CORPUS, Node, Retriever
from evalkit.values import Rankings


@dataclass(frozen=True)
class Lift:
    """Rankings over a subset, as rankings over the whole: the first `k` of each."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "filter"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    prefix_exact: ClassVar[Literal[True]] = True

    def __call__(self, rankings: Rankings, kept: Positions) -> Rankings:
        """Name every entry by its position in the whole; a subset keeps the order, so ties stay in order too."""
        items = kept.values[rankings.items.values].astype("int32")
        return Rankings(Ragged(items, rankings.items.offsets), rankings.scores).top(self.k)


@dataclass(frozen=True)
class Filtered:
    """A retriever that finds only chunks of documents that fulfil conditions.

    Parameters
    ----------
    retriever : Retriever
        Its own ``k`` is the depth to which it searches.
    where : tuple of Condition or NotDeleted
        All must hold. The default hides deleted documents; without any, nothing is hidden.
    when : {"before", "after"}
        Before: only the documents that fulfil the conditions are searched. Their vectors are rows of the whole
        corpus's, so that a filter embeds nothing again; an index is built over them alone, a keyword index with
        their own word frequencies. After: everything is searched, and what does not fulfil the conditions is
        dropped, so that fewer than `k` chunks may be left, or none.
    k : int
        Chunks returned.
    """

    retriever: Retriever = field(default_factory=lambda: Dense(k=50))
    where: tuple[Condition | NotDeleted, ...] = (NotDeleted(),)
    when: Literal["before", "after"] = "before"
    k: int = 10

    def __post_init__(self) -> None:
        check_k(self, self.k)
        if self.when not in ("before", "after"):
            raise InputError(f"Filtered: when is {self.when!r}; it is 'before' or 'after'")
        if not isinstance(self.where, list | tuple):
            raise InputError(f"Filtered: where is {self.where!r}; a list of conditions is needed")
        for condition in self.where:
            if not isinstance(condition, Condition | NotDeleted):
                raise InputError(f"Filtered: where holds {condition!r}, which is not a Condition or NotDeleted")
        object.__setattr__(self, "where", tuple(self.where))

    def expand(self, chunks: Node, query: Node) -> Node:
        """Find which chunks may be found, then search among them, or search and drop the others."""
        kept = Node(Keep(self.where), (CORPUS, chunks))
        if self.when == "after":
            return Node(Among(self.k), (self.retriever.expand(chunks, query), kept))
        part = Node(Subset(), (chunks, kept))
        return Node(Lift(self.k), (self.retriever.expand(part, query), kept))
