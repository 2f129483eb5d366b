"""Reading data sets from folders, and one clear line for everything that is wrong in them."""

from __future__ import annotations

import json
import random
import re
import shutil

import pytest

from evalkit.datasets import Reference, load_dataset
from evalkit.errors import InputError, InputErrors

DOCUMENTS = [
    {"id": "d1", "title": "Fares", "text": "A crossing costs 9 euros.", "metadata": {"year": 2025}},
    {"id": "d2", "text": "Dogs stay on the lead. Größe egal."},
]
QUERIES = [
    {"id": "q1", "text": "What is the fare?", "split": "dev", "kind": "fact"},
    {"id": "q2", "text": "May dogs come?", "split": "test"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\n"
ANSWERS = [
    {
        "query": "q1",
        "text": "9 euros",
        "alternatives": ["nine"],
        "evidence": [{"document": "d1", "start": 17, "end": 24}],
    }
]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def native(tmp_path):
    folder = tmp_path / "native"
    folder.mkdir()
    (folder / "documents.jsonl").write_text(lines(DOCUMENTS), encoding="utf-8")
    (folder / "queries.jsonl").write_text(lines(QUERIES), encoding="utf-8")
    (folder / "qrels.tsv").write_text(QRELS, encoding="utf-8")
    (folder / "answers.jsonl").write_text(lines(ANSWERS), encoding="utf-8")
    return folder


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": "d1", "title": "Fares", "text": "9 euros."}, {"_id": "d2", "title": "Dogs only", "text": ""}]
    queries = [{"_id": "q1", "text": "What is the fare?"}, {"_id": "q2", "text": "Dogs?"}, {"_id": "q3", "text": "x"}]
    (folder / "corpus.jsonl").write_text(lines(corpus))
    (folder / "queries.jsonl").write_text(lines(queries))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td2\t1\n")
    return folder


def faults(folder, **kwargs):
    with pytest.raises(InputErrors) as caught:
        load_dataset(folder, **kwargs)
    assert all("\n" not in fault for fault in caught.value.faults)
    str(caught.value).encode()  # can be printed
    return [fault.replace(f"{folder}/", "") for fault in caught.value.faults]


def append(folder, name, text):
    with (folder / name).open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


# --- what is right


def test_the_native_format_is_read_whole(native):
    data = load_dataset(native)
    assert data.name == "native"
    assert list(data.documents.id) == ["d1", "d2"]
    assert list(data.documents.title) == ["Fares", ""]
    assert data.documents.text[1] == "Dogs stay on the lead. Größe egal."
    assert json.loads(data.documents.metadata[0]) == {"year": 2025}
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert data.answers == {"q1": Reference("9 euros", ("nine",), (("d1", 17, 24),))}
    assert data.attributes == {"q1": {"split": "dev", "kind": "fact"}, "q2": {"split": "test"}}
    assert data.unjudged == ()


def test_answers_may_be_missing_and_blank_lines_and_a_missing_header_do_not_matter(native):
    whole = load_dataset(native)
    (native / "qrels.tsv").write_text(QRELS.split("\n", 1)[1].replace("\n", "\r\n\r\n"))
    append(native, "documents.jsonl", "\n  \n")
    assert load_dataset(native).digest == whole.digest
    (native / "answers.jsonl").unlink()
    assert load_dataset(native).answers == {}


def test_a_byte_order_mark_is_accepted(native):
    whole = load_dataset(native).digest
    for name in ("documents.jsonl", "queries.jsonl", "qrels.tsv", "answers.jsonl"):
        (native / name).write_bytes(b"\xef\xbb\xbf" + (native / name).read_bytes())
    assert load_dataset(native).digest == whole


def test_the_digest_depends_on_the_content_and_not_on_place_or_order(native, tmp_path):
    whole = load_dataset(native).digest
    moved = tmp_path / "elsewhere"
    shutil.copytree(native, moved)
    for name in ("documents.jsonl", "queries.jsonl"):
        rows = (moved / name).read_text().splitlines(keepends=True)
        (moved / name).write_text("".join(rows[::-1]))
    header, *rows = QRELS.splitlines(keepends=True)
    (moved / "qrels.tsv").write_text(header + "".join(rows[::-1]))
    assert load_dataset(moved).digest == whole


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("documents.jsonl", "9 euros", "8 euros"),
        ("documents.jsonl", "Fares", "Fees"),
        ("documents.jsonl", "2025", "2026"),
        ("queries.jsonl", "dogs come", "dogs go"),
        ("queries.jsonl", '"dev"', '"test"'),
        ("qrels.tsv", "q1\td1\t2", "q1\td1\t3"),
        ("qrels.tsv", "q1\td2\t0\n", ""),
        ("answers.jsonl", "9 euros", "8 euros"),
        ("answers.jsonl", '"nine"', '"ten"'),
        ("answers.jsonl", "17", "16"),
    ],
)
def test_any_change_changes_the_digest(native, name, old, new):
    whole = load_dataset(native).digest
    text = (native / name).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (native / name).write_text(text.replace(old, new), encoding="utf-8")
    assert load_dataset(native).digest != whole


