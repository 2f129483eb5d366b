"""What embedders share."""

from __future__ import annotations

from evalkit.types import Embedder, FittedEmbedder, Node


def embedded(embedder: Embedder | FittedEmbedder, chunks: Node, texts: Node) -> Node:
    """Return the node of an embedder's vectors of `texts`; one that is fitted to a corpus is given `chunks`."""
    expand = getattr(embedder, "expand", None)
    return Node(embedder, (texts,)) if expand is None else expand(chunks, texts)  # type: ignore[arg-type]
