"""Data sets of Hugging Face's hub, from folders in its format: real files, the real package, and no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import datasets
from evalkit import InputError, load_dataset
from evalkit.datasets.logs import document_id
from evalkit.errors import InputErrors

ROOT = Path(__file__).parents[3]
CORPUS = [
    {"_id": "d1", "title": "Fares", "text": "An adult pays 9 euros."},
    {"_id": "d2", "title": "Dogs stay on the lead", "text": ""},
]
QUERIES = [{"_id": "q1", "text": "What is the fare?"}, {"_id": "q2", "text": "Dogs?"}]
QRELS = [
    {"query-id": "q1", "corpus-id": "d1", "score": 2.0},
    {"query-id": "q1", "corpus-id": "d2", "score": 0.0},
]
DEV = [{"query-id": "q2", "corpus-id": "d2", "score": 1.0}]
CONTEXT = "The Broncos beat the Panthers. It was Super Bowl 50."
SQUAD = [
    {"id": "s1", "title": "Super Bowl", "context": CONTEXT, "question": " Who won?",
     "answers": {"text": ["Broncos", "The Broncos", "Broncos"], "answer_start": [4, 0, 4]}},
    {"id": "s2", "title": "Super Bowl", "context": CONTEXT, "question": "Who sang?",
     "answers": {"text": [], "answer_start": []}},
]  # fmt: skip


@pytest.fixture(autouse=True)
def network(tmp_path, monkeypatch):
    """The cache in the test's own folder, and no connection is tried."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)

    asked = []

    def refuse(*address, **_):
        asked.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    yield asked
    assert asked == []


def folder(place, configs):
    """Write a folder as the hub keeps it: ``configs`` is {name: {split: rows}}."""
    card = ["---", "configs:"]
    for config, splits in configs.items():
        card += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            path = place / config / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(pa.Table.from_pylist(rows), path)
            card += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
    (place / "README.md").write_text("\n".join([*card, "---", "# Data", ""]))
    return place


def beir(place, judgements="default", corpus=CORPUS, queries=QUERIES, **splits):
    parts = {judgements: splits or {"test": QRELS, "dev": DEV}}
    return folder(place, {**parts, "corpus": {"corpus": corpus}, "queries": {"queries": queries}})


def told(name, **kwargs):
    with pytest.raises(InputError) as caught:
        load_dataset(name, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- BEIR's shape


@pytest.mark.parametrize("judgements", ["default", "qrels"])
def test_corpus_queries_and_judgements_are_read_as_beir_is(tmp_path, judgements, capfd):
    data = load_dataset(f"huggingface:{beir(tmp_path / 'ferry', judgements)}")
    assert data.name == "ferry"
    assert list(data.documents.id) == ["d1", "d2"]
    assert list(data.documents.title) == ["Fares", ""]
    assert list(data.documents.text) == ["An adult pays 9 euros.", "Dogs stay on the lead"]
    assert list(data.queries.id) == ["q1"]
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}}
    assert capfd.readouterr() == ("", "")


def test_a_split_names_the_judgements_and_the_only_one_need_not_be_named(tmp_path):
    place = beir(tmp_path / "ferry")
    assert load_dataset(f"huggingface:{place}", split="dev").qrels == {"q2": {"d2": 1}}
    alone = beir(tmp_path / "alone", train=DEV)
    assert load_dataset(f"huggingface:{alone}").qrels == {"q2": {"d2": 1}}


def test_parts_that_are_cut_into_splits_are_read_of_the_same_split(tmp_path):
    parts = {"qrels": {"test": QRELS, "dev": DEV}, "corpus": {"test": CORPUS, "dev": CORPUS[1:]}}
    place = folder(tmp_path / "ferry", {**parts, "queries": {"test": QUERIES[:1], "dev": QUERIES[1:]}})
    assert list(load_dataset(f"huggingface:{place}", split="dev").documents.id) == ["d2"]
    assert list(load_dataset(f"huggingface:{place}").documents.id) == ["d1", "d2"]


