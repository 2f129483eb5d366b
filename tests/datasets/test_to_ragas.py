"""Data sets as ragas takes them, and back: by its own files, with what was logged."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from toys import Echo, count_calls, dense

from evalkit import InputError, Sweep, Variant, load_dataset, run
from evalkit.datasets.build import build
from evalkit.datasets.rows import Row
from evalkit.stages import BM25, Whole

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
CONTEXTS = st.lists(WORDS, max_size=3)


@st.composite
def logs(draw):
    """Logs whose records all have the same columns, as ragas' own CSV needs."""
    optional = {
        "retrieved_contexts": CONTEXTS,
        "reference_contexts": CONTEXTS.filter(bool),
        "response": st.text(max_size=9),
    }
    columns = {name: optional[name] for name in optional if draw(st.booleans())}
    return draw(
        st.lists(st.fixed_dictionaries({"user_input": WORDS, "reference": WORDS, **columns}), min_size=1, max_size=5)
    )


def load(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_dataset(path)


def content(rows):
    """A log whatever its order, and that of the contexts that hold the answer."""
    return sorted(
        json.dumps({**row, "reference_contexts": sorted(set(row.get("reference_contexts", ())))}, sort_keys=True)
        for row in rows
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=logs())
def test_a_log_that_was_read_is_given_back(tmp_path, rows):
    data = load(tmp_path / "log.jsonl", rows)
    assert content(data.to_ragas().to_list()) == content(rows)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=logs())
def test_there_and_back_by_json_lines_is_the_same_data(tmp_path, rows):
    data = load(tmp_path / "log.jsonl", rows)
    data.to_ragas().to_jsonl(tmp_path / "back.jsonl")
    assert load_dataset(tmp_path / "back.jsonl").digest == data.digest


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=logs())
def test_there_and_back_by_csv_is_the_same_data(tmp_path, rows):
    plain = [row.get(name, "x") for row in rows for name in ("user_input", "reference", "response")]
    assume(not any("\r" in text for text in plain))  # a line end in a file, whatever its kind, is "\n"
    assume(all(plain))  # an empty cell is none
    data = load(tmp_path / "log.jsonl", rows)
    data.to_ragas().to_csv(tmp_path / "back.csv")
    assert load_dataset(tmp_path / "back.csv").digest == data.digest


def test_what_else_ragas_logs_goes_there_and_back(tmp_path):
    row = {
        "user_input": "Q?", "reference": "A", "retrieved_contexts": ["a", "b"], "retrieved_context_ids": ["1", 2],
        "reference_contexts": ["a"], "reference_context_ids": ["1"], "multi_responses": ["x", "y"],
        "rubrics": {"score1_description": "wrong"}, "persona_name": "Kim", "query_style": "plain",
        "query_length": "short",
    }  # fmt: skip
    samples = load(tmp_path / "log.jsonl", [row]).to_ragas()
    assert samples.to_list() == [row]
    samples.to_csv(tmp_path / "back.csv")
    assert load_dataset(tmp_path / "back.csv").to_ragas().to_list() == [row]


@pytest.fixture
def native():
    texts = {"d1": "An adult pays 9 euros.", "d2": "Children pay half.", "d3": "Dogs are free."}
    answer = {"query": "q1", "text": "9 euros", "alternatives": ["nine"]}
    return build(
        "native",
        [Row("", {"id": i, "title": "T", "text": text}) for i, text in texts.items()],
        [
            Row("", {"id": "q2", "text": "And dogs?", "history": ["What is the fare?", "9 euros."]}),
            Row("", {"id": "q1", "text": "What is the fare?", "query_length": 3, "retrieved": "d1", "response": 1}),
        ],
        [
            Row("", {"query": q, "document": d, "grade": g})
            for q, d, g in (("q1", "d2", 1), ("q1", "d1", 2), ("q1", "d3", 0))
        ],
        [Row("", {**answer, "evidence": [{"document": "d1", "start": 14, "end": 21}]})],
    )


