"""The protocols that everything else is written against, and the node that both interpreters see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from evalkit import fingerprint
from evalkit.calls import CallFailed
from evalkit.columns import Array
from evalkit.values import Answer, Chunks, Documents, Prompt, Queries, Rankings, Value, Vectors

Digest = str
Origin = Literal["measured", "replayed", "modelled"]
Seam = Literal["chunks", "retrieve", "prompt", "answer"]
T = TypeVar("T")


@runtime_checkable
class Op(Protocol):
    """A leaf of work: a frozen dataclass, pure, batch in, batch out.

    Attributes
    ----------
    version : int
        Raised when the code gives other results; part of the identity.
    stage : str
        Where its time is booked: chunk, embed, index, filter, rewrite, search, fuse, rerank, assemble.
    row_exact : bool
        ``op(rows)[i]`` equals ``op(rows[i:i+1])`` to the bit, for the rows of queries.
    row_wise : bool
        On the corpus side: every row can be worked on alone, so the corpus may pass in blocks.
    packages : tuple of str, optional
        Distributions whose version may change the results; stored results of other versions are not read back.
    stored : bool, optional
        Default True. False: worked on in every run, since nothing says when its results change.
    journalled : bool, optional
        Default False. True, for an embedder: every text's vector is kept in the journal, so that a kill loses none
        and a text that was embedded once, in whatever corpus, is not embedded again. For a `PairScorer`, every
        pair's score.

    paid : bool, optional
        Default False. True: its work may cost money, so that a plan says so.

    Raises
    ------
    Partial
        By an op that could do only a part of its work.
    """

    version: ClassVar[int]
    stage: ClassVar[str]
    row_exact: ClassVar[bool]
    row_wise: ClassVar[bool]

    def __call__(self, *inputs: Any) -> Value:
        """Work on whole values; the first input that depends on the queries gives the rows."""


class Partial(Exception):
    """An op's result made without all of its parts: it is used and told of, and never stored.

    Parameters
    ----------
    value : Value
    note : str
        What was missing.
    """

    def __init__(self, value: Value, note: str) -> None:
        super().__init__(note)
        self.value, self.note = value, note


class Chunker(Op, Protocol):
    """Cuts documents into chunks."""

    def __call__(self, documents: Documents) -> Chunks:
        """Cut every document."""


class Embedder(Op, Protocol):
    """Turns texts into unit vectors."""

    @property
    def max_length(self) -> int:
        """Tokens after which a text is cut off."""

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        """Embed a table of chunks or queries."""

    def encode(self, texts: list[str]) -> Array:
        """Embed plain texts: float32 of shape (n, d)."""

    def tokens(self, texts: list[str]) -> Array:
        """Tokens of each text before any cut: int64 of shape (n,)."""


class FittedEmbedder(Protocol):
    """An embedder that is made from the corpus, or from another one's vectors: expands into nodes."""

    def expand(self, chunks: Node, texts: Node) -> Node:
        """Return the node of the vectors of `texts` (`chunks` themselves, or queries)."""


class Index(Protocol):
    """A vector index: expands into a node that builds and one that searches."""

    def expand(self, vectors: Node, query_vectors: Node, k: int) -> Node:
        """Return the node that finds the `k` nearest vectors."""


@runtime_checkable
class Prefix(Protocol):
    """An op whose result for a small ``k`` is exactly the head of its result for a larger one.

    Attributes
    ----------
    entry_wise : bool, optional
        Default False. True: the last input is a ranking, and every entry of the result depends on one entry of it
        alone, at the same place; so a longer ranking gives the same and more.
    """

    prefix_exact: ClassVar[Literal[True]]
    k: int


@runtime_checkable
class PairScorer(Op, Prefix, Protocol):
    """A reranker's costly part: a score for a query and a passage, whatever else was found."""

    def pairs(self, chunks: Chunks, queries: Queries, rankings: Rankings) -> list[tuple[str, str]]:
        """Return the (query, passage) of every entry of the first `k`, row by row."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> Array:
        """Return every pair's score: float64 of shape (n,)."""


