"""Values: tables that can be cut and joined, and whose digest is their content."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.columns import Array, Ragged, Strings
from evalkit.values import (
    Answer,
    Answers,
    Chunks,
    Documents,
    Prompt,
    Prompts,
    Queries,
    Rankings,
    Table,
    Vectors,
    content_digest,
    kinds,
)

TEXTS = st.lists(st.text(max_size=8), max_size=6)


def same_size(*lists):
    return st.integers(0, 6).flatmap(lambda n: st.tuples(*(st.lists(each, min_size=n, max_size=n) for each in lists)))


@st.composite
def rankings(draw):
    rows = draw(st.lists(st.lists(st.integers(0, 99), max_size=9), max_size=6))
    scores = [draw(st.lists(st.floats(-1, 1), min_size=len(r), max_size=len(r))) for r in rows]
    return rows, scores, Rankings.of([np.array(r, np.int32) for r in rows], [np.array(s) for s in scores])


def queries(ids, texts):
    return Queries(Strings.of(ids), Strings.of(texts))


@given(rankings(), st.integers(0, 12))
def test_the_top_of_rankings_is_a_slice_of_every_row(made, k):
    rows, scores, found = made
    top = found.top(k)
    assert [list(items) for items in top.items] == [row[:k] for row in rows]
    assert [list(values) for values in top.scores] == [row[:k] for row in scores]
    assert top.items.values.dtype == np.int32
    assert top.scores.values.dtype == np.float64


@given(rankings(), st.integers(0, 12), st.integers(0, 12))
def test_cutting_twice_is_cutting_at_the_smaller(made, a, b):
    found = made[2]
    assert found.top(a).top(b).digest == found.top(min(a, b)).digest


@given(same_size(st.text(max_size=5), st.text(max_size=5)), st.integers(0, 6))
def test_blocks_joined_again_have_the_digest_of_the_whole(columns, middle):
    table = queries(*columns)
    middle = min(middle, len(table))
    blocks = [table.take(np.arange(middle)), table.take(np.arange(middle, len(table)))]
    assert Queries.concat(blocks).digest == table.digest


@given(same_size(st.text(max_size=5), st.text(max_size=5)), same_size(st.text(max_size=5), st.text(max_size=5)))
def test_digests_are_equal_exactly_where_the_content_is(first, second):
    assert (queries(*first).digest == queries(*second).digest) == (first == second)


@given(same_size(st.text(max_size=5), st.text(max_size=5)).filter(lambda c: c[0]), st.data())
def test_any_change_of_a_text_changes_the_digest(columns, data):
    ids, texts = columns
    i = data.draw(st.integers(0, len(ids) - 1))
    changed = [*texts[:i], texts[i] + "x", *texts[i + 1 :]]
    assert queries(ids, changed).digest != queries(ids, texts).digest


def test_moving_a_letter_from_one_row_to_the_next_changes_the_digest():
    assert queries(["a", "b"], ["xy", "z"]).digest != queries(["a", "b"], ["x", "yz"]).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(4, np.float32), np.zeros(4, np.int32)),
        (np.zeros((2, 2)), np.zeros(4)),
        (np.zeros(0, np.float32), np.zeros(0, np.float64)),
        (np.zeros((0, 3)), np.zeros((0, 4))),
        (np.array([1.0, 2.0]), np.array([2.0, 1.0])),
    ],
)
def test_type_shape_and_order_enter_the_digest(one, other):
    assert content_digest("Vectors", {"values": one}) != content_digest("Vectors", {"values": other})


def test_the_kind_enters_the_digest():
    assert content_digest("Vectors", {"values": np.zeros(3)}) != content_digest("Counts", {"values": np.zeros(3)})


def test_how_an_array_lies_in_memory_does_not_enter_the_digest():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert Vectors(np.asfortranarray(values)).digest == Vectors(values).digest
    assert Vectors(np.repeat(values, 2, axis=0)[::2]).digest == Vectors(values).digest


def test_the_digest_is_the_same_in_another_process_whatever_its_hash_seed():
    code = (
        "from evalkit.values import Queries; from evalkit.columns import Strings;"
        "print(Queries(Strings.of(['a', 'b']), Strings.of(['ä', ''])).digest)"
    )
    expected = queries(["a", "b"], ["ä", ""]).digest
    for seed in "01":
        run = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == expected


def test_a_row_is_a_table_of_one():
    table = queries(["a", "b", "c"], ["x", "y", "z"])
    assert table.row(1).digest == queries(["b"], ["y"]).digest
    assert table.row(-1).digest == table.row(2).digest


def tables():
    texts, numbers = Strings.of(["a", "ü", ""]), np.arange(3)
    lists = Ragged.of([["x", "y"], [], [""]])
    return [
        Documents(texts, texts, texts, texts),
        queries(["a", "b", "c"], ["x", "y", "z"]),
        Chunks(texts, texts, numbers, numbers, texts),
        Vectors(np.eye(3, dtype=np.float32)),
        Rankings.of(
            [np.array([1]), np.array([]), np.array([2, 0])], [np.array([1.0]), np.array([]), np.array([2, 1])]
        ),
        Prompts(texts, lists, lists, lists),
        Answers(texts, lists),
    ]


@pytest.mark.parametrize("table", tables(), ids=lambda table: type(table).__name__)
def test_every_kind_of_table_is_cut_joined_and_read_back(table):
    assert len(table) == 3
    back = type(table).from_arrays(table.arrays())
    assert back.digest == table.digest
    assert type(table).concat([table.row(i) for i in range(3)]).digest == table.digest
    assert table.take([]).digest != table.digest
    assert type(table).concat([table, table.take([])]).digest == table.digest


def test_the_title_is_searched_before_the_text_where_there_is_one():
    texts = Strings.of(["one", "two"])
    chunks = Chunks(texts, Strings.of(["Title", ""]), np.zeros(2), np.ones(2), texts)
    assert list(chunks.searched) == ["Title one", "two"]


@given(
    st.lists(
        st.builds(
            lambda question, rows: Prompt(
                question, *(tuple(c) for c in (zip(*rows, strict=True) if rows else ((),) * 3))
            ),
            st.text(max_size=5),
            st.lists(st.tuples(*[st.text(max_size=4)] * 3), max_size=4),
        ),
        max_size=4,
    )
)
def test_prompts_go_into_a_table_and_out(prompts):
    table = Prompts(
        Strings.of(p.question for p in prompts),
        *(Ragged.of([getattr(p, name) for p in prompts]) for name in ("titles", "passages", "sources")),
    )
    assert Prompt.rows(table) == prompts


@given(TEXTS)
def test_answers_go_into_a_table(texts):
    table = Answer.table([Answer(text, (text, "b")) for text in texts])
    assert list(table.text) == texts
    assert [list(cited) for cited in table.cited] == [[text, "b"] for text in texts]


def test_a_kind_that_a_component_declares_is_known_by_name():
    @dataclass(frozen=True, eq=False)
    class Heights(Table):
        values: Array

    assert kinds()["Heights"] is Heights
    assert {"Documents", "Queries", "Chunks", "Vectors", "Rankings", "Prompts", "Answers"} <= set(kinds())
    assert [f.name for f in fields(kinds()["Vectors"])] == ["values"]
