"""Message Batches through the real SDK, against a server on loopback that plays what it is told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import CUT, HANG, USAGE, Scripted, chunk, head, plain, refusal

from evalkit.calls import CallFailed, TokenUsage
from evalkit.clock import WallClock
from evalkit.errors import InputError
from evalkit.llm.claude import Claude
from evalkit.llm.pricing import Prices
from evalkit.serving.clock import VirtualClock
from evalkit.testing import check_generator
from evalkit.types import BatchGenerator
from evalkit.values import Prompt

KEY = "sk-ant-not-for-anyone-1234567890"
ASKED = [(Prompt(f"q{i}", ("",), ("By ferry.",), (f"d{i}",)), 0) for i in range(4)]
RESULTS = "/v1/messages/batches/msgbatch_01/results"
USED = TokenUsage(20, 5, 7, 3, 1)


class Batches(Scripted):
    """Takes batches, says `looks` times that they are at work, and gives the results of `result`, last one first."""

    def __init__(self):
        super().__init__()
        self.looks, self.batch, self.always = 2, {}, self.serve
        self.result = lambda asked: succeeded(f"{asked['custom_id']} [1].")

    def serve(self, request):
        if request.method == "POST":
            self.batch = {asked["custom_id"]: asked for asked in request.body["requests"]}
            return plain(200, self.status("in_progress"))
        if request.path.endswith("/results"):
            return results(self.rows())
        self.looks -= 1
        return plain(200, self.status("in_progress" if self.looks >= 0 else "ended"))

    def rows(self):
        return [{"custom_id": place, "result": self.result(asked)} for place, asked in reversed(self.batch.items())]

    def status(self, status, where=None):
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        return {
            "id": "msgbatch_01",
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts,
            "created_at": "2026-10-06T23:30:00-02:00",
            "expires_at": "2026-10-08T01:30:00Z",
            "results_url": f"{where or self.url}/v1/messages/batches/msgbatch_01/results"
            if status == "ended"
            else None,
        }


def succeeded(text, usage=USAGE, stop="end_turn"):
    content = [{"type": "thinking", "thinking": "Hm", "signature": "x"}, {"type": "text", "text": text}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    return {"type": "succeeded", "message": {**message, "stop_reason": stop, "usage": usage}}


def errored(kind, message="said the server"):
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_7"}
    return {"type": "errored", "error": error}


def results(rows, then=b"0\r\n\r\n"):
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return [head(kind="application/x-jsonl", **{"transfer-encoding": "chunked"}), chunk(lines), then]


@pytest.fixture
def server(monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    running = Batches()
    yield running
    running.close()


@pytest.fixture
def claude(server):
    return Claude(base_url=server.url, batched=True)


def run(claude, asked=ASKED):
    """What a batch gave, and the (virtual) seconds that it was waited for."""
    clock = VirtualClock()

    async def work():
        name = await claude.hand_in(asked, clock)
        return await claude.fetch(name, asked, clock), clock.now()

    return clock.run(work())


def alone(work):
    """Run what needs a clock in virtual time."""
    clock = VirtualClock()
    return clock.run(work(clock))


def failure(work, match="Claude, "):
    with pytest.raises(CallFailed, match=match) as caught:
        alone(work)
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.call.service == "batch"
    return caught.value


def test_every_answer_comes_back_to_its_place_whatever_order_the_results_have(server, claude):
    answers, _ = run(claude)
    assert {i: (answer.text, answer.cited) for i, answer in answers.items()} == {
        i: (f"{i}.", (f"d{i}",)) for i in range(4)
    }


def test_a_call_of_a_batch_states_usage_day_and_service_and_no_times(server, claude):
    call = run(claude)[0][0].call
    assert (call.usage, call.stop, call.service, call.complete) == (USED, "end_turn", "batch", True)
    assert (call.pieces, call.seconds, call.attempts) == ((), 0.0, ())
    assert call.day == "2026-10-07"  # when it was handed in, in UTC, whenever it is fetched
    prices = Prices.load()
    assert prices.dollars(call) == pytest.approx(prices.dollars(replace(call, service="standard")) / 2)


def test_a_batch_sends_what_a_call_sends_but_the_streaming(server, claude):
    run(claude)
    requests = server.requests[0].body["requests"]
    assert [request["custom_id"] for request in requests] == ["0", "1", "2", "3"]
    server.scripts = [refusal(400)]
    with pytest.raises(CallFailed):
        alone(lambda clock: replace(claude, batched=False)(ASKED[2][0], 0, clock))
    streamed = server.requests[-1].body
    assert streamed.pop("stream") is True
    assert requests[2]["params"] == streamed


@given(looks=st.integers(0, 30))
@settings(max_examples=10)
def test_looks_come_after_growing_waits_of_at_most_a_minute(looks):
    server = Batches()
    try:
        server.looks = looks
        waited = run(Claude(base_url=server.url, batched=True))[1]
    finally:
        server.close()
    assert waited == pytest.approx(sum(min(1.5**i, 60.0) for i in range(looks)), abs=1)  # and the sockets' time
    seen = sum(request.method == "GET" and not request.path.endswith("results") for request in server.requests)
    assert seen == looks + 2  # and one of the SDK's own, before it fetches the results


@pytest.mark.parametrize(
    ("result", "error", "said", "final"),
    [
        (errored("invalid_request_error"), "400 invalid_request_error", "the request is refused", False),
        (errored("authentication_error"), "401 authentication_error", "set ANTHROPIC_API_KEY", True),
        (errored("overloaded_error"), "529 overloaded_error", "run again later", False),
        (errored("billing_error"), "402 billing_error", "credit or spending limit used up", True),
        ({"type": "expired"}, "expired", "not answered within 24 hours; hand it in again", False),
        ({"type": "canceled"}, "canceled", "cancelled before its turn came; hand it in again", False),
        ({"type": "odd"}, "malformed result", "no result of a batch", False),
        ("odd", "malformed result", "no result of a batch", False),
        (succeeded(None), "malformed result", "no result of a batch", False),
        (succeeded("x", {"input_tokens": -1}), "malformed result", "no result of a batch", False),
        (succeeded("x", stop=None), "malformed result", "no result of a batch", False),
        ({"type": "succeeded"}, "malformed result", "no result of a batch", False),
    ],
)
def test_what_failed_in_a_batch_is_told_in_its_place_and_the_rest_is_answered(
    server, claude, result, error, said, final
):
    good = server.result
    server.result = lambda asked: result if asked["custom_id"] == "1" else good(asked)
    answers, _ = run(claude)
    failed = answers.pop(1)
    assert isinstance(failed, CallFailed)
    assert str(failed).startswith(f"Claude, {server.url}, model 'claude-haiku-5-5': {error}: ")
    assert said in str(failed)
    assert failed.final == final
    used = (failed.call.stop, failed.call.service, failed.call.complete, failed.call.day)
    assert used == (error, "batch", False, "2026-10-07")
    assert [a.error for a in failed.call.attempts] == [error]
    assert all(answers[i].text == f"{i}." for i in (0, 2, 3))


def test_a_result_that_cannot_be_read_was_paid_for_all_the_same(server, claude):
    server.result = lambda asked: succeeded(None)
    assert [a.usage for a in run(claude)[0][0].call.attempts] == [USED]


def test_usage_that_is_not_stated_is_none_known(server, claude):
    server.result = lambda asked: succeeded("x", None)
    assert run(claude)[0][0].call.usage == TokenUsage()


# --- tries


def test_what_was_not_taken_is_handed_in_again(server, claude):
    server.scripts = [refusal(429, retry_after=3), refusal(529)]
    answers, _ = run(claude)
    assert len(answers) == 4
    assert [request.method for request in server.requests[:4]] == ["POST", "POST", "POST", "GET"]


@pytest.mark.parametrize("script", [[CUT], refusal(500), refusal(504), [head(200), CUT], plain(200, {"id": 5})])
def test_a_batch_that_may_have_been_taken_is_not_handed_in_twice(server, claude, script):
    server.scripts = [script]
    failure(lambda clock: claude.hand_in(ASKED, clock), "nothing says whether the batch was taken")
    assert len(server.requests) == 1


def test_a_batch_that_got_no_reply_is_not_handed_in_twice(server, claude):
    server.scripts = [[HANG]]
    with pytest.raises(CallFailed, match="nothing says whether the batch was taken"):
        asyncio.run(replace(claude, timeout=0.1).hand_in(ASKED, WallClock()))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "script",
    [[CUT], refusal(500), refusal(429, retry_after=1), plain(200, b"<html>", kind="text/html"), plain(200, b"{oops")],
)
@pytest.mark.parametrize("at", [1, 4, 5])
def test_looking_and_fetching_are_tried_again_as_they_cost_nothing(server, claude, script, at):
    """The requests: the batch, three looks, the SDK's own, the results."""
    expected = {i: answer.text for i, answer in run(claude)[0].items()}
    server.requests.clear()
    server.looks, played = 2, []

    def play(request):
        if len(server.requests) == at + 1 and not played:
            played.append(request)
            return script
        return server.serve(request)

    server.always = play
    assert {i: answer.text for i, answer in run(claude)[0].items()} == expected
    assert played


