"""Chat completions through the real SDK, against a server on loopback that misbehaves byte by byte."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from chat_server import (
    CACHED,
    DONE,
    ROLE,
    chatting,
    chunk,
    counted,
    data,
    ended,
    events,
    refusal,
    text,
    thought,
    whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import CUT, HANG, LAST, RESET, Scripted, head, plain

from evalkit import fingerprint
from evalkit.calls import INTERRUPTED, Attempt, CallFailed, TokenUsage
from evalkit.clock import WallClock
from evalkit.errors import InputError
from evalkit.llm.messages import Breakpoints, Chat
from evalkit.llm.openai_compatible import OpenAICompatible
from evalkit.llm.pricing import Prices
from evalkit.serving.clock import VirtualClock
from evalkit.testing import check_component, check_generator
from evalkit.values import Prompt

KEY = "sk-proj-not-for-anyone-1234567890"
ASKED = Prompt("How?", ("Ferries", ""), ("By ferry.", "By bus."), ("d1", "d2"), ("Hello", "Good day"))
USED = TokenUsage(input=35, output=9)
NOTHING = TokenUsage()


@pytest.fixture
def server(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "EVALKIT_PRICES"):
        monkeypatch.delenv(name, raising=False)
    running = Scripted()
    running.always = whole()
    yield running
    running.close()


@pytest.fixture
def local(server):
    return OpenAICompatible("llama", base_url=f"{server.url}/v1", server="here")


def ask(generator, prompt=ASKED, sample=0):
    """One answer, in virtual time: waits cost nothing, and ``call.seconds`` is what was waited for."""
    clock = VirtualClock()
    return clock.run(generator(prompt, sample, clock))


def failure(generator, prompt=ASKED):
    with pytest.raises(CallFailed) as caught:
        ask(generator, prompt)
    assert "\n" not in str(caught.value)
    return caught.value


# --- what an answer states


def test_an_answer_has_its_text_without_marks_and_cites_what_they_name(server, local):
    server.scripts = [whole("By fer", "ry [2", ", 1]. Or by", " bus [2] [7].")]
    answer = ask(local)
    assert (answer.text, answer.cited) == ("By ferry. Or by bus [7].", ("d2", "d1"))


def test_a_call_states_usage_stop_request_and_day(server, local):
    before = datetime.now(UTC).date()
    call = ask(local).call
    assert (call.model, call.usage, call.stop, call.request_id) == ("llama", USED, "end_turn", "req_1")
    assert before.isoformat() <= call.day <= datetime.now(UTC).date().isoformat()
    assert (call.service, call.complete, call.attempts) == ("standard", True, ())


def test_what_was_read_from_the_server_s_cache_is_told_apart(server, local):
    server.scripts = [whole(usage=CACHED)]
    assert ask(local).call.usage == TokenUsage(input=11, cache_read=24, output=9)
    empty = {"prompt_tokens": 35, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": None}}
    server.scripts = [whole(usage=empty), whole(usage={**empty, "prompt_tokens_details": None})]
    assert [ask(local).call.usage for _ in range(2)] == [USED, USED]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("eos_token", "eos_token"),
        ("what? \n", "end_turn"),
    ],
)
def test_why_an_answer_ended_is_told_in_the_same_words_for_every_server(server, local, reason, stop):
    server.scripts = [whole(reason=reason)]
    assert ask(local).call.stop == stop


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_pieces_and_no_text(server, local, name):
    thoughts = [ROLE, thought("Hm", name), thought("!", name)]
    server.scripts = [
        chatting(*thoughts, text("By "), text("ferry."), ended(), counted(), DONE),
        chatting(*thoughts, ended("length"), counted(), DONE),
    ]
    answer = ask(local)
    assert (answer.text, len(answer.call.pieces), answer.call.first_text) == ("By ferry.", 4, 2)
    unsaid = ask(local)
    assert (unsaid.text, len(unsaid.call.pieces), unsaid.call.first_text) == ("", 2, 2)
    assert (unsaid.call.stop, unsaid.call.complete) == ("max_tokens", True)


def test_only_deltas_that_hold_something_are_pieces(server, local):
    filters = chunk(choices=[], prompt_filter_results=[])
    bare = b": comment\n\n" + data({"id": "x", "choices": [{"delta": None}]})
    server.scripts = [chatting(filters, ROLE, bare, text(""), text("By "), chunk({}), text("ferry."), *events()[-3:])]
    call = ask(local).call
    assert (len(call.pieces), call.first_text) == (2, 0)


def test_times_run_from_the_call_to_each_piece_and_its_end(server, local):
    async def work():
        clock = WallClock()
        await clock.sleep(0.02)
        return clock.now(), await local(ASKED, 0, clock), clock.now()

    begun, answer, done = asyncio.run(work())
    times = [0.0, *answer.call.pieces, answer.call.seconds]
    assert times == sorted(times)
    assert len(set(times)) > 2
    assert answer.call.seconds <= done - begun


def test_on_a_virtual_clock_waits_are_free_and_a_pending_socket_takes_its_real_time(server, local):
    server.scripts = [refusal(503), refusal(429, retry_after=50), whole()]
    call = ask(local).call
    assert 50 < call.seconds < 50.6
    assert 50 < min(call.pieces) <= max(call.pieces) <= call.seconds


def test_a_refusal_in_its_own_field_is_text(server, local):
    server.scripts = [chatting(ROLE, chunk({"refusal": "I will not."}), ended("content_filter"), counted(), DONE)]
    answer = ask(local)
    assert (answer.text, answer.call.stop) == ("I will not.", "refusal")


def test_without_a_header_the_request_is_known_by_the_answer_s_id(server, local):
    server.scripts = [chatting(*events("By"), **{"x-request-id": ""})]
    assert ask(local).call.request_id == "chatcmpl-1"


# --- usage that does not come


def test_where_no_usage_comes_the_answer_is_whole_and_its_usage_is_said_to_be_a_lower_bound(server, local):
    server.scripts = [chatting(ROLE, text("By "), text("ferry [1]."), ended(), *done) for done in ([DONE], [])]
    for _ in range(2):
        answer = ask(local)
        assert (answer.text, answer.call.stop) == ("By ferry.", "end_turn")
        assert (answer.call.complete, answer.call.usage, answer.call.attempts) == (False, NOTHING, ())
    assert len(server.requests) == 2


def test_usage_beside_the_end_is_final_and_usage_before_it_is_not(server, local):
    so_far = {"prompt_tokens": 35, "completion_tokens": 2}
    server.scripts = [
        chatting(ROLE, text("By ferry."), ended(usage=CACHED), DONE),
        chatting(ROLE, chunk({"content": "By ferry."}, usage=so_far), ended(usage=None), then=CUT),
    ]
    beside, before = ask(local).call, ask(local).call
    assert (beside.complete, beside.usage.cache_read, beside.usage.output) == (True, 24, 9)
    assert (before.complete, before.usage, before.stop) == (False, TokenUsage(input=35, output=2), "end_turn")


def test_a_stream_may_end_with_its_usage_alone_but_not_break_behind_it(server, local):
    server.scripts = [
        chatting(ROLE, text("By ferry."), counted(CACHED), DONE),
        chatting(counted({"prompt_tokens": 35}), ROLE, text("By ferry."), then=CUT),
    ]
    ended, cut = ask(local).call, ask(replace(local, retries=0)).call
    assert (ended.stop, ended.complete, ended.usage.cache_read) == ("end_turn", True, 24)
    assert (cut.stop, cut.complete, cut.usage) == (INTERRUPTED, False, TokenUsage(input=35))


REFUSED = {
    "OpenAI's form": refusal(400, message="Unrecognized request argument supplied: stream_options"),
    "a list of faults": plain(422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}),
    "plain words": plain(400, b"unknown field stream_options", kind="text/plain"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_a_server_that_refuses_to_be_asked_for_usage_is_asked_once_and_then_without(server, local, form):
    server.scripts = [REFUSED[form]]
    calls = [ask(local).call, ask(local).call]
    assert [("stream_options" in request.body) for request in server.requests] == [True, False, False]
    assert [call.attempts for call in calls] == [(), ()]  # nothing was generated: no try was lost
    assert max(call.seconds for call in calls) < 0.5  # no wait between the two tries


def test_another_refusal_is_not_taken_for_that_one(server, local):
    server.scripts = [refusal(400, message="context length exceeded"), whole()]
    failure(local)
    ask(local)
    assert all("stream_options" in request.body for request in server.requests)


# --- what is sent


def test_a_request_holds_the_chat_without_breakpoints(server, local):
    chat = Chat("Answer.", documents="system", breakpoints=Breakpoints("1h", "1h", "5m"))
    ask(replace(local, chat=chat, max_tokens=77))
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    documents = (
        '<document index="1" title="Ferries">\nBy ferry.\n</document>',
        '<document index="2">\nBy bus.\n</document>',
    )
    assert request.body == {
        "model": "llama",
        "max_tokens": 77,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "\n\n".join(["Answer.", *documents])},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Good day"},
            {"role": "user", "content": "How?"},
        ],
    }


def test_turns_of_one_side_in_a_row_are_one_message(server, local):
    ask(local, replace(ASKED, history=("Hello", " ", "Are you there?")))
    assert [m["role"] for m in server.requests[0].body["messages"]] == ["system", "user"]
    assert server.requests[0].body["messages"][1]["content"].startswith("Hello\n\nAre you there?\n\n<document")


def test_sampling_is_sent_where_it_is_given_and_every_sample_has_its_own_seed(server, local):
    ask(replace(local, temperature=None))
    for sample in (0, 3):
        ask(replace(local, temperature=0.7, seed=100), sample=sample)
    sent = [(r.body.get("temperature"), r.body.get("seed")) for r in server.requests]
    assert sent == [(None, None), (0.7, 100), (0.7, 103)]


def test_the_sdk_makes_no_tries_of_its_own(server, local):
    server.always = refusal(500)
    failure(replace(local, retries=0))
    assert len(server.requests) == 1
    assert server.requests[0].headers["x-stainless-retry-count"] == "0"


def test_the_server_is_named_by_the_environment_where_no_field_does(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1/")
    assert ask(OpenAICompatible("llama")).text == "By ferry."
    assert server.requests[0].path == "/v1/chat/completions"


# --- tries


IN_TEXT = [ROLE, text("By ")]
SO_FAR = [ROLE, chunk({"content": "By "}, usage={"prompt_tokens": 35, "completion_tokens": 1})]
TRIED_AGAIN = {
    "408": (refusal(408), "408 api_error"),
    "409": (refusal(409), "409 api_error"),
    "429": (refusal(429, "rate_limit_exceeded", retry_after=1), "429 rate_limit_exceeded"),
    "429 without retry-after": (refusal(429, "rate_limit_exceeded", "slow down"), "429 rate_limit_exceeded"),
    "500": (refusal(500, 500, kind="server_error"), "500 server_error"),
    "503 of a model that loads": (refusal(503, 503, kind="unavailable_error"), "503 unavailable_error"),
    "502 with a page": (plain(502, b"<html>Bad\ngateway", kind="text/html"), "502"),
    "an odd error body": (plain(503, {"error": {"type": ["a"], "message": 5, "code": {}}}), "503"),
    "an error that is words": (plain(500, {"error": "out of memory"}), "500"),
    "an error shorter than announced": ([*plain(500, {}, length=99), CUT], "stream cut"),
    "hung up at once": ([CUT], "connection lost"),
    "reset at once": ([RESET], "connection lost"),
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n\r\n", CUT], "connection lost"),
    "an error at once": (chatting(data({"error": {"message": "no", "type": "server_error"}})), "500 server_error"),
    "an error in mid-stream": (chatting(*SO_FAR, data({"error": {"message": "no", "code": 503}})), "503"),
    "a limit in mid-stream": (chatting(*SO_FAR, data({"error": {"type": "requests"}})), "429 requests"),
    "words in mid-stream": (chatting(*SO_FAR, data({"error": "out of memory"})), "500"),
    "an error of old in mid-stream": (
        chatting(*SO_FAR, data({"object": "error", "message": "no", "type": "ServerError", "code": 500}), DONE),
        "500 ServerError",
    ),
    "dropped by the server": (chatting(*SO_FAR, ended("abort"), DONE), "stream cut"),
    "a provider behind it failed": (chatting(*SO_FAR, ended("error"), counted(), DONE), "stream cut"),
    "cut before the text": (chatting(ROLE, then=CUT), "stream cut"),
    "cut in the text": (chatting(*SO_FAR, then=CUT), "stream cut"),
    "cut in an event": (chatting(*SO_FAR, text("ferry")[:-9], then=CUT), "stream cut"),
    "reset in the text": (chatting(*SO_FAR, then=RESET), "stream cut"),
    "ended in the text": (chatting(*SO_FAR), "stream cut"),
    "done in the text": (chatting(*SO_FAR, DONE), "stream cut"),
    "a connection that ends without a length": ([head(), *SO_FAR, CUT], "stream cut"),
    "fewer bytes than announced": ([head(**{"content-length": 9999}), *SO_FAR, CUT], "stream cut"),
    "nothing": (chatting(), "stream cut"),
    "no JSON": (chatting(*SO_FAR, data(b"{oops")), "malformed event"),
    "no object": (chatting(*SO_FAR, data([1])), "malformed event"),
    "a number": (chatting(*SO_FAR, data(5)), "malformed event"),
    "no UTF-8": (chatting(*SO_FAR, data(b"\xff")), "malformed event"),
    "no text in a delta": (chatting(*SO_FAR, text(["a"])), "malformed event"),
    "choices that are none": (chatting(*SO_FAR, chunk(choices="many")), "malformed event"),
    "a choice that is none": (chatting(*SO_FAR, chunk(choices=["one"])), "malformed event"),
    "usage that is none": (chatting(*SO_FAR, counted({"prompt_tokens": "many"})), "malformed event"),
    "negative usage": (chatting(*SO_FAR, counted({"prompt_tokens": -1})), "malformed event"),
}  # fmt: skip


@pytest.mark.parametrize("fault", TRIED_AGAIN)
def test_what_may_succeed_is_tried_again_and_what_it_used_is_kept(server, local, fault):
    script, error = TRIED_AGAIN[fault]
    server.scripts = [list(script)]
    answer = ask(local)
    assert (answer.text, answer.call.usage, answer.call.complete) == ("By ferry.", USED, True)
    (attempt,) = answer.call.attempts
    assert attempt.error == error
    assert len(server.requests) == 2
    sent = b"".join(step for step in script if isinstance(step, bytes))
    so_far = TokenUsage(input=35, output=1) if SO_FAR[1] in sent else NOTHING
    if fault != "reset in the text":  # it may overtake what was sent before it
        assert attempt.usage == (USED if counted() in sent else so_far)


@pytest.mark.parametrize(
    ("status", "code", "final", "said"),
    [
        (400, "context_length_exceeded", False, "the request is refused; check model and its settings"),
        (401, "invalid_api_key", True, "the key is refused; set OPENAI_API_KEY"),
        (403, "unsupported_country", True, "the key is refused; set OPENAI_API_KEY"),
        (404, "model_not_found", True, "no such model, or no such API at this URL; check model and base_url"),
        (413, "too_large", False, "the prompt is too large"),
        (422, "invalid", False, "the request is refused"),
        (307, "moved", False, "not an answer of this API; check base_url"),
    ],
)
def test_what_cannot_succeed_is_asked_for_once(server, local, status, code, final, said):
    server.always = refusal(status, code)
    error = failure(local)
    assert len(server.requests) == 1
    assert error.final == final
    assert str(error).startswith(f"OpenAICompatible, {server.url}/v1, model 'llama': {status} {code}: {said}")
    assert "(said the server)" in str(error)
    assert error.call.attempts == (Attempt(f"{status} {code}", error.call.attempts[0].seconds, request_id="req_1"),)
    assert (error.call.stop, error.call.complete) == (f"{status} {code}", False)


@pytest.mark.parametrize(
    ("body", "final"),
    [({"code": "invalid_api_key"}, True), ({"code": 400, "type": "BadRequestError"}, False)],
)
def test_what_cannot_succeed_is_not_tried_again_in_mid_stream_either(server, local, body, final):
    server.always = chatting(ROLE, data({"error": {"message": "no", **body}}))
    error = failure(local)
    assert (error.final, len(server.requests)) == (final, 1)


@pytest.mark.parametrize("headers", [{}, {"retry_after": 1}, {"x_should_retry": "true"}])
def test_a_quota_that_is_spent_is_final_however_long_the_server_says_to_wait(server, local, headers):
    words = "You exceeded your current quota, please check your plan and billing details."
    server.always = refusal(429, "insufficient_quota", words, kind="insufficient_quota", **headers)
    error = failure(local)
    assert (error.final, len(server.requests), error.call.stop) == (True, 1, "429 insufficient_quota")


def test_a_quota_that_is_spent_in_mid_stream_is_final_too(server, local):
    server.always = chatting(*IN_TEXT, data({"error": {"message": "quota", "type": "insufficient_quota"}}))
    assert failure(local).final


def test_an_answer_that_is_no_stream_is_not_asked_for_again(server, local):
    for page in (plain(200, b"<html>It works!", kind="text/html"), plain(200, {"models": []})):
        server.requests.clear()
        server.always = page
        error = failure(local)
        assert "no stream: the answer is none of this API; check base_url" in str(error)
        assert (error.final, len(server.requests)) == (True, 1)


def test_bytes_behind_an_answer_s_announced_end_do_not_spoil_the_next_one(server, local):
    body = b"".join(events("By ", "ferry [1]."))
    long = [head(**{"content-length": len(body)}), body + b"and more\r\n\r\n"]

    async def work():
        clock = WallClock()
        return [await local(ASKED, 0, clock) for _ in range(2)]

    server.scripts = [long]
    assert [(a.text, a.call.complete) for a in asyncio.run(work())] == [("By ferry.", True)] * 2


def test_waits_differ_between_calls_and_are_the_same_in_every_run(server, local):
    server.always = refusal(529)
    waited = [failure(replace(local, retries=4), replace(ASKED, question=q)).call.seconds for q in "aabb"]
    assert waited[:2] == pytest.approx([waited[0]] * 2, abs=0.3)  # but for what the sockets take
    assert waited[2:] == pytest.approx([waited[2]] * 2, abs=0.3)
    assert abs(waited[0] - waited[2]) > 0.3
    assert all(0.75 * 7.5 <= seconds <= 7.5 + 0.3 for seconds in waited)


# --- when no try is left


def test_a_stream_that_broke_keeps_what_came_and_says_so(server, local):
    server.always = chatting(*SO_FAR, text("ferry [1]. Or"), then=CUT)
    answer = ask(local)
    assert (answer.text, answer.cited) == ("By ferry. Or", ("d1",))
    call, used = answer.call, TokenUsage(input=35, output=1)
    assert (call.stop, call.complete, call.usage, len(call.pieces)) == (INTERRUPTED, False, used, 2)
    assert [(a.error, a.usage) for a in call.attempts] == [("stream cut", used)] * 2
    assert len(server.requests) == 3


def test_a_stream_that_broke_before_any_text_is_no_answer(server, local):
    server.always = chatting(ROLE, thought("Hm"), then=CUT)
    error = failure(local)
    assert "stream cut on each of 3 tries: the connection broke before the answer's end; run again" in str(error)
    assert not error.final


@pytest.mark.parametrize(
    "rest", [[], [data({"error": {"message": "no"}})], [data(b"{oops")], [counted({"prompt_tokens": -1})]]
)
def test_a_stream_that_broke_behind_its_end_is_whole_without_its_usage(server, local, rest):
    server.scripts = [chatting(*IN_TEXT, text("ferry."), ended("length"), *rest, then=CUT)]
    answer = ask(local)
    assert (answer.text, answer.call.stop, answer.call.attempts) == ("By ferry.", "max_tokens", ())
    assert (answer.call.complete, answer.call.usage) == (False, NOTHING)


@settings(max_examples=60)
@given(at=st.integers(0, 10_000), how=st.sampled_from([LAST, CUT, RESET]))
def test_wherever_a_stream_breaks_the_answer_is_whole_or_says_so_or_there_is_none(at, how):
    body = b"".join(events("By ", "ferry."))
    at %= len(body)
    server = Scripted()
    try:
        server.scripts = [chatting(*([body[:at]] if at else []), then=how)]
        answer = ask(OpenAICompatible("llama", base_url=f"{server.url}/v1", retries=0))
        call = answer.call
    except CallFailed as failed:
        answer, call = None, failed.call
    finally:
        server.close()
    end, final = (body.index(part) + len(part) for part in (ended(), counted()))
    if how != RESET:  # a reset may overtake what was sent
        assert (answer is not None) == (at >= body.index(text("By ")) + len(text("By ")))
    if answer is None:
        assert call.attempts[0].usage == NOTHING
    elif call.complete:
        assert (answer.text, call.usage, call.stop) == ("By ferry.", USED, "end_turn")
        assert at >= final
    elif call.stop == "end_turn":
        assert (answer.text, call.usage) == ("By ferry.", NOTHING)
        assert at >= end
    else:
        assert answer.text in ("By", "By ferry.")
        assert (call.usage, call.stop) == (NOTHING, INTERRUPTED)


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, 1500), max_size=12), crlf=st.booleans())
def test_an_answer_does_not_depend_on_how_its_bytes_travel(cuts, crlf):
    body = b"".join(events("By fer", "ry über é [1]."))
    body = body.replace(b"\n", b"\r\n") if crlf else body
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    server = Scripted()
    try:
        server.scripts = [chatting(*(body[a:b] for a, b in pairwise(edges)))]
        answer = ask(OpenAICompatible("llama", base_url=f"{server.url}/v1"))
    finally:
        server.close()
    assert (answer.text, answer.cited, answer.call.usage) == ("By ferry über é.", ("d1",), USED)
    assert answer.call.attempts == ()


@pytest.mark.parametrize("script", [[HANG], chatting(ROLE, then=HANG)])
def test_a_server_that_falls_silent_is_given_up(server, local, script):
    server.always = script
    with pytest.raises(CallFailed, match=r"timeout: no sign of the server in 0\.15 s; raise timeout"):
        asyncio.run(replace(local, timeout=0.15, retries=0)(ASKED, 0, WallClock()))
    assert server.hung_up.wait(10)


def test_a_server_that_is_not_there_is_told(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = OpenAICompatible("llama", base_url=f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        said = "no connection on each of 3 tries: cannot be reached; start it, or set base_url or OPENAI_BASE_URL"
        assert said in str(failure(gone))


def test_a_cancelled_call_hangs_up(server, local):
    async def work():
        call = asyncio.ensure_future(local(ASKED, 0, WallClock()))
        while not server.requests:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(server.hung_up.wait, 10)  # before the loop ends, and all connections with it

    for script in ([HANG], chatting(*IN_TEXT, then=HANG)):
        server.scripts = [script]
        server.requests.clear()
        server.hung_up.clear()
        asyncio.run(work())


def test_a_clock_moves_on_when_a_call_failed_or_was_cancelled(server, local):
    server.always = [HANG]
    clock = VirtualClock()

    async def work():
        call = asyncio.ensure_future(local(ASKED, 0, clock))
        while not server.requests:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await clock.sleep(1000)
        return clock.now()

    assert clock.run(work()) == pytest.approx(1000, abs=1)


# --- several at once


def test_calls_at_once_each_get_their_own_answer_and_calls_in_turn_share_a_connection(server, local):
    server.always = lambda request: whole(request.body["messages"][-1]["content"].rpartition("\n\n")[2])
    prompts = [replace(ASKED, question=f"q{i}") for i in range(40)]

    async def at_once(clock):
        return await asyncio.gather(*(local(prompt, 0, clock) for prompt in prompts))

    async def in_turn(clock):
        return [await local(prompt, 0, clock) for prompt in prompts]

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
    "401": refusal(401, "invalid_api_key", f"Incorrect API key provided: {KEY}"),
    "a code": refusal(403, KEY, "no"),
    "a request id": [head(500, "text/plain", **{"x-request-id": KEY, "content-length": 0})],
    "an answer's id": chatting(chunk({"content": "By"}, id=KEY, usage=None), then=CUT, **{"x-request-id": ""}),
    "a page": plain(503, f"<p>{KEY}</p>".encode(), kind="text/html"),
    "across a line": refusal(529, message=f"{'x' * 190} {KEY}"),
    "another's key": refusal(529, message="got sk-proj-another-9876543210"),
    "in mid-stream": chatting(ROLE, data({"error": {"message": KEY, "type": KEY}})),
    "no JSON": chatting(ROLE, data(KEY.encode())),
    "a quota": refusal(429, "insufficient_quota", f"quota of {KEY}"),
    "a long wait": refusal(429, message=KEY, retry_after=1000),
    "hung up": [CUT],
}


@pytest.mark.parametrize("leak", LEAKS)
def test_nothing_shows_a_key_even_where_the_server_does(server, local, monkeypatch, caplog, leak):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    server.always = LEAKS[leak]
    try:
        shown = repr(ask(local))
    except CallFailed as error:
        shown = "".join([*everything(error), repr(error.call.plain())])
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    assert "sk-proj" not in shown + repr(local)
    assert "not-for-anyone" not in shown + repr(local)
    if leak != "a request id":  # the SDK logs a server's headers where somebody turns its logging up to DEBUG
        assert KEY not in caplog.text


def test_a_key_comes_from_the_environment_alone_and_a_server_may_need_none(server, local, monkeypatch):
    ask(local)
    before = fingerprint.digest(local)
    for key in (KEY, "another"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        answer = ask(local)
        assert fingerprint.digest(local) == before
        assert key not in repr(answer) + repr(local)
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent[1:] == [f"Bearer {KEY}", "Bearer another"]
    assert "sk-" not in sent[0]


def test_openai_needs_a_key_and_is_not_addressed_without_one(server):
    error = failure(OpenAICompatible("gpt-x"))
    assert str(error) == (
        "OpenAICompatible, https://api.openai.com/v1, model 'gpt-x': no key; set OPENAI_API_KEY, or take a generator "
        "that needs none: Extractive(), or Modelled(Extractive())"
    )
    assert (error.final, error.call.stop, error.call.attempts) == (True, "no key", ())


def test_a_key_that_no_header_can_hold_is_refused_unseen(server, local, monkeypatch):
    for key in (f"{KEY}\nx: y", f"{KEY} b", f"{KEY}é"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        error = failure(local)
        assert "OPENAI_API_KEY holds characters that no key has; set it anew" in str(error)
        assert KEY not in "".join(everything(error))
    assert server.requests == []


def test_a_redirect_does_not_carry_prompt_and_key_away(server, local, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    elsewhere = Scripted()
    try:
        server.always = refusal(307, location=f"{elsewhere.url}/v1/chat/completions")
        failure(local)
        assert elsewhere.requests == []
    finally:
        elsewhere.close()


def test_a_proxy_does_not_see_what_is_for_this_machine(server, local, monkeypatch):
    proxy = Scripted()
    try:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ask(local).text == "By ferry."
        assert proxy.connections == 0
    finally:
        proxy.close()


# --- what it can cost


PRICED = """
- {model: llama, since: 2026-01-01, input: 1, output: 4}
- {model: gpt-x, since: 2026-01-01, input: 2, output: 8}
"""


def test_a_model_without_a_price_is_free_on_an_own_server_and_an_error_at_openai(server, local):
    assert local.at_most(ASKED) == 0.0
    with pytest.raises(InputError, match=r"no price for model 'gpt-x'.*EVALKIT_PRICES"):
        OpenAICompatible("gpt-x").at_most(ASKED)


def test_no_call_costs_more_than_its_bound(server, local, monkeypatch, tmp_path):
    (tmp_path / "prices.yaml").write_text(PRICED)
    monkeypatch.setenv("EVALKIT_PRICES", str(tmp_path / "prices.yaml"))
    bound = local.at_most(ASKED)
    tokens = sum(len(m["content"].encode()) for m in (ask(local), server.requests[0].body["messages"])[1])
    assert bound >= 3 * (tokens + 4 * local.max_tokens) / 1e6
    assert replace(local, retries=0).at_most(ASKED) == pytest.approx(bound / 3)
    assert OpenAICompatible("gpt-x").at_most(ASKED) == pytest.approx(2 * bound)
    used = {"prompt_tokens": tokens, "completion_tokens": local.max_tokens}
    cut = chatting(ROLE, chunk({"content": "x"}, usage=used), then=CUT)
    server.scripts = [cut, cut, whole(usage=used)]
    spent = Prices.load().dollars(ask(local).call)
    assert spent == pytest.approx(3 * (tokens + 4 * local.max_tokens) / 1e6)
    assert spent <= bound


# --- a value


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": " "}, "model is empty"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
        ({"retries": -1}, "retries is -1; it must be at least 0"),
        ({"temperature": -0.1}, "temperature is -0.1; it must be from 0 to 2"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"timeout": 0.0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"base_url": "127.0.0.1:8000"}, "a URL such as"),
        ({"base_url": "ftp://host/v1"}, "a URL such as"),
        ({"base_url": "http://host:port/v1"}, "one such as"),
        ({"base_url": "http://me:secret@host/v1"}, "a key belongs into OPENAI_API_KEY"),
        ({"base_url": "http://host/v1?key=secret"}, "a key belongs into OPENAI_API_KEY"),
    ],
)
def test_a_bad_field_is_told_in_one_line_without_what_may_be_secret(fields, said):
    with pytest.raises(InputError, match=said) as caught:
        OpenAICompatible(**{"model": "llama", **fields})
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_told_with_how_to_install_it(server, local, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"pip install 'evalkit\[openai\]'"):
        ask(local)


def test_it_conforms(server, local):
    server.always = lambda request: whole(f"Of {len(request.body['messages'][-1]['content'])} letters [1].")
    check_generator(local)


def test_it_is_a_value_that_needs_no_network(server):
    others = {"base_url": "http://127.0.0.1:1/v1", "seed": 0, "chat": Chat("Answer.", "system", Breakpoints("5m"))}
    check_component(OpenAICompatible("llama"), others=others)


def test_who_serves_counts_and_how_it_is_asked_does_not(server, monkeypatch):
    here, there = (OpenAICompatible("llama", base_url=f"http://{host}/v1") for host in ("a", "b"))
    four = (here, there, OpenAICompatible("llama"), replace(here, server="ours"))
    assert len({fingerprint.digest(one) for one in four}) == 4
    assert fingerprint.digest(replace(here, base_url="http://a/v1/")) == fingerprint.digest(here)
    assert fingerprint.digest(replace(here, server="x")) == fingerprint.digest(replace(there, server="x"))
    assert fingerprint.digest(replace(here, retries=9, timeout=1.0)) == fingerprint.digest(here)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://a/v1")
    assert fingerprint.digest(OpenAICompatible("llama")) == fingerprint.digest(here)
