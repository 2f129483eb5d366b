"""The extractive reader quotes its passages: a span where one is asked for, else sentences; or it refuses."""

from __future__ import annotations

import hashlib
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import InputError
from evalkit.llm import Extractive
from evalkit.llm.extractive import split_sentences
from evalkit.llm.messages import NO_ANSWER, SYSTEM
from evalkit.llm.reading.conversation import points_back
from evalkit.llm.reading.questions import asks
from evalkit.memo import forgotten
from evalkit.metrics import Refusal
from evalkit.stages import SentenceTransformer
from evalkit.values import Answer, Prompt


class WordCounts:
    """Embeds a text as the counts of its words: texts without a common word have a cosine of 0."""

    def __init__(self):
        self.calls = []

    def encode(self, texts):
        self.calls.append(tuple(texts))
        vectors = np.zeros((len(texts), 512), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[zlib.crc32(word.encode()) % 512] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def embedder():
    return WordCounts()


def prompt(question, *passages, history=()):
    sources = tuple(hashlib.sha256(p.encode()).hexdigest()[:4] for p in passages)
    return Prompt(question, ("",) * len(passages), passages, sources, history)


def answer(question, *passages, history=(), support=0.0, sentences=2):
    return Extractive(WordCounts(), sentences, support).read(prompt(question, *passages, history=history))


QUESTIONS = [
    ("Who signs the form?", "person"),
    ("Whose desk reads it?", "person"),
    ("Which employee found the fault?", "person"),
    ("When does the office open?", "time"),
    ("By what date must it be sent?", "time"),
    ("next meeting when", "time"),
    ("Where can I leave the keys?", "place"),
    ("In which city is the hall?", "place"),
    ("How many lines fit into a file?", "count"),
    ("With how many votes did she win?", "count"),
    ("number of seats", "count"),
    ("How much is a new card?", "money"),
    ("What does a courier cost?", "money"),
    ("paper copy price", "money"),
    ("How much interest do I get?", "percent"),
    ("At what rate is it charged?", "percent"),
    ("How heavy may a parcel be?", "quantity"),
    ("What's the daily limit?", "quantity"),
    ("How long does a repair take?", "duration"),
    ("Within how many days must I answer?", "duration"),
    ("After what time does a mandate lapse?", "duration"),
    ("How often are reports sent?", "frequency"),
    ("Which form do I need?", "code"),
    ("Which workshop makes the boxes?", "name"),
    ("Why was the bridge closed?", "reason"),
    ("How come nobody noticed?", "reason"),
    ("For what reason was it closed?", "reason"),
    ("What does D-75 mean?", "meaning"),
    ("What is D-75?", "meaning"),
    ("How do I open an account?", "manner"),
    ("Is the museum free?", "yes-no"),
    ("My roof leaks; is that covered?", "yes-no"),
    ("The door is locked. Can I get in?", "yes-no"),
    ("Is it cheaper by phone or by post?", "choice"),
    ("What is kept in the vault?", "open"),
    ("stolen watch", "open"),
    ("What happens when it rains?", "open"),
    ("When it rains, who closes the roof?", "person"),
    ("", "open"),
]


@pytest.mark.parametrize(("question", "kind"), QUESTIONS)
def test_a_question_is_typed_by_its_question_word_and_the_noun_behind_it(question, kind):
    assert [ask.kind for ask in asks(question)] == [kind]


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("Who leads the team, and when was it founded?", ["person", "time"]),
        ("Does the app warn me, and what does a recall cost?", ["yes-no", "money"]),
        ("Why was the budget raised and how much is the loan?", ["reason", "money"]),
        ("Can the owner take it back, and where?", ["place"]),
        ("I lost my card and my keys; what does a new card cost?", ["money"]),
        ("Would you open a shop and a café here?", ["yes-no"]),
    ],
)
def test_a_question_that_asks_two_things_is_taken_apart_and_a_preamble_is_not(question, kinds):
    assert [ask.kind for ask in asks(question)] == kinds


