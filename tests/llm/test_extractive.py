"""The extractive reader answers with true sentences of its passages, in their order."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import InputError
from evalkit.llm import Extractive
from evalkit.llm.extractive import split_sentences
from evalkit.memo import forgotten
from evalkit.values import Answer, Prompt


class WordsOfOneLetter:
    """Embeds a text as the letters that it begins its words with: nearness is easy to see."""

    def __init__(self):
        self.calls = []

    def encode(self, texts):
        self.calls.append(tuple(texts))
        vectors = np.zeros((len(texts), 27), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                row[ord(word[0]) - ord("a") if word[0].isascii() and word[0].isalpha() else 26] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def embedder():
    return WordsOfOneLetter()


def prompt(question, *passages):
    sources = tuple(hashlib.sha256(p.encode()).hexdigest()[:4] for p in passages)
    return Prompt(question, ("",) * len(passages), passages, sources)


def test_the_nearest_sentences_come_in_their_own_order(embedder):
    asked = prompt("a b", "C c c. A c c. D d d.", "B b a. E e e.")
    assert Extractive(embedder, 1).read(asked) == Answer("B b a.", (asked.sources[1],))
    assert Extractive(embedder, 2).read(asked) == Answer("A c c. B b a.", asked.sources)


def test_a_sentence_that_stands_in_two_passages_is_taken_once_and_cites_the_first(embedder):
    asked = prompt("a", "A a.", "A a. B b.", "C c.")
    answer = Extractive(embedder, 2).read(asked)
    assert answer == Answer("A a. B b.", asked.sources[:2])


def test_fewer_sentences_than_asked_for_are_all_taken(embedder):
    assert Extractive(embedder, 9).read(prompt("z", "A a. B b.")).text == "A a. B b."


@pytest.mark.parametrize("passages", [(), ("",), (" \n ", "\n")])
def test_nothing_to_read_gives_an_empty_answer(embedder, passages):
    assert Extractive(embedder).read(prompt("a", *passages)) == Answer("")


def test_sentences_of_equal_nearness_come_first_come_first(embedder):
    assert Extractive(embedder, 1).read(prompt("z", "B b. A a. C c.")).text == "B b."


def test_a_passage_is_embedded_once_however_many_questions_are_asked_except_while_time_is_taken(embedder):
    reader = Extractive(embedder)
    for question in ("a", "b", "a"):
        reader.read(prompt(question, "A a. B b."))
    assert embedder.calls == [("A a.", "B b."), ("a",), ("b",)]
    with forgotten():
        reader.read(prompt("a", "A a. B b."))
    assert embedder.calls[3:] == [("A a.", "B b."), ("a",)]


@pytest.mark.parametrize("sentences", [0, -1])
def test_fewer_than_one_sentence_is_refused(embedder, sentences):
    with pytest.raises(InputError, match=f"sentences is {sentences}; it must be at least 1"):
        Extractive(embedder, sentences)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One two. Three four! Five?", ["One two.", "Three four!", "Five?"]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("It costs 1.75 percent. That is all.", ["It costs 1.75 percent.", "That is all."]),
        ("A line\nand another\n\nand a third", ["A line", "and another", "and a third"]),
        ("See e.g. the sheet. 40 of them.", ["See e.g. the sheet.", "40 of them."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_texts_are_cut_at_the_ends_of_sentences_and_lines(text, sentences):
    assert list(split_sentences(text)) == sentences


@given(st.text(st.sampled_from("aB.!? \n\")('1")))
def test_cutting_into_sentences_loses_only_blanks(text):
    parts = split_sentences(text)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(part == part.strip() != "" for part in parts)
