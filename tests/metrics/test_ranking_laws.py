"""Laws of ranking metrics, for whatever Hypothesis finds."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranking_worlds import make_world, worlds

from evalkit.metrics import ALL, Qrels, Rankings, evaluate
from evalkit.metrics.hashing import RowTable

METRICS = [cls() for cls in ALL if cls.needs == "ranking"]
METRICS += [cls(cutoff=k) for cls in ALL if cls.needs == "ranking" and hasattr(cls, "cutoff") for k in (1, 7)]
few = settings(max_examples=30, deadline=None, derandomize=True)
documents = st.lists(st.sampled_from("abcdefghijkl"), unique=True, min_size=1)
graded = st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(-1, 4), min_size=1)


def values(run, qrels):
    return evaluate(run, qrels, METRICS).values


@few
@given(worlds)
def test_values_stay_in_the_range_that_the_metric_states(world):
    for metric, row in zip(METRICS, values(world.run, world.qrels), strict=True):
        low, high = metric.range
        assert row.min() >= low
        assert row.max() <= high + 1e-12


@few
@given(worlds)
def test_a_value_is_the_same_to_the_bit_whatever_other_queries_stand_beside_it(world):
    together = evaluate(world.run, world.qrels, METRICS)
    for column in (0, 57, 99):
        query = together.queries[column]
        run = {query: world.run.get(query, {})}
        alone = values(run, {query: world.qrels[query]})[:, 0]
        assert alone.tobytes() == together.values[:, column].tobytes()


@few
@given(worlds, st.randoms(use_true_random=False))
def test_the_order_in_which_a_dict_holds_documents_does_not_matter(world, random):
    shuffled = {q: dict(random.sample(list(d.items()), len(d))) for q, d in world.run.items()}
    assert np.array_equal(values(shuffled, world.qrels), values(world.run, world.qrels))


@few
@given(worlds)
def test_scores_and_the_order_that_follows_from_them_give_the_same_values(world):
    assert np.array_equal(values(world.run, world.qrels), values(world.ordered(), world.qrels))


@few
@given(worlds)
def test_dicts_arrays_frames_and_vocabularies_give_the_same_values(world):
    expected = values(world.run, world.qrels)
    vocabulary = tuple(f"d{i}" for i in range(40))
    place = {name: i for i, name in enumerate(vocabulary)}
    numbers = [place[d] for docs in world.run.values() for d in docs]
    scores = np.array([s for docs in world.run.values() for s in docs.values()])
    offsets = np.cumsum([0, *map(len, world.run.values())])
    coded = Rankings.from_arrays(list(world.run), np.array(numbers), offsets, scores, vocabulary)
    assert np.array_equal(values(coded, world.qrels), expected)
    rows = [(q, d, s) for q, docs in world.run.items() for d, s in docs.items()]
    judged = [(q, d, g) for q, docs in world.qrels.items() for d, g in docs.items()]
    frame = pd.DataFrame(rows, columns=["query", "document", "score"])
    qrels = pd.DataFrame(judged, columns=["query", "document", "relevance"])
    assert np.array_equal(values(frame, qrels), expected)


@few
@given(worlds)
def test_numbered_documents_give_the_values_of_named_ones(world):
    run = {q: {int(d[1:]): s for d, s in docs.items()} for q, docs in world.run.items()}
    qrels = {q: {int(d[1:]): g for d, g in docs.items()} for q, docs in world.qrels.items()}
    padded = {q: {f"{int(d[1:]):02}": s for d, s in docs.items()} for q, docs in world.run.items()}
    named = {q: {f"{int(d[1:]):02}": g for d, g in docs.items()} for q, docs in world.qrels.items()}
    assert np.array_equal(values(run, qrels), values(padded, named))


def test_trec_and_beir_files_give_the_values_of_dicts(tmp_path):
    world = make_world(3, 20, 5, 0.1, -1)
    run, trec, beir = tmp_path / "run.txt", tmp_path / "qrels.txt", tmp_path / "test.tsv"
    run.write_text("".join(f"{q} Q0 {d} 0 {s!r} tag\n" for q, docs in world.run.items() for d, s in docs.items()))
    judged = [(q, d, g) for q, docs in world.qrels.items() for d, g in docs.items()]
    trec.write_text("".join(f"{q} 0 {d} {g}\n" for q, d, g in judged))
    beir.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in judged))
    expected = values(world.run, world.qrels)
    assert np.array_equal(values(run, trec), expected)
    assert np.array_equal(values(str(run), beir), expected)


def test_a_matrix_padded_with_negative_numbers_holds_shorter_rankings():
    matrix = np.array([[3, 1, -1], [2, -1, -1], [-1, -1, -1]])
    run = Rankings.from_arrays(["a", "b", "c"], matrix)
    ragged = {"a": [3, 1], "b": [2], "c": []}
    qrels = {q: {1: 1, 2: 2} for q in "abc"}
    assert np.array_equal(values(run, qrels), values(ragged, qrels))


@few
@given(graded)
def test_the_ideal_ranking_has_ndcg_one(qrels):
    qrels["relevant"] = 1
    ideal = sorted(qrels, key=lambda d: -qrels[d])
    for name in ("nDCG", "nDCG@3", 'nDCG(gain="exp")'):
        assert evaluate({"q": ideal}, {"q": qrels}, name).values[0, 0] == pytest.approx(1, abs=1e-12)


@few
@given(documents, graded, st.integers(0, 10), st.integers(-1, 3), st.integers(1, 4))
def test_moving_a_better_document_up_never_lowers_a_metric(ranking, qrels, at, grade, better_by):
    at %= len(ranking)
    better = {**qrels, ranking[at]: grade, "better": min(max(grade, 0) + better_by, 4)}
    behind = [*ranking[: at + 1], "better", *ranking[at + 1 :]]
    ahead = [*ranking[:at], "better", *ranking[at:]]
    names = ["nDCG", "nDCG@3", "MRR@3", "MAP", "Recall@3", "Precision@3", "Hit@3", "RPrecision", "RBP", "ERR"]
    before = evaluate({"q": behind}, {"q": better}, names).values[:, 0]
    after = evaluate({"q": ahead}, {"q": better}, names).values[:, 0]
    assert (after >= before - 1e-12).all()


@few
@given(documents, graded)
def test_unjudged_documents_at_the_end_change_only_shares_of_the_length(ranking, qrels):
    names = ["nDCG", "MRR", "MAP", "Recall", "Hit", "RPrecision", "RBP", "ERR", "Precision@20"]
    longer = [*ranking, "x", "y", "z"]
    before, after = (evaluate({"q": run}, {"q": qrels}, names).values for run in (ranking, longer))
    assert np.array_equal(before, after)


@few
@given(st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 50), min_size=1), min_size=1), st.data())
def test_the_row_table_agrees_with_a_dict(rows, data):
    content = {(i, key): float(i * 100 + key) for i, keys in enumerate(rows.values()) for key in keys}
    offsets = np.cumsum([0, *map(len, rows.values())])
    table = RowTable(offsets, np.array([key for _, key in content]), np.array(list(content.values())))
    wanted = data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=30))
    asked = np.tile(np.array(wanted, dtype=np.int64), (len(rows), 1))
    found = table.get(np.arange(len(rows)), asked, -1.0)
    assert found.tolist() == [[content.get((row, key), -1.0) for key in wanted] for row in range(len(rows))]


def test_numbers_are_the_same_in_every_process_and_for_every_hash_seed():
    code = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1]); from ranking_worlds import make_world\n"
        "from evalkit.metrics import evaluate\n"
        "w = make_world(1, 30, 5, 0.1, -1); e = evaluate(w.run, w.qrels, ['nDCG@10', 'MAP', 'ERR', 'Hit@3'])\n"
        "text = repr(e.values.tobytes()) + repr(e.intervals(seed=3, resamples=500)) + repr(e.left_out)\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    seen = set()
    for seed, threads in (("0", "1"), ("1", "2"), ("77", "2")):
        environment = {"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": threads, "PATH": ""}
        here = str(__file__).rsplit("/", 1)[0]
        done = subprocess.run(
            [sys.executable, "-c", code, here], env=environment, capture_output=True, text=True, check=True
        )
        seen.add(done.stdout)
    assert len(seen) == 1


def test_intervals_are_those_of_the_per_query_values():
    world = make_world(2, 20, 5, 0.1, 0)
    evaluation = evaluate(world.run, world.qrels, ["nDCG@5", "MAP"])
    for name, estimate in evaluation.intervals(seed=1, resamples=500).items():
        assert estimate.value == pytest.approx(evaluation.means[name])
        assert estimate.low < estimate.value < estimate.high
        assert estimate.n == len(evaluation.queries)


def test_compiled_judgements_serve_many_runs():
    world = make_world(5, 20, 5, 0.1, 0)
    compiled = Qrels.of(world.qrels)
    assert np.array_equal(values(world.run, compiled), values(world.run, world.qrels))
    assert Qrels.of(compiled) is compiled