@pytest.mark.parametrize("how", ["cut", "short", "no JSON", "odd"])
def test_results_that_are_not_all_there_are_fetched_again(server, claude, how):
    run(claude)
    rows = server.rows()
    broken = {
        "cut": results(rows[:2], CUT),
        "short": results(rows[:2]),
        "no JSON": [head(kind="application/x-jsonl", **{"content-length": 5}), b"{oops"],
        "odd": results([5, "x", None, [1]]),
    }[how]
    fetches = []

    def play(request):
        if request.path.endswith("/results"):
            fetches.append(request)
            return broken if len(fetches) == 1 else results(rows)
        return server.serve(request)

    server.always = play
    answers, _ = run(claude)
    assert [answers[i].text for i in range(4)] == ["0.", "1.", "2.", "3."]
    assert len(fetches) == 2


def test_a_batch_that_is_gone_is_told(server, claude):
    server.always = refusal(404, "not_found_error", "no such batch")
    error = failure(lambda clock: claude.fetch("msgbatch_02", ASKED, clock), r"404 not_found_error: .*no such batch")
    assert [(a.error, a.request_id) for a in error.call.attempts] == [("404 not_found_error", "req_1")]


# --- the key, and what is refused before anything is sent


def test_results_at_another_server_get_no_key(server, claude, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    elsewhere = Scripted()
    try:
        server.always = lambda request: plain(200, server.status("ended", where=elsewhere.url))
        said = f"its results lie at {elsewhere.url.removeprefix('http://')}, which is sent no key; check base_url"
        failure(lambda clock: claude.fetch("msgbatch_01", ASKED, clock), said)
        assert elsewhere.connections == 0
    finally:
        elsewhere.close()


def test_no_error_of_a_batch_shows_the_key(server, claude, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    server.result = lambda asked: errored(KEY, f"no {KEY}")
    assert KEY not in repr([(str(f), f.call) for f in run(claude)[0].values()])
    server.always = refusal(401, "authentication_error", KEY)
    error = failure(lambda clock: claude.hand_in(ASKED, clock))
    assert KEY not in repr((str(error), error.call))
    assert error.final


def test_a_batch_needs_a_key_where_a_call_does(server):
    remote = Claude(batched=True)
    for work in (lambda clock: remote.hand_in(ASKED, clock), lambda clock: remote.fetch("msgbatch_01", ASKED, clock)):
        with pytest.raises(CallFailed, match="no key; set ANTHROPIC_API_KEY"):
            alone(work)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "x?y", "x" * 101])
