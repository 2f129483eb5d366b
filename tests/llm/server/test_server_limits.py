"""Rate limits hold over any stretch of time, and are told as the API tells them."""

from __future__ import annotations

from datetime import UTC, datetime

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakers import Paced, a_prompt, ask, body, talking

from evalkit.clock import WallClock
from evalkit.errors import InputError
from evalkit.llm.server import Limits
from evalkit.llm.server.limits import Buckets
from evalkit.llm.server.refusals import Refused

DAY = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Still(WallClock):
    """A clock that stands where it is put."""

    at = 0.0

    def now(self):
        return self.at


@given(
    st.integers(1, 30), st.integers(1, 3000), st.lists(st.tuples(st.floats(0, 20), st.integers(0, 900)), max_size=60)
)
def test_over_any_stretch_no_more_comes_in_than_a_minutes_worth_and_what_was_refilled(requests, tokens, arrivals):
    buckets, now, let_in = Buckets(Limits(requests, tokens), 0.0), 0.0, []
    for gap, size in arrivals:
        now += gap
        try:
            buckets.admit(now)
        except Refused:
            continue
        buckets.took(size, 0)
        let_in.append((now, size))
    for i, (start, _) in enumerate(let_in):
        for j, (end, last) in enumerate(let_in[i:], i):
            assert j - i + 1 <= requests + (end - start) * requests / 60 + 1e-6
            took = sum(size for _, size in let_in[i : j + 1])
            assert took - last <= tokens + (end - start) * tokens / 60 + 1e-6  # the last one may overdraw


@given(st.integers(1, 50), st.integers(1, 2000), st.integers(0, 5000), st.integers(0, 5000))
def test_who_waits_as_long_as_retry_after_says_is_let_in(requests, tokens, size, out):
    buckets, now = Buckets(Limits(requests, tokens, tokens), 0.0), 0.0
    for _ in range(2 * requests):
        if (wait := wait_for(buckets, now)) is not None:
            assert wait >= 1
            now += wait
            assert wait_for(buckets, now) is None
        buckets.took(size, out)


def wait_for(buckets, now):
    """Ask to be let in; None if so, else the seconds to wait."""
    try:
        buckets.admit(now)
    except Refused as refused:
        return int(refused.headers["retry-after"])
    return None


def test_headers_state_limit_rest_and_when_it_is_full_again():
    buckets = Buckets(Limits(10, 600, 60), 0.0)
    buckets.admit(0.0)
    buckets.took(300, 90)
    headers = dict(buckets.headers(30.0, DAY))
    assert headers["anthropic-ratelimit-requests-limit"] == "10"
    assert headers["anthropic-ratelimit-requests-remaining"] == "10"
    assert headers["anthropic-ratelimit-requests-reset"] == "2026-11-01T12:00:00Z"
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "600"
    assert headers["anthropic-ratelimit-output-tokens-remaining"] == "0"  # 60 - 90 + 30 in half a minute
    assert headers["anthropic-ratelimit-output-tokens-reset"] == "2026-11-01T12:01:00Z"
    assert headers["anthropic-ratelimit-tokens-limit"] == "660"
    assert len(headers) == 12


def test_without_limits_there_are_no_headers_and_no_refusals():
    buckets = Buckets(Limits(), 0.0)
    for _ in range(1000):
        buckets.admit(0.0)
        buckets.took(10**6, 10**6)
    assert dict(buckets.headers(0.0)) == {}


def test_a_client_that_asks_too_often_gets_a_429_that_says_when_and_is_served_then():
    clock = Still()
    with talking(limits=Limits(requests=2), clock=clock) as (server, client):
        made = [client.messages.with_raw_response.create(**ask()) for _ in range(2)]
        left = [made.headers["anthropic-ratelimit-requests-remaining"] for made in made]
        with pytest.raises(anthropic.RateLimitError) as refused:
            client.messages.create(**ask())
        wait = int(refused.value.response.headers["retry-after"])
        clock.at += wait
        assert client.messages.create(**ask()).stop_reason == "end_turn"
        row = server.ledger()["rows"][2]
    assert (left, wait) == (["1", "0"], 30)
    assert refused.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert "2 requests per minute" in refused.value.body["error"]["message"]
    assert (row["status"], row["fault"], set(row["usage"].values())) == (429, "", {0})


def test_tokens_read_from_the_cache_do_not_count_as_input():
    fields = body(a_prompt(length=300), context="5m")
    with talking(limits=Limits(input_tokens=10_000), clock=Still()) as (_, client):
        made = [client.messages.with_raw_response.create(**fields) for _ in range(3)]
        usages = [made.parse().usage for made in made]
        left = [int(made.headers["anthropic-ratelimit-input-tokens-remaining"]) for made in made]
    assert left[0] == 10_000 - usages[0].input_tokens - usages[0].cache_creation_input_tokens
    assert left[1] - left[2] == usages[2].input_tokens < usages[2].cache_read_input_tokens


def test_output_counts_and_models_have_limits_of_their_own():
    with talking(Paced("word " * 40), limits=Limits(output_tokens=50), clock=Still()) as (_, client):
        client.messages.create(**ask())
        with (
            pytest.raises(anthropic.RateLimitError, match="output tokens"),
            client.messages.stream(**ask()) as stream,
        ):
            stream.until_done()
        assert client.messages.create(**ask(model="claude-haiku-4-5")).stop_reason == "end_turn"


def test_a_limit_below_one_is_refused():
    with pytest.raises(InputError, match="input_tokens is 0"):
        Limits(input_tokens=0)
