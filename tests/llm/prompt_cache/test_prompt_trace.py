"""A trace of prompts holds what a chat would send, part by part."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evalkit.errors import InputError
from evalkit.llm.messages import Breakpoints, Chat
from evalkit.llm.pricing import Prices
from evalkit.llm.prompt_cache.ledger import segments_of
from evalkit.llm.prompt_cache.placement import plan_caching
from evalkit.llm.prompt_cache.trace import trace_of
from evalkit.values import Prompt

PRICES = Prices.load()
SONNET = "claude-sonnet-5"


def words(text):
    return len(text.split())


@pytest.mark.parametrize("documents", ["system", "question"])
def test_a_trace_of_prompts_holds_what_the_chat_sends(documents):
    chat = Chat("Be brief and true.", documents, Breakpoints(system="1h"))
    prompts = [
        Prompt("Why so?", ("", "Two"), ("one", "two"), ("a", "b"), ("Hi", "Hello", " ", "Yes")),
        Prompt("What?", (), (), ()),
    ]
    trace = trace_of(prompts, [1, 2], chat, words, SONNET, first_token=0.5)
    order = ("system", "context", "history", "question")
    for prompt, sent in zip(prompts, trace, strict=True):
        parts = dict(sent.parts)
        assert tuple(parts) == (order if documents == "system" else ("system", "history", "context", "question"))
        assert [len(parts[name]) for name in order] == [1, len(prompt.passages), 3 if prompt.history else 0, 1]
        said = [replace(segment, ttl=None) for segment in segments_of(chat.messages(prompt), words)]
        assert [segment for _, part in sent.parts for segment in part] == said
        assert sent.began == sent.at + 0.5
        assert sent.model == SONNET


def test_a_trace_takes_a_time_to_first_token_for_each_and_counts_a_text_once():
    counted = []
    prompts = [Prompt(f"Q{i}", ("",), ("the same passage",), ("a",)) for i in range(3)]
    trace = trace_of(
        prompts, [0, 1, 2], Chat(), lambda t: counted.append(t) or words(t), SONNET, first_token=[1, 2, 3]
    )
    assert [sent.began for sent in trace] == [1, 3, 5]
    assert len(counted) == len(set(counted)) == 5
    with pytest.raises(InputError, match="3 prompts, 2 arrivals and 3 times to first token; give one each"):
        trace_of(prompts, [0, 1], Chat(), words, SONNET)


def test_a_conversation_saves_on_history_only_where_documents_stand_behind_it():
    history, prompts = (), []
    for i in range(6):
        passages = tuple(f"passage {i} {n} " + "word " * 100 for n in range(3))
        prompts.append(Prompt(f"Question {i}?", ("",) * 3, passages, ("d",) * 3, history))
        history = (*history, f"Question {i}?", "An answer " + "of words " * 200)
    read = {}
    for documents in ("system", "question"):
        chat = Chat("Rules " * 1100, documents)
        plan = plan_caching(trace_of(prompts, [10.0 * i for i in range(6)], chat, words, SONNET), PRICES)
        read[documents] = plan.of(system="5m", history="5m").usage.cache_read - plan.of(system="5m").usage.cache_read
        if documents == "question":
            assert plan.best.placement.breakpoints.history is not None
    assert read["system"] == 0 < read["question"]