SPANS = [
    ("Who leads the harbour office?", "The harbour office is led by Maria Lund since March.", "Maria Lund"),
    ("When does the fair open?", "The fair will open on Saturday 22 May 2027 in town.", "Saturday 22 May 2027"),
    ("Between which hours is the desk staffed?", "The desk is staffed from 08:00 to 18:00.", "08:00 to 18:00"),
    ("When is a change in force?", "A change is in force within ten minutes.", "within ten minutes"),
    ("Where is the meeting held?", "The meeting is held in May in the Corn Hall.", "in the Corn Hall"),
    ("Who reads the forms?", "Form F-650 goes to Class B and is read by Ida Berg.", "Ida Berg"),
    ("How many lines fit into a file?", "A file takes 200 lines in one currency.", "200 lines"),
    ("What does a courier cost?", "By courier a card costs EUR 22.50.", "EUR 22.50"),
    ("What does a courier cost?", "A courier costs 22 dollars.", "22 dollars"),
    ("What does the museum cost?", "The museum is free of charge.", "free of charge"),
    ("What is the rate of the bond?", "The bond has a rate of 3.55 percent.", "3.55 percent"),
    ("How heavy may a parcel be?", "A parcel may have 8 kilograms.", "8 kilograms"),
    ("How long does a repair take?", "A repair takes two working days.", "two working days"),
    ("How many weeks does a repair take?", "In ten days or two weeks a repair is done.", "two weeks"),
    ("How often are reports sent?", "Reports are sent twice a year.", "twice a year"),
    ("Which form is needed for a refund?", "For a refund, form F-217 is needed.", "F-217"),
    ("Which workshop makes the boxes?", "The boxes are made by the Hill Street workshop.", "Hill Street workshop"),
    ("Why was the bridge closed?", "The bridge was closed because of the flood; it is open.", "because of the flood"),
    ("What does D-75 mean?", "D-62: barred shop. D-75: three wrong entries.", "three wrong entries"),
    ("What does D-75 mean?", "Reasons: D-62 barred shop; D-75 wrong entry; D-80 no line.", "wrong entry"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "passage", "span"), SPANS)
def test_each_type_of_question_gets_the_span_that_it_asks_for(question, passage, span):
    found = answer(question, "The weather is fine today.", passage)
    assert found == Answer(span, prompt("", passage).sources)


def test_of_two_spans_the_one_nearer_to_the_questions_words_is_taken():
    passage = "At a cash machine you get EUR 60 a day, in foreign shops you may pay EUR 150 a day."
    assert answer("How much do I get at a cash machine?", passage).text == "EUR 60"
    assert answer("How much may I pay in foreign shops?", passage).text == "EUR 150"


def test_what_the_question_says_itself_is_no_answer():
    passage = "A flat worth EUR 200 with a debt of EUR 60 gets EUR 80."
    assert answer("How much does a flat worth EUR 200 with EUR 60 of debt get?", passage).text == "EUR 80"
    assert answer("How many votes on page 14?", "On page 14 it was 4 votes.").text == "4 votes"


def test_a_sentence_that_holds_what_is_asked_for_beats_a_nearer_one_that_does_not():
    passages = ("You pay the parking fee at the gate. For parking cars pay EUR 7.",)
    assert answer("How much is the parking fee?", *passages).text == "EUR 7"


def test_what_is_said_of_an_identifier_in_the_question_beats_other_words():
    passages = ("The terminal of the shop is grey.", "W-81: no line to us.")
    assert answer("W-81 on the terminal, what is wrong?", *passages).text == "no line to us"


def test_yes_and_no_are_left_to_the_reader_of_the_sentence():
    found = answer("Is the vault dry?", "The vault is not dry. The cellar is warm.")
    assert found.text == "The vault is not dry."


def test_questions_in_a_passage_and_headings_are_no_answers():
    passage = "Opening an account\n\nHow do I open an account?\n\nBring your papers to open one."
    assert answer("How do I open an account?", passage).text == "Bring your papers to open one."


def test_of_headings_alone_one_is_quoted():
    assert answer("opening", "Opening an account").text == "Opening an account"


def test_a_question_that_asks_two_things_is_answered_from_both_documents_in_the_order_asked():
    asked = prompt(
        "What does a recall cost, and who leads the recall desk?",
        "The recall desk is led by Maria Lund.",
        "A recall costs EUR 12.",
    )
    found = Extractive(WordCounts(), support=0.0).read(asked)
    assert found == Answer("EUR 12; Maria Lund", asked.sources[::-1])


def test_a_comparison_quotes_as_many_sentences_as_it_may():
    asked = prompt("Is a photo dearer on a red card than on a blue card?", "A photo on a red card is dear.",
                   "A photo on a blue card is cheap.")  # fmt: skip
    assert Extractive(WordCounts(), 1, 0.0).read(asked).text == "A photo on a red card is dear."
    both = Extractive(WordCounts(), 2, 0.0).read(asked)
    assert both == Answer("A photo on a red card is dear. A photo on a blue card is cheap.", asked.sources)


