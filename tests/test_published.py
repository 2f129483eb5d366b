"""Published scores, on the published data."""

from pathlib import Path

import pytest

from evalkit.datasets import load_dataset
from evalkit.evaluate import run
from evalkit.spec import load_experiment

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def scifact(shared_store):
    experiment = load_experiment(ROOT / "experiments" / "scifact.yaml")
    folder = ROOT / experiment.dataset
    if not folder.is_dir():
        pytest.skip(f"BEIR SciFact is not here ({experiment.dataset})")
    results = run(experiment, load_dataset(folder), store=shared_store)
    rows = results.summary.set_index(["variant", "metric"])
    return results, rows


@pytest.mark.slow
def test_minilm_with_exact_search_scores_on_scifact_what_mteb_published(scifact):
    _, rows = scifact
    assert rows.loc[("base", "nDCG@10"), "value"] == pytest.approx(0.645, abs=0.001)


@pytest.mark.slow
def test_bm25_scores_on_scifact_within_a_hundredth_of_pyserini(scifact):
    _, rows = scifact
    assert rows.loc[("retrieve=BM25", "nDCG@10"), "value"] == pytest.approx(0.6789, abs=0.01)


@pytest.mark.slow
def test_hybrid_is_better_than_dense_on_scifact_beyond_chance(scifact):
    results, _ = scifact
    found = results.compare(metrics=["nDCG@10"]).by_metric["nDCG@10"]
    assert found["retrieve=Hybrid(alpha=0.5)"].verdict == "better"


@pytest.mark.slow
def test_every_scifact_mean_lies_within_its_interval(scifact):
    _, rows = scifact
    measured = rows[rows["unit"] == ""]
    assert len(measured) == 16  # four systems, the three metrics and the share judged
    assert (measured["low"] < measured["value"]).all()
    assert (measured["value"] < measured["high"]).all()
    assert (measured["n"] == 300).all()
