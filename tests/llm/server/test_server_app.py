"""Over a real socket, through the real SDK: messages, streams, usage, the prompt cache, refusals, secrets."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import anthropic
import pytest
from speakers import KEY, MODEL, Broken, FirstSentence, Gate, Paced, a_prompt, ask, body, talking

from evalkit.clock import WallClock
from evalkit.errors import EvalkitError, InputError
from evalkit.llm.messages import without_marks
from evalkit.llm.server import FakeClaude, Limits
from evalkit.llm.tokens import estimate_tokens

ZERO = {"input": 0, "cache_write_5m": 0, "cache_write_1h": 0, "cache_read": 0, "output": 0}


class Later(WallClock):
    """Real time, with leaps."""

    leap = 0.0

    def now(self):
        return super().now() + self.leap


@pytest.fixture(scope="module")
def spoken():
    with talking() as both:
        yield both


@pytest.fixture
def client(spoken):
    return spoken[1]


def billed(usage):
    split = usage.cache_creation
    assert usage.cache_creation_input_tokens == split.ephemeral_5m_input_tokens + split.ephemeral_1h_input_tokens
    return (
        usage.input_tokens, split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens,
        usage.cache_read_input_tokens,
    )  # fmt: skip


def raw(url, method="GET", data=None, **headers):
    """Ask without the SDK."""
    request = Request(url, data, headers, method=method)  # noqa: S310 - loopback
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=30) as response:
            return response.status, response.headers, response.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_a_message_carries_the_answer_with_marks_and_its_usage(client):
    message = client.messages.create(**body())
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert without_marks(message.content[0].text, a_prompt().sources) == ("Passage 0 says so.", ("doc0",))
    assert message.usage.output_tokens == estimate_tokens(message.content[0].text, MODEL)
    assert message.usage.service_tier == "standard"
    assert billed(message.usage)[1:] == (0, 0, 0)


def test_a_stream_has_the_apis_events_in_their_order(client):
    with client.messages.with_streaming_response.create(**body(), stream=True) as response:
        lines = list(response.iter_lines())
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    deltas = names.count("content_block_delta")
    assert names == [
        "message_start", "content_block_start", "ping", *["content_block_delta"] * deltas, "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [part["type"] for part in data] == names
    assert deltas == len(["Passage", "0", "says", "so.", "[1]"])


def test_a_stream_adds_up_to_the_message_that_is_not_streamed(client):
    with client.messages.stream(**body()) as stream:
        streamed = stream.get_final_message()
    whole = client.messages.create(**body())
    assert streamed.content[0].text == whole.content[0].text
    assert (streamed.stop_reason, streamed.model) == (whole.stop_reason, whole.model)
    assert (billed(streamed.usage), streamed.usage.output_tokens) == (billed(whole.usage), whole.usage.output_tokens)


def test_message_start_states_the_input_and_one_token_out(client):
    with client.messages.create(**body(), stream=True) as stream:
        first = next(iter(stream))
    assert first.message.usage.output_tokens == 1
    assert first.message.usage.input_tokens == client.messages.count_tokens(**without_max(body())).input_tokens


def without_max(fields):
    return {name: value for name, value in fields.items() if name != "max_tokens"}


def test_every_response_has_a_request_id_of_its_own(spoken):
    server, client = spoken
    made = [client.messages.create(**ask())._request_id for _ in range(3)]
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.messages.create(**ask(model="claude-haiku-9"))
    assert refused.value.body["request_id"] == refused.value.request_id
    rows = {row["request_id"]: row for row in server.ledger()["rows"]}
    assert len({*made, refused.value.request_id} & set(rows)) == 4
    assert (rows[refused.value.request_id]["status"], rows[refused.value.request_id]["usage"]) == (404, ZERO)


def test_counted_tokens_are_those_that_are_billed_and_counting_is_not_billed(spoken):
    server, client = spoken
    before = server.ledger()["totals"]["requests"]
    counted = client.messages.count_tokens(**without_max(body(system="5m"))).input_tokens
    assert server.ledger()["totals"]["requests"] == before
    assert sum(billed(client.messages.create(**body(system="5m")).usage)) == counted


def test_what_one_request_writes_the_next_one_reads():
    long = a_prompt(length=300)
    with talking() as (_, client):
        one, two = (client.messages.create(**body(long, context="5m")).usage for _ in range(2))
        with client.messages.stream(**body(a_prompt(length=300, question="And dogs?"), context="5m")) as stream:
            three = stream.get_final_message().usage
    _, written, _, read = billed(one)
    assert written > 512
    assert read == 0
    assert billed(two) == (one.input_tokens, 0, 0, written)
    assert billed(three)[1:] == (0, 0, written)


def test_below_the_models_minimum_nothing_is_cached(client):
    small = body(a_prompt(length=1), context="5m")
    assert [billed(client.messages.create(**small).usage)[1:] for _ in range(2)] == [(0, 0, 0)] * 2
    long = body(a_prompt(length=300), context="5m")
    assert billed(client.messages.create(**long).usage)[1] > 512
    assert billed(client.messages.create(**{**long, "model": "claude-haiku-4-5"}).usage)[1:] == (0, 0, 0)


def test_what_is_written_for_an_hour_is_stated_apart(client):
    message = client.messages.create(**body(a_prompt(length=301), system="1h", context="1h"))
    assert billed(message.usage)[1] == 0
    assert billed(message.usage)[2] > 512


def test_entries_run_out_after_their_time():
    clock = Later()
    with talking(clock=clock) as (_, client):
        usages = []
        for leap in (0, 299, 301, 301 + 299):
            clock.leap = leap
            usages.append(billed(client.messages.create(**body(a_prompt(length=300), context="5m")).usage))
        clock.leap += 301
        usages.append(billed(client.messages.create(**body(a_prompt(length=300), context="5m")).usage))
    assert [usage[3] > 0 for usage in usages] == [False, True, True, True, False]  # each read renews


@pytest.mark.parametrize("stream", [False, True])
def test_concurrent_first_requests_all_write(stream):
    fields = body(a_prompt(length=300), context="5m")
    with talking(Gate(3)) as (server, client), ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: asked(client, fields, stream), range(3)))
        asked(client, fields, stream)
        usages = [row["usage"] for row in server.ledger()["rows"]]
    assert [usage["cache_write_5m"] > 0 for usage in usages] == [True, True, True, False]
    assert usages[3]["cache_read"] == usages[0]["cache_write_5m"]


def asked(client, fields, stream):
    if not stream:
        return client.messages.create(**fields)
    with client.messages.stream(**fields) as events:
        return events.get_final_message()


def test_no_output_asked_for_warms_the_cache(client):
    fields = body(a_prompt(length=302), context="5m")
    warmed = client.messages.create(**{**fields, "max_tokens": 0})
    assert (warmed.content, warmed.stop_reason, warmed.usage.output_tokens) == ([], "max_tokens", 0)
    assert billed(client.messages.create(**fields).usage)[3] == billed(warmed.usage)[1] > 512


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("most", [1, 3, 7])
def test_an_answer_stops_at_max_tokens(client, most, stream):
    whole = client.messages.create(**body()).content[0].text
    message = asked(client, body(max_tokens=most), stream)
    text = message.content[0].text
    assert (message.stop_reason, message.usage.output_tokens <= most) == ("max_tokens", True)
    assert whole.startswith(text)
    assert estimate_tokens(whole[: len(text) + 1], MODEL) > most


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_ends_the_answer_before_it(client, stream):
    message = asked(client, {**body(), "stop_sequences": ["never", " says"]}, stream)
    assert (message.content[0].text, message.stop_reason, message.stop_sequence) == (
        "Passage 0",
        "stop_sequence",
        " says",
    )


def test_an_empty_answer_has_no_block_and_one_token(client):
    silent = ask(messages=[{"role": "user", "content": " "}])
    for stream in (False, True):
        message = asked(client, silent, stream)
        assert (message.content, message.stop_reason, message.usage.output_tokens) == ([], "end_turn", 1)


def test_pieces_come_at_their_times_and_not_before():
    clock = WallClock()
    with talking(Paced(pieces=5, every=0.05), speed=1.0) as (_, client):
        began = clock.now()
        with client.messages.create(**ask(), stream=True) as stream:
            came = [
                (clock.now() - began, event.delta.text) for event in stream if event.type == "content_block_delta"
            ]
        client.messages.create(**ask())
        assert clock.now() - began >= 2 * 5 * 0.05
    assert "".join(text for _, text in came) == Paced().text
    assert [at >= 0.05 * (i + 1) for i, (at, _) in enumerate(came)] == [True] * 5


def test_of_a_stream_that_its_client_leaves_only_what_was_generated_is_billed():
    with talking(Paced("word " * 1000, pieces=1000, every=0.02), speed=1.0) as (server, client):
        with client.messages.create(**ask(), stream=True) as stream:
            next(event for event in stream if event.type == "content_block_delta")
        for _ in range(3000):
            if (row := server.ledger()["rows"][0])["stop"]:
                break
    assert row["stop"] == "client left"
    assert (row["complete"], row["status"]) == (False, 200)
    assert 1 <= row["usage"]["output"] < estimate_tokens("word " * 1000, MODEL)


@pytest.mark.parametrize("error", [EvalkitError("the reader: no model"), ValueError(KEY)])
def test_a_generator_that_fails_is_a_500_that_is_not_billed_and_tells_no_secret(error, caplog):
    with talking(Broken(error)) as (server, client):
        with pytest.raises(anthropic.InternalServerError) as refused:
            client.messages.create(**body(a_prompt(length=300), context="5m"))
        (row,) = server.ledger()["rows"]
    assert refused.value.type == "api_error"
    assert (row["status"], row["usage"], row["complete"]) == (500, ZERO, False)
    assert KEY not in caplog.text + str(refused.value)


def test_a_repeated_question_is_the_next_sample():
    class Samples:
        version, stage = 1, "generate"

        async def __call__(self, prompt, sample, clock):
            from evalkit.values import Answer

            return Answer(f"sample {sample} of {prompt.question}")

    with talking(Samples()) as (_, client):
        texts = [client.messages.create(**ask(question)).content[0].text for question in ("a", "a", "b", "a")]
    assert texts == ["sample 0 of a", "sample 1 of a", "sample 0 of b", "sample 2 of a"]


def test_without_a_key_it_answers_unless_one_is_required():
    fields, version = json.dumps(ask()).encode(), {"anthropic-version": "2026-10-21"}
    with talking() as (server, _):
        assert raw(f"{server.url}/v1/messages", "POST", fields, **version)[0] == 200
    with talking(require_key=True) as (server, client):
        status, _, said = raw(f"{server.url}/v1/messages", "POST", fields, **version)
        assert (status, json.loads(said)["error"]["type"]) == (401, "authentication_error")
        assert client.messages.create(**ask()).stop_reason == "end_turn"


def test_the_clients_key_is_in_no_log_and_in_no_ledger(caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("anthropic", "httpx2", "httpcore2"):  # the client's own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with talking() as (server, client):
        client.messages.create(**ask())
        with pytest.raises(anthropic.BadRequestError) as refused:
            client.messages.create(**ask(messages=[]))
        told = json.dumps(server.ledger())
    assert KEY not in caplog.text + told + str(refused.value.body) + str(dict(refused.value.response.headers))


def test_what_the_api_does_not_have_is_not_found_and_the_version_must_be_said(spoken):
    server, _ = spoken
    version = {"anthropic-version": "2026-10-21"}
    assert raw(f"{server.url}/v1/songs", **version)[0] == 404
    assert raw(f"{server.url}/v1/messages", **version)[0] == 404
    status, headers, said = raw(f"{server.url}/v1/messages", "POST", json.dumps(ask()).encode())
    assert (status, json.loads(said)["error"]["type"]) == (400, "invalid_request_error")
    assert headers["request-id"] == json.loads(said)["request_id"]


def test_a_name_that_is_not_this_machines_is_refused(spoken):
    server, _ = spoken
    assert raw(f"{server.url}/ledger", Host="evil.example")[0] == 403
    assert raw(f"{server.url}/ledger", Host="localhost:80")[0] == 200


def test_a_request_that_is_too_large_is_a_413(spoken):
    server, client = spoken
    with pytest.raises((anthropic.APIStatusError, anthropic.APIConnectionError)) as refused:
        client.messages.create(**ask("x" * (33 * 2**20)))
    assert not isinstance(refused.value, anthropic.APIStatusError) or refused.value.status_code == 413
    assert server.ledger()["rows"][-1]["status"] == 413


def test_the_ledgers_totals_are_the_sums_of_its_rows(spoken):
    server, client = spoken
    client.messages.create(**body(a_prompt(length=300), context="5m"))
    told = server.ledger()
    for name in ZERO:
        assert told["totals"]["usage"][name] == sum(row["usage"][name] for row in told["rows"])
    assert told["totals"]["requests"] == len(told["rows"])
    assert [row["number"] for row in told["rows"]] == list(range(1, len(told["rows"]) + 1))
    assert server.ledger(rows=False) == {"totals": told["totals"], "rows": []}


@pytest.mark.parametrize("fields", [{"speed": -1.0}, {"speed": float("nan")}, {"batch_seconds": float("inf")}])
def test_a_speed_that_is_none_is_refused(fields):
    with pytest.raises(InputError, match=next(iter(fields))):
        FakeClaude(FirstSentence(), limits=Limits(), **fields)
