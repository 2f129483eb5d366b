"""Traffic becomes prompts in its own order, each turn with what was said before it, and no model is called."""

from __future__ import annotations

import pytest
from paid import Paid
from toys import CALLS, calls, dense, keywords

from evalkit.datasets import Traffic
from evalkit.errors import InputError
from evalkit.evaluate import ask, prompts
from evalkit.stages import History, TopK
from evalkit.values import Prompt

ROWS = [
    {"at": 3.0, "text": "Where is it?", "answer": "There.", "conversation": "c", "turn": 1},
    {"at": 1.0, "text": "Is there a ferry?", "answer": "Yes.", "conversation": "c"},
    {"at": 2.0, "text": "How long is the crossing?"},
    {"at": 4.0, "text": "Since when?", "conversation": "c", "turn": 2},
    {"at": 5.0, "text": "How long is the crossing?"},
]


def test_a_prompt_a_request_in_order_of_arrival_with_the_conversation_so_far(tiny, store, tmp_path, monkeypatch):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    found = prompts(keywords(k=2), tiny, Traffic.of(ROWS), store=store)
    assert [prompt.question for prompt in found] == [
        "Is there a ferry?", "How long is the crossing?", "Where is it?", "Since when?", "How long is the crossing?",
    ]  # fmt: skip
    assert [prompt.history for prompt in found] == [
        (), (), ("Is there a ferry?", "Yes."), ("Is there a ferry?", "Yes.", "Where is it?", "There."), (),
    ]  # fmt: skip
    assert all(len(prompt.passages) <= 2 for prompt in found)
    assert found[1] == found[4]
    assert calls() == []


def test_the_assembler_decides_what_of_the_history_is_kept(tiny, store):
    short = dense(assemble=History(TopK(), turns=1, above=0, summary=0))
    found = prompts(short, tiny, Traffic.of(ROWS), store=store)
    assert found[3].history == ("Where is it?", "There.")


def test_without_traffic_or_text_there_is_nothing_to_ask(tiny, store):
    with pytest.raises(InputError, match="has no traffic; give some"):
        prompts(dense(), tiny, store=store)
    with pytest.raises(InputError, match="has no text"):
        prompts(dense(), tiny, Traffic.of([{"at": 0.0, "prompt_tokens": 5}]), store=store)


def test_each_prompt_is_a_call_of_its_own_in_order_and_a_repeat_is_another_sample(tmp_path, monkeypatch, store):
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    one, two = (Prompt(text, ("",), ("a b",), ("d",)) for text in ("one?", "two?"))
    answers = ask(Paid(), [one, two, one], at_once=1, store=store)
    assert calls() == ["one?", "two?", "one?"]
    assert [answer.call.usage.output for answer in answers] == [500] * 3
    ask(Paid(), [one, one, two, two], store=store)
    assert calls()[3:] == ["two?"]
    with pytest.raises(InputError, match="at_once is 0"):
        ask(Paid(), [one], at_once=0)