def test_relative_paths_start_at_the_project_root(native, monkeypatch):
    monkeypatch.setenv("EVALKIT_ROOT", str(native.parent))
    assert load_dataset("native").digest == load_dataset(native).digest


def test_a_split_keeps_its_queries_and_all_documents(native):
    data = load_dataset(native, split="test")
    assert list(data.queries.id) == ["q2"]
    assert (set(data.qrels), set(data.answers), set(data.attributes)) == ({"q2"}, set(), {"q2"})
    assert data.documents.digest == load_dataset(native).documents.digest


def test_an_unknown_split_offers_the_nearest(native):
    with pytest.raises(InputError, match=re.escape("data set native: no split 'tests'; did you mean 'test'?")):
        load_dataset(native, split="tests")


def test_a_split_that_is_a_number_is_found_by_its_name(native):
    (native / "queries.jsonl").write_text(lines([QUERIES[0] | {"split": 1}, QUERIES[1] | {"split": 2}]))
    assert list(load_dataset(native, split="1").queries.id) == ["q1"]


def test_a_query_without_judgement_stays_and_is_named(native):
    append(native, "queries.jsonl", lines([{"id": "q3", "text": "Lonely?"}]))
    data = load_dataset(native)
    assert data.unjudged == ("q3",)
    assert len(data.queries) == 3


def test_beir_is_read_by_split_and_a_document_without_text_is_its_title(beir):
    data = load_dataset(beir)
    assert list(data.queries.id) == ["q1", "q2"]
    assert list(data.documents.text) == ["9 euros.", "Dogs only"]
    assert list(data.documents.title) == ["Fares", ""]
    dev = load_dataset(beir, split="dev")
    assert dev.qrels == {"q3": {"d2": 1}}
    assert dev.documents.digest == data.documents.digest


# --- what is wrong: one line each, with the file and the line

