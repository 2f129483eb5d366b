"""The decisions of a sweep are those of a replay of each setting; and what a sweep refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords, dense, small_dataset

from evalkit import InputError, Service, replay
from evalkit.datasets import Traffic
from evalkit.datasets.traffic import Ingestion
from evalkit.serving.arrivals import Arrival, with_histories
from evalkit.serving.layers import Cache, SemanticCache
from evalkit.serving.semantic import Threshold, Verified
from evalkit.serving.thresholds.sweep import threshold_sweep
from evalkit.serving.thresholds.swept import MISS
from evalkit.values import Answer, Prompt

WORDS = ("red", "green", "blue", "apples", "pears", "plums", "grow", "fall")


@dataclass(frozen=True)
class FirstWord:
    """Says the first word of the question, in a time of its own for every text."""

    seconds: float = 1.0

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        await clock.sleep(self.seconds * (1 + len(prompt.question) / 7))
        return Answer(prompt.question.split()[0].casefold(), tuple(dict.fromkeys(prompt.sources)))


texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
said = st.tuples(texts, st.booleans()).map(lambda drawn: drawn[0].upper() if drawn[1] else drawn[0])
gaps = st.floats(0.01, 30.0)
times = st.lists(gaps, min_size=1, max_size=25)
rules = st.one_of(
    st.floats(0.0, 1.0).map(Threshold),
    st.sampled_from([Threshold(-1.0), Threshold(1.0), Threshold(0.5, "squared L2"), Threshold(2.0, "L2")]),
    st.builds(Verified, error=st.sampled_from([0.1, 0.4, 0.9]), floor=st.sampled_from([0.0, 0.6])),
)


@st.composite
def traffics(draw: Any) -> list[Arrival]:
    at, found = 0.0, []
    for gap in draw(times):
        at += gap
        text, tenant = draw(said), draw(st.sampled_from(["", "a"]))
        history = draw(st.sampled_from([(), ("before", "so")]))
        found.append(Arrival(text, at=at, tenant=tenant, history=history, intent=text.split()[0].casefold()))
    return found


@settings(max_examples=60)
@given(
    arrivals=traffics(),
    rule=st.lists(rules, min_size=1, max_size=3, unique=True),
    ttl=st.sampled_from([None, 0.0, 20.0, 60.0]),
    guard=st.sampled_from(["corpus", "context", "none"]),
    until=st.sampled_from(["nothing", "ingestion", "ingestion touches it"]),
    changes=st.lists(st.tuples(st.floats(0, 200), st.sampled_from(["d1", "d2", "d3"])), max_size=3),
    seconds=st.sampled_from([0.1, 5.0, 40.0]),
    embed=st.sampled_from([0.0, 0.7]),
)
def test_every_setting_decides_as_its_replay_does(
    shared_store, arrivals, rule, ttl, guard, until, changes, seconds, embed
):
    data, variant, store = small_dataset(), dense(k=1, generate=FirstWord(seconds)), shared_store
    events = [
        Ingestion(at, (name,) if i % 2 else (), () if i % 2 else (name,)) for i, (at, name) in enumerate(changes)
    ]
    given_ = {"cost": {"embed": embed}, "events": events, "store": store}
    calls = replay(variant, data, arrivals, **given_)
    cache = SemanticCache(ttl=ttl, guard=guard, until=until)
    sweep = threshold_sweep(
        arrivals, rule, cache=cache, calls=calls, variant=variant, data=data, events=events, store=store
    )
    for row, one in enumerate(sweep.settings):
        layer = SemanticCache(rule=one.rule, ttl=one.ttl, guard=one.guard, until=until)
        rows = replay(Service(variant, (layer,)), data, arrivals, **given_).per_request
        makers = [int(by) if hit else MISS for by, hit in zip(rows["made_by"], rows["hit"], strict=True)]
        assert makers == sweep.given_by[row].tolist()
        known = rows["wrong"].notna()
        assert rows["wrong"][known].astype(bool).tolist() == sweep.wrong[row][known].tolist()


def spaced(*texts_: str, gap: float = 10.0, **more: Any) -> list[Arrival]:
    return [Arrival(text, at=gap * i, intent=text.split()[0], **more) for i, text in enumerate(texts_, 1)]


def swept(arrivals: Any, rules_: Any, store: Any, **more: Any) -> Any:
    cache = more.pop("cache", SemanticCache(embedder=HashedWords(), ttl=None))
    return threshold_sweep(arrivals, rules_, cache=cache, store=store, **more)


def test_a_threshold_of_one_means_equal_vectors_and_the_lowest_lets_everything_through(store):
    sweep = swept(spaced("red plums", "RED plums", "blue", "red plums"), [1.0, -1.0], store)
    assert sweep.given_by.tolist() == [[MISS, 0, MISS, 0], [MISS, 0, 0, 0]]


def test_what_a_request_can_be_given_depends_on_when_answers_are_there(store):
    arrivals = spaced("red plums", "red plums", "red plums")
    for seconds, expected in ((5.0, [MISS, 0, 0]), (15.0, [MISS, MISS, 0]), (25.0, [MISS, MISS, MISS])):
        assert swept(arrivals, [0.9], store, calls=seconds).given_by[0].tolist() == expected
    assert swept(arrivals, [0.9], store, calls=[25.0, 5.0, 0.0]).given_by[0].tolist() == [MISS, MISS, 1]


def test_a_hit_makes_no_entry_so_a_lower_threshold_may_give_another_answer(store):
    arrivals = spaced("red plums grow", "red plums fall", "red plums fall now")
    low, high = swept(arrivals, [0.6, 0.8], store).given_by.tolist()
    assert low == [MISS, 0, 0]
    assert high == [MISS, MISS, 1]


def test_precomputed_answers_are_there_from_the_beginning_and_may_be_all_there_ever_is(store):
    ready = [Arrival("red plums", intent="red"), Arrival("blue pears", intent="blue")]
    arrivals = spaced("blue pears fall", "green apples", "green apples")
    cache = SemanticCache(embedder=HashedWords(), ttl=None, only="precomputed")
    sweep = swept(arrivals, [0.7], store, cache=cache, precomputed=ready)
    assert sweep.given_by.tolist() == [[1, MISS, MISS]]
    assert sweep.makers[1].text == "blue pears"
    assert not sweep.wrong.any()
    assert swept(arrivals, [0.7], store, precomputed=ready).given_by.tolist() == [[1, MISS, 3]]


def test_what_failed_or_was_refused_is_never_found(store):
    data, arrivals = (
        small_dataset(),
        [Arrival("red plums", at=10.0 * i, patience=1.0 if i < 2 else None) for i in range(4)],
    )
    calls = replay(dense(generate=FirstWord(2.0)), data, arrivals, cost={}, store=store)
    assert list(calls.per_request["outcome"]) == ["abandoned", "abandoned", "answered", "answered"]
    sweep = swept(arrivals, [0.9], store, calls=calls, data=data)
    assert sweep.given_by[0].tolist() == [MISS, MISS, MISS, 2]


def test_every_combination_of_threshold_ttl_and_guard_is_a_setting_that_can_be_named(store):
    sweep = swept(spaced("red plums"), np.arange(0.8, 1.05, 0.1), store, ttls=[None, 60.0], guards=["none", "corpus"])
    assert len(sweep.settings) == 12
    assert sweep.settings[2].rule == Threshold(1.0)
    assert sweep.label(sweep.find(0.8, ttl=60.0, guard="none")) == "0.8, guard none, TTL 60 s"
    with pytest.raises(InputError, match=r"4 settings with 0\.8"):
        sweep.find(0.8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"thresholds": []}, "no thresholds"),
        ({"thresholds": 0.9}, "no thresholds"),
        ({"thresholds": ["near"]}, "'near' is no threshold"),
        ({"ttls": []}, "no setting"),
        ({"calls": "long"}, "or a replay"),
        ({"thresholds": [1.5]}, "Threshold: at is 1.5"),
        ({"ttls": [-1.0]}, "ttl is -1.0"),
        ({"guards": ["corpse"]}, "guard is 'corpse'"),
        ({"calls": [1.0]}, r"calls of shape \(1,\) for 2 requests"),
        ({"calls": -1.0}, "seconds from 0"),
        ({"answers": ["one"]}, "1 answers for 2 requests"),
        ({"guards": ["context"]}, "give variant and data"),
        ({"traffic": []}, "no arrivals"),
        ({"cache": SemanticCache(at="retrieve")}, "the cache is at 'retrieve'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(changes, says, store):
    given_ = {"traffic": spaced("red", "blue"), "thresholds": [0.9], "cache": SemanticCache(embedder=HashedWords())}
    with pytest.raises(InputError, match=says) as raised:
        threshold_sweep(**(given_ | {"store": store} | changes))
    assert "\n" not in str(raised.value)


def test_calls_of_a_replay_with_a_cache_or_of_other_requests_are_refused(store):
    data, arrivals = small_dataset(), spaced("red", "red")
    with pytest.raises(InputError, match="without it"):
        swept(
            arrivals, [0.9], store, calls=replay(Service(dense(), (Cache(),)), data, arrivals, cost={}, store=store)
        )
    with pytest.raises(InputError, match="of other requests"):
        swept(spaced("red", "blue"), [0.9], store, calls=replay(dense(), data, arrivals, cost={}, store=store))


def test_recorded_traffic_is_taken_as_a_replay_takes_it(store):
    rows = [{"at": 1.0, "text": "red plums", "intent": "red"}, {"at": 2.0, "text": "red plums", "intent": "red"}]
    assert swept(Traffic.of(rows), [0.9], store).given_by.tolist() == [[MISS, 0]]


def test_turns_of_a_conversation_share_answers_only_after_the_same_words(store):
    turns = [("a", "red plums"), ("a", "and pears"), ("b", "red plums"), ("b", "and pears"), ("c", "and pears")]
    rows = [
        {"at": float(i), "text": text, "intent": text, "conversation": c, "answer": "so"}
        for i, (c, text) in enumerate(turns)
    ]
    with_them = swept(with_histories(Traffic.of(rows)), [0.99], store).given_by[0].tolist()
    without = swept(Traffic.of(rows), [0.99], store).given_by[0].tolist()
    assert with_them == [MISS, MISS, 0, 1, MISS]
    assert without == [MISS, MISS, 0, 1, 1]


def test_of_two_that_are_equally_near_the_older_one_is_given(store):
    arrivals = [Arrival(text, at=at) for text, at in (("red plums", 1.0), ("RED plums", 2.0), ("RED plums", 20.0))]
    assert swept(arrivals, [0.5], store, calls=5.0).given_by[0].tolist() == [MISS, MISS, 0]
    arrivals = [Arrival(t, at=at) for t, at in (("red plums", 1.0), ("RED plums", 2.0), ("red plums now", 20.0))]
    assert swept(arrivals, [0.5], store, calls=[10.0, 1.0, 1.0]).given_by[0].tolist() == [MISS, MISS, 1]


@pytest.mark.parametrize("cores", [1, 4])
def test_the_cache_is_asked_when_the_vector_is_there(store, cores):
    data, service = small_dataset(), dense(generate=FirstWord(1.0))
    arrivals = [
        Arrival(t, at=at) for t, at in (("red plums", 1.0), ("red plums", 3.4), ("blue", 4.0), ("red plums", 9.0))
    ]
    given_ = {"cost": {"embed": 0.5}, "cores": cores, "store": store}
    calls = replay(service, data, arrivals, **given_)
    layer = SemanticCache(rule=Threshold(0.9), ttl=None)
    rows = replay(Service(service, (layer,)), data, arrivals, **given_).per_request
    made = [int(by) if hit else MISS for by, hit in zip(rows["made_by"], rows["hit"], strict=True)]
    sweep = swept(arrivals, [0.9], store, calls=calls, cache=SemanticCache(ttl=None), variant=service, data=data)
    assert sweep.given_by[0].tolist() == made == [MISS, 0, MISS, 0]


def test_requests_without_an_answer_are_no_answers(store):
    data = small_dataset()
    arrivals = [Arrival("red plums", at=10.0 * i, patience=1.0 if i < 2 else None) for i in range(4)]
    calls = replay(dense(generate=FirstWord(2.0)), data, arrivals, cost={}, store=store)
    sweep = swept(arrivals, [0.9], store, calls=calls, data=data)
    assert sweep.answered.tolist() == [[False, False, True, True]]
