from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import dense

from evalkit import InputError
from evalkit.columns import Ragged, Strings
from evalkit.serving.routing import ByTenant, ByUser, Group, When, WordRules
from evalkit.serving.routing.rules import COMPLEXITY, Match
from evalkit.testing import check_component
from evalkit.values import Queries


def routed(rules, *texts) -> list[str]:
    table = Queries(Strings.of([""] * len(texts)), Strings.of(texts), Ragged.of([[]] * len(texts)))
    return list(Match(tuple(rules))(table).name)


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("What is the fee?", "simple"),
        ("", "simple"),
        ("How do I book?", "medium"),
        ("What is the fee for two adults and a dog who come back late tonight?", "medium"),
        ("Why is the fee higher?", "complex"),
        ("COMPARE both fares", "complex"),
        ("Tell me step  by step", "complex"),
        ("Is whyever a word?", "simple"),
        (" ".join(["word"] * 25), "complex"),
    ],
)
def test_tiers_of_complexity_are_told_by_words_and_length(text, route):
    assert routed(COMPLEXITY, text) == [route]


def test_the_first_condition_that_holds_wins_and_all_of_it_must_hold():
    rules = (When("order", words=("order",), pattern=r"#\d+", at_most=6), When("other", words=("order",)))
    asked = ["Where is order #12?", "where is my order", "#12", "where on the wide earth is my order #12?"]
    assert routed(rules, *asked) == ["order", "other", "", "other"]


def test_words_are_whole_and_case_does_not_matter():
    rule = [When("r", words=("Straße", "c++", "o'clock"))]
    asked = ["die STRASSE", "die straße", "C++ or", "c+", "five O'Clock", "clock", "Straßen"]
    assert routed(rule, *asked) == ["", "r", "r", "", "r", "", ""]


@given(st.lists(st.text(max_size=60), max_size=6))
def test_a_decision_does_not_depend_on_what_else_is_asked(texts):
    assert routed(COMPLEXITY, *texts) == [routed(COMPLEXITY, text)[0] for text in texts]


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"pattern": "("}, "no regular expression"),
        ({"words": (" ",)}, "a word is blank"),
        ({"at_least": 3, "at_most": 2}, "fit no question"),
        ({"at_least": -1}, "fit no question"),
    ],
)
def test_a_condition_that_cannot_hold_is_refused(wrong, what):
    with pytest.raises(InputError, match=what):
        When("r", **wrong)


def test_nobody_is_in_two_groups():
    with pytest.raises(InputError, match="ByTenant: 'a' is in two groups"):
        ByTenant((Group("one", ("a",)), Group("two", ("b", "a"))))


@pytest.mark.parametrize("rule", [ByUser((Group("r", ("a",)),)), ByTenant((Group("r", ("a",)),), otherwise="q")])
def test_rules_say_what_they_may_name_and_ask_for_no_node(rule):
    assert set(rule.names) == {"r", *([rule.otherwise] if rule.otherwise else [])}
    assert rule.needs(dense().nodes()) == ()


@pytest.mark.parametrize("rule", [WordRules(), ByUser(), ByTenant(), When("r"), Group("r", ("a",))])
def test_rules_are_values(rule):
    others = {"groups": (Group("r", ("a",)),), "words": ("because",)}
    check_component(rule, others)
