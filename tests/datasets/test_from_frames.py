"""Data sets from data frames."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from evalkit.datasets import Dataset, Reference
from evalkit.errors import InputError, InputErrors


def frames(**changed):
    made = {
        "documents": pd.DataFrame(
            {"id": ["b", "a"], "text": ["Dogs.", "Fares."], "title": ["D", None], "year": [2024, 2025]}
        ),
        "queries": pd.DataFrame({"id": ["q2", "q1"], "text": ["Dogs?", "Fare?"], "split": ["dev", None]}),
        "qrels": pd.DataFrame({"query": ["q1", "q2"], "document": ["a", "b"], "grade": [1, 2]}),
        "answers": pd.DataFrame({"query": ["q1"], "text": ["9 euros"], "alternatives": [["nine"]]}),
    }
    return made | changed


def faults(**changed):
    with pytest.raises(InputErrors) as caught:
        Dataset.from_frames(**frames(**changed))
    return list(caught.value.faults)


def test_frames_are_read_whole_and_sorted():
    data = Dataset.from_frames(**frames(), name="mine")
    assert data.name == "mine"
    assert list(data.documents.id) == ["a", "b"]
    assert list(data.documents.title) == ["", "D"]
    assert [json.loads(m) for m in data.documents.metadata] == [{"year": 2025}, {"year": 2024}]
    assert data.qrels == {"q1": {"a": 1}, "q2": {"b": 2}}
    assert all(type(grade) is int for judged in data.qrels.values() for grade in judged.values())
    assert data.answers == {"q1": Reference("9 euros", ("nine",))}
    assert data.attributes == {"q1": {}, "q2": {"split": "dev"}}


def test_the_order_and_the_index_of_rows_do_not_count():
    turned = {name: frame[::-1] for name, frame in frames().items()}
    assert Dataset.from_frames(**turned).digest == Dataset.from_frames(**frames()).digest


def test_answers_may_be_left_out():
    assert Dataset.from_frames(**frames(answers=None)).answers == {}


def test_frames_that_come_from_parquet_are_the_same(tmp_path):
    read = {}
    for name, frame in frames().items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
        read[name] = pd.read_parquet(tmp_path / f"{name}.parquet")
    assert Dataset.from_frames(**read).digest == Dataset.from_frames(**frames()).digest


def test_dates_and_missing_values_have_a_digest():
    asked = pd.DataFrame({"id": ["q1", "q2"], "text": ["a", "b"], "asked": [pd.Timestamp("2025-01-01"), pd.NaT]})
    data = Dataset.from_frames(**frames(queries=asked))
    assert data.attributes["q2"] == {}
    assert len(data.digest) == 32


@pytest.mark.parametrize("grade", [1.0, np.int8(1), "1", np.float32(1)])
def test_a_grade_may_be_any_whole_number(grade):
    qrels = pd.DataFrame({"query": ["q1"], "document": ["a"], "grade": [grade]})
    assert Dataset.from_frames(**frames(qrels=qrels)).qrels == {"q1": {"a": 1}}


@pytest.mark.parametrize("grade", [1.5, "1.5", "high", None, float("nan"), float("inf"), True, [1]])
def test_any_other_grade_is_told_with_its_row(grade):
    qrels = pd.DataFrame(
        {"query": ["q1", "q2"], "document": ["a", "b"], "grade": pd.Series([1, grade], dtype=object)}
    )
    (fault,) = faults(qrels=qrels)
    assert fault.startswith("qrels row 1: grade ")
    assert fault.endswith("is not a whole number")


def test_every_fault_is_told_with_frame_and_row():
    told = faults(
        documents=pd.DataFrame({"id": ["a", "a", "b", 3], "text": ["x", "y", None, "z"]}),
        queries=pd.DataFrame({"id": ["q1"], "text": ["Fare?"]}),
        qrels=pd.DataFrame({"query": ["q1", "q9", ["q1"]], "document": ["c", "a", "a"], "grade": [1, 1, 1]}),
        answers=pd.DataFrame({"query": ["q9"], "text": ["x"]}),
    )
    assert told == [
        "documents row 1: document 'a' was already given at documents row 0",
        "documents row 2: document 'b' has no text",
        "documents row 3: document 3: the id is a number; ids are texts, so write it as one",
        "qrels row 0: judgement of an unknown document 'c'",
        "qrels row 1: judgement of an unknown query 'q9'",
        "qrels row 2: judgement of an unknown query '['q1']'",
        "answers row 0: answer to an unknown query 'q9'",
    ]


def test_a_missing_column_is_told_with_the_nearest():
    with pytest.raises(InputError, match=r"qrels: no column 'grade'; did you mean 'grades'\?"):
        Dataset.from_frames(**frames(qrels=frames()["qrels"].rename(columns={"grade": "grades"})))


def test_what_is_not_a_frame_is_told():
    with pytest.raises(InputError, match="queries: a data frame is needed, not list"):
        Dataset.from_frames(**frames(queries=[]))


def test_a_data_set_without_a_judged_query_is_refused():
    empty = frames()["qrels"][:0]
    (fault,) = faults(qrels=empty, answers=None)
    assert fault.startswith("frames: no judged query; a data set needs judgements or an answer for at least one")


def test_selecting_queries_keeps_all_documents(tiny):
    chosen = tiny.select(["q3", "q1"])
    assert list(chosen.queries.id) == ["q1", "q3"]
    assert set(chosen.qrels) == set(chosen.answers) == set(chosen.attributes) == {"q1", "q3"}
    assert chosen.documents is tiny.documents
    assert chosen.digest != tiny.digest


def test_a_data_set_says_how_large_it_is(tiny):
    assert repr(tiny) == "Dataset tiny: 12 documents, 8 queries, 16 judgements, 8 reference answers"
