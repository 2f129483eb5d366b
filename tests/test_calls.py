"""A call to a model is plain data that adds up, reads back and never runs backwards."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.calls import Attempt, Call, CallFailed, TokenUsage
from evalkit.errors import InputError
from evalkit.values import Answer

counts = st.integers(0, 10**9)
usages = st.builds(TokenUsage, counts, counts, counts, counts, counts)
seconds = st.floats(0, 1e6, allow_nan=False)
attempts = st.builds(Attempt, st.text(max_size=20), seconds, usages, st.text(max_size=9))


@st.composite
def calls(draw):
    times = sorted(draw(st.lists(seconds, min_size=1, max_size=6)))
    named = st.text(max_size=9)
    service, complete = draw(st.sampled_from(["standard", "batch"])), draw(st.booleans())
    given_up, first = tuple(draw(st.lists(attempts, max_size=2))), draw(st.integers(0, 5))
    return Call(
        draw(named), draw(usages), tuple(times[:-1]), first, times[-1], draw(named), draw(named), "2026-11-01",
        service, complete, given_up,
    )  # fmt: skip


@given(calls(), st.text(max_size=30), st.lists(st.text(max_size=5), max_size=3))
def test_a_call_and_its_answer_read_back_as_they_were_written(call, text, cited):
    assert Call.read(json.loads(json.dumps(call.plain()))) == call
    answer = Answer(text, tuple(cited), call)
    assert Answer.read(json.loads(json.dumps(answer.plain()))) == answer
    assert Answer.table([answer, Answer("")]).made() == [call, None]


@given(usages, usages)
def test_usage_adds_up_by_kind_and_a_prompt_is_all_but_the_output(first, second):
    both = first + second
    assert both.prompt == first.prompt + second.prompt
    assert both.prompt + both.output == sum(vars(both).values())
    assert both.uncached + both.cache_read == both.prompt


@pytest.mark.parametrize(("pieces", "end"), [((0.2, 0.1), 1.0), ((0.5,), 0.4), ((-0.1,), 1.0), ((), float("nan"))])
def test_times_that_run_backwards_are_refused(pieces, end):
    with pytest.raises(InputError, match="run backwards"):
        Call("m", pieces=pieces, seconds=end)


def test_a_failed_call_survives_the_way_to_another_process():
    failure = CallFailed("no answer", Call("m", stop="cut"), final=True)
    back = pickle.loads(pickle.dumps(failure))  # noqa: S301
    assert (str(back), back.call, back.final) == (str(failure), failure.call, True)
