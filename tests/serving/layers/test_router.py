from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import CALLS, Echo, HashedWords, calls, dense, keywords, small_dataset

from evalkit import InputError, Service, replay
from evalkit.serving import Arrival, Cache
from evalkit.serving.layers.router import Router
from evalkit.serving.routing import ByTenant, Classifier, Direct, Example, Group, Route, When, WordRules
from evalkit.stages import BM25, Dense

QUESTIONS = ("red apples", "pears fall", "who judges plums", "xylophone", "thanks", "why do red apples fall")
SOCIAL = WordRules((When("social", words=("thanks",)), When("deep", words=("why",)), When("own too", pattern="x.l")))
SECONDS = {"route": 0.005, "embed": 0.05, "search": 0.1, "assemble": 0.01, "generate": 0.0}


def cheap() -> Echo:
    return Echo(cost=0.25)


def asked(questions=QUESTIONS, **changes) -> list[Arrival]:
    return [Arrival(text, at=10.0 * i, **changes) for i, text in enumerate(questions)]


def served(service, arrivals, store, **changes):
    found = replay(service, small_dataset(), arrivals, cost=SECONDS, store=store, **changes)
    return found.per_request


def test_each_route_answers_as_the_service_that_has_its_generator_alone(store):
    rule = WordRules((When("short", at_most=2), When("long")))
    # answers of two toys of one class differ by nothing but their time, so another retriever tells them apart
    other = dense(k=1)
    router = Router(rule=rule, routes=(Route("short", other), Route("long", cheap())))
    found = served(Service(dense(), (router,)), asked(), store)
    alone = {"short": served(other, asked(), store), "long": served(dense(generate=cheap()), asked(), store)}
    for i, name in enumerate(found["route"]):
        assert found["answer"][i] == alone[name]["answer"][i]
        assert found["ms"][i] == pytest.approx(alone[name]["ms"][i] + 5)  # the rule's 5 ms
    assert set(found["route"]) == {"short", "long"}
    assert not alone["short"]["answer"].equals(alone["long"]["answer"])


def test_what_has_no_route_goes_the_services_own_way_and_says_so(store):
    found = served(Service(dense(), (Router(rule=SOCIAL),)), asked(), store)
    assert found["route"].tolist() == ["own", "own", "own", "own too", "social", "deep"]
    assert found["answer"].tolist() == served(dense(), asked(), store)["answer"].tolist()


def test_a_direct_path_retrieves_nothing_and_takes_the_models_time_alone(store):
    router = Router(rule=SOCIAL, routes=(Route("social"), Route("deep", Direct(cheap()))))
    found = replay(Service(dense(), (router,)), small_dataset(), asked(), cost=SECONDS, store=store)
    table = found.per_request
    assert table["answer"][4] == " [0: thanks]"
    assert table["answer"][5] == " [0: why do red apples fall]"
    stages = [[event.name for event in outcome.events if event.kind == "work"] for outcome in found.outcomes]
    assert stages[4] == ["route", "assemble"]
    assert stages[0] == ["route", "embed", "search", "assemble"]
    assert table["ms"].tolist() == pytest.approx([165, 165, 165, 165, 15, 265])


def test_a_variant_on_a_route_shares_what_it_has_in_common_and_is_made_ready_before(store):
    router = Router(rule=SOCIAL, routes=(Route("deep", keywords()), Route("own too", dense(k=1))))
    found = replay(Service(dense(), (router,)), small_dataset(), asked(), cost=SECONDS, store=store)
    by_words = served(keywords(), asked(), store)
    assert found.per_request["answer"][5] == by_words["answer"][5]
    stages = [[event.name for event in outcome.events if event.kind == "work"] for outcome in found.outcomes]
    assert stages[5] == ["route", "search", "assemble"]  # no chunking, no index within a request


def test_a_cache_behind_the_router_keeps_models_apart(store, monkeypatch, tmp_path):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    rule = ByTenant((Group("small", ("free",)),))
    layers = (Router(rule=rule, routes=(Route("small", dense(k=1)),)), Cache())
    arrivals = [Arrival("red apples", at=10.0 * i, tenant=tenant) for i, tenant in enumerate(["", "free"] * 2)]
    found = served(Service(dense(), layers), arrivals, store)
    assert found["route"].tolist() == ["own", "small"] * 2
    assert found["answer"][0] != found["answer"][1]
    assert found["answer"].tolist()[2:] == found["answer"].tolist()[:2]
    assert len(calls()) == 2


