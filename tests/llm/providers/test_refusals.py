"""What a server's refusal means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.llm.providers.refusals import name, one_line, refused, retry_after

KEY = "a-key-that-looks-like-nothing"


def read(status, kind="", words="", secret="", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return refused(status, kind, words, named, variable="THE_KEY", secret=secret)


@pytest.mark.parametrize("status", range(300, 600))
def test_the_statuses_of_a_busy_server_are_tried_again_and_no_others(status):
    fault = read(status)
    assert fault.again == (status in (408, 409, 429) or status >= 500)
    assert fault.final == (status in (401, 402, 403, 404))
    assert read(status, x_should_retry="false").again is False
    assert read(status, x_should_retry="true").again == (status != 402)


@pytest.mark.parametrize(
    ("status", "kind", "words", "spent"),
    [
        (429, "rate_limit_error", "This request would exceed your monthly spend limit", True),
        (429, "enforced_spend_limit_reached", "", True),
        (429, "insufficient_quota", "You exceeded your current quota, please check your plan", True),
        (429, "rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit", False),
        (429, "rate_limit_exceeded", "Rate limit reached; see https://example.org/account/billing", False),
        (400, "invalid_request_error", "Your credit balance is too low", True),
        (400, "invalid_request_error", "messages: the text about a credit card is too long", False),
        (403, "billing_error", "", True),
        (500, "api_error", "spend limit service is down", False),
        (529, "overloaded_error", "Overloaded", False),
    ],
)
def test_a_spent_limit_is_told_from_a_rate_limit(status, kind, words, spent):
    fault = read(status, kind, words)
    assert fault.final == spent
    assert ("spending limit used up" in fault.told) == spent
    if spent:
        assert not fault.again


def test_a_limit_that_says_when_to_come_back_is_a_rate_limit():
    assert read(429, "rate_limit_error", "spend less quickly", retry_after="5").again


@given(seconds=st.floats(0.001, 1e9))
def test_a_number_of_seconds_or_milliseconds_is_read_as_it_stands(seconds):
    assert retry_after({"retry-after": repr(seconds)}) == seconds
    assert retry_after({"retry-after-ms": repr(seconds), "retry-after": "1"}) == pytest.approx(seconds / 1000)


@given(ahead=st.integers(5, 10**7))
def test_a_date_is_read_as_the_time_until_then(ahead):
    at = datetime.now(UTC) + timedelta(seconds=ahead)
    assert ahead - 5 < retry_after({"retry-after": format_datetime(at, usegmt=True)}) <= ahead


@given(text=st.text())
def test_a_header_that_makes_no_sense_is_none(text):
    seconds = retry_after({"retry-after": text, "retry-after-ms": text})
    assert seconds is None or seconds > 0


@given(before=st.text(max_size=250), after=st.text(max_size=20))
def test_no_line_shows_a_key_is_long_or_has_an_end(before, after):
    line = one_line(before + KEY + after, KEY)
    assert KEY not in line
    assert "sk-" not in one_line(f"{before} sk-proj-1234567890 {after}")[len(before) :]
    assert len(line) <= 200
    assert len(line.splitlines()) <= 1


@given(text=st.text(max_size=70))
def test_a_name_is_a_word_or_nothing(text):
    found = name(text, KEY)
    assert found in ("", text)
    assert not found or found.replace("_", "").replace("-", "").replace(".", "").isalnum() or not found.strip("_-.")


def test_a_name_that_is_or_holds_a_key_is_none():
    assert name("overloaded_error") == "overloaded_error"
    assert name(KEY, KEY) == name(f"x-{KEY}", KEY) == name("sk-ant-1234567890") == name("two words") == ""


def test_no_part_of_a_fault_shows_the_key():
    fault = refused(401, KEY, f"no {KEY}", {}, variable="THE_KEY", secret=KEY, request_id=KEY)
    assert KEY not in repr(fault)
    assert fault.told == "the key is refused; set THE_KEY (no ***)"
