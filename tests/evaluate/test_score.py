from __future__ import annotations

import json
import math
import random
import shutil
import string
from dataclasses import dataclass, replace

import numpy as np
import pytest
from toys import Echo, HashedWords, dense, hybrid, keywords, pieces, small_dataset, words

from evalkit import InputError, Results, Sweep, load_dataset, run
from evalkit.columns import Strings
from evalkit.evaluate.execute import execute
from evalkit.evaluate.nodes import Context, sources
from evalkit.evaluate.plan import make_plan
from evalkit.metrics import parse
from evalkit.reporting import write_report
from evalkit.stages import BM25, Dense, Hybrid, Sentences, Whole
from evalkit.store import DiskStore
from evalkit.types import QUERY

RANKING = ["MRR@10", "nDCG@10", "Recall@10", "Precision@3", "Hit@1", "Judged@5"]
SWEEP = Sweep(
    dense(),
    {
        "chunk": [Whole(), pieces()],
        "retrieve": [Dense(HashedWords()), BM25(), hybrid().retrieve],
        "retrieve.k": [2, 9],
    },
)


def documents_of(variant, data, store) -> dict[str, list[str]]:
    """Ranked documents of every query: chunks collapsed by first occurrence, one by one."""
    seams = variant.nodes()
    plan = make_plan({"": {"chunks": seams["chunks"], "retrieve": seams["retrieve"]}})
    context = Context(store)
    done = execute(plan, sources(data, 0, store), context)
    chunks, found = (context.whole(done[plan.wanted[""][name]].blocks) for name in ("chunks", "retrieve"))
    asked = context.whole(done[QUERY.recipe].blocks)
    ranked = {}
    for query, items in zip(asked.id, found.items, strict=True):
        documents = []
        for item in items.tolist():
            if chunks.document[item] not in documents:
                documents.append(chunks.document[item])
        ranked[query] = documents
    return ranked


def by_hand(metric: str, ranked: list[str], judged: dict[str, int]) -> float:
    name, k = metric.split("@")
    top = ranked[: int(k)]
    relevant = [d for d in top if judged.get(d, 0) > 0]
    if name == "MRR":
        return next((1 / (i + 1) for i, d in enumerate(top) if judged.get(d, 0) > 0), 0.0)
    if name == "Recall":
        return len(relevant) / sum(grade > 0 for grade in judged.values())
    if name == "Precision":
        return len(relevant) / int(k)
    if name == "Hit":
        return float(bool(relevant))
    if name == "Judged":
        return sum(d in judged for d in top) / len(top) if top else 0.0
    gain = sum(max(judged.get(d, 0), 0) / math.log2(i + 2) for i, d in enumerate(top))
    best = sorted((grade for grade in judged.values() if grade > 0), reverse=True)[: int(k)]
    return gain / sum(grade / math.log2(i + 2) for i, grade in enumerate(best))


def test_ranking_metrics_are_those_of_a_computation_straight_from_the_documents(tiny, store):
    results = run(SWEEP, tiny, RANKING, store=store)
    assert len(results.variants) == 13
    groups = results.per_query.groupby(["variant", "metric"])
    table = {at: dict(zip(rows["query"], rows["value"], strict=True)) for at, rows in groups}
    means = results.table()
    for label, variant in results.variants.items():
        ranked = documents_of(variant, tiny, store)
        for metric in RANKING:
            expected = {q: by_hand(metric, ranked[q], tiny.qrels[q]) for q in tiny.queries.id}
            assert table[label, metric] == pytest.approx(expected, abs=1e-12), (label, metric)
            assert means.loc[label, metric] == pytest.approx(sum(expected.values()) / len(expected), abs=1e-12)


def test_several_chunks_of_a_document_count_once(store):
    data = small_dataset(
        documents={"d1": "red one. red two. red three", "d2": "red four blue"},
        queries={"q1": "red"},
        qrels={"q1": {"d2": 1}},
        answers={},
    )
    pieces = dense(chunk=Whole(), retrieve=BM25(k=9))
    ranked = documents_of(pieces, data, store)["q1"]
    value = run(pieces, data, ["MRR@10"], store=store).table()["MRR@10"].item()
    assert sorted(ranked) == ["d1", "d2"]
    assert value == 1 / (1 + ranked.index("d2"))


