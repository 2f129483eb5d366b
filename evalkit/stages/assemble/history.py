"""What a prompt keeps of what was said before."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from evalkit.columns import Ragged
from evalkit.errors import InputError
from evalkit.stages.assemble.fitting import whole
from evalkit.stages.assemble.importance import DECISIONS, importance, split
from evalkit.stages.assemble.topk import TopK
from evalkit.stages.count import message_text
from evalkit.stages.counting import Counter, Tokens
from evalkit.types import Assembler, Node
from evalkit.values import Prompts, Queries

_HEAD = "Earlier in this conversation:"


@dataclass(frozen=True)
class Shorten:
    """Keep the last turns of every history, and a summary of those before. The fields are `History`'s."""

    turns: int
    above: int
    summary: int
    counter: Counter

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "assemble"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the counter."""
        return tuple(getattr(self.counter, "packages", ()))

    def __call__(self, queries: Queries) -> Queries:
        """Shorten history by history."""
        return replace(queries, history=Ragged.of([self.shorten(list(history)) for history in queries.history]))

    def shorten(self, messages: list[str]) -> list[str]:
        """Shorten one history."""
        all_turns = -(-len(messages) // 2)
        dropped = 2 * max(all_turns - self.turns, 0)
        if not dropped or self.counter.count([*map(message_text, messages)]).sum() <= self.above:
            return messages
        older, recent = messages[:dropped], messages[dropped:]
        summary = self.summarise(older) if self.summary else ""
        return [summary + recent[0], *recent[1:]] if summary else recent

    def summarise(self, messages: list[str]) -> str:
        """Return the most important sentences that fit, in order, as a paragraph; empty where none does."""
        found = [split(message) for message in messages]
        scores = {
            (i, j): score for i, parts in enumerate(found) for j, score in enumerate(importance(parts, DECISIONS))
        }
        places = sorted(sorted(scores, reverse=True), key=lambda place: -scores[place])  # a tie: the later one
        lengths = self.counter.count([message_text(_HEAD), *(f" {found[i][j]}" for i, j in places)]).tolist()
        taken = whole(lengths[1:], self.summary - lengths[0], skip=True)
        kept = sorted(places[n] for n in taken)
        return message_text(_HEAD + "".join(f" {found[i][j]}" for i, j in kept)) if kept else ""


@dataclass(frozen=True)
class Recall:
    """Give prompts the histories of queries."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "assemble"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, prompts: Prompts, queries: Queries) -> Prompts:
        """Replace the histories."""
        return replace(prompts, history=queries.history)


@dataclass(frozen=True)
class History:
    """An assembler's prompts with a shorter history: the last turns, and what mattered most of those before.

    A turn is what the user said and the assistant's reply. The summary is extracted, not written: the sentences of
    the older turns that `KeySentences` would call most important (of equals the later one), as many as fit, in the
    order in which they were said. It stands before the first message that is kept, so that user and assistant still
    take turns.

    `Extractive` reads the last turn, and only for a question that points back; the prompt's length counts all that
    is kept.

    Parameters
    ----------
    assembler : Assembler
        Makes the prompts.
    turns : int
        Kept as they are, from the end. "The last three messages", where they begin with the user and end with the
        question, are one turn.
    above : int
        Histories of at most this length, in the counter's unit, stay whole. What is kept of longer ones may still
        be longer than this.
    summary : int
        Length of the summary, in the counter's unit; 0 drops the older turns.
    counter : Counter
        Says how long a message is.
    """

    assembler: Assembler = field(default_factory=TopK)
    turns: int = 3
    above: int = 0
    summary: int = 200
    counter: Counter = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        if min(self.turns, self.above, self.summary) < 0:
            raise InputError(
                f"History: turns {self.turns}, above {self.above} and summary {self.summary} do not fit; "
                "none may be below 0"
            )
        if self.summary and not self.turns:
            raise InputError("History: a summary stands before a turn that is kept; give turns, or summary 0")

    def expand(self, chunks: Node, query: Node, found: Node) -> Node:
        """Assemble; shorten the history beside it."""
        shorter = Node(Shorten(self.turns, self.above, self.summary, self.counter), (query,))
        return Node(Recall(), (self.assembler.expand(chunks, query, found), shorter))
