"""MaxSim is exact, and a text's token vectors are its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError, MissingModel
from evalkit.stages import LateInteraction, SentenceTransformer, models
from evalkit.stages.rerank.base import BestFirst
from evalkit.stages.rerank.late_interaction import ScoreTokens, maxsim
from evalkit.stages.rerank.tokens import STEPS, EmbedTokens, TokenVectors
from evalkit.testing import check_component, check_reranker
from evalkit.values import Chunks, Queries, Rankings

TOKENS = EmbedTokens(models.MINILM, 32)
TEXTS = ["How long does the crossing take?", "", "A café in Zürich — 5 €", "ferry " * 100]


def asked(texts):
    return Queries(Strings.of(f"q{i}" for i in range(len(texts))), Strings.of(texts))


def vectors(rng, tokens, d, alike=False):
    """Unit vectors in steps, all of one direction where that makes sums as large as they can be."""
    found = rng.normal(size=(1 if alike else tokens, d))
    found = np.repeat(found / np.linalg.norm(found, axis=1, keepdims=True), tokens if alike else 1, axis=0)
    return np.rint(found * STEPS).astype(np.int16)


def by_definition(query, passage):
    """MaxSim in whole numbers."""
    best = [max(sum(a * b for a, b in zip(q, p, strict=True)) for p in passage) for q in query]
    return sum(best) / STEPS**2


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9), st.sampled_from([1, 2, 17]))
def test_maxsim_is_the_sum_of_each_query_tokens_best_match(seed, asking, found, d):
    rng = np.random.default_rng(seed)
    query, passage = vectors(rng, asking, d), vectors(rng, found, d)
    assert maxsim(query, passage) == by_definition(query.tolist(), passage.tolist())


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([384, 1024, 4096]), st.booleans())
def test_maxsim_is_exact_at_every_size_of_vector(seed, d, alike):
    rng = np.random.default_rng(seed)
    query = vectors(rng, 8, d, alike)
    passage = np.concatenate([query[:3], vectors(rng, 20, d)])
    products = query.astype(np.int64) @ passage.astype(np.int64).T
    assert maxsim(query, passage) == products.max(axis=1).sum() / STEPS**2


def test_without_tokens_on_either_side_nothing_matches():
    some, none = vectors(np.random.default_rng(0), 3, 8), np.zeros((0, 8), np.int16)
    assert [maxsim(some, none), maxsim(none, some), maxsim(none, none)] == [0.0, 0.0, 0.0]


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 8))
def test_a_pairs_score_depends_on_the_pair_alone(seed, k, depth):
    rng = np.random.default_rng(seed)
    sides = [
        TokenVectors(Ragged(vectors(rng, sum(lengths), 16), np.cumsum([0, *lengths])))
        for lengths in (rng.integers(1, 9, 10), rng.integers(1, 5, 3))
    ]
    ranked = [rng.permutation(10)[: rng.integers(0, 11)] for _ in range(3)]
    rankings = Rankings.of(ranked, [np.linspace(1, 0, len(row)) for row in ranked])
    scored = ScoreTokens(depth)(*sides, rankings)
    assert scored.digest == ScoreTokens(10)(*sides, rankings).top(depth).digest
    found = BestFirst(k)(scored)
    for row, items in enumerate(rankings.top(depth).items):
        alone = ScoreTokens(depth)(sides[0], sides[1].row(row), rankings.row(row))
        assert alone.digest == scored.row(row).digest
        scores = {int(i): maxsim(sides[1].values[row], sides[0].values[int(i)]) for i in items}
        best = sorted(scores, key=lambda i, scores=scores: (-scores[i], i))[:k]
        assert found.items[row].tolist() == best
        assert found.scores[row].tolist() == [scores[i] for i in best]


def test_a_texts_token_vectors_do_not_depend_on_the_others():
    together = TOKENS(asked(TEXTS))
    assert TOKENS(asked(TEXTS[::-1])).take([3, 2, 1, 0]).digest == together.digest
    for i in range(len(TEXTS)):
        assert TOKENS(asked(TEXTS[i : i + 1])).digest == together.row(i).digest


def test_token_vectors_do_not_depend_on_the_number_of_threads():
    import torch

    before, found = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.add(TOKENS(asked(TEXTS)).digest)
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


def test_token_vectors_are_the_models_own_to_half_a_step():
    model = models.sentence_transformer(models.MINILM)
    for text, mine in zip(TEXTS[:3], TOKENS(asked(TEXTS[:3])).values, strict=True):
        own = model.encode(text, output_value="token_embeddings").numpy()
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        assert own.shape == mine.shape
        assert np.abs(own - mine / STEPS).max() <= 0.5 / STEPS + 1e-5


def test_texts_are_cut_off_behind_max_length():
    counts = SentenceTransformer().tokens(TEXTS)
    assert TOKENS.tokens(TEXTS).tolist() == counts.tolist()
    lengths = [len(row) for row in TOKENS(asked(TEXTS)).values]
    assert counts[-1] > 32
    assert lengths == np.minimum(counts, 32).tolist()
    assert TOKENS(asked(["ferry " * 200])).digest == TOKENS(asked([TEXTS[-1]])).digest
    whole = models.tokenizer(models.MINILM).encode(TEXTS[-1])
    assert len(whole.ids) == counts[-1]  # the tokenizer that others use does not cut


def test_titles_are_read_too():
    texts = Strings.of(["It takes an hour."])
    titled = Chunks(texts, Strings.of(["Crossing"]), np.zeros(1), np.ones(1), texts)
    assert TOKENS(titled).digest == TOKENS(asked(["Crossing It takes an hour."])).digest


def test_no_texts_have_no_vectors_and_a_table_survives_the_disk(store):
    assert TOKENS(asked([])).values.values.shape == (0, 384)
    table = TOKENS(asked(TEXTS))
    assert table.values.values.nbytes == 2 * 384 * len(table.values.values)
    loaded = type(store)(store.folder).load(store.add(table))
    assert isinstance(loaded, TokenVectors)
    assert loaded.digest == table.digest


def test_it_conforms_without_k_and_depth_too():
    reranker = LateInteraction(max_length=64, k=None, depth=None)
    check_component(reranker)
    check_reranker(reranker)


def test_more_tokens_than_the_model_has_positions_for_are_refused():
    with pytest.raises(InputError, match=r"LateInteraction: max_length is 513; .* takes 512"):
        EmbedTokens(models.MINILM, 513)(asked(["a"]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_length": 2}, "LateInteraction: max_length is 2; it must be at least 3"),
        ({"k": 0}, "LateInteraction: k is 0; it must be at least 1"),
        ({"depth": 9}, "LateInteraction: depth 9 and k 10 do not fit"),
    ],
)
def test_parameters_outside_their_range_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        LateInteraction(**fields)


def test_a_missing_model_is_missed_before_anything_runs():
    with pytest.raises(MissingModel, match="nobody/no-such-model"):
        LateInteraction("nobody/no-such-model").identity()
