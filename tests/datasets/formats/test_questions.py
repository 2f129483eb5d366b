"""Logs of questions, contexts and answers: whatever their columns are called, nothing that was logged is lost."""

from __future__ import annotations

import csv
import json
import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import InputError, load_dataset
from evalkit.datasets.formats.cells import parsed
from evalkit.datasets.logs import document_id
from evalkit.errors import InputErrors

LOG = [
    {
        "user_input": "What does an adult pay?",
        "retrieved_contexts": ["Dogs stay on the lead.", "An adult pays 9 euros."],
        "reference_contexts": ["An adult pays 9 euros.", 'Fares are "fixed".'],
        "response": "9 euros.",
        "reference": "9 euros",
    },
    {
        "user_input": "May dogs come?",
        "retrieved_contexts": ["Dogs stay on the lead."],
        "reference_contexts": ["Dogs stay on the lead."],
        "response": "Yes, on\nthe lead.",
        "reference": "Yes",
    },
]
OLD = {
    "user_input": "question", "retrieved_contexts": "contexts", "response": "answer", "reference": "ground_truth",
    "reference_contexts": "reference_contexts",
}  # fmt: skip


def write(path, rows):
    """Write records as each kind of file does it."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        pd.DataFrame(rows).to_csv(path, index=False)  # lists as Python writes them
    return path


def faults(path, **kwargs):
    with pytest.raises(InputErrors) as caught:
        load_dataset(path, **kwargs)
    return [fault.replace(f"{path.parent}/", "") for fault in caught.value.faults]


def ids(data):
    return dict(zip(data.queries.text, data.queries.id, strict=True))


# --- what is right


def test_contexts_are_documents_and_what_was_logged_stays_with_its_question(tmp_path):
    data = load_dataset(write(tmp_path / "log.jsonl", LOG))
    contexts = {
        document_id(text): text for row in LOG for text in row["retrieved_contexts"] + row["reference_contexts"]
    }
    assert data.name == "log"
    assert dict(zip(data.documents.id, data.documents.text, strict=True)) == contexts
    fare = ids(data)["What does an adult pay?"]
    dogs, price, fixed = map(document_id, ("Dogs stay on the lead.", "An adult pays 9 euros.", 'Fares are "fixed".'))
    assert data.qrels[fare] == {price: 1, fixed: 1, dogs: 0}
    assert data.answers[fare].text == "9 euros"
    assert data.attributes[fare] == {"retrieved": [dogs, price], "response": "9 euros."}


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
@pytest.mark.parametrize("names", [{}, OLD], ids=["present names", "old names"])
def test_every_kind_of_file_and_both_generations_of_names_give_the_same_data(tmp_path, suffix, names):
    renamed = [{names.get(name, name): value for name, value in row.items()} for row in LOG]
    expected = load_dataset(write(tmp_path / "log.jsonl", LOG)).digest
    assert load_dataset(write(tmp_path / f"other{suffix}", renamed)).digest == expected


def test_columns_of_other_names_are_mapped_and_mean_nothing_else_then(tmp_path):
    rows = [{"q": "Q?", "contexts": ["A."], "answer": "gold", "fold": "dev", "model": "m1"}]
    columns = {"user_input": "q", "reference_contexts": "contexts", "reference": "answer", "split": "fold"}
    data = load_dataset(write(tmp_path / "log.jsonl", rows), columns=columns, split="dev")
    (query,) = data.queries.id
    assert data.qrels[query] == {document_id("A."): 1}
    assert data.answers[query].text == "gold"
    assert data.attributes[query] == {"split": "dev", "model": "m1"}


def test_retrieved_contexts_alone_are_not_judged(tmp_path):
    rows = [{"question": "Q?", "contexts": ["A.", "B."], "ground_truth": "yes"}]
    data = load_dataset(write(tmp_path / "log.jsonl", rows))
    assert data.unjudged == tuple(data.queries.id)
    assert data.attributes[data.queries.id[0]]["retrieved"] == [document_id("A."), document_id("B.")]


def test_several_right_answers_are_the_reference_and_alternatives(tmp_path):
    rows = [{"question": "Q?", "contexts": ["A."], "ground_truths": ["yes", "aye"]}]
    for suffix in (".jsonl", ".csv"):
        (answer,) = load_dataset(write(tmp_path / f"log{suffix}", rows)).answers.values()
        assert (answer.text, answer.alternatives) == ("yes", ("aye",))


def test_an_empty_cell_is_nothing_and_an_empty_text_in_json_is_an_empty_answer(tmp_path):
    rows = [LOG[0], {**LOG[1], "response": "", "reference": ""}]
    for suffix, response in ((".csv", {}), (".jsonl", {"response": ""})):
        data = load_dataset(write(tmp_path / f"log{suffix}", rows))
        dogs = ids(data)["May dogs come?"]
        assert data.attributes[dogs] == {"retrieved": [document_id("Dogs stay on the lead.")], **response}
        assert dogs not in data.answers


def test_an_answer_that_looks_like_a_list_is_a_text(tmp_path):
    rows = [{"user_input": "[1, 2]", "reference_contexts": ["A."], "reference": "[3]", "response": "['a' or 'b']"}]
    data = load_dataset(write(tmp_path / "log.csv", rows))
    assert (data.queries.text[0], data.answers[data.queries.id[0]].text) == ("[1, 2]", "[3]")
    assert data.attributes[data.queries.id[0]]["response"] == "['a' or 'b']"


def test_one_context_need_not_be_a_list(tmp_path):
    rows = [{"question": "Q?", "passage": "A.", "ground_truth": "yes"}]
    data = load_dataset(write(tmp_path / "log.csv", rows), columns={"reference_contexts": "passage"})
    assert list(data.documents.text) == ["A."]


def test_the_order_of_rows_changes_nothing(tmp_path):
    rows = [{**row, "response": f"{i}"} for i, row in enumerate(LOG * 3)] + LOG * 2  # equal questions, equal rows
    data = [
        load_dataset(write(tmp_path / f"{seed}.jsonl", random.Random(seed).sample(rows, 10))) for seed in range(4)
    ]
    assert len(data[0].queries) == 10
    assert len({d.digest for d in data}) == 1


def test_a_question_keeps_its_id_when_others_come_or_its_answer_changes(tmp_path):
    more = [{**LOG[0], "response": "other"}, {**LOG[1], "user_input": "New?"}]
    before, after = (ids(load_dataset(write(tmp_path / "log.jsonl", rows))) for rows in (LOG, more))
    assert before["What does an adult pay?"] == after["What does an adult pay?"]


def test_equal_questions_with_different_answers_stay_apart(tmp_path):
    rows = [{**LOG[0], "reference": "9 euros"}, {**LOG[0], "reference": "15 euros"}, LOG[1]]
    data, turned = (load_dataset(write(tmp_path / "log.jsonl", given)) for given in (rows, rows[::-1]))
    assert data.digest == turned.digest
    assert len(data.queries) == 3
    assert sorted(a.text for a in data.answers.values()) == ["15 euros", "9 euros", "Yes"]


def test_ids_are_taken_as_they_are_and_whole_numbers_become_texts(tmp_path):
    rows = [{**LOG[0], "id": 7}, {**LOG[1], "id": "b"}]
    assert list(load_dataset(write(tmp_path / "log.jsonl", rows)).queries.id) == ["7", "b"]


# --- conversations

TALK = [
    {"content": "What is the fare?", "type": "human"},
    {"content": "9 euros.", "type": "ai"},
    {"content": "And for dogs?", "type": "human"},
    {"content": "Dogs are free.", "type": "ai"},
]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_conversation_is_its_last_question_the_history_and_the_response(tmp_path, suffix):
    rows = [{"user_input": TALK, "reference": "Free"}, {"user_input": TALK[:3], "reference": "Free"}]
    data = load_dataset(write(tmp_path / f"log{suffix}", rows))
    assert list(data.queries.text) == ["And for dogs?"] * 2
    assert [list(turns) for turns in data.queries.history] == [["What is the fare?", "9 euros."]] * 2
    responses = [data.attributes[q].get("response") for q in data.queries.id]
    assert sorted(map(str, responses)) == ["Dogs are free.", "None"]
    assert not any("messages" in known for known in data.attributes.values())


def test_what_turns_cannot_say_is_kept_as_messages(tmp_path):
    talk = [
        {"content": "Welcome.", "type": "ai"},
        {"content": "Look up the fare.", "type": "human"},
        {"content": "For one adult.", "type": "human"},
        {"content": "", "type": "ai", "tool_calls": [{"name": "fare", "args": {"adults": 1}}]},
        {"content": "9", "type": "tool"},
        {"content": "9 euros.", "type": "ai"},
        {"content": "Thanks. And two?", "type": "human"},
    ]
    data = load_dataset(write(tmp_path / "log.jsonl", [{"user_input": talk, "reference": "18"}]))
    assert list(data.queries.history[0]) == ["Look up the fare.\nFor one adult.", "9 euros."]
    assert data.attributes[data.queries.id[0]]["messages"] == talk


@pytest.mark.parametrize("wrong", [3, [], ["text"], [{"content": "x", "type": "robot"}], TALK[1:2], " "])
def test_what_is_neither_a_text_nor_a_conversation_with_a_question_is_told(tmp_path, wrong):
    told = faults(write(tmp_path / "log.jsonl", [LOG[0], {**LOG[1], "user_input": wrong}]))
    expected = "a text is needed, or a list of messages {content, type}, one of type 'human' among them"
    assert told == [f"log.jsonl:2: user_input: {expected}"]


# --- what is wrong

FAULTS = {
    "['a', 'b'": "neither JSON nor a Python literal",
    "[__import__('os').getcwd()]": "neither JSON nor a Python literal",
    "['a' 'b']": "a list without commas; write it as JSON",
    "['a'\n 'b']": "a list without commas; write it as JSON",
    "['a', 3]": "item 2 is not a text",
    "['a', ' ']": "item 2 is empty",
    "[" * 5000: "neither JSON nor a Python literal",
}


@pytest.mark.parametrize("cell", FAULTS, ids=lambda cell: cell[:20])
def test_a_cell_that_is_no_list_of_texts_is_told_with_its_line(tmp_path, cell):
    path = tmp_path / "log.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [["question", "contexts", "ground_truth"], ["Q1?", '["a"]', "yes"], ["Q2?", cell, "no"]]
        csv.writer(file).writerows(rows)
    assert faults(path) == [f"log.csv:3: retrieved_contexts: {FAULTS[cell]}"]


@given(st.lists(st.text(), max_size=4))
def test_a_cell_is_read_as_it_was_written_by_json_and_by_python(texts):
    assert parsed(json.dumps(texts)) == texts
    assert parsed(repr(texts)) == texts


def test_a_column_that_is_not_there_is_told_with_the_nearest_name(tmp_path):
    path = write(tmp_path / "log.jsonl", LOG)
    assert faults(path, columns={"reference": "referense"}) == [
        "log.jsonl: no column 'referense' for 'reference'; did you mean 'reference'?"
    ]
    assert faults(path, columns={"referense": "reference"}) == [
        "log.jsonl: columns: 'referense' is not known here; did you mean 'reference'?"
    ]


def test_every_faulty_record_is_told_at_once(tmp_path):
    rows = [LOG[0], {"response": "x"}, {**LOG[1], "response": 3}, {**LOG[1], "retrieved_contexts": {"a": 1}}]
    assert faults(write(tmp_path / "log.jsonl", rows)) == [
        "log.jsonl:2: no question; a column 'user_input' or 'question' is needed",
        "log.jsonl:3: response: a text is needed, not int",
        "log.jsonl:4: retrieved_contexts: a list of texts is needed, not dict",
    ]


def test_a_log_in_which_nothing_can_be_measured_is_told(tmp_path):
    rows = [{"question": "Q?", "contexts": ["A."], "answer": "yes"}]
    assert faults(write(tmp_path / "log.jsonl", rows))[0].startswith("log: no judged query")


@pytest.mark.parametrize(
    "row", [{"question": "Q?", "label": "x"}, {"text": "Q?", "answer": "x"}, {"user_input": "Q?"}], ids=str
)
def test_other_files_are_not_taken_for_logs(tmp_path, row):
    with pytest.raises(InputError, match=r"say which hold what: .* of questions with columns="):
        load_dataset(write(tmp_path / "x.jsonl", [row]))


def test_a_log_with_times_is_one_of_requests(tmp_path):
    rows = [{"timestamp": i, "question": f"Q{i}?", "answer": "yes"} for i in range(3)]
    assert len(load_dataset(write(tmp_path / "x.jsonl", rows)).traffic) == 3
