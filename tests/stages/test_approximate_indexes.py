"""Approximate search: an index proposes, exact cosines decide; neither batches nor threads change a bit."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import InputError
from evalkit.evaluate.apply import apply
from evalkit.evaluate.plan import make_plan
from evalkit.metrics.neighbours import neighbour_recall
from evalkit.similarity import cosine
from evalkit.stages.index import HNSW, IVFPQ, Flat, IVFFlat, ScalarQuantised
from evalkit.stages.index.base import one_thread
from evalkit.stages.index.hnsw import distinct
from evalkit.stages.index.ivf import IVFFlatBuild
from evalkit.stages.index.lists import nearest_lists
from evalkit.types import CORPUS, QUERY
from evalkit.values import Vectors

ALL = [
    HNSW(),
    HNSW(m=4, ef_construction=8, ef_search=3),
    IVFFlat(),
    IVFFlat(lists=9, probes=2, trained_on=0.4),
    IVFPQ(rescore=20),
    IVFPQ(lists=9, probes=2, subvectors=5, bits=3, rescore=0),
    *(ScalarQuantised(bits, rescore) for bits, rescore in ((4, 20), (6, 0), (8, 0), (16, 0))),
]
WORLDS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "n": st.integers(1, 200),
        "d": st.sampled_from([1, 2, 6, 32]),
        "distinct": st.integers(1, 60),
        "noise": st.sampled_from([0, 1e-7, 1e-2, 1]),
    }
)
EXHAUSTIVE = [
    IVFFlat(lists=13, probes=13),
    IVFFlat(trained_on=0.1, probes=1000),
    IVFPQ(probes=1000, bits=2, rescore=1000),
    *(ScalarQuantised(bits, 1000) for bits in (4, 16)),
]
"""Indexes that leave nothing out, however bad their codes are."""


def unit(vectors):
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def world(seed, n, d, distinct, noise):
    """Vectors with many twins and near-twins; queries that are random, equal to one of them, and nearly so."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(distinct, d))
    corpus = unit(centres[rng.integers(0, distinct, n)] + noise * rng.normal(size=(n, d)))
    queries = np.concatenate([unit(rng.normal(size=(2, d))), corpus[:2], unit(corpus[:1] + 1e-7)])
    return Vectors(corpus), Vectors(queries)


def run(node, corpus, queries, known=None):
    known = {} if known is None else known
    known.update({CORPUS.recipe: corpus, QUERY.recipe: queries})
    for part in node.walk():
        if part.recipe not in known:
            known[part.recipe] = apply(part, [known[parent.recipe] for parent in part.inputs]).value
    return known[node.recipe]


def search(index, corpus, queries, k):
    return run(index.expand(CORPUS, QUERY, k), corpus, queries)


def built(index, corpus):
    return index.expand(CORPUS, QUERY, 1).inputs[0].op(corpus)


@settings(max_examples=40, deadline=None)
@given(WORLDS, st.sampled_from(EXHAUSTIVE), st.integers(1, 250))
def test_an_index_that_leaves_nothing_out_is_exact_search(parameters, index, k):
    corpus, queries = world(**parameters)
    assert search(index, corpus, queries, k).digest == search(Flat(), corpus, queries, k).digest


@settings(max_examples=40, deadline=None)
@given(WORLDS, st.integers(1, 12), st.integers(1, 5), st.integers(1, 30))
def test_a_search_of_lists_is_exact_within_the_nearest_lists(parameters, lists, probes, k):
    corpus, queries = world(**parameters)
    index = IVFFlat(lists=lists, probes=probes)
    parts = built(index, corpus).loaded
    centroids = faiss.downcast_index(parts.quantizer).reconstruct_n(0, parts.nlist)
    own = np.array([np.lexsort((np.arange(parts.nlist), -cosine(centroids, v)))[0] for v in corpus.values])
    found = search(index, corpus, queries, k)
    for i, query in enumerate(queries.values):
        exact = cosine(centroids, query)
        chosen, products = (row[0] for row in nearest_lists(parts, probes, queries.values[[i]]))
        near = np.lexsort((np.arange(parts.nlist), -exact))[:probes]
        np.testing.assert_allclose(products, exact[near], atol=1e-6)  # the same lists, up to ties in float32
        near = chosen
        held = np.flatnonzero(np.isin(own, near))
        scores = cosine(corpus.values[held], query)
        order = np.lexsort((held, -scores))[:k]
        assert found.items[i].tolist() == held[order].tolist()
        assert found.scores[i].tolist() == scores[order].tolist()


