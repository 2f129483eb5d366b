"""What every reranker must hold to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evalkit.evaluate.apply import apply
from evalkit.testing.conformance.given import corpus_side, run_node, searched
from evalkit.testing.conformance.retrievers import check_rankings
from evalkit.testing.identity import Stub
from evalkit.types import CORPUS, QUERY, Digest, Node, Prefix
from evalkit.values import Rankings, Value, content_digest

_RANKED = Node(Stub(), (QUERY,))


def check_reranker(reranker: Any) -> None:
    """Check that rankings hold nothing but what they held before, in order, and that none depends on another.

    The rankings it is given are one of all chunks, with ties and twins, one that is mostly twins, one without any
    chunk and one of a single chunk. Where the reranker has a field ``k``, no ranking may be longer; where it has
    ``depth``, what lies below must not count. Every op in it that claims ``prefix_exact`` must give with a small
    ``k`` the head of what it gives with a large one, since a plan relies on that.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    chunks, queries = searched()
    given = _rankings(len(chunks))
    node = reranker.expand(CORPUS, QUERY, _RANKED)
    known = _run(reranker, node, range(4), given)
    found = known[node.recipe]
    assert isinstance(found, Rankings), f"{reranker}: gives {type(found).__name__}, not Rankings"
    check_rankings(reranker, found, len(queries), len(chunks))
    kinds = (str(found.items.values.dtype), str(found.scores.values.dtype))
    assert kinds == ("int32", "float64"), f"{reranker}: positions and scores are {kinds}, not int32 and float64"
    for row, (items, ranked) in enumerate(zip(found.items, given.items, strict=True)):
        added = sorted({*items.tolist()} - {*ranked.tolist()})
        assert not added, f"{reranker}, query {row}: {added} were not in the ranking"
    assert len(found.items.values), f"{reranker}: every ranking is empty"

    assert _of(reranker, given).digest == found.digest, f"{reranker}: a second call gives another ranking"
    for row in range(4):
        alone = _of(reranker, given, [row])
        assert alone.digest == found.row(row).digest, f"{reranker}: query {row} alone gives another ranking"
    mixed = _of(reranker, given, [3, 1, 0])
    assert mixed.digest == found.take([3, 1, 0]).digest, f"{reranker}: the order of queries changes rankings"
    assert _of(reranker, given, []).digest == found.take([]).digest, f"{reranker}: rankings of no queries"

    _check_k_and_depth(reranker, given)
    for part in node.walk():
        if part.per_query and isinstance(part.op, Prefix):
            _check_heads(part, [known[parent.recipe] for parent in part.inputs])


def _rankings(size: int) -> Rankings:
    """Rankings for the four queries, of `size` chunks of which the last three are twins of 3, 3 and 0."""
    everything = np.random.default_rng(0).permutation(size)
    scores = np.round(np.linspace(1, 0, size), 1)
    few = [np.array(row, np.int32) for row in ([size - 1, 3, size - 3, size - 2, 0, 5], [], [7])]
    first = everything[np.lexsort((everything, -scores))]
    return Rankings.of([first, *few], [scores, *(np.linspace(9, 2, len(row)) for row in few)])


def _run(reranker: Any, node: Node, rows: Sequence[int], given: Rankings) -> dict[Digest, Value]:
    """Return the values of a node and all that it needs, for some of the queries."""
    chunks, queries = searched()
    sources = {CORPUS: chunks.take(range(len(chunks))), QUERY: queries.take(rows), _RANKED: given.take(rows)}
    known: dict[Digest, Value] = {**corpus_side, **{source.recipe: value for source, value in sources.items()}}
    before = [value.digest for value in sources.values()]
    run_node(node, known)
    after = [content_digest(type(value).__name__, value.arrays()) for value in sources.values()]
    assert after == before, f"{reranker}: writes into what it is given"
    built = {part.recipe for part in node.walk() if not part.per_query}
    corpus_side.update({recipe: value for recipe, value in known.items() if recipe in built})
    return known


def _of(reranker: Any, given: Rankings, rows: Sequence[int] = range(4)) -> Rankings:
    node = reranker.expand(CORPUS, QUERY, _RANKED)
    found = _run(reranker, node, rows, given)[node.recipe]
    assert isinstance(found, Rankings), f"{reranker}: gives {type(found).__name__}, not Rankings"
    return found


def _check_k_and_depth(reranker: Any, given: Rankings) -> None:
    for k in (1, 2, 7) if hasattr(reranker, "k") else ():
        longest = np.diff(_of(replace(reranker, k=k), given).items.offsets).max()
        assert longest <= k, f"{reranker}: {longest} chunks with k = {k}"
    for depth in (1, 2, 7) if hasattr(reranker, "depth") else ():
        fields: Mapping[str, Any] = {"k": 1, "depth": depth} if hasattr(reranker, "k") else {"depth": depth}
        shallow = replace(reranker, **fields)
        same = _of(shallow, given).digest == _of(shallow, given.top(depth)).digest
        assert same, f"{reranker}: with depth = {depth}, what lies below changes the ranking"


def _check_heads(node: Node, inputs: Sequence[Value]) -> None:
    def first(k: int) -> Any:
        op: Any = replace(node.op, k=k)  # type: ignore[type-var]
        return apply(Node(op, node.inputs), inputs).value

    deep = first(1000)
    for k in (1, 2, 7):
        assert first(k).digest == deep.top(k).digest, (
            f"{type(node.op).__name__} is prefix_exact, but with k = {k} it is not the head of a deeper one"
        )