def test_a_cache_of_answers_before_the_router_is_refused(store):
    with pytest.raises(InputError, match="list Router before Cache"):
        served(Service(dense(), (Cache(), Router())), asked(), store)


def test_routers_follow_one_another(store):
    first = Router(rule=SOCIAL, routes=(Route("social"),))
    second = Router(rule=ByTenant((Group("vip", ("gold",)),)), routes=(Route("vip", cheap()),))
    found = served(Service(dense(), (first, second)), asked(tenant="gold"), store)
    assert found["answer"][4] == " [0: thanks]"  # the second one's model, the first one's prompt
    assert found["ms"].tolist() == pytest.approx([415] * 4 + [265, 415])


def test_a_rule_costs_nothing_but_what_it_works_out(store):
    rule = ByTenant((Group("small", ("free",)),))
    found = served(Service(dense(), (Router(rule=rule, routes=(Route("small", cheap()),)),)), asked(), store)
    assert found["ms"].tolist() == pytest.approx([160] * 6)


@given(
    texts=st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=8),
    tenants=st.lists(st.sampled_from(["", "free", "gold"]), min_size=8, max_size=8),
    gaps=st.lists(st.sampled_from([0.0, 0.02, 3.0]), min_size=8, max_size=8),
)
@settings(max_examples=20)
def test_whatever_comes_together_each_gets_its_own_routes_answer(shared_store, texts, tenants, gaps):
    rule = ByTenant((Group("small", ("free",)), Group("direct", ("gold",))))
    router = Router(rule=rule, routes=(Route("small", dense(k=1)), Route("direct")))
    arrivals, at = [], 0.0
    for text, tenant, gap in zip(texts, tenants, gaps, strict=False):
        at += gap
        arrivals.append(Arrival(text, at=at, tenant=tenant))
    found = served(Service(dense(), (router, Cache())), arrivals, shared_store, cores=2)
    alone = {
        "own": served(dense(), arrivals, shared_store),
        "small": served(dense(k=1), arrivals, shared_store),
    }
    for i, name in enumerate(found["route"]):
        expected = f" [0: {arrivals[i].text}]" if name == "direct" else alone[name]["answer"][i]
        assert found["answer"][i] == expected


def test_a_classifier_shares_the_pipelines_embedding_and_learns_before_the_first_request(store):
    examples = (Example("thanks a lot", "social"), Example("thanks", "social"), Example("red apples", "question"))
    layers = (Router(rule=Classifier(examples), routes=(Route("social"),)),)
    found = replay(Service(dense(), layers), small_dataset(), asked(), cost=SECONDS, store=store)
    stages = [[event.name for event in outcome.events if event.kind == "work"] for outcome in found.outcomes]
    assert found.per_request["route"][0] == "question"
    assert stages[0] == ["embed", "route", "search", "assemble"]
    assert found.per_request["route"][4] == "social"
    assert stages[4] == ["embed", "route", "assemble"]
    assert found.per_request["ms"].tolist()[0] == pytest.approx(165)
    own = Router(rule=Classifier(examples, embedder=HashedWords(dimensions=32)), routes=(Route("social"),))
    twice = replay(Service(dense(), (own,)), small_dataset(), asked(), cost=SECONDS, store=store)
    assert twice.per_request["ms"].tolist()[0] == pytest.approx(215)


def test_a_classifier_without_any_embedding_is_refused_before_the_first_request(store):
    with pytest.raises(InputError, match="the variant embeds no question; name an embedder"):
        served(Service(dense(retrieve=BM25(k=3)), (Router(rule=Classifier()),)), asked(), store)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"at": "retrieve"}, "it stands at 'answer'"),
        ({"routes": (Route("smiple"),)}, "never says 'smiple'; did you mean 'simple'"),
        ({"routes": (Route("simple"), Route("simple", dense()))}, "two routes are named 'simple'"),
    ],
)
def test_wrong_routes_are_refused(wrong, what):
    with pytest.raises(InputError, match=what):
        Router(**wrong)
    with pytest.raises(InputError, match="no name"):
        Route("")


def test_a_route_changes_the_services_identity():
    kinds = [
        Router(),
        Router(rule=SOCIAL),
        Router(routes=(Route("simple"),)),
        Router(routes=(Route("simple", Echo()),)),
    ]
    assert len({Service(dense(retrieve=Dense(HashedWords())), (kind,)).fingerprint for kind in kinds}) == 4
