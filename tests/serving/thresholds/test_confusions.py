"""Which intents a cache took for one another, and which entries it gave wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweeps_made import by_chance, by_hand

from evalkit.errors import InputError
from evalkit.serving.thresholds.confusions import confusions, worst_entries
from evalkit.serving.thresholds.swept import MISS

NAMES = ["fee", "fee!0", "fee!0", "rate", "fee", "rate", "fee!0", "rate", "rate"]
GIVEN = [MISS, 0, 0, MISS, 3, 0, MISS, 6, 3]
ANSWERS = ["1", "2", "2", "3", "1", "3", "2", "3", "4"]
SWEEP = by_hand(
    [GIVEN, [MISS] * 9], NAMES, answer=ANSWERS,
    text=["fee?", "no fee?", "no fee, then?", "rate?", "the fee?", "a rate?", "no fee?", "my rate?", "rate?"],
    kind=["canonical", "trap: negation", "trap: negation", *["canonical"] * 6],
)  # fmt: skip


def test_pairs_of_intents_are_counted_and_named_the_most_frequent_first() -> None:
    rows = confusions(SWEEP, 0)
    assert list(zip(rows["asked"], rows["given"], rows["wrong"], strict=True)) == [
        ("fee!0", "fee", 2), ("fee", "rate", 1), ("rate", "fee", 1), ("rate", "fee!0", 1), ("rate", "rate", 1),
    ]  # fmt: skip
    assert rows["share"].tolist() == pytest.approx([1 / 3, 1 / 6, 1 / 6, 1 / 6, 1 / 6])
    assert rows["of_asked"].tolist() == pytest.approx([2 / 3, 1 / 2, 1 / 4, 1 / 4, 1 / 4])
    assert rows["reverse"].tolist() == [0, 1, 1, 0, 0]
    assert rows["stale"].tolist() == [0, 0, 0, 0, 1]
    assert rows["entries"].tolist() == [1, 1, 1, 1, 1]


def test_a_trap_is_told_from_a_neighbour_by_its_base() -> None:
    rows = confusions(SWEEP, 0)
    assert rows["base_asked"].tolist() == ["fee", "fee", "rate", "rate", "rate"]
    assert rows["base_given"].tolist() == ["fee", "rate", "fee", "fee", "rate"]
    assert rows["kind"][0] == "trap: negation"


def test_an_example_is_the_most_frequent_pair_and_the_first_of_several() -> None:
    row = confusions(SWEEP, 0).iloc[0]
    assert (row["text_asked"], row["text_given"]) == ("no fee?", "fee?")
    again = by_hand([[MISS, 0, 0, 0]], ["a", "b", "b", "b"], text=["a?", "b?", "c?", "c?"])
    assert confusions(again, 0)["text_asked"].tolist() == ["c?"]


def test_entries_are_named_with_what_they_were_right_and_wrong_for() -> None:
    rows = worst_entries(SWEEP, 0)
    assert rows["entry"].tolist() == [0, 3, 6]
    assert rows["wrong"].tolist() == [3, 2, 1]
    assert rows["hits"].tolist() == [3, 2, 1]
    assert rows["intents_asked"].tolist() == [2, 2, 1]
    assert rows["text"].tolist() == ["fee?", "rate?", "no fee?"]
    assert not rows["precomputed"].any()
    assert (rows["wrong_share_low"] <= rows["wrong_share"]).all()


def test_without_a_wrong_hit_both_are_empty_with_their_columns() -> None:
    assert confusions(SWEEP, 1).empty
    assert "of_asked" in confusions(SWEEP, 1)
    assert worst_entries(SWEEP, 1).empty
    where = np.zeros(9, dtype=bool)
    assert confusions(SWEEP, 0, where).empty
    with pytest.raises(InputError, match="no setting 2 of 2"):
        confusions(SWEEP, 2)


@given(st.integers(0, 500), st.sampled_from([0.95, 0.8, 0.5]))
def test_every_wrong_hit_is_in_one_pair_and_of_one_entry(seed: int, threshold: float) -> None:
    sweep = by_chance(120, [threshold], seed, groups=9)
    pairs, entries = confusions(sweep, 0), worst_entries(sweep, 0)
    assert pairs["wrong"].sum() == entries["wrong"].sum() == sweep.wrong[0].sum()
    assert pairs["share"].sum() == pytest.approx(float(sweep.wrong[0].any()))
    assert (pairs["wrong"].diff().dropna() <= 0).all()
    assert (pairs["asked"] != pairs["given"]).all()
    assert entries["precomputed"].all()
    for _, pair in pairs.iterrows():
        back = pairs[(pairs["asked"] == pair["given"]) & (pairs["given"] == pair["asked"])]
        assert pair["reverse"] == back["wrong"].sum()