WRONG_LINES = {
    "duplicate document": (
        "documents.jsonl", '{"id": "d1", "text": "Again."}',
        "documents.jsonl:3: document 'd1' was already given at documents.jsonl:1",
    ),
    "duplicate query": (
        "queries.jsonl", '{"id": "q2", "text": "Again?"}',
        "queries.jsonl:3: query 'q2' was already given at queries.jsonl:2",
    ),
    "unknown document": ("qrels.tsv", "q1\tnone\t1", "qrels.tsv:5: judgement of an unknown document 'none'"),
    "unknown query": ("qrels.tsv", "none\td1\t1", "qrels.tsv:5: judgement of an unknown query 'none'"),
    "grade with a fraction": ("qrels.tsv", "q2\td1\t1.5", "qrels.tsv:5: grade '1.5' is not a whole number"),
    "grade in words": ("qrels.tsv", "q2\td1\thigh", "qrels.tsv:5: grade 'high' is not a whole number"),
    "grade missing": ("qrels.tsv", "q2\td1\t", "qrels.tsv:5: grade '' is not a whole number"),
    "two grades": ("qrels.tsv", "q1\td1\t1", "qrels.tsv:5: document 'd1' has two grades for query 'q1'"),
    "missing column": ("qrels.tsv", "q1\td1", "qrels.tsv:5: 2 columns; needed: query-id, corpus-id, score, by tabs"),
    "spaces for tabs": (
        "qrels.tsv", "q1 d1 1", "qrels.tsv:5: 1 columns; needed: query-id, corpus-id, score, by tabs",
    ),
    "empty text": ("documents.jsonl", '{"id": "d3", "text": " \\n"}', "documents.jsonl:3: document 'd3' has no text"),
    "no text": ("queries.jsonl", '{"id": "q3"}', "queries.jsonl:3: query 'q3' has no text"),
    "text that is a number": ("queries.jsonl", '{"id": "q3", "text": 7}', "queries.jsonl:3: query 'q3' has no text"),
    "no id": (
        "documents.jsonl", '{"text": "x"}', "documents.jsonl:3: document without an id (a text that is not empty)",
    ),
    "id that is a number": (
        "queries.jsonl", '{"id": 3, "text": "x"}',
        "queries.jsonl:3: query 3: the id is a number; ids are texts, so write it as one",
    ),
    "title that is a list": (
        "documents.jsonl", '{"id": "d3", "text": "x", "title": ["y"]}',
        "documents.jsonl:3: document 'd3': the title is not a text",
    ),
    "broken JSON": (
        "documents.jsonl", '{"id": "d3", "text": "x"',
        "documents.jsonl:3: broken JSON (Expecting ',' delimiter, character 26)",
    ),
    "a list": ("documents.jsonl", '["d3", "x"]', "documents.jsonl:3: a JSON object is needed, not list"),
    "a number": ("answers.jsonl", "3", "answers.jsonl:2: a JSON object is needed, not int"),
    "bad UTF-8": (
        "queries.jsonl", b'{"id": "q3", "text": "Gr\xfc\xdfe"}', "queries.jsonl:3: not UTF-8 (byte 25 of the line)",
    ),
    "bad UTF-8 in judgements": ("qrels.tsv", b"q\xff\td1\t1", "qrels.tsv:5: not UTF-8 (byte 2 of the line)"),
    "half a surrogate pair in a text": (
        "documents.jsonl", '{"id": "d3", "text": "x \\ud83d y"}',
        "documents.jsonl:3: document 'd3': half of a surrogate pair, which is no character; remove it",
    ),
    "half a surrogate pair in an id": (
        "queries.jsonl", '{"id": "\\udc00", "text": " "}',
        "queries.jsonl:3: query '\\udc00': half of a surrogate pair, which is no character; remove it",
    ),
    "half a surrogate pair in an attribute": (
        "queries.jsonl", '{"id": "q3", "text": "x", "kind": "\\ud800"}',
        "queries.jsonl:3: query 'q3': half of a surrogate pair, which is no character; remove it",
    ),
    "half a surrogate pair in an answer": (
        "answers.jsonl", '{"query": "q2", "text": "\\ud800"}',
        "answers.jsonl:2: answer to query 'q2': half of a surrogate pair, which is no character; remove it",
    ),
    "answer to an unknown query": (
        "answers.jsonl", '{"query": "none", "text": "x"}', "answers.jsonl:2: answer to an unknown query 'none'",
    ),
    "second answer": (
        "answers.jsonl", '{"query": "q1", "text": "x"}',
        "answers.jsonl:2: second answer to query 'q1'; put other wordings under 'alternatives'",
    ),
    "empty answer": (
        "answers.jsonl", '{"query": "q2", "text": ""}', "answers.jsonl:2: answer to query 'q2' has no text",
    ),
    "alternatives that are a text": (
        "answers.jsonl", '{"query": "q2", "text": "x", "alternatives": "yes"}',
        "answers.jsonl:2: answer to query 'q2': 'alternatives' must be a list of texts",
    ),
    "alternatives that are a number": (
        "answers.jsonl", '{"query": "q2", "text": "x", "alternatives": 5}',
        "answers.jsonl:2: answer to query 'q2': 'alternatives' must be a list of texts",
    ),
    "an empty alternative": (
        "answers.jsonl", '{"query": "q2", "text": "x", "alternatives": ["y", ""]}',
        "answers.jsonl:2: answer to query 'q2': 'alternatives' must be a list of texts",
    ),
    "evidence that is a mapping": (
        "answers.jsonl", '{"query": "q2", "text": "x", "evidence": {"document": "d1", "start": 0, "end": 1}}',
        "answers.jsonl:2: answer to query 'q2': 'evidence' must be a list of {document, start, end}",
    ),
    "evidence without an end": (
        "answers.jsonl", '{"query": "q2", "text": "x", "evidence": [{"document": "d1", "start": 0}]}',
        "answers.jsonl:2: evidence {'document': 'd1', 'start': 0} is not {document, start, end}",
    ),
    "evidence in an unknown document": (
        "answers.jsonl", '{"query": "q2", "text": "x", "evidence": [{"document": "no", "start": 0, "end": 1}]}',
        "answers.jsonl:2: evidence in an unknown document 'no'",
    ),
    "evidence in a list of documents": (
        "answers.jsonl", '{"query": "q2", "text": "x", "evidence": [{"document": ["d1"], "start": 0, "end": 1}]}',
        "answers.jsonl:2: evidence in an unknown document '['d1']'",
    ),
    "evidence outside": (
        "answers.jsonl", '{"query": "q2", "text": "x", "evidence": [{"document": "d1", "start": 20, "end": 26}]}',
        "answers.jsonl:2: evidence 20..26 lies outside document 'd1' (0..25)",
    ),
    "evidence before the start": (
        "answers.jsonl", '{"query": "q2", "text": "x", "evidence": [{"document": "d1", "start": -1, "end": 3}]}',
        "answers.jsonl:2: evidence -1..3 lies outside document 'd1' (0..25)",
    ),
    "evidence of no length": (
        "answers.jsonl", '{"query": "q2", "text": "x", "evidence": [{"document": "d1", "start": 3, "end": 3}]}',
        "answers.jsonl:2: evidence 3..3 lies outside document 'd1' (0..25)",
    ),
    "evidence in fractions": (
        "answers.jsonl", '{"query": "q2", "text": "x", "evidence": [{"document": "d1", "start": 0, "end": 1.5}]}',
        "answers.jsonl:2: evidence 0..1.5 lies outside document 'd1' (0..25)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "line", "message"), WRONG_LINES.values(), ids=WRONG_LINES)
def test_a_wrong_line_is_told_with_its_file_and_number(native, name, line, message):
    append(native, name, line + (b"\n" if isinstance(line, bytes) else "\n"))
    assert faults(native) == [message]


def test_json_nested_without_end_is_broken_json(native):
    append(native, "documents.jsonl", "[" * 200_000)
    (fault,) = faults(native)
    assert fault.startswith("documents.jsonl:3: broken JSON")


@pytest.mark.parametrize("name", ["documents.jsonl", "queries.jsonl", "qrels.tsv", "answers.jsonl"])
@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"], ids=["empty", "blank", "mark only"])
def test_an_empty_file_is_told(native, name, text):
    (native / name).write_text(text, encoding="utf-8")
    assert f"{name}: is empty" in faults(native)


@pytest.mark.parametrize("name", ["queries.jsonl", "qrels.tsv"])
def test_a_missing_file_is_told(native, name):
    (native / name).unlink()
    assert f"{name}: cannot be read (No such file or directory)" in faults(native)


def test_a_folder_where_a_file_belongs_is_told_once(native):
    (native / "answers.jsonl").unlink()
    (native / "answers.jsonl").mkdir()
    assert faults(native) == ["answers.jsonl: cannot be read (Is a directory)"]


def test_a_header_alone_is_no_judgement(native):
    (native / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n")
    assert faults(native) == ["qrels.tsv: holds no judgement"]


def test_all_faults_of_all_files_are_told_together(native):
    append(native, "documents.jsonl", '{"id": "d1", "text": "Again."}\n{"id": "d4", "text": ""}\n')
    append(native, "queries.jsonl", "{\n")
    append(native, "qrels.tsv", "q1\tnone\t1\n")
    append(native, "answers.jsonl", '{"query": "none", "text": "x"}\n')
    told = faults(native)
    assert [fault.split(": ")[0] for fault in told] == [
        "documents.jsonl:3", "documents.jsonl:4", "queries.jsonl:3", "qrels.tsv:5", "answers.jsonl:2",
    ]  # fmt: skip


def test_many_faults_are_counted_not_poured_out(native):
    append(native, "qrels.tsv", "".join(f"q1\tnone{i}\t1\n" for i in range(100)))
    told = faults(native)
    assert len(told) == 21
    assert told[-1] == "... and 80 more"


def test_beir_files_are_checked_alike(beir):
    append(beir, "corpus.jsonl", '{"_id": "d1", "text": "again"}\n{"_id": "d4", "title": "", "text": ""}\n')
    append(beir, "queries.jsonl", '{"_id": ["q1"], "text": "x"}\n[1]\n')
    append(beir, "qrels/test.tsv", "q1\td9\t1\n")
    assert sorted(faults(beir)) == [
        "corpus.jsonl:3: document 'd1' was already given at corpus.jsonl:1",
        "corpus.jsonl:4: document 'd4' has no text",
        "qrels/test.tsv:4: judgement of an unknown document 'd9'",
        "queries.jsonl:5: a JSON object is needed, not list",
    ]


def test_a_split_that_beir_has_not_is_told(beir):
    assert "qrels/train.tsv: cannot be read (No such file or directory)" in faults(beir, split="train")


def test_a_folder_that_is_not_there_and_one_that_holds_no_data_set_are_told(tmp_path):
    with pytest.raises(InputError, match=r"no such folder or file \(.*nowhere\)"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no known format \(documents.jsonl \(native.*corpus.jsonl \(BEIR\)"):
        load_dataset(tmp_path)


# --- the project's own data set


@pytest.fixture(scope="module")
def handbook(pytestconfig):
    return pytestconfig.rootpath / "datasets" / "handbook"


def test_the_handbook_is_large_enough_and_every_question_has_an_answer(handbook):
    data = load_dataset(handbook)
    assert len(data.documents) >= 40
    answered = [
        q for q in data.queries.id if q in data.answers and any(g > 0 for g in data.qrels.get(q, {}).values())
    ]
    assert len(answered) >= 80
    assert data.unjudged == ()
    assert {attributes["split"] for attributes in data.attributes.values()} == {"dev", "test"}


def test_the_handbooks_evidence_lies_in_documents_that_are_judged_relevant(handbook):
    data = load_dataset(handbook)
    texts = dict(zip(data.documents.id, data.documents.text, strict=True))
    cited = [(query, span) for query, answer in data.answers.items() for span in answer.evidence]
    assert len(cited) >= 80
    for query, span in cited:
        quote = texts[span.document][span.start : span.end]
        assert quote == quote.strip() != "", f"{query}: evidence {span} cuts through blanks"
        assert data.qrels[query].get(span.document, 0) > 0, f"{query}: evidence in {span.document}, not relevant"


def test_the_handbooks_digest_does_not_depend_on_the_order_of_lines(handbook, tmp_path):
    whole, rng = load_dataset(handbook).digest, random.Random(3)
    for name in (path.name for path in handbook.iterdir() if path.suffix in (".jsonl", ".tsv")):
        rows = (handbook / name).read_text(encoding="utf-8").splitlines(keepends=True)
        head, rows = (rows[:1], rows[1:]) if name == "qrels.tsv" else ([], rows)
        (tmp_path / name).write_text("".join([*head, *rng.sample(rows, len(rows))]), encoding="utf-8")
    assert load_dataset(tmp_path).digest == whole


def test_scifact_is_read_in_beirs_format(needs_shared):
    data = load_dataset(needs_shared("scifact"))
    assert (len(data.documents), len(data.queries)) == (5183, 300)
    assert sum(len(judged) for judged in data.qrels.values()) == 339
