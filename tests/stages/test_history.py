"""History: which turns a prompt keeps, and what is left of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import HashedWords

from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError
from evalkit.llm import Extractive
from evalkit.stages import Budget, Characters, EstimatedTokens, History, KeySentences, Tokens, TopK
from evalkit.stages.assemble.history import Shorten
from evalkit.stages.assemble.topk import TakeTop
from evalkit.stages.count import CountPrompts, message_text
from evalkit.testing import check_assembler, check_component
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Chunks, Prompt, Queries, Rankings

HEAD = "Earlier in this conversation: "
TALK = [
    "What does the ferry cost?", "Five crowns. Children pay two.",
    "And a dog?", "It was agreed that dogs go free.",
    "Is it open?", "Yes, until six.",
    "Thanks.", "You are welcome.",
]  # fmt: skip
MESSAGES = st.sampled_from([*TALK, "Hm", "It was decided, and concluded.", "x " * 40, "One. Two. Three. Four."])


def shorten(messages, turns, above=0, summary=0, counter=None):
    return Shorten(turns, above, summary, counter or Characters()).shorten(list(messages))


@pytest.mark.parametrize(("turns", "kept"), [(0, 0), (1, 2), (2, 4), (3, 6), (4, 8), (9, 8)])
def test_the_last_turns_are_kept_as_they_are(turns, kept):
    assert shorten(TALK, turns) == TALK[len(TALK) - kept :]


def test_a_question_without_a_reply_is_a_turn_of_its_own():
    assert shorten(TALK[:5], 1) == TALK[4:5]
    assert shorten(TALK[:5], 2) == TALK[2:5]


def test_a_history_within_the_bound_stays_whole():
    length = sum(len(message_text(message)) for message in TALK)
    assert shorten(TALK, 1, above=length) == TALK
    assert shorten(TALK, 1, above=length - 1) == TALK[-2:]


def test_older_turns_become_a_summary_before_the_first_that_is_kept():
    found = shorten(TALK, 2, summary=70)
    assert found == [f"{HEAD}It was agreed that dogs go free.\n\n{TALK[4]}", *TALK[5:]]


def test_a_summary_holds_the_most_important_sentences_the_later_of_equals_in_the_order_said():
    older = ["Which?", "It was agreed. Really so. It was decided."]
    room = len(message_text(f"{HEAD}It was agreed. It was decided."))
    assert shorten([*older, "a", "b"], 1, summary=room)[0] == f"{HEAD}It was agreed. It was decided.\n\na"
    assert shorten([*older, "a", "b"], 1, summary=room - 1)[0] == f"{HEAD}Which? It was decided.\n\na"
    assert shorten([*older, "a", "b"], 1, summary=len(message_text(f"{HEAD}Which?")) - 1) == ["a", "b"]


@given(st.lists(MESSAGES, max_size=9), st.integers(1, 4), st.integers(0, 120), st.integers(0, 100),
       st.sampled_from([Tokens(), Characters(), EstimatedTokens(3)]))  # fmt: skip
@settings(max_examples=200)
def test_a_summary_is_never_longer_than_allowed_and_roles_stay(messages, turns, above, summary, counter):
    found = shorten(messages, turns, above, summary, counter)

    def length(texts):
        return int(counter.count([*map(message_text, texts)]).sum())

    if length(messages) <= above or len(messages) <= 2 * turns:
        assert found == messages
        return
    recent = messages[-len(found) :]
    assert len(found) in (2 * turns, 2 * turns - 1)
    assert (len(messages) - len(found)) % 2 == 0
    assert found[1:] == recent[1:]
    assert found[0].endswith(recent[0])
    assert length(found) <= length(recent) + summary
    said = found[0].removesuffix(recent[0])
    assert (said == "") or (said.startswith(HEAD) and counter.count([said])[0] <= summary)


CHUNKS = Chunks(
    Strings.of(["a"]), Strings.of([""]), np.array([0]), np.array([60]),
    Strings.of(["The ferry costs five crowns. It sails at noon. Nobody knows why."]),
)  # fmt: skip
FOUND = Node("query", (CORPUS,))
KNOWN = {
    CORPUS.recipe: CHUNKS,
    QUERY.recipe: Queries(Strings.of(["q"]), Strings.of(["When does it sail?"]), Ragged.of([TALK])),
    FOUND.recipe: Rankings.of([np.array([0])], [np.array([1.0])]),
}


def assembled(assembler):
    return run_node(assembler.expand(CORPUS, QUERY, FOUND), dict(KNOWN))


@pytest.mark.parametrize("inner", [TopK(), Budget(200), KeySentences(sentences=1)])
def test_every_assembler_passes_the_history_on_and_inside_of_history_it_is_shorter(inner):
    assert list(assembled(inner).history[0]) == TALK
    short = assembled(History(inner, turns=1, summary=0))
    assert list(short.history[0]) == TALK[-2:]
    assert short.passages[0] == assembled(inner).passages[0]
    outside = KeySentences(History(inner, turns=1, summary=0), sentences=1)
    assert list(assembled(outside).history[0]) == TALK[-2:]


def test_variants_that_differ_in_history_share_all_other_work():
    nodes = [{*History(Budget(), turns=turns).expand(CORPUS, QUERY, FOUND).walk()} for turns in (1, 2)]
    assert {type(node.op).__name__ for node in nodes[0] - nodes[1]} == {"Shorten", "Recall"}


def test_the_length_of_a_prompt_counts_its_history():
    whole, short = assembled(TopK()), assembled(History(turns=1, summary=0))
    gone = sum(len(message_text(message)) for message in TALK[:-2])
    (long, less) = (CountPrompts(Characters())(prompts).values[0] for prompts in (whole, short))
    assert long - less == gone


def test_a_follow_up_is_read_with_the_last_turn_of_the_history_however_much_of_it_is_kept():
    reader = Extractive(HashedWords(), sentences=1, support=0.0)
    asked = Prompt.rows(assembled(TopK()))[0]
    passages = ("The boat has three cabins.", "The ferry has five cabins.")
    first, second = (
        replace(
            asked, question="And how many cabins?", passages=passages, titles=("", ""), sources=("a", "b"), history=h
        )
        for h in ((*TALK, "Is the boat nice?", "Yes."), (*TALK, "Is the ferry nice?", "Yes."))
    )
    assert (reader.read(first).text, reader.read(second).text) == ("three cabins", "five cabins")
    for prompt in (first, second):
        kept = tuple(shorten(prompt.history, turns=1))
        assert reader.read(replace(prompt, history=kept)) == reader.read(prompt)


def test_queries_without_history_are_untouched():
    queries = Queries(Strings.of(["q"]), Strings.of(["Why?"]))
    assert Shorten(3, 0, 200, Tokens())(queries).digest == queries.digest
    rankings = KNOWN[FOUND.recipe]
    assert list(TakeTop(1)(CHUNKS, queries, rankings).history[0]) == []


@pytest.mark.parametrize(
    "assembler",
    [
        History(TopK(2), turns=1),
        History(Budget(60), turns=2, above=40, summary=20, counter=EstimatedTokens()),
        History(KeySentences(sentences=2), turns=1, above=10_000),
        History(History(turns=3), turns=1, summary=30),
    ],
    ids=str,
)
def test_histories_conform(assembler):
    check_component(assembler)
    check_assembler(assembler)


def test_a_history_of_which_nothing_is_kept_conforms():
    check_assembler(History(turns=0, summary=0))


@pytest.mark.parametrize("fields", [{"turns": -1}, {"above": -1}, {"summary": -1}])
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(InputError, match=r"^History: turns .* below 0"):
        History(**fields)


def test_a_summary_without_a_turn_to_stand_before_is_refused():
    with pytest.raises(InputError, match="give turns, or summary 0"):
        History(turns=0)