def test_evidence_is_the_reference_context_and_else_the_relevant_documents_are_best_first(native):
    assert native.to_ragas().to_list()[0]["reference_contexts"] == ["9 euros"]
    bare = build(
        "bare",
        [Row("", {"id": i, "text": t}) for i, t in zip(native.documents.id, native.documents.text, strict=True)],
        [Row("", {"id": "q1", "text": "What is the fare?"})],
        [Row("", {"query": "q1", "document": d, "grade": g}) for d, g in native.qrels["q1"].items()],
    )
    assert bare.to_ragas().to_list() == [
        {"user_input": "What is the fare?", "reference_contexts": ["An adult pays 9 euros.", "Children pay half."]}
    ]


def test_samples_stand_in_the_order_of_the_queries_and_say_only_what_is_known(native):
    first, second = native.to_ragas().to_list()
    assert first == {"user_input": "What is the fare?", "reference": "9 euros", "reference_contexts": ["9 euros"]}
    assert second == {"user_input": "And dogs?"}


def test_every_question_of_the_tiny_data_set_becomes_a_sample(tiny):
    samples = tiny.to_ragas()
    assert [s.user_input for s in samples] == list(tiny.queries.text)
    assert all(s.reference_contexts for s in samples)
    assert samples.name == tiny.name


def test_a_data_set_without_queries_is_told(native):
    with pytest.raises(InputError, match="no query to make a sample"):
        native.select([]).to_ragas()


# --- results

SWEEP = Sweep(dense(k=3), {"retrieve.k": [3, 1]})


def test_what_a_system_found_and_answered_is_given_to_ragas_and_nothing_is_run(tiny, store, monkeypatch):
    results = run(SWEEP, tiny, ["MRR@10", "TokenF1"], store=store)
    ran = count_calls(monkeypatch, Echo)
    deep, shallow = (list(results.to_ragas(label, tiny, store)) for label in results.systems)
    assert ran == {}
    for samples, k in ((deep, 3), (shallow, 1)):
        assert [s.user_input for s in samples] == list(tiny.queries.text)
        assert [s.reference for s in samples] == [s.reference for s in tiny.to_ragas()]
        assert {len(s.retrieved_contexts) for s in samples} == {k}
        first = [s.retrieved_contexts[0].split(". ")[0] for s in samples]
        assert [s.response for s in samples] == [
            f"{words} [{k}: {s.user_input}]" for words, s in zip(first, samples, strict=True)
        ]
    assert [s.retrieved_contexts[:1] for s in deep] == [s.retrieved_contexts for s in shallow]
    assert {text for s in deep for text in s.retrieved_contexts} <= set(tiny.documents.text)


def test_results_without_their_answers_say_so(tiny, store, tmp_path):
    results = run(SWEEP, tiny, ["MRR@10"], store=store)
    with pytest.raises(InputError, match="the store has not all of its answers; run it on this data with a metric"):
        results.to_ragas(None, tiny, store)
    with pytest.raises(InputError, match="is not what these results were measured on"):
        results.to_ragas(None, tiny.select(tiny.queries.id[:2]), store)
    with pytest.raises(InputError, match="read from disk do not hold their systems"):
        type(results).load(results.save(tmp_path / "results")).to_ragas(None, tiny, store)


def test_ragas_is_imported_late_and_says_nothing():
    code = (
        "import sys, evalkit; from evalkit.testing import tiny_dataset; data = tiny_dataset();"
        "assert 'ragas' not in sys.modules; samples = data.to_ragas(); assert 'ragas' in sys.modules;"
        "assert type(samples).__name__ == 'EvaluationDataset'"
    )
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_log_with_answers_and_no_judgements_can_be_measured_by_its_answers(tmp_path):
    (tmp_path / "log.jsonl").write_text(
        '{"question": "What grows?", "contexts": ["Apples grow."], "answer": "Apples", "ground_truth": "Apples"}\n'
        '{"question": "What falls?", "contexts": ["Pears fall."], "answer": "Pears", "ground_truth": "Pears"}\n'
    )
    data = load_dataset(tmp_path / "log.jsonl")
    assert not data.qrels
    results = run(Variant(chunk=Whole(), retrieve=BM25(k=1)), data, ["TokenF1"])
    assert results.summary.set_index("metric").loc["TokenF1", "n"] == 2
