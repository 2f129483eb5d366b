"""A planted key is nowhere: not in a file, a log, a report, a message or a repr, though the server says it aloud."""

from __future__ import annotations

import base64
import gzip
import logging
import pickle
import traceback
import zipfile
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from scripted import Scripted, delta, events, opened, overload, plain, refusal, start, streaming, whole
from toys import dense

from evalkit import EvalkitError, Sweep, run
from evalkit.errors import InputError
from evalkit.evaluate.calling.recording import Recording
from evalkit.forms import plain as written
from evalkit.llm.cassettes import header_of
from evalkit.llm.claude import Claude
from evalkit.llm.replayed import Replayed
from evalkit.paths import results_dir, store_dir, tracking_dir
from evalkit.reporting import write_report
from evalkit.store import DiskStore
from evalkit.tracking import track

KEY = "sk-ant-api03-Rk7Qw93ZxLp20vTnHs84bYcJ6uMdEa51-gFoXiAA"
CANARY = "By the canary ferry"
"""What an answer says: to be found in every place that is looked through, or the look would prove nothing."""

FORMS = [KEY, base64.b64encode(KEY.encode()).decode(), KEY.encode().hex(), KEY[13:], KEY[::-1]]


echoed: list[str] = []
"""What the server said aloud in this test."""


@pytest.fixture
def server(monkeypatch):
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "EVALKIT_PRICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    echoed.clear()
    running = Scripted()
    running.always = whole(CANARY, " [1].")
    yield running
    running.close()
    assert set(echoed) == {KEY}


@pytest.fixture
def claude(server):
    return Claude(base_url=server.url, server="loopback", retries=4)


@pytest.fixture(autouse=True)
def _all_logs(caplog):
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in ("anthropic", "httpx2", "httpcore2", "evalkit", "asyncio"):
            caplog.set_level(logging.DEBUG, logger=name)


def inside(path: Path) -> list[bytes]:
    """A file's bytes, and what is in it where these are compressed."""
    data = path.read_bytes()
    found = [str(path).encode(), data]
    if path.name.endswith(".gz"):
        found.append(gzip.decompress(data))
    elif path.suffix == ".parquet":
        found.append(pd.read_parquet(path).to_csv().encode())
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(BytesIO(data)) as archive:
            found += [archive.read(name) for name in archive.namelist()]
    return found


def files(*folders: Path) -> dict[Path, list[bytes]]:
    return {path: inside(path) for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}


def holds(data: bytes, texts: list[str]) -> bool:
    return any(text.encode() in data for text in texts)


def echoes(request):
    """What the server says of the key that it was sent, in a header and nowhere else."""
    sent = next(value.removeprefix("Bearer ") for value in request.headers.values() if KEY in value)
    assert not holds(repr((request.path, request.body)).encode(), FORMS)
    echoed.append(sent)
    return sent


SAID = [
    lambda request: refusal(529, "overloaded_error", f"no room for {echoes(request)}"),
    lambda request: refusal(500, f"api_error_{echoes(request)}", "down", retry_after="0"),
    lambda request: streaming(start(), opened(), delta("By "), overload(message=f"overloaded by {echoes(request)}")),
    lambda request: plain(503, f"<html>{echoes(request)}</html>".encode(), kind="text/html"),
]


def said(error: BaseException) -> str:
    """All that an exception shows, or carries to another process."""
    shown = [str(error), repr(error), *traceback.format_exception(error), repr(pickle.dumps(error))]
    return "\n".join([*shown, repr(vars(error))])


@pytest.mark.parametrize("fault", range(len(SAID)))
def test_a_whole_experiment_leaves_no_trace_of_the_key(tiny, server, claude, tmp_path, caplog, capfd, fault):
    server.scripts = [SAID[fault], SAID[(fault + 1) % len(SAID)]]
    file, store = tmp_path / "demo.jsonl.gz", DiskStore(store_dir())
    with Recording(store, file, "record") as recording:
        results = run(dense(generate=claude), tiny, ["TokenF1", "DollarsPerQuery"], name="planted", store=recording)
        print(recording, recording.told(), recording.plain())
    folder = results_dir() / "planted"
    results.save(folder)
    write_report(results, folder)
    track(results, folder=folder)
    print(results, results.manifest, results.compare(), claude, written(claude), Replayed(claude, str(file)))
    store.journal.close()
    found = files(tmp_path, store_dir(), results_dir(), tracking_dir())
    places = {path.name for path, texts in found.items() if any(holds(text, [CANARY]) for text in texts)}
    assert {file.name, store.layout.journal.name} <= places
    assert any(path.is_relative_to(tracking_dir()) for path in found)
    assert header_of(file).calls == len(tiny.queries)
    leaks = [path for path, texts in found.items() if any(holds(text, FORMS) for text in texts)]
    assert leaks == []
    out, err = capfd.readouterr()
    assert "loopback" in out
    assert "anthropic" in caplog.text  # the SDK's own logs were on
    for text in (out, err, caplog.text, *(repr(vars(record)) for record in caplog.records)):
        assert not holds(text.encode(), FORMS)


