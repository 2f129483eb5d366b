"""ONNX Runtime gives torch's vectors, each text's by itself to the bit, from graphs that are made once."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from evalkit import fingerprint
from evalkit.errors import InputError, MissingModel
from evalkit.stages import SentenceTransformer, models
from evalkit.stages.embed import export
from evalkit.stages.embed.onnx import ONNX
from evalkit.testing import check_component, check_embedder
from evalkit.testing.conformance import hard_documents

LONG = "The crossing of the sound takes fifty minutes in winter. " * 40
TEXTS = ["", "?", "ferry", "How long does the crossing take?", LONG, LONG + "zebra", *hard_documents().text]
ROBERTA, DISTILBERT = "RobertaConfig", "DistilBertConfig"
both = pytest.mark.parametrize("precision", ["fp32", "int8"])


def save_model(folder: Path, kind: str = "BertConfig", pooling: dict | None = None) -> str:
    """A tiny transformer of random weights, with MiniLM's tokenizer, as sentence-transformers lays models down."""
    import torch
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if kind == DISTILBERT:
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    config = getattr(transformers, kind)(vocab_size=30522, max_position_embeddings=66, **sizes)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    source = models.model_folder(models.MINILM)
    for name in ("tokenizer.json", "tokenizer_config.json", "modules.json", "sentence_bert_config.json"):
        shutil.copyfile(source / name, folder / name)
    (folder / "1_Pooling").mkdir()
    pooling = pooling or {"pooling_mode": "mean"}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": 32, **pooling}))
    return str(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("small"))


def cosines(first, second):
    return (first.astype(np.float64) * second).sum(axis=1)


# --- the same vectors as torch


def test_in_32_bits_it_gives_torch_s_vectors_of_texts_of_any_length():
    texts = [*TEXTS[:5], *TEXTS[6::3]]
    theirs = SentenceTransformer(batch_size=1).encode(texts)
    np.testing.assert_allclose(ONNX().encode(texts), theirs, atol=2e-6)
    assert ONNX().tokens(TEXTS).tolist() == SentenceTransformer().tokens(TEXTS).tolist()


@pytest.mark.parametrize("kind", [ROBERTA, DISTILBERT, "MPNetConfig"])
def test_other_architectures_are_exported_too(tmp_path, kind):
    model = save_model(tmp_path, kind)
    ours, theirs = ONNX(model, max_length=32), SentenceTransformer(model, max_length=32, batch_size=1)
    np.testing.assert_allclose(ours.encode(TEXTS), theirs.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("max_length", [2, 3, 17])
def test_a_long_text_is_cut_where_torch_cuts_it(max_length, small):
    ours, theirs = ONNX(small, max_length=max_length), SentenceTransformer(small, max_length, batch_size=1)
    np.testing.assert_allclose(ours.encode([LONG]), theirs.encode([LONG]), atol=1e-5)


def test_in_8_bits_it_is_near_and_nearer_with_a_scale_a_column():
    wanted = ONNX().encode(TEXTS)
    per_column = cosines(ONNX(precision="int8").encode(TEXTS), wanted)
    per_matrix = cosines(ONNX(precision="int8", per_channel=False).encode(TEXTS), wanted)
    assert per_column.min() > 0.97
    assert per_column.mean() > per_matrix.mean()


def test_every_way_of_quantising_is_a_graph_of_its_own(small):
    ways = [{}, {"per_channel": False}, {"reduce_range": True}]
    found = [ONNX(small, precision="int8", max_length=32, **way).encode(TEXTS) for way in ways]
    assert len({vectors.tobytes() for vectors in found}) == len(ways)


# --- to the bit


@both
def test_a_vector_depends_on_its_text_alone_to_the_bit(precision):
    embedder = ONNX(precision=precision)
    vectors = embedder.encode(TEXTS)
    assert all(np.array_equal(embedder.encode([text])[0], row) for text, row in zip(TEXTS, vectors, strict=True))
    shuffled = np.random.default_rng(0).permutation(len(TEXTS))
    assert np.array_equal(embedder.encode([TEXTS[i] for i in shuffled]), vectors[shuffled])


@both
@pytest.mark.parametrize("threads", [1, 5])
def test_neither_the_number_of_threads_nor_other_work_changes_a_bit(monkeypatch, precision, threads):
    embedder = ONNX(precision=precision)
    expected = embedder.encode(TEXTS)
    monkeypatch.setenv("EVALKIT_THREADS", str(threads))
    ended = threading.Event()

    def busy():
        numbers = np.ones((200, 200), np.float32)
        while not ended.is_set():
            numbers @ numbers

    other = threading.Thread(target=busy)
    other.start()
    try:
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(embedder.encode, [TEXTS, TEXTS[::-1], TEXTS]))
    finally:
        ended.set()
        other.join()
    assert all(np.array_equal(vectors, expected) for vectors in (found[0], found[1][::-1], found[2]))


