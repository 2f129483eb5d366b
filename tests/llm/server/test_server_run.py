"""The server is on this machine only, starts on a free port, and stops at once and without a trace."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import anthropic
import pytest
from speakers import KEY, Broken, FirstSentence, Paced, ask, talking

from evalkit.errors import EvalkitError, InputError
from evalkit.llm.server import FakeClaude, serve, serving

FAKE = FakeClaude(FirstSentence())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "example.com"])  # noqa: S104 - refused
def test_any_host_but_this_machine_is_refused(host):
    with pytest.raises(InputError, match=r"this machine only"), serving(FAKE, host=host):
        pass
    with pytest.raises(InputError, match=r"this machine only"):
        serve(FAKE, host=host)


def test_it_listens_on_loopback_and_on_a_port_of_its_own():
    with serving(FAKE) as one, serving(FAKE, host="localhost") as two:
        assert one.url != two.url
        assert one.url.startswith("http://127.0.0.1:")
        assert one.ledger()["rows"] == two.ledger()["rows"] == []


@pytest.mark.parametrize("process", [False, True])
def test_a_port_that_is_taken_is_one_line(process):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}: "), serving(FAKE, port, process=process):
            pass


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_one_line(port):
    with pytest.raises(InputError, match=f"port {port}: "), serving(FAKE, port):
        pass


@pytest.mark.parametrize("process", [False, True])
def test_a_client_is_served_by_a_thread_or_a_process(process):
    with talking(process=process) as (server, client):
        made = client.messages.create(**ask("Hello?"))
        with client.messages.stream(**ask("Hello?")) as stream:
            assert stream.get_final_text() == made.content[0].text == "Hello?"
        assert server.ledger()["totals"]["requests"] == 2
        url = server.url
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))


@pytest.mark.parametrize("process", [False, True])
def test_a_port_can_be_used_again_at_once(process):
    with serving(FAKE, process=process) as server:
        port = int(server.url.rpartition(":")[2])
        server.ledger()
    with serving(FAKE, port) as server:
        assert server.ledger()["rows"] == []


@pytest.mark.parametrize("process", [False, True])
def test_it_stops_in_the_midst_of_a_stream(process):
    with talking(Paced("word " * 900, 900, every=1.0), process=process, speed=20.0) as (server, client):
        stream = client.messages.create(**ask(), stream=True)
        next(iter(stream))
        ledger = server.ledger()
    stream.close()
    assert ledger["totals"]["complete"] == 0


def test_it_leaves_no_thread_and_no_log_behind(caplog):
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    before = set(threading.enumerate())
    with talking() as (_, client):
        client.messages.create(**ask())
    assert {thread for thread in threading.enumerate() if "fake-claude" in thread.name} <= before
    assert KEY not in caplog.text


def test_a_process_that_cannot_start_is_told():
    class Unsendable:
        version, stage = 1, "generate"

        async def __call__(self, prompt, sample, clock): ...

    with pytest.raises((AttributeError, EvalkitError, TypeError)), serving(FakeClaude(Unsendable()), process=True):
        pass


def test_a_generator_is_sent_to_the_process_whole():
    with talking(Broken(ValueError("x")), process=True) as (_, client), pytest.raises(Exception, match="ValueError"):
        client.messages.create(**ask())


FOREGROUND = """
from speakers import Paced
from evalkit.llm.server import FakeClaude, serve
serve(FakeClaude(Paced("word " * 900, 900, 1.0), speed=20.0), ready=lambda url: print(url, flush=True))
print("stopped")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_it_in_the_midst_of_a_stream(number):
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", FOREGROUND]
    place = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=place) as process:
        url = process.stdout.readline().strip()
        http = anthropic.DefaultHttpxClient(trust_env=False)
        with anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0, http_client=http) as client:
            stream = client.messages.create(**ask(), stream=True)
            next(iter(stream))
            os.kill(process.pid, number)
            out, error = process.communicate(timeout=60)
            stream.close()
    assert (process.returncode, out, error) == (0, "stopped\n", "")