def test_an_open_question_gets_near_sentences_in_their_own_order_and_no_far_ones():
    asked = prompt("lost keys", "Keys lost abroad are kept. Lost keys cost money.", "The canteen serves soup.")
    assert Extractive(WordCounts(), 3, 0.0).read(asked) == Answer(
        "Keys lost abroad are kept. Lost keys cost money.", asked.sources[:1]
    )


def test_a_sentence_that_stands_in_two_passages_is_quoted_once_and_cites_the_first():
    asked = prompt("lost keys", "Report lost keys.", "Report lost keys. Lost keys cost much.")
    found = Extractive(WordCounts(), 2, 0.0).read(asked)
    assert found == Answer("Report lost keys. Lost keys cost much.", asked.sources)


@pytest.mark.parametrize("passages", [(), ("",), (" \n ", "\n")])
def test_nothing_to_read_is_refused(embedder, passages):
    assert Extractive(embedder).read(prompt("a", *passages)) == Answer(NO_ANSWER)
    assert Extractive(embedder, support=0.0).read(prompt("a", *passages)) == Answer(NO_ANSWER)


def test_support_is_the_least_nearness_and_0_never_refuses():
    passage = "Parcels leave the depot at noon."
    assert answer("Where do whales sleep?", passage, support=0.3) == Answer(NO_ANSWER)
    assert answer("Where do whales sleep?", passage, support=0.0).text == passage
    assert answer("When do parcels leave the depot?", passage, support=0.3).text == "noon"


def test_what_is_not_supported_is_left_out_beside_what_is():
    passage = "Parcels leave the depot at noon."
    assert answer("When do parcels leave the depot, and who tames whales?", passage, support=0.5).text == "noon"


def test_a_refusal_cites_nothing_is_known_to_the_metric_and_is_what_models_are_asked_for():
    assert Refusal().score([NO_ANSWER], [[]]).tolist() == [1.0]
    assert NO_ANSWER in SYSTEM


def test_with_the_default_model_and_support_the_unrelated_is_refused_and_the_related_answered():
    reader = Extractive(SentenceTransformer())
    passages = ("Parcels leave the depot at noon.", "A lost parcel is paid for up to EUR 500, with a receipt.")
    assert reader.read(prompt("Which enzyme unwinds the double helix?", *passages)) == Answer(NO_ANSWER)
    found = reader.read(prompt("How much do you pay when my package has disappeared?", *passages))
    assert found == Answer("EUR 500", prompt("", *passages).sources[1:])


TALK = ("What does a loan for a petrol car cost?", "The rate is 5.7 percent.")


@pytest.mark.parametrize(
    ("question", "back"),
    [
        ("And at the windows?", True),
        ("What about amber?", True),
        ("How much is it?", True),
        ("When do they come?", True),
        ("Why?", True),
        ("Does her sister fall under that?", True),
        ("How much is a new credit card for students?", False),
        ("Which workshop makes the wooden boxes?", False),
        ("Does a member who has lost the blue card pay for it?", False),
    ],
)
def test_a_question_points_back_by_its_opening_a_pronoun_or_its_brevity(question, back):
    assert points_back(question) is back


def test_a_follow_up_is_read_with_the_turn_before_it():
    passages = (
        "A boat loan has a rate of 9.9 percent.",
        "A car loan has a rate of 5.7 percent, electric 4.8 percent.",
    )
    assert answer("And what rate if electric?", *passages, history=TALK).text == "4.8 percent"
    assert (
        answer("And the rate?", *passages, history=("Tell me of a boat loan.", "It is for boats.")).text
        == "9.9 percent"
    )
    assert (
        answer("And the rate?", *passages, history=("Tell me of a car loan.", "It is for cars.")).text
        == "5.7 percent"
    )


def test_a_question_that_stands_alone_is_answered_the_same_whatever_was_said_before():
    passages = ("A boat loan has a rate of 9.9 percent.", "A car loan has a rate of 5.7 percent.")
    question = "What rate has a loan for a boat?"
    assert answer(question, *passages, history=TALK) == answer(question, *passages)


