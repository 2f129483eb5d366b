"""Key sentences: which ones are kept, in what order, and before or after the assembler."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import HashedWords

from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError
from evalkit.stages import Budget, Characters, Diversity, KeySentences, TopK
from evalkit.stages.assemble.importance import DECISIONS, importance, split
from evalkit.stages.assemble.key_sentences import ExtractChunks, ExtractPrompts
from evalkit.testing import check_assembler, check_component
from evalkit.testing.conformance.given import run_node
from evalkit.types import CORPUS, QUERY, Node
from evalkit.values import Chunks, Prompt, Prompts, Queries, Rankings

TEN = "This is a sentence that has just about ten words."
LONG = "This one goes " + "on and " * 20 + "on."
SENTENCES = st.sampled_from(
    [TEN, LONG, "A short one.", "It was decided.", "They agreed that the fare stays as it is."]
)


def prompts_of(*passages):
    column = Ragged.of([list(passages)])
    named = Ragged.of([[f"d{i}" for i in range(len(passages))]])
    return Prompts(Strings.of(["Why?"]), named, column, named, Ragged.of([["Hello.", "Hello to you."]]))


def kept(n, *passages):
    (prompt,) = Prompt.rows(ExtractPrompts(n, DECISIONS)(prompts_of(*passages)))
    return dict(zip(prompt.sources, prompt.passages, strict=True))


@pytest.mark.parametrize(
    ("sentence", "score"),
    [
        (TEN, 1.0),
        (" ".join(["word"] * 30) + ".", 1.0),
        (" ".join(["word"] * 31) + ".", 0.0),
        (" ".join(["word"] * 9) + ".", 0.5),
        ("The board Decided so.", 2.5),
        ("The members agreed, and concluded it, at ten that day.", 3.0),
        ("They disagreed.", 0.5),
    ],
)
def test_a_sentence_scores_by_its_length_and_by_words_that_mark_a_decision(sentence, score):
    assert importance(["First.", sentence, "Last."], DECISIONS) == [1.5, score, 1.5]


def test_the_first_and_the_last_sentence_score_a_point_more_once():
    assert importance([TEN, TEN, TEN], ()) == [2.0, 1.0, 2.0]
    assert importance([TEN], ()) == [2.0]
    assert importance([], ()) == []


def test_a_text_is_cut_into_sentences_without_loss():
    text = "It costs 3.50 crowns. Dr. Vane said so!\n\nWhy? Nobody knows."
    assert split(text) == ["It costs 3.50 crowns.", "Dr. Vane said so!", "Why?", "Nobody knows."]
    assert split("") == split(" \n ") == []


@given(st.lists(st.lists(SENTENCES, min_size=1, max_size=4), min_size=1, max_size=3), st.integers(1, 6))
def test_what_is_kept_is_most_important_and_in_its_order(passages, n):
    """Against every choice of as many sentences; of equal ones the earliest."""
    found = kept(n, *map(" ".join, passages))
    scores = [score for parts in passages for score in importance(parts, DECISIONS)]
    stands = [(f"d{i}", sentence) for i, parts in enumerate(passages) for sentence in parts]
    choices = combinations(range(len(scores)), min(n, len(scores)))
    expected = {}
    for i in max(choices, key=lambda choice: sum(scores[i] for i in choice)):
        expected.setdefault(stands[i][0], []).append(stands[i][1])
    assert found == {source: " ".join(parts) for source, parts in expected.items()}


def test_a_prompt_with_few_sentences_stays_as_it_is():
    passages = ["One.  Two.\nThree.", "Four."]
    assert kept(4, *passages) == dict(zip(["d0", "d1"], passages, strict=True))


def test_a_passage_without_a_key_sentence_goes_with_its_title_and_source():
    made = ExtractPrompts(1, DECISIONS)(prompts_of(LONG, "It was agreed. Then they left."))
    assert Prompt.rows(made) == [Prompt("Why?", ("d1",), ("It was agreed.",), ("d1",), ("Hello.", "Hello to you."))]
    empty = prompts_of()
    assert ExtractPrompts(1, DECISIONS)(empty).digest == empty.digest


def test_other_words_may_mark_what_matters():
    passage = f"{TEN} The fee is waived. {TEN} {TEN}"
    made = ExtractPrompts(1, ("waived",))(prompts_of(passage))
    assert made.passages[0][:] == ["The fee is waived."]


CHUNKS = Chunks(
    Strings.of(["a", "b"]), Strings.of(["A", ""]), np.array([0, 0]), np.array([90, 60]),
    Strings.of([f"Well. {TEN} It was decided.", f"{TEN} Really. It is so."]),
)  # fmt: skip
FOUND = Node("query", (CORPUS,))
KNOWN = {
    CORPUS.recipe: CHUNKS,
    QUERY.recipe: Queries(Strings.of(["q"]), Strings.of(["Why?"])),
    FOUND.recipe: Rankings.of([np.array([1, 0])], [np.array([2.0, 1.0])]),
}


def assembled(assembler):
    (prompt,) = Prompt.rows(run_node(assembler.expand(CORPUS, QUERY, FOUND), dict(KNOWN)))
    return prompt.passages


def test_per_prompt_the_sentences_of_all_passages_compete():
    assert assembled(KeySentences(sentences=2)) == (TEN, "It was decided.")
    assert assembled(KeySentences(sentences=1)) == ("It was decided.",)


def test_per_passage_every_chunk_keeps_its_own():
    assert assembled(KeySentences(sentences=1, per="passage")) == (TEN, "It was decided.")
    assert assembled(KeySentences(TopK(1), sentences=1, per="passage")) == (TEN,)


def test_a_budget_inside_counts_shortened_chunks_per_passage_and_whole_ones_per_prompt():
    budget = Budget(75, Characters())
    assert assembled(budget) == (CHUNKS.text[1],)
    assert assembled(KeySentences(budget, sentences=1, per="passage")) == (TEN, "It was decided.")
    assert assembled(KeySentences(budget, sentences=1)) == (TEN,)


def test_chunks_are_shortened_before_any_query_and_keep_their_place():
    node = KeySentences(per="passage").expand(CORPUS, QUERY, FOUND)
    (shortened,) = [one for one in node.walk() if isinstance(one.op, ExtractChunks)]
    assert not shortened.per_query
    made = ExtractChunks(1, DECISIONS)(CHUNKS)
    assert (list(made.document), made.start.tolist(), made.end.tolist()) == (["a", "b"], [0, 0], [90, 60])
    blocks = [ExtractChunks(1, DECISIONS)(CHUNKS.row(i)) for i in range(2)]
    assert Chunks.concat(blocks).digest == made.digest


@pytest.mark.parametrize(
    "assembler",
    [
        KeySentences(sentences=2),
        KeySentences(TopK(2), sentences=1, per="passage"),
        KeySentences(Budget(60), sentences=2, words=("free", "crowns")),
        KeySentences(Budget(60, select=Diversity(HashedWords())), sentences=1, per="passage"),
    ],
    ids=str,
)
def test_key_sentences_conform(assembler):
    check_component(assembler)
    check_assembler(assembler)


@pytest.mark.parametrize("fields", [{"sentences": 0}, {"words": ("agreed", " ")}])
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(InputError, match=r"^KeySentences: sentences .* do not fit"):
        KeySentences(**fields)
