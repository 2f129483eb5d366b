"""Cassettes: what goes in comes out, in every process the same bytes; what is cut or damaged is told."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import answered, broke_off, call, embedded, failed, lines_of, prompt, rewrite, some

from evalkit.errors import InputError
from evalkit.llm.cassettes import Cassette, calls, faults_of, header_of, write_entries

TESTS = Path(__file__).parents[2]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "demo.jsonl.gz"
    write_entries(path, some())
    return path


def test_every_entry_comes_out_as_it_went_in(file):
    entries = some()
    assert Cassette.open(file).recall([*entries, "unknown"]) == entries


@settings(max_examples=40)
@given(texts=st.lists(NAMES, max_size=6), extra=VALUES)
def test_any_text_and_any_fields_come_out_to_the_letter(tmp_path_factory, texts, extra):
    path = tmp_path_factory.mktemp("any") / "any.jsonl.gz"
    made = [answered(i, prompt=prompt(i, question=text), text=text, more=extra) for i, text in enumerate(texts)]
    write_entries(path, dict(made))
    assert Cassette.open(path).recall([key for key, _ in made]) == dict(made)
    assert faults_of(path) == []


def test_it_is_lines_of_json_that_anyone_can_read(file):
    header, *lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    assert json.loads(header) == {
        "cassette": 1, "lines": 9, "sum": header_of(file).sum, "calls": 6, "given_up": 2, "embeddings": 1,
    }  # fmt: skip
    rows = [json.loads(line) for line in lines]
    assert [row["key"] for row in rows] == sorted(some())
    asked_first = next(row for row in rows if row["kind"] == "call" and row["sample"] == 1)
    assert asked_first["prompt"]["question"] == "How do I get to island 0?"
    assert asked_first["text"] == "By ferry 0.\nÖland"
    assert asked_first["generator"]["model"] == "claude-haiku-5-5"
    assert asked_first["call"]["pieces"] == [0.25, 0.5, 0.75]
    assert asked_first["call"]["attempts"][0]["error"] == "529 overloaded_error"
    assert "Öland" in "".join(lines)
    if zcat := shutil.which("zcat"):
        read = subprocess.run([zcat, file], capture_output=True, check=True).stdout
        assert read.decode().splitlines() == [header, *lines]


def test_the_order_in_which_calls_were_made_does_not_show(tmp_path):
    entries = list(some(30).items())
    for seed in range(3):
        random.Random(seed).shuffle(entries)
        write_entries(tmp_path / f"{seed}.jsonl.gz", dict(entries))
    assert len({(tmp_path / f"{seed}.jsonl.gz").read_bytes() for seed in range(3)}) == 1


def test_another_process_with_another_hash_seed_writes_the_same_bytes(file, tmp_path):
    code = "from recorded import some; from evalkit.llm.cassettes import write_entries; import sys"
    for seed in ("1", "4711"):
        there = tmp_path / f"{seed}.jsonl.gz"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(TESTS)}
        subprocess.run(
            [sys.executable, "-c", f"{code}; write_entries(sys.argv[1], some())", there], env=environment, check=True
        )
        assert there.read_bytes() == file.read_bytes()


def test_the_content_is_the_same_however_it_is_compressed(file, tmp_path):
    other = tmp_path / "other.jsonl.gz"
    other.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), compresslevel=1))
    assert other.read_bytes() != file.read_bytes()
    assert Cassette.open(other).content == Cassette.open(file).content
    write_entries(other, some(6))
    assert Cassette.open(other).content != Cassette.open(file).content


def test_calls_stream_every_line_with_its_parts(file):
    found = {recorded.key: recorded for recorded in calls(file)}
    assert list(found) == sorted(some())
    key, entry = answered(3)
    one = found[key]
    assert (one.kind, one.prompt, one.sample, one.text) == ("call", prompt(3), 0, entry["text"])
    assert one.call == call(3)
    assert one.generator["max_tokens"] == 512
    assert (found[broke_off(5)[0]].kind, found[broke_off(5)[0]].of) == ("given up", answered(5)[0])
    assert found[failed(6)[0]].error == "Model: island 6: overloaded; run again"
    vector = found[embedded()[0]]
    assert (vector.kind, vector.text, vector.call, vector.prompt) == ("embedding", "By ferry.", None, None)


def test_samples_of_one_prompt_are_calls_of_their_own(file):
    first, second = answered(0), answered(0, sample=1)
    found = Cassette.open(file).recall([first[0], second[0]])
    assert [found[first[0]]["sample"], found[second[0]]["sample"]] == [0, 1]


def test_of_what_was_given_up_the_newest_text_stands_before_a_failure(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    old, new = broke_off(1, day="2026-10-01", text="old"), broke_off(1, day="2026-11-01", text="new")
    write_entries(path, dict([old, new, failed(1), failed(2)]))
    cassette = Cassette.open(path)
    assert cassette.given_up(answered(1)[0])["text"] == "new"
    assert cassette.given_up(answered(2)[0])["error"].endswith("run again")
    assert cassette.given_up(answered(3)[0]) is None
    assert cassette.given_up("") is None


def test_a_file_cut_anywhere_is_told_in_one_line_with_its_name(file, tmp_path):
    data, cut = file.read_bytes(), tmp_path / "cut.jsonl.gz"
    for end in [*range(0, len(data), 97), len(data) - 1, len(data) - 8]:
        cut.write_bytes(data[:end])
        with pytest.raises(InputError) as caught:
            Cassette.open(cut)
        assert str(caught.value).startswith(f"{cut}: ")
        assert "\n" not in str(caught.value)
        assert faults_of(cut)


def test_no_flipped_bit_is_believed(file, tmp_path):
    data, bad, entries = file.read_bytes(), tmp_path / "bad.jsonl.gz", some()
    for place in random.Random(5).sample(range(len(data)), 200):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        bad.write_bytes(changed)
        found, told = None, ""
        try:
            found = Cassette.open(bad).recall(list(entries))
        except InputError as error:
            told = str(error)
        assert found == entries or (told.startswith(f"{bad}: ") and "\n" not in told)  # a time stamp may change


def test_a_changed_line_is_named(file):
    lines = lines_of(file)
    lines[4] = lines[4].replace(b"ferry", b"plane").replace(b"AACA", b"AADA")
    rewrite(file, lines)
    with pytest.raises(InputError, match=r"line 5: is damaged: it is not what its checksum says; fetch the file"):
        Cassette.open(file)
    assert faults_of(file) == [
        f"{file}: line 5: is damaged: it is not what its checksum says",
        f"{file}: line 1: the header's checksum is not that of the lines",
    ]


def test_all_damaged_lines_are_named_together(file):
    lines = lines_of(file)
    lines[2], lines[7] = b'{"text": "no checksum"}', b"no json at all"
    rewrite(file, lines)
    assert [fault.split(": ")[1] for fault in faults_of(file)] == ["line 3", "line 8", "line 1"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines[:-1], "line 9: is the last, but the header states 9 lines after itself"),
        (lambda lines: [*lines, lines[-1]], "line 11: stands twice, or out of order"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 3: stands twice, or out of order"),
        (lambda lines: lines[1:], "line 1: is no header; this is no cassette"),
        (lambda lines: [b"[]", *lines[1:]], "line 1: is no header; this is no cassette"),
        (lambda lines: [b'{"cassette": 1}', *lines[1:]], "line 1: the header is damaged"),
        (lambda lines: [], "line 1: is no header; this is no cassette"),
    ],
)
def test_missing_doubled_and_foreign_lines_are_told(file, change, told):
    rewrite(file, change(lines_of(file)))
    with pytest.raises(InputError) as caught:
        Cassette.open(file)
    assert str(caught.value).startswith(f"{file}: {told}")


def test_a_line_that_is_whole_but_no_call_is_told(file):
    text = b'{"key": "zz", "kind": null, "text": "half a call"}'
    summed = hashlib.blake2b(text, digest_size=8).hexdigest().encode()
    rewrite(file, [*lines_of(file), b'{"#": "' + summed + b'", ' + text[1:]])
    assert "line 11: is no call and no embedding" in faults_of(file)[0]


def test_a_file_of_a_later_format_is_refused_and_says_so(file):
    header, *lines = lines_of(file)
    rewrite(file, [json.dumps({**json.loads(header), "cassette": 2, "new": [1]}).encode(), *lines])
    with pytest.raises(InputError, match="is a cassette of format 2; this evalkit reads up to 1: update it"):
        Cassette.open(file)


@pytest.mark.parametrize("content", [b"", b"plain text", b'{"cassette": 1}\n', bytes(range(256))])
def test_what_is_no_cassette_is_told(tmp_path, content):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"no cassette|no header"):
        Cassette.open(path)
    assert faults_of(path)


def test_a_missing_file_says_how_it_comes_to_be(tmp_path):
    for look in (Cassette.open, header_of, lambda path: list(calls(path))):
        with pytest.raises(InputError, match=r"no such cassette; record it first \(--cassette-mode record\)"):
            look(tmp_path / "x.jsonl.gz")
    with pytest.raises(InputError, match="cannot be read"):
        Cassette.open(tmp_path)


def test_a_secret_is_refused_with_line_and_field_and_nothing_is_left_half_written(file, monkeypatch):
    before, planted = file.read_bytes(), "planted-" + "7f3a" * 4
    monkeypatch.setenv("ANTHROPIC_API_KEY", planted)
    key, entry = answered(3, prompt=prompt(3, passages=("fine", f"the key is {planted}.")))
    line = sorted([*some(), key]).index(key) + 2
    with pytest.raises(InputError) as caught:
        write_entries(file, {**some(), key: entry})
    assert f"{file}: not written: line {line} (call {key}), prompt.passages[1]: " in str(caught.value)
    assert "holds the value of ANTHROPIC_API_KEY" in str(caught.value)
    assert planted not in str(caught.value)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("entry", [failed(6), broke_off(5), embedded(), answered(0)])
def test_a_secret_is_found_in_what_the_server_said_of_any_kind(file, entry):
    field = "error" if "error" in entry[1] else "text"
    leaked = {**entry[1], field: "it says sk-ant-api03-Zx81kQmW02pLr7TnV5cYbE0 and stops"}
    with pytest.raises(InputError, match=rf"{field}: holds an Anthropic key"):
        write_entries(file, {**some(), entry[0]: leaked})


def test_a_disk_that_fails_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Exception, match=r"cannot be written \(No space left on device\); make room"):
        write_entries(file, some(9))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_new_file_can_be_read_by_those_that_the_umask_lets(tmp_path):
    old = os.umask(0o022)
    try:
        write_entries(tmp_path / "new" / "x.jsonl.gz", some())
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new" / "x.jsonl.gz").stat().st_mode) == 0o644


def test_a_file_is_indexed_once_a_process_until_it_changes(file, tmp_path):
    first = Cassette.open(file)
    shutil.copy(file, tmp_path / "copy.jsonl.gz")
    assert Cassette.open(tmp_path / "copy.jsonl.gz").rows is first.rows
    write_entries(file, some(6))
    assert Cassette.open(file).rows is not first.rows
    assert len(first.rows) == 9


def test_threads_share_an_index(file):
    entries, cassette, found = some(), Cassette.open(file), []

    def look(seed):
        keys = random.Random(seed).choices(list(entries), k=200)
        found.append(all(cassette.recall([key]) == {key: entries[key]} for key in keys))

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


def test_an_entry_that_is_whole_but_cannot_be_read_is_told(tmp_path):
    key, entry = answered(1)
    write_entries(tmp_path / "x.jsonl.gz", {key: {**entry, "call": {**entry["call"], "seconds": -1.0}}})
    assert faults_of(tmp_path / "x.jsonl.gz")[0].startswith(
        f"{tmp_path / 'x.jsonl.gz'}: line 2: is no call (InputError"
    )
    with pytest.raises(InputError, match=r"line 2: is no call \(InputError: .*\); fetch the file again"):
        list(calls(tmp_path / "x.jsonl.gz"))
