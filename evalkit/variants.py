"""Variants and services: a pipeline as a value, and the serving layers around it."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import Any

from evalkit import fingerprint, llm, stages
from evalkit.errors import InputErrors
from evalkit.forms import Reader, build
from evalkit.llm import Extractive
from evalkit.served import Layer
from evalkit.stages import Dense, Recursive, SentenceTransformer, TopK
from evalkit.types import CORPUS, QUERY, Assembler, Chunker, Digest, Generator, Node, Reranker, Retriever, Seam


@cache
def components() -> Mapping[str, Any]:
    """Return the components that a variant can be made of, by name: what the stages and generators export."""
    return {name: getattr(module, name) for module in (stages, llm) for name in module.__all__}


@dataclass(frozen=True)
class Variant:
    """A RAG pipeline, written down.

    Parameters
    ----------
    chunk : Chunker
    retrieve : Retriever
    rerank : Reranker or None
    assemble : Assembler
    generate : Generator
        Each may also be given as a spec writes it: ``Variant(retrieve="BM25")``.

    Raises
    ------
    InputErrors
        For every field that holds something else.
    """

    chunk: Chunker = field(default_factory=Recursive)
    retrieve: Retriever = field(default_factory=Dense)
    rerank: Reranker | None = None
    assemble: Assembler = field(default_factory=TopK)
    generate: Generator = field(default_factory=lambda: Extractive(SentenceTransformer()))

    def __post_init__(self) -> None:
        kind: Any = type(self)
        hints, reader = _hints(kind), Reader(components())
        for item in fields(self):
            object.__setattr__(
                self, item.name, build(getattr(self, item.name), hints[item.name], reader, (item.name,))
            )
        if reader.faults:
            raise InputErrors([f"Variant: {fault}" for fault in reader.faults])

    def nodes(self) -> Mapping[Seam, Node]:
        """The graph's seams, by name: chunks, retrieve (the final ranking), prompt, answer."""
        return self._nodes

    @cached_property
    def _nodes(self) -> Mapping[Seam, Node]:
        chunks = Node(self.chunk, (CORPUS,))
        ranking = self.retrieve.expand(chunks, QUERY)
        if self.rerank is not None:
            ranking = self.rerank.expand(chunks, QUERY, ranking)
        prompt = self.assemble.expand(chunks, QUERY, ranking)
        answer = Node(self.generate, (prompt,))
        return {"chunks": chunks, "retrieve": ranking, "prompt": prompt, "answer": answer}

    @cached_property
    def fingerprint(self) -> Digest:
        """Identity: the recipe of the answer, which every stage enters."""
        return self.nodes()["answer"].recipe


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@dataclass(frozen=True)
class Service:
    """A variant as it serves: with layers around its seams.

    Parameters
    ----------
    variant : Variant
    layers : tuple of Layer
        Around each place the first layer named is the outermost.
    side_by_side : bool
        Whether branches of the pipeline (dense and keyword search) are worked on at once for a request, as far as
        there are cores; else one after the other.
    """

    variant: Variant
    layers: tuple[Layer, ...] = ()
    side_by_side: bool = False

    @cached_property
    def fingerprint(self) -> Digest:
        """Identity of the variant and every layer."""
        return fingerprint.digest([self.variant.fingerprint, list(self.layers), self.side_by_side])
