"""Static embedding: sums of distilled token vectors, by the text alone to the bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import DIMENSIONS, SPECIAL, WORDS, save_tiny_model

from evalkit import fingerprint
from evalkit.errors import InputError
from evalkit.stages import SentenceTransformer, Static, models
from evalkit.stages.embed import distill
from evalkit.stages.embed.bags import bags, unit
from evalkit.stages.embed.distill import distilled
from evalkit.testing import check_component, check_embedder
from evalkit.testing.conformance import hard_documents

TEXTS = st.lists(st.lists(st.sampled_from([*WORDS, "xyzzy", "é"]), max_size=30).map(" ".join), max_size=6)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def static(tiny_model, models_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVALKIT_MODELS", str(models_folder))
        made = Static(tiny_model)
        made.encode(["ferry"])
    return made


def test_it_conforms(static):
    check_embedder(static)


def test_every_field_enters_the_identity_and_the_model_by_what_it_holds(tiny_model, tmp_path):
    check_component(Static(), others={"model": tiny_model})
    moved = save_tiny_model(tmp_path / "moved")
    assert fingerprint.digest(Static(moved)) == fingerprint.digest(Static(tiny_model))


@given(TEXTS)
def test_a_text_s_vector_is_the_same_to_the_bit_alone_and_among_others(static, texts):
    together = static.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        assert static.encode([text])[0].tobytes() == vector.tobytes()


@given(TEXTS)
def test_a_vector_is_the_normalised_sum_of_its_tokens_vectors(static, texts):
    vectors, tokenizer = distilled(static.model, None, static.sif).astype(np.float64), models.tokenizer(static.model)
    for text, vector in zip(texts, static.encode(texts), strict=True):
        total = vectors[tokenizer.encode(text, add_special_tokens=False).ids].sum(axis=0)
        if (length := np.linalg.norm(total)) > 1e-9:
            np.testing.assert_allclose(vector, total / length, atol=1e-5)


def test_vectors_are_those_of_model2vec_for_the_same_token_vectors(static):
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(models.tokenizer(static.model).to_str())
    theirs = StaticModel(distilled(static.model, None, static.sif), tokenizer, normalize=True)
    texts = ["the ferry takes fifty minutes", "dogs in the harbour.", "children, bicycles and cars"]
    np.testing.assert_allclose(static.encode(texts), theirs.encode(texts), atol=1e-5)


def test_the_teacher_embeds_every_token_by_itself_as_it_pools(tiny_model, tmp_path):
    raw = distill._embed_tokens(tiny_model)
    teacher = SentenceTransformer(tiny_model, max_length=64)
    words = [i for i, token in enumerate([*SPECIAL, *WORDS]) if token.isalpha()]
    theirs = teacher.encode([[*SPECIAL, *WORDS][i] for i in words])
    np.testing.assert_allclose(unit(raw[words]), theirs, atol=1e-5)
    without = distill._embed_tokens(save_tiny_model(tmp_path / "plain", normalised=False))
    np.testing.assert_allclose(raw, without, atol=1e-6)


def test_distilled_vectors_are_centred_half_white_and_weighted_by_rank(tiny_model):
    sif, known = 1e-3, len(WORDS)
    vectors = distilled(tiny_model, None, sif)
    assert not vectors[: len(SPECIAL)].any()
    probability = 1 / np.arange(2, known + 2)
    weights = sif / (sif + probability / probability.sum())
    projected = vectors[len(SPECIAL) :] / weights[:, None]
    raw = distill._embed_tokens(tiny_model)[len(SPECIAL) :].astype(np.float64)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-5)
    singular = np.linalg.svd(raw - raw.mean(axis=0), compute_uv=False)[: projected.shape[1]]
    np.testing.assert_allclose(np.linalg.norm(projected, axis=0), np.sqrt(singular), rtol=1e-3)


def test_fewer_dimensions_are_the_first_of_all(tiny_model):
    every = distilled(tiny_model, None, 1e-6)
    np.testing.assert_allclose(distilled(tiny_model, 5, 1e-6), every[:, :5], atol=1e-6)


def test_the_teacher_works_once_for_all_settings_and_never_in_another_process(tiny_model, monkeypatch):
    distilled(tiny_model, None, 1e-6)

    def never(model):
        raise AssertionError("embedded again")

    monkeypatch.setattr(distill, "_embed_tokens", never)
    assert distilled(tiny_model, 3, 1e-4).shape == (len(SPECIAL) + len(WORDS), 3)
    code = (
        "import sys; from evalkit.stages import Static\n"
        f"print(Static({tiny_model!r}).encode(['the ferry']).tobytes().hex())\n"
        "print([m for m in ('torch', 'transformers', 'sentence_transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == [Static(tiny_model).encode(["the ferry"]).tobytes().hex(), "[]"]


def test_tokens_are_counted_without_special_ones(static):
    assert static.tokens(["", "the ferry", "the ferrys ."]).tolist() == [0, 2, 4]


def test_a_text_of_no_known_token_gets_the_first_axis(static):
    vectors = static.encode(["", "xyzzy"])
    assert vectors.tolist() == [[1.0] + [0.0] * (vectors.shape[1] - 1)] * 2


def test_hard_texts_get_unit_vectors(static):
    vectors = static.encode(list(hard_documents().text)).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_bag_holds_a_row_for_every_text_cut_at_the_limit(tiny_model):
    rows = bags(tiny_model, ["", "ferry ferry dog", "a dog"], 2)
    ferry, dog, a = (rows.toarray()[:, [*SPECIAL, *WORDS].index(w)].tolist() for w in ("ferry", "dog", "a"))
    assert (ferry, dog, a) == ([0, 2, 0], [0, 0, 1], [0, 0, 1])


def test_more_dimensions_than_the_teacher_has_are_refused(tiny_model):
    with pytest.raises(InputError, match=f"Static: dimensions is {DIMENSIONS + 1}; .* gives {DIMENSIONS}"):
        Static(tiny_model, dimensions=DIMENSIONS + 1).encode(["ferry"])


@pytest.mark.parametrize(
    ("field", "value"), [("dimensions", 0), ("sif", 0.0), ("sif", 1.0), ("sif", float("nan")), ("max_length", 0)]
)
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(InputError, match=f"Static: {field} is {value}"):
        Static(**{field: value})
