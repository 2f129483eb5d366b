"""A judge behind an OpenAI-compatible server on loopback: the same verdicts, what was sent, what it cost."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rule_judge import RuleJudge, Says
from toys import dense

from evalkit import run
from evalkit.clock import WallClock
from evalkit.evaluate.judging.bench import SYSTEM
from evalkit.llm.openai_compatible import OpenAICompatible
from evalkit.store import DiskStore
from evalkit.values import Prompt

pytest.importorskip("openai")
JUDGED = ["Faithfulness(repeats=2)", "AnswerRelevancy", "ContextPrecision", "ContextRecall"]
PRICES = "- {model: house-judge, since: 2026-01-01, input: 1.0, output: 4.0, source: a test}\n"


class Chat(BaseHTTPRequestHandler):
    """Streams a rule-based judge's verdicts as chat completions."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(asked)
        prompt = Prompt(asked["messages"][-1]["content"], (), (), ())
        text = asyncio.run(RuleJudge()(prompt, 0, WallClock())).text
        pieces = [{"delta": {"content": part}} for part in (text[:9], text[9:])]
        events = [{"choices": [{"index": 0, "finish_reason": None, **piece}]} for piece in pieces]
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        events.append({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}})
        known = {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": asked["model"]}
        body = "".join(f"data: {json.dumps(known | event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def chatting():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    server.daemon_threads, server.requests = True, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def means(results):
    rows = results.summary.set_index("metric")["value"]
    return {name: rows[name] for name in JUDGED}


def test_an_openai_compatible_judge_gives_the_verdicts_behind_it(tiny, tmp_path, monkeypatch):
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES, encoding="utf-8")
    monkeypatch.setenv("EVALKIT_PRICES", str(prices))
    direct = run(dense(generate=Says()), tiny, JUDGED, judge=RuleJudge(), store=DiskStore(tmp_path / "direct"))
    with chatting() as (server, url):
        judge, store = OpenAICompatible("house-judge", base_url=url, server="here"), DiskStore(tmp_path / "served")
        served = run(dense(generate=Says()), tiny, JUDGED, judge=judge, store=store)
        made = list(server.requests)
        run(dense(generate=Says()), tiny, JUDGED, judge=judge, store=store)
        assert len(server.requests) == len(made)
    assert means(served) == pytest.approx(means(direct))
    assert all(asked["messages"][0] == {"role": "system", "content": SYSTEM} for asked in made)
    assert not any("top_p" in asked for asked in made)
    spent = served.summary.set_index("metric").loc["JudgeDollars", "value"]
    assert spent == pytest.approx(len(made) * (100 * 1.0 + 10 * 4.0) / 1e6)
    assert served.manifest["spending"]["dollars"] == pytest.approx(spent)
