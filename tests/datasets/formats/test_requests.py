"""Logs of requests: whatever they call their columns and however they write their times, they become traffic."""

from __future__ import annotations

import csv
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from evalkit import load_dataset
from evalkit.datasets.formats.source import Source
from evalkit.datasets.traffic import Traffic
from evalkit.errors import InputError, InputErrors

ROWS = [
    {"at": 0.5, "user": "u1", "tenant": "retail", "text": "What does a card cost?", "intent": "fee",
     "answer": "9 euros", "kind": "canonical", "conversation": "c1", "turn": 1, "prompt_tokens": 12,
     "answer_tokens": 3},
    {"at": 3.25, "user": "u2", "tenant": "business", "text": 'Who, "exactly",\nsigns? Größe', "prompt_tokens": 7},
]  # fmt: skip


def write(path, rows):
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def times(path, cells, **kwargs):
    rows = [{"time": cell, "text": f"t{i}"} for i, cell in enumerate(cells)]
    return load_dataset(write(path, rows), **kwargs).traffic


def faults(path, **kwargs):
    with pytest.raises(InputErrors) as caught:
        load_dataset(path, **kwargs)
    assert all("\n" not in fault for fault in caught.value.faults)
    return [fault.replace(f"{path.parent}/", "") for fault in caught.value.faults]


# --- columns


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl", ".parquet"])
def test_a_log_in_any_form_is_the_same_traffic_and_nothing_else(tmp_path, ending):
    data = load_dataset(write(tmp_path / f"log{ending}", ROWS))
    assert data.name == "log"
    assert data.traffic.digest == Traffic.of(ROWS).digest
    assert (len(data.documents), len(data.queries), len(data.qrels), len(data.intents)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "names",
    [
        {"at": "timestamp", "user": "user_id", "text": "query", "conversation": "session_id"},
        {"at": "Arrived At", "user": "userId", "text": "QUESTION", "conversation": "conversation-id"},
        {"at": "TIMESTAMP", "text": "prompt", "prompt_tokens": "ContextTokens", "answer_tokens": "GeneratedTokens"},
        {"at": "time", "text": "user_input", "prompt_tokens": "input_tokens", "answer_tokens": "completion_tokens"},
    ],
)
def test_names_that_are_in_use_need_no_mapping(tmp_path, names):
    rows = [{names.get(name, name): cell for name, cell in row.items()} for row in ROWS]
    assert load_dataset(write(tmp_path / "log.jsonl", rows)).traffic.digest == Traffic.of(ROWS).digest


def test_a_mapping_goes_before_names_and_a_mapped_column_means_nothing_else(tmp_path):
    rows = [{"when": 2, "time": "noon", "text": "the intent", "prompt": "Who?", "model": "m"}]
    columns = {"at": "when", "intent": "text"}
    traffic = load_dataset(write(tmp_path / "log.csv", rows), columns=columns).traffic
    assert (traffic.at.tolist(), list(traffic.text), list(traffic.intent)) == ([2.0], ["Who?"], ["the intent"])


def test_a_column_that_is_not_there_is_told_with_the_nearest_name(tmp_path):
    path = write(tmp_path / "log.csv", ROWS)
    assert faults(path, columns={"at": "att", "text": "txet", "usr": "user"}) == [
        "log.csv: no column 'att' for 'at'; did you mean 'at'?",
        "log.csv: no column 'txet' for 'text'; did you mean 'text'?",
        "log.csv: columns: 'usr' is not known here; did you mean 'user'?",
    ]


def test_numbers_may_be_ids_and_counts_may_be_written_as_floats(tmp_path):
    rows = [{"at": 1, "text": "a", "user": 17, "session_id": 4.0, "prompt_tokens": 5.0, "turn": "2"}]
    traffic = load_dataset(write(tmp_path / "log.jsonl", rows)).traffic
    assert (list(traffic.user), list(traffic.conversation)) == (["17"], ["4"])
    assert (traffic.prompt_tokens.tolist(), traffic.turn.tolist()) == ([5], [2])


def test_what_frames_leave_open_is_empty(tmp_path):
    frame = pd.DataFrame({"at": [0.0, 1.0], "text": ["a", "b"], "user": ["u", None], "prompt_tokens": [3, np.nan]})
    frame.to_parquet(tmp_path / "log.parquet")
    frame.to_csv(tmp_path / "log.csv", index=False)
    for name in ("log.parquet", "log.csv"):
        traffic = load_dataset(tmp_path / name).traffic
        assert (list(traffic.user), traffic.prompt_tokens.tolist()) == (["u", ""], [3, 0])


def test_a_log_with_times_is_no_log_of_questions_and_contexts_and_one_without_is_no_traffic(tmp_path):
    rows = [{"question": "Who?", "contexts": ["We."], "answer": "We.", "timestamp": 3}]
    assert list(load_dataset(write(tmp_path / "log.jsonl", rows)).traffic.text) == ["Who?"]
    path = write(tmp_path / "other.jsonl", [{"colour": "red"}])
    with pytest.raises(InputError, match="its columns are colour; say which hold what"):
        load_dataset(path)


