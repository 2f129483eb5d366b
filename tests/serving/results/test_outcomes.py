"""Tables of a replay agree with what happened, and with one another."""

from __future__ import annotations

import math
from dataclasses import replace as changed

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes_made import MODEL, Notes, Pauses, RefusesEvery, call, hit, outcome
from toys import dense, hybrid, keywords, small_dataset

from evalkit import InputError, Service, replay
from evalkit.calls import Attempt, Call, TokenUsage
from evalkit.llm import Extractive, Modelled
from evalkit.llm.pricing import Prices
from evalkit.served import Event
from evalkit.serving import Arrival, Cache, Replay

COST = {"embed": 0.2, "search": 0.3, "fuse": 0.05, "assemble": 0.01, "generate": 1.0}


def arrivals(data, seed: int, count: int = 40, rate: float = 1.5) -> list[Arrival]:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, count))
    texts = [data.queries.text[int(i)] for i in rng.integers(0, len(data.queries), count)]
    return [Arrival(text, float(t)) for text, t in zip(texts, times, strict=True)]


def own(found: Replay) -> list[str]:
    return [name for name in found.per_request if name.startswith("ms[")]


@pytest.mark.parametrize("cores", [1, 2])
def test_own_times_and_the_wait_for_a_core_add_up_to_the_whole(tiny, store, cores):
    layers = (Pauses(0.1, 0.2), Cache(ttl=10), Pauses(0.3, at="retrieve"), Pauses(0.0, 0.4, at="generate"))
    found = replay(Service(hybrid(), layers), tiny, arrivals(tiny, 3), cores=cores, cost=COST, store=store)
    rows = found.per_request
    assert rows["queue_ms"].max() > 0
    np.testing.assert_allclose(rows[own(found)].sum(axis=1) + rows["queue_ms"], rows["ms"])
    assert set(own(found)) == {
        "ms[Pauses[answer]]", "ms[Cache[answer]]", "ms[Pauses[retrieve]]", "ms[Pauses[generate]]",
        *(f"ms[{stage}]" for stage in COST),
    }  # fmt: skip


def test_a_layers_own_time_is_what_it_took_itself(store):
    layers = (Pauses(0.5, 0.25), Pauses(2.0, at="retrieve"))
    found = replay(Service(keywords(), layers), small_dataset(), [Arrival("red apples")], cost=COST, store=store)
    row = found.per_request.iloc[0]
    assert row["ms[Pauses[answer]]"] == pytest.approx(750)
    assert row["ms[Pauses[retrieve]]"] == pytest.approx(2000)
    assert row["ms[search]"] == pytest.approx(300)
    assert row["ms"] == pytest.approx(4060)


def test_a_stage_that_runs_twice_is_booked_together(tiny, store):
    found = replay(hybrid(), tiny, [Arrival("a dog")], cost=COST, store=store)
    assert found.per_request["ms[search]"].tolist() == [pytest.approx(600)]


def test_waiting_for_a_core_is_told_apart_from_work(store):
    asked = [Arrival("red apples"), Arrival("pears fall"), Arrival("blue plums")]
    found = replay(keywords(), small_dataset(), asked, cost=lambda stage, took: 1.0, store=store)
    rows = found.per_request
    # one core: searches end at 1, 2, 3, prompts at 4, 5, 6, answers at 7, 8, 9; an answer is no event of work
    assert rows["ms[search]"].tolist() == rows["ms[assemble]"].tolist() == [1000] * 3
    assert rows["queue_ms"].tolist() == [2000, 3000, 4000]


@st.composite
def nested(draw) -> list[tuple[str, str, float, float, float]]:
    """Events as a request writes them down: in order of their ends, layers around one another or side by side."""
    spans = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=9))
    ordered = sorted(((min(span), max(span)) for span in spans), key=lambda span: span[1])
    kinds = draw(st.lists(st.sampled_from(["layer", "work"]), min_size=len(spans), max_size=len(spans)))
    return [
        (f"{kind} {i}", kind, float(a), float(a), float(b))
        for i, (kind, (a, b)) in enumerate(zip(kinds, ordered, strict=True))
    ]


