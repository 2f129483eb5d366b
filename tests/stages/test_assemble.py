"""Assembling prompts, and counting tokens."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.columns import Strings
from evalkit.errors import InputError
from evalkit.stages import SentenceTransformer, TopK
from evalkit.stages.assemble.topk import TakeTop
from evalkit.stages.count import CountTokens
from evalkit.testing import check_assembler
from evalkit.values import Chunks, Prompt, Queries, Rankings

CHUNKS = Chunks(
    Strings.of(["a", "a", "b"]), Strings.of(["A", "A", ""]), np.array([0, 5, 0]), np.array([4, 9, 3]),
    Strings.of(["one.", "two.", "six"]),
)  # fmt: skip
QUERIES = Queries(Strings.of(["q1", "q2"]), Strings.of(["First?", "Second?"]))
RANKINGS = Rankings.of([np.array([2, 0, 1]), np.array([])], [np.array([3.0, 2.0, 1.0]), np.array([])])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_assembling_conforms(k):
    check_assembler(TopK(k))


@pytest.mark.parametrize(("k", "passages"), [(1, ("six",)), (2, ("six", "one.")), (None, ("six", "one.", "two."))])
def test_prompts_hold_the_first_k_chunks_best_first(k, passages):
    first, second = Prompt.rows(TakeTop(k)(CHUNKS, QUERIES, RANKINGS))
    assert (first.question, first.passages) == ("First?", passages)
    assert first.titles == ("", "A", "A")[: len(passages)]
    assert first.sources == ("b", "a", "a")[: len(passages)]
    assert second == Prompt("Second?", (), (), ())


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(InputError, match=f"TopK: k is {k}"):
        TopK(k)


def test_tokens_are_counted_with_titles_and_special_tokens():
    counted = CountTokens(SentenceTransformer())(CHUNKS).values.tolist()
    assert counted == [5, 5, 3]  # [CLS] a one . [SEP]; [CLS] six [SEP]


def test_the_tokens_of_a_prompt_are_those_of_its_whole_text():
    prompts = TakeTop(2)(CHUNKS, QUERIES, RANKINGS)
    counter = SentenceTransformer()
    assert (
        CountTokens(counter)(prompts).values.tolist()
        == counter.tokens(["six\n\nA\none.\n\nFirst?", "Second?"]).tolist()
    )
