"""Query and passage read together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np

from evalkit.columns import Array, Ragged
from evalkit.errors import InputError
from evalkit.stages import models
from evalkit.stages.rerank.base import BestFirst, at_most, check_depth
from evalkit.types import Node
from evalkit.values import Chunks, Queries, Rankings


@cache
def _digest(model: str) -> str:
    """Hash of a cross-encoder's files; another model would be scored by a head of random weights."""
    config = json.loads((models.model_folder(model) / "config.json").read_text(encoding="utf-8"))
    kind = (config.get("architectures") or ["none"])[0]
    if not kind.endswith(("ForSequenceClassification", "ForCausalLM")):
        raise InputError(f"CrossEncoder: {model} is no cross-encoder (its architecture is {kind})")
    return models.model_digest(model)


@dataclass(frozen=True)
class ScorePairs:
    """Give the first `k` chunks of every ranking a cross-encoder's score; they stay in the ranking's order.

    A score depends on the two texts alone: the model reads one pair a call.
    """

    model: str
    max_length: int
    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "rerank"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("sentence-transformers", "tokenizers", "torch", "transformers")
    prefix_exact: ClassVar[Literal[True]] = True
    entry_wise: ClassVar[bool] = True
    journalled: ClassVar[bool] = True

    def identity(self) -> dict[str, Any]:
        """Say what the model is, not where it lies."""
        return {"model": _digest(self.model)}

    def __call__(self, chunks: Chunks, queries: Queries, rankings: Rankings) -> Rankings:
        """Score every pair."""
        items = rankings.top(self.k).items
        return Rankings(items, Ragged(self.score(self.pairs(chunks, queries, rankings)), items.offsets))

    def pairs(self, chunks: Chunks, queries: Queries, rankings: Rankings) -> list[tuple[str, str]]:
        """Return the (query, passage) of every entry of the first `k`, row by row."""
        passages, rows = chunks.searched, zip(queries.text, rankings.top(self.k).items, strict=True)
        return [(query, passages[int(item)]) for query, items in rows for item in items]

    def score(self, pairs: Sequence[tuple[str, str]]) -> Array:
        """Return the model's output for every (query, passage), before any activation: float64 of shape (n,)."""
        import torch

        model = models.cross_encoder(self.model)
        if model.num_labels != 1:
            raise InputError(f"CrossEncoder: {self.model} gives {model.num_labels} scores a pair; one is needed")
        limit = getattr(model.config, "max_position_embeddings", self.max_length)
        if self.max_length > limit:
            raise InputError(f"CrossEncoder: max_length is {self.max_length}; {self.model} takes {limit}")
        with models.torch_turn:
            model.max_seq_length = self.max_length
            scores = model.predict(
                list(pairs), batch_size=1, activation_fn=torch.nn.Identity(), show_progress_bar=False
            )
        return np.asarray(scores, dtype=np.float64)


@dataclass(frozen=True)
class CrossEncoder:
    """Rank by a cross-encoder, run by torch on the CPU.

    The score is the model's output before any activation: a sigmoid's would be equal for the best pairs.

    Parameters
    ----------
    model : str
        A hub name that is on this machine, or a folder, that sentence-transformers' `CrossEncoder` can load. Its
        identity is the hash of its files. None comes with evalkit.
    max_length : int
        Tokens of query and passage together, special tokens included, after which the longer one is cut off.
    k : int or None
        Chunks returned; None returns all that are scored.
    depth : int or None
        Only the first `depth` chunks of the ranking are scored, and the rest is dropped; None scores all.

    References
    ----------
    Nogueira and Cho, *Passage Re-ranking with BERT*, 2019.
    """

    model: str
    max_length: int = 512
    k: int | None = 10
    depth: int | None = 50

    def __post_init__(self) -> None:
        check_depth(self, self.k, self.depth)
        if self.max_length < 5:
            raise InputError(f"CrossEncoder: max_length is {self.max_length}; it must be at least 5")

    def identity(self) -> dict[str, Any]:
        """Say what the model is, not where it lies."""
        return {"model": _digest(self.model)}

    def expand(self, chunks: Node, query: Node, ranking: Node) -> Node:
        """Score, order."""
        scored = Node(ScorePairs(self.model, self.max_length, at_most(self.depth)), (chunks, query, ranking))
        return Node(BestFirst(at_most(self.k)), (scored,))
