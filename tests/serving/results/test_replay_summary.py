"""A replay's numbers have intervals, and targets are met, missed, or not to be said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes_made import Pauses, RefusesEvery, call, hit, outcome
from toys import dense, keywords, small_dataset

from evalkit import InputError, Service, replay
from evalkit.metrics import Goodput, WrongShare
from evalkit.metrics.statistics import proportion_interval
from evalkit.serving import Arrival, Cache, Replay
from evalkit.serving.results.stated import implied
from evalkit.serving.results.summary import goodput, latency_by, timelines
from evalkit.serving.results.targets import Targets, verdict

COST = {"embed": 0.2, "search": 0.3, "generate": 0.5}


@pytest.fixture(scope="module")
def seen(tiny, shared_store) -> Replay:
    asked = [Arrival(tiny.queries.text[i % 8], i * 1.5, kind="xy"[i % 2]) for i in range(60)]
    service = Service(dense(), (RefusesEvery(4), Cache(ttl=20), Pauses(0.1, at="retrieve")))
    return replay(service, tiny, asked, cost=COST, store=shared_store)


def numbers(found: Replay, metric: str) -> tuple[float, float, float, int]:
    row = found.summary.set_index("metric").loc[metric]
    return float(row["value"]), float(row["low"]), float(row["high"]), int(row["n"])


def test_latency_is_of_answered_requests_and_a_quick_refusal_makes_no_service_fast(seen):
    rows = seen.per_request
    answered = rows.loc[rows["outcome"] == "answered", "ms"].to_numpy()
    assert (rows.loc[rows["outcome"] == "refused", "ms"] == 0).all()
    assert numbers(seen, "P95")[::3] == (np.quantile(answered, 0.95), 45)
    assert numbers(seen, "Mean")[0] == pytest.approx(answered.mean())
    assert numbers(seen, "Mean")[1] < answered.mean() < numbers(seen, "Mean")[2]


def test_shares_of_outcomes_are_of_all_requests_and_add_up(seen):
    names = ("answered", "refused", "failed", "abandoned")
    assert sum(numbers(seen, name)[0] for name in names) == pytest.approx(1)
    e = proportion_interval(15, 60)
    assert numbers(seen, "refused") == (0.25, e.low, e.high, 60)
    hits = int((seen.per_request["hit"] != "").sum())
    assert hits > 0
    assert numbers(seen, "HitRate")[0] == pytest.approx(hits / 60)


def test_the_means_of_the_stages_add_up_to_the_mean(seen):
    rows = seen.summary
    stages = rows[rows["metric"].str.startswith("Mean(")]
    assert stages["value"].sum() == pytest.approx(numbers(seen, "Mean")[0])
    assert {'Mean(stage="queue")', 'Mean(stage="Pauses[retrieve]")'} <= set(stages["metric"])
    assert (stages["low"] <= stages["value"]).all()


def test_throughput_counts_answers_and_goodput_those_within_the_limits(seen):
    rows = seen.per_request
    span = rows["ended"].max() - rows["arrived"].min()
    assert numbers(seen, "Throughput")[0] == pytest.approx(45 / span)
    within = ((rows["outcome"] == "answered") & (rows["ms"] <= 500)).sum()
    assert 0 < within < 45
    assert goodput(seen, total=500).value == pytest.approx(within / span)
    assert goodput(seen, total=500) == Goodput(total=500, first_token=1e9).of(timelines(seen))
    assert goodput(seen, first_token=0.5).value == pytest.approx((rows["hit"] != "").sum() / span)


def test_a_mean_of_zeros_and_ones_is_no_proportion():
    found = Replay([outcome(i, took=0.0) for i in range(20)], "measured")
    assert numbers(found, "DollarsPer1000")[:3] == (0.0, 0.0, 0.0)
    assert numbers(found, "failed")[2] > 0.1


def test_where_nothing_was_answered_the_numbers_say_so():
    found = Replay([outcome(i, became="failed", arrived=float(i)) for i in range(5)], "measured")
    assert numbers(found, "Throughput")[0] == 0
    for metric in ("Mean", "P95", "FirstToken"):
        value, low, high, n = numbers(found, metric)
        assert math.isnan(value)
        assert low <= 0
        assert (high, n) == (math.inf, 0)
    assert numbers(found, "failed")[0] == 1.0
    assert found.check(Targets(p95_ms=1.0, answered=0.9))["verdict"].tolist() == ["inconclusive", "fail"]


def test_latencies_by_kind_are_those_of_the_rows(seen):
    table = latency_by(seen, "kind").set_index("kind")
    rows = seen.per_request[seen.per_request["outcome"] == "answered"]
    for kind, ms in rows.groupby("kind")["ms"]:
        row = table.loc[kind]
        assert row["n"] == len(ms)
        assert row["mean"] == pytest.approx(ms.mean())
        assert row["p99"] == pytest.approx(np.quantile(ms, 0.99))
        assert (row["min"], row["max"]) == (ms.min(), ms.max())
    assert latency_by(seen, "hit")["hit"].tolist() == ["", "cache"]
    with pytest.raises(InputError, match="no such column; did you mean 'kind'"):
        latency_by(seen, "kinds")


@given(st.floats(0, 9), st.floats(0, 9), st.floats(0, 9))
def test_a_verdict_is_by_the_side_on_which_the_whole_interval_lies(a, b, limit):
    low, high = min(a, b), max(a, b)
    said = verdict(low, high, limit)
    assert said == ("pass" if high <= limit else "fail" if low > limit else "inconclusive")
    turned = verdict(-high, -low, -limit, at_least=True)
    assert turned == said


def test_an_open_interval_passes_no_limit():
    assert verdict(3.0, math.inf, 1e9) == "inconclusive"
    assert verdict(3.0, math.inf, 2.0) == "fail"


def test_targets_of_three_levels_are_looked_at_one_by_one():
    times = np.random.default_rng(1).uniform(0.9, 1.1, 400)
    outcomes = [outcome(i, arrived=float(i), took=float(t), calls=[call()]) for i, t in enumerate(times)]
    found = Replay(outcomes, "modelled").check(Targets(mean_ms=[900, 1000, 1200], answered=0.99, usd_per_1000=2))
    assert found["verdict"].tolist() == ["fail", "inconclusive", "pass", "pass", "pass"]
    assert found["level"].tolist() == ["target", "acceptable", "maximum", "limit", "limit"]
    assert found["target"].tolist() == ["mean_ms"] * 3 + ["answered", "usd_per_1000"]
    assert set(found["origin"]) == {"modelled"}
    assert found["unit"].tolist() == ["ms"] * 3 + ["", "$"]


def test_every_target_can_be_checked(seen):
    every = Targets(**dict.fromkeys(Targets.__dataclass_fields__, 1.0))
    found = seen.check(every)
    assert len(found) == len(Targets.__dataclass_fields__)
    said = dict(zip(found["target"], found["verdict"], strict=True))
    assert (said["p95_ms"], said["answered"], said["served_wrong"]) == (
        "fail",
        "fail",
        "inconclusive",
    )  # nothing is labelled
    assert found.set_index("target").loc["first_p95_ms", "value"] == numbers(seen, "FirstToken(q=0.95)")[0]


def test_wrong_hits_have_a_target_too():
    labels = {"intent": "a", "answer": "x"}
    outcomes = [outcome(0, **labels), *(hit(i, 0, intent="a!0", answer="y") for i in range(1, 30))]
    found = Replay(outcomes, "measured")
    row = found.check(Targets(wrong_share=0.05)).iloc[0]
    e = WrongShare().of(found.lookups())
    assert (row["value"], row["low"], row["verdict"]) == (e.value, e.low, "fail")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"p95_ms": (1, 2)}, "p95_ms has 2 levels"),
        ({"p95_ms": (3, 2, 1)}, "each level must be looser"),
        ({"hit_rate": (0.2, 0.3, 0.4)}, "each level must be looser"),
        ({"p95_ms": -1}, "limits are numbers from 0"),
        ({"p95_ms": math.nan}, "limits are numbers from 0"),
        ({"answered": True}, "limits are numbers from 0"),
        ({"rate": ("a", "b", "c")}, "limits are numbers from 0"),
    ],
)
def test_targets_that_are_none_are_refused(given, what):
    with pytest.raises(InputError, match=f"^Targets: .*{what}"):
        Targets(**given)


def test_a_limit_of_zero_is_a_limit():
    assert Targets(p95_ms=0.0).limits == {"p95_ms": (0.0,)}
    found = Replay([outcome(i, took=0.0) for i in range(99)], "measured")
    assert found.check(Targets(p95_ms=0.0))["verdict"].tolist() == ["pass"]


def test_stated_numbers_say_what_the_slowest_must_have_taken():
    found = implied(206, {95: 1})
    assert found.consistent
    assert found.tail_mean == pytest.approx(4101)
    assert "the slowest 5 % average at least 4,101 ms" in found.says
    assert "look at the samples" in found.says
    assert "look" not in implied(630, {50: 600, 95: 900}).says


@pytest.mark.parametrize(
    ("mean", "percentiles", "extremes"),
    [
        (206, {95: 1}, {"maximum": 500}),
        (10, {50: 20, 95: 5}, {}),
        (5, {50: 20}, {"minimum": 11}),
        (5, {}, {"minimum": 6}),
        (50, {95: 40}, {"maximum": 39}),
    ],
)
def test_stated_numbers_that_no_sample_has_are_found(mean, percentiles, extremes):
    found = implied(mean, percentiles, **extremes)
    assert not found.consistent
    assert "contradicts itself" in found.says


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=60))
def test_what_was_measured_never_contradicts_itself(samples):
    found = implied(
        float(np.mean(samples)),
        {p: float(np.quantile(samples, p / 100)) for p in (50, 95)},
        minimum=min(samples),
        maximum=max(samples),
        count=len(samples),
        tolerance=1e-6,
    )
    assert found.consistent


def test_a_stream_and_a_whole_answer_have_a_first_token(store):
    service = Service(keywords(), (Pauses(0.5),))
    found = replay(service, small_dataset(), [Arrival("red apples")] * 3, cost={"search": 1.0}, store=store)
    assert numbers(found, "FirstToken")[3] == 3
    assert numbers(found, "FirstToken")[0] == numbers(found, "P50")[0]
    (line,) = timelines(Replay([outcome(0, arrived=2.0, took=3.0, first=1.0)], "measured", start=1.0))
    assert (line.requested, line.tokens, line.done) == (1000, (2000,), 4000)