def test_a_query_without_result_scores_zero_and_stays_in_the_mean(store):
    results = run(keywords(), small_dataset(), ["MRR@10"], store=store)
    rows = results.per_query.query("metric == 'MRR@10'").set_index("query")["value"]
    assert rows.to_dict() == {"q1": 1.0, "q2": 1.0, "q4": 0.0}
    summary = results.summary.set_index("metric").loc["MRR@10"]
    assert (summary["value"], summary["n"]) == (pytest.approx(2 / 3), 3)


def test_a_query_without_judgement_is_left_out_and_named(store):
    results = run(dense(), small_dataset(), ["MRR@10", "TokenF1"], store=store)
    assert "q3" not in set(results.per_query.query("metric == 'MRR@10'")["query"])
    assert results.manifest["data"]["unjudged queries"] == ["q3"]
    assert "1 query without judgement is left out: q3" in repr(results)
    assert "q3" in results._repr_html_()


def test_the_share_judged_stands_beside_every_cut_off_of_a_ranking_metric(store):
    results = run(keywords(), small_dataset(), ["MRR@10", "nDCG@3", "Recall@3"], store=store)
    assert {m for m in results.metrics if m.startswith("Judged")} == {"Judged@10", "Judged@3"}
    assert not any(m.startswith("Judged") for m in results.compare().by_metric)
    asked = run(keywords(), small_dataset(), ["Judged@10", "MRR@10"], store=store)
    assert asked.metrics.count("Judged@10") == 1


SPAN_METRICS = ["SpanRecall@2", "SpanPrecision@2", "SpanIoU@2", "SpanRecall", "PrecisionOmega"]


def characters(spans) -> set[tuple[str, int]]:
    return {(document, i) for document, start, end in spans for i in range(start, end)}


def spans_by_hand(metric: str, found, wanted, every) -> float:
    name, _, k = metric.partition("@")
    found = found[: int(k)] if k else found
    right, read = characters(wanted), sum(end - start for _, start, end in found)
    if name == "PrecisionOmega":
        holding = characters(span for span in every if characters([span]) & right)
        return len(holding & right) / len(holding | right)
    both = len(characters(found) & right)
    return both / {"SpanRecall": len(right), "SpanPrecision": read, "SpanIoU": read + len(right) - both}[name]


def test_span_metrics_are_those_of_a_count_of_characters(tiny, store):
    sweep = Sweep(dense(chunk=pieces(), k=3), {"chunk": [Sentences(size=24), Sentences(size=40, overlap=20)]})
    results = run(sweep, tiny, SPAN_METRICS, store=store)
    rows = results.per_query.set_index(["variant", "metric", "query"])["value"].sort_index()
    summary = results.summary.set_index(["variant", "metric"]).sort_index()
    for label, variant in results.variants.items():
        seams = variant.nodes()
        plan = make_plan({"": {"chunks": seams["chunks"], "retrieve": seams["retrieve"]}})
        context = Context(store)
        done = execute(plan, sources(tiny, 0, store), context)
        chunks, ranked = (context.whole(done[plan.wanted[""][name]].blocks) for name in ("chunks", "retrieve"))
        asked = context.whole(done[QUERY.recipe].blocks)
        every = list(zip(chunks.document, chunks.start.tolist(), chunks.end.tolist(), strict=True))
        for metric in SPAN_METRICS:
            expected = {}
            for query, items in zip(asked.id, ranked.items, strict=True):
                found = [every[item] for item in items.tolist()]
                expected[query] = spans_by_hand(metric, found, tiny.answers[query].evidence, every)
            assert rows[label, metric].to_dict() == pytest.approx(expected)
            row = summary.loc[(label, metric)]
            assert row["value"] == pytest.approx(sum(expected.values()) / len(expected))
            assert row["low"] <= row["value"] <= row["high"]
            assert (row["n"], row["unit"], row["origin"]) == (8, "", "measured")
    assert 0 < rows.xs("SpanRecall", level="metric").mean() < 1


def test_a_query_without_evidence_is_left_out_of_span_metrics_and_named(tiny, store):
    answers = {**tiny.answers, "q2": replace(tiny.answers["q2"], evidence=())}
    del answers["q5"]
    results = run(dense(), replace(tiny, answers=answers), ["SpanRecall@3", "MRR@10"], store=store)
    counted = results.per_query.groupby("metric")["query"].agg(set)
    assert counted["SpanRecall@3"] == {"q1", "q3", "q4", "q6", "q7", "q8"}
    assert counted["MRR@10"] == set(tiny.queries.id)
    assert results.manifest["data"]["queries without evidence"] == ["q2", "q5"]
    whole = run(dense(), tiny, ["SpanRecall@3"], store=store).per_query.set_index(["metric", "query"])["value"]
    part = results.per_query.set_index(["metric", "query"])["value"]
    assert part["SpanRecall@3"].to_dict().items() < whole["SpanRecall@3"].to_dict().items()