def test_in_8_bits_it_conforms():
    check_embedder(ONNX(precision="int8"))


# --- pooling


def test_pooling_is_the_model_s_own_unless_it_is_said(tmp_path, small):
    old = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    first_token = save_model(tmp_path, pooling=old)
    assert (models.pooling(small), models.pooling(first_token)) == ("mean", "cls")
    mean, cls = ONNX(small, max_length=32), ONNX(first_token, max_length=32)
    texts = TEXTS[:5]
    theirs = SentenceTransformer(first_token, max_length=32, batch_size=1).encode(texts)
    np.testing.assert_allclose(cls.encode(texts), theirs, atol=1e-5)
    assert not np.allclose(mean.encode(texts), cls.encode(texts), atol=1e-2)
    as_said = ONNX(small, pooling="cls", max_length=32).encode(texts)
    assert np.array_equal(as_said, ONNX(first_token, max_length=32).encode(texts))


def test_to_say_what_the_model_says_is_the_same_embedder(small):
    assert fingerprint.digest(ONNX(small, pooling="mean")) == fingerprint.digest(ONNX(small))
    assert fingerprint.digest(ONNX(small, pooling="cls")) != fingerprint.digest(ONNX(small))


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": ["cls", "mean"]}, "cls+mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "cls+mean"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
    ],
)
def test_a_pooling_that_is_not_run_is_told(tmp_path, stated, named):
    model = hollow_model(tmp_path, pooling=stated)
    assert models.pooling(model) == named
    with pytest.raises(InputError, match="is not run here; use SentenceTransformer"):
        ONNX(model).encode(["x"])


def hollow_model(folder, pooling=None, modules=(), **config):
    kinds = ["Transformer", "Pooling", "Normalize", *modules]
    named = [{"path": f"{i}_{kind}" if i else "", "type": f"a.package.{kind}"} for i, kind in enumerate(kinds)]
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "modules.json").write_text(json.dumps(named))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode": "mean"}))
    return str(folder)


def test_a_layer_behind_the_pooling_is_told_even_where_a_pooling_is_said(tmp_path):
    model = hollow_model(tmp_path, modules=["Dense"])
    for pooling in (None, "mean"):
        with pytest.raises(InputError, match="works with Dense, which is not run here"):
            ONNX(model, pooling=pooling).encode(["x"])


def test_a_plain_transformer_is_pooled_by_its_mean(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert models.pooling(str(tmp_path)) == "mean"


# --- identity, and what is refused


def test_its_identity_is_all_of_its_fields_and_the_model_s_content(tmp_path):
    same = shutil.copytree(models.model_folder(models.MINILM), tmp_path / "same")
    assert fingerprint.digest(ONNX(str(same))) == fingerprint.digest(ONNX())
    (same / "config.json").write_text("{}")
    check_component(ONNX(), others={"model": str(same.rename(tmp_path / "other"))})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"max_length": 1}, "max_length is 1"),
    ],
)
def test_a_bad_field_is_told_in_one_line(fields, said):
    with pytest.raises(InputError, match=said):
        ONNX(**fields)


