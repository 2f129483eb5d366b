from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near import APPLES, MORE, PEARS, adds, asked, looks, similarities
from obedient import Obedient
from toys import HashedWords, dense

from evalkit import Service
from evalkit.datasets.traffic import Ingestion
from evalkit.serving import Arrival
from evalkit.serving.keeping.invalidation import Invalidation
from evalkit.serving.layers.cache import Cache
from evalkit.serving.layers.semantic import SemanticCache
from evalkit.serving.semantic import index
from evalkit.serving.semantic.decisions import Threshold
from evalkit.serving.semantic.index import Exact
from evalkit.serving.state.memory import Memory
from evalkit.serving.state.sqlite import SQLite
from evalkit.similarity import cosine
from evalkit.stages import SentenceTransformer


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    return {"memory": Memory(), "sqlite": SQLite(path=str(tmp_path / "state.sqlite"))}[request.param]


# what is a hit


def test_a_near_question_gets_the_answer_of_the_one_before_and_a_far_one_its_own(store, storage):
    found = asked(store, [SemanticCache(rule=Threshold(0.8), storage=storage)], APPLES, MORE, PEARS)
    rows = found.per_request
    assert looks(found) == ["miss", "hit", "miss"]
    assert rows["answer"][1] == rows["answer"][0] != rows["answer"][2]
    assert rows["hit"].fillna("").tolist() == ["", "SemanticCache", ""]
    assert rows["made_by"].fillna("").tolist() == ["", "0", ""]
    first, second, third = HashedWords().encode([APPLES, MORE, PEARS])
    assert similarities(found) == [None, float(cosine(first[None], second)[0]), float(cosine(first[None], third)[0])]


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_the_threshold_itself_is_near_enough_and_the_next_number_is_not(store, kind):
    one, other = HashedWords().encode([APPLES, MORE])
    similarity = float(cosine(one[None], other)[0])
    for at, said in [(similarity, "hit"), (math.nextafter(similarity, 1), "miss")]:
        found = asked(store, [SemanticCache(rule=Threshold(at), index=kind)], APPLES, MORE)
        assert looks(found) == ["miss", said]


def test_a_cosine_of_1_gives_equal_vectors_only_and_one_of_0_whatever_is_nearest(store):
    twins = (APPLES, "Red apples, grow!", MORE)  # the toy embedder sees neither case nor commas
    assert looks(asked(store, [SemanticCache(rule=Threshold(1.0))], *twins)) == ["miss", "hit", "miss"]
    assert looks(asked(store, [SemanticCache(rule=Threshold(0.0))], *twins, PEARS)) == ["miss", "hit", "hit", "hit"]


def test_one_run_says_what_every_other_threshold_would_have_given(store):
    """The first question alone is kept, since all others are hits of it; their similarities say the rest."""
    questions = [APPLES, MORE, "red apples grow and fall", "apples fall", PEARS]
    wide = asked(store, [SemanticCache(rule=Threshold(0.0))], *questions)
    nearest = similarities(wide)
    assert nearest[0] is None
    for at in (0.5, 0.7, 0.8, 0.95):
        narrow = asked(
            store, [SemanticCache(rule=Threshold(at), only="precomputed")], *questions[1:], warm=[Arrival(APPLES)]
        )
        assert looks(narrow) == ["hit" if s >= at else "miss" for s in nearest[1:]]
        assert similarities(narrow) == nearest[1:]


def test_of_two_equally_near_the_older_entry_is_given(store):
    layer = SemanticCache(rule=Threshold(0.7))
    found = asked(store, [layer], "apples red", "apples green", "apples red green")
    assert looks(found)[:2] == ["miss", "miss"]
    assert found.per_request["made_by"][2] == "0"


# what an entry never crosses


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "a", "b"]), st.sampled_from([APPLES, MORE, PEARS]), st.sampled_from(["c", "d"])
        ),
        min_size=2,
        max_size=12,
    )
)
@settings(max_examples=25)
def test_no_answer_crosses_tenants(shared_store, steps):
    arrivals = [Arrival(text, at=float(i), tenant=tenant, user=user) for i, (tenant, text, user) in enumerate(steps)]
    found = asked(shared_store, [SemanticCache(rule=Threshold(0.0), until="nothing", guard="none")], *arrivals)
    first: dict[str, str] = {}
    for outcome in found.outcomes:
        tenant = outcome.arrival.tenant
        assert outcome.notes["semantic"] == ("hit" if tenant in first else "miss")
        assert outcome.notes.get("made_by", str(outcome.number)) == first.setdefault(tenant, str(outcome.number))


