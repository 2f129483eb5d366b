"""``evalkit store``: what it says, what it does, and how it refuses."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import cli
from evalkit.cli.store import parse_size, parse_time, size_text
from evalkit.errors import InputError
from evalkit.paths import store_dir
from evalkit.store import DiskStore
from evalkit.values import Vectors


@pytest.fixture
def call(capsys):
    """Run one command; return its exit code, what it printed and what it complained of."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(["store", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def kept() -> DiskStore:
    """The project's store, with four results of two ops and two rows."""
    store = DiskStore(store_dir())
    for i in range(4):
        note = {"op": "Even" if i % 2 == 0 else "Odd", "seconds": 1.5}
        content = store.put(f"{i:032x}", Vectors(np.full((1000, 100), i, np.float32)), "measured", note)
        for path in (store.layout.action(f"{i:032x}"), store.layout.object(content)):
            os.utime(path, (1_700_000_000 + i * 86_400,) * 2)
    store.record_all({"a": {"text": "x"}, "b": {"text": "y"}})
    store.journal.close()
    return store


def rows(out):
    return [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]


def test_ls_says_how_much_of_what_there_is(kept, call):
    code, out, err = call("ls")
    assert (code, err) == (0, "")
    assert out.startswith(f"{kept.folder}: 4 artefacts, 1.6 MB\n")
    found = {row[0]: row[1:] for row in rows(out)}
    assert found["Even"][:2] == found["Odd"][:2] == ["2", "800 kB"]
    assert found["Vectors"][:2] == ["4", "1.6 MB"]
    assert found["Vectors"][2].startswith("2023-11-1")
    assert re.search(r"journal: 2 rows, [\d.]+ kB", out)


def test_ls_long_lists_every_action_the_one_used_last_at_the_end(kept, call):
    code, out, _ = call("ls", "--long")
    listed = [row for row in rows(out) if re.fullmatch("[0-9a-f]{32}", row[0])]
    assert code == 0
    assert [int(row[0], 16) for row in listed] == [0, 1, 2, 3]
    assert listed[1][1:6] == ["Odd", "Vectors", "400 kB", "1.5", "measured"]


def test_verify_says_so_and_exits_with_1_where_something_is_damaged_and_repair_mends_it(kept, call):
    code, out, _ = call("verify")
    assert (code, out) == (0, "4 artefacts (1.6 MB), 4 actions and 2 rows of the journal are whole; 0 damaged\n")
    path = kept.layout.object(kept.get(f"{1:032x}")[0])
    path.write_bytes(path.read_bytes()[:-1])
    code, out, _ = call("verify")
    assert code == 1
    assert out.splitlines()[0].startswith(f"damaged: {path}: ")
    assert out.endswith("2 damaged\n")
    assert path.exists()
    code, out, _ = call("verify", "--repair")
    assert (code, out.count("repaired: ")) == (1, 2)
    assert call("verify")[0] == 0


def test_gc_comes_below_the_size_and_says_what_it_took(kept, call):
    code, out, err = call("gc", "--max-size", "1MB")
    assert (code, err) == (0, "")
    assert out.startswith("removed 2 actions, 2 artefacts, 0 unfinished files: 800 kB; 800 kB left\n")
    assert kept.get(f"{0:032x}") is None
    assert kept.get(f"{3:032x}")
    assert set(kept.recall(["a", "b"])) == {"a", "b"}


def test_gc_says_why_it_stays_above_the_size(kept, call):
    kept.put("ab", Vectors(np.ones((1000, 100), np.float32) * 9), "measured", {})
    code, out, _ = call("gc", "--max-size", "100 kB")
    assert code == 0
    assert (
        out.splitlines()[1] == "that is more than 100 kB: the rest was used in the last 1d, or is needed by what was"
    )
    assert call("gc", "--max-size", "0", "--grace", "0s", "--journal")[0] == 0


def test_what_is_exported_is_imported_into_another_store(kept, call, tmp_path, monkeypatch):
    code, out, err = call("export", tmp_path / "x.tar.gz")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'x.tar.gz'}: 4 artefacts, 4 actions, 2 rows of the journal, ")
    monkeypatch.setenv("EVALKIT_STORE", str(tmp_path / "elsewhere"))
    expected = "new: 4 artefacts, 4 actions, 2 rows of the journal; the rest was there\n"
    assert call("import", tmp_path / "x.tar.gz") == (0, expected, "")
    assert call("import", tmp_path / "x.tar.gz")[1].startswith("new: 0 artefacts, 0 actions, 0 rows")
    assert DiskStore(store_dir()).get(f"{3:032x}") == kept.get(f"{3:032x}")


def test_an_export_that_leaves_damage_out_exits_with_1(kept, call, tmp_path):
    path = kept.layout.object(kept.get(f"{1:032x}")[0])
    path.write_bytes(path.read_bytes()[:-1])
    code, _, err = call("export", tmp_path / "x.tar")
    assert code == 1
    assert err == "evalkit: 1 damaged artefact left out; evalkit store verify says which\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["gc", "--max-size", "2XB"],
        ["gc", "--max-size", "many"],
        ["gc", "--max-size=-1"],
        ["gc", "--grace", "1w", "--max-size", "1"],
        ["gc", "--journal"],
        ["export", "x.zip"],
        ["export", "file/x.tar"],
        ["import", "missing.tar"],
    ],
)
def test_wrong_input_is_refused_in_one_line(kept, call, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert len(list(kept.layout.actions())) == 4


@pytest.mark.parametrize("arguments", [["ls"], ["verify"], ["gc"], ["export", "x.tar"]])
def test_a_look_into_a_store_that_is_not_there_makes_none(call, arguments):
    code, _, err = call(*arguments)
    assert code == 2
    assert "there is none" in err
    assert not store_dir().exists()


@pytest.mark.parametrize("arguments", [[], ["lss"], ["import"], ["gc", "--max"], ["ls", "x"]])
def test_a_wrong_command_is_exit_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["store", *arguments])
    assert caught.value.code == 2
    assert "usage: evalkit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 1_610_612_736), ("0", 0), ("17", 17), ("3 B", 3)],
)
def test_sizes_are_read_in_the_units_that_people_write(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "1 2", "1e3", "nan", "1,5GB", "2 G"])
def test_other_texts_are_no_sizes(text):
    with pytest.raises(InputError, match="is no size"):
        parse_size(text)


def test_times_are_read():
    assert [parse_time(text) for text in ("90s", "30m", "12 h", "1.5d")] == [90, 1800, 43_200, 129_600]


@given(st.integers(0, 10**15))
def test_a_size_that_is_written_is_read_as_nearly_the_same(size):
    assert parse_size(size_text(size)) == pytest.approx(size, rel=0.06, abs=0.5)