@settings(max_examples=40, deadline=None)
@given(WORLDS, st.integers(1, 40), st.integers(1, 60))
def test_the_graph_gives_the_best_of_what_its_walk_meets_and_all_twins_of_it(parameters, k, ef):
    corpus, queries = world(**parameters)
    index, width = built(HNSW(m=4, ef_construction=8), corpus), max(k, ef)
    found = search(HNSW(m=4, ef_construction=8, ef_search=ef), corpus, queries, k)
    own, copies = np.unique(corpus.values, axis=0, return_inverse=True)
    assert len(own) == index.loaded.ntotal
    met = index.loaded.search(queries.values, width, params=faiss.SearchParametersHNSW(efSearch=width))[1]
    for i, query in enumerate(queries.values):
        first = [index.places[number][0] for number in met[i] if number >= 0]
        held = np.flatnonzero(np.isin(copies, copies[first]))
        scores = cosine(corpus.values[held], query)
        order = np.lexsort((held, -scores))[:k]
        assert found.items[i].tolist() == held[order].tolist()
        assert found.scores[i].tolist() == scores[order].tolist()


@settings(max_examples=30, deadline=None)
@given(WORLDS, st.integers(1, 40), st.sampled_from([4, 6, 8, 16]))
def test_without_rescoring_the_codes_decide_ties_by_position(parameters, k, bits):
    corpus, queries = world(**parameters)
    index = built(ScalarQuantised(bits, 0), corpus)
    decoded = index.loaded.reconstruct_n(0, len(corpus))
    found = search(ScalarQuantised(bits, 0), corpus, queries, k)
    whole = search(ScalarQuantised(bits, 0), corpus, queries, len(corpus))
    for i, query in enumerate(queries.values):
        scores = (decoded.astype(float) * query).sum(axis=1)
        np.testing.assert_allclose(whole.scores[i], scores[whole.items[i]], atol=1e-5)
        order = np.lexsort((whole.items[i], -whole.scores[i]))
        assert found.items[i].tolist() == whole.items[i][order][:k].tolist()
        assert found.scores[i].tolist() == whole.scores[i][order][:k].tolist()


@settings(max_examples=30, deadline=None)
@given(WORLDS, st.integers(1, 20), st.integers(1, 30))
def test_rescoring_ranks_the_best_codes_by_exact_cosines(parameters, k, rescore):
    corpus, queries = world(**parameters)
    for index in (ScalarQuantised(4), IVFPQ(lists=5, probes=3, subvectors=3, bits=2)):
        best = search(replace(index, rescore=0), corpus, queries, max(k, rescore))
        found = search(replace(index, rescore=rescore), corpus, queries, k)
        for i, query in enumerate(queries.values):
            scores = cosine(corpus.values[best.items[i]], query)
            order = np.lexsort((best.items[i], -scores))[:k]
            assert found.items[i].tolist() == best.items[i][order].tolist()
            assert found.scores[i].tolist() == scores[order].tolist()


@settings(max_examples=30, deadline=None)
@given(WORLDS, st.sampled_from(ALL), st.integers(1, 30))
def test_a_querys_result_does_not_depend_on_its_batch(parameters, index, k):
    corpus, queries = world(**parameters)
    many = queries.take(np.arange(40) % len(queries))  # FAISS works otherwise from 20 queries on
    top, known = index.expand(CORPUS, QUERY, k), {}
    together = run(top, corpus, many, known)
    corpus_side = {node.recipe: known[node.recipe] for node in top.walk() if not node.per_query}
    for i in range(len(queries)):
        alone = run(top, corpus, queries.row(i), dict(corpus_side))
        assert alone.digest == together.row(i).digest == together.row(i + len(queries)).digest


@settings(max_examples=30, deadline=None)
@given(WORLDS, st.sampled_from(ALL), st.lists(st.integers(1, 60), min_size=2, max_size=4, unique=True))
def test_searches_that_share_the_deepest_find_what_each_finds_alone(parameters, index, depths):
    corpus, queries = world(**parameters)
    tops = {str(k): index.expand(CORPUS, QUERY, k) for k in depths}
    plan = make_plan({label: {"found": top} for label, top in tops.items()})
    known = {}
    for label, top in tops.items():
        shared = run(plan.nodes[plan.wanted[label]["found"]], corpus, queries, known)
        assert shared.digest == run(top, corpus, queries, known).digest