@given(st.lists(nested(), min_size=1, max_size=6))
@settings(max_examples=60)
def test_own_times_are_those_of_brute_force(requests):
    found = Replay([outcome(i, took=31, events=events) for i, events in enumerate(requests)], "modelled")
    for row, events in enumerate(requests):
        for i, (name, kind, start, _, end) in enumerate(events):
            seconds = set(range(int(start), int(end)))
            if kind == "layer":
                inside = [e for e in events[:i] if e[2] >= start]
                seconds -= {s for e in inside for s in range(int(e[2]), int(e[4]))}
            mine = sum(e[0] == name for e in events)
            assert mine == 1
            assert found.per_request[f"ms[{name}]"][row] == pytest.approx(1000 * len(seconds))


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 20)), min_size=1, max_size=25), st.sampled_from([0.5, 1, 7]))
@settings(max_examples=60)
def test_per_second_rows_keep_littles_law_and_lose_no_request(times, width):
    outcomes = [outcome(i, arrived=a, took=t) for i, (a, t) in enumerate(sorted(times))]
    found = Replay(outcomes, "modelled")
    rows = found.per_second(width)
    assert rows["arrivals"].sum() == rows["ended"].sum() == rows["answered"].sum() == len(times)
    assert rows["in_flight"].sum() * width == pytest.approx(found.per_request["ms"].sum() / 1e3, abs=1e-6)
    at_end = (rows["arrivals"] - rows["ended"]).cumsum().to_numpy()
    assert (at_end >= 0).all()
    assert at_end[-1] == 0


def test_per_second_rows_count_what_ended_then(tiny, store):
    layers = (RefusesEvery(4), Cache())
    found = replay(Service(dense(), layers), tiny, arrivals(tiny, 1), cost=COST, store=store)
    rows, requests = found.per_second(5.0), found.per_request
    window = requests[(requests["ended"] >= 5) & (requests["ended"] < 10)]
    second = rows[rows["second"] == 5.0].iloc[0]
    assert second["refused"] == (window["outcome"] == "refused").sum() > 0
    assert second["hits"] == (window["hit"] != "").sum() > 0
    answered = window.loc[window["outcome"] == "answered", "ms"]
    assert second["p95_ms"] == pytest.approx(np.quantile(answered, 0.95))
    with pytest.raises(InputError, match="width is 0"):
        found.per_second(0)


def test_events_count_from_the_traffics_start(tiny, store):
    asked, early = [Arrival("a dog", 2.0)], [Arrival("a cat")]
    found = replay(dense(), tiny, asked, warm=early, cost=COST, store=store)
    assert found.start > 1
    assert found.events["start"].min() == pytest.approx(2.0)
    assert found.events["end"].max() == pytest.approx(found.per_request["ended"][0])
    assert found.events["name"].tolist() == ["embed", "search", "assemble", "generate"]
    assert set(found.events["request"]) == {0}


def simulated(price: str = MODEL):
    return dense(generate=Modelled(Extractive(dense().retrieve.embedder), "roadmap", model=price))


def test_tokens_and_dollars_are_those_of_the_calls_and_hits_say_what_they_saved(tiny, store):
    asked = [Arrival(tiny.queries.text[0], t) for t in (0.0, 50.0)]
    found = replay(Service(simulated(), (Cache(),)), tiny, asked, cost=COST, store=store)
    (made,), rows = found.outcomes[0].calls, found.per_request
    price = Prices.load().dollars(made)
    assert price > 0
    assert rows["usd"].tolist() == [price, 0.0]
    assert rows["saved_usd"].tolist() == [0.0, price]
    assert rows["saved_ms"].tolist() == [0.0, pytest.approx(made.seconds * 1e3)]
    assert rows["input_tokens"].tolist() == [made.usage.input, 0]
    assert rows["output_tokens"].tolist() == [made.usage.output, 0]
    assert rows["calls"].tolist() == [1, 0]
    assert rows["hit"].tolist() == ["", "cache"]
    assert rows["made_by"].tolist() == ["", "0"]


def test_the_first_piece_of_a_stream_comes_before_its_end_and_a_cached_answer_comes_whole(tiny, store):
    asked = [Arrival(tiny.queries.text[0], t) for t in (0.0, 50.0)]
    found = replay(Service(simulated(), (Cache(), Pauses(0.5))), tiny, asked, cost=COST, store=store)
    (made,), rows = found.outcomes[0].calls, found.per_request
    before = 500 + 200 + 300 + 10
    assert rows["first_ms"][0] == pytest.approx(before + made.pieces[0] * 1e3)
    assert rows["first_ms"][0] < rows["ms"][0]
    assert rows["first_ms"][1] == rows["ms"][1]


