from __future__ import annotations

import asyncio
import functools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obedient import Obedient, served
from toys import CALLS, Echo, calls, dense, hybrid, keywords, small_dataset

import evalkit
from evalkit import InputError, Service
from evalkit.columns import Ragged, Strings
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival, Cache
from evalkit.serving.keeping.keys import context, normalise
from evalkit.serving.state.levels import Levels
from evalkit.serving.state.memory import Memory
from evalkit.serving.state.sqlite import SQLite
from evalkit.values import Prompts

replay = functools.partial(evalkit.replay, keep=True)

APPLES = "red apples"


def at(*times: float, text: str = APPLES, **more: Any) -> list[Arrival]:
    return [Arrival(text, at=t, **more) for t in times]


def looks(found: Any, place: str = "answer", name: str = "cache") -> list[str]:
    return found.per_request[f"{name}[{place}]"].tolist()


def asked(service: Any, arrivals: list[Arrival], store: Any, **more: Any) -> Any:
    return replay(service, more.pop("data", small_dataset()), arrivals, store=store, **{"cost": {}, **more})


@pytest.fixture(params=["memory", "sqlite", "levels"])
def storage(request, tmp_path):
    file = SQLite(path=str(tmp_path / "state.sqlite"))
    return {"memory": Memory(), "sqlite": file, "levels": Levels((Memory(), file))}[request.param]


# how long an entry lives


@pytest.mark.parametrize("write", ["before", "behind"])
def test_an_entry_lives_from_its_making_and_hits_do_not_renew_it(store, storage, write):
    found = served(store, [Cache(ttl=10, storage=storage, write=write)], *at(0, 6, 9.75, 10, 15, 19.75, 20))
    assert looks(found) == ["miss", "hit", "hit", "miss", "hit", "hit", "miss"]
    made = found.per_request["made_by"].fillna("").tolist()
    assert made == ["", "0", "0", "", "3", "3", ""]
    assert found.per_request["cache[answer] age"].dropna().tolist() == [6, 9.75, 5, 9.75]


def test_an_entry_is_made_when_its_answer_is_there_not_when_it_was_asked_for(store):
    found = served(store, [Cache(ttl=10)], *at(0, 17.75, 18, text="red apples 8s"))
    assert looks(found) == ["miss", "hit", "miss"]


def test_a_ttl_of_zero_keeps_nothing_and_none_keeps_for_ever(store, storage):
    assert looks(served(store, [Cache(ttl=0, storage=storage)], *at(0, 0, 1))) == ["miss"] * 3
    assert looks(served(store, [Cache(ttl=None, storage=storage)], *at(0, 1e6))) == ["miss", "hit"]


def test_an_outer_cache_makes_no_answer_younger_than_it_is(store):
    layers = [Cache(ttl=8), Cache(ttl=10)]
    found = served(store, layers, *at(0, 9, 11))
    # at 9 the inner one gives what was made at 0; were that new to the outer one, it would give it at 11
    assert looks(found) == ["miss", "hit", "miss"]
    assert found.per_request["made_by"].fillna("").tolist() == ["", "0", ""]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", ""]), st.sampled_from(["red", "RED ", "pears"]), st.integers(0, 3)),
        min_size=4,
        max_size=16,
    ),
    st.none() | st.integers(0, 6),
    st.booleans(),
)
@settings(max_examples=40)
def test_the_cache_is_a_dictionary_by_tenant_and_question_whose_entries_age(shared_store, steps, ttl, behind):
    now, arrivals = 0, []
    for tenant, text, wait in steps:
        now += 1 + wait
        arrivals.append(Arrival(text, at=float(now), tenant=tenant))
    layer = Cache(ttl=ttl, write="behind" if behind else "before")
    found = served(shared_store, [layer], *arrivals).per_request
    kept: dict[tuple[str, str], tuple[float, str]] = {}
    for i, arrival in enumerate(arrivals):
        key = (arrival.tenant, normalise(arrival.text))
        made, answer = kept.get(key, (0.0, None))
        if answer is not None and (ttl is None or arrival.at - made < ttl):
            assert (found["cache[answer]"][i], found["answer"][i]) == ("hit", answer)
        else:
            assert found["cache[answer]"][i] == "miss"
            kept[key] = (arrival.at, found["answer"][i])


# what shares an entry


def test_tenants_never_share_and_users_of_one_tenant_do(store, storage):
    arrivals = [
        Arrival(APPLES, at=float(i), tenant=tenant, user=user)
        for i, (tenant, user) in enumerate([("a", "x"), ("b", "x"), ("", "x"), ("a", "y")])
    ]
    assert looks(served(store, [Cache(storage=storage)], *arrivals)) == ["miss", "miss", "miss", "hit"]


