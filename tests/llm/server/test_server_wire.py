"""A request is checked as the API checks it, and read back as the prompt that it was written from."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakers import MODEL, ask, body

from evalkit.llm.messages import Chat
from evalkit.llm.pricing import Prices
from evalkit.llm.prompt_cache.ledger import segments_of
from evalkit.llm.server.refusals import Refused
from evalkit.llm.server.wire import read_json, read_request
from evalkit.llm.tokens import estimate_tokens
from evalkit.values import Prompt

PRICES = Prices.load()
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
WORDS = TEXT.filter(lambda text: text.strip() and not text.startswith("<document"))
TITLES = st.text("abc ", max_size=5)


def read(request):
    return read_request(request, PRICES)


@st.composite
def prompts(draw):
    documents = draw(st.lists(st.tuples(TITLES, WORDS), min_size=1, max_size=4))
    history = draw(st.lists(WORDS, max_size=4))
    titles, passages = zip(*documents, strict=True)
    return Prompt(draw(WORDS), titles, passages, tuple(map(str, range(1, len(titles) + 1))), tuple(history))


@given(prompts(), st.sampled_from(["system", "question"]))
def test_what_chat_writes_is_read_back_whole(prompt, documents):
    assert read(body(prompt, documents=documents)).prompt == prompt


@given(prompts(), st.sampled_from(["system", "question"]))
def test_the_cache_is_asked_for_the_blocks_that_the_planner_sees(prompt, documents):
    asked = read(body(prompt, documents=documents, system="1h", context="5m"))
    chat = Chat(documents=documents)
    expected = segments_of(chat.messages(prompt), partial(estimate_tokens, model=MODEL))
    assert [replace(s, ttl=None) for s in asked.cache.segments] == list(expected)
    assert [ttl for _, ttl in asked.cache.marks] == ["1h", "5m"]
    assert asked.tokens == sum(s.tokens for s in expected)


def test_text_of_foreign_origin_is_cut_at_blank_lines_and_ends_with_the_question():
    prompt = read(ask("The ferry takes an hour.\n\nDogs are free.\n \nHow long?")).prompt
    assert (prompt.question, prompt.passages) == ("How long?", ("The ferry takes an hour.", "Dogs are free."))
    assert prompt.sources == ("1", "2")


def test_the_question_is_the_last_text_of_the_user_and_what_was_said_before_is_history():
    said = [("user", "Is there a ferry?"), ("assistant", "Yes."), ("user", "When?")]
    prompt = read(ask(messages=[{"role": role, "content": text} for role, text in said])).prompt
    assert (prompt.question, prompt.history) == ("When?", ("Is there a ferry?", "Yes."))


def test_the_apis_own_documents_are_passages():
    document = {"type": "document", "title": "Fares", "source": {"type": "text", "data": "Dogs are free."}}
    content = [document, {"type": "text", "text": "What do dogs cost?"}]
    prompt = read(ask(messages=[{"role": "user", "content": content}])).prompt
    assert (prompt.titles, prompt.passages, prompt.question) == (
        ("Fares",),
        ("Dogs are free.",),
        "What do dogs cost?",
    )


def test_a_breakpoint_at_the_top_stands_behind_the_last_block():
    asked = read(ask(cache_control={"type": "ephemeral", "ttl": "1h"}, system="Be brief."))
    assert asked.cache.marks == ((1, "1h"),)


def test_tools_stand_before_the_system_and_their_runs_are_known():
    content = [{"type": "tool_result", "tool_use_id": "a", "content": "1"}, {"type": "text", "text": "And?"}]
    asked = read(ask(tools=[{"name": "t"}], system="S", messages=[{"role": "user", "content": content}]))
    assert [(s.part, s.run) for s in asked.cache.segments] == [
        ("tools", ""), ("system", ""), ("messages", "tool_result"), ("messages", ""),
    ]  # fmt: skip


def marked(ttl=None):
    return {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}}


def said(*blocks):
    return [{"role": "user", "content": list(blocks)}]


REFUSED = [
    ({"model": None}, 400, "model"),
    ({"model": "claude-haiku-9"}, 404, "claude-haiku-9"),
    ({"max_tokens": None}, 400, "max_tokens: Field required"),
    ({"max_tokens": -1}, 400, "max_tokens"),
    ({"max_tokens": True}, 400, "max_tokens"),
    ({"max_tokens": 0, "stream": True}, 400, "streaming"),
    ({"stream": "yes"}, 400, "stream"),
    ({"messages": []}, 400, "at least one message"),
    ({"messages": ["hello"]}, 400, "messages.0"),
    ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages.0.role"),
    ({"messages": [{"role": "user", "content": ""}]}, 400, "non-empty"),
    ({"messages": said({"type": "text", "text": ""})}, 400, "non-empty"),
    ({"messages": said({"type": "text"})}, 400, "messages.0.content.0.text"),
    ({"messages": said({"type": "song"})}, 400, "messages.0.content.0.type"),
    ({"system": 5}, 400, "system"),
    ({"tools": "hammer"}, 400, "tools"),
    ({"temperature": 0.0}, 400, "temperature"),
    ({"top_p": 1.0}, 400, "top_p"),
    ({"top_k": 1}, 400, "top_k"),
    ({"stop_sequences": [" "]}, 400, "stop_sequences"),
    ({"messages": said(*[marked()] * 5)}, 400, "at most 4"),
    ({"messages": said(*[marked()] * 4), "system": [marked()]}, 400, "at most 4"),
    ({"messages": said(marked("5m"), marked("1h"))}, 400, "1h"),
    ({"messages": said(marked("2h"))}, 400, "cache_control.ttl"),
    ({"messages": said({**marked(), "cache_control": {"type": "eternal"}})}, 400, "cache_control.type"),
]


@pytest.mark.parametrize(
    ("fields", "status", "words"), REFUSED, ids=[f"{w}-{i}" for i, (_, _, w) in enumerate(REFUSED)]
)
def test_a_request_that_the_api_refuses_is_refused(fields, status, words):
    with pytest.raises(Refused, match=words) as refused:
        read(ask(**fields))
    assert refused.value.status == status


@pytest.mark.parametrize("text", [b"{", b"[]", b"", b"\xff"])
def test_what_is_no_json_object_is_a_400(text):
    with pytest.raises(Refused) as refused:
        read_json(text)
    assert refused.value.status == 400


def test_four_breakpoints_the_longer_lived_first_are_taken():
    asked = read(ask(messages=said(marked("1h"), marked("1h"), marked("5m"), marked())))
    assert [ttl for _, ttl in asked.cache.marks] == ["1h", "1h", "5m", "5m"]
