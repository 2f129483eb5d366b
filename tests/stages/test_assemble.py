"""Assembling prompts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from evalkit.columns import Ragged, Strings
from evalkit.errors import InputError
from evalkit.stages import Characters, History, TopK
from evalkit.stages.assemble.topk import TakeTop
from evalkit.testing import check_assembler
from evalkit.types import Node
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


def test_history_passes_through():
    history = Ragged.of([["Hello.", "Hello to you."], []])
    made = TakeTop(1)(CHUNKS, Queries(QUERIES.id, QUERIES.text, history), RANKINGS)
    assert [list(said) for said in made.history] == [["Hello.", "Hello to you."], []]


# --- what the suite refuses


@dataclass(frozen=True)
class Spoil:
    """Spoils prompts in one way."""

    fault: str

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "assemble"
    row_exact: ClassVar[bool] = True
    row_wise: ClassVar[bool] = False

    def __call__(self, prompts):
        return getattr(self, self.fault)(prompts)

    @staticmethod
    def history(prompts, change):
        return replace(prompts, history=Ragged.of([change(list(said)) for said in prompts.history]))

    def reordered(self, prompts):
        return self.history(prompts, lambda said: said[::-1])

    def half_a_turn(self, prompts):
        return self.history(prompts, lambda said: said[1:])

    def the_first_turns(self, prompts):
        return self.history(prompts, lambda said: said[:2])

    def other_words(self, prompts):
        return self.history(prompts, lambda said: [message.upper() for message in said])

    def added(self, prompts):
        return self.history(prompts, lambda said: [*said, "And?", "So."])

    def swapped(self, prompts):
        return replace(prompts, passages=Ragged.of([list(row)[::-1] for row in prompts.passages]))

    def rewritten(self, prompts):
        return replace(prompts, passages=Ragged.of([[f"It says {t}" for t in row] for row in prompts.passages]))

    def blank(self, prompts):
        return replace(prompts, passages=Ragged.of([[" " for _ in row] for row in prompts.passages]))

    def titled(self, prompts):
        return replace(prompts, titles=Ragged.of([["T" for _ in row] for row in prompts.titles]))

    def numbered(self, prompts):
        return self.history(prompts, lambda said: [f"{len(prompts)} {m}" if not i else m for i, m in enumerate(said)])


@dataclass(frozen=True)
class Spoilt(TopK):
    fault: str = ""

    def expand(self, chunks, query, found):
        return Node(Spoil(self.fault), (super().expand(chunks, query, found),))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("reordered", "not the last messages in their order"),
        ("half_a_turn", "the user and the assistant change places"),
        ("the_first_turns", "not the last messages in their order"),
        ("other_words", "not the last messages in their order"),
        ("added", "which is more"),
        ("swapped", "is not from what was retrieved"),
        ("rewritten", "is not from what was retrieved"),
        ("blank", "a blank passage"),
        ("titled", "was not retrieved with the title 'T'"),
        ("numbered", "depends on the others"),
    ],
)
def test_an_assembler_that_spoils_its_prompts_is_refused(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_assembler(Spoilt(fault=fault))


@dataclass(frozen=True)
class Boastful(TopK):
    limit: int = 20
    counter: Any = field(default_factory=Characters)

    def __str__(self):
        return "Boastful"


def test_an_assembler_that_breaks_its_own_limit_is_refused_also_where_it_is_inside_another():
    for assembler in (Boastful(), History(Boastful())):
        with pytest.raises(AssertionError, match=r"passages of \d+, the limit is 20"):
            check_assembler(assembler)