def test_whole_numbers_as_ids_and_judgements_without_scores_are_understood(tmp_path):
    corpus, queries = [{"id": 1, "text": "One."}, {"id": 2, "text": "Two."}], [{"id": 7, "text": "Which?"}]
    qrels = [{"query-id": 7, "corpus-id": 2}]
    data = load_dataset(f"huggingface:{beir(tmp_path / 'n', 'qrels', corpus, queries, test=qrels)}")
    assert (list(data.documents.id), data.qrels) == (["1", "2"], {"7": {"2": 1}})


def test_faults_of_rows_are_told_with_their_configuration_and_row(tmp_path):
    place = beir(tmp_path / "ferry", corpus=[CORPUS[0], CORPUS[0]], test=[*QRELS[:1], {**DEV[0], "query-id": "q9"}])
    with pytest.raises(InputErrors) as caught:
        load_dataset(f"huggingface:{place}")
    first, second = (fault.replace(f"huggingface:{place}: ", "") for fault in caught.value.faults)
    assert first.startswith("corpus corpus row 2: document 'd1' was already given")
    assert second.startswith("default test row 2: judgement of an unknown query 'q9'")


# --- questions


def test_squads_shape_is_read_with_the_answers_as_evidence(tmp_path):
    data = load_dataset(f"huggingface:{folder(tmp_path / 'squad', {'plain': {'validation': SQUAD}})}")
    context = document_id(CONTEXT)
    assert dict(zip(data.queries.id, data.queries.text, strict=True)) == {"s1": "Who won?", "s2": "Who sang?"}
    assert data.qrels == {"s1": {context: 1}, "s2": {context: 1}}
    answer = data.answers["s1"]
    assert (answer.text, answer.alternatives) == ("Broncos", ("The Broncos",))
    assert answer.evidence == ((context, 4, 11), (context, 0, 11))
    assert "s2" not in data.answers
    assert data.attributes["s1"] == {"title": "Super Bowl"}


def test_an_answer_that_stands_elsewhere_is_told(tmp_path):
    wrong = {**SQUAD[0], "answers": {"text": ["Broncos"], "answer_start": [5]}}
    place = folder(tmp_path / "squad", {"plain": {"train": [SQUAD[1], wrong]}})
    assert (
        told(f"huggingface:{place}")
        == f"huggingface:{place}: plain train row 2: no answer stands at 5 of the context"
    )


def test_rows_of_questions_have_the_columns_of_logs(tmp_path):
    rows = [{"question": "Q?", "context": "A.", "answer": "gold", "contexts": ["A.", "B."]}]
    place = folder(tmp_path / "qa", {"default": {"train": rows}})
    columns = {"reference": "answer", "reference_contexts": "context"}
    data = load_dataset(f"huggingface:{place}", columns=columns)
    assert data.answers[data.queries.id[0]].text == "gold"
    assert data.qrels[data.queries.id[0]] == {document_id("A."): 1, document_id("B."): 0}


def test_a_configuration_is_named_behind_the_name(tmp_path):
    rows = {name: {"test": [{**SQUAD[0], "id": name}]} for name in ("en", "de")}
    place = folder(tmp_path / "qa", rows)
    assert list(load_dataset(f"huggingface:{place}/de").queries.id) == ["de"]
    assert told(f"huggingface:{place}").endswith(": which configuration? known: en, de")


# --- what is wrong


def test_a_split_that_is_not_there_is_told_and_so_is_a_choice_that_is_to_be_made(tmp_path):
    place = folder(tmp_path / "qa", {"default": {"train": SQUAD, "validation": SQUAD}})
    assert told(f"huggingface:{place}", split="validate").endswith("no split 'validate'; did you mean 'validation'?")
    assert told(f"huggingface:{place}").endswith(": which split? known: train, validation")


