"""Where a value comes from that a layer gives, and what it rests on: layers further out must not make it younger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from evalkit.served import Place, Request, Serving
from evalkit.types import Digest, Node
from evalkit.values import Chunks, Prompts, Rankings, Value


@dataclass(frozen=True)
class Made:
    """Where a value comes from that a layer gave instead of the work.

    Parameters
    ----------
    by : str
    made : float
    tags : tuple of str
        As in `Entry`.
    corpus : Digest
        From which it was made.
    shared : bool
        Another request that is under way hands it on too, and writes it.
    """

    by: str
    made: float
    tags: tuple[str, ...]
    corpus: Digest
    shared: bool = False


def tell(request: Request, node: Node, value: Value, made: Made) -> None:
    """Say where a node's value comes from that a request gets."""
    request.given[node.recipe] = value, made


def told(request: Request, node: Node, value: Value) -> Made | None:
    """Return what was said of this very value; None: it was worked out for this request."""
    held, made = request.given.get(node.recipe, (None, None))
    return made if held is value else None


async def tags_of(serving: Serving, request: Request, at: Place, node: Node, value: Value) -> tuple[str, ...]:
    """Return the documents that a value rests on which was worked out for a request; of a vector, none."""
    documents: Sequence[str] = ()
    if at == "answer":
        documents = tuple(cast("Prompts", await request.get(node.inputs[0])).sources.values)
    elif at == "prompt":
        documents = tuple(cast("Prompts", value).sources.values)
    elif at == "retrieve":
        chunks = cast("Chunks", await request.get(serving.nodes["chunks"]))
        documents = [chunks.document[int(item)] for item in cast("Rankings", value).items.values]
    return tuple(dict.fromkeys(documents))
