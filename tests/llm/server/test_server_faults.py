"""Every fault is met by the real SDK as it would be met in the field, and is billed as the ledger says."""

from __future__ import annotations

import json
import time
from collections import Counter

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakers import MODEL, Paced, ask, body, talking

from evalkit.errors import InputError
from evalkit.llm.server import Fault, Faults
from evalkit.llm.tokens import estimate_tokens

TEXT = "one two three four five six seven eight nine ten"
CUT = (httpx2.RemoteProtocolError, httpx2.ReadError)


def met(fault, stream=True, fields=None):
    """Make one request that meets a fault; returns the events that came, the error, and the ledger's row."""
    events, error = [], None
    with talking(Paced(TEXT, 10), faults=Faults((fault,))) as (server, client):
        try:
            if stream:
                with client.messages.create(**(fields or ask()), stream=True) as came:
                    events.extend(came)
            else:
                events.append(client.messages.create(**(fields or ask())))
        except Exception as raised:
            error = raised
        again = client.messages.create(**ask())  # the next request is served as if nothing had been
        first, second = server.ledger()["rows"]
    assert again.content[0].text == TEXT
    assert (second["complete"], second["fault"]) == (True, "")
    assert first["fault"] == fault.kind or not stream
    return events, error, first


def text_of(events):
    return "".join(event.delta.text for event in events if event.type == "content_block_delta")


ERRORS = [
    (Fault("rate_limited", at=(1,), retry_after=7), anthropic.RateLimitError, "rate_limit_error", "7"),
    (Fault("rate_limited", at=(1,), retry_after=0.25), anthropic.RateLimitError, "rate_limit_error", "0.25"),
    (Fault("rate_limited", at=(1,)), anthropic.RateLimitError, "rate_limit_error", None),
    (Fault("spend_cap", at=(1,)), anthropic.RateLimitError, "rate_limit_error", None),
    (Fault("spend_limit", at=(1,)), anthropic.BadRequestError, "invalid_request_error", None),
    (Fault("key_refused", at=(1,)), anthropic.AuthenticationError, "authentication_error", None),
    (Fault("not_permitted", at=(1,)), anthropic.PermissionDeniedError, "permission_error", None),
    (Fault("server_error", at=(1,)), anthropic.InternalServerError, "api_error", None),
    (Fault("timed_out", at=(1,)), anthropic.InternalServerError, "timeout_error", None),
    (Fault("overloaded", at=(1,)), anthropic.InternalServerError, "overloaded_error", None),
    (Fault("overloaded", at=(1,), retry_after=3), anthropic.InternalServerError, "overloaded_error", "3"),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("fault", "kind", "name", "after"), ERRORS, ids=[f"{f.kind}-{a}" for f, _, _, a in ERRORS])
def test_an_error_instead_of_an_answer(fault, kind, name, after, stream):
    events, error, row = met(fault, stream)
    assert isinstance(error, kind)
    assert (events, error.type, error.response.headers.get("retry-after")) == ([], name, after)
    assert error.request_id == row["request_id"] == error.body["request_id"]
    assert (row["status"], row["stop"], row["complete"]) == (error.status_code, name, False)
    assert set(row["usage"].values()) == {0}


def test_only_a_spend_cap_says_so():
    capped, limited = met(Fault("spend_cap", at=(1,)))[1], met(Fault("rate_limited", at=(1,)))[1]
    assert capped.body["error"]["details"]["error_code"] == "enforced_spend_limit_reached"
    assert "details" not in limited.body["error"]


@pytest.mark.parametrize("pieces", [0, 3, 99])
def test_an_overload_in_mid_stream_is_http_200_and_an_error_of_the_stream(pieces):
    events, error, row = met(Fault("overloaded_in_stream", at=(1,), pieces=pieces))
    assert isinstance(error, anthropic.APIStatusError)
    assert (error.status_code, error.type, error.body["request_id"]) == (200, "overloaded_error", row["request_id"])
    assert sum(event.type == "content_block_delta" for event in events) == min(pieces, 10)
    assert [event.type for event in events][-1] != "message_stop"
    generated = max(1, estimate_tokens(text_of(events), MODEL))
    assert (row["usage"]["output"], row["complete"], row["stop"]) == (generated, False, "overloaded_error")