@pytest.mark.parametrize(
    "refused",
    [
        lambda request: refusal(401, "authentication_error", f"invalid x-api-key: {echoes(request)}"),
        lambda request: refusal(403, "permission_error", f"{echoes(request)} may not"),
        lambda request: refusal(429, "rate_limit_error", f"spend limit of {echoes(request)} reached"),
        lambda request: refusal(400, "invalid_request_error", f"what is {echoes(request)}?"),
        lambda request: plain(404, f"no {echoes(request)} here".encode(), kind="text/plain"),
        lambda request: streaming(b"event: error\ndata: {" + echoes(request).encode() + b"\n\n"),
    ],
)
def test_a_run_that_fails_shows_no_key(tiny, server, claude, tmp_path, caplog, capfd, refused):
    server.always = refused
    file, store = tmp_path / "demo.jsonl.gz", DiskStore(store_dir())

    def fails():
        with Recording(store, file, "record") as recording:
            run(dense(generate=claude), tiny, ["TokenF1"], store=recording)

    with pytest.raises(EvalkitError) as caught:
        fails()
    store.journal.close()
    found = files(tmp_path, store_dir())
    assert [path for path, texts in found.items() if any(holds(text, FORMS) for text in texts)] == []
    assert header_of(file).given_up >= 1  # what failed is kept, without the words that hold the key
    out, err = capfd.readouterr()
    for text in (said(caught.value), out, err, caplog.text):
        assert not holds(text.encode(), FORMS)


def test_a_key_in_the_headers_of_an_answer_goes_no_further(tiny, server, claude, tmp_path, caplog, capfd):
    caplog.set_level(logging.INFO)  # at DEBUG the SDK's connections log the headers that they receive
    for name in logging.root.manager.loggerDict:
        caplog.set_level(logging.INFO, logger=name)
    server.always = lambda request: streaming(*events(CANARY), **{"request-id": echoes(request)})
    server.scripts = [lambda request: refusal(529, "overloaded_error", "so it is", request_id=echoes(request))]
    file, store = tmp_path / "demo.jsonl.gz", DiskStore(store_dir())
    with Recording(store, file, "record") as recording:
        results = run(dense(generate=claude), tiny, ["TokenF1"], store=recording)
    print(results, results.manifest)
    store.journal.close()
    found = files(tmp_path, store_dir())
    assert [path for path, texts in found.items() if any(holds(text, FORMS) for text in texts)] == []
    assert header_of(file).calls == len(tiny.queries)
    assert not holds("".join((*capfd.readouterr(), caplog.text)).encode(), FORMS)


def test_a_server_that_answers_with_the_key_gets_it_into_no_cassette(tiny, server, claude, tmp_path):
    server.always = lambda request: streaming(*events("your key is ", echoes(request)))
    file = tmp_path / "demo.jsonl.gz"

    def records():
        with Recording(DiskStore(store_dir()), file, "record") as recording:
            run(dense(generate=claude), tiny, ["TokenF1"], store=recording)

    with pytest.raises(InputError, match="text: holds the value of ANTHROPIC_API_KEY") as caught:
        records()
    assert not file.exists()
    assert not holds(said(caught.value).encode(), FORMS)


def test_a_sweep_in_which_one_system_is_refused_tells_of_it_without_the_key(tiny, server, claude, tmp_path, capfd):
    server.always = lambda request: (
        refusal(404, "not_found_error", f"model for {echoes(request)}")
        if request.body["model"] == "claude-none"
        else whole(CANARY)
    )
    other = Claude("claude-none", base_url=server.url, server="loopback", retries=0)
    sweep = Sweep(dense(generate=claude), systems={"other": dense(generate=other)})
    with Recording(DiskStore(store_dir()), tmp_path / "demo.jsonl.gz") as recording:
        results = run(sweep, tiny, ["TokenF1"], name="planted", store=recording)
    results.save(results_dir() / "planted")
    page = write_report(results, results_dir() / "planted")
    assert "claude-none" in results.manifest["failed"]["other"]
    assert b"claude-none" in page.read_bytes()
    found = files(tmp_path, store_dir(), results_dir())
    assert [path for path, texts in found.items() if any(holds(text, FORMS) for text in texts)] == []
    print(results, results.manifest)
    assert not holds(capfd.readouterr().out.encode(), FORMS)
