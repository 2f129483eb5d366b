"""A retriever of your own: any function from a text to results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evalkit.columns import Array
from evalkit.errors import EvalkitError, InputError
from evalkit.similarity import best_first
from evalkit.stages.retrieve.checks import check_k
from evalkit.stages.retrieve.functions import Function, as_field, identity_of, name_of, resolve
from evalkit.stages.retrieve.hits import hits
from evalkit.stages.retrieve.places import DocumentChunks, grouped, position
from evalkit.types import Node
from evalkit.values import Chunks, Queries, Rankings


def nothing(text: str) -> list[str]:
    """Find nothing: what a pipeline answers without retrieval is a control of its own."""
    return []


@dataclass(frozen=True)
class AskFunction:
    """Call a function with the text of each query, one after the other, and find the chunks it means."""

    function: str | Function
    function_version: str | None
    name: str | None

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def identity(self) -> dict[str, Any]:
        """As `Custom.identity`."""
        return {"function": _identity(self.function, self.function_version)}

    @property
    def stored(self) -> bool:
        """Whether anything says when the results change."""
        return len(_identity(self.function, self.function_version)) == 2

    def __call__(self, places: DocumentChunks, chunks: Chunks, queries: Queries) -> Rankings:
        """Ask every query.

        Raises
        ------
        EvalkitError
            If the function fails or returns what is no result; one line, with the query.
        """
        found = [self._ask(text, places, chunks) for text in queries.text]
        return Rankings.of([items for items, _ in found], [scores for _, scores in found])

    def _ask(self, text: str, places: DocumentChunks, chunks: Chunks) -> tuple[Array, Array]:
        function = resolve(self.function)
        whose = f"search by {self.name or '.'.join(name_of(function))}, query {text!r}"
        try:
            results = hits(function(text))
            positions = [position(hit, places, chunks) for hit in results]
        except InputError as error:
            raise InputError(f"{whose}: {error}") from None
        except Exception as error:
            raise EvalkitError(f"{whose}: {type(error).__name__}: {error}") from error
        scores = [1 / rank if hit.score is None else hit.score for rank, hit in enumerate(results, start=1)]
        firsts = {item: i for i, item in reversed(list(enumerate(positions))) if item is not None}
        items = np.array(list(firsts), dtype=np.int32)
        points = np.array([scores[i] for i in firsts.values()], dtype=np.float64)
        best = best_first(points, items, len(items))
        return items[best], points[best]


@dataclass(frozen=True)
class Head:
    """The first `k` of what a function found, however many that is."""

    k: int

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, rankings: Rankings) -> Rankings:
        """Cut every row."""
        return rankings.top(self.k)


def _identity(function: str | Function, version: str | None) -> list[str]:
    """Module and name where something says when results change, else what no other run has too."""
    module, name, *run = identity_of(function)
    return [module, name] if version is not None else [module, name, *run]


@dataclass(frozen=True)
class Custom:
    """Whatever a function finds: an index of your own, a LangChain retriever's ``invoke``, a call over HTTP.

    The function is called with the text of one query at a time, though perhaps from several threads, and returns
    results, best first: document ids; ``(id, score)`` pairs; mappings with ``id``, ``document`` or ``_id`` and, if
    you like, ``score`` and ``text``; or LangChain documents, whose id is ``metadata["id"]`` or ``["source"]``.

    Results become chunks: where a result has a text that stands in the document, the chunk that overlaps it most;
    else the document's first. Of results that mean one chunk the first counts, and those that a filter hides do not.
    Without scores a result has ``1 / rank``.

    Parameters
    ----------
    function : function or str
        From a text to results; as text ``module:name``, which is imported. The default finds nothing, ever: the
        control that shows what a pipeline does without retrieval.
    k : int
        Chunks returned.
    version : str or None
        Says when results change: the identity is then the function's module and name, `name` and this, and results
        are stored. Without it nothing says so: every run asks anew.
    name : str or None
        What errors call it. It also tells apart functions that no name leads back to (lambdas, closures, methods of
        objects, those of a notebook), which need one where there is a version.

    Raises
    ------
    InputError
        If `function` cannot be called, its name leads to none, or it has a version and needs a name.
    """

    function: str | Callable[[str], Any] = "evalkit.stages.retrieve.custom:nothing"
    k: int = 10
    version: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        check_k(self, self.k)
        try:
            object.__setattr__(self, "function", as_field(self.function))
        except InputError as error:
            raise InputError(f"Custom: function {error}") from None
        if self.version is not None and self.name is None and isinstance(self.function, Function):
            called = ".".join(name_of(self.function.call))
            raise InputError(
                f"Custom: function {called} may be one of many, as no name leads back to it; with a version it needs "
                "a name= of its own, under which its results are stored"
            )

    def identity(self) -> dict[str, Any]:
        """Say which function it is; without a version, also in which run."""
        return {"function": _identity(as_field(self.function), self.version)}

    def expand(self, chunks: Node, query: Node) -> Node:
        """Group the chunks by document, ask the function; the cut is a step of its own: all `k` share a search."""
        found = AskFunction(as_field(self.function), self.version, self.name)
        return Node(Head(self.k), (Node(found, (grouped(chunks), chunks, query)),))


def retriever(
    function: str | Callable[[str], Any], k: int = 10, *, version: str | None = None, name: str | None = None
) -> Custom:
    """Return a retriever of any function from a text to results, e.g. ``retriever(my_index.invoke)``.

    Parameters
    ----------
    function, k, version, name
        As in `Custom`.
    """
    return Custom(function, k, version, name)