def test_vectors_are_shared_by_tenants_and_by_services_but_only_for_the_text_as_it_stands(store, tmp_path):
    layer = Cache("embed", storage=SQLite(path=str(tmp_path / "state.sqlite")))
    arrivals = [*at(0, tenant="a"), *at(2, tenant="b"), *at(4, text="Red apples"), *at(6, text="red  apples")]
    found = asked(Service(dense(), (layer,)), arrivals, store, cost={"embed": 1.0})
    assert looks(found, "embed") == ["miss", "hit", "miss", "miss"]
    assert found.per_request["ms"].tolist() == [1000, 0, 1000, 1000]
    other = asked(Service(dense(generate=Echo(cost=1.0)), (layer,)), at(100), store)
    assert looks(other, "embed") == ["hit"]
    another_model = dense(retrieve=type(dense().retrieve)(type(dense().retrieve.embedder)(dimensions=32), k=3))
    assert looks(asked(Service(another_model, (layer,)), at(200), store), "embed") == ["miss"]


@pytest.mark.parametrize("place", ["answer", "prompt", "retrieve"])
def test_services_that_differ_share_nothing_in_one_file_and_equal_ones_do(store, tmp_path, place):
    layer = Cache(place, storage=SQLite(path=str(tmp_path / "state.sqlite")))
    for variant in (keywords(), keywords(k=1), hybrid(), dense(generate=Echo(cost=1.0)), dense()):
        assert looks(asked(Service(variant, (layer,)), at(0, 5), store), place) == ["miss", "hit"]
    again = asked(Service(keywords(), (layer,)), at(1), store)
    assert looks(again, place) == ["hit"]
    if place == "answer":
        assert again.per_request["made_by"].tolist() == ["another run: 0"]
        later = asked(Service(keywords(), (layer,)), at(2, 3), store)
        assert later.per_request["made_by"].tolist() == ["another run: 0"] * 2


def test_one_kind_of_cache_does_not_read_what_another_wrote(store, tmp_path):
    file = SQLite(path=str(tmp_path / "state.sqlite"))
    layers = [Cache(only="precomputed", storage=file), Cache(storage=file)]
    found = served(store, layers, *at(0, 1), *at(2, text="pears fall"), warm=at(0))
    assert looks(found, name="precomputed") == ["hit", "hit", "miss"]
    assert looks(found)[2] == "miss"


def test_a_call_that_is_tried_again_gets_no_kept_answer_of_the_try_before(store):
    @dataclass(frozen=True)
    class Again:
        at: str = "answer"

        def start(self, serving: Any) -> Any:
            async def handle(request: Any, go_on: Any) -> Any:
                first = await go_on(request)
                request.sample += 1
                second = await go_on(request)
                request.note("both", f"{first.text[0]} / {second.text[0]}")
                return second

            return handle

    service = Service(dense(retrieve=keywords().retrieve, generate=Obedient()), (Again(), Cache()))
    found = asked(service, at(0, 1, text="red says=one else two"), store)
    assert found.per_request["both"].tolist() == ["one / two"] * 2
    assert looks(found) == ["miss", "hit"]


def test_an_answer_by_its_context_is_asked_for_after_retrieval_and_saves_the_call(store):
    service = Service(keywords(), (Cache(key="context"),))
    found = asked(service, at(0, 10), store, cost={"search": 1.0, "assemble": 1.0, "generate": 4.0})
    assert looks(found) == ["miss", "hit"]
    assert found.per_request["ms"].tolist() == [6000, 2000]


def test_by_its_context_an_answer_ends_with_the_passages_that_it_was_made_from(store):
    events = (Ingestion(5, ("d3",)), Ingestion(15, ("d4",)))  # d3 is red too; d4 is far from the first two
    for key, expected in (("question", ["miss", "hit", "hit"]), ("context", ["miss", "miss", "hit"])):
        service = Service(keywords(k=2), (Cache(key=key, until="nothing"),))
        assert looks(asked(service, at(0, 10, 20), store, events=events)) == expected


def prompts(*passages: str) -> Prompts:
    rows = [list(passages)]
    return Prompts(Strings.of(["q"]), Ragged.of([[""] * len(passages)]), Ragged.of(rows), Ragged.of(rows))


