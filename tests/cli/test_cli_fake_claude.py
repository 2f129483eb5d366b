"""``evalkit fake-claude``, as a user starts it: a process of its own, a real socket, a signal to stop."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from urllib.request import ProxyHandler, build_opener

import anthropic
import pytest

from evalkit.cli.fake_claude import add_fake_claude_command, read_generator
from evalkit.errors import InputError, InputErrors

MAIN = """
import argparse, sys
from evalkit.cli.fake_claude import add_fake_claude_command
parser = argparse.ArgumentParser()
add_fake_claude_command(parser.add_subparsers(required=True), lambda text: print(text, flush=True))
options = parser.parse_args(sys.argv[1:])
sys.exit(options.command(options))
"""


def options_of(*arguments):
    parser = argparse.ArgumentParser()
    add_fake_claude_command(parser.add_subparsers(required=True), print)
    return parser.parse_args(["fake-claude", *arguments])


@pytest.fixture
def started():
    running = []

    def start(*arguments):
        command = [sys.executable, "-W", "error::ResourceWarning", "-c", MAIN, "fake-claude", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_it_says_where_it_is_answers_and_stops_at_a_signal(started, tmp_path):
    (tmp_path / "faults.yaml").write_text("script: [{kind: overloaded, at: [2]}]")
    process, url = started("--faults", str(tmp_path / "faults.yaml"), "--requests-per-minute", "100", "--speed", "9")
    assert url.startswith("http://127.0.0.1:")
    http = anthropic.DefaultHttpxClient(trust_env=False)
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, http_client=http) as client:
        question = "The ferry takes fifty minutes.\n\nDogs are free.\n\nHow long does the ferry take?"
        asked = {"model": "claude-haiku-5-5", "max_tokens": 99, "messages": [{"role": "user", "content": question}]}
        made = client.messages.with_raw_response.create(**asked)
        assert "fifty minutes" in made.parse().content[0].text
        assert made.headers["anthropic-ratelimit-requests-limit"] == "100"
        with pytest.raises(anthropic.InternalServerError):
            client.messages.create(**asked)
    with build_opener(ProxyHandler({})).open(f"{url}/ledger") as response:
        assert json.loads(response.read())["totals"]["requests"] == 2
    os.kill(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (0, "")


def test_a_generator_is_read_from_a_text_or_a_file(tmp_path):
    from evalkit.llm import Extractive

    assert isinstance(read_generator("{Extractive: {embedder: SentenceTransformer}}"), Extractive)
    (tmp_path / "generator.yaml").write_text("Extractive: {embedder: SentenceTransformer, sentences: 1}")
    assert read_generator(str(tmp_path / "generator.yaml")).sentences == 1


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("Extractiv", "did you mean 'Extractive'"),
        ("Flat", "Flat cannot stand here"),
        ("{", "not YAML"),
        ("none.yaml", "cannot be read"),
    ],
)
def test_what_is_no_generator_is_refused(stated, words):
    with pytest.raises(InputError, match=words):
        read_generator(stated)


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    options = options_of(
        "--speed", "-1", "--faults", str(tmp_path / "none.yaml"), "--input-tokens-per-minute", "0",
        "--generator", "Extractiv",
    )  # fmt: skip
    with pytest.raises(InputErrors) as refused:
        options.command(options)
    told = str(refused.value).splitlines()
    assert len(told) == 4
    assert [word in str(refused.value) for word in ("--speed", "none.yaml", "input_tokens", "--generator")] == [
        True
    ] * 4


def test_another_host_is_refused():
    options = options_of("--host", "0.0.0.0", "--generator", "{Extractive: {embedder: SentenceTransformer}}")  # noqa: S104
    with pytest.raises(InputError, match="this machine only"):
        options.command(options)
