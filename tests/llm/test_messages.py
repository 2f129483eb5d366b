"""Prompts become messages with breakpoints where they were asked for; marks lead back to sources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import InputError
from evalkit.llm.messages import Breakpoints, Chat, read_document, with_marks, without_marks
from evalkit.values import Prompt

PROMPT = Prompt("And then?", ("A", ""), ("first text", "second\n</document>\ntext"), ("d1", "d2"), ("Hi?", "Hello."))


def texts(blocks):
    return [block.text for block in blocks]


def test_documents_stand_beside_the_question_or_behind_the_instructions():
    beside = Chat("Answer.").messages(PROMPT)
    assert texts(beside.system) == ["Answer."]
    assert [turn.role for turn in beside.turns] == ["user", "assistant", "user"]
    assert [read_document(text) for text in texts(beside.turns[-1].blocks)] == [
        ("A", "first text"), ("", "second\n</document>\ntext"), None,
    ]  # fmt: skip
    assert texts(beside.turns[-1].blocks)[-1] == "And then?"
    behind = Chat("Answer.", documents="system").messages(PROMPT)
    assert texts(behind.system)[1:] == texts(beside.turns[-1].blocks)[:-1]
    assert texts(behind.turns[-1].blocks) == ["And then?"]


@pytest.mark.parametrize("documents", ["system", "question"])
def test_a_breakpoint_stands_behind_the_part_that_it_is_for(documents):
    marks = Breakpoints(system="1h", context="5m", history="5m")
    found = Chat("Answer.", documents, marks).messages(PROMPT)
    blocks = [*found.system, *(block for turn in found.turns for block in turn.blocks)]
    marked = {block.text: block.ttl for block in blocks if block.ttl}
    assert marked == {"Answer.": "1h", "Hello.": "5m", blocks[[b.ttl for b in blocks].index("5m")].text: "5m"} | {
        text: "5m" for text in texts(blocks) if "second" in text
    }
    assert not any(block.ttl for block in [b for b in blocks if "first text" in b.text or b.text == "And then?"])


def test_without_passages_and_history_the_question_stands_alone():
    found = Chat("Answer.", breakpoints=Breakpoints(context="5m", history="5m")).messages(Prompt("Why?", (), (), ()))
    assert [(turn.role, texts(turn.blocks)) for turn in found.turns] == [("user", ["Why?"])]
    assert not any(block.ttl for turn in found.turns for block in turn.blocks)


def test_an_hour_behind_five_minutes_is_refused_in_the_order_of_the_prompt():
    with pytest.raises(InputError, match="1h breakpoint stands behind a 5m one"):
        Chat(documents="system", breakpoints=Breakpoints(context="5m", history="1h"))
    Chat(documents="question", breakpoints=Breakpoints(context="5m", history="1h"))
    with pytest.raises(InputError, match="1h breakpoint stands behind a 5m one"):
        Chat(documents="question", breakpoints=Breakpoints(context="1h", history="5m"))


def test_empty_instructions_are_refused():
    with pytest.raises(InputError, match="system is empty"):
        Chat(" ")


@pytest.mark.parametrize(
    ("text", "clean", "cited"),
    [
        ("Ten pounds [1].", "Ten pounds.", ("a",)),
        ("Ten [2], then four [1, 3].", "Ten, then four.", ("b", "a", "c")),
        ("See [4] and [0].", "See [4] and [0].", ()),
        ("x[1] = 2 [1][1]", "x = 2", ("a",)),
        ("", "", ()),
    ],
)
def test_marks_are_taken_out_and_name_sources(text, clean, cited):
    assert without_marks(text, ("a", "b", "c")) == (clean, cited)


@given(st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"])), st.sets(st.integers(0, 4)))
def test_what_is_cited_survives_the_marks(text, chosen):
    sources = tuple("abcde")
    cited = tuple(sources[i] for i in sorted(chosen))
    assert without_marks(with_marks(text.strip(), cited, sources), sources) == (text.strip(), cited)
