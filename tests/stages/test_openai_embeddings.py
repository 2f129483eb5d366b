"""Embeddings over HTTP, from a real server on loopback that serves MiniLM and misbehaves when it is told to."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from toys import dense

from evalkit import EvalkitError, fingerprint, run
from evalkit.errors import InputError
from evalkit.evaluate.apply import apply
from evalkit.stages import Dense, Whole
from evalkit.stages.embed.onnx import ONNX
from evalkit.stages.embed.openai import OpenAIEmbeddings, close_clients
from evalkit.testing import check_component, check_embedder
from evalkit.types import CORPUS, Node

KEY = "sk-not-for-anyone-1234567890"
MODEL = "all-minilm"


class Server(ThreadingHTTPServer):
    """Serves MiniLM's vectors, times three and in reverse order.

    `asked` holds the texts of every request that was answered; a function in `faults` answers one in its place.
    When it has answered `limit` requests it fails, or, where there is one, kills the `victim`.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.seen, self.faults = [], [], []
        self.format, self.limit, self.victim = "base64", 1_000, None
        self.embedder = ONNX(precision="int8")

    def handle_error(self, request, client_address):
        """A killed client hangs up: nothing to say."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def texts(self):
        return [text for texts in self.asked for text in texts]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.seen.append({"path": self.path, "key": self.headers["Authorization"], **body})
        if server.faults:
            return server.faults.pop(0)(self, body)
        if self.path != "/v1/embeddings" or body["model"] != MODEL:
            return self.fail(404, f"model {body['model']!r} not found")
        if any(not text for text in body["input"]):
            return self.fail(400, "input cannot be an empty string")
        if len(server.asked) >= server.limit:
            if server.victim is None:
                return self.fail(500, "the quota is spent")
            os.kill(server.victim.pid, signal.SIGKILL)
        server.asked.append(body["input"])
        return self.vectors(3 * server.embedder.encode(body["input"])[:, : body.get("dimensions")])

    def vectors(self, vectors, index=None):
        index = range(len(vectors)) if index is None else index
        plain = self.server.format == "list"
        rows = [
            {"object": "embedding", "index": i, "embedding": v.tolist() if plain else base64.b64encode(v).decode()}
            for i, v in zip(index, vectors, strict=True)
        ]
        self.answer(200, {"object": "list", "model": MODEL, "data": rows[::-1], "usage": {"total_tokens": 1}})

    def fail(self, status, message):
        self.answer(status, {"error": {"message": message, "type": "x", "code": None}})

    def answer(self, status, value, kind="application/json"):
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()
    close_clients()


@pytest.fixture
def embedder(server):
    return OpenAIEmbeddings(MODEL, server.url, max_length=256)


def status(code, message="said the server"):
    return lambda handler, body: handler.fail(code, message)


# --- what it gives


def test_it_conforms(embedder):
    check_embedder(embedder)


@pytest.mark.parametrize("form", ["base64", "list"])
def test_vectors_are_the_server_s_in_the_order_of_the_texts_at_length_1(server, embedder, form):
    server.format = form
    texts = ["ferry", "How long does it take?", "a harbour", "ferry"]
    expected = server.embedder.encode(texts)
    np.testing.assert_allclose(replace(embedder, batch_size=3).encode(texts), expected, atol=1e-7)
    assert server.asked == [texts[:3], texts[3:]]


def test_dimensions_are_asked_for_only_where_they_are_given(server, embedder):
    assert replace(embedder, dimensions=64).encode(["ferry"]).shape == (1, 64)
    assert embedder.encode(["ferry"]).shape == (1, 384)
    assert [request.get("dimensions") for request in server.seen] == [64, None]


def test_no_texts_have_the_right_width_and_cost_a_request_only_where_it_is_not_known(server, embedder):
    assert replace(embedder, dimensions=64).encode([]).shape == (0, 64)
    assert server.seen == []
    assert embedder.encode([]).shape == embedder.encode([]).shape == (0, 384)
    assert len(server.seen) == 1


def test_prefixes_are_put_before_each_side(server, embedder, tiny):
    prefixed = replace(embedder, query_prefix="query: ", passage_prefix="passage: ")
    prefixed(tiny.queries.take([0]))
    prefixed(Whole()(tiny.documents.take([0])))
    assert [text.split(": ")[0] for text in server.texts] == ["query", "passage"]


def test_tokens_are_a_quarter_of_the_characters_and_a_text_is_cut_where_they_end(server, embedder):
    short = replace(embedder, max_length=3)
    assert short.tokens(["", "abcd", "abcde", "x" * 100]).tolist() == [0, 1, 2, 25]
    short.encode(["abcdefghijklmnop", "abc"])
    assert server.asked == [["abcdefghijkl", "abc"]]


def test_queries_are_sent_one_a_request_and_chunks_in_batches(server, embedder, tiny, store):
    run(dense(retrieve=Dense(replace(embedder, batch_size=5))), tiny, ["MRR@10"], store=store)
    assert sorted(map(len, server.asked)) == sorted([5, 5, 2] + [1] * len(tiny.queries))


def test_a_busy_server_is_asked_again(server, embedder):
    server.faults = [status(429), status(503)]
    assert embedder.encode(["ferry"]).shape == (1, 384)
    assert len(server.seen) == 3


# --- the key


def test_the_key_comes_from_the_environment_and_goes_to_the_server_alone(server, embedder, tiny, monkeypatch, store):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    before = fingerprint.digest(OpenAIEmbeddings(MODEL, server.url, max_length=256))
    results = run(dense(retrieve=Dense(embedder)), tiny, ["MRR@10"], store=store)
    assert {request["key"] for request in server.seen} == {f"Bearer {KEY}"}
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    assert fingerprint.digest(embedder) == before
    written = b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())
    said = json.dumps(results.manifest, default=str) + repr(embedder)
    assert KEY.encode() not in written
    assert KEY not in said


def test_local_servers_need_no_key_and_openai_does(server, embedder):
    embedder.encode(["ferry"])
    with pytest.raises(InputError, match=r"https://api\.openai\.com/v1: no key; set OPENAI_API_KEY"):
        OpenAIEmbeddings().encode(["ferry"])


@pytest.mark.parametrize("code", [400, 401, 403, 404, 429, 500])
def test_no_error_shows_the_key_even_where_the_server_does(server, embedder, monkeypatch, code):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.faults = [status(code, f"Incorrect API key provided: {KEY}")] * 3
    with pytest.raises(EvalkitError) as caught:
        embedder.encode(["ferry"])
    assert KEY not in str(caught.value)
    assert caught.value.__suppress_context__


# --- errors


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def cut_off(handler, body):
    handler.close_connection = True


def text_page(handler, body):
    handler.answer(200, "<html>It works!</html>", "text/html")


def no_vectors(handler, body):
    handler.answer(200, {"data": [{"index": i} for i in range(len(body["input"]))]})


def wrong(change):
    return lambda handler, body: change(handler, np.ones((len(body["input"]), 8), np.float32))


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (status(401), InputError, r"the key is refused \(401\); set OPENAI_API_KEY"),
        (status(403), InputError, r"the key is refused \(403\); set OPENAI_API_KEY"),
        (status(404), InputError, r"no such model, or no embeddings at this URL; check model and base_url \("),
        (status(400), InputError, r"the texts are refused; lower max_length or batch_size \(.*said the server"),
        (status(413), InputError, "lower max_length or batch_size"),
        (status(429), EvalkitError, "too many requests, or the quota is spent; try again later"),
        (status(500), EvalkitError, r"failed after the retries; try again later \(.*said the server"),
        (status(529), EvalkitError, "failed after the retries"),
        (status(500, "long\ntext " * 400), EvalkitError, "failed after the retries"),
        (cut_off, EvalkitError, "cannot be reached; start it, or set base_url or OPENAI_BASE_URL"),
        (text_page, EvalkitError, "the answer holds no embeddings; check base_url"),
        (lambda h, b: h.answer(200, {"data": []}), EvalkitError, "the answer holds no embeddings"),
        (
            lambda h, b: h.answer(200, {"data": [{"index": i} for i in (0, 1)]}),
            EvalkitError,
            "the answer holds no embeddings",
        ),
        (wrong(lambda h, v: h.vectors(v[:1])), EvalkitError, "1 vectors for 2 texts; lower batch_size"),
        (wrong(lambda h, v: h.vectors(v, [0, 0])), EvalkitError, "1 vectors for 2 texts"),
        (wrong(lambda h, v: h.vectors(v, [1, 2])), EvalkitError, "2 vectors for 2 texts"),
        (wrong(lambda h, v: h.vectors([v[0], v[1, :5]])), EvalkitError, "vectors of [58] dimensions, not [58]"),
        (wrong(lambda h, v: h.vectors(v * 0)), EvalkitError, "a vector is zero or holds numbers that are none"),
        (wrong(lambda h, v: h.vectors(v * np.nan)), EvalkitError, "a vector is zero or holds numbers that are none"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line_with_the_server_and_the_model(server, embedder, fault, kind, said):
    server.faults = [fault] * 3
    with pytest.raises(kind, match=said) as caught:
        embedder.encode(["ferry", "harbour"])
    message = str(caught.value)
    assert message.startswith(f"OpenAIEmbeddings, {server.url}, model '{MODEL}': ")
    assert "\n" not in message
    assert len(message) < 400
    assert type(caught.value) is kind


def test_a_server_that_is_not_there_is_told(monkeypatch):
    gone = OpenAIEmbeddings(MODEL, f"http://127.0.0.1:{closed_port()}/v1")
    monkeypatch.setattr("evalkit.stages.embed.openai._RETRIES", 0)
    with pytest.raises(EvalkitError, match="cannot be reached; start it"):
        gone.encode(["ferry"])
    close_clients()


def test_a_server_that_does_not_answer_in_time_is_told(server, embedder, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr("evalkit.stages.embed.openai._RETRIES", 0)
    server.faults = [lambda handler, body: ended.wait(10)]
    try:
        with pytest.raises(EvalkitError, match=r"no answer in 0\.2 s; raise timeout"):
            replace(embedder, timeout=0.2).encode(["ferry"])
    finally:
        ended.set()


def test_other_dimensions_than_asked_for_or_than_before_are_told(server, embedder):
    eight = wrong(lambda handler, vectors: handler.vectors(vectors))
    server.faults = [eight]
    with pytest.raises(EvalkitError, match="vectors of 8 dimensions, not 64; check model, dimensions"):
        replace(embedder, dimensions=64).encode(["ferry"])
    embedder.encode(["ferry"])
    server.faults = [eight]
    with pytest.raises(EvalkitError, match="vectors of 8 dimensions, not 384"):
        embedder.encode(["ferry"])


def test_a_missing_package_is_told_with_how_to_install_it(embedder, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"pip install 'evalkit\[openai\]'"):
        embedder.encode(["ferry"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": ""}, "model is empty"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"dimensions": 0}, "dimensions is 0"),
        ({"max_length": 0}, "max_length is 0"),
        ({"timeout": 0.0}, "timeout is 0"),
        ({"base_url": "127.0.0.1:8000"}, "a URL such as"),
        ({"base_url": "ftp://host/v1"}, "a URL such as"),
        ({"base_url": "http://me:secret@host/v1"}, "a key belongs into OPENAI_API_KEY"),
        ({"base_url": "http://host/v1?key=secret"}, "a key belongs into OPENAI_API_KEY"),
    ],
)
def test_a_bad_field_is_told_in_one_line_without_what_may_be_secret(fields, said):
    with pytest.raises(InputError, match=said) as caught:
        OpenAIEmbeddings(**fields)
    assert "secret" not in str(caught.value)


# --- identity


def test_it_is_a_value_that_needs_no_network():
    check_component(OpenAIEmbeddings(), others={"base_url": "http://127.0.0.1:1/v1"})


def test_the_server_counts_unless_it_is_named_and_how_texts_are_sent_does_not(monkeypatch):
    here, there = (OpenAIEmbeddings(base_url=f"http://{host}/v1") for host in ("a", "b"))
    assert fingerprint.digest(here) != fingerprint.digest(there) != fingerprint.digest(OpenAIEmbeddings())
    assert fingerprint.digest(replace(here, base_url="http://a/v1/")) == fingerprint.digest(here)
    assert fingerprint.digest(replace(here, server="ours")) == fingerprint.digest(replace(there, server="ours"))
    assert fingerprint.digest(replace(here, batch_size=1, timeout=1.0)) == fingerprint.digest(here)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://a/v1")
    assert fingerprint.digest(OpenAIEmbeddings()) == fingerprint.digest(here)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:secret@a/v1")
    with pytest.raises(InputError, match="OPENAI_BASE_URL holds more than a place"):
        fingerprint.digest(OpenAIEmbeddings())


# --- nothing is paid for twice


RUN = """
import sys
from toys import *
from evalkit import run
from evalkit.stages.embed.openai import OpenAIEmbeddings
from evalkit.store import DiskStore
from evalkit.testing import tiny_dataset
embedder = OpenAIEmbeddings("all-minilm", sys.argv[1], max_length=256, batch_size=3)
print(run(dense(retrieve=Dense(embedder)), tiny_dataset(), ["MRR@10"], store=DiskStore(sys.argv[2])).digest)
"""


def test_a_text_that_was_embedded_before_a_kill_is_never_paid_for_again(server, tmp_path, tiny):
    def start(folder):
        command = [sys.executable, "-c", RUN, server.url, str(tmp_path / folder)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    with start("whole") as process:
        expected, _ = process.communicate()
    everything = sorted(server.texts)
    assert process.returncode == 0
    assert len(set(everything)) == len(everything) > len(tiny.queries)

    server.asked.clear()
    server.limit = 6
    with start("killed") as server.victim:
        server.victim.communicate()
    assert server.victim.returncode == -signal.SIGKILL
    before = set(server.texts)
    server.asked.clear()
    server.limit = 1_000
    with start("killed") as process:
        found, _ = process.communicate()
    assert found == expected
    assert before | set(server.texts) == set(everything)
    again = before & set(server.texts)  # what was under way when the process died: a request a side at most
    queries = again & set(tiny.queries.text)
    assert len(queries) <= 1
    assert len(again - queries) <= 3


def test_what_a_server_gave_before_it_failed_is_not_asked_for_again(server, embedder, tiny, store):
    node, chunks = Node(replace(embedder, batch_size=5), (CORPUS,)), Whole()(tiny.documents)
    server.limit = 2
    with pytest.raises(EvalkitError, match="the quota is spent"):
        apply(node, [chunks], store)
    server.limit = 1_000
    made = apply(node, [chunks], store).value
    assert server.texts == list(chunks.searched)
    np.testing.assert_allclose(made.values, server.embedder(chunks).values, atol=1e-7)