def test_only_the_last_turn_counts():
    passages = ("A boat loan has a rate of 9.9 percent.", "A car loan has a rate of 5.7 percent.")
    late = ("Tell me of a boat loan.", "It is for boats.")
    assert answer("And the rate?", *passages, history=(*TALK, *late)) == answer(
        "And the rate?", *passages, history=late
    )


def test_a_passage_is_embedded_once_however_many_questions_are_asked_except_while_time_is_taken(embedder):
    reader = Extractive(embedder)
    for question in ("red apples", "blue plums", "red apples"):
        reader.read(prompt(question, "Apples are red. Plums are blue."))
    assert embedder.calls == [("Apples are red.", "Plums are blue."), ("red apples",), ("blue plums",)]
    with forgotten():
        reader.read(prompt("red apples", "Apples are red. Plums are blue."))
    assert embedder.calls[3:] == [("Apples are red.", "Plums are blue."), ("red apples",)]


def test_parts_and_history_are_embedded_with_the_question_and_only_where_there_are_any(embedder):
    reader = Extractive(embedder)
    reader.read(prompt("And what does that cost?", "Plums are blue.", history=("Plums?", "Yes.")))
    reader.read(prompt("Who grows plums, and what do plums cost?", "Plums are blue."))
    assert embedder.calls[1:] == [
        ("And what does that cost?", "Plums? Yes. And what does that cost?"),
        ("Who grows plums, and what do plums cost?", "Who grows plums", "what do plums cost?"),
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sentences": 0}, "sentences is 0; it must be at least 1"),
        ({"sentences": -1}, "sentences is -1; it must be at least 1"),
        ({"support": -0.1}, "support is -0.1; it must be from 0"),
        ({"support": 1.5}, "support is 1.5; it must be from 0"),
    ],
)
def test_fields_out_of_range_are_refused(embedder, fields, words):
    with pytest.raises(InputError, match=words):
        Extractive(embedder, **fields)


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


FRAGMENTS = st.sampled_from(
    ["Maria Lund", "EUR 12", "D-75:", "D-75", "on 4 May 2027", "two days", "3 percent", "because of", "the card",
     "200 lines", "twice a year", "at the Corn Hall", "F-21", "free", "not", ". ", "; ", "? ", "\n", "cost", "é"]
)  # fmt: skip
PASSAGES = st.lists(st.lists(FRAGMENTS, max_size=12).map(" ".join), max_size=4)
ASKED = st.tuples(
    st.sampled_from([question for question, _ in QUESTIONS]), st.lists(FRAGMENTS, max_size=4).map(" ".join)
).map(" ".join)
HISTORIES = st.lists(st.lists(FRAGMENTS, max_size=4).map(" ".join), max_size=4).map(tuple)


@given(ASKED, PASSAGES, HISTORIES, st.integers(1, 3), st.sampled_from([0.0, 0.3]))
def test_every_quote_is_a_substring_of_a_passage_of_the_source_it_cites(question, passages, history, most, support):
    asked = prompt(question, *passages, history=history)
    reader = Extractive(WordCounts(), most, support)
    quotes, found = reader.quotes(asked), reader.read(asked)
    by_source = {s: [p for p, t in zip(asked.passages, asked.sources, strict=True) if t == s] for s in asked.sources}
    assert all(any(quote.text in passage for passage in by_source[quote.source]) for quote in quotes)
    assert found.cited == tuple(dict.fromkeys(quote.source for quote in quotes))
    assert re.split(r";? ", found.text) == (
        re.split(r";? ", " ".join(quote.text for quote in quotes)) if quotes else NO_ANSWER.split()
    )
    assert len(quotes) <= most * len(asks(question))


@given(ASKED, PASSAGES, st.lists(st.sampled_from(["", " ", "\n \n"]), max_size=3), st.randoms(use_true_random=False))
def test_empty_passages_change_nothing_wherever_they_stand(question, passages, blanks, random):
    mixed = [*passages]
    for blank in blanks:
        mixed.insert(random.randint(0, len(mixed)), blank)
    assert answer(question, *mixed, support=0.2) == answer(question, *passages, support=0.2)


@given(ASKED, PASSAGES, HISTORIES, st.tuples(ASKED, PASSAGES))
def test_an_answer_depends_on_its_prompt_alone(question, passages, history, other):
    reader = Extractive(WordCounts())
    reader.read(prompt(other[0], *other[1]))
    asked = prompt(question, *passages, history=history)
    assert reader.read(asked) == Extractive(WordCounts()).read(asked)
