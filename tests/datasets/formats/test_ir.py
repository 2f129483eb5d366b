"""Data sets of the package ir_datasets, from files that its own registry is told of, and no network."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from evalkit import InputError, load_dataset
from evalkit.errors import InputErrors

NAME = "evalkit-test/ferry"


@pytest.fixture
def ir(tmp_path_factory, monkeypatch):
    """The package; what it keeps lies in a temporary folder, and the registry is as before afterwards."""
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path_factory.mktemp("ir")))
    monkeypatch.setenv("IR_DATASETS_TMP", str(tmp_path_factory.mktemp("ir-tmp")))
    import ir_datasets

    known = dict(ir_datasets.registry._registered)
    yield ir_datasets
    ir_datasets.registry._registered.clear()
    ir_datasets.registry._registered.update(known)


@pytest.fixture
def ferry(ir, tmp_path):
    (tmp_path / "docs.tsv").write_text(
        "d1\tAn adult pays 9 euros.\nd2\tDogs are free. Größe egal.\n", encoding="utf-8"
    )
    (tmp_path / "queries.tsv").write_text("q1\tWhat is the fare?\nq2\tDogs?\nq3\tUnjudged\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 3\nq1 0 d2 0\nq2 0 d2 1\n")
    files = ("docs.tsv", "queries.tsv", "qrels.txt")
    data = ir.create_dataset(*(str(tmp_path / name) for name in files))
    ir.registry.register(f"{NAME}/test", data)
    ir.registry.register(NAME, ir.create_dataset(docs_tsv=str(tmp_path / "docs.tsv")))
    return tmp_path


class Made:
    """The parts of a data set, from records."""

    def __init__(self, docs, queries, qrels):
        self._parts = {"docs": docs, "queries": queries, "qrels": qrels}

    def __getattr__(self, name):
        part, _, what = name.partition("_")
        if part not in self.__dict__.get("_parts", {}) or what not in ("iter", "handler"):
            raise AttributeError(name)
        return lambda: iter(self._parts[part])


class Page(NamedTuple):
    doc_id: str
    url: str
    title: str
    text: str

    def default_text(self):
        return f"{self.title} {self.text}"


class Article(NamedTuple):
    doc_id: str
    headline: str
    body: str

    def default_text(self):
        return f"{self.headline} {self.body}"


class Topic(NamedTuple):
    query_id: str
    title: str
    narrative: str

    def default_text(self):
        return self.title


class Judgement(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int


TOPIC, JUDGED = Topic("q1", "ferry fares", "Prices count."), Judgement("q1", "d1", 1)


def made(ir, docs, queries=(TOPIC,), qrels=(JUDGED,)):
    ir.registry.register(NAME, ir.Dataset(Made(docs, queries, qrels)))
    return load_dataset(f"ir_datasets:{NAME}")


def told(name, **kwargs):
    with pytest.raises(InputError) as caught:
        load_dataset(name, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_documents_judged_queries_and_grades_are_read(ferry):
    data = load_dataset(f"ir_datasets:{NAME}/test")
    assert data.name == f"{NAME}/test"
    assert list(data.documents.text) == ["An adult pays 9 euros.", "Dogs are free. Größe egal."]
    assert list(data.queries.text) == ["What is the fare?", "Dogs?"]
    assert data.qrels == {"q1": {"d1": 3, "d2": 0}, "q2": {"d2": 1}}


def test_a_split_is_the_last_part_of_the_name(ferry):
    assert load_dataset(f"ir_datasets:{NAME}", split="test").digest == load_dataset(f"ir_datasets:{NAME}/test").digest


def test_titles_stay_apart_other_fields_are_metadata_and_a_title_alone_is_the_text(ir):
    data = made(ir, [Page("d1", "u1", "Fares", "9 euros."), Page("d2", "u2", "Dogs", "")])
    assert list(data.documents.title) == ["Fares", ""]
    assert list(data.documents.text) == ["9 euros.", "Dogs"]
    assert list(data.documents.metadata) == ['{"url": "u1"}', '{"url": "u2"}']


def test_documents_of_other_fields_are_what_the_package_says_they_read_as(ir):
    data = made(ir, [Article("d1", "Fares", "9 euros.")])
    assert (list(data.documents.title), list(data.documents.text)) == ([""], ["Fares 9 euros."])


def test_a_topics_other_fields_are_attributes(ir):
    data = made(ir, [Article("d1", "Fares", "9 euros.")])
    assert list(data.queries.text) == ["ferry fares"]
    assert data.attributes == {"q1": {"title": "ferry fares", "narrative": "Prices count."}}


def test_faults_are_told_with_their_record(ir):
    with pytest.raises(InputErrors) as caught:
        made(ir, [Article("d1", "Fares", "x"), Article("d1", "a", "b")], qrels=[JUDGED, Judgement("q1", "d9", 1)])
    place = f"ir_datasets:{NAME}"
    assert caught.value.faults == (
        f"{place}: document 2: document 'd1' was already given at {place}: document 1",
        f"{place}: judgement 2: judgement of an unknown document 'd9'",
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("beir/scifct/test", r"did you mean beir/scifact/test or "),
        ("vaswanni", r"did you mean vaswani\?"),
        ("qqqq", r"names are listed at ir-datasets\.com"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(ir, name, hint):
    with pytest.raises(InputError, match=f"ir_datasets has no '{name}'; {hint}"):
        load_dataset(f"ir_datasets:{name}")


def test_a_name_without_judgements_is_told_with_those_below_it(ferry):
    assert told(f"ir_datasets:{NAME}").endswith(f"{NAME} has no queries and no qrels; those below it: {NAME}/test")


def test_a_download_that_fails_is_one_line(ir, tmp_path, capfd):
    url = "http://127.0.0.1:9/docs.tsv"  # nobody listens there
    docs = ir.util.Download([ir.util.RequestsDownload(url, tries=2)], cache_path=str(tmp_path / "cache" / "docs.tsv"))
    parts = Made([], [TOPIC], [JUDGED])
    del parts._parts["docs"]
    ir.registry.register(NAME, ir.Dataset(ir.formats.TsvDocs(docs), parts))
    message = told(f"ir_datasets:{NAME}")
    assert message.startswith(f"data set ir_datasets:{NAME}: cannot be read or downloaded (ConnectionError: ")
    assert message.endswith("put its files where ir_datasets looks for them (IR_DATASETS_HOME)")
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    assert told("ir_datasets:vaswani").endswith("this needs the package ir_datasets; pip install evalkit[ir]")