def test_a_query_that_finds_nothing_scores_zero_in_span_metrics_and_stays_in_the_mean(tiny, store):
    none = replace(tiny.queries, text=Strings.of(["xylophone", *tiny.queries.text[1:]]))
    results = run(keywords(), replace(tiny, queries=none), ["SpanRecall", "SpanPrecision", "SpanIoU"], store=store)
    rows = results.per_query.set_index(["query", "metric"])["value"]
    assert rows["q1"].to_dict() == {"SpanRecall": 0, "SpanPrecision": 0, "SpanIoU": 0}
    assert set(results.summary[results.summary["unit"] == ""]["n"]) == {8}


def test_results_with_span_metrics_are_saved_loaded_compared_and_reported(tiny, store, tmp_path):
    sweep = Sweep(dense(chunk=pieces(16)), {"chunk.size": [32]})
    results = run(sweep, tiny, [*SPAN_METRICS, "MRR@10"], store=store)
    loaded = Results.load(results.save(tmp_path / "out"))
    assert loaded.digest == results.digest
    assert set(SPAN_METRICS) < set(loaded.compare().by_metric)
    page = write_report(loaded, tmp_path / "out").read_text()
    assert all(metric in page for metric in SPAN_METRICS)


def f1(answer: str, right: str) -> float:
    """SQuAD's token F1, by hand."""
    bare = ["".join(c for c in text.lower() if c not in string.punctuation) for text in (answer, right)]
    ours, theirs = ([word for word in text.split() if word not in ("a", "an", "the")] for text in bare)
    common = sum(min(ours.count(w), theirs.count(w)) for w in set(ours))
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def test_answer_metrics_compare_the_answer_given_to_each_query(tiny, store):
    results = run(dense(k=1), tiny, ["TokenF1", "ExactMatch"], store=store)
    found = results.per_query.query("metric == 'TokenF1'").set_index("query")["value"].to_dict()
    ranked = documents_of(dense(k=1), tiny, store)
    texts = dict(zip(tiny.documents.id, tiny.documents.text, strict=True))
    for query, text in zip(tiny.queries.id, tiny.queries.text, strict=True):
        answer = texts[ranked[query][0]].split(". ")[0] + f" [1: {text}]"
        assert found[query] == pytest.approx(f1(answer, tiny.answers[query].text))
    assert sum(found.values()) > 0
    assert results.table()["ExactMatch"].item() == 0


def test_only_queries_with_a_reference_answer_enter_the_answer_metrics(store):
    results = run(dense(), small_dataset(), ["TokenF1"], store=store)
    assert sorted(results.per_query.query("metric == 'TokenF1'")["query"]) == ["q1", "q2"]
    # tokens of the prompt are spent on every query
    assert sorted(results.per_query.query("metric == 'PromptTokens'")["query"]) == ["q1", "q2", "q3", "q4"]


def test_the_truncated_share_is_that_of_a_direct_count(tiny, store):
    embedder = HashedWords(max_length=50)
    results = run(dense(retrieve=Dense(embedder)), tiny, ["MRR@10"], store=store)
    counts = [len(words(f"{d} {t}")) for d, t in zip(tiny.documents.title, tiny.documents.text, strict=True)]
    assert min(counts) < 50 < max(counts)
    row = results.summary.set_index("metric").loc["Truncated"]
    assert row["value"] == pytest.approx(sum(max(c - 50, 0) for c in counts) / sum(counts))
    assert (row["low"], row["high"], row["n"], row["unit"]) == (row["value"], row["value"], 12, "share")
    assert results.summary.set_index("metric").loc["Chunks", "value"] == 12


@dataclass(frozen=True)
class Letters(HashedWords):
    """Its tokens are letters."""

    def tokens(self, texts):
        return np.array([len(text) for text in texts], dtype=np.int64)


def test_the_truncated_share_is_of_one_embedder_also_where_there_are_two(tiny, store):
    two = Hybrid(Dense(HashedWords(max_length=25)), Dense(Letters(max_length=500)))
    one = run(dense(retrieve=Dense(HashedWords(max_length=25))), tiny, ["MRR@10"], store=store)
    both = run(dense(retrieve=two), tiny, ["MRR@10"], store=store)
    assert both.table()["Truncated"].item() == one.table()["Truncated"].item() > 0


