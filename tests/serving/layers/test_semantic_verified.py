from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from near import APPLES, MORE, asked, looks
from toys import dense

from evalkit import Service
from evalkit.serving import Arrival
from evalkit.serving.layers.invalidation import Invalidation
from evalkit.serving.layers.semantic import SemanticCache
from evalkit.serving.semantic.decisions import Threshold, Verified
from evalkit.serving.state.memory import Memory
from evalkit.serving.state.sqlite import SQLite
from evalkit.values import Answer


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    return {"memory": Memory(), "sqlite": SQLite(path=str(tmp_path / "state.sqlite"))}[request.param]


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
