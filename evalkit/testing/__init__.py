"""For authors of components: suites that any component must pass, and a tiny data set to try it on.

The package itself never imports this.
"""

from evalkit.testing.conformance import (
    check,
    check_assembler,
    check_chunker,
    check_embedder,
    check_generator,
    check_index,
    check_layer,
    check_reranker,
    check_retriever,
)
from evalkit.testing.conformance.states import check_state
from evalkit.testing.corpus import tiny_dataset
from evalkit.testing.identity import check_component, examples

__all__ = [
    "check",
    "check_assembler",
    "check_chunker",
    "check_component",
    "check_embedder",
    "check_generator",
    "check_index",
    "check_layer",
    "check_reranker",
    "check_retriever",
    "check_state",
    "examples",
    "tiny_dataset",
]
