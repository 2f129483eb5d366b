"""Claude through the real SDK, against a server on loopback that misbehaves byte by byte."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import (
    CLOSED,
    CUT,
    HANG,
    LAST,
    PING,
    RESET,
    STOP,
    Scripted,
    delta,
    ended,
    event,
    events,
    head,
    opened,
    overload,
    plain,
    refusal,
    start,
    streaming,
    whole,
)

from evalkit import fingerprint
from evalkit.calls import INTERRUPTED, Attempt, CallFailed, TokenUsage
from evalkit.clock import WallClock
from evalkit.errors import InputError
from evalkit.llm.claude import Claude
from evalkit.llm.messages import Breakpoints, Chat
from evalkit.llm.pricing import Prices
from evalkit.serving.clock import VirtualClock
from evalkit.testing import check_component, check_generator
from evalkit.values import Prompt

KEY = "sk-ant-not-for-anyone-1234567890"
ASKED = Prompt("How?", ("Ferries", ""), ("By ferry.", "By bus."), ("d1", "d2"), ("Hello", "Good day"))
START = TokenUsage(20, 5, 7, 3, 1)
USED = replace(START, output=9)
PLACES = ("system", "context", "history")


@pytest.fixture
def server(monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "EVALKIT_PRICES"):
        monkeypatch.delenv(name, raising=False)
    running = Scripted()
    yield running
    running.close()


@pytest.fixture
def claude(server):
    return Claude(base_url=server.url, server="here")


def ask(generator, prompt=ASKED, sample=0):
    """One answer, in virtual time: waits cost nothing, and ``call.seconds`` is what was waited for."""
    clock = VirtualClock()
    return clock.run(generator(prompt, sample, clock))


def failure(generator, prompt=ASKED):
    with pytest.raises(CallFailed) as caught:
        ask(generator, prompt)
    assert "\n" not in str(caught.value)
    return caught.value


def after_a_fault(server, claude, *script):
    server.scripts = [list(script)]
    answer = ask(claude)
    assert (answer.text, answer.call.usage, answer.call.complete) == ("By ferry.", USED, True)
    return answer.call


# --- what an answer states


def test_an_answer_has_its_text_without_marks_and_cites_what_they_name(server, claude):
    server.scripts = [whole("By fer", "ry [2", ", 1]. Or by", " bus [2] [7].")]
    answer = ask(claude)
    assert (answer.text, answer.cited) == ("By ferry. Or by bus [7].", ("d2", "d1"))


def test_a_call_states_usage_by_kind_stop_request_and_day(server, claude):
    before = datetime.now(UTC).date()
    call = ask(claude).call
    assert (call.model, call.usage, call.stop, call.request_id) == ("claude-haiku-5-5", USED, "end_turn", "req_1")
    assert before.isoformat() <= call.day <= datetime.now(UTC).date().isoformat()
    assert (call.service, call.complete, call.attempts) == ("standard", True, ())


def test_a_call_counts_pieces_of_any_kind_and_says_which_was_the_first_of_text(server, claude):
    reasoning = [opened(0, "thinking"), delta("Hm", kind="thinking"), PING, delta("!", kind="thinking"), CLOSED]
    text = [opened(1), delta("By "), PING, event("news", of="tomorrow"), delta("ferry."), CLOSED, ended(), STOP]
    server.scripts = [
        streaming(start(), *reasoning, *text),
        streaming(start(), *reasoning, ended(0, "refusal"), STOP),
    ]
    call = ask(claude).call
    assert (len(call.pieces), call.first_text) == (4, 2)
    refused = ask(claude)
    assert (refused.text, len(refused.call.pieces), refused.call.first_text) == ("", 2, 2)
    assert refused.call.stop == "refusal"


def test_times_run_from_the_call_to_each_piece_and_its_end(server, claude):
    async def work():
        clock = WallClock()
        await clock.sleep(0.02)
        return clock.now(), await claude(ASKED, 0, clock), clock.now()

    begun, answer, done = asyncio.run(work())
    times = [0.0, *answer.call.pieces, answer.call.seconds]
    assert times == sorted(times)
    assert len(set(times)) > 2
    assert answer.call.seconds <= done - begun


def test_usage_that_leaves_the_ttls_out_is_of_five_minutes_and_the_last_word_counts(server, claude):
    usage = {
        "input_tokens": 1,
        "output_tokens": 1,
        "cache_creation_input_tokens": 12,
        "cache_read_input_tokens": None,
    }
    last = ended(4, input_tokens=2, cache_read_input_tokens=6)
    server.scripts = [streaming(start(usage), opened(), delta("x"), last, STOP)]
    assert ask(claude).call.usage == TokenUsage(2, 12, 0, 6, 4)


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, 900), max_size=12), crlf=st.booleans())
def test_an_answer_does_not_depend_on_how_its_bytes_travel(cuts, crlf):
    data = b"".join(events("By fer", "ry über é [1]."))
    data = data.replace(b"\n", b"\r\n") if crlf else data
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    server = Scripted()
    try:
        server.scripts = [streaming(*(data[a:b] for a, b in pairwise(edges)))]
        answer = ask(Claude(base_url=server.url))
    finally:
        server.close()
    assert (answer.text, answer.cited, answer.call.usage) == ("By ferry über é.", ("d1",), USED)
    assert answer.call.attempts == ()


@settings(max_examples=60)
@given(at=st.integers(0, 10_000), how=st.sampled_from([LAST, CUT, RESET]))
def test_wherever_a_stream_breaks_the_answer_is_whole_or_says_so_or_there_is_none(at, how):
    data = b"".join(events("By ", "ferry."))
    at %= len(data)
    server = Scripted()
    try:
        server.scripts = [streaming(*([data[:at]] if at else []), then=how)]
        answer = ask(Claude(base_url=server.url, retries=0))
        call = answer.call
    except CallFailed as failed:
        answer, call = None, failed.call
    finally:
        server.close()
    final = data.index(ended()) + len(ended()) <= at
    if final and how != RESET:  # a reset may overtake what was sent
        assert answer is not None
    if answer is None:
        assert call.attempts[0].usage in (TokenUsage(), START)
    elif call.complete:
        assert (answer.text, call.usage, call.stop) == ("By ferry.", USED, "end_turn")
        assert at >= data.index(ended())
    else:
        assert answer.text in ("By", "By ferry.")
        assert (call.usage, call.stop) == (START, INTERRUPTED)


# --- what is sent


def test_a_request_holds_the_chat_with_its_breakpoints_and_no_sampling(server, claude):
    chat = Chat("Answer.", documents="system", breakpoints=Breakpoints("1h", "1h", "5m"))
    ask(replace(claude, chat=chat, max_tokens=77))
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/messages")
    hour, five = ({"cache_control": {"type": "ephemeral", "ttl": ttl}} for ttl in ("1h", "5m"))
    assert request.body == {
        "model": "claude-haiku-5-5",
        "max_tokens": 77,
        "stream": True,
        "system": [
            {"type": "text", "text": "Answer.", **hour},
            {"type": "text", "text": '<document index="1" title="Ferries">\nBy ferry.\n</document>'},
            {"type": "text", "text": '<document index="2">\nBy bus.\n</document>', **hour},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Good day", **five}]},
            {"role": "user", "content": [{"type": "text", "text": "How?"}]},
        ],
    }


@pytest.mark.parametrize(
    ("thinking", "sent"),
    [
        (None, None),
        ("adaptive", {"type": "adaptive"}),
        ("disabled", {"type": "disabled"}),
        (1024, {"type": "enabled", "budget_tokens": 1024}),
    ],
)
def test_thinking_is_asked_for_as_the_api_takes_it(server, claude, thinking, sent):
    ask(replace(claude, thinking=thinking, max_tokens=2000))
    assert server.requests[0].body.get("thinking") == sent


def test_the_sdk_makes_no_tries_of_its_own(server, claude):
    server.always = refusal(500)
    failure(replace(claude, retries=0))
    assert len(server.requests) == 1
    assert server.requests[0].headers["x-stainless-retry-count"] == "0"


def test_the_server_is_named_by_the_environment_where_no_field_does(server, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"{server.url}/")
    assert ask(Claude()).text == "By ferry."
    assert server.requests[0].path == "/v1/messages"


# --- tries


CUT_IN_TEXT = [start(), opened(), delta("By ")]
TRIED_AGAIN = {
    "408": (refusal(408, "timeout_error"), "408 timeout_error", TokenUsage()),
    "409": (refusal(409, "conflict_error"), "409 conflict_error", TokenUsage()),
    "429": (refusal(429, "rate_limit_error", retry_after=1), "429 rate_limit_error", TokenUsage()),
    "429 without retry-after": (refusal(429, "rate_limit_error", "slow down"), "429 rate_limit_error", TokenUsage()),
    "500": (refusal(500), "500 api_error", TokenUsage()),
    "504": (refusal(504, "timeout_error"), "504 timeout_error", TokenUsage()),
    "529": (refusal(529, "overloaded_error"), "529 overloaded_error", TokenUsage()),
    "502 with a page": (plain(502, b"<html>Bad\ngateway", kind="text/html"), "502", TokenUsage()),
    "an odd error body": (plain(503, {"error": {"type": ["a"], "message": 5}}), "503", TokenUsage()),
    "overload at once": (streaming(overload()), "529 overloaded_error", TokenUsage()),
    "overload in mid-stream": (streaming(*CUT_IN_TEXT, overload()), "529 overloaded_error", START),
    "an error in mid-stream": (streaming(*CUT_IN_TEXT, overload("api_error")), "500 api_error", START),
    "an odd error in mid-stream": (streaming(start(), b"event: error\ndata: oops\n\n"), "500", START),
    "hung up at once": ([CUT], "connection lost", TokenUsage()),
    "reset at once": ([RESET], "connection lost", TokenUsage()),
    "cut before the text": (streaming(start(), then=CUT), "stream cut", START),
    "cut in the text": (streaming(*CUT_IN_TEXT, then=CUT), "stream cut", START),
    "reset in the text": (streaming(*CUT_IN_TEXT, then=RESET), "stream cut", None),
    "ended in the text": (streaming(*CUT_IN_TEXT), "stream cut", START),
    "fewer bytes than announced": ([head(**{"content-length": 9999}), *CUT_IN_TEXT, CUT], "stream cut", START),
    "an error shorter than announced": ([*plain(500, {}, length=99), CUT], "stream cut", TokenUsage()),
    "no JSON": (streaming(*CUT_IN_TEXT, b"event: content_block_delta\ndata: {oops\n\n"), "malformed event", START),
    "no object": (streaming(*CUT_IN_TEXT, b"event: content_block_delta\ndata: [1]\n\n"), "malformed event", START),
    "no UTF-8": (streaming(*CUT_IN_TEXT, b"event: x\ndata: \xff\n\n"), "malformed event", START),
    "no text in a delta": (streaming(start(), opened(), delta(None)), "malformed event", START),
    "usage that is none": (streaming(start({"input_tokens": "many"})), "malformed event", TokenUsage()),
    "negative usage": (streaming(start(), opened(), delta("x"), ended(-1), STOP), "malformed event", START),
    "an answer without a start": (streaming(opened(), delta("x"), ended(), STOP), "no message", TokenUsage(output=9)),
    "nothing": (streaming(), "no message", TokenUsage()),
    "a page": (plain(200, b"<html>It works!", kind="text/html"), "no message", TokenUsage()),
}  # fmt: skip


@pytest.mark.parametrize("fault", TRIED_AGAIN)
def test_what_may_succeed_is_tried_again_and_what_it_used_is_kept(server, claude, fault):
    script, error, used = TRIED_AGAIN[fault]
    (attempt,) = after_a_fault(server, claude, *script).attempts
    assert attempt.error == error
    assert len(server.requests) == 2
    if used is not None:  # a reset may overtake what was sent before it
        assert attempt.usage == used


def test_bytes_behind_an_answer_s_end_do_not_reach_the_next_answer(server, claude):
    short = head(**{"content-length": sum(map(len, CUT_IN_TEXT))})
    first, *others = after_a_fault(server, claude, short, *CUT_IN_TEXT, delta("ferry.")).attempts
    assert (first.error, first.usage) == ("stream cut", START)
    assert {(attempt.error, attempt.usage) for attempt in others} <= {("connection lost", TokenUsage())}


@pytest.mark.parametrize(
    ("status", "kind", "final", "said"),
    [
        (400, "invalid_request_error", False, "the request is refused; check model and its settings"),
        (401, "authentication_error", True, "the key is refused; set ANTHROPIC_API_KEY"),
        (403, "permission_error", True, "the key is refused; set ANTHROPIC_API_KEY"),
        (404, "not_found_error", True, "no such model, or no such API at this URL; check model and base_url"),
        (413, "request_too_large", False, "the prompt is too large"),
        (422, "invalid_request_error", False, "the request is refused"),
        (307, "", False, "not an answer of this API; check base_url"),
    ],
)
def test_what_cannot_succeed_is_asked_for_once(server, claude, status, kind, final, said):
    server.always = refusal(status, kind)
    error = failure(claude)
    assert len(server.requests) == 1
    assert error.final == final
    where = f"Claude, {server.url}, model 'claude-haiku-5-5': "
    assert str(error).startswith(f"{where}{status} {kind}".rstrip() + ": " + said)
    assert "(said the server)" in str(error)
    assert error.call.attempts == (
        Attempt(f"{status} {kind}".strip(), error.call.attempts[0].seconds, request_id="req_1"),
    )
    assert (error.call.stop, error.call.complete) == (error.call.attempts[0].error, False)


def test_what_cannot_succeed_is_not_tried_again_in_mid_stream_either(server, claude):
    server.always = streaming(start(), overload("authentication_error", "revoked"))
    error = failure(claude)
    assert (error.final, len(server.requests), error.call.attempts[0].usage) == (True, 1, START)


@pytest.mark.parametrize(
    "spent",
    [
        refusal(429, "rate_limit_error", "You have reached your monthly spend limit.", x_should_retry="true"),
        refusal(429, "rate_limit_error", "no", {"error_code": "contract_spend_limit_reached"}),
        refusal(400, "invalid_request_error", "Your credit balance is too low to access the API."),
        refusal(402, "billing_error", "pay"),
    ],
)
def test_a_spent_limit_is_final(server, claude, spent):
    server.always = spent
    error = failure(claude)
    assert (error.final, len(server.requests)) == (True, 1)
    assert "credit or spending limit used up; raise it and run again, what was answered is kept" in str(error)


def test_a_server_that_says_whether_to_try_again_is_obeyed(server, claude):
    after_a_fault(server, claude, *refusal(400, x_should_retry="true"))
    server.always = refusal(529, x_should_retry="false")
    failure(claude)
    assert len(server.requests) == 3


# --- waits


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "2.5"}, 2.5),
        ({"retry_after_ms": "1500", "retry_after": "7"}, 1.5),
        ({"retry_after": "60"}, 60.0),
    ],
)
def test_a_server_that_asks_to_wait_is_given_its_time(server, claude, headers, seconds):
    assert seconds <= after_a_fault(server, claude, *refusal(429, **headers)).seconds < seconds + 0.5


def test_a_date_to_wait_for_is_waited_for(server, claude):
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 20 < after_a_fault(server, claude, *refusal(503, retry_after=at)).seconds <= 30


@pytest.mark.parametrize("header", ["0", "-3", "soon", "nan", "Mon, 01 Jan 2001 00:00:00 GMT"])
def test_a_wait_that_is_none_is_as_if_none_was_asked_for(server, claude, header):
    assert 0.375 <= after_a_fault(server, claude, *refusal(429, retry_after=header)).seconds <= 0.5


def test_a_wait_of_more_than_a_minute_is_refused_and_told_until_when(server, claude):
    server.always = refusal(429, "rate_limit_error", retry_after=7200)
    before = datetime.now(UTC) + timedelta(hours=2)
    error = failure(claude)
    told = {f"until {at:%Y-%m-%d %H:%M} UTC" for at in (before, before + timedelta(minutes=1))}
    assert "the server asks to wait 7200 s, " in str(error)
    assert any(when in str(error) for when in told)
    assert (error.final, len(server.requests)) == (True, 1)


def test_waits_double_up_to_8_seconds_less_at_most_a_quarter_and_repeat(server, claude):
    server.always = refusal(529)
    waited = failure(replace(claude, retries=6)).call.seconds
    most = 0.5 + 1 + 2 + 4 + 8 + 8
    assert 0.75 * most <= waited <= most + 0.3
    assert failure(replace(claude, retries=6)).call.seconds == pytest.approx(waited, abs=0.3)  # the sockets' time
    assert abs(failure(replace(claude, retries=6), replace(ASKED, question="Why?")).call.seconds - waited) > 0.3
    assert len(server.requests) == 21


# --- when no try is left


def test_a_stream_that_broke_keeps_what_came_and_says_so(server, claude):
    server.always = streaming(start(), opened(), delta("By "), delta("ferry [1]. Or"), then=CUT)
    answer = ask(claude)
    assert (answer.text, answer.cited) == ("By ferry. Or", ("d1",))
    call = answer.call
    assert (call.stop, call.complete, call.usage, len(call.pieces)) == (INTERRUPTED, False, START, 2)
    assert [(a.error, a.usage) for a in call.attempts] == [("stream cut", START)] * 2
    assert len(server.requests) == 3


def test_what_came_is_kept_though_later_tries_gave_nothing(server, claude):
    server.scripts = [streaming(start(), opened(), delta("By"), then=CUT), refusal(529), refusal(400)]
    call = ask(claude).call
    assert (call.stop, call.usage) == (INTERRUPTED, START)
    assert [a.error for a in call.attempts] == ["529 api_error", "400 api_error"]


def test_a_key_that_is_refused_after_a_broken_stream_is_final_and_loses_no_usage(server, claude):
    server.scripts = [streaming(start(), opened(), delta("By"), then=CUT), refusal(401)]
    error = failure(claude)
    assert error.final
    assert [a.usage for a in error.call.attempts] == [START, TokenUsage()]


def test_a_stream_that_broke_before_any_text_is_no_answer(server, claude):
    thought = [start(), opened(0, "thinking"), delta("Hm", kind="thinking")]
    server.always = streaming(*thought, then=CUT)
    error = failure(claude)
    assert "stream cut on each of 3 tries: the connection broke before the answer's end; run again" in str(error)
    assert (not error.final, [a.usage for a in error.call.attempts]) == (True, [START] * 3)


def test_a_stream_that_broke_behind_its_final_usage_is_whole(server, claude):
    for rest in ([], [STOP], [event("odd"), overload()], [b"event: x\ndata: {oops\n\n"]):
        server.scripts = [streaming(*events("By ", "ferry.")[:-1], *rest, then=CUT)]
        answer = ask(claude)
        assert (answer.text, answer.call.complete, answer.call.attempts) == ("By ferry.", True, ())


def test_a_failed_call_survives_being_sent_to_another_process(server, claude):
    server.always = refusal(529)
    error = failure(claude)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(copy), copy.call, copy.final) == (str(error), error.call, error.final)


@pytest.mark.parametrize("script", [[HANG], streaming(start(), opened(), then=HANG)])
def test_a_server_that_falls_silent_is_given_up(server, claude, script):
    server.always = script
    with pytest.raises(CallFailed, match=r"timeout: no sign of the server in 0\.15 s; raise timeout"):
        asyncio.run(replace(claude, timeout=0.15, retries=0)(ASKED, 0, WallClock()))
    assert server.hung_up.wait(10)


def test_a_server_that_is_not_there_is_told(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = Claude(base_url=f"http://127.0.0.1:{free.getsockname()[1]}")
    said = "no connection on each of 3 tries: cannot be reached; start it, or set base_url or ANTHROPIC_BASE_URL"
    assert said in str(failure(gone))


def test_a_cancelled_call_hangs_up(server, claude):
    async def work():
        call = asyncio.ensure_future(claude(ASKED, 0, WallClock()))
        while not server.requests:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    for script in ([HANG], streaming(start(), opened(), delta("By"), then=HANG)):
        server.scripts = [script]
        server.requests.clear()
        server.hung_up.clear()
        asyncio.run(work())
        assert server.hung_up.wait(10)


# --- several at once


def test_calls_at_once_each_get_their_own_answer_and_calls_in_turn_share_a_connection(server, claude):
    def echo(request):
        return whole(request.body["messages"][-1]["content"][-1]["text"])

    server.always = echo
    prompts = [replace(ASKED, question=f"q{i}") for i in range(40)]

    async def at_once(clock):
        return await asyncio.gather(*(claude(prompt, 0, clock) for prompt in prompts))

    async def in_turn(clock):
        return [await claude(prompt, 0, clock) for prompt in prompts]

    assert [a.text for a in asyncio.run(at_once(WallClock()))] == [p.question for p in prompts]
    before = server.connections
    assert [a.text for a in asyncio.run(in_turn(WallClock()))] == [p.question for p in prompts]
    assert server.connections == before + 1


# --- the key


def everything(error):
    """All that a traceback, a log or a report could show of an error."""
    while error is not None:
        yield from (repr(error), str(error), repr(vars(error)))
        assert error.__context__ is None
        error = error.__cause__


LEAKS = {
    "400": refusal(400, message=f"bad {KEY}"),
    "401": refusal(401, "authentication_error", f"invalid x-api-key: {KEY}"),
    "a kind": refusal(403, KEY, "no"),
    "a request id": [head(500, "text/plain", **{"request-id": KEY, "content-length": 0})],
    "a page": plain(503, f"<p>{KEY}</p>".encode(), kind="text/html"),
    "across a line": refusal(529, message=f"{'x' * 190} {KEY}"),
    "another's key": refusal(529, message="got sk-ant-another-9876543210"),
    "in mid-stream": streaming(start(), overload(message=KEY)),
    "no JSON": streaming(start(), f"event: x\ndata: {KEY}\n\n".encode()),
    "a spent limit": refusal(429, message=f"spend limit of {KEY}"),
    "a long wait": refusal(429, message=KEY, retry_after=1000),
    "hung up": [CUT],
}


@pytest.mark.parametrize("leak", LEAKS)
def test_no_error_shows_a_key_even_where_the_server_does(server, claude, monkeypatch, caplog, leak):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ANTHROPIC_API_KEY", f"{KEY}\n")
    server.always = LEAKS[leak]
    error = failure(claude)
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    shown = "".join([*everything(error), repr(claude), repr(error.call.plain())])
    assert "sk-ant" not in shown
    assert "not-for-anyone" not in shown
    if leak != "a request id":  # the SDK logs a server's headers where somebody turns its logging up to DEBUG
        assert KEY not in caplog.text


def test_a_key_comes_from_the_environment_alone(server, claude, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "another-way-in")
    before = fingerprint.digest(claude)
    answer = ask(claude)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
    ask(claude)
    assert fingerprint.digest(claude) == before
    assert KEY not in repr(answer) + repr(claude)
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}", "Bearer another"]


def test_a_server_on_this_machine_needs_no_key(server, claude):
    ask(claude)
    assert server.requests[0].headers["authorization"] == "Bearer no-key-needed"


def test_anthropic_needs_a_key_and_is_not_addressed_without_one(server):
    error = failure(Claude())
    assert str(error) == (
        "Claude, https://api.anthropic.com, model 'claude-haiku-5-5': no key; set ANTHROPIC_API_KEY, or take a "
        "generator that needs none: Extractive(), or Modelled(Extractive())"
    )
    assert (error.final, error.call.stop, error.call.attempts) == (True, "no key", ())


def test_a_key_that_no_header_can_hold_is_refused_unseen(server, claude, monkeypatch):
    for key in (f"{KEY}\nx: y", f"{KEY} b", f"{KEY}é"):
        monkeypatch.setenv("ANTHROPIC_API_KEY", key)
        error = failure(claude)
        assert "ANTHROPIC_API_KEY holds characters that no key has; set it anew" in str(error)
        assert KEY not in "".join(everything(error))
    assert server.requests == []


def test_a_redirect_carries_no_prompt_elsewhere(server, claude):
    elsewhere = Scripted()
    try:
        server.always = refusal(307, location=f"{elsewhere.url}/v1/messages")
        failure(claude)
        assert elsewhere.requests == []
    finally:
        elsewhere.close()


def test_a_proxy_does_not_see_what_is_for_this_machine(server, claude, monkeypatch):
    proxy = Scripted()
    try:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ask(claude).text == "By ferry."
        assert proxy.connections == 0
    finally:
        proxy.close()


# --- a value


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": " "}, "model is empty"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
        ({"retries": -1}, "retries is -1; it must be at least 0"),
        ({"timeout": 0.0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"thinking": 1023}, "thinking is 1023; it must be at least 1024 tokens"),
        ({"thinking": 2048, "max_tokens": 2048}, "fewer than max_tokens, which is 2048"),
        ({"base_url": "127.0.0.1:8000"}, "a URL such as"),
        ({"base_url": "ftp://host"}, "a URL such as"),
        ({"base_url": "http://host:port"}, "one such as"),
        ({"base_url": "http://me:secret@host"}, "a key belongs into ANTHROPIC_API_KEY"),
        ({"base_url": "http://host?key=secret"}, "a key belongs into ANTHROPIC_API_KEY"),
    ],
)
def test_a_bad_field_is_told_in_one_line_without_what_may_be_secret(fields, said):
    with pytest.raises(InputError, match=said) as caught:
        Claude(**fields)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_conforms(claude):
    check_generator(claude)


def test_it_is_a_value_that_needs_no_network(server):
    other = Chat("Answer.", "system", Breakpoints("5m"))
    check_component(Claude(max_tokens=4000), others={"base_url": "http://127.0.0.1:1", "chat": other})


@pytest.mark.parametrize(
    "chat", [Chat("Answer."), Chat(documents="system"), *(Chat(breakpoints=Breakpoints(**{p: "5m"})) for p in PLACES)]
)
def test_whatever_changes_the_request_changes_the_identity(chat):
    assert fingerprint.digest(Claude(chat=chat)) != fingerprint.digest(Claude())


def test_who_serves_counts_and_how_it_is_asked_does_not(server, monkeypatch):
    here, there = (Claude(base_url=f"http://{host}") for host in ("a", "b"))
    digests = {fingerprint.digest(claude) for claude in (here, there, Claude(), replace(here, server="ours"))}
    assert len(digests) == 4
    assert fingerprint.digest(replace(here, base_url="http://a/")) == fingerprint.digest(here)
    assert fingerprint.digest(replace(here, server="x")) == fingerprint.digest(replace(there, server="x"))
    assert fingerprint.digest(replace(here, retries=9, timeout=1.0)) == fingerprint.digest(here)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://a")
    assert fingerprint.digest(Claude()) == fingerprint.digest(here)


# --- what it can cost


@given(
    passages=st.lists(st.text(max_size=40), max_size=4),
    shares=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    model=st.sampled_from(["claude-haiku-5-5", "claude-opus-4-5", "claude-sonnet-5-5"]),
)
def test_no_call_costs_more_than_its_bound(passages, shares, model):
    """However its prompt is charged, at a token a byte, with every try running to its last token."""
    names = tuple("t" for _ in passages)
    prompt = Prompt("q", names, tuple(passages), tuple(map(str, range(len(passages)))))
    claude = Claude(model=model, max_tokens=50)
    size = len(claude.chat.messages(prompt).text.encode())
    used = TokenUsage(*(size * share // max(sum(shares), 1) for share in shares), output=50)
    bound = claude.at_most(prompt)
    assert 3 * Prices.load().of(model, "", used.prompt).dollars(used) <= bound
    assert replace(claude, batched=True).at_most(prompt) == pytest.approx(bound / 3 / 2)


def test_a_model_without_a_price_costs_nothing_at_another_s_server_and_is_refused_at_anthropic_s(server, claude):
    assert replace(claude, model="my-own").at_most(ASKED) == 0.0
    assert claude.at_most(ASKED) > 0.0
    with pytest.raises(InputError, match=r"no price for model 'my-own'.*EVALKIT_PRICES"):
        Claude(model="my-own").at_most(ASKED)