def test_a_corpus_without_judgements_is_told(tmp_path):
    place = folder(tmp_path / "x", {"corpus": {"corpus": CORPUS}, "queries": {"queries": QUERIES}})
    assert "no configuration qrels or default with judgements" in told(f"huggingface:{place}")


@pytest.mark.parametrize("name", ["", "squad", "a/b/c/d", "/nowhere", "a b/c"])
def test_what_is_neither_a_name_nor_a_folder_is_told(name):
    assert "neither owner/name of the hub nor a folder" in told(f"huggingface:{name}")


def test_an_empty_folder_and_a_broken_file_are_told_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    told(f"huggingface:{tmp_path / 'empty'}")
    broken = folder(tmp_path / "broken", {"default": {"test": SQUAD}})
    (broken / "default" / "test.parquet").write_bytes(b"no parquet")
    told(f"huggingface:{broken}")


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets.load", None)
    assert told("huggingface:a/b").endswith("this needs the package datasets; pip install datasets")


# --- the hub


def test_without_the_hub_an_unknown_name_is_told_at_once(capfd):
    assert told("huggingface:no/such") == (
        "data set huggingface:no/such: not in the cache, and the hub is switched off (HF_HUB_OFFLINE or "
        "HF_DATASETS_OFFLINE); load it once with the hub, or name a folder: huggingface:path/to/folder"
    )
    assert capfd.readouterr() == ("", "")


def test_without_the_hub_what_was_loaded_before_is_read_from_the_cache(tmp_path):
    expected = load_dataset(f"huggingface:{beir(tmp_path / 'ferry_data')}")
    (tmp_path / "cache" / "ferry_data").rename(tmp_path / "cache" / "mteb___ferry_data")  # as if it came from there
    data = load_dataset("huggingface:mteb/FerryData")
    assert (data.name, data.digest) == ("mteb/FerryData", expected.digest)


def test_a_hub_that_cannot_be_reached_is_asked_once_for_what_is_in_the_cache(tmp_path, monkeypatch, network):
    expected = load_dataset(f"huggingface:{beir(tmp_path / 'ferry')}")
    (tmp_path / "cache" / "ferry").rename(tmp_path / "cache" / "mteb___ferry")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert load_dataset("huggingface:mteb/ferry").digest == expected.digest
    assert datasets.config.HF_HUB_OFFLINE is False
    assert len(network) == 1
    network.clear()


def run(code, **variables):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
    )  # fmt: skip


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path):
    code = (
        "import sys, evalkit\n"
        "try: evalkit.load_dataset('huggingface:no/such')\n"
        "except evalkit.InputError as error: print(error)\n"
    )
    done = run(code, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=tmp_path / "hf", HF_HUB_OFFLINE="0")  # nobody listens
    assert done.stdout == (
        "data set huggingface:no/such: not in the cache, and the hub cannot be reached (ConnectError); load it once "
        "with the hub, or name a folder: huggingface:path/to/folder\n"
    )
    assert done.stderr == ""  # the package tells of every try there


def test_a_folder_is_read_quietly_and_only_the_cache_is_written_though_a_folder_is_called_datasets(tmp_path):
    place, home = beir(tmp_path / "ferry"), tmp_path / "home"
    home.mkdir()
    before = sorted(place.rglob("*"))
    assert (ROOT / "datasets").is_dir()
    code = (
        "import sys, evalkit; sys.path.insert(0, '')\n"
        f"print(evalkit.load_dataset('huggingface:{place}'))\n"
        "import datasets; print(datasets.load_dataset.__module__)"
    )
    done = run(code, HOME=home, HF_HOME=tmp_path / "hf", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")
    assert done.stdout == "Dataset ferry: 2 documents, 1 queries, 2 judgements\ndatasets.load\n"
    assert done.stderr == ""
    assert sorted(place.rglob("*")) == before
    assert list(home.iterdir()) == []
    assert {path.name for path in (tmp_path / "hf").iterdir()} == {"datasets"}
