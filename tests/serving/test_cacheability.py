from __future__ import annotations

import math
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import keywords, small_dataset

from evalkit import InputError, Service, replay
from evalkit.datasets import Traffic
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival, Cache
from evalkit.serving.cacheability import cacheability

STEPS = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from(["red", "RED ", "pears", "plums", "kiwis"]),
        st.sampled_from(["", "a"]),
        st.sampled_from(["", "x", "y"]),
    ),
    min_size=1,
    max_size=25,
)


def of(steps) -> list[Arrival]:
    """No two at once: an entry is there as soon as it is asked for, which none is at work."""
    rows = enumerate(sorted(steps))
    return [Arrival(text, at=t + i / 64, tenant=tenant, answer=answer) for i, (t, text, tenant, answer) in rows]


def only(found, **wanted):
    (one,) = [c for c in found.caches if all(getattr(c, name) == value for name, value in wanted.items())]
    return one


@given(STEPS, st.none() | st.integers(0, 30), st.booleans())
@settings(max_examples=40)
def test_an_unbounded_cache_at_work_has_the_hits_that_are_foretold(shared_store, steps, ttl, ingest):
    arrivals, events = of(steps), (Ingestion(20.5, (), ("d4",)),) if ingest else ()
    layer = Cache(ttl=ttl, write="before")
    found = replay(
        Service(keywords(), (layer,)), small_dataset(), arrivals, cost={}, events=events, store=shared_store
    )
    told = only(
        cacheability(arrivals, ttls=[ttl], entries=[None], events=events), until="ingestion" if ingest else "nothing"
    )
    assert (found.per_request["cache[answer]"] == "hit").sum() == told.hits


@given(STEPS, st.integers(1, 4))
@settings(max_examples=100)
def test_a_bounded_cache_has_the_hits_of_pythons_own(steps, size):
    arrivals = of(steps)
    peer = lru_cache(maxsize=size)(lambda tenant, text: None)
    for arrival in arrivals:
        peer(arrival.tenant, arrival.text.strip().lower())
    told = cacheability(arrivals, ttls=[None], entries=[size, None])
    assert told.caches[0].hits == peer.cache_info().hits
    assert told.caches[1].hits == told.repeats["tenant"] == round(told.repetition * told.requests)


@given(STEPS)
def test_more_time_more_room_and_less_to_agree_on_never_cost_a_hit(steps):
    told = cacheability(of(steps), ttls=[0, 5, 20, None], entries=[None])
    hits = [one.hits for one in told.caches]
    assert hits[0] == 0
    assert hits == sorted(hits)
    repeats = [told.repeats[name] for name in ("conversation", "tenant", "folded", "text")]
    assert repeats[0] <= repeats[1] <= repeats[2] >= repeats[3]
    assert sum(n for n, _ in told.per_tenant.values()) == len(steps)


def test_a_hit_is_stale_if_the_answer_has_changed_since_the_entry_was_made():
    times = [(0, "old"), (10, "old"), (20, "new"), (30, "new"), (40, "")]
    arrivals = [Arrival("fee", at=float(t), answer=answer) for t, answer in times]
    told = cacheability(arrivals, ttls=[15, 25, None], entries=[None])
    # 15 s: made at 0, 20 (given at 30) and 40; 25 s: made at 0 (given at 10, and stale at 20), at 30
    assert [(c.hits, c.judged, c.stale) for c in told.caches] == [(2, 2, 0), (3, 2, 1), (4, 3, 2)]
    assert (told.pairs, told.changed, told.stability) == (3, 1, 1 - 1 / 3)
    assert told.best(stale=0).ttl == 15
    assert told.best(stale=0.5).ttl == 25
    assert told.best(stale=1).ttl is None


def test_what_is_asked_in_another_talk_is_no_repeat():
    arrivals = [
        Arrival("and red ones?", conversation="1", at=1.0),
        Arrival("apples", conversation="2", at=2.0),
        Arrival("and red ones?", conversation="2", at=3.0),
        Arrival("apples", conversation="3", at=4.0),
        Arrival("and red ones?", conversation="3", at=5.0),
        Arrival("and red ones?", at=6.0),
    ]
    told = cacheability(arrivals, ttls=[None], entries=[None])
    assert told.repeats == {"text": 4, "folded": 4, "tenant": 4, "conversation": 3}
    assert told.caches[0].hits == 3


def test_a_log_without_answers_says_nothing_of_freshness():
    told = cacheability([Arrival("a"), Arrival("a")])
    assert math.isnan(told.stability)
    assert told.best() is None
    assert told.table["hit_rate"].max() == 0.5
    assert told.table["stale_share"].isna().all()


def test_traffic_and_arrivals_are_read_alike():
    rows = [{"at": t, "text": text, "tenant": "t", "answer": text} for t, text in ((0, "a"), (1, "A"), (2, "b"))]
    by_rows = cacheability(Traffic.of(rows))
    by_arrivals = cacheability([Arrival(r["text"], float(r["at"]), tenant="t", answer=r["answer"]) for r in rows])
    assert by_rows.table.equals(by_arrivals.table)
    assert by_rows.per_tenant == {"t": (3, 1)}


@pytest.mark.parametrize("wrong", [{"ttls": [-1]}, {"entries": [0]}, {"ttls": [math.nan]}])
def test_a_cache_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match=r"^cacheability: "):
        cacheability([Arrival("a")], **wrong)
    with pytest.raises(InputError, match="no arrivals"):
        cacheability([])
