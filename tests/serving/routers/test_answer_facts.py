"""Facts of an answer: its form, and whether its sums hold."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.serving.routers.facts import FACTS, facts, sums


@pytest.mark.parametrize(
    ("text", "stated", "false"),
    [
        ("3 * (4 + 1) = 15", 1, 0),
        ("3 * (4 + 1) = 16", 1, 1),
        ("$18 \N{MULTIPLICATION SIGN} 2 = $36 and 36 / 5 = 7.2", 2, 0),
        ("<<80000+50000=130000>>130,00", 1, 0),
        ("1,200 - 200 = 1,000", 1, 0),
        ("10 / 3 = 3.33", 1, 0),
        ("x = 5, and the year = 2024", 0, 0),
        ("7 / 0 = 7", 0, 0),
        ("2 ** 999999999 = 3", 0, 0),
        ("(((((1 + 2 = 3", 1, 0),
        ("no sums", 0, 0),
        ("", 0, 0),
    ],
)
def test_sums_are_worked_out_and_nothing_else_is(text, stated, false):
    assert sums(text) == (stated, false)


@given(st.integers(0, 10**6), st.integers(1, 10**4), st.sampled_from("+-*/"), st.booleans())
def test_a_sum_holds_when_it_is_true(a, b, sign, honest):
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign]
    said = value if honest else 2 * abs(value) + 10
    assert sums(f"so {a} {sign} {b} = {said:.4f}.") == (1, int(not honest))


@given(st.text(), st.text())
def test_facts_are_finite_whatever_is_asked_and_said(question, answer):
    found = facts(question, answer)
    assert len(found) == len(FACTS)
    assert all(math.isfinite(value) for value in found)


def test_each_fact_is_what_its_name_says():
    found = dict(zip(FACTS, facts("Is 3 plus 4 then 8?", "3 + 4 = 8\n\nSo it is 8.5 ="), strict=True))
    counts = {"words of the question": 6, "words": 10, "lines": 2, "numbers": 4, "words of the last line": 5}
    for name, count in {**counts, "sums that do not hold": 1}.items():
        assert found[name] == pytest.approx(math.log1p(count)), name
    assert found["decimal point in the last line"] == found["breaks off"] == 1
    assert found["share of the question's numbers"] == pytest.approx(1.0)
    assert facts("", "It is 8.")[FACTS.index("breaks off")] == 0
