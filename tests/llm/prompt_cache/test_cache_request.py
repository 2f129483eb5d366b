"""What a prompt cache is asked: blocks in order, legal breakpoints, and the blocks of a chat."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prompt_cache_steps import SONNET, segments

from evalkit.errors import InputError
from evalkit.llm.messages import Breakpoints, Chat
from evalkit.llm.prompt_cache.ledger import CacheRequest, Segment, segments_of
from evalkit.values import Prompt


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("A=1@5m | B=1@5m | C=1@5m D=1@5m E=1@5m", "5 cache breakpoints; set at most 4"),
        ("S=2000@5m | Q=50@1h", "a 1h cache breakpoint stands behind a 5m one; put those of 1h first"),
        ("T=1@5m | S=1 | Q=1@1h", "a 1h cache breakpoint stands behind a 5m one; put those of 1h first"),
        ("S=2000 E=0@5m | Q=50", "block 1 is empty and has a cache breakpoint; set it behind one with text"),
    ],
    ids=["a fifth breakpoint", "1h behind 5m", "also across parts and below the minimum", "behind an empty block"],
)
def test_illegal_breakpoints_are_refused_in_one_line(prompt, said):
    with pytest.raises(InputError) as refused:
        CacheRequest(SONNET, segments(prompt))
    assert str(refused.value) == said


def test_blocks_out_of_order_are_refused():
    with pytest.raises(InputError, match="blocks are out of order: tools come first, then system, then messages"):
        CacheRequest(SONNET, (Segment("a", 1, "messages"), Segment("b", 1, "system")))


@pytest.mark.parametrize("wrong", [{"tokens": -1}, {"part": "user"}, {"ttl": "2h"}], ids=str)
def test_a_block_that_is_none_is_refused(wrong):
    with pytest.raises(InputError):
        Segment(**{"content": "a", "tokens": 1, **wrong})


def test_a_chat_is_cut_into_the_blocks_that_are_sent():
    chat = Chat("Be brief.", "question", Breakpoints(system="1h", history="5m", context="5m"))
    asked = Prompt("Why?", ("", "Two"), ("one", "two"), ("a", "b"), ("Hi", "Hello"))
    found = segments_of(chat.messages(asked), lambda text: len(text.split()))
    assert [(s.part, s.ttl, s.tokens) for s in found] == [
        ("system", "1h", 2), ("messages", None, 1), ("messages", "5m", 1),
        ("messages", None, 4), ("messages", "5m", 5), ("messages", None, 1),
    ]  # fmt: skip
    assert found[1].content != segments_of(Chat().messages(Prompt("Hi", (), (), ())), len)[0].content
    CacheRequest(SONNET, found)


def test_who_says_it_is_part_of_a_prefix():
    said = [replace(Prompt("Q", (), (), ()), history=history) for history in (("a", "b"), ("a", "b", "b"))]
    first, second = (segments_of(Chat("S").messages(prompt), len) for prompt in said)
    assert first[:3] == second[:3]
    assert first[2].content != second[3].content