def test_models_prompts_and_layers_share_nothing_even_in_one_file(store, tmp_path):
    layer = SemanticCache(rule=Threshold(0.0), guard="none", storage=SQLite(path=str(tmp_path / "s.sqlite")))
    for variant, layers in [
        (dense(), [layer]),
        (dense(generate=Obedient("one")), [layer]),
        (dense(generate=Obedient("other")), [layer]),
        (dense(k=1), [layer]),
        (dense(), [layer, Cache("retrieve")]),
    ]:
        assert looks(asked(store, layers, APPLES, variant=variant)) == ["miss"]
    again = asked(store, [layer], MORE)
    assert looks(again) == ["hit"]
    assert again.per_request["made_by"][0] == "another run: 0"


# guards, time, ingestion


@pytest.mark.parametrize(
    ("guard", "until", "said"),
    [
        ("corpus", "nothing", "miss"),
        ("none", "nothing", "hit"),
        ("none", "ingestion", "miss"),
        ("none", "ingestion touches it", "hit"),
    ],
)
def test_what_documents_that_come_do_to_an_entry_is_the_guards_and_untils(store, storage, guard, until, said):
    layer = SemanticCache(rule=Threshold(0.8), guard=guard, until=until, storage=storage)
    found = asked(store, [layer], APPLES, APPLES, MORE, APPLES, events=adds("d2"), variant=dense(k=1))
    assert looks(found) == ["miss", "hit", said, "hit"]


def test_an_entry_goes_with_a_document_that_its_prompt_held(store, storage):
    layer = SemanticCache(rule=Threshold(0.8), guard="none", storage=storage)
    gone = [Ingestion(1.5, added=(), removed=("d1",))]
    assert looks(asked(store, [layer], APPLES, APPLES, APPLES, events=gone)) == ["miss", "hit", "miss"]


def test_with_the_context_as_guard_another_set_of_documents_is_a_miss_and_retrieval_is_always_done(store):
    layer = SemanticCache(rule=Threshold(0.3), guard="context")
    questions = ("red apples grow", "grow apples red", "green pears fall")
    found = asked(
        store, [layer], *questions, variant=dense(k=1), gap=9.0, cost={"search": 1.0, "embed": 0.25, "generate": 4.0}
    )
    assert looks(found) == ["miss", "hit", "miss"]
    assert found.per_request["ms"].tolist() == [5250, 1250, 5250]
    before = asked(
        store, [replace(layer, guard="corpus")], *questions[:2], gap=9.0, cost={"search": 1.0, "embed": 0.25}
    )
    assert before.per_request["ms"].tolist() == [1250, 250]


def test_an_entry_lives_from_its_making_and_hits_do_not_renew_it(store, storage):
    layer = SemanticCache(rule=Threshold(0.8), ttl=10, storage=storage)
    found = asked(store, [layer], *(Arrival(APPLES, at=t) for t in (0.0, 6.0, 9.75, 10.0, 19.75, 20.0)))
    assert looks(found) == ["miss", "hit", "hit", "miss", "hit", "miss"]
    assert found.per_request["SemanticCache[answer] age"].dropna().tolist() == [6, 9.75, 9.75]
    assert looks(asked(store, [replace(layer, ttl=0)], APPLES, APPLES)) == ["miss", "miss"]


def test_by_default_an_entry_lives_a_day(store):
    day = 86_400.0
    found = asked(store, [SemanticCache()], *(Arrival(APPLES, at=t) for t in (0.0, day - 1, day)))
    assert looks(found) == ["miss", "hit", "miss"]


# the index and the state


def test_what_the_state_evicted_is_a_miss_and_the_next_nearest_is_given_in_its_place(store):
    texts = ["apples red grow", "apples red", "plums", "apples red grow here"]
    first, second, third, last = HashedWords().encode(texts)
    layer = SemanticCache(rule=Threshold(0.95), write="before")
    seen = []
    for size in range(500, 15_000, 500):
        found = asked(store, [replace(layer, storage=Memory(max_bytes=size))], *texts)
        assert looks(found) == ["miss"] * 4
        seen.append(similarities(found)[3])
    expected = [None, *(float(cosine(nearest[None], last)[0]) for nearest in (third, second, first))]
    assert list(dict.fromkeys(seen)) == expected  # room for no entry, for the last one, for two, for three


def test_the_index_is_made_anew_from_what_another_run_left(store, tmp_path):
    storage = SQLite(path=str(tmp_path / "state.sqlite"))
    layer = SemanticCache(rule=Threshold(0.8), storage=storage)
    texts = [APPLES, "green pears fall", "who judges plums"]
    asked(store, [layer], *texts)
    again = asked(store, [layer], *reversed(texts), MORE, start=50.0)
    assert looks(again) == ["hit"] * 4
    assert again.per_request["made_by"].tolist() == [f"another run: {n}" for n in (2, 1, 0, 0)]


