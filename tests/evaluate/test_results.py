from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from toys import HashedWords, dense, hybrid, keywords, pieces, small_dataset

from evalkit import InputError, Results, Sweep, Timing, run
from evalkit.evaluate.results import RESULTS, SUMMARY_COLUMNS, better_when_higher
from evalkit.evaluate.show import number
from evalkit.metrics.statistics import holm, paired
from evalkit.paths import results_dir
from evalkit.stages import BM25, Dense
from evalkit.store import DiskStore

METRICS = ["MRR@10", "nDCG@10", "TokenF1"]
SWEEP = Sweep(
    dense(), {"retrieve": [Dense(HashedWords(), k=3), BM25(k=3), hybrid().retrieve], "chunk": ["Whole", pieces()]}
)


@pytest.fixture(scope="module")
def results(tiny, tmp_path_factory) -> Results:
    store = DiskStore(tmp_path_factory.mktemp("results-store"))
    return run(SWEEP, tiny, METRICS, timing=Timing(4, warmup=0), store=store, name="toys")


def test_the_summary_has_the_columns_that_it_promises(results):
    assert SUMMARY_COLUMNS == ("variant", "fingerprint", "metric", "value", "low", "high", "n", "unit", "origin")
    assert list(results.summary) == list(SUMMARY_COLUMNS)
    assert list(results.per_query) == ["variant", "query", "metric", "value"]
    assert not results.summary.duplicated(["variant", "metric"]).any()
    assert not results.per_query.duplicated(["variant", "metric", "query"]).any()
    assert set(results.summary["origin"]) == {"measured"}
    prints = dict(zip(results.summary["variant"], results.summary["fingerprint"], strict=True))
    assert prints == results.systems == {label: v.fingerprint for label, v in SWEEP.variants().items()}


def test_the_manifest_says_what_the_numbers_hang_on(results, tiny):
    manifest = json.loads(json.dumps(results.manifest))
    assert manifest["data"]["digest"] == tiny.digest
    assert manifest["spec"]["name"] == "toys"
    assert {"numpy", "faiss-cpu", "torch"} <= set(manifest["versions"])
    assert {"processor", "cores", "python"} <= set(manifest["machine"])
    assert set(manifest["parameters"]) == set(results.systems)
    assert manifest["plan"]["nodes asked for"] >= manifest["plan"]["nodes distinct"]
    assert manifest["plan"]["blocks from store"] == 0


def test_what_is_saved_loads_back_equal(results, tmp_path):
    folder = results.save(tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json", "per_query.parquet", "summary.csv", "summary.parquet",
    ]  # fmt: skip
    loaded = Results.load(folder)
    pd.testing.assert_frame_equal(loaded.summary, results.summary)
    pd.testing.assert_frame_equal(loaded.per_query, results.per_query)
    assert (loaded.systems, loaded.base, loaded.name) == (results.systems, results.base, results.name)
    assert loaded.digest == results.digest
    assert repr(loaded) == repr(results)
    pd.testing.assert_frame_equal(loaded.compare().frame, results.compare().frame)
    written = pd.read_csv(folder / "summary.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(
        written.astype({"value": float, "low": float, "high": float}), results.summary, check_dtype=False
    )


def test_results_have_one_place_by_name(results):
    assert results.save() == (results_dir() / "toys").resolve()
    assert results.save() == results.save(results_dir() / "toys")


