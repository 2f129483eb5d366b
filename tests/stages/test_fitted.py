"""Static queries fitted to a corpus: what is shared, what is fitted, and that nothing but the corpus is looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from toys import HashedWords

from evalkit import run
from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.stages import Dense, FittedStatic, Whole
from evalkit.stages.embed import fitted
from evalkit.stages.embed.bags import bags
from evalkit.stages.embed.fitted import FittedTokens, MeanOfTokens, Sentences, ridge_regression
from evalkit.stages.models import MINILM
from evalkit.testing import check_component, check_retriever, tiny_dataset
from evalkit.testing.conformance.embedders import check_fitted_embedder
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Chunks, Queries, Vectors
from evalkit.variants import Variant

TOY = FittedStatic(HashedWords(max_length=256))


def chunks_of(*rows):
    """Chunks from (title, start, text)."""
    titles, starts, texts = zip(*rows, strict=True)
    start = np.array(starts, dtype=np.int64)
    return Chunks(
        Strings.of(map(str, range(len(rows)))), Strings.of(titles), start, start + [len(t) for t in texts],
        Strings.of(texts),
    )  # fmt: skip


def asked(*texts):
    return Queries(Strings.of(map(str, range(len(texts)))), Strings.of(texts))


def test_it_conforms():
    check_fitted_embedder(TOY)
    check_retriever(Dense(TOY))


def test_every_field_enters_the_identity():
    check_component(TOY)


def test_chunks_get_the_teacher_s_own_node_and_queries_none_of_the_teacher():
    assert TOY.expand(CORPUS, CORPUS).recipe == Node(TOY.teacher, (CORPUS,)).recipe
    per_query = [node.op for node in TOY.expand(CORPUS, QUERY).walk() if node.per_query and node.op != "query"]
    assert per_query == [MeanOfTokens(TOY.tokenizer, TOY.max_length)]


def test_another_ridge_embeds_nothing_again():
    other = FittedStatic(TOY.teacher, ridge=1.0)
    new = {n.recipe for n in other.expand(CORPUS, QUERY).walk()} - {
        n.recipe for n in TOY.expand(CORPUS, QUERY).walk()
    }
    assert len(new) == 2  # the fit and the queries


def test_titles_and_sentences_are_what_a_chunk_asks():
    chunks = chunks_of(
        ("On the ferry", 0, "It leaves at nine. No dogs!\nChildren go free of charge"),
        ("On the ferry", 52, "Does it run in winter? Yes, it does run."),
        ("", 0, "One."),
    )
    assert list(Sentences()(chunks).text) == [
        "On the ferry", "It leaves at nine.", "Children go free of charge", "Does it run in winter?",
        "Yes, it does run.",
    ]  # fmt: skip


def test_sentences_of_blocks_are_those_of_the_whole():
    chunks = Whole()(tiny_dataset().documents)
    blocks = [Sentences()(chunks.take(rows)) for rows in ([0, 1, 2], range(3, len(chunks)))]
    assert list(Queries.concat(blocks).text) == list(Sentences()(chunks).text)


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 4), st.floats(0.01, 10), st.integers(0, 1000))
def test_ridge_regression_is_the_solution_of_the_normal_equations(n, tokens, d, ridge, seed):
    random = np.random.default_rng(seed)
    rows, targets = random.integers(0, 3, (n, tokens)) / 2.0, random.normal(size=(n, d))
    exact = np.linalg.solve(rows.T @ rows + ridge * np.eye(tokens), rows.T @ targets)
    np.testing.assert_allclose(ridge_regression(csr_array(rows), targets, ridge), exact, atol=1e-6)


def test_the_fit_minimises_the_weighted_squares_that_it_says(monkeypatch):
    monkeypatch.setattr(fitted, "_STEPS", 300)
    chunks = Whole()(tiny_dataset().documents)
    questions, teacher = Sentences()(chunks), TOY.teacher
    found = fitted.FitTokens(MINILM, 256, 0.01)(questions, teacher(questions), chunks, teacher(chunks))
    counts = bags(MINILM, [*questions.text, *chunks.searched], 256).toarray()[:, found.ids].astype(np.float64)
    targets = np.concatenate([teacher(questions).values, teacher(chunks).values]).astype(np.float64)
    targets -= targets.mean(axis=0)
    weights = np.sqrt(counts.sum(axis=1))
    means = counts / counts.sum(axis=1, keepdims=True)
    gram = means.T @ (weights[:, None] * means) + 0.01 * np.eye(len(found.ids))
    exact = np.linalg.solve(gram, means.T @ (weights[:, None] * targets))
    np.testing.assert_allclose(found.values, exact, atol=1e-4)


def test_a_query_is_the_sum_of_the_tokens_that_the_corpus_has():
    ids = [fitted.models.tokenizer(MINILM).token_to_id(word) for word in ("dog", "ferry")]
    order = np.argsort(ids)
    tokens = FittedTokens(np.array(ids)[order], np.array([[3.0, 0.0], [0.0, 2.0]], np.float32)[order])
    made = MeanOfTokens(MINILM, 4)(tokens, asked("dog", "ferry zebra", "ferry dog", "a a a a dog", "")).values
    wanted = [[1, 0], [0, 1], [3 / 13**0.5, 2 / 13**0.5], [1, 0], [1, 0]]
    np.testing.assert_allclose(made, wanted, atol=1e-6)


def test_a_corpus_of_nothing_gives_vectors_all_the_same():
    empty = Whole()(tiny_dataset().documents).take([])
    given = {CORPUS.recipe: empty, QUERY.recipe: asked("ferry")}
    made = run_node(TOY.expand(CORPUS, QUERY), given)
    assert isinstance(made, Vectors)
    assert made.values.tolist() == [[1.0] + [0.0] * 63]


def test_queries_and_judgements_change_nothing_of_the_fit(tiny):
    top = TOY.expand(CORPUS, QUERY)
    fit = next(node for node in top.walk() if isinstance(node.op, fitted.FitTokens))
    assert not fit.per_query
    variant = Variant(retrieve=Dense(TOY, k=3), chunk=Whole())
    assert run(variant, tiny, "nDCG@10").summary["value"].iloc[0] > 0.5


def test_the_fit_is_the_same_to_the_bit_whatever_the_threads():
    code = """
from toys import HashedWords
from evalkit.stages import Whole
from evalkit.stages.embed.fitted import FitTokens, Sentences
from evalkit.stages.models import MINILM
from evalkit.testing import tiny_dataset
chunks, teacher = Whole()(tiny_dataset().documents), HashedWords()
asked = Sentences()(chunks)
print(FitTokens(MINILM, 256, 0.01)(asked, teacher(asked), chunks, teacher(chunks)).digest)
"""
    seen = set()
    for threads in "13":
        env = {
            **os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads,
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        seen.add(done.stdout)
    assert len(seen) == 1


@pytest.mark.parametrize(("field", "value"), [("ridge", 0.0), ("ridge", float("nan")), ("max_length", 0)])
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(InputError, match=f"FittedStatic: {field} is {value}"):
        FittedStatic(**{field: value})
