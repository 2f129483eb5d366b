"""A prompt's passages within a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError
from evalkit.stages.assemble.fitting import Keep, Order, arranged, cut, whole
from evalkit.stages.assemble.selection import Relevance
from evalkit.stages.count import CountPassages, Counts, passage_text
from evalkit.stages.counting import Counter, Tokens
from evalkit.types import Node, Reranker
from evalkit.values import Chunks, Prompts, Queries, Rankings

Overflow = Literal["stop", "skip", "truncate"]


@dataclass(frozen=True)
class Fill:
    """Take chunks in the order of the ranking until the limit is reached, and arrange them. The fields: `Budget`."""

    limit: int
    counter: Counter
    overflow: Overflow
    min_remaining: int
    keep: Keep
    order: Order

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "assemble"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the counter."""
        return tuple(getattr(self.counter, "packages", ()))

    def __call__(self, chunks: Chunks, counts: Counts, queries: Queries, rankings: Rankings) -> Prompts:
        """Assemble one prompt a query; `counts` are the lengths of `chunks` as passages."""
        rows = []
        for items in rankings.items:
            texts = self.fill(chunks, items.tolist(), counts.values[items].tolist())
            order = arranged(list(texts), [chunks.document[item] for item in texts], self.order)
            rows.append([(item, texts[item]) for item in order])
        return Prompts(
            Strings.of(queries.text),
            Ragged.of([[chunks.title[item] for item, _ in row] for row in rows]),
            Ragged.of([[text for _, text in row] for row in rows]),
            Ragged.of([[chunks.document[item] for item, _ in row] for row in rows]),
            queries.history,
        )

    def fill(self, chunks: Chunks, items: list[int], sizes: list[int]) -> dict[int, str]:
        """Return the texts that one prompt takes, by chunk, in the order taken."""
        taken = whole(sizes, self.limit, skip=self.overflow == "skip")
        texts = {items[place]: chunks.text[items[place]] for place in taken}
        room = self.limit - sum(sizes[place] for place in taken)
        if self.overflow == "truncate" and len(taken) < len(items) and room > self.min_remaining:
            item = items[len(taken)]
            title = chunks.title[item]
            part = cut(
                chunks.text[item],
                self.keep,
                lambda text: int(self.counter.count([passage_text(title, text)])[0]) <= room,
            )
            return texts | {item: part} if part else texts
        return texts


@dataclass(frozen=True)
class Budget:
    """As many chunks as fit into a limit on the passages' length.

    What is counted is what `CountPrompts` counts of the passages: titles and the blank lines behind them included.
    The question and the history are not: they come as they are. A limit below the first chunk's length gives a
    prompt without passages, unless chunks are truncated.

    Parameters
    ----------
    limit : int
        Of the passages' length, in the counter's unit.
    counter : Counter
        Says how long a passage is. Every chunk is counted once, when the index is built.
    select : Reranker
        The order in which chunks are taken: `Relevance` is the ranking's; `Diversity`; `MMR` weighs both; or another
        reranker, alone or in a `Chain`. What it drops is not taken. The variant's ranking stays as it is.
    overflow : {"stop", "skip", "truncate"}
        What becomes of the first chunk that does not fit: nothing more is taken; it is passed over, and a smaller
        one behind it may be taken; or as much of it is taken as fits, in whole words, and nothing more.
    min_remaining : int
        A chunk is truncated only where more than this remains of the limit.
    keep : {"start", "end"}
        Which part of a truncated chunk is taken.
    order : {"best first", "best last", "edges", "document"}
        How the prompt shows what was taken. ``edges``: the best first, the second last, and so on to the worst in
        the middle. ``document``: a document's chunks together, as in its text, documents by their best chunk.

    References
    ----------
    Liu et al., *Lost in the Middle: How Language Models Use Long Contexts*, TACL 2024.
    """

    limit: int = 1024
    counter: Counter = field(default_factory=Tokens)
    select: Reranker = field(default_factory=Relevance)
    overflow: Overflow = "stop"
    min_remaining: int = 100
    keep: Keep = "start"
    order: Order = "best first"

    def __post_init__(self) -> None:
        if self.limit < 1 or self.min_remaining < 0:
            raise InputError(
                f"Budget: limit {self.limit} and min_remaining {self.min_remaining} do not fit; "
                "limit must be at least 1 and min_remaining at least 0"
            )

    def expand(self, chunks: Node, query: Node, found: Node) -> Node:
        """Count the chunks, select, fill."""
        fill = Fill(self.limit, self.counter, self.overflow, self.min_remaining, self.keep, self.order)
        counts = Node(CountPassages(self.counter), (chunks,))
        return Node(fill, (chunks, counts, query, self.select.expand(chunks, query, found)))
