"""Nodes: the same work is the same recipe, wherever it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from evalkit.types import CORPUS, QUERY, Generator, Node, Op, Prefix


@dataclass(frozen=True)
class Work:
    size: int = 1

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "search"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, *inputs):
        return inputs[0]


@dataclass(frozen=True)
class Newer(Work):
    version: ClassVar[int] = 2


@dataclass(frozen=True)
class Head(Work):
    k: int = 3
    prefix_exact: ClassVar[bool] = True


def test_nodes_of_the_same_work_are_equal():
    assert Node(Work(), (CORPUS,)) == Node(Work(1), (Node("corpus"),))
    assert len({Node(Work(), (CORPUS,)), Node(Work(), (CORPUS,)), CORPUS}) == 2
    assert Node(Work()) != Work()


def test_op_version_inputs_and_their_order_enter_the_recipe():
    nodes = [
        CORPUS, QUERY, Node(Work()), Node(Work(2)), Node(Newer()), Node(Work(), (CORPUS,)), Node(Work(), (QUERY,)),
        Node(Work(), (CORPUS, QUERY)), Node(Work(), (QUERY, CORPUS)), Node(Work(), (Node(Work(), (CORPUS,)),)),
    ]  # fmt: skip
    assert len({node.recipe for node in nodes}) == len(nodes)


def test_a_node_is_per_query_where_anything_below_it_is():
    corpus, query = Node(Work(), (CORPUS,)), Node(Work(), (QUERY,))
    assert (CORPUS.per_query, QUERY.per_query) == (False, True)
    assert not Node(Work(), (corpus,)).per_query
    assert Node(Work(), (corpus, query)).per_query


def test_a_walk_gives_inputs_first_and_each_node_once():
    shared = Node(Work(), (CORPUS,))
    left, right = Node(Work(2), (shared,)), Node(Work(3), (Node(Work(), (CORPUS,)), QUERY))
    top = Node(Work(4), (left, right))
    assert list(top.walk()) == [CORPUS, shared, left, QUERY, right, top]


def test_a_nodes_stage_is_its_ops():
    assert (CORPUS.stage, QUERY.stage, Node(Work()).stage) == ("corpus", "query", "search")


def test_ops_prefixes_and_generators_are_told_apart():
    assert isinstance(Work(), Op)
    assert isinstance(Head(), Prefix)
    assert not isinstance(Work(), Prefix)
    assert not isinstance("corpus", Op)
    assert not isinstance("corpus", Generator)
