"""What embedders share."""

from __future__ import annotations

from evalkit.stages.subset import Subset
from evalkit.types import Embedder, FittedEmbedder, Node


def embedded(embedder: Embedder | FittedEmbedder, chunks: Node, texts: Node) -> Node:
    """Return the node of an embedder's vectors of `texts`; one that is fitted to a corpus is given `chunks`.

    A `Subset` of texts gets its rows of all texts' vectors, and an embedder is fitted to all chunks, whatever part
    of them is searched: to filter changes no vector and embeds nothing again.
    """
    while isinstance(chunks.op, Subset):
        chunks = chunks.inputs[0]
    if isinstance(texts.op, Subset):
        whole, kept = texts.inputs
        return Node(Subset(), (embedded(embedder, chunks, whole), kept))
    expand = getattr(embedder, "expand", None)
    return Node(embedder, (texts,)) if expand is None else expand(chunks, texts)  # type: ignore[arg-type]
