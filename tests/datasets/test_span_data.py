"""Questions with excerpts: read whole, checked against the corpora, every fault with file and line."""

from __future__ import annotations

import csv
import json
import random

import pytest

from evalkit import InputError, load_dataset
from evalkit.datasets.dataset import Span
from evalkit.errors import InputErrors

CORPORA = {
    "ferry.md": "# Fares\n\nAn adult pays ten euros.\nDogs travel free of charge.\n",
    "café.txt": "Der Fisch schmeckt gut. Öl gibt es keins.",
}
HEADER = ["question", "references", "corpus_id"]


def reference(file, quote, **changes):
    start = CORPORA[file].index(quote)
    return {"content": quote, "start_index": start, "end_index": start + len(quote), **changes}


def row(question, file, *references):
    return [question, json.dumps(references), file.rpartition(".")[0]]


ROWS = [
    row("What does an adult pay, and a dog?", "ferry.md", reference("ferry.md", "ten euros"),
        reference("ferry.md", "Dogs travel free")),
    row('Wie ist der "Fisch",\nund das Öl?', "café.txt", reference("café.txt", "Öl gibt es keins")),
]  # fmt: skip


def write(folder, rows=ROWS, header=HEADER, corpora=CORPORA):
    (folder / "corpora").mkdir(parents=True, exist_ok=True)
    for name, text in corpora.items():
        (folder / "corpora" / name).write_bytes(text.encode())
    with (folder / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder


def faults(folder):
    with pytest.raises(InputErrors) as caught:
        load_dataset(folder)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


def test_corpora_are_documents_and_excerpts_the_evidence_of_an_answer(tmp_path):
    data = load_dataset(write(tmp_path / "spans"))
    assert (data.name, list(data.documents.id)) == ("spans", ["café", "ferry"])
    assert list(data.documents.text) == [CORPORA["café.txt"], CORPORA["ferry.md"]]
    assert set(data.documents.title) == {""}
    asked = dict(zip(data.queries.text, data.queries.id, strict=True))
    first = asked["What does an adult pay, and a dog?"]
    assert data.qrels[first] == {"ferry": 1}
    assert data.attributes[first] == {"corpus": "ferry"}
    assert data.answers[first].text == "ten euros\nDogs travel free"
    assert data.answers[first].evidence == (Span("ferry", 23, 32), Span("ferry", 34, 50))
    texts = dict(zip(data.documents.id, data.documents.text, strict=True))
    for answer in data.answers.values():
        assert answer.text == "\n".join(texts[name][start:end] for name, start, end in answer.evidence)


def test_a_question_keeps_its_id_when_rows_come_go_or_change_places(tmp_path):
    more = row("Is there oil?", "café.txt", reference("café.txt", "keins"))
    data = [load_dataset(write(tmp_path / str(i), rows)) for i, rows in enumerate([ROWS, [more, *ROWS[::-1]]])]
    ids = [dict(zip(d.queries.text, d.queries.id, strict=True)) for d in data]
    assert ids[0].items() < ids[1].items()
    assert len(set(ids[1].values())) == 3


def test_the_order_of_rows_changes_nothing(tmp_path):
    assert load_dataset(write(tmp_path / "a", ROWS)).digest == load_dataset(write(tmp_path / "b", ROWS[::-1])).digest


def test_other_columns_become_attributes_and_an_id_is_taken_as_it_is(tmp_path):
    rows = [["q1", *ROWS[0], "dev"], ["q2", *ROWS[1], "test"]]
    folder = write(tmp_path / "spans", rows, ["id", *HEADER, "split"])
    data = load_dataset(folder)
    assert list(data.queries.id) == ["q1", "q2"]
    assert data.attributes["q2"] == {"corpus": "café", "split": "test"}
    assert list(load_dataset(folder, split="dev").queries.id) == ["q1"]


def test_a_line_end_is_one_character_and_a_byte_order_mark_none(tmp_path):
    plain = load_dataset(write(tmp_path / "plain"))
    folder = write(tmp_path / "windows", corpora={name: text.replace("\n", "\r\n") for name, text in CORPORA.items()})
    questions = folder / "questions.csv"
    questions.write_bytes(b"\xef\xbb\xbf" + questions.read_bytes())
    assert load_dataset(folder).digest == plain.digest


FAULTS = {
    "excerpt elsewhere": (
        row("Q", "ferry.md", reference("ferry.md", "ten euros", start_index=24)),
        "questions.csv:5: reference 1 is not what stands at 24..32 of 'ferry'; it begins at 23",
    ),
    "excerpt nowhere": (
        row("Q", "ferry.md", reference("ferry.md", "ten euros", content="ten Euros")),
        "questions.csv:5: reference 1 is not what stands at 23..32 of 'ferry'; its text is nowhere in the corpus",
    ),
    "excerpt without a character": (
        row("Q", "ferry.md", {"content": "", "start_index": 3, "end_index": 3}),
        "questions.csv:5: reference 1 is not what stands at 3..3 of 'ferry'; its text is nowhere in the corpus",
    ),
    "excerpt counted from the end": (
        row("Q", "ferry.md", {"content": ".", "start_index": -2, "end_index": -1}),
        "questions.csv:5: reference 1 is not what stands at -2..-1 of 'ferry'; it begins at 32",
    ),
    "second reference without an end": (
        row("Q", "ferry.md", reference("ferry.md", "Dogs"), {"content": "x", "start_index": 1}),
        "questions.csv:5: reference 2 is not {content, start_index, end_index}",
    ),
    "place that is a text": (
        row("Q", "ferry.md", reference("ferry.md", "Dogs", start_index="34")),
        "questions.csv:5: reference 1 is not {content, start_index, end_index}",
    ),
    "reference that is a text": (
        ["Q", '["Dogs"]', "ferry"], "questions.csv:5: reference 1 is not {content, start_index, end_index}",
    ),
    "no reference": (
        ["Q", "[]", "ferry"],
        "questions.csv:5: references: a list of at least one {content, start_index, end_index} is needed",
    ),
    "broken JSON": (
        ["Q", "[{", "ferry"], "questions.csv:5: references: broken JSON (Expecting property name", "3 (char 2))",
    ),
    "unknown corpus": (["Q", "[]", "fery"], "questions.csv:5: judgement of an unknown document 'fery'"),
    "no question": (
        row(" ", "ferry.md", reference("ferry.md", "Dogs")), "questions.csv:5: query 'ferry-", "' has no text",
    ),
    "a question twice": (
        row("What does an adult pay, and a dog?", "ferry.md", reference("ferry.md", "Dogs")),
        "questions.csv:5: query 'ferry-", "' was already given at questions.csv:2",
    ),
    "too few cells": (["Q", "ferry"], "questions.csv:5: 2 cells; the header has 3"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_in_a_row_is_told_with_its_line(tmp_path, fault):
    wrong, *parts = fault
    told = faults(write(tmp_path / "spans", [*ROWS, wrong]))[0]
    assert told.startswith(parts[0])
    assert told.endswith(parts[-1])


def test_every_fault_is_told_at_once(tmp_path):
    names = ("excerpt elsewhere", "no reference", "too few cells", "unknown corpus")
    wrong = [[f"Q{i}", *FAULTS[name][0][1:]] for i, name in enumerate(names)]
    told = sorted(faults(write(tmp_path / "spans", [*ROWS, *wrong])))
    assert [fault.split(": ")[0] for fault in told] == [f"questions.csv:{line}" for line in (5, 6, 7, 8)]


def test_a_header_without_a_column_is_told_with_the_nearest_name(tmp_path):
    assert faults(write(tmp_path / "spans", header=["question", "reference", "corpus_id"])) == [
        "questions.csv:1: no column 'references'; did you mean 'reference'?"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "questions.csv: is empty"),
        (b"question\xff", "questions.csv: not UTF-8 (byte 9)"),
        (b'question,references,corpus_id\n"Q,', "questions.csv:2: broken CSV (unexpected end of data)"),
        (b"question,references,corpus_id\n", "spans: no judged query"),
    ],
)
def test_a_file_that_is_no_table_is_told(tmp_path, content, message):
    folder = write(tmp_path / "spans")
    (folder / "questions.csv").write_bytes(content)
    assert faults(folder)[0].startswith(message)


def test_faults_of_corpora_are_told_with_the_file(tmp_path):
    folder = write(tmp_path / "spans")
    (folder / "corpora" / "ferry.txt").write_text("again")
    (folder / "corpora" / "blank.md").write_text(" \n")
    (folder / "corpora" / "latin.md").write_bytes("café".encode("latin-1"))
    (folder / "corpora" / "notes.pdf").write_bytes(b"\xff")  # no corpus
    assert sorted(faults(folder)) == [
        "corpora/blank.md: document 'blank' has no text",
        "corpora/ferry.txt: document 'ferry' was already given at corpora/ferry.md",
        "corpora/latin.md: not UTF-8 (byte 4)",
    ]


def test_questions_without_corpora_are_told(tmp_path):
    folder = write(tmp_path / "spans", corpora={})
    assert faults(folder)[0] == "corpora: no corpus; a file *.md or *.txt is needed"


def test_a_folder_of_another_kind_is_told_what_is_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"; questions.csv \(questions with excerpts\)"):
        load_dataset(tmp_path)


def test_the_published_data_set_loads_whole_and_every_excerpt_is_what_stands_at_its_place(needs_shared, tmp_path):
    folder = needs_shared("chroma-chunking")
    data = load_dataset(folder)
    assert list(data.documents.id) == ["chatlogs", "finance", "pubmed", "state_of_the_union", "wikitexts"]
    assert (len(data.queries), len(data.answers), len(data.unjudged)) == (472, 472, 0)
    assert sum(len(answer.evidence) for answer in data.answers.values()) == 790
    with (folder / "questions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    published = {r["question"]: json.loads(r["references"]) for r in rows}
    texts = dict(zip(data.documents.id, data.documents.text, strict=True))
    for name, question in zip(data.queries.id, data.queries.text, strict=True):
        found = [texts[document][start:end] for document, start, end in data.answers[name].evidence]
        assert found == [item["content"] for item in published[question]]
    shuffled = [list(r.values()) for r in rows]
    random.Random(1).shuffle(shuffled)
    again = write(tmp_path / "again", shuffled, corpora={p.name: p.read_text() for p in folder.glob("corpora/*")})
    assert load_dataset(again).digest == data.digest