@runtime_checkable
class Generator(Protocol):
    """The only asynchronous leaf: a prompt in, an answer out. Its batch form is derived.

    Attributes
    ----------
    origin : Origin, optional
        Default "measured": of the times that the answer's call states.
    paid : bool, optional
        Default False. True: a call may cost money, and its answer states a `Call`. Such a generator says
        ``at_most(prompt)``: the most dollars that a call for it can cost, its retries included; 0 where the price
        list does not know the model.
    batched : bool, optional
        Default False. True: it has ``hand_in`` and ``fetch`` (see `BatchGenerator`), which an evaluation uses.

    Raises
    ------
    CallFailed
        By a call that got no answer.
    """

    version: ClassVar[int]
    stage: ClassVar[str]

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Answer one prompt. `sample` tells repeats apart; the order of calls never does."""


@runtime_checkable
class BatchGenerator(Protocol):
    """A generator that can hand in many prompts together and fetch the answers later."""

    batched: bool

    async def hand_in(self, asked: Sequence[tuple[Prompt, int]], clock: Clock) -> str:
        """Hand in prompts with their sample numbers; returns the name of the batch."""

    async def fetch(
        self, batch: str, asked: Sequence[tuple[Prompt, int]], clock: Clock
    ) -> Mapping[int, Answer | CallFailed]:
        """Wait for a batch and return its answers by place in `asked`; what failed is told in its place."""


Source = Literal["corpus", "query"]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation in a pipeline's graph, with its inputs.

    Two nodes with one `recipe` are the same work, wherever they stand.
    """

    op: Op | Generator | Source
    inputs: tuple[Node, ...] = ()

    @cached_property
    def recipe(self) -> Digest:
        """Hash of the op, its version, every field and the recipes of the inputs."""
        return fingerprint.digest([self.op, [node.recipe for node in self.inputs]])

    @cached_property
    def per_query(self) -> bool:
        """Whether the result has a row for every query."""
        return self.op == "query" or any(node.per_query for node in self.inputs)

    @property
    def stage(self) -> str:
        """Where the node's time is booked."""
        return self.op if isinstance(self.op, str) else self.op.stage

    def __hash__(self) -> int:
        return hash(self.recipe)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.recipe == other.recipe

    def walk(self) -> Iterator[Node]:
        """All nodes that this one needs, inputs first, itself last, each once."""
        seen: set[Digest] = set()

        def visit(node: Node) -> Iterator[Node]:
            if node.recipe not in seen:
                seen.add(node.recipe)
                for parent in node.inputs:
                    yield from visit(parent)
                yield node

        return visit(self)


CORPUS = Node("corpus")
QUERY = Node("query")


@runtime_checkable
class Retriever(Protocol):
    """Finds chunks for a query: expands into nodes and does no work itself."""

    def expand(self, chunks: Node, query: Node) -> Node:
        """Return the node whose result is `Rankings` over `chunks`."""


@runtime_checkable
class Reranker(Protocol):
    """Orders a ranking anew."""

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Return the node whose result is `Rankings` over `chunks`."""


@runtime_checkable
class Assembler(Protocol):
    """Makes a prompt from what was found."""

    def expand(self, chunks: Node, query: Node, found: Node) -> Node:
        """Return the node whose result is `Prompts`."""


class Clock(Protocol):
    """Time, as a request sees it: real, or virtual."""

    def now(self) -> float:
        """Seconds since the clock started."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def elapse(self, seconds: float) -> None:
        """Let modelled or recorded time pass: a wait for those who serve, nothing for a batch, where nobody waits."""

    async def compute(self, stage: str, work: Callable[[], T]) -> T:
        """Do `work` on one of the clock's cores, and let its time pass."""

    def io(self) -> AbstractAsyncContextManager[None]:
        """While a real socket is pending: time is never skipped."""


class Store(Protocol):
    """Artefacts by content, results by action, single calls by key."""

    def get(self, action: Digest) -> tuple[Digest, Origin] | None:
        """Return what an action gave, if it is there and whole."""

    def put(self, action: Digest, value: Value, origin: Origin, note: Mapping[str, Any]) -> Digest:
        """Keep a value and what made it; returns its content digest."""

    def add(self, value: Value) -> Digest:
        """Keep a value that no action made: an input."""

    def load(self, content: Digest) -> Value:
        """Read a value, memory-mapped."""

    def recall(self, keys: list[Digest]) -> dict[Digest, dict[str, Any]]:
        """Return the journal's entries for those of `keys` that it has."""

    def record(self, key: Digest, entry: Mapping[str, Any]) -> None:
        """Write one entry into the journal; it survives a kill from here on."""

    def record_all(self, entries: Mapping[Digest, Mapping[str, Any]]) -> None:
        """Write entries in one step."""
