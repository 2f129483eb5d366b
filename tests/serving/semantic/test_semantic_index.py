from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.serving.semantic import index as module
from evalkit.serving.semantic.index import Exact, Graph
from evalkit.similarity import cosine


@pytest.fixture
def small(monkeypatch):
    """Codes and graphs from 40 vectors on, so that both sides of the change are passed."""
    monkeypatch.setattr(module, "SMALL", 40)


def unit(rng, n, d=32, spread=1.0):
    """Clusters, so that much is nearly equally near."""
    centres = rng.standard_normal((max(1, n // 20), d))
    found = centres[rng.integers(len(centres), size=n)] + spread * rng.standard_normal((n, d))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def brute(entries, query, k):
    """Similarity descending, then the older entry, then the key."""
    scored = [(-float(cosine(v[None], query)[0]), made, key) for key, (made, v) in entries.items()]
    return [(key, -score) for score, _, key in sorted(scored)[:k]]


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.sampled_from(["add", "add", "add", "remove", "twin", "replace"]), st.integers(0, 10**6))),
    st.integers(1, 7),
    st.sampled_from([0.05, 1.0]),
)
@settings(max_examples=60)
def test_the_exact_index_is_brute_force_after_any_adding_and_removing(seed, steps, k, spread):
    rng = np.random.default_rng(seed)
    found, kept = Exact(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SMALL", 12)
        patch.setattr(module, "_DEAD", 3)
        start = unit(rng, 30, spread=spread)
        found.add_all((f"s{i}", 0.0, v) for i, v in enumerate(start))
        kept.update({f"s{i}": (0.0, v) for i, v in enumerate(start)})
        for number, (what, at) in enumerate(steps):
            names = sorted(kept)
            name = names[at % len(names)] if names else "none"
            if what == "remove":
                assert found.remove(name) == (name in kept)
                kept.pop(name, None)
                continue
            vector = kept[name][1] if what == "twin" and names else unit(rng, 1, spread=spread)[0]
            key = name if what == "replace" else f"k{number}"
            kept[key] = (float(number // 3), vector)
            found.add(key, *kept[key])
        assert len(found) == len(kept)
        for query in (*unit(rng, 4, spread=spread), *(v for _, v in list(kept.values())[:4])):
            assert [tuple(near) for near in found.nearest(query, k)] == brute(kept, query, k)


@pytest.mark.parametrize("kind", [Exact, Graph])
def test_an_equal_vector_is_exactly_1_and_of_twins_the_older_one_comes_first(kind, small):
    rng = np.random.default_rng(0)
    vectors = unit(rng, 300)
    found = kind()
    found.add_all((f"k{i:03}", float(i), v) for i, v in enumerate(vectors))
    found.add("younger", 900.0, vectors[7])
    found.add("a namesake", 900.0, vectors[7])
    assert found.nearest(vectors[7], 3) == [("k007", 1.0), ("a namesake", 1.0), ("younger", 1.0)]
    found.remove("k007")
    assert [near.key for near in found.nearest(vectors[7], 2)] == ["a namesake", "younger"]


def test_exact_also_where_nothing_is_near_and_all_is_nearly_equally_far(small):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((400, 256)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = {f"k{i}": (float(i), v) for i, v in enumerate(vectors[:380])}
    found = Exact()
    for key, (made, vector) in entries.items():
        found.add(key, made, vector)
    for query in vectors[380:]:
        assert [tuple(near) for near in found.nearest(query, 5)] == brute(entries, query, 5)


def test_vectors_outside_of_the_ranges_that_codes_were_made_for_are_found(small):
    rng = np.random.default_rng(2)
    narrow = unit(rng, 60, spread=0.01)
    entries = {f"k{i}": (float(i), v) for i, v in enumerate(narrow)}
    for i, axis in enumerate(np.eye(32, dtype=np.float32)):
        entries[f"far{i}"] = (100.0, axis)
    found = Exact()
    found.add_all((key, made, v) for key, (made, v) in list(entries.items())[:60])
    for key, (made, vector) in list(entries.items())[60:]:
        found.add(key, made, vector)
    for query in (*np.eye(32, dtype=np.float32)[:5], *unit(rng, 10)):
        assert [tuple(near) for near in found.nearest(query, 3)] == brute(entries, query, 3)


def test_the_graph_finds_most_of_what_is_there_and_nothing_that_was_removed(small):
    rng = np.random.default_rng(3)
    vectors = unit(rng, 1200, spread=0.3)
    entries = {f"k{i}": (float(i), v) for i, v in enumerate(vectors[:1000])}
    found = Graph()
    for key, (made, vector) in entries.items():
        found.add(key, made, vector)
    for key in list(entries)[::3]:
        assert found.remove(key)
        del entries[key]
    right = 0
    for query in vectors[1000:]:
        (near,) = found.nearest(query)
        assert near.key in entries
        assert near.similarity == float(cosine(entries[near.key][1][None], query)[0])
        right += tuple(near) == brute(entries, query, 1)[0]
    assert right >= 190


def test_the_graph_is_the_same_for_the_same_order_of_coming(small):
    rng = np.random.default_rng(4)
    vectors, queries = unit(rng, 600), unit(rng, 50)
    one, other = Graph(ef=4), Graph(ef=4)
    for i, v in enumerate(vectors):
        one.add(f"k{i}", float(i), v)
        other.add(f"k{i}", float(i), v)
    assert [one.nearest(q, 2) for q in queries] == [other.nearest(q, 2) for q in queries]


@pytest.mark.parametrize("kind", [Exact, Graph])
def test_an_index_may_become_empty_and_be_filled_again(kind, small):
    rng = np.random.default_rng(5)
    vectors = unit(rng, 700)
    found = kind()
    for _ in range(2):
        assert found.nearest(vectors[0]) == []
        found.add_all((f"k{i}", 0.0, v) for i, v in enumerate(vectors))
        assert len(found) == 700
        assert all(found.remove(f"k{i}") for i in range(700))
        assert len(found) == 0
        assert not found.remove("k0")
    found.add("last", 0.0, vectors[3])
    assert found.nearest(vectors[3]) == [("last", 1.0)]
