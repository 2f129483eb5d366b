"""The semantic cache: gives again what a question of nearly the same meaning got before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import ClassVar, Literal, cast

from evalkit.errors import InputError
from evalkit.served import Handler, Next, Request, Serving
from evalkit.serving.keeping.kept import Found, Kept, Until, Write, check
from evalkit.serving.keeping.keys import hashed, scope
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.semantic.entries import Entries
from evalkit.serving.semantic.index import Exact, Graph
from evalkit.serving.state.base import Storage
from evalkit.serving.state.memory import Memory
from evalkit.stages.embed.base import embedded
from evalkit.types import QUERY, Embedder, FittedEmbedder, Node, Seam
from evalkit.values import Answers, Prompts, Value, Vectors

Guard = Literal["corpus", "context", "none"]


@dataclass(frozen=True)
class SemanticCache:
    """Gives again what a near question got before: near enough by a threshold, or as often as was verified.

    Near is measured by the cosine of the questions' vectors, in float64 (`evalkit.similarity`): an index only
    proposes. An entry never leaves its scope: service, model with its prompt and parameters, tenant, what was said
    before in the conversation.

    Parameters
    ----------
    at : {"answer", "retrieve"}
        Whose value is kept: the answer, or the final ranking.
    rule : Threshold or Verified
        When a near entry is given.
    embedder : Embedder, FittedEmbedder or None
        Of the questions. None: the one that the variant's own retrieval uses; its vector is then made once a request.
        A local one before the cache and the API's in retrieval are two embedders.
    index : {"exact", "hnsw"}
        Whether the nearest entry is found for certain, or along a graph that may miss it (and is quicker from some
        10,000 entries of one scope on).
    guard : {"corpus", "context", "none"}
        What must be the same beside the scope. ``corpus``: the version of the documents; the cache is asked first, a
        hit takes an embedding and a look-up. ``context``: the set of documents that the prompt holds; retrieval comes
        first, a hit saves the model's call only. ``none``: nothing; `until` and `ttl` alone keep answers fresh. A
        ranking names chunks by their place in a corpus, so ``corpus`` is the only guard of rankings.
    ttl : float or None
        Seconds for which an entry may be given, from its making; hits do not renew it. Default a day. 0: never.
        None: for ever.
    storage : Storage
        Where entries are kept, with their vectors, their questions, how often they were given and when last. The
        index lies in this process, and is made from the storage before the first look-up.
    until : {"ingestion touches it", "ingestion", "nothing"}
        What ends an entry before its TTL, as for `Cache`.
    only : {"precomputed"} or None
        ``precomputed``: written only by what is asked before the traffic begins.
    write : {"behind", "before"}
        Whether an entry is written beside the answer, which then waits for no storage, or before it is given.
    m, ef_construction, ef : int
        Of the graph: links of a node, candidates while it is linked, candidates of a search.

    Notes
    -----
    Each request's row says ``semantic``: ``hit``, ``miss``, or ``explore`` where a near entry was not given and is
    compared with what the model says; and ``similarity``: the cosine of the nearest entry, of misses too (none: there
    was no entry), so that from one run one sees what other thresholds would have given.
    """

    at: Literal["answer", "retrieve"] = "answer"
    rule: Threshold | Verified = field(default_factory=Threshold)
    embedder: Embedder | FittedEmbedder | None = None
    index: Literal["exact", "hnsw"] = "exact"
    guard: Guard = "corpus"
    ttl: float | None = 86_400.0
    storage: Storage = field(default_factory=Memory)
    until: Until = "ingestion touches it"
    only: Literal["precomputed"] | None = None
    write: Write = "behind"
    m: int = 16
    ef_construction: int = 64
    ef: int = 40

    keeps_answers: ClassVar[bool] = True
    shares_answers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        known = {"at": ("answer", "retrieve"), "index": ("exact", "hnsw"), "guard": ("corpus", "context", "none")}
        for name, options in known.items():
            if getattr(self, name) not in options:
                given, listed = getattr(self, name), ", ".join(map(repr, options))
                raise InputError(f"SemanticCache: {name} is {given!r}; it is one of {listed}")
        if self.at == "retrieve" and self.guard != "corpus":
            raise InputError(
                f"SemanticCache: a ranking holds for one corpus, and guard is {self.guard!r}; take guard='corpus'"
            )
        if self.at == "retrieve" and self.rule.learns:
            raise InputError("SemanticCache: Verified compares answers; at 'retrieve' take a Threshold")
        if self.m < 2 or self.ef_construction < 1 or self.ef < 1:
            raise InputError("SemanticCache: m must be at least 2, ef_construction and ef at least 1")
        check(self)

    def needs(self, nodes: Mapping[Seam, Node]) -> tuple[Node, ...]:
        """Return the node of the questions' vectors."""
        return (self.vectors(nodes),)

    def start(self, serving: Serving) -> Handler:
        """Return the layer at work."""
        vectors = self.vectors(serving.nodes)
        make = partial(Graph, self.m, self.ef_construction, self.ef) if self.index == "hnsw" else Exact
        entries = Entries(kept := Kept(self, serving), serving, make)

        async def handle(request: Request, go_on: Next) -> Value:
            vector = cast("Vectors", await request.get(vectors)).values[0]
            part = hashed(scope(serving, request, go_on), await self._guarded(request, go_on))
            near = await entries.nearest(part, vector, request)
            if near is not None:
                request.note("similarity", near[1])
                if self._given(request, *near):
                    request.note("semantic", "hit")
                    return await kept.give(request, go_on.node, near[0], "SemanticCache")
            explored = near is not None and isinstance(self.rule, Verified) and self.rule.near(near[1])
            request.note("semantic", "explore" if explored else "miss")
            value = await go_on(request)
            if explored and near is not None and await self._learnt(serving, entries, *near, value):
                return value  # it says what the entry says: one entry learns more than two
            await entries.keep(part, vector, request, go_on, value, behind=self.write == "behind")
            return value

        return handle

    def _given(self, request: Request, found: Found, similarity: float) -> bool:
        chance = self.rule.chance(similarity, found.about.get("seen", ()))
        if not isinstance(self.rule, Verified):
            return chance == 1
        return Random(f"{self.rule.seed} {request.number} {request.text}").random() < chance  # noqa: S311

    async def _learnt(
        self, serving: Serving, entries: Entries, found: Found, similarity: float, value: Value
    ) -> bool:
        """Compare an answer with an entry's, and write down what was seen; whether they are one."""
        rule = cast("Verified", self.rule)
        right = rule.equal(cast("Answers", value).text[0], cast("Answers", found.values[0]).text[0])
        learning = entries.learn(found, lambda seen: rule.observed(similarity, seen, right))
        if self.write == "behind":
            serving.beside(learning)
        else:
            await learning
        return right

    async def _guarded(self, request: Request, go_on: Next) -> str:
        if self.guard == "corpus":
            return request.corpus
        if self.guard == "none":
            return ""
        prompt = cast("Prompts", await request.get(go_on.node.inputs[0]))
        return hashed(*sorted(set(prompt.sources.values)))

    def vectors(self, nodes: Mapping[Seam, Node]) -> Node:
        """Return the node of the questions' vectors, as `embedder` says.

        Raises
        ------
        InputError
            If there is no embedder, and the variant's retrieval embeds no question.
        """
        if self.embedder is not None:
            return embedded(self.embedder, nodes["chunks"], QUERY)
        every = list(nodes["retrieve"].walk())
        for node in every:
            inner = node.stage == "embed" and node.per_query and all(_of_the_question(n) for n in node.walk())
            if inner and any(node in user.inputs and user.stage != "embed" for user in every):
                return node
        raise InputError("SemanticCache: the variant's retrieval embeds no question; give an embedder")


def _of_the_question(node: Node) -> bool:
    """Whether a node leads from the question to its vector, and no other text comes in."""
    return not node.per_query or node.op == "query" or node.stage == "embed"
