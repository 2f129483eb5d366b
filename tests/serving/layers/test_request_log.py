from __future__ import annotations

import json

import pytest
from toys import Fails, dense, small_dataset

from evalkit import EvalkitError, InputError, Service, replay
from evalkit.serving import Arrival, Cache
from evalkit.serving.layers.request_log import RequestLog

SECONDS = {"embed": 0.05, "search": 0.1, "assemble": 0.01}


def served(layers, store, arrivals=None, variant=None):
    arrivals = arrivals or [Arrival(text, at=float(i)) for i, text in enumerate(("red apples", "pears fall"))]
    return replay(Service(variant or dense(), layers), small_dataset(), arrivals, cost=SECONDS, store=store)


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("wait", "ms"), [(False, 160), (True, 190)])
def test_no_request_waits_for_its_line_unless_it_is_asked_to(store, tmp_path, wait, ms):
    path = tmp_path / "deep" / "log.jsonl"
    found = served((RequestLog(str(path), wait=wait), Cache()), store).per_request
    assert found["ms"].tolist() == pytest.approx([ms, ms])
    rows = lines(path)
    assert [row["text"] for row in rows] == ["red apples", "pears fall"]
    assert [row["answer"] for row in rows] == found["answer"].tolist()
    assert [row["seconds"] for row in rows] == pytest.approx([0.16, 0.16])
    assert [row["at"] for row in rows] == pytest.approx([0.16, 1.16])
    assert rows[0]["cited"][0] == "d1"
    assert rows[0]["notes"]


def test_a_log_grows_from_run_to_run_and_the_last_lines_are_written_before_the_service_ends(store, tmp_path):
    path = tmp_path / "log.jsonl"
    for seconds in (0.0, 500.0):
        served((RequestLog(str(path), seconds=seconds),), store)
    assert [row["number"] for row in lines(path)] == [0, 1, 0, 1]


def test_what_got_no_answer_is_written_with_the_reason(store, tmp_path):
    path = tmp_path / "log.jsonl"
    arrivals = [Arrival("red apples", patience=0.1), Arrival("pears fall", at=5.0, user="u", conversation="c")]
    found = served((RequestLog(str(path)),), store, arrivals)
    assert found.per_request["outcome"].tolist() == ["abandoned", "answered"]
    rows = lines(path)
    assert [row["outcome"] for row in rows] == ["abandoned", "answered"]
    assert "answer" not in rows[0]
    assert (rows[1]["user"], rows[1]["conversation"]) == ("u", "c")
    assert not found.failures


def test_no_secret_is_written(store, tmp_path, monkeypatch):
    secret, key = "kT9x-Plum-Quartz-77", "sk-ant-" + "api03-Zq8" + "vW2mN5xK7bR4tY6uI9oP"
    monkeypatch.setenv("SHOP_API_KEY", secret)
    path = tmp_path / "log.jsonl"
    questions = [f"is {secret} a plum", f"my key {key}", "red apples"]
    served((RequestLog(str(path)),), store, [Arrival(text, at=float(i)) for i, text in enumerate(questions)])
    text = path.read_text(encoding="utf-8")
    assert secret not in text
    assert key not in text
    rows = lines(path)
    assert [row["text"] for row in rows] == [
        "(withheld: the value of SHOP_API_KEY)", "(withheld: an Anthropic key)", "red apples",
    ]  # fmt: skip


@pytest.mark.parametrize("wait", [False, True])
def test_a_file_that_cannot_be_written_loses_lines_and_disturbs_no_request(store, tmp_path, wait):
    found = served((RequestLog(str(tmp_path), wait=wait),), store)
    assert found.per_request["outcome"].tolist() == ["answered", "answered"]
    lost = sum(found.failures.values()) if not wait else found.per_request["log"].str.contains("cannot be").sum()
    assert lost == 2


def test_an_error_that_ends_the_replay_is_logged_too(store, tmp_path):
    path = tmp_path / "log.jsonl"
    with pytest.raises(EvalkitError, match="the quota is spent"):
        served((RequestLog(str(path)),), store, variant=dense(generate=Fails()))
    assert lines(path)[0]["outcome"] == "failed"


def test_where_the_file_lies_is_no_part_of_the_identity():
    one, other, slow = (Service(dense(), (log,)) for log in (RequestLog("a"), RequestLog("b"), RequestLog("a", 1.0)))
    assert one.fingerprint == other.fingerprint != slow.fingerprint
    with pytest.raises(InputError, match="a write takes at least 0 s"):
        RequestLog(seconds=-1)
