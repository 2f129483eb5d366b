"""Fine-tuning: what it learns from, that it repeats to the byte, and that it helps where it should."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import save_tiny_model
from toys import small_dataset

from evalkit.datasets import Dataset, Reference
from evalkit.datasets.dataset import Span
from evalkit.errors import InputError
from evalkit.stages import Recursive, SentenceTransformer, Whole, models
from evalkit.tuning import finetune
from evalkit.tuning.finetune import batched, contrastive, fine_tune, pairs

FILES = ("model.safetensors", "tokenizer.json", "config.json", "modules.json", "sentence_bert_config.json")


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def ferries() -> Dataset:
    """Questions in words that their documents do not have."""
    documents = {
        "d1": "the ferry takes fifty minutes", "d2": "a child is free", "d3": "the harbour is closed in winter",
        "d4": "every dog to the boat", "d5": "ticket price in euros", "d6": "storm and wind",
    }  # fmt: skip
    queries = {
        "q1": "crossing hour",
        "q2": "adult",
        "q3": "summer open",
        "q4": "bicycle car",
        "q5": "ticket",
        "q6": "of",
    }
    qrels = {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}, "q3": {"d3": 2}, "q4": {"d4": 1}, "q5": {"d5": 3, "d1": 1}}
    return small_dataset(documents=documents, queries=queries, qrels=qrels, answers={})


@pytest.fixture
def own_models(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EVALKIT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def tune(data, model, **changes):
    return fine_tune(
        data,
        model,
        **{"chunk": Whole(), "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "max_length": 32, **changes},
    )


def files_of(folder):
    return {name: (Path(folder) / name).read_bytes() for name in FILES}


# --- what comes out


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(ferries, tiny_model, tmp_path, monkeypatch):
    made = []
    for i, seed in enumerate((0, 0, 1)):
        monkeypatch.setenv("EVALKIT_MODELS", str(tmp_path / str(i)))
        torch.manual_seed(i)
        SentenceTransformer(tiny_model, max_length=16 + i).encode(["ferry"])
        made.append(files_of(tune(ferries, tiny_model, seed=seed)))
    assert made[0] == made[1]
    assert made[0]["model.safetensors"] != made[2]["model.safetensors"]
    assert made[0]["tokenizer.json"] == made[2]["tokenizer.json"]


def test_a_tuned_model_is_another_one_and_finds_what_it_was_shown(ferries, tiny_model, own_models):
    before = SentenceTransformer(tiny_model, max_length=32)
    untouched = before.encode(list(ferries.queries.text))
    after = SentenceTransformer(tune(ferries, tiny_model, epochs=30, batch_size=8, learning_rate=1e-2), max_length=32)
    assert before.encode(list(ferries.queries.text)).tolist() == untouched.tolist()
    assert models.model_digest(after.model) != models.model_digest(tiny_model)

    def right(embedder):
        cosines = embedder.encode(list(ferries.queries.text)) @ embedder.encode(list(ferries.documents.text)).T
        best = [ferries.documents.id[i] for i in cosines.argmax(axis=1)]
        return sum(ferries.qrels.get(q, {}).get(d, 0) > 0 for q, d in zip(ferries.queries.id, best, strict=True))

    assert right(after) == 5 > right(before)


def test_it_is_trained_once(ferries, tiny_model, own_models, monkeypatch):
    first = tune(ferries, tiny_model)

    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(finetune, "_train", never)
    assert tune(ferries, tiny_model) == first
    for changes in ({"seed": 3}, {"epochs": 1}, {"learning_rate": 1e-4}, {"batch_size": 2}, {"lowest_grade": 2}):
        with pytest.raises(AssertionError, match="trained again"):
            tune(ferries, tiny_model, **changes)
    with pytest.raises(AssertionError, match="trained again"):
        tune(ferries.select(["q1", "q2", "q3"]), tiny_model)
    assert [path.name for path in own_models.iterdir()] == [Path(first).name]


def test_torch_is_left_as_it_was_and_nothing_is_logged(ferries, tiny_model, own_models, caplog, capfd):
    torch.manual_seed(7)
    wanted = torch.rand(1).item()
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    with caplog.at_level(logging.INFO):
        tune(ferries, tiny_model)
    assert torch.rand(1).item() == wanted
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")


# --- what it learns from


def test_pairs_are_the_relevant_documents_of_every_query(ferries):
    chunks = Whole()(ferries.documents)
    found = pairs(ferries, chunks, SentenceTransformer(), 1)
    assert [(p.query, p.document) for p in found] == [
        ("q1", "d1"), ("q2", "d2"), ("q3", "d3"), ("q4", "d4"), ("q5", "d1"), ("q5", "d5"),
    ]  # fmt: skip
    assert found[0].passage == "the ferry takes fifty minutes"
    assert [(p.query, p.document) for p in pairs(ferries, chunks, SentenceTransformer(), 2)] == [
        ("q1", "d1"), ("q3", "d3"), ("q5", "d5"),
    ]  # fmt: skip


LONG = "Dogs travel free on every deck. " * 4 + "Bicycles cost four euros. " + "Tickets are sold at the pier. " * 4


def long_document(answers=None):
    data = small_dataset(documents={"d1": LONG}, queries={"q1": "bicycle price"}, qrels={"q1": {"d1": 1}}, answers={})
    return Dataset(data.name, data.documents, data.queries, data.qrels, answers or {})


def test_a_long_document_stands_by_the_chunk_of_the_evidence():
    start = LONG.rindex("Tickets are")
    data = long_document(
        {"q1": Reference("at the pier", evidence=(Span("d1", start, start + 25), Span("d9", 0, 20)))}
    )
    (pair,) = pairs(data, Recursive(size=16)(data.documents), SentenceTransformer(), 1)
    assert pair.passage.startswith("Tickets")
    assert LONG.rindex(pair.passage) + len(pair.passage) == len(LONG.rstrip())


@pytest.mark.parametrize(
    "answers", [{}, {"q1": Reference("four")}, {"q1": Reference("4", evidence=(Span("d2", 0, 9),))}]
)
def test_without_evidence_it_stands_by_the_chunk_nearest_to_the_query(answers):
    data = long_document(answers)
    (pair,) = pairs(data, Recursive(size=16)(data.documents), SentenceTransformer(), 1)
    assert "Bicycles" in pair.passage


@given(st.integers(1, 60), st.integers(2, 9), st.integers(1, 3), st.integers(0, 99))
def test_every_epoch_takes_every_pair_once_and_none_alone(size, batch_size, epochs, seed):
    batches = list(batched(size, batch_size, epochs, seed))
    assert sorted(np.concatenate(batches).tolist()) == sorted([*range(size)] * epochs)
    assert all(2 <= len(b) <= batch_size + 1 for b in batches) or size == 1
    assert len(batches) % epochs == 0


# --- the loss


def test_the_loss_is_sentence_transformers_where_nothing_is_masked():
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    queries, passages = torch.randn(5, 8), torch.randn(5, 8)
    theirs = MultipleNegativesRankingLoss(torch.nn.Identity()).compute_loss_from_embeddings([queries, passages], None)
    ours = contrastive(queries, passages, torch.zeros(5, 5, dtype=torch.bool))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_a_passage_that_is_relevant_too_is_no_negative():
    queries, passages = torch.randn(3, 8), torch.randn(3, 8)
    masked = torch.zeros(3, 3, dtype=torch.bool)
    masked[0, 2] = masked[1, 2] = True
    moved = passages.clone()
    moved[2] += 5
    loss = contrastive(queries[:2], passages, masked[:2])
    assert float(loss) == pytest.approx(float(contrastive(queries[:2], passages[:2], masked[:2, :2])), rel=1e-5)
    assert float(contrastive(queries[:2], moved, masked[:2])) == pytest.approx(float(loss), rel=1e-5)


# --- what is refused


def test_data_without_judgements_is_refused(tiny_model, own_models):
    with pytest.raises(InputError, match="fine_tune: data set small has no judgement of grade 1 or above"):
        tune(small_dataset(qrels={"q1": {"d1": 0}}), tiny_model)
    with pytest.raises(InputError, match="no judgement of grade 4 or above"):
        tune(small_dataset(), tiny_model, lowest_grade=4)
    assert not own_models.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch_size", 1), ("learning_rate", 0.0), ("lowest_grade", 0), ("seed", -1), ("max_length", 2),
     ("max_length", 67)],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(ferries, tiny_model, field, value):
    with pytest.raises(InputError, match=f"fine_tune: .*{field}"):
        tune(ferries, tiny_model, **{field: value})
