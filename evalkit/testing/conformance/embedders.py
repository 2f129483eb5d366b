"""What every embedder must hold to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from evalkit.columns import Array, Strings
from evalkit.testing.conformance.given import corpus_side, run_node, searched
from evalkit.testing.corpus import tiny_dataset
from evalkit.types import CORPUS, QUERY, Digest
from evalkit.values import Queries, Value, Vectors

_HARD = ("", "?", "a much longer text than the others. " * 12)


def check_embedder(embedder: Any) -> None:
    """Check that an embedder gives unit vectors, in the order of the texts, and what it promises of batches.

    Where it calls itself ``row_exact``, a text's vector must be the same to the bit alone and among others.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    queries = tiny_dataset().queries
    texts = [*queries.text, *_HARD]
    vectors = embedder.encode(texts)
    _check_unit_vectors(embedder, vectors, len(texts))
    assert np.array_equal(embedder.encode(texts), vectors), f"{embedder}: the same call gives other vectors"
    nothing = embedder.encode([])
    assert nothing.shape == (0, vectors.shape[1]), f"{embedder}: no texts give shape {nothing.shape}"
    assert nothing.dtype == np.float32, f"{embedder}: no texts give {nothing.dtype}"

    alone = np.concatenate([embedder.encode([text]) for text in texts])
    nearness = (alone.astype(np.float64) * vectors).sum(axis=1)
    assert nearness.min() > 0.98, (
        f"{embedder}: text {int(nearness.argmin())} has another vector alone than in a batch"
    )
    if embedder.row_exact:
        assert np.array_equal(alone, vectors), f"{embedder}: row_exact, but a batch changes the vectors' last bits"

    asked = embedder(queries)
    assert len(asked) == len(queries), f"{embedder}: {len(asked)} vectors of {len(queries)} queries"
    counts = embedder.tokens(texts)
    assert counts.shape == (len(texts),), f"{embedder}: token counts of shape {counts.shape}"
    assert counts.dtype == np.int64, f"{embedder}: token counts are {counts.dtype}"
    assert counts[-1] > counts[-2], f"{embedder}: a long text counts no more tokens than a short one"
    over = "word " * (2 * embedder.max_length)
    assert embedder.tokens([over])[0] > embedder.max_length, (
        f"{embedder}: tokens are counted after the cut, not before"
    )
    cut, longer = embedder.encode([over, over + "zebra"])
    assert float(cut @ longer) > 0.9999, f"{embedder}: what lies behind max_length changes the vector"


def check_fitted_embedder(embedder: Any) -> None:
    """Check an embedder that expands into nodes: unit vectors on both sides, each row by its own text.

    A query's vector may depend on the corpus that the embedder is fitted to, and on no other query. Where it has a
    field ``dimensions`` that is a number, vectors have as many.

    Raises
    ------
    AssertionError
        With what does not hold.
    """
    chunks, queries = searched()
    twins = {row: chunks.searched[row] for row in (0, len(chunks) - 4)}
    texts = [*queries.text, *_HARD, *twins.values()]
    asked = Queries(Strings.of(f"q{i}" for i in range(len(texts))), Strings.of(texts))
    of_chunks, of_queries = embedder.expand(CORPUS, CORPUS), embedder.expand(CORPUS, QUERY)

    def run(rows: Sequence[int], before: Mapping[Digest, Value]) -> tuple[Vectors, Vectors, dict[Digest, Value]]:
        known = {**before, CORPUS.recipe: chunks, QUERY.recipe: asked.take(rows)}
        made = [run_node(node, known) for node in (of_chunks, of_queries)]
        per_query = {node.recipe for node in of_queries.walk() if node.per_query}
        for vectors, count in zip(made, (len(chunks), len(rows)), strict=True):
            assert isinstance(vectors, Vectors), f"{embedder}: gives {type(vectors).__name__}, not Vectors"
            _check_unit_vectors(embedder, vectors.values, count)
        corpus, found = cast("list[Vectors]", made)
        return corpus, found, {recipe: value for recipe, value in known.items() if recipe not in per_query}

    everything = range(len(texts))
    corpus, vectors, built = run(everything, corpus_side)
    corpus_side.update(built)
    width, theirs = corpus.values.shape[1], vectors.values.shape[1]
    assert theirs == width, f"{embedder}: {theirs} dimensions for queries, {width} for chunks"
    wanted = getattr(embedder, "dimensions", None) or width
    assert width == wanted, f"{embedder}: {width} dimensions, not {wanted}"

    again = run(everything, {})
    assert again[0].digest == corpus.digest, f"{embedder}: a second run gives chunks other vectors"
    assert again[1].digest == vectors.digest, f"{embedder}: a second run gives queries other vectors"
    for rows in ([], [3, 1, 2], [0], [len(queries)]):
        part = run(rows, built)[1]
        assert part.digest == vectors.take(rows).digest, f"{embedder}: queries {rows} alone have other vectors"
    for query, (row, text) in zip(vectors.values[-len(twins) :], twins.items(), strict=True):
        nearest = int((corpus.values.astype(np.float64) @ query).argmax())
        assert chunks.searched[nearest] == text, (
            f"{embedder}: the text of chunk {row}, asked as a query, is nearest to chunk {nearest}"
        )


def _check_unit_vectors(embedder: Any, vectors: Array, count: int) -> None:
    assert vectors.dtype == np.float32, f"{embedder}: vectors are {vectors.dtype}, not float32"
    assert vectors.ndim == 2, f"{embedder}: vectors of shape {vectors.shape}, not (texts, dimensions)"
    assert len(vectors) == count, f"{embedder}: {len(vectors)} vectors of {count} texts"
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    assert (np.abs(lengths - 1) < 1e-5).all(), (
        f"{embedder}: vectors of length {lengths.min()} to {lengths.max()}, not 1"
    )