def test_where_nothing_is_streamed_an_overload_is_a_529():
    _, error, row = met(Fault("overloaded_in_stream", at=(1,)), stream=False)
    assert (error.status_code, row["status"], row["fault"]) == (529, 529, "overloaded")


@pytest.mark.parametrize("stream", [True, False])
def test_a_connection_cut_before_the_headers(stream):
    events, error, row = met(Fault("cut_before_headers", at=(1,)), stream)
    assert isinstance(error, anthropic.APIConnectionError)
    assert not isinstance(error, anthropic.APITimeoutError)
    assert (events, row["status"], row["stop"], set(row["usage"].values())) == ([], 0, "cut", {0})


@pytest.mark.parametrize(
    "fault",
    [Fault("cut_after_start", at=(1,)), *(Fault("cut_after_pieces", at=(1,), pieces=n) for n in (0, 1, 4, 99))],
)
def test_a_stream_that_is_cut_is_billed_up_to_the_cut(fault):
    events, error, row = met(fault)
    pieces = 0 if fault.kind == "cut_after_start" else min(fault.pieces, 10)
    assert isinstance(error, CUT)
    assert [event.type for event in events] == [
        "message_start", "content_block_start", *["content_block_delta"] * pieces,
    ]  # fmt: skip
    stated = events[0].message.usage
    assert row["usage"]["input"] == stated.input_tokens
    assert row["usage"]["output"] == max(1, estimate_tokens(text_of(events), MODEL)) >= stated.output_tokens
    assert (row["complete"], row["stop"], row["status"]) == (False, "cut", 200)


def test_the_prompt_of_a_stream_that_is_cut_was_written_to_the_cache():
    long = body(context="5m")
    long["messages"][0]["content"][1]["text"] += " word" * 2000
    events, _, row = met(Fault("cut_after_start", at=(1,)), fields=long)
    assert row["usage"]["cache_write_5m"] == events[0].message.usage.cache_creation_input_tokens > 512


@pytest.mark.parametrize("kind", ["cut_after_start", "cut_after_pieces", "wrong_content_length"])
def test_a_message_that_is_cut_in_its_body_was_generated_whole(kind):
    _, error, row = met(Fault(kind, at=(1,)), stream=False)
    assert isinstance(error, (anthropic.APIConnectionError, *CUT))
    assert (row["usage"]["output"], row["complete"]) == (estimate_tokens(TEXT, MODEL), False)


@pytest.mark.parametrize("pieces", [0, 4, 99])
def test_a_malformed_event_stops_the_reader_but_not_the_bill(pieces):
    events, error, row = met(Fault("malformed_event", at=(1,), pieces=pieces))
    assert isinstance(error, json.JSONDecodeError)
    assert sum(event.type == "content_block_delta" for event in events) == min(pieces, 9)
    assert (row["usage"]["output"], row["complete"]) == (estimate_tokens(TEXT, MODEL), False)


def test_a_malformed_message_is_no_json():
    events, error, row = met(Fault("malformed_event", at=(1,)), stream=False)
    assert error is not None or not hasattr(events[0], "usage")
    assert row["complete"] is False


def test_a_content_length_that_is_too_long_fails_behind_the_last_event():
    events, error, row = met(Fault("wrong_content_length", at=(1,)))
    assert isinstance(error, CUT)
    assert events[-1].type == "message_stop"
    assert (row["complete"], row["usage"]["output"]) == (True, estimate_tokens(TEXT, MODEL))


def test_a_content_length_that_is_too_short_loses_the_end():
    events, _, row = met(Fault("wrong_content_length", at=(1,), excess=-400))
    assert TEXT.startswith(text_of(events))
    assert {"message_delta", "message_stop"}.isdisjoint(event.type for event in events)
    assert (row["complete"], row["usage"]["output"]) == (False, estimate_tokens(TEXT, MODEL))


