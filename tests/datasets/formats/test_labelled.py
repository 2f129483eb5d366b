"""Labelled texts: labels are intents, a split is a file, and no text is lost or told twice."""

from __future__ import annotations

import csv
import json
from collections import defaultdict

import pytest

from evalkit import InputError, load_dataset
from evalkit.errors import InputErrors

TRAIN = [
    ("Where is my card?", "card"),
    ("My card\nis late", "card"),
    ("Change my PIN", " pin "),
    ("Only here", "rare?"),
]
TEST = [("No card yet", "card"), ("  Where is my  card?", "card"), ("New PIN please", "pin"), ("Close it", "a/b!")]


def write(path, rows, header=("text", "category")):
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "cards" / "train.csv", TRAIN)
    write(tmp_path / "cards" / "test.csv", TEST)
    return tmp_path / "cards"


def faults(path, **kwargs):
    with pytest.raises(InputErrors) as caught:
        load_dataset(path, **kwargs)
    return [fault.replace(f"{path}", path.name) for fault in caught.value.faults]


def test_a_label_is_an_intent_and_its_own_answer(folder):
    data = load_dataset(folder, split="train")
    assert (data.name, set(data.intents)) == ("cards", {"card", "pin", "rare?"})
    card = data.intents["card"]
    assert (card.name, card.answer, card.tenant, card.evidence) == ("card", "card", "default", ())
    assert (card.text, card.paraphrases) == ("Where is my card?", ("My card\nis late",))
    assert data.intents["pin"].paraphrases == data.intents["rare?"].paraphrases == ()
    assert (len(data.documents), len(data.queries), len(data.traffic)) == (0, 0, 0)


def test_a_split_is_a_file_and_an_intent_bears_the_only_one_it_is_in(folder):
    for split in ("train", "test"):
        whole = load_dataset(folder, split=split)
        assert {intent.split for intent in whole.intents.values()} == {split}
        assert {i.name: i for i in load_dataset(folder / f"{split}.csv").intents.values()} == whole.intents
    assert {i.name: i.split for i in load_dataset(folder).intents.values()} == {
        "card": "", "pin": "", "rare?": "train", "a/b!": "test",
    }  # fmt: skip


def test_without_a_split_an_intent_has_the_texts_of_all_files_each_once(folder):
    card = load_dataset(folder).intents["card"]
    assert (card.text, *card.paraphrases) == ("Where is my card?", "My card\nis late", "No card yet")


def test_an_unknown_split_is_told_with_the_nearest(folder):
    with pytest.raises(InputError, match=r"^data set cards: no split 'tets'; did you mean 'test'\?$"):
        load_dataset(folder, split="tets")


def test_a_text_under_two_labels_is_kept_under_both(tmp_path):
    data = load_dataset(write(tmp_path / "d.csv", [("Hello", "greet"), ("Hello", "call"), ("Hello", "call")]))
    assert {i.name: (i.text, i.paraphrases, i.split) for i in data.intents.values()} == {
        "greet": ("Hello", (), ""), "call": ("Hello", (), ""),
    }  # fmt: skip


@pytest.mark.parametrize(("text", "label"), [("text", "intent"), ("Utterance", "label"), ("text", "Category")])
def test_names_that_are_in_use_need_no_mapping(tmp_path, text, label):
    assert set(load_dataset(write(tmp_path / "d.csv", TRAIN, (text, label))).intents) == {"card", "pin", "rare?"}


def test_other_names_are_mapped_and_other_forms_are_read(tmp_path):
    rows = [{"said": text, "class": number} for number, (text, _) in enumerate(TRAIN)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_dataset(tmp_path / "d.jsonl", columns={"text": "said", "intent": "class"})
    assert [i.answer for i in data.intents.values()] == ["0", "1", "2", "3"]
    assert faults(tmp_path / "d.jsonl", columns={"text": "sad", "intent": "class"}) == [
        "d.jsonl: no column 'sad' for 'text'; did you mean 'said'?"
    ]


def test_every_bad_row_is_one_line_with_its_place(tmp_path):
    path = write(tmp_path / "d.csv", [("", "card"), ("a", " "), ("b", "card"), (" ", "")])
    assert faults(path) == ["d.csv:2: no text", "d.csv:3: no label (a text or a whole number)", "d.csv:5: no text"]


def test_the_order_of_rows_decides_on_nothing_but_the_plain_form(folder):
    whole = load_dataset(folder)
    write(folder / "test.csv", TEST[::-1])
    again = load_dataset(folder)
    assert {n: (i.text, sorted(i.paraphrases)) for n, i in again.intents.items()} == {
        n: (i.text, sorted(i.paraphrases)) for n, i in whole.intents.items()
    }


def test_banking77_has_77_intents_in_each_split_and_all_its_texts(needs_shared):
    folder = needs_shared("banking77")
    counted = {}
    for split in ("train", "test"):
        expected = defaultdict(dict)
        with (folder / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                expected[row["category"]].setdefault(" ".join(row["text"].split()), row["text"])
        found = load_dataset(folder, split=split).intents
        assert {n: [i.text, *i.paraphrases] for n, i in found.items()} == {
            n: list(texts.values()) for n, texts in expected.items()
        }
        counted[split] = (len(found), sum(1 + len(i.paraphrases) for i in found.values()))
    assert counted == {"train": (77, 9_999), "test": (77, 3_079)}
    both = load_dataset(folder).intents
    assert (len(both), sum(1 + len(i.paraphrases) for i in both.values())) == (77, 9_999 + 3_079 - 7)
    texts = [" ".join(text.split()) for i in both.values() for text in (i.text, *i.paraphrases)]
    assert len(set(texts)) == len(texts)  # none stands under two labels