@given(st.lists(st.text(max_size=3), max_size=4), st.randoms(use_true_random=False))
def test_a_context_set_hides_the_order_of_passages_and_nothing_else(passages, random):
    other = random.sample(passages, len(passages))
    assert context(prompts(*passages), ordered=False) == context(prompts(*other), ordered=False)
    assert (context(prompts(*passages)) == context(prompts(*other))) == (passages == other)
    assert context(prompts(*passages), ordered=False) != context(prompts(*passages, "x"), ordered=False)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is it?", "  what   IS\tit? ", True),
        ("Straße", "STRASSE", True),
        ("ﬁne", "fine", True),
        ("cafe\u0301", "café", True),
        ("What is it?", "What is it", False),
        ("form B", "form C", False),
        ("do", "do not", False),
    ],
)
def test_a_question_is_the_same_after_folding_case_form_and_white_space(one, other, same):
    assert (normalise(one) == normalise(other)) == same


@given(st.text())
def test_white_space_before_after_and_between_words_never_counts(text):
    assert normalise(f" \n{text}\t ") == normalise(text)
    assert normalise(text.replace(" ", "  \u00a0")) == normalise(text)


# what is not kept


def test_a_failure_is_never_kept(store):
    found = served(store, [Cache()], *at(0, 1, text="red fails=1"))
    assert looks(found) == ["miss", "miss"]
    assert found.per_request["outcome"].tolist() == ["failed", "failed"]


def test_a_user_who_leaves_leaves_no_entry(store):
    arrivals = [Arrival("red 5s", patience=2), Arrival("red 5s", at=10), Arrival("red 5s", at=20)]
    found = served(store, [Cache()], *arrivals)
    assert looks(found) == ["miss", "miss", "hit"]


def test_what_is_given_in_need_is_not_kept(store):
    @dataclass(frozen=True)
    class InNeed:
        at: str = "answer"

        def start(self, serving: Any) -> Any:
            async def handle(request: Any, go_on: Any) -> Any:
                request.fit = False
                return await go_on(request)

            return handle

    assert looks(served(store, [Cache(), InNeed()], *at(0, 1))) == ["miss", "miss"]


def test_only_what_is_asked_before_the_traffic_is_precomputed(store, storage):
    layer = Cache(only="precomputed", ttl=86_400, storage=storage)
    arrivals = [*at(0, 1), *at(2, 3, text="pears fall"), *at(90_000)]
    found = served(store, [layer], *arrivals, warm=at(0))
    assert looks(found, name="precomputed") == ["hit", "hit", "miss", "miss", "miss"]
    assert found.per_request["hit"].tolist()[0].startswith("precomputed")
    assert found.per_request["made_by"].tolist()[:2] == ["-1", "-1"]


# documents that come and go

RED = (Ingestion(5, (), ("d1",)),)
BLUE = (Ingestion(5, (), ("d4",)),)


@pytest.mark.parametrize("place", ["answer", "prompt"])
@pytest.mark.parametrize(
    ("until", "events", "second"),
    [
        ("nothing", RED, "hit"),
        ("ingestion touches it", RED, "miss"),
        ("ingestion touches it", BLUE, "hit"),
        ("ingestion", RED, "miss"),
        ("ingestion", BLUE, "miss"),
    ],
)
def test_an_entry_ends_with_the_ingestion_that_its_cache_names(store, storage, place, until, events, second):
    service = Service(keywords(k=2), (Cache(place, until=until, storage=storage),))
    found = asked(service, at(0, 1, 10, 11), store, events=events)
    assert looks(found, place) == ["miss", "hit", second, "hit"]
    fresh = asked(keywords(k=2), at(0, 1, 10, 11), store, events=events)
    if until != "nothing":
        assert found.per_request["answer"].tolist() == fresh.per_request["answer"].tolist()


@pytest.mark.parametrize("until", ["nothing", "ingestion touches it", "ingestion"])
def test_a_ranking_never_outlives_its_corpus(store, storage, until):
    service = Service(keywords(k=2), (Cache("retrieve", until=until, storage=storage),))
    found = asked(service, at(0, 1, 10, 11), store, events=BLUE)
    assert looks(found, "retrieve") == ["miss", "hit", "miss", "hit"]
    fresh = asked(keywords(k=2), at(0, 1, 10, 11), store, events=BLUE)
    assert found.per_request["answer"].tolist() == fresh.per_request["answer"].tolist()


