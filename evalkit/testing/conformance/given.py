"""What the suites work on: chunks with twins, queries, and the values of nodes."""

from __future__ import annotations

from functools import cache

from evalkit.columns import Strings
from evalkit.evaluate.apply import apply
from evalkit.testing.corpus import tiny_dataset
from evalkit.types import Digest, Node
from evalkit.values import Chunks, Queries, Value


@cache
def searched() -> tuple[Chunks, Queries]:
    """Chunks with twins among them, and queries of which one has no word that any chunk has."""
    from evalkit.stages import Recursive

    data = tiny_dataset()
    chunks = Recursive(size=64)(data.documents)
    queries = Queries(
        Strings.of(["fare", "twin", "unknown", "dog"]),
        Strings.of([data.queries.text[0], "The crossing takes fifty minutes.", "qzxv wvkq", data.queries.text[3]]),
    )
    return chunks.take([*range(len(chunks)), 3, 3, 0]), queries


corpus_side: dict[Digest, Value] = {}
"""What retrievers made of the chunks, by recipe: embedders are slow, and several retrievers share one."""


def run_node(node: Node, known: dict[Digest, Value]) -> Value:
    """Return a node's value; `known` holds the sources' values by recipe and receives all others."""
    for part in node.walk():
        if part.recipe not in known:
            known[part.recipe] = apply(part, [known[parent.recipe] for parent in part.inputs]).value
    return known[node.recipe]
