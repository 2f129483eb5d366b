"""A cross-encoder's scores are the model's own, pair by pair."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields

import numpy as np
import pytest
from toys import count_calls, dense

from evalkit import Sweep, fingerprint, run
from evalkit.errors import InputError, MissingModel
from evalkit.evaluate.plan import make_plan
from evalkit.stages import models
from evalkit.stages.rerank import CrossEncoder
from evalkit.stages.rerank.cross_encoder import ScorePairs
from evalkit.testing import check_component, check_reranker, tiny_dataset
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY

LENGTH = 96


def trained(folder, outputs=1, steps=30):
    """A small BERT with MiniLM's vocabulary that has learned the tiny data set's judgements by heart."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    data = tiny_dataset()
    tokenizer = AutoTokenizer.from_pretrained(models.model_folder(models.MINILM))
    passages = [f"{title} {text}" for title, text in zip(data.documents.title, data.documents.text, strict=True)]
    rows = [
        (question, passage, float(data.qrels[name].get(document, 0) > 0))
        for name, question in zip(data.queries.id, data.queries.text, strict=True)
        for document, passage in zip(data.documents.id, passages, strict=True)
    ]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=LENGTH, num_labels=outputs,
            hidden_dropout_prob=0, attention_probs_dropout_prob=0,
        )  # fmt: skip
        model = BertForSequenceClassification(config)
    questions, texts, relevant = zip(*rows, strict=True)
    batch = tokenizer(questions, texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(8.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(**batch).logits[:, 0], torch.tensor(relevant)).backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("cross-encoder"))


@pytest.fixture
def pairs(tiny):
    return [(question, text) for question in tiny.queries.text[:3] for text in tiny.documents.text[:4]]


def test_scores_are_the_models_logits(model, pairs):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    own, tokenizer = AutoModelForSequenceClassification.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    own.eval()
    with torch.inference_mode():
        logits = [
            own(**tokenizer(*pair, truncation=True, max_length=LENGTH, return_tensors="pt")).logits.item()
            for pair in pairs
        ]
    scores = ScorePairs(model, LENGTH, 10).score(pairs)
    assert scores.dtype == np.float64
    assert scores.tolist() == pytest.approx(logits, rel=1e-5)
    assert np.ptp(scores) > 1


def test_a_pairs_score_depends_on_the_pair_alone(model, pairs):
    op = ScorePairs(model, LENGTH, 10)
    scores = op.score(pairs)
    assert op.score(pairs[::-1]).tolist() == scores.tolist()[::-1]
    assert [op.score([pair])[0] for pair in pairs] == scores.tolist()
    assert op.score([]).shape == (0,)


def test_what_lies_behind_max_length_does_not_count(model):
    long, longer = ("when?", "ferry " * 200), ("when?", "ferry " * 150 + "zebra " * 50)
    short, op = ScorePairs(model, 16, 10), ScorePairs(model, LENGTH, 10)
    assert op.score([long]).tolist() == op.score([longer]).tolist()
    assert short.score([long]).tolist() != op.score([long]).tolist()
    assert op.score([long]).tolist() == op.score([longer]).tolist()  # one handle serves both lengths


def test_what_the_model_has_learned_to_be_relevant_comes_first(model, tiny, store):
    base = dense(k=12)
    results = run(
        Sweep(base, {"rerank": [CrossEncoder(model, LENGTH, k=12)]}), tiny, ["Recall@2", "MRR@10"], store=store
    )
    found = results.summary.set_index(["variant", "metric"])["value"].unstack()
    (reranked,) = set(found.index) - {"base"}
    assert found.loc[reranked, "MRR@10"] > found.loc["base", "MRR@10"]
    assert found.loc[reranked, "Recall@2"] > 0.75


def test_pairs_are_scored_once_for_every_depth_and_k(model, tiny, monkeypatch):
    counted = count_calls(monkeypatch, ScorePairs)
    sides = {CORPUS.recipe: tiny.documents, QUERY.recipe: tiny.queries.take([0, 4])}
    ends = {
        f"{depth} {k}": dense(k=12, rerank=CrossEncoder(model, LENGTH, k=k, depth=depth)).nodes()["retrieve"]
        for depth in (3, 6, None) for k in (2, 3)
    }  # fmt: skip
    plan = make_plan({label: {"": node} for label, node in ends.items()})
    shared = dict(sides)
    found = {label: run_node(plan.nodes[plan.wanted[label][""]], shared).digest for label in ends}
    assert counted == {"ScorePairs": 1}
    assert {label: run_node(node, dict(sides)).digest for label, node in ends.items()} == found
    assert counted["ScorePairs"] == 1 + len(ends)


def test_it_conforms(model):
    reranker = CrossEncoder(model, LENGTH - 1, k=10, depth=50)
    check_component(reranker)
    check_reranker(reranker)
    check_reranker(CrossEncoder(model, LENGTH, k=None, depth=None))


def test_every_field_is_documented():
    assert [field.name for field in fields(CrossEncoder) if f"    {field.name} : " not in CrossEncoder.__doc__] == []


def test_a_model_is_its_content_not_its_name_or_place(model, tmp_path):
    moved = shutil.copytree(model, tmp_path / "moved")
    digest = fingerprint.digest(CrossEncoder(model))
    assert fingerprint.digest(CrossEncoder(str(moved))) == digest
    other = shutil.copytree(model, tmp_path / "other")
    raw = bytearray((other / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (other / "model.safetensors").write_bytes(raw)
    assert fingerprint.digest(CrossEncoder(str(other))) != digest


def test_a_model_that_is_no_cross_encoder_is_refused_before_anything_runs():
    with pytest.raises(InputError, match=r"all-MiniLM-L6-v2 is no cross-encoder \(its architecture is BertModel\)"):
        dense(rerank=CrossEncoder(models.MINILM)).fingerprint  # noqa: B018
    with pytest.raises(MissingModel, match="nobody/no-such-model"):
        dense(rerank=CrossEncoder("nobody/no-such-model")).fingerprint  # noqa: B018


def test_a_model_that_names_no_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="its architecture is none"):
        CrossEncoder(str(tmp_path)).identity()


def test_a_model_with_several_outputs_is_refused(tmp_path):
    folder = trained(tmp_path / "classes", outputs=3, steps=0)
    with pytest.raises(InputError, match="gives 3 scores a pair; one is needed"):
        ScorePairs(folder, LENGTH, 10).score([("a", "b")])


def test_more_tokens_than_the_model_has_positions_for_are_refused(model):
    with pytest.raises(InputError, match=f"CrossEncoder: max_length is 512; .* takes {LENGTH}"):
        ScorePairs(model, 512, 10).score([("a", "b")])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_length": 4}, "CrossEncoder: max_length is 4; it must be at least 5"),
        ({"k": 0}, "CrossEncoder: k is 0; it must be at least 1"),
        ({"depth": 9}, "CrossEncoder: depth 9 and k 10 do not fit"),
    ],
)
def test_parameters_outside_their_range_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        CrossEncoder("any", **fields)
