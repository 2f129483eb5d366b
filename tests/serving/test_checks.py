from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import InputError
from evalkit.llm.messages import NO_ANSWER
from evalkit.metrics.grounding import Supported
from evalkit.serving.checks import Cites, Grounded, NoRefusal, NotEmpty, overlap
from evalkit.values import Answer, Prompt

FARES = Prompt("how much", ("Fares",), ("An adult pays 17 euros for a return.", "Dogs are free."), ("a", "b"))
PROMPT = Prompt("which fruit?", ("", ""), ("red apples grow", "green pears fall"), ("d1", "d2"))
ALONE = Prompt("which fruit?", (), (), ())


@pytest.mark.parametrize(
    ("check", "answer", "fault"),
    [
        (NotEmpty(), Answer(" \n"), "empty"),
        (NotEmpty(), Answer("."), ""),
        (NotEmpty(10), Answer("too short "), "too short"),
        (NotEmpty(9), Answer("too short "), ""),
        (Cites(), Answer("apples"), "cites too little"),
        (Cites(), Answer("apples", ("d1",)), ""),
        (Cites(), Answer("apples", ("d1", "d9")), "cites what it was not given"),
        (Cites(2), Answer("apples", ("d1",)), "cites too little"),
        (Cites(5), Answer("apples", ("d1", "d2")), ""),
        (NoRefusal(), Answer("The documents do not say."), "refuses"),
        (NoRefusal(), Answer("Apples do not fall."), ""),
        (Grounded(), Answer("red apples fall"), ""),
        (Grounded(), Answer("blue plums and red apples"), "not grounded"),
        (Grounded(1.0, ngram=2), Answer("red apples fall"), "not grounded"),
        (Grounded(1.0, ngram=2), Answer("green pears fall"), ""),
        (Grounded(1.0), Answer("I do not know."), ""),
        (Grounded(0.0), Answer("plums"), ""),
    ],
    ids=repr,
)
def test_each_check_says_what_is_wrong(check, answer, fault):
    assert check.fault(answer, PROMPT) == fault


def test_without_passages_nothing_need_be_cited():
    assert Cites().fault(Answer("hello"), ALONE) == ""
    assert Cites().fault(Answer("hello", ("d1",)), ALONE) == "cites what it was not given"


@given(
    st.lists(st.sampled_from(["red", "apples", "grow", "green", "plums"]), min_size=1, max_size=6), st.floats(0, 1)
)
def test_grounded_is_a_threshold_on_the_metric(words, share):
    text = " ".join(words)
    found = Supported().score([text], [[]], contexts=[PROMPT.passages])[0]
    assert (Grounded(share).fault(Answer(text), PROMPT) == "") == (found >= share)


@pytest.mark.parametrize("text", [NO_ANSWER, "I can\N{RIGHT SINGLE QUOTATION MARK}t answer that.", "No answer"])
def test_a_refusal_is_told_by_the_metrics_phrases(text):
    assert NoRefusal().fault(Answer(text), FARES) == "refuses"


def test_length_is_in_words_too():
    assert NotEmpty(words=3).fault(Answer("17 euros"), FARES) == "too short"
    assert NotEmpty(words=2).fault(Answer("17 euros"), FARES) == ""


def test_citations_are_counted_once_each():
    assert Cites(2).fault(Answer("17 euros", ("a", "a")), FARES) == "cites too little"
    assert Cites(2).fault(Answer("17 euros", ("a", "b")), FARES) == ""


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
def test_by_stems_grounding_is_the_share_of_content_words_in_passages_and_titles(text, share):
    assert overlap(text, FARES) == pytest.approx(share)
    assert Grounded(share, by="stems").fault(Answer(text), FARES) == ""
    if share < 1:
        assert Grounded(share + 0.01, by="stems").fault(Answer(text), FARES) == "not grounded"
    assert Grounded(1.0, by="stems").fault(Answer(text), ALONE) == ""


@given(st.text(max_size=80))
def test_a_demand_of_nothing_is_always_met(text):
    assert Grounded(0.0, by="stems").fault(Answer(text), FARES) == ""
    assert 0 <= overlap(text, FARES) <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NotEmpty(words=-1),
        lambda: NotEmpty(characters=0),
        lambda: Cites(0),
        lambda: Grounded(1.1),
        lambda: Grounded(-0.1),
        lambda: Grounded(by="stems", ngram=2),
        lambda: Grounded(by="letters"),
    ],
)
def test_wrong_demands_are_refused(wrong):
    with pytest.raises(InputError, match=r"^(NotEmpty|Cites|Grounded): "):
        wrong()