@given(st.lists(st.tuples(st.floats(0, 9e8), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))))
def test_what_is_written_from_traffic_is_read_as_the_same(tmp_path, asked):
    rows = [{"at": at, "text": text, "turn": i} for i, (at, text) in enumerate(asked) if text.strip()]
    traffic = Traffic.of([*rows, {"at": 1.0, "text": "last"}])
    traffic.frame().to_csv(tmp_path / "log.csv", index=False)
    assert load_dataset(tmp_path / "log.csv").traffic.digest == traffic.digest


# --- times


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([2, 0.5], [0.5, 2.0]),
        (["2", " 5e-1 "], [0.5, 2.0]),
        ([1_700_000_003.5, 1_700_000_000], [0.0, 3.5]),
        (["2023-11-16T23:59:59Z", "2023-11-17 01:00:00.25+01:00"], [0.0, 1.25]),
        (["2023-11-16 18:15:46.6805900", "2023-11-16 18:15:50.9951690"], [0.0, 4.314579]),
        (["20231116T181546,123456789", "2023-11-16 18:15:46"], [0.0, 0.123456789]),
        (["2024-02-28", "2024-03-01"], [0.0, 172_800.0]),
    ],
)
def test_times_are_seconds_from_the_start_however_they_are_written(tmp_path, cells, expected):
    assert times(tmp_path / "log.jsonl", cells).at.tolist() == expected


@given(st.lists(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=5),
       st.lists(st.integers(-720, 720), min_size=5, max_size=5))  # fmt: skip
def test_zones_do_not_matter_and_no_microsecond_is_lost(tmp_path, moments, offsets):
    first = min(moments)
    expected = sorted((m - first) // timedelta(microseconds=1) / 10**6 for m in moments)
    zones = [timezone(timedelta(minutes=offset)) for offset in offsets]
    cells = [m.replace(tzinfo=UTC).astimezone(zone).isoformat() for m, zone in zip(moments, zones, strict=False)]
    assert times(tmp_path / "zoned.jsonl", cells).at.tolist() == expected
    assert times(tmp_path / "unzoned.jsonl", [m.isoformat(" ") for m in moments]).at.tolist() == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Vienna"])
def test_times_of_parquet_are_times(tmp_path, unit, zone):
    moments = pd.to_datetime(["2024-05-01 10:00:02", "2024-05-01 10:00:00"]).tz_localize(zone).as_unit(unit)
    pd.DataFrame({"timestamp": moments, "text": ["b", "a"]}).to_parquet(tmp_path / "log.parquet")
    traffic = load_dataset(tmp_path / "log.parquet").traffic
    assert (traffic.at.tolist(), list(traffic.text)) == ([0.0, 2.0], ["a", "b"])


def test_nanoseconds_of_parquet_are_kept(tmp_path):
    moments = pd.to_datetime(["2024-05-01 10:00:00.000000001", "2024-05-01 10:00:00.000000033"])
    pd.DataFrame({"timestamp": moments, "text": ["a", "b"]}).to_parquet(tmp_path / "log.parquet")
    assert load_dataset(tmp_path / "log.parquet").traffic.at.tolist() == [0.0, 32e-9]


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        (None, "request without a time"),
        ("noon", "time 'noon': neither seconds nor an ISO 8601 time"),
        ("2023-13-01", "time '2023-13-01': neither seconds nor an ISO 8601 time"),
        ("18:15:46", "time '18:15:46': neither seconds nor an ISO 8601 time"),
        (True, "time 'True': neither seconds nor an ISO 8601 time"),
        ([1], "time '[1]': neither seconds nor an ISO 8601 time"),
        (-1, "time '-1': seconds lie between 0 and 100 billion"),
        (1_700_000_000_000, "time '1700000000000': seconds lie between 0 and 100 billion; are these milliseconds?"),
        ("1e400", "time '1e400': seconds lie between 0 and 100 billion; are these milliseconds?"),
        (10**400, f"time '{10**400}': seconds lie between 0 and 100 billion; are these milliseconds?"),
        ("2023-11-16 18:15", "2023-11-16 18:15 is a time without a zone, but log.jsonl:1 has a number"),
        ("2023-11-16 18:15Z", "2023-11-16 18:15Z is a time with a zone, but log.jsonl:1 has a number"),
    ],
)
def test_a_bad_time_is_one_line_with_its_place(tmp_path, cell, what):
    path = write(tmp_path / "log.jsonl", [{"time": 1, "text": "a"}, {"time": cell, "text": "b"}])
    (line,) = faults(path)
    assert line.startswith(f"log.jsonl:2: {what}"[:400])


