"""What every component must hold to, whoever wrote it.

Run `check` over an instance of your own component in a test; it applies every suite that fits::

    from evalkit.testing import check

    def test_my_chunker_conforms():
        check(MyChunker(size=64))

The project's own tests run it over everything that the packages of components export, so a new component that is
exported is checked without a new test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evalkit.forms import conforms
from evalkit.served import Layer
from evalkit.stages.counting import Counter
from evalkit.testing.conformance.assemblers import check_assembler
from evalkit.testing.conformance.chunkers import check_chunker, hard_documents
from evalkit.testing.conformance.counters import check_counter
from evalkit.testing.conformance.embedders import check_embedder, check_fitted_embedder
from evalkit.testing.conformance.generators import check_generator
from evalkit.testing.conformance.indexes import check_index
from evalkit.testing.conformance.layers import check_layer
from evalkit.testing.conformance.rerankers import check_reranker
from evalkit.testing.conformance.retrievers import check_retriever
from evalkit.testing.identity import check_component
from evalkit.types import Assembler, Chunker, Embedder, FittedEmbedder, Generator, Index, Reranker, Retriever

__all__ = [
    "SUITES",
    "check",
    "check_assembler",
    "check_chunker",
    "check_counter",
    "check_embedder",
    "check_fitted_embedder",
    "check_generator",
    "check_index",
    "check_layer",
    "check_reranker",
    "check_retriever",
    "hard_documents",
    "roles",
]

SUITES: Mapping[str, tuple[Any, Callable[[Any], None]]] = {
    "chunker": (Chunker, check_chunker),
    "embedder": (Embedder, check_embedder),
    "fitted embedder": (FittedEmbedder, check_fitted_embedder),
    "index": (Index, check_index),
    "retriever": (Retriever, check_retriever),
    "reranker": (Reranker, check_reranker),
    "assembler": (Assembler, check_assembler),
    "counter": (Counter, check_counter),
    "generator": (Generator, check_generator),
    "layer": (Layer, check_layer),
}
"""By role: the protocol that tells who has it, and the suite."""


def roles(component: Any) -> list[str]:
    """Return the roles that a component's methods fit."""
    return [role for role, (protocol, _) in SUITES.items() if conforms(component, protocol)]


def check(component: Any) -> None:
    """Run `check_component` and the suite of every role that the component has.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    check_component(component)
    for role in roles(component):
        SUITES[role][1](component)
