"""A floor under what is found: inclusive, exact at 1, and one search for all floors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import HashedWords, dense, small_dataset

from evalkit import InputError, Sweep, run
from evalkit.evaluate.plan import make_plan
from evalkit.stages import Dense
from evalkit.stages.retrieve.dropping import AtLeast
from evalkit.testing import check_retriever
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY
from evalkit.values import Rankings

SCORES = st.lists(
    st.lists(st.sampled_from([-1.0, -0.2, 0.0, 0.5, 0.85, 0.8500000000000001, 1.0]), max_size=8), max_size=5
)
FLOORS = st.sampled_from([-1.0, 0.0, 0.85, 0.9, 1.0])


def rankings(rows):
    ordered = [np.array(sorted(row, reverse=True)) for row in rows]
    return Rankings.of([np.arange(len(row)) + 3 for row in ordered], ordered)


def found(retriever, data):
    known = {CORPUS.recipe: data.documents, QUERY.recipe: data.queries}
    return run_node(dense(retrieve=retriever).nodes()["retrieve"], known)


@given(SCORES, FLOORS)
def test_what_scores_at_least_the_floor_stays_and_nothing_else(rows, floor):
    given_rows = rankings(rows)
    kept = AtLeast(floor)(given_rows)
    assert len(kept) == len(given_rows)
    for i in range(len(rows)):
        pairs = zip(given_rows.items[i].tolist(), given_rows.scores[i].tolist(), strict=True)
        expected = [(item, score) for item, score in pairs if score >= floor]
        assert list(zip(kept.items[i].tolist(), kept.scores[i].tolist(), strict=True)) == expected


@given(SCORES, FLOORS)
def test_rows_are_cut_each_by_itself(rows, floor):
    together = AtLeast(floor)(rankings(rows))
    for i in range(len(rows)):
        assert AtLeast(floor)(rankings(rows).row(i)).digest == together.row(i).digest


def test_a_text_that_is_asked_for_word_by_word_is_found_even_at_one():
    data = small_dataset(queries={"q": "red apples grow"}, qrels={"q": {"d1": 1}}, answers={})
    at_one = found(Dense(HashedWords(), floor=1), data)
    assert at_one.items[0].tolist() == [0]
    assert at_one.scores[0].tolist() == [1.0]


def test_a_floor_drops_from_the_end_of_the_ranking_without_a_floor():
    data = small_dataset()
    everything = found(Dense(HashedWords(), k=4), data)
    lengths = []
    for floor in (-1.0, 0.3, 0.6, 0.85):
        above = found(Dense(HashedWords(), k=4, floor=floor), data)
        for i in range(len(data.queries)):
            kept = int((everything.scores[i] >= floor).sum())
            assert above.row(i).digest == everything.row(i).top(kept).digest
        lengths.append(len(above.items.values))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]


def test_all_floors_and_depths_share_one_search():
    grid = [dense(retrieve=Dense(HashedWords(), k=k, floor=f)) for k in (3, 9) for f in (None, 0.2, 0.85)]
    plan = make_plan({str(i): {"retrieve": v.nodes()["retrieve"]} for i, v in enumerate(grid)})
    names = [type(node.op).__name__ for node in plan.work]
    assert names.count("FlatSearch") == 1
    assert names.count("HashedWords") == 2  # one side each
    assert names.count("AtLeast") == 4


def test_without_a_floor_nothing_is_added():
    names = [type(node.op).__name__ for node in Dense().expand(CORPUS, QUERY).walk()]
    assert "AtLeast" not in names


def test_a_query_that_finds_nothing_has_an_answer_and_scores_zero(store):
    results = run(
        Sweep(dense(), grid={"retrieve.floor": [0.999]}), small_dataset(), ["MRR@10", "TokenF1"], store=store
    )
    label = next(name for name in results.systems if name != results.base)
    assert results.table().loc[label, "MRR@10"] == 0
    assert results.table().loc[results.base, "MRR@10"] > 0


def test_a_retriever_with_a_floor_conforms():
    check_retriever(Dense(HashedWords(), k=30, floor=0.2))


@pytest.mark.parametrize("floor", [-1.01, 1.01, 85, float("nan")])
def test_a_floor_that_no_cosine_can_have_is_refused(floor):
    with pytest.raises(InputError, match=r"^Dense: floor is .*; it is a cosine, from -1 to 1$"):
        Dense(floor=floor)
