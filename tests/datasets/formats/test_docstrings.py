"""Docstrings of installed packages: read, never run, each once, and none tells its own summary."""

from __future__ import annotations

import json
import sys
from collections import Counter
from importlib import import_module

import pytest

from evalkit import InputError, load_dataset

LONG = "It says at some length what it does, so that there is enough of it to be searched. " * 3
FERRY = f'''
"""The timetable of all ferries.

{LONG}"""

raise SystemExit("imported")


class Ferry:
    """One ferry on the lake.

    {LONG}of ferries

      indented

    """

    try:

        async def sail(self):
            r"""Go over \\to the other side.

            {LONG}sailing"""

            def inner():
                """Row the last two yards.
                {LONG}no blank line, so all of it is the summary"""

    except ImportError:

        def sail(self):
            "Go over on one engine.\\n\\n{LONG}engine"

    def moor(self):
        """Tie it to the pier.

        Tie it to  the
        pier. {LONG}"""


if Ferry:

    def fare():
        """Three words only.

        {LONG}fare"""

elif None:

    def dogs():
        """Are dogs allowed here?

        Too short."""

else:

    def half():
        """What a half ticket costs.

        \\ud800 {LONG}"""
'''
BODY = f'"""{{}}\n\n{LONG}{{}}"""'


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs a distribution of files; beside those installed so, there are no others."""
    import_module("tqdm.auto")  # while it can be found
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    def write(name, files, version="1.0"):
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        for file, content in files.items():
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def passages(data):
    return dict(zip(data.documents.id, data.documents.text, strict=True))


def asked(data):
    return dict(zip(data.queries.id, data.queries.text, strict=True))


def test_docstrings_are_read_wherever_they_stand_and_nothing_is_run(install):
    install("Lake_Ferry", {"ferry/__init__.py": FERRY})
    data = load_dataset("docstrings:lake-ferry")
    of = "lake-ferry:ferry"
    assert set(passages(data)) == {
        of, f"{of}.Ferry", f"{of}.Ferry.sail", f"{of}.Ferry.sail#2", f"{of}.Ferry.moor", f"{of}.fare",
    }  # fmt: skip
    assert passages(data)[f"{of}.Ferry"] == f"{LONG}of ferries\n\n  indented"
    assert passages(data)[f"{of}.Ferry.sail#2"] == f"{LONG}engine"
    assert dict(zip(data.documents.id, data.documents.title, strict=True))[f"{of}.Ferry.sail#2"] == "ferry.Ferry.sail"
    assert {json.dumps({"package": "lake-ferry", "version": "1.0"})} == set(data.documents.metadata)
    assert not {"ferry", "ferry.Ferry"} & sys.modules.keys()


def test_summaries_of_four_words_that_only_their_passage_bears_are_asked_for(install):
    install("ferry", {"ferry.py": FERRY})
    data = load_dataset("docstrings:ferry")
    assert asked(data) == {
        "ferry:ferry": "The timetable of all ferries.",
        "ferry:ferry.Ferry": "One ferry on the lake.",
        "ferry:ferry.Ferry.sail": "Go over \\to the other side.",
        "ferry:ferry.Ferry.sail#2": "Go over on one engine.",
    }
    assert data.qrels == {name: {name: 1} for name in asked(data)}
    assert set(map(json.dumps, data.attributes.values())) == {'{"package": "ferry"}'}


def test_equal_passages_are_kept_once_and_equal_summaries_are_not_asked_for(install):
    files = {
        "b/one.py": BODY.format("How the one is done", "x"),
        "b/same.py": BODY.format("How the same is done", "x"),
        "b/two.py": BODY.format("How two are  done", "y"),
        "b/three.py": BODY.format("how TWO are done", "z"),
        "b/four.py": BODY.format("How all four of them\nare done", "w"),
    }
    install("b", files)
    install("a-skinny", files)
    data = load_dataset("docstrings:")
    assert set(passages(data)) == {"a-skinny:b.one", "a-skinny:b.two", "a-skinny:b.three", "a-skinny:b.four"}
    assert set(asked(data)) == {"a-skinny:b.one"}


def test_what_is_not_python_or_no_longer_there_is_left_out(install, tmp_path):
    good = BODY.format("What is good stays here", "")
    install(
        "mixed",
        {
            "m/good.py": good,
            "m/latin.py": b"# coding: latin-1\n" + BODY.format("What is \xe9 stays here", "\xe9").encode("latin-1"),
            "m/escape.py": BODY.format("What \\d escapes stays here", "escape"),
            "m/template.py": BODY.format("What {{ x }} is not Python", "t") + "\n{% x %}",
            "m/null.py": BODY.format("What has a null byte", "n").encode() + b"\0",
            "m/deep.py": BODY.format("What is nested too deep", "d") + "\n" + "(" * 5_000,
            "m/data.txt": good,
            "m/gone.py": "",
            "../bin/script.py": BODY.format("What is no module here", "s"),
        },
    )
    (tmp_path / "m" / "gone.py").unlink()
    data = load_dataset("docstrings:mixed")
    assert set(passages(data)) == {"mixed:m.good", "mixed:m.latin", "mixed:m.escape"}
    assert passages(data)["mixed:m.latin"].endswith("\xe9")


def test_the_same_packages_give_the_same_data_wherever_they_lie(install, tmp_path, monkeypatch):
    files = {f"p/m{i}.py": BODY.format(f"What number {i} is for", i) for i in range(30)}
    install("one", files)
    first = load_dataset("docstrings:")
    assert first.name == "docstrings"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for item in [path for path in tmp_path.iterdir() if path != elsewhere]:
        item.rename(elsewhere / item.name)
    monkeypatch.setattr(sys, "path", [str(elsewhere)])
    again = load_dataset("docstrings:one,One, ")
    assert again.name == "docstrings:one"
    assert again.digest == first.digest
    assert not [text for text in (*first.documents.id, *first.documents.text) if str(tmp_path) in text]


def test_at_most_500_are_asked_for_and_another_package_takes_the_place_of_few(install):
    install("large", {f"large/m{i}.py": BODY.format(f"What number {i} is for", i) for i in range(600)})
    before = asked(load_dataset("docstrings:"))
    assert len(before) == 500
    install("small", {f"small/m{i}.py": BODY.format(f"Why number {i} is there", f"s{i}") for i in range(6)})
    after = asked(load_dataset("docstrings:"))
    assert len(after) == 500
    assert len(before.keys() - after.keys()) <= 6


def test_an_unknown_distribution_is_told_with_the_nearest(install):
    install("numpy", {"numpy.py": BODY.format("What numpy is good for", "")})
    install("empty", {"empty.py": ""})
    with pytest.raises(InputError) as caught:
        load_dataset("docstrings:numpi,numpy,Xyz_Q")
    assert str(caught.value).splitlines() == [
        "data set docstrings:numpi,numpy,Xyz_Q: distribution 'numpi' is not installed; did you mean 'numpy'?",
        "data set docstrings:numpi,numpy,Xyz_Q: distribution 'xyz-q' is not installed; known: empty, numpy",
    ]
    with pytest.raises(InputError, match=r"^data set docstrings:empty: 0 docstrings that are long enough, none to"):
        load_dataset("docstrings:empty")


def test_a_distribution_whose_installer_kept_no_list_of_files_has_no_passages(install, tmp_path):
    install("bare", {"bare.py": BODY.format("What is bare is listed", "")})
    (tmp_path / "bare-1.0.dist-info" / "RECORD").unlink()
    with pytest.raises(InputError, match="0 docstrings"):
        load_dataset("docstrings:bare")


def test_a_real_package_gives_real_passages():
    data = load_dataset("docstrings:hypothesis")
    assert len(data.documents) > 100
    assert len(data.queries) > 20
    texts = passages(data)
    assert min(map(len, texts.values())) >= 200
    assert max(Counter(texts.values()).values()) == 1
    for name, summary in asked(data).items():
        assert summary.casefold() not in " ".join(texts[name].casefold().split())
        assert name.partition(":")[0] == "hypothesis"
    assert load_dataset("docstrings:hypothesis").digest == data.digest


@pytest.mark.slow
def test_all_packages_of_an_environment_give_tens_of_thousands_of_passages():
    data = load_dataset("docstrings:")
    assert len(data.documents) > 20_000
    assert len(data.queries) == 500