def test_zoned_and_unzoned_times_are_not_mixed(tmp_path):
    cells = ["2023-11-16 18:15", "2023-11-16 18:15+00:00"]
    path = write(tmp_path / "log.csv", [{"time": cell, "text": "a"} for cell in cells])
    assert faults(path) == [
        "log.csv:3: 2023-11-16 18:15+00:00 is a time with a zone, but log.csv:2 has a time without a zone"
    ]


# --- other cells


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"prompt_tokens": "many"}, "prompt_tokens 'many' is not a whole number from 0"),
        ({"answer_tokens": 2.5}, "answer_tokens 2.5 is not a whole number from 0"),
        ({"answer_tokens": True}, "answer_tokens True is not a whole number from 0"),
        ({"turn": -1}, "turn -1 is not a whole number from 0"),
        ({"text": ""}, "request without a text"),
        ({"text": 3}, "request without a text"),
        ({"user": ["u"]}, "request: 'user' is not a text"),
        ({"conversation": {}}, "request: 'conversation' is not a text"),
        ({"turn": 10**30}, "request: 'turn' is not a whole number from 0"),
    ],
)
def test_a_bad_cell_is_one_line_with_its_place(tmp_path, change, what):
    path = write(tmp_path / "log.jsonl", [{"at": 1, "text": "a"}, {"at": 2, "text": "b", **change}])
    assert faults(path) == [f"log.jsonl:2: {what}"]


def test_every_bad_cell_of_a_row_is_told(tmp_path):
    path = write(tmp_path / "log.csv", [{"at": "noon", "text": "a", "turn": "x", "prompt_tokens": "-3"}])
    assert [line.partition(": ")[0] for line in faults(path)] == ["log.csv:2"] * 3


def test_a_log_has_requests_and_they_have_texts_or_token_counts(tmp_path):
    assert faults(write(tmp_path / "log.csv", [{"at": 1, "user": "u"}])) == [
        "log.csv: no column with texts or token counts; name it: columns={'text': ...}"
    ]
    (tmp_path / "empty.csv").write_text("at,text\n")
    assert faults(tmp_path / "empty.csv") == ["empty.csv: holds no request"]


def test_a_count_of_either_kind_is_enough_and_one_that_is_no_number_is_none(tmp_path):
    columns = {"at": [0.0, 1.0], "ContextTokens": [5.0, math.nan], "GeneratedTokens": [math.nan, 2.0]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "log.parquet")
    traffic = load_dataset(tmp_path / "log.parquet").traffic
    assert (traffic.prompt_tokens.tolist(), traffic.answer_tokens.tolist()) == ([5, 0], [0, 2])


def test_a_trace_of_token_counts_is_traffic(needs_shared):
    path = needs_shared("azure-llm-trace") / "conv.csv"
    traffic = load_dataset(path).traffic
    assert len(traffic) == 19_366
    assert set(traffic.text) == {""}
    assert (traffic.prompt_tokens[0], traffic.answer_tokens[0]) == (374, 44)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert traffic.prompt_tokens.sum() == sum(int(row["ContextTokens"]) for row in rows)
    assert traffic.answer_tokens.sum() == sum(int(row["GeneratedTokens"]) for row in rows)
    assert (traffic.at[0], traffic.at[1], traffic.at[-1]) == (0.0, 4.314579, 3_501.721937)
    assert (np.diff(traffic.at) >= 0).all()


# --- the peek at columns


def source(path):
    return Source(str(path), "", "", Path(path))


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl", ".parquet"])
def test_a_peek_tells_the_columns_of_the_first_record(tmp_path, ending):
    assert source(write(tmp_path / f"log{ending}", ROWS)).keys() == tuple(ROWS[0])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", b""),
        ("log.json", b'{"at": 1}'),
        ("log.json", b"[1, 2]"),
        ("log.json", b"[{"),
        ("log.json", b"[" * 100_000),
        ("log.jsonl", b"\xff\n[]\n"),
        ("log.parquet", b"PAR1"),
        ("log.txt", b"at,text\n"),
    ],
)
def test_what_has_no_columns_has_no_columns(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert source(tmp_path / name).keys() == ()
    assert source(tmp_path).keys() == source(tmp_path / "no.csv").keys() == ()


def test_a_peek_reads_the_beginning_only(tmp_path):
    record = json.dumps({"at": 1, "text": "a"})
    (tmp_path / "log.json").write_bytes(f"\ufeff [ {record}, {record}, broken \xff".encode("latin-1", "ignore"))
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbfat, text\n1,\xff\n")
    (tmp_path / "log.jsonl").write_bytes(f"broken\n{record}\n\xff".encode("latin-1"))
    for name in ("log.json", "log.csv", "log.jsonl"):
        assert source(tmp_path / name).keys() == ("at", "text")


def test_times_of_a_log_are_finite(tmp_path):
    assert all(math.isfinite(at) for at in times(tmp_path / "log.jsonl", [0, 1e-300, 99_999_999_999.0]).at)
