"""Message batches, through the real SDK: taken in, worked on in their time, cancelled, fetched by custom id."""

from __future__ import annotations

import anthropic
import pytest
from speakers import FirstSentence, a_prompt, ask, body, talking

from evalkit.llm.server import Fault, Faults


def requests(*params, names="abcdefgh"):
    return [{"custom_id": name, "params": each} for name, each in zip(names, params, strict=False)]


def ended(client, batch):
    for _ in range(3000):
        if batch.processing_status == "ended":
            return batch
        batch = client.messages.batches.retrieve(batch.id)
    raise AssertionError("the batch does not end")


def results(client, batch):
    return {line.custom_id: line.result for line in client.messages.batches.results(batch.id)}


def test_every_request_of_a_batch_is_answered_under_its_id_and_billed_as_of_a_batch():
    asked = [body(a_prompt(question=f"Question {i}?")) for i in range(3)]
    with talking() as (server, client):
        batch = client.messages.batches.create(requests=requests(*asked))
        assert (batch.type, batch.processing_status) == ("message_batch", "in_progress")
        assert (batch.request_counts.processing, batch.results_url, batch.ended_at) == (3, None, None)
        batch = ended(client, batch)
        found = results(client, batch)
        rows = server.ledger()["rows"]
    assert (batch.request_counts.processing, batch.request_counts.succeeded) == (0, 3)
    assert batch.created_at <= batch.ended_at < batch.expires_at
    assert set(found) == {"a", "b", "c"}
    assert {result.message.usage.service_tier for result in found.values()} == {"batch"}
    assert found["a"].message.content[0].text == "Passage 0 says so. [1]"
    assert [(row["service"], row["complete"]) for row in rows] == [("batch", True)] * 3
    assert sum(row["usage"]["output"] for row in rows) == sum(r.message.usage.output_tokens for r in found.values())


def test_results_come_in_another_order_than_they_were_asked_in():
    with talking() as (_, client):
        batch = ended(client, client.messages.batches.create(requests=requests(*[ask()] * 4)))
        assert [line.custom_id for line in client.messages.batches.results(batch.id)] != list("abcd")


def test_a_request_that_is_refused_or_meets_an_error_is_told_in_its_place():
    faults = Faults((Fault("overloaded", at=(3,)), Fault("cut_after_pieces", at=(4,))))
    with talking(faults=faults) as (server, client):
        asked = requests(ask(), ask(max_tokens=-1), ask(), ask())
        batch = ended(client, client.messages.batches.create(requests=asked))
        found = results(client, batch)
        rows = server.ledger()["rows"]
    assert [found[name].type for name in "abcd"] == ["succeeded", "errored", "errored", "succeeded"]
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (2, 2)
    assert [found[name].error.error.type for name in "bc"] == ["invalid_request_error", "overloaded_error"]
    assert [row["complete"] for row in rows] == [True, False, False, True]


def test_a_batch_has_no_results_while_it_runs_and_stops_where_it_is_cancelled():
    with talking(batch_seconds=3600.0) as (server, client):
        batch = client.messages.batches.create(requests=requests(*[ask()] * 3))
        with pytest.raises(anthropic.AnthropicError, match=r"No `results_url`"):
            client.messages.batches.results(batch.id)
        stopping = client.messages.batches.cancel(batch.id)
        assert stopping.processing_status in ("canceling", "ended")
        assert stopping.cancel_initiated_at is not None
        batch = ended(client, batch)
        assert {result.type for result in results(client, batch).values()} == {"canceled"}
        assert client.messages.batches.cancel(batch.id).processing_status == "ended"
        assert server.ledger()["rows"] == []
    assert batch.request_counts.canceled == 3


def test_a_batch_takes_its_time():
    import time

    with talking(batch_seconds=0.4) as (_, client):
        began = time.perf_counter()
        ended(client, client.messages.batches.create(requests=requests(ask(), ask())))
        assert time.perf_counter() - began >= 0.4


class Falls:
    version, stage = 1, "generate"

    async def __call__(self, prompt, sample, clock):
        if prompt.question == "fall":
            raise ValueError("fell")
        return await FirstSentence()(prompt, sample, clock)


def test_a_generator_that_fails_fails_one_request_and_not_the_batch():
    with talking(Falls()) as (_, client):
        asked = requests(ask("fall"), ask("stand"))
        found = results(client, ended(client, client.messages.batches.create(requests=asked)))
    assert (found["a"].error.error.type, found["b"].type) == ("api_error", "succeeded")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([], "at least one"),
        ([{"custom_id": "a b", "params": ask()}], "requests.0.custom_id"),
        ([{"params": ask()}], "requests.0.custom_id"),
        ([{"custom_id": "a", "params": "x"}], "requests.0.params"),
        (requests(ask(), ask(), names="aa"), "unique"),
    ],
)
def test_a_batch_that_is_none_is_a_400(asked, words):
    with talking() as (_, client), pytest.raises(anthropic.BadRequestError, match=words):
        client.messages.batches.create(requests=asked)


def test_a_batch_that_nobody_made_is_a_404():
    with talking() as (_, client), pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve("msgbatch_none")