def test_depths_below_the_width_are_one_search_and_one_above_it_is_its_own():
    tops = {str(k): {"found": HNSW(ef_search=40).expand(CORPUS, QUERY, k)} for k in (5, 10, 40, 41)}
    searches = [n.op for n in make_plan(tops).work if n.stage == "search"]
    assert sorted((op.width, op.k) for op in searches) == [(40, 40), (41, 41)]
    tops = {str(k): {"found": ScalarQuantised(rescore=32).expand(CORPUS, QUERY, k)} for k in (5, 32, 50)}
    searches = [n.op for n in make_plan(tops).work if n.stage == "search"]
    assert sorted((op.rescore, op.k) for op in searches) == [(32, 32), (50, 50)]


@pytest.mark.parametrize(
    ("index", "changes"),
    [
        (HNSW(), {"ef_search": 99}),
        (IVFFlat(), {"probes": 3}),
        (IVFPQ(), {"probes": 3, "rescore": 0}),
        (ScalarQuantised(), {"rescore": 0}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_build_serves_every_setting_of_the_search(index, changes):
    one, other = (i.expand(CORPUS, QUERY, 5) for i in (index, replace(index, **changes)))
    assert one.inputs[0] == other.inputs[0]
    assert one != other


@pytest.mark.parametrize("index", [IVFPQ(rescore=0), ScalarQuantised(rescore=0), HNSW()], ids=str)
def test_a_search_that_needs_no_vectors_beside_the_index_is_given_none(index):
    assert [node.op for node in index.expand(CORPUS, QUERY, 5).inputs[1:]] == ["query"]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 40])
def test_small_corpora_are_searched_whole_and_without_a_word(n, capfd):
    rng = np.random.default_rng(n)
    corpus, queries = Vectors(unit(rng.normal(size=(max(n, 1), 6)))[:n]), Vectors(unit(rng.normal(size=(3, 6))))
    for index in (HNSW(), IVFFlat(), IVFPQ(), IVFPQ(bits=12, rescore=0), ScalarQuantised(), ScalarQuantised(4, 0)):
        found = search(index, corpus, queries, 10)
        assert np.diff(found.items.offsets).tolist() == [min(n, 10)] * 3, index
    assert search(HNSW(), corpus, queries, 10).digest == search(Flat(), corpus, queries, 10).digest
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "index", [HNSW(ef_search=8), IVFFlat(probes=1), IVFPQ(probes=1), ScalarQuantised(4)], ids=str
)
def test_a_crowd_of_twins_is_found_in_order_of_position(index):
    rng = np.random.default_rng(0)
    corpus = np.concatenate([unit(rng.normal(size=(300, 16))), np.tile(unit(np.ones((1, 16))), (500, 1))])
    order = rng.permutation(800)
    found = search(index, Vectors(corpus[order]), Vectors(corpus[-1:]), 30)
    assert found.items[0].tolist() == np.flatnonzero(order >= 300)[:30].tolist()
    assert found.scores[0].tolist() == [1.0] * 30


def test_a_crowd_of_twins_does_not_hide_the_others_in_the_graph():
    rng = np.random.default_rng(0)
    alone = unit(rng.normal(size=(1000, 8)) @ rng.normal(size=(8, 32)))
    corpus = Vectors(np.concatenate([alone, np.tile(alone[:1], (4000, 1))])[rng.permutation(5000)])
    queries = Vectors(unit(alone[:100] + 0.05 * rng.normal(size=(100, 32))))
    exact, found = (search(index, corpus, queries, 10) for index in (Flat(), HNSW()))
    assert neighbour_recall(found.scores, exact.scores, 10).mean() > 0.99


def test_distinct_vectors_are_numbered_in_order_of_their_first_position():
    values = np.array([[2, 0], [1, 0], [2, 0], [0, 1], [1, 0], [2, 0]], np.float32)
    assert [row.tolist() for row in distinct(values)] == [[0, 2, 5], [1, 4], [3]]
    assert len(distinct(np.zeros((0, 3), np.float32))) == 0


