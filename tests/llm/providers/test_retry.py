"""One owner of retries: tries, waits, and accounts that lose nothing, whatever happens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evalkit.calls import INTERRUPTED, CallFailed, TokenUsage
from evalkit.llm.providers.retry import Came, Fault, answered, backoff, tried
from evalkit.serving.clock import VirtualClock
from evalkit.values import Prompt

PROMPT = Prompt("How?", ("",), ("By ferry.",), ("d1",))
WHOLE = Came("By ferry [1].", TokenUsage(7, output=3), (), 0, request_id="req_9")
BROKEN = replace(WHOLE, text="By", complete=False)
BUSY = Fault("529 overloaded_error", "busy")

usages = st.builds(TokenUsage, *[st.integers(0, 50)] * 5)
parts = st.builds(replace, st.just(WHOLE), text=st.just("By"), usage=usages, complete=st.just(False))


@st.composite
def faults(draw):
    part = draw(st.none() | parts)
    used = part.usage if part is not None else draw(usages)
    final = draw(st.booleans())
    again = draw(st.booleans()) and not final
    return Fault("x", "y", again, draw(st.none() | st.floats(0.1, 60)), final, used, "req", part)


outcomes = st.lists(faults() | st.builds(replace, st.just(WHOLE), usage=usages), min_size=1, max_size=6)


class Script:
    """Gives one outcome a try, and remembers which it gave."""

    def __init__(self, *given):
        self.left, self.given = list(given), []

    async def __call__(self):
        self.given.append(self.left.pop(0))
        return self.given[-1]


def make(script, retries=2, prompt=PROMPT, sample=0):
    clock = VirtualClock()
    call = answered(script, prompt, sample, clock, where="Somebody, somewhere", model="m", retries=retries)
    return clock.run(call)


@given(given=outcomes)
@example(given=[replace(BUSY, usage=BROKEN.usage, part=BROKEN), replace(BUSY, error="x")])
def test_every_try_is_in_the_account_once_whatever_happens(given):
    script = Script(*given)
    try:
        answer = make(script, retries=len(given) - 1)
        call = answer.call
    except CallFailed as failed:
        answer, call = None, failed.call
    used = [o.usage for o in script.given]
    assert sum((a.usage for a in call.attempts), call.usage) == sum(used, TokenUsage())
    assert len(call.attempts) == len(used) - (answer is not None)
    ended = next((i for i, o in enumerate(given) if isinstance(o, Came) or not o.again), len(given) - 1)
    assert script.given == given[: ended + 1]
    last = given[ended]
    if isinstance(last, Came):
        assert (answer.text, call.complete, call.stop) == ("By ferry.", True, "end_turn")
    elif not last.final and any(o.part for o in script.given):
        assert (answer.text, call.complete, call.stop) == ("By", False, INTERRUPTED)
    else:
        assert (answer, call.complete, call.stop) == (None, False, "x")


@given(after=st.lists(st.none() | st.floats(0.1, 60), max_size=5), key=st.text(max_size=5))
def test_a_call_waits_as_long_as_it_is_asked_to_and_else_backs_off(after, key):
    clock = VirtualClock()
    script = Script(*(replace(BUSY, after=seconds) for seconds in after), WHOLE)
    value, failed = clock.run(tried(script, 9, key, clock))
    expected = sum(backoff(i, key) if seconds is None else seconds for i, seconds in enumerate(after))
    assert clock.now() == pytest.approx(expected)
    assert (value, len(failed)) == (WHOLE, len(after))


@given(number=st.integers(0, 5000), key=st.text(max_size=9))
def test_a_wait_doubles_from_half_a_second_to_8_and_loses_less_than_a_quarter(number, key):
    whole = min(0.5 * 2.0 ** min(number, 20), 8.0)
    assert 0.75 * whole < backoff(number, key) <= whole
    assert backoff(number, key) == backoff(number, key)


def test_calls_that_fail_together_do_not_come_back_together():
    waits = sorted(backoff(0, str(i)) for i in range(1000))
    assert len(set(waits)) == 1000
    tenths = [sum(0.375 + i * 0.0125 <= w < 0.375 + (i + 1) * 0.0125 for w in waits) for i in range(10)]
    assert min(tenths) > 60


def test_other_prompts_and_other_samples_wait_otherwise():
    def waited(prompt, sample):
        return make(Script(BUSY, WHOLE), prompt=prompt, sample=sample).call.seconds

    other = replace(PROMPT, question="Why?")
    seen = [waited(PROMPT, 0), waited(PROMPT, 1), waited(other, 0)]
    assert len(set(seen)) == 3
    assert seen[0] == waited(PROMPT, 0)


def test_times_count_from_the_call_and_not_from_the_try_that_gave_them():
    clock = VirtualClock()

    async def work():
        await clock.sleep(3)
        first = True

        async def attempt():
            nonlocal first
            await clock.sleep(1)
            if first:
                first = False
                return replace(BUSY, after=10.0)
            return replace(WHOLE, pieces=(clock.now(),))

        return await answered(attempt, PROMPT, 0, clock, where="w", model="m", retries=1)

    call = clock.run(work()).call
    assert call.pieces == pytest.approx((12.0,))
    assert call.seconds == pytest.approx(12.0)
    assert [a.seconds for a in call.attempts] == pytest.approx([1.0])


def test_a_failure_says_who_where_how_often_and_what_to_do():
    with pytest.raises(CallFailed) as caught:
        make(Script(BUSY, BUSY, BUSY))
    assert str(caught.value) == "Somebody, somewhere: 529 overloaded_error on each of 3 tries: busy"
    with pytest.raises(CallFailed) as caught:
        make(Script(BUSY, replace(BUSY, error="401", told="set the key", again=False, final=True)))
    assert str(caught.value) == "Somebody, somewhere: 401: set the key"
    assert caught.value.final