def test_tries_that_were_given_up_are_paid_for_and_a_batch_is_half_the_price():
    usage = TokenUsage(input=1000, output=10)
    tried = Call(MODEL, usage, attempts=(Attempt("stream cut", 1.0, TokenUsage(input=500)),))
    batch = Call(MODEL, usage, service="batch")
    rows = Replay([outcome(0, calls=[tried]), outcome(1, calls=[batch, batch])], "measured").per_request
    price = Prices.load().of(MODEL)
    whole = price.dollars(usage)
    assert rows["usd"].tolist() == pytest.approx([whole + 500 * price.input / 1e6, whole])
    assert rows["input_tokens"].tolist() == [1500, 2000]


def test_a_model_without_a_price_costs_nan_and_is_named_and_one_without_a_name_nothing():
    outcomes = [outcome(0, calls=[call(model="nobody-1")]), outcome(1, calls=[call(model="")]), outcome(2)]
    found = Replay(outcomes, "measured")
    assert math.isnan(found.per_request["usd"][0])
    assert found.per_request["usd"].tolist()[1:] == [0.0, 0.0]
    assert dict(found.unpriced) == {"nobody-1": 1}
    summary = found.summary.set_index("metric")
    assert math.isnan(summary.loc["DollarsPer1000", "value"])
    assert summary.loc["DollarsPer1000", "n"] == 0


def test_an_answer_that_was_made_for_the_request_itself_saved_nothing():
    made = call()
    own_call = hit(0, 0, calls=[made], made=made)
    assert Replay([own_call], "measured").per_request["saved_usd"].tolist() == [0.0]


def test_a_note_that_is_called_like_a_column_hides_none(tiny, store):
    found = replay(Service(dense(), (Notes("ms"), Notes("mine"))), tiny, [Arrival("a dog")], cost=COST, store=store)
    row = found.per_request.iloc[0]
    assert (row["note[ms]"], row["mine"]) == (7, 7)
    assert row["ms"] == pytest.approx(1510)


def runs(tiny, store, **changes) -> Replay:
    service = Service(simulated(), (Cache(ttl=5), RefusesEvery(5)))
    return replay(service, tiny, arrivals(tiny, 9), **{"cores": 2, "cost": COST, "store": store, **changes})


def test_the_digest_is_the_same_for_the_same_traffic_and_another_for_any_change(tiny, store):
    found = runs(tiny, store)
    assert found.digest == runs(tiny, store).digest
    assert found.digest != runs(tiny, store, cost={**COST, "assemble": 0.01 + 1e-12}).digest
    one = found.outcomes[7]
    assert one.answers is not None
    event = one.events[0]
    for other in (
        one._replace(ended=np.nextafter(one.ended, 99)),
        one._replace(reason="none"),
        one._replace(notes={**one.notes, "more": 1.0}),
        one._replace(events=(Event("x", *event[1:]), *one.events[1:])),
        one._replace(events=(event._replace(began=event.began + 1e-9), *one.events[1:])),
        one._replace(answers=found.outcomes[0].answers),
        one._replace(arrival=changed(one.arrival, tenant="x")),
        one._replace(calls=()),
    ):
        outcomes = [*found.outcomes[:7], other, *found.outcomes[8:]]
        assert Replay(outcomes, found.origin, found.start).digest != found.digest
    assert changed(found, failures={"a write": 1}).digest != found.digest


def test_the_digest_is_of_the_content_and_not_of_its_order_in_memory():
    notes = {"b": 1, "a": "x"}
    first = Replay([outcome(0, notes=notes), outcome(1)], "measured")
    again = Replay([outcome(0, notes={"a": "x", "b": 1.0}), outcome(1)], "measured")
    assert first.digest == again.digest
    assert Replay([outcome(0, events=[("a", "work", 0, 0, 1)])], "measured").digest != first.digest


def test_where_keeps_rows_and_still_knows_who_made_what(tiny, store):
    labels = {"intent": "a", "answer": "x"}
    outcomes = [
        outcome(0, kind="canonical", **labels),
        hit(1, 0, kind="paraphrase", **labels),
        hit(2, 0, kind="trap: x"),
    ]
    found = Replay(outcomes, "measured")
    hits = found.where(hit=True)
    assert hits.per_request["number"].tolist() == [1, 2]
    assert hits.per_request["wrong"].tolist() == [False, None]
    assert found.where(hit=False, kind="canonical").per_request["number"].tolist() == [0]
    for wrong, what in (({"kind": "x"}, "no request has kind='x'"), ({"hits": True}, "did you mean 'hit'")):
        with pytest.raises(InputError, match=what):
            found.where(**wrong)
