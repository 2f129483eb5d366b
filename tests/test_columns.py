"""Columns behave as the Python lists that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.columns import Ragged, Strings, concat, flatten, take, unflatten

TEXTS = st.lists(st.text())
ROWS = st.lists(TEXTS)
NUMBERS = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1)))


def plain(column):
    if isinstance(column, Strings):
        return list(column)
    if isinstance(column, Ragged):
        return [list(row) for row in column]
    return column.tolist()


def columns():
    """A column, the list that it stands for, and how to make another of its kind."""
    return st.one_of(
        TEXTS.map(lambda rows: (Strings.of(rows), rows, Strings.of)),
        ROWS.map(lambda rows: (Ragged.of(rows), rows, Ragged.of)),
        NUMBERS.map(lambda rows: (Ragged.of(rows, np.int32), rows, lambda r: Ragged.of(r, np.int32))),
        st.lists(st.floats(allow_nan=False)).map(lambda rows: (np.array(rows), rows, np.array)),
    )


@given(columns())
def test_a_column_reads_back_as_it_was_built(made):
    column, rows, _ = made
    assert len(column) == len(rows)
    assert plain(column) == rows


@given(columns(), st.data())
def test_take_is_indexing_with_repeats_and_from_the_end(made, data):
    column, rows, _ = made
    index = st.integers(-len(rows), len(rows) - 1) if rows else st.nothing()
    wanted = data.draw(st.lists(index))
    assert plain(take(column, np.array(wanted, dtype=np.int64))) == [rows[i] for i in wanted]


@given(st.data())
def test_concat_is_list_addition(data):
    parts = data.draw(
        st.one_of(
            st.lists(TEXTS.map(lambda rows: (Strings.of(rows), rows)), min_size=1),
            st.lists(ROWS.map(lambda rows: (Ragged.of(rows), rows)), min_size=1),
            st.lists(NUMBERS.map(lambda rows: (Ragged.of(rows, np.int32), rows)), min_size=1),
        )
    )
    joined = concat([column for column, _ in parts])
    assert plain(joined) == [row for _, rows in parts for row in rows]


@given(columns())
def test_laid_down_as_arrays_a_column_is_read_back_whole(made):
    column, rows, _ = made
    arrays = dict(flatten("name.with.dots", column))
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert plain(unflatten("name.with.dots", arrays)) == rows


@given(columns(), st.data())
def test_cutting_and_joining_again_changes_no_byte(made, data):
    column, rows, _ = made
    middle = data.draw(st.integers(0, len(rows)))
    halves = [take(column, np.arange(middle)), take(column, np.arange(middle, len(rows)))]
    again = dict(flatten("x", concat(halves)))
    for name, array in flatten("x", column):
        assert again[name].dtype == array.dtype
        assert np.array_equal(again[name], array)


@given(TEXTS.filter(bool), st.data())
def test_strings_are_indexed_as_a_list_is(rows, data):
    strings = Strings.of(rows)
    i = data.draw(st.integers(-len(rows), len(rows) - 1))
    cut = data.draw(st.slices(len(rows)))
    assert strings[i] == rows[i]
    assert strings[cut] == rows[cut]
    assert strings == rows
    assert strings != [*rows, ""]


@pytest.mark.parametrize("i", [2, -3])
def test_strings_and_lists_refuse_an_index_outside(i):
    with pytest.raises(IndexError):
        Strings.of(["a", "b"])[i]
    with pytest.raises(IndexError):
        Ragged.of([["a"], ["b"]])[i]


def test_strings_are_no_key_of_a_dictionary():
    with pytest.raises(TypeError, match="unhashable"):
        hash(Strings.of(["a"]))


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(UnicodeEncodeError):
        Strings.of(["\ud800"])
