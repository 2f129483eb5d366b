"""Requests to tune on and requests to judge on: never both, and whole intents or conversations on one side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import InputError
from evalkit.datasets import load_dataset
from evalkit.datasets.traffic import of_intent
from evalkit.serving.arrivals import Arrival, arrivals_of
from evalkit.serving.thresholds.splits import by_hash, by_split, by_time

HANDBOOK = load_dataset(Path(__file__).parents[3] / "datasets" / "handbook")

requests = st.lists(
    st.builds(
        Arrival,
        text=st.sampled_from(["a", "A ", "b", "c d"]),
        at=st.floats(0, 100),
        user=st.sampled_from(["", "u"]),
        intent=st.sampled_from(["", "fee", "fee!0", "fee!1", "card", "rate", "loan", "limit"]),
        conversation=st.sampled_from(["", "", "t1", "t2"]),
    ),
    min_size=2,
    max_size=40,
)


def test_the_handbooks_requests_go_by_the_split_of_what_they_ask_for():
    found = by_split(HANDBOOK.traffic, HANDBOOK)
    assert (found.dev.sum(), found.test.sum()) == (1_738, 4_262)
    asked = {of_intent(a.intent) for a, dev in zip(arrivals_of(HANDBOOK.traffic), found.dev, strict=True) if dev}
    splits = {**HANDBOOK.intents, **HANDBOOK.conversations}
    assert {splits[name].split for name in asked} == {"dev"}


def test_a_split_is_that_of_the_data_set_itself():
    found = by_split(HANDBOOK.traffic, HANDBOOK)
    assert np.array_equal(HANDBOOK.split("dev").traffic.at, HANDBOOK.traffic.at[found.dev])


def test_requests_of_no_known_intent_are_on_neither_side():
    rows = [*arrivals_of(HANDBOOK.traffic), Arrival("?", at=1e6), Arrival("?", at=1e6, intent="nobody knows")]
    found = by_split(rows, HANDBOOK)
    assert not (found.dev | found.test)[-2:].any()


def test_an_unknown_split_is_refused_with_what_is_near():
    with pytest.raises(InputError, match="did you mean 'test'"):
        by_split(HANDBOOK.traffic, HANDBOOK, test="tests")
    with pytest.raises(InputError, match="both 'dev'"):
        by_split(HANDBOOK.traffic, HANDBOOK, test="dev")


@given(requests, st.floats(0.1, 0.9))
def test_by_time_dev_is_before_test_and_no_conversation_is_on_both_sides(rows, share):
    ordered = arrivals_of(rows)
    if round(share * len(rows)) in (0, len(rows)):
        return
    found = by_time(rows, dev=share)
    assert not (found.dev & found.test).any()
    if found.dev.any() and found.test.any():
        assert np.flatnonzero(found.dev).max() < np.flatnonzero(found.test).min()
    talks = [
        {(a.user, a.conversation) for a, m in zip(ordered, mask, strict=True) if m and a.conversation}
        for mask in found
    ]
    assert not talks[0] & talks[1]
    alone = np.array([not a.conversation for a in ordered])
    assert (found.dev | found.test)[alone].all()


@given(requests, st.integers(0, 50))
def test_by_hash_an_intent_with_its_traps_is_on_one_side_and_stays_there(rows, seed):
    try:
        found = by_hash(rows, seed=seed)
    except InputError:
        return
    ordered = arrivals_of(rows)
    sides = {}
    for arrival, dev in zip(ordered, found.dev.tolist(), strict=True):
        if arrival.intent:
            assert sides.setdefault(of_intent(arrival.intent), dev) == dev
    assert np.array_equal(found.dev, ~found.test)
    more = by_hash([*rows, Arrival("new", at=1_000.0, intent="new")], seed=seed)
    assert np.array_equal(more.dev[: len(rows)], found.dev)


def test_by_hash_without_intents_one_question_is_on_one_side_whatever_its_case():
    rows = [
        Arrival(text, at=float(i)) for i in range(40) for text in (f"How much is fee {i}?", f"how much  is FEE {i}?")
    ]
    found = by_hash(rows)
    assert np.array_equal(found.dev[::2], found.dev[1::2])
    assert 10 < found.dev[::2].sum() < 30


@pytest.mark.parametrize("split", [by_time, by_hash])
@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan"), float("inf")])
def test_a_side_without_requests_is_refused(split, share):
    with pytest.raises(InputError, match="one side"):
        split(HANDBOOK.traffic, dev=share)
