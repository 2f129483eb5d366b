"""Replays of the same traffic are compared request by request, and may be found to be alike."""

from __future__ import annotations

import numpy as np
import pytest
from outcomes_made import Pauses, RefusesEvery, call, hit, outcome
from toys import dense, hybrid

from evalkit import InputError, Service, replay
from evalkit.metrics.statistics import compare as paired
from evalkit.serving import Arrival, Cache, Replay
from evalkit.serving.results.batches import BATCHES
from evalkit.serving.results.comparing import compare

COST = {"embed": 0.2, "search": 0.3, "generate": 0.5}


def asked(data, count: int = 60, gap: float = 5.0) -> list[Arrival]:
    texts = [data.queries.text[i % 8] for i in range(count)]
    answers = dict(zip(data.queries.text, data.queries.id, strict=True))
    return [Arrival(text, i * gap, intent=answers[text], answer=text) for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def replays(tiny, shared_store) -> dict[str, Replay]:
    services = {
        "plain": Service(dense()),
        "cached": Service(dense(), (Cache(),)),
        "slower": Service(dense(), (Pauses(0.01),)),
        "same": Service(dense(), (Pauses(0.0),)),
        "refusing": Service(dense(), (RefusesEvery(2),)),
    }
    return {n: replay(s, tiny, asked(tiny), cost=COST, store=shared_store) for n, s in services.items()}


def test_differences_are_paired_by_request(replays):
    found = compare({n: replays[n] for n in ("plain", "cached", "slower")}).by_metric
    ms = {n: replays[n].per_request["ms"].to_numpy() for n in ("plain", "cached", "slower")}
    slower = found["ms"]["slower"]
    assert slower.difference == pytest.approx(10.0)
    assert slower.low == pytest.approx(10.0)
    assert (slower.verdict, slower.losses, slower.n) == ("worse", 60, 60)
    cached = found["ms"]["cached"]
    assert cached.difference == pytest.approx((ms["cached"] - ms["plain"]).mean())
    assert cached.low < cached.difference < cached.high < 0
    assert cached.verdict == "better"
    assert found["hit"]["cached"].difference == pytest.approx(52 / 60)


def test_what_is_the_same_is_inconclusive_or_with_a_margin_equivalent(replays):
    both = {n: replays[n] for n in ("plain", "same")}
    assert compare(both, metrics=["ms"]).by_metric["ms"]["same"].verdict == "inconclusive"
    assert compare(both, metrics=["ms"], margin=5.0).by_metric["ms"]["same"].verdict == "equivalent"


def test_p_values_are_corrected_for_the_number_of_replays(replays):
    two, one = (
        compare({n: replays[n] for n in names}, metrics=["ms"]).by_metric["ms"]["slower"]
        for names in (("plain", "slower", "cached"), ("plain", "slower"))
    )
    assert one.p_adjusted == one.p
    assert two.p_adjusted == pytest.approx(2 * two.p)


def test_latency_is_of_those_that_all_answered_and_shares_are_of_all(replays):
    found = compare({n: replays[n] for n in ("plain", "refusing")}).by_metric
    assert found["ms"]["refusing"].n == 30
    assert found["answered"]["refusing"].n == 60
    assert found["answered"]["refusing"].difference == -0.5
    assert found["answered"]["refusing"].verdict == "worse"
    assert found["quality"]["refusing"].verdict == "worse"


def test_wrong_hits_that_nobody_can_judge_are_left_out():
    labels = {"intent": "a", "answer": "x"}
    plain = [outcome(i, asked="q", **labels) for i in range(12)]
    cached = [outcome(0, asked="q", **labels), *(hit(i, 0, asked="q", **labels) for i in range(1, 11))]
    cached.append(hit(11, "another run", asked="q", **labels))
    found = compare({"plain": Replay(plain, "measured"), "cached": Replay(cached, "measured")}).by_metric["wrong"]
    assert found["cached"].n == 11
    assert found["cached"].difference == 0


def test_dollars_that_are_not_known_are_compared_by_nobody():
    replays = {
        "dear": Replay([outcome(i, calls=[call(400)]) for i in range(9)], "measured"),
        "cheap": Replay([outcome(i, calls=[call(100)]) for i in range(9)], "measured"),
        "unknown": Replay([outcome(i, calls=[call(model="nobody-1")]) for i in range(9)], "measured"),
    }
    assert "DollarsPer1000" not in compare(replays).by_metric
    both = {n: replays[n] for n in ("dear", "cheap")}
    usd = compare(both).by_metric["DollarsPer1000"]["cheap"]
    assert usd.difference == pytest.approx(-1000 * 300 * 5 / 1e6)
    assert usd.verdict == "better"


def test_neighbours_that_wait_for_one_another_are_not_taken_for_independent():
    """Two equal services, each with a congestion in a few stretches: 5 % of comparisons may call one better."""
    size, stretch, runs = 600, 30, 20
    found = {"mine": 0, "naive": 0}
    for run in range(runs):
        rng = np.random.default_rng([7, run])
        bad = [np.repeat(rng.random(size // stretch) < 0.3, stretch) for _ in range(2)]
        took = [1.0 + one * rng.exponential(2.0, size) for one in bad]
        pair = [Replay([outcome(i, took=float(t)) for i, t in enumerate(times)], "measured") for times in took]
        mine = compare(dict(zip("ab", pair, strict=True)), metrics=["ms"]).by_metric["ms"]["b"]
        naive = paired(took[0], {"b": took[1]}, higher_is_better=False, resamples=500)["b"]
        assert f"{BATCHES} clusters" in mine.method
        found["mine"] += mine.verdict != "inconclusive"
        found["naive"] += naive.verdict != "inconclusive"
    assert found["mine"] <= 3
    assert found["naive"] >= 10


@pytest.mark.parametrize(
    ("others", "what"),
    [
        ([outcome(0, asked="q")], "has 1 requests and 'a' 2"),
        ([outcome(0, asked="q"), outcome(1, asked="r")], "request 1 of 'b' differs from that of 'a' in its text"),
        ([outcome(0, asked="q"), outcome(1, asked="q", tenant="t")], "in its tenant"),
        ([outcome(0, asked="q"), outcome(1, asked="q", arrived=3.0)], "in its at"),
        ([outcome(0, asked="q"), outcome(2, asked="q")], "in its number"),
    ],
)
def test_other_traffic_is_refused(others, what):
    base = Replay([outcome(0, asked="q"), outcome(1, asked="q")], "measured")
    with pytest.raises(InputError, match=what):
        compare({"a": base, "b": Replay(others, "measured")})


def test_the_same_questions_at_other_rates_can_be_compared_when_that_is_said(tiny, shared_store):
    fast, slow = (replay(hybrid(), tiny, asked(tiny, 40, g), cost=COST, store=shared_store) for g in (0.5, 5.0))
    with pytest.raises(InputError, match="in its at"):
        compare({"slow": slow, "fast": fast})
    found = compare({"slow": slow, "fast": fast}, metrics=["ms"], same_times=False)
    assert found.by_metric["ms"]["fast"].verdict == "worse"
    assert found.frame["verdict"].tolist() == ["worse"]


def test_unknown_names_are_refused(replays):
    with pytest.raises(InputError, match="give at least two"):
        compare({"plain": replays["plain"]})
    both = {n: replays[n] for n in ("plain", "cached")}
    with pytest.raises(InputError, match="no replay 'cache'; did you mean 'cached'"):
        compare(both, "cache")
    with pytest.raises(InputError, match="no metric 'hits'; did you mean 'hit'"):
        compare(both, metrics=["hits"])
    assert compare(both, "cached", metrics=["ms"]).by_metric["ms"]["plain"].verdict == "worse"