def test_keywords_alone_cut_nothing_off_and_say_nothing_of_it(tiny, store):
    assert run(keywords(), tiny, ["MRR@10"], store=store).metrics == ["MRR@10", "Judged@10", "Chunks"]


def write(data, folder, rng=None):
    """Write a data set in the native format, its lines shuffled."""
    folder.mkdir()
    columns = zip(data.documents.id, data.documents.title, data.documents.text, strict=True)
    files = {
        "documents.jsonl": [json.dumps({"id": i, "title": t, "text": x}) for i, t, x in columns],
        "queries.jsonl": [
            json.dumps({"id": i, "text": t, **data.attributes[i]})
            for i, t in zip(data.queries.id, data.queries.text, strict=True)
        ],
        "qrels.tsv": [f"{q}\t{d}\t{g}" for q, judged in data.qrels.items() for d, g in judged.items()],
        "answers.jsonl": [json.dumps({"query": q, "text": a.text}) for q, a in data.answers.items()],
    }
    for name, lines in files.items():
        if rng is not None:
            rng.shuffle(lines)
        head = ["query-id\tcorpus-id\tscore"] if name == "qrels.tsv" else []
        (folder / name).write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return load_dataset(folder)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_lines_in_the_files_changes_no_number(tmp_path, tiny, seed):
    data = write(tiny, tmp_path / "data")
    plain = run(hybrid(), data, [*RANKING, "TokenF1"], store=DiskStore(tmp_path / "one"))
    shutil.rmtree(tmp_path / "data")
    shuffled = write(tiny, tmp_path / "data", random.Random(seed))
    other = run(hybrid(), shuffled, [*RANKING, "TokenF1"], store=DiskStore(tmp_path / "other"))
    assert other.digest == plain.digest
    assert other.per_query.equals(plain.per_query)


def test_intervals_hold_their_mean_and_depend_on_the_seed_alone(tiny, tmp_path):
    results = [run(dense(), tiny, RANKING, seed=3, store=DiskStore(tmp_path / str(i))) for i in (1, 2)]
    for frame in (r.summary for r in results):
        scores = frame[frame["unit"] == ""]
        assert ((scores["low"] <= scores["value"]) & (scores["value"] <= scores["high"])).all()
    assert results[0].digest == results[1].digest


@pytest.mark.parametrize(
    ("metrics", "data", "what"),
    [
        (["SpanRecall@5"], {}, "data set small: no reference answer has evidence spans, which SpanRecall@5 needs"),
        (["HitRate"], {}, "needs caching records, which an evaluation does not make"),
        (["TokenF1"], {"answers": {}}, "data set small: no reference answers, which TokenF1 needs; leave it out"),
        (["P90"], {}, "metric P90 needs latencies; give timing too, or leave it out"),
        (["SemanticSimilarity"], {}, "metric SemanticSimilarity: no embedding function"),
        (["RagasIDContextRecall"], {"qrels": {"q1": {"d1": 0}}, "answers": {}}, "no query has the references"),
        (["Faithfulness"], {}, "metric Faithfulness needs a judge; give one (judge=Claude(...)"),
        (["MRR@10", "NDGC@10"], {}, "unknown metric 'NDGC', did you mean 'nDCG'?"),
    ],
)
def test_a_metric_that_cannot_be_computed_is_refused_before_any_work(store, metrics, data, what):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        run(dense(generate=Echo()), small_dataset(**data), metrics, store=store)
    assert what in str(caught.value)
    assert not list(store.folder.glob("objects/*/*"))


def test_every_metric_that_cannot_be_computed_is_told_at_once(store):
    with pytest.raises(InputError) as caught:
        run(dense(), small_dataset(answers={}), ["TokenF1", "ExactMatch", "P90"], store=store)
    assert len(str(caught.value).splitlines()) == 3


def test_queries_of_which_none_is_judged_are_refused_before_any_work(store):
    with pytest.raises(InputError, match="none of its queries is judged, which MRR@10 needs"):
        run(dense(), small_dataset().select(["q3"]), ["MRR@10"], store=store)


def test_metrics_may_be_values(store):
    by_name, by_value = (run(dense(), small_dataset(), [m], store=store) for m in ("mrr@10", parse("MRR@10")))
    assert by_name.digest == by_value.digest
    assert np.isfinite(by_name.summary["value"]).all()