@pytest.mark.parametrize("broken", ["to_csv", "to_parquet", "replace"])
def test_a_failure_while_saving_leaves_the_earlier_results_whole(monkeypatch, results, tmp_path, broken):
    folder = results.save(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    if broken == "replace":
        real = os.replace

        def fails(source, target):
            if str(target) == str(folder) and "earlier" not in str(source) and not str(source).endswith(".old"):
                raise OSError("no space left")
            real(source, target)

        monkeypatch.setattr(os, "replace", fails)
    else:

        def breaks(self, path, **options):
            path.write_text("half")
            raise OSError("no space left")

        monkeypatch.setattr(pd.DataFrame, broken, breaks)
    with pytest.raises(OSError, match="no space left"):
        results.save(folder)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_earlier_results_are_replaced_with_their_report(results, tmp_path):
    folder = results.save(tmp_path / "out")
    (folder / "report.html").write_text("old")
    (folder / "plots").mkdir()
    changed = replace(results, summary=results.summary.iloc[:3])
    changed.save(folder)
    assert Results.load(folder).digest == changed.digest
    assert not (folder / "report.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("names", [("thesis.tex",), ("manifest.json",), ("manifest.json", "icon.png"), (".git",)])
def test_a_folder_that_holds_other_things_is_refused_untouched(results, tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="holds other things than results"):
        results.save(tmp_path)
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["mine"] * len(names)


def test_what_is_left_of_partly_deleted_results_is_replaced(results, tmp_path):
    folder = results.save(tmp_path / "out")
    (folder / "summary.csv").unlink()
    results.save(folder)
    assert Results.load(folder).digest == results.digest


def test_saving_at_once_from_many_threads_leaves_whole_results(results, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: results.save(tmp_path / "out"), range(24)))
    assert Results.load(tmp_path / "out").digest == results.digest
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_notes_laid_beside_results_are_not_deleted(results, tmp_path):
    folder = results.save(tmp_path / "out")
    (folder / "notes.md").write_text("mine")
    with pytest.raises(InputError, match=r"holds other things than results \(notes.md\)"):
        results.save(folder)
    assert (folder / "notes.md").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(results, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"^[^\n]*$"):
            RESULTS.check(place)
        with pytest.raises(InputError):
            results.save(place)


def test_an_empty_folder_and_the_working_folder_will_do(results, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert Results.load(results.save(".")).digest == results.digest


@pytest.mark.parametrize("damage", ["missing", "manifest", "keys", "table"])
def test_a_folder_without_whole_results_is_told_in_one_line(results, tmp_path, damage):
    folder = results.save(tmp_path / "out")
    if damage == "missing":
        (folder / "summary.csv").unlink()
    elif damage == "table":
        (folder / "per_query.parquet").write_bytes(b"half")
    else:
        (folder / "manifest.json").write_text("{" if damage == "manifest" else "{}")
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        Results.load(folder)
    assert str(folder) in str(caught.value)


def test_comparisons_are_paired_by_query_and_corrected_over_the_variants(results):
    found = results.compare(metrics=["MRR@10", "TokenF1", "PromptTokens"])
    assert found.baseline == results.base == "retrieve=Dense(k=3) chunk=Whole"
    for metric, by_label in found.by_metric.items():
        assert set(by_label) == set(results.systems) - {results.base}
        rows = results.per_query[results.per_query["metric"] == metric]
        values = {label: part.set_index("query")["value"].sort_index() for label, part in rows.groupby("variant")}
        alone = {
            label: paired(values[results.base], values[label], higher_is_better=metric != "PromptTokens")
            for label in by_label
        }
        corrected = holm([alone[label].p for label in by_label])
        for (label, c), p in zip(by_label.items(), corrected, strict=True):
            assert c.n == 8
            assert c.difference == pytest.approx((values[label] - values[results.base]).mean())
            assert (c.low, c.high, c.p) == (alone[label].low, alone[label].high, alone[label].p)
            assert c.p_adjusted == pytest.approx(p)
            assert c.p_adjusted >= c.p
            assert c.verdict in ("better", "worse", "inconclusive")


def test_the_order_of_rows_changes_no_comparison(results):
    shuffled = replace(results, per_query=results.per_query.sample(frac=1, random_state=3))
    ours, theirs = (r.compare(metrics=[*METRICS, "PromptTokens"]).frame for r in (shuffled, results))
    pd.testing.assert_frame_equal(ours, theirs)


def test_a_baseline_is_a_variant_or_its_label(results):
    by_variant = results.compare(keywords()).frame
    by_label = results.compare("retrieve=BM25(k=3) chunk=Whole").frame
    pd.testing.assert_frame_equal(by_variant, by_label)
    assert results.base in set(by_variant["variant"])
    assert list(by_variant) == [
        "metric", "variant", "baseline", "value", "difference", "low", "high", "p", "p_corrected", "n", "verdict",
        "more_queries",
    ]  # fmt: skip


def test_verdicts_know_costs_from_gains_and_what_is_no_difference(store):
    data = small_dataset()
    results = run(Sweep(dense(k=2), {"assemble.k": [1, None]}), data, ["MRR@10", "TokenF1"], store=store)
    found = results.compare(metrics=["PromptTokens", "MRR@10"], margin=0.1).by_metric
    (tokens,), (ranking,) = (list(by_label.values()) for by_label in found.values())
    assert tokens.difference < 0
    assert (ranking.difference, ranking.verdict) == (0.0, "equivalent")
    assert [better_when_higher(m) for m in ("MRR@10", "PromptTokens", "ms", "P95")] == [True, False, False, False]


def test_unknown_names_are_told_with_the_nearest(results):
    for call, what in (
        (lambda: results.compare("retrieve=BM25(k=3) chunk=Whol"), "did you mean 'retrieve=BM25(k=3) chunk=Whole'?"),
        (lambda: results.compare(metrics=["MRR@1"]), "did you mean 'MRR@10'?"),
        (lambda: results.table(["ndcg@11"]), "did you mean 'nDCG@10'?"),
        (lambda: results.compare(dense(k=77)), "that variant was not run; systems: "),
    ):
        with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
            call()
        assert what in str(caught.value)


def test_metrics_are_named_in_any_case(results):
    assert list(results.table(["mrr@10", "TOKENF1"])) == ["MRR@10", "TokenF1"]
    assert list(results.table().index) == list(results.systems)


def test_a_single_system_compares_with_nothing(tiny, store):
    alone = run(dense(), tiny, METRICS, store=store)
    assert alone.compare().by_metric == {}
    assert "against base" in repr(alone.compare())
    assert alone.compare()._repr_html_()


def test_every_mean_is_shown_with_its_interval_and_the_base_with_a_star(results):
    shown = repr(results)
    assert f"{results.base} *" in shown
    row = results.summary.set_index(["variant", "metric"]).loc[("retrieve=BM25(k=3) chunk=Whole", "MRR@10")]
    assert f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" in shown
    assert "8 queries" in shown
    assert "<table" in results._repr_html_()


def hostile(results: Results) -> Results:
    label = "<script>alert(1)</script>&\x1b[2J\nsecond line"
    rename = {results.base: label}
    return replace(
        results,
        summary=results.summary.replace({"variant": rename}),
        per_query=results.per_query.replace({"variant": rename}),
        systems={rename.get(name, name): fingerprint for name, fingerprint in results.systems.items()},
        base=label,
    )


def test_hostile_labels_are_harmless_as_text_and_as_html(results, tmp_path):
    bad = hostile(results)
    for shown in (bad, bad.compare()):
        assert "<script" not in shown._repr_html_()
        assert "&lt;script&gt;" in shown._repr_html_()
        assert "\x1b" not in repr(shown)
        assert "\\x1b[2J\\nsecond line" in repr(shown)
    assert len(repr(bad).splitlines()) == len(repr(results).splitlines())
    assert Results.load(bad.save(tmp_path / "out")).base == bad.base


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(0.12345, "", "0.123"), (1234.5, "tokens", "1,234"), (12.345, "ms", "12.3"), (0.5, "share", "50.0%")],
)
def test_numbers_are_printed_as_their_unit_deserves(value, unit, shown):
    assert number(value, unit) == shown
    assert number(np.inf, unit) == "∞"
    assert number(np.nan, unit) == "?"


def test_an_interval_of_nothing_but_equal_values_is_not_shown_as_certainty(results):
    rows = results.summary.assign(low=results.summary["value"], high=results.summary["value"])
    shown = repr(replace(results, summary=rows))
    assert "[all equal]" in shown
