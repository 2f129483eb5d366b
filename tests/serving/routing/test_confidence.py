from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import InputError
from evalkit.llm.messages import NO_ANSWER
from evalkit.serving.routing import Confident
from evalkit.serving.routing.confidence import overlap
from evalkit.testing import check_component
from evalkit.values import Answer, Prompt

PROMPT = Prompt("how much", ("Fares",), ("An adult pays 17 euros for a return.", "Dogs are free."), ("a", "b"))
NOTHING = Prompt("hello", (), (), ())


@pytest.mark.parametrize(
    "text", ["", "  ", NO_ANSWER, "I can\N{RIGHT SINGLE QUOTATION MARK}t answer that.", "No answer"]
)
def test_a_refusal_will_not_do_unless_it_is_allowed(text):
    assert Confident().lacks(Answer(text), PROMPT) == "refuses"
    assert Confident(answers=False).lacks(Answer(text), PROMPT) == ""


def test_citations_are_counted_once_each_and_asked_for_only_where_there_are_passages():
    check = Confident(cited=2)
    assert check.lacks(Answer("17 euros", ("a", "a")), PROMPT) == "cites too little"
    assert check.lacks(Answer("17 euros", ("a", "b")), PROMPT) == ""
    assert check.lacks(Answer("hello"), NOTHING) == ""


def test_length_is_in_words():
    assert Confident(words=3).lacks(Answer("17 euros"), PROMPT) == "too short"
    assert Confident(words=2).lacks(Answer("17 euros"), PROMPT) == ""


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("17 euros", 1.0),
        ("An adult pays 17 dollars", 0.75),
        ("It is for them", 1.0),
        ("purple whales", 0.0),
        ("Fare", 1.0),
    ],
)
def test_grounding_is_the_share_of_content_words_in_passages_and_titles(text, share):
    assert overlap(text, PROMPT) == pytest.approx(share)
    assert Confident(grounded=share).lacks(Answer(text), PROMPT) == ""
    if share < 1:
        assert Confident(grounded=share + 0.01).lacks(Answer(text), PROMPT) == "not grounded"


@given(st.text(max_size=80))
def test_a_demand_of_nothing_is_always_met(text):
    check = Confident(answers=False)
    assert check.lacks(Answer(text), PROMPT) == ""
    assert 0 <= overlap(text, PROMPT) <= 1


@pytest.mark.parametrize("wrong", [{"cited": -1}, {"words": -1}, {"grounded": 1.1}, {"grounded": -0.1}])
def test_wrong_demands_are_refused(wrong):
    with pytest.raises(InputError, match="Confident: "):
        Confident(**wrong)


def test_a_check_is_a_value():
    check_component(Confident())