@pytest.mark.parametrize(("model_type", "limit"), [("bert", 66), ("roberta", 64), ("xlm-roberta", 64)])
def test_more_tokens_than_the_model_takes_are_told(tmp_path, model_type, limit):
    model = hollow_model(tmp_path, max_position_embeddings=66, model_type=model_type, pad_token_id=1)
    with pytest.raises(InputError, match=f"max_length is 256; .* takes {limit}"):
        ONNX(model).encode(["x"])


def test_a_model_that_is_not_here_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(MissingModel, match="HF_HUB_OFFLINE=0"):
        ONNX("nobody/nothing").encode(["x"])


# --- graphs


def test_a_graph_is_made_once_and_found_again_without_torch(small, tmp_path, monkeypatch):
    monkeypatch.setenv("EVALKIT_MODELS", str(tmp_path))
    expected = ONNX(small, precision="int8", max_length=32).encode(["ferry"])
    code = (
        "import sys; from evalkit.stages.embed.onnx import ONNX\n"
        f"print(ONNX({small!r}, precision='int8', max_length=32).encode(['ferry']).tobytes().hex(),\n"
        "      'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    export.quantised(small, per_channel=True, reduce_range=False)
    before = sorted(tmp_path.iterdir())
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [expected.tobytes().hex(), "False", "False"]
    assert (found.stderr, sorted(tmp_path.iterdir())) == ("", before)
    assert [path.name for folder in before for path in folder.iterdir()] == ["model.onnx"] * 2


def test_making_a_graph_says_nothing_and_leaves_the_loggers_as_they_were(small, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("EVALKIT_MODELS", str(tmp_path))
    root = logging.getLogger()
    before = [*root.handlers], root.level
    monkeypatch.setattr(root, "handlers", [])
    export.quantised(small, per_channel=True, reduce_range=False)
    assert root.handlers == []
    monkeypatch.undo()
    assert ([*root.handlers], root.level) == before
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_computes_something_else_is_refused(small, tmp_path, monkeypatch):
    monkeypatch.setenv("EVALKIT_MODELS", str(tmp_path))
    right = export._run
    monkeypatch.setattr(export, "_run", lambda file, ids: right(file, ids) * 1.01)
    with pytest.raises(InputError, match="it computes something else than torch; use SentenceTransformer"):
        export.exported(small)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_torch_cannot_export_is_told_in_one_line(tmp_path, monkeypatch, small):
    import torch

    def fail(*args, **kwargs):
        raise RuntimeError("no such operator\nand a long trace")

    monkeypatch.setenv("EVALKIT_MODELS", str(tmp_path))
    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(InputError) as caught:
        export.exported(small)
    assert "torch cannot export it (RuntimeError: no such operator); use SentenceTransformer" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def shipped(tmp_path, small):
    """A function that lays a graph, changed by another function, into a copy of the small model without weights."""
    import onnx as format_

    def ship(change):
        folder = shutil.copytree(small, tmp_path / "shipped", ignore=shutil.ignore_patterns("*.safetensors"))
        graph = format_.load(export.exported(small))
        change(graph)
        (folder / "onnx").mkdir()
        format_.save(graph, folder / "onnx" / "model.onnx")
        return str(folder)

    return ship


def add_input(name):
    def change(model):
        from onnx import TensorProto, helper

        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, [1, "tokens"]))

    return change


@both
def test_a_graph_that_the_model_ships_is_used_as_it_is(shipped, small, precision):
    model = shipped(add_input("attention_mask"))
    assert export.exported(model) == Path(model) / "onnx" / "model.onnx"
    ours = ONNX(model, precision=precision, max_length=32)
    assert np.array_equal(ours.encode(TEXTS), ONNX(small, precision=precision, max_length=32).encode(TEXTS))
    assert fingerprint.digest(ours) != fingerprint.digest(ONNX(small, precision=precision, max_length=32))


def test_a_shipped_graph_that_asks_for_something_else_is_not_used(shipped):
    model = shipped(add_input("pixel_values"))
    with pytest.raises(InputError, match="torch cannot export it"):  # it has no weights
        export.exported(model)
