"""What a service refuses before its first request: orders in which answers would cross, words that no layer knows."""

from __future__ import annotations

import itertools

import pytest
from toys import Echo, dense, keywords, small_dataset

from evalkit import EvalkitError, InputError, Service, replay
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival
from evalkit.serving.layers import (
    Cache,
    Cascade,
    Coalesce,
    Concurrency,
    ConversationHistory,
    Fallback,
    FaultInjection,
    Prefetch,
    RateLimit,
    Retry,
    Router,
    SemanticCache,
    TimeLimit,
)  # fmt: skip
from evalkit.serving.routing import ByUser, Group, Route
from evalkit.stages import History

AHEAD = (Prefetch(), Router(), Cascade(first=Echo()))
SHARING = (Cache(), Coalesce(), SemanticCache(), Cache(key="context"))
DECIDING = (ConversationHistory(), Router(), Cascade(first=Echo()))


@pytest.mark.parametrize(
    ("sharing", "deciding"), itertools.product(SHARING, DECIDING), ids=lambda x: type(x).__name__
)
def test_what_shares_answers_is_refused_in_front_of_what_decides_whose_they_are(store, sharing, deciding):
    service = Service(dense(), (Concurrency(at="answer"), sharing, deciding))
    with pytest.raises(InputError, match=rf"^Service: {type(deciding).__name__} decides on .*list .* before "):
        replay(service, small_dataset(), [Arrival("red apples")], cost={}, store=store)
    turned = Service(dense(), (deciding, Concurrency(at="answer"), sharing))
    found = replay(turned, small_dataset(), [Arrival("red apples")], cost={}, store=store)
    assert found.per_request["outcome"].tolist() == ["answered"]


def test_users_who_are_routed_to_different_models_never_share_and_those_of_one_do(store):
    router = Router(rule=ByUser(groups=(Group("small", ("free", "poor")),)), routes=(Route("small", Echo(cost=1.0)),))
    arrivals = [Arrival("red apples", at=float(i), user=user) for i, user in enumerate(("free", "paying", "poor"))]
    service = Service(keywords(), (router, Cache(), Coalesce()))
    later = [*arrivals, *(Arrival("red apples", at=50.0 + i, user=u) for i, u in enumerate(("poor", "paying")))]
    found = replay(service, small_dataset(), later, cost={}, store=store).per_request
    assert found["cache[answer]"].tolist() == ["miss", "miss", "hit", "hit", "hit"]
    assert found["made_by"].tolist()[2:] == ["0", "0", "1"]  # the paying one's is its own


def test_the_same_words_in_two_conversations_are_two_questions(store):
    variant = type(keywords())(keywords().chunk, keywords().retrieve, assemble=History(), generate=Echo())
    arrivals = [
        Arrival("red apples", at=0, user="a", conversation="1"),
        Arrival("pears fall", at=10, user="b", conversation="2"),
        Arrival("and those?", at=20, user="a", conversation="1"),
        Arrival("and those?", at=30, user="b", conversation="2"),
    ]
    service = Service(variant, (ConversationHistory(), Cache(), Coalesce()))
    found = replay(service, small_dataset(), arrivals, cost={}, store=store).per_request
    assert found["cache[answer]"].tolist() == ["miss"] * 4


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: RateLimit(per="usr"), "RateLimit: per is 'usr'"),
        (lambda: Retry(on=("faild",)), "Retry: on is 'faild'"),
        (lambda: TimeLimit(since="arival"), "TimeLimit: since is 'arival'"),
        (lambda: Retry(at="anser"), "Retry: at is 'anser'"),
    ],
)
def test_a_word_that_a_layer_does_not_know_is_refused(store, layer, said):
    with pytest.raises(InputError, match=said):
        replay(Service(keywords(), (layer(),)), small_dataset(), [Arrival("x")], cost={}, store=store)