@pytest.mark.parametrize("write", ["before", "behind"])
@pytest.mark.parametrize("until", ["nothing", "ingestion touches it", "ingestion"])
def test_a_request_that_was_under_way_keeps_nothing_of_the_old_corpus(store, storage, until, write):
    service = Service(
        dense(retrieve=keywords(k=2).retrieve, generate=Obedient()),
        (Cache(until=until, write=write, storage=storage),),
    )
    found = asked(service, at(0, 20, 40, text="red apples 10s"), store, events=RED)
    assert looks(found) == ["miss", "miss", "hit"]
    fresh = asked(service.variant, at(0, 20, 40, text="red apples 10s"), store, events=RED)
    assert found.per_request["answer"].tolist() == fresh.per_request["answer"].tolist()


@dataclass(frozen=True)
class Odd:
    """A storage that another one stands behind: it forgets to drop, or takes its time to write."""

    inner: Any = field(default_factory=Memory)
    drops: bool = True
    seconds: float = 0.0

    def open(self, space: str, serving: Any) -> Any:
        state = self.inner.open(space, serving)
        outer = self

        class State:
            def __init__(self) -> None:
                self.counts: Counter[str] = Counter()

            def __getattr__(self, name: str) -> Any:
                return getattr(state, name)

            async def put(self, key: str, entry: Any) -> None:
                await asyncio.sleep(outer.seconds)
                await state.put(key, entry)

            async def drop(self, tag: str) -> int:
                return await state.drop(tag) if outer.drops else 0

            async def clear(self) -> int:
                return await state.clear() if outer.drops else 0

        return State()


@pytest.mark.parametrize("until", ["ingestion touches it", "ingestion"])
def test_an_entry_that_could_not_be_dropped_is_not_given(store, until):
    layer = Cache(until=until, storage=Odd(drops=False))
    found = asked(Service(keywords(k=2), (layer,)), at(0, 1, 10, 11), store, events=RED)
    assert looks(found) == ["miss", "hit", "miss", "hit"]


def test_a_write_that_an_ingestion_overtakes_gives_nothing_old(store):
    layer = Cache(until="ingestion touches it", storage=Odd(seconds=3))
    found = asked(Service(keywords(k=2), (layer,)), at(3, 10, 14), store, events=RED)  # written at 6, dropped at 5
    assert looks(found) == ["miss", "miss", "hit"]


@pytest.mark.parametrize("until", ["ingestion touches it", "ingestion"])
def test_an_entry_of_another_run_with_other_documents_is_not_given(store, tmp_path, until):
    layer = Cache(until=until, storage=SQLite(path=str(tmp_path / "state.sqlite")))
    service = Service(keywords(k=2), (layer,))
    assert looks(asked(service, at(0, 1), store)) == ["miss", "hit"]
    other = small_dataset(documents={"d1": "red apples rot", "d2": "green pears fall"}, qrels={"q1": {"d1": 1}})
    found = asked(service, at(2, 3), store, data=other)
    assert looks(found) == ["miss", "hit"]
    assert all(answer.startswith("red apples rot") for answer in found.per_request["answer"])


# what a hit and a write cost, and what they say


def test_a_write_behind_the_answer_is_waited_for_by_nobody_and_done_before_the_service_ends(store, tmp_path):
    file = SQLite(path=str(tmp_path / "state.sqlite"))
    ms = {}
    for write in ("before", "behind"):
        found = served(store, [Cache(write=write, storage=Odd(file, seconds=3))], *at(0, 1, 4))
        assert looks(found) == ["miss", "miss", "hit"]
        ms[write] = found.per_request["ms"].tolist()
    assert ms == {"before": [3000, 3000, 0], "behind": [0, 0, 0]}
    assert looks(served(store, [Cache(storage=Odd(file, seconds=3))], *at(5))) == ["hit"]


def test_a_hit_names_its_level_and_counts_in_the_state(store, tmp_path):
    storage = Levels((Memory(), SQLite(path=str(tmp_path / "state.sqlite"))))
    served(store, [Cache(storage=storage)], *at(0))
    found = served(store, [Cache(storage=storage)], *at(1, 2)).per_request
    assert found["cache[answer] level"].tolist() == ["SQLite", "Memory"]
    assert found["hit"].tolist() == ["cache: SQLite", "cache: Memory"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": "chunks"},
        {"at": "generate"},
        {"ttl": -1},
        {"ttl": float("nan")},
        {"key": "answer"},
        {"key": "context", "at": "retrieve"},
        {"until": "tomorrow"},
        {"write": "never"},
        {"only": "warm"},
    ],
    ids=str,
)
def test_a_cache_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match=r"^Cache: .*") as caught:
        Cache(**wrong)
    assert "\n" not in str(caught.value)


def test_a_hit_calls_no_model(store, monkeypatch, tmp_path):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    asked(Service(keywords(), (Cache(),)), at(0, 1, 2), store)
    assert calls() == [APPLES]