def test_lists_learnt_from_the_first_vectors_do_not_know_the_others():
    rng = np.random.default_rng(0)
    head, *tails = (unit(rng.normal(size=(n, 8))) for n in (200, 200, 200))

    def centroids(share, tail):
        index = IVFFlatBuild(5, share)(Vectors(np.concatenate([head, tail]))).loaded
        assert index.ntotal == 400
        return faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist)

    assert np.array_equal(centroids(0.5, tails[0]), centroids(0.5, tails[1]))
    assert not np.array_equal(centroids(1.0, tails[0]), centroids(1.0, tails[1]))


def test_searches_of_one_index_at_once_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    corpus, queries = Vectors(unit(rng.normal(size=(2000, 16)))), Vectors(unit(rng.normal(size=(50, 16))))
    index = built(IVFFlat(lists=40), corpus)
    ops = [IVFFlat(lists=40, probes=probes).expand(CORPUS, QUERY, 10).op for probes in (1, 2, 4, 8, 16)] * 4
    alone = [op(index, corpus, queries).digest for op in ops]
    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(lambda op: op(index, corpus, queries).digest, ops)) == alone
    assert len(set(alone)) == 5


def test_a_build_gives_the_same_bytes_whatever_the_number_of_threads():
    code = """
import json
import numpy as np
from evalkit.stages.index import HNSW, IVFPQ, IVFFlat, ScalarQuantised
from evalkit.types import CORPUS, QUERY
from evalkit.values import Vectors
rng = np.random.default_rng(0)
values = (rng.normal(size=(1500, 8)) @ rng.normal(size=(8, 64))).astype(np.float32)
corpus = Vectors(values / np.linalg.norm(values, axis=1, keepdims=True))
kinds = HNSW(m=8), IVFFlat(lists=60), IVFPQ(lists=20, bits=5), ScalarQuantised()
print(json.dumps([kind.expand(CORPUS, QUERY, 1).inputs[0].op(corpus).digest for kind in kinds]))
"""
    seen = []
    for threads in ("1", "4"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=dict.fromkeys(names, threads),
            capture_output=True,
            text=True,
            check=True,
        )
        seen.append(json.loads(done.stdout))
    assert seen[0] == seen[1]


def test_a_build_on_one_thread_leaves_other_threads_and_the_rest_of_its_own_alone():
    def threads():
        with ThreadPoolExecutor(1) as pool:
            return faiss.omp_get_max_threads(), pool.submit(faiss.omp_get_max_threads).result()

    @one_thread()
    def fail():
        raise RuntimeError("built badly")

    before, others = threads()
    faiss.omp_set_num_threads(3)
    try:
        with one_thread():
            assert threads() == (1, others)
        assert threads() == (3, others)
        with pytest.raises(RuntimeError, match="built badly"):
            fail()
        assert threads() == (3, others)
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("index", [HNSW(), IVFFlat(lists=5), IVFPQ(), ScalarQuantised()], ids=str)
def test_an_index_survives_the_disk(index, store):
    corpus, queries = world(seed=1, n=50, d=8, distinct=30, noise=1)
    top = index.expand(CORPUS, QUERY, 5)
    build, known = top.inputs[0].recipe, {}
    found = run(top, corpus, queries, known)
    loaded = type(store)(store.folder).load(store.add(known[build]))
    assert loaded is not known[build]
    assert run(top, corpus, queries, {build: loaded}).digest == found.digest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HNSW(m=1), "HNSW: m is 1; it must be at least 2"),
        (lambda: HNSW(ef_construction=0), "ef_construction is 0; it must be at least 1"),
        (lambda: HNSW(ef_search=0), "ef_search is 0"),
        (lambda: IVFFlat(lists=0), "IVFFlat: lists is 0"),
        (lambda: IVFFlat(probes=0), "probes is 0"),
        (lambda: IVFFlat(trained_on=0), "trained_on is 0; it must be above 0 and at most 1"),
        (lambda: IVFFlat(trained_on=1.5), "trained_on is 1.5"),
        (lambda: IVFPQ(subvectors=0), "subvectors is 0"),
        (lambda: IVFPQ(bits=13), "bits 13 and rescore 50 do not fit"),
        (lambda: IVFPQ(rescore=-1), "rescore -1"),
        (lambda: ScalarQuantised(bits=5), "bits is 4, 6, 8 or 16"),
        (lambda: ScalarQuantised(rescore=-1), "rescore -1"),
        *((lambda index=index: index.expand(CORPUS, QUERY, 0), "k is 0; it must be at least 1") for index in ALL[:6]),
    ],
)
def test_a_setting_that_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