def test_a_poisoned_entry_is_found_by_its_words_and_taken_out(store, tmp_path):
    layer = SemanticCache(rule=Threshold(0.8), storage=SQLite(path=str(tmp_path / "state.sqlite")), ttl=None)
    asked(store, [layer], APPLES, PEARS)
    entries = Invalidation(Service(dense(), (layer,)))
    (poisoned,) = entries.find(text=APPLES)
    assert entries.delete(poisoned, "poisoned") == 1
    assert looks(asked(store, [layer], MORE, PEARS, start=50.0)) == ["miss", "hit"]


def test_hits_are_counted_with_the_time_of_the_last_one(store, tmp_path):
    layer = SemanticCache(rule=Threshold(0.8), storage=SQLite(path=str(tmp_path / "state.sqlite")), ttl=None)
    asked(store, [layer], APPLES, MORE, MORE, PEARS)
    found = Invalidation(Service(dense(), (layer,))).find()
    assert {f.about["question"]: (f.entry.hits, f.entry.last_hit) for f in found} == {
        APPLES: (2, 2.0),
        PEARS: (0, None),
    }


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_many_entries_that_come_and_go_are_what_a_search_through_all_would_find(shared_store, monkeypatch, kind):
    """Entries are evicted all the time, indexes swept and made anew; every hit and similarity is the model's."""
    monkeypatch.setattr(index, "SMALL", 24)
    monkeypatch.setattr("evalkit.serving.semantic.entries._SWEEP", 30)
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(14)]
    texts = [" ".join(words[int(w)] for w in rng.integers(0, 14, rng.integers(1, 5))) for _ in range(240)]
    arrivals = [Arrival(text, at=float(i)) for i, text in enumerate(texts)]
    layer = SemanticCache(rule=Threshold(0.9), index=kind, ttl=100, write="before", ef=200)
    found = asked(shared_store, [layer], *arrivals)
    vectors, kept = HashedWords().encode(texts), {}
    for i, outcome in enumerate(found.outcomes):
        alive = {text: number for text, number in kept.items() if i - number < 100}
        scored = [(-float(cosine(vectors[n][None], vectors[i])[0]), n) for n in alive.values()]
        nearest = min(scored) if scored else None
        assert outcome.notes.get("similarity") == (None if nearest is None else -nearest[0])
        if nearest is not None and -nearest[0] >= 0.9:
            assert (outcome.notes["semantic"], outcome.notes["made_by"]) == ("hit", str(nearest[1]))
        else:
            assert outcome.notes["semantic"] == "miss"
            kept[texts[i]] = i
    assert 20 < looks(found).count("hit") < 220


def test_many_at_once_are_answered_and_one_who_leaves_leaves_nothing_behind(store, storage):
    layer = SemanticCache(rule=Threshold(0.8), storage=storage)
    variant = dense(generate=Obedient("toy"))
    crowd = [Arrival(f"red apples 2s n{i % 3}", at=0.1 * i, patience=1.0 if i == 0 else None) for i in range(12)]
    found = asked(store, [layer], *crowd, Arrival("red apples 2s n0", at=20.0), variant=variant)
    rows = found.per_request
    assert rows["outcome"].tolist() == ["abandoned"] + ["answered"] * 12
    assert looks(found)[1:] == ["miss"] * 11 + ["hit"]
    assert not found.failures


# public pairs


@pytest.mark.slow
def test_hits_and_wrong_hits_on_gptcaches_own_pairs_with_minilm(needs_shared):
    """Its README: 0.95 gives 45.0 % hits, 5.6 % of them wrong; 0.9 gives 88.2 % and 8.7 %; 0.8 99.7 % and 9.2 %.

    Ours are those of MiniLM and a plain cosine: fewer hits at each threshold, and fewer wrong ones.
    """
    pairs = json.loads((needs_shared("gptcache") / "mock_data.json").read_text(encoding="utf-8"))
    model = SentenceTransformer()
    vectors = model.encode([pair["origin"] for pair in pairs])
    nearest = Exact()
    nearest.add_all((f"{i:04}", float(i), vector) for i, vector in enumerate(vectors))
    found = [nearest.nearest(vector)[0] for vector in model.encode([pair["similar"] for pair in pairs])]
    right = np.array([near.key == f"{i:04}" for i, near in enumerate(found)])
    rows = []
    for at in (0.95, 0.9, 0.8):
        hits = np.array([Threshold(at).chance(near.similarity) == 1 for near in found])
        rows.append((hits.mean(), (hits & ~right).sum() / hits.sum()))
    assert len(pairs) == 999
    np.testing.assert_allclose(rows, [(0.396, 0.033), (0.759, 0.057), (0.961, 0.075)], atol=0.005)