def test_what_is_no_name_of_a_batch_is_not_asked_for(server, claude, name):
    with pytest.raises(InputError, match="is no name of a batch"):
        alone(lambda clock: claude.fetch(name, ASKED, clock))
    assert server.requests == []


def test_a_batch_holds_one_request_at_least(server, claude):
    with pytest.raises(InputError, match="0 requests; a batch holds 1 to 100000"):
        alone(lambda clock: claude.hand_in([], clock))
    assert server.requests == []


# --- a generator like any other


def test_a_single_call_is_a_batch_of_one(server, claude):
    assert isinstance(claude, BatchGenerator)
    clock = VirtualClock()
    answer = clock.run(claude(*ASKED[3], clock))
    assert (answer.text, answer.cited, answer.call.service) == ("0.", ("d3",), "batch")
    server.result = lambda asked: {"type": "expired"}
    clock = VirtualClock()
    with pytest.raises(CallFailed, match="expired"):
        clock.run(claude(*ASKED[3], clock))


def test_it_conforms(server, claude):
    server.looks = 0
    check_generator(claude)


def test_a_batch_s_day_is_today_where_the_server_does_not_say(server, claude):
    status = server.status

    def undated(*given, **named):
        return {**status(*given, **named), "created_at": "soon"}

    server.status = undated
    before = datetime.now(UTC).date().isoformat()
    assert before <= run(claude)[0][0].call.day <= datetime.now(UTC).date().isoformat()
