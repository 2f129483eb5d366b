"""``evalkit cassette`` and the options of a run: what they say, and how they refuse."""

from __future__ import annotations

import argparse
import gzip

import pytest
from paid import Paid
from recorded import answered, broke_off, call, embedded, failed
from toys import CALLS, calls, dense

from evalkit import run
from evalkit.cli.cassette import add_cassette_commands, add_cassette_options, store_with_cassette
from evalkit.errors import InputError
from evalkit.evaluate.calling.recording import Recording
from evalkit.llm.cassettes import header_of, write_entries
from evalkit.store import DiskStore


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "demo.jsonl.gz"
    entries = [answered(0), answered(1, call=call(1, day="2026-10-02")), broke_off(2), failed(3), embedded()]
    write_entries(path, dict(entries))
    return path


def command(*arguments):
    """The exit code of one command, and what it said."""
    said: list[str] = []
    parser = argparse.ArgumentParser()
    add_cassette_commands(parser, said.append)
    options = parser.parse_args([str(argument) for argument in arguments])
    return options.command(options), "\n".join(said)


def options_of(*arguments):
    parser = argparse.ArgumentParser()
    add_cassette_options(parser)
    parser.add_argument("--scheduler")
    return parser.parse_args([str(argument) for argument in arguments])


def test_show_says_what_a_cassette_holds(file):
    code, said = command("show", file)
    assert code == 0
    assert said.startswith(f"{file}: 5 lines, content {header_of(file).sum}\n")
    rows = {line.split("  ")[0]: line.split() for line in said.splitlines()}
    # 35 + 36 + 37 prompt tokens of answers, 38 of the failure, and 20 of the first try of each
    assert rows["Model claude-haiku-5-5"][2:7] == ["2", "2", "0", str(35 + 36 + 37 + 38 + 4 * 20), "36"]
    assert rows["Model claude-haiku-5-5"][-3:] == ["2026-10-02", "to", "2026-11-20"]
    assert rows["OpenAIEmbeddings text-embedding-3-small"][2:5] == ["0", "0", "1"]
    assert "of 2 the final usage did not arrive: their tokens and dollars are lower bounds" in said


def test_show_names_models_without_a_price(tmp_path):
    write_entries(tmp_path / "x.jsonl.gz", dict([answered(0, call=call(0, model="house-model"))]))
    assert (
        "no price for house-model; name a file with it in EVALKIT_PRICES"
        in command("show", tmp_path / "x.jsonl.gz")[1]
    )


def test_verify_says_that_all_is_whole_or_names_what_is_not(file):
    assert command("verify", file) == (0, f"{file}: 2 calls, 2 given up and 1 embeddings are whole")
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    lines[2] = lines[2].replace(b"ferry", b"plane").replace(b"island", b"atolls")
    file.write_bytes(gzip.compress(b"".join(lines)))
    code, said = command("verify", file)
    assert code == 1
    assert f"damaged: {file}: line 3: is damaged" in said


@pytest.mark.parametrize("name", ["show", "verify"])
def test_what_is_no_cassette_is_told_in_one_line(tmp_path, name):
    with pytest.raises(InputError, match="no such cassette") as caught:
        command(name, tmp_path / "none.jsonl.gz")
    assert "\n" not in str(caught.value)


def test_a_run_records_by_default_and_says_what_it_did(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    file, said = tmp_path / "demo.jsonl.gz", []
    for mode in ([], ["--cassette-mode", "replay-or-fail"]):
        store = DiskStore(tmp_path / f"store{len(mode)}")
        with store_with_cassette(options_of("--cassette", file, *mode), store, said.append) as found:
            assert isinstance(found, Recording)
            run(dense(generate=Paid()), tiny, ["TokenF1"], store=found)
    assert said == [
        f"{file}: 0 answered from it, 8 called for",
        f"{file}: 8 answered from it, 0 called for and not added",
    ]
    assert len(calls()) == len(tiny.queries)


def test_a_run_without_a_cassette_has_its_store_as_it_is(store):
    with store_with_cassette(options_of(), store, lambda said: None) as found:
        assert found is store


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--cassette-mode", "replay"], "--cassette-mode: give --cassette FILE too"),
        (["--cassette", "x.jsonl.gz", "--scheduler", "tcp://host:8786"], "--cassette: is recorded by one process"),
        (["--cassette", "x.txt"], r"x\.txt: a cassette's name ends in \.jsonl\.gz"),
        (["--cassette", "none.jsonl.gz", "--cassette-mode", "replay"], "no such cassette"),
    ],
)
def test_options_that_cannot_work_are_refused(store, given, told):
    with pytest.raises(InputError, match=told), store_with_cassette(options_of(*given), store, print):
        pass


def test_an_unknown_mode_is_refused_by_the_parser(capsys):
    with pytest.raises(SystemExit):
        options_of("--cassette", "x.jsonl.gz", "--cassette-mode", "again")
    assert "invalid choice: 'again'" in capsys.readouterr().err
