"""Racing: what is stopped, what never is, what it saves, and that it changes no number of those that stay."""

from __future__ import annotations

import re

import pytest
from toys import count_calls, dense, keywords

from evalkit import InputError, Race, Sweep, retriever, run
from evalkit.datasets.build import build
from evalkit.datasets.rows import Row
from evalkit.spec import dumps, loads
from evalkit.stages import BM25, Whole
from evalkit.stages.index.flat import FlatSearch

WORDS = [f"word{i:03d}" for i in range(160)]


@pytest.fixture(scope="module")
def data():
    """160 documents, each of one rare word and many common ones; 160 queries, each for one of the rare words."""
    documents = [Row(f"d{i}", {"id": f"d{i:03d}", "text": f"{w} common text {i % 7}"}) for i, w in enumerate(WORDS)]
    queries = [Row(f"q{i}", {"id": f"q{i:03d}", "text": f"{w} common"}) for i, w in enumerate(WORDS)]
    qrels = [Row(f"r{i}", {"query": f"q{i:03d}", "document": f"d{i:03d}", "grade": 1}) for i in range(len(WORDS))]
    return build("rare words", documents, queries, qrels)


SWEEP = Sweep(
    keywords(5),
    systems={
        "blind": dense(chunk=Whole(), k=5),
        "also blind": dense(chunk=Whole(), k=4),
        "as good": dense(retrieve=BM25(k=5, k1=1.2)),
    },
)
RACE = Race(metric="MRR@10", block=16)


def test_what_cannot_be_the_best_is_stopped_and_the_rest_is_as_without_a_race(data, store, tmp_path):
    whole = run(SWEEP, data, ["MRR@10"], store=store)
    assert whole.table()["MRR@10"]["blind"] < 0.6 < whole.table()["MRR@10"]["base"]
    raced = run(SWEEP, data, ["MRR@10"], race=RACE)
    assert set(raced.manifest["stopped"]) == {"blind", "also blind"}
    assert list(raced.systems) == ["base", "as good"]
    assert raced.table()["MRR@10"].equals(whole.table()["MRR@10"].loc[["base", "as good"]])
    assert "out of the race: blind: stopped after" in repr(raced)


def test_what_was_stopped_still_counts_in_the_correction(data, store):
    """Leaving systems out, as they did badly, must not sharpen the p of those that stay."""
    sweep = Sweep(
        dense(k=5), systems={"words": keywords(5), "worse": dense(k=1), "worst": dense(retrieve=BM25(k=1, b=1.0))}
    )
    raced = run(sweep, data, ["MRR@10"], race=Race(metric="MRR@10", block=16))
    whole = run(sweep, data, ["MRR@10"], store=store)
    assert raced.manifest["stopped"]
    for name, found in raced.compare(metrics=["MRR@10"]).by_metric["MRR@10"].items():
        assert found.p_adjusted >= whole.compare(metrics=["MRR@10"]).by_metric["MRR@10"][name].p_adjusted


def test_a_stopped_system_is_asked_no_more(data, monkeypatch):
    counted = count_calls(monkeypatch, FlatSearch)
    sweep = Sweep(keywords(5), systems={"blind": dense(chunk=Whole(), k=5)})
    results = run(sweep, data, ["MRR@10"], race=RACE)
    asked = int(re.search(r"after (\d+) queries", results.manifest["stopped"]["blind"])[1])
    assert asked < 100
    assert counted["FlatSearch"] == asked / RACE.block


def test_the_base_runs_to_the_end_even_when_it_is_behind(data):
    results = run(Sweep(dense(k=5), systems={"words": keywords(5)}), data, ["MRR@10"], race=RACE)
    assert list(results.systems) == ["base", "words"]
    assert results.manifest["stopped"] == {}
    assert results.compare(metrics=["MRR@10"]).by_metric["MRR@10"]["words"].verdict == "better"


def test_a_race_gives_the_same_whatever_the_order_of_systems(data):
    backwards = Sweep(SWEEP.base, systems=dict(reversed(list(SWEEP.systems.items()))))
    one, other = (run(sweep, data, ["MRR@10"], race=RACE) for sweep in (SWEEP, backwards))
    assert one.manifest["stopped"] == other.manifest["stopped"]


def test_a_race_is_part_of_a_spec_and_of_its_checks():
    text = "name: r\ndataset: d\nmetrics: [nDCG@10]\nrace: {metric: nDCG@10, block: 32}\nbudget: {minutes: 5}\n"
    experiment = loads(text)
    assert experiment.race == Race(metric="nDCG@10", block=32)
    assert experiment.budget.minutes == 5
    assert loads(dumps(experiment)) == experiment
    with pytest.raises(InputError, match=r"spec:4: race: .*MRR@10 is not among the metrics"):
        loads(text.replace("race: {metric: nDCG@10", "race: {metric: MRR@10"))


def test_what_was_stopped_by_a_system_that_fails_later_races_again(data):
    """A leader that answers 80 questions and then fails must not have taken the others with it."""
    right = {text: f"d{i:03d}" for i, text in enumerate(f"{word} common" for word in WORDS)}
    asked = []

    def leader(text):
        asked.append(text)
        if len(asked) > 80:
            raise ConnectionError("away")
        return [right[text]]

    systems = {"leader": dense(retrieve=retriever(leader, k=5)), "fair": dense(chunk=Whole(), k=5)}
    results = run(Sweep(dense(k=1), systems=systems), data, ["MRR@10"], race=RACE)
    assert list(results.manifest["failed"]) == ["leader"]
    assert "fair" in results.systems
    assert results.manifest["stopped"] == {}
