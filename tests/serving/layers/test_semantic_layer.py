from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from near import APPLES, MORE, adds, asked, looks, similarities
from toys import HashedWords, SlowWords, count_calls, dense, hybrid, keywords, small_dataset

import evalkit
from evalkit import InputError, Service
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival
from evalkit.serving.keeping.invalidation import Invalidation
from evalkit.serving.layers.semantic import SemanticCache
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.state.memory import Memory
from evalkit.serving.state.sqlite import SQLite
from evalkit.similarity import cosine
from evalkit.stages import MultiQuery
from evalkit.values import Answer

replay = functools.partial(evalkit.replay, keep=True)


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    return {"memory": Memory(), "sqlite": SQLite(path=str(tmp_path / "state.sqlite"))}[request.param]


# whose vectors


def test_the_question_is_embedded_once_a_request(store, monkeypatch):
    counted = count_calls(monkeypatch, HashedWords)
    for variant in (dense(), hybrid()):
        replay(Service(variant), small_dataset(), [Arrival(APPLES)], store=store, cost={})
        without = counted.pop("HashedWords")
        asked(store, [SemanticCache()], APPLES, variant=variant)
        assert counted.pop("HashedWords") <= without


def test_a_variant_without_embeddings_needs_an_embedder_and_says_so(store):
    with pytest.raises(
        InputError, match=r"^SemanticCache: the variant's retrieval embeds no question; give an embedder$"
    ):
        asked(store, [SemanticCache()], APPLES, variant=keywords())
    layer = SemanticCache(rule=Threshold(0.8), embedder=HashedWords())
    assert looks(asked(store, [layer], APPLES, MORE, variant=keywords())) == ["miss", "hit"]


def test_one_embedder_before_the_cache_and_another_for_retrieval(store):
    variant = dense(retrieve=replace(dense().retrieve, embedder=SlowWords(pause=0)))
    layer = SemanticCache(rule=Threshold(0.8), embedder=HashedWords(dimensions=32))
    found = asked(store, [layer], APPLES, APPLES, variant=variant, gap=9.0, cost={"embed": 1.0})
    assert found.per_request["ms"].tolist() == [2000, 1000]


def test_vectors_of_rewritten_questions_are_not_the_questions(store):
    variant = dense(retrieve=MultiQuery(dense().retrieve))
    found = asked(store, [SemanticCache(rule=Threshold(0.8))], APPLES, MORE, variant=variant)
    one, other = HashedWords().encode([APPLES, MORE])
    assert similarities(found)[1] == float(cosine(one[None], other)[0])


# fields


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"at": "prompt"}, "at is 'prompt'"),
        ({"index": "ivf"}, "index is 'ivf'"),
        ({"guard": "day"}, "guard is 'day'"),
        ({"at": "retrieve", "guard": "none"}, "a ranking holds for one corpus"),
        ({"at": "retrieve", "rule": Verified()}, "Verified compares answers"),
        ({"m": 1}, "m must be at least 2"),
        ({"ttl": -1.0}, "ttl is -1"),
        ({"until": "tomorrow"}, "until is 'tomorrow'"),
    ],
)
def test_fields_that_cannot_be_are_refused_in_one_line(fields, told):
    with pytest.raises(InputError, match=r"^SemanticCache: ") as refused:
        SemanticCache(**fields)
    assert told in str(refused.value)


# rankings


def test_rankings_may_be_kept_too_and_never_outlive_their_corpus(store):
    layer = SemanticCache("retrieve", rule=Threshold(0.8))
    found = asked(store, [layer], APPLES, MORE, MORE, variant=dense(k=1), events=adds("d2"), cost={"search": 1.0})
    assert looks(found) == ["miss", "hit", "miss"]
    assert found.per_request["ms"].tolist() == [1000, 0, 1000]
    assert found.per_request["answer"].map(lambda text: text.endswith(MORE + "]")).tolist() == [False, True, True]


# verified


@dataclass(frozen=True)
class ByFirstWord:
    """A model that gives one answer to all questions that begin alike."""

    version = 1
    stage = "generate"

    async def __call__(self, prompt: Any, sample: int, clock: Any) -> Answer:
        return Answer(f"about {prompt.question.split()[0]}", prompt.sources[:1])


def verified(store: Any, questions: list[str], rule: Any = None, **more: Any) -> Any:
    layer = SemanticCache(rule=rule or Verified(error=0.1, floor=0.5), **more)
    return asked(store, [layer], *questions, variant=dense(generate=ByFirstWord()))


def test_a_verified_entry_is_explored_first_and_given_once_it_was_right_often_enough(store, storage):
    questions = [f"apples red grow n{i % 7}" for i in range(80)]
    found = verified(store, questions, storage=storage)
    said = looks(found)
    assert said[:3] == ["miss", "explore", "explore"]
    assert said[40:].count("hit") > 30
    assert {o.notes["made_by"] for o in found.outcomes if "hit" in o.notes} == {
        "0"
    }  # right answers made no second entry