@pytest.mark.parametrize("stream", [True, False])
def test_a_slow_first_token_is_slow_and_nothing_else(stream):
    began = time.perf_counter()
    events, error, row = met(Fault("slow_first_token", at=(1,), seconds=0.3), stream)
    assert time.perf_counter() - began >= 0.3
    assert (error, row["complete"]) == (None, True)
    assert (text_of(events) if stream else events[0].content[0].text) == TEXT


@given(st.integers(0, 10), st.lists(st.floats(0, 0.3), min_size=1, max_size=3))
def test_the_number_and_the_seed_decide_alone(seed, shares):
    kinds = ("overloaded", "server_error", "cut_before_headers")
    faults = Faults(tuple(Fault(kind, share) for kind, share in zip(kinds, shares, strict=False)), seed)
    drawn = [faults.of(n) for n in range(1, 200)]
    assert drawn == [faults.of(n) for n in range(199, 0, -1)][::-1]
    if not any(shares):
        assert set(drawn) == {None}


def test_shares_are_kept_and_seeds_differ():
    kinds = {"overloaded": 0.1, "cut_after_pieces": 0.2, "malformed_event": 0.05}
    faults = tuple(Fault(kind, share) for kind, share in kinds.items())
    found = Counter(fault.kind if fault else "" for fault in map(Faults(faults).of, range(1, 20_001)))
    for kind, share in kinds.items():
        assert found[kind] == pytest.approx(20_000 * share, abs=5 * (20_000 * share * (1 - share)) ** 0.5)
    assert [Faults(faults, 0).of(n) for n in range(1, 50)] != [Faults(faults, 1).of(n) for n in range(1, 50)]


def test_a_number_comes_before_a_share():
    faults = Faults((Fault("overloaded", share=1.0), Fault("server_error", at=(2,))))
    assert [faults.of(n).kind for n in (1, 2, 3)] == ["overloaded", "server_error", "overloaded"]


def test_faults_are_read_from_a_file(tmp_path):
    file = tmp_path / "faults.yaml"
    file.write_text(
        "seed: 3\nscript:\n- {kind: overloaded, share: 0.02}\n- {kind: cut_after_pieces, at: [1, 5], pieces: 2}\n"
    )
    assert Faults.load(file) == Faults((Fault("overloaded", 0.02), Fault("cut_after_pieces", at=(1, 5), pieces=2)), 3)
    file.write_text("")
    assert Faults.load(file) == Faults()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("script: [{kind: overload}]", "kind"),
        ("script: [{kind: overloaded, share: 2.0}]", "share is 2"),
        ("script: [{kind: overloaded, shares: 0.5}]", "did you mean 'share'"),
        ("script: [{kind: overloaded, at: [0]}]", "counted from 1"),
        ("script: [{kind: cut_after_pieces, pieces: -1}]", "pieces"),
        ("script: [{kind: slow_first_token, seconds: -1.0}]", "seconds"),
        ("script: [{kind: wrong_content_length, excess: 0}]", "excess"),
        ("script: [{kind: cut_after_start, retry_after: 1.0}]", "retry_after"),
        ("script: [{kind: spend_cap, retry_after: 1.0}]", "retry_after"),
        ("script: [{kind: overloaded, share: 0.6}, {kind: server_error, share: 0.6}]", "add up to 1.2"),
        ("script: [{kind: overloaded, at: [3]}, {kind: server_error, at: [3]}]", "request 3 has two"),
        ("scripts: []", "did you mean 'script'"),
        ("{", "not YAML"),
    ],
)
def test_a_file_of_faults_that_is_wrong_is_refused_in_one_line_that_names_it(tmp_path, text, words):
    file = tmp_path / "faults.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=words) as refused:
        Faults.load(file)
    assert str(file) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Faults.load(tmp_path / "none.yaml")