def test_what_fails_beside_the_requests_is_counted_whatever_it_is(store):
    class Forgetful:
        at = "answer"

        def start(self, serving):
            async def work():
                raise KeyError("lost")

            async def handle(request, go_on):
                serving.beside(work())
                return await go_on(request)

            return handle

    service = Service(keywords(), (Concurrency(),))
    object.__setattr__(service, "layers", (Forgetful(),))
    object.__setattr__(service, "fingerprint", "f")
    found = replay(service, small_dataset(), [Arrival("red apples")] * 3, cost={}, store=store)
    assert found.failures == {"KeyError: 'lost'": 3}
    assert found.per_request["outcome"].tolist() == ["answered"] * 3


def test_a_call_that_was_stopped_is_counted_as_one(store):
    service = Service(dense(generate=Echo(cost=9.0)), (TimeLimit(seconds=1.0),))
    found = replay(service, small_dataset(), [Arrival("red apples")], cost={}, store=store)
    (call,) = found.outcomes[0].calls
    assert (call.stop, call.complete, call.seconds) == ("cancelled", False, 1.0)
    assert found.per_request["outcome"].tolist() == ["failed"]


def test_the_counts_of_storages_are_told(store):
    twice = [Arrival("red apples", at=at) for at in (0.0, 9.0)]
    found = replay(Service(keywords(), (Cache(),)), small_dataset(), twice, cost={}, store=store)
    counts = found.states["Cache[answer]"]
    assert (counts["hits"], counts["puts"]) == (1, 1)
    assert isinstance(found.states, dict)
    with pytest.raises(EvalkitError):
        replay(Service(keywords(), (Cache(), ConversationHistory())), small_dataset(), cost={}, store=store)


@pytest.mark.parametrize("ahead", AHEAD, ids=lambda x: type(x).__name__)
def test_nothing_looks_at_the_question_before_its_history_is_told(store, ahead):
    with pytest.raises(InputError, match=r"^Service: ConversationHistory decides on what was said before"):
        replay(Service(dense(), (ahead, ConversationHistory())), small_dataset(), cost={}, store=store)


@pytest.mark.parametrize("at", [1.7e7, 1e9, 9.9e9])
def test_time_goes_on_however_late_it_is(store, at):
    found = replay(keywords(), small_dataset(), [Arrival("red apples", at=at)], cost={"search": 1.0}, store=store)
    assert found.per_request["ms"].tolist() == pytest.approx([1000], abs=1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cost": {"search": float("nan")}}, "the cost of 'search' is nan"),
        ({"cost": {"search": -1.0}}, "the cost of 'search' is -1.0"),
        ({"events": (Ingestion(float("nan"), ("d1",)),)}, "an event at nan"),
        ({"cores": 1.5}, "cores at least 1"),
    ],
)
def test_numbers_that_are_none_are_refused(store, wrong, said):
    with pytest.raises(InputError, match=said):
        replay(keywords(), small_dataset(), store=store, **wrong)


def test_half_a_character_is_refused_where_it_comes_in():
    with pytest.raises(InputError, match="half a character"):
        Arrival("a\ud800b")


def test_what_a_leader_got_in_need_is_kept_by_no_follower_either(store):
    layers = (Cache(), Coalesce(at="retrieve"), Fallback(at="retrieve"), FaultInjection(share=1.0, at="retrieve"))
    arrivals = [Arrival("red apples", at=at) for at in (0.0, 0.0, 10.0)]
    found = replay(Service(dense(), layers), small_dataset(), arrivals, cost={}, store=store).per_request
    assert found["cache[answer]"].tolist() == ["miss"] * 3


@pytest.mark.parametrize("layer", [lambda: TimeLimit(seconds=float("inf")), lambda: Retry(backoff=float("inf"))])
def test_a_number_without_bounds_is_refused_by_name(store, layer):
    with pytest.raises(InputError, match=r"^(TimeLimit: seconds|Retry: backoff) is inf; give a finite number$"):
        replay(Service(keywords(), (layer(),)), small_dataset(), cost={}, store=store)