def test_an_entry_that_is_wrong_for_its_neighbours_is_never_given_to_them(store):
    questions = ["apples red grow here", *(f"pears{i} red grow here" for i in range(40))]
    found = verified(store, questions)
    assert "hit" not in looks(found)
    assert [a.split()[1] for a in found.per_request["answer"]] == [q.split()[0] for q in questions]


def test_a_verified_run_repeats_to_the_bit_and_its_seed_is_another_draw(store):
    questions = [f"apples red grow n{i % 7}" for i in range(60)]
    runs = [verified(store, questions, Verified(0.1, floor=0.5, seed=seed)) for seed in (0, 0, 1, 2)]
    assert runs[0].per_request.equals(runs[1].per_request)
    assert len({tuple(looks(run)) for run in runs}) > 1


def test_what_was_seen_of_an_entry_outlives_the_run_and_is_there_to_read(store, tmp_path):
    storage = SQLite(path=str(tmp_path / "state.sqlite"))
    rule = Verified(error=0.1, floor=0.5)
    layer = SemanticCache(rule=rule, storage=storage, ttl=None)
    variant = dense(generate=ByFirstWord())
    questions = [f"apples red grow n{i % 7}" for i in range(10)]
    first = asked(store, [layer], *questions, variant=variant)
    (found,) = Invalidation(Service(variant, (layer,))).find()
    explored = [o.notes["similarity"] for o in first.outcomes if o.notes["semantic"] == "explore"]
    seen: list[list[int]] = []
    for similarity in explored:
        seen = rule.observed(similarity, seen, True)
    assert found.about["seen"] == json.loads(json.dumps(seen))
    later = asked(store, [layer], *questions * 3, variant=variant)
    assert looks(later).count("hit") > 15


def test_observations_made_at_once_are_all_written_down(store, tmp_path):
    layer = SemanticCache(
        rule=Verified(error=0.01, floor=0.5), storage=SQLite(path=str(tmp_path / "state.sqlite")), ttl=None
    )
    variant = dense(generate=ByFirstWord())
    crowd = [Arrival("apples red grow", at=0.0), *(Arrival(f"apples red grow n{i}", at=1.0) for i in range(9))]
    found = asked(store, [layer], *crowd, variant=variant)
    explored = looks(found).count("explore")
    assert explored >= 8
    (entry,) = Invalidation(Service(variant, (layer,))).find()
    assert sum(yes + no for _, _, yes, no in entry.about["seen"]) == explored


def test_a_look_up_that_waits_for_a_core_has_waited_for_a_core(store):
    crowd = [Arrival(APPLES, at=0.0), *(Arrival(APPLES, at=10.0) for _ in range(4))]
    layer = SemanticCache(guard="none", until="nothing")
    seen = evalkit.replay(
        Service(dense(), (layer,)), small_dataset(), crowd, cost={"lookup": 1.0}, cores=1, store=store
    )
    rows = seen.per_request
    assert rows["semantic"].tolist() == ["miss", "hit", "hit", "hit", "hit"]
    assert rows["queue_ms"].tolist()[1:] == [0.0, 1000.0, 2000.0, 3000.0]
    assert rows["ms[lookup]"].tolist()[1:] == [1000.0] * 4


@dataclass(frozen=True)
class Late:
    """A storage that takes its time to write."""

    inner: Any = field(default_factory=Memory)

    def open(self, space: str, serving: Any) -> Any:
        state = self.inner.open(space, serving)
        put = state.put

        async def late(key: str, entry: Any) -> None:
            await asyncio.sleep(3)
            await put(key, entry)

        state.put = late
        return state


@pytest.mark.parametrize(("write", "ms"), [("behind", 0.0), ("before", 3000.0)])
def test_what_is_learnt_is_written_beside_the_answer_or_before_it_as_the_cache_says(store, write, ms):
    layer = SemanticCache(rule=Verified(error=0.01, floor=0.5), storage=Late(), ttl=None, write=write)
    asked_twice = [Arrival(APPLES, at=0.0), Arrival(APPLES, at=100.0)]
    found = evalkit.replay(Service(dense(), (layer,)), small_dataset(), asked_twice, cost={}, store=store).per_request
    assert found["semantic"].tolist() == ["miss", "explore"]
    assert found["ms"].tolist()[1] == ms


def test_what_an_ingestion_does_not_touch_stays_though_nobody_had_looked_it_up_before(store):
    cache = SemanticCache(guard="none", rule=Threshold(0.9))
    arrivals = [Arrival("green pears", at=1.0), Arrival("green pears", at=30.0)]
    news = [Ingestion(20.0, (), ("d4",))]
    found = evalkit.replay(
        Service(dense(k=1), (cache,)), small_dataset(), arrivals, events=news, cost={}, store=store
    ).per_request
    assert list(found["semantic"]) == ["miss", "hit"]
